"""Laws of repetition: the same checkpoint becomes the same bytes, wherever and however it is converted."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crc32c import crc32c

from tests import checkpoints
from tests.test_checkpoint import HEADER, entry, write_table

RECORD = "hubpush.json"


@dataclass(frozen=True)
class World:
    """What surrounds a process: its environment, its umask, its current directory (below the test's own)."""

    environment: Mapping[str, str]
    umask: int
    folder: str = ""


def threads(count: str) -> dict[str, str]:
    """The variables that say how many threads may compute."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    return {**dict.fromkeys(names, count), "TOKENIZERS_PARALLELISM": str(count != "1").lower()}


def language(*wanted: str) -> str:
    """The first of these locales that this system has, or the C locale in UTF-8, which Python itself falls back to."""
    there = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.split()
    plain = {name.lower().replace("-", ""): name for name in there}
    return next((plain[name] for name in wanted if name in plain), "C.UTF-8")


# In Turkish i and I are no pair; in the C locale, taken at its word, files without a named encoding are ASCII.
HOME = World({"TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", **threads("1")}, 0o022)
WORLDS = {
    "another zone": World({**HOME.environment, "TZ": "<+14>-14"}, 0o022),
    "another language": World({**HOME.environment, "LC_ALL": language("tr_tr.utf8", "de_de.utf8")}, 0o022),
    "no language": World({**HOME.environment, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, 0o022),
    "another hash seed": World({**HOME.environment, "PYTHONHASHSEED": "4294967295"}, 0o022),
    "more threads": World({**HOME.environment, **threads("7")}, 0o022),
    "another umask": World(HOME.environment, 0o077),
    "another directory": World(HOME.environment, 0o022, "a/b c/ü"),
}
ALL = World(
    {
        **HOME.environment, "TZ": "<-0930>9:30", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
        "PYTHONHASHSEED": "4711", **threads("7"),
    },
    0o077, "elsewhere",
)  # fmt: skip


@dataclass(frozen=True)
class Converted:
    """A converted folder: the bytes and modes of its files, and its record but for the day."""

    files: Mapping[str, bytes]
    modes: Mapping[str, int]
    record: Mapping[str, Any] = field(default_factory=dict)


def convert(source: Path, out: Path, world: World, *options: str, before: str = "") -> Converted:
    """Convert in a process of its own, which first runs the code `before`."""
    cwd = out.parent / world.folder
    cwd.mkdir(parents=True, exist_ok=True)
    given = [os.path.relpath(source, cwd), os.path.relpath(out, cwd), "--work", str(out.parent / "work"), *options]
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\nfrom hubpush import cli\ncli.main()", "convert", *given],
        cwd=cwd, env={**os.environ, **world.environment}, umask=world.umask, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    found = {path.name: path for path in sorted(out.iterdir())}
    record = json.loads(found[RECORD].read_text(encoding="utf-8"))
    assert record["build"].pop("date")
    return Converted(
        {name: path.read_bytes() for name, path in found.items() if name != RECORD},
        {name: stat.S_IMODE(path.stat().st_mode) for name, path in found.items()},
        record["build"],
    )


def differences(one: Converted, other: Converted) -> list[str]:
    """Names of the files that are not the same bytes in both, and keys of the record."""
    names = sorted(one.files.keys() | other.files.keys())
    keys = sorted(one.record.keys() | other.record.keys())
    return [name for name in names if one.files.get(name) != other.files.get(name)] + [
        f"{RECORD}: {key}" for key in keys if one.record.get(key) != other.record.get(key)
    ]


def release_of(folder: Path, kind: str) -> tuple[str, ...]:
    """Write a tiny checkpoint of a kind; what the command needs to be told of it."""
    if kind == "electra":
        checkpoints.write_checkpoint(folder / "model.ckpt", checkpoints.electra_variables())
        (folder / "electra_config.json").write_text(json.dumps(checkpoints.TINY_GENERATOR))
    elif kind == "classifier":
        variables = checkpoints.bert_variables(checkpoints.TINY, ("pooler", "classifier"))
        checkpoints.write_checkpoint(folder / "model.ckpt", variables)
        (folder / "bert_config.json").write_text(json.dumps(checkpoints.TINY))
        (folder / "labels.txt").write_text("nö\nvielleicht\njawohl\n", encoding="utf-8")
    else:
        checkpoints.write_release(folder)
    (folder / "vocab.txt").write_text("\n".join(checkpoints.VOCAB) + "\n", encoding="utf-8")
    given = {"electra": ("--part", "generator"), "classifier": ("--task", "text-classification")}.get(kind, ())
    labels = ("--labels", str(folder / "labels.txt")) if kind == "classifier" else ()
    return (*given, *labels)


@pytest.fixture(scope="module")
def at_home(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """A BERT with all heads, converted in the first world."""
    return convert(release, tmp_path_factory.mktemp("home") / "out", HOME)


@pytest.mark.parametrize("changed", WORLDS)
def test_a_bert_becomes_the_same_files_in_every_world(
    changed: str, release: Path, at_home: Converted, tmp_path: Path
) -> None:
    """Zone, language, hash seed, threads, umask, directory: no file differs, nor a line of the record but the day."""
    found = convert(release, tmp_path / "out", WORLDS[changed])
    assert {"config.json", "model.safetensors", "tokenizer.json", "vocab.txt"} < set(found.files)
    assert differences(at_home, found) == []
    assert found.record["weights_inputs"] == at_home.record["weights_inputs"]
    # Modes are what the umask leaves; the Hub keeps none of them.
    assert set(found.modes.values()) <= {0o644, 0o666 & ~WORLDS[changed].umask}


@pytest.mark.parametrize("kind", ["electra", "classifier"])
def test_other_kinds_become_the_same_files_too(kind: str, tmp_path: Path) -> None:
    """An ELECTRA's generator and a classifier with labels beyond ASCII, with all of it changed at once."""
    given = release_of(tmp_path / "source", kind)
    one, other = (
        convert(tmp_path / "source", tmp_path / name / "out", world, *given)
        for name, world in (("one", HOME), ("other", ALL))
    )
    assert differences(one, other) == []


def test_the_order_in_a_checkpoint_is_of_no_account(at_home: Converted, release: Path, tmp_path: Path) -> None:
    """Variables that lie elsewhere in the data file, or in several, become the same files of another source."""
    variables = checkpoints.bert_variables(checkpoints.TINY)
    backwards, content = {}, b""
    for name in sorted(variables, reverse=True):
        data = np.ascontiguousarray(variables[name]).tobytes()
        shape = variables[name].shape
        backwards[name.encode()] = entry(1, shape, offset=len(content), size=len(data), crc=crc32c(data))
        content += data
    for folder in ("backwards", "shards"):
        (tmp_path / folder).mkdir()
        for name in ("bert_config.json", "vocab.txt"):
            (tmp_path / folder / name).write_bytes((release / name).read_bytes())
    write_table(tmp_path / "backwards" / "bert_model.ckpt", {b"": HEADER, **dict(sorted(backwards.items()))}, content)
    checkpoints.write_checkpoint(tmp_path / "shards" / "bert_model.ckpt", variables, shards=5)
    for folder in ("backwards", "shards"):
        found = convert(tmp_path / folder, tmp_path / f"{folder}-out", HOME)
        assert found.files == at_home.files
        assert found.record["weights_inputs"] != at_home.record["weights_inputs"]
        assert differences(at_home, found) == ["hubpush.json: source", "hubpush.json: weights_inputs"]


SPOILT = """
import locale, os, time
from hubpush import model
published = model.published_config
facts = {
    "zone": time.strftime("%z"), "language": locale.getpreferredencoding(False), "seed": hash("x"),
    "threads": os.environ["OMP_NUM_THREADS"], "umask": os.umask(0o22), "directory": os.getcwd(),
}
model.published_config = lambda *given: {**published(*given), **facts}
"""


def test_a_converter_that_looks_around_is_found(release: Path, tmp_path: Path) -> None:
    """Were zone, language, hash seed, threads, umask or directory in config.json, each would be seen to differ."""
    one = convert(release, tmp_path / "one" / "out", HOME, before=SPOILT)
    other = convert(release, tmp_path / "other" / "out", ALL, before=SPOILT)
    assert differences(one, other) == ["config.json", "hubpush.json: files", "hubpush.json: model"]
    configs = [json.loads(converted.files["config.json"]) for converted in (one, other)]
    assert {key for key in configs[0] if configs[0][key] != configs[1][key]} == {
        "zone", "language", "seed", "threads", "umask", "directory",
    }  # fmt: skip
