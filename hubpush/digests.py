"""SHA-256 beside the work that needs the bytes: nothing is read a second time to be hashed."""

from __future__ import annotations

import hashlib
import queue
import threading
from types import TracebackType
from typing import Self

_WAITING = 4
"""Blocks that wait to be hashed, of a megabyte at most as they are read here."""


class Sha256:
    """A SHA-256 that a thread of its own computes: hashing takes as long as copying and checking together.

    hashlib lets other threads run while it hashes. Blocks must not change after they were given. To be used in a `with`
    block, whose end waits for the thread; `hexdigest` is what was given until then.
    """

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self._blocks: queue.Queue[bytes | memoryview | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._work, daemon=True)

    def update(self, block: bytes | memoryview) -> None:
        """Hash a block behind those before."""
        self._blocks.put(block)

    def hexdigest(self) -> str:
        """The sum in hexadecimal, once the `with` block is over."""
        return self._sum.hexdigest()

    def _work(self) -> None:
        while (block := self._blocks.get()) is not None:
            self._sum.update(block)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._blocks.put(None)
        self._thread.join()
