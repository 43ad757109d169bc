"""The short form of `make crash`, and a test of its eyes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import crash
from hubpush.localhub.store import Change, Store


def test_what_a_fault_leaves_is_healed_by_running_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sample of requests of each kind of publish, failed in all ways: no invariant is violated, one run heals it."""
    assert crash.enumerate_faults(tmp_path, "lfs", every=43) == []
    assert "11 faults, 0 violations; runs to heal: 11 in 1" in capsys.readouterr().out


def test_violations_are_seen(tmp_path: Path) -> None:
    """A second commit of a version, a moved tag, a missing file, a lost one of somebody else: each is named."""
    crash._prepare(tmp_path, "update", "lfs")
    hub = tmp_path / "hub"
    store = Store(hub)
    assert list(crash._violations(hub, "update", end=False)) == []
    assert "I6: the last release is ['1.0.0'], not 2.0.0" in list(crash._violations(hub, "update", end=True))
    text = crash._git(hub / "models" / f"{crash.REPO}.git", "show", "main:hubpush.json").encode()
    store.commit(crash.REPO, "main", "again", [Change("file", "hubpush.json", text + b"\n")], "")
    store.commit(crash.REPO, "main", "worse", [Change("deletedFile", "vocab.txt"), Change("deletedFile", "NOTES.md"),
                                               Change("file", "hubpush.json", text + b"\n\n")], "")  # fmt: skip
    store.delete_ref(crash.REPO, "tags", "v1.0.0")
    store.create_ref(crash.REPO, "tags", "v1.0.0", "main")
    found = " ".join(crash._violations(hub, "update", end=False))
    for law in ("I1: 1.0.0 lacks vocab.txt", "I2: 3 commits", "I3: the tag v1.0.0", "I4", "I5"):
        assert law in found
