"""The peers of `benchmarks.speed`: their environments, and the small programs that run in processes of their own.

A peer is transformers of a version that still reads TensorFlow checkpoints, in a venv that pip makes from the package
index: 4.47.1 is the last whose `transformers-cli convert` works, 4.57.6 the last of those with a loader to call. Both
get the TensorFlow and torch that hubpush itself is run with, so that versions of these explain no difference. PIP_ARGS
of the environment goes to pip as it is.

    python -m benchmarks.peers load OUT DIR ...            what 4.57.6 can do in one process: 24 x load and save
    python -m benchmarks.peers equal PYTORCH_MODEL.BIN MODEL.SAFETENSORS    whether two files hold the same bits
    python -m benchmarks.peers passes MODELS DIR ...       the bare forward passes that parity consists of
    python -m benchmarks.peers measure MODELS DIR ...      `hubpush.parity.measure` of the same folders

A DIR is a checkpoint's directory, and MODELS/NAME is the model folder that was made from DIR of that name. The last two
print JSON: seconds after imports, and in MB the resident set after imports and its peak. The first two run in a peer's
venv, so hubpush and whatever else is not there is imported by those alone that need it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CLI, LOADER = "4.47.1", "4.57.6"
PREFIX = "bert_model.ckpt"


def missing_tools() -> str | None:
    """What the benchmark needs and pip does not bring, in one line; None if all is there."""
    absent = [tool for tool in ("bash", "cp", "curl", "unzip") if shutil.which(tool) is None]
    return f"not found: {', '.join(absent)}; install it with the system's package manager" if absent else None


def venv(place: Path, release: str) -> Path:
    """Where the venv of a version of transformers is, or is to be."""
    return place / f"transformers-{release}"


def is_whole(place: Path, release: str) -> bool:
    """Whether it is there with everything in it."""
    return _stamp(place, release).is_file()


def install(place: Path, release: str) -> Path:
    """Make the venv of a version of transformers, unless it is there already; returns its directory.

    4.47.1's TensorFlow models want Keras 2 (`tf_keras`), which its converter does not. It lies beside the venv, in
    `keras_2`, and only the check of the scripts by hand gets it: the converter is not to import more than it needs.

    Raises:
        SystemExit: pip could not install it.
    """
    made = venv(place, release)
    needs = [f"transformers=={release}", *(f"{name}=={_public(name)}" for name in ("tensorflow", "torch"))]
    if is_whole(place, release) and _stamp(place, release).read_text(encoding="utf-8").split() == needs:
        return made
    if not (made / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", made], check=True)
    _pip(made, *needs)
    if release == CLI:
        _pip(made, "--no-deps", "--upgrade", "--target", str(keras_2(place)), f"tf_keras=={_public('tensorflow')}")
    # As pip does unless it is told otherwise; each start would compile again where Python may write no bytecode. What
    # does not compile is for other Pythons, and not used.
    subprocess.run([made / "bin" / "python", "-m", "compileall", "-qq", made / "lib", keras_2(place)], check=False)
    _stamp(place, release).write_text("\n".join(needs) + "\n", encoding="utf-8")
    return made


def keras_2(place: Path) -> Path:
    """The directory with `tf_keras`, to be put in PYTHONPATH."""
    return place / "tf-keras"


def _stamp(place: Path, release: str) -> Path:
    return venv(place, release) / "whole.stamp"


def _public(package: str) -> str:
    """The installed version without its build, which an index may not have: 2.13.0 for 2.13.0+cpu.

    Raises:
        SystemExit: It is not installed here.
    """
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        raise SystemExit(f"{package} is not installed here: make .venv/dev.stamp") from None


def _pip(made: Path, *arguments: str) -> None:
    command = [
        str(made / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "-q",
        "--no-compile",
        "--disable-pip-version-check",
    ]
    if subprocess.run([*command, *os.environ.get("PIP_ARGS", "").split(), *arguments], check=False).returncode:
        raise SystemExit(f"pip could not install {' '.join(arguments)} into {made}")


def load(out: Path, directories: Sequence[Path]) -> None:
    """The loader of transformers 4.57.6, called for one checkpoint after the other."""
    from transformers import BertConfig, BertForPreTraining, load_tf_weights_in_bert

    for directory in directories:
        config = BertConfig.from_json_file(directory / "bert_config.json")
        model = BertForPreTraining(config)
        load_tf_weights_in_bert(model, config, str(directory / PREFIX))
        model.save_pretrained(out / directory.name)


def equal(pytorch: Path, safetensors: Path) -> None:
    """Whether each tensor of the second file is in the first with the same bits, and the first has no other ones.

    Raises:
        SystemExit: It is not so.
    """
    import torch
    from safetensors.torch import load_file

    theirs, ours = torch.load(pytorch, weights_only=True), load_file(safetensors)
    # A pickle has a tied tensor under each of its names; safetensors under one.
    kept = {tensor.data_ptr() for name, tensor in theirs.items() if name in ours}
    left = {name for name, tensor in theirs.items() if name not in ours and tensor.data_ptr() not in kept}
    odd = [name for name in ours if name not in theirs or not torch.equal(ours[name], theirs[name])]
    if odd or left:
        raise SystemExit(f"{safetensors} is not {pytorch}: {', '.join([*odd, *sorted(left)])}")


def passes(models: Path, directories: Sequence[Path]) -> None:
    """Load each model and run it on the probes in both precisions; then its original graph, three times as parity does.

    Nothing is compared. The ids come from the published tokenizer; the hidden states and the rows of logits are those
    that parity asks for.
    """
    import torch
    import transformers

    from hubpush.parity import probes
    from hubpush.parity.compare import compared

    def run(directory: Path) -> None:
        folder = models / directory.name
        model = transformers.BertForPreTraining.from_pretrained(folder, attn_implementation="eager").eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        batches = probes.encode(tokenizer, model.config.max_position_embeddings, model.config.type_vocab_size)
        for dtype in (torch.float32, torch.float64):
            model.to(dtype)
            for batch in batches:
                with torch.inference_mode():
                    tensors = {name: torch.from_numpy(array).long() for name, array in batch.items()}
                    model(**tensors, output_hidden_states=True)
        del model
        with _original(directory) as original:
            graph = original.graph()
            form = original.activation
            other: Any = {"gelu": "gelu_pytorch_tanh"}.get(form, "gelu")
            for activation, precision in ((form, "float64"), (other, "float64"), (form, "float32")):
                for batch in batches:
                    graph.run(batch, activation, precision, rows=compared("mlm_logits", batch))

    _after_imports(directories, run)


def measure(models: Path, directories: Sequence[Path]) -> None:
    """What hubpush does about parity, graph and tokenizer."""
    from hubpush import parity

    def run(directory: Path) -> None:
        with _original(directory) as original:
            parity.measure(models / directory.name, original).require()

    _after_imports(directories, run)


@contextmanager
def _original(directory: Path) -> Iterator[Any]:
    """A checkpoint as parity takes it."""
    from hubpush import catalog, conversion, source
    from hubpush.checkpoint import Checkpoint

    release = catalog.single("local/checkpoint", "checkpoint", license="unknown", cased=False).releases[0]
    with tempfile.TemporaryDirectory() as scratch:
        local = source.bring(directory, Path(scratch))
        with source.opened(local, Path(scratch) / "source") as files, Checkpoint(files.prefix) as checkpoint:
            yield conversion.read(checkpoint, files, release).as_original(files)


def _after_imports(directories: Sequence[Path], run: Any) -> None:
    """Import what both sides need, then run for each directory, and print the time and the memory of that alone."""
    from hubpush.parity.graph import tensorflow

    tensorflow()
    import torch  # noqa: F401
    from transformers import AutoTokenizer, BertForPreTraining  # noqa: F401

    from hubpush.parity import compare, external, keras, probes, published, tokenizer, weights  # noqa: F401

    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    start = time.perf_counter()
    for directory in directories:
        run(directory)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "imports": resident / 1e6, "peak": peak / 1e6}))


def main(arguments: Sequence[str]) -> None:
    """Run one of the programs."""
    program, first, *others = arguments
    paths = [Path(one) for one in others]
    if program == "equal":
        equal(Path(first), paths[0])
    else:
        {"load": load, "passes": passes, "measure": measure}[program](Path(first), paths)


if __name__ == "__main__":
    main(sys.argv[1:])
