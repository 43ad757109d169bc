"""TF1 BERT releases for tests: lively variables, checkpoints by TensorFlow's own Saver, vocabularies, archives.

Everything is made from seeds, so the same arguments give the same values on every machine. TensorFlow is imported
by the functions that need it.
"""

import itertools
import json
import os
import string
import sys
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

# The smallest model with everything in it. Its vocabulary size is a prime: whatever is padded or cut short shows.
TINY: dict[str, Any] = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "type_vocab_size": 2,
    "vocab_size": 1237,
}

HEADS = ("pooler", "mlm", "nsp")


def tensorflow() -> ModuleType:
    """Imports TensorFlow without its start-up messages and deprecation notices."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # TensorFlow 2.21 writes some of its start-up messages before it reads that variable.
        sys.stderr.flush()
        stderr = os.dup(2)
        try:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
                import tensorflow as tf
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        tf.get_logger().setLevel("ERROR")
    return sys.modules["tensorflow"]


# Variables -----------------------------------------------------------------------------------------------------------


def bert_variables(
    config: Mapping[str, Any], heads: Collection[str] = HEADS, seed: int = 0
) -> dict[str, np.ndarray[Any, Any]]:
    """Random float32 variables of a BERT checkpoint, lively enough that a mistake in the mapping shows in the outputs.

    Kernels scale with the fan-in, so that every layer adds about as much as it receives and attention prefers some
    positions without settling on one. Each variable's values depend on the seed and its name alone: leaving a head
    out changes nothing else.

    Args:
        config: A bert_config.json as a dict.
        heads: Those of "pooler", "mlm" and "nsp" that the checkpoint has.
        seed: Another seed, other values.
    """
    check_heads(heads)
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    variables: dict[str, np.ndarray[Any, Any]] = {}

    def normal(name: str, *shape: int, std: float, mean: float = 0.0) -> None:
        values = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape, dtype=np.float32)
        variables[name] = np.float32(mean) + np.float32(std) * values

    def table(name: str, rows: int, gain: float) -> None:
        normal(name, rows, hidden, std=gain / hidden**0.5)

    def dense(scope: str, fan_in: int, fan_out: int, gain: float) -> None:
        normal(f"{scope}/kernel", fan_in, fan_out, std=gain / fan_in**0.5)
        normal(f"{scope}/bias", fan_out, std=0.1)

    def layer_norm(scope: str) -> None:
        normal(f"{scope}/LayerNorm/gamma", hidden, std=0.2, mean=1.0)
        normal(f"{scope}/LayerNorm/beta", hidden, std=0.1)

    table("bert/embeddings/word_embeddings", config["vocab_size"], gain=1.7)
    table("bert/embeddings/token_type_embeddings", config["type_vocab_size"], gain=1.7)
    table("bert/embeddings/position_embeddings", config["max_position_embeddings"], gain=1.7)
    layer_norm("bert/embeddings")
    for n in range(config["num_hidden_layers"]):
        layer = f"bert/encoder/layer_{n}"
        dense(f"{layer}/attention/self/query", hidden, hidden, gain=1.2)
        dense(f"{layer}/attention/self/key", hidden, hidden, gain=1.2)
        dense(f"{layer}/attention/self/value", hidden, hidden, gain=1.5)
        dense(f"{layer}/attention/output/dense", hidden, hidden, gain=1.5)
        layer_norm(f"{layer}/attention/output")
        dense(f"{layer}/intermediate/dense", hidden, intermediate, gain=1.5)
        dense(f"{layer}/output/dense", intermediate, hidden, gain=2.0)
        layer_norm(f"{layer}/output")
    if "pooler" in heads:
        dense("bert/pooler/dense", hidden, hidden, gain=1.1)
    if "mlm" in heads:
        dense("cls/predictions/transform/dense", hidden, hidden, gain=1.5)
        layer_norm("cls/predictions/transform")
        normal("cls/predictions/output_bias", config["vocab_size"], std=0.1)
    if "nsp" in heads:
        table("cls/seq_relationship/output_weights", 2, gain=1.7)
        normal("cls/seq_relationship/output_bias", 2, std=0.1)
    return variables


def check_heads(heads: Collection[str]) -> None:
    """Raises ValueError if `heads` names anything but "pooler", "mlm" and "nsp"."""
    if isinstance(heads, str) or not set(heads) <= set(HEADS):
        raise ValueError(f"heads must be a collection of {HEADS}, not {heads!r}")


# Checkpoint files ----------------------------------------------------------------------------------------------------


def write_checkpoint(prefix: str | Path, variables: Mapping[str, np.ndarray[Any, Any]], *, shards: int = 1) -> Path:
    """Writes the variables with TensorFlow's own TF1 Saver (V2 format) as `<prefix>.index` and `<prefix>.data-*`.

    Args:
        prefix: Path of the checkpoint without `.index`; its folder is created.
        variables: Arrays by variable name. Each keeps its dtype: any that TensorFlow knows, also `ml_dtypes.bfloat16`
            and, as `object` or `bytes_` arrays, strings.
        shards: Number of data files. The variables, sorted by name, are dealt to them in turn.

    Returns:
        The prefix.
    """
    if not 1 <= shards <= len(variables):
        raise ValueError(f"{len(variables)} variables cannot fill {shards} data files")
    tf = tensorflow()
    v1 = tf.compat.v1
    prefix = Path(prefix)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    session_config = v1.ConfigProto(device_count={"CPU": shards})  # a sharded Saver writes one data file per device
    with tf.Graph().as_default(), v1.Session(config=session_config) as session:
        saved, values = {}, {}
        for n, name in enumerate(sorted(variables)):
            value = np.asarray(variables[name])
            with tf.device(f"/device:CPU:{n % shards}"):
                fed = v1.placeholder(tf.as_dtype(value.dtype), value.shape)
                saved[name] = v1.Variable(fed, name=f"variable_{n}", use_resource=True)
            values[fed] = value
        session.run([variable.initializer for variable in saved.values()], values)
        saver = v1.train.Saver(saved, sharded=shards > 1)
        saver.save(session, str(prefix), write_meta_graph=False, write_state=False)
    return prefix


# Vocabularies --------------------------------------------------------------------------------------------------------

_WORDS = """
    the of and in to was he is as for on with that it his by at from her she you had an were but be this are not my they
    one which or have him me first all also their has up who out been when after there into new two its time would no
    what about said we over then other so more can if like back them only some could where just during before do made
    school through than now years most world may between down well three year while will later city under around did
    such being used state people part know against your many second university both national these don know off way
    until re how even get head any one own man hand much eyes house river water small family children day night car
    want play run walk happy help care break think believe model language train paper king queen london paris germany
    """

_PIECES = "s ed ing er est ly un aff able ness ment tion al ity ful less re in age ism ist ize ous"

# What an uncased vocabulary has beyond ASCII: letters that do not decompose, jamo instead of Hangul syllables, CJK.
_UNCASED_LETTERS = "ßæøłðþđıħŋœαβγδεηικλνοπρςστυωабвгдежзиклмнопрстухцчшыьэюяאבגדהלםמרابتدرسلمنيᄀᄂ다ᅥᆨᆫ"
# What a cased one has: composed letters of both cases.
_CASED_LETTERS = "àáâäåãçèéêëíîïñóôöõøúûüýßæœłšžčğışαβγδειλνοπρςσάέήίόÀÁÄÅÇÉÈÍÑÓÖØÚÜÆŁŠŽİΑΒΓΔΣабвгдеийёжАБВГДЙ"
_CJK = (
    "。、一三上下世中事二人京今作入八公十口名国大女子学家小山島川市年心日月本東木水火生田石空語車金"
    "あいうえおかのはをんアイウエオカノハン"
)


def vocab_lines(size: int, cased: bool = False) -> tuple[str, ...]:
    """A WordPiece vocabulary of exactly `size` different lines, the same every time.

    The special tokens have the numbers of Google's English vocabularies: [PAD] 0, [UNK] 100, [CLS] 101, [SEP] 102,
    [MASK] 103. Then come every printable ASCII character, other letters, CJK and kana, common words, the `##` form of
    every character, word pieces ("un", "##aff", "##able"), and made-up syllables up to the size.

    Args:
        size: Number of lines; a ValueError says so if it is too small for all but the syllables.
        cased: With capital and accented letters and capitalised words. An uncased vocabulary has none: Google's
            tokenizer lowercases the text and strips the accents.
    """
    ascii_characters = [c for c in string.printable if c.isprintable() and c != " " and (cased or not c.isupper())]
    characters = [*ascii_characters, *(_CASED_LETTERS if cased else _UNCASED_LETTERS), *_CJK]
    words, pieces = _WORDS.split(), _PIECES.split()
    lines = dict.fromkeys(
        [
            "[PAD]",
            *(f"[unused{n}]" for n in range(99)),
            *("[UNK]", "[CLS]", "[SEP]", "[MASK]"),
            *characters,
            *words,
            *(word.capitalize() for word in words if cased),
            *pieces,
            *(f"##{piece}" for piece in [*pieces, *characters]),
        ]
    )
    if size < len(lines):
        raise ValueError(f"a vocabulary of {size} lines is too small for the {len(lines)} that it always has")
    for syllable in _syllables():
        if len(lines) >= size:
            break
        lines.update(dict.fromkeys([syllable, f"##{syllable}"][: size - len(lines)]))
    return tuple(lines)


def _syllables() -> Iterator[str]:
    """Makes up "ba", "be", ... "bab", ... "baba", ...: 212,100 in all."""
    consonants, vowels = "bcdfghjklmnprstvwxyz", "aeiou"
    for pattern in ("cv", "cvc", "cvcv", "cvcvc"):
        yield from map("".join, itertools.product(*(consonants if kind == "c" else vowels for kind in pattern)))


VOCAB = vocab_lines(TINY["vocab_size"])


# Releases ------------------------------------------------------------------------------------------------------------


def write_release(
    directory: str | Path,
    *,
    config: Mapping[str, Any] = TINY,
    heads: Collection[str] = HEADS,
    cased: bool = False,
    name: str = "bert_model.ckpt",
    extra_variables: Mapping[str, np.ndarray[Any, Any]] | None = None,
    shards: int = 1,
    seed: int = 0,
) -> Path:
    """Writes what Google's archives hold: bert_config.json, vocab.txt and the checkpoint without its `.meta`.

    Args:
        directory: Where to; created if need be.
        config: The configuration; its `vocab_size` is the number of lines of vocab.txt.
        heads: Those of "pooler", "mlm" and "nsp" that the checkpoint has.
        cased: Whether vocab.txt is a cased one.
        name: File name of the checkpoint's prefix.
        extra_variables: Variables to add to the model's, or to replace those of the same name.
        shards: Number of data files.
        seed: See `bert_variables`.

    Returns:
        The checkpoint's prefix, `directory / name`.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    lines = {
        "bert_config.json": json.dumps(dict(config), indent=2),
        "vocab.txt": "\n".join(vocab_lines(config["vocab_size"], cased)),
    }
    for file, text in lines.items():
        (directory / file).write_text(text + "\n", encoding="utf-8", newline="\n")
    variables = bert_variables(config, heads, seed) | dict(extra_variables or {})
    return write_checkpoint(directory / name, variables, shards=shards)


def zip_release(directory: str | Path, out_zip: str | Path, top_folder: str | None = None) -> Path:
    """Packs the files of a directory, sorted by path, with fixed times and modes: equal files make an equal archive.

    Args:
        directory: A release as `write_release` leaves it.
        out_zip: The archive to write.
        top_folder: Folder inside the archive to put the files in; without it they stand at the root.

    Returns:
        `out_zip` as a path.
    """
    directory, out_zip = Path(directory), Path(out_zip)
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path != out_zip)
    with zipfile.ZipFile(out_zip, "w") as archive:
        for path in files:
            inside = path.relative_to(directory).as_posix()
            member = zipfile.ZipInfo(f"{top_folder}/{inside}" if top_folder else inside, (2020, 3, 11, 0, 0, 0))
            member.create_system = 3  # Unix, on every platform
            member.external_attr = 0o100644 << 16
            archive.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=6)
    return out_zip
