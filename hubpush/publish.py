"""The Hub: look, plan, push, tag, verify.

The manifest in the repo is the only state. `plan` is pure: it computes one commit and one version from what stands on
the Hub and what was built. `publish` does exactly that with compare-and-swap, and looks again after every step instead
of believing answers: an answer that was lost and one that came make no difference.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hubpush import __version__, card, metadata
from hubpush.catalog import Family, Release
from hubpush.errors import CardError, DriftError, HubpushError, HubRefusedError, HubUnavailableError, redact
from hubpush.manifest import NAME, Build, File, Inputs, Manifest, Past, card_inputs, describe, describe_bytes, parse

if TYPE_CHECKING:
    from huggingface_hub import HfApi

README = "README.md"

_ATTEMPTS = 6
# What a release consists of, README.md aside: in a repo without a manifest these are somebody else's.
_OURS = frozenset({NAME, "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"})
_PAUSE = 1.0
"""Seconds before the first new attempt after a Hub that failed; doubled each time. Tests set it to 0."""

Bump = Literal["first", "major", "minor", "patch"]


@dataclass(frozen=True)
class Remote:
    """What stands on the Hub.

    Attributes:
        exists: Whether the repo does (for a stranger a private one does not).
        head: Commit of `main`.
        tags: Commits by tag.
        files: Files of `main`, with SHA-256 for LFS files and git ids for the others.
        manifest: The ledger, if the repo has one.
        drift: Published files, or generated parts of the card, that were changed or removed since.
        is_reachable: False for the empty Hub that a dry run without network plans against.
    """

    exists: bool
    head: str = ""
    tags: Mapping[str, str] | None = None
    files: Mapping[str, RemoteFile] | None = None
    manifest: Manifest | None = None
    drift: tuple[str, ...] = ()
    is_reachable: bool = True


@dataclass(frozen=True)
class RemoteFile:
    """A file in the tree of a commit."""

    size: int
    git_oid: str
    sha256: str | None

    def equals(self, file: File) -> bool:
        """Whether this is the content that a manifest names."""
        if self.sha256 is not None:
            return self.sha256 == file.sha256
        return file.git_oid is not None and self.git_oid == file.git_oid


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
    """

    family: Family
    release: Release
    repo_id: str
    command: str
    build: Build
    folder: Path | None

    def inputs(self) -> Inputs:
        """The identities of this candidate."""
        facts = card.facts(self.family, self.release, self.repo_id)
        return Inputs(weights=self.build.weights_inputs, card=card_inputs(facts, card.templates_sha256(), self.build))


@dataclass(frozen=True)
class Plan:
    """One commit, and the version it makes.

    Attributes:
        version: `X.Y.Z`.
        bump: What part of the version rises.
        change: Why, in words, for the versions table and the commit.
        manifest: hubpush.json as it will stand there.
        readme: README.md as it will stand there.
        pictures: The pictures of the card, by their paths.
        adds: Paths that are new or change.
        deletes: Paths that an earlier version published and this one does not.
    """

    version: str
    bump: Bump
    change: str
    manifest: Manifest
    readme: str
    pictures: Mapping[str, bytes]
    adds: tuple[str, ...]
    deletes: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """What a push came to.

    Attributes:
        status: `published`, `unchanged` or `held`.
        manifest: What stands on the Hub now.
        commit: The commit that the tag names.
        bump: The part of the version that rose, or None.
    """

    status: Literal["published", "unchanged", "held"]
    manifest: Manifest
    commit: str
    bump: Bump | None


def look(api: HfApi, repo_id: str, cache: Path) -> Remote:
    """Read what stands on the Hub: at most four requests, and two more if a person changed README.md.

    Args:
        api: The client.
        repo_id: The repo.
        cache: Directory for the few small files that are read.

    Raises:
        HubUnavailableError: The Hub does not answer.
        HubRefusedError: It refuses.
        DriftError: The manifest there cannot be read.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    with _errors(repo_id):
        try:
            refs = api.list_repo_refs(repo_id)
        except RepositoryNotFoundError:
            return Remote(exists=False)
        head = next((branch.target_commit for branch in refs.branches if branch.name == "main"), "")
        if not head:
            raise HubRefusedError(f"{repo_id} has no branch main", hint="create it on the Hub, or delete the repo")
        tags = {tag.name: tag.target_commit for tag in refs.tags}
    files = _tree(api, repo_id, head)
    if NAME not in files:
        return Remote(True, head, tags, files)
    manifest = parse(_read(api, repo_id, NAME, head, cache), repo_id)
    drift = [path for path, file in manifest.files.items() if path != README and not _stands(files, path, file)]
    if README in manifest.files and not _stands(files, README, manifest.files[README]):
        text = _read(api, repo_id, README, head, cache) if README in files else ""
        parts = card.generated(text)
        drift += [f"{README} ({name})" for name, digest in manifest.card_parts.items() if parts.get(name) != digest]
    if tags.get(manifest.tag, head) != head and not _carries(api, repo_id, tags[manifest.tag], manifest, cache):
        drift.append(f"tag {manifest.tag}")
    return Remote(True, head, tags, files, manifest, tuple(drift))


def _carries(api: HfApi, repo_id: str, commit: str, manifest: Manifest, cache: Path) -> bool:
    """Whether a commit holds the manifest of a version, and its files."""
    try:
        if parse(_read(api, repo_id, NAME, commit, cache), repo_id).version != manifest.version:
            return False
        files = _tree(api, repo_id, commit)
        return all(_stands(files, path, file) for path, file in manifest.files.items())
    except (_NoSuchFileError, DriftError):
        return False


def require_untouched(remote: Remote, repo_id: str) -> None:
    """Check that a push would replace nothing that somebody else made.

    Raises:
        DriftError: Somebody changed what hubpush published, or the repo holds files that are not hubpush's.
    """
    manifest = remote.manifest
    if manifest is not None and remote.drift:
        raise DriftError(
            f"{repo_id} was changed by somebody since {manifest.tag}: {', '.join(remote.drift)}",
            hint="look at the repo's history; --overwrite puts the release's own files back in a new version",
        )
    foreign = sorted(_OURS & (remote.files or {}).keys()) if manifest is None else []
    if foreign:
        raise DriftError(
            f"{repo_id} holds files that hubpush did not put there: {', '.join(foreign)}",
            hint="publish under another name, or replace them with --overwrite",
        )


def _require_same_metadata(candidate: Candidate, readme: str) -> None:
    """Front matter is generated, so what a person put there before the first release would be lost."""
    build = candidate.build
    ours = card.front_matter(candidate.release, build.model.architecture, card.pipeline_tag(build))
    lost = [key for key, value in metadata.read_front_matter(readme).items() if ours.get(key) != value]
    if lost:
        raise DriftError(
            f"the README.md of {candidate.repo_id} has metadata that would be replaced: {', '.join(lost)}",
            hint="say it in the family file, or replace it with --overwrite",
        )


def plan(remote: Remote, candidate: Candidate, readme: str | None, today: str, *, overwrite: bool = False) -> Plan:
    """Compute the next commit and its version. Reads nothing, changes nothing.

    Args:
        remote: What stands on the Hub.
        candidate: What ought to stand there.
        readme: Text of the README.md that stands there, if any; what a person wrote around the generated parts is kept.
        today: Date for the versions table.
        overwrite: Replace what somebody else changed.

    Raises:
        DriftError: Somebody changed what hubpush published, or the repo holds files that are not hubpush's.
        CardError: The card cannot be rendered.
    """
    if not overwrite:
        require_untouched(remote, candidate.repo_id)
        if remote.manifest is None and readme is not None:
            _require_same_metadata(candidate, readme)
    old, files = remote.manifest, dict(candidate.build.files)
    version, bump, change = _next_version(remote, files, candidate.build)
    past = Past(version=version, date=today, change=change, verdict=candidate.build.verdict)
    history = (*(old.history if old else ()), past)
    context = card.context(
        candidate.family, candidate.release, candidate.repo_id, candidate.command, candidate.build, history
    )
    text = card.render(context, readme)
    pictures = card.pictures(candidate.build)
    files |= {path: describe_bytes(content) for path, content in {README: text.encode(), **pictures}.items()}
    manifest = Manifest(
        version=version,
        family=candidate.family.name,
        release=candidate.release.name,
        inputs=candidate.inputs(),
        build=candidate.build,
        files=files,
        card_parts=card.generated(text),
        history=history,
    )
    there = remote.files or {}
    adds = [path for path, file in files.items() if not _stands(there, path, file)]
    deletes = [path for path in (old.files if old else ()) if path not in files and path in there]
    return Plan(version, bump, change, manifest, text, pictures, (*adds, NAME), tuple(deletes))


def plan_ahead(
    api: HfApi, remote: Remote, candidate: Candidate, cache: Path, today: str, *, overwrite: bool = False
) -> Plan:
    """The plan as a push would make it now, with the text that a person wrote into the card that stands there."""
    readme = _read(api, candidate.repo_id, README, remote.head, cache) if README in (remote.files or {}) else None
    return plan(remote, candidate, readme, today, overwrite=overwrite)


def publish(
    api: HfApi,
    candidate: Candidate,
    cache: Path,
    today: str,
    *,
    private: bool | None = None,
    overwrite: bool = False,
    embedded: bool = False,
) -> Published:
    """Bring a repo to what it ought to be: one commit, one tag, verified. Safe to run again after anything.

    Args:
        api: The client.
        candidate: What ought to stand there.
        cache: Directory for the few small files that are read.
        today: Date for the versions table.
        private: Visibility of a repo that is created; None leaves it to the owner's default.
        overwrite: Replace what somebody else changed.
        embedded: Whether the Hub is an embedded one, to which uploads go by LFS.

    Raises:
        HubRefusedError: The Hub said no.
        HubUnavailableError: The Hub did not answer, or somebody else was faster each time.
        DriftError: Somebody changed what hubpush published.
        CardError: The card cannot be rendered, or the Hub does not accept it.
    """
    repo_id, bump, landed, trouble = candidate.repo_id, None, "", ""
    for attempt in range(_ATTEMPTS):
        if attempt > 1 and trouble:
            time.sleep(_PAUSE * 2 ** (attempt - 2))
        trouble = ""
        try:
            remote = look(api, repo_id, cache)
            if not remote.exists:
                with _errors(repo_id):
                    api.create_repo(repo_id, private=private)
                continue
            manifest = remote.manifest
            if landed:
                _require_not_superseded(manifest, repo_id, landed)
            if manifest is not None and manifest.hold:
                return Published("held", manifest, remote.head, None)
            candidate = _adopt(candidate, manifest)
            if manifest is not None and manifest.tag not in (remote.tags or {}):
                _tag(api, repo_id, manifest, cache)
            if manifest is not None and manifest.inputs == candidate.inputs() and not remote.drift:
                commit = _tagged(api, repo_id, manifest)
                return Published("published" if bump else "unchanged", manifest, commit, bump)
            if bump and remote.drift:
                # What was just committed is not what stands there: a second try would not be either.
                require_untouched(remote, repo_id)
            step = plan_ahead(api, remote, candidate, cache, today, overwrite=overwrite)
            bump = step.bump
            _commit(api, candidate, step, remote.head, embedded=embedded)
            landed = step.version
        except _AgainError as again:
            trouble = again.message
    raise HubUnavailableError(
        f"{repo_id}: no success after {_ATTEMPTS} attempts" + (f"; last: {trouble}" if trouble else ""),
        hint="run the same command again later: it goes on where this one stopped",
    )


def download(api: HfApi, repo_id: str, revision: str | None, cache: Path) -> Path:
    """A model repo on this machine: config, tokenizer, weights, card, manifest.

    Args:
        api: The client.
        repo_id: The repo.
        revision: A branch, tag or commit; None for `main`.
        cache: Directory that keeps what was downloaded.

    Returns:
        The directory; its name is the commit.

    Raises:
        HubRefusedError: There is no such repo or revision, or it must not be read.
        HubUnavailableError: The Hub does not answer.
    """
    with _errors(repo_id), _quiet_bars():
        files = api.list_repo_files(repo_id, revision=revision)
        skipped = ["*.bin", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.pt", "*.gguf"]
        if "model.safetensors" not in files:
            skipped.remove("*.bin")
        return Path(api.snapshot_download(repo_id, revision=revision, cache_dir=cache, ignore_patterns=skipped))


def files_of(api: HfApi, repo_id: str, commit: str) -> list[str]:
    """Paths of all files of a commit.

    Raises:
        HubUnavailableError: The Hub does not answer.
        HubRefusedError: It refuses.
    """
    return sorted(_tree(api, repo_id, commit))


def check_rights(api: HfApi, repo_id: str, remote: Remote, *, embedded: bool) -> None:
    """Check that a push would be allowed, before anything is fetched or built.

    Raises:
        HubRefusedError: It would not, or there is no token.
        HubUnavailableError: The Hub does not answer.
    """
    owner = repo_id.partition("/")[0]
    with _errors(repo_id):
        if remote.exists:
            api.auth_check(repo_id, write=True)
        elif not embedded:
            me = api.whoami(cache=True)  # one call for a family: the Hub limits this one strictly
            owners = {me["name"], *(org["name"] for org in me.get("orgs", []))}
            if owner not in owners:
                raise HubRefusedError(
                    f"the token's user {me['name']} is no member of {owner}, so {repo_id} cannot be created",
                    hint=f"use a token of a member with write rights; this one has: {', '.join(sorted(owners))}",
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
    if _numbers(manifest.tag) > _numbers(f"v{landed}"):
        raise DriftError(
            f"{repo_id} got {manifest.tag} from somebody else right after v{landed} of this run",
            hint="two runs publish different contents to one repo: decide which is meant, and run that one again",
        )


class _AgainError(HubUnavailableError):
    """Look again: the outcome is unclear, somebody was faster, or the Hub had a bad moment."""


def _adopt(candidate: Candidate, manifest: Manifest | None) -> Candidate:
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


def _next_version(remote: Remote, files: Mapping[str, File], build: Build) -> tuple[str, Bump, str]:
    """The version after the highest there is, by what changes for the people who load the model."""
    old = remote.manifest
    versions = [_numbers(tag) for tag in remote.tags or {} if _numbers(tag)]
    if old is not None:
        versions.append(_numbers(old.tag))
    if not versions:
        return "1.0.0", "first", "first release"
    major, minor, patch = max(versions)
    before = old.files if old is not None else {}
    if old is None or any(path in before and before[path] != file for path, file in files.items()):
        changed = [path for path, file in files.items() if path in before and before[path] != file]
        if old is not None and changed == ["config.json"] and _labels(old.build) != _labels(build):
            return f"{major + 1}.0.0", "major", f"labels: {_labels(old.build)} → {_labels(build)}"
        return f"{major + 1}.0.0", "major", f"outputs can differ: {', '.join(changed) or 'published anew'}"
    added = [path for path in files if path not in before]
    if added:
        return f"{major}.{minor + 1}.0", "minor", f"added {', '.join(added)}"
    if remote.drift:
        return f"{major}.{minor}.{patch + 1}", "patch", f"put back {', '.join(remote.drift)}"
    why = "parity recorded" if old.build.verdict != build.verdict else "model card"
    return f"{major}.{minor}.{patch + 1}", "patch", why


def _labels(build: Build) -> str:
    """The names of a classifier's scores, in short."""
    names = list(map(str, build.model.config.get("id2label", {}).values()))
    return ", ".join(names[:8]) + (f", … ({len(names)})" if len(names) > 8 else "") or "none"


def _numbers(tag: str) -> tuple[int, ...]:
    # Somebody's v20240115.0.0 or 2024.01.15 is a date, and no version that ours have to be above.
    found = re.fullmatch(r"v([0-9]{1,6})\.([0-9]{1,6})\.([0-9]{1,6})", tag)
    return tuple(map(int, found.groups())) if found else ()


def _commit(api: HfApi, candidate: Candidate, step: Plan, parent: str, *, embedded: bool) -> None:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[CommitOperationAdd | CommitOperationDelete] = []
    for path in step.adds:
        if path == NAME:
            content: bytes | str = step.manifest.to_json().encode()
        elif path == README:
            content = step.readme.encode()
        elif path in step.pictures:
            content = step.pictures[path]
        elif candidate.folder is not None:
            if describe(candidate.folder / path) != step.manifest.files[path]:
                raise DriftError(
                    f"{path} in {candidate.folder} is not what was built and proven",
                    hint="something wrote to the work directory: run again",
                )
            content = str(candidate.folder / path)
        else:
            raise DriftError(
                f"{candidate.repo_id} lacks {path}, which only a new conversion can give",
                hint="run again with --overwrite, which converts anew",
            )
        operations.append(CommitOperationAdd(path, content))
    operations += [CommitOperationDelete(path) for path in step.deletes]
    build = step.manifest.build
    description = f"{step.change}\n\nParity: {build.verdict}\nSource: {build.source.name} sha256 {build.source.sha256}"
    with _errors(candidate.repo_id), _by_lfs(embedded), _quiet_bars():
        api.create_commit(
            candidate.repo_id,
            operations,
            commit_message=f"hubpush v{step.version}: {step.change}"[:200],
            commit_description=f"{description}\nhubpush {__version__}",
            parent_commit=parent,
        )


def _tag(api: HfApi, repo_id: str, manifest: Manifest, cache: Path) -> None:
    """Tag the oldest commit that carries this version; a tag that exists elsewhere is never moved."""
    with _errors(repo_id):
        target = ""
        for entry in api.list_repo_commits(repo_id):
            try:
                found = parse(_read(api, repo_id, NAME, entry.commit_id, cache), repo_id)
            except _NoSuchFileError:
                break
            if found.version != manifest.version:
                break
            target = entry.commit_id
        _verify(api, repo_id, manifest, target)
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


def _tagged(api: HfApi, repo_id: str, manifest: Manifest) -> str:
    """The commit of a version's tag, after a check that it serves every file at its digest."""
    with _errors(repo_id):
        tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo_id).tags}
    if manifest.tag not in tags:
        raise _AgainError(f"{repo_id}: the tag {manifest.tag} is not there", hint="run again")
    _verify(api, repo_id, manifest, tags[manifest.tag])
    return tags[manifest.tag]


def _verify(api: HfApi, repo_id: str, manifest: Manifest, commit: str) -> None:
    """Check that a commit serves every file of its manifest at its digest.

    Raises:
        DriftError: It does not; such a commit is never tagged.
    """
    files = _tree(api, repo_id, commit)
    wrong = [path for path, file in manifest.files.items() if not _stands(files, path, file)]
    if wrong:
        raise DriftError(
            f"{repo_id} does not serve what was built for {manifest.tag}: {', '.join(wrong)}",
            hint="is there a .gitignore in the repo that names them? remove the cause, then publish with --overwrite",
        )


def _tree(api: HfApi, repo_id: str, commit: str) -> dict[str, RemoteFile]:
    """The files of a commit."""
    from huggingface_hub.hf_api import RepoFile

    with _errors(repo_id):
        return {
            entry.path: RemoteFile(entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
            for entry in api.list_repo_tree(repo_id, revision=commit, recursive=True)
            if isinstance(entry, RepoFile)
        }


def _stands(files: Mapping[str, RemoteFile], path: str, file: File) -> bool:
    return path in files and files[path].equals(file)


class _NoSuchFileError(HubRefusedError):
    """A commit lacks a file."""


def _read(api: HfApi, repo_id: str, path: str, commit: str, cache: Path) -> str:
    """A small text file of a commit; the client keeps it, so that the same commit is never asked twice."""
    from huggingface_hub.errors import EntryNotFoundError

    with _errors(repo_id), _quiet_bars():
        try:
            local = api.hf_hub_download(repo_id, path, revision=commit, cache_dir=cache)
        except EntryNotFoundError:
            raise _NoSuchFileError(f"{repo_id} has no {path} at {commit[:12]}", hint="look at its history") from None
        try:
            return Path(local).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise DriftError(
                f"{path} of {repo_id} at {commit[:12]} is not UTF-8", hint="restore it from the repo's history"
            ) from None


@contextmanager
def _errors(repo_id: str) -> Iterator[None]:
    """Around calls of the client alone: what it raises for reasons outside this program becomes hubpush's errors.

    The client passes on what its JSON decoder and its look-ups raise when an answer is not the Hub's, and wraps what
    happens in its upload threads in a RuntimeError.
    """
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled:
        raise HubUnavailableError(
            "HF_HUB_OFFLINE is set: huggingface_hub reaches no Hub, not even an embedded one",
            hint="unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE for this command",
        ) from None
    except (
        HfHubHTTPError,
        httpx2.HTTPError,
        OSError,
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        NameError,
    ) as error:
        raise _translated(error, repo_id) from None


def _translated(error: BaseException, repo_id: str) -> HubpushError:
    """What an error of the client means: the Hub refuses, or look again."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    if isinstance(error, HubpushError):  # of the client's own hooks, out of an upload's thread
        return error
    why = redact(f"{type(error).__name__}: {error}".splitlines()[0])
    if isinstance(error, LocalTokenNotFoundError):
        return HubRefusedError(
            "there is no Hugging Face token on this machine",
            hint="run `hf auth login`, or set HF_TOKEN; --hub DIR needs none",
        )
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code if error.response is not None else 0
        reason = redact((error.server_message or str(error).splitlines()[0]).strip())
        if status in (408, 409, 412, 429) or status >= 500 or status == 0:
            return _AgainError(f"{repo_id}: the Hub answers {status}: {reason}", hint="run again later")
        hint = {
            401: "is the token valid? `hf auth whoami` tells; an embedded Hub with users gets the token `embedded`",
            403: f"the token needs write rights on {repo_id}; a fine-grained token names its repos",
            404: "a typo, a private repo, or no token: the Hub answers the same to all three",
            402: "the owner's plan or storage is used up",
        }.get(status, "the Hub's words say what it does not accept")
        return HubRefusedError(f"{repo_id}: the Hub refuses ({status}): {reason}", hint=hint)
    if isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError):
        return _AgainError(
            f"{repo_id}: the Hub cannot be reached ({why})",
            hint="check the network, --hub, and HTTP_PROXY/NO_PROXY (an embedded Hub is at 127.0.0.1)",
        )
    if isinstance(error, ValueError) and "Invalid metadata" in str(error):
        return CardError(f"{repo_id}: the Hub does not accept the card: {error}", hint="correct the family file")
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        return _translated(error.__cause__, repo_id)
    return _AgainError(
        f"{repo_id}: the answer is not the Hub's, or not whole ({why})",
        hint="check --hub; if it is right, run again later",
    )


@contextmanager
def _by_lfs(embedded: bool) -> Iterator[None]:
    """Upload by LFS, which is faster than xet on loopback. The client reads this constant at every call."""
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_XET
    constants.HF_HUB_DISABLE_XET = before or embedded
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


@contextmanager
def _quiet_bars() -> Iterator[None]:
    """Keep the client quiet: hubpush shows its own progress; the client's bars would write over it."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
