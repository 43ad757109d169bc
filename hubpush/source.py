"""Sources: fetch an archive, check that it is the pinned one, and open it without trusting it.

A source is an https URL of a zip, a zip on a disk, a directory, or the prefix of a checkpoint in a directory. Nothing
here knows what the files mean; which files belong to a checkpoint is read from their names alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from filelock import FileLock

from hubpush import tarball, zipball
from hubpush.architectures import ARCHITECTURES
from hubpush.catalog import Pin, Release, is_allowed_url
from hubpush.digests import file_digest
from hubpush.download import Progress, download, remember, served, without_query
from hubpush.errors import SourceError

_CHUNK = 1 << 20
_SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt", "tfhub_module.pb")

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
        return {role: file_digest(path)[0] for role, path in given.items() if path is not None}


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
        with zipball.on_disk(self.name):
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(target.with_name(target.name + ".lock")):
                if target.exists() and _crc32(target) != self.crc:
                    target.unlink()  # somebody wrote to it
                if not target.exists():
                    part = target.with_name(target.name + ".part")
                    with (
                        zipball.reading(self.bundle) as (_, archive),
                        archive.open(self.entry) as packed,
                        part.open("wb") as unpacked,
                    ):
                        zipball.copy(packed, unpacked, self.size, f"{self.bundle.name}: {self.entry}")
                    os.replace(part, target)  # noqa: PTH105 - replaces on every platform
        return target


Location = str | Path | Member
"""Where an archive is: a URL, a path, or in a bundle."""


def member(bundle: Path, source: str) -> Member:
    """The archive that a source means in a zip of zips: by its name, and by its folder where several have that name.

    Raises:
        SourceError: The bundle must not be opened, is damaged, or does not hold it once.
    """
    with zipball.on_disk(bundle.name), zipball.reading(bundle) as (_, archive):
        entries = archive.infolist()
        zipball.check_entries(bundle, entries)
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
    return without_query(location) if isinstance(location, str) else location.name


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
        return _downloaded(location, downloads, pin, progress, until)
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
        return _checked(local, *file_digest(local.path))
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


def fetch_served(url: str, downloads: Path, progress: Progress | None = None, *, until: float | None = None) -> Archive:
    """Bring what a server has now to this machine, beside what is kept of what it had: nothing says what it must be.

    Raises:
        SourceError: It does not come.
    """
    return identified(_downloaded(url, downloads / "served", None, progress, until))


def _downloaded(url: str, downloads: Path, pin: Pin | None, progress: Progress | None, until: float | None) -> Local:
    path, etag = download(url, downloads, pin, progress, until)
    return Local(display_name(url), path, pin, etag, is_download=True)


def _checked(local: Local, sha256: str, size: int) -> Archive:
    """An archive that was read, if it is the pinned one."""
    if local.is_download:
        remember(local.path, sha256=sha256)
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
        archive = identified(_downloaded(location, downloads, None, progress, None))
    else:
        path = location.taken_out(downloads) if isinstance(location, Member) else location
        if not path.is_file():
            raise SourceError(f"there is no module at {path}", hint="give a directory, a tar.gz, or a URL")
        archive = Archive(path.name, path, *file_digest(path))
    into = downloads / "modules" / archive.sha256[:16]
    with zipball.on_disk(archive.name), FileLock(_made(into.parent) / f"{into.name}.lock"):
        if not into.exists():
            part = into.with_name(f"{into.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            try:
                if zipfile.is_zipfile(archive.path):
                    zipball.unpack(archive.path, part)
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
            sha256, size = zipball.unpack(local.path, scratch)
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
    own |= {role: file_digest(path) for role, path in files.texts().items() if role not in files.apart}
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


def digests(paths: Iterable[Path], known: Mapping[str, tuple[str, int]] | None = None) -> dict[str, tuple[str, int]]:
    """Digest and bytes of files by their names; those that are known are not read.

    Raises:
        SourceError: One cannot be read.
    """
    return {path.name: (known or {}).get(path.name) or file_digest(path) for path in paths}


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
