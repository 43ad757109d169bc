"""Sources: fetch an archive, check that it is the pinned one, and open it without trusting it.

A source is an https URL of a zip, a zip on a disk, a directory, or the prefix of a checkpoint in a directory. Nothing
here knows what the files mean; which files belong to a checkpoint is read from their names alone.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from filelock import FileLock

from hubpush import tarball
from hubpush.architectures import ARCHITECTURES
from hubpush.catalog import Pin, Release, is_allowed_url
from hubpush.digests import Hasher
from hubpush.errors import SourceError

if TYPE_CHECKING:
    import ssl

    import httpx2

Progress = Callable[[int, int | None], None]
"""Called with the bytes done so far and, where it is known, the bytes to do."""

_CHUNK = 1 << 20
_MAX_DOWNLOAD = 64 << 30
_ATTEMPTS = 5
_REDIRECTS = 8

_SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt", "tfhub_module.pb")

# What an archive of one checkpoint may hold: far above the largest BERT, far below what fills a disk unseen.
_MAX_ENTRIES = 1000
_MAX_DIRECTORY = 1 << 20
_MAX_UNPACKED = 64 << 30
_MAX_RATIO = 100  # float32 weights deflate to about 0.92 of their size; deflate itself reaches 1032

CONFIG_NAMES = tuple(dict.fromkeys(f"{architecture.model_type}_config.json" for architecture in ARCHITECTURES.values()))
"""What releases call the config of their model."""

_CHECKPOINT_FILE = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


@dataclass(frozen=True)
class Local:
    """A source whose bytes are on this machine, and which nobody has read yet.

    Attributes:
        name: As of an `Archive`.
        path: As of an `Archive`.
        pin: What it must be; None for whatever it is.
        etag: As of an `Archive`.
        is_download: Whether it is a copy of ours, which is removed where it is not the pinned one.
    """

    name: str
    path: Path
    pin: Pin | None = None
    etag: str | None = None
    is_download: bool = False


@dataclass(frozen=True)
class Archive:
    """A source whose bytes are on this machine and are the right ones.

    Attributes:
        name: How the source is called in the manifest and on the card: its URL, or the last part of a local path.
        path: A zip, a directory, or a checkpoint prefix.
        sha256: Digest of the zip; of a directory or prefix, digest over the names and digests of the files used.
        size: Bytes of the zip, or of those files together.
        etag: What the server called this version, if it did: its ETag, or Last-Modified where there is none.
    """

    name: str
    path: Path
    sha256: str
    size: int
    etag: str | None = None


@dataclass(frozen=True)
class Files:
    """The files of one checkpoint.

    Attributes:
        prefix: What TensorFlow calls the checkpoint: the path without `.index`.
        config: bert_config.json; None where there is none.
        vocab: vocab.txt; None where there is none.
        apart: Those of `config` and `vocab` that were given apart, and are no part of the source.
        place: The directory that they were found in, or the prefix.
        archive: The archive that they were unpacked from; None for files that lie where they are.
    """

    prefix: Path
    config: Path | None
    vocab: Path | None
    apart: tuple[str, ...] = ()
    place: Path = Path()
    archive: Archive | None = None

    def texts(self) -> dict[str, Path]:
        """Config and vocabulary by what they are, as far as they are there."""
        both = {"config": self.config, "vocab": self.vocab}
        return {role: path for role, path in both.items() if path is not None}

    def weights(self) -> list[Path]:
        """Index and data files, in the order of their names."""
        shards = self.prefix.parent.glob(f"{_glob_escape(self.prefix.name)}.data-?????-of-?????")
        return sorted([self.prefix.with_name(self.prefix.name + ".index"), *shards])

    def all(self) -> list[Path]:
        """Index, data files, config and vocabulary."""
        return [*self.weights(), *self.texts().values()]

    def require(self, config_name: str | None = None) -> tuple[Path, Path]:
        """Config and vocabulary, which a conversion cannot do without.

        Args:
            config_name: What releases of this architecture call their config, for the message.

        Raises:
            SourceError: One is not there.
        """
        names = {"config": config_name or CONFIG_NAMES[0], "vocab": "vocab.txt"}
        missing = [role for role in names if role not in self.texts()]
        if self.config is None or self.vocab is None:
            raise SourceError(
                f"{self.prefix.name} has no {' and no '.join(names[role] for role in missing)}",
                hint=f"give what it was trained with, {' and '.join(f'--{role} FILE' for role in missing)}, or put it"
                " beside the checkpoint (`config_file`, `vocab_file` in a family file)",
            )
        return self.config, self.vocab


@dataclass(frozen=True)
class Texts:
    """Config and vocabulary that do not lie beside their checkpoint: a fine-tuned one's are its ancestor's.

    Attributes:
        config: bert_config.json, or None.
        vocab: vocab.txt, or None.
    """

    config: Path | None = None
    vocab: Path | None = None

    @classmethod
    def of(cls, release: Release, base: Path) -> Texts:
        """Those that a family file names, which are paths beside it."""
        return cls(
            None if release.config_file is None else base / release.config_file,
            None if release.vocab_file is None else base / release.vocab_file,
        )

    def digests(self) -> dict[str, str]:
        """SHA-256 of those that are given, by what they are.

        Raises:
            SourceError: One cannot be read.
        """
        given = {"config": self.config, "vocab": self.vocab}
        for role, path in given.items():
            if path is not None and not path.is_file():
                raise SourceError(
                    f"{path} is {'no ordinary file' if path.exists() else 'not there'}, but given as the {role}",
                    hint=f"check the path: --{role} FILE, or `{role}_file` in a family file",
                )
        return {role: _digest(path)[0] for role, path in given.items() if path is not None}


NO_TEXTS = Texts()


@dataclass(frozen=True)
class Member:
    """An archive inside a bundle: a zip of zips, as all_bert_models.zip is.

    Attributes:
        bundle: The zip of zips.
        entry: Name of the archive in it.
        size: Its bytes.
        crc: Its CRC-32, by the bundle.
    """

    bundle: Path
    entry: str
    size: int
    crc: int

    @property
    def name(self) -> str:
        """The archive's own name."""
        return PurePosixPath(self.entry).name

    def taken_out(self, downloads: Path) -> Path:
        """The archive as a file of its own, which is kept for the next run.

        Raises:
            SourceError: The bundle is damaged, or the disk is full.
        """
        folder = downloads / f"{self.crc:08x}-{self.size}"
        target = folder / self.name
        with _disk(self.name):
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(target.with_name(target.name + ".lock")):
                if target.exists() and _crc32(target) != self.crc:
                    target.unlink()  # somebody wrote to it
                if not target.exists():
                    part = target.with_name(target.name + ".part")
                    with (
                        _zip(self.bundle) as (_, archive),
                        archive.open(self.entry) as packed,
                        part.open("wb") as unpacked,
                    ):
                        _copy(packed, unpacked, self.size, f"{self.bundle.name}: {self.entry}")
                    os.replace(part, target)  # noqa: PTH105 - replaces on every platform
        return target


Location = str | Path | Member
"""Where an archive is: a URL, a path, or in a bundle."""


def member(bundle: Path, source: str) -> Member:
    """The archive that a source means in a zip of zips: by its name, and by its folder where several have that name.

    Raises:
        SourceError: The bundle must not be opened, is damaged, or does not hold it once.
    """
    with _disk(bundle.name), _zip(bundle) as (_, archive):
        entries = archive.infolist()
        _check_entries(bundle, entries)
    zips = [e for e in entries if e.filename.lower().endswith(".zip") and not e.filename.startswith("__MACOSX/")]
    if not zips:
        raise SourceError(
            f"{bundle.name} holds no archives",
            hint="a mirror that is a file is a zip of zips, and whole; one checkpoint wants --repo-id too",
        )
    folder, name = ("", *PurePosixPath(source).parts)[-2:]
    found = [e for e in zips if PurePosixPath(e.filename).name == name]
    if len(found) > 1:
        found = [e for e in found if PurePosixPath(e.filename).parts[-2:-1] == (folder,)]
    if len(found) != 1:
        raise SourceError(
            f"the bundle {bundle.name} has {'several' if found else 'no'} {name}" + (f" in {folder}" if folder else ""),
            hint="it holds the archives under the names that they have in the family's URLs, once or with their folder",
        )
    return Member(bundle, found[0].filename, found[0].file_size, found[0].CRC)


def resolve(source: str, base: Path, mirror: str | None = None) -> Location:
    """Where a release's source is taken from.

    Args:
        source: As the family file writes it: an https URL, or a path relative to `base`.
        base: The directory of the family file.
        mirror: A directory, URL or bundle that holds the archives under the names they have in the family, or None.

    Returns:
        A URL as a string, a path, or a member of a bundle.

    Raises:
        SourceError: The URL is not https, or the mirror is neither a directory nor a URL, or lacks the archive.
    """
    if mirror is None:
        if not is_allowed_url(source) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source):
            raise SourceError(f"{source} is not https", hint="plain http is taken from this machine alone")
        return source if is_allowed_url(source) else base / source
    name = PurePosixPath(source).name
    if "://" in mirror:
        if not is_allowed_url(mirror):
            raise SourceError(f"the mirror {mirror} is not https", hint="plain http is taken from this machine alone")
        return f"{mirror.rstrip('/')}/{name}"
    if Path(mirror).is_file():
        return member(Path(mirror), source)
    # A copy of a bucket has its folders too, and they tell archives of one name apart (2018_10_18, 2020_02_20).
    parts = PurePosixPath(source).parts[-2:]
    for candidate in (Path(mirror, *parts), Path(mirror) / name, Path(mirror) / PurePosixPath(name).stem):
        if candidate.exists():
            return candidate
    raise SourceError(
        f"the mirror {mirror} has neither {name} nor a directory {PurePosixPath(name).stem}",
        hint="a mirror holds the archives under the names that they have in the family's URLs",
    )


def display_name(location: Location) -> str:
    """What may be written about a location: a URL without its query, which may hold a secret; a path's last part."""
    return location.partition("?")[0].partition("#")[0] if isinstance(location, str) else location.name


def bring(
    location: Location,
    downloads: Path,
    pin: Pin | None = None,
    progress: Progress | None = None,
    *,
    until: float | None = None,
) -> Local:
    """Bring a source to this machine. What it is, whoever reads it tells: `opened`, which unpacks it, or `identified`.

    A download goes to a `.part` file that a later run resumes, and gets its name when it is complete.

    Args:
        location: A URL or path, as `resolve` gives it.
        downloads: Directory that keeps downloaded archives.
        pin: What the source must be; None takes what comes.
        progress: Told about the bytes of a download.
        until: When a server is not waited for any more, as `time.time()` counts.

    Raises:
        SourceError: The source is not there, or does not come.
    """
    if isinstance(location, str):
        return _download(location, downloads, pin, progress or (lambda _done, _total: None), until)
    if isinstance(location, Member):
        location = location.taken_out(downloads)
    if location.name in _SAVED_MODEL and location.is_file():
        raise _no_checkpoint(location.parent, location.parent.name, is_packed=False)
    if (
        location.is_file()
        and not _CHECKPOINT_FILE.search(location.name)
        and location.suffix.lower() != ".zip"
        and not zipfile.is_zipfile(location)
    ):
        raise SourceError(
            f"{location.name} is neither a zip nor a file of a checkpoint",
            hint="give a zip, the directory of a checkpoint, or its prefix (PREFIX.index and PREFIX.data-*)",
        )
    return Local(location.name, location, pin)


def identified(local: Local, texts: Texts = NO_TEXTS) -> Archive:
    """Read a source for its digest alone, and check that it is the pinned one.

    Args:
        local: What `bring` gave.
        texts: Config and vocabulary that are given apart; what lies beside a checkpoint is not looked for then.

    Raises:
        SourceError: It cannot be read, or it is not the pinned one.
    """
    if local.path.is_file() and not _CHECKPOINT_FILE.search(local.path.name):
        return _checked(local, *_digest(local.path))
    found = identity(find(local.path, texts))
    check(found.name, found.sha256, found.size, local.pin)
    return found


def fetch(
    location: Location,
    downloads: Path,
    pin: Pin | None = None,
    progress: Progress | None = None,
    texts: Texts = NO_TEXTS,
    *,
    until: float | None = None,
) -> Archive:
    """Bring a source to this machine, and read it for its digest: `bring`, then `identified`.

    Raises:
        SourceError: The source is not there, does not come, or is not the pinned one.
    """
    return identified(bring(location, downloads, pin, progress, until=until), texts)


def _checked(local: Local, sha256: str, size: int) -> Archive:
    """An archive that was read, if it is the pinned one."""
    if local.is_download:
        _remember(local.path, sha256=sha256)
    try:
        check(local.name, sha256, size, local.pin)
    except SourceError:
        if local.is_download:  # bytes that are not the pinned ones serve nobody: the next run starts from nothing
            local.path.unlink(missing_ok=True)
        raise
    return Archive(local.name, local.path, sha256, size, local.etag)


def fetch_module(location: Location, downloads: Path, progress: Progress | None = None) -> tuple[Archive, Path]:
    """Bring a module of TF Hub or Kaggle to this machine: a tar.gz or a zip, unpacked beside the downloads and kept.

    Args:
        location: A URL or path of an archive.
        downloads: Directory that keeps downloaded archives.
        progress: Told about the bytes of a download.

    Returns:
        The archive, and the directory that holds saved_model.pb.

    Raises:
        SourceError: It does not come, must not be opened, or holds no SavedModel.
    """
    if isinstance(location, str):
        archive = identified(_download(location, downloads, None, progress or (lambda _done, _total: None), None))
    else:
        path = location.taken_out(downloads) if isinstance(location, Member) else location
        if not path.is_file():
            raise SourceError(f"there is no module at {path}", hint="give a directory, a tar.gz, or a URL")
        archive = Archive(path.name, path, *_digest(path))
    into = downloads / "modules" / archive.sha256[:16]
    with _disk(archive.name), FileLock(_made(into.parent) / f"{into.name}.lock"):
        if not into.exists():
            part = into.with_name(f"{into.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            try:
                if zipfile.is_zipfile(archive.path):
                    unpack(archive.path, part)
                elif tarball.is_tar(archive.path):
                    tarball.unpack(archive.path, part)
                else:
                    raise SourceError(
                        f"{archive.name} is neither a tar nor a zip", hint="TF Hub and Kaggle serve modules as tar.gz"
                    )
                part.rename(into)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    found = sorted(into.rglob("saved_model.pb"))
    if len(found) != 1:
        raise SourceError(
            f"{archive.name} holds {len(found) or 'no'} SavedModel{'s' * (len(found) > 1)} (saved_model.pb)",
            hint="is it the archive of a TensorFlow module?",
        )
    return archive, found[0].parent


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def size_of(location: Location, until: float | None = None) -> int | None:
    """Bytes of an archive, as far as the disk or the server tell; None when nobody can tell."""
    if isinstance(location, Member):
        return location.size
    if isinstance(location, Path):
        return location.stat().st_size if location.is_file() else 0
    return served(location, until).size


@contextmanager
def opened(local: Local, scratch: Path, texts: Texts = NO_TEXTS) -> Iterator[Files]:
    """The files of the checkpoint in a source, for the time of the `with` block.

    A zip is unpacked below `scratch` (and in it, zips of checkpoints are not looked into), and checked against its pin:
    it is read once, for its digest, its entries' CRC-32 and their bytes. Directories and prefixes are used where they
    are; `identity` tells what they are, when their files were read. What was unpacked is removed at the end.

    Args:
        local: What `bring` gave.
        scratch: Directory to unpack to; it is emptied.
        texts: Config and vocabulary that are given apart.

    Raises:
        SourceError: The archive must not be opened, is damaged, is not the pinned one, or does not hold exactly one
            checkpoint.
    """
    if not local.path.is_file() or _CHECKPOINT_FILE.search(local.path.name):
        yield find(local.path, texts)
        return
    name = PurePosixPath(local.name).name
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        try:
            sha256, size = unpack(local.path, scratch)
        except SourceError:
            if local.pin is not None:  # that it is another archive says more than what is wrong with it
                identified(local)
            raise
        archive = _checked(local, sha256, size)
        yield replace(find(scratch, texts, packed_as=name), archive=archive)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def identity(files: Files, known: Mapping[str, tuple[str, int]] | None = None) -> Archive:
    """What a checkpoint's source is: the archive that it came from, or a digest over its files' names and digests.

    Args:
        files: The files.
        known: Digest and bytes of index and data files by their names, where they were read already.

    Raises:
        SourceError: A file cannot be read.
    """
    if files.archive is not None:
        return files.archive
    own = digests(files.weights(), known)
    own |= {role: _digest(path) for role, path in files.texts().items() if role not in files.apart}
    digest = hashlib.sha256()
    for name, (sha256, _) in own.items():
        digest.update(os.fsencode(name) + f"\0{sha256}\n".encode())
    return Archive(files.place.name, files.place, digest.hexdigest(), sum(size for _, size in own.values()))


def find(path: Path, texts: Texts = NO_TEXTS, *, packed_as: str | None = None) -> Files:
    """The one checkpoint at a directory (any depth) or prefix, with its config and vocabulary.

    The text file `checkpoint` that TensorFlow writes beside checkpoints is never read: it can point anywhere.

    Args:
        path: The directory or prefix.
        texts: Config and vocabulary that are given apart.
        packed_as: Name of the archive that was unpacked there, for messages.

    Raises:
        SourceError: There is no checkpoint or more than one, or more than one config or vocabulary.
    """
    name = packed_as or path.name
    if path.is_dir():
        # Names that begin with a dot are what desktop systems leave beside files (`._bert_model.ckpt.index`).
        found = (p for p in path.rglob("*.index") if p.is_file() and not p.name.startswith("."))
        prefixes = sorted(
            (p.with_name(p.name.removesuffix(".index")) for p in found if not _is_of_saved_model(p)), key=_by_number
        )
        if not prefixes:
            raise _no_checkpoint(path, name, is_packed=packed_as is not None)
        if len(prefixes) > 1:
            # The one with the highest number may be the last before a crash, or worse than an earlier one.
            names = "".join(f"\n  {p.relative_to(path)}" for p in prefixes[:20])
            more = f"\n  … and {len(prefixes) - 20} more" if len(prefixes) > 20 else ""
            raise SourceError(
                f"{name} holds {len(prefixes)} checkpoints, and which one is meant is not guessed:{names}{more}",
                hint="unpack it, and give one of them by its prefix"
                if packed_as
                else f"give one of them by its prefix, for example {prefixes[-1]}",
            )
        prefix, root = prefixes[0], path
    else:
        prefix = _prefix(path)
        root = prefix.parent
    config = texts.config or _beside(prefix, root, CONFIG_NAMES)
    vocab = texts.vocab or _beside(prefix, root, ("vocab.txt",))
    given = {"config": texts.config, "vocab": texts.vocab}
    # To name what lies beside the checkpoint anyway says nothing new.
    apart = (r for r, path in given.items() if path is not None and path.resolve().parent != prefix.parent.resolve())
    files = Files(prefix, config, vocab, tuple(apart), place=path if path.is_dir() else prefix)
    for file in files.all():
        if not file.exists():
            raise SourceError(f"{file} is not there", hint="check the path")
        if not file.is_file():
            raise SourceError(
                f"{file.name} is no ordinary file", hint="a checkpoint's files are files, not pipes or devices"
            )
        try:
            file.name.encode()
        except UnicodeEncodeError:
            raise SourceError(f"the file name {file.name!r} is not UTF-8", hint="rename it") from None
    return files


def _is_of_saved_model(index: Path) -> bool:
    """Whether an index is `variables/variables.index` of a SavedModel."""
    folder = index.parent.parent
    return index.name == "variables.index" and any((folder / name).exists() for name in _SAVED_MODEL)


def _by_number(prefix: Path) -> list[tuple[int, str]]:
    """Sorts `model.ckpt-900` before `model.ckpt-1000`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d{1,18})", str(prefix))]


def _no_checkpoint(path: Path, name: str, *, is_packed: bool) -> SourceError:
    above = [path.parent] if path.name == "variables" else []
    found = (p for marker in _SAVED_MODEL for p in [*sorted(path.rglob(marker)), *(up / marker for up in above)])
    saved = next((p for p in found if p.is_file()), None)
    if saved is None:
        if zips := [p.name for p in sorted(path.rglob("*.zip"))]:
            return SourceError(
                f"{name} holds no checkpoint but {len(zips)} zip(s): {', '.join(zips[:5])}",
                hint="a zip of a family's zips is given with --family and --org; of one checkpoint, unpack it first",
            )
        hint = "give the zip, the directory or the prefix of a TF checkpoint (PREFIX.index, PREFIX.data-*)"
        if any(p.suffix in (".safetensors", ".bin", ".h5", ".keras") for p in path.rglob("*")):
            hint = "what lies there is no TensorFlow checkpoint; transformers or Keras load such files themselves"
        return SourceError(f"{name} holds no TensorFlow checkpoint (no *.index file)", hint=hint)
    variables = saved.parent / "variables" / "variables"
    way = (
        f"unpack it, and `hubpush inspect {variables.relative_to(path)}`"
        if is_packed
        else f"`hubpush inspect {variables}`"
    )
    index = variables.with_name("variables.index")
    # The first key of the table, which stands there as it is (hubpush.checkpoint.OBJECT_GRAPH).
    is_object_based = index.is_file() and b"_CHECKPOINTABLE_OBJECT_GRAPH" in index.read_bytes()[:4096]
    estimator = (
        ""
        if is_object_based
        else f". Its variables have names of their own, and may be a checkpoint's: {way} shows them, and that prefix"
        " can be converted"
    )
    return SourceError(
        f"{name} is a SavedModel ({saved.name}): a graph with its variables, made to be served",
        hint=f"give the checkpoint that it was exported from{estimator}",
    )


def unpack(path: Path, into: Path) -> tuple[str, int]:
    """Unpack a zip into an empty directory, refusing whatever an honest archive of a checkpoint never has.

    Refused: absolute names, `..`, drive letters, backslashes, control characters, names that differ in case alone,
    duplicates, links and devices, overlapping entries, encryption, compression other than stored and deflate, too many
    entries, too many bytes, a ratio above deflate's for weights, sizes other than the directory of the zip says.

    Returns:
        The digest of the archive, over the very bytes that were unpacked, and its size.

    Raises:
        SourceError: The archive is one of these, or damaged.
    """
    with _disk(path.name), Hasher() as hasher, _zip(path) as (stream, archive):
        entries = archive.infolist()
        _check_entries(path, entries)
        stream.follow(hasher)
        for entry in sorted(entries, key=lambda e: e.header_offset):
            target = into / entry.filename
            if entry.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as packed, target.open("xb") as unpacked:
                _copy(packed, unpacked, entry.file_size, f"{path.name}: {entry.filename}")
        size = stream.finish()
    return hasher.sha256(""), size


class _Zip(io.BufferedReader):
    """A zip that is hashed as it is read, and whose directory zipfile cannot make larger than memory.

    (It takes the directory into memory, and four times that for its entries.)
    """

    _hasher: Hasher | None = None
    _hashed = 0

    def follow(self, hasher: Hasher) -> None:
        """Hash what is read from now on: entries in the order in which they lie there, and what is between them."""
        self._hasher = hasher

    def finish(self) -> int:
        """Hash what is left; the number of bytes."""
        self.seek(self._hashed)
        while self.read(_CHUNK):
            pass
        return self._hashed

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"a directory of {size:,} bytes, at most {_MAX_DIRECTORY:,} are read")
        if self._hasher is None:
            return super().read(size)
        position = self.tell()
        if position > self._hashed:  # what lies between two entries
            self.seek(self._hashed)
            while (gap := position - self._hashed) and (between := super().read(min(gap, _CHUNK))):
                self._hash(between)
        data = super().read(size)
        self._hash(data[max(0, self._hashed - position) :])
        return data

    def _hash(self, data: bytes) -> None:
        if self._hasher is not None and data:
            self._hasher.update("", data)
            self._hashed += len(data)


@contextmanager
def _zip(path: Path) -> Iterator[tuple[_Zip, zipfile.ZipFile]]:
    """A zip to read, and the stream that it is read from; what a damaged one raises is an error of the source."""
    try:
        with _Zip(io.FileIO(path)) as stream, zipfile.ZipFile(stream) as archive:
            yield stream, archive
    # ValueError: names that are not UTF-8, offsets beyond every file.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise SourceError(
            f"{path.name} is not a sound zip: {error}", hint="fetch it again; compare its digest with the publisher's"
        ) from None


@contextmanager
def _disk(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(f"{name} cannot be unpacked: {error}", hint="check the disk and the path") from None


def require_space(directory: Path, needed: int) -> None:
    """Check that a file system has room before anything is written.

    Raises:
        SourceError: It has not.
    """
    existing = directory
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise SourceError(
            f"{_amount(needed)} are needed in the work directory, {_amount(free)} are free",
            hint="free some space, or point --work at another disk",
        )


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digests(paths: Iterable[Path], known: Mapping[str, tuple[str, int]] | None = None) -> dict[str, tuple[str, int]]:
    """Digest and bytes of files by their names; those that are known are not read.

    Raises:
        SourceError: One cannot be read.
    """
    return {path.name: (known or {}).get(path.name) or _digest(path) for path in paths}


def _digest(path: Path) -> tuple[str, int]:
    try:
        return file_sha256(path), path.stat().st_size
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}", hint="check the path") from None


def check(name: str, sha256: str, size: int, pin: Pin | None) -> None:
    """Check that a source is the pinned one; without a pin anything is.

    Raises:
        SourceError: It is not; both digests are in the message.
    """
    if pin is None:
        return
    if sha256 != pin.sha256 or (pin.size is not None and size != pin.size):
        pinned = "" if pin.size is None else f" ({pin.size:,} bytes)"
        raise SourceError(
            f"{name} is not the pinned source:\n"
            f"  pinned sha256 {pin.sha256}{pinned}\n"
            f"  found  sha256 {sha256} ({size:,} bytes)",
            hint="nothing was converted; fetch it again, or, if the change is meant, accept it with"
            " `hubpush pin MODEL --family FILE` and review what that writes to the lock",
        )


def _prefix(path: Path) -> Path:
    """The prefix that a person means by a path: with or without `.index`, `.meta` or `.data-…`."""
    name = _CHECKPOINT_FILE.sub("", path.name)
    prefix = path.with_name(name)
    if not prefix.with_name(name + ".index").is_file():
        near = sorted(p.name.removesuffix(".index") for p in prefix.parent.glob(f"{_glob_escape(name)}*.index"))
        raise SourceError(
            f"there is nothing at {path}: no zip, no directory, and no {name}.index",
            hint=f"did you mean {', '.join(near[:5])}?"
            if near
            else "give a URL, a zip, a directory, or the prefix of a checkpoint (PREFIX.index and PREFIX.data-*)",
        )
    return prefix


def _beside(prefix: Path, root: Path, names: tuple[str, ...]) -> Path | None:
    """A file beside the checkpoint, or the only one of such a name below the root; None if there is none.

    Raises:
        SourceError: There are several.
    """
    near = [prefix.parent / name for name in names if (prefix.parent / name).is_file()]
    found = near or sorted(p for name in names for p in root.rglob(name) if p.is_file())
    if len(found) > 1:
        shown = ", ".join(str(p.relative_to(root)) for p in found[:5])
        raise SourceError(
            f"{prefix.name} has {len(found)} possible {names[0]}: {shown}",
            hint=f"put the one that was published with the checkpoint beside {prefix.name}.index, alone",
        )
    return found[0] if found else None


def _crc32(path: Path) -> int:
    crc = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc


def _glob_escape(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    def refuse(why: str) -> SourceError:
        return SourceError(
            f"{path.name} is refused: {why}", hint="an archive of a checkpoint has no need of this; repack it yourself"
        )

    if len(entries) > _MAX_ENTRIES:
        raise refuse(f"{len(entries)} entries, more than {_MAX_ENTRIES}")
    if sum(entry.file_size for entry in entries) > _MAX_UNPACKED:
        raise refuse(f"it unpacks to more than {_MAX_UNPACKED >> 30} GiB")
    seen: set[str] = set()
    end = 0
    for entry in sorted(entries, key=lambda e: e.header_offset):
        # `orig_filename` is what the archive says; zipfile cuts `filename` at a NUL and turns separators.
        name = entry.orig_filename
        parts = name.rstrip("/").split("/")
        if any(part in ("", ".", "..") for part in parts) or re.search(r"[\x00-\x1f\x7f\\:]", name) or len(name) > 250:
            raise refuse(f"the name {name[:80]!r}")
        if entry.filename != name:  # newer zipfile modules take another one from an extra field
            raise refuse(f"two names for one entry, {name!r} and {entry.filename[:80]!r}")
        folded = name.rstrip("/").casefold()
        if folded in seen:
            raise refuse(f"two entries called {name!r} (case aside)")
        seen.add(folded)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refuse(f"{name} is a link or device")
        if entry.flag_bits & 0x1:
            raise refuse(f"{name} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise refuse(f"{name} has compression method {entry.compress_type}")
        if entry.file_size > _MAX_RATIO * max(entry.compress_size, 1) and entry.file_size > _CHUNK:
            raise refuse(f"{name} unpacks to more than {_MAX_RATIO} times its size")
        if entry.header_offset < end:
            raise refuse(f"{name} overlaps another entry")
        end = entry.header_offset + 30 + len(name.encode("utf-8" if entry.flag_bits & 0x800 else "cp437"))
        end += entry.compress_size


def _copy(packed: Any, unpacked: BinaryIO, size: int, what: str) -> None:
    done = 0
    while chunk := packed.read(_CHUNK):
        done += len(chunk)
        if done > size:
            break
        unpacked.write(chunk)
    if done != size:
        raise SourceError(f"{what}: {done:,} bytes or more, {size:,} announced", hint="fetch the archive again")


def _client(until: float | None) -> httpx2.Client:
    """A client that waits for a minute, and not beyond the deadline."""
    import httpx2

    from hubpush import __version__

    left = math.inf if until is None else until - time.time()
    try:
        return httpx2.Client(
            timeout=httpx2.Timeout(max(0.001, min(60, left)), connect=max(0.001, min(15, left))),
            verify=_trusted(),
            headers={"user-agent": f"hubpush/{__version__}", "accept-encoding": "identity"},
        )
    except (ImportError, ValueError, httpx2.InvalidURL) as error:  # it reads HTTP_PROXY and its like when it is made
        socks = " (SOCKS is not spoken)" if isinstance(error, ImportError) else f": {error}"
        raise SourceError(
            f"the proxy that the environment asks for cannot be used{socks}",
            hint="HTTP_PROXY, HTTPS_PROXY or ALL_PROXY must be http://HOST:PORT; NO_PROXY names hosts without one",
        ) from None


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted, read once: that takes longer than a look at a server."""
    import httpx2

    return httpx2.create_ssl_context()


def _request(client: httpx2.Client, method: str, url: str, headers: dict[str, str]) -> httpx2.Response:
    """Send a request, following redirects to allowed places only. The body is not read yet."""
    import httpx2

    for _ in range(_REDIRECTS):
        try:
            request = client.build_request(method, url, headers=headers)
            response = client.send(request, stream=True)
        except (httpx2.InvalidURL, UnicodeError) as error:  # UnicodeError: a host name that no resolver takes
            raise SourceError(f"{url!r} is not a URL: {error}", hint="check the source's URL") from None
        if response.next_request is None:
            return response
        response.close()
        url = str(response.next_request.url)
        if not is_allowed_url(url):
            raise SourceError(f"the server redirects to {url}", hint="only https is followed; check the source's URL")
    raise SourceError(f"{url} redirects more than {_REDIRECTS} times", hint="check the source's URL")


def _download(url: str, downloads: Path, pin: Pin | None, progress: Progress, until: float | None) -> Local:
    # Two families may use one file name for different archives (uncased_L-12_H-768_A-12.zip of 2018 and of 2020).
    folder = downloads / hashlib.sha256(url.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(url.partition("?")[0]).name) or "archive")
    note = _note(target)
    with FileLock(target.with_name(target.name + ".lock")):
        if target.exists() and not _is_still_wanted(url, target, pin, until):
            target.unlink()
        if not target.exists():
            _receive(url, target, note, pin, progress, until)
            if pin is not None:  # so that who opens it, perhaps another process, need not read it twice
                _remember(target, asked=pin.sha256)
        size = target.stat().st_size
        progress(size, size)
    return Local(display_name(url), target, pin, _read_note(note).get("etag"), is_download=True)


def _note(target: Path) -> Path:
    return target.with_name(target.name + ".json")


def _remember(target: Path, **what: str) -> None:
    """Note something of a download, as long as nobody writes to it."""
    note, changed = _note(target), str(target.stat().st_mtime_ns)
    note.write_text(json.dumps({**_read_note(note), **what, "changed": changed}))


def _is_still_wanted(url: str, target: Path, pin: Pin | None, until: float | None) -> bool:
    """Whether a kept download is no other than the pinned one, as far as is known without reading it again.

    It may be from before the pin changed; without a pin, from before the server had another version.
    """
    found, known = target.stat(), _read_note(_note(target))
    if pin is None:
        return not served(url, until).is_another(known.get("etag") or known.get("validator"), found.st_size)
    # Whoever opens it reads it all, and is the last to tell.
    is_as_it_was = known.get("changed") == str(found.st_mtime_ns)
    sha256 = (known.get("sha256") or known.get("asked")) if is_as_it_was else None
    return pin.size in (None, found.st_size) and (sha256 or _digest(target)[0]) == pin.sha256


@dataclass(frozen=True)
class Served:
    """What a server says of a file before any of its bytes: the answer to HEAD.

    Attributes:
        status: Its status; None when it was not reached.
        tag: The ETag, or Last-Modified where there is none.
        size: Its bytes.
    """

    status: int | None = None
    tag: str | None = None
    size: int | None = None

    def is_another(self, tag: str | None, size: int | None) -> bool:
        """Whether this is another version than the one whose tag and size are known; what is not known is no news."""
        differs = None not in (tag, self.tag) and _strong(str(tag)) != _strong(str(self.tag))
        return differs or (None not in (size, self.size) and size != self.size)


def _strong(tag: str) -> str:
    # A server that compresses on the way calls the same bytes weakly the same (RFC 9110, 8.8.1).
    return tag.removeprefix("W/")


def served(url: str, until: float | None = None) -> Served:
    """What a server has now, without its bytes.

    Raises:
        SourceError: It is no URL, or it redirects to a place that is not allowed.
    """
    import httpx2

    try:
        with _client(until) as client:
            response = _request(client, "HEAD", url, {})
            response.close()
            if response.status_code != 200:
                return Served(response.status_code)
            length = response.headers.get("content-length", "")
            tag = response.headers.get("etag") or response.headers.get("last-modified")
            return Served(200, tag, int(length) if length.isdigit() else None)
    except httpx2.HTTPError:
        return Served()


def fetch_served(url: str, downloads: Path, progress: Progress | None = None, *, until: float | None = None) -> Archive:
    """Bring what a server has now to this machine, beside what is kept of what it had: nothing says what it must be.

    Raises:
        SourceError: It does not come.
    """
    return identified(_download(url, downloads / "served", None, progress or (lambda _done, _total: None), until))


def _read_note(note: Path) -> dict[str, str]:
    """What was kept of the headers beside a download; nothing where there was none, or a crash cut it short."""
    try:
        kept = json.loads(note.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return {k: v for k, v in kept.items() if isinstance(v, str)} if isinstance(kept, dict) else {}


def _receive(url: str, target: Path, note: Path, pin: Pin | None, progress: Progress, until: float | None) -> None:
    """Fill `target` from `url` through a `.part` file, resuming what an earlier attempt left."""
    import httpx2

    part = target.with_name(target.name + ".part")
    why = ""
    with _client(until) as client:
        for attempt in range(_ATTEMPTS):
            if attempt and until is not None and time.time() > until:
                break
            if attempt:
                time.sleep(min(2**attempt, 30) * _PATIENCE)
            try:
                why = _receive_once(client, url, part, note, pin, progress)
                if not why and pin is None and not (zipfile.is_zipfile(part) or tarball.is_tar(part)):
                    part.unlink()  # nothing to resume: the next run asks again
                    raise SourceError(
                        f"what {display_name(url)} sends is no whole zip (a page, or a body cut short?)",
                        hint="open the URL in a browser, or take another copy",
                    )
                if not why:
                    os.replace(part, target)  # noqa: PTH105 - replaces on every platform
                    return
            except httpx2.HTTPError as error:
                why = f"{type(error).__name__}: {error}"
                if isinstance(error, httpx2.ConnectError) and attempt:
                    break  # no such host, or nobody listens: that does not pass within a minute
            except OSError as error:
                raise SourceError(
                    f"{target.name} cannot be written: {error}", hint="check --work and the disk"
                ) from None
    raise SourceError(
        f"{display_name(url)} did not come after {attempt + 1} attempts ({why})",
        hint="run the same command again: the download resumes where it stopped; or take another copy",
    )


_PATIENCE = 1.0
"""Factor on the pauses between attempts; the tests set it to 0."""


def _receive_once(client: httpx2.Client, url: str, part: Path, note: Path, pin: Pin | None, progress: Progress) -> str:
    """One attempt; what is wrong, or nothing when the body is complete.

    RFC 9110: If-Range makes the server send all when it has changed.
    """
    validator = _read_note(note).get("validator") if part.exists() else None
    start = part.stat().st_size if validator else 0
    headers = {"range": f"bytes={start}-", "if-range": validator} if validator and start else {}
    response = _request(client, "GET", url, headers)
    try:
        if response.status_code == 416:
            part.unlink(missing_ok=True)
            return "the server has less than was received before"
        if response.status_code in (408, 425, 429) or response.status_code >= 500:
            return f"the server answers {response.status_code}"
        if response.status_code not in (200, 206):
            raise SourceError(
                f"{display_name(url)} answers {response.status_code}",
                hint="check the URL in a browser, or take another copy",
            )
        etag, modified = response.headers.get("etag"), response.headers.get("last-modified")
        strong = etag if etag and not etag.startswith("W/") else modified
        if strong is not None and not (strong.isascii() and strong.isprintable()):
            strong = None  # it could not be sent back
        resumed = response.status_code == 206
        if resumed and (
            not start
            or not response.headers.get("content-range", "").startswith(f"bytes {start}-")
            or strong not in (validator, None)
        ):
            part.unlink(missing_ok=True)
            return "the server resumes something else"
        done = start if resumed else 0
        length = response.headers.get("content-length")
        total = done + int(length) if length is not None and length.isdigit() else None
        cap = pin.size if pin is not None and pin.size is not None else _MAX_DOWNLOAD
        if total is not None and total > cap:
            raise SourceError(
                f"{url} announces {total:,} bytes, but {cap:,} are pinned or allowed",
                hint="the source has changed: if that is meant, `hubpush pin MODEL --family FILE` accepts it",
            )
        if not resumed:
            # In this order: a crash in between must not leave old bytes beside the name of new ones.
            part.unlink(missing_ok=True)
            note.write_text(json.dumps({"validator": strong, "etag": etag or modified}))
        with part.open("ab" if resumed else "wb") as stream:
            progress(done, total)
            for chunk in response.iter_raw():  # as it arrives: what waits for a full block is lost with the connection
                done += len(chunk)
                if done > cap:
                    raise SourceError(
                        f"{url} sends more than {cap:,} bytes", hint="the source has changed: see `hubpush pin`"
                    )
                stream.write(chunk)
                progress(done, total)
        return "" if total is None or done == total else "the body ended early"
    finally:
        response.close()
