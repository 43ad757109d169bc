"""Laws of downloads: over real HTTP from a server that misbehaves on purpose."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hubpush import download
from hubpush.download import served
from hubpush.errors import SourceError
from hubpush.source import Archive, fetch, size_of
from tests.servers import BODY, ENDLESS, OTHER, Reply, Server, pin


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PATIENCE", 0)


def kept(downloads: Path) -> dict[str, int]:
    """The files below the downloads with their sizes, but for locks and notes."""
    files = (p for p in downloads.rglob("*") if p.is_file() and p.suffix not in (".lock", ".json"))
    return {path.name: path.stat().st_size for path in files}


def test_a_download_is_what_the_server_sent(server: Server, tmp_path: Path) -> None:
    """Bytes, digest, size and ETag are the server's; the name is the URL without its query; progress is whole."""
    url, told = server.serve("/a.zip?x=1", Reply()), list[tuple[int, int | None]]()
    archive = fetch(url, tmp_path, pin(BODY), lambda done, total: told.append((done, total)))
    assert archive.path.read_bytes() == BODY
    assert archive == Archive(url.removesuffix("?x=1"), archive.path, pin(BODY).sha256, len(BODY), '"1"')
    assert archive.path.name == "a.zip"
    assert told[0] == (0, len(BODY))
    assert told[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert kept(tmp_path) == {"a.zip": len(BODY)}
    ((agent, encoding),) = server.agents
    assert (agent or "").startswith("hubpush/")
    assert encoding == "identity"


def test_what_is_here_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    """A second run asks for nothing and gives the same archive."""
    url = server.serve("/a.zip", Reply())
    once = fetch(url, tmp_path, pin(BODY))
    server.forget()
    assert fetch(url, tmp_path, pin(BODY)) == once
    assert server.seen == []


def test_equal_names_of_different_urls_stay_apart(server: Server, tmp_path: Path) -> None:
    """Two archives of one file name are both kept, and each URL gives its own."""
    urls = [server.serve("/2018/a.zip", Reply()), server.serve("/2020/a.zip", Reply(OTHER))]
    assert [fetch(url, tmp_path).path.read_bytes() for url in urls] == [BODY, OTHER]


@pytest.mark.parametrize("path", ["/..", "/a/..%2f..%2fb", "/", "/%00", "/ä:b*?", "/.part"])
def test_the_name_of_a_download_stays_in_its_folder(server: Server, tmp_path: Path, path: str) -> None:
    """Whatever a URL ends with, the archive lies two levels below the downloads and nowhere else."""
    for quoted in {path, "/%C3%A4:b*"}:
        server.serve(quoted, Reply())
    try:
        archive = fetch(server.url + path, tmp_path / "downloads")
    except SourceError:  # the client makes another path of it, where there is nothing
        pass
    else:
        assert archive.path.parent.parent == tmp_path / "downloads"
        assert archive.path.read_bytes() == BODY
    assert [p.name for p in tmp_path.iterdir()] == ["downloads"]


@pytest.mark.parametrize("validator", [{"etag": '"1"'}, {"etag": None, "modified": "Wed, 11 Mar 2020 00:00:00 GMT"}])
def test_a_cut_download_goes_on_where_it_stopped(server: Server, tmp_path: Path, validator: dict[str, Any]) -> None:
    """After a cut the rest alone is sent, and the whole is right."""
    cut = Reply(cut=100_000, **validator)
    url = server.serve("/a.zip", cut, Reply(**validator))
    assert fetch(url, tmp_path).path.read_bytes() == BODY
    assert server.sent() == [100_000, len(BODY) - 100_000]
    assert [asked for _, _, asked, _ in server.seen] == [None, "bytes=100000-"]


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(server: Server, tmp_path: Path) -> None:
    """A run that gives up says that the next one resumes, and so it is."""
    url = server.serve("/a.zip", Reply(cut=1000), Reply(status=503, body=b""))
    with pytest.raises(SourceError, match=r"did not come after 5 attempts \(the server answers 503\)") as caught:
        fetch(url, tmp_path)
    assert "resumes" in caught.value.hint
    assert len(server.seen) == 5
    assert kept(tmp_path) == {"a.zip.part": 1000}
    server.serve("/a.zip", Reply())
    told = list[int]()
    assert fetch(url, tmp_path, pin(BODY), lambda done, _: told.append(done)).path.read_bytes() == BODY
    assert server.sent() == [len(BODY) - 1000]
    assert told[0] == 1000


@pytest.mark.parametrize("etag", ['"1"', None], ids=["etag", "no-etag"])
def test_a_body_cut_again_and_again_arrives_in_the_end(server: Server, tmp_path: Path, etag: str | None) -> None:
    """Four cuts in a row lose nothing; without a validator each attempt starts anew instead of guessing."""
    cut = Reply(cut=60_000, etag=etag)
    url = server.serve("/a.zip", cut, cut, cut, cut, Reply(etag=etag))
    assert fetch(url, tmp_path).path.read_bytes() == BODY
    rest = [60_000] * 4 + [len(BODY) - 240_000 if etag else len(BODY)]
    assert server.sent() == rest


@pytest.mark.parametrize("blind", [False, True])
def test_a_source_that_changed_meanwhile_starts_from_zero(server: Server, tmp_path: Path, blind: bool) -> None:
    """After a cut, another ETag gives the new bytes alone, also from a server that resumes without looking."""
    url = server.serve("/a.zip", Reply(cut=1000), Reply(OTHER, etag='"2"', blind=blind))
    archive = fetch(url, tmp_path)
    assert archive.path.read_bytes() == OTHER
    assert archive.etag == '"2"'


def test_weak_versions_are_not_resumed_by(server: Server, tmp_path: Path) -> None:
    """A weak ETag, which promises no equal bytes, is recorded but makes the download start anew."""
    url = server.serve("/a.zip", Reply(cut=1000, etag='W/"1"'), Reply(etag='W/"1"'))
    assert fetch(url, tmp_path).etag == 'W/"1"'
    assert server.sent() == [1000, len(BODY)]


def test_a_version_that_cannot_be_sent_back_is_not_resumed_by(server: Server, tmp_path: Path) -> None:
    """An ETag beyond ASCII makes the download start anew instead of ending every later run."""
    url = server.serve("/a.zip", Reply(etag='"\xe9"', cut=5000), Reply(etag='"\xe9"'))
    assert fetch(url, tmp_path).path.read_bytes() == BODY
    assert server.sent() == [5000, len(BODY)]


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    """Where ranges are not known, the whole body replaces the part."""
    url = server.serve("/a.zip", Reply(cut=1000), Reply(ranges=False))
    assert fetch(url, tmp_path).path.read_bytes() == BODY
    assert server.sent() == [1000, len(BODY)]


def test_a_crash_before_the_rename_costs_one_more_attempt(server: Server, tmp_path: Path) -> None:
    """A part that is already whole is not resumable: the server says so, and it is fetched anew."""
    url = server.serve("/a.zip", Reply())
    target = fetch(url, tmp_path).path
    target.rename(target.with_name("a.zip.part"))
    assert fetch(url, tmp_path).path.read_bytes() == BODY
    assert kept(tmp_path) == {"a.zip": len(BODY)}


@pytest.mark.parametrize("note", [b"", b'{"url": "x", "valid', b"\xff\xfe", b'{"validator": 5, "etag": ["x"]}', b"7"])
def test_a_note_that_a_crash_cut_short_does_no_harm(server: Server, tmp_path: Path, note: bytes) -> None:
    """Beside a part, a damaged note means starting anew; beside an archive, that its ETag is not known."""
    url = server.serve("/a.zip", Reply(cut=1000), Reply(status=404))
    with pytest.raises(SourceError, match="404"):
        fetch(url, tmp_path)
    (path,) = tmp_path.rglob("*.json")
    path.write_bytes(note)
    server.serve("/a.zip", Reply())
    assert fetch(url, tmp_path).path.read_bytes() == BODY
    assert server.sent() == [len(BODY)]
    path.write_bytes(note)
    assert fetch(url, tmp_path).etag is None


def test_old_bytes_never_lie_beside_the_version_of_new_ones(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash right after a changed source was noticed leaves nothing that a later run would add to."""
    url = server.serve("/a.zip", Reply(cut=1000), Reply(status=404))
    with pytest.raises(SourceError):
        fetch(url, tmp_path)
    server.serve("/a.zip", Reply(OTHER, etag='"2"'))
    write = Path.write_text

    def crash(path: Path, text: str) -> int:
        write(path, text)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_text", crash)
        fetch(url, tmp_path)
    assert fetch(url, tmp_path).path.read_bytes() == OTHER


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(server: Server, tmp_path: Path, status: int) -> None:
    """What may be over in a moment is asked again."""
    url = server.serve("/a.zip", Reply(b"sorry", status), Reply(b"", status), Reply())
    assert fetch(url, tmp_path).path.read_bytes() == BODY
    assert len(server.seen) == 3


@pytest.mark.parametrize("status", [204, 400, 401, 403, 404, 410, 451])
def test_a_lasting_failure_is_not_tried_again(server: Server, tmp_path: Path, status: int) -> None:
    """What will not change by asking is said at once, with the status, and nothing is kept."""
    url = server.serve("/a.zip", Reply(b"", status))
    with pytest.raises(SourceError, match=f"^{re.escape(url)} answers {status}$"):
        fetch(url, tmp_path)
    assert len(server.seen) == 1
    assert kept(tmp_path) == {}


def test_nobody_listening_is_an_error_of_the_source(server: Server, tmp_path: Path) -> None:
    """A refused connection is tried twice, no more, and ends in an error that names the URL and the reason."""
    url = re.sub(r":\d+$", ":1", server.url) + "/a.zip"
    with pytest.raises(SourceError, match=r"did not come after 2 attempts \(ConnectError"):
        fetch(url, tmp_path)


@pytest.mark.parametrize(
    ("proxy", "why"),
    [("socks5://127.0.0.1:1", "SOCKS"), ("ftp://x", "Unknown scheme"), ("http://[::1", "Invalid port")],
)
def test_a_proxy_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str, why: str
) -> None:
    """What the environment says of proxies is an error of the source that names the variables, for every request."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    for ask in (partial(fetch, "https://example.org/a.zip", tmp_path), partial(served, "https://example.org/")):
        with pytest.raises(SourceError, match=f"the proxy .*{why}") as caught:
            ask()
        assert "HTTPS_PROXY" in caught.value.hint


@pytest.mark.parametrize("url", ["https://[::", "https://h:port/a", "https://\x00/", "https://h/\n"])
def test_a_text_that_is_no_url_is_said_to_be_none(tmp_path: Path, url: str) -> None:
    """What cannot be parsed is refused before anything is asked, by the download and by the look at its size."""
    with pytest.raises(SourceError, match="is not a URL"):
        fetch(url, tmp_path)
    with pytest.raises(SourceError, match="is not a URL"):
        size_of(url)


def test_too_many_announced_bytes_are_refused_before_the_body(server: Server, tmp_path: Path) -> None:
    """A size over the pinned one is refused by its announcement: no byte is written."""
    url = server.serve("/a.zip", Reply(b"", length=len(BODY) + 1))
    with pytest.raises(SourceError, match=r"announces 256,023 bytes, but 256,022 are pinned"):
        fetch(url, tmp_path, pin(BODY))
    assert kept(tmp_path) == {}
    assert len(server.seen) == 1


def test_too_few_bytes_are_refused_by_both_sizes(server: Server, tmp_path: Path) -> None:
    """A body that is whole but smaller than the pinned one is refused, and nothing is kept."""
    url = server.serve("/a.zip", Reply(BODY[:-1]))
    with pytest.raises(SourceError, match=r"(?s)pinned .*256,022 bytes.*found .*256,021 bytes"):
        fetch(url, tmp_path, pin(BODY))
    assert kept(tmp_path) == {}


def test_an_endless_body_ends_at_the_pinned_size(server: Server, tmp_path: Path) -> None:
    """A body without announced length is read up to the pinned size and not a block further."""
    url = server.serve("/a.zip", Reply(length=None, endless=True))
    with pytest.raises(SourceError, match=r"sends more than 256,022 bytes"):
        fetch(url, tmp_path, pin(BODY))
    assert all(not name.endswith(".zip") and size <= len(BODY) for name, size in kept(tmp_path).items())
    (sent,) = server.sent()
    assert sent < ENDLESS


def test_an_endless_body_without_a_pin_ends_too(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is pinned, hubpush's own limit holds."""
    monkeypatch.setattr(download, "_MAX_DOWNLOAD", 3_000_000)
    url = server.serve("/a.zip", Reply(length=None, endless=True))
    with pytest.raises(SourceError, match=r"sends more than 3,000,000 bytes"):
        fetch(url, tmp_path)


def test_the_endless_body_of_a_failure_is_not_read(server: Server, tmp_path: Path) -> None:
    """What a server says beside a 5xx is nobody's interest, however much it is."""
    url = server.serve("/a.zip", Reply(status=503, length=None, endless=True), Reply())
    assert fetch(url, tmp_path).path.read_bytes() == BODY
    assert server.sent()[0] < ENDLESS


def test_a_body_without_a_length_is_taken(server: Server, tmp_path: Path) -> None:
    """A server that does not announce a length is no error; the pin decides."""
    url = server.serve("/a.zip", Reply(length=None))
    assert fetch(url, tmp_path, pin(BODY)).path.read_bytes() == BODY


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_on_this_machine_is_followed(server: Server, tmp_path: Path, status: int) -> None:
    """The archive comes from where a redirect leads and keeps the name of the URL that was asked for."""
    server.serve("/b", Reply())
    url = server.serve("/a.zip", Reply(b"", status, location="/b"))
    archive = fetch(url, tmp_path)
    assert archive.path.read_bytes() == BODY
    assert (archive.name, archive.path.name) == (url, "a.zip")
    assert sorted(path for _, path, _, _ in server.seen) == ["/a.zip", "/b"]  # noted after the answer, in any order


@pytest.mark.parametrize(
    "location",
    [
        "http://example.org/a.zip",
        "//example.org/a.zip",
        "http://localhost:80@example.org/a.zip",
        "http://127.0.0.1.example.org/",
        "ftp://127.0.0.1/a.zip",
        "file:///etc/passwd",
    ],
)
def test_a_redirect_to_a_place_that_is_not_allowed_is_refused(server: Server, tmp_path: Path, location: str) -> None:
    """A redirect to another machine without TLS, or to another scheme, is refused without asking there."""
    url = server.serve("/a.zip", Reply(b"", 302, location=location))
    for ask in (lambda: fetch(url, tmp_path), lambda: size_of(url)):
        with pytest.raises(SourceError, match="the server redirects to"):
            ask()
    assert len(server.seen) == 2
    assert kept(tmp_path) == {}


def test_a_redirect_that_never_ends_is_refused(server: Server, tmp_path: Path) -> None:
    """A loop of redirects ends after a few."""
    server.serve("/b", Reply(b"", 302, location="/a.zip"))
    url = server.serve("/a.zip", Reply(b"", 302, location="/b"))
    with pytest.raises(SourceError, match="redirects more than 8 times"):
        fetch(url, tmp_path)
    assert len(server.seen) == 8


def test_a_redirect_to_nowhere_is_an_error_of_the_source(server: Server, tmp_path: Path) -> None:
    """A redirect that is no URL ends like any other failure."""
    url = server.serve("/a.zip", Reply(b"", 302, location="https://[::"))
    with pytest.raises(SourceError):
        fetch(url, tmp_path)


def test_one_url_asked_by_many_threads_is_fetched_once(server: Server, tmp_path: Path) -> None:
    """Threads that ask for one URL at the same time all get the one whole archive, downloaded once."""
    url, together = server.serve("/a.zip", Reply(cut=1000), Reply()), threading.Barrier(6)

    def ask(_: int) -> bytes:
        together.wait()
        return fetch(url, tmp_path, pin(BODY)).path.read_bytes()

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(ask, range(6))) == [BODY] * 6
    assert server.sent() == [1000, len(BODY) - 1000]


@pytest.mark.parametrize("url", ["https://a..b/x.zip", f"https://{'a' * 64}.org/x.zip"])
def test_a_host_that_cannot_be_is_an_error_of_the_source(tmp_path: Path, url: str) -> None:
    """A host name that no DNS takes is refused by the download like any other address that is none."""
    with pytest.raises(SourceError, match=r"is not a URL|did not come"):
        fetch(url, tmp_path)


def test_a_page_instead_of_a_zip_is_not_kept(server: Server, tmp_path: Path) -> None:
    """What a captive portal sends is refused and asked for again by the next run."""
    url = server.serve("/a.zip", Reply(b"<html>Please log in</html>"), Reply())
    with pytest.raises(SourceError, match="no whole zip"):
        fetch(url, tmp_path)
    assert fetch(url, tmp_path).path.read_bytes() == BODY
