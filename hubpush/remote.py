"""What stands on the Hub: read, never written.

`look` reads one repo: its refs, the tree of its head, its manifest, and what was changed since by somebody else. Every
other read here is by commit, so that nothing changes between two of them.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hubpush import card, metadata
from hubpush.client import AgainError, by_lfs, errors, quiet_bars
from hubpush.errors import DriftError, HubRefusedError
from hubpush.manifest import NAME, README, File, Manifest, describe_bytes, parse

if TYPE_CHECKING:
    from huggingface_hub import HfApi


_SMALL = 16 << 20  # bytes; a manifest with all its samples has less than one

TITLE = "hubpush v"
"""How the title of a pull request of ours begins; what follows is the version and a colon."""

_TITLE = re.compile(rf"{TITLE}\d+\.\d+\.\d+: ")


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
class Proposal:
    """A pull request of ours that is open: what it would make of `main`, and whether it can be merged."""

    number: int
    title: str
    head: str
    files: Mapping[str, RemoteFile]
    manifest: Manifest
    drift: tuple[str, ...]
    has_conflicts: bool


@dataclass(frozen=True)
class Remote:
    """What stands on the Hub.

    Attributes:
        exists: Whether the repo does (for a stranger a private one does not).
        head: Commit of `main`.
        tags: Commits by tag.
        files: Files of `main`, with SHA-256 for LFS files and git ids for the others.
        manifest: The ledger, if the repo has one.
        record: The digests of its file.
        drift: Published files, or generated parts of the card, that were changed or removed since.
        is_reachable: False for the empty Hub that a dry run without network plans against.
        proposals: Pull requests of ours that are open, the oldest first, where they were asked for.
    """

    exists: bool
    head: str = ""
    tags: Mapping[str, str] | None = None
    files: Mapping[str, RemoteFile] | None = None
    manifest: Manifest | None = None
    record: File | None = None
    drift: tuple[str, ...] = ()
    is_reachable: bool = True
    proposals: tuple[Proposal, ...] = ()


def look(api: HfApi, repo_id: str, cache: Path, *, author: str | None = None) -> Remote:
    """Read what stands on the Hub: at most four requests, and two more if a person changed README.md.

    Args:
        api: The client.
        repo_id: The repo.
        cache: Directory for the few small files that are read.
        author: Whose open pull requests are read too: one more request, and two for each.

    Raises:
        HubUnavailableError: The Hub does not answer.
        HubRefusedError: It refuses.
        DriftError: The manifest there cannot be read.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    with errors(repo_id):
        try:
            refs = api.list_repo_refs(repo_id, include_pull_requests=author is not None)
        except RepositoryNotFoundError:
            return Remote(exists=False)
        head = next((branch.target_commit for branch in refs.branches if branch.name == "main"), "")
        if not head:
            raise HubRefusedError(f"{repo_id} has no branch main", hint="create it on the Hub, or delete the repo")
        tags = {tag.name: tag.target_commit for tag in refs.tags}
        pulls = {ref.ref: ref.target_commit for ref in refs.pull_requests or ()}
    files = tree(api, repo_id, head)
    if NAME not in files:
        proposals = _proposals(api, repo_id, pulls, author, None, cache) if author is not None and pulls else ()
        return Remote(True, head, tags, files, proposals=proposals)
    text = read(api, repo_id, NAME, head, cache, files)
    manifest = parse(text, repo_id)
    drift = drift_of(api, repo_id, head, files, manifest, cache)
    if tags.get(manifest.tag, head) != head and not _carries(
        api, repo_id, tags[manifest.tag], files[NAME], manifest, cache
    ):
        drift += (f"tag {manifest.tag}",)
    proposals = _proposals(api, repo_id, pulls, author, manifest, cache) if author is not None and pulls else ()
    return Remote(True, head, tags, files, manifest, describe_bytes(text.encode()), drift, proposals=proposals)


def drift_of(
    api: HfApi, repo_id: str, commit: str, files: Mapping[str, RemoteFile], manifest: Manifest, cache: Path
) -> tuple[str, ...]:
    """What of a release does not stand in a commit that carries its manifest.

    A person's words around the generated parts of the card take nothing away from it.
    """
    drift = [path for path, file in manifest.files.items() if path != README and not stands(files, path, file)]
    if README in manifest.files and not stands(files, README, manifest.files[README]):
        text = read(api, repo_id, README, commit, cache, files) if README in files else ""
        parts = card.generated(text)
        drift += [
            part_of(name)
            for name in [*manifest.card_parts, *(manifest.kept or ())]
            if parts.get(name) != manifest.card_parts.get(name)
        ]
    return tuple(dict.fromkeys(drift))


def part_of(name: str) -> str:
    """How drift names a generated part of the card."""
    return f"{README} ({name})"


def _proposals(
    api: HfApi, repo_id: str, pulls: Mapping[str, str], author: str, main: Manifest | None, cache: Path
) -> tuple[Proposal, ...]:
    """The open pull requests of one author that carry a release of their own, the oldest first.

    The same person may have opened others by hand; and a stranger's, whatever it is called, is never ours.
    """
    with errors(repo_id):
        numbers = sorted(
            one.num
            for one in api.get_repo_discussions(
                repo_id, author=author, discussion_type="pull_request", discussion_status="open"
            )
            if one.author == author
        )
    found = []
    for number in numbers:
        if (head := pulls.get(f"refs/pr/{number}")) is None:
            continue
        files = tree(api, repo_id, head)
        if NAME not in files:
            continue
        try:
            manifest = parse(read(api, repo_id, NAME, head, cache, files), repo_id)
        except DriftError:
            continue
        with errors(repo_id):
            details = api.get_discussion_details(repo_id, number)
        # A reviewer may have given it another title; it goes on from the release of `main` all the same.
        is_next = manifest.history[:-1] == (main.history if main is not None else ())
        if not is_next and not _TITLE.match(details.title):
            continue
        drift, stuck = drift_of(api, repo_id, head, files, manifest, cache), bool(details.conflicting_files)
        found.append(Proposal(number, details.title, head, files, manifest, drift, stuck))
    return tuple(found)


def _carries(api: HfApi, repo_id: str, commit: str, record: RemoteFile, manifest: Manifest, cache: Path) -> bool:
    """Whether a commit holds the manifest of a release, and its files."""
    files = tree(api, repo_id, commit)
    if not all(stands(files, path, file) for path, file in manifest.files.items()):
        return False
    if files.get(NAME) == record:
        return True
    try:
        return parse(read(api, repo_id, NAME, commit, cache, files), repo_id).is_release(manifest)
    except (NoSuchFileError, DriftError):
        return False


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
    # Over plain HTTP, where the client's bounds hold: a download by xet has no end of its own.
    with errors(repo_id), by_lfs(True), quiet_bars():
        files = api.list_repo_files(repo_id, revision=revision)
        skipped = ["*.bin", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.pt", "*.gguf"]
        if "model.safetensors" not in files:
            skipped.remove("*.bin")
        return Path(api.snapshot_download(repo_id, revision=revision, cache_dir=cache, ignore_patterns=skipped))


def tree(api: HfApi, repo_id: str, commit: str) -> dict[str, RemoteFile]:
    """The files of a commit."""
    from huggingface_hub.hf_api import RepoFile

    with errors(repo_id):
        return {
            entry.path: RemoteFile(entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
            for entry in api.list_repo_tree(repo_id, revision=commit, recursive=True)
            if isinstance(entry, RepoFile)
        }


def stands(files: Mapping[str, RemoteFile], path: str, file: File) -> bool:
    """Whether a tree has a file of a manifest at its digest."""
    return path in files and files[path].equals(file)


class NoSuchFileError(HubRefusedError):
    """A commit lacks a file."""


def read(
    api: HfApi, repo_id: str, path: str, commit: str, cache: Path, files: Mapping[str, RemoteFile] | None = None
) -> str:
    """A small text file of a commit, by one request at most: what is kept on this machine is known by its digest.

    Args:
        api: The client.
        repo_id: The repo.
        path: The file.
        commit: The commit.
        cache: Directory for such files.
        files: The tree of the commit, if it is known.

    Raises:
        NoSuchFileError: The commit lacks it.
        DriftError: It is no text, or no small file.
        HubUnavailableError: The Hub does not answer, or not with that file.
    """
    file = (files if files is not None else tree(api, repo_id, commit)).get(path)
    if file is None:
        raise NoSuchFileError(f"{repo_id} has no {path} at {commit[:12]}", hint="look at its history")
    where = f"{path} of {repo_id} at {commit[:12]}"
    if file.size > _SMALL:
        raise DriftError(f"{where} has {file.size:,} bytes", hint="restore it from the repo's history")
    local = cache / "files" / (file.sha256 or file.git_oid)
    data = local.read_bytes() if local.is_file() else b""
    if not file.equals(describe_bytes(data)):
        data = _fetched(api, repo_id, path, commit)
        if not file.equals(describe_bytes(data)):
            raise AgainError(f"{where}: the Hub's answer is not this file", hint="run again later")
        local.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=local.parent, delete=False) as partial:
            partial.write(data)
        Path(partial.name).replace(local)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise DriftError(f"{where} is not UTF-8", hint="restore it from the repo's history") from None


def check_card(api: HfApi, repo_id: str, text: str) -> list[metadata.Problem]:
    """What the Hub says of a card's metadata; the client itself drops the warnings.

    Raises:
        HubUnavailableError: It does not answer.
    """
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import get_session, hf_raise_for_status

    with errors(repo_id):
        response = get_session().post(
            f"{api.endpoint}/api/validate-yaml",
            json={"repoType": "model", "content": text},
            headers=build_hf_headers(token=api.token),
        )
        if response.status_code != 400:
            hf_raise_for_status(response)
        answer = response.json()
        found = [(kind, one["message"]) for kind in ("error", "warning") for one in answer.get(f"{kind}s", ())]
    return [
        metadata.Problem("error" if kind == "error" else "warning", "the Hub", message, card.CORRECT)
        for kind, message in found
    ]


def _fetched(api: HfApi, repo_id: str, path: str, commit: str) -> bytes:
    """The bytes of a file. `hf_hub_download` would ask twice, once for what the tree has said already."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import hf_raise_for_status, http_backoff

    with errors(repo_id):
        url = hf_hub_url(repo_id, path, revision=commit, endpoint=api.endpoint)
        headers = build_hf_headers(token=api.token, library_name=api.library_name, library_version=api.library_version)
        response = http_backoff("GET", url, headers=headers, follow_redirects=True)
        hf_raise_for_status(response)
        return response.content
