"""The reference `keras`: KerasHub loads the folder as it is, and computes what a TensorFlow user of today gets from it.

Facts about KerasHub here are read in the source of keras-hub 0.32.0 (`utils/transformers/preset_loader.py`,
`utils/transformers/convert_bert.py`, `models/bert/bert_backbone.py`) and measured by the tests. Its BERT:

- takes the sizes and the weights of the encoder and the pooler from a folder, and no other head.
- does not read `hidden_act` (it computes `ACTIVATION`), `layer_norm_eps` (it computes with 1e-12), `type_vocab_size`
  (it takes 2) or dropout. A mistake in one of these goes unseen, apart from the segments that it is told of here.
- does not load a folder without a pooler.

It is given ids: its tokenizer is not compared. `BertTokenizer.from_preset` reads `do_lower_case` alone, and so keeps
the accents that BERT's own lower-casing strips, unless it is told `strip_accents=True`.
"""

from __future__ import annotations

import importlib.util
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubpush.architectures import Activation
from hubpush.catalog import Divergence
from hubpush.errors import MissingExtraError, ParityError, UsageError
from hubpush.parity.graph import tensorflow

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ACTIVATION: Activation = "gelu_pytorch_tanh"
"""The GELU form that it computes, whatever `hidden_act` says: `BertBackbone` builds each of its layers with
`gelu_approximate`, which is `keras.activations.gelu(x, approximate=True)`, and has no argument for another."""

DIVERGENCE = Divergence(
    reference="keras",
    kind="activation",
    why="KerasHub computes the tanh form of GELU in every BERT, whatever `hidden_act` says: its `BertBackbone` has no"
    " argument for another form.",
    link="https://github.com/keras-team/keras-hub/blob/master/keras_hub/src/models/bert/bert_backbone.py",
)
"""What that makes of a release that declares the erf form: a fact about KerasHub, and none about the release."""

MODEL_TYPES = frozenset({"bert"})
"""transformers' `model_type` of the folders that are run here. KerasHub has an ELECTRA, but no converter for a
transformers folder of one: `preset_loader.py` lists those that it has."""

_INPUTS = {"input_ids": "token_ids", "token_type_ids": "segment_ids", "attention_mask": "padding_mask"}


def require(model_type: str, *, has_pooler: bool = True) -> None:
    """Check that KerasHub has a converter for such folders.

    Args:
        model_type: transformers' `model_type`.
        has_pooler: Whether the folder has a pooler.

    Raises:
        ParityError: It has none.
    """
    if model_type not in MODEL_TYPES:
        raise ParityError(
            f"KerasHub has no converter from transformers for {model_type}, so that it cannot be a reference",
            hint=f"leave keras out of --parity; it takes {', '.join(sorted(MODEL_TYPES))}",
        )
    if not has_pooler:
        raise ParityError(
            "KerasHub does not load a BERT without a pooler, and this folder has none",
            hint="leave keras out of --parity",
        )


def run(
    folder: Path, batches: Sequence[Mapping[str, npt.NDArray[np.int32]]], dtype: str
) -> list[dict[str, npt.NDArray[Any]]]:
    """Outputs of the folder in KerasHub on TensorFlow, by the names that the published side uses.

    `float32` is what people get: nothing of KerasHub is changed. In `float64` two constants are put right that
    TensorFlow's `cast` rounds to float32 on their way to float64, the 0.044715 of the tanh form (`tf.nn.gelu`) and
    1/sqrt(size of a head) (keras' MultiHeadAttention). They alone would leave 1e-9 to 3e-8, and hide as much.

    Args:
        folder: A model folder in transformers' format, with a pooler.
        batches: `input_ids`, `attention_mask`, `token_type_ids`, each [batch, length].
        dtype: `float64` or `float32`.

    Returns:
        For each batch `embeddings`, `layer 1` to `layer N` and `sequence_output`, [batch, length, hidden], and
        `pooled_output`, [batch, hidden].

    Raises:
        MissingExtraError: keras-hub is not installed.
        UsageError: keras was imported before, with another backend than TensorFlow.
        ParityError: KerasHub does not load such a folder.
    """
    import numpy as np

    keras, model = _load(folder, dtype)
    layers = [f"transformer_layer_{n}" for n in range(model.num_layers)]
    names = ["embeddings", *(f"layer {n}" for n, _ in enumerate(layers, 1)), "sequence_output", "pooled_output"]
    states = [model.get_layer(name).output for name in ("embeddings_layer_norm", *layers)]
    model = keras.Model(model.input, [*states, model.output["sequence_output"], model.output["pooled_output"]])
    outputs = []
    for batch in batches:
        with warnings.catch_warnings():
            # It wonders about the softmax of texts of one token.
            warnings.simplefilter("ignore", UserWarning)
            found = model({theirs: batch[ours] for ours, theirs in _INPUTS.items()}, training=False)
        outputs.append({name: np.asarray(tensor) for name, tensor in zip(names, found, strict=True)})
    return outputs


def _load(folder: Path, dtype: str) -> tuple[Any, Any]:
    """Keras, and the folder as KerasHub's BertBackbone."""
    keras, keras_hub = _keras_hub()
    from safetensors import SafetensorError

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        has_pooler = any(key.endswith("pooler.dense.weight") for key in _keys(folder))
        require(config["model_type"], has_pooler=has_pooler)
        # An absolute path is never taken for the name of a preset, which would be fetched. Two segments are what it
        # takes by itself.
        model = keras_hub.models.BertBackbone.from_preset(
            str(folder.resolve()), dtype=dtype, num_segments=config["type_vocab_size"]
        )
        if dtype == "float64":
            _put_constants_right(model)
    except (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        told = (str(error).splitlines() or [""])[0]
        raise ParityError(
            f"KerasHub cannot load the folder: {type(error).__name__}: {told}",
            hint="is the folder whole? if so, leave keras out of --parity",
        ) from error
    return keras, model


def _keras_hub() -> tuple[Any, Any]:
    """Keras and KerasHub on TensorFlow, imported without leaving anything in the home directory."""
    if importlib.util.find_spec("keras_hub") is None:
        raise MissingExtraError(
            "the reference keras needs keras-hub",
            hint='pip install "hubpush[keras]" (in a checkout: ".[keras]")',
        )
    tensorflow()  # first: it imports keras, with the backend that is wanted and without its messages
    import keras
    import keras_hub

    backend = keras.config.backend()
    if backend != "tensorflow":
        raise UsageError(
            f"the reference keras runs on TensorFlow, but keras was imported with the backend {backend}",
            hint="run again with KERAS_BACKEND=tensorflow, or without KERAS_BACKEND",
        )
    return keras, keras_hub


def _keys(folder: Path) -> list[str]:
    """Names of the tensors of a folder, in one file or several."""
    from safetensors import safe_open

    index = folder / "model.safetensors.index.json"
    if index.exists():
        return list(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        return list(file.keys())


def _put_constants_right(model: Any) -> None:
    """Give the layers of a float64 model the two constants that TensorFlow's `cast` would round to float32."""
    tf = tensorflow()

    def gelu(x: Any) -> Any:
        return 0.5 * x * (1.0 + tf.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))

    for n in range(model.num_layers):
        # The names by which KerasHub's own converter reaches them.
        layer = model.get_layer(f"transformer_layer_{n}")
        attention = layer._self_attention_layer
        attention._inverse_sqrt_key_dim = tf.constant(attention._inverse_sqrt_key_dim, tf.float64)
        layer._feedforward_intermediate_dense.activation = gelu
