"""Report: what a scheduled run came to, in the places of GitHub Actions where people look."""

from __future__ import annotations

import datetime
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hubpush import show
from hubpush.cli.options import OrgOption, app, examples
from hubpush.errors import HubpushError, UsageError

if TYPE_CHECKING:
    from hubpush.report import Results


@app.command(
    short_help="Step summary, annotations and issues of a scheduled run.",
    epilog=examples(
        "hubpush report pushed.json verified.json",
        "NEEDS='${{ toJSON(needs) }}' hubpush report results/*.json --issues     # in a workflow, with GITHUB_TOKEN",
    ),
)
def report(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="What `convert-and-upload --json` and `verify --org ORG --json` printed."),
    ] = None,
    issues: Annotated[
        bool, typer.Option("--issues", help="Open, update or close one issue for each outage; asks for GITHUB_TOKEN.")
    ] = False,
    org: OrgOption = None,
    family: Annotated[
        str | None, typer.Option("--family", metavar="NAME|FILE.toml", help="Whose issues; default what the files say.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Only some releases were asked for: an issue about others stays open.")
    ] = False,
) -> None:
    """Tell people what a run came to: its summary, annotations where GITHUB_ACTIONS is true, and with --issues issues.

    The summary goes to the file that GITHUB_STEP_SUMMARY names, else to stdout. NEEDS, GitHub's toJSON(needs), tells of
    jobs that left no file. What failed in the run is no failure of this command.
    """
    from hubpush import issues as github
    from hubpush import report as results

    repo = github.repo_of(os.environ)
    if issues and repo is None:
        raise UsageError(
            "--issues needs GITHUB_REPOSITORY and GITHUB_TOKEN",
            hint="in a workflow: `env:` with `GITHUB_TOKEN: ${{ github.token }}`, and `permissions: issues: write`",
        )
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    found = results.read(files or (), os.environ.get("NEEDS"), endpoint)
    schedule = None if repo is None else github.schedule_of(repo, os.environ.get("GITHUB_WORKFLOW_REF", ""))
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com").rstrip("/")
    lines, warning = results.schedule_lines(schedule, server, datetime.datetime.now(datetime.UTC))
    _write(found, lines)
    for note in results.notes(found, warning, show.ANNOTATIONS):
        show.annotate(note.level, note.text, title=note.title)
    if issues and repo is not None:
        outages = results.outages(found, family, org, _run(server, repo.name), is_partial=partial)
        for said in github.keep(repo, outages):
            show.say(said)


def _write(found: Results, lines: list[str]) -> None:
    """Append the summary to the file that GitHub reads, which other commands of the step may have written to."""
    from hubpush import report as results

    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        show.put(results.markdown(found, lines).rstrip("\n"))
        return
    path = Path(place)
    try:
        there = path.stat().st_size if path.exists() else 0
        text = results.markdown(found, lines, max(0, results.SUMMARY - there - 1))
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(("\n" if there else "") + text)
    except OSError as error:
        raise HubpushError(
            f"the summary {path} cannot be written: {error.strerror}",
            hint="GITHUB_STEP_SUMMARY names a file to append to",
        ) from None


def _run(server: str, repo: str) -> str | None:
    """The address of this run."""
    number = os.environ.get("GITHUB_RUN_ID", "")
    return f"{server}/{repo}/actions/runs/{number}" if re.fullmatch("[0-9]{1,20}", number) else None
