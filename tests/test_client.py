"""The bounded client against an embedded Hub that stalls, and that asks for patience."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils import _http

from hubpush import client, publish
from hubpush.errors import HubUnavailableError
from hubpush.localhub import serve
from hubpush.localhub.faults import Fault, Plan
from tests import records

REPO = "acme/tiny-0"
pytestmark = pytest.mark.usefixtures("lfs_client")


@pytest.fixture
def plan() -> Plan:
    """What fails."""
    return Plan()


@pytest.fixture
def api(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Iterator[HfApi]:
    """A client that waits half a second for a byte, and two because it is asked to."""
    monkeypatch.setattr(publish, "_PAUSE", 0.0)
    monkeypatch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
    huggingface_hub.close_session()
    client.bound(client.Bounds(connect=1.0, silence=0.5, wait=2.0))
    with serve(tmp_path / "hub", plan=plan) as url:
        yield HfApi(endpoint=url, token="hf_any")
    huggingface_hub.close_session()


def test_a_server_that_says_nothing_ends_the_call(api: HfApi, plan: Plan) -> None:
    """A call that the client itself would wait for for ever ends after the silence that is allowed."""
    plan.add(Fault(path="*/refs", action="stall", times=None))
    start = time.monotonic()
    with pytest.raises(httpx2.ReadTimeout):
        api.list_repo_refs(REPO)
    assert time.monotonic() - start < 5


def test_a_stalled_request_of_a_publish_is_made_good(api: HfApi, plan: Plan, tmp_path: Path) -> None:
    """Whichever request of a publish stalls, the publish ends by itself, and with one release."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    plan.add(Fault(path="*/commit/*", action="stall", applied=True), Fault(path="*/tag/*", action="stall"))
    done = publish.publish(api, candidate, tmp_path / "cache", "2026-11-22", embedded=True)
    assert done.manifest.version == "1.0.0"
    assert {tag.name: tag.target_commit for tag in api.list_repo_refs(REPO).tags} == {"v1.0.0": done.commit}
    assert len(api.list_repo_commits(REPO)) == 2


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "3600"}, {"ratelimit": '"api";r=0;t=3600', "ratelimit-policy": '"api";q=500;w=300'}]
)
@pytest.mark.parametrize("path", ["*/refs", "*/info/lfs/objects/batch", "*/commit/*"])
def test_an_hour_is_not_slept(api: HfApi, plan: Plan, tmp_path: Path, headers: dict[str, str], path: str) -> None:
    """When the Hub asks for more patience than is allowed, the run ends at once and says when to come back."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    plan.add(Fault(path=path, action="status", status=429, headers=headers, times=None))
    start = time.monotonic()
    with pytest.raises(HubUnavailableError, match="asks to wait 3600 s") as error:
        publish.publish(api, candidate, tmp_path / "cache", "2026-11-22", embedded=True)
    assert "again after" in error.value.hint
    assert time.monotonic() - start < 10


def test_a_second_is_waited(api: HfApi, plan: Plan) -> None:
    """A short wait that the Hub asks for is kept, and the call then succeeds."""
    api.create_repo(REPO)
    plan.add(Fault(path="*/tree/*", action="status", status=429, headers={"Retry-After": "1"}))
    assert api.list_repo_files(REPO) == [".gitattributes"]


def test_a_programs_own_client_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds are set on huggingface_hub's own client alone."""
    monkeypatch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", own := lambda: httpx2.Client())
    client.bound()
    assert _http._GLOBAL_CLIENT_FACTORY is own
