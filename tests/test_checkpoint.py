"""Laws of the checkpoint reader, against TensorFlow's own where it has one."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from hubpush.checkpoint import Checkpoint, Variable
from hubpush.errors import CheckpointError
from tests.checkpoints import tensorflow, write_checkpoint

Arrays = dict[str, np.ndarray[Any, Any]]
MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
# fmt: off
DTYPES = [
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
]
# fmt: on


def all_kinds() -> Arrays:
    """One variable of every type that is read, and of every unusual shape and name."""
    random = np.random.default_rng(1)
    return {
        **{f"dtype/{name}": random.integers(0, 2**15, (3, 5)).astype(name) for name in DTYPES},
        "scalar": np.float32(-1.5),
        "scalar/int": np.int64(-(2**40)),
        "empty": np.zeros((0,), np.float32),
        "empty/rows": np.zeros((4, 0, 2), np.int32),
        "deep": random.standard_normal((1, 2, 1, 3, 1, 2)).astype(np.float32),
        "not/finite": np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324], np.float64),
        "schöne/变量/😀": np.arange(7, dtype=np.int16),
        " :a b?*[x]": np.arange(3, dtype=np.float32),
    }


def many() -> Arrays:
    """More variables than one index block holds, whose names share long prefixes."""
    names = [f"bert/encoder/layer_{n}/output/{part}" for n in range(48) for part in "abcdefghij"]
    return {name: np.full((n % 3, 2), n, np.float32) for n, name in enumerate([*names, "bert", "bert/encoder/layer_1"])}


def write_partitioned(prefix: Path) -> None:
    """A variable saved in slices, as TF1 code with a partitioner saved its embeddings, between two whole ones."""
    v1 = tensorflow().compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        for name in ("before", "whole"):
            v1.get_variable(name, shape=(2,))
        v1.get_variable("table", shape=(8, 3), partitioner=v1.fixed_size_partitioner(2))
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(prefix), write_meta_graph=False, write_state=False)


def write_by_saver(prefix: Path, variables: Arrays, shards: int) -> None:
    """A checkpoint as TF1 code saves it: a graph, a session, a Saver, and a device for each data file."""
    v1 = tensorflow().compat.v1
    session_config = v1.ConfigProto(device_count={"CPU": shards})
    with v1.Graph().as_default(), v1.Session(config=session_config) as session:
        saved, values = {}, {}
        for n, name in enumerate(sorted(variables)):
            value = np.asarray(variables[name])
            with v1.device(f"/device:CPU:{n % shards}"):
                fed = v1.placeholder(v1.as_dtype(value.dtype), value.shape)
                saved[name] = v1.Variable(fed, name=f"variable_{n}", use_resource=True)
            values[fed] = value
        session.run([variable.initializer for variable in saved.values()], values)
        saver = v1.train.Saver(saved, sharded=shards > 1)
        saver.save(session, str(prefix), write_meta_graph=False, write_state=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes each checkpoint once for all tests of this module; what it gives is read only."""
    folder, made = tmp_path_factory.mktemp("checkpoints"), dict[tuple[str, int], Path]()

    def write(make: Callable[[], Arrays], shards: int = 1) -> Path:
        key = (make.__name__, shards)
        if key not in made:
            made[key] = write_checkpoint(folder / f"{make.__name__}-{shards}.ckpt", make(), shards=shards)
        return made[key]

    return write


def small() -> Arrays:
    """Three variables in one small index block."""
    return {
        "a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a/moving": np.array(7, np.int64),
        "b/kernel": np.arange(4, dtype=np.float64),
    }


def copy(prefix: Path, folder: Path) -> Path:
    """A checkpoint to damage."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in prefix.parent.glob(f"{prefix.name}.*"):
        shutil.copy(path, folder)
    return folder / prefix.name


def index(prefix: Path) -> Path:
    """The index of a checkpoint."""
    return prefix.with_name(prefix.name + ".index")


def data(prefix: Path, shard: int = 0, shards: int = 1) -> Path:
    """A data file of a checkpoint."""
    return prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")


def flip(path: Path, position: int, mask: int = 1) -> None:
    """Change bits of one byte of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= mask
    path.write_bytes(content)


# Tables made by hand: what TensorFlow would not write ----------------------------------------------------------------


def varint(value: int) -> bytes:
    """A number as protocol buffers and LevelDB write it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def masked(crc: int) -> bytes:
    """A CRC as LevelDB stores it."""
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def field(number: int, value: int | bytes) -> bytes:
    """A field of a protocol buffer message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry(
    dtype: int = 1, shape: tuple[int, ...] = (1,), shard: int = 0, offset: int = 0, size: int = 4, crc: int = 0
) -> bytes:
    """A BundleEntryProto."""
    dims = b"".join(field(2, field(1, dim)) for dim in shape)
    numbers = field(1, dtype) + field(2, dims) + field(3, shard) + field(4, offset) + field(5, size)
    return numbers + varint(6 << 3 | 5) + masked(crc)


def table(entries: Mapping[bytes, bytes], *, restarts: int = 1, compression: int = 0) -> bytes:
    """A LevelDB table of one block, every sum of it right."""
    out = bytearray()

    def block(content: Mapping[bytes, bytes], restarts: int = 1, compression: int = 0) -> bytes:
        start = len(out)
        for key, value in content.items():
            out.extend(varint(0) + varint(len(key)) + varint(len(value)) + key + value)
        out.extend(bytes(4) + restarts.to_bytes(4, "little"))
        size = len(out) - start
        out.append(compression)
        out.extend(masked(crc32c(bytes(out[start:]))))
        return varint(start) + varint(size)

    last = max(entries, default=b"") + b"\xff"
    handle = block(entries, restarts, compression)
    footer = block({}) + block({last: handle})
    return bytes(out) + footer.ljust(40, b"\0") + MAGIC


HEADER = field(1, 1) + field(3, field(1, 1))


def write_table(prefix: Path, entries: Mapping[bytes, bytes], content: bytes = bytes(4), **how: int) -> Path:
    """A checkpoint of one data file with that index."""
    index(prefix).write_bytes(table(entries, **how))
    data(prefix).write_bytes(content)
    return prefix


# Equality with TensorFlow --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 3])
def test_what_the_tests_write_is_what_the_saver_writes(
    written: Callable[..., Path], tmp_path: Path, shards: int
) -> None:
    """The checkpoints of all tests have the names and the bytes that TensorFlow's Saver gives them."""
    prefix = written(all_kinds, shards)
    write_by_saver(tmp_path / prefix.name, all_kinds(), shards)
    theirs = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(theirs) == shards + 1
    assert {path.name: path.read_bytes() for path in prefix.parent.glob(f"{prefix.name}*")} == theirs


@pytest.mark.parametrize(("make", "shards"), [(all_kinds, 1), (all_kinds, 3), (many, 1), (many, 7), (small, 1)])
def test_every_variable_equals_tensorflows(
    written: Callable[..., Path], make: Callable[[], Arrays], shards: int
) -> None:
    """Names, shapes, types and every bit of every variable are those that TensorFlow's reader and the array give."""
    prefix = written(make, shards)
    theirs = tensorflow().train.load_checkpoint(str(prefix))
    arrays = make()
    with Checkpoint(prefix) as ours:
        assert ours.shards == shards
        assert list(ours) == sorted(ours, key=str.encode)
        assert len(ours) == len(arrays)
        assert {n: list(v.shape) for n, v in ours.variables.items()} == theirs.get_variable_to_shape_map()
        dtypes = theirs.get_variable_to_dtype_map()
        for name, array in arrays.items():
            expected, found = np.asarray(theirs.get_tensor(name)), ours[name]
            assert ours.variables[name].dtype == dtypes[name].name
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape) == (array.dtype, array.shape)
            assert found.tobytes() == expected.tobytes() == array.tobytes()
            assert b"".join(ours.blocks(name, 7)) == array.tobytes()
            assert ours.is_sound(name)
            assert name in ours
        assert {v.shard for v in ours.variables.values()} == set(range(shards))


@settings(max_examples=10, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=6).filter(lambda n: "\0" not in n), st.integers(0, 3), min_size=1))
def test_any_names_are_found(tmp_path_factory: pytest.TempPathFactory, sizes: dict[str, int]) -> None:
    """Whatever variables are called, each is found under its name with its values."""
    arrays = {name: np.full(size, n, np.int32) for n, (name, size) in enumerate(sizes.items())}
    prefix = write_checkpoint(tmp_path_factory.mktemp("names") / "x.ckpt", arrays)
    with Checkpoint(prefix) as found:
        assert {name: values.tolist() for name, values in found.items()} == {n: a.tolist() for n, a in arrays.items()}


def test_a_hand_made_table_is_read(tmp_path: Path) -> None:
    """The tables that the tests below damage are right before the damage."""
    content = np.float32(2.5).tobytes()
    prefix = write_table(tmp_path / "x", {b"": HEADER, b"v": entry(crc=crc32c(content))}, content)
    with Checkpoint(prefix) as found:
        assert found.variables == {"v": Variable("v", "float32", (1,), 0, 0, 4, crc32c(content))}
        assert found["v"].tolist() == [2.5]
    assert tensorflow().train.load_checkpoint(str(prefix)).get_tensor("v").tolist() == [2.5]


def test_object_based_checkpoints_are_told_apart(tmp_path: Path, written: Callable[..., Path]) -> None:
    """A checkpoint of tf.train.Checkpoint is recognised, one of the Saver is not taken for it."""
    tf = tensorflow()
    tf.train.Checkpoint(v=tf.Variable([1.0, 2.0])).write(str(tmp_path / "tf2"))
    with Checkpoint(tmp_path / "tf2") as found:
        assert found.is_object_based
        assert found["v/.ATTRIBUTES/VARIABLE_VALUE"].tolist() == [1.0, 2.0]
        assert all(found.is_sound(name) for name in found)
    assert not Checkpoint(written(small)).is_object_based


# What is not read ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with variables of types that are not read."""
    variables = {
        "text": np.array([b"", b"abc", "é".encode() * 100, b"x" * 300], dtype=object),
        "brain": np.arange(4, dtype=np.float32).astype(ml_dtypes.bfloat16),
        "waves": np.zeros(3, np.complex64),
        "weights": np.arange(3, dtype=np.float32),
    }
    return write_checkpoint(tmp_path_factory.mktemp("unread") / "x.ckpt", variables)


@pytest.mark.parametrize(("name", "dtype"), [("text", "string"), ("brain", "bfloat16"), ("waves", "type 8")])
def test_a_type_that_is_not_read_is_refused_by_name(unread: Path, name: str, dtype: str) -> None:
    """Strings, bfloat16 and complex numbers are refused with name and type, sound all the same, and hinder nothing."""
    with Checkpoint(unread) as found:
        with pytest.raises(CheckpointError, match=rf"^x.ckpt: {name} is {dtype}, which is not read"):
            found[name]
        assert found.is_sound(name)
        assert found["weights"].tolist() == [0, 1, 2]


def test_strings_are_not_given_as_bytes(unread: Path) -> None:
    """The blocks of a string variable, whose bytes are lengths and text, are refused like its array."""
    with Checkpoint(unread) as found, pytest.raises(CheckpointError, match="text is string, which is not read"):
        list(found.blocks("text"))


def test_any_damage_to_a_string_is_seen(unread: Path, tmp_path: Path) -> None:
    """A flipped bit in the lengths, their sum or the text of a string variable makes it unsound."""
    prefix = copy(unread, tmp_path)
    variable = Checkpoint(prefix).variables["text"]
    for position in range(variable.size):
        flip(data(prefix), variable.offset + position, 1 << position % 8)
        with Checkpoint(prefix) as found:
            assert not found.is_sound("text"), position
        flip(data(prefix), variable.offset + position, 1 << position % 8)
    with Checkpoint(prefix) as found:
        assert found.is_sound("text")


def test_a_variable_in_slices_is_refused_by_name(tmp_path: Path) -> None:
    """A partitioned variable is named, with what to do, instead of being called damaged or left out."""
    write_partitioned(tmp_path / "x")
    assert tensorflow().train.load_checkpoint(str(tmp_path / "x")).has_tensor("table")
    with pytest.raises(CheckpointError, match=r"^table is saved in slices") as caught:
        Checkpoint(tmp_path / "x")
    assert "partitioner" in caught.value.hint


# Laziness ------------------------------------------------------------------------------------------------------------


def test_opening_reads_the_index_alone(tmp_path: Path, written: Callable[..., Path]) -> None:
    """Opening, listing and asking for names work on data files that hold not one right byte."""
    prefix = copy(written(many, 7), tmp_path)
    for shard in range(7):
        path = data(prefix, shard, 7)
        path.write_bytes(b"\xff" * path.stat().st_size)
    found = Checkpoint(prefix)
    arrays = many()
    assert set(found) == set(arrays)
    assert all(name in found for name in arrays)
    assert "bert/encoder" not in found
    assert 1 not in found
    assert not found._files
    assert not any(found.is_sound(name) for name, array in arrays.items() if array.size)


def test_a_name_that_is_not_there_is_a_key_error(written: Callable[..., Path]) -> None:
    """A checkpoint behaves as every mapping does."""
    with Checkpoint(written(small)) as found:
        with pytest.raises(KeyError):
            found["nothing"]
        assert found.get("nothing") is None


def test_data_files_are_opened_when_needed_and_closed_at_the_end(written: Callable[..., Path]) -> None:
    """An access opens the one data file that it needs; leaving the block closes all."""
    with Checkpoint(written(many, 7)) as found:
        name = next(name for name in found if found.variables[name].size and found.variables[name].shard == 3)
        found[name]
        assert list(found._files) == [3]
        stream = found._files[3]
        assert not stream.closed
    assert stream.closed
    assert not found._files


def test_blocks_hold_no_more_than_a_block(tmp_path: Path) -> None:
    """Reading a variable of 64 MiB by blocks takes the memory of few blocks, reading it whole that of the variable."""
    size, block = 64 << 20, 1 << 20
    prefix = write_table(tmp_path / "x", {b"": HEADER, b"v": entry(4, (size,), size=size, crc=crc32c(bytes(size)))})
    with data(prefix).open("r+b") as stream:
        stream.truncate(size)
    with Checkpoint(prefix) as found:
        tracemalloc.start()
        try:
            assert sum(len(piece) for piece in found.blocks("v", block)) == size
            assert tracemalloc.get_traced_memory()[1] < 4 * block
            tracemalloc.reset_peak()
            assert found["v"].nbytes == size
            assert size <= tracemalloc.get_traced_memory()[1] < size + 8 * block
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("row", [1, 4, 3 * 4 * 1000, 5 << 20], ids=["bytes", "numbers", "rows", "more than a block"])
def test_the_whole_is_every_byte_once_and_in_its_order(tmp_path: Path, shards: int, row: int) -> None:
    """Blocks of a file are the file, those of a variable are the variable, and what belongs together stays together."""
    random = np.random.default_rng(2)
    arrays = {
        "large": random.standard_normal((701, 3000)).astype(np.float32),
        "small": random.standard_normal(3000).astype(np.float32),
        "unwanted": random.standard_normal((3, 5000)).astype(np.float32),
    }
    prefix = write_checkpoint(tmp_path / "x", arrays, shards=shards)
    files: dict[Path, bytes] = {}
    variables: dict[str, list[bytes]] = {}
    with Checkpoint(prefix) as found:
        for path, variable, block in found.whole({"large": row, "small": 1}):
            files[path] = files.get(path, b"") + block
            if variable is not None:
                variables.setdefault(variable.name, []).append(block)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.data-*")} == {
        path.name: content for path, content in files.items()
    }
    assert {name: b"".join(blocks) for name, blocks in variables.items()} == {
        name: arrays[name].tobytes() for name in ("large", "small")
    }
    assert all(len(block) % row == 0 for block in variables["large"][:-1])
    assert max(map(len, variables["large"])) <= max(1 << 20, row)


def test_an_array_is_ones_own(written: Callable[..., Path]) -> None:
    """Changing an array changes nothing that is read later."""
    with Checkpoint(written(small)) as found:
        found["a/kernel"][:] = -1
        assert found["a/kernel"].tolist() == [[0, 1, 2], [3, 4, 5]]


# Damaged data --------------------------------------------------------------------------------------------------------


def test_every_flipped_bit_of_the_data_is_noticed_and_named(tmp_path: Path, written: Callable[..., Path]) -> None:
    """One wrong bit anywhere is an error that names the variable, and all other variables are read as before."""
    prefix = copy(written(small), tmp_path)
    arrays = small()
    content = data(prefix).read_bytes()
    for position in range(len(content)):
        flip(data(prefix), position, 1 << position % 8)
        with Checkpoint(prefix) as found:
            (hit,) = (n for n, v in found.variables.items() if v.offset <= position < v.offset + v.size)
            with pytest.raises(CheckpointError, match=f"^checkpoint damaged: {hit}: .*CRC-32C"):
                found[hit]
            assert [name for name in found if not found.is_sound(name)] == [hit]
            assert all(np.array_equal(found[name], arrays[name]) for name in arrays if name != hit)
        data(prefix).write_bytes(content)


def test_every_truncation_of_the_data_is_refused_at_opening(tmp_path: Path, written: Callable[..., Path]) -> None:
    """A data file that lacks even one byte is refused before anything is read, with the variable that is cut."""
    prefix = copy(written(small), tmp_path)
    whole = data(prefix).read_bytes()
    last = max(Checkpoint(prefix).variables.values(), key=lambda v: v.offset)
    for size in range(len(whole)):
        data(prefix).write_bytes(whole[:size])
        with pytest.raises(
            CheckpointError, match=f"^checkpoint damaged: {last.name}: .* {size} bytes, {len(whole)} are"
        ):
            Checkpoint(prefix)


def test_data_that_shrinks_or_goes_after_opening_is_an_error_of_the_checkpoint(
    tmp_path: Path, written: Callable[..., Path]
) -> None:
    """A data file that is cut or removed between opening and reading is named, not a builtin error."""
    prefix = copy(written(small), tmp_path)
    with Checkpoint(prefix) as found:
        data(prefix).write_bytes(b"")
        with pytest.raises(CheckpointError, match="damaged: b/kernel: its data file ends at byte"):
            found["b/kernel"]
    for lost in (1, 5):
        prefix = copy(written(small), tmp_path)
        with Checkpoint(prefix) as found:
            data(prefix).write_bytes(data(prefix).read_bytes()[:-lost])
            last, told = max(found.variables.values(), key=lambda v: v.offset).name, list[str]()
            with pytest.raises(CheckpointError, match=f"{last}: its data file ends at byte"):
                told.extend(v.name for _, v, _ in found.whole(dict.fromkeys(found.variables, 4)) if v is not None)
            assert last not in told  # not even the half of it that is there
    prefix = copy(written(small), tmp_path)
    with Checkpoint(prefix) as found:
        data(prefix).unlink()
        with pytest.raises(CheckpointError, match=f"^{data(prefix).name} cannot be read"):
            found["b/kernel"]
        assert not found.is_sound("b/kernel")


def test_a_missing_shard_is_named(tmp_path: Path, written: Callable[..., Path]) -> None:
    """Each data file that is missing is refused at opening, by its file name and the number of variables it has."""
    for shard in range(7):
        prefix = copy(written(many, 7), tmp_path / str(shard))
        data(prefix, shard, 7).unlink()
        held = sum(v.shard == shard for v in Checkpoint(written(many, 7)).variables.values())
        with pytest.raises(CheckpointError, match=rf"{data(prefix, shard, 7).name} is missing \({held} variables"):
            Checkpoint(prefix)


# Damaged index -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_of_the_index_is_refused_or_without_effect(
    tmp_path: Path, written: Callable[..., Path], bit: int
) -> None:
    """Whichever bit of the index is wrong, the entries are the same or the checkpoint is refused."""
    prefix = copy(written(small), tmp_path)
    whole = index(prefix).read_bytes()
    entries, refused = Checkpoint(prefix).variables, 0
    for position in range(len(whole)):
        index(prefix).write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
        try:
            found = Checkpoint(prefix)
        except CheckpointError:
            refused += 1
            continue
        assert found.variables == entries
        assert found.shards == 1
    # The rest is the padding of the footer, and the empty block of the table's own that holds nothing.
    assert refused > len(whole) * 0.6


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_an_index_damaged_at_random_is_refused_or_without_effect(
    tmp_path_factory: pytest.TempPathFactory, written: Callable[..., Path], draw: st.DataObject
) -> None:
    """Several wrong bytes, a cut or bytes more in an index of several blocks never give other variables."""
    prefix = written(many)
    whole = index(prefix).read_bytes()
    damaged = bytearray(whole)
    for position in draw.draw(st.lists(st.integers(0, len(whole) - 1), max_size=3)):
        damaged[position] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.just(len(whole)) | st.integers(0, len(whole)))
    damaged = damaged[:cut] + draw.draw(st.just(b"") | st.binary(max_size=60))
    folder = tmp_path_factory.mktemp("index")
    shutil.copy(data(prefix), folder)
    index(folder / prefix.name).write_bytes(damaged)
    try:
        found = Checkpoint(folder / prefix.name)
    except CheckpointError:
        return
    assert found.variables == Checkpoint(prefix).variables


def test_every_truncation_of_the_index_is_refused(tmp_path: Path, written: Callable[..., Path]) -> None:
    """An index of which the end is missing is no index."""
    prefix = copy(written(small), tmp_path)
    whole = index(prefix).read_bytes()
    for size in range(len(whole)):
        index(prefix).write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="is not the index of a TensorFlow checkpoint"):
            Checkpoint(prefix)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"a text file\n" * 100, b"\x89HDF\r\n\x1a\n" + bytes(100), MAGIC[::-1] * 9]
)
def test_a_file_that_is_no_index_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    """Something else under the name of an index is recognised by its last bytes."""
    index(tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"^x.index is not the index of a TensorFlow checkpoint"):
        Checkpoint(tmp_path / "x")


def test_a_data_file_given_as_index_is_said_to_be_none(tmp_path: Path, written: Callable[..., Path]) -> None:
    """Data under the name of an index is not read as one."""
    shutil.copy(data(written(many)), index(tmp_path / "x"))
    with pytest.raises(CheckpointError, match="wrong magic"):
        Checkpoint(tmp_path / "x")


def test_a_prefix_without_files_is_named(tmp_path: Path) -> None:
    """A missing index is an error that says how a prefix is given."""
    with pytest.raises(CheckpointError, match=r"^x.index cannot be read") as caught:
        Checkpoint(tmp_path / "x")
    assert "PREFIX.index" in caught.value.hint


# Crafted indexes: all sums right, what they say wrong ----------------------------------------------------------------


def test_a_big_endian_checkpoint_is_refused(tmp_path: Path) -> None:
    """The header's byte order is looked at before any number is."""
    prefix = write_table(tmp_path / "x", {b"": HEADER + field(2, 1), b"v": entry()})
    with pytest.raises(CheckpointError, match=r"^x is big-endian"):
        Checkpoint(prefix)


CRAFTED = {
    "no header": {b"v": entry()},
    "header of rubbish": {b"": b"\xff" * 20},
    "no data files": {b"": field(1, 0)},
    "a million data files": {b"": field(1, 1_000_000)},
    "a shard beyond": {b"": HEADER, b"v": entry(shard=1)},
    "an offset beyond": {b"": HEADER, b"v": entry(offset=1)},
    "a negative offset": {b"": HEADER, b"v": entry(offset=2**64 - 1)},
    "an empty tensor beyond": {b"": HEADER, b"v": entry(shape=(0,), size=0, offset=2**63)},
    "more bytes than the shape": {b"": HEADER, b"v": entry(shape=(1,), size=8)},
    "a huge shape": {b"": HEADER, b"v": entry(shape=(2**40, 2**40), size=2**82)},
    "a negative dimension": {b"": HEADER, b"v": entry(shape=(2**64 - 1,))},
    "an entry of rubbish": {b"": HEADER, b"v": b"\x0f\xff\xff"},
    "an entry cut short": {b"": HEADER, b"v": entry()[:-2]},
    "an endless varint": {b"": HEADER, b"v": b"\xff" * 30},
    "a number of twelve bytes": {b"": HEADER, b"v": entry() + b"\x18" + b"\x80" * 11 + b"\0"},
    "a number for a shape": {b"": HEADER, b"v": field(2, 5)},
    "a name that is no text": {b"": HEADER, b"v\x80": entry()},
    "a slice of nothing": {b"": HEADER, b"\x00\x01v": entry()},
    "names that are not sorted": {b"": HEADER, b"w": entry(), b"v": entry(dtype=3)},
    "two variables in the same bytes": {b"": HEADER, b"v": entry(), b"w": entry()},
    "an entry of 70,000 bytes": {b"": HEADER, b"v": field(9, bytes(70_000)) + entry()},
}


@pytest.mark.parametrize("entries", CRAFTED.values(), ids=CRAFTED.keys())
def test_an_index_that_contradicts_itself_is_refused_at_opening(tmp_path: Path, entries: dict[bytes, bytes]) -> None:
    """Right sums do not make a wrong index right: what it says is held against itself and the sizes of the files."""
    with pytest.raises(CheckpointError, match=r"^checkpoint damaged: "):
        Checkpoint(write_table(tmp_path / "x", entries))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"restarts": 2**32 - 1}, "more restarts than bytes"),
        ({"restarts": 1000}, "more restarts than bytes"),
        ({"compression": 1}, "compressed"),
    ],
)
def test_a_block_that_contradicts_itself_is_refused(tmp_path: Path, how: dict[str, int], why: str) -> None:
    """A block that would seem to have no entries, or is compressed, is refused for that, not read as an empty one."""
    with pytest.raises(CheckpointError, match=rf"^checkpoint damaged: x.index: .*{why}"):
        Checkpoint(write_table(tmp_path / "x", {b"": HEADER, b"v": entry()}, **how))


def test_an_index_that_names_a_block_again_and_again_is_refused(tmp_path: Path) -> None:
    """A block is read once: an index of few kilobytes cannot ask for hours of reading."""
    out = bytearray(table({b"": HEADER, **{f"v{n:05}".encode(): b"" for n in range(5000)}}))
    handle = varint(0) + varint(out.index(bytes(4) + b"\1\0\0\0") + 8)
    again = b"".join(varint(0) + varint(1) + varint(len(handle)) + b"k" + handle for _ in range(5000))
    start = len(out)
    out += again + bytes(4) + (1).to_bytes(4, "little")
    size = len(out) - start
    out += b"\0" + masked(crc32c(bytes(out[start:]) + b"\0"))
    out += (varint(0) + varint(0) + varint(start) + varint(size)).ljust(40, b"\0") + MAGIC
    index(tmp_path / "x").write_bytes(out)
    with pytest.raises(CheckpointError, match="named twice"):
        Checkpoint(tmp_path / "x")


def test_an_index_of_more_names_than_any_model_has_is_refused(tmp_path: Path) -> None:
    """The number of variables is bounded, since names that share their beginnings cost a file next to nothing."""
    entries = {b"": HEADER} | {f"{n:06}".encode(): b"" for n in range(100_002)}
    with pytest.raises(CheckpointError, match="more than 100,000 variables"):
        Checkpoint(write_table(tmp_path / "x", entries))


@pytest.mark.parametrize(
    "shape", [(1,) * 200, (1,) * 300, (0, 2**64 - 5), (0, 2**63), (0, 2**62, 2**62), (2**64 - 1, 0)]
)
def test_a_shape_that_no_array_can_have_is_an_error_of_the_checkpoint(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """A shape beyond numpy's bounds is named with its variable, at the latest when it is read."""
    size = 0 if 0 in shape else 4
    prefix = write_table(tmp_path / "x", {b"": HEADER, b"v": entry(shape=shape, size=size, crc=crc32c(bytes(size)))})
    with pytest.raises(CheckpointError, match=r"damaged: .*v: (its|a) shape"), Checkpoint(prefix) as found:
        found["v"]


@given(st.dictionaries(st.binary(max_size=4), st.binary(max_size=24), max_size=4), st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_any_entries_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[bytes, bytes], restarts: int
) -> None:
    """Arbitrary keys and messages under right sums give variables to be asked for, or one error of the station."""
    prefix = tmp_path_factory.mktemp("any") / "x"
    write_table(prefix, {b"": HEADER} | dict(sorted(entries.items())), restarts=restarts)
    try:
        with Checkpoint(prefix) as found:
            for name in found:
                found.is_sound(name)
                found[name]
    except CheckpointError:
        pass
