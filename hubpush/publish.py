"""The Hub: look, do what is next, look again; then the tag.

The manifest in the repo is the only state. `push` does exactly what is planned with compare-and-swap, and looks again
after every step instead of believing answers: an answer that was lost and one that came make no difference. A release,
a rollback, a yank and a saved plan differ in the function that says what is next; the way they reach the Hub is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hubpush.client import AgainError, Bounds, errors
from hubpush.errors import DriftError, HubUnavailableError
from hubpush.manifest import NAME, File, Manifest, describe_bytes, parse
from hubpush.planning import (
    Bump,
    Candidate,
    Next,
    Plan,
    adopted,
    is_proposed,
    numbers,
    obsolete,
    open_proposal,
    plan_ahead,
    require_untouched,
    with_proposal,
)
from hubpush.remote import NoSuchFileError, Proposal, Remote, drift_of, look, read, tree
from hubpush.upload import commit as upload

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi

    Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete

_ATTEMPTS = 6  # that may end in trouble
_STEPS = 24  # of a push in all: a Hub that takes everything and shows nothing ends it
PAUSE = 1.0
"""Seconds before the first new attempt after a Hub that failed; doubled each time. Tests set it to 0."""


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
            one = adopted(one, recorded)
        if manifest is not None and manifest.inputs == one.inputs() and not remote.drift:
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
            if overtaken := obsolete(remote):
                for proposal in overtaken:
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
            if ours is not None and is_proposed(ours, step):
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
                sha256={path: file.sha256 for path, file in step.manifest.files.items()},
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
    if numbers(manifest.tag) > numbers(f"v{landed}"):
        raise DriftError(
            f"{repo_id} got {manifest.tag} from somebody else right after v{landed} of this run",
            hint="two runs publish different contents to one repo: decide which is meant, and run that one again",
        )


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

    A large one was hashed when it was written: `upload.commit` sends it under that digest, and storage that gets other
    bytes refuses.
    """
    from huggingface_hub import CommitOperationAdd

    if file.git_oid is not None:
        data = place.read_bytes()
        is_same, operation = describe_bytes(data) == file, CommitOperationAdd(path, data)
    else:
        operation = CommitOperationAdd(path, str(place))
        is_same = operation.upload_info.size == file.size
    if not is_same:
        raise DriftError(
            f"{path} in {place.parent} is not what was built and proven",
            hint="something wrote to the work directory: run again",
        )
    return operation


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
