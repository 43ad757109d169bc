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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubpush.architectures import Activation, Architecture
from hubpush.catalog import Divergence
from hubpush.errors import MissingExtraError, ParityError
from hubpush.parity.references import DEFAULT, PACKAGES, Asked, parse
from hubpush.parity.report import ParityReport, Reference, TokenIds, Weights

if TYPE_CHECKING:
    from hubpush.mapping import Account
    from hubpush.parity.compare import Outputs, Run
    from hubpush.parity.external import Side
    from hubpush.parity.graph import Graph
    from hubpush.parity.published import Attention

__all__ = ["DEFAULT", "Asked", "Original", "ParityReport", "environment", "measure", "parse", "require_installed"]

_SAMPLES = 16


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

    def sizes(self) -> dict[str, Any]:
        """The sizes of the model by their keys in a config; heads are left out, since no shape depends on them."""
        rows = (row.key for row in self.architecture.config if row.kind == "size")
        return {key: self.config[key] for key in rows if key != "num_attention_heads"}

    def graph(self) -> Graph:
        """The original model, in TensorFlow.

        Raises:
            CheckpointError: TensorFlow's reader refuses the checkpoint.
        """
        from hubpush.parity.graph import Graph

        return Graph(self.prefix, self.architecture, self.account, self.config)


def require_installed(asked: Sequence[Asked] = DEFAULT) -> None:
    """Check for the packages that references need, without importing them.

    Raises:
        MissingExtraError: One is missing.
    """
    needed = dict.fromkeys(package for one in asked for package in PACKAGES[one.name])
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extra = "parity" if "keras_hub" not in missing else "keras" if len(missing) == 1 else "all"
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
    names, account = {one.name for one in asked}, original.account
    if names == {"tokenizer"}:
        return _tokenizer_alone(folder, original)
    from hubpush.parity import compare, external, keras, tokenizer, weights
    from hubpush.parity.published import Published, config_differences, loading, strangers

    if "keras" in names:  # before anything is run
        keras.require(original.architecture.model_type, has_pooler="pooler" in account.heads)
    model = Published(folder, account.heads, account.model_class, attention=attention)
    model.require_sizes(original.sizes(), original.prefix.name)
    token_ids: TokenIds | None = None
    with loading(folder):
        batches = _encoded(model.tokenizer, original.config)
        told = _Progress(progress, len(batches) * (2 + 3 * ("graph" in names)))
        runs = {dtype: _run(partial(model.run, dtype=dtype), batches, told) for dtype in ("float32", "float64")}
        exact = list(map(_sample, batches, runs["float64"]))
        samples = {"dtype": "float64", "batches": exact, **_texts(model.tokenizer)}
        model.release()
        if "tokenizer" in names:
            token_ids = tokenizer.compare(folder, model.tokenizer, model.config, original.vocab, cased=original.cased)

    side = external.Side(folder, original.activation, batches, runs, compare.floors([tuple(runs.values())]), None)
    references: list[Reference] = []
    account_of_weights: Weights | None = None
    graph = original.graph() if names & {"graph", "tfhub"} else None
    if graph is not None and "graph" in names:
        found, side = _against_graph(graph, side, told)
        references += found
        account_of_weights = weights.compare(folder, graph, account, original.architecture)
    for one in asked:
        declared = one.declared(divergences)
        if one.name == "tfhub" and graph is not None:
            lines = list(tokenizer.load_vocab(original.vocab))
            references.append(external.compare_module(one, side, graph, account, lines, declared, cased=original.cased))
        elif one.name == "repo":
            references.append(external.compare_repo(one, side, model, account, original.sizes(), declared))
        elif one.name == "keras":
            references += external.compare_keras(one, side, declared)
    return ParityReport(
        activation=original.activation,
        references=tuple(references),
        weights=account_of_weights,
        tokenizer=token_ids,
        loading=model.loading,
        config=config_differences(folder, model.config, original.published, original.architecture.ignored_config),
        strangers=tuple(strangers(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())),
        environment=environment(attention),
        samples=samples,
    )


def _against_graph(graph: Graph, side: Side, told: _Progress) -> tuple[list[Reference], Side]:
    """The published runs against the original's: as declared in both precisions, and with the other GELU form.

    Returns:
        The comparisons; and the side with what the original's runs add to it, its floors and the other form's outputs.
    """
    from hubpush.parity.compare import compared, floors, with_and_without_padding

    form, other = side.activation, side.other_activation

    def run(activation: Activation, dtype: str) -> Run:
        def one(inputs: Outputs) -> Outputs:
            return graph.run(inputs, activation, dtype, rows=compared("mlm_logits", inputs))

        return _run(one, side.batches, told)

    # One precision after the other: its variables are read once.
    exact, otherwise, rounded = run(form, "float64"), run(other, "float64"), run(form, "float32")
    graph.forget()
    if exact[0].keys() != side.runs["float64"][0].keys():
        odd = ", ".join(sorted(side.runs["float64"][0].keys() ^ exact[0].keys()))
        raise ParityError(
            f"the published folder and the original have different outputs: {odd}",
            hint="does `architectures` in config.json name the class that holds the checkpoint's heads?",
        )
    side = replace(side, floor=floors([tuple(side.runs.values()), (rounded, exact)]), other=otherwise)
    references = []
    for activation, dtype, theirs in (
        (form, "float64", exact),
        (form, "float32", rounded),
        (other, "float64", otherwise),
    ):
        whole, without = with_and_without_padding(side.runs[dtype], theirs, side.floor, dtype)
        references.append(Reference("graph", dtype, activation, activation == form, whole, without_padding=without))
    return references, side


class _Progress:
    """Counts forward passes, and tells how many of them are done."""

    def __init__(self, tell: Callable[[float], None], steps: int) -> None:
        self._tell, self._steps, self._done = tell, steps, 0

    def step(self) -> None:
        self._done += 1
        self._tell(self._done / self._steps)


def _run(side: Callable[[Outputs], Outputs], batches: Sequence[Outputs], told: _Progress) -> Run:
    """Real positions of what one model computes, batch by batch."""
    from hubpush.parity.compare import real_rows

    rows = []
    for inputs in batches:
        rows.append(real_rows(side(inputs), inputs))
        told.step()
    return rows


def _encoded(tokenizer: Any, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The probes as the published tokenizer encodes them."""
    from hubpush.parity.probes import encode
    from hubpush.parity.published import quiet

    with quiet():  # the long probe is longer than the model, until it is cut
        return encode(tokenizer, int(config["max_position_embeddings"]), int(config["type_vocab_size"]))


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
