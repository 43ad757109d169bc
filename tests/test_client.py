"""The bounded client against an embedded Hub that stalls, that fails, and that asks for patience."""

from __future__ import annotations

import json
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from huggingface_hub.utils import _http, are_progress_bars_disabled

from hubpush import client, publish, upload
from hubpush.client import AgainError, Bounds, DeferredError
from hubpush.errors import CardError, HubpushError, HubRefusedError, HubUnavailableError
from hubpush.localhub import serve
from hubpush.localhub.faults import Fault, Plan
from tests import CANARY, records
from tests.test_upload import throttled

REPO = "acme/tiny-0"
SHORT = Bounds(connect=1.0, silence=0.5, wait=2.0)
HEAD = "0" * 40
pytestmark = pytest.mark.usefixtures("lfs_client")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Plan]]:
    """A Hub for all tests, and what fails there."""
    plan = Plan()
    with serve(tmp_path_factory.mktemp("client") / "hub", plan=plan) as url:
        yield url, plan


@pytest.fixture
def plan(hub: tuple[str, Plan]) -> Plan:
    """What fails."""
    return hub[1]


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A client that waits half a second for a byte, and two because it is asked to."""
    monkeypatch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    huggingface_hub.close_session()
    client.bound(SHORT)
    yield
    huggingface_hub.close_session()


@pytest.fixture
def api(hub: tuple[str, Plan], bounded: None) -> HfApi:
    """The client of a Hub without repos."""
    url, plan = hub
    found = HfApi(endpoint=url, token="hf_any")
    plan.clear()
    for repo_id in (REPO, "acme/other"):
        found.delete_repo(repo_id, missing_ok=True)
    plan.clear()
    return found


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = time.time(), list[float]()

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of the client's hooks."""
    monkeypatch.setattr(client, "time", found := Clock())
    return found


def _commit(api: HfApi, content: bytes = b"") -> None:
    adds = [
        CommitOperationAdd("model.safetensors", content or os.urandom(32)),
        CommitOperationAdd("README.md", b"---\ntags: [x]\n---\n"),
    ]
    head = api.list_repo_commits(REPO)[0].commit_id
    upload.commit(api, REPO, adds, message="m", description="d", parent=head, embedded=True)


def _refs(api: HfApi) -> None:
    with client.errors(REPO):
        api.list_repo_refs(REPO)


# Time ---------------------------------------------------------------------------------------------------------------


def test_a_server_that_says_nothing_ends_the_call(api: HfApi, plan: Plan) -> None:
    """A call that the client itself would wait for for ever ends after the silence that is allowed."""
    plan.add(Fault(path="*/refs", action="stall", times=None))
    start = time.monotonic()
    with pytest.raises(httpx2.ReadTimeout):
        api.list_repo_refs(REPO)
    assert time.monotonic() - start < 5


def test_a_stalled_request_of_a_publish_is_made_good(
    api: HfApi, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever request of a publish stalls, the publish ends by itself, and with one release."""
    monkeypatch.setattr(publish, "PAUSE", 0.0)
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    plan.add(Fault(path="*/commit/*", action="stall", applied=True), Fault(path="*/tag/*", action="stall"))
    done = publish.publish(api, candidate, tmp_path / "cache", "2026-11-22", embedded=True)
    assert done.manifest.version == "1.0.0"
    assert {tag.name: tag.target_commit for tag in api.list_repo_refs(REPO).tags} == {"v1.0.0": done.commit}
    assert len(api.list_repo_commits(REPO)) == 2


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {"Retry-After": "3600"}),
        (429, {"ratelimit": '"api";r=0;t=3600', "ratelimit-policy": '"api";q=500;w=300'}),
        *((status, {"Retry-After": "3600"}) for status in (408, 500, 502, 503, 504)),
    ],
)
@pytest.mark.parametrize("path", ["*/refs", "*/info/lfs/objects/batch", "*/commit/main"])
def test_an_hour_is_not_slept(api: HfApi, plan: Plan, status: int, headers: dict[str, str], path: str) -> None:
    """When the Hub asks for more patience than is allowed, the repo is deferred at once, with the time to come back."""
    api.create_repo(REPO)
    plan.add(Fault(path=path, action="status", status=status, headers=headers, times=None))
    start = time.monotonic()
    with pytest.raises(DeferredError, match="asks to wait 3600 s") as error:
        _commit(api) if path != "*/refs" else _refs(api)
    assert "again after" in error.value.hint
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("told", ["9999999999", "9" * 100, "86400"])
def test_any_number_of_seconds_is_understood(api: HfApi, plan: Plan, told: str) -> None:
    """A wait of days or of ages defers too."""
    plan.add(Fault(path="*/refs", action="status", status=503, headers={"Retry-After": told}))
    with pytest.raises(DeferredError, match=f"asks to wait {told} s") as error:
        _refs(api)
    assert error.value.hint.startswith("run the same command again ")


def test_a_second_is_waited(api: HfApi, plan: Plan) -> None:
    """A short wait that the Hub asks for is kept, and the call then succeeds."""
    api.create_repo(REPO)
    plan.add(Fault(path="*/tree/*", action="status", status=429, headers={"Retry-After": "1"}))
    assert api.list_repo_files(REPO) == [".gitattributes"]


def test_nothing_is_sent_after_the_deadline(api: HfApi, plan: Plan) -> None:
    """When the run's time is over, the next request is not made, and the repo is deferred."""
    client.bound(Bounds(until=time.time() - 1))
    with pytest.raises(DeferredError, match="deadline of this run is over") as error:
        _refs(api)
    assert "run the same command again" in error.value.hint
    assert plan.seen == []


def test_a_stall_ends_with_the_run(api: HfApi, plan: Plan) -> None:
    """No request waits beyond the deadline for a byte."""
    plan.add(Fault(path="*/tree/*", action="stall", times=None))
    start = time.monotonic()
    client.bound(Bounds(silence=60.0, until=time.time() + 1))
    with pytest.raises(DeferredError, match="deadline"), client.errors(REPO):
        list(api.list_repo_tree(REPO))
    assert time.monotonic() - start < 10


def test_a_wait_that_ends_after_the_deadline_is_not_begun(api: HfApi, plan: Plan) -> None:
    """A pause within the cap but not within the run defers at once."""
    client.bound(Bounds(wait=100.0, until=time.time() + 50))
    plan.add(Fault(path="*/refs", action="status", status=429, headers={"Retry-After": "60"}))
    with pytest.raises(DeferredError, match="asks to wait 60 s"):
        _refs(api)


def test_an_answer_that_trickles_ends_with_the_run(bounded: None) -> None:
    """A byte now and then keeps no answer open beyond the deadline."""

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            try:
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.05)
            except OSError:
                pass

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        threading.Thread(target=trickle, daemon=True).start()
        client.bound(Bounds(until=time.time() + 1))
        start = time.monotonic()
        with pytest.raises(DeferredError, match="deadline"):
            _refs(HfApi(endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}", token="hf_any"))
        assert time.monotonic() - start < 10


def test_a_slow_upload_ends_with_the_run(api: HfApi, plan: Plan) -> None:
    """A body that is sent slowly is not sent beyond the deadline."""
    api.create_repo(REPO)
    for port in throttled(int(api.endpoint.rpartition(":")[2]), 4_000_000):
        client.bound(Bounds(until=time.time() + 1))
        start = time.monotonic()
        with pytest.raises(DeferredError, match="deadline"):
            _commit(HfApi(endpoint=f"http://127.0.0.1:{port}", token="hf_any"), bytes(40_000_000))
        assert time.monotonic() - start < 8


# Bounding -----------------------------------------------------------------------------------------------------------


def test_a_programs_own_client_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds are set on huggingface_hub's own client alone."""
    monkeypatch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", own := lambda: httpx2.Client())
    client.bound()
    client.bound(SHORT)
    assert _http._GLOBAL_CLIENT_FACTORY is own
    assert client.in_force() == Bounds()


def test_bounds_can_be_set_again(api: HfApi, plan: Plan) -> None:
    """Other bounds replace those in force; the same ones, and none, leave the client and its connections alone."""
    before = _http.get_session()
    client.bound()
    client.bound(Bounds(connect=1.0, silence=0.5, wait=2.0))
    assert (_http.get_session(), client.in_force()) == (before, SHORT)
    client.bound(Bounds(until=1.0))
    with pytest.raises(DeferredError):
        _refs(api)
    client.bound(Bounds(until=time.time() + 60))
    api.create_repo(REPO)
    hooks = _http.get_session().event_hooks
    assert (hooks["request"][0], len(hooks["request"]), len(hooks["response"])) == (_http.hf_request_event_hook, 2, 1)


def test_the_first_bounds_are_the_default_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that says nothing gets 10 s for a connection, 180 s for a byte, and waits for a window of limits."""
    monkeypatch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
    client.bound()
    assert client.in_force() == Bounds(10.0, 180.0, 330.0, None)


# The budget ---------------------------------------------------------------------------------------------------------


def _left(left: int, seconds: int, limit: int | None = 1000) -> Fault:
    headers = {"ratelimit": f'"api";r={left};t={seconds}'}
    if limit is not None:
        headers["ratelimit-policy"] = f'"fixed window";"api";q={limit};w=300'
    body = json.dumps({"branches": [], "tags": [], "converts": []})
    return Fault(path="*/refs", action="status", status=200, headers=headers, body=body)


@pytest.mark.parametrize(
    ("left", "limit", "waits"),
    [
        (9, 1000, False),
        (8, 1000, True),
        (8, None, True),
        (6, 100, False),
        (5, 100, True),
        (1, 10, False),
        (0, 10, True),
    ],
)
def test_the_last_requests_of_a_window_are_left_to_others(
    api: HfApi, plan: Plan, clock: Clock, left: int, limit: int | None, waits: bool
) -> None:
    """When few requests are left of the window that all processes share, the next one waits for the next window."""
    client.bound(Bounds(wait=60.0))
    plan.add(_left(left, 30, limit))
    _refs(api)
    assert clock.slept == []
    with pytest.raises(HubRefusedError):
        _refs(api)
    assert [round(seconds) for seconds in clock.slept] == [31] * waits
    assert len(plan.seen) == 2


@pytest.mark.parametrize("bounds", [{"wait": 10.0}, {"wait": 60.0, "until": 20.0}])
def test_a_window_that_is_too_long_defers(api: HfApi, plan: Plan, clock: Clock, bounds: dict[str, float]) -> None:
    """When the next window begins after the cap or the deadline, the request is not made, and the repo is deferred."""
    if "until" in bounds:
        bounds = bounds | {"until": clock.now + bounds["until"]}
    plan.add(_left(2, 30))
    _refs(api)
    client.bound(Bounds(**bounds))  # what is left stays known
    with pytest.raises(DeferredError, match="2 requests left") as error:
        _refs(api)
    assert "again after" in error.value.hint
    assert (clock.slept, len(plan.seen)) == ([], 1)


def test_windows_are_counted_apart(api: HfApi, plan: Plan, clock: Clock) -> None:
    """The Hub counts downloads apart from its API, so a used up API holds up no download."""
    api.create_repo(REPO)
    client.bound(Bounds(wait=60.0))
    plan.add(_left(0, 30))
    _refs(api)
    api.hf_hub_download(REPO, ".gitattributes", cache_dir=Path(constants.HF_HOME) / "cache")
    assert clock.slept == []
    _refs(api)
    assert len(clock.slept) == 1


@pytest.mark.parametrize("headers", [{"ratelimit": '"api";r=0;t=30'}, {"Retry-After": "30"}])
def test_a_pause_is_made_once(api: HfApi, plan: Plan, clock: Clock, headers: dict[str, str]) -> None:
    """A refused request says for how long: it is to be tried again, which then waits for just that."""
    api.create_repo(REPO)
    client.bound(Bounds(wait=60.0))
    plan.add(Fault(path="*/refs", action="status", status=429, headers=headers))
    with pytest.raises(AgainError):
        _refs(api)
    _refs(api)
    _refs(api)
    assert [round(seconds) for seconds in clock.slept] == [31]


# What errors mean ---------------------------------------------------------------------------------------------------


def _create(api: HfApi) -> None:
    with client.errors(REPO):
        api.create_repo("acme/other")


def _download(api: HfApi) -> None:
    with client.errors(REPO):
        api.hf_hub_download(REPO, ".gitattributes", cache_dir=Path(constants.HF_HOME) / "cache")


def _status(path: str, status: int, body: str = '{"error": "no such luck"}', **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(path=path, action="status", status=status, body=body, headers=named, times=None)


_COMMIT, _REFS, _PUT, _BATCH = "*/commit/main", "*/refs", "/-/lfs/*", "*/info/lfs/objects/batch"
_LEFT = {"ratelimit": '"api";r=400;t=30'}


@pytest.mark.parametrize(
    ("fault", "call", "kind", "words"),
    [
        # answers of the Hub
        (_status(_REFS, 400), _refs, "permanent", "refuses (400): no such luck | does not accept"),
        (_status(_REFS, 401), _refs, "permanent", "refuses (401) | hf auth whoami"),
        (_status(_COMMIT, 402), _commit, "permanent", "refuses (402) | plan or storage"),
        (_status(_COMMIT, 403), _commit, "permanent", "refuses (403) | write rights"),
        (_status(_REFS, 404), _refs, "permanent", "refuses (404) | no token"),
        (_status(_REFS, 401, X_Error_Code="RepoNotFound"), _refs, "permanent", "refuses (401)"),
        (_status(_COMMIT, 413), _commit, "permanent", "refuses (413) | does not accept"),
        (_status(_PUT, 403), _commit, "permanent", "refuses (403) | write rights"),
        (_status(_REFS, 500), _refs, "transient", "answers 500: no such luck"),
        (_status(_REFS, 502, "<html>Bad gateway", Content_Type="text/html"), _refs, "transient", "answers 502"),
        *((_status(_COMMIT, status), _commit, "unknown-outcome", f"{status}") for status in (408, 500, 502, 503, 504)),
        *((_status(_COMMIT, status), _commit, "conflict", f"answers {status}") for status in (409, 412)),
        (_status("/api/repos/create", 409), _create, "conflict", "answers 409"),
        # limits
        (_status(_COMMIT, 429), _commit, "deferred", "answers 429 | again in an hour"),
        (_status(_COMMIT, 429, **_LEFT), _commit, "deferred", "answers 429 | again in an hour"),
        (_status("/api/repos/create", 429, **_LEFT), _create, "deferred", "answers 429 | again in an hour"),
        (_status(_COMMIT, 429, Retry_After="1"), _commit, "transient", "answers 429"),
        (_status(_COMMIT, 429, ratelimit='"api";r=0;t=1'), _commit, "transient", "answers 429"),
        (_status(_COMMIT, 429, Retry_After="90", **_LEFT), _commit, "deferred", "asks to wait 90 s | again after"),
        # answers that are lost
        (Fault(path=_REFS, action="drop", times=None), _refs, "transient", "cannot be reached | network"),
        (Fault(path=_REFS, action="stall", times=None), _refs, "transient", "cannot be reached"),
        (Fault(path=_REFS, action="truncate", bytes=3, times=None), _refs, "transient", "cannot be reached"),
        (Fault(path=_COMMIT, action="drop"), _commit, "unknown-outcome", "cannot be reached"),
        (Fault(path=_COMMIT, action="stall"), _commit, "unknown-outcome", "cannot be reached"),
        (Fault(path="*/resolve/*", action="drop", times=None), _download, "transient", "cannot be reached"),
        # answers that are not the Hub's
        (_status(_REFS, 200, "<html>Log in to the hotel", Content_Type="text/html"), _refs, "transient", "not the Hub"),
        (_status(_REFS, 200, "{}"), _refs, "transient", "not the Hub | --hub"),
        (_status(_REFS, 200, "[]"), _refs, "transient", "not the Hub"),
        (_status(_REFS, 200, '{"branches": [1], "tags": [], "converts": []}'), _refs, "transient", "not the Hub"),
        (_status(_COMMIT, 200, "oh"), _commit, "transient", "not the Hub"),
        (_status("*/preupload/*", 200, "{}"), _commit, "transient", "not the Hub"),
        (_status("*/validate-yaml", 502, "<html>"), _commit, "transient", "not the Hub"),
        (_status(_BATCH, 200, "{}"), _commit, "transient", "not the Hub"),
        (_status(_BATCH, 200, '{"objects": [{"oid": "00", "actions": {"upload": {"href": "/"}}, "size": 1}]}'), _commit,
         "transient", "not the Hub"),
        (_status("*/resolve/*", 200, ""), _download, "transient", "not the Hub"),
        (_status(_REFS, 302, Location="refs"), _refs, "transient", "not the Hub"),
    ],
)  # fmt: skip
def test_what_the_client_meets_means_one_thing(
    api: HfApi, plan: Plan, monkeypatch: pytest.MonkeyPatch, fault: Fault, call: Callable[[HfApi], None], kind: str,
    words: str,
) -> None:  # fmt: skip
    """Whatever the Hub, or what stands in its place, does to a request, the client's error becomes one of ours."""
    api.create_repo(REPO)
    monkeypatch.setattr(_http.time, "sleep", lambda _: None)  # between its own tries
    plan.add(fault)
    _expect(kind, words, lambda: call(api))


def _expect(kind: str, words: str, call: Callable[[], object]) -> None:
    with pytest.raises(HubpushError) as caught:
        call()
    message, _, hint = words.partition(" | ")
    assert message in caught.value.message
    assert hint in caught.value.hint
    if kind == "permanent":
        assert not isinstance(caught.value, AgainError | DeferredError)
    else:
        assert isinstance(caught.value, AgainError | DeferredError)
        assert caught.value.kind == kind
        assert isinstance(caught.value, DeferredError) is (kind == "deferred")


def test_what_this_machine_does_means_one_thing(api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings, tokens and disks that keep the client from the Hub are permanent, and the hint says which."""
    monkeypatch.setattr(_http.time, "sleep", lambda _: None)
    api.create_repo(REPO)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        _expect("transient", "cannot be reached | --hub", lambda: _refs(HfApi(endpoint=url, token="hf_any")))
    _expect("permanent", "no request | HF_ENDPOINT", lambda: _refs(HfApi(endpoint="gopher://x", token="hf_any")))
    _expect("permanent", "no request | HF_TOKEN", lambda: _refs(HfApi(endpoint=api.endpoint, token="hf_a\nb")))
    _expect("permanent", "no Hugging Face token | hf auth", lambda: _refs(HfApi(endpoint=api.endpoint, token=True)))
    (tmp_path / "hf").mkdir(exist_ok=True)
    (tmp_path / "hf" / "cache").write_text("in the way")
    _expect("permanent", f"{tmp_path}/hf/cache | disk", lambda: _download(api))
    with monkeypatch.context() as patch:
        patch.setenv("HF_OIDC_RESOURCE", REPO)
        patch.delenv("GITHUB_ACTIONS", raising=False)
        _expect("permanent", "keyless | id-token: write", lambda: _refs(HfApi(endpoint=api.endpoint)))
        patch.setenv("GITHUB_ACTIONS", "true")
        _expect("permanent", "keyless | HF_OIDC_RESOURCE", lambda: _refs(HfApi(endpoint=api.endpoint)))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    _expect("permanent", "HF_HUB_OFFLINE is set | unset", lambda: _refs(api))


def test_a_repo_that_cannot_be_created_now_is_not_asked_for_again_and_again(api: HfApi, plan: Plan) -> None:
    """The one answer after which the client sends at once again, without end, is a conflict after one request."""
    busy = '{"error": "Cannot create repo: another conflicting operation is in progress"}'
    plan.add(_status("/api/repos/create", 409, busy))
    _expect("conflict", "creates another repo", lambda: _create(api))
    assert len(plan.seen) == 1


def _answer(status: int, text: str = "no", method: str = "POST") -> HfHubHTTPError:
    response = httpx2.Response(status, request=httpx2.Request(method, "https://hub.example/api"))
    return HfHubHTTPError(f"{status} {text}", response=response)


def _wrapped(cause: Exception) -> RuntimeError:
    error = RuntimeError("Error while uploading")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "becomes", "words"),
    [
        *((_answer(s), "unknown-outcome", AgainError, f"answers {s}") for s in (408, 500, 502, 503, 504, 507)),
        (LocalTokenNotFoundError("none"), "permanent", HubRefusedError, "no Hugging Face token"),
        (httpx2.ConnectError("refused"), "transient", AgainError, "cannot be reached"),
        (httpx2.ConnectTimeout("slow"), "transient", AgainError, "cannot be reached"),
        (httpx2.PoolTimeout("slow"), "transient", AgainError, "cannot be reached"),
        (httpx2.ProxyError("407"), "transient", AgainError, "HTTP_PROXY"),
        (httpx2.ReadTimeout("slow"), "unknown-outcome", AgainError, "cannot be reached"),
        (httpx2.WriteTimeout("slow"), "unknown-outcome", AgainError, "cannot be reached"),
        (httpx2.RemoteProtocolError("gone"), "unknown-outcome", AgainError, "cannot be reached"),
        (httpx2.InvalidURL("no host"), "permanent", HubUnavailableError, "HF_ENDPOINT"),
        (httpx2.DecodingError("gzip"), "transient", AgainError, "not the Hub's"),
        (ConnectionRefusedError("refused"), "transient", AgainError, "cannot be reached"),
        (ConnectionError("Network error: reset"), "unknown-outcome", AgainError, "cannot be reached"),
        (TimeoutError("slow"), "unknown-outcome", AgainError, "cannot be reached"),
        (_wrapped(_answer(403)), "permanent", HubRefusedError, "write rights"),
        (_wrapped(ConnectionRefusedError("reset")), "transient", AgainError, "cannot be reached"),
        (_wrapped(DeferredError("late", hint="later")), "deferred", DeferredError, "late"),
        (_wrapped(CardError("bad", hint="x")), "permanent", CardError, "bad"),
        (_wrapped(ZeroDivisionError("x")), "transient", AgainError, "not the Hub's"),
        (RuntimeError("Data processing error"), "transient", AgainError, "not the Hub's"),
        (ValueError("Invalid metadata in README.md: license"), "permanent", CardError, "does not accept the card"),
        (ValueError("Expecting value"), "transient", AgainError, "not the Hub's"),
        (KeyError("branches"), "transient", AgainError, "not the Hub's"),
        (OSError("Consistency check failed"), "transient", AgainError, "not the Hub's"),
        (OSError(28, "No space left on device", "/x/y"), "permanent", HubpushError, "/x/y: No space left"),
    ],
)
def test_what_the_client_raises_means_one_thing(
    error: Exception, kind: str, becomes: type[HubpushError], words: str
) -> None:
    """Each type of error that the client raises has one meaning, also out of the threads of an upload."""
    found = client.classify(error)
    assert found is not None
    assert (found.kind, found.error) == (kind, becomes)
    assert words in found.message + found.hint


def test_a_bug_keeps_its_traceback() -> None:
    """What no client raises, and what was raised without one, is not taken for the Hub's fault."""
    assert client.classify(ZeroDivisionError()) is None
    for bug in (ZeroDivisionError, KeyError, TypeError, NameError, RuntimeError, ValueError):
        with pytest.raises(bug), client.errors(REPO):
            raise bug("ours")


def test_an_error_of_the_client_shows_no_secret() -> None:
    """What the client's words repeat of a token or a signed address does not come through."""
    for error in (
        httpx2.ConnectError(f"https://x/?token={CANARY}"),
        _answer(403, CANARY),
        _answer(429, CANARY),
        httpx2.LocalProtocolError(f"Illegal header value b'Bearer {CANARY}\\n'"),
        ValueError(f"Invalid metadata {CANARY}"),
        OSError(28, "No space left on device", f"/x/{CANARY}"),
    ):
        found = client.classify(error)
        assert found is not None
        assert CANARY not in found.message + found.hint


def test_a_kind_survives_the_trip_from_a_worker() -> None:
    """What kind of trouble it was is known on the other side of a process boundary."""
    for error in (AgainError("m", hint="h", kind="conflict"), DeferredError("m", hint="h")):
        found = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert (type(found), found.kind, found.message, found.hint) == (type(error), error.kind, "m", "h")


# Switches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "embedded", "during"), [(False, True, True), (True, False, True), (False, False, False)]
)
def test_lfs_is_for_the_time_of_an_upload(
    before: bool, embedded: bool, during: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads to an embedded Hub go by LFS, a person's own choice of LFS stands, and afterwards all is as before."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", before)
    with client.by_lfs(embedded):
        assert constants.HF_HUB_DISABLE_XET is during
    assert constants.HF_HUB_DISABLE_XET is before


def test_the_last_to_go_switches_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads side by side keep a switch until the last of them is done, whichever began first."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    was_quiet = are_progress_bars_disabled()
    first, second = client.by_lfs(True), client.by_lfs(True)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert constants.HF_HUB_DISABLE_XET is True
    second.__exit__(None, None, None)
    assert constants.HF_HUB_DISABLE_XET is False
    outer, inner = client.quiet_bars(), client.quiet_bars()
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert are_progress_bars_disabled()
    inner.__exit__(None, None, None)
    assert are_progress_bars_disabled() is was_quiet
