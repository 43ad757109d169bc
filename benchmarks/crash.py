"""Every request of a publish, failed in every way, one at a time: what is left is healed by running again.

The publisher is the real one, in a process of its own that can be killed; the Hub is the embedded one with a fault
plan.
After each fault, and again after the runs that heal it, the repository itself is read with git:

* I1 every release commit serves the files of its manifest at their digests,
* I2 there is one release commit a version,
* I3 one tag a version, at that commit,
* I4 no tag points at an incomplete tree,
* I5 what others committed is still there,
* I6 a run without faults ends with what was to be published.

    python -m benchmarks.crash [--mode lfs|xet|both] [--every N]

Through xet a stalled upload is not bounded yet, which this shows; LFS is the default.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

REPO = "acme/tiny-0"
FAULTS = (
    "kill before", "kill after", "drop", "drop after", "504 after", "500", "429", "stall",
)  # fmt: skip
SCENARIOS = ("first", "update", "card")
_RUNS, _PATIENCE = 3, 60  # runs that may heal, and seconds that one may take
_ENDLESS = -999  # the exit code of one that took longer


def main() -> int:
    """Run it, print the figures, and return 1 if an invariant was violated."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mode", choices=("lfs", "xet", "both"), default="lfs")
    parser.add_argument("--every", type=int, default=1, help="one case in so many (a short form)")
    asked = parser.parse_args()
    # Read when huggingface_hub is imported: by the process that publishers are forked from.
    os.environ |= {"HF_HUB_ETAG_TIMEOUT": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_VERBOSITY": "critical"}
    violations = []
    for mode in ("lfs", "xet") if asked.mode == "both" else (asked.mode,):
        with tempfile.TemporaryDirectory() as folder:
            violations += enumerate_faults(Path(folder), mode, asked.every)
    for violation in violations:
        print(f"VIOLATION: {violation}")
    return 1 if violations else 0


def enumerate_faults(folder: Path, mode: str, every: int = 1) -> list[str]:
    """All scenarios under all faults; prints the figures and returns the violations."""
    violations, needed, count = [], Counter[int](), 0
    for scenario in SCENARIOS:
        base = folder / scenario
        _prepare(base, scenario, mode)
        total = _case(folder / "case", base, scenario, mode, None, 0)[1]
        for number in range(1, total + 1):
            for fault in FAULTS:
                count += 1
                if count % every:
                    continue
                found, runs = _case(folder / "case", base, scenario, mode, fault, number)
                needed[runs] += 1
                violations += [f"{mode}, {scenario}, request {number}, {fault}: {one}" for one in found]
        print(f"{mode}, {scenario}: {total} requests × {len(FAULTS)} faults", file=sys.stderr)
    healed = ", ".join(f"{count} in {runs}" for runs, count in sorted(needed.items()))
    print(f"{mode}: {needed.total()} faults, {len(violations)} violations; runs to heal: {healed}")
    return violations


def _prepare(base: Path, scenario: str, mode: str) -> None:
    """The state before: nothing, or a release with a file beside it that somebody else committed."""
    from hubpush.localhub import serve

    if scenario == "first":
        (base / "hub").mkdir(parents=True)
        return
    with serve(base / "hub") as url:
        if _publish(url, base, "first", mode) != 0:
            raise SystemExit("the first release failed without a fault")
        from hubpush.localhub.store import Change, Store

        Store(base / "hub").commit(REPO, "main", "by hand", [Change("file", "NOTES.md", b"kept\n")], "")


def _case(work: Path, base: Path, scenario: str, mode: str, fault: str | None, number: int) -> tuple[list[str], int]:
    """Violations of one fault, and how many runs healed it; without a fault, how many requests a run has."""
    from hubpush.localhub import serve
    from hubpush.localhub.faults import Plan

    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work)
    plan, found = Plan(), []
    with serve(work / "hub", plan=plan) as url:
        if fault is not None:
            plan.add(_fault(fault, number, work))
        code = _publish(url, work, scenario, mode)
        if fault is None:
            if code:
                raise SystemExit(f"{scenario} failed without a fault")
            return list(_violations(work / "hub", scenario, end=True)), sum(
                seen.number is not None for seen in plan.seen
            )
        plan.clear()
        found += [f"P11: not ended after {_PATIENCE} s"] * (code == _ENDLESS)
        found += _violations(work / "hub", scenario, end=False)
        runs = 0
        while runs < _RUNS:
            runs += 1
            if _publish(url, work, scenario, mode) == 0:
                break
    return [*found, *_violations(work / "hub", scenario, end=True)], runs


def _fault(fault: str, number: int, work: Path) -> object:
    from hubpush.localhub.faults import Fault

    def kill(_seen: object) -> None:
        os.kill(int((work / "pid").read_text()), signal.SIGKILL)
        time.sleep(0.05)  # so that the answer finds nobody

    one = partial(Fault, request=number)
    return {
        "kill before": one(hook=kill, action="drop"),
        "kill after": one(hook=kill, action="drop", applied=True),
        "drop": one(action="drop"),
        "drop after": one(action="drop", applied=True),
        "504 after": one(action="status", status=504, applied=True),
        "500": one(action="status", status=500),
        "429": one(action="status", status=429, headers={"Retry-After": "1"}),
        "stall": one(action="stall"),
    }[fault]


# The publisher's process


def _publish(url: str, work: Path, scenario: str, mode: str) -> int:
    """Run the publisher in a process of its own; its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["huggingface_hub.hf_api", "hubpush.publish", "tests.records"])
    process = context.Process(target=_publisher, args=(url, str(work), scenario, mode))
    process.start()
    process.join(_PATIENCE)
    if process.is_alive():
        process.kill()
        process.join()
        return _ENDLESS
    return process.exitcode or 0


def _publisher(url: str, folder: str, scenario: str, mode: str) -> None:
    work = Path(folder)
    (work / "pid").write_text(str(os.getpid()))
    os.environ.update(HF_HOME=str(work / "home"), HF_XET_CACHE=str(work / "xet-cache"), NO_PROXY="127.0.0.1")
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - the client tells of every retry
    import huggingface_hub
    from huggingface_hub.utils import _http

    from hubpush import client, publish
    from hubpush.errors import HubpushError

    client.bound(client.Bounds(connect=1, silence=1, wait=2))  # what a stall costs
    _http.time.sleep = lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.01))  # type: ignore[attr-defined]
    publish._PAUSE = 0.0
    try:
        publish.publish(
            huggingface_hub.HfApi(endpoint=url, token="hf_any"),  # noqa: S106
            _candidate(work, scenario),
            work / "cache",
            "2026-11-22",
            embedded=mode == "lfs",
        )
    except HubpushError:
        os._exit(1)
    os._exit(0)


def _candidate(work: Path, scenario: str):  # type: ignore[no-untyped-def]
    from tests import records

    made = records.candidate(
        records.write_folder(work / "model", b"weights 2" if scenario == "update" else b"weights 1")
    )
    if scenario != "card":
        return made
    return replace(made, release=made.release.model_copy(update={"note": "Now with a note."}), folder=None)


# What stands in the repository, read with git


def _violations(hub: Path, scenario: str, *, end: bool) -> Iterator[str]:
    repo = hub / "models" / f"{REPO}.git"
    if not repo.exists():
        if end:
            yield "I6: there is no repository"
        return
    tags = dict(
        line.split()[::-1]
        for line in _git(repo, "for-each-ref", "--format=%(objectname) %(refname:strip=2)", "refs/tags").splitlines()
    )
    tags = {name: _git(repo, "rev-parse", f"{sha}^{{commit}}").strip() for name, sha in tags.items()}
    versions: dict[str, list[str]] = {}
    before = None
    for commit in _git(repo, "rev-list", "--reverse", "main").split():
        files = _tree(repo, commit)
        text = _git(repo, "show", f"{commit}:hubpush.json") if "hubpush.json" in files else ""
        if not text or text == before:
            continue
        before, manifest = text, json.loads(text)
        versions.setdefault(manifest["version"], []).append(commit)
        wrong = [path for path, file in manifest["files"].items() if not _stands(repo, files.get(path), file)]
        if wrong:
            yield f"I1: {manifest['version']} lacks {', '.join(wrong)}"
            if commit in tags.values():
                yield f"I4: a tag points at the incomplete {manifest['version']}"
    for version, commits in versions.items():
        if len(commits) > 1:
            yield f"I2: {len(commits)} commits of {version}"
        if tags.get(f"v{version}", commits[0]) != commits[0]:
            yield f"I3: the tag v{version} is not at its commit"
        if end and f"v{version}" not in tags:
            yield f"I3: {version} has no tag"
    for tag in tags.keys() - {f"v{version}" for version in versions}:
        yield f"I3: a tag {tag} without a release"
    if scenario != "first" and "NOTES.md" not in _tree(repo, "main"):
        yield "I5: what somebody else committed is gone"
    wanted = {"first": "1.0.0", "update": "2.0.0", "card": "1.0.1"}[scenario]
    if end and list(versions)[-1:] != [wanted]:
        yield f"I6: the last release is {list(versions)[-1:]}, not {wanted}"


def _tree(repo: Path, commit: str) -> dict[str, str]:
    lines = _git(repo, "ls-tree", "-r", commit).splitlines()
    return {path: head.split()[2] for head, _, path in (line.partition("\t") for line in lines)}


def _stands(repo: Path, blob: str | None, file: dict[str, str]) -> bool:
    if blob is None:
        return False
    if blob == file.get("git_oid"):
        return True
    digest = _git(repo, "cat-file", "blob", blob).partition("oid sha256:")[2][:64]
    lfs = repo.parents[2] / "lfs" / digest[:2] / digest[2:4] / digest
    return digest == file["sha256"] and lfs.exists()


def _git(repo: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(repo), *arguments], capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    sys.exit(main())
