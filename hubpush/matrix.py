"""What has to be done of a family, in even shares for machines that work side by side.

A share is a job of a GitHub Actions matrix: the names of its releases travel there as text, and the job looks again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from hubpush.client import late
from hubpush.errors import DriftError, HubpushError, HubUnavailableError, UsageError
from hubpush.job import Job, archive_size
from hubpush.pipeline import looked, survey, why

_Seen = TypeVar("_Seen")

MOST = 256
"""Jobs of a matrix that GitHub Actions takes."""

_EACH = 8 << 20
"""What a release costs besides its bytes, in bytes: the requests, the code of its card, a small model's parity."""
_OUTPUT = 1 << 20
"""Bytes that GitHub takes as the outputs of a job, counted as UTF-16."""


@dataclass(frozen=True)
class Todo:
    """A release that has something to be done.

    Attributes:
        name: The release.
        reason: Why, in words.
        is_change: Whether a new version will come of it, as far as is known now.
        size: Bytes that will be read: the source's; for a proof, the published files'.
    """

    name: str
    reason: str
    is_change: bool
    size: int


def changed(jobs: Sequence[Job]) -> list[Todo]:
    """The releases of which a run would do something, in the family's order. Reads only, and no bytes of a source.

    One that cannot be looked at (a damaged manifest, drift) has something to be done: its run says what is wrong.

    Raises:
        HubUnavailableError: The Hub does not answer: then nothing is known of any.
        DriftError: More would change than `max_changes` allows.
    """
    with ThreadPoolExecutor(min(8, len(jobs))) as threads:
        found = [todo for todo in threads.map(_todo, jobs) if todo is not None]
    most = jobs[0].options.max_changes
    changing = sum(todo.is_change for todo in found)
    if most is not None and changing > most:
        raise DriftError(
            f"{changing} repo{'s' * (changing != 1)} would change, and --max-changes is {most}: nothing is to be done",
            hint="look at the plan (`hubpush status`, or --dry-run); if it is meant, use a higher --max-changes once",
        )
    return found


def published(jobs: Sequence[Job]) -> list[Todo]:
    """The releases that are published, in the family's order, for a proof of all their versions.

    Raises:
        HubUnavailableError: The Hub does not answer.
    """

    def look(job: Job) -> Todo | None:
        # What stands there alone: neither drift nor the source is of interest.
        there = _asked(job, looked)
        if isinstance(there, HubpushError):
            return Todo(job.release.name, there.message.splitlines()[0], False, 0)
        if (found := there.manifest) is None:
            return None
        size = sum(file.size for file in found.files.values())
        return Todo(job.release.name, f"published as {found.tag}", False, size)

    with ThreadPoolExecutor(min(8, len(jobs))) as threads:
        return [todo for todo in threads.map(look, jobs) if todo is not None]


def _todo(job: Job) -> Todo | None:
    seen = _asked(job, survey)
    if isinstance(seen, HubpushError):
        return Todo(job.release.name, seen.message.splitlines()[0], False, 0)
    need, found, size = seen.need, seen.remote.manifest, 0
    if need in ("nothing", "held", "proposed"):
        return None
    if need in ("build", "look"):
        size = found.build.source.size if job.pin is None and found is not None else archive_size(job)
    return Todo(job.release.name, why(job, seen) or need, need in ("build", "card") and found is not None, size)


def _asked(job: Job, ask: Callable[[Job], _Seen]) -> _Seen | HubpushError:
    """What somebody sees of a release, or why that is not to be seen.

    Raises:
        HubUnavailableError: The Hub does not answer.
    """
    try:
        return ask(job)
    except HubUnavailableError as error:
        raise late(error, job.options.bounds) from None
    except HubpushError as error:
        return error
    except OSError as error:
        return HubpushError(str(error), hint="check the path")


def shares(found: Sequence[Todo], count: int) -> list[list[Todo]]:
    """Releases in at most so many shares, as even in bytes as a greedy division gets them.

    The largest go first, each to the share that has least (R. L. Graham, Bounds on Multiprocessing Timing Anomalies,
    1969). In a share, and among shares, the order is the family's.
    """
    count = max(1, min(count, len(found), MOST))
    weights, parts = [0] * count, [list[int]() for _ in range(count)]
    for place in sorted(range(len(found)), key=lambda n: -found[n].size):
        least = min(range(count), key=lambda n: (weights[n], n))
        weights[least] += found[place].size + _EACH
        parts[least].append(place)
    return [[found[n] for n in sorted(part)] for part in sorted(parts, key=min)] if found else []


def to_json(parts: Sequence[Sequence[Todo]]) -> str:
    """The shares as a matrix of GitHub Actions, in one line; without any, its `include` is empty.

    Raises:
        UsageError: It is longer than an output may be.
    """
    include = [
        {
            "shard": f"{n} of {len(parts)}",
            "models": " ".join(todo.name for todo in part),
            "repos": len(part),
            "bytes": sum(todo.size for todo in part),
        }
        for n, part in enumerate(parts, 1)
    ]
    text = json.dumps({"include": include})
    if 2 * len(text) > _OUTPUT:
        raise UsageError(
            f"the matrix has {len(text):,} characters, and GitHub takes {_OUTPUT // 2:,}",
            hint="divide the family by names: one schedule for 'a*', one for 'b*'; or by files",
        )
    return text
