"""Every request of a publish, failed in every way, one at a time: what is left is healed by running again.

The publisher is the real one, in a process of its own that can be killed; the Hub is the embedded one with a fault
plan. After each fault, and again after the runs that heal it, the laws of `benchmarks.laws` must hold.

    python -m benchmarks.crash [--mode lfs|xet|both] [--every N] [--bug NAME]

LFS is the default, since xet takes many times as long: hf_xet runs in a process of its own, and pauses between tries.
A pull request is opened, merged by a person, and tagged by the next run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import laws

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from multiprocessing.synchronize import Barrier

    from hubpush.localhub.faults import Fault, Seen
    from hubpush.planning import Candidate

REPO = "acme/tiny-0"
FAULTS = (
    "kill before", "kill after", "drop", "drop after", "504 after", "500", "429", "stall",
)  # fmt: skip
REFUSED, ENDLESS = 11, -999  # exit codes: an error of hubpush, and a run that was ended from outside
_RUNS = 3  # that may heal
_PATIENT = 10.0  # seconds of silence in a run without faults; a busy machine is none
_PATIENCE = {"lfs": 60, "xet": 300}  # seconds; hf_xet sends again after pauses of its own before it is given up


@dataclass(frozen=True)
class Wanted:
    """What a publisher wants to stand on the Hub, in a form that another process can be given.

    Attributes:
        repo_id: Where.
        weights: The content of the large file, a thousand times.
        note: A fact that only the card shows.
        source: What the digest of the source is made from.
        card_only: Whether no converted files are at hand, as in a run that only renders the card anew.
        overwrite: Whether what somebody changed is put back.
        create_pr: Whether it goes into a pull request.
        bug: A deliberate mistake of the publisher, a key of `BUGS`.
    """

    repo_id: str = REPO
    weights: bytes = b"weights 1"
    note: str = ""
    source: str = "s"
    card_only: bool = False
    overwrite: bool = False
    create_pr: bool = False
    bug: str = ""

    def candidate(self, folder: Path) -> Candidate:
        """What is handed to the publisher; the folder gets the files."""
        from tests import records

        facts = {"note": self.note} if self.note else {}
        made = records.candidate(records.write_folder(folder, self.weights), repo_id=self.repo_id, **facts)
        build = records.build(folder, parity=records.report(), source=self.source)
        return replace(made, build=build, folder=None if self.card_only else folder)

    def files(self) -> dict[str, bytes]:
        """What `main` serves once it is published."""
        from tests import records

        with tempfile.TemporaryDirectory() as folder:
            return {path.name: path.read_bytes() for path in records.write_folder(Path(folder), self.weights).iterdir()}


@dataclass(frozen=True)
class Scenario:
    """A kind of publish: what stands there before, what is wanted, and the version that it ends with.

    A pull request is merged once it is open and whole, and the next run makes its tag: in the end as any other release.
    With `is_merged` that has happened before, and the faults meet the run that makes the tag.
    """

    before: Wanted | None
    wanted: Wanted
    version: str
    is_merged: bool = False


# Each is run once without a fault to count its requests, and then under all faults at each of them.
SCENARIOS = {
    "first": Scenario(None, Wanted(), "1.0.0"),
    "update": Scenario(Wanted(), Wanted(weights=b"weights 2"), "2.0.0"),
    "card": Scenario(Wanted(), Wanted(note="Now with a note.", card_only=True), "1.0.1"),
    "pull request": Scenario(Wanted(), Wanted(weights=b"weights 2", create_pr=True), "2.0.0"),
    "merged": Scenario(Wanted(), Wanted(weights=b"weights 2", create_pr=True), "2.0.0", is_merged=True),
}


def main() -> int:
    """Run it, print the figures, and return 1 if a law was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mode", choices=("lfs", "xet", "both"), default="lfs")
    parser.add_argument("--every", type=int, default=1, help="one case in so many (a short form)")
    parser.add_argument("--bug", choices=BUGS, default="", help="a publisher with this mistake, to see it found")
    asked = parser.parse_args()
    quiet()
    violations = []
    for mode in ("lfs", "xet") if asked.mode == "both" else (asked.mode,):
        with tempfile.TemporaryDirectory() as folder:
            violations += enumerate_faults(Path(folder), mode, asked.every, bug=asked.bug)
    for violation in violations:
        print(f"VIOLATION: {violation}")
    return 1 if violations else 0


def quiet() -> None:
    """Short patience and no log of the client, set before huggingface_hub is imported and inherited by publishers."""
    os.environ |= {"HF_HUB_ETAG_TIMEOUT": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_VERBOSITY": "critical"}
    os.environ |= {"HF_XET_CLIENT_RETRY_BASE_DELAY": "50ms"}


def enumerate_faults(
    folder: Path,
    mode: str,
    every: int = 1,
    *,
    bug: str = "",
    scenarios: Collection[str] = SCENARIOS.keys(),
    faults: Collection[str] = FAULTS,
    path: str = "*",
) -> list[str]:
    """Scenarios under all faults at each request whose path fits; prints the figures and returns the violations."""
    violations, needed, count = [], Counter[int](), 0
    for name in scenarios:
        scenario = SCENARIOS[name]
        scenario = replace(scenario, wanted=replace(scenario.wanted, bug=bug))
        base = folder / name
        kept = _prepare(base, scenario, mode)
        found, _, seen = _case(folder / "case", base, scenario, mode, kept, None, 0)
        violations += [f"{mode}, {name}, without a fault: {one}" for one in found]
        numbers = [one.number for one in seen if one.number is not None and fnmatchcase(one.path, path)]
        for number in numbers:
            for fault in faults:
                count += 1
                if count % every:
                    continue
                found, runs, _ = _case(folder / "case", base, scenario, mode, kept, fault, number)
                needed[runs] += 1
                violations += [f"{mode}, {name}, request {number}, {fault}: {one}" for one in found]
        print(f"{mode}, {name}: {len(numbers)} requests × {len(faults)} faults", file=sys.stderr)
    print(f"{mode}: {needed.total()} faults, {len(violations)} violations; runs to heal: {healed(needed)}")
    return violations


def healed(needed: Mapping[int, int]) -> str:
    """How many cases needed how many runs, in words."""
    return ", ".join(f"{count} in {runs}" for runs, count in sorted(needed.items()))


def _prepare(base: Path, scenario: Scenario, mode: str) -> list[str]:
    """The state before: nothing, or a release and on it a commit of somebody else, which is returned."""
    from hubpush.localhub import serve

    if scenario.before is None:
        (base / "hub").mkdir(parents=True)
        return []
    with serve(base / "hub") as url:
        if publish_apart(url, base, scenario.before, mode, silence=_PATIENT) != 0:
            raise SystemExit("the release before failed without a fault")
        kept = [somebody_commits(base / "hub", REPO, {"NOTES.md": b"kept\n"})]
        if scenario.is_merged:
            if publish_apart(url, base, scenario.wanted, mode, silence=_PATIENT) != 0:
                raise SystemExit("the pull request before failed without a fault")
            if broken := _merge(url, scenario):
                raise SystemExit(", ".join(broken))
    return kept


def _merge(url: str, scenario: Scenario) -> list[str]:
    """A person merges the pull request; what is wrong if there is not exactly one."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=url, token="hf_any")  # noqa: S106
    found = api.get_repo_discussions(REPO, discussion_type="pull_request", discussion_status="open")
    titles = {one.num: one.title for one in found}
    if len(titles) != 1 or not all(title.startswith(f"hubpush v{scenario.version}:") for title in titles.values()):
        return [f"I2: the open pull requests are {titles}, and one of {scenario.version} was wanted"]
    for number in titles:
        api.merge_pull_request(REPO, number)
    return []


def _case(
    work: Path, base: Path, scenario: Scenario, mode: str, kept: list[str], fault: str | None, number: int
) -> tuple[list[str], int, list[Seen]]:
    """Violations of one fault, or of none, how many runs healed it, and the requests of the first run."""
    from hubpush.localhub import serve
    from hubpush.localhub.faults import Plan

    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work)
    plan, found, runs = Plan(), [], 0
    check = partial(laws.violations, work / "hub", scenario.wanted.repo_id, kept=kept)
    with serve(work / "hub", plan=plan) as url:
        if fault is not None:
            plan.add(strike(fault, work, request=number))
        code = publish_apart(url, work, scenario.wanted, mode)
        requests = plan.seen
        found += ended_badly(code, work)
        if fault is not None:
            plan.clear()
            found += check()
            while runs < _RUNS:
                runs += 1
                code = publish_apart(url, work, scenario.wanted, mode, silence=_PATIENT)
                found += ended_badly(code, work)
                if code == 0:
                    break
        found += ["I6: it does not end well without a fault"] * (code != 0)
        if scenario.wanted.create_pr and not scenario.is_merged:
            if scenario.before is not None:
                found += check(version="1.0.0", files=scenario.before.files())  # `main` is as it was
            found += _merge(url, scenario)
            code = publish_apart(url, work, scenario.wanted, mode, silence=_PATIENT)
            found += ["I6: after the merge it does not end well"] * (code != 0)
    wanted = scenario.wanted
    found += check(version=scenario.version, files=wanted.files(), says=wanted.note)
    return found, runs, requests


def somebody_commits(hub: Path, repo_id: str, files: Mapping[str, bytes | None], parent: str = "") -> str:
    """A commit by hand, past hubpush: files with their contents, or None for one that is removed. Returns its id."""
    from hubpush.localhub.store import Change, Store

    changes = [
        Change("file", path, content) if content is not None else Change("deletedFile", path)
        for path, content in files.items()
    ]
    return Store(hub).commit(repo_id, "main", "by hand", changes, parent)


def strike(kind: str, work: Path, **where: Any) -> Fault:
    """A fault of a kind; `work` is where the publisher to be killed works."""
    from hubpush.localhub.faults import Fault

    def kill(_seen: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(int((work / "pid").read_text()), signal.SIGKILL)
        time.sleep(0.05)  # so that the answer finds nobody

    kinds: dict[str, dict[str, Any]] = {
        "kill before": {"hook": kill, "action": "drop"},
        "kill after": {"hook": kill, "action": "drop", "applied": True},
        "drop": {"action": "drop"},
        "drop after": {"action": "drop", "applied": True},
        "504 after": {"action": "status", "status": 504, "applied": True},
        "500": {"action": "status", "status": 500},
        "503": {"action": "status", "status": 503},
        "429": {"action": "status", "status": 429, "headers": {"Retry-After": "1"}},
        "truncate": {"action": "truncate", "bytes": 0},
        "truncate late": {"action": "truncate", "bytes": 60},
        "stall": {"action": "stall"},
        "stall after": {"action": "stall", "applied": True},
    }
    return Fault(**kinds[kind], **where)


# The publisher's process


def publish_apart(url: str, work: Path, wanted: Wanted, mode: str, *, silence: float = 1.0) -> int:
    """Run the publisher in a process of its own; 0, `REFUSED`, `ENDLESS`, or minus a signal."""
    return finish(start(url, work, wanted, mode, silence=silence), mode)


def start(
    url: str, work: Path, wanted: Wanted, mode: str, *, silence: float = 1.0, gate: Barrier | None = None
) -> BaseProcess:
    """Start a publisher; with a gate it waits there with all that it publishes in its hands."""
    work.mkdir(parents=True, exist_ok=True)
    for left in ("result.json", "traceback.txt"):
        (work / left).unlink(missing_ok=True)
    process = context().Process(target=_publisher, args=(url, str(work), wanted, mode, silence, gate))
    process.start()
    return process


def finish(process: BaseProcess, mode: str) -> int:
    """Wait for a publisher, but not for ever; its exit code."""
    process.join(_PATIENCE[mode])
    if process.is_alive():
        process.kill()
        process.join()
        return ENDLESS
    return process.exitcode or 0


def ended_badly(code: int, work: Path) -> list[str]:
    """What is wrong with how a publisher ended: it has to succeed, to say an error of hubpush, or to be killed."""
    if code == ENDLESS:
        return ["P11: it did not end by itself"]
    if code in (0, REFUSED, -signal.SIGKILL):
        return []
    told = work / "traceback.txt"
    return [f"P9: it ended with {code}: {told.read_text().strip().splitlines()[-1] if told.exists() else 'silently'}"]


def result(work: Path) -> dict[str, str]:
    """What the last publisher there said: `status`, `version` and `commit`, or `error`; nothing if it was killed."""
    path = work / "result.json"
    return json.loads(path.read_text()) if path.exists() else {}


def context() -> multiprocessing.context.ForkServerContext:
    """Processes that begin with everything imported."""
    made = multiprocessing.get_context("forkserver")
    client = ("hf_api", "_commit_api", "file_download", "utils.tqdm")
    made.set_forkserver_preload(
        [*(f"huggingface_hub.{name}" for name in client), "hubpush.publish", "benchmarks.preloaded"]
    )
    return made


def _publisher(url: str, folder: str, wanted: Wanted, mode: str, silence: float, gate: Barrier | None) -> None:
    work = Path(folder)
    (work / "pid").write_text(str(os.getpid()))
    os.environ.update(HF_HOME=str(work / "home"), HF_XET_CACHE=str(work / "xet-cache"), NO_PROXY="127.0.0.1")
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - the client tells of every retry
    try:
        said = _publish(url, work, wanted, mode, silence, gate)
    except BaseException:  # noqa: BLE001 - a bug: its words are for the report
        (work / "traceback.txt").write_text(traceback.format_exc())
        os._exit(1)
    (work / "result.json").write_text(json.dumps(said))
    os._exit(REFUSED if "error" in said else 0)


def _publish(url: str, work: Path, wanted: Wanted, mode: str, silence: float, gate: Barrier | None) -> dict[str, str]:
    import huggingface_hub
    from huggingface_hub.utils import _http

    from hubpush import client, publish, rights
    from hubpush.errors import HubpushError

    client.bound(client.Bounds(connect=1, silence=silence, wait=2))  # what a stall costs
    _http.time.sleep = lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.01))  # type: ignore[attr-defined]
    publish.PAUSE = 0.0
    if wanted.bug:
        BUGS[wanted.bug](setattr)
    candidate = wanted.candidate(work / "model")
    api = huggingface_hub.HfApi(endpoint=url, token="hf_any")  # noqa: S106
    if gate is not None:
        gate.wait()
    try:
        done = publish.publish(
            api,
            candidate,
            work / "cache",
            "2026-11-22",
            overwrite=wanted.overwrite,
            author=rights.author(api, wanted.repo_id) if wanted.create_pr else None,
            embedded=mode == "lfs",
        )
    except HubpushError as error:
        return {"error": f"{type(error).__name__}: {error.message}"}
    return {"status": done.status, "version": done.manifest.version, "commit": done.commit}


# Deliberate mistakes of a publisher: each has to be found by every proof. `patch` is setattr, or undoes itself.


def _resends(patch: Callable[[object, str, object], None]) -> None:
    """After an unclear answer the commit is planned anew and sent again, without a look whether it landed."""
    import httpx2
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    send = HfApi.create_commit

    def create_commit(self: HfApi, repo_id: str, operations: list[Any], **given: Any) -> Any:
        try:
            return send(self, repo_id, operations, **given)
        except (HfHubHTTPError, httpx2.TransportError) as error:
            status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response else 500
            if status < 500:
                raise
            heads = {branch.name: branch.target_commit for branch in self.list_repo_refs(repo_id).branches}
            if heads["main"] == given["parent_commit"]:
                return send(self, repo_id, operations, **given)
            again = [one for one in operations if one.path_in_repo != "hubpush.json"]
            manifest = json.loads(next(one.path_or_fileobj for one in operations if one not in again))
            major, minor, patch_number = manifest["version"].split(".")
            version = f"{major}.{minor}.{int(patch_number) + 1}"
            manifest["history"].append({**manifest["history"][-1], "version": version})
            text = json.dumps({**manifest, "version": version}).encode()
            again.append(CommitOperationAdd("hubpush.json", text))
            return send(self, repo_id, again, **{**given, "parent_commit": heads["main"]})

    patch(HfApi, "create_commit", create_commit)


def _moves_tags(patch: Callable[[object, str, object], None]) -> None:
    """The tag of what stands there is deleted and made anew at the head, so that it surely exists."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    from hubpush import publish

    right = publish.publish

    def wrong(api: HfApi, candidate: Candidate, *given: Any, **options: Any) -> object:
        with suppress(HfHubHTTPError, httpx2.HTTPError, OSError, ValueError):
            names = [tag.name for tag in api.list_repo_refs(candidate.repo_id).tags]
            for name in names[-1:]:
                api.delete_tag(candidate.repo_id, tag=name)
                api.create_tag(candidate.repo_id, tag=name, revision="main")
        return right(api, candidate, *given, **options)

    patch(publish, "publish", wrong)


def _hashes_the_card(patch: Callable[[object, str, object], None]) -> None:
    """README.md is part of the identity: it shows float32 differences, which are others in every run."""
    from hubpush import manifest, planning

    right, runs = planning.Candidate.inputs, {}

    def inputs(self: Candidate) -> manifest.Inputs:
        # A run has one release in its hands; the time stands for what its README.md has of its own.
        _, run = runs.setdefault(id(self.release), (self.release, time.time_ns()))
        found = right(self)
        return manifest.Inputs(weights=found.weights, card=manifest.digest([found.card, run]))

    patch(planning.Candidate, "inputs", inputs)


BUGS: dict[str, Callable[[Callable[[object, str, object], None]], None]] = {
    "resends": _resends,
    "moves tags": _moves_tags,
    "hashes the card": _hashes_the_card,
}


if __name__ == "__main__":
    sys.exit(main())
