"""Laws of the sources: over real HTTP from a server that misbehaves on purpose, and from hostile archives."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import stat
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hubpush import source
from hubpush.catalog import Pin
from hubpush.errors import SourceError
from hubpush.source import (
    Archive,
    Local,
    bring,
    fetch,
    file_sha256,
    find,
    opened,
    require_space,
    resolve,
    served,
    size_of,
    unpack,
)
from tests.checkpoints import zip_release
from tests.servers import BODY, ENDLESS, OTHER, Reply, Server, serving


def pin(body: bytes) -> Pin:
    """What pins a body."""
    return Pin(size=len(body), sha256=hashlib.sha256(body).hexdigest())


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on this machine; what it answers is up to the test."""
    with serving() as state:
        yield state


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_PATIENCE", 0)


def kept(downloads: Path) -> dict[str, int]:
    """The files below the downloads with their sizes, but for locks and notes."""
    files = (p for p in downloads.rglob("*") if p.is_file() and p.suffix not in (".lock", ".json"))
    return {path.name: path.stat().st_size for path in files}


# Downloads -----------------------------------------------------------------------------------------------------------


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


# Pins ----------------------------------------------------------------------------------------------------------------


def test_other_bytes_than_the_pinned_ones_are_refused_with_both_digests(server: Server, tmp_path: Path) -> None:
    """A changed source of the same size names the pinned and the found digest, and nothing of it is kept."""
    url = server.serve("/a.zip", Reply(OTHER))
    with pytest.raises(SourceError) as caught:
        fetch(url, tmp_path, pin(BODY))
    assert pin(BODY).sha256 in caught.value.message
    assert pin(OTHER).sha256 in caught.value.message
    assert kept(tmp_path) == {}
    server.serve("/a.zip", Reply())
    assert fetch(url, tmp_path, pin(BODY)).path.read_bytes() == BODY


def test_a_kept_archive_is_checked_again(server: Server, tmp_path: Path) -> None:
    """What changed on the disk is removed and fetched again."""
    url = server.serve("/a.zip", Reply())
    path = fetch(url, tmp_path, pin(BODY)).path
    path.write_bytes(OTHER)
    assert fetch(url, tmp_path, pin(BODY)).path.read_bytes() == BODY


@pytest.mark.parametrize("name", ["a.zip", "dir"])
def test_a_local_source_is_held_to_its_pin(tmp_path: Path, release: Path, name: str) -> None:
    """Files and directories are pinned like downloads, by size and by digest; they are never removed."""
    path = zip_release(release, tmp_path / name) if name == "a.zip" else release
    archive = fetch(path, tmp_path / "d")
    right = Pin(size=archive.size, sha256=archive.sha256)
    assert fetch(path, tmp_path / "d", right) == archive
    with pytest.raises(SourceError, match=r"is not the pinned source"):
        fetch(path, tmp_path / "d", right.model_copy(update={"size": archive.size + 1}))
    with pytest.raises(SourceError, match="is not the pinned source"):
        fetch(path, tmp_path / "d", Pin(sha256="0" * 64))
    assert path.exists()


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
    monkeypatch.setattr(source, "_MAX_DOWNLOAD", 3_000_000)
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


# Redirects -----------------------------------------------------------------------------------------------------------


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


# Several at once, sizes, mirrors -------------------------------------------------------------------------------------


def test_one_url_asked_by_many_threads_is_fetched_once(server: Server, tmp_path: Path) -> None:
    """Threads that ask for one URL at the same time all get the one whole archive, downloaded once."""
    url, together = server.serve("/a.zip", Reply(cut=1000), Reply()), threading.Barrier(6)

    def ask(_: int) -> bytes:
        together.wait()
        return fetch(url, tmp_path, pin(BODY)).path.read_bytes()

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(ask, range(6))) == [BODY] * 6
    assert server.sent() == [1000, len(BODY) - 1000]


def test_the_size_is_known_without_the_body(server: Server, tmp_path: Path) -> None:
    """A look at the size sends no body, and gives None where nobody can tell."""
    assert size_of(server.serve("/a.zip", Reply())) == len(BODY)
    assert [(method, sent) for method, _, _, sent in server.seen] == [("HEAD", 0)]
    assert size_of(server.serve("/a.zip", Reply(length=None))) is None
    assert size_of(server.serve("/a.zip", Reply(b"", 404))) is None
    assert size_of(re.sub(r":\d+$", ":1/a", server.url)) is None
    assert size_of(tmp_path) == 0


def test_a_source_is_found_beside_its_family_or_in_the_mirror(tmp_path: Path) -> None:
    """URLs stay, paths are relative to the family file, and a mirror has both under their last name."""
    url = "https://h/x/a_L-2.zip"
    assert resolve(url, tmp_path) == url
    assert resolve("sub/a.zip", tmp_path) == tmp_path / "sub/a.zip"
    assert resolve(str(tmp_path / "a.zip"), Path("elsewhere")) == tmp_path / "a.zip"
    assert resolve(url, tmp_path, "https://m/y/") == "https://m/y/a_L-2.zip"
    assert resolve("sub/a.zip", tmp_path, "http://127.0.0.1:8/y") == "http://127.0.0.1:8/y/a.zip"
    with pytest.raises(SourceError, match=r"has neither a_L-2\.zip nor a directory a_L-2$"):
        resolve(url, tmp_path, str(tmp_path))
    (tmp_path / "a_L-2").mkdir()
    assert resolve(url, tmp_path, str(tmp_path)) == tmp_path / "a_L-2"
    (tmp_path / "a_L-2.zip").touch()
    assert resolve(url, tmp_path, str(tmp_path)) == tmp_path / "a_L-2.zip"


@pytest.mark.parametrize("mirror", ["http://example.org/y", "ftp://h/y", "http://localhost:x@h/y"])
def test_a_mirror_on_another_machine_has_tls(tmp_path: Path, mirror: str) -> None:
    """A mirror's URL is held to the same rule as a family's."""
    with pytest.raises(SourceError, match="is not https"):
        resolve("https://h/a.zip", tmp_path, mirror)


def test_a_mirror_serves_what_is_pinned(server: Server, tmp_path: Path) -> None:
    """A mirror is trusted for nothing but its speed: the pin of the source holds there too."""
    server.serve("/m/a.zip", Reply(OTHER))
    place = resolve("https://h/a.zip", tmp_path, f"{server.url}/m")
    assert fetch(place, tmp_path / "d", pin(OTHER)).path.read_bytes() == OTHER
    shutil.rmtree(tmp_path / "d")
    with pytest.raises(SourceError, match="not the pinned source"):
        fetch(place, tmp_path / "d", pin(BODY))


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(tmp_path: Path) -> None:
    """Room that is there is enough, room that is not is an error with both numbers; nothing is made on the way."""
    free = shutil.disk_usage(tmp_path).free
    require_space(tmp_path / "not" / "yet", free // 2)
    require_space(Path("not/yet"), 0)
    with pytest.raises(SourceError, match=r"1000000\.0 GB are needed in the work directory, \d+\.\d GB are free"):
        require_space(tmp_path / "not" / "yet", 10**15)
    assert list(tmp_path.iterdir()) == []


# Local checkpoints ---------------------------------------------------------------------------------------------------

PREFIX = "bert_model.ckpt"
NAMES = ["bert_config.json", f"{PREFIX}.data-00000-of-00001", f"{PREFIX}.index", "vocab.txt"]


@pytest.fixture
def here(release: Path, tmp_path: Path) -> Path:
    """A copy of the release to change."""
    return Path(shutil.copytree(release, tmp_path / "here"))


def contents(local: Local, scratch: Path) -> dict[str, str]:
    """Name and digest of every file of the checkpoint in a source."""
    with opened(local, scratch) as files:
        assert files.prefix.name == PREFIX
        return {path.name: file_sha256(path) for path in files.all()}


def test_every_way_to_give_a_checkpoint_gives_the_same_files(here: Path, tmp_path: Path) -> None:
    """Directory, prefix, each file of the prefix, zip and zip with a folder inside all hold the same checkpoint."""
    expected = {name: file_sha256(here / name) for name in NAMES}
    ways = [here, here / PREFIX, *(here / name for name in NAMES[1:3])]
    ways += [zip_release(here, tmp_path / "a.zip"), zip_release(here, tmp_path / "b.zip", "uncased/inside")]
    for way in ways:
        assert contents(bring(way, tmp_path / "d"), tmp_path / "scratch") == expected, way.name
    assert not (tmp_path / "d").exists()
    assert not (tmp_path / "scratch").exists()


def test_a_checkpoint_has_one_digest_however_it_is_given(here: Path, tmp_path: Path) -> None:
    """The digest of a directory is that of its prefix, wherever both lie, and counts nothing but its files."""
    archives = [fetch(way, tmp_path) for way in (here, here / PREFIX, here / NAMES[2], here / NAMES[1])]
    (here / "README.md").write_text("more")
    (here / "checkpoint").write_text('model_checkpoint_path: "x"')
    archives.append(fetch(Path(shutil.copytree(here, tmp_path / "moved")), tmp_path))
    assert len({(archive.sha256, archive.size) for archive in archives}) == 1
    assert archives[0].size == sum((here / name).stat().st_size for name in NAMES)
    assert [archive.name for archive in archives] == ["here", PREFIX, PREFIX, PREFIX, "moved"]


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_byte_changes_the_digest(here: Path, tmp_path: Path, name: str) -> None:
    """The digest of a directory covers every byte of every file of the checkpoint."""
    before = fetch(here, tmp_path).sha256
    content = bytearray((here / name).read_bytes())
    content[len(content) // 2] ^= 1
    (here / name).write_bytes(content)
    assert fetch(here, tmp_path).sha256 != before


def test_all_data_files_belong_to_the_checkpoint(tmp_path: Path) -> None:
    """A checkpoint's files are its own shards and no other's, also where its name holds what globs mean."""
    names = ["m[1]*.index", "m[1]*.data-00000-of-00002", "m[1]*.data-00001-of-00002", "bert_config.json", "vocab.txt"]
    for name in [*names, "m1x.data-00000-of-00001", "m[1]*.data-1", "m[1]*.meta"]:
        (tmp_path / name).write_text(name)
    assert [path.name for path in find(tmp_path).all()] == [*sorted(names[:3]), "bert_config.json", "vocab.txt"]


def test_several_checkpoints_are_listed_and_refused(here: Path) -> None:
    """Which of several checkpoints is meant is never guessed: all are named, and one prefix chooses one."""
    shutil.copytree(here, here / "sub")
    with pytest.raises(SourceError, match=rf"here holds 2 checkpoints.*:\n  {PREFIX}\n  sub.{PREFIX}$") as caught:
        find(here)
    assert str(here / "sub" / PREFIX) in caught.value.hint
    assert find(here / PREFIX).prefix == here / PREFIX
    with pytest.raises(SourceError, match=r"two\.zip holds 2 checkpoints") as caught:
        find(here, packed_as="two.zip")
    assert str(here) not in caught.value.hint
    assert find(here / "sub" / PREFIX).vocab == here / "sub" / "vocab.txt"


@pytest.mark.parametrize("with_variables", [True, False])
def test_a_saved_model_is_recognised(tmp_path: Path, with_variables: bool) -> None:
    """A SavedModel is called one, with or without the checkpoint of its variables."""
    (tmp_path / "m" / "variables").mkdir(parents=True)
    (tmp_path / "m" / "saved_model.pb").write_bytes(b"\x08\x01")
    if with_variables:
        (tmp_path / "m" / "variables" / "variables.index").touch()
        (tmp_path / "m" / "variables" / "variables.data-00000-of-00001").touch()
    with pytest.raises(SourceError, match=r"^m is a SavedModel \(saved_model.pb\)") as caught:
        find(tmp_path / "m")
    assert str(tmp_path / "m" / "variables" / "variables") in caught.value.hint


def test_a_checkpoint_beside_a_saved_model_is_found(here: Path) -> None:
    """The variables of a SavedModel are no second checkpoint, and nothing else near one is taken for them."""
    (here / "export" / "variables").mkdir(parents=True)
    (here / "export" / "saved_model.pb").touch()
    (here / "export" / "variables" / "variables.index").touch()
    (here.parent / "saved_model.pb").touch()
    assert find(here).prefix == here / PREFIX


def test_a_checkpoint_called_variables_is_one_all_the_same(here: Path) -> None:
    """It is the SavedModel beside it, not the name, that makes variables.index something else."""
    for name in NAMES[1:3]:
        (here / name).rename(here / name.replace(PREFIX, "variables"))
    assert find(here).prefix == here / "variables"


def test_the_state_file_is_never_read(here: Path, tmp_path: Path) -> None:
    """A file `checkpoint` that points elsewhere changes nothing: not what is found, and not when it cannot be read."""
    elsewhere = Path(shutil.copytree(here, tmp_path / "elsewhere"))
    (here / "checkpoint").write_text(f'model_checkpoint_path: "{elsewhere / PREFIX}"')
    assert find(here).prefix == here / PREFIX
    for name in NAMES[1:3]:
        (here / name).unlink()
    with pytest.raises(SourceError, match="no TensorFlow checkpoint"):
        find(here)


@pytest.mark.parametrize("name", ["vocab.txt", "bert_config.json"])
def test_a_file_that_is_missing_or_ambiguous_is_named(here: Path, name: str) -> None:
    """Config and vocabulary stand beside the checkpoint, or once somewhere below; else they are named."""
    (here / "a").mkdir()
    (here / name).rename(here / "a" / name)
    assert {p.name: p.parent for p in find(here).all()}[name] == here / "a"
    shutil.copytree(here / "a", here / "b")
    with pytest.raises(SourceError, match=rf"has 2 possible {name}"):
        find(here)
    shutil.copy(here / "a" / name, here)
    assert {p.name: p.parent for p in find(here).all()}[name] == here
    for path in [*here.rglob(name)]:
        path.unlink()
    for way in (here, here / PREFIX):
        with pytest.raises(SourceError, match=rf"has no {name}") as caught:
            find(way).require()
        assert "beside the checkpoint" in caught.value.hint
        assert ("--vocab" if name == "vocab.txt" else "--config") in caught.value.hint


def test_what_a_mac_leaves_beside_files_is_no_checkpoint(here: Path) -> None:
    """Resource forks and a directory called *.index are not counted as checkpoints."""
    (here / "__MACOSX").mkdir()
    for folder in (here, here / "__MACOSX"):
        for name in NAMES:
            (folder / f"._{name}").write_bytes(b"\0\5\x16\7")
    (here / "some.index").mkdir()
    assert sorted(path.name for path in find(here).all()) == sorted(NAMES)


@pytest.mark.parametrize("name", ["nothing", "nothing.zip", "sub/nothing.index", "nothing.data-00000-of-00001"])
def test_a_path_with_nothing_there_is_named(tmp_path: Path, name: str) -> None:
    """A path that is no zip, directory or prefix is repeated in the error."""
    with pytest.raises(SourceError, match=f"there is nothing at {re.escape(str(tmp_path / name))}"):
        fetch(tmp_path / name, tmp_path / "d")


def test_a_prefix_that_is_nearly_right_is_told_the_right_one(here: Path) -> None:
    """Where checkpoints beside it begin with what was given, the hint names them."""
    with pytest.raises(SourceError) as caught:
        fetch(here / PREFIX[:-2], here / "d")
    assert caught.value.hint == f"did you mean {PREFIX}?"


@pytest.mark.parametrize("name", ["bert_config.json", "vocab.txt"])
def test_a_file_beside_the_checkpoint_is_not_taken_for_it(here: Path, name: str) -> None:
    """A file that is neither a zip nor of a checkpoint is called that; nobody is told to fetch it again."""
    with pytest.raises(SourceError, match=f"{name} is neither a zip nor a file of a checkpoint"):
        fetch(here / name, here / "d")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_among_the_files_is_refused(here: Path) -> None:
    """A named pipe where a data file must be is refused instead of being waited for."""
    data = next(here.glob("*.data-*"))
    data.unlink()
    os.mkfifo(data)
    with pytest.raises(SourceError, match="is no ordinary file"):
        find(here)


@pytest.mark.parametrize("url", ["https://a..b/x.zip", f"https://{'a' * 64}.org/x.zip"])
def test_a_host_that_cannot_be_is_an_error_of_the_source(tmp_path: Path, url: str) -> None:
    """A host name that no DNS takes is refused by the download like any other address that is none."""
    with pytest.raises(SourceError, match=r"is not a URL|did not come"):
        fetch(url, tmp_path)


@pytest.mark.parametrize("url", ["http://example.org/a.zip", "ftp://example.org/a.zip", "s3://bucket/a.zip"])
def test_a_url_of_another_scheme_is_no_path(url: str) -> None:
    """An address that is not https is refused as one, never looked for on the disk."""
    with pytest.raises(SourceError, match=f"{url} is not https"):
        resolve(url, Path())


def test_an_empty_directory_holds_no_checkpoint(tmp_path: Path) -> None:
    """A directory without an index is said to have none."""
    with pytest.raises(SourceError, match="holds no TensorFlow checkpoint"):
        fetch(tmp_path, tmp_path / "d")


# Hostile archives ----------------------------------------------------------------------------------------------------


def pack(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these entries as zipfile writes them."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


def named(name: str) -> zipfile.ZipInfo:
    """An entry of that very name: the class would change some."""
    entry = zipfile.ZipInfo("x")
    entry.filename = entry.orig_filename = name
    return entry


def moded(name: str, mode: int) -> zipfile.ZipInfo:
    """An entry of that file type."""
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, mode << 16
    return entry


def patch(archive: bytes, offset: int, value: bytes, *, which: bytes = b"PK\x01\x02", nth: int = 0) -> bytes:
    """A zip with bytes replaced at an offset into its nth header of a kind."""
    place = [match.start() for match in re.finditer(re.escape(which), archive)][nth] + offset
    return archive[:place] + value + archive[place + len(value) :]


def both(archive: bytes, central: int, local: int, value: bytes) -> bytes:
    """A zip with a field replaced in the directory and in the local header of its first entry."""
    return patch(patch(archive, central, value), local, value, which=b"PK\x03\x04")


GOOD = pack(("a.txt", b"first" * 10), ("b.txt", b"second" * 10))


def overlapping() -> bytes:
    """Two entries that share their bytes: the second lies, with its header, inside the stored content of the first."""
    inner = pack(("b.txt", b"kernel" * 50), method=zipfile.ZIP_STORED)
    inner = inner[: inner.index(b"PK\x01\x02")]
    outer = pack(("a.txt", inner), ("b.txt", b"kernel" * 50), method=zipfile.ZIP_STORED)
    return patch(outer, 42, struct.pack("<I", 30 + len("a.txt")), nth=1)


def same_entry_twice() -> bytes:
    """Two names for the one entry in the file, as quoted-overlap bombs have millions of."""
    return patch(pack(("a.txt", b"x" * 99), ("b.txt", b"x" * 99)), 42, bytes(4), nth=1)


def unicode_path() -> bytes:
    """An entry whose extra field gives another name than its header."""
    entry = zipfile.ZipInfo("a.txt")
    name = b"../evil"
    entry.extra = struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zipfile.crc32(b"a.txt")) + name
    return pack((entry, b"x"))


def crowd(count: int) -> bytes:
    """Few bytes a name, and as many entries as a zip of 64 bits can have: for a reader that takes them all first."""
    directory = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) * count
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(directory), 1)
    return directory + end64 + locator + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)


# fmt: off
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "parent": (lambda: pack(("../evil", b"x")), "the name"),
    "parent inside": (lambda: pack(("a/../../evil", b"x")), "the name"),
    "parent folder": (lambda: pack(("../evil/", b"")), "the name"),
    "only parent": (lambda: pack(("..", b"x")), "the name"),
    "absolute": (lambda: pack(("/evil", b"x")), "the name"),
    "network": (lambda: pack(("//host/evil", b"x")), "the name"),
    "here": (lambda: pack(("./evil", b"x")), "the name"),
    "empty part": (lambda: pack(("a//evil", b"x")), "the name"),
    "empty": (lambda: pack((named(""), b"x")), "the name"),
    "drive": (lambda: pack(("C:\\evil", b"x")), "the name"),
    "drive with slash": (lambda: pack(("C:/evil", b"x")), "the name"),
    "stream": (lambda: pack(("evil.txt:stream", b"x")), "the name"),
    "backslash": (lambda: pack(("a\\..\\..\\evil", b"x")), "the name"),
    "NUL": (lambda: pack((named("evil\0.txt"), b"x")), "the name"),
    "newline": (lambda: pack(("evil\nname", b"x")), "the name"),
    "escape": (lambda: pack(("evil\x1b[2J", b"x")), "the name"),
    "long": (lambda: pack(("e" * 251, b"x")), "the name"),
    "case twins": (lambda: pack(("Evil.txt", b"x"), ("evil.TXT", b"y")), "two entries called"),
    "unicode case twins": (lambda: pack(("Ü", b"x"), ("ü", b"y")), "two entries called"),
    "duplicate": (lambda: patch(patch(GOOD, 46, b"b"), 30, b"b", which=b"PK\x03\x04"), "two entries called"),
    "file and folder": (lambda: pack(("evil", b"x"), ("evil/", b"")), "two entries called"),
    "file as folder": (lambda: pack(("evil", b"x"), ("evil/a", b"y")), "cannot be unpacked"),
    "symlink": (lambda: pack((moded("evil", stat.S_IFLNK | 0o777), b"/etc/passwd")), "is a link or device"),
    "symlinked folder": (
        lambda: pack((moded("d", stat.S_IFLNK | 0o777), b".."), ("d/evil", b"x")), "is a link or device"
    ),
    "device": (lambda: pack((moded("evil", stat.S_IFCHR | 0o666), b"")), "is a link or device"),
    "pipe": (lambda: pack((moded("evil", stat.S_IFIFO | 0o666), b"")), "is a link or device"),
    "overlap": (overlapping, "overlaps another entry"),
    "one entry, two names": (same_entry_twice, "overlaps another entry"),
    "encrypted": (lambda: both(GOOD, 8, 6, b"\x01\x00"), "is encrypted"),
    "strongly encrypted": (lambda: both(GOOD, 8, 6, b"\x40\x00"), "is not a sound zip: strong encryption"),
    "bzip2": (lambda: pack(("a.txt", b"x"), method=zipfile.ZIP_BZIP2), "compression method 12"),
    "lzma": (lambda: pack(("a.txt", b"x"), method=zipfile.ZIP_LZMA), "compression method 14"),
    "unknown method": (lambda: both(GOOD, 10, 8, b"\x63\x00"), "compression method 99"),
    "too many": (lambda: pack(*((f"{n}", b"") for n in range(1001))), "1001 entries, more than 1000"),
    "bomb": (lambda: pack(("a.txt", bytes(2 << 20))), "more than 100 times its size"),
    "huge": (lambda: both(both(GOOD, 24, 22, b"\xf0\xff\xff\xff"), 20, 18, b"\xf0\xff\xff\x7f"), "overlaps"),
    "more announced": (lambda: both(GOOD, 24, 22, b"\x00\x01\x00\x00"), "50 bytes or more, 256 announced"),
    "less announced": (lambda: both(GOOD, 24, 22, b"\x05\x00\x00\x00"), "Bad CRC-32"),
    "wrong CRC": (lambda: both(GOOD, 16, 14, b"\0\0\0\0"), "Bad CRC-32"),
    "another name inside": (lambda: patch(GOOD, 30, b"z", which=b"PK\x03\x04"), "is not a sound zip"),
    "name not UTF-8": (lambda: patch(patch(GOOD, 8, b"\x00\x08"), 46, b"\xff"), "is not a sound zip"),
    "name inside not UTF-8": (
        lambda: patch(patch(GOOD, 6, b"\x00\x08", which=b"PK\x03\x04"), 30, b"\xff", which=b"PK\x03\x04"),
        "is not a sound zip",
    ),
    "entry beyond the end": (lambda: patch(GOOD, 42, b"\xf0\xff\xff\x7f"), "is not a sound zip"),
    "zip64 beyond every end": (
        lambda: patch(pack((zip64("a.txt", 2**64 - 1), b"x")), 42, b"\xff\xff\xff\xff"), "is not a sound zip"
    ),
    "directory too long": (lambda: patch(GOOD, 12, b"\xff\xff\xff\x7f", which=b"PK\x05\x06"), "is not a sound zip"),
    "directory before the start": (lambda: patch(GOOD, 16, b"\xff\xff\xff\x7f", which=b"PK\x05\x06"), "overlaps"),
    "newer version": (lambda: patch(GOOD, 6, b"\xff\x00"), "is not a sound zip: zip file version"),
    "a directory of 200,000 entries": (lambda: crowd(200_000), "a directory of 9,200,000 bytes"),
    "no end": (lambda: GOOD[:-1], "is not a sound zip"),
    "half": (lambda: GOOD[: len(GOOD) // 2], "is not a sound zip"),
    "nothing": (lambda: b"", "is not a sound zip"),
    "garbage": (lambda: BODY[:-22], "is not a sound zip"),
    "tar": (lambda: b"vocab.txt".ljust(257, b"\0") + b"ustar" + bytes(10_000), "is not a sound zip"),
}
# fmt: on


def zip64(name: str, offset: int) -> zipfile.ZipInfo:
    """An entry with an offset of 64 bits in its extra field."""
    entry = zipfile.ZipInfo(name)
    entry.extra = struct.pack("<HHQ", 1, 8, offset)
    return entry


@pytest.mark.parametrize(("make", "why"), HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_must_not_be_opened_is_refused(tmp_path: Path, make: Callable[[], bytes], why: str) -> None:
    """What no honest archive has is refused with the reason, and nothing is left, neither inside nor outside."""
    place = tmp_path / "deep" / "deeper"
    place.mkdir(parents=True)
    (place / "a.zip").write_bytes(make())
    with (
        pytest.raises(SourceError, match=re.escape(why)) as caught,
        opened(bring(place / "a.zip", tmp_path), place / "scratch"),
    ):
        pass
    assert caught.value.message.startswith("a.zip")
    assert caught.value.hint
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip", "deep", "deeper"]


def test_a_second_name_in_an_extra_field_leads_nowhere(tmp_path: Path) -> None:
    """The name that was checked is the one that is written, whatever extra fields say."""
    (tmp_path / "a.zip").write_bytes(unicode_path())
    (tmp_path / "in").mkdir()
    if zipfile.ZipFile(tmp_path / "a.zip").infolist()[0].filename == "a.txt":
        unpack(tmp_path / "a.zip", tmp_path / "in")
        assert [p.name for p in (tmp_path / "in").iterdir()] == ["a.txt"]
    else:
        with pytest.raises(SourceError, match="two names"):
            unpack(tmp_path / "a.zip", tmp_path / "in")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "in"]


def test_a_name_that_zipfile_changes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the module reports another name than the archive has, nothing is written under either."""
    (tmp_path / "a.zip").write_bytes(GOOD)
    (tmp_path / "in").mkdir()
    infolist = zipfile.ZipFile.infolist

    def renamed(self: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        entries = infolist(self)
        entries[0].filename = "../evil"
        return entries

    monkeypatch.setattr(zipfile.ZipFile, "infolist", renamed)
    with pytest.raises(SourceError, match="two names for one entry"):
        unpack(tmp_path / "a.zip", tmp_path / "in")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip", "in"]


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The announced sizes together are held to a limit before the first byte is unpacked."""
    (tmp_path / "a.zip").write_bytes(GOOD)
    monkeypatch.setattr(source, "_MAX_UNPACKED", 109)
    with pytest.raises(SourceError, match="unpacks to more than"):
        unpack(tmp_path / "a.zip", tmp_path / "in")
    monkeypatch.setattr(source, "_MAX_UNPACKED", 110)
    unpack(tmp_path / "a.zip", tmp_path / "in")
    assert (tmp_path / "in" / "b.txt").read_bytes() == b"second" * 10


def test_honest_archives_are_opened(tmp_path: Path) -> None:
    """Folders, empty files, stored and deflated entries, other alphabets and a repeated folder's parts are fine."""
    raw = pack(("cafe", b"old"), method=zipfile.ZIP_STORED)
    raw = patch(patch(raw, 49, b"\x82"), 33, b"\x82", which=b"PK\x03\x04")  # é in the DOS code page, as old tools write
    content = {"d/": b"", "d/e/f.txt": b"x" * 1000, "d/empty": b"", "Ünï/变.txt": b"y", "." * 3: b"z"}
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        into = tmp_path / str(method)
        (tmp_path / "a.zip").write_bytes(b"in front" + pack(*content.items(), method=method))
        unpack(tmp_path / "a.zip", into)
        found = {p.relative_to(into).as_posix(): p.read_bytes() for p in into.rglob("*") if p.is_file()}
        assert found == {name: text for name, text in content.items() if not name.endswith("/")}
    (tmp_path / "a.zip").write_bytes(raw)
    unpack(tmp_path / "a.zip", tmp_path / "old")
    assert [(p.name, p.read_bytes()) for p in (tmp_path / "old").iterdir()] == [("café"[:3] + "é", b"old")]


def test_names_of_the_dos_code_page_do_not_overlap(tmp_path: Path) -> None:
    """The length of a name is counted in the bytes that it has in the archive, not in those of UTF-8."""
    archive = pack((".é" * 20, b"x"), ("b.txt", b"y"))
    flags = patch(archive, 8, b"\0\0")
    flags = patch(flags, 6, b"\0\0", which=b"PK\x03\x04")
    (tmp_path / "a.zip").write_bytes(flags)
    unpack(tmp_path / "a.zip", tmp_path / "in")
    assert len(list((tmp_path / "in").iterdir())) == 2


def test_what_was_unpacked_goes_whatever_happens(here: Path, tmp_path: Path) -> None:
    """Old files of the scratch directory go before, and what was unpacked goes at the end, also after errors."""
    archive = bring(zip_release(here, tmp_path / "a.zip"), tmp_path)
    scratch = tmp_path / "work" / "scratch"
    scratch.mkdir(parents=True)
    (scratch / "other.index").touch()

    def use() -> None:
        with opened(archive, scratch) as files:
            assert files.prefix.parent == scratch
            assert not (scratch / "other.index").exists()
            raise LookupError

    with pytest.raises(LookupError):
        use()
    assert not scratch.exists()


def test_a_directory_is_used_where_it_is(here: Path, tmp_path: Path) -> None:
    """Opening a directory copies nothing, and removes nothing at the end."""
    with opened(bring(here, tmp_path), tmp_path / "scratch") as files:
        assert files.prefix == here / PREFIX
        assert not (tmp_path / "scratch").exists()
    assert find(here).prefix == here / PREFIX


@pytest.fixture(scope="module")
def real() -> bytes:
    """A zip with both methods, folders and other alphabets."""
    random = hashlib.shake_256(b"seed").digest(3000)
    entries: list[tuple[str | zipfile.ZipInfo, bytes]] = [
        ("d/", b""),
        ("d/vocab.txt", b"word\n" * 200),
        ("d/x.data", random),
        ("ü.index", b"y" * 20),
    ]
    stored = zipfile.ZipInfo("d/stored")
    stored.compress_type = zipfile.ZIP_STORED
    return pack(*entries, (stored, random[:100]))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and what is in it."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_archive_is_refused_or_gives_the_same(tmp_path: Path, real: bytes, draw: st.DataObject) -> None:
    """Wrong bytes, cuts and additions give an error of the station, or the content that was packed."""
    damaged = bytearray(real)
    # Headers make a small part of the file: half of the damage is done to them.
    headers = [place.start() + n for place in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06)", real) for n in range(46)]
    places = st.sampled_from(headers) | st.integers(0, len(real) - 1)
    for place in draw.draw(st.lists(places, max_size=3)):
        if place < len(damaged):
            damaged[place] = draw.draw(st.integers(0, 255) | st.sampled_from([0, 0x7F, 0x80, 0xFF]))
    cut = draw.draw(st.just(len(real)) | st.integers(0, len(real)))
    damaged = damaged[:cut] + draw.draw(st.just(b"") | st.binary(max_size=30))
    room = tmp_path / "room"
    shutil.rmtree(room, ignore_errors=True)
    (room / "in").mkdir(parents=True)
    (room / "a.zip").write_bytes(damaged)
    try:
        unpack(room / "a.zip", room / "in")
    except SourceError as error:
        assert error.message.startswith("a.zip")
    else:
        with zipfile.ZipFile(io.BytesIO(real)) as archive:
            contents = {archive.read(entry) for entry in archive.infolist()}
        assert set(tree(room / "in").values()) <= contents | {b""}
    assert sorted(p.name for p in room.iterdir()) == ["a.zip", "in"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(max_size=8) | st.sampled_from(["..", "/", "../x", "a/../../x", "\\", "C:", "~", "nul", "x/"]),
        max_size=4,
    )
)
@example(["~/x", "$HOME"])
def test_any_names_stay_in_the_directory(tmp_path: Path, names: list[str]) -> None:
    """Whatever names an archive has, unpacking writes below its directory under exactly these names, or refuses."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        try:
            for name in dict.fromkeys(names):
                archive.writestr(named(name), b"x")
        except UnicodeEncodeError:
            return
    room = tmp_path / "room"
    shutil.rmtree(room, ignore_errors=True)
    (room / "in").mkdir(parents=True)
    (room / "a.zip").write_bytes(out.getvalue())
    try:
        unpack(room / "a.zip", room / "in")
    except SourceError:
        pass
    else:
        assert set(tree(room / "in")) == {name for name in names if not name.endswith("/")}
    assert sorted(p.name for p in room.iterdir()) == ["a.zip", "in"]


def test_a_page_instead_of_a_zip_is_not_kept(server: Server, tmp_path: Path) -> None:
    """What a captive portal sends is refused and asked for again by the next run."""
    url = server.serve("/a.zip", Reply(b"<html>Please log in</html>"), Reply())
    with pytest.raises(SourceError, match="no whole zip"):
        fetch(url, tmp_path)
    assert fetch(url, tmp_path).path.read_bytes() == BODY


def test_an_archive_is_read_once(tmp_path: Path, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digest, CRC-32 and the unpacked bytes come from one pass; besides it zipfile reads the directory at the end."""
    path = zip_release(release, tmp_path / "a.zip")
    taken: list[int] = []
    real = io.FileIO.readinto

    class Counted(io.FileIO):
        def readinto(self, buffer: Any, /) -> int | None:
            done = real(self, buffer)
            taken.append(done or 0)
            return done

    monkeypatch.setattr(source.io, "FileIO", Counted)
    with opened(bring(path, tmp_path), tmp_path / "scratch") as files:
        assert files.archive == fetch(path, tmp_path)
        assert files.archive.sha256 == file_sha256(path)
    size = path.stat().st_size
    assert size <= sum(taken) < size + 64 * 1024


@pytest.mark.parametrize("gap", [0, 1, 70_000])
def test_the_digest_of_an_archive_covers_what_zipfile_skips(tmp_path: Path, here: Path, gap: int) -> None:
    """Bytes before the first entry, between entries and in a comment count, as they do for sha256sum."""
    path = zip_release(here, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"c" * 1000
    path.write_bytes(b"#" * gap + path.read_bytes())
    with opened(bring(path, tmp_path), tmp_path / "scratch") as files:
        assert files.archive == Archive("a.zip", path, file_sha256(path), path.stat().st_size)


def test_another_archive_than_the_pinned_one_is_said_to_be_one(tmp_path: Path, here: Path, server: Server) -> None:
    """Both digests are told before what is wrong with it, nothing is left unpacked, and a download is not kept."""
    path = zip_release(here, tmp_path / "a.zip")
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    other = zip_release(here, tmp_path / "b.zip", "folder")
    damaged = server.serve("/a.zip", Reply(bytes(body)))
    sound = server.serve("/b.zip", Reply(other.read_bytes()))
    for location in (damaged, sound, other):
        local = bring(location, tmp_path / "d", Pin(sha256=file_sha256(path)))
        with pytest.raises(SourceError, match="is not the pinned source"), opened(local, tmp_path / "scratch"):
            pass
        assert not (tmp_path / "scratch").exists()
        assert local.path.exists() is not local.is_download


def test_what_was_fetched_ahead_is_read_once(
    server: Server, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive that another process fetched for the same pin is not read for its digest before it is unpacked."""
    path = zip_release(here, tmp_path / "a.zip")
    pin = Pin(sha256=file_sha256(path), size=path.stat().st_size)
    url = server.serve("/a.zip", Reply(path.read_bytes()))
    bring(url, tmp_path / "d", pin)

    def never(_: Path) -> tuple[str, int]:
        raise AssertionError("read for its digest")

    monkeypatch.setattr(source, "_digest", never)
    with opened(bring(url, tmp_path / "d", pin), tmp_path / "scratch") as files:
        assert files.archive is not None
        assert files.archive.sha256 == pin.sha256
    assert len(server.sent()) == 1


def test_the_identity_of_files_is_what_was_read(here: Path, tmp_path: Path) -> None:
    """Digests that a reader brings make the identity that reading again would make; a file without bytes counts too."""
    (here / f"{PREFIX}.data-00007-of-00008").touch()
    files = find(here)
    known = source.digests(files.weights())
    assert source.identity(files, known) == source.identity(files) == fetch(here, tmp_path)
    known.popitem()
    assert source.identity(files, known) == source.identity(files)
