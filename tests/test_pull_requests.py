"""Laws of publishing by pull request, and of what a person wrote into the card, against the embedded Hub."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants

from hubpush import localhub, manifest, planning, publish, rights
from hubpush.errors import CardError, DriftError, HubpushError
from hubpush.localhub.faults import Fault, Plan
from hubpush.localhub.users import read as read_users
from hubpush.planning import Candidate
from hubpush.publish import Published
from hubpush.remote import look
from tests import records

REPO = "acme/tiny-0"
TODAY = "2026-11-22"
TOKEN = "hf_" + "aB3" * 11  # of no use


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


def _candidate(tmp_path: Path, weights: bytes = b"weights 1", **facts: Any) -> Candidate:
    return records.candidate(records.write_folder(tmp_path / f"model-{weights.decode()[-1]}", weights), **facts)


def _publish(api: HfApi, tmp_path: Path, candidate: Candidate, day: str = TODAY, **options: Any) -> Published:
    return publish.publish(api, candidate, tmp_path / "cache", day, embedded=True, **options)


def _propose(api: HfApi, tmp_path: Path, candidate: Candidate, day: str = TODAY, **options: Any) -> Published:
    return _publish(api, tmp_path, candidate, day, author=rights.author(api, REPO), **options)


def _pulls(api: HfApi, status: str | None = "open") -> list[int]:
    found = api.get_repo_discussions(REPO, discussion_type="pull_request", discussion_status=status)  # type: ignore[arg-type]
    return sorted(one.num for one in found)


def _commits(api: HfApi, revision: str = "main") -> list[str]:
    return [commit.commit_id for commit in api.list_repo_commits(REPO, revision=revision)]


def _edit(api: HfApi, tmp_path: Path, change: Any, revision: str = "main") -> None:
    """A person rewrites the card."""
    head = {
        ref.ref: ref.target_commit for ref in api.list_repo_refs(REPO, include_pull_requests=True).pull_requests or ()
    }
    commit = head.get(revision, revision)
    text = Path(api.hf_hub_download(REPO, "README.md", revision=commit, cache_dir=tmp_path / "r")).read_text()
    operation = CommitOperationAdd("README.md", change(text).encode())
    api.create_commit(REPO, [operation], commit_message="by hand", revision=revision)


def _readme(api: HfApi, tmp_path: Path) -> str:
    head = _commits(api)[0]
    return Path(api.hf_hub_download(REPO, "README.md", revision=head, cache_dir=tmp_path / "r")).read_text()


# Pull requests --------------------------------------------------------------------------------------------------------


def test_a_change_is_proposed_and_main_stays(api: HfApi, tmp_path: Path) -> None:
    """With a pull request nothing of `main` changes, no tag is made, and the request holds the whole release."""
    _publish(api, tmp_path, _candidate(tmp_path))
    before = _commits(api)
    done = _propose(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    assert (done.status, done.manifest.version, done.proposal) == ("proposed", "2.0.0", 1)
    assert _commits(api) == before
    assert _pulls(api) == [1]
    assert set(look(api, REPO, tmp_path / "c").tags or ()) == {"v1.0.0"}
    details = api.get_discussion_details(REPO, 1)
    assert details.title.startswith("hubpush v2.0.0: outputs can differ: model.safetensors")


def test_a_second_run_finds_its_request(api: HfApi, tmp_path: Path) -> None:
    """The same content a week later, measured anew: no commit, no second request."""
    _publish(api, tmp_path, _candidate(tmp_path))
    candidate = _candidate(tmp_path, b"weights 2")
    first = _propose(api, tmp_path, candidate)
    again = replace(candidate, build=candidate.build.model_copy(update={"date": "2026-12-01", "hubpush": "9"}))
    done = _propose(api, tmp_path, again, "2026-12-01")
    assert (done.status, done.commit, done.proposal) == ("proposed", first.commit, 1)
    assert _pulls(api, None) == [1]


def test_another_content_updates_the_same_request(api: HfApi, tmp_path: Path) -> None:
    """What changed since goes into the open request as one more commit, and its title says what it holds now."""
    _publish(api, tmp_path, _candidate(tmp_path))
    _propose(api, tmp_path, _candidate(tmp_path, b"weights 1", note="Now with a note."))
    done = _propose(api, tmp_path, _candidate(tmp_path, b"weights 3"))
    assert (done.proposal, done.manifest.version) == (1, "2.0.0")
    assert _pulls(api, None) == [1]
    assert api.get_discussion_details(REPO, 1).title.startswith("hubpush v2.0.0")
    assert len(_commits(api, "refs/pr/1")) == len(_commits(api)) + 2


def test_after_the_merge_the_next_run_tags(api: HfApi, tmp_path: Path) -> None:
    """A merged request becomes the release of its version: tagged at a commit of `main`, and then nothing is to do."""
    _publish(api, tmp_path, _candidate(tmp_path))
    candidate = _candidate(tmp_path, b"weights 2")
    _propose(api, tmp_path, candidate)
    api.merge_pull_request(REPO, 1)
    done = _propose(api, tmp_path, candidate)
    assert (done.status, done.manifest.version) == ("unchanged", "2.0.0")
    assert done.commit in _commits(api)
    assert (look(api, REPO, tmp_path / "c").tags or {})["v2.0.0"] == done.commit
    assert _publish(api, tmp_path, candidate).status == "unchanged"
    assert _pulls(api) == []


def test_a_request_of_several_commits_gives_one_release(api: HfApi, tmp_path: Path) -> None:
    """Updated twice and merged: the tag stands at the commit with the last content."""
    _publish(api, tmp_path, _candidate(tmp_path))
    _propose(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    _propose(api, tmp_path, _candidate(tmp_path, b"weights 3"))
    api.merge_pull_request(REPO, 1)
    done = _publish(api, tmp_path, _candidate(tmp_path, b"weights 3"))
    assert done.status == "unchanged"
    served = api.hf_hub_download(REPO, "model.safetensors", revision="v2.0.0", cache_dir=tmp_path / "r")
    assert Path(served).read_bytes() == b"weights 3" * 1000


def test_a_first_release_can_be_proposed(api: HfApi, tmp_path: Path) -> None:
    """A repo that is not there is created, and the release waits in a request."""
    candidate = _candidate(tmp_path)
    done = _propose(api, tmp_path, candidate)
    assert (done.status, done.manifest.version) == ("proposed", "1.0.0")
    assert api.list_repo_files(REPO) == [".gitattributes"]
    candidate = _candidate(tmp_path, license="mit")
    done = _propose(api, tmp_path, candidate)
    assert (done.proposal, done.manifest.version) == (1, "1.0.0")
    api.merge_pull_request(REPO, 1)
    assert _propose(api, tmp_path, candidate).status == "unchanged"
    assert set(look(api, REPO, tmp_path / "c").tags or ()) == {"v1.0.0"}


def test_a_request_that_was_overtaken_is_closed(api: HfApi, tmp_path: Path) -> None:
    """When `main` got another release meanwhile the old request could not be merged: closed, and a new one opened."""
    _publish(api, tmp_path, _candidate(tmp_path))
    _propose(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    _publish(api, tmp_path, _candidate(tmp_path, b"weights 3"))
    done = _propose(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    assert (done.status, done.proposal, done.manifest.version) == ("proposed", 2, "3.0.0")
    assert _pulls(api) == [2]
    assert api.get_discussion_details(REPO, 1).status == "closed"


def test_what_is_on_main_already_needs_no_request(api: HfApi, tmp_path: Path) -> None:
    """The proposed content was published directly: unchanged, and the request is closed."""
    _publish(api, tmp_path, _candidate(tmp_path))
    _propose(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    _publish(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    assert _propose(api, tmp_path, _candidate(tmp_path, b"weights 2")).status == "unchanged"
    assert _pulls(api) == []


def test_a_reviewers_words_are_kept_and_changes_are_drift(api: HfApi, tmp_path: Path) -> None:
    """In the request as on `main`: text around the generated parts stays, what is inside of them is drift."""
    _publish(api, tmp_path, _candidate(tmp_path))
    _propose(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    _edit(api, tmp_path, lambda text: f"{text}\nReviewed by me.\n", "refs/pr/1")
    done = _propose(api, tmp_path, _candidate(tmp_path, b"weights 3"))
    assert done.proposal == 1
    _edit(api, tmp_path, lambda text: text.replace("## Versions", "## Releases"), "refs/pr/1")
    with pytest.raises(DriftError, match="versions"):
        _propose(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    _propose(api, tmp_path, _candidate(tmp_path, b"weights 2"), overwrite=True)
    api.merge_pull_request(REPO, 1)
    assert "Reviewed by me." in _readme(api, tmp_path)
    done = _propose(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    assert (done.status, (look(api, REPO, tmp_path / "c").tags or {})["v2.0.0"]) == ("unchanged", done.commit)


def test_what_was_changed_in_a_request_and_merged_is_drift(api: HfApi, tmp_path: Path) -> None:
    """A reviewer changed a generated part and merged: no tag stands at a tree that is not the manifest's."""
    _publish(api, tmp_path, _candidate(tmp_path))
    candidate = _candidate(tmp_path, b"weights 2")
    proposed = _propose(api, tmp_path, candidate)
    _edit(api, tmp_path, lambda text: text.replace("## Versions", "## Releases"), "refs/pr/1")
    api.merge_pull_request(REPO, 1)
    for way in (_propose, _publish):
        with pytest.raises(DriftError, match=r"changed by somebody since v2\.0\.0: README\.md \(versions\)"):
            way(api, tmp_path, candidate)
    assert (look(api, REPO, tmp_path / "c").tags or {})["v2.0.0"] == proposed.commit  # as it was proposed
    done = _publish(api, tmp_path, candidate, adopt=True)
    assert done.manifest.version == "2.0.1"
    assert "## Releases" in _readme(api, tmp_path)


def test_only_ones_own_requests_are_updated(tmp_path: Path) -> None:
    """A stranger's request with the same title and a release in it is left alone; ours is opened beside it."""
    (tmp_path / "users.toml").write_text(
        '[[users]]\nname = "ours"\ntoken = "hf_ours"\norgs = { acme = "write" }\n'
        '[[users]]\nname = "stranger"\ntoken = "hf_stranger"\n'
    )
    users = read_users(tmp_path / "users.toml")
    with localhub.serve(tmp_path / "hub", users=users) as url:
        ours, stranger = HfApi(endpoint=url, token="hf_ours"), HfApi(endpoint=url, token="hf_stranger")
        _publish(ours, tmp_path, _candidate(tmp_path))
        assert _propose(stranger, tmp_path, _candidate(tmp_path, b"weights 2")).proposal == 1
        before = _commits(ours, "refs/pr/1")
        assert _propose(ours, tmp_path, _candidate(tmp_path, b"weights 2")).proposal == 2
        assert _commits(ours, "refs/pr/1") == before


def test_a_request_that_was_given_another_title_is_still_ours(api: HfApi, tmp_path: Path) -> None:
    """A reviewer renames it: the next run finds it by what it holds, and gives it its title again."""
    _publish(api, tmp_path, _candidate(tmp_path))
    _propose(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    api.rename_discussion(REPO, 1, "Please review: release 2")
    assert _propose(api, tmp_path, _candidate(tmp_path, b"weights 2")).proposal == 1
    assert api.get_discussion_details(REPO, 1).title.startswith("hubpush v2.0.0: ")


def test_ones_own_requests_by_hand_are_left_alone(api: HfApi, tmp_path: Path) -> None:
    """A request of the same user that carries no release of its own, or sets a hold, is nobody's business."""
    done = _publish(api, tmp_path, _candidate(tmp_path))
    text = _readme(api, tmp_path).replace("## Versions", "## Releases")
    held = done.manifest.model_copy(update={"hold": True}).to_json()
    for path, content, title in (("README.md", text, "hubpush v1 card: typo"), ("hubpush.json", held, "hold")):
        operation = CommitOperationAdd(path, content.encode())
        api.create_commit(REPO, [operation], commit_message=title, create_pr=True)
    assert _propose(api, tmp_path, _candidate(tmp_path)).status == "unchanged"
    assert _propose(api, tmp_path, _candidate(tmp_path, b"weights 2")).proposal == 3
    assert _pulls(api) == [1, 2, 3]


def test_a_request_that_somebody_closed_is_not_opened_again(api: HfApi, tmp_path: Path) -> None:
    """A person's no stands: the same release is not proposed again, another one is."""
    _publish(api, tmp_path, _candidate(tmp_path))
    _propose(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    api.change_discussion_status(REPO, 1, "closed", comment="not yet")
    with pytest.raises(DriftError, match="somebody closed pull request 1"):
        _propose(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    assert _pulls(api) == []
    assert _propose(api, tmp_path, _candidate(tmp_path, b"weights 3")).proposal == 2


def test_a_request_with_conflicts_is_replaced(api: HfApi, tmp_path: Path) -> None:
    """Somebody edited on `main` what the request changes: it could not be merged, so a new one holds both."""
    _publish(api, tmp_path, _candidate(tmp_path))
    _propose(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    _edit(api, tmp_path, lambda text: f"{text}\nMy own words.\n")
    done = _propose(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    assert (done.proposal, _pulls(api)) == (2, [2])
    api.merge_pull_request(REPO, 2)
    assert "My own words." in _readme(api, tmp_path)
    assert _propose(api, tmp_path, _candidate(tmp_path, b"weights 2")).status == "unchanged"


@pytest.mark.parametrize("lost", ["drop", "status"])
def test_a_lost_answer_opens_one_request(api: HfApi, tmp_path: Path, faults: Plan, lost: Any) -> None:
    """The request was opened and its answer lost: the next look finds it."""
    _publish(api, tmp_path, _candidate(tmp_path))
    faults.add(Fault(method="POST", path="*/commit/main", action=lost, status=504, applied=True))
    assert _propose(api, tmp_path, _candidate(tmp_path, b"weights 2")).proposal == 1
    assert _pulls(api, None) == [1]


def test_two_requests_of_one_moment_become_one(api: HfApi, tmp_path: Path, faults: Plan) -> None:
    """Two runs that open one at the same time: the older stays, the other is closed."""
    _publish(api, tmp_path, _candidate(tmp_path))
    candidate = _candidate(tmp_path, b"weights 2")
    other = HfApi(endpoint=api.endpoint, token="embedded")
    hook = Fault(method="POST", path="*/commit/main", hook=lambda _: _propose(other, tmp_path / "other", candidate))
    faults.add(hook)
    done = _propose(api, tmp_path, candidate)
    assert done.proposal == 1
    assert _pulls(api) == [1]
    assert _pulls(api, None) == [1, 2]


# Drift that is kept ---------------------------------------------------------------------------------------------------


def test_what_a_person_wrote_into_the_card_can_be_kept(api: HfApi, tmp_path: Path) -> None:
    """--adopt keeps a changed part in this version and the next ones, and the rest is rendered as always."""
    candidate = _candidate(tmp_path)
    _publish(api, tmp_path, candidate)
    _edit(api, tmp_path, lambda text: text.replace("## Versions", "## My releases"))
    with pytest.raises(DriftError, match=r"README\.md \(versions\)") as caught:
        _publish(api, tmp_path, candidate)
    assert "--adopt" in caught.value.hint
    done = _publish(api, tmp_path, candidate, adopt=True)
    assert (done.manifest.version, done.manifest.kept) == ("1.0.1", ("versions",))
    assert "kept as somebody wrote it: README.md (versions)" in done.manifest.history[-1].change
    assert _publish(api, tmp_path, candidate).status == "unchanged"
    later = _publish(api, tmp_path, _candidate(tmp_path, b"weights 1", note="Now with a note."))
    assert later.manifest.kept == ("versions",)
    text = _readme(api, tmp_path)
    assert "## My releases" in text
    assert "Now with a note." in text


def test_a_part_that_a_person_removed_can_stay_removed(api: HfApi, tmp_path: Path) -> None:
    """A section that was deleted is not brought back once that was adopted."""
    candidate = _candidate(tmp_path)
    _publish(api, tmp_path, candidate)

    def cut(text: str) -> str:
        start, end = text.index("<!-- hubpush:begin versions -->"), "<!-- hubpush:end versions -->"
        return text[:start] + text[text.index(end) + len(end) :]

    _edit(api, tmp_path, cut)
    done = _publish(api, tmp_path, candidate, adopt=True)
    assert done.manifest.kept == ("versions",)
    assert "hubpush:begin versions" not in _readme(api, tmp_path)
    assert _publish(api, tmp_path, candidate).status == "unchanged"


def test_kept_metadata_stays(api: HfApi, tmp_path: Path) -> None:
    """Tags that a person added in the card's metadata stay when that was adopted, from the first release on too."""
    candidate = _candidate(tmp_path)
    _publish(api, tmp_path, candidate)
    _edit(api, tmp_path, lambda text: text.replace("tags:\n", "tags:\n- mine\n", 1))
    done = _publish(api, tmp_path, candidate, adopt=True)
    assert done.manifest.kept == ("front matter",)
    assert "- mine" in _readme(api, tmp_path)
    assert _publish(api, tmp_path, candidate).status == "unchanged"


def test_overwrite_ends_what_was_kept_and_the_commit_says_so(api: HfApi, tmp_path: Path) -> None:
    """--overwrite renders every part anew, and the commit names what it replaced."""
    candidate = _candidate(tmp_path)
    _publish(api, tmp_path, candidate)
    _edit(api, tmp_path, lambda text: text.replace("## Versions", "## My releases"))
    _publish(api, tmp_path, candidate, adopt=True)
    _edit(api, tmp_path, lambda text: text.replace("## My releases", "## Mine"))
    done = _publish(api, tmp_path, candidate, overwrite=True)
    assert done.manifest.kept == ()
    assert "## Versions" in _readme(api, tmp_path)
    newest = next(iter(api.list_repo_commits(REPO)))
    assert newest.title.startswith("hubpush v1.0.2: put back README.md (versions)")
    assert "Overwritten, changed by somebody since the last version: README.md (versions)" in newest.message
    assert _publish(api, tmp_path, candidate, overwrite=True).status == "unchanged"


def test_overwrite_leaves_kept_words_where_nothing_was_changed(api: HfApi, tmp_path: Path) -> None:
    """--overwrite, typed for the sake of another repo of the family, takes no adopted words away here."""
    candidate = _candidate(tmp_path)
    _publish(api, tmp_path, candidate)
    _edit(api, tmp_path, lambda text: text.replace("## Versions", "## My releases"))
    _publish(api, tmp_path, candidate, adopt=True)
    assert _publish(api, tmp_path, candidate, overwrite=True).status == "unchanged"
    assert "## My releases" in _readme(api, tmp_path)


def test_kept_words_are_not_taken_over_to_another_conversion(api: HfApi, tmp_path: Path) -> None:
    """What a person wrote about one conversion is not said of another unless somebody says so."""
    _publish(api, tmp_path, _candidate(tmp_path))
    _edit(api, tmp_path, lambda text: text.replace("## Versions", "## My releases"))
    _publish(api, tmp_path, _candidate(tmp_path), adopt=True)
    with pytest.raises(DriftError, match="another conversion: versions"):
        _publish(api, tmp_path, _candidate(tmp_path, b"weights 2"))
    assert _publish(api, tmp_path, _candidate(tmp_path, b"weights 2"), adopt=True).manifest.kept == ("versions",)


@pytest.mark.parametrize("path", ["config.json", "model.safetensors"])
def test_files_that_no_proof_covers_are_not_kept(api: HfApi, tmp_path: Path, path: str) -> None:
    """A changed config or other weights cannot be adopted: the card would vouch for what nobody measured."""
    candidate = _candidate(tmp_path)
    _publish(api, tmp_path, candidate)
    api.create_commit(REPO, [CommitOperationAdd(path, b"{}")], commit_message="by hand")
    with pytest.raises(DriftError, match="no proof holds for it") as caught:
        _publish(api, tmp_path, candidate, adopt=True)
    assert path in caught.value.message
    assert _publish(api, tmp_path, candidate, overwrite=True).manifest.version == "1.0.1"


def test_a_file_of_somebody_at_a_new_path_is_not_replaced(api: HfApi, tmp_path: Path) -> None:
    """A release that has a file for the first time finds one of that name: refused, until it is overwritten."""
    candidate = _candidate(tmp_path)
    _publish(api, tmp_path, candidate)
    api.create_commit(REPO, [CommitOperationAdd("extra.json", b"mine")], commit_message="mine")
    assert candidate.folder is not None
    (candidate.folder / "extra.json").write_text("{}")
    later = records.candidate(candidate.folder)
    with pytest.raises(DriftError, match=r"where this release has its own: extra\.json"):
        _publish(api, tmp_path, later)
    assert _publish(api, tmp_path, later, overwrite=True).manifest.version == "1.1.0"


@pytest.mark.parametrize("where", ["card", "config"])
def test_what_looks_like_a_token_is_not_published(api: HfApi, tmp_path: Path, where: str) -> None:
    """A token in a family's words, in a person's or in a small file stops the push before anything is sent."""
    candidate = _candidate(tmp_path, note=f"Mirror with {TOKEN} please." if where == "card" else "A note.")
    assert candidate.folder is not None
    if where == "config":
        (candidate.folder / "config.json").write_text(f'{{"model_type": "bert", "token": "{TOKEN}"}}')
        candidate = records.candidate(candidate.folder)
    with pytest.raises(CardError, match="looks like a token") as caught:
        _publish(api, tmp_path, candidate)
    assert TOKEN not in caught.value.message
    assert not api.repo_exists(REPO)


def test_a_file_that_changes_while_it_is_sent_is_not_published(
    api: HfApi, tmp_path: Path, faults: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small files are sent by the bytes that were hashed, large ones under the digest that storage checks."""
    candidate = _candidate(tmp_path)
    assert candidate.folder is not None
    monkeypatch.setattr(manifest, "_SMALL", 5000)
    candidate = records.candidate(candidate.folder)
    assert candidate.build.files["model.safetensors"].git_oid is None
    assert candidate.folder is not None

    def spoil(_: object) -> None:
        assert candidate.folder is not None
        for name in ("vocab.txt", "model.safetensors"):
            (candidate.folder / name).write_bytes(b"x" * (candidate.folder / name).stat().st_size)

    faults.add(Fault(method="POST", path="*/preupload/main", hook=spoil))
    with pytest.raises(HubpushError):
        _publish(api, tmp_path, candidate)
    assert len(_commits(api)) == 1  # the Hub's own
    records.write_folder(candidate.folder)
    assert _publish(api, tmp_path, candidate).status == "published"


# Limits ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "weights", "is_allowed"),
    [("patch", b"2", False), ("minor", b"2", False), ("major", b"2", True), ("patch", b"1", True)],
)
def test_a_version_rises_by_no_more_than_it_may(
    api: HfApi, tmp_path: Path, most: planning.Bump, weights: bytes, is_allowed: bool
) -> None:
    """--max-bump stops a release that would change more than that; a first release is no bump."""
    _publish(api, tmp_path, _candidate(tmp_path), max_bump="patch")
    candidate = _candidate(tmp_path, b"weights " + weights, note="Now with a note.")
    if is_allowed:
        assert _publish(api, tmp_path, candidate, max_bump=most).status == "published"
        return
    with pytest.raises(DriftError, match=rf"a major version, and --max-bump is {most}"):
        _publish(api, tmp_path, candidate, max_bump=most)
    assert len(_commits(api)) == 2
