"""Real git against the embedded Hub over HTTP."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import huggingface_hub.constants
import pytest
from huggingface_hub import CommitOperationAdd as Add
from huggingface_hub import HfApi

from hubpush.localhub import serve

TOKEN = "hf_canary_0815"
WEIGHTS = bytes(range(256)) * 100


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Hub with `acme/tiny` (three commits, an annotated tag, an LFS file) and the private `acme/private`."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with serve(tmp_path / "hub") as endpoint:
        api = HfApi(endpoint=endpoint, token=TOKEN)
        api.create_repo("acme/tiny")
        api.create_commit("acme/tiny", [Add("README.md", b"---\nlicense: mit\n---\n")], commit_message="Card")
        api.create_commit("acme/tiny", [Add("a/model.safetensors", WEIGHTS)], commit_message="Weights")
        api.create_tag("acme/tiny", tag="v1.0.0", tag_message="First")
        api.create_repo("acme/private", private=True)
        yield endpoint


def git(*arguments: object, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run git without the person's configuration, and without git-lfs."""
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    return subprocess.run(
        ["git", *map(str, arguments)], cwd=cwd, check=check, capture_output=True, text=True, env={**os.environ, **alone}
    )


@pytest.mark.parametrize(
    "options", [[], ["--depth=1"], ["-c", "protocol.version=0"], ["-c", "protocol.version=2"], ["--filter=blob:none"],
                ["--mirror"]]
)  # fmt: skip
def test_a_clone_has_what_the_hub_has(url: str, tmp_path: Path, options: list[str]) -> None:
    """Every kind of clone ends with the Hub's head, a clean `fsck`, and pointers for LFS files."""
    git("clone", "-q", *options, f"{url}/acme/tiny", tmp_path / "clone")
    assert git("fsck", "--full", "--strict", cwd=tmp_path / "clone").stdout == ""
    head = git("rev-parse", "main", cwd=tmp_path / "clone").stdout.strip()
    assert head == HfApi(endpoint=url, token=False).model_info("acme/tiny").sha
    pointer = git("show", "main:a/model.safetensors", cwd=tmp_path / "clone").stdout
    assert pointer.startswith("version https://git-lfs.github.com/spec/v1\noid sha256:")
    assert pointer.endswith(f"\nsize {len(WEIGHTS)}\n")


def test_fetch_brings_what_is_new(url: str, tmp_path: Path) -> None:
    """After new commits, a tag and a branch, `git pull` brings exactly these; annotated tags show their commit."""
    git("clone", "-q", f"{url}/acme/tiny.git", tmp_path / "clone")
    api = HfApi(endpoint=url, token=TOKEN)
    commit = api.create_commit("acme/tiny", [Add("new", b"x")], commit_message="New").oid
    api.create_branch("acme/tiny", branch="dev", revision="v1.0.0")
    git("pull", "-q", cwd=tmp_path / "clone")
    assert git("rev-parse", "HEAD", cwd=tmp_path / "clone").stdout.strip() == commit
    assert "refs/remotes/origin/dev" in git("for-each-ref", cwd=tmp_path / "clone").stdout
    listed = dict(reversed(line.split("\t")) for line in git("ls-remote", f"{url}/acme/tiny").stdout.splitlines())
    assert listed["refs/tags/v1.0.0^{}"] == api.list_repo_refs("acme/tiny").tags[0].target_commit
    assert listed["HEAD"] == listed["refs/heads/main"] == commit


def test_the_token_is_the_password(url: str, tmp_path: Path) -> None:
    """A private repository is cloned with a token as password; without one git is asked for it."""
    asked = git("clone", f"{url}/acme/private", tmp_path / "no", check=False)
    assert asked.returncode == 128
    assert "could not read Username" in asked.stderr
    git("clone", "-q", url.replace("://", f"://any:{TOKEN}@") + "/acme/private", tmp_path / "yes")
    assert (tmp_path / "yes/.gitattributes").exists()
    assert git("clone", url.replace("://", f"://any:{TOKEN}@") + "/acme/absent", tmp_path / "x", check=False).returncode


def test_git_lfs_is_told_where_the_files_are(url: str) -> None:
    """The LFS batch for downloads leads to the bytes, and names what is missing."""
    pointer = HfApi(endpoint=url, token=False).get_paths_info("acme/tiny", ["a/model.safetensors"])[0].lfs
    wanted = [{"oid": pointer.sha256, "size": pointer.size}, {"oid": "0" * 64, "size": 1}]
    answer = httpx2.post(
        f"{url}/acme/tiny.git/info/lfs/objects/batch", json={"operation": "download", "objects": wanted}
    ).json()["objects"]
    assert httpx2.get(answer[0]["actions"]["download"]["href"]).content == WEIGHTS
    assert answer[1]["error"]["code"] == 404
    forged = answer[0]["actions"]["download"]["href"].replace(pointer.sha256, "0" * 64)
    assert httpx2.get(forged).status_code == 403


def test_pushing_and_nonsense_are_refused(url: str, tmp_path: Path) -> None:
    """`git push` is 501 with the way to commit; what git never sends is 400, however it is packed."""
    git("clone", "-q", f"{url}/acme/tiny", tmp_path / "clone")
    assert git("push", "origin", "HEAD:x", cwd=tmp_path / "clone", check=False).returncode
    answer = httpx2.get(f"{url}/acme/tiny.git/info/refs?service=git-receive-pack")
    assert (answer.status_code, "commit through the API" in answer.json()["error"]) == (501, True)
    address = f"{url}/acme/tiny.git/git-upload-pack"
    for body in (b"", b"0000", b"ffff", b"0009want\n", b"0032want " + b"0" * 40 + b"\n0000", b"\xff" * 99, b"zzzz"):
        assert httpx2.post(address, content=body).status_code in (200, 400), body
    packed = {"Content-Encoding": "gzip"}
    assert httpx2.post(address, content=b"no gzip", headers=packed).status_code == 400
    bomb = gzip.compress(bytes(200 << 20))
    assert httpx2.post(address, content=bomb, headers=packed).status_code == 413
