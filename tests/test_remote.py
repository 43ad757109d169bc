"""Laws of looking at a repo, through the real client against the embedded Hub."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants

from hubpush import localhub, manifest, publish, remote
from hubpush.client import AgainError
from hubpush.errors import DriftError, HubRefusedError
from hubpush.localhub.faults import Fault, Plan
from tests import records

REPO = "acme/tiny-0"
TODAY = "2026-11-22"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "PAUSE", 0.0)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def plan() -> Plan:
    return Plan()


@pytest.fixture
def api(tmp_path: Path, plan: Plan) -> Iterator[HfApi]:
    with localhub.serve(tmp_path / "hub", plan=plan) as url:
        yield HfApi(endpoint=url, token="embedded")


@pytest.fixture
def done(api: HfApi, tmp_path: Path) -> publish.Published:
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    return publish.publish(api, candidate, tmp_path / "cache", TODAY, embedded=True)


def test_a_look_is_three_requests_and_two_the_next_time(
    api: HfApi, done: publish.Published, tmp_path: Path, plan: Plan
) -> None:
    """References, tree, manifest; the manifest is kept by its digest, so that the next look reads it from the disk."""
    for count in (3, 2):
        plan.seen.clear()
        there = remote.look(api, REPO, tmp_path / "fresh")
        assert there.manifest == done.manifest
        assert there.record == manifest.describe_bytes(done.manifest.to_json().encode())
        assert len(plan.seen) == count


def test_what_is_kept_on_the_disk_is_not_believed(api: HfApi, done: publish.Published, tmp_path: Path) -> None:
    """A file in the cache that was changed or cut is fetched again."""
    remote.look(api, REPO, tmp_path / "fresh")
    (kept,) = (tmp_path / "fresh" / "files").iterdir()
    for content in (b"", b"{}", kept.read_bytes().replace(b"1.0.0", b"9.0.0")):
        kept.write_bytes(content)
        there = remote.look(api, REPO, tmp_path / "fresh")
        assert there.manifest == done.manifest
    assert manifest.describe_bytes(kept.read_bytes()) == there.record


@pytest.mark.parametrize("body", ["{}", "", "<html>"])
def test_an_answer_that_is_another_file_is_not_taken(
    api: HfApi, done: publish.Published, tmp_path: Path, plan: Plan, body: str
) -> None:
    """A proxy's or a broken Hub's answer in place of the manifest is found by its digest: look again."""
    plan.add(Fault(path="*/hubpush.json", action="status", status=200, body=body))
    with pytest.raises(AgainError, match="not this file"):
        remote.look(api, REPO, tmp_path / "fresh")
    assert remote.look(api, REPO, tmp_path / "fresh").manifest == done.manifest


def test_a_file_that_is_not_there_is_said(api: HfApi, done: publish.Published, tmp_path: Path) -> None:
    """A commit without the file is refused with its name, and nothing is kept."""
    with pytest.raises(remote.NoSuchFileError, match=r"has no nothing\.txt"):
        remote.read(api, REPO, "nothing.txt", done.commit, tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists()


def test_a_huge_manifest_is_not_fetched(
    api: HfApi, done: publish.Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan
) -> None:
    """What claims to be a small file and is none is drift; its bytes are not asked for."""
    monkeypatch.setattr(remote, "_SMALL", 100)
    plan.seen.clear()
    with pytest.raises(DriftError, match="bytes"):
        remote.look(api, REPO, tmp_path / "fresh")
    assert not [seen for seen in plan.seen if "resolve" in seen.path]


def test_a_hold_set_by_hand_is_no_moved_tag(api: HfApi, done: publish.Published, tmp_path: Path) -> None:
    """A person sets a hold in the manifest and lifts it again, in other white space: the tag is still the release's."""
    for hold in (True, False):
        edited = done.manifest.model_copy(update={"hold": hold}).to_json().replace("\n", "\n\n", 1)
        operation = CommitOperationAdd("hubpush.json", edited.encode())
        api.create_commit(REPO, [operation], commit_message="hold")
        there = remote.look(api, REPO, tmp_path / "fresh")
        assert there.manifest is not None
        assert (there.manifest.hold, there.drift) == (hold, ())


def test_without_a_main_branch_nothing_is_done(api: HfApi, done: publish.Published, tmp_path: Path, plan: Plan) -> None:
    """A repo whose references name no `main` is refused."""
    plan.add(Fault(path="*/refs", action="status", status=200, body='{"branches": [], "converts": [], "tags": []}'))
    with pytest.raises(HubRefusedError, match="no branch main"):
        remote.look(api, REPO, tmp_path / "fresh")


def test_a_file_is_told_by_its_digest() -> None:
    """An LFS file stands where its SHA-256 does, a small one where its git id does, and nothing else will do."""
    small, large = manifest.describe_bytes(b"small"), manifest.File(sha256="a" * 64, size=1)
    assert remote.RemoteFile(5, small.git_oid or "", None).equals(small)
    assert not remote.RemoteFile(5, "0" * 40, None).equals(small)
    assert not remote.RemoteFile(5, "0" * 40, None).equals(large)
    assert remote.RemoteFile(1, "0" * 40, "a" * 64).equals(large)
    assert not remote.RemoteFile(1, small.git_oid or "", "b" * 64).equals(small)
