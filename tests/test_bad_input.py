"""The short form of `make badinput`, a test of its eyes, and readers fed with anything at all."""

from __future__ import annotations

import io
import json
import random
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crc32c import crc32c
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import bad_input
from benchmarks.bad_input import Case, Room, cases, run_cases, run_flips
from hubpush import mapping, model, source, tokenizer
from hubpush.architectures.bert import ARCHITECTURE as BERT
from hubpush.checkpoint import Checkpoint
from hubpush.errors import HubpushError
from tests.checkpoints import TINY
from tests.test_checkpoint import HEADER, MAGIC, entry, field, masked, varint
from tests.test_tokenizer import GOOD
from tests.test_zipball import pack


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A sandbox beside an embedded Hub."""
    with bad_input.tried(tmp_path_factory.mktemp("bad-input")) as made:
        yield made


def test_bad_input_is_refused_in_one_line(room: Room) -> None:
    """A sample of all rows: the documented exit code, a hint, no traceback, nothing left, nothing pushed."""
    every = cases()
    assert len(every) >= 100
    assert len({(case.row, case.name) for case in every}) == len(every)
    rows = {row: [case for case in every if case.row == row] for row in dict.fromkeys(case.row for case in every)}
    figures = run_cases(room, [case for of_row in rows.values() for case in of_row[::18]])
    assert figures.violations == []
    assert figures.rows.keys() == rows.keys()


def test_what_a_command_does_wrong_is_seen(room: Room) -> None:
    """A release that is published though it should be refused, a traceback, a file outside, a token: each is named."""
    found = run_cases(
        room,
        [
            Case("test", "no error at all", 11, lambda room: room.folder()),
            Case("test", "an argument that is no text", 2, lambda _: [5]),
            Case("test", "outside", 0, lambda room: ["convert", str(room.folder()), "../outside"]),
            Case("test", "token", 0, lambda room: ["convert", str(room.folder()), bad_input.TOKEN]),
            Case("test", "harm", 0, lambda room: room.folder(), check=lambda *_: iter(["it did harm"])),
        ],
    )
    assert {kind for kind in bad_input.KINDS if not found.wrong[kind]} == {"runs without an end"}
    assert found.wrong["wrong exit codes"] == 3
    assert found.peak[0] >= found.base > 0


def test_a_run_without_an_end_is_ended(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that waits for ever is killed, and counted."""
    monkeypatch.setattr(bad_input, "_PATIENCE", 1)
    found = run_cases(room, [Case("test", "serves for ever", 0, lambda _: ["hub", "serve", "hub", "--port", "0"])])
    assert found.wrong["runs without an end"] == 1


def test_single_wrong_bits_are_noticed_or_do_nothing(room: Room) -> None:
    """Bits of zip, checkpoint, built folder, store and download: none changes what comes out unseen."""
    flips = run_flips(room, 60, seed=6)
    assert flips.violations == []
    assert sum(counter.total() for counter in flips.counts.values()) >= 60
    assert all(set(counter) == {"detected"} for place, counter in flips.counts.items() if place.endswith(", pinned"))


def test_a_bit_that_nobody_notices_is_a_violation(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the sums of the tensors, flips in the data file get into the model: the count says so."""
    monkeypatch.setattr(Checkpoint, "_require_crc", lambda *_: None)
    flips = bad_input.Flips(1)
    shutil.rmtree(room.root / "source", ignore_errors=True)
    bad_input._flip_sources(room, flips, random.Random(1), 40)  # noqa: S311
    assert flips.counts["data, not pinned"]["another output"] > 0
    assert len(flips.violations) == flips.counts["data, not pinned"]["another output"]


# Anything at all -----------------------------------------------------------------------------------------------------

_MOST = 8 << 20
"""Bytes that a reader may take for a file of a few kilobytes."""


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with bits flipped, parts cut out, bytes put in and parts said twice, or with nothing of it left."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    found = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(found)))
        end = min(len(found), start + draw(st.integers(0, 40) | st.integers(0, len(whole))))
        match draw(st.sampled_from(["flip", "flip", "byte", "cut", "insert", "twice"])):
            case "flip" if start < len(found):
                found[start] ^= 1 << draw(st.integers(0, 7))
            case "byte" if start < len(found):
                found[start] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
            case "cut":
                del found[start:end]
            case "insert":
                found[start:start] = draw(st.binary(max_size=20) | st.sampled_from([b"\xff" * 10, b"\x80" * 9 + b"\1"]))
            case "twice":
                found[start:start] = found[start:end]
    return bytes(found)


def _sealed(block: bytes) -> bytes:
    """A table of one block with these bytes, every sum right: what is wrong in it is not stopped by a sum."""
    out = bytearray()

    def put(content: bytes) -> bytes:
        start = len(out)
        out.extend(content + b"\0")
        out.extend(masked(crc32c(content + b"\0")))
        return varint(start) + varint(len(content))

    end = bytes(4) + (1).to_bytes(4, "little")
    handle = put(block + end)
    footer = put(end) + put(varint(0) + varint(1) + varint(len(handle)) + b"\xff" + handle + end)
    return bytes(out) + footer.ljust(40, b"\0") + MAGIC


_BLOCK = b"".join(
    varint(shared) + varint(len(key)) + varint(len(value)) + key + value
    for shared, key, value in [
        (0, b"", HEADER + field(2, 0)),
        (0, b"bert/a", entry(shape=(2, 3), size=24)),
        (5, b"b", entry(dtype=7, shape=(2,), offset=24, size=6)),
        (5, b"c", entry(dtype=9, shape=(), offset=30, size=8)),
    ]
)
_ZIP = pack(("d/", b""), ("d/vocab.txt", b"word\n" * 50), ("x.index", bytes(range(200))))
_VOCAB = "".join(f"{word}\n" for word in [*GOOD, "été", "東", "a\u2028b"]).encode()
_CONFIG = json.dumps(TINY).encode()


def _read_zip(folder: Path, raw: bytes) -> None:
    (folder / "a.zip").write_bytes(raw)
    with source.opened(source.bring(folder / "a.zip", folder), folder / "scratch") as files:
        files.all()


def _read_index(folder: Path, raw: bytes) -> None:
    (folder / "x.index").write_bytes(raw)
    (folder / "x.data-00000-of-00001").write_bytes(bytes(64))
    with Checkpoint(folder / "x") as checkpoint:
        for name in checkpoint:
            checkpoint.is_sound(name)
        mapping.recognized(checkpoint)
        for name in checkpoint:
            checkpoint[name]


def _read_vocabulary(folder: Path, raw: bytes) -> None:
    (folder / "vocab.txt").write_bytes(raw)
    vocabulary = tokenizer.read_vocab(folder / "vocab.txt", raw.removesuffix(b"\n").count(b"\n") + 1)
    tokenizer.write(vocabulary, folder, cased=tokenizer.casing(vocabulary, None), model_max_length=64)


def _read_config(folder: Path, raw: bytes) -> None:
    (folder / "config.json").write_bytes(raw)
    model.read_config(folder / "config.json", BERT, {"vocab_size": 1237})


READERS: dict[str, tuple[Callable[[Path, bytes], None], st.SearchStrategy[bytes]]] = {
    "zip": (_read_zip, damaged(_ZIP)),
    "index": (_read_index, damaged(_sealed(_BLOCK))),
    "index under right sums": (_read_index, damaged(_BLOCK).map(_sealed)),
    "vocabulary": (_read_vocabulary, damaged(_VOCAB)),
    "config": (_read_config, damaged(_CONFIG)),
}


@pytest.mark.parametrize("reader", READERS)
def test_what_readers_are_fed_with_is_read_or_refused(reader: str, tmp_path: Path) -> None:
    """Whatever stands in a file, its reader ends with an error of hubpush or without one, in little memory."""
    read, contents = READERS[reader]

    @settings(
        max_examples=100, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )  # fmt: skip
    @given(contents)
    def feed(raw: bytes) -> None:
        tracemalloc.start()
        try:
            read(tmp_path, raw)
        except HubpushError as error:
            assert error.message
            assert error.hint
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < _MOST

    feed()


def test_the_files_that_are_damaged_are_whole(tmp_path: Path) -> None:
    """What the damage begins with is accepted by every reader, so that damage can be what is refused."""
    _read_vocabulary(tmp_path, _VOCAB)
    _read_config(tmp_path, _CONFIG)
    assert zipfile.ZipFile(io.BytesIO(_ZIP)).testzip() is None
    (tmp_path / "x.index").write_bytes(_sealed(_BLOCK))
    (tmp_path / "x.data-00000-of-00001").write_bytes(bytes(64))
    assert list(Checkpoint(tmp_path / "x")) == ["bert/a", "bert/b", "bert/c"]
