"""Laws of what people and programs see."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hubpush import show
from tests.workshop import FAMILY, Workshop


def test_the_json_is_what_the_manual_says(after: Workshop) -> None:
    """`--json` prints one object with the documented keys and plain values, and nothing else on stdout."""
    data = json.loads(after.main_job("--json").out)
    assert data["family"] == "tinies"
    assert [r["name"] for r in data["releases"]] == ["tiny-a", "tiny-b"]
    for release in data["releases"]:
        expected = {
            "name",
            "repo_id",
            "status",
            "version",
            "bump",
            "commit",
            "tag",
            "url",
            "parity",
            "files",
            "seconds",
            "error",
        }
        assert expected <= release.keys()
        assert release["status"] == "unchanged"
        assert release["parity"]["verdict"] == "pass"
        assert set(release["parity"]["worst"]) == {"output", "max_abs", "tolerance", "dtype"}
        assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= release["files"].keys()


def test_where_the_time_went_is_told_once_for_a_family(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the table stand the seconds of each station, added up; each release has its own in --json."""
    result = shop.main_job("--no-parity")
    (line,) = (line for line in result.err.splitlines() if line.startswith("Stations, "))
    stations = re.findall(r"(\w+) \d+\.\d s", line)
    assert stations == ["fetch", "unpack", "convert", "card", "push"]
    (shop.root / "hub").rename(shop.root / "old")
    seconds = [r["seconds"] for r in json.loads(shop.main_job("--no-parity", "--json").out)["releases"]]
    assert all({"fetch", "card", "push"} <= one.keys() for one in seconds)


def test_quiet_names_what_stands_on_the_hub(shop: Workshop) -> None:
    """`-q` prints the releases that are as they ought to be, and no other, so that a script can go on with them."""
    (shop.root / "tiny-a.zip").write_bytes(b"PK not")
    result = shop.main_job("--no-parity", "-q")
    assert result.code == 11
    assert result.out == "acme/tiny-b\n"


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_table_fits_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal no row is longer than a line; in a file nothing is cut."""
    rows = [{"name": "n" * 12, "repo": "r" * 70, "parity": "p" * 50}, {"name": "x", "repo": None, "parity": True}]
    show.table(rows, show.Format.human)
    whole = capsys.readouterr().out
    assert "r" * 70 in whole
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    show.table(rows, show.Format.human)
    fitted = capsys.readouterr().out
    assert max(map(len, fitted.splitlines())) <= columns
    assert ("…" in fitted) is (columns < 138)
    assert "n" * 12 in fitted or columns == 40


def test_any_terminal_can_be_printed_to(tmp_path: Path) -> None:
    """What the terminal's encoding lacks is shown by its number, not by a traceback."""
    (tmp_path / "f.toml").write_text(FAMILY.replace("Tiny A", "Tiny \N{SNOWMAN}"), encoding="utf-8")
    for name in ("tiny-a", "tiny-b"):
        (tmp_path / f"{name}.zip").touch()
    command = [sys.executable, "-m", "hubpush.cli", "catalog", str(tmp_path / "f.toml")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "Tiny \\u2603" in done.stdout
