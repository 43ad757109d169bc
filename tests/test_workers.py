"""Laws of the workers: one process, several, or a Dask cluster do the same, and a death costs nobody else anything."""

import hashlib
import json
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest
from huggingface_hub import HfApi, constants

from hubpush import card, catalog, job, run, workers
from hubpush.catalog import Family, Release
from hubpush.errors import HubpushError, MissingExtraError, UsageError
from hubpush.job import Job, Outcome
from hubpush.localhub import serve
from hubpush.localhub.faults import Fault, Plan, Seen
from tests import CANARY, checkpoints
from tests.workshop import FAMILY, Result, Workshop

NAMES = ("tiny-a", "tiny-b", "tiny-c")
HEADS = (checkpoints.HEADS, ("pooler",), ("pooler", "mlm"))
Told = tuple[str, str, float | None]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a family of three tiny releases, with their archives. Read only."""
    root = tmp_path_factory.mktemp("family")
    tables = "".join(
        f'\n[[releases]]\nname = "{n}"\ntitle = "{n}"\nshort = "{n[-1]}"\nsource = "{n}.zip"\n' for n in NAMES
    )
    (root / "tinies.toml").write_text(FAMILY.partition("\n[[releases]]")[0] + tables)
    for seed, (name, heads) in enumerate(zip(NAMES, HEADS, strict=True)):
        checkpoints.write_release(root / name, heads=heads, seed=seed)
        checkpoints.zip_release(root / name, root / f"{name}.zip")
    return root / "tinies.toml"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[distributed.LocalCluster]:
    """A Dask cluster of two worker processes with nannies, which start a new one for each that dies."""
    folder = tmp_path_factory.mktemp("dask")
    settings = {"distributed.scheduler.allowed-failures": 1}
    given = {
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": 60,
        "local_directory": str(folder),
    }
    with (
        dask.config.set(settings),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **given) as made,
    ):
        yield made


@pytest.fixture
def plan() -> Plan:
    """What fails on the Hub."""
    return Plan()


@pytest.fixture
def hub(tmp_path: Path, plan: Plan) -> Iterator[str]:
    """An empty Hub."""
    with serve(tmp_path / "hub", plan=plan) as url:
        yield url


def _jobs(family: Path, work: Path, hub: str | None, *, prove: bool = False, models: tuple[str, ...] = ()) -> list[Job]:
    (work / "hub-cache").mkdir(parents=True, exist_ok=True)
    options = job.Options(prove=prove)
    found = job.of_family(str(family), models, "acme", None, None, None, work, options)
    return [replace(one, endpoint=hub, embedded=True) for one in found]


def _silent(*_: object) -> None: ...


def _carry(jobs: list[Job], how: int | str, tell: Callable[[str, str, float | None], None] = _silent) -> list[Outcome]:
    """Carry by so many processes, or by a cluster."""
    scheduler = how if isinstance(how, str) else None
    return run.carry_all(jobs, how if isinstance(how, int) else 1, tell, _silent, scheduler=scheduler)


def _published(hub: str, folder: Path) -> dict[str, Any]:
    """Converted files, input identities and card facts of what stands on a Hub, by repo."""
    api, found = HfApi(endpoint=hub, token="embedded"), {}
    for one in sorted(model.id for model in api.list_models()):
        path = Path(api.snapshot_download(one, cache_dir=folder, revision="v1.0.0"))
        recorded = json.loads((path / "hubpush.json").read_bytes())
        names = recorded["build"]["files"]
        converted = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in names}
        assert converted == {name: file["sha256"] for name, file in names.items()}
        found[one] = {key: recorded[key] for key in ("inputs", "facts")}
        found[one] |= {"files": converted, "weights": recorded["build"]["weights_inputs"]}
    return found


@pytest.fixture(scope="module")
def wanted(family: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process publishes."""
    root = tmp_path_factory.mktemp("one")
    with serve(root / "hub") as hub:
        _carry(_jobs(family, root / "work", hub), 1)
        found = _published(hub, root / "cache")
    assert sorted(found) == [f"acme/{name}" for name in NAMES]
    assert len({one["files"]["model.safetensors"] for one in found.values()}) == len(NAMES)
    return found


def _address(how: int | str, request: pytest.FixtureRequest) -> int | str:
    if isinstance(how, int):
        return how
    cluster = request.getfixturevalue("cluster")
    cluster.wait_for_workers(2, timeout=60)  # a test before may have killed one
    return str(cluster.scheduler_address)


# The same ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [2, "cluster"])
def test_what_is_published_does_not_depend_on_who_carries_it(
    request: pytest.FixtureRequest,
    family: Path,
    hub: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wanted: dict[str, Any],
    how: int | str,
) -> None:
    """Two processes and two workers of a cluster publish the converted files and input identities of one process."""
    address = _address(how, request)
    monkeypatch.chdir(tmp_path)  # the workers of the cluster were started elsewhere
    told: list[Told] = []
    outcomes = _carry(_jobs(family, Path("work"), hub), address, lambda *news: told.append(news))
    assert [(one.name, one.status) for one in outcomes] == [(name, "published") for name in NAMES]
    assert _published(hub, tmp_path / "cache") == wanted
    # Progress comes back from wherever it is.
    assert {(name, station) for name in NAMES for station in ("fetch", "convert", "card", "push")} <= {
        (name, station) for name, station, _ in told
    }


@pytest.mark.parametrize("how", [2, "cluster"])
def test_a_worker_that_is_killed_costs_nothing(
    request: pytest.FixtureRequest,
    family: Path,
    plan: Plan,
    hub: str,
    tmp_path: Path,
    wanted: dict[str, Any],
    how: int | str,
) -> None:
    """With a worker killed in the middle of its first publish the same is published, and nothing fails."""
    killed: list[int] = []
    dead = threading.Event()

    def kill(_: Seen) -> None:
        if isinstance(how, int):
            pid = next(one for one in multiprocessing.active_children() if one.name.startswith("SpawnProcess")).pid
        else:
            pid = next(iter(request.getfixturevalue("cluster").workers.values())).process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)
        dead.set()

    address = _address(how, request)
    # Both are at their publish then, and one release is not begun.
    commit = Fault(method="POST", path="*/commit/main", hook=lambda _: dead.wait(60) and None)
    plan.add(commit, replace(commit, hook=kill))
    outcomes = _carry(_jobs(family, tmp_path / "work", hub), address)
    assert len(killed) == 1
    assert [(one.name, one.error) for one in outcomes] == [(name, None) for name in NAMES]
    assert _published(hub, tmp_path / "cache") == wanted


def test_a_cluster_proves_what_one_process_proves(
    cluster: distributed.LocalCluster, family: Path, hub: str, tmp_path: Path, wanted: dict[str, Any]
) -> None:
    """Parity runs in the thread of a worker too: it passes, and files and identities are those without it."""
    jobs = _jobs(family, tmp_path / "work", hub, prove=True, models=("tiny-b",))
    (outcome,) = _carry(jobs, cluster.scheduler_address)
    assert outcome.error is None
    assert outcome.parity is not None
    assert outcome.parity["verdict"] == "pass"
    found = _published(hub, tmp_path / "cache")["acme/tiny-b"]
    assert {key: found[key] for key in ("files", "weights")} == {
        key: wanted["acme/tiny-b"][key] for key in ("files", "weights")
    }


# What is sent --------------------------------------------------------------------------------------------------------


def _family_of(count: int) -> Family:
    """A family whose releases say a lot."""
    text = "What is said at length of a model. " * 100
    releases = tuple(
        Release(
            name=f"model-{n}",
            title=f"Model {n}",
            short=f"M{n}",
            source=f"https://example.org/{n}.zip",
            license="other",
            license_name="own",
            license_link="https://example.org/licence",
            training=text,
            limitations=f"{n} {text}",
            config={"num_hidden_layers": n % 12 + 1, "hidden_size": 64 * (n // 12 + 1), "num_attention_heads": 1},
        )
        for n in range(count)
    )
    return Family(format=1, name="many", title="Many", summary=text, releases=releases)


def _job_of(family: Family, tmp_path: Path) -> Job:
    release = family.releases[7]
    return Job(family, release, f"acme/{release.name}", tmp_path, None, None, True, tmp_path, "hubpush …")


@pytest.mark.parametrize("count", [8, 100, 101, 1000])
def test_a_worker_knows_of_the_family_what_the_card_says(count: int, tmp_path: Path) -> None:
    """What is sent gives the same facts for the card, and so the same identity, and all else as it was."""
    sent = _job_of(_family_of(count), tmp_path)
    came = pickle.loads(workers.specification(sent))  # noqa: S301 - our own
    facts = [card.facts(one.family, one.release, one.repo_id) for one in (sent, came)]
    assert facts[0] == facts[1]
    assert catalog.siblings(sent.family, sent.release) == catalog.siblings(came.family, came.release)
    assert replace(came, family=sent.family) == sent


def test_what_is_sent_stays_small(tmp_path: Path) -> None:
    """A release of a family of 100 is sent in less than 64 KiB, and one of 1,000 in no more than one of 200."""
    sizes = {n: len(workers.specification(_job_of(_family_of(n), tmp_path))) for n in (100, 200, 1000)}
    assert sizes[100] < 64 << 10
    assert sizes[1000] == sizes[200] < sizes[100]


# Death ---------------------------------------------------------------------------------------------------------------


class Poison(str):
    """A text that ends the process which reads it."""

    __slots__ = ()

    def __reduce__(self) -> tuple[object, ...]:
        return (signal.raise_signal, (signal.SIGKILL,))


@pytest.mark.parametrize("how", [2, "cluster"])
def test_a_release_that_kills_fails_alone(
    request: pytest.FixtureRequest, family: Path, hub: str, tmp_path: Path, how: int | str
) -> None:
    """A release that ends every process which carries it fails with a reason; all others are published."""
    jobs = _jobs(family, tmp_path / "work", hub)
    jobs[1] = replace(jobs[1], command=Poison("hubpush"))
    outcomes = {one.name: one for one in _carry(jobs, _address(how, request))}
    bad = outcomes.pop("tiny-b")
    # What was published by a worker that died before it could say so stands there when it is tried again.
    assert {one.status for one in outcomes.values()} <= {"published", "unchanged"}
    assert _tagged(hub) == ["acme/tiny-a", "acme/tiny-c"]
    assert bad.status == "failed"
    assert bad.error is not None
    assert "died again with nothing beside it" in bad.error["message"]
    assert "memory" in bad.error["hint"]


def test_processes_that_never_begin_are_not_started_for_ever(
    family: Path, hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where processes die before they do anything, each release fails with that, and the run ends."""
    resource_tracker.ensure_running()
    multiprocessing.set_executable("/bin/false")
    try:
        outcomes = _carry(_jobs(family, tmp_path / "work", hub), 2)
    finally:
        multiprocessing.set_executable(sys.executable)
    assert {one.error["message"] for one in outcomes if one.error} == {"the worker processes die before they begin"}
    assert len(outcomes) == len(NAMES)


# Ctrl-C --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [2, "cluster"])
def test_a_run_that_is_interrupted_is_resumed(
    request: pytest.FixtureRequest,
    family: Path,
    plan: Plan,
    hub: str,
    tmp_path: Path,
    wanted: dict[str, Any],
    how: int | str,
) -> None:
    """Ctrl-C ends a run at once, with a word and no traceback; what was not begun is not done; the next run goes on."""
    gone, program = threading.Event(), list[subprocess.Popen[str]]()

    def interrupt(_: Seen) -> None:
        os.killpg(program[0].pid, signal.SIGINT)
        gone.wait(60)

    # Two are at work, and wait for their commits, when the second of them comes to its own.
    first = Fault(method="POST", path="*/commit/main", hook=lambda _: gone.wait(60) and None)
    plan.add(first, replace(first, hook=interrupt), replace(first, times=None))
    address = _address(how, request)
    many = ("--jobs", str(how)) if isinstance(how, int) else ("--scheduler", str(address))
    command = ["-m", "hubpush.cli", "convert-and-upload", "--family", family, "--org", "acme", "--hub", hub]
    command += ["--work", tmp_path / "work", "--no-parity", "--no-collection", *many]
    program.append(
        subprocess.Popen(
            [sys.executable, *map(str, command)], stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    )
    _, err = program[0].communicate(timeout=60)
    gone.set()
    assert program[0].returncode == 130, err
    assert "Traceback" not in err
    assert "Run the same command again" in err
    assert ("of the cluster" in err) == (how == "cluster")
    if how == "cluster":
        # The two that were at work end there; the one that was not begun is not wanted any more.
        scheduler = request.getfixturevalue("cluster").scheduler
        end = time.monotonic() + 20
        while len(_tagged(hub)) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        assert not any(worker.processing for worker in scheduler.workers.values())
    assert len(_tagged(hub)) == (2 if how == "cluster" else 0)
    outcomes = _carry(_jobs(family, tmp_path / "work", hub), 1)
    assert [(one.name, one.error) for one in outcomes] == [(name, None) for name in NAMES]
    assert _published(hub, tmp_path / "cache") == wanted


def _tagged(hub: str) -> list[str]:
    api = HfApi(endpoint=hub, token="embedded")
    return sorted(model.id for model in api.list_models() if api.list_repo_refs(model.id).tags)


# Tokens and processes of a worker ------------------------------------------------------------------------------------


def test_a_worker_uploads_by_xet_with_its_own_token(
    cluster: distributed.LocalCluster, family: Path, plan: Plan, hub: str, tmp_path: Path
) -> None:
    """A worker, its nanny's daemon, starts the process of a xet upload; no token is sent, its environment's is used."""
    (one,) = _jobs(family, tmp_path / "work", hub, models=("tiny-a",))
    one = replace(one, embedded=False)
    assert CANARY.encode() not in workers.specification(one)
    with workers.carrying([one], 1, cluster.scheduler_address, _silent) as outcomes:
        (outcome,) = outcomes
    assert outcome.error is None, outcome.error
    assert any("/xorbs/" in seen.path for seen in plan.seen)
    assert not any("lfs" in seen.path and seen.method == "PUT" for seen in plan.seen)


# What cannot be ------------------------------------------------------------------------------------------------------


def _refused(jobs: list[Job], address: str) -> HubpushError:
    with pytest.raises(HubpushError) as caught, workers.carrying(jobs, 1, address, _silent) as outcomes:
        list(outcomes)
    return caught.value


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--scheduler", "localhost:8786"), "no address of a Dask scheduler"),
        (("--scheduler", "http://localhost:8786"), "no address of a Dask scheduler"),
        (("--scheduler", "tcp://localhost"), "no address of a Dask scheduler"),
        (("--scheduler", "tcp://localhost:8786", "--jobs", "2"), "--jobs is for processes of this machine"),
    ],
)
def test_what_cannot_be_meant_is_said_first(
    run: Callable[..., Result], family: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    """An address that is none, or both options, end with exit code 2 before anything is looked at."""
    shop = Workshop(tmp_path, run)
    result = shop.run("convert-and-upload", "--family", family, "--org", "acme", *shop.places(), *arguments)
    assert result.code == 2
    assert words in result.err
    assert not shop.hub.exists()


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without distributed a cluster cannot be asked for, and what installs it is said."""
    monkeypatch.setattr(workers, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as caught:
        workers.check(1, "tcp://localhost:8786")
    assert 'pip install "hubpush[dask]"' in caught.value.hint
    workers.check(2, None)


def test_an_address_without_a_scheduler_is_said(
    cluster: distributed.LocalCluster, family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing there, something that says nothing, and a worker instead of a scheduler: each is told in a line."""
    monkeypatch.setattr(workers, "_CONNECT", 0.5)
    jobs = _jobs(family, tmp_path / "work", None)
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in _refused(jobs, "tcp://127.0.0.1:9").message
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        error = _refused(jobs, f"tcp://127.0.0.1:{server.getsockname()[1]}")
        assert "no Dask scheduler answers" in error.message
        assert "dask scheduler" in error.hint
    monkeypatch.setattr(workers, "_CONNECT", 10.0)
    worker = next(iter(cluster.scheduler.workers))
    assert "is no Dask scheduler but a worker" in _refused(jobs, worker).message


def test_another_hubpush_is_not_sent_anything(
    cluster: distributed.LocalCluster, family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scheduler and workers with another version are named before anything is sent; one that comes later refuses."""
    jobs, address = _jobs(family, tmp_path / "work", "http://127.0.0.1:9"), cluster.scheduler_address
    monkeypatch.setattr(workers, "__version__", "9.9.9")
    error = _refused(jobs, address)
    assert error.message.startswith(f"this is hubpush 9.9.9, and the scheduler {address} has 0.1.0; the worker tcp://")
    assert "install hubpush 9.9.9" in error.hint
    monkeypatch.setattr(workers, "_require_alike", _silent)
    with workers.carrying(jobs, 1, address, _silent) as outcomes:
        found = [one.error["message"] for one in outcomes if one.error is not None]
    assert len(found) == len(NAMES)
    assert all("has hubpush 0.1.0, and the run is of 9.9.9" in message for message in found)


def test_a_worker_of_another_world_refuses(
    cluster: distributed.LocalCluster, family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that would publish to another Hub, or does not see the work directory, does nothing and says why."""
    here, elsewhere = _jobs(family, tmp_path / "work", None, models=("tiny-a", "tiny-b"))
    here = replace(here, embedded=False)
    elsewhere = replace(elsewhere, work=tmp_path / "nowhere", endpoint="http://127.0.0.1:9")
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example.org")
    with workers.carrying([here, elsewhere], 1, cluster.scheduler_address, _silent) as outcomes:
        found = {one.name: one.error or {} for one in outcomes}
    assert found["tiny-a"]["code"] == UsageError.exit_code
    assert "and the run to https://hub.example.org" in found["tiny-a"]["message"]
    assert f"the work directory {tmp_path / 'nowhere'} is not there for the worker" in found["tiny-b"]["message"]


@pytest.mark.parametrize(("loses", "words"), [(False, "has had no workers for"), (True, "is gone")])
def test_a_cluster_without_workers_is_not_waited_for_in_silence(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loses: bool, words: str
) -> None:
    """No workers: it is said what to start, and then the run ends; a scheduler that goes ends it too."""
    for name, seconds in (("_LOOK", 0.05), ("_SAY", 0.1), ("_PATIENCE", 30.0 if loses else 0.5)):
        monkeypatch.setattr(workers, name, seconds)
    told: list[str] = []
    given: dict[str, Any] = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": 60}
    with distributed.LocalCluster(n_workers=0, **given) as empty:

        def tell(name: str, station: str, _: float | None) -> None:
            told.append(f"{name}: {station}")
            if loses:
                empty.close()

        address = empty.scheduler_address
        with workers.carrying(_jobs(family, tmp_path / "work", None), 1, address, tell) as outcomes:
            found = [one.error["message"] for one in outcomes if one.error is not None]
    assert told == [f"tiny-a: wait for a worker: {address} has none; `dask worker {address}` starts one"]
    assert len(found) == len(NAMES)
    assert all(words in message for message in found)


def test_paths_mean_the_same_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes to a cluster names files by absolute paths; URLs and repos stay as they are."""
    monkeypatch.chdir(tmp_path)
    asked = tuple(
        job.Asked(*one) for one in (("repo", "./other"), ("repo", "acme/other"), ("tfhub", "module"), ("graph",))
    )
    texts = job.Texts(config=Path("config.json"))
    one = replace(_job_of(_family_of(8), Path("work")), texts=texts, mirror="archives")
    one = workers._absolute(replace(one, options=job.Options(references=asked)))
    assert [one.base, one.work, one.mirror] == [tmp_path / "work", tmp_path / "work", str(tmp_path / "archives")]
    assert one.texts == job.Texts(config=tmp_path / "config.json")
    where = [reference.where for reference in one.options.references]
    assert where == [str(tmp_path / "other"), "acme/other", str(tmp_path / "module"), None]
    assert workers._absolute(replace(one, mirror="https://example.org/a")).mirror == "https://example.org/a"


def test_a_process_carries_more_than_one_release(family: Path, hub: str, tmp_path: Path) -> None:
    """What a process has imported once, TensorFlow and torch among it, serves all releases that it carries."""
    seen: set[int] = set()
    before = {child.pid for child in multiprocessing.active_children()}
    jobs = _jobs(family, tmp_path / "work", hub)
    with workers.carrying(jobs, 2, None, _silent) as outcomes:
        for outcome in outcomes:
            assert outcome.status == "published"
            seen |= {child.pid for child in multiprocessing.active_children() if child.pid is not None}
    assert len(jobs) == 3
    assert 1 <= len(seen - before) <= 2


def test_distributed_is_imported_for_a_cluster_alone() -> None:
    """Processes of this machine are used without loading Dask."""
    script = (
        "import sys\nfrom hubpush import cli, run, workers\nworkers.check(2, None)\n"
        "with workers.carrying([], 2, None, print) as found:\n    assert list(found) == []\n"
        "assert not {'distributed', 'dask'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_progress_of_processes_that_are_killed_is_whole() -> None:
    """Messages of many writers at once, of any length and script, neither mix nor break, and none is too long."""
    begun: set[str] = set()
    told: list[Told] = []
    names = [f"{n:02d}" + "n" * 94 for n in range(16)]
    with workers._telling(lambda *news: told.append(news), begun) as pipe, pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_told", pipe)
        patch.setattr(workers, "_ATOMIC", 512)
        sizes: list[int] = []
        send = pipe.send_bytes
        patch.setattr(pipe, "send_bytes", lambda data: (sizes.append(len(data)), send(data)), raising=False)
        with ThreadPoolExecutor(8) as threads:
            for name in names:
                threads.submit(workers._tell, name, None, None)
                for station in ("é" * 1000, '"\\' * 400, "push"):
                    threads.submit(workers._tell, name, station, 0.1 + 0.2)
    assert begun == set(names)
    assert len(told) == 3 * len(names)
    assert max(sizes) <= 512 - 4  # with the length in front of it
