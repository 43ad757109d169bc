"""The reference `graph`: the original forward pass in TensorFlow, from the checkpoint, through TensorFlow's own reader.

It shares with the conversion only the checkpoint's files, the table of the architecture and, where a checkpoint has
other names, which name stands for which; never the reader, the transposes, the published config or its epsilon.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubpush.architectures import Activation, Architecture
from hubpush.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hubpush.model import Account


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

    def read(self, name: str) -> npt.NDArray[Any]:
        """A variable as TensorFlow's own reader gives it."""
        with self._readable():
            array: npt.NDArray[Any] = self._reader.get_tensor(name)
        return array

    def read_place(self, place: str) -> npt.NDArray[Any]:
        """A variable by its name in the weight map, whatever the checkpoint calls it."""
        fate = self._stored.get(place)
        return self.read(place) if fate is None else self.read(fate.variable.name).reshape(fate.shape)

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
        self, inputs: Mapping[str, npt.NDArray[np.int32]], activation: Activation, dtype: str
    ) -> dict[str, npt.NDArray[Any]]:
        """Outputs of the original forward pass; see `hubpush.architectures.bert.forward`."""
        return self._architecture.forward(
            self._tf, self.read_place, self._heads, self._config, activation, inputs, dtype
        )


def tensorflow() -> Any:
    """TensorFlow, told to keep quiet and to leave graphics cards alone: parity is proven on the processor."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _native_silence():
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
