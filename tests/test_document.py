"""Laws of the card of a folder: `hubpush card`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hubpush import card, document, localhub, manifest, remote
from hubpush.errors import CardError, DriftError, UsageError
from hubpush.manifest import NAME, Record
from tests import records
from tests.workshop import Result, Workshop

ME = ("--repo-id", "me/mine", "--license", "mit")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A conversion that was compared, and published nowhere."""
    place = records.write_folder(tmp_path / "mine")
    build = records.build(place, parity=records.report())
    (place / NAME).write_text(Record(build=build).model_dump_json())
    return place


def test_a_conversion_gets_its_card(folder: Path, run: Callable[..., Result]) -> None:
    """README.md and its picture are written beside the files, from what is recorded and what a person says."""
    result = run("card", folder, *ME, "--title", "My model", "--language", "en")
    assert result.code == 0, result.err
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "# My model" in text
    assert "license: mit" in text
    assert "--title 'My model'" in text
    assert (folder / card.CHART).read_bytes().startswith(b"\x89PNG")
    assert text in result.out
    recorded = manifest.read_record(folder)
    assert recorded is not None
    assert recorded.verdict == "pass"


def test_the_same_record_gives_the_same_bytes(folder: Path, run: Callable[..., Result]) -> None:
    """A second rendering changes nothing, and keeps what a person wrote around the generated parts."""
    run("card", folder, *ME)
    readme = folder / "README.md"
    first = readme.read_bytes()
    run("card", folder, *ME)
    assert readme.read_bytes() == first
    edited = first.decode().replace("<!-- hubpush:end facts -->", "<!-- hubpush:end facts -->\n\nMy own words.")
    readme.write_text(edited, encoding="utf-8")
    run("card", folder, *ME)
    assert readme.read_text(encoding="utf-8") == edited


def test_a_link_is_replaced_and_not_followed(folder: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    """In the client's cache files are links: what they lead to is shared, and stays as it is."""
    shared = tmp_path / "blob"
    shared.write_text("shared")
    (folder / "README.md").symlink_to(shared)
    assert run("card", folder, *ME).code == 0
    assert shared.read_text() == "shared"
    assert not (folder / "README.md").is_symlink()


def test_what_nobody_said_is_asked_for(folder: Path, run: Callable[..., Result], tmp_path: Path) -> None:
    """Without a licence, a repo or a record nothing is written, and the message says what is missing."""
    for arguments, code, word in (
        ((folder,), 2, "does not say --repo-id and --license"),
        ((folder, "--repo-id", "me/mine"), 2, "--license"),
        ((folder, *ME, "--family", "bert-miniatures"), 2, "belong together"),
        ((folder, "--repo-id", "mine", "--license", "mit"), 2, "no repo"),
        ((tmp_path / "nowhere",), 2, "no directory"),
        ((folder, "--repo-id", "me/mine", "--license", "MIT licence"), 16, "license"),
        ((tmp_path, *ME), 19, "nothing is recorded"),
    ):
        result = run("card", *arguments)
        assert (result.code, word in result.err) == (code, True), result.err
    assert not (folder / "README.md").exists()


def test_a_release_of_a_family_says_what_the_family_says(folder: Path, run: Callable[..., Result]) -> None:
    """With --family and --model the facts are that release's, and the siblings are its family's."""
    name = "bert_uncased_L-2_H-128_A-2"
    result = run("card", folder, "--family", "bert-miniatures", "--model", name, "--repo-id", f"acme/{name}")
    assert result.code == 0, result.err
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "# BERT-Tiny" in text
    assert "(https://huggingface.co/acme/bert_uncased_L-4_H-256_A-4)" in text


def test_the_context_is_what_templates_see(folder: Path, run: Callable[..., Result]) -> None:
    """--context prints every field with its type, description and value, and writes nothing."""
    data = json.loads(run("card", folder, *ME, "--context", "--json").out)
    assert data["values"].keys() == data["fields"].keys() == card.Context.model_fields.keys()
    assert data["values"]["repo_id"] == "me/mine"
    assert data["values"]["model"]["class"] == "BertForPreTraining"
    assert all(one["type"] and one["description"] for one in data["fields"].values())
    shown = run("card", folder, *ME, "--context").out
    assert all(f"\n{name} (" in f"\n{shown}" for name in card.Context.model_fields)
    assert not (folder / "README.md").exists()


def test_templates_of_ones_own(folder: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    """--templates replaces a section; a mistake in it writes nothing and names its place."""
    own = tmp_path / "own" / "sections"
    own.mkdir(parents=True)
    (own / "limits.md.jinja").write_text("## Limits\n\nMind {{ release.title | cell }}.\n")
    assert run("card", folder, *ME, "--templates", own.parent).code == 0
    assert "Mind mine." in (folder / "README.md").read_text()
    (folder / "README.md").unlink()
    (own / "limits.md.jinja").write_text("{{ nothing }}")
    result = run("card", folder, *ME, "--templates", own.parent)
    assert (result.code, "limits.md.jinja, line 1" in result.err) == (16, True)
    assert not (folder / "README.md").exists()


def test_a_preview_is_written(folder: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    """--preview writes the pages of the card, and says where."""
    result = run("card", folder, *ME, "--preview", "--work", tmp_path / "work", "--json")
    data = json.loads(result.out)
    page = Path(data["preview"])
    assert page.is_relative_to(tmp_path / "work")
    assert "Parity" in (page.parent / "mine.html").read_text(encoding="utf-8")
    assert [one["severity"] for one in data["metadata"]] == []


def test_a_published_version_gives_its_own_card(after: Workshop, tmp_path: Path, run: Callable[..., Result]) -> None:
    """The folder of a version renders to the very card that was published, without a family file or an option."""
    with localhub.serve(after.hub) as url:
        folder = remote.download(HfApi(endpoint=url, token="embedded"), "acme/tiny-a", "v1.0.0", tmp_path / "repos")
    before = (folder / "README.md").read_bytes()
    made = document.of_folder(folder, None, None, None, {}, None)
    assert made.text.encode() == before
    assert made.candidate.repo_id == "acme/tiny-a"
    assert run("card", folder, "--quiet").code == 0
    assert (folder / "README.md").read_bytes() == before


def test_the_hub_is_asked_only_on_request(folder: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    """--online asks the Hub's own check, whose errors and warnings are told; without it no Hub is needed."""
    with localhub.serve(tmp_path / "hub") as url:
        assert run("card", folder, *ME, "--online", "--hub", url).code == 0
        api = HfApi(endpoint=url, token="embedded")
        wrong = "---\nlicense: apache2\npipeline_tag: juggling\n---\n# x\n"
        found = remote.check_card(api, "me/mine", wrong)
        assert {one.severity for one in found} == {"error", "warning"}
        assert any("license" in one.message for one in found)
        assert remote.check_card(api, "me/mine", "---\nlicense: mit\nlibrary_name: transformers\n---\n") == []
    assert run("card", folder, *ME, "--online", "--hub", url).code == 18


def test_a_record_that_is_none_is_an_error(tmp_path: Path) -> None:
    """Folders without a record, or with one that somebody cut, are told and not guessed at."""
    with pytest.raises(DriftError):
        document.of_folder(tmp_path, "me/mine", None, None, {"license": "mit"}, None)
    (tmp_path / NAME).write_text('{"manifest": 1, "build": {}}')
    with pytest.raises(DriftError):
        document.of_folder(tmp_path, "me/mine", None, None, {"license": "mit"}, None)


def test_a_wrong_fact_is_a_usage_error(folder: Path) -> None:
    """What is no fact of a release is refused with the option that says it."""
    with pytest.raises(UsageError, match="language"):
        document.of_folder(folder, "me/mine", None, None, {"license": "mit", "language": ("",)}, None)
    with pytest.raises(CardError):
        document.of_folder(folder, "me/mine", None, None, {"license": "no-licence"}, None)


def test_the_preview_tells_of_the_very_file(folder: Path) -> None:
    """Digest and size of README.md on the page are those of the file that is written, a person's words in it."""
    (folder / "README.md").write_text("Words of Ann.\n")
    made = document.of_folder(folder, "me/mine", None, None, {"license": "mit"}, None)
    document.write(made, folder)
    shown = document.preview(made, "2026-11-27")
    (told,) = (one for one in shown.changes if one.path == "README.md")
    there = manifest.describe(folder / "README.md")
    assert (told.size, told.sha256) == (there.size, there.sha256)
    assert shown.words == ("Words of Ann.",)
    assert "Words of Ann." in shown.card


def test_the_preview_of_a_published_version_shows_what_templates_change(after: Workshop, tmp_path: Path) -> None:
    """Rendered with other templates it is an update with its difference; with its own nothing changes."""
    with localhub.serve(after.hub) as url:
        folder = remote.download(HfApi(endpoint=url, token="embedded"), "acme/tiny-a", "v1.0.0", tmp_path / "repos")
    same = document.preview(document.of_folder(folder, None, None, None, {}, None), "2026-11-27")
    assert (same.action, same.diff) == ("unchanged", "")
    (tmp_path / "own" / "sections").mkdir(parents=True)
    (tmp_path / "own" / "sections" / "limits.md.jinja").write_text("## Limits\n\nOurs.\n")
    other = document.preview(document.of_folder(folder, None, None, None, {}, tmp_path / "own"), "2026-11-27")
    assert other.action == "update"
    assert "+Ours." in other.diff
