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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hubpush.errors import ParityError

FLOAT64_ABSOLUTE = 1e-12
FLOAT64_RELATIVE = 1e-13
FLOAT64_FLOORS = 16.0
FLOAT64_STEP = 2.0**-29
"""Ratio of the spacing of float64 numbers to that of float32 numbers: 52 against 23 bits of fraction."""

FLOAT32_FLOORS = 4.0
FLOAT32_LEAST = 1e-30
"""Allowed where float32 happens to be exact: sums of numbers below its normal range depend on the order."""

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
            "max_rel": self.max_abs / self.scale if self.scale else 0.0,
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
        reference: What it was compared with, `graph`.
        dtype: `float64` or `float32`.
        activation: The GELU form that the reference computed.
        as_published: Whether that is the form the release declares; if not, the numbers are informative.
        outputs: In the order of the computation, so that the first bad one is where it goes wrong.
    """

    reference: str
    dtype: str
    activation: str
    as_published: bool
    outputs: tuple[Difference, ...]

    @property
    def worst(self) -> Difference:
        """The output with the largest difference; one that is not allowed comes before all that are."""
        return max(self.outputs, key=lambda d: (not d.is_within, d.max_abs))

    @property
    def is_within(self) -> bool:
        """Whether every output is."""
        return all(d.is_within for d in self.outputs)

    def to_json(self) -> dict[str, Any]:
        """The reference as `parity --json` and hubpush.json have it."""
        verdict = ("pass" if self.is_within else "fail") if self.as_published else "informative"
        return {
            "reference": self.reference,
            "dtype": self.dtype,
            "activation": self.activation,
            "as_published": self.as_published,
            "verdict": verdict,
            "worst": self.worst.to_json(),
            "outputs": [d.to_json() for d in self.outputs],
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
    """

    variables: int
    mapped: int
    dropped: int
    different: tuple[str, ...]
    unread: tuple[str, ...]
    nonfinite: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The account as `--json` and hubpush.json have it."""
        return {
            "variables": self.variables,
            "mapped": self.mapped,
            "dropped": self.dropped,
            "unknown": len(self.unread),
            "bit_identical": not self.different and not self.unread,
            "different": list(self.different),
            "nonfinite": list(self.nonfinite),
        }


@dataclass(frozen=True)
class TokenIds:
    """Token ids of the published tokenizer against the original algorithm.

    Attributes:
        unidata_version: Version of the Unicode tables of the reference.
        probes: Texts compared.
        identical: Texts with the same ids.
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

    def to_json(self) -> dict[str, Any]:
        """The comparison as `--json` and hubpush.json have it."""
        return {
            "unidata_version": self.unidata_version,
            "probes": self.probes,
            "identical": self.identical,
            "known": 0,
            "first_difference": dict(self.first_difference) if self.first_difference else None,
            "shifted": self.shifted,
            "settings": list(self.settings),
        }


@dataclass(frozen=True)
class ParityReport:
    """Everything that was measured on one published folder.

    Attributes:
        activation: The GELU form that the release declares.
        references: The comparisons of outputs.
        weights: The account of the weights.
        tokenizer: The comparison of token ids.
        loading: What transformers reported when it loaded the folder with its own class: missing and unexpected keys.
        environment: Versions, machine, threads.
        samples: The probes' ids and some float64 outputs of the published model, for later checks.
    """

    activation: str
    references: tuple[Reference, ...]
    weights: Weights
    tokenizer: TokenIds
    loading: Mapping[str, list[str]]
    environment: Mapping[str, Any]
    samples: Mapping[str, Any]

    def failures(self) -> list[str]:
        """What is wrong, in words, the first cause first; empty if nothing is."""
        wrong = [f"loading reports {kind} keys: {', '.join(keys[:5])}" for kind, keys in self.loading.items() if keys]
        if self.weights.different:
            names = ", ".join(self.weights.different[:3])
            wrong.append(f"{len(self.weights.different)} tensor(s) are not their variable's bits: {names}")
        if self.weights.unread:
            wrong.append(f"tensors without a variable: {', '.join(self.weights.unread[:3])}")
        if self.weights.nonfinite:
            wrong.append(f"tensors with NaN or infinity: {', '.join(self.weights.nonfinite[:3])}")
        if self.tokenizer.shifted is not None:
            wrong.append(f"the vocabulary is not the original's: {self.tokenizer.shifted}")
        if self.tokenizer.settings:
            wrong.append(f"the tokenizer is set otherwise: {'; '.join(self.tokenizer.settings)}")
        if (first := self.tokenizer.first_difference) is not None:
            count = self.tokenizer.probes - self.tokenizer.identical
            wrong.append(
                f"token ids differ on {count} of {self.tokenizer.probes} texts, first on {first['text']!r}:"
                f" {first['published']} instead of {first['original']}"
            )
        for reference in self.references:
            if reference.as_published and not reference.is_within:
                first_bad = next(d for d in reference.outputs if not d.is_within)
                wrong.append(
                    f"{reference.dtype} outputs differ from {first_bad.output} on: {first_bad.max_abs:.1e}, allowed"
                    f" {first_bad.tolerance:.1e}; worst {reference.worst.output}: {reference.worst.max_abs:.1e}"
                )
        return wrong

    @property
    def verdict(self) -> Verdict:
        """`pass` when nothing is wrong."""
        return "fail" if self.failures() else "pass"

    def require(self) -> None:
        """Raise unless the verdict is `pass`.

        Raises:
            ParityError: What differs, where it shows first, and the likely cause where the numbers tell it.
        """
        failures = self.failures()
        if failures:
            lines = "".join(f"\n  {failure}" for failure in failures)
            raise ParityError(
                f"the published folder does not compute what the original does:{lines}", hint=self._cause()
            )

    def _cause(self) -> str:
        other = [r for r in self.references if not r.as_published]
        if other and all(r.is_within for r in other):
            return (
                f"the folder computes {other[0].activation}, the release declares {self.activation}: the activation is"
                " the cause; correct `hidden_act` or `activation`"
            )
        if self.tokenizer.first_difference is not None:
            return "is `cased` right for this vocabulary? nothing was pushed"
        return "nothing was pushed; --force publishes it all the same, and the card then says so"

    def to_json(self) -> dict[str, Any]:
        """The report as `--json` and hubpush.json have it."""
        return {
            "verdict": self.verdict,
            "activation": self.activation,
            "failures": self.failures(),
            "references": [reference.to_json() for reference in self.references],
            "weights": self.weights.to_json(),
            "tokenizer": self.tokenizer.to_json(),
            "loading": {kind: list(keys) for kind, keys in self.loading.items()},
            "environment": dict(self.environment),
        }
