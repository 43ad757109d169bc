"""Parity, tested by mutation: are wrong folders caught, is the place named, and do right folders raise no alarm?

    python -m benchmarks.mutation [--short] [--no-alarms] [--no-mutations] [--stand-ins DIR]

A tiny model whose weights are lively is converted, then its published folder is changed in one way at a time: every
pair of same-shaped tensors exchanged, kernels not transposed, heads cut wrongly, layers off by one, tables shifted,
biases lost, bits flipped, halves of the precision, and the small files edited. The trained MiniLM gets a sample. Then
folders that are right are measured in the shapes of all 24 miniatures, with one and two threads, with oneDNN on and
off, with both implementations of attention.

Weights are compared bit by bit, so that a changed tensor is always caught; counted is whether the *outputs* show
it as well, and whether the first output that differs is the one behind the changed tensor.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from examples import minilm
from hubpush import conversion, parity, pipeline, source, zipball
from hubpush.catalog import Release
from hubpush.errors import ParityError
from hubpush.parity import Asked
from hubpush.parity.report import ParityReport
from hubpush.source import Files
from tests import checkpoints

Tensors = dict[str, "np.ndarray[Any, Any]"]

GRAPH = (Asked("graph"),)
BOTH = (Asked("graph"), Asked("tokenizer"))


@dataclass(frozen=True)
class Subject:
    """A checkpoint and the folder that it became."""

    files: Files
    folder: Path
    release: Release
    reading: conversion.Reading

    def measure(self, folder: Path, asked: Sequence[Asked] = GRAPH, **options: Any) -> ParityReport:
        """The report on a folder that is said to be this one's."""
        return parity.measure(folder, self.reading.as_original(self.files), asked, **options)


@dataclass(frozen=True)
class Mutation:
    """One change to a published folder.

    Attributes:
        name: What is changed.
        apply: Changes a copy of the folder.
        shows: Outputs of which the first that differs is one; empty where no output has to.
        asked: The references that have to catch it.
    """

    name: str
    apply: Callable[[Path], None]
    shows: frozenset[str]
    asked: tuple[Asked, ...] = GRAPH


@dataclass(frozen=True)
class Result:
    """What became of one mutation."""

    name: str
    is_caught: bool
    is_shown: bool
    first: str | None
    is_named: bool


def convert(files: Files, folder: Path, activation: str = "gelu_pytorch_tanh") -> Subject:
    """Convert a checkpoint to a folder."""
    facts: dict[str, Any] = {"name": "m", "title": "m", "source": "m", "license": "apache-2.0", "cased": False}
    release = Release.model_validate({**facts, "activation": activation})
    folder.mkdir(parents=True)
    return Subject(files, folder, release, conversion.convert(files, folder, release).reading)


def place(key: str) -> str:
    """The first output that a published tensor has a part in."""
    if ".layer." in key:
        layer = int(key.partition(".layer.")[2].partition(".")[0]) + 1
        return f"layer {layer} keys" if ".self.key." in key else f"layer {layer}"
    scopes = {"embeddings": "embeddings", "pooler": "pooled_output", "cls.seq": "nsp_logits"}
    own = key.removeprefix("bert.")
    return next((output for scope, output in scopes.items() if own.startswith(scope)), "mlm_logits")


def first_of(keys: Sequence[str], outputs: Sequence[str]) -> frozenset[str]:
    """The first output behind any of some tensors, in the order of the computation."""
    return frozenset([min(map(place, keys), key=list(outputs).index)])


def mutations(subject: Subject, outputs: Sequence[str]) -> Iterator[Mutation]:
    """Every change that is tried on the tiny model."""
    from safetensors.numpy import load_file

    tensors = load_file(subject.folder / "model.safetensors")
    keys, heads = sorted(tensors), int(subject.reading.original["num_attention_heads"])
    layers = int(subject.reading.original["num_hidden_layers"])
    dice = random.Random(7)  # noqa: S311 - which bit is flipped is no secret
    vocab = (subject.folder / "vocab.txt").read_text(encoding="utf-8").split("\n")

    def tensor(name: str, changed: Sequence[str], change: Callable[[Tensors], object]) -> Mutation:
        return Mutation(name, _tensors(change), first_of(changed, outputs))

    for n, one in enumerate(keys):
        for other in keys[n + 1 :]:
            if tensors[one].shape == tensors[other].shape:
                yield tensor(f"exchanged: {one}, {other}", [one, other], _exchange(one, other))
    for key in keys:
        if tensors[key].ndim == 2 and "embeddings" not in key and "seq_relationship" not in key:
            yield tensor(f"not transposed: {key}", [key], _set(key, _untransposed))
        if key.endswith("bias"):
            yield tensor(f"lost: {key}", [key], _set(key, np.zeros_like))
            yield Mutation(f"missing: {key}", _tensors(lambda t, k=key: t.pop(k)), frozenset())  # type: ignore[misc]
        if ".attention.self." in key:
            yield tensor(f"heads cut wrongly: {key}", [key], _set(key, lambda a: _regrouped(a, heads)))
        yield tensor(f"one bit: {key}", [key], _set(key, _flip(dice, vocab)))
        yield tensor(f"float16: {key}", [key], _set(key, lambda a: a.astype("f2").astype("f4")))
    for table in ("position", "token_type", "word"):
        key = next(k for k in keys if k.endswith(f"embeddings.{table}_embeddings.weight"))
        yield tensor(f"shifted by one: {key}", [key], _set(key, lambda a: np.roll(a, 1, axis=0)))
    for by in range(1, layers):
        yield tensor(f"layers off by {by}", [k for k in keys if ".layer." in k], _off_by(by, layers))
    yield Mutation(
        "float16: all",
        _tensors(lambda t: t.update({k: a.astype("f2").astype("f4") for k, a in t.items()})),
        _at("embeddings"),
    )
    yield from small_files(subject, heads)


def small_files(subject: Subject, heads: int) -> Iterator[Mutation]:
    """Changes to config.json and the tokenizer's files."""
    vocab = (subject.folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    words = [w for w in vocab if w.isalpha()]
    other = "gelu" if subject.release.activation != "gelu" else "gelu_pytorch_tanh"
    yield Mutation("activation", _json("config.json", hidden_act=other), _at("layer 1"))
    for epsilon in (1e-9, 1e-6, 1e-5):
        yield Mutation(f"epsilon {epsilon:g}", _json("config.json", layer_norm_eps=epsilon), _at("embeddings"))
    for count in (heads // 2, heads * 2):
        yield Mutation(f"{count} heads", _json("config.json", num_attention_heads=count), _at("layer 1"))
    yield Mutation("config.json: float16", _json("config.json", dtype="float16"), _at("embeddings"))
    none: frozenset[str] = frozenset()
    edits: dict[str, Callable[[Path], None]] = {
        "casing of tokenizer_config.json": _json(
            "tokenizer_config.json", do_lower_case=True ^ (not subject.reading.cased)
        ),
        "dropout": _json("config.json", hidden_dropout_prob=0.2),
        "length": _json("tokenizer_config.json", model_max_length=10**30),
        "padding on the left": _json("tokenizer_config.json", padding_side="left"),
        "another [MASK]": _json("tokenizer_config.json", mask_token="[UNK]"),  # noqa: S106
    }
    for n in range(3):
        one, two = words[n * 7], words[n * 7 + 3]
        edits[f"lines of {one!r} and {two!r} exchanged"] = _lines_exchanged(one, two)
    edits["[PAD] moved"] = _lines_exchanged("[PAD]", words[-1])
    edits["casing of tokenizer.json"] = _nested("tokenizer.json", "normalizer", "lowercase", value=False)
    edits["accents kept by tokenizer.json"] = _nested("tokenizer.json", "normalizer", "strip_accents", value=False)
    edits["characters together in tokenizer.json"] = _nested(
        "tokenizer.json", "normalizer", "handle_chinese_chars", value=False
    )
    for name, edit in edits.items():
        yield Mutation(name, edit, none, BOTH)


def run(subject: Subject, chosen: Sequence[Mutation], tell: Callable[[Result], None] = lambda _r: None) -> list[Result]:
    """Try mutations one by one, each on a fresh copy of the folder."""
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for mutation in chosen:
            folder = Path(scratch) / "model"
            shutil.copytree(subject.folder, folder)
            mutation.apply(folder)
            results.append(_judge(subject, mutation, folder))
            tell(results[-1])
            shutil.rmtree(folder)
    return results


def _judge(subject: Subject, mutation: Mutation, folder: Path) -> Result:
    try:
        report = subject.measure(folder, mutation.asked)
    except ParityError as error:  # transformers does not even load it
        return Result(mutation.name, True, True, error.message, not mutation.shows)
    proof = next(r for r in report.references if r.as_published and r.dtype == "float64")
    first = next((d.output for d in proof.outputs if not d.is_within), None)
    is_named = not mutation.shows or first in mutation.shows
    return Result(mutation.name, report.verdict == "fail", first is not None, first, is_named)


def _at(*outputs: str) -> frozenset[str]:
    return frozenset(outputs)


def _tensors(change: Callable[[Tensors], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        from safetensors.numpy import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        whole = {key: np.ascontiguousarray(array) for key, array in tensors.items()}
        save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})

    return apply


def _exchange(one: str, other: str) -> Callable[[Tensors], object]:
    return lambda t: t.update({one: t[other], other: t[one]})


def _set(key: str, change: Callable[[Any], Any]) -> Callable[[Tensors], object]:
    return lambda t: t.update({key: change(t[key])})


def _untransposed(array: Any) -> Any:
    """The bytes as they lie in the checkpoint, under the shape of the transposed kernel."""
    return np.ascontiguousarray(array.T).reshape(array.shape)


def _regrouped(array: Any, heads: int) -> Any:
    """Rows in the order [size, heads] instead of [heads, size]."""
    size = array.shape[0] // heads
    return array.reshape(heads, size, -1).swapaxes(0, 1).reshape(array.shape)


def _flip(dice: random.Random, vocab: Sequence[str]) -> Callable[[Any], Any]:
    def flip(array: Any) -> Any:
        bits = array.copy().view(np.uint32)
        # In a row that every probe uses, where it is a table: [CLS] of words, position 0, segment 0.
        row = vocab.index("[CLS]") if len(array) in (len(vocab), len(vocab) - 1) else 0
        flat = bits[row] if array.ndim == 2 else bits
        flat[dice.randrange(len(flat))] ^= 1
        return bits.view(np.float32)

    return flip


def _off_by(by: int, layers: int) -> Callable[[Tensors], object]:
    def change(tensors: Tensors) -> None:
        moved = {}
        for key, array in tensors.items():
            if ".layer." in key:
                head, _, rest = key.partition(".layer.")
                number, _, tail = rest.partition(".")
                moved[f"{head}.layer.{(int(number) + by) % layers}.{tail}"] = array
        tensors.update(moved)

    return change


def _json(file: str, **changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = json.loads((folder / file).read_text(encoding="utf-8"))
        data.update(changes)
        (folder / file).write_text(json.dumps(data), encoding="utf-8")

    return apply


def _nested(file: str, key: str, inner: str, *, value: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = json.loads((folder / file).read_text(encoding="utf-8"))
        data[key][inner] = value
        (folder / file).write_text(json.dumps(data), encoding="utf-8")

    return apply


def _lines_exchanged(one: str, other: str) -> Callable[[Path], None]:
    """Two tokens that change places wherever the vocabulary stands."""

    def apply(folder: Path) -> None:
        path = folder / "vocab.txt"
        swap = {one: other, other: one}
        lines = path.read_text(encoding="utf-8").split("\n")
        path.write_text("\n".join(swap.get(line, line) for line in lines), encoding="utf-8", newline="\n")
        path = folder / "tokenizer.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        table = data["model"]["vocab"]
        table[one], table[other] = table[other], table[one]
        path.write_text(json.dumps(data), encoding="utf-8")

    return apply


# False alarms ---------------------------------------------------------------------------------------------------------


def alarms(stand_ins: Path, names: Sequence[str], attentions: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Measure right folders in this process, as it was started: a row for each model and attention."""
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            local = source.bring(stand_ins / f"{name}.zip", Path(scratch))
            with source.opened(local, Path(scratch) / "unpacked") as files:
                subject = convert(files, Path(scratch) / "model")
                for attention in attentions:
                    pipeline.forget_peak()
                    start = time.perf_counter()
                    report = subject.measure(subject.folder, attention=attention)
                    yield {
                        "name": name,
                        "attention": attention,
                        "failures": report.failures(),
                        "of_floor": _largest(report, "float32", lambda d: d.max_abs / d.floor if d.floor else 0.0),
                        "of_allowed": _largest(report, "float64", lambda d: d.max_abs / d.tolerance),
                        "seconds": time.perf_counter() - start,
                        "peak": pipeline.peak_memory(),
                    }


def _largest(report: ParityReport, dtype: str, ratio: Callable[[Any], float]) -> float:
    return max(ratio(d) for r in report.references if r.as_published and r.dtype == dtype for d in r.outputs)


def _in_processes(stand_ins: Path, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of `alarms` from a process of its own for each number of threads, with and without oneDNN."""
    for threads in ("1", "2"):
        for onednn in ("0", "1"):
            threading = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), threads)
            environment = {**os.environ, **threading, "TF_ENABLE_ONEDNN_OPTS": onednn}
            command = [sys.executable, "-m", "benchmarks.mutation", "--alarms-of", str(stand_ins), *names]
            with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
                for line in process.stdout or ():
                    yield {**json.loads(line), "threads": threads, "onednn": onednn}
            if process.returncode:
                raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")


# The command ----------------------------------------------------------------------------------------------------------


def tiny(scratch: Path) -> Subject:
    """The tiny lively model with all heads."""
    checkpoints.write_release(scratch / "tiny")
    return convert(source.find(scratch / "tiny"), scratch / "tiny-model")


def trained(scratch: Path) -> Subject:
    """MiniLM, which was trained."""
    minilm.main(scratch)
    zipball.unpack(next((scratch / "minilm-demo").glob("*.zip")), _made(scratch / "minilm"))
    return convert(source.find(scratch / "minilm"), scratch / "minilm-model", activation="gelu")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def outputs_of(subject: Subject) -> list[str]:
    """The outputs in the order of the computation; the folder itself has to pass."""
    report = subject.measure(subject.folder, BOTH)
    report.require()
    return [d.output for d in report.references[0].outputs]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mutation", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--short", action="store_true", help="a sample of 60 mutations, and no other shapes")
    parser.add_argument("--no-alarms", action="store_true", help="mutations alone")
    parser.add_argument("--no-mutations", action="store_true", help="right folders alone")
    parser.add_argument(
        "--stand-ins", type=Path, default=Path("build/stand-in"), help="where benchmarks.stand_in wrote"
    )
    parser.add_argument("--alarms-of", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.alarms_of:
        for row in alarms(Path(given.alarms_of[0]), given.alarms_of[1:], ("eager", "sdpa")):
            print(json.dumps(row), flush=True)
        return 0
    start = time.perf_counter()
    is_right = given.no_mutations or _try_mutations(short=given.short)
    is_quiet = given.short or given.no_alarms or _try_alarms(given.stand_ins)
    print(f"{time.perf_counter() - start:.0f} s")
    return 0 if is_right and is_quiet else 1


def _try_mutations(*, short: bool) -> bool:
    """Whether every mutation was caught, and the place of at least 95 % named rightly."""
    everything: list[Result] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, make, most in (("the tiny model", tiny, 60 if short else None), ("MiniLM, trained", trained, 40)):
            if short and make is trained:
                continue
            subject = make(Path(scratch))
            chosen = list(mutations(subject, outputs_of(subject)))
            if most is not None:
                chosen = random.Random(11).sample(chosen, most)  # noqa: S311 - a sample, no secret
            found = run(subject, chosen, _say)
            everything += found
            _summary(name, found)
    if not short:
        _summary("together", everything)
    return all(r.is_caught for r in everything) and sum(r.is_named for r in everything) >= 0.95 * len(everything)


def _try_alarms(stand_ins: Path) -> bool:
    """Whether no right folder raised an alarm."""
    names = sorted(path.stem for path in stand_ins.glob("*_L-*.zip"))
    if not names:
        raise SystemExit(f"there are no stand-ins in {stand_ins}: python -m benchmarks.stand_in {stand_ins}")
    rows = []
    for row in _in_processes(stand_ins, names):
        rows.append(row)
        print("ALARM" if row["failures"] else "right", json.dumps(row), file=sys.stderr, flush=True)
    alarmed = sum(bool(row["failures"]) for row in rows)
    print(
        f"false alarms {alarmed}/{len(rows)} ({len(names)} shapes × threads 1, 2 × oneDNN on, off × eager, sdpa);"
        f" float64: at most {max(r['of_allowed'] for r in rows):.2f} of what is allowed;"
        f" float32: at most {max(r['of_floor'] for r in rows):.2f} floors (4 are allowed);"
        f" peak {max(r['peak'] or 0 for r in rows) / 1e9:.1f} GB"
    )
    return not alarmed


def _say(result: Result) -> None:
    if not (result.is_caught and result.is_named):
        verdict = "caught, another place is named" if result.is_caught else "MISSED"
        print(f"{verdict}: {result.name} (first {result.first})", flush=True)


def _summary(what: str, results: Sequence[Result]) -> None:
    caught, shown, named = (sum(getattr(r, f"is_{x}") for r in results) for x in ("caught", "shown", "named"))
    total = len(results)
    print(
        f"{what}: caught {caught}/{total}; shown by outputs alone {shown}/{total}; first place named rightly"
        f" {named}/{total} ({named / total:.1%})",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
