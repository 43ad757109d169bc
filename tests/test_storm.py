"""The short form of `make storm`, and tests of its eyes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import storm
from benchmarks.crash import Wanted
from benchmarks.storm import Weather


def test_what_a_storm_leaves_is_healed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rounds of all sorts under faults of all kinds and with other people's commits break no law."""
    assert storm.storm(tmp_path, "lfs", seed=11, faults=15) == []
    said = capsys.readouterr().out
    assert "0 violations" in said
    assert int(said.split(" faults (")[0].split()[-1]) >= 15


@pytest.mark.parametrize(
    ("bug", "law"), [("resends", "I6: the last release"), ("moves tags", "I3: the tag"), ("hashes the card", "P1")]
)
def test_a_mistake_of_the_publisher_is_seen(tmp_path: Path, bug: str, law: str) -> None:
    """Lost answers to commits and tags, and the commits of others, show each of three mistakes."""
    lost = Weather(("drop after", "504 after"), share=0.7, path="/api/models/*/[ct][oa][mg]*/*")
    found = storm.storm(tmp_path, "lfs", seed=3, faults=8, bug=bug, weather=lost)
    assert law in " ".join(found)


def test_a_season_knows_the_version_that_a_change_asks_for() -> None:
    """The version that has to come is computed without hubpush: first, major, patch, or the one that stands there."""
    season = storm.Season(Wanted())
    assert season.next_version() == "1.0.0"
    season.version = "1.2.3"
    for changed, version in {"major": "2.0.0", "patch": "1.2.4", "": "1.2.3"}.items():
        season.changed = changed
        assert season.next_version() == version
