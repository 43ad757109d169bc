"""What a scheduled run came to, for people: the step summary, annotations, and outages for issues.

The results are files that other jobs left, and those jobs have opened strangers' archives. So nothing in a file is
taken for granted: not its size, not its types, not that a name is one. What it says is shown as code, of which GitHub
makes neither links, mentions, HTML nor table cells; links are made of what was checked alone.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from hubpush.catalog import is_repo_id
from hubpush.errors import redact
from hubpush.issues import Outage, Schedule

_LARGEST = 32 << 20  # bytes of a result file; 1,000 releases are 3 MB
_MANY = 20_000  # rows
_LONG = 4_000  # characters of a message
_BEFORE = 10_000  # characters more are looked through for secrets
_STOPPED = datetime.timedelta(days=60)  # without a commit GitHub stops the schedule of a public repository
_SOON = datetime.timedelta(days=45)

SUMMARY = 1 << 20
"""Bytes that GitHub takes as the summary of a step; of one byte more it shows nothing."""

# In the order of the table, and of what counts where a release is in the results of several jobs.
_STATUSES = ("failed", "deferred", "published", "proposed", "held", "unchanged", "planned")
_GOOD = ("published", "proposed", "held", "unchanged")

_DIED = "its runner died, ran out of disk or of time, or a step before hubpush failed; the job's log tells"


@dataclass(frozen=True)
class Published:
    """What became of one release, as a result file says.

    Attributes:
        name: Its name in the family.
        repo_id: OWNER/NAME.
        status: Of `hubpush.job.Outcome`.
        version: The version before and the one that stands there now, for the table.
        parity: The verdict and the largest difference.
        commit: Of the Hub.
        link: The page of that commit, on the Hub that is asked.
        seconds: Of all stations together.
        message: Why it is not what it ought to be.
        hint: What to do about that.
        code: Exit code of that.
    """

    name: str
    repo_id: str
    status: str
    version: str = ""
    parity: str = ""
    commit: str = ""
    link: str | None = None
    seconds: float | None = None
    message: str = ""
    hint: str = ""
    code: int | None = None


@dataclass(frozen=True)
class Proven:
    """What became of one published version when it was proved again.

    Attributes:
        name: Name of the release.
        repo_id: OWNER/NAME.
        version: Without `v`.
        verdict: `same`, `different` or `failed`.
        found: The first difference, or why it failed, in one line.
        message: The same with all there is to tell.
        hint: What to do about that.
    """

    name: str
    repo_id: str
    version: str
    verdict: str
    found: str = ""
    message: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Page:
    """What became of a family's page on the Hub: its title, status, address, and why it is not what it ought to be."""

    title: str
    status: str
    link: str | None
    message: str
    hint: str


@dataclass(frozen=True)
class Job:
    """The result of a job of the workflow: `success`, `failure`, `cancelled` or `skipped`."""

    name: str
    result: str

    @property
    def is_bad(self) -> bool:
        """Whether it did not come to its end."""
        return self.result in ("failure", "cancelled")

    @property
    def is_proof(self) -> bool:
        """Whether it proves again what is published."""
        return is_of_proof(self.name)


@dataclass(frozen=True)
class File:
    """A result file that says nothing, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Results:
    """What all jobs of a run came to.

    Attributes:
        family: Names of the families.
        owner: Owners of the repos.
        releases: What was to be published.
        versions: What was proved again.
        libraries: Versions of the libraries that it was proved with.
        pages: Pages of the families.
        files: Result files that say nothing.
        jobs: Jobs of the workflow; None outside of one.
        remarks: What else a person should know.
    """

    family: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    releases: tuple[Published, ...] = ()
    versions: tuple[Proven, ...] = ()
    libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pages: tuple[Page, ...] = ()
    files: tuple[File, ...] = ()
    jobs: tuple[Job, ...] | None = None
    remarks: tuple[str, ...] = ()


def is_of_proof(name: str) -> bool:
    """Whether a job or a file is one of the re-proof, by its name."""
    return re.search("proof|prove|verif", name.lower()) is not None


# Reading


def read(paths: Iterable[Path], needs: str | None, endpoint: str) -> Results:
    """Read result files and the results of jobs.

    Args:
        paths: Files of `convert-and-upload --json` and `verify --org … --json`, in any order.
        needs: GitHub's `toJSON(needs)`; None or empty outside of a workflow.
        endpoint: The Hub; a link to anywhere else is not made.
    """
    families: dict[str, None] = {}
    releases: dict[str, Published] = {}
    versions: dict[tuple[str, str], Proven] = {}
    libraries: dict[str, dict[str, None]] = {}
    pages: dict[Page, None] = {}
    files: list[File] = []
    for path in paths:
        data, why = _load(path)
        is_main_job = isinstance(data.get("releases"), list)
        if not why and not is_main_job and not isinstance(data.get("versions"), list):
            why = "holds neither releases nor versions"
        if why:
            files.append(File(_plain(path.name)[:200], why))
            continue
        if family := _text(data.get("family")):
            families[family] = None
        for entry in _list(data.get("releases"))[:_MANY] if is_main_job else ():
            one = _published(_dict(entry), endpoint)
            releases[one.repo_id] = _merged(releases.get(one.repo_id), one)
        if is_main_job:
            if (page := _page(data.get("collection"), endpoint)) is not None:
                pages[page] = None
            continue
        for entry in _list(data.get("versions"))[:_MANY]:
            proven = _proven(_dict(entry))
            versions[proven.repo_id, proven.version] = proven
        for name, version in list(_dict(data.get("libraries")).items())[:50]:
            libraries.setdefault(_plain(name)[:60], {})[_shown(version)[:60]] = None
    jobs, changed, published, remark = _jobs(needs)
    seen = {one.name for one in releases.values()}
    ids = [*(one.repo_id for one in releases.values()), *(one.repo_id for one in versions.values())]
    owners = dict.fromkeys(one.partition("/")[0] for one in ids if is_repo_id(one))
    owner = next(iter(owners), "")
    found = list(releases.values())
    if any(job.is_bad and not job.is_proof for job in jobs or ()):
        found = [
            replace(one, status="failed", message="It was built and not pushed: the job that pushes ended before it")
            if one.status == "planned"
            else one
            for one in found
        ]
        found += [
            Published(name, _repo_id(name, owner), "failed", message=f"It left no result: {_DIED}")
            for name in changed
            if name not in seen
        ]
    proven_again = list(versions.values())
    if any(job.is_bad and job.is_proof for job in jobs or ()):
        tried = {one.name for one in proven_again}
        proven_again += [
            Proven(name, _repo_id(name, owner), "", "failed", "left no result", f"It left no result: {_DIED}")
            for name in published
            if name not in tried
        ]
    return Results(
        family=tuple(families),
        owner=tuple(owners),
        releases=tuple(sorted(found, key=_rank)),
        versions=tuple(sorted(proven_again, key=lambda one: (_verdict_rank(one.verdict), one.repo_id.lower()))),
        libraries={name: tuple(libraries[name]) for name in sorted(libraries)},
        pages=tuple(pages),
        files=tuple(files),
        jobs=jobs,
        remarks=() if remark is None else (remark,),
    )


def _repo_id(name: str, owner: str) -> str:
    return f"{owner}/{name}" if owner else name


def _rank(one: Published) -> tuple[int, str]:
    return _STATUSES.index(one.status), one.repo_id.lower()


def _verdict_rank(verdict: str) -> int:
    return ("different", "failed", "same").index(verdict)


def _load(path: Path) -> tuple[dict[str, Any], str]:
    """The object of a result file, or why there is none."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except OSError as error:
        return {}, "is absent" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
    if not raw.strip():
        return {}, "is empty: the command ended before it could say what became of its releases"
    if len(raw) > _LARGEST:
        return {}, f"is larger than {_LARGEST >> 20} MiB"
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        return {}, "is no JSON, or was cut"
    return (data, "") if isinstance(data, dict) else ({}, "holds no JSON object")


def _published(raw: Mapping[str, Any], endpoint: str) -> Published:
    error, status = _dict(raw.get("error")), raw.get("status")
    message, hint, code = _text(error.get("message"), _LONG), _text(error.get("hint"), _LONG), error.get("code")
    if not isinstance(status, str) or status not in _STATUSES:
        status, message = "failed", message or "the result file does not say what became of it"
    name = _text(raw.get("name")) or "?"
    repo_id = _text(raw.get("repo_id")) or name
    commit = _text(raw.get("commit"))
    if not re.fullmatch("[0-9a-f]{7,64}", commit):
        commit = ""
    # The address of the Hub itself, and not what the file says that it is.
    is_there = is_repo_id(repo_id) and str(raw.get("url")).startswith(f"{endpoint}/{repo_id}/")
    if status == "held" and not message:
        message = "on hold: nothing is published before `hubpush unhold`"
    seconds = [n for one in _dict(raw.get("seconds")).values() if (n := _number(one)) is not None and n >= 0]
    return Published(
        name=name,
        repo_id=repo_id,
        status=status,
        version=_step(raw),
        parity=_parity(_dict(raw.get("parity"))),
        commit=commit,
        link=f"{endpoint}/{repo_id}/commit/{commit}" if commit and is_there else None,
        seconds=sum(seconds) if seconds else None,
        message=message,
        hint=hint,
        code=code if isinstance(code, int) and 0 < code < 256 else None,
    )


def _step(raw: Mapping[str, Any]) -> str:
    """Versions: `1.0.0 → 1.0.1`, `new → 1.0.0`; one alone where nothing rose, or the file does not tell."""
    before, version = _text(raw.get("before"), 40), _text(raw.get("version"), 40)
    if not version or before == version or "before" not in raw:
        return version
    return f"{before or 'new'} → {version}"


def _parity(raw: Mapping[str, Any]) -> str:
    verdict, worst = _text(raw.get("verdict"), 40), _dict(raw.get("worst"))
    if not worst:
        return verdict
    most, allowed = _number(worst.get("max_abs")), _number(worst.get("tolerance"))
    shown = [f"{value:.1e}" if value is not None else "?" for value in (most, allowed)]
    return f"{verdict}, {_text(worst.get('output'), 60) or '?'} {shown[0]} of {shown[1]}"


def _merged(before: Published | None, one: Published) -> Published:
    """A release that was built by one job and pushed by another: what counts is the later, or what went wrong."""
    if before is None:
        return one
    first, second = sorted((before, one), key=lambda each: _STATUSES.index(each.status))
    both = [each.seconds for each in (first, second) if each.seconds is not None]
    return replace(
        first,
        version=first.version or second.version,
        parity=first.parity or second.parity,
        seconds=sum(both) if both else None,
    )


def _page(raw: object, endpoint: str) -> Page | None:
    data = _dict(raw)
    if not data:
        return None
    error, url = _dict(data.get("error")), _text(data.get("url"), 300)
    is_there = url.startswith(f"{endpoint}/collections/") and re.fullmatch(r"[\w./:-]+", url, re.ASCII)
    return Page(
        title=_text(data.get("title")),
        status=_text(data.get("status"), 40),
        link=url if is_there else None,
        message=_text(error.get("message"), _LONG),
        hint=_text(error.get("hint"), _LONG),
    )


def _proven(raw: Mapping[str, Any]) -> Proven:
    name = _text(raw.get("name")) or "?"
    repo_id = _text(raw.get("repo_id")) or name
    error, verdict = _dict(raw.get("error")), raw.get("verdict")
    message, hint = _text(error.get("message"), _LONG), _text(error.get("hint"), _LONG)
    if not isinstance(verdict, str) or verdict not in ("same", "different", "failed"):
        verdict, message = "failed", message or "the result file does not say what became of it"
    differs = [
        f"{_text(one.get('what')) or '?'}: recorded {_shown(one.get('expected'))}, found {_shown(one.get('found'))}"
        for one in map(_dict, _list(raw.get("findings"))[:1000])
        if one.get("same") is False
    ]
    if verdict == "different" and not message and not differs:
        message = "the result file does not say what differs"
    first = message.split("\n")[0] or (differs[0] if differs else "")
    moved = ", ".join(filter(None, map(_text, _list(raw.get("moved"))[:50])))
    since = [f"Libraries that are others now than when it was proven: {moved}"] if moved else []
    told = "\n".join([*([message] if message else []), *since, *differs])[:_LONG]
    return Proven(name, repo_id, _text(raw.get("version"), 40), verdict, first, told, hint)


def _jobs(needs: str | None) -> tuple[tuple[Job, ...] | None, tuple[str, ...], tuple[str, ...], str | None]:
    """Jobs of a workflow; names of the releases that changed and of those published, by the plan's matrices."""
    if not needs or not needs.strip():
        return None, (), (), None
    try:
        data = json.loads(needs)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        return None, (), (), "NEEDS is not `toJSON(needs)`: what became of the jobs is not known."
    jobs, names = [], dict[str, dict[str, None]](changed={}, published={})
    for name, one in list(data.items())[:300]:
        job = _dict(one)
        jobs.append(Job(_plain(name)[:100], _text(job.get("result"), 40)))
        for output, found in names.items():
            found |= dict.fromkeys(_models(_dict(job.get("outputs")).get(output)))
    return tuple(jobs), tuple(names["changed"]), tuple(names["published"]), None


def _models(matrix: object) -> list[str]:
    """Names of the releases in the output of `hubpush matrix`."""
    try:
        data = json.loads(matrix) if isinstance(matrix, str) else None
    except (ValueError, RecursionError):
        return []
    shards = map(_dict, _list(_dict(data).get("include"))[:256])
    return [_plain(name)[:200] for one in shards for name in str(one.get("models") or "").split()][:_MANY]


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -1e12 < value < 1e12 else None


def _text(value: object, longest: int = 200) -> str:
    """A text of a file, without secrets, with what does not print shown by its number; empty where it is none."""
    if not isinstance(value, str):
        return ""
    return "\n".join(_plain(line) for line in redact(value[: longest + _BEFORE]).splitlines())[:longest].strip()


def _shown(value: object) -> str:
    if isinstance(value, str):
        return _text(value) or '""'
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.3g}"
    try:
        return _plain(json.dumps(value, ensure_ascii=False))[:200]
    except (RecursionError, ValueError):
        return "?"


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


# Markdown


def code(text: str, longest: int = 200) -> str:
    """Text as code in a line: GitHub makes no link, no mention and no HTML of it."""
    flat = _plain(" ".join(text.split()))
    if len(flat) > longest:
        flat = flat[: longest - 1] + "…"
    if not flat:
        return "–"
    fence = "`" * (max((len(run) for run in re.findall("`+", flat)), default=0) + 1)
    room = " " if flat[0] == "`" or flat[-1] == "`" else ""
    return f"{fence}{room}{flat}{room}{fence}"


def block(text: str) -> str:
    """Text of several lines as a block of code."""
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{fence}text\n" + "\n".join(map(_plain, text.split("\n"))) + f"\n{fence}\n"


def _line(*cells: str) -> str:
    # A pipe ends a cell in code, too. The backslash before it is taken away before code is looked at (GFM, 4.10).
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _table(*heads: str) -> str:
    return _line(*heads) + "|" + " --- |" * len(heads) + "\n"


_OPEN, _CLOSE = "<details><summary>{}</summary>\n\n", "\n</details>\n\n"


def markdown(found: Results, schedule: Sequence[str] = (), longest: int = SUMMARY) -> str:
    """The summary of a run.

    Args:
        found: What its jobs came to.
        schedule: What is said of the schedule.
        longest: Bytes that it may have; more is cut, with a word about it.
    """
    parts = [*_publishing(found), *_re_proof(found), *_workflow(found)]
    if not parts:
        parts = ["Nothing changed, and nothing was proved again.\n\n"]
    if schedule:
        parts += ["### Schedule\n\n", *(f"- {one}\n" for one in schedule), "\n"]
    return _cut(["## hubpush\n\n", *parts], longest)


def _cut(parts: Sequence[str], longest: int) -> str:
    sizes = [len(part.encode()) for part in parts]
    if sum(sizes) <= longest:
        return "".join(parts)
    last = "\n\n… Cut here: GitHub takes 1 MiB as a summary. The rest stands in the result files of this run.\n"
    room = longest - len(last.encode()) - len(_CLOSE)
    kept, is_open = [], False
    for part, size in zip(parts, sizes, strict=True):
        room -= size
        if room < 0:
            break
        kept.append(part)
        is_open = part.startswith("<details>") or (is_open and part != _CLOSE)
    return "".join(kept) + (_CLOSE if is_open else "") + last


def _count(values: Iterable[str], order: Sequence[str]) -> str:
    found = list(values)
    counts = [(found.count(one), one) for one in order]
    return ", ".join(f"**{n:,} {one}**" if one in order[:1] else f"{n:,} {one}" for n, one in counts if n)


def _publishing(found: Results) -> list[str]:
    releases = found.releases
    if not releases and not found.pages:
        return []
    where = f" of {', '.join(map(code, found.family))}" if found.family else ""
    parts = [f"### Publishing{where}\n\n"]
    if releases:
        parts.append(_count((one.status for one in releases), _STATUSES) + "\n\n")
    touched = [one for one in releases if one.status != "unchanged"]
    same = [one for one in releases if one.status == "unchanged"]
    head = _table("Repo", "Version", "Status", "Parity", "Commit", "Seconds, or the reason")
    if touched:
        parts += [head, *map(_release_row, touched), "\n"]
    if same:
        parts += [_OPEN.format(f"{len(same):,} unchanged"), head, *map(_release_row, same), _CLOSE]
    failing = [one for one in releases if one.status in ("failed", "deferred") and (one.message or one.hint)]
    if failing:
        parts.append("#### What failed, or has to wait\n\n")
    parts += _sections((one, one.repo_id) for one in failing)
    for page in found.pages:
        title = code(page.title) if page.link is None else f"[{code(page.title)}]({page.link})"
        parts.append(f"Collection {title}: {code(page.status)}\n\n")
        if page.message:
            parts.append(block(_told(page)) + "\n")
    return parts


def _release_row(one: Published) -> str:
    commit = code(one.commit[:12])
    seconds = "–" if one.seconds is None else f"{one.seconds:,.1f}"
    return _line(
        code(one.repo_id),
        code(one.version),
        one.status,
        code(one.parity, 100),
        commit if one.link is None else f"[{commit}]({one.link})",
        code(one.message.split("\n")[0], 120) if one.message else seconds,
    )


def _told(one: Published | Proven | Page) -> str:
    exit_code = one.code if isinstance(one, Published) else None
    message = one.message + (f" (exit code {exit_code})" if exit_code is not None and "\n" not in one.message else "")
    return message + (f"\nHint: {one.hint}" if one.hint else "")


def _sections(found: Iterable[tuple[Published | Proven, str]]) -> list[str]:
    """Names, and what is told of them; once where it is the same: a Hub that is away says so of each of a thousand."""
    texts: dict[str, list[str]] = {}
    for one, name in found:
        texts.setdefault(_told(one), []).append(name)
    return [f"{', '.join(map(code, names))}\n\n{block(text)}\n" for text, names in texts.items()]


def _libraries(found: Results) -> str:
    return "With " + ", ".join(code(f"{name} {', '.join(found.libraries[name])}") for name in found.libraries)


def _re_proof(found: Results) -> list[str]:
    if not found.versions:
        return []
    parts = ["### Re-proof of what is published\n\n"]
    if found.libraries:
        parts.append(f"{_libraries(found)}\n\n")
    parts.append(_count((one.verdict for one in found.versions), ("different", "failed", "same")) + "\n\n")
    bad = [one for one in found.versions if one.verdict != "same"]
    if bad:
        parts.append(_table("Repo", "Version", "Verdict", "First difference, or the reason"))
        parts += [
            _line(code(one.repo_id), code(one.version), one.verdict, code(one.found.split("\n")[0], 160)) for one in bad
        ]
        parts.append("\n")
        parts += _sections((one, _version_name(one)) for one in bad)
    return parts


def _version_name(one: Proven) -> str:
    return f"{one.repo_id} v{one.version}" if one.version else one.repo_id


def _workflow(found: Results) -> list[str]:
    unexplained = _unexplained(found)
    lines = [f"- {_job_line(job)}\n" for job in unexplained]
    others = [job for job in found.jobs or () if job.is_bad and job not in unexplained]
    lines += [f"- Job {code(job.name)}: {code(job.result)}\n" for job in others]
    lines += [f"- {_file_line(one)}\n" for one in found.files]
    lines += [f"- {one}\n" for one in found.remarks]
    return ["### The jobs\n\n", *lines, "\n"] if lines else []


def _job_line(job: Job) -> str:
    return f"Job {code(job.name)}: {code(job.result)}, and no result tells why: {_DIED}"


def _file_line(file: File) -> str:
    return f"Result file {code(file.name)} {file.why}"


def _unexplained(found: Results) -> list[Job]:
    """Jobs that did not come to their end, and of which no result says why."""
    has_reason = {
        True: any(one.verdict != "same" for one in found.versions),
        False: any(one.status in ("failed", "deferred") for one in found.releases)
        or any(page.message for page in found.pages),
    }
    return [job for job in found.jobs or () if job.is_bad and not has_reason[job.is_proof]]


def schedule_lines(schedule: Schedule | None, server: str, now: datetime.datetime) -> tuple[list[str], str | None]:
    """What is said of the schedule, Markdown, and a warning where GitHub will stop it, plain.

    Args:
        schedule: What GitHub says; None where it was not asked.
        server: GitHub's own address, to which alone a link is made.
        now: The time.
    """
    if schedule is None:
        return [], None
    lines = []
    if schedule.trouble is not None:
        lines.append(f"When the last run succeeded is not known: {code(schedule.trouble)}")
    elif schedule.last is None:
        lines.append("No run of this workflow has succeeded yet.")
    else:
        when, url = f"{schedule.last:%Y-%m-%d %H:%M} UTC", schedule.url or ""
        is_there = url.startswith(f"{server}/") and re.fullmatch(r"[\w./:-]+", url, re.ASCII)
        lines.append(f"The last run that succeeded began {f'[{when}]({url})' if is_there else when}.")
    if schedule.pushed is None or schedule.is_private or now - schedule.pushed < _SOON:
        return lines, None
    days, end = (now - schedule.pushed).days, schedule.pushed + _STOPPED
    then = f"stops this schedule on {end:%Y-%m-%d}" if end > now else "may have stopped this schedule"
    warning = (
        f"The last push to this repository was {days} days ago: after 60 days without one GitHub {then}. Push a commit."
    )
    return [*lines, f"**{warning}**"], warning


# Annotations


@dataclass(frozen=True)
class Note:
    """What is annotated at a run: its level, title and text."""

    level: Literal["error", "warning"]
    title: str
    text: str


def notes(found: Results, warning: str | None, most: int) -> list[Note]:
    """Annotations: of each level as many as are shown, the last of which counts those that are not."""
    errors = [Note("error", one.repo_id, _told(one)) for one in found.releases if one.status == "failed"]
    errors += [Note("error", _version_name(one), _told(one)) for one in found.versions if one.verdict != "same"]
    errors += [Note("error", f"Collection {page.title}", _told(page)) for page in found.pages if page.message]
    errors += [
        Note("error", f"Job {job.name}", f"{job.result}, and no result tells why: {_DIED}")
        for job in _unexplained(found)
    ]
    warnings = [Note("warning", "Schedule", warning)] if warning is not None else []
    warnings += [Note("warning", one.name, f"The result file {one.why}") for one in found.files]
    warnings += [Note("warning", one.repo_id, _told(one)) for one in found.releases if one.status == "deferred"]
    return [*_most(errors, most), *_most(warnings, most)]


def _most(found: list[Note], most: int) -> list[Note]:
    if len(found) <= most:
        return found
    left = len(found) - most + 1
    return [*found[: most - 1], Note(found[0].level, f"And {left:,} more", "The summary of the run lists them all")]


# Outages


def outages(
    found: Results, family: str | None, owner: str | None, run: str | None, *, is_partial: bool = False
) -> tuple[Outage, ...]:
    """What publishing and the re-proof fail of, for the issues that are kept.

    Args:
        found: What the jobs came to.
        family: The family; None takes what the results say.
        owner: The owner of the repos; likewise.
        run: The address of this run.
        is_partial: Whether only some releases were asked for, so that nothing is known of the others.
    """
    name = Path(family).stem if family and family.endswith(".toml") else family or "+".join(found.family) or "family"
    subject = f"{name}@{owner or '+'.join(found.owner) or 'hub'}"
    subject = re.sub("-{2,}", "-", re.sub(r"[^A-Za-z0-9._@+/-]", "_", subject))[:150]
    return (
        _publish_outage(found, subject, run, is_partial=is_partial),
        _re_proof_outage(found, subject, run, is_partial=is_partial),
    )


def _publish_outage(found: Results, subject: str, run: str | None, *, is_partial: bool) -> Outage:
    jobs = None if found.jobs is None else [job for job in found.jobs if not job.is_proof]
    bad = [one for one in found.releases if one.status == "failed"]
    pages = [page for page in found.pages if page.message]
    lost = _lost(found, is_proof=False)
    ran = bool(found.releases) if jobs is None else any(job.result == "success" for job in jobs)
    has_to_wait = any(one.status == "deferred" for one in found.releases)
    told = _sections((one, one.repo_id) for one in bad)
    told += [f"Collection {code(page.title)}\n\n{block(_told(page))}" for page in pages]
    summary = f"{len(bad):,} of {len(found.releases):,} releases that had to be looked at cannot be published."
    return Outage(
        key=f"publish {subject}",
        title=f"Publishing {subject} fails",
        body=_issue(summary if bad else "Publishing did not come to its end.", told, lost, run),
        failing=(*(one.repo_id for one in bad), *(f"collection {page.title}" for page in pages), *lost),
        passing=tuple(one.repo_id for one in found.releases if one.status in _GOOD),
        is_whole=ran and not has_to_wait and not is_partial,
        run=run,
    )


def _re_proof_outage(found: Results, subject: str, run: str | None, *, is_partial: bool) -> Outage:
    bad = [one for one in found.versions if one.verdict != "same"]
    lost = _lost(found, is_proof=True)
    told = [f"{_libraries(found)}\n\n"] if found.libraries else []
    told += _sections((one, _version_name(one)) for one in bad)
    summary = (
        f"{len(bad):,} of {len(found.versions):,} published versions are not what was recorded of them, or do not load,"
        " with the newest libraries."
    )
    return Outage(
        key=f"re-proof {subject}",
        title=f"What is published of {subject} does not prove again",
        body=_issue(summary if bad else "The re-proof did not come to its end.", told, lost, run),
        failing=(*map(_version_name, bad), *lost),
        passing=tuple(_version_name(one) for one in found.versions if one.verdict == "same"),
        is_whole=bool(found.versions) and not is_partial,
        run=run,
    )


def _lost(found: Results, *, is_proof: bool) -> dict[str, str]:
    """Jobs of which nothing is known, and what is told of them; outside of a workflow, files that say nothing."""
    lost = {f"job {job.name}": _job_line(job) for job in _unexplained(found) if job.is_proof == is_proof}
    if found.jobs is None:
        lost |= {f"file {one.name}": _file_line(one) for one in found.files if is_of_proof(one.name) == is_proof}
    return lost


def _issue(summary: str, told: Sequence[str], lost: Mapping[str, str], run: str | None) -> str:
    parts = [f"{summary}\n\n", *(f"{one}\n" for one in told), *(f"- {one}\n" for one in lost.values())]
    seen = "" if run is None else f"Last seen in [this run]({run}). "
    parts.append(f"\n{seen}`hubpush report` keeps this issue up to date, and closes it when it passes again.\n")
    return "".join(parts)
