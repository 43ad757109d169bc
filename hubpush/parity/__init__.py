"""Parity: does the published folder compute what the original computes?

`measure` runs both on the same probes and compares outputs, weights and token ids; it never judges. `report` judges,
with tolerances that have reasons. One module for each reference:

- `graph`: the original forward pass in TensorFlow, from the checkpoint
- `weights`: every variable of the checkpoint, bit for bit
- `tokenizer`: Google's tokenizer on awkward texts
- `external`: what others publish or run, a module of TF Hub (read by `tfhub`), another repo, KerasHub (run by `keras`)

`recorded` compares a folder with what was recorded of it, years later.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubpush.architectures import ACTIVATIONS, Activation, Architecture
from hubpush.catalog import Divergence
from hubpush.errors import MissingExtraError, ParityError
from hubpush.parity.references import DEFAULT, PACKAGES, Asked, parse
from hubpush.parity.report import ParityReport, Reference, Weights

if TYPE_CHECKING:
    from hubpush.model import Account
    from hubpush.parity.compare import Outputs, Run
    from hubpush.parity.published import Attention

__all__ = ["DEFAULT", "Asked", "Original", "ParityReport", "environment", "measure", "parse", "require_installed"]

_SAMPLES = 16

_EXTRA = {"keras_hub": "keras"}


@dataclass(frozen=True)
class Original:
    """What a folder is compared with: the checkpoint, and what is declared of it.

    Attributes:
        prefix: The checkpoint.
        vocab: The original vocabulary.
        account: Where each variable went.
        config: The original config; the published one is read from the folder by transformers alone.
        published: What config.json has to say.
        architecture: Holds the original forward pass.
        activation: The GELU form that the release declares.
        cased: The casing that the release declares.
    """

    prefix: Path
    vocab: Path
    account: Account
    config: Mapping[str, Any]
    published: Mapping[str, Any]
    architecture: Architecture
    activation: Activation
    cased: bool


def require_installed(asked: Sequence[Asked] = DEFAULT) -> None:
    """Check for the packages that references need, without importing them.

    Raises:
        MissingExtraError: One is missing.
    """
    needed = dict.fromkeys(package for one in asked for package in PACKAGES[one.name])
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extra = _EXTRA.get(missing[0], "parity") if len(missing) == 1 else "all"
        raise MissingExtraError(
            f"parity needs {', '.join(missing)}",
            hint=f'pip install "hubpush[{extra}]" (in a checkout: ".[{extra}]"); --no-parity publishes without proof,'
            " and the card then says NOT RUN",
        )


def measure(
    folder: Path,
    original: Original,
    asked: Sequence[Asked] = DEFAULT,
    divergences: Sequence[Divergence] = (),
    *,
    attention: Attention = "eager",
    progress: Callable[[float], None] = lambda _part: None,
) -> ParityReport:
    """Compare a published folder with the checkpoint it was made from, and with what else is asked for.

    One model is in memory at a time: the published one is run and let go before the original reads its weights, which
    it does one by one.

    Args:
        folder: The model folder, as it will be pushed.
        original: What it was made from.
        asked: The references; the folder of `tfhub` and `repo` is there already.
        divergences: What is known to differ from some of them.
        attention: transformers' implementation of attention.
        progress: Told after each forward pass how much is done, from 0 to 1.

    Returns:
        What was measured; `ParityReport.require` judges it.

    Raises:
        MissingExtraError: A package that a reference needs is not installed.
        ParityError: The two sides do not even have the same outputs.
        SourceError: A module cannot be loaded.
    """
    require_installed(asked)
    names = {one.name for one in asked}
    account = original.account
    if names == {"tokenizer"}:
        return _tokenizer_alone(folder, original)
    from hubpush.parity import compare, external, keras, tokenizer, weights
    from hubpush.parity.probes import encode
    from hubpush.parity.published import Published, config_differences, quiet

    if "keras" in names:  # before anything is run
        keras.require(original.architecture.model_type, has_pooler="pooler" in account.heads)
    model = Published(folder, account.heads, account.model_class, attention=attention)
    sizes = original.config
    with quiet():  # the long probe is longer than the model, until it is cut
        batches = encode(model.tokenizer, int(sizes["max_position_embeddings"]), int(sizes["type_vocab_size"]))
    done, steps = 0, len(batches) * (2 + 3 * ("graph" in names) + len(names - {"graph", "tokenizer"}))

    def run(side: Callable[[Outputs], Outputs]) -> Run:
        nonlocal done
        rows = []
        for inputs in batches:
            rows.append(compare.real_rows(side(inputs), inputs))
            done += 1
            progress(done / steps)
        return rows

    runs = {dtype: run(lambda inputs, d=dtype: model.run(inputs, d)) for dtype in ("float32", "float64")}  # type: ignore[misc]
    samples = {"dtype": "float64", "batches": list(map(_sample, batches, runs["float64"])), **_texts(model.tokenizer)}
    model.release()

    references: list[Reference] = []
    account_of_weights: Weights | None = None
    graph, other_run = None, None
    floor = compare.floors([(runs["float32"], runs["float64"])])
    if names & {"graph", "tfhub"}:
        from hubpush.parity.graph import Graph

        graph = Graph(original.prefix, original.architecture, account, original.config)
    if graph is not None and "graph" in names:
        form = original.activation
        other: Activation = next(one for one in ACTIVATIONS if one != form)
        exact, rounded = (run(lambda inputs, d=d: graph.run(inputs, form, d)) for d in ("float64", "float32"))  # type: ignore[misc]
        other_run = run(lambda inputs: graph.run(inputs, other, "float64"))
        _require_same_outputs(runs["float64"], exact)
        floor = compare.floors([(runs["float32"], runs["float64"]), (rounded, exact)])
        for dtype, act, theirs in (("float64", form, exact), ("float32", form, rounded), ("float64", other, other_run)):
            references.append(
                Reference(
                    "graph",
                    dtype,
                    act,
                    act == form,
                    compare.differences(runs[dtype], theirs, floor, dtype),
                    without_padding=compare.differences(runs[dtype], theirs, floor, dtype, slice(1, None)),
                )
            )
        account_of_weights = weights.compare(folder, graph, account, original.architecture)
    token_ids = None
    if "tokenizer" in names:
        token_ids = tokenizer.compare(folder, model.tokenizer, model.config, original.vocab, cased=original.cased)
    side = external.Side(folder, original.activation, batches, runs, floor, other_run)
    for one in asked:
        declared = one.declared(divergences)
        if one.name == "tfhub" and graph is not None:
            lines = list(tokenizer.load_vocab(original.vocab))
            references.append(external.compare_module(one, side, graph, account, lines, declared, cased=original.cased))
        elif one.name == "repo":
            references.append(external.compare_repo(one, side, model, account, declared))
        elif one.name == "keras":
            references += external.compare_keras(one, side, declared)
    return ParityReport(
        activation=original.activation,
        references=tuple(references),
        weights=account_of_weights,
        tokenizer=token_ids,
        loading=model.loading,
        config=config_differences(folder, model.config, original.published),
        environment=environment(attention),
        samples=samples,
    )


def environment(attention: str = "eager") -> dict[str, Any]:
    """The machine and the libraries that the numbers were measured with."""
    import torch

    def version(package: str) -> str | None:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    packages = ("tensorflow", "torch", "transformers", "tokenizers", "safetensors", "numpy", "keras", "keras-hub")
    versions = {package: version(package) for package in packages}
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        "attention": attention,
        **{package: found for package, found in versions.items() if found is not None},
    }


def _tokenizer_alone(folder: Path, original: Original) -> ParityReport:
    """The comparison of token ids, which runs no model."""
    import transformers

    from hubpush.parity import tokenizer
    from hubpush.parity.published import load_config, loading, quiet

    with quiet(), loading(folder):
        config = load_config(folder)
        auto = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = tokenizer.compare(folder, auto, config, original.vocab, cased=original.cased)
    packages = {name: importlib.metadata.version(name) for name in ("transformers", "tokenizers")}
    about = {"python": platform.python_version(), **packages}
    return ParityReport(original.activation, (), None, ids, {}, about, {})


def _require_same_outputs(published: Run, reference: Run) -> None:
    if published[0].keys() != reference[0].keys():
        odd = ", ".join(sorted(published[0].keys() ^ reference[0].keys()))
        raise ParityError(
            f"the published folder and the original have different outputs: {odd}",
            hint="does `architectures` in config.json name the class that holds the checkpoint's heads?",
        )


def _sample(inputs: Outputs, outputs: Outputs) -> dict[str, Any]:
    """The ids of a batch and some float64 outputs at evenly spaced places of each output's real positions."""
    import numpy as np

    values = {}
    for name, array in outputs.items():
        places = np.unique(np.linspace(0, array.size - 1, _SAMPLES).astype(int))
        values[name] = {
            "places": places.tolist(),
            "values": [v if math.isfinite(v) else None for v in array.reshape(-1)[places].tolist()],
        }
    return {"inputs": {name: array.tolist() for name, array in inputs.items()}, "outputs": values}


def _texts(tokenizer: Any) -> dict[str, Any]:
    """The hand-written texts with the ids that the published tokenizer gives, and a digest over those of all others."""
    from hubpush.parity.probes import AWKWARD, SHORT
    from hubpush.parity.published import quiet
    from hubpush.parity.recorded import digest_of_ids

    pairs = [*SHORT, *((text, None) for text in AWKWARD)]
    with quiet():
        ids = [tokenizer(first, second)["input_ids"] for first, second in pairs]
        texts = [[first, second, found] for (first, second), found in zip(pairs, ids, strict=True)]
        return {"texts": texts, "awkward": digest_of_ids(tokenizer)}
