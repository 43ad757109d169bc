"""Laws of the speed benchmark: lines that need no peer on two tiny stand-ins, its table, and that it refuses cheats."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import peers, speed, stand_in
from benchmarks.speed import LINES, ROWS, Bench, Cost, Row

FEW = ["*-L-2_H-128_*", "*-L-2_H-256_*"]
TABLE = ["line", "what", "ours", "against", "theirs", "ratio", "bar", ""]


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny archives with their family. Read only."""
    out = tmp_path_factory.mktemp("speed") / "stand-in"
    stand_in.make(out, only=FEW, tiny=True)
    return out


@pytest.fixture
def bench(stand_ins: Path, tmp_path: Path) -> Bench:
    """A tiny benchmark in a fresh place, without any peer."""
    (tmp_path / "tiny").mkdir()
    return Bench(tmp_path / "tiny", stand_ins, tmp_path, 1, 1, tiny=True)


@pytest.mark.long
def test_lines_without_peers_are_measured_and_merged(
    stand_ins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row that needs no peer is in the table, whichever run measured its line; its outputs were checked."""
    given = ["--tiny", "--runs", "1", "--stand-ins", str(stand_ins), "--place", str(tmp_path)]
    speed.main(["convert", "archive", *given])
    speed.main(["startup", *given])
    capsys.readouterr()
    speed.main(["--table", "--markdown", *given])
    about, head, _, *rows = capsys.readouterr().out.splitlines()
    assert about.startswith("file system ")
    assert cells(head) == TABLE
    of_peers = (speed.CLI, speed.LOADER, f"unzip -q + {speed.CLI}")
    wanted = [r for r in ROWS if r.line in ("convert", "archive", "startup") and r.theirs not in of_peers]
    found = [cells(row) for row in rows]
    assert [row[0] for row in found] == [row.line for row in wanted]
    for row, want in zip(found, wanted, strict=True):
        assert (row[1], row[3]) == (want.what.format(n=2), want.theirs or "")
        assert row[2].endswith(want.unit)
        assert (row[7] in ("met", "missed")) is any((want.faster, want.within, want.most))
    results = json.loads((tmp_path / "tiny" / "results.json").read_text(encoding="utf-8"))
    assert {line: result["releases"] for line, result in results.items()} == dict.fromkeys(
        ("convert", "archive", "startup"), 2
    )
    assert all(result["checked"] for result in results.values())
    assert all(cost[0] > 0 for result in results.values() for costs in result["samples"].values() for cost in costs)


def cells(row: str) -> list[str]:
    """The cells of a row of a Markdown table."""
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_a_bar_is_met_up_to_itself() -> None:
    """Met at the bar and missed beyond it, for each kind of bar; where there are two, one is enough."""
    for bar, ours, theirs, verdict in (
        ({"faster": 20}, 1.0, 20.0, "met"),
        ({"faster": 20}, 1.0, 19.9, "missed"),
        ({"within": 1.2}, 1.2, 1.0, "met"),
        ({"within": 1.2}, 1.21, 1.0, "missed"),
        ({"most": 3}, 3.0, 9.0, "met"),
        ({"most": 3}, 3.1, 9.0, "missed"),
        ({"within": 1.5, "most": 0.2}, 0.3, 0.25, "met"),
        ({"within": 1.5, "most": 0.35}, 0.34, 0.1, "met"),
        ({"within": 1.5, "most": 0.2}, 0.3, 0.1, "missed"),
        ({}, 1.0, 2.0, ""),
    ):
        assert shown(Row("push", "it", "ours", "theirs", **bar), ours, theirs)[7] == verdict, (bar, ours, theirs)  # type: ignore[arg-type]


def shown(row: Row, ours: float, theirs: float) -> list[str]:
    """The cells of a row, with these wall times."""
    return speed._cells(row, {"releases": 1, "samples": {"ours": [[ours, 0, 0]], "theirs": [[theirs, 0, 0]]}})


def test_times_are_medians_and_memory_is_the_largest() -> None:
    """One slow run of three changes no time; one large run of three is the memory."""
    costs = [[1.0, 4.0, 10.0], [9.0, 8.0, 70.0], [2.0, 5.0, 20.0]]
    assert [speed._figure(costs, unit) for unit in ("s", "CPU s", "MB")] == [2.0, 5.0, 70.0]


def test_a_speedup_is_told_as_one() -> None:
    """A ratio says how many times faster, or how many times of theirs; memory is less, and not faster."""
    assert shown(Row("push", "", "ours", "theirs", faster=2), 1, 4)[5] == "4.0 × faster"
    assert shown(Row("push", "", "ours", "theirs", within=2), 1, 4)[5] == "0.25 ×"
    assert shown(Row("push", "", "ours", "theirs"), 4, 1)[5] == "4.00 ×"
    memory = {"releases": 1, "samples": {"ours": [[0, 0, 50]], "theirs": [[0, 0, 500]]}}
    assert speed._cells(Row("push", "", "ours", "theirs", unit="MB"), memory)[5] == "10.0 × less"


def test_every_line_has_rows_and_every_row_a_line() -> None:
    """Nothing is measured that the table does not show, and no line has two rows that say the same."""
    assert {row.line for row in ROWS} == LINES.keys()
    assert len({(row.line, row.what, row.theirs) for row in ROWS}) == len(ROWS)


def test_a_round_has_everybody_once_in_alternating_order(bench: Bench) -> None:
    """Who comes first in one round comes last in the next, and each finds an empty directory."""
    seen: list[str] = []

    def contender(name: str) -> speed.Run:
        def run(out: Path) -> Cost:
            assert list(out.iterdir()) == []
            (out / name).touch()
            seen.append(name)
            return Cost(1.0)

        return run

    samples = speed.rounds(bench, {name: contender(name) for name in "abc"}, 3)
    assert "".join(seen) == "abccbaabc"
    assert {name: len(costs) for name, costs in samples.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_cost_is_that_of_the_whole_command(bench: Bench) -> None:
    """CPU time and memory of a child's child are counted, and a command that fails ends the benchmark."""
    child = "block = bytearray(b'1' * 120_000_000)\nwhile __import__('time').process_time() < 0.3: pass"
    cost = speed.timed(bench, "bash", "-c", '"$@"; exit 0', "shell", sys.executable, "-c", child)
    assert cost.cpu >= 0.3
    assert cost.peak >= 120
    assert cost.wall > 0
    with pytest.raises(SystemExit, match=r"ended with 3:\nit says why"):
        speed.timed(bench, "bash", "-c", "echo it says why >&2; exit 3")


def test_commands_may_keep_their_bytecode(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python was told outside reaches no command: without bytecode every start of a peer would compile again."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    speed.timed(bench, sys.executable, "-c", "import sys; print(sys.dont_write_bytecode)")
    assert (bench.place / "stdout").read_text(encoding="utf-8") == "False\n"


def test_a_digest_that_is_not_the_files_ends_the_benchmark(bench: Bench) -> None:
    """Outputs are looked at: a bit that changed after it was recorded is found, in every file of the folder."""
    checkpoint = speed.directories(bench)[0]
    made = speed.models(bench, [checkpoint])
    assert speed._recorded(made).keys() == {checkpoint.name}
    for name in ("model.safetensors", "tokenizer.json"):
        path = made / checkpoint.name / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(SystemExit, match=f"hubpush.json of {checkpoint.name} is not true"):
            speed._recorded(made)
        path.write_bytes(content)


def test_equal_means_the_same_bits(bench: Bench, tmp_path: Path) -> None:
    """A pickle with a tied tensor under two names is equal; with another value, one tensor more or less it is not."""
    import torch
    from safetensors.torch import load_file

    checkpoint = speed.directories(bench)[0]
    ours = speed.models(bench, [checkpoint]) / checkpoint.name / "model.safetensors"
    theirs: dict[str, Any] = load_file(ours)
    name = "bert.embeddings.word_embeddings.weight"
    tied = {"cls.predictions.decoder.weight": theirs[name]}
    pickle = tmp_path / "pytorch_model.bin"
    torch.save(theirs | tied, pickle)
    peers.equal(pickle, ours)
    changed = theirs[name].clone()
    changed[0, 0] += 1e-6
    for wrong in (theirs | {name: changed}, theirs | {"more": torch.ones(1)}, {name: theirs[name]}):
        torch.save(wrong, pickle)
        with pytest.raises(SystemExit, match=r"is not .*pytorch_model.bin"):
            peers.equal(pickle, ours)


def test_a_tool_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip cannot bring is asked for before anything is measured, in one line."""
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "unzip" else which(tool))
    with pytest.raises(SystemExit, match="not found: unzip; install"):
        speed.main(["startup", "--tiny", "--place", str(tmp_path)])
