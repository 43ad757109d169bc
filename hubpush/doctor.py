"""What would fail, before it does: versions, the Hub, the token and its rights, every repo, the disk.

A check is a row: what was looked at, what was found, and if it is wrong the exit code that a run would end with and
what to do. The main job makes the checks of repos and disk itself (`hubpush.run`), for the repos that it will change.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hubpush import __version__, job, rights, run
from hubpush.client import errors
from hubpush.errors import HubpushError, HubRefusedError, SourceError
from hubpush.remote import look

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NEEDED = ("huggingface_hub", "tokenizers", "numpy")
_FOR_PARITY = ("tensorflow", "torch", "transformers")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        found: What was found.
        code: 0, or the exit code that a run would end with.
        hint: What to do about it, where something is to be done.
        is_missing: Whether it is only something that some runs need.
    """

    name: str
    found: str
    code: int = 0
    hint: str | None = None
    is_missing: bool = False

    @property
    def result(self) -> str:
        """`ok`, `missing` or `fails`."""
        return "fails" if self.code else "missing" if self.is_missing else "ok"


def examine(org: str | None, family: str | None, hub: str | None, work: Path) -> list[Check]:
    """Look at everything that a run needs.

    Args:
        org: Owner of the repos; without one no repo is looked at.
        family: The family; None for the default one.
        hub: What `--hub` says.
        work: Directory for downloads and built folders.

    Raises:
        UsageError: `hub` or `org` is none.
        CatalogError: The family cannot be read.
    """
    found = list(_versions())
    todo = (
        job.of_family(family or job.DEFAULT_FAMILY, (), org, None, None, None, work, job.Options())
        if org is not None
        else []
    )
    with run.hub(hub, make=False) as (endpoint, embedded):
        todo = [replace(one, endpoint=endpoint, embedded=embedded) for one in todo]
        found += _hub(endpoint, embedded=embedded, org=org)
        if not any(one.code for one in found):
            with ThreadPoolExecutor(min(8, len(todo) or 1)) as threads:
                found += threads.map(_repo, todo)
    found.append(_disk(work, todo))
    return found


def _versions() -> Iterator[Check]:
    yield Check("hubpush", f"{__version__}, Python {platform.python_version()}, {sys.platform}")
    for name in (*_NEEDED, *_FOR_PARITY, "hf_xet"):
        try:
            yield Check(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            parity = 'pip install "hubpush[parity]"; without it: --no-parity'
            hint = {"hf_xet": "uploads go by LFS, which the Hub takes too: pip install hf_xet"}.get(name, parity)
            yield Check(name, "not installed", hint=hint, is_missing=True)


def _hub(endpoint: str | None, *, embedded: bool, org: str | None) -> Iterator[Check]:
    """The Hub's address, whose token it is and what it may, and whether that is enough for the owner."""
    try:
        api = job.client_of(endpoint, embedded=embedded)
        with errors("the Hub"):
            list(api.list_models(limit=1, author=org))
        yield Check("hub", "an embedded one" if embedded else api.endpoint)
        if embedded:
            yield Check("token", "`embedded`, as always for an embedded Hub")
        elif job.is_keyless():
            yield Check("token", f"keyless (HF_OIDC_RESOURCE={os.environ['HF_OIDC_RESOURCE']}): one for each repo")
        else:
            yield _token(api, org)
    except HubpushError as error:
        yield Check("hub", error.message, error.exit_code, error.hint)


def _token(api: HfApi, org: str | None) -> Check:
    """Whose token it is, and whether it may create repos of the owner; of those that are there, each is asked."""
    with errors("the Hub"):
        me = api.whoami()
    owner = org or str(me["name"])
    try:
        return Check("token", rights.require_may_create(me, owner, f"a repo of {owner}"))
    except HubRefusedError as error:
        return Check("token", error.message, error.exit_code, error.hint)


def _repo(one: job.Job) -> Check:
    """Whether a push to a repo would be allowed."""
    try:
        api = job.client(one)
        there = look(api, one.repo_id, one.work / "hub-cache")
        rights.check_rights(api, one.repo_id, there, embedded=one.embedded)
        return Check(one.repo_id, "may be written to" if there.exists else "not there yet, may be created")
    except HubpushError as error:
        return Check(one.repo_id, error.message, error.exit_code, error.hint)


def _disk(work: Path, todo: list[job.Job]) -> Check:
    """Whether the work directory can be used, and what is free there."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=work):
            pass
        free = f"{shutil.disk_usage(work).free / 1e9:,.1f} GB free in {work}"
    except OSError as error:
        return Check("disk", f"{work}: {error.strerror}", SourceError.exit_code, "give another directory: --work DIR")
    refused = run.without_room(todo, run.archive_sizes(todo))
    if not refused:
        return Check("disk", free)
    first = next(iter(refused.values()))
    return Check("disk", f"{free}; no room for {len(refused)} of {len(todo)} releases", first.exit_code, first.hint)
