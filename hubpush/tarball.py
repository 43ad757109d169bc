"""Tar archives, unpacked without trusting them: what TF Hub and Kaggle serve modules in."""

from __future__ import annotations

import lzma
import re
import tarfile
import zlib
from pathlib import Path

from hubpush.errors import SourceError

_MAX_ENTRIES = 1000
_MAX_UNPACKED = 16 << 30
_MAX_RATIO = 100  # float32 weights deflate to about 0.92 of their size
_MAX_HEADER = 1 << 20


class _Entry(tarfile.TarInfo):
    """An entry whose header takes no more memory or time than a header may.

    `tarfile` reads extended headers whole, whatever size they declare, follows sparse maps without end, and goes back
    to where it came from when a size is negative (CVE-2025-8194). `_proc_member` is made to be overridden.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        is_extension = self.type not in tarfile.SUPPORTED_TYPES or self.type in (
            *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
            *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
        )
        if (is_extension and self.size > _MAX_HEADER) or self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.HeaderError(f"a header of {self.size:,} bytes, or of a sparse file")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]

    def _proc_gnusparse_10(self, *_: object) -> None:
        raise tarfile.HeaderError("a sparse file")

    def _block(self, count: int) -> int:
        if count < 0:
            raise tarfile.HeaderError("a negative size")
        return super()._block(count)  # type: ignore[misc, no-any-return]


def is_tar(path: Path) -> bool:
    """Whether a file begins as a tar does, compressed or not.

    Raises:
        OSError: It cannot be read.
    """
    try:
        with tarfile.open(path, "r:*", tarinfo=_Entry):
            return True
    except _DAMAGED:
        return False


# EOFError and its like come from the decompressors; RecursionError: thousands of extended headers in a row.
_DAMAGED = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, RecursionError)


def unpack(path: Path, into: Path) -> None:
    """Unpack a tar, compressed or not, into an empty directory.

    Refused: links and devices, absolute names, `..`, backslashes, control characters, names that differ in case alone,
    duplicates, too many entries, too many bytes, a ratio above what weights have. What is left goes through the
    standard library's filter `data` as well.

    Raises:
        SourceError: The archive is one of these, or damaged.
    """
    seen: set[str] = set()
    total = 0
    try:
        with tarfile.open(path, "r:*", tarinfo=_Entry) as archive:
            for entry in archive:
                total += entry.size
                _check(path, entry, seen, total)
                archive.extract(entry, into, filter="data")
    except _DAMAGED as error:
        raise SourceError(f"{path.name} is damaged: {error}", hint="fetch the archive again") from None
    except OSError as error:
        raise SourceError(f"{path.name} cannot be unpacked: {error}", hint="check --work and the disk") from None


def _check(path: Path, entry: tarfile.TarInfo, seen: set[str], total: int) -> None:
    def refuse(why: str) -> SourceError:
        return SourceError(f"{path.name} is refused: {why}", hint="an archive of a module has no need of this")

    name = entry.name.removeprefix("./").rstrip("/")
    if not (entry.isfile() or entry.isdir()):
        raise refuse(f"{name[:80]!r} is a link or device")
    if name in ("", ".") and entry.isdir():
        return
    if any(part in ("", ".", "..") for part in name.split("/")) or re.search(r"[\x00-\x1f\x7f\\:]", name):
        raise refuse(f"the name {name[:80]!r}")
    if name.casefold() in seen:
        raise refuse(f"two entries called {name[:80]!r} (case aside)")
    seen.add(name.casefold())
    if len(seen) > _MAX_ENTRIES:
        raise refuse(f"more than {_MAX_ENTRIES} entries")
    if total > _MAX_UNPACKED or total > _MAX_RATIO * max(path.stat().st_size, 1 << 20):
        raise refuse("it unpacks to more than an archive of a module can hold")
