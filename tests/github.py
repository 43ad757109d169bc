"""The few routes of GitHub's REST API that hubpush uses, on this machine, told how to fail.

Issues with pages and filters, their comments, the workflow's runs, the repository, and who asks. What it answers has
the keys of GitHub's own answers that hubpush reads (docs.github.com/rest).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

REPO = "octo/models"
TOKEN = "ghs_madeUpTokenOfThisTest0123456789"
BOT = {"login": "github-actions[bot]", "type": "Bot"}
PERSON = {"login": "octocat", "type": "User"}


@dataclass(frozen=True)
class Fault:
    """An answer that is given instead of the real one.

    Attributes:
        status: Its status; None closes the connection.
        method: Of the requests it is for; None is any.
        path: Regular expression that is looked for in the request's path and query.
        times: How often.
        headers: Its headers.
        body: Its body; None is GitHub's form with a message.
        is_done: Whether what was asked for is done all the same, and only the answer is lost.
    """

    status: int | None
    method: str | None = None
    path: str = ""
    times: int = 10**9
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    is_done: bool = False


@dataclass
class GitHub:
    """A GitHub with one repository.

    Attributes:
        url: The address of its API.
        issues: Its issues, the oldest first.
        comments: Texts by issue.
        runs: Runs of its workflow, the newest first.
        about: The repository.
        asks: Who owns the token; None for a workflow's own, which GitHub does not tell the name of.
        faults: What is answered instead; the first that fits.
        seen: Method and path of every request.
        before: Called with method and path before an answer is made.
        page: Issues of a page; None is what the request asks for.
    """

    url: str = ""
    issues: list[dict[str, Any]] = field(default_factory=list)
    comments: dict[int, list[str]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=lambda: {"pushed_at": "2026-11-20T10:00:00Z", "private": False})
    asks: dict[str, str] | None = None
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[str, str], None] = lambda _method, _path: None
    page: int | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _used: dict[int, int] = field(default_factory=dict)

    def environ(self) -> dict[str, str]:
        """What GitHub Actions sets in a job."""
        return {
            "GITHUB_API_URL": self.url,
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": REPO,
            "GITHUB_TOKEN": TOKEN,
            "GITHUB_RUN_ID": "77",
            "GITHUB_WORKFLOW_REF": f"{REPO}/.github/workflows/republish.yml@refs/heads/main",
        }

    def open(self, body: str, user: dict[str, str] | None = None, **given: Any) -> int:
        """An issue that is there already; gives its number."""
        with self._lock:
            number = len(self.issues) + 1
            issue = {
                "number": number, "title": "as before", "body": body, "state": "open", "state_reason": None,
                "user": user or BOT, "html_url": f"https://github.com/{REPO}/issues/{number}",
            }  # fmt: skip
            self.issues.append(issue | given)
            return number

    def opened(self) -> list[dict[str, Any]]:
        """The issues that are open."""
        return [issue for issue in self.issues if issue["state"] == "open"]

    def asked(self, method: str) -> list[str]:
        """Paths of the requests of a method."""
        return [path for one, path in self.seen if one == method]

    def answer(self, method: str, target: str, token: str | None, data: Any) -> tuple[int, Any, dict[str, str]]:
        """The answer to a request."""
        parts = urlsplit(target)
        asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if token != f"Bearer {TOKEN}":
            return 401, {"message": "Bad credentials"}, {}
        if parts.path == "/user":
            if self.asks is None:
                return 403, {"message": "Resource not accessible by integration"}, {}
            return 200, self.asks, {}
        found = re.fullmatch(rf"/repos/{REPO}(?:/(.+))?", parts.path)
        if found is None:
            return 404, {"message": "Not Found"}, {}
        with self._lock:
            return self._of_repo(method, found[1] or "", asked, data)

    def _of_repo(self, method: str, path: str, asked: dict[str, str], data: Any) -> tuple[int, Any, dict[str, str]]:
        if (method, path) == ("GET", ""):
            return 200, {"full_name": REPO, **self.about}, {}
        if (method, path) == ("GET", "issues"):
            return self._list(asked)
        if (method, path) == ("POST", "issues"):
            if problem := _problem(data, "title", "body"):
                return problem
            user = self.asks or BOT
            return 201, self.issues[self.open(data["body"], user, title=data["title"]) - 1], {}
        if (method, path) == ("GET", "actions/workflows/republish.yml/runs"):
            wanted = [run for run in self.runs if asked.get("status") in (None, run["conclusion"])]
            return 200, {"total_count": len(wanted), "workflow_runs": wanted[: int(asked.get("per_page", 30))]}, {}
        number = re.fullmatch(r"issues/([0-9]+)(/comments)?", path)
        if number is None or not 0 < int(number[1]) <= len(self.issues):
            return 404, {"message": "Not Found"}, {}
        issue = self.issues[int(number[1]) - 1]
        if method == "PATCH" and not number[2]:
            if problem := _problem(data):
                return problem
            issue |= data
            return 200, issue, {}
        if method == "POST" and number[2]:
            if problem := _problem(data, "body"):
                return problem
            self.comments.setdefault(issue["number"], []).append(data["body"])
            return 201, {"id": 1, "body": data["body"]}, {}
        return 404, {"message": "Not Found"}, {}

    def _list(self, asked: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        wanted = [one for one in self.issues if asked.get("state", "open") in ("all", one["state"])]
        wanted = [one for one in wanted if asked.get("creator") in (None, one["user"]["login"])]
        if asked.get("direction", "desc") == "desc":
            wanted = wanted[::-1]
        size = self.page or min(100, int(asked.get("per_page", 30)))
        page = int(asked.get("page", 1))
        headers = {}
        if len(wanted) > page * size:
            query = "&".join(f"{name}={value}" for name, value in {**asked, "page": page + 1}.items())
            headers["Link"] = f'<{self.url}/repos/{REPO}/issues?{query}>; rel="next", <{self.url}/last>; rel="last"'
        return 200, wanted[(page - 1) * size : page * size], headers

    def fault(self, method: str, target: str) -> Fault | None:
        """The fault that a request meets, counted."""
        with self._lock:
            for n, one in enumerate(self.faults):
                fits = one.method in (None, method) and re.search(one.path, target) is not None
                if fits and self._used.get(n, 0) < one.times:
                    self._used[n] = self._used.get(n, 0) + 1
                    return one
        return None


def _problem(data: Any, *needed: str) -> tuple[int, Any, dict[str, str]] | None:
    """What GitHub does not accept of an issue or a comment."""
    if not isinstance(data, dict) or any(not data.get(name) for name in needed):
        return 422, {"message": "Validation Failed"}, {}
    if len(data.get("body", "")) > 65_536:
        return 422, {"message": "Validation Failed: body is too long (maximum is 65536 characters)"}, {}
    if len(data.get("title", "")) > 256:
        return 422, {"message": "Validation Failed: title is too long (maximum is 256 characters)"}, {}
    return None


def _handler(github: GitHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            github.seen.append((self.command, self.path))
            github.before(self.command, self.path)
            fault = github.fault(self.command, self.path)
            status, found, headers = 200, None, dict[str, str]()
            if fault is None or fault.is_done:
                data = json.loads(raw) if raw else None
                status, found, headers = github.answer(self.command, self.path, self.headers.get("Authorization"), data)
            body = json.dumps(found).encode()
            if fault is not None:
                if fault.status is None:
                    self.close_connection = True
                    return
                status, headers = fault.status, fault.headers
                body = (
                    json.dumps({"message": f"told to fail ({status})"}).encode() if fault.body is None else fault.body
                )
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PATCH = do_GET

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serve() -> Iterator[GitHub]:
    """A GitHub on this machine, without an issue."""
    github = GitHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(github))
    server.daemon_threads = True
    github.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield github
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
