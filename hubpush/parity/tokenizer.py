"""The original tokenizer, and the published one compared with it.

`words` and `pieces` are the algorithm of google-research/bert's `tokenization.py` (commit eedf571): `BasicTokenizer`
cleans, isolates Chinese characters, lower-cases, strips accents and splits off punctuation; `WordpieceTokenizer` takes
the longest known piece first. The fast tokenizer that transformers runs is another program, in Rust, and differs from
it in a few ways that no published file can change. Each of them is an *amendment* of the algorithm here: ids count as
known to differ only if the amended algorithm gives exactly these ids.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from hubpush.parity.report import TokenIds
from hubpush.tokenizer import SPECIAL_TOKENS

Kind = Literal["dropped", "space", "chinese", "punctuation", "mark", "private", "kept", "unknown"]
"""What is done with a character. Marks go where accents are stripped; private use is kept as letters are; so is what is
unknown to the normal form NFD, which neither decomposes nor reorders it."""

Known = Literal["special token in text", "word over 100 characters", "private use", "final sigma", "Unicode tables"]
"""How the fast tokenizer differs from Google's, each an amendment of the algorithm:

- special token in text: `[MASK]` and its like are one token wherever they stand; Google splits off the brackets.
- word over 100 characters: it is [UNK]; Google goes on to 200.
- private use: these characters vanish; Google keeps them.
- final sigma: every Σ becomes σ; Python's str.lower() makes it ς at the end of a word.
- Unicode tables: the Rust crates' tables are of other versions of Unicode than Python's, and their list of Chinese
  characters begins one block at U+2B920 instead of U+2B820.
"""

NOTHING: frozenset[Known] = frozenset()
EVERYTHING: frozenset[Known] = frozenset(get_args(Known))

_LIMIT = 200
"""Longest word in characters that is not [UNK]: the default of `WordpieceTokenizer`."""

_FAST_LIMIT = 100
"""The same in transformers' BertTokenizer, which does not read it from tokenizer.json."""

_SPECIAL = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS)) + ")")

_CHINESE = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
"""First and last code points of the blocks in `BasicTokenizer._is_chinese_char`."""

_ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
"""All that is neither letter nor number, as `_is_punctuation` has it, whether Unicode calls it punctuation or not."""


# What the fast tokenizer does with single characters ----------------------------------------------------------------


@dataclass(frozen=True)
class Changes:
    """Characters that the fast tokenizer treats otherwise than Google's code on some version of Python's tables.

    Attributes:
        kinds: What is done with them.
        lower: What others become when lower-cased and stripped of accents.
    """

    kinds: Mapping[str, Kind] = field(default_factory=dict)
    lower: Mapping[str, str] = field(default_factory=dict)


_NO_CHANGES = Changes()


def changes(version: str = unicodedata.unidata_version) -> Changes:
    """The changes for a version of Python's Unicode tables, or for the nearest lower one that is known.

    The tables of newer versions know more characters than the Rust crates do, older ones fewer.
    """
    found = read_changes()
    lower = [v for v in found if _numbers(v) <= _numbers(version)]
    return found[max(lower, key=_numbers) if lower else min(found, key=_numbers)]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@functools.cache
def read_changes() -> dict[str, Changes]:
    """The changes by version, from unicode.json, which `tests/golden/unicode_tables.py` computes."""
    data = json.loads(Path(__file__).with_name("unicode.json").read_text(encoding="utf-8"))
    return {
        version: Changes(
            {char: kind for kind, ranges in entry["kinds"].items() for char in _characters(ranges)},
            {chr(int(upper, 16)): chr(int(lower, 16)) for upper, lower in entry["lower"].items()},
        )
        for version, entry in data["versions"].items()
    }


def _characters(ranges: str) -> Iterator[str]:
    """The characters of code points and of ranges of them, in hexadecimal: `7FD 898-89F`."""
    for part in ranges.split():
        first, _, last = part.partition("-")
        yield from map(chr, range(int(first, 16), int(last or first, 16) + 1))


# The algorithm -------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1 << 16)
def _kind(char: str, tables: Any) -> Kind:
    """What Google's code does with a character; its tests exclude each other."""
    code, category = ord(char), tables.category(char)
    if char in "\t\n\r" or category == "Zs":
        return "space"
    if code in (0, 0xFFFD) or category in ("Cc", "Cf"):
        return "dropped"
    if any(first <= code <= last for first, last in _CHINESE):
        return "chinese"
    if char in _ASCII_PUNCTUATION or category.startswith("P"):
        return "punctuation"
    return "mark" if category == "Mn" else "private" if category == "Co" else "kept"


def words(
    text: str,
    *,
    cased: bool,
    known: AbstractSet[Known] = NOTHING,
    changed: Changes = _NO_CHANGES,
    tables: Any = unicodedata,
) -> list[str]:
    """Split a text into words, as `BasicTokenizer.tokenize` does.

    Args:
        text: Any text without surrogates.
        cased: False lower-cases and strips accents.
        known: Amendments to apply; those that are not about characters change nothing here.
        changed: What the amendment `Unicode tables` changes.
        tables: The Unicode tables: `unicodedata`, or a module like it. Lower case is always the interpreter's.

    Returns:
        Words and single punctuation marks, none of them empty.
    """
    if "Unicode tables" not in known:
        changed = _NO_CHANGES

    def kind(char: str) -> Kind:
        return changed.kinds.get(char) or _kind(char, tables)

    clean = []
    for char in text:
        what = kind(char)
        if what == "space":
            clean.append(" ")
        elif what == "chinese":
            clean.append(f" {char} ")
        elif what != "dropped" and not (what == "private" and "private use" in known):
            clean.append(char)
    found: list[str] = []
    for word in "".join(clean).split():
        start = True
        for char in word if cased else _without_accents(word, known, changed, tables):
            what = kind(char)
            if what == "mark" and not cased:
                continue
            if start or what == "punctuation":
                found.append(char)
            else:
                found[-1] += char
            start = what == "punctuation"
    return found


def _without_accents(word: str, known: AbstractSet[Known], changed: Changes, tables: Any) -> str:
    """The word in lower case, decomposed (Unicode's form NFD); what is left is to drop the marks."""
    word = "".join(changed.lower.get(char, char) for char in word)
    word = "".join(map(str.lower, word)) if "final sigma" in known else word.lower()
    runs = itertools.groupby(word, lambda char: changed.kinds.get(char) == "unknown")
    return "".join("".join(run) if unknown else tables.normalize("NFD", "".join(run)) for unknown, run in runs)


def pieces(word: str, vocab: Mapping[str, int], limit: int = _LIMIT) -> list[str]:
    """Split a word into pieces of the vocabulary, the longest first, as `WordpieceTokenizer.tokenize` does.

    Args:
        word: One of `words`.
        vocab: Ids by token.
        limit: Longest word in characters that is tried.

    Returns:
        The pieces, those after the first with `##`; [UNK] alone if the word cannot be split so.
    """
    if len(word) > limit:
        return ["[UNK]"]
    found: list[str] = []
    start = 0
    while start < len(word):
        prefix = "##" if start else ""
        end = next((end for end in range(len(word), start, -1) if prefix + word[start:end] in vocab), None)
        if end is None:
            return ["[UNK]"]
        found.append(prefix + word[start:end])
        start = end
    return found


def tokenize(
    text: str,
    vocab: Mapping[str, int],
    *,
    cased: bool,
    known: AbstractSet[Known] = NOTHING,
    changed: Changes = _NO_CHANGES,
    tables: Any = unicodedata,
) -> list[str]:
    """Split a text into tokens, as `FullTokenizer.tokenize` does, or as that does with the amendments of `words`."""
    limit = _FAST_LIMIT if "word over 100 characters" in known else _LIMIT
    found = []
    for n, part in enumerate(_SPECIAL.split(text) if "special token in text" in known else [text]):
        if n % 2:  # what re.split captured stands between the texts
            found.append(part)
            continue
        for word in words(part, cased=cased, known=known, changed=changed, tables=tables):
            found += pieces(word, vocab, limit)
    return found


def load_vocab(path: Path) -> dict[str, int]:
    r"""Read vocab.txt as Google's `load_vocab` does: line n, counted from 0, is id n; only `\n` ends a line."""
    return _vocab(path.read_bytes())


def _vocab(content: bytes) -> dict[str, int]:
    lines = content.decode("utf-8").removesuffix("\n").split("\n")
    return {line.strip(): n for n, line in enumerate(lines)}


# The published tokenizer ---------------------------------------------------------------------------------------------

_Text = tuple[str, str | None]
_Row = list[tuple[int, int | None, int | None]]
"""Id, segment and attention mask of each token; None for what a tokenizer does not give."""

_EXPECTED: Mapping[str, Any] = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
    "padding_side": "right",
    "truncation_side": "right",
}


def compare(folder: Path, auto: Any, config: Any, vocab: Path, *, cased: bool) -> TokenIds:
    """Compare the published tokenizer with the original algorithm on the original vocabulary.

    transformers builds its tokenizer from tokenizer_config.json and the vocabulary inside tokenizer.json; other
    programs run tokenizer.json as it is, or read vocab.txt. All of them have to give the same ids.

    Args:
        folder: The model folder, as it will be pushed.
        auto: What transformers' AutoTokenizer loads from it.
        config: What AutoConfig loads from it.
        vocab: The original vocabulary.
        cased: The casing that the release declares.

    Returns:
        What differs; ids are explained by the fewest amendments that give them.
    """
    from tokenizers import Tokenizer

    from hubpush.parity.probes import AWKWARD, LONG, SHORT, awkward
    from hubpush.parity.published import quiet

    alone, reference = Tokenizer.from_file(str(folder / "tokenizer.json")), _reference(vocab.read_bytes(), cased)
    texts: list[_Text] = [
        *SHORT,
        (LONG[:1000], None),
        *((text, None) for text in awkward()),
        *itertools.pairwise(AWKWARD),
    ]
    with quiet():  # some texts are longer than small models are, which matters for running, not for comparing ids
        found = list(zip(_by_auto(auto, texts), _by_file(alone, texts), strict=True))
    identical, known, first_difference = 0, Counter[str](), None
    for text, rows in zip(texts, found, strict=True):
        original = reference.row(text)
        wrong = [row for row in rows if row != original]
        explained = [reference.explain(text, row) for row in wrong]
        if not wrong:
            identical += 1
        elif None not in explained:
            known[" and ".join(sorted({name for names in explained for name in names or ()}))] += 1
        elif first_difference is None:
            first_difference = reference.describe(text, wrong[explained.index(None)])
    return TokenIds(
        unidata_version=unicodedata.unidata_version,
        probes=len(texts),
        identical=identical,
        first_difference=first_difference,
        shifted=_shifted(folder, auto, alone, reference.vocab),
        settings=(*_settings(auto, alone, config, reference.vocab), *_parts(folder, first_difference, cased)),
        known=dict(known.most_common()),
    )


@functools.lru_cache(maxsize=4)
def _reference(vocab: bytes, cased: bool) -> _Reference:
    """The original tokenizer on a vocabulary, kept for the next release with the same one: families share theirs."""
    return _Reference(_vocab(vocab), cased)


@dataclass(frozen=True)
class _Reference:
    """The original tokenizer with its amendments, and what it gave for a text before."""

    vocab: Mapping[str, int]
    cased: bool
    changed: Changes = field(default_factory=changes)
    given: dict[_Text, _Row] = field(default_factory=dict)

    def row(self, text: _Text, known: AbstractSet[Known] = NOTHING) -> _Row:
        """[CLS] first [SEP] second [SEP], as `convert_single_example` of Google's run_classifier.py has it."""
        if known:
            return self._row(text, known)
        if text not in self.given:
            self.given[text] = self._row(text, known)
        return self.given[text]

    def _row(self, text: _Text, known: AbstractSet[Known]) -> _Row:
        tokens, segments = ["[CLS]"], [0]
        for segment, part in enumerate(part for part in text if part is not None):
            tokens += tokenize(part, self.vocab, cased=self.cased, known=known, changed=self.changed)
            tokens.append("[SEP]")
            segments += [segment] * (len(tokens) - len(segments))
        return [(self.vocab[token], segment, 1) for token, segment in zip(tokens, segments, strict=True)]

    def applicable(self, text: _Text) -> list[Known]:
        """Amendments that may change a text's tokens, in the order of `Known`; the others cannot."""
        both = " ".join(part for part in text if part is not None)
        may: dict[Known, bool] = {
            "special token in text": _SPECIAL.search(both) is not None,
            "word over 100 characters": 4 * len(both) > _FAST_LIMIT,  # no character is more than four in form NFD
            "private use": any(_kind(char, unicodedata) == "private" for char in both),
            "final sigma": not self.cased and "Σ" in both,
            "Unicode tables": any(char in self.changed.kinds or char in self.changed.lower for char in both),
        }
        return [known for known in get_args(Known) if may[known]]

    def explain(self, text: _Text, published: _Row) -> tuple[Known, ...] | None:
        """The fewest amendments that give exactly what was published, or None if none do."""
        names = self.applicable(text)
        subsets = itertools.chain.from_iterable(itertools.combinations(names, n) for n in range(1, len(names) + 1))
        return next((some for some in subsets if self.row(text, frozenset(some)) == published), None)

    def describe(self, text: _Text, published: _Row) -> dict[str, Any]:
        """Both sides from where they part, in the original's tokens; the original's are those that can be expected."""
        expected = self.row(text, frozenset(self.applicable(text)))
        differing = (n for n, (a, b) in enumerate(zip(expected, published, strict=False)) if a != b)
        at = next(differing, min(len(expected), len(published)))
        names = {n: token for token, n in self.vocab.items()}
        sides = {"original": expected[at : at + 6], "published": published[at : at + 6]}
        seen = {side: [names.get(n, str(n)) for n, _, _ in row] for side, row in sides.items()}
        for place, what in ((1, "segment"), (2, "attention mask")):
            if seen["original"] == seen["published"]:
                seen = {side: [f"{what} {row[0][place]}"] for side, row in sides.items()}
        return {"text": " ⏎ ".join(part for part in text if part is not None), **seen}


def _by_auto(auto: Any, texts: Sequence[_Text]) -> list[_Row]:
    """What AutoTokenizer's tokenizer gives for each text; single texts and pairs are a batch each."""
    rows: dict[_Text, _Row] = {}
    for is_pair in (False, True):
        some = [text for text in texts if (text[1] is not None) is is_pair]
        given = auto([first for first, _ in some], *([[second for _, second in some]] if is_pair else []))
        ids = given["input_ids"]
        nothing = [[None] * len(row) for row in ids]
        segments, mask = (given.get(name, nothing) for name in ("token_type_ids", "attention_mask"))
        for n, text in enumerate(some):
            rows[text] = list(zip(ids[n], segments[n], mask[n], strict=True))
    return [rows[text] for text in texts]


def _by_file(alone: Any, texts: Sequence[_Text]) -> list[_Row]:
    """What tokenizer.json gives for each text."""
    batch = alone.encode_batch([first if second is None else (first, second) for first, second in texts])
    return [list(zip(row.ids, row.type_ids, row.attention_mask, strict=True)) for row in batch]


def _shifted(folder: Path, auto: Any, alone: Any, vocab: Mapping[str, int]) -> str | None:
    tables = {
        "AutoTokenizer": auto.get_vocab(),
        "tokenizer.json": alone.get_vocab(),
    }
    if (folder / "vocab.txt").exists():  # transformers 5 does not write it
        tables["vocab.txt"] = load_vocab(folder / "vocab.txt")
    for name, table in tables.items():
        # A line of white space alone, which no text can give, is stripped to nothing by Google's code.
        if {token: n for token, n in table.items() if token.strip()} != {t: n for t, n in vocab.items() if t.strip()}:
            line = next((n for token, n in vocab.items() if table.get(token) != n), len(vocab))
            return f"{name}, from line {line + 1} on"
    return None


def _parts(folder: Path, first_difference: Mapping[str, Any] | None, cased: bool) -> Iterator[str]:
    """What is built otherwise without showing on any of the texts, in words."""
    if first_difference is None:
        data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        normalizer = {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": not cased,
        }
        found = data.get("normalizer")
        if isinstance(found, dict) and found.get("strip_accents") is (not cased):
            found = {**found, "strip_accents": None}  # what None means, said
        expected = {"normalizer": normalizer, "pre_tokenizer": {"type": "BertPreTokenizer"}}
        for part, wanted in expected.items():
            if (found if part == "normalizer" else data.get(part)) != wanted:
                yield f"the {part} of tokenizer.json is another"
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    if "auto_map" in settings:
        yield "tokenizer_config.json names code of its own (auto_map)"


def _settings(auto: Any, alone: Any, config: Any, vocab: Mapping[str, int]) -> Iterable[str]:
    """What ids alone need not show, in words."""
    for name, expected in {**_EXPECTED, "model_max_length": config.max_position_embeddings}.items():
        if getattr(auto, name) != expected:
            yield f"{name} is {getattr(auto, name)!r} instead of {expected!r}"
    if config.pad_token_id != vocab["[PAD]"]:
        yield f"config.json pads with {config.pad_token_id} instead of {vocab['[PAD]']}"
    for name, backend in (("AutoTokenizer", auto.backend_tokenizer), ("tokenizer.json", alone)):
        model, decoder = (json.loads(part.__getstate__()) if part else {} for part in (backend.model, backend.decoder))
        longest = model.get("max_input_chars_per_word")
        if longest is None:
            yield f"the model of {name} is {model.get('type')} instead of WordPiece"
        elif not _FAST_LIMIT <= longest <= _LIMIT:
            yield f"{name} takes words of up to {longest} characters instead of {_FAST_LIMIT} to {_LIMIT}"
        seen = f"{decoder.get('type')} with {decoder.get('prefix')!r}" if decoder else "none"
        if seen != "WordPiece with '##'":
            yield f"the decoder of {name} is {seen} instead of WordPiece with '##'"
        if extra := {token.content for token in backend.get_added_tokens_decoder().values()} - {*SPECIAL_TOKENS}:
            yield f"{name} adds tokens: {', '.join(sorted(extra)[:5])}"
    text = "[MASK]"
    in_text = {
        "AutoTokenizer": auto(text, add_special_tokens=False)["input_ids"],
        "tokenizer.json": alone.encode(text, add_special_tokens=False).ids,
    }
    for name, ids in in_text.items():
        if vocab[text] not in ids:
            yield f"{name} does not take {text} in a text for the token"
    for what, setting in (("truncates", alone.truncation), ("pads", alone.padding)):
        if setting is not None:
            yield f"tokenizer.json {what} what it encodes: {setting}"
