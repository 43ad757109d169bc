"""A family of releases: looked at together, then carried one by one, by the workers of `hubpush.workers`."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hubpush import card, catalog, collection, preview, publish, rights, saved, source
from hubpush.catalog import Family
from hubpush.client import Bounds, late
from hubpush.errors import (
    CatalogError,
    DriftError,
    HubpushError,
    HubRefusedError,
    Mistake,
    SourceError,
    UsageError,
    redact,
)
from hubpush.job import (
    Job,
    Outcome,
    Page,
    Tell,
    archive_size,
    client,
    client_of,
    failed,
    folder_of,
    is_keyless,
    settled,
)
from hubpush.pipeline import Need, at_rest, locked, survey, why
from hubpush.workers import carrying

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def check_family(family: Family, file: Path) -> None:
    """Check what a family file promises beyond its form: metadata that the Hub takes, sources that are there.

    Args:
        family: The family.
        file: Its file.

    Raises:
        CatalogError: All that is wrong, by release.
    """
    problems, base = [], file.parent
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
        raise CatalogError(
            f"{family.name} cannot be carried as it is:{lines}",
            hint="correct the family file",
            mistakes=tuple(Mistake(file, None, problem) for problem in problems),
        )


def require_packages(jobs: Sequence[Job]) -> None:
    """Check what a run needs before anything is asked of a server.

    Raises:
        MissingExtraError: Parity is asked for and its packages are not installed.
    """
    if any(job.options.prove for job in jobs):
        from hubpush import parity

        parity.require_installed()


def archive_sizes(jobs: Sequence[Job]) -> dict[str, int]:
    """Bytes of the releases' archives, by the releases' names; 0 where nobody can tell."""
    with ThreadPoolExecutor(8) as threads:
        return dict(zip((job.release.name for job in jobs), threads.map(archive_size, jobs), strict=True))


def without_room(jobs: Sequence[Job], sizes: Mapping[str, int]) -> dict[str, HubpushError]:
    """The releases for which the disk has no room, by name, if they are carried in this order."""
    refused: dict[str, HubpushError] = {}
    needed = 0
    for job in jobs:
        # Archives stay for the next run; beside each the checkpoint unpacked (for a time) and the built folder.
        space = 3 * sizes[job.release.name]
        try:
            source.require_space(job.work, needed + space)
            needed += space
        except HubpushError as error:
            refused[job.release.name] = error
    return refused


def _in_good_order(jobs: Sequence[Job], sizes: Mapping[str, int], side_by_side: int) -> list[Job]:
    """The order in which several workers end together, the first of them without waiting for a large download.

    That is the smallest ones first, one for each worker, and then from the largest on.
    """
    by_size = sorted(jobs, key=lambda job: sizes[job.release.name])
    return [*by_size[:side_by_side], *reversed(by_size[side_by_side:])]


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


def carry_all(
    jobs: Sequence[Job],
    workers: int,
    tell: Tell,
    done: Callable[[Outcome], None],
    *,
    scheduler: str | None = None,
    shelf: preview.Shelf | None = None,
) -> list[Outcome]:
    """Carry a family: look at all repos, check what would fail, then do what is needed, where `hubpush.workers` says.

    Args:
        jobs: The releases.
        workers: Processes at a time; with one, the work is done in this process.
        tell: Told about progress.
        done: Told about each outcome as soon as it is there.
        scheduler: Address of a Dask scheduler, whose workers then do the work.
        shelf: Where previews go; None leaves them in the outcomes.

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
        if shelf is not None and outcome.preview is not None:
            shelf.put(outcome.preview)
            outcome = replace(outcome, preview=None)
        outcomes[outcome.name] = outcome
        done(outcome)

    needed: list[Job] = []
    to_build: set[str] = set()
    changing = 0
    with ThreadPoolExecutor(min(8, len(jobs))) as threads:
        for job, found in zip(jobs, threads.map(_surveyed, jobs), strict=True):
            if isinstance(found, Outcome):
                finish(found)
            else:
                needed.append(job)
                changing += found in ("build", "card")
                to_build |= {job.release.name} if found == "build" else set()
    refused, sizes = _too_many(needed, changing), dict[str, int]()
    if not refused:
        require_packages(needed)
        sizes = archive_sizes(needed)
        refused = without_room(needed, sizes)
    for job in needed:
        if job.release.name in refused:
            finish(_failed(job, refused[job.release.name]))
    needed = [job for job in needed if job.release.name not in refused]
    if workers > 1:
        needed = _in_good_order(needed, sizes, workers)
    if needed:
        # Workers of a cluster may have another way to the source.
        ahead = [job for job in needed if job.release.name in to_build] if scheduler is None else []
        with _fetching(ahead, tell), carrying(needed, workers, scheduler, tell) as carried:
            for outcome in carried:
                finish(outcome)
    return [outcomes[job.release.name] for job in jobs]


@contextmanager
def _fetching(jobs: Sequence[Job], tell: Tell) -> Iterator[None]:
    """Fetch what releases need from servers, one after the other, while those before them are carried.

    So the network is at work while processors and disks are. What fails here says so where the release is carried.
    """
    is_over = threading.Event()

    def fetch(job: Job) -> None:
        def told(done: int, total: int | None) -> None:
            if is_over.is_set():
                raise InterruptedError
            tell(job.release.name, "fetch", done / total if total else None)

        if isinstance(location := job.location(), str):
            source.bring(location, job.work / "downloads", job.pin, told, until=job.options.bounds.until)

    def fetch_all() -> None:
        for job in jobs[1:]:  # the first one is carried, and so fetched, right now
            with suppress(HubpushError, OSError):
                fetch(job)
            if is_over.is_set():
                return

    thread = threading.Thread(target=fetch_all, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(1.0)


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


def _surveyed(job: Job) -> Outcome | Need:
    """The outcome of a release that needs nothing, or whose push would be refused; else what it needs."""
    try:
        found = survey(job)
        if (outcome := at_rest(job, found)) is not None:
            return outcome
        card.check_facts(job.release)
        if not job.options.dry_run:
            rights.check_rights(
                client(job),
                job.repo_id,
                found.remote,
                embedded=job.embedded,
                create_pr=job.options.create_pr,
            )
    except HubpushError as error:
        return _failed(job, late(error, job.options.bounds))
    except OSError as error:  # a path that the system refuses concerns this release alone
        return _failed(job, SourceError(f"{error}", hint="check the path and the permissions of the source"))
    return found.need


def _failed(job: Job, error: HubpushError) -> Outcome:
    return failed(job.release.name, job.repo_id, error)


def _too_many(needed: Sequence[Job], changing: int) -> dict[str, HubpushError]:
    """Why none of these is touched, by name: a bad tool must not rewrite a family unattended."""
    most = needed[0].options.max_changes if needed else None
    if most is None or changing <= most:
        return {}
    error = DriftError(
        f"{changing} repo{'s' * (changing != 1)} would change, and --max-changes is {most}: nothing was touched",
        hint="look at the plan (--dry-run); if it is meant, run again with a higher --max-changes",
    )
    return {job.release.name: error for job in needed}


def pin(jobs: Sequence[Job], lock: Path, tell: Tell) -> list[dict[str, str | None]]:
    """Fetch the sources of some releases, and write what they are now to a lock file.

    Args:
        jobs: The releases, with what their sources were before.
        lock: The file; its other entries stay.
        tell: Told about progress.

    Returns:
        A row for each source: `name`, digest `before` (None for a new one) and `now`.

    Raises:
        SourceError: A source does not come: nothing is written.
        CatalogError: The lock cannot be read or written.
    """
    pins: dict[str, catalog.Pin] = {}
    rows: list[dict[str, str | None]] = []
    for job in jobs:
        name, key = job.release.name, job.release.source

        def fetching(done: int, total: int | None, name: str = name) -> None:
            tell(name, "fetch", done / total if total else None)

        if key not in pins:
            archive = source.fetch(job.location(), job.work / "downloads", progress=fetching, texts=job.texts)
            pins[key] = catalog.Pin(size=archive.size, sha256=archive.sha256, etag=archive.etag)
        rows.append({"name": name, "before": None if job.pin is None else job.pin.sha256, "now": pins[key].sha256})
    known = catalog.load_lock(lock).sources if lock.exists() else {}
    catalog.write_lock(lock, catalog.Lock(sources={**known, **pins}))
    return rows


@dataclass(frozen=True)
class Standing:
    """Where a release stands: a row of `status`.

    Attributes:
        name: The release.
        repo_id: The repo.
        state: `up-to-date`, `outdated`, `missing`, `drifted`, `held`, `proposed` (a pull request is open), or `unknown`
            where the Hub could not be asked.
        version: The version on the Hub.
        reason: Why it is not up to date.
        code: Exit code of what is `unknown`.
    """

    name: str
    repo_id: str
    state: str
    version: str | None
    reason: str | None
    code: int = 0


def standings(jobs: Sequence[Job]) -> list[Standing]:
    """Where the releases stand, by the same look that a run takes. Reads only."""
    with ThreadPoolExecutor(min(8, len(jobs))) as threads:
        return list(threads.map(_standing, jobs))


def _standing(job: Job) -> Standing:
    try:
        # Drift is what is asked for here, so it is nothing to stop at.
        asking = replace(job, options=replace(job.options, overwrite=True, create_pr=True))
        try:
            looked = survey(asking)
        except HubRefusedError:  # without a token of a person nobody's requests can be looked for
            looked = survey(replace(asking, options=replace(asking.options, create_pr=False)))
        remote, need, reason = looked.remote, looked.need, why(job, looked)
    except HubpushError as error:
        return Standing(job.release.name, job.repo_id, "unknown", None, redact(error.message), error.exit_code)
    found = remote.manifest
    state = {"nothing": "up-to-date", "close": "up-to-date", "held": "held", "proposed": "proposed"}.get(
        need, "missing" if found is None else "outdated"
    )
    if remote.drift and need != "held":
        state = "drifted"
    return Standing(
        job.release.name,
        job.repo_id,
        state,
        found.tag if found is not None else None,
        reason,
    )


def apply_all(
    plan: saved.Saved,
    work: Path,
    endpoint: str | None,
    tell: Tell,
    done: Callable[[Outcome], None],
    *,
    embedded: bool,
    bounds: Bounds,
) -> list[Outcome]:
    """Push what a plan says, repo by repo: exactly that, or an error that says what is another now.

    Args:
        plan: The plan.
        work: The work directory that it was made with.
        endpoint: The Hub; None for the one huggingface_hub is configured for.
        tell: Told about progress.
        done: Told about each outcome as soon as it is there.
        embedded: Whether the Hub is an embedded one.
        bounds: How long is waited for the Hub, and the deadline of the run.

    Raises:
        DriftError: The plan was made for another Hub.
    """
    outcomes = []
    for item in plan.releases:
        tell(item.name, "push", None)
        try:
            api = client_of(endpoint, embedded=embedded, repo_id=item.repo_id, bounds=bounds)
            if plan.hub != (None if embedded else api.endpoint):
                raise DriftError(
                    f"the plan is for {plan.hub or 'an embedded Hub'}, and this is {api.endpoint}",
                    hint="give the --hub that the plan was made for",
                )
            folder = folder_of(work, item.repo_id)
            with locked(folder, item.name, bounds, tell):
                published = publish.push(
                    api,
                    item.repo_id,
                    saved.following(item, folder),
                    work / "hub-cache",
                    private=item.private,
                    author=rights.author(api, item.repo_id) if item.create_pr else None,
                    embedded=embedded,
                    bounds=bounds,
                    tell=lambda why, name=item.name: tell(name, f"push: {why}", None),  # type: ignore[misc]
                )
            outcome = settled(
                *(item.name, item.repo_id, published.manifest, published.status, api, published.commit),
                bump=published.bump,
                proposal=published.proposal,
            )
        except HubpushError as error:
            outcome = failed(item.name, item.repo_id, late(error, bounds))
        except OSError as error:
            trouble = SourceError(f"{error}", hint="check the disk, and the permissions of --work")
            outcome = failed(item.name, item.repo_id, trouble)
        outcomes.append(outcome)
        done(outcome)
    return outcomes


def family_page(
    jobs: Sequence[Job], outcomes: Sequence[Outcome], *, private: bool, asked: bool | None
) -> collection.Wanted | None:
    """The family's page as it ought to be after a run: a note for each release that stands on the Hub.

    Args:
        jobs: The releases.
        outcomes: What became of them.
        private: Visibility of a page that is created.
        asked: What `--collection` says; without it a family of several releases has a page, if the token can make one.
    """
    family = jobs[0].family
    if asked is False or (asked is None and (len(family.releases) == 1 or is_keyless())):
        return None
    notes = [
        (one.repo_id, collection.note(parity["verdict"], parity["worst"], one.version, yanked=one.yanked))
        for one in outcomes
        if one.status in ("published", "unchanged", "held", "planned")
        if (parity := one.parity) is not None and one.version is not None
    ]
    return collection.wanted(jobs[0].repo_id.partition("/")[0], family, notes, private=private) if notes else None


def without_failed(wanted: collection.Wanted, outcomes: Sequence[Outcome]) -> collection.Wanted | None:
    """The family's page of a plan without the notes of releases that were not pushed; None where nothing is left."""
    failed = {one.repo_id for one in outcomes if one.error is not None}
    items = tuple(one.model_copy(update={"note": None}) if one.repo_id in failed else one for one in wanted.items)
    return wanted.model_copy(update={"items": items}) if any(one.note is not None for one in items) else None


def plan_page(
    job: Job, wanted: collection.Wanted, outcomes: Sequence[Outcome], *, asked: bool | None
) -> tuple[collection.Step | None, Page]:
    """What a push would do to the family's page; against an empty Hub where the releases reached none.

    Args:
        job: One of the releases.
        wanted: What the page ought to be.
        outcomes: What a dry run of the releases came to.
        asked: What `--collection` says.
    """
    try:
        if all(one.is_reached for one in outcomes):
            api = client_of(job.endpoint, embedded=job.embedded, bounds=job.options.bounds)
            step = collection.plan(api, wanted)
        else:
            step = collection.of_nothing(wanted)
    except HubpushError as error:
        return None, _no_page(wanted, error, asked=asked)
    return step, Page(step.status, step.title, None, tuple(step.words()))


def _no_page(wanted: collection.Wanted, error: HubpushError, *, asked: bool | None) -> Page:
    """A page that could not be made: no error of the run where the token may not make one and nobody asked for it."""
    is_wish = asked is None and isinstance(error, HubRefusedError)
    trouble = {"message": error.message, "hint": error.hint}
    return Page("failed", wanted.title, None, (), trouble, 0 if is_wish else error.exit_code)


def shown(step: collection.Step) -> preview.Collection:
    """The family's page for the index of a preview."""
    items = tuple((row.item_id, row.note) for row in step.items)
    return preview.Collection(step.title, step.description, step.status, items)


def put_page(wanted: collection.Wanted, api: Callable[[], HfApi], *, asked: bool | None) -> Page:
    """Make the family's page what it ought to be, after all releases.

    Args:
        wanted: What it ought to be.
        api: Makes the client.
        asked: Whether somebody asked for it; a token without the right to collections then is an error.
    """
    try:
        made = collection.apply(api(), wanted)
    except HubpushError as error:
        return _no_page(wanted, error, asked=asked)
    said = (*made.remarks, *(f"{repo_id} does not exist on the Hub and is left out" for repo_id in made.missing))
    return Page(made.status, wanted.title, made.url, said)
