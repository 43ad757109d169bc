"""What hubpush costs, beside its peers and beside the floor: copying the bytes, and running the forward passes.

    python -m benchmarks.speed [LINE ...] [--runs 5] [--tiny] [--stand-ins build/stand-in] [--place build/bench]
    python -m benchmarks.speed --table [--markdown]

Lines: convert, large, archive, startup, release, push, parity; without any, all of them. In a line everybody is run
once a round, in alternating order, as people run it: in a process of its own, from start to end. Before each command
the outputs of the last one are removed and the disk is made to write what waits, so that nobody pays for another's
pages; what is read is in memory. Times are medians, memory is the largest of all runs.

CPU time and memory are what the kernel says when it gives a process back (`wait4`). The CPU time has all its children
in it, the memory is that of the largest process among them, and not their sum: it matters to `release` alone, where
there are several. None is shown below this program's own, some 25 MB, which a new process begins with. Peers are told
the same as hubpush: no xet, which is slower on one machine, and no look for updates.

Results are merged into PLACE/results.json line by line; `--table` prints all that are there. `--tiny` takes two
stand-ins an eighth as wide and the peers that are there already: it shows that this works, and says nothing of speed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from benchmarks import peers

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
HUBPUSH, COPY = BIN / "hubpush", ("cp", "-r", "--reflink=never")
CLI, LOADER = f"transformers-cli {peers.CLI}, one by one", f"{peers.LOADER}'s loader, one process"
LOOP = (
    'cli=$1 out=$2; shift 2; for dir in "$@"; do'
    ' "$cli" convert --model_type bert --tf_checkpoint "$dir/bert_model.ckpt"'
    ' --config "$dir/bert_config.json" --pytorch_dump_output "$out/$(basename "$dir").bin" || exit; done'
)
UNZIP = 'out=$1; shift; for zip in "$@"; do unzip -q "$zip" -d "$out/$(basename "$zip" .zip)" || exit; done'
UPLOAD = 'for folder in "$@"; do hf upload "demo/$(basename "$folder")" "$folder" . || exit; done'
BARE = """import rich.console
import rich.table
import typer

app = typer.Typer(rich_markup_mode=None)


@app.command()
def main(name: str = "world") -> None:
    rich.console.Console().print(name)


app()
"""
FEW = ("--tiny", "--only", "*-L-2_H-128_*", "*-L-2_H-256_*")
PARTS = ("unzip -q", "passes", "hf upload")
"""Of the floor of a release."""
_LARGE = """
import sys
from pathlib import Path
from tests import checkpoints

layers, hidden, vocabulary, positions = map(int, sys.argv[2:])
sizes = {"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": hidden // 64,
         "intermediate_size": 4 * hidden, "vocab_size": vocabulary, "max_position_embeddings": positions}
checkpoints.write_release(Path(sys.argv[1]), config={**checkpoints.TINY, **sizes})
"""


@dataclass(frozen=True)
class Cost:
    """What a command cost: seconds of wall time, seconds of CPU time, MB of memory at most."""

    wall: float
    cpu: float = 0.0
    peak: float = 0.0


Samples = dict[str, list[Cost]]
"""Costs of each round, by what was run."""

Run = Callable[[Path], Cost]
"""Runs something that writes below the empty directory it gets."""

Contenders = Mapping[str, Run]
"""What is run in a round, by its name."""


@dataclass(frozen=True)
class Row:
    """A row of the table: what is compared in a line, and what has to come out.

    Attributes:
        line: The line that measures it.
        what: What is done; `{n}` is the number of models.
        ours: The name of what we ran.
        theirs: The name of what it is compared with, if with anything.
        unit: `s` is wall time, `CPU s` CPU time, `MB` memory.
        faster: How many times theirs must be of ours.
        within: How many times ours may be of theirs.
        most: What ours may be by itself; where both are given, one is enough.
    """

    line: str
    what: str
    ours: str
    theirs: str | None = None
    unit: str = "s"
    faster: float | None = None
    within: float | None = None
    most: float | None = None


ROWS = (
    Row("convert", "{n} directories", "hubpush", CLI, faster=20),
    Row("convert", "{n} directories", "hubpush", LOADER, faster=5),
    Row("convert", "{n} directories", "hubpush", "cp -r", within=2.5),
    Row("convert", "the largest of them", "hubpush, one", "cp -r, one", within=3.5),
    Row("convert", "memory for {n}", "hubpush", unit="MB", most=150),
    Row("convert", "memory for the largest", "hubpush, one", unit="MB", most=150),
    Row("convert", "memory for {n}", "hubpush", CLI, unit="MB"),
    Row("convert", "memory for {n}", "hubpush", LOADER, unit="MB"),
    Row("large", "a BERT-large", "hubpush", "cp -r"),
    Row("large", "memory for it", "hubpush", unit="MB", most=150),
    Row("archive", "{n} zips", "hubpush", "unzip -q", within=1.2),
    Row("archive", "{n} zips", "hubpush", f"unzip -q + {CLI}", faster=6),
    Row("archive", "memory for {n} zips", "hubpush", unit="MB"),
    Row("startup", "hubpush --help", "hubpush --help", "bare Typer --help", unit="CPU s", within=1.5, most=0.25),
    Row("startup", "hubpush catalog", "hubpush catalog", "bare Typer", unit="CPU s", within=1.5, most=0.35),
    Row("startup", "nothing to do for {n} releases", "convert-and-upload, no change", unit="CPU s", most=3),
    Row("release", "{n} releases", "hubpush", "floor: unzip + passes + hf upload", within=2),
    Row("release", "{n} releases", "hubpush", "half the floor, as if on two cores"),
    Row("release", "{n} releases, one round of it by hand", "hubpush", "scripts by hand"),
    *(Row("release", f"of the floor: {part}", part) for part in PARTS),
    *(
        Row("release", f"station {name}, summed", f"station {name}")
        for name in ("fetch", "unpack", "convert", "parity", "card", "push")
    ),
    Row("push", "the largest folder", "hubpush, station push", "hf upload", within=1),
    Row("push", "starting hf, for information", "hf version"),
    Row("push", "hubpush's whole command, for information", "convert-and-upload"),
    Row("parity", "the largest miniature", "hubpush, one", "passes, one", within=2),
    Row("parity", "memory beyond imports", "hubpush, one", "float64 bytes, one", unit="MB", within=4),
    Row("parity", "a BERT-large", "hubpush, large", "passes, large", within=2),
    Row("parity", "memory beyond imports", "hubpush, large", "float64 bytes, large", unit="MB", within=4),
)


@dataclass(frozen=True)
class Bench:
    """Where it is run, and on what.

    Attributes:
        place: The directory that everything is written below.
        stand_ins: The archives with their family file and its lock.
        peers: The directory that has the peers' venvs.
        runs: Rounds.
        slow_runs: Rounds that 4.47.1's converter takes part in: it needs minutes for each.
        tiny: Whether shapes are an eighth as wide, and peers that are not installed are left out.
    """

    place: Path
    stand_ins: Path
    peers: Path
    runs: int
    slow_runs: int
    tiny: bool

    @property
    def family(self) -> Path:
        """The family file of the archives."""
        return self.stand_ins / "stand-in.toml"

    @property
    def archives(self) -> list[Path]:
        """The zips, in the order of the family."""
        releases = tomllib.loads(self.family.read_text(encoding="utf-8"))["releases"]
        return [self.stand_ins / release["source"] for release in releases]

    @property
    def largest(self) -> Path:
        """The directory of the largest checkpoint: of the stand-ins at true shapes it is L-12_H-768."""
        return self.place / "dirs" / max(self.archives, key=lambda path: path.stat().st_size).stem

    def has(self, release: str) -> bool:
        """Whether a peer takes part; it is installed for that if need be."""
        return peers.is_whole(self.peers, release) if self.tiny else peers.install(self.peers, release).exists()

    def peer(self, release: str, program: str) -> Path:
        """A program of a peer's venv."""
        return peers.venv(self.peers, release) / "bin" / program


Measured = tuple[Samples, list[str]]
"""What a line gives: costs, and in words what was checked of the outputs."""


def directories(bench: Bench) -> list[Path]:
    """The checkpoints' directories, unpacked where they are not there yet, and read once so that they are in memory."""
    found = [bench.place / "dirs" / archive.stem for archive in bench.archives]
    for archive, directory in zip(bench.archives, found, strict=True):
        if not directory.is_dir():
            part = directory.with_name("part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            subprocess.run(["unzip", "-q", archive, "-d", part], check=True)
            part.replace(directory)
    shutil.copyfile(bench.family, bench.place / "dirs.toml")  # without its lock, which pins the archives
    _warm(path for directory in found for path in directory.iterdir())
    return found


def models(bench: Bench, checkpoints: Sequence[Path]) -> Path:
    """A directory with the model folder of each checkpoint, made anew."""
    made = bench.place / "models"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    for directory in checkpoints:
        timed(bench, HUBPUSH, "convert", directory, made / directory.name, "--uncased", "-q")
        _warm((made / directory.name).iterdir())
    return made


def large(bench: Bench) -> Path:
    """The checkpoint of a BERT-large; made where it is not there yet, in a process of its own."""
    directory = bench.place / "large"
    if not directory.is_dir():
        part = directory.with_name("part")
        shutil.rmtree(part, ignore_errors=True)
        sizes = ("3", "128", "1237", "64") if bench.tiny else ("24", "1024", "30522", "512")
        subprocess.run([sys.executable, "-c", _LARGE, part, *sizes], cwd=ROOT, check=True)
        part.replace(directory)
    _warm(directory.iterdir())
    return directory


def of_directories(bench: Bench, _: Mapping[str, Samples]) -> Measured:
    """`convert`: checkpoints' directories to model folders."""
    found, digests, kept, one = directories(bench), dict[str, dict[str, str]](), bench.place / "kept", bench.largest
    kept.mkdir(exist_ok=True)

    def ours(out: Path) -> Cost:
        family = ("--family", bench.place / "dirs.toml")
        cost = timed(bench, HUBPUSH, "convert", bench.place / "dirs", out / "all", *family, "-q")
        digests["hubpush"] = _recorded(out / "all")
        return cost

    def cli(out: Path) -> Cost:
        cost = timed(bench, "bash", "-c", LOOP, "loop", bench.peer(peers.CLI, "transformers-cli"), out, *found)
        shutil.move(out / f"{found[0].name}.bin", kept / "pytorch_model.bin")
        return cost

    def loader(out: Path) -> Cost:
        cost = timed(bench, bench.peer(peers.LOADER, "python"), "-m", "benchmarks.peers", "load", out, *found)
        digests[LOADER] = {name.name: _digest(name / "model.safetensors") for name in out.iterdir()}
        return cost

    contenders: dict[str, Run] = {
        "hubpush": ours,
        "cp -r": lambda out: timed(bench, *COPY, *found, out),
        "hubpush, one": lambda out: timed(bench, HUBPUSH, "convert", one, out / "one", "-q"),
        "cp -r, one": lambda out: timed(bench, *COPY, one, out),
    }
    contenders |= {LOADER: loader} if bench.has(peers.LOADER) else {}
    contenders |= {CLI: cli} if bench.has(peers.CLI) else {}
    samples = rounds(bench, contenders)

    checked = [f"sha256 in hubpush.json is that of the file, for all files of {len(found)} folders"]
    if LOADER in samples:
        _require(digests["hubpush"] == digests[LOADER], f"weights differ from {peers.LOADER}'s")
        checked.append(f"{len(found)} model.safetensors are byte for byte {peers.LOADER}'s")
    if CLI in samples and LOADER in samples:
        weights = models(bench, found[:1]) / found[0].name / "model.safetensors"
        files = (kept / "pytorch_model.bin", weights)
        timed(bench, bench.peer(peers.LOADER, "python"), "-m", "benchmarks.peers", "equal", *files)
        checked.append(f"tensors of {found[0].name} are bit for bit {peers.CLI}'s")
    shutil.rmtree(kept)
    return samples, checked


def of_large(bench: Bench, _: Mapping[str, Samples]) -> Measured:
    """`large`: one checkpoint of BERT-large's size."""
    directory, digests = large(bench), dict[str, str]()

    def ours(out: Path) -> Cost:
        cost = timed(bench, HUBPUSH, "convert", directory, out / "one", "--uncased", "-q")
        digests.update(_recorded(out))
        return cost

    samples = rounds(bench, {"hubpush": ours, "cp -r": lambda out: timed(bench, *COPY, directory, out)})
    return samples, [f"sha256 in hubpush.json is that of the file, for all files of {len(digests)} folder"]


def of_archives(bench: Bench, earlier: Mapping[str, Samples]) -> Measured:
    """`archive`: zips to model folders. What the converter costs is taken from `convert`, if that was run just now."""
    _warm(bench.archives)

    def ours(out: Path) -> Cost:
        cost = timed(bench, HUBPUSH, "convert", bench.stand_ins, out / "all", "--family", bench.family, "-q")
        _recorded(out / "all")
        return cost

    contenders: dict[str, Run] = {
        "hubpush": ours,
        "unzip -q": lambda out: timed(bench, "bash", "-c", UNZIP, "unzip", out, *bench.archives),
    }
    by_cli = earlier.get("convert", {}).get(CLI, [])
    if not by_cli and bench.has(peers.CLI):
        loop, found = (LOOP, "loop", bench.peer(peers.CLI, "transformers-cli")), directories(bench)
        contenders[CLI] = lambda out: timed(bench, "bash", "-c", *loop, out, *found)
    samples = rounds(bench, contenders)
    if by_cli := samples.pop(CLI, by_cli):
        samples[f"unzip -q + {CLI}"] = list(map(_sum, zip(samples["unzip -q"], by_cli, strict=False)))
    return samples, [f"sha256 in hubpush.json is that of the file, for all files of {len(bench.archives)} folders"]


def of_starts(bench: Bench, _: Mapping[str, Samples]) -> Measured:
    """`startup`: CPU time of commands that do next to nothing."""
    bare = bench.place / "bare.py"
    bare.write_text(BARE, encoding="utf-8")
    contenders: Contenders = {
        "hubpush --help": lambda _: timed(bench, HUBPUSH, "--help"),
        "hubpush catalog": lambda _: timed(bench, HUBPUSH, "catalog"),
        "bare Typer --help": lambda _: timed(bench, sys.executable, bare, "--help"),
        "bare Typer": lambda _: timed(bench, sys.executable, bare),
    }
    samples = rounds(bench, contenders, bench.runs if bench.tiny else 3 * bench.runs, warm=not bench.tiny)
    tiny = bench.stand_ins if bench.tiny else bench.place / "tiny-stand-in"
    _stand_ins(tiny, "--tiny")
    hub, work = bench.place / "no-change-hub", bench.place / "no-change-work"
    for old in (hub, work):
        shutil.rmtree(old, ignore_errors=True)
    with serving(bench, hub) as url:
        family = ("--family", tiny / "stand-in.toml", "--org", "demo", "--hub", url, "--work", work)
        again = (HUBPUSH, "convert-and-upload", *family, "--no-parity", "--json")
        timed(bench, *again)
        samples |= rounds(bench, {"convert-and-upload, no change": lambda _: timed(bench, *again)})
    _require({one["status"] for one in _printed(bench)["releases"]} == {"unchanged"}, "a second run changed something")
    return samples, ["the second run left every release as it was"]


def of_releases(bench: Bench, _: Mapping[str, Samples]) -> Measured:
    """`release`: the whole way, from a mirror on this machine to an embedded Hub, with proof."""
    found = directories(bench)
    made, names = models(bench, found), [directory.name for directory in found]
    _warm(bench.archives)
    stations: list[dict[str, float]] = []

    def ours(out: Path) -> Cost:
        with mirror(bench) as url:
            family = ("--family", bench.family, "--source", url, "--org", "demo", "--hub", out / "hub")
            told = ("--work", out / "work", "--jobs", "2", "--json")
            cost = timed(bench, HUBPUSH, "convert-and-upload", *family, *told)
        stations.append(_stations(bench))
        became = {(one["status"], one["parity"]["verdict"]) for one in _printed(bench)["releases"]}
        _require(became == {("published", "pass")}, f"releases are {became}")
        return cost

    def upload(out: Path) -> Cost:
        with serving(bench, out / "hub") as url:
            return timed(bench, "bash", "-c", UPLOAD, "upload", *(made / name for name in names), HF_ENDPOINT=url)

    def by_hand(out: Path) -> Cost:
        with mirror(bench) as url, serving(bench, out / "hub") as hub:
            places = {"PEER": str(peers.venv(bench.peers, peers.CLI)), "KERAS_2": str(peers.keras_2(bench.peers))}
            script = ROOT / "benchmarks/by_hand/release.sh"
            return timed(bench, "bash", script, url, out / "work", "demo", *names, HF_ENDPOINT=hub, **places)

    contenders: Contenders = {
        "hubpush": ours,
        "unzip -q": lambda out: timed(bench, "bash", "-c", UNZIP, "unzip", out, *bench.archives),
        "passes": lambda _: timed(bench, sys.executable, "-m", "benchmarks.peers", "passes", made, *found),
        "hf upload": upload,
    }
    samples = rounds(bench, contenders)
    floor = list(map(_sum, zip(*(samples[part] for part in PARTS), strict=True)))
    samples["floor: unzip + passes + hf upload"] = floor
    samples["half the floor, as if on two cores"] = [Cost(one.wall / 2, one.cpu, one.peak) for one in floor]
    samples |= {f"station {name}": [Cost(one[name]) for one in stations] for name in stations[0]}
    if bench.has(peers.CLI):
        samples |= rounds(bench, {"scripts by hand": by_hand}, 1)
    return samples, [f"{len(found)} releases published each time, each with a parity that passed"]


def of_pushes(bench: Bench, _: Mapping[str, Samples]) -> Measured:
    """`push`: one large folder to an embedded Hub that does not know it."""
    directories(bench)
    source, whole = bench.largest, list[Cost]()
    folder, repo = models(bench, [source]) / source.name, f"demo/{source.name}"

    def ours(out: Path) -> Cost:
        with serving(bench, out / "hub") as url:
            what = ("--source", source, "--repo-id", repo, "--license", "apache-2.0", "--uncased", "--no-parity")
            where = ("--hub", url, "--work", out / "work", "--jobs", "1", "--json")
            whole.append(timed(bench, HUBPUSH, "convert-and-upload", *what, *where))
        return Cost(_stations(bench)["push"])

    def theirs(out: Path) -> Cost:
        with serving(bench, out / "hub") as url:
            return timed(bench, "hf", "upload", repo, folder, ".", HF_ENDPOINT=url)

    contenders: Contenders = {
        "hubpush, station push": ours,
        "hf upload": theirs,
        "hf version": lambda _: timed(bench, "hf", "version"),
    }
    return rounds(bench, contenders) | {"convert-and-upload": whole}, []


def of_proofs(bench: Bench, _: Mapping[str, Samples]) -> Measured:
    """`parity`: the comparison, beside the forward passes that it consists of; both after imports."""
    directories(bench)
    samples: Samples = {}
    for name, directory in (("one", bench.largest), ("large", large(bench))):
        made = models(bench, [directory])

        def run(program: str, made: Path = made, directory: Path = directory) -> Cost:
            cost = timed(bench, sys.executable, "-m", "benchmarks.peers", program, made, directory)
            told = _printed(bench)
            return Cost(told["seconds"], cost.cpu, told["peak"] - told["imports"])

        programs = {f"hubpush, {name}": "measure", f"passes, {name}": "passes"}
        samples |= rounds(bench, {one: lambda _, run=run, what=what: run(what) for one, what in programs.items()})
        recorded = json.loads((made / directory.name / "hubpush.json").read_text(encoding="utf-8"))
        samples[f"float64 bytes, {name}"] = [Cost(0.0, 0.0, recorded["build"]["model"]["parameters"] * 8 / 1e6)]
    return samples, ["both models passed each time"]


LINES: Mapping[str, Callable[[Bench, Mapping[str, Samples]], Measured]] = {
    "convert": of_directories,
    "large": of_large,
    "archive": of_archives,
    "startup": of_starts,
    "release": of_releases,
    "push": of_pushes,
    "parity": of_proofs,
}


def rounds(bench: Bench, contenders: Contenders, runs: int | None = None, *, warm: bool = False) -> Samples:
    """Run everybody once a round, in alternating order, each into an empty directory; `warm` adds a round before."""
    samples: Samples = {name: [] for name in contenders}
    out = bench.place / "out"
    for number in range(-1 if warm else 0, bench.runs if runs is None else runs):
        for name in list(contenders)[:: 1 if number % 2 == 0 else -1]:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            if name == CLI and number >= bench.slow_runs:
                continue
            cost = contenders[name](out)
            if number >= 0:
                samples[name].append(cost)
                _say(f"  {name}: {cost.wall:.2f} s, CPU {cost.cpu:.2f} s, {cost.peak:.0f} MB")
    shutil.rmtree(out, ignore_errors=True)
    return samples


def timed(bench: Bench, *command: object, **variables: str) -> Cost:
    """Run a command from its start to its end; what it prints is in PLACE/stdout until the next one.

    Raises:
        SystemExit: It failed.
    """
    words = list(map(str, command))
    stdout, stderr = bench.place / "stdout", bench.place / "stderr"
    if not bench.tiny:
        os.sync()
    with stdout.open("wb") as out, stderr.open("wb") as err:
        start = time.perf_counter()
        process = subprocess.Popen(words, cwd=ROOT, env=_environment(bench) | variables, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        end = "\n".join(stderr.read_text(errors="replace").splitlines()[-15:])
        raise SystemExit(f"{' '.join(words[:4])} … ended with {process.returncode}:\n{end}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)


def _environment(bench: Bench) -> dict[str, str]:
    """What all commands are told alike: scratch and caches on the file system that is measured."""
    own = {"TMPDIR": "tmp", "HF_HOME": "hf-home", "HUBPUSH_WORK": "work"}
    for folder in own.values():
        (bench.place / folder).mkdir(exist_ok=True)
    # What Python was told about its bytecode would make every start of everybody compile again.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {
        **outside,
        **{name: str(bench.place / folder) for name, folder in own.items()},
        **dict.fromkeys(("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_UPDATE_CHECK"), "1"),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
        "HF_TOKEN": "embedded",
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
    }


@contextmanager
def _server(bench: Bench, command: Sequence[object], pattern: str) -> Iterator[str]:
    """A server in a process of its own; gives the address that it prints."""
    log = bench.place / "server.log"
    with log.open("wb") as output:
        environment = _environment(bench) | {"PYTHONUNBUFFERED": "1"}
        server = subprocess.Popen(list(map(str, command)), cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        while not (found := re.search(pattern, log.read_text(errors="replace"))):
            if server.poll() is not None:
                raise SystemExit(f"{command[1]} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.02)
        yield found[1]
    finally:
        server.terminate()
        server.wait()


def serving(bench: Bench, directory: Path) -> Any:
    """An embedded Hub in a process of its own."""
    return _server(bench, [HUBPUSH, "hub", "serve", directory, "--port", "0"], r"HF_ENDPOINT=(http://[\w.:]+)")


def mirror(bench: Bench) -> Any:
    """The archives, served by Python's own HTTP server in a process of its own."""
    command = [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", bench.stand_ins]
    return _server(bench, command, r"\((http://127\.0\.0\.1:\d+)/\)")


def machine(place: Path) -> str:
    """What the figures hold for, in one line: file system, processor, load, versions."""
    mounts = [line.split()[1:3] for line in _text("/proc/mounts").splitlines()]
    inside = [(mount, kind) for mount, kind in mounts if place.resolve().is_relative_to(mount)]
    kind = max(inside, key=lambda one: len(one[0]))[1] if inside else "unknown"
    cpu = re.search(r"model name\s*: (.+)", _text("/proc/cpuinfo"))
    packages = ("huggingface_hub", "tensorflow", "torch", "transformers")
    versions = [f"{package} {importlib.metadata.version(package)}" for package in packages]
    name, cores = cpu[1] if cpu else "unknown processor", len(os.sched_getaffinity(0))
    about = [f"file system {kind}", name, f"{cores} cores", f"load average {os.getloadavg()[0]:.1f}"]
    return ", ".join([*about, f"Python {sys.version.split()[0]}", *versions])


def table(results: Mapping[str, Any], *, markdown: bool = False) -> str:
    """All that was measured, a row for each comparison, with its bar and whether it is met."""
    rows = [["line", "what", "ours", "against", "theirs", "ratio", "bar", ""]]
    rows += [cells for row in ROWS if (cells := _cells(row, results.get(row.line)))]
    if markdown:
        rows.insert(1, ["---", "---", "---:", "---", "---:", "---:", "---", "---"])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _cells(row: Row, result: Mapping[str, Any] | None) -> list[str]:
    """The cells of a row; empty where something of it was not measured."""
    wanted = {row.ours, row.theirs} - {None}
    if result is None or not wanted <= result["samples"].keys():
        return []
    ours = _figure(result["samples"][row.ours], row.unit)
    theirs = _figure(result["samples"][row.theirs], row.unit) if row.theirs else 0.0
    digits = 0 if row.unit == "MB" else 2
    bars = [
        *([(f"≥ {row.faster:g} × faster", theirs >= row.faster * ours)] if row.faster else []),
        *([(f"≤ {row.within:g} ×", ours <= row.within * theirs)] if row.within else []),
        *([(f"≤ {row.most:g} {row.unit}", ours <= row.most)] if row.most else []),
    ]
    is_speedup = row.faster is not None or (row.within is None and theirs > ours)
    word = "less" if row.unit == "MB" else "faster"
    ratio = "" if not theirs else f"{theirs / ours:.1f} × {word}" if is_speedup else f"{ours / theirs:.2f} ×"
    return [
        row.line,
        row.what.format(n=result["releases"]),
        f"{ours:.{digits}f} {row.unit}",
        row.theirs or "",
        f"{theirs:.{digits}f} {row.unit}{_fewer(row.theirs, result)}" if row.theirs else "",
        ratio,
        " or ".join(bar for bar, _ in bars),
        ("met" if any(is_met for _, is_met in bars) else "missed") if bars else "",
    ]


def _fewer(name: str, result: Mapping[str, Any]) -> str:
    """How many runs it was, where it was fewer than the line's."""
    runs = len(result["samples"][name])
    is_constant = not any(wall for wall, _, _ in result["samples"][name])
    return "" if runs >= result.get("runs", 1) or is_constant else f" ({runs} run{'s' * (runs > 1)})"


def _figure(costs: Sequence[Sequence[float]], unit: str) -> float:
    """The median of the times, or the largest memory."""
    wall, cpu, peak = zip(*costs, strict=True)
    return max(peak) if unit == "MB" else statistics.median(cpu if unit == "CPU s" else wall)


def _sum(costs: Iterable[Cost]) -> Cost:
    """One command after the other."""
    done = list(costs)
    return Cost(sum(one.wall for one in done), sum(one.cpu for one in done), max(one.peak for one in done))


def _printed(bench: Bench) -> Any:
    """The JSON that the last command printed."""
    return json.loads((bench.place / "stdout").read_text(encoding="utf-8").splitlines()[-1])


def _stations(bench: Bench) -> dict[str, float]:
    """Seconds of each station, of all releases that the last command carried."""
    releases = _printed(bench)["releases"]
    names = dict.fromkeys(name for one in releases for name in one["seconds"])
    return {name: sum(one["seconds"].get(name, 0.0) for one in releases) for name in names}


def _recorded(folders: Path) -> dict[str, str]:
    """SHA-256 of each folder's weights by the name of its source; what hubpush.json says of all files must be true."""
    found = {}
    for folder in folders.iterdir():
        build = json.loads((folder / "hubpush.json").read_text(encoding="utf-8"))["build"]
        said = {name: file["sha256"] for name, file in build["files"].items()}
        _require({name: _digest(folder / name) for name in said} == said, f"hubpush.json of {folder.name} is not true")
        found[build["source"]["name"]] = said["model.safetensors"]
    return found


def _require(is_true: bool, what: str) -> None:
    if not is_true:
        raise SystemExit(f"the runs did not do the same work: {what}")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _warm(paths: Iterable[Path]) -> None:
    """Read files, so that they are in memory."""
    block = bytearray(1 << 20)
    for path in paths:
        with path.open("rb", buffering=0) as stream:
            while stream.readinto(block):
                pass


def _stand_ins(directory: Path, *told: str) -> None:
    """Make the stand-ins, unless a family is there. In a process of its own: TensorFlow's memory is not to be ours."""
    if not (directory / "stand-in.toml").is_file():
        command = [sys.executable, "-m", "benchmarks.stand_in", directory, *told]
        subprocess.run(command, cwd=ROOT, check=True)


def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace") if Path(path).exists() else ""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure lines, keep the results and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("lines", nargs="*", metavar="LINE", help=f"any of {', '.join(LINES)}; all without")
    parser.add_argument("--runs", type=int, default=5, help="rounds")
    parser.add_argument("--slow-runs", type=int, help="rounds of the peer that takes minutes; default all")
    parser.add_argument("--stand-ins", type=Path, help="archives and family file; made if they are not there")
    parser.add_argument("--place", type=Path, default=ROOT / "build/bench", help="its file system is what is measured")
    parser.add_argument("--out", type=Path, help="default PLACE/results.json")
    parser.add_argument("--tiny", action="store_true", help="two tiny models, and no peer but those that are there")
    parser.add_argument("--table", action="store_true", help="measure nothing, print what was measured before")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    given = parser.parse_args(arguments)
    if unknown := set(given.lines) - LINES.keys():
        parser.error(f"no line {', '.join(sorted(unknown))}; there are {', '.join(LINES)}")
    if missing := peers.missing_tools():
        raise SystemExit(missing)
    root = given.place.resolve()
    place = root / "tiny" if given.tiny else root
    stand_ins = given.stand_ins or (place / "stand-in" if given.tiny else ROOT / "build/stand-in")
    bench = Bench(place, stand_ins.resolve(), root, given.runs, given.slow_runs or given.runs, given.tiny)
    place.mkdir(parents=True, exist_ok=True)
    results_file = given.out or place / "results.json"
    results = json.loads(results_file.read_text(encoding="utf-8")) if results_file.exists() else {}
    print(machine(place), flush=True)
    if not given.tiny:  # as installers do
        subprocess.run([sys.executable, "-m", "compileall", "-q", ROOT / "hubpush"], check=True)
    done: dict[str, Samples] = {}
    for line in [] if given.table else given.lines or list(LINES):
        _stand_ins(bench.stand_ins, *(FEW if given.tiny else ()))
        _say(line)
        about = machine(place)
        done[line], checked = LINES[line](bench, done)
        results[line] = {
            "machine": about,
            "runs": given.runs,
            "releases": len(bench.archives),
            "checked": checked,
            "samples": {name: [astuple(cost) for cost in costs] for name, costs in done[line].items()},
        }
        results_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for line, result in results.items():
        _say(f"{line}: {result['runs']} runs; {'; '.join(result['checked']) or 'nothing to check'}")
    print(table(results, markdown=given.markdown))


if __name__ == "__main__":
    main()
