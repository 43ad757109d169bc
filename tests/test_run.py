"""Laws of a family: what is checked before it, and what becomes of it over processes."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from hubpush import job, run
from tests import CANARY
from tests.servers import ENDLESS, Reply, serving
from tests.workshop import Workshop, edit


def test_one_bad_release_does_not_stop_the_others(shop: Workshop) -> None:
    """A family does all that can be done; if every failure is of one kind, its code is the exit code."""
    (shop.root / "tiny-a.zip").write_bytes(b"PK not")
    result = shop.main_job()
    assert result.code == 11
    assert shop.published() == ["acme/tiny-b"]
    assert "pinned" in result.err
    assert "Hint:" in result.err


KILLED = """
import multiprocessing, os, signal, time
from concurrent.futures import ProcessPoolExecutor
from hubpush import workers

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(2, spawn, initializer=workers._share, initargs=(spawn.Pipe()[1], 2))
    pool.submit(time.sleep, 0).result()
    pool.submit(time.sleep, 600)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    """A worker outlives its parent by no more than a moment, whatever it does: nobody waits for it any more."""
    (tmp_path / "killed.py").write_text(KILLED)
    # The workers hold the pipe too: reading from it ends when the last of them does.
    ended = subprocess.run([sys.executable, tmp_path / "killed.py"], stdout=subprocess.PIPE, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_work_directory_that_cannot_be_is_named(shop: Workshop, place: str) -> None:
    """A --work that is no directory is said to be the cause, not the Hub, and nothing is fetched."""
    (shop.root / "file").touch()
    arguments = ("--family", shop.family, "--org", "acme", "--hub", shop.hub, "--work", shop.root / place)
    result = shop.run("convert-and-upload", *arguments)
    assert result.code == 11
    assert f"the work directory {shop.root / place} cannot be used" in result.err


def test_two_processes_do_what_one_does(shop: Workshop, done: Path, tmp_path: Path) -> None:
    """--jobs 2 and --jobs 1 publish the same converted files."""
    ones = {r["name"]: r["files"] for r in json.loads(shop.main_job("--json").out)["releases"]}
    other = Workshop(done, shop.run)
    twos = {r["name"]: r["files"] for r in json.loads(other.main_job("--json").out)["releases"]}
    for name, files in ones.items():
        for path in set(files) - {"README.md", "parity/layers.png"}:  # measured anew by each
            assert files[path] == twos[name][path], path


def test_a_hub_directory_that_is_somebodys_is_left_alone(shop: Workshop, tmp_path: Path) -> None:
    """--hub with a directory that holds other files is refused, whatever is in it, and nothing in it is touched."""
    for folder in (tmp_path / "mine" / "tmp", tmp_path / "other"):
        folder.mkdir(parents=True)
        (folder / "old.txt").write_text("mine")
        os.utime(folder / "old.txt", (0, 0))
    for directory, code in ((tmp_path / "other", 1), (tmp_path / "mine", 0), ("", 2)):
        arguments = ("--family", shop.family, "--org", "a", "--hub", directory, "--work", tmp_path / "w", "--dry-run")
        result = shop.run("convert-and-upload", *arguments, "--no-parity")
        assert result.code == code, result.err
    assert (tmp_path / "other" / "old.txt").read_text() == (tmp_path / "mine" / "tmp" / "old.txt").read_text() == "mine"


@contextmanager
def _answering(status: int) -> Iterator[tuple[str, list[str]]]:
    """A server that answers everything with one status; its address, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers.get('Authorization')}")
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_POST = _answer

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def test_a_hub_that_refuses_stops_before_anything_is_fetched(shop: Workshop) -> None:
    """A Hub that says no ends with exit code 17, one message and a hint; the source was not even asked for its size."""
    with _answering(403) as (hub, _), _answering(200) as (source, fetched):
        shop.family.write_text(shop.family.read_text().replace('"tiny-a.zip"', f'"{source}/tiny-a.zip"'))
        arguments = ("--family", shop.family, "--org", "acme", "tiny-a", "--hub", hub, "--work", shop.root / "work")
        result = shop.run("convert-and-upload", *arguments)
    assert result.code == 17, result.err
    assert "refuses (403)" in result.err
    assert result.err.count("Hint: ") == 1
    assert fetched == []


def test_a_full_disk_stops_before_anything_is_fetched(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room is said before the first byte, release by release: the ones that fit go on."""
    from collections import namedtuple

    size = (shop.root / "tiny-a.zip").stat().st_size
    usage = namedtuple("usage", "total used free")(10**9, 0, 3 * size)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    data = json.loads(shop.main_job("--no-parity", "--json").out)["releases"]
    assert [r["status"] for r in data] == ["published", "failed"]
    assert "are free" in data[1]["error"]["message"]
    assert data[1]["seconds"] == {}


def test_a_hub_that_is_not_there_is_tried_again_later(shop: Workshop) -> None:
    """No Hub at the address: exit code 18 for every release."""
    result = shop.run(
        "convert-and-upload",
        "--family",
        shop.family,
        "--org",
        "acme",
        "--hub",
        "http://127.0.0.1:9",
        "--work",
        shop.root / "w",
    )
    assert result.code == 18


def test_rights_are_checked_before_anything_is_fetched(after: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token without write rights on a repo that is to change is refused before the source is touched."""
    from huggingface_hub import HfApi

    def refuse(*_args: object, **_given: object) -> None:
        response = httpx2.Response(403, request=httpx2.Request("GET", "http://127.0.0.1/auth-check"))
        raise HfHubHTTPError("403 Forbidden", response=response)

    monkeypatch.setattr(HfApi, "auth_check", refuse)
    edit(after.family, 'title = "Tiny A"', 'title = "Tiny A, renamed"')
    result = after.main_job("--json")
    found = json.loads(result.out)["releases"][0]
    assert (result.code, found["status"], found["seconds"]) == (17, "failed", {})
    assert "write rights" in found["error"]["hint"]


def test_facts_are_checked_before_anything_is_fetched(shop: Workshop) -> None:
    """Metadata that the Hub would refuse ends a release with code 16 before its source is fetched."""
    edit(shop.family, 'title = "Tiny A"', 'title = "Tiny A"\nlanguage = ["klingon"]')
    data = json.loads(shop.main_job("--no-parity", "--json").out)["releases"]
    assert [(r["status"], (r["error"] or {}).get("code")) for r in data] == [("failed", 16), ("published", None)]
    assert data[0]["seconds"] == {}


def test_a_missing_extra_is_named_with_the_way_to_get_it(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch, TensorFlow or transformers a run that is to prove ends at once, and says what installs them."""
    real = importlib.util.find_spec
    for package in ("tensorflow", "torch", "transformers"):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, p=package: None if name == p else real(name))
        result = shop.main_job("tiny-b")
        assert result.code == 1
        assert f"parity needs {package}" in result.err
        assert ".[parity]" in result.err
    assert shop.published() == []


def test_an_embedded_hub_is_one_by_its_url_too(shop: Workshop) -> None:
    """A loopback URL is an embedded Hub: it gets no person's token, and no proxy is asked for it."""
    with _answering(403) as (hub, asked), pytest.MonkeyPatch.context() as patch:
        patch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        patch.setenv("http_proxy", "http://127.0.0.1:9")
        arguments = ("--family", shop.family, "--org", "acme", "tiny-a", "--hub", hub, "--work", shop.root / "work")
        result = shop.run("convert-and-upload", *arguments)
    assert result.code == 17
    assert asked
    assert all("Bearer embedded" in line and CANARY not in line for line in asked)


def test_a_worker_that_dies_is_an_error_of_its_release(shop: Workshop) -> None:
    """A killed worker process ends the run with a reason and a hint; what others did stays."""
    program = (
        "import os, sys\nfrom hubpush import cli, workers\n"
        "workers.carry = None if __name__ == '__main__' else (lambda job, tell: os._exit(9))\n"
        "if __name__ == '__main__':\n    cli.main()\n"
    )
    (shop.root / "dying.py").write_text(program)
    command = ["convert-and-upload", "--family", shop.family, "--org", "acme", *shop.places(), "--jobs", "2"]
    ended = subprocess.run(
        [sys.executable, shop.root / "dying.py", *map(str, command)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.count("the worker process died") == 2
    assert "Traceback" not in ended.stderr


def _bundle(shop: Workshop, folder: str = "") -> Path:
    """The family's archives in one zip, and nowhere else."""
    bundle = shop.root / "all_models.zip"
    with zipfile.ZipFile(bundle, "w") as archive:
        for path in sorted(shop.root.glob("tiny-*.zip")):
            archive.write(path, f"{folder}{path.name}")
            path.unlink()
    return bundle


def test_a_family_is_taken_from_a_zip_of_zips(shop: Workshop) -> None:
    """A bundle's archives are held against the lock as others are, published, and unchanged the next time."""
    bundle = _bundle(shop, "all/")
    result = shop.main_job("--source", str(bundle), "--no-parity", "--json")
    assert result.code == 0, result.err
    assert [r["status"] for r in json.loads(result.out)["releases"]] == ["published"] * 2
    again = json.loads(shop.main_job("--source", str(bundle), "--no-parity", "--json").out)
    assert [r["status"] for r in again["releases"]] == ["unchanged"] * 2


def test_another_archive_in_a_bundle_is_found(shop: Workshop, archives: Path, tmp_path: Path) -> None:
    """Without a lock, what was published before is the lock: another archive under the same name is refused."""
    (shop.root / "tinies.lock.json").unlink()
    bundle = _bundle(shop)
    assert shop.main_job("--source", str(bundle), "--no-parity").code == 0
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.write(archives / "tiny-a.zip", "tiny-a.zip")
        archive.write(archives / "tiny-a.zip", "tiny-b.zip")
    result = shop.main_job("--source", str(bundle), "--no-parity", "--json")
    outcomes = json.loads(result.out)["releases"]
    assert [r["status"] for r in outcomes] == ["unchanged", "failed"]
    assert "not the pinned source" in outcomes[1]["error"]["message"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(b"no zip"), "is not a sound zip"),
        # What is left of it ends as the last archive in it does.
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), "holds no archives"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "holds no archives"),
        (lambda path: zipfile.ZipFile(path, "w").writestr("../tiny-a.zip", b"x"), "the name '../tiny-a.zip'"),
    ],
    ids=["no zip", "cut", "empty", "name"],
)
def test_a_bundle_that_is_none_is_refused(shop: Workshop, spoil: Callable[[Path], None], words: str) -> None:
    """A damaged, empty or hostile bundle is exit code 11, and nothing of it is left."""
    bundle = _bundle(shop)
    spoil(bundle)
    result = shop.main_job("--source", str(bundle), "--no-parity")
    assert result.code == 11, result.err
    assert words in result.err
    assert not [path for path in (shop.root / "work").rglob("*.zip*") if path.is_file()]


def test_archives_of_one_name_in_a_bundle_are_told_apart_or_refused(shop: Workshop) -> None:
    """The folder of the URL tells which is meant; where it does not, none is taken."""
    bundle = shop.root / "all.zip"
    with zipfile.ZipFile(bundle, "w") as archive:
        for release, year in (("tiny-a", "2018"), ("tiny-b", "2020")):
            archive.write(shop.root / f"{release}.zip", f"{year}/bert.zip")
            edit(shop.family, f'"{release}.zip"', f'"https://example.org/{year}/bert.zip"')
    result = shop.main_job("--source", str(bundle), "--no-parity", "--json")
    assert result.code == 0, result.err
    assert len({r["files"]["model.safetensors"]["sha256"] for r in json.loads(result.out)["releases"]}) == 2
    edit(shop.family, "/2018/", "/2019/")
    other = json.loads(shop.main_job("--source", str(bundle), "--no-parity", "--json").out)["releases"][0]
    assert "has no bert.zip in 2019" in other["error"]["message"]


def test_an_archive_of_a_bundle_that_somebody_wrote_to_is_taken_out_again(shop: Workshop) -> None:
    """What is kept of a bundle is held against the bundle's own sums."""
    (shop.root / "tinies.lock.json").unlink()
    bundle = _bundle(shop)
    assert shop.main_job("tiny-b", "--source", str(bundle), "--no-parity").code == 0
    (kept,) = (shop.root / "work").rglob("tiny-b.zip")
    kept.write_bytes(kept.read_bytes()[:-1] + b"!")
    result = shop.main_job("tiny-b", "--source", str(bundle), "--no-parity", "--json")
    assert json.loads(result.out)["releases"][0]["status"] == "unchanged"


def test_a_bundle_without_an_archive_fails_that_release_alone(shop: Workshop) -> None:
    """What the bundle lacks is named for its release; the others are published."""
    (shop.root / "tiny-b.zip").unlink()
    result = shop.main_job("--source", str(_bundle(shop)), "--no-parity", "--json")
    assert result.code == 11
    outcomes = json.loads(result.out)["releases"]
    assert [r["status"] for r in outcomes] == ["published", "failed"]
    assert "has no tiny-b.zip" in outcomes[1]["error"]["message"]


def test_a_bundle_comes_over_http(shop: Workshop) -> None:
    """A URL of a zip of zips is fetched once, and its archives are what the family's URLs would give."""
    bundle = _bundle(shop)
    body, asked = bundle.read_bytes(), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/models/all_models.zip"
        for status in ("published", "unchanged"):
            result = shop.main_job("--source", url, "--no-parity", "--json")
            assert result.code == 0, result.err
            assert [r["status"] for r in json.loads(result.out)["releases"]] == [status] * 2
    finally:
        server.shutdown()
    assert asked == ["/models/all_models.zip"]


def test_a_mirror_may_have_the_buckets_folders(shop: Workshop) -> None:
    """Archives of one name are told apart by the folder that they have in their URL, where the mirror has it too."""
    for release, year in (("tiny-a", "2018"), ("tiny-b", "2020")):
        edit(shop.family, f'"{release}.zip"', f'"https://example.org/{year}/bert.zip"')
        (shop.root / "mirror" / year).mkdir(parents=True)
        (shop.root / f"{release}.zip").rename(shop.root / "mirror" / year / "bert.zip")
    result = shop.main_job("--source", str(shop.root / "mirror"), "--no-parity", "--json")
    assert result.code == 0, result.err
    digests = {r["files"]["model.safetensors"]["sha256"] for r in json.loads(result.out)["releases"]}
    assert len(digests) == 2


def _jobs(shop: Workshop, url: str | None = None) -> list[job.Job]:
    return job.of_family(str(shop.family), (), "acme", url, None, None, shop.root / "work", job.Options())


def test_workers_begin_with_small_ones_and_end_together(shop: Workshop) -> None:
    """The smallest release for each worker, then from the largest on; all are carried, and none twice."""
    (one, _) = _jobs(shop)
    jobs = [replace(one, release=one.release.model_copy(update={"name": f"r{n}"})) for n in (3, 9, 1, 7, 5)]
    sizes = {one.release.name: int(one.release.name[1:]) for one in jobs}
    order = [sizes[one.release.name] for one in run._in_good_order(jobs, sizes, 2)]
    assert order == [1, 3, 9, 7, 5]


def _in_time(is_done: Callable[[], object]) -> None:
    """Wait until something is so, for ten seconds at most."""
    end = time.monotonic() + 10
    while not is_done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_archives_come_while_others_are_carried(shop: Workshop) -> None:
    """All but the first archive are fetched beside the work, whole, and the worker finds them there."""
    told: list[str] = []
    with serving() as server:
        server.serve("/tiny-b.zip", Reply((shop.root / "tiny-b.zip").read_bytes()))
        with run._fetching(_jobs(shop, server.url), lambda name, station, _: told.append(f"{name} {station}")):
            _in_time(lambda: list((shop.root / "work").rglob("tiny-b.zip")))
        (found,) = (shop.root / "work").rglob("tiny-b.zip")
        assert found.read_bytes() == (shop.root / "tiny-b.zip").read_bytes()
        assert {path for _, path, _, _ in server.seen} == {"/tiny-b.zip"}
    assert set(told) == {"tiny-b fetch"}


def test_nothing_is_fetched_any_more_when_the_run_is_over(shop: Workshop) -> None:
    """A download that nobody waits for ends at once, and what came of it stays for the next run."""
    with serving() as server:
        server.serve("/tiny-b.zip", Reply(b"x" * 1000, endless=True, length=None))
        with run._fetching(_jobs(shop, server.url), lambda *_: None):
            _in_time(lambda: list((shop.root / "work").rglob("tiny-b.zip.part")))
        (sent,) = server.sent()
        assert sent < ENDLESS
    assert list((shop.root / "work").rglob("tiny-b.zip.part"))
