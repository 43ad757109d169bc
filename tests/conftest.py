"""Fixtures for all tests: loopback alone, a watch for the token, a tiny release, a family and what carries it."""

import asyncio
import base64
import importlib
import logging
import os
import shutil
import socket
import stat
import subprocess
import sys
import traceback
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hubpush import catalog, cli, manifest, publish
from hubpush.errors import HubpushError
from tests import CANARY, HOME, checkpoints
from tests.servers import Server, serving
from tests.workshop import FAMILY, Result, Workshop


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """A connection to anything but this machine fails the test that asks for it."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else None
        if self.family in (socket.AF_INET, socket.AF_INET6) and host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test connects to {address!r}")
        connect(self, address)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


@pytest.fixture(scope="session", autouse=True)
def _servers_end_soon() -> Iterator[None]:
    """An embedded Hub ends in hundredths of a second: uvicorn looks every tenth whether it has to, and waits another.

    With the hundreds of embedded Hubs that these tests start it comes to minutes.
    """
    import uvicorn.server

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.server, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
        yield


# The canary: the made-up token in every environment, which leaves it in the Authorization header alone ---------------


def _spellings(secret: str) -> tuple[bytes, ...]:
    """How a secret may be written: as it is, in base64 at any place of a longer text, with percent signs."""
    plain = secret.removeprefix("hf_").encode()  # what is behind the prefix is the secret
    found = [plain, *("".join(f"%{byte:{form}}" for byte in plain).encode() for form in ("02X", "02x"))]
    for before in range(3):
        # The characters that no neighbour has a part in.
        code = base64.b64encode(bytes(before) + plain)[-(-before * 8 // 6) : (before + len(plain)) * 8 // 6]
        found += [code, code.translate(bytes.maketrans(b"+/", b"-_"))]
    return tuple(dict.fromkeys(found))


SPELLINGS = _spellings(CANARY)
_BLOCK = 4 << 20  # bytes of a file at a time
_LARGE = 32 << 20  # bytes; of larger files, which are weights, the plain spelling alone is looked for


def holds(text: str | bytes) -> bool:
    """Whether the canary is in it, in any spelling."""
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    return any(spelling in data for spelling in SPELLINGS)


class Stream:
    """Bytes that come in pieces: the canary is found across their borders too."""

    def __init__(self) -> None:
        self._tail = b""

    def holds(self, piece: bytes) -> bool:
        """Whether the canary ends in this piece."""
        data = self._tail + piece
        self._tail = data[-max(map(len, SPELLINGS)) :]
        return holds(data)


def file_holds(path: Path) -> bool:
    """Whether a file holds the canary: as it stands there or, for a loose object of git, unpacked."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > _LARGE:
            tail = b""
            while block := file.read(_BLOCK):
                if SPELLINGS[0] in tail + block[: len(SPELLINGS[0])] or SPELLINGS[0] in block:
                    return True
                tail = block[-len(SPELLINGS[0]) :]
            return False
        data = file.read()
    if data[:1] == b"\x78":  # zlib, RFC 1950
        try:
            return holds(zlib.decompress(data)) or holds(data)
        except zlib.error:
            pass
    return holds(data)


def files_with_canary(folder: Path, but: Iterable[Path] = ()) -> list[str]:
    """Paths below a folder whose name or content holds the canary; folders in `but` are left out."""
    left_out, found = {str(path) for path in but}, []
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if f"{root}/{name}" not in left_out]
        for path in (Path(root, name) for name in files):
            leaks = holds(path.name)
            with suppress(OSError):  # not to be read by anybody, or gone by now
                leaks = leaks or (stat.S_ISREG(path.lstat().st_mode) and file_holds(path))
            if leaks:
                found.append(_shown(str(path.relative_to(folder))))
    return found


def request_leaks(target: str | bytes, headers: Iterable[tuple[str | bytes, str | bytes]]) -> list[str]:
    """Where a request holds the canary, but for the value of its Authorization header."""
    found = ["the address"] if holds(target) else []
    for name, value in headers:
        name = name.decode("latin-1") if isinstance(name, bytes) else name
        if holds(name) or (name.lower() != "authorization" and holds(value)):
            found.append(f"the header {_shown(name)}")
    return found


def _shown(text: str) -> str:
    # What is told of a leak is none.
    return text.replace(CANARY, "<canary>") if not holds(text.replace(CANARY, "")) else "<canary, encoded>"


@dataclass
class Watch:
    """What was seen of the canary: leaks since the last test ended, and how many Authorization headers held it."""

    leaks: list[str] = field(default_factory=list)
    authorized: int = 0

    def look(self, text: str | bytes | None, place: str) -> None:
        """Note a leak if the canary is in the text."""
        if text and holds(text):
            self.leaks.append(place)

    def request(
        self, method: str, target: str | bytes, headers: Iterable[tuple[str | bytes, str | bytes]]
    ) -> Callable[[bytes], None]:
        """Look at the head of a request; what is returned looks at the pieces of its body."""
        headers, body = list(headers), Stream()
        where = f"{method} {_shown(target if isinstance(target, str) else target.decode('latin-1'))}"
        self.leaks += [f"{place} of {where}" for place in request_leaks(target, headers)]
        names = [(name.decode("latin-1") if isinstance(name, bytes) else name).lower() for name, _ in headers]
        self.authorized += sum(
            name == "authorization" and holds(value) for name, (_, value) in zip(names, headers, strict=True)
        )

        def look(piece: bytes) -> None:
            if body.holds(piece):
                self.leaks.append(f"the body of {where}")

        return look


WATCH = Watch()


@pytest.fixture(scope="session", autouse=True)
def _canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test does is watched: output, log, errors, requests, commands. Its files are read when it has ended."""
    with pytest.MonkeyPatch.context() as patch:
        _watch_log(patch)
        _watch_errors(patch)
        _watch_servers(patch)
        _watch_children(patch)
        read = pytest.CaptureFixture.readouterr

        def readouterr(self: pytest.CaptureFixture[Any]) -> Any:
            captured = read(self)
            for name, text in captured._asdict().items():
                WATCH.look(text, f"the output that the test read ({name})")
            return captured

        patch.setattr(pytest.CaptureFixture, "readouterr", readouterr)
        yield
    for place, folder in (("a folder of the session", tmp_path_factory.getbasetemp()), ("the home directory", HOME)):
        WATCH.leaks += [f"{place}: {path}" for path in files_with_canary(Path(folder), _read_already)]


_read_already: set[Path] = set()


def _watch_log(patch: pytest.MonkeyPatch) -> None:
    """Every record from DEBUG up is made and looked at; those that nobody asked for go no further."""
    is_enabled, handle = logging.Logger.isEnabledFor, logging.Logger.handle

    def handled(self: logging.Logger, record: logging.LogRecord) -> None:
        WATCH.look(f"{record.msg} {record.args}", f"the log of {record.name}")
        if record.exc_info and record.exc_info[1] is not None:
            WATCH.look(_told(record.exc_info[1]), f"an exception in the log of {record.name}")
        if is_enabled(self, record.levelno):
            handle(self, record)

    patch.setattr(logging.Logger, "isEnabledFor", lambda self, level: level >= logging.DEBUG or is_enabled(self, level))
    patch.setattr(logging.Logger, "handle", handled)


def _watch_errors(patch: pytest.MonkeyPatch) -> None:
    """Errors of hubpush when they are made, and all that a test expects, with what led to them."""
    make, leave = HubpushError.__init__, pytest.RaisesExc.__exit__

    def made(self: HubpushError, message: str, **given: str) -> None:
        WATCH.look(f"{message}\n{given.get('hint')}", f"the text of a {type(self).__name__}")
        make(self, message, **given)

    def left(self: Any, kind: Any, error: BaseException | None, trace: Any) -> bool:
        __tracebackhide__ = True
        if error is not None:
            WATCH.look(_told(error), f"the text of a {type(error).__name__}, or of what led to it")
        return leave(self, kind, error, trace)

    patch.setattr(HubpushError, "__init__", made)
    patch.setattr(pytest.RaisesExc, "__exit__", left)


def _told(error: BaseException) -> str:
    """The texts of an exception and of what led to it; no line of code, which may name the canary."""
    found = traceback.TracebackException(type(error), error, None)
    return "".join(found.format(chain=True))


def _watch_servers(patch: pytest.MonkeyPatch) -> None:
    """Every request that uvicorn (the embedded Hub, faults and all) or http.server takes in this process."""
    for implementation in ("h11_impl", "httptools_impl"):
        try:
            cycle = importlib.import_module(f"uvicorn.protocols.http.{implementation}").RequestResponseCycle
        except ImportError:
            continue
        _watch_cycle(patch, cycle)
    parse = BaseHTTPRequestHandler.parse_request

    def parsed(self: BaseHTTPRequestHandler) -> bool:
        if not parse(self):
            return False
        file = self.rfile.file if isinstance(self.rfile, _Watched) else self.rfile
        self.rfile = _Watched(file, WATCH.request(self.command, self.path, self.headers.items()))  # type: ignore[assignment]
        return True

    patch.setattr(BaseHTTPRequestHandler, "parse_request", parsed)


def _watch_cycle(patch: pytest.MonkeyPatch, cycle: Any) -> None:
    run, receive = cycle.run_asgi, cycle.receive

    async def run_watched(self: Any, app: Any) -> None:
        scope = self.scope
        target = scope["raw_path"] + b"?" + scope["query_string"]
        self.canary = WATCH.request(scope["method"], target, scope["headers"])
        await run(self, app)

    async def receive_watched(self: Any) -> Any:
        message = await receive(self)
        self.canary(message.get("body", b""))
        return message

    patch.setattr(cycle, "run_asgi", run_watched)
    patch.setattr(cycle, "receive", receive_watched)


class _Watched:
    """The file that http.server reads a request from; its lines are the head, which was looked at."""

    def __init__(self, file: Any, look: Callable[[bytes], None]) -> None:
        self.file, self._look = file, look

    def read(self, size: int = -1) -> bytes:
        """Read the body, or a part of it."""
        piece: bytes = self.file.read(size)
        self._look(piece)
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def _watch_children(patch: pytest.MonkeyPatch) -> None:
    """Commands that are started, which may have the canary in their environment alone, and what they say."""
    start, communicate = subprocess.Popen.__init__, subprocess.Popen.communicate

    def started(self: Any, args: Any, *given: Any, **options: Any) -> None:
        words = [args] if isinstance(args, str | bytes | os.PathLike) else list(args)
        WATCH.look(b"\0".join(map(os.fsencode, words)), "the command line of a child")
        start(self, args, *given, **options)

    def said(self: Any, *given: Any, **options: Any) -> Any:
        out, err = communicate(self, *given, **options)
        WATCH.look(out, "what a child wrote to stdout")
        WATCH.look(err, "what a child wrote to stderr")
        return out, err

    patch.setattr(subprocess.Popen, "__init__", started)
    patch.setattr(subprocess.Popen, "communicate", said)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A test that leaked the canary fails when it has ended."""
    report = yield
    if call.when != "teardown":
        return report
    for name, text in report.sections:
        WATCH.look(text, name.lower())
    folder = (getattr(item, "funcargs", None) or {}).get("tmp_path")
    if folder is not None and folder.is_dir():
        WATCH.leaks += [f"the file {path}" for path in files_with_canary(folder)]
        _read_already.add(folder)
    if WATCH.leaks:
        report.sections = [(name, _shown(text)) for name, text in report.sections]
        report.outcome = "failed"
        places = "".join(f"\n  {place}" for place in dict.fromkeys(WATCH.leaks))
        report.longrepr = f"The canary token was found in:{places}" + (
            f"\n{report.longrepr}" if report.longrepr else ""
        )
        WATCH.leaks.clear()
    return report


# Places to work in ---------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_deadline_of_another_test() -> Iterator[None]:
    """A command that ran in this process may have left its client with a deadline, which the next test would meet."""
    from hubpush import client

    yield
    if "huggingface_hub" in sys.modules and client.in_force().until is not None:
        client.bound(client.Bounds())


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of sources on this machine; what it answers is up to the test."""
    with serving() as state:
        yield state


@pytest.fixture
def lfs_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """huggingface_hub in this process uploads by LFS, and knows no saved token."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny lively release with all heads, written by TensorFlow's Saver: a directory. Read only."""
    folder = tmp_path_factory.mktemp("release") / "tiny"
    checkpoints.write_release(folder)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The `hubpush` command, in this process."""
    monkeypatch.setattr(publish, "PAUSE", 0.0)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["hubpush", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Result(int(caught.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two zips: all heads, and a bare encoder."""
    root = tmp_path_factory.mktemp("archives")
    for name, heads, seed in (("tiny-a", checkpoints.HEADS, 0), ("tiny-b", ("pooler",), 1)):
        checkpoints.write_release(root / name, heads=heads, seed=seed)
        checkpoints.zip_release(root / name, root / f"{name}.zip")
        shutil.rmtree(root / name)
    (root / "tinies.toml").write_text(FAMILY)
    lock = catalog.Lock(
        sources={
            f"{name}.zip": catalog.Pin(
                sha256=manifest.describe(root / f"{name}.zip").sha256, size=(root / f"{name}.zip").stat().st_size
            )
            for name in ("tiny-a", "tiny-b")
        }
    )
    catalog.write_lock(root / "tinies.lock.json", lock)
    return root


@pytest.fixture
def shop(tmp_path: Path, archives: Path, run: Callable[..., Result]) -> Workshop:
    """A writable copy of the family, unpublished."""
    shutil.copytree(archives, tmp_path / "shop")
    return Workshop(tmp_path / "shop", run)


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory, archives: Path) -> Path:
    """The family, published once: copied by the tests that begin there."""
    from hubpush import client

    root = tmp_path_factory.mktemp("done") / "shop"
    shutil.copytree(archives, root)
    family = ("--family", str(root / "tinies.toml"), "--org", "acme")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as caught:
        places = ("--hub", str(root / "hub"), "--work", str(root / "work"))
        patch.setattr(sys, "argv", ["hubpush", "convert-and-upload", *family, *places, "--quiet"])
        cli.main()
    client.bound(client.Bounds())
    assert not caught.value.code
    return root


@pytest.fixture
def after(tmp_path: Path, done: Path, run: Callable[..., Result]) -> Workshop:
    """A writable copy of the family, published."""
    shutil.copytree(done, tmp_path / "shop")
    return Workshop(tmp_path / "shop", run)


@pytest.fixture
def checkpoint(release: Path, tmp_path: Path) -> Path:
    """A writable copy of the tiny release."""
    return Path(shutil.copytree(release, tmp_path / "checkpoint"))


# With few tests and much to do: begun last, one of these would keep one process busy and the others waiting.
_LONG = (
    "workflows", "workers", "reproof", "localhub_clients", "scale", "proof", "examples", "usage", "hub_writers",
    "mutation", "publish_machine", "bad_input", "crash", "storm", "race", "idempotence", "kinds", "pipeline",
    "parity_tfhub", "parity_keras", "parity", "google_bert",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first; every test states the law it checks."""
    rank = {f"test_{name}.py": n for n, name in enumerate(_LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
    silent = [item.nodeid for item in items if isinstance(item, pytest.Function) and not item.function.__doc__]
    if silent:
        raise pytest.UsageError(f"tests without a docstring that states their law: {', '.join(silent)}")
