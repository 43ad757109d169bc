"""The short form of `make race`, and tests of its eyes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import race


def test_publishers_at_once_make_what_one_alone_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same content with the first commit's answer lost, and different contents upon a release: no violation."""
    assert race.races(tmp_path, "lfs", 2, begin=3) == []
    said = capsys.readouterr().out
    assert "2 races of 3 publishers" in said
    assert "; of the races 1 made 1" in said


@pytest.mark.parametrize(
    ("bug", "law", "begin"),
    [("resends", "I2: one content", 4), ("moves tags", "I3: the tag", 2), ("hashes the card", "I2: one content", 0)],
)
def test_a_mistake_of_the_publishers_is_seen(tmp_path: Path, bug: str, law: str, begin: int) -> None:
    """One race of the kind that it takes shows each of three mistakes."""
    assert law in " ".join(race.races(tmp_path, "lfs", 1, begin=begin, bug=bug))
