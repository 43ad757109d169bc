"""The card of a folder that stands already: of a conversion, or of a version that was published."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hubpush import amend, card, catalog, job, manifest, planning, proof, templating
from hubpush.catalog import Family, Release
from hubpush.errors import DriftError, UsageError
from hubpush.manifest import NAME, README, Build, Manifest, Past
from hubpush.planning import Candidate
from hubpush.preview import Preview, of_plan, of_standing
from hubpush.remote import Remote


@dataclass(frozen=True)
class Document:
    """A card, and what it was made from.

    Attributes:
        candidate: What would stand on the Hub.
        published: The manifest, where the folder is a published version.
        context: What the templates saw.
        text: README.md.
        before: README.md as it was found in the folder.
        words: Texts in it that a person wrote.
        pictures: The pictures of the card, by their paths.
    """

    candidate: Candidate
    published: Manifest | None
    context: card.Context
    text: str
    before: str | None
    words: tuple[str, ...]
    pictures: Mapping[str, bytes]


def of_folder(
    folder: Path,
    repo_id: str | None,
    family: str | None,
    model: str | None,
    said: Mapping[str, Any],
    templates: Path | None,
) -> Document:
    """Render the card of a folder from what its hubpush.json records. Writes nothing.

    Args:
        folder: A folder with a hubpush.json: `hubpush convert` makes one, and every published repo has one.
        repo_id: Where it goes; None takes what is recorded.
        family: The family whose facts are meant, for a conversion that was not published.
        model: The release in it.
        said: Facts by the keys of a `Release`, likewise.
        templates: A directory of templates; None takes the recorded or the family's ones.

    Raises:
        DriftError: There is no record, or it cannot be read.
        UsageError: Nothing says what the model is called, or its licence.
        CatalogError: There is no such family or release.
        CardError: The card cannot be rendered.
    """
    path = folder / NAME
    build = manifest.read_record(folder)
    if build is None:
        raise DriftError(
            f"{folder} has no {NAME}: nothing is recorded of it", hint=f"hubpush convert SOURCE {folder} makes one"
        )
    text = path.read_text(encoding="utf-8", errors="replace")
    published = manifest.parse(text, str(folder)) if manifest.is_published(text) else None
    if published is not None and family is None and not said:
        wanted = _published(published, repo_id)
        history: tuple[Past, ...] = published.history
    else:
        wanted = _converted(build, repo_id, family, model, said)
        first = Past(version="1.0.0", date=build.date, change="first release", verdict=build.verdict)
        history = (first.model_copy(update={"conversion": build.conversion}),)
    if templates is not None:
        wanted = replace(wanted, templates=templating.read(templates))
    images = card.pictures(build)
    context = card.context(
        *(wanted.family, wanted.release, wanted.repo_id, wanted.command, build, history),
        *(templating.sha256(wanted.templates), images),
    )
    readme = folder / README
    existing = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else None
    kept, ours = (published.kept, set(published.card_parts)) if published is not None else ((), set())
    made = card.render(context, existing, kept, ours, wanted.templates)
    return Document(wanted, published, context, made.text, existing, made.words, images)


def write(document: Document, folder: Path) -> None:
    """Write README.md and the pictures of a card into its folder, each whole or not at all.

    Raises:
        OSError: The folder cannot be written to.
    """
    for path, content in {**document.pictures, README: document.text.encode()}.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own, and put in the place of a link: in a cache what it leads to is shared.
        handle, partial = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            Path(partial).chmod(0o644)
            os.replace(partial, target)  # noqa: PTH105 - replaces on every platform
        finally:
            Path(partial).unlink(missing_ok=True)


def preview(document: Document, today: str) -> Preview:
    """What the page of the folder shows: as it was published, or as a first push to an empty repo would make it."""
    wanted = document.candidate
    name = wanted.release.name
    if document.published is not None:
        shown = of_standing(document.published, document.text, name, wanted.repo_id)
        if document.text == document.before:
            return shown
        return replace(shown, action="update", reason="the card was rendered anew", before=document.before)
    nothing = Remote(exists=False, is_reachable=False)
    step = planning.plan(nothing, wanted, None, today)
    generated = {**step.generated, README: document.text.encode()}
    shown = of_plan(replace(step, generated=generated, words=document.words), nothing, name)
    return replace(shown, reason="a first release; no Hub was asked")


def _published(published: Manifest, repo_id: str | None) -> Candidate:
    recorded = published.facts.repo_id if published.facts is not None else None
    if (repo_id or recorded) is None:
        raise UsageError("--repo-id is missing", hint="the folder does not say where it was published")
    return amend.restored(published, str(repo_id or recorded))


def _converted(
    build: Build, repo_id: str | None, family: str | None, model: str | None, said: Mapping[str, Any]
) -> Candidate:
    """What a conversion is, by a family file or by what a person says of it."""
    if family is not None:
        path = catalog.locate(family)
        loaded, _ = catalog.load(path)
        releases = catalog.select(loaded, [str(model)])
        if len(releases) != 1:
            raise UsageError(f"--model {model} means {len(releases)} releases", hint="name one of them")
        owner = repo_id.partition("/")[0] if repo_id is not None else "me"
        asked = ["--family", path.name if path == Path(family) else family, "--org", owner, releases[0].name]
        own = {} if loaded.templates is None else templating.read(path.parent / loaded.templates)
        where = repo_id or f"{owner}/{releases[0].name}"
        return _candidate(loaded, releases[0].model_copy(update=dict(said)), where, asked, {}, build, own)
    missing = [name for name, there in (("--repo-id", repo_id), ("--license", said.get("license"))) if not there]
    if missing:
        raise UsageError(
            f"the folder does not say {' and '.join(missing)}",
            hint="give them, or name the release: --family NAME --model NAME",
        )
    recorded = proof.release_of(build, **said)
    facts = recorded.model_dump(exclude_defaults=True, exclude={"name", "title", "source"})
    alone = catalog.single(str(repo_id), build.source.name, **{**facts, **said})
    asked = ["--source", build.source.name, "--repo-id", str(repo_id)]
    return _candidate(alone, alone.releases[0], str(repo_id), asked, said, build, {})


def _candidate(
    family: Family,
    release: Release,
    repo_id: str,
    asked: list[str],
    said: Mapping[str, Any],
    build: Build,
    own: Mapping[str, str],
) -> Candidate:
    return Candidate(family, release, repo_id, job.command_of(asked, said), build, None, templates=own)
