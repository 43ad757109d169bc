"""hubpush.json: what went in, what came out, with digests. It lies in every published repo and is the only ledger.

What "changed" means is decided by *inputs*, before anything is built. Outputs are no identity: a card holds float32
differences that vary with the processor, and its own version. So a manifest records two digests, `inputs.weights` and
`inputs.card`, and beside them the results themselves: parity, samples, environment, dates. A card that is rendered
again reads the results from here. The version of hubpush is recorded and is part of no identity.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import TypedDict

from hubpush.architectures import ARCHITECTURES
from hubpush.catalog import Release, Sha256, Sibling
from hubpush.errors import DriftError

NAME = "hubpush.json"
README = "README.md"
"""The card, which stands beside it."""

OUTPUT_FORMAT = 1
"""Number of the output format: raised by hand when hubpush means to write other bytes for the same input."""

_FROZEN = ConfigDict(frozen=True, extra="ignore")
Count = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(allow_inf_nan=False)]
_SMALL = 10 << 20


class File(BaseModel):
    """A published file: SHA-256, size, and for small files the id that git gives their content."""

    model_config = _FROZEN

    sha256: Sha256
    size: Count
    git_oid: str | None = None


class Inputs(BaseModel):
    """The two identities."""

    model_config = _FROZEN

    weights: Sha256
    card: Sha256


class Source(BaseModel):
    """Where the bytes came from: an archive, or files in a directory, whose digest is over their names and digests.

    Attributes:
        name: What it is called: a URL, or the last part of a path.
        sha256: Its digest.
        size: Its bytes.
        etag: What the server called this version.
        kind: An archive, or files.
        files: The files of the checkpoint, config and vocabulary among them.
        texts: Digests of the `config` and the `vocab` that were used.
        apart: Those of them that are no part of the source: they were given apart.
    """

    model_config = _FROZEN

    name: str
    sha256: Sha256
    size: Count
    etag: str | None = None
    kind: Literal["archive", "files"] = "archive"
    files: Mapping[str, File] = {}
    texts: Mapping[str, Sha256] = {}
    apart: tuple[str, ...] = ()


class Past(BaseModel):
    """An earlier version, or this one, in the versions table.

    Attributes:
        version: `X.Y.Z`.
        date: Its day, UTC.
        change: What changed, in words.
        verdict: That of its parity.
        yanked: Why nobody should use it.
        conversion: Digest over the converted files, by which other versions of the same are known.
    """

    model_config = _FROZEN

    version: str
    date: str
    change: str
    verdict: str
    yanked: str | None = None
    conversion: Sha256 | None = None


def _known_architecture(name: str) -> str:
    if name not in ARCHITECTURES:
        raise ValueError("is no architecture that hubpush knows")
    return name


class Model(BaseModel):
    """What was converted.

    Attributes:
        architecture: Name of its table in `hubpush.architectures.ARCHITECTURES`.
        layout: Name of the layout that the checkpoint has, where it is not the table's own.
        model_class: The transformers class; `class` in the file.
        heads: Parts beyond the encoder.
        parameters: Number of published weights.
        cased: Whether the tokenizer keeps case.
        activation: The GELU form.
        config: The published config.json.
        variables: Number of variables in the checkpoint.
        tokens: Lines of the vocabulary.
        averaged: Whether the weights are moving averages.
        asked: What nothing but being asked for decided: `task`, `part`.
        dropped: Variables that were left out, by the reason.
        assumed: What nobody said and was taken for granted.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", serialize_by_alias=True, validate_by_name=True)

    architecture: Annotated[str, AfterValidator(_known_architecture)] = "bert"
    layout: str | None = None
    model_class: Annotated[str, Field(alias="class")]
    heads: tuple[str, ...]
    parameters: Count
    cased: bool
    activation: str
    config: Mapping[str, Any]
    variables: int
    tokens: int | None = None
    averaged: bool = False
    asked: tuple[Literal["task", "part"], ...] = ()
    dropped: Mapping[str, tuple[str, ...]] = {}
    assumed: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_published(self) -> Self:
        if all(self.model_class != c.name for c in ARCHITECTURES[self.architecture].classes):
            raise ValueError(f"{self.model_class} is no class of {self.architecture} that hubpush publishes")
        return self


class Output(TypedDict):
    """One row of a recorded parity table; `hubpush.parity.report.Difference` says what the numbers are."""

    output: str
    shape: list[int]
    max_abs: Number
    mean_abs: Number
    min_cosine: Number
    tolerance: Number
    floor: Number
    verdict: str


class Declared(TypedDict):
    """A known difference that was looked for; `hubpush.catalog.Divergence` says what it is."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    reference: str
    kind: str
    why: str
    link: NotRequired[str | None]


class Reference(TypedDict):
    """A recorded comparison with one reference in one precision; it holds more."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    reference: str
    source: NotRequired[str | None]
    differences: NotRequired[dict[str, str]]
    declared: NotRequired[list[Declared]]
    weights: NotRequired[dict[str, Any] | None]
    dtype: str
    activation: str | None
    as_published: bool
    verdict: str
    worst: Output | None
    outputs: list[Output]


class Parity(TypedDict):
    """The parts of a recorded parity report that are read again; it holds more."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    verdict: Literal["pass", "known-divergence", "fail"]
    activation: str
    failures: list[str]
    references: list[Reference]
    weights: dict[str, Any] | None
    tokenizer: dict[str, Any] | None
    environment: dict[str, Any]


class Batch(TypedDict):
    """The probes of one batch: their ids; it holds more."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    inputs: Mapping[str, list[list[int]]]


class Samples(TypedDict):
    """The probes' ids and sampled outputs; it holds more."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    batches: list[Batch]


class Snippet(BaseModel):
    """A piece of code that a card shows, and what it printed on the very folder that is published.

    Attributes:
        name: What it is about.
        title: A line of Markdown before it.
        language: As a fence of Markdown names it.
        code: With OWNER/NAME for the repo and vX.Y.Z for the tag.
        output: What it printed; None if it was not run.
    """

    model_config = _FROZEN

    name: str
    title: str
    language: Literal["python", "bash"] = "python"
    code: str
    output: str | None = None


class Build(BaseModel):
    """One conversion and what was measured on it: the part of the manifest that no push changes.

    Attributes:
        weights_inputs: Identity of the conversion.
        source: What was converted.
        model: What was converted.
        files: The converted files.
        parity: The report (`ParityReport.to_json`), or None when it was not run.
        samples: The probes' ids and sampled float64 outputs, or None.
        usage: The code of the card, run on the converted folder; nothing where parity was not run.
        forced: Whether a failed parity was overridden.
        nonfinite: Whether NaN and infinite weights were allowed.
        date: Day of the conversion, UTC.
        hubpush: Version that converted.
    """

    model_config = _FROZEN

    weights_inputs: Sha256
    source: Source
    model: Model
    files: Mapping[str, File]
    parity: Parity | None = None
    samples: Samples | None = None
    usage: tuple[Snippet, ...] = ()
    forced: bool = False
    nonfinite: bool = False
    date: str
    hubpush: str

    @property
    def conversion(self) -> str:
        """Digest over the converted files."""
        return digest({path: file.sha256 for path, file in self.files.items()})

    def references(self) -> set[tuple[str, str | None]]:
        """What outputs were compared with: the names of the references, and which module or repo."""
        parity = self.parity
        return {(r["reference"], r.get("source")) for r in parity["references"]} if parity is not None else set()

    @property
    def verdict(self) -> str:
        """`pass`, `known-divergence`, `fail` or `not-run`."""
        return str(self.parity["verdict"]) if self.parity is not None else "not-run"


class Record(BaseModel):
    """hubpush.json of a folder that was not published: the conversion alone. That of a version is one, too."""

    model_config = _FROZEN

    manifest: Literal[1] = 1
    build: Build


def are_paths(files: Mapping[str, File]) -> Mapping[str, File]:
    """Names of files in a repo, which lead nowhere else on a machine that looks for them."""
    for name in files:
        parts = name.split("/")
        if any(part in ("", ".", "..") or len(part) > 255 for part in parts) or not name.isprintable():
            raise ValueError(f"{name[:80]!r} is no path in a repo")
        if re.search(r"[\\:]", name):
            raise ValueError(f"{name[:80]!r} is no path in a repo")
    return files


class Facts(BaseModel):
    """What the card of a version states that no measurement gives.

    Attributes:
        repo_id: Where it was published; a repo can be renamed.
        title: Of the family.
        summary: Of the family.
        siblings: The family's releases.
        release: The release, by the keys of a family file; without the places where files lie on a machine.
        templates: The templates that are not hubpush's own, by name.
        command: The command line that makes this version again.
    """

    model_config = _FROZEN

    repo_id: str | None = None
    title: str
    summary: str
    siblings: tuple[Sibling, ...]
    release: Mapping[str, Any]
    templates: Mapping[str, str] = {}
    command: str


class Manifest(BaseModel):
    """hubpush.json of one published version.

    Attributes:
        manifest: Format number of this file.
        version: `X.Y.Z`; the tag is `vX.Y.Z`.
        family: Name of the family.
        release: Name of the release.
        inputs: The identities.
        build: The conversion.
        files: Everything that was published but this file, README.md included.
        card_parts: Digests of the generated parts of README.md by name; a person may write around them.
        history: All versions up to this one, the oldest first.
        hold: Set by a person or a rollback: nothing is published until it is lifted.
        kept: Generated parts of README.md that stand as a person left them, because `--adopt` said so.
        facts: What the card states that no measurement gives, so that it can be rendered again from this file alone.
    """

    model_config = _FROZEN

    manifest: Literal[1] = 1
    version: Annotated[str, Field(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}$")]
    family: str
    release: str
    inputs: Inputs
    build: Build
    files: Annotated[Mapping[str, File], AfterValidator(are_paths)]
    card_parts: Annotated[Mapping[str, Sha256], Field(min_length=1)]
    history: Annotated[tuple[Past, ...], Field(min_length=1)]
    hold: bool = False
    kept: tuple[str, ...] = ()
    facts: Facts | None = None

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if any(self.files.get(path) != file for path, file in self.build.files.items()):
            raise ValueError("files: are not those of the build")
        if missing := {"config.json", "model.safetensors", "README.md"} - self.files.keys():
            raise ValueError(f"files: lack {', '.join(sorted(missing))}")
        if self.history[-1].version != self.version:
            raise ValueError("history: does not end with this version")
        return self

    @model_validator(mode="after")
    def _can_be_shown(self) -> Self:
        parity = self.build.parity
        if parity is not None and (
            not parity["references"]
            or parity["weights"] is None
            or parity["tokenizer"] is None
            or any(r["worst"] is None for r in parity["references"] if r["reference"] == "graph")
        ):
            raise ValueError("parity.references: what is published was compared with graph and tokenizer")
        return self

    @property
    def tag(self) -> str:
        """Name of the tag."""
        return f"v{self.version}"

    def is_release(self, other: Manifest) -> bool:
        """Whether this is the same release; a person may have set or lifted a hold in one of them."""
        return self.model_copy(update={"hold": other.hold}) == other

    def to_json(self) -> str:
        """The text of hubpush.json."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def is_published(text: str) -> bool:
    """Whether the text of a hubpush.json is that of a published version, and not of a conversion alone."""
    try:
        return "version" in json.loads(text)
    except (RecursionError, TypeError, ValueError):
        return False


def parse(text: str, where: str) -> Manifest:
    """Read a manifest that stands on a Hub.

    Raises:
        DriftError: It is not one.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        raise DriftError(
            f"{NAME} of {where} is not a manifest of this version of hubpush: {key}: {first['msg']}",
            hint="it was edited, or written by a newer hubpush: upgrade, or restore the file from the repo's history",
        ) from None


def read_record(folder: Path) -> Build | None:
    """What is recorded in a model folder; None where nothing is.

    Raises:
        DriftError: hubpush.json is not a record.
    """
    try:
        return Record.model_validate_json((folder / NAME).read_bytes()).build
    except FileNotFoundError:
        return None
    except (OSError, RecursionError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise DriftError(
            f"{NAME} in {folder.name} cannot be read: {first}",
            hint="it was edited, or written by a newer hubpush; remove it and say on the command line what it said",
        ) from None


def write_record(folder: Path, build: Build) -> None:
    """Record a conversion in its folder; what else a published manifest says stays.

    Raises:
        OSError: The folder cannot be written to.
    """
    path = folder / NAME
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"manifest": 1}
    text = json.dumps({**kept, "build": build.model_dump(mode="json")}, indent=1, ensure_ascii=False) + "\n"
    # A name of its own: what a stranger's folder has under a name that is known could lead anywhere.
    handle, partial = tempfile.mkstemp(prefix=f".{NAME}-", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        Path(partial).chmod(0o644)
        os.replace(partial, path)  # noqa: PTH105 - replaces on every platform
    finally:
        Path(partial).unlink(missing_ok=True)


def describe(path: Path, sha256: str | None = None) -> File:
    """Digests of a file on disk.

    Args:
        path: The file.
        sha256: Its digest, if it is known already.
    """
    size = path.stat().st_size
    if size > _SMALL:
        with path.open("rb") as stream:
            return File(sha256=sha256 or hashlib.file_digest(stream, "sha256").hexdigest(), size=size)
    return describe_bytes(path.read_bytes())


def describe_bytes(data: bytes) -> File:
    """Digests of some bytes; the git id is the SHA-1 of the blob object that git makes of them."""
    oid = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return File(sha256=hashlib.sha256(data).hexdigest(), size=len(data), git_oid=oid)


def weights_inputs(release: Release, source_sha256: str, model: Model, texts: Mapping[str, str]) -> str:
    """Identity of a conversion: everything that decides the converted bytes.

    Args:
        release: What is asked for; its prose has no part in it. What it leaves open is as it was found: saying what
            the vocabulary or the variables say anyway changes nothing.
        source_sha256: Digest of the source.
        model: What was found.
        texts: Digests of the config and the vocabulary, wherever they lie.
    """
    architecture = ARCHITECTURES[model.architecture]
    asked = {"labels": list(release.labels), "averaged": release.averaged}
    return digest(
        {
            "source": source_sha256,
            "texts": dict(texts),
            "architecture": architecture.fingerprint(model.model_class, model.layout),
            "cased": model.cased if release.cased is None else release.cased,
            "activation": release.activation or architecture.activation,
            "format": OUTPUT_FORMAT,
            # Left out where they say nothing, so that a newer hubpush, which may know more of them, sees no change.
            **{name: value for name, value in asked.items() if value},
        }
    )


def card_inputs(facts: Mapping[str, Any], templates_sha256: str, build: Build) -> str:
    """Identity of a card: the facts it states, its templates, and the results that are recorded.

    Args:
        facts: What the family file says that the card shows.
        templates_sha256: Digest over the template files.
        build: The recorded results; the card shows them, so other results make another card.
    """
    # Defaults are left out on both sides: a newer hubpush that knows more keys must not see a change in old manifests.
    return digest(
        {"facts": facts, "templates": templates_sha256, "build": build.model_dump(mode="json", exclude_defaults=True)}
    )


def digest(data: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
