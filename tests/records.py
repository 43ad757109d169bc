"""Families, builds and parity reports as the stations record them, without weights: for cards and publishing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hubpush import manifest, usage
from hubpush.catalog import Divergence, Family, Release
from hubpush.manifest import Build
from hubpush.parity.report import Difference, ParityReport, Reference, TokenIds, Weights
from hubpush.planning import Candidate

CONFIG = {
    "architectures": ["BertForPreTraining"],
    "dtype": "float32",
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_size": 32,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 1237,
}


def family(count: int = 1, **facts: Any) -> Family:
    """A family of `count` releases called tiny-0, tiny-1 and so on."""
    given = {
        "source": "https://example.org/models/tiny.zip",
        "license": "apache-2.0",
        "language": ("en",),
        "cased": False,
        "datasets": ("bookcorpus/bookcorpus",),
        **facts,
    }
    releases = tuple(Release(name=f"tiny-{n}", title=f"Tiny {n}", **given) for n in range(count))
    return Family(format=1, name="tinies", title="Tinies", summary="Small models for tests.", releases=releases)


def report(
    *,
    wrong: bool = False,
    known: bool = False,
    layers: int = 2,
    module: str = "https://example.org/module/1",
    declared: Divergence | None = None,
) -> dict[str, Any]:
    """A parity report with plausible numbers.

    Args:
        wrong: Layer 2 of the published model is off.
        known: A module of TF Hub differs as is declared, and KerasHub not at all.
        layers: Number of layers.
        module: The module that differs.
        declared: How that is declared.
    """

    def outputs(dtype: str, gap: float, floor: float) -> tuple[Difference, ...]:
        names = ["embeddings", *(f"layer {n + 1}" for n in range(layers)), "sequence_output", "pooled_output"]
        return tuple(
            Difference(
                name,
                dtype,
                (743, 32),
                0.25 if wrong and name == "layer 2" else gap * (n + 1),
                gap / 8,
                1.0,
                9.5,
                floor,
            )
            for n, name in enumerate(names)
        )

    references = (
        Reference("graph", "float64", "gelu_pytorch_tanh", True, outputs("float64", 1.25e-15, 1e-15)),
        Reference("graph", "float32", "gelu_pytorch_tanh", True, outputs("float32", 7.5e-7, 4.5e-6)),
        Reference("graph", "float64", "gelu", False, outputs("float64", 1.5e-3, 1e-15)),
    )
    if known:
        declared = declared or Divergence(
            reference="tfhub", kind="weights", why="Version 1 has other weights.", link="https://example.org/issues/661"
        )
        references += (
            Reference(
                *("tfhub", "float32", "gelu_pytorch_tanh", True, outputs("float32", 2.5, 4.5e-6)),
                source=module,
                found={"weights": "40 of 42 variables have other weights, a first"},
                declared=(declared,),
                weights={"compared": 42, "identical": 2},
            ),
            Reference("keras", "float64", "gelu_pytorch_tanh", True, outputs("float64", 2.5e-15, 1e-15)),
        )
    return ParityReport(
        activation="gelu_pytorch_tanh",
        references=references,
        weights=Weights(46, 46, 0, (), (), confirmed=46),
        tokenizer=TokenIds("14.0.0", 3423, 3376, None, known={"private use": 9, "word over 100 characters": 38}),
        loading={"missing": [], "unexpected": [], "mismatched": []},
        environment={"python": "3.11.7", "system": "Linux x86_64", "torch": "2.13.0"},
        samples={},
    ).to_json()


def build(folder: Path, *, parity: dict[str, Any] | None = None, source: str = "s", **model: Any) -> Build:
    """The record of a conversion whose files are those in a folder."""
    sha256 = manifest.digest(source)
    converted = manifest.Model.model_validate(
        {
            "class": "BertForPreTraining",
            "heads": ["mlm", "nsp", "pooler"],
            "parameters": 70871,
            "cased": False,
            "activation": "gelu_pytorch_tanh",
            "config": CONFIG,
            "variables": 46,
            "dropped": {},
            "assumed": [],
            **model,
        }
    )
    shown = usage.snippets(converted, ["en"]) if parity is not None else ()
    return Build(
        weights_inputs=manifest.digest(
            ["weights", sha256, sorted(p.read_bytes().hex()[:64] for p in folder.iterdir())]
        ),
        source=manifest.Source(
            name="https://example.org/models/tiny.zip",
            sha256=sha256,
            size=1234567,
            files={"vocab.txt": manifest.describe_bytes(b"[PAD]\n")},
        ),
        model=converted,
        usage=tuple(one.model_copy(update={"output": f"what {one.name} printed"}) for one in shown),
        files={path.name: manifest.describe(path) for path in sorted(folder.iterdir())},
        parity=parity,
        samples={"batches": [{"inputs": {"input_ids": [[0]] * 11}}]} if parity else None,
        date="2026-11-22",
        hubpush="0.1.0",
    )


def write_folder(folder: Path, weights: bytes = b"weights 1") -> Path:
    """Files under the names of a converted model; what is in them is of no matter to a Hub."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(weights * 1000)
    (folder / "config.json").write_text('{"model_type": "bert"}\n')
    (folder / "tokenizer.json").write_text("{}\n")
    (folder / "tokenizer_config.json").write_text("{}\n")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    return folder


def candidate(
    folder: Path, *, parity: dict[str, Any] | None = None, repo_id: str = "acme/tiny-0", **facts: Any
) -> Candidate:
    """What a build of that folder wants to publish."""
    one = family(**facts)
    command = "hubpush convert-and-upload --family tinies.toml --org acme tiny-0"
    return Candidate(one, one.releases[0], repo_id, command, build(folder, parity=parity or report()), folder)
