"""Google's own BERT as the oracle of the tests: the modules of the PyPI package bert-tensorflow, run as they are.

They are TF1 code. Three things have gone since: `tf.contrib`, `tf.layers` (Keras 3 removed it from `tf.compat.v1` too)
and absl flags that nobody parses. Each module is therefore executed from its installed source file with an `__import__`
of its own that answers for `tensorflow`, `absl` and `bert`; everything else in the process stays as it was, sys.modules
and absl's FLAGS included.

    pip install --no-deps bert-tensorflow==1.0.4
"""

import builtins
import functools
import importlib.metadata
import importlib.util
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import numpy as np

from tests.checkpoints import HEADS, check_heads, tensorflow

_PACKAGE, _VERSION = "bert-tensorflow", "1.0.4"


# The modules ---------------------------------------------------------------------------------------------------------


@functools.cache
def modeling() -> ModuleType:
    """Google's modeling.py: `BertConfig`, `BertModel`, `gelu`, `layer_norm`, ..."""
    return _load("modeling")


@functools.cache
def tokenization() -> ModuleType:
    """Google's tokenization.py: `FullTokenizer`, `BasicTokenizer`, `WordpieceTokenizer`, ..."""
    return _load("tokenization")


@functools.cache
def run_pretraining() -> ModuleType:
    """Google's run_pretraining.py: `get_masked_lm_output`, `get_next_sentence_output`, ..."""
    return _load("run_pretraining", modeling=modeling(), optimization=optimization())


@functools.cache
def run_classifier() -> ModuleType:
    """Google's run_classifier.py: `create_model`, ..."""
    return _load("run_classifier", **_siblings())


@functools.cache
def run_squad() -> ModuleType:
    """Google's run_squad.py: `create_model`, ..."""
    return _load("run_squad", **_siblings())


@functools.cache
def optimization() -> ModuleType:
    """Google's optimization.py: `create_optimizer`."""
    return _load("optimization")


def _siblings() -> dict[str, ModuleType]:
    return {"modeling": modeling(), "optimization": optimization(), "tokenization": tokenization()}


class _TensorFlow(SimpleNamespace):
    """`tf.compat.v1` with what is given here in addition."""

    def __getattr__(self, name: str) -> Any:
        return getattr(tensorflow().compat.v1, name)


def _load(name: str, **siblings: ModuleType) -> ModuleType:
    """Executes one of the package's modules; `siblings` are what it gets by `from bert import ...`."""
    flags = _flags()
    v1 = _TensorFlow(layers=SimpleNamespace(dense=_dense), flags=flags)
    answers: dict[str, Any] = {
        "tensorflow.compat.v1": SimpleNamespace(compat=SimpleNamespace(v1=v1)),  # import tensorflow.compat.v1 as tf
        "tensorflow.contrib": SimpleNamespace(layers=SimpleNamespace(layer_norm=_layer_norm)),
        "absl": SimpleNamespace(flags=flags),
        "bert": SimpleNamespace(**siblings),
    }

    def import_for_google(module: str, *arguments: Any, **keywords: Any) -> Any:
        if module.partition(".")[0] in ("tensorflow", "absl", "bert"):
            return answers[module]
        return builtins.__import__(module, *arguments, **keywords)

    spec = importlib.util.spec_from_file_location(f"google_bert_{name}", _source(name))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Python looks `__import__` up in the builtins of the code that it runs, so these are this module's alone.
    vars(module)["__builtins__"] = vars(builtins) | {"__import__": import_for_google}
    spec.loader.exec_module(module)
    flags.FLAGS(["google"])
    return module


def _source(name: str) -> Path:
    """Path of a module's source file in the installed package, which must be the version that the tests know."""
    package = importlib.metadata.distribution(_PACKAGE)
    if package.version != _VERSION:
        raise ImportError(f"the tests know {_PACKAGE} {_VERSION}, not {package.version}")
    return Path(str(package.locate_file(f"bert/{name}.py")))


def _flags() -> SimpleNamespace:
    """absl.flags with FLAGS of its own, as far as Google's modules use it."""
    from absl import flags

    values = flags.FlagValues()
    kinds = ("bool", "float", "integer", "string")
    define = {
        f"DEFINE_{kind}": functools.partial(getattr(flags, f"DEFINE_{kind}"), flag_values=values) for kind in kinds
    }
    return SimpleNamespace(FLAGS=values, **define)


def _dense(inputs: Any, units: int, activation: Any = None, *, kernel_initializer: Any = None) -> Any:
    """tf.layers.dense for matrices: variables `dense/kernel` and `dense/bias`, `dense_1/...` beside them, and so on."""
    v1 = tensorflow().compat.v1
    _, width = inputs.shape.as_list()
    with v1.variable_scope(None, default_name="dense"):
        kernel = v1.get_variable("kernel", [width, units], inputs.dtype, kernel_initializer)
        bias = v1.get_variable("bias", [units], inputs.dtype, v1.zeros_initializer())
        outputs = v1.nn.bias_add(v1.matmul(inputs, kernel), bias)
        return outputs if activation is None else activation(outputs)


def _layer_norm(inputs: Any, *, begin_norm_axis: int, begin_params_axis: int, scope: str | None = None) -> Any:
    """tf.contrib.layers.layer_norm over the last axis: `LayerNorm/beta`, `LayerNorm/gamma`, epsilon 1e-12.

    As there, the variance is tf.nn.moments' and the rest tf.nn.batch_normalization.
    """
    assert begin_norm_axis == begin_params_axis == -1
    assert inputs.dtype.name in ("float32", "float64")  # tf.contrib has another epsilon for float16
    v1 = tensorflow().compat.v1
    shape = inputs.shape[-1:]
    with v1.variable_scope(scope, "LayerNorm", [inputs]):
        beta = v1.get_variable("beta", shape, inputs.dtype, v1.zeros_initializer())
        gamma = v1.get_variable("gamma", shape, inputs.dtype, v1.ones_initializer())
        mean, variance = v1.nn.moments(inputs, [inputs.shape.ndims - 1], keep_dims=True)
        return v1.nn.batch_normalization(inputs, mean, variance, offset=beta, scale=gamma, variance_epsilon=1e-12)


# The graph -----------------------------------------------------------------------------------------------------------


def variables_of_graph(config: Mapping[str, Any], heads: bool | Collection[str] = True) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the variables that Google's graph creates.

    Args:
        config: A bert_config.json as a dict.
        heads: True for the pooler and both pretraining heads, False for the pooler alone (which `BertModel` always
            has), or those wanted of "pooler", "mlm" and "nsp".
    """
    tf = tensorflow()
    with tf.Graph().as_default():
        ids = tf.zeros([1, 2], tf.int32)
        _graph(config, ids, ids, ids, _heads(heads))
        return {name: tuple(variable.shape.as_list()) for name, variable in _variables(_heads(heads)).items()}


def outputs(
    prefix: str | Path,
    config: Mapping[str, Any],
    input_ids: Any,
    input_mask: Any,
    segment_ids: Any,
    *,
    heads: bool | Collection[str] = True,
) -> dict[str, np.ndarray[Any, Any]]:
    """What Google's float32 graph computes with a checkpoint, restored by tf.compat.v1.train.Saver.

    The Saver is strict: a variable that the graph has and the checkpoint has not is an error, as is a wrong shape.

    Args:
        prefix: The checkpoint's prefix.
        config: Its bert_config.json as a dict.
        input_ids: Token numbers, [batch, length].
        input_mask: 1 for real tokens, 0 for padding, [batch, length].
        segment_ids: 0 for the first, 1 for the second text, [batch, length].
        heads: True for the pooler and both pretraining heads, False for the pooler alone, or those wanted of "pooler",
            "mlm" and "nsp" ("nsp" needs "pooler").

    Returns:
        `embedding`, `layer_1_keys`, `layer_1` ... `layer_N` and `sequence_output` (the last layer), each [batch,
        length, hidden], and with the heads `pooled_output` [batch, hidden], `mlm_logits` [batch, length, vocabulary]
        for every position, and `nsp_logits` [batch, 2].
    """
    arrays = [np.asarray(array, np.int32) for array in (input_ids, input_mask, segment_ids)]
    placeholders, tensors, saver = _built(
        json.dumps(config), arrays[0].shape, frozenset(_heads(heads)), modeling().gelu
    )
    with tensorflow().compat.v1.Session(graph=placeholders[0].graph) as session:
        saver.restore(session, str(prefix))
        results: dict[str, np.ndarray[Any, Any]] = session.run(tensors, dict(zip(placeholders, arrays, strict=True)))
    return results


@functools.lru_cache(maxsize=16)
def _built(
    config: str, shape: tuple[int, int], heads: Collection[str], _gelu: object
) -> tuple[list[Any], dict[str, Any], Any]:
    """The graph for inputs of a shape: where they go, what comes out, and the Saver of its variables.

    Its sessions each have variables of their own, so one graph does for all checkpoints of its configuration, and of
    the GELU that modeling.py has now, which a test may have exchanged.
    """
    tf = tensorflow()
    with tf.Graph().as_default():
        placeholders = [tf.compat.v1.placeholder(tf.int32, shape) for _ in range(3)]
        tensors = _graph(json.loads(config), *placeholders, heads)
        return placeholders, tensors, tf.compat.v1.train.Saver(_variables(heads))


def task_logits(
    prefix: str | Path, config: Mapping[str, Any], input_ids: Any, input_mask: Any, segment_ids: Any, labels: int | None
) -> np.ndarray[Any, Any]:
    """The scores that Google's fine-tuning graphs compute with a checkpoint, restored as `outputs` does.

    Args:
        prefix: The checkpoint's prefix.
        config: Its bert_config.json as a dict.
        input_ids: Token numbers, [batch, length].
        input_mask: 1 for real tokens, 0 for padding, [batch, length].
        segment_ids: 0 for the first, 1 for the second text, [batch, length].
        labels: Number of run_classifier's labels; None for run_squad's start and end.

    Returns:
        [batch, labels], or [batch, length, 2].
    """
    tf = tensorflow()
    v1 = tf.compat.v1
    arrays = [np.asarray(array, np.int32) for array in (input_ids, input_mask, segment_ids)]
    with _dimensions_with_values(), tf.Graph().as_default(), v1.Session() as session:
        placeholders = [v1.placeholder(tf.int32, array.shape) for array in arrays]
        bert_config = modeling().BertConfig.from_dict(config)
        if labels is None:
            logits = tf.stack(run_squad().create_model(bert_config, False, *placeholders, False), axis=-1)
        else:
            truth = v1.zeros([len(arrays[0])], v1.int32)  # for the loss, which nobody asks for
            _, _, logits, _ = run_classifier().create_model(bert_config, False, *placeholders, truth, labels, False)
        v1.train.Saver().restore(session, str(prefix))
        result: np.ndarray[Any, Any] = session.run(logits, dict(zip(placeholders, arrays, strict=True)))
    return result


def train(
    start: str | Path,
    output: str | Path,
    config: Mapping[str, Any],
    task: Literal["pretraining", "classifier", "squad"],
    labels: int = 3,
    steps: int = 2,
) -> Path:
    """Trains Google's own graph for a few steps with Google's own optimizer, and saves all of it as an Estimator does.

    Args:
        start: Checkpoint to begin with; it holds all of the task's variables.
        output: Directory to save to: `model.ckpt-<steps>` with its `.meta`, and the state file `checkpoint`.
        config: The bert_config.json of both.
        task: Whose graph: run_pretraining.py's, run_classifier.py's, run_squad.py's.
        labels: Number of the classifier's labels.
        steps: Number of steps.

    Returns:
        The prefix.
    """
    tf = tensorflow()
    v1 = tf.compat.v1
    random = np.random.default_rng(5)
    with _dimensions_with_values(), tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(5)
        ids = tf.constant(random.integers(104, config["vocab_size"], (4, 16)), tf.int32)
        mask, segments = tf.ones_like(ids), tf.constant(random.integers(0, 2, (4, 16)), tf.int32)
        bert_config = modeling().BertConfig.from_dict(config)
        truth = tf.constant([0, 1, 1, 0], tf.int32)
        if task == "classifier":
            loss, *_ = run_classifier().create_model(bert_config, True, ids, mask, segments, truth, labels, False)
        elif task == "squad":
            spans = run_squad().create_model(bert_config, True, ids, mask, segments, False)
            loss = sum(
                tf.reduce_mean(v1.nn.sparse_softmax_cross_entropy_with_logits(labels=truth, logits=logits))
                for logits in spans
            )
        else:
            model = modeling().BertModel(bert_config, True, ids, mask, segments)
            masked, *_ = run_pretraining().get_masked_lm_output(
                bert_config,
                model.get_sequence_output(),
                model.get_embedding_table(),
                tf.constant([[1, 5]] * 4),
                ids[:, 1:3],
                tf.ones([4, 2]),
            )
            following, *_ = run_pretraining().get_next_sentence_output(bert_config, model.get_pooled_output(), truth)
            loss = masked + following
        model_variables = v1.trainable_variables()
        step = optimization().create_optimizer(loss, 1e-2, 10, 0, False)
        session.run(v1.global_variables_initializer())
        v1.train.Saver(model_variables).restore(session, str(start))
        for _ in range(steps):
            session.run(step)
        saved = v1.train.Saver().save(session, str(Path(output) / "model.ckpt"), global_step=steps)
    return Path(saved)


@contextmanager
def _dimensions_with_values() -> Iterator[None]:
    """run_classifier.py asks a dimension for its `value`, which it has in the old kind of shapes alone."""
    v1 = tensorflow().compat.v1
    v1.disable_v2_tensorshape()
    try:
        yield
    finally:
        v1.enable_v2_tensorshape()


def _heads(heads: bool | Collection[str]) -> Collection[str]:
    if isinstance(heads, bool):
        return HEADS if heads else ("pooler",)
    check_heads(heads)
    if "nsp" in heads and "pooler" not in heads:
        raise ValueError("the nsp head reads the pooler's output")
    return heads


def _graph(config: Mapping[str, Any], ids: Any, mask: Any, segments: Any, heads: Collection[str]) -> dict[str, Any]:
    """Builds BertModel and the pretraining heads in the current graph; returns the output tensors by name."""
    v1 = tensorflow().compat.v1
    bert_config = modeling().BertConfig.from_dict(config)
    model = modeling().BertModel(bert_config, False, ids, mask, segments)
    layers = model.get_all_encoder_layers()
    tensors = {"embedding": model.get_embedding_output()}
    for n, layer in enumerate(layers, start=1):
        keys = layer.graph.get_tensor_by_name(f"bert/encoder/layer_{n - 1}/attention/self/key/add:0")
        tensors[f"layer_{n}_keys"] = v1.reshape(keys, layer.shape)  # [batch, length, heads, size] there
        tensors[f"layer_{n}"] = layer
    tensors["sequence_output"] = model.get_sequence_output()
    if "pooler" in heads:
        tensors["pooled_output"] = model.get_pooled_output()
    batch, length = ids.shape.as_list()
    if "mlm" in heads:
        positions = v1.tile(v1.expand_dims(v1.range(length), 0), [batch, 1])
        labels = v1.zeros([batch, length], v1.int32)  # for the loss, which nobody asks for
        _, _, log_probabilities = run_pretraining().get_masked_lm_output(
            bert_config,
            model.get_sequence_output(),
            model.get_embedding_table(),
            positions,
            labels,
            v1.ones_like(layers[0][..., 0]),
        )
        tensors["mlm_logits"] = v1.reshape(_logits(log_probabilities), [batch, length, -1])
    if "nsp" in heads:
        labels = v1.zeros([batch], v1.int32)
        _, _, log_probabilities = run_pretraining().get_next_sentence_output(
            bert_config, model.get_pooled_output(), labels
        )
        tensors["nsp_logits"] = _logits(log_probabilities)
    return tensors


def _logits(log_probabilities: Any) -> Any:
    """The tensor that Google's function took the log-softmax of; the function returns only the latter."""
    softmax = log_probabilities.op
    assert softmax.type == "LogSoftmax", softmax.type
    (logits,) = softmax.inputs
    assert logits.op.type == "BiasAdd", logits.op.type
    return logits


def _variables(heads: Collection[str]) -> dict[str, Any]:
    """The current graph's variables by name, without the pooler's if that is not among the heads."""
    variables = {variable.op.name: variable for variable in tensorflow().compat.v1.global_variables()}
    return {name: v for name, v in variables.items() if "pooler" in heads or not name.startswith("bert/pooler/")}
