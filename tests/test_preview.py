"""Laws of a preview: what a plan becomes, and the directory that it is written to."""

import dataclasses
import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from hubpush import page, planning, preview
from hubpush.errors import UsageError
from hubpush.manifest import describe_bytes
from hubpush.remote import Remote, RemoteFile
from tests import previews, records


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return records.write_folder(tmp_path / "model")


Family = tuple[list[preview.Preview], preview.Collection]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return previews.all_of(records.write_folder(tmp_path_factory.mktemp("family") / "model"))


def _text(html: str) -> str:
    """What a person reads of a page."""
    return unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>|<script>.*?</script>", "", html, flags=re.S)))


def _remote(step: planning.Plan) -> Remote:
    """The Hub as a plan leaves it."""
    files = {**step.manifest.files, "hubpush.json": describe_bytes(step.generated["hubpush.json"])}
    there = {path: RemoteFile(file.size, file.git_oid or "", file.sha256) for path, file in files.items()}
    there |= {"old.bin": RemoteFile(5, "", "a" * 64), ".gitattributes": RemoteFile(5, "c" * 40, None)}
    old = step.manifest.model_copy(update={"files": {**step.manifest.files, "old.bin": describe_bytes(b"12345")}})
    return Remote(True, "b" * 40, {"v1.0.0": "b" * 40}, there, old)


def test_a_first_release_is_shown_whole(folder: Path) -> None:
    """Create, every file as added with size and digest, version and bump, and no difference to compare with."""
    one = previews.one(folder)
    assert (one.action, one.version, one.bump, one.before, one.diff) == ("create", "1.0.0", "first", None, "")
    assert {change.kind for change in one.changes} == {"added"}
    assert {change.path for change in one.changes} == {file.path for file in one.files}
    shown = _text(preview.html(one, {}))
    for change in one.changes:
        assert change.path in shown
        assert str(change.sha256) in shown
    assert "v1.0.0 (first)" in shown
    assert "New: there is no card to compare it with." in shown


def test_an_update_shows_what_changes_and_whose_words_stay(folder: Path) -> None:
    """Changed and deleted files, the difference of the card, and what a person wrote around the generated parts."""
    wanted = records.candidate(folder)
    first = planning.plan(previews.NOTHING, wanted, None, "2026-11-22")
    readme = first.readme.replace("## Usage", "## How to use it") + "\nAsk <b>Ann</b>, who made this.\n"
    there = _remote(first)
    (folder / "model.safetensors").write_bytes(b"other weights")
    step = planning.plan(there, records.candidate(folder), readme, "2026-11-23")
    one = preview.of_plan(step, there, "tiny-0")
    assert (one.action, one.version, one.bump, one.parent) == ("update", "2.0.0", "major", "b" * 40)
    kinds = {change.path: change.kind for change in one.changes}
    assert kinds["model.safetensors"] == "changed"
    assert kinds["old.bin"] == "deleted"
    paths = {file.path for file in one.files}
    assert ".gitattributes" in paths
    assert "old.bin" not in paths
    shown = preview.html(one, {})
    assert '<span class="minus">-## How to use it</span>' in shown
    assert '<span class="plus">+## Usage</span>' in shown
    assert "Ask &lt;b&gt;Ann&lt;/b&gt;, who made this." in shown.split("Metadata</h2>")[0]


def test_what_stands_is_shown_as_unchanged(folder: Path) -> None:
    """No change, no difference, and the picture of the card where the record draws the very one that is published."""
    step = planning.plan(previews.NOTHING, records.candidate(folder), None, "2026-11-22")
    one = preview.of_standing(step.manifest, step.readme, "tiny-0", step.repo_id)
    assert (one.action, one.changes, one.diff) == ("unchanged", (), "")
    assert one.images.keys() == {"parity/layers.png"}
    on_hub = preview.of_standing(step.manifest, step.readme, "tiny-0", step.repo_id, remote=_remote(step))
    ours = {file.path: file for file in one.files}
    beside = {"old.bin": page.File("old.bin", 5, "a" * 64), ".gitattributes": page.File(".gitattributes", 5, None)}
    assert {file.path: file for file in on_hub.files} == ours | beside
    assert on_hub.images == one.images
    there = dict(_remote(step).files or {}) | {"parity/layers.png": RemoteFile(3, "d" * 40, None)}
    edited = replace(_remote(step), files=there)
    other = preview.of_standing(step.manifest, step.readme, "tiny-0", step.repo_id, "held", edited)
    assert page.File("parity/layers.png", 3, None) in other.files
    assert not other.images
    assert one.files == preview.of_plan(step, previews.NOTHING, "tiny-0").files
    files = {**step.manifest.files, "parity/layers.png": describe_bytes(b"another picture")}
    changed = step.manifest.model_copy(update={"files": files})
    assert not preview.of_standing(changed, step.readme, "tiny-0", step.repo_id).images
    held = preview.of_standing(step.manifest, step.readme, "tiny-0", step.repo_id, "held")
    assert held.action == "held"
    assert "lifts the hold" in preview.html(held, {})


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("pass", ["Parity: PASS", "6.3e-15", "(pooled_output); allowed", "9.5e-13"]),
        (
            "known-divergence",
            ["Parity: PASS with known divergence", "Version 1 has other weights.", "Where it is told"],
        ),
        ("fail", ["Parity: FAIL", "2.5e-01", "(layer 2); allowed", "outputs differ from layer 2 on"]),
        ("not-run", ["Parity: NOT RUN", "were not compared"]),
    ],
)
def test_the_verdict_is_loud(folder: Path, state: str, says: list[str]) -> None:
    """A sign, words, the worst number and what is allowed, before the metadata; and no other verdict there."""
    whole = preview.html(previews.one(folder, state=state), {})
    shown = re.sub(r"\s+", " ", _text(whole.split("<h2>Metadata")[0]))
    for words in says:
        assert words in shown, words
    assert shown.count("Parity:") == 1
    assert '<span class="sign"' in whole


def test_the_parts_come_in_their_order(folder: Path) -> None:
    """Plan, verdict, metadata, difference, card."""
    shown = preview.html(previews.one(folder), {})
    marks = ["What happens", "Parity: PASS", ">Metadata<", ">Changes to the card<", 'id="hub.card"', 'id="hub.files"']
    places = [shown.index(mark) for mark in marks]
    assert places == sorted(places)


def test_the_index_sorts_by_keys_that_order_as_the_cells_read(family: Family) -> None:
    """Each row has its page, a key per column, and the numbers of its model; GLUE has a column where it is known."""
    shown, collection = family
    names = preview.file_names(shown)
    html = preview.index("BERT miniatures", shown, collection)
    body = html.split("<tbody>")[1].split("</tbody>")[0]
    rows = body.split("<tr>")[1:]
    assert len(rows) == 24
    for row, one in zip(rows, shown, strict=True):
        keys = re.findall(r'data-key="([^"]*)"', row)
        assert len(keys) == 9
        assert keys[3] == str(one.parameters)
        assert keys[6] == ("" if one.worst is None else repr(one.worst["max_abs"]))
        assert f'href="{names[one.repo_id]}"' in row
    assert ">GLUE<" in html
    assert ">GLUE<" not in preview.index("t", [replace(one, glue=None) for one in shown], None)
    text = _text(html)
    for words in ("24 repos", "FAIL 1", "NOT RUN 1", "Collection: BERT miniatures", "to be created", "64.2"):
        assert words in re.sub(r"\s+", " ", text), words


def test_links_among_the_repos_lead_to_their_pages(tmp_path: Path, family: Family) -> None:
    """Every relative address of every page is a file of the preview, and what the family grid names is there."""
    shown, collection = family
    index = preview.write(tmp_path / "out", "BERT miniatures", shown, collection)
    pages = sorted(index.parent.glob("*.html"))
    assert len(pages) == 25
    found = set()
    for path in pages:
        for address in re.findall(r'href="([^"#:]+\.html)', path.read_text(encoding="utf-8")):
            assert (index.parent / address).is_file(), address
            found.add(address)
    assert len(found) == 25


def test_the_json_says_the_same_without_pictures(tmp_path: Path, family: Family) -> None:
    """Repos, changes, parity, metadata with problems, the difference, the card and the collection are in it."""
    shown, collection = family
    preview.write(tmp_path, "BERT miniatures", shown, collection)
    told = json.loads((tmp_path / "preview.json").read_text(encoding="utf-8"))
    assert told["title"] == "BERT miniatures"
    assert [one["repo_id"] for one in told["repos"]] == [one.repo_id for one in shown]
    one, first = told["repos"][2], shown[2]
    assert one["card"] == first.card
    assert one["diff"] == first.diff != ""
    assert one["words"] == list(first.words)
    assert one["worst"]["max_abs"] == first.worst["max_abs"]  # type: ignore[index]
    assert one["images"] == {"parity/layers.png": len(first.images["parity/layers.png"])}
    assert [change["path"] for change in one["changes"]] == [change.path for change in first.changes]
    assert told["collection"]["items"][0] == list(collection.items[0])


def test_a_release_without_a_plan_is_named(tmp_path: Path, folder: Path) -> None:
    """What failed is on the index and in the JSON with the reason: a family must not look whole that is not."""
    index = preview.write(tmp_path / "out", "t", [previews.one(folder)], None, {"tiny-9": "no such <archive>"})
    shown = index.read_text(encoding="utf-8")
    assert "Without a plan: 1" in shown
    assert "<b>tiny-9</b>: no such &lt;archive&gt;" in shown
    assert json.loads((tmp_path / "out" / "preview.json").read_text())["missing"] == {"tiny-9": "no such <archive>"}
    assert "Without a plan" not in preview.index("t", [previews.one(folder)])


def test_writing_again_leaves_this_preview_alone(tmp_path: Path, folder: Path) -> None:
    """Pages of an earlier preview that are no more go, a person's files stay, and the same again is the same bytes."""
    first, second = previews.one(folder), previews.one(folder, previews.family().releases[1])
    out = tmp_path / "out"
    preview.write(out, "t", [first, second])
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "mine.html").write_text("<p>mine</p>")
    preview.write(out, "t", [first, second])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {**before, "mine.html": b"<p>mine</p>"}
    preview.write(out, "t", [second])
    names = {f"{second.name}.html", "index.html", "preview.json", "mine.html"}
    assert {path.name for path in out.iterdir()} == names


@pytest.mark.parametrize("name", ["index.html", "preview.json", "bert_uncased_L-2_H-128_A-2.html"])
@pytest.mark.parametrize("is_link", [False, True])
def test_a_person_s_file_is_not_replaced(tmp_path: Path, folder: Path, name: str, is_link: bool) -> None:
    """Where a file of that name is no page of a preview, or leads elsewhere, nothing is written at all."""
    out = tmp_path / "out"
    out.mkdir()
    mine = tmp_path / "mine" if is_link else out / name
    mine.write_text("mine")
    if is_link:
        (out / name).symlink_to(mine)
    with pytest.raises(UsageError, match="no preview"):
        preview.write(out, "t", [previews.one(folder)])
    assert mine.read_text() == "mine"
    assert [path.name for path in out.iterdir()] == [name]


def test_a_place_that_is_a_file_is_named(folder: Path) -> None:
    """A preview that cannot be written is an error with a hint, and not a traceback."""
    with pytest.raises(UsageError, match="cannot be written"):
        preview.write(folder / "vocab.txt", "t", [previews.one(folder)])


def test_every_page_has_a_file_of_its_own(folder: Path) -> None:
    """Names that differ by case alone, that are the index's, or that lead elsewhere get other ones."""
    one = previews.one(folder)
    names = ["index", "a", "A", "../../etc/passwd", "", "a b", "x" * 500]
    found = preview.file_names(replace(one, name=name, repo_id=f"acme/{n}") for n, name in enumerate(names))
    assert len({name.lower() for name in found.values()}) == len(names)
    assert all(re.fullmatch(r"[\w-][\w.-]{0,105}\.html", name) for name in found.values())
    assert "index.html" not in found.values()


EVIL = '"><script>alert(1)</script>\0\x1b[31m\ud800'


@pytest.mark.parametrize("value", [EVIL, "x" * (1 << 20), EVIL * 30_000])
def test_any_text_stays_a_text(tmp_path: Path, folder: Path, value: str) -> None:
    """Hostile and endless texts in every field are escaped and cut; pages are written, and small."""
    one = previews.one(folder)
    worst = {**(one.worst or {}), "output": value}
    hostile = replace(
        one,
        name=value,
        repo_id=f"acme/{value}",
        title=value,
        version=value,
        bump=value,
        reason=value,
        parent=value,
        verdict=value,
        changes=(preview.Change("added", value, 1, value),),
        replaced=(value,),
        kept=(value,),
        words=(value,),
        worst=worst,  # type: ignore[arg-type]
        failures=(value,),
        known=((value, value),),
        card=f"---\ntags: {value}\n---\n{value}",
        before=value,
        files=(page.File(value, 1, value),),
        versions=(page.Version(value, value, value, value),),
    )
    collection = preview.Collection(value, value, value, ((hostile.repo_id, value),))
    index = preview.write(tmp_path / "out", value, [hostile], collection)
    for path in index.parent.glob("*.html"):
        shown = path.read_text(encoding="utf-8")
        assert path.stat().st_size < 3_000_000
        assert "<script>alert" not in shown
        assert not re.search("[\0-\x08\x0e-\x1f\ud800-\udfff]", shown)
    json.loads((index.parent / "preview.json").read_text(encoding="utf-8"))


def test_the_difference_of_endless_cards_is_not_computed(folder: Path) -> None:
    """Its time grows with the square of the lines: a card of thousands of them is named as changed, and that is it."""
    one = replace(previews.one(folder), card="a\n\n" * 3000, before="b\n\n" * 3000)
    assert "too long" in one.diff
    assert "too long" in preview.html(one, {})


def test_a_shelf_gives_back_what_was_put_on_it_in_the_familys_order(folder: Path, tmp_path: Path) -> None:
    """Previews come in any order, and are the same, in the order of the family, from the disk; pages of them too."""
    first, second = previews.one(folder), dataclasses.replace(previews.one(folder), name="b", repo_id="acme/b")
    shelf = preview.Shelf(tmp_path, [first.name, "never", "b"])
    shelf.put(second)
    shelf.put(first)
    assert list(shelf.items()) == [(first.name, first), ("b", second)]
    assert len(shelf) == 2
    with pytest.raises(KeyError):
        shelf["never"]
    for place, given in (("x", shelf.values()), ("y", [first, second])):
        preview.write(tmp_path / place, "t", given)
    assert {p.name: p.read_bytes() for p in (tmp_path / "x").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "y").iterdir()
    }
