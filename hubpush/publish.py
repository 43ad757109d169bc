"""The Hub: look, plan, push, tag, verify.

The manifest in the repo is the only state. `plan` is pure: it computes one commit and one version from what stands on
the Hub and what ought to. `push` does exactly that with compare-and-swap, and looks again after every step instead
of believing answers: an answer that was lost and one that came make no difference. A release, a rollback, a yank and a
saved plan differ in the function that says what is next; the way they reach the Hub is one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from hubpush import __version__, card, metadata
from hubpush.catalog import Family, Release
from hubpush.client import AgainError, Bounds, errors
from hubpush.errors import CardError, DriftError, HubRefusedError, HubUnavailableError, holds_token
from hubpush.manifest import (
    NAME,
    Build,
    Facts,
    File,
    Inputs,
    Manifest,
    Past,
    card_inputs,
    describe_bytes,
    parse,
)
from hubpush.remote import (
    README,
    TITLE,
    NoSuchFileError,
    Proposal,
    Remote,
    drift_of,
    look,
    part_of,
    read,
    stands,
    tree,
)
from hubpush.upload import commit as upload

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi

    Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete

_ATTEMPTS = 6  # that may end in trouble
_DATES = 100_000  # numbers in somebody's tags from which they count no versions
_STEPS = 24  # of a push in all: a Hub that takes everything and shows nothing ends it
# What a release consists of, README.md aside: in a repo without a manifest these are somebody else's.
_OURS = frozenset({NAME, "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"})
PAUSE = 1.0
"""Seconds before the first new attempt after a Hub that failed; doubled each time. Tests set it to 0."""

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

    def inputs(self) -> Inputs:
        """The identities of this candidate."""
        facts = card.facts(self.family, self.release, self.repo_id)
        return Inputs(weights=self.build.weights_inputs, card=card_inputs(facts, card.templates_sha256(), self.build))

    def facts(self) -> Facts:
        """What a manifest keeps of family and release, so that the card can be rendered again without them."""
        return Facts(
            title=self.family.title,
            summary=self.family.summary,
            siblings=tuple((one.name, one.title) for one in self.family.releases),
            release=self.release.model_dump(mode="json", exclude_defaults=True, exclude=_PLACES),
            command=self.command,
        )


# Where files lie on somebody's machine, and what only a new proof would need.
_PLACES = {"source", "config_file", "vocab_file", "tfhub", "divergences"}


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


@dataclass(frozen=True)
class Published:
    """What a push came to.

    Attributes:
        status: `published`, `unchanged`, `held`, or `proposed` in a pull request.
        manifest: What stands on the Hub now, or what is proposed.
        commit: The commit that the tag names; of a proposal, its head.
        bump: The part of the version that rose, or None.
        proposal: Number of the pull request.
    """

    status: Literal["published", "unchanged", "held", "proposed"]
    manifest: Manifest
    commit: str
    bump: Bump | None
    proposal: int | None = None


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
    """Compute the next commit and its version. Reads nothing, changes nothing.

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
    context = card.context(
        candidate.family, candidate.release, candidate.repo_id, candidate.command, build, (*history, past)
    )
    ours = {
        name for one in (old, *(p.manifest for p in remote.proposals)) if one is not None for name in one.card_parts
    }
    text = card.render(context, readme, kept, ours)
    names = {"front matter", *card.sections(context), *ours}
    generated = {README: text.encode(), **card.pictures(build)}
    _require_no_secret(candidate, text)
    files = {**build.files, **{path: describe_bytes(content) for path, content in generated.items()}}
    manifest = Manifest(
        version=version,
        family=candidate.family.name,
        release=candidate.release.name,
        inputs=candidate.inputs(),
        build=build,
        files=files,
        card_parts={name: digest for name, digest in card.generated(text).items() if name in names},
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
    )


def _replaced(remote: Remote) -> tuple[str, ...]:
    """What a push that overwrites puts back: drift, and the parts that were kept until now."""
    kept = remote.manifest.kept if remote.manifest is not None else ()
    return tuple(dict.fromkeys([*remote.drift, *map(part_of, kept)]))


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
    return tuple(dict.fromkeys([*old.kept, *changed]))


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
    texts = {README: readme}
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


def publish(
    api: HfApi,
    candidate: Candidate,
    cache: Path,
    today: str,
    *,
    private: bool | None = None,
    overwrite: bool = False,
    adopt: bool = False,
    max_bump: Bump = "major",
    author: str | None = None,
    embedded: bool = False,
    bounds: Bounds | None = None,
    tell: Callable[[str], None] | None = None,
) -> Published:
    """Bring a repo to what it ought to be: one commit, one tag, verified. Safe to run again after anything.

    Args:
        api: The client.
        candidate: What ought to stand there.
        cache: Directory for the few small files that are read.
        today: Date for the versions table.
        private: Visibility of a repo that is created; None leaves it to the owner's default.
        overwrite: Replace what somebody else changed.
        adopt: Take over what somebody else changed in the card.
        max_bump: The highest part of a version that may rise.
        author: In whose name a pull request is opened or updated; None commits to `main`.
        embedded: Whether the Hub is an embedded one, to which uploads go by LFS.
        bounds: How long is waited; None for the bounds that the client of this process has.
        tell: Told when an upload by xet is given up for one by LFS.

    Raises:
        HubRefusedError: The Hub said no.
        HubUnavailableError: The Hub did not answer, or somebody else was faster each time.
        DriftError: Somebody changed what hubpush published.
        CardError: The card cannot be rendered, or the Hub does not accept it.
    """

    def following(remote: Remote) -> Plan | None:
        manifest, one = remote.manifest, candidate
        if manifest is not None and manifest.hold:
            return None
        for recorded in (manifest, *(proposal.manifest for proposal in remote.proposals)):
            one = _adopted(one, recorded)
        if manifest is not None and _is_met(manifest, one) and not remote.drift:
            return None
        return plan_ahead(api, remote, one, cache, today, overwrite=overwrite, adopt=adopt, max_bump=max_bump)

    return push(
        api,
        candidate.repo_id,
        following,
        cache,
        private=private,
        author=author,
        embedded=embedded,
        bounds=bounds,
        tell=tell,
    )


def push(
    api: HfApi,
    repo_id: str,
    following: Next,
    cache: Path,
    *,
    private: bool | None = None,
    author: str | None = None,
    embedded: bool = False,
    bounds: Bounds | None = None,
    tell: Callable[[str], None] | None = None,
) -> Published:
    """Look, do what is next, look again, until nothing is; then the tag, and a check of what is served.

    Args:
        api: The client.
        repo_id: The repo.
        following: What is next. With a pull request it is asked about the repo as that would leave it, with the
            manifest of `main`.
        cache: Directory for the few small files that are read.
        private: Visibility of a repo that is created; None leaves it to the owner's default.
        author: In whose name a pull request is opened or updated; None commits to `main`.
        embedded: Whether the Hub is an embedded one, to which uploads go by LFS.
        bounds: How long is waited; None for the bounds that the client of this process has.
        tell: Told when an upload by xet is given up for one by LFS.

    Raises:
        HubRefusedError: The Hub said no.
        HubUnavailableError: The Hub did not answer, or somebody else was faster each time.
        DriftError: Somebody changed what hubpush published.
        CardError: The card cannot be rendered, or the Hub does not accept it.
    """
    bump: Bump | None = None
    planned: Manifest | None = None
    landed = ""
    troubles: list[AgainError] = []
    given_up: list[str] = []

    def giving_up(why: str) -> None:
        given_up.append(why)  # another attempt by xet would stall for as long again
        if tell is not None:
            tell(why)

    for _ in range(_STEPS):
        try:
            remote = look(api, repo_id, cache, author=author)
            if not remote.exists:
                following(remote)  # what would be refused makes no empty repo
                with errors(repo_id):
                    api.create_repo(repo_id, private=private)
                continue
            manifest, tags = remote.manifest, remote.tags or {}
            if landed and author is None:
                _require_not_superseded(manifest, repo_id, landed)
            if manifest is not None and manifest.tag not in tags and not (manifest.hold and remote.drift):
                try:
                    _tag(api, repo_id, manifest, remote.head, cache)
                    continue
                except DriftError:
                    # What somebody changed before the tag was made (in a pull request, say) is told below.
                    if landed or not remote.drift:
                        raise
            if obsolete := _obsolete(remote):
                for proposal in obsolete:
                    _close(api, repo_id, proposal)
                continue
            step = following(with_proposal(remote))
            if step is None and manifest is not None:
                commit = tags.get(manifest.tag, remote.head)
                wanted = planned and (planned.version, planned.inputs, planned.hold)
                if wanted == (manifest.version, manifest.inputs, manifest.hold):
                    return Published("published", manifest, commit, bump)
                return Published("held" if manifest.hold else "unchanged", manifest, commit, None)
            if step is None:
                raise DriftError(f"{repo_id} has no release", hint="publish one first")
            if bump and remote.drift:
                # What was just committed is not what stands there: a second try would not be either.
                require_untouched(remote, repo_id)
            ours = open_proposal(remote)
            if ours is not None and _is_proposed(ours, step):
                _name(api, repo_id, ours, step)
                return Published("proposed", ours.manifest, ours.head, step.bump, ours.number)
            if author is not None and ours is None:
                _require_not_rejected(api, repo_id, step, author, cache)
            bump, planned = step.bump, step.manifest
            upload(
                api,
                repo_id,
                _operations(step),
                message=step.message,
                description=step.description,
                parent=step.parent,
                revision=f"refs/pr/{ours.number}" if ours is not None else None,
                create_pr=author is not None and ours is None,
                embedded=embedded or bool(given_up),
                bounds=bounds,
                tell=giving_up,
            )
            landed = step.version
        except AgainError as again:
            troubles.append(again)
            if len(troubles) == _ATTEMPTS:
                break
            if len(troubles) > 1 and again.kind != "conflict":
                time.sleep(PAUSE * 2 ** (len(troubles) - 2))
    raise HubUnavailableError(
        f"{repo_id}: no success after {_ATTEMPTS} attempts" + (f"; last: {troubles[-1].message}" if troubles else ""),
        hint="run the same command again later: it goes on where this one stopped",
    )


def check_rights(api: HfApi, repo_id: str, remote: Remote, *, embedded: bool, create_pr: bool = False) -> None:
    """Check that a push would be allowed, before anything is fetched or built.

    Args:
        api: The client.
        repo_id: The repo.
        remote: What stands there.
        embedded: Whether the Hub is an embedded one.
        create_pr: Whether a pull request is enough, which whoever can read may open.

    Raises:
        HubRefusedError: It would not, or there is no token.
        HubUnavailableError: The Hub does not answer.
    """
    owner = repo_id.partition("/")[0]
    with errors(repo_id):
        if remote.exists:
            api.auth_check(repo_id, write=not create_pr)
        else:
            # One call for a family: the Hub limits this one strictly.
            require_may_create(api.whoami(cache=True), owner, repo_id, embedded=embedded)


def require_may_create(me: Mapping[str, Any], owner: str, repo_id: str, *, embedded: bool = False) -> str:
    """Check that a token can make a repo, by what the Hub says of it.

    Args:
        me: The answer of `whoami`.
        owner: User or organisation that is to own the repo.
        repo_id: What the message calls it.
        embedded: Whether the Hub is an embedded one, where anybody may own what is not there yet.

    Returns:
        Whose token it is and what it may, in words.

    Raises:
        HubRefusedError: It cannot.
    """
    token = me.get("auth", {}).get("accessToken", {})
    name = str(me.get("name"))
    role, owners = token.get("role", "unknown"), {name, *(str(one.get("name")) for one in me.get("orgs", []))}
    words = f"the token of {name} (role {role})"
    in_org = next((str(one.get("roleInOrg")) for one in me.get("orgs", []) if one.get("name") == owner), None)
    if owner not in owners and not embedded:
        raise HubRefusedError(
            f"{words}: {name} is no member of {owner}, so {repo_id} cannot be created",
            hint=f"use a token of a member with write rights; this one has: {', '.join(sorted(owners))}",
        )
    if in_org == "read":
        raise HubRefusedError(
            f"{words}: {name} only reads in {owner}, so {repo_id} cannot be created",
            hint=f"ask {owner} for the role contributor or write, or to create the repo",
        )
    if role == "read":
        raise HubRefusedError(
            f"{words} only reads, so {repo_id} cannot be created",
            hint="make one with the role write, or a fine-grained one, and `hf auth login`",
        )
    if role == "fineGrained":
        scoped = token.get("fineGrained", {}).get("scoped", [])
        rights = {
            right
            for one in scoped
            if one.get("entity", {}).get("name") == owner
            for right in one.get("permissions", [])
        }
        words += f" may on {owner}: {', '.join(sorted(rights)) or 'nothing'}"
        if "repo.write" not in rights:
            raise HubRefusedError(
                f"{words}, so {repo_id} cannot be created",
                hint=f"give it `repo.write` on {owner} in the Hub's settings, or create the repo once by hand",
            )
    return words


def author(api: HfApi, repo_id: str) -> str:
    """In whose name a pull request is opened: only that person's own are ever updated.

    Raises:
        HubRefusedError: There is no token of a person.
        HubUnavailableError: The Hub does not answer.
    """
    with errors(repo_id):
        return str(api.whoami(cache=True).get("name"))


def _require_not_superseded(manifest: Manifest | None, repo_id: str, landed: str) -> None:
    """Check that what was just committed is what stands there: committing it once more would help nobody.

    Raises:
        DriftError: Somebody else published right after, or the repo swallowed the manifest.
    """
    if manifest is None:
        raise DriftError(
            f"{repo_id} took the commit of v{landed}, but {NAME} is not in it",
            hint="is there a .gitignore in the repo that names it? remove it, then publish with --overwrite",
        )
    if _numbers(manifest.tag) > _numbers(f"v{landed}"):
        raise DriftError(
            f"{repo_id} got {manifest.tag} from somebody else right after v{landed} of this run",
            hint="two runs publish different contents to one repo: decide which is meant, and run that one again",
        )


def _adopted(candidate: Candidate, manifest: Manifest | None) -> Candidate:
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


def _operations(step: Plan) -> list[Operation]:
    """What a commit consists of.

    Raises:
        DriftError: A converted file is not what was planned, or is nowhere to be had.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

    operations: list[Operation] = []
    for path in step.adds:
        if path in step.generated:
            operations.append(CommitOperationAdd(path, step.generated[path]))
        elif step.folder is not None:
            operations.append(_from_disk(step.folder / path, path, step.manifest.files[path]))
        elif step.copied_from is not None:
            operations.append(CommitOperationCopy(path, path, src_revision=step.copied_from))
        else:
            raise DriftError(
                f"{step.repo_id} lacks {path}, which only a new conversion can give",
                hint="run again with --overwrite, which converts anew",
            )
    return [*operations, *map(CommitOperationDelete, step.deletes)]


def _from_disk(place: Path, path: str, file: File) -> CommitOperationAdd:
    """A file of the work directory, by the very bytes that were hashed: something may write to it meanwhile.

    A large one is hashed once, by the client, which sends it under that digest; storage that gets other bytes refuses.
    """
    from huggingface_hub import CommitOperationAdd

    if file.git_oid is not None:
        data = place.read_bytes()
        is_same, operation = describe_bytes(data) == file, CommitOperationAdd(path, data)
    else:
        operation = CommitOperationAdd(path, str(place))
        is_same = operation.upload_info.sha256.hex() == file.sha256
    if not is_same:
        raise DriftError(
            f"{path} in {place.parent} is not what was built and proven",
            hint="something wrote to the work directory: run again",
        )
    return operation


def _is_met(manifest: Manifest, candidate: Candidate) -> bool:
    """Whether a manifest is that of a candidate, by its inputs."""
    return manifest.inputs == candidate.inputs()


def _is_proposed(proposal: Proposal, step: Plan) -> bool:
    """Whether a pull request is what a plan would make of it, the date aside."""
    there, wanted = proposal.manifest, step.manifest
    return (
        not proposal.drift
        and not step.deletes
        and step.generated.keys() >= set(step.adds)
        and (there.inputs, there.version, there.kept, there.build, there.history[-1].change)
        == (wanted.inputs, wanted.version, wanted.kept, wanted.build, wanted.history[-1].change)
    )


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


def _obsolete(remote: Remote) -> list[Proposal]:
    """Those that cannot be merged any more (`main` went on), and those that were opened at the same time."""
    good = open_proposal(remote)
    return [one for one in remote.proposals if one != good]


_CLOSED = "Closed by hubpush: "


def _close(api: HfApi, repo_id: str, proposal: Proposal) -> None:
    with errors(repo_id):
        comment = f"{_CLOSED}it cannot be merged any more, or another request holds the same."
        api.change_discussion_status(repo_id, proposal.number, "closed", comment=comment)


def _require_not_rejected(api: HfApi, repo_id: str, step: Plan, author: str, cache: Path) -> None:
    """Check that nobody closed a request of this very release: a schedule would open it again every week.

    Raises:
        DriftError: Somebody did.
    """
    with errors(repo_id):
        closed = [
            one.num
            for one in api.get_repo_discussions(
                repo_id, author=author, discussion_type="pull_request", discussion_status="closed"
            )
            if one.title == step.message and one.status == "closed"
        ]
        if not closed:
            return
        number = max(closed)
        comments = [getattr(event, "content", "") for event in api.get_discussion_details(repo_id, number).events]
        pulls = api.list_repo_refs(repo_id, include_pull_requests=True).pull_requests or ()
    head = next((ref.target_commit for ref in pulls if ref.ref == f"refs/pr/{number}"), None)
    if head is None or any(str(comment).startswith(_CLOSED) for comment in comments):
        return
    try:
        rejected = parse(read(api, repo_id, NAME, head, cache), repo_id)
    except (NoSuchFileError, DriftError):
        return
    if rejected.inputs == step.manifest.inputs:
        raise DriftError(
            f"{repo_id}: somebody closed pull request {number}, which holds this very release",
            hint="open it again on the Hub, publish without --create-pr, or change what is to be published",
        )


def _name(api: HfApi, repo_id: str, proposal: Proposal, step: Plan) -> None:
    """An updated pull request gets the title of what it holds now."""
    if proposal.title != step.message:
        with errors(repo_id):
            api.rename_discussion(repo_id, proposal.number, step.message)


def _next_version(
    remote: Remote, files: Mapping[str, File], build: Build, *, adopt: bool = False
) -> tuple[str, Bump, str]:
    """The version after the highest there is, by what changes for the people who load the model."""
    old = remote.manifest
    # Somebody's v20240115.0.0 is a date, and no version that ours have to be above.
    versions = [found for tag in remote.tags or {} if (found := _numbers(tag)) and max(found) < _DATES]
    if old is not None:
        versions.append(_numbers(old.tag))
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


def _numbers(tag: str) -> tuple[int, ...]:
    found = re.fullmatch(r"v([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})", tag)
    return tuple(map(int, found.groups())) if found else ()


def _tag(api: HfApi, repo_id: str, manifest: Manifest, head: str, cache: Path) -> None:
    """Tag the oldest commit that carries this version; a tag that exists elsewhere is never moved."""
    with errors(repo_id):
        target = head
        for entry in api.list_repo_commits(repo_id, revision=head):
            try:
                found = parse(read(api, repo_id, NAME, entry.commit_id, cache), repo_id)
            except (NoSuchFileError, DriftError):
                break
            if not found.is_release(manifest):
                break
            target = entry.commit_id
        _verify(api, repo_id, manifest, target, cache)
        try:
            api.create_tag(repo_id, tag=manifest.tag, revision=target, tag_message=manifest.history[-1].change)
        finally:
            # Whatever the answer was: what counts is what stands there now.
            refs = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo_id).tags}
            if refs.get(manifest.tag, target) != target:
                raise DriftError(
                    f"{repo_id} has a tag {manifest.tag} at {refs[manifest.tag][:12]}; the release is {target[:12]}",
                    hint="somebody made that tag; delete it on the Hub if it is wrong, hubpush never moves a tag",
                )


def _verify(api: HfApi, repo_id: str, manifest: Manifest, commit: str, cache: Path) -> None:
    """Check that a commit serves every file of its manifest at its digest, but for a person's words in the card.

    Raises:
        DriftError: It does not; such a commit is never tagged.
    """
    wrong = drift_of(api, repo_id, commit, tree(api, repo_id, commit), manifest, cache)
    if wrong:
        raise DriftError(
            f"{repo_id} does not serve what was built for {manifest.tag}: {', '.join(wrong)}",
            hint="is there a .gitignore in the repo that names them? remove the cause, then publish with --overwrite",
        )
