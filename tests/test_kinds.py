"""Every kind of checkpoint that docs/checkpoints.md lists goes through the one command, or is refused with the reason.

The checkpoints are written by TensorFlow, under the names and in the forms that Google's code gives them.
"""

import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import snapshot_download

from hubpush import conversion, localhub, pipeline
from tests import google_bert
from tests.checkpoints import (
    HEADS,
    TINY,
    TINY_ELECTRA,
    TINY_GENERATOR,
    VOCAB,
    bert_variables,
    electra_variables,
    tensorflow,
    vocab_lines,
    write_checkpoint,
    write_tf2_checkpoint,
    zip_release,
)
from tests.workshop import Result, Workshop, edit

Variables = dict[str, np.ndarray[Any, Any]]
AVERAGE = "/ExponentialMovingAverage"
TEXT = ("--task", "text-classification")


def texts(folder: Path, config: Mapping[str, Any] = TINY, name: str = "bert_config.json") -> None:
    """Config and vocabulary, as they lie beside a release."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(dict(config)), encoding="utf-8", newline="\n")
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n", encoding="utf-8", newline="\n")


def bert(*heads: str, prefix: str = "model.ckpt-1000", **more: Any) -> Callable[[Path], None]:
    """A BERT with some heads, written by the Saver."""

    def write(folder: Path) -> None:
        texts(folder)
        write_checkpoint(folder / prefix, bert_variables(TINY, heads), **more)

    return write


def trained(variables: Variables, *, averages: bool = False) -> Variables:
    """With what training leaves behind: Google's Adam, tf.train's Adam on one variable, LAMB, counters, averages."""
    left: Variables = {"global_step": np.array(1000, np.int64), "beta1_power": np.array(0.9, np.float32)}
    for name, value in variables.items():
        left |= {f"{name}/{slot}": np.zeros_like(value) for slot in ("adam_m", "adam_v")}
        if averages:
            left[name + AVERAGE] = (value * np.float32(0.9)).astype(np.float32)
    some = next(iter(variables))
    left |= {f"{some}/{slot}": np.zeros_like(variables[some]) for slot in ("Adam", "Adam_1", "lamb_m", "lamb_v")}
    return variables | left | {"current_loss_scale": np.array(1.0, np.float32), "good_steps": np.array(3, np.int32)}


def leftovers(folder: Path, *, averages: bool = False) -> None:
    texts(folder)
    write_checkpoint(folder / "model.ckpt-1000000", trained(bert_variables(TINY), averages=averages))


def google(task: Any, *heads: str) -> Callable[[Path], None]:
    """What Google's own code leaves after a few steps of training: with .meta, state file and Adam's moments."""

    def write(folder: Path) -> None:
        texts(folder)
        start = write_checkpoint(folder / "start" / "bert_model.ckpt", bert_variables(TINY, heads))
        google_bert.train(start, folder, TINY, task)
        shutil.rmtree(start.parent)

    return write


def electra(folder: Path, config: Mapping[str, Any] = TINY_ELECTRA) -> None:
    texts(folder, config, "electra_config.json")
    write_checkpoint(folder / "electra_small", trained(electra_variables()))


def tf2(generation: Any, *heads: str, **more: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        texts(folder)
        variables = bert_variables(TINY, ("pooler", *heads))
        write_tf2_checkpoint(folder / "bert_model.ckpt", variables, TINY, generation=generation, **more)

    return write


@dataclass(frozen=True)
class Kind:
    """How a kind is written, what is said of it, and what it becomes."""

    write: Callable[[Path], None]
    options: tuple[str, ...]
    model_class: str
    task: str
    outputs: frozenset[str] = frozenset()
    assumed: str = "the activation is gelu_pytorch_tanh: google-research/bert computes the tanh form"
    labels: tuple[str, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    parameters: int | None = None


SLOTS = "the optimizer's moments (optimization.py of google-research/bert, and LAMB's like it)"
COUNTER = "the training step counter"
RAW = "raw values; their exponential moving averages are published"
RECORDS = "TensorFlow 2's own records"
TF2_ASSUMED = "the activation is gelu_pytorch_tanh: tf-models-official's BERT computes the tanh form"
KINDS = {
    "all heads": Kind(bert(*HEADS), (), "BertForPreTraining", "fill-mask", frozenset({"mlm_logits", "nsp_logits"})),
    "no NSP": Kind(
        bert("pooler", "mlm"), (), "BertForMaskedLM", "fill-mask", dropped={"BertForMaskedLM has no pooler": 2}
    ),
    "no pooler": Kind(bert("mlm"), (), "BertForMaskedLM", "fill-mask", frozenset({"mlm_logits"})),
    "encoder": Kind(bert("pooler"), (), "BertModel", "feature-extraction", frozenset({"pooled_output"})),
    "bare encoder": Kind(bert(), (), "BertModel", "feature-extraction"),
    "shards": Kind(bert(*HEADS, shards=3), (), "BertForPreTraining", "fill-mask"),
    "text classifier": Kind(
        bert("pooler", "classifier"),
        ("--task", "text-classification", "--labels", "labels.txt"),
        "BertForSequenceClassification",
        "text-classification",
        frozenset({"logits", "pooled_output"}),
        assumed="the labels exclude each other, as run_classifier.py's do",
        labels=("negative", "neutral", "positive"),
    ),
    "text classifier without names": Kind(
        bert("pooler", "classifier"),
        ("--task", "text-classification"),
        "BertForSequenceClassification",
        "text-classification",
        frozenset({"logits"}),
        assumed="the labels have no names but LABEL_0",
        labels=("LABEL_0", "LABEL_1", "LABEL_2"),
    ),
    "token classifier": Kind(
        bert("pooler", "classifier"),
        ("--task", "token-classification", "--labels", "labels.txt"),
        "BertForTokenClassification",
        "token-classification",
        frozenset({"logits"}),
        labels=("negative", "neutral", "positive"),
        dropped={"BertForTokenClassification has no pooler": 2},
    ),
    "question answering": Kind(
        bert("pooler", "squad"),
        (),
        "BertForQuestionAnswering",
        "question-answering",
        frozenset({"span_logits"}),
        dropped={"BertForQuestionAnswering has no pooler": 2},
    ),
    "one of two tasks": Kind(
        bert(*HEADS, "squad"),
        ("--task", "question-answering"),
        "BertForQuestionAnswering",
        "question-answering",
        frozenset({"span_logits"}),
        dropped={"BertForQuestionAnswering has no mlm": 5, "BertForQuestionAnswering has no nsp": 2},
    ),
    "run_pretraining's output": Kind(
        google("pretraining", *HEADS), (), "BertForPreTraining", "fill-mask", dropped={SLOTS: 2 * 62, COUNTER: 1}
    ),
    "run_classifier's output": Kind(
        google("classifier", "pooler", "classifier"),
        ("--task", "text-classification", "--labels", "labels.txt"),
        "BertForSequenceClassification",
        "text-classification",
        frozenset({"logits"}),
        labels=("negative", "neutral", "positive"),
        dropped={SLOTS: 2 * 57, COUNTER: 1},
    ),
    "run_squad's output": Kind(
        google("squad", "pooler", "squad"),
        (),
        "BertForQuestionAnswering",
        "question-answering",
        frozenset({"span_logits"}),
        dropped={COUNTER: 1, "BertForQuestionAnswering has no pooler": 2},
    ),
    "training leftovers": Kind(leftovers, (), "BertForPreTraining", "fill-mask", dropped={SLOTS: 2 * 62 + 2}),
    "raw beside averages": Kind(
        lambda folder: leftovers(folder, averages=True),
        (),
        "BertForPreTraining",
        "fill-mask",
        assumed="the raw weights are meant, not their exponential moving averages",
        dropped={"exponential moving averages; the raw values are published (--averaged publishes the averages)": 62},
    ),
    "averages": Kind(
        lambda folder: leftovers(folder, averages=True),
        ("--averaged",),
        "BertForPreTraining",
        "fill-mask",
        dropped={RAW: 62},
    ),
    "ELECTRA discriminator": Kind(
        electra,
        ("--part", "discriminator"),
        "ElectraForPreTraining",
        "feature-extraction",
        frozenset({"rtd_logits"}),
        assumed="the activation is gelu: google-research/electra's modeling.py computes the exact form, by erf",
    ),
    "ELECTRA generator": Kind(
        lambda folder: electra(folder, TINY_GENERATOR),
        ("--part", "generator"),
        "ElectraForMaskedLM",
        "fill-mask",
        frozenset({"mlm_logits"}),
        assumed="the activation is gelu",
    ),
    "TF2, numbered": Kind(
        tf2("numbered", root="model"),
        (),
        "BertModel",
        "feature-extraction",
        assumed=TF2_ASSUMED,
        dropped={RECORDS: 1},
    ),
    "TF2, numbered, 2020": Kind(
        tf2("numbered", attention_output="_attention_output_dense", pooler="next_sentence.pooler_dense"),
        (),
        "BertModel",
        "feature-extraction",
        frozenset({"pooled_output"}),
        assumed="the encoder normalises behind each block",
    ),
    "TF2, named": Kind(
        tf2("named"), (), "BertModel", "feature-extraction", frozenset({"pooled_output"}), assumed=TF2_ASSUMED
    ),
    "TF2, named, masked words": Kind(
        tf2("named", "mlm", slots=True),
        (),
        "BertForMaskedLM",
        "fill-mask",
        frozenset({"mlm_logits"}),
        assumed="the head for masked words has the encoder's activation",
        dropped={RECORDS: 7, "BertForMaskedLM has no pooler": 2},
    ),
}


@pytest.fixture
def desk(tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """An empty directory to write a checkpoint in, and to be in: labels.txt lies there."""
    (tmp_path / "labels.txt").write_text("negative\nneutral\npositive\n")
    monkeypatch.chdir(tmp_path)
    return Workshop(tmp_path, run)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_goes_the_whole_way(kind: Kind, desk: Workshop) -> None:
    """The one command publishes it with parity passed in float64, and its class and pipeline load all of it."""
    import torch
    import transformers

    kind.write(desk.root / "mine")
    result = desk.single(desk.root / "mine", *kind.options, "--json")
    assert result.code == 0, result.err
    (release,) = json.loads(result.out)["releases"]
    assert (release["status"], release["parity"]["verdict"]) == ("published", "pass")
    assert any(kind.assumed in sentence for sentence in release["assumed"]), release["assumed"]
    # What is taken for granted of a head is said where there is the head.
    told = any("the head for masked words has" in sentence for sentence in release["assumed"])
    assert told == ("masked words" in kind.assumed)
    with localhub.serve(desk.hub) as url:
        folder = Path(snapshot_download("me/mine", endpoint=url, token="embedded", local_dir=desk.root / "got"))
    build = json.loads((folder / "hubpush.json").read_text(encoding="utf-8"))["build"]
    assert {why: len(names) for why, names in build["model"]["dropped"].items()}.items() >= kind.dropped.items()
    assert build["parity"]["weights"]["bit_identical"]
    for reference in build["parity"]["references"]:
        assert {output["output"] for output in reference["outputs"]} >= kind.outputs | {"layer 3"}
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"pipeline_tag: {kind.task}\n" in card

    usage = card[card.index("hubpush:begin usage") : card.index("hubpush:end usage")]
    # What other libraries are given is run in tests/test_usage.py.
    snippets = re.findall(r"```python\n(.*?)```", usage.partition("<details>")[0], flags=re.DOTALL)
    assert snippets
    for snippet in snippets:  # as it is printed, but for where the model lies
        here = snippet.replace('"me/mine"', repr(str(folder))).replace(', revision="v1.0.0"', "")
        assert here.count(str(folder)) == snippet.count("me/mine") > 0
        exec(compile(here, "the card's snippet", "exec"), {})  # noqa: S102 - the law is that it runs

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == [kind.model_class]
    assert tuple(config.get("id2label", {}).values()) == kind.labels
    options = {"add_pooling_layer": "pooler" in build["model"]["heads"]} if kind.model_class == "BertModel" else {}
    model, info = getattr(transformers, kind.model_class).from_pretrained(folder, output_loading_info=True, **options)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    if kind.task != "question-answering":  # transformers 5 has no such pipeline any more
        assert transformers.pipeline(kind.task, model=str(folder))("the [MASK] of paris")
    with torch.inference_mode():
        assert torch.isfinite(model(torch.tensor([[101, 500, 102]]))[0]).all()


@pytest.mark.parametrize("kind", ["averages", "TF2, named", "ELECTRA generator", "text classifier"])
def test_a_second_run_changes_nothing(kind: str, desk: Workshop) -> None:
    """What was asked of a checkpoint is part of its identity: the same again is unchanged, another thing is not."""
    KINDS[kind].write(desk.root / "mine")
    assert desk.single(desk.root / "mine", *KINDS[kind].options).code == 0
    again = desk.single(desk.root / "mine", *KINDS[kind].options, "--json")
    assert json.loads(again.out)["releases"][0]["status"] == "unchanged"
    other = {"averages": (), "text classifier": ("--task", "token-classification")}
    if kind in other:
        planned = json.loads(desk.single(desk.root / "mine", *other[kind], "--dry-run", "--json").out)["releases"][0]
        assert (planned["status"], planned["bump"]) == ("planned", "major")


def test_an_archive_of_2018_goes_the_whole_way(desk: Workshop) -> None:
    """A zip with a top folder, a .meta, a state file that points elsewhere and what a Mac adds is one checkpoint."""
    folder = desk.root / "cased_L-12_H-768_A-12"
    google("pretraining", *HEADS)(folder)
    for path in folder.glob("model.ckpt-2.*"):
        path.rename(folder / path.name.replace("model.ckpt-2", "bert_model.ckpt"))
    (folder / "checkpoint").write_text('model_checkpoint_path: "/etc/passwd"\n')
    (folder / "._bert_model.ckpt.index").write_bytes(b"\x00\x05\x16\x07")
    assert (folder / "bert_model.ckpt.meta").is_file()
    archive = zip_release(folder, desk.root / "cased_L-12_H-768_A-12.zip", top_folder=folder.name)
    shutil.rmtree(folder)
    result = desk.single(archive, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["releases"][0]["parity"]["verdict"] == "pass"


def test_averages_are_other_weights(desk: Workshop) -> None:
    """--averaged publishes the averages' bits, and without it the raw ones are, whatever stands beside them."""
    from safetensors.numpy import load_file

    leftovers(desk.root / "mine", averages=True)
    found = {}
    for name, options in (("raw", ()), ("averaged", ("--averaged",))):
        result = desk.run("convert", desk.root / "mine", desk.root / name, *options)
        assert result.code == 0, result.err
        found[name] = load_file(desk.root / name / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    expected = bert_variables(TINY)["bert/embeddings/word_embeddings"]
    assert np.array_equal(found["raw"], expected)
    assert np.array_equal(found["averaged"], (expected * np.float32(0.9)).astype(np.float32))


def test_what_does_not_lie_beside_a_checkpoint_is_given(desk: Workshop) -> None:
    """A fine-tuned checkpoint takes its ancestor's config and vocabulary, and they are part of its identity."""
    texts(desk.root / "base")
    write_checkpoint(desk.root / "out" / "model.ckpt-9", bert_variables(TINY, ("pooler",)))
    source = desk.root / "out" / "model.ckpt-9"
    assert "no bert_config.json and no vocab.txt" in desk.single(source, "--no-parity").err
    config, vocab = desk.root / "base" / "bert_config.json", desk.root / "base" / "vocab.txt"
    assert "no vocab.txt" in desk.single(source, "--no-parity", "--config", config).err
    given = ("--config", config, "--vocab", vocab)
    first = desk.single(source, *map(str, given))
    assert first.code == 0, first.err
    assert "unchanged" in desk.single(source, *map(str, given)).out
    with localhub.serve(desk.hub) as url:
        folder = Path(snapshot_download("me/mine", endpoint=url, token="embedded", local_dir=desk.root / "got"))
    assert "number of attention heads is 4, as the config that was given apart says" in first.err
    assert "--config bert_config.json --vocab vocab.txt" in (folder / "README.md").read_text(encoding="utf-8")
    assert str(desk.root) not in (folder / "README.md").read_text(encoding="utf-8")
    edit(config, '"hidden_dropout_prob": 0.1', '"hidden_dropout_prob": 0.2')
    planned = desk.single(source, *map(str, given), "--dry-run", "--json")
    assert json.loads(planned.out)["releases"][0]["bump"] == "major"


def test_a_family_says_what_options_say(desk: Workshop) -> None:
    """Part, task, labels, averages and files apart are keys of a family file too."""
    electra(desk.root / "electra", TINY_GENERATOR)
    (desk.root / "electra" / "electra_config.json").rename(desk.root / "generator.json")
    bert("pooler", "classifier")(desk.root / "classifier")
    leftovers(desk.root / "averaged", averages=True)
    desk.family.write_text(
        """
format = 1
name = "kinds"
title = "Kinds"
summary = "One of each."
[defaults]
license = "mit"
[[releases]]
name = "generator"
title = "Generator"
source = "electra"
config_file = "generator.json"
architecture = "electra"
part = "generator"
[[releases]]
name = "classifier"
title = "Classifier"
source = "classifier"
task = "text-classification"
labels = ["negative", "neutral", "positive"]
[[releases]]
name = "averaged"
title = "Averaged"
source = "averaged"
averaged = true
"""
    )
    assert desk.run("catalog", desk.family).code == 0
    result = desk.main_job("--json")
    assert result.code == 0, result.err
    assert [r["parity"]["verdict"] for r in json.loads(result.out)["releases"]] == ["pass"] * 3
    again = desk.main_job("--json")
    assert {r["status"] for r in json.loads(again.out)["releases"]} == {"unchanged"}


@pytest.mark.parametrize("count", [2, 12])
@pytest.mark.parametrize("named", [True, False])
def test_labels_are_written_as_transformers_writes_them(count: int, named: bool, desk: Workshop) -> None:
    """config.json of a classifier has the bytes of save_pretrained's, names in the order of their numbers."""
    import transformers

    texts(desk.root / "mine")
    write_checkpoint(desk.root / "mine" / "m", bert_variables(TINY, ("pooler", "classifier"), labels=count))
    names = [f"Größe {n}, <b>|`" for n in range(count)]
    (desk.root / "names.txt").write_text("\n".join(names), encoding="utf-8")
    options = ("--task", "text-classification", *(("--labels", "names.txt") if named else ()))
    result = desk.run("convert", desk.root / "mine", desk.root / "out", *options)
    assert result.code == 0, result.err
    labels: dict[str, Any] = {"num_labels": count}
    if named:
        labels = {"id2label": dict(enumerate(names)), "label2id": {name: n for n, name in enumerate(names)}}
    sizes = {key: value for key, value in TINY.items() if key != "hidden_act"}
    config = transformers.BertConfig(**sizes, **labels, hidden_act="gelu_pytorch_tanh")
    transformers.BertForSequenceClassification(config).save_pretrained(desk.root / "theirs")
    theirs = (desk.root / "theirs" / "config.json").read_text(encoding="utf-8")
    version = next(line for line in theirs.splitlines(keepends=True) if "transformers_version" in line)
    assert (desk.root / "out" / "config.json").read_text(encoding="utf-8") == theirs.replace(version, "")


@pytest.mark.parametrize("generation", ["numbered", "named"])
def test_layouts_mean_what_tf_models_official_means(generation: Any, desk: Workshop) -> None:
    """What is published from an object-based checkpoint computes what tf-models-official computes with that checkpoint.

    Its outputs are recorded by tests/golden/tf_models_official.py, where its own encoders restored the same files.
    """
    import torch
    from transformers import BertForMaskedLM, BertModel

    from tests.golden.tf_models_official import IDS, MASK, SEGMENTS

    record = Path(__file__).parent / "golden" / "tf-models-official.json"
    expected = json.loads(record.read_text(encoding="utf-8"))[generation]
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: torch.from_numpy(array).long() for name, array in zip(names, (IDS, MASK, SEGMENTS), strict=True)}
    for heads, kind in (((), BertModel), (("mlm",), BertForMaskedLM)):
        tf2(generation, *heads)(desk.root / kind.__name__)
        out = desk.root / f"{kind.__name__} converted"
        assert desk.run("convert", desk.root / kind.__name__, out).code == 0
        with torch.inference_mode():
            got = kind.from_pretrained(out)(**inputs)
        if heads:
            found = {"mlm_logits": got.logits.numpy()[:, :, ::50]}
        else:
            found = {"sequence_output": got.last_hidden_state.numpy(), "pooled_output": got.pooler_output.numpy()}
        for name, array in found.items():
            real = MASK == 1 if array.ndim == 3 else slice(None)
            gap = np.abs(array - np.array(expected[name]))[real].max()
            assert gap < 2e-5, (name, gap)  # float32 on both sides; a head for another head gives 1 and more


# What is asked is part of the identity -------------------------------------------------------------------------------


def _status(result: Result) -> tuple[str, str | None, str]:
    """Status, bump and error of the one release."""
    (release,) = json.loads(result.out)["releases"]
    return release["status"], release["bump"], (release["error"] or {}).get("message", "")


def test_saying_what_is_found_anyway_changes_nothing(desk: Workshop) -> None:
    """Where config and vocabulary lie, how they are called, and a task that the heads tell anyway do not count."""
    bert(*HEADS)(desk.root / "a")
    assert desk.single(desk.root / "a", "--no-parity").code == 0
    for options in (
        ("--task", "fill-mask"),
        ("--config", str(desk.root / "a" / "bert_config.json")),
        ("--vocab", str(desk.root / "a" / "vocab.txt"), "--uncased"),
    ):
        assert _status(desk.single(desk.root / "a", *options, "--no-parity", "--json"))[0] == "unchanged", options
    (desk.root / "a" / "bert_config.json").rename(desk.root / "a" / "my_config.json")
    given = ("--config", str(desk.root / "a" / "my_config.json"))
    assert _status(desk.single(desk.root / "a", *given, "--no-parity", "--json"))[0] == "unchanged"
    for order in ("a_base", "z_base"):
        texts(desk.root / order)
    write_checkpoint(desk.root / "m" / "model.ckpt", bert_variables(TINY, ("mlm",)))
    found = []
    for order in ("a_base", "z_base"):
        given = ("--config", desk.root / order / "bert_config.json", "--vocab", desk.root / order / "vocab.txt")
        found.append(desk.single(desk.root / "m", *map(str, given), "--no-parity", "--json", "--dry-run"))
        desk.single(desk.root / "m", *map(str, given), "--no-parity")
    assert _status(found[1])[0] == "unchanged"


def test_what_only_asking_decided_has_to_be_asked_again(desk: Workshop) -> None:
    """Without the --task or --part that decided, the next run is refused as the first would have been."""
    for write, options, words in (
        (bert("pooler", "classifier"), TEXT, "nothing in it says which"),
        (electra, ("--part", "discriminator"), "holds a discriminator and a generator"),
    ):
        shutil.rmtree(desk.root / "hub", ignore_errors=True)
        shutil.rmtree(desk.root / "mine", ignore_errors=True)
        write(desk.root / "mine")
        assert desk.single(desk.root / "mine", *options, "--no-parity").code == 0
        status, _, message = _status(desk.single(desk.root / "mine", "--no-parity", "--json"))
        assert status == "failed"
        assert words in message


def test_another_thing_that_is_asked_is_never_unchanged(desk: Workshop) -> None:
    """Another task, part or architecture than what was published is looked for in the checkpoint again."""
    bert(*HEADS)(desk.root / "bert")
    assert desk.single(desk.root / "bert", "--no-parity").code == 0
    planned = _status(
        desk.single(desk.root / "bert", "--task", "feature-extraction", "--no-parity", "--dry-run", "--json")
    )
    assert planned[:2] == ("planned", "major")
    family = 'format = 1\nname = "f"\ntitle = "F"\nsummary = "F."\n[[releases]]\nname = "mine"\ntitle = "Mine"\n'
    desk.family.write_text(family + 'license = "mit"\nsource = "bert"\n')
    assert desk.main_job("--no-parity").code == 0
    desk.family.write_text(family + 'license = "mit"\nsource = "bert"\narchitecture = "electra"\n')
    assert "holds bert, not electra" in _status(desk.main_job("--no-parity", "--json"))[2]
    electra(desk.root / "electra")
    given = ("--source", desk.root / "electra", "--repo-id", "me/electra", "--license", "mit", "--no-parity", "--json")
    assert desk.run("convert-and-upload", *given, *desk.places(), "--part", "discriminator").code == 0
    other = desk.run("convert-and-upload", *given, *desk.places(), "--part", "generator")
    assert "the config asks for" in _status(other)[2]


def test_texts_that_are_given_no_more_are_missed(desk: Workshop) -> None:
    """A zip without config and vocabulary was published with those given apart; without them it is refused."""
    texts(desk.root / "base")
    write_checkpoint(desk.root / "mine" / "m", bert_variables(TINY, ("mlm",)))
    archive = zip_release(desk.root / "mine", desk.root / "mine.zip")
    given = ("--config", str(desk.root / "base" / "bert_config.json"), "--vocab", str(desk.root / "base" / "vocab.txt"))
    assert desk.single(archive, *given, "--no-parity").code == 0
    assert "has no bert_config.json and no vocab.txt" in _status(desk.single(archive, "--no-parity", "--json"))[2]


def test_texts_given_apart_decide_for_a_zip_too(desk: Workshop) -> None:
    """An edited config of a zip's makes another conversion; one that is gone, or no file, is said before all else."""
    bert("mlm")(desk.root / "mine")
    archive = zip_release(desk.root / "mine", desk.root / "mine.zip")
    config = desk.root / "mine" / "bert_config.json"
    given = ("--config", str(config), "--no-parity", "--json")
    assert _status(desk.single(archive, *given))[0] == "published"
    assert _status(desk.single(archive, *given))[0] == "unchanged"
    edit(config, '"hidden_dropout_prob": 0.1', '"hidden_dropout_prob": 0.2')
    assert _status(desk.single(archive, *given))[:2] == ("published", "major")
    config.unlink()
    os.mkfifo(config)
    assert "no ordinary file, but given as the config" in _status(desk.single(archive, *given))[2]
    config.unlink()
    assert "is not there, but given as the config" in _status(desk.single(archive, *given))[2]
    assert desk.run("convert", archive, desk.root / "out", "--vocab", desk.root / "nowhere").code == 11


def test_a_config_that_is_written_to_meanwhile_is_noticed(desk: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion is never recorded under the digest of a config that it did not use."""
    bert("mlm")(desk.root / "mine")
    archive = zip_release(desk.root / "mine", desk.root / "mine.zip")
    config, convert = desk.root / "mine" / "bert_config.json", pipeline.convert

    def slow(*arguments: Any, **options: Any) -> conversion.Conversion:
        done = convert(*arguments, **options)
        edit(config, '"hidden_dropout_prob": 0.1', '"hidden_dropout_prob": 0.3')
        return done

    monkeypatch.setattr(pipeline, "convert", slow)
    result = desk.single(archive, "--config", str(config), "--no-parity", "--json")
    assert "were changed while they were used" in _status(result)[2]
    assert desk.published() == []


def test_a_url_that_has_another_archive_is_fetched_again(desk: Workshop) -> None:
    """One checkpoint by URL: the server is asked, and what it replaced is converted anew; no byte comes otherwise."""
    bodies, asked = [], []
    for heads in (("mlm",), ("pooler", "mlm")):
        shutil.rmtree(desk.root / "mine", ignore_errors=True)
        bert(*heads)(desk.root / "mine")
        bodies.append(zip_release(desk.root / "mine", desk.root / "mine.zip").read_bytes())
    served = [bodies[0]]

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            asked.append(self.command)
            self.send_response(200)
            self.send_header("content-length", str(len(served[0])))
            self.send_header("etag", f'"{len(served[0])}"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(served[0])

        do_GET = do_HEAD = _answer

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/mine.zip"
        for body, status, gets in ((0, "published", 1), (0, "unchanged", 1), (1, "published", 2), (1, "unchanged", 2)):
            served[0] = bodies[body]
            assert _status(desk.single(url, "--no-parity", "--json"))[0] == status
            assert asked.count("GET") == gets
    finally:
        server.shutdown()


def test_averages_in_slots_of_tensorflow_2_are_said(desk: Workshop) -> None:
    """An object-based checkpoint's averages are left out as what they are, and asking for them is refused."""
    tf2("named")(desk.root / "mine")
    reader = tensorflow().train.load_checkpoint(str(desk.root / "mine" / "bert_model.ckpt"))
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if name.endswith(suffix)}
    slot = "encoder/_pooler_layer/bias/.OPTIMIZER_SLOT/optimizer/average" + suffix
    values |= {slot: np.zeros(32, np.float32), "_CHECKPOINTABLE_OBJECT_GRAPH": np.array(0, np.float32)}
    write_checkpoint(desk.root / "mine" / "bert_model.ckpt", values)
    result = desk.run("convert", desk.root / "mine", desk.root / "out")
    assert result.code == 0, result.err
    assert "Assumed: the raw weights are meant, not their exponential moving averages" in result.err
    assert "Left out: 1 variable: exponential moving averages" in result.err
    refused = desk.run("convert", desk.root / "mine", desk.root / "averaged", "--averaged")
    assert refused.code == 13
    assert "are not read" in refused.err


def test_a_label_may_look_like_a_special_token(desk: Workshop) -> None:
    """Lists of NER labels begin with [PAD] often; that is no JSON."""
    bert("pooler", "classifier")(desk.root / "mine")
    (desk.root / "labels.txt").write_text("[PAD]\nB-PER\nfarsi \u200c emoji 👩\u200d👧\n", encoding="utf-8")
    options = ("--task", "token-classification", "--labels", "labels.txt")
    result = desk.run("convert", desk.root / "mine", desk.root / "out", *options)
    assert result.code == 0, result.err


# Refused -------------------------------------------------------------------------------------------------------------


def _spoil(kind: str, change: Callable[[Variables], None], prefix: str = "model.ckpt-1000") -> Callable[[Path], None]:
    """A kind whose variables were changed."""
    heads = {"classifier": ("pooler", "classifier"), "squad": ("pooler", "squad"), "all": HEADS}

    def write(folder: Path) -> None:
        texts(folder, TINY_ELECTRA if kind == "electra" else TINY)
        variables = electra_variables() if kind == "electra" else bert_variables(TINY, heads[kind])
        change(variables)
        write_checkpoint(folder / prefix, variables)

    return write


def _several(folder: Path) -> None:
    texts(folder)
    for step in (900, 1000, 12):
        write_checkpoint(folder / f"model.ckpt-{step}", bert_variables(TINY))


def _saved_model(folder: Path) -> None:
    tf = tensorflow()
    module = tf.Module()
    module.weight = tf.Variable([1.0])
    module.call = tf.function(lambda x: x * module.weight, input_signature=[tf.TensorSpec([1])])
    tf.saved_model.save(module, str(folder))


def _classifier_of_tf2(folder: Path) -> None:
    """As BertClassifier saves itself: the encoder a level deeper, beside a head."""
    tf = tensorflow()
    texts(folder)
    model = tf.Module()
    setattr(model, "layer_with_weights-1", tf.Module())
    getattr(model, "layer_with_weights-1").kernel = tf.Variable(np.zeros((32, 2), np.float32))
    tf.train.Checkpoint(model=model).write(str(folder / "classifier.ckpt"))


def _two_poolers(folder: Path) -> None:
    tf2("numbered", pooler="next_sentence.pooler_dense")(folder)
    tf = tensorflow()
    reader = tf.train.load_checkpoint(str(folder / "bert_model.ckpt"))
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if name.endswith(suffix)}
    for part in ("kernel", "bias"):
        values[f"encoder/layer_with_weights-7/{part}{suffix}"] = values[f"next_sentence..pooler_dense/{part}{suffix}"]
    write_checkpoint(folder / "bert_model.ckpt", values | {"_CHECKPOINTABLE_OBJECT_GRAPH": np.float32(0)})


def _pop(*names: str) -> Callable[[Variables], None]:
    return lambda variables: [variables.pop(name) for name in names] and None


def _set(name: str, value: Any) -> Callable[[Variables], None]:
    return lambda variables: variables.update({name: value})


ZEROS = np.zeros((4, 32), np.float32)
REFUSED: dict[str, tuple[Callable[[Path], None], tuple[str, ...], int, str]] = {
    "a classifier of nobody knows what": (
        bert("pooler", "classifier"),
        (),
        13,
        "a head for text-classification or token-classification, and nothing in it says which is meant",
    ),
    "labels of another number": (
        _spoil("classifier", lambda v: v.update(output_weights=ZEROS, output_bias=ZEROS[:, 0].copy())),
        (*TEXT, "--labels", "labels.txt"),
        13,
        "the labels are 3 names, the head has 4 scores",
    ),
    "fewer scores than labels": (
        _spoil("classifier", lambda v: v.update(output_weights=ZEROS[:2], output_bias=ZEROS[:2, 0].copy())),
        (*TEXT, "--labels", "labels.txt"),
        13,
        "the labels are 3 names, the head has 2 scores",
    ),
    "heads for two tasks": (
        bert(*HEADS, "squad"),
        (),
        13,
        "the checkpoint has heads for fill-mask or question-answering, and nothing in it says which is meant",
    ),
    "labels for what has none": (bert(*HEADS), ("--labels", "labels.txt"), 13, "BertForPreTraining has no classifier"),
    "a BERT and an ELECTRA": (
        _spoil("all", lambda v: v.update(electra_variables())),
        (),
        13,
        "holds several models: bert, electra-discriminator, electra-generator",
    ),
    "a task without its head": (bert(*HEADS), TEXT, 13, "needs variables that the checkpoint has not: output_weights"),
    "a text classifier without a pooler": (bert("classifier"), TEXT, 13, "has not: bert/pooler/dense/kernel"),
    "a regression": (
        _spoil("classifier", lambda v: v.update(output_weights=ZEROS[:1], output_bias=ZEROS[:1, 0].copy())),
        TEXT,
        13,
        "1 score: a regression or a sigmoid",
    ),
    "half a classifier": (_spoil("classifier", _pop("output_bias")), TEXT, 13, "missing variable output_bias"),
    "a classifier of another width": (
        _spoil("classifier", _set("output_weights", np.zeros((3, 31), np.float32))),
        TEXT,
        13,
        "output_weights has shape [3, 31], the config asks for [3, 32]",
    ),
    "a CRF behind the classifier": (
        _spoil("classifier", _set("crf_loss/transitions", np.zeros((3, 3), np.float32))),
        ("--task", "token-classification"),
        13,
        "unknown variable crf_loss/transitions [3, 3]",
    ),
    "three ends of an answer": (
        _spoil("squad", _set("cls/squad/output_weights", np.zeros((3, 32), np.float32))),
        (),
        13,
        "cls/squad/output_weights has shape [3, 32]",
    ),
    "several checkpoints": (
        _several,
        (),
        11,
        "holds 3 checkpoints, and which one is meant is not guessed:\n"
        "  model.ckpt-12\n  model.ckpt-900\n  model.ckpt-1000",
    ),
    "averages that are not there": (
        bert(*HEADS),
        ("--averaged",),
        13,
        "but there are none (no variable ends in /Expon",
    ),
    "averages of a part": (
        _spoil("all", lambda v: v.update({name + AVERAGE: v[name] for name in list(v)[:40]})),
        ("--averaged",),
        13,
        "22 mistake(s):\n  bert/encoder/layer_2/",
    ),
    "an average of what is unknown": (
        _spoil("all", lambda v: v.update({name + AVERAGE: v.get(name, ZEROS) for name in [*v, "bert/surprise"]})),
        ("--averaged",),
        13,
        "unknown variable bert/surprise/ExponentialMovingAverage",
    ),
    "both parts of an ELECTRA": (electra, (), 13, "holds a discriminator and a generator"),
    "a part of a BERT": (bert(*HEADS), ("--part", "generator"), 13, "holds bert, not generator"),
    "the config of the other part": (electra, ("--part", "generator"), 13, "the config asks for"),
    "an ELECTRA with embeddings of its own": (
        _spoil("electra", lambda v: v.update({"generator/embeddings/word_embeddings": ZEROS})),
        ("--part", "generator"),
        13,
        "unknown variable generator/embeddings/word_embeddings",
    ),
    "an ELECTRA without its projection": (
        _spoil("electra", _pop("electra/embeddings_project/bias")),
        ("--part", "discriminator"),
        13,
        "missing variable electra/embeddings_project/bias",
    ),
    "a regression that nobody called one": (
        _spoil("classifier", lambda v: v.update(output_weights=ZEROS[:1], output_bias=ZEROS[:1, 0].copy())),
        (),
        13,
        "1 score: a regression or a sigmoid",
    ),
    "layers of an ALBERT": (
        _spoil("all", _set("bert/encoder/transformer/group_0/inner_group_0/LayerNorm/beta", ZEROS)),
        (),
        13,
        "holds an ALBERT, which is not read",
    ),
    "an ALBERT": (
        _spoil("all", lambda v: [v.pop(n) for n in list(v)] and v.update({"albert/x": ZEROS})),
        (),
        13,
        "no variable is called bert/…, electra/encoder/…, generator/encoder/…. It has albert/x",
    ),
    "a SavedModel": (_saved_model, (), 11, "is a SavedModel (saved_model.pb)"),
    "a classifier of TensorFlow 2": (
        _classifier_of_tf2,
        (),
        12,
        "an object-based checkpoint of TensorFlow 2 (it has _CHECKPOINTABLE_OBJECT_GRAPH), whose paths are none",
    ),
    "two poolers of TensorFlow 2": (_two_poolers, (), 13, "would both be bert/pooler/dense/kernel"),
}


@pytest.mark.parametrize(("write", "options", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_one_is_refused_with_the_reason(
    write: Callable[[Path], None], options: tuple[str, ...], code: int, words: str, desk: Workshop
) -> None:
    """What does not fit exactly is never guessed: one error that says why, and nothing published or left half made."""
    write(desk.root / "mine")
    result = desk.single(desk.root / "mine", *options)
    assert result.code == code, result.err
    assert words in result.err
    assert result.err.count("Hint: ") == 1
    assert desk.published() == []
    out = desk.run("convert", desk.root / "mine", desk.root / "out", *options)
    assert out.code == code
    assert not (desk.root / "out").exists()
    shutil.rmtree(desk.root / "mine")


def test_a_vocabulary_may_be_shorter_when_the_family_says_so(desk: Workshop) -> None:
    """Padded embedding tables are taken when vocab_lines names the number of lines, and refused otherwise."""
    bert("mlm")(desk.root / "mine")
    lines = vocab_lines(TINY["vocab_size"] - 5)
    (desk.root / "mine" / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    head = 'format = 1\nname = "f"\ntitle = "F"\nsummary = "F."\n[[releases]]\nname = "padded"\ntitle = "Padded"\n'
    desk.family.write_text(head + 'license = "mit"\nsource = "mine"\n')
    refused = desk.main_job()
    assert refused.code == 14
    assert "vocab_lines = 1232" in refused.err
    for count, code in ((1231, 14), (1238, 14), (1232, 0), (1000, 14)):
        desk.family.write_text(head + f'license = "mit"\nsource = "mine"\nvocab_lines = {count}\n')
        result = desk.main_job("--no-parity")
        assert result.code == code, result.err
    desk.family.write_text(head + 'license = "mit"\nsource = "mine"\n')
    assert desk.main_job("--no-parity").code == 14
    card = (desk.root / "work" / "releases" / "acme--padded" / "README.md").read_text(encoding="utf-8")
    assert "1,232 WordPieces, uncased; the embedding table has 1,237 rows" in card
