"""BERT as google-research/bert released it: names, classes, config and forward pass.

Sources: `modeling.py` and `run_pretraining.py` of https://github.com/google-research/bert at commit eedf571 for the
variable names, shapes and arithmetic; Devlin et al., arXiv:1810.04805, for the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hubpush.architectures.table import Activation, Architecture, ConfigKey, ModelClass, Weight

if TYPE_CHECKING:  # the tables are read by commands that need no numpy
    import numpy as np
    import numpy.typing as npt

LAYER_NORM_EPSILON = 1e-12
"""tf.contrib.layers.layer_norm's epsilon for float32, which the original code uses without naming it."""


def _dense(variable: str, key: str, inputs: str, outputs: str) -> tuple[Weight, Weight]:
    return (
        Weight(f"{variable}/kernel", f"{key}.weight", (inputs, outputs)),
        Weight(f"{variable}/bias", f"{key}.bias", (outputs,)),
    )


def _layer_norm(variable: str, key: str) -> tuple[Weight, Weight]:
    return (
        Weight(f"{variable}/LayerNorm/gamma", f"{key}.LayerNorm.weight", ("hidden_size",)),
        Weight(f"{variable}/LayerNorm/beta", f"{key}.LayerNorm.bias", ("hidden_size",)),
    )


_H, _I, _V = "hidden_size", "intermediate_size", "vocab_size"
_LAYER, _TO = "bert/encoder/layer_{n}", "bert.encoder.layer.{n}"

GROUPS: Mapping[str, tuple[Weight, ...]] = MappingProxyType(
    {
        "embeddings": (
            Weight("bert/embeddings/word_embeddings", "bert.embeddings.word_embeddings.weight", (_V, _H)),
            Weight(
                "bert/embeddings/position_embeddings",
                "bert.embeddings.position_embeddings.weight",
                ("max_position_embeddings", _H),
            ),
            Weight(
                "bert/embeddings/token_type_embeddings",
                "bert.embeddings.token_type_embeddings.weight",
                ("type_vocab_size", _H),
            ),
            *_layer_norm("bert/embeddings", "bert.embeddings"),
        ),
        "layers": (
            *_dense(f"{_LAYER}/attention/self/query", f"{_TO}.attention.self.query", _H, _H),
            *_dense(f"{_LAYER}/attention/self/key", f"{_TO}.attention.self.key", _H, _H),
            *_dense(f"{_LAYER}/attention/self/value", f"{_TO}.attention.self.value", _H, _H),
            *_dense(f"{_LAYER}/attention/output/dense", f"{_TO}.attention.output.dense", _H, _H),
            *_layer_norm(f"{_LAYER}/attention/output", f"{_TO}.attention.output"),
            *_dense(f"{_LAYER}/intermediate/dense", f"{_TO}.intermediate.dense", _H, _I),
            *_dense(f"{_LAYER}/output/dense", f"{_TO}.output.dense", _I, _H),
            *_layer_norm(f"{_LAYER}/output", f"{_TO}.output"),
        ),
        "pooler": _dense("bert/pooler/dense", "bert.pooler.dense", _H, _H),
        "mlm": (
            *_dense("cls/predictions/transform/dense", "cls.predictions.transform.dense", _H, _H),
            *_layer_norm("cls/predictions/transform", "cls.predictions.transform"),
            Weight("cls/predictions/output_bias", "cls.predictions.bias", (_V,)),
        ),
        "nsp": (
            Weight("cls/seq_relationship/output_weights", "cls.seq_relationship.weight", (2, _H)),
            Weight("cls/seq_relationship/output_bias", "cls.seq_relationship.bias", (2,)),
        ),
    }
)

_ENCODER = frozenset({"embeddings", "layers"})

CLASSES = (
    ModelClass(
        "BertForPreTraining",
        frozenset({"pooler", "mlm", "nsp"}),
        _ENCODER | {"pooler", "mlm", "nsp"},
        False,
        "fill-mask",
    ),
    ModelClass("BertForMaskedLM", frozenset({"mlm"}), _ENCODER | {"mlm"}, False, "fill-mask"),
    ModelClass("BertModel", frozenset(), _ENCODER | {"pooler"}, True, "feature-extraction"),
)

TRAINING_STATE: Mapping[str, str] = MappingProxyType(
    {
        r"global_step": "the training step counter",
        r".+/adam_[mv]": "Adam's moments (optimization.py of google-research/bert)",
    }
)

CONFIG = (
    ConfigKey("add_cross_attention", "fixed", False),
    ConfigKey("attention_probs_dropout_prob", "rate", 0.1),
    ConfigKey("bos_token_id", "fixed", None),
    ConfigKey("classifier_dropout", "fixed", None),
    ConfigKey("dtype", "fixed", "float32"),
    ConfigKey("eos_token_id", "fixed", None),
    ConfigKey("hidden_dropout_prob", "rate", 0.1),
    ConfigKey("hidden_size", "size"),
    ConfigKey("initializer_range", "rate", 0.02),
    ConfigKey("intermediate_size", "size"),
    ConfigKey("is_decoder", "fixed", False),
    ConfigKey("layer_norm_eps", "fixed", LAYER_NORM_EPSILON),
    ConfigKey("max_position_embeddings", "size"),
    ConfigKey("num_attention_heads", "size"),
    ConfigKey("num_hidden_layers", "size"),
    ConfigKey("pad_token_id", "fixed", 0),
    ConfigKey("tie_word_embeddings", "fixed", True),
    ConfigKey("type_vocab_size", "size"),
    ConfigKey("use_cache", "fixed", True),
    ConfigKey("vocab_size", "size"),
)

IGNORED_CONFIG = frozenset(
    # Keys in the multilingual and Chinese releases of 2018 that modeling.py reads nowhere.
    {
        "directionality",
        "pooler_fc_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
    }
)


def forward(
    tf: Any,
    read: Callable[[str], npt.NDArray[Any]],
    heads: frozenset[str],
    config: Mapping[str, Any],
    activation: Activation,
    inputs: Mapping[str, npt.NDArray[np.int32]],
    dtype: str,
) -> dict[str, npt.NDArray[Any]]:
    """Compute what the released graph computes, in TensorFlow, from the checkpoint's own variables.

    Written after `modeling.py` (`BertModel`, `transformer_model`, `attention_layer`) and `run_pretraining.py`
    (`get_masked_lm_output`, `get_next_sentence_output`). Nothing here is shared with the conversion: names are spelled
    again, kernels are used as they lie in the checkpoint, the layer-norm epsilon is the constant of the original.

    Args:
        tf: The `tensorflow` module.
        read: Gives a variable of the checkpoint by its name.
        heads: Groups beyond the encoder that the checkpoint holds: any of `pooler`, `mlm`, `nsp`.
        config: The original bert_config.json.
        activation: The GELU form to compute.
        inputs: `input_ids`, `attention_mask`, `token_type_ids`, each [batch, length].
        dtype: `float64` or `float32`.

    Returns:
        Arrays by output name: `embeddings`, `layer 1` … `layer N`, `sequence_output` (each [batch, length, hidden]),
        and, where the checkpoint has the head, `pooled_output` [batch, hidden], `mlm_logits` [batch, length, vocab],
        `nsp_logits` [batch, 2].
    """

    def variable(name: str) -> Any:
        return tf.cast(tf.constant(read(name)), dtype)

    def dense(x: Any, name: str) -> Any:
        return tf.matmul(x, variable(f"{name}/kernel")) + variable(f"{name}/bias")

    def layer_norm(x: Any, name: str) -> Any:
        mean = tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axis=-1, keepdims=True)
        scaled = (x - mean) * tf.math.rsqrt(variance + tf.constant(LAYER_NORM_EPSILON, dtype))
        return scaled * variable(f"{name}/LayerNorm/gamma") + variable(f"{name}/LayerNorm/beta")

    def gelu(x: Any) -> Any:
        if activation == "gelu":
            return x * 0.5 * (1.0 + tf.math.erf(x / tf.constant(math.sqrt(2.0), dtype)))
        return x * 0.5 * (1.0 + tf.tanh(tf.constant(math.sqrt(2.0 / math.pi), dtype) * (x + 0.044715 * tf.pow(x, 3))))

    ids = tf.constant(inputs["input_ids"], tf.int32)
    batch, length = inputs["input_ids"].shape
    head_count, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
    head_size = hidden // head_count

    def split_heads(x: Any) -> Any:
        return tf.transpose(tf.reshape(x, (batch, length, head_count, head_size)), (0, 2, 1, 3))

    words = variable("bert/embeddings/word_embeddings")
    segments = tf.gather(variable("bert/embeddings/token_type_embeddings"), tf.constant(inputs["token_type_ids"]))
    positions = variable("bert/embeddings/position_embeddings")[:length]
    x = layer_norm(tf.gather(words, ids) + segments + positions, "bert/embeddings")
    outputs = {"embeddings": x.numpy()}

    # The original adds -10000 to masked scores: as long as scores stay far below that, as trained ones do, real
    # positions get no weight from padding in either precision.
    mask = (1.0 - tf.cast(tf.constant(inputs["attention_mask"]), dtype))[:, None, None, :] * -10000.0
    for n in range(int(config["num_hidden_layers"])):
        name = f"bert/encoder/layer_{n}"
        query = split_heads(dense(x, f"{name}/attention/self/query"))
        key = split_heads(dense(x, f"{name}/attention/self/key"))
        value = split_heads(dense(x, f"{name}/attention/self/value"))
        scores = tf.matmul(query, key, transpose_b=True) * tf.constant(1.0 / math.sqrt(head_size), dtype) + mask
        context = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), (0, 2, 1, 3))
        attended = dense(tf.reshape(context, (batch, length, hidden)), f"{name}/attention/output/dense")
        x = layer_norm(attended + x, f"{name}/attention/output")
        inner = gelu(dense(x, f"{name}/intermediate/dense"))
        x = layer_norm(dense(inner, f"{name}/output/dense") + x, f"{name}/output")
        outputs[f"layer {n + 1}"] = x.numpy()
    outputs["sequence_output"] = x.numpy()

    if "pooler" in heads:
        pooled = tf.tanh(dense(x[:, 0], "bert/pooler/dense"))
        outputs["pooled_output"] = pooled.numpy()
        if "nsp" in heads:
            weights = variable("cls/seq_relationship/output_weights")
            logits = tf.matmul(pooled, weights, transpose_b=True) + variable("cls/seq_relationship/output_bias")
            outputs["nsp_logits"] = logits.numpy()
    if "mlm" in heads:
        transformed = layer_norm(gelu(dense(x, "cls/predictions/transform/dense")), "cls/predictions/transform")
        logits = tf.matmul(transformed, words, transpose_b=True) + variable("cls/predictions/output_bias")
        outputs["mlm_logits"] = logits.numpy()
    return outputs


ARCHITECTURE = Architecture(
    model_type="bert",
    base_prefix="bert.",
    groups=GROUPS,
    required=_ENCODER,
    classes=CLASSES,
    training_state=TRAINING_STATE,
    config=CONFIG,
    ignored_config=IGNORED_CONFIG,
    layers_key="num_hidden_layers",
    forward=forward,
)
