"""What a dry run shows: a page for each repo as the Hub would show it, an index of the family, and the same as JSON.

A `Preview` is made from a plan, or from what stands on the Hub where nothing changes. The pages open from a disk
without a network: stylesheet, script and pictures are in them, and nothing else may run or load. Nothing in them
depends on the day or the machine.
"""

from __future__ import annotations

import base64
import dataclasses
import difflib
import json
import os
import pickle
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import quote

from hubpush import card as cards
from hubpush import metadata, page
from hubpush.errors import UsageError
from hubpush.manifest import NAME, README, File, Manifest, Output, describe_bytes
from hubpush.page import link, table, text
from hubpush.planning import Plan
from hubpush.remote import Remote, RemoteFile

INDEX, DATA = "index.html", "preview.json"

Action = Literal["create", "update", "unchanged", "held", "proposed"]

_MARK = '<meta name="generator" content="hubpush preview">'
_LINES = 2000  # of a card that is compared
_LINE = 2000  # characters of one
_TEXT = 1 << 20  # characters of it
_SCRIPT = Path(__file__).with_name("preview.js").read_text(encoding="utf-8")
_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}
_SIGNS: Mapping[str, tuple[str, str, str]] = {
    "pass": ("pass", "✓", "PASS"),
    "known-divergence": ("known", "≈", "PASS with known divergence"),
    "fail": ("fail", "✗", "FAIL"),
    "not-run": ("none", "○", "NOT RUN"),
}
_ACTIONS: Mapping[Action, tuple[str, str]] = {
    "create": ("pass", "+ create"),
    "update": ("known", "~ update"),
    "proposed": ("known", "⇢ proposed"),
    "held": ("fail", "‖ held"),
    "unchanged": ("none", "= unchanged"),
}
_REASONS = {
    "held": "nothing is published here until somebody lifts the hold",
    "proposed": "it waits in a pull request",
}


@dataclass(frozen=True)
class Change:
    """A file that a plan adds, changes or deletes; what is deleted has the size and digest that it had."""

    kind: Literal["added", "changed", "deleted"]
    path: str
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class Preview:
    """One repo as a push would leave it.

    Attributes:
        name: Name of the release; the page is called after it.
        repo_id: Where.
        title: What people call the model.
        action: Whether the repo is made, gets another commit, or stays as it is, and why it does.
        version: `X.Y.Z`.
        bump: What part of the version rises; nothing where it stays.
        reason: Why, in words.
        parent: The commit that the next one is made on; nothing in a repo that is not there yet.
        changes: What the commit does.
        replaced: What somebody else changed and this puts back.
        kept: What somebody else changed and this takes over.
        words: Texts that a person wrote around the generated parts of the card, which stay.
        verdict: `pass`, `known-divergence`, `fail` or `not-run`.
        worst: The float64 output that is furthest from the original graph.
        failures: Why parity failed.
        known: Divergences that are declared, with a link each.
        parameters: Number of published weights.
        glue: The GLUE score that the authors published.
        card: README.md as it will stand there.
        before: README.md as it stands there now; None where there is none.
        files: All files that will stand there.
        versions: All versions, the newest first.
        images: The pictures of the card, by their paths.
    """

    name: str
    repo_id: str
    title: str
    action: Action
    version: str
    bump: str
    reason: str
    parent: str
    changes: tuple[Change, ...]
    replaced: tuple[str, ...]
    kept: tuple[str, ...]
    words: tuple[str, ...]
    verdict: str
    worst: Output | None
    failures: tuple[str, ...]
    known: tuple[tuple[str, str], ...]
    parameters: int
    glue: float | None
    card: str
    before: str | None
    files: tuple[page.File, ...]
    versions: tuple[page.Version, ...]
    images: Mapping[str, bytes]

    @property
    def problems(self) -> list[metadata.Problem]:
        """What is wrong with the metadata of the card."""
        return metadata.check_card(self.card)

    @property
    def diff(self) -> str:
        """The unified diff of README.md against what the Hub serves; empty where it serves none, or this very one."""
        before, after = (self.before or "").splitlines(), self.card.splitlines()
        if self.before is None or before == after:
            return ""
        if max(len(before), len(after)) > _LINES or max(len(self.before), len(self.card)) > _TEXT:
            return "The card is too long to be compared line by line."
        lines = difflib.unified_diff(before, after, "README.md on the Hub", "README.md in this plan", lineterm="")
        return "\n".join(page.clean(line, _LINE) for line in lines)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Collection:
    """The family's page on the Hub.

    Attributes:
        title: Its title.
        description: What it says of itself.
        status: What a push does to it, in a word or two.
        items: Repos in their order, each with its note.
    """

    title: str
    description: str
    status: str
    items: tuple[tuple[str, str], ...]


def of_plan(step: Plan, remote: Remote, name: str) -> Preview:
    """The preview of a commit.

    Args:
        step: The plan.
        remote: What stands on the Hub; the plan was made against it.
        name: Name of the release.
    """
    there = remote.files or {}
    changes = [
        Change("changed" if path in there else "added", path, file.size, file.sha256)
        for path, file in ((path, step.file(path)) for path in step.adds)
    ]
    changes += [Change("deleted", path, there[path].size, there[path].sha256) for path in step.deletes]
    made = {path: step.file(path) for path in (*step.manifest.files, *step.generated)}
    # What somebody put there beside the release stays.
    beside = {path: file for path, file in there.items() if path not in made and path not in step.deletes}
    files = [page.File(path, file.size, file.sha256) for path, file in made.items()]
    files += [page.File(path, file.size, file.sha256) for path, file in beside.items()]
    return Preview(
        **_recorded(step.manifest, name),
        repo_id=step.repo_id,
        action="update" if remote.exists else "create",
        bump=step.bump,
        reason=step.change,
        parent=step.parent,
        changes=tuple(changes),
        replaced=step.replaced,
        kept=step.kept,
        words=step.words,
        card=step.readme,
        before=step.before,
        files=tuple(sorted(files, key=lambda file: file.path)),
        images={path: data for path, data in step.generated.items() if Path(path).suffix.lower() in _TYPES},
    )


def of_standing(
    manifest: Manifest, card: str, name: str, repo_id: str, status: str = "unchanged", remote: Remote | None = None
) -> Preview:
    """The preview of a repo where nothing changes.

    Args:
        manifest: Its manifest.
        card: Text of the README.md that stands there.
        name: Name of the release.
        repo_id: The repo.
        status: `unchanged`; `held` where nothing is published until somebody lifts the hold; `proposed` where it waits
            in a pull request.
        remote: What stands there, if it was looked at: its files are shown, whoever put them there. Without it those
            of the manifest are.
    """
    own = describe_bytes(manifest.to_json().encode())
    known = {**manifest.files, NAME: remote.record if remote and remote.record else own}
    known[README] = describe_bytes(card.encode())
    there: Mapping[str, File | RemoteFile] = (remote.files if remote is not None else None) or known
    pictures = {path: data for path, data in cards.pictures(manifest.build).items() if path in there}
    return Preview(
        **_recorded(manifest, name),
        repo_id=repo_id,
        action=cast("Action", status if status in _ACTIONS else "unchanged"),
        bump="",
        reason=_REASONS.get(status, "nothing to do"),
        parent="",
        changes=(),
        replaced=(),
        kept=manifest.kept,
        words=(),
        card=card,
        before=card,
        files=tuple(page.File(path, file.size, _sha256(file, known.get(path))) for path, file in sorted(there.items())),
        # Drawn again from the record: only a picture that is the published one is shown.
        images={path: data for path, data in pictures.items() if _is(there[path], describe_bytes(data))},
    )


def _is(there: File | RemoteFile, file: File) -> bool:
    return there.equals(file) if isinstance(there, RemoteFile) else there == file


def _sha256(there: File | RemoteFile, known: File | None) -> str | None:
    """The digest of a file: the Hub tells it of large ones alone, of others it is known where they are ours."""
    return known.sha256 if known is not None and _is(there, known) else there.sha256


def _recorded(manifest: Manifest, name: str) -> dict[str, Any]:
    """What a manifest says, as fields of a preview."""
    build, release = manifest.build, manifest.facts.release if manifest.facts is not None else {}
    parity: Mapping[str, Any] = build.parity or {}
    references = parity.get("references", [])
    proofs = [
        r["worst"] for r in references if r["as_published"] and (r["reference"], r["dtype"]) == ("graph", "float64")
    ]
    declared = [one for r in references for one in r.get("declared") or () if one.get("why")]
    glue = release.get("glue")
    score = glue.get("Score") if isinstance(glue, dict) else None
    return {
        "name": name,
        "title": str(release.get("title") or name),
        "version": manifest.version,
        "verdict": build.verdict,
        "worst": next(iter(proofs), None),
        "failures": tuple(map(str, parity.get("failures", ()))),
        "known": tuple(dict.fromkeys((str(one["why"]), str(one.get("link") or "")) for one in declared)),
        "parameters": build.model.parameters,
        "glue": float(score) if isinstance(score, float | int) and abs(score) < 1e6 else None,
        "versions": tuple(
            page.Version(
                f"v{past.version}",
                date=past.date,
                change=past.change,
                note=_badge(past.verdict) + (' <span class="badge fail">✗ yanked</span>' if past.yanked else ""),
            )
            for past in reversed(manifest.history)
        ),
    }


# Pages


class Shelf(Mapping[str, Preview]):
    """Previews by the names of their releases, on the disk: those of a large family are never in memory all at once.

    Args:
        folder: An empty directory that nobody else writes to.
        names: All that may come, in the order in which they are shown; they come in any.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._places = {name: folder / str(n) for n, name in enumerate(names)}
        self._there: set[str] = set()

    def put(self, preview: Preview) -> None:
        """Put one on it."""
        self._places[preview.name].write_bytes(pickle.dumps(preview))
        self._there.add(preview.name)

    def __getitem__(self, name: str) -> Preview:
        if name not in self._there:
            raise KeyError(name)
        found: Preview = pickle.loads(self._places[name].read_bytes())  # noqa: S301 - of this process alone
        return found

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._places if name in self._there)

    def __len__(self) -> int:
        return len(self._there)


Previews = Sequence[Preview] | ValuesView[Preview]
"""Previews that can be gone through more than once."""


def file_names(previews: Iterable[Preview]) -> dict[str, str]:
    """The file of each repo's page, by repo id: its name, so that it can be found, and no two the same anywhere."""
    names: dict[str, str] = {}
    taken = {INDEX}
    for one in previews:
        stem = re.sub(r"[^\w.-]+", "-", one.name, flags=re.ASCII).strip(".-")[:100] or "model"
        name, number = f"{stem}.html", 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}-{number}.html"
        taken.add(name.lower())
        names[one.repo_id] = name
    return names


def html(preview: Preview, known: Mapping[str, str], collection: Collection | None = None) -> str:
    """The page of one repo.

    Args:
        preview: The repo.
        known: The files of other repos' pages, by repo id; links on the Hub to these lead there.
        collection: The collection that will hold it.
    """
    one = preview
    repo = page.Repo(
        repo_id=one.repo_id,
        readme=one.card,
        files=one.files,
        links=_links(one, known),
        revision=f"v{one.version}",
        parameters=one.parameters,
        versions=one.versions,
        collections=[(collection.title, f"{INDEX}#hub.collection")]
        if collection is not None and any(repo_id == one.repo_id for repo_id, _ in collection.items)
        else [],
    )
    body = (
        f'<div class="bar"><span>{link(INDEX, "← All repos")}</span><span>Dry run: nothing was sent</span></div>'
        f"<h1>{text(one.title)}</h1>{_plan(one)}{_verdict(one)}"
        f"<h2>Metadata</h2>{page.facts(one.card)}<h2>Changes to the card</h2>{_diff(one)}"
        f"<h2>The page of the repo</h2>{page.repository(repo, heading='h3')}"
    )
    return page.document(f"{one.repo_id} · preview", body, in_file=True)


def _links(one: Preview, known: Mapping[str, str]) -> page.Links:
    paths = {file.path for file in one.files}

    def file(path: str) -> str:
        return f"{page.HUB}/{one.repo_id}/blob/main/{quote(path, errors='replace')}" if path in paths else "#hub.files"

    def image(path: str) -> str | None:
        kind, data = _TYPES.get(Path(path).suffix.lower()), one.images.get(path)
        return f"data:{kind};base64,{base64.b64encode(data).decode()}" if kind and data else None

    here = {repo_id.lower(): name for repo_id, name in known.items()}
    return page.Links(page.HUB, file, image, lambda repo_id: here.get(repo_id.lower()))


def _badge(verdict: str, *, brief: bool = False) -> str:
    kind, sign, word = _SIGNS.get(verdict, _SIGNS["not-run"])
    word = word.replace(" with", ",").replace(" divergence", "") if brief else word
    return f'<span class="badge {kind}">{sign} {word}</span>'


def _action(one: Preview) -> str:
    return '<span class="badge {}">{}</span>'.format(*_ACTIONS[one.action])


def _plan(one: Preview) -> str:
    rows = [
        ("Repo", f"<b>{text(one.repo_id)}</b>"),
        ("What happens", _action(one)),
        ("Version", f"v{text(one.version)}{f' ({text(one.bump)})' if one.bump else ''}"),
        ("Why", text(one.reason, 1000)),
    ]
    rows += [("On commit", f"<code>{text(one.parent, 40)}</code>")] if one.parent else []
    for label, paths in (("Put back, changed by somebody", one.replaced), ("Kept as somebody wrote it", one.kept)):
        rows += [(label, ", ".join(text(path) for path in paths))] if paths else []
    rows += [("Kept, written by a person", _words(one.words))] if one.words else []
    signs = {"added": ("pass", "+ added"), "changed": ("known", "~ changed"), "deleted": ("fail", "− deleted")}
    changes = [
        (
            '<span class="badge {}">{}</span>'.format(*signs[change.kind]),
            text(change.path),
            page.size(change.size) if change.size is not None else "",
            f'<code class="digest">{text(change.sha256, 64)}</code>' if change.sha256 else "",
        )
        for change in one.changes
    ]
    listed = table(changes, ("", "File", "Size", "SHA-256"), "changes", numbers=(2,)) if changes else ""
    return f"{table(rows, name='facts')}{listed}"


def _words(words: Sequence[str]) -> str:
    more = f"<p>… and {len(words) - 20} more</p>" if len(words) > 20 else ""
    return "".join(f'<blockquote class="words">{text(word, 400)}</blockquote>' for word in words[:20]) + more


def _verdict(one: Preview) -> str:
    kind, sign, word = _SIGNS.get(one.verdict, _SIGNS["not-run"])
    if one.verdict not in _SIGNS or one.verdict == "not-run":
        about = "<p>The outputs of this model were not compared with those of the original.</p>"
    elif one.worst is None:
        about = ""
    else:
        about = (
            f"<p>Largest difference from the original graph, in float64: <b>{one.worst['max_abs']:.1e}</b>"
            f" ({text(one.worst['output'], 60)}); allowed <b>{one.worst['tolerance']:.1e}</b></p>"
        )
    listed = [text(failure, 400) for failure in one.failures[:5]]
    listed += [f"{text(why, 400)} {link(where, 'Where it is told') if where else ''}" for why, where in one.known[:5]]
    about += f"<ul>{''.join(f'<li>{line}</li>' for line in listed)}</ul>" if listed else ""
    return (
        f'<div class="verdict {kind}"><span class="sign" aria-hidden="true">{sign}</span>'
        f"<div><strong>Parity: {word}</strong>{about}</div></div>"
    )


def _diff(one: Preview) -> str:
    if one.before is None:
        return "<p>New: there is no card to compare it with.</p>"
    lines = one.diff.split("\n")
    if lines == [""]:
        return "<p>None: it is the card that stands there.</p>"
    kinds = {"+": "plus", "-": "minus", "@": "at"}
    shown = "".join(
        f'<span class="{kinds.get(line[:1], "same")}">{text(line, _LINE) or " "}</span>'
        if not line.startswith(("+++", "---"))
        else f'<span class="at">{text(line)}</span>'
        for line in lines
    )
    return f'<pre class="diff"><code>{shown}</code></pre>'


def index(
    title: str,
    previews: Previews,
    collection: Collection | None = None,
    missing: Mapping[str, str] | None = None,
) -> str:
    """The page of the family: a table that can be sorted by every column, and the collection.

    Args:
        title: Title of the family.
        previews: Its repos.
        collection: Its collection; None if there is none.
        missing: Releases that have no plan, by name, and why.
    """
    names = file_names(previews)
    actions, verdicts = Counter(one.action for one in previews), Counter(one.verdict for one in previews)
    counts = [(len(previews), "repos" if len(previews) != 1 else "repo")]
    counts += [(actions[action], f"to {action}" if action in ("create", "update") else action) for action in _ACTIONS]
    tiles = "".join(f"<li><b>{count}</b><span>{label}</span></li>" for count, label in counts if count)
    total = sum(one.size for one in previews)
    tiles += f"<li><b>{page.size(total)}</b><span>in all files</span></li>"
    found = "".join(f"<li>{_badge(verdict)} {verdicts[verdict]}</li>" for verdict in _SIGNS if verdicts[verdict])
    columns = [column for column in _COLUMNS if column.name != "GLUE" or any(one.glue is not None for one in previews)]
    heads = "".join(
        f'<th{" class=number" if column.is_number else ""}><button type="button">{column.name}</button></th>'
        for column in columns
    )
    rows = "".join(f"<tr>{''.join(_cell(column, one, names) for column in columns)}</tr>" for one in previews)
    body = (
        f'<div class="bar"><span>hubpush preview</span><span>Dry run: nothing was sent</span></div>'
        f'<h1>{text(title)}</h1><ul class="counts">{tiles}</ul><ul class="pills found">{found}</ul>{_missing(missing)}'
        f'<div class="wide"><table class="sortable"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        f"{_collection(collection, names)}"
    )
    return page.document(f"{title} · preview", body, script=_SCRIPT, in_file=True)


def _missing(missing: Mapping[str, str] | None) -> str:
    if not missing:
        return ""
    rows = "".join(f"<li><b>{text(name, 100)}</b>: {text(why, 400)}</li>" for name, why in missing.items())
    return (
        '<div class="verdict fail"><span class="sign" aria-hidden="true">✗</span>'
        f"<div><strong>Without a plan: {len(missing)}</strong><ul>{rows}</ul></div></div>"
    )


@dataclass(frozen=True)
class _Column:
    """A column of the index: what a cell shows, and what it is sorted by; an empty key comes last."""

    name: str
    shown: Callable[[Preview], str]
    key: Callable[[Preview], object]
    is_number: bool = False


def _problems(one: Preview) -> str:
    counts = Counter(problem.severity for problem in one.problems)
    kinds: Mapping[metadata.Severity, tuple[str, str, str]] = {
        "error": ("fail", "✗", "errors"),
        "warning": ("known", "!", "warnings"),
        "advice": ("none", "i", "advice"),
    }
    found = [
        f'<span class="badge {kind}">{sign} {count} {words.removesuffix("s") if count == 1 else words}</span>'
        for severity, (kind, sign, words) in kinds.items()
        if (count := counts[severity])
    ]
    return " ".join(found) or "none"


_RANK = {"fail": 0, "not-run": 1, "known-divergence": 2, "pass": 3}
_COLUMNS = (
    _Column("Model", lambda one: text(one.name, 100), lambda one: one.name),
    _Column("Status", _action, lambda one: one.action),
    _Column("Version", lambda one: f"v{text(one.version, 40)}", lambda one: one.version),
    _Column("Parameters", lambda one: page.short(one.parameters), lambda one: one.parameters, is_number=True),
    _Column("Size", lambda one: page.size(one.size), lambda one: one.size, is_number=True),
    _Column("Parity", lambda one: _badge(one.verdict, brief=True), lambda one: _RANK.get(one.verdict, 1)),
    _Column(
        "Worst",
        lambda one: f"{one.worst['max_abs']:.1e}" if one.worst is not None else "–",
        lambda one: repr(one.worst["max_abs"]) if one.worst is not None else "",
        is_number=True,
    ),
    _Column(
        "GLUE",
        lambda one: f"{one.glue:.1f}" if one.glue is not None else "–",
        lambda one: one.glue if one.glue is not None else "",
        is_number=True,
    ),
    _Column("Problems", _problems, lambda one: len(one.problems)),
)


def _cell(column: _Column, one: Preview, names: Mapping[str, str]) -> str:
    key, kind = page.text(column.key(one), 100), " class=number" if column.is_number else ""
    if column.name == "Model":
        return f'<th scope="row" data-key="{key}"><a href="{text(names[one.repo_id])}">{column.shown(one)}</a></th>'
    return f'<td data-key="{key}"{kind}>{column.shown(one)}</td>'


def _collection(found: Collection | None, names: Mapping[str, str]) -> str:
    if found is None:
        return ""
    rows = [
        (
            str(position),
            link(names[repo_id], repo_id) if repo_id in names else link(f"{page.HUB}/{repo_id}", repo_id),
            text(note, 500),
        )
        for position, (repo_id, note) in enumerate(found.items[:1000], 1)
    ]
    return (
        f'<h2 id="hub.collection">Collection: {text(found.title)}</h2>'
        f'<p><span class="badge none">{text(found.status, 60)}</span> {text(found.description, 1000)}</p>'
        f"{table(rows, ('#', 'Repo', 'Note'), 'ordered', numbers=(0,))}"
    )


# JSON, and the directory


def to_json(
    title: str,
    previews: Previews,
    collection: Collection | None = None,
    missing: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """All that the pages show, without the bytes of pictures."""
    names = file_names(previews)
    return {
        "preview": 1,
        "title": title,
        "repos": [_repo(one, names) for one in previews],
        "collection": dataclasses.asdict(collection) if collection is not None else None,
        "missing": dict(missing or {}),
    }


def _repo(one: Preview, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        **{
            field.name: _jsonable(getattr(one, field.name))
            for field in dataclasses.fields(one)
            if field.name not in ("images", "versions")
        },
        "page": names[one.repo_id],
        "size": one.size,
        "images": {path: len(data) for path, data in one.images.items()},
        "versions": [{"name": past.name, "date": past.date, "change": past.change} for past in one.versions],
        "problems": [dataclasses.asdict(problem) for problem in one.problems],
        "diff": one.diff,
    }


def _parts(
    title: str, previews: Previews, collection: Collection | None, missing: Mapping[str, str] | None
) -> Iterator[str]:
    """The text of `to_json`, repo by repo."""
    names, repos = file_names(previews), "@repos@"
    frame = _dumps({**to_json(title, (), collection, missing), "repos": repos})
    before, after = frame.split(f'"{repos}"', 1)
    yield f"{before}["
    for number, one in enumerate(previews):
        yield ("," if number else "") + "\n" + _dumps(_repo(one, names))
    yield f"]{after}\n"


def _dumps(data: object) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)


def _jsonable(value: object) -> object:
    if isinstance(value, tuple | list):
        return [_jsonable(item) for item in value]
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def write(
    directory: Path,
    title: str,
    previews: Previews,
    collection: Collection | None = None,
    missing: Mapping[str, str] | None = None,
) -> Path:
    """Write all pages, the index and the JSON; pages of an earlier preview that are no more are removed.

    Args:
        directory: Where; it is made if it is not there.
        title: Title of the family.
        previews: Its repos.
        collection: Its collection.
        missing: Releases that have no plan, by name, and why.

    Returns:
        The index.

    Raises:
        UsageError: A file there has the name of a page and is none, or the directory cannot be written to.
    """
    names = file_names(previews)
    written = {*names.values(), INDEX, DATA}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        foreign = sorted(
            name for name in written if os.path.lexists(directory / name) and not _is_ours(directory / name)
        )
        if foreign:
            raise UsageError(
                f"{directory} holds files that are no preview: {', '.join(foreign[:5])}",
                hint="give a directory of its own, which may be new",
            )
        for one in previews:
            _replace(directory / names[one.repo_id], [html(one, names, collection)])
        _replace(directory / INDEX, [index(title, previews, collection, missing)])
        _replace(directory / DATA, _parts(title, previews, collection, missing))
        for path in directory.glob("*.html"):
            if path.name not in written and _is_ours(path):
                path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"the preview cannot be written to {directory}: {error.strerror}", hint="give another directory"
        ) from None
    return directory / INDEX


def _is_ours(path: Path) -> bool:
    """Whether a file was written by an earlier preview."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(2000).decode("utf-8", "replace")
    return head.startswith('{\n "preview": 1,') if path.name == DATA else _MARK in head


def _replace(path: Path, content: Iterable[str]) -> None:
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="\n") as stream:
            stream.writelines(content)
        Path(partial).chmod(0o644)
        os.replace(partial, path)  # noqa: PTH105 - replaces on every platform
    finally:
        Path(partial).unlink(missing_ok=True)
