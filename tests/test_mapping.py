"""Laws of the mapping: every variable has one fate, and what is not known is never guessed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubpush import mapping
from hubpush.architectures import ARCHITECTURES
from hubpush.checkpoint import Checkpoint
from hubpush.errors import CheckpointError, ModelError
from tests.checkpoints import TINY, bert_variables, tensorflow, write_checkpoint

BERT = ARCHITECTURES["bert"]


def _account(prefix: Path, config: Mapping[str, Any] = TINY) -> mapping.Account:
    with Checkpoint(prefix) as checkpoint:
        return mapping.account(checkpoint, config, BERT)


@pytest.mark.parametrize(
    "name",
    [
        "bert/surprise/ExponentialMovingAverages",
        "bert/encoder/layer_3/output/dense/bias",
        "bert/encoder/layer_00/output/dense/bias",
        "bert/encoder/layer_{n}/output/dense/bias",
        "xbert/pooler/dense/kernel",
        "bert/pooler/dense/kernel/lamb_v2",
        "adam_m",
        "global_step_1",
        "crf_loss/transitions",
        "output_weights_1",
    ],
)
def test_unknown_variable_is_never_guessed(name: str, tmp_path: Path) -> None:
    """A variable that is not in the table stops the conversion, however much it looks like one that is."""
    prefix = write_checkpoint(tmp_path / "m", bert_variables(TINY) | {name: np.zeros(32, np.float32)})
    account = _account(prefix)
    assert account.mistakes == (f"unknown variable {name} [32]",)
    assert [fate.variable.name for fate in account.fates if fate.disposition == "unknown"] == [name]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (2, "unknown variable bert/encoder/layer_2/attention/output/LayerNorm/beta"),
        (4, "missing variable bert/encoder/layer_3/attention/self/query/kernel"),
        (2**31 - 1, r"2,147,483,647 layers are asked for, the checkpoint has 62 variables"),
    ],
)
def test_config_of_another_depth_is_refused(layers: int, message: str, release: Path) -> None:
    """A config with fewer or more layers than the checkpoint is a mistake, at once even if it declares two billion."""
    with pytest.raises(ModelError, match=message):
        _account(release / "bert_model.ckpt", TINY | {"num_hidden_layers": layers}).require()


def test_object_based_checkpoint_is_refused_as_what_it_is(tmp_path: Path) -> None:
    """A checkpoint that TensorFlow 2 wrote by object paths is named as such; its variables are not called unknown."""
    tf = tensorflow()
    prefix = tf.train.Checkpoint(dense=tf.Variable([1.0, 2.0])).save(str(tmp_path / "model"))
    with pytest.raises(CheckpointError, match="object-based checkpoint of TensorFlow 2") as caught:
        mapping.recognize(Checkpoint(Path(prefix)))
    assert "Saver" in caught.value.hint


def test_a_part_that_every_model_has_cannot_be_missing_whole(tmp_path: Path) -> None:
    """A checkpoint without any embedding is not taken for a model of another kind: each lost variable is named."""
    variables = {name: value for name, value in bert_variables(TINY).items() if "/embeddings/" not in name}
    prefix = write_checkpoint(tmp_path / "bert_model.ckpt", variables)
    with pytest.raises(ModelError, match="missing variable bert/embeddings/word_embeddings") as caught:
        mapping.account(found := Checkpoint(prefix), TINY, mapping.recognize(found)).require()
    assert "5 mistake(s)" in caught.value.message
