"""Zip archives, unpacked without trusting them: what checkpoints are published in."""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from hubpush.digests import Hasher
from hubpush.errors import SourceError

# What an archive of one checkpoint may hold: far above the largest BERT, far below what fills a disk unseen.
_MAX_ENTRIES = 1000
_MAX_DIRECTORY = 1 << 20
_MAX_UNPACKED = 64 << 30
_MAX_RATIO = 100  # float32 weights deflate to about 0.92 of their size; deflate itself reaches 1032

_CHUNK = 1 << 20


def unpack(path: Path, into: Path) -> tuple[str, int]:
    """Unpack a zip into an empty directory, refusing whatever an honest archive of a checkpoint never has.

    Refused: absolute names, `..`, drive letters, backslashes, control characters, names that differ in case alone,
    duplicates, links and devices, overlapping entries, encryption, compression other than stored and deflate, too many
    entries, too many bytes, a ratio above deflate's for weights, sizes other than the directory of the zip says.

    Returns:
        The digest of the archive, over the very bytes that were unpacked, and its size.

    Raises:
        SourceError: The archive is one of these, or damaged.
    """
    with on_disk(path.name), Hasher() as hasher, reading(path) as (stream, archive):
        entries = archive.infolist()
        check_entries(path, entries)
        stream.follow(hasher)
        for entry in sorted(entries, key=lambda e: e.header_offset):
            target = into / entry.filename
            if entry.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as packed, target.open("xb") as unpacked:
                copy(packed, unpacked, entry.file_size, f"{path.name}: {entry.filename}")
        size = stream.finish()
    return hasher.sha256(""), size


class _Zip(io.BufferedReader):
    """A zip that is hashed as it is read, and whose directory zipfile cannot make larger than memory.

    (It takes the directory into memory, and four times that for its entries.)
    """

    _hasher: Hasher | None = None
    _hashed = 0

    def follow(self, hasher: Hasher) -> None:
        """Hash what is read from now on: entries in the order in which they lie there, and what is between them."""
        self._hasher = hasher

    def finish(self) -> int:
        """Hash what is left; the number of bytes."""
        self.seek(self._hashed)
        while self.read(_CHUNK):
            pass
        return self._hashed

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"a directory of {size:,} bytes, at most {_MAX_DIRECTORY:,} are read")
        if self._hasher is None:
            return super().read(size)
        position = self.tell()
        if position > self._hashed:  # what lies between two entries
            self.seek(self._hashed)
            while (gap := position - self._hashed) and (between := super().read(min(gap, _CHUNK))):
                self._hash(between)
        data = super().read(size)
        self._hash(data[max(0, self._hashed - position) :])
        return data

    def _hash(self, data: bytes) -> None:
        if self._hasher is not None and data:
            self._hasher.update("", data)
            self._hashed += len(data)


@contextmanager
def reading(path: Path) -> Iterator[tuple[_Zip, zipfile.ZipFile]]:
    """A zip to read, and the stream that it is read from; what a damaged one raises is an error of the source."""
    try:
        with _Zip(io.FileIO(path)) as stream, zipfile.ZipFile(stream) as archive:
            yield stream, archive
    # ValueError: names that are not UTF-8, offsets beyond every file.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise SourceError(
            f"{path.name} is not a sound zip: {error}", hint="fetch it again; compare its digest with the publisher's"
        ) from None


@contextmanager
def on_disk(name: str) -> Iterator[None]:
    """What the disk refuses is an error of the source."""
    try:
        yield
    except OSError as error:
        raise SourceError(f"{name} cannot be unpacked: {error}", hint="check the disk and the path") from None


def check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive for what its directory says: see `unpack`.

    Raises:
        SourceError: It has what no honest archive of a checkpoint has.
    """

    def refuse(why: str) -> SourceError:
        return SourceError(
            f"{path.name} is refused: {why}", hint="an archive of a checkpoint has no need of this; repack it yourself"
        )

    if len(entries) > _MAX_ENTRIES:
        raise refuse(f"{len(entries)} entries, more than {_MAX_ENTRIES}")
    if sum(entry.file_size for entry in entries) > _MAX_UNPACKED:
        raise refuse(f"it unpacks to more than {_MAX_UNPACKED >> 30} GiB")
    seen: set[str] = set()
    end = 0
    for entry in sorted(entries, key=lambda e: e.header_offset):
        # `orig_filename` is what the archive says; zipfile cuts `filename` at a NUL and turns separators.
        name = entry.orig_filename
        parts = name.rstrip("/").split("/")
        if any(part in ("", ".", "..") for part in parts) or re.search(r"[\x00-\x1f\x7f\\:]", name) or len(name) > 250:
            raise refuse(f"the name {name[:80]!r}")
        if entry.filename != name:  # newer zipfile modules take another one from an extra field
            raise refuse(f"two names for one entry, {name!r} and {entry.filename[:80]!r}")
        folded = name.rstrip("/").casefold()
        if folded in seen:
            raise refuse(f"two entries called {name!r} (case aside)")
        seen.add(folded)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refuse(f"{name} is a link or device")
        if entry.flag_bits & 0x1:
            raise refuse(f"{name} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise refuse(f"{name} has compression method {entry.compress_type}")
        if entry.file_size > _MAX_RATIO * max(entry.compress_size, 1) and entry.file_size > _CHUNK:
            raise refuse(f"{name} unpacks to more than {_MAX_RATIO} times its size")
        if entry.header_offset < end:
            raise refuse(f"{name} overlaps another entry")
        end = entry.header_offset + 30 + len(name.encode("utf-8" if entry.flag_bits & 0x800 else "cp437"))
        end += entry.compress_size


def copy(packed: Any, unpacked: BinaryIO, size: int, what: str) -> None:
    """Inflate one entry, and no more of it than the directory of the zip announces.

    Raises:
        SourceError: It has more or fewer.
    """
    done = 0
    while chunk := packed.read(_CHUNK):
        done += len(chunk)
        if done > size:
            break
        unpacked.write(chunk)
    if done != size:
        raise SourceError(f"{what}: {done:,} bytes or more, {size:,} announced", hint="fetch the archive again")
