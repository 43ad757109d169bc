"""One commit: its large files by xet in a process that can be ended, else by LFS, and then the commit itself.

hf_xet (1.8) retries for minutes, and a request of its that gets no answer has no deadline. So it runs in a child
process, which only uploads (`preupload_lfs_files`) and gives the operations back; the commit is always made here, where
the client is bounded. To end the child is therefore safe: no commit can have landed. What it leaves are files that no
commit names. If it stalls or fails, the same files go by LFS, once.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hubpush.client import AgainError, Bounds, bound, by_lfs, errors, in_force, quiet_bars, remaining, require_time
from hubpush.errors import DriftError, HubpushError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi

    Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete

_LARGE = 5 << 20
"""Bytes from which a file is worth a process of its own; smaller ones are one quick request by LFS. Weights are never
counted as small: it is them that xet finds again in other repos and versions."""
_TRIES = 6
"""How often the client sends a request of its own before xet begins (huggingface_hub's http_backoff)."""
_HASTE = {"HF_XET_CLIENT_CONNECT_TIMEOUT": "10s", "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "3"}
"""hf_xet waits a minute for a connection and sends five times again (3, 6, 12, ... s apart); by LFS it goes on sooner.
Its read timeout stays: it counts while a body is still being sent, so a short one would end slow uploads."""


def commit(
    api: HfApi,
    repo_id: str,
    operations: Sequence[Operation],
    *,
    message: str,
    description: str,
    parent: str,
    sha256: Mapping[str, str] = MappingProxyType({}),
    revision: str | None = None,
    create_pr: bool = False,
    embedded: bool = False,
    bounds: Bounds | None = None,
    tell: Callable[[str], None] | None = None,
) -> CommitInfo:
    """Commit with compare-and-swap, bounded. The commit is sent once, whatever the answer.

    Args:
        api: The client.
        repo_id: The repo.
        operations: What changes; fresh ones for every attempt.
        message: The commit's first line.
        description: The rest.
        parent: The commit that has to be the head.
        sha256: Digests of files on the disk by their paths in the repo, where they are known already.
        revision: The branch; None for `main`.
        create_pr: Make a pull request of it.
        embedded: Go by LFS: it is faster on loopback, and what is left after a xet upload that stalled.
        bounds: How long is waited; None for those that the client of this process has.
        tell: Called in one line when a xet upload is given up: pass `embedded` from then on, or the next attempt
            stalls for as long again.

    Raises:
        AgainError: Somebody was faster, the Hub had a bad moment, or the commit may have landed: look again.
        DeferredError: The deadline is over, or the Hub asks for more patience than is allowed.
        HubRefusedError: The Hub says no.
        CardError: It does not accept the card.
        DriftError: A file is not what its digest says.
    """
    from huggingface_hub import CommitOperationAdd

    bounds = bounds or in_force()
    if not embedded and _goes_by_xet(operations):
        try:
            operations = _by_xet(api, repo_id, operations, revision, create_pr, bounds)
            _require_same(operations, sha256)
        except _GivenUp as why:
            if tell is not None:
                tell(f"{repo_id}: the upload by xet is given up ({why}); it goes by LFS")
    for operation in operations:
        if not isinstance(operation, CommitOperationAdd) or operation.upload_info.is_hashed:
            continue
        if operation.path_in_repo in sha256:
            operation.upload_info.sha256 = bytes.fromhex(sha256[operation.path_in_repo])
    with errors(repo_id), by_lfs(True), quiet_bars():
        return api.create_commit(
            repo_id,
            operations,
            commit_message=message,
            commit_description=description,
            parent_commit=parent,
            revision=revision,
            create_pr=create_pr,
        )


def _require_same(operations: Sequence[Operation], sha256: Mapping[str, str]) -> None:
    """Check what was sent by xet, which hashes while it reads: storage does not refuse another file there.

    Raises:
        DriftError: It is another one.
    """
    from huggingface_hub import CommitOperationAdd

    for operation in operations:
        if isinstance(operation, CommitOperationAdd):
            path, found = operation.path_in_repo, operation.upload_info
            if path in sha256 and found.is_hashed and found.sha256.hex() != sha256[path]:
                raise DriftError(
                    f"{path} is not what was built and proven", hint="something wrote to the work directory: run again"
                )


def _goes_by_xet(operations: Sequence[Operation]) -> bool:
    from huggingface_hub import CommitOperationAdd, constants

    if constants.HF_HUB_DISABLE_XET or find_spec("hf_xet") is None:
        return False
    return any(
        operation.path_in_repo.endswith(".safetensors") or operation.upload_info.size >= _LARGE
        for operation in operations
        if isinstance(operation, CommitOperationAdd)
    )


class _GivenUp(Exception):  # noqa: N818 - it is no error: the upload goes on by LFS
    """The child uploads no more, and why."""


def _by_xet(
    api: HfApi, repo_id: str, operations: Sequence[Operation], revision: str | None, create_pr: bool, bounds: Bounds
) -> list[Operation]:
    """Upload in a child process; the operations with what the commit needs to know of the uploads.

    Raises:
        _GivenUp: Nothing moved for too long, or it did not work.
        HubpushError: As `commit`.
    """
    from huggingface_hub import CommitOperationAdd

    additions = [operation for operation in operations if isinstance(operation, CommitOperationAdd)]
    # All that it gets, the token too, goes through a pipe.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(
        target=_upload, args=(theirs, api, repo_id, additions, revision, create_pr, bounds), daemon=True
    )
    child.start()
    theirs.close()
    try:
        uploaded = iter(_awaited(ours, bounds))
    finally:
        child.kill()
        child.join()
        ours.close()
    return [next(uploaded) if isinstance(operation, CommitOperationAdd) else operation for operation in operations]


def _awaited(pipe: Connection, bounds: Bounds) -> list[CommitOperationAdd]:
    """What the child gives back, as long as something moves there."""
    # Before xet begins, the client in the child is bounded by itself.
    end = time.monotonic() + _TRIES * (bounds.silence + bounds.wait)
    while True:
        if not pipe.poll(max(0.0, min(end - time.monotonic(), remaining(bounds)))):
            require_time(bounds)
            raise _GivenUp(f"nothing moved for {bounds.silence:g} s")
        try:
            news = pipe.recv()
        except EOFError:
            raise _GivenUp("its process died") from None
        if news is None:
            end = time.monotonic() + bounds.silence
        elif isinstance(news, AgainError):
            raise _GivenUp(news.message.removeprefix(f"{news.message.partition(': ')[0]}: "))
        elif isinstance(news, HubpushError):
            raise news
        else:
            return list(news)


# The child


def _upload(
    pipe: Connection,
    api: HfApi,
    repo_id: str,
    additions: list[CommitOperationAdd],
    revision: str | None,
    create_pr: bool,
    bounds: Bounds,
) -> None:
    """Upload; tell None whenever something moved, and at last the operations or an error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=die_with_parent, daemon=True).start()
    for name, value in _HASTE.items():
        os.environ.setdefault(name, value)
    lock = threading.Lock()  # xet's progress comes in a thread of its own

    def tell(news: object) -> None:
        with lock:
            pipe.send(news)

    bound(bounds)
    _watch(lambda: tell(None))
    try:
        with errors(repo_id), quiet_bars():
            api.preupload_lfs_files(repo_id, additions, revision=revision, create_pr=create_pr, free_memory=False)
    except HubpushError as error:
        tell(error)
    else:
        tell(additions)


def die_with_parent() -> None:
    """End this process with its parent: nobody waits for it any more, and a publish can be cut anywhere."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _watch(moved: Callable[[], None]) -> None:
    """Have each upload of hf_xet in this process call `moved` when it begins and when its figures change.

    The client shows these figures as bars alone. hf_xet hands them, five times a second, to the `progress_callback` of
    `XetSession.new_upload_commit`. Should a later client not come by here, the child is ended after the time that
    requests before xet may take, and LFS does it.
    """
    import hf_xet  # type: ignore[import-not-found,import-untyped,unused-ignore]

    real = hf_xet.XetSession

    class Watched:
        def __init__(self) -> None:
            self._session = real()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._session, name)

        def new_upload_commit(self, **given: Any) -> Any:
            moved()
            seen: list[object] = [None]

            def progress(group: object, *_: object) -> None:
                figures = [*_counts(group), *_counts(getattr(group, "shard", None))]
                if figures != seen[0]:
                    seen[0] = figures
                    moved()

            return self._session.new_upload_commit(**{**given, "progress_callback": progress})

    hf_xet.XetSession = Watched


def _counts(report: object) -> list[int]:
    """The whole numbers of a report: its rates change by themselves."""
    values = (getattr(report, name) for name in dir(report) if not name.startswith("_"))
    return [value for value in values if isinstance(value, int)]
