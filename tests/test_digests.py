"""Laws of the digests that are computed beside other work."""

import hashlib
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubpush import digests
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
        monkeypatch.setattr(digests, "hashlib", SimpleNamespace(sha256=Slow))
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


def test_sums_are_computed_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written does not wait for what is read; of many files that are read, no more threads are started."""
    threads, met = set[int](), threading.Barrier(2)

    class Met:
        def update(self, block: bytes) -> None:
            threads.add(threading.get_ident())
            if block == b"met":
                met.wait(10)

    before = threading.active_count()
    monkeypatch.setattr(digests, "hashlib", SimpleNamespace(sha256=Met))
    with Hasher() as found:
        found.update("written", b"met")
        found.update("shard 0", b"met")
        for n in range(1, 20):
            found.update(f"shard {n}", b"x")
        assert threading.active_count() == before + 2
    assert len(threads) == 2


def test_what_cannot_be_hashed_is_an_error_and_no_endless_wait() -> None:
    """Blocks behind it are taken all the same, and the end of the block tells it."""
    with pytest.raises(BufferError), Hasher() as found:
        for _ in range(20):
            found.update("a", memoryview(b"abcdef")[::2])


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
