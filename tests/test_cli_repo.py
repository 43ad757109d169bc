"""Laws of the commands for one repo: rollback, unhold, yank."""

import json
from collections.abc import Callable

import pytest

from tests.workshop import Result, Workshop, edit, heads

REPO = "acme/tiny-a"


def test_back_and_forth(after: Workshop) -> None:
    """rollback, a held run, unhold, and a run that publishes again, as a person would type them."""
    edit(after.family, 'name = "tiny-a"', 'name = "tiny-a"\nactivation = "gelu"')
    assert after.main_job("--no-parity", "tiny-a").code == 0
    result = after.run("rollback", REPO, "v1.0.0", *after.places())
    assert result.code == 0
    assert "v3.0.0" in result.out
    assert f"no run publishes to {REPO} before `hubpush unhold {REPO}" in result.err
    held = after.main_job("--no-parity", "tiny-a")
    assert (held.code, "held" in held.out) == (0, True)
    assert after.run("unhold", REPO, *after.places(), "--json").code == 0
    rows = json.loads(after.main_job("--no-parity", "tiny-a", "--json").out)["releases"]
    assert (rows[0]["status"], rows[0]["version"]) == ("published", "4.0.0")


def test_a_yank_is_on_the_card_and_the_next_run_is_content(after: Workshop) -> None:
    """A yanked version is a patch of the card; the schedule finds nothing to do afterwards."""
    result = after.run("yank", REPO, "v1.0.0", "--reason", "wrong vocabulary", *after.places(), "--json")
    (row,) = json.loads(result.out)["releases"]
    assert (row["version"], row["change"]) == ("1.0.1", "v1.0.0 yanked: wrong vocabulary")
    before = heads(after.hub)
    assert after.main_job().code == 0
    assert heads(after.hub) == before


@pytest.mark.parametrize("command", [["rollback", REPO, "v1.0.0"], ["yank", REPO, "v1.0.0", "--reason", "bad"]])
def test_a_dry_run_shows_the_plan_and_changes_nothing(after: Workshop, command: list[str]) -> None:
    """--dry-run prints what would be committed, and the card."""
    before = heads(after.hub)
    result = after.run(*command, *after.places(), "--dry-run")
    assert result.code == 0
    assert f"Plan for {REPO}: v1.0.1 (patch)" in result.out
    assert "+ README.md" in result.out
    assert "# Tiny A" in result.out
    assert heads(after.hub) == before


def test_a_dry_run_in_json_is_json(after: Workshop) -> None:
    """--dry-run --json prints the plan as the main job does, and an empty list where nothing is to do."""
    result = after.run("rollback", REPO, "v1.0.0", *after.places(), "--dry-run", "--json")
    (row,) = json.loads(result.out)["releases"]
    assert (row["status"], row["version"], "README.md" in row["files"]) == ("planned", "1.0.1", True)
    result = after.run("unhold", REPO, *after.places(), "--dry-run", "--json")
    assert json.loads(result.out)["releases"] == []


def test_what_to_type_next_can_be_pasted(after: Workshop) -> None:
    """The end of a hold names the Hub that was meant; a held run says how the hold is lifted."""
    result = after.run("rollback", REPO, "v1.0.0", *after.places())
    assert f"`hubpush unhold {REPO} --hub {after.hub}`" in result.err
    assert f"`hubpush unhold {REPO}`" in after.main_job("tiny-a").err


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["rollback", "no-repo", "v1.0.0"], 2, "OWNER/NAME"),
        (["rollback", REPO, "v9.9.9"], 2, "its versions: v1.0.0"),
        (["yank", REPO, "v9.9.9", "--reason", "x"], 2, "its versions: v1.0.0"),
        (["yank", REPO, "v1.0.0"], 2, "--reason"),
        (["unhold", "acme/nothing"], 17, "is not on the Hub"),
        (["rollback", REPO, "v1.0.0", "--hub", "./typo"], 2, "does not exist"),
    ],
)
def test_what_cannot_be_done_is_said(after: Workshop, command: list[str], code: int, words: str) -> None:
    """Each mistake has its code and its next step, and nothing changes."""
    before = heads(after.hub)
    result = after.run(*command, *after.places(), *(command[-2:] if "--hub" in command else []))
    assert result.code == code, result.err
    assert words in result.err
    assert heads(after.hub) == before


def test_the_commands_are_listed_with_examples(run: Callable[..., Result]) -> None:
    """Each command of a repo says in its help how it is used."""
    for command in ("rollback", "unhold", "yank", "verify", "doctor"):
        assert "Examples:" in run(command, "--help").out
