"""A folder against what was recorded of it: the same ids and outputs with the libraries of today?

A frozen checkpoint does not change; what surrounds it does. This needs neither the checkpoint nor TensorFlow, but for
KerasHub, which runs on it. That a library no longer loads a folder, or no longer runs it, is something found, and no
error: it is what is looked for.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubpush.errors import DriftError, HubpushError, ParityError

if TYPE_CHECKING:
    from hubpush.parity.compare import Outputs

PACKAGES = ("transformers", "tokenizers", "torch", "safetensors", "numpy")
"""What ids, outputs and loading depend on, by the names that pip knows."""

KERAS_PACKAGES = ("keras-hub", "keras", "tensorflow")
"""The same for KerasHub."""

_PLACED = "every tensor has its place"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: What it is, for a table: `loading`, `token ids`, `layer 3`; of KerasHub with its name before it.
        expected: What was recorded, in words.
        found: What is there now.
        is_same: Whether that is what it was.
    """

    what: str
    expected: str
    found: str
    is_same: bool


def libraries(packages: Iterable[str]) -> dict[str, str]:
    """The versions of packages that are installed, and of Python; none is imported."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def missing() -> tuple[str, ...]:
    """The packages without which neither ids nor outputs can be looked at."""
    return tuple(name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None)


def digest_of_ids(tokenizer: Any) -> dict[str, Any]:
    """Digests of the awkward texts, and of the ids that a tokenizer gives them.

    Args:
        tokenizer: As AutoTokenizer loads it.
    """
    from hubpush.parity.probes import awkward

    texts = awkward()
    ids = tokenizer(list(texts))["input_ids"]
    return {"count": len(texts), "texts_sha256": _digest(list(texts)), "ids_sha256": _digest(ids)}


def identity(record: Mapping[str, Any]) -> str:
    """What the findings of `compare` and `compare_keras` depend on beside the libraries and the folder's bytes.

    Two versions with the same converted files and the same identity are one and the same to them.

    Args:
        record: The `build` of a manifest.
    """
    tolerances = [_tolerances(record, dtype) for dtype in ("float64", "float32")]
    return _digest([record["model"], record["samples"], tolerances])


def compare(folder: Path, record: Mapping[str, Any]) -> Iterator[Finding]:
    """Load a folder with the class that was recorded, and hold ids and outputs against the recorded ones.

    Args:
        folder: The model folder.
        record: The `build` of its manifest: `model`, `parity` and `samples`.

    Raises:
        DriftError: The samples are none.
    """
    from hubpush.architectures import ARCHITECTURES
    from hubpush.parity.published import Published, quiet

    model, samples = record["model"], record["samples"]
    if not samples["batches"] or any(not batch.get("outputs") for batch in samples["batches"]):
        yield Finding("samples", "recorded outputs", "none", False)
    classes = ARCHITECTURES[model["architecture"]].classes
    model_class = next(one for one in classes if one.name == model["class"])
    try:
        with _library("transformers", folder):
            loaded = Published(folder, frozenset(model["heads"]), model_class)
    except ParityError as error:
        yield Finding("loading", _PLACED, _told(error, folder), False)
        return
    wrong = [f"{kind}: {_some(keys)}" for kind, keys in loaded.loading.items() if keys]
    yield Finding("loading", _PLACED, "; ".join(wrong) or _PLACED, not wrong)
    try:
        with _library("transformers", folder), quiet():
            ids = _ids(folder, loaded, model, samples)
    except ParityError as error:
        ids = Finding("token ids", "the recorded ids", _told(error, folder), False)
    yield ids

    def run(inputs: Outputs) -> Outputs:
        with _library("transformers", folder):
            return loaded.run(inputs, "float64")

    allowed = _tolerances(record, "float64")
    try:
        # Never more than a manifest's word and what float64 can be off by: it could have been edited.
        yield from _against(samples["batches"], run, allowed, 1e-12)
    except ParityError as error:
        yield Finding("outputs", "the recorded ones", _told(error, folder), False)


def without_keras(model: Mapping[str, Any]) -> str | None:
    """Why a release has nothing to be held against in KerasHub; None where it has.

    Args:
        model: The `model` of a record.
    """
    from hubpush.architectures import ARCHITECTURES
    from hubpush.architectures.bert import LAYER_NORM_EPSILON
    from hubpush.parity import keras

    kind = ARCHITECTURES[model["architecture"]].model_type
    if kind not in keras.MODEL_TYPES:
        return f"it has no converter for {kind}"
    if "pooler" not in model["heads"]:
        return "it does not load a BERT without a pooler"
    if model["activation"] != keras.ACTIVATION:
        return f"it computes {keras.ACTIVATION}, and this release {model['activation']}"
    if model["config"].get("layer_norm_eps", LAYER_NORM_EPSILON) != LAYER_NORM_EPSILON:
        return f"it computes with layer_norm_eps {LAYER_NORM_EPSILON}, and this release with another"
    return None


def compare_keras(folder: Path, record: Mapping[str, Any]) -> Iterator[Finding]:
    """Load a folder with KerasHub, and hold what it computes against the recorded outputs.

    It runs in float32, as people get it: no part of KerasHub is changed, so that what is found is found by them too. It
    may be off by what was allowed in float32 when the release was proven, four times the rounding of each output
    (`hubpush.parity.report`); the recorded values are float64, and have none to speak of.

    Args:
        folder: The model folder.
        record: The `build` of its manifest; `without_keras` says nothing against it.

    Raises:
        UsageError: keras was imported before, with another backend than TensorFlow.
        DriftError: The samples are none.
    """
    from hubpush.parity import keras

    batches = record["samples"]["batches"]
    try:
        inputs = [_inputs(batch) for batch in batches]
    except _ODD as error:
        raise _unusable(error) from None
    try:
        with _library("KerasHub", folder):
            runs = iter(keras.run(folder, inputs, "float32"))
    except ParityError as error:
        yield Finding("KerasHub: loading", "it computes the recorded outputs", _told(error, folder), False)
        return
    finally:
        _forget_keras()
    allowed = _tolerances(record, "float32")
    for found in _against(batches, lambda _: next(runs), allowed, _FLOAT32_MOST, all_of_them=False):
        yield Finding(f"KerasHub: {found.what}", found.expected, found.found, found.is_same)


_FLOAT32_MOST = 1e-3
"""Of an output's largest value: more than float32 loses in any trained model, and less than another GELU form makes of
it. A manifest that was edited allows no more."""

_ODD = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What samples that were edited make of the computation."""


def _forget_keras() -> None:
    """Let the weights go: layers and models of keras refer to each other, and this looks for what nobody holds."""
    if (keras := sys.modules.get("keras")) is not None:
        keras.utils.clear_session()


@contextmanager
def _library(name: str, folder: Path) -> Iterator[None]:
    """What a library raises over a folder, as an error of parity.

    Raises:
        ParityError: It raised something.
    """
    try:
        yield
    except (HubpushError, KeyboardInterrupt, SystemExit):
        raise
    # A newer library may raise anything, while it is imported too; a panic in Rust (tokenizers, safetensors) is not
    # even an Exception.
    except BaseException as error:  # noqa: BLE001
        why = " ".join(str(error).split())[:200]
        raise ParityError(
            f"{name} cannot load or run {folder.name}: {type(error).__name__}{': ' * bool(why)}{why}",
            hint="is this version of the library meant for such models?",
        ) from None


def _told(error: ParityError, folder: Path) -> str:
    """The first line of an error; the name of a downloaded folder, a commit, says nothing."""
    return error.message.splitlines()[0].replace(str(folder), folder.name).replace(folder.name, "it")


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _tolerances(record: Mapping[str, Any], dtype: str) -> dict[str, float]:
    """What an output may be off by in a precision, by the proof that was recorded."""
    return {
        row["output"]: row["tolerance"]
        for reference in record["parity"]["references"]
        if reference["reference"] == "graph" and reference["as_published"] and reference["dtype"] == dtype
        for row in reference["outputs"]
    }


def _inputs(batch: Mapping[str, Any]) -> dict[str, Any]:
    import numpy as np

    return {name: np.asarray(rows, dtype=np.int32) for name, rows in batch["inputs"].items()}


def _against(
    batches: Sequence[Mapping[str, Any]],
    run: Any,
    tolerances: Mapping[str, float],
    most: float,
    *,
    all_of_them: bool = True,
) -> Iterator[Finding]:
    """Outputs against the recorded ones, in the order of the computation.

    Args:
        batches: The recorded ids and outputs.
        run: Computes the outputs of a batch's ids.
        tolerances: What each output may be off by.
        most: What it may be off by at most, of its largest recorded value or 1.
        all_of_them: Whether an output that is recorded and not computed is a difference.

    Raises:
        DriftError: The samples are none.
        ParityError: What `run` raises.
    """
    import numpy as np

    from hubpush.parity.compare import real_rows

    gaps, scales = dict[str, float](), dict[str, float]()
    try:
        for batch in batches:
            inputs = _inputs(batch)
            rows = real_rows(run(inputs), inputs)
            for name, sample in batch["outputs"].items():
                if name not in rows:
                    if all_of_them:
                        gaps[name] = float("inf")
                    continue
                now = rows[name].reshape(-1)[np.asarray(sample["places"], dtype=int)].astype(np.float64)
                then = np.asarray([float("nan") if v is None else v for v in sample["values"]], dtype=np.float64)
                scales[name] = max(scales.get(name, 1.0), float(np.nan_to_num(np.abs(then)).max()))
                off = np.where(np.isnan(then) & ~np.isfinite(now), 0.0, np.abs(now - then))
                gaps[name] = max(gaps.get(name, 0.0), float(np.nan_to_num(off, nan=np.inf).max()))
    except _ODD as error:
        raise _unusable(error) from None
    for name, gap in gaps.items():
        allowed = min(tolerances.get(name, most), most * scales.get(name, 1.0))
        yield Finding(name, f"within {allowed:.1e}", f"{gap:.1e}", gap <= allowed)


def _unusable(error: Exception) -> DriftError:
    why = (str(error).splitlines() or [type(error).__name__])[0]
    return DriftError(
        f"the recorded samples cannot be used: {why}",
        hint="was hubpush.json edited, or does a library compute other shapes? with --source it is proven again",
    )


def _ids(folder: Path, loaded: Any, model: Mapping[str, Any], samples: Mapping[str, Any]) -> Finding:
    """The recorded texts one by one, the first difference in words; the others by their digest."""
    tokenizer, texts = loaded.tokenizer, samples.get("texts", [])
    expected = f"the recorded ids of {len(texts)} texts"
    for first, second, ids in texts:
        now = tokenizer(first, second)["input_ids"]
        if now != ids:
            at = next((n for n, (a, b) in enumerate(zip(ids, now, strict=False)) if a != b), min(len(ids), len(now)))
            tokens = [tokenizer.convert_ids_to_tokens(side[at : at + 4]) for side in (ids, now)]
            return Finding("token ids", expected, f"{tokens[1]} instead of {tokens[0]} in {first!r}", False)
    then, now = samples.get("awkward"), digest_of_ids(tokenizer)
    if then is not None and then["texts_sha256"] == now["texts_sha256"]:
        expected += f" and {then['count']} more"
        if then["ids_sha256"] != now["ids_sha256"]:
            found = f"other ids among the {then['count']}{_first_unknown(folder, loaded, model)}"
            return Finding("token ids", expected, found, False)
    return Finding("token ids", expected, "the same", True)


def _first_unknown(folder: Path, loaded: Any, model: Mapping[str, Any]) -> str:
    """Where a tokenizer first differs from Google's as is not known: of most texts nothing but a digest is recorded."""
    from hubpush.parity import tokenizer

    vocab = folder / "vocab.txt"
    if not vocab.is_file():
        return ""
    found = tokenizer.compare(folder, loaded.tokenizer, loaded.config, vocab, cased=model["cased"]).first_difference
    if found is None:
        return ", and all of them are Google's, or differ from them as is known"
    return (
        f"; the first that are not Google's: {found['published']} instead of {found['original']} in {found['text']!r}"
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
