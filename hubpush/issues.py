"""One GitHub issue for each outage: opened when something fails, kept up to date, closed when it passes again.

An issue is found again by a comment at the start of its body that nobody sees, `<!-- hubpush: publish FAMILY@ORG -->`,
and only issues that this workflow opened are looked at. Below it stands what failed, as digests, so that the next run
knows what is new. Two runs side by side may each open one: the older stays, the younger is closed as its duplicate.
A closed issue stays closed; the next outage has an issue of its own.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hubpush.catalog import is_allowed_url
from hubpush.errors import HubpushError, UsageError, redact

if TYPE_CHECKING:
    import httpx2

PAUSE = 1.0
"""Seconds before a request is sent again; each further time twice as long."""

_TRIES = 4
_LONGEST_WAIT = 60  # seconds that a server may ask for
_WHOLE = 300  # seconds for all requests of a run together
_ANSWER = 64 << 20  # bytes; 100 issues of the largest kind are 26 MB
_PAGES = 50  # of 100 open issues and pull requests
_LONGEST = 65_536  # characters that GitHub takes in a body
_KEPT = 4_000  # failing things whose digests an issue holds: 36,000 characters


class GitHubError(HubpushError):
    """GitHub refuses, or cannot be asked."""


@dataclass(frozen=True)
class Repo:
    """A repository on GitHub, and how it is reached.

    Attributes:
        api: The address of the REST API, without a slash at its end.
        name: OWNER/NAME.
        token: What it is asked with; it goes into one header and nowhere else.
    """

    api: str
    name: str
    token: str

    def __repr__(self) -> str:
        return f"Repo({self.name!r} at {self.api!r})"


def repo_of(environ: Mapping[str, str]) -> Repo | None:
    """The repository that a workflow runs for; None where there is no workflow, or it was given no token.

    Raises:
        UsageError: One of the variables cannot be meant.
    """
    api = environ.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
    name, token = environ.get("GITHUB_REPOSITORY", ""), environ.get("GITHUB_TOKEN", "")
    if not name or not token:
        return None
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII):
        raise UsageError(f"GITHUB_REPOSITORY is {name!r}", hint="it names a repository as OWNER/NAME")
    if not is_allowed_url(api) or re.search(r"[\s@?#]", api):
        raise UsageError("GITHUB_API_URL is no https address", hint="GitHub Actions sets it; leave it as it is")
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise UsageError(
            "GITHUB_TOKEN holds what no token has: a space or a line break", hint="set it to ${{ github.token }}"
        )
    return Repo(api, name, token)


@dataclass(frozen=True)
class Outage:
    """What fails of one thing that a schedule looks after, or that it passes.

    Attributes:
        key: What it is about, for the marker: `publish FAMILY@ORG`.
        title: The issue's title.
        body: What is told of it, Markdown.
        failing: Names of what fails.
        passing: Names of what was looked at and is as it ought to be.
        is_whole: Whether everything was looked at, so that what does not fail passes.
        run: The address of the run.
    """

    key: str
    title: str
    body: str
    failing: tuple[str, ...]
    passing: tuple[str, ...]
    is_whole: bool
    run: str | None = None


def marker(key: str) -> str:
    """The comment by which an issue is found."""
    # Two dashes may not stand in a comment, and names come from files.
    return f"<!-- hubpush: {re.sub('-{2,}', '-', re.sub(r'[^A-Za-z0-9._/@ -]', '_', key))} -->"


def keep(repo: Repo, outages: Sequence[Outage]) -> tuple[str, ...]:
    """Open, update or close the issue of each outage; says what was done.

    Raises:
        GitHubError: GitHub refuses, or cannot be asked.
    """
    with _client(repo) as client:
        who = _login(client)
        return tuple(said for outage in outages if (said := _keep(client, outage, who)) is not None)


def _keep(client: _Client, outage: Outage, who: str | None) -> str | None:
    mine = _open_issues(client, outage, who)
    for younger in mine[1:]:  # of a run that ended before it could do it
        _close_duplicate(client, younger, mine[0])
    now = dict(sorted((_digest(name), name) for name in outage.failing)[:_KEPT])
    if mine:
        return _update(client, outage, mine[0], now)
    if not now:
        return None
    made = client.send("POST", "issues", {"title": outage.title, "body": _body(outage, list(now))})
    number = _number(made)
    # A run side by side may have looked at the same moment. A number is never given twice, so all agree on the oldest.
    older = [one for one in _open_issues(client, outage, who) if _number(one) < number]
    if older:
        _close_duplicate(client, made, older[0])
        return _update(client, outage, older[0], now)
    return f"opened issue #{number}: {outage.title}"


def _update(client: _Client, outage: Outage, issue: Mapping[str, Any], now: Mapping[str, str]) -> str | None:
    number, before = _number(issue), _failing_of(issue)
    seen = {_digest(name) for name in (*outage.passing, *outage.failing)}
    left = [] if outage.is_whole else [one for one in before if one not in seen]
    if not now and not left:
        _comment(client, number, f"{_of_run(outage)}it passes again.")
        client.send("PATCH", f"issues/{number}", {"state": "closed", "state_reason": "completed"})
        return f"closed issue #{number}: it passes again"
    if not now:
        return f"issue #{number} stays open: {len(left)} that failed before were not looked at"
    new = [name for digest, name in now.items() if digest not in before]
    good = len(set(before) - now.keys() - set(left))
    body = _body(outage, [*now, *left])
    if new or good:
        # First, since what is written into the body is not told again.
        _comment(client, number, _news(outage, new, good))
    if body != issue.get("body") or outage.title != issue.get("title"):
        client.send("PATCH", f"issues/{number}", {"title": outage.title, "body": body})
        return f"updated issue #{number}: {outage.title}"
    return f"issue #{number} says so already"


def _body(outage: Outage, digests: Sequence[str]) -> str:
    head = f"{marker(outage.key)}\n<!-- hubpush failing: {' '.join(sorted(digests)[:_KEPT])} -->\n\n"
    return head + shorten(outage.body, _LONGEST - len(head))


def shorten(text: str, longest: int) -> str:
    """Markdown of at most so many characters; what is left out is said."""
    if len(text) <= longest:
        return text
    cut = "\n\n… The rest is in the step summary of the run."
    room = max((len(run) for run in re.findall("`+", text)), default=0) + 1  # to end a block
    kept = text[: max(0, longest - len(cut) - room)].rpartition("\n")[0]
    fence = ""
    for line in kept.split("\n"):
        run = re.match(r"`{3,}", line)
        if run is not None and (not fence or line == fence):
            fence = "" if fence else run[0]
    return kept + (f"\n{fence}" if fence else "") + cut


def _news(outage: Outage, new: Sequence[str], good: int) -> str:
    parts = []
    if new:
        shown = ", ".join(f"`{re.sub(r'[^A-Za-z0-9._/@ -]', '_', name)[:200]}`" for name in new[:20])
        more = f" and {len(new) - 20} more" if len(new) > 20 else ""
        parts.append(f"now failing, too: {shown}{more}.")
    if good:
        parts.append(f"{good} that failed before {'pass' if good > 1 else 'passes'} again.")
    return _of_run(outage) + " ".join(parts)


def _of_run(outage: Outage) -> str:
    return "" if outage.run is None else f"[Of this run]({outage.run}): "


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]


def _failing_of(issue: Mapping[str, Any]) -> list[str]:
    found = re.search(r"<!-- hubpush failing: ([0-9a-f ]*) -->", str(issue.get("body")))
    return found[1].split() if found else []


def _open_issues(client: _Client, outage: Outage, who: str | None) -> list[Mapping[str, Any]]:
    """The open issues of an outage that this workflow opened, the oldest first."""
    mark = marker(outage.key)
    found = {
        _number(issue): issue
        for issue in client.pages("issues?state=open&sort=created&direction=desc&per_page=100")
        if str(issue.get("body")).startswith(mark) and "pull_request" not in issue and _is_own(issue, who)
    }
    return [found[number] for number in sorted(found)]


def _is_own(issue: Mapping[str, Any], who: str | None) -> bool:
    """Whether the account that asks has opened an issue: by its name, or for a workflow's token by being a bot."""
    user = issue.get("user")
    if not isinstance(user, dict):
        return False
    return user.get("login") == who if who is not None else user.get("type") == "Bot"


def _login(client: _Client) -> str | None:
    """Whose token it is; None for one of a workflow or an app, which GitHub does not tell the name of."""
    try:
        login = client.send("GET", "/user", is_refusal_an_answer=True).get("login")
    except _RefusedError:
        return None
    return login if isinstance(login, str) else None


def _close_duplicate(client: _Client, issue: Mapping[str, Any], of: Mapping[str, Any]) -> None:
    _comment(client, _number(issue), f"Two runs opened an issue at the same time. Duplicate of #{_number(of)}.")
    client.send("PATCH", f"issues/{_number(issue)}", {"state": "closed", "state_reason": "duplicate"})


def _comment(client: _Client, number: int, text: str) -> None:
    client.send("POST", f"issues/{number}/comments", {"body": shorten(text, _LONGEST)})


def _number(issue: Mapping[str, Any]) -> int:
    number = issue.get("number")
    if not isinstance(number, int):
        raise _foreign()
    return number


# When the schedule last succeeded


@dataclass(frozen=True)
class Schedule:
    """What GitHub says of the workflow and its repository.

    Attributes:
        last: When the last run that succeeded began.
        url: The page of that run.
        pushed: When somebody last pushed to the repository.
        is_private: Whether it is private; GitHub stops schedules of public ones alone.
        trouble: Why something of this is not known.
    """

    last: datetime.datetime | None = None
    url: str | None = None
    pushed: datetime.datetime | None = None
    is_private: bool = False
    trouble: str | None = None


def schedule_of(repo: Repo, workflow_ref: str) -> Schedule:
    """Ask for the last success of a workflow (`GITHUB_WORKFLOW_REF`) and the last push; nothing is raised."""
    file = re.search(r"/([^/@]+\.ya?ml)@", workflow_ref)
    found = Schedule()
    try:
        with _client(repo) as client:
            about = client.send("GET", "")
            found = Schedule(pushed=_time(about.get("pushed_at")), is_private=about.get("private") is True)
            if file is None or not re.fullmatch(r"[\w.-]+", file[1], re.ASCII):
                return found
            answer = client.send("GET", f"actions/workflows/{file[1]}/runs?status=success&per_page=1")
    except HubpushError as error:
        return Schedule(pushed=found.pushed, is_private=found.is_private, trouble=error.message)
    runs = answer.get("workflow_runs")
    run = runs[0] if isinstance(runs, list) and runs and isinstance(runs[0], dict) else {}
    url = run.get("html_url")
    last = _time(run.get("run_started_at")) or _time(run.get("created_at"))
    return Schedule(last, url if isinstance(url, str) else None, found.pushed, found.is_private)


def _time(value: object) -> datetime.datetime | None:
    try:
        when = datetime.datetime.fromisoformat(str(value))
        return (when if when.tzinfo is not None else when.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return None


# HTTP


class _RefusedError(GitHubError):
    """A 403 or 404 that was asked for as an answer."""


@dataclass(frozen=True)
class _Client:
    """Requests to one repository, within a bounded time."""

    repo: Repo
    http: httpx2.Client
    until: float

    def send(
        self, method: str, path: str, data: Mapping[str, Any] | None = None, *, is_refusal_an_answer: bool = False
    ) -> dict[str, Any]:
        """Send a request; gives the object that GitHub answers. A path without a slash is one of the repository."""
        _, found = self._ask(method, self._url(path), data, is_refusal_an_answer=is_refusal_an_answer)
        if not isinstance(found, dict):
            raise _foreign()
        return found

    def pages(self, path: str) -> Iterator[Mapping[str, Any]]:
        """The objects of a list, page by page as its links say."""
        url = self._url(path)
        for _ in range(_PAGES):
            response, found = self._ask("GET", url)
            if not isinstance(found, list):
                raise _foreign()
            yield from (one for one in found if isinstance(one, dict))
            url = response.links.get("next", {}).get("url", "")
            if not url.startswith(f"{self.repo.api}/"):
                return

    def _url(self, path: str) -> str:
        if path.startswith("/"):
            return self.repo.api + path
        return f"{self.repo.api}/repos/{self.repo.name}{'/' * bool(path)}{path}"

    def _ask(
        self, method: str, url: str, data: Mapping[str, Any] | None = None, *, is_refusal_an_answer: bool = False
    ) -> tuple[httpx2.Response, Any]:
        import httpx2

        for attempt in range(1, _TRIES + 1):
            response, wait, why = None, PAUSE * 2 ** (attempt - 1), ""
            try:
                response, body = self._answer(method, url, data)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                why = f"GitHub cannot be reached ({self._clean(type(error).__name__ + ': ' + str(error))})"
            else:
                if response.is_success:
                    return response, self._parsed(body)
                said = self._said(body)
                if not _is_transient(response):
                    raise _refusal(response.status_code, said, is_answer=is_refusal_an_answer)
                why = f"GitHub answers {response.status_code}: {said}"
                wait = max(wait, _asked_to_wait(response))
            if wait > _LONGEST_WAIT:
                raise GitHubError(f"{why}, and asks to wait for {wait:,.0f} s", hint="run the report again later")
            if attempt == _TRIES or time.monotonic() + wait > self.until:
                raise GitHubError(why, hint="run the report again later; githubstatus.com tells whether GitHub is well")
            time.sleep(wait)
        raise AssertionError  # the last attempt has returned or raised

    def _answer(self, method: str, url: str, data: Mapping[str, Any] | None) -> tuple[httpx2.Response, bytes]:
        left = max(0.001, self.until - time.monotonic())
        timeout = {"connect": min(15, left), "read": min(30, left), "write": min(30, left), "pool": min(15, left)}
        request = self.http.build_request(method, url, json=data, extensions={"timeout": timeout})
        response = self.http.send(request, stream=True)
        body = bytearray()
        try:
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _ANSWER or time.monotonic() > self.until:
                    raise GitHubError("GitHub's answer has no end", hint="run the report again later")
        finally:
            response.close()
        return response, bytes(body)

    def _parsed(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise _foreign() from None

    def _said(self, body: bytes) -> str:
        try:
            found = json.loads(body[:100_000])
        except (ValueError, RecursionError):
            return "no reason that can be read"
        return self._clean(str(found.get("message"))) if isinstance(found, dict) else "no reason that can be read"

    def _clean(self, text: str) -> str:
        return redact(" ".join(text.replace(self.repo.token, "[redacted]").split()))[:500]


@contextmanager
def _client(repo: Repo) -> Iterator[_Client]:
    import httpx2

    from hubpush import __version__

    headers = {
        "authorization": f"Bearer {repo.token}",
        "accept": "application/vnd.github+json",
        "x-github-api-version": "2022-11-28",
        "user-agent": f"hubpush/{__version__}",
    }
    try:
        http = httpx2.Client(headers=headers)
    except (ImportError, ValueError, httpx2.InvalidURL):  # a SOCKS proxy without its package, or no URL
        raise GitHubError(
            "the proxy that the environment names cannot be used",
            hint="HTTPS_PROXY, HTTP_PROXY and ALL_PROXY name an http proxy as http://HOST:PORT; or unset them",
        ) from None
    with http:
        yield _Client(repo, http, time.monotonic() + _WHOLE)


def _is_transient(response: httpx2.Response) -> bool:
    is_limit = response.status_code == 403 and (
        "retry-after" in response.headers or response.headers.get("x-ratelimit-remaining") == "0"
    )
    return is_limit or response.status_code in (408, 429) or response.status_code >= 500


def _asked_to_wait(response: httpx2.Response) -> float:
    """Seconds, by either of GitHub's headers."""
    told = response.headers.get("retry-after", "")
    if re.fullmatch("[0-9]{1,9}", told):
        return float(told)
    reset = response.headers.get("x-ratelimit-reset", "")
    if response.headers.get("x-ratelimit-remaining") == "0" and re.fullmatch("[0-9]{1,12}", reset):
        return max(0.0, float(reset) - time.time())
    return 0.0


_HINTS = {
    401: "GITHUB_TOKEN is not valid (any more): set it to ${{ github.token }} in the step that reports",
    403: "the job that reports needs `permissions:` with `issues: write` and `actions: read`",
    404: "is GITHUB_REPOSITORY right? The job needs `permissions:` with `issues: write` and `actions: read`",
    410: "switch Issues on in the repository's settings, or report without --issues",
    422: "GitHub's words say what it does not accept",
}


def _refusal(status: int, said: str, *, is_answer: bool) -> GitHubError:
    kind = _RefusedError if is_answer and status in (403, 404) else GitHubError
    if status == 410:
        return kind("the repository has no issues: they are switched off (410)", hint=_HINTS[410])
    if 300 <= status < 400:
        hint = "is the repository another's or renamed? GITHUB_REPOSITORY has to name it as it is called now"
        return kind(f"GitHub sends to another address ({status})", hint=hint)
    return kind(f"GitHub refuses ({status}): {said}", hint=_HINTS.get(status, _HINTS[422]))


def _foreign() -> GitHubError:
    return GitHubError("the answer is not GitHub's", hint="check GITHUB_API_URL, and the proxy if there is one")
