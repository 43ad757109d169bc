"""The whole path of one release as one function that reads like a story: `carry`.

`survey` looks at the Hub and decides what a release needs; `carry` does it, from the source to the Hub.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from filelock import FileLock, Timeout

from hubpush import (
    card,
    catalog,
    manifest,
    parity,
    planning,
    preview,
    publish,
    rights,
    saved,
    source,
)
from hubpush.architectures import ARCHITECTURES
from hubpush.catalog import Pin, Release
from hubpush.client import AgainError, Bounds, late, require_creation, require_time
from hubpush.conversion import Conversion, convert, prove, record
from hubpush.digests import file_sha256
from hubpush.download import Progress, Served, served
from hubpush.errors import CardError, HubpushError, HubUnavailableError, SourceError
from hubpush.job import Job, Outcome, Status, Tell, client, failed, planned, settled
from hubpush.manifest import README, Build
from hubpush.metadata import Problem
from hubpush.remote import Remote, check_card, download, look
from hubpush.remote import read as hub_text

if TYPE_CHECKING:
    from huggingface_hub import HfApi


Need = Literal["nothing", "held", "proposed", "close", "tag", "card", "build", "look"]
"""What a release needs. `look`: the source's server has another version than the one that is known, and only its bytes
tell whether it is another source."""


@dataclass(frozen=True)
class Survey:
    """What stands on the Hub, and what a release needs.

    Attributes:
        remote: What stands there.
        need: What is to be done.
        remarks: What a person should know, though it stops nothing.
    """

    remote: Remote
    need: Need
    remarks: tuple[str, ...] = ()


def survey(job: Job) -> Survey:
    """Look at the Hub and at what the source's server says, and decide what a release needs.

    Reads only, no bytes of a source; imports nothing heavy.

    Raises:
        HubpushError: The Hub or the source cannot be read.
    """
    options = job.options
    try:
        there = looked(job)
    except HubUnavailableError:
        if not options.dry_run or job.embedded:
            raise
        there = Remote(exists=False, is_reachable=False)
    job.texts.digests()  # what is not there is said before anything is fetched
    is_held = there.manifest is not None and there.manifest.hold
    if not (options.overwrite or is_held):
        planning.require_untouched(there, job.repo_id, adopt=options.adopt)
    need = decide(job, there)
    if need in ("held", "build") or there.manifest is None:
        return Survey(there, need)
    now, has_moved = _watched(job, there.manifest)
    gone = now.status is not None and 400 <= now.status < 500 and now.status not in (405, 408, 425, 429)
    remark = f"its source answers {now.status}: nothing can be made again from there"
    return Survey(there, "look" if has_moved else need, (remark,) if gone else ())


def _watched(job: Job, found: manifest.Manifest) -> tuple[Served, bool]:
    """What the source's server says of it, and whether that is another version than the one that is known."""
    location = job.location()
    if not (isinstance(location, str) and job.is_pinned_by_hub) or (known := _pin(job, found)) is None:
        return Served(), False
    recorded = found.build.source
    tag = known.etag or (recorded.etag if recorded.sha256 == known.sha256 else None)
    now = served(location, job.options.bounds.until)
    # A mirror calls the same bytes by another name.
    return now, now.is_another(tag if job.mirror is None else None, known.size)


def looked(job: Job) -> Remote:
    """A look that takes a bad moment of the Hub for one: it is tried three times."""
    for pause in (publish.PAUSE, 3 * publish.PAUSE, None):
        try:
            api = client(job)
            author = rights.author(api, job.repo_id) if job.options.create_pr else None
            return look(api, job.repo_id, job.work / "hub-cache", author=author)
        except AgainError:
            if pause is None:
                raise
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def decide(job: Job, remote: Remote) -> Need:
    """What a release needs, by its inputs: nothing, its tag, a new card from recorded results, or a conversion.

    With a pull request of ours open, what that needs: `proposed` is nothing. Of a source that is a URL and pinned, only
    the digest that is known already is looked at.
    """
    need = _decide(job, remote)
    if need in ("build", "card") and (proposal := planning.open_proposal(remote)) is not None:
        tags = {**(remote.tags or {}), proposal.manifest.tag: proposal.head}
        of_proposal = replace(remote, tags=tags, manifest=proposal.manifest, drift=proposal.drift, proposals=())
        need = _decide(job, of_proposal)
        return "proposed" if need == "nothing" else need
    # A request that was overtaken is closed by a push, which has nothing else to do.
    return "close" if need == "nothing" and remote.proposals else need


def _decide(job: Job, remote: Remote) -> Need:
    found = remote.manifest
    if found is None:
        return "build"
    if found.hold:
        # A rollback that died before its tag is healed too.
        return "held" if found.tag in (remote.tags or {}) or remote.drift else "tag"
    sha256 = _known_digest(job, found)
    if sha256 is None or not _is_of(found.build, job, sha256):
        return "build"
    if _lacks_proof(found.build, job):
        return "build"
    if remote.drift:
        of_card = (README, card.CHART)
        return "card" if all(path.startswith(of_card) for path in remote.drift) else "build"
    if found.inputs != _recorded(job, found.build).inputs():
        return "card"
    return "nothing" if found.tag in (remote.tags or {}) else "tag"


def carry(job: Job, tell: Tell) -> Outcome:
    """Take one release all the way: source, checkpoint, model, tokenizer, parity, card, Hub.

    Failures that hubpush understands become part of the outcome, so that the other releases go on.
    """
    seconds: dict[str, float] = {}
    forget_peak()
    now = datetime.datetime.now(datetime.UTC).date().isoformat()
    options, cache = job.options, job.work / "hub-cache"

    def telling(name: str, station: str, part: float | None) -> None:
        # What takes long tells how far it is, so here is where it can be ended.
        require_time(options.bounds)
        tell(name, station, part)

    try:
        with locked(job.folder, job.release.name, options.bounds, tell):
            found = survey(job)
            if found.need == "look":
                found = _compared(job, found, telling, seconds)
            remote, need = found.remote, found.need
            proposal = planning.open_proposal(remote)
            if (outcome := at_rest(job, found)) is not None:
                return replace(outcome, seconds=seconds)
            if need == "tag" and remote.manifest is not None and options.dry_run:
                item = saved.of_tag(remote, job.release.name, job.repo_id)
                waiting = standing(job, remote, "planned")
                return _previewed(job, remote, replace(waiting, change="only the tag is missing", plan=item))
            if not (remote.exists or options.dry_run):
                require_creation(client(job).endpoint)
            recorded = proposal.manifest if proposal is not None else remote.manifest
            if need in ("tag", "card", "close") and recorded is not None:
                candidate = _recorded(job, recorded.build)
            else:
                build = _build(job, remote, telling, seconds)
                candidate = _candidate(job, build, job.folder / "model")
            with _timed("card", job, telling, seconds):
                step = planning.plan_ahead(
                    client(job),
                    planning.with_proposal(remote),
                    candidate,
                    cache,
                    now,
                    overwrite=options.overwrite,
                    adopt=options.adopt,
                    max_bump=options.max_bump,
                )
                write_generated(job, step)
                said = _said_of(job, step) if options.online else ()
            if options.dry_run:
                outcome = planned(job, remote, step, seconds, said)
                return replace(outcome, memory=peak_memory(), remarks=found.remarks)
            with _timed("push", job, telling, seconds):
                published = publish.publish(
                    client(job),
                    candidate,
                    cache,
                    now,
                    private=options.private,
                    author=rights.author(client(job), job.repo_id) if options.create_pr else None,
                    embedded=job.embedded,
                    bounds=options.bounds,
                    tell=lambda why: tell(job.release.name, f"push: {why}", None),
                    overwrite=options.overwrite,
                    adopt=options.adopt,
                    max_bump=options.max_bump,
                )
            outcome = settled(
                job.release.name,
                job.repo_id,
                published.manifest,
                published.status,
                client(job),
                published.commit,
                bump=published.bump,
                proposal=published.proposal,
                seconds=seconds,
            )
            return replace(outcome, memory=peak_memory(), remarks=found.remarks)
    except HubpushError as error:
        return failed(job.release.name, job.repo_id, late(error, options.bounds), seconds)
    except OSError as error:
        # What a station does not explain itself: a full disk, a work directory without permission.
        trouble = HubpushError(f"{error}", hint="check the disk, and the permissions of --work")
        return failed(job.release.name, job.repo_id, trouble, seconds)


def _compared(job: Job, found: Survey, tell: Tell, seconds: dict[str, float]) -> Survey:
    """Fetch what the source's server has now, and hold it against the source that is known.

    Raises:
        SourceError: It is another one: nothing is published of it before a person accepts it.
    """
    name, location = job.release.name, str(job.location())
    known = _pin(job, cast("manifest.Manifest", found.remote.manifest))
    with _timed("fetch", job, tell, seconds):
        now = source.fetch_served(
            *(location, job.work / "downloads"),
            lambda done, total: tell(name, "fetch", done / total if total else None),
            until=job.options.bounds.until,
        )
    try:
        source.check(now.name, now.sha256, now.size, known)
    except SourceError as error:
        raise SourceError(
            error.message,
            hint=f"nothing was converted, and what stands on the Hub stays; if the change is meant, accept it: `hubpush"
            f" pin {name} --family FILE` (of a shipped family: --lock FILE), review what that writes, and run again",
        ) from None
    remark = f"its server calls the same bytes by another name now; `hubpush pin {name}` would record that"
    return Survey(found.remote, decide(job, found.remote), (*found.remarks, remark))


def _said_of(job: Job, step: planning.Plan) -> tuple[Problem, ...]:
    """What the Hub says of a card.

    Raises:
        CardError: It would refuse it.
    """
    found = tuple(check_card(client(job), job.repo_id, step.readme))
    if wrong := [one.message for one in found if one.severity == "error"]:
        raise CardError(
            f"{job.repo_id}: the Hub would refuse the card: {'; '.join(wrong)}",
            hint="correct it in the family file, or in --license or --language",
        )
    return found


@contextmanager
def locked(folder: Path, name: str, bounds: Bounds, tell: Tell) -> Iterator[None]:
    """One run at a time in the folder of a release; another one waits, and says so.

    Raises:
        DeferredError: The deadline comes first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell(name, "wait for another run", None)
        while not lock.is_locked:
            require_time(bounds)
            with suppress(Timeout):
                lock.acquire(timeout=1)
    try:
        yield
    finally:
        lock.release()


def why(job: Job, survey: Survey) -> str | None:
    """What makes a release need something, in words."""
    remote, need = survey.remote, survey.need
    found = remote.manifest
    if found is None:
        if need == "proposed" and (proposal := planning.open_proposal(remote)) is not None:
            return f"v{proposal.manifest.version} waits in pull request {proposal.number}"
        if remote.exists:
            return "the repo holds no release of hubpush"
        return "there is no repo yet, or it is private and this token does not see it"
    if remote.drift:
        return f"changed by somebody: {', '.join(remote.drift)}"
    if need == "build":
        sha256 = _known_digest(job, found)
        if sha256 not in (None, found.build.source.sha256):
            return f"the source is {str(sha256)[:12]} now, and {found.build.source.sha256[:12]} was converted"
        if sha256 is not None and _is_of(found.build, job, sha256):
            return "a comparison is asked for that is not recorded"
        return "the source, the weight map or an option is another one"
    if need == "proposed" and (proposal := planning.open_proposal(remote)) is not None:
        return f"v{proposal.manifest.version} waits in pull request {proposal.number}"
    return {
        "card": "the facts, the templates or the recorded results of the card changed",
        "tag": f"the tag {found.tag} is missing",
        "held": f"a hold is set: {found.history[-1].change}",
        "look": "the source's server has another version: the next run looks whether its bytes are others",
    }.get(need)


def at_rest(job: Job, survey: Survey) -> Outcome | None:
    """The outcome of a release that needs nothing; None if there is something to do."""
    remote, need = survey.remote, survey.need
    if need == "held" or need == "nothing" or (need == "close" and job.options.dry_run):
        outcome = standing(job, remote, "held" if need == "held" else "unchanged")
        return _previewed(job, remote, replace(outcome, remarks=survey.remarks))
    if need == "proposed" and (one := planning.open_proposal(remote)) is not None:
        name, repo_id = job.release.name, job.repo_id
        outcome = settled(name, repo_id, one.manifest, "proposed", client(job), one.head, proposal=one.number)
        there = replace(remote, manifest=one.manifest, head=one.head, files=one.files)
        return _previewed(job, there, replace(outcome, remarks=survey.remarks))
    return None


def _previewed(job: Job, there: Remote, outcome: Outcome) -> Outcome:
    """With what its page shows, where that is asked for: the card as it stands."""
    if not job.options.dry_run or there.manifest is None:
        return outcome
    cache, files = job.work / "hub-cache", there.files or {}
    text = hub_text(client(job), job.repo_id, README, there.head, cache, files) if README in files else ""
    status = "unchanged" if outcome.status == "planned" else outcome.status  # only its tag is missing
    shown = preview.of_standing(there.manifest, text, job.release.name, job.repo_id, status, there)
    return replace(outcome, preview=shown)


def standing(job: Job, remote: Remote, status: Status) -> Outcome:
    """The outcome of a release that is on the Hub."""
    found = cast("manifest.Manifest", remote.manifest)
    return settled(job.release.name, job.repo_id, found, status, client(job), (remote.tags or {}).get(found.tag))


def write_generated(job: Job, step: planning.Plan) -> None:
    """Lay README.md, hubpush.json and the pictures of a plan beside the converted files, for people and `--apply`."""
    for path, content in step.generated.items():
        target = job.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _build(job: Job, remote: Remote, tell: Tell, seconds: dict[str, float]) -> Build:
    """Fetch, convert, prove. What an earlier run of the same inputs built and recorded is used again."""
    release, name, folder, options = job.release, job.release.name, job.folder / "model", job.options

    def fetching(done: int, total: int | None) -> None:
        tell(name, "fetch", done / total if total else None)

    with _timed("fetch", job, tell, seconds):
        local = source.bring(
            *(job.location(), job.work / "downloads", _pin(job, remote.manifest), fetching),
            until=options.bounds.until,
        )
        if job.mirror is not None:
            local = replace(local, etag=None)  # the mirror's word for it, and the source is watched where it is
        if (earlier := _remembered(job, local)) is not None:
            return earlier
    with _timed("fetch", job, tell, seconds):
        references = [
            bring(one, release, Path(), job.base, lambda: client(job), job.work, fetching)
            for one in (options.references if options.prove else ())
        ]

    with ExitStack() as kept:
        with _timed("unpack", job, tell, seconds):
            files = kept.enter_context(source.opened(local, job.folder / "source", job.texts))
        with _timed("convert", job, tell, seconds):
            texts = {role: manifest.describe(path).sha256 for role, path in files.texts().items()}
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            converted = convert(files, folder, release, allow_nonfinite=options.allow_nonfinite)
            _check_source(job, local, files, converted)
        report = None
        if options.prove:
            with _timed("parity", job, tell, seconds):
                report = prove(
                    folder, files, converted.reading, release, references, lambda part: tell(name, "parity", part)
                )
                if not options.force:
                    report.require()
        with _timed("card", job, tell, seconds):
            build = record(
                release,
                files,
                folder,
                converted.reading,
                report,
                name=_source_name(job),
                written=converted.written,
                nonfinite=options.allow_nonfinite,
            )
    if texts != build.source.texts or any(texts[role] != sha256 for role, sha256 in job.texts.digests().items()):
        raise SourceError(
            "config or vocabulary were changed while they were used", hint="let nobody write to them, and run again"
        )
    _remember(job, build)
    return build


def bring(
    asked: parity.Asked,
    release: Release,
    here: Path,
    base: Path,
    api: Callable[[], HfApi],
    work: Path,
    progress: Progress,
) -> parity.Asked:
    """A reference with everything that it needs on this machine: a module unpacked, a repo downloaded.

    Args:
        asked: What is asked for. Where it is, the release says if nobody did.
        release: The release.
        here: The directory that paths on the command line are relative to.
        base: The directory that the release's paths are relative to.
        api: Makes the client of the Hub, where one is needed.
        work: Directory for downloads.
        progress: Told about the bytes of a download.

    Raises:
        CatalogError: Nobody says where it is.
        SourceError: It does not come, or must not be opened.
        HubRefusedError: There is no such repo.
        HubUnavailableError: The Hub does not answer.
    """
    one = asked.of(release)
    if one.name == "tfhub":
        location = source.resolve(str(one.where), here if asked.where is not None else base)
        if isinstance(location, Path) and location.is_dir():
            return replace(one, folder=location)
        archive, folder = source.fetch_module(location, work / "downloads", progress)
        return replace(one, folder=folder, sha256=archive.sha256)
    if one.name != "repo":
        return one
    where = str(one.where)
    if one.is_path:
        folder = here / Path(where).expanduser()
        if not folder.is_dir():
            raise SourceError(f"{where} is no directory", hint="repo=OWNER/NAME names a repo, repo=./FOLDER a folder")
        return replace(one, folder=folder)
    repo_id, _, revision = where.partition("@")
    return replace(one, folder=download(api(), repo_id, revision or None, work / "repos"))


def _known_digest(job: Job, found: manifest.Manifest) -> str | None:
    """The source's digest as far as it is known without a download."""
    location = job.location()
    if job.pin is not None:
        # On this machine the size costs nothing; of a URL the server is asked (`_watched`).
        size = None if isinstance(location, str) or not _is_file(location) else source.size_of(location)
        return job.pin.sha256 if None in (size, job.pin.size) or size == job.pin.size else None
    if not isinstance(location, str):
        return source.fetch(location, job.work / "downloads", texts=job.texts).sha256
    if not job.is_pinned_by_hub and not _is_still(location, found.build.source, job.options.bounds.until):
        return source.fetch(location, job.work / "downloads", until=job.options.bounds.until).sha256
    return found.build.source.sha256 if found.build.source.name == _source_name(job) else None


def _is_still(url: str, found: manifest.Source, until: float | None) -> bool:
    """Whether a server says, by ETag and size, that it has what was converted."""
    now = served(url, until)
    return None not in (now.tag, found.etag) and not now.is_another(found.etag, found.size)


def _is_file(location: Path | source.Member) -> bool:
    return isinstance(location, source.Member) or location.is_file()


def _pin(job: Job, found: manifest.Manifest | None) -> Pin | None:
    """The lock's entry; without one the manifest on the Hub is the lock, since a fresh runner has nothing else."""
    if job.pin is not None or not job.is_pinned_by_hub or found is None:
        return job.pin
    recorded = found.build.source
    if recorded.name != _source_name(job):
        return None
    return Pin(sha256=recorded.sha256, size=recorded.size, etag=recorded.etag)


def _source_name(job: Job) -> str:
    """What the manifest calls the source: the family's URL even where a mirror serves it; never a path of a machine."""
    declared = job.release.source
    return source.display_name(declared if catalog.is_allowed_url(declared) else Path(declared))


def _is_of(build: Build, job: Job, sha256: str) -> bool:
    """Whether a recorded conversion is the one that a job asks for, and holds what its family file promises."""
    release, model, architecture = job.release, build.model, ARCHITECTURES[build.model.architecture]
    tag = next(c.pipeline_tag for c in architecture.classes if c.name == model.model_class)
    texts = _used_texts(job, build.source)
    return (
        texts is not None
        and build.weights_inputs == manifest.weights_inputs(release, sha256, model, texts)
        and release.architecture in (None, architecture.model_type)
        and release.part in (None, architecture.part)
        and release.task in (None, tag)
        # What only being asked for decided would be refused now, if nobody asked.
        and all(getattr(release, name) is not None for name in model.asked)
        and (release.vocab_lines or model.config.get("vocab_size")) in (model.tokens, None)
        and all(model.config.get(key) == value for key, value in release.config.items())
        and release.data_sha256 in (None, *(file.sha256 for file in build.source.files.values()))
    )


def _lacks_proof(build: Build, job: Job) -> bool:
    """Whether a run asks for a comparison that was not made."""
    if not job.options.prove:
        return False
    if build.parity is None:
        return True
    asked = [one.of(job.release) for one in job.options.references if one.name != "tokenizer"]
    return not {(one.name, one.source) for one in asked} <= build.references()


def _used_texts(job: Job, found: manifest.Source) -> dict[str, str] | None:
    """Digests of config and vocabulary as a conversion would use them now; None where only opening an archive tells."""
    location, given = job.location(), job.texts.digests()
    if found.kind == "files" and isinstance(location, Path) and location.exists():
        return {role: file_sha256(path) for role, path in source.find(location, job.texts).texts().items()}
    return {**found.texts, **given} if given.keys() >= set(found.apart) else None


def _candidate(job: Job, build: Build, folder: Path | None) -> planning.Candidate:
    return planning.Candidate(job.family, job.release, job.repo_id, job.command, build, folder, templates=job.templates)


def _recorded(job: Job, build: Build) -> planning.Candidate:
    """The conversion that the Hub has, with the source under the name that it has now."""
    name = _source_name(job)
    if build.source.name != name:
        build = build.model_copy(update={"source": build.source.model_copy(update={"name": name, "etag": None})})
    return _candidate(job, build, None)


def _check_source(job: Job, local: source.Local, files: source.Files, converted: Conversion) -> None:
    """What was read, by its digests: the pinned source, and its data as in another publication, where one is known.

    Of files that lie where they are, the conversion is the first to tell.

    Raises:
        SourceError: It is another one.
    """
    release, sources = job.release, converted.written.sources
    archive = source.identity(files, sources)
    source.check(archive.name, archive.sha256, archive.size, local.pin)
    data = {name: sha256 for name, (sha256, _) in sources.items() if ".data-" in name}
    if release.data_sha256 is not None and release.data_sha256 not in data.values():
        found = "\n".join(f"  found    {sha256} {name}" for name, sha256 in data.items())
        raise SourceError(
            f"{release.name}: the data file is not the one its authors published elsewhere:\n"
            f"  expected {release.data_sha256}\n{found}",
            hint="nothing was published; if the other publication is the wrong one, drop `data_sha256` in the family",
        )


def _remember(job: Job, build: Build) -> None:
    """Keep what was measured, with its own digest: a wrong bit in a number would go onto a card."""
    record = build.model_dump(mode="json")
    path = job.folder / "build.json"
    partial = path.with_name("build.json.part")
    partial.write_text(json.dumps({"sha256": manifest.digest(record), "build": record}), encoding="utf-8")
    os.replace(partial, path)  # noqa: PTH105 - replaces on every platform


def _remembered(job: Job, local: source.Local) -> Build | None:
    """The folder that an earlier run left, if it is what this run would build and every file is still what it was."""
    path, folder = job.folder / "build.json", job.folder / "model"
    try:
        kept = json.loads(path.read_bytes())
        if kept["sha256"] != manifest.digest(kept["build"]):
            return None
        build = Build.model_validate_json(json.dumps(kept["build"]))
    except (FileNotFoundError, KeyError, TypeError, RecursionError, ValueError):
        return None  # none, or cut short by a crash, or damaged, or of another version of hubpush
    if not _is_of(build, job, build.source.sha256) or _lacks_proof(build, job):
        return None
    # What was permitted then has to be permitted now.
    if (build.verdict == "fail" and not job.options.force) or (build.nonfinite and not job.options.allow_nonfinite):
        return None
    if source.identified(local, job.texts).sha256 != build.source.sha256:
        return None
    if any(
        not (folder / name).is_file() or manifest.describe(folder / name) != file for name, file in build.files.items()
    ):
        return None
    return build


def forget_peak() -> None:
    """Let the system measure the peak of this process anew, for the release that comes (Linux; see proc(5))."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int | None:
    """Bytes that this process held at most: for this release on Linux, for all so far on other systems.

    None where no system call tells (Windows).
    """
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
        if found:
            return int(found[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # getrusage(2): bytes there, kilobytes elsewhere


@contextmanager
def _timed(station: str, job: Job, tell: Tell, seconds: dict[str, float]) -> Iterator[None]:
    tell(job.release.name, station, None)
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[station] = round(seconds.get(station, 0.0) + time.perf_counter() - start, 3)
