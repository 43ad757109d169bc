"""What `--parity` names."""

from pathlib import Path

import pytest

from hubpush.catalog import REFERENCES, Divergence, Release
from hubpush.errors import CatalogError, UsageError
from hubpush.parity.references import DEFAULT, PACKAGES, Asked, parse

RELEASE = Release(name="n", title="t", source="s", license="mit", official_repo="google/x", tfhub="https://e.org/1?f=c")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("graph,tokenizer", DEFAULT),
        (" tokenizer , graph ", DEFAULT),
        ("keras,repo=a/b@v1.0.0,graph", (Asked("graph"), Asked("repo", "a/b@v1.0.0"), Asked("keras"))),
        ("tfhub=./a,b.tar.gz,graph", (Asked("graph"), Asked("tfhub", "./a,b.tar.gz"))),
        ("tfhub=https://e.org/m?x=1,2,keras", (Asked("tfhub", "https://e.org/m?x=1,2"), Asked("keras"))),
        ("tfhub,repo", (Asked("tfhub"), Asked("repo"))),
    ],
)
def test_what_is_asked_for_is_read_in_the_order_of_the_references(text: str, found: tuple[Asked, ...]) -> None:
    """Commas part references, but not within a path or a URL."""
    assert parse(text) == found


@pytest.mark.parametrize(
    "text", ["", "graph,", "mirror", "graph=x", "keras=1", "repo=", "graph,graph", "tfhub=http://example.org/m"]
)
def test_what_is_not_understood_is_a_usage_error(text: str) -> None:
    """Nothing is guessed, and nothing is left out silently."""
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize(
    ("asked", "label"),
    [
        (Asked("keras"), "keras"),
        (Asked("tfhub", "https://e.org/m/1?secret=1"), "tfhub=https://e.org/m/1"),
        (Asked("tfhub", "/home/me/module.tar.gz"), "tfhub=module.tar.gz"),
        (Asked("tfhub", "module"), "tfhub=module"),
        (Asked("repo", "a/b@main"), "repo=a/b@main"),
        (Asked("repo", "./mine/model"), "repo=model"),
        (Asked("repo", "~/model"), "repo=model"),
    ],
)
def test_labels_say_what_it_is_and_no_path_of_a_machine(asked: Asked, label: str) -> None:
    """A label holds a URL without its query, a repo, or the last part of a path."""
    assert asked.label == label


def test_the_family_says_where_what_nobody_named_is() -> None:
    """`repo` and `tfhub` alone take the release's own; what is said on the command line comes first."""
    assert Asked("repo").of(RELEASE).where == "google/x"
    assert Asked("tfhub").of(RELEASE).label == "tfhub=https://e.org/1"
    assert Asked("repo", "a/b").of(RELEASE).where == "a/b"
    bare = RELEASE.model_copy(update={"official_repo": None, "tfhub": None})
    for name in ("repo", "tfhub"):
        with pytest.raises(CatalogError, match=f"which {name} to compare with"):
            Asked(name).of(bare)
    assert Asked("graph").of(bare) == Asked("graph")


def test_divergences_are_of_a_reference_or_of_one_of_its_sources() -> None:
    """A bare name stands for whatever is given under it, a full label for that source alone."""
    every = Divergence(reference="tfhub", kind="weights", why="w")
    one = Divergence(reference="tfhub=https://e.org/m/1", kind="weights", why="w")
    other = Divergence(reference="repo", kind="activation", why="w")
    known = (every, one, other)
    assert Asked("tfhub", "https://e.org/m/1?tf-hub-format=compressed").declared(known) == (every, one)
    assert Asked("tfhub", "https://e.org/m/2").declared(known) == (every,)
    assert Asked("repo", "a/b").declared(known) == (other,)
    assert Asked("keras").declared(known) == ()


def test_every_reference_says_what_it_needs() -> None:
    """The table of packages has a row for each, and the package has a module or function that runs it."""
    assert tuple(PACKAGES) == REFERENCES
    folder = Path(__file__).parents[1] / "hubpush" / "parity"
    assert {f"{name}.py" for name in ("graph", "tokenizer", "tfhub", "keras")} <= {p.name for p in folder.iterdir()}
