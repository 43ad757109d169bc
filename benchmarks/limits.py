"""New releases against the Hub's limits, in simulated time: what a first publish of a large family meets.

The embedded Hub counts requests as the Hub does (1,000 of the API in five minutes, told in every answer's `ratelimit`
header; 128 commits an hour in a repo; 300 new repos a day) and answers 429 beyond. Its clock is the client's, and moves
when somebody sleeps or asks. hubpush, huggingface_hub, the Hub and the releases are real.
"""

from __future__ import annotations

import datetime
import re
import shutil
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hubpush import localhub
from hubpush.localhub.faults import Fault, Plan, Seen

ORG = "acme"


@dataclass(frozen=True)
class Limit:
    """So many requests that fit in so many seconds.

    Attributes:
        pattern: Of method and path; its group, where it has one, tells those apart that are counted apart.
        most: Requests.
        seconds: In a window of so many seconds, which begins with its first request.
        is_told: Whether each answer says what is left; else a 429 alone says when to come back.
    """

    pattern: str
    most: int
    seconds: int
    is_told: bool = False


API = Limit(r"[A-Z]+ (?:/api/|\S+/info/lfs/objects/batch)", 1000, 300, is_told=True)
COMMITS = Limit(r"POST /api/models/([^/]+/[^/]+)/commit/", 128, 3600)
REPOS = Limit(r"POST /api/repos/create", 300, 86_400)
REAL = (API, COMMITS, REPOS)
"""The limits as the Hub's documentation and its issues name them for free accounts."""


class Clock:
    """A clock that moves when somebody sleeps or asks the Hub."""

    def __init__(self) -> None:
        self._now = float(int(time.time()))
        self._lock = threading.Lock()

    def time(self) -> float:
        """Seconds since 1970."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Be so many seconds later. Threads that sleep at once sleep side by side."""
        until = self._now + seconds
        with self._lock:
            self._now = max(self._now, until)

    def pass_by(self, seconds: float) -> None:
        """Let a moment pass that nobody waits for."""
        with self._lock:
            self._now += seconds


@dataclass
class _Window:
    ends: float = 0.0
    count: int = 0
    most: int = 0  # in any window so far


class Limited(Plan):
    """A fault plan that refuses what is over a limit, and says in each answer what is left of the one that is told.

    Attributes:
        refused: How many requests were, by the limit's pattern.
        most: The most requests of any window, by the limit's pattern.
    """

    def __init__(self, limits: tuple[Limit, ...], clock: Clock, latency: float = 0.1) -> None:
        super().__init__(seed=0)
        self.limits, self.clock, self.latency = limits, clock, latency
        self.refused: Counter[str] = Counter()
        self._windows: defaultdict[tuple[str, str], _Window] = defaultdict(_Window)
        self._counting = threading.Lock()

    @property
    def most(self) -> dict[str, int]:
        """The most requests that any window let through, by the limit's pattern."""
        found: dict[str, int] = {}
        for (pattern, _), window in self._windows.items():
            found[pattern] = max(found.get(pattern, 0), window.most)
        return found

    def _meet(self, method: str, path: str, query: str) -> Seen:
        seen = super()._meet(method, path, query)
        self.clock.pass_by(self.latency)
        with self._counting:
            for limit in self.limits:
                if (found := re.match(limit.pattern, f"{method} {path}")) is None:
                    continue
                window = self._windows[limit.pattern, found[1] if found.re.groups else ""]
                if self.clock.time() >= window.ends:
                    window.ends, window.count = self.clock.time() + limit.seconds, 0
                if window.count >= limit.most:
                    self.refused[limit.pattern] += 1
                    seen.fault = Fault(action="status", status=429, headers=self._headers(limit, window), times=None)
                    return seen
                window.count += 1
                window.most = max(window.most, window.count)
        return seen

    def _headers(self, limit: Limit, window: _Window) -> dict[str, str]:
        left = max(1, int(window.ends - self.clock.time()) + 1)
        if not limit.is_told:
            return {"Retry-After": str(left)}
        told = f'"api";r={limit.most - window.count};t={left}'
        return {"ratelimit": told, "ratelimit-policy": f'"fixed window";"api";q={limit.most};w={limit.seconds}'}

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The application with the limits around it."""
        inner = super().wrap(app)
        told = next((limit for limit in self.limits if limit.is_told), None)

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            async def telling(message: Message) -> None:
                asked = f"{scope['method']} {scope['path']}"
                if message["type"] == "http.response.start" and told is not None and re.match(told.pattern, asked):
                    headers = self._headers(told, self._windows[told.pattern, ""])
                    there = {name.lower() for name, _ in message["headers"]}
                    more = [(k.encode(), v.encode()) for k, v in headers.items() if k.encode() not in there]
                    message = {**message, "headers": [*message["headers"], *more]}
                await send(message)

            await inner(scope, receive, telling if scope["type"] == "http" else send)

        return handle


@contextmanager
def simulated(clock: Clock) -> Iterator[None]:
    """The clock, as hubpush and the client look at it. What measures (`perf_counter`, `monotonic`) stays real."""
    from huggingface_hub.utils import _http

    from hubpush import client, collection, pipeline, publish

    class Date(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.datetime.fromtimestamp(clock.time(), tz)

    fake = SimpleNamespace(**{**vars(time), "time": clock.time, "sleep": clock.sleep})
    dates = SimpleNamespace(**{**vars(datetime), "datetime": Date})
    with ExitStack() as stack:
        for module in (client, collection, pipeline, publish, _http):
            stack.enter_context(mock.patch.object(module, "time", fake))
        stack.enter_context(mock.patch.object(client, "datetime", dates))
        yield


@dataclass
class Found:
    """What it took.

    Attributes:
        runs: How many runs.
        seconds: Simulated seconds from the first to the end of the last.
        requests: To the Hub, the refused ones too.
        refused: Requests that were, by the limit's pattern.
        most: The most requests of a window, by the limit's pattern.
        codes: Exit codes of what the runs left, run by run.
        versions: Versions by repo.
    """

    runs: int = 0
    seconds: float = 0.0
    requests: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    most: Mapping[str, int] = field(default_factory=dict)
    codes: list[set[int]] = field(default_factory=list)
    versions: Mapping[str, list[str]] = field(default_factory=dict)


def publish(
    family: Path, folder: Path, limits: tuple[Limit, ...] = REAL, say: Callable[[str], None] = lambda _: None
) -> Found:
    """Publish a family of new releases; run again at the time that a run names, until nothing is left.

    Raises:
        RuntimeError: Such a run got no further than the one before: it never would.
    """
    from huggingface_hub import HfApi

    from hubpush import job, run

    clock, found, done = Clock(), Found(), 0
    plan, start = Limited(limits, clock), clock.time()
    with localhub.serve(folder / "hub", plan=plan) as url, simulated(clock):
        while True:
            # A machine of its own for each run, as a scheduled workflow has: nothing is remembered of a window.
            _forget()
            todo = job.of_family(
                str(family), (), ORG, None, None, None, folder / "work", job.Options(prove=False, private=False)
            )
            todo = [replace(one, endpoint=url, embedded=True) for one in todo]
            outcomes = run.carry_all(todo, 1, lambda *_: None, lambda _: None)
            found.runs += 1
            left = [one.error for one in outcomes if one.error is not None]
            found.codes.append({int(one["code"]) for one in left})
            hours = (clock.time() - start) / 3600
            say(f"run {found.runs} ends after {hours:.2f} h: {len(outcomes) - len(left)} of {len(outcomes)} are done")
            if not left:
                break
            if len(outcomes) - len(left) <= done:
                raise RuntimeError(f"a run at the time that was told did nothing new: {left[0]['message']}")
            done = len(outcomes) - len(left)
            clock.sleep(max(0.0, max(map(_time_told, left, [clock] * len(left))) - clock.time()))
        found.seconds, found.requests = clock.time() - start, len(plan.seen)
        found.refused, found.most = dict(plan.refused), plan.most
        plan.limits = ()
        api = HfApi(endpoint=url, token="embedded")  # noqa: S106 - the embedded Hub's word for anybody
        found.versions = {
            one.id: [tag.name for tag in api.list_repo_refs(one.id).tags] for one in api.list_models(author=ORG)
        }
    _forget()
    shutil.rmtree(folder / "work")
    return found


def _forget() -> None:
    """Have a client that knows nothing of what an earlier one was told."""
    from huggingface_hub.utils import _http

    from hubpush import client

    _http.set_client_factory(_http.default_client_factory)
    client.bound(client.Bounds())


def _time_told(error: Mapping[str, Any], clock: Clock) -> float:
    """When a run says that it is worth running again: a time of the day, or a day and a time."""
    told = re.search(r"after (?:(\d{4}-\d\d-\d\d) )?(\d\d):(\d\d)", str(error["hint"]))
    if told is None:
        raise AssertionError(f"no time is told: {error['message']}; {error['hint']}")
    now = datetime.datetime.fromtimestamp(clock.time())
    day = now.date() if told[1] is None else datetime.date.fromisoformat(told[1])
    when = datetime.datetime.combine(day, datetime.time(int(told[2]), int(told[3])))
    if when < now - datetime.timedelta(minutes=1):
        when += datetime.timedelta(days=1)
    return when.timestamp() + 60  # the minute is told, not the second


def limits(family: Path, folder: Path, say: Callable[[str], None]) -> str:
    """What a first publish takes at the real limits, in words."""
    found = publish(family, folder, REAL, say)
    count = len(found.versions)
    if wrong := {repo: tags for repo, tags in found.versions.items() if tags != ["v1.0.0"]}:
        raise RuntimeError(f"not one version each: {wrong}")
    return (
        f"{count} new releases at the Hub's limits: {found.runs} runs over {found.seconds / 3600:.1f} simulated hours,"
        f" {found.requests:,} requests, of which {sum(found.refused.values())} refused;"
        f" at most {found.most[API.pattern]:,} API requests in five minutes and {found.most[REPOS.pattern]} new repos"
        " a day; every repo has one version"
    )
