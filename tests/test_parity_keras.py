"""KerasHub computes from a folder what transformers computes, with the tanh form of GELU, and refuses what it must."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubpush import conversion
from hubpush.architectures import Activation
from hubpush.catalog import Release
from hubpush.errors import MissingExtraError, ParityError, UsageError
from hubpush.parity import keras
from hubpush.source import Files
from tests.checkpoints import TINY, write_release

pytest.importorskip("keras_hub", reason="needs the extra keras")

LAYERS = [f"layer {n}" for n in range(1, TINY["num_hidden_layers"] + 1)]
NAMES = ["embeddings", *LAYERS, "sequence_output", "pooled_output"]
# Measured: 2.0e-6 (float32), 7e-15 (float64).
CLOSE = {"float32": 1e-5, "float64": 1e-13}


def _folder(release: Path, folder: Path, activation: Activation = "gelu_pytorch_tanh") -> Path:
    folder.mkdir()
    files = Files(release / "bert_model.ckpt", release / "bert_config.json", release / "vocab.txt")
    conversion.convert(
        files, folder, Release(name="tiny", title="Tiny", source="t", license="apache-2.0", activation=activation)
    )
    return folder


@pytest.fixture(scope="module")
def folder(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny release with all heads, converted. Read only."""
    return _folder(release, tmp_path_factory.mktemp("keras") / "tiny")


def _batches(segments: int = 2) -> list[dict[str, Any]]:
    """Two batches of other lengths: full rows, a row with padding, a row of one token, and the longest there is."""
    random, batches = np.random.default_rng(0), []
    for lengths in ((20, 12, 1), (TINY["max_position_embeddings"],)):
        shape = (len(lengths), max(lengths))
        real = np.arange(shape[1]) < np.array(lengths)[:, None]
        batch = {
            "input_ids": random.integers(0, TINY["vocab_size"], shape) * real,
            "attention_mask": real,
            "token_type_ids": random.integers(0, segments, shape) * real,
        }
        batches.append({name: array.astype(np.int32) for name, array in batch.items()})
    return batches


def _transformers(
    folder: Path, batch: Mapping[str, Any], dtype: str, activation: Activation | None = None
) -> dict[str, Any]:
    """What BertModel computes, with the folder's GELU form or another."""
    import torch
    import transformers

    options = {} if activation is None else {"hidden_act": activation}
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager", **options)
    with torch.inference_mode():
        got = model.eval().to(getattr(torch, dtype))(
            **{name: torch.from_numpy(array).long() for name, array in batch.items()}, output_hidden_states=True
        )
    tensors = [*got.hidden_states, got.last_hidden_state, got.pooler_output]
    return dict(zip(NAMES, (tensor.numpy() for tensor in tensors), strict=True))


def _worst(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float]:
    assert list(ours) == list(theirs)
    assert all(ours[name].shape == theirs[name].shape for name in ours)
    assert all(ours[name].dtype == theirs[name].dtype for name in ours)
    return {name: float(np.abs(ours[name] - theirs[name]).max()) for name in ours}


# What it computes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_are_those_of_transformers(folder: Path, dtype: str) -> None:
    """Every output at every position, padding too, is that of transformers in the same precision."""
    batches = _batches()
    for batch, outputs in zip(batches, keras.run(folder, batches, dtype), strict=True):
        worst = _worst(outputs, _transformers(folder, batch, dtype))
        assert list(worst) == NAMES
        assert max(worst.values()) <= CLOSE[dtype], worst


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gelu_is_the_tanh_form_whatever_the_folder_says(release: Path, tmp_path: Path, dtype: str) -> None:
    """From a folder that says `gelu` it computes the declared constant's form, and not the folder's."""
    erf = _folder(release, tmp_path / "erf", activation="gelu")
    assert json.loads((erf / "config.json").read_text())["hidden_act"] == "gelu"
    (batch, *_), (outputs, *_) = _batches(), keras.run(erf, _batches(), dtype)
    tanh = _worst(outputs, _transformers(erf, batch, dtype, keras.ACTIVATION))
    told = _worst(outputs, _transformers(erf, batch, dtype))
    assert max(tanh.values()) <= CLOSE[dtype]
    # Measured: 6e-4 to 1e-3. No layer comes before the embeddings.
    assert all(told[name] > 1e-4 for name in NAMES[1:])
    assert told["embeddings"] <= CLOSE[dtype]
    assert (keras.DIVERGENCE.reference, keras.DIVERGENCE.kind) == ("keras", "activation")


def test_float32_is_what_people_get(folder: Path) -> None:
    """In float32 each output is, bit for bit, what KerasHub computes for a person who only names the folder."""
    import keras_hub

    (batch, *_), (outputs, *_) = _batches(), keras.run(folder, _batches(), "float32")
    model = keras_hub.models.BertBackbone.from_preset(str(folder))
    theirs = model(
        {
            "token_ids": batch["input_ids"],
            "segment_ids": batch["token_type_ids"],
            "padding_mask": batch["attention_mask"],
        }
    )
    for name, tensor in theirs.items():
        assert outputs[name].tobytes() == np.asarray(tensor).tobytes()


def _scaled(key: str) -> Callable[[dict[str, Any]], None]:
    def change(tensors: dict[str, Any]) -> None:
        tensors[key] = tensors[key] * np.float32(1.001)

    return change


def _swapped(tensors: dict[str, Any]) -> None:
    query, key = (f"bert.encoder.layer.1.attention.self.{name}.weight" for name in ("query", "value"))
    tensors[query], tensors[key] = tensors[key], tensors[query]


def _transposed(tensors: dict[str, Any]) -> None:
    key = "bert.encoder.layer.1.attention.output.dense.weight"
    tensors[key] = np.ascontiguousarray(tensors[key].T)


WRONG = {
    "a word": ("embeddings", _scaled("bert.embeddings.word_embeddings.weight")),
    "query and value": ("layer 2", _swapped),
    "a transpose": ("layer 2", _transposed),
    "a gamma": ("layer 3", _scaled("bert.encoder.layer.2.output.LayerNorm.weight")),
    "the pooler": ("pooled_output", _scaled("bert.pooler.dense.bias")),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_tensor_shows_first_where_it_is(folder: Path, tmp_path: Path, what: str) -> None:
    """One wrong tensor changes the output that reads it and what comes after, and nothing before."""
    from safetensors.numpy import load_file, save_file

    first, change = WRONG[what]
    wrong = tmp_path / "wrong"
    shutil.copytree(folder, wrong)
    tensors = load_file(wrong / "model.safetensors")
    change(tensors)
    save_file(tensors, wrong / "model.safetensors", metadata={"format": "pt"})
    (right, *_), (outputs, *_) = (keras.run(path, _batches(), "float64") for path in (folder, wrong))
    worst = _worst(right, outputs)
    assert all((worst[name] > 1e-7) == (NAMES.index(name) >= NAMES.index(first)) for name in NAMES), worst


@pytest.mark.parametrize("segments", [1, 16])
def test_other_numbers_of_segments_are_taken(tmp_path: Path, segments: int) -> None:
    """A folder whose `type_vocab_size` is not the two that KerasHub takes by itself is run all the same."""
    write_release(tmp_path / "release", config={**TINY, "type_vocab_size": segments})
    path = _folder(tmp_path / "release", tmp_path / "out")
    (batch, *_), (outputs, *_) = _batches(segments), keras.run(path, _batches(segments), "float64")
    assert max(_worst(outputs, _transformers(path, batch, "float64")).values()) <= CLOSE["float64"]


# What it refuses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [(), ("mlm",)])
def test_folder_without_pooler_is_refused(tmp_path: Path, heads: tuple[str, ...]) -> None:
    """KerasHub itself fails on a folder without a pooler, and the error says so instead of inventing one."""
    import keras_hub
    from safetensors import SafetensorError

    write_release(tmp_path / "release", heads=heads)
    path = _folder(tmp_path / "release", tmp_path / "out")
    with pytest.raises(SafetensorError, match=r"pooler\.dense\.weight"):
        keras_hub.models.BertBackbone.from_preset(str(path))
    with pytest.raises(ParityError, match="without a pooler") as caught:
        keras.run(path, _batches(), "float32")
    assert "--parity" in caught.value.hint


def test_other_model_types_are_refused(folder: Path, tmp_path: Path) -> None:
    """A model type that KerasHub has no converter for is refused, by its name and from a folder, as KerasHub does."""
    import keras_hub

    other = tmp_path / "other"
    shutil.copytree(folder, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "electra"}))
    with pytest.raises(ValueError, match="no converter"):
        keras_hub.models.BertBackbone.from_preset(str(other))
    keras.require("bert")
    for refused in (lambda: keras.require("electra"), lambda: keras.run(other, _batches(), "float32")):
        with pytest.raises(ParityError, match="electra") as caught:
            refused()
        assert "bert" in caught.value.hint


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _of_another_size(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "intermediate_size": 65}))


def _without_a_size(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "hidden_size"}))


@pytest.mark.parametrize("damage", [_without_weights, _cut_short, _of_another_size, _without_a_size])
def test_damaged_folder_is_refused(folder: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """What KerasHub raises on a folder that is not whole arrives as an error of parity, with a hint."""
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    damage(damaged)
    with pytest.raises(ParityError, match="KerasHub cannot load") as caught:
        keras.run(damaged, _batches(), "float32")
    assert caught.value.hint


def test_missing_package_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keras-hub the error says which extra brings it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError) as caught:
        keras.run(folder, _batches(), "float32")
    assert 'pip install "hubpush[keras]"' in caught.value.hint


def test_another_backend_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where keras was imported with another backend, nothing is computed with it."""
    import keras as library

    monkeypatch.setattr(library.config, "backend", lambda: "jax")
    with pytest.raises(UsageError, match="backend jax") as caught:
        keras.run(folder, _batches(), "float32")
    assert "KERAS_BACKEND" in caught.value.hint


# What it leaves behind -----------------------------------------------------------------------------------------------

_SCRIPT = """
import os, socket, sys
from pathlib import Path
import numpy as np

def refused(self, address):
    raise AssertionError(f"it connects to {address!r}")

socket.socket.connect = socket.socket.connect_ex = refused
socket.getaddrinfo = lambda *args, **options: refused(None, args)
from hubpush.parity import keras
before = dict(os.environ)
names = ("input_ids", "attention_mask", "token_type_ids")
batches = [dict.fromkeys(names, np.ones((1, length), "int32")) for length in (5, 1)]
outputs = keras.run(Path(sys.argv[1]), batches, "float32")
assert [one["sequence_output"].shape for one in outputs] == [(1, 5, 32), (1, 1, 32)]
import keras as library
assert library.config.backend() == "tensorflow" and library.config.floatx() == "float32"
changed = {name for name in before.keys() | os.environ.keys() if before.get(name) != os.environ.get(name)}
changed -= {"TF_CPP_MIN_LOG_LEVEL"}  # hubpush's own
assert not any(name.startswith("KERAS") for name in changed), changed
"""


@pytest.mark.parametrize("is_configured", [False, True])
@pytest.mark.long
def test_nothing_is_left_behind(folder: Path, tmp_path: Path, is_configured: bool) -> None:
    """A process of its own connects to nothing, prints nothing, and leaves home, folder and temporary files alone.

    The environment's backend and a person's own keras.json, with another precision, change nothing.
    """
    home, temporary, copy = tmp_path / "home", tmp_path / "tmp", tmp_path / "bert_base_en"
    home.mkdir()
    temporary.mkdir()
    shutil.copytree(folder, copy)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KERAS", "TF_", "HF_"))}
    environment |= {"HOME": str(home), "USERPROFILE": str(home), "TMPDIR": str(temporary)}
    environment["XDG_CACHE_HOME"] = str(home / "cache")
    if is_configured:
        (home / ".keras").mkdir()
        (home / ".keras/keras.json").write_text('{"floatx": "float16", "backend": "jax"}')
        environment["KERAS_BACKEND"] = "torch"
    places = [home, temporary, copy]
    before = [sorted(path.rglob("*")) for path in places]
    # A relative path whose name is that of a preset: the folder is meant.
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, copy.name],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [sorted(path.rglob("*")) for path in places] == before
