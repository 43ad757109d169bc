"""The shape of an architecture's table: what a row of it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
class Logits:
    """Scores that a class computes beyond the encoder's states, compared by parity.

    Attributes:
        name: Their name in reports, and in what `Architecture.forward` returns.
        attributes: Where they are in the output of the transformers class; several are stacked on a last axis.
        per_token: Whether there is a row for each token, or one for each text.
    """

    name: str
    attributes: tuple[str, ...]
    per_token: bool = True


@dataclass(frozen=True)
class ModelClass:
    """A transformers class, and the groups of weights that it holds.

    Attributes:
        name: Class name, as written to `architectures` in config.json.
        needs: Groups that must be in the checkpoint for this class to be chosen.
        holds: All groups the class has a place for; a group that is present but not held is dropped, and that is said.
        headless: True for the bare encoder, whose keys have no base-model prefix.
        pipeline_tag: The Hub's task for the class, which is also what `--task` calls it.
        logits: What its heads compute.
        is_asked_for: Whether the variables alone do not tell that it is this class: it is taken when its task is asked
            for, and never guessed.
    """

    name: str
    needs: frozenset[str]
    holds: frozenset[str]
    headless: bool
    pipeline_tag: str
    logits: tuple[Logits, ...] = ()
    is_asked_for: bool = False


LayoutRow = tuple[str, str, tuple[str | int, ...]]


@dataclass(frozen=True)
class Layout:
    """Other names under which a checkpoint may hold an architecture's variables.

    Attributes:
        name: What writes checkpoints so.
        scope: Regular expression that some key of such a checkpoint, and of no other layout, begins with; its group
            `root` is what keys begin with that depends on how the checkpoint was saved.
        rows: Key in the checkpoint, name in the weight map, and shape in the checkpoint, which holds the same numbers
            in the same order. `{root}` is the scope's; `{n}` stands for the layer, `{n+4}` for one counted from
            elsewhere, `{last+4}` for the place behind all layers. Where one place has several keys, a checkpoint may
            have one of them.
        activation_source: Where it is known from which GELU form the code that writes it computes, by default.
        forward_source: What the forward pass is for such a checkpoint; it stands on the card.
        assumes: What such names do not tell and is taken for granted: for every checkpoint under `""`, and for one that
            has a group under its name.
    """

    name: str
    scope: str
    rows: tuple[LayoutRow, ...]
    activation_source: str
    forward_source: str
    assumes: Mapping[str, str]


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
    """The table that describes one model architecture, or one part of what was trained together.

    Attributes:
        model_type: transformers' `model_type`.
        scope: What the names of its variables begin with; none of another architecture's do.
        base_prefix: Prefix that classes with heads put before the encoder's keys (`bert.`).
        groups: Weights by the part of the model they belong to. Their shapes may name `num_labels`, which no config
            says and the variable itself does.
        required: Groups that every checkpoint must have.
        classes: Candidates in order of preference; the first whose needs are present is taken.
        left_out: Regular expressions of variables that are not published, each with the words that say why.
        config: The keys of config.json that come from the original config or are fixed.
        ignored_config: Keys of the original config that the original code reads nowhere.
        layers_key: The config key with the number of layers.
        activation: The GELU form that the original code computes.
        activation_source: Where that is known from.
        forward_source: What the forward pass was written after, and what it was compared with; it stands on the card.
        forward: The original forward pass; see `hubpush.architectures.bert.forward` for its contract.
        head_words: What its groups beyond the encoder are for, in words; by their own name if nothing is said.
        part: `discriminator` or `generator`, where one checkpoint holds both.
        only_if_unequal: Groups that a model has only when two sizes of its config differ; then they are required.
        layouts: Other names for the same variables.
        renamed: Beginnings of variables' names that transformers' modules spell otherwise, for parity's own look-up of
            names (`hubpush.parity.weights`), which reads no row of `groups`.
    """

    model_type: str
    scope: str
    base_prefix: str
    groups: Mapping[str, tuple[Weight, ...]]
    required: frozenset[str]
    classes: tuple[ModelClass, ...]
    left_out: Mapping[str, str]
    config: tuple[ConfigKey, ...]
    ignored_config: frozenset[str]
    layers_key: str
    activation: Activation
    activation_source: str
    forward_source: str
    forward: Callable[..., dict[str, Any]]
    head_words: Mapping[str, str] = field(default_factory=dict)
    part: str | None = None
    only_if_unequal: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    layouts: tuple[Layout, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return self.model_type if self.part is None else f"{self.model_type}-{self.part}"

    def fingerprint(self, class_name: str, layout: str | None = None) -> str:
        """SHA-256 of everything here that decides which bytes are published for a class.

        The forward pass proves the bytes but does not make them, and other classes have other bytes: neither is part of
        the identity, so that a new head does not republish models without it.

        Args:
            class_name: The published class.
            layout: Name of the layout that the checkpoint has, if not the weight map's own.
        """
        chosen = next(c for c in self.classes if c.name == class_name)
        table = {
            "model_type": self.model_type,
            "base_prefix": self.base_prefix,
            "class": [chosen.name, chosen.headless],
            "groups": {
                name: [[w.variable, w.key, list(w.shape)] for w in rows]
                for name, rows in self.groups.items()
                if name in chosen.holds
            },
            "config": [[c.key, c.kind, *([] if c.default is ... else [c.default])] for c in self.config],
            "layout": [rows.rows for rows in self.layouts if rows.name == layout],
        }
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
