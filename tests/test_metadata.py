"""Laws of the card's front matter, against the client's own code where it has any."""

from __future__ import annotations

import enum
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hubpush import metadata
from hubpush.errors import CardError
from hubpush.metadata import Problem, check_card, check_metadata, split_front_matter, write_front_matter

CARD: dict[str, Any] = {
    "language": ["en", "no"],
    "license": "apache-2.0",
    "library_name": "transformers",
    "pipeline_tag": "fill-mask",
    "tags": ["bert", "日本語", "on", "1.0", "a: b"],
    "datasets": ["bookcorpus/bookcorpus", "legacy-datasets/wikipedia"],
    "widget": [{"text": "Paris is the [MASK] of France. " * 8, "output": [{"label": "capital", "score": 0.75}]}],
    "co2_eq_emissions": {"emissions": 1e-07, "source": 'it\'s "measured"\n---\nhere'},
}
RESULT = {
    "task": {"type": "fill-mask"},
    "dataset": {"type": "owner/data", "name": "Data", "config": "en"},
    "metrics": [{"type": "accuracy", "value": 0.5}],
    "source": {"url": "https://example.org"},
}
# fmt: off
HOSTILE = [
    "---", "\n---\n", "\r---\r\n", '"', "'", "`", "!!python/object:os.system x", "\x85", "\u2028", "\xa0", "\ufeff",
    "😀", "\x00", "&a", "*a", "<<", "# x", ": ", "no", "~", "=", "{{ x }}", "1:30", "2020-01-01", " ", "\t",
]
# fmt: on
texts = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=5), max_size=4).map("".join)
values = st.recursive(
    texts | st.integers() | st.floats(allow_nan=False) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from([*metadata.RULES, "thumbnail", "self", "to_yaml", "ignore_metadata_errors", "eval_results"])


def found(**data: object) -> set[tuple[str, str]]:
    """The severity and field of every problem, without the library advice."""
    problems = check_metadata({"library_name": "transformers", **data})
    assert all(p.message and p.fix and p.field in p.message for p in problems)
    return {(p.severity, p.field) for p in problems}


@given(st.dictionaries(texts | fields, values, max_size=5))
@example({"a": "x\x85y"})  # ModelCardData().to_yaml() fails on this example and on the next four
@example({"a": "x\xa0"})
@example({"tags": ["a", "a"]})
@example({"model-index": [{"name": "n", "results": [{**RESULT, "extra": 1}]}], "z": 1})
@example({"self": 1, "to_yaml": 2, "ignore_metadata_errors": True})
@settings(deadline=None)
def test_what_is_written_reads_back_as_it_was(data: dict[str, object]) -> None:
    """Written metadata is one front matter that reads back equal, in the same order, whatever the strings contain."""
    text = write_front_matter(data)
    assert yaml.safe_load(text) == data
    assert list(yaml.safe_load(text)) == list(data)
    assert split_front_matter(f"---\n{text}\n---\nbody\n") == (text, "body\n")
    assert not any(p.field == "front matter" for p in check_card(f"---\n{text}\n---\n"))


def test_the_client_writes_the_same_bytes() -> None:
    """For ordinary metadata the YAML is ModelCardData's, and the client rewrites the card without a change."""
    from huggingface_hub import ModelCard, ModelCardData

    text = write_front_matter(CARD)
    assert text == ModelCardData(**CARD).to_yaml(original_order=list(CARD))
    content = f"---\n{text}\n---\n\n# Title\n"
    assert str(ModelCard(content)) == content
    assert check_card(content) == []


def test_none_is_left_out_and_lists_are_repeated() -> None:
    """A field without a value is not written, and a list used twice is written twice, not as an alias."""
    shared = ["en"]
    assert write_front_matter({"language": shared, "x": None, "y": shared}) == "language:\n- en\ny:\n- en"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (np.float64(0.5), "x"),
        (np.int64(1), "x"),
        ([{"score": np.float32(0.5)}], r"x\[0\].score"),
        (("a", "b"), "x"),
        ({1: "a"}, "x"),
        (enum.Enum("Kind", {"A": "a"}, type=str).A, "x"),  # type: ignore[attr-defined]
        (Path("x"), "x"),
    ],
)
def test_values_that_are_not_plain_are_refused(value: object, path: str) -> None:
    """A value that YAML would write as a Python object is refused, and the error names its key."""
    with pytest.raises(CardError, match=f"metadata {path} "):
        write_front_matter({"x": value})


def test_a_loop_is_refused() -> None:
    """Data that contains itself is refused instead of recursing."""
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(CardError, match="nested"):
        write_front_matter({"x": loop})


def test_the_pattern_is_the_clients() -> None:
    """Front matter is cut where the client, and so the Hub, cuts it."""
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    assert metadata._FRONT_MATTER.pattern == REGEX_YAML_BLOCK.pattern


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("---\na: 1\n---\nbody", ("a: 1", "body")),
        ("---\r\na: 1\r\n---\r\nbody", ("a: 1", "body")),
        ("\n\n---\na: 1\n---", ("a: 1", "")),
        ("---\na: |\n  x\n  ---\n--- \t\nbody", ("a: |\n  x\n  ---", "body")),
        ("# Title\n---\na: 1\n---\n", (None, "# Title\n---\na: 1\n---\n")),
        ("---\na: 1\n", (None, "---\na: 1\n")),
        ("", (None, "")),
    ],
)
def test_front_matter_is_split(content: str, parts: tuple[str | None, str]) -> None:
    """Front matter stands at the start between two fences, with either line ending; otherwise there is none."""
    assert split_front_matter(content) == parts


@pytest.mark.parametrize("content", ["", "# Title\n", "---\n\n---\n", "---\n# only a comment\n---\n"])
def test_a_card_without_metadata_is_warned_about(content: str) -> None:
    """A card with no metadata gets the Hub's own warning and nothing else."""
    (problem,) = check_card(content)
    assert (problem.severity, problem.message) == ("warning", "empty or missing yaml metadata in repo card")


BOMB = "a: &a [x, x]\n" + "\n".join(f"{b}: &{b} [*{a}, *{a}]" for a, b in zip("abcdefghij", "bcdefghijk", strict=True))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("license: mit\nlicense: mit", "duplicate key 'license'"),
        ("x: {a: 1, 'a': 2}", "duplicate key 'a'"),
        (BOMB, "aliases"),
        ("x: &a [*a]", "inside of what it stands for"),
        ("x: " + "[" * 30_000, "nested"),
        ("x: " + "y" * 70_000, "larger than 64 KB"),
        ("x: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("x: [", "line 1"),
        ("x: !!int ''", "not readable"),
        ("x: 2020-13-45", "not readable"),
        ("- license", "must be a mapping"),
        ("license", "must be a mapping"),
    ],
)
def test_unreadable_front_matter_is_one_error(text: str, words: str) -> None:
    """What cannot or must not be read is one error that says why."""
    (problem,) = check_card(f"---\n{text}\n---\n")
    assert problem.severity == "error"
    assert words in problem.message


def test_a_few_aliases_and_merges_are_read() -> None:
    """Aliases as people use them, and a key that overrides a merged one, are no duplicates."""
    text = "library_name: &a transformers\nx: &m {a: 1}\ny: &n {<<: *m, a: 2}\nz: {<<: [*n, *m], a: *a}"
    assert check_card(f"---\n{text}\n---\n") == []


@given(st.lists(st.sampled_from([*HOSTILE, *"[]{}:,-?|>%@", "\n", "  ", "!!", "int", "timestamp", "a"]), max_size=12))
@settings(deadline=None)
def test_no_card_makes_the_check_fail(parts: list[str]) -> None:
    """Checking reports problems and never raises, whatever stands between the fences."""
    assert all(isinstance(problem, Problem) for problem in check_card(f"---\nlicense: {''.join(parts)}\n---\n"))


@given(st.dictionaries(st.sampled_from([*metadata.RULES]), values | st.none(), max_size=6))
@settings(deadline=None)
def test_no_value_makes_the_check_fail(data: dict[str, object]) -> None:
    """Every rule answers for a value of any type."""
    assert all(isinstance(problem, Problem) for problem in check_metadata(data))


@pytest.mark.parametrize(
    ("data", "problems"),
    [
        ({"license": "mit"}, set()),
        ({"license": ["mit", "apache-2.0"]}, set()),
        ({"license": ["mit", "nope"]}, {("error", "license[1]")}),
        ({"license": 2}, {("error", "license")}),
        ({"license": "other"}, {("advice", "license_name"), ("advice", "license_link")}),
        ({"license": "other", "license_name": "x", "license_link": "LICENSE"}, set()),
        ({"language": "en"}, set()),
        ({"language": ["en", "deu", "code", "multilingual"]}, set()),
        ({"language": ["EN", "en"]}, {("error", "language[0]")}),
        ({"language": ["english", "jp", "zh-cn", ""]}, {("error", f"language[{i}]") for i in range(4)}),
        ({"language": [False]}, {("error", "language[0]")}),
        ({"widget": [{"text": "a"}]}, set()),
        ({"widget": {"text": "a"}}, {("error", "widget")}),
        ({"widget": ["a"]}, {("error", "widget[0]")}),
        ({"datasets": ["a/b"]}, set()),
        ({"datasets": ["a/b", None]}, {("error", "datasets[1]")}),
        ({"datasets": ["wikipedia"]}, {("advice", "datasets[0]")}),
        ({"pipeline_tag": "fill_mask"}, {("warning", "pipeline_tag")}),
        ({"pipeline_tag": ["fill-mask"]}, {("error", "pipeline_tag")}),
        ({"library_name": "transformer"}, {("advice", "library_name")}),
        ({"library_name": None}, {("advice", "library_name")}),
        ({"tags": "bert"}, {("error", "tags")}),
        ({"tags": ["bert", 1]}, {("error", "tags[1]")}),
        ({"metrics": ["f1", None]}, {("error", "metrics[1]")}),
        ({"base_model": "a/b"}, {("advice", "base_model_relation")}),
        ({"base_model": ["a/b"], "base_model_relation": "quantized"}, set()),
        ({"base_model": "./a b", "base_model_relation": "merge"}, {("error", "base_model")}),
        ({"base_model": "a/b", "base_model_relation": "conversion"}, {("error", "base_model_relation")}),
        ({"license": None}, {("advice", "license")}),
        ({"quantized_by": "me", "my": {"nested": [None]}}, set()),
        ({"model-index": [{"name": "n", "results": [RESULT]}]}, set()),
        ({"model-index": [{"name": "n", "results": []}]}, set()),
        ({"model-index": {"name": "n"}}, {("error", "model-index")}),
        ({"model-index": [{}]}, {("error", "model-index[0].name"), ("error", "model-index[0].results")}),
    ],
)
def test_each_rule(data: dict[str, object], problems: set[tuple[str, str]]) -> None:
    """A rule reports its severity at the place of the mistake, and nothing for what the Hub accepts."""
    assert found(**data) == problems


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"task": {}}, "task.type"),
        ({"dataset": {"type": "d"}}, "dataset.name"),
        ({"dataset": {"name": "d"}}, "dataset.type"),
        ({"dataset": {"name": "d", "type": "d", "config": 1}}, "dataset.config"),
        ({"metrics": [{"value": 1}]}, "metrics[0].type"),
        ({"metrics": [{"type": "f1"}]}, "metrics[0].value"),
        ({"metrics": [{"type": "f1", "value": None}]}, "metrics[0].value"),
        ({"source": {"name": "s"}}, "source.url"),
    ],
)
def test_each_part_of_a_model_index(change: dict[str, object], field: str) -> None:
    """Every required part of an evaluation result is asked for by its full name."""
    results = [{**RESULT, **change}]
    assert found(**{"model-index": [{"name": "n", "results": results}]}) == {
        ("error", f"model-index[0].results[0].{field}")
    }


@pytest.mark.parametrize(
    ("field", "typo", "meant"),
    [
        ("license", "Apache 2.0", "apache-2.0"),
        ("pipeline_tag", "fill_mask", "fill-mask"),
        ("library_name", "Transformer", "transformers"),
        ("base_model_relation", "quantised", "quantized"),
    ],
)
def test_a_typo_is_answered_with_what_was_meant(field: str, typo: str, meant: str) -> None:
    """A near miss of a vocabulary is named in the fix."""
    assert [p.fix for p in check_metadata({"library_name": "keras", field: typo})] == [f"did you mean {meant!r}?"]


@pytest.mark.parametrize(
    "line", ["language: no", "language: [no]", "tags: [1.0]", "tags: [2020-01-01]", f"tags: [0x{'f' * 9_000}]"]
)
def test_text_that_yaml_does_not_read_as_text_is_to_be_quoted(line: str) -> None:
    """A bare `no`, number or date where a string belongs is an error whose fix is quotes."""
    (problem,) = check_card(f"---\nlibrary_name: keras\n{line}\n---\n")
    assert (problem.severity, problem.fix) == ("error", 'put it in quotes, as "no" or "1.0"')


def test_the_vocabulary_is_whole() -> None:
    """The vocabularies have the sizes of their sources, which are named, and no entry twice."""
    vocabulary = json.loads(Path(metadata.__file__).with_name("metadata_vocab.json").read_text("utf-8"))
    assert len(vocabulary.pop("sources")) == 4
    sizes = {"licenses": 83, "pipeline_tags": 57, "library_names": 240, "languages": 184, "special_languages": 2}
    assert {name: len(set(entries)) for name, entries in vocabulary.items()} == {**sizes, "base_model_relations": 4}
    assert all(len(set(entries)) == len(entries) for entries in vocabulary.values())


def test_importing_is_cheap() -> None:
    """Importing the module loads neither the client nor the vocabulary."""
    code = (
        "import sys, hubpush.metadata as m; "
        "assert not {'huggingface_hub', 'numpy', 'pydantic'} & set(sys.modules); "
        "assert m._vocabulary.cache_info().currsize == 0"
    )
    root = str(Path(metadata.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
