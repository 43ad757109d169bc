"""Laws of publishing, through the real client against the embedded Hub."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants

from hubpush import card, localhub, manifest, planning, publish, remote
from hubpush.errors import CardError, DriftError, HubpushError, HubRefusedError, HubUnavailableError
from hubpush.localhub.store import Change, Store
from tests import CANARY, records

REPO = "acme/tiny-0"
TODAY = "2026-11-22"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "PAUSE", 0.0)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[HfApi]:
    with localhub.serve(tmp_path / "hub") as url:
        yield HfApi(endpoint=url, token="embedded")


@pytest.fixture
def calls() -> Iterator[list[httpx2.Request]]:
    """Every request that the client sends."""
    seen: list[httpx2.Request] = []
    huggingface_hub.set_client_factory(lambda: _client(seen.append))
    yield seen
    huggingface_hub.set_client_factory(_client)


def _client(
    on_request: Callable[[httpx2.Request], None] | None = None,
    on_response: Callable[[httpx2.Response], None] | None = None,
) -> httpx2.Client:
    from huggingface_hub.utils._http import default_client_factory

    client = default_client_factory()
    if on_request:
        client.event_hooks["request"].append(on_request)
    if on_response:
        client.event_hooks["response"].append(on_response)
    return client


def _publish(api: HfApi, candidate: planning.Candidate, tmp_path: Path, **options: bool) -> publish.Published:
    return publish.publish(api, candidate, tmp_path / "cache", TODAY, embedded=True, **options)


def _commits(api: HfApi) -> list[str]:
    return [commit.commit_id for commit in api.list_repo_commits(REPO)]


def _tags(api: HfApi) -> dict[str, str]:
    return {tag.name: tag.target_commit for tag in api.list_repo_refs(REPO).tags}


def _read(api: HfApi, path: str, tmp_path: Path, revision: str = "main") -> str:
    return Path(api.hf_hub_download(REPO, path, revision=revision, cache_dir=tmp_path / "reader")).read_text()


def _with_other_facts(candidate: planning.Candidate) -> planning.Candidate:
    """The same conversion with a licence text of another kind, which only the card shows."""
    return replace(candidate, release=candidate.release.model_copy(update={"note": "Now with a note."}), folder=None)


def test_a_first_release_is_one_commit_and_one_tag_that_serve_what_was_built(api: HfApi, tmp_path: Path) -> None:
    """A publish makes one commit on top of the Hub's own, tags it v1.0.0, and every file is served at its digest."""
    folder = records.write_folder(tmp_path / "model")
    done = _publish(api, records.candidate(folder), tmp_path)
    assert (done.status, done.manifest.version, done.bump) == ("published", "1.0.0", "first")
    assert _tags(api) == {"v1.0.0": done.commit}
    assert _commits(api)[0] == done.commit
    assert len(_commits(api)) == 2
    for path in folder.iterdir():
        served = Path(api.hf_hub_download(REPO, path.name, revision="v1.0.0", cache_dir=tmp_path / "reader"))
        assert served.read_bytes() == path.read_bytes()
    recorded = manifest.parse(_read(api, "hubpush.json", tmp_path), REPO)
    assert recorded == done.manifest
    readme = _read(api, "README.md", tmp_path)
    assert recorded.files["README.md"] == manifest.describe_bytes(readme.encode())
    assert 'revision="v1.0.0"' in readme


def test_a_second_run_changes_nothing_and_reads_little(api: HfApi, tmp_path: Path, calls: list[httpx2.Request]) -> None:
    """Nothing changed: no commit, no tag, at most four reads to know it."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    first = _publish(api, candidate, tmp_path)
    before = _commits(api), _tags(api)
    calls.clear()
    there = remote.look(api, REPO, tmp_path / "fresh-cache")
    assert there.manifest is not None
    assert there.manifest.inputs == candidate.inputs()
    assert not there.drift
    assert len(calls) <= 4
    assert {call.method for call in calls} <= {"GET", "HEAD"}
    again = _publish(api, candidate, tmp_path)
    assert (again.status, again.commit) == ("unchanged", first.commit)
    assert (_commits(api), _tags(api)) == before


def test_measuring_again_makes_no_release(api: HfApi, tmp_path: Path) -> None:
    """Other float32 rounding, another day, another version of hubpush: the recorded results stay."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    _publish(api, candidate, tmp_path)
    build = candidate.build
    parity = {**(build.parity or {}), "environment": {"python": "3.99"}}
    other = build.model_copy(update={"date": "2027-01-01", "hubpush": "9.9.9", "parity": parity})
    assert _publish(api, replace(candidate, build=other), tmp_path).status == "unchanged"
    assert list(_tags(api)) == ["v1.0.0"]


def test_versions_follow_what_changed(api: HfApi, tmp_path: Path) -> None:
    """Facts make a patch, a new file a minor, other weights a major version; each has its own tag and history."""
    folder = records.write_folder(tmp_path / "model")
    candidate = records.candidate(folder)
    _publish(api, candidate, tmp_path)
    done = _publish(api, _with_other_facts(candidate), tmp_path)
    assert (done.manifest.version, done.bump) == ("1.0.1", "patch")
    (folder / "extra.json").write_text("{}")
    done = _publish(api, records.candidate(folder), tmp_path)
    assert (done.manifest.version, done.bump) == ("1.1.0", "minor")
    (folder / "extra.json").unlink()
    records.write_folder(folder, b"weights 2")
    done = _publish(api, records.candidate(folder), tmp_path)
    assert (done.manifest.version, done.bump) == ("2.0.0", "major")
    assert [past.version for past in done.manifest.history] == ["1.0.0", "1.0.1", "1.1.0", "2.0.0"]
    assert sorted(_tags(api)) == ["v1.0.0", "v1.0.1", "v1.1.0", "v2.0.0"]
    assert "extra.json" not in api.list_repo_files(REPO)
    assert len(_commits(api)) == 5


def test_parity_that_was_not_run_is_recorded_later(api: HfApi, tmp_path: Path) -> None:
    """Proving what was published without proof makes a new card, not new weights."""
    folder = records.write_folder(tmp_path / "model")
    candidate = records.candidate(folder)
    bare = replace(candidate, build=records.build(folder))
    _publish(api, bare, tmp_path)
    done = _publish(api, candidate, tmp_path)
    assert (done.manifest.version, done.manifest.history[-1].change) == ("1.0.1", "parity recorded")
    assert _publish(api, bare, tmp_path).status == "unchanged"


def test_a_persons_text_is_kept_and_is_no_drift(api: HfApi, tmp_path: Path) -> None:
    """Text around the generated parts changes nothing for the publisher and survives the next release."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    _publish(api, candidate, tmp_path)
    text = _read(api, "README.md", tmp_path).replace(
        "<!-- hubpush:end usage -->", "<!-- hubpush:end usage -->\n\nMine."
    )
    _commit(api, CommitOperationAdd("README.md", text.encode()))
    assert _publish(api, candidate, tmp_path).status == "unchanged"
    done = _publish(api, _with_other_facts(candidate), tmp_path)
    assert done.manifest.version == "1.0.1"
    assert "<!-- hubpush:end usage -->\n\nMine.\n" in _read(api, "README.md", tmp_path)


def _commit(api: HfApi, *operations: CommitOperationAdd | CommitOperationDelete) -> None:
    api.create_commit(REPO, list(operations), commit_message="somebody else's", parent_commit=None)


@pytest.mark.parametrize("what", ["changed", "deleted", "card"])
def test_drift_stops_the_push_until_it_is_overwritten(api: HfApi, tmp_path: Path, what: str) -> None:
    """What somebody changed of a release is named and never replaced unseen; --overwrite puts it back, once."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    _publish(api, candidate, tmp_path)
    readme = _read(api, "README.md", tmp_path)
    _commit(
        api,
        {
            "changed": CommitOperationAdd("vocab.txt", b"[PAD]\nevil\n"),
            "deleted": CommitOperationDelete("vocab.txt"),
            "card": CommitOperationAdd("README.md", readme.replace("PASS", "GREAT").encode()),
        }[what],
    )
    named = r"README\.md \(title\)" if what == "card" else r"vocab\.txt"
    with pytest.raises(DriftError, match=named) as caught:
        _publish(api, candidate, tmp_path)
    assert "--overwrite" in caught.value.hint
    assert list(_tags(api)) == ["v1.0.0"]
    done = _publish(api, candidate, tmp_path, overwrite=True)
    assert done.status == "published"
    assert "GREAT" not in _read(api, "README.md", tmp_path)
    assert _read(api, "vocab.txt", tmp_path) == "[PAD]\n[UNK]\n"
    assert _publish(api, candidate, tmp_path).status == "unchanged"


def test_files_that_are_not_ours_are_not_replaced(api: HfApi, tmp_path: Path) -> None:
    """A repo that somebody else filled is refused, with the files named, and left as it was."""
    api.create_repo(REPO)
    _commit(api, CommitOperationAdd("model.safetensors", b"theirs"))
    before = _commits(api)
    with pytest.raises(DriftError, match=r"model\.safetensors"):
        _publish(api, records.candidate(records.write_folder(tmp_path / "model")), tmp_path)
    assert _commits(api) == before


def test_a_card_that_a_person_wrote_first_is_kept(api: HfApi, tmp_path: Path) -> None:
    """A README.md in a repo that was made by hand stands behind the generated card."""
    api.create_repo(REPO)
    _commit(api, CommitOperationAdd("README.md", b"# By hand\n"))
    _publish(api, records.candidate(records.write_folder(tmp_path / "model")), tmp_path)
    assert _read(api, "README.md", tmp_path).rstrip().endswith("# By hand")


def test_a_missing_tag_is_made_at_the_release_even_behind_later_commits(api: HfApi, tmp_path: Path) -> None:
    """A crash between commit and tag is healed: the tag goes to the oldest commit that carries the version."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    release = _publish(api, candidate, tmp_path).commit
    api.delete_tag(REPO, tag="v1.0.0")
    _commit(api, CommitOperationAdd("notes.txt", b"hello"))
    done = _publish(api, candidate, tmp_path)
    assert (done.status, done.commit) == ("unchanged", release)
    assert _tags(api) == {"v1.0.0": release}


def test_a_tag_is_never_moved(api: HfApi, tmp_path: Path) -> None:
    """A tag of the next version that stands elsewhere already is left there; the release takes a higher version."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    _publish(api, candidate, tmp_path)
    foreign = _commits(api)[-1]
    api.create_tag(REPO, tag="v1.0.1", revision=foreign)
    done = _publish(api, _with_other_facts(candidate), tmp_path)
    assert done.manifest.version == "1.0.2"
    assert _tags(api)["v1.0.1"] == foreign


def test_a_moved_tag_is_drift(api: HfApi, tmp_path: Path) -> None:
    """A version tag that somebody moved to a commit without that version is named, not passed over."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    _publish(api, candidate, tmp_path)
    api.delete_tag(REPO, tag="v1.0.0")
    api.create_tag(REPO, tag="v1.0.0", revision=_commits(api)[-1])
    assert remote.look(api, REPO, tmp_path / "c").drift == ("tag v1.0.0",)
    done = _publish(api, candidate, tmp_path, overwrite=True)
    assert done.manifest.version == "1.0.1"
    assert _publish(api, candidate, tmp_path).status == "unchanged"


def test_a_release_that_the_repo_swallows_is_never_tagged(api: HfApi, tmp_path: Path) -> None:
    """A .gitignore that drops a published file: an error that says so, one commit at most, and no tag."""
    api.create_repo(REPO)
    _commit(api, CommitOperationAdd(".gitignore", b"vocab.txt\n"))
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    for options in ({}, {"overwrite": True}):
        before = len(_commits(api))
        with pytest.raises(DriftError, match=r"vocab\.txt"):
            _publish(api, candidate, tmp_path, **options)
        assert len(_commits(api)) <= before + 1
    assert _tags(api) == {}


def test_only_what_was_proven_is_pushed(api: HfApi, tmp_path: Path) -> None:
    """A file that changed in the work directory since it was built is not pushed under the old digest."""
    folder = records.write_folder(tmp_path / "model")
    candidate = records.candidate(folder)
    (folder / "vocab.txt").write_text("[PAD]\nother\n")
    with pytest.raises(DriftError, match=r"vocab\.txt.*not what was built"):
        _publish(api, candidate, tmp_path)
    assert _tags(api) == {}
    assert len(_commits(api)) == 1


def test_metadata_that_a_person_wrote_first_is_not_lost(api: HfApi, tmp_path: Path) -> None:
    """Front matter of a repo made by hand is kept by saying the same; what would be replaced is named first."""
    api.create_repo(REPO)
    _commit(api, CommitOperationAdd("README.md", b"---\nlicense: mit\nextra_gated_prompt: ask\n---\n"))
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    with pytest.raises(DriftError, match="license, extra_gated_prompt"):
        _publish(api, candidate, tmp_path)
    assert _publish(api, candidate, tmp_path, overwrite=True).status == "published"
    other = f"{REPO}-same"
    api.create_repo(other)
    api.upload_file(repo_id=other, path_in_repo="README.md", path_or_fileobj=b"---\nlicense: apache-2.0\n---\n")
    assert _publish(api, replace(candidate, repo_id=other), tmp_path).status == "published"


@pytest.mark.parametrize("path", ["README.md", "hubpush.json"])
@pytest.mark.parametrize("content", [b"\xe9\xff", b"{}", b""])
def test_what_stands_on_a_hub_may_be_anything(api: HfApi, tmp_path: Path, path: str, content: bytes) -> None:
    """A card or a manifest that somebody spoiled is drift, named with its repo; never another error."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    _publish(api, candidate, tmp_path)
    # Straight into the store: the client itself does not push a card that is not UTF-8.
    Store(tmp_path / "hub").commit(REPO, "main", "somebody else's", [Change("file", path, content)], "")
    with pytest.raises(DriftError, match=REPO):
        _publish(api, candidate, tmp_path)


def test_a_hold_stops_everything(api: HfApi, tmp_path: Path) -> None:
    """A manifest that says hold is respected: nothing is published until a person lifts it."""
    folder = records.write_folder(tmp_path / "model")
    candidate = records.candidate(folder)
    done = _publish(api, candidate, tmp_path)
    held = done.manifest.model_copy(update={"hold": True})
    _commit(api, CommitOperationAdd("hubpush.json", held.to_json().encode()))
    records.write_folder(folder, b"weights 2")
    assert _publish(api, records.candidate(folder), tmp_path).status == "held"
    assert list(_tags(api)) == ["v1.0.0"]


def test_publishers_of_the_same_content_make_one_release(api: HfApi, tmp_path: Path) -> None:
    """Three at once with one content: one commit, one tag, all succeed."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    api.create_repo(REPO)
    results = _at_once([lambda n=n: _publish(api, candidate, tmp_path / str(n)) for n in range(3)])
    assert {r.commit for r in results if isinstance(r, publish.Published)} == set(_tags(api).values())
    assert len(results) == 3
    assert list(_tags(api)) == ["v1.0.0"]
    assert len(_commits(api)) == 2


def test_publishers_of_different_content_lose_nothing(api: HfApi, tmp_path: Path) -> None:
    """Two at once with different contents: two releases, each complete at its own tag, or one that says try again."""
    candidates = [records.candidate(records.write_folder(tmp_path / f"model-{n}", b"weights %d" % n)) for n in range(2)]
    api.create_repo(REPO)
    _at_once([lambda n=n: _publish(api, candidates[n], tmp_path / str(n)) for n in range(2)])
    tags = _tags(api)
    assert tags
    assert len(set(tags.values())) == len(tags)
    for tag, commit in tags.items():
        recorded = manifest.parse(_read(api, "hubpush.json", tmp_path, commit), REPO)
        assert recorded.tag == tag
        publish._verify(api, REPO, recorded, commit, tmp_path / "cache")


def _at_once(works: list[Callable[[], publish.Published]]) -> list[object]:
    results: list[object] = []
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], publish.Published]) -> None:
        gate.wait()
        try:
            results.append(work())
        except HubpushError as error:
            results.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("lost", ["/commit/main", "/tag/", "/repos/create"])
def test_a_lost_answer_makes_nothing_twice(api: HfApi, tmp_path: Path, lost: str) -> None:
    """A request that had its effect and whose answer never came is not sent again: looking shows that it was done."""
    dropped: list[str] = []

    def drop(response: httpx2.Response) -> None:
        if lost in str(response.request.url) and not dropped:
            dropped.append(str(response.request.url))
            raise httpx2.ReadError("the connection broke", request=response.request)

    huggingface_hub.set_client_factory(lambda: _client(on_response=drop))
    try:
        done = _publish(api, records.candidate(records.write_folder(tmp_path / "model")), tmp_path)
    finally:
        huggingface_hub.set_client_factory(_client)
    assert dropped
    assert done.manifest.version == "1.0.0"
    assert len(_commits(api)) == 2
    assert _tags(api) == {"v1.0.0": done.commit}


@pytest.fixture
def refusing() -> Iterator[Callable[[int], HfApi]]:
    """A Hub that answers everything with one status."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int) -> HfApi:
        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = b'{"error": "no, hf_secretSecretSecret"}'
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_POST = do_HEAD = _answer

            def log_message(self, *args: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return HfApi(endpoint=f"http://127.0.0.1:{servers[-1].server_port}", token=CANARY)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[]", b'{"branches": 1}', b""])
def test_answers_that_are_not_the_hubs_are_told(tmp_path: Path, body: bytes) -> None:
    """A proxy's page or another server's JSON in place of the Hub's answer ends with exit code 18."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api = HfApi(endpoint=f"http://127.0.0.1:{server.server_port}", token="embedded")
    try:
        with pytest.raises((HubUnavailableError, HubRefusedError)) as caught:
            _publish(api, records.candidate(records.write_folder(tmp_path / "model")), tmp_path)
    finally:
        server.shutdown()
        server.server_close()
    assert caught.value.hint


@pytest.mark.parametrize("part", ["/-/lfs/", "objects/verify", "objects/batch"])
def test_a_failed_upload_is_tried_again_by_looking(
    api: HfApi, tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What breaks in the client's upload threads is understood: the run goes on, and one release comes of it."""
    broken: list[str] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _seconds: None)  # the client's own retries

    def drop(request: httpx2.Request) -> None:
        if part in str(request.url) and len(broken) < 6:
            broken.append(str(request.url))
            raise httpx2.ReadError("the connection broke", request=request)

    huggingface_hub.set_client_factory(lambda: _client(drop))
    try:
        done = _publish(api, records.candidate(records.write_folder(tmp_path / "model")), tmp_path)
    finally:
        huggingface_hub.set_client_factory(_client)
    assert broken
    assert _tags(api) == {"v1.0.0": done.commit}
    assert len(_commits(api)) == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, HubRefusedError),
        (402, HubRefusedError),
        (403, HubRefusedError),
        (409, HubUnavailableError),
        (412, HubUnavailableError),
    ],
)
def test_a_hub_that_refuses_gives_one_error_with_the_next_step(
    refusing: Callable[[int], HfApi], tmp_path: Path, status: int, error: type[HubpushError]
) -> None:
    """Every refusal is an error of hubpush with a hint and no secret in it; only what may pass is tried again."""
    with pytest.raises(error) as caught:
        _publish(refusing(status), records.candidate(records.write_folder(tmp_path / "model")), tmp_path)
    assert caught.value.hint
    assert "hf_secret" not in caught.value.message
    assert CANARY not in caught.value.message


def test_a_hub_that_is_not_there_is_said_to_be_unreachable(tmp_path: Path) -> None:
    """No server at the address: exit code 18, with the network and the proxy named."""
    api = HfApi(endpoint="http://127.0.0.1:9", token="embedded")
    with pytest.raises(HubUnavailableError) as caught:
        remote.look(api, REPO, tmp_path)
    assert "NO_PROXY" in caught.value.hint
    assert caught.value.exit_code == 18


def test_offline_mode_is_explained(api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE stops even an embedded Hub; the error names the variable."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.set_client_factory(_client)
    with pytest.raises(HubUnavailableError, match="HF_HUB_OFFLINE"):
        remote.look(api, REPO, tmp_path)
    monkeypatch.undo()
    huggingface_hub.set_client_factory(_client)


def test_a_card_that_the_hub_refuses_is_an_error_of_the_card(
    api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub's own check of the metadata ends with exit code 16 and its words."""
    nonsense = card.Card("---\nlicense: nonsense\n---\n\n# x\n", {"front matter": "0" * 64}, ())
    monkeypatch.setattr(card, "render", lambda *_: nonsense)
    with pytest.raises(CardError, match="license"):
        _publish(api, records.candidate(records.write_folder(tmp_path / "model")), tmp_path)
    assert "hubpush.json" not in api.list_repo_files(REPO)


def test_the_embedded_hub_needs_no_global_setting(api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing to an embedded Hub goes by LFS and leaves the client's xet setting as it was."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    _publish(api, records.candidate(records.write_folder(tmp_path / "model")), tmp_path)
    assert constants.HF_HUB_DISABLE_XET is False


def test_tags_like_dates_raise_no_version_and_no_version_comes_twice(api: HfApi, tmp_path: Path) -> None:
    """A tag of somebody with huge numbers is a date; the highest that counts is gone above once and for all."""
    _publish(api, records.candidate(records.write_folder(tmp_path / "model")), tmp_path)
    for tag in ("v20240115.0.0", "v999999.0.0", "v99999.0.0"):
        api.create_tag(REPO, tag=tag, revision="v1.0.0")
    found = []
    for weights in (b"weights 2", b"weights 3", b"weights 4"):
        done = _publish(api, records.candidate(records.write_folder(tmp_path / "model", weights)), tmp_path)
        found.append(done.manifest.version)
    assert found == ["100000.0.0", "100001.0.0", "100002.0.0"]


def test_families_do_not_take_turns_in_a_repo(api: HfApi, tmp_path: Path) -> None:
    """Another release of another family would be another model under one name: refused until it is overwritten."""
    _publish(api, records.candidate(records.write_folder(tmp_path / "model")), tmp_path)
    other = records.candidate(records.write_folder(tmp_path / "model", b"weights 2"))
    other = replace(other, family=other.family.model_copy(update={"name": "others"}))
    with pytest.raises(DriftError, match="holds the release tiny-0 of tinies, and this is tiny-0 of others"):
        _publish(api, other, tmp_path)
    assert _publish(api, other, tmp_path, overwrite=True).manifest.version == "2.0.0"
    assert _publish(api, other, tmp_path).status == "unchanged"


# Between two requests -------------------------------------------------------------------------------------------------


class _Racing(HfApi):
    """A client beside which somebody else makes the same tag, elsewhere, a moment earlier."""

    def create_tag(self, repo_id: str, **given: Any) -> None:
        initial = self.list_repo_commits(repo_id)[-1].commit_id
        super().create_tag(repo_id, tag=given["tag"], revision=initial)
        super().create_tag(repo_id, **given)


def test_a_tag_that_somebody_makes_first_is_not_taken_for_ours(api: HfApi, tmp_path: Path) -> None:
    """A tag that appears elsewhere between two requests is an error, never success, and stays where it is."""
    racing = _Racing(endpoint=api.endpoint, token="embedded")
    with pytest.raises(DriftError, match=r"has a tag v1\.0\.0 at"):
        _publish(racing, records.candidate(records.write_folder(tmp_path / "model")), tmp_path)
    assert _tags(api) == {"v1.0.0": _commits(api)[-1]}


class _Overtaken(HfApi):
    """A client right behind whose commit somebody else publishes, once."""

    def create_commit(self, repo_id: str, *given: Any, **options: Any) -> Any:
        done = super().create_commit(repo_id, *given, **options)
        _publish(HfApi(endpoint=self.endpoint, token="embedded"), self.other, self.place)
        return done

    other: planning.Candidate
    place: Path


def test_a_publisher_that_was_overtaken_stops(api: HfApi, tmp_path: Path) -> None:
    """Two with different contents: each version is published once, and the one that was superseded says so."""
    overtaken = _Overtaken(endpoint=api.endpoint, token="embedded")
    overtaken.other = records.candidate(records.write_folder(tmp_path / "theirs", b"weights 2"))
    overtaken.place = tmp_path / "other"
    with pytest.raises(DriftError, match=r"got v2\.0\.0 from somebody else right after v1\.0\.0"):
        _publish(overtaken, records.candidate(records.write_folder(tmp_path / "model")), tmp_path)
    assert sorted(_tags(api)) == ["v1.0.0", "v2.0.0"]
    assert len(_commits(api)) == 3


def test_a_manifest_that_the_repo_swallows_is_committed_once(api: HfApi, tmp_path: Path) -> None:
    """A .gitignore that drops hubpush.json: one commit, an error that says why, and no tag."""
    api.create_repo(REPO)
    api.upload_file(path_or_fileobj=b"hubpush.json\n", path_in_repo=".gitignore", repo_id=REPO)
    before = len(_commits(api))
    with pytest.raises(DriftError, match=r"hubpush\.json is not in it"):
        _publish(api, records.candidate(records.write_folder(tmp_path / "model")), tmp_path, overwrite=True)
    assert len(_commits(api)) == before + 1
    assert _tags(api) == {}


def test_a_tag_moved_within_its_version_is_drift(api: HfApi, tmp_path: Path) -> None:
    """A tag at a later commit of the same version is told by its files, though head has been put right again."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    _publish(api, candidate, tmp_path)
    original = _read(api, "config.json", tmp_path)
    for text in ("{}", original):
        api.upload_file(path_or_fileobj=text.encode(), path_in_repo="config.json", repo_id=REPO)
    assert _publish(api, candidate, tmp_path).status == "unchanged"
    api.delete_tag(REPO, tag="v1.0.0")
    api.create_tag(REPO, tag="v1.0.0", revision=_commits(api)[1])
    with pytest.raises(DriftError, match=r"tag v1\.0\.0"):
        _publish(api, candidate, tmp_path)


def test_a_part_that_a_person_removed_is_drift(api: HfApi, tmp_path: Path) -> None:
    """A generated part without its markers is gone, however much of its text is left."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    _publish(api, candidate, tmp_path)
    text = _read(api, "README.md", tmp_path).replace("<!-- hubpush:begin facts -->\n", "")
    api.upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id=REPO)
    with pytest.raises(DriftError, match=r"README.md \(facts\)"):
        _publish(api, candidate, tmp_path)


def test_the_card_alone_cannot_put_back_a_file(api: HfApi, tmp_path: Path) -> None:
    """Where a file is gone and nothing was converted, that is said; no commit pretends to hold it."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    _publish(api, candidate, tmp_path)
    api.delete_file("vocab.txt", REPO)
    before = _commits(api)
    with pytest.raises(DriftError, match=r"lacks vocab\.txt"):
        _publish(api, replace(candidate, folder=None), tmp_path, overwrite=True)
    assert _commits(api) == before


def test_repos_are_made_as_visible_as_asked(api: HfApi, tmp_path: Path) -> None:
    """`private` reaches the Hub when the repo is created, and the commit says what it is."""
    _publish(api, records.candidate(records.write_folder(tmp_path / "model")), tmp_path, private=True)
    assert api.model_info(REPO).private
    assert api.list_repo_commits(REPO)[0].title == "hubpush v1.0.0: first release"
