"""A model card's front matter: what the Hub accepts, known offline, and YAML that reads back as it was.

The Hub checks the metadata of a README.md when it is pushed, and offers no schema to check against before. The rules
here were gathered from huggingface_hub 2.4.0, hub-docs and error messages people reported; the vocabularies and the
commits they were copied at are in ``metadata_vocab.json``. `RULES` is the whole list, field by field. A field that is
not in it is accepted, as the Hub does.
"""

from __future__ import annotations

import datetime
import difflib
import functools
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from hubpush.errors import CardError

Severity = Literal["error", "warning", "advice"]

MAX_BYTES = 64 * 1024
MAX_DEPTH = 20  # a model-index with its source is 8 deep
MAX_ALIASES = 10  # ten aliases multiply a text by 39 at most, through merge keys; a bomb needs dozens

# huggingface_hub 2.4.0, repocard.py, kept equal to the Hub's server there. Any line ending will do.
_FRONT_MATTER = re.compile(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))")
_REPO_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
# Other spaces than ASCII's and other line ends than LF: YAML 1.1, YAML 1.2 and str.strip() disagree about them.
_ODD_SPACE = re.compile(r"[^\S \n]")


@dataclass(frozen=True)
class Problem:
    """One thing to change in a card's metadata.

    Attributes:
        severity: ``error``: the Hub rejects the card (or hubpush cannot read it); ``warning``: the Hub accepts it and
            warns; ``advice``: the Hub says nothing, hubpush's policy does.
        field: Where, as the Hub writes it: ``language[0]``, ``model-index[0].results[0].task.type``.
        message: What is wrong, naming the field.
        fix: What to write instead.
    """

    severity: Severity
    field: str
    message: str
    fix: str


def split_front_matter(content: str) -> tuple[str | None, str]:
    """Return the YAML between the fences (None if there are none) and the Markdown after them, as the Hub cuts them."""
    found = _FRONT_MATTER.search(content)
    return (found.group(2), content[found.end() :]) if found else (None, content)


def check_card(content: str) -> list[Problem]:
    """Check the front matter of a whole README.md.

    YAML is read as huggingface_hub reads it (PyYAML, YAML 1.1: a bare ``no`` is false). What is too large, too deep or
    too often aliased to be read safely is an error, because a card that was not checked must not pass.
    """
    data = _parsed(content)
    return [data] if isinstance(data, Problem) else check_metadata(data)


def read_front_matter(content: str) -> dict[str, object]:
    """The metadata of a whole README.md; nothing where there is none, or none that can be read safely."""
    data = _parsed(content)
    return {} if isinstance(data, Problem) else data


def _parsed(content: str) -> dict[str, object] | Problem:
    text, _ = split_front_matter(content)
    if text is not None and len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        message = f"the front matter is larger than {MAX_BYTES // 1024} KB and was not read"
        return Problem("error", "front matter", message, "move long texts into the card's body")
    try:
        data = yaml.load(text or "", Loader=_CardLoader)  # noqa: S506  a SafeLoader with less freedom
    # A tag such as `!!int ""` or a 13th month fails inside PyYAML's constructors with whatever their code hits first.
    except (yaml.YAMLError, ValueError, LookupError, ArithmeticError, AttributeError, TypeError) as error:
        message = f"the front matter is not readable YAML: {' '.join(str(error).split())}"
        return Problem("error", "front matter", message, "correct the YAML at the place named; quote texts with : or #")
    if data is None:
        fix = "start the card with a --- line, the metadata (license, library_name, ...) and another --- line"
        return Problem("warning", "front matter", "empty or missing yaml metadata in repo card", fix)
    if not isinstance(data, dict):
        message = f"the front matter must be a mapping of fields, not {_kind(data)}"
        return Problem("error", "front matter", message, "write one `field: value` per line")
    return data


def check_metadata(data: Mapping[str, object]) -> list[Problem]:
    """Check metadata against `RULES`; fields without a rule are accepted.

    Languages: two-letter codes are looked up in ISO 639-1. Any three lower-case letters are accepted as ISO 639-2/3,
    whose 7,916 codes are not carried along, so an unassigned one passes here and is rejected by the Hub. Dataset, model
    and metric ids are looked at for their form only; whether they exist cannot be known offline.
    """
    problems = []
    if data.get("library_name") is None:
        message = "library_name is missing: the Hub no longer guesses it for repositories made after August 2024"
        problems.append(
            Problem("advice", "library_name", message, "add `library_name: transformers`, or the one meant")
        )
    for field, checks in RULES.items():
        if (value := data.get(field)) is not None:
            problems += [problem for check in checks for problem in check(field, value, data)]
        elif field in data and field != "library_name":
            problems.append(Problem("advice", field, f"{field} is empty", f"give {field} a value or remove the line"))
    return problems


def write_front_matter(data: Mapping[str, object]) -> str:
    """Return metadata as YAML, without the fences, such that ``yaml.safe_load`` gives the same data again.

    For ordinary metadata these are the bytes of huggingface_hub's ``ModelCardData(**data).to_yaml()`` with the keys in
    their order, so the client can read and rewrite the card without a diff. It is not called here because it does not
    keep everything: NEL becomes LF, a no-break space at the end is cut, equal tags become one, a model-index is moved
    to the end and loses the keys it does not know. As there, a field whose value is None is left out.

    Raises:
        CardError: A value is not a plain str, int, float, bool, None, list or dict (a numpy scalar would be written as
            ``!!python/object``, which the Hub rejects), a key is not a str, or the nesting is deeper than can be read.
    """
    for key, value in data.items():
        _require_plain(key, key, depth=2)
        _require_plain(key, value, depth=2)
    plain = {key: value for key, value in data.items() if value is not None}
    return yaml.dump(plain, Dumper=_CardDumper, sort_keys=False, allow_unicode=True).rstrip("\n")


def _require_plain(path: object, value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise CardError(f"metadata {path} is nested more than {MAX_DEPTH} deep", hint="flatten it, or remove a loop")
    # Exact types: an enum member is a str and a numpy.float64 is a float, and neither is written as one.
    if type(value) is list:
        for index, item in enumerate(value):
            _require_plain(f"{path}[{index}]", item, depth + 1)
    elif type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise CardError(f"metadata {path} has the key {key!r}, not a str", hint="use a str as the key")
            _require_plain(f"{path}.{key}", item, depth + 1)
    elif type(value) not in (str, int, float, bool, type(None)):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise CardError(f"metadata {path} is a {kind}, not a plain value", hint="convert it: float(x), str(x), list(x)")


class _CardDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  a card repeats a list rather than point at it
        return True


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if _ODD_SPACE.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_CardDumper.add_representer(str, _represent_str)


class _CardLoader(yaml.SafeLoader):
    """A SafeLoader that refuses a key given twice, as the Hub's parser does, and what costs too much to read."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.open_anchors: list[str | None] = []  # one entry for each node around the present one
        self.aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > MAX_ALIASES or event.anchor in self.open_anchors:
                problem = f"more than {MAX_ALIASES} aliases, or one inside of what it stands for"
                raise _refused(problem, event.start_mark)
        if len(self.open_anchors) == MAX_DEPTH:
            raise _refused(f"nested more than {MAX_DEPTH} deep", event.start_mark)
        self.open_anchors.append(None if isinstance(event, yaml.AliasEvent) else event.anchor)
        node = super().compose_node(parent, index)
        self.open_anchors.pop()
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        # Here and not when constructing: merge keys have been folded in by then, and may repeat a key.
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _refused(f"duplicate key {key.value!r}", key.start_mark)
                seen.add((key.tag, key.value))
        return node


def _refused(problem: str, mark: Any) -> yaml.YAMLError:
    return yaml.composer.ComposerError(None, None, problem, mark)


@functools.cache
def _vocabulary() -> dict[str, list[str]]:
    vocabulary: dict[str, list[str]] = json.loads(Path(__file__).with_name("metadata_vocab.json").read_text("utf-8"))
    return vocabulary


def _near(text: str, known: Collection[str], otherwise: str) -> str:
    match = difflib.get_close_matches(text.lower().replace(" ", "-"), known, n=1)
    return f"did you mean {match[0]!r}?" if match else otherwise


_WANTED: dict[type, str] = {str: "a string", list: "a list", dict: "a mapping", object: "given a value"}


def _kind(value: object) -> str:
    return _WANTED.get(type(value), "null" if value is None else f"a {type(value).__name__}")


def _texts(field: str, value: object) -> list[tuple[str, str]]:
    """The strings of a field that is a string or a list, each with its name; anything else is `_shaped`'s to report."""
    items = [(f"{field}[{i}]", item) for i, item in enumerate(value)] if isinstance(value, list) else [(field, value)]
    return [(name, item) for name, item in items if isinstance(item, str)]


# --- the checks: (field, value, all metadata) -> problems ---

Check = Callable[[str, object, Mapping[str, object]], Iterator[Problem]]


def _shaped(*shapes: Any) -> Check:
    """A check that a value has one of the shapes: ``str``, ``[shape]``, ``{key: shape, "optional?": shape}``.

    ``object`` is anything but null. Only the last shape is looked into, so the simple ones come first.
    """

    def check(field: str, value: object, data: Mapping[str, object]) -> Iterator[Problem]:
        *simple, shape = shapes
        if type(value) in simple:
            return
        outer = type(shape) if isinstance(shape, (list, dict)) else shape
        if value is None or not isinstance(value, outer):
            wanted = " or ".join(_WANTED[kind] for kind in (*simple, outer))
            # What is meant as text but is not text in YAML: language `no`, tag `1.0`.
            unquoted = str in shapes and isinstance(value, (bool, int, float, datetime.date))
            fix = 'put it in quotes, as "no" or "1.0"' if unquoted else f"write {wanted}, or remove it"
            yield Problem("error", field, f"{field} must be {wanted}, not {_kind(value)}", fix)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from _shaped(shape[0])(f"{field}[{index}]", item, data)
        elif isinstance(value, dict) and isinstance(shape, dict):
            for key, inner in shape.items():
                name = key.removesuffix("?")
                if name in value:
                    yield from _shaped(inner)(f"{field}.{name}", value[name], data)
                elif not key.endswith("?"):
                    yield Problem("error", f"{field}.{name}", f"{field}.{name} is required", f"add {name} to {field}")

    return check


def _listed(vocabulary: str, severity: Severity) -> Check:
    """A check that every string is in one of the Hub's vocabularies."""

    def check(field: str, value: object, data: Mapping[str, object]) -> Iterator[Problem]:  # noqa: ARG001
        known = _vocabulary()[vocabulary]
        for name, text in _texts(field, value):
            if text not in known:
                fix = _near(text, known, f"use one of the Hub's {len(known)}, such as {', '.join(known[:4])}")
                yield Problem(severity, name, f'"{name}" must be one of those the Hub knows, not {text!r}', fix)

    return check


def _license_is_named(field: str, value: object, data: Mapping[str, object]) -> Iterator[Problem]:
    if any(text == "other" for _, text in _texts(field, value)):
        for needed, example in {"license_name": "my-license-1.0", "license_link": "LICENSE"}.items():
            if not data.get(needed):
                message = f"{needed} is missing beside license 'other'"
                yield Problem("advice", needed, message, f"add `{needed}: {example}`")


def _language_codes(field: str, value: object, data: Mapping[str, object]) -> Iterator[Problem]:  # noqa: ARG001
    known = [*_vocabulary()["languages"], *_vocabulary()["special_languages"]]
    for name, text in _texts(field, value):
        if text != text.lower():
            yield Problem("error", name, f"{name} must only contain lowercase characters", f"write {text.lower()!r}")
        elif text not in known and not re.fullmatch("[a-z]{3}", text):
            fix = "use a code such as 'en' (ISO 639-1), 'deu' (639-2/3), or 'code', 'multilingual'"
            yield Problem("error", name, f"{name} is {text!r}, which is not an ISO 639 language code", fix)


def _has_owner(field: str, value: object, data: Mapping[str, object]) -> Iterator[Problem]:  # noqa: ARG001
    for name, text in _texts(field, value):
        if "/" not in text:
            message = f"{name} is {text!r}: ids without an owner are old redirects, which `datasets` 5 refuses"
            yield Problem("advice", name, message, "write owner/name, as in bookcorpus/bookcorpus")


def _is_related(field: str, value: object, data: Mapping[str, object]) -> Iterator[Problem]:
    for name, text in _texts(field, value):
        if not _REPO_ID.fullmatch(text):
            yield Problem("error", name, f"{name} is {text!r}, which is not a model id", "write the id as owner/name")
    if data.get("base_model_relation") is None:
        message = "base_model without base_model_relation: the Hub would guess how the two are related"
        relations = ", ".join(_vocabulary()["base_model_relations"])
        yield Problem("advice", "base_model_relation", message, f"add base_model_relation ({relations})")


_RESULT = {
    "task": {"type": str},
    "dataset": {"type": str, "name": str, "config?": str},
    "metrics": [{"type": str, "value": object}],
    "source?": {"url": str},
}

RULES: dict[str, tuple[Check, ...]] = {
    "license": (_shaped(str, [str]), _listed("licenses", "error"), _license_is_named),
    "license_name": (_shaped(str),),
    "license_link": (_shaped(str),),
    "language": (_shaped(str, [str]), _language_codes),
    "library_name": (_shaped(str), _listed("library_names", "advice")),
    "pipeline_tag": (_shaped(str), _listed("pipeline_tags", "warning")),
    "tags": (_shaped([str]),),
    "metrics": (_shaped(str, [str]),),  # huggingface_hub's own tests push a single one
    "datasets": (_shaped(str, [str]), _has_owner),
    "base_model": (_shaped(str, [str]), _is_related),
    "base_model_relation": (_shaped(str), _listed("base_model_relations", "error")),
    "widget": (_shaped([{}]),),
    "model-index": (_shaped([{"name": str, "results": [_RESULT]}]),),
}
