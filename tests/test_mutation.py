"""The check is itself checked: a sample of `make mutation` on the tiny model."""

import random
from pathlib import Path

import pytest

from benchmarks import mutation


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> mutation.Subject:
    """The tiny lively model, converted. Read only."""
    return mutation.tiny(tmp_path_factory.mktemp("mutation"))


@pytest.fixture(scope="module")
def every(subject: mutation.Subject) -> list[mutation.Mutation]:
    """All changes that are known; the folder itself passes."""
    return list(mutation.mutations(subject, mutation.outputs_of(subject)))


def test_every_kind_of_mistake_is_among_them(every: list[mutation.Mutation]) -> None:
    """Every pair of same-shaped tensors is exchanged, and every other kind of mistake is there."""
    names = [one.name for one in every]
    assert len(set(names)) == len(names) > 800
    kinds = {name.partition(":")[0] for name in names}
    assert kinds >= {"exchanged", "not transposed", "lost", "missing", "heads cut wrongly", "one bit", "float16"}
    assert {"shifted by one", "activation", "epsilon 1e-09", "layers off by 1", "[PAD] moved"} <= kinds


@pytest.mark.long
def test_a_sample_is_caught_and_named(subject: mutation.Subject, every: list[mutation.Mutation]) -> None:
    """Each of 25 changes fails, and the first output that differs is the first behind the changed tensor."""
    chosen = random.Random(29).sample(every, 25)  # noqa: S311 - a sample, no secret
    results = mutation.run(subject, chosen)
    assert [r for r in results if not r.is_caught] == []
    assert [r for r in results if not r.is_named] == []
    assert sum(r.is_shown for r in results) >= 20


def test_an_unchanged_folder_would_be_missed(subject: mutation.Subject) -> None:
    """The test of the test: a mutation that changes nothing is counted as missed."""

    def nothing(_folder: Path) -> None:
        return None

    (result,) = mutation.run(subject, [mutation.Mutation("nothing", nothing, frozenset(["layer 1"]))])
    assert not result.is_caught
    assert not result.is_named


@pytest.mark.parametrize(
    ("key", "output"),
    [
        ("bert.embeddings.LayerNorm.bias", "embeddings"),
        ("bert.encoder.layer.11.attention.self.key.bias", "layer 12 keys"),
        ("encoder.layer.0.output.dense.weight", "layer 1"),
        ("pooler.dense.bias", "pooled_output"),
        ("cls.seq_relationship.weight", "nsp_logits"),
        ("cls.predictions.transform.dense.weight", "mlm_logits"),
    ],
)
def test_the_expected_place_follows_from_the_tensor(key: str, output: str) -> None:
    """What counts as rightly named is the first output that a tensor has a part in."""
    assert mutation.place(key) == output
