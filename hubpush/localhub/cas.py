"""xet's content-addressed store, as hf_xet 1.8 speaks it: how clients with default settings upload and download.

A client cuts files into chunks, sends these packed in xorbs, and then a shard that says which chunks make up which
file. There is one store of the bytes, the LFS files: every file of a shard is put together at once, so its SHA-256 is
proved here, and what is kept is which xet hash means which LFS file. A download gets the LFS file in chunks that are
made on the way. The xet hash itself is believed, so the first file to claim one keeps it.

The client remembers what it has sent to an address, and does not send it again. So the address holds an id (`place`)
that no other server and no other day has, and the xorbs stay as long as a client may use it: also over a restart.
Formats: huggingface/xet-core, `openapi/cas.openapi.yaml`, `xorb_chunk_format.rs` and `file_structs.rs`.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import shutil
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256 as sha256_of
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from starlette.responses import JSONResponse, Response

from hubpush.localhub.call import Call
from hubpush.localhub.store import USER, HubError, Store
from hubpush.localhub.users import Users

_CHUNK, _XORB, _CHUNKS = 128 << 10, 64 << 20, 8192  # the most bytes of a chunk and of a xorb, and chunks of a xorb
_FRAME = _CHUNK + 8  # a chunk of a download with its header
_TERM = 64  # chunks of one request in a download: 8 MiB
_BUFFER = 4 << 20
_DAY, _TOKEN_SECONDS = 86_400, 3600
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _File:
    """A file of a shard: its xet hash, its SHA-256 ("" when the client did not tell it), and its segments unread."""

    xet: str
    sha256: str
    rows: memoryview

    def segments(self) -> Iterator[tuple[bytes, int, int, int]]:
        """The xorb, how many bytes, and the first chunk and the one after the last."""
        return struct.iter_unpack("<32s4xIII", self.rows)


# Tokens, and what the rest of the Hub tells a client


def _token(right: str, call: Call, repo_id: str, _revision: str) -> Response:
    """Where to upload or download, with a token for an hour."""
    name = call.user.name if call.user else ""
    url, end = f"{call.base}/cas/{_place(call.users, 0, name)}", int(time.time()) + _TOKEN_SECONDS
    claim = base64.urlsafe_b64encode(json.dumps([right, repo_id, name, end]).encode()).decode()
    token = f"{claim}.{call.users.sign(f'xet-token:{claim}')}"
    # hf_xet reads the body, Python's side the headers.
    told = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(end)}
    return JSONResponse({"casUrl": url, "accessToken": token, "exp": end}, headers=told)


write_token, read_token = partial(_token, "write"), partial(_token, "read")


def check_token(call: Call, right: str) -> tuple[str, str]:
    """The repository and the user of the xet token that a call comes with.

    Raises:
        HubError: 401 or 403, it is none, or not for this.
    """
    claim, _, signature = call.request.headers.get("authorization", "").removeprefix("Bearer ").rpartition(".")
    if not hmac.compare_digest(call.users.sign(f"xet-token:{claim}").encode(), signature.encode()):
        raise HubError(401, "This xet token is not the running embedded Hub's")
    has, repo_id, name, end = json.loads(base64.urlsafe_b64decode(claim))
    if time.time() >= end:
        raise HubError(401, "This xet token is over")
    if has != right == "write":
        raise HubError(403, "This xet token is for reading")
    return repo_id, name


def _place(users: Users, days_ago: int, name: str) -> str:
    # One for each user: a xorb is believed to be what its name says until a file is made of it.
    return users.sign(f"xet-place:{users.session}:{int(time.time()) // _DAY - days_ago}:{name}")[:32]


def xet_hash(store: Store, sha256: str) -> str:
    """The xet hash of an LFS file, or "" when it came without one."""
    return _meaning(store, "sha256", sha256)


def headers(call: Call, repo_id: str, revision: str, sha256: str) -> dict[str, str]:
    """What makes the client download an LFS file through xet: its hash, and where to get a token."""
    if not (xet := xet_hash(call.store, sha256)):
        return {}
    route = f"{call.base}/api/models/{repo_id}/xet-read-token/{quote(revision, safe='')}"
    return {"X-Xet-Hash": xet, "Link": f'<{route}>; rel="xet-auth"'}


def forget(store: Store, users: Users) -> None:
    """Remove the xorbs of a server that ends and does not come back."""
    names = {"", USER, *(user.name for user in (users.known or {}).values())}
    for place in (_place(users, days_ago, name) for days_ago in range(3) for name in names):
        shutil.rmtree(store.directory / "xet" / "uploads" / place, ignore_errors=True)


def clean(store: Store) -> None:
    """Remove the xorbs of places that got none for two days: no client is told of these any more."""
    for left in (store.directory / "xet").glob("uploads/*"):
        try:
            if time.time() - left.stat().st_mtime > 2 * _DAY:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            pass  # another server was faster


# Routes


def answer(call: Call, rest: tuple[str, ...]) -> Response:
    """A request below `/cas`; 404 leads the client from what is not here to the older way that is."""
    match (call.method, *rest):
        case ("GET", _, "files", sha256, end, signature):
            return _send(call, sha256, end, signature)
        case ("POST", place, "v1", "xorbs", "default", xorb) if _HASH.fullmatch(xorb):
            _, name = check_token(call, "write")
            return JSONResponse({"was_inserted": _receive(call, _folder(call, place, name) / xorb)})
        case ("POST", place, "v1", "shards"):
            _, name = check_token(call, "write")
            deque(_files(call.body), maxlen=0)
            for file in _files(call.body):
                _register(call.store, _folder(call, place, name), file)
            return JSONResponse({"result": 1})
        case ("GET", place, "v1", "reconstructions", xet) if _HASH.fullmatch(xet):
            return _reconstruction(call, place, xet, check_token(call, "read")[0])
    check_token(call, "read")
    raise HubError(404, "The embedded Hub does not have this part of xet")


def _folder(call: Call, place: str, name: str) -> Path:
    folder = call.store.directory / "xet" / "uploads" / place
    known = place in (_place(call.users, 0, name), _place(call.users, 1, name))
    if not known and not (re.fullmatch(r"[0-9a-f]{32}", place) and folder.is_dir()):
        raise HubError(404, "This upload address of the embedded Hub is over: begin the upload again")
    return folder


# Uploads


def _receive(call: Call, path: Path) -> bool:
    # Kept as its bytes, then where each chunk ends, then how many there are.
    if path.exists():
        return False
    if not path.parent.is_dir():
        clean(call.store)
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = call.store.temporary()
    try:
        with temporary.open("xb") as handle:
            ends = _decode(call.body, handle.write)
            handle.write(struct.pack(f"<{len(ends) + 1}I", *ends, len(ends)))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _decode(xorb: bytes | bytearray, write: Callable[[bytes | memoryview], object]) -> list[int]:
    """Write the bytes of a xorb's chunks; where each of them ends."""
    view, at, ends = memoryview(xorb), 0, [0]
    while at < len(xorb) and xorb[at : at + 7] != b"XETBLOB":
        version, scheme = (xorb[at], xorb[at + 4]) if at + 8 <= len(xorb) else (255, 255)
        packed, size = (int.from_bytes(view[at + n : at + n + 3], "little") for n in (1, 5))
        data = view[at + 8 : at + 8 + packed]
        fits = 0 < size <= _CHUNK and ends[-1] + size <= _XORB and len(ends) <= _CHUNKS
        if version or not fits or len(data) < packed or len(piece := _unpacked(scheme, data, size)) != size:
            raise HubError(400, f"Chunk {len(ends) - 1} of the xorb is malformed")
        write(piece)
        ends.append(ends[-1] + size)
        at += 8 + packed
    if len(ends) == 1:
        raise HubError(400, "The xorb has no chunk")
    return ends[1:]


def _unpacked(scheme: int, data: memoryview, size: int) -> bytes | memoryview:
    """A chunk's bytes: as they are (0), as an LZ4 frame (1), or so with every fourth byte together (2).

    A wrong chunk gives another number of bytes than `size`, but never more than it was sent as.
    """
    if scheme not in (1, 2):
        return b"" if scheme else data
    from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

    try:
        plain: bytes = LZ4FrameDecompressor().decompress(data, max_length=size)
    except RuntimeError:
        return b""
    if len(plain) != size or scheme == 1:
        return plain
    ordered, at = bytearray(size), 0
    for first in range(4):
        length = (size - first + 3) // 4
        ordered[first::4] = plain[at : at + length]
        at += length
    return bytes(ordered)


def _files(shard: bytes | bytearray) -> Iterator[_File]:
    """The files that a shard describes. What follows them, about xorbs, is not needed.

    To be read to the end, where it shows whether the last one is whole, before its segments are.
    """
    view, at = memoryview(shard), 48
    try:
        if not shard.startswith(b"HFRepoMetaData"):
            raise HubError(400, "This is not a shard")
        while (head := struct.unpack_from("<32sII", shard, at))[0] != b"\xff" * 32:
            name, flags, count = head
            rows = view[at + 48 : at + 48 * (count + 1)]
            at += 48 * (1 + count * (2 if flags >> 31 else 1))  # with a second row for each, of no use here
            (sha256,) = struct.unpack_from("<32s", shard, at) if flags >> 30 & 1 else (b"",)
            at += 48 * (flags >> 30 & 1)
            yield _File(_hex(name), _hex(sha256), rows)
    except struct.error:
        raise HubError(400, "The shard ends too early") from None


def _hex(raw: bytes) -> str:
    # xet writes a hash as four numbers, each from its last byte on.
    return "".join(f"{number:016x}" for (number,) in struct.iter_unpack("<Q", raw))


def _register(store: Store, folder: Path, file: _File) -> None:
    """Put a file together from its xorbs, as an LFS file, and keep what its xet hash means."""
    known = _meaning(store, "xet", file.xet)
    if known and known == file.sha256 and store.lfs_size(known) is not None:
        return
    size = sum(size for _, size, _, _ in file.segments())
    if size > shutil.disk_usage(store.directory).free:  # a shard can name one chunk a million times
        raise HubError(507, "The disk of the embedded Hub is too small for this file")
    sha256 = file.sha256
    if not sha256:
        digest = sha256_of()
        for piece in _pieces(folder, file):
            digest.update(piece)
        sha256 = digest.hexdigest()
    with store.receive(sha256, size) as write:
        for piece in _pieces(folder, file):
            write(piece)
    if not known:
        _keep(store, "xet", file.xet, sha256)
    if known in ("", sha256):  # in this order: a hash that clients are told of can be asked for
        _keep(store, "sha256", sha256, file.xet)


def _pieces(folder: Path, file: _File) -> Iterator[bytes]:
    for raw, parts in groupby(file.segments(), lambda segment: segment[0]):
        xorb = _hex(raw)
        try:
            handle = (folder / xorb).open("rb")
        except FileNotFoundError:
            raise HubError(400, f"The shard names the xorb {xorb}, which was not uploaded") from None
        with handle:
            handle.seek(-4, os.SEEK_END)
            (count,) = struct.unpack("<I", handle.read(4))
            handle.seek(-4 * (count + 1), os.SEEK_END)
            ends = [0, *struct.unpack(f"<{count}I", handle.read(4 * count))]
            for _, size, first, beyond in parts:
                if not first < beyond <= count or ends[beyond] - ends[first] != size:
                    raise HubError(400, f"The shard names chunks that the xorb {xorb} does not have")
                handle.seek(ends[first])
                for at in range(0, size, _BUFFER):
                    yield handle.read(min(_BUFFER, size - at))


# Meanings: `xet/files/xet/ab/<xet hash>` holds a SHA-256, and `xet/files/sha256/ab/<SHA-256>` the xet hash.


def _meaning(store: Store, kind: str, digest: str) -> str:
    try:
        found = (store.directory / "xet" / "files" / kind / digest[:2] / digest).read_bytes().decode("ascii", "replace")
    except FileNotFoundError:
        return ""
    return found if _HASH.fullmatch(found) else ""  # a power failure can leave it empty


def _keep(store: Store, kind: str, digest: str, meaning: str) -> None:
    path, temporary = store.directory / "xet" / "files" / kind / digest[:2] / digest, store.temporary()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_bytes(meaning.encode())
    temporary.replace(path)


# Downloads: an LFS file as one xorb, of chunks that are stored as they are


def _reconstruction(call: Call, place: str, xet: str, repo_id: str) -> Response:
    sha256 = _meaning(call.store, "xet", xet)
    known = call.store.find(repo_id) or call.store.moved(repo_id)
    if not sha256 or known is None or (size := call.store.lfs_of(known).get(sha256)) is None:
        raise HubError(404, "This repository has no file with this xet hash")
    start, last = _range(call, size)
    end = int(time.time()) + _TOKEN_SECONDS
    url = f"{call.base}/cas/{place}/files/{sha256}/{end}/{call.users.sign(f'xet-file:{sha256}:{end}')}"
    terms, fetches, octets = [], [], _TERM * _CHUNK
    for term in range(start // octets, last // octets + 1):
        length = min(octets, size - term * octets)
        chunks = {"start": term * _TERM, "end": term * _TERM + -(-length // _CHUNK)}
        reach = {"start": term * _TERM * _FRAME, "end": term * octets + length + 8 * chunks["end"] - 1}
        terms.append({"hash": sha256, "unpacked_length": length, "range": chunks})
        fetches.append({"range": chunks, "url": url, "url_range": reach})
    found = {"offset_into_first_range": start % octets, "terms": terms, "fetch_info": {sha256: fetches}}
    return JSONResponse(found)


def _send(call: Call, sha256: str, end: str, signature: str) -> Response:
    """Chunks of an LFS file, at an address that `_reconstruction` gave."""
    signed = call.users.sign(f"xet-file:{sha256}:{end}")
    if not hmac.compare_digest(signed.encode(), signature.encode()) or time.time() >= int(end):
        raise HubError(403, "This is not a download address of the running embedded Hub, or it is over")
    if (size := call.store.lfs_size(sha256)) is None:
        raise HubError(404, "This file is not here")
    total = size + 8 * -(-size // _CHUNK)
    start, last = _range(call, total)
    if last - start >= _TERM * _FRAME:
        raise HubError(400, "This is more than one part")
    first, body = start // _FRAME, bytearray()
    with call.store.lfs_path(sha256).open("rb") as handle:
        handle.seek(first * _CHUNK)
        for _ in range(first, last // _FRAME + 1):
            chunk = handle.read(_CHUNK)
            length = len(chunk).to_bytes(3, "little")
            body += b"\0" + length + b"\0" + length + chunk
    told = {"Content-Range": f"bytes {start}-{last}/{total}"}
    piece = bytes(memoryview(body)[start - first * _FRAME : last + 1 - first * _FRAME])
    return Response(piece, 206, told, "application/octet-stream")


def _range(call: Call, size: int) -> tuple[int, int]:
    wanted = re.fullmatch(r"bytes=(\d{1,18})-(\d{1,18})", call.request.headers.get("range", ""))
    start, last = (int(wanted[1]), min(int(wanted[2]), size - 1)) if wanted else (0, size - 1)
    if start > last:
        raise HubError(416, "The range begins after the end")
    return start, last
