"""The Hub's HTTP protocol as the huggingface_hub 2.4 client speaks it, for model repositories.

A hand-written dispatcher works on the raw path: a revision may contain `%2F`, and a repo id may have one segment or
two. Every expected failure is a `HubError` and leaves with the headers that the client maps to its own exceptions;
over http it does not recognise a missing repository by the address. 500 is kept for bugs: the client repeats such a
request for 23 seconds before it reports it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import hashlib
import hmac
import json
import math
import mimetypes
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from typing import TypeVar, get_args
from urllib.parse import parse_qs, quote, unquote, urlencode

from dulwich.attrs import GitAttributes, compile_gitattributes_patterns, parse_git_attributes
from dulwich.ignore import IgnoreFilter
from dulwich.objects import Blob, Commit, ObjectID
from dulwich.repo import Repo
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from hubpush.localhub import pages, store
from hubpush.localhub.store import Change, Entry, HubError, Store
from hubpush.metadata import check_card, read_front_matter, split_front_matter

_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_JSON_LIMIT, _COMMIT_LIMIT, _BUFFER, _TEXT_LIMIT = 16 << 20, 128 << 20, 4 << 20, 1 << 20
_LARGE_FILE = 10 << 20  # larger files go through LFS, whatever .gitattributes says
_COMMITS_PAGE, _MODELS_PAGE = 100, 1000
_SAFE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
# What the Hub has and this does not, by the segment of the address that shows it.
_MISSING = {
    "datasets": "dataset repositories",
    "spaces": "Spaces",
    "kernels": "kernel repositories",
    "discussions": "discussions and pull requests",
    "collections": "collections",
    "move": "moving repositories",
    "xet-write-token": "the xet transfer (set HF_HUB_DISABLE_XET=1 before Python starts; the client then uses LFS)",
    "xet-read-token": "the xet transfer (set HF_HUB_DISABLE_XET=1 before Python starts; the client then uses LFS)",
    "super-squash": "squashing history",
    "lfs-files": "lists of LFS files",
    "user-access-request": "gated access",
    "info": "git over HTTP (clone from the directory instead)",
}

T = TypeVar("T")
Json = dict[str, object]


@dataclass(frozen=True)
class Call:
    """One request: its decoded path segments, the endpoint it was made to, and whether it carries a token."""

    store: Store
    request: Request
    method: str
    parts: tuple[str, ...]
    base: str
    authorized: bool
    body: bytes = b""

    def json(self) -> Json:
        """The body, which must be a JSON object."""
        return _parse(self.body)

    def query(self, name: str, default: str = "") -> str:
        """A query parameter."""
        return self.request.query_params.get(name, default)

    def flag(self, name: str) -> bool:
        """A query parameter that is true."""
        return self.query(name).lower() in ("true", "1")

    def number(self, name: str, default: int) -> int:
        """A query parameter that is a number."""
        if not re.fullmatch(r"[0-9]{1,9}", text := self.query(name, str(default))):
            raise HubError(400, f"{name!r} must be a number")
        return int(text)

    def next(self, name: str, value: object) -> dict[str, str]:
        """The header that leads to the next page: this address with one parameter changed."""
        query = [(k, v) for k, v in self.request.query_params.multi_items() if k != name] + [(name, str(value))]
        path = "/".join(quote(part, safe="") for part in self.parts)
        return {"Link": f'<{self.base}/{path}?{urlencode(query)}>; rel="next"'}

    def sees(self, repo_id: str) -> bool:
        """Whether the caller may see a repository: a private one takes a token."""
        return self.authorized or not self.store.settings(repo_id)["private"]

    def repo(self, repo_id: str) -> str:
        """The known id of a repository that the caller may see."""
        known = self.store.find(repo_id)
        if known is None or not self.sees(known):
            raise store.repo_not_found(repo_id)
        return known

    def require_token(self) -> None:
        """Writing needs a token. Any will do and none is kept: only this computer reaches the server."""
        if not self.authorized:
            raise HubError(401, "Invalid username or password: this needs a token, and any will do (set HF_TOKEN)")


# From the request to the route


def app(hub: Store) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The ASGI application over a store."""
    secret = secrets.token_bytes(32)

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await _respond(hub, secret, Request(scope, receive))
        except ClientDisconnect:
            return
        except HubError as error:
            response = _refusal(error)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            response = _refusal(HubError(507, "The disk of the embedded Hub is full"))
        for name, value in {**_SAFE_HEADERS, "X-Request-Id": secrets.token_hex(8)}.items():
            response.headers.setdefault(name, value)
        await response(scope, receive, send)

    return handle


def _refusal(error: HubError) -> Response:
    # A header is one line of ASCII, and the message may repeat what the caller sent.
    headers = {"X-Error-Message": re.sub(r"[^!-~]+", " ", error.message)[:500].strip(), **error.headers}
    return JSONResponse({"error": error.message, **error.body}, error.status, headers)


async def _respond(hub: Store, secret: bytes, request: Request) -> Response:
    host = request.headers.get("host", "")
    # A page elsewhere can point a name of its own at 127.0.0.1, but the browser then sends that name here.
    if not _LOOPBACK.fullmatch(host):
        raise HubError(403, "The embedded Hub answers to 127.0.0.1, localhost and [::1] only")
    method, base = "GET" if request.method == "HEAD" else request.method, f"http://{host}"
    if method != "GET" and request.headers.get("origin", base) != base:
        raise HubError(403, "Writing from another site is refused")
    try:
        parts = tuple(unquote(part, errors="strict") for part in request.scope["raw_path"].decode().split("/")[1:])
    except UnicodeDecodeError:
        raise HubError(400, "The address is not UTF-8") from None
    authorized = re.fullmatch(r"(?i)bearer \S+", request.headers.get("authorization", "")) is not None
    call = Call(hub, request, method, parts, base, authorized)
    if method == "PUT" and parts[:2] == ("-", "lfs") and len(parts) == 5:
        return await _receive_lfs(call, secret)
    if method != "GET" and parts != ("api", "validate-yaml") and parts[4:5] != ("paths-info",):
        call.require_token()
    limit, body = _COMMIT_LIMIT if parts[4:5] == ("commit",) else _JSON_LIMIT, bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise HubError(413, f"The request is larger than {limit >> 20} MB")
    return await run_in_threadpool(_dispatch, replace(call, body=bytes(body)), secret)


def _dispatch(call: Call, secret: bytes) -> Response:
    match (call.method, *call.parts):
        case ("GET", ""):
            return HTMLResponse(pages.index([repo_id for repo_id in call.store.repos() if call.sees(repo_id)]))
        case ("GET", "api", "whoami-v2"):
            return _whoami(call)
        case ("GET", "api", "agent-harnesses"):
            return JSONResponse({"standardEnvVars": [], "harnesses": {}})
        case ("GET", "api", "telemetry", *_):
            return Response()
        case ("POST", "api", "validate-yaml"):
            return _validate_yaml(call)
        case ("POST", "api", "repos", "create"):
            return _create_repo(call)
        case ("DELETE", "api", "repos", "delete"):
            call.store.delete(call.repo(_model_id(call.json())))
            return JSONResponse({})
        case ("GET", "api", "models"):
            return _list_models(call)
        case (_, "api", "models", *rest):
            return _model_route(call, rest)
        case ("POST", owner, name, "info", "lfs", "objects", "batch" | "verify" as action) if name.endswith(".git"):
            repo_id = call.repo(f"{owner}/{name.removesuffix('.git')}")
            return _lfs_batch(call, repo_id, secret) if action == "batch" else _lfs_verify(call)
        case (_, owner, *_) if owner in store.RESERVED:
            raise _not_here(call)
        case ("GET", owner, name, "resolve", revision, *path) if path:
            return _download(call, call.repo(f"{owner}/{name}"), revision, "/".join(path))
        case ("GET", name) | ("GET", name, "resolve", _, *_):  # models such as "gpt2" have no owner; none is here
            raise store.repo_not_found(name)
        case ("GET", owner, name):
            return _page(call, call.repo(f"{owner}/{name}"), "main")
        case ("GET", owner, name, "tree" | "commit", revision):
            return _page(call, call.repo(f"{owner}/{name}"), revision)
    raise _not_here(call)


def _not_here(call: Call) -> HubError:
    feature = next((_MISSING[part] for part in call.parts if part in _MISSING), None)
    return HubError(501, f"The embedded Hub does not have {feature or f'{call.method} /' + '/'.join(call.parts)}")


def _model_route(call: Call, rest: list[str]) -> Response:
    # "gpt2/refs" and "ns/name/refs": the segment that names a route tells where the repo id ends.
    at = next((at for at in (2, 1) if len(rest) > at and rest[at] in _SEGMENTS), len(rest))
    segment, tail = "".join(rest[at : at + 1]), rest[at + 1 :]
    needed, route = _ROUTES.get((call.method, segment), (0, None))
    if route is None or at > 2:
        raise _not_here(call)
    repo_id = call.repo("/".join(rest[:at]))
    if needed is not None and len(tail) != needed:
        raise HubError(404, "There is no such address")
    return route(call, repo_id, *tail)


# What is read


def _info(call: Call, repo_id: str, revision: str = "main") -> Response:
    expand = {name for value in call.request.query_params.getlist("expand") for name in value.split(",")}
    if expand:
        from huggingface_hub.hf_api import ExpandModelProperty_T

        if unknown := sorted(expand - set(get_args(ExpandModelProperty_T))):
            raise HubError(400, f"Unknown expand: {', '.join(unknown)}")
    with call.store.open(repo_id) as repo:
        found = _model_info(call, repo, repo_id, store.resolve(repo, revision), blobs=call.flag("blobs"))
    if call.flag("securityStatus"):
        found["securityRepoStatus"] = {"scansDone": False, "filesWithIssues": []}
    return JSONResponse({key: value for key, value in found.items() if not expand or key in expand or key == "id"})


def _model_info(call: Call, repo: Repo, repo_id: str, commit: ObjectID, *, blobs: bool = False) -> Json:
    entries = call.store.entries(repo, commit)
    card = _metadata(_text(repo, entries.get("README.md")))
    shown = [card.get(key, []) for key in ("tags", "language", "library_name", "pipeline_tag")]
    tags = [str(tag) for value in shown for tag in (value if isinstance(value, list) else [value])]
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
    found |= {"id": repo_id, "modelId": repo_id, "author": repo_id.partition("/")[0], "sha": commit.decode()}
    found |= {"lastModified": store.date(store.get(repo, commit, Commit)), **call.store.settings(repo_id)}
    found |= {"tags": list(dict.fromkeys(tags + ([f"license:{card['license']}"] if "license" in card else [])))}
    found |= {"gated": False, "disabled": False, "downloads": 0, "downloadsAllTime": 0, "likes": 0, "spaces": []}
    return found | {"siblings": siblings, **({"cardData": card} if card else {})}


def _list_models(call: Call) -> Response:
    known = {"author", "search", "limit", "cursor", "full", "config", "cardData", "expand"}
    if unknown := sorted(set(call.request.query_params) - known):
        raise HubError(501, f"The embedded Hub does not have lists of models by {', '.join(unknown)}")
    author, search = call.query("author").lower(), call.query("search").lower()
    limit = min(max(call.number("limit", _MODELS_PAGE), 1), _MODELS_PAGE)
    wanted = [
        repo_id
        for repo_id in call.store.repos()
        if author in ("", repo_id.lower().partition("/")[0])
        and search in repo_id.lower()
        and repo_id > call.query("cursor")
        and call.sees(repo_id)
    ]
    found = []
    for repo_id in wanted[:limit]:
        with call.store.open(repo_id) as repo:
            found.append(_model_info(call, repo, repo_id, store.resolve(repo, "main")))
    extra = {"siblings": call.flag("full"), "cardData": call.flag("full") or call.flag("cardData"), "spaces": False}
    found = [{key: value for key, value in info.items() if extra.get(key, True)} for info in found]
    return JSONResponse(found, headers=call.next("cursor", wanted[limit - 1]) if len(wanted) > limit else {})


def _list_tree(call: Call, repo_id: str, revision: str, *path: str) -> Response:
    folder = "/".join(path).strip("/")
    with call.store.open(repo_id) as repo:
        commit = store.resolve(repo, revision)
        entries = call.store.entries(repo, commit)
        if folder and (folder not in entries or entries[folder].is_file):
            raise _entry_not_found(folder, commit)
        start = f"{folder}/" if folder else ""
        inside = [entry for entry in entries.values() if entry.path.startswith(start)]
        if not call.flag("recursive"):
            inside = [entry for entry in inside if "/" not in entry.path.removeprefix(start)]
        return JSONResponse(_items(repo, commit, inside, expand=call.flag("expand")))


def _paths_info(call: Call, repo_id: str, revision: str) -> Response:
    try:
        form = parse_qs(call.body.decode(), max_num_fields=100_000)
    except ValueError:
        raise HubError(400, "The body must be a form") from None
    with call.store.open(repo_id) as repo:
        commit = store.resolve(repo, revision)
        entries = call.store.entries(repo, commit)
        found = [entries[path] for path in form.get("paths", []) if path in entries]
        return JSONResponse(_items(repo, commit, found, expand=form.get("expand", [""])[0].lower() in ("true", "1")))


def _items(repo: Repo, commit: ObjectID, entries: list[Entry], *, expand: bool) -> list[Json]:
    last = store.last_commits(repo, commit, [entry.path for entry in entries]) if expand else {}
    items: list[Json] = []
    for entry in entries:
        kind = "file" if entry.is_file else "directory"
        item: Json = {"type": kind, "oid": entry.oid, "size": entry.size, "path": entry.path}
        if entry.sha256:
            item["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.stored}
        if made := last.get(entry.path):
            item["lastCommit"] = {"id": made.id.decode(), "title": store.message(made)[0], "date": store.date(made)}
        items.append(item)
    return items


def _refs(call: Call, repo_id: str) -> Response:
    with call.store.open(repo_id) as repo:
        branches, tags = (
            [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": c} for n, c in store.refs(repo, kind).items()]
            for kind in ("heads", "tags")
        )
    requests: Json = {"pullRequests": []} if call.query("include_prs") else {}
    return JSONResponse({"branches": branches, "tags": tags, "converts": [], **requests})


def _commits(call: Call, repo_id: str, revision: str) -> Response:
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


def _auth_check(call: Call, repo_id: str, wanted: str = "") -> Response:
    if wanted == "write":
        call.require_token()
    return JSONResponse({"id": repo_id})


def _whoami(call: Call) -> Response:
    call.require_token()
    names = sorted({repo_id.partition("/")[0] for repo_id in call.store.repos()} - {store.USER})
    orgs = [{"type": "org", "id": name, "name": name, "fullname": name, "roleInOrg": "admin"} for name in names]
    auth = {"type": "access_token", "accessToken": {"displayName": "any token", "role": "write"}}
    user = {"type": "user", "id": store.USER, "name": store.USER, "fullname": store.USER, "isPro": False}
    return JSONResponse({**user, "orgs": orgs, "auth": auth})


def _validate_yaml(call: Call) -> Response:
    found: dict[str, list[Json]] = {"error": [], "warning": [], "advice": []}
    for problem in check_card(_field(call.json(), "content", str)):
        found[problem.severity].append({"message": f"{problem.field}: {problem.message}"})
    return JSONResponse({"errors": found["error"], "warnings": found["warning"]}, 400 if found["error"] else 200)


# What is written


def _create_repo(call: Call) -> Response:
    body = call.json()
    repo_id = _model_id(body)
    if repo_id.partition("/")[2] in _SEGMENTS:
        raise HubError(400, f"{repo_id!r} cannot be told from an address of the Hub's API")
    url = f"{call.base}/{call.store.find(repo_id) or repo_id}"
    try:
        call.store.create(repo_id, private=_private(body))
    except HubError as error:
        error.body["url"] = url  # read by the client when the repository may exist (409)
        raise
    return JSONResponse({"url": url, "name": repo_id, "id": repo_id})


def _settings(call: Call, repo_id: str) -> Response:
    if unknown := set(call.json()) - {"private", "visibility"}:
        raise HubError(501, f"The embedded Hub does not have the settings {', '.join(sorted(unknown))}")
    call.store.set_private(repo_id, _private(call.json()))
    return JSONResponse({"private": _private(call.json())})


def _preupload(call: Call, repo_id: str, revision: str) -> Response:
    body = call.json()
    with call.store.open(repo_id) as repo:
        entries = call.store.entries(repo, store.resolve(repo, revision))
        attributes = _text(repo, entries.get(".gitattributes")).encode()
        ignored = _field(body, "gitIgnore", str, "") or _text(repo, entries.get(".gitignore"))
    patterns = GitAttributes(compile_gitattributes_patterns(parse_git_attributes(BytesIO(attributes)), ""))
    ignore = IgnoreFilter(line.encode() for line in ignored.splitlines() if line.strip() and line[0] != "#")
    answers: list[Json] = []
    for file in _objects(body, "files"):
        path, size = _field(file, "path", str), _field(file, "size", int)
        lfs = size > _LARGE_FILE or (size > 0 and patterns.match_path(path.encode()).get(b"filter") == b"lfs")
        answer: Json = {"path": path, "uploadMode": "lfs" if lfs else "regular"}
        if (there := entries.get(path)) and there.is_file:
            answer["oid"] = there.sha256 or there.oid  # the client leaves out a file that has this digest
        answers.append({**answer, "shouldIgnore": bool(ignore.is_ignored(path))})
    return JSONResponse({"files": answers})


def _create_commit(call: Call, repo_id: str, branch: str) -> Response:
    if call.query("create_pr"):
        raise HubError(501, f"The embedded Hub does not have {_MISSING['discussions']}")
    text, parent, changes = "", None, []
    for line in call.body.split(b"\n"):
        if not line.strip():
            continue
        entry = _parse(line)
        key, value = _field(entry, "key", str), _field(entry, "value", dict)
        if key == "header":
            text = f"{_field(value, 'summary', str)}\n\n{_field(value, 'description', str, '')}"
            parent = _field(value, "parentCommit", str, "")
            if parent and not re.fullmatch(r"[0-9a-f]{5,40}", parent):
                raise HubError(400, "'parentCommit' must have 5 to 40 hex digits")
        else:
            changes.append(_change(key, value))
    commit = call.store.commit(repo_id, branch, text, changes, parent or "")
    return JSONResponse({"success": True, "commitOid": commit, "commitUrl": f"{call.base}/{repo_id}/commit/{commit}"})


def _change(kind: str, value: Json) -> Change:
    path = _field(value, "path", str)
    if kind == "lfsFile":
        return Change(kind, path, sha256=_digest(value), size=_field(value, "size", int, -1))
    if kind == "file" and _field(value, "encoding", str) == "base64":
        try:
            return Change(kind, path, base64.b64decode(_field(value, "content", str), validate=True))
        except binascii.Error:
            raise HubError(400, f"The content of {path!r} is not base64") from None
    if kind not in ("deletedFile", "deletedFolder"):
        raise HubError(400, f"A commit cannot hold {kind!r} in this form")
    return Change(kind, path)


def _create_tag(call: Call, repo_id: str, revision: str) -> Response:
    body = call.json()
    call.store.create_ref(repo_id, "tags", _field(body, "tag", str), revision, _field(body, "message", str, ""))
    return JSONResponse({})


def _create_branch(call: Call, repo_id: str, branch: str) -> Response:
    start = _field(call.json() if call.body else {}, "startingPoint", str, "main")
    call.store.create_ref(repo_id, "heads", branch, start)
    return JSONResponse({})


def _delete_ref(kind: str, call: Call, repo_id: str, name: str) -> Response:
    call.store.delete_ref(repo_id, kind, name)
    return JSONResponse({})


# By method and the segment after the repo id: how many more segments there must be (None: any), and what answers.
_ROUTES: Mapping[tuple[str, str], tuple[int | None, Callable[..., Response]]] = {
    ("GET", ""): (0, _info),
    ("GET", "revision"): (1, _info),
    ("GET", "tree"): (None, _list_tree),
    ("GET", "refs"): (0, _refs),
    ("GET", "commits"): (1, _commits),
    ("GET", "auth-check"): (None, _auth_check),
    ("POST", "paths-info"): (1, _paths_info),
    ("POST", "preupload"): (1, _preupload),
    ("POST", "commit"): (1, _create_commit),
    ("PUT", "settings"): (0, _settings),
    ("POST", "tag"): (1, _create_tag),
    ("DELETE", "tag"): (1, partial(_delete_ref, "tags")),
    ("POST", "branch"): (1, _create_branch),
    ("DELETE", "branch"): (1, partial(_delete_ref, "heads")),
}
_SEGMENTS = ({segment for _, segment in _ROUTES} | set(_MISSING)) - {""}


# LFS


def _lfs_batch(call: Call, repo_id: str, secret: bytes) -> Response:
    body = call.json()
    if _field(body, "operation", str) != "upload":
        raise HubError(501, "The embedded Hub does not have LFS downloads by batch (use /resolve)")
    answers: list[Json] = []
    for wanted in _objects(body, "objects"):
        sha256, size = _digest(wanted), _field(wanted, "size", int)
        answer: Json = {"oid": sha256, "size": size}
        # A file of another size is what a power failure left of an upload: it is sent again.
        if call.store.lfs_size(sha256) != size:
            # The upload comes without the token: the address itself is the permission.
            upload = f"{call.base}/-/lfs/{sha256}/{size}/{_capability(secret, sha256, size)}"
            verify = f"{call.base}/{repo_id}.git/info/lfs/objects/verify"
            answer["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
        answers.append(answer)
    return JSONResponse({"transfer": "basic", "objects": answers}, media_type="application/vnd.git-lfs+json")


def _lfs_verify(call: Call) -> Response:
    if call.store.lfs_size(_digest(call.json())) != _field(call.json(), "size", int):
        raise HubError(404, "This LFS file was not uploaded, or has another size")
    return JSONResponse({})


async def _receive_lfs(call: Call, secret: bytes) -> Response:
    _, _, sha256, announced, capability = call.parts
    size = int(announced) if re.fullmatch(r"[0-9]{1,15}", announced) else -1
    if not hmac.compare_digest(_capability(secret, sha256, size).encode(), capability.encode()):
        raise HubError(403, "This is not an upload address of the running embedded Hub")
    with call.store.receive(sha256, size) as write:
        buffer, writing = bytearray(), asyncio.create_task(run_in_threadpool(write, b""))
        try:
            async for piece in call.request.stream():
                buffer += piece
                if len(buffer) >= _BUFFER:  # hash and write one buffer while the next one arrives
                    await writing
                    writing, buffer = asyncio.create_task(run_in_threadpool(write, buffer)), bytearray()
        finally:
            await writing
        await run_in_threadpool(write, buffer)
    return Response()


def _capability(secret: bytes, sha256: str, size: int) -> str:
    return hmac.new(secret, f"{sha256}:{size}".encode(), hashlib.sha256).hexdigest()


# Files and pages


class _LargeFileResponse(FileResponse):
    chunk_size = _BUFFER


def _download(call: Call, repo_id: str, revision: str, path: str) -> Response:
    with call.store.open(repo_id) as repo:
        commit = store.resolve(repo, revision)
        entry = call.store.entries(repo, commit).get(path)
        if entry is None or not entry.is_file or (entry.sha256 and call.store.lfs_size(entry.sha256) != entry.size):
            raise _entry_not_found(path, commit)
        data = b"" if entry.sha256 else store.get(repo, ObjectID(entry.oid.encode()), Blob).as_raw_string()
    guessed = mimetypes.guess_type(path)[0] or ""
    # A document from a repository must not run as a page of this site, so only pictures keep their type.
    kind = guessed if guessed.startswith("image/") else "application/octet-stream" if entry.sha256 else "text/plain"
    etag, headers = f'"{entry.sha256 or entry.oid}"', {"X-Repo-Commit": commit.decode(), "Accept-Ranges": "bytes"}
    headers |= {"ETag": etag, "Content-Security-Policy": "default-src 'none'; sandbox"}
    headers["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(path.rpartition('/')[2])}"
    if entry.sha256:
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(entry.size)}
        return _LargeFileResponse(call.store.lfs_path(entry.sha256), headers=headers, media_type=kind)
    wanted = re.fullmatch(r"bytes=([0-9]*)-([0-9]*)", call.request.headers.get("range", ""))
    if not wanted or not any(wanted.groups()) or call.request.headers.get("if-range", etag) != etag:
        return Response(data, headers=headers, media_type=kind)
    first, last = wanted.groups()
    start = int(first) if first else max(0, len(data) - int(last))
    end = min(int(last), len(data) - 1) if first and last else len(data) - 1
    if start > end:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
    return Response(data[start : end + 1], 206, headers, kind)


def _page(call: Call, repo_id: str, revision: str) -> Response:
    with call.store.open(repo_id) as repo:
        commit = store.resolve(repo, revision)
        entries = call.store.entries(repo, commit)
        card = _text(repo, entries.get("README.md"))
        view = pages.View(
            repo_id=repo_id,
            revision=revision,
            commit=commit.decode(),
            card=split_front_matter(card)[1],
            metadata=_metadata(card),
            files=[entry for entry in entries.values() if entry.is_file],
            versions=[*store.refs(repo, "heads"), *store.refs(repo, "tags")],
            commits=[
                (c.id.decode(), store.message(c)[0], store.date(c)) for c in store.history(repo, commit, count=10)
            ],
        )
    return HTMLResponse(pages.repository(view))


def _metadata(card: str) -> Json:
    found = _plain(read_front_matter(card))
    return found if isinstance(found, dict) else {}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    known = value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    return value if known else str(value)


def _text(repo: Repo, entry: Entry | None) -> str:
    if entry is None or not entry.is_file or entry.sha256 or entry.size > _TEXT_LIMIT:
        return ""
    return store.get(repo, ObjectID(entry.oid.encode()), Blob).as_raw_string().decode("utf-8", "replace")


def _entry_not_found(path: str, commit: ObjectID) -> HubError:
    error = HubError(404, f"Entry not found: {path}", "EntryNotFound")
    error.headers["X-Repo-Commit"] = commit.decode()  # lets the client remember that the file does not exist
    return error


# Bodies: whatever is sent, a wrong one is answered with 400


def _parse(body: bytes) -> Json:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise HubError(400, "The body must be a JSON object")
    return found


def _field(body: Json, name: str, kind: type[T], default: T | None = None) -> T:
    value = body.get(name)
    if value is None and default is not None:
        return default
    # JSON's true is an int in Python, and its strings may hold halves of characters that UTF-8 cannot write.
    halved = isinstance(value, str) and re.search("[\ud800-\udfff]", value)
    if not isinstance(value, kind) or halved or (isinstance(value, int) and (value < 0 or type(value) is not kind)):
        raise HubError(400, f"{name!r} must be there, as {kind.__name__}")
    return value


def _objects(body: Json, name: str) -> list[Json]:
    found = _field(body, name, list)
    if not all(isinstance(item, dict) for item in found):
        raise HubError(400, f"{name!r} must hold objects")
    return found


def _digest(body: Json) -> str:
    sha256 = _field(body, "oid", str)
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise HubError(400, "'oid' must be a SHA-256 in hex")
    return sha256


def _model_id(body: Json) -> str:
    if (kind := _field(body, "type", str, "model")) != "model":
        raise HubError(
            501, f"The embedded Hub does not have {_MISSING.get(f'{kind}s', f'repositories of type {kind}')}"
        )
    return f"{_field(body, 'organization', str, '') or store.USER}/{_field(body, 'name', str)}"


def _private(body: Json) -> bool:
    visibility = _field(body, "visibility", str, "private" if _field(body, "private", bool, False) else "public")
    if visibility not in ("public", "private"):
        raise HubError(501, f"The embedded Hub does not have the visibility {visibility!r}")
    return visibility == "private"
