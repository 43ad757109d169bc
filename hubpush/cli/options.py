"""What the commands share: the application, options, and how their values are read."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hubpush import show
from hubpush.architectures import Activation
from hubpush.errors import UsageError
from hubpush.show import Format

if TYPE_CHECKING:
    from hubpush.catalog import Pin
    from hubpush.job import Tell
    from hubpush.parity import Asked
    from hubpush.source import Files, Location, Texts


def examples(*lines: str) -> str:
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
OrgOption = Annotated[
    str | None, typer.Option("--org", metavar="ORG", help="User or organisation that owns the repos.")
]
LockOption = Annotated[
    Path | None,
    typer.Option("--lock", metavar="FILE", help="Digests of the sources; default FAMILY.lock.json beside the family."),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Put back what somebody else changed on the Hub; the commit says so.")
]
AdoptOption = Annotated[
    bool, typer.Option("--adopt", help="Keep what somebody else wrote into the generated parts of the card.")
]
TitleOption = Annotated[
    str | None, typer.Option("--title", metavar="TEXT", help="What people call it; default the repo's name.")
]
TemplatesOption = Annotated[
    Path | None,
    typer.Option(
        "--templates", metavar="DIR", help="Templates of your own: sections/NAME.md.jinja replaces that section."
    ),
]
OnlineOption = Annotated[bool, typer.Option("--online", help="Ask the Hub, too, what it says of the card's metadata.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan, push nothing.")]
WorkOption = Annotated[
    Path | None,
    typer.Option(
        "--work", metavar="DIR", envvar="HUBPUSH_WORK", help="Downloads and built folders; default ~/.cache/hubpush."
    ),
]


def mode_of(output: Format, *, as_json: bool, quiet: bool) -> Format:
    """How data is printed, by three options that say it."""
    if as_json and quiet:
        raise UsageError("--json and --quiet exclude each other", hint="give one of the two")
    if as_json:
        return Format.json
    if quiet:
        return Format.quiet
    return Format.human if output is Format.auto else output


def default_work() -> Path:
    """Where downloads and built folders lie if nobody says: a person's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "hubpush"


def telling(*, quiet: bool) -> Tell:
    """Lines about what is being done; none when quiet."""
    return (lambda _name, _station, _part: None) if quiet else show.plain_progress()[0]


def references_of(text: str) -> tuple[Asked, ...]:
    """What `--parity` asks for."""
    from hubpush.parity import parse

    return parse(text)


def facts_of(
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


@contextmanager
def opened(source: str | Location, work: Path | None, texts: Texts, pin: Pin | None = None) -> Iterator[Files]:
    """The files of a checkpoint that a person names: a URL, a zip, a directory or a prefix."""
    import tempfile

    from hubpush import source as station

    texts.digests()  # what is not there is said before anything is fetched
    with tempfile.TemporaryDirectory(prefix="hubpush-") as scratch:
        location = station.resolve(source, Path()) if isinstance(source, str) else source
        tell, _ = show.plain_progress()
        local = station.bring(
            location,
            (work or default_work()) / "downloads",
            pin,
            progress=lambda done, total: tell(station.display_name(location), "fetch", done / total if total else None),
        )
        with station.opened(local, Path(scratch) / "source", texts) as files:
            yield files


def require_repo(repo_id: str) -> None:
    """Check that this is the name of a repo.

    Raises:
        UsageError: It is none.
    """
    from hubpush import catalog

    if not catalog.is_repo_id(repo_id):
        raise UsageError(f"{repo_id!r} is no repo", hint="OWNER/NAME, for example my-org/my-bert")


def today() -> str:
    """The day of a version, UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()
