"""TF1 BERT releases for tests: lively variables, checkpoints by TensorFlow's own writer, vocabularies, archives.

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
from typing import Any, Literal

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
TASK_HEADS = ("classifier", "squad")

# An ELECTRA whose embeddings are narrower than its layers, as the small ones' are.
TINY_ELECTRA: dict[str, Any] = {**TINY, "embedding_size": 16}
# Its generator: as deep, and narrower.
TINY_GENERATOR: dict[str, Any] = {**TINY_ELECTRA, "hidden_size": 24, "intermediate_size": 48, "num_attention_heads": 2}


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
    config: Mapping[str, Any], heads: Collection[str] = HEADS, seed: int = 0, labels: int = 3
) -> dict[str, np.ndarray[Any, Any]]:
    """Random float32 variables of a BERT checkpoint, lively enough that a mistake in the mapping shows in the outputs.

    Kernels scale with the fan-in, so that every layer adds about as much as it receives and attention prefers some
    positions without settling on one. Each variable's values depend on the seed and its name alone: leaving a head
    out changes nothing else.

    Args:
        config: A bert_config.json as a dict.
        heads: Those of "pooler", "mlm", "nsp", "classifier" and "squad" that the checkpoint has.
        seed: Another seed, other values.
        labels: Number of the classifier's scores.
    """
    check_heads(heads)
    hidden = config["hidden_size"]
    made = _Variables(seed)
    made.embeddings("bert/embeddings", config, hidden)
    made.layers("bert/encoder", config)
    if "pooler" in heads:
        made.dense("bert/pooler/dense", hidden, hidden, gain=1.1)
    if "mlm" in heads:
        made.dense("cls/predictions/transform/dense", hidden, hidden, gain=1.5)
        made.layer_norm("cls/predictions/transform", hidden)
        made.normal("cls/predictions/output_bias", config["vocab_size"], std=0.1)
    for head, scope, rows in (
        ("nsp", "cls/seq_relationship/", 2),
        ("classifier", "", labels),
        ("squad", "cls/squad/", 2),
    ):
        if head in heads:
            made.table(f"{scope}output_weights", rows, hidden, gain=1.7)
            made.normal(f"{scope}output_bias", rows, std=0.1)
    return made.values


def electra_variables(
    config: Mapping[str, Any] = TINY_ELECTRA, generator: Mapping[str, Any] | None = TINY_GENERATOR, seed: int = 0
) -> dict[str, np.ndarray[Any, Any]]:
    """Random float32 variables of an ELECTRA checkpoint; see `bert_variables`.

    Args:
        config: The discriminator's configuration.
        generator: The generator's, which reads the same embeddings; None for a checkpoint without it.
        seed: Another seed, other values.
    """
    made, width = _Variables(seed), config["embedding_size"]
    made.embeddings("electra/embeddings", config, width)
    for scope, part in (("electra", config), ("generator", generator)):
        if part is not None:
            if width != part["hidden_size"]:
                made.dense(f"{scope}/embeddings_project", width, part["hidden_size"], gain=1.2)
            made.layers(f"{scope}/encoder", part)
    made.dense("discriminator_predictions/dense", config["hidden_size"], config["hidden_size"], gain=1.5)
    made.dense("discriminator_predictions/dense_1", config["hidden_size"], 1, gain=1.5)
    if generator is not None:
        made.dense("generator_predictions/dense", generator["hidden_size"], width, gain=1.5)
        made.layer_norm("generator_predictions", width)
        made.normal("generator_predictions/output_bias", config["vocab_size"], std=0.1)
    return made.values


class _Variables:
    """Variables by name, each made from the seed and its name alone."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.values: dict[str, np.ndarray[Any, Any]] = {}

    def normal(self, name: str, *shape: int, std: float, mean: float = 0.0) -> None:
        values = np.random.default_rng([self.seed, zlib.crc32(name.encode())]).standard_normal(shape, dtype=np.float32)
        self.values[name] = np.float32(mean) + np.float32(std) * values

    def table(self, name: str, rows: int, width: int, gain: float) -> None:
        self.normal(name, rows, width, std=gain / width**0.5)

    def dense(self, scope: str, fan_in: int, fan_out: int, gain: float) -> None:
        self.normal(f"{scope}/kernel", fan_in, fan_out, std=gain / fan_in**0.5)
        self.normal(f"{scope}/bias", fan_out, std=0.1)

    def layer_norm(self, scope: str, width: int) -> None:
        self.normal(f"{scope}/LayerNorm/gamma", width, std=0.2, mean=1.0)
        self.normal(f"{scope}/LayerNorm/beta", width, std=0.1)

    def embeddings(self, scope: str, config: Mapping[str, Any], width: int) -> None:
        self.table(f"{scope}/word_embeddings", config["vocab_size"], width, gain=1.7)
        self.table(f"{scope}/token_type_embeddings", config["type_vocab_size"], width, gain=1.7)
        self.table(f"{scope}/position_embeddings", config["max_position_embeddings"], width, gain=1.7)
        self.layer_norm(scope, width)

    def layers(self, scope: str, config: Mapping[str, Any]) -> None:
        hidden, intermediate = config["hidden_size"], config["intermediate_size"]
        for n in range(config["num_hidden_layers"]):
            layer = f"{scope}/layer_{n}"
            self.dense(f"{layer}/attention/self/query", hidden, hidden, gain=1.2)
            self.dense(f"{layer}/attention/self/key", hidden, hidden, gain=1.2)
            self.dense(f"{layer}/attention/self/value", hidden, hidden, gain=1.5)
            self.dense(f"{layer}/attention/output/dense", hidden, hidden, gain=1.5)
            self.layer_norm(f"{layer}/attention/output", hidden)
            self.dense(f"{layer}/intermediate/dense", hidden, intermediate, gain=1.5)
            self.dense(f"{layer}/output/dense", intermediate, hidden, gain=2.0)
            self.layer_norm(f"{layer}/output", hidden)


def check_heads(heads: Collection[str]) -> None:
    """Raises ValueError if `heads` names anything but "pooler", "mlm", "nsp", "classifier" and "squad"."""
    if isinstance(heads, str) or not set(heads) <= {*HEADS, *TASK_HEADS}:
        raise ValueError(f"heads must be a collection of {HEADS + TASK_HEADS}, not {heads!r}")


# Checkpoint files ----------------------------------------------------------------------------------------------------


def write_checkpoint(prefix: str | Path, variables: Mapping[str, np.ndarray[Any, Any]], *, shards: int = 1) -> Path:
    """Writes the variables as TensorFlow's TF1 Saver (V2 format) does: `<prefix>.index` and `<prefix>.data-*`.

    By the ops that the Saver's graph is made of, without the graph, which took fifty times as long. That the files are
    byte for byte the Saver's is a test of test_checkpoint.py.

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
    prefix = Path(prefix)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    names = sorted(variables)
    parts = [str(prefix)]
    if shards > 1:
        parts = [f"{prefix}_temp/part-{n:05d}-of-{shards:05d}" for n in range(shards)]
    for n, part in enumerate(parts):
        own = names[n::shards]
        tensors = [tf.constant(value, tf.as_dtype(value.dtype)) for value in map(np.asarray, map(variables.get, own))]
        tf.raw_ops.SaveV2(prefix=part, tensor_names=own, shape_and_slices=[""] * len(own), tensors=tensors)
    if shards > 1:
        tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(prefix), delete_old_dirs=True)
    return prefix


# Where tf-models-official's two generations of BERT keep what Google's first code calls by other names.
_TF2_PARTS = {
    "attention/output/LayerNorm": "_attention_layer_norm",
    "intermediate/dense": "_intermediate_dense",
    "output/dense": "_output_dense",
    "output/LayerNorm": "_output_layer_norm",
}
_TF2_NAMES = {of: to.removeprefix("_").removesuffix("_dense") for of, to in _TF2_PARTS.items()} | {
    "attention/output/LayerNorm": "self_attention_layer_norm"
}
"""What Keras calls these layers, as release 2.20 of tf-models-official records it beside the object paths."""


def write_tf2_checkpoint(
    prefix: str | Path,
    variables: Mapping[str, np.ndarray[Any, Any]],
    config: Mapping[str, Any],
    *,
    generation: Literal["numbered", "named"],
    root: str = "encoder",
    attention_output: str = "_attention_layer/_output_dense",
    pooler: str | None = None,
    slots: bool = False,
) -> Path:
    """Writes BERT as tf-models-official does: an object-based checkpoint by tf.train.Checkpoint.

    Its keys, shapes and recorded names were compared with those that its release 2.20 writes itself, for both
    generations.

    Args:
        prefix: Path of the checkpoint without `.index`.
        variables: As `bert_variables` makes them, with the pooler and perhaps the MLM head.
        config: Their configuration.
        generation: `numbered` layers (`layer_with_weights-4`, the functional BertEncoder) or `named` ones
            (`_transformer_layers/0`, BertEncoderV2).
        root: What the encoder is saved as: `encoder`, `model`.
        attention_output: Where a layer keeps the dense behind the attention; `_attention_output_dense` in 2020.
        pooler: Where the pooler is kept instead of the encoder.
        slots: With Adam's slots of each variable, as training leaves them.
    """
    tf = tensorflow()
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    model, head, behind = tf.Module(), tf.Module(), config["num_hidden_layers"] + 4
    numbered = generation == "numbered"
    tops = (
        *("layer_with_weights-0", "layer_with_weights-1", "layer_with_weights-2", "layer_with_weights-3"),
        f"layer_with_weights-{behind}",
    )
    if not numbered:
        tops = (
            *("_embedding_layer", "_position_embedding_layer", "_type_embedding_layer", "_embedding_norm_layer"),
            "_pooler_layer",
        )

    scope = "" if numbered else "bert_encoder_v2/"  # as release 2.20 was seen to record them

    def put(owner: Any, path: str, value: Any, name: str | None = None) -> Any:
        *parents, last = path.split("/")
        for parent in parents:
            if not hasattr(owner, parent):
                setattr(owner, parent, tf.Module())
            owner = getattr(owner, parent)
        variable = value if isinstance(value, tf.Variable) else tf.Variable(value, name=name)
        setattr(owner, last.replace("|", "/"), variable)
        return variable

    tables = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    names = ("word_embeddings/embeddings", "position_embedding/embeddings", "type_embeddings/embeddings")
    words, *_ = (
        put(model, f"{top}/embeddings", variables[f"bert/embeddings/{table}"], scope + name)
        for top, table, name in zip(tops, tables, names, strict=False)
    )
    for part in ("gamma", "beta"):
        own = f"{scope}embeddings/layer_norm/{part}"
        put(model, f"{tops[3]}/{part}", variables[f"bert/embeddings/LayerNorm/{part}"], own)
    blocks = [tf.Module() for _ in range(config["num_hidden_layers"])]
    for n, block in enumerate(blocks):
        layer, own = f"bert/encoder/layer_{n}", f"{scope}transformer/layer_{n}"
        for name in ("query", "key", "value"):
            for part, shape in (("kernel", (hidden, heads, -1)), ("bias", (heads, -1))):
                value = variables[f"{layer}/attention/self/{name}/{part}"].reshape(shape)
                put(block, f"_attention_layer/_{name}_dense/{part}", value, f"{own}/self_attention/{name}/{part}")
        value = variables[f"{layer}/attention/output/dense/kernel"].reshape(heads, -1, hidden)
        output = f"{own}/self_attention/attention_output"
        put(block, f"{attention_output}/kernel", value, f"{output}/kernel")
        put(block, f"{attention_output}/bias", variables[f"{layer}/attention/output/dense/bias"], f"{output}/bias")
        for of, to in _TF2_PARTS.items():
            for part in ("gamma", "beta") if of.endswith("LayerNorm") else ("kernel", "bias"):
                name = _TF2_NAMES[of]
                put(block, f"{to}/{part}", variables[f"{layer}/{of}/{part}"], f"{own}/{name}/{part}")
        if numbered:
            setattr(model, f"layer_with_weights-{n + 4}", block)
    if not numbered:
        model._transformer_layers = blocks
    roots: dict[str, Any] = {root: model}
    if "bert/pooler/dense/kernel" in variables:
        owner = model if pooler is None else tf.Module()
        for part in ("kernel", "bias"):
            path = f"{tops[4]}/{part}" if pooler is None else part
            put(owner, path, variables[f"bert/pooler/dense/{part}"], f"{scope}pooler_transform/{part}")
        if pooler is not None:
            roots[pooler] = owner
    if "cls/predictions/output_bias" in variables:
        for part in ("kernel", "bias"):
            place = f"cls/predictions/transform/dense/{part}"
            put(head, f"dense/{part}", variables[place], f"bert/{place}")
        for part in ("gamma", "beta"):
            place = f"cls/predictions/transform/LayerNorm/{part}"
            put(head, f"layer_norm/{part}", variables[place], f"bert/{place}")
        bias = "cls/predictions/output_bias"
        put(head, "output_bias|bias", variables[bias], f"bert/{bias}/bias")
        put(head, "embedding_table", words)
        roots["masked_lm"] = head
    if slots:
        optimizer = tf.Module()
        optimizer._variables = [tf.Variable(np.zeros(3, np.float32)) for _ in range(4)]
        optimizer.iter = tf.Variable(np.int64(7))
        roots |= {"optimizer": optimizer, "global_step": tf.Variable(np.int64(7))}
    prefix = Path(prefix)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    tf.train.Checkpoint(**roots).write(str(prefix))
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
