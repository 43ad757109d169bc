"""The converted model is, bit for bit, what TensorFlow reads and what transformers would have saved."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubpush import conversion, mapping, model
from hubpush.architectures import ARCHITECTURES
from hubpush.catalog import Release
from hubpush.checkpoint import Checkpoint
from hubpush.errors import CheckpointError, ModelError
from hubpush.source import Files
from tests.checkpoints import HEADS, TINY, bert_variables, tensorflow, write_checkpoint, write_release

BERT = ARCHITECTURES["bert"]
NO_ACCOUNT = mapping.Account("bert", BERT.classes[0], frozenset(), (), ())
RELEASE = Release(name="tiny", title="Tiny", source="tiny.zip", license="apache-2.0")
FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]

# What a checkpoint holds, and the transformers class that it is published as.
CASES: dict[str, tuple[tuple[str, ...], str]] = {
    "all heads": (HEADS, "BertForPreTraining"),
    "eleven layers": (HEADS, "BertForPreTraining"),  # "layer_10" sorts before "layer_2"
    "mlm": (("mlm",), "BertForMaskedLM"),
    "mlm and pooler": (("pooler", "mlm"), "BertForMaskedLM"),
    "mlm and nsp": (("mlm", "nsp"), "BertForMaskedLM"),
    "pooler": (("pooler",), "BertModel"),
    "pooler and nsp": (("pooler", "nsp"), "BertModel"),
    "encoder": ((), "BertModel"),
}

Variables = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Case:
    """A release, and the folder that it became."""

    prefix: Path
    folder: Path
    class_name: str
    conversion: conversion.Conversion

    @property
    def has_pooler(self) -> bool:
        """Whether the published model has one."""
        return "pooler" in self.conversion.reading.account.heads


def _convert(prefix: Path, folder: Path, release: Release = RELEASE, **options: Any) -> conversion.Conversion:
    folder.mkdir(parents=True)
    files = Files(prefix, prefix.with_name("bert_config.json"), prefix.with_name("vocab.txt"))
    return conversion.convert(files, folder, release, **options)


@pytest.fixture(scope="module")
def cases(release: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Every case, converted once. Read only."""
    made, top = {}, tmp_path_factory.mktemp("cases")
    for name, (heads, class_name) in CASES.items():
        config = TINY | {"num_hidden_layers": 11 if name == "eleven layers" else 3}
        is_shared = heads == HEADS and config == TINY
        prefix = release / "bert_model.ckpt" if is_shared else write_release(top / name, config=config, heads=heads)
        made[name] = Case(prefix, top / f"{name} out", class_name, _convert(prefix, top / f"{name} out"))
    return made


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    """Each case in turn."""
    return cases[request.param]


# The same conversion a second way ------------------------------------------------------------------------------------


def _by_tensorflow(prefix: Path) -> Variables:
    """The state dict of a class with heads, from TensorFlow's own reader and a few rules of spelling."""
    reader = tensorflow().train.load_checkpoint(str(prefix))
    state = {}
    for name in reader.get_variable_to_shape_map():
        array = reader.get_tensor(name)
        key = re.sub(r"layer_(\d+)", r"layer.\1", name.replace("/", "."))
        if key.endswith(".kernel"):
            key, array = key.replace(".kernel", ".weight"), array.T
        elif key.endswith("_embeddings"):
            key += ".weight"
        key = key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        key = key.replace("seq_relationship.output_", "seq_relationship.").replace("weights", "weight")
        state[key.replace("predictions.output_bias", "predictions.bias")] = np.ascontiguousarray(array)
    return state


def _by_transformers(case: Case, folder: Path) -> Path:
    """The same model as transformers builds it from that state dict and saves it."""
    import torch
    import transformers

    kind = getattr(transformers, case.class_name)
    headless = case.class_name == "BertModel"
    config = {**case.conversion.reading.original, "hidden_act": "gelu_pytorch_tanh"}
    made = kind(transformers.BertConfig(**config), **_options(case))
    state = {
        k.removeprefix("bert.") if headless else k: torch.from_numpy(v) for k, v in _by_tensorflow(case.prefix).items()
    }
    result = made.load_state_dict(state, strict=False)
    assert set(result.missing_keys) <= {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    made.tie_weights()
    made.save_pretrained(folder)
    return folder


def _options(case: Case) -> dict[str, Any]:
    return {"add_pooling_layer": case.has_pooler} if case.class_name == "BertModel" else {}


def _tensors(file: Path) -> Variables:
    from safetensors.numpy import load_file

    return load_file(file)


def test_tensors_are_the_variables_bit_for_bit(case: Case) -> None:
    """Every published tensor has the bits that TensorFlow's reader gives, under a name found without our table."""
    expected, got = _by_tensorflow(case.prefix), _tensors(case.folder / "model.safetensors")
    if case.class_name == "BertModel":
        expected = {key.removeprefix("bert."): value for key, value in expected.items()}
    left_out = expected.keys() - got.keys()
    assert got.keys() <= expected.keys()
    assert all(got[key].shape == expected[key].shape for key in got)
    assert all(got[key].tobytes() == expected[key].tobytes() for key in got)
    assert {key.split(".")[1 if key.startswith(("bert.", "cls.")) else 0] for key in left_out} <= {
        "pooler",
        "seq_relationship",
    }


def test_model_file_is_the_one_transformers_saves(case: Case, tmp_path: Path) -> None:
    """model.safetensors equals, byte for byte, what save_pretrained writes for the same weights."""
    theirs = _by_transformers(case, tmp_path) / "model.safetensors"
    assert (case.folder / "model.safetensors").read_bytes() == theirs.read_bytes()


def test_config_is_the_one_transformers_saves(case: Case, tmp_path: Path) -> None:
    """config.json has key for key what save_pretrained writes, in its order, but for transformers_version."""
    theirs = json.loads((_by_transformers(case, tmp_path) / "config.json").read_text("utf-8"))
    del theirs["transformers_version"]
    text = (case.folder / "config.json").read_text("utf-8")
    assert list(json.loads(text).items()) == list(theirs.items())
    assert text == json.dumps(theirs, indent=2) + "\n"


def test_result_tells_what_was_written(case: Case) -> None:
    """The digest and the number of weights that a conversion returns are those of the file."""
    data = (case.folder / "model.safetensors").read_bytes()
    written = case.conversion.written
    assert (written.sha256, written.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert written.parameters == sum(t.size for t in _tensors(case.folder / "model.safetensors").values())
    assert case.conversion.reading.config == json.loads((case.folder / "config.json").read_text("utf-8"))


def test_folder_holds_five_files(case: Case) -> None:
    """A conversion leaves the files of the model and nothing else: no part, no hidden file."""
    assert sorted(path.name for path in case.folder.iterdir()) == FILES


# Loading -------------------------------------------------------------------------------------------------------------


def _load(class_name: str, folder: Path, **options: Any) -> tuple[Any, Mapping[str, Any]]:
    import transformers

    return getattr(transformers, class_name).from_pretrained(folder, output_loading_info=True, **options)


def test_published_class_finds_every_tensor(case: Case) -> None:
    """The class that config.json names loads the folder with nothing missing, unexpected or of another shape."""
    named = json.loads((case.folder / "config.json").read_text("utf-8"))["architectures"]
    assert named == [case.class_name]
    loaded, info = _load(case.class_name, case.folder, **_options(case))
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    assert loaded.config.hidden_act == "gelu_pytorch_tanh"
    assert loaded.config.layer_norm_eps == 1e-12


@pytest.mark.parametrize(
    ("name", "auto_class", "missing", "unexpected"),
    [
        ("all heads", "AutoModel", "", r"cls\..*"),
        ("all heads", "AutoModelForPreTraining", "", ""),
        ("all heads", "AutoModelForMaskedLM", "", r"bert\.pooler\..*|cls\.seq_relationship\..*"),
        ("all heads", "AutoModelForNextSentencePrediction", "", r"cls\.predictions\..*"),
        ("all heads", "AutoModelForSequenceClassification", r"classifier\..*", r"cls\..*"),
        ("mlm", "AutoModelForMaskedLM", "", ""),
        ("mlm", "AutoModel", r"pooler\..*", r"cls\..*"),
        ("pooler", "AutoModel", "", ""),
        ("pooler", "AutoModelForMaskedLM", r"cls\..*", r"bert\.pooler\..*|pooler\..*"),
        ("pooler", "AutoModelForTokenClassification", r"classifier\..*", r"bert\.pooler\..*|pooler\..*"),
        ("encoder", "AutoModel", r"pooler\..*", ""),
        ("encoder", "AutoModelForQuestionAnswering", r"qa_outputs\..*", ""),
    ],
)
def test_other_classes_miss_nothing_but_heads(
    name: str, auto_class: str, missing: str, unexpected: str, cases: dict[str, Case]
) -> None:
    """Every Auto class finds the whole encoder; what it misses or does not expect are heads alone."""
    _, info = _load(auto_class, cases[name].folder)
    assert not info["mismatched_keys"]
    for kind, pattern in (("missing_keys", missing), ("unexpected_keys", unexpected)):
        assert bool(info[kind]) == bool(pattern), info
        assert all(re.fullmatch(pattern, key) for key in info[kind]), info


# The account ---------------------------------------------------------------------------------------------------------


def test_every_variable_has_one_fate(case: Case) -> None:
    """Each variable of the checkpoint is mapped or dropped, each tensor of the file has one variable."""
    account = case.conversion.reading.account
    names = tensorflow().train.load_checkpoint(str(case.prefix)).get_variable_to_shape_map()
    assert [fate.variable.name for fate in account.fates] == sorted(names)
    assert len(account.mapped()) + len(account.dropped()) == len(names)
    assert [fate.key for fate in account.mapped()] == sorted(_tensors(case.folder / "model.safetensors"))
    assert account.mistakes == ()


@pytest.mark.parametrize(
    ("name", "group", "reason"),
    [
        ("mlm and pooler", "pooler", "BertForMaskedLM has no pooler"),
        ("mlm and nsp", "nsp", "BertForMaskedLM has no nsp"),
        ("pooler and nsp", "nsp", "BertModel has no nsp"),
    ],
)
def test_head_without_a_place_is_dropped_and_that_is_said(
    name: str, group: str, reason: str, cases: dict[str, Case]
) -> None:
    """A head that the published class has no place for is left out whole, with the reason, and is no published head."""
    account = cases[name].conversion.reading.account
    assert {(fate.group, fate.reason) for fate in account.dropped()} == {(group, reason)}
    assert len(account.dropped()) == 2
    assert group not in account.heads
    assert not any(
        group in key or "seq_relationship" in key for key in _tensors(cases[name].folder / "model.safetensors")
    )


def test_training_state_is_dropped_by_name(release: Path, cases: dict[str, Case], tmp_path: Path) -> None:
    """Adam's slots and the step counter are left out, each with its reason; the published bytes are those without."""
    slots = {f"{name}/{slot}": v for name, v in bert_variables(TINY).items() for slot in ("adam_m", "adam_v")}
    slots["global_step"] = np.array(1_000_000, np.int64)
    prefix = write_release(tmp_path / "trained", extra_variables=slots)
    converted = _convert(prefix, tmp_path / "out")
    assert {fate.variable.name for fate in converted.reading.account.dropped()} == set(slots)
    assert all(fate.reason and fate.key is None for fate in converted.reading.account.dropped())
    assert converted.written.sha256 == cases["all heads"].conversion.written.sha256


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    """Unknown, missing, misshapen and mistyped variables are all in one message, and nothing is left in the folder."""
    variables = bert_variables(TINY)
    half, double, integer = "bert/pooler/dense/bias", "bert/embeddings/LayerNorm/beta", "cls/predictions/output_bias"
    short, turned = "bert/embeddings/position_embeddings", "bert/encoder/layer_1/intermediate/dense/kernel"
    del variables["bert/encoder/layer_2/output/dense/kernel"], variables["cls/seq_relationship/output_bias"]
    variables |= {
        "bert/surprise": np.zeros((2, 3), np.float32),
        half: variables[half].astype(np.float16),
        double: variables[double].astype(np.float64),
        integer: variables[integer].astype(np.int32),
        short: variables[short][:-1],
        turned: variables[turned].T,
    }
    write_release(tmp_path / "r")
    prefix = write_checkpoint(tmp_path / "r" / "bert_model.ckpt", variables)
    with pytest.raises(ModelError) as caught:
        _convert(prefix, tmp_path / "out")
    assert caught.value.exit_code == 13
    message = caught.value.message
    assert "8 mistake(s)" in message
    for line in (
        "unknown variable bert/surprise [2, 3]",
        "missing variable bert/encoder/layer_2/output/dense/kernel (of the layers)",
        "missing variable cls/seq_relationship/output_bias (of the nsp)",
        f"{half} is float16; only float32 is published as it is",
        f"{double} is float64; only float32 is published as it is",
        f"{integer} is int32; only float32 is published as it is",
        f"{short} has shape [63, 32], the config asks for [64, 32]",
        f"{turned} has shape [64, 32], the config asks for [32, 64]",
    ):
        assert line in message.splitlines()[1:] or f"  {line}" in message.splitlines(), line
    assert list((tmp_path / "out").iterdir()) == []


# Bytes ---------------------------------------------------------------------------------------------------------------


def _poison(variables: Variables, name: str, *values: float) -> Variables:
    changed = variables[name].copy()
    changed.reshape(-1)[7 : 7 + len(values)] = values
    return variables | {name: changed}


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    """NaN and infinity stop the conversion with every variable's name and count, and leave nothing behind."""
    words, kernel = "bert/embeddings/word_embeddings", "bert/encoder/layer_1/intermediate/dense/kernel"
    config = TINY | {"vocab_size": 10_007}  # word embeddings of more than one block
    variables = _poison(bert_variables(config), words, np.nan, np.inf, -np.inf)
    variables[words][-1, -1] = np.nan
    variables = _poison(variables, kernel, np.nan)
    poisoned = {name: variables[name] for name in (words, kernel)}
    prefix = write_release(tmp_path / "r", config=config, extra_variables=poisoned)
    with pytest.raises(ModelError) as caught:
        _convert(prefix, tmp_path / "out")
    assert "2 variable(s) hold NaN or infinity" in caught.value.message
    assert f"{words}: 4 of 320,224" in caught.value.message
    assert f"{kernel}: 1 of 2,048" in caught.value.message
    assert list((tmp_path / "out").iterdir()) == []

    converted = _convert(prefix, tmp_path / "allowed", allow_nonfinite=True)
    got = _tensors(tmp_path / "allowed" / "model.safetensors")
    expected = _by_tensorflow(prefix)
    assert converted.reading.account.mistakes == ()
    assert all(got[key].tobytes() == expected[key].tobytes() for key in expected)


@pytest.mark.parametrize("name", ["bert/embeddings/word_embeddings", "cls/predictions/transform/dense/kernel"])
def test_damaged_bytes_leave_no_model(name: str, tmp_path: Path) -> None:
    """One flipped bit in a variable's bytes, copied or transposed, is named, and no file is left."""
    prefix = write_release(tmp_path / "r")
    data = prefix.with_name("bert_model.ckpt.data-00000-of-00001")
    raw = bytearray(data.read_bytes())
    raw[raw.index(bert_variables(TINY)[name].tobytes()) + 1001] ^= 0x10
    data.write_bytes(raw)
    with pytest.raises(CheckpointError, match=f"checkpoint damaged: {name}: .*CRC-32C"):
        _convert(prefix, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_shards_give_the_same_bytes(cases: dict[str, Case], tmp_path: Path) -> None:
    """How many data files a checkpoint has makes no difference to what is published."""
    for shards in (2, 3):
        prefix = write_release(tmp_path / f"r{shards}", shards=shards)
        _convert(prefix, tmp_path / f"out{shards}")
        for name in FILES:
            assert (tmp_path / f"out{shards}" / name).read_bytes() == (cases["all heads"].folder / name).read_bytes()


REPRODUCE = """
import hashlib, os, sys
os.umask(int(os.environ["TEST_UMASK"], 8))
from pathlib import Path
from hubpush import conversion, source
from hubpush.catalog import Release
release, out = map(Path, sys.argv[1:])
out.mkdir()
files = source.Files(release / "bert_model.ckpt", release / "bert_config.json", release / "vocab.txt")
conversion.convert(files, out, Release(name="t", title="t", source="t", license="mit"))
for path in sorted(out.iterdir()):
    print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
assert not {"tensorflow", "torch", "transformers"} & set(sys.modules)
"""


@pytest.mark.parametrize(
    "environment",
    [
        {
            "PYTHONHASHSEED": "1",
            "TZ": "Pacific/Kiritimati",
            "LANG": "tr_TR.UTF-8",
            "OMP_NUM_THREADS": "1",
            "TEST_UMASK": "077",
        },
        {
            "PYTHONHASHSEED": "2",
            "TZ": "UTC",
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
            "TEST_UMASK": "0",
        },
    ],
    ids=["one", "another"],
)
def test_bytes_do_not_depend_on_the_process(
    environment: dict[str, str], release: Path, cases: dict[str, Case], tmp_path: Path
) -> None:
    """Hash seed, time zone, locale, threads and umask change no byte; converting imports no heavy library."""
    done = subprocess.run(
        [sys.executable, "-c", REPRODUCE, str(release), str(tmp_path / "out")],
        env=os.environ | environment,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = [(n, hashlib.sha256((cases["all heads"].folder / n).read_bytes()).hexdigest()) for n in FILES]
    assert [tuple(line.split()) for line in done.stdout.splitlines()] == expected


@pytest.mark.parametrize("shape", [(1, 1), (1, 65), (385, 1), (384, 64), (769, 130), (1000, 4096)])
def test_a_transposed_kernel_is_numpys(shape: tuple[int, int]) -> None:
    """Strips and tiles of a matrix whose rows lie apart in memory come to its transpose, whatever its sides."""
    kernel = np.random.default_rng(3).standard_normal((shape[0], shape[1] + 16)).astype(np.float32)[:, : shape[1]]
    assert b"".join(model._transposed(kernel)) == kernel.T.tobytes()


def test_memory_stays_at_a_few_kernels(tmp_path: Path) -> None:
    """Converting 60 MB takes the memory of a kernel and a dozen blocks of 1 MiB, not that of the model or a table."""
    config = TINY | {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 2, "vocab_size": 52_000}
    prefix = write_checkpoint(tmp_path / "large", bert_variables(config, heads=()))
    with Checkpoint(prefix) as checkpoint:
        account = mapping.account(checkpoint, config, BERT)
        published = model.published_config(config, BERT, account, "gelu_pytorch_tanh")
        tracemalloc.start()
        try:
            converted = model.convert(checkpoint, account, published, tmp_path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    kernel = 256 * 1024 * 4
    assert converted.size > 58_000_000
    assert peak < kernel + 12 * 2**20, f"{peak:,}"


# The original config -------------------------------------------------------------------------------------------------


def _read(path: Path, text: str | bytes, **options: Any) -> dict[str, Any]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return model.read_config(path, BERT, **options)


def _without(key: str) -> str:
    return json.dumps({k: v for k, v in TINY.items() if k != key})


def _with(**values: Any) -> str:
    return json.dumps(TINY | values)


BAD_CONFIGS: dict[str, tuple[str | bytes, str]] = {
    **{
        f"no {key}": (_without(key), f"{key} is missing")
        for key in TINY
        if key.endswith(("size", "embeddings", "layers"))
    },
    "heads that do not divide": (_with(num_attention_heads=5), "5 attention heads do not divide hidden_size 32"),
    "pointer to remote code": (_with(auto_map={"AutoModel": "evil.Model"}), "auto_map"),
    "unknown key": (_with(position_embedding_type="relative_key"), "position_embedding_type"),
    "bool as int": (_with(num_hidden_layers=True), "num_hidden_layers must be a whole number of at least 1, not true"),
    "bool as rate": (
        _with(hidden_dropout_prob=False),
        "hidden_dropout_prob must be a number from 0 up to 1, not false",
    ),
    "bool as id": (_with(pad_token_id=False), "pad_token_id is false"),
    "int as bool": (_with(is_decoder=0), "is_decoder is 0"),
    "text as int": (_with(hidden_size="32"), 'hidden_size must be a whole number of at least 1, not "32"'),
    "float as int": (_with(hidden_size=32.0), "hidden_size must be a whole number of at least 1, not 32.0"),
    "zero": (_with(vocab_size=0), "vocab_size must be a whole number of at least 1, not 0"),
    "negative": (_with(type_vocab_size=-2), "type_vocab_size must be a whole number of at least 1, not -2"),
    "huge": (_with(vocab_size=10**40), "vocab_size must be a whole number of at least 1, not 1000"),
    "rate of one": (
        _with(attention_probs_dropout_prob=1),
        "attention_probs_dropout_prob must be a number from 0 up to 1",
    ),
    "infinite rate": (_with().replace("0.02", "1e999"), "initializer_range must be a number"),
    "another epsilon": (_with(layer_norm_eps=1e-5), "layer_norm_eps is 1e-05; the original code always has 1e-12"),
    "decoder": (_with(is_decoder=True), "is_decoder is true"),
    "unknown activation": (_with(hidden_act="swish"), 'hidden_act "swish" is not known here'),
    "activation that is a list": (_with(hidden_act=["gelu"]), "hidden_act"),
    "activation that is null": (_with(hidden_act=None), "hidden_act null is not known here"),
    "another model": (_with(model_type="albert"), 'model_type is "albert", not bert'),
    "keys twice": (_with().replace("{", '{"vocab_size": 5, ', 1), "has keys twice: "),
    "keys twice inside": (_with(architectures=0).replace("0}", '{"a": 1, "a": 2}}'), "has keys twice: "),
    "NaN": (_with().replace("0.02", "NaN"), "has NaN, which is not JSON"),
    "infinity": (_with().replace("0.02", "-Infinity"), "has -Infinity, which is not JSON"),
    "depth bomb": ("[" * 60_000, "is nested like no config"),
    "depth bomb of objects": ('{"a":' * 10_000 + "1" + "}" * 10_000, "is nested like no config"),
    "too large": (_with() + " " * 65_536, "is larger than 64 KiB"),
    "number without end": (_with().replace("1237", "1" * 60_000), "has a number of 60,000 digits"),
    "not JSON": ("vocab_size: 1237", "is not JSON"),
    "empty": ("", "is not JSON"),
    "not an object": ("[1237]", "is not a JSON object"),
    "not UTF-8": (b'{"vocab_size": "\xff"}', "is not JSON"),
    "byte order mark": (b"\xef\xbb\xbf" + _with().encode(), "is not JSON"),
    "two documents": (_with() + _with(), "is not JSON"),
}


@pytest.mark.parametrize("row", BAD_CONFIGS)
def test_bad_config_is_refused_by_name(row: str, tmp_path: Path) -> None:
    """Each mistake in bert_config.json is a ModelError that says which, with the file's name and a hint."""
    text, expected = BAD_CONFIGS[row]
    with pytest.raises(ModelError) as caught:
        _read(tmp_path / "bert_config.json", text)
    assert expected in caught.value.message
    assert caught.value.message.startswith("bert_config.json ")
    assert len(caught.value.message) < 1000
    assert caught.value.hint


def test_all_mistakes_of_a_config_are_named_at_once(tmp_path: Path) -> None:
    """One reading names every mistake, those against the family file included."""
    text = json.dumps(
        {k: v for k, v in TINY.items() if k != "vocab_size"} | {"auto_map": {}, "hidden_size": -1, "hidden_act": {}}
    )
    with pytest.raises(ModelError) as caught:
        _read(tmp_path / "c.json", text, expected={"num_hidden_layers": 12, "vocab_size": 1237})
    assert caught.value.message.startswith("c.json has 6 mistake(s):")
    for part in (
        "vocab_size is missing",
        "auto_map",
        "hidden_size must be",
        "hidden_act {}",
        "num_hidden_layers is 3, the family file promises 12",
        "vocab_size is null, the family file promises 1237",
    ):
        assert part in caught.value.message


def test_config_of_the_releases_is_read_as_it_is(tmp_path: Path) -> None:
    """What Google's archives hold is returned unchanged, the keys of 2018 that no code reads included."""
    multilingual = TINY | {"directionality": "bidi", "pooler_type": "first_token_transform", "pooler_fc_size": 768}
    for config in (TINY, multilingual, TINY | {"model_type": "bert", "architectures": ["BertModel"]}):
        assert _read(tmp_path / "c.json", json.dumps(config), expected={"hidden_size": 32}) == config


def test_config_that_is_not_there_is_a_model_error(tmp_path: Path) -> None:
    """A missing file and a folder in its place are refused like any other mistake."""
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(ModelError, match="cannot be read"):
            model.read_config(path, BERT)


def test_messages_are_printable(tmp_path: Path) -> None:
    """A key from a hostile file reaches no terminal raw: no control characters, no lone surrogates."""
    for text in (_with(**{"\x1b[2Jx\n": 1}), _with(**{"\ud800": 1}), '{"\\u001b": 1, "\\u001b": 2}'):
        with pytest.raises(ModelError) as caught:
            _read(tmp_path / "c.json", text)
        assert all(line.isprintable() for line in caught.value.message.split("\n  ")), caught.value.message
        caught.value.message.encode()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
_KEYS = st.sampled_from([*sorted(row.key for row in BERT.config), "hidden_act", "model_type", "architectures", "x"])
_FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _reads_or_refuses(path: Path, text: str) -> None:
    try:
        config = _read(path, text)
    except ModelError as error:
        assert error.message
        assert error.hint
    else:
        assert all(type(config[row.key]) is int and config[row.key] > 0 for row in BERT.config if row.kind == "size")
        published = model.published_config(config, BERT, NO_ACCOUNT, "gelu_pytorch_tanh")
        assert all(
            published[row.key] is row.default or published[row.key] == row.default
            for row in BERT.config
            if row.kind == "fixed"
        )


@_FUZZ
@given(text=st.text() | _JSON.map(json.dumps) | st.text(alphabet='{}[]",:0123456789eE.-+ nultrfas\\'))
def test_any_text_is_read_or_refused(text: str, tmp_path: Path) -> None:
    """No text whatever raises anything but a ModelError."""
    _reads_or_refuses(tmp_path / "c.json", text)


@_FUZZ
@given(changes=st.dictionaries(_KEYS, _JSON, max_size=3))
def test_any_change_of_a_config_is_read_or_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    """No value at any key raises anything but a ModelError, and none that is accepted is of another type."""
    _reads_or_refuses(tmp_path / "c.json", json.dumps(TINY | changes))


# The activation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "asked", "published"),
    [
        ("gelu", "gelu_pytorch_tanh", "gelu_pytorch_tanh"),
        ("gelu", "gelu", "gelu"),
        ("gelu_new", "gelu_pytorch_tanh", "gelu_pytorch_tanh"),
        ("gelu_pytorch_tanh", "gelu_pytorch_tanh", "gelu_pytorch_tanh"),
        (None, "gelu", "gelu"),
    ],
)
def test_activation_is_the_one_declared(said: str | None, asked: Any, published: str) -> None:
    """The published hidden_act is what the release declares; Google's "gelu" names no form and contradicts neither."""
    original = {k: v for k, v in TINY.items() if k != "hidden_act"} | ({"hidden_act": said} if said else {})
    assert model.published_config(original, BERT, NO_ACCOUNT, asked)["hidden_act"] == published


@pytest.mark.parametrize("said", ["gelu_new", "gelu_pytorch_tanh"])
def test_contradiction_of_activations_is_refused(said: str) -> None:
    """A config that names the tanh form and a release that declares the erf form cannot both be right."""
    with pytest.raises(ModelError, match=f"hidden_act is {said} .* asked for is gelu") as caught:
        model.published_config(TINY | {"hidden_act": said}, BERT, NO_ACCOUNT, "gelu")
    assert "--activation" in caught.value.hint
