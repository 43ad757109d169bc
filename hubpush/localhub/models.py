"""Model repositories: what is read of them, and how they change."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, get_args
from urllib.parse import parse_qs

from dulwich.attrs import GitAttributes, compile_gitattributes_patterns, parse_git_attributes
from dulwich.ignore import IgnoreFilter
from dulwich.objects import Blob, Commit, ObjectID
from dulwich.repo import Repo
from starlette.responses import HTMLResponse, JSONResponse, Response

from hubpush.localhub import cas, collections, community, pages, store
from hubpush.localhub.call import Call, Json, digest, field, objects, parse
from hubpush.localhub.store import Change, Entry, HubError
from hubpush.metadata import check_card, read_front_matter

_TEXT_LIMIT = 1 << 20
_LARGE_FILE = 10 << 20  # larger files go through LFS, whatever .gitattributes says
_COMMITS_PAGE, _MODELS_PAGE = 100, 1000
_WILDCARDS, _PATTERNS_LIMIT = 3, 64 << 10
# What the Hub has and this does not, by the segment of the address that shows it.
MISSING = {
    "datasets": "dataset repositories",
    "spaces": "Spaces",
    "kernels": "kernel repositories",
    "buckets": "buckets",
    "webhooks": "webhooks",
    "jobs": "jobs",
    "super-squash": "squashing history",
    "lfs-files": "lists of LFS files, and their deletion",
    "user-access-request": "gated access",
    "git-receive-pack": "git push (commit through the API)",
    "duplicate": "duplicating repositories",
    "like": "likes",
    "likers": "likes",
}
# Segments that follow a repo id in an address of the API, and can therefore not be the name of a repository.
RESERVED_NAMES = {
    "revision", "tree", "refs", "commits", "auth-check", "paths-info", "preupload", "commit", "settings", "tag",
    "branch", "discussions", "xet-write-token", "xet-read-token", "resolve", *MISSING,
}  # fmt: skip


# What is read


def info(call: Call, repo_id: str, revision: str = "main") -> Response:
    """A repository at a revision, whole or by `expand`."""
    wanted = _expand(call)
    with call.store.open(repo_id) as repo:
        found = _model_info(call, repo, repo_id, store.resolve(repo, revision), blobs=call.flag("blobs"))
    if call.flag("securityStatus"):
        found["securityRepoStatus"] = {"scansDone": False, "filesWithIssues": []}
    return JSONResponse({key: value for key, value in found.items() if not wanted or key in wanted})


def _expand(call: Call) -> set[str]:
    # Which properties are asked for; none: those of the whole answer.
    wanted = {name for value in call.request.query_params.getlist("expand") for name in value.split(",")}
    if wanted:
        from huggingface_hub.hf_api import ExpandModelProperty_T

        if unknown := sorted(wanted - set(get_args(ExpandModelProperty_T))):
            raise HubError(400, f"Unknown expand: {', '.join(unknown)}")
    return wanted | {"id"} if wanted else wanted


def _model_info(call: Call, repo: Repo, repo_id: str, commit: ObjectID, *, blobs: bool = False) -> dict[str, Any]:
    entries = call.store.entries(repo, commit)
    card = metadata(text_of(repo, entries.get("README.md")))
    shown = [card.get(key, []) for key in ("tags", "language", "library_name", "pipeline_tag")]
    tags = [str(tag) for value in shown for tag in (value if isinstance(value, list) else [value])]
    weights = _safetensors(call, entries)
    tags += ["safetensors"] * bool(weights)
    siblings: list[Json] = []
    for entry in entries.values():
        sibling: Json = {"rfilename": entry.path}
        if blobs:
            sibling |= {"size": entry.size, "blobId": entry.oid}
            if entry.sha256:
                sibling["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": entry.stored}
        if entry.is_file:
            siblings.append(sibling)
    found: Json = {
        key: card[key] for key in ("library_name", "pipeline_tag", "mask_token", "model-index") if key in card
    }
    found |= {**weights, **_from_config(repo, entries, card)}
    found |= {"id": repo_id, "modelId": repo_id, "author": repo_id.partition("/")[0], "sha": commit.decode()}
    found |= {"lastModified": store.date(store.get(repo, commit, Commit)), **call.store.settings(repo_id)}
    found |= {"tags": list(dict.fromkeys(tags + ([f"license:{card['license']}"] if "license" in card else [])))}
    found |= {"gated": False, "disabled": False, "downloads": 0, "downloadsAllTime": 0, "likes": 0, "spaces": []}
    return found | {"siblings": siblings, **({"cardData": card} if card else {})}


_TASKS = {
    "ForMaskedLM": "fill-mask", "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification", "ForQuestionAnswering": "question-answering",
    "ForCausalLM": "text-generation",
}  # fmt: skip


def _from_config(repo: Repo, entries: Mapping[str, Entry], card: Json) -> Json:
    # What the Hub reads out of a transformers config.json: `pipeline` without a task depends on it.
    try:
        config = json.loads(text_of(repo, entries.get("config.json")) or "{}")
        classes = [name for name in config.get("architectures") or [] if isinstance(name, str)]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return {}
    if not config:
        return {}
    tasks = [task for name in classes for end, task in _TASKS.items() if name.endswith(end)]
    task = {"pipeline_tag": tasks[0]} if tasks and card.get("library_name", "transformers") == "transformers" else {}
    known = {"architectures": classes, "model_type": str(config.get("model_type", ""))}
    return {"config": known, **({} if "pipeline_tag" in card else task)}


def _safetensors(call: Call, entries: Mapping[str, Entry]) -> Json:
    # Parameters by dtype, from the headers of the LFS files (format: huggingface/safetensors, README).
    counts: dict[str, int] = {}
    for path, entry in entries.items():
        if not path.endswith(".safetensors") or "/" in path or not entry.sha256:
            continue
        try:
            with call.store.lfs_path(entry.sha256).open("rb") as handle:
                size = int.from_bytes(handle.read(8), "little")
                header = json.loads(handle.read(size)) if size <= _TEXT_LIMIT else {}
            for name, tensor in header.items():
                if name != "__metadata__":
                    counts[str(tensor["dtype"])] = counts.get(str(tensor["dtype"]), 0) + math.prod(tensor["shape"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return {"safetensors": {"parameters": counts, "total": sum(counts.values())}} if counts else {}


def list_models(call: Call) -> Response:
    """The repositories of an author, with a text in their ids, or with tags, in pages; by id or newest first."""
    known = {"author", "search", "filter", "pipeline_tag", "sort", "limit", "p", "full", "config", "cardData", "expand"}
    if unknown := sorted(set(call.request.query_params) - known):
        raise HubError(501, f"The embedded Hub does not have lists of models by {', '.join(unknown)}")
    wanted, author, search = _expand(call), call.query("author").lower(), call.query("search").lower()
    tags = {tag for value in call.request.query_params.getlist("filter") for tag in value.split(",")}
    tags |= {call.query("pipeline_tag")} - {""}
    limit, page = min(max(call.number("limit", _MODELS_PAGE), 1), _MODELS_PAGE), call.number("p", 0)
    found = []
    for repo_id in call.visible():
        if author in ("", repo_id.lower().partition("/")[0]) and search in repo_id.lower():
            try:
                with call.store.open(repo_id) as repo:
                    found.append(_model_info(call, repo, repo_id, store.resolve(repo, "main")))
            except HubError:  # deleted at this moment, or a bare repository without a main branch
                continue
    if (order := call.query("sort")) in ("lastModified", "createdAt"):
        found.sort(key=lambda info: str(info[order]), reverse=True)  # by anything else all here are equal
    found = [info for info in found if tags <= set(info["tags"])]
    extra = {"siblings": call.flag("full"), "cardData": call.flag("full") or call.flag("cardData"), "spaces": False}
    shown = [
        {key: value for key, value in info.items() if (key in wanted if wanted else extra.get(key, True))}
        for info in found[page * limit : (page + 1) * limit]
    ]
    return JSONResponse(shown, headers=call.next("p", page + 1) if len(found) > (page + 1) * limit else {})


def list_own(call: Call, namespace: str = "") -> Response:
    """The repositories of a namespace that the caller may change, as its settings page lists them."""
    user, listed = call.caller(), []
    for repo_id in call.visible():
        if repo_id.partition("/")[0].lower() == (namespace or user.name).lower() and user.writes(repo_id):
            private = call.store.settings(repo_id)["private"]
            shown = {"id": repo_id, "type": "model", "visibility": "private" if private else "public"}
            try:
                with call.store.open(repo_id) as repo:
                    updated = store.date(store.get(repo, store.resolve(repo, "main"), Commit))
                used = sum(call.store.lfs_of(repo_id).values())
            except HubError:
                continue
            listed.append({**shown, "updatedAt": updated, "storage": used, "storagePercent": 0})
    return JSONResponse(listed)


def list_tree(call: Call, repo_id: str, revision: str, *path: str) -> Response:
    """The files and folders below a path."""
    folder = "/".join(path).strip("/")
    with call.store.open(repo_id) as repo:
        commit = store.resolve(repo, revision)
        entries = call.store.entries(repo, commit)
        if folder and (folder not in entries or entries[folder].is_file):
            raise entry_not_found(folder, commit)
        start = f"{folder}/" if folder else ""
        inside = [entry for entry in entries.values() if entry.path.startswith(start)]
        if not call.flag("recursive"):
            inside = [entry for entry in inside if "/" not in entry.path.removeprefix(start)]
        return JSONResponse(_items(call, repo, commit, inside, expand=call.flag("expand")))


def paths_info(call: Call, repo_id: str, revision: str) -> Response:
    """The files and folders that a form names; unknown ones are left out."""
    try:
        form = parse_qs(call.body.decode(), max_num_fields=100_000)
    except ValueError:
        raise HubError(400, "The body must be a form") from None
    with call.store.open(repo_id) as repo:
        commit = store.resolve(repo, revision)
        entries = call.store.entries(repo, commit)
        found = [entries[path] for path in form.get("paths", []) if path in entries]
        return JSONResponse(
            _items(call, repo, commit, found, expand=form.get("expand", [""])[0].lower() in ("true", "1"))
        )


def _items(call: Call, repo: Repo, commit: ObjectID, entries: list[Entry], *, expand: bool) -> list[Json]:
    last = store.last_commits(repo, commit, [entry.path for entry in entries]) if expand else {}
    items: list[Json] = []
    for entry in entries:
        kind = "file" if entry.is_file else "directory"
        item: Json = {"type": kind, "oid": entry.oid, "size": entry.size, "path": entry.path}
        if entry.sha256:
            item["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.stored}
            if xet := cas.xet_hash(call.store, entry.sha256):
                item["xetHash"] = xet
        if made := last.get(entry.path):
            item["lastCommit"] = {"id": made.id.decode(), "title": store.message(made)[0], "date": store.date(made)}
        items.append(item)
    return items


def refs(call: Call, repo_id: str) -> Response:
    """Branches, tags and, if asked for, pull requests."""
    with call.store.open(repo_id) as repo:
        found = {
            shown: [
                {"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": c} for n, c in store.refs(repo, kind).items()
            ]
            for shown, kind in (("branches", "heads"), ("tags", "tags"), ("pullRequests", "pr"))
            if kind != "pr" or call.query("include_prs")
        }
    return JSONResponse({"converts": [], **found})


def commits(call: Call, repo_id: str, revision: str) -> Response:
    """The history of a revision in pages, newest first."""
    page = call.number("p", 0)
    with call.store.open(repo_id) as repo:
        skip = page * _COMMITS_PAGE
        found = store.history(repo, store.resolve(repo, revision), skip=skip, count=_COMMITS_PAGE + 1)
    listed = []
    for commit in found[:_COMMITS_PAGE]:
        title, message = store.message(commit)
        authors = [{"user": commit.author.partition(b" <")[0].decode("utf-8", "replace")}]
        item = {"id": commit.id.decode(), "title": title, "message": message, "authors": authors}
        formatted = {"formatted": {"title": title, "message": message}} if call.query("expand[]") else {}
        listed.append({**item, "date": store.date(commit), **formatted})
    return JSONResponse(listed, headers=call.next("p", page + 1) if len(found) > _COMMITS_PAGE else {})


def auth_check(call: Call, repo_id: str, wanted: str = "") -> Response:
    """Whether the caller may see the repository, or write to it."""
    if wanted == "write":
        call.require_write(repo_id)
    return JSONResponse({"id": repo_id})


def whoami(call: Call) -> Response:
    """The caller, with the organisations it belongs to."""
    user = call.caller()
    everywhere = {} if user.only else {repo_id.partition("/")[0]: "admin" for repo_id in call.store.repos()}
    everywhere.pop(user.name, None)
    roles, full = everywhere if user.orgs is None else user.orgs, call.users.fullnames
    orgs = [
        {"type": "org", "id": name, "name": name, "fullname": full.get(name, name), "roleInOrg": role}
        for name, role in sorted(roles.items())
    ]
    auth = {"type": "access_token", "accessToken": {"displayName": "embedded Hub", "role": user.role}}
    found = {"type": "user", "id": user.name, "name": user.name, "fullname": user.fullname or user.name}
    return JSONResponse({**found, "avatarUrl": "", "isPro": False, "orgs": orgs, "auth": auth})


def validate_yaml(call: Call) -> Response:
    """What the Hub says about a card's metadata: 400 with what it would refuse."""
    found: dict[str, list[str]] = {"error": [], "warning": [], "advice": []}
    for problem in check_card(field(call.json(), "content", str)):
        found[problem.severity].append(problem.message)
    status = 400 if found["error"] else 200
    if "text/plain" in call.request.headers.get("accept", ""):  # as `RepoCard.validate` asks, and shows
        lines = [f"- {kind.title()}: {text}" for kind in ("error", "warning") for text in found[kind]]
        return Response("\n".join(lines), status, media_type="text/plain")
    errors, warnings = ([{"message": text} for text in found[kind]] for kind in ("error", "warning"))
    return JSONResponse({"errors": errors, "warnings": warnings}, status)


# What is written


def create_repo(call: Call) -> Response:
    """A new repository; 409 when it exists."""
    body = call.json()
    repo_id = model_id(call, body)
    if repo_id.partition("/")[2] in RESERVED_NAMES:
        raise HubError(400, f"{repo_id!r} cannot be told from an address of the Hub's API")
    user, namespace = call.caller(), repo_id.partition("/")[0]
    known = call.store.find(repo_id)
    url = f"{call.base}/{known if known and call.sees(known) else repo_id}"
    call.require_write_role()
    if user.only or not user.writes(repo_id):  # a keyless token creates nothing, not even its own repository
        text = f'You don\'t have the rights to create a model under the namespace "{namespace}"'
        raise HubError(401 if user.only else 403, text, url=url)
    is_private = namespace.lower() in map(str.lower, call.users.private_by_default)
    try:
        call.store.create(repo_id, private=_private(body, "private" if is_private else "public"), author=user.name)
    except HubError as error:
        error.body["url"] = url  # read by the client when the repository may exist (409)
        raise
    return JSONResponse({"url": url, "name": repo_id, "id": repo_id})


def delete_repo(call: Call) -> Response:
    """Remove a repository."""
    repo_id = call.repo(model_id(call, call.json()))
    call.require_write(repo_id)
    call.store.delete(repo_id)
    return JSONResponse({})


def move_repo(call: Call) -> Response:
    """Rename a repository; its old addresses answer with 307 from then on."""
    body = call.json()
    _only_models(body)
    repo_id, new = call.repo(field(body, "fromRepo", str)), _spelled(call, field(body, "toRepo", str))
    if new.partition("/")[2] in RESERVED_NAMES:
        raise HubError(400, f"{new!r} cannot be told from an address of the Hub's API")
    call.require_write(repo_id)
    call.require_write(new)
    call.store.move(repo_id, new)
    return JSONResponse({})


def duplicate_files(call: Call, repo_id: str, what: str) -> Response:
    """Let a commit elsewhere name LFS files of this repository: kept by digest, they only have to be there."""
    if what != "duplicate":
        raise HubError(501, f"The embedded Hub does not have {MISSING['lfs-files']}")
    call.caller()
    here = call.store.lfs_of(repo_id)
    wanted = [field(file, "sha256", str) for file in objects(call.json(), "files")]
    failed = [{"sha256": sha256, "error": f"{repo_id} has no such file"} for sha256 in wanted if sha256 not in here]
    return JSONResponse({"failed": failed})


def settings(call: Call, repo_id: str) -> Response:
    """Change the visibility."""
    if unknown := set(call.json()) - {"private", "visibility"}:
        raise HubError(501, f"The embedded Hub does not have the settings {', '.join(sorted(unknown))}")
    private = _private(call.json(), "private" if call.store.settings(repo_id)["private"] else "public")
    call.store.set_private(repo_id, private)
    return JSONResponse({"private": private})


def preupload(call: Call, repo_id: str, revision: str) -> Response:
    """Which files go through LFS, which are ignored, and what is at each path now."""
    body = call.json()
    with call.store.open(repo_id) as repo:
        entries = call.store.entries(repo, store.resolve(repo, revision))
        attributes = text_of(repo, entries.get(".gitattributes")).encode()
        ignored = field(body, "gitIgnore", str, "") or text_of(repo, entries.get(".gitignore"))
    patterns = GitAttributes(
        compile_gitattributes_patterns(parse_git_attributes(BytesIO(_tame(attributes, attributes=True))), "")
    )
    lines = _tame(ignored.encode()).splitlines()
    ignore = IgnoreFilter(line for line in lines if line.strip() and not line.startswith(b"#"))
    answers: list[Json] = []
    for file in objects(body, "files"):
        path, size = field(file, "path", str), field(file, "size", int)
        store.check_path(path)
        lfs = size > _LARGE_FILE or (size > 0 and patterns.match_path(path.encode()).get(b"filter") == b"lfs")
        answer: Json = {"path": path, "uploadMode": "lfs" if lfs else "regular"}
        if (there := entries.get(path)) and there.is_file:
            answer["oid"] = there.sha256 or there.oid  # the client leaves out a file that has this digest
        answers.append({**answer, "shouldIgnore": bool(ignore.is_ignored(path))})
    return JSONResponse({"files": answers})


def _tame(patterns: bytes, *, attributes: bool = False) -> bytes:
    # Patterns become regular expressions, whose time grows with the path's length to the power of their wildcards.
    lines = [line.split()[0] if attributes and line.split() else line for line in patterns.splitlines()]
    bad = [line for line in lines if len(re.findall(rb"\*+", line)) > _WILDCARDS]
    if bad or len(patterns) > _PATTERNS_LIMIT:
        shown = bad[0][:80].decode("utf-8", "replace") if bad else ""
        what = f"holds a pattern with more than {_WILDCARDS} wildcards: {shown}" if bad else "is larger than 64 KB"
        raise HubError(400, f".gitignore or .gitattributes {what}")
    return patterns


def create_commit(call: Call, repo_id: str, revision: str) -> Response:
    """A commit of whatever its lines say; with `create_pr` on a new pull request."""
    title, text, parent, changes = "", "", "", []
    for line in call.body.split(b"\n"):
        if not line.strip():
            continue
        entry = parse(line)
        key, value = field(entry, "key", str), field(entry, "value", dict)
        if key == "header":
            title, text = field(value, "summary", str), field(value, "description", str, "")
            parent = field(value, "parentCommit", str, "")
            if parent and not re.fullmatch(r"[0-9a-f]{5,40}", parent):
                raise HubError(400, "'parentCommit' must have 5 to 40 hex digits")
        else:
            changes.append(_change(key, value))
    author, answer = call.caller().name, {}
    sizes = {change.sha256: call.store.lfs_size(change.sha256) or 0 for change in changes if change.sha256}
    check_quota(call, repo_id, sizes)
    made: list[str] = []

    def commit(reference: str) -> None:
        made.append(call.store.commit(repo_id, reference, f"{title}\n\n{text}", changes, parent, author))

    if call.flag("create_pr"):
        number = community.create_request(call, repo_id, title, text, revision, commit)
        answer = {"pullRequestUrl": f"{call.base}/{repo_id}/discussions/{number}"}
    else:
        _may_commit(call, repo_id, revision)
        commit(revision)
    found = {"success": True, "commitOid": made[0], "commitUrl": f"{call.base}/{repo_id}/commit/{made[0]}"}
    return JSONResponse({**found, **answer})


def _may_commit(call: Call, repo_id: str, revision: str) -> None:
    # A pull request takes commits from who opened it, too.
    if not community.is_author(call, repo_id, revision):
        call.require_write(repo_id)


def check_quota(call: Call, repo_id: str, wanted: Mapping[str, int]) -> None:
    """Refuse LFS files (sizes by digest) that a namespace has no room for, with the Hub's 403.

    Only users of a users file have a quota.
    """
    if (user := call.user) is None or user.quota is None or not wanted:
        return
    namespace, here = repo_id.partition("/")[0], dict[str, int]()
    for other in call.visible():
        if other.partition("/")[0] == namespace:
            here |= call.store.lfs_of(other)
    more = sum(size for sha256, size in wanted.items() if sha256 not in here)
    if (used := sum(here.values())) + more > user.quota and more:
        limit = f"{namespace} holds {used} of {user.quota} bytes of LFS files"
        raise HubError(403, f"Storage limit reached: {limit}, and this adds {more}")


def _change(kind: str, value: Json) -> Change:
    path = field(value, "path", str)
    if kind == "lfsFile":
        return Change(kind, path, sha256=digest(value), size=field(value, "size", int, -1))
    if kind == "file" and field(value, "encoding", str) == "base64":
        try:
            return Change(kind, path, base64.b64decode(field(value, "content", str), validate=True))
        except binascii.Error:
            raise HubError(400, f"The content of {path!r} is not base64") from None
    if kind not in ("deletedFile", "deletedFolder"):
        raise HubError(400, f"A commit cannot hold {kind!r} in this form")
    return Change(kind, path)


def create_tag(call: Call, repo_id: str, revision: str) -> Response:
    """A tag at a revision, an annotated one when there is a message."""
    body, author = call.json(), call.caller().name
    call.store.create_ref(repo_id, "tags", field(body, "tag", str), revision, field(body, "message", str, ""), author)
    return JSONResponse({})


def create_branch(call: Call, repo_id: str, branch: str) -> Response:
    """A branch at `startingPoint`."""
    start = field(call.json() if call.body else {}, "startingPoint", str, "main")
    call.store.create_ref(repo_id, "heads", branch, start)
    return JSONResponse({})


def delete_branch(call: Call, repo_id: str, name: str) -> Response:
    """Remove a branch."""
    call.store.delete_ref(repo_id, "heads", name)
    return JSONResponse({})


def delete_tag(call: Call, repo_id: str, name: str) -> Response:
    """Remove a tag."""
    call.store.delete_ref(repo_id, "tags", name)
    return JSONResponse({})


# What a browser sees


def page(call: Call, repo_id: str, revision: str) -> Response:
    """The page of a repository."""
    with call.store.open(repo_id) as repo:
        commit = store.resolve(repo, revision)
        entries = call.store.entries(repo, commit)
        shown = pages.repository(
            repo_id,
            revision,
            commit.decode(),
            text_of(repo, entries.get("README.md")),
            [entry for entry in entries.values() if entry.is_file],
            [*store.refs(repo, "heads"), *reversed(store.refs(repo, "tags"))],
            _history(repo, commit, 0, 10),
            _collections(call, lambda _, items: any(item.get("id") == repo_id for item in items)),
            lambda other: (known := call.store.find(other)) is not None and call.sees(known),
        )
    return HTMLResponse(shown)


def commits_page(call: Call, repo_id: str, revision: str) -> Response:
    """The history of a revision, for a browser."""
    at = call.number("p", 0)
    with call.store.open(repo_id) as repo:
        found = _history(repo, store.resolve(repo, revision), at * _COMMITS_PAGE, _COMMITS_PAGE + 1)
    following = f"?p={at + 1}" if len(found) > _COMMITS_PAGE else ""
    return HTMLResponse(pages.commits(repo_id, revision, found[:_COMMITS_PAGE], following))


def owner_page(call: Call, name: str) -> Response:
    """What a user or organisation has here, for a browser; 404 where it has nothing in sight."""
    found = [one for one in call.visible() if one.partition("/")[0].lower() == name.lower()]
    listed = _collections(call, lambda one, _: one["owner"].lower() == name.lower())
    if not found and not listed:
        raise store.repo_not_found(name)
    return HTMLResponse(pages.owner(found[0].partition("/")[0] if found else name, found, listed))


def _collections(call: Call, wanted: Callable[[collections.Collection, list[Json]], bool]) -> list[tuple[str, str]]:
    view = collections._view(call)
    found = (one for one in view.collections if wanted(one, view.items(one)))
    return [(one["title"], f"/collections/{collections._slug(one)}") for one in found]


def _history(repo: Repo, commit: ObjectID, skip: int, count: int) -> list[tuple[str, str, str]]:
    found = store.history(repo, commit, skip=skip, count=count)
    return [(one.id.decode(), store.message(one)[0], store.date(one)) for one in found]


def metadata(card: str) -> Json:
    """The front matter of a card as JSON can hold it."""
    found = _plain(read_front_matter(card))
    return found if isinstance(found, dict) else {}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # YAML can name halves of characters, UTF-8 cannot hold them
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else hex(value)
    return value if value is None or (isinstance(value, float) and math.isfinite(value)) else str(value)


def text_of(repo: Repo, entry: Entry | None) -> str:
    """A text file that is no LFS file and not too large; else nothing."""
    if entry is None or not entry.is_file or entry.sha256 or entry.size > _TEXT_LIMIT:
        return ""
    return store.get(repo, ObjectID(entry.oid.encode()), Blob).as_raw_string().decode("utf-8", "replace")


def entry_not_found(path: str, commit: ObjectID) -> HubError:
    """The Hub's answer for a file that is not there."""
    error = HubError(404, f"Entry not found: {path}", "EntryNotFound")
    error.headers["X-Repo-Commit"] = commit.decode()  # lets the client remember that the file does not exist
    return error


def model_id(call: Call, body: Json) -> str:
    """The repo id that a body names; without an organisation it is the caller's own."""
    _only_models(body)
    return _spelled(call, f"{field(body, 'organization', str, '') or call.caller().name}/{field(body, 'name', str)}")


def _spelled(call: Call, repo_id: str) -> str:
    # A namespace is one whatever its case; it is written as those who know it write it.
    namespace, _, name = repo_id.partition("/")
    user = call.caller()
    known = [user.name, *(user.orgs or ()), *call.users.private_by_default]
    known += [other.partition("/")[0] for other in call.store.repos()]
    return f"{next((one for one in known if one.lower() == namespace.lower()), namespace)}/{name}"


def _only_models(body: Json) -> None:
    if (kind := field(body, "type", str, "model")) != "model":
        raise HubError(501, f"The embedded Hub does not have {MISSING.get(f'{kind}s', f'repositories of type {kind}')}")


def _private(body: Json, default: str) -> bool:
    known = body.get("private")
    default = default if known is None else "private" if field(body, "private", bool) else "public"
    visibility = field(body, "visibility", str, default)
    if visibility not in ("public", "private"):
        raise HubError(501, f"The embedded Hub does not have the visibility {visibility!r}")
    return visibility == "private"
