"""Laws of a conversion as a whole: what it reads and writes, what it imports, and a family's in one command."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from hubpush import catalog, conversion, source
from hubpush.digests import file_sha256
from tests.checkpoints import TINY, write_release, zip_release
from tests.servers import Reply, Server, pin
from tests.workshop import Result, Workshop, imports

FACTS = catalog.single("a/b", "c", license="mit").releases[0]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with 12 MB of weights, so that its bytes outweigh all else that is read."""
    folder = tmp_path_factory.mktemp("large") / "release"
    config = TINY | {"hidden_size": 128, "intermediate_size": 512, "vocab_size": 16_384, "num_hidden_layers": 4}
    write_release(folder, config=config)
    return folder


def _moved() -> tuple[int, int]:
    """Bytes that this process has read and written by system calls so far: proc(5)."""
    found = dict(re.findall(r"(\w+): (\d+)", Path("/proc/self/io").read_text()))
    return int(found["rchar"]), int(found["wchar"])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts what a process reads and writes")
@pytest.mark.parametrize("kind", ["directory", "zip"])
def test_each_byte_is_read_once_and_written_once(large: Path, tmp_path: Path, kind: str) -> None:
    """All digests and sums are computed on the way: no file is read again for them, and none is written twice."""
    given = large if kind == "directory" else zip_release(large, tmp_path / "release.zip")
    weights = sum(path.stat().st_size for path in source.find(large).weights())
    (tmp_path / "model").mkdir()
    local = source.bring(given, tmp_path)
    before = _moved()
    with source.opened(local, tmp_path / "scratch") as files:
        done = conversion.convert(files, tmp_path / "model", FACTS)
        build = conversion.record(FACTS, files, tmp_path / "model", done.reading, None, written=done.written)
    read, written = (after - earlier for after, earlier in zip(_moved(), before, strict=True))
    archive = given.stat().st_size if kind == "zip" else 0
    small = 4 << 20  # config, vocabulary and the tokenizer's files, and modules that are imported
    assert weights + archive <= read < weights + archive + small, (read, weights, archive)
    unpacked = weights if kind == "zip" else 0
    assert weights + unpacked <= written < weights + unpacked + small, (written, weights)
    model = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert build.files["model.safetensors"].sha256 == hashlib.sha256(model).hexdigest()
    assert build.source.sha256 == source.fetch(given, tmp_path).sha256
    for path in source.find(large).weights():
        assert build.source.files[path.name].sha256 == file_sha256(path)


@pytest.mark.parametrize("alone", [True, False])
def test_what_was_converted_is_recorded_as_if_it_were_read_again(large: Path, tmp_path: Path, alone: bool) -> None:
    """Digests from the pass, hashed beside it or within, make the record that reading all files for theirs makes."""
    files = source.find(large)
    (tmp_path / "model").mkdir()
    done = conversion.convert(files, tmp_path / "model", FACTS, alone=alone)
    known, read = (
        conversion.record(FACTS, files, tmp_path / "model", done.reading, None, written=written)
        for written in (done.written, None)
    )
    assert known == read


def test_converting_imports_what_it_needs(release: Path, tmp_path: Path) -> None:
    """`hubpush convert` loads neither the Hub's client nor what renders cards, and no machine-learning library."""
    heavy = {"torch", "tensorflow", "transformers", "safetensors", "huggingface_hub", "httpx2", "jinja2", "PIL", "rich"}
    assert imports(["convert", str(release), str(tmp_path / "out"), "-q"]) & heavy == set()


# A family ------------------------------------------------------------------------------------------------------------


def _convert(shop: Workshop, *arguments: object) -> Result:
    return shop.run("convert", shop.root, shop.root / "out", "--family", shop.family, *arguments)


def test_a_family_becomes_a_folder_for_each_release(shop: Workshop, tmp_path: Path) -> None:
    """Each folder holds the bytes that its archive alone becomes, and its record."""
    result = _convert(shop, "-q")
    assert result.code == 0, result.err
    assert sorted(result.out.split()) == [str(shop.root / "out" / name) for name in ("tiny-a", "tiny-b")]
    for name in ("tiny-a", "tiny-b"):
        assert shop.run("convert", shop.root / f"{name}.zip", tmp_path / name, "-q").code == 0
        one, other = shop.root / "out" / name, tmp_path / name
        assert {p.name for p in one.iterdir()} == {p.name for p in other.iterdir()}
        for path in one.iterdir():
            if path.name != "hubpush.json":
                assert path.read_bytes() == (other / path.name).read_bytes()
        assert json.loads((one / "hubpush.json").read_text())["build"]["source"]["name"] == f"{name}.zip"


@pytest.mark.parametrize("kind", ["zip", "directory", "url"])
def test_the_largest_of_a_family_comes_first(shop: Workshop, tmp_path: Path, kind: str, server: Server) -> None:
    """Where two are converted at a time, what takes longest is not left for the end."""
    config = TINY | {"vocab_size": 9000}
    folder = tmp_path / "tiny-b"
    write_release(folder, config=config)
    if kind in ("zip", "url"):
        zip_release(folder, shop.root / "tiny-b.zip")
    else:
        shutil.copytree(folder, shop.root / "tiny-b")
        (shop.root / "tiny-b.zip").unlink()
    pins, mirror = dict[str, Any](), str(shop.root)
    if kind == "url":  # no server is asked for its sizes: the lock has them
        mirror = server.url
        for name in ("tiny-a.zip", "tiny-b.zip"):
            body = (shop.root / name).read_bytes()
            server.serve(f"/{name}", Reply(body))
            pins[name] = pin(body).model_dump(exclude_none=True)
    (shop.root / "tinies.lock.json").write_text(json.dumps({"format": 1, "sources": pins}))
    work = ("--work", tmp_path / "work")
    result = shop.run("convert", mirror, shop.root / "out", "--family", shop.family, "-q", *work)
    assert result.code == 0, result.err
    assert [Path(line).name for line in result.out.split()] == ["tiny-b", "tiny-a"]


def test_releases_are_chosen_by_globs(shop: Workshop) -> None:
    """Only those that match are converted, and a glob that matches none is an error."""
    assert _convert(shop, "--model", "*-b").code == 0
    assert [p.name for p in (shop.root / "out").iterdir()] == ["tiny-b"]
    assert _convert(shop, "--model", "none").code == 10


def test_one_that_fails_does_not_keep_the_others_from_it(shop: Workshop) -> None:
    """A damaged archive is told with its release; the exit code is that of what was wrong, and nothing half is left."""
    body = bytearray((shop.root / "tiny-a.zip").read_bytes())
    body[len(body) // 2] ^= 1
    (shop.root / "tiny-a.zip").write_bytes(body)
    result = _convert(shop)
    assert result.code == 11
    assert "tiny-a: " in result.err
    assert "1 of 2 releases were not converted" in result.err
    assert os.listdir(shop.root / "out") == ["tiny-b"]  # noqa: PTH208 - hidden ones too


def test_a_family_is_held_to_its_lock(shop: Workshop) -> None:
    """Another archive than the pinned one is not converted; both digests are told."""
    pin = {"sha256": "0" * 64, "size": 1}
    lock = {"format": 1, "sources": {"tiny-a.zip": pin}}
    (shop.root / "tinies.lock.json").write_text(json.dumps(lock))
    result = _convert(shop)
    assert result.code == 11
    assert "tiny-a.zip is not the pinned source" in result.err
    assert [p.name for p in (shop.root / "out").iterdir()] == ["tiny-b"]


def test_directories_of_a_family_are_held_to_its_lock_too(shop: Workshop, release: Path) -> None:
    """Files that lie where they are were read when they are compared, and then nothing of them is kept."""
    shutil.copytree(release, shop.root / "dir")
    text = shop.family.read_text().replace('"tiny-a.zip"', '"dir"')
    shop.family.write_text(text)
    (shop.root / "tinies.lock.json").write_text(json.dumps({"format": 1, "sources": {"dir": {"sha256": "0" * 64}}}))
    result = _convert(shop)
    assert result.code == 11
    assert "dir is not the pinned source" in result.err
    assert [p.name for p in (shop.root / "out").iterdir()] == ["tiny-b"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--cased",), "a family says itself"),
        (("--vocab", "v.txt"), "a family says itself"),
    ],
)
def test_a_family_takes_no_facts_of_one_checkpoint(shop: Workshop, arguments: tuple[str, ...], words: str) -> None:
    """Options that describe one checkpoint and --family exclude each other."""
    result = _convert(shop, *arguments)
    assert result.code == 2
    assert words in result.err


def test_globs_without_a_family_are_refused(shop: Workshop) -> None:
    """--model alone names nothing."""
    result = shop.run("convert", shop.root / "tiny-a.zip", shop.root / "out", "--model", "x")
    assert result.code == 2
    assert "--model names releases of a --family" in result.err
