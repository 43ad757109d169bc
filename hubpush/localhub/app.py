"""The Hub's HTTP protocol as the huggingface_hub 2.4 client speaks it, for model repositories: which address is what.

A hand-written dispatcher works on the raw path: a revision may contain `%2F`, and a repo id may have one segment or
two. Every expected failure is a `HubError` and leaves with the headers that the client maps to its own exceptions;
over http it does not recognise a missing repository by the address. 500 is kept for bugs: the client repeats such a
request for 23 seconds before it reports it.
"""

from __future__ import annotations

import asyncio
import errno
import json
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hubpush.localhub import cas, collections, community, files, git, models, pages, store
from hubpush.localhub.call import Call, field
from hubpush.localhub.models import MISSING
from hubpush.localhub.store import HubError, Store
from hubpush.localhub.users import Users

_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_LIMIT, _LARGE_LIMIT = 16 << 20, 256 << 20  # bytes of a body; commits and xet's xorbs are large
_WRITERS = 16  # threads for what may wait for the writers' lock
_LARGE_AT_ONCE = 2  # a client sends eight xorbs of 64 MB at once; the others wait unread
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EMFILE, errno.EIO}
_SAFE_HEADERS = {
    "Content-Security-Policy": pages.POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

# By method and the segment after the repo id: the right it takes, how many more segments there must be (None: any),
# and what answers. To "propose" takes a token, or the right to write unless it goes to a pull request.
_ROUTES: Mapping[tuple[str, str], tuple[str, int | None, Callable[..., Response]]] = {
    ("GET", ""): ("read", 0, models.info),
    ("GET", "revision"): ("read", 1, models.info),
    ("GET", "tree"): ("read", None, models.list_tree),
    ("GET", "refs"): ("read", 0, models.refs),
    ("GET", "commits"): ("read", 1, models.commits),
    ("GET", "auth-check"): ("read", None, models.auth_check),
    ("POST", "paths-info"): ("read", 1, models.paths_info),
    ("POST", "preupload"): ("propose", 1, models.preupload),
    ("POST", "commit"): ("propose", 1, models.create_commit),
    ("PUT", "settings"): ("write", 0, models.settings),
    ("POST", "lfs-files"): ("read", 1, models.duplicate_files),
    ("POST", "tag"): ("write", 1, models.create_tag),
    ("DELETE", "tag"): ("write", 1, models.delete_tag),
    ("POST", "branch"): ("write", 1, models.create_branch),
    ("DELETE", "branch"): ("write", 1, models.delete_branch),
    ("GET", "xet-read-token"): ("read", 1, cas.read_token),
    ("GET", "xet-write-token"): ("propose", 1, cas.write_token),
    ("GET", "discussions"): ("read", None, lambda c, r, *n: (community.details if n else community.listed)(c, r, *n)),
    ("POST", "discussions"): ("comment", None, lambda c, r, *n: (community.act if n else community.opened)(c, r, *n)),
}


def app(hub: Store, users: Users | None = None) -> ASGIApp:
    """The ASGI application over a store; without users any token is the one who may do all."""
    known = users or Users(secret=hub.secret)
    cas.clean(hub)
    large, writers = asyncio.Semaphore(_LARGE_AT_ONCE), CapacityLimiter(_WRITERS)

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await _respond(hub, known, Request(scope, receive), large, writers)
        except ClientDisconnect:
            return
        except HubError as error:
            response = _refusal(error, scope)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            response = _refusal(HubError(507, f"The embedded Hub cannot write: {error.strerror}"), scope)
        for name, value in {**_SAFE_HEADERS, "X-Request-Id": _request_id(Headers(scope=scope))}.items():
            response.headers.setdefault(name, value)
        await response(scope, receive, send)

    return handle


def _request_id(headers: Headers) -> str:
    # The caller's own, as the Hub answers, if it is one.
    told = headers.get("x-request-id") or headers.get("x-amzn-trace-id") or ""
    return told if re.fullmatch(r"[\w.:=;-]{1,100}", told, re.ASCII) else secrets.token_hex(8)


def _refusal(error: HubError, scope: Scope) -> Response:
    # A header is one line of ASCII, and the message may repeat what the caller sent.
    error.message = error.message.encode("utf-8", "replace").decode()
    headers = {"X-Error-Message": re.sub(r"[^!-~]+", " ", error.message)[:500].strip(), **error.headers}
    asked = Headers(scope=scope)
    if asked.get("user-agent", "").startswith("git/"):  # which shows a text, and no JSON
        return PlainTextResponse(error.message, error.status, headers)
    if "text/html" in asked.get("accept", ""):
        if error.status in (401, 404) and "authorization" not in asked:  # it may be private: let the browser ask
            headers["WWW-Authenticate"] = 'Basic realm="embedded Hub: any name, and a token as password"'
            error.status = 401
        return HTMLResponse(pages.problem(error.message), error.status, headers)
    return JSONResponse({"error": error.message, **error.body}, error.status, headers)


async def _respond(
    hub: Store, users: Users, request: Request, large: asyncio.Semaphore, writers: CapacityLimiter
) -> Response:
    if not request.scope["raw_path"].startswith(b"/"):  # `OPTIONS *`, `CONNECT host:port`
        raise HubError(400, "The address is none of the Hub's")
    host = request.headers.get("host", "")
    # A page elsewhere can point a name of its own at 127.0.0.1, but the browser then sends that name here.
    if not _LOOPBACK.fullmatch(host):
        raise HubError(403, "The embedded Hub answers to 127.0.0.1, localhost and [::1] only")
    method, base = "GET" if request.method == "HEAD" else request.method, f"http://{host}"
    if request.headers.get("origin", base) != base:
        raise HubError(403, "A page of another site is refused")
    try:
        parts = tuple(unquote(part, errors="strict") for part in request.scope["raw_path"].decode().split("/")[1:])
    except UnicodeDecodeError:
        raise HubError(400, "The address is not UTF-8") from None
    # xet's tokens are its own: they mean nothing to the rest, and the other way round.
    user = None if parts[0] == "cas" else users.of(request.headers.get("authorization", ""))
    call = Call(hub, users, request, method, parts, base, user)
    if method == "PUT" and parts[:2] == ("-", "lfs") and len(parts) == 5:
        return await files.receive_lfs(call)
    if method == "POST" and "commit" in parts[3:5]:
        call.caller()  # before the body is read
    elif method == "POST" and parts[0] == "cas":
        cas.check_token(call, "write")
    limit = _LARGE_LIMIT if "commit" in parts[3:5] or parts[0] == "cas" else _LIMIT
    told = request.headers.get("content-length", "")
    is_large = not told.isdecimal() or int(told[:12]) > _LIMIT
    async with large if is_large and method != "GET" else nullcontext():
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                raise HubError(413, f"The request is larger than {limit >> 20} MB")
        # Writers wait for each other: with threads of their own they keep no reader waiting.
        return await to_thread.run_sync(
            _dispatch, replace(call, body=body), limiter=None if method == "GET" else writers
        )


def _dispatch(call: Call) -> Response:
    match (call.method, *call.parts):
        case ("GET", ""):
            if "login" in call.request.query_params:
                call.caller()
            return HTMLResponse(pages.index(call.visible()))
        case ("GET", "api", "whoami-v2"):
            return models.whoami(call)
        case ("GET", "api", "agent-harnesses"):
            return JSONResponse({"standardEnvVars": [], "harnesses": {}})
        case ("GET", "api", "telemetry", *_) | ("POST", "v1", "telemetry"):
            return Response()
        case ("GET", "api", "settings", "repositories"):
            return models.list_own(call)
        case ("GET", "api", "organizations", namespace, "settings", "repositories"):
            return models.list_own(call, namespace)
        case ("GET", "api", "users", _, "likes"):
            return JSONResponse([])  # there is nothing to like with
        case ("POST", "oauth", "token"):
            return _exchange(call)
        case ("POST", "api", "validate-yaml"):
            return models.validate_yaml(call)
        case ("POST", "api", "repos", "create"):
            return models.create_repo(call)
        case ("DELETE", "api", "repos", "delete"):
            return models.delete_repo(call)
        case ("POST", "api", "repos", "move"):
            return models.move_repo(call)
        case ("GET", "api", "models"):
            return models.list_models(call)
        case (_, "api", "models", *rest):
            return _model_route(call, rest)
        case (_, "api", "collections", *rest):
            return _collection_route(call, rest)
        case (_, "cas", *rest):
            return cas.answer(call, tuple(rest))
        case ("POST", owner, name, "info", "lfs", "objects", "batch" | "verify" as action) if name.endswith(".git"):
            repo_id = call.repo(f"{owner}/{name.removesuffix('.git')}")
            return files.lfs_batch(call, repo_id) if action == "batch" else files.lfs_verify(call)
        case ("GET", "-", "lfs", _, _, _):
            return files.send_lfs(call)
        case ("GET", "collections", namespace, slug):
            return HTMLResponse(pages.collection(_content(collections.one(call, namespace, slug))))
        case (_, owner, *_) if owner in store.RESERVED:
            raise _not_here(call)
        case ("GET", owner, name, "info", "refs") | ("POST", owner, name, "git-upload-pack"):
            return git.upload_pack(call, owner, name)
        case ("GET", owner, name, "resolve" | "raw" | "blob", revision, *path) if path:
            return files.download(call, call.repo(f"{owner}/{name}"), revision, "/".join(path))
        case ("GET", name, "resolve", _, *_):  # models such as "gpt2" have no owner; none is here
            raise store.repo_not_found(name)
        case ("GET", owner):
            return models.owner_page(call, owner)
        case ("GET", owner, name):
            return models.page(call, call.repo(f"{owner}/{name}"), "main")
        case ("GET", owner, name, "commits", revision):
            return models.commits_page(call, call.repo(f"{owner}/{name}"), revision)
        case ("GET", owner, name, "discussions"):
            found = _content(community.listed(call, repo_id := call.repo(f"{owner}/{name}")))
            return HTMLResponse(pages.discussions(repo_id, found))
        case ("GET", owner, name, "discussions", number):
            found = _content(community.details(call, repo_id := call.repo(f"{owner}/{name}"), number))
            return HTMLResponse(pages.discussion(repo_id, found))
        case ("GET", owner, name, "tree" | "commit", revision, *_):
            return models.page(call, call.repo(f"{owner}/{name}"), revision)
    raise _not_here(call)


def _content(response: Response) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(response.body))
    return found


def _not_here(call: Call) -> HubError:
    feature = next((MISSING[part] for part in call.parts if part in MISSING), None)
    return HubError(501, f"The embedded Hub does not have {feature or f'{call.method} /' + '/'.join(call.parts)}")


def _model_route(call: Call, rest: list[str]) -> Response:
    # "gpt2/refs" and "ns/name/refs": the segment that names a route tells where the repo id ends.
    at = next((at for at in (2, 1) if len(rest) > at and rest[at] in models.RESERVED_NAMES), min(2, len(rest)))
    segment, tail = "".join(rest[at : at + 1]), rest[at + 1 :]
    repo_id = call.repo("/".join(rest[:at]))
    right, needed, route = _ROUTES.get((call.method, segment), ("", None, None))
    if route is None:
        raise _not_here(call)
    if needed is not None and len(tail) != needed:
        raise HubError(404, "There is no such address")
    to_request = call.flag("create_pr") or tail[:1] == ["None"] or (tail and tail[0].startswith("refs/pr/"))
    if right == "comment":
        call.caller()
    elif right == "propose" and to_request:
        if call.require_write_role().only:
            call.require_write(repo_id)
    elif right != "read":
        call.require_write(repo_id)
    return route(call, repo_id, *tail)


def _collection_route(call: Call, rest: list[str]) -> Response:
    match (call.method, *rest):
        case ("GET",):
            return collections.listed(call)
        case ("POST",):
            return collections.created(call)
        case ("GET", namespace, slug):
            return collections.one(call, namespace, slug)
        case ("PATCH", namespace, slug):
            return collections.changed(call, namespace, slug)
        case ("DELETE", namespace, slug):
            return collections.removed(call, namespace, slug)
        case ("POST", namespace, slug, "items"):
            return collections.item_added(call, namespace, slug)
        case ("PATCH", namespace, slug, "items", item):
            return collections.item_changed(call, namespace, slug, item)
        case ("DELETE", namespace, slug, "items", item):
            return collections.item_removed(call, namespace, slug, item)
    raise _not_here(call)


def _exchange(call: Call) -> Response:
    """A keyless token for one repository (RFC 8693). Any identity of the right shape is believed: this is loopback."""
    body = call.json()
    subject, resource = field(body, "subject_token", str, ""), field(body, "resource", str, "")
    problem = ""
    if not field(body, "grant_type", str, "").endswith(":token-exchange") or not resource:
        problem = "invalid_request: grant_type must be a token exchange, and resource a repo id"
    elif not re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]*", subject):
        problem = "invalid_grant: the subject_token is no JWT"
    elif (repo_id := call.store.find(resource)) is None:
        problem = f"invalid_grant: there is no model repository {resource} that could trust this publisher"
    if problem:
        code, _, text = problem.partition(": ")
        return JSONResponse({"error": code, "error_description": text}, 400)
    token, seconds = call.users.keyless(repo_id or "")
    return JSONResponse({"access_token": token, "expires_in": seconds, "token_type": "bearer"})
