"""ELECTRA as google-research/electra released it: a discriminator and a generator that were trained together.

Sources: `model/modeling.py` (`BertModel`), `run_pretraining.py` (`PretrainingModel`) and `util/training_utils.py` of
https://github.com/google-research/electra for names, shapes and arithmetic; Clark et al., arXiv:2003.10555, for the
model. The transformer is BERT's. What differs: embeddings may be narrower than the layers, and are projected; there is
no pooler; the GELU is the exact one. The generator reads the discriminator's embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hubpush.architectures import bert
from hubpush.architectures.table import Activation, Architecture, ConfigKey, Logits, ModelClass, Weight

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_H, _E, _V = "hidden_size", "embedding_size", "vocab_size"
_ENCODER = frozenset({"embeddings", "layers"})
_PROJECTED = _ENCODER | {"projection"}

CONFIG = (
    *bert.CONFIG,
    ConfigKey("embedding_size", "size"),
    ConfigKey("summary_activation", "fixed", "gelu"),
    ConfigKey("summary_last_dropout", "fixed", 0.1),
    ConfigKey("summary_type", "fixed", "first"),
    ConfigKey("summary_use_proj", "fixed", True),
)


def _groups(scope: str) -> dict[str, tuple[Weight, ...]]:
    """The encoder of a part, without its head. Tied embeddings lie in the discriminator's scope for both."""
    return {
        "embeddings": bert.embeddings("electra/embeddings", "electra.embeddings", _E),
        "projection": bert.dense(f"{scope}/embeddings_project", "electra.embeddings_project", _E, _H),
        "layers": bert.layers(f"{scope}/encoder/layer_{{n}}", "electra.encoder.layer.{n}"),
    }


def _part(
    part: str,
    scope: str,
    head: ModelClass,
    groups: Mapping[str, tuple[Weight, ...]],
    other: str,
    renamed: Mapping[str, str],
) -> Architecture:
    return Architecture(
        model_type="electra",
        part=part,
        scope=f"{scope}/encoder/",
        base_prefix="electra.",
        groups=MappingProxyType({**_groups(scope), **groups}),
        required=_ENCODER,
        only_if_unequal=MappingProxyType({"projection": (_E, _H)}),
        classes=(head, ModelClass("ElectraModel", frozenset(), _PROJECTED, True, "feature-extraction")),
        left_out=MappingProxyType({**bert.TRAINING_STATE, other: f"not of the {part}, which is the part asked for"}),
        config=CONFIG,
        ignored_config=frozenset(),
        layers_key="num_hidden_layers",
        activation="gelu",
        activation_source="google-research/electra's modeling.py computes the exact form, by erf",
        forward_source="written after `modeling.py` of google-research/electra, on the transformer of BERT's",
        forward=partial(forward, scope),
        head_words=MappingProxyType({"mlm": "masked words", "rtd": "replaced tokens"}),
        renamed=MappingProxyType(renamed),
    )


def forward(
    scope: str,
    tf: Any,
    read: Callable[[str], npt.NDArray[Any]],
    heads: frozenset[str],
    config: Mapping[str, Any],
    activation: Activation,
    inputs: Mapping[str, npt.NDArray[np.int32]],
    dtype: str,
    rows: npt.NDArray[np.int_] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Compute what the released graph computes, for the encoder in a scope (`electra`, `generator`).

    The contract is that of `hubpush.architectures.bert.forward`. The outputs beyond the states are `rtd_logits` [batch,
    length, 1] of the discriminator and `mlm_logits` [batch, length, vocab] of the generator.
    """
    original = bert.Original(tf, read, config, activation, inputs, dtype)
    x = original.embed("electra/embeddings")
    if config["embedding_size"] != config["hidden_size"]:
        x = original.dense(x, f"{scope}/embeddings_project")
    outputs = original.layers(x, f"{scope}/encoder")
    x = outputs["sequence_output"]
    if "rtd" in heads:
        hidden = original.gelu(original.dense(x, "discriminator_predictions/dense"))
        outputs["rtd_logits"] = original.dense(hidden, "discriminator_predictions/dense_1")
    if "mlm" in heads:
        hidden = original.gelu(original.dense(original.some(x, rows), "generator_predictions/dense"))
        hidden = original.layer_norm(hidden, "generator_predictions")
        words = "electra/embeddings/word_embeddings"
        outputs["mlm_logits"] = original.scores(hidden, words, "generator_predictions/output_bias")
    return {name: output.numpy() for name, output in outputs.items()}


DISCRIMINATOR = _part(
    "discriminator",
    "electra",
    ModelClass(
        *("ElectraForPreTraining", frozenset({"rtd"}), _PROJECTED | {"rtd"}, False, "feature-extraction"),
        (Logits("rtd_logits", ("logits",)),),
    ),
    {
        "rtd": (
            *bert.dense("discriminator_predictions/dense", "discriminator_predictions.dense", _H, _H),
            Weight(
                "discriminator_predictions/dense_1/kernel", "discriminator_predictions.dense_prediction.weight", (_H, 1)
            ),
            Weight("discriminator_predictions/dense_1/bias", "discriminator_predictions.dense_prediction.bias", (1,)),
        )
    },
    r"generator(_predictions)?/.+",
    {"discriminator_predictions/dense_1/": "discriminator_predictions/dense_prediction/"},
)

GENERATOR = _part(
    "generator",
    "generator",
    ModelClass(
        *("ElectraForMaskedLM", frozenset({"mlm"}), _PROJECTED | {"mlm"}, False, "fill-mask"),
        (Logits("mlm_logits", ("logits",)),),
    ),
    {
        "mlm": (
            *bert.dense("generator_predictions/dense", "generator_predictions.dense", _H, _E),
            *bert.layer_norm("generator_predictions", "generator_predictions", _E),
            Weight("generator_predictions/output_bias", "generator_lm_head.bias", (_V,)),
        )
    },
    r"electra/(embeddings_project|encoder)/.+|discriminator_predictions/.+",
    {
        "generator/": "electra/",
        "generator_predictions/output_bias": "generator_lm_head/output_bias",
    },
)
