"""What must hold in a published repository, read with git: hubpush's own code has no part in the judgement.

* I1 every release commit serves the files of its manifest at their digests,
* I2 there is one release commit a version, and versions only rise,
* I3 one tag a version, at that commit; a tag that was seen stays where it was,
* I4 no tag points at an incomplete tree,
* I5 what others committed is still there, and what they changed was not replaced unseen,
* I6 a run without faults ends with what was to be published.

A release commit is one whose manifest differs from the one before it in more than `hold`, which a person may set. What
comes by a pull request is judged where it reaches `main`; its tag may stand at the merge, or at the commit that was
merged.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import subprocess
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NAME, _README = "hubpush.json", "README.md"
_REGION = re.compile(r"<!-- hubpush:begin ([a-z-]+) -->\n.*?\n<!-- hubpush:end \1 -->", flags=re.DOTALL)
_MATTER = re.compile(r"\A---\n(.*?)\n---(?:\n|\Z)", flags=re.DOTALL)
_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True)
class Release:
    """A release commit.

    Attributes:
        version: `X.Y.Z`.
        commit: Its id.
        manifest: Its hubpush.json.
        card: Its README.md.
        parent: Id of the commit before it on `main`; empty for the first.
    """

    version: str
    commit: str
    manifest: Mapping[str, Any]
    card: str
    parent: str

    def digests(self) -> dict[str, str]:
        """SHA-256 of the converted files, by path."""
        return {path: file["sha256"] for path, file in self.manifest["build"]["files"].items()}


@dataclass(frozen=True)
class Repository:
    """A repository of an embedded Hub as git sees it.

    Attributes:
        path: The bare repository.
        trees: Blob by path of every commit of `main` along the first parents, the oldest first.
        blobs: Contents of all those blobs; LFS files are pointers.
        tags: Commits by tag.
        merged: Blob by path of tagged commits that reached `main` by a merge.
    """

    path: Path
    trees: Mapping[str, Mapping[str, str]]
    blobs: Mapping[str, bytes]
    tags: Mapping[str, str]
    merged: Mapping[str, Mapping[str, str]]

    def releases(self) -> list[Release]:
        """The release commits, the oldest first."""
        found: list[Release] = []
        content, parent = None, ""
        for commit, tree in self.trees.items():
            manifest = _manifest(self.blobs.get(tree.get(_NAME, "")))
            now = _content(manifest)
            if now and now != content:
                card = self.blobs.get(tree.get(_README, ""), b"").decode("utf-8", "replace")
                found.append(Release(manifest["version"], commit, manifest, card, parent))
            content, parent = now or content, commit
        return found

    def serves(self, blob: str | None, sha256: str) -> bool:
        """Whether what a tree names has this digest, and for an LFS file whether it is whole."""
        if blob is None:
            return False
        if hashlib.sha256(self.blobs[blob]).hexdigest() == sha256:
            return True
        digest = self.blobs[blob].decode("latin-1").partition("oid sha256:")[2][:64]
        lfs = self.path.parents[2] / "lfs" / digest[:2] / digest[2:4] / digest
        return digest == sha256 and lfs.is_file() and hashlib.sha256(lfs.read_bytes()).hexdigest() == sha256

    def tree(self, commit: str) -> Mapping[str, str]:
        """Blob by path of a commit; nothing for one that `main` never reached."""
        return self.trees.get(commit) or self.merged.get(commit, {})

    def manifest(self, commit: str) -> dict[str, Any]:
        """The manifest of a commit; empty where there is none."""
        return _manifest(self.blobs.get(self.tree(commit).get(_NAME, "")))

    def lacks(self, commit: str, manifest: Mapping[str, Any]) -> list[str]:
        """Files of a manifest that a commit does not serve at their digests."""
        tree = self.tree(commit)
        return [path for path, file in manifest["files"].items() if not self.serves(tree.get(path), file["sha256"])]


def read(hub: Path, repo_id: str) -> Repository | None:
    """Read a repository of an embedded Hub; None if there is none."""
    path = hub / "models" / f"{repo_id}.git"
    if not path.exists():
        return None
    text = _git(path, "for-each-ref", "--format=%(refname:strip=2) %(objectname) %(*objectname)", "refs/tags")
    tags = {line.split()[0]: line.split()[-1] for line in text.decode().splitlines()}
    changes = _git(
        path,
        *("-c", "core.quotePath=false", "log", "main", "--first-parent", "--diff-merges=first-parent", "--root"),
        *("--reverse", "--raw", "--no-abbrev", "--no-renames", "--format=commit %H"),
    )
    trees: dict[str, dict[str, str]] = {}
    tree: dict[str, str] = {}
    for line in changes.decode().splitlines():
        if line.startswith("commit "):
            trees[line.split()[1]] = tree = dict(tree)
        elif line:
            head, _, name = line.partition("\t")
            blob = head.split()[3]
            if blob.strip("0"):
                tree[name] = blob
            else:
                del tree[name]
    aside = set(tags.values()) - trees.keys()
    reached = aside & set(_git(path, "rev-list", "main").decode().split()) if aside else set[str]()
    merged = {commit: _listed(path, commit) for commit in reached}
    blobs = {blob for tree in (*trees.values(), *merged.values()) for blob in tree.values()}
    return Repository(path, trees, _blobs(path, blobs), tags, merged)


def violations(
    hub: Path,
    repo_id: str,
    *,
    version: str | None = None,
    files: Mapping[str, bytes] | None = None,
    says: str = "",
    kept: Collection[str] = (),
    tags: Mapping[str, str] | None = None,
    overwrites: Collection[str] = (),
) -> list[str]:
    """The laws that a repository breaks.

    Args:
        hub: Directory of the embedded Hub.
        repo_id: The repo.
        version: Its last release, when publishing has come to its end; None while it may still be on the way.
        files: What `main` serves in the end.
        says: What its card says then, among other things.
        kept: Commits that others were told are there.
        tags: Version tags that were seen, with their commits.
        overwrites: Versions whose publisher was told to put back what others changed.
    """
    repo = read(hub, repo_id)
    if repo is None:
        return ["I6: there is no repository"] * (version is not None) + ["I5: the repository is gone"] * bool(kept)
    releases = repo.releases()
    found = [*_complete(repo, releases), *_single(releases), *_tagged(repo, releases, tags or {})]
    found += [f"I5: the commit {commit[:12]} is gone" for commit in kept if commit not in repo.trees]
    for before, release in zip([None, *releases], releases, strict=False):
        found += _unseen(repo, before, release, overwrites=release.version in overwrites)
    if version is not None:
        last = releases[-1].version if releases else "none"
        found += [f"I6: the last release is {last}, not {version}"] * (last != version)
        found += [f"I3: {one.version} has no tag" for one in releases if f"v{one.version}" not in repo.tags]
    tree = list(repo.trees.values())[-1]
    for path, content in (files or {}).items():
        if not repo.serves(tree.get(path), hashlib.sha256(content).hexdigest()):
            found.append(f"I6: {path} is not what was to be published")
    if says.encode() not in repo.blobs.get(tree.get(_README, ""), b""):
        found.append(f"I6: the card does not say {says!r}")
    return found


def _complete(repo: Repository, releases: list[Release]) -> Iterator[str]:
    for release in releases:
        if wrong := repo.lacks(release.commit, release.manifest):
            yield f"I1: {release.version} lacks {', '.join(wrong)}"
            if release.commit in repo.tags.values():
                yield f"I4: a tag points at the incomplete {release.version}"


def _single(releases: list[Release]) -> Iterator[str]:
    for version, count in Counter(release.version for release in releases).items():
        if count > 1:
            yield f"I2: {count} commits of {version}"
    numbers = [tuple(map(int, release.version.split("."))) for release in releases]
    for before, after in itertools.pairwise(numbers):
        if after < before:
            yield f"I2: {'.'.join(map(str, after))} came after {'.'.join(map(str, before))}"


def _tagged(repo: Repository, releases: list[Release], seen: Mapping[str, str]) -> Iterator[str]:
    first: dict[str, str] = {}
    for release in releases:
        first.setdefault(f"v{release.version}", release.commit)
    for tag, commit in repo.tags.items():
        if not _VERSION.fullmatch(tag):
            continue
        manifest = repo.manifest(commit)
        if tag not in first:
            yield f"I3: a tag {tag} without a release"
        elif first[tag] != commit and not (
            commit in repo.merged and _content(manifest) == _content(repo.manifest(first[tag]))
        ):
            yield f"I3: the tag {tag} is not at its commit"
        if not manifest or repo.lacks(commit, manifest):
            yield f"I4: the tag {tag} points at an incomplete tree"
    for tag, commit in seen.items():
        if repo.tags.get(tag) != commit:
            yield f"I3: the tag {tag} was moved or removed"


def _unseen(repo: Repository, before: Release | None, release: Release, *, overwrites: bool) -> Iterator[str]:
    """What a release replaced although somebody else had put it there; text beside the card's parts is never to go."""
    there, now = repo.trees.get(release.parent, {}), repo.trees[release.commit]
    ours = before.manifest["files"] if before is not None else {}
    for path, blob in there.items():
        if path == _NAME or now.get(path) == blob:
            continue
        if path == _README:
            card, after = (repo.blobs[at].decode("utf-8", "replace") if at else "" for at in (blob, now.get(path)))
            lost = Counter(_beside(card)) - Counter(_beside(after))
            if lost:
                yield f"I5: {release.version} loses what a person wrote into the card: {next(iter(lost))[:60]!r}"
            known = before.manifest["card_parts"] if before is not None else {}
            changed = [name for name, digest in known.items() if _parts(card).get(name) != digest]
        else:
            changed = [] if path in ours and repo.serves(blob, ours[path]["sha256"]) else [path]
        if changed and not (overwrites and (path in ours or path in release.manifest["files"])):
            yield f"I5: {release.version} replaces {path} ({', '.join(changed)}), which somebody else put there"


def _parts(card: str) -> dict[str, str]:
    """Digests of the generated parts of a card."""
    matter = _MATTER.match(card)
    parts = {"front matter": matter[1] if matter else "", **{found[1]: found[0] for found in _REGION.finditer(card)}}
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in parts.items()}


def _beside(card: str) -> list[str]:
    """The lines of a card that no publisher made."""
    return [line for line in _REGION.sub("", _MATTER.sub("", card)).splitlines() if line.strip()]


def _manifest(text: bytes | None) -> dict[str, Any]:
    """A manifest; empty where there is none, or what somebody left of it is none."""
    try:
        found = json.loads(text or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) and {"version", "files", "build", "card_parts"} <= found.keys() else {}


def _content(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest without what a person may set."""
    return {key: value for key, value in manifest.items() if key != "hold"}


def _listed(path: Path, commit: str) -> dict[str, str]:
    lines = _git(path, "-c", "core.quotePath=false", "ls-tree", "-r", commit).decode().splitlines()
    return {name: head.split()[2] for head, _, name in (line.partition("\t") for line in lines)}


def _blobs(path: Path, names: Collection[str]) -> dict[str, bytes]:
    out, blobs, position = _git(path, "cat-file", "--batch", given="\n".join(names).encode()), {}, 0
    while position < len(out):
        end = out.index(b"\n", position)
        name, _, size = out[position:end].decode().split()
        blobs[name] = out[end + 1 : end + 1 + int(size)]
        position = end + 1 + int(size) + 1
    return blobs


def _git(path: Path, *arguments: str, given: bytes = b"") -> bytes:
    return subprocess.run(["git", "-C", str(path), *arguments], input=given, capture_output=True, check=True).stdout
