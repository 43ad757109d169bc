"""Variables to a model that transformers loads: config.json and model.safetensors.

Every variable of the checkpoint is accounted for, and every tensor of the model class: no variable without a place, no
place without a variable, all mistakes named at once. Weights are copied one at a time, bit for bit; dense kernels are
transposed on the way. The bytes equal those that transformers' `save_pretrained` writes for the same model.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hubpush.architectures import Activation, Architecture, ModelClass, Weight
from hubpush.checkpoint import OBJECT_GRAPH, Checkpoint, Variable
from hubpush.errors import CheckpointError, ModelError

_MAX_CONFIG = 64 * 1024
_MAX_NESTING = 64
_HIDDEN_ACTS = ("gelu", "gelu_new", "gelu_pytorch_tanh")


@dataclass(frozen=True)
class Fate:
    """What becomes of one variable.

    Attributes:
        variable: The variable as the checkpoint's index describes it.
        disposition: `mapped` to `key`, `dropped` or `unknown`.
        key: Name in model.safetensors, for a mapped variable.
        group: The part of the model it belongs to, where it has one.
        transposed: Whether its axes are exchanged on the way.
        reason: Why it is dropped, or what is wrong with it.
    """

    variable: Variable
    disposition: Literal["mapped", "dropped", "unknown"]
    key: str | None = None
    group: str | None = None
    transposed: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Account:
    """The account of a checkpoint's variables against an architecture.

    Attributes:
        architecture: The architecture's `model_type`.
        model_class: The transformers class that holds the heads that are present.
        heads: Groups beyond the required ones that are published.
        fates: One entry for each variable, by name.
        mistakes: Everything that keeps this checkpoint from being converted.
    """

    architecture: str
    model_class: ModelClass
    heads: frozenset[str]
    fates: tuple[Fate, ...]
    mistakes: tuple[str, ...]

    def mapped(self) -> tuple[Fate, ...]:
        """The variables that are published, in the order of the keys in the file."""
        return tuple(sorted((f for f in self.fates if f.disposition == "mapped"), key=lambda f: f.key or ""))

    def dropped(self) -> tuple[Fate, ...]:
        """The variables that are left out, each for its reason."""
        return tuple(f for f in self.fates if f.disposition == "dropped")

    def require(self) -> None:
        """Raise if there is any mistake.

        Raises:
            ModelError: All mistakes, one a line.
        """
        if self.mistakes:
            shown = "".join(f"\n  {mistake}" for mistake in self.mistakes[:40])
            more = f"\n  … and {len(self.mistakes) - 40} more" if len(self.mistakes) > 40 else ""
            raise ModelError(
                f"the checkpoint does not fit {self.architecture}, {len(self.mistakes)} mistake(s):{shown}{more}",
                hint=self._cause(),
            )

    def _cause(self) -> str:
        dtypes = {fate.variable.dtype for fate in self.fates if fate.disposition == "mapped"}
        if dtypes and "float32" not in dtypes:
            return "cast the variables to float32 in TensorFlow, and save them again"
        if all(mistake.startswith("unknown") for mistake in self.mistakes):
            return (
                f"the table of {self.architecture} has no place for them: it holds the encoder and the heads of"
                " pre-training; `hubpush inspect SOURCE` lists every variable"
            )
        return "`hubpush inspect SOURCE` lists every variable; is bert_config.json the right one?"


@dataclass(frozen=True)
class Converted:
    """A model folder that was written.

    Attributes:
        folder: Where config.json and model.safetensors are.
        config: The published config.
        parameters: Number of published weights.
        sha256: Digest of model.safetensors, computed while it was written.
        size: Bytes of model.safetensors.
    """

    folder: Path
    config: Mapping[str, Any]
    parameters: int
    sha256: str
    size: int


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
    original: Mapping[str, Any], architecture: Architecture, model_class: ModelClass, activation: Activation
) -> dict[str, Any]:
    """The config.json that is published, key for key what transformers writes but for `transformers_version`.

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
    config |= {"architectures": [model_class.name], "hidden_act": activation, "model_type": architecture.model_type}
    return dict(sorted(config.items()))


def account(checkpoint: Checkpoint, config: Mapping[str, Any], architecture: Architecture) -> Account:
    """Find a place for every variable, and a variable for every place.

    Args:
        checkpoint: The checkpoint; only its index is read.
        config: The original config, as `read_config` returns it.
        architecture: The table of names.

    Raises:
        CheckpointError: TensorFlow 2 wrote the checkpoint by object paths, which name no variables.
        ModelError: The config has more layers than the checkpoint has variables.
    """
    if checkpoint.is_object_based:
        raise CheckpointError(
            f"{checkpoint.prefix.name} is an object-based checkpoint of TensorFlow 2 (it has {OBJECT_GRAPH})",
            hint="hubpush reads name-based ones: export it by tf.compat.v1.train.Saver under the original names",
        )
    if (layers := config[architecture.layers_key]) > len(checkpoint):
        # Before a place is made for each variable of a layer: the number comes from a file, and may be two billion.
        raise ModelError(
            f"the config asks for {layers:,} layers, the checkpoint has {len(checkpoint):,} variables in all",
            hint="is bert_config.json the one that was published with the checkpoint?",
        )
    places = {name: (group, weight, key) for group, name, weight, key in _places(architecture, config)}
    present = {places[name][0] for name in checkpoint if name in places}
    model_class = next(c for c in architecture.classes if c.needs <= present)
    heads = frozenset(present & model_class.holds) - architecture.required
    mistakes: list[str] = []
    fates: list[Fate] = []
    for name, variable in sorted(checkpoint.variables.items()):
        if name not in places:
            reason = _training_state(architecture, name)
            if reason is None:
                mistakes.append(f"unknown variable {name} {list(variable.shape)}")
            fates.append(Fate(variable, "unknown" if reason is None else "dropped", reason=reason or ""))
            continue
        group, weight, key = places[name]
        shape = _resolve(weight.shape, config)
        wrong = ""
        if variable.shape != shape:
            wrong = f"{name} has shape {list(variable.shape)}, the config asks for {list(shape)}"
        elif variable.dtype != "float32":
            wrong = f"{name} is {variable.dtype}; only float32 is published as it is"
        if wrong:
            mistakes.append(wrong)
        if group not in model_class.holds:
            fates.append(Fate(variable, "dropped", group=group, reason=f"{model_class.name} has no {group}"))
        else:
            published = key.removeprefix(architecture.base_prefix) if model_class.headless else key
            fates.append(Fate(variable, "mapped", published, group, weight.transposed, wrong))
    for name, (group, _weight, _key) in places.items():
        if name not in checkpoint and (group in architecture.required or group in present):
            mistakes.append(f"missing variable {name} (of the {group})")
    return Account(architecture.model_type, model_class, heads, tuple(fates), tuple(mistakes))


def convert(
    checkpoint: Checkpoint,
    account: Account,
    config: Mapping[str, Any],
    folder: Path,
    *,
    allow_nonfinite: bool = False,
) -> Converted:
    """Write config.json and model.safetensors.

    Memory stays at one transposed kernel and a few blocks, whatever the model's size. The file gets its name when it is
    complete; its bytes depend on the checkpoint and the account alone.

    Args:
        checkpoint: The variables.
        account: Where they go; it is required to be free of mistakes.
        config: The published config.
        folder: Existing directory to write to.
        allow_nonfinite: Publish NaN and infinity as they are.

    Raises:
        ModelError: The account has mistakes, or a weight is not finite.
        CheckpointError: A variable's bytes are damaged.
    """
    account.require()
    fates = account.mapped()
    header = _header(fates)
    digest = hashlib.sha256()
    target = folder / "model.safetensors"
    partial = folder / ".model.safetensors.part"
    size = 0
    try:
        with partial.open("wb") as stream:
            for block in _file_blocks(checkpoint, fates, header, allow_nonfinite=allow_nonfinite):
                stream.write(block)
                digest.update(block)
                size += len(block)
        os.replace(partial, target)  # noqa: PTH105 - replaces on every platform
    finally:
        partial.unlink(missing_ok=True)
    (folder / "config.json").write_text(
        json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n"
    )
    parameters = sum(int(np.prod(f.variable.shape)) for f in fates)
    return Converted(folder, config, parameters, digest.hexdigest(), size)


def _places(architecture: Architecture, config: Mapping[str, Any]) -> Iterator[tuple[str, str, Weight, str]]:
    """All places of an architecture: group, variable name, row, key."""
    for group, rows in architecture.groups.items():
        for row in rows:
            layers = range(int(config[architecture.layers_key])) if "{n}" in row.variable else range(1)
            for n in layers:
                yield group, row.variable.replace("{n}", str(n)), row, row.key.replace("{n}", str(n))


def _training_state(architecture: Architecture, name: str) -> str | None:
    return next((why for pattern, why in architecture.training_state.items() if re.fullmatch(pattern, name)), None)


def _resolve(shape: tuple[str | int, ...], config: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(config[dim]) if isinstance(dim, str) else dim for dim in shape)


def _header(fates: tuple[Fate, ...]) -> bytes:
    """The header of the safetensors format (its README, "Format"), laid out as the `safetensors` library does it."""
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for fate in fates:
        shape = list(reversed(fate.variable.shape)) if fate.transposed else list(fate.variable.shape)
        end = offset + fate.variable.size
        table[str(fate.key)] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _file_blocks(
    checkpoint: Checkpoint, fates: tuple[Fate, ...], header: bytes, *, allow_nonfinite: bool
) -> Iterator[bytes | memoryview]:
    yield header
    broken: list[str] = []
    for fate in fates:
        name = fate.variable.name
        bad = 0
        if fate.transposed:
            array = checkpoint[name]
            bad = _nonfinite(array)
            yield np.ascontiguousarray(array.T).data.cast("B")
        else:
            for block in checkpoint.blocks(name):
                bad += _nonfinite(np.frombuffer(block, "<f4"))
                yield block
        if bad and not allow_nonfinite:
            broken.append(f"{name}: {bad:,} of {int(np.prod(fate.variable.shape)):,}")
    if broken:
        lines = "".join(f"\n  {line}" for line in broken[:40])
        raise ModelError(
            f"{len(broken)} variable(s) hold NaN or infinity:{lines}",
            hint="such a model computes nothing; --allow-nonfinite with --force or --no-parity takes it all the same",
        )


def _nonfinite(array: npt.NDArray[Any]) -> int:
    return int(array.size - np.count_nonzero(np.isfinite(array)))


def _parse_json(path: Path) -> dict[str, Any]:
    def broken(why: str) -> ModelError:
        return ModelError(
            f"{path.name} {why}", hint="put the bert_config.json that was published with the checkpoint there"
        )

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise broken(f"has keys twice: {', '.join(map(_short, sorted(twice)))}")
        return dict(pairs)

    def no_constant(name: str) -> Any:
        raise broken(f"has {name}, which is not JSON")

    try:
        if path.stat().st_size > _MAX_CONFIG:
            raise broken(f"is larger than {_MAX_CONFIG >> 10} KiB")
        text = path.read_text(encoding="utf-8")
        if text.count("[") + text.count("{") > _MAX_NESTING:
            raise broken("is nested like no config")
        data = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
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
