"""Laws of the digests that are computed beside other work."""

import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubpush.digests import Hasher


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=300)), max_size=40), st.booleans())
def test_a_sum_is_that_of_all_blocks_of_its_own_in_their_order(blocks: list[tuple[str, bytes]], beside: bool) -> None:
    """However the bytes are cut and mixed, as bytes or as views of them, it is SHA-256 of each whole."""
    with Hasher(beside=beside) as found:
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


def test_where_processors_have_their_work_no_thread_is_started() -> None:
    """A block is hashed when it is given, by whoever gives it: it may change afterwards."""
    before, block = threading.active_count(), bytearray(b"one")
    with Hasher(beside=False) as found:
        found.update("a", memoryview(block))
        assert threading.active_count() == before
        block[:] = b"two"
    assert found.sha256("a") == hashlib.sha256(b"one").hexdigest()


def test_sums_are_computed_side_by_side() -> None:
    """A sum that waits for its thread keeps no other one waiting."""
    threads, done = set[int](), threading.Barrier(2)

    class Met:
        def update(self, _: bytes) -> None:
            threads.add(threading.get_ident())
            done.wait(10)

    with Hasher() as found:
        found._sums = {"a": Met(), "b": Met()}  # type: ignore[dict-item]
        found.update("a", b"x")
        found.update("b", b"x")
    assert len(threads) == 2


def test_its_threads_end_with_the_block() -> None:
    """Whatever ends the block, no thread stays behind, and the error is the block's own."""
    before = threading.active_count()

    def fail() -> None:
        with Hasher() as found:
            found.update("a", b"x")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert threading.active_count() == before
