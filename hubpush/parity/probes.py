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
punctuation, the longest word that both take. None holds a known difference (`hubpush.parity.tokenizer.Known`)."""

_SEQUENCES: tuple[str, ...] = (
    # Composed and decomposed, marks stacked, out of order, first, alone, and after what takes none.
    "caf\u00e9 cafe\u0301 CAFE\u0301 \u00c5 A\u030a \u212b",
    "o\u0302\u0301 o\u0301\u0302 o\u0323\u0302 o\u0302\u0323 \u1ed9 \u1ecd\u0302 \u00f4\u0323",
    "\u0301first \u0301 \u0301\u0302 !\u0301! \u4e00\u0301\u4e8c 1\u20e3 a\u20dd",
    "z" + "\u0300\u0316\u0327\u0334\u0345" * 12 + "algo",
    "a\u302eb a\u0316\u302eb a\u302e\u0316b a\U0001d165\U0001d16d\U0001d158\U0001d165 \U0001d15e",
    "\u0915\u094d\u0937 \u0958 \u0928\u093c \u0bca \u0bc6\u0bbe \u0dde \u0e33 \u0f73 \u0f71\u0f72",
    # Hangul: syllables, the jamo they are made of, jamo alone, compatibility and half-width ones.
    "\ud55c\uae00 \u1112\u1161\u11ab\u1100\u1173\u11af \u1112 \u1161 \u11ab \u314e\u314f \uffbe\uffc2 \uac01\u11a8",
    "\u304b\u3099 \u304c \u30cf\u309a \u30d1 \uff76\uff9e \u3041\u30fc\u3005\u3007\u3006 \u32ff\u337b",
    # Chinese characters: plain, of the extensions, of compatibility, among letters, with variation selectors.
    "a\u4e00b \u3400\u4dbf \u4e00\u9fff \uf900\ufaff \U00020000\U0002a6df \U0002a700\U0002b73f \U0002b740\U0002b81f",
    "a\U0002b820b a\U0002b91fb a\U0002b920b a\U0002ceafb a\U0002ceb0b \U0002ebe0 \U0002ebf0 a\U0002f800b \U0002fa1f",
    "\U00030000 \U000323af",
    "\u845b\U000e0100 \u4e00\ufe00 \u2e80 \u2f00 \u31c0 \u3190 \u3220 \u33ff",
    # Emoji: skin tones, families, flags, keycaps, tags, presentation selectors.
    "\U0001f44d\U0001f3fd \U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f1e8\U0001f1ed\U0001f1e8 #\ufe0f\u20e3 \u2764\ufe0e",
    "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "\U0001f3f3\ufe0f\u200d\U0001f308 x\U0001f9d1\U0001f3ff\u200d\U0001f680y",
    # Right to left, with and without controls.
    "\u0645\u0631\u062d\u0628\u0627 \u0634\u064e\u0652\u0651\u0644 \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u06f1\u06f2 \ufefb \ufdfa",
    "\u202aleft\u202b right \u202cpop \u202do\u202ev\u202c \u2066iso\u2067la\u2068te\u2069 \u200erm\u200f \u061c alm",
    # White space and what only looks like it.
    "a\u0020b\u00a0c\u1680d\u2000e\u2001f\u2002g\u2003h\u2004i\u2005j\u2006k\u2007l\u2008m\u2009n\u200ao\u202fp\u205fq\u3000r",
    "a\u2028b\u2029c\x0bd\x0ce\x1cf\x1dg\x1eh\x1fi\x85j\u180ek\u200bl\u200cm\u200dn\u2060o\ufeffp\u2800q\u3164r",
    "".join(map(chr, range(0x20))) + "x" + "".join(map(chr, range(0x7F, 0xA1))) + "y",
    # Case that depends on its neighbours, on a language, or on more than one letter.
    "\u039f\u0394\u039f\u03a3 \u03a3\u039f\u03a6\u0399\u0391\u03a3. \u03a3 A\u03a3B \u03a3\u0301",
    "\u03bf\u03b4\u03bf\u03c2 \u03c3\u03bf\u03c6\u03b9\u03b1\u03c3 \u1fb3 \u1fbc \u1f88",
    "\u0390 \u03d2\u0301 \u1ffd \u0387 \u037e",
    "I i \u0130 \u0131 I\u0307 i\u0307 \u0130\u0130 \u00cc \u0128 \u012e\u0301",
    "\u01c5 \u01c4 \u1e9e \u00df \u0149 \u01f0 \u1e96",
    "\ufb00\ufb01\ufb03\ufb05 \u0132 \u0133 \u0152 \u00c6 \u2126 \u212a \u017f \u1e9b\u0323 \u2160 \u24b6",
    "\U00010400 \U0001e900 \u10a0 \u13a0",
    # Private use, not characters, not assigned, replacement.
    "a\ue000b \uf8ff \U000f0000 \U0010fffdx",
    "a\ufffdb a\ufffec a\uffffd \ufdd0 \U0001ffff \u0378 \u05ff \U0001f0ff \U000e0080 \U000e01f0 \U000323b0",
    # What looks like tokens and pieces, and what is one to the fast tokenizer.
    "[mask] [Mask] [ MASK ] [MASK [ MASK] [cls] [unused1] [UNUSED1] [[]] [unk]",
    "the [MASK] of",
    "un[UNK]able [CLS]x[SEP] [PAD][PAD]",
    "[[MASK]] [MASK][MASK] ##[MASK] [MASK]##s [MA\u200bSK] [M\u0301ASK]",
    "##ing ###ing ##a## a##b #a ##",
    "\u03a3[MASK] \u039f\u03a3[SEP]\u0391",
    # Nothing.
    "",
    " ",
    "\t \n\r\n ",
    "\x00\u200b\ufffd",
    "\u3000\u2003",
)

_LENGTHS = (99, 100, 101, 150, 199, 200, 201, 1000)
_REPEATED = ("a", "un", "\u00e9", "\u0301a", "\u4e00", "!", "\uac01", "\U0001f600", "\u0430", "1", "the ")

_BLOCKS: tuple[tuple[int, int, int], ...] = (
    (0x0000, 0x036F, 1),  # controls, Latin, IPA, combining marks
    (0x0370, 0x1FFF, 13),
    (0x2000, 0x206F, 1),  # spaces and punctuation
    (0x2070, 0x2FFF, 17),
    (0x3000, 0x30FF, 3),  # CJK punctuation, kana
    (0x3100, 0x9FFF, 257),
    (0xA000, 0xABFF, 29),
    (0xAC00, 0xD7FF, 101),  # Hangul
    (0xE000, 0xF8FF, 1600),  # private use
    (0xF900, 0xFFFF, 7),
    (0x10000, 0x1FFFF, 97),
    (0x20000, 0x323AF, 1009),  # CJK extensions
    (0xE0001, 0xE01EF, 16),  # tags, variation selectors
    (0xF0000, 0x10FFFD, 0x8000),  # private use
)
"""First and last code points, and the step between those that are taken. All kinds of characters are among them,
whatever the version of Unicode's tables."""


def awkward() -> tuple[str, ...]:
    """The texts on which the tokenizers alone are compared, the same in every version of Python.

    They hold every kind of character, words about as long as each tokenizer takes, and all known differences
    (`hubpush.parity.tokenizer.Known`).
    """
    repeated = [(text * length)[:length] for text in _REPEATED for length in _LENGTHS]
    characters = [chr(code) for first, last, step in _BLOCKS for code in range(first, last + 1, step)]
    among_letters = [f"a{char}b A{char} {char}c{char}{char}" for char in characters]
    return (*AWKWARD, *_SEQUENCES, *repeated, *among_letters)


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
