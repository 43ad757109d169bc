"""What becomes of each variable of a checkpoint, by the weight map of the architecture that it holds.

Every variable is accounted for, and every tensor of the model class: no variable without a place, no place without a
variable, all mistakes named at once. Names and shapes alone are read here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hubpush.architectures import ARCHITECTURES, Architecture, Layout, ModelClass, Weight
from hubpush.checkpoint import OBJECT_GRAPH, Checkpoint, Variable
from hubpush.errors import CheckpointError, ModelError

Shape = tuple[str | int, ...]

AVERAGE = "/ExponentialMovingAverage"
"""What tf.train.ExponentialMovingAverage appends to the name of a variable for its average."""

_AVERAGE_SLOT = re.compile(r".+/\.OPTIMIZER_SLOT/\w+/average/.+")
"""Where tf-models-official's `ExponentialMovingAverage` optimizer keeps them."""

_FOREIGN = {
    r"bert/encoder/transformer/group_": "an ALBERT",
    r"bert/encoder/layer_0/(bottleneck|ffn_layer_0)/": "a MobileBERT",
}
"""Models whose scope is BERT's and whose layers are not."""

_MAX_SHOWN = 200


@dataclass(frozen=True)
class Fate:
    """What becomes of one variable.

    Attributes:
        variable: The variable as the checkpoint's index describes it.
        disposition: `mapped` to `key`, `dropped` or `unknown`.
        place: Its name in the weight map, for a variable that has a place there.
        shape: Its shape there: the checkpoint's own, or one of the same numbers in the same order.
        key: Name in model.safetensors, for a mapped variable.
        group: The part of the model it belongs to, where it has one.
        transposed: Whether its axes are exchanged on the way.
        reason: Why it is dropped, or what is wrong with it.
    """

    variable: Variable
    disposition: Literal["mapped", "dropped", "unknown"]
    place: str | None = None
    shape: tuple[int, ...] = ()
    key: str | None = None
    group: str | None = None
    transposed: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Account:
    """The account of a checkpoint's variables against an architecture.

    Attributes:
        architecture: The architecture's name.
        model_class: The transformers class that holds the heads that are present.
        heads: Groups beyond the required ones that are published.
        fates: One entry for each variable, by name.
        mistakes: Everything that keeps this checkpoint from being converted.
        labels: Number of scores of a classifier; None for a class without one.
        layout: The layout, if the names are not the weight map's own.
        is_raw: Whether the checkpoint has moving averages too, and they are left out.
        is_told: Whether the heads alone tell that it is this class, so that nobody has to ask for a task.
        hint: What to do about the mistakes, where it depends on what was asked.
    """

    architecture: str
    model_class: ModelClass
    heads: frozenset[str]
    fates: tuple[Fate, ...]
    mistakes: tuple[str, ...]
    labels: int | None = None
    layout: Layout | None = None
    is_raw: bool = False
    is_told: bool = True
    hint: str | None = None

    @property
    def activation_source(self) -> str | None:
        """Where the activation is known from, if the layout says it and not the architecture."""
        return None if self.layout is None else self.layout.activation_source

    def mapped(self) -> tuple[Fate, ...]:
        """The variables that are published, in the order of the keys in the file."""
        return tuple(sorted((f for f in self.fates if f.disposition == "mapped"), key=lambda f: f.key or ""))

    def dropped(self) -> tuple[Fate, ...]:
        """The variables that are left out, each for its reason."""
        return tuple(f for f in self.fates if f.disposition == "dropped")

    def require(self) -> None:
        """Raise if there is any mistake.

        Raises:
            ModelError: All mistakes, one a line.
        """
        if self.mistakes:
            shown = "".join(f"\n  {mistake}" for mistake in self.mistakes[:40])
            more = f"\n  … and {len(self.mistakes) - 40} more" if len(self.mistakes) > 40 else ""
            raise ModelError(
                f"the checkpoint does not fit {self.architecture}, {len(self.mistakes)} mistake(s):{shown}{more}",
                hint=self._cause(),
            )

    def stored(self) -> dict[str, Fate]:
        """The variables that are published, by their names in the weight map."""
        return {fate.place: fate for fate in self.fates if fate.disposition == "mapped" and fate.place is not None}

    def _cause(self) -> str:
        if self.hint is not None:
            return self.hint
        dtypes = {fate.variable.dtype for fate in self.fates if fate.disposition == "mapped"}
        if dtypes and "float32" not in dtypes:
            return "cast the variables to float32 in TensorFlow, and save them again"
        if any("no name tells" in mistake for mistake in self.mistakes):
            return "save the encoder from the program that trained it, with the one that is meant"
        if self.is_raw and all(mistake.startswith("missing") for mistake in self.mistakes):
            return "the averages of the weights are there: --averaged publishes them"
        if any(mistake.startswith("the labels") for mistake in self.mistakes):
            if self.labels is None:
                return "drop --labels, or `labels` in the family file"
            return "--labels (`labels` in a family file) names a name for each score, one a line, score 0 first"
        if any("has no moving average" in mistake or "are asked for" in mistake for mistake in self.mistakes):
            return "drop --averaged, or `averaged` in the family file: the raw weights are then published"
        if all(mistake.startswith("unknown") for mistake in self.mistakes):
            return (
                f"the table of {self.architecture} has no place for them: it holds the encoder and the heads that"
                " docs/checkpoints.md lists"
            )
        return "`hubpush inspect SOURCE` lists every variable; is the config the right one?"


def recognized(checkpoint: Checkpoint, model_type: str | None = None) -> list[Architecture]:
    """The architectures whose variables a checkpoint holds, by the scopes of their names."""
    known = [a for a in ARCHITECTURES.values() if model_type in (None, a.model_type)]
    return [a for a in known if any(_is_written_as(checkpoint, a, layout) for layout in (None, *a.layouts))]


def recognize(checkpoint: Checkpoint, model_type: str | None = None, part: str | None = None) -> Architecture:
    """The one architecture that a checkpoint is to be read as.

    Args:
        checkpoint: The checkpoint; only its index is read.
        model_type: What the family file says; None takes what the names say.
        part: The part that is asked for, where a checkpoint holds several.

    Raises:
        CheckpointError: TensorFlow 2 wrote the checkpoint by object paths that no layout knows.
        ModelError: It is none that is known, or several, or not what is asked for.
    """
    name, every = checkpoint.prefix.name, recognized(checkpoint)
    for pattern, other in _FOREIGN.items():
        if any(re.match(pattern, place) for place in checkpoint):
            raise ModelError(f"{name} holds {other}, which is not read", hint="docs/checkpoints.md lists what is read")
    found = [a for a in every if model_type in (None, a.model_type) and part in (None, a.part)]
    if len(found) == 1:
        return found[0]
    if found and all(a.part for a in found):
        parts = [str(a.part) for a in found]
        raise ModelError(
            f"{name} holds {' and '.join(f'a {one}' for one in parts)}",
            hint=f"say which: {' or '.join(f'--part {one}' for one in parts)}, or `part` in the family file",
        )
    if found:
        raise ModelError(
            f"{name} holds several models: {', '.join(a.name for a in found)}",
            hint="hubpush publishes checkpoints of one: save its variables alone",
        )
    asked = " ".join(filter(None, (model_type, part)))
    if every:
        holds = ", ".join(a.name for a in every)
        raise ModelError(f"{name} holds {holds}, not {asked}", hint=f"ask for {holds}, or for nothing")
    if checkpoint.is_object_based:
        raise CheckpointError(
            f"{name} is an object-based checkpoint of TensorFlow 2 (it has {OBJECT_GRAPH}), whose paths are none that"
            f" hubpush knows: {_some(checkpoint)}",
            hint="load it in the program that wrote it, and save its variables under google-research/bert's names with"
            " tf.compat.v1.train.Saver; docs/checkpoints.md lists the layouts that are read as they are",
        )
    scopes = ", ".join(f"{a.scope}…" for a in ARCHITECTURES.values() if model_type in (None, a.model_type))
    raise ModelError(
        f"{name} holds no {asked or 'model that is known'}: no variable is called {scopes}. It has {_some(checkpoint)}",
        hint="docs/checkpoints.md lists what is read; `hubpush inspect SOURCE` lists every variable",
    )


def sizes(checkpoint: Checkpoint, architecture: Architecture) -> dict[str, int]:
    """What the shapes of a checkpoint's variables say of its config: every size but the number of attention heads.

    For looking at a checkpoint whose config is not there; a conversion never guesses one.
    """
    _, named = _named(checkpoint, architecture)
    table = {row.variable: row.shape for group in architecture.groups.values() for row in group}
    found = dict.fromkeys([row.key for row in architecture.config if row.kind == "size"], 0)
    found[architecture.layers_key] = _count_layers([place for _, place, _ in named])
    for name, place, own in named:
        dims = own or table.get(re.sub(r"/layer_\d+/", "/layer_{n}/", place), ())
        shape = checkpoint.variables[name].shape
        found |= {dim: size for dim, size in zip(dims, shape, strict=False) if isinstance(dim, str) and dim in found}
    return found


def account(
    checkpoint: Checkpoint,
    config: Mapping[str, Any],
    architecture: Architecture,
    *,
    task: str | None = None,
    labels: Sequence[str] = (),
    averaged: bool = False,
) -> Account:
    """Find a place for every variable, and a variable for every place.

    Args:
        checkpoint: The checkpoint; only its index is read.
        config: The original config, as `read_config` returns it.
        architecture: The table of names.
        task: The task (`text-classification`) whose class is asked for; None takes the one that the heads tell.
        labels: Names of a classifier's scores; there must be as many as scores.
        averaged: Publish the exponential moving averages instead of the raw values.

    Raises:
        ModelError: The config has more layers than the checkpoint has variables.
    """
    if (layers := config[architecture.layers_key]) > len(checkpoint):
        # Before a place is made for each variable of a layer: the number comes from a file, and may be two billion.
        raise ModelError(
            f"{layers:,} layers are asked for, the checkpoint has {len(checkpoint):,} variables in all",
            hint="is the config the one that was published with the checkpoint?",
        )
    has_averages = any(name.endswith(AVERAGE) or _AVERAGE_SLOT.fullmatch(name) for name in checkpoint)
    are_read = averaged and any(name.endswith(AVERAGE) for name in checkpoint)
    layout, named = _named(checkpoint, architecture, layers, averaged=are_read)
    names = {name: place for name, place, _ in named}
    stored = {place: name for name, place, _ in named}
    own_shapes = {place: own for _, place, own in named}
    places = {place: (group, weight, key) for group, place, weight, key in _places(architecture, config)}
    present = {places[place][0] for place in stored if place in places}
    mistakes: list[str] = []
    if averaged and not are_read:
        where = "TensorFlow 2's, in its optimizer's slots, are not read" if has_averages else "there are none"
        mistakes.append(
            f"the moving averages of the weights are asked for, but {where} (no variable ends in {AVERAGE})"
        )
    count = _count_labels(checkpoint, architecture, present, stored)
    told, untold, way = _choose(architecture, present, None, count)
    model_class, mistake, hint = (told, untold, way) if task is None else _choose(architecture, present, task, count)
    mistakes += [mistake] if mistake else []
    heads = frozenset(present & model_class.holds) - architecture.required - architecture.only_if_unequal.keys()
    dims = {**config, "head_size": config["hidden_size"] // max(1, config["num_attention_heads"])}
    if count is not None:
        dims["num_labels"] = count
    if not any("num_labels" in row.shape for g in model_class.holds for row in architecture.groups.get(g, ())):
        count = None
    mistakes += _label_mistakes(model_class, count, labels) if not mistake else []
    mistakes += [
        f"{name} and {stored[place]} would both be {place}, and no name tells which is meant"
        for name, place in names.items()
        if stored[place] != name
    ]
    fates: list[Fate] = []
    for name, variable in sorted(checkpoint.variables.items()):
        place = names.get(name)
        if place not in places:
            reason = _left_out(checkpoint, architecture, name, averaged=are_read)
            if reason is None and are_read and name in places:
                mistakes.append(f"{name} has no moving average")
            elif reason is None:
                shown = name if len(name) <= _MAX_SHOWN else f"{name[:_MAX_SHOWN]}…"
                mistakes.append(f"unknown variable {shown} {list(variable.shape)}")
            fates.append(Fate(variable, "unknown" if reason is None else "dropped", reason=reason or ""))
            continue
        group, weight, key = places[place]
        if group not in model_class.holds:
            is_open = task is None and untold is not None
            why = f"what becomes of the {group}, --task says" if is_open else f"{model_class.name} has no {group}"
            fates.append(Fate(variable, "dropped", place, variable.shape, None, group, reason=why))
            continue
        own = _resolve(own_shapes[place] or weight.shape, dims)
        wrong = ""
        if variable.shape != own:
            wrong = f"{name} has shape {list(variable.shape)}, the config asks for {list(own)}"
        elif variable.dtype != "float32":
            wrong = f"{name} is {variable.dtype}; only float32 is published as it is"
        mistakes += [wrong] if wrong else []
        published = key.removeprefix(architecture.base_prefix) if model_class.headless else key
        shape = _resolve(weight.shape, dims)
        fates.append(Fate(variable, "mapped", place, shape, published, group, weight.transposed, wrong))
    needed = (
        architecture.required | present | (architecture.only_if_unequal.keys() & _groups(architecture, config).keys())
    )
    mistakes += [
        f"missing variable {place} (of the {group})"
        for place, (group, _weight, _key) in places.items()
        if place not in stored and group in needed and not (are_read and place in checkpoint)
    ]
    return Account(
        architecture.name,
        model_class,
        heads,
        tuple(fates),
        tuple(mistakes),
        count,
        layout,
        is_raw=has_averages and not are_read,
        is_told=untold is None and told == model_class,
        hint=hint,
    )


def _groups(architecture: Architecture, config: Mapping[str, Any]) -> dict[str, tuple[Weight, ...]]:
    """The groups that a model of this config can have."""
    return {
        group: rows
        for group, rows in architecture.groups.items()
        if group not in architecture.only_if_unequal
        or len({config[key] for key in architecture.only_if_unequal[group]}) == 2
    }


def _places(architecture: Architecture, config: Mapping[str, Any]) -> Iterator[tuple[str, str, Weight, str]]:
    """All places of an architecture: group, variable name, row, key."""
    for group, rows in _groups(architecture, config).items():
        for row in rows:
            layers = range(int(config[architecture.layers_key])) if "{n}" in row.variable else range(1)
            for n in layers:
                yield group, row.variable.replace("{n}", str(n)), row, row.key.replace("{n}", str(n))


def _is_written_as(checkpoint: Checkpoint, architecture: Architecture, layout: Layout | None) -> bool:
    """Whether the names of a checkpoint are those of a layout; of the weight map's own without one."""
    if layout is None:
        return not checkpoint.is_object_based and any(name.startswith(architecture.scope) for name in checkpoint)
    return checkpoint.is_object_based and any(re.match(layout.scope, name) for name in checkpoint)


def _named(
    checkpoint: Checkpoint, architecture: Architecture, layers: int | None = None, *, averaged: bool = False
) -> tuple[Layout | None, list[tuple[str, str, Shape | None]]]:
    """The layout of a checkpoint; and name, place in the weight map, and own shape of every variable that it names."""
    for layout in architecture.layouts:
        if _is_written_as(checkpoint, architecture, layout):
            root = next(found["root"] for name in checkpoint if (found := re.match(layout.scope, name)))
            if layers is None:
                every = {place for key, place, _ in _layout_rows(layout, len(checkpoint), root) if key in checkpoint}
                layers = _count_layers(every)
            return layout, [row for row in _layout_rows(layout, layers, root) if row[0] in checkpoint]
    if averaged:
        return None, [(name, name.removesuffix(AVERAGE), None) for name in checkpoint if name.endswith(AVERAGE)]
    return None, [(name, name, None) for name in checkpoint]


def _count_layers(places: Collection[str]) -> int:
    return max((int(found[1]) + 1 for place in places if (found := re.search(r"/layer_(\d{1,4})/", place))), default=0)


def _layout_rows(layout: Layout, layers: int, root: str) -> Iterator[tuple[str, str, Shape | None]]:
    """Key, place and shape of everything that a layout names, for a number of layers."""
    for key, place, shape in layout.rows:
        for n in range(layers) if "{n" in key else range(1):
            yield _filled(key, n=n, last=layers, root=root), _filled(place, n=n), shape


def _filled(text: str, **values: int | str) -> str:
    """A pattern of a layout with its `{root}`, `{n}`, `{n+4}`, `{last+4}`."""

    def value(found: re.Match[str]) -> str:
        filled = values[found[1]]
        return str(filled + int(found[2] or 0)) if isinstance(filled, int) else filled

    return re.sub(r"\{(\w+)\+?(\d*)\}", value, text)


def _choose(
    architecture: Architecture, present: set[str], task: str | None, count: int | None
) -> tuple[ModelClass, str | None, str | None]:
    """The class that is asked for, or that the heads tell; with what keeps it from being told, and what to do then."""
    fitting = [c for c in architecture.classes if c.needs <= present]
    tasks = list(dict.fromkeys(c.pipeline_tag for c in fitting))
    if task is None:
        told = [c for c in fitting if c.needs]
        open_tasks = sorted({c.pipeline_tag for c in told})
        first = next(c for c in fitting if not c.is_asked_for)
        if not told or (len(open_tasks) == 1 and not any(c.is_asked_for for c in told)):
            return first, None, None
        if count is not None and count < 2:
            (mistake,) = _label_mistakes(told[0], count, ())
            return first, mistake, f"it is not published; --task {tasks[-1]} publishes the encoder alone"
        ways = " or ".join(f"--task {tag}" + (" (NER)" if tag == "token-classification" else "") for tag in open_tasks)
        what = "heads" if not any(c.is_asked_for for c in told) else "a head"
        return (
            first,
            f"the checkpoint has {what} for {' or '.join(open_tasks)}, and nothing in it says which is meant",
            f"say it: {ways}; `task` in a family file",
        )
    asked = [c for c in architecture.classes if c.pipeline_tag == task]
    if chosen := next((c for c in asked if c in fitting), None):
        is_single = count is not None and count < 2 and chosen.is_asked_for
        return (
            chosen,
            None,
            f"it is not published; --task {tasks[-1]} publishes the encoder alone" if is_single else None,
        )
    hint = f"drop --task, or ask for one of: {', '.join(tasks)}"
    if not asked:
        return fitting[-1], f"{architecture.name} is not published for {task}", hint
    lacking = [row.variable for g in sorted(asked[-1].needs - present) for row in architecture.groups[g]]
    return fitting[-1], f"{task} needs variables that the checkpoint has not: {', '.join(lacking)}", hint


def _count_labels(
    checkpoint: Checkpoint, architecture: Architecture, present: set[str], stored: Mapping[str, str]
) -> int | None:
    """How many scores the classifier has, by its own variables; None without one."""
    for group in present & architecture.groups.keys():
        for row in architecture.groups[group]:
            if "num_labels" in row.shape and row.variable in stored:
                shape = checkpoint.variables[stored[row.variable]].shape
                axis = row.shape.index("num_labels")
                return shape[axis] if axis < len(shape) else 0
    return None


def _label_mistakes(model_class: ModelClass, count: int | None, labels: Sequence[str]) -> list[str]:
    if count is None:
        return [f"the labels that are given have no place: {model_class.name} has no classifier"] if labels else []
    if labels and len(labels) != count:
        # Token classifiers often keep the number 0 for padding, and people forget it in the list.
        return [f"the labels are {len(labels)} names, the head has {count} scores"]
    if count < 1:
        return ["the head has no scores: its variables are empty, or no matrix"]
    if count < 2:
        return [
            "the head has 1 score: a regression or a sigmoid, which the variables do not tell and pipelines treat alike"
        ]
    return []


def _left_out(checkpoint: Checkpoint, architecture: Architecture, name: str, *, averaged: bool) -> str | None:
    """Why a variable without a place is left out; None for one that is unknown."""
    for pattern, why in architecture.left_out.items():
        if re.fullmatch(pattern, name):
            return why
    if averaged and name + AVERAGE in checkpoint:
        return "raw values; their exponential moving averages are published"
    if not averaged and (name.endswith(AVERAGE) or _AVERAGE_SLOT.fullmatch(name)):
        return "exponential moving averages; the raw values are published (--averaged publishes the averages)"
    return None


def _some(checkpoint: Checkpoint) -> str:
    names = sorted(name for name in checkpoint if name != OBJECT_GRAPH)
    return ", ".join(names[:4]) + (f" and {len(names) - 4:,} more" if len(names) > 4 else "")


def _resolve(shape: tuple[str | int, ...], config: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(config[dim]) if isinstance(dim, str) else dim for dim in shape)
