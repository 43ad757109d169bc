"""The tables say what Google's graph and transformers' classes say; the forward pass computes what Google's does."""

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from hubpush import architectures
from hubpush.architectures import ACTIVATIONS, ARCHITECTURES, Activation, Architecture, ConfigKey, ModelClass
from tests import google_bert
from tests.checkpoints import (
    TASK_HEADS,
    TINY,
    TINY_ELECTRA,
    TINY_GENERATOR,
    bert_variables,
    electra_variables,
    tensorflow,
    write_checkpoint,
)

BERT = ARCHITECTURES["bert"]
HEADS = [(), ("pooler",), ("mlm",), ("pooler", "mlm"), ("pooler", "mlm", "nsp")]
CONFIGS = {
    "tiny": TINY,
    # No two sizes are equal, so that one in the place of another shows.
    "odd": TINY
    | {
        "hidden_size": 12,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "num_hidden_layers": 1,
        "max_position_embeddings": 7,
        "type_vocab_size": 5,
        "vocab_size": 31,
    },
    "deep": TINY | {"num_hidden_layers": 11, "hidden_size": 8, "intermediate_size": 16, "vocab_size": 29},
}

# Measured: 1.7e-6 on hidden states of up to 3.5, 5.6e-6 on MLM logits of up to 7. It is Google's float32 that rounds:
# the distance of our float64 from it is the same.
ROUNDING = 2e-5
# Measured where the erf form stands in for the tanh form: from 5.4e-4 (NSP logits) to 3.3e-3 (MLM logits).
VISIBLE = 1e-4


def _rows(
    config: dict[str, Any], groups: frozenset[str], table: Architecture = BERT
) -> Iterator[tuple[str, str, tuple[int, ...], bool]]:
    """Variable, key, shape and whether it is transposed, of every place in some groups."""
    config = {"num_labels": 2, **config}  # as many as transformers makes when nobody says
    for group in groups:
        for row in table.groups[group]:
            shape = tuple(dim if isinstance(dim, int) else config[dim] for dim in row.shape)
            for n in range(config["num_hidden_layers"]) if "{n}" in row.variable else [0]:
                yield row.variable.replace("{n}", str(n)), row.key.replace("{n}", str(n)), shape, row.transposed


# Tables --------------------------------------------------------------------------------------------------------------


def test_every_module_of_the_folder_is_registered() -> None:
    """An architecture that nobody registered is a mistake, and so is a name that is not its own."""
    modules = {module.name for module in pkgutil.iter_modules(architectures.__path__)} - {"table"}
    assert modules
    for name in modules:
        module = importlib.import_module(f"hubpush.architectures.{name}")
        found = [value for value in vars(module).values() if isinstance(value, Architecture)]
        assert found, name
        assert all(any(known is one for known in ARCHITECTURES.values()) for one in found), name
    assert all(name == architecture.name for name, architecture in ARCHITECTURES.items())


def test_scopes_tell_architectures_apart() -> None:
    """No architecture's variables are in another's scope, so what a checkpoint holds is told by its names alone."""
    for one in ARCHITECTURES.values():
        names = {row.variable for rows in one.groups.values() for row in rows}
        assert any(name.startswith(one.scope) for name in names)
        for other in ARCHITECTURES.values():
            assert other is one or not any(name.startswith(other.scope) for name in names), other.name


@pytest.mark.parametrize(
    ("config", "heads"), [*(("odd", heads) for heads in HEADS), ("tiny", HEADS[-1]), ("deep", HEADS[-1])]
)
def test_weight_map_is_the_graph_of_google(config: str, heads: tuple[str, ...]) -> None:
    """Variable names and shapes are those that google-research/bert's own code creates, no more and no fewer."""
    ours = [(name, shape) for name, _, shape, _ in _rows(CONFIGS[config], BERT.required | set(heads))]
    assert len(dict(ours)) == len(ours)
    assert dict(ours) == google_bert.variables_of_graph(CONFIGS[config], heads)


@pytest.mark.parametrize("table", ARCHITECTURES.values(), ids=lambda table: table.name)
def test_every_key_and_every_variable_occurs_once(table: Architecture) -> None:
    """No two places share a variable or a key, with or without the prefix of classes with heads."""
    rows = list(_rows(CONFIGS["deep"] | {"embedding_size": 4}, frozenset(table.groups), table))
    assert len({variable for variable, *_ in rows}) == len(rows)
    assert len({key for _, key, *_ in rows}) == len(rows)
    assert len({key.removeprefix(table.base_prefix) for _, key, *_ in rows}) == len(rows)


def _classes() -> list[Any]:
    """Every class of every architecture; a headless one with a pooler of its own with and without it."""
    return [
        pytest.param(table, kind, pooler, id=f"{table.name}-{kind.name}-{'' if pooler else 'no '}pooler")
        for table in ARCHITECTURES.values()
        for kind in table.classes
        for pooler in ([True, False] if kind.headless and "pooler" in kind.holds else [True])
    ]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("narrow", [False, True], ids=["", "narrow embeddings"])
@pytest.mark.parametrize(("table", "model_class", "pooler"), _classes())
def test_keys_are_the_state_dict_of_the_class(
    table: Architecture, model_class: ModelClass, config: str, pooler: bool, narrow: bool
) -> None:
    """Keys and transposed shapes of the groups a class holds are its state dict in transformers, tied copies aside."""
    import torch
    import transformers

    kind = getattr(transformers, model_class.name)
    has_pooler = model_class.headless and "pooler" in model_class.holds
    options = {"add_pooling_layer": pooler} if has_pooler else {}
    sizes = CONFIGS[config] | {"embedding_size": 6 if narrow else CONFIGS[config]["hidden_size"]}
    with torch.device("meta"):
        model = kind(kind.config_class(**sizes), **options)
    tied = set(kind._tied_weights_keys or ())
    theirs = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items() if key not in tied}
    groups = model_class.holds - (set() if pooler else {"pooler"})
    groups -= {g for g, (one, other) in table.only_if_unequal.items() if sizes[one] == sizes[other]}
    ours = {
        key.removeprefix(table.base_prefix) if model_class.headless else key: shape[::-1] if transposed else shape
        for _, key, shape, transposed in _rows(sizes, groups, table)
    }
    assert ours == theirs


@pytest.mark.parametrize(
    ("table", "model_class"),
    [pytest.param(t, c, id=f"{t.name}-{c.name}") for t in ARCHITECTURES.values() for c in t.classes],
)
def test_config_rows_are_what_transformers_writes(table: Architecture, model_class: ModelClass, tmp_path: Path) -> None:
    """Keys and fixed values are those of save_pretrained's config.json, but for transformers_version."""
    import transformers

    sizes = {row.key: (TINY | {"embedding_size": 8})[row.key] for row in table.config if row.kind == "size"}
    kind = getattr(transformers, model_class.name)
    kind(kind.config_class(**sizes)).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text("utf-8"))
    del written["transformers_version"]
    assert written.pop("architectures") == [model_class.name]
    assert written.pop("model_type") == table.model_type
    assert written.pop("hidden_act") in ACTIVATIONS
    assert written == sizes | {row.key: row.default for row in table.config if row.kind != "size"}
    assert all(type(written[row.key]) is type(row.default) for row in table.config if row.kind != "size")


def test_the_first_class_that_fits_holds_most() -> None:
    """An earlier class never hides a later one that would hold more, and one always fits."""
    assert not BERT.classes[-1].needs
    for n, earlier in enumerate(BERT.classes):
        assert earlier.needs | BERT.required <= earlier.holds <= set(BERT.groups)
        assert not any(earlier.needs < later.needs for later in BERT.classes[n:])


# Fingerprint ---------------------------------------------------------------------------------------------------------


def _changes(architecture: Architecture, kind: ModelClass) -> Iterator[tuple[str, Architecture]]:
    """The architecture with one thing changed that decides the bytes of a class, for every such thing."""
    yield "model_type", replace(architecture, model_type="other")
    yield "base_prefix", replace(architecture, base_prefix="other.")
    for group in kind.holds:
        rows = architecture.groups[group]
        for n, row in enumerate(rows):
            changes = {"variable": row.variable + "x", "key": row.key + "x", "shape": (*row.shape, 1)}
            for field, value in changes.items():
                changed = (*rows[:n], replace(row, **{field: value}), *rows[n + 1 :])
                yield (
                    f"{row.variable}: {field}",
                    replace(architecture, groups=MappingProxyType({**architecture.groups, group: changed})),
                )
        yield (
            f"without {group}",
            replace(architecture, groups={k: v for k, v in architecture.groups.items() if k != group}),
        )
    at = architecture.classes.index(kind)
    for field, value in {"holds": kind.holds ^ {"nsp"}, "headless": not kind.headless}.items():
        classes = (*architecture.classes[:at], replace(kind, **{field: value}), *architecture.classes[at + 1 :])
        if field != "holds" or "nsp" in kind.holds:  # to hold what is not there is no other table
            yield f"{kind.name}: {field}", replace(architecture, classes=classes)
    for n, row in enumerate(architecture.config):
        others = [replace(row, key="other"), replace(row, default="other"), replace(row, default=...)]
        others += [replace(row, default=None), replace(row, kind="size" if row.kind != "size" else "rate")]
        for m, other in enumerate(others):
            if other != row:
                rows = (*architecture.config[:n], other, *architecture.config[n + 1 :])
                yield f"{row.key}: {m}", replace(architecture, config=rows)
    yield "another config key", replace(architecture, config=(*architecture.config, ConfigKey("x", "fixed", None)))


PRETRAINING = BERT.classes[0]


def test_fingerprint_changes_with_every_row() -> None:
    """No two tables that differ in anything that decides bytes share a fingerprint."""
    seen = {BERT.fingerprint(PRETRAINING.name): "the table itself"}
    for what, changed in _changes(BERT, PRETRAINING):
        found = changed.fingerprint(PRETRAINING.name)
        if what != f"{PRETRAINING.name}: holds":  # the same as to lose the group's rows
            assert found not in seen, f"{what} and {seen[found]}"
        assert found != BERT.fingerprint(PRETRAINING.name), what
        seen[found] = what
    assert len(seen) > 150
    layouts = {BERT.fingerprint(PRETRAINING.name, layout.name) for layout in BERT.layouts}
    assert len(layouts | {BERT.fingerprint(PRETRAINING.name)}) == 1 + len(BERT.layouts)
    kinds = {table.fingerprint(kind.name) for table in ARCHITECTURES.values() for kind in table.classes}
    assert len(kinds) == sum(len(table.classes) for table in ARCHITECTURES.values())


def test_fingerprint_leaves_out_what_decides_no_bytes() -> None:
    """The forward pass, the Hub's task, other heads and what is left out leave the identity of a class alone."""
    described = tuple(replace(c, pipeline_tag="other") for c in BERT.classes)
    other_heads = {name: rows for name, rows in BERT.groups.items() if name in PRETRAINING.holds}
    changed = replace(BERT, forward=dict, classes=described, groups=other_heads, left_out={}, layouts=())
    assert changed.fingerprint(PRETRAINING.name) == BERT.fingerprint(PRETRAINING.name)
    assert replace(BERT, classes=(PRETRAINING,)).fingerprint(PRETRAINING.name) == BERT.fingerprint(PRETRAINING.name)


def test_fingerprint_does_not_depend_on_the_process() -> None:
    """Another hash seed, another order of sets, the same fingerprint."""
    program = "from hubpush.architectures import ARCHITECTURES as A; print(A['bert'].fingerprint('BertForMaskedLM'))"
    for seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == BERT.fingerprint("BertForMaskedLM")


# Forward pass --------------------------------------------------------------------------------------------------------

BATCH, LENGTH = 5, 64
_random = np.random.default_rng(11)
IDS = _random.integers(0, TINY["vocab_size"], (BATCH, LENGTH)).astype(np.int32)
MASK = (np.arange(LENGTH) < [[LENGTH], [1], [17], [40], [63]]).astype(np.int32)
SEGMENTS = _random.integers(0, 2, (BATCH, LENGTH)).astype(np.int32)
INPUTS = {"input_ids": IDS, "attention_mask": MASK, "token_type_ids": SEGMENTS}
NAMES = {"embedding": "embeddings"} | {f"layer_{n}": f"layer {n}" for n in (1, 2, 3)}
NAMES |= {f"layer_{n}_keys": f"layer {n} keys" for n in (1, 2, 3)}

Outputs = dict[str, np.ndarray[Any, Any]]


def _google(prefix: Path, heads: tuple[str, ...]) -> Outputs:
    got = google_bert.outputs(prefix, TINY, IDS, MASK, SEGMENTS, heads=heads)
    return {NAMES.get(name, name): value for name, value in got.items()}


def _ours(heads: tuple[str, ...], activation: Activation, dtype: str) -> Outputs:
    variables = bert_variables(TINY, heads)
    return BERT.forward(tensorflow(), variables.__getitem__, frozenset(heads), TINY, activation, INPUTS, dtype)


def _gap(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Largest difference at real positions."""
    gap = np.abs(one.astype(np.float64) - other)
    return float(gap[MASK == 1].max() if gap.ndim == 3 else gap.max())


@pytest.fixture(scope="module")
def google(release: Path) -> Outputs:
    """Outputs of Google's own graph with all heads."""
    return _google(release / "bert_model.ckpt", ("pooler", "mlm", "nsp"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_at_some_positions_are_those_of_all(dtype: str) -> None:
    """Logits over the vocabulary at chosen positions are the rows of the whole, and nothing else changes."""
    heads = ("pooler", "mlm", "nsp")
    variables, rows = bert_variables(TINY, heads), np.array([0, 64, 130, 319])
    forward = partial(BERT.forward, tensorflow(), variables.__getitem__, frozenset(heads), TINY, "gelu", INPUTS, dtype)
    whole, some = forward(), forward(rows)
    assert some["mlm_logits"].shape == (4, TINY["vocab_size"])
    gap = np.abs(some["mlm_logits"] - whole["mlm_logits"].reshape(-1, TINY["vocab_size"])[rows]).max()
    assert gap < (1e-12 if dtype == "float64" else ROUNDING)
    assert all(np.array_equal(some[name], whole[name]) for name in whole if name != "mlm_logits")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forward_computes_what_the_graph_of_google_computes(dtype: str, google: Outputs) -> None:
    """Every output of the tanh form agrees with Google's own graph to float32 rounding."""
    ours = _ours(("pooler", "mlm", "nsp"), "gelu_pytorch_tanh", dtype)
    assert ours.keys() == google.keys()
    assert {str(value.dtype) for value in ours.values()} == {dtype}
    gaps = {name: _gap(ours[name], google[name]) for name in google}
    assert max(gaps.values()) < ROUNDING, gaps


@pytest.mark.parametrize("heads", [(), ("pooler",), ("mlm",)])
def test_forward_computes_the_heads_that_are_there(heads: tuple[str, ...], tmp_path: Path) -> None:
    """Without a head its outputs are absent, and all others are still Google's."""
    prefix = write_checkpoint(tmp_path / "model.ckpt", bert_variables(TINY, heads))
    google, ours = _google(prefix, heads), _ours(heads, "gelu_pytorch_tanh", "float64")
    assert ours.keys() == google.keys()
    assert max(_gap(ours[name], google[name]) for name in google) < ROUNDING


def test_the_two_gelu_forms_differ_visibly(google: Outputs) -> None:
    """The erf form is off by a hundred times the rounding behind the first GELU, and nowhere before it."""
    erf = _ours(("pooler", "mlm", "nsp"), "gelu", "float64")
    gaps = {name: _gap(erf[name], google[name]) for name in google}
    assert gaps.pop("embeddings") < ROUNDING
    assert gaps.pop("layer 1 keys") < ROUNDING
    assert min(gaps.values()) > VISIBLE, gaps


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float64_is_float32_without_its_rounding(activation: Activation) -> None:
    """Both precisions compute one function, whichever form is asked for."""
    heads = ("pooler", "mlm", "nsp")
    single, double = _ours(heads, activation, "float32"), _ours(heads, activation, "float64")
    assert max(_gap(single[name], double[name]) for name in double) < ROUNDING


@pytest.mark.parametrize(("heads", "labels"), [(("pooler", "classifier"), 3), (("pooler", "squad"), None)])
def test_forward_computes_the_tasks_of_google(heads: tuple[str, ...], labels: int | None, tmp_path: Path) -> None:
    """The scores of run_classifier.py and run_squad.py are those of Google's own graphs, to float32 rounding."""
    prefix = write_checkpoint(tmp_path / "model.ckpt", bert_variables(TINY, heads))
    google = google_bert.task_logits(prefix, TINY, IDS, MASK, SEGMENTS, labels)
    ours = _ours(heads, "gelu_pytorch_tanh", "float64")["logits" if labels else "span_logits"]
    assert ours.shape == google.shape
    assert _gap(ours, google) < ROUNDING
    assert np.abs(google).max() > 1


def test_a_classifier_of_tokens_has_a_row_for_each() -> None:
    """Without the pooler the classifier's scores are those of each token's state."""
    ours = _ours(("classifier",), "gelu", "float64")
    variables = bert_variables(TINY, ("classifier",))
    expected = ours["sequence_output"] @ variables["output_weights"].T + variables["output_bias"]
    assert _gap(ours["logits"], expected) < 1e-12


@pytest.mark.parametrize("table", ARCHITECTURES.values(), ids=lambda table: table.name)
def test_forward_reads_every_variable_of_its_heads(table: Architecture) -> None:
    """The forward pass uses each variable of the weight map and no other, so that none escapes the comparison."""
    config = TINY_GENERATOR if table.part == "generator" else TINY_ELECTRA
    variables = bert_variables(config, (*HEADS[-1], *TASK_HEADS)) | electra_variables()
    read = set()

    def recorded(name: str) -> np.ndarray[Any, Any]:
        read.add(name)
        return variables[name]

    table.forward(tensorflow(), recorded, frozenset(table.groups), config, "gelu", INPUTS, "float32")
    assert read == {name for name, *_ in _rows(config, frozenset(table.groups), table)}
