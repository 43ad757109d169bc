"""Laws of the watch over every test (conftest.py): the token of the environment goes to the Hub, and nowhere else."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from hubpush import localhub
from hubpush.localhub.faults import Plan
from tests import CANARY, conftest

ROOT = Path(__file__).parent.parent

LEAKS = '''
"""Tests that leak the canary, each in one way, and (`clean`) tests that use it as it is meant."""

import base64, logging, os, subprocess, sys, threading, urllib.request, zlib
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2
import pytest

from hubpush import localhub
from hubpush.errors import SourceError
from tests import CANARY, HOME

BASE64 = base64.b64encode(f"me:{CANARY}".encode()).decode()
MEANT = {"Authorization": f"Bearer {CANARY}"}


@pytest.fixture
def url(tmp_path):
    with localhub.serve(tmp_path / "hub") as url:
        yield url


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


def post(url, headers=MEANT, data=b"x"):
    urllib.request.urlopen(urllib.request.Request(url, data, headers)).close()


def pieces():
    yield b"{" * 70_000 + CANARY[:12].encode()
    yield CANARY[12:].encode() + b"}"


def python(code, *arguments, **options):
    subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=True, **options)


def test_stdout():
    print(CANARY)


def test_stderr_of_the_process():
    os.write(2, CANARY.encode())


def test_output_that_the_test_takes_itself(capfd):
    print(CANARY)
    capfd.readouterr()


def test_log():
    logging.getLogger("somebody's").debug("headers: %s", {"x": CANARY})


def test_log_of_an_exception():
    try:
        raise OSError(CANARY)
    except OSError:
        logging.getLogger("somebody's").info("it failed", exc_info=True)


def test_error_of_hubpush():
    SourceError("no", hint=f"try again with {CANARY}")


def test_what_led_to_an_error():
    with pytest.raises(ValueError):
        try:
            raise OSError(CANARY)
        except OSError:
            raise ValueError("no")


def test_file(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text(f"x {CANARY}")


def test_name_of_a_file(tmp_path):
    (tmp_path / CANARY).touch()


def test_object_of_git(tmp_path):
    (tmp_path / "object").write_bytes(zlib.compress(CANARY.encode() * 9))


def test_address(url):
    httpx2.get(f"{url}/a/b?token={CANARY}")


def test_address_with_percent_signs(url):
    httpx2.get(url + "/" + "".join(f"%{ord(letter):02x}" for letter in CANARY))


def test_other_header(url):
    httpx2.get(url, headers={**MEANT, "X-Token": CANARY})


def test_body_in_pieces(url):
    httpx2.post(f"{url}/api/validate-yaml", content=pieces(), headers=MEANT)


def test_body_in_base64(url):
    httpx2.post(f"{url}/api/validate-yaml", json={"content": BASE64})


def test_body_to_another_server(server):
    post(server, data=CANARY.encode())


def test_header_to_another_server(server):
    post(server, {"Cookie": CANARY})


def test_command_line():
    python("", CANARY)


def test_output_of_a_child():
    python("import os; print(os.environ['HF_TOKEN'])")


def test_clean_header(url):
    assert httpx2.get(f"{url}/api/whoami-v2", headers=MEANT).status_code == 200
    assert httpx2.get(f"{url}/api/whoami-v2", headers={"authorization": f"Basic {BASE64}"}).status_code == 200


def test_clean_header_to_another_server(server):
    post(server)


def test_clean_environment():
    python("", env={**os.environ, "HF_TOKEN": CANARY})


def test_zz_file_of_the_session_and_of_the_home_directory(shared):
    (shared / "a").write_text(CANARY)
    (__import__("pathlib").Path(HOME) / "token").write_text(CANARY)
'''
LOGS = ("the log of uvicorn.access", "the log of httpx2")  # of the server and of the client, who name the address too
PLACES = {
    "stdout": ["captured stdout call"],
    "stderr_of_the_process": ["captured stderr call"],
    "output_that_the_test_takes_itself": ["the output that the test read (out)"],
    "log": ["the log of somebody's"],
    "log_of_an_exception": ["an exception in the log of somebody's"],
    "error_of_hubpush": ["the text of a SourceError"],
    "what_led_to_an_error": ["the text of a ValueError, or of what led to it"],
    "file": ["the file a/b"],
    "name_of_a_file": ["the file <canary>"],
    "object_of_git": ["the file object"],
    "address": ["the address of GET /a/b?token=<canary>", *LOGS],
    "address_with_percent_signs": ["the address of GET <canary, encoded>", *LOGS],
    "other_header": ["the header x-token of GET /?"],
    "body_in_pieces": ["the body of POST /api/validate-yaml?"],
    "body_in_base64": ["the body of POST /api/validate-yaml?"],
    "body_to_another_server": ["the body of POST /"],
    "header_to_another_server": ["the header Cookie of POST /"],
    "command_line": ["the command line of a child"],
    "output_of_a_child": ["what a child wrote to stdout"],
    "zz_file_of_the_session_and_of_the_home_directory": [
        "a folder of the session: shared0/a",
        "the home directory: token",
    ],
}


def test_a_leak_fails_the_test_that_leaks(tmp_path: Path) -> None:
    """A leak by each way is found, told by its place and not by the token, for that test alone; a right use is none."""
    names = re.findall(r"^def test_(\w+)", LEAKS, re.MULTILINE)
    (tmp_path / "test_leaks.py").write_text(
        re.sub(r"^(def test_.*:)$", r'\1\n    """A law."""', LEAKS, flags=re.MULTILINE)
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    with tempfile.TemporaryDirectory() as basetemp:  # which the watch over this test does not see
        options = f"-m pytest -q -rEp -p tests.conftest -p no:cacheprovider --basetemp {basetemp}".split()
        done = subprocess.run(
            [sys.executable, *options, "-c", tmp_path / "pytest.ini", tmp_path / "test_leaks.py"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    ended = dict(
        re.findall(
            r"^_+ ERROR at teardown of test_(\w+) _+\nThe canary token was found in:\n((?:  .*\n)+)",
            done.stdout,
            re.MULTILINE,
        )
    )
    assert {name: [line.strip() for line in lines.splitlines()] for name, lines in ended.items()} == PLACES
    assert done.stdout.count("\nPASSED ") == len(names), done.stdout  # the tests themselves; the watch comes after them
    assert {name for name in names if name.startswith("clean")} == set(names) - set(PLACES)
    assert not conftest.holds(done.stdout + done.stderr)


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode], ids=["base64", "urlsafe"])
def test_the_token_is_known_in_base64(before: int, encode: Callable[[bytes], bytes]) -> None:
    """Wherever it stands in an encoded text, with its prefix or without, the token is found; another is not."""
    for token in (CANARY, CANARY.removeprefix("hf_")):
        assert conftest.holds(encode(b"\xff" * before + token.encode() + b"\xff~"))
    assert not conftest.holds(encode(b"\xff" * before + b"hf_canary_4711" * 9))


@pytest.mark.parametrize("size", [0, 100, conftest._BLOCK - 20, conftest._LARGE + 1])
def test_a_file_of_any_size_is_read(tmp_path: Path, size: int) -> None:
    """The token is found behind any number of bytes, across blocks; in a damaged zlib stream too."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(bytes(size))
        assert conftest.files_with_canary(path.parent) == []
        path.write_bytes(bytes(size) + CANARY.encode() + bytes(conftest._LARGE if size > 100 else 0))
        assert conftest.files_with_canary(path.parent) == ["file"]
        path.write_bytes(zlib.compress(b"x")[:5] + CANARY.encode())
        assert conftest.files_with_canary(path.parent) == ["file"]


@pytest.mark.parametrize("transfer", ["lfs", "xet"])
def test_a_person_s_token_goes_into_the_authorization_header_alone(
    transfer: str, tmp_path: Path, release: Path
) -> None:
    """A Hub that is not embedded gets the token of the environment in that header alone, with every log at DEBUG."""
    code = (
        "import logging\nlogging.basicConfig(level=logging.DEBUG)\n"
        "import huggingface_hub\nhuggingface_hub.logging.set_verbosity_debug()\n"
        "from hubpush import cli\ncli.main()"
    )
    asked = ["--repo-id", "local/mine", "--license", "mit", "--no-parity"]
    places = ["--source", str(release), "--work", str(tmp_path / "work")]
    more = {
        "HF_DEBUG": "1",
        "HF_HUB_VERBOSITY": "debug",
        "HF_XET_CACHE": str(tmp_path / "xet"),
        "NO_PROXY": "127.0.0.1",
    }
    before, plan = conftest.WATCH.authorized, Plan()
    with localhub.serve(tmp_path / "hub", plan=plan) as url:
        environment = {**os.environ, **more, "HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": str(int(transfer == "lfs"))}
        done = subprocess.run(
            [sys.executable, "-c", code, "convert-and-upload", *asked, *places],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "DEBUG:" in done.stderr
    assert conftest.WATCH.authorized - before > 5
    assert any(seen.path.startswith("/cas/") for seen in plan.seen) == (transfer == "xet")
    assert not conftest.holds(done.stdout + done.stderr)
    assert conftest.WATCH.leaks == []
