"""The command line: arguments, one call, show; and the one error handler.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from hubpush import __version__, show
from hubpush.architectures import Activation
from hubpush.errors import CheckpointError, HubpushError, ModelError, UsageError, redact
from hubpush.show import Format

if TYPE_CHECKING:
    from hubpush.checkpoint import Checkpoint
    from hubpush.job import Tell
    from hubpush.model import Account
    from hubpush.parity import Asked
    from hubpush.source import Archive, Files, Texts


def _examples(*lines: str) -> str:
    """Examples for a help page; the backspace keeps the lines as they are."""
    return "Examples:\n\n\b\n" + "".join(f"  {'  ' if line.startswith(' ') else '$ '}{line}\n" for line in lines)


app = typer.Typer(
    name="hubpush",
    help="Carry released TensorFlow checkpoints to the Hugging Face Hub: convert, prove, document, publish.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
hub_app = typer.Typer(help="The embedded Hub.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(hub_app, name="hub")


FormatOption = Annotated[Format, typer.Option("--format", help="How to print data; auto is human.")]
JsonOption = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print names and URLs alone.")]
FamilyOption = Annotated[
    str | None,
    typer.Option("--family", metavar="NAME|FILE.toml", help="The family to carry; default bert-miniatures."),
]
CasedOption = Annotated[
    bool | None, typer.Option("--cased/--uncased", help="Casing; inferred from the vocabulary where it is plain.")
]
ActivationOption = Annotated[
    Activation | None, typer.Option(help="GELU form; default what the family says, else the original code's.")
]
TaskOption = Annotated[
    str | None,
    typer.Option("--task", metavar="TASK", help="What it was tuned for: text-classification, token-classification, …"),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="Names of a classifier's scores, one a line, score 0 first."),
]
PartOption = Annotated[
    str | None, typer.Option("--part", metavar="PART", help="Which part of an ELECTRA: discriminator or generator.")
]
AveragedOption = Annotated[
    bool, typer.Option("--averaged", help="Take the exponential moving averages instead of the raw weights.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="bert_config.json or electra_config.json, where it is not beside the checkpoint.",
    ),
]
VocabOption = Annotated[
    Path | None, typer.Option("--vocab", metavar="FILE", help="vocab.txt, where it is not beside the checkpoint.")
]
ReferencesOption = Annotated[
    str,
    typer.Option(
        "--parity",
        metavar="NAME,…",
        help="What to compare with: graph,tokenizer[,tfhub=PATH|URL][,repo=OWNER/NAME][,keras].",
    ),
]
HubOption = Annotated[
    str | None, typer.Option("--hub", metavar="URL|DIR", help="Another Hub; a directory is an embedded one kept there.")
]
WorkOption = Annotated[
    Path | None,
    typer.Option(
        "--work", metavar="DIR", envvar="HUBPUSH_WORK", help="Downloads and built folders; default ~/.cache/hubpush."
    ),
]


def main() -> NoReturn:
    """Entry point of the `hubpush` command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # titles and cards hold what an ASCII terminal cannot show
    try:
        app()
    except HubpushError as error:
        show.say(f"Error: {redact(error.message)}")
        show.say(f"Hint: {redact(error.hint)}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (`hubpush catalog | head`); nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        show.say(f"Error: {redact(str(error))}\nHint: check the path, the disk and the permissions.")
        sys.exit(1)
    sys.exit(0)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Carry released TensorFlow checkpoints to the Hugging Face Hub: convert, prove, document, publish."""
    if version:
        show.put(__version__)
        raise typer.Exit


@app.command(
    short_help="The main job: a family, or one checkpoint.",
    epilog=_examples(
        "hubpush convert-and-upload --org my-org                     # all of bert-miniatures",
        "hubpush convert-and-upload --org my-org '*L-2*' --dry-run   # the plan and the cards of some",
        "hubpush convert-and-upload --org demo --hub ./my-hub        # no account: an embedded Hub in a directory",
        "hubpush convert-and-upload --family mine.toml --org my-org --source /mnt/archives --jobs 2",
        "hubpush convert-and-upload --source all_bert_models.zip --org my-org    # a zip of the family's zips",
        "hubpush convert-and-upload --source ./model.ckpt-1000 --repo-id me/my-bert --license apache-2.0",
        "hubpush convert-and-upload --source ./out/model.ckpt-343 --config ./base/bert_config.json \\",
        "      --vocab ./base/vocab.txt --task text-classification --labels labels.txt \\",
        "      --repo-id me/my-classifier --license apache-2.0",
    ),
)
def convert_and_upload(
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL", help="Globs; all releases without.")] = None,
    org: Annotated[str | None, typer.Option(metavar="ORG", help="User or organisation that owns the repos.")] = None,
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything but the push: print the plan and the cards.")
    ] = False,
    jobs: Annotated[
        int, typer.Option(metavar="N", min=1, max=256, help="Releases at a time, each in a process of its own.")
    ] = 1,
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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what somebody else changed on the Hub.")
    ] = False,
    allow_nonfinite: Annotated[
        bool, typer.Option("--allow-nonfinite", help="Take NaN and infinite weights, with --force or --no-parity.")
    ] = False,
    work: WorkOption = None,
    output: FormatOption = Format.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Convert, prove, document and publish a family of models, or one checkpoint.

    A second run changes nothing where nothing changed. Give --repo-id, --source and --license for one checkpoint.
    """
    from hubpush import job, run
    from hubpush.source import Texts

    mode = _mode(output, as_json=as_json, quiet=quiet)
    if no_parity and force:
        raise UsageError("--force pushes a failed parity, --no-parity runs none", hint="give one of the two")
    asked = _references(references)
    if not no_parity and {"graph", "tokenizer"} - {one.name for one in asked}:
        raise UsageError(
            f"--parity {references}: what is published is compared with graph and tokenizer at least",
            hint="name both too; `hubpush parity FOLDER --source CHECKPOINT` runs any of them alone",
        )
    options = job.Options(
        references=asked,
        prove=not no_parity,
        force=force,
        dry_run=dry_run,
        private=private,
        overwrite=overwrite,
        allow_nonfinite=allow_nonfinite,
    )
    work = work or _default_work()
    if repo_id is not None:
        if org or models or family:
            raise UsageError(
                "--repo-id names one repo; --org, --family and MODEL belong to families", hint="drop either"
            )
        if not source or not license_id:
            missing = [name for name, value in (("--source", source), ("--license", license_id)) if not value]
            raise UsageError(
                f"one checkpoint needs {' and '.join(missing)} too",
                hint="hubpush convert-and-upload --source ./model.ckpt --repo-id me/my-bert --license apache-2.0",
            )
        facts = _facts(license_id, cased, activation, task, labels, part, averaged=averaged)
        facts["language"] = tuple(language or ())
        texts = Texts(config, vocab)
        todo = [job.of_checkpoint(source, repo_id, facts, texts, work, options, labels)]
    else:
        if org is None:
            raise UsageError(
                "--org is missing",
                hint="name the owner of the repos; for one checkpoint give --source, --repo-id and --license",
            )
        alone: dict[str, object] = {
            "--license": license_id,
            "--language": language,
            "--task": task,
            "--labels": labels,
            "--part": part,
        }
        alone |= {"--averaged": averaged, "--config": config, "--vocab": vocab}
        if given := [name for name, value in alone.items() if value]:
            raise UsageError(
                f"{', '.join(given)}: for one checkpoint alone, with --repo-id", hint="a family file says it itself"
            )
        mirror = run.local_mirror(source, work, show.plain_progress()[0])
        todo = job.of_family(family or job.DEFAULT_FAMILY, models or (), org, mirror, cased, activation, work, options)
    with run.hub(hub) as (endpoint, embedded):
        todo = [dataclasses.replace(one, endpoint=endpoint, embedded=embedded) for one in todo]
        with show.progress([one.release.name for one in todo], quiet=mode is Format.quiet) as (tell, done):
            try:
                outcomes = run.carry_all(todo, jobs, tell, done)
            except KeyboardInterrupt:
                show.say("Interrupted. Run the same command again: it goes on where it stopped.")
                raise
    found = todo[0].family
    if hub is not None and "://" not in hub:
        # The embedded Hub ran for this command alone: its address is gone now.
        outcomes = [dataclasses.replace(outcome, url=None) for outcome in outcomes]
    show.summary(outcomes, found, hub, mode, dry_run=dry_run)
    codes = {int(outcome.error["code"]) for outcome in outcomes if outcome.error}
    if codes:
        raise typer.Exit(codes.pop() if len(codes) == 1 else 1)


@app.command(
    "catalog",
    short_help="Families and their releases.",
    epilog=_examples("hubpush catalog", "hubpush catalog bert-miniatures", "hubpush catalog mine.toml --json"),
)
def show_catalog(
    family: Annotated[str | None, typer.Argument(metavar="FAMILY", help="A shipped family, or FILE.toml.")] = None,
    output: FormatOption = Format.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the families, or the releases of one; a family file is checked."""
    from hubpush import catalog

    mode = _mode(output, as_json=as_json, quiet=quiet)
    if family is None:
        found = [catalog.load(catalog.locate(name))[0] for name in catalog.shipped()]
        rows = [{"name": f.name, "releases": len(f.releases), "title": f.title, "summary": f.summary} for f in found]
        show.table(rows, mode)
        return
    path = catalog.locate(family)
    one, lock = catalog.load(path)
    if path == Path(family):
        from hubpush import run

        run.check_family(one, path.parent)
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


@app.command(
    short_help="Every variable, and what becomes of it.",
    epilog=_examples(
        "hubpush inspect uncased_L-2_H-128_A-2.zip",
        "hubpush inspect ./run/model.ckpt-1000000 --json",
        "hubpush inspect ./electra_small --part generator",
    ),
)
def inspect(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A zip, a directory, the prefix of a checkpoint, or a URL.")
    ],
    task: TaskOption = None,
    part: PartOption = None,
    averaged: AveragedOption = False,
    config: ConfigOption = None,
    work: WorkOption = None,
    output: FormatOption = Format.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show every variable of a checkpoint and what becomes of it. Checks every CRC, imports no TensorFlow.

    Without a config the shapes are held against each other instead.
    """
    from hubpush import catalog, model
    from hubpush.checkpoint import Checkpoint
    from hubpush.source import Texts

    mode = _mode(output, as_json=as_json, quiet=quiet)
    # The options are held against what there is before anything is read.
    catalog.single(
        "local/checkpoint", "checkpoint", **_facts("unknown", None, None, task, None, part, averaged=averaged)
    )
    with _opened(source, work, Texts(config)) as (_, files), Checkpoint(files.prefix) as checkpoint:
        try:
            table = model.recognize(checkpoint, None, part)
        except (CheckpointError, ModelError):
            # What it is not is said behind what it is.
            _list_variables(checkpoint, mode)
            raise
        sizes = model.read_config(files.config, table) if files.config else model.sizes(checkpoint, table)
        account = model.account(checkpoint, sizes, table, task=task, averaged=averaged)
        rows = [
            {
                "name": fate.variable.name,
                "shape": list(fate.variable.shape),
                "dtype": fate.variable.dtype,
                "crc_ok": checkpoint.is_sound(fate.variable.name),
                "key": fate.key,
                "disposition": fate.disposition,
                "reason": fate.reason or None,
            }
            for fate in account.fates
        ]
        size = sum(variable.size for variable in checkpoint.variables.values())
    parameters = sum(math.prod(f.variable.shape) for f in account.mapped())
    if mode is Format.json:
        data = {
            "format": "tensorflow-v2-bundle",
            "architecture": account.architecture,
            "layout": account.layout and account.layout.name,
            "class": account.model_class.name,
            "heads": sorted(account.heads),
            "variables": [{k: v for k, v in row.items() if k != "reason"} for row in rows],
            "parameters": parameters,
            "bytes": size,
            "mistakes": list(account.mistakes),
        }
        show.put(json.dumps(data))
        _require_sound(rows, account)
        return
    show.table(
        [
            {**row, "shape": "×".join(map(str, fate.variable.shape)) or "scalar"}
            for row, fate in zip(rows, account.fates, strict=True)
        ],
        mode,
    )
    layout = f" ({account.layout.name})" if account.layout else ""
    show.say(
        f"{account.architecture}{layout}, {account.model_class.name}: {len(account.mapped())} of {len(rows)} variables"
        f" are published, {parameters:,} parameters, {size:,} bytes"
    )
    if files.config is None:
        shown = ", ".join(f"{name} {size:,}" for name, size in sizes.items() if size)
        show.say(f"No config beside it (a conversion needs one: --config FILE). By the shapes: {shown}")
    _require_sound(rows, account)


@app.command(
    short_help="One checkpoint to a folder.",
    epilog=_examples(
        "hubpush convert ./uncased_L-2_H-128_A-2.zip ./bert-tiny",
        "hubpush convert ./run/model.ckpt-1000 ./mine --cased",
        "hubpush convert ./electra_small ./generator --part generator --config generator_config.json",
    ),
)
def convert(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A zip, a directory, the prefix of a checkpoint, or a URL.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make; it must not exist yet, or be empty.")],
    cased: CasedOption = None,
    activation: Annotated[Activation | None, typer.Option(help="GELU form; default the original code's.")] = None,
    task: TaskOption = None,
    labels: LabelsOption = None,
    part: PartOption = None,
    averaged: AveragedOption = False,
    config: ConfigOption = None,
    vocab: VocabOption = None,
    allow_nonfinite: Annotated[bool, typer.Option("--allow-nonfinite", help="Write NaN and infinite weights.")] = False,
    work: WorkOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the folder alone.")] = False,
) -> None:
    """Convert one checkpoint to a folder that from_pretrained loads. Proves nothing and publishes nothing."""
    from hubpush import catalog, manifest, pipeline
    from hubpush.source import Texts

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is not an empty folder", hint="name a folder that is to be made")
    facts = _facts("unknown", cased, activation, task, labels, part, averaged=averaged)
    release = catalog.single("local/checkpoint", "checkpoint", **facts).releases[0]
    with _opened(source, work, Texts(config, vocab)) as (archive, files), _made_whole(out.resolve()) as folder:
        done = pipeline.convert(files, folder, release, allow_nonfinite=allow_nonfinite)
        found = done.reading
        build = pipeline.record(
            archive.name, release, archive, files, folder, found, None, sha256=done.sha256, nonfinite=allow_nonfinite
        )
        manifest.write_record(folder, build)
    show.put(str(out))
    if not quiet:
        casing, config_ = "cased" if found.cased else "uncased", found.config
        show.say(
            f"{config_['architectures'][0]}, {done.parameters:,} parameters, {casing}, {config_['hidden_act']};"
            f" to prove it: hubpush parity {out} --source {source}"
        )
        for sentence in found.assumed:
            show.say(f"Assumed: {sentence}")
        left_out = Counter(fate.reason for fate in found.account.dropped())
        for reason, count in left_out.items():
            show.say(f"Left out: {count:,} variable{'s' * (count > 1)}: {reason}")


@app.command(
    short_help="Does a folder compute what its checkpoint does?",
    epilog=_examples(
        "hubpush parity ./bert-tiny --source ./uncased_L-2_H-128_A-2.zip",
        "hubpush parity ./theirs --source ./run/model.ckpt --activation gelu --cased    # a folder that others made",
        "hubpush parity ./bert-tiny --source ./uncased_L-2_H-128_A-2.zip \\",
        "      --parity graph,tokenizer,keras,repo=google/bert_uncased_L-2_H-128_A-2,tfhub=./module.tar.gz",
        "hubpush parity ./bert-tiny --family bert-miniatures --model bert_uncased_L-2_H-128_A-2 --parity graph,repo",
    ),
)
def parity(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A model folder, as from_pretrained loads it.")],
    source: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Its checkpoint: a zip, a directory, a prefix, or a URL.")
    ] = None,
    references: ReferencesOption = "graph,tokenizer",
    family: Annotated[
        str | None, typer.Option("--family", metavar="NAME|FILE.toml", help="The family whose release it is.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="The release of --family whose facts are meant.")
    ] = None,
    hub: HubOption = None,
    cased: CasedOption = None,
    activation: ActivationOption = None,
    task: TaskOption = None,
    labels: LabelsOption = None,
    part: PartOption = None,
    averaged: AveragedOption = False,
    config: ConfigOption = None,
    vocab: VocabOption = None,
    work: WorkOption = None,
    output: FormatOption = Format.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare a model folder with the checkpoint that it is made from, and record the result in its hubpush.json.

    Facts that are not given are taken from that file, where there is one.
    """
    from hubpush import job, proof, run
    from hubpush.source import Texts

    mode = _mode(output, as_json=as_json, quiet=quiet)
    asked = _references(references)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no directory", hint="give a model folder; `hubpush convert` makes one")
    if (model is None) is not (family is None):
        raise UsageError("--family and --model belong together", hint="name the family and the release in it")
    said = _facts(None, cased, activation, task, labels, part, averaged=averaged)
    about = proof.subject(folder, family, model, source, said, Texts(config, vocab))
    work, name = work or _default_work(), folder.resolve().name
    tell = _telling(quiet=mode is Format.quiet)

    def fetching(done: int, total: int | None) -> None:
        tell(name, "fetch", done / total if total else None)

    with run.hub(hub, make=False) as (endpoint, embedded):
        asked = proof.bring(asked, about, lambda: job.client_of(endpoint, embedded=embedded), work, fetching)
    with _opened(about.where, work, about.texts) as (archive, files):
        report = proof.prove(folder, archive, files, about.release, asked, lambda part: tell(name, "parity", part))
    show.parity(report.to_json(), mode)
    report.require()


@app.command(
    short_help="Is a published repo what its manifest says?",
    epilog=_examples(
        "hubpush verify my-org/bert_uncased_L-2_H-128_A-2 --revision v1.0.0",
        "hubpush verify my-org/my-bert --source ./uncased_L-2_H-128_A-2.zip",
        "hubpush verify demo/all-MiniLM-L6-v2-tf1 --hub ./demo-hub",
    ),
)
def verify(
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="OWNER/NAME of a repo that hubpush published.")],
    revision: Annotated[str | None, typer.Option(metavar="REV", help="A tag, branch or commit; default main.")] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Prove it again: its checkpoint, as a zip, directory, prefix or URL."),
    ] = None,
    digests: Annotated[bool, typer.Option("--digests", help="Compare bytes alone, load nothing.")] = False,
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
    """
    from hubpush import catalog, job, proof, run
    from hubpush.source import Texts

    mode = _mode(output, as_json=as_json, quiet=quiet)
    if not catalog.is_repo_id(repo_id):
        raise UsageError(f"{repo_id!r} is no repo", hint="OWNER/NAME, for example my-org/my-bert")
    if digests and source is not None:
        raise UsageError("--digests loads nothing, --source proves again", hint="give one of the two")
    work, tell = work or _default_work(), _telling(quiet=mode is Format.quiet)
    with run.hub(hub, make=False) as (endpoint, embedded):
        tell(repo_id, "fetch", None)
        api = job.client_of(endpoint, embedded=embedded)
        verified, folder = proof.verify(api, repo_id, revision, work / "repos", digests_only=digests)
    if source is not None:
        with _opened(source, work, Texts(config, vocab)) as (archive, files):
            verified = proof.prove_again(verified, folder, archive, files, lambda part: tell(repo_id, "parity", part))
    show.verification(verified.to_json(), mode)
    proof.require(verified)


@hub_app.command(
    "serve",
    epilog=_examples(
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


def _references(text: str) -> tuple[Asked, ...]:
    from hubpush.parity import parse

    return parse(text)


def _telling(*, quiet: bool) -> Tell:
    """Lines about what is being done; none when quiet."""
    return (lambda _name, _station, _part: None) if quiet else show.plain_progress()[0]


def _facts(
    license_id: str | None,
    cased: bool | None,
    activation: Activation | None,
    task: str | None,
    labels: Path | None,
    part: str | None,
    *,
    averaged: bool,
) -> dict[str, Any]:
    """What a person says of one checkpoint, by the keys of a `Release`; what is not said is left out."""
    from hubpush import catalog

    said: dict[str, Any] = {"license": license_id, "cased": cased, "task": task, "part": part}
    if activation is not None:
        said |= {"activation": activation, "activation_source": "chosen with --activation"}
    if labels is not None:
        said["labels"] = catalog.read_labels(labels)
    return {key: value for key, value in said.items() if value is not None} | ({"averaged": True} if averaged else {})


def _list_variables(checkpoint: Checkpoint, mode: Format) -> None:
    """Every variable of a checkpoint that is not read as any architecture."""
    rows = [
        {
            "name": name,
            "shape": list(variable.shape) if mode is Format.json else "×".join(map(str, variable.shape)) or "scalar",
            "dtype": variable.dtype,
            "crc_ok": checkpoint.is_sound(name),
        }
        for name, variable in sorted(checkpoint.variables.items())
    ]
    if mode is Format.json:
        show.put(json.dumps({"format": "tensorflow-v2-bundle", "architecture": None, "variables": rows}))
    else:
        show.table(rows, mode)


def _require_sound(rows: Sequence[Mapping[str, Any]], account: Account) -> None:
    """After everything was shown, the exit code of what is wrong with it."""
    damaged = [row["name"] for row in rows if not row["crc_ok"]]
    if damaged:
        raise CheckpointError(
            f"checkpoint damaged: {len(damaged)} variable(s) are not what was saved: {', '.join(damaged[:5])}",
            hint="fetch the checkpoint again and compare its digest with the publisher's",
        )
    account.require()


def _default_work() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "hubpush"


@contextmanager
def _opened(source: str, work: Path | None, texts: Texts) -> Iterator[tuple[Archive, Files]]:
    """The files of a checkpoint that a person names: a URL, a zip, a directory or a prefix."""
    import tempfile

    from hubpush import source as station

    texts.digests()  # what is not there is said before anything is fetched
    with tempfile.TemporaryDirectory(prefix="hubpush-") as scratch:
        location = station.resolve(source, Path())
        tell, _ = show.plain_progress()
        archive = station.fetch(
            location,
            (work or _default_work()) / "downloads",
            progress=lambda done, total: tell(station.display_name(location), "fetch", done / total if total else None),
            texts=texts,
        )
        with station.opened(archive, Path(scratch) / "source", texts) as files:
            yield archive, files


@contextmanager
def _made_whole(folder: Path) -> Iterator[Path]:
    """A folder that gets its name when the block ends well, and leaves nothing behind otherwise."""
    import shutil
    import tempfile

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            yield partial
            partial.chmod(0o755)  # mkdtemp makes it for its owner alone
            if folder.exists():
                folder.rmdir()
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ModelError(f"{folder} cannot be written: {error.strerror}", hint="check the path and the disk") from None


def _mode(output: Format, *, as_json: bool, quiet: bool) -> Format:
    if as_json and quiet:
        raise UsageError("--json and --quiet exclude each other", hint="give one of the two")
    if as_json:
        return Format.json
    if quiet:
        return Format.quiet
    return Format.human if output is Format.auto else output


if __name__ == "__main__":
    main()
