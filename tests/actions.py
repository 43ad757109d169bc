"""A small runner of GitHub Actions: jobs of a workflow file, their scripts in bash, their actions in Python.

It does what Actions does for the files of this repository, and raises `NotImplementedError` for anything else that a
file might ask for: another action, another function, a context that it does not have.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
MOST_JOBS = 256  # of one matrix
PYTHON = Path(sys.executable)


# Expressions ---------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(-?\d+(?:\.\d+)?)|([A-Za-z_][\w-]*)|(&&|\|\||==|!=|[!().,\[\]*]))")


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NotImplementedError(f"{text[at:]!r} in the expression {text!r}")
        found.append(match.group().strip())
        at = match.end()
    return found


@dataclass
class Expressions:
    """Evaluates what stands between `${{` and `}}`: https://docs.github.com/actions/reference/evaluate-expressions.

    Attributes:
        contexts: What names mean: `inputs`, `needs`, …
        functions: What can be called.
    """

    contexts: Mapping[str, Any]
    functions: Mapping[str, Callable[..., Any]]

    def value(self, text: str) -> Any:
        """The value of one expression."""
        self._left = _tokens(text)
        found = self._or()
        if self._left:
            raise NotImplementedError(f"{self._left} at the end of {text!r}")
        return found

    def filled(self, value: Any) -> Any:
        """A value of a file with its expressions evaluated; alone, an expression keeps its type."""
        if not isinstance(value, str):
            return value
        alone = re.fullmatch(r"\s*\$\{\{((?:(?!\}\}).)*)\}\}\s*", value, re.DOTALL)
        if alone is not None:
            return self.value(alone[1])
        return re.sub(r"\$\{\{(.*?)\}\}", lambda found: shown(self.value(found[1])), value, flags=re.DOTALL)

    def _take(self, *wanted: str) -> str | None:
        return self._left.pop(0) if self._left and self._left[0] in wanted else None

    def _need(self, wanted: str) -> None:
        if self._take(wanted) is None:
            raise NotImplementedError(f"{wanted!r} is missing before {self._left}")

    def _or(self) -> Any:
        found = self._and()
        while self._take("||"):
            found = self._unless(truthy(found), found, self._and)
        return found

    def _and(self) -> Any:
        found = self._equal()
        while self._take("&&"):
            found = self._unless(not truthy(found), found, self._equal)
        return found

    def _unless(self, decided: bool, found: Any, other: Callable[[], Any]) -> Any:
        """The right side is not evaluated where the left decides: it may ask for what is not there."""
        if not decided:
            return other()
        known = (self.contexts, self.functions)
        self.contexts, self.functions = _Anything(), _Anything()
        try:
            other()
        finally:
            self.contexts, self.functions = known
        return found

    def _equal(self) -> Any:
        found = self._not()
        while sign := self._take("==", "!="):
            found = equal(found, self._not()) is (sign == "==")
        return found

    def _not(self) -> Any:
        return not truthy(self._not()) if self._take("!") else self._access()

    def _access(self) -> Any:
        found = self._atom()
        while sign := self._take(".", "["):
            if sign == ".":
                found = _property(found, self._left.pop(0))
            else:
                found = _property(found, self._or())
                self._need("]")
        return found

    def _atom(self) -> Any:
        token = self._left.pop(0)
        if token == "(":
            found = self._or()
            self._need(")")
            return found
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if re.fullmatch(r"-?\d+(\.\d+)?", token):
            return float(token) if "." in token else int(token)
        if token in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[token]
        if self._take("("):
            given = []
            while not self._take(")"):
                given.append(self._or())
                self._take(",")
            if token not in self.functions:
                raise NotImplementedError(f"the function {token}")
            return self.functions[token](*given)
        if token not in self.contexts:
            raise NotImplementedError(f"the context {token}")
        return self.contexts[token]


class _Anything(dict):  # type: ignore[type-arg]
    """Contexts and functions of what is not evaluated."""

    def __contains__(self, _: object) -> bool:
        return True

    def __getitem__(self, _: object) -> Any:
        return self

    def __call__(self, *_: object) -> None:
        return None


def _property(value: Any, key: Any) -> Any:
    if isinstance(value, list):
        return value[key] if isinstance(key, int) and 0 <= key < len(value) else None
    if isinstance(value, Known):
        return value[key]
    return value.get(key) if isinstance(value, Mapping) else None


class Known(dict):  # type: ignore[type-arg]
    """A context whose names are known: another one is a mistake of the file, which Actions takes for nothing."""

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise NotImplementedError(f"nothing is called {key}; there are {', '.join(self) or 'none'}")
        return super().__getitem__(key)


def truthy(value: Any) -> bool:
    """What counts as true."""
    return not (value is None or value is False or value == "" or (value == 0 and value is not True))


def equal(one: Any, other: Any) -> bool:
    """`==`: texts whatever their case; values of different kinds as numbers."""
    if isinstance(one, str) and isinstance(other, str):
        return one.lower() == other.lower()
    if type(one) is type(other):
        return bool(one == other)
    return bool(_number(one) == _number(other))


def _number(value: Any) -> float:
    if value is None or value == "":
        return 0.0
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def shown(value: Any) -> str:
    """A value in a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise NotImplementedError(f"{value!r} in a text")


_STATUS = re.compile(r"\b(always|success|failure|cancelled)\s*\(")


# What ran ------------------------------------------------------------------------------------------------------------


@dataclass
class Step:
    """A step that ran, or did not.

    Attributes:
        name: Its name, else the action or the script.
        outcome: `success`, `failure` or `skipped`.
        out: What it wrote to stdout and stderr.
        summary: What it wrote to the step summary.
        environment: The environment of its script.
        outputs: What it said in GITHUB_OUTPUT.
    """

    name: str
    outcome: str
    out: str = ""
    summary: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Ran:
    """A job of a matrix, or a job without one.

    Attributes:
        workspace: What is left of its files.
        steps: Its steps.
        result: `success` or `failure`.
    """

    workspace: Path
    permissions: Mapping[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    result: str = "success"

    def step(self, name: str) -> Step:
        """The step of this name."""
        return next(step for step in self.steps if step.name == name)

    @property
    def out(self) -> str:
        """What its steps wrote."""
        return "".join(f"[{step.name}: {step.outcome}]\n{step.out}\n" for step in self.steps)


@dataclass
class Job:
    """What `needs` says of a job, and how each of its matrix ran."""

    result: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    ran: list[Ran] = field(default_factory=list)


@dataclass
class Run:
    """A run of a workflow.

    Attributes:
        jobs: Its jobs by their names in the file.
        attested: SHA-256 of what was attested.
    """

    jobs: dict[str, Job] = field(default_factory=dict)
    attested: list[str] = field(default_factory=list)

    @property
    def results(self) -> dict[str, str]:
        """What became of each job."""
        return {name: job.result for name, job in self.jobs.items()}

    def steps(self) -> Iterator[tuple[str, Step]]:
        """All steps, with the names of their jobs."""
        for name, job in self.jobs.items():
            for ran in job.ran:
                yield from ((name, step) for step in ran.steps)

    def told(self) -> str:
        """Everything that was written, for a test that fails."""
        return "".join(
            f"== {name}: {job.result}\n{''.join(ran.out for ran in job.ran)}" for name, job in self.jobs.items()
        )


# The runner ----------------------------------------------------------------------------------------------------------


@dataclass
class Runner:
    """Where workflows run.

    Attributes:
        root: Workspaces and artifacts; one folder a run.
        checkout: The repository that they belong to.
        machine: Environment of all steps beside what Actions sets: `HF_ENDPOINT`, …
        secrets: Secrets of the repository.
        variables: Its variables.
        token: Token of GitHub that each job gets.
        oidc: Address that gives identities, for jobs that may ask.
        replaced: Scripts that hold one of these texts do not run; they take the network or long.
        before: Called before each job, with its name: what happens meanwhile.
    """

    root: Path
    checkout: Path
    machine: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    token: str = "ghs_made_up"
    oidc: str = ""
    replaced: tuple[str, ...] = ("pip install",)
    before: Callable[[str], None] = lambda _: None

    def run(
        self, file: Path, event: str = "schedule", inputs: Mapping[str, Any] | None = None, called: bool = False
    ) -> Run:
        """Run a workflow.

        Args:
            file: The workflow.
            event: What started it.
            inputs: What was given; what was not has the defaults of the file, for this event.
            called: Whether another workflow calls it.
        """
        workflow = read(file)
        trigger = triggers(workflow)["workflow_call" if called else event]
        number = len(list(self.root.glob("run-*")))
        place = self.root / f"run-{number}"
        place.mkdir(parents=True)
        run = Run()
        contexts = {
            "github": Known(token=self.token, event_name=event, ref="refs/heads/main", workspace=""),
            "inputs": declared_inputs(workflow, trigger, inputs or {}),
            "vars": dict(self.variables),
            "secrets": dict(self.secrets),
        }
        for name, job in workflow["jobs"].items():
            if set(needs_of(job)) - run.jobs.keys():
                raise NotImplementedError(f"{name} stands before what it needs")
            self.before(name)
            run.jobs[name] = self._job(name, job, workflow, contexts, run, place)
        return run

    def _job(
        self,
        name: str,
        job: Mapping[str, Any],
        workflow: Mapping[str, Any],
        contexts: Mapping[str, Any],
        run: Run,
        place: Path,
    ) -> Job:
        _only(job, "name needs if runs-on timeout-minutes permissions outputs steps strategy env environment", name)
        needs = {
            need: {"result": run.jobs[need].result, "outputs": dict(run.jobs[need].outputs)} for need in needs_of(job)
        }
        known = {**contexts, "needs": Known(needs)}
        fine = all(need["result"] == "success" for need in needs.values())
        if not condition(job.get("if"), known, _functions(fine)):
            return Job("skipped")
        outcomes = []
        for index, values in enumerate(_matrix(job, known)):
            ran = Ran(place / f"{name}-{index}", job.get("permissions", {}))
            ran.workspace.mkdir()
            given = {**known, "matrix": Known(values), "strategy": Known({"job-index": index})}
            given["github"] = Known(given["github"], workspace=str(ran.workspace))
            outputs = self._steps(job["steps"], ran, given, (workflow.get("env"), job.get("env")), run, place, name)
            outcomes.append((ran, _filled(job.get("outputs"), {**given, **outputs}, ran)))
        result = "failure" if any(ran.result == "failure" for ran, _ in outcomes) else "success"
        return Job(result, outcomes[-1][1], [ran for ran, _ in outcomes])

    def _steps(
        self,
        steps: Sequence[Mapping[str, Any]],
        ran: Ran,
        contexts: Mapping[str, Any],
        environments: Sequence[Mapping[str, Any] | None],
        run: Run,
        place: Path,
        job: str,
        action: Path | None = None,
    ) -> dict[str, Any]:
        """Run steps one after another; the contexts that they leave behind."""
        done = Known()
        temp = place / f"{ran.workspace.name}-temp"
        temp.mkdir(exist_ok=True)
        base: dict[str, str] = {}
        given = {**contexts, "steps": done, "env": base, "runner": Known(temp=str(temp), os="Linux")}
        for environment in environments:
            base |= _filled(environment, given, ran)
        for number, step in enumerate(steps):
            _only(step, "name id if uses with run env shell", job)
            label = step.get("name") or step.get("uses", "").partition("@")[0] or step["run"].strip()
            functions = _functions(ran.result == "success", ran.workspace)
            if not condition(step.get("if"), given, functions):
                ran.steps.append(Step(label, "skipped"))
                continue
            own = {**base, **_filled(step.get("env"), given, ran)}
            if "uses" in step:
                using = {
                    key: Expressions(given, functions).filled(value) for key, value in step.get("with", {}).items()
                }
                came = self._use(step["uses"], label, using, ran, run, place)
            else:
                came = self._script(step, label, own, ran, place, temp / f"step-{number}", job, action)
            ran.steps.append(came)
            if came.outcome == "failure":
                ran.result = "failure"
            if "id" in step:
                done[step["id"]] = {"outputs": dict(came.outputs), "outcome": came.outcome}
        return {"steps": done, "env": base}

    def environment(self, ran: Ran, temp: Path, job: str) -> dict[str, str]:
        """What Actions sets for every script of a job."""
        found = {
            "PATH": f"{PYTHON.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(temp),
            "LANG": "C.UTF-8",
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(ran.workspace),
            "GITHUB_REPOSITORY": "octo/models",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_RUN_ID": "1",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_RUN_NUMBER": "1",
            "GITHUB_SHA": "0" * 40,
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_EVENT_NAME": "schedule",
            "GITHUB_WORKFLOW": "republish",
            "GITHUB_JOB": job,
            "RUNNER_TEMP": str(temp),
            "RUNNER_OS": "Linux",
        }
        if ran.permissions.get("id-token") == "write" and self.oidc:
            found |= {"ACTIONS_ID_TOKEN_REQUEST_URL": self.oidc, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "made-up"}
        return {**found, **self.machine}

    def _script(
        self,
        step: Mapping[str, Any],
        label: str,
        own: Mapping[str, str],
        ran: Ran,
        place: Path,
        files: Path,
        job: str,
        action: Path | None,
    ) -> Step:
        if "${{" in step["run"]:
            raise NotImplementedError(f"an expression in the script of {label}")
        if any(text in step["run"] for text in self.replaced):
            return Step(label, "success", "(not run)", environment=own)
        files.mkdir()
        given = {
            name: files / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH")
        }
        for path in given.values():
            path.touch()
        script = files / "script.sh"
        script.write_text(step["run"], encoding="utf-8", newline="\n")
        temp = place / f"{ran.workspace.name}-temp"
        environment = self.environment(ran, temp, job) | {name: str(path) for name, path in given.items()} | dict(own)
        if action is not None:
            environment["GITHUB_ACTION_PATH"] = str(action)
        shells = {None: ["bash", "-e"], "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"]}
        done = subprocess.run(
            [*shells[step.get("shell")], str(script)],
            cwd=ran.workspace,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if given["GITHUB_ENV"].read_text() or given["GITHUB_PATH"].read_text():
            raise NotImplementedError(f"{label} writes GITHUB_ENV or GITHUB_PATH")
        outcome = "failure" if done.returncode else "success"
        summary = given["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
        return Step(label, outcome, done.stdout, summary, environment, _outputs(given["GITHUB_OUTPUT"]))

    def _use(self, uses: str, label: str, using: Mapping[str, Any], ran: Ran, run: Run, place: Path) -> Step:
        artifacts = place / "artifacts"
        match uses.partition("@")[0]:
            case "actions/checkout":
                _only(using, "persist-credentials", label)
                assert using["persist-credentials"] is False
                shutil.copytree(self.checkout, ran.workspace, dirs_exist_ok=True)
            case "actions/setup-python":
                _only(using, "python-version update-environment", label)
                return Step(label, "success", outputs={"python-path": str(PYTHON)})
            case "actions/upload-artifact":
                _only(using, "name path retention-days overwrite if-no-files-found", label)
                return Step(label, *_upload(ran.workspace, using, artifacts))
            case "actions/download-artifact":
                _only(using, "name path pattern merge-multiple", label)
                return Step(label, *_download(ran.workspace, using, artifacts))
            case "actions/attest":
                _only(using, "subject-path", label)
                assert ran.permissions["id-token"] == ran.permissions["attestations"] == "write"
                subjects = [path for line in using["subject-path"].split() for path in ran.workspace.glob(line)]
                run.attested += [hashlib.sha256(path.read_bytes()).hexdigest() for path in subjects]
                return Step(label, "success" if subjects else "failure", f"{len(subjects)} subjects")
            case other:
                raise NotImplementedError(f"the action {other}")
        return Step(label, "success")

    def action(
        self, file: Path, inputs: Mapping[str, str], environment: Mapping[str, str]
    ) -> tuple[Ran, dict[str, str]]:
        """Run a composite action as the one step of a job, and what it says in its outputs.

        Args:
            file: Its action.yml.
            inputs: Its `with`.
            environment: The `env` of the step that uses it, which its scripts have too.
        """
        described = read(file)
        assert described["runs"]["using"] == "composite"
        declared = {name: one.get("default") for name, one in described["inputs"].items()}
        missing = {name for name, one in described["inputs"].items() if one.get("required")} - inputs.keys()
        assert not missing and inputs.keys() <= declared.keys()
        place = self.root / f"run-{len(list(self.root.glob('run-*')))}"
        ran = Ran(place / "action-0")
        shutil.copytree(self.checkout, ran.workspace)
        assert all(step.get("shell") == "bash" for step in described["runs"]["steps"] if "run" in step)
        contexts = {"inputs": Known({**declared, **inputs}), "github": Known(action_path=str(file.parent))}
        left = self._steps(
            described["runs"]["steps"], ran, contexts, (environment,), Run(), place, "action", file.parent
        )
        outputs = {name: one["value"] for name, one in described["outputs"].items()}
        return ran, _filled(outputs, {**contexts, **left}, ran)


def read(file: Path) -> dict[str, Any]:
    """A workflow or an action. `on`, which YAML 1.1 takes for true, keeps its name."""
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    if True in found:
        found["on"] = found.pop(True)
    return dict(found)


def triggers(workflow: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What starts a workflow, with what each declares."""
    return {name: one if isinstance(one, Mapping) else {} for name, one in workflow["on"].items()}


def declared_inputs(workflow: Mapping[str, Any], trigger: Mapping[str, Any], given: Mapping[str, Any]) -> Known:
    """The context `inputs`: what another trigger declares is there too, and null."""
    names = {name for one in triggers(workflow).values() for name in one.get("inputs", {})}
    own = trigger.get("inputs", {})
    if extra := given.keys() - own.keys():
        raise ValueError(f"no input is called {', '.join(extra)}")
    if missing := [name for name, one in own.items() if one.get("required") and name not in given]:
        raise ValueError(f"inputs are missing: {', '.join(missing)}")
    return Known(dict.fromkeys(names) | {name: one.get("default") for name, one in own.items()} | dict(given))


def needs_of(job: Mapping[str, Any]) -> list[str]:
    """Names of the jobs that a job waits for."""
    needs = job.get("needs", [])
    return [needs] if isinstance(needs, str) else list(needs)


def condition(
    text: str | bool | None, contexts: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]
) -> bool:
    """Whether an `if` holds: without a word about the status it means success as well."""
    if text is None:
        return bool(functions["success"]())
    text = str(text).strip()
    if text.startswith("${{") and text.endswith("}}"):
        text = text[3:-2]
    if _STATUS.search(text) is None and not functions["success"]():
        return False
    return truthy(Expressions(contexts, functions).value(text))


def _functions(fine: bool, workspace: Path | None = None) -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {
        "always": lambda: True,
        "success": lambda: fine,
        "failure": lambda: not fine,
        "cancelled": lambda: False,
        "fromJSON": json.loads,
        "toJSON": lambda value: json.dumps(value, indent=2),
    }
    if workspace is not None:
        found["hashFiles"] = lambda pattern: _hash(workspace, pattern)
    return found


def _hash(workspace: Path, pattern: str) -> str:
    files = sorted(path for path in workspace.glob(pattern) if path.is_file())
    return (
        hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()
        if files
        else ""
    )


def _filled(values: Mapping[str, Any] | None, contexts: Mapping[str, Any], ran: Ran) -> dict[str, str]:
    expressions = Expressions(contexts, _functions(ran.result == "success", ran.workspace))
    return {name: shown(expressions.filled(value)) for name, value in (values or {}).items()}


def _matrix(job: Mapping[str, Any], contexts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    strategy = job.get("strategy")
    if strategy is None:
        return [{}]
    matrix = Expressions(contexts, _functions(True)).filled(strategy["matrix"])
    if set(matrix) != {"include"}:
        raise NotImplementedError(f"a matrix of {', '.join(matrix)}")
    assert 0 < len(matrix["include"]) <= MOST_JOBS, "a matrix without a job, or with too many, is an error"
    return list(matrix["include"])


def _outputs(path: Path) -> dict[str, str]:
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, sign, value = line.partition("=")
        if not sign or "<<" in name:
            raise NotImplementedError(f"{line!r} in GITHUB_OUTPUT")
        found[name] = value
    return found


def _upload(workspace: Path, using: Mapping[str, Any], artifacts: Path) -> tuple[str, str]:
    """Files below the paths, without hidden ones, from the folder that all paths have in common."""
    paths = [workspace / line.strip() for line in using["path"].split("\n") if line.strip()]
    assert not any(set("*?[") & set(str(path)) for path in paths), "no globs here"
    above = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in paths]))
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    files = [file for file in files if not any(part.startswith(".") for part in file.relative_to(above).parts)]
    if not files:
        return ("failure" if using.get("if-no-files-found") == "error" else "success"), "nothing to upload"
    target = artifacts / using["name"]
    if target.exists():
        assert using.get("overwrite") is True
        shutil.rmtree(target)
    for file in files:
        copy = target / file.relative_to(above)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    return "success", f"{len(files)} files"


def _download(workspace: Path, using: Mapping[str, Any], artifacts: Path) -> tuple[str, str]:
    """One artifact by its name, which must be there; or all that match, into one folder."""
    target = workspace / using["path"]
    if "name" in using:
        if not (artifacts / using["name"]).is_dir():
            return "failure", f"there is no artifact {using['name']}"
        shutil.copytree(artifacts / using["name"], target, dirs_exist_ok=True)
        return "success", ""
    if using.get("merge-multiple") is not True:
        raise NotImplementedError("artifacts in folders of their own")
    found = sorted(artifacts.glob(using["pattern"]))
    for artifact in found:
        shutil.copytree(artifact, target, dirs_exist_ok=True)
    return "success", f"{len(found)} artifacts"


def _only(given: Mapping[str, Any], known: str, where: str) -> None:
    if extra := given.keys() - set(known.split()):
        raise NotImplementedError(f"{where}: {', '.join(map(str, extra))}")
