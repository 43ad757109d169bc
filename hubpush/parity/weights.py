"""The weights: every variable of the checkpoint against the published tensor, bit for bit.

Names are looked up a second way, which reads no row of the converter's map: transformers' modules mirror the scopes of
Google's code, so a variable's name, spelled as a path of modules, is the tensor's key (the rule by which transformers'
own loader, `load_tf_weights_in_bert`, walked through a model until version 4). A row of the map that were wrong, and
wrong on both sides of every other comparison, shows here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubpush.architectures import Architecture
from hubpush.errors import ParityError
from hubpush.parity.report import Weights

if TYPE_CHECKING:
    import numpy.typing as npt

    from hubpush.mapping import Account
    from hubpush.parity.graph import Graph

_LEAVES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "output_weights": "weight",
    "output_bias": "bias",
}
"""What Google's code calls parameters, and what torch's modules call them."""


def key_of(name: str, keys: Collection[str], architecture: Architecture) -> str | None:
    """The published tensor that a variable's name means, by its spelling alone.

    Args:
        name: Name in google-research's code, such as `bert/encoder/layer_0/attention/self/key/bias`.
        keys: Names of the published tensors.
        architecture: Says what transformers' modules spell otherwise (`renamed`), and its base model's prefix.

    Returns:
        The key; None if no published tensor is spelled so.
    """
    for old in sorted(architecture.renamed, key=len, reverse=True):
        if name.startswith(old):
            name = architecture.renamed[old] + name.removeprefix(old)
            break
    *scopes, leaf = re.sub(r"(^|/)layer_(\d+)/", r"\1layer/\2/", name).split("/")
    last = [leaf, "weight"] if leaf.endswith("_embeddings") else [_LEAVES.get(leaf, leaf)]
    key = ".".join([*scopes, *last])
    # A bare encoder's tensors have no prefix.
    return next((k for k in (key, key.removeprefix(architecture.base_prefix)) if k in keys), None)


def compare(folder: Path, graph: Graph, account: Account, architecture: Architecture) -> Weights:
    """Hold each published tensor against its variable, as TensorFlow's own reader gives it.

    Args:
        folder: The model folder.
        graph: Reads the checkpoint, and knows the names that it holds itself.
        account: What is published, by the converter's map.
        architecture: The architecture.

    Raises:
        ParityError: model.safetensors cannot be read.
        CheckpointError: TensorFlow's reader refuses the checkpoint.
    """
    import numpy as np
    from safetensors import SafetensorError, safe_open

    different, nonfinite, elsewhere = [], [], []
    digests: dict[str, str] = {}
    confirmed = 0
    try:
        with safe_open(folder / "model.safetensors", framework="numpy") as published:
            unread = keys = set(published.keys())
            for fate in account.mapped():
                name = fate.variable.name
                original = graph.read(name)
                digests[name] = hashlib.sha256(np.ascontiguousarray(original).data).hexdigest()
                key = fate.key
                if (spelled := graph.spelled(name)) is not None:
                    key = key_of(spelled, keys, architecture)
                    confirmed += key == fate.key
                    if key != fate.key and fate.key in keys:
                        elsewhere.append(f"{name}: {fate.key} by the map, {key or 'nothing'} by its name")
                if key is None or key not in keys:
                    different.append(str(fate.key))
                    continue
                unread = unread - {key}
                got = published.get_tensor(key)
                if not np.isfinite(got).all():
                    nonfinite.append(key)
                is_kernel = (spelled or str(fate.place)).endswith("/kernel")
                if got.shape != (fate.shape[::-1] if is_kernel else fate.shape) or not _same_bits(
                    original, got.T if is_kernel else got
                ):
                    different.append(key)
    except (OSError, SafetensorError) as error:
        raise ParityError(
            f"model.safetensors cannot be read: {str(error).splitlines()[0]}", hint="convert the checkpoint again"
        ) from None
    return Weights(
        variables=len(graph.names()),
        mapped=len(account.mapped()),
        dropped=len(account.dropped()),
        different=tuple(different),
        unread=tuple(sorted(unread)),
        nonfinite=tuple(nonfinite),
        elsewhere=tuple(elsewhere),
        confirmed=confirmed,
        digests=digests,
    )


def _same_bits(original: npt.NDArray[Any], got: npt.NDArray[Any]) -> bool:
    """Whether two arrays hold the same numbers in the same order, whatever axes a checkpoint has for the heads."""
    import numpy as np

    one, other = (np.ascontiguousarray(array) for array in (original, got))
    return one.dtype == other.dtype and one.size == other.size and one.tobytes() == other.tobytes()


def names_of_keras(records: bytes) -> Mapping[str, str]:
    """The names that Keras gave the variables of an object-based checkpoint, by their keys there.

    TensorFlow 2 writes them beside the object paths (`full_name` of trackable_object_graph.proto), where they come from
    the layers' own names and not from the order of anything.

    Args:
        records: The checkpoint's `_CHECKPOINTABLE_OBJECT_GRAPH`.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    graph = TrackableObjectGraph()
    try:
        graph.ParseFromString(records)
    except DecodeError:
        return {}
    return {
        attribute.checkpoint_key: attribute.full_name
        for node in graph.nodes
        for attribute in node.attributes
        if attribute.full_name
    }
