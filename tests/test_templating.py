"""Laws of the templates: hubpush's own, a person's, and what their filters let through."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, meta, nodes
from markdown_it import MarkdownIt

from hubpush import card, templating
from hubpush.catalog import Release
from hubpush.errors import CardError
from hubpush.manifest import Model, Past
from tests import records

MARKDOWN = MarkdownIt("gfm-like", {"linkify": False, "html": True})
BUILT_IN = {
    p.relative_to(templating.directory()).as_posix(): p.read_text() for p in templating.directory().rglob("*.jinja")
}


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> card.Context:
    """What a card of a passed conversion is made from."""
    family = records.family(2)
    build = records.build(records.write_folder(tmp_path_factory.mktemp("model")), parity=records.report(known=True))
    first = Past(version="1.0.0", date="2026-11-22", change="first release", verdict=build.verdict)
    return card.context(family, family.releases[0], "acme/tiny-0", "hubpush …", build, [first])


def _of(context: card.Context, own: Mapping[str, str]) -> dict[str, str]:
    return templating.render(card.values(context), own)


def _parsed(name: str) -> nodes.Template:
    environment = Environment()  # noqa: S701 - parsed, never rendered
    environment.filters = templating._environment(()).filters
    return environment.parse(BUILT_IN[name])


def test_templates_use_what_the_context_has() -> None:
    """Every name that a template asks for is a field of the context, described; and every field is asked for."""
    used = {name for one in BUILT_IN for name in meta.find_undeclared_variables(_parsed(one))}
    assert used - {"region"} == card.Context.model_fields.keys()
    assert all(field.description for field in card.Context.model_fields.values())


@pytest.mark.parametrize(("name", "known"), [("release", Release.model_fields), ("model", Model.model_fields)])
def test_templates_ask_records_for_keys_that_they_have(name: str, known: Mapping[str, Any]) -> None:
    """`release.x` and `model.x` in a template are keys of a release and of what was converted."""
    names = {field.serialization_alias or field.alias or key for key, field in known.items()}
    asked = {
        one.attr
        for template in BUILT_IN
        for one in _parsed(template).find_all(nodes.Getattr)
        if isinstance(one.node, nodes.Name) and one.node.name == name
    }
    assert asked <= names
    assert asked


def test_a_file_of_the_same_name_replaces_a_section(context: card.Context) -> None:
    """One section is another one then, the others are what they were, in the same order."""
    before = _of(context, {})
    after = _of(context, {"sections/limits.md.jinja": "Ask {{ family.title }}."})
    assert after == {**before, "limits": "Ask Tinies."}
    assert list(after) == list(before)


def test_a_card_can_extend_the_built_in_one(context: card.Context) -> None:
    """Blocks are changed, emptied and added to, and what is around them stays."""
    own = "{% extends '!builtin/card.md.jinja' %}{% block usage %}{{ super() }}More.{% endblock %}"
    own += "{% block scores %}{% endblock %}{% block limits %}{% endblock %}{% block extra %}Mine.{% endblock %}"
    before, after = _of(context, {}), _of(context, {templating.CARD: own})
    assert after["usage"] == f"{before['usage']}\n\nMore."
    assert (after["limits"], after["extra"]) == ("", "Mine.")
    assert {k: v for k, v in after.items() if k not in ("usage", "limits", "extra", "scores")} == {
        k: v for k, v in before.items() if k not in ("usage", "limits", "extra", "scores")
    }


def test_a_section_can_show_the_built_in_one(context: card.Context) -> None:
    """A section of one's own reaches the one that it replaces by !builtin."""
    own = {"sections/limits.md.jinja": "{% include '!builtin/sections/limits.md.jinja' %}\n\n\nAnd ours."}
    assert _of(context, own)["limits"] == f"{_of(context, {})['limits']}\n\nAnd ours."


def test_a_card_without_regions_is_one_part(context: card.Context) -> None:
    """What stands outside of every region is a part of its own: it is written anew, and not kept as a person's."""
    assert _of(context, {templating.CARD: "# {{ release.title }}\n"}) == {"card": "# Tiny 0"}
    text = card.render(context, templates={templating.CARD: "# {{ release.title }}\n"}).text
    again = card.render(context, text, templates={templating.CARD: "# Other\n"}).text
    assert "# Other" in again
    assert "# Tiny 0" not in again


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("sections/facts.md.jinja", "\n{{ releese.title }}", 2),
        ("sections/facts.md.jinja", "{{ model.classs }}", 1),
        ("sections/facts.md.jinja", "\n\n{% if %}", 3),
        ("sections/facts.md.jinja", "{{ 1 / 0 }}", 1),
        ("sections/facts.md.jinja", "{{ config.num_hidden_layers ~ None | length }}", 1),
        ("sections/facts.md.jinja", "{% include 'nowhere.md.jinja' %}", 1),
        ("card.md.jinja", "\n{{ region(1) }}", None),
        ("card.md.jinja", "{% for i in range(101) %}{{ region('a') }}{% endfor %}", None),
        ("sections/facts.md.jinja", "{{ [1, 2] | random }}", 1),
        ("sections/facts.md.jinja", "{{ 1 | xmlattr }}", None),
    ],
)
def test_a_mistake_names_its_file_and_line(context: card.Context, name: str, text: str, line: int | None) -> None:
    """A typo in a template is an error with its place, never a hole in the card or a traceback."""
    with pytest.raises(CardError) as caught:
        _of(context, {name: text})
    if line is not None:
        assert f"line {line}" in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cell.__globals__ }}",
        "{{ region.__globals__['os'].environ }}",
        "{{ self._TemplateReference__context.environment.loader }}",
        "{{ ''|attr('__class__') }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{% include '/etc/passwd' %}",
        "{% include '../pyproject.toml' %}",
        "{% include '!builtin/../../pyproject.toml' %}",
        "{{ release.update({'title': 'x'}) }}",
    ],
)
def test_templates_cannot_reach_the_machine(context: card.Context, text: str) -> None:
    """What climbs through Python's attributes, changes a value or reads another file is stopped."""
    with pytest.raises(CardError):
        _of(context, {"sections/facts.md.jinja": text})


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' * 2000000 }}",
        "{{ 'x' * 10 ** 10 }}",
        "{{ '%1000000000d' | format(1) }}",
        "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
    ids=["output", "product", "format", "doubling", "calls", "recursion"],
)
def test_templates_end(context: card.Context, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that writes, stores or computes without end is ended, and says so."""
    monkeypatch.setattr(templating, "_SECONDS", 2)
    with pytest.raises(CardError):
        _of(context, {"sections/facts.md.jinja": text})


def test_templates_of_a_person_see_no_environment(context: card.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that renders them gets no variable of this one but where its packages are."""
    seen: list[Mapping[str, str]] = []
    run = subprocess.run

    def watched(*args: Any, **options: Any) -> Any:
        seen.append(options["env"])
        return run(*args, **options)

    monkeypatch.setattr(subprocess, "run", watched)
    monkeypatch.setenv("HF_TOKEN", "not-for-templates")
    _of(context, {"sections/limits.md.jinja": "x"})
    assert [env.keys() for env in seen] == [{"PYTHONPATH", "PYTHONUTF8", "SYSTEMROOT"}]


def test_a_directory_of_templates_is_read_by_name(tmp_path: Path) -> None:
    """Names are paths in the directory, line ends are one kind, and what is no template is left alone."""
    (tmp_path / "sections").mkdir()
    (tmp_path / "sections" / "limits.md.jinja").write_bytes(b"a\r\nb {% include 'part.md.jinja' %}")
    (tmp_path / "part.md.jinja").write_text("c")
    (tmp_path / "README.md").write_text("d")
    found = templating.read(tmp_path)
    assert found == {"part.md.jinja": "c", "sections/limits.md.jinja": "a\nb {% include 'part.md.jinja' %}"}


def _wrong_directories(root: Path) -> Iterator[tuple[Path, str]]:
    yield root / "nowhere", "no directory"
    (root / "empty").mkdir()
    yield root / "empty", "holds no templates"
    for name, content, word in (
        ("limits.md.jinja", b"x", "did you mean sections/limits.md.jinja"),
        ("other.md.jinja", b"x", "nothing uses"),
        (
            "card.md.jinja",
            b"{% extends '!builtin/card.md.jinja' %}{% block scorse %}x{% endblock %}",
            "did you mean scores",
        ),
        ("card.md.jinja", b"x" * 70_000, "64 KB"),
        ("card.md.jinja", b"\xff\xfe", "UTF-8"),
    ):
        folder = root / f"{len(content)}-{name}"
        folder.mkdir()
        (folder / name).write_bytes(content)
        yield folder, word
    (root / "linked").mkdir()
    (root / "linked" / "card.md.jinja").symlink_to(root / "outside.jinja")
    (root / "outside.jinja").write_text("x")
    yield root / "linked", "leads out"
    (root / "many" / "sections").mkdir(parents=True)
    for n in range(51):
        (root / "many" / "sections" / f"{n}.jinja").write_text("x")
    yield root / "many", "more than 50"


def test_a_directory_that_is_no_set_of_templates_is_refused(tmp_path: Path) -> None:
    """Each mistake is named, with what to do."""
    for folder, word in _wrong_directories(tmp_path):
        with pytest.raises(CardError) as caught:
            templating.read(folder)
        assert word in f"{caught.value.message} {caught.value.hint}"


def test_the_digest_is_of_all_templates_that_make_the_card() -> None:
    """It changes with every file, name and text, of a person's templates and of hubpush's own."""
    digests = [templating.sha256(own) for own in ({}, {"a": "b"}, {"a": "c"}, {"b": "b"}, {"a": "b", "c": ""})]
    assert len(set(digests)) == len(digests)


HOSTILE = [
    "a|b `c` <script>alert(1)</script>\n---\n{{ 1 + 1 }} *x* [y](javascript:z) ```\n# H",
    "# heading",
    "- item",
    "1. item",
    "1) item",
    "> quote",
    "---",
    "===",
    "```",
    "~~~",
    "<!-- comment",
    "</details>",
    "[x]: javascript:alert(1)",
    "![x](https://example.org/x.png)",
    "<https://example.org>",
    "a\\",
    "\\|",
    "&lt;b&gt;",
    "\u202eevil\u202c\x00\x1b[31m\ud800",
    "|",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["cell", "prose"])
def test_text_from_outside_is_shown_as_text(name: str, text: str) -> None:
    """Alone on a line and in a table it makes one paragraph or one cell, with the characters it has."""
    shown = getattr(templating, name)(text)
    alone = MARKDOWN.render(shown)
    assert re.findall(r"<(?!/?(?:p|code)>)[a-z]", alone) == []
    table = MARKDOWN.render(f"| a | b |\n|--|--|\n| {shown} | end |\n")
    assert table.count("<td>") == 2
    assert "<td>end</td>" in table


def test_prose_keeps_code_and_https_links() -> None:
    """Paragraphs, code between backticks and links to https addresses are what they were."""
    html = MARKDOWN.render(
        templating.prose("One `a_b`.\n\nSee [the *paper*](https://example.org/p_1) and [x](ftp://y).")
    )
    assert html.count("<p>") == 2
    assert "<code>a_b</code>" in html
    assert '<a href="https://example.org/p_1">' in html
    assert html.count("<a ") == 1


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html,x", "//example.org", "", "https://", "x" * 2000]
)
def test_only_addresses_of_the_web_are_linked(address: str) -> None:
    """Of every other address the text stands alone."""
    assert "<a " not in MARKDOWN.render(templating.mdlink("text", address))


def test_no_address_ends_its_link() -> None:
    """Brackets, spaces, quotes and line ends in an address stay in it."""
    html = MARKDOWN.render(templating.mdlink("a](b", 'https://example.org/x) <b> "y"\n# z') + " end")
    assert html.count("<a ") == 1
    assert "<h1>" not in html
    assert "<b>" not in html
    assert html.rstrip().endswith("</a> end</p>")


def test_no_code_ends_its_fence() -> None:
    """A fence is longer than every run of backticks in it."""
    for code in ("```", "````\n# x", "a ````` b"):
        tokens = MARKDOWN.parse(templating.fence(code, "text"))
        assert [(one.type, one.content) for one in tokens] == [("fence", f"{code}\n")]


def test_long_texts_are_cut() -> None:
    """A megabyte in a cell, a paragraph, a code block or a link leaves a card of some kilobytes."""
    big = "x" * (1 << 20)
    for shown in (
        templating.cell(big),
        templating.prose(big),
        templating.fence(big),
        templating.mdlink(big, "https://example.org"),
    ):
        assert len(shown) < 20_000


def test_rendering_apart_says_what_it_says_here(context: card.Context) -> None:
    """The process of its own gives the very regions, and only what it is asked for is printed."""
    own = {"sections/limits.md.jinja": "{{ release.title | cell }} ü"}
    assert _of(context, own) == templating.regions(card.values(context), own)
    done = subprocess.run(
        [sys.executable, "-m", "hubpush.templating"],
        input="[{}, {}]",
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.startswith('{"error": "the template sections/title.md.jinja, line 1')


def test_halves_of_characters_do_not_leave_a_template(context: card.Context) -> None:
    """What no file can hold is replaced, as everywhere where text is written."""
    assert _of(context, {"sections/limits.md.jinja": "a{{ '\\ud800' }}b"})["limits"] == "a?b"


def test_the_current_directory_gives_no_code(
    context: card.Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file called as a module beside the person's own files is not run by the process that renders."""
    for name in ("json.py", "jinja2.py", "secrets.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    assert _of(context, {"sections/limits.md.jinja": "x"})["limits"] == "x"
    assert not (tmp_path / "ran").exists()
