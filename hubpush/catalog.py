"""What can be carried: families and their releases, read from TOML family files.

A family file has a few keys of its own, a table `[defaults]` with what its releases share, and one `[[releases]]` table
for each checkpoint. Every mistake in a file is named at once, with its key. The format is described in
docs/family-files.md.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from hubpush.architectures import ARCHITECTURES, Activation
from hubpush.errors import CatalogError, Mistake, UsageError

_FROZEN = ConfigDict(frozen=True, extra="forbid", strict=True)

_REPO_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")
_MAX_FILE = 4 * 1024 * 1024
_MAX_LABEL, _MAX_LABELS = 200, 10_000
_CONTROL = ("Cc", "Cs", "Zl", "Zp")

REFERENCES = ("graph", "tokenizer", "tfhub", "repo", "keras")
"""What parity can compare a published folder with: the original forward pass, the original tokenizer, a module of TF
Hub or Kaggle, another repo, and KerasHub."""


def is_allowed_url(value: str) -> bool:
    """Whether a source may be fetched from there: https, and plain http on the loopback interface alone."""
    return re.match(r"https://[^/]|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?(/|$)", value) is not None


def is_repo_name(name: str) -> bool:
    """Whether the Hub takes this as one part of a repo id (huggingface_hub's `validate_repo_id`)."""
    return not (_REPO_NAME.fullmatch(name) is None or "--" in name or ".." in name or name.endswith(".git"))


def is_repo_id(value: str) -> bool:
    """Whether the Hub takes this as OWNER/NAME."""
    owner, slash, name = value.partition("/")
    return bool(slash) and is_repo_name(owner) and is_repo_name(name)


def _repo_name(name: str) -> str:
    if not is_repo_name(name):
        raise ValueError("must be a repo name: letters, digits, '-', '_', '.', at most 96, no '--', '..' or '.git' end")
    return name


def _source(value: str) -> str:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value) and not is_allowed_url(value):
        raise ValueError("must be an https:// URL (http:// for this machine alone) or a path beside the family file")
    if not value.isprintable():
        raise ValueError("must not hold control characters")
    if is_allowed_url(value) and "@" in value.split("/")[2]:
        raise ValueError("must not hold a user name or password: it stands on the card")
    return value


def _url(value: str) -> str:
    if not re.match(r"https?://[^/\s]+\.[^/\s]+", value):
        raise ValueError("must be an address such as https://example.org")
    return value


def _arxiv(value: str) -> str:
    if not re.fullmatch(r"\d{4}\.\d{4,5}", value):
        raise ValueError("must be an arXiv id such as 1810.04805, not a URL")
    return value


def _architecture(value: str) -> str:
    known = {architecture.model_type for architecture in ARCHITECTURES.values()}
    if value not in known:
        raise ValueError(f"must be one of: {', '.join(sorted(known))}")
    return value


def _part(value: str) -> str:
    known = {architecture.part for architecture in ARCHITECTURES.values() if architecture.part}
    if value not in known:
        raise ValueError(f"must be one of: {', '.join(sorted(known))}")
    return value


def _task(value: str) -> str:
    known = {c.pipeline_tag for architecture in ARCHITECTURES.values() for c in architecture.classes}
    if value not in known:
        meant = {"ner": "token-classification", "sentiment-analysis": "text-classification", "qa": "question-answering"}
        wanted = f"{meant[value]} (for {value}), of: " if value in meant else ""
        raise ValueError(f"must be {wanted or 'one of: '}{', '.join(sorted(known))}")
    return value


def _labels(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(value) > _MAX_LABELS:
        raise ValueError(f"are {len(value):,}, at most {_MAX_LABELS:,} are taken")
    first: dict[str, int] = {}
    for n, label in enumerate(value):
        if not label.strip():
            raise ValueError(f"the name of score {n} is empty")
        if label != label.strip() or len(label) > _MAX_LABEL or any(unicodedata.category(c) in _CONTROL for c in label):
            raise ValueError(
                f"the name of score {n}, {label[:60]!r}, has white space around it, a control character, or more than"
                f" {_MAX_LABEL} characters"
            )
        if label in first:
            raise ValueError(f"the name of score {n} repeats {label!r} of score {first[label]}")
        first[label] = n
    return value


def _reference(value: str) -> str:
    name, has_where, where = value.partition("=")
    if name not in REFERENCES[2:] or (has_where and not where):
        raise ValueError(f"must be one of {', '.join(REFERENCES[2:])}, with =SOURCE or without")
    return value


def _repo_id(value: str) -> str:
    owner, slash, name = value.partition("/")
    if not slash:
        raise ValueError("must be OWNER/NAME")
    _repo_name(owner)
    _repo_name(name)
    return value


Text = Annotated[str, Field(min_length=1, max_length=4000)]
RepoName = Annotated[str, AfterValidator(_repo_name)]
RepoId = Annotated[str, AfterValidator(_repo_id)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
# TOML has arrays where these have tuples; strict mode would refuse the one for the other.
Texts = Annotated[tuple[Text, ...], Field(strict=False)]


class Divergence(BaseModel):
    """A difference from a reference of parity that is known and understood.

    Attributes:
        reference: Name of the reference, `tfhub`, `repo` or `keras`, and with `=` what it is: `tfhub=https://…`.
            Without it, whatever is given under that name.
        kind: What differs.
        why: The reason, for the card.
        link: Where it is told.
    """

    model_config = _FROZEN

    reference: Annotated[Text, AfterValidator(_reference)]
    kind: Literal["weights", "activation", "config", "tokenizer", "outputs"]
    why: Text
    link: Annotated[Text, AfterValidator(_url)] | None = None


class Release(BaseModel):
    """One checkpoint and everything that is said of it.

    Attributes:
        name: Name of the repo, without its owner.
        title: What people call the model.
        short: What they call it beside its siblings: a size, such as Tiny.
        source: https URL of an archive, or a path relative to the family file.
        config_file: bert_config.json, where it is not in the archive: a path beside the family file.
        vocab_file: vocab.txt, likewise.
        architecture: transformers' `model_type`; None takes what the names of the variables say.
        part: Which of the models that were trained together, where a checkpoint holds several.
        task: What a fine-tuned checkpoint was tuned for, by the Hub's name; None takes what its heads say.
        labels: Names of a classifier's scores, in the order of their numbers.
        averaged: Whether the moving averages of the weights are published instead of the raw ones.
        license: Licence id of the Hub; `license_name` and `license_link` go with `other`.
        language: ISO 639 codes.
        cased: Whether the vocabulary keeps case; None infers it from the vocabulary where that is plain.
        activation: The GELU form that the released code computes; None takes the architecture's.
        activation_source: Where that is known from.
        vocab_lines: Lines of the vocabulary, where the embedding table has more rows than that.
        config: Values that the original config must have, for example `num_hidden_layers`.
        data_sha256: Expected SHA-256 of the checkpoint's data file, where another publication of it is known.
        official_repo: The established conversion on the Hub, the authors' own where there is one; what `--parity repo`
            compares with.
        tfhub: URL of the TF Hub or Kaggle module of this checkpoint, or a path beside the family file; what `--parity
            tfhub` compares with.
        divergences: Known differences from references. One that is declared has to be there when it is looked for.
        glue: GLUE test scores as the authors published them, by task.
    """

    model_config = _FROZEN

    name: RepoName
    title: Text
    short: Text | None = None
    source: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_source)]
    config_file: Text | None = None
    vocab_file: Text | None = None
    architecture: Annotated[str, AfterValidator(_architecture)] | None = None
    part: Annotated[str, AfterValidator(_part)] | None = None
    task: Annotated[str, AfterValidator(_task)] | None = None
    labels: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_labels)] = ()
    averaged: bool = False
    license: Text
    license_name: Text | None = None
    license_link: Text | None = None
    language: Texts = ()
    cased: bool | None = None
    activation: Activation | None = None
    activation_source: Text | None = None
    vocab_lines: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    tags: Texts = ()
    datasets: Texts = ()
    training: Text | None = None
    intended_use: Text | None = None
    limitations: Text | None = None
    homepage: Annotated[Text, AfterValidator(_url)] | None = None
    arxiv: Annotated[tuple[Annotated[str, AfterValidator(_arxiv)], ...], Field(strict=False)] = ()
    citations: Texts = ()
    official_repo: RepoId | None = None
    tfhub: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_source)] | None = None
    divergences: Annotated[tuple[Divergence, ...], Field(strict=False)] = ()
    note: Text | None = None
    config: Mapping[str, Annotated[int, Field(ge=0, lt=2**31)]] = {}
    data_sha256: Sha256 | None = None
    glue: Mapping[str, Annotated[float, Field(allow_inf_nan=False)]] = {}
    glue_note: Text | None = None

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        tables = [a for a in ARCHITECTURES.values() if self.architecture in (None, a.model_type)]
        sizes = {row.key for table in tables for row in table.config if row.kind == "size"}
        if self.glue and not self.glue_note:
            raise ValueError("glue: needs glue_note, which says whose numbers they are")
        if odd := sorted(self.config.keys() - sizes):
            owner = self.architecture or "a model"
            raise ValueError(f"config: {', '.join(odd)} is not a size of {owner}: {', '.join(sorted(sizes))}")
        if self.part is not None and all(table.part != self.part for table in tables):
            raise ValueError(f"part: {self.architecture} has no {self.part}")
        if self.task is not None and all(self.task != c.pipeline_tag for table in tables for c in table.classes):
            raise ValueError(f"task: {self.architecture} is not published for {self.task}")
        if self.activation_source is not None and self.activation is None:
            raise ValueError("activation_source: says where `activation` is known from, which is missing")
        if self.license == "other" and not (self.license_name and self.license_link):
            raise ValueError("license: other needs license_name and license_link")
        return self


LISTED = 100
"""Releases of a family up to which each card lists its siblings. In a larger one a card would grow with the family, and
each new release would republish all: there the collection lists them, to which the Hub links from every model."""


class Sibling(BaseModel):
    """What the card of one release says of another one of its family: no more, or each title would change all cards.

    Attributes:
        name: Name of the repo, without its owner.
        short: What they call it beside its siblings.
        layers: Number of layers, where the family file says it.
        hidden: Hidden size, likewise.
    """

    model_config = _FROZEN

    name: RepoName
    short: Text | None = None
    layers: int | None = None
    hidden: int | None = None

    @classmethod
    def of(cls, release: Release) -> Self:
        """What is said of a release."""
        sizes = release.config
        return cls(
            name=release.name,
            short=release.short,
            layers=sizes.get("num_hidden_layers"),
            hidden=sizes.get("hidden_size"),
        )


class Family(BaseModel):
    """A set of releases that are published together.

    Attributes:
        format: Number of the format.
        name: What the family is called on the command line.
        title: What people call it.
        summary: What it is, in a sentence or two.
        templates: A directory beside the family file whose templates replace hubpush's of the same names.
        releases: Its checkpoints.
    """

    model_config = _FROZEN

    format: Literal[1]
    name: RepoName
    title: Text
    summary: Text
    templates: Text | None = None
    releases: Annotated[tuple[Release, ...], Field(strict=False, min_length=1)]


def stripped(one: Sibling) -> Release:
    """A release of which nothing is known but what its siblings' cards say."""
    sizes = {"num_hidden_layers": one.layers, "hidden_size": one.hidden}
    config = {key: size for key, size in sizes.items() if size is not None}
    # Not checked again: it was, and a licence such as `other` would ask for what no sibling's card says.
    return Release.model_construct(
        name=one.name, title=one.name, short=one.short, source="-", license="-", config=config
    )


def siblings(family: Family, release: Release) -> tuple[Sibling, ...]:
    """What the card of a release lists: its family with itself, or itself alone in a family of more than `LISTED`."""
    return tuple(map(Sibling.of, family.releases if len(family.releases) <= LISTED else (release,)))


class Pin(BaseModel):
    """What a source must be: the entry of a lock file."""

    model_config = _FROZEN

    size: Annotated[int, Field(ge=0)] | None = None
    sha256: Sha256
    etag: str | None = None


class Lock(BaseModel):
    """`<family>.lock.json`: the sources of a family, pinned. Keys are sources as the family file writes them."""

    model_config = _FROZEN

    format: Literal[1] = 1
    sources: Mapping[str, Pin] = {}


def shipped() -> list[str]:
    """Names of the families that come with hubpush."""
    folder = resources.files("hubpush") / "catalogs"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def locate(family: str) -> Path:
    """The file of a family that is named, or given as a path to a `.toml`.

    Raises:
        CatalogError: There is no such family.
    """
    if family.endswith(".toml") or "/" in family:
        return Path(family)
    path = Path(str(resources.files("hubpush") / "catalogs" / f"{family}.toml"))
    if not path.is_file():
        raise CatalogError(
            f"there is no family {family!r}",
            hint=f"shipped families: {', '.join(shipped())}; a family of your own is given as a path ending in .toml",
        )
    return path


def load(path: Path) -> tuple[Family, Lock]:
    """Read and check a family file, and the lock beside it where there is one.

    Raises:
        CatalogError: The file cannot be read, is not TOML, or says something wrong; all mistakes are in the message.
    """
    raw = _read(path, "family file")
    try:
        data = tomllib.loads(raw)
    except tomllib.TOMLDecodeError as error:
        named = re.search(r"\(at line ([0-9]{1,9}),", str(error))
        line = int(named[1]) if named else raw.rstrip().count("\n") + 1  # at end of document
        mistakes = (Mistake(path, line, f"not TOML: {error}"),)
        hint = "correct the file at the place named"
        raise CatalogError(f"{path} is not TOML: {error}", hint=hint, mistakes=mistakes) from None
    except RecursionError:
        raise _at(path, "is nested like no family file", "correct its lists and tables") from None
    except ValueError:  # int()'s own
        raise _at(path, "has a number of thousands of digits", "correct the number") from None
    defaults = data.pop("defaults", {})
    releases = data.get("releases")
    if not isinstance(releases, list):
        releases = []
    elif isinstance(defaults, dict):
        data["releases"] = [defaults | r if isinstance(r, dict) else r for r in releases]
    problems: dict[str, str] = {}
    family = None
    try:
        family = Family.model_validate(data)
    except ValidationError as error:
        problems |= _explain(error, releases, defaults)
    if not isinstance(defaults, dict):
        problems["defaults"] = "must be a table"
    seen: set[str] = set()
    for i, release in enumerate(data["releases"] if releases else []):
        name = release.get("name") if isinstance(release, dict) else None
        if isinstance(name, str):
            if name.lower() in seen:
                problems[f"releases[{i}].name"] = f"is used twice ({name}); the Hub does not tell case apart"
            seen.add(name.lower())
    if problems or family is None:
        lines = "".join(f"\n  {key}: {text}" for key, text in problems.items())
        raise CatalogError(
            f"{path} has {len(problems)} mistake{'s' * (len(problems) > 1)}:{lines}",
            hint="the keys are described in docs/family-files.md; `hubpush catalog FILE` checks the file again",
            mistakes=_placed(path, raw, problems),
        )
    return family, load_lock(path.with_suffix(".lock.json"))


def load_lock(path: Path) -> Lock:
    """Read a lock file; an absent one pins nothing.

    Raises:
        CatalogError: The file is not a lock.
    """
    if not path.exists():
        return Lock()
    try:
        return Lock.model_validate_json(_read(path, "lock"), strict=False)
    except ValidationError as error:
        found = _explain(error, [], {})
        lines = "".join(f"\n  {key}: {text}" for key, text in found.items())
        named = re.search(r" at line ([0-9]{1,9}) column ", lines)  # of JSON that is none
        mistakes = tuple(Mistake(path, int(named[1]) if named else None, f"{k}: {t}") for k, t in found.items())
        hint = "restore it from version control"
        raise CatalogError(f"{path} is not a lock file:{lines}", hint=hint, mistakes=mistakes) from None


def write_lock(path: Path, lock: Lock) -> None:
    """Write a lock file whole or not at all, sorted, so that a change reads well in review.

    Raises:
        CatalogError: It cannot be written there.
    """
    data = lock.model_dump(exclude_none=True)
    data["sources"] = dict(sorted(data["sources"].items()))
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8", newline="\n")
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise CatalogError(
            f"the lock {path} cannot be written: {error.strerror}", hint="check the path and the disk"
        ) from None


def select(family: Family, patterns: Iterable[str]) -> tuple[Release, ...]:
    """The releases that match any of the globs, in the family's order; all of them without globs.

    Raises:
        CatalogError: A glob matches nothing.
    """
    patterns = tuple(patterns)
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(release.name.lower(), pattern.lower()) for release in family.releases):
            raise CatalogError(
                f"no release of {family.name} matches {pattern!r}",
                hint="`hubpush catalog` with this family lists them; quote globs so that the shell leaves them alone",
            )
    return tuple(
        r
        for r in family.releases
        if not patterns or any(fnmatch.fnmatchcase(r.name.lower(), p.lower()) for p in patterns)
    )


def single(repo_id: str, source: str, **facts: Any) -> Family:
    """A family of one: a checkpoint that somebody has, without a family file.

    Raises:
        UsageError: The repo id or one of the facts is not valid.
    """
    name = repo_id.partition("/")[2]
    try:
        _repo_id(repo_id)
        # A local path is no URL and no path beside a family file; it is given to the source station as it is.
        release = Release.model_validate({"name": name, "title": name, "source": source, **facts})
    except ValidationError as error:
        found = _explain(error, [], {})
        lines = "; ".join(text if key == "file" else f"--{key}: {text}" for key, text in found.items())
        raise UsageError(lines, hint="`hubpush COMMAND --help` says what each option takes") from None
    except ValueError as error:
        raise UsageError(f"--repo-id {repo_id!r} {error}", hint="for example --repo-id my-org/my-bert") from None
    return Family(format=1, name=name, title=name, summary=f"The checkpoint {name}.", releases=(release,))


def read_labels(path: Path) -> tuple[str, ...]:
    """The names of a classifier's scores: one a line, in the order of their numbers.

    Raises:
        UsageError: The file cannot be read.
    """
    try:
        text = _read(path, "label file")
    except CatalogError as error:
        raise UsageError(error.message, hint="--labels names a text file with one label a line") from None
    if _is_json(text):
        raise UsageError(
            f"{path} is JSON; --labels names a text file with one label a line",
            hint="write the names alone, the one of score 0 first",
        )
    return tuple(line.removesuffix("\r") for line in text.removeprefix("\ufeff").removesuffix("\n").split("\n"))


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):  # a list of labels may begin with [PAD]
        return False


def _read(path: Path, what: str) -> str:
    try:
        if not path.is_file() and path.exists() and not path.is_dir():
            raise _at(path, "is no ordinary file", f"is this the {what}?")
        if path.stat().st_size > _MAX_FILE:
            raise _at(path, f"is larger than {_MAX_FILE >> 20} MiB", f"is this the {what}?")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        mistakes = (Mistake(path, None, f"cannot be read: {error.strerror}"),)
        message = f"the {what} {path} cannot be read: {error.strerror}"
        raise CatalogError(message, hint="check the path", mistakes=mistakes) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise _at(path, f"is not UTF-8 (byte {error.start})", "save the file as UTF-8", line) from None


def _at(path: Path, what: str, hint: str, line: int | None = None) -> CatalogError:
    return CatalogError(f"{path} {what}", hint=hint, mistakes=(Mistake(path, line, what),))


def _placed(path: Path, raw: str, problems: Mapping[str, str]) -> tuple[Mistake, ...]:
    """Mistakes with the line of their key; where the key is not there, of the table that it belongs in."""
    lines, found = _lines(raw), []
    for key, text in problems.items():
        at = key
        while at and at not in lines:
            at = at[: max(at.rfind("."), at.rfind("["), 0)]
        found.append(Mistake(path, lines.get(at, 1), f"{key}: {text}"))
    return tuple(sorted(found, key=lambda one: one.line or 0))


# What may hold what looks like a key, and is none.
_STRINGS = re.compile(
    r'"""(?:\\.|[^\\])*?"""|' + r"'''.*?'''|" + r'"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'|#[^\n]*", re.DOTALL
)


def _lines(raw: str) -> dict[str, int]:
    """The lines of tables and bare keys of a TOML file that was parsed, by the names that `_explain` gives them."""
    plain = _STRINGS.sub(lambda found: "\n" * found[0].count("\n"), raw)
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(plain.split("\n"), 1):
        if (header := re.fullmatch(r"\s*(\[\[?)\s*([\w.-]+)\s*\]\]?\s*", line)) is not None:
            table = ""
            parts = header[2].split(".")
            for n, part in enumerate(parts):
                table = f"{table}.{part}".lstrip(".")
                if header[1] == "[[" and n == len(parts) - 1:
                    counts[table] = counts.get(table, 0) + 1
                if table in counts:
                    table += f"[{counts[table] - 1}]"
                lines.setdefault(table, number)
        elif (key := re.match(r"\s*([\w-]+(?:\.[\w-]+)*)\s*=", line)) is not None:
            at = table
            for part in key[1].split("."):
                at = f"{at}.{part}".lstrip(".")
                lines.setdefault(at, number)
    return lines


def _explain(error: ValidationError, releases: list[Any], defaults: object) -> dict[str, str]:
    """Mistakes by their key; one in `[defaults]` is named once and there, not once for each release."""
    problems: dict[str, str] = {}
    for entry in error.errors(include_url=False, include_input=False):
        place = list(entry["loc"])
        if place == ["releases"] and entry["type"] == "too_short" and releases:
            continue  # pydantic counts the sound ones, and the others are named
        if len(place) > 2 and place[0] == "releases" and isinstance(place[1], int) and isinstance(defaults, dict):
            own = releases[place[1]] if place[1] < len(releases) else {}
            if place[2] in defaults and place[2] not in own:
                place = ["defaults", *place[2:]]
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
        text = entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(place[-1]), [*Release.model_fields, *Family.model_fields], 1)
            text = "is not a key here" + (f"; did you mean {near[0]}?" if near else "")
        elif entry["type"] == "tuple_type":
            text = 'must be a list, for example ["en"]'
        elif entry["type"] == "missing":
            text = "is missing"
        problems[key or "file"] = text[0].lower() + text[1:]
    return problems
