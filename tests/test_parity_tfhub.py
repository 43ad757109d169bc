"""Published SavedModels: what they compute, hold and declare is read as it is; what must not run here is refused."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubpush.architectures import bert
from hubpush.errors import SourceError
from hubpush.parity.tfhub import SavedModel, places
from tests import google_bert
from tests.checkpoints import TINY, VOCAB, bert_variables, tensorflow, write_checkpoint
from tests.savedmodels import write_tf1, write_tf2

VARIABLES = bert_variables(TINY, ("pooler", "mlm"))
# For tests to which sizes do not matter.
SMALL = {**TINY, "hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 8}
SMALL_VARIABLES = bert_variables(SMALL, ("pooler",))
INPUTS = {
    "input_ids": np.random.default_rng(3).integers(104, TINY["vocab_size"], (2, 12)).astype(np.int32),
    "attention_mask": (np.arange(12) < [[12], [7]]).astype(np.int32),
    "token_type_ids": (np.arange(12) >= [[5], [4]]).astype(np.int32),
}
FORMS: dict[str, tuple[Callable[..., Path], dict[str, Any]]] = {
    "TF2": (write_tf2, {"scope": "bert_encoder_v2_1/"}),
    "TF2, erf": (write_tf2, {"activation": "gelu", "cased": True}),
    "TF2 of 2019": (write_tf2, {"listed": True}),
    "TF1": (write_tf1, {}),
    "TF1, erf": (write_tf1, {"activation": "gelu", "cased": True, "prefix": "module/"}),
    "TF1, resource variables": (write_tf1, {"resource": True}),
}


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SavedModel]:
    """Each form, written and loaded once."""
    root = tmp_path_factory.mktemp("savedmodels")
    return {
        name: SavedModel(write(root / f"m{n}", VARIABLES, TINY, VOCAB, **options))
        for n, (name, (write, options)) in enumerate(FORMS.items())
    }


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """What Google's own graph computes with the same variables, by the GELU form."""
    prefix = write_checkpoint(tmp_path_factory.mktemp("google") / "bert_model.ckpt", VARIABLES)

    def compute() -> dict[str, np.ndarray[Any, Any]]:
        outputs = google_bert.outputs(prefix, TINY, *INPUTS.values(), heads=("pooler",))
        return {name.replace("_", " ") if name.startswith("layer") else name: o for name, o in outputs.items()}

    tf = tensorflow()
    erf = mock.patch.object(google_bert.modeling(), "gelu", lambda x: x * 0.5 * (1.0 + tf.math.erf(x / 2**0.5)))
    tanh_outputs = compute()
    with erf:
        return {"gelu_pytorch_tanh": tanh_outputs, "gelu": compute()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both forms, with one small layer. Read only."""
    root = tmp_path_factory.mktemp("small")
    return {
        "TF2": write_tf2(root / "tf2", SMALL_VARIABLES, SMALL, VOCAB),
        "TF1": write_tf1(root / "tf1", SMALL_VARIABLES, SMALL, VOCAB),
    }


@pytest.fixture
def tf1(small: dict[str, Path], tmp_path: Path) -> Path:
    """A writable copy of a TF1 module."""
    return Path(shutil.copytree(small["TF1"], tmp_path / "tf1"))


@pytest.fixture
def tf2(small: dict[str, Path], tmp_path: Path) -> Path:
    """A writable copy of a TF2 module."""
    return Path(shutil.copytree(small["TF2"], tmp_path / "tf2"))


def _edit(folder: Path, change: Callable[[Any], Any]) -> Path:
    """Changes saved_model.pb by hand, as nobody's exporter would."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    change(proto)
    (folder / "saved_model.pb").write_bytes(proto.SerializeToString())
    return folder


def _refused(folder: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        SavedModel(folder).run(INPUTS)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


# What modules give ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_outputs_are_those_of_googles_graph(
    form: str, modules: Mapping[str, SavedModel], expected: Mapping[str, Mapping[str, np.ndarray[Any, Any]]]
) -> None:
    """Each form computes what Google's own graph computes from the same variables with its GELU form, to rounding."""
    activation = FORMS[form][1].get("activation", "gelu_pytorch_tanh")
    outputs = modules[form].run(INPUTS)
    names = {"sequence_output", "pooled_output"}
    if form in ("TF2", "TF2, erf"):
        names |= {"layer 1", "layer 2", "layer 3"}
    assert set(outputs) == names
    for name, output in outputs.items():
        assert output.dtype == np.float32
        np.testing.assert_allclose(output, expected[activation][name], rtol=0, atol=1e-5)  # measured: 1.8e-6
        other = expected["gelu" if activation != "gelu" else "gelu_pytorch_tanh"][name]
        assert np.abs(output - other).max() > 1e-4


@pytest.mark.parametrize("form", FORMS)
def test_variables_are_found_in_their_places_bit_by_bit(form: str, modules: Mapping[str, SavedModel]) -> None:
    """Every variable of a module has its place in the weight map, all places are taken, and the bits are the same."""
    arrays = modules[form].variables()
    found = places(arrays)
    assert set(found) == set(arrays)
    assert set(found.values()) == set(VARIABLES)
    for name, place in found.items():
        assert arrays[name].tobytes() == VARIABLES[place].tobytes(), name


@pytest.mark.parametrize("form", FORMS)
def test_vocabulary_and_casing_are_what_the_module_declares(form: str, modules: Mapping[str, SavedModel]) -> None:
    """Form, vocabulary and casing are read from the module alone, not from where it was exported."""
    write, options = FORMS[form]
    module = modules[form]
    assert module.form == ("TF2" if write is write_tf2 else "TF1 hub")
    assert module.vocab == list(VOCAB)
    assert module.cased is options.get("cased", False)


def test_module_that_declares_nothing_says_nothing(tmp_path: Path) -> None:
    """Without a vocabulary or a word on casing, both are None: neither is guessed."""
    module = SavedModel(write_tf2(tmp_path / "bare", SMALL_VARIABLES, SMALL, (), cased=None))
    assert module.vocab is None
    assert module.cased is None


def test_vocabulary_is_read_line_by_line(tf2: Path) -> None:
    """Only a newline ends a line of the vocabulary, whatever else Unicode calls a line's end."""
    (tf2 / "assets" / "vocab.txt").write_bytes("[PAD]\na\u2028b\n\u0085\n".encode())
    assert SavedModel(tf2).vocab == ["[PAD]", "a\u2028b", "\u0085"]


def test_nothing_is_written_to_the_terminal(small: Mapping[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    """Loading and running either form says nothing."""
    for form in ("TF2", "TF1"):
        module = SavedModel(small[form])
        module.run(INPUTS)
        module.variables()
    assert capfd.readouterr() == ("", "")


# Names ---------------------------------------------------------------------------------------------------------------

GOOGLE = [
    weight.variable.replace("{n}", n)
    for group in ("embeddings", "layers", "pooler", "mlm", "nsp")
    for weight in bert.GROUPS[group]
    for n in ("0", "1", "11")
]


@given(root=st.sampled_from(["", "module/", "bert_module_1/", "a/b/"]), left_out=st.sets(st.sampled_from(GOOGLE[3:])))
def test_googles_names_are_their_own_places_below_any_prefix(root: str, left_out: set[str]) -> None:
    """A TF1 module's names are places as they are below one prefix, and all that stands elsewhere has no place."""
    names = [root + name for name in dict.fromkeys(GOOGLE) if name not in left_out]
    found = places([*names, "global_step", "other/bert/pooler/dense/kernel", f"{root}bert/unknown/kernel"])
    assert found == {name: name.removeprefix(root) for name in names}


@pytest.mark.parametrize(
    "name",
    [
        "transformer/layer_01/output/kernel",
        "transformer/layer_x/output/kernel",
        "transformer/layer_0/output/kernel_1",
        "transformer/layer_0/layer_1/output/kernel",
        "layer_0/output/kernel",
        "embedding_projection/kernel",
        "e/word_embeddings/embeddings/Adam",
        "e/transformer/layer_٣/output/kernel",
        "Variable",
        "Variable (1)",
        "",
    ],
)
def test_unknown_names_have_no_place(name: str) -> None:
    """What is not exactly a known name of an encoder is left out."""
    known = {"e/word_embeddings/embeddings": "bert/embeddings/word_embeddings"}
    assert places([*known, name, f"e/{name}"]) == known
    assert places([*known, name]) == known


def test_names_that_are_not_clear_have_no_place() -> None:
    """Two names of one place, one name that comes twice, and two encoders beside one another are not decided."""
    anchor = "word_embeddings/embeddings"
    inside, beside = (f"transformer/layer_0/self_attention{n}/bias" for n in ("/attention_output", "_output"))
    assert set(places([anchor, inside])) == {anchor, inside}
    assert set(places([anchor, inside, beside])) == {anchor}
    assert set(places([anchor, inside, inside])) == {anchor}
    assert places([anchor, f"query/{anchor}", inside]) == {}
    assert places([inside]) == {}
    assert set(places([f"e/{anchor}", inside, "f/pooler_transform/bias", "pooler_transform/kernel"])) == {f"e/{anchor}"}


def test_variables_that_share_a_name_are_told_apart_and_have_no_place(tf2: Path, tmp_path: Path) -> None:
    """A module with two variables of one name keeps both, numbered, and neither gets the place of that name."""
    tf = tensorflow()
    loaded = tf.saved_model.load(str(tf2))
    loaded.twin = tf.Variable(np.zeros((8, 8), np.float32), name="pooler_transform/kernel")
    tf.saved_model.save(loaded, str(tmp_path / "twins"))
    arrays = SavedModel(tmp_path / "twins").variables()
    assert {"pooler_transform/kernel (1)", "pooler_transform/kernel (2)"} < set(arrays)
    assert set(SMALL_VARIABLES) - set(places(arrays).values()) == {"bert/pooler/dense/kernel"}


# What must not run ---------------------------------------------------------------------------------------------------


def _first(tf: Any, x: Any, *others: Any) -> Any:
    with tf.control_dependencies(others):
        return tf.identity(x)


# What an encoder's graph could do besides, by its op: (tensorflow, states, a file to read, a file to write) -> states.
HOSTILE: dict[str, Callable[[Any, Any, str, str], Any]] = {
    "WriteFile": lambda tf, x, _, written: _first(tf, x, tf.io.write_file(written, "x")),
    "ReadFile": lambda tf, x, secret, _: x + tf.cast(tf.strings.length(tf.io.read_file(secret)), tf.float32),
    "MatchingFiles": lambda tf, x, secret, _: x + tf.cast(tf.size(tf.io.matching_files(secret)), tf.float32),
    "EagerPyFunc": lambda tf, x, *_: tf.ensure_shape(tf.py_function(lambda x: x, [x], tf.float32), x.shape),
    "PyFunc": lambda tf, x, *_: tf.ensure_shape(tf.numpy_function(lambda x: x, [x], tf.float32), x.shape),
    "PrintV2": lambda tf, x, _, written: _first(tf, x, tf.print("x", output_stream=f"file://{written}")),
    "SaveV2": lambda tf, x, _, written: _first(
        tf, x, tf.raw_ops.SaveV2(prefix=written, tensor_names=["x"], shape_and_slices=[""], tensors=[x])
    ),
    "RestoreV2": lambda tf, x, secret, _: (
        x + tf.raw_ops.RestoreV2(prefix=secret, tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32])[0][0]
    ),
    "MergeV2Checkpoints": lambda tf, x, secret, written: _first(
        tf, x, tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=[secret], destination_prefix=written)
    ),
    "TextLineDataset": lambda tf, x, secret, _: _first(
        tf, x, tf.raw_ops.TextLineDataset(filenames=secret, compression_type="", buffer_size=0)
    ),
    "CacheDataset": lambda tf, x, _, written: _first(
        tf,
        x,
        tf.raw_ops.CacheDataset(
            input_dataset=tf.data.Dataset.range(2)._variant_tensor,
            filename=written,
            output_types=[tf.int64],
            output_shapes=[[]],
        ),
    ),
    "Timestamp": lambda tf, x, *_: x + 0.0 * tf.cast(tf.timestamp(), tf.float32),
    "ImmutableConst": lambda tf, x, secret, _: (
        x + tf.raw_ops.ImmutableConst(dtype=tf.float32, shape=[], memory_region_name=secret)
    ),
}


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("op", "is_hidden"), [*((op, False) for op in HOSTILE), ("WriteFile", True), ("SaveV2", True)])
def test_hostile_ops_are_refused_and_do_not_run(op: str, is_hidden: bool, tmp_path: Path) -> None:
    """An encoder that also touches files, runs Python or has other effects is refused by the op's name, and not run."""
    tf = tensorflow()
    secret, written = str(tmp_path / "secret"), str(tmp_path / "written")
    Path(secret).write_text("secret")

    def change(x: Any) -> Any:
        return HOSTILE[op](tf, x, secret, written)

    def behind_a_condition(x: Any) -> Any:
        return tf.cond(tf.size(x) > 1, lambda: change(x), lambda: x)

    hidden = behind_a_condition if is_hidden else change
    folder = write_tf2(tmp_path / "module", SMALL_VARIABLES, SMALL, VOCAB, change=hidden)
    before = _files(tmp_path)
    error = _refused(folder)
    assert "is not run: its op" in error.message
    assert f" {op} " in error.message
    assert _files(tmp_path) == before


def _node(graph: Any, op: str, name: str, *inputs: str) -> None:
    graph.graph_def.node.add(op=op, name=name, input=inputs)


def _output(graph: Any, name: str) -> Any:
    """The node behind an output of the signature `tokens`."""
    of = graph.signature_def["tokens"].outputs[name].name.partition(":")[0]
    return next(node for node in graph.graph_def.node if node.name == of)


def _save_op(graph: Any) -> str:
    return next(str(node.name) for node in graph.graph_def.node if node.op == "SaveV2")


def _initial(graph: Any, collection: str, name: str) -> None:
    graph.collection_def[collection].node_list.value.append(name)


GRAPHS: dict[str, Callable[[Any], Any]] = {
    "a file written beside the encoder": lambda g: _node(g, "WriteFile", "w", "save/Const", "save/Const"),
    "saved when called": lambda g: _output(g, "pooled_output").input.append(f"^{_save_op(g)}"),
    "saved when asked for the vocabulary": lambda g: (
        g.signature_def["tokenization_info"].outputs["x"].CopyFrom(_tensor(f"{g.saver_def.save_tensor_name}"))
    ),
    "saved when initialised": lambda g: _initial(g, "saved_model_main_op", _save_op(g)),
    "saved when initialised, as of old": lambda g: _initial(g, "legacy_init_op", _save_op(g)),
    "saved when tables are initialised": lambda g: _initial(g, "table_initializer", _save_op(g)),
    "saved when local variables are initialised": lambda g: g.collection_def["local_variables"].bytes_list.value.append(
        _variable(_save_op(g))
    ),
    "saved when restored": lambda g: next(
        node for node in g.graph_def.node if node.name == g.saver_def.restore_op_name
    ).input.append(f"^{_save_op(g)}"),
    "restored when called": lambda g: _output(g, "pooled_output").input.append(f"^{g.saver_def.restore_op_name}"),
    "a function that saves": lambda g: _calls_function(g),
    "a function that is called like an op": lambda g: _shadows(g),
    "an op that is not known": lambda g: _node(g, "AnOpOfNobody", "f", "save/Const"),
}


def _tensor(name: str) -> Any:
    from tensorflow.core.protobuf import meta_graph_pb2

    return meta_graph_pb2.TensorInfo(name=name, dtype=7)


def _variable(initializer: str) -> bytes:
    from tensorflow.core.framework import variable_pb2

    return bytes(variable_pb2.VariableDef(variable_name="v", initializer_name=initializer).SerializeToString())


def _shadows(graph: Any) -> None:
    _node(graph, "WriteFile", "w", "save/Const", "save/Const")
    graph.graph_def.library.function.add().signature.name = "WriteFile"


def _calls_function(graph: Any) -> None:
    function = graph.graph_def.library.function.add()
    function.signature.name = "inner"
    function.node_def.add(name="s", op="SaveV2")
    outer = graph.graph_def.library.function.add()
    outer.signature.name = "outer"
    outer.node_def.add(name="p", op="PartitionedCall").attr["f"].func.name = "inner"
    _node(graph, "outer", "o")
    _output(graph, "pooled_output").input.append("^o")


@pytest.mark.parametrize("what", GRAPHS)
@pytest.mark.parametrize("which", ["the graph that is loaded", "the other"])
def test_hostile_graphs_of_tensorflow_1_are_refused(what: str, which: str, tf1: Path) -> None:
    """However a TF1 graph comes to run what a module has no use for, and in whichever of its graphs, it is refused."""

    def change(proto: Any) -> None:
        untrained = [graph for graph in proto.meta_graphs if not graph.meta_info_def.tags]
        trained = [graph for graph in proto.meta_graphs if graph.meta_info_def.tags]
        for graph in untrained if which == "the graph that is loaded" else trained:
            GRAPHS[what](graph)

    _edit(tf1, change)
    before = _files(tf1)
    assert "is not run: its op" in _refused(tf1).message
    assert _files(tf1) == before


@pytest.mark.parametrize("form", ["TF2", "TF1"])
@pytest.mark.parametrize("name", ["../../secret", "/etc/hostname", "link", "../..", "linked/secret"])
def test_assets_outside_the_directory_are_refused(
    form: str, name: str, small: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An asset that leads out of the directory, by its path or by a link, is refused before anything reads it."""
    from tensorflow.core.protobuf import meta_graph_pb2

    folder = Path(shutil.copytree(small[form], tmp_path / "module"))
    (tmp_path / "secret").write_text("[PAD]\n")
    (folder / "assets" / "link").symlink_to(tmp_path / "secret")
    (folder / "assets" / "linked").symlink_to(tmp_path)

    def change(proto: Any) -> None:
        for graph in proto.meta_graphs:
            for asset in graph.asset_file_def:
                asset.filename = name
            for packed in graph.collection_def["saved_model_assets"].any_list.value:
                asset = meta_graph_pb2.AssetFileDef()
                packed.Unpack(asset)
                asset.filename = name
                packed.Pack(asset)

    _edit(folder, change)
    monkeypatch.setattr(tensorflow().saved_model, "load", lambda *_, **__: pytest.fail("it was loaded"))
    assert "outside its directory" in _refused(folder).message


# What is no encoder, or damaged --------------------------------------------------------------------------------------


def _module(folder: Path, call: Any, *signatures: Any, signature: Any = None) -> Path:
    """A TF2 SavedModel of one callable, traced with each of the signatures."""
    tf = tensorflow()
    module = tf.Module()
    module.__call__ = tf.function(call, autograph=False)
    for specs in signatures:
        module.__call__.get_concrete_function(specs)
    served = tf.function(lambda **inputs: {"y": next(iter(inputs.values()))}, autograph=False)
    options = {} if signature is None else {"signatures": served.get_concrete_function(**signature)}
    tf.saved_model.save(module, str(folder), **options)
    return folder


def test_preprocessing_module_is_refused_as_what_it_is(tmp_path: Path) -> None:
    """A module from texts to ids is called a preprocessing module, though its outputs have an encoder's input names."""
    tf = tensorflow()

    def preprocess(sentences: Any) -> Any:
        ids = tf.strings.unicode_decode(sentences, "UTF-8").to_tensor(shape=[None, 8])
        return {"input_word_ids": ids, "input_mask": ids * 0 + 1, "input_type_ids": ids * 0}

    texts = tf.TensorSpec([None], tf.string, "sentences")
    folder = _module(tmp_path / "preprocess", preprocess, texts, signature={"sentences": texts})
    error = _refused(folder)
    assert "preprocess takes texts: it is a preprocessing module" in error.message
    assert "serving_default(sentences: string)" in error.message
    assert "encoder" in error.hint


def test_other_modules_are_refused_with_what_they_have(tmp_path: Path, tf1: Path) -> None:
    """A SavedModel that is not called as an encoder is refused with the signatures and inputs that it has."""
    tf = tensorflow()
    image = tf.TensorSpec([None, 8, 8, 3], tf.float32, "image")
    error = _refused(_module(tmp_path / "vision", lambda image: image, image, signature={"image": image}))
    assert "not called as a BERT encoder is" in error.message
    assert "serving_default(image: float)" in error.message
    assert "input_word_ids, input_mask, input_type_ids" in error.hint

    specs = {name: tf.TensorSpec([None, None], tf.int32, name) for name in ("input_word_ids", "input_mask", "more")}
    error = _refused(_module(tmp_path / "more", lambda inputs: inputs, specs))
    assert "a callable over input_mask, input_word_ids, more" in error.message

    tf.saved_model.save(tf.Module(), str(tmp_path / "nothing"))
    assert "nothing that can be called" in _refused(tmp_path / "nothing").message

    def rename(proto: Any) -> None:
        for graph in proto.meta_graphs:
            graph.signature_def["predict"].CopyFrom(graph.signature_def.pop("tokens"))

    error = _refused(_edit(tf1, rename))
    assert "predict(input_ids: int32, input_mask: int32, segment_ids: int32)" in error.message


def test_list_of_inputs_in_an_order_that_nothing_tells_is_refused(tmp_path: Path) -> None:
    """Three inputs without a name are taken for an encoder's only where the served signature names the three."""
    tf = tensorflow()
    specs = [tf.TensorSpec([None, None], tf.int32, f"x{n}") for n in range(3)]
    assert "not called as a BERT encoder" in _refused(_module(tmp_path / "m", lambda inputs: inputs, specs)).message


def test_callable_without_an_encoders_outputs_is_refused(tmp_path: Path) -> None:
    """A callable with an encoder's inputs and other outputs is refused when it runs, with the outputs that it has."""
    tf = tensorflow()
    specs = {name: tf.TensorSpec([None, None], tf.int32, name) for name in ("input_word_ids", "input_mask")}
    specs["input_type_ids"] = tf.TensorSpec([None, None], tf.int32, "input_type_ids")
    folder = _module(tmp_path / "m", lambda inputs: {"logits": inputs["input_mask"]}, specs)
    assert "m gives no sequence_output, but logits" in _refused(folder).message


def test_what_is_no_savedmodel_is_refused(tmp_path: Path) -> None:
    """A checkpoint's directory, an empty one, a file and nothing at all are no SavedModels."""
    write_checkpoint(tmp_path / "checkpoint" / "bert_model.ckpt", {"x": np.zeros(1, np.float32)})
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("checkpoint", "empty", "file", "nothing"):
        assert f"{name} is no SavedModel" in _refused(tmp_path / name).message
    (tmp_path / "empty" / "saved_model.pb").mkdir()
    assert "cannot be read" in _refused(tmp_path / "empty").message


@pytest.mark.parametrize("form", ["TF2", "TF1"])
def test_damaged_files_are_refused(form: str, small: Mapping[str, Path], tmp_path: Path) -> None:
    """A file that is cut short, overwritten, emptied or missing is an error that says so, for each file there is."""
    folder = Path(shutil.copytree(small[form], tmp_path / "m"))
    variables = folder / "variables"
    for path in (folder / "saved_model.pb", variables / "variables.index", variables / "variables.data-00000-of-00001"):
        whole = path.read_bytes()
        damages = {
            "cut short": whole[: len(whole) // 2],
            "without its last byte": whole[:-1],
            "emptied": b"",
            "something else": b"<html>404</html>" * 40,
        }
        for damage in damages.values():
            path.write_bytes(damage)
            assert folder.name in _refused(folder).message
        path.unlink()
        assert folder.name in _refused(folder).message
        path.write_bytes(whole)
    data = variables / "variables.data-00000-of-00001"
    data.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    assert "cannot load" in _refused(folder).message
    data.write_bytes(whole)
    (folder / "assets" / "vocab.txt").write_bytes(b"\xff")
    assert "vocabulary" in _refused(folder).message
    (folder / "assets" / "vocab.txt").unlink()
    assert "lacks its asset vocab.txt" in _refused(folder).message


@pytest.mark.parametrize("form", ["TF2", "TF1"])
def test_inputs_that_the_module_refuses_are_an_error_of_it(form: str, small: Mapping[str, Path]) -> None:
    """Texts longer than the module has positions for end as an error that names the module."""
    module = SavedModel(small[form])
    longer = {name: np.ones((1, TINY["max_position_embeddings"] + 1), np.int32) for name in INPUTS}
    with pytest.raises(SourceError, match=f"cannot run {small[form].name}"):
        module.run(longer)
