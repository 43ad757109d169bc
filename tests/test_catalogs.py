"""Laws of the facts in the families that ship with hubpush."""

from __future__ import annotations

import re

import pytest

from hubpush import card, catalog
from hubpush.architectures import ARCHITECTURES
from hubpush.catalog import Release
from tests import google_bert

FAMILIES = {name: catalog.load(catalog.locate(name))[0] for name in catalog.shipped()}
RELEASES = [release for family in FAMILIES.values() for release in family.releases]
BERTS = [release for name in ("bert-miniatures", "google-bert") for release in FAMILIES[name].releases]

GROUPS = ("embeddings", "layers", "pooler", "mlm", "nsp")
SIZES = {
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
}

# Lines of vocab.txt, by what the archive's name begins with.
VOCABULARIES = {
    "uncased": 30522,
    "wwm_uncased": 30522,
    "cased": 28996,
    "wwm_cased": 28996,
    "multilingual": 105879,
    "multi_cased": 119547,
    "chinese": 21128,
}

# What the authors' releases hold with the pooler and both heads; the MLM head's decoder is the word embeddings.
PARAMETERS = {
    "bert_uncased_L-2_H-128_A-2": 4_433_468,
    "bert_uncased_L-12_H-768_A-12": 110_106_428,
    "bert-base-uncased": 110_106_428,
    "bert-large-uncased": 336_226_108,
    "bert-base-cased": 108_932_934,
    "bert-large-cased": 334_661_958,
    "bert-base-multilingual-uncased": 168_055_961,
    "bert-base-multilingual-cased": 178_566_653,
    "bert-base-chinese": 102_882_442,
    "bert-large-uncased-whole-word-masking": 336_226_108,
    "bert-large-cased-whole-word-masking": 334_661_958,
}

every_release = pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
every_bert = pytest.mark.parametrize("release", BERTS, ids=lambda release: release.name)


def archive(release: Release) -> re.Match[str]:
    """The parts of a release's URL: `date`, `stem`, `vocabulary`, `layers`, `hidden`, `heads`."""
    found = re.fullmatch(
        r"https://storage\.googleapis\.com/bert_models/(?P<date>\d{4}_\d\d_\d\d)/"
        r"(?P<stem>(?P<vocabulary>[a-z_]+)_L-(?P<layers>\d+)_H-(?P<hidden>\d+)_A-(?P<heads>\d+))\.zip",
        release.source,
    )
    assert found is not None, release.source
    return found


def parameters(release: Release) -> int:
    """Parameters of a BERT with pooler and both heads, by the closed formula."""
    c = release.config
    v, p, h, i = c["vocab_size"], c["max_position_embeddings"], c["hidden_size"], c["intermediate_size"]
    embeddings = (v + p + 2) * h + 2 * h
    layer = 4 * (h * h + h) + 2 * h * i + i + h + 2 * 2 * h
    pooler = h * h + h
    mlm = h * h + h + 2 * h + v
    nsp = 2 * h + 2
    return embeddings + c["num_hidden_layers"] * layer + pooler + mlm + nsp


# All families --------------------------------------------------------------------------------------------------------


def test_one_organization_can_hold_all_families() -> None:
    """No two releases of any families have the same name, title, source or official repo, case aside."""
    for said in ("name", "title", "source", "official_repo"):
        values = [getattr(release, said).lower() for release in RELEASES if getattr(release, said) is not None]
        assert len(set(values)) == len(values) > 0, said


@every_release
def test_the_hub_takes_the_metadata(release: Release) -> None:
    """Licence, languages and datasets of every release are what the Hub accepts."""
    card.check_facts(release)


# Google's BERTs ------------------------------------------------------------------------------------------------------


@every_bert
def test_the_source_is_the_authors_bucket(release: Release) -> None:
    """A release comes from Google's bucket over https, and its archive's name says the sizes that its config has."""
    parts = archive(release)
    said = {"layers": "num_hidden_layers", "hidden": "hidden_size", "heads": "num_attention_heads"}
    assert {key: release.config[key] for key in said.values()} == {key: int(parts[part]) for part, key in said.items()}


@every_bert
def test_the_sizes_are_those_of_a_bert(release: Release) -> None:
    """All six sizes are given: heads of 64, an intermediate size of 4H, 512 positions, the release's vocabulary."""
    config = release.config
    assert set(config) == SIZES
    assert config["hidden_size"] == 64 * config["num_attention_heads"]
    assert config["intermediate_size"] == 4 * config["hidden_size"]
    assert config["max_position_embeddings"] == 512
    assert config["vocab_size"] == VOCABULARIES[archive(release)["vocabulary"]]


@every_bert
def test_the_gelu_form_follows_the_date_in_the_url(release: Release) -> None:
    """An archive from before 2019-02-07 has the erf form, a later one the tanh form, and the commit is named."""
    before = archive(release)["date"] < "2019_02_07"
    assert release.activation == ("gelu" if before else "gelu_pytorch_tanh")
    assert {"activation", "activation_source"} <= release.model_fields_set
    said = release.activation_source or ""
    assert "commit bee6030 (2019-02-07)" in said
    assert ("computed the exact form, by erf, until commit" in said) is before
    assert ("computes the tanh form since" in said) is not before
    assert not said.endswith(".")  # the card ends the sentence


@every_bert
def test_casing_agrees_with_every_name_that_says_it(release: Release) -> None:
    """Where the archive, the repo, the title or the official repo says cased or uncased, the release says the same."""
    assert release.cased is not None
    names = (archive(release)["stem"], release.name, release.title, release.official_repo or "")
    said = [word.lower() for name in names for word in re.findall(r"(?:un)?cased", name, re.IGNORECASE)]
    assert set(said) <= {"cased" if release.cased else "uncased"}
    assert len(said) >= 3 or release.name in ("bert-base-chinese", "bert-base-multilingual-uncased")


@every_bert
def test_casing_is_what_google_s_own_tokenizer_wants(release: Release) -> None:
    """tokenization.py takes the casing of every release, and refuses the other one for the seven that it knows."""
    check = google_bert.tokenization().validate_case_matches_checkpoint
    checkpoint = f"{archive(release)['stem']}/bert_model.ckpt"
    check(not release.cased, checkpoint)
    if release in FAMILIES["google-bert"].releases and archive(release)["date"] < "2019":
        with pytest.raises(ValueError, match="do_lower_case"):
            check(release.cased, checkpoint)


@every_bert
def test_every_parameter_has_a_row_in_the_table(release: Release) -> None:
    """The rows of the architecture's table add up to the closed formula's number of parameters."""
    config, table = {"type_vocab_size": 2, **release.config}, ARCHITECTURES["bert"]
    total = 0
    for weight in (weight for group in GROUPS for weight in table.groups[group]):
        size = config[table.layers_key] if "{n}" in weight.variable else 1
        for dimension in weight.shape:
            size *= dimension if isinstance(dimension, int) else config[dimension]
        total += size
    assert total == parameters(release)


def test_the_sizes_give_the_published_numbers_of_parameters() -> None:
    """What the config's sizes add up to is the number of parameters that is known of the release."""
    known = {release.name: parameters(release) for release in BERTS if release.name in PARAMETERS}
    assert known == PARAMETERS


@every_bert
def test_no_text_is_left_out(release: Release) -> None:
    """Every card says where the model comes from, what it was trained on and for, and what to cite."""
    assert (release.license, release.architecture) == ("apache-2.0", "bert")
    assert release.homepage == "https://github.com/google-research/bert"
    for said in ("language", "datasets", "arxiv", "citations", "training", "intended_use", "limitations"):
        assert getattr(release, said), said
    assert all(f"arXiv:{paper}" in "".join(release.citations) for paper in release.arxiv)


# BERT (2018 and 2019) ------------------------------------------------------------------------------------------------


def test_google_bert_is_the_nine_releases_before_the_miniatures() -> None:
    """Repos have the names of the authors' own, and name and title say base or large as the number of layers does."""
    releases = FAMILIES["google-bert"].releases
    assert len(releases) == 9
    for release in releases:
        assert release.official_repo == f"google-bert/{release.name}"
        assert archive(release)["date"] < "2020"
        size = {12: "base", 24: "large"}[release.config["num_hidden_layers"]]
        assert release.name.split("-")[1] == size
        assert release.title.lower().startswith(f"bert-{size}, ")


def test_google_bert_says_what_a_text_may_be() -> None:
    """Language and datasets go together: BookCorpus is English, and a release names one language or `multilingual`."""
    found: dict[str, list[str]] = {}
    for release in FAMILIES["google-bert"].releases:
        (language,) = release.language
        found.setdefault(language, []).append(release.name)
        books = ["bookcorpus/bookcorpus"] if language == "en" else []
        assert list(release.datasets) == [*books, "legacy-datasets/wikipedia"]
        assert ("English" in (release.training or "")) is (language == "en")
    assert found.pop("multilingual") == ["bert-base-multilingual-uncased", "bert-base-multilingual-cased"]
    assert found.pop("zh") == ["bert-base-chinese"]
    assert set(found) == {"en"}


def test_google_bert_tells_what_is_particular() -> None:
    """The card of a release that is easily mistaken for another says what sets it apart, and no other card does."""
    words = {
        "bert-base-multilingual-uncased": ("not recommended", "cased"),
        "bert-base-chinese": (
            "validate_case_matches_checkpoint",
            "do_lower_case=false",
            "huggingface/transformers#9286",
        ),
        "bert-large-uncased-whole-word-masking": ("Whole word masking",),
        "bert-large-cased-whole-word-masking": ("Whole word masking",),
    }
    notes = {release.name: release.note for release in FAMILIES["google-bert"].releases if release.note}
    assert notes.keys() == words.keys()
    for name, note in notes.items():
        assert all(word in note for word in words[name]), note
    for release in FAMILIES["google-bert"].releases:
        whole = "whole-word-masking" in release.name
        assert ("whole-word-masking" in release.tags) is whole
        assert ("not whole words" in (release.training or "")) is not whole
        assert archive(release)["stem"].startswith("wwm_") is whole
