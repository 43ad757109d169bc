"""Files on their way in and out: Git LFS uploads and downloads, and `resolve`."""

from __future__ import annotations

import asyncio
import hmac
import mimetypes
import re
from pathlib import PurePosixPath
from urllib.parse import quote

from dulwich.objects import Blob, ObjectID
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, Response

from hubpush.localhub import cas, models, store
from hubpush.localhub.call import Call, Json, digest, field, objects
from hubpush.localhub.store import HubError
from hubpush.localhub.users import Users

_BUFFER = 4 << 20


def lfs_batch(call: Call, repo_id: str) -> Response:
    """Where each LFS file is to be sent, or can be had; nothing for one that is already here."""
    body = call.json()
    operation = field(body, "operation", str)
    if operation not in ("upload", "download"):
        raise HubError(400, f"There is no LFS operation {operation!r}")
    wanted = [(digest(item), field(item, "size", int)) for item in objects(body, "objects")]
    if operation == "upload":
        if call.require_write_role().only:
            call.require_write(repo_id)
        models.check_quota(call, repo_id, dict(wanted))
    here = call.store.lfs_of(repo_id) if operation == "download" else {}
    answers: list[Json] = []
    for sha256, size in wanted:
        answer: Json = {"oid": sha256, "size": size}
        # Both go without the token: the address itself is the permission.
        address = f"{call.base}/-/lfs/{sha256}/{size}/{_capability(call.users, sha256, size)}"
        whole = call.store.lfs_size(sha256) == size  # another size is what a power failure left of an upload
        if operation == "download":
            missing: Json = {"error": {"code": 404, "message": "This LFS file is not here"}}
            answer |= {"actions": {"download": {"href": address}}} if whole and sha256 in here else missing
        elif not whole:
            verify = f"{call.base}/{repo_id}.git/info/lfs/objects/verify"
            answer["actions"] = {"upload": {"href": address}, "verify": {"href": verify}}
        answers.append(answer)
    return JSONResponse({"transfer": "basic", "objects": answers}, media_type="application/vnd.git-lfs+json")


def lfs_verify(call: Call) -> Response:
    """Whether an upload arrived."""
    if call.store.lfs_size(digest(call.json())) != field(call.json(), "size", int):
        raise HubError(404, "This LFS file was not uploaded, or has another size")
    return JSONResponse({})


async def receive_lfs(call: Call) -> Response:
    """Take an LFS file, hashing and writing one part while the next one arrives."""
    _, _, sha256, announced, capability = call.parts
    size = int(announced) if re.fullmatch(r"[0-9]{1,15}", announced) else -1
    if not hmac.compare_digest(_capability(call.users, sha256, size).encode(), capability.encode()):
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


def send_lfs(call: Call) -> Response:
    """An LFS file at the address that `lfs_batch` gave."""
    _, _, sha256, announced, capability = call.parts
    size = int(announced) if re.fullmatch(r"[0-9]{1,15}", announced) else -1
    if not hmac.compare_digest(_capability(call.users, sha256, size).encode(), capability.encode()):
        raise HubError(403, "This is not a download address of the running embedded Hub")
    if call.store.lfs_size(sha256) != size:
        raise HubError(404, "This LFS file is not here")
    return _LargeFileResponse(call.store.lfs_path(sha256), media_type="application/octet-stream")


def _capability(users: Users, sha256: str, size: int) -> str:
    return users.sign(f"lfs:{sha256}:{size}")


class _LargeFileResponse(FileResponse):
    chunk_size = _BUFFER


def download(call: Call, repo_id: str, revision: str, path: str) -> Response:
    """A file at a revision, whole or a range of it, with the headers that the client's cache is built on."""
    with call.store.open(repo_id) as repo:
        commit = store.resolve(repo, revision)
        entry = call.store.entries(repo, commit).get(path)
        if entry is None or not entry.is_file or (entry.sha256 and call.store.lfs_size(entry.sha256) != entry.size):
            raise models.entry_not_found(path, commit)
        data = b"" if entry.sha256 else store.get(repo, ObjectID(entry.oid.encode()), Blob).as_raw_string()
    guessed = mimetypes.guess_type(f"x{PurePosixPath(path).suffix}")[0] or ""
    # A document from a repository must not run as a page of this site, so only pictures keep their type.
    kind = guessed if guessed.startswith("image/") else "application/octet-stream" if entry.sha256 else "text/plain"
    etag, headers = f'"{entry.sha256 or entry.oid}"', {"X-Repo-Commit": commit.decode(), "Accept-Ranges": "bytes"}
    headers |= {"ETag": etag, "Content-Security-Policy": "default-src 'none'; sandbox"}
    headers["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(path.rpartition('/')[2])}"
    if entry.sha256:
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(entry.size)}
        headers |= cas.headers(call, repo_id, revision, entry.sha256)
        return _LargeFileResponse(call.store.lfs_path(entry.sha256), headers=headers, media_type=kind)
    wanted = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", call.request.headers.get("range", ""))
    if not wanted or not any(wanted.groups()) or call.request.headers.get("if-range", etag) != etag:
        return Response(data, headers=headers, media_type=kind)
    first, last = wanted.groups()
    start = int(first) if first else max(0, len(data) - int(last))
    end = min(int(last), len(data) - 1) if first and last else len(data) - 1
    if start > end:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
    return Response(data[start : end + 1], 206, headers, kind)
