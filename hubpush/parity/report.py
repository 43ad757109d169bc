"""What was measured, and the judgement on it.

`Difference` and `Reference` hold numbers and no opinion; `tolerance` says what is allowed and why; `ParityReport` puts
both together. The command line, the card and hubpush.json all show `ParityReport.to_json()`.

Every output has a *floor*: how far float32 is from float64 in one and the same model, the larger of the two sides. It
is what this output of this model loses by rounding, and is measured beside every difference.

Tolerances:

- float64: differences between two float64 computations of the same function come from rounding alone, 1e-14 on trained
  weights. There an epsilon of 1e-9 for 1e-12 shows as 8e-7 and the other GELU form as 1e-2: eight orders of magnitude
  and more lie between right and wrong. Allowed are 1e-13 of the output's largest value, at least 1e-13 (logits that
  happen to be near zero have the error of what cancelled) and at most 1e-12; or, for a model that magnifies rounding
  more than trained ones do, 16 times what its float32 floor predicts for float64, whose steps are 2^29 times finer.
- float32: allowed are 4 times the floor. Two correct computations differ by at most the sum of both sides' floors, so 2
  would do if float64 were exact; 4 leaves no doubt.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hubpush.catalog import Divergence
from hubpush.errors import ParityError

FLOAT64_ABSOLUTE = 1e-12
FLOAT64_RELATIVE = 1e-13
FLOAT64_FLOORS = 16.0
FLOAT64_STEP = 2.0**-29
"""Ratio of the spacing of float64 numbers to that of float32 numbers: 52 against 23 bits of fraction."""

FLOAT32_FLOORS = 4.0
FLOAT32_LEAST = 1e-30
"""Allowed where float32 happens to be exact: sums of numbers below its normal range depend on the order."""

_MAX_TEXT = 80

Verdict = Literal["pass", "known-divergence", "fail", "not-run"]


@dataclass(frozen=True)
class Difference:
    """How far one output of the published model is from the reference, over all real positions of all probes.

    Attributes:
        output: Name of the output.
        dtype: `float64` or `float32`.
        shape: Positions (or probes) compared, and size of the vector at each.
        max_abs: Largest absolute difference; the largest float (1.8e+308) where a side is not a number.
        mean_abs: Mean absolute difference.
        min_cosine: Smallest cosine between the two vectors of one position.
        scale: Largest absolute value of the reference.
        floor: Rounding of this output: for float32 the larger |float32 - float64| of the two sides, for float64 what
            that predicts.
    """

    output: str
    dtype: str
    shape: tuple[int, int]
    max_abs: float
    mean_abs: float
    min_cosine: float
    scale: float
    floor: float = 0.0

    @property
    def tolerance(self) -> float:
        """Largest `max_abs` that is allowed; the reasons stand in the module's docstring."""
        if self.dtype == "float32":
            return max(FLOAT32_FLOORS * self.floor, FLOAT32_LEAST)
        usual = min(FLOAT64_ABSOLUTE, FLOAT64_RELATIVE * max(1.0, self.scale))
        return max(usual, FLOAT64_FLOORS * self.floor)

    @property
    def is_within(self) -> bool:
        """Whether the difference is allowed; one that is not a number is not."""
        return self.max_abs <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """The difference as `--json` and hubpush.json have it."""
        return {
            "output": self.output,
            "shape": list(self.shape),
            "max_abs": self.max_abs,
            "max_rel": min(self.max_abs / self.scale, sys.float_info.max) if self.scale else 0.0,
            "mean_abs": self.mean_abs,
            "min_cosine": self.min_cosine,
            "tolerance": self.tolerance,
            "floor": self.floor,
            "verdict": "pass" if self.is_within else "fail",
        }


@dataclass(frozen=True)
class Reference:
    """The published model against one reference in one precision.

    Attributes:
        reference: What it was compared with: `graph`, `tfhub`, `repo` or `keras`.
        dtype: `float64` or `float32`.
        activation: The GELU form that the reference computed; None if it could not be told.
        as_published: Whether that is the form the release declares. The original graph with the other one is
            informative: it shows what the wrong form would do.
        outputs: In the order of the computation, so that the first bad one is where it goes wrong.
        source: Which module or repo.
        found: What differs, in words, by its kind; the numbers of a reference other than `graph` are judged by it.
        declared: The divergences of this reference that the family file knows.
        weights: Tensors `compared` and `identical`, where the reference has weights of its own.
        without_padding: The outputs on texts without padding alone.
    """

    reference: str
    dtype: str
    activation: str | None
    as_published: bool
    outputs: tuple[Difference, ...]
    source: str | None = None
    found: Mapping[str, str] = field(default_factory=dict)
    declared: tuple[Divergence, ...] = ()
    weights: Mapping[str, int] | None = None
    without_padding: tuple[Difference, ...] = ()

    @property
    def label(self) -> str:
        """How it is called in messages."""
        return self.reference if self.source is None else f"{self.reference}={self.source}"

    @property
    def worst(self) -> Difference | None:
        """The output with the largest difference; one that is not allowed comes before all that are."""
        return max(self.outputs, key=lambda d: (not d.is_within, d.max_abs), default=None)

    @property
    def is_within(self) -> bool:
        """Whether every output is."""
        return all(d.is_within for d in self.outputs)

    @property
    def verdict(self) -> str:
        """`pass`, `fail`, `informative`, or `known-divergence`: what differs is what is declared, all of it."""
        if self.reference == "graph":
            return ("pass" if self.is_within else "fail") if self.as_published else "informative"
        if self.failures():
            return "fail"
        return "known-divergence" if self.found else "pass"

    def failures(self) -> list[str]:
        """What is wrong, in words."""
        if self.reference == "graph":
            return self._wrong_outputs() if self.as_published else []
        kinds = {one.kind for one in self.declared}
        wrong = [f"{self.label} differs: {text}" for kind, text in self.found.items() if kind not in kinds]
        wrong += [
            f"{self.label}: a difference of the {kind} is declared, and there is none"
            for kind in sorted(kinds - self.found.keys())
        ]
        return wrong

    def _wrong_outputs(self) -> list[str]:
        first = next((d for d in self.outputs if not d.is_within), None)
        if first is None or self.worst is None:
            return []
        return [
            f"{self.dtype} outputs differ from {first.output} on: {first.max_abs:.1e}, allowed {first.tolerance:.1e};"
            f" worst {self.worst.output}: {self.worst.max_abs:.1e}"
        ]

    def to_json(self) -> dict[str, Any]:
        """The reference as `parity --json` and hubpush.json have it."""
        return {
            "reference": self.reference,
            "source": self.source,
            "dtype": self.dtype,
            "activation": self.activation,
            "as_published": self.as_published,
            "verdict": self.verdict,
            "worst": None if self.worst is None else self.worst.to_json(),
            "outputs": [d.to_json() for d in self.outputs],
            "differences": dict(self.found),
            "declared": [one.model_dump(mode="json") for one in self.declared],
            "weights": None if self.weights is None else dict(self.weights),
        }


@dataclass(frozen=True)
class Weights:
    """The account of the weights, bit by bit, through TensorFlow's own reader.

    Attributes:
        variables: Variables in the checkpoint.
        mapped: Variables that are published.
        dropped: Variables left out, each for a reason.
        different: Published tensors whose bits are not those of their variable.
        unread: Tensors of the published file that no variable accounts for.
        nonfinite: Published tensors with NaN or infinity, which prove nothing even where no probe reaches them.
        elsewhere: Variables that the converter's map and their own names send to different tensors.
        confirmed: Variables whose own names, looked up without the map, lead to the tensor that the map names.
        digests: SHA-256 of each published variable's bytes in the checkpoint, by its name there.
    """

    variables: int
    mapped: int
    dropped: int
    different: tuple[str, ...]
    unread: tuple[str, ...]
    nonfinite: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    confirmed: int = 0
    digests: Mapping[str, str] = field(default_factory=dict)

    def failures(self) -> list[str]:
        """What is wrong, in words."""
        wrong = []
        if self.different:
            names = ", ".join(self.different[:3])
            wrong.append(f"{len(self.different)} tensor(s) are not their variable's bits: {names}")
        if self.elsewhere:
            wrong.append(f"the map sends variables elsewhere than their names say: {'; '.join(self.elsewhere[:3])}")
        if self.unread:
            wrong.append(f"tensors without a variable: {', '.join(self.unread[:3])}")
        if self.nonfinite:
            wrong.append(f"tensors with NaN or infinity: {', '.join(self.nonfinite[:3])}")
        return wrong

    def to_json(self) -> dict[str, Any]:
        """The account as `--json` and hubpush.json have it."""
        return {
            "variables": self.variables,
            "mapped": self.mapped,
            "dropped": self.dropped,
            "unknown": len(self.unread),
            "bit_identical": not (self.different or self.unread or self.elsewhere),
            "confirmed": self.confirmed,
            "different": list(self.different),
            "nonfinite": list(self.nonfinite),
            "digests": dict(self.digests),
        }


@dataclass(frozen=True)
class TokenIds:
    """Token ids of the published tokenizer against the original algorithm.

    Attributes:
        unidata_version: Version of the Unicode tables of the reference.
        probes: Texts compared.
        identical: Texts with the same ids.
        known: Texts whose ids differ in a way that is known and understood, by the name of the difference.
        first_difference: The first text that differs with both lists of tokens (named by the original), or None.
        shifted: What has other ids than the original vocabulary's line numbers, and from which line on, or None.
        settings: What else of the tokenizer is not the original's, in words: special tokens, length, sides.
    """

    unidata_version: str
    probes: int
    identical: int
    first_difference: Mapping[str, Any] | None
    shifted: str | None = None
    settings: tuple[str, ...] = ()
    known: Mapping[str, int] = field(default_factory=dict)

    def failures(self) -> list[str]:
        """What is wrong, in words."""
        wrong = []
        if self.shifted is not None:
            wrong.append(f"the vocabulary is not the original's: {self.shifted}")
        if self.settings:
            wrong.append(f"the tokenizer is set otherwise: {'; '.join(self.settings)}")
        if (first := self.first_difference) is not None:
            count = self.probes - self.identical - sum(self.known.values())
            text = first["text"] if len(first["text"]) <= _MAX_TEXT else first["text"][:_MAX_TEXT] + "…"
            wrong.append(
                f"token ids differ on {count:,} of {self.probes:,} texts, first on {text!r}:"
                f" {first['published']} instead of {first['original']}"
            )
        return wrong

    def to_json(self) -> dict[str, Any]:
        """The comparison as `--json` and hubpush.json have it."""
        return {
            "unidata_version": self.unidata_version,
            "probes": self.probes,
            "identical": self.identical,
            "known": sum(self.known.values()),
            "known_differences": dict(self.known),
            "first_difference": dict(self.first_difference) if self.first_difference else None,
            "shifted": self.shifted,
            "settings": list(self.settings),
        }


@dataclass(frozen=True)
class ParityReport:
    """Everything that was measured on one published folder; what was not asked for is None or not among them.

    Attributes:
        activation: The GELU form that the release declares.
        references: The comparisons of outputs.
        weights: The account of the weights.
        tokenizer: The comparison of token ids.
        loading: What transformers reported when it loaded the folder with its own class: missing and unexpected keys.
        config: What config.json says otherwise than the checkpoint asks for, in words.
        environment: Versions, machine, threads.
        samples: The probes' ids and some float64 outputs of the published model, for later checks.
        strangers: Files in the folder that other loaders read, and that nothing here compares.
    """

    activation: str
    references: tuple[Reference, ...]
    weights: Weights | None
    tokenizer: TokenIds | None
    loading: Mapping[str, list[str]]
    environment: Mapping[str, Any]
    samples: Mapping[str, Any]
    config: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()

    def failures(self) -> list[str]:
        """What is wrong, in words, the first cause first; empty if nothing is."""
        wrong = [f"loading reports {kind} keys: {', '.join(keys[:5])}" for kind, keys in self.loading.items() if keys]
        wrong += [f"config.json: {text}" for text in self.config]
        if self.strangers:
            wrong.append(f"files that loaders read and nothing compares: {', '.join(self.strangers[:5])}")
        wrong += self.weights.failures() if self.weights is not None else []
        wrong += self.tokenizer.failures() if self.tokenizer is not None else []
        return list(dict.fromkeys(wrong + [text for r in self.references for text in r.failures()]))

    @property
    def verdict(self) -> Verdict:
        """`pass` when nothing is wrong; `known-divergence` when a reference differs as the family file declares."""
        if self.failures():
            return "fail"
        return "known-divergence" if any(r.verdict == "known-divergence" for r in self.references) else "pass"

    def require(self) -> None:
        """Raise if anything is wrong.

        Raises:
            ParityError: What differs, where it shows first, and the likely cause where the numbers tell it.
        """
        failures = self.failures()
        if failures:
            lines = "".join(f"\n  {failure}" for failure in failures)
            others = {text for r in self.references if r.reference != "graph" for text in r.failures()}
            what = (
                "the folder computes what the original does, and a reference differs from it as nobody declared"
                if others.issuperset(failures)
                else "the folder does not compute what the original does"
            )
            raise ParityError(f"{what}:{lines}", hint=self._cause())

    def _cause(self) -> str:
        graph = [r for r in self.references if r.reference == "graph"]
        proof = next((r for r in graph if r.as_published and r.dtype == "float64"), None)
        other = [r for r in graph if not r.as_published]
        if other and other[0].is_within:
            return (
                f"the folder computes {other[0].activation}, the release declares {self.activation}: the activation is"
                " the cause; correct `hidden_act` or `activation`"
            )
        apart = () if proof is None or proof.is_within else proof.without_padding
        if apart and all(d.is_within for d in apart):
            return (
                "only texts with padding differ: the original masks padding with -10000, which is no infinity, and"
                " attention scores beyond that see through it; was this model trained?"
            )
        if self.tokenizer is not None and self.tokenizer.shifted is not None:
            return "take vocab.txt and tokenizer.json from one source, the checkpoint's"
        if self.tokenizer is not None and self.tokenizer.first_difference is not None:
            return "is `cased` right for this vocabulary? nothing was pushed"
        if all(r.verdict != "fail" for r in graph) and any(r.verdict == "fail" for r in self.references):
            return (
                "the original's own outputs are right: a reference that is known to differ is declared in a family file"
                " (`divergences`), one that is not tells of something to look at; nothing was pushed"
            )
        return "nothing was pushed; `convert-and-upload --force` publishes all the same, and the card then says so"

    def to_json(self) -> dict[str, Any]:
        """The report as `--json` and hubpush.json have it."""
        return {
            "verdict": self.verdict,
            "activation": self.activation,
            "failures": self.failures(),
            "references": [reference.to_json() for reference in self.references],
            "weights": None if self.weights is None else self.weights.to_json(),
            "tokenizer": None if self.tokenizer is None else self.tokenizer.to_json(),
            "loading": {kind: list(keys) for kind, keys in self.loading.items()},
            "config": list(self.config),
            "strangers": list(self.strangers),
            "environment": dict(self.environment),
        }
