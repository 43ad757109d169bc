"""Collections: lists of models, papers and other collections, kept in one document of the Hub, `collections.json`.

A collection is found by the 24 hex digits at the end of its slug; the rest of the slug follows its title. What an item
names is looked up when it is shown: a model under its present id, and nothing that is gone or out of the caller's
sight. A position is a place in the list.
"""

from __future__ import annotations

import re
import secrets
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response

from hubpush.localhub import store
from hubpush.localhub.call import Call, Json, field
from hubpush.localhub.store import HubError

Collection = dict[str, Any]
_DOCUMENT = "collections.json"
_TITLE, _DESCRIPTION, _NOTE = 60, 150, 500  # characters; the last two stand in the client's docstrings
_PAGE, _ITEMS_IN_LISTS = 100, 4
_SORTS = ("trending", "lastModified", "upvotes")
_THEMES = ("orange", "blue", "green", "purple", "pink", "indigo")


def listed(call: Call) -> Response:
    """One page of the collections in sight, the last changed first: nobody votes here, so every order is that one."""
    if call.query("sort", "trending") not in _SORTS:
        raise HubError(400, f"sort is one of {', '.join(_SORTS)}")
    query, text = call.request.query_params, call.query("q").lower()
    owners, wanted = {name.lower() for name in query.getlist("owner")}, set(query.getlist("item"))
    start, limit = call.number("cursor", 0), min(max(call.number("limit", _PAGE), 1), _PAGE)
    view, found = _view(call), []
    for one in sorted(view.collections, key=lambda one: str(one["lastUpdated"]))[::-1]:
        items = view.items(one)
        names = {f"{item['type']}s/{item.get('slug', item['id'])}" for item in items}
        words = f"{one['owner']}/{one['title']} {one.get('description', '')}".lower()
        if (not owners or one["owner"].lower() in owners) and wanted <= names and text in words:
            found.append({**view.shown(one), "items": items[:_ITEMS_IN_LISTS]})
            del found[-1]["position"]  # the client counts itself
    end = start + limit
    return JSONResponse(found[start:end], headers=call.next("cursor", end) if end < len(found) else {})


def created(call: Call) -> Response:
    """Make a collection; 409 with its `slug` when the namespace has one of that title."""
    body = call.json()
    if body.get("resourceGroupId") is not None:
        raise HubError(501, "The embedded Hub does not have resource groups")
    owner = field(body, "namespace", str)
    if not store.NAME.fullmatch(owner):
        raise HubError(400, f"Invalid namespace: {owner!r}")
    _require(call, owner)
    made: Collection = {"id": secrets.token_hex(12), "owner": owner, "private": False, "theme": "blue", "items": []}
    made |= {"title": "", **_settings(body)}
    if not made["title"]:
        raise HubError(400, "A collection has a title")
    with call.store.edit(_DOCUMENT) as document:
        view = _view(call, document)
        for one in view.of_owner(made):
            if one["title"] == made["title"]:
                raise HubError(409, "There is a collection with this title already", slug=_slug(one))
        document.setdefault("collections", []).append(_touched(made))
        view.collections.append(made)
        return JSONResponse(view.shown(made))


def one(call: Call, namespace: str, slug: str) -> Response:
    """A collection with all its items."""
    view = _view(call)
    return JSONResponse(view.shown(view.find(f"{namespace}/{slug}")))


def changed(call: Call, namespace: str, slug: str) -> Response:
    """Change what is given of title, description, privacy, theme, and the position among those of its owner."""
    body = call.json()
    settings, position = _settings(body), field(body, "position", int, -1)
    with _changing(call, namespace, slug) as (view, found):
        found |= settings
        if position >= 0:
            _place(view.document["collections"], found, position, view.of_owner(found))
            view = _view(call, view.document)
        return JSONResponse({"success": True, "data": view.shown(_touched(found))})


def removed(call: Call, namespace: str, slug: str) -> Response:
    """Delete a collection."""
    with _changing(call, namespace, slug) as (view, found):
        view.document["collections"].remove(found)
    return JSONResponse({"success": True})


def item_added(call: Call, namespace: str, slug: str) -> Response:
    """Add a model, paper or collection at the end; 404 when it is not in sight, 409 when it is there already."""
    body = call.json()
    item, note = field(body, "item", dict), _text(body, "note", _NOTE)
    kind, name = field(item, "type", str), field(item, "id", str)
    if kind not in ("model", "paper", "collection"):
        known = kind in ("dataset", "space", "bucket")
        raise HubError(501 if known else 400, f"The embedded Hub does not have {kind}s in collections")
    with _changing(call, namespace, slug) as (view, found):
        target = view.target(kind, name)
        if target is None or target["id"] == found["id"]:
            raise HubError(404, f"There is no {kind} {name} to add")
        if any(target == view.target(other["type"], other["id"]) for other in found["items"]):
            raise HubError(409, f"{name} is in this collection already")
        found["items"].append({"_id": secrets.token_hex(12), "type": kind, "id": target["id"], "note": note})
        return JSONResponse(view.shown(_touched(found)))


def item_changed(call: Call, namespace: str, slug: str, item_id: str) -> Response:
    """Change the note or the position of an item."""
    body = call.json()
    position, note = field(body, "position", int, -1), _text(body, "note", _NOTE)
    with _changing(call, namespace, slug) as (view, found):
        item = _item(found, item_id)
        if body.get("note") is not None:
            item["note"] = note
        if position >= 0:
            seen = [other for other in found["items"] if view.target(other["type"], other["id"])]
            _place(found["items"], item, position, seen)
        _touched(found)
    return JSONResponse({"success": True})


def item_removed(call: Call, namespace: str, slug: str, item_id: str) -> Response:
    """Take an item out."""
    with _changing(call, namespace, slug) as (_, found):
        found["items"].remove(_item(found, item_id))
        _touched(found)
    return JSONResponse({"success": True})


@dataclass(frozen=True)
class _View:
    """The document with the collections that the caller sees, and all models by their ids in lower case."""

    call: Call
    document: dict[str, Any]
    collections: list[Collection]
    models: dict[str, str]

    def find(self, slug: str) -> Collection:
        wanted = re.fullmatch(r"([^/]+)/(?:[^/]*-)?([0-9a-f]{24})", slug)
        for one in self.collections:
            if wanted and one["id"] == wanted[2] and one["owner"].lower() == wanted[1].lower():
                return one
        raise HubError(404, f"There is no collection {slug}")

    def of_owner(self, one: Collection) -> list[Collection]:
        return [other for other in self.collections if other["owner"].lower() == one["owner"].lower()]

    def target(self, kind: str, name: str) -> Json | None:
        """What an item names, as it is called now; None when it is gone or out of sight."""
        if kind == "model":
            known = self.models.get(name.lower()) or self.models.get((self.call.store.moved(name) or "").lower())
            return {"type": kind, "id": known} if known and self.call.sees(known) else None
        if kind == "paper":  # an arXiv number is believed: there is nobody to ask
            return {"type": kind, "id": name} if re.fullmatch(r"[0-9]{4}\.[0-9]{4,5}", name) else None
        found = (one for one in self.collections if one["id"] == name[-24:])
        return next(({"type": kind, "id": one["id"], "slug": _slug(one), "title": one["title"]} for one in found), None)

    def items(self, one: Collection) -> list[Json]:
        found: list[Json] = []
        for item in one["items"]:
            if target := self.target(item["type"], item["id"]):
                note = {"note": {"text": item["note"]}} if item["note"] else {}
                found.append({**target, "_id": item["_id"], "position": len(found), **note})
        return found

    def shown(self, one: Collection) -> Json:
        kept = {key: value for key, value in one.items() if key != "id"}
        position = self.of_owner(one).index(one)
        return {**kept, "slug": _slug(one), "items": self.items(one), "position": position, "upvotes": 0}


def _view(call: Call, document: dict[str, Any] | None = None) -> _View:
    document, user = call.store.read(_DOCUMENT) if document is None else document, call.user
    inside = user if user is not None and not user.only else None  # a keyless token sees what all see
    seen = [
        one
        for one in document.get("collections", [])
        if not one["private"] or (inside is not None and inside.sees(f"{one['owner']}/x"))
    ]
    return _View(call, document, seen, {name.lower(): name for name in call.store.repos()})


@contextmanager
def _changing(call: Call, namespace: str, slug: str) -> Iterator[tuple[_View, Collection]]:
    call.caller()
    with call.store.edit(_DOCUMENT) as document:
        view = _view(call, document)
        found = view.find(f"{namespace}/{slug}")
        _require(call, found["owner"])
        yield view, found


def _require(call: Call, owner: str) -> None:
    user = call.caller()
    if user.only:
        raise HubError(403, f"Forbidden: this keyless token is for {user.only} alone, and not for collections")
    if not user.writes(f"{owner}/x"):
        raise HubError(403, f"Forbidden: {user.name!r} has no right to write to the collections of {owner}")


def _item(found: Collection, item_id: str) -> Collection:
    for item in found["items"]:
        if item["_id"] == item_id:
            known: Collection = item
            return known
    raise HubError(404, f"There is no item {item_id} in this collection")


def _slug(one: Collection) -> str:
    plain = unicodedata.normalize("NFKD", one["title"]).encode("ascii", "ignore").decode().lower()
    return f"{one['owner']}/{'-'.join([*re.findall('[a-z0-9]+', plain), one['id']])}"


def _place(everything: list[Collection], one: Collection, position: int, counted: list[Collection]) -> None:
    """Move one to that place among those that count, and so before the one that has it now."""
    after = [other for other in counted if other is not one][position : position + 1]
    everything.remove(one)
    everything.insert(everything.index(after[0]) if after else len(everything), one)


def _touched(one: Collection) -> Collection:
    one["lastUpdated"] = store.iso(time.time())
    return one


def _settings(body: Json) -> Collection:
    """What a body says of a collection; what is left out or null stays as it is."""
    limits = {"title": _TITLE, "description": _DESCRIPTION}
    found: Collection = {name: _text(body, name, limits[name]) for name in limits if body.get(name) is not None}
    found |= {"private": field(body, "private", bool)} if body.get("private") is not None else {}
    found |= {"theme": field(body, "theme", str)} if body.get("theme") is not None else {}
    if found.get("title") == "" or found.get("theme", "blue") not in _THEMES:
        raise HubError(400, f"A collection has a title, and a theme is one of {', '.join(_THEMES)}")
    return found


def _text(body: Json, name: str, limit: int) -> str:
    text = field(body, name, str, "").strip()
    if len(text) > limit:
        raise HubError(400, f"{name!r} has at most {limit} characters")
    return text
