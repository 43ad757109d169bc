"""The whole path of one release as one function that reads like a story, and the family over an executor.

`survey` looks at the Hub and decides what each release needs; `carry` takes one release all the way. Work is sent to
other processes as small specifications (`Job`), never as weights.
"""

from __future__ import annotations

import datetime
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from filelock import FileLock

from hubpush import __version__, card, catalog, manifest, publish, source
from hubpush.architectures import ARCHITECTURES
from hubpush.catalog import Family, Pin, Release
from hubpush.errors import CatalogError, HubpushError, HubUnavailableError, SourceError, UsageError
from hubpush.manifest import Build

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from hubpush.model import Account
    from hubpush.parity.report import ParityReport

STATIONS = ("fetch", "convert", "parity", "card", "push")

Tell = Callable[[str, str, float | None], None]
"""Called with a release's name, the station it is at, and how much of it is done (0 to 1, or None)."""

Need = Literal["nothing", "held", "tag", "card", "build"]
Status = Literal["published", "unchanged", "planned", "held", "failed"]


@dataclass(frozen=True)
class Options:
    """What a person may decide about a run.

    Attributes:
        prove: Run parity.
        force: Publish although parity fails.
        dry_run: Do everything but the push.
        private: Visibility of repos that are created.
        overwrite: Replace what somebody else changed on the Hub.
        allow_nonfinite: Publish NaN weights.
    """

    prove: bool = True
    force: bool = False
    dry_run: bool = False
    private: bool | None = None
    overwrite: bool = False
    allow_nonfinite: bool = False


@dataclass(frozen=True)
class Job:
    """Everything a worker needs to carry one release; a few kilobytes.

    Attributes:
        family: The family, for the card.
        release: The release.
        repo_id: Where it goes.
        base: The directory that a source which is no URL is relative to.
        mirror: A directory or URL that holds the archives, or None.
        pin: What the source must be, by the lock.
        is_pinned_by_hub: Without a pin, whether the manifest on the Hub is the lock; for one checkpoint that a person
            names on the command line, naming it is enough.
        endpoint: The Hub; None for the one huggingface_hub is configured for.
        embedded: Whether it is an embedded one.
        work: Directory for downloads, unpacked checkpoints and built folders.
        command: The command line that makes this release again.
        options: What the person decided.
    """

    family: Family
    release: Release
    repo_id: str
    base: Path
    mirror: str | None
    pin: Pin | None
    is_pinned_by_hub: bool
    endpoint: str | None
    embedded: bool
    work: Path
    command: str
    options: Options = field(default_factory=Options)

    def location(self) -> str | Path:
        """Where the source is taken from.

        Raises:
            SourceError: The mirror lacks it.
        """
        return source.resolve(self.release.source, self.base, self.mirror)

    @property
    def folder(self) -> Path:
        """Where this release is unpacked and built."""
        return self.work / "releases" / self.repo_id.replace("/", "--")


@dataclass(frozen=True)
class Outcome:
    """What became of one release, as `convert-and-upload --json` prints it."""

    name: str
    repo_id: str
    status: Status
    version: str | None = None
    bump: str | None = None
    commit: str | None = None
    tag: str | None = None
    url: str | None = None
    parity: Mapping[str, Any] | None = None
    files: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None
    change: str | None = None
    deletes: tuple[str, ...] = ()
    card: str | None = None
    assumed: tuple[str, ...] = ()


def client(job: Job) -> HfApi:
    """The Hub's client for a job. An embedded Hub takes any token, so it never gets a person's real one."""
    if job.embedded:
        # The client asks the environment for a proxy, and no proxy reaches this machine's own loopback.
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost,[::1]"
    from huggingface_hub import HfApi

    return HfApi(
        endpoint=job.endpoint,
        token="embedded" if job.embedded else None,
        library_name="hubpush",
        library_version=__version__,
    )


def survey(job: Job) -> tuple[publish.Remote, Need]:
    """Look at the Hub and decide what a release needs. Reads only; imports nothing heavy.

    Raises:
        HubpushError: The Hub or the source cannot be read.
    """
    try:
        remote = publish.look(client(job), job.repo_id, job.work / "hub-cache")
    except HubUnavailableError:
        if not job.options.dry_run or job.embedded:
            raise
        remote = publish.Remote(exists=False, is_reachable=False)
    if not job.options.overwrite:
        publish.require_untouched(remote, job.repo_id)
    return remote, decide(job, remote)


def decide(job: Job, remote: publish.Remote) -> Need:
    """What a release needs, by its inputs: nothing, its tag, a new card from recorded results, or a conversion."""
    found = remote.manifest
    if found is None:
        return "build"
    if found.hold:
        return "held"
    sha256 = _known_digest(job, found)
    if sha256 is None or not _is_of(found.build, job, sha256):
        return "build"
    if job.options.prove and found.build.verdict == "not-run":
        return "build"
    if remote.drift:
        return "card" if all(path.startswith(publish.README) for path in remote.drift) else "build"
    if found.inputs != _candidate(job, found.build, None).inputs():
        return "card"
    return "nothing" if found.tag in (remote.tags or {}) else "tag"


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
            problems.append(error.message)
        if isinstance(location := source.resolve(release.source, base), Path):
            try:
                source.find(location)
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


def carry(job: Job, tell: Tell) -> Outcome:
    """Take one release all the way: source, checkpoint, model, tokenizer, parity, card, Hub.

    Failures that hubpush understands become part of the outcome, so that the other releases go on.
    """
    seconds: dict[str, float] = {}
    now = datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(job.folder / ".lock"):
            remote, need = survey(job)
            if need in ("nothing", "held") and remote.manifest is not None:
                return _settled(job, remote.manifest, "unchanged" if need == "nothing" else "held", remote)
            if need == "tag" and remote.manifest is not None and job.options.dry_run:
                return replace(_settled(job, remote.manifest, "planned", remote), change="only the tag is missing")
            if need in ("tag", "card") and remote.manifest is not None:
                candidate = _candidate(job, remote.manifest.build, None)
            else:
                build = _build(job, remote, now, tell, seconds)
                candidate = _candidate(job, build, job.folder / "model")
            with _timed("card", job, tell, seconds):
                step = publish.plan_ahead(
                    client(job), remote, candidate, job.work / "hub-cache", now, overwrite=job.options.overwrite
                )
                (job.folder / "README.md").write_text(step.readme, encoding="utf-8", newline="\n")
            if job.options.dry_run:
                return _planned(job, remote, candidate, step, seconds)
            with _timed("push", job, tell, seconds):
                published = publish.publish(
                    client(job),
                    candidate,
                    job.work / "hub-cache",
                    now,
                    private=job.options.private,
                    overwrite=job.options.overwrite,
                    embedded=job.embedded,
                )
            return _settled(job, published.manifest, published.status, None, published, seconds)
    except HubpushError as error:
        return _failed(job, error, seconds)
    except OSError as error:
        # What a station does not explain itself: a full disk, a work directory without permission.
        return _failed(job, HubpushError(f"{error}", hint="check the disk, and the permissions of --work"), seconds)


@dataclass(frozen=True)
class Conversion:
    """A model folder, and how it came about.

    Attributes:
        account: What became of each variable.
        original: The config that came with the checkpoint.
        config: The published config.
        cased: Whether the tokenizer keeps case.
        parameters: Number of published weights.
        sha256: Digest of model.safetensors.
    """

    account: Account
    original: Mapping[str, Any]
    config: Mapping[str, Any]
    cased: bool
    parameters: int
    sha256: str


def convert(files: source.Files, folder: Path, release: Release, *, allow_nonfinite: bool = False) -> Conversion:
    """Write the model and the tokenizer of one checkpoint to an empty folder.

    The small files are read and checked first: a wrong vocabulary is found before the weights are written.

    Raises:
        CheckpointError: The checkpoint is damaged.
        ModelError: Names, shapes or config do not fit the architecture.
        TokenizerError: The vocabulary would give other ids.
    """
    from hubpush import model, tokenizer
    from hubpush.checkpoint import Checkpoint

    architecture = ARCHITECTURES[release.architecture]
    original = model.read_config(files.config, architecture, release.config)
    vocabulary = tokenizer.read_vocab(files.vocab, original["vocab_size"])
    cased = tokenizer.casing(vocabulary, release.cased)
    with Checkpoint(files.prefix) as checkpoint:
        account = model.account(checkpoint, original, architecture)
        account.require()
        config = model.published_config(original, architecture, account.model_class, release.activation)
        written = model.convert(checkpoint, account, config, folder, allow_nonfinite=allow_nonfinite)
    tokenizer.write(vocabulary, folder, cased=cased, model_max_length=original["max_position_embeddings"])
    return Conversion(account, original, config, cased, written.parameters, written.sha256)


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
            finish(_failed(job, refused[job.release.name]))
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
                        finish(_failed(futures[future], _worker_died()))
            except KeyboardInterrupt:
                # A publish can be cut anywhere and is healed by the next run, so nothing is waited for.
                executor.shutdown(wait=False, cancel_futures=True)
                for child in multiprocessing.active_children():
                    child.terminate()
                raise
    return [outcomes[job.release.name] for job in jobs]


def jobs_of(
    family: Family,
    releases: Sequence[Release],
    lock: catalog.Lock,
    *,
    base: Path,
    mirror: str | None,
    repo_ids: Mapping[str, str],
    endpoint: str | None,
    embedded: bool,
    work: Path,
    commands: Mapping[str, str],
    options: Options,
    single: bool = False,
) -> list[Job]:
    """One job for each release."""
    return [
        Job(
            family=family,
            release=release,
            repo_id=repo_ids[release.name],
            base=base,
            mirror=mirror,
            pin=lock.sources.get(release.source),
            is_pinned_by_hub=not single,
            endpoint=endpoint,
            embedded=embedded,
            work=work,
            command=commands[release.name],
            options=options,
        )
        for release in releases
    ]


@contextmanager
def hub(target: str | None) -> Iterator[tuple[str | None, bool]]:
    """The Hub that a person means: a URL, a directory (an embedded Hub runs for the time of the block), or the default.

    Yields:
        The endpoint, or None for the default, and whether it is an embedded Hub.

    Raises:
        UsageError: `target` is neither.
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
    elif Path(target).is_file():
        raise UsageError(f"--hub {target} is a file", hint="give a directory (it is created), or a URL")
    else:
        from hubpush import localhub

        with localhub.serve(Path(target)) as endpoint:
            yield endpoint, True


def _build(job: Job, remote: publish.Remote, now: str, tell: Tell, seconds: dict[str, float]) -> Build:
    """Fetch, convert, prove. What an earlier run of the same inputs built and recorded is used again."""
    from hubpush import parity

    release, name, folder = job.release, job.release.name, job.folder / "model"

    with _timed("fetch", job, tell, seconds):
        archive = source.fetch(
            job.location(),
            job.work / "downloads",
            _pin(job, remote.manifest),
            lambda done, total: tell(name, "fetch", done / total if total else None),
        )
    if (earlier := _remembered(job, archive.sha256)) is not None:
        return earlier

    with source.opened(archive, job.folder / "source") as files:
        with _timed("convert", job, tell, seconds):
            digests = {path.name: manifest.describe(path) for path in files.all()}
            _check_data(release, digests)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            converted = convert(files, folder, release, allow_nonfinite=job.options.allow_nonfinite)
        report: ParityReport | None = None
        if job.options.prove:
            with _timed("parity", job, tell, seconds):
                report = parity.measure(
                    folder,
                    files.prefix,
                    files.vocab,
                    converted.account,
                    converted.original,
                    ARCHITECTURES[release.architecture],
                    activation=release.activation,
                    cased=converted.cased,
                )
                if not job.options.force:
                    report.require()
    if isinstance(job.location(), Path):
        source.require_unchanged(archive)

    account, cased = converted.account, converted.cased
    dropped: dict[str, list[str]] = {}
    for fate in account.dropped():
        dropped.setdefault(fate.reason, []).append(fate.variable.name)
    casing = f"the model is {'cased' if cased else 'uncased'}, as its vocabulary plainly is"
    build = Build(
        weights_inputs=manifest.weights_inputs(release, archive.sha256, cased=cased),
        source=manifest.Source(
            name=_source_name(job), sha256=archive.sha256, size=archive.size, etag=archive.etag, files=digests
        ),
        model=manifest.Model(
            model_class=account.model_class.name,
            heads=tuple(sorted(account.heads)),
            parameters=converted.parameters,
            cased=cased,
            activation=release.activation,
            config=converted.config,
            variables=len(account.fates),
            dropped={reason: tuple(names) for reason, names in dropped.items()},
            assumed=(*release.assumptions, *([casing] if release.cased is None else [])),
        ),
        files={
            path.name: manifest.describe(path, converted.sha256 if path.name == "model.safetensors" else None)
            for path in sorted(folder.iterdir())
        },
        parity=cast("manifest.Parity", report.to_json()) if report else None,
        samples=dict(report.samples) if report else None,
        forced=bool(report and report.verdict == "fail"),
        date=now,
        hubpush=__version__,
    )
    _remember(job, build)
    return build


def _surveyed(job: Job) -> Outcome | None:
    """The outcome of a release that needs nothing, or whose push would be refused; None if there is work to do."""
    try:
        remote, need = survey(job)
        if need in ("nothing", "held") and remote.manifest is not None:
            return _settled(job, remote.manifest, "unchanged" if need == "nothing" else "held", remote)
        card.check_facts(job.release)
        if not job.options.dry_run:
            publish.check_rights(client(job), job.repo_id, remote, embedded=job.embedded)
    except HubpushError as error:
        return _failed(job, error)
    return None


def _known_digest(job: Job, found: manifest.Manifest) -> str | None:
    """The source's digest as far as it is known without a download."""
    if job.pin is not None:
        return job.pin.sha256
    if isinstance(location := job.location(), Path):
        return source.fetch(location, job.work).sha256
    return found.build.source.sha256 if found.build.source.name == _source_name(job) else None


def _pin(job: Job, found: manifest.Manifest | None) -> Pin | None:
    """The lock's entry; without one the manifest on the Hub is the lock, since a fresh runner has nothing else."""
    if job.pin is not None or not job.is_pinned_by_hub or found is None:
        return job.pin
    recorded = found.build.source
    return Pin(sha256=recorded.sha256, size=recorded.size) if recorded.name == _source_name(job) else None


def _source_name(job: Job) -> str:
    """What the manifest calls the source: the family's URL even where a mirror serves it; never a path of a machine."""
    declared = job.release.source
    return source.display_name(declared if catalog.is_allowed_url(declared) else Path(declared))


def _is_of(build: Build, job: Job, sha256: str) -> bool:
    """Whether a recorded conversion is the one that a job asks for, and holds what its family file promises."""
    release = job.release
    cased = build.model.cased if release.cased is None else release.cased
    return (
        build.weights_inputs == manifest.weights_inputs(release, sha256, cased=cased)
        and all(build.model.config.get(key) == value for key, value in release.config.items())
        and release.data_sha256 in (None, *(file.sha256 for file in build.source.files.values()))
    )


def _candidate(job: Job, build: Build, folder: Path | None) -> publish.Candidate:
    return publish.Candidate(job.family, job.release, job.repo_id, job.command, build, folder)


def _archive_size(job: Job) -> int:
    """Bytes of an archive, as far as lock, disk or server tell; one that cannot be had fails at its own station."""
    try:
        location = job.location()
        if job.pin is not None and job.pin.size is not None:
            return job.pin.size
        return source.size_of(location) or 0
    except HubpushError:
        return 0


def _check_data(release: Release, digests: Mapping[str, manifest.File]) -> None:
    """The data file against its digest in another publication of the same checkpoint, where one is known."""
    data = {name: file for name, file in digests.items() if ".data-" in name}
    if release.data_sha256 is not None and release.data_sha256 not in {file.sha256 for file in data.values()}:
        found = "\n".join(f"  found    {file.sha256} {name}" for name, file in data.items())
        raise SourceError(
            f"{release.name}: the data file is not the one its authors published elsewhere:\n"
            f"  expected {release.data_sha256}\n{found}",
            hint="nothing was converted; if the other publication is the wrong one, drop `data_sha256` in the family",
        )


def _remember(job: Job, build: Build) -> None:
    path = job.folder / "build.json"
    partial = path.with_name("build.json.part")
    partial.write_text(build.model_dump_json(), encoding="utf-8")
    os.replace(partial, path)  # noqa: PTH105 - replaces on every platform


def _remembered(job: Job, sha256: str) -> Build | None:
    """The folder that an earlier run left, if it is what this run would build and every file is still what it was."""
    path, folder = job.folder / "build.json", job.folder / "model"
    try:
        build = Build.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValueError):  # none, or cut short by a crash, or of another version of hubpush
        return None
    if not _is_of(build, job, sha256) or (job.options.prove and build.verdict == "not-run"):
        return None
    if build.verdict == "fail" and not job.options.force:
        return None
    if any(
        not (folder / name).is_file() or manifest.describe(folder / name) != file for name, file in build.files.items()
    ):
        return None
    return build


def _failed(job: Job, error: HubpushError, seconds: Mapping[str, float] | None = None) -> Outcome:
    problem = {"code": error.exit_code, "message": error.message, "hint": error.hint}
    return Outcome(job.release.name, job.repo_id, "failed", seconds=dict(seconds or {}), error=problem)


def _worker_died() -> HubpushError:
    return HubpushError(
        "the worker process died (killed by the system for want of memory?)",
        hint="run the same command again with a smaller --jobs: what was done stays done",
    )


def _settled(
    job: Job,
    found: manifest.Manifest,
    status: Status,
    remote: publish.Remote | None,
    published: publish.Published | None = None,
    seconds: Mapping[str, float] | None = None,
) -> Outcome:
    commit = published.commit if published is not None else (remote.tags or {}).get(found.tag) if remote else None
    return Outcome(
        name=job.release.name,
        repo_id=job.repo_id,
        status=status,
        version=found.version,
        bump=published.bump if published is not None else None,
        commit=commit,
        tag=found.tag,
        url=f"{client(job).endpoint}/{job.repo_id}/tree/{found.tag}",
        parity=_parity_summary(found.build),
        files={path: {"sha256": file.sha256, "size": file.size} for path, file in found.files.items()},
        seconds=dict(seconds or {}),
        change=found.history[-1].change if found.history else None,
        assumed=found.build.model.assumed,
    )


def _planned(
    job: Job,
    remote: publish.Remote,
    candidate: publish.Candidate,
    step: publish.Plan,
    seconds: Mapping[str, float],
) -> Outcome:
    return Outcome(
        name=job.release.name,
        repo_id=job.repo_id,
        status="planned",
        version=step.version,
        bump=step.bump,
        tag=f"v{step.version}",
        parity=_parity_summary(candidate.build),
        files={
            path: {"sha256": file.sha256, "size": file.size}
            for path, file in step.manifest.files.items()
            if path in step.adds
        },
        seconds=dict(seconds),
        change=step.change + ("" if remote.is_reachable else "; the Hub was not reached: planned against an empty one"),
        deletes=step.deletes,
        card=str(job.folder / "README.md"),
        assumed=candidate.build.model.assumed,
    )


def _parity_summary(build: Build) -> dict[str, Any]:
    """The verdict, and the float64 output with the largest difference."""
    worst = None
    for reference in build.parity["references"] if build.parity is not None else []:
        if reference["as_published"] and reference["dtype"] == "float64":
            worst = {key: reference["worst"][key] for key in ("output", "max_abs", "tolerance")} | {"dtype": "float64"}
    return {"verdict": build.verdict, "worst": worst}


@contextmanager
def _timed(station: str, job: Job, tell: Tell, seconds: dict[str, float]) -> Iterator[None]:
    tell(job.release.name, station, None)
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[station] = round(time.perf_counter() - start, 3)


# What a worker process got from its parent at its start; a queue cannot be sent along with each job.
_told: Any = None


def _share(queue: Any, workers: int) -> None:
    global _told
    _told = queue
    # Ctrl-C reaches the whole process group; the parent decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Workers side by side share the machine's cores instead of each asking for all of them.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


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
