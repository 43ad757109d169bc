"""Outputs of two models on the same probes, compared position by position."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hubpush.parity.report import FLOAT64_STEP, Difference

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Outputs = Mapping[str, "npt.NDArray[Any]"]
"""Arrays by the name of the output; or, after `real_rows`, vectors: [positions, size]."""

Run = Sequence[Outputs]
"""One model's outputs in one precision: an entry for each batch."""

_MOST_ROWS = {"mlm_logits": 128, "keys": 64}
"""Positions of a batch that are compared, evenly spaced, where all of them would hold much memory and say no more: 512
positions have 125 MB of MLM logits in float64."""


def real_rows(outputs: Outputs, inputs: Outputs) -> dict[str, npt.NDArray[Any]]:
    """Vectors at real positions alone, [positions, size]: at padding both models compute what nobody reads."""
    return {
        # Taken out, and not a view: what is left out must not stay in memory.
        name: array.reshape(-1, array.shape[-1])[compared(name, inputs)] if array.ndim == 3 else array.copy()
        for name, array in outputs.items()
    }


def compared(name: str, inputs: Outputs) -> npt.NDArray[np.int_]:
    """Numbers of the positions (of batch x length) of a batch at which an output is compared."""
    import numpy as np

    real = np.flatnonzero(inputs["attention_mask"])
    most = _MOST_ROWS.get(name.rpartition(" ")[2], len(real))
    return real[np.linspace(0, len(real) - 1, most).astype(int)] if len(real) > most else real


def floors(pairs: Sequence[tuple[Run, ...]]) -> dict[str, float]:
    """How far float32 is from float64 in one and the same model, by output; of several models the largest.

    Args:
        pairs: The float32 and the float64 run of each model.
    """
    import numpy as np

    found: dict[str, float] = {}
    for single, double in pairs:
        for low, high in zip(single, double, strict=True):
            for name in low:
                gap = float(np.abs(low[name].astype(np.float64) - high[name]).max(initial=0.0))
                # What overflows in one precision alone allows nothing.
                found[name] = max(found.get(name, 0.0), gap if math.isfinite(gap) else 0.0)
    return found


def differences(published: Run, reference: Run, floor: Mapping[str, float], dtype: str) -> tuple[Difference, ...]:
    """How far two runs are from each other, for every output that both have, in the order of the computation.

    Args:
        published: Of the published folder.
        reference: Of what it is compared with.
        floor: Rounding of each output in float32; see `floors`.
        dtype: The precision of both.
    """
    return with_and_without_padding(published, reference, floor, dtype)[0]


def with_and_without_padding(
    published: Run, reference: Run, floor: Mapping[str, float], dtype: str
) -> tuple[tuple[Difference, ...], tuple[Difference, ...]]:
    """See `differences`: over all batches; and over those after the first, which alone has padding."""
    names = [name for name in published[0] if name in reference[0]]
    apart, whole = {name: _Sum() for name in names}, list[Difference]()
    batches = list(zip(published, reference, strict=True))
    for ours, theirs in batches[1:]:
        for name in names:
            apart[name].add(ours[name], theirs[name])
    without = tuple(total.difference(name, dtype, floor[name]) for name, total in apart.items() if total.count)
    ours, theirs = batches[0]
    for name, total in apart.items():
        total.add(ours[name], theirs[name])
        whole.append(total.difference(name, dtype, floor[name]))
    return tuple(whole), without


class _Sum:
    """Running comparison of one output over batches."""

    def __init__(self) -> None:
        self.count, self.width, self.total, self.max_abs, self.scale = 0, 0, 0.0, 0.0, 0.0
        self.min_cosine = 1.0

    def add(self, published: npt.NDArray[Any], reference: npt.NDArray[Any]) -> None:
        import numpy as np

        ours, theirs = published.astype(np.float64, copy=False), reference.astype(np.float64, copy=False)
        self.count, self.width = self.count + ours.shape[0], ours.shape[1]
        if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
            # What is not a number must not vanish in a maximum, and JSON has no infinity to write it with.
            self.total = self.max_abs = sys.float_info.max
            self.min_cosine = -1.0
            return
        gap = np.abs(ours - theirs)
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        cosines = np.divide(np.einsum("ij,ij->i", ours, theirs), norms, out=np.ones_like(norms), where=norms > 0)
        self.total += float(gap.sum())
        self.max_abs = max(self.max_abs, float(gap.max()))
        self.scale = max(self.scale, float(np.abs(theirs).max()))
        self.min_cosine = min(self.min_cosine, float(cosines.min()))

    def difference(self, name: str, dtype: str, floor: float) -> Difference:
        return Difference(
            name,
            dtype,
            (self.count, self.width),
            self.max_abs,
            self.total / (self.count * self.width),
            self.min_cosine,
            self.scale,
            floor if dtype == "float32" else floor * FLOAT64_STEP,
        )
