"""Publishing again what is published already: nothing is written, built or downloaded, whatever else has changed.

A tiny family is published once by the real command line, in a process of its own, to an embedded Hub. Then, from that
state each time, one thing around it is varied and the same command runs again. The Hub's journal tells what the second
run asked for, the process which modules it loaded, the disk what it made.

    python -m benchmarks.idempotence
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hubpush.localhub import serve
from hubpush.localhub.faults import Plan
from hubpush.localhub.store import Change, Store

REPOS = ("acme/tiny-a", "acme/tiny-b")
MOST_READS = 4  # of a repo: its references, two trees (of the head and of the tag) or one, and the small files once
MOST_BYTES = 1_000_000  # served in all; the weights of one of the two are larger than half of it
HEAVY = ("tensorflow", "torch", "transformers", "safetensors")
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Variation:
    """What is other at the second run.

    Attributes:
        name: What to call it.
        arguments: More of them, for the command.
        environment: Variables of the process.
        code: Runs in the process before hubpush is imported by it.
        before: Changes the state that the first run left: the folder with `hub` and `work`.
        most: Reads of a repo at most.
    """

    name: str
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    before: Callable[[Path], None] = lambda _folder: None
    most: int = MOST_READS


def _edit_card(folder: Path) -> None:
    """A person writes below the generated parts of a card."""
    store = Store(folder / "hub")
    for repo in REPOS:
        text = _git(folder, repo, "show", "main:README.md")
        store.commit(repo, "main", "A word", [Change("file", "README.md", f"{text}\nAsk us.\n".encode())], "")


def _add_file(folder: Path) -> None:
    """A person adds a file."""
    for repo in REPOS:
        Store(folder / "hub").commit(repo, "main", "Notes", [Change("file", "NOTES.md", b"mine\n")], "")


def _merge(folder: Path) -> None:
    """Other facts go through a pull request of the command, a person merges it, and the next run makes the tag."""
    from huggingface_hub import HfApi

    family = folder / "tinies.toml"
    family.write_text(family.read_text(encoding="utf-8").replace("Small models", "Smaller models"), encoding="utf-8")
    with serve(folder / "hub") as url:
        proposed = _command(folder, url, Variation("propose"), ["--create-pr"])
        for repo in REPOS:  # the summary stands on every card
            HfApi(endpoint=url, token="embedded").merge_pull_request(repo, 1)  # noqa: S106
        tagged = _command(folder, url, Variation("tag"), ["--create-pr"])
    if proposed[0] or tagged[0]:
        raise SystemExit(f"no pull request was published:\n{proposed[1]}{tagged[1]}")


def _forget_work(folder: Path) -> None:
    shutil.rmtree(folder / "work")


def _forget_lock(folder: Path) -> None:
    (folder / "tinies.lock.json").unlink()


def _all(folder: Path, *changes: Callable[[Path], None]) -> None:
    for change in changes:
        change(folder)


_NEWER = "import hubpush\nhubpush.__version__ = '99.0.0'"
_OTHER_PACKAGES = """
import importlib.metadata as metadata
version = metadata.version
metadata.version = lambda name: "99.0" if name in ("torch", "tensorflow", "transformers", "numpy") else version(name)
"""
_THREADS = {"OMP_NUM_THREADS": "7", "RAYON_NUM_THREADS": "7", "TOKENIZERS_PARALLELISM": "true"}
_PLACE = {"TZ": "<+14>-14", "LC_ALL": "C", "LANG": "tr_TR.UTF-8", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

VARIATIONS = (
    Variation("nothing"),
    Variation("thread counts", environment=_THREADS),
    Variation("--jobs 2", ("--jobs", "2")),
    Variation("time zone and language", environment=_PLACE),
    Variation("hash seed", environment={"PYTHONHASHSEED": "4711"}),
    Variation("newer hubpush", code=_NEWER),
    Variation("newer torch, TensorFlow, transformers", code=_OTHER_PACKAGES),
    Variation("fresh work directory", before=_forget_work),
    Variation("without the lock", before=_forget_lock),
    Variation("--no-parity", ("--no-parity",)),
    Variation("sources from a server", ("--source", "{server}")),
    Variation(
        "all of these at once",
        ("--no-parity", "--jobs", "2", "--source", "{server}"),
        {**_THREADS, **_PLACE, "PYTHONHASHSEED": "4711"},
        _NEWER + _OTHER_PACKAGES,
        _forget_work,
    ),
    Variation("file added by a person", before=_add_file),
    Variation("card edited by a person", before=_edit_card),
    Variation("after a merged pull request", before=_merge),
    Variation("the same, with --create-pr", ("--create-pr",), before=_merge),
    Variation(
        "file, card, and a fresh work directory",
        before=lambda folder: _all(folder, _add_file, _edit_card, _forget_work),
        most=MOST_READS + 1,  # everything at once: references, two trees, manifest and card
    ),
)


@dataclass(frozen=True)
class Again:
    """What a second run came to.

    Attributes:
        commits: New commits on any branch, in all repos.
        tags: New or moved tags.
        writes: Requests that are no reads.
        reads: Requests by repo.
        others: Requests that concern no repo.
        served: Bytes of the bodies that the Hub answered.
        wrong: What ought not to have happened, in words.
    """

    commits: int
    tags: int
    writes: int
    reads: Mapping[str, int]
    others: int
    served: int
    wrong: tuple[str, ...]


def main() -> int:
    """Run it, print the figures, and return 1 if a second run did anything."""
    wrong = 0
    print(f"{'changed':38} commits  tags  writes  reads a repo  other reads  bytes served")
    with tempfile.TemporaryDirectory() as folder:
        publish_first(Path(folder) / "first")
        for variation in VARIATIONS:
            found = again(Path(folder) / "first", Path(folder) / "again", variation)
            reads = ", ".join(str(found.reads.get(repo, 0)) for repo in REPOS)
            print(
                f"{variation.name:38} {found.commits:7} {found.tags:5} {found.writes:7} {reads:>13} {found.others:12}"
                f" {found.served:13,}"
            )
            for one in found.wrong:
                print(f"  WRONG: {one}")
            wrong += len(found.wrong)
    print(f"{len(VARIATIONS)} variations of {len(REPOS)} repos, {wrong} violations")
    return 1 if wrong else 0


def publish_first(folder: Path) -> None:
    """Make a family of two tiny releases and publish it: `tinies.toml`, its lock and archives, `hub`, `work`."""
    from hubpush import catalog, manifest
    from tests import checkpoints
    from tests.workshop import FAMILY

    pins = {}
    for name, heads, seed in (("tiny-a", checkpoints.HEADS, 0), ("tiny-b", ("pooler",), 1)):
        checkpoints.write_release(folder / name, heads=heads, seed=seed)
        path = checkpoints.zip_release(folder / name, folder / f"{name}.zip")
        pins[path.name] = catalog.Pin(sha256=manifest.describe(path).sha256, size=path.stat().st_size)
    (folder / "tinies.toml").write_text(FAMILY, encoding="utf-8")
    catalog.write_lock(folder / "tinies.lock.json", catalog.Lock(sources=pins))
    with serve(folder / "hub") as url:
        code, said, _ = _command(folder, url, Variation("the first"))
    if code:
        raise SystemExit(f"the first run failed:\n{said}")


def again(first: Path, folder: Path, variation: Variation) -> Again:
    """Run again in a copy of what the first run left, and count.

    Args:
        first: What `publish_first` left; not touched.
        folder: Where to copy it; removed first.
        variation: What is other.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(first, folder)
    variation.before(folder)
    before, made = _refs(folder), _weights(folder)
    plan = _Journal()
    with serve(folder / "hub", plan=plan) as url, _archives(folder) as (server, asked):
        arguments = [argument.format(server=server) for argument in variation.arguments]
        code, said, modules = _command(folder, url, variation, arguments)
    after = _refs(folder)
    tags = sum(before.get(name) != sha for name, sha in after.items() if " refs/tags/" in name)
    commits = _commits(folder, after.values()) - _commits(folder, before.values())
    reads, writes, others = Counter[str](), 0, 0
    for seen in plan.seen:
        repo = next((repo for repo in REPOS if f"/{repo}/" in f"{seen.path}/"), None)
        if repo is not None:
            reads[repo] += 1
        elif seen.number is not None:
            others += 1
        # POST paths-info only asks.
        writes += seen.method not in ("GET", "HEAD") and "/paths-info/" not in seen.path
    wrong = [
        f"exit code {code}: {said}" * (code != 0),
        f"{commits} commits" * (commits != 0),
        f"{tags} tags" * (tags != 0),
        "a reference was moved or removed" * (after != before and not commits + tags),
        f"{writes} writes" * (writes != 0),
        *(f"{count} reads of {repo}" for repo, count in reads.items() if count > variation.most),
        *(f"{seen.method} {seen.path}" for seen in plan.seen if seen.path.endswith(WEIGHTS)),
        f"{plan.served:,} bytes served" * (plan.served > MOST_BYTES),
        f"{', '.join(asked)} fetched" * bool(asked),
        *(f"{path} made" for path in sorted(_weights(folder) - made)),
        *(f"{name} imported" for name in HEAVY if name in modules),
        *(f"{name}: {status}" for name, status in _told(said).items() if status != "unchanged"),
        "no status told" * (len(_told(said)) != len(REPOS)),
    ]
    return Again(commits, tags, writes, reads, others, plan.served, tuple(filter(None, wrong)))


class _Journal(Plan):
    """A plan without faults, which counts the bytes of answers too."""

    served = 0

    def wrap(self, app):  # type: ignore[no-untyped-def]
        async def counted(scope, receive, send):  # type: ignore[no-untyped-def]
            async def count(message):  # type: ignore[no-untyped-def]
                if scope["method"] != "HEAD":
                    self.served += len(message.get("body", b""))
                await send(message)

            await app(scope, receive, count)

        return super().wrap(counted)


@contextmanager
def _archives(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A server of the family's archives, and what was fetched from it; to be asked about one is nothing."""
    fetched: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            super().do_GET()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", fetched
        server.shutdown()


def _command(
    folder: Path, url: str, variation: Variation, arguments: Sequence[str] = ()
) -> tuple[int, str, frozenset[str]]:
    """The exit code of the command, what it said, and the modules that it loaded."""
    code = (
        f"{variation.code}\nimport sys\nfrom hubpush import cli\n"
        "if __name__ == '__main__':\n    try:\n        cli.main()\n    finally:\n"
        f"        open({str(folder / 'modules')!r}, 'w').write(' '.join(sys.modules))\n"
    )
    (folder / "command.py").write_text(code, encoding="utf-8")
    family = ("--family", folder / "tinies.toml", "--org", "acme", "--hub", url, "--work", folder / "work", "--json")
    done = subprocess.run(
        [sys.executable, folder / "command.py", "convert-and-upload", *map(str, family), *arguments],
        env={**os.environ, **variation.environment}, capture_output=True, check=False,
    )  # fmt: skip
    loaded = frozenset((folder / "modules").read_text(encoding="utf-8").split())
    said = done.stdout if done.returncode == 0 else done.stdout + done.stderr
    return done.returncode, said.decode("utf-8", "replace"), loaded


def _told(said: str) -> dict[str, str]:
    """The status of each release, as `--json` prints it."""
    try:
        return {release["name"]: release["status"] for release in json.loads(said)["releases"]}
    except ValueError:
        return {}


def _weights(folder: Path) -> frozenset[tuple[str, int]]:
    """What stands in the work directory of archives, checkpoints and weights, each with the time of its last change."""
    large = (".safetensors", ".zip", ".index", ".part")
    return frozenset(
        (str(path.relative_to(folder)), path.stat().st_mtime_ns)
        for path in (folder / "work").rglob("*")
        if path.name.endswith(large) or ".data-" in path.name
    )


def _refs(folder: Path) -> dict[str, str]:
    return {
        f"{repo} {name}": sha
        for repo in REPOS
        for sha, name in (line.split() for line in _git(folder, repo, "show-ref").splitlines())
    }


def _commits(folder: Path, shas: Iterator[str] | Sequence[str]) -> int:
    """How many commits lead to these, in all repos."""
    wanted = set(shas)
    return sum(len(_git(folder, repo, "rev-list", "--ignore-missing", *sorted(wanted)).splitlines()) for repo in REPOS)


def _git(folder: Path, repo: str, *arguments: str) -> str:
    where = folder / "hub" / "models" / f"{repo}.git"
    if not where.exists():
        return ""
    return subprocess.run(["git", "-C", where, *arguments], capture_output=True, check=True).stdout.decode()


if __name__ == "__main__":
    sys.exit(main())
