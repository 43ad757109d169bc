"""Recorded results to README.md.

A card is rendered from a frozen `Context` alone: the release's facts and what the manifest recorded. Nothing is
measured here, so rendering the same record again gives the same bytes. The sections are files under templates/sections;
they stand between markers, and text that a person wrote outside the markers is kept when the card is rendered anew.
"""

from __future__ import annotations

import bisect
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from hubpush import catalog, chart, metadata, templating, usage
from hubpush.architectures import ARCHITECTURES
from hubpush.catalog import Family, Release
from hubpush.errors import CardError
from hubpush.manifest import Build, Past

CHART = "parity/layers.png"
"""Where the picture of the differences stands in a repo."""

CORRECT = "correct it in the family file, or in --license or --language"
"""What to do about wrong metadata."""

_GOOD = ("pass", "known-divergence")
_MAX_CARD = 1 << 20
_MAX_VALUE = 20_000  # characters of one value that a template sees
# What a family file says that no card shows: checked, or part of the other identity.
_NOT_SHOWN = {
    *("source", "config_file", "vocab_file", "config", "data_sha256", "vocab_lines"),
    *("architecture", "part", "task", "labels", "averaged", "cased", "activation", "tfhub"),
}
_NAMES = {"graph": "original graph", "tfhub": "TF Hub module", "repo": "repo on the Hub", "keras": "KerasHub"}
_GRID = 4  # releases from which a grid of sizes is clearer than a list
_BEGIN = re.compile(r"<!-- hubpush:begin ([a-z-]+) -->\n")
_END = re.compile(r"\n<!-- hubpush:end ([a-z-]+) -->")


class Context(BaseModel):
    """Everything a template sees, as plain values."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    repo_id: str
    """Where the model is published: OWNER/NAME."""
    tag: str
    """The version's tag: vX.Y.Z."""
    pipeline_tag: str
    """The Hub's task."""
    is_copy: bool
    """Whether the authors are known to publish their own conversion, and this repo is not theirs."""
    release: Mapping[str, Any]
    """What the family file says of the release, by its keys (docs/family-files.md)."""
    activation_source: str
    """Where it is known from which GELU form the released code computes."""
    forward_source: str
    """What the forward pass that is compared with was written after."""
    part: str | None
    """Which of the models that were trained together; null for most."""
    heads: tuple[str, ...]
    """The parts beyond the encoder, in words."""
    lacks_pooler: bool
    """Whether transformers' bare encoder makes a pooler that the checkpoint does not have."""
    family: Mapping[str, str]
    """`title` and `summary` of the family."""
    siblings: tuple[Mapping[str, Any], ...]
    """`name`, `short`, `layers`, `hidden` and `repo_id` of every release of the family, this one too."""
    grid: Mapping[str, Any] | None
    """The siblings by size, where their sizes make a grid: `columns` (hidden sizes) and `rows`, each with `layers` and
    `cells` (a sibling or null for each column)."""
    model: Mapping[str, Any]
    """What was converted: `architecture`, `layout`, `class`, `heads`, `parameters`, `cased`, `activation`, `config`,
    `variables`, `tokens`, `averaged`, `dropped` (names by reason) and `assumed` (sentences)."""
    config: Mapping[str, Any]
    """The published config.json."""
    source: Mapping[str, Any]
    """`name`, `sha256`, `size`, `kind` (archive or files), `files` of the source; each file has `sha256` and `size`."""
    files: Mapping[str, Mapping[str, Any]]
    """The converted files with `sha256` and `size`, by path."""
    build: Mapping[str, Any]
    """`date` and `hubpush` (version) of the conversion, and whether `nonfinite` weights were allowed."""
    parity: Mapping[str, Any] | None
    """The recorded parity report, as `hubpush parity --json` prints it; null when it was not run."""
    verdict: str
    """`pass`, `known-divergence`, `fail` or `not-run`."""
    worst: Mapping[str, Any] | None
    """The float64 output with the largest difference from the original graph: `output`, `max_abs`, `tolerance`."""
    gap: Mapping[str, Any] | None
    """The worst output against the other GELU form, with its `activation`; null unless parity passed."""
    outputs: tuple[Mapping[str, Any], ...]
    """A row for each output compared with the original graph: `output`, `shape`, and the recorded numbers under
    `float64` and `float32`, with the `verdict` over both."""
    references: tuple[Mapping[str, Any], ...]
    """A row for each comparison: `name`, `dtype`, `activation`, `worst`, `weights`, `verdict`, `is_graph`."""
    others: tuple[str, ...]
    """The references besides the original graph, as `--parity` takes them."""
    divergences: tuple[Mapping[str, Any], ...]
    """Known differences from others: `reference`, `kind`, `why`, `link`, and `measured` in words, or null where this
    version was not compared with that one."""
    chart: str | None
    """Path of the picture of the differences in the repo; null where there is none."""
    chart_text: str
    """What the picture shows, in words."""
    chart_file: Mapping[str, Any] | None
    """`sha256` and `size` of the picture."""
    probe_count: int
    """Number of probe texts."""
    snippets: tuple[Mapping[str, Any], ...]
    """Code that uses the model: `name`, `title`, `language`, `code`, and the `output` that it printed when this version
    was built, or null where it was not run."""
    more_snippets: tuple[Mapping[str, Any], ...]
    """Code for other libraries, likewise; it is never run for a card."""
    history: tuple[Mapping[str, Any], ...]
    """All versions up to this one, the oldest first: `version`, `date`, `change`, `verdict`, `yanked`."""
    command: str
    """The command line that makes this again."""
    source_is_public: bool
    """Whether the source is a URL, which anybody can fetch."""
    withdrawn: str | None
    """Why the weights of this version should not be used: an earlier version with the same was yanked."""
    templates: str
    """SHA-256 over the templates."""


def facts(family: Family, release: Release, repo_id: str) -> dict[str, Any]:
    """What a card states that no measurement gives; part of its identity. How somebody typed the command is not."""
    return {
        "repo_id": repo_id,
        "family": {"title": family.title, "summary": family.summary},
        "siblings": [one.model_dump(exclude_none=True) for one in catalog.siblings(family, release)],
        "release": release.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_SHOWN),
    }


def context(
    family: Family,
    release: Release,
    repo_id: str,
    command: str,
    build: Build,
    history: Sequence[Past],
    templates: str | None = None,
    images: Mapping[str, bytes] | None = None,
) -> Context:
    """Gather what the templates see.

    Args:
        family: The family.
        release: The release.
        repo_id: Where it goes.
        command: The command line that makes it again.
        build: The conversion and its results.
        history: All versions, the oldest first; the last is the one that is rendered.
        templates: Digest over the templates; None for hubpush's own.
        images: The pictures of the card, where they are made already.
    """
    owner, tag = repo_id.partition("/")[0], f"v{history[-1].version}"
    parity = build.parity
    references = parity["references"] if parity is not None else []
    graph = [r for r in references if r["reference"] == "graph"]
    declared = [r["worst"] for r in graph if r["as_published"] and r["dtype"] == "float64"]
    others = [(r["worst"], r["activation"]) for r in graph if not r["as_published"]]
    batches = build.samples["batches"] if build.samples is not None else []
    architecture = ARCHITECTURES[build.model.architecture]
    layout = next((one for one in architecture.layouts if one.name == build.model.layout), None)
    siblings = tuple(
        {**one.model_dump(), "repo_id": f"{owner}/{one.name}"} for one in catalog.siblings(family, release)
    )
    image = (pictures(build) if images is None else images).get(CHART)
    shown = build.usage or usage.snippets(build.model, release.language)
    return Context(
        repo_id=repo_id,
        tag=tag,
        pipeline_tag=pipeline_tag(build),
        is_copy=release.official_repo is not None and release.official_repo.partition("/")[0] != owner,
        release=release.model_dump(mode="json"),
        activation_source=release.activation_source or (layout or architecture).activation_source,
        forward_source=(layout or architecture).forward_source,
        part=architecture.part,
        heads=tuple(architecture.head_words.get(head, head) for head in build.model.heads),
        lacks_pooler="pooler" in architecture.groups and "pooler" not in build.model.heads,
        family={"title": family.title, "summary": family.summary},
        siblings=siblings,
        grid=_grid(siblings),
        model=build.model.model_dump(mode="json"),
        config=build.model.config,
        source=build.source.model_dump(mode="json"),
        files={name: file.model_dump(mode="json") for name, file in build.files.items()},
        build={"date": build.date, "hubpush": build.hubpush, "nonfinite": build.nonfinite},
        parity=parity,
        verdict=build.verdict,
        worst=declared[0] if declared else None,
        gap={**(others[0][0] or {}), "activation": others[0][1]} if others and build.verdict in _GOOD else None,
        outputs=_outputs(graph),
        references=tuple(map(_reference, references)),
        others=_others(references),
        divergences=_divergences(release, references),
        chart=CHART if image is not None else None,
        chart_text=_chart_text(parity) if parity is not None and image is not None else "",
        chart_file=None if image is None else {"sha256": hashlib.sha256(image).hexdigest(), "size": len(image)},
        probe_count=sum(len(next(iter(batch["inputs"].values()), [])) for batch in batches),
        snippets=tuple(usage.filled(one, repo_id, tag).model_dump() for one in shown),
        more_snippets=tuple(
            usage.filled(one, repo_id, tag).model_dump() for one in usage.others(build.model, release.language)
        ),
        history=tuple(past.model_dump() for past in history),
        command=command,
        source_is_public=catalog.is_allowed_url(build.source.name),
        withdrawn=withdrawn(history),
        templates=templates or templating.sha256({}),
    )


def _grid(siblings: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Siblings by layers and hidden size; None unless every one has a place of its own."""
    places = {(one["layers"], one["hidden"]): one for one in siblings}
    layers, hidden = sorted({a for a, _ in places if a}), sorted({b for _, b in places if b})
    if len(siblings) < _GRID or len(places) < len(siblings) or min(len(layers), len(hidden)) == 1:
        return None
    if any(None in place for place in places):
        return None
    rows = [{"layers": a, "cells": [places.get((a, b)) for b in hidden]} for a in layers]
    return {"columns": hidden, "rows": rows}


def _outputs(graph: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The outputs in both precisions, a row each. Of the keys of the layers those alone that say something."""
    exact, single = (
        next((r for r in graph if r["as_published"] and r["dtype"] == dtype), None) for dtype in ("float64", "float32")
    )
    if exact is None:
        return ()
    in_single = {one["output"]: one for one in single["outputs"]} if single is not None else {}
    rows = []
    for one in exact["outputs"]:
        both = [one, *([in_single[one["output"]]] if one["output"] in in_single else [])]
        fails = any(found["verdict"] == "fail" for found in both)
        is_worst = one["output"] in {r["worst"]["output"] for r in (exact, single) if r and r["worst"]}
        if not one["output"].endswith(" keys") or fails or is_worst:
            rows.append(
                {
                    "output": one["output"],
                    "shape": one["shape"],
                    "float64": one,
                    "float32": in_single.get(one["output"]),
                    "verdict": "fail" if fails else "pass",
                }
            )
    return tuple(rows)


def _reference(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": _name(one["reference"], one.get("source")),
        "is_graph": one["reference"] == "graph",
        "dtype": one["dtype"],
        "activation": one["activation"],
        "worst": one["worst"],
        "weights": one.get("weights"),
        "verdict": one["verdict"],
    }


def _name(reference: str, source: str | None) -> str:
    """A reference for people, from its name and what it is."""
    return " ".join(filter(None, [_NAMES.get(reference, reference), source]))


def _others(references: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    names = (
        one["reference"] + (f"={one['source']}" if one.get("source") else "")
        for one in references
        if one["reference"] != "graph"
    )
    return tuple(dict.fromkeys(names))


def _divergences(release: Release, references: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """What is known to differ, with what was measured of it."""
    measured: dict[tuple[str, str, str], str] = {}
    for one in references:
        for known in one.get("declared", ()):
            # KerasHub is run in two precisions, which show one difference.
            measured.setdefault(
                (known["reference"], known["kind"], known["why"]),
                one.get("differences", {}).get(known["kind"], "nothing of it was found"),
            )
    every = [one.model_dump() for one in release.divergences]
    told = {(one["reference"], one["kind"], one["why"]) for one in every}
    every += [
        {"reference": reference, "kind": kind, "why": why, "link": None}
        for reference, kind, why in measured
        if (reference, kind, why) not in told
    ]
    shown = []
    for one in every:
        reference, _, source = one["reference"].partition("=")
        if reference == "repo" and not source:
            source = release.official_repo or ""
        found = measured.get((one["reference"], one["kind"], one["why"]))
        shown.append({**one, "reference": _name(reference, source), "measured": found})
    return tuple(shown)


def _chart_text(parity: Mapping[str, Any]) -> str:
    """What the picture shows; it leaves the keys out, which may hold the largest difference."""
    has_keys = any(one["output"].endswith(" keys") for r in parity["references"] for one in r["outputs"])
    return chart.alt_text(parity) + (" Attention keys are not drawn." if has_keys else "")


def withdrawn(history: Sequence[Past]) -> str | None:
    """Why a version with the same converted files was yanked."""
    same = history[-1].conversion
    return next((past.yanked for past in reversed(history) if past.yanked and past.conversion == same), None)


def pictures(build: Build) -> dict[str, bytes]:
    """The pictures of a card, by their paths in the repo: the differences layer by layer, where they were measured."""
    return {CHART: chart.layers_png(build.parity)} if build.parity is not None and _has_chart(build) else {}


def _has_chart(build: Build) -> bool:
    return build.parity is not None and any(r["reference"] == "graph" for r in build.parity["references"])


def pipeline_tag(build: Build) -> str:
    """The Hub's task for the class that was published."""
    classes = ARCHITECTURES[build.model.architecture].classes
    return next(c.pipeline_tag for c in classes if c.name == build.model.model_class)


def front_matter(release: Release, architecture: str, task: str) -> dict[str, Any]:
    """The card's metadata: only what is known, in the order in which the Hub documents it."""
    model_type = ARCHITECTURES[architecture].model_type
    data: dict[str, Any] = {
        "language": list(release.language),
        "license": release.license,
        "license_name": release.license_name,
        "license_link": release.license_link,
        "library_name": "transformers",
        "pipeline_tag": task,
        "tags": list(dict.fromkeys([model_type, *release.tags, "tensorflow-conversion", "hubpush"])),
        "datasets": list(release.datasets),
    }
    if task == "fill-mask" and "en" in release.language:
        data["widget"] = [{"text": "Paris is the [MASK] of France.", "example_title": "Capital"}]
    return {key: value for key, value in data.items() if value not in (None, [])}


def check_facts(release: Release) -> None:
    """Check the metadata that a release will have, before anything is fetched for it.

    Raises:
        CardError: The Hub would refuse it.
    """
    # What is not known before the checkpoint is opened is the same for every release, and sound.
    table = next(a for a in ARCHITECTURES.values() if release.architecture in (None, a.model_type))
    matter = front_matter(release, table.name, release.task or table.classes[0].pipeline_tag)
    problems = [p for p in metadata.check_metadata(matter) if p.severity == "error"]
    if problems:
        lines = "".join(f"\n  {p.message}; {p.fix}" for p in problems)
        raise CardError(
            f"the Hub would refuse the card:{lines}",
            hint=CORRECT,
        )


@dataclass(frozen=True)
class Card:
    """A rendered card.

    Attributes:
        text: The whole README.md.
        parts: Digests of its generated parts, by name; see `generated`.
        words: Texts that a person wrote around them, which stay.
    """

    text: str
    parts: Mapping[str, str]
    words: tuple[str, ...]


def values(context: Context) -> dict[str, Any]:
    """What the templates see of a context: plain values, the longest texts cut."""
    shown: dict[str, Any] = _shortened(context.model_dump(mode="json"))
    return shown


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        value = value.encode("utf-8", "replace").decode()
        return value if len(value) <= _MAX_VALUE else value[: _MAX_VALUE - 1] + "…"
    if isinstance(value, dict):
        return {_shortened(key): _shortened(inner) for key, inner in value.items()}
    return [_shortened(inner) for inner in value] if isinstance(value, list) else value


def render(
    context: Context,
    existing: str | None = None,
    kept: Collection[str] = (),
    ours: Collection[str] = (),
    templates: templating.Own | None = None,
) -> Card:
    """The whole README.md.

    Args:
        context: What the templates see.
        existing: The README.md that stands on the Hub; text in it outside of the generated parts is kept.
        kept: Generated parts that stay as they stand in it, or that stay removed.
        ours: Names of the parts that an earlier version generated.
        templates: A person's templates, by name.

    Raises:
        CardError: A template is wrong, or the metadata is.
    """
    rendered = templating.render(values(context), templates or {})
    regions = {}
    for name, text in rendered.items():
        if text:
            # A text from a family file or a manifest must not end a region: what follows would count as a person's.
            tidy = text.replace("<!-- hubpush:", "&lt;!-- hubpush:")
            regions[name] = f"<!-- hubpush:begin {name} -->\n{tidy}\n<!-- hubpush:end {name} -->"
    existing = _lines(existing) if existing is not None else None
    yaml_there, body_there = metadata.split_front_matter(existing or "")
    there = {name: body_there[start:end] for name, start, end in _regions(body_there)}
    regions = {name: there.get(name, "") if name in kept else region for name, region in regions.items()}
    regions |= {name: there[name] for name in kept if name in there}
    names = {*rendered, *ours}
    body = merge({name: region for name, region in regions.items() if region}, existing, names)
    matter = front_matter(Release.model_validate(context.release), context.model["architecture"], context.pipeline_tag)
    yaml = (yaml_there or "") if "front matter" in kept else metadata.write_front_matter(matter)
    text = f"---\n{yaml.rstrip()}\n---\n\n{body}\n"
    if len(text) > _MAX_CARD:
        raise CardError(f"the card has {len(text):,} characters", hint="shorten what was written around its parts")
    problems = [p for p in metadata.check_card(text) if p.severity == "error"]
    if problems:
        lines = "".join(f"\n  {p.message}; {p.fix}" for p in problems)
        raise CardError(
            f"the Hub would refuse the card:{lines}",
            hint=CORRECT,
        )
    parts = {name: digest for name, digest in generated(text).items() if name in {"front matter", *names}}
    return Card(text, parts, tuple(words(existing, names)) if existing is not None else ())


def words(text: str, ours: Collection[str]) -> list[str]:
    """Texts in a card that no version generated: a person wrote them."""
    return [one for texts in _around(text, ours).values() for one in texts if one.strip()]


def merge(regions: Mapping[str, str], existing: str | None, ours: Collection[str]) -> str:
    """Generated regions, in order, with a person's text kept behind the region that it stood behind.

    Text that stood before the first region, or in a card without markers, goes to the end: the generated title and
    verdict come first. Regions of names that are not `ours` are a person's text; of ours that lost their other end the
    markers go, since they would be taken for the begin or the end of a new one.
    """
    kept = _around(existing, ours) if existing is not None else {}
    parts: list[str] = []
    for name, region in regions.items():
        parts += [region, *(text for text in kept.pop(name, []) if text.strip())]
    parts += [text for texts in kept.values() for text in texts if text.strip()]
    return "\n\n".join(parts)


def _around(text: str, ours: Collection[str]) -> dict[str | None, list[str]]:
    """A person's texts by the region that they stand behind; None is the begin of the card."""
    stray = re.compile(rf"<!-- hubpush:(?:begin|end) (?:{'|'.join(map(re.escape, ours))}) -->\n?")
    _, body = metadata.split_front_matter(text)
    kept: dict[str | None, list[str]] = {}
    behind, position = None, 0
    for name, start, end in _regions(body):
        if name not in ours:
            continue
        kept.setdefault(behind, []).append(stray.sub("", body[position:start]).strip("\n"))
        behind, position = name, end
    kept.setdefault(behind, []).append(stray.sub("", body[position:]).strip("\n"))
    return kept


def _lines(text: str) -> str:
    """A text with the line ends that hubpush writes: an editor that writes others changes no word."""
    return text.replace("\r\n", "\n")


def _regions(body: str) -> Iterator[tuple[str, int, int]]:
    """The generated parts of a card in order: name, begin and end. A marker without its other end is none."""
    ends: dict[str, list[int]] = {}
    for found in _END.finditer(body):
        ends.setdefault(found[1], []).append(found.start())
    position = 0
    for found in _BEGIN.finditer(body):
        name, places = found[1], ends.get(found[1], [])
        at = bisect.bisect_left(places, found.end())
        if found.start() >= position and at < len(places):
            position = places[at] + len(f"\n<!-- hubpush:end {name} -->")
            yield name, found.start(), position


def generated(text: str) -> dict[str, str]:
    """Digests of the generated parts of a card: `front matter` and every region; a change in them is drift.

    A region that is there twice is no more what it was.
    """
    yaml, body = metadata.split_front_matter(_lines(text))
    parts = {"front matter": yaml or ""}
    for name, start, end in _regions(body):
        parts[name] = parts.get(name, "") + body[start:end]
    return {name: hashlib.sha256(part.encode()).hexdigest() for name, part in parts.items()}
