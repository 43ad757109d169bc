"""Laws of the main job's ways to publish, through the command line: plans, pull requests, limits, status, pins."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from filelock import FileLock
from huggingface_hub import CommitOperationAdd, HfApi

from hubpush import catalog, localhub, manifest
from hubpush.localhub.faults import Fault, Plan
from tests.workshop import Result, Workshop, edit, heads


def _rows(result: Result) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(result.out)["releases"]}


def _status(shop: Workshop, *more: object) -> dict[str, dict[str, Any]]:
    result = shop.run("status", "--family", shop.family, "--org", "acme", *shop.places(), "--json", *more)
    assert result.code == 0, result.err
    return {row["name"]: row for row in json.loads(result.out)}


def _commit(shop: Workshop, path: str, change: Callable[[str], str], repo_id: str = "acme/tiny-a") -> None:
    """Somebody commits to a repo by hand."""
    with localhub.serve(shop.hub) as url:
        api = HfApi(endpoint=url, token="embedded")
        text = ""
        if path in api.list_repo_files(repo_id):
            text = Path(api.hf_hub_download(repo_id, path, cache_dir=shop.root / "reader")).read_text()
        operation = CommitOperationAdd(path, change(text).encode())
        api.create_commit(repo_id, [operation], commit_message="by hand")


# Plans ----------------------------------------------------------------------------------------------------------------


def test_a_plan_is_written_and_applied_as_it_is(shop: Workshop) -> None:
    """--plan builds and pushes nothing; --apply pushes exactly that, builds nothing, and twice is once."""
    plan = shop.root / "plan.json"
    result = shop.main_job("--no-parity", "--plan", str(plan))
    assert result.code == 0
    assert not shop.published()
    assert "Plan for acme/tiny-a, a new repo: v1.0.0 (first)" in result.out
    written = {item["repo_id"]: item for item in json.loads(plan.read_text())["releases"]}
    for path, file in written["acme/tiny-a"]["adds"].items():
        assert f"+ {path}" in result.out
        assert file["sha256"] in result.out
    applied = shop.run("convert-and-upload", "--apply", plan, *shop.places(), "--json")
    rows = _rows(applied)
    assert {row["status"] for row in rows.values()} == {"published"}
    for path, file in rows["tiny-a"]["files"].items():
        assert written["acme/tiny-a"]["adds"][path]["sha256"] == file["sha256"]
    again = shop.run("convert-and-upload", "--apply", plan, *shop.places(), "--json")
    assert {row["status"] for row in _rows(again).values()} == {"unchanged"}


def test_an_empty_plan_is_success(after: Workshop) -> None:
    """Nothing to do is planned as nothing, and applying that is success."""
    plan = after.root / "plan.json"
    assert after.main_job("--plan", str(plan)).code == 0
    assert json.loads(plan.read_text())["releases"] == []
    before = heads(after.hub)
    result = after.run("convert-and-upload", "--apply", plan, *after.places())
    assert result.code == 0
    assert "nothing to do" in result.err
    assert heads(after.hub) == before


def test_a_stale_plan_is_refused_for_its_repo_alone(after: Workshop) -> None:
    """Somebody committed to one repo since: that one is refused with 19, the other is pushed."""
    plan = after.root / "plan.json"
    edit(after.family, 'language = ["en"]', 'language = ["en"]\nnote = "Now with a note."')
    assert after.main_job("--plan", str(plan)).code == 0
    _commit(after, "NOTES.md", lambda _: "mine")
    result = after.run("convert-and-upload", "--apply", plan, *after.places(), "--json")
    assert result.code == 19
    rows = _rows(result)
    assert (rows["tiny-a"]["status"], rows["tiny-b"]["status"]) == ("failed", "published")
    assert "nothing was pushed" in rows["tiny-a"]["error"]["hint"]


def test_a_plan_is_for_the_hub_that_it_was_made_for(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan against an embedded Hub is not pushed to another one."""
    plan = shop.root / "plan.json"
    shop.main_job("--no-parity", "--plan", str(plan), "tiny-a")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    result = shop.run("convert-and-upload", "--apply", plan, "--work", shop.root / "work")
    assert result.code == 19
    assert "the plan is for an embedded Hub" in result.err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--family", "mine.toml"], "--family belong"),
        (["--dry-run", "--overwrite"], "--dry-run, --overwrite"),
        (["--max-bump", "patch", "--max-changes", "0", "--license", "mit"], "--max-bump, --max-changes, --license"),
    ],
)
def test_apply_takes_everything_from_the_plan(run: Callable[..., Result], more: list[str], words: str) -> None:
    """What was decided when a plan was made cannot be decided again."""
    result = run("convert-and-upload", "--apply", "plan.json", *more)
    assert result.code == 2
    assert words in result.err


# Limits ---------------------------------------------------------------------------------------------------------------


def test_a_mass_rewrite_is_stopped_before_anything_is_touched(after: Workshop) -> None:
    """--max-changes N: more repos would change, so none does, and nothing is fetched or built."""
    edit(after.family, 'language = ["en"]', 'language = ["en"]\nnote = "Now with a note."')
    before = heads(after.hub)
    result = after.main_job("--max-changes", "1")
    assert result.code == 19
    assert "2 repos would change, and --max-changes is 1: nothing was touched" in result.err
    assert heads(after.hub) == before
    assert after.main_job("--max-changes", "2").code == 0
    assert after.main_job("--max-changes", "0").code == 0


def test_a_bump_over_its_limit_is_an_error_of_its_release(after: Workshop) -> None:
    """--max-bump patch lets cards through and stops new weights, with code 19."""
    edit(after.family, 'name = "tiny-a"', 'name = "tiny-a"\nactivation = "gelu"')
    edit(after.family, 'name = "tiny-b"', 'name = "tiny-b"\nnote = "Now with a note."')
    result = after.main_job("--max-bump", "patch", "--no-parity", "--json")
    rows = _rows(result)
    assert (result.code, rows["tiny-a"]["status"], rows["tiny-b"]["version"]) == (19, "failed", "1.0.1")
    assert "--max-bump is patch" in rows["tiny-a"]["error"]["message"]


def test_a_run_ends_at_its_deadline_and_says_what_is_left(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """After --deadline nothing new begins: the releases are deferred with code 18, and the next run does them."""
    real = time.time

    def late() -> float:
        return real() + (3600 if (shop.root / "work" / "releases").exists() else 0)

    with monkeypatch.context() as patch:
        patch.setattr("hubpush.client.time.time", late)
        result = shop.main_job("--no-parity", "--deadline", "60", "--json")
    rows = _rows(result)
    assert result.code == 18
    assert {row["status"] for row in rows.values()} == {"deferred"}
    assert "the deadline of this run is over" in rows["tiny-b"]["error"]["message"]
    assert not shop.published()
    assert shop.main_job("--no-parity").code == 0


def test_an_action_limit_defers_that_repo_alone(shop: Workshop) -> None:
    """A 429 that is not about the window of calls leaves its repo for later; the others are published."""
    plan = Plan()
    plan.add(Fault(method="POST", path="/api/models/acme/tiny-a/commit/*", action="status", status=429, times=None))
    with localhub.serve(shop.hub, plan=plan) as url:
        given = ("--family", shop.family, "--org", "acme", "--hub", url, "--work", shop.root / "work")
        result = shop.run("convert-and-upload", *given, "--no-parity", "--json")
    rows = _rows(result)
    assert (result.code, rows["tiny-a"]["status"], rows["tiny-b"]["status"]) == (18, "deferred", "published")
    assert "run the same command again in an hour" in rows["tiny-a"]["error"]["hint"]


# Pull requests, private repos, keyless tokens -------------------------------------------------------------------------


def test_a_family_is_proposed_merged_and_tagged(after: Workshop) -> None:
    """--create-pr opens a request a repo, a second run builds and opens nothing, and after the merge the next tags."""
    edit(after.family, 'language = ["en"]', 'language = ["en"]\nnote = "Now with a note."')
    before = heads(after.hub)
    rows = _rows(after.main_job("--create-pr", "--json"))
    assert {row["status"] for row in rows.values()} == {"proposed"}
    assert {name: head.split()[0] for name, head in heads(after.hub).items()} == {
        name: head.split()[0] for name, head in before.items()
    }
    again = after.main_job("--create-pr", "--json")
    assert {row["status"] for row in _rows(again).values()} == {"proposed"}
    assert all(not row["seconds"] for row in _rows(again).values())
    rows = _status(after)
    assert {(row["state"], row["version"]) for row in rows.values()} == {("proposed", "v1.0.0")}
    assert rows["tiny-a"]["reason"] == "v1.0.1 waits in pull request 1"
    with localhub.serve(after.hub) as url:
        api = HfApi(endpoint=url, token="embedded")
        for repo_id in before:
            assert [one.num for one in api.get_repo_discussions(repo_id)] == [1]
            api.merge_pull_request(repo_id, 1)
    assert {row["reason"] for row in _status(after).values()} == {"the tag v1.0.1 is missing"}
    rows = _rows(after.main_job("--create-pr", "--json"))
    assert {(row["status"], row["version"]) for row in rows.values()} == {("unchanged", "1.0.1")}
    assert {row["state"] for row in _status(after).values()} == {"up-to-date"}


def test_a_request_that_was_overtaken_is_closed_by_the_next_run(after: Workshop) -> None:
    """The same facts were published without a request: the next run with --create-pr closes what was left open."""
    edit(after.family, 'name = "tiny-a"', 'name = "tiny-a"\nnote = "Now with a note."')
    after.main_job("--create-pr", "tiny-a")
    after.main_job("tiny-a")
    assert _rows(after.main_job("--create-pr", "tiny-a", "--json"))["tiny-a"]["status"] == "unchanged"
    with localhub.serve(after.hub) as url:
        api = HfApi(endpoint=url, token="embedded")
        assert [one.status for one in api.get_repo_discussions("acme/tiny-a")] == ["closed"]


def test_a_plan_of_a_pull_request_is_applied_as_one(after: Workshop) -> None:
    """--create-pr is part of the plan."""
    plan = after.root / "plan.json"
    edit(after.family, 'name = "tiny-a"', 'name = "tiny-a"\nnote = "Now with a note."')
    assert after.main_job("--create-pr", "--plan", str(plan)).code == 0
    for _ in range(2):
        rows = _rows(after.run("convert-and-upload", "--apply", plan, *after.places(), "--json"))
        assert {(row["name"], row["status"]) for row in rows.values()} == {("tiny-a", "proposed")}


def _keyless(shop: Workshop) -> tuple[Result, Plan]:
    """A run in a process of its own, without any token, against the Hub that huggingface_hub is configured for."""
    plan = Plan()
    with localhub.serve(shop.hub, plan=plan) as url:
        keyless = {"HF_ENDPOINT": url, "HF_OIDC_RESOURCE": "acme/tiny-a", "HF_OIDC_ID_TOKEN": "aaa.bbb.ccc"}
        command = [sys.executable, "-m", "hubpush.cli", "convert-and-upload", "--family", str(shop.family), "--json"]
        done = subprocess.run(
            [*command, "--org", "acme", "--work", str(shop.root / "work"), "--no-parity"],
            env={**os.environ, **keyless, "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            check=False,
        )
    return Result(done.returncode, done.stdout, done.stderr), plan


def test_a_keyless_run_publishes_to_repos_that_are_there(shop: Workshop) -> None:
    """With HF_OIDC_RESOURCE each repo gets a token of its own; nobody is asked who it is; a missing repo is refused."""
    with localhub.serve(shop.hub) as url:
        HfApi(endpoint=url, token="embedded").create_repo("acme/tiny-a")
    result, plan = _keyless(shop)
    rows = _rows(result)
    assert (rows["tiny-a"]["status"], rows["tiny-b"]["status"], result.code) == ("published", "failed", 17), result.err
    assert "trusted publishers" in rows["tiny-b"]["error"]["hint"]
    assert not [seen for seen in plan.seen if "whoami" in seen.path]
    with localhub.serve(shop.hub) as url:
        HfApi(endpoint=url, token="embedded").create_repo("acme/tiny-b")
    rows = _rows(_keyless(shop)[0])
    assert (rows["tiny-a"]["status"], rows["tiny-b"]["status"]) == ("unchanged", "published")


def test_a_keyless_run_without_an_identity_says_what_the_job_needs(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HF_OIDC_RESOURCE outside of a workflow that may mint tokens: refused, with the permission that is missing."""
    monkeypatch.setenv("HF_OIDC_RESOURCE", "acme/tiny-a")
    result = shop.run("convert-and-upload", "--family", shop.family, "--org", "acme", "--work", shop.root / "work")
    assert result.code == 17
    assert "id-token: write" in result.err


def test_private_repos_stay_private(shop: Workshop) -> None:
    """--private makes new repos private, in a plan that is applied too."""
    plan = shop.root / "plan.json"
    shop.main_job("--no-parity", "--private", "--plan", str(plan), "tiny-a")
    shop.run("convert-and-upload", "--apply", plan, *shop.places())
    with localhub.serve(shop.hub) as url:
        assert HfApi(endpoint=url, token="embedded").model_info("acme/tiny-a").private


# Status and pins ------------------------------------------------------------------------------------------------------


def test_status_tells_each_state_and_its_reason(after: Workshop) -> None:
    """Up to date, outdated, missing, drifted, held: the look of the main job, in a table, without a change."""
    assert {row["state"] for row in _status(after).values()} == {"up-to-date"}
    edit(after.family, 'name = "tiny-b"', 'name = "tiny-b"\nnote = "Now with a note."')
    _commit(after, "README.md", lambda text: text.replace("## Versions", "## Mine"))
    before = heads(after.hub)
    rows = _status(after)
    assert (rows["tiny-a"]["state"], rows["tiny-a"]["reason"]) == (
        "drifted",
        "changed by somebody: README.md (versions)",
    )
    assert (rows["tiny-b"]["state"], rows["tiny-b"]["version"]) == ("outdated", "v1.0.0")
    assert "card" in rows["tiny-b"]["reason"]
    after.run("rollback", "acme/tiny-b", "v1.0.0", *after.places())
    assert _status(after)["tiny-b"]["state"] == "held"
    assert heads(after.hub)["acme/tiny-a"] == before["acme/tiny-a"]
    after.hub.rename(after.root / "elsewhere")
    after.hub.mkdir()
    rows = _status(after)
    assert {row["state"] for row in rows.values()} == {"missing"}
    assert {row["version"] for row in rows.values()} == {None}


def test_status_of_a_hub_that_is_not_there(shop: Workshop) -> None:
    """What cannot be asked is unknown, with the reason, and the code says that it is worth trying again."""
    given = ("--family", shop.family, "--org", "acme", "--hub", "http://127.0.0.1:9", "--work", shop.root / "work")
    result = shop.run("status", *given, "--json")
    assert result.code == 18
    rows = json.loads(result.out)
    assert {row["state"] for row in rows} == {"unknown"}
    assert "cannot be reached" in rows[0]["reason"]


def test_a_changed_source_is_refused_until_it_is_pinned(after: Workshop) -> None:
    """Another archive under the same name fails closed with both digests; `pin` accepts it: a major version."""
    archive = after.root / "tiny-a.zip"
    old = manifest.describe(archive).sha256
    archive.write_bytes((after.root / "tiny-b.zip").read_bytes())
    new = manifest.describe(archive).sha256
    result = after.main_job("--no-parity")
    assert result.code == 11
    assert old in result.err
    assert new in result.err
    assert "tiny-b: unchanged" in result.err
    result = after.run("pin", "tiny-a", "--family", after.family, "--work", after.root / "work", "--json")
    assert result.code == 0
    assert json.loads(result.out) == [{"name": "tiny-a", "before": old, "now": new}]
    assert catalog.load_lock(after.root / "tinies.lock.json").sources["tiny-a.zip"].sha256 == new
    assert "tiny-b.zip" in catalog.load_lock(after.root / "tinies.lock.json").sources
    rows = _rows(after.main_job("--no-parity", "tiny-a", "--json"))
    assert (rows["tiny-a"]["version"], rows["tiny-a"]["bump"]) == ("2.0.0", "major")


def test_a_lock_may_lie_elsewhere(shop: Workshop, tmp_path: Path) -> None:
    """--lock FILE goes before the family's own lock, for `pin` and for the main job; a shipped family needs it."""
    lock = tmp_path / "my.lock.json"
    assert shop.run("pin", "*", "--family", shop.family, "--lock", lock, "--work", shop.root / "work").code == 0
    (shop.root / "tinies.lock.json").unlink()
    (shop.root / "tiny-a.zip").write_bytes((shop.root / "tiny-b.zip").read_bytes())
    result = shop.main_job("--no-parity", "--lock", str(lock), "--json")
    assert {name: row["status"] for name, row in _rows(result).items()} == {"tiny-a": "failed", "tiny-b": "published"}
    result = shop.run("pin", "*", "--work", shop.root / "work")
    assert result.code == 2
    assert "--lock FILE" in result.err


# Side by side ---------------------------------------------------------------------------------------------------------


def test_two_runs_on_one_work_directory_make_one_release(shop: Workshop) -> None:
    """Two processes, one family, one work directory, one Hub: both end well, and there is one release of each."""
    plan = Plan()
    with localhub.serve(shop.hub, plan=plan) as url:
        command = [sys.executable, "-m", "hubpush.cli", "convert-and-upload", "--family", str(shop.family), "--json"]
        command += ["--org", "acme", "--hub", url, "--work", str(shop.root / "work"), "--no-parity"]
        runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        ended = [(run.communicate(timeout=120), run.returncode) for run in runs]
        assert [code for _, code in ended] == [0, 0], ended
        api = HfApi(endpoint=url, token="embedded")
        for name in ("tiny-a", "tiny-b"):
            assert len(list(api.list_repo_commits(f"acme/{name}"))) == 2
            assert [tag.name for tag in api.list_repo_refs(f"acme/{name}").tags] == ["v1.0.0"]
    statuses = [sorted(row["status"] for row in json.loads(out)["releases"]) for (out, _), _ in ended]
    assert sorted(statuses[0] + statuses[1]) == ["published", "published", "unchanged", "unchanged"]


def test_a_run_that_waits_for_another_says_so_and_minds_its_deadline(shop: Workshop) -> None:
    """Another run in a release's folder is waited for, visibly, and not beyond the deadline."""
    folder = shop.root / "work" / "releases" / "acme--tiny-a"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        result = shop.main_job("--no-parity", "tiny-a", "--deadline", "2")
    assert result.code == 18
    assert "tiny-a: wait for another run" in result.err
    assert "deadline" in result.err
    assert [path.name for path in folder.iterdir()] == [".lock"]


# The family's page ----------------------------------------------------------------------------------------------------


def _pages(shop: Workshop, owner: str = "acme") -> list[Any]:
    with localhub.serve(shop.hub) as url:
        api = HfApi(endpoint=url, token="embedded")
        return [api.get_collection(one.slug) for one in api.list_collections(owner=owner)]


def test_a_family_gets_one_page_after_its_releases(shop: Workshop) -> None:
    """A collection with each model's verdict is made last; a second run changes nothing, another summary does."""
    first = shop.main_job("--json")
    made = json.loads(first.out)["collection"]
    assert (made["status"], made["title"], made["error"], made["code"]) == ("created", "Tinies", None, 0)
    (page,) = _pages(shop)
    assert (page.title, page.description) == ("Tinies", "Small models for tests.")
    assert [item.item_id for item in page.items] == ["acme/tiny-a", "acme/tiny-b"]
    assert all(item.note.startswith("v1.0.0 · parity pass") for item in page.items)
    assert json.loads(shop.main_job("--json").out)["collection"]["status"] == "unchanged"
    edit(shop.family, "Small models for tests.", "Smaller models.")
    assert json.loads(shop.main_job("--json").out)["collection"]["status"] == "updated"
    (page,) = _pages(shop)
    assert page.description == "Smaller models."
    assert all(item.note.startswith("v1.0.1 · parity pass") for item in page.items)


def test_the_page_is_left_out_on_request_and_for_one_model(shop: Workshop, checkpoint: Path) -> None:
    """--no-collection makes none, a family of one makes one only when asked, and nothing else depends on it."""
    assert json.loads(shop.main_job("--no-parity", "--no-collection", "--json").out)["collection"] is None
    assert json.loads(shop.single(checkpoint, "--no-parity", "--json").out)["collection"] is None
    assert _pages(shop) == _pages(shop, "me") == []
    asked = json.loads(shop.single(checkpoint, "--no-parity", "--collection", "--json").out)["collection"]
    assert asked["status"] == "created"
    assert [[item.item_id for item in page.items] for page in _pages(shop, "me")] == [["me/mine"]]


def test_the_page_is_part_of_the_plan(shop: Workshop) -> None:
    """A dry run says what it would do to the page and makes none; a plan holds it, and --apply makes exactly that."""
    dry = shop.main_job("--no-parity", "--dry-run")
    assert 'Collection "Tinies": create' in dry.err
    assert "add acme/tiny-a: v1.0.0 · parity was not run" in dry.err
    assert not shop.hub.exists() or _pages(shop) == []
    plan = shop.root / "plan.json"
    shop.main_job("--no-parity", "--plan", str(plan))
    assert [one["repo_id"] for one in json.loads(plan.read_text())["collection"]["items"]] == [
        "acme/tiny-a",
        "acme/tiny-b",
    ]
    applied = json.loads(shop.run("convert-and-upload", "--apply", plan, *shop.places(), "--json").out)
    assert applied["collection"]["status"] == "created"
    (page,) = _pages(shop)
    assert [item.note for item in page.items] == ["v1.0.0 · parity was not run"] * 2
    again = shop.root / "again.json"
    shop.main_job("--no-parity", "--plan", str(again))
    assert json.loads(again.read_text())["collection"] is None


def test_a_token_without_the_right_to_pages_publishes_all_the_same(shop: Workshop) -> None:
    """What the Hub refuses of the page is said with the next step; it is an error only where somebody asked for one."""
    plan = Plan([Fault(path="/api/collections", method="POST", action="status", status=403, times=None)])
    with localhub.serve(shop.hub, plan=plan) as url:
        arguments = (
            "--family",
            shop.family,
            "--org",
            "acme",
            "--hub",
            url,
            "--work",
            shop.root / "work",
            "--no-parity",
        )
        result = shop.run("convert-and-upload", *arguments)
        assert result.code == 0, result.err
        assert 'The collection "Tinies" was not made' in result.err
        assert "--no-collection" in result.err
        asked = shop.run("convert-and-upload", *arguments, "--collection", "--json")
        assert asked.code == 17
        assert json.loads(asked.out)["collection"]["error"]["hint"]
    assert shop.published() == ["acme/tiny-a", "acme/tiny-b"]


def test_a_page_that_cannot_be_planned_loses_no_plan(shop: Workshop) -> None:
    """A dry run whose Hub fails at the collections alone shows the plans of the releases, and what failed."""
    plan = Plan([Fault(path="/api/collections*", action="status", status=403, times=None)])
    with localhub.serve(shop.hub, plan=plan) as url:
        arguments = (
            "--family",
            shop.family,
            "--org",
            "acme",
            "--hub",
            url,
            "--work",
            shop.root / "work",
            "--no-parity",
        )
        result = shop.run("convert-and-upload", *arguments, "--dry-run")
        assert result.code == 0, result.err
        assert "Plan for acme/tiny-a" in result.out
        assert 'The collection "Tinies" was not made' in result.err
        assert shop.run("convert-and-upload", *arguments, "--dry-run", "--collection").code == 17


# The preview ----------------------------------------------------------------------------------------------------------


def test_a_dry_run_writes_a_page_for_each_repo(after: Workshop) -> None:
    """Pages and index are written for what changes and for what does not, and the index is named."""
    edit(after.family, 'title = "Tiny A"', 'title = "Tiny A, renamed"')
    result = after.main_job("--dry-run", "--json")
    data = json.loads(result.out)
    index = Path(data["preview"])
    assert index.is_relative_to(after.root / "work")
    seen = json.loads((index.parent / "preview.json").read_text(encoding="utf-8"))
    assert {path.name for path in index.parent.iterdir()} == {
        "index.html",
        "preview.json",
        "tiny-a.html",
        "tiny-b.html",
    }
    assert "Tiny A, renamed" in (index.parent / "tiny-a.html").read_text(encoding="utf-8")
    assert "tiny-b.html" in index.read_text(encoding="utf-8")
    assert "acme/tiny-a" in json.dumps(seen)


def test_a_dry_run_shows_verdict_difference_and_a_persons_words(after: Workshop) -> None:
    """The plan tells the verdict loud, what changes in the card, what a person wrote, and shows one card alone."""
    _commit(after, "README.md", lambda text: f"{text}\nMind the step.\n")
    edit(after.family, 'title = "Tiny A"', 'title = "Tiny A, renamed"')
    result = after.main_job("tiny-a", "--dry-run")
    assert "parity: PASS (" in result.out
    assert "-# Tiny A\n" in result.out
    assert "+# Tiny A, renamed\n" in result.out
    assert "written by a person, kept: Mind the step." in result.out
    assert "## Conversion parity" in result.out
    edit(after.family, 'title = "Tiny B"', 'title = "Tiny B, renamed"')
    assert "## Provenance" not in after.main_job("--dry-run").out


def test_the_hubs_own_check_is_asked_on_request(shop: Workshop) -> None:
    """--online adds what the Hub says of the card to the metadata's problems."""
    plain = _rows(shop.main_job("tiny-a", "--no-parity", "--dry-run", "--json"))["tiny-a"]
    online = _rows(shop.main_job("tiny-a", "--no-parity", "--dry-run", "--online", "--json"))["tiny-a"]
    assert plain["metadata"] == online["metadata"] == []
    seen = Plan([Fault(path="/api/validate-yaml", action="status", status=500, times=None)])
    with localhub.serve(shop.root / "other", plan=seen) as url:
        places = ("--hub", url, "--work", shop.root / "work")
        family = ("convert-and-upload", "--family", shop.family, "--org", "acme", "tiny-a", "--no-parity", "--dry-run")
        assert shop.run(*family, *places).code == 0
        assert shop.run(*family, *places, "--online").code == 18


def test_a_family_can_have_templates_of_its_own(shop: Workshop) -> None:
    """A folder that the family file names gives the cards; status agrees, a yank elsewhere uses what is recorded."""
    (shop.root / "cards" / "sections").mkdir(parents=True)
    template = shop.root / "cards" / "sections" / "limits.md.jinja"
    template.write_text("## Limits\n\nAsk before you use {{ release.title | cell }}.\n")
    edit(shop.family, 'summary = "Small models for tests."', 'summary = "Small models."\ntemplates = "cards"')
    assert shop.main_job("tiny-a", "--no-parity").code == 0
    assert _status(shop, "--no-parity")["tiny-a"]["state"] == "up-to-date"
    template.write_text("## Limits\n\nNone.\n")
    assert _status(shop, "--no-parity")["tiny-a"]["state"] == "outdated"
    places = ("--hub", shop.hub, "--work", shop.root / "elsewhere")
    assert shop.run("yank", "acme/tiny-a", "v1.0.0", "--reason", "a test", *places).code == 0
    with localhub.serve(shop.hub) as url:
        api = HfApi(endpoint=url, token="embedded")
        text = Path(api.hf_hub_download("acme/tiny-a", "README.md", cache_dir=shop.root / "reader")).read_text()
    assert "Ask before you use Tiny A." in text
    assert "> **Caution:** these weights were yanked: a test" in text
    template.unlink()
    assert shop.main_job("tiny-a", "--no-parity").code == 16
