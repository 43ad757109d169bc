"""Bad input through the real command line, and single bit flips: refused in one line, or without effect on the output.

Every case is written by a function here, from a tiny valid release: hostile archives, damaged checkpoints, wrong
vocabularies, configs, family files, locks, names and servers. Each runs as `hubpush …` in a process of its own (forked
from one that has imported what a conversion needs), in a sandbox that is looked at before and after, against an
embedded Hub that keeps a journal. A source runs through `convert-and-upload` and through `convert`.

What is counted against hubpush: a traceback, a file outside of `--work` and OUT, a request to the Hub that could change
anything (or any at all where the badness shows before the Hub is asked), another exit code than the documented one, an
error without a hint, a built file that is left behind, a token in the output, a run without an end.

A flipped bit must be noticed, or change nothing in what comes out. Without a digest, one letter of a vocabulary or one
number of a config can be another one, and nothing can know: these are counted apart.

    python -m benchmarks.bad_input [--every N] [--flips N] [--seed N]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import multiprocessing
import os
import random
import re
import resource
import secrets
import shutil
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPO = "me/tiny"
TOKEN = "hf_canaryCanaryCanaryCanaryBadInput"  # noqa: S105 - made up, and looked for in every output
_PATIENCE = 60
_BUILT = {
    "model.safetensors", ".model.safetensors.part", "config.json", "tokenizer.json", "tokenizer_config.json",
    "vocab.txt", "README.md", "hubpush.json", "build.json",
}  # fmt: skip

FAMILY = """
format = 1
name = "tinies"
title = "Tinies"
summary = "Small models."

[[releases]]
name = "tiny"
title = "Tiny"
source = "tiny.zip"
license = "mit"
language = ["en"]
cased = false
"""


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        row: What kind of input it is.
        name: What is wrong with it.
        code: The exit code that it must give; 0 for input that looks bad and is not.
        make: Writes it; gives what `--source` is to be, or a whole command line.
        asks_hub: Whether the repo may be looked at before the badness shows.
        is_built: Whether the badness shows at the push alone, when the folder in `--work` is whole.
        extra: Arguments for both commands, where `make` gives a source.
        check: For code 0: what is wrong with what came out.
        environment: Variables of the process.
    """

    row: str
    name: str
    code: int
    make: Callable[[Room], Any]
    asks_hub: bool = True
    is_built: bool = False
    extra: tuple[str, ...] = ()
    check: Callable[[Room, Path], Iterator[str]] | None = None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Room:
    """Where a case is written and run.

    Attributes:
        sandbox: The directory that is watched; home and temporary directory lie in it too.
        release: The valid release, a directory. Read only.
        hub: URL of the embedded Hub.
        hub_folder: Its directory.
        server: A server that answers as it is told.
        plan: The Hub's journal.
    """

    sandbox: Path
    release: Path
    hub: str
    hub_folder: Path
    server: Any
    plan: Any

    @property
    def root(self) -> Path:
        """The current directory of the command."""
        return self.sandbox / "room"

    @property
    def work(self) -> Path:
        """What `--work` is."""
        return self.root / "work"

    def folder(self, change: Callable[[Path], object] = lambda _: None) -> Path:
        """The release, changed."""
        source = self.root / "source"
        shutil.copytree(self.release, source)
        change(source)
        return source

    def file(self, name: str, content: bytes | str) -> Path:
        """A file in the room."""
        path = self.root / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def family(self, text: str = FAMILY, lock: object = None) -> list[str]:
        """A family file beside a zip of the release, and the command that carries it."""
        from tests.checkpoints import zip_release

        zip_release(self.release, self.root / "tiny.zip")
        self.file("family.toml", text)
        if lock is not None:
            self.file("family.lock.json", lock if isinstance(lock, bytes | str) else json.dumps(lock))
        return self.carry("--family", "family.toml", "--org", "me")

    def carry(self, *arguments: str) -> list[str]:
        """`convert-and-upload` to this Hub."""
        return ["convert-and-upload", *arguments, "--no-parity", "--hub", self.hub, "--work", str(self.work)]

    def single(self, source: Path | str, *extra: str) -> list[str]:
        """`convert-and-upload` of one checkpoint."""
        own = [] if "--repo-id" in extra else ["--repo-id", REPO]
        own += [] if "--license" in extra else ["--license", "mit"]
        return self.carry("--source", str(source), *own, *extra)


@dataclass(frozen=True)
class Ran:
    """How a command ended; `peak` in bytes, None when it did not tell."""

    code: int | None
    out: str
    err: str
    peak: int | None


@dataclass
class Figures:
    """What was counted over all cases."""

    cases: int = 0
    runs: int = 0
    reads: int = 0
    quiet: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    peak: tuple[int, str] = (0, "")
    base: int = 0

    def blame(self, kind: str, text: str) -> None:
        """Count a violation."""
        self.wrong[kind] += 1
        self.violations.append(f"{kind}: {text}")

    def print(self) -> None:
        """The figures, a line each."""
        print(f"bad input: {self.cases} cases in {len(self.rows)} rows, {self.runs} runs of the command line")
        print("  " + ", ".join(f"{row} {count}" for row, count in self.rows.items()))
        for kind in KINDS:
            print(f"  {kind}: {self.wrong[kind]}")
        print(f"  runs without any request to the Hub: {self.quiet}; that looked at the repo before: {self.reads}")
        peak, name = self.peak
        print(f"  peak memory: {peak / 1e6:.0f} MB ({name}); {self.base / 1e6:.0f} MB of it are imports")


KINDS = (
    "tracebacks", "files outside the work directory", "requests to the Hub that should not be", "wrong exit codes",
    "errors without a hint", "half results left behind", "tokens in the output", "runs without an end",
    "harmless input that did harm",
)  # fmt: skip


def main() -> int:
    """Run it, print the figures, and return 1 if anything was violated."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="one case in so many (a short form)")
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, tried(Path(folder)) as room:
        figures = run_cases(room, cases()[:: asked.every])
        figures.print()
        seed = secrets.randbelow(2**32) if asked.seed is None else asked.seed
        flips = run_flips(room, asked.flips, seed)
        flips.print()
    for violation in (*figures.violations, *flips.violations):
        print(f"VIOLATION: {violation}")
    print(f"{len(figures.violations) + len(flips.violations)} violations, {time.monotonic() - start:.0f} s")
    return 1 if figures.violations or flips.violations else 0


@contextmanager
def tried(folder: Path) -> Iterator[Room]:
    """A sandbox, a valid release, an embedded Hub and a server that can be told how to misbehave."""
    from http.server import ThreadingHTTPServer

    from hubpush.localhub import serve
    from hubpush.localhub.faults import Plan
    from tests import checkpoints
    from tests.servers import Server, _handler

    checkpoints.write_release(folder / "release")
    for name in ("sandbox/home", "sandbox/tmp", "sandbox/room"):
        (folder / name).mkdir(parents=True)
    state, plan = Server(), Plan()
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), _handler(state)) as listening,
        serve(folder / "hub", plan=plan) as url,
    ):
        state.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield Room(folder / "sandbox", folder / "release", url, folder / "hub", state, plan)
        finally:
            listening.shutdown()
            thread.join()


# Running -------------------------------------------------------------------------------------------------------------


def run_cases(room: Room, chosen: Sequence[Case]) -> Figures:
    """Run cases and look at what they did."""
    figures = Figures()
    base = _run(room, ["--version"])
    figures.base = base.peak or 0
    for case in chosen:
        figures.cases += 1
        figures.rows[case.row] += 1
        for way in ("upload", "convert"):
            shutil.rmtree(room.root, ignore_errors=True)
            room.root.mkdir()
            made = case.make(room)
            if isinstance(made, list):
                arguments, out = made, None
            elif way == "upload":
                arguments, out = room.single(made, *case.extra), None
            else:
                out = room.root / "out"
                arguments = ["convert", str(made), str(out), "--work", str(room.work), *case.extra]
            figures.runs += 1
            _judge(figures, room, case, f"{case.row}, {case.name}, {way}", arguments, out)
            if isinstance(made, list):
                break
    shutil.rmtree(room.root, ignore_errors=True)
    room.root.mkdir()
    return figures


def _judge(figures: Figures, room: Room, case: Case, name: str, arguments: list[str], out: Path | None) -> None:
    plan = room.plan
    asked, before = len(plan.seen), _snapshot(room)
    ran = _run(room, arguments, case.environment)
    requests = [seen for seen in plan.seen[asked:] if seen.number is not None]
    after = _snapshot(room)
    text = ran.out + ran.err
    first = next((line for line in ran.err.split("\n") if line.startswith(("Error", "Traceback"))), "")
    if ran.code is None:
        figures.blame("runs without an end", f"{name}: not after {_PATIENCE} s")
    if "Traceback (most recent call last)" in text or "\nDuring handling" in text:
        figures.blame("tracebacks", f"{name}: {ran.err.strip()[-300:]}")
    if ran.code != case.code:
        figures.blame("wrong exit codes", f"{name}: {ran.code} instead of {case.code}; {first[:200]}")
    if TOKEN in text:
        figures.blame("tokens in the output", name)
    kept = {room.work.name} | ({out.name} if out is not None and ran.code == 0 else set())
    changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
    outside = sorted(p for p in changed if p.parts[:1] != ("room",) or p.parts[1] not in kept)
    if outside:
        figures.blame("files outside the work directory", f"{name}: {', '.join(map(str, outside[:5]))}")
    if case.code:
        if "Hint: " not in ran.err and " -h' for help." not in ran.err:
            figures.blame("errors without a hint", f"{name}: {ran.err.strip()[-200:]}")
        bad = [r for r in requests if r.method not in ("GET", "HEAD") or not case.asks_hub or out is not None]
        if bad:
            figures.blame("requests to the Hub that should not be", f"{name}: {bad[0].method} {bad[0].path}")
        # What was read of the repo stays in `hub-cache`; what is refused at the push alone was built whole before.
        half = [p for p in changed if p.name in _BUILT and p in after and "hub-cache" not in p.parts]
        half = [] if case.is_built else half
        if half:
            figures.blame("half results left behind", f"{name}: {', '.join(map(str, half[:5]))}")
        figures.quiet += not requests
        figures.reads += bool(requests)
    elif ran.code == 0 and case.check is not None:
        built = out if out is not None else next(room.work.glob("releases/*/model"), room.work)
        for wrong in case.check(room, built):
            figures.blame("harmless input that did harm", f"{name}: {wrong}")
    if ran.peak is not None and ran.peak > figures.peak[0]:
        figures.peak = (ran.peak, name)
    _forget(room)


def _forget(room: Room) -> None:
    """Take what was published off the Hub again."""
    shutil.rmtree(room.hub_folder / "models" / "me", ignore_errors=True)


def _snapshot(room: Room) -> dict[Path, tuple[object, ...]]:
    """Everything in the sandbox: kind and, of files, size, time and link. The Hub and `--work` may change."""
    found: dict[Path, tuple[object, ...]] = {}
    for path in room.sandbox.rglob("*"):
        seen = path.lstat()
        kind = seen.st_mode & 0o170000
        told = () if path.is_dir() and not path.is_symlink() else (seen.st_size, seen.st_mtime_ns)
        found[path.relative_to(room.sandbox)] = (kind, *told)
    return found


def _run(room: Room, arguments: list[str], environment: dict[str, str] | None = None) -> Ran:
    """`hubpush` with these arguments, in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["hubpush.cli", "hubpush.run", "hubpush.proof", "hubpush.model", "hubpush.tokenizer", "tokenizers",
         "huggingface_hub.hf_api", "huggingface_hub.utils", "httpx2", "yaml"]
    )  # fmt: skip
    home = room.sandbox / "home"
    own = {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "HF_HOME": str(home / "hf"),
        "HF_TOKEN": TOKEN,
        "HUBPUSH_WORK": str(home / "unasked"),
        "NO_PROXY": "127.0.0.1",
        "TMPDIR": str(room.sandbox / "tmp"),
        **(environment or {}),
    }
    with tempfile.TemporaryDirectory() as folder:
        texts = [Path(folder) / name for name in ("out", "err")]
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(arguments, str(room.root), own, [*map(str, texts)], sending))
        process.start()
        sending.close()
        process.join(_PATIENCE)
        is_endless = process.is_alive()
        if is_endless:
            process.kill()
            process.join()
        try:
            code, peak = receiving.recv() if receiving.poll() else (None if is_endless else process.exitcode, None)
        except EOFError:  # it was killed, or ended itself
            code, peak = None if is_endless else process.exitcode, None
        out, err = (path.read_text(errors="replace") if path.exists() else "" for path in texts)
    return Ran(code, out, err, peak)


def _child(arguments: list[str], here: str, environment: dict[str, str], files: list[str], sending: Any) -> None:
    for number, name in enumerate(files, 1):
        opened = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(opened, number)
    os.environ.update(environment)
    tempfile.tempdir = None
    os.chdir(here)
    sys.argv = ["hubpush", *arguments]
    from hubpush import cli, download

    download._PATIENCE = 0  # between the attempts of a download
    code = 1
    try:
        cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:  # noqa: BLE001 - that is what is looked for
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sending.send((code, peak if sys.platform == "darwin" else peak * 1024))
    os._exit(0)


# The cases -----------------------------------------------------------------------------------------------------------


def cases() -> list[Case]:
    """All of them."""
    return [
        *_archives(),
        *_checkpoints(),
        *_vocabularies(),
        *_configs(),
        *_downloads(),
        *_families(),
        *_locks(),
        *_command_lines(),
        *_repositories(),
        *_harmless(),
    ]


def _entries(release: Path) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in sorted(release.iterdir())]


def _archives() -> Iterator[Case]:
    """Zips of the valid release, each with one thing that no honest archive has."""
    import stat
    import zipfile

    from tests.test_zipball import crowd, moded, named, pack, patch, zip64

    def with_more(*more: Any, method: int = zipfile.ZIP_DEFLATED) -> Callable[[Room], Path]:
        def make(room: Room) -> Path:
            import warnings

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile warns of names that come twice
                own = [(entry(room) if callable(entry) else entry, text) for entry, text in more]
                return room.file("tiny.zip", pack(*_entries(room.release), *own, method=method))

        return make

    def changed(change: Callable[[bytes], bytes], *more: Any) -> Callable[[Room], Path]:
        def make(room: Room) -> Path:
            path = with_more(*more)(room)
            return room.file(path.name, change(path.read_bytes()))

        return make

    local, central, end = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"

    def both(there: int, here: int, value: bytes) -> Callable[[bytes], bytes]:
        return lambda raw: patch(patch(raw, there, value, which=central), here, value, which=local)

    def twice(raw: bytes) -> bytes:
        """The second entry of the directory leads to the first one's bytes."""
        return patch(raw, 42, bytes(4), nth=1)

    def inside(room: Room) -> Path:
        """The last entry lies, with its header, in the stored content of another."""
        inner = pack(("x.txt", b"kernel" * 50), method=zipfile.ZIP_STORED)
        inner = inner[: inner.index(central)]
        raw = pack(("a.bin", inner), ("x.txt", b"kernel" * 50), *_entries(room.release), method=zipfile.ZIP_STORED)
        return room.file("tiny.zip", patch(raw, 42, struct.pack("<I", 30 + len("a.bin")), nth=1))

    def corrupted(raw: bytes) -> bytes:
        middle = len(raw) // 2
        return raw[:middle] + bytes(64) + raw[middle + 64 :]

    def zip_in_zip(room: Room) -> Path:
        return room.file("tiny.zip", pack(("inner.zip", pack(*_entries(room.release)))))

    def without(*names: str) -> Callable[[Room], Path]:
        return lambda room: room.file("tiny.zip", pack(*(e for e in _entries(room.release) if e[0] not in names)))

    def two(room: Room) -> Path:
        own = _entries(room.release)
        return room.file("tiny.zip", pack(*((f"{top}/{name}", text) for top in "ab" for name, text in own)))

    made: dict[str, Callable[[Room], Any]] = {
        "parent": with_more(("../evil", b"x")),
        "parent inside": with_more(("a/../../evil", b"x")),
        "parent folder": with_more(("../evil/", b"")),
        "absolute": with_more((lambda room: str(room.sandbox / "evil"), b"x")),
        "home": with_more((lambda room: f"/{room.sandbox}/home/.bashrc", b"x")),
        "drive": with_more(("C:\\evil", b"x")),
        "drive with slash": with_more(("C:/evil", b"x")),
        "backslash": with_more(("a\\..\\..\\evil", b"x")),
        "NUL": with_more((named("evil\0.txt"), b"x")),
        "newline": with_more(("evil\nname", b"x")),
        "escape": with_more(("evil\x1b[2J", b"x")),
        "long name": with_more(("e" * 251, b"x")),
        "empty name": with_more((named(""), b"x")),
        "case twins": with_more(("VOCAB.TXT", b"x")),
        "duplicate": with_more(("vocab.txt", b"[PAD]\n")),
        "file as folder": with_more(("vocab.txt/x", b"x")),
        "symlink": with_more((moded("link", stat.S_IFLNK | 0o777), b"/etc/passwd")),
        "symlinked folder": with_more((moded("d", stat.S_IFLNK | 0o777), b".."), ("d/evil", b"x")),
        "device": with_more((moded("null", stat.S_IFCHR | 0o666), b"")),
        "pipe": with_more((moded("pipe", stat.S_IFIFO | 0o666), b"")),
        "one entry, two names": changed(twice),
        "overlapping": inside,
        "encrypted": changed(both(8, 6, b"\x01\x00")),
        "strongly encrypted": changed(both(8, 6, b"\x40\x00")),
        "unknown method": changed(both(10, 8, b"\x63\x00")),
        "bzip2": with_more(method=zipfile.ZIP_BZIP2),
        "lzma": with_more(method=zipfile.ZIP_LZMA),
        "bomb": with_more(("zeros", bytes(64 << 20))),
        "more announced": changed(both(24, 22, b"\x00\x01\x00\x00")),
        "less announced": changed(both(24, 22, b"\x05\x00\x00\x00")),
        "4 GB announced": changed(both(24, 22, b"\xf0\xff\xff\xff")),
        "wrong CRC": changed(both(16, 14, bytes(4))),
        "1,001 entries more": with_more(*((f"{n}", b"") for n in range(1001))),
        "a directory of 9 MB": lambda room: room.file("tiny.zip", crowd(200_000)),
        "zip64 offset beyond every end": changed(
            lambda raw: patch(raw, 42, b"\xff\xff\xff\xff", nth=4), (zip64("a.txt", 2**64 - 1), b"x")
        ),
        "zip64 directory beyond every end": lambda room: room.file(
            "tiny.zip", crowd(5)[:-42].replace(struct.pack("<QQ", 230, 0), struct.pack("<QQ", 2**63, 2**63)) +
            crowd(5)[-42:]
        ),
        "directory too long": changed(lambda raw: patch(raw, 12, b"\xff\xff\xff\x7f", which=end)),
        "directory before the start": changed(lambda raw: patch(raw, 16, b"\xff\xff\xff\x7f", which=end)),
        "another name inside": changed(lambda raw: patch(raw, 30, b"z", which=local)),
        "name not UTF-8": changed(lambda raw: patch(patch(raw, 8, b"\x00\x08"), 46, b"\xff")),
        "newer version needed": changed(lambda raw: patch(raw, 6, b"\xff\x00")),
        "damaged stream": changed(corrupted),
        "no end": changed(lambda raw: raw[:-1]),
        "half": changed(lambda raw: raw[: len(raw) // 2]),
        "100 KB behind the end": changed(lambda raw: raw + bytes(100_000)),
        "nothing": lambda room: room.file("tiny.zip", b""),
        "garbage": lambda room: room.file("tiny.zip", hashlib.shake_256(b"seed").digest(50_000)),
        "a page": lambda room: room.file("tiny.zip", b"<html>Please log in</html>"),
        "a zip in a zip": zip_in_zip,
        "two checkpoints": two,
        "no index": without("bert_model.ckpt.index"),
        "no config": without("bert_config.json"),
        "no vocabulary": without("vocab.txt"),
        "that cannot be read": lambda room: _unreadable(room.root / "tiny.zip"),
    }  # fmt: skip
    for name, make in made.items():
        yield Case("archive", name, 11, make)
    yield Case("archive", "no data file", 12, without("bert_model.ckpt.data-00000-of-00001"))


def _unreadable(path: Path) -> Path:
    """A file that can be opened and not be read, by root neither (Linux, proc(5))."""
    path.unlink(missing_ok=True)
    path.symlink_to("/proc/self/mem")
    return path


def _checkpoints() -> Iterator[Case]:
    import numpy as np

    from tests import checkpoints
    from tests.test_checkpoint import HEADER, entry, table, write_partitioned
    from tests.test_checkpoint import field as message

    index, data = "bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"
    kernel = "bert/encoder/layer_1/attention/self/query/kernel"
    case = Case

    def sparse(path: Path, size: int) -> None:
        with path.open("r+b" if path.exists() else "wb") as stream:
            stream.truncate(size)

    def at(name: str, change: Callable[[Path], object]) -> Callable[[Room], Path]:
        return lambda room: room.folder(lambda source: change(source / name))

    def bytes_of(name: str, change: Callable[[bytes], bytes]) -> Callable[[Room], Path]:
        return at(name, lambda path: path.write_bytes(change(path.read_bytes())))

    def flipped(position: float) -> Callable[[bytes], bytes]:
        def change(raw: bytes) -> bytes:
            place = int(len(raw) * position)
            return raw[:place] + bytes([raw[place] ^ 4]) + raw[place + 1 :]

        return change

    def saved(change: Callable[[dict[str, Any]], object], shards: int = 1) -> Callable[[Room], Path]:
        def make(room: Room) -> Path:
            def write(source: Path) -> None:
                variables = checkpoints.bert_variables(checkpoints.TINY)
                change(variables)
                for name in (index, data):
                    (source / name).unlink()
                checkpoints.write_checkpoint(source / "bert_model.ckpt", variables, shards=shards)

            return room.folder(write)

        return make

    def crafted(entries: dict[bytes, bytes], **how: int) -> Callable[[Room], Path]:
        return bytes_of(index, lambda _: table(entries, **how))

    def only(*names: str) -> Callable[[dict[str, Any]], None]:
        def change(variables: dict[str, Any]) -> None:
            variables.clear()
            variables |= dict.fromkeys(names, np.zeros((2, 2), np.float32))

        return change

    def poisoned(value: float) -> Callable[[dict[str, Any]], None]:
        def change(variables: dict[str, Any]) -> None:
            variables[kernel][3, 3] = value

        return change

    def cast(dtype: str) -> Callable[[dict[str, Any]], None]:
        def change(variables: dict[str, Any]) -> None:
            variables[kernel] = variables[kernel].astype(dtype)

        return change

    def shard_gone(room: Room) -> Path:
        source = saved(lambda _: None, shards=2)(room)
        (source / "bert_model.ckpt.data-00001-of-00002").unlink()
        return source

    def shard_cut(room: Room) -> Path:
        source = saved(lambda _: None, shards=2)(room)
        sparse(source / "bert_model.ckpt.data-00001-of-00002", 100)
        return source

    def partitioned(source: Path) -> None:
        for name in (index, data):
            (source / name).unlink()
        write_partitioned(source / "bert_model.ckpt")

    def version_1(source: Path) -> None:
        (source / data).unlink()
        (source / index).rename(source / "bert_model.ckpt")

    def exported(source: Path) -> None:
        (source / "variables").mkdir()
        for name in (index, data):
            (source / name).rename(source / "variables" / name.replace("bert_model.ckpt", "variables"))
        (source / "saved_model.pb").touch()

    def of_tensorflow_2(source: Path) -> None:
        tf = checkpoints.tensorflow()
        for name in (index, data):
            (source / name).unlink()
        tf.train.Checkpoint(a=tf.Variable([1.0])).write(str(source / "bert_model.ckpt"))

    def pipe(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    def other_shape(source: Path) -> None:
        config = json.loads((source / "bert_config.json").read_text())
        (source / "bert_config.json").write_text(json.dumps(config | {"hidden_size": 64}))

    def pickled(source: Path) -> None:
        for name in (index, data):
            (source / name).unlink()
        (source / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n(S'touch evil'\ntR.")

    big = {b"": HEADER} | {f"{n:06}".encode(): b"" for n in range(100_002)}
    again = {b"": HEADER, b"v": entry(), b"w": entry()}
    for name, make in {
        "data cut": bytes_of(data, lambda raw: raw[:-100]),
        "data empty": bytes_of(data, lambda _: b""),
        "data gone": at(data, Path.unlink),
        "data flipped": bytes_of(data, flipped(0.5)),
        "data zeroed": bytes_of(data, lambda raw: bytes(len(raw))),
        "index cut": bytes_of(index, lambda raw: raw[:-10]),
        "index empty": bytes_of(index, lambda _: b""),
        "index flipped at 10 %": bytes_of(index, flipped(0.1)),
        "index flipped at 50 %": bytes_of(index, flipped(0.5)),
        "index flipped at the end": bytes_of(index, flipped(0.9999)),
        "index is text": bytes_of(index, lambda _: b"hello" * 100),
        "index of 1 GB": at(index, lambda path: sparse(path, 1 << 30)),
        "a shard gone": shard_gone,
        "a shard cut": shard_cut,
        "no header": crafted({b"v": entry()}),
        "big-endian": crafted({b"": HEADER + message(2, 1), b"v": entry()}),
        "a million data files": crafted({b"": message(1, 1_000_000)}),
        "100,001 variables": crafted(big),
        "two variables in the same bytes": crafted(again),
        "names not sorted": crafted({b"": HEADER, b"w": entry(), b"v": entry(dtype=3)}),
        "a huge shape": crafted({b"": HEADER, b"v": entry(shape=(2**40, 2**40), size=2**82)}),
        "a huge tensor": crafted({b"": HEADER, b"v": entry(shape=(2**40,), size=2**42)}),
        "a negative dimension": crafted({b"": HEADER, b"v": entry(shape=(2**64 - 1,))}),
        "a thousand dimensions": crafted({b"": HEADER, b"v": entry(shape=(1,) * 1000)}),
        "a compressed block": crafted({b"": HEADER, b"v": entry()}, compression=1),
        "more restarts than bytes": crafted({b"": HEADER, b"v": entry()}, restarts=2**32 - 1),
        "a name with control bytes": crafted({b"": HEADER, b"v\x00\x1b[2J": entry()}),
        "saved in slices": lambda room: room.folder(partitioned),
        "objects of TensorFlow 2": lambda room: room.folder(of_tensorflow_2),
    }.items():
        yield case("checkpoint", name, 12, make)
    for name, make in {
        "no index": at(index, Path.unlink),
        "the index is a folder": at(index, lambda path: (path.unlink(), path.mkdir())),
        "data is a pipe": at(data, pipe),
        "index that cannot be read": at(index, _unreadable),
        "data that cannot be read": at(data, _unreadable),
        "format of 2015": lambda room: room.folder(version_1),
        "a SavedModel": lambda room: room.folder(exported),
        "a pickle alone": lambda room: room.folder(pickled),
        "the vocabulary as source": lambda room: room.folder() / "vocab.txt",
        "nothing there": lambda room: room.root / "nothing.ckpt",
    }.items():
        yield case("checkpoint", name, 11, make)
    for name, make in {
        "NaN": saved(poisoned(np.nan)),
        "infinity": saved(poisoned(-np.inf)),
        "shapes other than the config's": lambda room: room.folder(other_shape),
        "a variable missing": saved(lambda variables: variables.pop(kernel)),
        "a variable too many": saved(lambda variables: variables.update({"bert/encoder/extra": np.zeros(3, "f4")})),
        "a layer too many": saved(
            lambda variables: variables.update({kernel.replace("_1", "_7"): np.zeros((32, 32), "f4")})
        ),
        "float64": saved(cast("float64")),
        "float16": saved(cast("float16")),
        "int32": saved(cast("int32")),
        "slots of the optimizer alone": saved(only("bert/embeddings/word_embeddings/adam_m")),
        "global_step alone": saved(only("global_step")),
        "an ALBERT": saved(only("bert/encoder/transformer/group_0/x", "bert/embeddings/word_embeddings")),
        "names with markup": saved(only("bert/<script>|`---`\n</script>")),
    }.items():
        yield case("checkpoint", name, 13, make)


def _vocabularies() -> Iterator[Case]:
    def changed(change: Callable[[bytes], bytes]) -> Callable[[Room], Path]:
        def write(source: Path) -> None:
            (source / "vocab.txt").write_bytes(change((source / "vocab.txt").read_bytes()))

        return lambda room: room.folder(write)

    def line(number: int, text: bytes) -> Callable[[bytes], bytes]:
        def change(raw: bytes) -> bytes:
            lines = raw.split(b"\n")
            lines[number] = text
            return b"\n".join(lines)

        return change

    def huge(source: Path) -> None:
        os.truncate(source / "vocab.txt", 1 << 30)

    for name, change in {
        "byte order mark": lambda raw: b"\xef\xbb\xbf" + raw,
        "CRLF": lambda raw: raw.replace(b"\n", b"\r\n"),
        "one carriage return": line(700, b"wo\rd"),
        "a line twice": line(700, b"the"),
        "a blank line inside": line(700, b""),
        "a line of spaces": line(700, b"  \t"),
        "a blank line at the end": lambda raw: raw + b"\n",
        "no [MASK]": line(103, b"other"),
        "[PAD] not first": lambda raw: raw.replace(b"[PAD]\n[unused0]", b"[unused0]\n[PAD]"),
        "special tokens in small letters": lambda raw: raw.lower(),
        "not UTF-8": line(700, b"caf\xe9"),
        "UTF-16": lambda raw: raw.decode().encode("utf-16"),
        "a line too few": lambda raw: raw[: raw.rindex(b"\n", 0, -1) + 1],
        "a line too many": lambda raw: raw + b"zzzz\n",
        "a million lines too many": lambda raw: raw + b"".join(b"z%d\n" % n for n in range(1_000_000)),
        "empty": lambda _: b"",
        "NUL bytes alone": lambda raw: bytes(len(raw)),
        "white space around a token": line(700, b" word"),
        "one line of 10 MB": lambda raw: raw + b"x" * 10_000_000,
    }.items():
        yield Case("vocabulary", name, 14, changed(change))
    yield Case("vocabulary", "1 GB", 14, lambda room: room.folder(huge))
    yield Case("vocabulary", "cannot be read", 11, lambda room: room.folder(lambda s: _unreadable(s / "vocab.txt")))
    yield Case("vocabulary", "plainly uncased, said to be cased", 14, lambda room: room.folder(), extra=("--cased",))
    yield Case(
        "vocabulary",
        "a folder",
        11,
        lambda room: room.folder(lambda s: ((s / "vocab.txt").unlink(), (s / "vocab.txt").mkdir())),
    )


def _configs() -> Iterator[Case]:
    def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Room], Path]:
        def write(source: Path) -> None:
            config = json.loads((source / "bert_config.json").read_text())
            change(config)
            (source / "bert_config.json").write_text(json.dumps(config))

        return lambda room: room.folder(write)

    def text(make: Callable[[str], str | bytes]) -> Callable[[Room], Path]:
        def write(source: Path) -> None:
            made = make((source / "bert_config.json").read_text())
            (source / "bert_config.json").write_bytes(made if isinstance(made, bytes) else made.encode())

        return lambda room: room.folder(write)

    for key, values in {
        "hidden_act": ("swish", None, ["gelu"]),
        "num_attention_heads": (5, 0, 10**40),
        "hidden_size": ("32", 32.0, -32, 64, True),
        "num_hidden_layers": (2, 4, 2**31 - 1),
        "vocab_size": (0, 1236, 2**31),
        "max_position_embeddings": (63,),
        "type_vocab_size": (3,),
        "auto_map": ({"AutoModel": "evil.Model"},),
        "model_type": ("albert",),
        "is_decoder": (True,),
        "x" * 60_000: (1,),
        "---\nlicense": ("evil",),
    }.items():
        for value in values:
            code = 14 if (key, value) == ("vocab_size", 1236) else 13
            name = f"{key[:30]!r} is {str(value)[:30]!r}"
            yield Case("config", name, code, changed(lambda config, k=key, v=value: config.update({k: v})))
    yield Case("config", "no hidden_size", 13, changed(lambda config: config.pop("hidden_size")))
    for name, make in {
        "a key twice": lambda old: old.replace("{", '{"vocab_size": 1237, ', 1),
        "10,000 keys twice": lambda _: "{" + ",".join(['"a":1'] * 10_000) + "}",
        "depth of 100,000": lambda _: "[" * 100_000,
        "depth of 60,000": lambda _: "[" * 60_000,
        "NaN": lambda old: old.replace("0.02", "NaN"),
        "infinity": lambda old: old.replace("0.02", "-Infinity"),
        "1e999": lambda old: old.replace("0.02", "1e999"),
        "a number of 60,000 digits": lambda old: old.replace("1237", "1" * 60_000),
        "a list": lambda old: f"[{old}]",
        "null": lambda _: "null",
        "empty": lambda _: "",
        "cut": lambda old: old[:-20],
        "two documents": lambda old: old + old,
        "byte order mark": lambda old: b"\xef\xbb\xbf" + old.encode(),
        "not UTF-8": lambda old: old.encode() + b"\xff",
        "YAML": lambda _: "!!python/object/apply:os.system ['touch evil']",
    }.items():
        yield Case("config", name, 13, text(make))
    yield Case("config", "1 GB", 13, lambda room: room.folder(lambda s: os.truncate(s / "bert_config.json", 1 << 30)))
    yield Case(
        "config", "cannot be read", 11, lambda room: room.folder(lambda s: _unreadable(s / "bert_config.json"))
    )  # fmt: skip


def _downloads() -> Iterator[Case]:
    """A server that misbehaves; one that changed is held to the lock of a family."""
    from tests.servers import Reply

    def whole(room: Room) -> bytes:
        from tests.checkpoints import zip_release

        return zip_release(room.release, room.root / "served.zip").read_bytes()

    def served(*replies: Callable[[bytes], Any]) -> Callable[[Room], str]:
        def make(room: Room) -> str:
            raw = whole(room)
            return str(room.server.serve("/tiny.zip", *(reply(raw) for reply in replies)))

        return make

    def locked(*replies: Callable[[bytes], Any]) -> Callable[[Room], list[str]]:
        def make(room: Room) -> list[str]:
            raw = whole(room)
            url = room.server.serve("/tiny.zip", *(reply(raw) for reply in replies))
            pin = {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
            return room.family(FAMILY.replace("tiny.zip", url), {"format": 1, "sources": {url: pin}})

        return make

    def changed(raw: bytes) -> bytes:
        return raw[:-1] + b"\1"

    def elsewhere(location: str) -> Callable[[bytes], Any]:
        return lambda _: Reply(b"", 302, location=location)

    def bomb(_: bytes) -> Any:
        import gzip

        from tests.test_tarball import _extended

        return Reply(gzip.compress(_extended(b"x", bytes(200 << 20)), 1))

    for name, make in {
        "cut again and again": served(lambda raw: Reply(raw, cut=1000, etag=None)),
        "404": served(lambda _: Reply(b"not here", 404)),
        "500 for ever": served(lambda _: Reply(b"", 500)),
        "a page": served(lambda _: Reply(b"<html>Please log in</html>")),
        "half a zip": served(lambda raw: Reply(raw[: len(raw) // 2])),
        "a hostile zip": served(lambda raw: Reply(raw.replace(b"vocab.txt", b"../../evi"))),
        "a tar with a header of 200 MB": served(bomb),
        "redirect to plain http": served(elsewhere("http://192.0.2.1/tiny.zip")),
        "redirect to a file": served(elsewhere("file:///etc/passwd")),
        "redirect to ftp": served(elsewhere("ftp://192.0.2.1/tiny.zip")),
        "redirect to nowhere": served(elsewhere("https://[::")),
        "redirect in a circle": served(elsewhere("/tiny.zip")),
        "nobody listens": lambda _: "http://127.0.0.1:9/tiny.zip",
        "a length that is no number": served(lambda raw: Reply(raw, length="²")),
        "a length of 5,000 digits": served(lambda raw: Reply(raw, length="1" * 5000)),
        "a negative length": served(lambda raw: Reply(raw, length="-5")),
        "changed, as many bytes": locked(lambda raw: Reply(changed(raw))),
        "changed, more bytes": locked(lambda raw: Reply(raw + b"x")),
        "changed, fewer bytes": locked(lambda raw: Reply(raw[:-1])),
        "changed while it was resumed": locked(
            lambda raw: Reply(raw, cut=1000, etag='"1"'), lambda raw: Reply(changed(raw), etag='"2"')
        ),
        "resumed with something else": locked(
            lambda raw: Reply(raw, cut=1000, etag='"1"'), lambda raw: Reply(changed(raw), etag='"1"', blind=True)
        ),
        "without an end": locked(lambda raw: Reply(raw, length=None, endless=True)),
        "a length above the lock's": locked(lambda raw: Reply(raw, length=1 << 40)),
    }.items():
        yield Case("download", name, 11, make)
    for url in ("http://example.org/tiny.zip", "ftp://example.org/tiny.zip", "https://[::", "https://\x01/"):
        code = 11 if "[" in url else 2
        yield Case("download", f"the URL {url!r}", code, lambda room, url=url: room.single(url))
    yield Case(
        "download", "a URL with a password", 2, lambda room: room.single(f"https://me:{TOKEN}@example.org/a.zip"),
        asks_hub=False,
    )  # fmt: skip
    for proxy in ("socks5://127.0.0.1:1", "ftp://127.0.0.1:1", "http://[::1", "http://127.0.0.1:9"):
        yield Case(
            "download", f"the proxy {proxy}", 11, environment={"ALL_PROXY": proxy, "NO_PROXY": "localhost"},
            make=lambda room: ["convert", "https://example.org/a.zip", "out", "--work", str(room.work)],
        )  # fmt: skip
    for proxy in ("socks5://127.0.0.1:1", "ftp://127.0.0.1:1"):
        yield Case(
            "download", f"the proxy {proxy} before the Hub", 18, lambda room: room.single(room.folder()),
            environment={"ALL_PROXY": proxy},
        )  # fmt: skip


def _families() -> Iterator[Case]:
    def edited(old: str, new: str) -> Callable[[Room], list[str]]:
        return lambda room: room.family(FAMILY.replace(old, new, 1))

    def as_bytes(content: bytes) -> Callable[[Room], list[str]]:
        def make(room: Room) -> list[str]:
            arguments = room.family()
            room.file("family.toml", content)
            return arguments

        return make

    quote = json.dumps
    for name, make in {
        "empty": as_bytes(b""),
        "not TOML": as_bytes(b"format = "),
        "JSON": as_bytes(b'{"format": 1}'),
        "not UTF-8": as_bytes(b"name = '\xff'"),
        "NUL": as_bytes(b"\0" * 100),
        "depth of 100,000": as_bytes(b"a = " + b"[" * 100_000),
        "a number of 5,000 digits": as_bytes(b"a = " + b"1" * 5000),
        "5 MB": as_bytes(b"#" * (5 << 20)),
        "1 GB": lambda room: (room.family(), os.truncate(room.root / "family.toml", 1 << 30))[0],
        "a folder": lambda room: (
            room.family(), (room.root / "family.toml").unlink(), (room.root / "family.toml").mkdir()
        )[0],
        "not there": lambda room: (room.family(), (room.root / "family.toml").unlink())[0],
        "cannot be read": lambda room: (room.family(), _unreadable(room.root / "family.toml"))[0],
        "no releases": as_bytes(FAMILY.partition("[[")[0].encode()),
        "another format": edited("format = 1", "format = 2"),
        "an unknown key": edited("license =", "licence ="),
        "no licence": edited('license = "mit"\n', ""),
        "a number for a title": edited('title = "Tiny"', "title = 5"),
        "a text for a list": edited('language = ["en"]', 'language = "en"'),
        "a date": edited("cased = false", "cased = 1979-05-27"),
        "infinity": edited("cased = false", "glue = { CoLA = inf }"),
        "one name twice": as_bytes((FAMILY + FAMILY[FAMILY.index("[["):].replace('"tiny"', '"TINY"')).encode()),
        "another size than a number": edited("cased = false", "config = { hidden_size = 'x' }"),
        "a size that is none": edited("cased = false", "config = { evil = 1 }"),
        "a digest that is none": edited("cased = false", "data_sha256 = 'abc'"),
        "a picture for a paper": edited("cased = false", "arxiv = ['https://arxiv.org/abs/1']"),
        "an unknown task": edited("cased = false", "task = 'rm -rf'"),
        "a label twice": edited("cased = false", "labels = ['a', 'a']"),
        "a source by http": edited('"tiny.zip"', '"http://example.org/a.zip"'),
        "a source by ftp": edited('"tiny.zip"', '"ftp://example.org/a.zip"'),
        "a source with a password": edited('"tiny.zip"', f'"https://me:{TOKEN}@example.org/a.zip"'),
        "a source with control characters": edited('"tiny.zip"', r'"tiny\u0000.zip"'),
        **{
            f"the name {bad!r}": edited('name = "tiny"', f"name = {quote(bad)}")
            for bad in ("..", "../evil", "a/b", "a..b", "tiny.git", ".git", "a\nb", "a\0b", "-a", "a b", "x" * 97, "")
        },
    }.items():  # fmt: skip
        yield Case("family", name, 10, make, asks_hub=False)
    yield Case("family", "a glob without a match", 10, lambda room: [*room.family(), "nothing*"], asks_hub=False)
    yield Case("family", "an unknown family", 10, lambda room: room.carry("--family", "no", "--org", "me"), False)
    for name, code, make in (
        ("a language that is none", 16, edited('["en"]', '["english please"]')),
        ("a licence that is none", 16, edited('"mit"', '"no such licence"')),
        ("sizes other than promised", 13, edited("cased = false", "config = { hidden_size = 33 }")),
        ("lines other than promised", 14, edited("cased = false", "vocab_lines = 1000")),
        ("data other than promised", 11, edited("cased = false", f"data_sha256 = '{'0' * 64}'")),
        ("casing other than promised", 14, edited("cased = false", "cased = true")),
        ("another architecture", 13, edited("cased = false", "architecture = 'electra'")),
        ("a source that is not there", 11, edited('"tiny.zip"', '"nothing.zip"')),
        ("a source that leads elsewhere", 11, edited('"tiny.zip"', '"../../nothing.zip"')),
        ("a config that is not there", 11, edited("cased = false", "config_file = 'no.json'")),
    ):
        yield Case("family", name, code, make)


def _locks() -> Iterator[Case]:
    def pin(**change: object) -> Any:
        return {"format": 1, "sources": {"tiny.zip": {"size": 5, "sha256": "0" * 64} | change}}

    for name, lock in {
        "empty": b"",
        "not JSON": b"format = 1",
        "a list": [],
        "not UTF-8": b'{"format": 1, "\xff": 1}',
        "depth of 100,000": b"[" * 100_000,
        "a number of 5,000 digits": b'{"format": ' + b"1" * 5000 + b"}",
        "5 MB": b" " * (5 << 20),
        "another format": {"format": 2},
        "an unknown key": pin(evil=1),
        "a short digest": pin(sha256="abc"),
        "a digest that is a number": pin(sha256=1),
        "a negative size": pin(size=-1),
        "a size that is text": pin(size="many"),
        "sources that are a list": {"format": 1, "sources": []},
    }.items():
        yield Case("lock", name, 10, lambda room, lock=lock: room.family(lock=lock), asks_hub=False)
    yield Case("lock", "a folder", 10, asks_hub=False,
               make=lambda room: (room.family(), (room.root / "family.lock.json").mkdir())[0])  # fmt: skip

    def other(key: str) -> Callable[[Room], list[str]]:
        def make(room: Room) -> list[str]:
            arguments = room.family()
            raw = (room.root / "tiny.zip").read_bytes()
            right = {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
            wrong = {"size": len(raw) + 1, "sha256": "0" * 64}
            room.file("family.lock.json", json.dumps(pin(**right | {key: wrong[key]})))
            return arguments

        return make

    yield Case("lock", "another digest", 11, other("sha256"))
    yield Case("lock", "another size", 11, other("size"))


def _command_lines() -> Iterator[Case]:
    def with_extra(*extra: str) -> Callable[[Room], list[str]]:
        return lambda room: room.single(room.folder(), *extra)

    def labels(content: bytes) -> Callable[[Room], list[str]]:
        return lambda room: room.single(room.folder(), "--labels", str(room.file("labels.txt", content)))

    for bad in ("me", "/", "me/", "/tiny", "me/..", "../me/tiny", "me/a/b", "me/tiny.git", "me/.git", "me/a\nb",
                "me/a\0b", "me/a b", "me/a--b", "me/" + "x" * 97, "ｍｅ/tiny", "me/$(touch evil)", ""):  # fmt: skip
        yield Case("names", f"--repo-id {bad[:40]!r}", 2, with_extra("--repo-id", bad), asks_hub=False)
    for bad in ("a/b", "..", ".git", "a\nb", "a\0b"):
        yield Case("names", f"--org {bad!r}", 2, lambda room, bad=bad: [*room.family(), "--org", bad], asks_hub=False)
    for bad in ("nonsense", "!!python/object:x", "mit\nevil: 1", "---", ""):
        code = 2 if not bad else 16
        yield Case("options", f"--license {bad!r}", code, with_extra("--license", bad), asks_hub=bool(bad))
    yield Case("options", "--language nonsense", 16, with_extra("--language", "in no language"))
    for name, code, make in (
        ("--task nonsense", 2, with_extra("--task", "nonsense")),
        ("--part nonsense", 2, with_extra("--part", "nonsense")),
        ("--activation nonsense", 2, with_extra("--activation", "relu")),
        ("--parity nonsense", 2, with_extra("--parity", "nonsense")),
        ("--labels not there", 2, with_extra("--labels", "nothing.txt")),
        ("--labels that are JSON", 2, labels(b'["a", "b"]')),
        ("--labels that are not text", 2, labels(b"\xff\xfe\0")),
        ("--labels with an empty name", 2, labels(b"a\n\nb\n")),
        ("--labels with a control character", 2, labels(b"a\x1b[2J\nb\n")),
        ("--labels of 5 MB", 2, labels(b"a" * (5 << 20))),
        ("--hub that is a file", 2, lambda room: [*room.single(room.folder()), "--hub", str(room.file("f", b""))]),
        ("--hub by ftp", 2, lambda room: [*room.single(room.folder()), "--hub", "ftp://example.org"]),
        ("--hub by plain http", 2, lambda room: [*room.single(room.folder()), "--hub", "http://example.org"]),
        ("an unknown option", 2, with_extra("--no-such-option")),
        ("a newline for an option", 2, with_extra("\n")),
        ("OUT that is not empty", 2, lambda room: ["convert", str(room.folder()), str(room.root / "source")]),
        ("OUT that is a file", 2, lambda room: ["convert", str(room.folder()), str(room.file("f", b""))]),
    ):
        yield Case("options", name, code, make, asks_hub=False)
    for name, code, make in (
        ("--work in a file", 11, lambda room: [*room.single(room.folder()), "--work", f"{room.file('f', b'')}/w"]),
        ("--work that is a file", 11, lambda room: [*room.single(room.folder()), "--work", str(room.file("f", b""))]),
        ("--work in /proc", 11, lambda room: [*room.single(room.folder()), "--work", "/proc/none"]),
        ("--config not there", 11, with_extra("--config", "nothing.json")),
        ("--vocab that cannot be read", 11, lambda room: room.single(
            room.folder(), "--vocab", str(_unreadable(room.root / "v.txt")))),
        ("OUT in a file", 13, lambda room: ["convert", str(room.folder()), f"{room.file('f', b'')}/out"]),
        ("labels without a place", 13, labels(b"a\nb\n")),
        ("--task without its head", 13, with_extra("--task", "text-classification")),
        ("--averaged without averages", 13, with_extra("--averaged")),
    ):  # fmt: skip
        yield Case("options", name, code, make)


def _repositories() -> Iterator[Case]:
    """What is met at the Hub alone: repos that somebody else filled. They are read, and nothing is committed."""

    def holding(**files: bytes) -> Callable[[Room], list[str]]:
        def make(room: Room) -> list[str]:
            from hubpush.localhub.store import Change, Store

            store = Store(room.hub_folder)
            store.create(REPO, private=False)
            changes = [Change("file", name.replace("_", "."), content) for name, content in files.items()]
            store.commit(REPO, "main", "by hand", changes, "")
            return room.single(room.folder())

        return make

    for name, files in {
        "somebody's card": {"README_md": b"---\nlicense: gpl-3.0\n---\n# Mine\n"},
        "somebody's weights": {"model_safetensors": b"x"},
        "a manifest that is no JSON": {"hubpush_json": b"{"},
        "a manifest that is a list": {"hubpush_json": b"[]"},
        "a manifest of 100,000 levels": {"hubpush_json": b"[" * 100_000},
        "a manifest with a number of 5,000 digits": {"hubpush_json": b'{"version": ' + b"1" * 5000 + b"}"},
        "a manifest that is not UTF-8": {"hubpush_json": b'{"version": "\xff"}'},
        "a manifest of the future": {"hubpush_json": b'{"format": 99, "version": "1.0.0"}'},
    }.items():
        yield Case("repository", name, 19, holding(**files), is_built="README_md" in files)


HARD_VALUES = (
    "---\nlicense: evil\n---",
    "x\n---\nlicense: evil\n---\n# evil",
    "a: b\nlicense: evil",
    '"\nlicense: evil\nx: "',
    "'\nlicense: evil\nx: '",
    "!!python/object/apply:os.system ['touch evil']",
    "&a [*a, *a]",
    "a | b | c\n| --- | --- |\n| evil | 1 |",
    "```\n# evil\n```",
    "`` ` evil",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "<!-- hubpush:end title -->\n# evil\n<!-- hubpush:begin title -->",
    "<!-- hubpush:begin evil -->",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}{% for x in range(10**9) %}{% endfor %}",
    "[x](javascript:alert(1)) ![x](https://example.org/x.png)",
    "\u202eevil\u2066 \ufeff\u0085\u2028 %s {0} $(touch evil)",
    "x" * 4000,
)


def _harmless() -> Iterator[Case]:
    """Input that looks bad and is not: it is published, and does no harm."""
    import yaml

    def built_as_ever(room: Room, folder: Path) -> Iterator[str]:
        expected = converted(room.release)
        found = _digests(folder)
        yield from (f"{name} is another" for name, digest in expected.items() if found.get(name) != digest)
        yield from (f"{name} was published" for name in found.keys() - expected.keys() - {"hubpush.json"})

    def harmless_card(room: Room, folder: Path) -> Iterator[str]:
        text = (folder.parent / "README.md").read_text(encoding="utf-8")
        head, matter, body = text.split("---\n", 2)
        found = yaml.safe_load(matter)
        known = {
            "license", "license_name", "license_link", "language", "library_name", "pipeline_tag", "tags", "datasets",
            "base_model", "model_name", "widget", "model-index", "inference", "metrics",
        }  # fmt: skip
        if head or set(found) - known:
            yield f"keys in the front matter: {', '.join(map(str, set(found) - known))}"
        if found.get("license") != "mit":
            yield f"the licence is {found.get('license')}"
        begun = re.findall(r"^<!-- hubpush:begin (\w+) -->$", body, re.M)
        ended = re.findall(r"^<!-- hubpush:end (\w+) -->$", body, re.M)
        if begun != ended or len(set(begun)) != len(begun) or "evil" in begun:
            yield f"regions of the card: {begun}, {ended}"
        if (room.root / "evil").exists():
            yield "a file was made"

    def said(key: str, value: str) -> Callable[[Room], list[str]]:
        return lambda room: room.family(FAMILY.replace("cased = false", f"cased = false\n{key} = {json.dumps(value)}"))

    keys = ("note", "training", "intended_use", "limitations", "glue_note", "activation_source", "title")
    for n, value in enumerate(HARD_VALUES):
        key = keys[n % len(keys)]
        if key == "title":
            make = lambda room, value=value: room.family(  # noqa: E731
                FAMILY.replace('title = "Tiny"', f"title = {json.dumps(value)}")
            )
        elif key == "activation_source":
            make = lambda room, value=value: room.family(  # noqa: E731
                FAMILY.replace(
                    "cased = false", f'cased = false\nactivation = "gelu"\nactivation_source = {json.dumps(value)}'
                )
            )
        else:
            make = said(key, value)
        yield Case("values", f"{key} = {value[:40]!r}", 0, make, check=harmless_card)

    decoy = 'model_checkpoint_path: "{0}"\nall_model_checkpoint_paths: "{0}"\n'

    def led_astray(room: Room) -> Path:
        shutil.copytree(room.release, room.root / "decoy")
        (room.root / "decoy" / "vocab.txt").write_text("evil\n")
        where = decoy.format(room.root / "decoy" / "bert_model.ckpt")
        return room.folder(lambda source: (source / "checkpoint").write_text(where))

    def with_pickles(source: Path) -> None:
        for name in ("pytorch_model.bin", "training_args.bin", "model.pt", "data.pkl", "evil.py"):
            (source / name).write_bytes(b"\x80\x04cos\nsystem\n(S'touch evil'\ntR.")

    def with_slots(room: Room) -> Path:
        import numpy as np

        from tests import checkpoints

        def write(source: Path) -> None:
            variables = checkpoints.bert_variables(checkpoints.TINY)
            slots = {f"{n}/adam_{s}": np.zeros_like(v) for n, v in variables.items() for s in "mv"}
            checkpoints.write_checkpoint(
                source / "bert_model.ckpt", variables | slots | {"global_step": np.array(7, np.int64)}
            )

        return room.folder(write)

    def padded(before: bytes, behind: bytes) -> Callable[[Room], Path]:
        def make(room: Room) -> Path:
            from tests.checkpoints import zip_release

            raw = zip_release(room.release, room.root / "tiny.zip").read_bytes()
            return room.file("tiny.zip", before + raw + behind)

        return make

    def odd_words(source: Path) -> None:
        lines = (source / "vocab.txt").read_text(encoding="utf-8").split("\n")
        lines[1200:1205] = ["a\u2028b", "\u00a0", "---", "<script>", "| |`"]
        (source / "vocab.txt").write_text("\n".join(lines), encoding="utf-8", newline="\n")

    def every_line(_: Room, folder: Path) -> Iterator[str]:
        ids = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
        if [ids.get(word) for word in ("a\u2028b", "\u00a0", "---", "<script>", "| |`")] != [*range(1200, 1205)]:
            yield "ids were shifted"

    yield Case("harmless", "as it is", 0, lambda room: room.folder(), check=built_as_ever)
    yield Case("harmless", "a state file that leads elsewhere", 0, led_astray, check=built_as_ever)
    yield Case("harmless", "pickles beside it", 0, lambda room: room.folder(with_pickles), check=built_as_ever)
    yield Case("harmless", "slots of the optimizer", 0, with_slots, check=built_as_ever)
    yield Case("harmless", "a zip with something before it", 0, padded(b"#!/bin/sh\n", b""), check=built_as_ever)
    yield Case("harmless", "a zip with something behind it", 0, padded(b"", b"junk"), check=built_as_ever)
    yield Case("harmless", "odd words", 0, lambda room: room.folder(odd_words), check=every_line)


# Single bits ---------------------------------------------------------------------------------------------------------


@dataclass
class Flips:
    """What became of single wrong bits: by where they were, and whether a digest was pinned."""

    seed: int
    flips: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def note(self, place: str, fate: str, what: str) -> None:
        """Count one; anything but the three good fates is a violation."""
        self.counts.setdefault(place, Counter())[fate] += 1
        if fate not in ("detected", "without effect", "undetectable without a digest"):
            self.violations.append(f"flip in {what}: {fate}")

    def print(self) -> None:
        """The figures, a line for each place."""
        total = sum((counter for counter in self.counts.values()), Counter[str]())
        print(f"bit flips: {self.flips:,}, looked at {total.total():,} times, seed {self.seed}: {_told(total)}")
        for place, counter in self.counts.items():
            print(f"  {place}: {_told(counter)}")


def _told(counter: Counter[str]) -> str:
    return ", ".join(f"{fate} {count}" for fate, count in sorted(counter.items()))


def run_flips(room: Room, count: int, seed: int) -> Flips:
    """Flip single bits: of the zip, the checkpoint's files, the built folder, the Hub's store, and a download."""
    flips, draw = Flips(seed, count), random.Random(seed)  # noqa: S311 - not for secrets
    _flip_sources(room, flips, draw, round(count * 0.3))
    _flip_built(room, flips, draw, round(count * 0.1))
    _flip_published(room, flips, draw, count - 2 * (round(count * 0.3) // 2) - round(count * 0.1))
    return flips


def converted(location: Path, pin: Any = None) -> dict[str, str]:
    """Digests of the files that a source becomes; what is wrong with it is raised."""
    from hubpush import catalog, conversion, source

    release = catalog.single(REPO, "tiny.zip", license="mit").releases[0]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        local = source.bring(location, place / "downloads", pin)
        with source.opened(local, place / "scratch") as files:
            (place / "model").mkdir()
            done = conversion.convert(files, place / "model", release)
            found = source.identity(files, done.written.sources)
            source.check(found.name, found.sha256, found.size, pin)
        return _digests(place / "model")


def _digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()}


@contextmanager
def _flipped(path: Path, draw: random.Random) -> Iterator[str]:
    """A file with one wrong bit, for the time of the block."""
    whole = path.read_bytes()
    place, bit = draw.randrange(len(whole)), draw.randrange(8)
    path.chmod(0o644)
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
    try:
        yield f"{path.name}, byte {place}, bit {bit}"
    finally:
        path.write_bytes(whole)


def _flip_sources(room: Room, flips: Flips, draw: random.Random, count: int) -> None:
    """Half of the flips in a zip, half in the files of a directory; each with and without a pin."""
    from hubpush import source
    from hubpush.catalog import Pin
    from hubpush.errors import HubpushError
    from tests.checkpoints import zip_release

    folder = room.folder()
    expected = converted(folder)
    archive = zip_release(room.release, room.root / "tiny.zip")
    for location, paths in ((archive, [archive]), (folder, sorted(folder.iterdir()))):
        right = source.fetch(location, room.work)
        pin = Pin(size=right.size, sha256=right.sha256)
        for _ in range(count // 2):
            path = draw.choice(paths)
            with _flipped(path, draw) as what:
                for given in (None, pin):
                    try:
                        fate = "without effect" if converted(location, given) == expected else "another output"
                    except HubpushError:
                        fate = "detected"
                    if fate == "another output" and given is None and path.name in ("vocab.txt", "bert_config.json"):
                        fate = "undetectable without a digest"
                    kind = "zip" if path == archive else path.name.replace("bert_model.ckpt.", "").split("-")[0]
                    flips.note(f"{kind}, {'pinned' if given else 'not pinned'}", fate, what)


def _flip_built(room: Room, flips: Flips, draw: random.Random, count: int) -> None:
    """Flips in the folder that an earlier run built: the next one plans what it would have planned."""
    arguments = [*room.single(room.folder() if not (room.root / "source").exists() else room.root / "source"),
                 "--dry-run", "--json"]  # fmt: skip

    def planned() -> Any:
        ran = _run(room, arguments)
        return json.loads(ran.out)["releases"][0]["files"] if ran.code == 0 else ran.code

    expected = planned()
    built = next(room.work.glob("releases/*/model"))
    record = built.parent / "build.json"
    whole, model = record.read_bytes(), {p.name: p.read_bytes() for p in built.iterdir()}
    for _ in range(count):
        path = draw.choice([record, *sorted(built.iterdir())])
        kind = "its record (build.json)" if path == record else "weights, config, tokenizer"
        with _flipped(path, draw) as what:
            found = planned()
            same = {p.name: p.read_bytes() for p in built.iterdir()} == model or path == record
            fate = "detected" if isinstance(found, int) else "without effect" if found == expected else "another plan"
            flips.note(f"built folder, {kind}", fate if same else "it stays in the folder", f"built {what}")
        record.write_bytes(whole)


def _flip_published(room: Room, flips: Flips, draw: random.Random, count: int) -> None:
    """Half of the flips in the Hub's store, half in what a consumer downloaded: `verify --digests` sees them."""
    import huggingface_hub
    from huggingface_hub.utils import _http

    from hubpush.errors import HubpushError
    from hubpush.proof import verify

    ran = _run(room, room.single(room.root / "source"))
    if ran.code:
        raise SystemExit(f"the release was not published: {ran.err}")
    api = huggingface_hub.HfApi(endpoint=room.hub, token="embedded")  # noqa: S106
    commit = api.model_info(REPO).sha
    for name in ("uvicorn.error", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # a damaged store is an error of the server each time
    _http.time.sleep = lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.01))  # type: ignore[attr-defined]

    def published(folder: Path) -> dict[str, bytes]:
        # .gitattributes of the first commit is the Hub's own.
        return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != ".gitattributes"}

    kept = room.root / "kept"
    expected = published(verify(api, REPO, None, kept, digests_only=True)[1])

    def fate(revision: str | None, cache: Path) -> str:
        try:
            found, folder = verify(api, REPO, revision, cache, digests_only=True)
        except HubpushError:
            return "detected"
        if not found.is_same:
            return "detected"
        wrong = [name for name, content in published(folder).items() if content != expected.get(name)]
        return f"verified as the same: {', '.join(wrong)}" if wrong else "without effect"

    repo = room.hub_folder / "models" / f"{REPO}.git"
    stored = sorted(p for p in repo.rglob("*") if p.is_file() and p.stat().st_size)
    stored += sorted(p for p in (room.hub_folder / "lfs").rglob("*") if p.is_file()) * (len(stored) // 4)
    downloaded = sorted(p for p in kept.rglob("blobs/*") if p.is_file())
    names = {p.resolve().name: p.name for p in kept.rglob("snapshots/*/*")}
    for n in range(count):
        revision, how = (commit, "by commit") if n % 2 else (None, "by branch")
        if n % 4 < 2:
            path = draw.choice(stored)
            kind = "LFS file" if "lfs" in path.parts else "git repository"
            with _flipped(path, draw) as what, tempfile.TemporaryDirectory() as cache:
                flips.note(f"Hub's store, {kind}, {how}", fate(revision, Path(cache)), f"store {what}")
        else:
            path = draw.choice(downloaded)
            with _flipped(path, draw) as what:
                flips.note(f"downloaded, {how}", fate(revision, kept), f"downloaded {names.get(path.name)} {what}")
    _forget(room)


if __name__ == "__main__":
    sys.exit(main())
