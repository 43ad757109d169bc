"""Laws of the digests that are computed beside other work."""

import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubpush.digests import Hasher


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=300)), max_size=40))
def test_a_sum_is_that_of_all_blocks_of_its_own_in_their_order(blocks: list[tuple[str, bytes]]) -> None:
    """However the bytes are cut and mixed, as bytes or as views of them, it is SHA-256 of each whole."""
    with Hasher() as found:
        for n, (what, block) in enumerate(blocks):
            found.update(what, memoryview(block) if n % 2 else block)
    for one in "abc":
        whole = b"".join(block for what, block in blocks if what == one)
        assert found.sha256(one) == hashlib.sha256(whole).hexdigest()


def test_nothing_waits_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that is faster than the hashing waits for it, instead of filling memory with blocks."""
    go, hashed = threading.Event(), list[bytes]()

    class Slow:
        def update(self, block: bytes) -> None:
            go.wait()
            hashed.append(block)

    with Hasher() as found:
        monkeypatch.setattr(found, "_sums", {"a": Slow()})
        given: list[int] = []

        def give() -> None:
            for n in range(20):
                found.update("a", bytes([n]))
                given.append(n)

        thread = threading.Thread(target=give)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        assert len(given) < 12
        go.set()
        thread.join()
    assert b"".join(hashed) == bytes(range(20))


def test_its_thread_ends_with_the_block() -> None:
    """Whatever ends the block, no thread stays behind, and the error is the block's own."""
    before = threading.active_count()

    def fail() -> None:
        with Hasher() as found:
            found.update("a", b"x")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert threading.active_count() == before
