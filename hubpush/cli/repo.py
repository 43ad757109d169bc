"""One repo on a Hub: verify, rollback, unhold, yank; the embedded Hub; and doctor."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hubpush import show
from hubpush.cli.options import (
    AdoptOption,
    ConfigOption,
    DryRunOption,
    FamilyOption,
    FormatOption,
    HubOption,
    JsonOption,
    OrgOption,
    OverwriteOption,
    QuietOption,
    VocabOption,
    WorkOption,
    app,
    default_work,
    examples,
    hub_app,
    mode_of,
    opened,
    require_repo,
    telling,
    today,
)
from hubpush.errors import UsageError
from hubpush.show import Format

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from hubpush.job import Status
    from hubpush.planning import Next


@app.command(
    short_help="Is what is published what its manifest says?",
    epilog=examples(
        "hubpush verify my-org/bert_uncased_L-2_H-128_A-2 --revision v1.0.0",
        "hubpush verify my-org/my-bert --source ./uncased_L-2_H-128_A-2.zip",
        "hubpush verify demo/all-MiniLM-L6-v2-tf1 --hub ./demo-hub",
        "hubpush verify --org my-org                        # every version of all of bert-miniatures",
        "hubpush verify --org my-org --family mine.toml my-bert --json",
    ),
)
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REPO_ID | MODEL",
            help="OWNER/NAME of a repo that hubpush published; with --org, globs over the releases; all without.",
        ),
    ] = None,
    org: OrgOption = None,
    family: FamilyOption = None,
    revision: Annotated[str | None, typer.Option(metavar="REV", help="A tag, branch or commit; default main.")] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Prove it again: its checkpoint, as a zip, directory, prefix or URL."),
    ] = None,
    digests: Annotated[bool, typer.Option("--digests", help="Compare bytes alone, load nothing.")] = False,
    keras: Annotated[
        bool | None,
        typer.Option(
            "--keras/--no-keras", help="Load it with KerasHub, too. Default: with --org, where that is installed."
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="With --org: leave in --work what was downloaded; else each repo goes when done."),
    ] = False,
    deadline: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=1, help="With --org: end after this time; the rest failed.")
    ] = None,
    hub: HubOption = None,
    config: ConfigOption = None,
    vocab: VocabOption = None,
    work: WorkOption = None,
    output: FormatOption = Format.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Download a version; compare its files with its manifest's digests, its ids and outputs with the recorded ones.

    Digests need neither TensorFlow, torch nor transformers. With --source the proof (graph, tokenizer) is run again.
    With --org it is every published version of a family, with the libraries that are installed now.
    """
    from hubpush import job, proof, run
    from hubpush.source import Texts

    mode = mode_of(output, as_json=as_json, quiet=quiet)
    if digests and keras:
        raise UsageError("--digests loads nothing, --keras loads with KerasHub", hint="give one of the two")
    single = {"--revision": revision, "--source": source, "--config": config, "--vocab": vocab}
    if org is not None:
        if said := [name for name, value in single.items() if value is not None]:
            raise UsageError(f"{', '.join(said)}: for one repo alone, without --org", hint="give OWNER/NAME instead")
        _verify_family(
            names or (), org, family, hub, work or default_work(), mode,
            digests=digests, keras=keras, keep=keep, deadline=deadline,
        )  # fmt: skip
        return
    several = {"--family": family is not None, "--keep": keep, "--deadline": deadline is not None}
    if said := [name for name, value in several.items() if value]:
        raise UsageError(
            f"{', '.join(said)}: for a family, with --org", hint="name the owner of its repos: --org my-org"
        )
    if names is None or len(names) != 1:
        raise UsageError(
            "one repo is verified, or with --org a family", hint="give OWNER/NAME, for example my-org/my-bert"
        )
    (repo_id,) = names
    require_repo(repo_id)
    if digests and source is not None:
        raise UsageError("--digests loads nothing, --source proves again", hint="give one of the two")
    work, tell = work or default_work(), telling(quiet=mode is Format.quiet)
    if keras:
        from hubpush import reproof

        reproof.Looking(keras=True).require_installed()
    with run.hub(hub, make=False) as (endpoint, embedded):
        tell(repo_id, "fetch", None)
        api = job.client_of(endpoint, embedded=embedded)
        verified, folder = proof.verify(api, repo_id, revision, work / "repos", digests_only=digests, keras=bool(keras))
    if source is not None:
        with opened(source, work, Texts(config, vocab)) as files:
            verified = proof.prove_again(verified, folder, files, lambda part: tell(repo_id, "parity", part))
    show.verification(verified.to_json(), mode)
    proof.require(verified)


def _verify_family(
    models: Sequence[str],
    org: str,
    family: str | None,
    hub: str | None,
    work: Path,
    mode: Format,
    *,
    digests: bool,
    keras: bool | None,
    keep: bool,
    deadline: float | None,
) -> None:
    """Prove every published version of a family again, and end with the exit code of what was found."""
    from hubpush import job, reproof, run
    from hubpush.client import Bounds

    looking = reproof.Looking(digests_only=digests, keras=keras, keep=keep)
    looking.require_installed()
    bounds = Bounds(until=None if deadline is None else time.time() + deadline)
    options = job.Options(bounds=bounds)
    todo = job.of_family(family or job.DEFAULT_FAMILY, models, org, None, None, None, work, options)
    tell = telling(quiet=mode is Format.quiet)

    def done(one: reproof.Proven) -> None:
        if mode is not Format.quiet:
            show.say(f"{one.title}: {one.verdict} in {one.seconds:.1f} s")

    with run.hub(hub, make=False) as (endpoint, embedded):
        todo = [dataclasses.replace(one, endpoint=endpoint, embedded=embedded) for one in todo]
        found = reproof.prove_again(todo, work / "repos", looking, tell, done, named=models)
    show.reproof(found.to_json(), mode)
    reproof.require_some(found, org)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


RepoArgument = Annotated[str, typer.Argument(metavar="REPO_ID", help="OWNER/NAME of a repo that hubpush published.")]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="The tag of a version: v1.2.3.")]


@app.command(
    short_help="Back to the files of an earlier version, and a hold.",
    epilog=examples(
        "hubpush rollback my-org/my-bert v1.0.0", "hubpush unhold my-org/my-bert     # the next run publishes again"
    ),
)
def rollback(
    repo_id: RepoArgument,
    version: VersionArgument,
    adopt: AdoptOption = False,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    hub: HubOption = None,
    work: WorkOption = None,
    output: FormatOption = Format.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Publish the files of an earlier version as a new one, copied on the Hub. No tag moves, nothing is taken back.

    It sets a hold: no run publishes to the repo before `hubpush unhold`, so a schedule does not bring back what was
    bad.
    """
    from hubpush import amend

    def step(api: HfApi, cache: Path, day: str) -> Next:
        return amend.rollback(api, repo_id, version, cache, day, adopt=adopt, overwrite=overwrite)

    mode = mode_of(output, as_json=as_json, quiet=quiet)
    _amended(repo_id, step, hub, work or default_work(), mode, dry_run=dry_run)


@app.command(short_help="Lift the hold of a rollback.", epilog=examples("hubpush unhold my-org/my-bert --hub ./my-hub"))
def unhold(
    repo_id: RepoArgument,
    adopt: AdoptOption = False,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    hub: HubOption = None,
    work: WorkOption = None,
    output: FormatOption = Format.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Lift the hold that a rollback or a person has set: the next run publishes again. A release of the card alone."""
    from hubpush import amend

    def step(api: HfApi, cache: Path, day: str) -> Next:
        return amend.unhold(api, repo_id, cache, day, adopt=adopt, overwrite=overwrite)

    mode = mode_of(output, as_json=as_json, quiet=quiet)
    _amended(repo_id, step, hub, work or default_work(), mode, dry_run=dry_run)


@app.command(
    short_help="Say on the card that a version should not be used.",
    epilog=examples('hubpush yank my-org/my-bert v1.1.0 --reason "trained on the test set"'),
)
def yank(
    repo_id: RepoArgument,
    version: VersionArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; the card shows it.")],
    adopt: AdoptOption = False,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    hub: HubOption = None,
    work: WorkOption = None,
    output: FormatOption = Format.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Publish a card that says that a version should not be used, and why. Its tag stays, so nobody's code breaks."""
    from hubpush import amend

    def step(api: HfApi, cache: Path, day: str) -> Next:
        return amend.yank(api, repo_id, version, reason, cache, day, adopt=adopt, overwrite=overwrite)

    mode = mode_of(output, as_json=as_json, quiet=quiet)
    _amended(repo_id, step, hub, work or default_work(), mode, dry_run=dry_run)


def _amended(
    repo_id: str,
    step: Callable[[HfApi, Path, str], Next],
    hub: str | None,
    work: Path,
    mode: Format,
    *,
    dry_run: bool,
) -> None:
    """Push what an amendment says, or print its plan."""
    from hubpush import job, publish, remote, run

    require_repo(repo_id)
    name, cache = repo_id.partition("/")[2], work / "hub-cache"
    with run.hub(hub, make=False) as (endpoint, embedded):
        api = job.client_of(endpoint, embedded=embedded, repo_id=repo_id)
        following = step(api, cache, today())
        if dry_run:
            there = remote.look(api, repo_id, cache)
            plan = following(there)
            if plan is None:
                show.say(f"{repo_id}: nothing to do")
            if mode is Format.json:
                planned = [] if plan is None else [job.amendment(name, plan)]
                show.summary(planned, there.manifest.family if there.manifest else "", hub, mode, dry_run=True)
            elif plan is not None:
                show.plan(plan)
            return
        done = publish.push(api, repo_id, following, cache, embedded=embedded)
        status: Status = "published" if done.bump else "unchanged"
        outcome = job.settled(name, repo_id, done.manifest, status, api, done.commit, bump=done.bump)
    if hub is not None and "://" not in hub:
        outcome = dataclasses.replace(outcome, url=None)
    show.summary([dataclasses.replace(outcome, assumed=())], done.manifest.family, hub, mode, dry_run=False)
    if done.manifest.hold:
        where = "" if hub is None else f" --hub {shlex.quote(hub)}"
        show.say(f"A hold is set: no run publishes to {repo_id} before `hubpush unhold {repo_id}{where}`")


@app.command(
    short_help="What would fail, before it does.",
    epilog=examples(
        "hubpush doctor",
        "hubpush doctor --org my-org --family mine.toml     # the right to write to every repo, room on the disk",
    ),
)
def doctor(
    org: OrgOption = None,
    family: FamilyOption = None,
    hub: HubOption = None,
    work: WorkOption = None,
    output: FormatOption = Format.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check versions, the Hub's address, the token and its rights, and the disk; with --org every repo of a family.

    The main job makes the same checks for the repos that it will change.
    """
    from hubpush import doctor as checks

    mode = mode_of(output, as_json=as_json, quiet=quiet)
    found = checks.examine(org, family, hub, work or default_work())
    rows = [{"name": one.name, "result": one.result, "found": one.found, "hint": one.hint} for one in found]
    show.checks(rows, mode)
    codes = {one.code for one in found if one.code}
    if codes:
        raise typer.Exit(codes.pop() if len(codes) == 1 else 1)


@hub_app.command(
    "serve",
    epilog=examples(
        "hubpush hub serve ./my-hub",
        "HF_ENDPOINT=http://127.0.0.1:8000 hf download demo/my-model",
        "hubpush hub serve ./my-hub --users users.toml --faults faults.toml",
    ),
)
def hub_serve(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where its repos are kept; it is created.")],
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")
    ] = 8000,
    faults: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What is to fail, and when: a TOML file of [[faults]].")
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Tokens and their rights: a TOML file of [[users]]. Without: any token."),
    ] = None,
) -> None:
    """Serve the embedded Hub of a directory on this machine until Ctrl-C, with a page for every repo.

    docs/embedded-hub.md says what it has of the Hub, and how both files are written.
    """
    from hubpush import localhub
    from hubpush.localhub.faults import read as read_faults
    from hubpush.localhub.users import read as read_users

    if directory.is_file():
        raise UsageError(f"{directory} is a file", hint="give a directory")

    def started(url: str) -> None:
        show.put(f"Serving {directory} at {url}  (HF_ENDPOINT={url}; Ctrl-C ends)")
        for obstacle in localhub.obstacles(url):
            show.say(f"Note: {obstacle}")

    plan = read_faults(faults) if faults else None
    if plan is not None:
        plan.tell = lambda seen: show.say(f"Fault: {seen.method} {seen.path} is told to fail")
    localhub.run(
        directory,
        port=port,
        users=read_users(users) if users else None,
        plan=plan,
        on_start=started,
    )
