"""Discussions and pull requests: the document `discussions.json` of each repository, and the references `refs/pr/N`.

A discussion is kept as the client reads it (`huggingface_hub.community`), and its number is its place in the list. The
commits of a pull request, its conflicts and its diff are read from git each time.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import islice
from stat import S_ISREG
from typing import Any

from dulwich.diff_tree import tree_changes
from dulwich.graph import find_merge_base
from dulwich.objects import Blob, Commit, ObjectID
from dulwich.patch import gen_diff_header, patch_filename, write_object_diff
from dulwich.repo import Repo
from dulwich.walk import ORDER_TOPO
from starlette.responses import JSONResponse, Response

from hubpush.localhub import pages, store
from hubpush.localhub.call import Call, field
from hubpush.localhub.store import HubError
from hubpush.localhub.users import User

Discussion = dict[str, Any]
Fill = Callable[[str], object]
_DOCUMENT = "discussions.json"
_PAGE, _COMMITS = 20, 1000
_TITLE, _TEXT = 200, 64 << 10  # characters, as the client's docstrings say; bytes
_DIFF_BYTES, _DIFF_STEPS = 1 << 20, 20_000_000  # the time goes with the lines of one side times those of the other
_STATES = {"all": ("open", "draft", "closed", "merged"), "open": ("open", "draft"), "closed": ("closed", "merged")}
_KINDS = {"all": (True, False), "pull_request": (True,), "discussion": (False,)}
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_HIDDEN = "This comment has been hidden"


def listed(call: Call, repo_id: str) -> Response:
    """One page of the discussions, newest first: `open` has drafts among them, `closed` has merged ones."""
    status, kind, author = call.query("status", "all"), call.query("type", "all"), call.query("author").lower()
    if status not in _STATES or kind not in _KINDS:
        raise HubError(400, f"status is one of {', '.join(_STATES)}; type is one of {', '.join(_KINDS)}")
    found = [
        _shown(repo_id, one)
        for one in reversed(_all(call, repo_id))
        if one["status"] in _STATES[status]
        and one["isPullRequest"] in _KINDS[kind]
        and author in ("", one["author"]["name"].lower())
    ]
    start = call.number("p", 0) * _PAGE
    return JSONResponse({"count": len(found), "start": start, "discussions": found[start : start + _PAGE]})


def details(call: Call, repo_id: str, number: str, *more: str) -> Response:
    """One discussion with its events; a pull request also with its commits, conflicts and, when asked for, its diff."""
    if more:
        raise HubError(501, f"The embedded Hub does not have discussions/N/{'/'.join(more)}")
    one = _find(_all(call, repo_id), number)
    found = {**_shown(repo_id, one), "events": one["events"]}
    if one["isPullRequest"]:
        merged = {"mergeCommitId": one["merged"]} if "merged" in one else {}
        found |= {"changes": {"base": one["base"], **merged}, "filesWithConflicts": []}
        with call.store.open(repo_id) as repo:
            try:
                base, head = _ends(repo, one)
                commits = [_commit_event(commit) for commit in _commits(repo, base, head)]
                first, *later = one["events"]  # within one second commits come first of what follows the description
                found["events"] = [
                    first,
                    *sorted(commits + later, key=lambda e: str(e["createdAt"])),
                ]
                if one["status"] in _STATES["open"]:
                    found["filesWithConflicts"] = store.conflicts(repo, one["num"], one["base"])
                if call.flag("diff"):
                    found["diff"] = _diff(repo, base, head)
            except (HubError, KeyError):  # the branch or the request was deleted with git
                found["diff"] = ""
    return JSONResponse(found)


def opened(call: Call, repo_id: str) -> Response:
    """Open a discussion; or a pull request, which is a draft until its status is set to open."""
    body = call.json()
    title, text = _title(body), field(body, "description", str, "")
    request = field(body, "pullRequest", bool, False)
    number = _open(call, repo_id, title, text, *(("draft", "refs/heads/main") if request else ("open",)))
    return JSONResponse({"num": number, "url": f"{call.base}/{repo_id}/discussions/{number}", "pullRequest": request})


def create_request(
    call: Call, repo_id: str, title: str, description: str, revision: str, fill: Fill = lambda _reference: None
) -> int:
    """Open a pull request against a branch, as `commit?create_pr=1` does, and return its number.

    `fill` is called with the new reference, to commit to it; when it fails, there is no pull request.

    Raises:
        HubError: 404 RevisionNotFound, when the revision is no branch; 401, 403; what `fill` raises.
    """
    base = f"refs/heads/{revision.removeprefix('refs/heads/')}"
    return _open(call, repo_id, _line(title)[:_TITLE], description, "open", base, fill)


def is_author(call: Call, repo_id: str, revision: str) -> bool:
    """Whether the revision is a pull request (`refs/pr/N`) that the caller opened, and so may commit to."""
    found = _all(call, repo_id) if revision.startswith("refs/pr/") else []
    mine = [one for one in found if f"refs/pr/{one['num']}" == revision]
    return bool(mine) and mine[0]["author"]["name"] == _member(call, repo_id).name


def act(call: Call, repo_id: str, number: str, *action: str) -> Response:
    """Comment, rename, open or close, merge; or edit or hide a comment. The answer holds the event, as the Hub's."""
    user, body = _member(call, repo_id), call.json() if call.body else {}
    match action:
        case ("comment",):
            event = _comment(repo_id, user, field(body, "comment", str))
            with _changing(call, repo_id, number) as one:
                one["events"].append(event)
            return JSONResponse({"newMessage": event})
        case ("title",):
            title = _title(body)
            with _changing(call, repo_id, number) as one:
                _require(user, repo_id, one["author"])
                event = _event(user, "title-change", {"from": one["title"], "to": title})
                one["title"] = title
                one["events"].append(event)
            return JSONResponse({"newTitle": event})
        case ("status" | "merge" as what,):
            status, text = field(body, "status", str, ""), field(body, "comment", str, "")
            if what == "status" and status not in ("open", "closed"):
                raise HubError(400, "A status is set to open or closed")
            comments = [_comment(repo_id, user, text)] if text else []
            with _changing(call, repo_id, number) as one:
                if what == "merge":
                    status, one["merged"] = "merged", _merge(call, repo_id, one, user)
                else:
                    _require(user, repo_id, one["author"])
                    if one["status"] == "merged":
                        raise HubError(409, f"#{number} is merged: that cannot be undone, so its status stays")
                event = _event(user, "status-change", {"status": status})
                one["status"] = status
                one["events"] += [*comments, event]
            return JSONResponse({"newStatus": event})
        case ("comment", comment, "edit" | "hide" as what):
            version = _version(repo_id, user, field(body, "content", str)) if what == "edit" else {}
            with _changing(call, repo_id, number) as one:
                event = next((e for e in one["events"] if (e["type"], e["id"]) == ("comment", comment)), {})
                if not event:
                    raise HubError(404, f"There is no comment {comment} in #{number}")
                _require(user, repo_id, event["author"])
                _rewrite(event["data"], version)
            return JSONResponse({"updatedComment": event})
    raise HubError(501, f"The embedded Hub does not have discussions/N/{'/'.join(action)}")


def _merge(call: Call, repo_id: str, one: Discussion, user: User) -> str:
    call.require_write(repo_id)
    if not one["isPullRequest"] or one["status"] != "open":
        kind = f"a pull request with the status {one['status']!r}" if one["isPullRequest"] else "a discussion"
        raise HubError(
            409, f"#{one['num']} is {kind}: only an open pull request can be merged (a draft is opened first)"
        )
    with call.store.open(repo_id) as repo:
        base, head = _ends(repo, one)
        if not _commits(repo, base, head):
            # Either there was never a commit, or a merge was killed before this document told of it.
            for commit in store.history(repo, base):
                if head in commit.parents[1:]:
                    return commit.id.decode()
            raise HubError(409, f"#{one['num']} has no commits that {one['base']} does not have")
    return call.store.merge_request(repo_id, one["num"], f"{one['title']} (#{one['num']})", user.name, one["base"])


def _open(
    call: Call, repo_id: str, title: str, text: str, status: str, base: str = "", fill: Fill = lambda _reference: None
) -> int:
    user = _member(call, repo_id)
    first = _comment(repo_id, user, text, empty=True)
    with call.store.edit(_DOCUMENT, repo_id) as document:
        number = len(found := document.setdefault("discussions", [])) + 1
        one = {"num": number, "title": title, "status": status, "isPullRequest": bool(base), "author": first["author"]}
        if base:
            # Before the document: a kill here leaves a reference that the next one with this number moves.
            call.store.open_request(repo_id, number, base)
            one["base"] = base
            try:
                fill(f"refs/pr/{number}")
            except HubError:
                call.store.delete_ref(repo_id, "pr", str(number))
                raise
        found.append({**one, "createdAt": first["createdAt"], "events": [first]})
    return number


# The document


def _all(call: Call, repo_id: str) -> list[Discussion]:
    found: list[Discussion] = call.store.read(_DOCUMENT, repo_id).get("discussions", [])
    return found


def _find(found: list[Discussion], number: str) -> Discussion:
    if not re.fullmatch("[1-9][0-9]{0,8}", number) or int(number) > len(found):
        raise HubError(404, f"There is no discussion or pull request {number}")
    return found[int(number) - 1]


@contextmanager
def _changing(call: Call, repo_id: str, number: str) -> Iterator[Discussion]:
    with call.store.edit(_DOCUMENT, repo_id) as document:
        yield _find(document.get("discussions", []), number)


def _shown(repo_id: str, one: Discussion) -> Discussion:
    kept = ("num", "title", "status", "isPullRequest", "author", "createdAt")
    return {**{key: one[key] for key in kept}, "repo": {"name": repo_id, "type": "model"}}


def _event(user: User, kind: str, data: Discussion) -> Discussion:
    moment = store.iso(time.time())
    return {"id": secrets.token_hex(12), "type": kind, "author": {"name": user.name}, "createdAt": moment, "data": data}


def _comment(repo_id: str, user: User, text: str, *, empty: bool = False) -> Discussion:
    version = _version(repo_id, user, text, empty=empty)
    return _event(user, "comment", {"edited": False, "hidden": False, "latest": version, "numEdits": 0, "history": []})


def _version(repo_id: str, user: User, text: str, *, empty: bool = False) -> Discussion:
    # Rendered once and outside the lock: hostile Markdown of this size takes nearly a second.
    if len(text.encode()) > _TEXT or not (empty or text.strip()):
        raise HubError(400, f"A comment has text, and at most {_TEXT >> 10} KB")
    html = pages._rendered(text, f"/{repo_id}/resolve/main/")
    return {"raw": text, "html": html, "updatedAt": store.iso(time.time()), "author": {"name": user.name}}


def _rewrite(data: Discussion, version: Discussion) -> None:
    """Give a comment's data another version; without one it is hidden, and what it said is gone."""
    if not version:
        data |= {"hidden": True, "latest": {**data["latest"], "raw": _HIDDEN, "html": _HIDDEN}, "history": []}
        return
    if data["hidden"]:
        raise HubError(409, "A hidden comment cannot be edited: its text is gone")
    history = [*data["history"], data["latest"]]
    data |= {"edited": True, "latest": version, "history": history, "numEdits": len(history)}


def _line(title: str) -> str:
    return " ".join(re.sub(r"[\0-\x1f\x7f]", " ", title).split())


def _title(body: Discussion) -> str:
    title = _line(field(body, "title", str))
    if not 3 <= len(title) <= _TITLE:
        raise HubError(400, f"A title has 3 to {_TITLE} characters")
    return title


# Rights


def _member(call: Call, repo_id: str) -> User:
    """The caller, who may open and comment on everything in sight; 401 or 403 for tokens that may not."""
    user = call.caller()
    if user.role != "write":
        raise HubError(403, f'You must use a write token: this one of {user.name!r} has the role "{user.role}"')
    if user.only and user.only.lower() != repo_id.lower():
        raise HubError(403, f"Forbidden: this keyless token is for {user.only} alone")
    return user


def _require(user: User, repo_id: str, author: Discussion) -> None:
    if user.name != author["name"] and not user.writes(repo_id):
        raise HubError(403, f"Forbidden: {user.name!r} is not its author, and has no right to write to {repo_id}")


# Git


def _ends(repo: Repo, one: Discussion) -> tuple[ObjectID, ObjectID]:
    """The commit of the base branch, for a merged request the one before the merge; and the request's own."""
    head = store.resolve(repo, f"refs/pr/{one['num']}")
    if "merged" in one:
        return store.get(repo, ObjectID(one["merged"].encode()), Commit).parents[0], head
    return store.resolve(repo, one["base"]), head


def _commits(repo: Repo, base: ObjectID, head: ObjectID) -> list[Commit]:
    walker = repo.get_walker(include=[head], exclude=[base], order=ORDER_TOPO)
    return [step.commit for step in islice(walker, _COMMITS)][::-1]


def _commit_event(commit: Commit) -> Discussion:
    oid, author = commit.id.decode(), commit.author.decode("utf-8", "replace").partition(" <")[0]
    data = {"subject": store.message(commit)[0], "oid": oid}
    return {"id": oid[:24], "type": "commit", "author": {"name": author}, "createdAt": store.date(commit), "data": data}


def _diff(repo: Repo, base: ObjectID, head: ObjectID) -> str:
    """What the request changes since it left its base, as git writes it; LFS and large files by name only."""
    commits = [*find_merge_base(repo, [base, head])[:1], head]
    trees = [store.get(repo, commit, Commit).tree for commit in commits]
    out, room, steps = BytesIO(), _DIFF_BYTES, _DIFF_STEPS
    for change in tree_changes(repo.object_store, trees[0] if len(trees) > 1 else None, trees[-1]):
        old, new = ((e.path, e.mode, e.sha) if e else (None, None, None) for e in (change.old, change.new))
        # A link or a submodule has no text, and a submodule's commit is not even here.
        plain = all(mode is None or S_ISREG(mode) for mode in (old[1], new[1]))
        texts = [store.get(repo, sha, Blob).data if sha and plain else b"" for sha in (old[2], new[2])]
        cost = (len(texts[0]) + len(texts[1]), texts[0].count(b"\n") * texts[1].count(b"\n"))
        fits = cost[0] <= room and cost[1] <= steps
        if plain and fits and not any(text.startswith(_POINTER) for text in texts):
            room, steps = room - cost[0], steps - cost[1]
            write_object_diff(out, repo.object_store, old, new)
        else:
            out.writelines(gen_diff_header((old[0], new[0]), (old[1], new[1]), (old[2], new[2])))
            out.write(b"Binary files %s and %s differ\n" % (patch_filename(old[0], b"a"), patch_filename(new[0], b"b")))
    return out.getvalue().decode("utf-8", "replace")
