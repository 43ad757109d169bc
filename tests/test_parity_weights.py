"""Names looked up a second way: by their spelling, without the converter's map."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from hubpush import mapping
from hubpush.architectures import ARCHITECTURES
from hubpush.checkpoint import Checkpoint
from hubpush.parity import weights
from hubpush.parity.graph import Graph
from tests.checkpoints import TINY, TINY_ELECTRA, TINY_GENERATOR, bert_variables, write_tf2_checkpoint

SIZES: dict[str, dict[str, Any]] = {
    "bert": TINY,
    "electra-discriminator": TINY_ELECTRA,
    "electra-generator": TINY_GENERATOR,
}


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("headless", [False, True])
def test_spelling_and_map_agree_on_every_place(name: str, headless: bool) -> None:
    """For every row of every architecture the name's spelling leads to the key that the map has."""
    table = ARCHITECTURES[name]
    places = {place: key for _group, place, _row, key in mapping._places(table, SIZES[name])}
    if headless:
        places = {p: k.removeprefix(table.base_prefix) for p, k in places.items() if k.startswith(table.base_prefix)}
    keys = set(places.values())
    assert {place: weights.key_of(place, keys, table) for place in places} == places
    assert len(places) > 40


def test_a_name_that_is_spelled_like_no_tensor_leads_nowhere() -> None:
    """Nothing is guessed for a name without a tensor."""
    table = ARCHITECTURES["bert"]
    for name in ("global_step", "bert/encoder/layer_0/attention/self/rotary/kernel", "cls/other/kernel", "kernel", ""):
        assert weights.key_of(name, {"bert.pooler.dense.weight"}, table) is None


def test_the_map_is_caught_when_it_is_wrong(monkeypatch: pytest.MonkeyPatch, release: Path, tmp_path: Path) -> None:
    """Two rows of the map that are exchanged convert wrongly on both sides of a comparison by the map; names tell."""
    from hubpush import conversion, parity
    from hubpush.architectures import bert
    from hubpush.catalog import Release
    from hubpush.source import find

    swap = {"bert.encoder.layer.{n}.attention.self.key.bias": "bert.encoder.layer.{n}.attention.self.query.bias"}
    swap |= {other: one for one, other in swap.items()}
    groups = {
        name: tuple(type(row)(row.variable, swap.get(row.key, row.key), row.shape) for row in rows)
        for name, rows in bert.GROUPS.items()
    }
    wrong = {**vars(ARCHITECTURES["bert"]), "groups": groups}
    monkeypatch.setattr(mapping, "ARCHITECTURES", {"bert": type(ARCHITECTURES["bert"])(**wrong)})
    files = find(release)
    folder = tmp_path / "model"
    folder.mkdir()
    asked = Release(name="t", title="t", source="t", license="mit")
    reading = conversion.convert(files, folder, asked).reading
    report = parity.measure(folder, reading.as_original(files), parity.parse("graph"))
    assert report.weights is not None
    assert len(report.weights.elsewhere) == 2 * TINY["num_hidden_layers"]
    assert report.weights.confirmed == report.weights.mapped - len(report.weights.elsewhere)
    assert "the map sends variables elsewhere than their names say" in "\n".join(report.failures())


@pytest.mark.parametrize("generation", ["numbered", "named"])
@pytest.mark.parametrize("slots", [False, True])
def test_object_based_checkpoints_are_confirmed_by_the_names_keras_gave(
    generation: Literal["numbered", "named"], slots: bool, tmp_path: Path
) -> None:
    """Where a TensorFlow 2 checkpoint records its layers' names, each leads where the layout's object path leads."""
    variables = bert_variables(TINY, ("pooler", "mlm"))
    prefix = write_tf2_checkpoint(tmp_path / "model.ckpt", variables, TINY, generation=generation, slots=slots)
    table = ARCHITECTURES["bert"]
    with Checkpoint(prefix) as checkpoint:
        account = mapping.account(checkpoint, TINY, table)
        graph = Graph(prefix, table, account, TINY)
    assert {fate.variable.name: graph.spelled(fate.variable.name) for fate in account.mapped()} == {
        fate.variable.name: fate.place for fate in account.mapped()
    }


def test_records_that_are_none_confirm_nothing() -> None:
    """What is no object graph gives no names, and no error."""
    assert weights.names_of_keras(b"\xff\xff\xff") == {}


def test_same_bits_are_bits() -> None:
    """Zero and minus zero, and two NaNs of other bits, are not the same; axes for heads are of no matter."""
    one = np.arange(24, dtype="f4").reshape(4, 6)
    assert weights._same_bits(one, one.reshape(4, 2, 3))
    assert not weights._same_bits(one, one.astype("f8"))
    assert not weights._same_bits(np.float32([0.0]), np.float32([-0.0]))
