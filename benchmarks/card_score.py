"""The demo model's card beside the one that sentence-transformers writes for the same folder, column by column.

The columns are those in which the comparison of model cards that hubpush began with puts them. Each has one rule, the
same for both cards: it finds a statement of the card and quotes it, or finds nothing. Comments, headings that nothing
follows and placeholders such as "[More Information Needed]" say nothing. The rules see whether something is said, not
whether it is true.

sentence-transformers writes its card in the run, offline, with the language, the licence and the name that our card
has. It is a card as it is after `save`: with training or an evaluation it would have more.

    make demo
    python -m benchmarks.card_score [--ours README.md] [--model FOLDER] [--least 10]
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from hubpush import metadata

DEMO = Path("build/demo-work/releases/demo--all-MiniLM-L6-v2-tf1/README.md")
NAME = "demo/all-MiniLM-L6-v2"  # what theirs is told to be
WIDEST = 132  # characters of a quotation

_FENCED_OR_COMMENT = re.compile(
    r"^(?P<fenced> {0,3}(?P<fence>`{3,}|~{3,}).*?^ {0,3}(?P=fence)[`~]*[ \t]*$)|<!--.*?(?:-->|\Z)",
    re.MULTILINE | re.DOTALL,
)
_PLACEHOLDER = re.compile(
    r"\b(?:TODO|TBD|FIXME)\b|(?i:more information needed|lorem ipsum|coming soon|\{\{|<(?:your|insert|add)[ _-]"
    # The last two are what the templates of huggingface_hub and sentence-transformers ask their users.
    r"|\[(?:your|insert|add|fill)\b|you could also flag here|\blist how the model may\b)"
)
_BLANK = re.compile(r"[\W_]*(?:unknown|none|n/?a)?[\W_]*", re.IGNORECASE)
_IMG = re.compile(r"""<img\b[^>]*\bsrc=["']([^"']+)""", re.IGNORECASE)
_IMAGE = re.compile(rb"\x89PNG\r\n|\xff\xd8\xff|GIF8|RIFF....WEBP|\s*(?:<\?xml[^>]*>\s*)?<svg\b", re.DOTALL)

_NUMBER = r"(?<![\w.])(?:\d+\.\d+(?:e[-+]?\d+)?|\d+e[-+]?\d+|0)(?!\w)"
_DIFFERENCE = re.compile(rf"\b(?:differ\w*|deviat\w*|errors?|max abs\w*)\b[^;]*?{_NUMBER}", re.IGNORECASE)
_ALLOWED = re.compile(rf"\b(?:allowed|tolerance|atol|threshold)\W{{1,3}}(?:of |is |at most )?{_NUMBER}", re.IGNORECASE)
_ORIGINAL = re.compile(r"\b(?:original|reference|source|upstream)\b", re.IGNORECASE)
_BENCHMARK = re.compile(
    r"\b(?:(?:Super)?GLUE|MTEB|(?:Nano)?BEIR|STS(?:-?B(?:enchmark)?|-dev|-test|1[2-6])?|SICK(?:-R)?|SQuAD|[MX]NLI|SST-?2"
    r"|MRPC|QQP|QNLI|RTE|CoLA|WNLI|CoNLL(?:-?\d{4})?|MS ?MARCO|MMLU|ImageNet)\b(?:\s+v?\d\.\d\b)?",
    re.IGNORECASE,
)
_FIGURE = re.compile(r"(?<![\w.])\d{1,2}\.\d{1,4}(?![\w.]*\w)|(?<![\w.])\d{1,3}(?:\.\d+)? ?%")
_FROM = re.compile(r"\b(?:source|base model|(?:converted|derived|fine-?tuned) from|original|upstream)\b", re.IGNORECASE)
_EXACT = re.compile(
    r"\b[0-9a-f]{64}\b|\b[0-9a-f]{40}\b|\b(?:revision|commit)\W{1,3}[0-9a-f]{7,}\b|/(?:tree|resolve|blob|commit)/[0-9a-f]{7,}\b"
    r"|https?://\S+\.(?:zip|tar|tgz|tar\.gz|bin|h5|npz|ckpt|safetensors)\b",
    re.IGNORECASE,
)
_LIBRARY = re.compile(
    r"\b(?P<name>(?:py)?torch|tensorflow|(?:sentence[ -])?transformers|tokenizers|safetensors|numpy|keras(?:-hub)?|jax"
    r"|flax|datasets|accelerate|onnx(?:runtime)?|optimum|peft|mlx(?:-lm)?)\b\W{1,3}v?\d+\.\d+[\w.+]*",
    re.IGNORECASE,
)
_BIBTEX = re.compile(r"@\w+\{\s*[^\s,{}]+\s*,")
_FIELD = re.compile(r'(?P<key>\w+)\s*=\s*(?:\{(?P<braced>(?:[^{}]|\{[^{}]*\})*)\}|"(?P<quoted>[^"]*)")')
_ABOUT_LIMITS = re.compile(r"\b(?:limit\w*|bias\w*|risks?|out-of-scope)\b", re.IGNORECASE)
_LIMIT = re.compile(
    r"\b(?:only|not|no|nothing|cannot|never|bias\w*|limit\w*|risk\w*|fail\w*|worse|cut|truncat\w*|stereotyp\w*)\b",
    re.IGNORECASE,
)
_ABOUT_VERSIONS = re.compile(r"\b(?:versions?|changelog|release notes|history)\b", re.IGNORECASE)
_OF_SOFTWARE = re.compile(r"\b(?:framework|librar\w+|software|package|requirement)s?\b", re.IGNORECASE)
_VERSION = re.compile(r"(?:(?:tag|version):? )?v?\d+(?:\.\d+)*(?!\.?\w)\W+\w", re.IGNORECASE)
_REPO_ID = re.compile(r"(?!path/|(?:your|user|org|my)\w*[-/])[\w.-]+/[\w.-]+", re.ASCII | re.IGNORECASE)
_PRINTED = re.compile(r"\s*#\s*(?:[\[({'\"]|-?\d|tensor\(|array\()")


@dataclass(frozen=True)
class Part:
    """One thing that a card says: a paragraph, an item, a row of a table or a block of code.

    Attributes:
        headings: What it stands under, outermost first.
        text: Its words without markup; a row reads ``head: cell; head: cell``.
        cells: Those of a row.
        links: Where its links lead.
        language: Of code: what its fence names, else empty. None for what is no code.
    """

    headings: tuple[str, ...]
    text: str
    cells: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    language: str | None = None


@dataclass(frozen=True)
class Card:
    """A README.md, read: what it says, without comments and placeholders.

    Attributes:
        folder: Where it stands, for its images.
        data: Its front matter.
        refused: Whether the Hub would refuse the front matter.
        parts: Its body in order.
        images: Addresses of its images.
        size: In bytes.
    """

    folder: Path
    data: Mapping[str, Any]
    refused: bool
    parts: tuple[Part, ...]
    images: tuple[str, ...]
    size: int

    def prose(self) -> Iterator[Part]:
        """Its parts that are no code."""
        return (part for part in self.parts if part.language is None)


def read(path: Path) -> Card:
    """Read the card in a file."""
    content = path.read_text("utf-8")
    body = _FENCED_OR_COMMENT.sub(lambda found: found["fenced"] or "", metadata.split_front_matter(content)[1])
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(body)
    return Card(
        path.parent,
        metadata.read_front_matter(content),
        any(problem.severity == "error" for problem in metadata.check_card(content)),
        tuple(part for part in _parts(tokens) if _says(part.text)),
        tuple(_images(tokens)),
        len(content.encode()),
    )


def _parts(tokens: Sequence[Token]) -> Iterator[Part]:
    headings: list[tuple[int, str]] = []
    heads: list[str] = []
    cells: list[str] = []
    links: list[str] = []
    for at, token in enumerate(tokens):
        under = tuple(text for _, text in headings)
        opened = tokens[at - 1].type if at else ""
        if token.type == "table_open":
            heads = []
        elif token.type == "tr_open":
            cells, links = [], []
        elif token.type == "tr_close" and not heads:
            heads = cells
        elif token.type == "tr_close":
            said = (f"{head}: {cell}" if head else cell for head, cell in zip(heads, cells, strict=True) if cell)
            yield Part(under, "; ".join(said), tuple(cells), tuple(links))
        elif token.type == "inline" and opened == "heading_open":
            level = int(tokens[at - 1].tag[1:])
            headings = [*(one for one in headings if one[0] < level), (level, _text(token))]
        elif token.type == "inline" and opened in ("th_open", "td_open"):
            cells.append(_text(token))
            links += _links(token)
        elif token.type == "inline":
            yield Part(under, _text(token), links=tuple(_links(token)))
        elif token.type == "html_block":
            yield Part(under, " ".join(re.sub(r"<[^>]*>", " ", token.content).split()))
        elif token.type in ("fence", "code_block"):
            yield Part(under, token.content, language=(token.info.split() or [""])[0].lower())


def _text(token: Token) -> str:
    said = (
        " " if child.type in ("softbreak", "hardbreak") else child.content
        for child in token.children or ()
        if child.type not in ("image", "html_inline")
    )
    return "".join(said).strip()


def _links(token: Token) -> Iterator[str]:
    return (str(child.attrs["href"]) for child in token.children or () if child.type == "link_open")


def _images(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        for one in (token, *(token.children or ())):
            if one.type == "image":
                yield str(one.attrs["src"])
            elif one.type in ("html_block", "html_inline"):
                yield from _IMG.findall(one.content)


def _says(value: object) -> bool:
    """Whether a text is one: not empty, and no placeholder."""
    return isinstance(value, str) and not _BLANK.fullmatch(value) and not _PLACEHOLDER.search(value)


# The columns: each returns what it found, quoted, or None


def has_metadata(card: Card) -> str | None:
    """Front matter that the Hub takes, with the library, the task and tags: what a model is found and loaded by."""
    tags = card.data.get("tags")
    tagged = isinstance(tags, list) and any(map(_says, tags))
    if card.refused or not tagged or not all(_says(card.data.get(key)) for key in ("library_name", "pipeline_tag")):
        return None
    return _quoted(", ".join(card.data))


def has_usage(card: Card) -> str | None:
    """Python that compiles, imports something and hands a repo id to a call; and whether what it prints is shown."""
    for at, part in enumerate(card.parts):
        if part.language in ("python", "py") and (call := _loading(part.text)):
            shown = _output(part, card.parts[at + 1 : at + 3])
            count = sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in part.text.splitlines())
            return f"{call}; {count} lines; {f'shows its output: {shown}' if shown else 'shows no output'}"
    return None


def _loading(code: str) -> str | None:
    """The line of a program that loads a model by its repo id."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except SyntaxError:
        return None
    if any(isinstance(node, ast.Constant) and node.value is ... for node in nodes):
        return None
    if not any(isinstance(node, ast.Import | ast.ImportFrom) for node in nodes):
        return None
    for node in nodes:
        if isinstance(node, ast.Call):
            given = (
                one for one in (*node.args, *(key.value for key in node.keywords)) if isinstance(one, ast.Constant)
            )
            if any(isinstance(one.value, str) and _REPO_ID.fullmatch(one.value) for one in given):
                return _quoted(code.splitlines()[node.lineno - 1].strip())
    return None


def _output(part: Part, following: Sequence[Part]) -> str | None:
    """The first line of what a program prints: in a comment below its `print`, or in a block of text that follows."""
    lines = part.text.splitlines()
    prints = [
        node
        for node in ast.walk(ast.parse(part.text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    for node in prints:
        below = lines[node.end_lineno] if node.end_lineno and node.end_lineno < len(lines) else ""
        if _PRINTED.match(below):
            return _quoted(below.strip())
    for other in following if prints else ():
        if other.headings == part.headings and other.language in ("", "text", "txt", "console", "output"):
            return _quoted(other.text.strip().splitlines()[0])
        if other.language is not None:
            break
    return None


def has_eval(card: Card) -> str | None:
    """Figures of a named benchmark: a model-index with a data set and a number, or figures in a section naming one."""
    for name, value in _indexed(card.data):
        return f"model-index: {name} {value}"
    for part in card.prose():
        section = " ".join([*part.headings, *(other.text for other in card.prose() if other.headings == part.headings)])
        named = _BENCHMARK.search(section if part.cells else part.text)
        if named and (figure := _FIGURE.search(_BENCHMARK.sub("", part.text))):
            at = part.text.find(figure[0])
            return f"{named[0]}: {_quoted(part.text, at, at + len(figure[0]))}"
    return None


def _indexed(data: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The data sets and numbers of a model-index."""
    for model in _mappings(data.get("model-index")):
        for result in _mappings(model.get("results")):
            of = result.get("dataset")
            name = of.get("name") if isinstance(of, Mapping) else None
            for metric in _mappings(result.get("metrics")):
                value = metric.get("value")
                if _says(name) and isinstance(value, int | float) and not isinstance(value, bool):
                    yield str(name), value


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def has_provenance(card: Card) -> str | None:
    """What it was made from, to the byte: a digest, a revision or the address of a file, where the source is named."""
    for part in card.prose():
        if _FROM.search(part.text) and _EXACT.search(" ".join([part.text, *part.links])):
            found = _EXACT.search(part.text)
            return _quoted(part.text, *(found.span() if found else ()))
    return None


def has_parity(card: Card) -> str | None:
    """A difference from the original, as a number, and the number that was allowed, in one statement."""
    for part in sorted(card.prose(), key=lambda part: not part.cells):  # a row says it shortest
        measured, allowed = _DIFFERENCE.search(part.text), _ALLOWED.search(part.text)
        if measured and allowed and _ORIGINAL.search(part.text):
            first, last = min(measured.start(), allowed.start()), max(measured.end(), allowed.end())
            return _quoted(part.text, first, last)
    return None


def has_environment(card: Card) -> str | None:
    """Versions of at least two libraries that run models."""
    found = {match["name"].lower(): match[0] for part in card.prose() for match in _LIBRARY.finditer(part.text)}
    return _quoted(", ".join(found.values())) if len(found) > 1 else None


def has_licence(card: Card) -> str | None:
    """A licence in the front matter that the Hub knows, or `other` with a name; not `unknown`."""
    problems = metadata.check_metadata(card.data)
    given = card.data.get("license")
    first = given[0] if isinstance(given, list) and given else given
    if not _says(first) or any(one.severity == "error" and one.field.startswith("license") for one in problems):
        return None
    return None if first == "other" and not _says(card.data.get("license_name")) else f"license: {first}"


def has_citation(card: Card) -> str | None:
    """A BibTeX entry with a title and an author."""
    for part in card.parts:
        if part.language is not None and (entry := _BIBTEX.search(part.text)):
            fields = {field["key"].lower(): field["braced"] or field["quoted"] for field in _FIELD.finditer(part.text)}
            if _says(fields.get("title")) and _says(fields.get("author")):
                return _quoted(f"{entry[0]} {fields['title']}")
    return None


def has_limits(card: Card) -> str | None:
    """A statement of what it cannot do, under a heading that announces one."""
    for part in card.prose():
        announced = any(_ABOUT_LIMITS.search(heading) for heading in part.headings)
        if announced and len(part.text.split()) > 4 and (found := _LIMIT.search(part.text)):
            return _quoted(part.text, *found.span())
    return None


def has_versions(card: Card) -> str | None:
    """A list of the model's own versions, with a word on each; the versions of libraries are another thing."""
    for part in card.prose():
        about = part.headings[-1] if part.headings else ""
        if _ABOUT_VERSIONS.search(about) and not _OF_SOFTWARE.search(about) and _VERSION.match(part.text):
            return _quoted(part.text)
    return None


def has_widget(card: Card) -> str | None:
    """An example for the widget in the front matter."""
    for example in _mappings(card.data.get("widget")):
        for key, value in example.items():
            if key not in ("example_title", "output") and (_says(value) or (isinstance(value, list) and value)):
                return _quoted(f"widget: {key}: {value}")
    return None


def has_plots(card: Card) -> str | None:
    """A picture that stands beside the card and is one."""
    folder = card.folder.resolve()
    for address in card.images:
        path = (folder / unquote(address)).resolve()
        if path.is_relative_to(folder) and path.is_file():
            content = path.read_bytes()
            if _IMAGE.match(content):
                return f"{address}, {len(content):,} bytes"
    return None


COLUMNS: Mapping[str, Callable[[Card], str | None]] = {
    "Metadata": has_metadata,
    "Usage": has_usage,
    "Eval": has_eval,
    "Provenance": has_provenance,
    "Parity evidence": has_parity,
    "Environment": has_environment,
    "Licence": has_licence,
    "Citation": has_citation,
    "Limits/bias": has_limits,
    "Versions": has_versions,
    "Widget": has_widget,
    "Plots": has_plots,
}


def score(card: Card) -> dict[str, str | None]:
    """What the card says in each column, None where it says nothing."""
    return {column: rule(card) for column, rule in COLUMNS.items()}


def _quoted(text: str, first: int = 0, last: int = 0) -> str:
    """As much of a text as a cell has room for: from its beginning, or from `first` if `last` would be cut off."""
    start = first if last > WIDEST else 0
    return f"{'…' if start else ''}{text[start : start + WIDEST]}{'…' if start + WIDEST < len(text) else ''}"


def table(ours: Card, theirs: Card) -> str:
    """Both scores as a table in Markdown, and the columns in which theirs has more."""
    found = score(ours), score(theirs)
    rows = [f"| {column} | {_cell(found[0][column])} | {_cell(found[1][column])} |" for column in COLUMNS]
    sums = " | ".join(f"**{sum(map(bool, one.values()))} of {len(COLUMNS)}**" for one in found)
    more = [column for column in COLUMNS if found[1][column] and not found[0][column]]
    neither = [column for column in COLUMNS if not found[1][column] and not found[0][column]]
    return "\n".join(
        [
            "| Column | hubpush | sentence-transformers |",
            "|:--|:--|:--|",
            *rows,
            f"| Columns | {sums} |",
            f"| Bytes | {ours.size:,} | {theirs.size:,} |",
            "",
            f"In theirs and not in ours: {', '.join(more) or 'none'}. In neither: {', '.join(neither) or 'none'}.",
        ]
    )


def _cell(quotation: str | None) -> str:
    if quotation is None:
        return "no"
    plain = " ".join(quotation.split()).replace("`", "'").replace("|", "\\|")
    return f"yes: `{plain}`"


def generate(model: Path, told: Mapping[str, Any], folder: Path) -> Path:
    """Have sentence-transformers save a model with mean pooling and a card of its own; returns the card.

    Args:
        model: The folder of a transformers model.
        told: Front matter, of which the language and the licence are handed on.
        folder: Where to save it.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardData
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    encoder = Transformer(str(model))
    data = SentenceTransformerModelCardData(
        language=told.get("language"),
        license=told.get("license"),
        model_name=NAME.rpartition("/")[2],
        model_id=NAME,
        local_files_only=True,
    )
    modules = [encoder, Pooling(encoder.get_embedding_dimension(), "mean")]
    SentenceTransformer(modules=modules, device="cpu", model_card_data=data).save(str(folder), create_model_card=True)
    return folder / "README.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and return 1 if our card has too few columns."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--ours", type=Path, default=DEMO, help="our card; by default the one of `make demo`")
    parser.add_argument("--model", type=Path, help="the model's folder; by default `model` beside our card")
    parser.add_argument("--least", type=int, default=10, help="columns that ours must have")
    given = parser.parse_args(arguments)
    model = given.model or given.ours.parent / "model"
    for needed in (given.ours, model / "config.json"):
        if not needed.is_file():
            parser.error(f"{needed} is missing; run `make demo`, or name the card with --ours")
    ours = read(given.ours)
    with tempfile.TemporaryDirectory() as place:
        print(table(ours, read(generate(model, ours.data, Path(place) / "theirs"))))
    has = sum(map(bool, score(ours).values()))
    if has < given.least:
        print(f"our card has {has} of {len(COLUMNS)} columns, fewer than {given.least}", file=sys.stderr)
    return int(has < given.least)


if __name__ == "__main__":
    sys.exit(main())
