"""Laws of the whole path of one release, from its source to the Hub."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

import hubpush
from hubpush import cli, conversion, job, localhub, manifest, pipeline, planning, saved, source
from hubpush.catalog import Release
from hubpush.digests import file_sha256
from tests import checkpoints
from tests.servers import Reply, Server, serving
from tests.workshop import Workshop, edit, heads, imports


def test_a_family_is_published_and_loads_by_its_tag_in_another_process(after: Workshop, tmp_path: Path) -> None:
    """One command publishes every release with parity passed; each loads by its tag with default client settings."""
    result = after.main_job("--json")
    assert result.code == 0
    script = (
        "import sys, torch; from transformers import AutoModel, AutoTokenizer\n"
        "for name in sys.argv[1:]:\n"
        "    m = AutoModel.from_pretrained(name, revision='v1.0.0')\n"
        "    t = AutoTokenizer.from_pretrained(name, revision='v1.0.0')\n"
        "    print(tuple(m(**t('a b', return_tensors='pt')).last_hidden_state.shape), t.model_max_length)"
    )
    with localhub.serve(after.hub) as url:
        environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf")}
        command = [sys.executable, "-c", script, "acme/tiny-a", "acme/tiny-b"]
        loaded = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert loaded.stdout.splitlines() == ["(1, 4, 32) 64"] * 2


def test_a_second_run_changes_nothing_whatever_the_machine(after: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unchanged inputs: no commit and no tag, from a newer hubpush, with other threads, in an empty work directory."""
    before = heads(after.hub)
    for module in (hubpush, planning, saved, conversion, job, cli):
        monkeypatch.setattr(module, "__version__", "99.0.0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    shutil.rmtree(after.root / "work")
    result = after.main_job("--jobs", "2")
    assert result.code == 0
    assert result.out.count("unchanged") == 2
    assert heads(after.hub) == before


def test_a_run_without_changes_imports_nothing_heavy_and_fetches_nothing(after: Workshop) -> None:
    """A run that finds nothing to do loads neither TensorFlow nor torch nor transformers, and needs no sources."""
    for name in ("tiny-a.zip", "tiny-b.zip"):
        (after.root / name).unlink()
    arguments = ["convert-and-upload", "--family", after.family, "--org", "acme", *after.places()]
    assert imports(arguments) & {"tensorflow", "torch", "transformers", "tokenizers", "jinja2.sandbox"} <= {
        "jinja2.sandbox"
    }


def test_a_dry_run_prints_plan_and_card_and_pushes_nothing(shop: Workshop) -> None:
    """--dry-run does everything but the push; the same command without it then publishes what was shown."""
    result = shop.main_job("tiny-a", "--dry-run")
    assert result.code == 0
    assert "Plan for acme/tiny-a, a new repo: v1.0.0 (first)" in result.out
    assert "## Conversion parity" in result.out
    assert shop.published() == []
    shown = re.findall(r"\+ model\.safetensors +[\d,]+ +sha256 (\w+)", result.out)
    published = json.loads(shop.main_job("tiny-a", "--json").out)["releases"][0]
    assert [published["files"]["model.safetensors"]["sha256"]] == shown
    assert "fetch" in published["seconds"]
    assert "parity" not in published["seconds"], "what the dry run built and proved is used again"


def test_without_parity_the_card_says_so_and_a_later_run_proves_it(shop: Workshop) -> None:
    """--no-parity publishes NOT RUN; a run with parity then records the proof as a patch."""
    result = shop.main_job("tiny-b", "--no-parity")
    assert result.code == 0
    assert "not-run" in result.out
    proven = json.loads(shop.main_job("tiny-b", "--json").out)["releases"][0]
    assert (proven["version"], proven["bump"], proven["parity"]["verdict"]) == ("1.0.1", "patch", "pass")
    assert json.loads(shop.main_job("tiny-b", "--no-parity", "--json").out)["releases"][0]["status"] == "unchanged"


def test_a_changed_template_renders_cards_without_weights(after: Workshop, tmp_path: Path) -> None:
    """Another template makes a card release from the recorded results: nothing is fetched, built or measured."""
    (tmp_path / "sections").mkdir()
    (tmp_path / "sections" / "footer.md.jinja").write_text("---\n\nAnother footer.\n")
    for name in ("tiny-a.zip", "tiny-b.zip"):
        (after.root / name).unlink()
    data = json.loads(after.main_job("--json", "--templates", str(tmp_path)).out)
    for release in data["releases"]:
        assert (release["status"], release["version"]) == ("published", "1.0.1")
        assert set(release["seconds"]) == {"card", "push"}


def test_an_activation_of_ones_own_is_another_model(shop: Workshop) -> None:
    """--activation changes config.json: parity is measured against that form, and the version is a major one."""
    shop.main_job("tiny-a", "--no-parity")
    changed = json.loads(shop.main_job("tiny-a", "--activation", "gelu", "--json").out)["releases"][0]
    assert (changed["version"], changed["bump"], changed["parity"]["verdict"]) == ("2.0.0", "major", "pass")


def test_one_checkpoint_needs_no_family_file(shop: Workshop, checkpoint: Path) -> None:
    """A prefix on a disk becomes a proven repo; what was assumed is said, and no path of the machine is published."""
    result = shop.single(checkpoint / "bert_model.ckpt")
    assert result.code == 0
    assert "Assumed: the activation is gelu_pytorch_tanh" in result.err
    assert "Assumed: the model is uncased" in result.err
    assert shop.published() == ["me/mine"]
    with localhub.serve(shop.hub) as url:
        folder = HfApi(endpoint=url, token="embedded").snapshot_download("me/mine", cache_dir=shop.root / "cache")
        assert "**Assumed,** not stated by the source: the activation" in (Path(folder) / "README.md").read_text()
        for path in filter(Path.is_file, Path(folder).rglob("*")):
            assert str(checkpoint.parent).encode() not in path.read_bytes(), path.name
    assert "unchanged" in shop.single(checkpoint / "bert_model.ckpt").out


def test_another_checkpoint_under_the_same_name_is_a_major_version(shop: Workshop, checkpoint: Path) -> None:
    """Naming a checkpoint on the command line is enough to mean it: other bytes make a new major version."""
    shop.single(checkpoint, "--no-parity")
    shutil.rmtree(checkpoint)
    checkpoints.write_release(checkpoint, seed=7)
    data = json.loads(shop.single(checkpoint, "--no-parity", "--json").out)
    assert data["releases"][0]["version"] == "2.0.0"


def test_a_family_without_a_lock_is_pinned_by_what_was_published(after: Workshop) -> None:
    """Without a lock the manifest on the Hub is the lock: a changed source fails closed, with both digests."""
    (after.root / "tinies.lock.json").unlink()
    old = manifest.describe(after.root / "tiny-a.zip").sha256
    shutil.copyfile(after.root / "tiny-b.zip", after.root / "tiny-a.zip")
    result = after.main_job("tiny-a")
    assert result.code == 11
    assert old in result.err
    assert manifest.describe(after.root / "tiny-b.zip").sha256 in result.err


def test_a_source_that_moved_is_named_anew_without_a_build(shop: Workshop) -> None:
    """The same bytes under another name make a card that names it, from the recorded results, once."""
    shop.main_job("tiny-b", "--no-parity")
    text, lock = shop.family.read_text(), shop.root / "tinies.lock.json"
    shop.family.write_text(text.replace('"tiny-b.zip"', '"https://example.org/moved/tiny-b.zip"'))
    lock.write_text(lock.read_text().replace('"tiny-b.zip"', '"https://example.org/moved/tiny-b.zip"'))
    moved = json.loads(shop.main_job("tiny-b", "--no-parity", "--json").out)["releases"][0]
    assert (moved["version"], moved["bump"], moved["status"]) == ("1.0.1", "patch", "published")
    assert not moved["seconds"].keys() & {"fetch", "convert"}
    with localhub.serve(shop.hub) as url:
        readme = HfApi(endpoint=url, token="embedded").hf_hub_download(
            "acme/tiny-b", "README.md", revision="v1.0.1", cache_dir=shop.root / "cache"
        )
    assert "https://example.org/moved/tiny-b.zip" in Path(readme).read_text()
    assert "unchanged" in shop.main_job("tiny-b", "--no-parity").out


def test_saying_what_is_so_anyway_changes_nothing(shop: Workshop, checkpoint: Path) -> None:
    """Options that change no byte make no release: the casing that the vocabulary shows, a permission nobody needed."""
    shop.single(checkpoint, "--no-parity")
    for options in (["--uncased"], ["--allow-nonfinite"], []):
        data = json.loads(shop.single(checkpoint, "--no-parity", "--json", *options).out)["releases"][0]
        assert (data["status"], data["version"]) == ("unchanged", "1.0.0"), options


def test_promises_of_the_family_file_are_held_to_what_was_published(after: Workshop) -> None:
    """An expectation that is added later is checked, even where nothing else has to be done."""
    text = after.family.read_text()
    for line, code, words in (
        ("config = { num_hidden_layers = 99 }", 13, "num_hidden_layers is 3"),
        (f'data_sha256 = "{"0" * 64}"', 11, "not the one its authors published"),
    ):
        after.family.write_text(text.replace('source = "tiny-a.zip"', f'source = "tiny-a.zip"\n{line}'))
        result = after.main_job("tiny-a")
        assert result.code == code, result.err
        assert words in result.err


def test_what_a_crash_left_in_the_work_directory_does_no_harm(shop: Workshop) -> None:
    """Half-written records of an earlier run are taken for none."""
    shop.main_job("tiny-a", "--no-parity", "--dry-run")
    record = next((shop.root / "work").rglob("build.json"))
    for content in (b"", b"{", b"[]", b"\xff"):
        record.write_bytes(content)
        assert shop.main_job("tiny-a", "--no-parity", "--dry-run").code == 0


def test_a_missing_tag_is_all_that_a_dry_run_plans(after: Workshop) -> None:
    """Where only the tag is missing, the dry run says so, and the run makes the tag and no version."""
    with localhub.serve(after.hub) as url:
        HfApi(endpoint=url, token="embedded").delete_tag("acme/tiny-a", tag="v1.0.0")
    planned = json.loads(after.main_job("tiny-a", "--dry-run", "--json").out)["releases"][0]
    assert (planned["status"], planned["version"], planned["change"]) == ("planned", "1.0.0", "only the tag is missing")
    assert json.loads(after.main_job("tiny-a", "--json").out)["releases"][0]["version"] == "1.0.0"
    assert "['v1.0.0']" in heads(after.hub)["acme/tiny-a"]


def test_a_wrong_casing_is_refused(shop: Workshop, checkpoint: Path) -> None:
    """--cased for a vocabulary that is plainly uncased is a contradiction, not a choice."""
    result = shop.single(checkpoint, "--cased")
    assert result.code == 14
    assert "plainly uncased" in result.err
    assert shop.published() == []


def test_a_wrong_conversion_is_stopped_by_parity(
    shop: Workshop, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong weight map, epsilon or activation in the published folder fails the proof and nothing is pushed."""
    from hubpush import model

    real = model.convert

    def breaking(change: Callable[[Path], None]) -> Callable[..., object]:
        def convert(*args: object, **options: object) -> object:
            converted = real(*args, **options)  # type: ignore[arg-type]
            change(converted.folder)
            return converted

        return convert

    def swap(folder: Path) -> None:
        from safetensors.numpy import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        q, k = (f"bert.encoder.layer.1.attention.self.{n}.weight" for n in ("query", "key"))
        tensors[q], tensors[k] = tensors[k], tensors[q]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    mistakes: dict[str, Callable[[Path], None]] = {
        "layer 2": swap,
        "embeddings": lambda f: edit(f / "config.json", '"layer_norm_eps": 1e-12', '"layer_norm_eps": 1e-09'),
        "the activation is the cause": lambda f: edit(f / "config.json", '"gelu_pytorch_tanh"', '"gelu"'),
    }
    for words, change in mistakes.items():
        monkeypatch.setattr(model, "convert", breaking(change))
        result = shop.single(checkpoint)
        assert result.code == 15, result.err
        assert words in result.err
        assert shop.published() == []
    forced = json.loads(shop.single(checkpoint, "--force", "--json").out)["releases"][0]
    assert (forced["status"], forced["parity"]["verdict"]) == ("published", "fail")
    monkeypatch.setattr(model, "convert", real)
    again = json.loads(shop.single(checkpoint, "--json").out)["releases"][0]
    assert (again["status"], again["parity"]["verdict"]) == ("unchanged", "fail"), (
        "a decision stands, and stays visible"
    )


def test_a_template_typo_pushes_nothing(shop: Workshop, tmp_path: Path) -> None:
    """A mistake in a template ends with exit code 16 and its place."""
    (tmp_path / "sections").mkdir()
    (tmp_path / "sections" / "usage.md.jinja").write_text("{{ repo }}")
    result = shop.main_job("tiny-b", "--no-parity", "--templates", str(tmp_path))
    assert result.code == 16
    assert "usage.md.jinja, line 1" in result.err


def _api(url: str) -> HfApi:
    return HfApi(endpoint=url, token="embedded")


def test_a_failed_proof_is_not_used_again(shop: Workshop, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a forced dry run built and proved wrong is built and measured anew by a run without --force."""
    from hubpush import model

    real = model.convert

    def broken(*args: object, **options: object) -> object:
        converted = real(*args, **options)  # type: ignore[arg-type]
        edit(converted.folder / "config.json", '"layer_norm_eps": 1e-12', '"layer_norm_eps": 1e-09')
        return converted

    monkeypatch.setattr(model, "convert", broken)
    forced = json.loads(shop.single(checkpoint, "--force", "--dry-run", "--json").out)["releases"][0]
    assert forced["parity"]["verdict"] == "fail"
    assert json.loads((shop.root / "work/releases/me--mine/build.json").read_text())["build"]["forced"]
    monkeypatch.setattr(model, "convert", real)
    again = json.loads(shop.single(checkpoint, "--json").out)["releases"][0]
    assert (again["status"], again["parity"]["verdict"]) == ("published", "pass")
    assert {"convert", "parity"} <= again["seconds"].keys()


def test_weights_that_are_no_numbers_need_leave_each_time(shop: Workshop, tmp_path: Path) -> None:
    """NaN where no probe reaches never passes, and what one run was allowed to build another may not publish."""
    import numpy as np

    words = checkpoints.bert_variables(checkpoints.TINY)["bert/embeddings/word_embeddings"]
    words[1200] = np.nan
    folder = tmp_path / "nan"
    checkpoints.write_release(folder, extra_variables={"bert/embeddings/word_embeddings": words})
    assert shop.single(folder, "--no-parity").code == 13
    allowed = shop.single(folder, "--allow-nonfinite")
    assert allowed.code == 15
    assert "tensors with NaN or infinity: bert.embeddings.word_embeddings.weight" in allowed.err
    assert shop.single(folder, "--allow-nonfinite", "--no-parity", "--dry-run").code == 0
    assert shop.single(folder, "--no-parity").code == 13
    assert shop.published() == []


def test_what_was_built_is_checked_before_it_is_used_again(shop: Workshop) -> None:
    """A built folder in which somebody changed, added or removed a file is built anew."""
    shop.main_job("tiny-b", "--no-parity", "--dry-run")
    folder = shop.root / "work/releases/acme--tiny-b/model"
    (folder / "extra.bin").write_bytes(b"not ours")
    (folder / "config.json").write_text("{}")
    done = json.loads(shop.main_job("tiny-b", "--no-parity", "--json").out)["releases"][0]
    assert "convert" in done["seconds"]
    assert set(done["files"]) == {
        *("README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    }


@pytest.mark.parametrize(
    ("spoiled", "stations"),
    [
        ("README.md", {"card", "push"}),
        ("parity/layers.png", {"card", "push"}),
        ("config.json", {"fetch", "convert"}),
    ],
)
def test_overwriting_does_what_the_drift_needs(after: Workshop, spoiled: str, stations: set[str]) -> None:
    """A changed part of the card stops the run, and is rendered again; a changed file is converted again."""
    shutil.rmtree(after.root / "work")  # nothing that was built is at hand
    with localhub.serve(after.hub) as url:
        text = Path(_api(url).hf_hub_download("acme/tiny-b", spoiled, cache_dir=after.root / "c")).read_bytes()
        changed = text.replace(b"bert", b"tree") if b"bert" in text else text + b"\0"
        _api(url).upload_file(path_or_fileobj=changed, path_in_repo=spoiled, repo_id="acme/tiny-b")
    stopped = after.main_job("tiny-b")
    assert stopped.code == 19
    assert spoiled in stopped.err
    put_back = json.loads(after.main_job("tiny-b", "--overwrite", "--no-parity", "--json").out)["releases"][0]
    assert put_back["status"] == "published"
    assert stations <= put_back["seconds"].keys()
    assert ("convert" in put_back["seconds"]) is ("convert" in stations)
    assert put_back["files"][spoiled]
    assert "unchanged" in after.main_job("tiny-b").out


def test_a_hold_is_respected_before_anything_is_fetched(after: Workshop) -> None:
    """A repo whose manifest says hold is reported as held; its source is not even looked at."""
    with localhub.serve(after.hub) as url:
        text = Path(_api(url).hf_hub_download("acme/tiny-b", "hubpush.json", cache_dir=after.root / "c")).read_text()
        held = text.replace('"hold": false', '"hold": true').encode()
        _api(url).upload_file(path_or_fileobj=held, path_in_repo="hubpush.json", repo_id="acme/tiny-b")
    (after.root / "tiny-b.zip").unlink()
    (after.root / "tinies.lock.json").unlink()
    found = json.loads(after.main_job("tiny-b", "--json").out)["releases"][0]
    assert (found["status"], found["error"], found["seconds"]) == ("held", None, {})


def test_a_dry_run_without_a_hub_plans_against_an_empty_one(shop: Workshop) -> None:
    """Where no Hub answers a dry run goes on and says so; where an embedded one fails, it does not."""
    arguments = ("--family", shop.family, "--org", "acme", "--work", shop.root / "work", "tiny-b", "--no-parity")
    result = shop.run("convert-and-upload", *arguments, "--dry-run", "--hub", "https://127.0.0.1:9")
    assert result.code == 0, result.err
    assert "the Hub was not reached: planned against an empty one" in result.out
    assert shop.run("convert-and-upload", *arguments, "--dry-run", "--hub", "http://127.0.0.1:9").code == 18


def test_a_source_that_is_written_to_meanwhile_is_published_as_it_was_read(
    shop: Workshop, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorded digests are those of the bytes that were converted, and the next run sees another source."""
    real, data = pipeline.convert, next(checkpoint.glob("*.data-*"))
    before = data.read_bytes()

    def growing(files: source.Files, *args: Any, **options: Any) -> conversion.Conversion:
        done = real(files, *args, **options)
        data.open("ab").write(b"more")
        return done

    monkeypatch.setattr(pipeline, "convert", growing)
    assert shop.single(checkpoint, "--no-parity").code == 0
    recorded = json.loads((shop.root / "work/releases/me--mine/build.json").read_text())["build"]["source"]
    assert recorded["files"][data.name] == {
        **recorded["files"][data.name],
        "sha256": hashlib.sha256(before).hexdigest(),
        "size": len(before),
    }
    monkeypatch.setattr(pipeline, "convert", real)
    (again,) = json.loads(shop.single(checkpoint, "--no-parity", "--dry-run", "--json").out)["releases"]
    assert again["status"] == "planned"


def test_variables_that_are_left_out_are_recorded(shop: Workshop, tmp_path: Path) -> None:
    """Which variables were dropped, and why, stands in the manifest and on the card."""
    import numpy as np

    extra = {"bert/pooler/dense/kernel/adam_m": np.ones((32, 32), "f4"), "global_step": np.array(7, "i8")}
    checkpoints.write_release(tmp_path / "trained", extra_variables=extra)
    result = shop.single(tmp_path / "trained", "--no-parity", "--dry-run")
    assert "- the training step counter: 1 variable\n" in result.out
    recorded = json.loads((shop.root / "work/releases/me--mine/build.json").read_text())["build"]["model"]["dropped"]
    assert {name for names in recorded.values() for name in names} == set(extra)


def test_a_disk_error_ends_one_release_alone(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk refuses is an error of that release with its reason; the others go on."""
    real = pipeline.convert

    def full(files: source.Files, folder: Path, release: Release, **options: Any) -> conversion.Conversion:
        if release.name == "tiny-a":
            raise OSError(28, "No space left on device")
        return real(files, folder, release, **options)

    monkeypatch.setattr(pipeline, "convert", full)
    result = shop.main_job("--no-parity")
    assert result.code == 1
    assert "tiny-a: [Errno 28] No space left on device" in result.err
    assert shop.published() == ["acme/tiny-b"]


# Watching the source -------------------------------------------------------------------------------------------------


@pytest.fixture
def mirror(shop: Workshop) -> Iterator[Server]:
    """A server of the family's archives, which the family file names; published from there."""
    with serving() as server:
        for name in ("tiny-a.zip", "tiny-b.zip"):
            server.serve(f"/{name}", Reply((shop.root / name).read_bytes()))
            edit(shop.family, f'"{name}"', f'"{server.url}/{name}"')
        (shop.root / "tinies.lock.json").unlink(missing_ok=True)
        assert shop.main_job("--no-parity").code == 0
        server.forget()
        yield server


def _methods(server: Server) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for method, path, _, _ in server.seen:
        found.setdefault(path.strip("/"), []).append(method)
    return found


def test_a_source_that_is_the_same_is_asked_for_its_head_alone(mirror: Server, shop: Workshop) -> None:
    """A run that finds nothing to do sends one HEAD for each source and takes no bytes, on a new machine too."""
    shutil.rmtree(shop.root / "work")
    assert shop.main_job().out.count("unchanged") == 0  # parity is asked for now, and was not run
    mirror.forget()
    assert shop.main_job().out.count("unchanged") == 2
    assert _methods(mirror) == {"tiny-a.zip": ["HEAD"], "tiny-b.zip": ["HEAD"]}


def test_another_name_for_the_same_bytes_changes_nothing(mirror: Server, shop: Workshop) -> None:
    """A new ETag has the bytes looked at, once on this machine; when they are the same, nothing is published."""
    mirror.serve("/tiny-a.zip", Reply((shop.root / "tiny-a.zip").read_bytes(), etag='"2"'))
    before = heads(shop.hub)
    result = shop.main_job("--no-parity")
    assert result.code == 0
    assert result.out.count("unchanged") == 2
    assert "tiny-a: its server calls the same bytes by another name now" in result.err
    assert _methods(mirror)["tiny-a.zip"].count("GET") == 1
    mirror.forget()
    assert shop.main_job("--no-parity").code == 0
    assert "GET" not in _methods(mirror)["tiny-a.zip"]
    assert heads(shop.hub) == before


@pytest.mark.parametrize("etag", ['"1"', '"2"', None])
def test_a_source_that_changed_fails_closed(mirror: Server, shop: Workshop, etag: str | None) -> None:
    """Other bytes behind a URL: an error with both digests for that model; `pin` accepts them as a major version.

    The rest of the family is published, what stands on the Hub stays. Of a server that says nothing of versions the
    size tells.
    """
    old = file_sha256(shop.root / "tiny-a.zip")
    other = (shop.root / "tiny-b.zip").read_bytes() if etag else _padded(shop.root / "tiny-b.zip")
    new = hashlib.sha256(other).hexdigest()
    mirror.serve("/tiny-a.zip", Reply(other, etag=etag))
    edit(shop.family, 'title = "Tiny B"', 'title = "Tiny B, renamed"')
    before = heads(shop.hub)
    for _ in range(2):
        result = shop.main_job("--no-parity", "--json")
        assert result.code == 11
        rows = {row["name"]: row for row in json.loads(result.out)["releases"]}
        assert rows["tiny-b"]["status"] in ("published", "unchanged")
        assert old in rows["tiny-a"]["error"]["message"]
        assert new in rows["tiny-a"]["error"]["message"]
        assert "hubpush pin tiny-a" in rows["tiny-a"]["error"]["hint"]
    after = heads(shop.hub)
    assert after["acme/tiny-a"] == before["acme/tiny-a"]
    assert after["acme/tiny-b"] != before["acme/tiny-b"]
    assert shop.run("pin", "tiny-a", "--family", shop.family, "--work", shop.root / "work").code == 0
    rows = {row["name"]: row for row in json.loads(shop.main_job("--no-parity", "--json").out)["releases"]}
    assert (rows["tiny-a"]["before"], rows["tiny-a"]["version"], rows["tiny-a"]["bump"]) == ("1.0.0", "2.0.0", "major")
    assert rows["tiny-b"]["status"] == "unchanged"


def _padded(path: Path) -> bytes:
    """An archive with a comment: the same files, one byte more."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(path, folder))
        with zipfile.ZipFile(copy, "a") as archive:
            archive.comment = b"!"
        return copy.read_bytes()


def test_a_source_that_is_gone_is_told_and_stops_nothing(mirror: Server, shop: Workshop) -> None:
    """A 404 is a remark on the release that stands published; a server that does not answer is not even that."""
    mirror.serve("/tiny-a.zip", Reply(b"", status=404))
    mirror.serve("/tiny-b.zip", Reply(b"", status=503))
    result = shop.main_job("--no-parity", "--json")
    assert result.code == 0
    rows = {row["name"]: row for row in json.loads(result.out)["releases"]}
    assert rows["tiny-a"]["remarks"] == ["its source answers 404: nothing can be made again from there"]
    assert rows["tiny-b"]["remarks"] == []
    assert {row["status"] for row in rows.values()} == {"unchanged"}


def test_status_tells_of_a_source_that_moved_without_its_bytes(mirror: Server, shop: Workshop) -> None:
    """`status` asks a server for its HEAD alone, and says that the next run looks at the bytes."""
    assert shop.main_job().code == 0
    mirror.serve("/tiny-a.zip", Reply((shop.root / "tiny-a.zip").read_bytes(), etag='"2"'))
    given = ("--family", shop.family, "--org", "acme", *shop.places())
    rows = {row["name"]: row for row in json.loads(shop.run("status", *given, "--json").out)}
    assert rows["tiny-a"]["state"] == "outdated"
    assert "another version" in rows["tiny-a"]["reason"]
    assert rows["tiny-b"]["state"] == "up-to-date"
    assert all("GET" not in methods for methods in _methods(mirror).values())
