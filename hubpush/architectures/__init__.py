"""All that differs between model architectures: a table of names each, and the original forward pass.

An architecture is data. Adding one means one new module beside this file that holds its `Architecture`, and a line in
`ARCHITECTURES`; no other module knows which architectures exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hubpush.architectures import bert, electra
from hubpush.architectures.table import (
    ACTIVATIONS,
    Activation,
    Architecture,
    ConfigKey,
    Layout,
    LayoutRow,
    Logits,
    ModelClass,
    Weight,
)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {architecture.name: architecture for architecture in (bert.ARCHITECTURE, electra.DISCRIMINATOR, electra.GENERATOR)}
)

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "Activation",
    "Architecture",
    "ConfigKey",
    "Layout",
    "LayoutRow",
    "Logits",
    "ModelClass",
    "Weight",
]
