"""A repo as the Hub shows it: the card as HTML, and the Hub's chrome around it.

`markdown` renders a card in the Hub's dialect and lets nothing through that could run, load or leave the card;
`repository` puts pills, files, versions and the side column around it; `document` makes a page of it. The embedded Hub
and the preview of a dry run show both the same. The Hub's own stylesheet is not published, so that of the page,
`page.css`, is one of our own.

Everything that comes from outside is hostile: cards and metadata are read from other people's repos.
"""

from __future__ import annotations

import base64
import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from hubpush import metadata

HUB = "https://huggingface.co"

MAX_CARD = 200_000
"""Characters of Markdown that are rendered; of a longer card the beginning is shown as it is."""

# The time for some texts grows with the square of these, so a paragraph and a depth have an end of their own.
_PARAGRAPH = 20_000  # characters
_CELLS = 50_000  # of all tables: a row of one cell gets as many as its table has columns
_SCORE = 1e9  # the largest that is shown
_DEPTH = 1000  # elements within each other

_ROWS = 1000  # of a list of files
_PILLS = 60
_ADDRESS = 3000  # characters
_CODE, _CODES = 20_000, 60_000  # characters of code that are coloured: of one block, of a card
_IMAGES = 8 << 20  # characters of pictures that a page holds in itself
_HUB = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/", re.IGNORECASE)
_ARXIV = re.compile(
    r'href="https?://(?:(?:www\.|export\.)?arxiv\.org/(?:abs|pdf)|huggingface\.co/papers)/([0-9]{4}\.[0-9]{4,5})'
)
# Controls, halves of characters, and what writes backwards: a name must not look like another one.
_ODD = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Links:
    """Where the links of a card lead.

    Attributes:
        root: What stands before an address that begins with `/`: the Hub, or nothing on an embedded one.
        file: The address of a file of the repo, by its path.
        image: What an image of the repo is loaded from, by its path; None shows its text in its place.
        repo: The page of a repo that can be seen here, by its id; None for all others.
    """

    root: str
    file: Callable[[str], str]
    image: Callable[[str], str | None]
    repo: Callable[[str], str | None]


@dataclass(frozen=True)
class File:
    """A file of a repo; without a digest where none is known."""

    path: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True)
class Version:
    """A tag or branch: its name, its page (none: not a link), and what is known of it."""

    name: str
    address: str = ""
    date: str = ""
    change: str = ""
    note: str = ""


@dataclass(frozen=True)
class Commit:
    """A commit: its page, what it is called, and when it was made (ISO 8601)."""

    address: str
    sha: str
    title: str
    date: str


@dataclass(frozen=True)
class Repo:
    """What the page of a repo shows.

    Attributes:
        repo_id: Where.
        readme: The whole README.md.
        files: All files.
        links: Where the links of the card lead.
        revision: The branch, tag or commit that is shown.
        commit: Its commit; nothing where there is none yet.
        parameters: Number of weights, where it is known.
        versions: The newest first.
        commits: The newest first.
        collections: Titles and addresses of the collections that hold the repo.
        tabs: Names and addresses of further pages.
    """

    repo_id: str
    readme: str
    files: Sequence[File]
    links: Links
    revision: str = "main"
    commit: str = ""
    parameters: int | None = None
    versions: Sequence[Version] = ()
    commits: Sequence[Commit] = ()
    collections: Sequence[tuple[str, str]] = ()
    tabs: Sequence[tuple[str, str]] = ()


# Words and pieces


def clean(value: object, most: int = 300) -> str:
    """Text on one side of a page: without control characters, and cut with an ellipsis after so many characters."""
    text = _ODD.sub("\ufffd", str(value)[: most + 1])
    return text if len(text) <= most else text[:most] + "…"


def text(value: object, most: int = 300) -> str:
    """`clean` text as HTML."""
    return escape(clean(value, most))


def link(address: str, shown: object) -> str:
    """A link; an address that could run something, or is no address by its length, leads nowhere."""
    safe = _safe(address) if len(address) < _ADDRESS else None
    return f'<a href="{escape(safe or "#")}">{text(shown)}</a>'


def size(count: float) -> str:
    """Bytes in the Hub's units."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def short(count: float) -> str:
    """A number of parameters as people say it: 4.39M."""
    for unit in ("", "K", "M"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}B"


def table(rows: Iterable[Sequence[str]], heads: Sequence[str] = (), name: str = "", numbers: Sequence[int] = ()) -> str:
    """A table of cells that are HTML already, in a box that scrolls.

    Args:
        rows: The cells.
        heads: Names of the columns.
        name: A class of the stylesheet.
        numbers: Which columns hold numbers.
    """

    def row(cells: Sequence[str], tag: str) -> str:
        shown = (
            f'<{tag} class="number">{cell}</{tag}>' if column in numbers else f"<{tag}>{cell}</{tag}>"
            for column, cell in enumerate(cells)
        )
        return f"<tr>{''.join(shown)}</tr>"

    head = f"<thead>{row(heads, 'th')}</thead>" if heads else ""
    kind = f' class="{name}"' if name else ""
    body = "".join(row(cells, "td") for cells in rows)
    return f'<div class="wide"><table{kind}>{head}<tbody>{body}</tbody></table></div>'


def document(title: str, body: str, *, script: str = "", in_file: bool = False) -> str:
    """A whole page.

    Args:
        title: Its title.
        body: HTML.
        script: The one script that it has.
        in_file: Whether it lies on a disk, where no header says what it may do.
    """
    allowed = (
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy(script, images="data:"))}">'
        '<meta name="referrer" content="no-referrer"><meta name="generator" content="hubpush preview">'
        if in_file
        else ""
    )
    foot = (
        "The Hub’s own stylesheet is not published: this page approximates what the Hub would show."
        " Its text, links, tables and metadata are those of the files."
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{allowed}'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head>\n<body>{body}"
        f'<footer class="foot">{foot}</footer>{f"<script>{script}</script>" if script else ""}</body></html>\n'
    )


def policy(script: str = "", *, images: str = "'self' data:") -> str:
    """The Content-Security-Policy of a page: its stylesheet, its one script if it has one, pictures, nothing else."""
    runs = f"script-src {_hash(script)}; " if script else ""
    return f"default-src 'none'; img-src {images}; style-src {_hash(_STYLE)}; {runs}base-uri 'none'; form-action 'none'"


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


# Markdown


def markdown(source: str, links: Links) -> str:
    """Markdown, below any front matter, as HTML that is safe to show."""
    source = _ODD.sub("\ufffd", source)
    if len(source) > MAX_CARD or _cells(source) > _CELLS:
        return f"<pre>{text(source, MAX_CARD)}</pre>"
    html = _parser().render(source, {})
    return f"<pre>{text(source, MAX_CARD)}</pre>" if _depth(html) > _DEPTH else _sanitised(html, links)


_RULE = re.compile(r"[ \t>|:-]*-[ \t>|:-]*")


def _cells(source: str) -> int:
    """How many cells the tables of a text have at most, by the lines that tell the columns of one."""
    columns = most = 0
    for line in source.splitlines():
        if "|" in line and _RULE.fullmatch(line):
            columns = line.count("|") + 1
        elif not line.strip():
            columns = 0
        most += columns
    return most


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("gfm-like", {"linkify": False, "maxNesting": 20, "xhtmlOut": False})
    parser.core.ruler.before("inline", "long", _set_long_aside)
    parser.core.ruler.push("as_the_hub", _as_the_hub)
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("table_open", lambda _self, tokens, at, *_: f'<div class="wide"><table{_kind(tokens[at])}>')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


def _depth(html: str) -> int:
    """How deep elements lie within each other, at most: those that end by themselves are counted as if they did not."""
    depth = most = 0
    for closing in re.findall(r"<(/?)(?!(?:br|hr|img|input|col|wbr)\b)[A-Za-z]", html):
        depth += -1 if closing else 1
        most = max(most, depth)
    return most


def _set_long_aside(state: StateCore) -> None:
    """Keep paragraphs that are too long from being parsed; `_as_the_hub` shows them as they are."""
    for token in state.tokens:
        if token.type == "inline" and len(token.content) > _PARAGRAPH:
            token.meta["long"], token.content = token.content, ""


def _kind(token: Token) -> str:
    return ' class="facts"' if token.meta.get("headless") else ""


def _as_the_hub(state: StateCore) -> None:
    """Ids of headings, links of bare addresses, alignment by class, task lists, and no head where a table has none."""
    used: dict[str, int] = {}
    kept: list[Token] = []
    opened, head = 0, 0  # where the last table began, and its head
    for at, token in enumerate(state.tokens):
        if token.type == "heading_open":
            said = "".join(c.content for c in state.tokens[at + 1].children or () if c.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", said.strip().lower()).replace(" ", "-")[:200]
            used[slug] = count = used.get(slug, -1) + 1
            token.attrSet("id", f"{slug}-{count}" if count else slug)
        elif token.type in ("th_open", "td_open") and (style := token.attrs.pop("style", None)):
            token.attrSet("class", f"align-{str(style).rpartition(':')[2]}")
        elif token.type == "inline" and "long" in token.meta:
            token.children = [Token("text", "", 0, content=token.meta["long"])]
        elif token.type == "inline" and token.children:
            token.children = _linked(token.children)
            if at > 1 and state.tokens[at - 2].type == "list_item_open" and token.children[0].type == "text":
                first = token.children[0]
                if mark := re.match(r"\[([ xX])\] ", first.content):
                    first.content = ("☐ " if mark[1] == " " else "☑ ") + first.content[4:]
        elif token.type == "table_open":
            opened = len(kept)
        elif token.type == "thead_open":
            head = len(kept)
        elif token.type == "thead_close" and not any(t.content.strip() for t in kept[head:] if t.type == "inline"):
            del kept[head:]
            kept[opened].meta["headless"] = True
            continue
        kept.append(token)
    state.tokens = kept


def _linked(children: list[Token]) -> list[Token]:
    """Inline tokens with bare addresses made links, as GFM does."""
    if not any(child.type == "text" and "://" in child.content for child in children):
        return children
    found: list[Token] = []
    depth = 0
    for child in children:
        raw = child.content.lower() if child.type == "html_inline" else ""
        depth += (child.type == "link_open") - (child.type == "link_close")
        depth += raw.startswith(("<a ", "<a>")) - raw.startswith("</a")
        if child.type != "text" or depth > 0:
            found.append(child)
            continue
        for index, part in enumerate(re.split(r"(\bhttps?://[^\s<>\"]+)", child.content)):
            address = re.sub(r"[?!.,:;*_~'’)\]]+$", "", part) if index % 2 else ""
            if part.startswith(f"{address})") and "(" in address:
                address += ")"
            if address:
                found += [
                    Token("link_open", "a", 1, attrs={"href": address}),
                    Token("text", "", 0, content=address),
                    Token("link_close", "a", -1),
                ]
            if rest := part[len(address) :]:
                found.append(Token("text", "", 0, content=rest))
    return found


def _fence(_self: object, tokens: Sequence[Token], at: int, _options: object, env: Any) -> str:
    token = tokens[at]
    language = (token.info.split() or [""])[0].lower()
    return f"<pre><code>{_coloured(token.content, language, env)}</code></pre>\n"


def _coloured(code: str, language: str, env: Any) -> str:
    """Code with spans of the classes t-k (keyword), t-s (string) and so on."""
    from pygments.lexers import data, javascript, python, shell
    from pygments.token import Comment, Generic, Keyword, Literal, Name, Operator

    # These few: a stranger's code must not choose among hundreds of lexers, some of which take for ever.
    bash, py = shell.BashLexer, python.PythonLexer
    lexers: Mapping[str, Any] = {
        **dict.fromkeys(("python", "py", "python3"), py),
        **dict.fromkeys(("bash", "sh", "shell", "zsh"), bash),
        **dict.fromkeys(("console", "shell-session"), shell.BashSessionLexer),
        **dict.fromkeys(("js", "javascript"), javascript.JavascriptLexer),
        **dict.fromkeys(("yaml", "yml"), data.YamlLexer),
        "pycon": python.PythonConsoleLexer,
        "json": data.JsonLexer,
    }
    env["coloured"] = env.get("coloured", 0) + len(code)
    if language not in lexers or len(code) > _CODE or env["coloured"] > _CODES:
        return escape(code, quote=False)
    colours = (
        (Comment, "c"), (Generic.Prompt, "c"), (Literal.String, "s"), (Literal.Number, "m"), (Keyword, "k"),
        (Operator.Word, "k"), (Name.Tag, "f"), (Name.Function, "f"), (Name.Class, "f"), (Name.Builtin, "b"),
        (Name.Variable, "b"),
    )  # fmt: skip
    found = lexers[language](stripnl=False, ensurenl=False).get_tokens(code)
    named = ((next((name for parent, name in colours if kind in parent), ""), value) for kind, value in found)
    shown = ""
    for name, pieces in groupby(named, key=itemgetter(0)):
        piece = escape("".join(value for _, value in pieces), quote=False)
        shown += f'<span class="t-{name}">{piece}</span>' if name else piece
    return shown


_TAGS = nh3.ALLOWED_TAGS - {"area", "article", "aside", "footer", "header", "map", "nav"}
_HEADINGS = {f"h{level}" for level in range(1, 7)}
_ATTRIBUTES: Mapping[str, set[str]] = {
    **{tag: set(names) for tag, names in nh3.ALLOWED_ATTRIBUTES.items()},
    **{tag: {"id"} for tag in _HEADINGS},
    "a": {"href", "id", "name", "title"},
    "img": {"src", "alt", "title", "width", "height"},
    "details": {"open"},
    "*": {"class", "align"},
}
# With what is in them: the text of a script is no text of the card.
_GONE = {"script", "style", "svg", "math", "iframe", "object", "title", "textarea", "noscript", "template", "select"}
_CLASS = re.compile(r"t-[a-z]|align-(?:left|right|center)|wide|facts|hidden|block|dark:(?:hidden|block)")


def _sanitised(html: str, links: Links) -> str:
    room = _IMAGES

    def attribute(tag: str, name: str, value: str) -> str | None:
        nonlocal room
        if name == "class":
            return " ".join(one for one in value.split() if _CLASS.fullmatch(one)) or None
        if name in ("id", "name"):  # the page's own have a dot
            return value if re.fullmatch(r"[\w-]{1,250}", value) else None
        if name == "href":
            return _href(value, links)
        if name == "src":
            path = _path(value) if tag == "img" else None
            found = links.image(path) if path else None
            room -= len(found or "")
            return found if room >= 0 else None
        return value

    return nh3.clean(
        html,
        tags=_TAGS,
        clean_content_tags=_GONE,
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        attribute_filter=attribute,
        url_schemes={"http", "https", "mailto"},
    )


def _safe(address: str) -> str | None:
    """An address that loads a page at most: nh3 looks at the schemes of those that the card has, this at all."""
    plain = _ODD.sub("", re.sub(r"[\t\n\r]", "", address)).strip(" ")  # as browsers read it
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", plain)
    return None if scheme and scheme[0].lower() not in ("http:", "https:", "mailto:") else plain


def _path(address: str) -> str | None:
    """The path in the repo that a relative address leads to; None for every other address."""
    plain = _safe(address)
    if plain is None:
        return None
    if _HUB.match(plain) or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|[/#?\\]", plain):
        return None
    path = posixpath.normpath(unquote(re.split("[?#]", plain, maxsplit=1)[0]))
    return None if path.startswith(("..", "/")) or path == "." or "\\" in path else path


def _href(value: str, links: Links) -> str | None:
    address = _safe(value)
    if address is None:
        return None
    if found := _HUB.match(address):
        parts = urlsplit("/" + address[found.end() :])
        here = links.repo(unquote(parts.path.strip("/"))) if parts.path.strip("/").count("/") == 1 else None
        return here + (f"#{parts.fragment}" if parts.fragment else "") if here else address
    if address.startswith("#") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", address):
        return address
    if re.match(r"[/\\]{2}", address):
        return "https://" + address.lstrip("/\\")
    if address.startswith("/"):
        return links.repo(unquote(address.strip("/"))) or links.root + address
    path = _path(address)
    return links.file(path) if path else None


# The page of a repo


def repository(repo: Repo, *, heading: str = "h1") -> str:
    """The chrome of the Hub around a card, as HTML for a `document`; the name of the repo is a heading of that rank."""
    data = metadata.read_front_matter(repo.readme)
    _, body = metadata.split_front_matter(repo.readme)
    card = markdown(body, repo.links)
    owner, _, name = repo.repo_id.partition("/")
    owned = link(f"/{owner}", owner) if not repo.links.root else text(owner)
    tabs = [("Model card", "#hub.card"), (f"Files {len(repo.files)}", "#hub.files")]
    tabs += [(f"Versions {len(repo.versions)}", "#hub.versions")] if repo.versions else []
    shown = "".join(f"<li>{link(address, label)}</li>" for label, address in (*tabs, *repo.tabs))
    pills = "".join(f'<li class="pill">{pill}</li>' for pill in islice(_pills(data, card, repo.files), _PILLS))
    return (
        f'<div class="hub"><{heading} class="repo-name"><span>{owned} /</span> {text(name)}</{heading}>'
        f'<ul class="pills">{pills}</ul><ul class="tabs">{shown}</ul>'
        f'<div class="columns"><div class="card" id="hub.card">{card or "<p>This repo has no model card.</p>"}</div>'
        f'<div class="side">{"".join(_side(repo, data))}</div></div>'
        f"{_files(repo)}{_commits(repo)}</div>"
    )


def _pills(data: Mapping[str, object], card: str, files: Sequence[File]) -> Iterable[str]:
    for key, label in (("pipeline_tag", ""), ("library_name", "")):
        if isinstance(data.get(key), str):
            yield f"{label}{text(data[key], 60)}"
    if any(file.path.endswith(".safetensors") for file in files):
        yield "safetensors"
    for key, label in (("license", "license"), ("language", "language"), ("datasets", "dataset")):
        yield from (f"<b>{label}:</b> {text(one, 60)}" for one in _strings(data.get(key)))
    yield from (f"<b>arxiv:</b> {number}" for number in dict.fromkeys(_ARXIV.findall(card)))
    yield from (text(one, 60) for one in _strings(data.get("tags")))


def _strings(value: object) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items[:_PILLS] if isinstance(item, str)]


def _side(repo: Repo, data: Mapping[str, object]) -> Iterable[str]:
    weights = [file for file in repo.files if file.path.endswith(".safetensors")]
    facts = [("Revision", f"<code>{text(repo.revision, 60)}</code>")]
    facts += [("Commit", f"<code>{text(repo.commit, 12).rstrip('…')}</code>")] if repo.commit else []
    facts += [("Parameters", short(repo.parameters))] if repo.parameters is not None else []
    facts += [("Safetensors", size(sum(file.size for file in weights)))] if weights else []
    facts += [("All files", size(sum(file.size for file in repo.files)))]
    yield f"<section><h3>Model</h3>{table(facts, name='facts')}</section>"
    if examples := "".join(_widget(one) for one in _dicts(data.get("widget"))[:10]):
        yield f"<section><h3>Inference examples</h3>{examples}</section>"
    if bases := _strings(data.get("base_model")):
        relation = data.get("base_model_relation")
        kind = f"{text(relation, 30)} of" if isinstance(relation, str) else "derived from"
        places = ((one, repo.links.repo(one) or f"{HUB}/{quote(one, errors='replace')}") for one in bases[:10])
        rows = "".join(f"<li>{kind} {link(address, one)}</li>" for one, address in places)
        yield f"<section><h3>Model tree</h3><ul>{rows}</ul></section>"
    if repo.collections:
        rows = "".join(f"<li>{link(address, title)}</li>" for title, address in repo.collections[:20])
        yield f"<section><h3>Collections</h3><ul>{rows}</ul></section>"
    if repo.versions:
        rows = "".join(f"<li>{_version(one)}</li>" for one in repo.versions[:200])
        yield f'<section id="hub.versions"><h3>Versions</h3><ul>{rows}</ul></section>'


def _version(one: Version) -> str:
    name = link(one.address, one.name) if one.address else f"<b>{text(one.name)}</b>"
    about = " · ".join(text(part, 120) for part in (one.date, one.change) if part)
    return f"{name} {one.note}{f'<br><small>{about}</small>' if about else ''}"


def _dicts(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _widget(one: Mapping[str, object]) -> str:
    """An example of the widget with what the card says that it gives."""
    title = f"<small>{text(one['example_title'], 100)}</small><br>" if isinstance(one.get("example_title"), str) else ""
    shown = one.get("text", {key: value for key, value in one.items() if key not in ("output", "example_title")})
    output = one.get("output")
    rows = []
    for score in _dicts(output)[:10]:
        number = score.get("score")
        percent = f"{number:.3f}" if isinstance(number, float | int) and abs(number) < _SCORE else ""
        rows.append((text(score.get("label", score.get("token_str", "")), 60), percent))
    if isinstance(output, dict):
        rows = [(text(key, 30), text(value, 200)) for key, value in list(output.items())[:5]]
    return f"<p>{title}{text(plain(shown), 400)}</p>{table(rows, numbers=(1,)) if rows else ''}"


def _files(repo: Repo) -> str:
    rows = [
        (link(repo.links.file(one.path), one.path), size(one.size), _digest(one.sha256)) for one in repo.files[:_ROWS]
    ]
    more = f"<p>… and {len(repo.files) - _ROWS:,} more</p>" if len(repo.files) > _ROWS else ""
    listed = table(rows, ("File", "Size", "SHA-256"), numbers=(1,))
    return f'<h2 id="hub.files">Files</h2>{listed}{more}'


def _digest(sha256: str | None) -> str:
    return f'<code class="digest">{text(sha256, 64)}</code>' if sha256 else ""


def _commits(repo: Repo) -> str:
    return f"<h2>Latest commits</h2>{commits(repo.commits)}" if repo.commits else ""


def commits(found: Sequence[Commit]) -> str:
    """A list of commits."""
    rows = [
        (f"<code>{link(one.address, one.sha[:8])}</code>", text(one.title, 200), text(one.date, 10).rstrip("…"))
        for one in found
    ]
    return table(rows, ("Commit", "What", "When"))


def facts(readme: str) -> str:
    """The metadata of a card as a table, with each thing that is wrong with it and how to put it right."""
    problems = metadata.check_card(readme)
    data = metadata.read_front_matter(readme)
    kinds = {"error": ("fail", "✗ error"), "warning": ("known", "! warning"), "advice": ("none", "i advice")}
    rows = [
        (
            '<span class="badge {}">{}</span>'.format(*kinds[one.severity]),
            f"<code>{text(one.field, 100)}</code>",
            text(one.message, 500),
            text(one.fix, 300),
        )
        for one in problems
    ]
    found = table(rows, ("Severity", "Field", "What is wrong", "What to do")) if rows else ""
    fine = "" if rows else '<p><span class="badge pass">✓ valid</span> No rule of the Hub is broken.</p>'
    fields = [(f"<code>{text(key, 100)}</code>", text(plain(value), 2000)) for key, value in data.items()]
    return f"{fine}{found}{table(fields, name='facts') if fields else '<p>There is no metadata.</p>'}"


def plain(value: object) -> str:
    """A value of the metadata in one line."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(_keyed(value), ensure_ascii=False, default=str)


def _keyed(value: object) -> object:
    """A value of YAML, whose keys may be dates, lists and what not, with texts for keys."""
    if isinstance(value, dict):
        return {str(key): _keyed(inner) for key, inner in value.items()}
    return [_keyed(inner) for inner in value] if isinstance(value, list) else value
