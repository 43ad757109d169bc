"""Laws of the digests that are computed beside other work."""

import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubpush.digests import Sha256


@given(st.lists(st.binary(max_size=300), max_size=40))
def test_the_sum_is_that_of_all_blocks_in_their_order(blocks: list[bytes]) -> None:
    """However the bytes are cut, and whether they come as bytes or as views of them, it is SHA-256 of the whole."""
    with Sha256() as found:
        for n, block in enumerate(blocks):
            found.update(memoryview(block) if n % 2 else block)
    assert found.hexdigest() == hashlib.sha256(b"".join(blocks)).hexdigest()


def test_nothing_waits_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that is faster than the hashing waits for it, instead of filling memory with blocks."""
    go, hashed = threading.Event(), list[bytes]()

    class Slow:
        def update(self, block: bytes) -> None:
            go.wait()
            hashed.append(block)

    with Sha256() as found:
        monkeypatch.setattr(found, "_sum", Slow())
        given: list[int] = []

        def give() -> None:
            for n in range(20):
                found.update(bytes([n]))
                given.append(n)

        thread = threading.Thread(target=give)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        assert len(given) < 10
        go.set()
        thread.join()
    assert b"".join(hashed) == bytes(range(20))


def test_its_thread_ends_with_the_block() -> None:
    """Whatever ends the block, no thread stays behind, and the error is the block's own."""
    before = threading.active_count()

    def fail() -> None:
        with Sha256() as found:
            found.update(b"x")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert threading.active_count() == before
