"""Laws of hubpush.json and of the identities in it."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubpush import manifest
from hubpush.catalog import Release
from hubpush.errors import DriftError
from tests import records

BERT = manifest.ARCHITECTURES["bert"]
MODEL = manifest.Model(
    model_class="BertForPreTraining",
    heads=("mlm", "nsp", "pooler"),
    parameters=1,
    cased=False,
    activation="gelu_pytorch_tanh",
    config={},
    variables=1,
)


@pytest.fixture
def build(tmp_path: Path) -> manifest.Build:
    return records.build(records.write_folder(tmp_path / "model"), parity=records.report())


def _manifest(build: manifest.Build) -> manifest.Manifest:
    past = manifest.Past(version="1.0.0", date="2026-11-22", change="first release", verdict="pass")
    inputs = manifest.Inputs(weights="0" * 64, card="1" * 64)
    return manifest.Manifest(
        version="1.0.0",
        family="f",
        release="r",
        inputs=inputs,
        build=build,
        files={**build.files, "README.md": manifest.describe_bytes(b"# Tiny")},
        card_parts={"title": "2" * 64},
        history=(past,),
    )


def test_a_manifest_reads_back_as_it_was_written(build: manifest.Build) -> None:
    """Writing and reading hubpush.json loses nothing."""
    written = _manifest(build)
    assert manifest.parse(written.to_json(), "acme/x") == written


def test_what_is_no_manifest_is_named(build: manifest.Build) -> None:
    """A manifest that was edited is refused with the key that is wrong."""
    data = json.loads(_manifest(build).to_json())
    data["version"] = "one"
    with pytest.raises(DriftError, match=r"acme/x.*version"):
        manifest.parse(json.dumps(data), "acme/x")
    with pytest.raises(DriftError, match="acme/x"):
        manifest.parse("<html>", "acme/x")


def test_a_newer_manifest_with_more_keys_is_read(build: manifest.Build) -> None:
    """Keys that this version does not know are no error: another version may run beside this one."""
    data = json.loads(_manifest(build).to_json()) | {"novelty": 1}
    assert manifest.parse(json.dumps(data), "acme/x").version == "1.0.0"


def test_git_ids_are_gits_own(tmp_path: Path) -> None:
    """The git id of a small file is what git itself calls its content."""
    path = tmp_path / "file"
    path.write_bytes(b"hello\nworld\n\x00\xff")
    theirs = subprocess.run(
        ["git", "hash-object", str(path)], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert manifest.describe(path).git_oid == theirs == manifest.describe_bytes(path.read_bytes()).git_oid


def test_weights_identity_follows_what_decides_the_bytes_and_nothing_else() -> None:
    """What is asked for, and what was found where nothing was asked, change it; prose and expectations do not."""
    one = records.family().releases[0].model_copy(update={"cased": None})

    def identity(source: str = "a" * 64, texts: dict[str, str] | None = None, found: Any = MODEL, **asked: Any) -> str:
        return manifest.weights_inputs(one.model_copy(update=asked), source, found, texts or {})

    said = {"title": "Another", "license": "mit", "config": {"hidden_size": 1}, "cased": False, "architecture": "bert"}
    assert identity() == identity(**said, activation="gelu_pytorch_tanh", task="fill-mask", vocab_lines=9)
    others = {
        identity(source="b" * 64),
        identity(cased=True),
        identity(activation="gelu"),
        identity(labels=("a", "b")),
        identity(averaged=True),
        identity(texts={"config": "c" * 64}),
        identity(texts={"vocab": "c" * 64}),
        identity(found=MODEL.model_copy(update={"model_class": "BertModel"})),
        identity(found=MODEL.model_copy(update={"layout": BERT.layouts[0].name})),
        identity(found=MODEL.model_copy(update={"architecture": "electra-generator", "model_class": "ElectraModel"})),
        identity(
            found=MODEL.model_copy(update={"architecture": "electra-discriminator", "model_class": "ElectraModel"})
        ),
    }
    assert len(others | {identity()}) == 12
    assert identity(found=MODEL.model_copy(update={"cased": True})) == identity(cased=True)


def test_card_identity_ignores_keys_that_were_not_there(build: manifest.Build) -> None:
    """A record read from an older manifest, where a newer key is absent, has the identity it had."""
    facts = {"title": "x"}
    older = json.loads(build.model_dump_json())
    del older["forced"]
    assert manifest.card_inputs(facts, "t", manifest.Build.model_validate(older)) == manifest.card_inputs(
        facts, "t", build
    )
    changed = build.model_copy(update={"date": "2027-01-01"})
    assert manifest.card_inputs(facts, "t", changed) != manifest.card_inputs(facts, "t", build)
    assert manifest.card_inputs(facts, "other", build) != manifest.card_inputs(facts, "t", build)


@pytest.mark.parametrize(
    ("key", "value"),
    [("manifest", 2), ("version", "1.0"), ("version", "1.0.0-rc1"), ("version", "v1.0.0"), ("history", [])],
)
def test_another_format_is_refused(build: manifest.Build, key: str, value: object) -> None:
    """A manifest of a later format, of an odd version, or without a past is not read as if it were one of ours."""
    data = json.loads(_manifest(build).to_json()) | {key: value}
    with pytest.raises(DriftError, match=key):
        manifest.parse(json.dumps(data), "acme/x")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["files"].update({"/etc/passwd": d["files"]["vocab.txt"]}), "no path in a repo"),
        (lambda d: d["files"].update({"a/../../b": d["files"]["vocab.txt"]}), "no path in a repo"),
        (lambda d: d["files"].update({"a\nb": d["files"]["vocab.txt"]}), "no path in a repo"),
        (lambda d: d["files"].pop("model.safetensors"), "not those of the build"),
        (lambda d: d["files"]["config.json"].update(sha256="0" * 64), "not those of the build"),
        (lambda d: d["files"].pop("README.md"), "lack README.md"),
        (lambda d: d.update(card_parts={}), "card_parts"),
        (lambda d: d.update(version="2.0.0"), "does not end with this version"),
    ],
)
def test_a_manifest_whose_parts_contradict_each_other_is_refused(
    build: manifest.Build, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    """One edit in hubpush.json is not enough to make other files look right, nor to point out of a folder."""
    data = json.loads(_manifest(build).to_json())
    change(data)
    with pytest.raises(DriftError, match=said):
        manifest.parse(json.dumps(data), "acme/x")


def test_a_record_is_not_written_through_a_link(build: manifest.Build, tmp_path: Path) -> None:
    """Whatever a stranger's folder holds under a name that could be guessed, nothing outside is written."""
    (tmp_path / "victim").write_text("mine")
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "hubpush.json.part").symlink_to(tmp_path / "victim")
    manifest.write_record(folder, build)
    assert (tmp_path / "victim").read_text() == "mine"
    assert manifest.read_record(folder) == build
    assert sorted(p.name for p in folder.iterdir()) == ["hubpush.json", "hubpush.json.part"]
    for garbage in (b"[1]", b"\xff", b"[" * 100_000, b"{}"):
        (folder / "hubpush.json").write_bytes(garbage)
        with pytest.raises(DriftError, match="cannot be read"):
            manifest.read_record(folder)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("model", "class"), "Evil"),
        (("samples",), {"a": 1}),
        (("samples",), {"batches": 5}),
        (("samples",), {"batches": [{}]}),
        (("parity", "references"), []),
        (("parity", "references", 0, "worst", "max_abs"), 10**400),
        (("parity", "references", 0, "outputs", 0, "tolerance"), float("nan")),
        (("model", "parameters"), 10**30),
        (("source", "size"), -1),
    ],
    ids=lambda one: str(one)[:40],
)
def test_records_that_no_card_could_show_are_refused(
    build: manifest.Build, place: tuple[str | int, ...], value: object
) -> None:
    """What was changed in a record is found when the manifest is read, not when a card is rendered from it."""
    data = json.loads(_manifest(build).to_json())
    inner = data["build"]
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(DriftError, match=str(place[-1])):
        manifest.parse(json.dumps(data), "acme/x")


def test_format_and_table_are_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A raised output format, or another table of the architecture, is another conversion."""
    release = Release(name="n", title="t", source="s.zip", license="mit")
    found = {manifest.weights_inputs(release, "0" * 64, MODEL, {})}
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "OUTPUT_FORMAT", manifest.OUTPUT_FORMAT + 1)
        found.add(manifest.weights_inputs(release, "0" * 64, MODEL, {}))
    monkeypatch.setattr(manifest, "ARCHITECTURES", {"bert": replace(BERT, base_prefix="other.")})
    found.add(manifest.weights_inputs(release, "0" * 64, MODEL, {}))
    assert len(found) == 3


def test_the_order_of_keys_changes_no_digest(build: manifest.Build) -> None:
    """What a family file or a manifest lists in another order is the same."""
    assert manifest.digest({"a": 1, "b": {"c": 2, "d": 3}}) == manifest.digest({"b": {"d": 3, "c": 2}, "a": 1})
