"""References with code and weights of their own: what differs from the published folder, by its kind.

`tfhub`, `repo` and `keras` are other people's publications or programs. That they differ need not mean that the
conversion is wrong, so each difference is traced to what causes it: other weights, the other GELU form, another config
or tokenizer; and only what none of these explains is a difference of the outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubpush.architectures import ACTIVATIONS, Activation
from hubpush.catalog import Divergence
from hubpush.errors import ParityError
from hubpush.parity.compare import Outputs, Run, differences, floors, real_rows
from hubpush.parity.report import Difference, Reference

if TYPE_CHECKING:
    from hubpush.mapping import Account
    from hubpush.parity.graph import Graph
    from hubpush.parity.published import Published
    from hubpush.parity.references import Asked

_TANH = {"gelu_new": "gelu_pytorch_tanh"}
"""transformers' other name of the tanh form."""

_SETTINGS = (
    *("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"),
    *("model_max_length", "padding_side", "truncation_side"),
)

_ENCODER_GROUPS = ("embeddings", "projection", "layers", "pooler")
_ENCODER = ("embeddings", "layer ", "sequence_output")


@dataclass(frozen=True)
class Side:
    """The published folder, run; and what its runs are judged with.

    Attributes:
        folder: The folder.
        activation: The GELU form that the release declares.
        batches: The probes.
        runs: Outputs of the published model by dtype.
        floor: Rounding of each output in float32.
        other: Outputs of the original with the other GELU form, in float64; None where the original was not run.
    """

    folder: Path
    activation: Activation
    batches: Sequence[Outputs]
    runs: Mapping[str, Run]
    floor: Mapping[str, float]
    other: Run | None

    @property
    def other_activation(self) -> Activation:
        """The form that is not declared."""
        return next(form for form in ACTIVATIONS if form != self.activation)

    def against(self, run: Run, dtype: str) -> tuple[Difference, ...]:
        """The published outputs against a reference's."""
        return differences(self.runs[dtype], run, self.floor, dtype)

    def is_of_other_form(self, run: Run, dtype: str) -> bool:
        """Whether a reference computes what the original does with the other GELU form."""
        if self.other is None:
            return False
        return all(d.is_within for d in differences(self.other, run, self.floor, dtype))


def compare_module(
    asked: Asked,
    side: Side,
    graph: Graph,
    account: Account,
    vocab: Sequence[str],
    divergences: tuple[Divergence, ...],
    *,
    cased: bool,
) -> Reference:
    """A SavedModel of TF Hub or Kaggle: weights, vocabulary, casing, outputs in its own float32.

    Args:
        asked: Where it is.
        side: The published folder.
        graph: The original.
        account: What is published.
        vocab: Lines of the original vocabulary.
        divergences: What is declared of it.
        cased: The casing that the release declares.

    Raises:
        SourceError: TensorFlow cannot load it, or it is no encoder.
        ParityError: It is of another size.
    """
    from hubpush.parity import tfhub

    module = tfhub.SavedModel(_folder(asked))
    given = module.variables()
    named = {place: given[name] for name, place in tfhub.places(given).items()}
    stored = {place: graph.read_place(place) for place in account.stored() if place in named}
    for place, original in stored.items():
        if named[place].size != original.size:
            raise ParityError(
                f"{asked.label} is a model of another size: {place} has {list(named[place].shape)} there,"
                f" {list(original.shape)} here",
                hint="is it the module of this checkpoint?",
            )
    found: dict[str, str] = {}
    unequal = [place for place, original in stored.items() if named[place].tobytes() != original.tobytes()]
    if unequal:
        found["weights"] = f"{len(unequal)} of {len(stored)} variables have other weights, {unequal[0]} first"
    lines = list(module.vocab or vocab)
    if lines != list(vocab):
        at = next(
            (n for n, (a, b) in enumerate(zip(lines, vocab, strict=False)) if a != b), min(len(lines), len(vocab))
        )
        found["tokenizer"] = f"its vocabulary is another from line {at + 1} on"
    elif module.cased is not None and module.cased is not cased:
        found["tokenizer"] = f"it says that its texts are {'cased' if module.cased else 'lower-cased'}"
    run = [real_rows(module.run(inputs), inputs) for inputs in side.batches]
    outputs = side.against(run, "float32")
    if not outputs:
        raise ParityError(f"{asked.label} has no output that can be compared", hint="is it an encoder?")
    activation: str | None = side.activation
    if not all(d.is_within for d in outputs):
        if side.is_of_other_form(run, "float32"):
            activation = side.other_activation
        elif unequal and all(f.place in stored for f in account.mapped() if f.group in _ENCODER_GROUPS):
            own = {place: named[place].reshape(original.shape) for place, original in stored.items()}
            activation = _form_of(run, side, graph, own)
        else:
            activation = None
        if activation is None:
            why = "neither weights nor GELU form explain it" if stored else "the names of its variables are unknown"
            found["outputs"] = _worst(outputs, why)
        elif activation != side.activation:
            found["activation"] = _worst(outputs, f"it computes {activation}, this release declares {side.activation}")
    return Reference(
        "tfhub",
        "float32",
        activation,
        activation == side.activation,
        outputs,
        asked.source,
        found,
        divergences,
        {"compared": len(stored), "identical": len(stored) - len(unequal)},
    )


def _form_of(run: Run, side: Side, graph: Graph, weights: Mapping[str, Any]) -> Activation | None:
    """The GELU form with which the original forward pass, on a module's own weights, gives the module's outputs."""
    for form in (side.activation, side.other_activation):
        both = [
            [real_rows(graph.run(inputs, form, dtype, weights), inputs) for inputs in side.batches]
            for dtype in ("float32", "float64")
        ]
        floor = floors([(both[0], both[1])])
        if all(d.is_within for d in differences(both[1], run, floor, "float32")):
            return form
    return None


def compare_repo(
    asked: Asked,
    side: Side,
    model: Published,
    account: Account,
    sizes: Mapping[str, Any],
    divergences: tuple[Divergence, ...],
) -> Reference:
    """Another repo that publishes this model: tensors bit by bit, config and tokenizer key by key, float64 outputs.

    Args:
        asked: Where it is.
        side: The published folder.
        model: What was loaded from it; only config and tokenizer are needed.
        account: What is published.
        sizes: The sizes of the model.
        divergences: What is declared of it.

    Raises:
        ParityError: It cannot be loaded as this class, or is of another size.
    """
    from hubpush.parity.published import Published, loading

    other = Published(_folder(asked), account.heads, account.model_class, as_named=False)
    try:
        other.require_sizes(sizes, "this checkpoint")
    except ParityError as error:
        raise ParityError(f"{asked.label}: {error.message}", hint=error.hint) from None
    found: dict[str, str] = {}
    random = {key.split(" ")[0] for kind in ("missing", "mismatched") for key in other.loading[kind]}
    keys, unequal = _unequal_tensors(side.folder, other.tensors(), random)
    lacking = random & keys
    if unequal or lacking:
        parts = [f"{len(unequal)} of {len(keys)} tensors have other bits, {unequal[0]} first"] if unequal else []
        parts += [f"{len(lacking)} are not there, {min(lacking)} first"] if lacking else []
        found["weights"] = "; ".join(parts)
    form = _TANH.get(other.config.hidden_act, other.config.hidden_act)
    if odd := _config_differences(model.config, other.config):
        found["config"] = "; ".join(odd)
    with loading(_folder(asked)):
        if odd := _tokenizer_differences(model.tokenizer, other.tokenizer):
            found["tokenizer"] = "; ".join(odd)
        run = [real_rows(other.run(inputs, "float64"), inputs) for inputs in side.batches]
    if lacking:
        # What was not there is random: only what does not depend on it is compared.
        heads = {fate.key for fate in account.mapped() if fate.group in account.heads}
        kept = _ENCODER if lacking <= heads else ()
        run = [{name: rows for name, rows in batch.items() if name.startswith(kept)} for batch in run]
    outputs = side.against(run, "float64")
    is_within = all(d.is_within for d in outputs)
    if form != side.activation:
        told = f"hidden_act is {other.config.hidden_act}, this release declares {side.activation}"
        found["activation"] = _worst(outputs, told) if outputs else told
    if not is_within and "weights" not in found:
        explained = form != side.activation and (side.other is None or side.is_of_other_form(run, "float64"))
        if not explained:
            found["outputs"] = _worst(outputs, "though the tensors are the same")
    counts = {"compared": len(keys), "identical": len(keys) - len(unequal) - len(lacking)}
    return Reference(
        "repo", "float64", form, form == side.activation, outputs, asked.source, found, divergences, counts
    )


def compare_keras(asked: Asked, side: Side, divergences: tuple[Divergence, ...]) -> list[Reference]:
    """What KerasHub computes from the folder: what a TensorFlow user of today gets.

    Raises:
        ParityError: KerasHub does not load it.
    """
    from hubpush.parity import keras

    references = []
    for dtype in ("float64", "float32"):
        rows = keras.run(side.folder, side.batches, dtype)
        run = [real_rows(outputs, inputs) for outputs, inputs in zip(rows, side.batches, strict=True)]
        outputs = side.against(run, dtype)
        found: dict[str, str] = {}
        known = divergences
        if not all(d.is_within for d in outputs):
            if side.activation != keras.ACTIVATION and (side.other is None or side.is_of_other_form(run, dtype)):
                found["activation"] = _worst(outputs, f"it computes {keras.ACTIVATION} whatever hidden_act says")
                if all(one.kind != "activation" for one in divergences):
                    # A fact about KerasHub, and none about this release: nobody has to declare it.
                    known = (*divergences, keras.DIVERGENCE)
            else:
                found["outputs"] = _worst(outputs, "with the same weights")
        activation = keras.ACTIVATION
        is_same = activation == side.activation
        references.append(Reference(asked.name, dtype, activation, is_same, outputs, None, found, known))
    return references


def _unequal_tensors(folder: Path, theirs: Mapping[str, Any], random: set[str]) -> tuple[set[str], list[str]]:
    """The tensors that a folder has, and which of them have other bits in a loaded model; random ones do not count."""
    import numpy as np
    from safetensors import safe_open

    unequal = []
    with safe_open(folder / "model.safetensors", framework="numpy") as published:
        keys = sorted(published.keys())
        for key in keys:
            if key in random or key not in theirs:
                continue
            ours, other = published.get_tensor(key), theirs[key].cpu()
            is_alike = str(other.dtype) == "torch.float32" and other.shape == ours.shape
            if not is_alike or np.ascontiguousarray(other.numpy()).tobytes() != ours.tobytes():
                unequal.append(key)
    return set(keys), unequal


def _config_differences(ours: Any, theirs: Any) -> list[str]:
    """Keys of two configs that differ, in words; the activation and what only tells who wrote them are left out."""
    from hubpush.parity.published import is_alike

    skipped = {"_name_or_path", "transformers_version", "architectures", "hidden_act", "dtype", "torch_dtype"}
    one, other = ours.to_dict(), theirs.to_dict()
    return [
        f"{key} is {other.get(key)!r} there, {one.get(key)!r} here"
        for key in sorted(one.keys() | other.keys())
        if key not in skipped and not is_alike(key, one.get(key), other.get(key))
    ]


def _tokenizer_differences(ours: Any, theirs: Any) -> list[str]:
    """What two tokenizers do differently, in words."""
    from hubpush.parity.probes import SHORT, awkward
    from hubpush.parity.published import quiet

    differing = [
        f"{name} is {getattr(theirs, name)!r} there, {getattr(ours, name)!r} here"
        for name in _SETTINGS
        if getattr(ours, name) != getattr(theirs, name)
    ]
    if ours.get_vocab() != theirs.get_vocab():
        differing.append("the vocabulary is another")
    texts = [*(first for first, _ in SHORT), *awkward()]
    with quiet():
        ids = [one(texts)["input_ids"] for one in (ours, theirs)]
    count = sum(a != b for a, b in zip(*ids, strict=True))
    return [*differing, *([f"other ids on {count} of {len(texts)} texts"] if count else [])]


def _worst(outputs: Sequence[Difference], why: str) -> str:
    worst = max(outputs, key=lambda d: (not d.is_within, d.max_abs))
    return f"outputs are off by up to {worst.max_abs:.1e} ({worst.output}; allowed {worst.tolerance:.1e}): {why}"


def _folder(asked: Asked) -> Path:
    if asked.folder is None:
        raise ParityError(f"{asked.label} is not on this machine", hint="name a directory or a URL behind the =")
    return asked.folder
