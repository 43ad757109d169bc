"""SavedModels from TensorFlow Hub and Kaggle: what a published module itself computes, holds and declares.

Two forms are read:

- `TF2`: a callable over `input_word_ids`, `input_mask` and `input_type_ids`, as a dict or (2019) as a list of three,
  that gives `pooled_output`, `sequence_output` and mostly `encoder_outputs`. tf-models-official exports it:
  `official/nlp/tools/export_tfhub_lib.py`, and `official/legacy/bert/export_tfhub.py` with lists.
- `TF1 hub`: the signature `tokens` over `input_ids`, `input_mask` and `segment_ids`, and `tokenization_info`, as
  https://www.tensorflow.org/hub/tf1_hub_module describes modules.

TensorFlow itself loads both. A SavedModel is a program, and TensorFlow runs it. What is guarded against, by reading
saved_model.pb before TensorFlow does: ops that run Python, touch files, the network or other devices; any op with side
effects that an encoder has no use for; ops that TensorFlow does not have; the ops by which every SavedModel is saved
and restored, anywhere but there; and assets outside the directory. What is not: a graph that asks for endless time or
memory, mistakes in TensorFlow's own code that a crafted file may reach, a restore that reads another TensorFlow
checkpoint of this machine, and files that somebody changes between the check and the load. Whoever does not trust a
publisher should not load what he publishes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from hubpush.architectures import bert
from hubpush.errors import SourceError
from hubpush.parity.graph import tensorflow

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Form = Literal["TF2", "TF1 hub"]

_FILE = "saved_model.pb"
_GIVE = (
    "give the directory of a BERT encoder's SavedModel: saved_model.pb, variables/ and assets/ as they were unpacked"
)
_DAMAGED = "is it complete? fetch it again and unpack it anew"

INPUTS: Mapping[Form, Mapping[str, str]] = MappingProxyType(
    {
        "TF2": {
            "input_ids": "input_word_ids",
            "attention_mask": "input_mask",
            "token_type_ids": "input_type_ids",
        },
        "TF1 hub": {"input_ids": "input_ids", "attention_mask": "input_mask", "token_type_ids": "segment_ids"},
    }
)
"""What each form calls our inputs, in the order in which the list of 2019 has them."""


class SavedModel:
    """A published encoder, loaded by TensorFlow.

    Args:
        folder: The directory that holds saved_model.pb.

    Attributes:
        form: `TF2` or `TF1 hub`.
        vocab: Lines of the vocabulary that it carries; None if it carries none.
        cased: Whether it says that texts keep their case, the opposite of its `do_lower_case`; None if it does not say.

    Raises:
        SourceError: It is no SavedModel or a damaged one, it is called in a way that no BERT encoder is, it holds ops
            that must not run here, or TensorFlow refuses it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._tf = folder, tensorflow()
        with _parsing(folder):
            proto = _read(folder)
            self._call = _call(folder, proto)
            _check_assets(folder, proto)
            _check_ops(folder, proto)
        self.form: Form = self._call.form
        with self._refusals("load"):
            # By its tags where it may hold several graphs; with one graph of TensorFlow 2 there is no choice.
            tags = None if self.form == "TF2" else list(self._call.graph.meta_info_def.tags)
            self._model = self._tf.saved_model.load(str(folder), tags=tags)
            lower = self._lower()
            self.cased: bool | None = None if lower is None else not bool(lower)
        vocab = _vocab_file(self._call)
        self.vocab: list[str] | None = None if vocab is None else _lines(folder, vocab)

    def run(self, inputs: Mapping[str, npt.NDArray[np.int32]]) -> dict[str, npt.NDArray[np.float32]]:
        """What the module computes, in the precision that it has, without dropout.

        Args:
            inputs: `input_ids`, `attention_mask`, `token_type_ids`, each int32 [batch, length].

        Returns:
            `layer 1` … `layer N` where the module gives its layers, and `sequence_output`, each
            [batch, length, hidden]; `pooled_output` [batch, hidden] where there is one.

        Raises:
            SourceError: TensorFlow refuses the inputs, or the outputs are not an encoder's.
        """
        fed = {name: self._tf.constant(inputs[ours], self._tf.int32) for ours, name in INPUTS[self.form].items()}
        with self._refusals(
            "run", "the module itself refuses these inputs: does it take texts of another length only?"
        ):
            if self.form == "TF1 hub":
                given = self._model.signatures["tokens"](**fed)
            else:
                options = {"training": False} if self._call.has_training else {}
                given = self._model(list(fed.values()) if self._call.is_listed else fed, **options)
            return self._named(given)

    def variables(self) -> dict[str, npt.NDArray[Any]]:
        """The variables as TensorFlow reads them, by their own names.

        Those of the TF1 form come from what TensorFlow restores them from: it does not hand out variables of the kind
        that was usual then. A name that several variables bear says nothing: they are numbered, `name (1)`,
        `name (2)`. The variable in which a module keeps `do_lower_case` is none of the model's, and left out.

        Raises:
            SourceError: TensorFlow cannot give their values.
        """
        with self._refusals("read the variables of"):
            if self.form == "TF1 hub":
                reader = self._tf.train.load_checkpoint(str(self._folder / "variables" / "variables"))
                return {name: reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())}
            objects = self._tf.train.TrackableView(self._model).descendants()
            lower = getattr(self._model, "do_lower_case", None)
            found = [v for v in objects if isinstance(v, self._tf.Variable) and v is not lower]
            names = [variable.name.removesuffix(":0") for variable in found]
            count, seen, arrays = Counter(names), Counter[str](), {}
            for name, variable in zip(names, found, strict=True):
                seen[name] += 1
                arrays[name if count[name] == 1 else f"{name} ({seen[name]})"] = variable.numpy()
        return arrays

    def _lower(self) -> Any:
        """Whether texts are lower-cased, as the module says; None if it does not."""
        lower: Any = None
        if self.form == "TF2":
            lower = getattr(self._model, "do_lower_case", None)
        elif "tokenization_info" in self._model.signatures:
            lower = self._model.signatures["tokenization_info"]().get("do_lower_case")
        return lower.numpy() if hasattr(lower, "numpy") else lower

    def _named(self, given: Any) -> dict[str, npt.NDArray[np.float32]]:
        """The outputs under our names."""
        import numpy as np

        if not isinstance(given, Mapping):
            # The list of 2019 has no names, but the ranks tell the two apart.
            tensors = list(given) if isinstance(given, list | tuple) else [given]
            given = {
                {2: "pooled_output", 3: "sequence_output"}.get(tensor.shape.rank, ""): tensor for tensor in tensors
            }
        states = given.get("encoder_outputs")
        outputs = {f"layer {n}": state for n, state in enumerate(states if states is not None else (), 1)}
        outputs |= {name: given[name] for name in ("sequence_output", "pooled_output") if given.get(name) is not None}
        if "sequence_output" not in outputs:
            raise SourceError(
                f"{self._folder.name} gives no sequence_output, but {', '.join(sorted(map(str, given))) or 'nothing'}",
                hint=_GIVE,
            )
        return {name: np.asarray(tensor.numpy(), np.float32) for name, tensor in outputs.items()}

    @contextmanager
    def _refusals(self, what: str, hint: str = _DAMAGED) -> Iterator[None]:
        """What TensorFlow raises over a SavedModel, builtin errors among it, as an error of the SavedModel."""
        try:
            yield
        except SourceError:
            raise
        except Exception as error:  # noqa: BLE001 - somebody else's program: TensorFlow raises what comes up in it
            why = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise SourceError(f"TensorFlow cannot {what} {self._folder.name}: {why[:300]}", hint=hint) from None


# Reading saved_model.pb ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Call:
    """How a module is called.

    Attributes:
        form: `TF2` or `TF1 hub`.
        graph: The MetaGraphDef that holds it.
        is_listed: Whether the inputs are a list.
        has_training: Whether it is told whether it trains.
    """

    form: Form
    graph: Any
    is_listed: bool = False
    has_training: bool = False


@contextmanager
def _parsing(folder: Path) -> Iterator[None]:
    """What protobuf cannot parse, the file or something packed in it, as an error of the SavedModel."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

    try:
        yield
    except DecodeError:
        raise SourceError(f"{_FILE} of {folder.name} is damaged: protobuf cannot parse it", hint=_DAMAGED) from None


def _read(folder: Path) -> Any:
    """saved_model.pb, parsed by protobuf alone: nothing of it runs."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString((folder / _FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(f"{folder.name} is no SavedModel: it has no {_FILE}", hint=_GIVE) from None
    except OSError as error:
        raise SourceError(f"{_FILE} of {folder.name} cannot be read: {error.strerror}", hint=_GIVE) from None
    if not proto.meta_graphs:
        raise SourceError(f"{_FILE} of {folder.name} is damaged: it holds no graph", hint=_DAMAGED)
    return proto


def _call(folder: Path, proto: Any) -> _Call:
    """The way in which a module is called, told from what it declares."""
    graphs = list(proto.meta_graphs)
    names = set(INPUTS["TF2"].values())
    # TensorFlow goes by this too: one graph with the objects that hold it is TensorFlow 2's.
    if len(graphs) == 1 and graphs[0].HasField("object_graph_def"):
        default = graphs[0].signature_def.get("serving_default")
        served = set(default.inputs) if default is not None else set()
        for spec, signature in _callables(graphs[0].object_graph_def):
            has_training = "training" in _strings(spec)
            fields = _fields(signature)
            kinds = {value.tensor_spec_value.dtype for value in fields.values()}
            if set(fields) == names and kinds == {_INT32}:
                return _Call("TF2", graphs[0], has_training=has_training)
            # A list says nothing of its order. This is the one that all exports of 2019 have.
            if set(fields) == {"0", "1", "2"} and kinds == {_INT32} and served == names:
                return _Call("TF2", graphs[0], is_listed=True, has_training=has_training)
    else:
        wanted = set(INPUTS["TF1 hub"].values())
        for graph in sorted(graphs, key=lambda graph: len(graph.meta_info_def.tags)):
            tokens = graph.signature_def.get("tokens")
            if tokens is not None and set(tokens.inputs) == wanted and "train" not in graph.meta_info_def.tags:
                return _Call("TF1 hub", graph)
    raise _unknown(folder, graphs)


_INT32, _STRING = 3, 7  # tensorflow/core/framework/types.proto


def _callables(objects: Any) -> Iterator[tuple[Any, Any]]:
    """Of each trace of the root object's `__call__`, its FunctionSpec's arguments and what they were."""
    for child in objects.nodes[0].children if objects.nodes else ():
        node = objects.nodes[child.node_id] if child.node_id < len(objects.nodes) else None
        if node is not None and child.local_name == "__call__":
            for name in node.function.concrete_functions:
                if name in objects.concrete_functions:
                    signature = objects.concrete_functions[name].canonicalized_input_signature
                    yield node.function.function_spec.fullargspec, signature


def _fields(signature: Any) -> dict[str, Any]:
    """The tensors of a call's first argument: by name of a dict, by number of a list, one alone under an empty name."""
    arguments = signature.tuple_value.values[0].tuple_value.values if signature.tuple_value.values else ()
    if not arguments:
        return {}
    first = arguments[0]
    kind = first.WhichOneof("kind")
    if kind == "dict_value":
        return dict(first.dict_value.fields)
    if kind in ("list_value", "tuple_value"):
        return {str(n): value for n, value in enumerate(getattr(first, kind).values)}
    return {"": first}


def _strings(value: Any) -> set[str]:
    """All strings in a StructuredValue of named tuples and lists."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return {value.string_value}
    if kind == "named_tuple_value":
        return set().union(*(_strings(pair.value) for pair in value.named_tuple_value.values))
    if kind in ("list_value", "tuple_value"):
        return set().union(*map(_strings, getattr(value, kind).values))
    return set()


def _unknown(folder: Path, graphs: list[Any]) -> SourceError:
    """What a module has instead of the ways in which an encoder is called."""
    from tensorflow.core.framework import types_pb2

    found, dtypes = [], set()
    for graph in graphs:
        for name, signature in sorted(graph.signature_def.items()):
            if not name.startswith("__"):
                inputs = {key: info.dtype for key, info in sorted(signature.inputs.items())}
                dtypes |= set(inputs.values())
                told = ", ".join(f"{key}: {types_pb2.DataType.Name(kind)[3:].lower()}" for key, kind in inputs.items())
                found.append(f"{name}({told})")
        for _spec, signature in _callables(graph.object_graph_def):
            fields = {key: value.tensor_spec_value.dtype for key, value in _fields(signature).items()}
            dtypes |= set(fields.values())
            found.append(f"a callable over {', '.join(sorted(filter(None, fields))) or 'a tensor'}")
    has = "; ".join(dict.fromkeys(found)) or "nothing that can be called"
    if _STRING in dtypes:
        return SourceError(
            f"{folder.name} takes texts: it is a preprocessing module or a whole pipeline, not a BERT encoder (it has"
            f" {has})",
            hint="give the encoder that it prepares the inputs of",
        )
    return SourceError(
        f"{folder.name} is a SavedModel, but is not called as a BERT encoder is: it has {has}",
        hint="known are a callable over input_word_ids, input_mask, input_type_ids, and a signature tokens over"
        " input_ids, input_mask, segment_ids",
    )


# Assets --------------------------------------------------------------------------------------------------------------


def _check_assets(folder: Path, proto: Any) -> None:
    """Refuse assets that are not files below the directory."""
    for graph in proto.meta_graphs:
        for asset in _assets(graph):
            _inside(folder, folder / "assets" / asset.filename)


def _assets(graph: Any) -> list[Any]:
    """The AssetFileDefs of a graph, of both generations."""
    from tensorflow.core.protobuf import meta_graph_pb2

    assets = list(graph.asset_file_def)
    if (collection := graph.collection_def.get("saved_model_assets")) is not None:
        for packed in collection.any_list.value:
            asset = meta_graph_pb2.AssetFileDef()
            packed.Unpack(asset)
            assets.append(asset)
    return assets


def _inside(folder: Path, path: Path) -> Path:
    """The path of a file, links followed, if it is below the directory."""
    if "\0" in str(path) or not path.resolve().is_relative_to(folder.resolve()):
        raise SourceError(
            f"{folder.name} asks for a file outside its directory: {str(path)[-100:]!r}",
            hint="an honest module has its assets in assets/: do not use this one",
        )
    if not path.is_file():
        raise SourceError(f"{folder.name} lacks its asset {path.name}", hint=_DAMAGED)
    return path


def _vocab_file(call: _Call) -> str | None:
    """Name of the asset that the module declares as its vocabulary; None if it declares none.

    Read from saved_model.pb: TensorFlow 2 gives a signature of TensorFlow 1 the path that the asset had where it was
    exported, not the one that it has here.
    """
    graph = call.graph
    if call.form == "TF2":
        objects, assets = graph.object_graph_def.nodes, list(graph.asset_file_def)
        for child in objects[0].children:
            if child.local_name == "vocab_file" and objects[child.node_id].WhichOneof("kind") == "asset":
                number = objects[child.node_id].asset.asset_file_def_index
                return str(assets[number].filename) if number < len(assets) else None
        return None
    told = graph.signature_def.get("tokenization_info")
    if told is None or "vocab_file" not in told.outputs:
        return None
    names: dict[str, str] = {asset.tensor_info.name: asset.filename for asset in _assets(graph)}
    nodes, tensor = {node.name: node for node in graph.graph_def.node}, told.outputs["vocab_file"].name
    for _ in nodes:
        if tensor in names:
            return names[tensor]
        node = nodes.get(tensor.partition(":")[0])
        if node is None or node.op != "Identity" or not node.input:
            return None
        tensor = node.input[0] if ":" in node.input[0] else f"{node.input[0]}:0"
    return None


def _lines(folder: Path, vocab: str) -> list[str]:
    """Lines of the vocabulary; only newlines end one, as in `hubpush.tokenizer.read_vocab`."""
    try:
        text = _inside(folder, folder / "assets" / vocab).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the vocabulary of {folder.name} cannot be read: {error}", hint=_DAMAGED) from None
    return text.removesuffix("\n").split("\n")


# Ops -----------------------------------------------------------------------------------------------------------------

_DENIED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "runs Python code": frozenset({"EagerPyFunc", "PyFunc", "PyFuncStateless"}),
        "reads or writes files": frozenset(
            {
                *("CreateSummaryDbWriter", "CreateSummaryFileWriter", "FileSystemSetConfiguration"),
                *("FixedLengthRecordReader", "FixedLengthRecordReaderV2", "GenerateVocabRemapping", "ImmutableConst"),
                *("InitializeTableFromTextFile", "InitializeTableFromTextFileV2", "LMDBReader", "LoadAndRemapMatrix"),
                *("MatchingFiles", "Print", "PrintV2", "ReadFile", "ReaderRead", "ReaderReadUpTo", "ReaderReadUpToV2"),
                *("ReaderReadV2", "RecordInput", "Restore", "RestoreSlice", "Save", "SaveSlices", "SummaryWriter"),
                *("TFRecordReader", "TFRecordReaderV2", "TextLineReader", "TextLineReaderV2", "WholeFileReader"),
                *("WholeFileReaderV2", "WriteFile"),
            }
        ),
        "sends to other programs or devices": frozenset(
            {
                *("Copy", "CopyHost", "DebugIdentity", "DebugIdentityV2", "DebugIdentityV3", "DebugNanCount"),
                *("DebugNumericSummary", "DebugNumericSummaryV2", "Recv", "RemoteCall", "Send", "TPUPartitionedCall"),
                *("_HostRecv", "_HostSend", "_Recv", "_Send"),
            }
        ),
    }
)
"""Ops that no graph and no function may hold, by what they do. Print is among them because PrintV2 can write files."""

_SAVER = frozenset({"MergeV2Checkpoints", "RestoreV2", "SaveV2"})
"""How every SavedModel is saved and restored. Nowhere else may they run."""

_STATEFUL = frozenset(
    {
        # TensorFlow marks ops stateful whose result depends on more than their inputs, and those that have effects.
        *("Assign", "AssignAddVariableOp", "AssignSubVariableOp", "AssignVariableOp", "DestroyResourceOp"),
        *("DisableCopyOnRead", "ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VarHandleOp"),
        *("VarIsInitializedOp", "Variable", "VariableShape", "VariableV2"),
        *("Assert", "Case", "CheckNumerics", "CheckNumericsV2", "GuaranteeConst", "If", "StatefulPartitionedCall"),
        "While",
        *("Multinomial", "RandomShuffle", "RandomStandardNormal", "RandomUniform", "RandomUniformInt"),
        *("StatelessRandomGetAlg", "TruncatedNormal"),
        *("TensorArrayCloseV3", "TensorArrayGatherV3", "TensorArrayReadV3", "TensorArrayScatterV3"),
        *("TensorArraySizeV3", "TensorArrayV3", "TensorArrayWriteV3"),
    }
)
"""The stateful ops that an encoder has: variables, control flow, dropout, initial values."""


def _check_ops(folder: Path, proto: Any) -> None:
    """Refuse ops that an encoder has no use for and that reach beyond it; see the module's docstring."""
    for graph in proto.meta_graphs:
        library = {function.signature.name: function for function in graph.graph_def.library.function}
        nodes = [*graph.graph_def.node, *(node for function in library.values() for node in function.node_def)]
        for op in sorted({node.op for node in nodes}):
            if (why := _objection(op, library)) is not None:
                raise SourceError(
                    f"{folder.name} is not run: its op {op} {why}",
                    hint="an encoder computes and does no more: take the module from its publisher, or do without it",
                )
        if (op := _strays(graph, library)) is not None:
            raise SourceError(
                f"{folder.name} is not run: its op {op} is not only where a SavedModel is saved and restored",
                hint="an encoder computes and does no more: take the module from its publisher, or do without it",
            )


def _objection(op: str, library: Container[str]) -> str | None:
    """Why an op must not run, or None; a function of the library can stand for an op, but not for one that is there."""
    from tensorflow.python.framework import op_def_registry

    for why, ops in _DENIED.items():
        if op in ops:
            return why
    if "Dataset" in op or "Iterator" in op:
        return "reads data on its own"
    definition = op_def_registry.get(op)
    if definition is None:
        return None if op in library else "is none that TensorFlow has"
    if definition.is_stateful and op not in _STATEFUL | _SAVER:
        return "has effects, and an encoder has no use for it"
    return None


def _strays(graph: Any, library: Mapping[str, Any]) -> str | None:
    """An op that saves or restores where something else runs; None if there is none."""
    uses = {name: _uses(function.node_def, library) for name, function in library.items()}

    def reached(names: set[str]) -> set[str]:
        """Ops of the saver that run when functions do, with all that they call."""
        ops: set[str] = set()
        todo, done = list(names), set(names)
        while todo:
            name = todo.pop()
            ops |= {node.op for node in library[name].node_def} & _SAVER
            todo += (new := uses[name] - done)
            done |= new
        return ops

    # TensorFlow 2 runs the functions of the objects alone. How it saves and restores is in the graph beside them.
    ops = reached(set(graph.object_graph_def.concrete_functions) & set(library))
    nodes = {node.name: node for node in graph.graph_def.node}
    initial = list(_started(graph))
    for starts, allowed in ((initial, frozenset[str]()), ([graph.saver_def.restore_op_name], frozenset({"RestoreV2"}))):
        behind = _behind(nodes, starts)
        ops |= ({node.op for node in behind} & _SAVER | reached(_uses(behind, library))) - allowed
    return min(ops, default=None)


def _started(graph: Any) -> Iterator[str]:
    """Names of what TensorFlow runs of a graph of TensorFlow 1: its signatures, and what it begins with."""
    from tensorflow.core.framework import variable_pb2

    for signature in graph.signature_def.values():
        for info in signature.outputs.values():
            yield from (info.name, *(part.name for part in info.composite_tensor.components))
            sparse = info.coo_sparse
            yield from (sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name)
    for name, collection in graph.collection_def.items():
        if name in ("saved_model_main_op", "legacy_init_op", "table_initializer"):
            yield from collection.node_list.value
        if name == "local_variables":
            for packed in collection.bytes_list.value:
                yield variable_pb2.VariableDef.FromString(packed).initializer_name


def _uses(nodes: Iterable[Any], library: Mapping[str, Any]) -> set[str]:
    """Names of the functions of the library that nodes call."""
    names = set()
    for node in nodes:
        names.add(node.op)
        for attribute in node.attr.values():
            names |= {attribute.func.name, *(function.name for function in attribute.list.func)}
    return names & set(library)


def _behind(nodes: Mapping[str, Any], starts: Iterable[str]) -> list[Any]:
    """The nodes that run when those that are named do."""
    found: dict[str, Any] = {}
    todo = list(starts)
    while todo:
        name = todo.pop().removeprefix("^").partition(":")[0]
        if name in nodes and name not in found:
            found[name] = nodes[name]
            todo += nodes[name].input
    return list(found.values())


# Names ---------------------------------------------------------------------------------------------------------------


def _tf2_layer(key: str) -> Iterator[tuple[str, str]]:
    """The rows of one layer of tf-models-official's encoders."""
    layer = "bert/encoder/layer_{n}"
    for part in ("kernel", "bias"):
        for name in ("query", "key", "value"):
            yield f"{key}/self_attention/{name}/{part}", f"{layer}/attention/self/{name}/{part}"
        # The same dense under two names: code of 2019 and 2020 has it beside the attention, later code inside.
        for name in ("self_attention_output", "self_attention/attention_output"):
            yield f"{key}/{name}/{part}", f"{layer}/attention/output/dense/{part}"
        yield f"{key}/intermediate/{part}", f"{layer}/intermediate/dense/{part}"
        yield f"{key}/output/{part}", f"{layer}/output/dense/{part}"
    for part in ("gamma", "beta"):
        yield f"{key}/self_attention_layer_norm/{part}", f"{layer}/attention/output/LayerNorm/{part}"
        yield f"{key}/output_layer_norm/{part}", f"{layer}/output/LayerNorm/{part}"


_NORM = ("gamma", "beta")
_TF2_ENCODER: Mapping[str, str] = MappingProxyType(
    {
        "word_embeddings/embeddings": "bert/embeddings/word_embeddings",
        "position_embedding/embeddings": "bert/embeddings/position_embeddings",
        "type_embeddings/embeddings": "bert/embeddings/token_type_embeddings",
        **{f"embeddings/layer_norm/{part}": f"bert/embeddings/LayerNorm/{part}" for part in _NORM},
        **dict(_tf2_layer("transformer/layer_{n}")),
        # 2019.
        "embedding_postprocessor/position_embeddings": "bert/embeddings/position_embeddings",
        "embedding_postprocessor/type_embeddings": "bert/embeddings/token_type_embeddings",
        **{f"embedding_postprocessor/layer_norm/{part}": f"bert/embeddings/LayerNorm/{part}" for part in _NORM},
        **dict(_tf2_layer("encoder/layer_{n}")),
        "pooler_transform/kernel": "bert/pooler/dense/kernel",
        "pooler_transform/bias": "bert/pooler/dense/bias",
    }
)
"""tf-models-official's names below the encoder's own, of all years.

Source: `BERT_NAME_REPLACEMENTS` (2019) and `BERT_V2_NAME_REPLACEMENTS` of its
`official/nlp/tools/tf1_bert_checkpoint_converter_lib.py`, and what its release 2.20 exports."""

_TF2_HEADS: Mapping[str, str] = MappingProxyType(
    {
        f"{scope}cls/predictions/{name}": f"cls/predictions/{place}"
        for scope in ("", "bert/")
        for name, place in (
            ("output_bias/bias", "output_bias"),
            *((f"transform/dense/{part}", f"transform/dense/{part}") for part in ("kernel", "bias")),
            *((f"transform/LayerNorm/{part}", f"transform/LayerNorm/{part}") for part in _NORM),
        )
    }
)
"""Its names in the head for masked words, which stand beside the encoder's."""

_TF1: Mapping[str, str] = MappingProxyType(
    {
        weight.variable: weight.variable
        for group in ("embeddings", "layers", "pooler", "mlm", "nsp")
        for weight in bert.GROUPS[group]
    }
)
"""google-research/bert's own names, which TF1 modules keep."""

_TABLES: tuple[tuple[str, Mapping[str, str], Mapping[str, str]], ...] = (
    ("bert/embeddings/word_embeddings", _TF1, {}),
    ("word_embeddings/embeddings", _TF2_ENCODER, _TF2_HEADS),
)
"""The variable by which names are known, the names beside it, and those that stand where they like."""


def places(names: Iterable[str]) -> dict[str, str]:
    """Where a module's variables belong in google-research/bert's weight map.

    All names of an encoder begin alike (`bert_encoder_v2_1/`, `module/`, or with nothing), and the word embeddings tell
    how. Attention kernels that have an axis for the heads hold the same numbers in the same order: reshape them.

    Args:
        names: The variables, as `SavedModel.variables` names them.

    Returns:
        Places in `hubpush.architectures.bert.GROUPS`, with the layer's number, by name. Left out is every name that is
        not known, that comes twice, or that shares its place with another.
    """
    count = Counter(iter(names))  # a mapping would give its values as counts
    found: dict[str, str] = {}
    for anchor, table, heads in _TABLES:
        roots = [name.removesuffix(anchor) for name in count.elements() if f"/{name}".endswith(f"/{anchor}")]
        if len(roots) == 1:
            for name in count:
                row, number = _row(name.removeprefix(roots[0])) if name.startswith(roots[0]) else ("", "")
                place = table.get(row) or heads.get(row) or heads.get(name)
                if place is not None and count[name] == 1:
                    found[name] = place.replace("{n}", number)
            break
    shared = Counter(found.values())
    return {name: place for name, place in found.items() if shared[place] == 1}


def _row(name: str) -> tuple[str, str]:
    """A name with `{n}` for the number of its layer, and the number."""
    parts = name.split("/")
    for at, part in enumerate(parts):
        number = part.removeprefix("layer_")
        if part != number and number.isdecimal() and number == str(int(number)):
            return "/".join([*parts[:at], "layer_{n}", *parts[at + 1 :]]), number
    return name, ""
