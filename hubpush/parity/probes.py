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

AWKWARD: tuple[str, ...] = (
    "tab\tnew\nline\rreturn\vfeed\fend",
    "control\x00\x01\x02\x1f\x7f\x80\x9f characters vanish",
    "zero\u200bwidth\u200cnon\u200djoiner\u2060word\ufeffmark soft\u00adhyphen",
    "no\u00a0break thin\u2009space ideographic\u3000space line\u2028separator",
    "caf\u00e9 \u1e69 \u00c5ngstr\u00f6m x\u0301y q\u0323\u0307",
    "\ufb01ne \u210cilbert x\u00b2 \u2460 \uff26\uff35\uff2c\uff2c \u00bd",
    "\u0130stanbul \u0131 STRASSE Stra\u00dfe \u1e9e",
    "``quoted'' \u201ccurly\u201d \u00abguillemets\u00bb \u2018a\u2019 -- \u2014 \u2026",
    "$5.00 50% a+b=c a^b ~x |y| `z` <tag> {brace} [bracket] @name #tag \\path_under",
    "don't can't it's rock'n'roll U.S.A. e.g. 1,234.56 10:30",
    "##ing ##s # # un##able",
    "\u4e00\u9fa5 \u3400 \U00020000 \u30ab\u30bf\u30ab\u30ca \u3072\u3089\u304c\u306a \ud55c\uae00",
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d\u0926\u0940 \u0627\u064e\u0644 \u05e9\u05c1",
    "a" * 100 + " " + "b" * 99 + "c",
    "King KING king kIng",
    "   leading and trailing   ",
)
"""Texts on which the tokenizers alone are compared: white space, control and combining characters, scripts,
punctuation, the longest word that both take. The known differences (docs/decisions.md) are not among them, nor is text
that is not in Unicode's form NFC: transformers' slow tokenizer composes it first, which neither Google's code nor the
fast tokenizer does."""

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
