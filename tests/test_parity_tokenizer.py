"""The reference is Google's own tokenizer; a published one that differs fails, unless a known difference says how."""

import hashlib
import json
import os
import shutil
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hubpush.parity import probes, report
from hubpush.parity import tokenizer as reference
from hubpush.parity.tokenizer import EVERYTHING, NOTHING, Changes, Known, tokenize, words
from hubpush.tokenizer import SPECIAL_TOKENS, Vocabulary, write
from tests import google_bert
from tests.checkpoints import vocab_lines
from tests.golden import unicode_tables

FULL = bool(os.environ.get("HUBPUSH_FULL_SWEEP"))
"""Whether the sweeps go over all code points: minutes instead of seconds."""

CHANGES = reference.changes()
CHANGED = sorted(map(ord, {*CHANGES.kinds, *CHANGES.lower}))
CODES = unicode_tables.CODES if FULL else sorted({*unicode_tables.CODES[::127], *CHANGED, *range(0x700)})
LENGTH = 128


def _rich_lines() -> tuple[str, ...]:
    """A vocabulary in which nearly no word is [UNK]: characters of all scripts, alone and as pieces."""
    codes = [*range(0x21, 0x3400), *range(0x3400, 0xD7FF, 16), *range(0xE000, 0xE010), *range(0xF900, 0x20000)]
    characters = sorted({c for c in map(chr, [*codes, *CHANGED]) if unicodedata.category(c)[0] not in "CZ"})
    characters += [chr(code) for code in range(0xE000, 0xE010)]
    return (*SPECIAL_TOKENS, *characters, *(f"##{c}" for c in characters), "the", "##the", "un", "##able", "Paris")


class Made:
    """A vocabulary's published files and Google's tokenizer on the original."""

    def __init__(self, folder: Path, lines: tuple[str, ...], *, cased: bool) -> None:
        folder.mkdir()
        self.folder, self.cased, self.vocab = folder, cased, folder.with_name(f"{folder.name}-vocab.txt")
        raw = ("\n".join(lines) + "\n").encode()
        self.vocab.write_bytes(raw)
        write(Vocabulary(lines, raw), folder, cased=cased, model_max_length=LENGTH)
        self.google = google_bert.tokenization().FullTokenizer(str(self.vocab), do_lower_case=not cased)
        self.auto = self.load(folder)

    @staticmethod
    def load(folder: Path) -> Any:
        """What AutoTokenizer loads."""
        import transformers

        return transformers.AutoTokenizer.from_pretrained(folder)

    def compare(self, folder: Path | None = None, pad_token_id: int = 0) -> report.TokenIds:
        """The comparison of the folder, or of a changed copy of it."""
        auto = self.load(folder) if folder else self.auto
        config = SimpleNamespace(max_position_embeddings=LENGTH, pad_token_id=pad_token_id)
        return reference.compare(folder or self.folder, auto, config, self.vocab, cased=self.cased)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """A vocabulary like the real ones and one of single characters, each uncased and cased, published once."""
    top = tmp_path_factory.mktemp("published")
    return {
        f"{name}, {'cased' if cased else 'uncased'}": Made(top / f"{name}-{cased}", lines, cased=cased)
        for cased in (False, True)
        for name, lines in (("plain", vocab_lines(3000, cased)), ("rich", _rich_lines()))
    }


ALL = [f"{name}, {casing}" for name in ("plain", "rich") for casing in ("uncased", "cased")]


# Our form of the algorithm is Google's ------------------------------------------------------------------------------

TEXTS = [*probes.awkward(), probes.LONG[:1000], *(text for pair in probes.SHORT for text in pair if text is not None)]


@pytest.mark.parametrize("name", ALL)
def test_tokens_of_the_probes_are_googles(name: str, made: dict[str, Made]) -> None:
    """On every text that is compared at run time our tokenizer gives the tokens of Google's FullTokenizer."""
    both, vocab = made[name], reference.load_vocab(made[name].vocab)
    assert list(vocab.items()) == list(both.google.vocab.items())
    wrong = [text for text in TEXTS if tokenize(text, vocab, cased=both.cased) != both.google.tokenize(text)]
    assert wrong == []


_CHARACTERS = st.characters(exclude_categories=["Cs"])
_PIECES = st.sampled_from(
    [
        *(
            "unaffable",
            "House",
            "the",
            "##s",
            "東京",
            "é",
            "e\u0301",
            "Å",
            ".",
            "'",
            " ",
            "\t",
            "[",
            "]",
            "Σ",
            "ΟΔΟΣ",
            "İ",
        ),
        *SPECIAL_TOKENS,
        *(
            "\u0301",
            "\U0001d165",
            "\u302e",
            "\u0316",
            "\ue000",
            "\u200d",
            "\U0002b820",
            "a" * 60,
            "각" * 20,
            "\U00010d50",
        ),
    ]
)
_ANY_TEXT = st.text(_CHARACTERS) | st.lists(
    _PIECES | _CHARACTERS | st.sampled_from([chr(code) for code in CHANGED]), max_size=20
).map("".join)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=_ANY_TEXT)
@example(text="ΑΣ\u2b820 ΑΣ.Α ΑΣ\u0301")
@example(text="a\u302e\u0316\U0001d165 \u0f73\u0f71")
@example(text="")
def test_tokens_of_any_text_are_googles(text: str, made: dict[str, Made]) -> None:
    """On any text our tokenizer gives the tokens of Google's FullTokenizer, and our words its BasicTokenizer's."""
    for both in made.values():
        assert words(text, cased=both.cased) == both.google.basic_tokenizer.tokenize(text)
        assert tokenize(text, both.google.vocab, cased=both.cased) == both.google.tokenize(text)


@pytest.mark.parametrize("cased", [False, True])
def test_every_character_is_treated_as_google_treats_it(cased: bool) -> None:
    """Alone and beside letters each code point gives the words that Google's BasicTokenizer gives."""
    basic = google_bert.tokenization().BasicTokenizer(do_lower_case=not cased)
    texts = [" ".join(context.replace("{}", chr(code)) for context in unicode_tables.SWEEP) for code in CODES]
    assert [text for text in texts if words(text, cased=cased) != basic.tokenize(text)] == []


@pytest.mark.parametrize("length", [1, 99, 100, 101, 199, 200, 201, 1000])
def test_longest_word_is_googles(length: int) -> None:
    """Words are split up to Google's 200 characters, up to 100 with the amendment, and are [UNK] beyond."""
    vocab = {"[UNK]": 0, "a": 1, "##aa": 2, "##a": 3}
    google = google_bert.tokenization().WordpieceTokenizer(vocab)
    assert reference.pieces("a" * length, vocab) == google.tokenize("a" * length)
    assert tokenize("a" * length, vocab, cased=True) == google.tokenize("a" * length)
    amended = tokenize("a" * length, vocab, cased=True, known={"word over 100 characters"})
    assert (amended == ["[UNK]"]) is (length > 100)


def test_vocabulary_is_read_as_google_reads_it(tmp_path: Path) -> None:
    """Only newlines end a line, white space around a token goes, and the last newline may be missing."""
    for text in ("a\n b \nc\u2028d\n\u00a0\u0085x\ny", "a\nb\n", "a"):
        (tmp_path / "vocab.txt").write_text(text, "utf-8", newline="\n")
        google = google_bert.tokenization().load_vocab(str(tmp_path / "vocab.txt"))
        assert reference.load_vocab(tmp_path / "vocab.txt") == dict(google)


# The amended algorithm is the fast tokenizer ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rich, uncased", "rich, cased"])
def test_every_character_is_predicted(name: str, made: dict[str, Made]) -> None:
    """With the known data the published tokenizer splits words around each code point as predicted.

    All 1,112,064 are swept with HUBPUSH_FULL_SWEEP=1, a sample and all known ones without.
    """
    from tokenizers import Tokenizer

    alone = Tokenizer.from_file(str(made[name].folder / "tokenizer.json"))
    fast = unicode_tables.Fast(cased=made[name].cased, normalizer=alone.normalizer, pre_tokenizer=alone.pre_tokenizer)
    contexts = unicode_tables.SWEEP + unicode_tables.MARKS
    assert list(unicode_tables.differing(fast, CODES, contexts, CHANGES, unicodedata)) == []


def test_changes_are_needed() -> None:
    """Each code point in unicode.json for this Python differs without it: none is there in vain."""
    different: set[int] = set()
    for cased in (False, True):
        fast = unicode_tables.Fast(cased=cased)
        contexts = unicode_tables.SWEEP + unicode_tables.MARKS
        different.update(unicode_tables.differing(fast, CHANGED, contexts, Changes(), unicodedata))
    # Tables that are newer than this Python's str.lower() name letters which it will lower-case by itself one day.
    assert different == {code for code in CHANGED if CHANGES.lower.get(chr(code)) != chr(code).lower()}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=_ANY_TEXT)
@example(text="a[MASK]\ue000ΟΔΟΣ[SEP]" + "a" * 101)
@example(text="\u1715\U0001d165\u302e\u0898\u0316")
def test_ids_of_any_text_are_predicted(text: str, made: dict[str, Made]) -> None:
    """On any text the published ids are those of the algorithm with all amendments, which are Google's without any."""
    for both in made.values():
        vocab = both.google.vocab
        tokens = tokenize(text, vocab, cased=both.cased, known=EVERYTHING, changed=CHANGES)
        published = both.auto(text, add_special_tokens=False)["input_ids"]
        assert published == [vocab[token] for token in tokens]


# The tables ----------------------------------------------------------------------------------------------------------


def test_tables_of_this_python_are_known() -> None:
    """unicode.json has an entry for the running Python, and every entry reads back as it was written."""
    known = reference.read_changes()
    assert unicodedata.unidata_version in known
    data = json.loads(unicode_tables.PATH.read_text("utf-8"))["versions"]
    assert list(data) == list(known)
    for version, entry in data.items():
        kinds = known[version].kinds
        assert set(kinds.values()) <= set(get_args(reference.Kind))
        for kind, ranges in entry["kinds"].items():
            assert unicode_tables.ranges(ord(char) for char, found in kinds.items() if found == kind) == ranges
        assert not kinds.keys() & known[version].lower.keys()


@pytest.mark.parametrize(
    ("version", "nearest"),
    [("13.0.0", "14.0.0"), ("14.0.0", "14.0.0"), ("15.0.9", "15.0.0"), ("15.1.0", "15.1.0"), ("100.0.0", "17.0.0")],
)
def test_version_without_an_entry_uses_the_nearest_lower_one(version: str, nearest: str) -> None:
    """One that is lower than all known ones has the lowest, one that is higher the highest."""
    assert reference.changes(version) is reference.read_changes()[nearest]


@pytest.mark.parametrize(("version", "nearest"), [("8.0.0", "9.0.0"), ("13.0.0", "9.0.0"), ("101.0.0", "100.1.0")])
def test_versions_are_compared_as_numbers(version: str, nearest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """9 is lower than 14, and 14 lower than 100."""
    entries = {found: Changes({}, {"A": found}) for found in ("100.1.0", "14.0.0", "9.0.0")}
    monkeypatch.setattr(reference, "read_changes", lambda: entries)
    assert reference.changes(version) is entries[nearest]


# The texts -----------------------------------------------------------------------------------------------------------


def test_texts_are_many_and_hold_every_category() -> None:
    """There are over 2,000 texts, none twice, with all general categories but surrogates, and they never change."""
    texts = probes.awkward()
    assert len(set(texts)) == len(texts) > 2_000
    assert {*probes.AWKWARD, "", " "} <= {*texts}
    found = {unicodedata.category(char) for text in texts for char in text}
    every = {unicodedata.category(chr(code)) for code in range(sys.maxunicode + 1)}
    assert found == every - {"Cs"}
    digest = hashlib.sha256("\0".join(map(repr, texts)).encode()).hexdigest()
    assert digest[:16] == "f058a7662e3ce093"


# Right folders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_right_folder_passes_with_its_known_differences(name: str, made: dict[str, Made]) -> None:
    """Every text is identical or known to differ, each kind of difference is met, and nothing else is said."""
    found = made[name].compare()
    assert (found.first_difference, found.shifted, found.settings) == (None, None, ())
    assert found.identical + sum(found.known.values()) == found.probes > 2_000
    assert found.identical > 0.9 * found.probes
    kinds = {kind for names in found.known for kind in names.split(" and ")}
    expected = set(get_args(Known)) - ({"final sigma"} if made[name].cased else set())
    assert expected - {"Unicode tables"} <= kinds <= expected
    assert "Unicode tables" in kinds or name.startswith("plain")
    assert found.unidata_version == unicodedata.unidata_version


def test_probes_without_known_differences_are_identical(made: dict[str, Made]) -> None:
    """AWKWARD holds no known difference in any vocabulary."""
    for both in made.values():
        vocab = both.google.vocab
        for text in probes.AWKWARD:
            plain, amended = (
                tokenize(text, vocab, cased=both.cased, known=known, changed=CHANGES) for known in (NOTHING, EVERYTHING)
            )
            assert plain == amended, text


# Wrong folders -------------------------------------------------------------------------------------------------------

Mutation = Callable[[Path], None]


def _json(file: str, change: Callable[[dict[str, Any]], Any]) -> Mutation:
    def mutate(folder: Path) -> None:
        data = json.loads((folder / file).read_text("utf-8"))
        change(data)
        (folder / file).write_text(json.dumps(data), "utf-8")

    return mutate


def _set(key: str, value: Any) -> Mutation:
    return _json("tokenizer_config.json", lambda data: data.__setitem__(key, value))


def _in_file(part: str, **values: Any) -> Mutation:
    return _json("tokenizer.json", lambda data: data[part].update(values))


def _swap(data: dict[str, Any], one: str, other: str) -> None:
    ids = data["model"]["vocab"]
    ids[one], ids[other] = ids[other], ids[one]


def _swap_lines(folder: Path) -> None:
    lines = (folder / "vocab.txt").read_text("utf-8").split("\n")
    lines[-2], lines[-3] = lines[-3], lines[-2]
    (folder / "vocab.txt").write_text("\n".join(lines), "utf-8", newline="\n")


def _add(content: str, number: int) -> Mutation:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return _json(
        "tokenizer.json", lambda data: data["added_tokens"].append({"id": number, "content": content, **flags})
    )


def _word_level(model: dict[str, Any]) -> dict[str, Any]:
    return {"type": "WordLevel", "vocab": model["vocab"], "unk_token": "[UNK]"}


PADDING = {
    "strategy": {"Fixed": 32},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "[PAD]",
}
TRUNCATION = {"direction": "Right", "max_length": 128, "strategy": "LongestFirst", "stride": 0}
PLAIN = vocab_lines(3000, False)
THE, OF = PLAIN.index("the"), PLAIN.index("of")
FEW = (*probes.AWKWARD, *probes.awkward()[-1500::100], "a" * 100, "a" * 201)
PARIS = "Paris is the [MASK] of France."

# What is changed in the published folder, the text that differs first if any, and what else is said.
WRONG: dict[str, tuple[Mutation, str | None, tuple[str | None, ...]]] = {
    "two words swapped": (
        _json("tokenizer.json", lambda data: _swap(data, "the", "of")),
        PARIS,
        (f"AutoTokenizer, from line {min(THE, OF) + 1} on",),
    ),
    "two lines swapped in vocab.txt": (_swap_lines, None, (f"vocab.txt, from line {len(PLAIN) - 1} on",)),
    "a line more in vocab.txt": (
        lambda folder: (folder / "vocab.txt").write_text("\n".join([*PLAIN, "the"]), "utf-8"),
        None,
        (f"vocab.txt, from line {THE + 1} on",),
    ),
    "casing of tokenizer_config.json": (_set("do_lower_case", False), PARIS, (None,)),
    "casing of tokenizer.json": (_in_file("normalizer", lowercase=False), PARIS, (None,)),
    "accents kept in tokenizer_config.json": (_set("strip_accents", False), probes.SHORT[3][0], (None,)),
    "accents kept in tokenizer.json": (_in_file("normalizer", strip_accents=False), probes.SHORT[3][0], (None,)),
    "Chinese characters not isolated": (_in_file("normalizer", handle_chinese_chars=False), "東京は", (None,)),
    "control characters kept": (_in_file("normalizer", clean_text=False), "tab\tnew", (None,)),
    "split at white space alone": (
        _json("tokenizer.json", lambda data: data.__setitem__("pre_tokenizer", {"type": "WhitespaceSplit"})),
        PARIS,
        (None,),
    ),
    "one segment for both texts": (
        _json(
            "tokenizer.json",
            lambda data: [next(iter(p.values())).update(type_id=0) for p in data["post_processor"]["pair"]],
        ),
        "The river froze over night. ⏎ In",
        (None,),
    ),
    "no segments": (_set("model_input_names", ["input_ids", "attention_mask"]), PARIS, (None,)),
    "no attention mask": (_set("model_input_names", ["input_ids", "token_type_ids"]), PARIS, (None,)),
    "no [SEP] at the end": (
        _json("tokenizer.json", lambda data: data["post_processor"]["single"].pop()),
        PARIS,
        (None,),
    ),
    "another mask token": (_set("mask_token", "[UNK]"), None, (None, "mask_token is '[UNK]' instead of '[MASK]'")),
    "no limit of length": (
        _set("model_max_length", 10**30),
        None,
        (None, f"model_max_length is {10**30} instead of {LENGTH}"),
    ),
    "padding on the left": (_set("padding_side", "left"), None, (None, "padding_side is 'left' instead of 'right'")),
    "truncation on the left": (
        _set("truncation_side", "left"),
        None,
        (None, "truncation_side is 'left' instead of 'right'"),
    ),
    "no decoder": (
        _json("tokenizer.json", lambda data: data.__setitem__("decoder", None)),
        None,
        (None, "the decoder of tokenizer.json is none instead of WordPiece with '##'"),
    ),
    "decoder of another prefix": (
        _in_file("decoder", prefix="@@"),
        None,
        (None, "the decoder of tokenizer.json is WordPiece with '@@' instead of WordPiece with '##'"),
    ),
    "short words alone": (
        _in_file("model", max_input_chars_per_word=99),
        "",
        (None, "tokenizer.json takes words of up to 99 characters instead of 100 to 200"),
    ),
    "words of any length": (
        _in_file("model", max_input_chars_per_word=201),
        "",
        (None, "tokenizer.json takes words of up to 201 characters instead of 100 to 200"),
    ),
    "a token more": (
        _add("riv", len(PLAIN)),
        "The river froze over night. ⏎ In",
        (
            f"AutoTokenizer, from line {len(PLAIN) + 1} on",
            *(f"{name} adds tokens: riv" for name in ("AutoTokenizer", "tokenizer.json")),
        ),
    ),
    "a word as a token": (
        _add("the", THE),
        "A probe that reaches",
        (None, *(f"{name} adds tokens: the" for name in ("AutoTokenizer", "tokenizer.json"))),
    ),
    "padding in tokenizer.json": (
        _json("tokenizer.json", lambda data: data.update(padding=PADDING)),
        PARIS,
        (None, "tokenizer.json pads what it encodes"),
    ),
    "truncation in tokenizer.json": (
        _json("tokenizer.json", lambda data: data.update(truncation=TRUNCATION)),
        "A probe that reaches",
        (None, "tokenizer.json truncates what it encodes"),
    ),
    "another algorithm": (
        _json("tokenizer.json", lambda data: data.update(model=_word_level(data["model"]))),
        PARIS,
        (None, "the model of tokenizer.json is WordLevel instead of WordPiece"),
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_mistake_in_the_published_tokenizer_is_named(
    mistake: str, made: dict[str, Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mistake alone is found and named, and nothing is said of what it does not touch."""
    monkeypatch.setattr(probes, "awkward", lambda: FEW)
    mutate, text, (shifted, *said) = WRONG[mistake]
    right = made["plain, uncased"]
    shutil.copytree(right.folder, tmp_path / "wrong")
    mutate(tmp_path / "wrong")
    found = right.compare(tmp_path / "wrong")
    assert found.shifted == shifted
    assert len(found.settings) == len(said), found.settings
    assert all(setting.startswith(words) for setting, words in zip(found.settings, said, strict=True)), found.settings
    first = found.first_difference
    assert (first is None) is (text is None), first
    if first is not None and text is not None:
        assert first["text"].startswith(text)
        assert first["original"] != first["published"]
        assert found.identical + sum(found.known.values()) < found.probes
    else:
        assert found.identical + sum(found.known.values()) == found.probes


def test_padding_id_of_the_config_is_compared(made: dict[str, Made], monkeypatch: pytest.MonkeyPatch) -> None:
    """A config.json that pads with another id than [PAD]'s is named."""
    monkeypatch.setattr(probes, "awkward", lambda: FEW)
    assert made["plain, cased"].compare(pad_token_id=5).settings == ("config.json pads with 5 instead of 0",)


def test_first_difference_is_shown_from_where_it_begins(made: dict[str, Made], tmp_path: Path) -> None:
    """Both sides are named by the original's tokens, up to six of them, from the first that differs."""
    right = made["plain, uncased"]
    shutil.copytree(right.folder, tmp_path / "wrong")
    WRONG["two words swapped"][0](tmp_path / "wrong")
    assert right.compare(tmp_path / "wrong").first_difference == {
        "text": PARIS,
        "original": ["the", "[MASK]", "of", *right.google.tokenize("France")][:6],
        "published": ["of", "[MASK]", "the", *right.google.tokenize("France")][:6],
    }


# What counts as known ------------------------------------------------------------------------------------------------

# A text for each known difference, with an uncased vocabulary of characters.
KNOWN: dict[Known, str] = {
    "special token in text": "a [MASK] b",
    "word over 100 characters": "a" * 101,
    "private use": "a\ue000b",
    "final sigma": "ΟΔΟΣ",
    "Unicode tables": "a\u0898\U0002b820b",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An uncased vocabulary of the characters of these texts, published."""
    characters = sorted({c for text in KNOWN.values() for c in text.lower()} - {" "} | set("σςb\u0301"))
    lines = (*SPECIAL_TOKENS, *characters, *(f"##{c}" for c in characters), "the")
    return Made(tmp_path_factory.mktemp("small") / "published", lines, cased=False)


def _judged(made: Made, patch: pytest.MonkeyPatch, text: str, tokens: list[str]) -> str | None:
    """How a text counts whose published tokens are the given ones: "identical", the known difference, None if wrong."""
    ids = reference.load_vocab(made.vocab)
    row = [(ids[token], 0, 1) for token in ("[CLS]", *tokens, "[SEP]")]
    patch.setattr(probes, "awkward", lambda: (text,))
    for name in ("_by_auto", "_by_file"):
        given = getattr(reference, name)
        patch.setattr(
            reference,
            name,
            lambda side, texts, given=given: [
                row if texts[n] == (text, None) else found for n, found in enumerate(given(side, texts))
            ],
        )
    after = made.compare()
    patch.undo()
    if after.first_difference is not None:
        assert after.first_difference["text"] == text
        return None
    known = Counter(after.known) - Counter({"special token in text": 2})  # two of SHORT
    return next(iter(known), "identical")


def _tokens(made: Made, text: str, *known: Known) -> list[str]:
    return tokenize(text, made.google.vocab, cased=made.cased, known=frozenset(known), changed=CHANGES)


@pytest.mark.parametrize("kind", KNOWN)
def test_difference_is_known_only_if_it_is_exactly_the_predicted_one(
    kind: Known, small: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Google's ids are identical and the amended ones known; one id more, less or other is a failure."""
    text = KNOWN[kind]
    google, amended = _tokens(small, text), _tokens(small, text, kind)
    assert google == small.google.tokenize(text) != amended
    assert _judged(small, monkeypatch, text, google) == "identical"
    assert _judged(small, monkeypatch, text, amended) == kind
    for wrong in ([*amended, "a"], amended[:-1], [*amended[:-1], "the"], ["the", *amended[1:]], ["[UNK]", "[UNK]"]):
        assert _judged(small, monkeypatch, text, wrong) is None


def test_known_differences_do_not_excuse_each_other(small: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a difference does elsewhere is no excuse in a text that does not have its cause."""
    assert _judged(small, monkeypatch, "a" * 100, ["[UNK]"]) is None
    assert _judged(small, monkeypatch, "a b", ["a", "[MASK]", "b"]) is None
    assert _judged(small, monkeypatch, "ab\u0301", ["a", "##b", "##\u0301"]) is None


def test_differences_are_named_by_the_fewest_that_explain(small: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text with two causes has both names if both took effect, and one if one did."""
    text = "a[MASK]\ue000Σ ΟΔΟΣ"
    for known in (("private use",), ("final sigma", "special token in text")):
        assert _judged(small, monkeypatch, text, _tokens(small, text, *known)) == " and ".join(known)


def test_one_side_alone_is_enough_to_fail(made: dict[str, Made], monkeypatch: pytest.MonkeyPatch) -> None:
    """AutoTokenizer and tokenizer.json are compared each: one that is wrong fails whatever the other gives."""
    monkeypatch.setattr(probes, "awkward", lambda: FEW)
    for name in ("_by_auto", "_by_file"):
        given = getattr(reference, name)
        with monkeypatch.context() as patch:
            patch.setattr(reference, name, lambda side, texts, given=given: [row[::-1] for row in given(side, texts)])
            found = made["plain, cased"].compare()
        assert found.first_difference is not None, name
        assert found.identical == 0
