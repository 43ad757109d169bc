"""Folders that stand already: `hubpush parity` and `hubpush verify`, as a person types them."""

import contextlib
import http.server
import json
import re
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import HfApi

from hubpush import localhub
from tests import savedmodels
from tests.checkpoints import TINY, VOCAB, bert_variables, write_release
from tests.workshop import Result, Workshop, edit, imports

Run = Callable[..., Result]

FAMILY = """
format = 1
name = "moduled"
title = "Moduled"
summary = "A tiny model with publications of others."

[[releases]]
name = "tiny"
title = "Tiny"
source = "tiny"
license = "mit"
cased = false
activation = "gelu_pytorch_tanh"
tfhub = "module"
official_repo = "acme/tiny-a"
divergences = [{divergences}]
"""


@pytest.fixture(scope="module")
def converted(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the release `tiny`, and `model` that `hubpush convert` made of it. Read only."""
    import subprocess
    import sys

    root = tmp_path_factory.mktemp("proof")
    shutil.copytree(release, root / "tiny")
    command = [sys.executable, "-m", "hubpush.cli", "convert", str(root / "tiny"), str(root / "model"), "--uncased"]
    subprocess.run(command, check=True, capture_output=True)
    return root


@pytest.fixture
def place(converted: Path, tmp_path: Path) -> Path:
    """A writable copy of it."""
    return Path(shutil.copytree(converted, tmp_path / "place"))


def _parity(run: Run, place: Path, *more: object) -> tuple[Result, dict[str, Any]]:
    result = run("parity", place / "model", "--source", place / "tiny", "--work", place / "work", "--json", *more)
    return result, json.loads(result.out) if result.out else {}


def _recorded(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "hubpush.json").read_text("utf-8"))["build"]
    return found


# hubpush parity -------------------------------------------------------------------------------------------------------


def test_a_converted_folder_passes_and_the_result_is_recorded(run: Run, place: Path) -> None:
    """What `convert` wrote is proven by one command; JSON, record and exit code say the same."""
    assert _recorded(place / "model")["parity"] is None
    result, report = _parity(run, place)
    assert result.code == 0
    assert report["verdict"] == "pass"
    assert _recorded(place / "model")["parity"] == report
    assert _recorded(place / "model")["files"].keys() == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    }
    shown = run("parity", place / "model", "--source", place / "tiny")
    assert shown.code == 0
    assert "Verdict: pass" in shown.out
    assert "62 of 62 variables are published, each bit for bit; 62 found by their own names too" in shown.out
    worst = _recorded(place / "model")["parity"]["references"][0]["worst"]
    assert f"{worst['output']}  {worst['max_abs']:.1e}" in shown.out


def test_facts_come_from_the_record_and_can_be_said_anew(run: Run, place: Path) -> None:
    """Without options the record decides; a declared activation that the folder does not compute is named."""
    result = run("parity", place / "model", "--source", place / "tiny", "--activation", "gelu", "-q")
    assert result.code == 15
    assert result.out == "fail\n"
    assert "the folder computes gelu_pytorch_tanh, the release declares gelu: the activation is the cause" in result.err
    assert _recorded(place / "model")["parity"]["verdict"] == "fail"


def test_a_folder_of_others_is_compared_too(run: Run, place: Path) -> None:
    """A folder without a record, saved by transformers itself, is proven by what is said on the command line."""
    import transformers

    theirs = place / "theirs"
    transformers.BertForPreTraining.from_pretrained(place / "model").save_pretrained(theirs)
    transformers.AutoTokenizer.from_pretrained(place / "model").save_pretrained(theirs)
    assert not (theirs / "vocab.txt").exists()
    # What transformers 4 wrote into every config, and means nothing.
    edit(theirs / "config.json", "{", '{"gradient_checkpointing": false, "position_embedding_type": "absolute",')
    result = run("parity", theirs, "--source", place / "tiny", "--uncased", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["verdict"] == "pass"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--parity", "graph,mirror"], "no reference"),
        (["--parity", "graph,graph"], "twice"),
        (["--parity", "tfhub="], "not understood"),
        (["--parity", "tfhub=http://example.org/x.tar.gz"], "not https"),
        (["--family", "bert-miniatures"], "belong together"),
    ],
)
def test_questions_that_make_no_sense_are_usage_errors(run: Run, place: Path, arguments: list[str], said: str) -> None:
    """What cannot be meant ends with exit code 2 and says why."""
    result = run("parity", place / "model", "--source", place / "tiny", *arguments)
    assert result.code == 2
    assert said in result.err


def test_a_folder_that_is_none_and_a_missing_source_are_usage_errors(run: Run, place: Path) -> None:
    """Both ends of the comparison have to be named."""
    assert run("parity", place / "nothing", "--source", place / "tiny").code == 2
    result = run("parity", place / "model")
    assert result.code == 2
    assert "--source is missing" in result.err


def test_token_ids_alone_need_neither_tensorflow_nor_torch(place: Path) -> None:
    """`--parity tokenizer` compares ids and loads no model."""
    loaded = imports(["parity", place / "model", "--source", place / "tiny", "--parity", "tokenizer", "-q"])
    assert "tensorflow" not in loaded


# TF Hub ---------------------------------------------------------------------------------------------------------------


Module = Callable[..., Path]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Module:
    """Puts a module into a place, as `module`; TensorFlow writes each of them once."""
    made: dict[tuple[object, ...], Path] = {}

    def put(place: Path, form: str, seed: int = 0, **options: Any) -> Path:
        key = (form, seed, *sorted(options.items()))
        if key not in made:
            write = {"TF2": savedmodels.write_tf2, "TF1": savedmodels.write_tf1}[form]
            folder = tmp_path_factory.mktemp("modules") / "module"
            made[key] = write(folder, bert_variables(TINY, seed=seed), TINY, VOCAB, **options)
        return Path(shutil.copytree(made[key], place / "module"))

    return put


def _family(place: Path, *divergences: str) -> list[object]:
    (place / "moduled.toml").write_text(FAMILY.format(divergences=", ".join(divergences)), encoding="utf-8")
    return ["--family", place / "moduled.toml", "--model", "tiny"]


def _known(kind: str, reference: str = "tfhub") -> str:
    return f'{{ reference = "{reference}", kind = "{kind}", why = "It is told.", link = "https://example.org/1" }}'


def _of(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (r for r in report["references"] if r["reference"] == name)
    return dict(found)


@pytest.mark.parametrize("form", ["TF2", "TF1"])
def test_a_module_with_the_same_weights_passes(run: Run, place: Path, module: Module, form: str) -> None:
    """Weights are bit for bit the checkpoint's, outputs within four floors of float32."""
    module(place, form)
    result, report = _parity(run, place, "--parity", f"graph,tokenizer,tfhub={place / 'module'}")
    assert result.code == 0, result.err
    found = _of(report, "tfhub")
    assert (found["verdict"], found["dtype"], found["source"]) == ("pass", "float32", "module")
    assert found["weights"]["compared"] == found["weights"]["identical"] > 50
    assert {"sequence_output", "pooled_output"} <= {d["output"] for d in found["outputs"]}
    assert str(place) not in json.dumps(report)


@pytest.mark.parametrize("form", ["TF2", "TF1"])
@pytest.mark.long
def test_a_module_with_other_weights_is_told_from_a_wrong_conversion(
    run: Run, place: Path, module: Module, form: str
) -> None:
    """The message says that the weights are others; declared it is known, and the folder passes all the same."""
    module(place, form, seed=1)
    asked = ("--parity", "graph,tfhub")
    result, report = _parity(run, place, *_family(place), *asked)
    assert result.code == 15
    assert report["verdict"] == "fail"
    assert list(_of(report, "tfhub")["differences"]) == ["weights"]
    assert "variables have other weights" in result.err
    assert "the original's own outputs are right" in result.err
    result, report = _parity(run, place, *_family(place, _known("weights")), *asked)
    assert result.code == 0, result.err
    assert (report["verdict"], _of(report, "tfhub")["verdict"]) == ("known-divergence", "known-divergence")
    assert _of(report, "tfhub")["activation"] == "gelu_pytorch_tanh"


@pytest.mark.parametrize("form", ["TF2", "TF1"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_module_of_the_other_gelu_form_is_named(run: Run, place: Path, module: Module, form: str, seed: int) -> None:
    """The form is found by what the module computes, even where its weights are others as well."""
    module(place, form, seed=seed, activation="gelu")
    result, report = _parity(run, place, "--parity", f"graph,tfhub={place / 'module'}")
    assert result.code == 15
    found = _of(report, "tfhub")
    assert (found["activation"], found["as_published"]) == ("gelu", False)
    assert list(found["differences"]) == ["weights", "activation"][1 - seed :]
    assert "it computes gelu, this release declares gelu_pytorch_tanh" in result.err


def test_what_is_declared_has_to_be_there_and_of_its_kind(run: Run, place: Path, module: Module) -> None:
    """A declared difference that is absent, or is of another kind, is something to look at."""
    module(place, "TF2")
    asked = ("--parity", "graph,tfhub")
    result, report = _parity(run, place, *_family(place, _known("weights")), *asked)
    assert result.code == 15
    assert "a difference of the weights is declared, and there is none" in result.err
    shutil.rmtree(place / "module")
    module(place, "TF2", activation="gelu")
    result, report = _parity(run, place, *_family(place, _known("weights")), *asked)
    assert len(report["failures"]) == 2
    result, report = _parity(run, place, *_family(place, _known("activation", "tfhub=module")), *asked)
    assert (result.code, report["verdict"]) == (0, "known-divergence")
    # What is declared of another module says nothing of this one.
    result, _ = _parity(run, place, *_family(place, _known("activation", "tfhub=https://example.org/1")), *asked)
    assert result.code == 15


def test_vocabulary_and_casing_of_a_module_are_compared(run: Run, place: Path, module: Module) -> None:
    """Another vocabulary, or casing, is a difference of the tokenizer."""
    module(place, "TF2", cased=True)
    result, report = _parity(run, place, "--parity", f"graph,tfhub={place / 'module'}")
    assert result.code == 15
    assert list(_of(report, "tfhub")["differences"]) == ["tokenizer"]
    assert "its texts are cased" in result.err


def test_a_wrong_output_without_a_cause_is_one_of_the_outputs(run: Run, place: Path, module: Module) -> None:
    """A module with our weights, our form and other outputs is not explained away."""
    module(place, "TF2", change=abs)
    result, report = _parity(run, place, "--parity", f"graph,tfhub={place / 'module'}")
    assert result.code == 15
    assert list(_of(report, "tfhub")["differences"]) == ["outputs"]
    assert "neither weights nor GELU form explain it" in result.err


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0),
        lambda *given: Quiet(*given, directory=str(folder)),  # type: ignore[arg-type]
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_module_comes_from_a_tar_and_from_a_url(run: Run, place: Path, module: Module) -> None:
    """tar.gz on a disk and over http are unpacked and used; the URL stands in the report without its query."""
    module(place, "TF2")
    (place / "www").mkdir()
    with tarfile.open(place / "www" / "1.tar.gz", "w:gz") as archive:
        archive.add(place / "module", arcname=".")
    result, report = _parity(run, place, "--parity", f"graph,tfhub={place / 'www' / '1.tar.gz'}")
    assert (result.code, _of(report, "tfhub")["source"]) == (0, "1.tar.gz")
    with _served(place / "www") as url:
        result, report = _parity(run, place, "--parity", f"graph,tfhub={url}/1.tar.gz?tf-hub-format=compressed")
    assert (result.code, _of(report, "tfhub")["source"]) == (0, f"{url}/1.tar.gz")


@pytest.mark.parametrize("what", ["nothing", "text", "a zip of something else", "a module of another size"])
def test_what_is_no_module_is_refused_with_a_reason(run: Run, place: Path, what: str) -> None:
    """A wrong path, a file that is no archive, an archive without a module: exit code 11; another size: 15."""
    where, code = place / "module.tar.gz", 11
    if what == "text":
        where.write_text("hello")
    elif what == "a zip of something else":
        with tarfile.open(where, "w:gz") as archive:
            archive.add(place / "tiny" / "vocab.txt", arcname="vocab.txt")
    elif what == "a module of another size":
        config = {**TINY, "hidden_size": 16, "intermediate_size": 32}
        where, code = savedmodels.write_tf2(place / "other", bert_variables(config), config, VOCAB), 15
    result, _ = _parity(run, place, "--parity", f"graph,tfhub={where}")
    assert result.code == code, result.err
    assert "Hint: " in result.err


# Another repo ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def second(after: Workshop) -> Workshop:
    """A Hub with a published repo `acme/tiny-a`, which is the tiny release's own conversion."""
    return after


def _edited(hub: Path, repo_id: str, file: str, old: str, new: str) -> None:
    with localhub.serve(hub) as url:
        api = HfApi(endpoint=url, token="embedded")
        text = Path(api.hf_hub_download(repo_id, file, cache_dir=hub.parent / "c")).read_text("utf-8")
        assert old in text
        api.upload_file(path_or_fileobj=text.replace(old, new, 1).encode(), path_in_repo=file, repo_id=repo_id)


def test_the_same_model_in_another_repo_passes(run: Run, place: Path, second: Workshop) -> None:
    """Tensors bit for bit, config and tokenizer key by key, float64 outputs: all the same."""
    result, report = _parity(run, place, "--parity", "graph,tokenizer,repo=acme/tiny-a", "--hub", second.hub)
    assert result.code == 0, result.err
    found = _of(report, "repo")
    assert (found["verdict"], found["dtype"], found["source"]) == ("pass", "float64", "acme/tiny-a")
    assert found["weights"]["compared"] == found["weights"]["identical"] == 62
    assert {"mlm_logits", "nsp_logits", "layer 3 keys"} <= {d["output"] for d in found["outputs"]}


def test_a_repo_with_the_other_hidden_act_is_a_known_divergence_once_declared(
    run: Run, place: Path, second: Workshop
) -> None:
    """The official repos' `hidden_act` is told with its gap; declared, it is no failure; and it is that alone."""
    _edited(second.hub, "acme/tiny-a", "config.json", '"gelu_pytorch_tanh"', '"gelu"')
    asked = ("--parity", "graph,repo", "--hub", second.hub)
    result, report = _parity(run, place, *_family(place), *asked)
    assert result.code == 15
    assert list(_of(report, "repo")["differences"]) == ["activation"]
    assert "hidden_act is gelu, this release declares gelu_pytorch_tanh" in result.err
    result, report = _parity(run, place, *_family(place, _known("activation", "repo")), *asked)
    assert (result.code, report["verdict"]) == (0, "known-divergence")
    _edited(second.hub, "acme/tiny-a", "config.json", '"hidden_dropout_prob": 0.1', '"hidden_dropout_prob": 0.2')
    _edited(second.hub, "acme/tiny-a", "tokenizer_config.json", '"do_lower_case": true', '"do_lower_case": false')
    result, report = _parity(run, place, *_family(place, _known("activation", "repo")), *asked)
    assert result.code == 15
    assert list(_of(report, "repo")["differences"]) == ["config", "tokenizer", "activation"]
    assert "hidden_dropout_prob is 0.2 there, 0.1 here" in result.err
    assert "other ids on" in result.err


def test_a_folder_with_one_other_bit_or_without_a_head_is_told(run: Run, place: Path) -> None:
    """`repo=./folder` takes a folder; one bit is found by its tensor, and what lacks a head is compared without it."""
    from safetensors.numpy import load_file, save_file

    other = place / "other"
    shutil.copytree(place / "model", other)
    tensors = load_file(other / "model.safetensors")
    tensors["bert.pooler.dense.bias"].view(np.uint32)[3] ^= 1
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    result, report = _parity(run, place, "--parity", f"graph,repo={other}")
    assert result.code == 15
    assert "1 of 62 tensors have other bits, bert.pooler.dense.bias first" in result.err
    bare = {k: v for k, v in load_file(place / "model" / "model.safetensors").items() if not k.startswith("cls.")}
    save_file(bare, other / "model.safetensors", metadata={"format": "pt"})
    result, report = _parity(run, place, "--parity", f"graph,repo={other}")
    assert list(_of(report, "repo")["differences"]) == ["weights"]
    assert "7 are not there" in result.err
    assert all(d["verdict"] == "pass" for d in _of(report, "repo")["outputs"])
    assert "mlm_logits" not in {d["output"] for d in _of(report, "repo")["outputs"]}


def test_a_repo_of_another_size_is_refused(run: Run, place: Path) -> None:
    """Another number of layers or positions is another model: one line, and no comparison."""
    for change in ({"num_hidden_layers": 2}, {"hidden_size": 16, "intermediate_size": 32}):
        write_release(place / "small", config={**TINY, **change})
        shutil.rmtree(place / "other", ignore_errors=True)
        assert run("convert", place / "small", place / "other", "--uncased").code == 0
        result, _ = _parity(run, place, "--parity", f"graph,repo={place / 'other'}")
        assert result.code == 15
        assert "it is another shape than this checkpoint" in result.err
        shutil.rmtree(place / "small")


def test_a_repo_that_is_not_there_is_refused(run: Run, place: Path, second: Workshop) -> None:
    """A name nobody knows is the Hub's refusal; a folder nobody has is one of the source."""
    assert _parity(run, place, "--parity", "graph,repo=acme/none", "--hub", second.hub)[0].code == 17
    assert _parity(run, place, "--parity", "graph,repo=./none")[0].code == 11


# KerasHub, and all in the main job ------------------------------------------------------------------------------------


def test_keras_computes_the_tanh_form_and_that_is_known(run: Run, place: Path) -> None:
    """KerasHub agrees in float64 with a folder of the tanh form; with one of the erf form it is known not to."""
    result, report = _parity(run, place, "--parity", "graph,keras")
    assert (result.code, report["verdict"]) == (0, "pass")
    assert {r["dtype"] for r in report["references"] if r["reference"] == "keras"} == {"float64", "float32"}
    shutil.rmtree(place / "model")
    assert run("convert", place / "tiny", place / "model", "--activation", "gelu").code == 0
    result, report = _parity(run, place, "--parity", "graph,keras")
    assert (result.code, report["verdict"]) == (0, "known-divergence")
    keras = [r for r in report["references"] if r["reference"] == "keras"]
    assert all(r["differences"].keys() == {"activation"} for r in keras)
    assert all("KerasHub" in r["declared"][0]["why"] for r in keras)


def test_the_main_job_takes_references_and_the_card_shows_them(
    run: Run, place: Path, module: Module, tmp_path: Path
) -> None:
    """What is asked for with --parity is measured, recorded and on the card; asked again, nothing is left to do."""
    module(place, "TF2", seed=1)
    _family(place, _known("weights"))
    common = ("--family", place / "moduled.toml", "--org", "acme", "--hub", tmp_path / "hub", "--work", tmp_path / "w")
    first = run("convert-and-upload", *common, "--json")
    assert json.loads(first.out)["releases"][0]["parity"]["verdict"] == "pass", first.err
    asked = ("--parity", "graph,tokenizer,tfhub,keras")
    result = run("convert-and-upload", *common, *asked, "--json")
    (released,) = json.loads(result.out)["releases"]
    assert (released["status"], released["version"]) == ("published", "1.0.1"), result.err
    assert released["parity"]["verdict"] == "known-divergence"
    assert released["parity"]["known"] == ["tfhub=module, weights"]
    assert released["memory"] > 1e8
    shown = run("convert-and-upload", *common, *asked)
    assert "Known to differ: tiny from tfhub=module, weights; the card says why" in shown.err
    assert json.loads(run("convert-and-upload", *common, *asked, "--json").out)["releases"][0]["status"] == "unchanged"
    # Asking for less takes nothing away.
    assert json.loads(run("convert-and-upload", *common, "--json").out)["releases"][0]["status"] == "unchanged"
    with localhub.serve(tmp_path / "hub") as url:
        api = HfApi(endpoint=url, token="embedded")
        folder = Path(api.snapshot_download("acme/tiny", cache_dir=tmp_path / "c"))
    card = (folder / "README.md").read_text("utf-8")
    assert re.search(r"\| TF Hub module module \(\d+ of \d+ weights the same\) \| float32 \|", card)
    told = "- **TF Hub module** (weights): It is told. [Where it is told](https://example.org/1). Measured here: "
    assert told in card
    recorded = {r["reference"]: r for r in _recorded(folder)["parity"]["references"]}
    assert f"{recorded['keras']['worst']['max_abs']:.1e}" in card
    assert (folder / "parity" / "layers.png").read_bytes().startswith(b"\x89PNG")
    assert "](parity/layers.png)" in card


def test_a_published_model_is_compared_with_graph_and_tokenizer_at_least(run: Run, place: Path) -> None:
    """The card's verdict needs both: less is refused before anything is done."""
    result = run(
        "convert-and-upload", "--source", place / "tiny", "--repo-id", "a/b", "--license", "mit", "--parity", "keras"
    )
    assert result.code == 2
    assert "graph and tokenizer at least" in result.err


def test_a_family_that_names_no_module_is_told(run: Run, shop: Workshop) -> None:
    """`--parity tfhub` without a path needs the family's word."""
    result = shop.main_job("tiny-a", "--parity", "graph,tokenizer,tfhub")
    assert result.code == 10
    assert "nothing says which tfhub to compare with" in result.err


# hubpush verify -------------------------------------------------------------------------------------------------------


def _verify(shop: Workshop, *more: object) -> tuple[Result, dict[str, Any]]:
    result = shop.run("verify", "acme/tiny-a", *shop.places(), "--json", *more)
    return result, json.loads(result.out) if result.out else {}


def test_a_published_repo_is_what_its_manifest_says(after: Workshop) -> None:
    """Every file at its digest, ids and outputs as recorded, by branch and by tag; the table says so."""
    result, found = _verify(after, "--revision", "v1.0.0")
    assert result.code == 0, result.err
    assert found["verdict"] == "same"
    looked = [f["what"] for f in found["findings"]]
    assert {"model.safetensors", "README.md", "parity/layers.png", "loading", "token ids", "mlm_logits"} <= set(looked)
    shown = after.run("verify", "acme/tiny-a", *after.places())
    assert shown.code == 0
    assert shown.out.splitlines()[-1].endswith(": same")


def test_digests_alone_need_nothing_heavy(after: Workshop) -> None:
    """`--digests` loads neither TensorFlow nor torch nor transformers."""
    loaded = imports(["verify", "acme/tiny-a", *after.places(), "--digests", "-q"])
    assert not {"tensorflow", "torch", "transformers"} & loaded


def test_verify_proves_again_with_the_source(after: Workshop) -> None:
    """With the checkpoint the whole proof runs once more; with another checkpoint it fails, and says so."""
    result, found = _verify(after, "--source", after.root / "tiny-a.zip")
    assert result.code == 0, result.err
    assert found["parity"]["verdict"] == "pass"
    write_release(after.root / "other", seed=5)
    result, found = _verify(after, "--source", after.root / "other")
    assert result.code == 19
    assert "is not what its manifest says: source" in result.err
    assert found["skipped"] == ["the proof: this is not the source that was converted"]


def test_a_changed_file_is_found(after: Workshop) -> None:
    """A file that somebody changed on the Hub is named; text around the card's generated parts is a person's own."""
    _edited(after.hub, "acme/tiny-a", "vocab.txt", "[MASK]", "[mask]")
    result, found = _verify(after, "--digests")
    assert result.code == 19
    assert [f["what"] for f in found["findings"] if not f["same"]] == ["vocab.txt"]
    assert _verify(after, "--digests", "--revision", "v1.0.0")[0].code == 0


@pytest.mark.parametrize("name", ["special_tokens_map.json", "pytorch_model.bin", "modeling.py", "adapter_config.json"])
def test_files_that_loaders_read_are_not_a_persons_own(
    after: Workshop, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was added beside the published files and changes what loads is named; a picture or a text is not."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # the embedded Hub has none
    with localhub.serve(after.hub) as url:
        api = HfApi(endpoint=url, token="embedded")
        api.upload_file(path_or_fileobj=b"hello", path_in_repo="NOTES.md", repo_id="acme/tiny-a")
        assert _verify(after, "--digests")[0].code == 0
        api.upload_file(path_or_fileobj=b'{"mask_token": "[UNK]"}', path_in_repo=name, repo_id="acme/tiny-a")
    result, found = _verify(after)
    assert result.code == 19
    assert [f["what"] for f in found["findings"] if not f["same"]] == [name]


def test_a_persons_text_on_the_card_is_no_difference(after: Workshop) -> None:
    """What stands outside the markers may be anybody's."""
    _edited(
        after.hub, "acme/tiny-a", "README.md", "<!-- hubpush:begin footer -->", "Mine.\n\n<!-- hubpush:begin footer -->"
    )
    assert _verify(after, "--digests")[0].code == 0
    _edited(after.hub, "acme/tiny-a", "README.md", "PASS", "FINE")
    result, _ = _verify(after, "--digests")
    assert result.code == 19


@pytest.mark.parametrize("what", ["output", "ids", "awkward", "none", "odd", "generous"])
def test_what_was_recorded_and_is_no_more_is_told(after: Workshop, what: str) -> None:
    """An output or an id that is another than when it was published ends with 19, and says which."""
    with localhub.serve(after.hub) as url:
        api = HfApi(endpoint=url, token="embedded")
        path = Path(api.hf_hub_download("acme/tiny-a", "hubpush.json", cache_dir=after.root / "c"))
        data = json.loads(path.read_text("utf-8"))
        samples = data["build"]["samples"]
        if what == "output":
            samples["batches"][0]["outputs"]["layer 2"]["values"][1] += 1e-9
        elif what == "ids":
            samples["texts"][1][2][2] += 1
        elif what == "none":
            samples["batches"] = []
        elif what == "odd":
            samples["batches"][0]["outputs"]["layer 2"]["places"][1] = 10**30
        elif what == "generous":
            samples["batches"][0]["outputs"]["layer 2"]["values"][1] += 1e-9
            for reference in data["build"]["parity"]["references"]:
                for row in reference["outputs"]:
                    row["tolerance"] = 1e9
        else:
            samples["awkward"]["ids_sha256"] = "0" * 64
        api.upload_file(path_or_fileobj=json.dumps(data).encode(), path_in_repo="hubpush.json", repo_id="acme/tiny-a")
    result, found = _verify(after)
    assert result.code == 19
    if what == "odd":
        assert "the recorded samples cannot be used" in result.err
        return
    (wrong,) = (f for f in found["findings"] if not f["same"])
    assert wrong["what"] == {"output": "layer 2", "generous": "layer 2", "none": "samples"}.get(what, "token ids")


def test_repos_that_cannot_be_verified_say_why(after: Workshop) -> None:
    """No such repo, none of hubpush's, no repo id at all: each has its exit code."""
    with localhub.serve(after.hub) as url:
        HfApi(endpoint=url, token="embedded").create_repo("acme/empty")
    assert after.run("verify", "acme/none", *after.places()).code == 17
    result = after.run("verify", "acme/empty", *after.places())
    assert result.code == 19
    assert "hubpush did not publish it" in result.err
    assert after.run("verify", "nonsense", *after.places()).code == 2
    assert after.run("verify", "acme/tiny-a", *after.places(), "--digests", "--source", "x").code == 2


def test_a_repo_published_without_parity_says_what_was_not_compared(shop: Workshop) -> None:
    """Digests are still compared; that no outputs are recorded is said."""
    assert shop.main_job("tiny-b", "--no-parity").code == 0
    result = shop.run("verify", "acme/tiny-b", *shop.places())
    assert result.code == 0
    assert "Not compared: ids and outputs: none are recorded" in result.err
    edit(shop.family, 'title = "Tiny B"', 'title = "Tiny Bee"')
