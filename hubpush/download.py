"""Downloads: an archive from a server to a file that is kept, in pieces that a later run continues."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from filelock import FileLock

from hubpush import digests, tarball
from hubpush.catalog import Pin, is_allowed_url
from hubpush.errors import SourceError

if TYPE_CHECKING:
    import ssl

    import httpx2

Progress = Callable[[int, int | None], None]
"""Called with the bytes done so far and, where it is known, the bytes to do."""

_MAX_DOWNLOAD = 64 << 30
_ATTEMPTS = 5
_REDIRECTS = 8

_PATIENCE = 1.0
"""Factor on the pauses between attempts; the tests set it to 0."""


def without_query(url: str) -> str:
    """What may be written about a URL: its query may hold a secret."""
    return url.partition("?")[0].partition("#")[0]


def download(
    url: str, downloads: Path, pin: Pin | None = None, progress: Progress | None = None, until: float | None = None
) -> tuple[Path, str | None]:
    """Bring an archive to a file that is kept, unless it is there; two that ask for it at once get the same.

    Args:
        url: Where it is.
        downloads: Directory that keeps downloads.
        pin: What it must be. It is held to the size; whoever reads it holds it to the digest, and may `remember` that.
        progress: Told about the bytes.
        until: When the server is not waited for any more, as `time.time()` counts.

    Returns:
        The file, and what the server called this version: its ETag, or Last-Modified where there is none.

    Raises:
        SourceError: It does not come, or is no archive.
    """
    progress = progress or (lambda _done, _total: None)
    # Two families may use one file name for different archives (uncased_L-12_H-768_A-12.zip of 2018 and of 2020).
    folder = downloads / hashlib.sha256(url.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(url.partition("?")[0]).name) or "archive")
    note = _note(target)
    with FileLock(target.with_name(target.name + ".lock")):
        if target.exists() and not _is_still_wanted(url, target, pin, until):
            target.unlink()
        if not target.exists():
            _receive(url, target, note, pin, progress, until)
            if pin is not None:  # so that who opens it, perhaps another process, need not read it twice
                remember(target, asked=pin.sha256)
        size = target.stat().st_size
        progress(size, size)
    return target, _read_note(note).get("etag")


def remember(target: Path, **what: str) -> None:
    """Note something of a download, as long as nobody writes to it."""
    note, changed = _note(target), str(target.stat().st_mtime_ns)
    note.write_text(json.dumps({**_read_note(note), **what, "changed": changed}))


@dataclass(frozen=True)
class Served:
    """What a server says of a file before any of its bytes: the answer to HEAD.

    Attributes:
        status: Its status; None when it was not reached.
        tag: The ETag, or Last-Modified where there is none.
        size: Its bytes.
    """

    status: int | None = None
    tag: str | None = None
    size: int | None = None

    def is_another(self, tag: str | None, size: int | None) -> bool:
        """Whether this is another version than the one whose tag and size are known; what is not known is no news."""
        differs = None not in (tag, self.tag) and _strong(str(tag)) != _strong(str(self.tag))
        return differs or (None not in (size, self.size) and size != self.size)


def _strong(tag: str) -> str:
    # A server that compresses on the way calls the same bytes weakly the same (RFC 9110, 8.8.1).
    return tag.removeprefix("W/")


def served(url: str, until: float | None = None) -> Served:
    """What a server has now, without its bytes.

    Raises:
        SourceError: It is no URL, or it redirects to a place that is not allowed.
    """
    import httpx2

    try:
        with _client(until) as client:
            response = _request(client, "HEAD", url, {})
            response.close()
            if response.status_code != 200:
                return Served(response.status_code)
            length = response.headers.get("content-length", "")
            tag = response.headers.get("etag") or response.headers.get("last-modified")
            return Served(200, tag, int(length) if length.isdigit() else None)
    except httpx2.HTTPError:
        return Served()


def _client(until: float | None) -> httpx2.Client:
    """A client that waits for a minute, and not beyond the deadline."""
    import httpx2

    from hubpush import __version__

    left = math.inf if until is None else until - time.time()
    try:
        return httpx2.Client(
            timeout=httpx2.Timeout(max(0.001, min(60, left)), connect=max(0.001, min(15, left))),
            verify=_trusted(),
            headers={"user-agent": f"hubpush/{__version__}", "accept-encoding": "identity"},
        )
    except (ImportError, ValueError, httpx2.InvalidURL) as error:  # it reads HTTP_PROXY and its like when it is made
        socks = " (SOCKS is not spoken)" if isinstance(error, ImportError) else f": {error}"
        raise SourceError(
            f"the proxy that the environment asks for cannot be used{socks}",
            hint="HTTP_PROXY, HTTPS_PROXY or ALL_PROXY must be http://HOST:PORT; NO_PROXY names hosts without one",
        ) from None


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted, read once: that takes longer than a look at a server."""
    import httpx2

    return httpx2.create_ssl_context()


def _request(client: httpx2.Client, method: str, url: str, headers: dict[str, str]) -> httpx2.Response:
    """Send a request, following redirects to allowed places only. The body is not read yet."""
    import httpx2

    for _ in range(_REDIRECTS):
        try:
            request = client.build_request(method, url, headers=headers)
            response = client.send(request, stream=True)
        except (httpx2.InvalidURL, UnicodeError) as error:  # UnicodeError: a host name that no resolver takes
            raise SourceError(f"{url!r} is not a URL: {error}", hint="check the source's URL") from None
        if response.next_request is None:
            return response
        response.close()
        url = str(response.next_request.url)
        if not is_allowed_url(url):
            raise SourceError(f"the server redirects to {url}", hint="only https is followed; check the source's URL")
    raise SourceError(f"{url} redirects more than {_REDIRECTS} times", hint="check the source's URL")


def _note(target: Path) -> Path:
    return target.with_name(target.name + ".json")


def _is_still_wanted(url: str, target: Path, pin: Pin | None, until: float | None) -> bool:
    """Whether a kept download is no other than the pinned one, as far as is known without reading it again.

    It may be from before the pin changed; without a pin, from before the server had another version.
    """
    found, known = target.stat(), _read_note(_note(target))
    if pin is None:
        return not served(url, until).is_another(known.get("etag") or known.get("validator"), found.st_size)
    # Whoever opens it reads it all, and is the last to tell.
    is_as_it_was = known.get("changed") == str(found.st_mtime_ns)
    sha256 = (known.get("sha256") or known.get("asked")) if is_as_it_was else None
    return pin.size in (None, found.st_size) and (sha256 or digests.file_digest(target)[0]) == pin.sha256


def _read_note(note: Path) -> dict[str, str]:
    """What was kept of the headers beside a download; nothing where there was none, or a crash cut it short."""
    try:
        kept = json.loads(note.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return {k: v for k, v in kept.items() if isinstance(v, str)} if isinstance(kept, dict) else {}


def _receive(url: str, target: Path, note: Path, pin: Pin | None, progress: Progress, until: float | None) -> None:
    """Fill `target` from `url` through a `.part` file, resuming what an earlier attempt left."""
    import httpx2

    part = target.with_name(target.name + ".part")
    why = ""
    with _client(until) as client:
        for attempt in range(_ATTEMPTS):
            if attempt and until is not None and time.time() > until:
                break
            if attempt:
                time.sleep(min(2**attempt, 30) * _PATIENCE)
            try:
                why = _receive_once(client, url, part, note, pin, progress)
                if not why and pin is None and not (zipfile.is_zipfile(part) or tarball.is_tar(part)):
                    part.unlink()  # nothing to resume: the next run asks again
                    raise SourceError(
                        f"what {without_query(url)} sends is no whole zip (a page, or a body cut short?)",
                        hint="open the URL in a browser, or take another copy",
                    )
                if not why:
                    os.replace(part, target)  # noqa: PTH105 - replaces on every platform
                    return
            except httpx2.HTTPError as error:
                why = f"{type(error).__name__}: {error}"
                if isinstance(error, httpx2.ConnectError) and attempt:
                    break  # no such host, or nobody listens: that does not pass within a minute
            except OSError as error:
                raise SourceError(
                    f"{target.name} cannot be written: {error}", hint="check --work and the disk"
                ) from None
    raise SourceError(
        f"{without_query(url)} did not come after {attempt + 1} attempts ({why})",
        hint="run the same command again: the download resumes where it stopped; or take another copy",
    )


def _receive_once(client: httpx2.Client, url: str, part: Path, note: Path, pin: Pin | None, progress: Progress) -> str:
    """One attempt; what is wrong, or nothing when the body is complete.

    RFC 9110: If-Range makes the server send all when it has changed.
    """
    validator = _read_note(note).get("validator") if part.exists() else None
    start = part.stat().st_size if validator else 0
    headers = {"range": f"bytes={start}-", "if-range": validator} if validator and start else {}
    response = _request(client, "GET", url, headers)
    try:
        if response.status_code == 416:
            part.unlink(missing_ok=True)
            return "the server has less than was received before"
        if response.status_code in (408, 425, 429) or response.status_code >= 500:
            return f"the server answers {response.status_code}"
        if response.status_code not in (200, 206):
            raise SourceError(
                f"{without_query(url)} answers {response.status_code}",
                hint="check the URL in a browser, or take another copy",
            )
        etag, modified = response.headers.get("etag"), response.headers.get("last-modified")
        strong = etag if etag and not etag.startswith("W/") else modified
        if strong is not None and not (strong.isascii() and strong.isprintable()):
            strong = None  # it could not be sent back
        resumed = response.status_code == 206
        if resumed and (
            not start
            or not response.headers.get("content-range", "").startswith(f"bytes {start}-")
            or strong not in (validator, None)
        ):
            part.unlink(missing_ok=True)
            return "the server resumes something else"
        done = start if resumed else 0
        length = response.headers.get("content-length")
        total = done + int(length) if length is not None and length.isdigit() else None
        cap = pin.size if pin is not None and pin.size is not None else _MAX_DOWNLOAD
        if total is not None and total > cap:
            raise SourceError(
                f"{url} announces {total:,} bytes, but {cap:,} are pinned or allowed",
                hint="the source has changed: if that is meant, `hubpush pin MODEL --family FILE` accepts it",
            )
        if not resumed:
            # In this order: a crash in between must not leave old bytes beside the name of new ones.
            part.unlink(missing_ok=True)
            note.write_text(json.dumps({"validator": strong, "etag": etag or modified}))
        with part.open("ab" if resumed else "wb") as stream:
            progress(done, total)
            for chunk in response.iter_raw():  # as it arrives: what waits for a full block is lost with the connection
                done += len(chunk)
                if done > cap:
                    raise SourceError(
                        f"{url} sends more than {cap:,} bytes", hint="the source has changed: see `hubpush pin`"
                    )
                stream.write(chunk)
                progress(done, total)
        return "" if total is None or done == total else "the body ended early"
    finally:
        response.close()
