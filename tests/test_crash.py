"""The short form of `make crash`, and tests of its eyes and of the laws that all proofs share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import crash, laws
from benchmarks.crash import REPO, Wanted, somebody_commits
from hubpush.localhub import serve
from hubpush.localhub.store import Change, Store


def test_what_a_fault_leaves_is_healed_by_running_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sample of requests of each kind of publish, failed in all ways: no law is broken, one run heals it."""
    assert crash.enumerate_faults(tmp_path, "lfs", every=71) == []
    said = capsys.readouterr().out
    count = int(said.removeprefix("lfs: ").split()[0])
    assert count >= 6
    assert f"{count} faults, 0 violations; runs to heal: {count} in 1" in said


@pytest.mark.parametrize(
    ("bug", "law"), [("resends", "I6: the last release"), ("moves tags", "I3: the tag"), ("hashes the card", "I6")]
)
def test_a_mistake_of_the_publisher_is_seen(tmp_path: Path, bug: str, law: str) -> None:
    """The lost answer to one commit of an update shows each of three mistakes."""
    found = crash.enumerate_faults(
        tmp_path, "lfs", bug=bug, scenarios=("update",), faults=("504 after",), path="*/commit/main"
    )
    assert law in " ".join(found)


def test_a_publisher_that_ends_with_a_traceback_is_seen(tmp_path: Path) -> None:
    """Success, an error of hubpush and being killed are good ends; a traceback, another code and no end are none."""
    for code in (0, crash.REFUSED, -9):
        assert crash.ended_badly(code, tmp_path) == []
    (tmp_path / "traceback.txt").write_text("Traceback\nKeyError: 'x'\n")
    assert crash.ended_badly(1, tmp_path) == ["P9: it ended with 1: KeyError: 'x'"]
    assert crash.ended_badly(crash.ENDLESS, tmp_path)[0].startswith("P11")
    with serve(tmp_path / "hub") as url:
        assert crash.publish_apart(url, tmp_path / "work", Wanted(repo_id="acme/tiny-0", bug="none"), "lfs") == 1
    assert crash.ended_badly(1, tmp_path / "work") == ["P9: it ended with 1: KeyError: 'none'"]


# The laws, each broken by hand ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hub with one release and a commit of somebody else on it. Read only."""
    base = tmp_path_factory.mktemp("laws")
    crash._prepare(base, crash.SCENARIOS["update"], "lfs")
    return base / "hub"


@pytest.fixture
def hub(released: Path, tmp_path: Path) -> Path:
    """A writable copy."""
    return Path(shutil.copytree(released, tmp_path / "hub"))


def _manifest(hub: Path, **changes: object) -> dict[str, bytes]:
    repo = laws.read(hub, REPO)
    assert repo is not None
    return {"hubpush.json": json.dumps({**repo.releases()[-1].manifest, **changes}).encode()}


def _card(hub: Path) -> bytes:
    repo = laws.read(hub, REPO)
    assert repo is not None
    return repo.blobs[list(repo.trees.values())[-1]["README.md"]]


def test_a_good_repository_breaks_no_law(hub: Path) -> None:
    """A release with a tag, a file of somebody else, a hold that a person set: nothing is said."""
    kept = [somebody_commits(hub, REPO, _manifest(hub, hold=True))]
    repo = laws.read(hub, REPO)
    assert repo is not None
    found = laws.violations(hub, REPO, version="1.0.0", files=Wanted().files(), kept=kept, tags=repo.tags)
    assert found == []
    assert [release.version for release in repo.releases()] == ["1.0.0"]
    assert laws.violations(hub, "acme/none") == []
    assert laws.violations(hub, "acme/none", version="1.0.0") == ["I6: there is no repository"]


def test_a_merged_pull_request_is_one_release(hub: Path) -> None:
    """What a merge brings is a release of `main`; its tag stands at the merge or at the merged commit, nowhere else."""
    store, release = Store(hub), _manifest(hub, version="1.0.1")
    store.open_request(REPO, 1)
    changes = [Change("file", path, content) for path, content in release.items()]
    proposed = store.commit(REPO, "refs/pr/1", "proposed", changes, "")
    assert laws.violations(hub, REPO, version="1.0.0") == []
    merge = store.merge_request(REPO, 1, "merged")
    for commit in (merge, proposed):
        store.create_ref(REPO, "tags", "v1.0.1", commit)
        assert laws.violations(hub, REPO, version="1.0.1") == []
        store.delete_ref(REPO, "tags", "v1.0.1")
    store.open_request(REPO, 2)
    other = store.commit(REPO, "refs/pr/2", "proposed", [Change("file", "a.txt", b"")], "")
    store.create_ref(REPO, "tags", "v1.0.1", other)
    found = laws.violations(hub, REPO)
    assert found == ["I3: the tag v1.0.1 is not at its commit", "I4: the tag v1.0.1 points at an incomplete tree"]


def _twice(hub: Path) -> None:
    somebody_commits(hub, REPO, _manifest(hub, history=[]))


def _back(hub: Path) -> None:
    somebody_commits(hub, REPO, _manifest(hub, version="0.9.0"))


def _incomplete(hub: Path) -> None:
    somebody_commits(hub, REPO, {**_manifest(hub, version="1.0.1"), "vocab.txt": None})
    Store(hub).create_ref(REPO, "tags", "v1.0.1", "main")


def _moved(hub: Path) -> None:
    Store(hub).delete_ref(REPO, "tags", "v1.0.0")
    Store(hub).create_ref(REPO, "tags", "v1.0.0", "main")


def _untagged(hub: Path) -> None:
    Store(hub).delete_ref(REPO, "tags", "v1.0.0")


def _astray(hub: Path) -> None:
    Store(hub).create_ref(REPO, "tags", "v3.0.0", "main")


def _removed(hub: Path) -> None:
    somebody_commits(hub, REPO, {**_manifest(hub, version="1.0.1"), "NOTES.md": None})


def _replaced(hub: Path) -> None:
    somebody_commits(hub, REPO, {"vocab.txt": b"theirs\n"})
    somebody_commits(hub, REPO, {**_manifest(hub, version="1.0.1"), "vocab.txt": b"[PAD]\n[UNK]\n"})


def _forgotten(hub: Path) -> None:
    card = _card(hub)
    somebody_commits(hub, REPO, {"README.md": card + b"\nMine.\n"})
    somebody_commits(hub, REPO, {**_manifest(hub, version="1.0.1"), "README.md": card})


def _overwritten(hub: Path) -> None:
    card = _card(hub)
    somebody_commits(hub, REPO, {"README.md": card.replace(b"\n<!-- hubpush:end", b"\nTheirs.\n<!-- hubpush:end", 1)})
    somebody_commits(hub, REPO, {**_manifest(hub, version="1.0.1"), "README.md": card})


def _damaged(hub: Path) -> None:
    for path in (hub / "lfs").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(b"damaged")


@pytest.mark.parametrize(
    ("crime", "law"),
    [
        (_twice, "I2: 2 commits of 1.0.0"),
        (_back, "I2: 0.9.0 came after 1.0.0"),
        (_incomplete, "I1: 1.0.1 lacks vocab.txt"),
        (_incomplete, "I4: the tag v1.0.1 points at an incomplete tree"),
        (_moved, "I3: the tag v1.0.0 is not at its commit"),
        (_moved, "I3: the tag v1.0.0 was moved"),
        (_untagged, "I3: 1.0.0 has no tag"),
        (_astray, "I3: a tag v3.0.0 without a release"),
        (_removed, "I5: 1.0.1 replaces NOTES.md"),
        (_replaced, "I5: 1.0.1 replaces vocab.txt"),
        (_forgotten, "I5: 1.0.1 loses what a person wrote into the card: 'Mine.'"),
        (_overwritten, "I5: 1.0.1 replaces README.md"),
        (_damaged, "I1: 1.0.0 lacks model.safetensors"),
        (lambda hub: somebody_commits(hub, REPO, {"vocab.txt": b"other\n"}), "I6: vocab.txt is not"),
    ],
)
def test_a_broken_law_is_named(hub: Path, crime: Callable[[Path], None], law: str) -> None:
    """Each law, broken by hand, is reported by its name."""
    repo = laws.read(hub, REPO)
    assert repo is not None
    crime(hub)
    found = laws.violations(hub, REPO, version="1.0.0", files=Wanted().files(), tags=repo.tags)
    assert law in " | ".join(found)


def test_what_was_told_to_be_overwritten_may_be(hub: Path) -> None:
    """A version that puts back what others changed breaks no law if it was told to, and only for its own files."""
    _replaced(hub)
    Store(hub).create_ref(REPO, "tags", "v1.0.1", "main")
    assert laws.violations(hub, REPO, overwrites=["1.0.1"]) == []
    somebody_commits(hub, REPO, {**_manifest(hub, version="1.0.2"), "NOTES.md": None})
    found = laws.violations(hub, REPO, overwrites=["1.0.1", "1.0.2"])
    assert found == ["I5: 1.0.2 replaces NOTES.md (NOTES.md), which somebody else put there"]


def test_a_commit_that_is_gone_is_missed(hub: Path) -> None:
    """What others were told is there has to be in the history; the last version and the card's words are checked."""
    assert laws.violations(hub, REPO, kept=["0" * 40]) == ["I5: the commit 000000000000 is gone"]
    found = laws.violations(hub, REPO, version="2.0.0", says="words that no card has")
    assert found == ["I6: the last release is 1.0.0, not 2.0.0", "I6: the card does not say 'words that no card has'"]
