"""A family's page on the Hub: one collection, with a note per model, created or updated after the releases.

An owner's collection is found by its title, exactly: the Hub keeps no other name for it that a family file could know.
So a family with a new title gets a new page, and two whose titles begin with the same 60 characters share one. Title
and description are hubpush's, and so are the notes of the models of a run and the order of these models: what a person
wrote there is replaced, and the plan shows it before. All else is a person's: other items and the order among them,
theme, privacy, votes. Nothing is ever removed.

`apply` looks, does what is next and looks again, as `hubpush.publish` does: answers get lost, and others write too.
"""

from __future__ import annotations

import dataclasses
import re
import time
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from hubpush import publish
from hubpush.catalog import Family, RepoId, RepoName
from hubpush.client import AgainError, classify, errors, in_force, remaining
from hubpush.errors import HubRefusedError, HubUnavailableError

if TYPE_CHECKING:
    from huggingface_hub import Collection as HubCollection
    from huggingface_hub import CollectionItem as HubItem
    from huggingface_hub import HfApi

_TITLE, _DESCRIPTION, _NOTE = 60, 150, 500
"""Limits of the Hub, in UTF-16 units as its JavaScript counts; the last two stand in the client's docstrings."""
_ATTEMPTS = 6  # that end in trouble, without anything getting nearer to what is wanted
_OURS = re.compile(r"v\d+\.\d+\.\d+ · ")  # how a note of hubpush begins
_UNSEEN = "\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff"  # not seen, or turn the order of others
_NO_RIGHT = (
    "give a token that may write collections of {} (a fine-grained one needs `collection.write`, a keyless one"
    " never may), or go without the family page: --no-collection"
)
_AGAIN = "run the same command again later: it goes on where this one stopped"
_SAYS = {
    "pass": "parity pass",
    "known-divergence": "parity pass with a known divergence",
    "fail": "parity FAILED",
    "not-run": "parity was not run",
}


# What is wanted


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "replace")) // 2


def _line(text: str) -> str:
    """A text in one line, as the Hub keeps it: no control characters, nothing that turns the order of reading."""
    text = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    text = re.sub(f"[{_UNSEEN}]", "", text)
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text).split())


def _cut(text: str, limit: int) -> str:
    """A text in one line of at most so many UTF-16 units, cut at a word where one ends in its second half."""
    text = _line(text)
    if _units(text) <= limit:
        return text
    end = len(text)
    while _units(text[:end]) > limit - 1:  # of "…"
        end -= 1
    # A letter keeps its accents, and a picture that is made of several stays whole or goes.
    while end and (unicodedata.category(text[end]) in ("Mn", "Me", "Mc", "Sk", "Cf") or text[end - 1] == "\u200d"):
        end -= 1
    kept = text[:end]
    word = kept if text[end] == " " else kept.rpartition(" ")[0]
    return (word if _units(word) > limit // 2 else kept).rstrip(" ,;:.·-–—(") + "…"


def _plain(value: str) -> str:
    if _line(value) != value:
        raise ValueError("must be one line without control characters")
    return value


def _within(limit: int) -> AfterValidator:
    def check(value: str) -> str:
        if _units(value) > limit:
            raise ValueError(f"must have at most {limit} characters")
        return _plain(value)

    return AfterValidator(check)


class Entry(BaseModel):
    """A model of the family.

    Attributes:
        repo_id: Its repo.
        note: What the page says of it; None for one that is not of this run: if it stands there, it stays as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    repo_id: RepoId
    note: Annotated[str, _within(_NOTE)] | None = None


class Wanted(BaseModel):
    """What a family's page ought to be.

    Attributes:
        owner: User or organisation.
        title: The family's, at most 60 characters.
        description: The family's summary, at most 150.
        private: Visibility of a page that is created; one that is there keeps its own.
        items: All models of the family in its order, those of this run with a note.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    owner: RepoName
    title: Annotated[str, _within(_TITLE)]
    description: Annotated[str, _within(_DESCRIPTION)] = ""
    private: bool = False
    items: tuple[Entry, ...]

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if not self.title:
            raise ValueError("title: a collection has one")
        if len({item.repo_id.lower() for item in self.items}) < len(self.items):
            raise ValueError("items: name a repo twice")
        if any(item.repo_id.partition("/")[0] != self.owner for item in self.items):
            raise ValueError("items: name a repo of another owner")
        if all(item.note is None for item in self.items):
            raise ValueError("items: none has a note, so there is nothing to tell")
        return self

    @property
    def label(self) -> str:
        """What messages call it."""
        return f'the collection "{self.title}" of {self.owner}'


def wanted(owner: str, family: Family, notes: Sequence[tuple[str, str]], *, private: bool = False) -> Wanted:
    """What a family's page ought to be.

    Args:
        owner: User or organisation that owns the repos.
        family: The family, with all its releases.
        notes: Repos that are published and what is to be said of each; those of one run at least.
        private: Visibility of a page that is created.

    Raises:
        ValueError: A repo is none of the family's, or there is no note at all.
    """
    told = {repo_id.lower(): text for repo_id, text in notes}
    items = []
    for release in family.releases:
        text = told.pop(f"{owner}/{release.name}".lower(), None)
        items.append(Entry(repo_id=f"{owner}/{release.name}", note=None if text is None else _cut(text, _NOTE)))
    if told:
        raise ValueError(f"{', '.join(told)}: no repo of the family {family.name}")
    return Wanted(
        owner=owner,
        title=_cut(family.title, _TITLE) or _cut(family.name, _TITLE),
        description=_cut(family.summary, _DESCRIPTION),
        private=private,
        items=tuple(items),
    )


def note(verdict: str, worst: Mapping[str, Any] | None, version: str, *, yanked: str | None = None) -> str:
    """What the page says of a model, in one line.

    Args:
        verdict: `pass`, `known-divergence`, `fail` or `not-run`.
        worst: The output with the largest difference (`output`, `max_abs`, `tolerance`), or None.
        version: `X.Y.Z`.
        yanked: Why nobody should use this version.
    """
    said = _SAYS[verdict]
    if worst is not None and verdict != "not-run":
        name, gap, allowed = str(worst["output"]), float(worst["max_abs"]), float(worst["tolerance"])
        verb = "differ" if name.endswith("s") else "differs"
        # The report writes the largest float where JSON has no word for what is not a number.
        by = f"{verb} by {gap:.1e}, allowed {allowed:.1e}" if 0 <= gap < 1e308 else "not a number"
        said = f"{said}: {name} {by}"
    reason = "" if yanked is None else f"YANKED: {yanked} · "
    return _cut(f"v{version.removeprefix('v')} · {reason}{said}", _NOTE)


# What differs


@dataclass(frozen=True)
class Change:
    """One thing that is to be done.

    Attributes:
        kind: What.
        item: The repo; empty for what concerns the page itself.
        before: What stands there: a description, a note, or a place in the list from 1.
        after: What will.
        object_id: The Hub's id of the item; empty for one that has yet to be added.
        position: Where a moved item goes, as the Hub counts.
    """

    kind: Literal["create", "description", "add", "note", "move"]
    item: str = ""
    before: str = ""
    after: str = ""
    object_id: str = ""
    position: int = 0

    def words(self) -> str:
        """It in one line."""
        if self.kind == "create":
            return f'create the collection "{self.after}"'
        if self.kind == "add":
            return f"add {self.item}: {self.after}"
        if self.kind == "move":
            return f"move {self.item} from place {self.before} to {self.after}"
        whose = f"note of {self.item}" if self.kind == "note" else "description"
        return f'{whose}: "{self.before}" becomes "{self.after}"' if self.before else f"{whose}: {self.after}"


@dataclass(frozen=True)
class Row:
    """An item of the page as it will stand there.

    Attributes:
        item_id: A repo, or what a person added.
        kind: `model`, `paper` and so on.
        note: Its note.
        is_ours: Whether it is a model of this family.
        change: What is done to it, or None.
    """

    item_id: str
    kind: str
    note: str
    is_ours: bool
    change: Literal["add", "note", "move"] | None = None


@dataclass(frozen=True)
class Step:
    """What differs between a page and what is wanted.

    Attributes:
        owner: User or organisation.
        title: Of the page, now and then.
        description: As it will be.
        status: What happens to the page.
        slug: The Hub's name for it; None before it exists.
        url: Its address, likewise.
        items: The page as it will stand there, a person's items among them, in order.
        changes: What is to be done, in order.
        remarks: What a person should know and hubpush leaves as it is.
    """

    owner: str
    title: str
    description: str
    status: Literal["create", "update", "unchanged"]
    slug: str | None
    url: str | None
    items: tuple[Row, ...]
    changes: tuple[Change, ...]
    remarks: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done."""
        return not self.changes

    def words(self) -> list[str]:
        """The step for people, line by line: what happens to the page, each change, and what is left."""
        where = f" ({self.slug})" if self.slug else f" of {self.owner}"
        first = [] if self.status == "create" else [f'{self.status}: the collection "{self.title}"{where}']
        lines = [*first, *(change.words() for change in self.changes), *self.remarks]
        return [_line(line) for line in lines]

    def to_json(self) -> dict[str, Any]:
        """It as plain data."""
        return dataclasses.asdict(self)


def plan(api: HfApi, wanted: Wanted) -> Step:
    """What `apply` would do now. Reads only: one list of the owner's collections, and the one that is ours.

    Raises:
        HubRefusedError: The Hub said no.
        HubUnavailableError: It does not answer.
    """
    troubles: list[AgainError] = []
    while True:
        try:
            return _difference(_look(api, wanted), wanted)
        except AgainError as again:
            _bear(again, troubles, wanted)


def of_nothing(wanted: Wanted) -> Step:
    """What `apply` would do on a Hub that holds nothing: what a dry run without a network says."""
    return _difference(_Standing(None), wanted)


@dataclass(frozen=True)
class _Standing:
    """What stands on the Hub: the page, and what else is worth a word."""

    page: HubCollection | None
    remarks: tuple[str, ...] = ()


def _look(api: HfApi, wanted: Wanted, made: str | None = None) -> _Standing:
    """Look for the page.

    Args:
        api: The client.
        wanted: What it ought to be.
        made: The slug of one that was made a moment ago, which a list may not show yet.
    """
    with _asking(wanted):
        # What `owner` is in an answer differs between Hubs; the slug begins with it in all.
        every = [
            one
            for one in api.list_collections(owner=wanted.owner)
            if one.slug.partition("/")[0].lower() == wanted.owner.lower()
        ]
    found = {_number(one.slug): one.slug for one in every if one.title == wanted.title}
    if made is not None and _number(made) not in found and _page(api, wanted, made) is not None:
        found[_number(made)] = made
    if not found:
        return _Standing(None, _akin(every, wanted))
    oldest = min(found)  # ids begin with the time, and every run has to choose the same
    page = _page(api, wanted, found[oldest])
    if page is None:
        raise AgainError(f"{wanted.label} is gone since a moment ago", hint=_AGAIN, kind="conflict")
    twins = sorted(slug for number, slug in found.items() if number != oldest)
    remarks = [f"{page.slug} is the oldest of this title and is kept up to date; left: {', '.join(twins)}"]
    return _Standing(page, tuple(remarks if twins else ()))


def _page(api: HfApi, wanted: Wanted, slug: str) -> HubCollection | None:
    """A collection with all its items; None if it is gone, or called something else."""
    from huggingface_hub.errors import HfHubHTTPError

    with _asking(wanted):
        try:
            page = api.get_collection(slug)
        except HfHubHTTPError as error:
            if error.response.status_code != 404:
                raise
            return None
    return page if page.title == wanted.title else None


def _number(slug: str) -> str:
    return slug[-24:]


def _akin(every: Sequence[HubCollection], wanted: Wanted) -> tuple[str, ...]:
    """Collections of another title that hold models of the family with notes of hubpush: an older title, perhaps."""
    ours = {item.repo_id.lower() for item in wanted.items}
    return tuple(
        f'{one.slug} ("{one.title}") holds models of this family; to keep that page, give it this title on the Hub'
        for one in every
        if any(
            item.item_type == "model" and item.item_id.lower() in ours and _OURS.match(item.note or "")
            for item in one.items
        )
    )


def _difference(standing: _Standing, wanted: Wanted, missing: Collection[str] = ()) -> Step:
    """What is to be done.

    Args:
        standing: What stands there.
        wanted: What ought to.
        missing: Repos that do not exist and cannot be added.
    """
    page = standing.page
    changes, remarks = [], list(standing.remarks)
    if page is None:
        changes.append(Change("create", after=wanted.title))
    if (before := (page.description or "") if page is not None else "") != wanted.description:
        changes.append(Change("description", before=before, after=wanted.description))
    there = sorted(page.items, key=lambda item: item.position) if page is not None else []
    known: dict[str, HubItem] = {}
    for item in there:
        if item.item_type == "model":
            known.setdefault(item.item_id.lower(), item)
    rows = {item.item_object_id: Row(item.item_id, item.item_type, item.note or "", is_ours=False) for item in there}
    ids, ours = {}, {entry.repo_id.lower() for entry in wanted.items}
    for entry in wanted.items:
        found = known.get(entry.repo_id.lower())
        if found is not None:
            ids[found.item_object_id] = entry
            row = Row(found.item_id, "model", found.note or "", is_ours=True)
            if entry.note is not None and row.note != entry.note:
                changes.append(Change("note", entry.repo_id, row.note, entry.note, found.item_object_id))
                row = dataclasses.replace(row, note=entry.note, change="note")
            rows[found.item_object_id] = row
        elif entry.note is not None and entry.repo_id not in missing:
            changes.append(Change("add", entry.repo_id, after=entry.note))
            ids[entry.repo_id] = entry  # no id of the Hub has a slash
            rows[entry.repo_id] = Row(entry.repo_id, "model", entry.note, is_ours=True, change="add")
    order = list(rows)
    numbers = [item.position for item in there]
    for key, place in _moves(order, list(ids), {key for key, entry in ids.items() if entry.note is not None}):
        position = numbers[place] if place < len(numbers) else place
        before = str(order.index(key) + 1)
        order.remove(key)
        order.insert(place, key)
        object_id = "" if key == ids[key].repo_id else key
        changes.append(Change("move", ids[key].repo_id, before, str(place + 1), object_id, position))
        rows[key] = dataclasses.replace(rows[key], change=rows[key].change or "move")
    remarks += [
        f"{item.item_id} has a note of hubpush and is no model of this family (any more): left as it is"
        for name, item in known.items()
        if name not in ours and _OURS.match(item.note or "")
    ]
    return Step(
        owner=wanted.owner,
        title=wanted.title,
        description=wanted.description,
        status="create" if page is None else "update" if changes else "unchanged",
        slug=page.slug if page is not None else None,
        url=page.url if page is not None else None,
        items=tuple(rows[key] for key in order),
        changes=tuple(changes),
        remarks=tuple(remarks),
    )


def _moves(places: Sequence[str], order: Sequence[str], movable: Collection[str]) -> list[tuple[str, int]]:
    """The fewest moves that bring what is movable into order; all else keeps its order, wrong or right.

    Args:
        places: What stands in the list.
        order: Those of them that have an order, in it.
        movable: Those of them that may be moved.

    Returns:
        What is moved, and its place then, one after the other.
    """
    rank = {key: n for n, key in enumerate(order)}
    # What stays: the longest row of those that stand in order, with as many of the immovable as there can be.
    best: list[tuple[int, list[str]]] = []
    for key in (key for key in places if key in rank):
        weight = 1 if key in movable else len(rank) + 1
        before = max((one for one in best if rank[one[1][-1]] < rank[key]), default=(0, []), key=lambda one: one[0])
        best.append((before[0] + weight, [*before[1], key]))
    stays = set(max(best, key=lambda one: one[0])[1]) if best else set()
    now, moves = list(places), []
    for n, key in enumerate(order):
        if key in stays or key not in movable:
            continue
        now.remove(key)
        earlier = [other for other in order[:n] if other in stays]
        later = [other for other in order[n:] if other in stays]
        place = now.index(earlier[-1]) + 1 if earlier else now.index(later[0])
        now.insert(place, key)
        stays.add(key)
        moves.append((key, place))
    return moves


# What is done


@dataclass(frozen=True)
class Made:
    """What an `apply` came to.

    Attributes:
        status: What happened to the page.
        slug: The Hub's name for it.
        url: Its address.
        missing: Repos that were to be added, and that do not exist on the Hub.
        remarks: What a person should know, as in the plan.
    """

    status: Literal["created", "updated", "unchanged"]
    slug: str
    url: str
    missing: tuple[str, ...] = ()
    remarks: tuple[str, ...] = field(default=())


def apply(api: HfApi, wanted: Wanted) -> Made:
    """Bring a family's page to what it ought to be. Safe to run again after anything, and beside others that do.

    A repo that does not exist is left out and named. How long is waited for the Hub, and the deadline, are those of the
    client of this process (`hubpush.client.bound`).

    Raises:
        HubRefusedError: The Hub said no, or a repo has another name now.
        HubUnavailableError: The Hub did not answer, or shows something else than what it took.
    """
    troubles: list[AgainError] = []
    missing: dict[str, None] = {}
    first: Step | None = None
    made: str | None = None
    nearest: int | None = None  # how few changes were left
    is_done = False  # without trouble, since the last look
    while True:
        try:
            step = _difference(_look(api, wanted, made), wanted, missing)
            first = first or step
            if step.is_empty and step.slug is not None and step.url is not None:
                status: Literal["created", "updated", "unchanged"] = "unchanged"
                if not first.is_empty:
                    status = "created" if first.status == "create" else "updated"
                return Made(status, step.slug, step.url, tuple(missing), step.remarks)
            if nearest is None or len(step.changes) < nearest:
                nearest = len(step.changes)
                troubles.clear()
            elif is_done:
                says = step.changes[0].words()
                _bear(AgainError(f"the Hub took that, and does not show it: {says}", hint=_AGAIN), troubles, wanted)
            is_done = False
            made = _do(api, step, wanted, missing) or made
            is_done = True
        except AgainError as again:
            _bear(again, troubles, wanted)


def _do(api: HfApi, step: Step, wanted: Wanted, missing: dict[str, None]) -> str | None:
    """Do what can be done at once. Moves come last: of what was just added the Hub's ids are not known.

    Returns:
        The slug of a page that was made.
    """
    if step.slug is None:
        with _asking(wanted):
            page = api.create_collection(
                wanted.title,
                namespace=wanted.owner,
                description=wanted.description or None,
                private=wanted.private,
                exists_ok=True,
            )
        if page.title != wanted.title:  # it would not be found again, and each run would make another one
            raise HubRefusedError(
                f'{wanted.label}: the Hub has made "{_line(page.title)}" of the title ({page.slug})',
                hint="give the family a plainer title and delete that collection, or use --no-collection",
            )
        return page.slug
    now = [change for change in step.changes if change.kind != "move"] or step.changes
    for change in now:
        if change.kind == "add":
            if not _add(api, step.slug, change, wanted):
                missing[change.item] = None
            continue
        with _asking(wanted, is_page=True):
            if change.kind == "description":
                api.update_collection_metadata(step.slug, description=change.after)
            elif change.kind == "note":
                api.update_collection_item(step.slug, change.object_id, note=change.after)
            else:
                api.update_collection_item(step.slug, change.object_id, position=change.position)
    return None


def _add(api: HfApi, slug: str, change: Change, wanted: Wanted) -> bool:
    """Add a model.

    Returns:
        Whether it exists.

    Raises:
        HubRefusedError: The Hub said no, or knows the repo under another name.
        AgainError: Look again.
    """
    from huggingface_hub.errors import HfHubHTTPError

    with _asking(wanted, change.item):
        try:
            api.add_collection_item(slug, change.item, "model", note=change.after or None)
            return True
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status not in (404, 409):
                raise
            if status == 409:
                now = api.model_info(change.item).id
                if now.lower() == change.item.lower():
                    raise
    if status == 409:
        raise HubRefusedError(
            f"{change.item} is called {_line(now)} on the Hub now, and stands in {wanted.label} under that name",
            hint="give the release that name in the family file, or rename the repo back",
        )
    if _page(api, wanted, slug) is None:  # what is not there is not the repo
        raise AgainError(f"{wanted.label} is gone since a moment ago", hint=_AGAIN, kind="conflict")
    return False


@contextmanager
def _asking(wanted: Wanted, item: str = "", *, is_page: bool = False) -> Iterator[None]:
    """Around calls of the client: what it raises becomes hubpush's errors.

    Args:
        wanted: Whose page it is about.
        item: The repo that it is about.
        is_page: Whether a 404 means that the page is gone, and so that it is to be looked for again.
    """
    from huggingface_hub.errors import HfHubHTTPError

    label = f"{item} in {wanted.label}" if item else wanted.label
    with errors(label):
        try:
            yield
        except HfHubHTTPError as error:
            status, trouble = error.response.status_code, classify(error)
            if status == 404 and is_page:
                gone = f"{wanted.label} is gone since a moment ago, or an item of it"
                raise AgainError(gone, hint=_AGAIN, kind="conflict") from None
            if status in (401, 403) and trouble is not None:
                raise HubRefusedError(f"{label}: {trouble.message}", hint=_NO_RIGHT.format(wanted.owner)) from None
            raise


def _bear(again: AgainError, troubles: list[AgainError], wanted: Wanted) -> None:
    """Wait before the next look: not for a conflict, and for the first trouble only if something may be on its way.

    Raises:
        HubUnavailableError: That was the last attempt.
    """
    troubles.append(again)
    if len(troubles) == _ATTEMPTS:
        raise HubUnavailableError(
            f"{wanted.label}: no success after {_ATTEMPTS} attempts; last: {again.message}",
            hint=_AGAIN,
        )
    if again.kind == "unknown-outcome" or (len(troubles) > 1 and again.kind != "conflict"):
        pause = publish.PAUSE * 2 ** max(len(troubles) - 2, 0)
        time.sleep(max(min(pause, remaining(in_force())), 0))
