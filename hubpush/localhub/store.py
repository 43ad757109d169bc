"""What the embedded Hub keeps: git repositories, LFS files, and small JSON documents.

The repositories are bare (`models/<ns>/<name>.git`) with settings and discussions inside; LFS files are
`lfs/ab/cd/<sha256>`; collections and old names of repositories stand beside them.

Every writer, in whatever thread or process, holds one operating-system lock (`lock`), which a killed process gives
back by itself. Inside it a branch still moves by compare-and-swap, because `git push` into the directory does not know
the lock. Files appear by rename; what a killed process leaves behind is unreachable, never half visible.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from dulwich.errors import ChecksumMismatch, MissingCommitError, NotGitRepository
from dulwich.file import FileLocked
from dulwich.graph import find_merge_base
from dulwich.index import commit_tree
from dulwich.object_store import MemoryObjectStore
from dulwich.objects import S_ISGITLINK, Blob, Commit, ObjectID, ShaFile, Tag
from dulwich.refs import Ref, check_ref_format
from dulwich.repo import Repo
from dulwich.walk import ORDER_TOPO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

USER = "local"
_TEMPORARY_SECONDS = 24 * 3600
_STALE_LOCK_SECONDS = 5
_COMMITS_KEPT = 32  # whose entries stay in memory
_FOLDERS_DELETED = 1000  # in one commit: each looks at all paths, under everybody's lock
_ATTRIBUTES_LINE = 2048  # bytes, as git has it: fsck's gitattributesLineLength
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,18})\n", re.ASCII
)
NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REF_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}")
_REQUEST = re.compile(r"refs/pr/[1-9][0-9]{0,8}")
_SHA, _SHORT_SHA = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{7,40}")
_LFS_PATTERNS = (
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz *.onnx "
    "*.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite *.tgz "
    "*.wasm *.xz *.zip *.zst *tfevents*"
)  # the .gitattributes of a new model repository on the Hub
# First segments of the Hub's own addresses, which therefore cannot be namespaces.
RESERVED = ("api", "datasets", "spaces", "kernels", "buckets", "collections", "oauth", "cas", "v1")

T = TypeVar("T")
ObjectT = TypeVar("ObjectT", bound=ShaFile)


class HubError(Exception):
    """An answer other than success; `code` is the `X-Error-Code` that the client maps to its own exceptions."""

    def __init__(self, status: int, message: str, code: str = "", **body: object) -> None:
        super().__init__(message)
        self.status, self.message, self.body = status, message, body
        self.headers = {"X-Error-Code": code} if code else {}


@dataclass(frozen=True)
class Entry:
    """One file or directory at a commit; `sha256` is set for LFS files, whose blob is a pointer of `stored` bytes."""

    path: str
    oid: str
    size: int
    is_file: bool = True
    sha256: str = ""
    stored: int = 0


@dataclass(frozen=True)
class Change:
    """One line of a commit: a file's content, an LFS file's digest (size -1: not told, a copy), or a deletion."""

    kind: str
    path: str
    content: bytes = b""
    sha256: str = ""
    size: int = -1


_MARKER = ".embedded-hub"
_UNFINISHED = "tmp_obj_"  # a name that git knows, and prunes
_OWN = {_MARKER, "models", "lfs", "xet", "tmp", "lock"}


def _is_dir(entry: os.DirEntry[str]) -> bool:
    # The first is known without another look; the second takes a link that leads to itself for none.
    return entry.is_dir(follow_symlinks=False) or Path(entry.path).is_dir()


class Store:
    """All repositories of one directory, which is made when it does not exist."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._blobs: dict[bytes, tuple[int, str, int]] = {}  # by content, so never out of date
        self._entries: dict[ObjectID, dict[str, Entry]] = {}
        self._caching, self._held = threading.Lock(), threading.local()
        directory.mkdir(parents=True, exist_ok=True)
        # Another server may be making the same directory at this moment, so its own names do not count as foreign.
        there = {path.name for path in directory.iterdir() if not path.name.startswith(_UNFINISHED)}
        if there - _OWN and not (directory / _MARKER).exists():
            raise FileExistsError(errno.EEXIST, "it holds files that are not an embedded Hub's")
        for name in _OWN - {_MARKER, "lock"}:
            (directory / name).mkdir(exist_ok=True)
        with self.writing():
            if not (directory / _MARKER).exists() or not (directory / _MARKER).stat().st_size:
                _replace(directory / _MARKER, secrets.token_bytes(32), 0o600)
        for left in (directory / "tmp").iterdir():  # of killed processes; another server may be using a younger one
            try:
                ours = re.fullmatch("[0-9a-f]{32}", left.name)
                if ours and time.time() - left.lstat().st_mtime > _TEMPORARY_SECONDS:
                    shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
            except FileNotFoundError:
                pass  # another server was faster

    @property
    def secret(self) -> bytes:
        """What this Hub signs addresses with: one of its own, kept, so that they are good after a restart too."""
        return (self.directory / _MARKER).read_bytes()

    # Repositories

    def repos(self) -> list[str]:
        """All repo ids, sorted."""
        return sorted(f"{owner}/{name}" for owner in self._names("") for name in self._names(owner, ".git"))

    def find(self, repo_id: str) -> str | None:
        """The id as it was created: the Hub looks ids up without regard to case."""
        owner, _, name = repo_id.lower().partition("/")
        found = (
            f"{there}/{known}"
            for there in self._names("")
            if there.lower() == owner
            for known in self._names(there, ".git")
            if known.lower() == name
        )
        return next(found, None)

    def _names(self, owner: str, ending: str = "") -> Iterator[str]:
        """Names of the directories of owners, or of an owner's repositories: one look, however many there are."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.directory / "models" / owner) as entries:
            for entry in entries:
                name = entry.name.removesuffix(ending)
                if entry.name.endswith(ending) and NAME.fullmatch(name) and _is_dir(entry):
                    yield name

    def moved(self, repo_id: str) -> str | None:
        """The present id of a repository that had this one before it was moved."""
        renamed = self.read("moved.json")
        for _ in range(len(renamed)):
            if (known := self.find(repo_id)) or (repo_id := str(renamed.get(repo_id.lower(), ""))) == "":
                return known
        return self.find(repo_id)

    def create(self, repo_id: str, *, private: bool, author: str = USER) -> None:
        """Make a repository with the Hub's initial commit, or raise 409."""
        _check_id(repo_id)
        with self.writing():
            if known := self.find(repo_id):
                raise HubError(409, f"You already created this model repo: {known}")
            made = self.temporary()
            try:
                self._make(made, private, author)
                self._place(made, repo_id)
            except OSError:  # a full disk
                shutil.rmtree(made, ignore_errors=True)
                raise

    def _make(self, made: Path, private: bool, author: str) -> None:
        with Repo.init_bare(made, mkdir=True, default_branch=b"main") as repo:
            lines = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in _LFS_PATTERNS.split())
            objects = MemoryObjectStore()
            objects.add_object(blob := Blob.from_string(lines.encode()))
            commit = _commit(objects, {b".gitattributes": (0o100644, blob.id)}, [], "initial commit", author)
            _write_objects(repo, objects)
            repo.refs.add_if_new(Ref(b"refs/heads/main"), commit)
        _replace(made / "hub.json", _settings(private, iso(time.time())))

    def move(self, repo_id: str, new: str) -> None:
        """Rename a repository; requests for the old id are led to the new one until something else has that id."""
        _check_id(new)
        with self.writing():
            known = self.find(new)
            if known is not None and known.lower() != repo_id.lower():
                raise HubError(409, f"A model repository called {known} already exists")
            with self.edit("moved.json") as renamed:  # first: a leftover of a kill here leads to what is still missing
                renamed[repo_id.lower()] = new
            self._place(self._path(repo_id), new)

    def _place(self, made: Path, repo_id: str) -> None:
        final = self._path(repo_id)
        final.parent.mkdir(exist_ok=True)
        try:
            made.rename(final)
        except FileNotFoundError:
            raise repo_not_found(repo_id) from None

    def delete(self, repo_id: str) -> None:
        """Remove a repository. Its LFS files stay: other repositories may hold the same content."""
        with self.writing():
            aside = self.temporary()
            try:
                self._path(repo_id).rename(aside)
            except FileNotFoundError:
                raise repo_not_found(repo_id) from None
        shutil.rmtree(aside, ignore_errors=True)

    def settings(self, repo_id: str) -> dict[str, object]:
        """`private` and `createdAt`; defaults for a bare repository that someone put into the directory."""
        return {"private": False, "createdAt": iso(0), **self.read("hub.json", repo_id)}

    def set_private(self, repo_id: str, private: bool) -> None:
        """Change the visibility."""
        with self.edit("hub.json", repo_id) as settings:
            settings["private"] = private

    # Documents: whatever is kept as JSON

    def read(self, name: str, repo_id: str = "") -> dict[str, Any]:
        """A document of the Hub, or of one repository; an empty one when there is none."""
        path = self._path(repo_id) / name if repo_id else self.directory / name
        try:
            found = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise HubError(409, f"The embedded Hub's own {name} {repo_id and f'of {repo_id} '}is damaged")
        return found

    @contextmanager
    def edit(self, name: str, repo_id: str = "") -> Iterator[dict[str, Any]]:
        """Change a document: no other writer comes between, and it is kept whole at the end, or not at all."""
        with self.writing():
            if repo_id and not self._path(repo_id).is_dir():
                raise repo_not_found(repo_id)
            document = self.read(name, repo_id)
            yield document
            _replace((self._path(repo_id) if repo_id else self.directory) / name, json.dumps(document).encode())

    @contextmanager
    def open(self, repo_id: str) -> Iterator[Repo]:
        """The git repository, closed at the end: dulwich keeps file handles.

        What is deleted or moved away meanwhile is not found, and a damaged one says so.
        """
        path = self._path(repo_id)
        try:
            repo, before = Repo(str(path)), path.stat().st_ino
        except (NotGitRepository, FileNotFoundError):
            raise repo_not_found(repo_id) from None
        except (OSError, ValueError) as error:
            raise HubError(409, f"The repository {repo_id} is damaged: {error}") from None
        with repo:
            try:
                yield repo
            except (KeyError, FileNotFoundError, MissingCommitError, NotGitRepository, ChecksumMismatch) as error:
                if not path.is_dir() or path.stat().st_ino != before:
                    raise repo_not_found(repo_id) from None
                raise HubError(409, f"The repository {repo_id} is damaged (try git fsck): {error!r}") from None

    # Reading

    def entries(self, repo: Repo, revision: ObjectID) -> Mapping[str, Entry]:
        """Every file and directory of a commit by path."""
        if known := self._entries.get(revision):  # a commit never changes, and a download asks for each of its files
            return known
        found: dict[str, Entry] = {}
        for path, (mode, sha) in _tree(repo, get(repo, revision, Commit).tree).items():
            name = path.decode("utf-8", "replace")
            if stat.S_ISDIR(mode):
                found[name] = Entry(name, sha.decode(), 0, is_file=False)
                continue
            if S_ISGITLINK(mode):  # a submodule that someone pushed: its content is elsewhere
                continue
            if sha not in self._blobs:
                data = get(repo, sha, Blob).as_raw_string()
                pointer = _POINTER.fullmatch(data)
                size, sha256 = (int(pointer[2]), pointer[1].decode()) if pointer else (len(data), "")
                self._blobs[sha] = (size, sha256, len(data))
            size, sha256, stored = self._blobs[sha]
            found[name] = Entry(name, sha.decode(), size, sha256=sha256, stored=stored)
        with self._caching:
            self._entries[revision] = found
            while len(self._entries) > _COMMITS_KEPT:
                del self._entries[next(iter(self._entries))]
        return found

    # Writing

    def commit(
        self, repo_id: str, branch: str, text: str, changes: Sequence[Change], parent: str, author: str = USER
    ) -> str:
        """Add one commit to a branch or a pull request (`refs/pr/N`).

        With `parent` (the first digits of its id) only if that is still the head; else 412.
        """
        with self.writing(), self.open(repo_id) as repo:
            ref, moved = _head(branch), False
            while not moved:
                found = repo.refs.read_ref(ref) if check_ref_format(ref) else None
                if found is None:
                    raise revision_not_found(branch)
                head = ObjectID(found)
                if not head.startswith(parent.encode()):
                    raise HubError(
                        412, "The branch was updated since you opened this page. Please refresh and try again."
                    )
                objects = MemoryObjectStore()
                files = _files(repo, head)
                if sum(change.kind == "deletedFolder" for change in changes) > _FOLDERS_DELETED:
                    raise HubError(413, f"A commit deletes at most {_FOLDERS_DELETED} folders")
                for change in changes:
                    self._apply(change, files, objects)
                if wrong := _below_files(files):
                    raise HubError(422, f"{wrong[0].decode('utf-8', 'replace')!r} stands below a file")
                commit = _commit(objects, files, [head], text, author)
                _write_objects(repo, objects)
                moved = _patiently(partial(repo.refs.set_if_equals, ref, head, commit))
        return commit.decode()

    def open_request(self, repo_id: str, number: int, revision: str = "main") -> None:
        """Make the reference `refs/pr/<number>` of a pull request, at the branch that it starts from."""
        with self.writing(), self.open(repo_id) as repo:
            head = repo.refs.read_ref(_head(revision)) if _REF_NAME.fullmatch(revision) else None
            if head is None:
                raise revision_not_found(revision)
            # Whatever a killed writer left under this number is replaced.
            _patiently(partial(repo.refs.set_if_equals, Ref(f"refs/pr/{number}".encode()), None, ObjectID(head)))

    def merge_request(
        self, repo_id: str, number: int, text: str, author: str = USER, base: str = "refs/heads/main"
    ) -> str:
        """Merge `refs/pr/<number>` into a branch, file by file, and return the commit.

        What changed on one side since the common ancestor is taken.

        Raises:
            HubError: 409, both sides changed a file (`conflicts` names them); 404, there is no such request.
        """
        with self.writing(), self.open(repo_id) as repo:
            moved = False
            while not moved:
                ours, theirs = resolve(repo, base), resolve(repo, f"refs/pr/{number}")
                files, clashing = _merged(repo, ours, theirs)
                if clashing:
                    raise HubError(409, f"Both sides changed: {', '.join(clashing)}", conflicts=clashing)
                objects = MemoryObjectStore()
                commit = _commit(objects, files, [ours, theirs], text, author)
                _write_objects(repo, objects)
                moved = _patiently(partial(repo.refs.set_if_equals, Ref(base.encode()), ours, commit))
        return commit.decode()

    def _apply(self, change: Change, files: dict[bytes, tuple[int, ObjectID]], objects: MemoryObjectStore) -> None:
        path = change.path.encode()
        if change.kind in ("deletedFile", "deletedFolder"):
            inside = path.rstrip(b"/") + b"/"
            # The Hub takes a folder under `deletedFile` too.
            gone = [path] if path in files else [p for p in files if p.startswith(inside)]
            if not gone or gone[0] not in files:
                raise HubError(404, f"A file with this name doesn't exist: {change.path}", "EntryNotFound")
            for name in gone:
                del files[name]
            return
        check_path(change.path)
        content = change.content
        if change.kind == "lfsFile":
            size = self.lfs_size(change.sha256)
            if size is None or change.size not in (-1, size):
                raise HubError(400, f"The LFS file of {change.path!r} was not uploaded, or has another size")
            content = f"version https://git-lfs.github.com/spec/v1\noid sha256:{change.sha256}\nsize {size}\n".encode()
        if path.rpartition(b"/")[2] == b".gitattributes" and any(
            len(line) > _ATTRIBUTES_LINE for line in content.split(b"\n")
        ):
            raise HubError(422, f"A line of {change.path} is longer than {_ATTRIBUTES_LINE} bytes")
        blob = Blob.from_string(content)
        objects.add_object(blob)
        files[path] = (files[path][0] if path in files else 0o100644, blob.id)

    def create_ref(self, repo_id: str, kind: str, name: str, revision: str, text: str = "", author: str = USER) -> None:
        """Create a branch (`heads`) or tag (`tags`), an annotated one when there is a text; 409 when it exists."""
        with self.writing(), self.open(repo_id) as repo:
            target = resolve(repo, revision)  # before the name, as the Hub does
            ref = _ref(kind, name)
            if any(other.startswith(ref + b"/") or ref.startswith(other + b"/") for other in repo.refs.allkeys()):
                raise HubError(409, f"Reference {ref.decode()} cannot stand beside one above or below it")
            if text and repo.refs.read_ref(ref) is None:
                tag = Tag()
                tag.name, tag.tagger, tag.tag_time, tag.tag_timezone = (
                    name.encode(),
                    _person(author),
                    int(time.time()),
                    0,
                )
                tag.object, tag.message = (Commit, target), _message(text)
                objects = MemoryObjectStore()
                objects.add_object(tag)
                _write_objects(repo, objects)
                target = tag.id
            if not _patiently(partial(repo.refs.add_if_new, ref, target)):
                raise HubError(409, f"Reference {ref.decode()} already exists")

    def delete_ref(self, repo_id: str, kind: str, name: str) -> None:
        """Delete a branch or a tag; the main branch stays."""
        if (kind, name) == ("heads", "main"):
            raise HubError(403, "Cannot delete refs/heads/main")
        with self.writing(), self.open(repo_id) as repo:
            ref = _ref(kind, name)
            if repo.refs.read_ref(ref) is None:
                raise revision_not_found(name)
            _patiently(partial(repo.refs.remove_if_equals, ref, None))

    # LFS files

    def lfs_of(self, repo_id: str) -> dict[str, int]:
        """Digests and sizes of the LFS files that any branch, tag or pull request of a repository has now."""
        with self.open(repo_id) as repo:
            commits = {commit for kind in ("heads", "tags", "pr") for commit in refs(repo, kind).values()}
            found = [self.entries(repo, ObjectID(commit.encode())).values() for commit in commits]
        return {entry.sha256: entry.size for entries in found for entry in entries if entry.sha256}

    def lfs_path(self, sha256: str) -> Path:
        """Where the LFS file with this digest is or would be."""
        return self.directory / "lfs" / sha256[:2] / sha256[2:4] / sha256

    def lfs_size(self, sha256: str) -> int | None:
        """Its size, or None when it is not here."""
        try:
            return self.lfs_path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    @contextmanager
    def receive(self, sha256: str, size: int) -> Iterator[Callable[[bytes | bytearray], None]]:
        """Take an LFS file in pieces; it appears at the end of the block if size and digest are as announced."""
        temporary, digest, received = self.temporary(), hashlib.sha256(), 0

        def write(piece: bytes | bytearray) -> None:
            nonlocal received
            received += len(piece)
            if received > size:
                raise HubError(400, f"More than the announced {size} bytes")
            digest.update(piece)
            handle.write(piece)

        try:
            with temporary.open("xb") as handle:
                yield write
            if (received, digest.hexdigest()) != (size, sha256):
                raise HubError(
                    400, f"The upload has {received} bytes and digest {digest.hexdigest()}, not the announced"
                )
            final = self.lfs_path(sha256)
            final.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)

    def _path(self, repo_id: str) -> Path:
        # `repo_id` comes from `repos` or has passed the check in `create`: it cannot leave the directory.
        return self.directory / "models" / f"{repo_id}.git"

    def temporary(self) -> Path:
        """A name for what is not whole yet; what a killed process leaves there is removed after a day."""
        return self.directory / "tmp" / secrets.token_hex(16)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock of all writers, in whatever process; a thread that holds it may take it again."""
        if getattr(self._held, "lock", False):  # this thread holds it already
            yield
            return
        with (self.directory / "lock").open("a+b") as handle:
            if sys.platform == "win32":
                while True:
                    try:
                        handle.seek(0)
                        msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)
                        break
                    except OSError:  # it gives up after ten seconds
                        continue
            else:
                fcntl.flock(handle, fcntl.LOCK_EX)
            self._held.lock = True
            try:
                yield  # closing the file gives the lock back
            finally:
                self._held.lock = False


def repo_not_found(repo_id: str) -> HubError:
    """The Hub's answer for a repository that does not exist or may not be seen."""
    return HubError(404, "Repository not found", "RepoNotFound", repo=repo_id)


def revision_not_found(revision: str) -> HubError:
    """The Hub's answer for a branch, tag or commit that does not exist."""
    return HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def check_path(path: str) -> None:
    """Refuse a file path that git or `git fsck` would not take, with the Hub's 422.

    Backslashes and colons are taken, as the Hub takes them; they make a folder on Windows alone, and the client refuses
    to leave its own there.
    """
    for part in path.split("/"):
        # Git reads ".git" in any case, before dots and blanks, as the Windows short name "GIT~1", and before a
        # backslash or a colon.
        names = [name.lower().rstrip(". ") for name in re.split(r"[\\:]", part)]
        if (
            not part.isprintable() or part in ("", ".", "..") or len(part.encode()) > 255
            or any(name in (".git", ".gitmodules") or re.match(r"gi[^/]*~\d", name) for name in names)
        ):  # fmt: skip
            raise HubError(422, f"Invalid file path: {path!r}")
    if len(path.encode()) > 1000 or path.startswith(("..\\", "\\")):
        raise HubError(422, f"Invalid file path: {path!r}")


def resolve(repo: Repo, revision: str) -> ObjectID:
    """The commit that a branch, tag, full reference (`refs/pr/1` too) or commit id means; a branch wins over a tag."""
    kinds = [k for k in ("heads", "tags", "pr") if revision.startswith(f"refs/{k}/")] or ["heads", "tags"]
    name = revision.removeprefix(f"refs/{kinds[0]}/") if len(kinds) == 1 else revision
    if _REF_NAME.fullmatch(name):
        for kind in kinds:
            ref = Ref(f"refs/{kind}/{name}".encode())
            target = repo.refs.read_ref(ref) if check_ref_format(ref) else None
            if target and (commit := _peel(repo, ObjectID(target))):
                return commit
    if _SHORT_SHA.fullmatch(revision):
        found = set(islice(repo.object_store.iter_prefix(revision.encode()), 2))
        try:
            if len(found) == 1:
                return get(repo, found.pop(), Commit).id
        except KeyError:  # a tree, say
            pass
    raise revision_not_found(revision)


def refs(repo: Repo, kind: str) -> dict[str, str]:
    """Name and commit of every branch (`heads`), tag (`tags`) or pull request (`pr`); annotated tags are peeled."""
    found = {name: _peel(repo, sha) for name, sha in repo.refs.as_dict(Ref(f"refs/{kind}".encode())).items()}
    return {name.decode("utf-8", "replace"): commit.decode() for name, commit in sorted(found.items()) if commit}


def history(repo: Repo, revision: ObjectID, *, skip: int = 0, count: int = 1000) -> list[Commit]:
    """Commits from the newest on."""
    walker = repo.get_walker(include=[revision], order=ORDER_TOPO)
    return [step.commit for step in islice(walker, skip, skip + count)]


def last_commits(repo: Repo, revision: ObjectID, paths: Iterable[str]) -> dict[str, Commit]:
    """For each path the commit that gave it its present content, along the first parents."""
    commit = get(repo, revision, Commit)
    here = _tree(repo, commit.tree)
    wanted, found = {path.encode() for path in paths}, {}
    while wanted:
        parent = get(repo, commit.parents[0], Commit) if commit.parents else None
        there: Mapping[bytes, tuple[int, ObjectID]] = _tree(repo, parent.tree) if parent else {}
        for path in [path for path in wanted if there.get(path) != here.get(path)]:
            found[path.decode()] = commit
            wanted.remove(path)
        if parent is None:
            break
        commit = parent
    return found


def message(commit: Commit) -> tuple[str, str]:
    """Its title and the text below."""
    title, _, text = commit.message.decode("utf-8", "replace").strip().partition("\n")
    return title, text.strip()


def date(commit: Commit) -> str:
    """When it was made, as the Hub writes dates."""
    return iso(commit.commit_time)


def get(repo: Repo, sha: ObjectID, kind: type[ObjectT]) -> ObjectT:
    """An object of the expected kind, or KeyError."""
    found = repo.object_store[sha]
    if not isinstance(found, kind):
        raise KeyError(sha)
    return found


def _peel(repo: Repo, sha: ObjectID) -> ObjectID | None:
    found = repo.object_store[sha]
    while isinstance(found, Tag):
        found = repo.object_store[found.object[1]]
    return found.id if isinstance(found, Commit) else None


def _merged(repo: Repo, ours: ObjectID, theirs: ObjectID) -> tuple[dict[bytes, tuple[int, ObjectID]], list[str]]:
    # By whole files, without merging inside them: a release has no file that two people edit line by line.
    bases = find_merge_base(repo, [ours, theirs])
    sides = [_files(repo, sha) for sha in (bases[0], ours, theirs)] if bases else []
    if not sides:
        return {}, ["everything: there is no common ancestor"]
    base, here, there = sides
    files, clashing = dict(here), []
    for path in sorted({*base, *there}):
        before, mine, other = (side.get(path) for side in (base, here, there))
        if other in (before, mine):
            continue
        if mine != before:
            clashing.append(path.decode("utf-8", "replace"))
        elif other is None:
            del files[path]
        else:
            files[path] = other
    return files, clashing + [path.decode("utf-8", "replace") for path in _below_files(files)]


def _below_files(files: Mapping[bytes, object]) -> list[bytes]:
    """Paths that would need a file to be a folder."""
    return sorted(p for p in files if any(p[:at] in files for at, char in enumerate(p) if char == ord("/")))


def conflicts(repo: Repo, number: int, base: str = "refs/heads/main") -> list[str]:
    """The files that keep a pull request from being merged into a branch."""
    return _merged(repo, resolve(repo, base), resolve(repo, f"refs/pr/{number}"))[1]


def _files(repo: Repo, revision: ObjectID) -> dict[bytes, tuple[int, ObjectID]]:
    tree = _tree(repo, get(repo, revision, Commit).tree)
    return {path: value for path, value in tree.items() if not stat.S_ISDIR(value[0])}


def _head(branch: str) -> Ref:
    return Ref((branch if _REQUEST.fullmatch(branch) else f"refs/heads/{branch.removeprefix('refs/heads/')}").encode())


def _person(name: str) -> bytes:
    return f"{name} <{name}@localhost>".encode()


def _check_id(repo_id: str) -> None:
    namespace, _, name = repo_id.partition("/")
    for part in (namespace, name):
        if not NAME.fullmatch(part) or "--" in part or ".." in part or part.lower().endswith((".git", ".ipynb")):
            raise HubError(400, f"Invalid repo id {repo_id!r}: letters, digits, '-', '_' and '.' are allowed")
    if namespace.lower() in RESERVED:
        raise HubError(400, f"{namespace!r} cannot be a namespace")


def _ref(kind: str, name: str) -> Ref:
    ref = Ref(f"refs/{kind}/{name}".encode())
    if not _REF_NAME.fullmatch(name) or not check_ref_format(ref) or _SHA.fullmatch(name) or name == "HEAD":
        raise HubError(400, f"Invalid reference name: {name!r}")
    return ref


def _tree(repo: Repo, tree: ObjectID) -> dict[bytes, tuple[int, ObjectID]]:
    walk = repo.object_store.iter_tree_contents(tree, include_trees=True)
    return {entry.path: (entry.mode, entry.sha) for entry in walk if entry.path and entry.mode and entry.sha}


def _commit(
    objects: MemoryObjectStore,
    files: Mapping[bytes, tuple[int, ObjectID]],
    parents: list[ObjectID],
    title: str,
    author: str,
) -> ObjectID:
    commit = Commit()
    commit.tree = commit_tree(objects, [(path, sha, mode) for path, (mode, sha) in files.items()])
    commit.parents = parents
    commit.author = commit.committer = _person(author)
    commit.author_time = commit.commit_time = int(time.time())
    commit.author_timezone = commit.commit_timezone = 0
    commit.message = _message(title)
    objects.add_object(commit)
    return commit.id


def _message(text: str) -> bytes:
    if "\0" in text or not text.strip():
        raise HubError(400, "A message must not be empty or hold NUL")
    return text.strip().encode() + b"\n"


def _write_objects(repo: Repo, objects: MemoryObjectStore) -> None:
    # Not dulwich's own writer: the lock file that it leaves when killed would block this object for ever. Git ignores
    # and prunes the names used here.
    for sha in objects:
        if sha not in repo.object_store:
            folder = Path(os.fsdecode(repo.path)) / "objects" / sha[:2].decode()
            for attempt in range(9):
                folder.mkdir(exist_ok=True)
                try:
                    _replace(folder / sha[2:].decode(), objects[sha].as_legacy_object())
                    break
                except FileNotFoundError:  # `git gc` removes a folder that is empty at this moment
                    if attempt == 8:
                        raise


def _replace(path: Path, content: bytes, mode: int = 0o666) -> None:
    temporary = path.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _patiently(change: Callable[[], T]) -> T:
    """Change a reference; git's lock file beside it is waited for, or removed when its process must be dead."""
    while True:
        try:
            return change()
        except FileLocked as error:
            lock = Path(os.fsdecode(error.lockfilename))
            try:
                age = time.time() - lock.stat().st_mtime
            except FileNotFoundError:
                continue
            if abs(age) > _STALE_LOCK_SECONDS:  # one from the future is left of another clock
                lock.unlink(missing_ok=True)
            time.sleep(0.02)


def _settings(private: bool, created: str) -> bytes:
    return json.dumps({"private": private, "createdAt": created}).encode()


def iso(seconds: float) -> str:
    """A time in seconds since 1970 as the Hub writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
