"""The oracle and the fixtures themselves: Google's code runs unchanged, and the weights show mistakes."""

import hashlib
import json
import math
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import google_bert
from tests.checkpoints import (
    TINY,
    VOCAB,
    bert_variables,
    tensorflow,
    vocab_lines,
    write_checkpoint,
    write_release,
    zip_release,
)

Variables = dict[str, np.ndarray[Any, Any]]

BATCH, LENGTH = 3, 16
IDS = np.random.default_rng(7).integers(104, TINY["vocab_size"], (BATCH, LENGTH))
MASK = np.where(np.arange(LENGTH) < [[LENGTH], [LENGTH - 5], [LENGTH - 9]], 1, 0)
SEGMENTS = np.where(np.arange(LENGTH) < 6, 0, 1) * np.ones_like(MASK)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix of a tiny release."""
    return write_release(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def answers(release: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Google's outputs for the tiny release."""
    return google_bert.outputs(release, TINY, IDS, MASK, SEGMENTS)


# Google's modules ----------------------------------------------------------------------------------------------------


def test_loading_leaves_the_process_as_it_was() -> None:
    """Google's modules load without a trace in sys.modules, in tf.compat.v1 and in absl's FLAGS."""
    program = """if True:
        import sys
        from tests.checkpoints import tensorflow
        v1 = tensorflow().compat.v1
        from absl import flags
        before = set(sys.modules), set(flags.FLAGS), hasattr(v1, "layers"), hasattr(tensorflow(), "contrib")
        from tests import google_bert
        google_bert.modeling(), google_bert.tokenization(), google_bert.run_pretraining()
        after = set(sys.modules), set(flags.FLAGS), hasattr(v1, "layers"), hasattr(tensorflow(), "contrib")
        assert before[1:] == after[1:]
        new = {name.partition(".")[0] for name in after[0] - before[0]}
        assert not new & {"bert", "google_bert_modeling", "google_bert_tokenization"}, new
        assert not flags.FLAGS.is_parsed()
    """
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("heads", [(), ("pooler",), ("pooler", "mlm"), ("mlm",), ("pooler", "mlm", "nsp")])
def test_graph_and_fixture_have_the_same_variables(heads: tuple[str, ...]) -> None:
    """Names and shapes of `bert_variables` are those that Google's graph creates."""
    ours = {name: value.shape for name, value in bert_variables(TINY, heads).items()}
    assert ours == google_bert.variables_of_graph(TINY, heads)


def test_gelu_is_the_tanh_form() -> None:
    """Google's GELU is the tanh form to 1e-6, and more than 1e-4 from the erf form."""
    x = np.linspace(-6, 6, 1201)
    gelu = google_bert.modeling().gelu(tensorflow().constant(x, "float64")).numpy()
    tanh = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    erf = 0.5 * x * (1 + np.array([math.erf(value / math.sqrt(2)) for value in x]))
    assert np.abs(gelu - tanh).max() < 1e-6
    assert np.abs(gelu - erf).max() > 1e-4


def test_layer_norm_is_that_of_tf_contrib() -> None:
    """The stand-in normalizes the last axis with epsilon 1e-12 and the variables LayerNorm/gamma and LayerNorm/beta."""
    v1 = tensorflow().compat.v1
    x = np.random.default_rng(0).normal(0, 1e-6, (2, 3, 32))  # a variance about as large as the epsilon
    with tensorflow().Graph().as_default(), v1.Session() as session:
        y = google_bert.modeling().layer_norm(v1.constant(x))
        variables = {variable.op.name: variable for variable in v1.global_variables()}
        gamma, beta = variables.pop("LayerNorm/gamma"), variables.pop("LayerNorm/beta")
        assert not variables
        session.run([gamma.assign(np.full(32, 3.0)), beta.assign(np.full(32, 0.5))])
        got = session.run(y)
    expected = 3 * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12) + 0.5
    assert np.abs(got - expected).max() < 1e-9


def test_tokenization_splits_words_into_pieces(tmp_path: Path) -> None:
    """Google's tokenizer lowercases, strips accents, splits off punctuation and takes the longest pieces it knows."""
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "un", "##aff", "##able", "##a", "!", "cafe", "京"]) + "\n", "utf-8")
    tokenizer = google_bert.tokenization().FullTokenizer(str(vocab), do_lower_case=True)
    tokens = tokenizer.tokenize("UnAffable! café京 zzz")
    assert tokens == ["un", "##aff", "##able", "!", "cafe", "京", "[UNK]"]
    assert tokenizer.convert_tokens_to_ids(tokens) == [2, 3, 4, 6, 7, 8, 1]


# Its graph on our fixtures -------------------------------------------------------------------------------------------


def test_outputs_have_the_documented_shapes(answers: dict[str, np.ndarray[Any, Any]]) -> None:
    """Every output is there, in float32, finite and of its shape, and the last layer is the sequence output."""
    layer = (BATCH, LENGTH, TINY["hidden_size"])
    assert {name: value.shape for name, value in answers.items()} == {
        "embedding": layer,
        **{f"layer_{n}{what}": layer for n in (1, 2, 3) for what in ("", "_keys")},
        "sequence_output": layer,
        "pooled_output": (BATCH, TINY["hidden_size"]),
        "mlm_logits": (BATCH, LENGTH, TINY["vocab_size"]),
        "nsp_logits": (BATCH, 2),
    }
    assert {value.dtype for value in answers.values()} == {np.dtype(np.float32)}
    assert all(np.isfinite(value).all() for value in answers.values())
    assert np.array_equal(answers["layer_3"], answers["sequence_output"])


def test_outputs_are_lively(answers: dict[str, np.ndarray[Any, Any]]) -> None:
    """Each output varies from token to token and from text to text, and no pooled value is saturated for all texts."""
    for name in ("embedding", "layer_1", "layer_2", "layer_3", "mlm_logits"):
        tokens = answers[name][MASK == 1]
        assert tokens.std() > 0.1, name
        assert tokens.std(axis=0).mean() > 0.1, name
    assert answers["pooled_output"].std(axis=0).mean() > 0.1
    assert np.abs(answers["pooled_output"]).mean() < 0.9
    assert np.ptp(answers["nsp_logits"][:, 0] - answers["nsp_logits"][:, 1]) > 0.1


def test_mlm_logits_belong_to_their_positions(answers: dict[str, np.ndarray[Any, Any]]) -> None:
    """The logits of each text and position are those of the head's formula on that position's hidden state."""
    variables = {name: value.astype(np.float64) for name, value in bert_variables(TINY).items()}
    head = {name.removeprefix("cls/predictions/"): value for name, value in variables.items()}
    x = answers["sequence_output"] @ head["transform/dense/kernel"] + head["transform/dense/bias"]
    x = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    x = x * head["transform/LayerNorm/gamma"] + head["transform/LayerNorm/beta"]
    expected = x @ variables["bert/embeddings/word_embeddings"].T + head["output_bias"]
    assert np.abs(answers["mlm_logits"] - expected).max() < 2e-5


def test_order_and_segments_of_the_input_matter(release: Path, answers: dict[str, np.ndarray[Any, Any]]) -> None:
    """Swapping two tokens or two segments changes a text's outputs; what stands under the mask does not."""
    ids, segments, padded = IDS.copy(), SEGMENTS.copy(), IDS.copy()
    ids[0, [2, 3]] = ids[0, [3, 2]]
    segments[1] = 1 - segments[1]
    padded[2, MASK[2] == 0] = 5
    swapped = google_bert.outputs(release, TINY, ids, MASK, segments)
    hidden = google_bert.outputs(release, TINY, padded, MASK, SEGMENTS)
    for name in ("layer_1", "sequence_output", "pooled_output", "mlm_logits", "nsp_logits"):
        change = [np.abs(swapped[name][text] - answers[name][text]).max() for text in range(BATCH)]
        assert min(change[:2]) > 0.05, (name, change)
        assert change[2] < 1e-5, (name, change)
    assert np.abs(hidden["mlm_logits"] - answers["mlm_logits"])[MASK == 1].max() < 1e-5


def _swap(variables: Variables, one: str, other: str) -> None:
    variables[one], variables[other] = variables[other], variables[one]


def _transpose(variables: Variables, name: str) -> None:
    variables[name] = variables[name].T


_LAYER = "bert/encoder/layer_1"
MISTAKES: dict[str, Callable[[Variables], None]] = {
    "query and key swapped": lambda v: _swap(
        v, f"{_LAYER}/attention/self/query/kernel", f"{_LAYER}/attention/self/key/kernel"
    ),
    "query kernel not transposed": lambda v: _transpose(v, f"{_LAYER}/attention/self/query/kernel"),
    "query bias lost": lambda v: v[f"{_LAYER}/attention/self/query/bias"].fill(0),
    "value bias lost": lambda v: v[f"{_LAYER}/attention/self/value/bias"].fill(0),
    "two layers swapped": lambda v: _swap(
        v, "bert/encoder/layer_0/intermediate/dense/kernel", "bert/encoder/layer_2/intermediate/dense/kernel"
    ),
    "two LayerNorms swapped": lambda v: _swap(
        v, f"{_LAYER}/attention/output/LayerNorm/gamma", f"{_LAYER}/output/LayerNorm/gamma"
    ),
    "beta lost": lambda v: v["bert/embeddings/LayerNorm/beta"].fill(0),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_fixture_shows_mistakes(mistake: str, tmp_path: Path, answers: dict[str, np.ndarray[Any, Any]]) -> None:
    """With these weights each mistake moves hidden states and MLM logits by more than 0.05."""
    variables = bert_variables(TINY)
    MISTAKES[mistake](variables)
    prefix = write_checkpoint(tmp_path / "bert_model.ckpt", variables)
    wrong = google_bert.outputs(prefix, TINY, IDS, MASK, SEGMENTS)
    for name in ("sequence_output", "mlm_logits"):
        assert np.abs(wrong[name] - answers[name])[MASK == 1].max() > 0.05, name


def test_missing_head_is_an_error_unless_left_out(tmp_path: Path) -> None:
    """A checkpoint without heads restores only when asked for without them, and the encoder's outputs stay the same."""
    prefix = write_checkpoint(tmp_path / "model", bert_variables(TINY, heads=()))
    bare = google_bert.outputs(prefix, TINY, IDS, MASK, SEGMENTS, heads=())
    layers = [f"layer_{n}{what}" for n in (1, 2, 3) for what in ("_keys", "")]
    assert list(bare) == ["embedding", *layers, "sequence_output"]
    with pytest.raises(tensorflow().errors.NotFoundError, match="bert/pooler/dense"):
        google_bert.outputs(prefix, TINY, IDS, MASK, SEGMENTS, heads=False)


# Checkpoints, vocabularies, archives ---------------------------------------------------------------------------------


def test_checkpoint_round_trips(tmp_path: Path) -> None:
    """TensorFlow reads back every name, dtype and value that was written, however odd the dtype or the name."""
    bfloat16 = tensorflow().bfloat16.as_numpy_dtype
    variables = bert_variables(TINY) | {
        "global_step": np.array(1_000_000, np.int64),
        "bert/pooler/dense/kernel/adam_m": np.zeros((32, 32), np.float32),
        "a/half": np.arange(6, dtype=np.float16).reshape(2, 3),
        "a/bfloat16": np.arange(6).astype(bfloat16),
        "a/double": np.linspace(0, 1, 5),
        "a/flag": np.array([True, False]),
        "a/empty": np.zeros((0, 4), np.float32),
        "_CHECKPOINTABLE_OBJECT_GRAPH": np.array(b"\x0a\x00text", object),
        "strange name: ü/.ATTRIBUTES/VARIABLE_VALUE": np.ones(1, np.float32),
    }
    prefix = write_checkpoint(tmp_path / "deeper" / "model.ckpt", variables)
    assert sorted(path.name for path in prefix.parent.iterdir()) == [
        "model.ckpt.data-00000-of-00001",
        "model.ckpt.index",
    ]
    reader = tensorflow().train.load_checkpoint(str(prefix))
    assert set(reader.get_variable_to_shape_map()) == set(variables)
    types = reader.get_variable_to_dtype_map()
    for name, value in variables.items():
        assert types[name] == tensorflow().as_dtype(value.dtype), name
        got = np.asarray(reader.get_tensor(name))
        assert got.shape == value.shape, name
        assert got.tobytes() == value.tobytes() or got.item() == value.item(), name


@pytest.mark.parametrize("shards", [2, 3])
def test_shards_give_as_many_data_files(shards: int, tmp_path: Path) -> None:
    """A sharded checkpoint has that many non-empty data files, and holds the same values as one in a single file."""
    variables = bert_variables(TINY) | {"global_step": np.array(3, np.int64)}
    prefix = write_checkpoint(tmp_path / "model.ckpt", variables, shards=shards)
    data = [f"model.ckpt.data-{n:05}-of-{shards:05}" for n in range(shards)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*data, "model.ckpt.index"]
    assert all((tmp_path / name).stat().st_size > 1000 for name in data)
    reader = tensorflow().train.load_checkpoint(str(prefix))
    assert all(np.array_equal(reader.get_tensor(name), value) for name, value in variables.items())


def test_values_depend_on_seed_and_name_alone() -> None:
    """Leaving heads out changes no other variable, another seed changes all, and no bias or beta is zero."""
    full, bare, other = bert_variables(TINY), bert_variables(TINY, heads=()), bert_variables(TINY, seed=1)
    assert all(np.array_equal(full[name], value) for name, value in bare.items())
    assert not any(np.array_equal(full[name], value) for name, value in other.items())
    assert all(np.count_nonzero(value) == value.size and value.dtype == np.float32 for value in full.values())


@pytest.mark.parametrize("cased", [False, True])
def test_vocabulary_is_one_that_google_would_write(cased: bool, tmp_path: Path) -> None:
    """Lines are unique, special tokens have Google's numbers, and Google's tokenizer finds every whole word as one."""
    lines = vocab_lines(1500, cased)
    assert len(set(lines)) == len(lines) == 1500
    assert [lines.index(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 100, 101, 102, 103]
    assert {chr(code) for code in range(33, 127)} - set(lines) == (
        set() if cased else set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    )
    assert any(line[0].isupper() and line[1:].islower() for line in lines) is cased
    (tmp_path / "vocab.txt").write_text("\n".join(lines) + "\n", "utf-8", newline="\n")
    tokenizer = google_bert.tokenization().FullTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=not cased)
    assert list(tokenizer.vocab) == list(lines)
    broken = [line for line in lines[104:] if not line.startswith("##") and tokenizer.tokenize(line) != [line]]
    assert broken == []
    assert tokenizer.tokenize("unaffable") == ["un", "##aff", "##able"]


@pytest.mark.parametrize("cased", [False, True])
def test_vocabulary_size_is_exact(cased: bool) -> None:
    """A vocabulary has exactly the lines asked for, up to the size of the real ones."""
    for size in (TINY["vocab_size"], 1238, 30522):
        assert len(set(vocab_lines(size, cased))) == size
    assert vocab_lines(TINY["vocab_size"]) == VOCAB
    with pytest.raises(ValueError, match="too small"):
        vocab_lines(200, cased)


def test_release_holds_what_an_archive_of_google_holds(tmp_path: Path) -> None:
    """A release is four files, and zipping it twice gives the same bytes, at the root or in a folder."""
    prefix = write_release(tmp_path / "tiny", heads=("pooler",), extra_variables={"global_step": np.array(1, np.int64)})
    names = ["bert_config.json", "bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index", "vocab.txt"]
    assert sorted(path.name for path in prefix.parent.iterdir()) == names
    assert json.loads((prefix.parent / "bert_config.json").read_text("utf-8")) == TINY
    assert (prefix.parent / "vocab.txt").read_text("utf-8").splitlines() == list(VOCAB)
    archives = [zip_release(prefix.parent, tmp_path / f"{n}.zip", top_folder="tiny_bert") for n in range(2)]
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in archives}) == 1
    with (
        zipfile.ZipFile(archives[0]) as archive,
        zipfile.ZipFile(zip_release(prefix.parent, tmp_path / "r.zip")) as flat,
    ):
        assert archive.namelist() == [f"tiny_bert/{name}" for name in names]
        assert flat.namelist() == names
        assert flat.read("vocab.txt") == (prefix.parent / "vocab.txt").read_bytes()
