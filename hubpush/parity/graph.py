"""The reference `graph`: the original forward pass in TensorFlow, from the checkpoint, through TensorFlow's own reader.

It shares with the conversion only the checkpoint's files and, where a checkpoint has other names, which name stands for
which; never the reader, the transposes, the published config or its epsilon.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubpush.architectures import Activation, Architecture
from hubpush.checkpoint import OBJECT_GRAPH
from hubpush.errors import CheckpointError
from hubpush.mapping import AVERAGE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hubpush.mapping import Account


class Graph:
    """The original model of one checkpoint.

    Args:
        prefix: The checkpoint.
        architecture: Holds the forward pass.
        account: What is published, and under which names the checkpoint holds it.
        config: The original bert_config.json.

    Raises:
        CheckpointError: TensorFlow's reader refuses it.
    """

    def __init__(self, prefix: Path, architecture: Architecture, account: Account, config: Mapping[str, Any]) -> None:
        self._tf = tensorflow()
        self._prefix = prefix
        with self._readable():
            self._reader = self._tf.train.load_checkpoint(str(prefix))
        self._architecture, self._heads, self._config = architecture, account.heads, config
        self._stored = account.stored()
        self._spelled = self._own_names() if account.layout is not None else None
        self._kept: tuple[str, dict[str, Any]] = ("", {})

    def read(self, name: str) -> Any:
        """A variable as TensorFlow's own reader gives it: an array; bytes for a string."""
        with self._readable():
            return self._reader.get_tensor(name)

    def read_place(self, place: str) -> npt.NDArray[Any]:
        """A variable by its name in the weight map, whatever the checkpoint calls it."""
        fate = self._stored.get(place)
        array: npt.NDArray[Any] = self.read(place if fate is None else fate.variable.name)
        return array if fate is None else array.reshape(fate.shape)

    def spelled(self, name: str) -> str | None:
        """A variable's name in google-research's code, by the checkpoint alone; None where nothing in it tells."""
        if self._spelled is None:
            return name.removesuffix(AVERAGE)
        return self._spelled.get(name)

    def _own_names(self) -> dict[str, str]:
        """What the layers of an object-based checkpoint were called when it was written, as google-research's names."""
        from hubpush.parity import tfhub, weights

        ours = {fate.variable.name for fate in self._stored.values()}
        # An optimizer's slots have names that end in the same words.
        given = {key: name for key, name in weights.names_of_keras(self.read(OBJECT_GRAPH)).items() if key in ours}
        places = tfhub.places(given.values())
        return {key: places[name] for key, name in given.items() if name in places}

    def names(self) -> list[str]:
        """The variables that TensorFlow's own reader finds."""
        with self._readable():
            return sorted(self._reader.get_variable_to_shape_map())

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """What TensorFlow's reader raises, builtin errors among it, as an error of the checkpoint."""
        try:
            yield
        except (self._tf.errors.OpError, RuntimeError, ValueError, LookupError) as error:
            raise CheckpointError(
                f"TensorFlow cannot read {self._prefix.name}: {str(error).splitlines()[0]}",
                hint="was it written to or removed meanwhile? run again; if not, it is damaged: fetch it again",
            ) from None

    def run(
        self,
        inputs: Mapping[str, npt.NDArray[np.int32]],
        activation: Activation,
        dtype: str,
        weights: Mapping[str, npt.NDArray[Any]] | None = None,
        rows: npt.NDArray[np.int_] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Outputs of the original forward pass in one precision, with a GELU form.

        See `hubpush.architectures.bert.forward` for them. With the form that the release declares they must be those
        of the published folder; with the other one they show what the wrong form would do. The variables of one
        precision are kept for the next run in it, until `forget`.

        Args:
            inputs: `input_ids`, `attention_mask`, `token_type_ids`, each [batch, length].
            activation: The GELU form to compute.
            dtype: `float64` or `float32`.
            weights: Other weights than the checkpoint's, of the encoder and the pooler; the heads beyond are left out.
            rows: Numbers of the positions at which logits over the vocabulary are computed; None for all.
        """
        heads = self._heads if weights is None else self._heads & {"pooler"}
        read = partial(self._tensor, dtype) if weights is None else weights.__getitem__
        return self._architecture.forward(self._tf, read, heads, self._config, activation, inputs, dtype, rows)

    def forget(self) -> None:
        """Let the variables go that were kept for the next run."""
        self._kept = ("", {})

    def _tensor(self, dtype: str, place: str) -> Any:
        """A variable in a precision."""
        if self._kept[0] != dtype:
            self._kept = (dtype, {})
        kept = self._kept[1]
        if place not in kept:
            kept[place] = self._tf.cast(self._tf.constant(self.read_place(place)), dtype)
        return kept[place]


def tensorflow() -> Any:
    """TensorFlow, told to keep quiet and to leave graphics cards alone: parity is proven on the processor."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _native_silence(), _keras_environment():
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        tf.config.set_visible_devices([], "GPU")
    return tf


@contextmanager
def _native_silence() -> Iterator[None]:
    """TensorFlow's native code writes to file descriptor 2 before it reads its own log level."""
    if "tensorflow" in sys.modules:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _keras_environment() -> Iterator[None]:
    """What keras reads when it is imported, as TensorFlow does: the backend, and where its configuration is.

    It writes a keras.json to that place if there is none, so it gets a place that goes away. A person's own keras.json,
    with another precision perhaps, is not read either.
    """
    if "keras" in sys.modules:
        yield
        return
    kept = {name: os.environ.get(name) for name in ("KERAS_BACKEND", "KERAS_HOME")}
    with tempfile.TemporaryDirectory(prefix="hubpush-keras-") as home:
        os.environ |= {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": home}
        try:
            yield
        finally:
            for name, value in kept.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
