"""Laws of the doctor: what it says would fail, fails; and what it says is well, works."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hubpush import localhub
from hubpush.localhub.users import read as read_users
from tests.workshop import Workshop

USERS = """
[[users]]
name = "writer"
token = "hf_writer"
orgs = { acme = "write" }

[[users]]
name = "reader"
token = "hf_reader"
role = "read"
orgs = { acme = "write" }

[[users]]
name = "stranger"
token = "hf_stranger"
"""


def _doctor(shop: Workshop, *more: object) -> tuple[int, dict[str, dict[str, Any]]]:
    result = shop.run("doctor", *shop.places(), "--json", *more)
    return result.code, {row["name"]: row for row in json.loads(result.out)}


def test_a_machine_that_has_everything(after: Workshop) -> None:
    """Versions, Hub, token, every repo and the disk are well: code 0, and nothing is written to the Hub."""
    code, rows = _doctor(after, "--family", after.family, "--org", "acme")
    assert code == 0
    assert rows["acme/tiny-a"] == {
        "name": "acme/tiny-a",
        "result": "ok",
        "found": "may be written to",
        "hint": None,
    }
    assert rows["torch"]["result"] == "ok"
    assert "GB free" in rows["disk"]["found"]


@pytest.mark.parametrize(
    ("token", "code", "check", "words"),
    [
        ("hf_writer", 0, "token", "writer (role write)"),
        ("hf_reader", 17, "token", "only reads"),
        ("hf_stranger", 17, "token", "no member of acme"),
        ("hf_wrong", 17, "hub", "hf auth whoami"),
    ],
)
def test_what_the_doctor_says_of_a_token_is_what_a_run_meets(
    shop: Workshop, token: str, code: int, check: str, words: str
) -> None:
    """For each token the doctor and the main job end with the same code, and the run has fetched nothing by then."""
    (shop.root / "users.toml").write_text(USERS)
    environment = {**os.environ, "HF_TOKEN": token, "NO_PROXY": "127.0.0.1"}
    given = ["--family", str(shop.family), "--org", "acme", "--work", str(shop.root / "work"), "--json"]
    with localhub.serve(shop.hub, users=read_users(shop.root / "users.toml")) as url:
        environment["HF_ENDPOINT"] = url

        def hubpush(*command: str) -> subprocess.CompletedProcess[str]:
            run = [sys.executable, "-m", "hubpush.cli", *command, *given]
            return subprocess.run(run, env=environment, capture_output=True, text=True, check=False)

        found = hubpush("doctor")
        row = next(row for row in json.loads(found.stdout) if row["name"] == check)
        assert (found.returncode, words in row["found"] + str(row["hint"])) == (code, True), found.stdout
        ran = hubpush("convert-and-upload", "--no-parity", "--dry-run" if code == 0 else "--no-parity")
        assert ran.returncode == code, ran.stderr
        assert token not in found.stdout + found.stderr + ran.stdout + ran.stderr
    if code:
        assert not (shop.root / "work" / "downloads").exists()


def test_a_hub_that_is_not_there_is_one_failing_check(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub is not reached: code 18, and the repos are not asked one by one."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _seconds: None)  # between its attempts
    to = ("--hub", "http://127.0.0.1:9", "--org", "acme", "--family", shop.family)
    result = shop.run("doctor", *to, "--work", shop.root / "work", "--json")
    rows = {row["name"]: row for row in json.loads(result.out)}
    assert (result.code, rows["hub"]["result"]) == (18, "fails")
    assert not [name for name in rows if name.startswith("acme/")]


def test_what_is_not_installed_is_named_with_the_command(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of an extra that is missing fails nothing, and the hint says how to get it or do without."""
    import importlib.metadata

    real = importlib.metadata.version

    def without(name: str) -> str:
        if name == "torch":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    shop.hub.mkdir()
    monkeypatch.setattr(importlib.metadata, "version", without)
    code, rows = _doctor(shop)
    assert (code, rows["torch"]["result"]) == (0, "missing")
    assert 'pip install "hubpush[parity]"' in rows["torch"]["hint"]


def test_a_work_directory_that_cannot_be_used_is_a_failing_check(shop: Workshop) -> None:
    """A file in the place of --work: the code of a run that would meet it."""
    shop.hub.mkdir()
    (shop.root / "file").touch()
    result = shop.run("doctor", "--hub", shop.hub, "--work", shop.root / "file", "--json")
    rows = {row["name"]: row for row in json.loads(result.out)}
    assert (result.code, rows["disk"]["result"]) == (11, "fails")


def test_no_room_for_a_family_is_seen(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """With less room than the archives and what is made of them need, the doctor says for how many releases."""
    shop.hub.mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10, "total": 10, "used": 0})())
    code, rows = _doctor(shop, "--family", shop.family, "--org", "acme")
    assert (code, rows["disk"]["result"]) == (11, "fails")
    assert "no room for 2 of 2" in rows["disk"]["found"] or "no room for 1 of 2" in rows["disk"]["found"]


def test_the_table_is_for_people(shop: Workshop) -> None:
    """Without --json a row each, hints behind; --quiet prints only what fails."""
    shop.hub.mkdir()
    result = shop.run("doctor", *shop.places())
    assert "RESULT" in result.out
    assert shop.run("doctor", *shop.places(), "-q").out == ""


def test_everything_is_looked_at_without_heavy_imports(shop: Workshop) -> None:
    """The doctor asks the packages for their versions and loads none of them."""
    from tests.workshop import imports

    shop.hub.mkdir()
    assert not imports(["doctor", *shop.places()]) & {"torch", "tensorflow", "transformers"}
    assert Path(shop.hub).exists()
