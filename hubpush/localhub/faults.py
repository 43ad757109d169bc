"""Faults: the embedded Hub told to fail, so that a rehearsal or a test meets what a network and a busy Hub do.

A `Plan` stands around the application, which knows nothing of it. It numbers the requests, keeps a journal of them, and
lets the first fault that fits strike. Requests that the client makes once a day (`GET /api/agent-harnesses`, telemetry)
have no number, as the others' would depend on the day; only a fault that names a path meets them.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import secrets
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hubpush.errors import UsageError, redact

_UNNUMBERED = re.compile(r"GET /api/agent-harnesses|[A-Z]+ /api/telemetry(/.*)?|POST /v1/telemetry")
_TAKES = {
    "status": {"status", "headers", "body"},
    "drop": {"bytes"},
    "stall": {"seconds"},
    "delay": {"seconds"},
    "truncate": {"bytes"},
}


def _headers(value: Mapping[str, str]) -> Mapping[str, str]:
    """Headers that HTTP allows; those that frame the body are the server's."""
    good = re.compile(
        r"(?!(?:content-length|transfer-encoding):)[\w!#$%&'*+.^`|~-]+:([!-~]([ -~]*[!-~])?)?", re.A | re.I
    )
    if bad := [name for name, text in value.items() if not good.fullmatch(f"{name}:{text}")]:
        raise ValueError(f"cannot be sent: {', '.join(map(repr, bad))}")
    return value


_Whole = Annotated[int, Field(strict=True, ge=0)]
_Count = Annotated[int, Field(strict=True, ge=1)]
_Real = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Fault:
    """What happens to which requests. A request that one fault takes is not seen by those after it.

    Attributes:
        request: The number of the request, from 1; None for any.
        method: The method; empty for any.
        path: A glob for the path as it was sent, percent signs and all, without query; empty for any numbered request.
        query: A glob for the query as it was sent; empty for any.
        skip: How many requests that fit pass first.
        times: How often it strikes; None, in a file "always", for every time.
        chance: How likely it strikes, drawn from the plan's generator.
        action: `status` answers; `drop` closes the connection without an answer; `stall` says nothing for `seconds` and
            then drops; `delay` waits `seconds` and goes on; `truncate` breaks the connection after so many `bytes` of
            the answer's body, if it has more; the empty one goes on, for a fault that is only a hook.
        applied: The request is carried out first; then its answer is lost, or with `delay` late.
        status: The status of the answer, from 200 to 599.
        headers: Its headers.
        body: Its body.
        seconds: How long; None is until the client goes away (`stall`) or the server stops.
        bytes: Of `truncate`, None being 0. Of `drop`: the application first gets so many bytes of the request's body.
        hook: Called in a thread with the request: before it is carried out or, with `applied`, when it has been and
            nothing of the answer is sent yet.
    """

    request: _Count | None = None
    method: Annotated[str, Field(pattern="^[A-Z]*$")] = ""
    path: Annotated[str, Field(pattern=r"^([/*?\[].*)?$")] = ""
    query: str = ""
    skip: _Whole = 0
    times: Annotated[_Count | None, BeforeValidator(lambda value: None if value == "always" else value)] = 1
    chance: Annotated[_Real, Field(le=1)] = 1.0
    action: Literal["status", "drop", "stall", "delay", "truncate", ""] = ""
    applied: Annotated[bool, Field(strict=True)] = False
    status: Annotated[int, Field(strict=True, ge=200, le=599)] = 503
    headers: Annotated[Mapping[str, str], AfterValidator(_headers)] = field(default_factory=dict)
    body: str = '{"error": "Told to fail, by the fault plan of this embedded Hub"}'
    seconds: _Real | None = None
    bytes: _Whole | None = None
    hook: Callable[[Seen], None] | None = None

    def fits(self, seen: Seen) -> bool:
        """Whether it is about this request."""
        return (
            self.request in (None, seen.number)
            and self.method in ("", seen.method)
            and (fnmatchcase(seen.path, self.path) if self.path else seen.number is not None)
            and (not self.query or fnmatchcase(seen.query, self.query))
        )


@dataclass
class Seen:
    """A request in the journal: no header and no body, so no token. `status` is what the client was sent, if any."""

    number: int | None
    method: str
    path: str
    query: str
    status: int | None = None
    fault: Fault | None = None


@dataclass
class _Armed:
    fault: Fault
    met: int = 0
    struck: int = 0


class Plan:
    """The faults of a server and its journal. A test may use and change it from any thread while the server runs.

    Attributes:
        seed: Of the generator behind `chance`: the same requests in the same order meet the same faults again.
        seen: Every request, in the order of arrival.
        tell: Called with each request that a fault strikes, before it is carried out.
    """

    def __init__(self, faults: Iterable[Fault] = (), seed: int | None = None) -> None:
        self.seed = secrets.randbelow(2**32) if seed is None else seed
        self.tell: Callable[[Seen], None] | None = None
        self._lock = threading.Lock()
        self.clear()
        self.faults = tuple(faults)

    def clear(self) -> None:
        """Begin again: no faults, an empty journal, numbers from 1, the generator at its seed."""
        with self._lock:
            self.seen: list[Seen] = []
            self._armed: list[_Armed] = []
            self._count = 0
            self._random = random.Random(self.seed)  # noqa: S311

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults, in order. Setting them begins their `skip` and `times` anew; numbers and journal go on."""
        return tuple(armed.fault for armed in self._armed)

    @faults.setter
    def faults(self, faults: Iterable[Fault]) -> None:
        with self._lock:
            self._armed = [_Armed(fault) for fault in faults]

    def add(self, *faults: Fault) -> None:
        """Add faults after those there are."""
        with self._lock:
            self._armed += [_Armed(fault) for fault in faults]

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The application with this plan around it. It has to be what uvicorn itself calls."""

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
            seen = self._meet(scope["method"], path, query)

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    seen.status = message["status"]
                await send(message)

            await _carry_out(app, seen, scope, receive, noted)

        return handle

    def _meet(self, method: str, path: str, query: str) -> Seen:
        seen = Seen(None, method, path, query)
        with self._lock:
            if not _UNNUMBERED.fullmatch(f"{method} {path}"):
                seen.number = self._count = self._count + 1
            for armed in self._armed:
                if armed.fault.fits(seen) and self._strikes(armed):
                    seen.fault = armed.fault
                    break
            seen.query = redact(f"?{query}")[1:]
            self.seen.append(seen)
        if seen.fault and self.tell:
            self.tell(seen)
        return seen

    def _strikes(self, armed: _Armed) -> bool:
        fault, armed.met = armed.fault, armed.met + 1
        ready = armed.met > fault.skip and (fault.times is None or armed.struck < fault.times)
        strikes = ready and (fault.chance == 1 or self._random.random() < fault.chance)
        armed.struck += strikes
        return strikes


async def _carry_out(app: ASGIApp, seen: Seen, scope: Scope, receive: Receive, send: Send) -> None:
    """One request, with its fault."""
    if (fault := seen.fault) is None:
        await app(scope, receive, send)
        return
    cycle = _cycle(receive)
    loses = fault.action in ("status", "drop", "stall")
    if loses and fault.applied:
        await app(scope, receive, _lose)
    if fault.hook and (loses or not fault.applied):
        await run_in_threadpool(fault.hook, seen)
    if fault.action == "status":
        body = None if fault.status in (204, 304) else fault.body
        await Response(body, fault.status, fault.headers)(scope, receive, send)
    elif loses:
        if fault.action == "stall":
            await _wait(fault.seconds, cycle, receive)
        elif fault.bytes is not None and not fault.applied:
            await app(scope, _at_most(fault.bytes, receive), _lose)
        else:  # what has not been read would turn the FIN of the close into an RST, now and then
            while cycle.more_body and (await receive())["type"] != "http.disconnect":
                pass
        cycle.transport.abort()
    else:
        if fault.action == "delay" and not fault.applied:
            await _wait(fault.seconds, cycle)
        await app(scope, receive, _late_or_cut(fault, seen, cycle, send))
    if cycle.transport.is_closing():  # uvicorn has to know before it gets control: it would send a 500
        await _gone(receive)


def _cycle(receive: Receive) -> Any:
    """The record that uvicorn has of a request.

    ASGI cannot end a connection without an answer: an exception becomes a 500. uvicorn, with h11 and with httptools,
    calls the application with methods of its RequestResponseCycle, of which this uses `transport` (asyncio's, of the
    connection), `more_body` (of the request), and `keep_alive`, which a server that stops makes False.
    """
    return receive.__self__  # type: ignore[attr-defined]


async def _gone(receive: Receive) -> None:
    """Until the connection is closed. To call `receive` matters: uvicorn stops reading after a large body."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _wait(seconds: float | None, cycle: Any, receive: Receive | None = None) -> None:
    """Wait, but not longer than the server runs nor, when it may read, than the client is there."""
    gone = asyncio.ensure_future(_gone(receive)) if receive else asyncio.get_running_loop().create_future()
    end = time.monotonic() + (math.inf if seconds is None else seconds)
    keep_alive, cycle.keep_alive = cycle.keep_alive, True  # with HTTP/1.0 it is False already
    while cycle.keep_alive and not gone.done() and (left := end - time.monotonic()) > 0:
        await asyncio.wait({gone}, timeout=min(left, 0.05))
    gone.cancel()
    cycle.keep_alive = cycle.keep_alive and keep_alive


async def _lose(message: Message) -> None:
    """Send nothing."""


def _at_most(left: int, receive: Receive) -> Receive:
    """So many bytes of the request's body, and then the news that the client is gone."""
    over = False

    async def some() -> Message:
        nonlocal left, over
        message: Message = {"type": "http.disconnect"} if over else await receive()
        body = message.get("body", b"")
        left -= len(body)
        if left < 0 and not over:
            over = True
            return {**message, "body": body[:left], "more_body": True}
        return message

    return some


def _late_or_cut(fault: Fault, seen: Seen, cycle: Any, send: Send) -> Send:
    """The way of an answer that comes late or breaks off. When it begins, the request has been carried out."""
    left, over = fault.bytes or 0, False

    async def pass_on(message: Message) -> None:
        nonlocal left, over
        if message["type"] == "http.response.start" and fault.applied:
            if fault.hook:
                await run_in_threadpool(fault.hook, seen)
            if fault.action == "delay":
                await _wait(fault.seconds, cycle)
        elif message["type"] == "http.response.body" and fault.action == "truncate" and not over:
            body = message.get("body", b"")
            left -= len(body)
            if left < 0:
                over = True
                await send({**message, "body": body[:left], "more_body": True})
                cycle.transport.close()  # not abort(): what is written still goes out
        if not over:
            await send(message)

    return pass_on


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    seed: _Whole | None = None
    faults: Annotated[list[Fault], Field(min_length=1)]


def read(path: Path) -> Plan:
    """Read a fault plan: `[[faults]]` tables with the attributes of `Fault` but `hook`, and perhaps a `seed`.

    Raises:
        UsageError: The file cannot be read, is not TOML or holds mistakes; all of them are named.
    """
    hint = 'a fault is [[faults]] with, for example, request = 3, action = "status", status = 503'
    found, problems = None, {}
    try:
        data = tomllib.loads(path.read_text("utf-8"))
        found = _File.model_validate(data)
    except OSError as error:
        raise UsageError(f"the fault plan {path} cannot be read: {error.strerror}", hint="check the path") from None
    except pydantic.ValidationError as error:
        for mistake in error.errors(include_url=False, include_input=False):
            place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in mistake["loc"]).lstrip(".")
            unknown = mistake["type"] in ("extra_forbidden", "unexpected_keyword_argument", "callable_type")
            text = "is not a key here" if unknown else mistake["msg"].removeprefix("Value error, ")
            problems[place] = text[0].lower() + text[1:]
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the fault plan {path} is not TOML: {error}", hint=hint) from None
    tables = data["faults"] if isinstance(data.get("faults"), list) else []
    for n, table in enumerate(tables):
        for key, text in _misfits(table).items() if isinstance(table, dict) else ():
            problems[f"faults[{n}].{key}"] = text
    if found is None or problems:
        lines = "".join(f"\n  {place}: {text}" for place, text in problems.items())
        raise UsageError(
            f"the fault plan {path} has {len(problems)} mistake{'s' * (len(problems) > 1)}:{lines}", hint=hint
        )
    return Plan(found.faults, found.seed)


def _misfits(table: Mapping[str, object]) -> dict[str, str]:
    """The keys of a fault that are missing or say nothing beside the others."""
    problems, action = {}, table.get("action")
    if "request" in table and "skip" in table:
        problems["skip"] = "says nothing to a single request"
    if not (isinstance(action, str) and action in _TAKES):
        return problems | {"action": f"must be one of {', '.join(_TAKES)}"}
    if action == "delay" and "seconds" not in table:
        problems["seconds"] = "is missing"
    others = set().union(*_TAKES.values()) - _TAKES[action]
    return problems | {key: f"says nothing to {action}" for key in table if key in others}
