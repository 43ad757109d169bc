"""The shape of an architecture's table: what a row of it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Activation = Literal["gelu", "gelu_pytorch_tanh"]
"""The two GELU forms by their transformers names: `gelu` is the exact form by erf, the other the tanh approximation."""

ACTIVATIONS: tuple[Activation, Activation] = ("gelu", "gelu_pytorch_tanh")


@dataclass(frozen=True)
class Weight:
    """One row of a weight map: where a TensorFlow variable goes.

    Attributes:
        variable: Name in the checkpoint; `{n}` stands for the layer number.
        key: Name in the state dict of a class with heads; `{n}` as above.
        shape: Shape in the checkpoint, each dimension a number or the name of a config key.
    """

    variable: str
    key: str
    shape: tuple[str | int, ...]

    @property
    def transposed(self) -> bool:
        """TensorFlow's dense kernels are [in, out], torch's linear weights [out, in]."""
        return self.variable.endswith("/kernel")


@dataclass(frozen=True)
class ModelClass:
    """A transformers class, and the groups of weights that it holds.

    Attributes:
        name: Class name, as written to `architectures` in config.json.
        needs: Groups that must be in the checkpoint for this class to be chosen.
        holds: All groups the class has a place for; a group that is present but not held is dropped, and that is said.
        headless: True for the bare encoder, whose keys have no base-model prefix.
        pipeline_tag: The Hub's task for the class.
    """

    name: str
    needs: frozenset[str]
    holds: frozenset[str]
    headless: bool
    pipeline_tag: str


@dataclass(frozen=True)
class ConfigKey:
    """One key of the published config.json.

    Attributes:
        key: Name in config.json.
        kind: What the value must be: `size` an integer of at least 1, `rate` a number in [0, 1), `fixed` the default.
        default: Value when the original config lacks the key; `...` means that it must be there.
    """

    key: str
    kind: Literal["size", "rate", "fixed"]
    default: Any = ...


@dataclass(frozen=True)
class Architecture:
    """The table that describes one model architecture.

    Attributes:
        model_type: transformers' `model_type`.
        base_prefix: Prefix that classes with heads put before the encoder's keys (`bert.`).
        groups: Weights by the part of the model they belong to.
        required: Groups that every checkpoint must have.
        classes: Candidates in order of preference; the first whose needs are present is taken.
        training_state: Regular expressions of variables that only training needs, each with the words that say so.
        config: The keys of config.json that come from the original config or are fixed.
        ignored_config: Keys of the original config that the original code reads nowhere.
        layers_key: The config key with the number of layers.
        forward: The original forward pass; see `hubpush.architectures.bert.forward` for its contract.
    """

    model_type: str
    base_prefix: str
    groups: Mapping[str, tuple[Weight, ...]]
    required: frozenset[str]
    classes: tuple[ModelClass, ...]
    training_state: Mapping[str, str]
    config: tuple[ConfigKey, ...]
    ignored_config: frozenset[str]
    layers_key: str
    forward: Callable[..., dict[str, Any]]

    def fingerprint(self) -> str:
        """SHA-256 of everything here that decides which bytes are published.

        The forward pass proves the bytes but does not make them, so it has no part in the identity.
        """
        table = {
            "model_type": self.model_type,
            "base_prefix": self.base_prefix,
            "groups": {name: [[w.variable, w.key, list(w.shape)] for w in rows] for name, rows in self.groups.items()},
            "required": sorted(self.required),
            "classes": [[c.name, sorted(c.needs), sorted(c.holds), c.headless] for c in self.classes],
            "training_state": sorted(self.training_state),
            "config": [[c.key, c.kind, *([] if c.default is ... else [c.default])] for c in self.config],
        }
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
