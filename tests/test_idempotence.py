"""Laws of the second run: the short form of `python -m benchmarks.idempotence`, and a test of its eyes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks import idempotence
from benchmarks.idempotence import VARIATIONS, Again, Variation
from tests.workshop import edit


def again(name: str, done: Path, tmp_path: Path) -> Again:
    """What a second run comes to, of the variation of this name."""
    return idempotence.again(done, tmp_path / "again", next(one for one in VARIATIONS if one.name == name))


# Most of the table is in "all of these at once": what would do something alone does it there too.
@pytest.mark.parametrize("name", ["nothing", "without the lock", "all of these at once", "file added by a person"])
def test_a_second_run_does_nothing(name: str, done: Path, tmp_path: Path) -> None:
    """No commit, no tag, at most four reads a repo, no weights, nothing heavy imported, whatever surrounds the run."""
    found = again(name, done, tmp_path)
    assert found.wrong == ()
    assert (found.commits, found.tags, found.writes) == (0, 0, 0)
    assert all(found.reads[repo] > 0 for repo in idempotence.REPOS)
    assert found.served > 0


@pytest.mark.parametrize(
    "name", ["card edited by a person", "file, card, and a fresh work directory", "after a merged pull request"]
)
def test_a_second_run_keeps_what_a_person_wrote_or_merged(name: str, done: Path, tmp_path: Path) -> None:
    """A word outside the markers of a card, or a merge, makes no commit, no tag and no more reads."""
    found = again(name, done, tmp_path)
    assert found.wrong == ()
    assert (found.commits, found.tags, found.writes) == (0, 0, 0)


def test_a_run_that_does_something_is_seen(done: Path, tmp_path: Path) -> None:
    """Another title is a commit, a tag and writes; a repo that is gone is fetched, built and sent again."""

    def rename(folder: Path) -> None:
        edit(folder / "tinies.toml", 'title = "Tiny A"', 'title = "Tiny A, renamed"')

    found = idempotence.again(done, tmp_path / "again", Variation("a title", before=rename))
    assert (found.commits, found.tags) == (1, 1)  # a sibling is named by its repo, so its card stays
    assert found.writes > 1
    assert {"1 commits", "1 tags", "tiny-a: published"} < set(found.wrong)

    def forget(folder: Path) -> None:
        shutil.rmtree(folder / "work")
        shutil.rmtree(folder / "hub" / "models" / "acme" / "tiny-b.git")

    again_ = Variation("a repo that is gone", ("--no-parity", "--source", "{server}"), before=forget)
    found = idempotence.again(done, tmp_path / "again", again_)
    said = " ".join(found.wrong)
    assert "tiny-b.zip fetched" in said
    assert "model.safetensors" in said
