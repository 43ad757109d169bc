"""Three publishers at once on one repository, many times: one wins, and what the others say is true.

They are processes that wait at a barrier with all that they publish in their hands. In every second race they have the
same content; every other pair of races begins with a release that stands there, and in half of all the first answer to
a commit is lost. Beside the laws of `benchmarks.laws`: the same content makes exactly one release commit; of different
contents each is released at most once, and what a publisher was told stands at its own tag; and each ends with
`published`, `unchanged` or an error of hubpush. Afterwards a publisher of what stands there finds nothing to do.

    python -m benchmarks.race [--mode lfs|xet] [--races 50] [--bug NAME]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import laws
from benchmarks.crash import (
    BUGS,
    REFUSED,
    Wanted,
    context,
    ended_badly,
    finish,
    publish_apart,
    quiet,
    result,
    somebody_commits,
    start,
)

if TYPE_CHECKING:
    from hubpush.localhub.faults import Plan

PUBLISHERS = 3
_NOTE = "Now with a note."
_SILENCE = 10.0  # seconds: three publishers share a machine, and nobody is to be slow by its fault


def main() -> int:
    """Run it, print the figures, and return 1 if a law was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mode", choices=("lfs", "xet"), default="lfs")
    parser.add_argument("--races", type=int, default=50)
    parser.add_argument("--bug", choices=BUGS, default="", help="publishers with this mistake, to see it found")
    asked = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        violations = races(Path(folder), asked.mode, asked.races, bug=asked.bug)
    for violation in violations:
        print(f"VIOLATION: {violation}")
    return 1 if violations else 0


def races(folder: Path, mode: str, count: int, *, bug: str = "", begin: int = 0) -> list[str]:
    """So many races, from a number on that decides their kinds; prints the figures and returns the violations."""
    from hubpush.localhub import serve
    from hubpush.localhub.faults import Plan

    plan, begun, ends, violations, released = Plan(), time.monotonic(), Counter[str](), list[str](), Counter[int]()
    with serve(folder / "hub", plan=plan) as url:
        for number in range(begin, begin + count):
            same, fresh, lossy = number % 2 == 0, number // 2 % 2 == 0, number // 4 % 2 == 1
            kind = ", ".join(
                ("same content" if same else "different contents", "first publish" if fresh else "update")
                + ("a commit's answer lost",) * lossy
            )
            found = _race(folder, url, plan, mode, f"acme/race-{number}", bug, ends, released, same, fresh, lossy)
            violations += [f"{mode}, race {number} ({kind}): {one}" for one in found]
    told = ", ".join(f"{many} {what}" for what, many in sorted(ends.items()))
    made = ", ".join(f"{many} made {one}" for one, many in sorted(released.items()))
    print(
        f"{mode}: {count} races of {PUBLISHERS} publishers, {time.monotonic() - begun:.0f} s; they ended with {told}; "
        f"of the races {made} releases; {len(violations)} violations"
    )
    return violations


def _race(
    folder: Path, url: str, plan: Plan, mode: str, repo_id: str, bug: str, ends: Counter[str], released: Counter[int],
    same: bool, fresh: bool, lossy: bool,
) -> list[str]:  # fmt: skip
    from hubpush.localhub.faults import Fault

    hub, home, kept, tags = folder / "hub", folder / repo_id.partition("/")[2], list[str](), dict[str, str]()
    base = Wanted(repo_id=repo_id)
    run = partial(publish_apart, url, home / "alone", mode=mode, silence=_SILENCE)
    plan.clear()
    if not fresh:
        if run(wanted=base) != 0:
            return ["the release before failed without a fault"]
        kept = [somebody_commits(hub, repo_id, {"NOTES.md": b"kept\n"})]
        tags = dict(_read(hub, repo_id).tags)
    # One of different contents differs in its card alone, so that a patch races against major versions.
    wanted = [replace(base, weights=b"weights 2", bug=bug) for _ in range(PUBLISHERS)]
    if not same:
        wanted[1] = replace(wanted[1], weights=b"weights 3")
        wanted[2] = replace(base, note=_NOTE, bug=bug)
    if lossy:
        plan.add(Fault(method="POST", path="/api/models/*/commit/main", action="drop", applied=True))
    homes = [home / str(number) for number in range(PUBLISHERS)]
    gate = context().Barrier(PUBLISHERS)
    processes = [
        start(url, place, one, mode, silence=_SILENCE, gate=gate) for place, one in zip(homes, wanted, strict=True)
    ]
    codes = [finish(process, mode) for process in processes]
    plan.clear()
    found = [one for code, place in zip(codes, homes, strict=True) for one in ended_badly(code, place)]
    found += laws.violations(hub, repo_id, kept=kept, tags=tags)
    releases = _read(hub, repo_id).releases()
    new = releases[0 if fresh else 1 :]
    released[len(new)] += 1
    said = [result(place) for place in homes]
    ends.update(one.get("status") or one.get("error", "killed").partition(":")[0] for one in said)
    if same and len(new) != 1:
        found.append(f"I2: one content makes {len(new)} releases")
    known = [_content(one) for one in wanted]
    for content, times in Counter(_released(one) for one in new).items():
        if content not in known:
            found.append("I6: a release holds what nobody wanted")
        if times > 1:
            found.append(f"I2: one content is released {times} times")
    at = {release.commit: release for release in releases}
    tags = _read(hub, repo_id).tags
    for told, content, code in zip(said, known, codes, strict=True):
        if code == 0:
            stands = at.get(told["commit"])
            if stands is None or stands.version != told["version"] or _released(stands) != content:
                found.append(f"P2: {told['version']} at {told['commit'][:12]} is not what its publisher was told")
            if tags.get(f"v{told['version']}") != told["commit"]:
                found.append(f"I3: {told['version']} was {told['status']}, and its tag is not at its commit")
        elif code == REFUSED and same:
            # Whoever loses finds its own content there.
            found.append(f"I6: one of the same content ended with {told['error']}")
    if new:
        last = _released(new[-1])
        run(wanted=replace(wanted[known.index(last)] if last in known else base, bug=""))
        alone = result(home / "alone")
        if alone.get("status") != "unchanged":
            found.append(f"P1: a publisher of what stands there: {alone}")
        found += laws.violations(hub, repo_id, version=new[-1].version, kept=kept, tags=tags)
    return found


def _read(hub: Path, repo_id: str) -> laws.Repository:
    return laws.read(hub, repo_id) or laws.Repository(hub, {}, {}, {}, {})


def _content(wanted: Wanted) -> tuple[str, str]:
    """What tells the contents of a race apart: the digest of the weights, and the note."""
    with tempfile.TemporaryDirectory() as folder:
        return wanted.candidate(Path(folder)).build.files["model.safetensors"].sha256, wanted.note


def _released(release: laws.Release) -> tuple[str, str]:
    return release.digests()["model.safetensors"], _NOTE if _NOTE in release.card else ""


if __name__ == "__main__":
    sys.exit(main())
