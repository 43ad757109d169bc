"""Writes tf-models-official.json: what tf-models-official itself computes with the checkpoints of the tests.

Its own encoders restore what `tests.checkpoints.write_tf2_checkpoint` writes, each variable matched, and run. It asks
for a TensorFlow and packages that the tests have no use for, so this is run by hand, in an environment of its own:

    pip install --no-deps tf-models-official==2.20.0 tf-keras==2.21.0 gin-config   (beside TensorFlow 2.21)
    python -m tests.golden.tf_models_official
"""

import json
import os
import sys
import tempfile
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np

from tests.checkpoints import TINY, bert_variables, tensorflow, write_tf2_checkpoint

IDS = np.random.default_rng(3).integers(104, TINY["vocab_size"], (2, 12)).astype(np.int32)
MASK = (np.arange(12) < [[12], [7]]).astype(np.int32)
SEGMENTS = ((np.arange(12) >= 5) * MASK).astype(np.int32)


class _Nothing:
    """Stands for what tf-models-official imports beside its encoders, and does not use for them."""

    def __init__(self, *_: object, **__: object) -> None: ...
    def __call__(self, *_: object, **__: object) -> "_Nothing":
        return _Nothing()

    def __getattr__(self, name: str) -> "_Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing()


def _stand_in(name: str) -> None:
    module = types.ModuleType(name)
    module.__spec__, module.__path__ = ModuleSpec(name, None), []  # type: ignore[attr-defined]
    module.__getattr__ = lambda _: _Nothing  # type: ignore[method-assign]
    sys.modules[name] = module


def main() -> None:
    """Restore, run, write."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    tf = tensorflow()
    for name in (
        *("tensorflow_text", "tensorflow_addons", "tensorflow_addons.text", "tensorflow_datasets", "tensorflow_hub"),
        *("cv2", "psutil", "sentencepiece", "tensorflow_model_optimization", "cpuinfo", "scipy", "scipy.linalg"),
        *("pandas", "matplotlib"),
    ):
        try:
            __import__(name)
        except ImportError:
            _stand_in(name)
    import tf_keras
    from official.modeling import tf_utils
    from official.nlp.modeling import models, networks

    sizes = {
        "vocab_size": TINY["vocab_size"],
        "hidden_size": TINY["hidden_size"],
        "num_layers": TINY["num_hidden_layers"],
        "num_attention_heads": TINY["num_attention_heads"],
        "inner_dim": TINY["intermediate_size"],
        "max_sequence_length": TINY["max_position_embeddings"],
        "type_vocab_size": TINY["type_vocab_size"],
    }
    inputs = {"input_word_ids": IDS, "input_mask": MASK, "input_type_ids": SEGMENTS}
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    positions = tf.constant(np.tile(np.arange(12, dtype=np.int32), (2, 1)))
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for generation in ("numbered", "named"):
            if generation == "numbered":
                encoder = networks.BertEncoder(**sizes, dict_outputs=True)
            else:
                encoder = networks.BertEncoderV2(**sizes)
                encoder(encoder.inputs)
            model = models.BertPretrainerV2(encoder, mlm_activation=tf_utils.get_activation("gelu"))
            if generation == "named":
                model({**encoder.inputs, "masked_lm_positions": tf_keras.Input((None,), dtype=tf.int32)})
            prefix = write_tf2_checkpoint(
                Path(folder) / generation, bert_variables(TINY, ("pooler", "mlm")), TINY, generation=generation
            )
            restored = tf.train.Checkpoint(encoder=encoder, masked_lm=model.masked_lm).read(str(prefix))
            restored.assert_existing_objects_matched()
            fed = tensors if generation == "named" else list(tensors.values())
            states = encoder(fed, training=False)
            logits = model({**tensors, "masked_lm_positions": positions}, training=False)["mlm_logits"]
            found[generation] = {
                "sequence_output": states["sequence_output"].numpy().astype(float).round(7).tolist(),
                "pooled_output": states["pooled_output"].numpy().astype(float).round(7).tolist(),
                "mlm_logits": logits.numpy()[:, :, ::50].astype(float).round(6).tolist(),
            }
    Path(__file__).with_name("tf-models-official.json").write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
