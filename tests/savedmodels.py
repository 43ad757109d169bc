"""Writes SavedModels as TensorFlow Hub and Kaggle publish them: tiny, from given variables, by TensorFlow itself.

The TF1 form is Google's own graph. The TF2 form is written here after what tf-models-official exports: its names, its
shapes and its arithmetic; `hubpush.parity.tfhub` was tried on that package's own exports too, which need more packages
than the tests have.
"""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from hubpush.architectures import Activation
from tests import google_bert
from tests.checkpoints import tensorflow

Variables = Mapping[str, np.ndarray[Any, Any]]


def write_tf2(
    folder: str | Path,
    variables: Variables,
    config: Mapping[str, Any],
    vocab_lines: Sequence[str],
    *,
    cased: bool | None = False,
    activation: Activation = "gelu_pytorch_tanh",
    scope: str = "",
    listed: bool = False,
    change: Callable[[Any], Any] | None = None,
) -> Path:
    """Writes the TF2 form: a callable over the three inputs.

    As with Keras' exports, `training` must be said: with it, dropout acts.

    Args:
        folder: Where to.
        variables: As `tests.checkpoints.bert_variables` makes them, with the pooler and perhaps the MLM head.
        config: Their configuration.
        vocab_lines: The vocabulary; its file is an asset. None are written if there are none.
        cased: The opposite of `do_lower_case`; None leaves that out.
        activation: The GELU form that it computes.
        scope: What the encoder's names begin with: `bert_encoder_v2_1/`, or nothing.
        listed: As in 2019: a list of inputs and of outputs, names below `bert_model/`, and no layers.
        change: Of the embeddings' sum when the module is called, for graphs that do something else besides.

    Returns:
        The folder.
    """
    tf = tensorflow()
    folder, heads, hidden = Path(folder), config["num_attention_heads"], config["hidden_size"]
    scope = "bert_model/" if listed else scope
    module = tf.Module()
    held: dict[str, Any] = {}

    def hold(name: str, place: str, *shape: int) -> None:
        value = variables[place]
        held[place] = tf.Variable(value.reshape(shape) if shape else value, name=name)

    hold(f"{scope}word_embeddings/embeddings", "bert/embeddings/word_embeddings")
    positions, segments, norm, layer, output = (
        "embedding_postprocessor/position_embeddings embedding_postprocessor/type_embeddings"
        " embedding_postprocessor/layer_norm encoder/layer_ self_attention_output"
        if listed
        else "position_embedding/embeddings type_embeddings/embeddings"
        " embeddings/layer_norm transformer/layer_ self_attention/attention_output"
    ).split()
    hold(scope + positions, "bert/embeddings/position_embeddings")
    hold(scope + segments, "bert/embeddings/token_type_embeddings")
    for part in ("gamma", "beta"):
        hold(f"{scope}{norm}/{part}", f"bert/embeddings/LayerNorm/{part}")
    for n in range(config["num_hidden_layers"]):
        of, to = f"{scope}{layer}{n}", f"bert/encoder/layer_{n}"
        for name in ("query", "key", "value"):
            hold(f"{of}/self_attention/{name}/kernel", f"{to}/attention/self/{name}/kernel", hidden, heads, -1)
            hold(f"{of}/self_attention/{name}/bias", f"{to}/attention/self/{name}/bias", heads, -1)
        hold(f"{of}/{output}/kernel", f"{to}/attention/output/dense/kernel", heads, -1, hidden)
        hold(f"{of}/{output}/bias", f"{to}/attention/output/dense/bias")
        for part in ("kernel", "bias"):
            hold(f"{of}/intermediate/{part}", f"{to}/intermediate/dense/{part}")
            hold(f"{of}/output/{part}", f"{to}/output/dense/{part}")
        for part in ("gamma", "beta"):
            hold(f"{of}/self_attention_layer_norm/{part}", f"{to}/attention/output/LayerNorm/{part}")
            hold(f"{of}/output_layer_norm/{part}", f"{to}/output/LayerNorm/{part}")
    for part in ("kernel", "bias"):
        hold(f"{scope}pooler_transform/{part}", f"bert/pooler/dense/{part}")
    if "cls/predictions/output_bias" in variables:
        head = "cls/predictions/"
        for part in ("dense/kernel", "dense/bias", "LayerNorm/gamma", "LayerNorm/beta"):
            hold(f"bert/{head}transform/{part}", f"{head}transform/{part}")
        hold(f"bert/{head}output_bias/bias", f"{head}output_bias")

    def dropout(x: Any, training: bool) -> Any:
        return tf.nn.dropout(x, 0.5) if training else x

    def gelu(x: Any) -> Any:
        if activation == "gelu":
            return 0.5 * x * (1.0 + tf.math.erf(x / math.sqrt(2.0)))
        return 0.5 * x * (1.0 + tf.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * tf.pow(x, 3))))

    def layer_norm(x: Any, name: str) -> Any:
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        gamma, beta = held[f"{name}/LayerNorm/gamma"], held[f"{name}/LayerNorm/beta"]
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-12)

    def dense(x: Any, name: str, equation: str = "...x,xy->...y") -> Any:
        return tf.einsum(equation, x, held[f"{name}/kernel"]) + held[f"{name}/bias"]

    def encode(
        ids: Any, mask: Any, types: Any, training: bool, change: Callable[[Any], Any] | None
    ) -> tuple[Any, list[Any]]:
        x = tf.gather(held["bert/embeddings/word_embeddings"], ids)
        x += tf.gather(held["bert/embeddings/token_type_embeddings"], types)
        x += held["bert/embeddings/position_embeddings"][: tf.shape(ids)[1]]
        x = dropout(layer_norm(x if change is None else change(x), "bert/embeddings"), training)
        # Keras' attention adds -1e9 where tf-models-official's mask is 0, and asks for no query's sake.
        mask = (1.0 - tf.cast(mask, tf.float32))[:, None, None, :] * -1e9
        states = []
        for n in range(config["num_hidden_layers"]):
            name = f"bert/encoder/layer_{n}"
            query, key, value = (
                dense(x, f"{name}/attention/self/{part}", "abc,cde->abde") for part in ("query", "key", "value")
            )
            scores = tf.einsum("aecd,abcd->acbe", key, query * (hidden // heads) ** -0.5) + mask
            context = tf.einsum("acbe,aecd->abcd", tf.nn.softmax(scores), value)
            attended = dense(context, f"{name}/attention/output/dense", "abcd,cde->abe")
            x = layer_norm(x + dropout(attended, training), f"{name}/attention/output")
            inner = gelu(dense(x, f"{name}/intermediate/dense"))
            x = layer_norm(x + dropout(dense(inner, f"{name}/output/dense"), training), f"{name}/output")
            states.append(x)
        return tf.tanh(dense(x[:, 0], "bert/pooler/dense")), states

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def call(inputs: Any, training: bool | None = None) -> Any:
        ids, mask, types = inputs if listed else [inputs[name] for name in names]
        pooled, states = encode(ids, mask, types, bool(training), change)
        if listed:
            return [pooled, states[-1]]
        return {"pooled_output": pooled, "default": pooled, "sequence_output": states[-1], "encoder_outputs": states}

    names = ("input_word_ids", "input_mask", "input_type_ids")
    specs = {name: tf.TensorSpec([None, None], tf.int32, name) for name in names}
    for training in (True, False):
        call.get_concrete_function(list(specs.values()) if listed else specs, training=training)

    @tf.function(autograph=False, input_signature=[specs])  # type: ignore[untyped-decorator]
    def serve(inputs: Any) -> Any:
        ids, mask, types = (inputs[name] for name in names)
        pooled, states = encode(ids, mask, types, False, None)
        return {"pooled_output": pooled, "sequence_output": states[-1]}

    module.held, module.__call__ = list(held.values()), call
    if cased is not None:
        module.do_lower_case = tf.Variable(not cased, trainable=False)
    if vocab_lines:
        module.vocab_file = tf.saved_model.Asset(str(_write_vocab(folder, vocab_lines)))
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    (folder / "vocab.txt").unlink(missing_ok=True)
    return folder


def write_tf1(
    folder: str | Path,
    variables: Variables,
    config: Mapping[str, Any],
    vocab_lines: Sequence[str],
    *,
    cased: bool = False,
    activation: Activation = "gelu_pytorch_tanh",
    prefix: str = "",
    resource: bool = False,
) -> Path:
    """Writes the TF1 form: Google's own graph below the signature `tokens`, as a module of TensorFlow Hub.

    Args:
        folder: Where to.
        variables: As `tests.checkpoints.bert_variables` makes them, with the pooler and perhaps the MLM head.
        config: Their configuration.
        vocab_lines: The vocabulary; its file is an asset.
        cased: The opposite of `do_lower_case`.
        activation: The GELU form that it computes.
        prefix: What all names begin with: `module/`, or nothing.
        resource: With resource variables; the modules of 2018 to 2020 have the older kind.

    Returns:
        The folder.
    """
    tf = tensorflow()
    v1 = tf.compat.v1
    folder = Path(folder)

    def erf_gelu(x: Any) -> Any:
        return x * 0.5 * (1.0 + tf.math.erf(x / math.sqrt(2.0)))

    modeling = google_bert.modeling()
    gelu = erf_gelu if activation == "gelu" else modeling.gelu
    names = ("input_ids", "input_mask", "segment_ids")
    with mock.patch.object(modeling, "gelu", gelu), tf.Graph().as_default(), v1.Session() as session:
        inputs = {name: v1.placeholder(tf.int32, [None, None], name) for name in names}
        bert_config = modeling.BertConfig.from_dict(config)
        scope = v1.get_variable_scope() if not prefix else v1.VariableScope(reuse=False, name=prefix.rstrip("/"))
        scope.set_use_resource(resource)
        with v1.variable_scope(scope):
            model = modeling.BertModel(bert_config, False, *inputs.values())
            outputs = {"sequence_output": model.get_sequence_output(), "pooled_output": model.get_pooled_output()}
            mlm = {}
            if "cls/predictions/output_bias" in variables:
                positions = v1.placeholder(tf.int32, [None, None], "mlm_positions")
                *_, log_probabilities = google_bert.run_pretraining().get_masked_lm_output(
                    bert_config,
                    outputs["sequence_output"],
                    model.get_embedding_table(),
                    positions,
                    tf.zeros_like(positions),  # for the loss, which nobody asks for
                    tf.ones_like(positions, tf.float32),
                )
                mlm = {"mlm_logits": log_probabilities.op.inputs[0]}
        for variable in v1.global_variables():
            variable.load(variables[variable.op.name.removeprefix(prefix)], session)
        origin = folder.parent / f"{folder.name}-vocab"
        vocab = tf.constant(str(_write_vocab(origin, vocab_lines)))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, vocab)

        def signature(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
            both = ({name: info(tensor) for name, tensor in tensors.items()} for tensors in (inputs, outputs))
            return v1.saved_model.build_signature_def(*both)

        info = v1.saved_model.build_tensor_info
        signatures = {
            "tokens": signature(inputs, outputs),
            "tokenization_info": signature({}, {"vocab_file": vocab, "do_lower_case": tf.constant(not cased)}),
        }
        if mlm:
            signatures["mlm"] = signature({**inputs, "mlm_positions": positions}, {**outputs, **mlm})
        builder = v1.saved_model.Builder(str(folder))
        assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)
        builder.add_meta_graph_and_variables(session, [], signatures, assets)
        builder.add_meta_graph(["train"], signatures, assets)
        builder.save()
    shutil.rmtree(origin)
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")  # the module format's number, as tensorflow_hub writes it
    return folder


def _write_vocab(folder: Path, lines: Sequence[str]) -> Path:
    """The file that TensorFlow copies to the assets under its own name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vocab.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
