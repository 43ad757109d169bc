"""A family's page on the Hub: the real client against the embedded Hub, which fails as it is told to."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
import unicodedata
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils import _http
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hubpush import client, collection, publish
from hubpush.catalog import Family, Release
from hubpush.client import DeferredError
from hubpush.collection import Step, Wanted
from hubpush.errors import HubRefusedError, HubUnavailableError
from hubpush.localhub import serve
from hubpush.localhub.faults import Fault, Plan, Seen
from hubpush.localhub.store import Store
from hubpush.localhub.users import read as read_users

pytestmark = pytest.mark.usefixtures("lfs_client")
NAMES = ("tiny", "mini", "small", "base")
USERS = """
[[users]]
name = "alice"
token = "hf_alice"
orgs = { acme = "write" }
[[users]]
name = "bob"
token = "hf_bob"
orgs = { acme = "read" }
"""


@dataclass
class Hub:
    """An embedded Hub with four models of acme, its faults, and a client of somebody who may everything."""

    url: str
    place: Path
    plan: Plan
    api: HfApi

    def requests(self) -> list[str]:
        """Methods and paths since the plan was cleared, without the ids of collections and items."""
        return [
            re.sub(r"/[^/]*[0-9a-f]{24}", "/*", f"{one.method} {one.path.removeprefix('/api')}")
            for one in self.plan.seen
            if one.number is not None
        ]

    def called(self, title: str) -> list[str]:
        """Slugs of the collections of acme with that title, from the Hub's own document."""
        document = Store(self.place).read("collections.json")
        return [one["id"] for one in document.get("collections", []) if one["title"] == title]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub, and a client in this process that does not sleep."""
    monkeypatch.setattr(publish, "PAUSE", 0.0)
    monkeypatch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
    monkeypatch.setattr(_http.time, "sleep", lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.01)))
    huggingface_hub.close_session()
    client.bound(client.Bounds(connect=1, silence=2, wait=5))
    plan = Plan()
    with serve(tmp_path / "hub", plan=plan) as url:
        api = HfApi(endpoint=url, token="hf_any")
        for name in NAMES:
            api.create_repo(f"acme/{name}")
        plan.clear()
        yield Hub(url, tmp_path / "hub", plan, api)
    huggingface_hub.close_session()


def family(title: str = "Tiny models", names: Sequence[str] = NAMES, summary: str = "All that is small.") -> Family:
    """A family of releases with those names."""
    releases = tuple(Release(name=name, title=name, source=f"{name}.zip", license="mit") for name in names)
    return Family(format=1, name="tiny", title=title, summary=summary, releases=releases)


def page(title: str = "Tiny models", names: Sequence[str] = NAMES, **more: str) -> Wanted:
    """What is wanted of all of them: the note of each is its version and a verdict, or what is given."""
    notes = [(f"acme/{name}", more.get(name, f"v1.0.0 · parity pass ({name})")) for name in names]
    return collection.wanted("acme", family(title, names), notes)


def stands(hub: Hub, title: str = "Tiny models") -> list[tuple[str, str | None]]:
    """Items and notes of the only collection of that title, as a stranger's client gets them."""
    (number,) = hub.called(title)
    return [(item.item_id, item.note) for item in hub.api.get_collection(f"acme/{number}").items]


def items(wanted: Wanted) -> list[tuple[str, str | None]]:
    """Items and notes as wanted."""
    return [(entry.repo_id, entry.note) for entry in wanted.items]


# What is wanted ------------------------------------------------------------------------------------------------------


def test_what_is_wanted_has_the_family_s_order_and_the_hub_s_limits() -> None:
    """Items come in family order whatever the order of notes; texts are cut at a word, within the limits of the Hub."""
    long = family("BERT " + "miniature " * 9, summary="word " * 80)
    notes = [("acme/base", "n " * 300), ("ACME/tiny", "one\nline\x1b[31m")]
    found = collection.wanted("acme", long, notes)
    assert [(entry.repo_id, entry.note and len(entry.note)) for entry in found.items] == [
        ("acme/tiny", 13), ("acme/mini", None), ("acme/small", None), ("acme/base", 500),
    ]  # fmt: skip
    assert found.items[0].note == "one line [31m"
    assert found.title == "BERT miniature miniature miniature miniature miniature…"
    assert found.description.endswith("word word…")
    assert len(found.description) <= 150
    assert collection.wanted("acme", family("x" * 70), notes).title == "x" * 59 + "…"
    assert collection.wanted("acme", family("x" * 60), notes).title == "x" * 60
    assert collection.wanted("acme", family("e\u0301te\u0301\u200b"), notes).title == "\u00e9t\u00e9"
    assert collection.wanted("acme", family("\u200b\n"), notes).title == "tiny"
    for odd in ([("acme/other", "x")], []):
        with pytest.raises(ValueError, match=r"no repo of the family|nothing to tell"):
            collection.wanted("acme", long, odd)


@given(st.text(alphabet=st.characters(), min_size=1, max_size=200), st.sampled_from([60, 150, 500]))
def test_a_text_that_is_cut_is_one_that_the_hub_takes(text: str, limit: int) -> None:
    """Any text becomes one line within the limit, counted as JavaScript counts; cutting again changes nothing."""
    found = collection._cut(text, limit)
    assert len(found.encode("utf-16-le")) // 2 <= limit
    assert found == collection._cut(found, limit) == found.strip()
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in found)
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", found)


def test_pictures_and_accents_are_not_cut_in_two() -> None:
    """A picture of several characters stays whole or goes, and a letter keeps its accents."""
    people = "👩‍👩‍👧"
    for before in range(48, 60):
        found = collection._cut("x" * before + people + "y" * 60, 60)
        assert found.rstrip("…").strip("xy") in ("", people)
    for before in range(50, 60):
        found = collection._cut("x" * before + "q\u0323\u0307" + "y" * 60, 60).rstrip("…").rstrip("y")
        assert found in ("x" * before, "x" * before + "q\u0323\u0307")


def test_a_plan_file_keeps_it_and_takes_nothing_else() -> None:
    """It survives the trip through JSON, and what is unknown, too long, doubled or hidden is refused."""
    wanted = page()
    text = wanted.model_dump_json()
    assert Wanted.model_validate_json(text) == wanted
    good = json.loads(text)
    one = good["items"][0]
    for odd in (
        {"more": 1}, {"title": ""}, {"title": "x" * 61}, {"title": "😀" * 31}, {"description": "x" * 151},
        {"title": "a\nb"}, {"title": "\u202eevil"}, {"owner": "a/b"}, {"owner": "../x"}, {"private": "yes"},
        {"items": [one, {**one, "repo_id": one["repo_id"].upper()}]}, {"items": [{**one, "note": "x" * 501}]},
        {"items": [{**one, "note": None}]}, {"items": []}, {"items": [{**one, "repo_id": "x"}]},
        {"items": [{**one, "note": "a\x1bb"}]}, {"items": [{**one, "x": 1}]},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            Wanted.model_validate_json(json.dumps({**good, **odd}))


def test_a_note_is_one_line_that_says_the_verdict() -> None:
    """Version, verdict and the worst output in plain words; a yank comes first, and no number is ever made up."""
    worst = {"output": "layer 5 keys", "max_abs": 1.42e-14, "tolerance": 6.9e-13, "dtype": "float64"}
    one = {"output": "sequence_output", "max_abs": 1.7976931348623157e308, "tolerance": 1e-13}
    for arguments, text in (
        (("pass", worst, "1.0.0"), "v1.0.0 · parity pass: layer 5 keys differ by 1.4e-14, allowed 6.9e-13"),
        (("pass", {**worst, "output": "x"}, "v1.0.0"), "v1.0.0 · parity pass: x differs by 1.4e-14, allowed 6.9e-13"),
        (("known-divergence", None, "1.2.0"), "v1.2.0 · parity pass with a known divergence"),
        (("fail", one, "1.0.0"), "v1.0.0 · parity FAILED: sequence_output not a number"),
        (("fail", {**one, "max_abs": float("nan")}, "1.0.0"), "v1.0.0 · parity FAILED: sequence_output not a number"),
        (("not-run", None, "1.0.0"), "v1.0.0 · parity was not run"),
        (("not-run", worst, "1.0.0"), "v1.0.0 · parity was not run"),
    ):  # fmt: skip
        assert collection.note(*arguments) == text  # type: ignore[arg-type]
        assert collection._OURS.match(text)
    yanked = collection.note("pass", worst, "1.0.1", yanked="wrong\nvocabulary " * 90)
    assert yanked.startswith("v1.0.1 · YANKED: wrong vocabulary wrong")
    assert len(yanked) <= 500
    with pytest.raises(KeyError):
        collection.note("fine", None, "1.0.0")


# Order ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.data())
def test_the_fewest_moves_bring_ours_into_order(data: st.DataObject) -> None:
    """Ours end in order, nobody else's order changes, no move is left or idle, and one misplaced item is one move."""
    order = [f"m{n}" for n in range(data.draw(st.integers(1, 7)))]
    places = data.draw(st.permutations([*order, "p1", "p2", "p3"]))
    movable = set(data.draw(st.lists(st.sampled_from(order), unique=True)))
    now = list(places)
    for key, place in collection._moves(places, order, movable):
        assert key in movable
        assert now.index(key) != place
        now.remove(key)
        now.insert(place, key)
    still = [key for key in places if key not in movable]
    assert [key for key in now if key not in movable] == still
    assert collection._moves(now, order, movable) == []
    if [key for key in still if key in order] == [key for key in order if key not in movable]:
        assert [key for key in now if key in order] == order
    sorted_places = [*order, "p1"]
    if len(order) > 1:
        moved = data.draw(st.sampled_from(order))
        others = [key for key in sorted_places if key != moved]
        others.insert(data.draw(st.integers(0, len(others))), moved)
        assert len(collection._moves(others, order, set(order))) <= 1


# Created, updated, unchanged -----------------------------------------------------------------------------------------


def test_a_family_s_page_is_made_once_and_costs_a_write_for_each_model(hub: Hub) -> None:
    """24 models are 25 writes, in order at once; then an unchanged page costs two reads and no write."""
    names = [f"bert-{n}" for n in range(24)]
    for name in names:
        hub.api.create_repo(f"acme/{name}")
    wanted = page(names=names)
    hub.plan.clear()
    planned = collection.plan(hub.api, wanted)
    assert hub.requests() == ["GET /collections"]
    assert (planned.status, planned.slug, len(planned.changes)) == ("create", None, 26)
    hub.plan.clear()
    made = collection.apply(hub.api, wanted)
    asked = hub.requests()
    assert (made.status, made.missing, made.remarks) == ("created", (), ())
    assert (asked.count("POST /collections"), asked.count("POST /collections/acme/*/items")) == (1, 24)
    assert len(asked) == 25 + 5
    assert stands(hub) == items(wanted)
    found = hub.api.get_collection(made.slug)
    assert (found.title, found.description, found.private) == ("Tiny models", "All that is small.", False)
    assert made.url == f"{hub.url}/collections/{made.slug}"
    for ask in (collection.plan, collection.apply):
        hub.plan.clear()
        answer = ask(hub.api, wanted)
        assert answer.status == "unchanged"
        assert hub.requests() == ["GET /collections", "GET /collections/acme/*"]


def test_a_plan_says_what_apply_does(hub: Hub) -> None:
    """A plan changes nothing, its rows are what stands there afterwards, its words name each change, and it is JSON."""
    wanted = page()
    before = collection.plan(hub.api, wanted)
    assert before.words()[:3] == [
        'create the collection "Tiny models"',
        "description: All that is small.",
        "add acme/tiny: v1.0.0 · parity pass (tiny)",
    ]
    assert hub.called("Tiny models") == []
    slug = collection.apply(hub.api, wanted).slug
    assert [(row.item_id, row.note) for row in before.items] == stands(hub)
    hub.api.add_collection_item(slug, "1810.04805", "paper", note="the paper")
    hub.api.update_collection_metadata(slug, description="mine")
    changed = page(tiny="v1.0.1 · parity FAILED", names=("base", *NAMES[:3]))
    hub.plan.clear()
    step = collection.plan(hub.api, changed)
    assert {line.partition(" ")[0] for line in hub.requests()} == {"GET"}
    assert step.words() == [
        f'update: the collection "Tiny models" ({slug})',
        'description: "mine" becomes "All that is small."',
        'note of acme/tiny: "v1.0.0 · parity pass (tiny)" becomes "v1.0.1 · parity FAILED"',
        "move acme/base from place 4 to 1",
    ]
    assert [(row.item_id, row.kind, row.is_ours, row.change) for row in step.items] == [
        ("acme/base", "model", True, "move"), ("acme/tiny", "model", True, "note"), ("acme/mini", "model", True, None),
        ("acme/small", "model", True, None), ("1810.04805", "paper", False, None),
    ]  # fmt: skip
    assert json.loads(json.dumps(step.to_json()))["changes"][0]["kind"] == "description"
    assert (step.status, step.is_empty) == ("update", False)
    hub.plan.clear()
    made = collection.apply(hub.api, changed)
    assert sum(not line.startswith("GET") for line in hub.requests()) == len(step.changes)
    assert (made.status, made.slug) == ("updated", slug)
    assert [(row.item_id, row.note) for row in step.items] == stands(hub)
    assert hub.api.get_collection(slug).description == "All that is small."
    last = collection.plan(hub.api, changed)
    assert (last.is_empty, last.words()) == (True, [f'unchanged: the collection "Tiny models" ({slug})'])


def test_what_a_person_did_stays(hub: Hub) -> None:
    """Other items, their order and notes, theme, privacy and place stay; ours come back into order among them."""
    slug = collection.apply(hub.api, page()).slug
    for number, text in (("1810.04805", "first"), ("1908.08962", None), ("1706.03762", "third")):
        hub.api.add_collection_item(slug, number, "paper", note=text)
    hub.api.create_repo("acme/guest")
    hub.api.add_collection_item(slug, "acme/guest", "model", note="not of the family")
    objects = {item.item_id: item.item_object_id for item in hub.api.get_collection(slug).items}
    for place, name in enumerate(
        ("1706.03762", "acme/base", "acme/guest", "acme/small", "1810.04805", "acme/mini", "acme/tiny", "1908.08962")
    ):
        hub.api.update_collection_item(slug, objects[name], position=place)
    hub.api.update_collection_item(slug, objects["acme/mini"], note="a person's words on ours")
    hub.api.update_collection_metadata(slug, theme="pink", private=True)
    collection.apply(hub.api, page())
    found = hub.api.get_collection(slug)
    ids = [item.item_id for item in found.items]
    assert [name for name in ids if name.removeprefix("acme/") in NAMES] == [f"acme/{name}" for name in NAMES]
    assert [name for name in ids if name.removeprefix("acme/") not in NAMES] == [
        "1706.03762", "acme/guest", "1810.04805", "1908.08962",
    ]  # fmt: skip
    notes = {item.item_id: item.note for item in found.items}
    assert (notes["1810.04805"], notes["1908.08962"], notes["acme/guest"]) == ("first", None, "not of the family")
    assert notes["acme/mini"] == "v1.0.0 · parity pass (mini)"
    assert (found.theme, found.private, found.title) == ("pink", True, "Tiny models")
    assert collection.plan(hub.api, page()).is_empty


def test_a_run_of_some_models_leaves_the_others(hub: Hub) -> None:
    """Notes and order of models that are not of the run stay; a new one comes to its place among them."""
    names = ("tiny", "small", "base")
    slug = collection.apply(hub.api, page(names=names)).slug
    objects = {item.item_id: item.item_object_id for item in hub.api.get_collection(slug).items}
    hub.api.update_collection_item(slug, objects["acme/small"], note="a person's words")
    some = collection.wanted("acme", family(), [("acme/mini", "v1.0.0 · new"), ("acme/base", "v1.0.1 · changed")])
    step = collection.plan(hub.api, some)
    assert [(change.kind, change.item) for change in step.changes] == [
        ("add", "acme/mini"), ("note", "acme/base"), ("move", "acme/mini"),
    ]  # fmt: skip
    assert step.remarks == ()
    hub.plan.clear()
    collection.apply(hub.api, some)
    assert sum(not line.startswith("GET") for line in hub.requests()) == len(step.changes)
    assert stands(hub) == [
        ("acme/tiny", "v1.0.0 · parity pass (tiny)"), ("acme/mini", "v1.0.0 · new"),
        ("acme/small", "a person's words"), ("acme/base", "v1.0.1 · changed"),
    ]  # fmt: skip
    hub.api.update_collection_item(slug, objects["acme/small"], position=0)
    hub.api.update_collection_item(slug, objects["acme/base"], position=0)
    collection.apply(hub.api, collection.wanted("acme", family(), [("acme/mini", "v1.0.1 · newer")]))
    order = [name for name, _ in stands(hub)]
    assert order.index("acme/base") < order.index("acme/small") < order.index("acme/tiny") < order.index("acme/mini")


def test_what_the_family_no_longer_has_is_named_and_left(hub: Hub) -> None:
    """A model that has a note of hubpush and is no release any more stays on the page, and the plan says so."""
    collection.apply(hub.api, page())
    fewer = page(names=NAMES[:3])
    step = collection.plan(hub.api, fewer)
    assert step.is_empty
    assert step.words()[1:] == [
        "acme/base has a note of hubpush and is no model of this family (any more): left as it is"
    ]
    assert collection.apply(hub.api, fewer).status == "unchanged"
    assert stands(hub) == items(page())
    renamed = collection.plan(hub.api, page("Small models"))
    (number,) = hub.called("Tiny models")
    assert renamed.status == "create"
    assert renamed.remarks == (
        f'acme/tiny-models-{number} ("Tiny models") holds models of this family; to keep that page, give it this title'
        " on the Hub",
    )


TITLES = (
    "x" * 60, "x" * 61, "BERT " * 20, "東京の小さなモデル", "été — ﬁn", "e\u0301te\u0301", "😀" * 40,
    "👩‍👩‍👧" * 20, "  padded \t title ", "<script>alert(1)</script>", "{{ 7*7 }} {% raw %}", "a/b/../c?d#e&f=%2e",
    '"quotes" \'and\' `ticks`', "---\nx: y", "\u202egnp.exe", "nul\x00byte\x1b[31m", "[link](javascript:alert(1))",
    "|" * 70, "-", "…", "\u200b", "'; drop --",
)  # fmt: skip


def test_any_title_makes_one_page_and_is_found_again(hub: Hub) -> None:
    """Unicode and hostile titles make one collection each, which the next run finds and leaves alone."""
    for number, title in enumerate(TITLES, 1):
        wanted = page(title, NAMES[:1])
        made = collection.apply(hub.api, wanted)
        again = collection.apply(hub.api, wanted)
        assert (made.status, again.status, again.slug) == ("created", "unchanged", made.slug), title
        assert len(hub.called(wanted.title)) == 1
        assert len(Store(hub.place).read("collections.json")["collections"]) == number
        assert all("\x1b" not in line and "\u202e" not in line for line in collection.plan(hub.api, wanted).words())


def test_what_people_wrote_on_the_hub_is_told_in_plain_lines(hub: Hub) -> None:
    """Control characters in notes and descriptions that stand on the Hub reach no terminal."""
    slug = collection.apply(hub.api, page()).slug
    first = hub.api.get_collection(slug).items[0].item_object_id
    hub.api.update_collection_item(slug, first, note="\x1b[2Jv9.9.9 · \u202ehidden\nlines")
    hub.api.update_collection_metadata(slug, description="a\r\nb\x07")
    lines = collection.plan(hub.api, page()).words()
    assert 'description: "a b " becomes "All that is small."' in lines
    assert not any(unicodedata.category(c) in ("Cc", "Zl", "Zp") or c == "\u202e" for c in "".join(lines))
    collection.apply(hub.api, page())
    assert stands(hub) == items(page())


def test_pages_of_a_list_are_all_read(hub: Hub) -> None:
    """Among 120 other collections, which fill two pages, the oldest is found; another owner's of that title is none."""
    slug = collection.apply(hub.api, page()).slug
    hub.api.create_collection("Tiny models", namespace="acme-labs")
    hub.api.create_collection("tiny models", namespace="acme")
    with Store(hub.place).edit("collections.json") as document:
        (first,) = [one for one in document["collections"] if slug.endswith(one["id"])]
        first["lastUpdated"] = "2020-01-01T00:00:00.000Z"
        document["collections"] += [
            {**first, "id": f"f{n:023x}", "title": f"Tiny models {n}", "lastUpdated": f"2026-01-01T00:00:00.{n:03}Z"}
            for n in range(120)
        ]
    hub.plan.clear()
    assert collection.apply(hub.api, page()).status == "unchanged"
    assert hub.requests() == ["GET /collections", "GET /collections", "GET /collections/acme/*"]
    assert len(hub.called("Tiny models")) == 2


# What goes wrong -----------------------------------------------------------------------------------------------------

FAULTS: dict[str, Callable[[int], Fault]] = {
    "500": lambda n: Fault(request=n, action="status", status=500),
    "504 after": lambda n: Fault(request=n, action="status", status=504, applied=True),
    "drop": lambda n: Fault(request=n, action="drop"),
    "drop after": lambda n: Fault(request=n, action="drop", applied=True),
    "429": lambda n: Fault(request=n, action="status", status=429, headers={"Retry-After": "0"}),
    "429, 1 s": lambda n: Fault(request=n, action="status", status=429, headers={"Retry-After": "1"}),
    "stall": lambda n: Fault(request=n, action="stall"),
    "not JSON": lambda n: Fault(request=n, action="status", status=200, body="<html>"),
}


FEW = ("tiny", "mini", "base")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["create", "update"])
def test_a_fault_at_any_request_leaves_one_right_page(hub: Hub, kind: str, fault: str) -> None:
    """Each request of a run fails once: that run or the next one ends with one page, right items, notes and order."""
    wanted = page(names=FEW)
    if kind == "update":  # description, a note, a new model, its place and that of another one
        slug = collection.apply(hub.api, page(names=("base", "tiny"), base="v0.9.0 · old")).slug
        hub.api.add_collection_item(slug, "1810.04805", "paper", note="a person's")
        hub.api.update_collection_metadata(slug, description="old")
    before = Store(hub.place).read("collections.json")
    client.bound(client.Bounds(connect=1, silence=0.15, wait=5))
    number, struck, healed_at_once = 0, True, 0
    while struck:
        number += 1
        with Store(hub.place).edit("collections.json") as document:
            document.clear()
            document |= json.loads(json.dumps(before))
        hub.plan.clear()
        hub.plan.add(FAULTS[fault](number))
        try:
            collection.apply(hub.api, wanted)
            healed_at_once += 1
        except HubUnavailableError:
            hub.plan.faults = ()
            collection.apply(hub.api, wanted)
        struck = any(seen.fault for seen in hub.plan.seen)
        hub.plan.clear()
        found = stands(hub)
        assert [one for one in found if one[0].startswith("acme/")] == items(wanted), (number, fault)
        assert [one for one in found if not one[0].startswith("acme/")] == (
            [("1810.04805", "a person's")] if kind == "update" else []
        )
        assert Store(hub.place).read("collections.json")["collections"][0]["description"] == "All that is small."
    assert number > 8
    assert healed_at_once == number or fault == "429"


def test_two_at_once_make_one_page(hub: Hub) -> None:
    """Runs at the same time, of the whole family and of parts of it, end with one page in order."""
    for number in range(8):
        title = f"Race {number}"
        whole, barrier = page(title), threading.Barrier(3)
        parts = [
            collection.wanted("acme", family(title), [(e.repo_id, e.note or "") for e in whole.items[part]])
            for part in (slice(None), slice(0, None, 2), slice(None) if number % 2 else slice(1, None, 2))
        ]

        def go(wanted: Wanted, barrier: threading.Barrier = barrier) -> str:
            barrier.wait(20)
            return collection.apply(hub.api, wanted).slug

        with ThreadPoolExecutor(3) as threads:
            slugs = set(threads.map(go, parts))
        assert len(slugs) == 1
        assert stands(hub, title) == items(whole)


def _twin(hub: Hub, title: str, number: str) -> Callable[[Seen], None]:
    def insert(_seen: Seen) -> None:
        with Store(hub.place).edit("collections.json") as document:
            one = next(one for one in document["collections"] if one["title"] == title)
            document["collections"].append({**one, "id": number, "items": []})

    return insert


@pytest.mark.parametrize("number", ["0" * 24, "f" * 24])
def test_of_several_of_that_title_the_oldest_is_taken(hub: Hub, number: str) -> None:
    """Where the Hub let two be made at once, every run fills the one with the lower id, says so and removes none."""
    hub.plan.add(Fault(method="POST", path="/api/collections", applied=True, hook=_twin(hub, "Tiny models", number)))
    made = collection.apply(hub.api, page())
    ids = hub.called("Tiny models")
    assert len(ids) == 2
    oldest, other = sorted(ids)
    assert made.slug == f"acme/tiny-models-{oldest}"
    assert made.remarks == (
        f"acme/tiny-models-{oldest} is the oldest of this title and is kept up to date; left: acme/tiny-models-{other}",
    )
    counts = [len(hub.api.get_collection(f"acme/{one}").items) for one in (oldest, other)]
    assert counts == [4, 0]
    assert made.remarks[0] in collection.plan(hub.api, page()).words()


def test_a_list_that_lags_behind_makes_no_second_page(hub: Hub) -> None:
    """A page that was just made and that the Hub's list does not show is found by the name that it was given."""
    hub.plan.add(
        Fault(method="GET", path="/api/collections", times=None, action="status", status=200, body="[]",
              headers={"Content-Type": "application/json"})
    )  # fmt: skip
    made = collection.apply(hub.api, page())
    assert made.status == "created"
    assert hub.requests().count("POST /collections") == 1
    assert stands(hub) == items(page())


def test_a_page_that_goes_while_it_is_filled_is_made_again(hub: Hub) -> None:
    """Somebody deletes the page, or an item, in the middle of a run: the run looks again and ends with all of it."""

    def delete(_seen: Seen) -> None:
        with Store(hub.place).edit("collections.json") as document:
            document["collections"].clear()

    hub.plan.add(Fault(method="POST", path="*/items", skip=2, hook=delete))
    assert collection.apply(hub.api, page()).missing == ()
    assert stands(hub) == items(page())

    def empty(_seen: Seen) -> None:
        with Store(hub.place).edit("collections.json") as document:
            document["collections"][0]["items"].pop(1)

    hub.plan.add(Fault(method="PATCH", path="*/items/*", hook=empty))
    changed = page(mini="v1.0.1 · other")
    assert collection.apply(hub.api, changed).status == "updated"
    assert stands(hub) == items(changed)


def test_a_page_that_gets_another_title_meanwhile_is_left(hub: Hub) -> None:
    """A person renames the page between the list and the look at it: it is theirs now, and a new one is made."""
    slug = collection.apply(hub.api, page()).slug

    def rename(_seen: Seen) -> None:
        with Store(hub.place).edit("collections.json") as document:
            document["collections"][0]["title"] = "Mine"

    hub.plan.add(Fault(method="GET", path="/api/collections", applied=True, hook=rename))
    changed = page(tiny="v1.0.1 · other")
    assert collection.apply(hub.api, changed).slug != slug
    assert (stands(hub), stands(hub, "Mine")) == (items(changed), items(page()))


def test_a_hub_that_takes_all_and_keeps_nothing_ends_it(hub: Hub) -> None:
    """Writes that are answered and not done end in an error that names what is not shown, after six attempts."""
    collection.apply(hub.api, page())
    hub.plan.clear()
    hub.plan.add(
        Fault(method="PATCH", path="*/items/*", times=None, action="status", status=200, body='{"success": true}')
    )
    with pytest.raises(HubUnavailableError, match="does not show it: note of acme/tiny") as caught:
        collection.apply(hub.api, page(tiny="v1.0.1 · new"))
    assert "run the same command again" in caught.value.hint
    assert sum(line.startswith("PATCH") for line in hub.requests()) == 6
    hub.plan.clear()
    hub.plan.add(Fault(times=None, action="status", status=502))
    for ask in (collection.plan, collection.apply):
        with pytest.raises(HubUnavailableError, match=r"no success after 6 attempts; last: .* 502"):
            ask(hub.api, page())


def test_a_title_that_the_hub_changes_ends_it(hub: Hub) -> None:
    """A page that would never be found again is made once, and the run says so."""

    def rename(_seen: Seen) -> None:
        with Store(hub.place).edit("collections.json") as document:
            document["collections"][0]["title"] = "Tiny Models"

    answer = {
        "slug": "acme/tiny-models-" + "0" * 24, "title": "Tiny Models", "owner": "acme", "items": [], "position": 0,
        "lastUpdated": "2026-01-01T00:00:00.000Z", "private": False, "theme": "blue", "upvotes": 0,
    }  # fmt: skip
    hub.plan.add(
        Fault(method="POST", path="/api/collections", applied=True, action="status", status=200, hook=rename,
              body=json.dumps(answer))
    )  # fmt: skip
    with pytest.raises(HubRefusedError, match='the Hub has made "Tiny Models" of the title'):
        collection.apply(hub.api, page())
    assert hub.requests().count("POST /collections") == 1


def test_a_repo_that_does_not_exist_is_named_and_left_out(hub: Hub) -> None:
    """A release that failed is not on the page, all others are, and the run says which."""
    wanted = page(names=("tiny", "gone", "mini", "lost", "base"))
    made = collection.apply(hub.api, wanted)
    assert (made.status, made.missing) == ("created", ("acme/gone", "acme/lost"))
    assert [name for name, _ in stands(hub)] == ["acme/tiny", "acme/mini", "acme/base"]
    hub.api.create_repo("acme/gone")
    assert collection.apply(hub.api, wanted).missing == ("acme/lost",)
    assert [name for name, _ in stands(hub)] == ["acme/tiny", "acme/gone", "acme/mini", "acme/base"]


def test_private_repos_are_added_and_renamed_ones_are_named(hub: Hub) -> None:
    """The owner's private repo stands on the page; one with another name now is an error that gives that name."""
    hub.api.update_repo_settings("acme/mini", visibility="private")
    assert collection.apply(hub.api, page()).missing == ()
    assert stands(hub) == items(page())
    hub.api.move_repo("acme/mini", "acme/micro")
    with pytest.raises(HubRefusedError, match="acme/mini is called acme/micro on the Hub now") as caught:
        collection.apply(hub.api, page())
    assert "family file" in caught.value.hint
    assert [name for name, _ in stands(hub)] == ["acme/tiny", "acme/micro", "acme/small", "acme/base"]


def test_the_visibility_of_a_new_page_is_as_wanted(hub: Hub) -> None:
    """A private run makes a private page, and a later public one leaves it so."""
    notes = [("acme/tiny", "v1.0.0 · x")]
    made = collection.apply(hub.api, collection.wanted("acme", family(), notes, private=True))
    assert hub.api.get_collection(made.slug).private
    assert collection.apply(hub.api, collection.wanted("acme", family(), notes)).status == "unchanged"
    assert hub.api.get_collection(made.slug).private


def test_who_may_not_write_collections_is_told_what_next(tmp_path: Path, hub: Hub) -> None:
    """A reader, nobody and a keyless token plan without complaint, write nothing, and hear of --no-collection."""
    (tmp_path / "users.toml").write_text(USERS)
    with serve(tmp_path / "other", users=read_users(tmp_path / "users.toml")) as url:
        alice = HfApi(endpoint=url, token="hf_alice")
        for name in NAMES:
            alice.create_repo(f"acme/{name}")
        body = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": "a.b.c",
            "resource": "acme/tiny",
        }  # fmt: skip
        request = urllib.request.Request(f"{url}/oauth/token", json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=20) as answer:
            keyless = HfApi(endpoint=url, token=json.load(answer)["access_token"])
        refused = {"keyless": keyless, "reader": HfApi(endpoint=url, token="hf_bob"), "nobody": HfApi(url, token=False)}

        def all_refused(wanted: Wanted) -> None:
            for who, api in refused.items():
                assert not collection.plan(api, wanted).is_empty
                with pytest.raises(HubRefusedError, match=r"refuses \(40[13]\)") as caught:
                    collection.apply(api, wanted)
                assert "--no-collection" in caught.value.hint, who
                assert "collections of acme" in caught.value.hint

        all_refused(page())
        slug = collection.apply(alice, page()).slug
        all_refused(page(mini="v1.0.1 · x"))
        all_refused(page(names=("mini", "tiny", "small", "base")))
        assert [item.item_id for item in alice.get_collection(slug).items] == [f"acme/{name}" for name in NAMES]
        with pytest.raises(HubRefusedError, match=r"\(403\)"):
            collection.apply(alice, collection.wanted("bob", family(), [("bob/tiny", "x")]))


def test_a_deadline_ends_it(hub: Hub) -> None:
    """After the deadline of the run nothing more is sent, and what is left can be done by another run."""
    until = time.time() + 3600

    def over(_seen: Seen) -> None:
        factory = _http._GLOBAL_CLIENT_FACTORY
        object.__setattr__(factory.args[0], "until", time.time() - 1)  # type: ignore[attr-defined]

    client.bound(client.Bounds(connect=1, silence=2, wait=5, until=until))
    hub.plan.add(Fault(method="POST", path="*/items", applied=True, skip=1, hook=over))
    with pytest.raises(DeferredError):
        collection.apply(hub.api, page())
    client.bound(client.Bounds(connect=1, silence=2, wait=5))
    assert len(stands(hub)) == 2
    assert collection.apply(hub.api, page()).status == "updated"
    assert stands(hub) == items(page())


def test_a_step_is_plain_data() -> None:
    """A step that was never on a Hub is shown as any other: nothing in it needs the client."""
    step = Step("acme", "T", "", "unchanged", None, None, (), ())
    assert step.words() == ['unchanged: the collection "T" of acme']
    assert dataclasses.asdict(step) == step.to_json()
