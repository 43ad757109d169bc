"""SHA-256 of files, and of bytes on their way: nothing is read a second time to be hashed."""

from __future__ import annotations

import hashlib
import queue
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from hubpush.errors import SourceError

_Blocks = queue.Queue["tuple[hashlib._Hash, bytes | memoryview] | None"]

_THREADS = 2
_WAITING = 4
"""Blocks that wait for a thread: of a megabyte, or a row or strip of a kernel where that is more."""


class Hasher:
    """SHA-256 sums of several streams of blocks.

    They are computed beside the work that needs the bytes, since that takes as long as reading, checking and writing
    them together, and hashlib lets other threads run meanwhile: the first sum in a thread of its own, all others, which
    are of files that are read one after the other, in a second one. Where other work fills the processors, blocks are
    hashed as they are given instead: to hand them over would cost, and win nothing.

    Blocks must not change after they were given. The end of its `with` block waits for the threads, and then `sha256`
    tells.

    Args:
        beside: Whether there are processors for such threads.
    """

    def __init__(self, *, beside: bool = True) -> None:
        self._beside = beside
        self._sums: dict[str, hashlib._Hash] = {}
        self._waiting: dict[str, _Blocks] = {}
        self._threads: list[tuple[threading.Thread, _Blocks]] = []
        self._error: Exception | None = None

    def update(self, what: str, block: bytes | memoryview) -> None:
        """Hash a block of something behind those before."""
        if what not in self._sums:
            self._sums[what] = hashlib.sha256()
            if self._beside:
                self._waiting[what] = self._thread(min(len(self._sums), _THREADS) - 1)
        if self._beside:
            self._waiting[what].put((self._sums[what], block))
        else:
            self._sums[what].update(block)

    def sha256(self, what: str) -> str:
        """The SHA-256 of all blocks of something in hexadecimal, once the `with` block is over."""
        return self._sums.get(what, hashlib.sha256()).hexdigest()

    def _thread(self, number: int) -> _Blocks:
        if number == len(self._threads):
            blocks = _Blocks(_WAITING)
            thread = threading.Thread(target=self._work, args=(blocks,), daemon=True)
            thread.start()
            self._threads.append((thread, blocks))
        return self._threads[number][1]

    def _work(self, blocks: _Blocks) -> None:
        while (given := blocks.get()) is not None:
            try:
                given[0].update(given[1])
            except (BufferError, MemoryError, ValueError) as error:  # who gives blocks must not wait for ever
                self._error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for _, blocks in self._threads:
            blocks.put(None)
        for thread, _ in self._threads:
            thread.join()
        if error is None and self._error is not None:
            raise self._error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_digest(path: Path) -> tuple[str, int]:
    """SHA-256 and bytes of a file.

    Raises:
        SourceError: It cannot be read.
    """
    try:
        return file_sha256(path), path.stat().st_size
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}", hint="check the path") from None
