"""A right folder passes to the last digits of float64; each mistake in a published folder fails, and is named."""

import functools
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubpush import conversion, parity
from hubpush.architectures import ACTIVATIONS, ARCHITECTURES, Activation
from hubpush.catalog import Release
from hubpush.errors import CheckpointError, ParityError
from hubpush.parity import compare, probes
from hubpush.parity.report import Difference, ParityReport, Reference
from hubpush.source import Files
from tests.checkpoints import HEADS, TINY, VOCAB, bert_variables, write_release

BERT = ARCHITECTURES["bert"]
LENGTH = TINY["max_position_embeddings"]


@dataclass(frozen=True)
class Made:
    """A release and the folder that it became."""

    files: Files
    folder: Path
    activation: Activation
    reading: conversion.Reading

    def measure(self, folder: Path | None = None, **options: Any) -> ParityReport:
        """The report on the folder, or on a changed copy of it."""
        return parity.measure(folder or self.folder, self.reading.as_original(self.files), **options)


def _make(release: Path, folder: Path, activation: Activation = "gelu_pytorch_tanh", **options: Any) -> Made:
    folder.mkdir()
    files = Files(release / "bert_model.ckpt", release / "bert_config.json", release / "vocab.txt")
    declared = Release(name="tiny", title="Tiny", source="t", license="apache-2.0", activation=activation)
    return Made(files, folder, activation, conversion.convert(files, folder, declared, **options).reading)


@pytest.fixture(scope="module")
def made(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The tiny release with all heads, converted. Read only."""
    return _make(release, tmp_path_factory.mktemp("parity") / "tiny")


@pytest.fixture(scope="module")
def report(made: Made) -> ParityReport:
    """What is measured on it."""
    return made.measure()


def _reference(report: ParityReport, dtype: str, *, as_published: bool = True) -> Reference:
    (found,) = (r for r in report.references if r.dtype == dtype and r.as_published is as_published)
    return found


# A right folder ------------------------------------------------------------------------------------------------------


def _has_proven(report: ParityReport, heads: tuple[str, ...]) -> None:
    outputs = ["embeddings", *(f"layer {n}{what}" for n in (1, 2, 3) for what in (" keys", "")), "sequence_output"]
    outputs += ["pooled_output"] * ("pooler" in heads) + ["nsp_logits"] * ("nsp" in heads)
    outputs += ["mlm_logits"] * ("mlm" in heads)
    assert report.failures() == []
    assert report.verdict == "pass"
    report.require()
    for dtype in ("float64", "float32"):
        reference = _reference(report, dtype)
        assert reference.is_within
        assert sorted(d.output for d in reference.outputs) == sorted(outputs)
    # Measured: 1.2e-14 (MLM logits), 5e-15 (hidden states).
    assert _reference(report, "float64").worst.max_abs <= 1e-12
    assert all(0 < d.tolerance <= 1e-12 for d in _reference(report, "float64").outputs)
    assert all(d.min_cosine > 1 - 1e-12 for d in _reference(report, "float64").outputs)
    assert report.weights.different == report.weights.unread == ()
    ids = report.tokenizer
    assert ids.identical + sum(ids.known.values()) == ids.probes > 2000
    assert ids.identical > 0.95 * ids.probes
    assert report.weights.confirmed == report.weights.mapped
    assert len(report.weights.digests) == report.weights.mapped
    assert report.config == ()
    assert not any(report.loading.values())


def test_right_folder_passes(report: ParityReport) -> None:
    """With all heads every output, every tensor and every id is right, in both precisions."""
    _has_proven(report, HEADS)
    assert (report.weights.variables, report.weights.mapped, report.weights.dropped) == (62, 62, 0)


@pytest.mark.parametrize("heads", [(), ("pooler",), ("mlm",)])
def test_right_folder_passes_whatever_its_heads(heads: tuple[str, ...], tmp_path: Path) -> None:
    """Each combination of heads passes with the outputs that its heads give, from a cased vocabulary and shards too."""
    write_release(tmp_path / "release", heads=heads, cased=True, shards=2, seed=3)
    _has_proven(_make(tmp_path / "release", tmp_path / "out").measure(), heads)


UNUSUAL_SIZES = {
    "one segment": {"type_vocab_size": 1},
    "many segments": {"type_vocab_size": 16},
    "two positions": {"max_position_embeddings": 2},
    "one layer, one head": {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 8},
}
UNUSUAL_WEIGHTS: dict[str, Callable[[str, Any], Any]] = {
    "large gammas": lambda name, value: value * 10 if name.endswith("gamma") else value,
    "sharp attention": lambda name, value: value * 20 if name.endswith("query/kernel") else value,
    "a large bias": lambda name, value: value * 1e5 if name == "cls/predictions/output_bias" else value,
    "flat embeddings": lambda name, value: value * 1e-4 if name.startswith("bert/embeddings/") else value,
    "zeros": lambda name, value: value * 0 if name.endswith("intermediate/dense/kernel") else value,
}


@pytest.mark.parametrize("what", [*UNUSUAL_SIZES, *UNUSUAL_WEIGHTS])
def test_unusual_models_raise_no_alarm(what: str, tmp_path: Path) -> None:
    """Sizes at their bounds and weights that magnify rounding are converted rightly, and parity says so."""
    config = {**TINY, **UNUSUAL_SIZES.get(what, {})}
    change = UNUSUAL_WEIGHTS.get(what, lambda _name, value: value)
    variables = {name: np.asarray(change(name, value), "f4") for name, value in bert_variables(config).items()}
    write_release(tmp_path / "release", config=config, extra_variables=variables)
    report = _make(tmp_path / "release", tmp_path / "out").measure()
    assert report.failures() == []


def test_erf_release_passes_with_its_form(release: Path, tmp_path: Path) -> None:
    """A release that declares the erf form is proven with it, and the tanh form is the informative one."""
    report = _make(release, tmp_path / "out", activation="gelu").measure()
    _has_proven(report, HEADS)
    assert _reference(report, "float64", as_published=False).activation == "gelu_pytorch_tanh"


def test_dropped_head_passes_and_is_counted(tmp_path: Path) -> None:
    """A pooler that the published class has no place for is neither computed nor unexpected, but counted as dropped."""
    write_release(tmp_path / "release", heads=("pooler", "mlm"), extra_variables={"global_step": np.array(7, np.int64)})
    report = _make(tmp_path / "release", tmp_path / "out").measure()
    _has_proven(report, ("mlm",))
    assert report.weights.dropped == 3
    assert report.weights.mapped + report.weights.dropped == report.weights.variables


def test_other_form_is_shown_and_not_judged(report: ParityReport) -> None:
    """The form that is not declared is measured, is visibly off, and does not count."""
    other = _reference(report, "float64", as_published=False)
    assert other.activation in ACTIVATIONS
    assert other.activation != report.activation
    assert not other.is_within
    assert other.worst.max_abs > 1e-4
    assert other.to_json()["verdict"] == "informative"
    assert next(d for d in other.outputs if d.output == "embeddings").is_within


def test_measuring_twice_gives_the_same_verdict(made: Made, report: ParityReport) -> None:
    """A second measurement finds the same outputs, shapes, weights and ids, and passes too."""
    again = made.measure()
    assert again.verdict == report.verdict
    assert (again.weights, again.tokenizer, again.loading) == (report.weights, report.tokenizer, report.loading)
    shapes = [[(d.output, d.shape) for d in r.outputs] for r in again.references]
    assert shapes == [[(d.output, d.shape) for d in r.outputs] for r in report.references]


# A folder with one mistake -------------------------------------------------------------------------------------------

Mutation = Callable[[Path], None]
Mutated = Callable[[str], ParityReport]
TENSOR = "bert.encoder.layer.1.attention.self"


def _json(file: str, change: Callable[[dict[str, Any]], Any]) -> Mutation:
    def mutate(folder: Path) -> None:
        data = json.loads((folder / file).read_text("utf-8"))
        change(data)
        (folder / file).write_text(json.dumps(data), "utf-8")

    return mutate


def _set(file: str, key: str, value: Any) -> Mutation:
    return _json(file, lambda data: data.__setitem__(key, value))


def _tensors(change: Callable[[dict[str, np.ndarray[Any, Any]]], Any]) -> Mutation:
    def mutate(folder: Path) -> None:
        from safetensors.numpy import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        contiguous = {key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}
        save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})

    return mutate


def _exchange(data: dict[str, Any], one: str, other: str) -> None:
    data[one], data[other] = data[other], data[one]


def _flip_bit(key: str) -> Mutation:
    """The lowest bit of a tensor's last value."""
    return _tensors(lambda t: t[key].view(np.uint32).reshape(-1).__setitem__(-1, t[key].view(np.uint32).flat[-1] ^ 1))


def _swap_lines(one: int, other: int, *, file: str) -> Mutation:
    """Two lines of the vocabulary exchanged, in vocab.txt or in tokenizer.json."""
    if file == "tokenizer.json":
        return _json(file, lambda data: _exchange(data["model"]["vocab"], VOCAB[one], VOCAB[other]))

    def mutate(folder: Path) -> None:
        lines = (folder / file).read_text("utf-8").split("\n")
        lines[one], lines[other] = lines[other], lines[one]
        (folder / file).write_text("\n".join(lines), "utf-8", newline="\n")

    return mutate


LAST = len(VOCAB) - 1
THE, OF = VOCAB.index("the"), VOCAB.index("of")

# What is changed in the published folder, and what the report must say of it.
MUTATIONS: dict[str, tuple[Mutation, tuple[str, ...]]] = {
    "wrong activation": (
        _set("config.json", "hidden_act", "gelu"),
        ("float64 outputs differ from layer 1 on", "float32 outputs differ from layer 1 on"),
    ),
    "wrong epsilon": (_set("config.json", "layer_norm_eps", 1e-9), ("float64 outputs differ from embeddings on",)),
    "other number of heads": (
        _set("config.json", "num_attention_heads", 8),
        (
            "config.json: num_attention_heads is 8 instead of 4",
            "float64 outputs differ from layer 1 on",
            "float32 outputs differ from layer 1 on",
        ),
    ),
    "casing of tokenizer_config.json": (
        _set("tokenizer_config.json", "do_lower_case", False),
        ("token ids differ on",),
    ),
    "casing of tokenizer.json": (
        _json("tokenizer.json", lambda data: data["normalizer"].__setitem__("lowercase", False)),
        ("token ids differ on",),
    ),
    "query and key swapped": (
        _tensors(lambda t: _exchange(t, f"{TENSOR}.query.weight", f"{TENSOR}.key.weight")),
        (
            f"2 tensor(s) are not their variable's bits: {TENSOR}.key.weight, {TENSOR}.query.weight",
            "float64 outputs differ from layer 2 keys on",
            "float32 outputs differ from layer 2 keys on",
        ),
    ),
    "kernel not transposed": (
        _tensors(lambda t: t.__setitem__(f"{TENSOR}.value.weight", t[f"{TENSOR}.value.weight"].T)),
        (
            f"1 tensor(s) are not their variable's bits: {TENSOR}.value.weight",
            "float64 outputs differ from layer 2 on",
            "float32 outputs differ from layer 2 on",
        ),
    ),
    "pooler kernel not transposed": (
        _tensors(lambda t: t.__setitem__("bert.pooler.dense.weight", t["bert.pooler.dense.weight"].T)),
        ("1 tensor(s)", "float64 outputs differ from pooled_output on", "float32 outputs differ from pooled_output on"),
    ),
    "MLM bias lost": (
        _tensors(lambda t: t["cls.predictions.bias"].fill(0)),
        ("1 tensor(s)", "float64 outputs differ from mlm_logits on", "float32 outputs differ from mlm_logits on"),
    ),
    "one bit": (
        # Of a word that no probe holds: float64 sees it in one logit.
        _flip_bit("bert.embeddings.word_embeddings.weight"),
        (
            "1 tensor(s) are not their variable's bits: bert.embeddings.word_embeddings.weight",
            "float64 outputs differ from mlm_logits on",
        ),
    ),
    "one bit of a key bias": (
        _flip_bit(f"{TENSOR}.key.bias"),
        (
            f"1 tensor(s) are not their variable's bits: {TENSOR}.key.bias",
            "float64 outputs differ from layer 2 keys on",
        ),
    ),
    "key bias lost": (
        _tensors(lambda t: t[f"{TENSOR}.key.bias"].fill(0)),
        (
            f"1 tensor(s) are not their variable's bits: {TENSOR}.key.bias",
            "float64 outputs differ from layer 2 keys on",
            "float32 outputs differ from layer 2 keys on",
        ),
    ),
    "an adapter": (
        lambda folder: (folder / "adapter_config.json").write_text("{}"),
        ("files that loaders read and nothing compares: adapter_config.json",),
    ),
    "code and other weights": (
        lambda folder: [(folder / name).write_bytes(b"x") for name in ("modeling.py", "pytorch_model.bin")],
        ("files that loaders read and nothing compares: modeling.py, pytorch_model.bin",),
    ),
    "special tokens split": (
        _set("tokenizer_config.json", "split_special_tokens", True),
        ("the tokenizer is set otherwise: AutoTokenizer does not take [MASK] in a text for the token",),
    ),
    "code of the tokenizer": (
        _set("tokenizer_config.json", "auto_map", {"AutoTokenizer": ["evil.T", "evil.T"]}),
        ("the tokenizer is set otherwise: tokenizer_config.json names code of its own (auto_map)",),
    ),
    "a word replaced in tokenizer.json": (
        _json(
            "tokenizer.json",
            lambda data: data.update(
                normalizer={
                    "type": "Sequence",
                    "normalizers": [
                        {"type": "Replace", "pattern": {"String": "qzxj"}, "content": "the"},
                        data["normalizer"],
                    ],
                }
            ),
        ),
        ("the tokenizer is set otherwise: the normalizer of tokenizer.json is another",),
    ),
    "attention in config.json": (
        _set("config.json", "attn_implementation", "flex_attention"),
        ("config.json: attn_implementation is 'flex_attention' instead of None",),
    ),
    "dropout": (
        _set("config.json", "hidden_dropout_prob", 0.3),
        ("config.json: hidden_dropout_prob is 0.3 instead of 0.1",),
    ),
    "two words swapped": (
        _swap_lines(THE, OF, file="tokenizer.json"),
        (
            f"the vocabulary is not the original's: AutoTokenizer, from line {min(THE, OF) + 1} on",
            "token ids differ on",
        ),
    ),
    "two words swapped that no probe holds": (
        _swap_lines(LAST, LAST - 1, file="tokenizer.json"),
        (f"the vocabulary is not the original's: AutoTokenizer, from line {LAST} on",),
    ),
    "two lines swapped in vocab.txt alone": (
        _swap_lines(LAST, LAST - 1, file="vocab.txt"),
        (f"the vocabulary is not the original's: vocab.txt, from line {LAST} on",),
    ),
    "half precision": (
        _set("config.json", "dtype", "float16"),
        (
            "config.json: dtype is 'float16' instead of 'float32'",
            "float64 outputs differ from embeddings on",
            "float32 outputs differ from embeddings on",
        ),
    ),
    "no limit of length": (
        _set("tokenizer_config.json", "model_max_length", 10**30),
        (f"the tokenizer is set otherwise: model_max_length is {10**30} instead of {LENGTH}",),
    ),
    "another mask token": (
        _set("tokenizer_config.json", "mask_token", "[UNK]"),
        ("the tokenizer is set otherwise: mask_token is '[UNK]' instead of '[MASK]'",),
    ),
    "padding on the left": (
        _set("tokenizer_config.json", "padding_side", "left"),
        ("the tokenizer is set otherwise: padding_side is 'left' instead of 'right'",),
    ),
    "another padding id in config.json": (
        _set("config.json", "pad_token_id", 5),
        (
            "config.json: pad_token_id is 5 instead of 0",
            "the tokenizer is set otherwise: config.json pads with 5 instead of 0",
        ),
    ),
    "one segment for both texts in tokenizer.json": (
        _json(
            "tokenizer.json",
            lambda data: [part[next(iter(part))].update(type_id=0) for part in data["post_processor"]["pair"]],
        ),
        ("token ids differ on",),
    ),
    "control characters kept in tokenizer.json": (
        _json("tokenizer.json", lambda data: data["normalizer"].__setitem__("clean_text", False)),
        ("token ids differ on",),
    ),
    "added tensor": (
        _tensors(lambda t: t.__setitem__("bert.extra.weight", np.zeros(3, np.float32))),
        ("loading reports unexpected keys: bert.extra.weight", "tensors without a variable: bert.extra.weight"),
    ),
    "missing tensor": (
        _tensors(lambda t: t.pop("bert.encoder.layer.2.output.dense.bias")),
        (
            "loading reports missing keys: bert.encoder.layer.2.output.dense.bias",
            "1 tensor(s) are not their variable's bits: bert.encoder.layer.2.output.dense.bias",
            "float64 outputs differ from layer 3 on",
            "float32 outputs differ from layer 3 on",
        ),
    ),
    "not a number": (
        _tensors(lambda t: t["bert.encoder.layer.0.output.dense.bias"].fill(np.nan)),
        (
            "1 tensor(s)",
            "tensors with NaN or infinity: bert.encoder.layer.0.output.dense.bias",
            "float64 outputs differ from layer 1 on: 1.8e+308",
            "float32 outputs differ from layer 1 on: 1.8e+308",
        ),
    ),
}


@pytest.fixture(scope="module")
def mutated(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Mutated:
    """The report on a copy of the folder with one of the mistakes; each is measured once."""
    top = tmp_path_factory.mktemp("mutated")

    @functools.cache
    def measured(name: str) -> ParityReport:
        shutil.copytree(made.folder, top / name)
        MUTATIONS[name][0](top / name)
        return made.measure(top / name)

    return measured


@pytest.mark.parametrize("name", MUTATIONS)
def test_mistake_in_the_published_folder_fails_by_name(name: str, mutated: Mutated) -> None:
    """Each mistake alone fails, says where, and says nothing of what it does not touch."""
    report = mutated(name)
    failures, expected = report.failures(), MUTATIONS[name][1]
    assert len(failures) == len(expected), failures
    assert all(found.startswith(said) for found, said in zip(failures, expected, strict=True)), failures
    assert report.verdict == report.to_json()["verdict"] == "fail"
    with pytest.raises(ParityError) as caught:
        report.require()
    assert caught.value.exit_code == 15
    assert all(failure in caught.value.message for failure in failures)
    assert caught.value.hint


def test_wrong_activation_is_named_as_the_cause(mutated: Mutated) -> None:
    """When the other form explains every number, the hint says which form the folder computes."""
    with pytest.raises(ParityError) as caught:
        mutated("wrong activation").require()
    assert "the folder computes gelu, the release declares gelu_pytorch_tanh" in caught.value.hint
    with pytest.raises(ParityError) as caught:
        mutated("wrong epsilon").require()
    assert "activation" not in caught.value.hint


def test_wrong_epsilon_shows_in_float64_alone(mutated: Mutated) -> None:
    """An epsilon of 1e-9 hides in the rounding of float32: without float64 the folder would have passed."""
    report = mutated("wrong epsilon")
    assert _reference(report, "float32").is_within
    assert not any(d.is_within for d in _reference(report, "float64").outputs)


@pytest.mark.parametrize("name", ["key bias lost", "one bit of a key bias"])
def test_what_softmax_hides_is_seen_in_the_keys_alone(name: str, mutated: Mutated) -> None:
    """Softmax cancels a key bias: no state and no logit moves, and yet the folder fails, by its bits and its keys."""
    report = mutated(name)
    wrong = [d.output for d in _reference(report, "float64").outputs if not d.is_within]
    assert wrong == ["layer 2 keys"]
    assert report.to_json()["weights"]["bit_identical"] is False
    assert report.verdict == "fail"


def test_a_checkpoint_that_tensorflow_refuses_is_an_error_of_the_checkpoint(made: Made, tmp_path: Path) -> None:
    """What is removed or spoiled under TensorFlow's reader ends in one line that names the checkpoint."""
    from hubpush.parity.graph import Graph

    shutil.copytree(made.files.prefix.parent, tmp_path / "gone")
    prefix = tmp_path / "gone" / made.files.prefix.name
    graph = Graph(prefix, BERT, made.reading.account, made.reading.original)
    next(prefix.parent.glob("*.data-*")).unlink()
    with pytest.raises(CheckpointError, match="TensorFlow cannot read"):
        graph.read("bert/pooler/dense/kernel")
    prefix.with_name(prefix.name + ".index").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="TensorFlow cannot read"):
        Graph(prefix, BERT, made.reading.account, made.reading.original)


@pytest.mark.parametrize(
    ("model_type", "found"), [("electra", "ElectraConfig"), ("bart-like", "has model type `bart-like`")]
)
def test_another_model_type_is_a_parity_error(model_type: str, found: str, made: Made, tmp_path: Path) -> None:
    """A folder that the Auto classes take for another model is refused, whatever its own class makes of it."""
    folder = tmp_path / "model"
    shutil.copytree(made.folder, folder)
    _set("config.json", "model_type", model_type)(folder)
    with pytest.raises(ParityError, match=f"Auto classes load something else: .*{found}"):
        made.measure(folder)


UNLOADABLE: dict[str, tuple[Mutation, str]] = {
    "no class": (_json("config.json", lambda data: data.pop("architectures")), "names no class"),
    "classes as text": (_set("config.json", "architectures", "BertModel"), "names no class"),
    "a function for a class": (_set("config.json", "architectures", ["pipeline"]), "no model class of transformers"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "cannot be read"),
    "no JSON": (lambda folder: (folder / "config.json").write_bytes(b"\xff{"), "cannot be read"),
    "another file of weights": (_set("config.json", "transformers_weights", "other.safetensors"), "cannot load"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "cannot load"),
    "weights cut short": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000]),
        "cannot load",
    ),
    "tokenizer.json that is none": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "cannot load"),
    "a size of zero": (_set("config.json", "hidden_size", 0), "cannot load|another shape"),
    "another size": (_set("config.json", "max_position_embeddings", 32), "cannot load|another shape"),
    "tuples": (_set("config.json", "return_dict", False), "cannot load or run"),
    "no tokenizer": (lambda folder: [p.unlink() for p in folder.glob("tok*")], "cannot load or run"),
    "no segments": (_set("tokenizer_config.json", "model_input_names", ["input_ids"]), "cannot load or run"),
    "a size that is text": (_set("config.json", "hidden_size", "wide"), "cannot load"),
}


@pytest.mark.parametrize("name", UNLOADABLE)
def test_folder_that_does_not_load_is_a_parity_error(name: str, made: Made, tmp_path: Path) -> None:
    """A folder that nobody could load ends in one line that says what is wrong with it."""
    shutil.copytree(made.folder, tmp_path / "model")
    mutate, said = UNLOADABLE[name]
    mutate(tmp_path / "model")
    with pytest.raises(ParityError, match=said) as caught:
        made.measure(tmp_path / "model")
    assert str(tmp_path) not in caught.value.message


def test_class_without_the_heads_is_a_parity_error(made: Made, tmp_path: Path) -> None:
    """A config.json that names a class without the checkpoint's heads is refused, with the outputs that are gone."""
    shutil.copytree(made.folder, tmp_path / "mutated")
    _set("config.json", "architectures", ["BertForMaskedLM"])(tmp_path / "mutated")
    with pytest.raises(ParityError, match="different outputs: mlm_logits, nsp_logits, pooled_output"):
        made.measure(tmp_path / "mutated")


# The report ----------------------------------------------------------------------------------------------------------

_PLAIN = (dict, list, str, int, float, bool, type(None))


def _are_plain(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return type(value) in _PLAIN and all(_are_plain(v) for v in inner)


def test_json_has_the_documented_structure(report: ParityReport) -> None:
    """`parity --json` has the keys of CLI.md in plain Python types, and reads back as it was."""
    data = report.to_json()
    assert _are_plain(data)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data.keys() >= {"verdict", "activation", "references", "weights", "tokenizer", "environment"}
    assert data["verdict"] == "pass"
    assert data["activation"] == "gelu_pytorch_tanh"
    found = [(r["reference"], r["dtype"], r["as_published"], r["verdict"]) for r in data["references"]]
    assert sorted(found) == [
        ("graph", "float32", True, "pass"),
        ("graph", "float64", False, "informative"),
        ("graph", "float64", True, "pass"),
    ]
    for reference in data["references"]:
        for output in reference["outputs"]:
            assert list(output) == [
                "output",
                "shape",
                "max_abs",
                "max_rel",
                "mean_abs",
                "min_cosine",
                "tolerance",
                "floor",
                "verdict",
            ]
            assert 0 < output["floor"] < (1e-12 if reference["dtype"] == "float64" else 1e-4)
            assert output["mean_abs"] <= output["max_abs"]
    assert data["weights"].keys() >= {"variables", "mapped", "dropped", "unknown", "bit_identical"}
    assert data["weights"]["bit_identical"] is True
    assert data["tokenizer"].keys() >= {"unidata_version", "probes", "identical", "known", "first_difference"}
    assert data["environment"].keys() >= {"python", "tensorflow", "torch", "transformers", "tokenizers", "numpy"}
    assert _are_plain(report.samples)
    json.dumps(report.samples, allow_nan=False)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numbers_are_the_differences_of_the_outputs(dtype: str, made: Made, report: ParityReport) -> None:
    """Count, largest and mean difference and floor are those of the outputs at real positions, recomputed."""
    from hubpush.parity.graph import Graph
    from hubpush.parity.published import Published

    account = made.reading.account
    graph = Graph(made.files.prefix, BERT, account, made.reading.original)
    model = Published(made.folder, account.heads, account.model_class)
    ours, theirs, floors = [], [], []
    for inputs in probes.encode(model.tokenizer, LENGTH):
        real = inputs["attention_mask"] == 1
        both = ("float64", "float32")
        sides = {k: (model.run(inputs, k), graph.run(inputs, made.activation, k)) for k in both}
        ours.append(sides[dtype][0]["layer 2"][real])
        theirs.append(sides[dtype][1]["layer 2"][real])
        pairs = zip(sides["float32"], sides["float64"], strict=True)
        floors += [np.abs(low["layer 2"][real].astype(np.float64) - high["layer 2"][real]).max() for low, high in pairs]
    gap = np.abs(np.concatenate(ours).astype(np.float64) - np.concatenate(theirs))
    difference = next(d for d in _reference(report, dtype).outputs if d.output == "layer 2")
    assert difference.shape == gap.shape
    assert difference.scale == pytest.approx(np.abs(np.concatenate(theirs)).max(), rel=1e-6)
    # The rounding itself need not repeat, its size does.
    assert difference.max_abs == pytest.approx(gap.max(), rel=0.5)
    assert difference.mean_abs == pytest.approx(gap.mean(), rel=0.5)
    assert difference.floor == pytest.approx(max(floors) * (2**-29 if dtype == "float64" else 1), rel=0.5)


_sizes = st.floats(0, 1e30, allow_nan=False)


def _difference(max_abs: float, scale: float, floor: float = 0.0, dtype: str = "float64") -> Difference:
    return Difference("layer 1", dtype, (3, 4), max_abs, max_abs / 2, 1.0, scale, floor)


@given(scale=_sizes, larger=_sizes)
def test_float64_tolerance_grows_with_the_output_between_two_bounds(scale: float, larger: float) -> None:
    """Allowed are 1e-13 of the largest value, never less than 1e-13 nor more than 1e-12."""
    tolerance = _difference(0.0, scale).tolerance
    assert 1e-13 <= tolerance <= 1e-12
    assert tolerance <= _difference(0.0, scale + larger).tolerance
    if 1 <= scale <= 10:
        assert tolerance == pytest.approx(1e-13 * scale)


@given(floor=_sizes, scale=_sizes, max_abs=_sizes)
def test_float32_tolerance_is_four_floors(floor: float, scale: float, max_abs: float) -> None:
    """In float32 four times the floor is allowed, whatever the output's size, and nothing more."""
    difference = _difference(max_abs, scale, floor, "float32")
    assert difference.tolerance == max(4 * floor, 1e-30)
    assert difference.is_within == (max_abs <= max(4 * floor, 1e-30))


@given(floor=_sizes, scale=_sizes)
def test_float64_allows_what_the_float32_floor_predicts(floor: float, scale: float) -> None:
    """A model that magnifies rounding may do so in float64 too: 16 of its floors, and no less than any other model."""
    assert _difference(0.0, scale, floor).tolerance == max(_difference(0.0, scale).tolerance, 16 * floor)


def test_overflow_in_one_precision_allows_nothing() -> None:
    """A floor that is not a number, because float32 overflowed alone, must not make room for anything."""
    single, double = {"layer 1": np.float32([[np.inf, 1.0]])}, {"layer 1": np.float64([[1e39, 1.0]])}
    assert compare.floors([([single], [double])]) == {"layer 1": 0.0}
    (difference,) = compare.differences([double], [{"layer 1": np.float64([[1e39, 1.5]])}], {"layer 1": 0.0}, "float64")
    assert not difference.is_within


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("floor", [1e-6, float("nan"), 0.0])
def test_difference_that_is_not_a_number_fails(value: float, floor: float, report: ParityReport) -> None:
    """NaN and infinity are never within, nor is a report that holds one among right numbers."""
    difference = _difference(value, 1.0, floor)
    assert not difference.is_within
    assert difference.to_json()["verdict"] == "fail"
    reference = _reference(report, "float64")
    broken = replace(reference, outputs=(*reference.outputs, difference))
    assert broken.worst is difference
    with pytest.raises(ParityError, match="float64 outputs differ from layer 1 on"):
        replace(report, references=(broken,)).require()


def test_worst_is_the_one_that_fails() -> None:
    """An output that is not within comes before a larger difference that is."""
    small_and_bad, large_and_good = _difference(2e-13, 1.0), replace(_difference(8e-13, 1e9), output="mlm_logits")
    assert Reference("graph", "float64", "gelu", True, (large_and_good, small_and_bad)).worst is small_and_bad


# Probes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [16, LENGTH, 512])
def test_probes_reach_what_they_must(length: int, made: Made) -> None:
    """The long probe fills every position; the short ones bring padding, pairs, segments, masks; none is too long."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(made.folder)
    short, long = probes.encode(tokenizer, length)
    for batch in (short, long):
        assert list(batch) == ["input_ids", "attention_mask", "token_type_ids"]
        assert all(array.dtype == np.int32 and array.shape == batch["input_ids"].shape for array in batch.values())
        assert batch["input_ids"].shape[1] <= length
        assert (batch["input_ids"] < len(VOCAB)).all()
        assert (batch["input_ids"][:, 0] == tokenizer.cls_token_id).all()
        last = batch["attention_mask"].sum(axis=1) - 1
        assert (np.take_along_axis(batch["input_ids"], last[:, None], 1) == tokenizer.sep_token_id).all()
    assert long["input_ids"].shape == (1, length)
    assert long["attention_mask"].all()
    assert len(short["input_ids"]) == len(probes.SHORT)
    padding = short["attention_mask"] == 0
    assert padding.any(axis=1).sum() >= 2
    assert not padding.all(axis=1).any()
    assert (short["input_ids"][padding] == tokenizer.pad_token_id).all()
    pairs = [n for n, (_, second) in enumerate(probes.SHORT) if second]
    assert len(pairs) >= 4
    assert all(set(short["token_type_ids"][n][~padding[n]]) == {0, 1} for n in pairs)
    assert (short["input_ids"] == tokenizer.mask_token_id).any()


def test_samples_are_outputs_of_the_published_model(made: Made, report: ParityReport) -> None:
    """The recorded values are what the folder computes in float64 from the recorded ids at the recorded places."""
    import torch
    import transformers

    model = transformers.BertForPreTraining.from_pretrained(made.folder, attn_implementation="eager").double().eval()
    assert report.samples["dtype"] == "float64"
    assert len(report.samples["batches"]) == 2
    for batch in report.samples["batches"]:
        inputs = {name: torch.tensor(rows) for name, rows in batch["inputs"].items()}
        with torch.inference_mode():
            got = model(**inputs, output_hidden_states=True)
            pooled = model.bert(**inputs).pooler_output
        real = inputs["attention_mask"].bool()
        logits = got.prediction_logits[real]
        logits = logits[np.linspace(0, len(logits) - 1, min(len(logits), 128)).astype(int)]
        expected = {"embeddings": got.hidden_states[0][real], "sequence_output": got.hidden_states[-1][real]}
        expected |= {f"layer {n}": got.hidden_states[n][real] for n in (1, 2, 3)}
        expected |= {"pooled_output": pooled, "nsp_logits": got.seq_relationship_logits, "mlm_logits": logits}
        for n, layer in enumerate(model.bert.encoder.layer):
            with torch.inference_mode():
                keys = layer.attention.self.key(got.hidden_states[n])[real]
            expected[f"layer {n + 1} keys"] = keys[np.linspace(0, len(keys) - 1, min(len(keys), 64)).astype(int)]
        assert batch["outputs"].keys() == expected.keys()
        for name, sample in batch["outputs"].items():
            values = expected[name].numpy().reshape(-1)
            assert sample["places"][0] == 0
            assert sample["places"][-1] == len(values) - 1
            assert len(sample["places"]) == len(sample["values"]) >= 2
            assert np.abs(values[sample["places"]] - sample["values"]).max() < 1e-12, name


def test_the_original_is_read_once_in_each_precision(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """All batches and both GELU forms share what was read; beside it every variable is read once for its bits."""
    from hubpush.parity.graph import Graph

    read = Counter[str]()
    real = Graph.read

    def counted(self: Graph, name: str) -> Any:
        read[name] += 1
        return real(self, name)

    monkeypatch.setattr(Graph, "read", counted)
    made.measure()
    assert set(read.values()) == {3}
    assert len(read) == len(made.reading.account.mapped())


def test_positions_that_are_compared_are_real_and_evenly_spaced() -> None:
    """Of 512 positions 128 stand for the logits over the vocabulary, the first and the last real one among them."""
    mask = np.zeros((2, 300), np.int32)
    mask[0, :200] = mask[1, :3] = 1
    real = np.flatnonzero(mask)
    assert np.array_equal(compare.compared("layer 1", {"attention_mask": mask}), real)
    some = compare.compared("mlm_logits", {"attention_mask": mask})
    assert len(some) == 128
    assert set(some) <= set(real)
    assert (some[0], some[-1]) == (real[0], real[-1])
    outputs = {"mlm_logits": np.arange(600.0).reshape(2, 300, 1), "pooled_output": np.ones((2, 4))}
    rows = compare.real_rows(outputs, {"attention_mask": mask})
    assert np.array_equal(rows["mlm_logits"][:, 0], some)
    assert rows["pooled_output"].shape == (2, 4)
