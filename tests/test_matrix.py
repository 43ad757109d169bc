"""Laws of the matrix: the changed releases alone, in even shares, never more than Actions takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubpush.errors import UsageError
from hubpush.matrix import MOST, Todo, shares, to_json
from tests.workshop import Result, Workshop, edit, heads, imports


def _matrix(shop: Workshop, *arguments: str) -> Result:
    return shop.run("matrix", "--family", shop.family, "--org", "acme", *shop.places(), *arguments)


def _include(result: Result) -> list[dict[str, object]]:
    assert result.code == 0, result.err
    assert result.out.count("\n") == 1
    found = json.loads(result.out)
    assert set(found) == {"include"}
    return list(found["include"])


def test_the_matrix_holds_what_a_run_would_do(after: Workshop) -> None:
    """Nothing to do is an empty matrix; a changed fact gives that release alone; a repo that is gone, its bytes too."""
    assert _include(_matrix(after)) == []
    edit(after.family, 'title = "Tiny B"', 'title = "Tiny B, renamed"')
    result = _matrix(after)
    assert _include(result) == [{"shard": "1 of 1", "models": "tiny-b", "repos": 1, "bytes": 0}]
    assert "tiny-b: the facts, the templates or the recorded results of the card changed" in result.err
    shutil.rmtree(after.hub / "models" / "acme" / "tiny-a.git")
    size = (after.root / "tiny-a.zip").stat().st_size
    assert _include(_matrix(after)) == [
        {"shard": "1 of 2", "models": "tiny-a", "repos": 1, "bytes": size},
        {"shard": "2 of 2", "models": "tiny-b", "repos": 1, "bytes": 0},
    ]
    assert [one["models"] for one in _include(_matrix(after, "--shards", "1"))] == ["tiny-a tiny-b"]
    assert [one["models"] for one in _include(_matrix(after, "*-b"))] == ["tiny-b"]


def test_the_matrix_only_reads_and_imports_nothing_heavy(after: Workshop) -> None:
    """No repo changes, no byte of a source is copied, and neither TensorFlow, torch nor transformers is loaded."""
    before = heads(after.hub)
    shutil.rmtree(after.root / "work")
    arguments = ["matrix", "--family", after.family, "--org", "acme", *after.places()]
    assert not imports(arguments) & {"tensorflow", "torch", "transformers", "tokenizers", "distributed"}
    assert heads(after.hub) == before
    assert not (after.root / "work" / "downloads").exists()


def test_what_cannot_be_looked_at_has_something_to_be_done(after: Workshop) -> None:
    """A source that changed on the disk is in the matrix: its run fails closed, and says why."""
    archive = after.root / "tiny-a.zip"
    archive.write_bytes((after.root / "tiny-b.zip").read_bytes())
    (after.root / "tinies.lock.json").unlink()
    assert [one["models"] for one in _include(_matrix(after))] == ["tiny-a"]


def test_a_mass_rewrite_stops_at_the_matrix(after: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """More changed repos than --max-changes: exit 19 and no matrix, and in Actions the run shows why."""
    edit(after.family, 'summary = "Small models for tests."', 'summary = "Small models, for tests."')
    result = _matrix(after, "--max-changes", "1")
    assert (result.code, result.out) == (19, "")
    assert "2 repos would change, and --max-changes is 1" in result.err
    assert "::error" not in result.err
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "::error title=hubpush::2 repos would change" in _matrix(after, "--max-changes", "1").err
    assert len(_include(_matrix(after, "--max-changes", "2"))) == 2


def test_all_gives_what_is_published(after: Workshop) -> None:
    """--all has every published release, with the bytes that a proof downloads; of an empty Hub none."""
    found = _include(_matrix(after, "--all", "--shards", "1"))
    assert [(one["models"], one["repos"]) for one in found] == [("tiny-a tiny-b", 2)]
    assert int(str(found[0]["bytes"])) > 0
    shutil.rmtree(after.hub / "models" / "acme" / "tiny-a.git")
    assert [one["models"] for one in _include(_matrix(after, "--all"))] == ["tiny-b"]


def test_a_hub_that_does_not_answer_has_no_matrix(after: Workshop) -> None:
    """An outage is exit 18: jobs that would find nothing else are not started."""
    given = ("--family", after.family, "--org", "acme", "--hub", "http://127.0.0.1:9", "--work", after.root / "work")
    for arguments in ((), ("--all",)):
        result = after.run("matrix", *given, *arguments)
        assert (result.code, result.out) == (18, "")


@given(st.lists(st.integers(0, 1 << 40), max_size=600), st.integers(1, 300))
def test_shares_are_a_division_and_even(sizes: list[int], count: int) -> None:
    """Each release is in one share; none is empty; at most 256; none is above the mean by more than one release."""
    found = [Todo(f"m{n}", "", False, size) for n, size in enumerate(sizes)]
    parts = shares(found, count)
    assert sorted(todo.name for part in parts for todo in part) == sorted(todo.name for todo in found)
    assert len(parts) == min(count, len(found), MOST)
    assert all(parts)
    if parts:
        each = 8 << 20
        loads = [sum(todo.size + each for todo in part) for part in parts]
        longest = max(todo.size + each for todo in found)
        assert max(loads) <= sum(loads) / len(parts) + longest


def test_a_matrix_that_is_too_long_for_an_output_is_refused() -> None:
    """GitHub takes a mebibyte of outputs a job: a longer matrix is an error that says what to do."""
    found = [Todo(f"a-name-that-is-as-long-as-names-are-{n:06}", "", False, 0) for n in range(20_000)]
    with pytest.raises(UsageError, match="GitHub takes 524,288"):
        to_json(shares(found, 256))


def test_an_apply_for_named_repos_refuses_a_plan_for_others(shop: Workshop, tmp_path: Path) -> None:
    """--apply with --org and MODEL pushes to these alone: a plan for another repo is exit 19, and pushes nothing."""
    plan = tmp_path / "plan.json"
    assert shop.main_job("--no-parity", "--plan", str(plan)).code == 0

    def apply(*arguments: str) -> Result:
        return shop.run("convert-and-upload", "--apply", plan, *shop.places(), *arguments)

    for wrong in (("--org", "acme", "tiny-a"), ("--org", "other"), ("--org", "other", "tiny-a", "tiny-b")):
        result = apply(*wrong)
        assert result.code == 19
        assert "which it was not to be" in result.err
    assert apply("tiny-a").code == 2
    assert shop.published() == []
    assert apply("--org", "acme", "tiny-b", "tiny-a").code == 0
    assert shop.published() == ["acme/tiny-a", "acme/tiny-b"]
