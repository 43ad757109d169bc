"""What is done to a published repo without a new conversion: rollback, yank, and the end of a hold.

Each is a release like any other, forward and with a version of its own: nothing that stands on the Hub is taken back.
The card is rendered from the facts and results that the manifest recorded, so neither a family file nor weights are
needed on this machine.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from hubpush import catalog, planning, remote
from hubpush.catalog import Family, Release
from hubpush.errors import DriftError, HubRefusedError, UsageError
from hubpush.manifest import NAME, Manifest, parse
from hubpush.planning import Candidate, Next, Plan
from hubpush.remote import Remote, look

if TYPE_CHECKING:
    from huggingface_hub import HfApi


_LONGEST = 500  # characters of a reason, which stands in a table and in a commit


def rollback(
    api: HfApi, repo_id: str, tag: str, cache: Path, today: str, *, overwrite: bool = False, adopt: bool = False
) -> Next:
    """A release of an earlier version's files. It sets a hold, so that a schedule does not bring back what was bad.

    Args:
        api: The client.
        repo_id: The repo.
        tag: The version to go back to, `vX.Y.Z`.
        cache: Directory for the few small files that are read.
        today: Date for the versions table.
        overwrite: Replace what somebody else changed.
        adopt: Take over what somebody else changed in the card.

    Raises:
        UsageError: That is no version of this repo.
        DriftError: The version cannot be made again from its manifest.
    """
    there = _released(look(api, repo_id, cache), repo_id)
    commit = (there.tags or {}).get(tag)
    if commit is None or not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        known = [past.version for past in there.manifest.history] if there.manifest else []
        raise UsageError(
            f"{repo_id} has no version {tag}", hint=f"its versions: {', '.join(f'v{one}' for one in known)}"
        )
    old = parse(remote.read(api, repo_id, NAME, commit, cache), f"{repo_id} at {tag}")
    wanted = replace(restored(old, repo_id), copied_from=commit, hold=True, reason=f"back to the files of {tag}")

    def following(there: Remote) -> Plan | None:
        now = there.manifest
        if now is not None and now.hold and now.build == old.build and not there.drift:
            return None
        return planning.plan_ahead(api, there, wanted, cache, today, overwrite=overwrite, adopt=adopt)

    return following


def yank(
    api: HfApi,
    repo_id: str,
    tag: str,
    reason: str,
    cache: Path,
    today: str,
    *,
    overwrite: bool = False,
    adopt: bool = False,
) -> Next:
    """A release of the card that says that a version should not be used, and why. Its tag stays where it is.

    Raises:
        UsageError: That is no version of this repo, or no reason.
        DriftError: The card cannot be made again from the manifest.
    """
    there = _released(look(api, repo_id, cache), repo_id)
    version = tag.removeprefix("v")
    known = [past.version for past in there.manifest.history] if there.manifest else []
    if version not in known:
        raise UsageError(
            f"{repo_id} has no version {tag}", hint=f"its versions: {', '.join(f'v{one}' for one in known)}"
        )
    reason = " ".join(reason.split())
    if not reason or len(reason) > _LONGEST or not reason.isprintable():
        raise UsageError(
            f"the reason of a yank is a sentence of at most {_LONGEST} characters",
            hint='say what is wrong with it: --reason "…"',
        )

    def following(there: Remote) -> Plan | None:
        now = _released(there, repo_id).manifest
        if now is None or any(past.version == version and past.yanked == reason for past in now.history):
            return None
        wanted = replace(
            restored(now, repo_id), hold=now.hold, yanked={version: reason}, reason=f"v{version} yanked: {reason}"
        )
        return planning.plan_ahead(api, there, wanted, cache, today, overwrite=overwrite, adopt=adopt)

    return following


def unhold(api: HfApi, repo_id: str, cache: Path, today: str, *, overwrite: bool = False, adopt: bool = False) -> Next:
    """A release of the card alone that lifts the hold: the next run publishes again.

    Raises:
        DriftError: The repo holds no release, or the card cannot be made again from its manifest.
    """
    _released(look(api, repo_id, cache), repo_id)

    def following(there: Remote) -> Plan | None:
        now = _released(there, repo_id).manifest
        if now is None or not now.hold:
            return None
        wanted = replace(restored(now, repo_id), reason="the hold is lifted")
        return planning.plan_ahead(api, there, wanted, cache, today, overwrite=overwrite, adopt=adopt)

    return following


def restored(manifest: Manifest, repo_id: str) -> Candidate:
    """What was to stand on the Hub when this manifest was written, without the files.

    Raises:
        DriftError: The manifest does not record it.
    """
    facts = manifest.facts
    if facts is None:
        raise DriftError(
            f"the manifest of v{manifest.version} of {repo_id} does not record what its card is made from",
            hint="publish the family once with this version of hubpush; versions from then on record it",
        )
    source = manifest.build.source.name
    try:
        release = Release.model_validate({**facts.release, "source": source})
        siblings = tuple(release if one.name == release.name else catalog.stripped(one) for one in facts.siblings)
        family = Family(format=1, name=manifest.family, title=facts.title, summary=facts.summary, releases=siblings)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise DriftError(
            f"the facts in the manifest of v{manifest.version} of {repo_id} are none of this version of hubpush:"
            f" {'.'.join(map(str, first['loc']))}: {first['msg']}",
            hint="it was edited, or written by a newer hubpush: upgrade, or publish the family again",
        ) from None
    return Candidate(family, release, repo_id, facts.command, manifest.build, None, templates=facts.templates)


def _released(there: Remote, repo_id: str) -> Remote:
    if there.manifest is None:
        hint = "a typo, a private repo, or no token? `hubpush status` lists the repos of a family"
        if not there.exists:
            raise HubRefusedError(f"{repo_id} is not on the Hub, or not for this token", hint=hint)
        raise DriftError(f"{repo_id} is no repo that hubpush published", hint=hint)
    return there
