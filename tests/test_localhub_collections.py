"""Collections of the embedded Hub, through the unmodified client."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import Collection, HfApi
from huggingface_hub.errors import HfHubHTTPError

from hubpush.localhub import serve
from hubpush.localhub.store import Store
from hubpush.localhub.users import read as read_users

pytestmark = pytest.mark.usefixtures("lfs_client")

USERS = """
[[users]]
name = "alice"
token = "hf_alice"
orgs = { acme = "write" }
[[users]]
name = "bob"
token = "hf_bob"
orgs = { acme = "read" }
[[users]]
name = "eve"
token = "hf_eve"
[[users]]
name = "alice"
token = "hf_alice_read"
role = "read"
orgs = { acme = "write" }
"""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A running embedded Hub that knows its users."""
    (tmp_path / "users.toml").write_text(USERS)
    with serve(tmp_path / "hub", users=read_users(tmp_path / "users.toml")) as endpoint:
        yield endpoint


@pytest.fixture
def api(url: str) -> HfApi:
    """Alice, who writes to acme, with three models there."""
    api = HfApi(endpoint=url, token="hf_alice")
    for name in ("one", "two", "three"):
        api.create_repo(f"acme/{name}")
    return api


def refused(status: int) -> pytest.RaisesExc[HfHubHTTPError]:
    """The call is answered with that status."""
    return pytest.raises(HfHubHTTPError, check=lambda error: error.response.status_code == status)


def send(url: str, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, object]]:
    """One plain request of alice: the status and the JSON that came back."""
    request = urllib.request.Request(f"{url}/api/collections{path}", body, method=method)
    request.add_header("Authorization", "Bearer hf_alice")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def names(collection: Collection) -> list[str]:
    """What it holds, in order; positions must be dense."""
    assert [item.position for item in collection.items] == list(range(len(collection.items)))
    return [item.item_id for item in collection.items]


def test_a_collection_is_made_changed_and_deleted(api: HfApi, url: str) -> None:
    """Its slug follows the title while the id stays, any slug with that id finds it, and deleted it is gone."""
    made = api.create_collection("  My cool: Stuff, été  ", description="A lot")
    prefix, _, number = made.slug.rpartition("-")
    assert (prefix, made.title, made.description, made.items) == (
        "alice/my-cool-stuff-ete", "My cool: Stuff, été", "A lot", [],
    )  # fmt: skip
    assert (made.owner, made.private, made.position, made.upvotes) == ("alice", False, 0, 0)
    assert made.url == f"{url}/collections/{made.slug}"
    assert len(number) == 24
    changed = api.update_collection_metadata(made.slug, title="New", theme="pink", private=True)
    assert (changed.slug, changed.title, changed.theme, changed.private, changed.description) == (
        f"alice/new-{number}", "New", "pink", True, "A lot",
    )  # fmt: skip
    for slug in (made.slug, changed.slug, f"Alice/{number}"):
        assert api.get_collection(slug) == changed
    api.delete_collection(made.slug)
    for call in (api.get_collection, api.delete_collection):
        with refused(404):
            call(changed.slug)
    api.delete_collection(made.slug, missing_ok=True)
    assert api.create_collection("東京").slug.startswith("alice/")


def test_a_title_is_taken_once_in_a_namespace(api: HfApi) -> None:
    """The same title again is 409, and `exists_ok` leads to what is there, unchanged."""
    made = api.create_collection("Tiny models", namespace="acme")
    with refused(409):
        api.create_collection("Tiny models", namespace="ACME")
    again = api.create_collection("Tiny models", namespace="acme", description="Other", exists_ok=True)
    assert (again.slug, again.description) == (made.slug, None)
    assert api.create_collection("Tiny models").owner == "alice"


def test_items_keep_their_order_and_notes(api: HfApi) -> None:
    """Items stand in the order of adding, move to where they are put, and are there once."""
    slug = api.create_collection("Sizes", namespace="acme").slug
    other = api.create_collection("Papers").slug
    api.add_collection_item(slug, "acme/one", "model", note="small")
    api.add_collection_item(slug, "ACME/Two", "model")
    api.add_collection_item(slug, "1810.04805", "paper")
    found = api.add_collection_item(slug, other, "collection")
    assert names(found) == ["acme/one", "acme/two", "1810.04805", other]
    assert [item.item_type for item in found.items] == ["model", "model", "paper", "collection"]
    assert [item.note for item in found.items] == ["small", None, None, None]
    for item, kind in (("acme/TWO", "model"), ("1810.04805", "paper"), (other, "collection")):
        with refused(409):
            api.add_collection_item(slug, item, kind)
        assert api.add_collection_item(slug, item, kind, exists_ok=True).items == found.items
    one, two, paper, nested = (item.item_object_id for item in found.items)
    api.update_collection_item(slug, one, position=2, note="the smallest")
    moved = api.get_collection(slug)
    assert names(moved) == ["acme/two", "1810.04805", "acme/one", other]
    assert moved.items[2].note == "the smallest"
    api.update_collection_item(slug, nested, position=0)
    api.update_collection_item(slug, two, position=99)
    api.update_collection_item(slug, one, note="")
    assert names(api.get_collection(slug)) == [other, "1810.04805", "acme/one", "acme/two"]
    assert api.get_collection(slug).items[2].note is None
    api.delete_collection_item(slug, paper)
    with refused(404):
        api.delete_collection_item(slug, paper)
    api.delete_collection_item(slug, paper, missing_ok=True)
    with refused(404):
        api.update_collection_item(slug, paper, note="gone")
    assert names(api.get_collection(slug)) == [other, "acme/one", "acme/two"]


def test_only_what_exists_is_added(api: HfApi) -> None:
    """A model, paper or collection that is not there is 404, what the embedded Hub does not have is 501."""
    slug = api.create_collection("Sizes").slug
    missing = slug[:-24] + "0" * 24
    for item, kind, status in (
        ("acme/missing", "model", 404), ("missing", "model", 404), ("none", "paper", 404), ("810.04805", "paper", 404),
        (missing, "collection", 404), (slug, "collection", 404), ("acme/one", "dataset", 501),
        ("acme/one", "space", 501), ("acme/one", "bucket", 501), ("acme/one", "thing", 400),
    ):  # fmt: skip
        with refused(status):
            api.add_collection_item(slug, item, kind)  # type: ignore[arg-type]
    for call in (
        lambda: api.update_collection_resource_group(slug, "6" * 24),
        lambda: api.create_collection("Group", resource_group_id="6" * 24),
    ):
        with refused(501):
            call()
    assert api.get_collection(slug).items == []


def test_items_follow_their_models(api: HfApi, url: str) -> None:
    """A renamed model is shown under its new id; a deleted or private one is left out for those who may not see it."""
    slug = api.create_collection("Sizes", namespace="acme").slug
    for name in ("one", "two", "three"):
        api.add_collection_item(slug, f"acme/{name}", "model")
    nested = api.create_collection("Hidden", namespace="acme", private=True).slug
    api.add_collection_item(slug, nested, "collection")
    api.move_repo("acme/three", "acme/drei")
    api.update_repo_settings("acme/one", visibility="private")
    eve, nobody = HfApi(endpoint=url, token="hf_eve"), HfApi(endpoint=url, token=False)
    assert names(api.get_collection(slug)) == ["acme/one", "acme/two", "acme/drei", nested]
    assert names(eve.get_collection(slug)) == names(nobody.get_collection(slug)) == ["acme/two", "acme/drei"]
    with refused(409):
        api.add_collection_item(slug, "acme/drei", "model")
    own = eve.create_collection("Mine").slug
    for item, kind in (("acme/one", "model"), (nested, "collection")):
        with refused(404):
            eve.add_collection_item(own, item, kind)
    assert [c.slug for c in nobody.list_collections(item="models/acme/one")] == []
    assert [c.slug for c in api.list_collections(item="models/acme/one")] == [slug]
    api.delete_repo("acme/one")
    api.delete_collection(nested)
    api.update_collection_item(slug, api.get_collection(slug).items[0].item_object_id, position=1)
    assert names(api.get_collection(slug)) == ["acme/drei", "acme/two"]


def test_rights(api: HfApi, url: str) -> None:
    """Writers of a namespace change its collections, readers see private ones, and to all others those do not exist."""
    slug = api.create_collection("Private", namespace="acme", private=True).slug
    public = api.create_collection("Public", namespace="acme").slug
    api.add_collection_item(public, "acme/one", "model")
    item = api.get_collection(public).items[0].item_object_id
    bob, eve, read_only = (HfApi(endpoint=url, token=f"hf_{name}") for name in ("bob", "eve", "alice_read"))
    nobody = HfApi(endpoint=url, token=False)
    assert bob.get_collection(slug).title == read_only.get_collection(slug).title == "Private"
    for who in (eve, nobody):
        with refused(404):
            who.get_collection(slug)
        assert [c.slug for c in who.list_collections(owner="acme")] == [public]
        assert who.get_collection(public).position == 0
    for who, status in ((bob, 403), (eve, 403), (read_only, 403), (nobody, 401)):
        for change in (
            lambda who=who: who.create_collection("New", namespace="acme"),
            lambda who=who: who.update_collection_metadata(public, title="Taken"),
            lambda who=who: who.delete_collection(public),
            lambda who=who: who.add_collection_item(public, "acme/two", "model"),
            lambda who=who: who.update_collection_item(public, item, note="x"),
            lambda who=who: who.delete_collection_item(public, item),
        ):
            with refused(status):
                change()
    with refused(404):
        eve.delete_collection(slug)
    assert (names(api.get_collection(public)), api.get_collection(public).title) == (["acme/one"], "Public")


def test_a_keyless_token_leaves_collections_alone(api: HfApi, url: str) -> None:
    """A token for one repository neither changes collections nor sees private ones, even in its own namespace."""
    api.create_repo("acme/x")
    private = api.create_collection("Private", namespace="acme", private=True).slug
    public = api.create_collection("Public", namespace="acme").slug
    body = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": "a.b.c", "resource": "acme/x",
    }  # fmt: skip
    request = urllib.request.Request(f"{url}/oauth/token", json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:
        keyless = HfApi(endpoint=url, token=json.load(answer)["access_token"])
    for change in (
        lambda: keyless.create_collection("New", namespace="acme"),
        lambda: keyless.add_collection_item(public, "acme/x", "model"),
        lambda: keyless.delete_collection(public),
    ):
        with refused(403):
            change()
    with refused(404):
        keyless.get_collection(private)
    assert [c.slug for c in keyless.list_collections()] == [public]


def test_a_list_is_filtered_and_comes_in_pages(api: HfApi, url: str, tmp_path: Path) -> None:
    """Every collection is listed once over the pages, the last changed first, with at most four of its items."""
    slugs = [api.create_collection(f"Number {n}", namespace=("acme", "alice")[n % 2]).slug for n in range(7)]
    for name in ("one", "two", "three"):
        api.add_collection_item(slugs[2], f"acme/{name}", "model")
    for number in ("1810.04805", "1908.08962"):
        api.add_collection_item(slugs[2], number, "paper")
    with Store(tmp_path / "hub").edit("collections.json") as document:
        for one, day in zip(document["collections"], (1, 2, 7, 3, 6, 5, 4), strict=True):
            one["lastUpdated"] = f"2026-01-0{day}T00:00:00.000Z"
    listed = list(api.list_collections())
    assert [c.slug for c in listed] == [slugs[n] for n in (2, 4, 5, 6, 3, 1, 0)]
    assert {c.slug: len(c.items) for c in listed}[slugs[2]] == 4
    assert [c.position for c in listed] == list(range(7))
    status, _ = send(url, "GET", "?limit=3")
    seen, path = [], f"{url}/api/collections?limit=3&owner=acme&owner=alice&sort=lastModified"
    for size in (3, 3, 1):
        with urllib.request.urlopen(path, timeout=20) as answer:
            page = json.load(answer)
            path = answer.headers.get("Link", "<>")[1:].partition(">")[0]
        assert (status, len(page), ["position" in one for one in page]) == (200, size, [False] * size)
        seen += [one["slug"] for one in page]
    assert (seen, path) == ([c.slug for c in listed], "")

    def found(**wanted: object) -> set[str]:
        return {c.slug for c in api.list_collections(**wanted)}  # type: ignore[arg-type]

    assert found(owner="Acme") == set(slugs[::2])
    assert found(item="models/acme/one") == found(item=["papers/1908.08962", "models/acme/two"]) == {slugs[2]}
    assert found(item="datasets/acme/one") == found(owner="nobody") == set()
    assert len(found(limit=2)) == 2
    _, text = send(url, "GET", "?q=number%205")
    assert [one["slug"] for one in text] == [slugs[5]]  # type: ignore[index]
    moved = api.update_collection_metadata(slugs[6], position=0)
    assert [api.get_collection(slug).position for slug in (slugs[6], slugs[0], slugs[4])] == [moved.position, 1, 3]


def test_items_added_at_once_are_all_kept(api: HfApi) -> None:
    """Of items added at the same time none is lost, and one that is added often is there once."""
    slug = api.create_collection("Sizes").slug
    wanted = [f"{1000 + n}.12345" for n in range(20)]

    def add(name: str) -> None:
        api.add_collection_item(slug, name, "paper", exists_ok=True)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, wanted * 2))
    assert sorted(names(api.get_collection(slug))) == wanted


def test_whatever_is_sent_is_answered_and_nothing_is_kept_of_it(api: HfApi, url: str) -> None:
    """Hostile bodies and addresses get a 4xx or 501 with a reason, and change nothing."""
    slug = api.create_collection("Sizes").slug
    api.add_collection_item(slug, "acme/one", "model", note="note")
    before = api.get_collection(slug)
    item = f"/{slug}/items/{before.items[0].item_object_id}"
    good = {"title": "Fine", "namespace": "alice", "item": {"id": "acme/two", "type": "model"}}
    bad: list[bytes] = [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'"title"']
    for method, path, extras in (
        ("POST", "", [{"title": ""}, {"title": 1}, {"title": "x" * 61}, {"title": "\ud800"}, {"namespace": "acme/x"},
                      {"namespace": "../x"}, {"namespace": 7}, {"private": "yes"}, {"description": "x" * 151}]),
        ("PATCH", f"/{slug}", [{"title": " "}, {"title": []}, {"theme": "plaid"}, {"theme": 1}, {"private": 1},
                               {"position": -1}, {"position": 1.5}, {"position": True}, {"description": {}}]),
        ("POST", f"/{slug}/items", [{"item": 1}, {"item": {"id": 1, "type": "model"}}, {"item": {"id": "acme/two"}},
                                    {"note": "x" * 501}, {"note": 1}, {"item": {"id": "\ud800", "type": "model"}},
                                    {"item": {"id": "../../x", "type": "model"}}, {"item": {"id": "a", "type": []}}]),
        ("PATCH", item, [{"position": -1}, {"position": "0"}, {"note": "x" * 501}, {"note": []}]),
    ):  # fmt: skip
        for body in bad + [json.dumps({**good, **extra}).encode() for extra in extras]:
            status, answer = send(url, method, path, body)
            assert 400 <= status < 500, (method, path, body[:80], status, answer)
            assert isinstance(answer["error"], str)
    number = slug[-24:]
    for method, path, expected in (
        ("GET", "/alice/x", 404), ("GET", f"/bob/sizes-{number}", 404), ("GET", f"/alice/sizes{number}", 404),
        ("GET", f"/alice/a%2Fb-{number}", 404), ("GET", f"/%00/{number}", 404), ("DELETE", "/alice/x", 404),
        ("GET", "?limit=x", 400), ("GET", "?cursor=-1", 400), ("GET", "?sort=odd", 400), ("GET", "?cursor=99999", 200),
        ("PATCH", f"/{slug}/items/x", 404), ("DELETE", f"/{slug}/items/%2e%2e", 404), ("PUT", f"/{slug}", 501),
        ("POST", f"/{slug}/upvote", 501), ("GET", f"/{slug}/items", 501), ("PATCH", "", 501),
    ):  # fmt: skip
        status, answer = send(url, method, path, b"{}" if method in ("PATCH", "POST", "PUT") else None)
        assert status == expected, (method, path, status, answer)
    assert api.get_collection(slug) == before
    assert len(list(api.list_collections())) == 1
