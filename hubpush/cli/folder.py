"""One checkpoint, one folder on this machine: inspect, convert, parity, card."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hubpush import show
from hubpush.architectures import Activation
from hubpush.cli.options import (
    ActivationOption,
    AveragedOption,
    CasedOption,
    ConfigOption,
    FormatOption,
    HubOption,
    JsonOption,
    LabelsOption,
    OnlineOption,
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
    opened,
    references_of,
    require_repo,
    telling,
    today,
)
from hubpush.errors import CardError, CheckpointError, HubpushError, ModelError, UsageError
from hubpush.show import Format

if TYPE_CHECKING:
    from hubpush.catalog import Pin, Release
    from hubpush.checkpoint import Checkpoint
    from hubpush.conversion import Conversion
    from hubpush.mapping import Account
    from hubpush.source import Location, Texts


@app.command(
    short_help="Every variable, and what becomes of it.",
    epilog=examples(
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
    from hubpush import catalog, mapping, model
    from hubpush.checkpoint import Checkpoint
    from hubpush.source import Texts

    mode = mode_of(output, as_json=as_json, quiet=quiet)
    # The options are held against what there is before anything is read.
    catalog.single(
        "local/checkpoint", "checkpoint", **facts_of("unknown", None, None, task, None, part, averaged=averaged)
    )
    with opened(source, work, Texts(config)) as files, Checkpoint(files.prefix) as checkpoint:
        try:
            table = mapping.recognize(checkpoint, None, part)
        except (CheckpointError, ModelError):
            # What it is not is said behind what it is.
            _list_variables(checkpoint, mode)
            raise
        sizes = model.read_config(files.config, table) if files.config else mapping.sizes(checkpoint, table)
        account = mapping.account(checkpoint, sizes, table, task=task, averaged=averaged)
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
    short_help="One checkpoint to a folder, or a family's.",
    epilog=examples(
        "hubpush convert ./uncased_L-2_H-128_A-2.zip ./bert-tiny",
        "hubpush convert ./run/model.ckpt-1000 ./mine --cased",
        "hubpush convert ./electra_small ./generator --part generator --config generator_config.json",
        "hubpush convert ./mirror ./models --family bert-miniatures --model '*L-2*'    # each to a folder of its name",
    ),
)
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A zip, a directory, the prefix of a checkpoint, or a URL; of a family, what holds its archives.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make; it must not exist yet, or be empty.")],
    family: Annotated[
        str | None, typer.Option("--family", metavar="NAME|FILE.toml", help="Convert the releases of a family.")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", metavar="GLOB", help="Those alone; can be repeated.")
    ] = None,
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
    """Convert one checkpoint to a folder that from_pretrained loads. Proves nothing and publishes nothing.

    With --family all of its releases, or those of --model, each to a folder in OUT that has its name.
    """
    from hubpush import catalog
    from hubpush.source import Texts

    said = facts_of(None, cased, activation, task, labels, part, averaged=averaged)
    if family is not None:
        if said or config is not None or vocab is not None:
            raise UsageError(
                "a family says itself what its releases are", hint="drop these options, or convert one checkpoint"
            )
        _convert_family(source, out, family, models or (), work, allow_nonfinite=allow_nonfinite, quiet=quiet)
        return
    if models:
        raise UsageError("--model names releases of a --family", hint="name the family, or drop it")
    release = catalog.single("local/checkpoint", "checkpoint", **{"license": "unknown", **said}).releases[0]
    done = _convert(source, out, release, Texts(config, vocab), None, work, allow_nonfinite=allow_nonfinite)
    _tell_converted(out, source, done, quiet=quiet)


def _convert_family(
    mirror: str, out: Path, name: str, models: Sequence[str], work: Path | None, *, allow_nonfinite: bool, quiet: bool
) -> None:
    """Convert the releases of a family, two at a time and the largest first, so that both threads end together.

    One that fails does not keep the others from it.

    Raises:
        HubpushError: Some failed; each has been told.
    """
    from concurrent.futures import ThreadPoolExecutor

    from hubpush import catalog
    from hubpush.source import Texts, resolve, size_of

    path = catalog.locate(name)
    loaded, lock = catalog.load(path)
    chosen, failures = catalog.select(loaded, models), list[HubpushError]()

    def size(release: Release) -> int:
        """Bytes to read, as far as lock and disk tell; no server is asked for that."""
        pin = lock.sources.get(release.source)
        if pin is not None and pin.size is not None:
            return pin.size
        with suppress(HubpushError, OSError):
            location = resolve(release.source, path.parent, mirror)
            if isinstance(location, Path) and location.is_dir():
                return sum(file.stat().st_size for file in location.rglob("*.data-*"))
            if not isinstance(location, str):
                return size_of(location) or 0
        return 0

    def convert_one(release: Release) -> Conversion | HubpushError:
        try:
            return _convert(
                resolve(release.source, path.parent, mirror),
                out / release.name,
                release,
                Texts.of(release, path.parent),
                lock.sources.get(release.source),
                work,
                allow_nonfinite=allow_nonfinite,
                alone=len(chosen) == 1 or (os.cpu_count() or 1) > 2,
            )
        except HubpushError as error:
            return error

    in_order = sorted(chosen, key=size, reverse=True)
    with ThreadPoolExecutor(2) as threads:
        for release, done in zip(in_order, threads.map(convert_one, in_order), strict=True):
            if isinstance(done, HubpushError):
                show.say(f"{release.name}: {done.message}\n  {done.hint}")
                failures.append(done)
            else:
                _tell_converted(out / release.name, release.source, done, quiet=quiet)
    if failures:
        kinds = {type(error) for error in failures}
        kind = kinds.pop() if len(kinds) == 1 else HubpushError
        raise kind(
            f"{len(failures)} of {len(chosen)} releases were not converted",
            hint="the others are whole; why stands above",
        )


def _convert(
    source: str | Location,
    out: Path,
    release: Release,
    texts: Texts,
    pin: Pin | None,
    work: Path | None,
    *,
    allow_nonfinite: bool,
    alone: bool = True,
) -> Conversion:
    """Convert one checkpoint to a folder with its record."""
    from hubpush import conversion, manifest
    from hubpush import source as station

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is not an empty folder", hint="name a folder that is to be made")
    with opened(source, work, texts, pin) as files, _made_whole(out.resolve()) as folder:
        done = conversion.convert(files, folder, release, allow_nonfinite=allow_nonfinite, alone=alone)
        archive = station.identity(files, done.written.sources)
        station.check(archive.name, archive.sha256, archive.size, pin)
        build = conversion.record(
            release, files, folder, done.reading, None, written=done.written, nonfinite=allow_nonfinite
        )
        manifest.write_record(folder, build)
    return done


def _tell_converted(out: Path, source: str, done: Conversion, *, quiet: bool) -> None:
    show.put(str(out))
    if quiet:
        return
    found = done.reading
    casing, config = "cased" if found.cased else "uncased", found.config
    show.say(
        f"{config['architectures'][0]}, {done.written.parameters:,} parameters, {casing}, {config['hidden_act']};"
        f" to prove it: hubpush parity {out} --source {source}"
    )
    for sentence in found.assumed:
        show.say(f"Assumed: {sentence}")
    left_out = Counter(fate.reason for fate in found.account.dropped())
    for reason, count in left_out.items():
        show.say(f"Left out: {count:,} variable{'s' * (count > 1)}: {reason}")


@app.command(
    short_help="Does a folder compute what its checkpoint does?",
    epilog=examples(
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

    mode = mode_of(output, as_json=as_json, quiet=quiet)
    asked = references_of(references)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no directory", hint="give a model folder; `hubpush convert` makes one")
    if (model is None) is not (family is None):
        raise UsageError("--family and --model belong together", hint="name the family and the release in it")
    said = facts_of(None, cased, activation, task, labels, part, averaged=averaged)
    about = proof.subject(folder, family, model, source, said, Texts(config, vocab))
    work, name = work or default_work(), folder.resolve().name
    tell = telling(quiet=mode is Format.quiet)

    def fetching(done: int, total: int | None) -> None:
        tell(name, "fetch", done / total if total else None)

    with run.hub(hub, make=False) as (endpoint, embedded):
        asked = proof.bring(asked, about, lambda: job.client_of(endpoint, embedded=embedded), work, fetching)
    with opened(about.where, work, about.texts) as files:
        report = proof.prove(folder, files, about.release, asked, lambda part: tell(name, "parity", part))
    show.parity(report.to_json(), mode)
    report.require()


@app.command(
    short_help="The model card of a folder.",
    epilog=examples(
        "hubpush card ./bert-tiny --repo-id me/bert-tiny --license apache-2.0 --preview",
        "hubpush card ./bert-tiny --family bert-miniatures --model bert_uncased_L-2_H-128_A-2 --repo-id me/bert-tiny",
        "hubpush card ./downloaded --templates ./mine      # a published version, with sections of your own",
        "hubpush card ./downloaded --context               # what templates see, field by field",
    ),
)
def card(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder with a hubpush.json.")],
    repo_id: Annotated[
        str | None, typer.Option(metavar="ME/NAME", help="Where it goes; default what is recorded.")
    ] = None,
    family: Annotated[
        str | None, typer.Option("--family", metavar="NAME|FILE.toml", help="The family whose release it is.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="The release of --family whose facts are meant.")
    ] = None,
    title: TitleOption = None,
    license_id: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="Its licence, as the Hub writes it.")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Its language (ISO 639); can be repeated.")
    ] = None,
    templates: TemplatesOption = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Write a page that shows it as the Hub would, and open it.")
    ] = False,
    context: Annotated[
        bool, typer.Option("--context", help="Print what the templates see, with a description of each field.")
    ] = False,
    online: OnlineOption = False,
    hub: HubOption = None,
    work: WorkOption = None,
    output: FormatOption = Format.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Render README.md from what hubpush.json records, and write it into the folder. Measures nothing.

    Text that a person wrote around the generated parts stays. A folder that was never published also needs --repo-id
    and --license, or --family and --model.
    """
    from hubpush import card as station
    from hubpush import document, job, manifest, metadata, remote, run
    from hubpush import preview as pages

    mode = mode_of(output, as_json=as_json, quiet=quiet)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no directory", hint="give a model folder; `hubpush convert` makes one")
    if (model is None) is not (family is None):
        raise UsageError("--family and --model belong together", hint="name the family and the release in it")
    if repo_id is not None:
        require_repo(repo_id)
    given: dict[str, Any] = {"title": title, "license": license_id, "language": tuple(language or ()) or None}
    said = {key: value for key, value in given.items() if value is not None}
    made = document.of_folder(folder, repo_id, family, model, said, templates)
    if context:
        show.context(made.context, station.values(made.context), mode)
        return
    problems = metadata.check_card(made.text)
    if online:
        with run.hub(hub, make=False) as (endpoint, embedded):
            api = job.client_of(endpoint, embedded=embedded)
            problems += remote.check_card(api, made.candidate.repo_id, made.text)
    if wrong := [one.message for one in problems if one.severity == "error"]:
        raise CardError(
            f"the Hub would refuse the card: {'; '.join(wrong)}",
            hint=station.CORRECT,
        )
    document.write(made, folder)
    page = None
    if preview:
        shown = document.preview(made, today())
        place = (work or default_work()) / "preview" / made.candidate.repo_id.replace("/", "--")
        page = pages.write(place, made.candidate.family.title, [shown]).with_name(
            pages.file_names([shown])[shown.repo_id]
        )
    if mode is Format.json:
        rows = [dataclasses.asdict(one) for one in problems]
        show.put(json.dumps({"card": str(folder / manifest.README), "metadata": rows, "preview": page and str(page)}))
    elif mode is Format.quiet:
        show.put(str(page or folder / manifest.README))
    else:
        show.card(made.text)
        show.problems(problems)
        show.say(f"{folder / manifest.README}: {len(made.text.encode()):,} bytes")
        if page is not None:
            show.say(f"Preview, as the Hub would show it: {page}")
    if page is not None and sys.stdout is not None and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(page.as_uri())


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
