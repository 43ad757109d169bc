"""What ought to stand in a repo, and the one commit that makes it so.

`plan` computes the next commit and its version from what stands on the Hub and what ought to, and asks no Hub. All that
a push refuses, it refuses here, before anything is sent: drift, strangers' files, what was yanked, tokens, a bump too
high.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from hubpush import __version__, card, catalog, metadata, templating
from hubpush.catalog import Family, Release
from hubpush.errors import CardError, DriftError, holds_token
from hubpush.manifest import NAME, README, Build, Facts, File, Inputs, Manifest, Past, card_inputs, describe_bytes
from hubpush.remote import TITLE, Proposal, Remote, part_of, read, stands

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TOLD = ("title", "parity", "limits", "versions")  # parts of the card that tell the verdict
_DATES = 100_000  # numbers in somebody's tags from which they count no versions
# What a release consists of, README.md aside: in a repo without a manifest these are somebody else's.
_OURS = frozenset({NAME, "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"})

Bump = Literal["first", "major", "minor", "patch"]
BUMPS: tuple[Bump, ...] = ("patch", "minor", "major")
"""From what can be overlooked to what cannot; a first release is no bump."""


@dataclass(frozen=True)
class Candidate:
    """What ought to stand on the Hub.

    Attributes:
        family: The family, for the card.
        release: The release.
        repo_id: Where.
        command: The command line that makes it again, for the card.
        build: The conversion and its results.
        folder: The converted files; None when the Hub has them already and only the card changes.
        copied_from: A commit of the repo that has the converted files, where neither a folder nor the head does.
        reason: Why, where the files do not say: a rollback, a yank.
        hold: Whether nothing is published after this until the hold is lifted.
        yanked: Versions that nobody should use, and why.
        templates: A person's templates, by name.
    """

    family: Family
    release: Release
    repo_id: str
    command: str
    build: Build
    folder: Path | None
    copied_from: str | None = None
    reason: str | None = None
    hold: bool = False
    yanked: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)

    def inputs(self) -> Inputs:
        """The identities of this candidate."""
        facts = card.facts(self.family, self.release, self.repo_id)
        return Inputs(
            weights=self.build.weights_inputs, card=card_inputs(facts, templating.sha256(self.templates), self.build)
        )

    def facts(self) -> Facts:
        """What a manifest keeps of family and release, so that the card can be rendered again without them."""
        return Facts(
            repo_id=self.repo_id,
            title=self.family.title,
            summary=self.family.summary,
            siblings=catalog.siblings(self.family, self.release),
            release=self.release.model_dump(mode="json", exclude_defaults=True, exclude=_PLACES),
            templates=self.templates,
            command=self.command,
        )


# Where files lie on somebody's machine, and what only a new proof would need.
_PLACES = {"source", "config_file", "vocab_file", "tfhub"}


@dataclass(frozen=True)
class Plan:
    """One commit, and the version it makes.

    Attributes:
        repo_id: Where.
        parent: The commit that it is made on.
        bump: What part of the version rises.
        change: Why, in words, for the versions table and the commit.
        manifest: hubpush.json as it will stand there.
        generated: README.md, hubpush.json and the pictures of the card, by their paths.
        adds: Paths that are new or change.
        deletes: Paths that an earlier version published and this one does not.
        folder: The converted files, where some of them are added.
        copied_from: The commit that has them, where no folder does.
        replaced: What somebody else changed and this puts back.
        kept: What somebody else changed and this takes over.
        before: README.md as it stands there now.
        words: Texts that a person wrote around the generated parts of it, which stay.
    """

    repo_id: str
    parent: str
    bump: Bump
    change: str
    manifest: Manifest
    generated: Mapping[str, bytes]
    adds: tuple[str, ...]
    deletes: tuple[str, ...]
    folder: Path | None = None
    copied_from: str | None = None
    replaced: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    before: str | None = None
    words: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """`X.Y.Z`."""
        return self.manifest.version

    @property
    def readme(self) -> str:
        """README.md as it will stand there."""
        return self.generated[README].decode()

    @property
    def message(self) -> str:
        """The first line of the commit, and the title of a pull request."""
        return f"{TITLE}{self.version}: {self.change}"[:200]

    @property
    def description(self) -> str:
        """The other lines of the commit."""
        build = self.manifest.build
        lines = [f"Parity: {build.verdict}", f"Source: {build.source.name} sha256 {build.source.sha256}"]
        for what, paths in (("Overwritten, changed by somebody", self.replaced), ("Kept as somebody", self.kept)):
            lines += [f"{what} since the last version: {', '.join(paths)}"] if paths else []
        return "\n".join([self.change, "", *lines, f"hubpush {__version__}"])

    def file(self, path: str) -> File:
        """What will stand at a path."""
        return describe_bytes(self.generated[path]) if path in self.generated else self.manifest.files[path]


Next = Callable[[Remote], "Plan | None"]
"""What is next in a repo, given what stands there; None when nothing is."""


def plan_ahead(
    api: HfApi,
    remote: Remote,
    candidate: Candidate,
    cache: Path,
    today: str,
    *,
    overwrite: bool = False,
    adopt: bool = False,
    max_bump: Bump = "major",
) -> Plan:
    """The plan as a push would make it now, with the text that a person wrote into the card that stands there."""
    readme = (
        read(api, candidate.repo_id, README, remote.head, cache, remote.files)
        if README in (remote.files or {})
        else None
    )
    return plan(remote, candidate, readme, today, overwrite=overwrite, adopt=adopt, max_bump=max_bump)


def plan(
    remote: Remote,
    candidate: Candidate,
    readme: str | None,
    today: str,
    *,
    overwrite: bool = False,
    adopt: bool = False,
    max_bump: Bump = "major",
) -> Plan:
    """Compute the next commit and its version. Asks no Hub, changes nothing; the small files are searched for tokens.

    Args:
        remote: What stands on the Hub.
        candidate: What ought to stand there.
        readme: Text of the README.md that stands there, if any; what a person wrote around the generated parts is kept.
        today: Date for the versions table.
        overwrite: Replace what somebody else changed.
        adopt: Take over what somebody else changed in the card.
        max_bump: The highest part of a version that may rise.

    Raises:
        DriftError: Somebody changed what hubpush published, the repo holds files that are not hubpush's, or the version
            would rise by more than it may.
        CardError: The card cannot be rendered.
    """
    old, build = remote.manifest, candidate.build
    if not overwrite:
        require_untouched(remote, candidate.repo_id, adopt=adopt)
    kept = () if overwrite else _kept(remote, candidate, readme, adopt=adopt)
    _require_not_yanked(remote, candidate)
    if not overwrite:
        _require_same_release(old, candidate)
    version, bump, change = _next_version(remote, build.files, build, adopt=adopt)
    change = candidate.reason or change
    _require_bump(candidate.repo_id, bump, version, change, max_bump)
    past = Past(version=version, date=today, change=change, verdict=build.verdict, conversion=build.conversion)
    history = tuple(
        one.model_copy(update={"yanked": candidate.yanked.get(one.version, one.yanked)})
        for one in (old.history if old else ())
    )
    images = card.pictures(build)
    context = card.context(
        *(candidate.family, candidate.release, candidate.repo_id, candidate.command, build, (*history, past)),
        *(templating.sha256(candidate.templates), images),
    )
    ours = {
        name for one in (old, *(p.manifest for p in remote.proposals)) if one is not None for name in one.card_parts
    }
    made = card.render(context, readme, kept, ours, candidate.templates)
    generated = {README: made.text.encode(), **images}
    _require_no_secret(candidate, made.text)
    files = {**build.files, **{path: describe_bytes(content) for path, content in generated.items()}}
    manifest = Manifest(
        version=version,
        family=candidate.family.name,
        release=candidate.release.name,
        inputs=candidate.inputs(),
        build=build,
        files=files,
        card_parts=made.parts,
        history=(*history, past),
        hold=candidate.hold,
        kept=kept,
        facts=candidate.facts(),
    )
    there = remote.files or {}
    if not overwrite:
        _require_no_stranger(remote, candidate.repo_id, files)
    return Plan(
        repo_id=candidate.repo_id,
        parent=remote.head,
        bump=bump,
        change=change,
        manifest=manifest,
        generated={**generated, NAME: manifest.to_json().encode()},
        adds=(*(path for path, file in files.items() if not stands(there, path, file)), NAME),
        deletes=tuple(path for path in (old.files if old else ()) if path not in files and path in there),
        folder=candidate.folder,
        copied_from=candidate.copied_from,
        replaced=_replaced(remote) if overwrite else (),
        kept=remote.drift if adopt else (),
        before=readme,
        words=made.words,
    )


def _next_version(
    remote: Remote, files: Mapping[str, File], build: Build, *, adopt: bool = False
) -> tuple[str, Bump, str]:
    """The version after the highest there is, by what changes for the people who load the model."""
    old = remote.manifest
    # Somebody's v20240115.0.0 is a date, and no version that ours have to be above.
    versions = [found for tag in remote.tags or {} if (found := numbers(tag)) and max(found) < _DATES]
    if old is not None:
        versions.append(numbers(old.tag))
    if not versions:
        return "1.0.0", "first", "first release"
    major, minor, patch = max(versions)
    before = old.build.files if old is not None else {}
    changed = [path for path, file in files.items() if path in before and before[path] != file]
    gone = [path for path in before if path not in files]
    if old is not None and changed == ["config.json"] and not gone and _labels(old.build) != _labels(build):
        return f"{major + 1}.0.0", "major", f"labels: {_labels(old.build)} → {_labels(build)}"
    if old is None or changed or gone:
        what = ", ".join([*changed, *(f"{path} (removed)" for path in gone)])
        return f"{major + 1}.0.0", "major", f"outputs can differ: {what or 'published anew'}"
    if added := [path for path in files if path not in before]:
        return f"{major}.{minor + 1}.0", "minor", f"added {', '.join(added)}"
    if remote.drift:
        what = (
            f"kept as somebody wrote it: {', '.join(remote.drift)}"
            if adopt
            else f"put back {', '.join(_replaced(remote))}"
        )
        return f"{major}.{minor}.{patch + 1}", "patch", what
    why = "parity recorded" if old.build.verdict != build.verdict else "model card"
    return f"{major}.{minor}.{patch + 1}", "patch", why


def _labels(build: Build) -> str:
    """The names of a classifier's scores, in short."""
    names = list(map(str, build.model.config.get("id2label", {}).values()))
    return ", ".join(names[:8]) + (f", … ({len(names)})" if len(names) > 8 else "") or "none"


def numbers(tag: str) -> tuple[int, ...]:
    """The numbers of a version's tag; none of another one."""
    found = re.fullmatch(r"v([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})", tag)
    return tuple(map(int, found.groups())) if found else ()


def require_untouched(remote: Remote, repo_id: str, *, adopt: bool = False) -> None:
    """Check that a push would replace nothing that somebody else made.

    Args:
        remote: What stands on the Hub.
        repo_id: The repo.
        adopt: Take over what somebody changed in the generated parts of the card.

    Raises:
        DriftError: Somebody changed what hubpush published, or the repo holds files that are not hubpush's.
    """
    manifest, files = remote.manifest, remote.files or {}
    if manifest is not None and remote.drift:
        proven = [path for path in remote.drift if not path.startswith(f"{README} (") or README not in files]
        if not adopt:
            one = open_proposal(remote)
            where = f", on main or in pull request {one.number}" if one is not None else ""
            raise DriftError(
                f"{repo_id} was changed by somebody since {manifest.tag}{where}: {', '.join(remote.drift)}",
                hint="look at the repo's history; --overwrite puts the release's own files back in a new version"
                + ("" if proven else ", --adopt keeps what was written into the card"),
            )
        if proven:
            raise DriftError(
                f"{repo_id}: changed since {manifest.tag}, so that no proof holds for it: {', '.join(proven)}",
                hint="--adopt takes over words of the card alone; --overwrite puts the release's own files back",
            )
    first = open_proposal(remote)  # of a first release: what it holds is ours
    proposed = {NAME, *first.manifest.files} if first is not None else set[str]()
    foreign = sorted(_OURS & files.keys() - proposed) if manifest is None else []
    if foreign:
        raise DriftError(
            f"{repo_id} holds files that hubpush did not put there: {', '.join(foreign)}",
            hint="publish under another name, or replace them with --overwrite",
        )


def _require_no_stranger(remote: Remote, repo_id: str, files: Mapping[str, File]) -> None:
    """Check that no file of somebody else stands where this release has its first one of that name."""
    ours = {README, *(remote.manifest.files if remote.manifest is not None else ())}
    if (one := open_proposal(remote)) is not None:
        ours |= one.manifest.files.keys()
    there = remote.files or {}
    taken = [
        path for path, file in files.items() if path in there and path not in ours and not stands(there, path, file)
    ]
    if taken:
        raise DriftError(
            f"{repo_id} holds files of somebody where this release has its own: {', '.join(taken)}",
            hint="move them on the Hub, or replace them with --overwrite",
        )


def _kept(remote: Remote, candidate: Candidate, readme: str | None, *, adopt: bool) -> tuple[str, ...]:
    """The generated parts of the card that stay as a person left them."""
    old = remote.manifest
    if old is None:
        is_ours = open_proposal(remote) is not None
        return () if is_ours else _kept_front_matter(candidate, readme, adopt=adopt)
    if old.kept and not adopt and old.build.weights_inputs != candidate.build.weights_inputs:
        raise DriftError(
            f"{candidate.repo_id}: parts of the card were kept as somebody wrote them for {old.tag}, and now there is"
            f" another conversion: {', '.join(old.kept)}",
            hint="--adopt keeps them for it too, --overwrite writes them anew",
        )
    changed = [name.removeprefix(f"{README} (").removesuffix(")") for name in remote.drift] if adopt else []
    # Words about a verdict that is another one now, or about a version that is yanked, would be false.
    is_told = bool(candidate.yanked) or old.build.verdict != candidate.build.verdict
    return tuple(name for name in dict.fromkeys([*old.kept, *changed]) if not (is_told and name in _TOLD))


def _kept_front_matter(candidate: Candidate, readme: str | None, *, adopt: bool) -> tuple[str, ...]:
    """Front matter is generated, so what a person put there before the first release would be lost."""
    build = candidate.build
    ours = card.front_matter(candidate.release, build.model.architecture, card.pipeline_tag(build))
    there = metadata.read_front_matter(readme) if readme is not None else {}
    lost = [key for key, value in there.items() if ours.get(key) != value]
    if lost and not adopt:
        raise DriftError(
            f"the README.md of {candidate.repo_id} has metadata that would be replaced: {', '.join(lost)}",
            hint="say it in the family file, keep it with --adopt, or replace it with --overwrite",
        )
    return ("front matter",) if lost else ()


def _require_same_release(old: Manifest | None, candidate: Candidate) -> None:
    """Check that two families, or two checkpoints of one name, do not take turns in a repo."""
    if old is None or old.build.weights_inputs == candidate.build.weights_inputs:
        return
    there, here = (old.family, old.release), (candidate.family.name, candidate.release.name)
    if there != here:
        raise DriftError(
            f"{candidate.repo_id} holds the release {there[1]} of {there[0]}, and this is {here[1]} of {here[0]}",
            hint="publish under another name; if this one takes its place, say so with --overwrite",
        )


def _require_not_yanked(remote: Remote, candidate: Candidate) -> None:
    """Check that a run does not bring back what was yanked; a rollback may, and its card says so."""
    old = remote.manifest
    if old is None or candidate.copied_from is not None or old.build.conversion == candidate.build.conversion:
        return
    for past in old.history:
        if past.yanked and past.conversion == candidate.build.conversion:
            raise DriftError(
                f"{candidate.repo_id}: these very files were v{past.version}, which was yanked: {past.yanked}",
                hint=f"convert something else; `hubpush rollback {candidate.repo_id} v{past.version}` brings them back"
                " if the yank was wrong",
            )


def _require_no_secret(candidate: Candidate, readme: str) -> None:
    """Check that no token gets onto the Hub in words or in the small files.

    Raises:
        CardError: Something looks like one.
    """
    texts = {README: readme, **candidate.templates}
    for name in ("config.json", "tokenizer_config.json") if candidate.folder is not None else ():
        path = cast("Path", candidate.folder) / name
        texts[name] = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    if found := [name for name, text in texts.items() if holds_token(text)]:
        raise CardError(
            f"{', '.join(found)} of {candidate.repo_id} would show what looks like a token",
            hint="take it out of the family file, the checkpoint's files or the card on the Hub, and revoke it",
        )


def _require_bump(repo_id: str, bump: Bump, version: str, change: str, most: Bump) -> None:
    if bump in BUMPS and BUMPS.index(bump) > BUMPS.index(most):
        raise DriftError(
            f"{repo_id} would become v{version}, a {bump} version, and --max-bump is {most}: {change}",
            hint="look at the plan (--dry-run); if it is meant, run again with a higher --max-bump",
        )


def _replaced(remote: Remote) -> tuple[str, ...]:
    """What a push that overwrites puts back: drift, and the parts that were kept until now."""
    kept = remote.manifest.kept if remote.manifest is not None else ()
    return tuple(dict.fromkeys([*remote.drift, *map(part_of, kept)]))


def adopted(candidate: Candidate, manifest: Manifest | None) -> Candidate:
    """Take the recorded results where the Hub has this very conversion: measuring twice makes no new release."""
    if manifest is None or manifest.build.weights_inputs != candidate.build.weights_inputs:
        return candidate
    if not candidate.build.references() <= manifest.build.references():
        return candidate  # it was compared with more
    if manifest.build.files != candidate.build.files:
        return candidate  # another version of a library writes other bytes: ours are what this push holds
    recorded = manifest.build
    if recorded.source.name != candidate.build.source.name:
        # The same bytes, found elsewhere now: the card names where they are, and nothing was measured anew.
        recorded = recorded.model_copy(update={"source": candidate.build.source})
    return replace(candidate, build=recorded)


def open_proposal(remote: Remote) -> Proposal | None:
    """The pull request of ours that can be merged: the oldest that goes on from the release that `main` has."""
    history = remote.manifest.history if remote.manifest is not None else ()
    going_on = (one for one in remote.proposals if one.manifest.history[:-1] == history and not one.has_conflicts)
    return next(going_on, None)


def with_proposal(remote: Remote) -> Remote:
    """The tree as our pull request would leave it, with the manifest that `main` has; without one, as it is."""
    one = open_proposal(remote)
    if one is None:
        return remote
    return replace(remote, head=one.head, files=one.files, drift=(*remote.drift, *one.drift))


def is_proposed(proposal: Proposal, step: Plan) -> bool:
    """Whether a pull request is what a plan would make of it, the date aside."""
    there, wanted = proposal.manifest, step.manifest
    return (
        not proposal.drift
        and not step.deletes
        and step.generated.keys() >= set(step.adds)
        and (there.inputs, there.version, there.kept, there.build, there.history[-1].change)
        == (wanted.inputs, wanted.version, wanted.kept, wanted.build, wanted.history[-1].change)
    )


def obsolete(remote: Remote) -> list[Proposal]:
    """Those that cannot be merged any more (`main` went on), and those that were opened at the same time."""
    good = open_proposal(remote)
    return [one for one in remote.proposals if one != good]
