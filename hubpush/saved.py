"""A plan in a file: what `--plan` writes and `--apply` pushes, exactly that or nothing.

The file holds digests, the bytes stay in the work directory: README.md, hubpush.json and the pictures beside the
converted files. So a plan can be read by people, and moved to another machine together with that directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from hubpush import __version__
from hubpush.catalog import is_repo_id
from hubpush.collection import Wanted
from hubpush.errors import DriftError, UsageError
from hubpush.manifest import NAME, File, are_paths, describe, parse
from hubpush.planning import Bump, Next, Plan, require_untouched
from hubpush.remote import Remote, stands

_STALE = "make a new plan (--plan) and look at it: nothing was pushed"


def _repo_id(value: str) -> str:
    if not is_repo_id(value):
        raise ValueError("is no OWNER/NAME")
    return value


class Item(BaseModel):
    """What is planned for one repo.

    Attributes:
        name: The release.
        repo_id: The repo.
        exists: Whether it was there; if not, it is created, and must not have been filled by somebody else meanwhile.
        parent: The commit that the plan was made on: of `main`, or of the pull request.
        version: `X.Y.Z`.
        bump: The part of the version that rises; None if only the tag is missing.
        change: Why, in words.
        adds: What is written, with digests.
        deletes: What is removed.
        manifest: hubpush.json as it will stand there.
        replaced: What somebody else changed and this puts back.
        kept: What somebody else changed and this takes over.
        parity: The verdict.
        private: Visibility of a repo that is created.
        create_pr: Whether it goes into a pull request.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    repo_id: Annotated[str, AfterValidator(_repo_id)]
    exists: bool
    parent: str
    version: str
    bump: Bump | None
    change: str
    adds: Annotated[Mapping[str, File], AfterValidator(are_paths)] = {}
    deletes: tuple[str, ...] = ()
    manifest: File
    replaced: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    parity: str
    private: bool | None = None
    create_pr: bool = False

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if (self.bump is None) is (NAME in self.adds) or self.adds.get(NAME, self.manifest) != self.manifest:
            raise ValueError(f"adds: {NAME} is written with every release, as `manifest` says")
        return self


class Saved(BaseModel):
    """The plan of a run.

    Attributes:
        plan: Format number of this file.
        hubpush: The version that made it.
        family: Name of the family.
        hub: Address of the Hub; None for an embedded one, which has another address each time.
        releases: What is planned, repo by repo; nothing for what needs nothing.
        collection: The family's page, after them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: Literal[1] = 1
    hubpush: str = __version__
    family: str
    hub: str | None
    releases: tuple[Item, ...] = Field(default=())
    collection: Wanted | None = None


def of(step: Plan, name: str, *, exists: bool, private: bool | None, create_pr: bool) -> Item:
    """What a file keeps of a plan."""
    return Item(
        name=name,
        repo_id=step.repo_id,
        exists=exists,
        parent=step.parent,
        version=step.version,
        bump=step.bump,
        change=step.change,
        adds={path: step.file(path) for path in step.adds},
        deletes=step.deletes,
        manifest=step.file(NAME),
        replaced=step.replaced,
        kept=step.kept,
        parity=step.manifest.build.verdict,
        private=private,
        create_pr=create_pr,
    )


def of_tag(remote: Remote, name: str, repo_id: str) -> Item | None:
    """The plan for a release whose tag alone is missing."""
    if remote.record is None or remote.manifest is None:
        return None
    return Item(
        name=name,
        repo_id=repo_id,
        exists=True,
        parent=remote.head,
        version=remote.manifest.version,
        bump=None,
        change="only the tag is missing",
        manifest=remote.record,
        parity=remote.manifest.build.verdict,
    )


def write(path: Path, plan: Saved) -> None:
    """Write a plan file, whole or not at all.

    Raises:
        UsageError: It cannot be written there.
    """
    if path.is_dir():
        raise UsageError(f"the plan {path} is a directory", hint="give --plan FILE")
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_text(plan.model_dump_json(indent=1) + "\n", encoding="utf-8", newline="\n")
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"the plan {path} cannot be written: {error.strerror}", hint="give --plan FILE") from None


def load(path: Path) -> Saved:
    """Read a plan file.

    Raises:
        UsageError: It is none.
    """
    try:
        return Saved.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"the plan {path} cannot be read: {error.strerror}", hint="`--plan FILE` writes one") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise UsageError(
            f"{path} is no plan of this version of hubpush: {where}: {first['msg']}", hint="write it anew with --plan"
        ) from None


def require_within(plan: Saved, org: str | None, models: Sequence[str]) -> None:
    """Check that a plan is for nothing but these repos: who pushes may trust less than who planned.

    Args:
        plan: The plan.
        org: The only owner; None for any.
        models: The only names; none for any.

    Raises:
        UsageError: Names without an owner.
        DriftError: It is for something else.
    """
    if org is None:
        if models:
            raise UsageError("MODEL beside --apply needs --org too", hint="--org my-org my-bert")
        return
    allowed = {f"{org}/{name}".lower() for name in models}
    others = [
        one.repo_id
        for one in plan.releases
        if one.repo_id.partition("/")[0] != org or (allowed and one.repo_id.lower() not in allowed)
    ]
    if plan.collection is not None and plan.collection.owner != org:
        others.append(plan.collection.label)
    if others:
        raise DriftError(
            f"the plan is for {', '.join(others[:5])} too, which it was not to be",
            hint="nothing was pushed; plan again",
        )


def following(item: Item, folder: Path) -> Next:
    """What is next by a saved plan: exactly that, nothing if it was done, or a refusal.

    Args:
        item: What was planned for the repo.
        folder: The release's folder in the work directory.
    """
    tag = f"v{item.version}"

    def next_step(remote: Remote) -> Plan | None:
        if remote.record == item.manifest:
            require_untouched(remote, item.repo_id)
            return None
        if item.exists and not remote.exists:
            raise DriftError(f"{item.repo_id} was there when the plan was made, and is gone", hint=_STALE)
        if item.bump is None:
            raise DriftError(f"{item.repo_id} is not at {tag} any more, whose tag was planned", hint=_STALE)
        there = (remote.files or {}).get(NAME)
        if item.create_pr and there is not None and there.equals(item.manifest):  # the pull request has it already
            return _step(item, item.bump, folder, remote)
        if item.exists and remote.head != item.parent:
            raise DriftError(
                f"{item.repo_id} is at {remote.head[:12]}, and the plan for {tag} was made at {item.parent[:12]}",
                hint=_STALE,
            )
        if not item.exists and (strangers := sorted((remote.files or {}).keys() - {".gitattributes"})):
            raise DriftError(
                f"{item.repo_id} was planned as a new repo, and holds {', '.join(strangers[:5])} now", hint=_STALE
            )
        if tag in (remote.tags or {}):
            raise DriftError(f"{item.repo_id} has got a tag {tag} since the plan was made", hint=_STALE)
        return _step(item, item.bump, folder, remote)

    return next_step


def _step(item: Item, bump: Bump, folder: Path, remote: Remote) -> Plan:
    """The commit, from the bytes in the work directory.

    Raises:
        DriftError: They are not those that were planned.
    """
    generated, wrong = {}, []
    for path, file in item.adds.items():
        made, converted = folder / path, folder / "model" / path
        place = made if made.is_file() else converted
        if not place.is_file() or describe(place) != file:
            wrong.append(path if place.is_file() else f"{path} (not there)")
        elif place == made:
            generated[path] = made.read_bytes()
    if not wrong:
        manifest = parse(generated[NAME].decode(), item.repo_id)
        promised = {path: manifest.files.get(path) for path in item.adds if path != NAME}
        wrong = [path for path, file in promised.items() if file != item.adds[path]]
        ours = remote.manifest.files if remote.manifest is not None else {}
        past = manifest.history[-1]
        told = (item.version, item.change, item.parity)
        wrong += ["the plan"] if told != (manifest.version, past.change, manifest.build.verdict) else []
        wrong += [path for path in item.deletes if path in manifest.files or path not in ours]
    if wrong:
        raise DriftError(
            f"{', '.join(wrong)} of {item.repo_id} in the work directory is not what was planned",
            hint="give the --work that the plan was made with; if something wrote to it since, make a new plan",
        )
    there = remote.files or {}
    return Plan(
        repo_id=item.repo_id,
        parent=remote.head,
        bump=bump,
        change=item.change,
        manifest=manifest,
        generated=generated,
        # Of a pull request that has it already nothing is left.
        adds=tuple(path for path, file in item.adds.items() if path == NAME or not stands(there, path, file)),
        deletes=item.deletes,
        folder=folder / "model",
        replaced=item.replaced,
        kept=item.kept,
    )
