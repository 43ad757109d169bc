"""Releases published while one request in five fails somehow, and other people commit in between.

Each round changes something (weights, a fact of the card, the source, nothing), lets somebody else do something (add a
file, write into the card, spoil a published file, delete a tag), and publishes under faults: errors, lost answers,
broken answers, silence, and kills of the publisher. Then the same is published without faults until it succeeds, at
most twice. The laws of `benchmarks.laws` must hold before that and after, and the last release must be the very
version that the change asks for: nothing is lost, and nothing is released twice. Eight rounds make a season, which has
a repository of its own and ends with a run that must change nothing.

    python -m benchmarks.storm [--mode lfs|xet] [--faults 1000] [--seed N] [--bug NAME]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import laws
from benchmarks.crash import (
    BUGS,
    Wanted,
    ended_badly,
    healed,
    publish_apart,
    quiet,
    result,
    somebody_commits,
    strike,
)

if TYPE_CHECKING:
    from hubpush.localhub.faults import Plan

KINDS = (
    "kill before", "kill after", "drop", "drop after", "500", "503", "504 after", "429", "truncate", "truncate late",
    "stall", "stall after",
)  # fmt: skip
ROUNDS = 8  # a season
_RUNS = 2  # that may heal
_SILENCE = 0.5  # seconds that a stall costs; a run without faults has ten times as long


@dataclass
class Season:
    """One repository through its rounds: what is wanted, and what others did.

    Attributes:
        wanted: What is published next.
        version: The last release, when all is well.
        changed: What part of the version has to rise; empty if nothing was changed.
        kept: Commits of others.
        tags: Tags that were seen.
        overwrites: Versions that put back what others changed.
    """

    wanted: Wanted
    version: str = ""
    changed: str = "first"
    kept: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    overwrites: list[str] = field(default_factory=list)

    def next_version(self) -> str:
        """The version that has to stand there once what is wanted is published."""
        if self.changed == "first":
            return "1.0.0"
        major, minor, patch = map(int, self.version.split("."))
        return {"major": f"{major + 1}.0.0", "patch": f"{major}.{minor}.{patch + 1}", "": self.version}[self.changed]


def main() -> int:
    """Run it, print the figures, and return 1 if a law was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mode", choices=("lfs", "xet"), default="lfs")
    parser.add_argument("--faults", type=int, default=1000, help="how many have to strike")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--bug", choices=BUGS, default="", help="a publisher with this mistake, to see it found")
    asked = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        violations = storm(Path(folder), asked.mode, asked.seed, asked.faults, bug=asked.bug)
    for violation in violations:
        print(f"VIOLATION: {violation}")
    return 1 if violations else 0


@dataclass(frozen=True)
class Weather:
    """What fails: so large a share of the requests whose path fits, in these ways, each as often as the others."""

    kinds: tuple[str, ...] = KINDS
    share: float = 0.2
    path: str = ""


def storm(folder: Path, mode: str, seed: int, faults: int, *, bug: str = "", weather: Weather = Weather()) -> list[str]:
    """Seasons until so many faults have struck; prints the figures and returns the violations."""
    from hubpush.localhub import serve
    from hubpush.localhub.faults import Plan

    chance, plan, begun = random.Random(seed), Plan(), time.monotonic()  # noqa: S311
    struck, needed, violations, seasons, met = Counter[str](), Counter[int](), list[str](), 0, Counter[str]()
    with serve(folder / "hub", plan=plan) as url:
        while struck.total() < faults and len(violations) < (1 if bug else 20):
            season = Season(Wanted(repo_id=f"acme/season-{seasons}", bug=bug))
            work, seasons = folder / f"work-{seasons}", seasons + 1
            for number in range(ROUNDS):
                run = partial(_run, url, work, season, mode)
                where = f"{mode}, seed {seed}, season {seasons}, round {number + 1}"
                did = _before(folder / "hub", season, chance, number)
                found = _under_faults(folder / "hub", plan, run, work, season, chance, struck, met, weather)
                runs, code = 0, None
                while code != 0 and runs < _RUNS:
                    runs, code = runs + 1, run(silence=_SILENCE * 10)
                    found += ended_badly(code, work)
                found += [f"I6: not healed by two runs: {result(work).get('error', code)}"] * (code != 0)
                needed[runs] += 1
                found += _settled(folder / "hub", season)
                violations += [f"{where} ({did}): {one}" for one in found]
                if found or struck.total() >= faults:
                    break
            violations += [f"{where}, at its end: {one}" for one in _idle(folder / "hub", plan, run, work, season)]
            print(f"{mode}, season {seasons}: {struck.total()} faults so far", file=sys.stderr)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(struck.items()))
    print(
        f"{mode}, seed {seed}: {needed.total()} rounds in {seasons} repositories, {time.monotonic() - begun:.0f} s; "
        f"{struck.total()} faults ({kinds}) in {met['requests']} requests; {met['others']} commits of others "
        f"meanwhile; runs to heal: {healed(needed)}; {len(violations)} violations"
    )
    return violations


def _run(url: str, work: Path, season: Season, mode: str, *, silence: float) -> int:
    return publish_apart(url, work, season.wanted, mode, silence=silence)


def _before(hub: Path, season: Season, chance: random.Random, number: int) -> str:
    """Change what is wanted, and let somebody else do something; says what."""
    from hubpush.localhub.store import Store

    wanted, repo_id, mark = season.wanted, season.wanted.repo_id, f"{number}-{chance.randrange(10**6)}"
    season.wanted = wanted = replace(wanted, overwrite=False)
    if number == 0:
        if chance.random() < 0.5:
            return "first release"
        Store(hub).create(repo_id, private=False)
        season.kept.append(somebody_commits(hub, repo_id, {"README.md": b"# By hand\n\nMine.\n", "a.txt": b"theirs\n"}))
        return "first release in a repository that somebody made"
    what = chance.choice(("weights", "weights", "note", "note", "source", "nothing"))
    if what == "weights":
        season.wanted, season.changed = replace(wanted, weights=f"weights {mark}".encode()), "major"
    elif what == "note":
        season.wanted, season.changed = replace(wanted, note=f"Note {mark}."), "patch"
    elif what == "source":
        season.wanted, season.changed = replace(wanted, source=f"source {mark}"), "patch"
    who = chance.choice(
        ("", "adds a file", "writes beside the card", "spoils the card", "spoils a file", "drops a tag")
    )
    if who == "adds a file":
        season.kept.append(somebody_commits(hub, repo_id, {f"others/{mark}.txt": mark.encode()}))
    elif who == "writes beside the card":
        season.kept.append(somebody_writes(hub, repo_id, f"Mine {mark}."))
    elif who == "drops a tag":
        Store(hub).delete_ref(repo_id, "tags", f"v{season.version}")
        del season.tags[f"v{season.version}"]
    elif who:
        spoilt = (
            {"vocab.txt": f"[PAD]\n{mark}\n".encode()} if who == "spoils a file" else spoil_card(hub, repo_id, mark)
        )
        season.kept.append(somebody_commits(hub, repo_id, spoilt))
        season.changed = season.changed or "patch"
        season.wanted = replace(season.wanted, overwrite=True)
    if season.wanted.overwrite:
        season.overwrites.append(season.next_version())
    return f"{what} changed; somebody {who or 'does nothing'}"


def somebody_writes(hub: Path, repo_id: str, text: str) -> str:
    """A person writes a line between two generated parts of the card. Returns the commit.

    Raises:
        HubError: The branch moved in this moment.
    """
    head, card = _card(hub, repo_id)
    place = card.find("<!-- hubpush:end")
    place = card.find("\n", place) + 1 if place >= 0 else len(card)
    changed = f"{card[:place]}\n{text}\n\n{card[place:]}"
    return somebody_commits(hub, repo_id, {"README.md": changed.encode()}, parent=head)


def spoil_card(hub: Path, repo_id: str, text: str) -> dict[str, bytes | None]:
    """The card with a line in a generated part, which is drift."""
    card = _card(hub, repo_id)[1]
    return {"README.md": card.replace("\n<!-- hubpush:end", f"\n{text}\n<!-- hubpush:end", 1).encode()}


def _card(hub: Path, repo_id: str) -> tuple[str, str]:
    repo = laws.read(hub, repo_id)
    head, tree = list(repo.trees.items())[-1] if repo is not None else ("", {})
    return head, repo.blobs[tree["README.md"]].decode() if repo is not None and "README.md" in tree else ""


def _under_faults(
    hub: Path, plan: Plan, run: partial[int], work: Path, season: Season, chance: random.Random,
    struck: Counter[str], met: Counter[str], weather: Weather,
) -> list[str]:  # fmt: skip
    """One run in the storm, with somebody who commits meanwhile; the violations that it leaves."""
    from hubpush.localhub.faults import Fault
    from hubpush.localhub.store import HubError

    def commit(_seen: object) -> None:
        # Nobody can yet where there is no repository; and a person whose page is out of date begins anew, later.
        with suppress(HubError):
            if place < 12:
                done = somebody_commits(hub, season.wanted.repo_id, {f"others/{place}-{plan.seed}.txt": b"in between"})
            else:
                done = somebody_writes(hub, season.wanted.repo_id, f"In between, {plan.seed}.")
            season.kept.append(done)
            met["others"] += 1

    place, plan.seed = chance.randrange(1, 30), chance.randrange(2**32)
    plan.clear()
    names = {}
    each = weather.share / len(weather.kinds)
    for number, kind in enumerate(weather.kinds):
        one = strike(kind, work, path=weather.path, times=None, chance=each / (1 - each * number))
        names[id(one)] = kind
        plan.add(one)
    plan.faults = (Fault(request=place, hook=commit), *plan.faults)
    code = run(silence=_SILENCE)
    seen = list(plan.seen)
    plan.clear()
    met["requests"] += len(seen)
    struck.update(names[id(one.fault)] for one in seen if one.fault is not None and id(one.fault) in names)
    found = ended_badly(code, work)
    return found + laws.violations(
        hub, season.wanted.repo_id, kept=season.kept, tags=season.tags, overwrites=season.overwrites
    )


def _settled(hub: Path, season: Season) -> list[str]:
    """The violations where all ought to be well; the season goes on from there."""
    season.version, season.changed = season.next_version(), ""
    wanted, repo = season.wanted, laws.read(hub, season.wanted.repo_id)
    found = laws.violations(
        hub,
        wanted.repo_id,
        version=season.version,
        files=wanted.files(),
        says=wanted.note,
        kept=season.kept,
        tags=season.tags,
        overwrites=season.overwrites,
    )
    season.tags = dict(repo.tags) if repo is not None else {}
    return found


def _idle(hub: Path, plan: Plan, run: partial[int], work: Path, season: Season) -> list[str]:
    """A run with nothing to do: no commit, no tag, and reads alone."""
    before = laws.read(hub, season.wanted.repo_id)
    plan.clear()
    code = run(silence=_SILENCE * 10)
    after, said = laws.read(hub, season.wanted.repo_id), result(work)
    wrote = [f"{seen.method} {seen.path}" for seen in plan.seen if seen.method not in ("GET", "HEAD")]
    same = before == after and code == 0 and said.get("status") == "unchanged" and not wrote
    return [] if same else [f"P1: a run with nothing to do: {said or code}, {', '.join(wrote) or 'no write'}"]


if __name__ == "__main__":
    sys.exit(main())
