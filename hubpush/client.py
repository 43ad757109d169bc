"""huggingface_hub's HTTP client, bounded: no request waits for ever, and no server decides how long a run sleeps.

The client (2.4.0) sets no timeout on calls of the API, and sleeps for whatever `Retry-After` or `ratelimit` says, for
an hour too. Both are met with hooks on the client that it shares among all its calls; uploads by xet do not pass here.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hubpush.errors import HubUnavailableError

if TYPE_CHECKING:
    import httpx2


@dataclass(frozen=True)
class Bounds:
    """How long is waited, in seconds: for a connection, for the next byte, and because the Hub asks for it."""

    connect: float = 10.0
    silence: float = 180.0
    wait: float = 120.0


def bound(bounds: Bounds = Bounds()) -> None:
    """Bound the client of this process; a program that has set a factory of its own keeps it."""
    from huggingface_hub.utils import _http

    if _http._GLOBAL_CLIENT_FACTORY is _http.default_client_factory:
        _http.set_client_factory(lambda: _made(bounds))


def _made(bounds: Bounds) -> httpx2.Client:
    from huggingface_hub.utils._http import default_client_factory

    most = {"connect": bounds.connect, "pool": bounds.connect, "read": bounds.silence, "write": bounds.silence}

    def limit(request: httpx2.Request) -> None:
        asked = request.extensions.get("timeout") or {}
        request.extensions["timeout"] = {
            name: seconds if asked.get(name) is None else min(asked[name], seconds) for name, seconds in most.items()
        }

    def refuse(response: httpx2.Response) -> None:
        seconds = _asked_to_wait(response)
        if seconds > bounds.wait:
            again = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=seconds)
            raise HubUnavailableError(
                f"{response.request.url.host} asks to wait {seconds} s ({response.status_code})",
                hint=f"run the same command again after {again:%H:%M}: it goes on where this one stopped",
            )

    client = default_client_factory()
    hooks = client.event_hooks
    client.event_hooks = {"request": [*hooks["request"], limit], "response": [*hooks.get("response", []), refuse]}
    return client


def _asked_to_wait(response: httpx2.Response) -> int:
    """For how many seconds the client would sleep now; 0 where it would not."""
    from huggingface_hub.utils._http import parse_ratelimit_headers

    if response.status_code not in (429, 503):
        return 0
    limit = parse_ratelimit_headers(response.headers)
    if limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds
    told = response.headers.get("retry-after", "")
    return int(told) if told.isascii() and told.isdecimal() and len(told) < 10 else 0
