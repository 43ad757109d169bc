"""huggingface_hub's HTTP client, bounded, and what its errors mean.

The client (2.4.0) sets no timeout on calls of the API, and sleeps for whatever `Retry-After` or `ratelimit` says, for
an hour too. Both are met with hooks on the client that it shares among all its calls. Uploads by xet do not pass here:
see `hubpush.upload`.
"""

from __future__ import annotations

import datetime
import functools
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from hubpush.errors import CardError, HubpushError, HubRefusedError, HubUnavailableError, SourceError, redact

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

Kind = Literal["transient", "unknown-outcome", "conflict", "deferred", "permanent"]

_RESERVE = 8
"""Requests of the shared window that are left to others: so many threads look at repos at once, and each has seen the
number before the requests of the others were counted. A window that is smaller than 20 times this keeps less."""
_RETRIED = (408, 429, 500, 502, 503, 504)  # http_backoff sleeps for the `Retry-After` of these
_LATER = "run the same command again {}: it goes on where this one stopped"


@dataclass(frozen=True)
class Bounds:
    """How long is waited.

    Attributes:
        connect: Seconds for a connection.
        silence: Seconds for the next byte.
        wait: Seconds at most that the Hub can ask for. The default outlasts a window of its limits, which is five
            minutes: a run that gave up sooner would look at the first repos of a large family each time, and never at
            the others.
        until: The deadline of the run, as `time.time()` counts; None for none.
    """

    connect: float = 10.0
    silence: float = 180.0
    wait: float = 330.0
    until: float | None = None


def remaining(bounds: Bounds) -> float:
    """Seconds to the deadline: infinite without one, negative after it."""
    return math.inf if bounds.until is None else bounds.until - time.time()


class AgainError(HubUnavailableError):
    """Look again: the outcome is unclear, somebody was faster, or the Hub had a bad moment.

    Attributes:
        kind: `transient`, `unknown-outcome` or `conflict`.
    """

    def __init__(self, message: str, *, hint: str, kind: Kind = "transient") -> None:
        super().__init__(message, hint=hint)
        self.kind: Kind = kind

    def __reduce__(self) -> tuple[object, ...]:
        return (functools.partial(AgainError, kind=self.kind, hint=self.hint), (self.message,))


class DeferredError(HubUnavailableError):
    """This repo has to wait for longer than the run does: the others can go on. The hint says when to run again."""

    kind: Kind = "deferred"


# The bounded client


def bound(bounds: Bounds | None = None) -> None:
    """Bound the client of this process; a program that has set a factory of its own keeps it.

    Args:
        bounds: Other bounds than those in force replace them, and close connections: call it before threads begin.
            None keeps those in force, or sets the default ones.
    """
    from huggingface_hub.utils import _http

    with _lock:
        factory, windows = _http._GLOBAL_CLIENT_FACTORY, _Windows()
        if isinstance(factory, functools.partial) and factory.func is _made:
            before, windows = factory.args  # what is left of the windows stays known
            if bounds in (None, before):
                return
        elif factory is not _http.default_client_factory:
            return
        _http.set_client_factory(functools.partial(_made, bounds or Bounds(), windows))


def in_force() -> Bounds:
    """The bounds of this process's client; the default ones where a program has set a client of its own."""
    from huggingface_hub.utils import _http

    factory = _http._GLOBAL_CLIENT_FACTORY
    return factory.args[0] if isinstance(factory, functools.partial) and factory.func is _made else Bounds()


_lock = threading.Lock()
# By host and kind of path: requests that are left, how many are kept back, and when the window ends (`time.time()`).
_Windows = dict[tuple[str, str], tuple[int, int, float]]


def _made(bounds: Bounds, windows: _Windows) -> httpx2.Client:
    import httpx2
    from huggingface_hub.utils._http import default_client_factory

    class Timed(httpx2.SyncByteStream):
        """A body that ends with the run, however slowly its bytes come or go."""

        def __init__(self, stream: httpx2.SyncByteStream) -> None:
            self.stream = stream

        def __iter__(self) -> Iterator[bytes]:
            for part in self.stream:
                require_time(bounds)
                yield part

        def close(self) -> None:
            self.stream.close()

    def limit(request: httpx2.Request) -> None:
        require_time(bounds)
        _respect(windows, request.url, bounds)
        left = remaining(bounds)
        most = {"connect": bounds.connect, "pool": bounds.connect, "read": bounds.silence, "write": bounds.silence}
        asked = request.extensions.get("timeout") or {}
        request.extensions["timeout"] = {
            name: min(seconds, max(left, 0.001), *filter(None, [asked.get(name)])) for name, seconds in most.items()
        }
        if bounds.until is not None and isinstance(request.stream, httpx2.SyncByteStream):
            request.stream = Timed(request.stream)

    def learn(response: httpx2.Response) -> None:
        _note(windows, response)
        seconds = _asked_to_wait(response)
        _note_creation(windows, response, seconds, bounds)
        if seconds and seconds > min(bounds.wait, remaining(bounds)):
            raise _deferred(f"{response.request.url.host} asks to wait {seconds} s ({response.status_code})", seconds)
        if seconds:  # a POST is not sent again by the client: what comes next here waits
            windows[_window(response.request.url)] = (0, 0, time.time() + seconds + 1)
        if response.status_code == 409 and response.request.url.path == _CREATE:
            _require_other(response)
        if bounds.until is not None and isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = Timed(response.stream)

    try:
        client = default_client_factory()
    except (ImportError, ValueError, httpx2.InvalidURL) as error:  # a SOCKS proxy without its package, or no URL
        raise HubUnavailableError(
            f"the proxy that the environment names cannot be used: {redact(str(error).splitlines()[0])}",
            hint="HTTPS_PROXY, HTTP_PROXY and ALL_PROXY name an http proxy as http://HOST:PORT; or unset them",
        ) from None
    hooks = client.event_hooks
    client.event_hooks = {"request": [*hooks["request"], limit], "response": [*hooks.get("response", []), learn]}
    return client


def require_time(bounds: Bounds) -> None:
    """Check that the run may go on.

    Raises:
        DeferredError: Its deadline is over.
    """
    if remaining(bounds) <= 0:
        raise DeferredError("the deadline of this run is over", hint=_LATER.format("with more time, or later"))


def late(error: HubpushError, bounds: Bounds) -> HubpushError:
    """What an error is after the deadline: a wait that it cut short is no fault of a Hub or a server."""
    if isinstance(error, HubUnavailableError | SourceError) and remaining(bounds) <= 0:
        return DeferredError("the deadline of this run is over", hint=_LATER.format("with more time, or later"))
    return error


def _require_other(response: httpx2.Response) -> None:
    """The client sends a request to create a repo again at once, for as long as the answer is this one."""
    if b"another conflicting operation is in progress" in response.read():
        message = f"{response.request.url.host} creates another repo at this moment"
        raise AgainError(message, hint=_LATER.format("in a minute"), kind="conflict")


def _deferred(message: str, seconds: float) -> DeferredError:
    now = datetime.datetime.now().astimezone()
    try:
        again = now + datetime.timedelta(seconds=seconds)
    except OverflowError:  # a number of a hundred digits
        return DeferredError(message, hint=_LATER.format("tomorrow"))
    return DeferredError(message, hint=_LATER.format(f"after {again:{'%H:%M' if seconds < 43_200 else '%F %H:%M'}}"))


def _asked_to_wait(response: httpx2.Response) -> int:
    """For how many seconds the client would sleep now; 0 where it would not."""
    from huggingface_hub.utils._http import parse_ratelimit_headers

    limit = parse_ratelimit_headers(response.headers)
    if response.status_code == 429 and limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds
    told = response.headers.get("retry-after", "").strip()
    return int(told[:300]) if response.status_code in _RETRIED and told.isascii() and told.isdecimal() else 0


# The budget. Every answer of the Hub says how much is left of the window of its kind (`ratelimit: "api";r=12;t=55`),
# and all processes of a run have one window. So the server is the ledger, and here is what it said last.


def _window(url: httpx2.URL) -> tuple[str, str]:
    # The Hub counts its API, downloads and pages apart; the batches of git-lfs count as API.
    is_api = url.path.startswith("/api/") or url.path.endswith("/info/lfs/objects/batch")
    return url.host, "api" if is_api else "resolve" if "/resolve/" in url.path else "pages"


def _note(windows: _Windows, response: httpx2.Response) -> None:
    from huggingface_hub.utils._http import parse_ratelimit_headers

    if (limit := parse_ratelimit_headers(response.headers)) is not None:
        kept = _RESERVE if limit.limit is None else min(_RESERVE, limit.limit // 20)
        # One second more, as the client does: the Hub rounds down.
        end = time.time() + min(limit.reset_in_seconds, 10**9) + 1
        windows[_window(response.request.url)] = (limit.remaining, kept, end)


_CREATE = "/api/repos/create"
_HOUR = 3600  # until the next look, where the Hub refuses to create a repo and does not say for how long


def _note_creation(windows: _Windows, response: httpx2.Response, seconds: int, bounds: Bounds) -> None:
    """Keep that no repo can be created for longer than a run waits: what is new need not be built before that."""
    from huggingface_hub.utils._http import parse_ratelimit_headers

    if response.status_code != 429 or response.request.url.path != _CREATE:
        return
    limit = parse_ratelimit_headers(response.headers)
    if (limit is None or limit.remaining > 0) and (not seconds or seconds > min(bounds.wait, remaining(bounds))):
        windows[response.request.url.host, "create"] = (0, 0, time.time() + (seconds or _HOUR) + 1)


def require_creation(endpoint: str) -> None:
    """Check that the Hub has not just refused to create repos.

    Raises:
        DeferredError: It has, and that is not over.
    """
    from huggingface_hub.utils import _http

    factory, host = _http._GLOBAL_CLIENT_FACTORY, urlsplit(endpoint).hostname or ""
    if not (isinstance(factory, functools.partial) and factory.func is _made):
        return
    seconds = factory.args[1].get((host, "create"), (0, 0, 0.0))[2] - time.time()
    if seconds > 0:
        raise _deferred(f"{host} creates no more repos for now, as it told of another one", seconds)


def _respect(windows: _Windows, url: httpx2.URL, bounds: Bounds) -> None:
    """Wait for the next window where this one is nearly used up.

    Raises:
        DeferredError: It begins too late.
    """
    left, kept, end = windows.get(_window(url), (1, 0, 0.0))
    seconds = end - time.time()
    if left > kept or seconds <= 0:
        return
    if seconds > min(bounds.wait, remaining(bounds)):
        raise _deferred(
            f"the limit of {url.host} is nearly used up ({left} requests left for {seconds:.0f} s)", seconds
        )
    time.sleep(seconds)


# What its errors mean


@dataclass(frozen=True)
class Trouble:
    """What an error of the client means.

    Attributes:
        kind: `transient` (nothing happened), `unknown-outcome` (it may have), `conflict` (somebody was faster),
            `deferred` (this repo has to wait for longer than a run does) or `permanent`.
        message: What is wrong and why, without secrets.
        hint: What next.
        error: The hubpush error that it becomes.
    """

    kind: Kind
    message: str
    hint: str
    error: type[HubpushError]


_NETWORK = "check the network, --hub, and HTTP_PROXY/NO_PROXY (an embedded Hub is at 127.0.0.1)"
_FOREIGN = "check --hub; if it is right, run again later"
_STATUS = {
    400: "the Hub's words say what it does not accept",
    401: "is the token valid? `hf auth whoami` tells; an embedded Hub with users gets the token `embedded`",
    402: "the owner's plan or storage is used up",
    403: "the token needs write rights on the repo; a fine-grained token names its repos",
    404: "a typo, a private repo, or no token: the Hub answers the same to all three",
}


def classify(error: BaseException) -> Trouble | None:
    """What an error of the client means; None for one that the client never raises: a bug."""
    from huggingface_hub import errors as hub

    why = redact(f"{type(error).__name__}: {error}".splitlines()[0])
    if isinstance(error, HubpushError):  # of the hooks above
        kind: Kind = error.kind if isinstance(error, AgainError | DeferredError) else "permanent"
        return Trouble(kind, error.message, error.hint, type(error))
    if isinstance(error, hub.HfHubHTTPError):
        return _of_status(error)
    cause = error.__cause__ or error.__context__
    if isinstance(error, RuntimeError | hub.LocalEntryNotFoundError) and cause is not None:
        return classify(cause) or classify(RuntimeError(str(error)))  # of an upload's thread; of a look into the cache
    for types, what in _table():
        if isinstance(error, types):
            return what(error, why)
    return None


def _table() -> Iterable[tuple[tuple[type[BaseException], ...], Callable[[BaseException, str], Trouble]]]:
    """Types of errors in the order in which they are looked at, and what they mean."""
    import httpx2
    from huggingface_hub import errors as hub

    def always(kind: Kind, error: type[HubpushError], message: str, hint: str) -> Callable[..., Trouble]:
        return lambda _error, why: Trouble(kind, message.format(why), hint, error)

    unreachable = "the Hub cannot be reached ({})"
    transient = always("transient", AgainError, unreachable, _NETWORK)
    foreign = always("transient", AgainError, "the answer is not the Hub's, or not whole ({})", _FOREIGN)

    def lost(error: BaseException, why: str) -> Trouble:
        reads = getattr(getattr(error, "_request", None), "method", "") in ("GET", "HEAD")
        return Trouble("transient" if reads else "unknown-outcome", unreachable.format(why), _NETWORK, AgainError)

    def value(error: BaseException, why: str) -> Trouble:
        if "Invalid metadata" not in str(error):
            return foreign(error, why)
        message = f"the Hub does not accept the card: {redact(str(error))}"
        return Trouble("permanent", message, "correct the family file", CardError)

    def local(error: BaseException, why: str) -> Trouble:
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            message = f"{redact(str(error.filename))}: {error.strerror}"
            return Trouble("permanent", message, "check the disk and the rights on it", HubpushError)
        return foreign(error, why)

    return (
        (
            (hub.OfflineModeIsEnabled,),
            always(
                "permanent", HubUnavailableError,
                "HF_HUB_OFFLINE is set: huggingface_hub reaches no Hub, not even an embedded one",
                "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE for this command",
            ),
        ),
        (
            (hub.LocalTokenNotFoundError,),
            always(
                "permanent", HubRefusedError, "there is no Hugging Face token on this machine",
                "run `hf auth login`, or set HF_TOKEN; --hub DIR needs none",
            ),
        ),
        (
            (hub.OIDCError,),
            always(
                "permanent", HubRefusedError, "HF_OIDC_RESOURCE is set, and there is no keyless token ({})",
                "the job needs `permissions: id-token: write`, and HF_OIDC_RESOURCE an owner/name; or unset it",
            ),
        ),
        (
            (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.LocalProtocolError),
            always(
                "permanent", HubUnavailableError, "no request to the Hub can be made ({})",
                "check --hub, HF_ENDPOINT, and HF_TOKEN: a line break in it?",
            ),
        ),
        ((httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError), transient),
        ((httpx2.TransportError,), lost),
        ((httpx2.HTTPError,), foreign),
        ((ConnectionRefusedError,), transient),
        ((ConnectionError, TimeoutError), lost),
        ((ValueError,), value),
        ((OSError,), local),
        # What the client's JSON decoder and its look-ups raise when an answer is not the Hub's.
        ((RuntimeError, LookupError, TypeError, AttributeError, NameError), foreign),
    )  # fmt: skip


def _of_status(error: HfHubHTTPError) -> Trouble:
    """What the status of an answer means."""
    response = error.response
    reason = redact((error.server_message or str(error).strip().splitlines()[0]).strip())
    status = response.status_code
    said = f"the Hub answers {status}: {reason}"
    later = _LATER.format("later")
    if status == 429:
        return _of_limit(response, said)
    if status in (409, 412):
        return Trouble("conflict", said, later, AgainError)
    if status == 408 or status >= 500:
        kind: Kind = "transient" if response.request.method in ("GET", "HEAD") else "unknown-outcome"
        return Trouble(kind, said, later, AgainError)
    hint = _STATUS.get(status, _STATUS[400])
    return Trouble("permanent", f"the Hub refuses ({status}): {reason}", hint, HubRefusedError)


def _of_limit(response: httpx2.Response, said: str) -> Trouble:
    """What a 429 means: the window of all requests is used up, a pause, or a limit on what was asked for."""
    from huggingface_hub.utils._http import parse_ratelimit_headers

    limit = parse_ratelimit_headers(response.headers)
    # A wait over the cap does not come here: the hook has raised a DeferredError.
    if _asked_to_wait(response) or (limit is not None and limit.remaining == 0):
        return Trouble("transient", said, _LATER.format("later"), AgainError)
    return Trouble("deferred", said, _LATER.format("in an hour"), DeferredError)


@contextmanager
def errors(repo_id: str) -> Iterator[None]:
    """Around calls of the client alone: what it raises for reasons outside this program becomes hubpush's errors.

    The client passes on what its JSON decoder and its look-ups raise when an answer is not the Hub's, and wraps what
    happens in its upload threads in a RuntimeError. What was raised without the client is a bug, and passes.

    Raises:
        AgainError: Look again.
        DeferredError: Not in this run.
        HubRefusedError: The Hub says no.
        CardError: It does not accept the card.
        HubUnavailableError: It cannot be asked.
        HubpushError: This machine's disk.
    """
    import httpx2
    from huggingface_hub.errors import OIDCError

    outside = (httpx2.HTTPError, httpx2.InvalidURL, OSError, OIDCError)
    passed_on = (RuntimeError, ValueError, LookupError, TypeError, AttributeError, NameError)
    try:
        yield
    except (*outside, *passed_on) as error:
        trouble = classify(error)
        if trouble is None or (isinstance(error, passed_on) and not _of_client(error)):
            raise
        raise _raised(trouble, repo_id) from None


def _raised(trouble: Trouble, repo_id: str) -> HubpushError:
    message = f"{repo_id}: {trouble.message}"
    if issubclass(trouble.error, AgainError):
        return trouble.error(message, hint=trouble.hint, kind=trouble.kind)
    return trouble.error(message, hint=trouble.hint)


def _of_client(error: BaseException) -> bool:
    """Whether the client had a part in it."""
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_globals.get("__name__", "").partition(".")[0] in ("huggingface_hub", "httpx2"):
            return True
        frame = frame.tb_next
    return False


# Switches of the client. They are its own globals, so what threads do side by side is counted.


@contextmanager
def by_lfs(embedded: bool) -> Iterator[None]:
    """Upload by LFS, which is faster than xet on loopback. The client reads this constant at every call."""
    from huggingface_hub import constants

    def switch(disabled: bool) -> bool:
        before, constants.HF_HUB_DISABLE_XET = constants.HF_HUB_DISABLE_XET, disabled
        return before

    if not embedded:
        yield
        return
    with _switched("lfs", switch, True):
        yield


@contextmanager
def quiet_bars() -> Iterator[None]:
    """Keep the client quiet: hubpush shows its own progress; the client's bars would write over it."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    def switch(disabled: bool) -> bool:
        before = are_progress_bars_disabled()
        if disabled != before:
            (disable_progress_bars if disabled else enable_progress_bars)()
        return before

    with _switched("bars", switch, True):
        yield


_switches: dict[str, tuple[int, bool]] = {}


@contextmanager
def _switched(name: str, switch: Callable[[bool], bool], to: bool) -> Iterator[None]:
    """The first to come switches, the last to go switches back."""
    with _lock:
        users, before = _switches.get(name) or (0, switch(to))
        _switches[name] = (users + 1, before)
    try:
        yield
    finally:
        with _lock:
            users, before = _switches.pop(name)
            if users > 1:
                _switches[name] = (users - 1, before)
            else:
                switch(before)
