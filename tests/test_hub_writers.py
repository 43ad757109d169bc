"""The short form of `make writers`."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import hub_writers


@pytest.mark.long
def test_what_was_acknowledged_outlives_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Commits of several clients are in the history once or were refused, though the server is killed under them."""
    assert hub_writers.prove(tmp_path, seconds=6, clients=4, kills=2, seed=7) == []
    said = capsys.readouterr().out
    assert "server killed 2 times" in said
    assert int(said.partition("): ")[2].split()[0]) > 0  # acknowledged


def test_a_lost_commit_would_be_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The check is none that cannot fail: a log that claims a commit that is not there is a broken law."""
    assert hub_writers.prove(tmp_path, seconds=1, clients=1, kills=0, seed=7) == []
    log = tmp_path / "client-0.log"
    first = log.read_text().splitlines()[0]
    for wrong in (first.replace("commit 1 ", "commit 0 "), first.replace("acknowledged", "412")):
        log.write_text(f"{wrong}\n")
        assert hub_writers._check(tmp_path, [log], [0], 0, 7, 1.0)
