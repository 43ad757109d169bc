"""Laws of the model card."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi
from markdown_it import MarkdownIt
from pydantic import ValidationError

from hubpush import card, catalog, localhub, metadata, remote, templating
from hubpush.errors import CardError
from hubpush.manifest import Past
from tests import records

GOLDEN = Path(__file__).parent / "golden"
# The real ones are drawn in tests/test_chart.py.
PICTURE = {card.CHART: b"a picture"}
STATES = {
    "pass": records.report(),
    "known-divergence": records.report(known=True),
    "fail": records.report(wrong=True),
    "not-run": None,
}


def _context(
    tmp_path: Path, state: str = "pass", family: catalog.Family | None = None, **model: object
) -> card.Context:
    family = family or records.family()
    build = records.build(records.write_folder(tmp_path / "model"), parity=STATES[state], **model)
    history = (Past(version="1.0.0", date="2026-11-22", change="first release", verdict=build.verdict),)
    command = "hubpush convert-and-upload --org acme tiny-0"
    return card.context(family, family.releases[0], "acme/tiny-0", command, build, history, images=PICTURE)


def _tables(text: str) -> list[list[str]]:
    tables: list[list[str]] = []
    fenced, inside = False, False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        row = line.startswith("|") and not fenced
        if row and not inside:
            tables.append([])
        if row:
            tables[-1].append(line)
        inside = row
    return tables


def _check(text: str) -> None:
    """What holds for every card."""
    assert re.findall(r"\bNone\b|\bnan\b|\{\{|\{%|More Information Needed|\n\n\n|Undefined", text) == []
    assert text.count("```") % 2 == 0
    for table in _tables(text):
        columns = {len(re.findall(r"(?<!\\)\|", row)) for row in table}
        assert len(columns) == 1, table
        assert re.fullmatch(r"\|(:?-+:?\|)+", table[1]), table
    headings = {
        re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)
    }
    for anchor in re.findall(r"\]\(#([^)]*)\)", text):
        assert anchor in headings, anchor
    published = {"hubpush.json", *(PICTURE if "## Conversion parity\n\n**NOT RUN" not in text else ())}
    assert set(re.findall(r"\]\(([^)#:]+)\)", text)) <= published
    assert metadata.check_card(text) == []
    _, body = metadata.split_front_matter(text)
    html = MarkdownIt("commonmark").enable("table").render(body)
    assert "<h2>Conversion parity</h2>" in html
    assert html.count("<table>") == len(_tables(text))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("release", [r.name for r in catalog.load(catalog.locate("bert-miniatures"))[0].releases])
def test_every_release_in_every_state_gives_a_sound_card(tmp_path: Path, release: str, state: str) -> None:
    """No card of the shipped family has a hole, a broken table, a dead anchor or metadata the Hub refuses."""
    whole, _ = catalog.load(catalog.locate("bert-miniatures"))
    one = next(r for r in whole.releases if r.name == release)
    build = records.build(records.write_folder(tmp_path / "model"), parity=STATES[state])
    history = (Past(version="1.0.0", date="2026-11-22", change="first release", verdict=build.verdict),)
    context = card.context(whole, one, f"acme/{release}", "hubpush …", build, history, images=PICTURE)
    _check(card.render(context).text)


def test_the_hubs_own_check_says_what_ours_says(tmp_path: Path) -> None:
    """The embedded Hub's endpoint, asked through the real client, finds nothing wrong with any card of the family."""
    family, _ = catalog.load(catalog.locate("bert-miniatures"))
    build = records.build(records.write_folder(tmp_path / "model"), parity=STATES["pass"])
    first = Past(version="1.0.0", date="2026-11-22", change="first release", verdict=build.verdict)
    with localhub.serve(tmp_path / "hub") as url:
        api = HfApi(endpoint=url, token="embedded")
        for one in family.releases:
            seen = card.context(family, one, f"acme/{one.name}", "hubpush …", build, [first], images=PICTURE)
            text = card.render(seen).text
            assert remote.check_card(api, f"acme/{one.name}", text) == []
            api._validate_yaml(text, repo_type="model")


CLASSIFIER = {
    "class": "BertForSequenceClassification",
    "heads": ("classifier", "pooler"),
    "config": {
        **records.CONFIG,
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "negative", "1": "positive"},
    },
}
DEMO = {
    "class": "BertModel",
    "heads": (),
    "activation": "gelu",
    "config": {**records.CONFIG, "architectures": ["BertModel"], "hidden_act": "gelu", "num_hidden_layers": 6},
}
OVERRIDE = {
    "sections/limits.md.jinja": "## Limits\n\nOurs. {% include '!builtin/sections/limits.md.jinja' %}\n",
    "card.md.jinja": "{% extends '!builtin/card.md.jinja' %}{% block scores %}{% endblock %}"
    "{% block extra %}## House rules\n\nAsk before you use {{ release.title | cell }}.\n{% endblock %}",
}
TF_HUB = "https://tfhub.dev/google/small_bert/bert_uncased_L-4_H-768_A-12/1"


def _miniature(name: str) -> tuple[catalog.Family, catalog.Release]:
    family, _ = catalog.load(catalog.locate("bert-miniatures"))
    return family, next(one for one in family.releases if one.name == f"bert_uncased_{name}")


def _golden(case: str, folder: Path) -> str:
    """The cards that are kept, each of a state that people will see."""
    family, release = _miniature("L-2_H-128_A-2")
    state, model, own = "pass", {}, {}
    match case:
        case "divergence":
            family, release = _miniature("L-4_H-768_A-12")
            state = "known-divergence"
        case "fail" | "not-run":
            state = case
        case "demo":
            family, _ = catalog.load(Path("examples/minilm.toml"))
            release, model = family.releases[0], DEMO
        case "classifier":
            family = catalog.single("acme/mine", "mine.zip", license="mit", task="text-classification")
            release, model = family.releases[0], CLASSIFIER
        case "override":
            own = OVERRIDE
    parity = STATES[state]
    if case == "divergence":
        parity = records.report(known=True, module=TF_HUB, declared=release.divergences[1])
    build = records.build(records.write_folder(folder), parity=parity, **model)
    first = Past(version="1.0.0", date="2026-11-22", change="first release", verdict=build.verdict)
    command = f"hubpush convert-and-upload --org acme {release.name}"
    digest = templating.sha256(own)
    seen = card.context(family, release, f"acme/{release.name}", command, build, [first], digest, PICTURE)
    return card.render(seen, templates=own).text


@pytest.mark.parametrize("case", ["pass", "divergence", "fail", "not-run", "demo", "classifier", "override"])
def test_cards_are_the_golden_ones(tmp_path: Path, case: str) -> None:
    """A card changes only when somebody means it to; HUBPUSH_UPDATE_GOLDEN=1 writes new golden files."""
    text = _golden(case, tmp_path / "model")
    _check(text)
    # Templates change as a whole; their digest says nothing about what a card looks like.
    text = re.sub(r"SHA-256 `[0-9a-f]{12}`", "SHA-256 `…`", text)
    path = GOLDEN / f"card-{case}.md"
    if os.environ.get("HUBPUSH_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8", newline="\n")
    assert path.read_text(encoding="utf-8") == text, (
        f"{path.name} differs; HUBPUSH_UPDATE_GOLDEN=1 accepts the new card"
    )


def test_a_yanked_version_says_so_and_is_sound(tmp_path: Path) -> None:
    """The caution stands at the top with its reason, in any words, and the versions tell which one it was."""
    build = records.build(records.write_folder(tmp_path / "model"), parity=STATES["pass"])
    shared: dict[str, Any] = {"date": "2026-11-22", "verdict": "pass", "conversion": build.conversion}
    history = [
        Past(version="1.0.0", change="first release", yanked="wrong | <b>vocabulary</b>", **shared),
        Past(version="1.0.1", change="v1.0.0 yanked", **shared),
    ]
    family = records.family()
    seen = card.context(family, family.releases[0], "acme/tiny-0", "hubpush …", build, history, images=PICTURE)
    text = card.render(seen).text
    _check(text)
    head, table = text.split("## Facts")[0], text.split("## Versions")[1]
    assert "> **Caution:** these weights were yanked: wrong \\| &lt;b&gt;vocabulary" in head
    assert table.count("**Yanked:**") == 1


def test_the_verdict_stands_at_the_top_in_words(tmp_path: Path) -> None:
    """PASS, FAIL and NOT RUN are equally visible: in the first lines, as text and not as a colour."""
    words = {"pass": "Parity: PASS", "fail": "parity FAILED", "not-run": "parity was NOT RUN"}
    for state, word in words.items():
        head = card.render(_context(tmp_path, state)).text.split("## Facts")[0]
        assert word in head
        assert not any(other in head for other in words.values() if other != word)


def test_a_family_of_few_facts_gives_a_card_without_empty_sections(tmp_path: Path) -> None:
    """What nobody knows is left out: no heading stands without text under it."""
    family = catalog.single("acme/mine", "mine.zip", license="mit")
    text = card.render(_context(tmp_path, family=family)).text
    _check(text)
    for absent in ("## Training", "## GLUE", "## Family", "datasets:", "language:"):
        assert absent not in text
    assert not re.search(r"^## .*\n+(?=## |<!-- hubpush:end)", text, flags=re.M)


def test_rendering_twice_anywhere_gives_the_same_bytes(tmp_path: Path) -> None:
    """Time zone, locale and hash seed leave no trace in a card."""
    context = _context(tmp_path)
    record = tmp_path / "context.json"
    record.write_text(context.model_dump_json())
    script = (
        "import json, sys; from hubpush import card; "
        "d = json.load(open(sys.argv[1])); sys.stdout.buffer.write(card.render(card.Context(**d)).text.encode()); "
        "assert not {'torch', 'tensorflow', 'transformers'} & sys.modules.keys()"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script, str(record)],
            env={**os.environ, "TZ": zone, "LC_ALL": locale, "PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            capture_output=True,
            check=True,
        ).stdout
        for zone, locale, seed in (("UTC", "C", "1"), ("Asia/Tokyo", "de_DE.UTF-8", "2"))
    }
    assert outputs == {card.render(context).text.encode()}


def test_a_persons_text_is_kept_where_it_stood(tmp_path: Path) -> None:
    """Text outside the markers survives a new rendering where it stood; generated text is replaced."""
    context = _context(tmp_path, "not-run")
    first = card.render(context).text
    mine = "I fine-tuned this on cat pictures.\n\n| a | b |\n|--|--|\n| 1 | 2 |"
    edited = first.replace("<!-- hubpush:end usage -->", f"<!-- hubpush:end usage -->\n\n{mine}")
    again = card.render(_context(tmp_path, "pass"), edited).text
    assert mine in again
    assert again.index("hubpush:end usage") < again.index(mine) < again.index("hubpush:begin parity")
    assert "NOT RUN" not in again
    assert card.render(_context(tmp_path, "pass"), again).text == again


def test_a_card_without_markers_is_kept_at_the_end() -> None:
    """A README.md that a person wrote before the first release stands behind the generated card."""
    merged = card.merge(
        {"title": "<!-- hubpush:begin title -->\n# T\n<!-- hubpush:end title -->"},
        "---\na: 1\n---\n\n# Old\ntext\n",
        {"title"},
    )
    assert merged.endswith("# Old\ntext")
    assert merged.startswith("<!-- hubpush:begin title -->")


def test_generated_parts_do_not_depend_on_what_stands_around_them(tmp_path: Path) -> None:
    """Drift is told by the generated parts alone: text added around them is none, a character in them is."""
    text = card.render(_context(tmp_path)).text
    around = text.replace("<!-- hubpush:end facts -->", "<!-- hubpush:end facts -->\n\nhello")
    assert card.generated(around) == card.generated(text)
    for old, new, part in (
        ("| Attention heads | 4 |", "| Attention heads | 5 |", "facts"),
        ("license: apache-2.0", "license: mit", "front matter"),
    ):
        changed = card.generated(text.replace(old, new))
        assert {name for name, digest in card.generated(text).items() if changed[name] != digest} == {part}


def _strings(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all texts in a value, those of keys too."""
    if isinstance(value, str):
        yield at
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, (*at, key))
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from _strings(inner, (*at, n))


def _with(value: Any, at: tuple[Any, ...], text: str) -> Any:
    if not at:
        return text
    if isinstance(value, dict):
        return {**value, at[0]: _with(value[at[0]], at[1:], text)}
    return [_with(inner, at[1:], text) if n == at[0] else inner for n, inner in enumerate(value)]


# What the code itself looks up by; the records that hold it are refused when it is another word.
FIXED = {
    ("chart",),
    ("pipeline_tag",),
    ("verdict",),
    ("model", "architecture"),
    ("model", "class"),
    ("config", "dtype"),
}
MARKDOWN = MarkdownIt("gfm-like", {"linkify": False, "html": True})


def _shape(text: str) -> tuple[Any, ...]:
    """What a card consists of: its metadata's keys, its headings, and its tables with their columns and rows."""
    front, body = metadata.split_front_matter(text)
    tokens = MARKDOWN.parse(body)
    kinds = [one.type for one in tokens if one.type in ("heading_open", "fence", "tr_open", "th_open", "td_open", "hr")]
    raw = [one.content for one in tokens if one.type == "html_block"]
    inline = [child for one in tokens for child in one.children or ()]
    raw += [one.content for one in inline if one.type == "html_inline"]
    links = [str(one.attrs["href"]).partition(":")[0] for one in inline if one.type == "link_open"]
    unsafe = [
        one for one in links if one not in ("https", "http") and not one.startswith("#") and one != "hubpush.json"
    ]
    return list(yaml.safe_load(str(front))), kinds, sorted(set(raw)), unsafe


BLOCKS = "| | |\n|--|--|\n| x | y |\n\n## Usage\n\n```python\nimport os\n```\n</details>\n<!-- hubpush:end title -->\n"
HOSTILE = {
    "words first": "a|b `c` <script>alert(1)</script> {{ 1 + 1 }} *x* [y](javascript:z) ```\n# H\n" + BLOCKS,
    "lines first": '\n---\nlicense: mit\n---\n"><img src=x onerror=alert(1)>\u202e\x1b[2J\x00\n' + BLOCKS,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_values_in_every_field_break_nothing(tmp_path: Path, kind: str) -> None:
    """No text that a template sees opens a cell, row, heading, tag, unsafe link or metadata key, wherever it stands."""
    values = json.loads(_context(tmp_path, "known-divergence", _full_family()).model_dump_json())
    shape = _shape(card.render(card.Context(**values)).text)
    places = [at for at in _strings(values) if at not in FIXED and at[0] not in ("tag", "repo_id")]
    assert len(places) > 200
    broken = []
    for at in places:
        try:
            text = card.render(card.Context(**_with(values, at, HOSTILE[kind]))).text
        except CardError:  # what the Hub would refuse, as a licence, is refused
            continue
        except ValidationError:  # what no release can be, as a name
            assert at[0] == "release"
            continue
        if _shape(text) != shape:
            broken.append(at)
    assert broken == []


def _full_family() -> catalog.Family:
    """With a value for all that a card can show."""
    return records.family(
        5,
        training="Trained.",
        intended_use="Used.",
        limitations="Limited.",
        note="Noted.",
        homepage="https://example.org",
        arxiv=("1810.04805",),
        citations=("@misc{x}",),
        official_repo="google/tiny",
        glue={"Score": 1.0},
        glue_note="Theirs.",
        license="other",
        license_name="my-licence",
        license_link="https://example.org/licence",
        divergences=({"reference": "repo", "kind": "config", "why": "Other.", "link": "https://example.org"},),
    )


def test_megabytes_make_no_megabyte(tmp_path: Path) -> None:
    """A text of a megabyte, wherever it stands, leaves a card that a person can load, or an error."""
    values = json.loads(_context(tmp_path, "fail", _full_family()).model_dump_json())
    usual = len(card.render(card.Context(**values)).text)
    for at in list(_strings(values))[::5]:
        if at in FIXED:
            continue
        try:
            text = card.render(card.Context(**_with(values, at, "x|" * (1 << 19)))).text
        except (CardError, ValidationError):
            continue
        assert len(text) < usual + 150_000, at


def test_what_was_left_out_is_a_list(tmp_path: Path) -> None:
    """Each reason is an item of its own, and the text behind the list is none."""
    dropped = {"Adam's moments": ("a/adam_m", "a/adam_v"), "the training step counter": ("global_step",)}
    html = MarkdownIt("gfm-like", {"linkify": False}).render(card.render(_context(tmp_path, dropped=dropped)).text)
    assert "<li>Adam's moments: 2 variables</li>\n<li>the training step counter: 1 variable</li>\n</ul>" in html


def test_no_text_ends_a_region(tmp_path: Path) -> None:
    """A marker in a family's text is shown as text: it opens and ends nothing, and the next rendering keeps no copy."""
    family = records.family(note="Ends <!-- hubpush:end title --> here.")
    text = card.render(_context(tmp_path, family=family)).text
    assert text.count("<!-- hubpush:end title -->") == 1
    assert card.render(_context(tmp_path, family=family), text).text == text


def test_metadata_says_what_the_release_says(tmp_path: Path) -> None:
    """The front matter holds licence, language, task and datasets of the family file, and no base_model."""
    text = card.render(_context(tmp_path)).text
    front, _ = metadata.split_front_matter(text)
    data = yaml.safe_load(front)
    assert data["license"] == "apache-2.0"
    assert data["language"] == ["en"]
    assert data["pipeline_tag"] == "fill-mask"
    assert data["library_name"] == "transformers"
    assert data["datasets"] == ["bookcorpus/bookcorpus"]
    assert "base_model" not in data


def test_wrong_facts_are_refused_before_anything_is_fetched() -> None:
    """A licence or language that the Hub would refuse is named at once."""
    release = records.family(license="apache2", language=("EN",)).releases[0]
    with pytest.raises(CardError, match=r"(?s)license.*language"):
        card.check_facts(release)


@pytest.mark.parametrize(
    "change",
    [
        {"family": {"title": "Other"}},
        {"family": {"summary": "Other."}},
        {"release": {"arxiv": ("1810.04805",)}},
        {"release": {"license": "mit"}},
        {"repo_id": "other/tiny-0"},
        {"siblings": 2},
    ],
    ids=str,
)
def test_every_stated_fact_is_part_of_the_identity(change: dict[str, Any]) -> None:
    """Whatever a card states beside the measurements makes another card when it changes."""
    family = records.family(change.get("siblings", 1)).model_copy(update=change.get("family", {}))
    release = family.releases[0].model_copy(update=change.get("release", {}))
    family = family.model_copy(update={"releases": (release, *family.releases[1:])})
    before = card.facts(records.family(), records.family().releases[0], "acme/tiny-0")
    assert card.facts(family, release, change.get("repo_id", "acme/tiny-0")) != before


def test_a_copy_is_called_one_by_its_owner(tmp_path: Path) -> None:
    """The authors' own organisation publishes no copy, whatever the repo is called there; siblings stand beside it."""
    build = records.build(records.write_folder(tmp_path / "model"))
    history = (Past(version="1.0.0", date="2026-11-22", change="first release", verdict=build.verdict),)
    family = records.family(2, official_repo="google/something")
    own = card.context(family, family.releases[0], "google/tiny-0", "hubpush …", build, history)
    other = card.context(family, family.releases[0], "acme/tiny-0", "hubpush …", build, history)
    assert (own.is_copy, other.is_copy) == (False, True)
    assert [s["repo_id"] for s in other.siblings] == ["acme/tiny-0", "acme/tiny-1"]


def test_the_title_states_the_float64_difference(tmp_path: Path) -> None:
    """The number at the top is that of the proof, not the larger one of float32."""
    context = _context(tmp_path)
    exact = next(r for r in STATES["pass"]["references"] if r["as_published"] and r["dtype"] == "float64")
    assert context.worst == exact["worst"]


def test_the_widget_speaks_the_models_language(tmp_path: Path) -> None:
    """An English example is offered for English fill-mask models alone."""
    english, german = records.family().releases[0], records.family(language=("de",)).releases[0]
    assert "widget" in card.front_matter(english, "bert", "fill-mask")
    assert "widget" not in card.front_matter(german, "bert", "fill-mask")
    assert "widget" not in card.front_matter(english, "bert", "feature-extraction")


def test_text_before_the_card_is_kept(tmp_path: Path) -> None:
    """What a person wrote above the first generated part goes to the end, and is not lost."""
    first = card.render(_context(tmp_path)).text
    yaml_text, body = metadata.split_front_matter(first)
    again = card.render(_context(tmp_path), f"---\n{yaml_text}\n---\nMind the step.\n\n{body}").text
    assert again.rstrip().endswith("Mind the step.")


def test_what_the_hub_would_refuse_is_not_rendered(tmp_path: Path) -> None:
    """Metadata that the Hub refuses stops the card before anything is pushed."""
    family = records.family(license="apache-3.0")
    with pytest.raises(CardError, match="license"):
        card.render(_context(tmp_path, family=family))


MARKED = "<!-- hubpush:begin {0} -->\n{1}\n<!-- hubpush:end {0} -->"


def test_regions_that_are_not_ours_are_a_persons_text() -> None:
    """Text between markers of a name that no version generated is kept, and is no part of the card's digests."""
    card_text = card.merge({"title": MARKED.format("title", "old")}, None, {"title"})
    edited = f"{card_text}\n\n{MARKED.format('mine', 'my words')}\n"
    again = card.merge({"title": MARKED.format("title", "new")}, edited, {"title"})
    assert MARKED.format("mine", "my words") in again
    assert "old" not in again


def test_a_region_that_is_there_twice_is_drift() -> None:
    """A changed copy of a generated part, before or behind the real one, changes its digest."""
    real = MARKED.format("title", "real")
    digest = card.generated(f"x\n{real}\n")["title"]
    for text in (f"{MARKED.format('title', 'copy')}\n{real}", f"{real}\n{MARKED.format('title', 'copy')}"):
        assert card.generated(text)["title"] != digest


def test_a_marker_that_lost_its_other_end_swallows_nothing() -> None:
    """What stands behind a lone begin or end marker of ours stays a person's text in every later version."""
    for marker in ("<!-- hubpush:begin usage -->", "<!-- hubpush:end usage -->"):
        text = f"{marker}\nmy words\n"
        for version in ("1", "2", "3"):
            text = card.merge({"usage": MARKED.format("usage", version)}, text, {"usage"})
        assert "my words" in text
        assert text.count("<!-- hubpush:begin usage -->") == 1


def test_a_megabyte_of_markers_is_read_in_one_pass() -> None:
    """Begin markers without an end, and ends without a begin, cost no more than their length."""
    for marker in ("<!-- hubpush:begin usage -->\n", "\n<!-- hubpush:end usage -->", "<!-- hubpush:begin a -->\n"):
        text = marker * (1_000_000 // len(marker))
        assert set(card.generated(text)) <= {"front matter", "usage"}
        assert card.merge({"title": MARKED.format("title", "new")}, text, {"title", "usage"}).startswith("<!-- hubpush")


def test_line_ends_of_an_editor_are_no_change(tmp_path: Path) -> None:
    """A card that came back with other line ends is the same card, and is written with hubpush's again."""
    text = card.render(_context(tmp_path)).text
    other = text.replace("\n", "\r\n").replace("<!-- hubpush:end facts -->", "<!-- hubpush:end facts -->\r\n\r\nMine.")
    assert card.generated(other) == card.generated(text)
    again = card.render(_context(tmp_path), other)
    assert "\r" not in again.text
    assert again.words == ("Mine.",)
