"""Laws of rollback, yank and holds, through the real client against the embedded Hub."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants

from hubpush import amend, localhub, manifest, planning, publish, remote
from hubpush.errors import CardError, DriftError, HubpushError, UsageError
from hubpush.localhub.faults import Fault, Plan
from hubpush.planning import Next
from hubpush.publish import Published
from tests import records

REPO = "acme/tiny-0"
TODAY = "2026-11-22"
TOKEN = "hf_" + "aB3" * 11  # of no use


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


def _publish(api: HfApi, tmp_path: Path, weights: bytes, **options: bool) -> Published:
    candidate = records.candidate(records.write_folder(tmp_path / "model", weights))
    return publish.publish(api, candidate, tmp_path / "cache", TODAY, embedded=True, **options)


def _push(api: HfApi, following: Next, tmp_path: Path) -> Published:
    return publish.push(api, REPO, following, tmp_path / "cache", embedded=True)


def _rollback(api: HfApi, tag: str, tmp_path: Path, **options: bool) -> Published:
    return _push(api, amend.rollback(api, REPO, tag, tmp_path / "cache", TODAY, **options), tmp_path)


def _yank(api: HfApi, tag: str, reason: str, tmp_path: Path) -> Published:
    return _push(api, amend.yank(api, REPO, tag, reason, tmp_path / "cache", TODAY), tmp_path)


def _unhold(api: HfApi, tmp_path: Path) -> Published:
    return _push(api, amend.unhold(api, REPO, tmp_path / "cache", TODAY), tmp_path)


def _served(api: HfApi, path: str, revision: str, tmp_path: Path) -> bytes:
    return Path(api.hf_hub_download(REPO, path, revision=revision, cache_dir=tmp_path / "reader")).read_bytes()


def _tags(api: HfApi) -> dict[str, str]:
    return {tag.name: tag.target_commit for tag in api.list_repo_refs(REPO).tags}


def test_a_rollback_is_a_new_version_of_the_old_files(api: HfApi, tmp_path: Path, plan: Plan) -> None:
    """The old files are served under a new major version, no tag moved, and no weights went over the network."""
    _publish(api, tmp_path, b"weights 1")
    _publish(api, tmp_path, b"weights 2")
    before = _tags(api)
    plan.seen.clear()
    done = _rollback(api, "v1.0.0", tmp_path)
    assert (done.status, done.manifest.version, done.bump, done.manifest.hold) == ("published", "3.0.0", "major", True)
    assert _served(api, "model.safetensors", "v3.0.0", tmp_path) == b"weights 1" * 1000
    assert _served(api, "model.safetensors", "v2.0.0", tmp_path) == b"weights 2" * 1000
    assert {**_tags(api), **before} == {**before, "v3.0.0": done.commit}
    assert not [seen for seen in plan.seen if seen.path.startswith("/lfs/") and seen.method == "PUT"]
    card = _served(api, "README.md", "v3.0.0", tmp_path).decode()
    assert 'revision="v3.0.0"' in card
    assert "/tree/v3.0.0) | 2026-11-22 | back to the files of v1.0.0 |" in card
    assert [past.version for past in done.manifest.history] == ["1.0.0", "2.0.0", "3.0.0"]


def test_after_a_rollback_nothing_is_published_until_the_hold_is_lifted(api: HfApi, tmp_path: Path) -> None:
    """A schedule does not bring back what was bad; after `unhold` it does, as another version."""
    _publish(api, tmp_path, b"weights 1")
    _publish(api, tmp_path, b"weights 2")
    held = _rollback(api, "v1.0.0", tmp_path)
    assert _publish(api, tmp_path, b"weights 2").status == "held"
    assert _rollback(api, "v1.0.0", tmp_path).commit == held.commit
    lifted = _unhold(api, tmp_path)
    assert (lifted.manifest.version, lifted.bump, lifted.manifest.hold) == ("3.0.1", "patch", False)
    assert _unhold(api, tmp_path).status == "unchanged"
    assert _publish(api, tmp_path, b"weights 2").manifest.version == "4.0.0"


def test_a_rollback_gives_back_small_files_and_removes_new_ones(api: HfApi, tmp_path: Path) -> None:
    """Files that git keeps come back too, and those that the old version did not have are removed."""
    _publish(api, tmp_path, b"weights 1")
    folder = records.write_folder(tmp_path / "model", b"weights 2")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\nnew\n")
    (folder / "extra.json").write_text("{}")
    publish.publish(api, records.candidate(folder), tmp_path / "cache", TODAY, embedded=True)
    done = _rollback(api, "v1.0.0", tmp_path)
    assert _served(api, "vocab.txt", "main", tmp_path) == b"[PAD]\n[UNK]\n"
    assert "extra.json" not in api.list_repo_files(REPO)
    assert "extra.json" not in done.manifest.files


def test_a_rollback_that_died_before_its_tag_is_healed_by_the_schedule(api: HfApi, tmp_path: Path) -> None:
    """The hold is there, the tag is not: any run makes it."""
    _publish(api, tmp_path, b"weights 1")
    _publish(api, tmp_path, b"weights 2")
    done = _rollback(api, "v1.0.0", tmp_path)
    api.delete_tag(REPO, tag="v3.0.0")
    assert _publish(api, tmp_path, b"weights 2").status == "held"
    assert _tags(api)["v3.0.0"] == done.commit


def test_a_hold_with_drift_has_a_way_out(api: HfApi, tmp_path: Path) -> None:
    """Held, and somebody changed the card: the hold is lifted with --overwrite or --adopt."""
    _publish(api, tmp_path, b"weights 1")
    _rollback(api, "v1.0.0", tmp_path)
    text = _served(api, "README.md", "main", tmp_path).decode().replace("## Versions", "## Releases")
    api.create_commit(REPO, [CommitOperationAdd("README.md", text.encode())], commit_message="x")
    with pytest.raises(DriftError, match="versions"):
        _unhold(api, tmp_path)
    step = amend.unhold(api, REPO, tmp_path / "cache", TODAY, adopt=True)
    done = _push(api, step, tmp_path)
    assert (done.manifest.hold, done.manifest.kept) == (False, ("versions",))


def test_a_hold_that_comes_in_between_is_reported(api: HfApi, tmp_path: Path, plan: Plan) -> None:
    """A rollback of somebody lands between our look and our commit: the run says held, and not published."""
    _publish(api, tmp_path, b"weights 1")
    other = HfApi(endpoint=api.endpoint, token="embedded")
    plan.add(Fault(method="POST", path="*/commit/main", hook=lambda _: _rollback(other, "v1.0.0", tmp_path / "other")))
    assert _publish(api, tmp_path, b"weights 2").status == "held"


def test_a_rollback_keeps_what_a_person_wrote(api: HfApi, tmp_path: Path) -> None:
    """Text around the generated parts stays; what was changed inside of them stops it, as it stops every push."""
    _publish(api, tmp_path, b"weights 1")
    _publish(api, tmp_path, b"weights 2")
    text = _served(api, "README.md", "main", tmp_path).decode()
    api.create_commit(
        REPO, [CommitOperationAdd("README.md", (text + "\nMy own words.\n").encode())], commit_message="mine"
    )
    _rollback(api, "v1.0.0", tmp_path)
    text = _served(api, "README.md", "main", tmp_path).decode()
    assert "My own words." in text
    api.create_commit(
        REPO, [CommitOperationAdd("README.md", text.replace("## Versions", "## Releases").encode())], commit_message="x"
    )
    with pytest.raises(DriftError, match="versions"):
        _rollback(api, "v2.0.0", tmp_path)
    assert _rollback(api, "v2.0.0", tmp_path, overwrite=True).manifest.version == "4.0.0"


def test_a_yank_says_so_on_the_card_and_moves_no_tag(api: HfApi, tmp_path: Path) -> None:
    """The card warns, in its table and, while it serves the same weights, at its head; the next release keeps it."""
    _publish(api, tmp_path, b"weights 1")
    before = _tags(api)
    done = _yank(api, "v1.0.0", "the <b>vocabulary</b> is wrong", tmp_path)
    assert (done.manifest.version, done.bump) == ("1.0.1", "patch")
    assert done.manifest.history[0].yanked == "the <b>vocabulary</b> is wrong"
    card = _served(api, "README.md", "main", tmp_path).decode()
    assert "> **Caution:** these weights were yanked: the &lt;b&gt;vocabulary" in card
    assert "**Yanked:** the &lt;b&gt;vocabulary" in card
    assert _tags(api)["v1.0.0"] == before["v1.0.0"]
    assert _yank(api, "1.0.0", "the <b>vocabulary</b> is wrong", tmp_path).commit == done.commit
    assert _publish(api, tmp_path, b"weights 1").status == "unchanged"
    later = _publish(api, tmp_path, b"weights 2")
    assert later.manifest.history[0].yanked
    card = _served(api, "README.md", "main", tmp_path).decode()
    assert "Caution" not in card
    assert "**Yanked:**" in card


def test_yanked_files_do_not_come_back_unseen(api: HfApi, tmp_path: Path) -> None:
    """Yanked, rolled back, hold lifted: a run that would publish the very files again is refused; a rollback warns."""
    _publish(api, tmp_path, b"weights 1")
    _publish(api, tmp_path, b"weights 2")
    _yank(api, "v2.0.0", "trained on the test set", tmp_path)
    _rollback(api, "v1.0.0", tmp_path)
    _unhold(api, tmp_path)
    with pytest.raises(DriftError, match=r"these very files were v2\.0\.0, which was yanked: trained on the test set"):
        _publish(api, tmp_path, b"weights 2")
    assert _publish(api, tmp_path, b"weights 3").manifest.version == "4.0.0"
    assert _rollback(api, "v2.0.0", tmp_path).manifest.version == "5.0.0"
    assert "> **Caution:** these weights were yanked: trained" in _served(api, "README.md", "main", tmp_path).decode()


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (lambda api, tmp: _rollback(api, "v9.0.0", tmp), UsageError, "has no version v9.0.0"),
        (lambda api, tmp: _rollback(api, "main", tmp), UsageError, "has no version main"),
        (lambda api, tmp: _yank(api, "v9.0.0", "bad", tmp), UsageError, "v1.0.0"),
        (lambda api, tmp: _yank(api, "v1.0.0", "  ", tmp), UsageError, "reason"),
        (lambda api, tmp: _yank(api, "v1.0.0", "bad\udcff", tmp), UsageError, "sentence"),
        (lambda api, tmp: _yank(api, "v1.0.0", "\u202ebad", tmp), UsageError, "sentence"),
        (lambda api, tmp: _yank(api, "v1.0.0", "x" * 501, tmp), UsageError, "500 characters"),
        (lambda api, tmp: _yank(api, "v1.0.0", TOKEN, tmp), CardError, "token"),
    ],
)
def test_a_version_that_is_none_is_said(api: HfApi, tmp_path: Path, act, error: type[HubpushError], words: str) -> None:  # type: ignore[no-untyped-def]
    """What cannot be gone back to or yanked is named, with the versions that can."""
    _publish(api, tmp_path, b"weights 1")
    with pytest.raises(error) as caught:
        act(api, tmp_path)
    assert words in caught.value.message + caught.value.hint


def test_a_repo_that_hubpush_did_not_publish_is_left_alone(api: HfApi, tmp_path: Path) -> None:
    """Neither a repo that is not there nor a stranger's is touched."""
    for act in (lambda: _rollback(api, "v1.0.0", tmp_path), lambda: _unhold(api, tmp_path)):
        with pytest.raises(HubpushError):
            act()
        assert not api.repo_exists(REPO)
    api.create_repo(REPO)
    with pytest.raises(DriftError, match="no repo that hubpush published"):
        _yank(api, "v1.0.0", "bad", tmp_path)


def test_a_version_without_recorded_facts_cannot_be_restored(tmp_path: Path) -> None:
    """A manifest of before facts were recorded says what to do instead of a made-up card."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    step = planning.plan(remote.Remote(False), candidate, None, TODAY)
    old = step.manifest.model_copy(update={"facts": None})
    with pytest.raises(DriftError, match="does not record what its card is made from"):
        amend.restored(old, REPO)


@pytest.mark.parametrize(
    "facts",
    [
        {"title": "T" * 5000},
        {"release": {"name": "tiny-0", "title": "T", "license": ""}},
        {"release": {"name": "tiny-0", "title": "T", "license": "mit", "from_a_newer": 1}},
    ],
    ids=["long", "empty", "newer"],
)
def test_recorded_facts_that_are_none_are_told(tmp_path: Path, facts: dict[str, object]) -> None:
    """What an editor or a newer hubpush wrote into the facts is an error with the key, and no traceback."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    step = planning.plan(remote.Remote(False), candidate, None, TODAY)
    assert step.manifest.facts is not None
    edited = step.manifest.model_copy(update={"facts": step.manifest.facts.model_copy(update=facts)})
    with pytest.raises(DriftError, match=r"title|license|from_a_newer"):
        amend.restored(edited, REPO)


def test_what_a_manifest_records_gives_the_same_card(tmp_path: Path) -> None:
    """Rendered from the manifest alone, card and identity are those that the family file gave."""
    candidate = records.candidate(
        records.write_folder(tmp_path / "model"), note="A note.", glue={"cola": 1.0}, glue_note="x"
    )
    step = planning.plan(remote.Remote(False), candidate, None, TODAY)
    back = amend.restored(manifest.parse(step.manifest.to_json(), REPO), REPO)
    assert back.inputs() == candidate.inputs()
    assert planning.plan(remote.Remote(False), back, None, TODAY).readme == step.readme


def test_siblings_of_any_licence_are_restored(tmp_path: Path) -> None:
    """A family whose licence is `other`, which wants a name and a link: no sibling's card says them, none is asked."""
    facts = {"license": "other", "license_name": "mine", "license_link": "https://example.org/licence"}
    whole = records.family(3, **facts)
    candidate = replace(records.candidate(records.write_folder(tmp_path / "model"), **facts), family=whole)
    step = planning.plan(remote.Remote(False), candidate, None, TODAY)
    back = amend.restored(manifest.parse(step.manifest.to_json(), REPO), REPO)
    assert back.inputs() == candidate.inputs()


def test_a_rollback_of_a_repo_whose_files_were_deleted_needs_a_word(api: HfApi, tmp_path: Path) -> None:
    """Deleted weights are drift; with --overwrite they are copied from the version that has them."""
    _publish(api, tmp_path, b"weights 1")
    api.create_commit(REPO, [CommitOperationDelete("model.safetensors")], commit_message="gone")
    with pytest.raises(DriftError, match=r"model\.safetensors"):
        _rollback(api, "v1.0.0", tmp_path)
    _rollback(api, "v1.0.0", tmp_path, overwrite=True)
    assert _served(api, "model.safetensors", "main", tmp_path) == b"weights 1" * 1000
