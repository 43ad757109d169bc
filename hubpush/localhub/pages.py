"""What a browser sees of the embedded Hub: repositories as `hubpush.page` draws them, and the lists around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from hubpush import page
from hubpush.localhub.store import Entry
from hubpush.page import Commit, File, Links, Repo, Version, link, text

POLICY = f"{page.policy()}; frame-ancestors 'none'"

Sees = Callable[[str], bool]
"""Whether the caller sees a repository, by its id."""


def index(repo_ids: Sequence[str]) -> str:
    """The list of repositories."""
    shown = f"<h1>Embedded Hub</h1>{_repos(repo_ids)}" if repo_ids else "<h1>No repositories yet</h1>"
    login = f"Private ones are shown to who signs in: any name, and a token as password. {link('/?login', 'Sign in')}"
    return _page("Embedded Hub", f"{shown}<p><small>{login}</small></p>")


def owner(name: str, repo_ids: Sequence[str], collections: Sequence[tuple[str, str]]) -> str:
    """The page of a user or organisation: repositories, and titles and addresses of collections."""
    rows = "".join(f"<li>{link(address, title)}</li>" for title, address in collections)
    shown = f'<h2>Collections</h2><ul class="list">{rows}</ul>' if rows else ""
    return _page(name, f"<h1>{text(name)}</h1><h2>Models {len(repo_ids)}</h2>{_repos(repo_ids)}{shown}")


def problem(what: str) -> str:
    """What a browser shows instead of a page that is not there."""
    return _page("Embedded Hub", f"<h1>{text(what, 1000)}</h1>")


def links(files: str, sees: Sees) -> Links:
    """Where the links of a card lead: its files to what is served, repositories in sight to their pages."""
    return Links(
        root="",
        file=lambda path: files + quote(path, errors="replace"),
        image=lambda path: files + quote(path, errors="replace"),
        repo=lambda other: f"/{other}" if sees(other) else None,
    )


def repository(
    repo_id: str,
    revision: str,
    commit: str,
    readme: str,
    files: Sequence[Entry],
    refs: Sequence[str],
    history: Sequence[tuple[str, str, str]],
    collections: Sequence[tuple[str, str]],
    sees: Sees,
) -> str:
    """One repository at a commit: the card in the Hub's chrome, and its metadata.

    Args:
        repo_id: The repository.
        revision: The branch, tag or commit that was asked for.
        commit: Its commit.
        readme: The whole card.
        files: Its files.
        refs: Branches and tags.
        history: Id, title and date of the latest commits.
        collections: Titles and addresses of those that hold it.
        sees: What else the caller sees.
    """
    home = f"/{repo_id}"
    shown = Repo(
        repo_id=repo_id,
        readme=readme,
        files=[File(entry.path, entry.size, entry.sha256) for entry in files],
        links=links(f"/{repo_id}/resolve/{commit}/", sees),
        revision=revision,
        commit=commit,
        versions=[
            Version(
                name, f"{home}/tree/{quote(name, safe='')}", note="<small>shown</small>" if name == revision else ""
            )
            for name in refs
        ],
        commits=_commits(repo_id, history),
        collections=collections,
        tabs=[("Commits", f"{home}/commits/{quote(revision, safe='')}"), ("Discussions", f"{home}/discussions")],
    )
    facts = f'<details class="fold"><summary>Metadata</summary>{page.facts(readme)}</details>'
    return _page(repo_id, f"{page.repository(shown)}<br>{facts}")


def commits(repo_id: str, revision: str, history: Sequence[tuple[str, str, str]], following: str) -> str:
    """One page of the history of a revision; `following` is the address of the next one, if there is one."""
    more = f"<p>{link(following, 'Older')}</p>" if following else ""
    shown = page.commits(_commits(repo_id, history))
    return _page(f"Commits · {repo_id}", f"<h1>Commits on {text(revision)}</h1>{shown}{more}", (repo_id,))


def discussions(repo_id: str, found: Mapping[str, Any]) -> str:
    """The discussions and pull requests of a repository, as `community.listed` gives them."""
    rows = "".join(
        f"<li>{link(f'/{repo_id}/discussions/{num}', title)} {_badge(status)}</li>"
        for num, title, status in ((one["num"], one["title"], one["status"]) for one in found["discussions"])
    )
    shown = f'<ul class="list">{rows}</ul>' if rows else "<p>None.</p>"
    return _page(f"Discussions · {repo_id}", f"<h1>Discussions</h1>{shown}", (repo_id,))


def discussion(repo_id: str, found: Mapping[str, Any]) -> str:
    """A discussion or pull request as `community.details` gives it: comments, events, and the diff."""
    kind = "pull request" if found["isPullRequest"] else "discussion"
    clash = found.get("filesWithConflicts") or []
    body = "".join(f"<p>Conflict: <code>{text(path)}</code></p>" for path in clash)
    for event in found["events"]:
        data, who = event["data"], f"<small>{text(event['author']['name'])}, {text(event['createdAt'][:16])}</small>"
        if event["type"] == "comment":
            body += f'<div class="comment">{who}<div class="card">{data["latest"]["html"]}</div></div>'
        elif event["type"] == "commit":
            address = f"/{repo_id}/commit/{data['oid']}"
            body += f"<p>{link(address, data['oid'][:8])} {text(data['subject'])} {who}</p>"
        else:
            body += f"<p>{text(event['type'])}: {text(data.get('status') or data.get('to') or '')} {who}</p>"
    asked = "?diff=1" if found["isPullRequest"] else ""
    changes = f"<h2>Changes</h2><pre>{escape(found['diff'])}</pre>" if "diff" in found else link(asked, "Changes")
    return _page(
        f"{found['title']} · {repo_id}",
        f"<h1>{text(found['title'])}</h1><p>{_badge(found['status'])} {kind} #{found['num']}</p>{body}"
        f"{changes if asked or 'diff' in found else ''}",
        (repo_id, f"{repo_id}/discussions"),
    )


def collection(found: Mapping[str, Any]) -> str:
    """A collection as `collections.one` gives it."""
    rows = "".join(
        f"<li>{link('/' + item['id'], item['id']) if item['type'] == 'model' else text(item['id'])}"
        f"<p><small>{text((item.get('note') or {}).get('text') or '', 500)}</small></p></li>"
        for item in found["items"]
    )
    about = f'<p>{text(found.get("description") or "")}</p><ul class="list">{rows}</ul>'
    return _page(found["title"], f"<h1>{text(found['title'])}</h1>{about}", (found["slug"].partition("/")[0],))


def _badge(status: str) -> str:
    return f'<span class="badge none">{text(status)}</span>'


def _commits(repo_id: str, history: Sequence[tuple[str, str, str]]) -> list[Commit]:
    return [Commit(f"/{repo_id}/commit/{sha}", sha, title, date) for sha, title, date in history]


def _repos(repo_ids: Sequence[str]) -> str:
    rows = "".join(f"<li>{link(f'/{one}', one)}</li>" for one in repo_ids)
    return f'<ul class="list">{rows}</ul>'


def _rendered(source: str, files: str) -> str:
    return page.markdown(source, links(files, lambda _repo_id: False))


def _page(title: str, body: str, above: Sequence[str] = ()) -> str:
    """A page below others: `above` are their addresses, without the first slash."""
    path = "".join(f" / {link(f'/{one}', one if one.count('/') < 2 else 'Discussions')}" for one in above)
    return page.document(title, f'<div class="bar"><span>{link("/", "Embedded Hub")}{path}</span></div>{body}')
