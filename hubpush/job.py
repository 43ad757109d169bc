"""What is asked for one release, and what came of it.

A `Job` is everything that a worker needs, a few kilobytes that travel to other processes; an `Outcome` is what comes
back, and what the summary and `--json` show.
"""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hubpush import __version__, card, catalog, manifest, planning, preview, saved, templating
from hubpush.architectures import Activation
from hubpush.catalog import Family, Pin, Release
from hubpush.client import Bounds, DeferredError, bound, errors
from hubpush.errors import HubpushError, HubRefusedError, SourceError, UsageError
from hubpush.manifest import Build
from hubpush.metadata import Problem, check_card
from hubpush.parity import DEFAULT, Asked
from hubpush.preview import Preview
from hubpush.remote import Remote
from hubpush.source import NO_TEXTS, Location, Texts, display_name, resolve, size_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

DEFAULT_FAMILY = "bert-miniatures"

STATIONS = ("fetch", "convert", "parity", "card", "push")

Tell = Callable[[str, str, float | None], None]
"""Called with a release's name, the station it is at, and how much of it is done (0 to 1, or None)."""

Status = Literal["published", "unchanged", "planned", "proposed", "held", "deferred", "failed"]


@dataclass(frozen=True)
class Options:
    """What a person may decide about a run.

    Attributes:
        prove: Run parity.
        force: Publish although parity fails.
        dry_run: Do everything but the push.
        private: Visibility of repos that are created.
        overwrite: Replace what somebody else changed on the Hub.
        adopt: Take over what somebody else changed in the card.
        create_pr: Open a pull request, or update the one that is open, instead of committing to `main`.
        max_bump: The highest part of a version that may rise.
        max_changes: How many repos may change in this run; None is any number.
        bounds: How long is waited for the Hub, and the deadline of the run.
        allow_nonfinite: Publish NaN weights.
        references: What the published model is compared with.
        online: Ask the Hub what it says of the card, too.
    """

    prove: bool = True
    force: bool = False
    dry_run: bool = False
    private: bool | None = None
    overwrite: bool = False
    adopt: bool = False
    create_pr: bool = False
    max_bump: planning.Bump = "major"
    max_changes: int | None = None
    bounds: Bounds = field(default_factory=Bounds)
    allow_nonfinite: bool = False
    references: tuple[Asked, ...] = DEFAULT
    online: bool = False


@dataclass(frozen=True)
class Job:
    """Everything a worker needs to carry one release; a few kilobytes.

    Attributes:
        family: The family, for the card.
        release: The release.
        repo_id: Where it goes.
        base: The directory that a source which is no URL is relative to.
        texts: Config and vocabulary that do not lie beside the checkpoint.
        mirror: A directory, URL or bundle that holds the archives, or None.
        pin: What the source must be, by the lock.
        is_pinned_by_hub: Without a pin, whether the manifest on the Hub is the lock; for one checkpoint that a person
            names on the command line, naming it is enough.
        endpoint: The Hub; None for the one huggingface_hub is configured for.
        embedded: Whether it is an embedded one.
        work: Directory for downloads, unpacked checkpoints and built folders.
        command: The command line that makes this release again.
        templates: A person's templates, by name.
        options: What the person decided.
    """

    family: Family
    release: Release
    repo_id: str
    base: Path
    mirror: str | None
    pin: Pin | None
    is_pinned_by_hub: bool
    work: Path
    command: str
    texts: Texts = NO_TEXTS
    templates: Mapping[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    endpoint: str | None = None
    embedded: bool = False

    def location(self) -> Location:
        """Where the source is taken from.

        Raises:
            SourceError: The mirror lacks it.
        """
        return resolve(self.release.source, self.base, self.mirror)

    @property
    def folder(self) -> Path:
        """Where this release is unpacked and built."""
        return folder_of(self.work, self.repo_id)


def archive_size(job: Job) -> int:
    """Bytes of an archive, as far as lock, disk or server tell; one that cannot be had fails at its own station."""
    try:
        location = job.location()
        if job.pin is not None and job.pin.size is not None:
            return job.pin.size
        return size_of(location, job.options.bounds.until) or 0
    except (HubpushError, OSError):
        return 0


def folder_of(work: Path, repo_id: str) -> Path:
    """Where the release that goes to a repo is unpacked and built."""
    return work / "releases" / repo_id.replace("/", "--")


@dataclass(frozen=True)
class Outcome:
    """What became of one release, as `convert-and-upload --json` prints it."""

    name: str
    repo_id: str
    status: Status
    version: str | None = None
    before: str | None = None
    bump: str | None = None
    commit: str | None = None
    tag: str | None = None
    url: str | None = None
    parity: Mapping[str, Any] | None = None
    files: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    memory: int | None = None
    error: Mapping[str, Any] | None = None
    change: str | None = None
    deletes: tuple[str, ...] = ()
    card: str | None = None
    assumed: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    metadata: tuple[Problem, ...] = ()
    yanked: str | None = None
    is_reached: bool = True
    plan: saved.Item | None = None
    preview: Preview | None = None


@dataclass(frozen=True)
class Page:
    """What became of the family's page, or what would.

    Attributes:
        status: `created`, `updated`, `unchanged`, `failed`; of a dry run `create`, `update`, `unchanged`.
        title: Its title.
        url: Its address.
        said: What is to be done, or what a person should know.
        error: Why it is not what it ought to be, and what to do.
        code: Exit code of that; 0 where nobody asked for a page.
    """

    status: str
    title: str
    url: str | None
    said: tuple[str, ...] = ()
    error: Mapping[str, str] | None = None
    code: int = 0


def of_family(
    name: str,
    models: Sequence[str],
    org: str,
    mirror: str | None,
    cased: bool | None,
    activation: Activation | None,
    work: Path,
    options: Options,
    lock: Path | None = None,
    templates: Path | None = None,
) -> list[Job]:
    """The jobs of a family, or of those of its releases that match a glob.

    Args:
        name: A shipped family, or the path of a family file.
        models: Globs over the releases' names; none means all.
        org: Owner of the repos.
        mirror: A directory or URL that holds the archives, or a zip of them.
        cased: Casing to use instead of the family's.
        activation: GELU form to use instead of the family's.
        work: Directory for downloads and built folders.
        options: What the person decided.
        lock: A lock file that lies elsewhere; its entries go before those of the family's own.
        templates: A directory of templates, instead of what the family file names.

    Raises:
        CatalogError: The family cannot be read, or a glob matches nothing.
        CardError: The templates cannot be read.
        SourceError: The mirror is not there.
        UsageError: The owner is none.
    """
    if mirror is not None and "://" not in mirror and not Path(mirror).exists():
        raise SourceError(
            f"the mirror {mirror} is not there",
            hint="--source names a directory, a URL or a zip of zips with the family's archives",
        )
    if not catalog.is_repo_name(org):
        raise UsageError(f"--org {org!r} is no owner on the Hub", hint="give the name alone: --org my-org")
    path = catalog.locate(name)
    family, pinned = catalog.load(path)
    pins = {**pinned.sources, **(catalog.load_lock(lock).sources if lock is not None else {})}
    chosen: dict[str, Any] = {} if cased is None else {"cased": cased}
    if activation is not None:
        chosen |= {"activation": activation, "activation_source": "chosen with --activation"}
    # Of a path only its last part is written anywhere: a card must not show where somebody keeps files.
    file = path.name if path == Path(name) else family.name
    if templates is None and family.templates is not None:
        templates = path.parent / family.templates
    own = {} if templates is None else templating.read(templates)
    known = [] if name == DEFAULT_FAMILY else ["--family", file]
    return [
        Job(
            family=family,
            release=release.model_copy(update=chosen),
            repo_id=f"{org}/{release.name}",
            base=path.parent,
            mirror=mirror,
            pin=pins.get(release.source),
            is_pinned_by_hub=True,
            work=work,
            command=command_of([*known, "--org", org, release.name], chosen),
            texts=Texts.of(release, path.parent),
            templates=own,
            options=options,
        )
        for release in catalog.select(family, models)
    ]


def of_checkpoint(
    source: str,
    repo_id: str,
    facts: Mapping[str, Any],
    texts: Texts,
    work: Path,
    options: Options,
    labels_file: Path | None = None,
    templates: Path | None = None,
) -> Job:
    """The job of one checkpoint that somebody has, without a family file.

    Args:
        source: A URL, zip, directory or prefix.
        repo_id: Where it goes.
        facts: What the person says of it, by the keys of a `Release`.
        texts: Config and vocabulary that do not lie beside it.
        work: Directory for downloads and built folders.
        options: What the person decided.
        labels_file: Where the labels come from, for the command that makes this again.
        templates: A directory of templates.

    Raises:
        UsageError: One of these is not valid.
    """
    # Of a path only its last part is written anywhere: a card must not show where somebody keeps files.
    path = None if "://" in source else Path(source).resolve()
    family = catalog.single(repo_id, source if path is None else path.name, **facts)
    shown = display_name(source if path is None else path)
    apart = {"config": texts.config, "vocab": texts.vocab, "labels": labels_file}
    named = {name: Path(file).name for name, file in apart.items() if file is not None}
    return Job(
        family=family,
        release=family.releases[0],
        repo_id=repo_id,
        base=Path.cwd() if path is None else path.parent,
        mirror=None,
        pin=None,
        is_pinned_by_hub=False,
        work=work,
        command=command_of(["--source", shown, "--repo-id", repo_id], {**facts, **named}),
        texts=texts,
        templates={} if templates is None else templating.read(templates),
        options=options,
    )


def command_of(asked: Sequence[str], facts: Mapping[str, Any]) -> str:
    """The command line that says these facts."""
    words = ["hubpush", "convert-and-upload", *asked]
    for name in ("title", "license", "language", "config", "vocab", "task", "labels", "part", "activation"):
        values = facts.get(name) or ()
        words += [word for value in ([values] if isinstance(values, str) else values) for word in (f"--{name}", value)]
    if facts.get("averaged"):
        words.append("--averaged")
    if facts.get("cased") is not None:
        words.append("--cased" if facts["cased"] else "--uncased")
    return shlex.join(words)


def client(job: Job) -> HfApi:
    """The Hub's client for a job."""
    return client_of(job.endpoint, embedded=job.embedded, repo_id=job.repo_id, bounds=job.options.bounds)


def is_keyless() -> bool:
    """Whether the tokens are those of trusted publishing: for one repo each, and good for an hour."""
    return bool(os.environ.get("HF_OIDC_RESOURCE"))


def client_of(
    endpoint: str | None, *, embedded: bool, repo_id: str | None = None, bounds: Bounds | None = None
) -> HfApi:
    """The Hub's client. An embedded Hub takes any token, so it never gets a person's real one.

    Args:
        endpoint: The Hub; None for the one huggingface_hub is configured for.
        embedded: Whether it is an embedded one.
        repo_id: The repo that it is for; a keyless token is good for that alone.
        bounds: How long is waited; None keeps what is set.

    Raises:
        UsageError: Keyless tokens are asked for from another Hub than the configured one.
        HubRefusedError: There is no keyless token.
        HubUnavailableError: The Hub does not answer.
    """
    if embedded:
        # The client asks the environment for a proxy, and no proxy reaches this machine's own loopback.
        own = [os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")]
        if "127.0.0.1,localhost" not in own[0]:
            os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(
                ["127.0.0.1,localhost,[::1]", *filter(None, own)]
            )
    from huggingface_hub import HfApi

    bound(bounds)
    token: str | bool | None = None
    if embedded:
        token = "embedded"  # noqa: S105 - no secret: the embedded Hub's word for anybody
    elif is_keyless():
        if endpoint is not None:
            raise UsageError(
                "HF_OIDC_RESOURCE asks the configured Hub for tokens, and --hub names another",
                hint="name the Hub with HF_ENDPOINT instead, or unset HF_OIDC_RESOURCE",
            )
        token = _keyless_token(repo_id) if repo_id is not None else False
    return HfApi(endpoint=endpoint, token=token, library_name="hubpush", library_version=__version__)


_keyless_lock = threading.Lock()


def _keyless_token(repo_id: str) -> str | None:
    """The token of one repo. The client reads the environment for whose, and keeps it until it ends."""
    from huggingface_hub import get_token

    with _keyless_lock:
        before = os.environ["HF_OIDC_RESOURCE"]
        os.environ["HF_OIDC_RESOURCE"] = repo_id
        try:
            with errors(repo_id):
                return get_token()
        except HubRefusedError as error:
            raise HubRefusedError(
                error.message,
                hint="a keyless token is for a repo that is there, can create none, and the job needs `permissions:"
                " id-token: write`: create the repo once, and add this workflow to its trusted publishers",
            ) from None
        finally:
            os.environ["HF_OIDC_RESOURCE"] = before


def settled(
    name: str,
    repo_id: str,
    found: manifest.Manifest,
    status: Status,
    api: HfApi,
    commit: str | None,
    *,
    bump: str | None = None,
    proposal: int | None = None,
    seconds: Mapping[str, float] | None = None,
) -> Outcome:
    """The outcome of a release that stands on the Hub as it ought to, was put there now, or is proposed there."""
    page = f"tree/{found.tag}" if proposal is None else f"discussions/{proposal}"
    return Outcome(
        name=name,
        repo_id=repo_id,
        status=status,
        version=found.version,
        before=_before(found) if bump is not None else found.version,
        bump=bump,
        commit=commit,
        tag=found.tag,
        url=f"{api.endpoint}/{repo_id}/{page}",
        parity=_parity_summary(found.build),
        files={path: {"sha256": file.sha256, "size": file.size} for path, file in found.files.items()},
        seconds=dict(seconds or {}),
        change=found.history[-1].change if found.history else None,
        assumed=found.build.model.assumed,
        yanked=card.withdrawn(found.history),
    )


def planned(
    job: Job, remote: Remote, step: planning.Plan, seconds: Mapping[str, float], problems: Sequence[Problem] = ()
) -> Outcome:
    """The outcome of a dry run: what a push would do; `problems` are what the Hub says of the card."""
    return Outcome(
        name=job.release.name,
        repo_id=job.repo_id,
        status="planned",
        version=step.version,
        before=_before(step.manifest),
        bump=step.bump,
        tag=f"v{step.version}",
        parity=_parity_summary(step.manifest.build),
        files={path: {"sha256": step.file(path).sha256, "size": step.file(path).size} for path in step.adds},
        seconds=dict(seconds),
        change=step.change + ("" if remote.is_reachable else "; the Hub was not reached: planned against an empty one"),
        deletes=step.deletes,
        card=str(job.folder / "README.md"),
        assumed=step.manifest.build.model.assumed,
        metadata=(*check_card(step.readme), *problems),
        is_reached=remote.is_reachable,
        preview=preview.of_plan(step, remote, job.release.name),
        plan=saved.of(
            step,
            job.release.name,
            exists=remote.exists,
            private=job.options.private,
            create_pr=job.options.create_pr,
        ),
    )


def amendment(name: str, step: planning.Plan) -> Outcome:
    """The outcome of a dry run of a rollback, a yank, or the end of a hold."""
    return Outcome(
        name=name,
        repo_id=step.repo_id,
        status="planned",
        version=step.version,
        before=_before(step.manifest),
        bump=step.bump,
        tag=f"v{step.version}",
        parity=_parity_summary(step.manifest.build),
        files={path: {"sha256": step.file(path).sha256, "size": step.file(path).size} for path in step.adds},
        change=step.change,
        deletes=step.deletes,
    )


def failed(name: str, repo_id: str, error: HubpushError, seconds: Mapping[str, float] | None = None) -> Outcome:
    """The outcome of a release that an error ended, or that has to wait for another run."""
    problem = {"code": error.exit_code, "message": error.message, "hint": error.hint}
    status: Status = "deferred" if isinstance(error, DeferredError) else "failed"
    return Outcome(name, repo_id, status, seconds=dict(seconds or {}), error=problem)


def _before(found: manifest.Manifest) -> str | None:
    """The version before this one."""
    return found.history[-2].version if len(found.history) > 1 else None


def _parity_summary(build: Build) -> dict[str, Any]:
    """The verdict, the float64 output with the largest difference from the original, and what is known to differ."""
    worst, known = None, dict[str, None]()
    for reference in build.parity["references"] if build.parity is not None else []:
        is_proof = reference["reference"] == "graph" and reference["as_published"] and reference["dtype"] == "float64"
        if is_proof and (found := reference["worst"]) is not None:
            worst = {
                "output": found["output"],
                "max_abs": found["max_abs"],
                "tolerance": found["tolerance"],
                "dtype": "float64",
            }
        if reference["verdict"] == "known-divergence":
            name, source = reference["reference"], reference.get("source")
            label = name if source is None else f"{name}={source}"
            known |= dict.fromkeys(f"{label}, {kind}" for kind in reference.get("differences", {}))
    return {"verdict": build.verdict, "worst": worst, "known": list(known)}
