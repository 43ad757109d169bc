"""Laws of the sources: what is brought, what it is held to, and which files of it are the checkpoint."""

from __future__ import annotations

import io
import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hubpush import digests, download, source
from hubpush.catalog import Pin
from hubpush.digests import file_sha256
from hubpush.errors import SourceError
from hubpush.source import (
    Archive,
    Local,
    bring,
    fetch,
    find,
    opened,
    require_space,
    resolve,
    size_of,
)
from tests.checkpoints import zip_release
from tests.servers import BODY, OTHER, Reply, Server, pin


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PATIENCE", 0)


# Pins ----------------------------------------------------------------------------------------------------------------


def test_other_bytes_than_the_pinned_ones_are_refused_with_both_digests(server: Server, tmp_path: Path) -> None:
    """A changed source of the same size names the pinned and the found digest, and nothing of it is kept."""
    url = server.serve("/a.zip", Reply(OTHER))
    with pytest.raises(SourceError) as caught:
        fetch(url, tmp_path, pin(BODY))
    assert pin(BODY).sha256 in caught.value.message
    assert pin(OTHER).sha256 in caught.value.message
    assert not [p for p in tmp_path.rglob("a.zip*") if p.suffix not in (".lock", ".json")]
    server.serve("/a.zip", Reply())
    assert fetch(url, tmp_path, pin(BODY)).path.read_bytes() == BODY


def test_a_kept_archive_is_checked_again(server: Server, tmp_path: Path) -> None:
    """What changed on the disk is removed and fetched again."""
    url = server.serve("/a.zip", Reply())
    path = fetch(url, tmp_path, pin(BODY)).path
    path.write_bytes(OTHER)
    assert fetch(url, tmp_path, pin(BODY)).path.read_bytes() == BODY


@pytest.mark.parametrize("name", ["a.zip", "dir"])
def test_a_local_source_is_held_to_its_pin(tmp_path: Path, release: Path, name: str) -> None:
    """Files and directories are pinned like downloads, by size and by digest; they are never removed."""
    path = zip_release(release, tmp_path / name) if name == "a.zip" else release
    archive = fetch(path, tmp_path / "d")
    right = Pin(size=archive.size, sha256=archive.sha256)
    assert fetch(path, tmp_path / "d", right) == archive
    with pytest.raises(SourceError, match=r"is not the pinned source"):
        fetch(path, tmp_path / "d", right.model_copy(update={"size": archive.size + 1}))
    with pytest.raises(SourceError, match="is not the pinned source"):
        fetch(path, tmp_path / "d", Pin(sha256="0" * 64))
    assert path.exists()


# Sizes, mirrors -----------------------------------------------------------------------------------------------------


def test_the_size_is_known_without_the_body(server: Server, tmp_path: Path) -> None:
    """A look at the size sends no body, and gives None where nobody can tell."""
    assert size_of(server.serve("/a.zip", Reply())) == len(BODY)
    assert [(method, sent) for method, _, _, sent in server.seen] == [("HEAD", 0)]
    assert size_of(server.serve("/a.zip", Reply(length=None))) is None
    assert size_of(server.serve("/a.zip", Reply(b"", 404))) is None
    assert size_of(re.sub(r":\d+$", ":1/a", server.url)) is None
    assert size_of(tmp_path) == 0


def test_a_source_is_found_beside_its_family_or_in_the_mirror(tmp_path: Path) -> None:
    """URLs stay, paths are relative to the family file, and a mirror has both under their last name."""
    url = "https://h/x/a_L-2.zip"
    assert resolve(url, tmp_path) == url
    assert resolve("sub/a.zip", tmp_path) == tmp_path / "sub/a.zip"
    assert resolve(str(tmp_path / "a.zip"), Path("elsewhere")) == tmp_path / "a.zip"
    assert resolve(url, tmp_path, "https://m/y/") == "https://m/y/a_L-2.zip"
    assert resolve("sub/a.zip", tmp_path, "http://127.0.0.1:8/y") == "http://127.0.0.1:8/y/a.zip"
    with pytest.raises(SourceError, match=r"has neither a_L-2\.zip nor a directory a_L-2$"):
        resolve(url, tmp_path, str(tmp_path))
    (tmp_path / "a_L-2").mkdir()
    assert resolve(url, tmp_path, str(tmp_path)) == tmp_path / "a_L-2"
    (tmp_path / "a_L-2.zip").touch()
    assert resolve(url, tmp_path, str(tmp_path)) == tmp_path / "a_L-2.zip"


@pytest.mark.parametrize("mirror", ["http://example.org/y", "ftp://h/y", "http://localhost:x@h/y"])
def test_a_mirror_on_another_machine_has_tls(tmp_path: Path, mirror: str) -> None:
    """A mirror's URL is held to the same rule as a family's."""
    with pytest.raises(SourceError, match="is not https"):
        resolve("https://h/a.zip", tmp_path, mirror)


def test_a_mirror_serves_what_is_pinned(server: Server, tmp_path: Path) -> None:
    """A mirror is trusted for nothing but its speed: the pin of the source holds there too."""
    server.serve("/m/a.zip", Reply(OTHER))
    place = resolve("https://h/a.zip", tmp_path, f"{server.url}/m")
    assert fetch(place, tmp_path / "d", pin(OTHER)).path.read_bytes() == OTHER
    shutil.rmtree(tmp_path / "d")
    with pytest.raises(SourceError, match="not the pinned source"):
        fetch(place, tmp_path / "d", pin(BODY))


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(tmp_path: Path) -> None:
    """Room that is there is enough, room that is not is an error with both numbers; nothing is made on the way."""
    free = shutil.disk_usage(tmp_path).free
    require_space(tmp_path / "not" / "yet", free // 2)
    require_space(Path("not/yet"), 0)
    with pytest.raises(SourceError, match=r"1000000\.0 GB are needed in the work directory, \d+\.\d GB are free"):
        require_space(tmp_path / "not" / "yet", 10**15)
    assert list(tmp_path.iterdir()) == []


# Local checkpoints ---------------------------------------------------------------------------------------------------

PREFIX = "bert_model.ckpt"
NAMES = ["bert_config.json", f"{PREFIX}.data-00000-of-00001", f"{PREFIX}.index", "vocab.txt"]


@pytest.fixture
def here(release: Path, tmp_path: Path) -> Path:
    """A copy of the release to change."""
    return Path(shutil.copytree(release, tmp_path / "here"))


def contents(local: Local, scratch: Path) -> dict[str, str]:
    """Name and digest of every file of the checkpoint in a source."""
    with opened(local, scratch) as files:
        assert files.prefix.name == PREFIX
        return {path.name: file_sha256(path) for path in files.all()}


def test_every_way_to_give_a_checkpoint_gives_the_same_files(here: Path, tmp_path: Path) -> None:
    """Directory, prefix, each file of the prefix, zip and zip with a folder inside all hold the same checkpoint."""
    expected = {name: file_sha256(here / name) for name in NAMES}
    ways = [here, here / PREFIX, *(here / name for name in NAMES[1:3])]
    ways += [zip_release(here, tmp_path / "a.zip"), zip_release(here, tmp_path / "b.zip", "uncased/inside")]
    for way in ways:
        assert contents(bring(way, tmp_path / "d"), tmp_path / "scratch") == expected, way.name
    assert not (tmp_path / "d").exists()
    assert not (tmp_path / "scratch").exists()


def test_a_checkpoint_has_one_digest_however_it_is_given(here: Path, tmp_path: Path) -> None:
    """The digest of a directory is that of its prefix, wherever both lie, and counts nothing but its files."""
    archives = [fetch(way, tmp_path) for way in (here, here / PREFIX, here / NAMES[2], here / NAMES[1])]
    (here / "README.md").write_text("more")
    (here / "checkpoint").write_text('model_checkpoint_path: "x"')
    archives.append(fetch(Path(shutil.copytree(here, tmp_path / "moved")), tmp_path))
    assert len({(archive.sha256, archive.size) for archive in archives}) == 1
    assert archives[0].size == sum((here / name).stat().st_size for name in NAMES)
    assert [archive.name for archive in archives] == ["here", PREFIX, PREFIX, PREFIX, "moved"]


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_byte_changes_the_digest(here: Path, tmp_path: Path, name: str) -> None:
    """The digest of a directory covers every byte of every file of the checkpoint."""
    before = fetch(here, tmp_path).sha256
    content = bytearray((here / name).read_bytes())
    content[len(content) // 2] ^= 1
    (here / name).write_bytes(content)
    assert fetch(here, tmp_path).sha256 != before


def test_all_data_files_belong_to_the_checkpoint(tmp_path: Path) -> None:
    """A checkpoint's files are its own shards and no other's, also where its name holds what globs mean."""
    names = ["m[1]*.index", "m[1]*.data-00000-of-00002", "m[1]*.data-00001-of-00002", "bert_config.json", "vocab.txt"]
    for name in [*names, "m1x.data-00000-of-00001", "m[1]*.data-1", "m[1]*.meta"]:
        (tmp_path / name).write_text(name)
    assert [path.name for path in find(tmp_path).all()] == [*sorted(names[:3]), "bert_config.json", "vocab.txt"]


def test_several_checkpoints_are_listed_and_refused(here: Path) -> None:
    """Which of several checkpoints is meant is never guessed: all are named, and one prefix chooses one."""
    shutil.copytree(here, here / "sub")
    with pytest.raises(SourceError, match=rf"here holds 2 checkpoints.*:\n  {PREFIX}\n  sub.{PREFIX}$") as caught:
        find(here)
    assert str(here / "sub" / PREFIX) in caught.value.hint
    assert find(here / PREFIX).prefix == here / PREFIX
    with pytest.raises(SourceError, match=r"two\.zip holds 2 checkpoints") as caught:
        find(here, packed_as="two.zip")
    assert str(here) not in caught.value.hint
    assert find(here / "sub" / PREFIX).vocab == here / "sub" / "vocab.txt"


@pytest.mark.parametrize("with_variables", [True, False])
def test_a_saved_model_is_recognised(tmp_path: Path, with_variables: bool) -> None:
    """A SavedModel is called one, with or without the checkpoint of its variables."""
    (tmp_path / "m" / "variables").mkdir(parents=True)
    (tmp_path / "m" / "saved_model.pb").write_bytes(b"\x08\x01")
    if with_variables:
        (tmp_path / "m" / "variables" / "variables.index").touch()
        (tmp_path / "m" / "variables" / "variables.data-00000-of-00001").touch()
    with pytest.raises(SourceError, match=r"^m is a SavedModel \(saved_model.pb\)") as caught:
        find(tmp_path / "m")
    assert str(tmp_path / "m" / "variables" / "variables") in caught.value.hint


def test_a_checkpoint_beside_a_saved_model_is_found(here: Path) -> None:
    """The variables of a SavedModel are no second checkpoint, and nothing else near one is taken for them."""
    (here / "export" / "variables").mkdir(parents=True)
    (here / "export" / "saved_model.pb").touch()
    (here / "export" / "variables" / "variables.index").touch()
    (here.parent / "saved_model.pb").touch()
    assert find(here).prefix == here / PREFIX


def test_a_checkpoint_called_variables_is_one_all_the_same(here: Path) -> None:
    """It is the SavedModel beside it, not the name, that makes variables.index something else."""
    for name in NAMES[1:3]:
        (here / name).rename(here / name.replace(PREFIX, "variables"))
    assert find(here).prefix == here / "variables"


def test_the_state_file_is_never_read(here: Path, tmp_path: Path) -> None:
    """A file `checkpoint` that points elsewhere changes nothing: not what is found, and not when it cannot be read."""
    elsewhere = Path(shutil.copytree(here, tmp_path / "elsewhere"))
    (here / "checkpoint").write_text(f'model_checkpoint_path: "{elsewhere / PREFIX}"')
    assert find(here).prefix == here / PREFIX
    for name in NAMES[1:3]:
        (here / name).unlink()
    with pytest.raises(SourceError, match="no TensorFlow checkpoint"):
        find(here)


@pytest.mark.parametrize("name", ["vocab.txt", "bert_config.json"])
def test_a_file_that_is_missing_or_ambiguous_is_named(here: Path, name: str) -> None:
    """Config and vocabulary stand beside the checkpoint, or once somewhere below; else they are named."""
    (here / "a").mkdir()
    (here / name).rename(here / "a" / name)
    assert {p.name: p.parent for p in find(here).all()}[name] == here / "a"
    shutil.copytree(here / "a", here / "b")
    with pytest.raises(SourceError, match=rf"has 2 possible {name}"):
        find(here)
    shutil.copy(here / "a" / name, here)
    assert {p.name: p.parent for p in find(here).all()}[name] == here
    for path in [*here.rglob(name)]:
        path.unlink()
    for way in (here, here / PREFIX):
        with pytest.raises(SourceError, match=rf"has no {name}") as caught:
            find(way).require()
        assert "beside the checkpoint" in caught.value.hint
        assert ("--vocab" if name == "vocab.txt" else "--config") in caught.value.hint


def test_what_a_mac_leaves_beside_files_is_no_checkpoint(here: Path) -> None:
    """Resource forks and a directory called *.index are not counted as checkpoints."""
    (here / "__MACOSX").mkdir()
    for folder in (here, here / "__MACOSX"):
        for name in NAMES:
            (folder / f"._{name}").write_bytes(b"\0\5\x16\7")
    (here / "some.index").mkdir()
    assert sorted(path.name for path in find(here).all()) == sorted(NAMES)


@pytest.mark.parametrize("name", ["nothing", "nothing.zip", "sub/nothing.index", "nothing.data-00000-of-00001"])
def test_a_path_with_nothing_there_is_named(tmp_path: Path, name: str) -> None:
    """A path that is no zip, directory or prefix is repeated in the error."""
    with pytest.raises(SourceError, match=f"there is nothing at {re.escape(str(tmp_path / name))}"):
        fetch(tmp_path / name, tmp_path / "d")


def test_a_prefix_that_is_nearly_right_is_told_the_right_one(here: Path) -> None:
    """Where checkpoints beside it begin with what was given, the hint names them."""
    with pytest.raises(SourceError) as caught:
        fetch(here / PREFIX[:-2], here / "d")
    assert caught.value.hint == f"did you mean {PREFIX}?"


@pytest.mark.parametrize("name", ["bert_config.json", "vocab.txt"])
def test_a_file_beside_the_checkpoint_is_not_taken_for_it(here: Path, name: str) -> None:
    """A file that is neither a zip nor of a checkpoint is called that; nobody is told to fetch it again."""
    with pytest.raises(SourceError, match=f"{name} is neither a zip nor a file of a checkpoint"):
        fetch(here / name, here / "d")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_among_the_files_is_refused(here: Path) -> None:
    """A named pipe where a data file must be is refused instead of being waited for."""
    data = next(here.glob("*.data-*"))
    data.unlink()
    os.mkfifo(data)
    with pytest.raises(SourceError, match="is no ordinary file"):
        find(here)


@pytest.mark.parametrize("url", ["http://example.org/a.zip", "ftp://example.org/a.zip", "s3://bucket/a.zip"])
def test_a_url_of_another_scheme_is_no_path(url: str) -> None:
    """An address that is not https is refused as one, never looked for on the disk."""
    with pytest.raises(SourceError, match=f"{url} is not https"):
        resolve(url, Path())


def test_an_empty_directory_holds_no_checkpoint(tmp_path: Path) -> None:
    """A directory without an index is said to have none."""
    with pytest.raises(SourceError, match="holds no TensorFlow checkpoint"):
        fetch(tmp_path, tmp_path / "d")


# Archives ------------------------------------------------------------------------------------------------------------


def test_what_was_unpacked_goes_whatever_happens(here: Path, tmp_path: Path) -> None:
    """Old files of the scratch directory go before, and what was unpacked goes at the end, also after errors."""
    archive = bring(zip_release(here, tmp_path / "a.zip"), tmp_path)
    scratch = tmp_path / "work" / "scratch"
    scratch.mkdir(parents=True)
    (scratch / "other.index").touch()

    def use() -> None:
        with opened(archive, scratch) as files:
            assert files.prefix.parent == scratch
            assert not (scratch / "other.index").exists()
            raise LookupError

    with pytest.raises(LookupError):
        use()
    assert not scratch.exists()


def test_a_directory_is_used_where_it_is(here: Path, tmp_path: Path) -> None:
    """Opening a directory copies nothing, and removes nothing at the end."""
    with opened(bring(here, tmp_path), tmp_path / "scratch") as files:
        assert files.prefix == here / PREFIX
        assert not (tmp_path / "scratch").exists()
    assert find(here).prefix == here / PREFIX


def test_an_archive_is_read_once(tmp_path: Path, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digest, CRC-32 and the unpacked bytes come from one pass; besides it zipfile reads the directory at the end."""
    path = zip_release(release, tmp_path / "a.zip")
    taken: list[int] = []
    real = io.FileIO.readinto

    class Counted(io.FileIO):
        def readinto(self, buffer: Any, /) -> int | None:
            done = real(self, buffer)
            taken.append(done or 0)
            return done

    monkeypatch.setattr(io, "FileIO", Counted)
    with opened(bring(path, tmp_path), tmp_path / "scratch") as files:
        assert files.archive == fetch(path, tmp_path)
        assert files.archive.sha256 == file_sha256(path)
    size = path.stat().st_size
    assert size <= sum(taken) < size + 64 * 1024


@pytest.mark.parametrize("gap", [0, 1, 70_000])
def test_the_digest_of_an_archive_covers_what_zipfile_skips(tmp_path: Path, here: Path, gap: int) -> None:
    """Bytes before the first entry, between entries and in a comment count, as they do for sha256sum."""
    path = zip_release(here, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"c" * 1000
    path.write_bytes(b"#" * gap + path.read_bytes())
    with opened(bring(path, tmp_path), tmp_path / "scratch") as files:
        assert files.archive == Archive("a.zip", path, file_sha256(path), path.stat().st_size)


def test_another_archive_than_the_pinned_one_is_said_to_be_one(tmp_path: Path, here: Path, server: Server) -> None:
    """Both digests are told before what is wrong with it, nothing is left unpacked, and a download is not kept."""
    path = zip_release(here, tmp_path / "a.zip")
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    other = zip_release(here, tmp_path / "b.zip", "folder")
    damaged = server.serve("/a.zip", Reply(bytes(body)))
    sound = server.serve("/b.zip", Reply(other.read_bytes()))
    for location in (damaged, sound, other):
        local = bring(location, tmp_path / "d", Pin(sha256=file_sha256(path)))
        with pytest.raises(SourceError, match="is not the pinned source"), opened(local, tmp_path / "scratch"):
            pass
        assert not (tmp_path / "scratch").exists()
        assert local.path.exists() is not local.is_download


def test_what_was_fetched_ahead_is_read_once(
    server: Server, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive that another process fetched for the same pin is not read for its digest before it is unpacked."""
    path = zip_release(here, tmp_path / "a.zip")
    pin = Pin(sha256=file_sha256(path), size=path.stat().st_size)
    url = server.serve("/a.zip", Reply(path.read_bytes()))
    bring(url, tmp_path / "d", pin)

    def never(_: Path) -> tuple[str, int]:
        raise AssertionError("read for its digest")

    monkeypatch.setattr(digests, "file_digest", never)
    monkeypatch.setattr(source, "file_digest", never)
    with opened(bring(url, tmp_path / "d", pin), tmp_path / "scratch") as files:
        assert files.archive is not None
        assert files.archive.sha256 == pin.sha256
    assert len(server.sent()) == 1


def test_the_identity_of_files_is_what_was_read(here: Path, tmp_path: Path) -> None:
    """Digests that a reader brings make the identity that reading again would make; a file without bytes counts too."""
    (here / f"{PREFIX}.data-00007-of-00008").touch()
    files = find(here)
    known = source.digests(files.weights())
    assert source.identity(files, known) == source.identity(files) == fetch(here, tmp_path)
    known.popitem()
    assert source.identity(files, known) == source.identity(files)
