"""What a browser sees of the embedded Hub: the list of repositories, and one page for each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import nh3
from markdown_it import MarkdownIt

from hubpush.localhub.store import Entry

_RENDERED = 200_000  # characters of Markdown
_STYLE = """
:root{color-scheme:light dark}body{font:16px/1.6 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;
overflow-wrap:break-word}h1,h2,h3{line-height:1.25}td,th{border:1px solid #8886;padding:.3em .7em}
th{text-align:left}table{border-collapse:collapse;display:block;overflow-x:auto;margin:1em 0}
tr:has(th:empty:first-child){visibility:collapse}
pre{background:#8882;padding:.8em;border-radius:.5em;overflow-x:auto}code{font-size:.9em}img{max-width:100%}
nav a{margin-right:.9em}small{opacity:.75}article{border-top:1px solid #8886}
"""


@dataclass(frozen=True)
class View:
    """What the page of a repository shows; `card` is the Markdown below the front matter."""

    repo_id: str
    revision: str
    commit: str
    card: str
    metadata: Mapping[str, object]
    files: Sequence[Entry]
    versions: Sequence[str]
    commits: Sequence[tuple[str, str, str]]


def index(repo_ids: Sequence[str]) -> str:
    """The list of repositories."""
    rows = "".join(f"<li>{_link(f'/{repo_id}', repo_id)}</li>" for repo_id in repo_ids)
    shown = f"<h1>Embedded Hub</h1><ul>{rows}</ul>" if rows else "<h1>No repositories yet</h1>"
    login = "Private ones are shown to who signs in: any name, and a token as password."
    return _page("Embedded Hub", f"{shown}<p><small>{login} {_link('/?login', 'Sign in')}</small></p>")


def problem(text: str) -> str:
    """What a browser shows instead of a page that is not there."""
    return _page("Embedded Hub", f"<p>{_link('/', 'Embedded Hub')}</p><h1>{escape(text)}</h1>")


def discussions(repo_id: str, found: Mapping[str, Any]) -> str:
    """The discussions and pull requests of a repository, as `community.listed` gives them."""
    rows = "".join(
        f"<li>{_link(f'/{repo_id}/discussions/{num}', title)} <small>{escape(status)}</small></li>"
        for num, title, status in ((one["num"], one["title"], one["status"]) for one in found["discussions"])
    )
    return _page(repo_id, f"<p>{_link(f'/{repo_id}', repo_id)}</p><h1>Discussions</h1><ul>{rows or 'none'}</ul>")


def repository(view: View) -> str:
    """One repository at a commit: versions, the card with its front matter, files, and the latest commits."""
    home, files = f"/{view.repo_id}", f"/{view.repo_id}/resolve/{view.commit}/"
    versions = "".join(_link(f"{home}/tree/{quote(name, safe='')}", name) for name in view.versions)
    facts = "".join(_row("th", escape(key), escape(_shown(value))) for key, value in view.metadata.items())
    listed = "".join(
        _row("td", _link(files + quote(entry.path), entry.path), _size(entry.size), "LFS" if entry.sha256 else "")
        for entry in view.files
    )
    past = "".join(
        f"<li>{_link(f'{home}/commit/{sha}', sha[:8])} {escape(title)} <small>{date[:10]}</small></li>"
        for sha, title, date in view.commits
    )
    return _page(
        view.repo_id,
        f"<p>{_link('/', 'Embedded Hub')}</p><h1>{escape(view.repo_id)}</h1><nav>{versions}"
        f"{_link(f'{home}/discussions', 'Discussions')}</nav>"
        f"<p><b>{escape(view.revision)}</b> <small>commit <code>{view.commit}</code></small></p><table>{facts}</table>"
        f"<article>{_rendered(view.card, files)}</article>"
        f"<h2>Files</h2><table>{listed}</table><h2>Commits</h2><ul>{past}</ul>",
    )


def discussion(repo_id: str, found: Mapping[str, Any]) -> str:
    """A discussion or pull request as `community.details` gives it: comments, events, and the diff."""
    kind = "pull request" if found["isPullRequest"] else "discussion"
    clash = found.get("filesWithConflicts") or []
    body = "".join(f"<p>Conflict: <code>{escape(str(path))}</code></p>" for path in clash)
    for event in found["events"]:
        data, who = event["data"], f"{event['author']['name']}, {event['createdAt'][:16]}"
        if event["type"] == "comment":
            body += f"<article><small>{escape(who)}</small>{data['latest']['html']}</article>"
        elif event["type"] == "commit":
            address = f"/{repo_id}/commit/{data['oid']}"
            body += f"<p>{_link(address, data['oid'][:8])} {escape(data['subject'])} <small>{escape(who)}</small></p>"
        else:
            to = escape(data.get("status") or data.get("to") or "")
            body += f"<p>{escape(event['type'])}: {to} <small>{escape(who)}</small></p>"
    asked = "?diff=1" if found["isPullRequest"] else ""
    diff = (
        f"<h2>Changes</h2><pre>{escape(found['diff'])}</pre>"
        if "diff" in found
        else _link(asked, "Changes" if asked else "")
    )
    return _page(
        f"{found['title']} · {repo_id}",
        f"<p>{_link(f'/{repo_id}', repo_id)}</p><h1>{escape(found['title'])}</h1>"
        f"<p><b>{escape(found['status'])}</b> {kind} #{found['num']}</p>{body}{diff}",
    )


def collection(found: Mapping[str, Any]) -> str:
    """A collection as `collections.one` gives it."""
    rows = "".join(
        f"<li>{_link('/' + item['id'], item['id']) if item['type'] == 'model' else escape(item['id'])} "
        f"<small>{escape((item.get('note') or {}).get('text') or '')}</small></li>"
        for item in found["items"]
    )
    about = f"<p>{escape(found.get('description') or '')}</p><ol>{rows}</ol>"
    return _page(found["title"], f"<p>{_link('/', 'Embedded Hub')}</p><h1>{escape(found['title'])}</h1>{about}")


def _link(address: str, text: str) -> str:
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def _row(first: str, *cells: str) -> str:
    return f"<tr><{first}>{cells[0]}</{first}>{''.join(f'<td>{cell}</td>' for cell in cells[1:])}</tr>"


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>{body}</html>"
    )


def _rendered(card: str, files: str) -> str:
    if len(card) > _RENDERED:  # its time grows with the square of some texts
        return f"<pre>{escape(card)}</pre>"
    markdown = MarkdownIt("gfm-like", {"linkify": False})
    tokens = markdown.parse(card)
    for opened, inline in pairwise(tokens):
        if opened.type == "heading_open":  # the address that GitHub and the Hub give a heading
            opened.attrSet("id", re.sub(r"[^\w\- ]", "", inline.content.lower()).replace(" ", "-"))
    html = markdown.renderer.render(tokens, markdown.options, {})

    def relative(_tag: str, attribute: str, value: str) -> str:
        # A link beside the card means a file of the repository.
        plain = attribute in ("href", "src") and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|[/#?\\]", value)
        return files + value.removeprefix("./") if plain else value

    allowed = {tag: set(names) for tag, names in nh3.ALLOWED_ATTRIBUTES.items()}
    for heading in ("h1", "h2", "h3", "h4"):
        allowed.setdefault(heading, set()).add("id")
    for cell in ("td", "th"):
        allowed.setdefault(cell, set()).add("style")
    return nh3.clean(
        html,
        attributes=allowed,
        attribute_filter=relative,
        url_schemes={"http", "https", "mailto"},
        filter_style_properties={"text-align"},
    )


def _shown(value: object) -> str:
    return ", ".join(_shown(item) for item in value) if isinstance(value, list) else str(value)


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
