"""Where releases are carried: in this process, in processes of this machine, or by the workers of a Dask cluster.

The one place where these differ. Each is a `concurrent.futures.Executor`, which gets a release as a small
specification (`specification`) and gives its outcome back as soon as it is there. hubpush has no scheduler of its own.

A worker that dies takes nothing with it: what it had begun is tried again by another one, and what was at work when
a worker died is then tried alone, so that a release which ends every process that carries it fails alone.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import pickle
import queue
import select
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubpush import __version__, catalog
from hubpush.catalog import Family
from hubpush.errors import HubpushError, MissingExtraError, SourceError, UsageError
from hubpush.job import Job, Outcome, Tell, failed
from hubpush.pipeline import carry
from hubpush.upload import die_with_parent

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_CONNECT = 10.0
"""Seconds for a scheduler to answer."""
_LOOK = 2.0
"""Seconds without an outcome until somebody looks whether a cluster has workers."""
_SAY = 5.0
"""Seconds without workers until it is said."""
_PATIENCE = 60.0
"""Seconds without workers until no more are waited for."""
_PACE = 0.5
"""Seconds between two messages of a worker of a cluster about the same station."""
_ATOMIC = getattr(select, "PIPE_BUF", 512)
"""Bytes that are written to a pipe whole or not at all, whoever else writes: pipe(7). So a process that is killed while
it tells something neither holds a lock nor leaves half a message."""

_Round = Callable[[Sequence[Job]], Generator[tuple[Job, Outcome | None], None, None]]
"""Carries releases and gives the outcome of each, or None for one that was at work when its worker died. What is not
given back was not begun."""


def check(jobs: int, scheduler: str | None) -> None:
    """Check what `--jobs` and `--scheduler` say, before anything is done.

    Raises:
        UsageError: They exclude each other, or the address is none.
        MissingExtraError: A cluster is asked for and its client is not installed.
    """
    if scheduler is None:
        return
    if jobs != 1:
        raise UsageError(
            "--jobs is for processes of this machine, --scheduler for the workers of a cluster",
            hint="give one of the two: a cluster does as many releases at a time as it has workers",
        )
    kind, separator, place = scheduler.partition("://")
    if not separator or kind not in ("tcp", "tls") or not place.rpartition(":")[2].isdecimal():
        raise UsageError(
            f"--scheduler {scheduler!r} is no address of a Dask scheduler",
            hint="as `dask scheduler` prints it: --scheduler tcp://HOST:8786",
        )
    if find_spec("distributed") is None:
        raise MissingExtraError(
            "--scheduler needs distributed, which is not installed", hint='pip install "hubpush[dask]"'
        )


@contextmanager
def carrying(jobs: Sequence[Job], count: int, scheduler: str | None, tell: Tell) -> Iterator[Iterator[Outcome]]:
    """Carry releases, one or several at a time; when the block is left, nothing of it goes on in this machine.

    Args:
        jobs: The releases.
        count: Processes at a time; with one, the work is done in this process.
        scheduler: Address of a Dask scheduler, whose workers then do the work.
        tell: Told about progress, from another thread too.

    Yields:
        The outcomes, in the order in which they come.

    Raises:
        HubpushError: There is no such cluster, or it is another hubpush that runs there.
    """
    if scheduler is not None:
        with _cluster(scheduler) as client, closing(_all(jobs, partial(_on_cluster, client, tell))) as outcomes:
            yield outcomes
    elif count <= 1 or len(jobs) <= 1:
        yield (carry(job, tell) for job in jobs)
    else:
        with closing(_all(jobs, partial(_in_processes, count, tell))) as outcomes:
            yield outcomes


def specification(job: Job) -> bytes:
    """A job as it is sent to a worker: a few kilobytes, whatever the family's size, and never a secret or a weight.

    Of its family it holds what the card of this one release says of it.
    """
    own = job.release
    releases = tuple(
        own if one.name == own.name else catalog.stripped(one) for one in catalog.siblings(job.family, own)
    )
    family: Family = job.family.model_copy(update={"releases": releases})
    return pickle.dumps(replace(job, family=family))


def _all(jobs: Sequence[Job], carried: _Round) -> Generator[Outcome, None, None]:
    """The outcomes of all: what a death left undone is done by others, and what was at work then is tried alone."""
    waiting, suspects = list(jobs), list[Job]()
    while waiting:
        met = set()
        with closing(carried(waiting)) as results:
            for job, outcome in results:
                met.add(job.release.name)
                if outcome is None:
                    suspects.append(job)
                else:
                    yield outcome
        left = [job for job in waiting if job.release.name not in met]
        if len(left) == len(waiting):
            # Not one was begun: the processes die by themselves, and more of them would die too.
            yield from (_failed(job, _no_start()) for job in left)
            return
        waiting = left
    for job in suspects:
        with closing(carried([job])) as results:
            outcomes = [outcome for _, outcome in results if outcome is not None]
        yield outcomes[0] if outcomes else _failed(job, _worker_died())


def _failed(job: Job, error: HubpushError) -> Outcome:
    return failed(job.release.name, job.repo_id, error)


def _worker_died() -> HubpushError:
    return HubpushError(
        "the worker process died while it carried this release, and died again with nothing beside it",
        hint="for want of memory? `dmesg` or the log of Dask's nanny would tell; run the same command again where there"
        " is more of it: what was done stays done",
    )


def _no_start() -> HubpushError:
    return HubpushError(
        "the worker processes die before they begin",
        hint="is there memory for them? Run the same command again with --jobs 1: what was done stays done",
    )


# Processes of this machine


def _in_processes(count: int, tell: Tell, jobs: Sequence[Job]) -> Generator[tuple[Job, Outcome | None], None, None]:
    """A round over a pool of processes, which a death ends: then all that the pool had is unfinished."""
    unfinished: list[Job] = []
    begun: set[str] = set()
    width, others = min(count, len(jobs)), set(multiprocessing.active_children())
    with _telling(tell, begun) as pipe:
        executor = ProcessPoolExecutor(
            width,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_share,
            initargs=(pipe, width),
        )
        futures: dict[Future[Outcome], Job] = {}
        try:
            with _uninterrupted():
                for job in jobs:
                    try:
                        futures[executor.submit(_carry_in_process, job.release.name, specification(job))] = job
                    except (BrokenProcessPool, OSError):  # it broke already, perhaps while a process was being started
                        unfinished.append(job)
            for future in as_completed(futures):
                job = futures.pop(future)  # and with it what it brought: previews of a large family are not kept here
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    unfinished.append(job)
                else:
                    yield job, outcome
            executor.shutdown()
        except BaseException:
            # Ctrl-C, or nobody wants the rest. A publish can be cut anywhere and is healed by the next run, so nothing
            # is waited for.
            executor.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()
            raise
    yield from ((job, None) for job in unfinished if job.release.name in begun)


_told: Any = None


def _share(pipe: Connection, width: int) -> None:
    global _told
    _told = pipe
    # Ctrl-C reaches the whole process group; the parent decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=die_with_parent, daemon=True).start()
    # Workers side by side share the machine's cores instead of each asking for all of them: torch and TensorFlow.
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // width)))


def _carry_in_process(name: str, specified: bytes) -> Outcome:
    _tell(name, None, None)
    job: Job = pickle.loads(specified)  # noqa: S301 - from the parent process
    return carry(job, _tell)


def _tell(name: str, station: str | None, part: float | None) -> None:
    """Tell the parent where a release is; without a station, that it is begun."""
    words = b"" if station is None else station.encode()[: _ATOMIC - 160]  # the rest is for a name and some digits
    _told.send_bytes(b"\0".join([name.encode(), b"" if part is None else f"{part:.4f}".encode(), words]))


@contextmanager
def _telling(tell: Tell, begun: set[str]) -> Iterator[Connection]:
    """A pipe over which worker processes tell what they do; `begun` is complete when the block is left."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)

    def listen() -> None:
        while (news := ours.recv_bytes()) != b"end":
            name, part, station = (field.decode(errors="ignore") for field in news.split(b"\0", 2))
            if station:
                tell(name, station, float(part) if part else None)
            else:
                begun.add(name)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield theirs
    finally:
        theirs.send_bytes(b"end")
        thread.join()
        theirs.close()
        ours.close()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that are started here never see Ctrl-C, not even before they can say so: they inherit the mask."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# Workers of a Dask cluster


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """A client of the cluster at an address.

    Raises:
        HubpushError: Nothing answers there, it is no scheduler, or another hubpush is installed there.
    """
    import distributed

    # It tells at length, with tracebacks, what is said here in a line.
    for name in ("distributed.client", "distributed.core", "distributed.comm"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    async def kind() -> str:
        async with asyncio.timeout(_CONNECT), distributed.rpc(address) as server:
            return str((await server.identity())["type"])

    try:
        # Asked first, because a client waits for ever for a server that takes a connection and says nothing.
        found = asyncio.run(kind())
        if found != "Scheduler":
            raise HubpushError(
                f"{address} is no Dask scheduler but a {found.lower()}",
                hint="give the address that `dask scheduler` prints: --scheduler tcp://HOST:8786",
            )
        client = distributed.Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise HubpushError(
            f"no Dask scheduler answers at {address}: {error or f'nothing came in {_CONNECT:g} s'}",
            hint="is it running (`dask scheduler`), is that its address, and can this machine reach it?",
        ) from None
    try:
        _require_alike(client, address)
        yield client
    finally:
        # What was not begun is nobody's wish any more, and is not done; what a worker is at ends there by itself.
        client.close(timeout=_CONNECT)


def _require_alike(client: Any, address: str) -> None:
    """Check that the scheduler and the workers that are there have this version of hubpush.

    Raises:
        HubpushError: They do not; all that differ are named.
    """
    try:
        found = {f"the scheduler {address}": client.run_on_scheduler(version, "hubpush")}
    except PackageNotFoundError as error:
        found = {f"the scheduler {address}": error}
    workers = client.run(version, "hubpush", on_error="return")
    found |= {f"the worker {worker}": what for worker, what in workers.items()}
    others = [
        f"{where} has {'none' if isinstance(what, PackageNotFoundError) else what}"
        for where, what in found.items()
        if what != __version__
    ]
    if others:
        raise _other_version("; ".join(others))


def _other_version(what: str) -> HubpushError:
    return HubpushError(
        f"this is hubpush {__version__}, and {what}",
        hint=f"install hubpush {__version__} and the same libraries where the scheduler and the workers run, restart"
        " them, and run again",
    )


def _on_cluster(client: Any, tell: Tell, jobs: Sequence[Job]) -> Generator[tuple[Job, Outcome | None], None, None]:
    """A round over a cluster, which gives what a death left undone to other workers by itself, a few times."""
    from huggingface_hub import constants

    address, topic = client.scheduler.address, f"hubpush-{client.id}"
    client.subscribe_topic(topic, lambda event: tell(*event[1]))
    executor = client.get_executor(pure=False)
    done: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
    futures: dict[Future[Outcome], Job] = {}
    for job in jobs:
        specified = specification(_absolute(job))
        hub = None if job.endpoint is not None else constants.ENDPOINT
        futures[executor.submit(_carry_on_cluster, specified, __version__, hub, topic)] = job
    for future in futures:
        future.add_done_callback(done.put)
    alone_since: float | None = None
    said = False
    while futures:
        try:
            future = done.get(timeout=_LOOK)
        except queue.Empty:
            if client.scheduler_info()["workers"]:
                alone_since, said = None, False
                continue
            alone_since = alone_since or time.monotonic()
            alone = time.monotonic() - alone_since
            if alone >= _PATIENCE:
                yield from ((job, _failed(job, _no_workers(address))) for job in futures.values())
                return
            if alone >= _SAY and not said:
                said = True
                first = next(iter(futures.values())).release.name
                tell(first, f"wait for a worker: {address} has none; `dask worker {address}` starts one", None)
            continue
        alone_since, said = None, False
        job = futures.pop(future)
        yield job, _ended(job, future, address)


def _ended(job: Job, future: Future[Outcome], address: str) -> Outcome | None:
    """What a worker of a cluster made of a release; None if each worker that was at it died."""
    from distributed import KilledWorker

    if future.cancelled():
        return _failed(job, _no_scheduler(address))
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, KilledWorker):
        return None
    if isinstance(error, HubpushError):
        return _failed(job, error)
    if isinstance(error, ImportError):
        return _failed(job, _other_version(f"a worker has another one, or none: {error}"))
    raise error


def _no_workers(address: str) -> HubpushError:
    return HubpushError(
        f"the Dask scheduler {address} has had no workers for {_PATIENCE:g} s",
        hint=f"start some, `dask worker {address} --nthreads 1`, where hubpush {__version__} is installed and --work is"
        " reached, and run the same command again",
    )


def _no_scheduler(address: str) -> HubpushError:
    return HubpushError(
        f"the Dask scheduler {address} is gone, or has thrown this release's work away",
        hint="look at its log, start it again, and run the same command again: what was done stays done",
    )


def _absolute(job: Job) -> Job:
    """With paths that mean the same to a process that was started elsewhere."""

    def here(path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    texts = replace(job.texts, config=here(job.texts.config), vocab=here(job.texts.vocab))
    references = tuple(
        replace(one, where=str(here(Path(one.where)))) if one.where is not None and one.is_path else one
        for one in job.options.references
    )
    return replace(
        job,
        base=job.base.absolute(),
        work=job.work.absolute(),
        mirror=job.mirror if job.mirror is None or "://" in job.mirror else str(here(Path(job.mirror))),
        texts=texts,
        options=replace(job.options, references=references),
    )


_one_at_a_time = threading.Lock()
"""Of a worker with several threads: what code prints on a card is caught from the whole process, and so is memory."""


def _carry_on_cluster(specified: bytes, wanted: str, hub: str | None, topic: str) -> Outcome:
    """Carry a release on a worker, with the tokens, caches and proxies of the worker's own environment.

    Raises:
        HubpushError: This worker is another one than the run asks for.
    """
    from distributed import get_worker
    from huggingface_hub import constants

    worker = get_worker()
    if wanted != __version__:
        raise HubpushError(
            f"the worker {worker.address} has hubpush {__version__}, and the run is of {wanted}",
            hint=f"install hubpush {wanted} there, restart it, and run again",
        )
    job: Job = pickle.loads(specified)  # noqa: S301 - from whom the cluster obeys anyway
    if hub not in (None, constants.ENDPOINT) and not job.embedded:
        raise UsageError(
            f"the worker {worker.address} publishes to {constants.ENDPOINT}, and the run to {hub}",
            hint="set HF_ENDPOINT alike here and where the workers are started, or name the Hub with --hub",
        )
    if not (job.work / "hub-cache").is_dir():
        raise SourceError(
            f"the work directory {job.work} is not there for the worker {worker.address}",
            hint="give a --work that all machines reach under the same path, as the sources have to be",
        )
    last: tuple[str, float] = ("", 0.0)

    def telling(name: str, station: str, part: float | None) -> None:
        nonlocal last
        if last[0] != station or time.monotonic() - last[1] >= _PACE:
            last = (station, time.monotonic())
            worker.log_event(topic, [name, station, part])

    with _one_at_a_time, _with_children(worker.address):
        return carry(job, telling)


@contextmanager
def _with_children(address: str) -> Iterator[None]:
    """Let this process start one of its own: uploads by xet do, and Dask's workers are daemons, which may not.

    Whether the worker ends with its nanny is kept by the nanny, so nothing of that changes.

    Raises:
        HubpushError: It cannot be let.
    """
    process = multiprocessing.current_process()
    if not process.daemon:
        yield
        return
    config = getattr(process, "_config", {})
    config["daemon"] = False
    try:
        if multiprocessing.current_process().daemon:
            raise HubpushError(
                f"the worker {address} may start no process, and uploads need one",
                hint="start workers with DASK_DISTRIBUTED__WORKER__DAEMON=False, or with `dask worker --no-nanny`",
            )
        yield
    finally:
        config["daemon"] = True
