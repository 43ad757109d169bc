"""Proof of folders that stand already: one on this machine against its checkpoint, a published one against its record.

`verify` is for people who only consume a model: digests need neither TensorFlow nor torch nor transformers, outputs
need no TensorFlow, and only the whole proof needs the checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubpush import card, catalog, conversion, manifest, parity, pipeline, remote, source
from hubpush.download import Progress
from hubpush.errors import DriftError, UsageError
from hubpush.parity import recorded
from hubpush.parity.published import strangers
from hubpush.parity.recorded import Finding

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from hubpush.catalog import Release
    from hubpush.manifest import Build, File, Manifest


@dataclass(frozen=True)
class Verification:
    """What was found of one version of a repo.

    Attributes:
        repo_id: The repo.
        commit: The commit that was looked at.
        manifest: Its manifest.
        findings: What was looked at, in order.
        skipped: What was not looked at, and why.
        report: The proof against the source, where one was given.
    """

    repo_id: str
    commit: str
    manifest: Manifest
    findings: tuple[Finding, ...]
    skipped: tuple[str, ...]
    report: parity.ParityReport | None = None

    @property
    def is_same(self) -> bool:
        """Whether everything that was looked at is what the manifest says."""
        return all(finding.is_same for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The result as `verify --json` has it."""
        return {
            "repo_id": self.repo_id,
            "commit": self.commit,
            "version": self.manifest.version,
            "recorded": self.manifest.build.verdict,
            "verdict": "same" if self.is_same else "different",
            "findings": [
                {"what": f.what, "expected": f.expected, "found": f.found, "same": f.is_same} for f in self.findings
            ],
            "skipped": list(self.skipped),
            "parity": None if self.report is None else self.report.to_json(),
        }


def verify(
    api: HfApi, repo_id: str, revision: str | None, cache: Path, *, digests_only: bool = False, keras: bool = False
) -> tuple[Verification, Path]:
    """Download a version and hold it against its manifest.

    Args:
        api: The client.
        repo_id: The repo.
        revision: A branch, tag or commit; None for `main`.
        cache: Directory that keeps what was downloaded.
        digests_only: Load nothing, compare bytes alone.
        keras: Load it with KerasHub, too.

    Returns:
        What was found, and the folder. That a library cannot load the folder is something found.

    Raises:
        DriftError: The repo has no manifest, or one that cannot be read.
        HubRefusedError: There is no such repo or revision.
        HubUnavailableError: The Hub does not answer.
    """
    tag = revision if re.fullmatch(r"v\d+\.\d+\.\d+", revision or "") else None
    verified, folder = compare_bytes(api, repo_id, revision, cache, tag=tag)
    if (why := why_not_loaded(verified, digests_only=digests_only)) is not None:
        return replace(verified, skipped=(why,)), folder
    findings, skipped = load(verified, folder, keras=keras)
    return replace(verified, findings=(*verified.findings, *findings), skipped=skipped), folder


def compare_bytes(
    api: HfApi, repo_id: str, revision: str | None, cache: Path, *, tag: str | None = None
) -> tuple[Verification, Path]:
    """Download a version and hold its bytes against its manifest; see `verify`.

    Args:
        api: The client.
        repo_id: The repo.
        revision: A branch, tag or commit; None for `main`.
        cache: Directory that keeps what was downloaded.
        tag: What the version is said to be; its manifest has to say so too.
    """
    folder = remote.download(api, repo_id, revision, cache)
    if not (folder / manifest.NAME).is_file():
        raise DriftError(
            f"{repo_id} at {tag or revision or 'main'} has no {manifest.NAME}: hubpush did not publish it",
            hint="`hubpush parity FOLDER --source CHECKPOINT` compares any folder with a checkpoint",
        )
    found = manifest.parse((folder / manifest.NAME).read_text(encoding="utf-8", errors="replace"), repo_id)
    findings = [_digest(folder, path, file, found) for path, file in found.files.items()]
    there = remote.tree(api, repo_id, folder.name)
    findings += _downloaded(folder, there)
    unknown = strangers(sorted(there), {*found.files, manifest.NAME})
    findings += [Finding(path, "not published", "there", False) for path in unknown]
    if tag is not None and tag != found.tag:
        findings.append(Finding("version", tag, found.tag, False))
    return Verification(repo_id, folder.name, found, tuple(findings), ()), folder


def why_not_loaded(verified: Verification, *, digests_only: bool = False) -> str | None:
    """Why ids and outputs of a version are not looked at, in words; None where they can be."""
    build, missing = verified.manifest.build, recorded.missing()
    if digests_only:
        return "ids and outputs: only digests were asked for"
    if build.samples is None or build.parity is None:
        return "ids and outputs: none are recorded (parity was not run)"
    if missing:
        return f'ids and outputs: {" and ".join(missing)} not installed (pip install "hubpush[parity]")'
    if not verified.is_same:
        return "ids and outputs: files are others than those that were published"
    return None


def load(verified: Verification, folder: Path, *, keras: bool = False) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Load a version with the libraries that are installed, and hold ids and outputs against the recorded ones.

    Args:
        verified: A version with the bytes that were published.
        folder: The version.
        keras: Load it with KerasHub, too.

    Returns:
        What was found, and what was not looked at.

    Raises:
        DriftError: The recorded samples are none.
    """
    record = verified.manifest.build.model_dump(mode="json")
    findings = tuple(recorded.compare(folder, record))
    if not keras:
        return findings, ()
    if (why := recorded.without_keras(record["model"])) is not None:
        return findings, (f"KerasHub: {why}",)
    return (*findings, *recorded.compare_keras(folder, record)), ()


def prove_again(
    verified: Verification,
    folder: Path,
    files: source.Files,
    progress: Callable[[float], None],
) -> Verification:
    """Prove a downloaded version against its source once more.

    Raises:
        HubpushError: The source is damaged, is no checkpoint of this model, or the two cannot even be compared.
    """
    build = verified.manifest.build
    if (archive := source.identity(files)).sha256 != build.source.sha256:
        finding = Finding("source", _short(build.source.sha256), _short(archive.sha256), False)
        return replace(
            verified,
            findings=(*verified.findings, finding),
            skipped=(*verified.skipped, "the proof: this is not the source that was converted"),
        )
    _, report = _measured(folder, files, release_of(build), parity.DEFAULT, progress)
    findings = [
        Finding("source", _short(build.source.sha256), "the same", True),
        Finding("parity (graph, tokenizer)", build.verdict, report.verdict, report.verdict != "fail"),
    ]
    return replace(verified, findings=(*verified.findings, *findings), report=report)


def require(verified: Verification) -> None:
    """Raise unless everything that was looked at is what the manifest says.

    Raises:
        DriftError: Files, ids or outputs are others.
        ParityError: They are not, and yet the folder does not compute what the source does.
    """
    wrong = [f.what for f in verified.findings if not f.is_same]
    if wrong == ["parity (graph, tokenizer)"] and verified.report is not None:
        verified.report.require()
    if wrong:
        raise DriftError(
            f"{verified.repo_id} at {verified.commit[:12]} is not what its manifest says: {', '.join(wrong)}",
            hint="files: was the repo changed? look at its history. Ids or outputs: the libraries here are others than"
            " those the card names, or this processor is; with --source it is proven again",
        )


@dataclass(frozen=True)
class Subject:
    """What a folder on this machine is said to be.

    Attributes:
        release: The facts.
        where: Its checkpoint: a URL, or a path.
        base: The directory that the release's paths are relative to.
        texts: Config and vocabulary that do not lie beside the checkpoint.
    """

    release: Release
    where: str
    base: Path
    texts: source.Texts


def subject(
    folder: Path,
    family: str | None,
    model: str | None,
    where: str | None,
    said: Mapping[str, Any],
    texts: source.Texts,
) -> Subject:
    """What a folder is said to be: by a family file, or by its own record, and by what a person says besides.

    Args:
        folder: The folder.
        family: A family, or None.
        model: The release in it.
        where: Its checkpoint; None takes the family's source.
        said: Facts, by the keys of a `Release`.
        texts: Config and vocabulary.

    Raises:
        CatalogError: There is no such family or release.
        DriftError: hubpush.json in the folder is not a record.
        UsageError: Nothing says where the checkpoint is.
    """
    base = Path()
    build = manifest.read_record(folder)
    if family is not None:
        path = catalog.locate(family)
        loaded, _ = catalog.load(path)
        releases = catalog.select(loaded, [str(model)])
        if len(releases) != 1:
            raise UsageError(f"--model {model} means {len(releases)} releases", hint="name one of them")
        release, base = releases[0].model_copy(update=dict(said)), path.parent
        own = source.Texts.of(release, base)
        texts = source.Texts(texts.config or own.config, texts.vocab or own.vocab)
        if where is None:
            where = release.source if catalog.is_allowed_url(release.source) else str(base / release.source)
    else:
        release = _single(said) if build is None else release_of(build, **said)
    if where is None:
        raise UsageError("--source is missing", hint="name the checkpoint that the folder was made from")
    return Subject(release, where, base, texts)


def bring(
    asked: Sequence[parity.Asked], about: Subject, api: Callable[[], HfApi], work: Path, progress: Progress
) -> tuple[parity.Asked, ...]:
    """The references that are asked for, on this machine; see `pipeline.bring`."""
    return tuple(pipeline.bring(one, about.release, Path(), about.base, api, work, progress) for one in asked)


def prove(
    folder: Path,
    files: source.Files,
    release: Release,
    asked: Sequence[parity.Asked],
    progress: Callable[[float], None],
) -> parity.ParityReport:
    """Compare a folder with its checkpoint, and record the result in the folder's hubpush.json.

    Raises:
        HubpushError: The checkpoint cannot be read as this release, or the two cannot even be compared.
    """
    reading, report = _measured(folder, files, release, asked, progress)
    manifest.write_record(folder, conversion.record(release, files, folder, reading, report))
    return report


def _measured(
    folder: Path,
    files: source.Files,
    release: Release,
    asked: Sequence[parity.Asked],
    progress: Callable[[float], None],
) -> tuple[conversion.Reading, parity.ParityReport]:
    from hubpush.checkpoint import Checkpoint

    with Checkpoint(files.prefix) as checkpoint:
        reading = conversion.read(checkpoint, files, release)
    return reading, conversion.prove(folder, files, reading, release, asked, progress)


def release_of(build: Build, **said: Any) -> Release:
    """The release that a recorded conversion was asked for as; what is said besides takes its place.

    Args:
        build: The record.
        said: Facts by the keys of a `Release`.
    """
    from hubpush.architectures import ARCHITECTURES

    model, table = build.model, ARCHITECTURES[build.model.architecture]
    facts: dict[str, Any] = {
        "architecture": table.model_type,
        "cased": model.cased,
        "activation": model.activation,
        "averaged": model.averaged,
        "part": table.part,
    }
    if model.tokens is not None and model.tokens != model.config.get("vocab_size"):
        facts["vocab_lines"] = model.tokens
    if "task" in model.asked:
        facts["task"] = card.pipeline_tag(build)
    if names := model.config.get("id2label"):
        try:
            facts["labels"] = tuple(names[key] for key in sorted(names, key=int))
        except (AttributeError, LookupError, TypeError, ValueError):
            raise DriftError(
                f"{manifest.NAME} records labels that are none: {str(names)[:80]}", hint="give them with --labels"
            ) from None
    return _single({**facts, **said})


def _single(said: Mapping[str, Any]) -> Release:
    facts = {key: value for key, value in said.items() if value is not None}
    return catalog.single("local/checkpoint", "checkpoint", **{"license": "unknown", **facts}).releases[0]


def _downloaded(folder: Path, there: Mapping[str, remote.RemoteFile]) -> Iterator[Finding]:
    """Manifest and card against the Hub's own digests: no manifest names itself, and a card holds a person's text."""
    for path in (manifest.NAME, manifest.README):
        local = folder / path
        if path in there and local.is_file() and not there[path].equals(manifest.describe(local)):
            yield Finding(f"{path} as the Hub has it", there[path].git_oid[:12], "another on this machine", False)


def _digest(folder: Path, path: str, file: File, found: Manifest) -> Finding:
    """One file against its digest; a card may have a person's text around its generated parts."""
    local = folder / path
    if not local.is_file():
        return Finding(path, _short(file.sha256), "not there", False)
    there = manifest.describe(local)
    if there.sha256 == file.sha256:
        return Finding(path, _short(file.sha256), "the same", True)
    if path == manifest.README:
        parts = card.generated(local.read_text(encoding="utf-8", errors="replace"))
        changed = [name for name, sha256 in found.card_parts.items() if parts.get(name) != sha256]
        if not changed:
            return Finding(path, "generated parts", "the same, and a person's text", True)
        return Finding(path, "generated parts", f"changed: {', '.join(changed)}", False)
    return Finding(path, _short(file.sha256), _short(there.sha256), False)


def _short(sha256: str) -> str:
    return f"sha256 {sha256[:12]}…"
