"""`git clone` and `git fetch` over HTTP (git's smart protocol, gitprotocol-http), answered by dulwich; no push."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from io import BytesIO

from dulwich.errors import GitProtocolError, HangupException
from dulwich.protocol import ReceivableProtocol
from dulwich.server import BackendRepo, DictBackend, UploadPackHandler
from starlette.responses import Response

from hubpush.localhub.call import Call
from hubpush.localhub.store import HubError

_SERVICE = "git-upload-pack"
_LIMIT = 64 << 20


class _UploadPack(UploadPackHandler):
    def capabilities(self) -> list[bytes]:
        # A partial clone asks for single blobs later, which dulwich then refuses; without the offer git takes all.
        return [offer for offer in super().capabilities() if offer != b"filter"]

    @classmethod
    def innocuous_capabilities(cls) -> Iterable[bytes]:
        return [*super().innocuous_capabilities(), b"filter"]  # git names it even where it was not offered


def upload_pack(call: Call, owner: str, name: str) -> Response:
    """What `git clone` and `git fetch` ask for: the references, then a pack with what the client lacks."""
    repo_id = _repo(call, f"{owner}/{name.removesuffix('.git')}")
    asking = call.method == "GET"
    if asking and call.query("service") != _SERVICE:
        what = "git push (commit through the API)" if call.query("service") else "git's dumb protocol"
        raise HubError(501, f"The embedded Hub does not have {what}")
    out = BytesIO()
    if asking:
        out.write(b"001e# service=git-upload-pack\n0000")
    try:
        with call.store.open(repo_id) as repo:
            served: dict[str, BackendRepo] = {"/": repo}
            handler = _UploadPack(
                DictBackend(served),
                ["/"],
                ReceivableProtocol(BytesIO(_plain(call)).read, out.write),
                stateless_rpc=True,
                advertise_refs=asking,
            )
            handler.handle()
    except (GitProtocolError, HangupException, ValueError, AssertionError) as error:
        raise HubError(400, f"This is not what git sends: {error}") from None
    kind = "advertisement" if asking else "result"
    return Response(out.getvalue(), media_type=f"application/x-{_SERVICE}-{kind}")


def _repo(call: Call, repo_id: str) -> str:
    try:
        return call.repo(repo_id)
    except HubError as error:
        if error.status == 404 and call.user is None:  # git then asks for a password, and sends the token
            error = HubError(401, error.message, "RepoNotFound")
            error.headers["WWW-Authenticate"] = 'Basic realm="embedded Hub: any name, and a token as password"'
        raise error from None


def _plain(call: Call) -> bytes | bytearray:
    if call.request.headers.get("content-encoding") != "gzip":
        return call.body
    inflate = zlib.decompressobj(wbits=31)
    try:
        found = inflate.decompress(call.body, _LIMIT)
    except zlib.error:
        raise HubError(400, "The body is not gzip") from None
    if inflate.unconsumed_tail:
        raise HubError(413, "The request is too large")
    return found
