"""Variables to a model that transformers loads: config.json and model.safetensors.

Weights are copied one at a time, bit for bit; dense kernels are transposed on the way. The bytes equal those that
transformers' `save_pretrained` writes for the same model.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from hubpush.architectures import Activation, Architecture
from hubpush.checkpoint import Checkpoint
from hubpush.digests import Hasher
from hubpush.errors import ModelError
from hubpush.mapping import Account, Fate

_BLOCK = 1 << 20
_STRIP, _TILE = 64, 384
"""Rows of a transposed kernel that are made at a time, and how much of them."""
_GAP = 16
"""Numbers between the rows of a kernel in memory, a line of the caches."""
_WIDTH = 4
"""Bytes of a float32."""

_MAX_CONFIG = 64 * 1024
_MAX_NESTING = 64
_MAX_DIGITS = 1000
_HIDDEN_ACTS = ("gelu", "gelu_new", "gelu_pytorch_tanh")


@dataclass(frozen=True)
class Converted:
    """A model folder that was written.

    Attributes:
        folder: Where config.json and model.safetensors are.
        config: The published config.
        parameters: Number of published weights.
        sha256: Digest of model.safetensors, computed while it was written.
        size: Bytes of model.safetensors.
        sources: Digest and bytes of the checkpoint's index and data files by their names, computed on the way.
    """

    folder: Path
    config: Mapping[str, Any]
    parameters: int
    sha256: str
    size: int
    sources: Mapping[str, tuple[str, int]]


def read_config(path: Path, architecture: Architecture, expected: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Read the config that came with the checkpoint, trusting nothing in it.

    Args:
        path: bert_config.json.
        architecture: Says which keys must be there and what they may be.
        expected: Values the family file promises.

    Raises:
        ModelError: The file is not such a config; all mistakes are named.
    """
    data = _parse_json(path)
    mistakes: list[str] = []
    known = {row.key: row for row in architecture.config}
    for row in architecture.config:
        value = data.get(row.key, row.default)
        if value is ...:
            mistakes.append(f"{row.key} is missing")
        elif row.kind == "size" and not (isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31):
            mistakes.append(f"{row.key} must be a whole number of at least 1, not {_short(value)}")
        elif row.kind == "rate" and not (
            isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
        ):
            mistakes.append(f"{row.key} must be a number from 0 up to 1, not {_short(value)}")
        elif row.kind == "fixed" and (type(value), value) != (type(row.default), row.default):
            mistakes.append(f"{row.key} is {_short(value)}; the original code always has {_short(row.default)}")
    if (act := data.get("hidden_act", "gelu")) not in _HIDDEN_ACTS:
        mistakes.append(f"hidden_act {_short(act)} is not known here (known: {', '.join(_HIDDEN_ACTS)})")
    if data.get("model_type", architecture.model_type) != architecture.model_type:
        mistakes.append(f"model_type is {_short(data['model_type'])}, not {architecture.model_type}")
    allowed = (
        known.keys()
        | architecture.ignored_config
        | {"hidden_act", "model_type", "architectures", "transformers_version"}
    )
    mistakes += [
        f"{_short(key)} is not a key of {architecture.model_type}'s config" for key in data if key not in allowed
    ]
    if not mistakes and data["hidden_size"] % data["num_attention_heads"]:
        mistakes.append(
            f"{data['num_attention_heads']} attention heads do not divide hidden_size {data['hidden_size']}"
        )
    for key, value in (expected or {}).items():
        if data.get(key) != value:
            mistakes.append(f"{key} is {_short(data.get(key))}, the family file promises {value}")
    if mistakes:
        lines = "".join(f"\n  {mistake}" for mistake in mistakes)
        raise ModelError(
            f"{path.name} has {len(mistakes)} mistake(s):{lines}",
            hint="the file must be the one that was published with the checkpoint; nothing is guessed",
        )
    return data


def published_config(
    original: Mapping[str, Any],
    architecture: Architecture,
    account: Account,
    activation: Activation,
    labels: Sequence[str] = (),
) -> dict[str, Any]:
    """The config.json that is published, key for key what transformers writes but for `transformers_version`.

    Args:
        original: The config that came with the checkpoint.
        architecture: Its table.
        account: The account of the checkpoint, for the class and the number of labels.
        activation: The GELU form.
        labels: Names of a classifier's scores; without them they are called as transformers calls them.

    Raises:
        ModelError: The original config names a GELU form, and it is not the one asked for.
    """
    said = original.get("hidden_act", "gelu")
    if said != "gelu" and activation == "gelu":
        raise ModelError(
            f"hidden_act is {said} (the tanh form) in the original config, but the activation asked for is gelu (erf)",
            hint="pass --activation gelu_pytorch_tanh, or correct `activation` in the family file",
        )
    config = {row.key: original.get(row.key, row.default) for row in architecture.config}
    config |= {
        "architectures": [account.model_class.name],
        "hidden_act": activation,
        "model_type": architecture.model_type,
    }
    if account.labels is not None and (labels or account.labels != 2):  # two without names are transformers' default
        names = labels or [f"LABEL_{n}" for n in range(account.labels)]
        config["id2label"] = {str(n): name for n, name in enumerate(names)}
        config["label2id"] = {name: n for n, name in enumerate(names)}
    return dict(sorted(config.items()))


def convert(
    checkpoint: Checkpoint,
    account: Account,
    config: Mapping[str, Any],
    folder: Path,
    *,
    allow_nonfinite: bool = False,
    alone: bool = True,
) -> Converted:
    """Write config.json and model.safetensors.

    The checkpoint is read once and in its own order, and each variable goes to its place in the file. Memory stays at
    one kernel and some blocks, whatever the model's size. The file gets its name when it is complete; its bytes depend
    on the checkpoint and the account alone.

    Args:
        checkpoint: The variables.
        account: Where they go; it is required to be free of mistakes.
        config: The published config.
        folder: Existing directory to write to.
        allow_nonfinite: Publish NaN and infinity as they are.
        alone: Whether there are processors that nothing else keeps busy: digests are then computed beside the rest.

    Raises:
        ModelError: The account has mistakes, or a weight is not finite.
        CheckpointError: A variable's bytes are damaged.
    """
    account.require()
    fates = account.mapped()
    header = _header(fates)
    target = folder / "model.safetensors"
    partial = folder / ".model.safetensors.part"
    try:
        with partial.open("w+b") as stream, Hasher(beside=alone) as hasher:
            sizes = _write_weights(checkpoint, fates, header, stream, hasher, allow_nonfinite=allow_nonfinite)
        os.replace(partial, target)  # noqa: PTH105 - replaces on every platform
    finally:
        partial.unlink(missing_ok=True)
    # As numbers, the keys of id2label are sorted as transformers sorts them: 2 before 10.
    numbered = {"id2label": {int(n): name for n, name in config["id2label"].items()}} if "id2label" in config else {}
    text = json.dumps({**config, **numbered}, indent=2, sort_keys=True) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8", newline="\n")
    parameters = sum(math.prod(f.variable.shape) for f in fates)
    size = len(header) + sum(fate.variable.size for fate in fates)
    sources = {checkpoint.prefix.name + ".index": (checkpoint.index_sha256, checkpoint.index_size)}
    sources |= {name: (hasher.sha256(name), read) for name, read in sizes.items()}
    return Converted(folder, config, parameters, hasher.sha256(""), size, sources)


def _header(fates: tuple[Fate, ...]) -> bytes:
    """The header of the safetensors format (its README, "Format"), laid out as the `safetensors` library does it."""
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for fate in fates:
        shape = list(reversed(fate.shape)) if fate.transposed else list(fate.shape)
        end = offset + fate.variable.size
        table[str(fate.key)] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_weights(
    checkpoint: Checkpoint,
    fates: Sequence[Fate],
    header: bytes,
    stream: BinaryIO,
    hasher: Hasher,
    *,
    allow_nonfinite: bool,
) -> Counter[str]:
    """Write model.safetensors in one pass over the checkpoint, and hash it as "".

    Returns:
        Bytes of the checkpoint's data files by their names, under which they are hashed.
    """
    offsets = accumulate((fate.variable.size for fate in fates), initial=len(header))
    places = dict(zip((fate.variable.name for fate in fates), zip(fates, offsets, strict=False), strict=True))
    bad, sizes = Counter[str](), Counter[str]()
    hashed = at = 0

    def put(block: bytes | memoryview, offset: int) -> None:
        nonlocal hashed, at
        if offset != at:
            stream.seek(offset)
        stream.write(block)
        at = offset + len(block)
        # Keys and variables are sorted alike in nearly all checkpoints; what is not is read again below.
        if offset == hashed:
            hasher.update("", block)
            hashed += len(block)

    put(header, 0)
    rows = {fate.variable.name: fate.shape[1] * _WIDTH if fate.transposed else 1 for fate in fates}
    # One room for all kernels, one after the other: fresh memory costs more than what is done in it.
    room = np.empty(max((_room_of(fate.shape) for fate in fates if fate.transposed), default=0), "<f4")
    filled = 0
    for path, variable, block in checkpoint.whole(rows):
        hasher.update(path.name, block)
        sizes[path.name] += len(block)
        if variable is None:
            continue
        fate, offset = places[variable.name]
        bad[variable.name] += _nonfinite(block, allow_nonfinite)
        if fate.transposed:
            kernel = room[: _room_of(fate.shape)].reshape(fate.shape[0], -1)[:, : fate.shape[1]]
            start, end = filled // rows[variable.name], (filled + len(block)) // rows[variable.name]
            kernel[start:end] = np.frombuffer(block, "<f4").reshape(end - start, -1)
        else:
            put(block, offset + filled)
        filled += len(block)
        if filled == variable.size:
            if fate.transposed:
                for strip in _transposed(kernel):
                    put(strip, offset)
                    offset += len(strip)
            filled = 0
    stream.seek(hashed)
    while block := stream.read(_BLOCK):
        hasher.update("", block)
    _require_finite(bad, fates)
    return sizes


def _room_of(shape: tuple[int, ...]) -> int:
    """Numbers in the room of a kernel whose rows lie a little apart.

    Rows whose bytes are a power of two apart, or nearly, share the same few lines of the processor's caches, and to
    walk down such columns is slow.
    """
    return shape[0] * (shape[1] + _GAP)


def _transposed(kernel: npt.NDArray[Any]) -> Iterator[memoryview]:
    """The bytes of a transposed matrix, some of its rows at a time, by tiles whose lines stay in the first cache."""
    rows, columns = kernel.shape
    for start in range(0, columns, _STRIP):
        strip = np.empty((min(_STRIP, columns - start), rows), kernel.dtype)
        for row in range(0, rows, _TILE):
            strip[:, row : row + _TILE] = kernel[row : row + _TILE, start : start + _STRIP].T
        yield strip.data.cast("B")


def _nonfinite(block: bytes, allowed: bool) -> int:
    """How many numbers of a block are NaN or infinite."""
    if allowed:
        return 0
    numbers = np.frombuffer(block, "<f4")
    with np.errstate(all="ignore"):  # a sum of large numbers may be infinite by itself
        if np.isfinite(numbers.sum()):
            return 0
    return int(numbers.size - np.count_nonzero(np.isfinite(numbers)))


def _require_finite(bad: Counter[str], fates: Sequence[Fate]) -> None:
    broken = [
        f"{fate.variable.name}: {bad[fate.variable.name]:,} of {math.prod(fate.variable.shape):,}"
        for fate in fates
        if bad[fate.variable.name]
    ]
    if broken:
        lines = "".join(f"\n  {line}" for line in broken[:40])
        raise ModelError(
            f"{len(broken)} variable(s) hold NaN or infinity:{lines}",
            hint="such a model computes nothing; --allow-nonfinite with --force or --no-parity takes it all the same",
        )


def _parse_json(path: Path) -> dict[str, Any]:
    def broken(why: str) -> ModelError:
        return ModelError(
            f"{path.name} {why}", hint="put the bert_config.json that was published with the checkpoint there"
        )

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = {key for key, count in Counter(key for key, _ in pairs).items() if count > 1}
        if twice:
            raise broken(f"has keys twice: {', '.join(map(_short, sorted(twice)))}")
        return dict(pairs)

    def no_constant(name: str) -> Any:
        raise broken(f"has {name}, which is not JSON")

    def whole(digits: str) -> int:
        if len(digits) > _MAX_DIGITS:
            raise broken(f"has a number of {len(digits):,} digits")
        return int(digits)

    try:
        if path.stat().st_size > _MAX_CONFIG:
            raise broken(f"is larger than {_MAX_CONFIG >> 10} KiB")
        text = path.read_text(encoding="utf-8")
        if text.count("[") + text.count("{") > _MAX_NESTING:
            raise broken("is nested like no config")
        data = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant, parse_int=whole)
    except OSError as error:
        raise broken(f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise broken(f"is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise broken("is not a JSON object")
    return data


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "…"
