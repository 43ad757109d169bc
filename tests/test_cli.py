"""Laws of the command line, and of the whole path behind it."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import HfApi

import hubpush
from hubpush import card, catalog, cli, job, localhub, manifest, pipeline, publish
from tests import checkpoints
from tests.conftest import CANARY

FAMILY = """
format = 1
name = "tinies"
title = "Tinies"
summary = "Small models for tests."

[defaults]
license = "apache-2.0"
language = ["en"]
cased = false

[[releases]]
name = "tiny-a"
title = "Tiny A"
source = "tiny-a.zip"

[[releases]]
name = "tiny-b"
title = "Tiny B"
source = "tiny-b.zip"
"""


@dataclass
class Result:
    """What a command came to."""

    code: int
    out: str
    err: str


@dataclass
class Workshop:
    """A family of two tiny releases on a disk, and a place to publish it to."""

    root: Path
    run: Callable[..., Result]

    @property
    def family(self) -> Path:
        return self.root / "tinies.toml"

    @property
    def hub(self) -> Path:
        return self.root / "hub"

    def main_job(self, *arguments: str) -> Result:
        """`convert-and-upload` of the family."""
        return self.run("convert-and-upload", "--family", self.family, "--org", "acme", *self.places(), *arguments)

    def single(self, source: Path, *arguments: str) -> Result:
        """`convert-and-upload` of one checkpoint."""
        given = ("--source", source, "--repo-id", "me/mine", "--license", "mit")
        return self.run("convert-and-upload", *given, *self.places(), *arguments)

    def places(self) -> tuple[object, ...]:
        return ("--hub", self.hub, "--work", self.root / "work")

    def published(self) -> list[str]:
        """Repos of the Hub with a release in them."""
        if not self.hub.exists():
            return []
        with localhub.serve(self.hub) as url:
            api = HfApi(endpoint=url, token="embedded")
            return sorted(
                m.id for m in api.list_models() if any(f == "hubpush.json" for f in api.list_repo_files(m.id))
            )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The `hubpush` command, in this process."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["hubpush", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capfd.readouterr()
        assert CANARY not in out + err
        assert "Traceback" not in err
        return Result(int(caught.value.code or 0), out, err)

    return run


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two zips: all heads, and a bare encoder."""
    root = tmp_path_factory.mktemp("archives")
    for name, heads, seed in (("tiny-a", checkpoints.HEADS, 0), ("tiny-b", ("pooler",), 1)):
        checkpoints.write_release(root / name, heads=heads, seed=seed)
        checkpoints.zip_release(root / name, root / f"{name}.zip")
        shutil.rmtree(root / name)
    (root / "tinies.toml").write_text(FAMILY)
    lock = catalog.Lock(
        sources={
            f"{name}.zip": catalog.Pin(
                sha256=manifest.describe(root / f"{name}.zip").sha256, size=(root / f"{name}.zip").stat().st_size
            )
            for name in ("tiny-a", "tiny-b")
        }
    )
    catalog.write_lock(root / "tinies.lock.json", lock)
    return root


@pytest.fixture
def shop(tmp_path: Path, archives: Path, run: Callable[..., Result]) -> Workshop:
    shutil.copytree(archives, tmp_path / "shop")
    return Workshop(tmp_path / "shop", run)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, archives: Path) -> Path:
    """The family, published once: copied by the tests that begin there."""
    root = tmp_path_factory.mktemp("done") / "shop"
    shutil.copytree(archives, root)
    subprocess.run(
        [
            *(sys.executable, "-m", "hubpush.cli", "convert-and-upload", "--family", str(root / "tinies.toml")),
            *("--org", "acme", "--hub", str(root / "hub"), "--work", str(root / "work"), "--jobs", "2", "-q"),
        ],
        check=True,
    )
    return root


@pytest.fixture
def after(tmp_path: Path, done: Path, run: Callable[..., Result]) -> Workshop:
    shutil.copytree(done, tmp_path / "shop")
    return Workshop(tmp_path / "shop", run)


@pytest.fixture
def checkpoint(release: Path, tmp_path: Path) -> Path:
    """A writable copy of the tiny release."""
    return Path(shutil.copytree(release, tmp_path / "checkpoint"))


def _heads(hub: Path) -> dict[str, str]:
    with localhub.serve(hub) as url:
        api = HfApi(endpoint=url, token="embedded")
        return {
            m.id: f"{api.list_repo_commits(m.id)[0].commit_id} {[t.name for t in api.list_repo_refs(m.id).tags]}"
            for m in api.list_models()
        }


# The main job


def test_a_family_is_published_and_loads_by_its_tag_in_another_process(after: Workshop, tmp_path: Path) -> None:
    """One command publishes every release with parity passed; each loads by its tag with default client settings."""
    result = after.main_job("--json")
    assert result.code == 0
    script = (
        "import sys, torch; from transformers import AutoModel, AutoTokenizer;"
        "m = AutoModel.from_pretrained(sys.argv[1], revision='v1.0.0');"
        "t = AutoTokenizer.from_pretrained(sys.argv[1], revision='v1.0.0');"
        "print(tuple(m(**t('a b', return_tensors='pt')).last_hidden_state.shape), t.model_max_length)"
    )
    with localhub.serve(after.hub) as url:
        for repo_id in ("acme/tiny-a", "acme/tiny-b"):
            environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf")}
            loaded = subprocess.run(
                [sys.executable, "-c", script, repo_id], env=environment, capture_output=True, text=True, check=True
            )
            assert loaded.stdout.strip() == "(1, 4, 32) 64"


def test_the_json_is_what_the_manual_says(after: Workshop) -> None:
    """`--json` prints one object with the documented keys and plain values, and nothing else on stdout."""
    data = json.loads(after.main_job("--json").out)
    assert data["family"] == "tinies"
    assert [r["name"] for r in data["releases"]] == ["tiny-a", "tiny-b"]
    for release in data["releases"]:
        expected = {
            "name",
            "repo_id",
            "status",
            "version",
            "bump",
            "commit",
            "tag",
            "url",
            "parity",
            "files",
            "seconds",
            "error",
        }
        assert expected <= release.keys()
        assert release["status"] == "unchanged"
        assert release["parity"]["verdict"] == "pass"
        assert set(release["parity"]["worst"]) == {"output", "max_abs", "tolerance", "dtype"}
        assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= release["files"].keys()


def test_a_second_run_changes_nothing_whatever_the_machine(after: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unchanged inputs: no commit and no tag, from a newer hubpush, with other threads, in an empty work directory."""
    before = _heads(after.hub)
    for module in (hubpush, publish, pipeline, job, cli):
        monkeypatch.setattr(module, "__version__", "99.0.0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    shutil.rmtree(after.root / "work")
    result = after.main_job("--jobs", "2")
    assert result.code == 0
    assert result.out.count("unchanged") == 2
    assert _heads(after.hub) == before


def test_a_run_without_changes_imports_nothing_heavy_and_fetches_nothing(after: Workshop) -> None:
    """A run that finds nothing to do loads neither TensorFlow nor torch nor transformers, and needs no sources."""
    for name in ("tiny-a.zip", "tiny-b.zip"):
        (after.root / name).unlink()
    arguments = ["convert-and-upload", "--family", after.family, "--org", "acme", *after.places()]
    assert _imports(arguments) & {"tensorflow", "torch", "transformers", "tokenizers", "jinja2.sandbox"} <= {
        "jinja2.sandbox"
    }


@pytest.mark.parametrize(
    "arguments", [["--help"], ["catalog"], ["catalog", "bert-miniatures"], ["convert-and-upload", "-h"]]
)
def test_looking_around_imports_nothing_heavy(arguments: list[str]) -> None:
    """Help and catalog load no machine-learning library, no numpy, no server and no client."""
    heavy = {
        "torch",
        "tensorflow",
        "transformers",
        "numpy",
        "huggingface_hub",
        "starlette",
        "dulwich",
        "httpx2",
        "jinja2",
    }
    assert _imports(arguments) & heavy == set()


def _imports(arguments: list[object]) -> set[str]:
    script = (
        "import sys\nfrom hubpush import cli\nsys.argv = ['hubpush', *sys.argv[1:]]\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def test_a_dry_run_prints_plan_and_card_and_pushes_nothing(shop: Workshop) -> None:
    """--dry-run does everything but the push; the same command without it then publishes what was shown."""
    result = shop.main_job("tiny-a", "--dry-run")
    assert result.code == 0
    assert "Plan for acme/tiny-a: v1.0.0 (first)" in result.out
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


def test_a_changed_template_renders_cards_without_weights(
    after: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another template makes a card release from the recorded results: nothing is fetched, built or measured."""
    folder = tmp_path / "templates"
    shutil.copytree(card._templates(), folder)
    (folder / "sections" / "footer.md.jinja").write_text("---\n\nAnother footer.\n")
    monkeypatch.setattr(card, "_templates", lambda: folder)
    card._environment.cache_clear(), card.templates_sha256.cache_clear()
    for name in ("tiny-a.zip", "tiny-b.zip"):
        (after.root / name).unlink()
    try:
        data = json.loads(after.main_job("--json").out)
    finally:
        monkeypatch.undo()
        card._environment.cache_clear(), card.templates_sha256.cache_clear()
    for release in data["releases"]:
        assert (release["status"], release["version"]) == ("published", "1.0.1")
        assert set(release["seconds"]) == {"card", "push"}


def test_an_activation_of_ones_own_is_another_model(shop: Workshop) -> None:
    """--activation changes config.json: parity is measured against that form, and the version is a major one."""
    shop.main_job("tiny-a", "--no-parity")
    changed = json.loads(shop.main_job("tiny-a", "--activation", "gelu", "--json").out)["releases"][0]
    assert (changed["version"], changed["bump"], changed["parity"]["verdict"]) == ("2.0.0", "major", "pass")


def test_one_bad_release_does_not_stop_the_others(shop: Workshop) -> None:
    """A family does all that can be done; if every failure is of one kind, its code is the exit code."""
    (shop.root / "tiny-a.zip").write_bytes(b"PK not")
    result = shop.main_job()
    assert result.code == 11
    assert shop.published() == ["acme/tiny-b"]
    assert "pinned" in result.err
    assert "Hint:" in result.err


def test_two_processes_do_what_one_does(shop: Workshop, done: Path, tmp_path: Path) -> None:
    """--jobs 2 and --jobs 1 publish the same converted files."""
    ones = {r["name"]: r["files"] for r in json.loads(shop.main_job("--json").out)["releases"]}
    other = Workshop(done, shop.run)
    twos = {r["name"]: r["files"] for r in json.loads(other.main_job("--json").out)["releases"]}
    for name, files in ones.items():
        for path in set(files) - {"README.md"}:
            assert files[path] == twos[name][path], path


# One checkpoint


def test_one_checkpoint_needs_no_family_file(shop: Workshop, checkpoint: Path) -> None:
    """A prefix on a disk becomes a proven repo; what was assumed is said, and no path of the machine is published."""
    result = shop.single(checkpoint / "bert_model.ckpt")
    assert result.code == 0
    assert "Assumed: the activation is gelu_pytorch_tanh" in result.err
    assert "Assumed: the model is uncased" in result.err
    assert shop.published() == ["me/mine"]
    with localhub.serve(shop.hub) as url:
        folder = HfApi(endpoint=url, token="embedded").snapshot_download("me/mine", cache_dir=shop.root / "cache")
        assert "**Assumed,** because nobody said otherwise: the activation" in (Path(folder) / "README.md").read_text()
        for path in Path(folder).iterdir():
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


# Everything that can be wrong: exit code, one message, a hint, nothing pushed


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8", newline="\n")


def _truncate(folder: Path) -> None:
    data = next(folder.glob("*.data-*"))
    data.write_bytes(data.read_bytes()[:-100])


def _flip(folder: Path) -> None:
    data = next(folder.glob("*.data-*"))
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(bytes(content))


def _drop_line(folder: Path) -> None:
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    (folder / "vocab.txt").write_text("\n".join([*lines[:200], *lines[201:]]), encoding="utf-8", newline="\n")


BAD: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "nothing there": (lambda f: shutil.rmtree(f), 11, "there is nothing at"),
    "no checkpoint": (lambda f: (f / "bert_model.ckpt.index").unlink(), 11, "no TensorFlow checkpoint"),
    "no config": (lambda f: (f / "bert_config.json").unlink(), 11, "bert_config.json"),
    "no vocabulary": (lambda f: (f / "vocab.txt").unlink(), 11, "vocab.txt"),
    "truncated data": (_truncate, 12, "checkpoint damaged"),
    "flipped bit": (_flip, 12, "checkpoint damaged"),
    "missing data": (lambda f: next(f.glob("*.data-*")).unlink(), 12, "is missing"),
    "wrong layers": (
        lambda f: _edit(f / "bert_config.json", '"num_hidden_layers": 3', '"num_hidden_layers": 4'),
        13,
        "missing variable",
    ),
    "wrong width": (
        lambda f: _edit(f / "bert_config.json", '"intermediate_size": 64', '"intermediate_size": 65'),
        13,
        "has shape",
    ),
    "remote code": (lambda f: _edit(f / "bert_config.json", "{", '{"auto_map": {"AutoModel": "x.y"},'), 13, "auto_map"),
    "missing line": (_drop_line, 14, "lines"),
    "mark": (lambda f: _edit(f / "vocab.txt", "[PAD]", "\ufeff[PAD]"), 14, "byte order mark"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_gives_a_code_a_message_a_hint_and_pushes_nothing(
    shop: Workshop, checkpoint: Path, what: str
) -> None:
    """Each thing that can be wrong with a checkpoint ends with its exit code, a reason, a hint, an untouched Hub."""
    spoil, code, words = BAD[what]
    spoil(checkpoint)
    result = shop.single(checkpoint)
    assert result.code == code, result.err
    assert words in result.err
    assert result.err.count("Hint: ") == 1
    assert shop.published() == []
    assert not list((shop.root / "work").rglob("*.part"))


def test_a_hub_directory_that_is_somebodys_is_left_alone(shop: Workshop, tmp_path: Path) -> None:
    """--hub with a directory that holds other files is refused, whatever is in it, and nothing in it is touched."""
    for folder in (tmp_path / "mine" / "tmp", tmp_path / "other"):
        folder.mkdir(parents=True)
        (folder / "old.txt").write_text("mine")
        os.utime(folder / "old.txt", (0, 0))
    for directory, code in ((tmp_path / "other", 1), (tmp_path / "mine", 0), ("", 2)):
        result = shop.run("catalog") if code == 0 else None
        arguments = ("--family", shop.family, "--org", "a", "--hub", directory, "--work", tmp_path / "w", "--dry-run")
        result = shop.run("convert-and-upload", *arguments, "--no-parity")
        assert result.code == code, result.err
    assert (tmp_path / "other" / "old.txt").read_text() == (tmp_path / "mine" / "tmp" / "old.txt").read_text() == "mine"


def test_saying_what_is_so_anyway_changes_nothing(shop: Workshop, checkpoint: Path) -> None:
    """Options that change no byte make no release: the casing that the vocabulary shows, a permission nobody needed."""
    shop.single(checkpoint, "--no-parity")
    for options in (["--uncased"], ["--allow-nonfinite"], []):
        data = json.loads(shop.single(checkpoint, "--no-parity", "--json", *options).out)["releases"][0]
        assert (data["status"], data["version"]) == ("unchanged", "1.0.0"), options


def test_a_renamed_family_file_changes_nothing(after: Workshop) -> None:
    """The name of the file is not what is published."""
    moved = after.root / "renamed.toml"
    after.family.rename(moved)
    (after.root / "tinies.lock.json").rename(after.root / "renamed.lock.json")
    result = after.run("convert-and-upload", "--family", moved, "--org", "acme", *after.places())
    assert result.out.count("unchanged") == 2


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
    assert "['v1.0.0']" in _heads(after.hub)["acme/tiny-a"]


def test_names_of_files_reach_no_shell_and_no_terminal(shop: Workshop, checkpoint: Path) -> None:
    """A source's name is quoted in the card's command; control characters in it are refused, and printed harmlessly."""
    odd = checkpoint.rename(checkpoint.with_name("my $(touch x);'q"))
    result = shop.single(odd, "--no-parity", "--dry-run")
    assert result.code == 0
    assert """--source 'my $(touch x);'"'"'q'""" in result.out
    bell = odd.rename(odd.with_name("bell\x1b]0;pwned\x07"))
    result = shop.single(bell, "--no-parity", "--dry-run")
    assert result.code == 2
    assert "\x1b" not in result.out + result.err


def test_an_org_that_is_none_is_refused(shop: Workshop) -> None:
    """An owner that the Hub would not take is a usage error."""
    for org in ("my org", "a--b", "..", "-x", "é"):
        assert shop.run("convert-and-upload", "--family", shop.family, f"--org={org}", *shop.places()).code == 2


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
        "embeddings": lambda f: _edit(f / "config.json", '"layer_norm_eps": 1e-12', '"layer_norm_eps": 1e-09'),
        "the activation is the cause": lambda f: _edit(f / "config.json", '"gelu_pytorch_tanh"', '"gelu"'),
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


def test_a_template_typo_pushes_nothing(shop: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mistake in a template ends with exit code 16 and its place."""
    folder = tmp_path / "templates"
    shutil.copytree(card._templates(), folder)
    (folder / "sections" / "usage.md.jinja").write_text("{{ repo }}")
    monkeypatch.setattr(card, "_templates", lambda: folder)
    card._environment.cache_clear(), card.templates_sha256.cache_clear()
    result = shop.main_job("tiny-b", "--no-parity")
    monkeypatch.undo()
    card._environment.cache_clear(), card.templates_sha256.cache_clear()
    assert result.code == 16
    assert "usage.md.jinja, line 1" in result.err


def test_a_family_file_names_all_its_mistakes(shop: Workshop) -> None:
    """Exit code 10 with every mistake and its key."""
    _edit(shop.family, 'license = "apache-2.0"', 'licence = "apache-2.0"')
    _edit(shop.family, 'source = "tiny-b.zip"', 'source = "ftp://x/tiny-b.zip"')
    result = shop.main_job()
    assert result.code == 10
    for key in ("defaults.licence", "releases[0].license", "releases[1].source"):
        assert key in result.err


@contextmanager
def _answering(status: int) -> Iterator[tuple[str, list[str]]]:
    """A server that answers everything with one status; its address, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_POST = _answer

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def test_a_hub_that_refuses_stops_before_anything_is_fetched(shop: Workshop) -> None:
    """A Hub that says no ends with exit code 17, one message and a hint; the source was not even asked for its size."""
    with _answering(403) as (hub, _), _answering(200) as (source, fetched):
        shop.family.write_text(shop.family.read_text().replace('"tiny-a.zip"', f'"{source}/tiny-a.zip"'))
        arguments = ("--family", shop.family, "--org", "acme", "tiny-a", "--hub", hub, "--work", shop.root / "work")
        result = shop.run("convert-and-upload", *arguments)
    assert result.code == 17, result.err
    assert "refuses (403)" in result.err
    assert result.err.count("Hint: ") == 1
    assert fetched == []


def test_a_full_disk_stops_before_anything_is_fetched(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room is said before the first byte, release by release: the ones that fit go on."""
    from collections import namedtuple

    size = (shop.root / "tiny-a.zip").stat().st_size
    usage = namedtuple("usage", "total used free")(10**9, 0, 3 * size)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    data = json.loads(shop.main_job("--no-parity", "--json").out)["releases"]
    assert [r["status"] for r in data] == ["published", "failed"]
    assert "GB are free" in data[1]["error"]["message"]
    assert data[1]["seconds"] == {}


def test_a_hub_that_is_not_there_is_tried_again_later(shop: Workshop) -> None:
    """No Hub at the address: exit code 18 for every release."""
    result = shop.run(
        "convert-and-upload",
        "--family",
        shop.family,
        "--org",
        "acme",
        "--hub",
        "http://127.0.0.1:9",
        "--work",
        shop.root / "w",
    )
    assert result.code == 18


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["convert-and-upload"], "--org is missing"),
        (["convert-and-upload", "--repo-id", "a/b"], "--source and --license"),
        (["convert-and-upload", "--org", "a/b"], "no owner"),
        (["convert-and-upload", "--org", "a", "--force", "--no-parity"], "--force"),
        (["convert-and-upload", "--org", "a", "--hub", "http://example.org"], "not https"),
        (["catalog", "--json", "-q"], "exclude"),
        (["inspect", "x", "--architecture", "gpt"], "no architecture"),
        (["catalogue"], "No such command"),
    ],
)
def test_usage_errors_end_with_two(run: Callable[..., Result], arguments: list[str], words: str) -> None:
    """What cannot be meant is exit code 2, and says how it is meant."""
    result = run(*arguments)
    assert result.code == 2, result.err
    assert words in result.err


# The other commands


def test_inspect_shows_what_becomes_of_every_variable(run: Callable[..., Result], tmp_path: Path) -> None:
    """Every variable stands in the list, with its key, or why it has none; damage shows in `crc_ok`."""
    import numpy as np

    leftovers = {"bert/pooler/dense/kernel/adam_m": np.ones((32, 32), "f4"), "surprise": np.ones(3, "f4")}
    folder = tmp_path / "leftovers"
    checkpoints.write_release(folder, extra_variables=leftovers)
    _flip(folder)
    data = json.loads(run("inspect", folder, "--json", "--work", tmp_path).out)
    fates = {row["name"]: row for row in data["variables"]}
    assert fates["bert/pooler/dense/kernel"]["key"] == "bert.pooler.dense.weight"
    assert fates["bert/pooler/dense/kernel/adam_m"]["disposition"] == "dropped"
    assert fates["surprise"]["disposition"] == "unknown"
    assert sum(not row["crc_ok"] for row in data["variables"]) == 1
    assert data["class"] == "BertForPreTraining"
    human = run("inspect", folder, "--work", tmp_path)
    assert human.code == 0
    assert "Mistake: unknown variable surprise" in human.err


def test_convert_makes_a_folder_that_loads(run: Callable[..., Result], release: Path, tmp_path: Path) -> None:
    """`convert` writes what from_pretrained loads, refuses a folder with something in it, and leaves no half result."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    result = run("convert", release, tmp_path / "out", "--work", tmp_path)
    assert result.code == 0
    assert result.out.strip() == str(tmp_path / "out")
    model, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert model.config.hidden_act == "gelu_pytorch_tanh"
    assert AutoTokenizer.from_pretrained(tmp_path / "out").model_max_length == 64
    assert run("convert", release, tmp_path / "out", "--work", tmp_path).code == 2
    (tmp_path / "two.part").mkdir()
    (tmp_path / "two.part" / "mine").touch()
    assert run("convert", release, tmp_path / "two", "--work", tmp_path).code == 0
    assert (tmp_path / "two.part" / "mine").exists()
    assert run("convert", tmp_path / "nowhere", tmp_path / "other", "--work", tmp_path).code == 11
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("o")) == ["out"]


def test_catalog_lists_what_can_be_carried(run: Callable[..., Result], shop: Workshop) -> None:
    """Families and their releases are listed for people and for machines."""
    assert run("catalog", "-q").out.split() == ["bert-miniatures"]
    assert len(json.loads(run("catalog", "bert-miniatures", "--json").out)) == 24
    rows = json.loads(run("catalog", shop.family, "--json").out)
    assert [(row["name"], row["pinned"]) for row in rows] == [("tiny-a", True), ("tiny-b", True)]


def test_any_terminal_can_be_printed_to(tmp_path: Path) -> None:
    """What the terminal's encoding lacks is shown by its number, not by a traceback."""
    (tmp_path / "f.toml").write_text(FAMILY.replace("Tiny A", "Tiny \N{SNOWMAN}"), encoding="utf-8")
    for name in ("tiny-a", "tiny-b"):
        (tmp_path / f"{name}.zip").touch()
    command = [sys.executable, "-m", "hubpush.cli", "catalog", str(tmp_path / "f.toml")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "Tiny \\u2603" in done.stdout


def test_catalog_checks_a_file_before_anything_else_does(run: Callable[..., Result], shop: Workshop) -> None:
    """`catalog FILE` names, for all releases at once, metadata the Hub would refuse and sources that are missing."""
    _edit(shop.family, 'language = ["en"]', 'language = ["english"]')
    (shop.root / "tiny-b.zip").unlink()
    result = run("catalog", shop.family)
    assert result.code == 10
    assert result.err.count("language[0]") == 2
    assert "tiny-b.zip" in result.err


def test_hub_serve_serves_until_interrupted(done: Path) -> None:
    """`hub serve` prints its address, shows a repo's card in a browser, and ends cleanly on Ctrl-C."""
    import signal
    from urllib.request import urlopen

    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "hubpush.cli", "hub", "serve", str(done / "hub"), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
        assert url is not None
        with urlopen(f"{url.group()}/acme/tiny-a") as page:
            assert "Tiny A" in page.read().decode()
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(publish, "_PAUSE", 0.0)
    return iter(())
