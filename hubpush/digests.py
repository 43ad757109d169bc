"""SHA-256 beside the work that needs the bytes: nothing is read a second time to be hashed."""

from __future__ import annotations

import hashlib
import queue
import threading
from types import TracebackType
from typing import Self

_WAITING = 8
"""Blocks that wait to be hashed, of a megabyte at most as they are read here."""


class Hasher:
    """A thread that hashes: that takes as long as reading, checking and writing the same bytes together.

    hashlib lets other threads run meanwhile. Blocks must not change after they were given. The end of its `with` block
    waits for the thread; then `sha256` tells.
    """

    def __init__(self) -> None:
        self._sums: dict[str, hashlib._Hash] = {}
        self._blocks: queue.Queue[tuple[str, bytes | memoryview] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._work, daemon=True)

    def update(self, what: str, block: bytes | memoryview) -> None:
        """Hash a block of something behind those before."""
        self._blocks.put((what, block))

    def sha256(self, what: str) -> str:
        """The SHA-256 of all blocks of something in hexadecimal, once the `with` block is over."""
        return self._sum(what).hexdigest()

    def _sum(self, what: str) -> hashlib._Hash:
        return self._sums.setdefault(what, hashlib.sha256())

    def _work(self) -> None:
        while (given := self._blocks.get()) is not None:
            self._sum(given[0]).update(given[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._blocks.put(None)
        self._thread.join()
