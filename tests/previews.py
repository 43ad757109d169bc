"""Previews of the shipped family, from recorded results and without weights: for pages, and for pictures of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hubpush import catalog, planning, preview
from hubpush.catalog import Family, Release
from hubpush.manifest import Build
from hubpush.preview import Collection, Preview
from hubpush.remote import Remote
from tests import records

NOTHING = Remote(exists=False)
COMMAND = "hubpush convert-and-upload --org acme"


def family() -> Family:
    """The 24 miniatures."""
    return catalog.load(catalog.locate("bert-miniatures"))[0]


def build(folder: Path, release: Release, state: str = "pass") -> Build:
    """The record of a conversion of that release, in a state: `pass`, `known-divergence`, `fail`, `not-run`.

    The shapes are the release's own, the results are made up.
    """
    layers, hidden, heads = (int(number) for number in re.findall(r"(?<=[LHA]-)\d+", release.name))
    words, places = 30522, 512
    encoder = (words + places + 4) * hidden + layers * (12 * hidden**2 + 13 * hidden) + hidden**2 + hidden
    parameters = encoder + hidden**2 + 3 * hidden + words + 2 * hidden + 2
    config = {**records.CONFIG, "num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads}
    config |= {"intermediate_size": 4 * hidden, "vocab_size": words, "max_position_embeddings": places}
    parity = records.report(known=state == "known-divergence", wrong=state == "fail", layers=layers)
    made = records.build(folder, parity=None if state == "not-run" else parity, parameters=parameters, config=config)
    weights = made.files["model.safetensors"].model_copy(update={"size": parameters * 4})
    return made.model_copy(update={"files": {**made.files, "model.safetensors": weights}})


def one(
    folder: Path, release: Release | None = None, state: str = "pass", made: Callable[[Build], Build] = lambda b: b
) -> Preview:
    """The preview of a first release."""
    whole = family()
    release = release or whole.releases[0]
    record = made(build(folder, release, state))
    wanted = planning.Candidate(whole, release, f"acme/{release.name}", COMMAND, record, folder)
    return preview.of_plan(planning.plan(NOTHING, wanted, None, "2026-11-22"), NOTHING, release.name)


def all_of(folder: Path, count: int = 24) -> tuple[list[Preview], Collection]:
    """The family in every state: those to create, one that a person edited, some that stand already."""
    shown = []
    for number, release in enumerate(family().releases[:count]):
        state = {3: "not-run", 5: "fail"}.get(number, "known-divergence" if "H-768" in release.name else "pass")
        found = one(folder, release, state)
        if number % 3 == 1:
            found = replace(found, action="unchanged", bump="", reason="nothing to do", changes=(), before=found.card)
        if number == 2:
            before = found.card.replace("## Usage", "## How to use it")
            found = replace(found, action="update", bump="patch", before=before, words=("Ask Ann, who made this.\n",))
        shown.append(found)
    notes = tuple((found.repo_id, f"v{found.version} · {found.verdict}") for found in shown)
    return shown, Collection("BERT miniatures", "24 small BERTs with a proof each.", "to be created", notes)
