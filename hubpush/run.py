"""A family of releases: looked at together, then carried one by one, in processes of their own.

What differs between one process and several stays in this module.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hubpush import card, catalog, publish, source
from hubpush.catalog import Family
from hubpush.errors import CatalogError, HubpushError, SourceError, UsageError
from hubpush.job import Job, Outcome, Tell, client, failed, settled
from hubpush.pipeline import carry, survey


def check_family(family: Family, base: Path) -> None:
    """Check what a family file promises beyond its form: metadata that the Hub takes, sources that are there.

    Args:
        family: The family.
        base: The directory of its file.

    Raises:
        CatalogError: All that is wrong, by release.
    """
    problems = []
    for release in family.releases:
        try:
            card.check_facts(release)
        except HubpushError as error:
            problems.append(f"{release.name}: {error.message}")
        texts = source.Texts.of(release, base)
        try:
            texts.digests()
        except HubpushError as error:
            problems.append(f"{release.name}: {error.message}")
            continue
        if isinstance(location := source.resolve(release.source, base), Path):
            try:
                source.find(location, texts).require()
            except HubpushError as error:
                if not location.is_file():
                    problems.append(f"{release.name}: {error.message}")
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise CatalogError(f"{family.name} cannot be carried as it is:{lines}", hint="correct the family file")


def preflight(jobs: Sequence[Job]) -> dict[str, HubpushError]:
    """Check what a run needs before its first byte is fetched: packages, and disk space release by release.

    Returns:
        The releases for which the disk has no room, by name.

    Raises:
        MissingExtraError: Parity is asked for and its packages are not installed.
    """
    if any(job.options.prove for job in jobs):
        from hubpush import parity

        parity.require_installed()
    refused: dict[str, HubpushError] = {}
    needed = 0
    with ThreadPoolExecutor(8) as threads:
        for job, size in zip(jobs, threads.map(_archive_size, jobs), strict=True):
            # Archives stay for the next run; beside each the checkpoint unpacked (for a time) and the built folder.
            try:
                source.require_space(job.work, needed + 3 * size)
                needed += 3 * size
            except HubpushError as error:
                refused[job.release.name] = error
    return refused


def local_mirror(mirror: str | None, work: Path, tell: Tell) -> str | None:
    """A mirror as `job.of_family` takes it: a URL of a zip of zips is fetched first, and resumes as any download does.

    Raises:
        SourceError: It does not come.
    """
    if mirror is None or "://" not in mirror or not mirror.partition("?")[0].endswith(".zip"):
        return mirror
    if not catalog.is_allowed_url(mirror):
        raise SourceError(f"the mirror {mirror} is not https", hint="plain http is taken from this machine alone")
    name = source.display_name(mirror)
    bundle = source.fetch(
        mirror,
        work / "downloads",
        progress=lambda done, total: tell(name, "fetch", done / total if total else None),
    )
    return str(bundle.path)


def carry_all(jobs: Sequence[Job], workers: int, tell: Tell, done: Callable[[Outcome], None]) -> list[Outcome]:
    """Carry a family: look at all repos, check what would fail, then do what is needed, in processes of their own.

    Args:
        jobs: The releases.
        workers: Processes at a time; with one, the work is done in this process.
        tell: Told about progress.
        done: Told about each outcome as soon as it is there.

    Returns:
        Outcomes in the order of the jobs.

    Raises:
        HubpushError: Something that concerns all of them.
    """
    outcomes: dict[str, Outcome] = {}
    for work in {job.work for job in jobs}:
        try:
            (work / "hub-cache").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(
                f"the work directory {work} cannot be used: {error.strerror}",
                hint="give another one with --work: it keeps downloads and built folders",
            ) from None

    def finish(outcome: Outcome) -> None:
        outcomes[outcome.name] = outcome
        done(outcome)

    needed: list[Job] = []
    with ThreadPoolExecutor(min(8, len(jobs))) as threads:
        for job, outcome in zip(jobs, threads.map(_surveyed, jobs), strict=True):
            if outcome is None:
                needed.append(job)
            else:
                finish(outcome)
    refused = preflight(needed)
    for job in needed:
        if job.release.name in refused:
            finish(failed(job, refused[job.release.name]))
    needed = [job for job in needed if job.release.name not in refused]
    if workers <= 1 or len(needed) <= 1:
        for job in needed:
            finish(carry(job, tell))
    else:
        with (
            _telling(tell) as queue,
            ProcessPoolExecutor(
                min(workers, len(needed)),
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_share,
                initargs=(queue, workers),
            ) as executor,
        ):
            futures = {executor.submit(_carry_in_worker, job): job for job in needed}
            try:
                for future in as_completed(futures):
                    try:
                        finish(future.result())
                    except BrokenProcessPool:
                        finish(failed(futures[future], _worker_died()))
            except KeyboardInterrupt:
                # A publish can be cut anywhere and is healed by the next run, so nothing is waited for.
                executor.shutdown(wait=False, cancel_futures=True)
                for child in multiprocessing.active_children():
                    child.terminate()
                raise
    return [outcomes[job.release.name] for job in jobs]


@contextmanager
def hub(target: str | None, *, make: bool = True) -> Iterator[tuple[str | None, bool]]:
    """The Hub that a person means: a URL, a directory (an embedded Hub runs for the time of the block), or the default.

    Args:
        target: What `--hub` says.
        make: Whether a directory that does not exist is made; what only reads would find nothing in it.

    Yields:
        The endpoint, or None for the default, and whether it is an embedded Hub.

    Raises:
        UsageError: `target` is neither, or a directory that should exist.
    """
    if target is None:
        yield None, False
    elif not target:
        raise UsageError("--hub is empty", hint="give a directory, or a URL")
    elif "://" in target:
        if not catalog.is_allowed_url(target):
            raise UsageError(
                f"--hub {target} is not https", hint="plain http is for embedded Hubs on this machine alone"
            )
        yield target.rstrip("/"), target.startswith("http://")
    elif re.fullmatch(r"[\w.-]+:[0-9]+", target):
        raise UsageError(f"--hub {target} is no URL", hint=f"did you mean --hub http://{target}?")
    elif Path(target).is_file():
        raise UsageError(f"--hub {target} is a file", hint="give a directory (it is created), or a URL")
    elif not make and not Path(target).is_dir():
        raise UsageError(f"--hub {target} does not exist", hint="give the directory of an embedded Hub, or a URL")
    else:
        from hubpush import localhub

        with localhub.serve(Path(target)) as endpoint:
            yield endpoint, True


def _surveyed(job: Job) -> Outcome | None:
    """The outcome of a release that needs nothing, or whose push would be refused; None if there is work to do."""
    try:
        remote, need = survey(job)
        if need in ("nothing", "held") and remote.manifest is not None:
            return settled(job, remote.manifest, "unchanged" if need == "nothing" else "held", remote)
        card.check_facts(job.release)
        if not job.options.dry_run:
            publish.check_rights(client(job), job.repo_id, remote, embedded=job.embedded)
    except HubpushError as error:
        return failed(job, error)
    except OSError as error:  # a path that the system refuses concerns this release alone
        return failed(job, SourceError(f"{error}", hint="check the path and the permissions of the source"))
    return None


def _archive_size(job: Job) -> int:
    """Bytes of an archive, as far as lock, disk or server tell; one that cannot be had fails at its own station."""
    try:
        location = job.location()
        if job.pin is not None and job.pin.size is not None:
            return job.pin.size
        return source.size_of(location) or 0
    except (HubpushError, OSError):
        return 0


def _worker_died() -> HubpushError:
    return HubpushError(
        "the worker process died (killed by the system for want of memory?)",
        hint="run the same command again with a smaller --jobs: what was done stays done",
    )


_told: Any = None


def _share(queue: Any, workers: int) -> None:
    global _told
    _told = queue
    # Ctrl-C reaches the whole process group; the parent decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # Workers side by side share the machine's cores instead of each asking for all of them.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


def _die_with_parent() -> None:
    """Workers that nobody waits for would keep a gigabyte each: end with a parent that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)  # a publish can be cut anywhere and is healed by the next run


def _carry_in_worker(job: Job) -> Outcome:
    return carry(job, lambda *news: _told.put(news))


@contextmanager
def _telling(tell: Tell) -> Iterator[Any]:
    """A queue over which worker processes tell what they do."""
    queue = multiprocessing.get_context("spawn").Queue()

    def listen() -> None:
        while (news := queue.get()) is not None:
            tell(*news)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        queue.put(None)
        thread.join()
