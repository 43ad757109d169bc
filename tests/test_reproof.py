"""`hubpush verify --org`: every published version of a family against its record, with the libraries of today."""

import gc
import importlib.metadata
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from hubpush import cli, client, localhub, manifest, reproof
from hubpush.errors import HubRefusedError
from hubpush.localhub.faults import Fault, Plan
from hubpush.parity import recorded
from tests.workshop import Result, Workshop, edit, imports

Run = Callable[..., Result]
needs_keras = pytest.mark.skipif(importlib.util.find_spec("keras_hub") is None, reason="needs the extra keras")


@pytest.fixture(scope="module")
def published_twice(done: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The family with two versions of each release, the second of the card alone. Copied by the tests."""
    root = tmp_path_factory.mktemp("twice") / "shop"
    shutil.copytree(done, root)
    for letter in "AB":
        edit(root / "tinies.toml", f'title = "Tiny {letter}"', f'title = "Tiny {letter}, renamed"')
    family = ("--family", str(root / "tinies.toml"), "--org", "acme", "--quiet")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as caught:
        places = ("--hub", str(root / "hub"), "--work", str(root / "work"))
        patch.setattr(sys, "argv", ["hubpush", "convert-and-upload", *family, *places])
        cli.main()
    client.bound(client.Bounds())
    assert not caught.value.code
    shutil.rmtree(root / "work")
    return root


@pytest.fixture
def twice(published_twice: Path, tmp_path: Path, run: Run) -> Workshop:
    """A writable copy of it."""
    shutil.copytree(published_twice, tmp_path / "shop")
    return Workshop(tmp_path / "shop", run)


def _verify(shop: Workshop, *more: object, hub: object = None) -> tuple[Result, dict[str, Any]]:
    """The re-proof, without KerasHub, which most tests have no use for."""
    asked = ("--no-keras",) if not {"--keras", "--digests"} & set(map(str, more)) else ()
    places = ("--hub", hub or shop.hub, "--work", shop.root / "work")
    result = shop.run("verify", "--org", "acme", "--family", shop.family, *places, "--json", *asked, *more)
    return result, json.loads(result.out) if result.out else {}


def _rows(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{row['name']} {row['version']}": row for row in found["versions"]}


def _verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {name: row["verdict"] for name, row in _rows(found).items()}


def _wrong(row: dict[str, Any]) -> list[str]:
    return [finding["what"] for finding in row["findings"] if not finding["same"]]


def _found(row: dict[str, Any], what: str) -> str:
    return next(str(finding["found"]) for finding in row["findings"] if finding["what"] == what)


@pytest.fixture
def api(twice: Workshop, lfs_client: None) -> Iterator[HfApi]:
    """The Hub of the family, for somebody else to change."""
    with localhub.serve(twice.hub) as url:
        yield HfApi(endpoint=url, token="embedded")


# What is published and still the same ---------------------------------------------------------------------------------


def test_every_version_is_looked_at_and_the_same_files_are_loaded_once(twice: Workshop) -> None:
    """Two releases of two versions each: four rows, the newest first, two loads, and nothing differs."""
    result, found = _verify(twice)
    assert result.code == 0, result.err
    assert list(_verdicts(found).items()) == [
        *(("tiny-a 1.0.1", "same"), ("tiny-a 1.0.0", "same"), ("tiny-b 1.0.1", "same"), ("tiny-b 1.0.0", "same")),
    ]
    assert (found["family"], found["loads"], found["absent"]) == ("tinies", 2, [])
    for row in found["versions"]:
        looked = [finding["what"] for finding in row["findings"]]
        assert {"model.safetensors", "README.md", "loading", "token ids", "layer 3", "pooled_output"} <= set(looked)
        assert (row["recorded"], row["error"], row["skipped"], row["moved"]) == ("pass", None, [], [])
        assert re.fullmatch("[0-9a-f]{40}", row["commit"])
    # Two versions have their own bytes and one finding of what libraries make of them.
    first, second = found["versions"][:2]
    assert first["commit"] != second["commit"]
    assert first["findings"][-5:] == second["findings"][-5:]
    assert found["libraries"]["transformers"] == importlib.metadata.version("transformers")
    assert {"python", "tokenizers", "torch"} <= found["libraries"].keys()
    assert "keras-hub" not in found["libraries"]


def test_people_see_a_row_for_each_version(twice: Workshop) -> None:
    """A table with the loads and the libraries; `--quiet` names what differs, which is nothing; a glob takes some."""
    where = ("--org", "acme", "--family", twice.family, *twice.places(), "--no-keras")
    result = twice.run("verify", *where)
    assert result.code == 0
    assert [line.split()[:3] for line in result.out.splitlines()[1:5]] == [
        *(["tiny-a", "v1.0.1", "same"], ["tiny-a", "v1.0.0", "same"]),
        *(["tiny-b", "v1.0.1", "same"], ["tiny-b", "v1.0.0", "same"]),
    ]
    assert "4 of 4 versions the same; models loaded: 2" in result.out
    assert f"torch {importlib.metadata.version('torch')}" in result.out.splitlines()[-1]
    assert "tiny-b v1.0.0: fetch" in result.err
    assert re.search(r"tiny-b v1\.0\.0: same in \d+\.\d s", result.err)
    quiet = twice.run("verify", *where, "--quiet", "*-b")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_what_is_not_published_is_told_and_nothing_at_all_does_not_pass(twice: Workshop, api: HfApi) -> None:
    """A release without a repo is no failure of the others, unless it is named; a family without any ends with 17."""
    api.delete_repo("acme/tiny-b")
    result, found = _verify(twice, "--digests")
    assert (result.code, found["absent"]) == (0, ["acme/tiny-b"])
    result, found = _verify(twice, "--digests", "tiny-a", "tiny-b")
    assert (result.code, found["absent"]) == (HubRefusedError.exit_code, [])
    assert [row["verdict"] for row in found["versions"]] == ["same", "same", "failed"]
    assert "acme/tiny-b is not on the Hub" in found["versions"][-1]["error"]["message"]
    result, found = _verify(twice, "--digests", "*-b")
    assert (result.code, found["versions"]) == (HubRefusedError.exit_code, [])
    assert "nothing of tinies is published by acme, so nothing was proved again" in result.err


# What moved around it -------------------------------------------------------------------------------------------------


def test_a_library_that_keeps_accents_is_seen(twice: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other ids are a difference of every version, with the text and both tokens, and the library that moved."""
    import transformers  # before it is told of a version of tokenizers that it would refuse
    from tokenizers import normalizers

    assert transformers.__version__

    make = normalizers.BertNormalizer
    monkeypatch.setattr(normalizers, "BertNormalizer", lambda **given: make(**{**given, "strip_accents": False}))
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99.1" if name == "tokenizers" else version(name))
    result, found = _verify(twice)
    assert result.code == 19
    assert set(_verdicts(found).values()) == {"different"}
    for row in found["versions"]:
        assert _wrong(row) == ["token ids"]
        assert "Ein café" in _found(row, "token ids")
        assert re.search(r"\[.*\] instead of \['.*\] in ", _found(row, "token ids"))
        assert row["moved"] == [f"tokenizers {version('tokenizers')} -> 99.1"]
    where = ("--org", "acme", "--family", twice.family, *twice.places(), "--no-keras")
    shown = twice.run("verify", *where)
    assert shown.code == 19
    assert "DIFFERENT" in shown.out
    assert "  token ids: recorded the recorded ids of 26 texts, found [" in shown.err
    assert f"  Since it was proven: tokenizers {version('tokenizers')} -> 99.1" in shown.err
    assert twice.run("verify", *where, "--quiet", "*-a").out == "tiny-a v1.0.1\ntiny-a v1.0.0\n"


def test_ids_of_which_a_digest_is_recorded_are_named_by_googles(
    twice: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change in one of the thousands of texts of which only a digest is recorded is told with that text."""
    from tokenizers import normalizers

    make = normalizers.BertNormalizer
    lunate = "\u03f2"  # among the awkward texts, and in none of those that stand in the manifest
    monkeypatch.setattr(
        normalizers,
        "BertNormalizer",
        lambda **given: normalizers.Sequence([normalizers.Replace(lunate, " the "), make(**given)]),
    )
    result, found = _verify(twice, "tiny-b")
    assert result.code == 19
    told = _found(found["versions"][0], "token ids")
    assert re.match(r"other ids among the 3397; the first that are not Google's: \[.*'the'.*\] instead of \[", told)
    assert f"'a{lunate}b A{lunate} {lunate}c{lunate}{lunate}'" in told


def test_another_gelu_is_seen_where_it_begins(twice: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that computes another activation differs from the first layer on, and not before it."""
    from transformers.activations import ACT2FN, GELUActivation

    monkeypatch.setitem(ACT2FN, "gelu_pytorch_tanh", GELUActivation)
    result, found = _verify(twice, "tiny-a")
    assert result.code == 19
    first, second = found["versions"]
    assert _wrong(first) == _wrong(second)
    assert _wrong(first)[0] == "layer 1"
    assert {"layer 3", "pooled_output", "mlm_logits"} <= set(_wrong(first))
    assert not {"embeddings", "layer 1 keys", "token ids", "loading"} & set(_wrong(first))
    assert 1e-5 < float(_found(first, "layer 1")) < 1e-1


class PanicException(BaseException):
    """What a panic in a library in Rust is, for Python."""


@pytest.mark.parametrize(
    ("where", "error", "what"),
    [
        ("from_pretrained", ValueError("BERT has moved away"), "loading"),
        ("from_pretrained", PanicException("called `Option::unwrap()` on a `None` value"), "loading"),
        ("forward", RuntimeError("expected scalar type Float"), "outputs"),
        ("tokenizer", PanicException("no normalizer"), "token ids"),
    ],
)
def test_a_library_that_raises_is_a_difference(
    twice: Workshop, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException, what: str
) -> None:
    """What cannot be loaded or run any more is found to differ, with the error's own words; the others go on."""
    import transformers

    def fails(*_: object, **__: object) -> None:
        raise error

    if where == "tokenizer":
        monkeypatch.setattr(recorded, "_ids", fails)
    else:
        monkeypatch.setattr(transformers.BertForPreTraining, where, fails)
    result, found = _verify(twice)
    assert result.code == 19
    verdicts = _verdicts(found)
    assert verdicts["tiny-a 1.0.0"] == verdicts["tiny-a 1.0.1"] == "different"
    assert verdicts["tiny-b 1.0.0"] == ("different" if where == "tokenizer" else "same")
    row = _rows(found)["tiny-a 1.0.1"]
    assert _wrong(row) == [what]
    assert str(error) in _found(row, what)
    assert row["commit"] not in _found(row, what)
    if where == "from_pretrained":  # as with one repo: what is found is shown, and is no crash
        alone = twice.run("verify", "acme/tiny-a", *twice.places())
        assert alone.code == 19
        assert str(error) in alone.out


def test_libraries_that_cannot_even_be_imported_are_a_difference(
    twice: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is installed and cannot be imported is what the re-proof is there to see, and no crash."""
    monkeypatch.setitem(sys.modules, "transformers.utils", None)
    result, found = _verify(twice, "tiny-b")
    assert result.code == 19
    row = found["versions"][0]
    assert _wrong(row) == ["loading"]
    assert "ModuleNotFoundError" in _found(row, "loading")


def test_tensors_without_a_place_are_named(twice: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that has got another name for a weight leaves it random: the keys are told, and the outputs differ."""
    import transformers

    class Renamed(transformers.BertModel):
        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            self.pool = self.pooler
            del self.pooler

        def forward(self, *given: Any, **options: Any) -> Any:
            self.__dict__["pooler"] = self.pool
            return super().forward(*given, **options)

    monkeypatch.setattr(transformers, "BertModel", Renamed)
    result, found = _verify(twice, "tiny-b")
    assert result.code == 19
    told = _found(found["versions"][0], "loading")
    assert "missing: pool.dense.bias, pool.dense.weight" in told
    assert "unexpected: pooler.dense.bias, pooler.dense.weight" in told


# What somebody did to it ----------------------------------------------------------------------------------------------


def _moved_tag(api: HfApi, tag: str, *changes: CommitOperationAdd | CommitOperationDelete) -> None:
    """Somebody commits to tiny-a and moves a tag there; `main` goes back."""
    made = api.create_commit("acme/tiny-a", list(changes), commit_message="Mine", revision="main")
    if tag in {one.name for one in api.list_repo_refs("acme/tiny-a").tags}:
        api.delete_tag("acme/tiny-a", tag=tag)
    api.create_tag("acme/tiny-a", tag=tag, revision=made.oid)


def test_bytes_that_somebody_changed_are_one_row(twice: Workshop, api: HfApi) -> None:
    """A version whose tag was moved to other bytes is different and not loaded; the other versions are the same."""
    vocab = Path(api.hf_hub_download("acme/tiny-a", "vocab.txt", cache_dir=twice.root / "c")).read_bytes()
    _moved_tag(api, "v1.0.1", CommitOperationAdd("vocab.txt", vocab.replace(b"the", b"teh")))
    result, found = _verify(twice)
    assert result.code == 19
    verdicts = _verdicts(found)
    assert verdicts.pop("tiny-a 1.0.1") == "different"
    assert set(verdicts.values()) == {"same"}
    row = _rows(found)["tiny-a 1.0.1"]
    assert _wrong(row) == ["vocab.txt"]
    assert row["skipped"] == ["ids and outputs: files are others than those that were published"]


def test_tags_that_are_no_releases_are_rows_of_their_own(twice: Workshop, api: HfApi) -> None:
    """A tag without a manifest failed, one that names another version differs, and other tags are nobody's business."""
    one = api.list_repo_refs("acme/tiny-a").tags[0].target_commit
    api.create_tag("acme/tiny-a", tag="v7.0.0", revision=one)
    api.create_tag("acme/tiny-a", tag="v7", revision=one)
    _moved_tag(api, "v9.9.9", CommitOperationDelete("hubpush.json"))
    result, found = _verify(twice, "--digests")
    assert result.code == 19
    rows = _rows(found)
    assert list(rows)[:4] == ["tiny-a 9.9.9", "tiny-a 7.0.0", "tiny-a 1.0.1", "tiny-a 1.0.0"]
    assert (rows["tiny-a 9.9.9"]["verdict"], rows["tiny-a 9.9.9"]["error"]["code"]) == ("failed", 19)
    assert "at v9.9.9 has no hubpush.json" in rows["tiny-a 9.9.9"]["error"]["message"]
    assert _wrong(rows["tiny-a 7.0.0"]) == ["version"]
    assert {rows[name]["verdict"] for name in ("tiny-a 1.0.1", "tiny-a 1.0.0", "tiny-b 1.0.1")} == {"same"}
    shown = twice.run("verify", "--org", "acme", "--family", twice.family, *twice.places(), "--digests")
    assert "Error: acme/tiny-a at v9.9.9 has no hubpush.json" in shown.err


def test_a_release_without_its_tags_does_not_pass(twice: Workshop, api: HfApi) -> None:
    """A repo that holds a release and no tag of a version failed, and says so."""
    for tag in ("v1.0.0", "v1.0.1"):
        api.delete_tag("acme/tiny-a", tag=tag)
    result, found = _verify(twice, "--digests")
    assert result.code == 19
    assert found["versions"][0]["version"] is None
    assert "no tag of a version" in found["versions"][0]["error"]["message"]
    assert [row["verdict"] for row in found["versions"]] == ["failed", "same", "same"]


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ([Fault(path="*/acme/tiny-a/refs", action="status", status=403)], 17),
        (
            [
                Fault(path="*/acme/tiny-a/refs", action="status", status=403),
                Fault(path="*/acme/tiny-b/refs", action="status", status=402),
            ],
            17,
        ),
        (
            [
                Fault(path="*/acme/tiny-a/refs", action="status", status=403),
                Fault(path="*/acme/tiny-b/refs", action="status", status=429, headers={"retry-after": "9999"}),
            ],
            1,
        ),
    ],
)
def test_a_hub_that_refuses_one_repo_ends_no_other(twice: Workshop, faults: list[Fault], code: int) -> None:
    """Failures are rows; the exit code is theirs where all are of one kind, else 1."""
    with localhub.serve(twice.hub, plan=Plan(faults)) as url:
        result, found = _verify(twice, "--digests", hub=url)
    assert result.code == code, result.err
    row = found["versions"][0]
    assert (row["verdict"], row["version"], row["error"]["code"]) == ("failed", None, 17)
    assert "403" in row["error"]["message"]
    if len(faults) == 1:
        assert [one["verdict"] for one in found["versions"]] == ["failed", "same", "same"]


def test_a_deadline_leaves_the_rest_as_failed(twice: Workshop) -> None:
    """What the time was too short for is in the result, as a failure that says so."""
    slow = Fault(path="*/acme/tiny-b/refs", action="delay", seconds=3)
    with localhub.serve(twice.hub, plan=Plan([slow])) as url:
        result, found = _verify(twice, "--digests", "--deadline", "2", hub=url)
    assert result.code == 18
    row = found["versions"][-1]
    assert (row["name"], row["verdict"], row["error"]["code"]) == ("tiny-b", "failed", 18)
    assert "deadline" in row["error"]["message"]


# What it costs --------------------------------------------------------------------------------------------------------


def _fetched(plan: Plan, repo: str) -> list[str]:
    """The files of a repo whose bytes were sent, in order of their names."""
    return sorted(
        seen.path.partition("/resolve/")[2].partition("/")[2]
        for seen in plan.seen
        if seen.method == "GET" and f"/acme/{repo}/resolve/" in seen.path and seen.status == 200
    )


def test_bytes_come_once_and_go_when_the_repo_is_done(twice: Workshop) -> None:
    """Of a further version only what is new is fetched; the disk is as before, unless `--keep` says otherwise."""
    cache = twice.root / "work" / "repos"
    plan = Plan()
    with localhub.serve(twice.hub, plan=plan) as url:
        assert _verify(twice, "--digests", "tiny-a", hub=url)[0].code == 0
        files = _fetched(plan, "tiny-a")
        assert files.count("model.safetensors") == files.count("vocab.txt") == files.count("config.json") == 1
        assert files.count("README.md") == files.count("hubpush.json") == 2
        assert not list(cache.glob("models--*"))
        assert not list(cache.glob(".locks/*"))
        plan.clear()
        assert _verify(twice, "--digests", "--keep", "tiny-a", hub=url)[0].code == 0
        assert _fetched(plan, "tiny-a") == files
        plan.clear()
        # What was there before the run stays, and nothing is fetched again.
        assert _verify(twice, "--digests", hub=url)[0].code == 0
        assert _fetched(plan, "tiny-a") == []
        assert _fetched(plan, "tiny-b").count("model.safetensors") == 1
    assert [path.name for path in cache.glob("models--*")] == ["models--acme--tiny-a"]


def test_a_version_costs_few_requests(twice: Workshop) -> None:
    """A further version with the same weights: three lists of its files, a look at each file, and two small files."""
    plan = Plan()
    with localhub.serve(twice.hub, plan=plan) as url:
        assert _verify(twice, "--digests", "tiny-a", hub=url)[0].code == 0
    by_commit: dict[str, list[tuple[str, str]]] = {}
    for seen in plan.seen:
        if found := re.search("[0-9a-f]{40}", seen.path):
            by_commit.setdefault(found[0], []).append((seen.method, seen.path.rpartition("/")[2]))
    first, second = by_commit.values()
    assert len(plan.seen) == 1 + len(first) + len(second)  # one for its tags
    files = [name for method, name in second if method == "HEAD"]
    assert len(files) == len(set(files)) == 9
    fetched = [name for method, name in second if method == "GET" and not re.fullmatch("[0-9a-f]{40}", name)]
    assert sorted(fetched) == ["README.md", "hubpush.json"]
    assert len(second) == 3 + len(files) + 2


def test_one_model_is_in_memory_at_a_time(twice: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the next version is looked at, no model of the one before is left."""
    import transformers

    alive: list[int] = []

    def models() -> int:
        return sum(issubclass(type(thing), transformers.PreTrainedModel) for thing in gc.get_objects())

    compare = recorded.compare

    def counted(*given: Any) -> Iterator[recorded.Finding]:
        alive.append(models())
        for finding in compare(*given):
            if finding.what == "loading":
                alive.append(models())
            yield finding

    gc.collect()
    before = models()
    monkeypatch.setattr(recorded, "compare", counted)
    gc.disable()
    try:
        assert _verify(twice)[0].code == 0
    finally:
        gc.enable()
    one = alive[1] - before
    assert one > 0
    assert [count - before for count in alive[::2]] == [0, 0]
    assert models() == before


# What it needs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [("torch",), ("transformers",), ("torch", "transformers")])
def test_without_the_libraries_it_does_not_pass(
    twice: Workshop, monkeypatch: pytest.MonkeyPatch, gone: tuple[str, ...]
) -> None:
    """A re-proof that cannot look says what is missing and ends with 1, before anything is asked of the Hub."""
    real, plan = importlib.util.find_spec, Plan()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in gone else real(name, *more))
    with localhub.serve(twice.hub, plan=plan) as url:
        result, _ = _verify(twice, hub=url)
        assert (result.code, result.out, plan.seen) == (1, "", [])
        assert (
            f"{' and '.join(gone)} not installed: ids and outputs of what is published cannot be proved" in result.err
        )
        assert 'pip install "hubpush[parity]"' in result.err
        result, found = _verify(twice, "--digests", hub=url)
    assert (result.code, found["libraries"], found["loads"]) == (0, {}, 0)
    assert found["versions"][0]["skipped"] == ["ids and outputs: only digests were asked for"]


def test_bytes_alone_load_nothing(twice: Workshop) -> None:
    """`--digests` imports neither TensorFlow nor torch nor transformers."""
    places = ("--family", twice.family, *twice.places())
    loaded = imports(["verify", "--org", "acme", *places, "--digests", "-q"])
    assert not {"tensorflow", "torch", "transformers", "keras"} & loaded


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--org", "acme", "--revision", "v1.0.0"], "--revision: for one repo alone"),
        (["--org", "acme", "--source", "x.zip"], "--source: for one repo alone"),
        (["acme/tiny-a", "--family", "x.toml"], "--family: for a family, with --org"),
        (["acme/tiny-a", "--keep"], "--keep: for a family, with --org"),
        ([], "OWNER/NAME"),
        (["acme/tiny-a", "acme/tiny-b"], "one repo is verified"),
        (["acme/tiny-a", "--digests", "--keras"], "--digests loads nothing"),
        (["--org", "acme", "--digests", "--keras"], "--digests loads nothing"),
        (["--org", "a/b"], "is no owner"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(twice: Workshop, arguments: list[str], said: str) -> None:
    """One repo and a family have their own options; each mistake has exit code 2 and says what is wrong."""
    result = twice.run("verify", *arguments, *twice.places())
    assert result.code == 2
    assert said in result.err


# KerasHub -------------------------------------------------------------------------------------------------------------


@needs_keras
def test_kerashub_is_looked_at_too(twice: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where KerasHub is installed its outputs are held against the recorded ones; another GELU of keras is seen."""
    import keras
    import keras_hub

    result, found = _verify(twice, "--keras", "tiny-b")
    assert result.code == 0, result.err
    whats = [finding["what"] for finding in found["versions"][0]["findings"]]
    assert {"KerasHub: embeddings", "KerasHub: layer 1", "KerasHub: layer 3", "KerasHub: pooled_output"} <= set(whats)
    assert found["libraries"]["keras-hub"] == importlib.metadata.version("keras-hub")
    assert not any(issubclass(type(thing), keras.Model) for thing in gc.get_objects())
    gelu = keras.activations.gelu
    with monkeypatch.context() as patch:
        patch.setattr(keras.activations, "gelu", lambda x, **_: gelu(x, approximate=False))
        result, found = _verify(twice, "--keras", "tiny-b")
    assert result.code == 19
    assert _wrong(found["versions"][0])[0] == "KerasHub: layer 1"
    assert "KerasHub: embeddings" not in _wrong(found["versions"][0])
    assert all(what.startswith("KerasHub: ") for what in _wrong(found["versions"][1]))

    def fails(*_: object, **__: object) -> None:
        raise KeyError("num_heads")

    monkeypatch.setattr(keras_hub.models.BertBackbone, "from_preset", fails)
    result, found = _verify(twice, "--keras", "tiny-b")
    assert result.code == 19
    assert _wrong(found["versions"][0]) == ["KerasHub: loading"]
    assert "num_heads" in _found(found["versions"][0], "KerasHub: loading")


def test_without_kerashub_it_is_skipped_or_refused(twice: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not installed, it is said to be not looked at; asked for, it is an error. `--no-keras` says nothing."""
    real = importlib.util.find_spec
    hidden = lambda name, *more: None if name == "keras_hub" else real(name, *more)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    where = ("--org", "acme", "--family", twice.family, *twice.places(), "--json", "tiny-b")
    found = json.loads(twice.run("verify", *where).out)
    assert found["versions"][0]["skipped"] == ['KerasHub: not installed (pip install "hubpush[keras]")']
    assert found["versions"][0]["verdict"] == "same"
    result = twice.run("verify", *where, "--keras")
    assert result.code == 1
    assert "keras-hub is not installed" in result.err
    result = twice.run("verify", "acme/tiny-b", *twice.places(), "--keras")
    assert result.code == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, None),
        ({"architecture": "electra-discriminator"}, "no converter for electra"),
        ({"heads": []}, "without a pooler"),
        ({"activation": "gelu"}, "computes gelu_pytorch_tanh, and this release gelu"),
        ({"config": {"layer_norm_eps": 1e-6}}, "layer_norm_eps"),
    ],
)
def test_what_kerashub_cannot_compute_is_not_asked_of_it(change: dict[str, Any], why: str | None) -> None:
    """Releases that KerasHub would load as something else, or not at all, are skipped with the reason."""
    from hubpush.architectures import ARCHITECTURES

    model = {"architecture": "bert", "heads": ["pooler"], "activation": "gelu_pytorch_tanh", "config": {}, **change}
    if model["architecture"] not in ARCHITECTURES:
        model["architecture"] = next(name for name, one in ARCHITECTURES.items() if one.model_type == "electra")
    found = recorded.without_keras(model)
    assert found is None if why is None else why in str(found)


# Its parts ------------------------------------------------------------------------------------------------------------


def test_versions_are_ordered_as_numbers(twice: Workshop) -> None:
    """v1.10.0 is newer than v1.9.0; what is no version's tag is left out."""
    found = reproof.tags({"v1.9.0": "a", "v1.10.0": "b", "v1.9": "c", "main": "d", "xv1.9.1": "e", "v1.9.0-rc1": "f"})
    assert found == [("v1.10.0", "b"), ("v1.9.0", "a")]


def test_a_record_that_says_other_things_is_looked_at_by_itself(twice: Workshop, api: HfApi) -> None:
    """The same files with other recorded outputs are no case of loading once: the findings are not shared."""
    text = Path(api.hf_hub_download("acme/tiny-a", "hubpush.json", cache_dir=twice.root / "c")).read_text("utf-8")
    data = json.loads(text)
    data["build"]["samples"]["batches"][0]["outputs"]["layer 2"]["values"][1] += 1e-9
    assert manifest.parse(json.dumps(data), "here")
    _moved_tag(api, "v1.0.1", CommitOperationAdd("hubpush.json", json.dumps(data).encode()))
    result, found = _verify(twice, "tiny-a")
    assert result.code == 19
    assert found["loads"] == 2
    assert [row["verdict"] for row in found["versions"]] == ["different", "same"]
    assert _wrong(found["versions"][0]) == ["layer 2"]
