"""A repository to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hubpush import show
from hubpush.cli.options import app, examples


@app.command(
    short_help="A repository that publishes a family by itself.",
    epilog=examples("hubpush init my-models --org my-org", "hubpush init . --org my-org"),
)
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it; it is created.")],
    org: Annotated[str, typer.Option("--org", metavar="ORG", help="User or organisation that owns the repos.")],
) -> None:
    """Write a family file with an example, a section for the cards, and a GitHub workflow that publishes each week.

    Nothing that is there is overwritten.
    """
    from hubpush import starter

    for path in starter.write(directory, org):
        show.put(str(path))
    family = shlex.quote(str(directory / "family.toml"))
    show.say(
        f"""Next:
  1. edit {family}: the example in it works, put your own checkpoints in its place
  2. hubpush catalog {family}
  3. hubpush convert-and-upload --family {family} --org {org} --dry-run
  4. hubpush pin '*' --family {family}, and commit the lock that it writes
  5. push it to GitHub, make an environment `hub` with a secret HF_TOKEN, and run the workflow `republish`
{shlex.quote(str(directory / "README.md"))} says more."""
    )
