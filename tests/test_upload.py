"""A commit whose weights go by xet, in a process that is ended when it stalls, against an embedded Hub that does."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, lfs
from huggingface_hub.utils import _http

from hubpush import client, upload
from hubpush.client import AgainError, Bounds, DeferredError
from hubpush.errors import CardError, HubpushError, HubRefusedError
from hubpush.localhub import serve
from hubpush.localhub.faults import Fault, Plan
from tests import CANARY

REPO = "acme/tiny-0"
SHORT = Bounds(connect=1.0, silence=1.5, wait=1.0)
_STALLS = ("*/xet-write-token/*", "*/v1/xorbs/*", "*/shards")


@pytest.fixture(autouse=True)
def _client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A client that may use xet, here and in children, with short bounds and folders of its own."""
    for name, folder in (("HF_HOME", "hf"), ("HF_XET_CACHE", "xet")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_BASE_DELAY", "50ms")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_DISABLE_XET", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
    huggingface_hub.close_session()
    client.bound(SHORT)
    yield
    assert multiprocessing.active_children() == []
    huggingface_hub.close_session()


@pytest.fixture
def plan() -> Plan:
    """What fails."""
    return Plan()


@pytest.fixture
def api(tmp_path: Path, plan: Plan) -> Iterator[HfApi]:
    """A Hub with a repo."""
    with serve(tmp_path / "hub", plan=plan) as url:
        found = HfApi(endpoint=url, token=CANARY)
        found.create_repo(REPO)
        yield found


class _Commit:
    """The commit of a test, and what it told."""

    def __init__(self, api: HfApi, folder: Path, size: int = 300_000) -> None:
        self.api, self.told = api, list[str]()
        self.weights = folder / "model.safetensors"
        self.weights.write_bytes(os.urandom(size))
        self.parent = api.list_repo_commits(REPO)[0].commit_id

    def __call__(self, **given: object) -> str:
        operations = [
            CommitOperationAdd("model.safetensors", str(self.weights)),
            CommitOperationDelete(".gitattributes"),
            CommitOperationAdd("notes.txt", b"small\n"),
        ]
        arguments = {"message": "m", "description": "d", "parent": self.parent, "tell": self.told.append} | given
        return upload.commit(self.api, REPO, operations, **arguments).oid  # type: ignore[arg-type]

    def stands(self, commit: str) -> None:
        """What was to be committed is what the Hub serves, in one commit."""
        assert [entry.commit_id for entry in self.api.list_repo_commits(REPO)] == [commit, self.parent]
        folder = Path(self.api.snapshot_download(REPO, revision=commit, cache_dir=self.weights.parent / "cache"))
        assert {path.name for path in folder.iterdir()} == {"model.safetensors", "notes.txt"}
        assert (folder / "model.safetensors").read_bytes() == self.weights.read_bytes()


@pytest.fixture
def commit(api: HfApi, tmp_path: Path) -> _Commit:
    """A commit of weights, a small file and a removal."""
    return _Commit(api, tmp_path)


def _paths(plan: Plan, part: str) -> int:
    return sum(part in seen.path for seen in plan.seen)


def test_weights_go_by_xet_and_the_commit_is_made_here(commit: _Commit, plan: Plan) -> None:
    """A commit with weights uploads them by xet alone, and asks nothing twice."""
    commit.stands(commit())
    assert commit.told == []
    counts = {part: _paths(plan, part) for part in ("/v1/xorbs/", "/info/lfs/", "/preupload/", "/commit/")}
    assert counts == {"/v1/xorbs/": 1, "/info/lfs/": 0, "/preupload/": 1, "/commit/": 1}


@pytest.mark.parametrize("by", ["embedded", "setting", "absent"])
def test_lfs_needs_no_process(commit: _Commit, plan: Plan, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To an embedded Hub, where a person chose LFS, and without hf_xet, nothing is started and nothing goes by xet."""
    monkeypatch.setattr(upload, "_by_xet", None)
    if by == "setting":
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    if by == "absent":
        monkeypatch.setattr(upload, "find_spec", lambda _: None)
    commit.stands(commit(embedded=by == "embedded"))
    assert _paths(plan, "/xet-write-token/") == 0
    assert constants.HF_HUB_DISABLE_XET is (by == "setting")


@pytest.mark.parametrize("way", ["embedded", "xet"])
def test_a_file_whose_digest_is_known_is_not_hashed_again(
    commit: _Commit, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client here reads no file for its digest: by LFS it is told, by xet it comes out of the upload."""

    def never(_: object) -> bytes:
        raise AssertionError("hashed again")

    monkeypatch.setattr(lfs, "sha_fileobj", never)
    sha256 = {"model.safetensors": hashlib.sha256(commit.weights.read_bytes()).hexdigest()}
    commit.stands(commit(embedded=way == "embedded", sha256=sha256))


@pytest.mark.parametrize("way", ["embedded", "xet"])
def test_another_file_than_its_digest_says_is_never_committed(commit: _Commit, api: HfApi, way: str) -> None:
    """What something wrote over a file after it was hashed does not get into a commit, by LFS and by xet."""
    sha256 = {"model.safetensors": hashlib.sha256(b"what was built").hexdigest()}
    with pytest.raises(HubpushError):
        commit(embedded=way == "embedded", sha256=sha256)
    assert [entry.commit_id for entry in api.list_repo_commits(REPO)] == [commit.parent]


def test_small_files_need_no_process(api: HfApi, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit of small files goes by LFS, also where the Hub keeps one of them as LFS; a large one has a process."""
    small = [CommitOperationAdd("a.bin", b"\0" * 1000), CommitOperationAdd("README.md", b"# x\n")]
    head = api.list_repo_commits(REPO)[0].commit_id
    upload.commit(api, REPO, small, message="m", description="", parent=head)
    assert (_paths(plan, "/info/lfs/"), _paths(plan, "/xet-write-token/")) == (2, 0)
    monkeypatch.setattr(upload, "_LARGE", 1000)
    assert upload._goes_by_xet(small)


@pytest.mark.parametrize("path", _STALLS)
def test_a_stalled_upload_is_ended_and_lands_by_lfs(commit: _Commit, plan: Plan, path: str) -> None:
    """Wherever a xet upload stalls, its process is ended, and the files land by LFS in one commit, which is told."""
    plan.add(Fault(path=path, action="stall", times=None))
    start = time.monotonic()
    commit.stands(commit())
    assert time.monotonic() - start < 12
    assert commit.told == [f"{REPO}: the upload by xet is given up (nothing moved for 1.5 s); it goes by LFS"]
    assert _paths(plan, "/commit/") == 1


def test_a_request_before_the_upload_has_its_own_tries(commit: _Commit, plan: Plan) -> None:
    """While the client in the process tries a request of its own again, the upload is not given up."""
    plan.add(Fault(path="*/preupload/*", action="stall"))
    commit.stands(commit())
    assert (commit.told, _paths(plan, "/v1/xorbs/"), _paths(plan, "/preupload/")) == ([], 1, 2)


def test_a_failing_upload_lands_by_lfs(commit: _Commit, plan: Plan) -> None:
    """A xet store that is down is told with its words, and the files land by LFS."""
    plan.add(Fault(path="*/v1/xorbs/*", action="status", status=503, times=None))
    commit.stands(commit())
    (told,) = commit.told
    assert "503 Service Unavailable" in told


def test_a_dead_process_is_no_end(commit: _Commit, plan: Plan) -> None:
    """When the upload's process dies, the files land by LFS."""

    def kill(_: object) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    plan.add(Fault(path="*/v1/xorbs/*", hook=kill, action="drop"))
    commit.stands(commit())
    assert commit.told == [f"{REPO}: the upload by xet is given up (its process died); it goes by LFS"]


def throttled(port: int, rate: int) -> Iterator[int]:
    """A port in front of another one, that takes so many bytes a second of each connection."""

    def pump(source: socket.socket, target: socket.socket, rate: float) -> None:
        try:
            while data := source.recv(16_384):
                time.sleep(len(data) / rate)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one of them has gone

    def accept() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", port))
            for pair, speed in (((near, far), rate), ((far, near), 1e12)):
                threading.Thread(target=pump, args=(*pair, speed), daemon=True).start()

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)  # what is buffered counts as sent
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_slow_upload_is_not_ended(api: HfApi, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that takes longer than the silence that is allowed, but goes on, is let be."""
    monkeypatch.setenv("HF_XET_CLIENT_UPLOAD_REPORTING_BLOCK_SIZE", "65536")
    for port in throttled(int(api.endpoint.rpartition(":")[2]), 8_000_000):
        slow = HfApi(endpoint=f"http://127.0.0.1:{port}", token=CANARY)
        commit = _Commit(slow, tmp_path, size=22_000_000)
        start = time.monotonic()
        commit.stands(commit())
        assert time.monotonic() - start > 1.5 * SHORT.silence
    assert commit.told == []
    assert (_paths(plan, "/v1/xorbs/"), _paths(plan, "/info/lfs/")) == (1, 0)


def test_the_deadline_ends_an_upload(commit: _Commit, plan: Plan) -> None:
    """At the deadline of the run the upload is ended, nothing goes by LFS, and nothing is committed."""
    plan.add(Fault(path="*/v1/xorbs/*", action="stall", times=None))
    with pytest.raises(DeferredError, match="deadline"):
        commit(bounds=Bounds(silence=60.0, until=time.time() + 3))
    assert (_paths(plan, "/info/lfs/"), _paths(plan, "/commit/")) == (0, 0)


def test_the_bounds_are_those_of_the_client(commit: _Commit, plan: Plan) -> None:
    """Without bounds of its own, a commit keeps those of this process, the deadline too."""
    client.bound(Bounds(silence=60.0, until=time.time() + 3))
    plan.add(Fault(path="*/v1/xorbs/*", action="stall", times=None))
    with pytest.raises(DeferredError, match="deadline"):
        commit()


@pytest.mark.parametrize("embedded", [True, False])
def test_another_head_is_a_conflict(commit: _Commit, api: HfApi, embedded: bool) -> None:
    """When somebody committed first, nothing is, and it is to look again."""
    api.upload_file(path_or_fileobj=b"theirs", path_in_repo="theirs.txt", repo_id=REPO)
    with pytest.raises(AgainError) as error:
        commit(embedded=embedded)
    assert error.value.kind == "conflict"
    assert len(api.list_repo_commits(REPO)) == 2


@pytest.mark.parametrize("action", ["drop", "status"])
def test_a_lost_answer_is_not_sent_again(commit: _Commit, api: HfApi, plan: Plan, action: str) -> None:
    """A commit whose answer is lost is sent once: its outcome is unknown, and here it has landed."""
    plan.add(Fault(path="*/commit/*", action=action, status=504, applied=True))  # type: ignore[arg-type]
    with pytest.raises(AgainError) as error:
        commit()
    assert error.value.kind == "unknown-outcome"
    assert (_paths(plan, "/commit/"), len(api.list_repo_commits(REPO))) == (1, 2)


def test_errors_of_the_process_keep_their_words(commit: _Commit, plan: Plan) -> None:
    """What the Hub refuses to the process is what the caller is told, and LFS is not tried."""
    plan.add(Fault(path="*/preupload/*", action="status", status=403, body='{"error": "Not with this token"}'))
    with pytest.raises(HubRefusedError, match="Not with this token") as error:
        commit()
    assert "write rights" in error.value.hint
    assert (commit.told, _paths(plan, "/preupload/")) == ([], 1)


def test_a_pause_that_is_too_long_defers(commit: _Commit, plan: Plan) -> None:
    """An hour that the Hub asks the process to wait for defers the repo."""
    plan.add(Fault(path="*/preupload/*", action="status", status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(DeferredError, match="asks to wait 3600 s"):
        commit()


def test_a_card_that_is_refused_is_an_error_of_the_card(api: HfApi) -> None:
    """The Hub's words about the metadata come through."""
    bad = [CommitOperationAdd("README.md", b"---\nlicense: nonsense\n---\n")]
    head = api.list_repo_commits(REPO)[0].commit_id
    with pytest.raises(CardError, match="license"):
        upload.commit(api, REPO, bad, message="m", description="", parent=head)


def test_a_pull_request_goes_by_xet(commit: _Commit, api: HfApi, plan: Plan) -> None:
    """A commit can be a pull request: main stays, and its branch has the files."""
    commit(create_pr=True)
    assert len(api.list_repo_commits(REPO)) == 1
    assert "model.safetensors" in api.list_repo_files(REPO, revision="refs/pr/1")
    assert (_paths(plan, "/v1/xorbs/"), _paths(plan, "/info/lfs/")) == (1, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_token_is_seen_nowhere(commit: _Commit, plan: Plan, capfd: pytest.CaptureFixture[str]) -> None:
    """The process gets the token by a pipe: it is in no command line, environment or output."""
    secret, seen = "hf_givenByAPipe1234567890", list[bytes]()
    commit.api = HfApi(endpoint=commit.api.endpoint, token=secret)

    def look(_: object) -> None:
        for child in multiprocessing.active_children():
            seen.extend(Path(f"/proc/{child.pid}/{what}").read_bytes() for what in ("cmdline", "environ"))

    plan.add(Fault(path="*/v1/xorbs/*", hook=look, action="stall", times=None))
    commit()
    assert len(seen) >= 2
    assert not any(secret.encode() in text for text in seen)
    assert secret not in "".join((*capfd.readouterr(), *commit.told))


_PUBLISHER = """
import sys, threading, time
from pathlib import Path
from huggingface_hub import CommitOperationAdd, HfApi
from hubpush import upload
from hubpush.client import Bounds

if __name__ == "__main__":
    _, url, parent, weights = sys.argv
    operations = [CommitOperationAdd("model.safetensors", weights)]
    upload.commit(HfApi(endpoint=url, token="hf_any"), "acme/tiny-0", operations, message="m", description="",
                  parent=parent, bounds=Bounds(silence=60.0))
"""


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def _until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_its_parent(commit: _Commit, plan: Plan, tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C, and a parent that is killed, end the upload's process too."""
    plan.add(Fault(path="*/v1/xorbs/*", action="stall", times=None))
    script = tmp_path / "publisher.py"
    script.write_text(_PUBLISHER)
    arguments = [commit.api.endpoint, commit.parent, str(commit.weights)]
    publisher = subprocess.Popen([sys.executable, script, *arguments], start_new_session=True, stderr=subprocess.PIPE)
    try:
        _until(lambda: _paths(plan, "/v1/xorbs/"))
        children = _children(publisher.pid)
        assert children
        if how == signal.SIGINT:
            os.killpg(publisher.pid, how)
        else:
            publisher.send_signal(how)
        _, said = publisher.communicate(timeout=20)
        _until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
        assert said.count(b"Traceback") <= (how == signal.SIGINT)  # the script's own
    finally:
        publisher.kill()
