"""vocab.txt to a fast tokenizer: tokenizer.json, tokenizer_config.json and the vocabulary itself.

Line n of the vocabulary is id n (counted from 0), as google-research/bert's `tokenization.load_vocab` has it; every
line is checked against the built tokenizer. The files equal those that transformers' `BertTokenizer.save_pretrained`
writes.
"""

from __future__ import annotations

import functools
import json
import operator
import re
from dataclasses import dataclass
from pathlib import Path

from hubpush.errors import TokenizerError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_OWN = "use the vocab.txt that was published with the checkpoint"
_MAX_VOCAB = 16 << 20  # LaBSE's half a million lines are 5 MB


@dataclass(frozen=True)
class Vocabulary:
    """The lines of a vocabulary.

    Attributes:
        tokens: Tokens by id.
        raw: The bytes of the file, which are published as they are.
    """

    tokens: tuple[str, ...]
    raw: bytes


def read_vocab(path: Path, vocab_size: int, lines_expected: int | None = None) -> Vocabulary:
    """Read vocab.txt and refuse what would shift an id.

    Args:
        path: The vocabulary.
        vocab_size: Rows of the embedding table; the vocabulary must have as many lines.
        lines_expected: Number of lines, where somebody says that the table has more rows than that.

    Raises:
        TokenizerError: Byte order mark, carriage returns, empty or repeated lines, a missing special token, bytes that
            are not UTF-8, or another number of lines; with the line number where there is one.
    """

    def broken(why: str, hint: str = _OWN) -> TokenizerError:
        return TokenizerError(f"{path.name} {why}", hint=hint)

    try:
        if path.stat().st_size > _MAX_VOCAB:
            raise broken(f"is larger than {_MAX_VOCAB >> 20} MiB")
        raw = path.read_bytes()
    except OSError as error:
        raise broken(f"cannot be read: {error.strerror}") from None
    lines = _lines(raw, path.name)
    if lines_expected is not None and (len(lines) != lines_expected or lines_expected > vocab_size):
        raise broken(f"has {len(lines):,} lines of {lines_expected:,} promised, for {vocab_size:,} word embeddings")
    if lines_expected is None and len(lines) != vocab_size:
        padded = (
            f"if the embedding table was padded on purpose, a family file can say so: vocab_lines = {len(lines)}"
            if len(lines) < vocab_size
            else _OWN
        )
        raise broken(
            f"has {len(lines):,} lines, but the model has {vocab_size:,} word embeddings: ids would be shifted or lost",
            padded,
        )
    return Vocabulary(lines, raw)


@functools.lru_cache(maxsize=2)
def _lines(raw: bytes, name: str) -> tuple[str, ...]:
    """The lines of a vocabulary, if they are sound; kept for the next release with the same one."""

    def broken(why: str, hint: str = _OWN) -> TokenizerError:
        return TokenizerError(f"{name} {why}", hint=hint)

    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise broken(f"line {raw.count(10, 0, error.start) + 1} is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise broken(
            "begins with a byte order mark, which would become part of the first token", "save it without a BOM"
        )
    # Only "\n" ends a line: vocabularies hold U+2028 and other characters at which str.splitlines would split.
    lines = text.removesuffix("\n").split("\n")
    if "\r" in text:
        # Inside a line too: whoever opens vocab.txt as text, as transformers does, gets two lines there.
        number = text.count("\n", 0, text.index("\r")) + 1
        raise broken(f"line {number} holds a carriage return", "convert it to plain newlines (dos2unix)")
    seen = dict(zip(lines, range(1, len(lines) + 1), strict=True))
    is_odd = len(seen) < len(lines) or re.search(r"(?m)^[ \t\v\f]|[ \t\v\f]$|^$", "\n".join(lines))
    before: dict[str, int] = {}
    for number, line in enumerate(lines if is_odd else (), 1):
        # U+2028, U+00A0 and their like are tokens of some multilingual vocabularies: only ASCII white space is refused.
        bare = line.strip(" \t\v\f")
        if not bare:
            raise broken(f"line {number} is empty")
        if line != bare:
            # load_vocab strips every line; a token with white space around it would have another name there.
            raise broken(f"line {number} has white space around its token")
        if line in before:
            raise broken(f"line {number} repeats {line!r} of line {before[line]}")
        before[line] = number
    missing = [token for token in SPECIAL_TOKENS if token not in seen]
    if missing:
        raise broken(f"lacks the special token(s) {', '.join(missing)}")
    if seen["[PAD]"] != 1:
        raise broken(f"has [PAD] on line {seen['[PAD]']}; the original code pads with id 0, the first line")
    return tuple(lines)


def casing(vocabulary: Vocabulary, cased: bool | None) -> bool:
    """Whether the vocabulary keeps case, by what is asked for and what the vocabulary plainly says.

    A vocabulary with many words in capitals was made from cased text, since lower-cased text can never give them; one
    with none was made from lower-cased text. In between nothing is plain.

    Args:
        vocabulary: The vocabulary.
        cased: What the family file or the person says; None to infer it.

    Returns:
        True for cased.

    Raises:
        TokenizerError: The two contradict each other, or nothing is said and nothing is plain.
    """
    capitals, letters, word = _capitals(vocabulary.tokens)
    plain: bool | None = None
    if letters:
        plain = True if capitals > 0.02 * letters else False if capitals == 0 else None
    if cased is None:
        if plain is None:
            raise TokenizerError(
                f"the vocabulary does not say whether it is cased: {capitals:,} of {letters:,} words have capitals",
                hint="say it: --cased or --uncased, or `cased = true|false` in the family file",
            )
        return plain
    if plain is not None and plain != cased:
        seen = f"{capitals:,} of {letters:,} words have capitals" + (f", for example {word!r}" if word else "")
        raise TokenizerError(
            f"the release is declared {'cased' if cased else 'uncased'}, but its vocabulary is plainly"
            f" {'cased' if plain else 'uncased'}: {seen}",
            hint="correct `cased` in the family file, or the --cased/--uncased option; is this the right vocab.txt?",
        )
    return cased


@functools.lru_cache(maxsize=2)
def _capitals(tokens: tuple[str, ...]) -> tuple[int, int, str]:
    """How many words of a vocabulary have capitals and how many have letters, and the first with a capital."""
    words = [token for token in tokens if not (token.startswith("[") and token.endswith("]"))]
    # All lines at once are much less work than each by itself.
    text = "\n".join(words)
    lower, upper = ((changed.split("\n") if words else []) for changed in (text.lower(), text.upper()))
    capitals = sum(map(operator.ne, words, lower))
    letters = sum(map(operator.ne, lower, upper))
    return capitals, letters, next((one for one, low in zip(words, lower, strict=True) if one != low), "")


def write(vocabulary: Vocabulary, folder: Path, *, cased: bool, model_max_length: int) -> None:
    """Write tokenizer.json, tokenizer_config.json and vocab.txt, and check every line against its id.

    Args:
        vocabulary: The vocabulary.
        folder: Existing directory to write to.
        cased: False lower-cases and strips accents, as google-research/bert's `BasicTokenizer` does.
        model_max_length: Longest input in tokens: the number of position embeddings.

    Raises:
        TokenizerError: The built tokenizer has another id for a line.
    """
    (folder / "tokenizer.json").write_text(_serialized(vocabulary.tokens, cased), encoding="utf-8", newline="\n")
    settings = {
        "backend": "tokenizers",
        "cls_token": "[CLS]",
        "do_lower_case": not cased,
        "mask_token": "[MASK]",
        "model_max_length": model_max_length,
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
        "unk_token": "[UNK]",
    }
    text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8", newline="\n")
    (folder / "vocab.txt").write_bytes(vocabulary.raw)


@functools.lru_cache(maxsize=2)
def _serialized(tokens: tuple[str, ...], cased: bool) -> str:
    """tokenizer.json, kept for the next release with the same vocabulary: families share theirs."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    ids = {token: n for n, token in enumerate(tokens)}
    wordpiece = models.WordPiece(
        ids,
        unk_token="[UNK]",  # noqa: S106
        continuing_subword_prefix="##",
        max_input_chars_per_word=100,
    )
    tokenizer = Tokenizer(wordpiece)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=not cased
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    built = tokenizer.get_vocab(with_added_tokens=True)
    hint = "this is a fault of hubpush or of the tokenizers library; please report it with the vocabulary"
    for n, token in enumerate(tokens):
        if built.get(token) != n or tokenizer.id_to_token(n) != token:
            raise TokenizerError(
                f"line {n + 1} of the vocabulary, {token!r}, got id {built.get(token)} instead of {n}", hint=hint
            )
    if len(built) != len(tokens):
        raise TokenizerError(f"the tokenizer has {len(built):,} tokens for {len(tokens):,} lines", hint=hint)
    return tokenizer.to_str(pretty=True)
