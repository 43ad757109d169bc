"""Laws of the workflows: what they may do, and what they do, script by script, against the embedded Hub."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from hubpush import __version__, localhub, starter
from hubpush.localhub import users
from hubpush.localhub.faults import Plan
from tests import CANARY, checkpoints, github
from tests.actions import PYTHON, ROOT, Run, Runner, read, triggers
from tests.github import GitHub
from tests.servers import Reply, Server, serving
from tests.workshop import edit

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
REPUBLISH = ROOT / ".github" / "workflows" / "republish.yml"
ACTION = ROOT / "action.yml"

PINS = {
    "actions/checkout": ("3d3c42e5aac5ba805825da76410c181273ba90b1", "v7.0.1"),
    "actions/setup-python": ("5fda3b95a4ea91299a34e894583c3862153e4b97", "v7.0.0"),
    "actions/upload-artifact": ("043fb46d1a93c77aae656e7c1c64a875d1fc6a0a", "v7.0.1"),
    "actions/download-artifact": ("3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c", "v8.0.1"),
    "actions/attest": ("1e69f48acb82d1966a394da916b4c1698aa569d6", "v4.2.2"),
    "pypa/gh-action-pypi-publish": ("dc37677b2e1c63e2034f94d8a5b11f265b73ba33", "v1.14.2"),
}
"""Commits of the actions and the tags that they are known by, as read from many repositories that agree on them."""

READ = {"contents": "read"}
SIGN = {"id-token": "write", "attestations": "write"}
RIGHTS: dict[tuple[str, str], Mapping[str, str]] = {
    ("republish.yml", "plan"): READ,
    ("republish.yml", "build"): READ,
    ("republish.yml", "push"): {**READ, **SIGN},
    ("republish.yml", "reproof"): READ,
    ("republish.yml", "report"): {**READ, "issues": "write", "actions": "read"},
    ("ci.yml", "lint"): READ,
    ("ci.yml", "test"): READ,
    ("ci.yml", "wheel"): READ,
    ("ci.yml", "core"): READ,
    ("ci.yml", "live"): READ,
    ("package.yml", "build"): READ,
    ("package.yml", "publish"): SIGN,
}
"""What the token of each job may do at GitHub."""
SECRETS = {("republish.yml", "push"): "hub", ("ci.yml", "live"): "live"}
"""The jobs that see a secret, and the environment that guards it."""


# What the files say --------------------------------------------------------------------------------------------------


def _jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for file in WORKFLOWS:
        for name, job in read(file)["jobs"].items():
            yield file.name, name, job


def _steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for file, name, job in _jobs():
        yield from ((f"{file} {name}", step) for step in job["steps"])
    yield from (("action.yml", step) for step in read(ACTION)["runs"]["steps"])


def test_every_job_has_the_least_rights() -> None:
    """A workflow has no rights, each of its jobs those of the table; a secret is seen in its environment alone."""
    assert {(file, name): job["permissions"] for file, name, job in _jobs()} == RIGHTS
    for file in WORKFLOWS:
        workflow = read(file)
        assert workflow["permissions"] == {}
        for name, job in workflow["jobs"].items():
            guard = SECRETS.get((file.name, name))
            assert ("secrets." in json.dumps(job)) is (guard is not None), (file.name, name)
            assert guard is None or job["environment"] == guard
        assert "secrets." not in json.dumps({**workflow, "jobs": None})


def test_no_job_runs_for_ever_and_no_run_of_a_family_is_cut() -> None:
    """Each job has a time limit, a model's failure ends no other, and runs of one family wait for each other."""
    assert not [(file, name) for file, name, job in _jobs() if not 0 < job.get("timeout-minutes", 0) < 360]
    for _, name, job in _jobs():
        if "strategy" in job:
            assert job["strategy"]["fail-fast"] is False, name
    workflow = read(REPUBLISH)
    assert all(job["strategy"]["max-parallel"] <= 4 for job in workflow["jobs"].values() if "strategy" in job)
    assert workflow["jobs"]["push"]["strategy"]["max-parallel"] == 1
    together = workflow["concurrency"]
    assert (together["cancel-in-progress"], together["queue"]) == (False, "max")
    assert all(f"inputs.{name}" in together["group"] for name in ("org", "family"))


def test_actions_are_pinned_to_known_commits() -> None:
    """Every action is one of the table, at its commit, with its tag as the comment."""
    for file in [*WORKFLOWS, ACTION]:
        for line in file.read_text(encoding="utf-8").splitlines():
            if (
                (found := re.search(r"uses: (\S+)(.*)", line))
                and not line.lstrip().startswith("#")
                and found[1] != "./"
            ):
                name, _, commit = found[1].partition("@")
                assert (commit, found[2].strip()) == (PINS[name][0], f"# {PINS[name][1]}"), line


def test_scripts_take_what_people_give_from_the_environment() -> None:
    """No script holds an expression; what is checked out keeps no credentials; nothing that publishes has a cache."""
    for where, step in _steps():
        assert "${{" not in step.get("run", ""), where
        action = step.get("uses", "").partition("@")[0]
        if action == "actions/checkout":
            assert step["with"]["persist-credentials"] is False, where
        assert "cache" not in json.dumps(step.get("with", {})), where
        assert action != "actions/cache", where


def test_the_schedule_is_at_an_odd_minute_once_a_week() -> None:
    """Schedules of full hours come late: ours are at other minutes, once a week, and each at another time."""
    when = [one["cron"] for file in WORKFLOWS for one in read(file)["on"].get("schedule", [])]
    assert len(set(when)) == len(when) == 2
    for line in when:
        minute, hour, day, month, weekday = line.split()
        assert int(minute) % 2 == 1
        assert (day, month) == ("*", "*")
        assert 0 <= int(hour) < 24
        assert 0 <= int(weekday) < 7


def test_the_reusable_workflow_installs_this_version() -> None:
    """The requirement that callers get by default is this checkout's version, and so is the tag that its head names."""
    default = triggers(read(REPUBLISH))["workflow_call"]["inputs"]["hubpush"]["default"]
    assert default == f"hubpush=={__version__}"
    assert f"republish.yml@v{__version__}`" in REPUBLISH.read_text(encoding="utf-8")


def test_the_starter_may_call_it(tmp_path: Path) -> None:
    """What `hubpush init` writes grants exactly what the jobs that it calls ask for, and gives inputs they have."""
    starter.write(tmp_path, "acme")
    (call,) = read(tmp_path / ".github" / "workflows" / "republish.yml")["jobs"].values()
    called = read(REPUBLISH)
    asked = {right for job in called["jobs"].values() for right in job["permissions"].items()}
    assert asked == set(call["permissions"].items())
    trigger = triggers(called)["workflow_call"]
    assert call["with"].keys() <= trigger["inputs"].keys()
    assert {name for name, one in trigger["inputs"].items() if one.get("required")} <= call["with"].keys()
    assert call["secrets"].keys() == trigger["secrets"].keys()


def test_a_run_by_hand_can_say_what_a_caller_can() -> None:
    """Inputs of both triggers are the same but for what is about a calling repository."""
    by_hand, called = (triggers(read(REPUBLISH))[name]["inputs"] for name in ("workflow_dispatch", "workflow_call"))
    assert called.keys() - by_hand.keys() == {"attest", "hubpush", "constraints"}
    for name, one in by_hand.items():
        assert (one["type"], one["description"].partition(";")[0]) == (
            called[name]["type"],
            called[name]["description"].partition(";")[0],
        )


def test_ci_runs_tests_that_exist() -> None:
    """The tests of the core that ci.yml names are there, and each supported Python is tested."""
    jobs = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]
    named = re.findall(r"tests/\w+\.py", json.dumps(jobs["core"]))
    assert named
    assert not [path for path in named if not (ROOT / path).is_file()]
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">={jobs["test"]["strategy"]["matrix"]["python"][0]}"' in text


@pytest.mark.parametrize("tool", ["zizmor", "actionlint", "shellcheck"])
def test_the_linters_are_clean(tool: str, tmp_path: Path) -> None:
    """Zizmor as its strictest persona, actionlint and shellcheck say nothing of any workflow, action or script."""
    commands = {
        "zizmor": [*("--offline", "--persona", "auditor", "--no-config"), *map(str, [*WORKFLOWS, ACTION])],
        "actionlint": ["-shellcheck", str(PYTHON.parent / "shellcheck"), *map(str, WORKFLOWS)],
        "shellcheck": ["--shell=bash"],
    }
    scripts = [step["run"] for where, step in _steps() if where == "action.yml" and "run" in step]
    for n, script in enumerate(scripts if tool == "shellcheck" else []):
        (tmp_path / f"{n}.sh").write_text(script)
        commands[tool].append(str(tmp_path / f"{n}.sh"))
    done = subprocess.run(
        [str(PYTHON.parent / tool), *commands[tool]], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_finding_is_ignored_without_a_reason() -> None:
    """What a linter is told to overlook says why, and nothing is overlooked in a whole file."""
    files = [*WORKFLOWS, ACTION, *(ROOT / "hubpush" / "starter_files").iterdir()]
    marks = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if "ignore[" in line]
    assert len(marks) == 2
    assert all(re.search(r"zizmor: ignore\[[\w-]+\] \w+ \w+", line) for line in marks)
    assert not list(ROOT.glob(".github/*zizmor*")) + list(ROOT.glob("*zizmor*"))


# What they do --------------------------------------------------------------------------------------------------------

HEAD = """format = 1
name = "tinies"
title = "Tinies"
summary = "Small models for tests."
templates = "templates"

[defaults]
license = "apache-2.0"
language = ["en"]
cased = false
"""
NAMES = ("tiny-a", "tiny-b", "tiny-c")

NEWER = '''
"""A newer library, which keeps accents and capitals."""
import importlib.abc
import importlib.util
import sys


class Newer(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "transformers.models.auto.tokenization_auto":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            load = module.AutoTokenizer.from_pretrained

            def from_pretrained(*args, **options):
                from tokenizers.normalizers import BertNormalizer

                found = load(*args, **options)
                found.backend_tokenizer.normalizer = BertNormalizer(lowercase=False)
                return found

            module.AutoTokenizer.from_pretrained = from_pretrained

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Newer())
'''


def _robot() -> users.Users:
    """Who may do what on the Hub: the token writes in acme, and nobody else does."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "users.toml")
        file.write_text(f'[[users]]\nname = "robot"\ntoken = "{CANARY}"\norgs = {{ acme = "write" }}\n')
        return users.read(file)


@dataclass
class House:
    """A repository with a family of three models, the servers of their archives, a Hub, and GitHub.

    Attributes:
        root: Where it lies.
        origin: What serves the archives.
        github: Where its issues are.
        machine: More of the environment.
        secrets: Secrets of the repository.
        oidc: Who gives identities.
    """

    root: Path
    origin: Server
    github: GitHub
    machine: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=lambda: {"HF_TOKEN": CANARY})
    oidc: str = ""
    plan: Plan = field(default_factory=Plan)

    @property
    def repository(self) -> Path:
        return self.root / "repository"

    @property
    def family(self) -> Path:
        return self.repository / "family.toml"

    @contextmanager
    def hub(self) -> Iterator[str]:
        """The Hub, where one robot may write, and others read."""
        with localhub.serve(self.root / "hub", users=_robot(), plan=self.plan) as url:
            yield url

    def runner(self, url: str, replaced: tuple[str, ...] = ("pip install",)) -> Runner:
        """What runs workflows for this repository."""
        machine = {
            "HF_ENDPOINT": url,
            "NO_PROXY": "127.0.0.1",
            "HF_HUB_DISABLE_XET": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **self.github.environ(),
        }
        token = machine.pop("GITHUB_TOKEN")
        return Runner(
            self.root / "runs",
            self.repository,
            machine | self.machine,
            self.secrets,
            token=token,
            oidc=self.oidc,
            replaced=replaced,
        )

    def run(self, replaced: tuple[str, ...] = ("pip install",), **inputs: Any) -> Run:
        """A run of the reusable workflow, as the repository calls it."""
        given = {"org": "acme", "family": "family.toml", "shards": "1", **inputs}
        with self.hub() as url:
            return self.runner(url, replaced).run(REPUBLISH, "workflow_call", given)

    def versions(self) -> dict[str, list[str]]:
        """Tags of each repo."""
        with self.hub() as url:
            api = HfApi(endpoint=url, token=CANARY)
            return {
                one.id.partition("/")[2]: sorted(tag.name for tag in api.list_repo_refs(one.id).tags)
                for one in api.list_models()
            }

    def commits(self) -> dict[str, int]:
        """How many commits each repo has."""
        with self.hub() as url:
            api = HfApi(endpoint=url, token=CANARY)
            return {one.id: len(api.list_repo_commits(one.id)) for one in api.list_models()}

    def republish(self, name: str, seed: int) -> None:
        """Another archive at the address of a model."""
        reply = Reply(_archive(self.root / "new", name, seed), etag=f'"{name}-{seed}"')
        self.origin.replies[f"/{name}.zip"] = [reply]


def _archive(folder: Path, name: str, seed: int) -> bytes:
    heads = checkpoints.HEADS if name == "tiny-a" else ("pooler",)
    config = {**checkpoints.TINY, "num_hidden_layers": 1}
    checkpoints.write_release(folder / name, config=config, heads=heads, seed=seed)
    packed = checkpoints.zip_release(folder / name, folder / f"{name}.zip").read_bytes()
    shutil.rmtree(folder)
    return packed


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Three archives."""
    folder = tmp_path_factory.mktemp("archives")
    return {name: _archive(folder / "new", name, seed) for seed, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def origin() -> Iterator[Server]:
    """The server that all of this module's archives come from: their addresses are in the manifests."""
    with serving() as server:
        yield server


def _reset(origin: Server, archives: Mapping[str, bytes]) -> None:
    for name, body in archives.items():
        origin.serve(f"/{name}.zip", Reply(body, etag=f'"{name}"'))


def _house(root: Path, origin: Server, server: GitHub) -> House:
    """An unpublished family in a repository that `hubpush init` wrote."""
    house = House(root, origin, server)
    starter.write(house.repository, "acme")
    releases = "".join(
        f'\n[[releases]]\nname = "{name}"\ntitle = "{name}"\nsource = "{origin.url}/{name}.zip"\n' for name in NAMES
    )
    house.family.write_text(HEAD + releases)
    return house


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory, origin: Server, archives: Mapping[str, bytes]
) -> Iterator[tuple[House, Run]]:
    """The family, published by the workflow, proven; and that run."""
    _reset(origin, archives)
    with github.serve() as server:
        house = _house(tmp_path_factory.mktemp("first"), origin, server)
        yield house, house.run()


@pytest.fixture
def house(tmp_path: Path, first: tuple[House, Run], archives: Mapping[str, bytes]) -> Iterator[House]:
    """A copy of the published family."""
    _reset(first[0].origin, archives)
    shutil.copytree(first[0].root, tmp_path / "house", ignore=shutil.ignore_patterns("runs"))
    with github.serve() as server:
        yield House(tmp_path / "house", first[0].origin, server)


def _results(run: Run, job: str) -> list[dict[str, Any]]:
    """The rows of what a job printed as JSON."""
    rows = []
    for ran in run.jobs[job].ran:
        for path in ran.workspace.glob("*-[0-9]*.json"):
            rows += json.loads(path.read_text())["versions" if job == "reproof" else "releases"]
    return rows


def test_the_first_run_publishes_everything_proven(first: tuple[House, Run]) -> None:
    """All are built, attested and pushed; parity passed; the family has one page with a note for each."""
    house, run = first
    done = {"plan": "success", "build": "success", "push": "success", "reproof": "skipped", "report": "success"}
    assert run.results == done, run.told()
    assert {row["parity"]["verdict"] for row in _results(run, "push")} == {"pass"}
    assert house.versions() == {name: ["v1.0.0"] for name in NAMES}
    assert len(set(run.attested)) == 6  # the weights and the manifest of each
    with house.hub() as url:
        (page,) = HfApi(endpoint=url, token=CANARY).list_collections(owner="acme")
        page = HfApi(endpoint=url, token=CANARY).get_collection(page.slug)
        assert [item.item_id for item in page.items] == [f"acme/{name}" for name in NAMES]
        assert all("v1.0.0" in (item.note or "") for item in page.items)


def test_one_step_alone_has_the_token(first: tuple[House, Run]) -> None:
    """The token is in the environment of the script that pushes alone; the weights that all can get are attested."""
    house, run = first
    holders = {(job, step.name) for job, step in run.steps() if CANARY in "".join(step.environment.values())}
    assert holders == {("push", "Push exactly that")}
    with house.hub() as url:
        api = HfApi(endpoint=url, token=False)
        served = {
            file.lfs.sha256
            for name in NAMES
            for file in api.list_repo_tree(f"acme/{name}")
            if getattr(file, "lfs", None) is not None
        }
    assert served <= set(run.attested)


QUIET = ("pip install", "hubpush verify")
"""What does not run where a re-proof is not what is asked about: it loads a library of many megabytes."""


def _title(house: House, text: str) -> None:
    """A change of the cards: another sentence in the section that the repository has of its own."""
    section = house.repository / "templates" / "sections" / "limits.md.jinja"
    edit(section, "Published by acme.", text)


def _without_parity(house: House, bin_folder: Path) -> None:
    """What is built in this test is not proven, which is what takes long."""
    script = f"""#!/bin/sh
        case "$*" in
            convert-and-upload*--plan*) shift; exec {PYTHON.parent}/hubpush convert-and-upload --no-parity "$@" ;;
            *) exec {PYTHON.parent}/hubpush "$@" ;;
        esac
    """
    bin_folder.mkdir()
    (bin_folder / "hubpush").write_text(script)
    (bin_folder / "hubpush").chmod(0o755)
    house.machine["PATH"] = f"{bin_folder}:{PYTHON.parent}:/usr/bin:/bin"


def test_nothing_runs_without_an_owner(tmp_path: Path, origin: Server) -> None:
    """In a fork, where the variable with the owner is missing, the schedule skips every job, the report too."""
    runner = _house(tmp_path / "fork", origin, GitHub("http://127.0.0.1:9")).runner("http://127.0.0.1:9")
    run = runner.run(REPUBLISH, "schedule")
    assert set(run.results.values()) == {"skipped"}
    assert not list(run.steps())


def test_an_empty_plan_runs_nothing_and_is_fine(house: House) -> None:
    """Where nothing changed no job builds or pushes, no source is downloaded, and the run is green."""
    house.origin.forget()
    run = house.run(QUIET)
    wanted = {"plan": "success", "build": "skipped", "push": "skipped", "reproof": "success", "report": "success"}
    assert run.results == wanted, run.told()
    assert sum(house.origin.sent()) == 0
    assert house.versions() == {name: ["v1.0.0"] for name in NAMES}


def test_two_schedules_at_once_make_one_release(house: House) -> None:
    """Two runs plan and build the same and push at the same moment: one new version of each, and both are green."""
    _title(house, "Published by acme, twice.")
    commits = house.commits()
    both = threading.Barrier(2)
    with house.hub() as url:
        runners = [replace(house.runner(url, QUIET), root=house.root / "runs" / str(n)) for n in range(2)]
        for runner in runners:
            runner.before = lambda job: both.wait(120) if job in ("build", "push") else None
        with ThreadPoolExecutor(2) as threads:
            given = {"org": "acme", "family": "family.toml", "shards": "1"}
            runs = list(threads.map(lambda one: one.run(REPUBLISH, "workflow_call", given), runners))
    for run in runs:
        assert set(run.results.values()) == {"success"}, run.told()
    rows = [row for run in runs for row in _results(run, "push")]
    assert {(row["status"], row["version"]) for row in rows} <= {("published", "1.0.1"), ("unchanged", "1.0.1")}
    assert len(rows) == 6
    assert house.versions() == {name: ["v1.0.0", "v1.0.1"] for name in NAMES}
    assert house.commits() == {repo: count + 1 for repo, count in commits.items()}


@pytest.mark.parametrize(
    ("file", "old", "new", "pushed"),
    [
        ("plan.json", '"repo_id": "acme/tiny-b"', '"repo_id": "acme/other"', set()),
        ("work/releases/acme--tiny-a/README.md", "by acme, untouched", "by acme, touched", {"tiny-b", "tiny-c"}),
    ],
)
def test_what_a_job_left_in_an_artifact_is_not_trusted(
    house: House, file: str, old: str, new: str, pushed: set[str]
) -> None:
    """A plan for a repo that is not the shard's, and bytes that are not the plan's, are refused by the push."""
    _title(house, "Published by acme, untouched.")

    def tamper(job: str) -> None:
        if job == "push":
            edit(next((house.root / "runs").rglob("artifacts/release-0")) / file, old, new)

    with house.hub() as url:
        runner = replace(house.runner(url, QUIET), before=tamper)
        run = runner.run(REPUBLISH, "workflow_call", {"org": "acme", "family": "family.toml", "shards": "1"})
    assert run.results["push"] == "failure", run.told()
    assert {name for name, tags in house.versions().items() if "v1.0.1" in tags} == pushed
    assert "other" not in house.versions()


# Week after week -----------------------------------------------------------------------------------------------------


def _newer_library(house: House) -> None:
    """From now on a library that tokenizes otherwise is installed."""
    folder = house.root / "newer"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(NEWER)
    house.machine["PYTHONPATH"] = str(folder)


def _verdicts(run: Run) -> dict[str, set[str]]:
    """What the re-proof said of the versions of each model."""
    found: dict[str, set[str]] = {}
    for row in _results(run, "reproof"):
        found.setdefault(row["name"], set()).add(f"{row['version']} {row['verdict']}")
    return found


@pytest.mark.long
def test_the_walk(house: House) -> None:
    """A family through its weeks: nothing to do, a source that changed, its pin, a template, a limit, a new library.

    The first publication is the fixture's.
    """
    one, two, three = NAMES
    # The second run finds nothing.
    run = house.run(QUIET)
    assert run.results["build"] == run.results["push"] == "skipped", run.told()
    assert not house.github.issues

    # An archive changed: that model fails closed in its shard, another is published, and an issue says why.
    house.republish(two, seed=7)
    edit(house.family, f'title = "{one}"', f'title = "{one}, the first"')
    run = house.run(QUIET, shards="2")
    assert run.results == {
        "plan": "success", "build": "failure", "push": "success", "reproof": "success", "report": "success",
    }, run.told()  # fmt: skip
    assert len(run.jobs["build"].ran) == len(run.jobs["push"].ran) == 2
    assert house.versions() == {one: ["v1.0.0", "v1.0.1"], two: ["v1.0.0"], three: ["v1.0.0"]}
    (failed,) = (row for row in _results(run, "build") if row["status"] == "failed")
    assert (failed["name"], "hubpush pin" in failed["error"]["hint"]) == (two, True)
    (issue,) = house.github.opened()
    assert "hubpush pin" in issue["body"]
    assert f"acme/{two}" in issue["body"]
    assert f"acme/{one}" not in issue["body"]

    # Somebody accepts it: a major version, proven, and the issue is closed.
    pin = [PYTHON.parent / "hubpush", "pin", two, "--family", "family.toml", "--work", house.root / "pins"]
    subprocess.run(pin, check=True, cwd=house.repository, capture_output=True)
    run = house.run(QUIET)
    assert set(run.results.values()) == {"success"}, run.told()
    (row,) = _results(run, "push")
    assert (row["name"], row["version"], row["bump"], row["parity"]["verdict"]) == (two, "2.0.0", "major", "pass")
    assert not house.github.opened()

    # A sentence in a template: a patch on all.
    _title(house, "Published by acme, in other words.")
    run = house.run(QUIET)
    assert set(run.results.values()) == {"success"}, run.told()
    assert {row["name"]: (row["bump"], row["version"]) for row in _results(run, "push")} == {
        one: ("patch", "1.0.2"), two: ("patch", "2.0.1"), three: ("patch", "1.0.1"),
    }  # fmt: skip

    # Another that would rewrite everything meets a limit: nothing is built, and an issue is open until it is lifted.
    edit(house.repository / "templates" / "sections" / "limits.md.jinja", "in other words", "in the first words")
    before = house.commits()
    run = house.run(QUIET, **{"max-changes": "2"})
    assert run.results == {
        "plan": "failure", "build": "skipped", "push": "skipped", "reproof": "success", "report": "success",
    }, run.told()  # fmt: skip
    assert "3 repos would change, and --max-changes is 2" in run.jobs["plan"].ran[0].step("List what changed").out
    assert house.commits() == before
    assert len(house.github.opened()) == 1

    # Taken back; and a library that tokenizes otherwise comes out: every version of every model is reported.
    edit(house.repository / "templates" / "sections" / "limits.md.jinja", "in the first words", "in other words")
    _newer_library(house)
    run = house.run()
    assert run.results["reproof"] == "failure", run.told()
    assert run.results["report"] == "success", run.told()
    assert _verdicts(run) == {
        one: {"1.0.0 different", "1.0.1 different", "1.0.2 different"},
        two: {"1.0.0 different", "2.0.0 different", "2.0.1 different"},
        three: {"1.0.0 different", "1.0.1 different"},
    }
    (issue,) = house.github.opened()
    assert "transformers" in issue["body"]
    assert "tokeni" in issue["body"]

    # It is mended: every version is what was recorded, and the issue is closed.
    del house.machine["PYTHONPATH"]
    run = house.run()
    assert set(run.results.values()) == {"success", "skipped"}, run.told()
    assert {found.partition(" ")[2] for name in NAMES for found in _verdicts(run)[name]} == {"same"}
    assert not house.github.opened()


# Without a token -----------------------------------------------------------------------------------------------------


@contextmanager
def _identities() -> Iterator[tuple[str, list[str]]]:
    """GitHub's server of identities, and for whom it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers.get("Authorization") == "Bearer made-up"
            asked.append(self.path)
            self.send_response(200 if allowed else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"value": "aaa.bbb.ccc"} if allowed else {}).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_keyless_run_publishes_without_any_secret(house: House, tmp_path: Path) -> None:
    """With `keyless` each repo gets a token of its own from the job's identity; a repo that is not there is refused."""
    _title(house, "Published by acme, keyless.")
    family = house.family.read_text(encoding="utf-8")
    house.secrets = {}
    with _identities() as (house.oidc, asked):
        run = house.run(QUIET, keyless=True)
        assert set(run.results.values()) == {"success"}, run.told()
        assert asked
        assert all("audience=" in path for path in asked)
        assert house.versions() == {name: ["v1.0.0", "v1.0.1"] for name in NAMES}
        # A model that has no repo yet.
        _without_parity(house, tmp_path / "bin")
        house.family.write_text(
            family + f'\n[[releases]]\nname = "new"\ntitle = "N"\nsource = "{house.origin.url}/tiny-a.zip"\n'
        )
        run = house.run(QUIET, keyless=True, models="new")
    assert (run.results["build"], run.results["push"]) == ("success", "failure"), run.told()
    (row,) = _results(run, "push")
    assert "trusted publishers" in row["error"]["hint"]
    assert not [step for _, step in run.steps() if step.environment.get("HF_TOKEN")]


def test_without_token_and_identity_nothing_is_pushed(house: House) -> None:
    """A repository without the secret: what was built is refused by the Hub, the job is red and nothing changed."""
    _title(house, "Published by nobody.")
    house.secrets = {}
    run = house.run(QUIET)
    assert run.results["push"] == "failure"
    assert house.versions() == {name: ["v1.0.0"] for name in NAMES}


# Installed for real --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a checkout of this project holds for pip."""
    folder = tmp_path_factory.mktemp("project") / "hubpush"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt", "action.yml"):
        shutil.copy(ROOT / name, folder)
    for name in ("hubpush", "templates"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _offline() -> dict[str, str]:
    """Pip finds every dependency where these tests run, and asks no index."""
    return {
        "PYTHONPATH": sysconfig.get_paths()["purelib"],
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # as a variable pip reads it the other way round: there is no isolation
    }


@pytest.mark.long
def test_the_schedule_installs_itself_and_publishes(house: House, project: Path, tmp_path: Path) -> None:
    """In this project's own repository, by hand: every script runs as it is written, those with pip too."""
    _title(house, "Published by acme, as installed.")
    shutil.copytree(project, tmp_path / "both")
    shutil.copytree(house.repository, tmp_path / "both" / "models")
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    house.machine = {**_offline(), "PATH": f"{tmp_path / 'venv' / 'bin'}:/usr/bin:/bin"}
    with house.hub() as url:
        runner = replace(house.runner(url, ("hubpush verify",)), checkout=tmp_path / "both")
        run = runner.run(REPUBLISH, "workflow_dispatch", {"org": "acme", "family": "models/family.toml", "shards": "1"})
    assert set(run.results.values()) == {"success"}, run.told()
    assert all(
        "Successfully installed hubpush" in step.out for _, step in run.steps() if step.name == "Install hubpush"
    )
    assert {row["version"] for row in _results(run, "push")} == {"1.0.1"}


def test_the_action_does_it_in_one_job(house: House, project: Path) -> None:
    """`uses: hubpush/hubpush` installs itself, publishes the models that are named, and writes a summary."""
    _title(house, "Published by acme, in one job.")
    house.machine = _offline()
    given = {"org": "acme", "family": "family.toml", "models": "tiny-a *-b", "args": "--no-parity --no-collection"}
    with house.hub() as url:
        ran, outputs = house.runner(url, ()).action(project / "action.yml", given, {"HF_TOKEN": CANARY})
    assert ran.result == "success", ran.out
    rows = json.loads(Path(outputs["result"]).read_text())["releases"]
    assert [(row["name"], row["version"]) for row in rows] == [("tiny-a", "1.0.1"), ("tiny-b", "1.0.1")]
    assert "tiny-a" in ran.step("Report").summary
    assert house.versions()["tiny-c"] == ["v1.0.0"]
