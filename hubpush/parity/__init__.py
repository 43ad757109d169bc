"""Parity: does the published folder compute what the original computes?

`measure` runs both on the same probes and compares outputs, weights and token ids; it never judges. `report` judges,
with tolerances that have reasons. One module for each reference: `graph` is the original forward pass in TensorFlow.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
import platform
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubpush.architectures import ACTIVATIONS, Activation, Architecture
from hubpush.errors import MissingExtraError, ParityError
from hubpush.parity.report import FLOAT64_STEP, Difference, ParityReport, Reference, TokenIds, Weights

if TYPE_CHECKING:
    import numpy.typing as npt

    from hubpush.model import Account
    from hubpush.parity.graph import Graph
    from hubpush.parity.published import Published

_LOGIT_ROWS = 128
"""Positions of a batch whose MLM logits are compared, evenly spaced: 512 of them would hold 125 MB in float64."""

_SAMPLES = 16

_SETTINGS = (
    "pad_token",
    "unk_token",
    "cls_token",
    "sep_token",
    "mask_token",
    "model_max_length",
    "padding_side",
    "truncation_side",
)


def require_installed() -> None:
    """Check for the packages that parity needs, without importing them.

    Raises:
        MissingExtraError: One is missing.
    """
    missing = [name for name in ("tensorflow", "torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"parity needs {', '.join(missing)}",
            hint='pip install "hubpush[parity]" (in a checkout: ".[parity]"); --no-parity publishes without proof, and'
            " the card then says NOT RUN",
        )


def measure(
    folder: Path,
    prefix: Path,
    vocab: Path,
    account: Account,
    config: Mapping[str, Any],
    architecture: Architecture,
    *,
    activation: Activation,
    cased: bool,
    progress: Callable[[float], None] = lambda _part: None,
) -> ParityReport:
    """Compare a published folder with the checkpoint it was made from.

    Args:
        folder: The model folder, as it will be pushed.
        prefix: The original checkpoint.
        vocab: The original vocabulary.
        account: Where each variable went.
        config: The original config; the published one is read from the folder by transformers alone.
        architecture: Holds the original forward pass.
        activation: The GELU form that the release declares.
        cased: The casing that the release declares.
        progress: Told after each forward pass how much is done, from 0 to 1.

    Returns:
        What was measured; `ParityReport.require` judges it.

    Raises:
        MissingExtraError: TensorFlow, torch or transformers are not installed.
        ParityError: The two sides do not even have the same outputs.
    """
    require_installed()
    from hubpush.parity.graph import Graph
    from hubpush.parity.probes import encode
    from hubpush.parity.published import Published, quiet

    graph = Graph(prefix, architecture, account, config)
    model = Published(folder, account.heads, account.model_class.logits)
    other: Activation = next(form for form in ACTIVATIONS if form != activation)
    with quiet():  # the long probe is longer than the model, until it is cut
        batches = encode(model.tokenizer, int(config["max_position_embeddings"]), int(config["type_vocab_size"]))

    sums: dict[tuple[str, str], dict[str, _Sum]] = {}
    samples: list[dict[str, Any]] = []
    done = 0

    def rows(outputs: _Rows, inputs: _Rows) -> _Rows:
        nonlocal done
        done += 1
        progress(done / (5 * len(batches)))
        return _rows(outputs, inputs)

    for inputs in batches:
        published = {dtype: rows(model.run(inputs, dtype), inputs) for dtype in ("float32", "float64")}
        exact = rows(graph.run(inputs, activation, "float64"), inputs)
        rounded = rows(graph.run(inputs, activation, "float32"), inputs)
        floors = ((published["float32"], published["float64"]), (rounded, exact))
        for dtype, form, reference in (
            ("float64", activation, exact),
            ("float32", activation, rounded),
            ("float64", other, rows(graph.run(inputs, other, "float64"), inputs)),
        ):
            _add(sums.setdefault((dtype, form), {}), published[dtype], reference, floors)
        samples.append(_sample(inputs, published["float64"]))
    references = tuple(
        Reference(
            "graph",
            dtype,
            form,
            form == activation,
            tuple(total.difference(name, dtype) for name, total in found.items()),
        )
        for (dtype, form), found in sums.items()
    )
    return ParityReport(
        activation=activation,
        references=references,
        weights=_weights(folder, graph, account),
        tokenizer=_token_ids(folder, model, vocab, cased=cased),
        loading=model.loading,
        environment=environment(),
        samples={"dtype": "float64", "batches": samples},
    )


def environment() -> dict[str, Any]:
    """The machine and the libraries that the numbers were measured with."""
    import torch

    def version(package: str) -> str | None:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    packages = ("tensorflow", "torch", "transformers", "tokenizers", "safetensors", "numpy")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        **{package: version(package) for package in packages},
    }


class _Sum:
    """Running comparison of one output over batches."""

    def __init__(self) -> None:
        self.count, self.width, self.total, self.max_abs, self.scale, self.floor = 0, 0, 0.0, 0.0, 0.0, 0.0
        self.min_cosine = 1.0

    def add(self, published: npt.NDArray[Any], reference: npt.NDArray[Any]) -> None:
        import numpy as np

        ours, theirs = published.astype(np.float64, copy=False), reference.astype(np.float64, copy=False)
        self.count, self.width = self.count + ours.shape[0], ours.shape[1]
        if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
            # What is not a number must not vanish in a maximum, and JSON has no infinity to write it with.
            self.total = self.max_abs = sys.float_info.max
            self.min_cosine = -1.0
            return
        gap = np.abs(ours - theirs)
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        cosines = np.divide(np.einsum("ij,ij->i", ours, theirs), norms, out=np.ones_like(norms), where=norms > 0)
        self.total += float(gap.sum())
        self.max_abs = max(self.max_abs, float(gap.max()))
        self.scale = max(self.scale, float(np.abs(theirs).max()))
        self.min_cosine = min(self.min_cosine, float(cosines.min()))

    def difference(self, name: str, dtype: str) -> Difference:
        return Difference(
            name,
            dtype,
            (self.count, self.width),
            self.max_abs,
            self.total / (self.count * self.width),
            self.min_cosine,
            self.scale,
            self.floor if dtype == "float32" else self.floor * FLOAT64_STEP,
        )


_Rows = Mapping[str, "npt.NDArray[Any]"]


def _rows(outputs: _Rows, inputs: _Rows) -> dict[str, npt.NDArray[Any]]:
    """Vectors at real positions alone, [positions, size]: at padding both models compute what nobody reads."""
    import numpy as np

    real = inputs["attention_mask"].astype(bool)
    rows = {}
    for name, array in outputs.items():
        flat = array[real] if array.ndim == 3 else array
        if name == "mlm_logits" and len(flat) > _LOGIT_ROWS:
            flat = flat[np.linspace(0, len(flat) - 1, _LOGIT_ROWS).astype(int)]
        rows[name] = flat
    return rows


def _add(sums: dict[str, _Sum], published: _Rows, reference: _Rows, floors: Sequence[tuple[_Rows, _Rows]]) -> None:
    import numpy as np

    if published.keys() != reference.keys():
        odd = ", ".join(sorted(published.keys() ^ reference.keys()))
        raise ParityError(
            f"the published folder and the original have different outputs: {odd}",
            hint="does `architectures` in config.json name the class that holds the checkpoint's heads?",
        )
    for name in reference:
        total = sums.setdefault(name, _Sum())
        total.add(published[name], reference[name])
        for single, double in floors:
            gap = float(np.abs(single[name].astype(np.float64) - double[name]).max())
            total.floor = max(total.floor, gap)


def _sample(inputs: _Rows, outputs: _Rows) -> dict[str, Any]:
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


def _weights(folder: Path, graph: Graph, account: Account) -> Weights:
    """Each published tensor against its variable, bit by bit, as TensorFlow's own reader gives it."""
    import numpy as np
    from safetensors import safe_open

    different, nonfinite = [], []
    with safe_open(folder / "model.safetensors", framework="numpy") as published:
        keys = set(published.keys())
        for fate in account.mapped():
            if fate.key not in keys:
                different.append(str(fate.key))
                continue
            keys.discard(fate.key)
            original = graph.read(fate.variable.name).reshape(fate.shape)
            expected = np.ascontiguousarray(original.T if fate.transposed else original)
            got = np.ascontiguousarray(published.get_tensor(fate.key))
            if not np.isfinite(got).all():
                nonfinite.append(str(fate.key))
            if got.shape != expected.shape or got.dtype != expected.dtype or got.tobytes() != expected.tobytes():
                different.append(str(fate.key))
    return Weights(
        variables=len(graph.names()),
        mapped=len(account.mapped()),
        dropped=len(account.dropped()),
        different=tuple(different),
        unread=tuple(sorted(keys)),
        nonfinite=tuple(nonfinite),
    )


def _token_ids(folder: Path, published: Published, vocab: Path, *, cased: bool) -> TokenIds:
    """Ids against the original algorithm, as transformers' slow tokenizer keeps it, from the original vocabulary.

    transformers builds its tokenizer from tokenizer_config.json and the vocabulary inside tokenizer.json; other
    programs run tokenizer.json as it is, or read vocab.txt. All of them have to give the same ids.
    """
    from tokenizers import Tokenizer
    from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy, load_vocab

    from hubpush.parity.probes import AWKWARD, LONG, SHORT
    from hubpush.parity.published import quiet

    auto, alone = published.tokenizer, Tokenizer.from_file(str(folder / "tokenizer.json"))
    original = BertTokenizerLegacy(
        vocab_file=str(vocab), do_lower_case=not cased, model_max_length=published.config.max_position_embeddings
    )
    tables = {
        "AutoTokenizer": auto.get_vocab(),
        "tokenizer.json": alone.get_vocab(),
        "vocab.txt": load_vocab(str(folder / "vocab.txt")),
    }
    texts = [*SHORT, (LONG[:1000], None), *((text, None) for text in AWKWARD)]
    first_difference = None
    identical = 0
    for first, second in texts:
        with quiet():  # the long text is longer than small models are, which matters for running, not for comparing ids
            expected, by_auto = (
                _tokens(original(first, second, return_token_type_ids=True)),
                _tokens(auto(first, second)),
            )
        encoded = alone.encode(first, second)
        found = [by_auto, list(zip(encoded.ids, encoded.type_ids, strict=True))]
        got = next((tokens for tokens in found if tokens != expected), None)
        if got is None:
            identical += 1
        elif first_difference is None:
            at = next((n for n, (a, b) in enumerate(zip(expected, got, strict=False)) if a != b), 0)
            words = {
                side: original.convert_ids_to_tokens([n for n, _ in tokens[at : at + 6]])
                for side, tokens in (("original", expected), ("published", got))
            }
            if words["original"] == words["published"]:
                words = {
                    side: [f"segment {tokens[at][1]}"] for side, tokens in zip(words, (expected, got), strict=True)
                }
            first_difference = {"text": first if second is None else f"{first} ⏎ {second}", **words}
    shifted = next((name for name, table in tables.items() if table != original.vocab), None)
    if shifted is not None:
        line = next((n for token, n in original.vocab.items() if tables[shifted].get(token) != n), len(original.vocab))
        shifted = f"{shifted}, from line {line + 1} on"
    settings = [
        f"{name} is {getattr(auto, name)!r} instead of {getattr(original, name)!r}"
        for name in _SETTINGS
        if getattr(auto, name) != getattr(original, name)
    ]
    if published.config.pad_token_id != original.pad_token_id:
        settings.append(f"config.json pads with {published.config.pad_token_id} instead of {original.pad_token_id}")
    version = unicodedata.unidata_version
    return TokenIds(version, len(texts), identical, first_difference, shifted, tuple(settings))


def _tokens(encoded: Mapping[str, list[int]]) -> list[tuple[int, int]]:
    """Id and segment of each token."""
    return list(zip(encoded["input_ids"], encoded["token_type_ids"], strict=True))
