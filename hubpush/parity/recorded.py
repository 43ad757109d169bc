"""A folder against what was recorded of it: the same ids and outputs with the libraries of today?

A frozen checkpoint does not change; what surrounds it does. This needs neither the checkpoint nor TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubpush.errors import DriftError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: What it is, for a table: `loading`, `token ids`, `layer 3`.
        expected: What was recorded, in words.
        found: What is there now.
        is_same: Whether that is what it was.
    """

    what: str
    expected: str
    found: str
    is_same: bool


def digest_of_ids(tokenizer: Any) -> dict[str, Any]:
    """Digests of the awkward texts, and of the ids that a tokenizer gives them.

    Args:
        tokenizer: As AutoTokenizer loads it.
    """
    from hubpush.parity.probes import awkward

    texts = awkward()
    ids = tokenizer(list(texts))["input_ids"]
    return {"count": len(texts), "texts_sha256": _digest(list(texts)), "ids_sha256": _digest(ids)}


def compare(folder: Path, record: Mapping[str, Any]) -> Iterator[Finding]:
    """Load a folder with the class that was recorded, and hold ids and outputs against the recorded ones.

    Args:
        folder: The model folder.
        record: The `build` of its manifest: `model`, `parity` and `samples`.

    Raises:
        MissingExtraError: torch or transformers are not installed.
        ParityError: transformers cannot load the folder.
        DriftError: The samples are none.
    """
    import numpy as np

    from hubpush.architectures import ARCHITECTURES
    from hubpush.parity.compare import real_rows
    from hubpush.parity.published import Published, quiet

    model, samples, parity = record["model"], record["samples"], record["parity"]
    if not samples["batches"] or any(not batch.get("outputs") for batch in samples["batches"]):
        yield Finding("samples", "recorded outputs", "none", False)
    classes = ARCHITECTURES[model["architecture"]].classes
    model_class = next(one for one in classes if one.name == model["class"])
    loaded = Published(folder, frozenset(model["heads"]), model_class)
    wrong = [f"{kind}: {', '.join(keys[:3])}" for kind, keys in loaded.loading.items() if keys]
    yield Finding("loading", "every tensor has its place", "; ".join(wrong) or "every tensor has its place", not wrong)
    try:
        with quiet():
            yield _ids(loaded.tokenizer, samples)
    except _ODD as error:
        raise _unusable(error) from None
    tolerances = {
        row["output"]: row["tolerance"]
        for reference in parity["references"]
        if reference["reference"] == "graph" and reference["as_published"] and reference["dtype"] == "float64"
        for row in reference["outputs"]
    }
    gaps, most = dict[str, float](), dict[str, float]()
    try:
        for batch in samples["batches"]:
            inputs = {name: np.asarray(rows, dtype=np.int32) for name, rows in batch["inputs"].items()}
            rows = real_rows(loaded.run(inputs, "float64"), inputs)
            for name, sample in batch["outputs"].items():
                if name not in rows:
                    gaps[name] = float("inf")
                    continue
                now = rows[name].reshape(-1)[np.asarray(sample["places"], dtype=int)]
                then = np.asarray([float("nan") if v is None else v for v in sample["values"]], dtype=np.float64)
                most[name] = max(most.get(name, 1.0), float(np.nan_to_num(np.abs(then)).max()))
                off = np.where(np.isnan(then) & ~np.isfinite(now), 0.0, np.abs(now - then))
                gaps[name] = max(gaps.get(name, 0.0), float(np.nan_to_num(off, nan=np.inf).max()))
    except _ODD as error:
        raise _unusable(error) from None
    for name, gap in gaps.items():
        # Never more than a manifest's word and what float64 can be off by: it could have been edited.
        allowed = min(tolerances.get(name, 1e-12), 1e-12 * most.get(name, 1.0))
        yield Finding(name, f"within {allowed:.1e}", f"{gap:.1e}", gap <= allowed)


_ODD = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What samples that were edited make of the computation."""


def _unusable(error: Exception) -> DriftError:
    why = (str(error).splitlines() or [type(error).__name__])[0]
    return DriftError(
        f"the recorded samples cannot be used: {why}", hint="was hubpush.json edited? with --source it is proven again"
    )


def _ids(tokenizer: Any, samples: Mapping[str, Any]) -> Finding:
    """The recorded texts one by one, the first difference in words; the others by their digest."""
    texts = samples.get("texts", [])
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
            return Finding("token ids", expected, f"other ids among the {then['count']}", False)
    return Finding("token ids", expected, "the same", True)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
