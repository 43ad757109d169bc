"""What is asked for one release, and what came of it.

A `Job` is everything that a worker needs, a few kilobytes that travel to other processes; an `Outcome` is what comes
back, and what the summary and `--json` show.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hubpush import __version__, catalog, manifest, publish
from hubpush.architectures import Activation
from hubpush.catalog import Family, Pin, Release
from hubpush.client import bound
from hubpush.errors import HubpushError, SourceError, UsageError
from hubpush.manifest import Build
from hubpush.parity import DEFAULT, Asked
from hubpush.source import NO_TEXTS, Location, Texts, display_name, resolve

if TYPE_CHECKING:
    from huggingface_hub import HfApi

DEFAULT_FAMILY = "bert-miniatures"

STATIONS = ("fetch", "convert", "parity", "card", "push")

Tell = Callable[[str, str, float | None], None]
"""Called with a release's name, the station it is at, and how much of it is done (0 to 1, or None)."""

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
        references: What the published model is compared with.
    """

    prove: bool = True
    force: bool = False
    dry_run: bool = False
    private: bool | None = None
    overwrite: bool = False
    allow_nonfinite: bool = False
    references: tuple[Asked, ...] = DEFAULT


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
    memory: int | None = None
    error: Mapping[str, Any] | None = None
    change: str | None = None
    deletes: tuple[str, ...] = ()
    card: str | None = None
    assumed: tuple[str, ...] = ()


def of_family(
    name: str,
    models: Sequence[str],
    org: str,
    mirror: str | None,
    cased: bool | None,
    activation: Activation | None,
    work: Path,
    options: Options,
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

    Raises:
        CatalogError: The family cannot be read, or a glob matches nothing.
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
    family, lock = catalog.load(path)
    chosen: dict[str, Any] = {} if cased is None else {"cased": cased}
    if activation is not None:
        chosen |= {"activation": activation, "activation_source": "chosen with --activation"}
    # What the file is called on this machine is nobody's business; the family's own name finds it again.
    file = f"{family.name}.toml" if path == Path(name) else family.name
    known = [] if name == DEFAULT_FAMILY else ["--family", file]
    return [
        Job(
            family=family,
            release=release.model_copy(update=chosen),
            repo_id=f"{org}/{release.name}",
            base=path.parent,
            mirror=mirror,
            pin=lock.sources.get(release.source),
            is_pinned_by_hub=True,
            work=work,
            command=_command([*known, "--org", org, release.name], chosen),
            texts=Texts.of(release, path.parent),
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
        command=_command(["--source", shown, "--repo-id", repo_id], {**facts, **named}),
        texts=texts,
        options=options,
    )


def _command(asked: Sequence[str], facts: Mapping[str, Any]) -> str:
    """The command line that says these facts."""
    words = ["hubpush", "convert-and-upload", *asked]
    for name in ("license", "language", "config", "vocab", "task", "labels", "part", "activation"):
        values = facts.get(name) or ()
        words += [word for value in ([values] if isinstance(values, str) else values) for word in (f"--{name}", value)]
    if facts.get("averaged"):
        words.append("--averaged")
    if facts.get("cased") is not None:
        words.append("--cased" if facts["cased"] else "--uncased")
    return shlex.join(words)


def client(job: Job) -> HfApi:
    """The Hub's client for a job."""
    return client_of(job.endpoint, embedded=job.embedded)


def client_of(endpoint: str | None, *, embedded: bool) -> HfApi:
    """The Hub's client. An embedded Hub takes any token, so it never gets a person's real one.

    Args:
        endpoint: The Hub; None for the one huggingface_hub is configured for.
        embedded: Whether it is an embedded one.
    """
    if embedded:
        # The client asks the environment for a proxy, and no proxy reaches this machine's own loopback.
        own = [os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")]
        if "127.0.0.1,localhost" not in own[0]:
            os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(
                ["127.0.0.1,localhost,[::1]", *filter(None, own)]
            )
    from huggingface_hub import HfApi

    bound()
    return HfApi(
        endpoint=endpoint,
        token="embedded" if embedded else None,
        library_name="hubpush",
        library_version=__version__,
    )


def settled(
    job: Job,
    found: manifest.Manifest,
    status: Status,
    remote: publish.Remote | None,
    published: publish.Published | None = None,
    seconds: Mapping[str, float] | None = None,
) -> Outcome:
    """The outcome of a release that stands on the Hub as it ought to, or was put there now."""
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


def planned(
    job: Job,
    remote: publish.Remote,
    candidate: publish.Candidate,
    step: publish.Plan,
    seconds: Mapping[str, float],
) -> Outcome:
    """The outcome of a dry run: what a push would do."""
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


def failed(job: Job, error: HubpushError, seconds: Mapping[str, float] | None = None) -> Outcome:
    """The outcome of a release that an error ended."""
    problem = {"code": error.exit_code, "message": error.message, "hint": error.hint}
    return Outcome(job.release.name, job.repo_id, "failed", seconds=dict(seconds or {}), error=problem)


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
