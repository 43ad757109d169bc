"""The embedded Hub: the Hugging Face Hub's HTTP API for model repositories, from one directory, on loopback.

* `serve` runs it beside the caller and yields its URL, `run` runs it in the foreground.
* `app` is the protocol: which address is what, and failures as the Hub's error headers. `call` is one request, read.
* `models`, `files` (LFS and downloads), `cas` (xet), `git` (clone), `community` (discussions and pull requests) and
  `collections` answer.
* `store` is the state: bare git repositories, LFS files by digest, small documents. `users` says who may do what.
* `faults` makes it fail as a plan says. `pages` shows a repository in a browser.

It holds what a publisher of model repositories needs. Everything else of the Hub is answered with 501 and the name of
the feature that is missing.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

from hubpush.errors import HubpushError

if TYPE_CHECKING:
    import uvicorn

    from hubpush.localhub.faults import Plan
    from hubpush.localhub.users import Users

_LOOPBACK = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1"}


@contextmanager
def serve(
    directory: Path, *, host: str = "127.0.0.1", port: int = 0, users: Users | None = None, plan: Plan | None = None
) -> Iterator[str]:
    """Serve the directory from a background thread and yield the endpoint, such as `http://127.0.0.1:43121`.

    Args:
        directory: Where everything is kept; it is created.
        host: A loopback address.
        port: 0 takes a free one.
        users: Who may do what; without them any token may do everything.
        plan: What is to fail.
    """
    server, listener, url, close = _prepare(directory, host, port, users, plan)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="hubpush-localhub", daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise HubpushError("The embedded Hub did not start", hint="The log above says why; please report it.")
            time.sleep(0.005)
        yield url
    finally:
        server.should_exit = True
        thread.join()
        close()


def run(
    directory: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    users: Users | None = None,
    plan: Plan | None = None,
    on_start: Callable[[str], None] | None = None,
) -> None:
    """Serve the directory until Ctrl-C; `on_start` is called with the endpoint once it accepts connections."""
    server, listener, url, close = _prepare(directory, host, port, users, plan)
    # uvicorn ends cleanly at SIGTERM too, and then raises it again: here, so that `close` is reached.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if on_start is not None:
            on_start(url)
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # uvicorn has already ended cleanly; it raises the signal again for the caller
    finally:
        close()


def obstacles(url: str) -> list[str]:
    """What in the environment keeps clients that inherit it from reaching the endpoint, and what helps."""
    offline = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)]
    found = [f"{name} is set here: clients with it reach no Hub, not this one either; unset it" for name in offline]
    host = url.partition("://")[2].rpartition(":")[0]
    if {"http", "all"} & getproxies().keys() and not proxy_bypass(host):
        found.append(f"a proxy is set here (HTTP_PROXY or ALL_PROXY): clients need NO_PROXY={host} to get past it")
    return found


def _prepare(
    directory: Path, host: str, port: int, users: Users | None, plan: Plan | None
) -> tuple[uvicorn.Server, socket.socket, str, Callable[[], None]]:
    if host not in _LOOPBACK:
        raise HubpushError(
            f"The embedded Hub does not listen on {host!r}: it checks no token, so it serves this computer alone",
            hint="Use 127.0.0.1, localhost or ::1.",
        )
    import uvicorn

    from hubpush.localhub import cas
    from hubpush.localhub.app import app
    from hubpush.localhub.store import Store
    from hubpush.localhub.users import Users

    address = _LOOPBACK[host]
    try:
        store = Store(directory)
        known = replace(users or Users(), secret=store.secret, session=secrets.token_hex(16))
        application = app(store, known)
        application = plan.wrap(application) if plan else application
    except OSError as error:
        raise HubpushError(
            f"The embedded Hub cannot use {directory}: {error.strerror}",
            hint="Name a new or empty directory, or one that was an embedded Hub before.",
        ) from error
    # With the protocol named, asyncio turns Nagle's delay off: it makes small requests ten times slower.
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise HubpushError(
            f"The embedded Hub cannot listen on port {port}: {getattr(error, 'strerror', None) or error}",
            hint="Name another port, or 0 for any free one.",
        ) from error

    def close() -> None:
        listener.close()
        cas.forget(store, known)

    shown = f"[{address}]" if ":" in address else address
    config = uvicorn.Config(
        application, lifespan="off", ws="none", log_config=None, log_level="warning", access_log=False,
        server_header=False, timeout_graceful_shutdown=3,
    )  # fmt: skip
    return uvicorn.Server(config), listener, f"http://{shown}:{listener.getsockname()[1]}", close
