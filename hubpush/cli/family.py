"""The main job, and what is known about a family before and after it: catalog, status, pin."""

from __future__ import annotations

import dataclasses
import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hubpush import show
from hubpush.cli.options import (
    ActivationOption,
    AdoptOption,
    AveragedOption,
    CasedOption,
    ConfigOption,
    FamilyOption,
    FormatOption,
    HubOption,
    JsonOption,
    LabelsOption,
    LockOption,
    OnlineOption,
    OrgOption,
    OverwriteOption,
    PartOption,
    QuietOption,
    ReferencesOption,
    TaskOption,
    TemplatesOption,
    TitleOption,
    VocabOption,
    WorkOption,
    app,
    default_work,
    examples,
    facts_of,
    mode_of,
    references_of,
    telling,
)
from hubpush.errors import UsageError, redact
from hubpush.show import Format

if TYPE_CHECKING:
    from hubpush.client import Bounds
    from hubpush.job import Outcome, Page
    from hubpush.preview import Preview


class Bumps(StrEnum):
    """Parts of a version."""

    patch = "patch"
    minor = "minor"
    major = "major"


@app.command(
    short_help="The main job: a family, or one checkpoint.",
    epilog=examples(
        "hubpush convert-and-upload --org my-org                     # all of bert-miniatures",
        "hubpush convert-and-upload --org my-org '*L-2*' --dry-run   # the plan and the cards of some",
        "hubpush convert-and-upload --org demo --hub ./my-hub        # no account: an embedded Hub in a directory",
        "hubpush convert-and-upload --family mine.toml --org my-org --source /mnt/archives --jobs 2",
        "hubpush convert-and-upload --source all_bert_models.zip --org my-org    # a zip of the family's zips",
        "hubpush convert-and-upload --org my-org --plan plan.json    # build all, push nothing",
        "hubpush convert-and-upload --org my-org --templates ./mine  # cards with sections of your own",
        "hubpush convert-and-upload --apply plan.json                # push exactly that",
        "hubpush convert-and-upload --apply plan.json --org my-org my-bert    # and nothing but my-org/my-bert",
        "hubpush convert-and-upload --org my-org --max-bump patch --max-changes 5    # unattended",
        "hubpush convert-and-upload --source ./model.ckpt-1000 --repo-id me/my-bert --license apache-2.0",
        "hubpush convert-and-upload --source ./out/model.ckpt-343 --config ./base/bert_config.json \\",
        "      --vocab ./base/vocab.txt --task text-classification --labels labels.txt \\",
        "      --repo-id me/my-classifier --license apache-2.0",
    ),
)
def convert_and_upload(
    ctx: typer.Context,
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL", help="Globs; all releases without.")] = None,
    org: OrgOption = None,
    family: FamilyOption = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|URL|ZIP|CHECKPOINT",
            help="A mirror of the family's archives, or a zip of them; with --repo-id, one checkpoint.",
        ),
    ] = None,
    hub: HubOption = None,
    repo_id: Annotated[str | None, typer.Option(metavar="ME/NAME", help="One checkpoint, without a family.")] = None,
    title: TitleOption = None,
    license_id: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="Its licence, as the Hub writes it.")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Its language (ISO 639); can be repeated.")
    ] = None,
    cased: CasedOption = None,
    activation: ActivationOption = None,
    task: TaskOption = None,
    labels: LabelsOption = None,
    part: PartOption = None,
    averaged: AveragedOption = False,
    config: ConfigOption = None,
    vocab: VocabOption = None,
    lock: LockOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Do everything but the push: print the plan, write the cards and preview pages."
        ),
    ] = False,
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="A dry run that also writes its plan to a file.")
    ] = None,
    apply: Annotated[
        Path | None,
        typer.Option(
            "--apply",
            metavar="FILE",
            help="Push exactly what a plan says; a repo that changed since is refused. With its --work. With --org and"
            " MODEL, a plan for any other repo is refused too.",
        ),
    ] = None,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request, or update ours; after its merge run again to tag.")
    ] = False,
    jobs: Annotated[
        int, typer.Option(metavar="N", min=1, max=256, help="Releases at a time, each in a process of its own.")
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="tcp://HOST:8786",
            help="Releases go to the workers of a Dask cluster instead. They need this hubpush, a token of their own,"
            " and to reach --work and local sources under the same paths.",
        ),
    ] = None,
    references: ReferencesOption = "graph,tokenizer",
    no_parity: Annotated[
        bool,
        typer.Option(
            "--no-parity", help="Do not compare: the card says NOT RUN, unless these very inputs were proven before."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Push although parity fails; the card then says FAIL.")
    ] = False,
    private: Annotated[
        bool | None, typer.Option("--private/--no-private", help="Visibility of repos that are created.")
    ] = None,
    collection: Annotated[
        bool | None,
        typer.Option("--collection/--no-collection", help="A page of the family: a collection. Default: for several."),
    ] = None,
    adopt: AdoptOption = False,
    overwrite: OverwriteOption = False,
    max_bump: Annotated[
        Bumps, typer.Option("--max-bump", help="The highest part of a version that may rise; new repos are none.")
    ] = Bumps.major,
    max_changes: Annotated[
        int | None, typer.Option("--max-changes", metavar="N", min=0, help="Touch nothing if more repos would change.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=1, help="End after this time, and say what is left.")
    ] = None,
    allow_nonfinite: Annotated[
        bool, typer.Option("--allow-nonfinite", help="Take NaN and infinite weights, with --force or --no-parity.")
    ] = False,
    templates: TemplatesOption = None,
    online: OnlineOption = False,
    work: WorkOption = None,
    output: FormatOption = Format.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Convert, prove, document and publish a family of models, or one checkpoint.

    A second run changes nothing where nothing changed. Give --repo-id, --source and --license for one checkpoint.
    """
    from hubpush import job, preview, run, saved, workers
    from hubpush.client import Bounds
    from hubpush.source import Texts

    mode = mode_of(output, as_json=as_json, quiet=quiet)
    bounds = Bounds(until=None if deadline is None else time.time() + deadline)
    work = work or default_work()
    if apply is not None:
        _require_alone(ctx)
        _apply(apply, work, hub, bounds, mode, org, models or ())
        return
    if no_parity and force:
        raise UsageError("--force pushes a failed parity, --no-parity runs none", hint="give one of the two")
    if adopt and overwrite:
        raise UsageError("--adopt keeps what somebody changed, --overwrite puts it back", hint="give one of the two")
    workers.check(jobs, scheduler)
    asked = references_of(references)
    if not no_parity and {"graph", "tokenizer"} - {one.name for one in asked}:
        raise UsageError(
            f"--parity {references}: what is published is compared with graph and tokenizer at least",
            hint="name both too; `hubpush parity FOLDER --source CHECKPOINT` runs any of them alone",
        )
    options = job.Options(
        references=asked,
        prove=not no_parity,
        force=force,
        dry_run=dry_run or plan is not None,
        private=private,
        adopt=adopt,
        overwrite=overwrite,
        create_pr=create_pr,
        max_bump=max_bump.value,
        max_changes=max_changes,
        bounds=bounds,
        allow_nonfinite=allow_nonfinite,
        online=online,
    )
    if plan is not None and (plan.is_dir() or not plan.parent.is_dir()):
        raise UsageError(f"the plan cannot be written to {plan}", hint="name a file in a directory that is there")
    if repo_id is not None:
        if org or models or family or lock:
            raise UsageError(
                "--repo-id names one repo; --org, --family, --lock and MODEL belong to families", hint="drop either"
            )
        if not source or not license_id:
            missing = [name for name, value in (("--source", source), ("--license", license_id)) if not value]
            raise UsageError(
                f"one checkpoint needs {' and '.join(missing)} too",
                hint="hubpush convert-and-upload --source ./model.ckpt --repo-id me/my-bert --license apache-2.0",
            )
        facts = facts_of(license_id, cased, activation, task, labels, part, averaged=averaged)
        facts |= {"language": tuple(language or ()), **({"title": title} if title is not None else {})}
        texts = Texts(config, vocab)
        todo = [job.of_checkpoint(source, repo_id, facts, texts, work, options, labels, templates)]
    else:
        alone: dict[str, object] = {
            "--title": title,
            "--license": license_id,
            "--language": language,
            "--task": task,
            "--labels": labels,
            "--part": part,
        }
        alone |= {"--averaged": averaged, "--config": config, "--vocab": vocab}
        if one := [name for name, value in alone.items() if value]:
            raise UsageError(
                f"{', '.join(one)}: for one checkpoint alone, with --repo-id", hint="a family file says it itself"
            )
        owner = _owner(org)
        mirror = run.local_mirror(source, work, show.plain_progress()[0])
        todo = job.of_family(
            family or job.DEFAULT_FAMILY, models or (), owner, mirror, cased, activation, work, options, lock, templates
        )
    with tempfile.TemporaryDirectory(prefix="hubpush-") as shelf, run.hub(hub) as (endpoint, embedded):
        previews = preview.Shelf(Path(shelf), (one.release.name for one in todo))
        todo = [dataclasses.replace(one, endpoint=endpoint, embedded=embedded) for one in todo]
        with show.progress([one.release.name for one in todo], quiet=mode is Format.quiet) as (tell, done):
            try:
                outcomes = run.carry_all(todo, jobs, tell, done, scheduler=scheduler, shelf=previews)
            except KeyboardInterrupt:
                there = " What a worker of the cluster is at ends there by itself." if scheduler is not None else ""
                show.say(f"Interrupted. Run the same command again: it goes on where it stopped.{there}")
                raise
        wanted = run.family_page(todo, outcomes, private=bool(private), asked=collection)
        step, page = None, None
        if wanted is not None and options.dry_run:
            step, page = run.plan_page(todo[0], wanted, outcomes, asked=collection)
        elif wanted is not None:
            page = run.put_page(
                wanted, lambda: job.client_of(endpoint, embedded=embedded, bounds=bounds), asked=collection
            )
        if plan is not None:
            items = tuple(outcome.plan for outcome in outcomes if outcome.plan is not None)
            address = None if embedded else job.client(todo[0]).endpoint
            wanted = wanted if step is not None and step.changes else None
            saved.write(plan, saved.Saved(family=todo[0].family.name, hub=address, releases=items, collection=wanted))
            what = f"to push it: {_applying(plan, work, hub)}" if items or wanted else "nothing to do"
            show.say(f"{plan}: {len(items)} of {len(todo)} repos; {what}")
        pages = None
        if options.dry_run:
            place = work / "preview" / todo[0].repo_id.partition("/")[0] / todo[0].family.name
            unplanned = {one.name: redact(one.error["message"]) for one in outcomes if one.error is not None}
            in_page = None if step is None else run.shown(step)
            pages = preview.write(place, todo[0].family.title, previews.values(), in_page, unplanned)
        name = todo[0].family.name
        _finish(outcomes, name, hub, mode, dry_run=options.dry_run, pages=pages, page=page, previews=previews)


def _require_alone(ctx: typer.Context) -> None:
    """Check that nothing is said beside `--apply` that was decided when the plan was made."""
    takes = {"apply", "org", "models", "work", "hub", "deadline", "output", "as_json", "quiet"}
    named = {one.name: one.opts[0] if one.opts[0].startswith("-") else "MODEL" for one in ctx.command.params}
    said = [
        named.get(name, name)
        for name in ctx.params
        if name not in takes and getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    if said:
        raise UsageError(
            f"--apply pushes what a plan says; {', '.join(said)} belong to making one", hint="drop them, or plan again"
        )


def _apply(
    path: Path, work: Path, hub: str | None, bounds: Bounds, mode: Format, org: str | None, models: Sequence[str]
) -> None:
    from hubpush import job, run, saved

    plan = saved.load(path)
    saved.require_within(plan, org, models)
    with (
        run.hub(hub) as (endpoint, embedded),
        show.progress([item.name for item in plan.releases], quiet=mode is Format.quiet) as (tell, done),
    ):
        outcomes = run.apply_all(plan, work, endpoint, tell, done, embedded=embedded, bounds=bounds)
        page = None
        if plan.collection is not None:
            wanted = run.without_failed(plan.collection, outcomes)
            if wanted is not None:
                page = run.put_page(
                    wanted, lambda: job.client_of(endpoint, embedded=embedded, bounds=bounds), asked=True
                )
    if not outcomes and page is None:
        show.say(f"{path} is empty: nothing to do")
    _finish(outcomes, plan.family, hub, mode, dry_run=False, page=page)


def _finish(
    outcomes: Sequence[Outcome],
    family: str,
    hub: str | None,
    mode: Format,
    *,
    dry_run: bool,
    pages: Path | None = None,
    page: Page | None = None,
    previews: Mapping[str, Preview] | None = None,
) -> None:
    """Show what became of it, and end with the exit code of what failed."""
    if hub is not None and "://" not in hub:
        # The embedded Hub ran for this command alone: its address is gone now.
        outcomes = [dataclasses.replace(outcome, url=None) for outcome in outcomes]
        page = page and dataclasses.replace(page, url=None)
    show.summary(outcomes, family, hub, mode, dry_run=dry_run, pages=pages, page=page, previews=previews)
    codes = {int(outcome.error["code"]) for outcome in outcomes if outcome.error}
    codes |= {page.code} if page is not None and page.code else set()
    if codes:
        raise typer.Exit(codes.pop() if len(codes) == 1 else 1)


def _applying(plan: Path, work: Path, hub: str | None) -> str:
    words = ["hubpush", "convert-and-upload", "--apply", str(plan)]
    words += ["--work", str(work)] if work != default_work() else []
    return shlex.join([*words, *(["--hub", hub] if hub is not None else [])])


def _owner(org: str | None) -> str:
    if org is None:
        raise UsageError(
            "--org is missing",
            hint="name the owner of the repos; for one checkpoint give --source, --repo-id and --license",
        )
    return org


@app.command(
    short_help="Where each release stands on the Hub.",
    epilog=examples(
        "hubpush status --org my-org",
        "hubpush status --org my-org --family mine.toml --json",
        "hubpush status --org demo --hub ./my-hub '*L-2*'",
    ),
)
def status(
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL", help="Globs; all releases without.")] = None,
    org: OrgOption = None,
    family: FamilyOption = None,
    source: Annotated[
        str | None, typer.Option(metavar="DIR|URL|ZIP", help="A mirror of the archives, as the main job takes it.")
    ] = None,
    lock: LockOption = None,
    no_parity: Annotated[bool, typer.Option("--no-parity", help="Do not ask for a recorded proof.")] = False,
    hub: HubOption = None,
    work: WorkOption = None,
    output: FormatOption = Format.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say of each release whether it is up to date, outdated, missing, drifted or held, and why. Reads only.

    It is the look that the main job takes before it does anything.
    """
    from hubpush import job, run

    mode = mode_of(output, as_json=as_json, quiet=quiet)
    work, owner = work or default_work(), _owner(org)
    mirror = run.local_mirror(source, work, show.plain_progress()[0])
    options = job.Options(prove=not no_parity)
    name = family or job.DEFAULT_FAMILY
    todo = job.of_family(name, models or (), owner, mirror, None, None, work, options, lock)
    with run.hub(hub, make=False) as (endpoint, embedded):
        found = run.standings([dataclasses.replace(one, endpoint=endpoint, embedded=embedded) for one in todo])
    rows = [{k: v for k, v in dataclasses.asdict(one).items() if k != "code"} for one in found]
    if mode is Format.quiet:
        for one in found:
            show.put(f"{one.name} {one.state}")
    else:
        show.table(rows, mode)
    codes = {one.code for one in found if one.code}
    if codes:
        raise typer.Exit(codes.pop() if len(codes) == 1 else 1)


@app.command(
    "matrix",
    short_help="The changed releases, as a matrix of GitHub Actions.",
    epilog=examples(
        "hubpush matrix --org my-org",
        "hubpush matrix --org my-org --family mine.toml --shards 8 --max-changes 50",
        "hubpush matrix --org my-org --all          # all that is published, for a proof of every version",
    ),
)
def show_matrix(
    org: OrgOption = None,
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL", help="Globs; all releases without.")] = None,
    family: FamilyOption = None,
    source: Annotated[
        str | None, typer.Option(metavar="DIR|URL|ZIP", help="The mirror that the main job is given, if it is.")
    ] = None,
    hub: HubOption = None,
    lock: LockOption = None,
    templates: TemplatesOption = None,
    no_parity: Annotated[bool, typer.Option("--no-parity", help="As the main job is given it.")] = False,
    references: ReferencesOption = "graph,tokenizer",
    shards: Annotated[int, typer.Option(metavar="N", min=1, max=256, help="Jobs at most, even in bytes.")] = 4,
    max_changes: Annotated[
        int | None, typer.Option("--max-changes", metavar="N", min=0, help="Refuse if more repos would change.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that is published, whether it changed or not, for `hubpush verify`.")
    ] = False,
    work: WorkOption = None,
) -> None:
    """Print the releases of which a run would do something, in shares that are even in bytes: one line of JSON.

    Reads only. Each share is a job: {"include": [{"shard", "models", "repos", "bytes"}]}, empty where nothing changed.
    """
    from hubpush import job, matrix, run

    work = work or default_work()
    options = job.Options(max_changes=max_changes, prove=not no_parity, references=references_of(references))
    mirror = run.local_mirror(source, work, telling(quiet=False))
    name = family or job.DEFAULT_FAMILY
    todo = job.of_family(name, models or (), _owner(org), mirror, None, None, work, options, lock, templates)
    with run.hub(hub, make=False) as (endpoint, embedded):
        todo = [dataclasses.replace(one, endpoint=endpoint, embedded=embedded) for one in todo]
        found = matrix.published(todo) if everything else matrix.changed(todo)
    for one in found:
        show.say(f"{one.name}: {redact(one.reason)}")
    show.put(matrix.to_json(matrix.shares(found, shards)))


@app.command(
    short_help="Accept a changed source: its digest goes into the lock.",
    epilog=examples(
        "hubpush pin bert_uncased_L-2_H-128_A-2 --lock bert-miniatures.lock.json",
        "hubpush pin '*' --family mine.toml                # writes mine.lock.json",
        "hubpush pin my-bert --family mine.toml --source /mnt/archives",
    ),
)
def pin(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Globs over the releases' names.")],
    family: FamilyOption = None,
    lock: LockOption = None,
    source: Annotated[
        str | None, typer.Option(metavar="DIR|URL|ZIP", help="Take the archives from here, as the main job does.")
    ] = None,
    work: WorkOption = None,
    output: FormatOption = Format.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch the sources of some releases, and write what they are now to the lock file, for a person to review.

    A main job takes only what the lock says: a source that changed is refused until it is pinned anew.
    """
    from hubpush import catalog, job, run

    mode = mode_of(output, as_json=as_json, quiet=quiet)
    work, name = work or default_work(), family or job.DEFAULT_FAMILY
    path = catalog.locate(name)
    if lock is None and path != Path(name):
        raise UsageError(
            f"{name} ships with hubpush, and its lock with it", hint="name a lock file of your own: --lock FILE"
        )
    target = lock or path.with_name(f"{path.stem}.lock.json")
    tell, _ = show.plain_progress()
    mirror = run.local_mirror(source, work, tell)
    todo = job.of_family(name, models, "local", mirror, None, None, work, job.Options(), lock)
    show.table(run.pin(todo, target, tell), mode)
    show.say(f"{target} is written; review the change, and commit it")


@app.command(
    "catalog",
    short_help="Families and their releases.",
    epilog=examples("hubpush catalog", "hubpush catalog bert-miniatures", "hubpush catalog mine.toml --json"),
)
def show_catalog(
    family: Annotated[str | None, typer.Argument(metavar="FAMILY", help="A shipped family, or FILE.toml.")] = None,
    output: FormatOption = Format.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the families, or the releases of one; a family file is checked."""
    from hubpush import catalog

    mode = mode_of(output, as_json=as_json, quiet=quiet)
    if family is None:
        found = [catalog.load(catalog.locate(name))[0] for name in catalog.shipped()]
        rows = [{"name": f.name, "releases": len(f.releases), "title": f.title, "summary": f.summary} for f in found]
        show.table(rows, mode)
        return
    path = catalog.locate(family)
    one, lock = catalog.load(path)
    if path == Path(family):
        from hubpush import run

        run.check_family(one, path)
    rows = [
        {
            "name": release.name,
            "title": release.title,
            "source": release.source,
            "pinned": release.source in lock.sources,
            "task": release.task,
            "part": release.part,
            "cased": release.cased,
            "activation": release.activation,
            "official": release.official_repo,
        }
        for release in one.releases
    ]
    show.table(rows, mode)
