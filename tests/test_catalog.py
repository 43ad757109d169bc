"""Laws of the family files: what they may say, and that every mistake is named at once."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import HFValidationError, validate_repo_id
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hubpush import catalog
from hubpush.architectures import ARCHITECTURES
from hubpush.catalog import (
    Family,
    Lock,
    Pin,
    Release,
    is_allowed_url,
    load,
    load_lock,
    read_labels,
    select,
    single,
    write_lock,
)
from hubpush.errors import CatalogError, UsageError
from tests import records

HEAD = 'format = 1\nname = "few"\ntitle = "Few"\nsummary = "A few."\n'
RELEASE = '[[releases]]\nname = "{}"\ntitle = "T"\nsource = "a.zip"\nlicense = "mit"\n'
SHA256 = "0123456789abcdef" * 4


def write(folder: Path, text: str | bytes) -> Path:
    """A family file with that content."""
    path = folder / "few.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def mistakes(folder: Path, text: str | bytes) -> dict[str, str]:
    """The mistakes that loading a file names, by their key."""
    with pytest.raises(CatalogError) as caught:
        load(write(folder, text))
    first, *lines = caught.value.message.split("\n")
    assert first == f"{folder / 'few.toml'} has {len(lines)} mistake{'s' * (len(lines) > 1)}:"
    found = dict(line.strip().split(": ", 1) for line in lines)
    assert len(found) == len(lines)
    return found


@pytest.fixture(scope="module")
def miniatures() -> Family:
    """The family that ships with hubpush."""
    return load(catalog.locate("bert-miniatures"))[0]


# The shipped family ---------------------------------------------------------------------------------------------------


def test_every_shipped_family_loads() -> None:
    """A name that `shipped` lists is found, loads, and is the name in the file."""
    assert "bert-miniatures" in catalog.shipped()
    for name in catalog.shipped():
        assert load(catalog.locate(name))[0].name == name


def test_the_miniatures_are_every_shape_of_the_paper_once(miniatures: Family) -> None:
    """The 24 releases are 2 to 12 layers by 128 to 768 hidden units, each once, in the order of the table."""
    shapes = [(r.config["num_hidden_layers"], r.config["hidden_size"]) for r in miniatures.releases]
    assert shapes == [(layers, hidden) for layers in (2, 4, 6, 8, 10, 12) for hidden in (128, 256, 512, 768)]
    assert len({release.name.lower() for release in miniatures.releases}) == 24
    assert len({release.source for release in miniatures.releases}) == 24
    digests = [release.data_sha256 for release in miniatures.releases if release.data_sha256]
    assert len(digests) == len(set(digests)) > 0


def test_the_miniatures_have_bert_proportions(miniatures: Family) -> None:
    """Heads are H/64, the intermediate size 4H, and L layers have the 16L+14 variables of a BERT with both heads."""
    groups = ARCHITECTURES["bert"].groups
    for release in miniatures.releases:
        config = release.config
        layers, hidden = config["num_hidden_layers"], config["hidden_size"]
        assert config["num_attention_heads"] * 64 == hidden
        assert config["intermediate_size"] == 4 * hidden
        assert (config["vocab_size"], config["max_position_embeddings"]) == (30522, 512)
        rows = [weight for name in ("embeddings", "layers", "pooler", "mlm", "nsp") for weight in groups[name]]
        assert sum(layers if "{n}" in row.variable else 1 for row in rows) == 16 * layers + 14


def test_the_miniatures_names_say_their_shapes(miniatures: Family) -> None:
    """Repo name, title, URL and the authors' repo carry the same layers, hidden size and heads as the config."""
    for release in miniatures.releases:
        layers, hidden = release.config["num_hidden_layers"], release.config["hidden_size"]
        shape = f"uncased_L-{layers}_H-{hidden}_A-{release.config['num_attention_heads']}"
        assert release.name == f"bert_{shape}"
        assert release.source == f"https://storage.googleapis.com/bert_models/2020_02_20/{shape}.zip"
        assert release.official_repo in (None, f"google/bert_{shape}")
        assert f"(L={layers}, H={hidden}, uncased)" in release.title
        assert (release.cased, release.activation, release.license) == (False, "gelu_pytorch_tanh", "apache-2.0")


def test_published_scores_are_percentages(miniatures: Family) -> None:
    """Every GLUE row has the same tasks, with scores between 0 and 100 of which not all are equal."""
    rows = [release.glue for release in miniatures.releases if release.glue]
    assert rows
    assert len({tuple(row) for row in rows}) == 1
    assert all(0 <= score <= 100 for row in rows for score in row.values())
    assert len({tuple(row.values()) for row in rows}) == len(rows)


def test_an_unknown_family_is_answered_with_the_known_ones() -> None:
    """A name that is no shipped family is an error whose hint lists them; a path is taken as it is."""
    with pytest.raises(CatalogError, match="no family 'bert-giants'") as caught:
        catalog.locate("bert-giants")
    assert "bert-miniatures" in caught.value.hint
    assert catalog.locate("mine.toml") == Path("mine.toml")
    assert catalog.locate("some/where/mine") == Path("some/where/mine")


# Mistakes ------------------------------------------------------------------------------------------------------------


def test_the_smallest_family_loads(tmp_path: Path) -> None:
    """Name, title, source and licence are enough for a release; all else has a default that says nothing."""
    family, lock = load(write(tmp_path, HEAD + RELEASE.format("one")))
    (release,) = family.releases
    assert (release.name, release.cased, release.config, release.glue) == ("one", None, {}, {})
    assert lock == Lock()


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    """One run names every wrong key of a file, in any table, and nothing that is right."""
    text = (
        'format = 2\nname = "few"\nsummary = ""\ntypo = 1\n'
        + RELEASE.format("a--b")
        + 'colour = "red"\nactivation = "relu"\nconfig = { hidden_size = "128" }\nglue = { CoLA = nan }\n'
        + RELEASE.format("two").replace('"mit"', "7")
        + 'arxiv = ["1908.08962", "1908"]\ncased = "no"\nofficial_repo = "google"\ndata_sha256 = "AB"\n'
        + RELEASE.format("three")
        + RELEASE.format("TWO").replace('"a.zip"', '"http://example.org/a.zip"')
        + 'architecture = "gpt"\n'
    )
    found = mistakes(tmp_path, text)
    assert set(found) == {
        "format",
        "title",
        "summary",
        "typo",
        "releases[0].name",
        "releases[0].colour",
        "releases[0].activation",
        "releases[0].config.hidden_size",
        "releases[0].glue.CoLA",
        "releases[1].license",
        "releases[1].arxiv[1]",
        "releases[1].cased",
        "releases[1].official_repo",
        "releases[1].data_sha256",
        "releases[3].name",
        "releases[3].source",
        "releases[3].architecture",
    }
    assert found["title"] == "is missing"
    assert found["typo"] == found["releases[0].colour"] == "is not a key here"
    assert found["releases[3].name"].startswith("is used twice (TWO)")
    assert found["releases[3].architecture"] == "must be one of: bert, electra"


def test_a_mistake_in_the_defaults_is_named_once_and_there(tmp_path: Path) -> None:
    """What the releases share is wrong in one place, and a release's own wrong value stays the release's."""
    text = HEAD + '[defaults]\ncased = "no"\ncolour = 1\nconfig = { a = 1.5 }\nlanguage = ["en", 1]\n'
    text += RELEASE.format("one") + RELEASE.format("two") + RELEASE.format("three") + 'cased = "yes"\n'
    assert set(mistakes(tmp_path, text)) == {
        "defaults.cased",
        "defaults.colour",
        "defaults.config.a",
        "defaults.language[1]",
        "releases[2].cased",
    }


def test_a_release_overrides_the_defaults(tmp_path: Path) -> None:
    """A default holds for the releases that do not say otherwise, and for those alone."""
    text = HEAD + '[defaults]\nlicense = "gpl"\ncased = true\nconfig = { hidden_size = 1, vocab_size = 2 }\n'
    text += RELEASE.format("one").replace('license = "mit"\n', "")
    text += RELEASE.format("two") + "cased = false\nconfig = { hidden_size = 3 }\n"
    one, two = load(write(tmp_path, text))[0].releases
    assert (one.license, one.cased, one.config) == ("gpl", True, {"hidden_size": 1, "vocab_size": 2})
    assert (two.license, two.cased, two.config) == ("mit", False, {"hidden_size": 3})


def test_names_are_unique_whatever_their_case(tmp_path: Path) -> None:
    """Two releases of one name, which the Hub would take for one repo, are refused at the second."""
    text = HEAD + RELEASE.format("one") + RELEASE.format("Bert") + RELEASE.format("two") + RELEASE.format("bERT")
    assert list(mistakes(tmp_path, text)) == ["releases[3].name"]


def test_one_wrong_release_is_the_only_mistake(tmp_path: Path) -> None:
    """A family whose one release is wrong is not said to be without releases; one without is."""
    assert set(mistakes(tmp_path, HEAD + RELEASE.format("a--b"))) == {"releases[0].name"}
    assert set(mistakes(tmp_path, HEAD + "releases = []\n")) == {"releases"}
    assert set(mistakes(tmp_path, HEAD)) == {"releases"}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("defaults = 1\n" + HEAD + RELEASE.format("one"), "defaults"),
        (HEAD + "releases = 1\n", "releases"),
        (HEAD + "releases = [1]\n", "releases[0]"),
        (HEAD + '[releases]\nname = "a"\n', "releases"),
        (HEAD + RELEASE.format("one") + "cased = 1\n", "releases[0].cased"),
        (HEAD + RELEASE.format("one") + "config = { a = true }\n", "releases[0].config.a"),
        (HEAD + RELEASE.format("one") + 'language = "en"\n', "releases[0].language"),
        (HEAD + RELEASE.format("one") + "glue = { a = inf }\n", "releases[0].glue.a"),
        (HEAD + RELEASE.format("one") + "note = 2020-01-01\n", "releases[0].note"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(tmp_path: Path, text: str, key: str) -> None:
    """Nothing is converted silently: a number is no flag, a string no list, a flag no number."""
    assert set(mistakes(tmp_path, text)) == {key}


BAD_NAMES = ["", ".", "..", "a..b", "a--b", "-a", "a-", ".a", "a.", "_a", "a/b", "a b", "a\\b", "é", "a.git", "a" * 97]
GOOD_NAMES = ["a", "A1", "bert_uncased_L-2_H-128_A-2", "a.b", "a-b", "x.gitx", "a" * 96]


@pytest.mark.parametrize("name", [*BAD_NAMES, "a\n", "\n", "a\u200b", "１"])
def test_a_name_that_the_hub_refuses_is_refused_here(tmp_path: Path, name: str) -> None:
    """A bad repo name is found in the family file, not after the download, and not in one repo id only."""
    assert set(mistakes(tmp_path, HEAD + RELEASE.format(name.replace("\\", "\\\\").replace("\n", "\\n")))) == {
        "releases[0].name"
    }
    for repo_id in (f"org/{name}", f"{name}/model"):
        with pytest.raises(UsageError, match="--repo-id"):
            single(repo_id, "a.zip", license="mit")


@given(st.text(alphabet=string.ascii_letters + string.digits + "._-", max_size=12) | st.sampled_from(GOOD_NAMES))
@example("a" * 96)
def test_every_name_that_is_taken_here_is_taken_by_the_client(name: str) -> None:
    """What passes our rule passes huggingface_hub's."""
    try:
        single(f"org/{name}", "a.zip", license="mit")
    except UsageError:
        assert name not in GOOD_NAMES
        return
    try:
        validate_repo_id(f"org/{name}")
    except HFValidationError as error:
        pytest.fail(f"{name!r}: {error}")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.zip",
        "ftp://example.org/a.zip",
        "file:///etc/passwd",
        "HTTP://example.org/a.zip",
        "http://127.0.0.1.example.org/a.zip",
        "http://127.0.0.1@example.org/a.zip",
        "http://localhost:80@example.org/a.zip",
        "http://localhost:@example.org/a.zip",
        "http://[::1]:pw@example.org/a.zip",
        "http://localhost:80\\@example.org/a.zip",
        "https:///a.zip",
    ],
)
def test_no_other_machine_is_asked_without_tls(tmp_path: Path, url: str) -> None:
    """A source is https, or plain http on this machine: however the URL is written, the host decides."""
    assert not is_allowed_url(url)
    text = HEAD + RELEASE.format("one").replace('"a.zip"', f"'{url}'")
    assert set(mistakes(tmp_path, text)) == {"releases[0].source"}


@pytest.mark.parametrize(
    "url",
    ["https://h/a.zip", "http://127.0.0.1:8080/a", "http://localhost/a", "http://localhost", "http://[::1]:80/a"],
)
def test_https_and_this_machine_are_allowed(url: str) -> None:
    """Encrypted HTTP everywhere and plain http on the loopback interface are taken."""
    assert is_allowed_url(url)


# Files that are no family --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format = ", "is not TOML"),
        ("a = 1\na = 2", "is not TOML"),
        ("\x00", "is not TOML"),
        ("a = " + "[" * 100_000, "is nested like no family file"),
        ("a = " + "1" * 5_000, "has a number of thousands of digits"),
        ("a = 2020-13-45", "is not TOML"),
        (b"name = '\xff'", r"is not UTF-8 \(byte 8\)"),
        (b"\xff\xfea\x00", r"is not UTF-8 \(byte 0\)"),
        ("#" * (4 * 1024 * 1024 + 1), "is larger than 4 MiB"),
    ],
)
def test_what_is_no_toml_is_said_to_be_none(tmp_path: Path, text: str | bytes, message: str) -> None:
    """Broken, binary, huge and deep files end in an error that names the file and the reason."""
    path = write(tmp_path, text)
    with pytest.raises(CatalogError, match=message) as caught:
        load(path)
    assert str(path) in caught.value.message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file and a directory are errors that name the path."""
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(CatalogError, match=re.escape(f"the family file {path} cannot be read")):
            load(path)


KEYS = st.sampled_from([*Release.model_fields, *Family.model_fields, "defaults", "x y"])
SCALARS = st.sampled_from(
    [
        '""',
        '"a"',
        "'..'",
        "0",
        "-1",
        "1e400",
        "nan",
        "true",
        "1979-05-27",
        "07:32:00",
        "9" * 400,
        "9" * 5000,
        '"\\u0000"',
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(KEYS, inner, max_size=3).map(
            lambda table: f"{{{', '.join(f'{json.dumps(k)} = {v}' for k, v in table.items())}}}"
        )
    ),
    max_leaves=6,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=4).map(
    lambda table: "".join(f"{json.dumps(k)} = {v}\n" for k, v in table.items())
)
FILES = st.lists(
    st.sampled_from(
        [HEAD, RELEASE.format("one"), RELEASE.format("ONE"), "[defaults]\n", "[[releases]]\n", "[releases.a]\n"]
    )
    | TABLES
    | st.text(max_size=10),
    max_size=6,
).map("".join)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILES)
def test_any_text_is_a_family_or_a_catalog_error(tmp_path: Path, text: str) -> None:
    """Whatever stands in a family file, loading it gives a family with unique names, or one error of the station."""
    path = tmp_path / "any.toml"
    path.write_text(text, encoding="utf-8")
    try:
        family, _ = load(path)
    except CatalogError as error:
        assert str(path) in error.message
        return
    names = [release.name.lower() for release in family.releases]
    assert len(names) == len(set(names)) > 0


# Locks ---------------------------------------------------------------------------------------------------------------


def test_a_lock_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """What is pinned is read again, beside the family file, and the keys stand sorted whatever order they came in."""
    pins = {
        "https://h/b.zip": Pin(size=5, sha256=SHA256, etag='"x"'),
        "a.zip": Pin(sha256=SHA256[::-1]),
    }
    path = tmp_path / "few.lock.json"
    write_lock(path, Lock(sources=pins))
    once = path.read_bytes()
    write_lock(path, Lock(sources=dict(reversed(pins.items()))))
    assert path.read_bytes() == once
    assert list(json.loads(once)["sources"]) == ["a.zip", "https://h/b.zip"]
    assert b"null" not in once
    assert load_lock(path).sources == pins
    assert load(write(tmp_path, HEAD + RELEASE.format("one")))[1].sources == pins


def test_an_absent_lock_pins_nothing(tmp_path: Path) -> None:
    """Without a lock file there is an empty lock."""
    assert load_lock(tmp_path / "none.lock.json") == Lock()


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("", "file"),
        ("{", "file"),
        ("[]", "file"),
        ("[" * 100_000, "file"),
        ('{"format": 2}', "format"),
        ('{"pins": {}}', "pins"),
        ('{"sources": {"a.zip": {"size": 1}}}', "sources.a.zip.sha256"),
        (f'{{"sources": {{"a.zip": {{"sha256": "{SHA256.upper()}"}}}}}}', "sources.a.zip.sha256"),
        (f'{{"sources": {{"a.zip": {{"sha256": "{SHA256}\\n"}}}}}}', "sources.a.zip.sha256"),
        (f'{{"sources": {{"a.zip": {{"sha256": "{SHA256}", "size": -1}}}}}}', "sources.a.zip.size"),
        (f'{{"sources": {{"a.zip": {{"sha256": "{SHA256}", "md5": "x"}}}}}}', "sources.a.zip.md5"),
    ],
)
def test_a_file_that_is_no_lock_is_refused_by_its_key(tmp_path: Path, content: str, key: str) -> None:
    """A damaged lock never counts as one that pins nothing: the error names the file and the key."""
    path = tmp_path / "few.lock.json"
    path.write_text(content)
    with pytest.raises(CatalogError) as caught:
        load_lock(path)
    first, *lines = caught.value.message.split("\n  ")
    assert first == f"{path} is not a lock file:"
    assert [line.partition(": ")[0] for line in lines] == [key]
    with pytest.raises(CatalogError, match="is not a lock file"):
        load(write(tmp_path, HEAD + RELEASE.format("one")))


# Selection -----------------------------------------------------------------------------------------------------------


def test_globs_choose_releases_in_the_familys_order(miniatures: Family) -> None:
    """Globs choose what any of them matches, once, case aside; without globs everything is chosen."""
    assert select(miniatures, ()) == miniatures.releases
    chosen = [r.name for r in select(miniatures, ["*_A-12", "BERT_uncased_L-2_*", "*L-2_H-768*"])]
    shapes = ["L-2_H-128_A-2", "L-2_H-256_A-4", "L-2_H-512_A-8", *(f"L-{n}_H-768_A-12" for n in (2, 4, 6, 8, 10, 12))]
    assert chosen == [f"bert_uncased_{shape}" for shape in shapes]


def test_a_glob_is_for_the_whole_name(miniatures: Family) -> None:
    """`L-2` does not choose `L-12`, and part of a name chooses nothing."""
    assert [r.name for r in select(miniatures, ["*_L-2_H-128_*"])] == ["bert_uncased_L-2_H-128_A-2"]
    with pytest.raises(CatalogError):
        select(miniatures, ["L-2"])


def test_a_glob_without_a_match_is_an_error_even_beside_one_with(miniatures: Family) -> None:
    """A misspelt name is never left out silently."""
    with pytest.raises(CatalogError, match=r"no release of bert-miniatures matches 'bert-typo\*'") as caught:
        select(miniatures, iter(["*", "bert-typo*"]))
    assert "hubpush catalog" in caught.value.hint


# One checkpoint without a family -------------------------------------------------------------------------------------


def test_a_single_checkpoint_is_a_family_of_one() -> None:
    """Repo id, source and facts become one release with the same defaults as a family file's."""
    facts: dict[str, Any] = {"license": "mit", "cased": True, "language": ("de",), "config": {"hidden_size": 128}}
    family = single("my-org/My-Bert", "/data/bert.zip", **facts)
    (release,) = family.releases
    assert family.name == release.name == release.title == "My-Bert"
    assert release.source == "/data/bert.zip"
    assert {key: getattr(release, key) for key in facts} == facts
    assert (release.architecture, release.activation) == (None, None)


@pytest.mark.parametrize("repo_id", ["", "x", "/", "x/", "/x", "a/b/c", "o--o/x", "o/x..y", "o/x ", "../x", "o/x.git"])
def test_a_repo_id_that_is_none_is_refused(repo_id: str) -> None:
    """A repo id is OWNER/NAME, and the error repeats what was given."""
    with pytest.raises(UsageError, match=re.escape(f"--repo-id {repo_id!r}")):
        single(repo_id, "a.zip", license="mit")


def test_wrong_facts_are_all_named() -> None:
    """Facts of a single checkpoint are held to the family file's rules, and all that are wrong are named."""
    with pytest.raises(UsageError) as caught:
        single("o/x", "http://example.org/a.zip", activation="relu", architecture="gpt", colour="red")
    keys = [part.partition(": ")[0] for part in caught.value.message.split("; ")]
    assert sorted(keys) == ["--activation", "--architecture", "--colour", "--license", "--source"]


def test_what_a_release_cannot_mean_is_refused(tmp_path: Path) -> None:
    """A size that the architecture has not, a nameless licence and a password in a URL are mistakes of the file."""
    for line, words in (
        ("config = { num_hidden_layer = 2 }", "num_hidden_layer is not a size"),
        ('license = "other"', "license_name"),
        ('source = "https://me:secret@example.org/a.zip"', "password"),
        ('arxiv = ["https://arxiv.org/abs/1810.04805"]', "arXiv id"),
        ('licence = "mit"', "did you mean license?"),
    ):
        text = RELEASE.format("one")
        key = line.partition(" ")[0]
        kept = "\n".join(row for row in text.split("\n") if not row.startswith(f"{key} "))
        found = mistakes(tmp_path, f"{HEAD}{kept}\n{line}\n")
        assert any(words in mistake for mistake in found.values()), (line, found)
        assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('part = "middle"', "discriminator, generator"),
        ('part = "generator"\narchitecture = "bert"', "part: bert has no generator"),
        ('task = "translation"', "text-classification"),
        ('labels = ["a", "b", "a"]', "score 2 repeats 'a' of score 0"),
        ('labels = ["a", " b"]', "score 1, ' b', has white space around it"),
        ('labels = ["a", ""]', "the name of score 1 is empty"),
        ('activation_source = "a friend"', "`activation` is known from, which is missing"),
        ("vocab_lines = 0", "greater than or equal to 1"),
        ('averaged = "yes"', "valid boolean"),
    ],
)
def test_what_is_asked_of_a_checkpoint_is_checked(tmp_path: Path, line: str, words: str) -> None:
    """Part, task, labels and their like are refused in the family file when no checkpoint could have them."""
    with pytest.raises(CatalogError, match=re.escape(words)):
        load(write(tmp_path, HEAD + RELEASE.format("a") + line + "\n"))


@pytest.mark.parametrize("text", ["b\na\n", "b\na", "\ufeffb\r\na\r\n"])
def test_labels_are_the_lines_of_a_file(tmp_path: Path, text: str) -> None:
    """One name a line, in the file's order, whatever an editor does to ends of lines."""
    (tmp_path / "labels.txt").write_bytes(text.encode())
    assert read_labels(tmp_path / "labels.txt") == ("b", "a")


@pytest.mark.parametrize("text", ['{"0": "a"}', '["a", "b"]', None])
def test_a_label_file_of_another_form_is_refused(tmp_path: Path, text: str | None) -> None:
    """JSON is not taken for labels, and a file that is not there is named."""
    if text is not None:
        (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(UsageError, match=r"labels\.txt") as caught:
        read_labels(tmp_path / "labels.txt")
    assert "one label a line" in caught.value.message + caught.value.hint


def test_a_large_family_is_not_listed_on_each_card() -> None:
    """Up to 100 releases each card lists them all; in a larger family its own alone, so it never grows with it."""
    for count, listed in ((1, 1), (100, 100), (101, 1), (1000, 1)):
        family = records.family(count)
        found = catalog.siblings(family, family.releases[0])
        assert len(found) == listed
        assert found[0].name == "tiny-0"
