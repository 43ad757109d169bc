"""Families of 10, 100 and 1,000 releases from the catalog to the collection, and what each costs a release.

    python -m benchmarks.scale [--releases 10 100 1000] [--jobs 2] [--only-limits] [--new 400]

Every release is a tiny BERT with weights of its own (0.3 MB), in an archive that a server on this machine sends. The
real command runs in a process of its own for each step, without parity but for a sample, and publishes to an embedded
Hub in the process of this program, which counts the requests. The table has for each step what one release costs:
seconds, CPU seconds of the command and its workers, requests to the Hub; and the peak of the coordinating process.

Then the Hub's limits in simulated time (`limits`): 1,000 requests of the API in five minutes, 128 commits an hour in a
repo, 300 new repos a day. Only the clock is simulated: client, Hub and releases are real.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from huggingface_hub import HfApi

from benchmarks.limits import limits
from hubpush import catalog, job, localhub, manifest, workers
from hubpush.localhub.faults import Plan, Seen
from tests import checkpoints

ORG = "acme"
KINDS = {
    "create": r"POST /api/repos/create",
    "commit": r"POST /api/models/\S+/commit/",
    "preupload": r"POST /api/models/\S+/preupload/",
    "upload": r"(POST|PUT) /\S*(info/lfs|lfs)\b|PUT ",
    "tag": r"POST /api/models/\S+/tag/",
    "refs": r"GET /api/models/\S+/refs",
    "tree": r"GET /api/models/\S+/tree/",
    "rights": r"GET /api/(models/\S+/auth-check|whoami)",
    "collection": r"\S+ /api/collections",
    "file": r"(GET|HEAD) /\S+/resolve/",
}
"""What the requests of a release are for, by method and path; the first that fits."""


def kind(seen: Seen) -> str:
    """What a request was for."""
    asked = f"{seen.method} {seen.path}"
    return next((name for name, pattern in KINDS.items() if re.match(pattern, asked)), "other")


# The family


def make(folder: Path, count: int, url: str) -> Path:
    """Write archives of distinct tiny releases, and the family file and lock that name them at a server.

    Returns:
        The family file.
    """
    (folder / "archives").mkdir(parents=True)
    checkpoints.write_release(folder / "release")
    variables = checkpoints.bert_variables(checkpoints.TINY, checkpoints.HEADS, 0)
    name = "bert/embeddings/word_embeddings"
    releases, pins = [], {}
    for n in range(count):
        own = variables[name].copy()
        own[:, 0] += n / 1024  # weights of its own, so nothing is found again in another repo
        checkpoints.write_checkpoint(folder / "release" / "bert_model.ckpt", {**variables, name: own})
        archive = checkpoints.zip_release(folder / "release", folder / "archives" / f"tiny-{n:05}.zip")
        source = f"{url}/{archive.name}"
        pins[source] = catalog.Pin(size=archive.stat().st_size, sha256=manifest.describe(archive).sha256)
        releases.append(f'[[releases]]\nname = "tiny-{n:05}"\ntitle = "Tiny {n}"\nsource = "{source}"\n')
    family = folder / "tinies.toml"
    head = f'format = 1\nname = "tinies"\ntitle = "{count} tinies"\nsummary = "Small models for measuring."\n\n'
    shared = '[defaults]\nlicense = "apache-2.0"\nlanguage = ["en"]\ncased = false\n\n'
    family.write_text(head + shared + "\n".join(releases), encoding="utf-8")
    catalog.write_lock(family.with_suffix(".lock.json"), catalog.Lock(sources=pins))
    return family


class _Archives(SimpleHTTPRequestHandler):
    """A directory, with the date of each file as its version."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A server of the archives in a directory."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Archives, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


# A step


@dataclass(frozen=True)
class Step:
    """What a command cost.

    Attributes:
        name: What it did.
        releases: Of how many.
        seconds: By the clock.
        cpu: CPU seconds of the command and the processes that it started.
        served: CPU seconds of the embedded Hub and the server of archives.
        peak: Bytes that the coordinating process held at most.
        requests: To the Hub, by kind.
    """

    name: str
    releases: int
    seconds: float
    cpu: float
    served: float
    peak: int
    requests: Mapping[str, int]

    @property
    def asked(self) -> int:
        """Requests of all kinds."""
        return sum(self.requests.values())


_WRAPPED = """
import re, sys
from pathlib import Path
from hubpush import cli
sys.argv[0], note = 'hubpush', sys.argv.pop(1)
try:
    cli.main()
finally:
    peak = re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1]
    heavy = [m for m in ('torch', 'tensorflow', 'transformers') if m in sys.modules]
    Path(note).write_text(f"{int(peak) * 1024} {' '.join(heavy)}")
"""


def step(name: str, plan: Plan, releases: int, *arguments: object) -> Step:
    """Run a command, and measure it.

    Raises:
        RuntimeError: It did not end well, or the coordinating process imported what only workers need.
    """
    plan.clear()
    with tempfile.TemporaryDirectory() as scratch:
        note = Path(scratch, "note")
        environment = {**os.environ, "HF_HOME": scratch, "HF_HUB_DISABLE_TELEMETRY": "1"}
        command = [sys.executable, "-c", _WRAPPED, str(note), *map(str, arguments)]
        start, served = time.perf_counter(), time.process_time()
        with Path(scratch, "out").open("wb") as out, Path(scratch, "err").open("wb") as err:
            child = subprocess.Popen(command, env=environment, stdout=out, stderr=err)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        seconds, served = time.perf_counter() - start, time.process_time() - served
        if child.returncode:
            raise RuntimeError(f"{name} ended with {child.returncode}:\n{Path(scratch, 'err').read_text()[-3000:]}")
        peak, *heavy = note.read_text().split()
    if heavy:
        raise RuntimeError(f"{name}: the coordinating process imported {', '.join(heavy)}")
    requests = Counter(kind(seen) for seen in plan.seen if seen.number is not None)
    found = Step(name, releases, seconds, usage.ru_utime + usage.ru_stime, served, int(peak), requests)
    say(
        f"{releases:>5} {name}: {seconds:.1f} s, {found.asked / releases:.1f} requests a release, {found.peak >> 20} MB"
    )
    return found


def walk(folder: Path, count: int, jobs: int, *, proven: int = 10) -> tuple[list[Step], dict[str, int]]:
    """A family of so many releases through every step; of some, parity is run at the end.

    Returns:
        The steps, and bytes: of a job as it is sent, of a card and a manifest.
    """
    with serving(folder / "archives") as url:
        start = time.perf_counter()
        family = make(folder, count, url)
        say(f"{count:>5} archives made in {time.perf_counter() - start:.0f} s")
        plan = Plan()
        with localhub.serve(folder / "hub", plan=plan) as hub:
            given = ("--family", family, "--org", ORG, "--hub", hub, "--work", folder / "work")
            publish = ("convert-and-upload", *given, "--no-parity", "--jobs", jobs, "--quiet")
            steps = [
                step("catalog", plan, count, "catalog", family, "--quiet"),
                step("matrix", plan, count, "matrix", *given, "--no-parity", "--shards", 256),
                step("publish", plan, count, *publish),
                step("second run", plan, count, *publish),
                step("status", plan, count, "status", *given, "--quiet"),
            ]
            text = family.read_text(encoding="utf-8")
            family.write_text(text.replace("Small models", "Small models, made"), encoding="utf-8")
            saved = folder / "plan.json"
            steps += [
                step("plan of a new card", plan, count, *publish, "--plan", saved),
                step("apply", plan, count, "convert-and-upload", "--apply", saved, *given[4:], "--quiet"),
            ]
            api = HfApi(endpoint=hub, token="embedded")  # noqa: S106 - the embedded Hub's word for anybody
            entries = {one.path: getattr(one, "size", 0) for one in api.list_repo_tree(f"{ORG}/tiny-{count - 1:05}")}
            if proven:
                some = [f"tiny-{n:05}" for n in range(min(count, proven))]
                again = ("convert-and-upload", *given, "--jobs", jobs, "--quiet", *some)
                steps.append(step(f"parity, of {proven}", plan, len(some), *again))
        one = job.of_family(str(family), (), ORG, None, None, None, folder / "work", job.Options())[count - 1]
        sizes = {
            "job": len(workers.specification(one)),
            "card": entries["README.md"],
            "manifest": entries[manifest.NAME],
        }
    return steps, sizes


def table(every: Mapping[int, tuple[list[Step], dict[str, int]]]) -> str:
    """The figures as the README shows them."""
    counts = list(every)
    last = counts[-1]
    lines = [
        f"| a release, in a family of | {' | '.join(f'{n:,}' for n in counts)} | {last:,} : {counts[0]:,} |",
        "|:--|" + "--:|" * (len(counts) + 1),
    ]

    def row(name: str, value: Callable[[Step], float], form: str, unit: str) -> None:
        for number, first in enumerate(every[counts[0]][0]):
            found = [value(every[n][0][number]) for n in counts]
            ratio = f"{found[-1] / found[0]:.2f}" if found[0] else "–"
            lines.append(f"| {first.name}, {name} | {' | '.join(f'{one:{form}} {unit}' for one in found)} | {ratio} |")

    row("time", lambda s: 1000 * s.seconds / s.releases, ",.0f", "ms")
    row("CPU", lambda s: 1000 * s.cpu / s.releases, ",.0f", "ms")
    row("requests to the Hub", lambda s: s.asked / s.releases, ".1f", "")
    for name in ("job", "card", "manifest"):
        found = [every[n][1][name] for n in counts]
        what = {"job": "a job as it is sent", "card": "its card", "manifest": "its manifest"}[name]
        lines.append(f"| {what} | {' | '.join(f'{one:,} B' for one in found)} | {found[-1] / found[0]:.2f} |")
    for number, first in enumerate(every[counts[0]][0]):
        peaks = [every[n][0][number].peak / 1e6 for n in counts]
        lines.append(
            f"| peak of the coordinating process, {first.name} | {' | '.join(f'{one:.0f} MB' for one in peaks)} |"
            f" {peaks[-1] / peaks[0]:.2f} |"
        )
    publish = every[last][0][2]
    kinds = ", ".join(f"{count / last:.2f} {name}" for name, count in publish.requests.items())
    lines += ["", f"Requests of a publish, a release ({last:,}): {kinds}."]
    served = 1000 * publish.served / last
    lines += [f"CPU of the embedded Hub and the archives' server in it: {served:.0f} ms a release."]
    return "\n".join(lines)


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--releases", type=int, nargs="+", default=[10, 100, 1000], metavar="N")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="worker processes")
    parser.add_argument(
        "--new", type=int, default=400, metavar="N", help="releases that meet the Hub's limits; 0 for none"
    )
    parser.add_argument("--only-limits", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args(arguments)
    every: dict[int, tuple[list[Step], dict[str, int]]] = {}
    with ExitStack() as stack:
        for count in () if given.only_limits else sorted(given.releases):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hubpush-scale-")))
            every[count] = walk(folder, count, given.jobs)
        if every:
            print(table(every))
        if given.new:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hubpush-limits-")))
            with serving(folder / "archives") as url:
                print(limits(make(folder, given.new, url), folder, say))
    if given.json is not None:
        plain = {n: {"steps": [vars(s) for s in steps], "sizes": sizes} for n, (steps, sizes) in every.items()}
        given.json.write_text(json.dumps(plain, default=dict, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
