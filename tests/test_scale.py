"""Laws of large families: the short form of `make scale`, and of the Hub's limits in simulated time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import limits, scale
from benchmarks.limits import API, COMMITS, REPOS, Clock, Limited
from hubpush import publish, run
from hubpush.planning import Candidate
from tests import records

FEW, MANY = 3, 9


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[list[scale.Step], dict[str, int]]]:
    """Two families through every step but parity."""
    return {n: scale.walk(tmp_path_factory.mktemp(f"scale-{n}"), n, 2, proven=0) for n in (FEW, MANY)}


def _requests(steps: list[scale.Step], name: str) -> dict[str, int]:
    return dict(next(one for one in steps if one.name == name).requests)


def test_a_release_costs_the_same_requests_in_any_family(
    walks: dict[int, tuple[list[scale.Step], dict[str, int]]],
) -> None:
    """What a release asks of the Hub does not depend on how many there are, for every step and every kind of request.

    A run asks at most six things for all of them together: who it is, and after the collection.
    """
    for name in ("publish", "second run", "status", "plan of a new card", "apply", "matrix"):
        few, many = (_requests(walks[n][0], name) for n in (FEW, MANY))
        for kind in few.keys() | many.keys():
            once = 6 if kind in ("rights", "collection", "other") else 0
            each = (many.get(kind, 0) - few.get(kind, 0)) / (MANY - FEW)
            assert each == pytest.approx(few.get(kind, 0) / FEW, abs=once / FEW), (name, kind, few, many)


def test_a_second_run_reads_two_things_a_repo_and_writes_nothing(
    walks: dict[int, tuple[list[scale.Step], dict[str, int]]],
) -> None:
    """References and tree of each repo, the collection once; no commit, no tag, no upload, no file."""
    for count, (steps, _) in walks.items():
        found = _requests(steps, "second run")
        assert (found.pop("refs"), found.pop("tree")) == (count, count)
        assert set(found) <= {"collection", "other"}
        assert sum(found.values()) <= 6


def test_the_coordinating_process_does_not_grow(walks: dict[int, tuple[list[scale.Step], dict[str, int]]]) -> None:
    """More releases cost it less than 24 MB in every step; that it imports nothing heavy `step` itself checks."""
    for few, many in zip(walks[FEW][0], walks[MANY][0], strict=True):
        assert many.peak - few.peak < 24 << 20, (few.name, few.peak, many.peak)


def test_card_and_manifest_do_not_grow_with_a_large_family(tmp_path: Path) -> None:
    """From 101 to 1,000 releases neither gets longer: no list of siblings is in them."""
    small, large = (records.family(count) for count in (101, 1000))
    sizes = []
    for family in (small, large):
        release = family.releases[0]
        one = Candidate(family, release, "acme/tiny-0", "hubpush", records.build(records.write_folder(tmp_path)), None)
        sizes.append(len(one.facts().model_dump_json()))
        assert "tiny-1" not in one.facts().model_dump_json()
    assert sizes[0] == sizes[1]


def test_at_the_hubs_limits_runs_defer_and_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New repos over a day's limit wait, with the time to come back; no window is ever overrun; one version each.

    Limits are a tenth of the Hub's or less, the clock is simulated, everything else is real.
    """
    monkeypatch.setattr(publish, "PAUSE", 1.0)
    few = (replace(API, most=60), COMMITS, replace(REPOS, most=3))
    with scale.serving(tmp_path / "archives") as url:
        family = scale.make(tmp_path, 7, url)
        found = limits.publish(family, tmp_path, few)
    assert found.versions == {f"acme/tiny-{n:05}": ["v1.0.0"] for n in range(7)}
    assert found.codes[-1] == set()
    assert set().union(*found.codes) == {18}
    assert found.most[REPOS.pattern] == 3
    # Once a day, then nothing new is built or asked for; the window that answers tell of is never run against.
    assert found.refused == {REPOS.pattern: 2}
    assert found.most[API.pattern] <= 60
    assert 2 * 86_400 <= found.seconds < 3 * 86_400


def test_a_family_larger_than_a_window_finishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look at every repo alone takes more requests than a window has: one run waits for the next ones and ends."""
    # By one thread: of a window as small as this nothing is kept back for what eight of them ask at once.
    monkeypatch.setattr(run, "ThreadPoolExecutor", lambda _: ThreadPoolExecutor(1))
    with scale.serving(tmp_path / "archives") as url:
        family = scale.make(tmp_path, 12, url)
        found = limits.publish(family, tmp_path, (replace(API, most=20),))
    assert found.versions == {f"acme/tiny-{n:05}": ["v1.0.0"] for n in range(12)}
    assert (found.runs, found.refused) == (1, {})
    assert found.most[API.pattern] <= 20
    assert found.seconds > 300 * (found.requests // 2 // 20)


def test_the_limits_refuse_what_is_over_them() -> None:
    """The tool that measures can fail: the request after the last of a window is a 429, and the next window begins."""
    clock = Clock()
    plan = Limited((replace(REPOS, most=2),), clock, latency=0)
    met = [plan._meet("POST", "/api/repos/create", "").fault for _ in range(3)]
    assert [one is None for one in met] == [True, True, False]
    assert met[2] is not None
    assert (met[2].status, int(met[2].headers["Retry-After"]) > 86_000) == (429, True)
    clock.sleep(86_401)
    assert plan._meet("POST", "/api/repos/create", "").fault is None
