"""Probes: the texts on which the original and the converted model are both run.

They are fixed, so that results can be compared over years. Together they hold pairs, padding, every position up to the
model's length, both segments, masked words, accents, scripts without spaces, emoji, right-to-left text, code, numbers
and the empty text. Parity is about the weights and the arithmetic: what the texts mean does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SHORT: tuple[tuple[str, str | None], ...] = (
    ("Paris is the [MASK] of France.", None),
    ("The river froze over night.", "In the morning children skated on it."),
    ("The river froze over night.", "Interest rates were left unchanged."),
    ("Ein café, zwei naïve Gäste, und der Žluťoučký kůň pěl ďábelské ódy.", "¿Dónde está la estación?"),
    ("東京は日本の首都です。 北京是中国的首都。", "서울은 대한민국의 수도이다."),
    ("It works 👍🏽 for a 👩‍👩‍👧 family 🇨🇭!", "☃ & ❤️"),
    ("مرحبا بالعالم", "שלום עולם"),
    ("def f(x): return x**2 + 3.14e-10  # O(n·log n) <b>&amp;</b>", None),
    ("[MASK] [MASK] [MASK]", "unbelievable-antidisestablishmentarianism 1234567890"),
    ("", None),
)

_SHORT_LENGTH = 64

LONG = (
    "A probe that reaches the last position has to be long; it says little, and says it again in other words. "
    "The first ships came in spring, when the ice had left the bay, and the people of the town went down to see them. "
    "They brought salt, iron, letters of 1871, two clocks, and a doctor who had learned her trade in Edinburgh. "
    "Nobody had asked for a doctor, and nobody sent her away. She measured, wrote down, compared, and measured again. "
) * 12
"""More tokens than any position table has rows; cut to the model's length when encoded."""


def encode(tokenizer: Any, length: int, segments: int = 2) -> list[dict[str, npt.NDArray[np.int32]]]:
    """Encode the probes in two batches: the short ones padded to their longest, and the long one.

    Args:
        tokenizer: The published tokenizer, as transformers loads it.
        length: Number of position embeddings.
        segments: Number of segment embeddings; a model with one alone sees pairs as one text.

    Returns:
        For each batch `input_ids`, `attention_mask`, `token_type_ids`, each int32 [batch, length].
    """
    # Cut hard instead of by the tokenizer, which cannot bring a pair under the number of its special tokens.
    rows = [_cut(tokenizer(first, second), min(length, _SHORT_LENGTH), segments) for first, second in SHORT]
    short = tokenizer.pad(rows, padding=True, return_tensors="np")
    long = tokenizer.pad([_cut(tokenizer(LONG), length, segments)], return_tensors="np")
    return [_int32(short), _int32(long)]


def _cut(encoded: Mapping[str, list[int]], length: int, segments: int) -> dict[str, list[int]]:
    # The last token, [SEP], stays the last.
    cut = {name: v if len(v) <= length else [*v[: length - 1], v[-1]] for name, v in encoded.items()}
    return cut | {"token_type_ids": [min(segment, segments - 1) for segment in cut["token_type_ids"]]}


def _int32(batch: Mapping[str, Any]) -> dict[str, npt.NDArray[np.int32]]:
    import numpy as np

    return {name: np.asarray(batch[name], dtype=np.int32) for name in ("input_ids", "attention_mask", "token_type_ids")}
