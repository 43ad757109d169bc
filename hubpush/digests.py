"""SHA-256 of files, and of bytes on their way: nothing is read a second time to be hashed."""

from __future__ import annotations

import hashlib
import queue
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from hubpush.errors import SourceError

_WAITING = 4
"""Blocks of a sum that wait to be hashed, of a megabyte at most as they are read here."""


class Hasher:
    """SHA-256 sums of several streams of blocks.

    Each is computed in a thread of its own, beside the work that needs the bytes: that takes as long as reading,
    checking and writing them together, and hashlib lets other threads run meanwhile. Where other work fills the
    processors, blocks are hashed as they are given instead: to hand them over would cost, and win nothing.

    Blocks must not change after they were given. The end of its `with` block waits for the threads, and then `sha256`
    tells.

    Args:
        beside: Whether there are processors for such threads.
    """

    def __init__(self, *, beside: bool = True) -> None:
        self._beside = beside
        self._sums: dict[str, hashlib._Hash] = {}
        self._threads: dict[str, tuple[queue.Queue[bytes | memoryview | None], threading.Thread]] = {}

    def update(self, what: str, block: bytes | memoryview) -> None:
        """Hash a block of something behind those before."""
        if not self._beside:
            self._sum(what).update(block)
            return
        if what not in self._threads:
            blocks: queue.Queue[bytes | memoryview | None] = queue.Queue(_WAITING)
            thread = threading.Thread(target=_hash, args=(self._sum(what), blocks), daemon=True)
            self._threads[what] = blocks, thread
            thread.start()
        self._threads[what][0].put(block)

    def sha256(self, what: str) -> str:
        """The SHA-256 of all blocks of something in hexadecimal, once the `with` block is over."""
        return self._sum(what).hexdigest()

    def _sum(self, what: str) -> hashlib._Hash:
        return self._sums.setdefault(what, hashlib.sha256())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for blocks, _ in self._threads.values():
            blocks.put(None)
        for _, thread in self._threads.values():
            thread.join()


def _hash(found: hashlib._Hash, blocks: queue.Queue[bytes | memoryview | None]) -> None:
    while (block := blocks.get()) is not None:
        found.update(block)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def of_file(path: Path) -> tuple[str, int]:
    """SHA-256 and bytes of a file.

    Raises:
        SourceError: It cannot be read.
    """
    try:
        return file_sha256(path), path.stat().st_size
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}", hint="check the path") from None
