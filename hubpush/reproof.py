"""All published versions of a family, proved again with the libraries that are installed now.

A frozen checkpoint does not change; what surrounds it does. Every version is downloaded and held against its manifest.
Versions with the same converted files and the same record (releases of the card alone) are loaded once. One process
does it, with one model in memory; what a repo was downloaded for is done before the next one is.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubpush import job, manifest, proof, remote
from hubpush.client import errors, late, require_time
from hubpush.errors import DriftError, HubpushError, HubRefusedError, MissingExtraError, redact
from hubpush.job import Job, Tell
from hubpush.parity import recorded
from hubpush.parity.recorded import Finding

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_NO_KERAS = 'KerasHub: not installed (pip install "hubpush[keras]")'


@dataclass(frozen=True)
class Looking:
    """How closely is looked.

    Attributes:
        digests_only: Bytes alone, nothing is loaded.
        keras: With KerasHub, too; None where it is installed.
        keep: Keep on the disk what is downloaded.
    """

    digests_only: bool = False
    keras: bool | None = None
    keep: bool = False

    def require_installed(self) -> None:
        """Check for the packages that are looked with: a re-proof that cannot look must not pass.

        Raises:
            MissingExtraError: One is missing.
        """
        if self.digests_only:
            return
        if missing := recorded.missing():
            raise MissingExtraError(
                f"{' and '.join(missing)} not installed: ids and outputs of what is published cannot be proved again",
                hint='pip install "hubpush[parity]", or --digests for the bytes alone',
            )
        if self.keras and not self.with_keras:
            raise MissingExtraError(
                "keras-hub is not installed, and --keras asks for it", hint='pip install "hubpush[keras]"'
            )

    @property
    def with_keras(self) -> bool:
        """Whether versions are loaded with KerasHub."""
        if self.digests_only or self.keras is False:
            return False
        return all(importlib.util.find_spec(name) is not None for name in ("keras_hub", "tensorflow"))

    def libraries(self) -> dict[str, str]:
        """The libraries that it is looked with, and their versions."""
        if self.digests_only:
            return {}
        return recorded.libraries(recorded.PACKAGES + (recorded.KERAS_PACKAGES if self.with_keras else ()))


@dataclass(frozen=True)
class Proven:
    """What became of one published version.

    Attributes:
        name: The release.
        repo_id: The repo.
        version: Its version; None where a repo could not be asked for its versions.
        commit: The commit of its tag.
        verified: What was found.
        error: Why nothing was.
        seconds: How long it took.
    """

    name: str
    repo_id: str
    version: str | None
    commit: str | None
    verified: proof.Verification | None = None
    error: HubpushError | None = None
    seconds: float = 0.0

    @property
    def title(self) -> str:
        """The release and its version, for people."""
        return self.name if self.version is None else f"{self.name} v{self.version}"

    @property
    def verdict(self) -> str:
        """`same`, `different`, or `failed` where that is not known."""
        if self.verified is None:
            return "failed"
        return "same" if self.verified.is_same else "different"

    def to_json(self, libraries: Mapping[str, str]) -> dict[str, Any]:
        """The row of `verify --org --json`.

        Args:
            libraries: The versions that it was looked with.
        """
        found = None if self.verified is None else self.verified.to_json()
        error = self.error and {
            "code": self.error.exit_code,
            "message": redact(self.error.message),
            "hint": redact(self.error.hint),
        }
        return {
            "name": self.name,
            "repo_id": self.repo_id,
            "version": self.version,
            "commit": self.commit,
            "recorded": None if found is None else found["recorded"],
            "verdict": self.verdict,
            "findings": [] if found is None else found["findings"],
            "skipped": [] if found is None else found["skipped"],
            "moved": [] if self.verified is None else moved(self.verified.manifest, libraries),
            "error": error,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Reproof:
    """What became of a family.

    Attributes:
        family: Its name.
        libraries: The libraries that it was looked with, and their versions.
        versions: What was looked at; of each repo the newest first.
        loads: How many times a model was loaded; versions with the same files share one.
        absent: Repos that are not on the Hub, or hold no release.
    """

    family: str
    libraries: Mapping[str, str]
    versions: tuple[Proven, ...]
    loads: int
    absent: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """That of a difference if there is one, else that of the failures where all are of one kind."""
        if any(one.verdict == "different" for one in self.versions):
            return DriftError.exit_code
        codes = {one.error.exit_code for one in self.versions if one.error is not None}
        return codes.pop() if len(codes) == 1 else int(bool(codes))

    def to_json(self) -> dict[str, Any]:
        """The result as `verify --org --json` has it."""
        return {
            "family": self.family,
            "libraries": dict(self.libraries),
            "loads": self.loads,
            "absent": list(self.absent),
            "versions": [one.to_json(self.libraries) for one in self.versions],
        }


def moved(found: manifest.Manifest, libraries: Mapping[str, str]) -> list[str]:
    """The libraries that are others now than when a version was proven: `transformers 5.23.0 -> 5.31.0`.

    Args:
        found: The manifest of the version.
        libraries: What is installed now.
    """
    then = {} if found.build.parity is None else found.build.parity["environment"]
    return [f"{name} {then[name]} -> {now}" for name, now in libraries.items() if name in then and then[name] != now]


def prove_again(
    jobs: Sequence[Job],
    cache: Path,
    looking: Looking,
    tell: Tell,
    done: Callable[[Proven], None],
    named: Collection[str] = (),
) -> Reproof:
    """Look at every published version of some releases. What concerns one version alone ends no other.

    Args:
        jobs: The releases.
        cache: Directory for what is downloaded. A repo that was not in it before is removed from it when it is done.
        looking: How closely is looked.
        tell: Told about progress.
        done: Told about each version as soon as it is known.
        named: Releases that are asked for by their names: one that is not published failed.

    Raises:
        MissingExtraError: What is needed to look is not installed.
        UsageError: The Hub cannot be asked as it is configured.
    """
    looking.require_installed()
    family = _Family(cache, looking, tell, done, frozenset(named))
    for one in jobs:
        family.look(one)
    return Reproof(jobs[0].family.name, looking.libraries(), tuple(family.versions), family.loads, tuple(family.absent))


def require_some(found: Reproof, owner: str) -> None:
    """Check that anything was looked at.

    Raises:
        HubRefusedError: Nothing of the family is published.
    """
    if not found.versions:
        raise HubRefusedError(
            f"nothing of {found.family} is published by {owner}, so nothing was proved again",
            hint="check --org, --family and --hub; a private repo needs a token that can read it",
        )


def tags(found: Mapping[str, str]) -> list[tuple[str, str]]:
    """Tags of versions and their commits, the newest first."""
    versions = {tag: match for tag in found if (match := _VERSION.fullmatch(tag))}
    order = sorted(versions, key=lambda tag: tuple(map(int, versions[tag].groups())), reverse=True)
    return [(tag, found[tag]) for tag in order]


@dataclass
class _Family:
    """The state of a run over a family."""

    cache: Path
    looking: Looking
    tell: Tell
    done: Callable[[Proven], None]
    named: frozenset[str]
    versions: list[Proven] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    loads: int = 0

    def look(self, one: Job) -> None:
        """Look at all versions of a repo."""
        bounds, start = one.options.bounds, time.monotonic()
        try:
            require_time(bounds)
            api = job.client(one)
            found = _published(api, one.repo_id)
            if not found and one.release.name in self.named:
                raise HubRefusedError(
                    f"{one.repo_id} is not on the Hub, or holds no release",
                    hint="was it deleted, or made private? a private repo needs a token that can read it",
                )
        except HubpushError as error:
            seconds = time.monotonic() - start
            self._finish(Proven(one.release.name, one.repo_id, None, None, error=late(error, bounds), seconds=seconds))
            return
        if not found:
            self.absent.append(one.repo_id)
            return
        place = self.cache / f"models--{one.repo_id.replace('/', '--')}"
        is_kept = self.looking.keep or place.exists()
        loaded: dict[tuple[str, str], _Loaded] = {}
        try:
            for tag, commit in found:
                self._finish(self._version(api, one, tag, commit, loaded))
        finally:
            if not is_kept:
                shutil.rmtree(place, ignore_errors=True)
                shutil.rmtree(self.cache / ".locks" / place.name, ignore_errors=True)

    def _finish(self, proven: Proven) -> None:
        self.versions.append(proven)
        self.done(proven)

    def _version(self, api: HfApi, one: Job, tag: str, commit: str, loaded: dict[tuple[str, str], _Loaded]) -> Proven:
        proven, start, bounds = (
            Proven(one.release.name, one.repo_id, tag[1:], commit),
            time.monotonic(),
            one.options.bounds,
        )
        try:
            require_time(bounds)
            self.tell(proven.title, "fetch", None)
            verified, folder = proof.compare_bytes(api, one.repo_id, commit, self.cache, tag=tag)
            verified = self._loaded(proven, verified, folder, loaded)
            proven = replace(proven, verified=verified)
        except HubpushError as error:
            proven = replace(proven, error=late(error, bounds))
        except OSError as error:  # the disk, which is read again here
            proven = replace(proven, error=HubpushError(f"{error}", hint="check the disk, and the rights on --work"))
        return replace(proven, seconds=time.monotonic() - start)

    def _loaded(
        self, proven: Proven, verified: proof.Verification, folder: Path, loaded: dict[tuple[str, str], _Loaded]
    ) -> proof.Verification:
        """What was found of a version's bytes, and what its libraries make of them, or made of the same ones."""
        why = proof.why_not_loaded(verified, digests_only=self.looking.digests_only)
        if why is not None:
            return replace(verified, skipped=(why,))
        build = verified.manifest.build
        key = (build.conversion, recorded.identity(build.model_dump(mode="json")))
        if key not in loaded:
            self.tell(proven.title, "load", None)
            self.loads += 1
            loaded[key] = proof.load(verified, folder, keras=self.looking.with_keras)
        findings, skipped = loaded[key]
        if not self.looking.with_keras and self.looking.keras is None:
            skipped = (*skipped, _NO_KERAS)
        return replace(verified, findings=(*verified.findings, *findings), skipped=skipped)


_Loaded = tuple[tuple[Finding, ...], tuple[str, ...]]


def _published(api: HfApi, repo_id: str) -> list[tuple[str, str]]:
    """The versions of a repo and their commits, the newest first; none where it does not exist, or has no release.

    Raises:
        DriftError: It holds a release, and no tag of a version.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    with errors(repo_id):
        try:
            refs = api.list_repo_refs(repo_id)
        except RepositoryNotFoundError:
            return []
    found = tags({tag.name: tag.target_commit for tag in refs.tags})
    head = next((branch.target_commit for branch in refs.branches if branch.name == "main"), None)
    if not found and head is not None and manifest.NAME in remote.tree(api, repo_id, head):
        raise DriftError(
            f"{repo_id} holds a release, and no tag of a version",
            hint="were its tags deleted? the next run of `hubpush convert-and-upload` tags the newest version again",
        )
    return found
