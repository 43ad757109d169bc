"""What people and programs see: tables, plans, summaries, and progress.

Data goes to stdout, talk to stderr.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from hubpush.errors import redact

if TYPE_CHECKING:
    from pydantic import BaseModel

    from hubpush.errors import Mistake
    from hubpush.job import Outcome, Page, Tell
    from hubpush.metadata import Problem
    from hubpush.planning import Plan
    from hubpush.preview import Preview
    from hubpush.saved import Item


_NARROWEST = 10
_VALUE = 160  # characters of a value that are shown
_DIFF = 200  # lines
_FEW = 6  # names that are listed
ANNOTATIONS = 10
"""How many errors, and how many warnings, GitHub shows for a step."""


class Format(StrEnum):
    """How data is printed."""

    auto = "auto"
    human = "human"
    json = "json"
    quiet = "quiet"


def put(text: str) -> None:
    """Print data on stdout, at once: who reads it may be waiting, or gone."""
    print(_without_commands(text), flush=True)


def say(text: str) -> None:
    """Talk to the person, on stderr. Names come from files: what would move the cursor is shown instead of sent."""
    lines = "\n".join(_printable(line) for line in text.split("\n"))
    print(_without_commands(lines), file=sys.stderr, flush=True)


# GitHub Actions


def annotate(
    level: Literal["error", "warning"],
    message: str,
    *,
    title: str | None = None,
    file: Path | None = None,
    line: int | None = None,
) -> None:
    """Have GitHub Actions show a message at a run, and at a line of a file of the repository; nothing elsewhere.

    It is a workflow command, which the runner reads from stderr too; the escapes are those that it takes back
    (actions/runner, ActionCommand.cs).

    Args:
        level: How bad it is. GitHub shows 10 of each for a step.
        message: What it says.
        title: What stands above it.
        file: The file; one that is not in the checked-out repository is named in the message instead.
        line: Its line, from 1.
    """
    if not _in_actions():
        return
    place = None if file is None else _in_workspace(file)
    if place is None and file is not None:
        message = f"{file}{'' if line is None else f':{line}'}: {message}"
    given = {"file": place, "line": None if place is None else line, "title": (title or "").strip()}
    properties = ",".join(f"{name}={_property(str(value))}" for name, value in given.items() if value)
    text = _data("\n".join(_printable(one) for one in redact(message).split("\n")))
    print(f"::{level}{' ' * bool(properties)}{properties}::{text}", file=sys.stderr, flush=True)


def mistakes(found: Sequence[Mistake]) -> None:
    """Annotate the lines of a file that hold mistakes, as many as GitHub shows."""
    for one in found[:ANNOTATIONS]:
        annotate("error", one.message, title="Family file", file=one.file, line=one.line)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(_printable(redact(text))).replace(":", "%3A").replace(",", "%2C")


def _in_actions() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _in_workspace(file: Path) -> str | None:
    """The path of a file in the checked-out repository, if it lies there."""
    root = os.environ.get("GITHUB_WORKSPACE")
    try:
        return file.resolve().relative_to(Path(root).resolve()).as_posix() if root else None
    except (OSError, ValueError):
        return None


def _without_commands(text: str) -> str:
    """Text in which the runner of GitHub Actions finds no workflow command, where it reads what is printed.

    It takes a line that begins with `::` behind white space, and one with `##[` anywhere. Titles and messages come
    from files of strangers, and a command in them would be theirs.
    """
    if not _in_actions() or ("::" not in text and "##[" not in text):
        return text
    return "".join(_without_command(line) for line in re.split(r"([\r\n])", text))


def _without_command(line: str) -> str:
    start = line.lstrip()
    if start.startswith("::"):
        line = line.replace("::", r"\x3a:", 1)
    # In JSON the same character, written otherwise: who reads it gets the same value.
    return line.replace("##[", r"##\u005b" if start[:1] in ("{", "[") else r"##\x5b")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def table(rows: Sequence[Mapping[str, Any]], mode: Format) -> None:
    """Rows of the same keys: in columns, as JSON, or the names alone."""
    if mode is Format.json:
        put(json.dumps(list(rows)))
        return
    if mode is Format.quiet:
        for row in rows:
            put(row["name"])
        return
    if not rows:
        return
    cells = [[key.upper() for key in rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(cells[0]))]
    if sys.stdout is not None and sys.stdout.isatty():
        # Columns that a terminal would break in the middle of words are cut instead, the widest first.
        room = shutil.get_terminal_size().columns - 2 * (len(widths) - 1)
        while sum(widths) > room and max(widths) > _NARROWEST:
            widths[widths.index(max(widths))] -= 1
    for line in cells:
        fitted = (t if len(t) <= width else t[: width - 1] + "…" for t, width in zip(line, widths, strict=True))
        put("  ".join(text.ljust(width) for text, width in zip(fitted, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    text = {None: "–", True: "yes", False: "no"}.get(value) if value is None or isinstance(value, bool) else str(value)
    return _printable(text or "")


def summary(
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
    """What became of each release: plans and cards of a dry run, a row each, then what was assumed and what failed.

    Args:
        outcomes: Of the releases.
        family: Name of the family.
        hub: What `--hub` says.
        mode: How it is printed.
        dry_run: Whether nothing was pushed.
        pages: The index of the preview's pages.
        page: What became of the family's page on the Hub.
        previews: What the pages of a dry run show, by release.
    """
    if mode is Format.json:
        releases = [dataclasses.asdict(dataclasses.replace(one, plan=None, preview=None)) for one in outcomes]
        for release in releases:
            del release["plan"], release["preview"]
            release["error"] = release["error"] and {
                k: redact(v) if isinstance(v, str) else v for k, v in release["error"].items()
            }
        where = None if pages is None else str(pages)
        on_hub = None
        if page is not None:
            trouble = page.error and {key: redact(value) for key, value in page.error.items()}
            on_hub = {**dataclasses.asdict(page), "said": list(page.said), "error": trouble}
        put(json.dumps({"family": family, "hub": hub, "releases": releases, "collection": on_hub, "preview": where}))
        return
    if mode is Format.quiet:
        for outcome in outcomes:
            if outcome.error is None:
                put(outcome.url or outcome.repo_id)
    else:
        if dry_run:
            _show_plans(outcomes, previews or {})
        table([_row(outcome) for outcome in outcomes], Format.human)
        _say_stations(outcomes)
    for sentence in dict.fromkeys(s for o in outcomes for s in o.assumed):
        say(f"Assumed: {sentence}")
    for outcome in outcomes:
        for sentence in outcome.remarks:
            say(f"Note: {outcome.name}: {sentence}")
    for outcome in outcomes:
        for known in (outcome.parity or {}).get("known", ()):
            say(f"Known to differ: {outcome.name} from {known}; the card says why, and by how much")
    for outcome in outcomes:
        if outcome.status == "held":
            say(f"Held: {outcome.name}: nothing is published before `hubpush unhold {outcome.repo_id}`")
    left = [outcome for outcome in outcomes if outcome.status == "deferred"]
    for outcome in outcomes:
        if outcome.error and outcome.status != "deferred":
            say(f"\nError: {outcome.name}: {redact(str(outcome.error['message']))}")
            say(f"Hint: {redact(str(outcome.error['hint']))}")
    if left:
        say(f"\nLeft for another run, {len(left)} of {len(outcomes)}:")
        for outcome in left:
            trouble = outcome.error or {}
            say(f"  {outcome.name}: {redact(str(trouble['message']))}; {redact(str(trouble['hint']))}")
    if page is not None and mode is Format.human:
        _say_page(page)
    if pages is not None and mode is Format.human:
        say(f"\nPreview, as the Hub would show it: {pages}")
    if mode is Format.human and hub is not None and "://" not in hub and any(o.commit for o in outcomes):
        say(f"\nTo browse and download: hubpush hub serve {hub}")


def _say_stations(outcomes: Sequence[Outcome]) -> None:
    """Where the time went; side by side, releases take less than the sum."""
    worked = [outcome for outcome in outcomes if outcome.seconds]
    total = Counter[str]()
    for outcome in worked:
        total.update(outcome.seconds)
    if len(worked) > 1:
        shown = ", ".join(f"{station} {seconds:.1f} s" for station, seconds in total.items())
        say(f"Stations, all releases added up: {shown}")


def _say_page(page: Page) -> None:
    if page.error is not None:
        say(f'\nThe collection "{page.title}" was not made: {redact(page.error["message"])}')
        say(f"Hint: {redact(page.error['hint'])}")
    elif page.status not in ("unchanged",):
        say(f'\nCollection "{page.title}": {page.status}' + (f" {page.url}" if page.url else ""))
    for sentence in page.said:
        say(f"  {sentence}")


def parity(report: Mapping[str, Any], mode: Format) -> None:
    """A parity report: a bar for each output, then a row for each reference, then weights and ids."""
    if mode is Format.json:
        put(json.dumps(report))
        return
    if mode is Format.quiet:
        put(report["verdict"])
        return
    from hubpush import chart

    if any(one["reference"] == "graph" for one in report["references"]):
        encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
        width = shutil.get_terminal_size((100, 24)).columns
        put("Largest difference from the original, log scale; the mark is what is allowed. First float64, then float32")
        for line in chart.bars(report, max(60, min(width, 120)), encoding.startswith("utf")):
            put(line)
        put("")
    rows = []
    for one in report["references"]:
        worst = one["worst"] or {"output": None, "max_abs": math.nan, "tolerance": math.nan}
        rows.append(
            {
                "reference": one["reference"] if one["source"] is None else f"{one['reference']}={one['source']}",
                "dtype": one["dtype"],
                "activation": one["activation"],
                "worst": worst["output"],
                "difference": f"{worst['max_abs']:.1e}",
                "allowed": f"{worst['tolerance']:.1e}",
                "verdict": "for comparison" if one["verdict"] == "informative" else one["verdict"],
            }
        )
    table(rows, Format.human)
    if (weights := report["weights"]) is not None:
        same = "each bit for bit" if weights["bit_identical"] else "NOT all bit for bit"
        put(
            f"Weights: {weights['mapped']} of {weights['variables']} variables are published, {same};"
            f" {weights['confirmed']} found by their own names too"
        )
    if (ids := report["tokenizer"]) is not None:
        known = ", ".join(f"{count} {name}" for name, count in ids["known_differences"].items())
        put(
            f"Token ids: {ids['identical']:,} of {ids['probes']:,} texts as Google's tokenizer"
            + (f", {ids['known']:,} differ as is known ({known})" if known else "")
        )
    sentences = (
        f"{'Known' if declared['kind'] in one['differences'] else 'Declared, not found'}:"
        f" {one['reference']}, {declared['kind']}: {declared['why']}"
        for one in report["references"]
        for declared in one["declared"]
    )
    for sentence in dict.fromkeys(sentences):
        put(sentence)
    if report["references"]:
        put(
            "Allowed: in float64 1e-13 of the output's largest value, at most 1e-12 (unless it magnifies rounding);"
            " in float32 four times the model's own rounding"
        )
    put(f"Verdict: {report['verdict']}")


def verification(found: Mapping[str, Any], mode: Format) -> None:
    """What was looked at of a published version, a row each."""
    if mode is Format.json:
        put(json.dumps(found))
        return
    if mode is Format.quiet:
        put(found["verdict"])
        return
    rows = [
        {
            "what": one["what"],
            "recorded": one["expected"],
            "found": one["found"],
            "": "same" if one["same"] else "DIFFERENT",
        }
        for one in found["findings"]
    ]
    table(rows, Format.human)
    for why in found["skipped"]:
        say(f"Not compared: {why}")
    if found["recorded"] != "pass":
        say(f"Recorded when it was published: parity {found['recorded']}")
    put(f"{found['repo_id']} v{found['version']} at {found['commit'][:12]}: {found['verdict']}")


def reproof(found: Mapping[str, Any], mode: Format) -> None:
    """What became of every published version of a family: a row each, then what differs or failed, in full."""
    if mode is Format.json:
        put(json.dumps(found))
        return
    versions = found["versions"]
    bad = [one for one in versions if one["verdict"] != "same"]
    if mode is Format.quiet:
        for one in bad:
            put(_version(one))
        return
    rows = [
        {
            "release": one["name"],
            "version": one["version"] and f"v{one['version']}",
            "verdict": one["verdict"] if one["verdict"] == "same" else one["verdict"].upper(),
            "first difference, or the reason": _first(one),
            "seconds": f"{one['seconds']:.1f}",
        }
        for one in versions
    ]
    table(rows, Format.human)
    for why, names in _grouped((why, one) for one in versions for why in one["skipped"]):
        say(f"Not compared: {why}: {names}")
    for one in bad:
        say(f"\n{_version(one)}: {one['verdict']}")
        for row in one["findings"]:
            if not row["same"]:
                say(f"  {row['what']}: recorded {row['expected']}, found {row['found']}")
        if one["error"]:
            say(f"  Error: {redact(one['error']['message'])}\n  Hint: {redact(one['error']['hint'])}")
        if one["verdict"] == "different" and one["moved"]:
            say(f"  Since it was proven: {', '.join(one['moved'])}")
    for repo_id in found["absent"]:
        say(f"Not published: {repo_id}")
    libraries = ", ".join(f"{name} {version}" for name, version in found["libraries"].items())
    same, loads = len(versions) - len(bad), found["loads"]
    put(
        f"{same} of {len(versions)} versions the same; models loaded: {loads}"
        + (f"\nLibraries: {libraries}" if libraries else "")
    )


def _version(one: Mapping[str, Any]) -> str:
    return f"{one['name']} v{one['version']}" if one["version"] else str(one["name"])


def _first(one: Mapping[str, Any]) -> str | None:
    """What differs first of a version, or why it is not known."""
    if one["error"]:
        text = redact(str(one["error"]["message"])).split("\n")[0]
    else:
        text = next((f"{row['what']}: {row['found']}" for row in one["findings"] if not row["same"]), "")
    return (text if len(text) <= _VALUE // 2 else text[: _VALUE // 2 - 1] + "…") or None


def _grouped(found: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, str]]:
    """Reasons and the versions that they hold for; of many their number."""
    by_reason: dict[str, list[str]] = {}
    for why, one in found:
        by_reason.setdefault(why, []).append(_version(one))
    for why, names in by_reason.items():
        yield why, ", ".join(names) if len(names) <= _FEW else f"{len(names):,} versions"


def _row(outcome: Outcome) -> dict[str, Any]:
    parity = outcome.parity or {}
    worst = parity.get("worst")
    shown = f"{parity['verdict']}" if parity else None
    if worst:
        shown = f"{shown} ({worst['output']} {worst['max_abs']:.1e}, allowed {worst['tolerance']:.1e})"
    return {
        "release": outcome.name,
        "status": outcome.status,
        "version": outcome.tag,
        "parity": shown,
        "seconds": f"{sum(outcome.seconds.values()):.1f}" if outcome.seconds else None,
        "peak": f"{outcome.memory / 1e9:.1f} GB" if outcome.memory else None,
        "repo": outcome.url or outcome.repo_id,
    }


def _show_plans(outcomes: Sequence[Outcome], previews: Mapping[str, Preview]) -> None:
    planned = [outcome for outcome in outcomes if outcome.status == "planned" and outcome.plan is not None]
    for outcome in planned:
        item = cast("Item", outcome.plan)
        where = " in a pull request" if item.create_pr else "" if item.exists else ", a new repo"
        put(f"Plan for {outcome.repo_id}{where}: {outcome.tag} ({item.bump or 'tag'}): {outcome.change}")
        if item.exists:
            put(f"  on {item.parent}")
        shown = previews.get(outcome.name)
        kinds = {one.path: one.kind for one in shown.changes} if shown is not None else {}
        for path, file in item.adds.items():
            put(f"  {'~' if kinds.get(path) == 'changed' else '+'} {path:24} {file.size:>14,}  sha256 {file.sha256}")
        for path in item.deletes:
            put(f"  - {path}")
        _put_changed(item.replaced, item.kept)
        put(f"  {_verdict(outcome)}")
        problems(outcome.metadata)
        if shown is not None:
            _put_words(shown.words)
            _put_diff(shown.diff)
        if outcome.card:
            put(f"  card: {outcome.card}\n")
            if len(planned) == 1:  # those of a family are looked at in their pages
                card(Path(outcome.card).read_text(encoding="utf-8"))


def _verdict(outcome: Outcome) -> str:
    parity = outcome.parity or {"verdict": "not-run", "worst": None}
    loud = {"pass": "PASS", "known-divergence": "PASS, with a known divergence", "fail": "FAIL", "not-run": "NOT RUN"}
    worst = parity["worst"]
    detail = f" ({worst['output']} {worst['max_abs']:.1e}, allowed {worst['tolerance']:.1e})" if worst else ""
    return f"parity: {loud.get(parity['verdict'], parity['verdict'])}{detail}"


def card(text: str) -> None:
    """A card: as a terminal can show it, or its Markdown where something else reads it."""
    if sys.stdout is None or not sys.stdout.isatty():
        put("\n".join(map(_printable, text.split("\n"))))  # a person's text is in it too
        return
    from rich.console import Console
    from rich.markdown import Markdown

    from hubpush import metadata

    front, body = metadata.split_front_matter(text)
    # Comments and the tags of folded parts are for browsers.
    plain = re.sub(r"<!--.*?-->\n?|</?details[^>]*>|</?summary>", "", body, flags=re.DOTALL)
    shown = f"```yaml\n{front}\n```\n{plain}" if front else plain
    Console().print(Markdown("\n".join(map(_printable, shown.split("\n")))))


def problems(found: Sequence[Problem]) -> None:
    """What is said of a card's metadata, a line each."""
    for one in found:
        put(_printable(f"  {one.severity}: {one.message}; {one.fix}"))


def context(seen: BaseModel, values: Mapping[str, Any], mode: Format) -> None:
    """What templates see: each field with its type, what it is, and its value."""
    schema = type(seen).model_json_schema()["properties"]
    fields = {
        name: {"type": _type(one), "description": " ".join(one["description"].split())} for name, one in schema.items()
    }
    if mode is Format.json:
        put(json.dumps({"fields": fields, "values": values}))
        return
    for name, one in fields.items():
        put(f"{name} ({one['type']}): {one['description']}")
        if mode is not Format.quiet:
            text = json.dumps(values[name], ensure_ascii=False)
            put(_printable(f"    {text if len(text) <= _VALUE else text[: _VALUE - 1] + '…'}"))


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    return {"array": "list", "object": "mapping"}.get(schema.get("type", ""), str(schema.get("type", "any")))


def plan(step: Plan) -> None:
    """The plan of an amendment, and its card."""
    put(f"Plan for {step.repo_id}: v{step.version} ({step.bump}): {step.change}\n  on {step.parent}")
    for path in step.adds:
        file = step.file(path)
        put(f"  + {path:24} {file.size:>14,}  sha256 {file.sha256}")
    for path in step.deletes:
        put(f"  - {path}")
    _put_changed(step.replaced, step.kept)
    _put_words(step.words)
    card(step.readme)


def _put_words(words: Sequence[str]) -> None:
    for text in words:
        lines = text.strip().split("\n")
        more = f" (and {len(lines) - 1} more lines)" if len(lines) > 1 else ""
        put(_printable(f"  = README.md, written by a person, kept: {lines[0][:100]}{more}"))


def _put_diff(diff: str) -> None:
    lines = diff.splitlines()
    for line in lines[:_DIFF]:
        put(_printable(f"  {line}"))
    if len(lines) > _DIFF:
        put(f"  … {len(lines) - _DIFF} more lines of the difference stand in the preview")


def _put_changed(replaced: Sequence[str], kept: Sequence[str]) -> None:
    for path in replaced:
        put(f"  ! {path}: changed by somebody, put back")
    for path in kept:
        put(f"  = {path}: changed by somebody, kept")


def checks(found: Sequence[Mapping[str, Any]], mode: Format) -> None:
    """What a doctor found (`name`, `result`, `found`, `hint`), a row each; then what to do about what is wrong."""
    rows = [{**one, "found": redact(one["found"])} for one in found]
    if mode is Format.quiet:
        for one in rows:
            if one["result"] == "fails":
                put(f"{one['name']}: {one['found']}")
        return
    if mode is Format.json:
        put(json.dumps(rows))
        return
    table([{key: value for key, value in one.items() if key != "hint"} for one in rows], mode)
    for one in rows:
        if one["hint"]:
            say(f"Hint: {one['name']}: {redact(one['hint'])}")


@contextmanager
def progress(names: Sequence[str], *, quiet: bool) -> Iterator[tuple[Tell, Callable[[Outcome], None]]]:
    """Live rows on a terminal, one for each release at work; plain lines elsewhere; nothing when quiet."""
    if quiet:
        yield (lambda _name, _station, _part: None), (lambda _outcome: None)
    elif sys.stderr is None or not sys.stderr.isatty():
        yield plain_progress()
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        from hubpush.job import STATIONS

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[station]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bars:
            whole = bars.add_task("releases", total=len(names), station="")
            rows: dict[str, Any] = {}

            def tell(name: str, station: str, part: float | None) -> None:
                if name not in rows:
                    rows[name] = bars.add_task(name, total=len(STATIONS), station=station)
                at = next((n for n, one in enumerate(STATIONS) if station.startswith(one)), 0)
                shown = station if part is None else f"{station} {part:.0%}"
                bars.update(rows[name], completed=at, station=shown)

            def done(outcome: Outcome) -> None:
                if outcome.name in rows:
                    bars.remove_task(rows.pop(outcome.name))
                bars.console.print(f"{outcome.name}: {outcome.status}", highlight=False, markup=False)
                bars.advance(whole)

            yield tell, done


def plain_progress() -> tuple[Tell, Callable[[Outcome], None]]:
    """Lines for a log: each station once, and each quarter of what knows how much it has to do."""
    shown: set[tuple[str, str, int]] = set()

    def tell(name: str, station: str, part: float | None) -> None:
        quarter = int((part or 0) * 4)
        if (name, station, quarter) not in shown:
            shown.add((name, station, quarter))
            say(f"{name}: {station}" + (f" {quarter * 25} %" if part else ""))

    def done(outcome: Outcome) -> None:
        took = f" in {sum(outcome.seconds.values()):.1f} s" if outcome.seconds else ""
        say(f"{outcome.name}: {outcome.status}{took}")

    return tell, done
