"""huggingface_hub's own tests, run against the embedded Hub with the real client: by xet, and by LFS alone.

    python -m benchmarks.peer_suite [--mode xet|lfs|both] [--only-listed] [-k EXPR] [--sdist FILE] [--keep DIR]
    python -m benchmarks.peer_suite --survey

The tests come from the sdist of the installed version, fetched by pip at run time. Their conftest.py is not in it:
`CONFTEST` is ours, inferred from use. Selected are the tests that need a hub at all, that is, that fail against a
server answering 501 to everything, without those that need what the embedded Hub does not have. `--survey` repeats
that experiment with the whole suite (8 minutes), and names each test that the tables here do not account for.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import threading
import time
import venv
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
# What the tests import beside what hubpush needs itself.
NEEDS = ("pytest>=9", "pytest-mock", "pytest-asyncio", "jedi", "fastapi", "authlib", "itsdangerous")

# The selection: a file, and its classes and tests. First those that matter most to who publishes a model.
LISTED = {
    "test_hf_api.py": """
        TestHfApiEndpoints TestCommitApi TestHfApiTagEndpoint TestHfApiBranchEndpoint TestHfApiDeleteFiles
        TestHfApiDeleteFolder TestListGitCommits TestHfApiListRepoTree TestHfApiRepoFileExists TestCollectionAPI
        TestHfApiDiscussions TestHfApiAuthCheck TestHfApiVerifyChecksums""",
    "test_repocard.py": "TestRepocardMetadataUpdate TestMetadataUpdateOnMissingCard",
    "test_file_download.py": """
        TestStagingDownload TestHfHubDownloadToLocalDir TestStagingCachedDownloadOnAwfulFilenames
        TestHfHubDownloadRelativePaths""",
}
OTHERS = {
    "test_cache_layout.py": "TestReferenceUpdates",
    "test_cli_discussions.py": "",
    "test_commit_scheduler.py": "TestCommitScheduler",
    "test_copy_files.py": """
        test_commit_copy_file test_cp_upload_file_to_repo test_cp_upload_to_repo_prefix
        test_cp_upload_to_repo_from_stdin test_cp_download_repo_file_to_local
        test_cp_download_repo_nested_file_to_directory test_cp_download_repo_file_to_stdout
        test_cp_download_repo_file_from_revision""",
    "test_file_download.py": "TestCachedDownload::test_private_repo_and_file_cached_locally",
    "test_hf_api.py": "TestHfApiUploadEmptyFile TestActivityApi TestCommitInBackground",
    "test_hf_file_system.py": "test_exists_after_repo_creation test_exists_after_repo_deletion",
    "test_hub_mixin.py": """
        TestHubMixin::test_from_pretrained_model_id_only TestHubMixin::test_from_pretrained_model_id_and_revision
        TestHubMixin::test_push_to_hub""",
    "test_hub_mixin_pytorch.py": """
        TestPytorchHubMixin::test_from_pretrained_model_id_only
        TestPytorchHubMixin::test_from_pretrained_model_id_and_revision TestPytorchHubMixin::test_push_to_hub""",
    "test_oauth.py": "test_get_mocked_oauth_info",
    "test_repocard.py": """
        TestRepoCard::test_validate_repocard TestRepoCard::test_push_to_hub TestRepoCard::test_push_and_create_pr""",
    "test_snapshot_download.py": "TestSnapshotDownload TestResolveRevision",
    "test_utils_http.py": """
        TestUniqueRequestId::test_request_id_is_used_by_server TestUniqueRequestId::test_request_id_not_overwritten""",
    "test_xet_upload.py": "TestXetUpload TestXetE2E",
}
# In selected classes, but they pass against 501 as well, or upstream skips them: they say nothing about a hub.
SILENT = """
    test_cli_discussions.py::test_comment_no_body
    test_hf_api.py::TestCollectionAPI::test_create_collection_exists_ok
    test_hf_api.py::TestCommitApi::test_commit_operation_validation
    test_hf_api.py::TestCommitApi::test_upload_file_validation
    test_hf_api.py::TestHfApiBranchEndpoint::test_create_branch_forbidden_ref_branch_fails
    test_hf_api.py::TestHfApiEndpoints::test_move_repo_invalid_repo_id
    test_hf_api.py::TestHfApiEndpoints::test_whoami_rate_limit_suggest_caching
    test_hf_api.py::TestHfApiEndpoints::test_whoami_with_token_false
    test_xet_upload.py::TestXetUpload::test_request_headers_passed_to_upload_bytes
    test_xet_upload.py::TestXetUpload::test_request_headers_passed_to_upload_files
    test_xet_upload.py::TestXetUpload::test_routes_to_xet_directly_when_available
    test_xet_upload.py::TestXetUpload::test_transfers_bytesio_falls_back_to_lfs
"""
# Tests that need a hub and are not run: why, where, and how many fail there against 501 (one, unless it says).
PRODUCTION = "any"
EXCLUDED = {
    "make or ask for a dataset": """
        test_cli.py::TestRepoListCommand::test_repo_list
        test_copy_files.py::test_copy_files_repo_to_repo test_copy_files.py::test_cp_remote_repo_to_repo
        test_hf_api.py::TestCollectionAPI::test_collection_items
        test_hf_api.py::TestCommitApi::test_create_repo_already_exists_but_no_write_permission_returns_correct_repo_id
        test_hf_api.py::TestHfApiAuthCheck::test_auth_check_success
        test_hf_api.py::TestHfApiDiscussions::test_create_discussion_space
        test_hf_api.py::TestHfApiEndpoints::test_move_repo_normal_usage
        test_hf_api.py::TestHfApiEndpoints::test_update_dataset_repo_settings
        test_hf_api.py::TestHfApiPrivate=3 test_hf_api.py::TestHfApiTagEndpoint::test_create_tag_on_commit_oid
        test_hf_file_system.py::TestHfFileSystemRepositoryRO=42 test_hf_file_system.py::TestHfFileSystemRepositoryRW=8
        test_repocard.py::TestMetadataUpdateOnMissingCard::test_metadata_update_missing_readme_on_dataset
        test_snapshot_download.py::TestResolveRevision::test_resolve_revision_for_another_repo""",
    "make a Space": """
        test_repocard.py::TestMetadataUpdateOnMissingCard::test_metadata_update_missing_readme_on_space""",
    "gate a repository": """
        test_file_download.py::TestStagingDownload::test_download_from_a_gated_repo_with_hf_hub_download
        test_hf_api.py::TestAccessRequestAPI=2 test_hf_api.py::TestHfApiAuthCheck::test_auth_check_gated_repo
        test_hf_api.py::TestHfApiEndpoints::test_update_repo_settings""",
    "squash a history": """
        test_commit_scheduler.py::TestCommitScheduler::test_sync_and_squash_history
        test_hf_api.py::TestSquashHistory=2""",
    "delete LFS files for good": "test_hf_api.py::TestListAndPermanentlyDeleteLFSFiles",
    "make webhooks": "test_hf_api.py::TestWebhookApi=7",
    "make a bucket": """
        test_buckets.py=35 test_buckets_cli.py=75 test_buckets_hf_file_system.py=51 test_copy_files.py=14
        test_xet_upload.py::TestBucketXetUploadSkipSha256""",
    "make or read kernels": "test_kernels.py=11",
    "sign a user of the real Hub in on its own pages": "test_oauth.py::test_oauth_workflow",
    "read what huggingface.co has": """
        test_cli.py::TestInferenceEndpointsCommands::test_list_catalog test_hf_api.py::TestHfApiInferenceCatalog
        test_inference_async_client.py test_inference_client.py=10 test_inference_providers.py
        test_utils_http.py::test_async_client_get_request test_utils_http.py::test_client_get_request
        test_utils_pagination.py""",
    "read what huggingface.co has, and are marked so": f"{PRODUCTION}=197",
}
# They fail against 501 for reasons that are no matter of a hub: only the survey meets them.
OWN_REASONS = {
    "test_auth.py::TestGetTokenAutoRefresh": "state that upstream's conftest resets",
    "test_inference_providers.py::TestHFInferenceProvider::test_check_supported_task_scenarios": "mocked",
    "test_offline_utils.py::test_offline_with_timeout": "an address that is not loopback",
    "test_repocard.py": "sample cards that are not in the sdist",
    "test_utils_cache.py::TestTryDeletePath": "root may do everything",
    "test_utils_http.py::TestHttpBackoff": "the survey does not wait",
    "test_utils_http.py::test_fix_hf_endpoint_in_url": "HF_ENDPOINT is set",
}
# The suite's public test accounts, as its testing_constants.py names them.
USERS = """
private_by_default = ["EnterpriseOrgPrivate"]
fullnames = { valid_org_hub = "Dummy Hub Org" }
[[users]]
name = "__DUMMY_HUB_USER__"
token = "hf_HubCITokenXXXXXXXXXXXXXXXXXXXXX"
fullname = "Dummy User"
orgs = { valid_org_hub = "admin" }
[[users]]
name = "DVUser"
token = "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"
[[users]]
name = "EnterpriseAdmin"
token = "hf_enterprise_admin_token"
orgs = { EnterpriseOrgPrivate = "admin" }
"""
CONFTEST = """
import os, socket, types
from collections.abc import Callable
import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.utils import _detect_agent, _http
from .testing_constants import ENDPOINT_PRODUCTION, ENDPOINT_STAGING, TOKEN, USER
from .testing_utils import repo_name

RepoFactory = Callable
SURVEY = "PEER_SURVEY" in os.environ
lookup = socket.getaddrinfo

def loopback(host, *args, **kwargs):
    if host in (None, "127.0.0.1", "localhost", "::1"):
        return lookup(host, *args, **kwargs)
    raise socket.gaierror(f"{host} is not on loopback")

socket.getaddrinfo = loopback

def is_production(item):
    return item.get_closest_marker("production") is not None

def pytest_collection_modifyitems(config, items):
    items[:] = [item for item in items if SURVEY or not is_production(item) or item.nodeid in config.args]
    for item in items:
        item.user_properties.append(("production", is_production(item)))

@pytest.fixture(scope="session")
def api():
    return HfApi(endpoint=ENDPOINT_STAGING, token=TOKEN)

@pytest.fixture(scope="session")
def api_prod():
    return HfApi(endpoint=ENDPOINT_PRODUCTION, token=False)

@pytest.fixture
def repo_factory():
    made = []
    def create(repo_type="model", repo_id=None, *, token=TOKEN, **options):
        owner = HfApi(endpoint=ENDPOINT_STAGING, token=token)
        made.append((owner, owner.create_repo(repo_id or repo_name(), repo_type=repo_type, **options)))
        return made[-1][1]
    yield create
    for owner, url in made:
        owner.delete_repo(url.repo_id, repo_type=url.repo_type, missing_ok=True)

@pytest.fixture
def new_repo_id(api):
    repo_id = f"{USER}/{repo_name()}"
    yield repo_id
    api.delete_repo(repo_id, missing_ok=True)

@pytest.fixture(autouse=True)
def isolation(request, monkeypatch, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))
    monkeypatch.setattr(_detect_agent, "_registry", {"standardEnvVars": [], "harnesses": {}})
    if is_production(request.node):
        template = ENDPOINT_PRODUCTION + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", ENDPOINT_PRODUCTION)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    if SURVEY:  # much is out of reach: do not wait between the attempts
        monkeypatch.setattr(_http, "time", types.SimpleNamespace(sleep=lambda seconds: None))
    for mark in ("git_lfs", "xet" if constants.HF_HUB_DISABLE_XET else "no_xet"):
        if request.node.get_closest_marker(mark):
            pytest.skip(f"marked {mark}")
"""
INI = """[pytest]
addopts = --strict-markers
asyncio_default_fixture_loop_scope = function
filterwarnings = error::FutureWarning
markers = api\n transfer\n inference\n xet\n no_xet\n production\n deprecated\n git_lfs\n vcr
"""
# Stands for a sample card that is not in the sdist: it has what the tests say of it.
SAMPLE = """---
language: [en]
license: mit
library_name: pytorch-lightning
tags: [pytorch, image-classification]
datasets: [beans]
metrics: [acc]
---
# my-cool-model
"""


@dataclass(frozen=True)
class Result:
    """What became of one test: `passed`, `failed` or `skipped`, why, and whether it is marked `production`."""

    outcome: str
    message: str
    is_production: bool


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer_suite", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--mode", choices=("xet", "lfs", "both"), default="both")
    parser.add_argument("--only-listed", action="store_true", help="the classes that matter most to who publishes")
    parser.add_argument("-k", metavar="EXPR", help="handed to pytest")
    parser.add_argument("--sdist", type=Path, metavar="FILE", help="huggingface_hub-X.tar.gz, instead of pip's")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="an empty or new folder to work in and to leave")
    parser.add_argument("--survey", action="store_true", help="run every test against 501 and check the tables")
    args = parser.parse_args()
    if args.keep and args.keep.exists() and any(args.keep.iterdir()):
        parser.error(f"{args.keep} is not empty")
    with tempfile.TemporaryDirectory(prefix="peer-suite-") as scratch:
        work = (args.keep or Path(scratch)).resolve()
        python = _environment(work / "venv")
        sdist = args.sdist or _fetch(python, work)
        if args.survey:
            return survey(python, sdist, work / "survey")
        tests = _names(LISTED) + ([] if args.only_listed else _names(OTHERS))
        modes = ("xet", "lfs") if args.mode == "both" else (args.mode,)
        return run(python, sdist, work, modes, tests, ["-k", args.k] if args.k else [])


def run(python: Path, sdist: Path, work: Path, modes: tuple[str, ...], tests: list[str], options: list[str]) -> int:
    """Run the selection in all modes at once and print the figures; 1 when a test failed or the Hub met a bug."""
    total: Counter[str] = Counter()
    # What selected files and classes hold beside; naming the rest to pytest would only slow it down.
    for name in (*SILENT.split(), *(name for places in EXCLUDED.values() for name in _counts(places))):
        options = [*options, f"--deselect=tests/{name}"] if any(name.startswith(f"{t}::") for t in tests) else options
    arguments = [f"tests/{name}" for name in tests] + options
    with ThreadPoolExecutor(len(modes)) as pool:  # each has a Hub, a folder and processes of its own
        measured = pool.map(lambda mode: _mode(python, sdist, work / mode, mode, arguments), modes)
    for mode, (results, bugs, seconds) in zip(modes, measured, strict=True):
        count = Counter(result.outcome for result in results.values())
        count["bugs"] = bugs.total()
        total += count
        print(f"{mode}: {count['passed']} passed, {count['failed']} failed, in {seconds:.0f} s")
        for reason, n in Counter(r.message for r in results.values() if r.outcome == "skipped").items():
            print(f"  {n} skipped: {reason}")
        for name, result in results.items():
            if result.outcome == "failed":
                print(f"  failed: {name}: {result.message}")
        for bug, n in bugs.items():
            print(f"  the Hub's log, {n} times: {bug[:300]}")
    print("not run, because they")
    for reason, places in EXCLUDED.items():
        names = sorted({name.partition("::")[0] for name in _counts(places)})
        print(f"  {reason}: {sum(_counts(places).values())} ({', '.join(names)})")
    excluded = sum(sum(_counts(places).values()) for places in EXCLUDED.values())
    print(f"peer suite: {total['passed']} passed, {total['failed']} failed, {excluded} excluded")
    return 1 if total["failed"] or total["bugs"] or not total["passed"] else 0


def _mode(
    python: Path, sdist: Path, folder: Path, mode: str, arguments: list[str]
) -> tuple[dict[str, Result], Counter[str], float]:
    """What became of the tests in one mode, the last lines of the tracebacks in the Hub's log, and the seconds."""
    start = time.perf_counter()
    with _hub(folder) as endpoint:
        results = _pytest(python, _unpack(sdist, folder, endpoint), endpoint, mode, arguments)
    log = (folder / "hub.log").read_text(encoding="utf-8")
    bugs = Counter(re.findall(r"(?m)^Traceback \(most recent call last\):\n(?:\s.*\n)+(.+)", log))
    return results, bugs, time.perf_counter() - start


def survey(python: Path, sdist: Path, folder: Path) -> int:
    """Run every test against 501 and compare what fails with the tables; 1 when they differ."""
    with _refusing() as endpoint:
        ignored = "--ignore=tests/test_generate_cli_reference.py"  # imports a script that is not in the sdist
        root = _unpack(sdist, folder, endpoint)
        results = _pytest(python, root, endpoint, "xet", ["tests", ignored], PEER_SURVEY="1")
    selected = _names(LISTED) + _names(OTHERS)
    expected = Counter({name: n for places in EXCLUDED.values() for name, n in _counts(places).items()})
    found: Counter[str] = Counter()
    problems = []
    for name, result in results.items():
        places = [place for place in (*selected, *expected, *OWN_REASONS, *SILENT.split()) if name.startswith(place)]
        place = max(places, key=len, default="")
        if result.is_production and place != name:
            place = PRODUCTION
        if result.outcome == "failed" and place in expected:
            found[place] += 1
        elif result.outcome == "failed" and place not in (*selected, *OWN_REASONS):
            problems.append(f"needs a hub, and is in no table: {name}: {result.message}")
        elif result.outcome != "failed" and place in selected:
            problems.append(f"is selected, and says nothing about a hub: {name}")
    problems += [f"{found[name]} failed in {name}, not {n}" for name, n in expected.items() if found[name] != n]
    print(*problems, f"survey: {len(results)} tests, {len(problems)} differences from the tables", sep="\n")
    return 1 if problems else 0


def _names(part: Mapping[str, str]) -> list[str]:
    return [f"{file}::{name}".removesuffix("::") for file, names in part.items() for name in names.split() or ("",)]


def _counts(places: str) -> dict[str, int]:
    return {name: int(count or 1) for name, _, count in (place.partition("=") for place in places.split())}


def _environment(home: Path) -> Path:
    """The interpreter of a new environment that falls back on the packages of this one, so that versions agree."""
    venv.create(home, with_pip=True)
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    purelib = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(purelib, "fallback.pth").write_text("\n".join(sorted(paths)), encoding="utf-8")
    _pip(python, "install", "-c", str(ROOT / "constraints.txt"), *NEEDS)
    return python


def _fetch(python: Path, work: Path) -> Path:
    """The sdist of the huggingface_hub that is installed here."""
    wanted = f"huggingface_hub=={version('huggingface_hub')}"
    _pip(python, "download", "--no-deps", "--no-binary", "huggingface_hub", "--dest", str(work), wanted)
    return next(work.glob("huggingface_hub-*.tar.gz"))


def _pip(python: Path, *args: str) -> None:
    subprocess.run([str(python), "-m", "pip", "--disable-pip-version-check", "-q", *args], check=True)


def _unpack(sdist: Path, folder: Path, endpoint: str) -> Path:
    """The folder that holds `tests/`, completed and pointed at a server."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    root = next(folder.glob("huggingface_hub-*"))
    cards = root / "tests" / "fixtures" / "cards"
    cards.mkdir(parents=True)
    (cards / "sample_simple.md").write_text(SAMPLE, encoding="utf-8")
    (root / "tests" / "__init__.py").touch()
    (root / "tests" / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (root / "pytest.ini").write_text(INI, encoding="utf-8")
    # In other files the staging Hub's address is an example that is given to pure functions.
    for name in ("testing_constants", "test_hf_api", "test_kernels", "test_oauth", "test_xet_upload"):
        text = (root / "tests" / f"{name}.py").read_text(encoding="utf-8")
        text = text.replace("https://hub-ci.huggingface.co", endpoint)
        (root / "tests" / f"{name}.py").write_text(text, encoding="utf-8")
    return root


def _pytest(python: Path, root: Path, endpoint: str, mode: str, args: list[str], **extra: str) -> dict[str, Result]:
    """Run pytest with the environment of a user of that endpoint, and read its report."""
    foreign = re.compile(r"(?i)HF_|HUGGING|TRANSFORMERS_|PYTEST_|PYTHONPATH|\w+_PROXY$")
    env = {key: value for key, value in os.environ.items() if not foreign.match(key)}
    env |= {"HF_ENDPOINT": endpoint, "HUGGINGFACE_CO_STAGING": "0", "HF_TOKEN": "", "NO_COLOR": "1", **extra}
    env |= {"HF_HOME": str(root / "home"), "HF_XET_CACHE": str(root / "xet"), "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    env |= {"HF_HUB_DISABLE_XET": "1"} if mode == "lfs" else {}
    report, log = root.parent / "report.xml", root.parent / "pytest.log"
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short", f"--junitxml={report}", *args]
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(command, cwd=root, env=env, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode not in (0, 1, 5):  # 5: -k left nothing
        raise SystemExit(f"pytest did not run to its end:\n{log.read_text(encoding='utf-8')[-3000:]}")
    results = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest has just written it
        _, module, *classes = case.get("classname", "").split(".")
        parts = {part.tag: part.get("message") or "" for part in case}
        error = parts.get("failure", parts.get("error"))
        outcome = "failed" if error is not None else "skipped" if "skipped" in parts else "passed"
        is_production = any(p.get("name") == "production" and p.get("value") == "True" for p in case.iter("property"))
        message = " ".join((error or parts.get("skipped", "")).split())[:300]
        results["::".join([f"{module}.py", *classes, case.get("name", "")])] = Result(outcome, message, is_production)
    return results


@contextmanager
def _hub(folder: Path) -> Iterator[str]:
    """The address of an embedded Hub in a process of its own, started as people start it."""
    folder.mkdir(parents=True)
    users, log = folder / "users.toml", folder / "hub.log"
    users.write_text(USERS, encoding="utf-8")
    command = [sys.executable, "-m", "hubpush.cli", "hub", "serve", str(folder / "hub"), "--port", "0", "--users"]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with log.open("w", encoding="utf-8") as output:
        hub = subprocess.Popen([*command, str(users)], cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        while not (found := re.search(r"HF_ENDPOINT=(http://[\w.:]+)", log.read_text(encoding="utf-8"))):
            if hub.poll() is not None:
                raise SystemExit(f"the embedded Hub did not start:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.1)
        yield found[1]
    finally:
        hub.terminate()
        hub.wait()


@contextmanager
def _refusing() -> Iterator[str]:
    """The address of a server that answers 501 to everything."""

    class Refusal(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            self.close_connection = True
            if self.raw_requestline and self.parse_request():
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(501)
                self.send_header("Content-Length", "0")
                self.end_headers()
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


if __name__ == "__main__":
    raise SystemExit(main())
