"""A server of sources on this machine that is told how to misbehave."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hubpush.catalog import Pin

END = b"PK\x05\x06" + bytes(18)  # the end of an empty zip: what comes without a pin must at least look like one
BODY = bytes(range(256)) * 1000 + END
OTHER = BODY[: -len(END)][::-1] + END
ENDLESS = 64 << 20
"""What the server takes for endless: more than the client may ask for, little enough to end a test that fails."""


def pin(body: bytes) -> Pin:
    """What pins a body."""
    return Pin(size=len(body), sha256=hashlib.sha256(body).hexdigest())


@dataclass(frozen=True)
class Reply:
    """How the server answers one request.

    Attributes:
        body: The whole representation, of which a range may be asked.
        status: Anything but 200 is answered without looking at the request.
        etag: Its version; None sends none.
        cut: Bytes after which the connection is closed.
        length: What `Content-Length` says instead of the truth; None leaves it out.
        location: Where a redirect leads.
        endless: Send the body again and again until the client has enough.
        blind: Answer a range request with the range whatever `If-Range` says, as broken servers do.
        ranges: Whether ranges are known at all.
    """

    body: bytes = BODY
    status: int = 200
    etag: str | None = '"1"'
    cut: int | None = None
    length: int | None = -1
    location: str | None = None
    endless: bool = False
    blind: bool = False
    ranges: bool = True
    modified: str | None = None


@dataclass
class Server:
    """The server's side: what it answers, and what it has seen.

    Attributes:
        url: Where it listens.
        replies: Answers by path; the last is given again and again.
        agents: What the clients called themselves, and the encodings they take.
    """

    url: str = ""
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    agents: set[tuple[str | None, str | None]] = field(default_factory=set)
    _log: list[tuple[str, str, str | None, int]] = field(default_factory=list)
    _busy: int = 0
    _idle: threading.Condition = field(default_factory=threading.Condition)

    def serve(self, path: str, *replies: Reply) -> str:
        """Have a path answered so; gives its URL."""
        self.replies[path] = list(replies)
        self.forget()
        return self.url + path

    def forget(self) -> None:
        """Start the log anew."""
        assert self.seen is not None
        self._log.clear()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """The time that one answer takes."""
        with self._idle:
            self._busy += 1
        try:
            yield
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def note(self, *request: Any) -> None:
        """Remember a request and what was sent."""
        with self._idle:
            self._log.append(request)

    @property
    def seen(self) -> list[tuple[str, str, str | None, int]]:
        """Method, path, range asked and body bytes sent, of every request so far; waits for answers under way."""
        with self._idle:
            assert self._idle.wait_for(lambda: not self._busy, timeout=10)
            return list(self._log)

    def sent(self) -> list[int]:
        """Body bytes of every answer to a GET."""
        return [sent for method, _, _, sent in self.seen if method == "GET"]


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            with server.answering():
                self.answer()

        def answer(self) -> None:
            replies = server.replies.get(self.path, [Reply(b"not here", 404)])
            reply = replies.pop(0) if len(replies) > 1 else replies[0]
            asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
            server.agents.add((self.headers.get("User-Agent"), self.headers.get("Accept-Encoding")))
            status, body, extra = reply.status, reply.body, {}
            fresh = condition in (None, reply.etag, reply.modified) or reply.blind
            if status == 200 and asked and reply.ranges and fresh:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(body):
                    status, body = 416, b""
                else:
                    status, extra = 206, {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
                    body = body[start:]
            self.send_response(status)
            if reply.etag is not None:
                self.send_header("ETag", reply.etag)
            if reply.modified is not None:
                self.send_header("Last-Modified", reply.modified)
            if reply.location is not None:
                self.send_header("Location", reply.location)
            if reply.length is not None:
                self.send_header("Content-Length", str(len(body) if reply.length == -1 else reply.length))
            for name, value in extra.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            sent = 0
            try:
                while self.command == "GET":
                    piece = body if reply.cut is None else body[: reply.cut]
                    self.wfile.write(piece)
                    sent += len(piece)
                    if not reply.endless or sent > ENDLESS:
                        break
            except OSError:
                pass  # the client has enough
            server.note(self.command, self.path, asked, sent)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            pass

    return Handler


@contextmanager
def serving() -> Iterator[Server]:
    """A server that listens for the time of the block."""
    state = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(state)) as listening:
        listening.daemon_threads = False
        state.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield state
        listening.shutdown()
        thread.join()
