"""The command line: arguments, one call, show; and the one error handler.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from hubpush import __version__, show
from hubpush.cli import family, folder, repo, report, starter
from hubpush.cli.options import app
from hubpush.errors import CatalogError, HubpushError, redact

__all__ = ["app", "family", "folder", "main", "repo", "report", "starter"]


def main() -> NoReturn:
    """Entry point of the `hubpush` command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # titles and cards hold what an ASCII terminal cannot show
    try:
        with _alone(sys.argv[1:2]):
            app()
    except HubpushError as error:
        show.say(f"Error: {redact(error.message)}")
        show.say(f"Hint: {redact(error.hint)}")
        if isinstance(error, CatalogError) and error.mistakes:
            show.mistakes(error.mistakes)
        else:
            show.annotate("error", error.message, title="hubpush")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (`hubpush catalog | head`); nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        show.say(f"Error: {redact(str(error))}\nHint: check the path, the disk and the permissions.")
        sys.exit(1)
    sys.exit(0)


@contextmanager
def _alone(named: Sequence[str]) -> Iterator[None]:
    """The command that is meant, without the others: typer reads the options of all it knows, which takes its time.

    Where none is meant, or one that does not exist, all stay.
    """
    every = app.registered_commands, app.registered_groups
    commands = [
        one for one in every[0] if (one.name or getattr(one.callback, "__name__", "").replace("_", "-")) in named
    ]
    groups = [one for one in every[1] if one.name in named]
    if commands or groups:
        app.registered_commands, app.registered_groups = commands, groups
    try:
        yield
    finally:
        app.registered_commands, app.registered_groups = every


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Carry released TensorFlow checkpoints to the Hugging Face Hub: convert, prove, document, publish."""
    if version:
        show.put(__version__)
        raise typer.Exit
