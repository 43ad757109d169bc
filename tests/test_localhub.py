"""The embedded Hub against the unmodified client, over HTTP."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from huggingface_hub import CommitOperationAdd as Add
from huggingface_hub import CommitOperationCopy as Copy
from huggingface_hub import CommitOperationDelete as Delete
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hubpush.errors import HubpushError
from hubpush.localhub import serve
from hubpush.localhub.store import Change, HubError, Store, check_path

pytestmark = pytest.mark.usefixtures("lfs_client")

TOKEN = "hf_canary_4711"
REPO = "acme/tiny"
WEIGHTS = bytes(range(256)) * 40_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the embedded Hub keeps its state."""
    return tmp_path / "hub"


@pytest.fixture
def url(directory: Path) -> Iterator[str]:
    """A running embedded Hub."""
    with serve(directory) as endpoint:
        yield endpoint


@pytest.fixture
def api(url: str) -> HfApi:
    """The client, with one repository made."""
    api = HfApi(endpoint=url, token=TOKEN)
    api.create_repo(REPO)
    return api


def release(api: HfApi, **options: str) -> str:
    """Commit a small release with one LFS file and return its id."""
    files = {"README.md": b"---\nlicense: mit\n---\n# Tiny\n", "model.safetensors": WEIGHTS, "sub/vocab.txt": b"a\nb\n"}
    return api.create_commit(
        REPO, [Add(path, content) for path, content in files.items()], commit_message="Release", **options
    ).oid


def send(
    url: str, method: str = "GET", body: bytes | None = None, *, token: str | None = TOKEN, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One plain request: status, headers with lower-case names, body."""
    wanted = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, wanted, method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def git(directory: Path, *arguments: str) -> str:
    """What git prints in the bare repository."""
    return subprocess.run(
        ["git", "-C", str(directory / "models" / f"{REPO}.git"), *arguments], check=True, capture_output=True, text=True
    ).stdout


def test_a_release_comes_back_as_it_was_sent(api: HfApi, url: str, tmp_path: Path) -> None:
    """Create, commit (regular and LFS), tag, list and download give the same bytes under the tag."""
    commit = release(api)
    api.create_tag(REPO, tag="v1.0.0", revision=commit)
    assert [(tag.name, tag.target_commit) for tag in api.list_repo_refs(REPO).tags] == [("v1.0.0", commit)]
    files = {item.path: item for item in api.list_repo_tree(REPO, recursive=True, revision="v1.0.0", expand=True)}
    assert set(files) == {".gitattributes", "README.md", "model.safetensors", "sub", "sub/vocab.txt"}
    assert files["model.safetensors"].lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert files["model.safetensors"].size == len(WEIGHTS)
    assert {path: item.last_commit.title for path, item in files.items()}[".gitattributes"] == "initial commit"
    assert files["sub/vocab.txt"].last_commit.oid == commit
    assert [item.path for item in api.get_paths_info(REPO, ["sub", "absent"])] == ["sub"]
    info = api.model_info(REPO, revision="v1.0.0", files_metadata=True)
    assert (info.id, info.sha, info.card_data["license"], info.private) == (REPO, commit, "mit", False)
    assert [commit.title for commit in api.list_repo_commits(REPO)] == ["Release", "initial commit"]
    folder = Path(snapshot_download(REPO, revision="v1.0.0", endpoint=url, cache_dir=tmp_path / "cache"))
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (folder / "sub/vocab.txt").read_bytes() == b"a\nb\n"
    one = hf_hub_download(REPO, "README.md", revision="v1.0.0", endpoint=url, cache_dir=tmp_path / "cache2")
    assert Path(one).read_text().endswith("# Tiny\n")
    assert api.verify_repo_checksums(REPO, revision="v1.0.0", local_dir=folder).mismatches == []


def test_ids_are_found_in_any_case_and_listed_in_pages(api: HfApi, url: str) -> None:
    """A repository is found without regard to case, and a list in pages names each one once."""
    assert api.model_info("Acme/TINY").id == REPO
    assert str(api.create_repo("ACME/tiny", exist_ok=True)) == f"{url}/{REPO}"
    for name in ("b", "c", "d"):
        api.create_repo(f"other/{name}", private=name == "d")
    assert [m.id for m in api.list_models(limit=10)] == [REPO, "other/b", "other/c", "other/d"]
    assert [m.id for m in api.list_models(author="other", search="b")] == ["other/b"]
    status, headers, body = send(f"{url}/api/models?limit=3", token=None)
    assert (status, len(json.loads(body)), "link" in headers) == (200, 3, False)  # the private one is not counted
    status, headers, body = send(f"{url}/api/models?limit=2")
    assert headers["link"].endswith('/api/models?limit=2&p=1>; rel="next"')
    _, headers, rest = send(headers["link"].partition(">")[0].removeprefix("<"))
    assert ([m["id"] for m in json.loads(body)], [m["id"] for m in json.loads(rest)], "link" in headers) == (
        [REPO, "other/b"], ["other/c", "other/d"], False
    )  # fmt: skip
    release(api)
    assert [m.id for m in api.list_models(filter="license:mit")] == [REPO]
    assert next(iter(api.list_models(sort="last_modified", expand=["lastModified"]))).id == REPO
    api.update_repo_settings("other/d", visibility="public")
    assert HfApi(endpoint=url, token=False).model_info("other/d").private is False
    api.delete_repo("other/d")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("other/d")


def test_missing_things_have_their_own_errors(api: HfApi, url: str, tmp_path: Path) -> None:
    """A missing repository, revision and file are told apart, and a missing file names the commit."""
    for missing in ("gpt2", "acme/absent"):
        with pytest.raises(RepositoryNotFoundError):
            api.model_info(missing)
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download(missing, "config.json", endpoint=url, cache_dir=tmp_path / "cache")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(REPO, revision="v9")
    with pytest.raises(RevisionNotFoundError):
        api.create_commit(REPO, [Add("a", b"a")], commit_message="m", revision="absent")
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(REPO, "additional_chat_templates"))
    status, headers, _ = send(f"{url}/{REPO}/resolve/main/absent", "HEAD")
    assert (status, headers["x-error-code"]) == (404, "EntryNotFound")
    assert headers["x-repo-commit"] == api.model_info(REPO).sha


def test_a_commit_on_an_old_head_is_refused(api: HfApi) -> None:
    """`parent_commit` that is no longer the head is answered with 412, and nothing changes."""
    old = api.model_info(REPO).sha
    head = api.create_commit(REPO, [Add("a", b"1")], commit_message="1", parent_commit=old).oid
    with pytest.raises(HfHubHTTPError) as error:
        api.create_commit(REPO, [Add("a", b"2")], commit_message="2", parent_commit=old)
    assert error.value.response.status_code == 412
    assert api.model_info(REPO).sha == head


def test_a_tag_never_moves(api: HfApi) -> None:
    """Creating a tag again is answered with 409 and leaves it where it is; an annotated tag shows its commit."""
    first = release(api)
    api.create_tag(REPO, tag="v1", tag_message="Annotated", revision=first)
    second = api.create_commit(REPO, [Delete("sub/vocab.txt")], commit_message="Drop").oid
    with pytest.raises(HfHubHTTPError) as error:
        api.create_tag(REPO, tag="v1", revision=second)
    assert error.value.response.status_code == 409
    api.create_tag(REPO, tag="v1", revision=second, tag_message="Again", exist_ok=True)
    assert [tag.target_commit for tag in api.list_repo_refs(REPO).tags] == [first]
    assert api.model_info(REPO, revision="v1").sha == first
    with pytest.raises(HfHubHTTPError):
        api.create_tag(REPO, tag="v1/sub", revision=second)
    api.create_branch(REPO, branch="dev", revision="v1")
    assert api.create_commit(REPO, [Add("d", b"d")], commit_message="d", revision="dev").oid != second
    assert api.model_info(REPO).sha == second
    with pytest.raises(HfHubHTTPError, match="Cannot delete refs/heads/main"):
        api.delete_branch(REPO, branch="main")
    api.delete_tag(REPO, tag="v1")
    assert api.list_repo_refs(REPO).tags == []


def test_files_are_deleted_copied_and_left_alone(api: HfApi) -> None:
    """Deletions and LFS copies work, a missing file cannot be deleted, and unchanged files make no commit."""
    release(api)
    assert release(api) == api.list_repo_commits(REPO)[0].commit_id
    assert len(api.list_repo_commits(REPO)) == 2
    api.create_commit(
        REPO, [Copy("model.safetensors", "copy.safetensors"), Delete("sub/", is_folder=True)], commit_message="Change"
    )
    assert set(api.list_repo_files(REPO)) == {".gitattributes", "README.md", "model.safetensors", "copy.safetensors"}
    with pytest.raises(EntryNotFoundError):
        api.create_commit(REPO, [Delete("absent")], commit_message="m")
    with pytest.raises(HfHubHTTPError, match="below a file"):
        api.create_commit(REPO, [Add("README.md/x", b"x")], commit_message="m")


def test_ranges_of_regular_and_lfs_files(api: HfApi, url: str) -> None:
    """A range gives exactly its bytes, and the digest of the whole file as ETag."""
    release(api)
    _, _, whole = send(f"{url}/{REPO}/resolve/main/README.md")
    for path, content in (("model.safetensors", WEIGHTS), ("README.md", whole)):
        for wanted, piece in (("5-", content[5:]), ("2-7", content[2:8]), ("-4", content[-4:])):
            status, headers, body = send(f"{url}/{REPO}/resolve/main/{path}", Range=f"bytes={wanted}")
            assert (status, body) == (206, piece), (path, wanted)
            assert headers["content-range"].endswith(f"/{len(content)}")
        assert send(f"{url}/{REPO}/resolve/main/{path}", Range=f"bytes={len(content)}-")[0] == 416
        status, headers, body = send(f"{url}/{REPO}/resolve/main/{path}", "HEAD")
        assert (status, headers["content-length"], body) == (200, str(len(content)), b"")
    _, headers, _ = send(f"{url}/{REPO}/resolve/main/model.safetensors", "HEAD")
    assert headers["x-linked-etag"] == headers["etag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'


def test_of_two_writers_with_a_parent_one_wins(api: HfApi) -> None:
    """Of several commits on the same parent, exactly one is taken."""
    parent = api.model_info(REPO).sha

    def write(number: int) -> bool:
        try:
            api.create_commit(REPO, [Add(f"{number}", b"x")], commit_message=f"{number}", parent_commit=parent)
        except HfHubHTTPError as error:
            assert error.response.status_code == 412
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(write, range(4))) == [False, False, False, True]
    assert len(api.list_repo_commits(REPO)) == 2


def write_many(directory: Path, name: str) -> subprocess.Popen[bytes]:
    """Start another process that makes twenty commits through a store of its own."""
    program = (
        "import sys, pathlib; from hubpush.localhub.store import Change, Store\n"
        "store, name = Store(pathlib.Path(sys.argv[1])), sys.argv[2]\n"
        "for n in range(20):\n"
        f"    store.commit({REPO!r}, 'main', f'{{name}} {{n}}', [Change('file', f'{{name}}{{n}}', b'x')], '')"
    )
    return subprocess.Popen([sys.executable, "-c", program, directory, name])


def test_no_commit_is_lost_between_threads_and_processes(api: HfApi, directory: Path) -> None:
    """Commits without a parent, from threads of a server and from other processes, all end in the history."""
    others = [write_many(directory, name) for name in ("p", "q")]
    threads = [
        threading.Thread(
            target=api.create_commit, args=(REPO, [Add(f"t{n}", b"x")]), kwargs={"commit_message": f"t {n}"}
        )
        for n in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait() for other in others] == [0, 0]
    expected = {f"{name} {n}" for name in "pq" for n in range(20)} | {f"t {n}" for n in range(10)} | {"initial commit"}
    assert sorted(commit.title for commit in api.list_repo_commits(REPO)) == sorted(expected)
    assert len(api.list_repo_files(REPO)) == len(expected)
    assert git(directory, "fsck", "--full", "--strict") == ""


def test_the_repository_decides_what_is_ignored_and_what_is_lfs(api: HfApi) -> None:
    """`.gitignore` and `.gitattributes` of the repository hold; an empty file is never LFS."""
    api.create_commit(REPO, [Add(".gitignore", b"build/\n*.log\n")], commit_message="Ignore")
    files = {"build/x": b"1", "a/y.log": b"1", "é ü/日本.txt": b"1", "w.bin": b"1", "empty.bin": b""}
    api.create_commit(REPO, [Add(path, content) for path, content in files.items()], commit_message="Add")
    kept = {
        item.path: item.lfs is not None for item in api.list_repo_tree(REPO, recursive=True) if hasattr(item, "lfs")
    }
    assert kept == {
        ".gitattributes": False, ".gitignore": False, "é ü/日本.txt": False, "w.bin": True, "empty.bin": False
    }  # fmt: skip


def test_long_histories_come_in_pages_and_survive_git_gc(api: HfApi, directory: Path) -> None:
    """Every commit is listed once over several pages, and after `git gc` the repository can be read and written."""
    store = Store(directory)
    for number in range(105):
        store.commit(REPO, "main", f"{number}", [Change("file", "n", b"%d" % number)], "")
    store.create_ref(REPO, "tags", "v1", "main")
    git(directory, "gc", "-q")
    commits = [commit.title for commit in api.list_repo_commits(REPO)]
    assert commits == [str(number) for number in reversed(range(105))] + ["initial commit"]
    with pytest.raises(HfHubHTTPError):
        api.create_tag(REPO, tag="v1", revision="main")
    api.create_commit(REPO, [Delete("n")], commit_message="After")
    assert api.list_repo_files(REPO) == [".gitattributes"]
    assert git(directory, "fsck", "--full", "--strict") == ""


def test_a_killed_writer_leaves_a_store_that_works(directory: Path) -> None:
    """Killed at any moment, a writer leaves every acknowledged commit, a clean `git fsck`, and no lock that stays."""
    store = Store(directory)
    store.create(REPO, private=False)
    for delay in (0.0, 0.01, 0.02, 0.03, 0.05):
        with write_many(directory, f"k{delay}") as process:
            while process.poll() is None and f"k{delay} 0" not in git(directory, "log", "--format=%s", "main"):
                time.sleep(0.005)
            time.sleep(delay)
            process.kill()
        commit = store.commit(REPO, "main", "after", [Change("file", f"after{delay}", b"x")], "")
        assert git(directory, "rev-parse", "main").strip() == commit
    assert git(directory, "fsck", "--full", "--strict", "--no-dangling") == ""


def test_a_lock_file_of_a_dead_git_is_removed(directory: Path) -> None:
    """A reference whose lock file is old can be changed again."""
    store = Store(directory)
    store.create(REPO, private=False)
    lock = directory / "models" / f"{REPO}.git" / "refs" / "heads" / "main.lock"
    for moment in (0, time.time() + 9e6):  # the second by another clock
        lock.touch()
        os.utime(lock, (moment, moment))
        store.commit(REPO, "main", "after", [Change("file", "a", b"x")], "")
        assert not lock.exists()


def test_readers_do_not_wait_for_writers(api: HfApi, url: str, directory: Path) -> None:
    """While more commits wait for the writers' lock than the server has threads, a reader is answered."""
    added = b'{"key":"file","value":{"path":"a","content":"YQ==","encoding":"base64"}}'
    body = b'{"key":"header","value":{"summary":"m"}}\n' + added
    address, found = f"{url}/api/models/{REPO}/commit/main", []
    with Store(directory).writing():
        writers = [threading.Thread(target=lambda: found.append(send(address, "POST", body)[0])) for _ in range(60)]
        for writer in writers:
            writer.start()
        time.sleep(0.5)
        assert send(f"{url}/api/models/{REPO}")[0] == 200  # within its timeout
        assert found == []
    for writer in writers:
        writer.join()
    assert found == [200] * 60


def test_a_short_commit_id_is_enough_if_it_is_one(api: HfApi, url: str, directory: Path) -> None:
    """Seven digits name a commit; of a tree they name nothing, nor when two objects begin with them."""
    commit = api.model_info(REPO).sha
    assert api.model_info(REPO, revision=commit[:7]).sha == commit
    tree = git(directory, "rev-parse", f"{commit}^{{tree}}").strip()
    objects = directory / "models" / f"{REPO}.git" / "objects"
    twin = objects / commit[:2] / (commit[2:39] + ("0" if commit[39] != "0" else "1"))
    twin.write_bytes((objects / commit[:2] / commit[2:]).read_bytes())
    for revision in (tree[:9], commit[:7], commit[:39]):
        with pytest.raises(RevisionNotFoundError):
            api.model_info(REPO, revision=revision)


def test_git_reads_the_repositories(api: HfApi, directory: Path, tmp_path: Path) -> None:
    """`git fsck` is clean and a clone shows LFS pointers and annotated tags."""
    release(api)
    api.create_tag(REPO, tag="v1", tag_message="First")
    assert git(directory, "fsck", "--full", "--strict") == ""
    bare = directory / "models" / f"{REPO}.git"
    off = ["-c", "filter.lfs.smudge=", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false"]
    subprocess.run(["git", *off, "clone", "-q", bare, tmp_path / "clone"], check=True)
    assert (tmp_path / "clone/model.safetensors").read_text() == (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{hashlib.sha256(WEIGHTS).hexdigest()}\n"
        f"size {len(WEIGHTS)}\n"
    )
    assert git(directory, "cat-file", "-t", "v1").strip() == "tag"
    assert git(directory, "log", "-1", "--format=%an %ad %cd", "--date=format:%z").strip() == "local +0000 +0000"


def test_an_upload_that_is_not_what_it_says_is_refused(api: HfApi, url: str, directory: Path) -> None:
    """LFS content of another digest or size, or at a made-up address, is refused and nothing is kept."""
    oid = hashlib.sha256(b"right").hexdigest()
    batch = json.dumps({"operation": "upload", "objects": [{"oid": oid, "size": 5}]}).encode()
    _, _, body = send(f"{url}/{REPO}.git/info/lfs/objects/batch", "POST", batch)
    actions = json.loads(body)["objects"][0]["actions"]
    href = actions["upload"]["href"]
    for content in (b"wrong", b"righ", b"right!"):
        assert send(href, "PUT", content, token=None)[0] == 400
    assert send(href[:-1] + ("0" if href[-1] != "0" else "1"), "PUT", b"right", token=None)[0] == 403
    verify = json.dumps({"oid": oid, "size": 5}).encode()
    assert send(actions["verify"]["href"], "POST", verify)[0] == 404
    line = json.dumps({"key": "lfsFile", "value": {"path": "m.bin", "algo": "sha256", "oid": oid, "size": 5}})
    head = json.dumps({"key": "header", "value": {"summary": "m"}})
    assert send(f"{url}/api/models/{REPO}/commit/main", "POST", f"{head}\n{line}".encode())[0] == 400
    assert [path for path in (directory / "lfs").rglob("*") if path.is_file()] == []
    assert list((directory / "tmp").iterdir()) == []
    assert send(href, "PUT", b"right", token=None)[0] == 200
    assert send(actions["verify"]["href"], "POST", verify)[0] == 200
    assert send(f"{url}/api/models/{REPO}/commit/main", "POST", f"{head}\n{line}".encode())[0] == 200


def test_other_hosts_and_origins_are_refused(api: HfApi, url: str) -> None:
    """A foreign Host is refused always, a foreign Origin for writes, and the server listens on loopback only."""
    assert send(f"{url}/", Host="evil.example")[0] == 403
    assert send(f"{url}/", Host="127.0.0.1.evil.example")[0] == 403
    create = json.dumps({"name": "x"}).encode()
    assert send(f"{url}/api/repos/create", "POST", create, Origin="http://evil.example")[0] == 403
    assert send(f"{url}/api/repos/create", "POST", create, Origin=url)[0] == 200
    with pytest.raises(HubpushError, match=r"0\.0\.0\.0"), serve(Path("unused"), host="0.0.0.0"):  # noqa: S104
        pass


def test_a_port_in_use_is_explained(url: str, tmp_path: Path) -> None:
    """A port that is taken is one readable error with a hint."""
    port = int(url.rpartition(":")[2])
    with pytest.raises(HubpushError, match=str(port)) as error, serve(tmp_path / "other", port=port):
        pass
    assert "port" in error.value.hint


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/x", "a//b", "", "..\\b", "\\b", "a\0b", "a\nb", ".git/config", "a/.GIT/hooks/x",
     ".git./x", "GIT~1/config", "a/.gitmodules", "x" * 256, "a\\.git\\x", ".git:x", "a/" * 600, ".g\u200cit/x"],
)  # fmt: skip
def test_a_path_that_could_leave_the_tree_is_refused(path: str) -> None:
    """Paths that git or `git fsck` would not take are answered with 422."""
    with pytest.raises(HubError) as error:
        check_path(path)
    assert error.value.status == 422


def test_paths_that_the_hub_takes_are_taken(api: HfApi, directory: Path) -> None:
    """Odd paths that the Hub takes are committed and come back, and `git fsck` has nothing against them."""
    paths = [
        "to?/awful?file%you:should,never.give",
        "folder/..\\..\\x",
        "c:x",
        "é ü/日本 (1).txt",
        "a" * 255,
        "-x",
        "~x",
    ]
    api.create_commit(REPO, [Add(path, path.encode()) for path in paths], commit_message="odd")
    assert set(api.list_repo_files(REPO)) == {*paths, ".gitattributes"}
    for path in paths:
        status, _, body = send(f"{api.endpoint}/{REPO}/resolve/main/{quote(path)}")
        assert (status, body.decode()) == (200, path)
    assert git(directory, "fsck", "--full", "--strict") == ""


def test_nothing_outside_the_directory_is_reached(api: HfApi, url: str, directory: Path) -> None:
    """Ids, revisions and paths in an address cannot name a file outside the repositories."""
    (directory.parent / "secret").write_text("kept outside")
    for address in (
        f"/{REPO}/resolve/main/../../../../../secret", f"/{REPO}/resolve/main/%2e%2e/%2e%2e/%2e%2e/secret",
        f"/{REPO}/resolve/..%2f..%2f..%2f..%2fsecret/x", f"/{REPO}/resolve/refs%2fheads%2f..%2f..%2fHEAD/README.md",
        "/..%2f..%2fsecret/x/resolve/main/y", "/api/models/..%2f../tiny", f"/api/models/{REPO}/tree/main/..%2f..",
        f"/{REPO}/resolve/main/%ff", f"/{REPO}/resolve/main%00/README.md",
    ):  # fmt: skip
        status, _, body = send(url + address)
        assert (status in (400, 404), b"kept outside" in body) == (True, False), address
    for name in ("..", "refs", ".git", "a/../b", "x.git", "a\\b", "", "-x", "a" * 97):
        assert send(f"{url}/api/repos/create", "POST", json.dumps({"name": name}).encode())[0] == 400, name
    for owner in ("..", ".git", "a/../b", "a\\b", "-x", "a" * 97, "api", "Datasets"):
        body = json.dumps({"name": "x", "organization": owner}).encode()
        assert send(f"{url}/api/repos/create", "POST", body)[0] == 400, owner
    with pytest.raises(HfHubHTTPError) as error:
        api.create_commit(REPO, [Add("a/.GIT/hooks/x", b"x")], commit_message="m")
    assert error.value.response.status_code == 422
    for tag in ("../x", "a..b", "x.lock", ".x", "-x", "a b", "0" * 40, "x/"):
        body = json.dumps({"tag": tag}).encode()
        assert send(f"{url}/api/models/{REPO}/tag/main", "POST", body)[0] == 400, tag


def test_what_files_say_of_a_model_is_told(api: HfApi) -> None:
    """Task, tags and parameters come from config.json and weights where the card is silent; nonsense is no error."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(24)
    config = b'{"architectures": ["BertForMaskedLM"], "model_type": "bert"}'
    api.create_commit(REPO, [Add("config.json", config), Add("model.safetensors", weights)], commit_message="m")
    info = api.model_info(REPO)
    assert (info.pipeline_tag, info.config["model_type"]) == ("fill-mask", "bert")
    assert (info.safetensors.parameters, info.safetensors.total) == ({"F32": 6}, 6)
    assert "safetensors" in info.tags
    api.create_commit(REPO, [Add("README.md", b"---\npipeline_tag: feature-extraction\n---\n")], commit_message="m")
    assert api.model_info(REPO).pipeline_tag == "feature-extraction"
    for bad in (b"[]", b"{", b'{"architectures": 1}', b'{"architectures": [1]}', b"[" * 100_000, b"null", b"1"):
        nonsense = b"\xff" * 8 + bad
        api.create_commit(REPO, [Add("config.json", bad), Add("model.safetensors", nonsense)], commit_message="m")
        assert api.model_info(REPO).safetensors is None


def test_lfs_files_are_copied_between_repositories(api: HfApi, url: str) -> None:
    """What one repository has, another may name by digest; what it lacks is told, and a private one gives nothing."""
    release(api)
    api.create_repo("acme/secret", private=True)
    address, digest = f"{url}/api/models/{REPO}/lfs-files/duplicate", hashlib.sha256(WEIGHTS).hexdigest()
    body = {"target": {"type": "model", "name": "acme/x"}, "files": [{"sha256": digest}, {"sha256": "0" * 64}]}
    status, _, found = send(address, "POST", json.dumps(body).encode())
    assert (status, [one["sha256"] for one in json.loads(found)["failed"]]) == (200, ["0" * 64])
    assert send(address, "POST", json.dumps(body).encode(), token=None)[0] == 401
    assert send(address.replace(REPO, "acme/secret"), "POST", json.dumps(body).encode(), token=None)[0] == 404


def test_what_is_missing_is_named(api: HfApi, url: str) -> None:
    """What the embedded Hub does not have is answered with 501 and the name of the feature."""
    with pytest.raises(HfHubHTTPError, match="dataset repositories") as error:
        api.create_repo("acme/data", repo_type="dataset")
    assert error.value.response.status_code == 501
    for address, name in (
        ("/api/datasets/acme/data", "dataset"), ("/api/spaces/acme/demo", "Spaces"),
        ("/api/settings/webhooks", "webhooks"), (f"/api/models/{REPO}/user-access-request/pending", "gated"),
        (f"/api/models/{REPO}/lfs-files", "LFS files"), ("/api/models?gated=true", "gated"),
        (f"/{REPO}.git/info/refs?service=git-receive-pack", "git push"), (f"/{REPO}.git/info/refs", "dumb protocol"),
        ("/api/nothing", "/api/nothing"),
    ):  # fmt: skip
        status, headers, body = send(url + address)
        assert (status, name in headers["x-error-message"], name in json.loads(body)["error"]) == (501, True, True)
    with pytest.raises(HfHubHTTPError, match="squashing"):
        api.super_squash_history(REPO)
    with pytest.raises(HfHubHTTPError, match="gated"):
        api.update_repo_settings(REPO, gated="auto")
    with pytest.raises(BadRequestError, match="Unknown expand"):
        api.model_info(REPO, expand=["nonsense"])


BODIES = [
    b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"name": 1}', b'{"name": "\\ud800"}', b'{"type": []}',
    b'{"files": [1]}', b'{"files": [{"path": "a"}]}', b'{"key": "file"}', b'{"key": "header", "value": 1}',
    b'{"key": "file", "value": {"path": "a", "content": "?", "encoding": "base64"}}',
    b'{"key": "header", "value": {"summary": ""}}', b'{"key": "x", "value": {}}',
    b'{"key": "lfsFile", "value": {"path": "a", "oid": "../../x"}}', b'{"operation": "upload", "objects": [{}]}',
    b'{"operation": "upload", "objects": [{"oid": "..", "size": -1}]}', b'{"tag": 1}', b'{"content": 1}',
    b'{"startingPoint": 1}', b'{"visibility": 1}',
]  # fmt: skip


def test_a_malformed_body_is_the_callers_fault(api: HfApi, url: str) -> None:
    """Whatever is sent as a body, no address answers with 500; what cannot be meant is 400 and changes nothing."""
    head = api.model_info(REPO).sha
    for body in BODIES:
        for method, address in (
            ("POST", "/api/repos/create"), ("DELETE", "/api/repos/delete"), ("POST", "/api/validate-yaml"),
            ("POST", f"/api/models/{REPO}/preupload/main"), ("POST", f"/api/models/{REPO}/commit/main"),
            ("POST", f"/api/models/{REPO}/tag/main"), ("POST", f"/{REPO}.git/info/lfs/objects/batch"),
            ("POST", f"/{REPO}.git/info/lfs/objects/verify"),
        ):  # fmt: skip
            assert send(url + address, method, body)[0] == 400, (address, body[:50])
        assert send(f"{url}/api/models/{REPO}/branch/b", "POST", body)[0] in (200, 400, 409), body[:50]
        assert send(f"{url}/api/models/{REPO}/paths-info/main", "POST", body)[0] in (200, 400), body[:50]
        assert send(f"{url}/api/models/{REPO}/settings", "PUT", body)[0] in (400, 501), body[:50]
    assert api.model_info(REPO).sha == head


def test_without_a_token_one_can_read_and_not_write(api: HfApi, url: str) -> None:
    """Reading takes no token, writing is answered with 401, and a private repository is not there."""
    release(api)
    api.create_repo("acme/private", private=True)
    anonymous = HfApi(endpoint=url, token=False)
    assert anonymous.model_info(REPO).id == REPO
    with pytest.raises(RepositoryNotFoundError):
        anonymous.model_info("acme/private")
    assert b"acme/private" not in send(f"{url}/", token=None)[2]
    # A browser is asked for the token, as password.
    browser = {"Accept": "text/html"}
    for page in ("/acme/private", "/?login"):
        status, headers, _ = send(url + page, token=None, **browser)
        assert (status, headers["www-authenticate"][:5]) == (401, "Basic"), page
    signed = f"Basic {base64.b64encode(b'any:hf_x').decode()}"
    assert b"acme/private" in send(f"{url}/?login", token=None, **browser, Authorization=signed)[2]
    assert send(f"{url}/acme/private", token=None, **browser, Authorization=signed)[0] == 200
    assert send(f"{url}/acme/absent", token=None, **browser, Authorization=signed)[0] == 404
    with pytest.raises(HfHubHTTPError) as error:
        anonymous.create_tag(REPO, tag="v1")
    assert error.value.response.status_code == 401
    api.auth_check(REPO, write=True)
    assert send(f"{url}/api/models/{REPO}/auth-check/write", token=None)[0] == 401
    assert api.whoami()["name"] == "local"
    assert [org["name"] for org in api.whoami()["orgs"]] == ["acme"]


def test_the_token_is_kept_nowhere(api: HfApi, directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The token is in no file of the directory and in no output."""
    release(api)
    assert all(TOKEN.encode() not in path.read_bytes() for path in directory.rglob("*") if path.is_file())
    assert TOKEN not in "".join(capfd.readouterr())


def test_a_card_with_wrong_metadata_is_refused(api: HfApi) -> None:
    """A card that the metadata check refuses stops the client before the commit."""
    with pytest.raises(ValueError, match="Invalid metadata"):
        api.create_commit(REPO, [Add("README.md", b"---\nlicense: [\n---\n")], commit_message="m")


HOSTILE = b"""---
summary: "<script>alert(1)</script>"
tags: ["<img src=x onerror=alert(2)>"]
---
# Hello <script>alert(3)</script>
[a](javascript:alert(4)) <img src=x onerror="alert(5)"> <a href="vocab.txt">v</a> ![p](p.png)
<iframe src="//evil.example"></iframe><style>body{display:none}</style>
"""


def test_a_page_shows_the_card_and_runs_nothing_of_it(api: HfApi, url: str) -> None:
    """The page renders card, metadata, files and versions; markup that could run is gone and none may load."""
    commit = api.create_commit(
        REPO, [Add("README.md", HOSTILE), Add("e.html", b"<script>x</script>")], commit_message="<script>m</script>"
    ).oid
    api.create_tag(REPO, tag="v1.0.0")
    for address in ("", "/tree/v1.0.0", f"/commit/{commit}"):
        status, headers, body = send(f"{url}/{REPO}{address}", token=None)
        page = body.decode()
        assert status == 200
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "script-src" not in headers["content-security-policy"]
        assert '<h1 id="hello' in page
        assert f'href="/{REPO}/tree/v1.0.0"' in page
        assert f'href="/{REPO}/resolve/{commit}/vocab.txt"' in page
        assert f'src="/{REPO}/resolve/{commit}/p.png"' in page
        for bad in ("<script", "<iframe", 'href="javascript:', "<img src=x onerror", 'onerror="', "display:none"):
            assert bad not in page, bad
    assert REPO in send(f"{url}/", token=None)[2].decode()
    _, headers, _ = send(f"{url}/{REPO}/resolve/main/e.html")
    assert headers["content-type"].startswith("text/plain")
    assert "sandbox" in headers["content-security-policy"]


def test_stopping_closes_the_port(directory: Path) -> None:
    """After the block nothing listens any more, and a second server finds what the first one kept."""
    with serve(directory) as url:
        HfApi(endpoint=url, token=TOKEN).create_repo(REPO)
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=2):
        pass
    with serve(directory) as url:
        assert HfApi(endpoint=url, token=TOKEN).repo_exists(REPO)


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_ctrl_c_ends_it_cleanly(directory: Path, end: signal.Signals) -> None:
    """`run` says where it listens, serves, and on Ctrl-C or SIGTERM leaves no xorbs and returns normally."""
    program = (
        "import sys, pathlib, hubpush.localhub as l; l.run(pathlib.Path(sys.argv[1]), on_start=print); print('end')"
    )
    with subprocess.Popen(
        [sys.executable, "-u", "-c", program, directory], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert HfApi(endpoint=url, token=TOKEN).whoami()["name"] == "local"
        xorbs = directory / "xet/uploads"
        HfApi(endpoint=url, token=TOKEN).create_repo(REPO)
        told = json.loads(send(f"{url}/api/models/{REPO}/xet-write-token/main")[2])
        (xorbs / told["casUrl"].rpartition("/")[2]).mkdir(parents=True)
        process.send_signal(end)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "end\n", "")
    assert list(xorbs.iterdir()) == []


def test_patterns_cannot_make_the_hub_hang(api: HfApi, url: str) -> None:
    """Patterns whose matching would take for ever are refused at once, and so are paths that no commit could hold."""
    address = f"{url}/api/models/{REPO}/preupload/main"
    for ignored, path in (
        (" " + "*a" * 20 + "b\n", " " + "a" * 60), ("a\\ " + "*a" * 20 + "b\n", "a " + "a" * 60),
        ("*a" * 20 + "b\n", "a" * 60), ("*a*a*b\n", "a" * 20_000), ("", "saved_model/" + "a/" * 100_000),
    ):  # fmt: skip
        body = {"gitIgnore": ignored, "files": [{"path": path, "size": 1}]}
        assert send(address, "POST", json.dumps(body).encode())[0] in (400, 422), ignored
    with pytest.raises(HfHubHTTPError, match="longer than"):
        api.create_commit(REPO, [Add("x/.gitattributes", b"a" * 3000)], commit_message="m")
    api.create_commit(REPO, [Add(".gitattributes", b" " + b"*a" * 20 + b"b filter=lfs\n")], commit_message="m")
    body = {"files": [{"path": "a" * 60, "size": 1}]}
    assert send(address, "POST", json.dumps(body).encode())[0] == 400


def test_odd_requests_are_no_bugs_of_the_server(api: HfApi, url: str) -> None:
    """What no client sends gets a 4xx: targets that are no path, endless numbers, half characters, odd names."""
    port = int(url.rpartition(":")[2])
    for line in (b"OPTIONS * HTTP/1.1", b"CONNECT foo:1 HTTP/1.1"):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
            raw.sendall(line + b"\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            assert raw.recv(20).startswith(b"HTTP/1.1 4"), line
    api.create_commit(REPO, [Add("data:image/日,x", b"x"), Add("t.txt", b"text")], commit_message="m")
    assert send(f"{url}/{REPO}/resolve/main/{quote('data:image/日,x')}")[2] == b"x"
    for wanted in ("bytes=" + "9" * 5000, "bytes=-" + "9" * 5000, "bytes=1-" + "9" * 5000):
        assert send(f"{url}/{REPO}/resolve/main/t.txt", Range=wanted)[0] < 500
    assert send(f"{url}/api/models/{REPO}/settings", "PUT", b'{"\\ud800": 1}')[0] == 501
    for claim in ("lfs:aa:1", "xet-token:x", "keyless:x", "é", ""):
        assert send(f"{url}/api/whoami-v2", token=f"hf_keyless_{quote(claim)}.{'0' * 64}")[0] == 401
    with pytest.raises(HfHubHTTPError) as error:
        api.create_commit(REPO, [Delete(f"d{n}/", is_folder=True) for n in range(1001)], commit_message="m")
    assert error.value.response.status_code == 413


def test_one_damaged_repository_harms_no_other(api: HfApi, url: str, directory: Path) -> None:
    """Damaged repositories are left out of lists and say what they are; they can be deleted, and the others work."""
    for name in ("gone", "odd", "link"):
        api.create_repo(f"acme/{name}")
    shutil.rmtree(directory / "models/acme/gone.git/objects")
    (directory / "models/acme/gone.git/objects").mkdir()
    (directory / "models/acme/odd.git/hub.json").write_text("[1")
    shutil.rmtree(directory / "models/acme/link.git")
    (directory / "models/acme/link.git").symlink_to("link.git")
    (directory / "models/acme/file.git").touch()
    assert [model.id for model in api.list_models()] == [REPO]
    assert send(f"{url}/")[0] == 200
    for name, answer in (("gone", 409), ("odd", 409), ("link", 404), ("file", 404)):
        assert send(f"{url}/api/models/acme/{name}")[0] == answer, name
    assert api.model_info(REPO).id == REPO
    api.delete_repo("acme/gone")


def test_a_reader_of_what_is_deleted_is_told_so(api: HfApi, url: str) -> None:
    """While repositories are made and deleted under them, readers get answers or 404, never 500."""
    stop, found = threading.Event(), set()

    def read(address: str) -> None:
        while not stop.is_set():
            found.add(send(f"{url}{address}")[0])

    addresses = [f"/api/models/{REPO}", f"/api/models/{REPO}/tree/main", "/api/models", f"/{REPO}", "/"]
    readers = [threading.Thread(target=read, args=(address,)) for address in addresses]
    for reader in readers:
        reader.start()
    for _ in range(40):
        api.delete_repo(REPO)
        api.create_repo(REPO)
    stop.set()
    for reader in readers:
        reader.join()
    assert found <= {200, 404}


def test_references_never_stand_above_each_other(api: HfApi, directory: Path) -> None:
    """`v1` keeps `v1/x` from being made, and the other way round, loose or packed."""
    api.create_branch(REPO, branch="v1")
    api.create_tag(REPO, tag="a/b")
    for _ in range(2):
        for call, options in ((api.create_branch, {"branch": "v1/x"}), (api.create_tag, {"tag": "a"})):
            with pytest.raises(HfHubHTTPError) as error:
                call(REPO, **options)
            assert error.value.response.status_code == 409
        git(directory, "pack-refs", "--all", "--prune")


def test_a_disk_that_cannot_be_written_is_507(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the system refuses to write, the answer says so, nothing half is left, and reading goes on."""
    with serve(directory) as url:
        api = HfApi(endpoint=url, token=TOKEN)
        api.create_repo(REPO)

        def full(_fd: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            for body, address in (
                (b'{"name": "y"}', "/api/repos/create"),
                (b'{"key":"header","value":{"summary":"m"}}\n{"key":"file","value":{"path":"a","content":"YQ==",'
                 b'"encoding":"base64"}}', f"/api/models/{REPO}/commit/main"),
            ):  # fmt: skip
                assert send(url + address, "POST", body)[0] == 507
        assert api.model_info(REPO).id == REPO
        assert list((directory / "tmp").iterdir()) == []
        assert list(directory.rglob("tmp_obj_*")) == []
