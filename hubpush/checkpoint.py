"""TensorFlow checkpoints as a mapping from variable names to arrays, read lazily, without TensorFlow.

The format is TensorFlow's *tensor bundle* (tensorflow/core/util/tensor_bundle and protobuf/tensor_bundle.proto):
`PREFIX.index` is a LevelDB table (tensorflow/core/lib/io/format.cc, LevelDB's doc/table_format.md) whose keys are
variable names and whose values are BundleEntryProto messages; `PREFIX.data-NNNNN-of-MMMMM` hold the tensors' bytes.
Index blocks and tensors carry CRC-32C sums, all of which are checked here.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt
from crc32c import crc32c

from hubpush.errors import CheckpointError

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The key that TensorFlow 2's object-based checkpoints have and TensorFlow 1's name-based ones have not."""

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
# BERT-large with its optimizer's slots has 1,200 variables and an index of 100 KB: these are far above any of its kind,
# and low enough that no index, however it is made, takes more than seconds and some hundred megabytes.
_MAX_INDEX = 8 << 20
_MAX_VARIABLES = 100_000
_MAX_NAMES = 32 << 20
_MAX_NAME = 4096
_MAX_ENTRY = 64 << 10
_BLOCK = 1 << 20
_MAX_DIMENSIONS = 254  # tensorflow/core/framework/tensor_shape.h; a negative size is a number of 64 bits here

# tensorflow/core/framework/types.proto. A name without a numpy type is known, but its tensors are not read.
_DTYPES: Mapping[int, tuple[str, str | None]] = {
    1: ("float32", "<f4"),
    2: ("float64", "<f8"),
    3: ("int32", "<i4"),
    4: ("uint8", "|u1"),
    5: ("int16", "<i2"),
    6: ("int8", "|i1"),
    7: ("string", None),
    9: ("int64", "<i8"),
    10: ("bool", "|b1"),
    14: ("bfloat16", None),
    17: ("uint16", "<u2"),
    19: ("float16", "<f2"),
    22: ("uint32", "<u4"),
    23: ("uint64", "<u8"),
}


@dataclass(frozen=True)
class Variable:
    """What the index says of one variable.

    Attributes:
        name: Name in the checkpoint.
        dtype: TensorFlow's name of the type.
        shape: Dimensions; empty for a scalar.
        shard: Number of the data file.
        offset: First byte in the data file.
        size: Number of bytes.
        crc: CRC-32C of the bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int


class Checkpoint(Mapping[str, npt.NDArray[Any]]):
    """The variables of the checkpoint at a prefix.

    Opening reads the index alone. Each access reads one tensor from its data file, checks its CRC-32C, and keeps
    nothing. Data files stay open until `close` or the end of a `with` block.

    Args:
        prefix: Path of the checkpoint without `.index`.

    Attributes:
        prefix: As it was given.
        index_sha256: Digest of the index.
        index_size: Its bytes.
        shards: Number of data files.
        variables: What the index says of each variable, by name.

    Raises:
        CheckpointError: A file is missing, damaged, or of a kind that is not read.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self._files: dict[int, BinaryIO] = {}
        index = prefix.with_name(prefix.name + ".index")
        data = _read_index(index)
        self.index_sha256, self.index_size = hashlib.sha256(data).hexdigest(), len(data)
        entries = _read_table(index.name, data)
        self.shards = _read_header(prefix, entries.pop("", None))
        self.variables: dict[str, Variable] = {
            name: _read_entry(prefix, name, value, self.shards) for name, value in entries.items()
        }
        for name in self.variables:
            # What TensorFlow keeps beside a sliced variable has such keys; the variable itself has been refused above.
            if re.search(r"[\x00\udc80-\udcff]", name):
                raise CheckpointError(
                    f"checkpoint damaged: {prefix.name}.index: {name!r} is no name of a variable",
                    hint="fetch the checkpoint again",
                )
        self._check_extents()

    @property
    def is_object_based(self) -> bool:
        """Whether TensorFlow 2 wrote this by object paths instead of variable names."""
        return OBJECT_GRAPH in self.variables

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        variable = self.variables[name]
        dtype = _numpy_dtype(self.prefix, variable)
        data = bytearray(variable.size)
        filled = 0
        for block in self.blocks(name):
            data[filled : filled + len(block)] = block
            filled += len(block)
        try:
            return np.frombuffer(data, dtype).reshape(variable.shape)
        except (ValueError, OverflowError) as error:
            raise self._damaged(name, f"its shape is {variable.shape}: {error}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __len__(self) -> int:
        return len(self.variables)

    def __contains__(self, name: object) -> bool:
        # Mapping's own would read the tensor to find out.
        return name in self.variables

    def blocks(self, name: str, size: int = _BLOCK) -> Iterator[bytes]:
        """A variable's bytes in pieces of at most `size`; the CRC-32C is checked when the last one has been taken.

        Raises:
            CheckpointError: The data file ends early, the bytes are not those that were saved, or they are strings.
        """
        variable = self.variables[name]
        if variable.dtype == "string":  # their sum is not that of their bytes, and nothing here needs them
            raise _unread(self.prefix, variable)
        crc = 0
        for block in self._raw(variable, size):
            crc = crc32c(block, crc)
            yield block
        self._require_crc(variable, crc)

    def whole(self, wanted: Mapping[str, int]) -> Iterator[tuple[Path, Variable | None, bytes]]:
        """Every byte of the data files, once, in their order: for a digest and for variables in one pass.

        Args:
            wanted: The variables that are told apart, whose CRC-32C is checked when their last block was taken; and of
                each how many bytes belong together, as those of a row do.

        Yields:
            The file, the variable or None for bytes of no wanted one, and a block: at most a megabyte, or what belongs
            together where that is more. A variable without bytes has no block.

        Raises:
            CheckpointError: A data file ends early, or a wanted variable's bytes are not those that were saved.
        """
        for shard in range(self.shards):
            path = self._shard_path(shard)
            if not path.is_file():  # no variable is in it: `_check_extents`
                continue
            stream, position = self._shard(shard), 0
            stream.seek(0)
            members = (self.variables[name] for name in wanted if self.variables[name].shard == shard)
            for variable in sorted(members, key=lambda v: (v.offset, v.size)):
                while variable.size and position < variable.offset:
                    block = self._some(stream, variable, min(variable.offset - position, _BLOCK))
                    position += len(block)
                    yield path, None, block
                crc, end = 0, variable.offset + variable.size
                together = max(wanted[variable.name], 1)
                most = max(_BLOCK // together, 1) * together
                while variable.size and position < end:
                    block = self._some(stream, variable, min(end - position, most))
                    position += len(block)
                    crc = crc32c(block, crc)
                    yield path, variable, block
                self._require_crc(variable, crc)
            while block := stream.read(_BLOCK):
                yield path, None, block

    def is_sound(self, name: str) -> bool:
        """Whether a variable's bytes are those that were saved."""
        variable = self.variables[name]
        try:
            if variable.dtype == "string":
                data = b"".join(self._raw(variable, _BLOCK))
                return _string_crc(data, math.prod(variable.shape)) == variable.crc
            for _ in self.blocks(name):
                pass
        except (CheckpointError, IndexError, ValueError):
            return False
        return True

    def close(self) -> None:
        """Close the data files."""
        for stream in self._files.values():
            stream.close()
        self._files.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _shard_path(self, shard: int) -> Path:
        return self.prefix.with_name(f"{self.prefix.name}.data-{shard:05d}-of-{self.shards:05d}")

    def _shard(self, shard: int) -> BinaryIO:
        path = self._shard_path(shard)
        if shard not in self._files:
            try:
                self._files[shard] = path.open("rb")
            except OSError as error:
                raise CheckpointError(
                    f"{path.name} cannot be read: {error.strerror}", hint="it was there when the checkpoint was opened"
                ) from None
        return self._files[shard]

    def _raw(self, variable: Variable, size: int) -> Iterator[bytes]:
        stream = self._shard(variable.shard)
        position, end = variable.offset, variable.offset + variable.size
        while position < end:
            stream.seek(position)
            block = self._some(stream, variable, min(size, end - position))
            position += len(block)
            yield block

    def _some(self, stream: BinaryIO, variable: Variable, size: int) -> bytes:
        """The next bytes of a data file, on the way to the end of a variable."""
        if len(block := stream.read(size)) < size:
            end = variable.offset + variable.size
            raise self._damaged(variable.name, f"its data file ends at byte {stream.tell():,}, {end:,} are needed")
        return block

    def _require_crc(self, variable: Variable, crc: int) -> None:
        if crc != variable.crc:
            raise self._damaged(
                variable.name, f"its {variable.size:,} bytes have CRC-32C {crc:08x}, {variable.crc:08x} was saved"
            )

    def _check_extents(self) -> None:
        """Every data file must be there and reach as far as the index says, before a single tensor is read.

        No two variables share bytes: each byte of a data file is then read once, whatever the index says.
        """
        by_shard: dict[int, list[Variable]] = {}
        for variable in self.variables.values():
            by_shard.setdefault(variable.shard, []).append(variable)
        for shard, members in sorted(by_shard.items()):
            path = self._shard_path(shard)
            last = max(members, key=lambda v: v.offset + v.size)
            needed = last.offset + last.size
            if not path.is_file():
                raise CheckpointError(
                    f"checkpoint incomplete: {path.name} is missing ({len(members)} variables are in it)",
                    hint=f"the index names {self.shards} data file(s); put them all beside {self.prefix.name}.index",
                )
            if path.stat().st_size < needed:
                raise self._damaged(last.name, f"{path.name} has {path.stat().st_size:,} bytes, {needed:,} are needed")
            end = 0
            for variable in sorted((v for v in members if v.size), key=lambda v: v.offset):
                if variable.offset < end:
                    raise self._damaged(variable.name, f"its bytes in {path.name} are another variable's too")
                end = variable.offset + variable.size

    def _damaged(self, name: str, why: str) -> CheckpointError:
        return CheckpointError(
            f"checkpoint damaged: {name}: {why}",
            hint="fetch the checkpoint again and compare its digest with the publisher's",
        )


def _numpy_dtype(prefix: Path, variable: Variable) -> np.dtype[Any]:
    code = next((code for name, code in _DTYPES.values() if name == variable.dtype), None)
    if code is None:
        raise _unread(prefix, variable)
    return np.dtype(code)


def _unread(prefix: Path, variable: Variable) -> CheckpointError:
    return CheckpointError(
        f"{prefix.name}: {variable.name} is {variable.dtype}, which is not read",
        hint="only numeric tensors of numpy's own types are; cast the variable and save again",
    )


def _string_crc(data: bytes, count: int) -> int:
    """CRC-32C of a string tensor: over the lengths as fixed numbers, not as the varints in the file, then the rest."""
    crc, position = 0, 0
    for _ in range(count):
        length, position = _varint(data, position)
        crc = crc32c(length.to_bytes(4 if length < 1 << 32 else 8, "little"), crc)
    return crc32c(data[position:], crc)


def _read_index(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_INDEX:
            raise _damaged_index(path.name, f"an index of more than {_MAX_INDEX >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path.name} cannot be read: {error.strerror}",
            hint="give the prefix of a checkpoint: PREFIX.index, PREFIX.data-*",
        ) from None


def _damaged_index(name: str, why: str) -> CheckpointError:
    return CheckpointError(f"checkpoint damaged: {name}: {why}", hint="fetch the checkpoint again")


def _read_table(name: str, data: bytes) -> dict[str, bytes]:
    """All entries of a LevelDB table."""
    if len(data) < _FOOTER or int.from_bytes(data[-8:], "little") != _MAGIC:
        raise CheckpointError(
            f"{name} is not the index of a TensorFlow checkpoint (wrong magic number)",
            hint="the prefix names the .index file; .meta, .data-* and .pb files are something else",
        )
    try:
        position = _varint(data, _varint(data, len(data) - _FOOTER)[1])[1]  # over the handle of the meta index
        entries: dict[str, bytes] = {}
        end, before, names = 0, b"", 0
        for _, handle in _read_block(data, *_handle(data, position)):
            offset, size = _handle(handle, 0)
            # Blocks follow one another, and their keys are sorted: an index that names one block a million times, or
            # one key, would be read for hours.
            if offset < end:
                raise ValueError(f"the block at byte {offset:,} is named twice, or overlaps another")
            end = offset + size
            for key, value in _read_block(data, offset, size):
                if entries and key <= before:
                    raise ValueError("names that are not sorted, or twice there")
                before, names = key, names + len(key)
                if len(entries) > _MAX_VARIABLES or names > _MAX_NAMES:
                    raise ValueError(f"more than {_MAX_VARIABLES:,} variables, or names of {_MAX_NAMES >> 20} MiB")
                if len(value) > _MAX_ENTRY:
                    raise ValueError(f"an entry of {len(value):,} bytes")
                entries[key.decode(errors="surrogateescape")] = value
        return entries
    except (IndexError, ValueError, struct.error) as error:
        raise _damaged_index(name, str(error)) from None


def _handle(data: bytes, position: int) -> tuple[int, int]:
    offset, position = _varint(data, position)
    return offset, _varint(data, position)[0]


def _read_block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Entries of one block: content, a byte for the compression, a masked CRC-32C over both."""
    if offset + size + 5 > len(data):
        raise ValueError("a block reaches beyond the end")
    block = data[offset : offset + size]
    if data[offset + size] != 0:
        raise ValueError("compressed blocks, which TensorFlow never writes")
    (stored,) = struct.unpack_from("<I", data, offset + size + 1)
    if crc32c(data[offset : offset + size + 1]) != _unmask(stored):
        raise ValueError(f"the block at byte {offset} has the wrong CRC-32C")
    (restarts,) = struct.unpack_from("<I", block, size - 4)
    end, position, key = size - 4 - 4 * restarts, 0, b""
    if end < 0:
        raise ValueError("a block with more restarts than bytes")
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        if shared > len(key) or position + unshared + length > end:
            raise ValueError("an entry reaches beyond its block")
        if shared + unshared > _MAX_NAME:
            # Names share their beginnings in the file: without a bound, a small index could ask for any memory.
            raise ValueError(f"a name of more than {_MAX_NAME:,} bytes")
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _unmask(masked: int) -> int:
    """LevelDB stores CRCs rotated and shifted, so that a CRC over bytes with CRCs in them stays a good one."""
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than ten bytes")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protocol buffer message; groups do not occur in these messages."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(data, position)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, position = _varint(data, position)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if position + size > len(data):
            raise ValueError("a field reaches beyond its message")
        yield tag >> 3, data[position : position + size]
        position += size


def _number(value: int | bytes) -> int:
    """An integer field: a varint, or the little-endian bytes of a fixed one."""
    return value if isinstance(value, int) else int.from_bytes(value, "little")


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message must be")
    return value


def _read_header(prefix: Path, value: bytes | None) -> int:
    """BundleHeaderProto: number of data files. Only little-endian bundles are read."""
    try:
        if value is None:
            raise ValueError("no header entry")
        fields = {number: _number(v) for number, v in _fields(value) if number in (1, 2)}
    except (IndexError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint damaged: {prefix.name}.index: {error}", hint="fetch the checkpoint again"
        ) from None
    if fields.get(2, 0) != 0:
        raise CheckpointError(
            f"{prefix.name} is big-endian, which is not read", hint="save it on a little-endian machine"
        )
    shards = fields.get(1, 1)
    if not 1 <= shards <= 100_000:
        raise CheckpointError(
            f"checkpoint damaged: {prefix.name}.index: {shards} data files", hint="fetch the checkpoint again"
        )
    return shards


def _read_entry(prefix: Path, name: str, value: bytes, shards: int) -> Variable:
    """BundleEntryProto of one variable, checked against itself: the bytes must be those that shape and type need."""
    dtype, shape, shard, offset, size, crc, sliced = 0, [], 0, 0, 0, 0, False
    try:
        for number, field in _fields(value):
            match number:
                case 1:
                    dtype = _number(field)
                case 2:
                    # One more than are allowed are enough to be refused.
                    dims = (dim for number, dim in _fields(_message(field)) if number == 2)
                    shape = [
                        next((_number(v) for n, v in _fields(_message(dim)) if n == 1), 0)
                        for dim in islice(dims, _MAX_DIMENSIONS + 1)
                    ]
                case 3:
                    shard = _number(field)
                case 4:
                    offset = _number(field)
                case 5:
                    size = _number(field)
                case 6:
                    crc = _unmask(_number(field))
                case 7:
                    sliced = True
        type_name, code = _DTYPES.get(dtype, (f"type {dtype}", None))
        if len(shape) > _MAX_DIMENSIONS or any(size >= 1 << 48 for size in shape):
            raise ValueError(f"a shape of {len(shape)} dimensions, the largest {max(shape)}")
        if shard >= shards:
            raise ValueError(f"in data file {shard} of {shards}")
        if code is not None and not sliced and math.prod(shape) * np.dtype(code).itemsize != size:
            raise ValueError(f"{size:,} bytes for shape {shape} of {type_name}")
    except (IndexError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint damaged: {prefix.name}.index: {name}: {error}", hint="fetch the checkpoint again"
        ) from None
    if sliced:
        raise CheckpointError(
            f"{name} is saved in slices, which are not read",
            hint="restore it in TensorFlow and save it again without a partitioner",
        )
    return Variable(name, type_name, tuple(shape), shard, offset, size, crc)
