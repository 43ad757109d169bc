"""The embedded Hub told to fail: every fault over real sockets, as a client meets it."""

from __future__ import annotations

import http.client
import importlib.util
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import huggingface_hub.constants
import pytest
import uvicorn
from huggingface_hub import CommitOperationAdd as Add
from huggingface_hub import HfApi, hf_hub_download
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hubpush.errors import UsageError
from hubpush.localhub.app import app as hub_app
from hubpush.localhub.faults import Fault, Plan, Seen, read
from hubpush.localhub.store import Store

PROTOCOLS = ["h11", *(["httptools"] if importlib.util.find_spec("httptools") else [])]
ANSWER = bytes(range(250)) * 800
LARGE = ANSWER * 100
BODY = b"x" * 300_000


@dataclass
class Application:
    """It notes what it was asked to do, and answers in pieces or at `/large` in one."""

    done: list[str] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size, more = 0, True
        while more:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                self.broken.append(size)
                return
            size, more = size + len(message["body"]), message["more_body"]
        self.done.append(f"{scope['method']} {scope['path']} {size}")
        size = len(LARGE if scope["path"] == "/large" else ANSWER)
        headers = [] if scope["path"] == "/chunked" else [(b"content-length", str(size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/large":
            await send({"type": "http.response.body", "body": LARGE})
            return
        for at in range(0, len(ANSWER), 30_000):
            piece = ANSWER[at : at + 30_000]
            await send({"type": "http.response.body", "body": piece, "more_body": at + 30_000 < len(ANSWER)})


@dataclass
class Server:
    """A server that runs: `busy` is how many requests it is at, and `stop` returns how many seconds that took."""

    plan: Plan
    app: ASGIApp
    url: str
    port: int
    busy: Callable[[], int]
    stop: Callable[[], float]


@contextmanager
def serving(plan: Plan, app: ASGIApp, protocol: str = "h11") -> Iterator[Server]:
    """The application with the plan around it, served as the embedded Hub is."""
    faulty, busy = plan.wrap(app), [0]

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        busy[0] += 1
        await faulty(scope, receive, send)
        busy[0] -= 1

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            counted, lifespan="off", ws="none", log_config=None, log_level="warning", access_log=False,
            server_header=False, timeout_graceful_shutdown=3, http=protocol,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})

        def stop() -> float:
            begin, server.should_exit = time.monotonic(), True
            thread.join()
            return time.monotonic() - begin

        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield Server(plan, app, f"http://127.0.0.1:{port}", port, lambda: busy[0], stop)
        finally:
            stop()


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No fault leaves a traceback or a complaint of uvicorn's or asyncio's."""
    yield
    records = [*caplog.get_records("call"), *caplog.get_records("teardown")]
    assert [r.getMessage() for r in records if r.name.startswith(("uvicorn", "asyncio"))] == []


@pytest.fixture(scope="module", params=PROTOCOLS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """An application with a plan around it, under each of uvicorn's implementations of HTTP that is here."""
    plan, app = Plan(seed=7), Application()
    with serving(plan, app, request.param) as running:
        yield running


@pytest.fixture
def plan(server: Server) -> Plan:
    """The plan of the server, without faults."""
    server.plan.clear()
    return server.plan


@pytest.fixture
def app(server: Server) -> Application:
    """The application behind the plan, with nothing done."""
    assert isinstance(server.app, Application)
    server.app.done, server.app.broken = [], []
    return server.app


@pytest.fixture
def client(server: Server) -> Iterator[httpx2.Client]:
    """A client that keeps its connections."""
    with httpx2.Client(base_url=server.url, timeout=10, trust_env=False) as client:
        yield client


def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens in the server."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@pytest.mark.parametrize("applied", [False, True])
def test_status(client: httpx2.Client, plan: Plan, app: Application, applied: bool) -> None:
    """A status fault answers with its status, headers and body; the request is carried out only when `applied`."""
    plan.add(Fault(1, action="status", applied=applied, status=429, headers={"Retry-After": "2"}, body='{"a": "é"}'))
    answer = client.post("/a", content=BODY)
    assert (answer.status_code, answer.headers["retry-after"], answer.json()) == (429, "2", {"a": "é"})
    assert app.done == ["POST /a 300000"] * applied
    assert client.get("/b").content == ANSWER
    assert [(s.status, s.fault) for s in plan.seen] == [(429, plan.faults[0]), (200, None)]


@pytest.mark.parametrize("status", [200, 204, 304, 500, 599])
def test_every_status_can_be_sent(client: httpx2.Client, plan: Plan, status: int) -> None:
    """A status that has no body is sent without one, to HEAD as well, and the connection stays good."""
    plan.faults = (Fault(action="status", status=status, body="no", times=2),)
    for method, body in (("GET", "" if status in (204, 304) else "no"), ("HEAD", "")):
        answer = client.request(method, "/")
        assert (answer.status_code, answer.text) == (status, body)
    assert client.get("/").content == ANSWER


@pytest.mark.parametrize("applied", [False, True])
def test_drop(client: httpx2.Client, plan: Plan, app: Application, applied: bool) -> None:
    """A dropped request has no answer, never a 500 nor a reset, and is carried out only when `applied`."""
    plan.add(Fault(action="drop", applied=applied, times=20))
    for n in range(20):
        with pytest.raises(httpx2.RemoteProtocolError, match="without sending a response"):
            client.post("/a", content=BODY) if n % 2 else client.get("/a")
    assert sorted(app.done) == sorted(["GET /a 0", "POST /a 300000"] * 10 * applied)
    assert client.get("/b").content == ANSWER
    assert [s.status for s in plan.seen] == [None] * 20 + [200]


def test_drop_within_an_upload(client: httpx2.Client, plan: Plan, app: Application) -> None:
    """With `bytes`, the application gets exactly so many bytes of an upload, and then hears that the client is gone."""
    for wanted in (0, 1, 100_000, len(BODY) - 1):
        plan.faults = (Fault(action="drop", bytes=wanted),)
        with pytest.raises(httpx2.TransportError):
            client.put("/a", content=BODY)
        assert (app.broken.pop(), app.done) == (wanted, [])
    plan.faults = (Fault(action="drop", bytes=len(BODY)),)
    with pytest.raises(httpx2.TransportError):
        client.put("/a", content=BODY)
    assert (app.broken, app.done) == ([], ["PUT /a 300000"])


@pytest.mark.parametrize("applied", [False, True])
def test_stall_until_the_client_gives_up(
    server: Server, client: httpx2.Client, plan: Plan, app: Application, applied: bool
) -> None:
    """A stalled request has no answer for as long as the client waits, and is carried out only when `applied`."""
    plan.add(Fault(action="stall", applied=applied))
    with pytest.raises(httpx2.ReadTimeout):
        client.post("/a", content=BODY, timeout=0.3)
    assert app.done == ["POST /a 300000"] * applied
    until(lambda: server.busy() == 0)
    assert client.get("/b").content == ANSWER
    assert [s.status for s in plan.seen] == [None, 200]


def test_stall_for_a_time(client: httpx2.Client, plan: Plan) -> None:
    """A stall with `seconds` ends in a dropped connection after that time."""
    plan.add(Fault(action="stall", seconds=0.3))
    begin = time.monotonic()
    with pytest.raises(httpx2.RemoteProtocolError):
        client.get("/")
    assert 0.3 <= time.monotonic() - begin < 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_stops_with_stalled_requests(protocol: str) -> None:
    """A server that is told to stop does so at once: it drops what stalls and answers what was delayed."""
    plan, app = Plan([Fault(path="/s", action="stall", times=None), Fault(path="/d", action="delay")]), Application()
    plan.add(Fault(path="/a", action="stall", applied=True))
    with (
        serving(plan, app, protocol) as server,
        httpx2.Client(base_url=server.url) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        stalled = [pool.submit(client.post, path, content=BODY) for path in ("/s", "/s", "/a")]
        delayed = pool.submit(client.post, "/d", content=b"1")
        until(lambda: len(plan.seen) == 4 and app.done)
        assert server.stop() < 1.5
        for answer in stalled:
            assert isinstance(answer.exception(), httpx2.RemoteProtocolError)
        assert delayed.result().content == ANSWER
    assert app.done == ["POST /a 300000", "POST /d 1"]


@pytest.mark.parametrize("applied", [False, True])
def test_delay(client: httpx2.Client, plan: Plan, app: Application, applied: bool) -> None:
    """A delayed request is carried out late or, when `applied`, at once; the whole answer comes late either way."""
    plan.add(Fault(action="delay", seconds=0.4, applied=applied))
    with ThreadPoolExecutor(1) as pool:
        begin, answer = time.monotonic(), pool.submit(client.post, "/a", content=BODY)
        until(lambda: plan.seen)
        time.sleep(0.2)
        assert (len(app.done), plan.seen[0].status) == (applied, None)
        assert answer.result().content == ANSWER
        assert 0.4 <= time.monotonic() - begin < 1
    assert app.done == ["POST /a 300000"]


@pytest.mark.parametrize("size", [0, 1, 30_000, 30_001, len(ANSWER) - 1])
def test_truncate(server: Server, plan: Plan, app: Application, size: int) -> None:
    """Exactly `bytes` of a longer answer arrive, though Content-Length promised all of it."""
    plan.add(Fault(action="truncate", bytes=size))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("POST", "/a", BODY)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(ANSWER)))
    with pytest.raises(http.client.IncompleteRead) as error:
        answer.read()
    assert error.value.partial == ANSWER[:size]
    assert (app.done, plan.seen[0].status) == (["POST /a 300000"], 200)


def test_what_is_before_the_cut_arrives(server: Server, plan: Plan) -> None:
    """A client that reads slowly still gets everything before the cut."""
    plan.add(Fault(action="truncate", bytes=len(LARGE) - 1))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/large")
    answer = connection.getresponse()
    time.sleep(0.2)
    with pytest.raises(http.client.IncompleteRead) as error:
        answer.read()
    assert error.value.partial == LARGE[:-1]


def test_an_old_client(server: Server, plan: Plan) -> None:
    """A stall and a delay last as long for HTTP/1.0, where every answer ends with the connection."""
    plan.add(Fault(action="stall", seconds=0.2), Fault(action="delay", seconds=0.2))
    for size in (0, len(ANSWER)):
        begin = time.monotonic()
        with socket.create_connection(("127.0.0.1", server.port), timeout=4) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with connection.makefile("rb") as answer:
                assert len(answer.read().partition(b"\r\n\r\n")[2]) == size
        assert 0.2 <= time.monotonic() - begin < 1


def test_truncate_in_pieces_and_not_at_all(client: httpx2.Client, plan: Plan) -> None:
    """An answer of unknown length breaks off too; one that is no longer than `bytes` is whole."""
    plan.add(Fault(action="truncate", bytes=10), Fault(action="truncate", bytes=len(ANSWER)))
    with pytest.raises(httpx2.RemoteProtocolError, match="incomplete"):
        client.get("/chunked")
    assert client.get("/a").content == ANSWER
    assert client.get("/a").content == ANSWER


@pytest.mark.parametrize("action", ["", "status", "drop", "truncate", "delay"])
@pytest.mark.parametrize("applied", [False, True])
def test_hook(client: httpx2.Client, plan: Plan, app: Application, action: str, applied: bool) -> None:
    """A hook runs beside the server, before the effect or, with `applied`, after it and before any of the answer."""
    calls: list[tuple[object, ...]] = []

    def hook(seen: Seen) -> None:
        calls.append((len(app.done), seen.number, seen.path, seen.status))
        assert client.get("/other").content == ANSWER  # the server goes on meanwhile

    plan.add(Fault(path="/a", action=action, applied=applied, seconds=0, hook=hook))  # type: ignore[arg-type]
    try:
        answer = client.post("/a", content=BODY).content
    except httpx2.RemoteProtocolError:
        assert action in ("drop", "truncate")
    else:
        assert answer == (ANSWER if action in ("", "delay") else Fault().body.encode())
    assert calls == [(int(applied), 1, "/a", None)]
    lost = action in ("status", "drop") and not applied
    assert app.done.count("POST /a 300000") == (not lost)


def test_numbers_and_globs(client: httpx2.Client, plan: Plan) -> None:
    """Requests are numbered in order but for the daily ones; faults fit by number, method, raw path and raw query."""
    for method, path in (
        ("GET", "/api/agent-harnesses"), ("GET", "/a"), ("GET", "/api/telemetry/hf/x"), ("POST", "/v1/telemetry"),
        ("HEAD", "/api/telemetry"), ("GET", "/v1/telemetry"), ("POST", "/api/agent-harnesses"),
    ):  # fmt: skip
        client.request(method, path)
    assert [s.number for s in plan.seen] == [None, 1, None, None, None, 2, 3]
    for fault, fitting in (
        (Fault(times=None), {1, 2, 3, 4, 5}),
        (Fault(2, times=None), {2}),
        (Fault(method="HEAD", times=None), {3}),
        (Fault(path="/r/*/refs%2Fpr%2F1", times=None), {2}),
        (Fault(path="/r/a/refs/pr/1", times=None), set()),
        (Fault(path="/R/*", times=None), set()),
        (Fault(path="/api/*", times=None), {0}),
        (Fault(query="expand=%5B%5D&*", times=None), {4}),
        (Fault(path="/r*", query="*limit=2", method="GET", times=None), {4}),
        (Fault(2, path="/s", times=None), set()),
    ):
        plan.clear()
        plan.add(fault)
        for method, path in (
            ("GET", "/api/agent-harnesses"), ("GET", "/r/a"), ("GET", "/r/a/refs%2Fpr%2F1"), ("HEAD", "/r/a"),
            ("GET", "/r?expand=%5B%5D&limit=2"), ("GET", "/s"),
        ):  # fmt: skip
            client.request(method, path)
        assert {n for n, s in enumerate(plan.seen) if s.fault} == fitting, fault


def test_skip_and_times(client: httpx2.Client, plan: Plan) -> None:
    """A fault passes `skip` requests, strikes `times`; one that a fault takes is not seen by the next fault."""

    def statuses(count: int) -> list[int]:
        return [client.get("/").status_code for _ in range(count)]

    plan.faults = (Fault(action="status", skip=2, times=2),)
    assert statuses(6) == [200, 200, 503, 503, 200, 200]
    plan.faults = (Fault(action="status"), Fault(action="status", skip=1, status=429))
    assert statuses(4) == [503, 200, 429, 200]
    plan.faults = (Fault(action="status", times=None, skip=1),)
    assert statuses(5) == [200, 503, 503, 503, 503]
    assert [s.number for s in plan.seen] == list(range(1, 16))


def test_a_seed_repeats_a_storm(client: httpx2.Client, plan: Plan) -> None:
    """The same seed strikes the same requests, another seed strikes others, and a plan without a seed chooses one."""

    def storm(seed: int | None) -> tuple[list[int], int]:
        plan = Plan([Fault(action="status", chance=0.2, times=None)], seed)
        with serving(plan, Application()) as server, httpx2.Client(base_url=server.url, trust_env=False) as client:
            return [client.get("/").status_code for _ in range(150)], plan.seed

    first, chosen = storm(None)
    assert storm(chosen)[0] == first
    assert storm(chosen + 1)[0] != first
    assert 10 <= first.count(503) <= 55
    again = []
    for _ in range(2):
        plan.clear()
        plan.add(Fault(action="status", chance=0.5, times=None))
        again.append([client.get("/").status_code for _ in range(50)])
    assert again[0] == again[1]


def test_many_clients_at_once(server: Server, plan: Plan, app: Application) -> None:
    """With concurrent requests every number is given once and a fault strikes exactly so often as it says."""
    plan.add(Fault(action="status", skip=20, times=30), Fault(action="drop", times=10, skip=5))

    def ask(_: int) -> list[int]:
        statuses = []
        with httpx2.Client(base_url=server.url, timeout=10, trust_env=False) as client:
            for _ in range(25):
                try:
                    statuses.append(client.post("/", content=BODY).status_code)
                except httpx2.RemoteProtocolError:
                    statuses.append(0)
        return statuses

    with ThreadPoolExecutor(8) as pool:
        statuses = [status for one in pool.map(ask, range(8)) for status in one]
    assert {status: statuses.count(status) for status in set(statuses)} == {200: 160, 503: 30, 0: 10}
    assert [s.number for s in plan.seen] == list(range(1, 201))
    assert len(app.done) == 160


def test_a_plan_changes_while_the_server_runs(client: httpx2.Client, plan: Plan) -> None:
    """Faults can be set, added and cleared between and during requests; only `clear` begins the journal anew."""
    assert client.get("/").status_code == 200
    plan.add(Fault(2, action="status"), Fault(3, action="status", status=418))
    assert [client.get("/").status_code for _ in range(3)] == [503, 418, 200]
    plan.faults = (Fault(99, action="drop"),)
    assert plan.faults == (Fault(99, action="drop"),)
    assert (client.get("/").status_code, len(plan.seen), plan.seen[-1].number) == (200, 5, 5)
    plan.add(Fault(action="stall", seconds=0.5))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.get, "/stalled")
        until(lambda: len(plan.seen) == 6)
        plan.clear()
        assert client.get("/again").status_code == 200
        assert isinstance(answer.exception(), httpx2.RemoteProtocolError)
    assert plan.seen == [Seen(1, "GET", "/again", "", 200, None)]


def test_the_journal_holds_no_token(client: httpx2.Client, plan: Plan) -> None:
    """Neither a header nor a query that looks like a secret is kept; the fault still sees the whole query."""
    plan.add(Fault(query="*hf_canary*", action="status"))
    answer = client.get("/a?x=1&token=hf_canary_4711", headers={"Authorization": "Bearer hf_canary_4711"})
    assert answer.status_code == 503
    assert (plan.seen[0].path, plan.seen[0].query) == ("/a", "x=1&token=[redacted]")
    client.get("/b?token=hf_canary_4711")
    assert "canary" not in repr([(s.path, s.query) for s in plan.seen])


def test_a_hook_that_raises_is_seen(client: httpx2.Client, plan: Plan) -> None:
    """A hook that fails shows in the log and in the answer."""

    def hook(seen: Seen) -> None:
        raise ArithmeticError(seen.path)

    plan.add(Fault(hook=hook))
    logging.getLogger("uvicorn.error").disabled = True
    try:
        assert client.get("/").status_code == 500
    finally:
        logging.getLogger("uvicorn.error").disabled = False


# With the client and the Hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[HfApi, Plan]]:
    """The client of an embedded Hub, and the plan around that."""
    plan = Plan()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving(plan, hub_app(Store(tmp_path / "hub"))) as server:
        api = HfApi(endpoint=server.url, token="hf_canary_4711")
        api.create_repo("acme/tiny")
        weights = Add("model.safetensors", ANSWER * 120)
        api.create_commit("acme/tiny", [weights], commit_message="Weights")
        plan.clear()
        yield api, plan


def test_the_client_resumes_a_truncated_download(hub: tuple[HfApi, Plan], tmp_path: Path) -> None:
    """An LFS download that breaks off is what the client takes for a lost connection: it asks for the rest."""
    api, plan = hub
    plan.add(Fault(method="GET", path="/acme/tiny/resolve/*", action="truncate", bytes=15_000_000))
    path = hf_hub_download("acme/tiny", "model.safetensors", endpoint=api.endpoint, cache_dir=tmp_path / "cache")
    assert Path(path).read_bytes() == ANSWER * 120
    assert [(s.method, s.status) for s in plan.seen] == [("HEAD", 200), ("GET", 200), ("GET", 206)]


def test_the_client_meets_lost_commits(hub: tuple[HfApi, Plan]) -> None:
    """A commit that is dropped is not there, and one whose answer is lost is."""
    api, plan = hub
    for applied, there in ((False, 0), (True, 1)):
        plan.faults = (Fault(path="*/commit/main", action="drop", applied=applied),)
        with pytest.raises(httpx2.RemoteProtocolError):
            api.create_commit("acme/tiny", [Add("a", b"a")], commit_message="Lost")
        assert [c.title for c in api.list_repo_commits("acme/tiny")].count("Lost") == there


def test_the_client_repeats_an_upload(hub: tuple[HfApi, Plan], tmp_path: Path) -> None:
    """The client repeats an LFS upload that broke off or was refused for now, and the file is stored once, whole."""
    api, plan = hub
    plan.add(
        Fault(method="PUT", action="drop", bytes=1_000_000),
        Fault(path="*/info/lfs/*", action="status", headers={"Retry-After": "0"}),
    )
    api.create_commit("acme/tiny", [Add("b.safetensors", ANSWER * 50)], commit_message="Other")
    assert [s.status for s in plan.seen if s.method == "PUT"] == [None, 200]
    copy = hf_hub_download("acme/tiny", "b.safetensors", endpoint=api.endpoint, cache_dir=tmp_path / "cache")
    assert Path(copy).read_bytes() == ANSWER * 50


# Files


def test_a_file_says_the_same(tmp_path: Path) -> None:
    """A file gives the faults that it says, and the seed."""
    path = tmp_path / "faults.toml"
    path.write_text(
        'seed = 7\n[[faults]]\nrequest = 3\naction = "status"\nstatus = 429\nheaders = { "Retry-After" = "1" }\n'
        'body = "{}"\n'
        '[[faults]]\nmethod = "PUT"\npath = "/-/lfs/*"\nquery = "a=*"\nskip = 1\ntimes = "always"\nchance = 0.2\n'
        'action = "stall"\nseconds = 2\napplied = true\n[[faults]]\naction = "drop"\n'
    )
    plan = read(path)
    assert plan.seed == 7
    assert plan.faults == (
        Fault(3, action="status", status=429, headers={"Retry-After": "1"}, body="{}"),
        Fault(None, "PUT", "/-/lfs/*", "a=*", 1, None, 0.2, "stall", applied=True, seconds=2),
        Fault(action="drop"),
    )


MISTAKES = """
sed = 7
seed = -1
[[faults]]
request = 0
action = "status"
status = 600
headers = { "A B" = "1", "Content-Length" = "3", "X" = "a\\nb", "Y" = "ok" }
[[faults]]
request = true
skip = 1
action = "explode"
hook = "os.abort"
[[faults]]
action = "drop"
status = 500
chance = 1.5
times = 0
path = "api/x"
method = "get"
reqest = 4
bytes = -1
[[faults]]
action = "delay"
applied = "yes"
query = 3
[[faults]]
[[faults]]
action = "stall"
seconds = nan
"""
PLACES = (
    "sed", "seed", "faults[0].request", "faults[0].status", "faults[0].headers", "faults[1].request", "faults[1].skip",
    "faults[1].action", "faults[1].hook", "faults[2].status", "faults[2].chance", "faults[2].times", "faults[2].path",
    "faults[2].method", "faults[2].reqest", "faults[2].bytes", "faults[3].seconds", "faults[3].applied",
    "faults[3].query", "faults[4].action", "faults[5].seconds",
)  # fmt: skip


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    """All mistakes of a file are in one error, each with its place."""
    path = tmp_path / "faults.toml"
    path.write_text(MISTAKES)
    with pytest.raises(UsageError, match=f"has {len(PLACES)} mistakes") as error:
        read(path)
    lines = error.value.message.splitlines()[1:]
    assert sorted(line.strip().split(": ")[0] for line in lines) == sorted(PLACES)
    for text in (
        "'A B', 'Content-Length', 'X'", "must be one of status, drop", "says nothing to drop", "reqest: is not a key",
        "faults[3].seconds: is missing",
    ):  # fmt: skip
        assert text in error.value.message


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read: No such file"),
        (b"faults = [", "is not TOML"),
        (b"\xff", "is not TOML"),
        (b"a = " + b"[" * 5000, "is not TOML"),
        (b"", "faults: "),
        (b"faults = []", "faults: "),
        (b"faults = 3", "faults: "),
        (b"faults = [3]", r"faults\[0\]: "),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, content: bytes | None, text: str) -> None:
    """A file that is absent, not TOML or holds no fault is an error of usage with a hint."""
    path = tmp_path / "faults.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=text) as error:
        read(path)
    assert error.value.hint


def test_a_test_cannot_write_a_fault_that_never_strikes_by_mistake() -> None:
    """A fault made in Python is checked as one in a file is."""
    for wrong in ({"action": "dorp"}, {"request": 0}, {"status": 600}, {"path": "api"}, {"unknown": 1}):
        with pytest.raises(ValidationError):
            Fault(**wrong)  # type: ignore[arg-type]
