"""Laws of saved plans: what was planned is what is pushed, or nothing is."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants

from hubpush import localhub, manifest, planning, publish, rights, saved
from hubpush.errors import DriftError, UsageError
from hubpush.localhub.faults import Fault, Plan
from hubpush.planning import Candidate
from hubpush.publish import Published
from hubpush.remote import look
from tests import records

REPO = "acme/tiny-0"
TODAY = "2026-11-22"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "PAUSE", 0.0)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def faults() -> Plan:
    return Plan()


@pytest.fixture
def api(tmp_path: Path, faults: Plan) -> Iterator[HfApi]:
    with localhub.serve(tmp_path / "hub", plan=faults) as url:
        yield HfApi(endpoint=url, token="embedded")


def _candidate(work: Path, weights: bytes = b"weights 1", **facts: Any) -> Candidate:
    return records.candidate(records.write_folder(work / "model", weights), **facts)


def _planned(api: HfApi, work: Path, candidate: Candidate, **options: Any) -> saved.Item:
    """A plan as the main job makes it: the generated files lie in the work directory."""
    there = look(api, REPO, work / "cache")
    step = planning.plan_ahead(api, there, candidate, work / "cache", TODAY, **options)
    for path, content in step.generated.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_bytes(content)
    item = saved.of(step, "tiny-0", exists=there.exists, private=None, create_pr=False)
    return saved.Item.model_validate_json(item.model_dump_json())


def _apply(api: HfApi, item: saved.Item, work: Path) -> Published:
    return publish.push(api, REPO, saved.following(item, work), work / "cache", private=item.private, embedded=True)


def _publish(api: HfApi, work: Path, candidate: Candidate) -> Published:
    return publish.publish(api, candidate, work / "cache", TODAY, embedded=True)


def test_what_was_planned_is_what_is_pushed(api: HfApi, tmp_path: Path) -> None:
    """Version, files and digests on the Hub are those of the plan, also days later."""
    item = _planned(api, tmp_path, _candidate(tmp_path))
    done = _apply(api, item, tmp_path)
    assert (done.status, done.manifest.version, done.bump) == ("published", item.version, item.bump)
    there = look(api, REPO, tmp_path / "other-cache")
    assert there.record == item.manifest
    assert {path for path in item.adds if path != manifest.NAME} == set(done.manifest.files)
    assert there.tags == {"v1.0.0": done.commit}


def test_a_plan_that_was_carried_out_is_done(api: HfApi, tmp_path: Path) -> None:
    """Applying it twice makes one release; a crash between commit and tag is healed by applying it again."""
    item = _planned(api, tmp_path, _candidate(tmp_path))
    first = _apply(api, item, tmp_path)
    again = _apply(api, item, tmp_path)
    assert (again.status, again.commit) == ("unchanged", first.commit)
    api.delete_tag(REPO, tag="v1.0.0")
    assert _apply(api, item, tmp_path).commit == first.commit
    assert look(api, REPO, tmp_path / "cache").tags == {"v1.0.0": first.commit}


def test_an_update_and_a_card_are_planned_alike(api: HfApi, tmp_path: Path) -> None:
    """A plan of new weights, and one of the card alone without the converted files, are pushed as planned."""
    _publish(api, tmp_path, _candidate(tmp_path))
    candidate = _candidate(tmp_path, b"weights 2")
    item = _planned(api, tmp_path, candidate)
    assert (item.version, item.bump, "model.safetensors" in item.adds) == ("2.0.0", "major", True)
    _apply(api, item, tmp_path)
    later = _candidate(tmp_path, b"weights 2", note="Now with a note.")
    item = _planned(api, tmp_path, later)
    assert set(item.adds) == {"README.md", "hubpush.json"}
    (tmp_path / "model" / "model.safetensors").unlink()
    assert _apply(api, item, tmp_path).manifest.version == "2.0.1"


def _foreign(api: HfApi) -> None:
    api.create_commit(REPO, [CommitOperationAdd("NOTES.md", b"mine")], commit_message="mine")


def test_a_plan_is_refused_once_somebody_committed(api: HfApi, tmp_path: Path) -> None:
    """A head that moved, if only by a note, makes the plan stale: nothing is pushed."""
    _publish(api, tmp_path, _candidate(tmp_path))
    item = _planned(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    _foreign(api)
    before = [commit.commit_id for commit in api.list_repo_commits(REPO)]
    with pytest.raises(DriftError, match=r"the plan for v2\.0\.0 was made at") as caught:
        _apply(api, item, tmp_path)
    assert "nothing was pushed" in caught.value.hint
    assert [commit.commit_id for commit in api.list_repo_commits(REPO)] == before


def test_a_commit_of_somebody_between_look_and_push_is_seen(api: HfApi, tmp_path: Path, faults: Plan) -> None:
    """A commit that comes in after the look makes the push a conflict, and the plan stale."""
    _publish(api, tmp_path, _candidate(tmp_path))
    item = _planned(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    faults.add(Fault(method="POST", path="*/commit/main", hook=lambda _: _foreign(api)))
    with pytest.raises(DriftError, match=r"the plan for v2\.0\.0 was made at"):
        _apply(api, item, tmp_path)
    assert set(look(api, REPO, tmp_path / "cache").tags or ()) == {"v1.0.0"}


def test_a_new_repo_that_somebody_filled_is_left_alone(api: HfApi, tmp_path: Path) -> None:
    """A repo that was planned as new and is there now, with files, is not written to; an empty one is."""
    item = _planned(api, tmp_path, _candidate(tmp_path))
    api.create_repo(REPO)
    _foreign(api)
    with pytest.raises(DriftError, match=r"holds NOTES\.md now"):
        _apply(api, item, tmp_path)
    api.delete_repo(REPO)
    api.create_repo(REPO)
    assert _apply(api, item, tmp_path).status == "published"


def test_a_tag_that_somebody_made_meanwhile_is_not_met_late(api: HfApi, tmp_path: Path) -> None:
    """The version's tag was made by somebody since: refused before the commit."""
    _publish(api, tmp_path, _candidate(tmp_path))
    item = _planned(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    api.create_tag(REPO, tag="v2.0.0")
    with pytest.raises(DriftError, match=r"has got a tag v2\.0\.0"):
        _apply(api, item, tmp_path)


@pytest.mark.parametrize("path", ["README.md", "hubpush.json", "model/model.safetensors", "model/vocab.txt"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_bytes_that_are_not_the_planned_ones_are_refused(api: HfApi, tmp_path: Path, path: str, how: str) -> None:
    """A file in the work directory that was changed or removed since the plan: no repo is written to."""
    item = _planned(api, tmp_path, _candidate(tmp_path))
    if how == "gone":
        (tmp_path / path).unlink()
    else:
        with (tmp_path / path).open("ab") as file:
            file.write(b" ")
    with pytest.raises(DriftError, match=r"is not what was planned") as caught:
        _apply(api, item, tmp_path)
    assert path.removeprefix("model/") in caught.value.message
    assert look(api, REPO, tmp_path / "cache").manifest is None


def test_a_plan_whose_manifest_promises_other_files_is_refused(api: HfApi, tmp_path: Path) -> None:
    """Digests of the plan and of the manifest in it must agree: a plan that was edited is none."""
    candidate = _candidate(tmp_path)
    item = _planned(api, tmp_path, candidate)
    (tmp_path / "model" / "vocab.txt").write_bytes(b"[PAD]\n")
    adds = {**item.adds, "vocab.txt": manifest.describe(tmp_path / "model" / "vocab.txt")}
    with pytest.raises(DriftError, match=r"vocab\.txt of acme/tiny-0"):
        _apply(api, item.model_copy(update={"adds": adds}), tmp_path)


@pytest.mark.parametrize("path", ["vocab.txt", "NOTES.md"])
def test_a_plan_deletes_only_what_a_release_left_behind(api: HfApi, tmp_path: Path, path: str) -> None:
    """An edited plan that would remove a file of the release, or somebody's, is refused."""
    _publish(api, tmp_path, _candidate(tmp_path))
    _foreign(api)
    item = _planned(api, tmp_path, _candidate(tmp_path, note="Now with a note."))
    with pytest.raises(DriftError, match="is not what was planned"):
        _apply(api, item.model_copy(update={"deletes": (path,)}), tmp_path)
    assert path in api.list_repo_files(REPO)


def test_a_plan_for_a_pull_request_is_done_once(api: HfApi, tmp_path: Path) -> None:
    """Applied twice there is one request with one commit, weights and all; and after its merge nothing is to do."""
    _publish(api, tmp_path, _candidate(tmp_path))
    item = _planned(api, tmp_path, _candidate(tmp_path, b"weights 2")).model_copy(update={"create_pr": True})

    def apply() -> Published:
        author = rights.author(api, REPO)
        following = saved.following(item, tmp_path)
        return publish.push(api, REPO, following, tmp_path / "cache", author=author, embedded=True)

    first, second = apply(), apply()
    assert (first.status, second.status, first.commit) == ("proposed", "proposed", second.commit)
    api.merge_pull_request(REPO, 1)
    assert apply().status == "unchanged"
    assert len(list(api.get_repo_discussions(REPO))) == 1


@pytest.mark.parametrize("gone", ["repo", "work"])
def test_a_plan_that_cannot_be_carried_out_makes_no_repo(api: HfApi, tmp_path: Path, gone: str) -> None:
    """A repo that was deleted since is not made anew, and without the planned bytes no new one is made at all."""
    if gone == "repo":
        _publish(api, tmp_path, _candidate(tmp_path))
        item = _planned(api, tmp_path, _candidate(tmp_path, b"weights 2"))
        api.delete_repo(REPO)
        words = "is gone"
    else:
        item = _planned(api, tmp_path, _candidate(tmp_path))
        (tmp_path / "README.md").unlink()
        words = r"README\.md \(not there\)"
    with pytest.raises(DriftError, match=words):
        _apply(api, item, tmp_path)
    assert not api.repo_exists(REPO)


@pytest.mark.parametrize("change", [{"version": "9.9.9"}, {"change": "nothing"}, {"parity": "fail"}])
def test_a_plan_says_what_its_manifest_says(api: HfApi, tmp_path: Path, change: dict[str, str]) -> None:
    """A plan whose words were edited is refused: what a person approved is not what would be pushed."""
    item = _planned(api, tmp_path, _candidate(tmp_path))
    with pytest.raises(DriftError, match="the plan of acme/tiny-0"):
        _apply(api, item.model_copy(update=change), tmp_path)


def test_only_the_tag_is_a_plan_too(api: HfApi, tmp_path: Path) -> None:
    """A release whose tag is missing is planned and applied; at another release that plan is stale."""
    done = _publish(api, tmp_path, _candidate(tmp_path))
    api.delete_tag(REPO, tag="v1.0.0")
    item = saved.of_tag(look(api, REPO, tmp_path / "cache"), "tiny-0", REPO)
    assert item is not None
    assert item.bump is None
    assert not item.adds
    assert _apply(api, item, tmp_path).commit == done.commit
    _publish(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    with pytest.raises(DriftError, match=r"not at v1\.0\.0 any more"):
        _apply(api, item, tmp_path)


def test_two_who_apply_one_plan_make_one_release(api: HfApi, tmp_path: Path) -> None:
    """Two machines with the same plan and the same bytes: one release, one tag, both content."""
    item = _planned(api, tmp_path, _candidate(tmp_path))
    done: list[Published] = []
    threads = [threading.Thread(target=lambda: done.append(_apply(api, item, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.commit for one in done}) == 1
    assert len(done) == 2
    assert len(list(api.list_repo_commits(REPO))) == 2


def test_a_plan_survives_its_file(api: HfApi, tmp_path: Path) -> None:
    """What is read is what was written, and the file can be read by people: paths, digests, sizes."""
    item = _planned(api, tmp_path, _candidate(tmp_path))
    whole = saved.Saved(family="tinies", hub=None, releases=(item,))
    saved.write(tmp_path / "plan.json", whole)
    assert saved.load(tmp_path / "plan.json") == whole
    one = json.loads((tmp_path / "plan.json").read_text())["releases"][0]
    assert one["adds"]["vocab.txt"]["sha256"] == manifest.describe(tmp_path / "model" / "vocab.txt").sha256
    assert (one["parent"], one["version"], one["bump"], one["exists"]) == ("", "1.0.0", "first", False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(plan=2), "plan"),
        (lambda d: d.update(more=1), "more"),
        (lambda d: d["releases"][0].update(repo_id="../x"), "repo_id"),
        (lambda d: d["releases"][0]["adds"].update({"../../x": d["releases"][0]["manifest"]}), "adds"),
        (lambda d: d["releases"][0].pop("parent"), "parent"),
        (lambda d: d["releases"][0].update(bump="huge"), "bump"),
        (lambda d: d["releases"][0].update(adds={}), "is written with every release"),
        (lambda d: d["releases"][0].update(bump=None), "is written with every release"),
    ],
)
def test_a_file_that_is_no_plan_is_said(api: HfApi, tmp_path: Path, change: Any, words: str) -> None:
    """A plan of another format, or one that leads out of the work directory, is refused with the place."""
    item = _planned(api, tmp_path, _candidate(tmp_path))
    data = json.loads(saved.Saved(family="tinies", hub=None, releases=(item,)).model_dump_json())
    change(data)
    (tmp_path / "plan.json").write_text(json.dumps(data))
    with pytest.raises(UsageError, match=words):
        saved.load(tmp_path / "plan.json")


def test_no_file_no_plan(tmp_path: Path) -> None:
    """A plan that is not there, is no JSON or cannot be written says so."""
    with pytest.raises(UsageError, match="cannot be read"):
        saved.load(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("no")
    with pytest.raises(UsageError, match="is no plan"):
        saved.load(tmp_path / "text.json")
    with pytest.raises(UsageError, match="cannot be written"):
        saved.write(tmp_path / "no" / "plan.json", saved.Saved(family="tinies", hub=None))
    with pytest.raises(UsageError, match="is a directory"):
        saved.write(Path(), saved.Saved(family="tinies", hub=None))
