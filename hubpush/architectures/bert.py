"""BERT as google-research/bert released it: names, classes, config and forward pass.

Sources: `modeling.py` and `run_pretraining.py` of https://github.com/google-research/bert at commit eedf571 for the
variable names, shapes and arithmetic; Devlin et al., arXiv:1810.04805, for the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hubpush.architectures.table import (
    Activation,
    Architecture,
    ConfigKey,
    Layout,
    LayoutRow,
    Logits,
    ModelClass,
    Weight,
)

if TYPE_CHECKING:  # the tables are read by commands that need no numpy
    import numpy as np
    import numpy.typing as npt

LAYER_NORM_EPSILON = 1e-12
"""tf.contrib.layers.layer_norm's epsilon for float32, which the original code uses without naming it."""


def dense(variable: str, key: str, inputs: str, outputs: str) -> tuple[Weight, Weight]:
    """The rows of a dense layer."""
    return (
        Weight(f"{variable}/kernel", f"{key}.weight", (inputs, outputs)),
        Weight(f"{variable}/bias", f"{key}.bias", (outputs,)),
    )


def layer_norm(variable: str, key: str, size: str = "hidden_size") -> tuple[Weight, Weight]:
    """The rows of a layer norm."""
    return (
        Weight(f"{variable}/LayerNorm/gamma", f"{key}.LayerNorm.weight", (size,)),
        Weight(f"{variable}/LayerNorm/beta", f"{key}.LayerNorm.bias", (size,)),
    )


_H, _I, _V = "hidden_size", "intermediate_size", "vocab_size"


def embeddings(variable: str, key: str, size: str = _H) -> tuple[Weight, ...]:
    """The rows of the embeddings below a scope."""
    tables = (("word", _V), ("position", "max_position_embeddings"), ("token_type", "type_vocab_size"))
    return (
        *(Weight(f"{variable}/{name}_embeddings", f"{key}.{name}_embeddings.weight", (n, size)) for name, n in tables),
        *layer_norm(variable, key, size),
    )


def layers(variable: str, key: str) -> tuple[Weight, ...]:
    """The rows of the transformer layers below a scope."""
    return (
        *dense(f"{variable}/attention/self/query", f"{key}.attention.self.query", _H, _H),
        *dense(f"{variable}/attention/self/key", f"{key}.attention.self.key", _H, _H),
        *dense(f"{variable}/attention/self/value", f"{key}.attention.self.value", _H, _H),
        *dense(f"{variable}/attention/output/dense", f"{key}.attention.output.dense", _H, _H),
        *layer_norm(f"{variable}/attention/output", f"{key}.attention.output"),
        *dense(f"{variable}/intermediate/dense", f"{key}.intermediate.dense", _H, _I),
        *dense(f"{variable}/output/dense", f"{key}.output.dense", _I, _H),
        *layer_norm(f"{variable}/output", f"{key}.output"),
    )


GROUPS: Mapping[str, tuple[Weight, ...]] = MappingProxyType(
    {
        "embeddings": embeddings("bert/embeddings", "bert.embeddings"),
        "layers": layers("bert/encoder/layer_{n}", "bert.encoder.layer.{n}"),
        "pooler": dense("bert/pooler/dense", "bert.pooler.dense", _H, _H),
        "mlm": (
            *dense("cls/predictions/transform/dense", "cls.predictions.transform.dense", _H, _H),
            *layer_norm("cls/predictions/transform", "cls.predictions.transform"),
            Weight("cls/predictions/output_bias", "cls.predictions.bias", (_V,)),
        ),
        "nsp": (
            Weight("cls/seq_relationship/output_weights", "cls.seq_relationship.weight", (2, _H)),
            Weight("cls/seq_relationship/output_bias", "cls.seq_relationship.bias", (2,)),
        ),
        # run_classifier.py names its head so, and so do the token classifiers that were made from it.
        "classifier": (
            Weight("output_weights", "classifier.weight", ("num_labels", _H)),
            Weight("output_bias", "classifier.bias", ("num_labels",)),
        ),
        # run_squad.py; its two rows are the start and the end of the answer.
        "squad": (
            Weight("cls/squad/output_weights", "qa_outputs.weight", (2, _H)),
            Weight("cls/squad/output_bias", "qa_outputs.bias", (2,)),
        ),
    }
)

_ENCODER = frozenset({"embeddings", "layers"})


def _class(name: str, needs: set[str], task: str, *logits: Logits, **more: Any) -> ModelClass:
    return ModelClass(name, frozenset(needs), _ENCODER | needs, False, task, logits, **more)


CLASSES = (
    _class(
        "BertForPreTraining",
        {"pooler", "mlm", "nsp"},
        "fill-mask",
        Logits("nsp_logits", ("seq_relationship_logits",), per_token=False),
        Logits("mlm_logits", ("prediction_logits",)),
    ),
    _class("BertForMaskedLM", {"mlm"}, "fill-mask", Logits("mlm_logits", ("logits",))),
    _class(
        "BertForSequenceClassification",
        {"pooler", "classifier"},
        "text-classification",
        Logits("logits", ("logits",), per_token=False),
        is_asked_for=True,
    ),
    _class(
        "BertForTokenClassification",
        {"classifier"},
        "token-classification",
        Logits("logits", ("logits",)),
        is_asked_for=True,
    ),
    _class(
        "BertForQuestionAnswering",
        {"squad"},
        "question-answering",
        Logits("span_logits", ("start_logits", "end_logits")),
    ),
    ModelClass("BertModel", frozenset(), _ENCODER | {"pooler"}, True, "feature-extraction"),
)

TRAINING_STATE: Mapping[str, str] = MappingProxyType(
    {
        r"global_step": "the training step counter",
        r".+/(adam|lamb)_[mv]": "the optimizer's moments (optimization.py of google-research/bert, and LAMB's like it)",
        r".+/(Adam|AdamW|LAMB|Momentum)(_\d)?|beta[12]_power": "the optimizer's slots (tf.train's own optimizers)",
        r"(.+/)?(current_)?loss_scale|(.+/)?(good|bad)_steps": "the loss scale of training in mixed precision",
        r"_CHECKPOINTABLE_OBJECT_GRAPH|(save_counter|global_step|optimizer)/.+": "TensorFlow 2's own records",
        r".+/\.OPTIMIZER_SLOT/(?!\w+/average/).+": "the optimizer's slots (TensorFlow 2)",
        r"(encoder|model)/_token_importance_embed/.+": "the tokens' importance while training (token dropping)",
    }
)
"""What training leaves in a checkpoint; any architecture's."""

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


class Original:
    """The arithmetic of `modeling.py` in one precision, over variables that are read by name.

    Args:
        tf: The `tensorflow` module.
        read: Gives a variable of the checkpoint by its name.
        config: The original config.
        activation: The GELU form to compute.
        inputs: `input_ids`, `attention_mask`, `token_type_ids`, each [batch, length].
        dtype: `float64` or `float32`.
    """

    def __init__(
        self,
        tf: Any,
        read: Callable[[str], npt.NDArray[Any]],
        config: Mapping[str, Any],
        activation: Activation,
        inputs: Mapping[str, npt.NDArray[np.int32]],
        dtype: str,
    ) -> None:
        self.tf, self.read, self.config = tf, read, config
        self.activation, self.inputs, self.dtype = activation, inputs, dtype

    def variable(self, name: str) -> Any:
        """A variable of the checkpoint, in the precision of this run."""
        return self.tf.cast(self.tf.constant(self.read(name)), self.dtype)

    def dense(self, x: Any, name: str) -> Any:
        """`tf.layers.dense` without an activation; on matrices, as the original's `reshape_to_matrix` makes them."""
        kernel, bias = self.variable(f"{name}/kernel"), self.variable(f"{name}/bias")
        rows = self.tf.matmul(self.tf.reshape(x, (-1, x.shape[-1])), kernel) + bias
        return self.tf.reshape(rows, (*x.shape[:-1], kernel.shape[-1]))

    def layer_norm(self, x: Any, name: str) -> Any:
        """`tf.contrib.layers.layer_norm` over the last axis."""
        tf = self.tf
        mean = tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axis=-1, keepdims=True)
        scaled = (x - mean) * tf.math.rsqrt(variance + tf.constant(LAYER_NORM_EPSILON, self.dtype))
        return scaled * self.variable(f"{name}/LayerNorm/gamma") + self.variable(f"{name}/LayerNorm/beta")

    def gelu(self, x: Any) -> Any:
        """The GELU, in the form that is asked for."""
        tf = self.tf
        if self.activation == "gelu":
            return x * 0.5 * (1.0 + tf.math.erf(x / tf.constant(math.sqrt(2.0), self.dtype)))
        return x * 0.5 * (1.0 + tf.tanh(tf.constant(math.sqrt(2.0 / math.pi), self.dtype) * (x + 0.044715 * x * x * x)))

    def embed(self, name: str) -> Any:
        """`embedding_lookup` and `embedding_postprocessor` with the tables below a scope: [batch, length, size]."""
        tf, ids = self.tf, self.inputs["input_ids"]
        words = tf.gather(self.variable(f"{name}/word_embeddings"), tf.constant(ids, tf.int32))
        segments = tf.gather(
            self.variable(f"{name}/token_type_embeddings"), tf.constant(self.inputs["token_type_ids"], tf.int32)
        )
        positions = self.variable(f"{name}/position_embeddings")[: ids.shape[1]]
        return self.layer_norm(words + segments + positions, name)

    def layers(self, x: Any, name: str) -> dict[str, Any]:
        """`transformer_model` on embeddings, with the layers below a scope.

        Returns:
            `embeddings`, then `layer 1 keys`, `layer 1`, `layer 2 keys`, … and `sequence_output`, each [batch, length,
            hidden]. Keys are what the attention's softmax is blind to: adding a vector to all of them changes nothing
            after it, so that a wrong key bias shows in them alone.
        """
        tf = self.tf
        batch, length = self.inputs["input_ids"].shape
        head_count, hidden = int(self.config["num_attention_heads"]), int(self.config["hidden_size"])
        head_size = hidden // head_count

        def split_heads(x: Any) -> Any:
            return tf.transpose(tf.reshape(x, (batch, length, head_count, head_size)), (0, 2, 1, 3))

        # The original adds -10000 to masked scores: as long as scores stay far below that, as trained ones do, real
        # positions get no weight from padding in either precision.
        mask = (1.0 - tf.cast(tf.constant(self.inputs["attention_mask"]), self.dtype))[:, None, None, :] * -10000.0
        outputs = {"embeddings": x}
        for n in range(int(self.config["num_hidden_layers"])):
            layer = f"{name}/layer_{n}"
            query = split_heads(self.dense(x, f"{layer}/attention/self/query"))
            outputs[f"layer {n + 1} keys"] = keys = self.dense(x, f"{layer}/attention/self/key")
            key = split_heads(keys)
            value = split_heads(self.dense(x, f"{layer}/attention/self/value"))
            scores = tf.matmul(query, key, transpose_b=True) * tf.constant(1.0 / math.sqrt(head_size), self.dtype)
            context = tf.transpose(tf.matmul(tf.nn.softmax(scores + mask), value), (0, 2, 1, 3))
            attended = self.dense(tf.reshape(context, (batch, length, hidden)), f"{layer}/attention/output/dense")
            x = self.layer_norm(attended + x, f"{layer}/attention/output")
            inner = self.gelu(self.dense(x, f"{layer}/intermediate/dense"))
            x = self.layer_norm(self.dense(inner, f"{layer}/output/dense") + x, f"{layer}/output")
            outputs[f"layer {n + 1}"] = x
        return {**outputs, "sequence_output": x}

    def some(self, x: Any, rows: npt.NDArray[np.int_] | None) -> Any:
        """The states at some positions, [rows, hidden]; where that is None, all, as they are."""
        return x if rows is None else self.tf.gather(self.tf.reshape(x, (-1, x.shape[-1])), rows)

    def scores(self, x: Any, weights: str, bias: str) -> Any:
        """Rows of weights against states, as all of the original's output layers have it."""
        table = self.variable(weights)
        rows = self.tf.matmul(self.tf.reshape(x, (-1, x.shape[-1])), table, transpose_b=True) + self.variable(bias)
        return self.tf.reshape(rows, (*x.shape[:-1], table.shape[0]))


def forward(
    tf: Any,
    read: Callable[[str], npt.NDArray[Any]],
    heads: frozenset[str],
    config: Mapping[str, Any],
    activation: Activation,
    inputs: Mapping[str, npt.NDArray[np.int32]],
    dtype: str,
    rows: npt.NDArray[np.int_] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Compute what the released graph computes, in TensorFlow, from the checkpoint's own variables.

    Written after `modeling.py` (`BertModel`, `transformer_model`, `attention_layer`), `run_pretraining.py`
    (`get_masked_lm_output`, `get_next_sentence_output`), `run_classifier.py` and `run_squad.py` (`create_model`).
    Nothing here is shared with the conversion: names are spelled again, kernels are used as they lie in the checkpoint,
    the layer-norm epsilon is the constant of the original.

    Args:
        tf: The `tensorflow` module.
        read: Gives a variable of the checkpoint by its name, as an array or a tensor.
        heads: Groups beyond the encoder that are published: any of `pooler`, `mlm`, `nsp`, `classifier`, `squad`. A
            classifier with the pooler is one of texts, without it one of tokens.
        config: The original bert_config.json.
        activation: The GELU form to compute.
        inputs: `input_ids`, `attention_mask`, `token_type_ids`, each [batch, length].
        dtype: `float64` or `float32`.
        rows: Numbers of the positions (of batch x length) at which `mlm_logits` are computed; None for all.

    Returns:
        Arrays by output name, in the order of the computation: what `Original.layers` gives, and, where the head is
        published, `pooled_output` [batch, hidden], `nsp_logits` [batch, 2], `mlm_logits` [batch, length, vocab] or
        [rows, vocab], `logits` [batch, labels] or [batch, length, labels], `span_logits` [batch, length, 2].
    """
    original = Original(tf, read, config, activation, inputs, dtype)
    outputs = original.layers(original.embed("bert/embeddings"), "bert/encoder")
    x = outputs["sequence_output"]
    if "pooler" in heads:
        outputs["pooled_output"] = tf.tanh(original.dense(x[:, 0], "bert/pooler/dense"))
    if "nsp" in heads:
        outputs["nsp_logits"] = original.scores(
            outputs["pooled_output"], "cls/seq_relationship/output_weights", "cls/seq_relationship/output_bias"
        )
    if "mlm" in heads:
        inner = original.gelu(original.dense(original.some(x, rows), "cls/predictions/transform/dense"))
        transformed = original.layer_norm(inner, "cls/predictions/transform")
        outputs["mlm_logits"] = original.scores(
            transformed, "bert/embeddings/word_embeddings", "cls/predictions/output_bias"
        )
    if "classifier" in heads:
        outputs["logits"] = original.scores(outputs.get("pooled_output", x), "output_weights", "output_bias")
    if "squad" in heads:
        outputs["span_logits"] = original.scores(x, "cls/squad/output_weights", "cls/squad/output_bias")
    return {name: output.numpy() for name, output in outputs.items()}


_A, _D = "num_attention_heads", "head_size"
_TF2_LAYER = "bert/encoder/layer_{n}"


def _tf2_layer(key: str) -> Iterator[LayoutRow]:
    """The rows of one layer of tf-models-official: attention kernels have an axis for the heads."""
    for name in ("query", "key", "value"):
        yield f"{key}/_attention_layer/_{name}_dense/kernel", f"{_TF2_LAYER}/attention/self/{name}/kernel", (_H, _A, _D)
        yield f"{key}/_attention_layer/_{name}_dense/bias", f"{_TF2_LAYER}/attention/self/{name}/bias", (_A, _D)
    # The same layer under two names: code of 2020 has it beside the attention, later code inside.
    for output in ("_attention_layer/_output_dense", "_attention_output_dense"):
        yield f"{key}/{output}/kernel", f"{_TF2_LAYER}/attention/output/dense/kernel", (_A, _D, _H)
        yield f"{key}/{output}/bias", f"{_TF2_LAYER}/attention/output/dense/bias", (_H,)
    for part in ("gamma", "beta"):
        yield f"{key}/_attention_layer_norm/{part}", f"{_TF2_LAYER}/attention/output/LayerNorm/{part}", (_H,)
        yield f"{key}/_output_layer_norm/{part}", f"{_TF2_LAYER}/output/LayerNorm/{part}", (_H,)
    for name, of, inputs, outputs in (
        ("_intermediate_dense", "intermediate/dense", _H, _I),
        ("_output_dense", "output/dense", _I, _H),
    ):
        yield f"{key}/{name}/kernel", f"{_TF2_LAYER}/{of}/kernel", (inputs, outputs)
        yield f"{key}/{name}/bias", f"{_TF2_LAYER}/{of}/bias", (outputs,)


def _tf2_layout(
    name: str, scope: str, words: str, positions: str, segments: str, norm: str, layer: str, pooler: str
) -> Layout:
    """A generation of tf-models-official's encoder; the MLM head and its naming is the same for all.

    A variable that can be reached by several paths is saved under one of them alone: word embeddings under the MLM head
    where there is one, and the pooler of Google's uncased release under the head for next sentences.
    """
    mlm, transform = "masked_lm", "cls/predictions/transform"
    rows: list[LayoutRow] = [
        (f"{{root}}{words}/embeddings", "bert/embeddings/word_embeddings", (_V, _H)),
        (f"{mlm}/embedding_table", "bert/embeddings/word_embeddings", (_V, _H)),
        (f"{{root}}{positions}/embeddings", "bert/embeddings/position_embeddings", ("max_position_embeddings", _H)),
        (f"{{root}}{segments}/embeddings", "bert/embeddings/token_type_embeddings", ("type_vocab_size", _H)),
        *((f"{{root}}{norm}/{part}", f"bert/embeddings/LayerNorm/{part}", (_H,)) for part in ("gamma", "beta")),
        *_tf2_layer(f"{{root}}{layer}"),
        *(
            row
            for key in (f"{{root}}{pooler}", "next_sentence..pooler_dense")
            for row in (
                (f"{key}/kernel", "bert/pooler/dense/kernel", (_H, _H)),
                (f"{key}/bias", "bert/pooler/dense/bias", (_H,)),
            )
        ),
        (f"{mlm}/dense/kernel", f"{transform}/dense/kernel", (_H, _H)),
        (f"{mlm}/dense/bias", f"{transform}/dense/bias", (_H,)),
        *((f"{mlm}/layer_norm/{part}", f"{transform}/LayerNorm/{part}", (_H,)) for part in ("gamma", "beta")),
        (f"{mlm}/output_bias.Sbias", "cls/predictions/output_bias", (_V,)),
    ]
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    return Layout(
        name,
        scope,
        tuple((key + suffix, place, shape) for key, place, shape in rows),
        activation_source="tf-models-official's BERT computes the tanh form unless it is told otherwise",
        forward_source="that of google-research/bert, which tf-models-official's BERT computes too; hubpush's tests"
        " compare what is published with outputs that tf-models-official's own encoders gave",
        assumes={
            "": "the encoder normalises behind each block, as tf-models-official's does unless it is told otherwise",
            "mlm": "the head for masked words has the encoder's activation, as tf-models-official's BERT gives it",
        },
    )


LAYOUTS = (
    _tf2_layout(
        "tf-models-official, layers by number (2019 to 2021)",
        r"(?P<root>model/|encoder/|)layer_with_weights-4/_attention_layer/",
        *("layer_with_weights-0", "layer_with_weights-1", "layer_with_weights-2", "layer_with_weights-3"),
        layer="layer_with_weights-{n+4}",
        pooler="layer_with_weights-{last+4}",
    ),
    _tf2_layout(
        "tf-models-official, layers by name (BertEncoderV2, since 2021)",
        r"(?P<root>model/|encoder/|)_transformer_layers/0/_attention_layer/",
        *("_embedding_layer", "_position_embedding_layer", "_type_embedding_layer", "_embedding_norm_layer"),
        layer="_transformer_layers/{n}",
        pooler="_pooler_layer",
    ),
)
"""The names of tf-models-official's object-based checkpoints, as its release 2.20 writes and reads them."""

ARCHITECTURE = Architecture(
    model_type="bert",
    scope="bert/",
    base_prefix="bert.",
    groups=GROUPS,
    required=_ENCODER,
    classes=CLASSES,
    left_out=TRAINING_STATE,
    config=CONFIG,
    ignored_config=IGNORED_CONFIG,
    layers_key="num_hidden_layers",
    activation="gelu_pytorch_tanh",
    activation_source="google-research/bert computes the tanh form since commit bee6030 (2019-02-07), whatever"
    " bert_config.json says",
    forward_source="written after `modeling.py` of google-research/bert; hubpush's tests compare it with that code",
    forward=forward,
    layouts=LAYOUTS,
    head_words=MappingProxyType({"mlm": "masked words", "nsp": "next sentence", "squad": "start and end of an answer"}),
    renamed=MappingProxyType({"cls/squad/": "qa_outputs/", "output_": "classifier/output_"}),
)
