"""The command line: arguments, one call, show; and the one error handler.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import io
import os
import sys
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


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Carry released TensorFlow checkpoints to the Hugging Face Hub: convert, prove, document, publish."""
    if version:
        show.put(__version__)
        raise typer.Exit
