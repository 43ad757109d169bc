"""Recorded results to README.md.

A card is rendered from a frozen `Context` alone: the release's facts and what the manifest recorded. Nothing is
measured here, so rendering the same record again gives the same bytes. The sections are files under templates/sections,
each rendered alone and dropped when empty; they stand between markers, and text that a person wrote outside the markers
is kept when the card is rendered anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hubpush import catalog, chart, metadata
from hubpush.architectures import ARCHITECTURES
from hubpush.catalog import Family, Release
from hubpush.errors import CardError
from hubpush.manifest import Build, Past

CHART = "parity/layers.png"
"""Where the picture of the differences stands in a repo."""

_GOOD = ("pass", "known-divergence")
_MAX_CARD = 1 << 20
# What a family file says that no card shows: checked, or part of the other identity.
_NOT_SHOWN = {
    *("source", "config_file", "vocab_file", "config", "data_sha256", "vocab_lines"),
    *("architecture", "part", "task", "labels", "averaged", "cased", "activation", "tfhub", "divergences"),
}
_HEADS = {
    "mlm": "masked words",
    "nsp": "next sentence",
    "rtd": "replaced tokens",
    "squad": "start and end of an answer",
}
_REGION = re.compile(r"<!-- hubpush:begin (?P<name>[a-z-]+) -->\n.*?\n<!-- hubpush:end (?P=name) -->", flags=re.DOTALL)


@dataclass(frozen=True)
class Context:
    """Everything a template sees.

    Attributes:
        repo_id: Where the model is published.
        tag: The version's tag.
        pipeline_tag: The Hub's task.
        is_copy: Whether the authors are known to publish their own conversion, and this repo is not theirs.
        release: The release's facts, as the family file gives them.
        activation_source: Where it is known from which GELU form the released code computes.
        forward_source: What the forward pass that is compared with was written after.
        part: Which of the models that were trained together; None for most.
        heads: The parts beyond the encoder, in words.
        lacks_pooler: Whether transformers' bare encoder makes a pooler that the checkpoint does not have.
        family: `title` and `summary` of the family.
        siblings: `name`, `title`, `repo_id` of every release of the family.
        model: Class, heads, parameters, casing, activation, what was dropped and assumed.
        config: The published config.json.
        source: Name, digest, size and files of the source.
        files: The converted files with size and digests.
        build: `date` and `hubpush` of the conversion, and whether `nonfinite` weights were allowed.
        parity: The recorded parity report, or None.
        verdict: `pass`, `known-divergence`, `fail` or `not-run`.
        worst: The float64 output with the largest difference, or None.
        gap: The worst output against the other GELU form, with its `activation`; None unless parity passed.
        others: The recorded comparisons with references other than the original graph.
        chart: Path of the picture of the differences in the repo, or None.
        chart_text: What it shows, in words.
        probe_count: Number of probe texts.
        history: All versions up to this one, the oldest first.
        command: The command line that makes this again.
        source_is_public: Whether the source is a URL, which anybody can fetch.
        withdrawn: Why the weights of this version should not be used: an earlier version with the same was yanked.
    """

    repo_id: str
    tag: str
    pipeline_tag: str
    is_copy: bool
    release: Mapping[str, Any]
    activation_source: str
    forward_source: str
    part: str | None
    heads: tuple[str, ...]
    lacks_pooler: bool
    family: Mapping[str, str]
    siblings: tuple[Mapping[str, str], ...]
    model: Mapping[str, Any]
    config: Mapping[str, Any]
    source: Mapping[str, Any]
    files: Mapping[str, Any]
    build: Mapping[str, Any]
    parity: Mapping[str, Any] | None
    verdict: str
    worst: Mapping[str, Any] | None
    gap: Mapping[str, Any] | None
    others: tuple[Mapping[str, Any], ...]
    chart: str | None
    chart_text: str
    probe_count: int
    history: tuple[Mapping[str, str], ...]
    command: str
    source_is_public: bool
    withdrawn: str | None


def facts(family: Family, release: Release, repo_id: str) -> dict[str, Any]:
    """What a card states that no measurement gives; part of its identity. How somebody typed the command is not."""
    return {
        "repo_id": repo_id,
        "family": {"title": family.title, "summary": family.summary},
        "siblings": [[r.name, r.title] for r in family.releases],
        "release": release.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_SHOWN),
    }


def context(
    family: Family, release: Release, repo_id: str, command: str, build: Build, history: tuple[Past, ...]
) -> Context:
    """Gather what the templates see; the last entry of `history` is the version that is rendered."""
    owner = repo_id.partition("/")[0]
    parity = build.parity
    references = parity["references"] if parity is not None else []
    graph = [r for r in references if r["reference"] == "graph"]
    declared = [r["worst"] for r in graph if r["as_published"] and r["dtype"] == "float64"]
    others = [(r["worst"], r["activation"]) for r in graph if not r["as_published"]]
    batches = build.samples["batches"] if build.samples is not None else []
    architecture = ARCHITECTURES[build.model.architecture]
    layout = next((one for one in architecture.layouts if one.name == build.model.layout), None)
    known_from = release.activation_source or (layout or architecture).activation_source
    return Context(
        repo_id=repo_id,
        tag=f"v{history[-1].version}",
        pipeline_tag=pipeline_tag(build),
        is_copy=release.official_repo is not None and release.official_repo.partition("/")[0] != owner,
        release=release.model_dump(mode="json"),
        activation_source=known_from,
        forward_source=(layout or architecture).forward_source,
        part=architecture.part,
        heads=tuple(_HEADS.get(head, head) for head in build.model.heads),
        lacks_pooler="pooler" in architecture.groups and "pooler" not in build.model.heads,
        family={"title": family.title, "summary": family.summary},
        siblings=tuple({"name": r.name, "title": r.title, "repo_id": f"{owner}/{r.name}"} for r in family.releases),
        model=build.model.model_dump(mode="json"),
        config=build.model.config,
        source=build.source.model_dump(mode="json"),
        files={name: file.model_dump(mode="json") for name, file in build.files.items()},
        build={"date": build.date, "hubpush": build.hubpush, "nonfinite": build.nonfinite},
        parity=parity,
        verdict=build.verdict,
        worst=declared[0] if declared else None,
        gap={**(others[0][0] or {}), "activation": others[0][1]} if others and build.verdict in _GOOD else None,
        others=tuple(r for r in references if r["reference"] != "graph"),
        chart=CHART if _has_chart(build) else None,
        chart_text=chart.alt_text(parity) if parity is not None and _has_chart(build) else "",
        probe_count=sum(len(next(iter(batch["inputs"].values()), [])) for batch in batches),
        history=tuple(past.model_dump() for past in history),
        command=command,
        source_is_public=catalog.is_allowed_url(build.source.name),
        withdrawn=_withdrawn(history),
    )


def _withdrawn(history: tuple[Past, ...]) -> str | None:
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
            hint="correct it in the family file, or in --license or --language",
        )


def sections(context: Context) -> list[str]:
    """Names of the sections of a card, in order; one that renders to nothing is left out of it."""
    return _render("card.md.jinja", _values(context)).split()


def _values(context: Context) -> dict[str, Any]:
    return {field.name: getattr(context, field.name) for field in dataclasses.fields(context)}


def render(
    context: Context, existing: str | None = None, kept: Collection[str] = (), ours: Collection[str] = ()
) -> str:
    """The whole README.md.

    Args:
        context: What the templates see.
        existing: The README.md that stands on the Hub; text in it outside of the generated parts is kept.
        kept: Generated parts that stay as they stand in it, or that stay removed.
        ours: Names of the parts that an earlier version generated.

    Raises:
        CardError: A template is wrong, or the metadata is.
    """
    values, names = _values(context), sections(context)
    regions = {}
    for name in names:
        text = _render(f"sections/{name}.md.jinja", values).strip()
        if text:
            # A text from a family file or a manifest must not end a region: what follows would count as a person's.
            tidy = re.sub(r"\n{3,}", "\n\n", text).replace("<!-- hubpush:", "&lt;!-- hubpush:")
            regions[name] = f"<!-- hubpush:begin {name} -->\n{tidy}\n<!-- hubpush:end {name} -->"
    yaml_there, body_there = metadata.split_front_matter(existing or "")
    there = {found["name"]: found.group() for found in _REGION.finditer(body_there)}
    regions = {name: there.get(name, "") if name in kept else region for name, region in regions.items()}
    regions |= {name: there[name] for name in kept if name in there}
    body = merge({name: region for name, region in regions.items() if region}, existing, {*names, *ours})
    matter = front_matter(Release.model_validate(context.release), context.model["architecture"], context.pipeline_tag)
    yaml = (yaml_there or "") if "front matter" in kept else metadata.write_front_matter(matter)
    text = f"---\n{yaml.rstrip()}\n---\n\n{body}\n"
    if len(text) > _MAX_CARD:
        raise CardError(f"the card has {len(text):,} characters", hint="a template loops; a card has about 8,000")
    problems = [p for p in metadata.check_card(text) if p.severity == "error"]
    if problems:
        lines = "".join(f"\n  {p.message}; {p.fix}" for p in problems)
        raise CardError(f"the Hub would refuse the card:{lines}", hint="correct the family file")
    return text


def merge(regions: Mapping[str, str], existing: str | None, ours: Collection[str]) -> str:
    """Generated regions, in order, with a person's text kept behind the region that it stood behind.

    Text that stood before the first region, or in a card without markers, goes to the end: the generated title and
    verdict come first. Regions of names that are not `ours` are a person's text; of ours that lost their other end the
    markers go, since they would be taken for the begin or the end of a new one.
    """
    stray = re.compile(rf"<!-- hubpush:(?:begin|end) (?:{'|'.join(map(re.escape, ours))}) -->\n?")
    kept: dict[str | None, list[str]] = {}
    if existing is not None:
        _, body = metadata.split_front_matter(existing)
        behind, position = None, 0
        for found in _REGION.finditer(body):
            if found["name"] not in ours:
                continue
            kept.setdefault(behind, []).append(stray.sub("", body[position : found.start()]).strip("\n"))
            behind, position = found["name"], found.end()
        kept.setdefault(behind, []).append(stray.sub("", body[position:]).strip("\n"))
    parts: list[str] = []
    for name, region in regions.items():
        parts += [region, *(text for text in kept.pop(name, []) if text.strip())]
    parts += [text for texts in kept.values() for text in texts if text.strip()]
    return "\n\n".join(parts)


def generated(text: str) -> dict[str, str]:
    """Digests of the generated parts of a card: `front matter` and every region; a change in them is drift.

    A region that is there twice is no more what it was.
    """
    yaml, body = metadata.split_front_matter(text)
    parts = {"front matter": yaml or ""}
    for found in _REGION.finditer(body):
        parts[found["name"]] = parts.get(found["name"], "") + found.group()
    return {name: hashlib.sha256(part.encode()).hexdigest() for name, part in parts.items()}


@cache
def templates_sha256() -> str:
    """Digest over the template files, by their names."""
    digest = hashlib.sha256()
    root = _templates()
    for path in sorted(root.rglob("*.jinja")):
        # Checkouts with other line ends hold the same templates.
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        digest.update(f"{path.relative_to(root).as_posix()}\0{text}\0".encode())
    return digest.hexdigest()


@cache
def _templates() -> Path:
    """The templates: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    return next(path for path in (package / "templates", package.parent / "templates") if path.is_dir())


@cache
def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.FileSystemLoader(_templates()),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        newline_sequence="\n",
    )
    environment.filters |= {
        "cell": _cell,
        "prose": _prose,
        "sci": _sci,
        "commas": _commas,
        "size": _size,
        "verdict": _verdict,
    }
    return environment


def _render(name: str, values: Mapping[str, Any]) -> str:
    try:
        return _environment().get_template(name).render(values)
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None) or _line(error, name)
        where = f"templates/{name}" + (f", line {line}" if line else "")
        raise CardError(f"{where}: {error}", hint="correct the template; nothing was pushed") from None


def _line(error: BaseException, name: str) -> int | None:
    """The template's line in a traceback: Jinja gives its compiled code the template's own line numbers."""
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(name):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _cell(value: object) -> str:
    """Text from outside, made harmless in a table cell or a line of Markdown."""
    text = re.sub(r"\s+", " ", str(value)).strip()
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # An underscore within a word stays one; at its edge it would begin or end emphasis.
    return re.sub(r"([\\`*\[\]|{}~]|(?<!\w)_|_(?!\w))", r"\\\1", text)


def _prose(value: object) -> str:
    """Text from outside in a paragraph of its own: as a cell, but what stands between backticks is code."""
    parts = re.split(r"(`[^`|<]*`)", re.sub(r"\s+", " ", str(value)))
    for n, part in enumerate(parts):
        if n % 2 == 0:
            inner = part.strip()
            parts[n] = part.replace(inner, _cell(inner)) if inner else part
    return "".join(parts).strip()


def _sci(value: float | None) -> str:
    if value is None or value == 0:
        return "–" if value is None else "0"
    return "not a number" if value > 1e300 else f"{value:.1e}"  # what the report writes where JSON has no word


def _commas(value: int) -> str:
    return f"{value:,}"


def _size(value: int) -> str:
    return f"{value / 1e6:,.1f} MB" if value >= 100_000 else f"{value:,} bytes"


def _verdict(value: str) -> str:
    return {"pass": "✓ pass", "fail": "✗ fail", "not-run": "– not run", "known-divergence": "≈ known"}.get(value, value)
