"""Tar archives, unpacked without trusting them."""

import gzip
import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from hubpush import source, tarball
from hubpush.errors import SourceError


def _tar(
    path: Path, *entries: tuple[str, bytes], mode: str = "w:gz", change: Callable[[tarfile.TarInfo], None] | None = None
) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            if change is not None:
                change(entry)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_honest_archive_is_unpacked(mode: str, tmp_path: Path) -> None:
    """Files come out byte for byte, whatever the compression, with `./` before their names or not."""
    path = _tar(tmp_path / "a.tar", ("./saved_model.pb", b"graph"), ("variables/v.index", b"index"), mode=mode)
    (tmp_path / "out").mkdir()
    tarball.unpack(path, tmp_path / "out")
    assert (tmp_path / "out" / "saved_model.pb").read_bytes() == b"graph"
    assert (tmp_path / "out" / "variables" / "v.index").read_bytes() == b"index"


def _kind(kind: bytes) -> Callable[[tarfile.TarInfo], None]:
    def change(entry: tarfile.TarInfo) -> None:
        entry.type, entry.linkname, entry.size = kind, "/etc/passwd", 0

    return change


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a\\b", "C:x", "a\nb", "a//b", "a/./b"])
def test_names_that_lead_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    """Nothing is written outside, whatever the name tries."""
    path = _tar(tmp_path / "a.tar.gz", (name, b"x"))
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="is refused: the name"):
        tarball.unpack(path, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.tar.gz", "out"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    """A module has no need of them."""
    path = _tar(tmp_path / "a.tar.gz", ("x", b""), change=_kind(kind))
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="a link or device"):
        tarball.unpack(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_duplicates_bombs_and_crowds_are_refused(tmp_path: Path) -> None:
    """Two names that differ in case alone, a ratio that weights never have, and more entries than a module has."""
    (tmp_path / "out").mkdir()
    for said, entries in {
        "two entries called": [("a", b""), ("A", b"")],
        "unpacks to more": [("a", bytes(150 << 20))],
        "more than 1000 entries": [(f"f{n}", b"") for n in range(1001)],
    }.items():
        with pytest.raises(SourceError, match=said):
            tarball.unpack(_tar(tmp_path / "a.tar.gz", *entries), tmp_path / "out")


@pytest.mark.parametrize("cut", [10, 60, 200])
def test_a_damaged_archive_is_an_error_of_the_source(cut: int, tmp_path: Path) -> None:
    """What is cut short or spoiled ends in one line."""
    path = _tar(tmp_path / "a.tar.gz", ("a", bytes(range(256)) * 400))
    path.write_bytes(path.read_bytes()[:cut])
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="damaged"):
        tarball.unpack(path, tmp_path / "out")


def _extended(kind: bytes, body: bytes, times: int = 1, size: bytes | None = None) -> bytes:
    """A tar of extended headers alone, which say something of an entry that never comes."""
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = kind, len(body)
    header = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    if size is not None:
        header[124:136] = size
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
    return (bytes(header) + body + bytes(-len(body) % 512)) * times


@pytest.mark.parametrize(
    "content",
    [
        _extended(tarfile.XHDTYPE, bytes(2 << 20)),
        _extended(tarfile.GNUTYPE_LONGNAME, b"n" * (2 << 20)),
        _extended(tarfile.GNUTYPE_SPARSE, b""),
        _extended(tarfile.XHDTYPE, b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n")
        + _extended(tarfile.REGTYPE, b"1" * 600),
        _extended(tarfile.XHDTYPE, b"", times=5000),
        _extended(tarfile.REGTYPE, b"", size=b"\xff" * 11 + b"\x00"),
    ],
    ids=["long pax", "long name", "sparse", "sparse by pax", "a thousand headers in a row", "negative size"],
)
def test_a_header_takes_no_more_than_a_header_may(content: bytes, tmp_path: Path) -> None:
    """Extended headers that would fill the memory, follow each other without end or lead back are damage."""
    with gzip.open(tmp_path / "a.tar.gz", "wb") as stream:
        stream.write(content)
    tarball.is_tar(tmp_path / "a.tar.gz")  # an answer, whichever
    (tmp_path / "out").mkdir()
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match=r"is damaged|is refused"):
            tarball.unpack(tmp_path / "a.tar.gz", tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
    assert list((tmp_path / "out").iterdir()) == []


def test_what_begins_as_a_tar_does_is_known(tmp_path: Path) -> None:
    """A tar is one in any compression; text, half a tar and a bomb of a header are none."""
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        assert tarball.is_tar(_tar(tmp_path / "a", ("x", b"y"), mode=mode))
    for content in (b"hello", gzip.compress(b"hello"), _extended(tarfile.XHDTYPE, bytes(2 << 20)), b"\x1f\x8b\x08"):
        (tmp_path / "a").write_bytes(content)
        assert not tarball.is_tar(tmp_path / "a")


def test_a_module_is_unpacked_once_and_whole(tmp_path: Path) -> None:
    """The directory gets its name when everything is in it; the next run uses it; one without a module is refused."""
    path = _tar(tmp_path / "m.tar.gz", ("top/saved_model.pb", b"graph"))
    archive, folder = source.fetch_module(path, tmp_path / "downloads")
    assert (folder / "saved_model.pb").read_bytes() == b"graph"
    (folder / "kept").touch()
    assert source.fetch_module(path, tmp_path / "downloads") == (archive, folder)
    assert (folder / "kept").exists()
    for entries in ([("a", b"")], [("a/saved_model.pb", b""), ("b/saved_model.pb", b"")]):
        with pytest.raises(SourceError, match="SavedModel"):
            source.fetch_module(_tar(tmp_path / "other.tar.gz", *entries), tmp_path / "downloads")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(SourceError, match="neither a tar nor a zip"):
        source.fetch_module(tmp_path / "text", tmp_path / "downloads")
    assert not list((tmp_path / "downloads" / "modules").glob("*.part"))
