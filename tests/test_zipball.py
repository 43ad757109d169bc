"""Laws of zips: what is hostile is refused, what is honest is unpacked."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hubpush import zipball
from hubpush.errors import SourceError
from hubpush.source import bring, opened
from hubpush.zipball import unpack
from tests.servers import BODY


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
    monkeypatch.setattr(zipball, "_MAX_UNPACKED", 109)
    with pytest.raises(SourceError, match="unpacks to more than"):
        unpack(tmp_path / "a.zip", tmp_path / "in")
    monkeypatch.setattr(zipball, "_MAX_UNPACKED", 110)
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
