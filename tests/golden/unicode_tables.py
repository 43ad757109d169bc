"""Writes hubpush/parity/unicode.json: the characters that the fast tokenizer treats otherwise than Google's code.

Every code point is put into some words, which are split by both: by our form of Google's code with the Unicode tables
of a given version, and by the normalizer and the pre-tokenizer of the tokenizers library. For each code point that
differs the treatment that explains all words is written down; then everything is compared again with what is written,
and nothing may be left. Run by hand, once for each version of the tables (Python 3.11 has 14.0.0, 3.12 15.0.0, 3.13
15.1.0, 3.14 16.0.0, 3.15 17.0.0), about two minutes each:

    python -m tests.golden.unicode_tables                       (the tables of this Python)
    pip install --target /tmp/15.0.0 unicodedata2==15.0.0
    PYTHONPATH=/tmp/15.0.0 python -m tests.golden.unicode_tables --tables unicodedata2
    ... --check                                                 (compare alone, write nothing)
"""

import argparse
import importlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import normalizers, pre_tokenizers

from hubpush.parity import tokenizer
from hubpush.parity.tokenizer import Changes, Kind

PATH = Path(tokenizer.__file__).with_name("unicode.json")
SWEEP: tuple[str, ...] = ("{}", "a{}b", "a{}", "{}b")
"""The words that every code point is put into."""

MARKS: tuple[str, ...] = (
    *(f"a{{}}{mark}\U0001d165b {mark}{{}}\U0001d165" for mark in "\u0334\u0301\u0345"),
    "a{}\u302eb",
    "a\u302e{}\u302eb",
    "a\U0001d165{}\U0001d165b",
    "a\U0001d16d{}b",
)
"""Words that show how a code point is ordered among marks, some of which are not dropped (U+302E, U+1D165)."""

CODES = [code for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]


class Fast:
    """The words of the fast tokenizer, before they are cut into pieces."""

    def __init__(self, *, cased: bool, normalizer: Any = None, pre_tokenizer: Any = None) -> None:
        self.cased = cased
        self._normalizer = normalizer or normalizers.BertNormalizer(lowercase=not cased)
        self._pre_tokenizer = pre_tokenizer or pre_tokenizers.BertPreTokenizer()

    def words(self, text: str) -> list[str]:
        """The words of a text."""
        split = self._pre_tokenizer.pre_tokenize_str(self._normalizer.normalize_str(text))
        return [word for word, _ in split]


def differing(
    fast: Fast, codes: Sequence[int], contexts: Sequence[str], changed: Changes, tables: Any, size: int = 512
) -> Iterator[int]:
    """The code points that the amended algorithm splits otherwise than the fast tokenizer, found by halving."""
    for start in range(0, len(codes), size):
        chunk = codes[start : start + size]
        text = " ".join(context.replace("{}", chr(code)) for code in chunk for context in contexts)
        known = tokenizer.EVERYTHING
        expected = tokenizer.words(text, cased=fast.cased, known=known, changed=changed, tables=tables)
        if expected != fast.words(text):
            if len(chunk) == 1:
                yield chunk[0]
            else:
                yield from differing(fast, chunk, contexts, changed, tables, (len(chunk) + 1) // 2)


def explain(code: int, tables: Any) -> Changes | None:
    """What the fast tokenizer does with a code point, if one treatment explains all words."""
    char = chr(code)
    kinds: list[Kind] = ["kept", "unknown", "mark", "punctuation", "dropped", "space", "chinese"]
    candidates = [Changes({char: kind}) for kind in kinds]
    candidates.append(Changes({}, {char: normalizers.BertNormalizer(lowercase=True).normalize_str(char)}))
    for candidate in candidates:
        if not any(
            list(differing(Fast(cased=cased), [code], SWEEP + MARKS, candidate, tables)) for cased in (False, True)
        ):
            return candidate
    return None


def ordered(tables: Any) -> list[int]:
    """The code points that are marks to a side, or that the two normal forms order differently among marks."""
    decompose, marks = normalizers.NFD(), tuple(MARKS)
    found = []
    for code in CODES:
        char = chr(code)
        text = " ".join(marks).replace("{}", char)
        is_mark = tables.combining(char) or tables.category(char)[0] == "M"
        if is_mark or decompose.normalize_str(text) != tables.normalize("NFD", text):
            found.append(code)
    return found


def sweep(changed: Changes, tables: Any) -> dict[int, str]:
    """The code points that differ although the changes are applied, and whether cased, uncased or both.

    All are put into `SWEEP`; into `MARKS` those that can move there.
    """
    found: dict[int, str] = {}
    among_marks = ordered(tables)
    for casing, fast in (("cased", Fast(cased=True)), ("uncased", Fast(cased=False))):
        codes = {*differing(fast, CODES, SWEEP, changed, tables), *differing(fast, among_marks, MARKS, changed, tables)}
        for code in codes:
            found[code] = f"{found[code]}, {casing}" if code in found else casing
    return found


def find(tables: Any) -> tuple[Changes, list[int]]:
    """The changes for some tables, and the code points that none explains."""
    kinds: dict[str, Kind] = {}
    lower: dict[str, str] = {}
    odd = []
    for code in sorted(sweep(Changes(), tables)):
        explained = explain(code, tables)
        if explained is None:
            odd.append(code)
        else:
            kinds |= explained.kinds
            lower |= explained.lower
    return Changes(kinds, lower), odd


def ranges(codes: Iterable[int]) -> str:
    """Code points in hexadecimal, those in a row as a range."""
    found: list[list[int]] = []
    for code in sorted(codes):
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return " ".join(f"{first:X}" if first == last else f"{first:X}-{last:X}" for first, last in found)


def write(version: str, changed: Changes) -> None:
    """Put a version's changes into unicode.json."""
    data = json.loads(PATH.read_text("utf-8")) if PATH.exists() else {"versions": {}}
    entry = {
        "kinds": {
            kind: ranges(ord(char) for char, found in changed.kinds.items() if found == kind)
            for kind in sorted(set(changed.kinds.values()))
        },
        "lower": {f"{ord(upper):X}": f"{ord(lower):X}" for upper, lower in sorted(changed.lower.items())},
    }
    versions = dict(sorted({**data["versions"], version: entry}.items()))
    text = json.dumps({"tokenizers": tokenizers.__version__, "versions": versions}, indent=1)
    PATH.write_text(text + "\n", "utf-8", newline="\n")


def main() -> None:
    """Find, write, compare again; or compare alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", default="unicodedata", help="module with the Unicode tables")
    parser.add_argument("--check", action="store_true", help="compare with unicode.json as it is")
    arguments = parser.parse_args()
    tables = importlib.import_module(arguments.tables)
    version = tables.unidata_version
    odd: list[int] = []
    if not arguments.check:
        changed, odd = find(tables)
        write(version, changed)
    changed = tokenizer.read_changes()[version]
    remaining = sweep(changed, tables)
    found = {
        "unicode": version,
        "tokenizers": tokenizers.__version__,
        "code points": len(CODES),
        "changed": {**Counter(changed.kinds.values()), "lower": len(changed.lower)},
        "not explained": [f"U+{code:04X}" for code in odd],
        "different with the changes": {f"U+{code:04X}": casing for code, casing in remaining.items()},
    }
    sys.stdout.write(json.dumps(found) + "\n")
    sys.exit(1 if odd or remaining else 0)


if __name__ == "__main__":
    main()
