"""Laws of the issues: one for an outage, told as often as there is news, closed when it passes again."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hubpush import issues, report
from hubpush.errors import HubpushError, UsageError
from hubpush.issues import GitHubError, Outage, Repo
from tests import github
from tests.github import BOT, PERSON, REPO, TOKEN, Fault, GitHub
from tests.test_report import DIGESTS, failed, main_job, matrix, needs, re_proof, release, version
from tests.workshop import Result


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """A GitHub, and a client that does not pause."""
    monkeypatch.setattr(issues, "PAUSE", 0.0)
    with github.serve() as server:
        yield server


@pytest.fixture
def tell(
    there: GitHub, tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """`hubpush report --issues` in a workflow's last job, of these result files."""
    for name, value in there.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))

    def tell(*files: Any, needs: str | None = None, options: tuple[str, ...] = ()) -> Result:
        if needs is None:
            monkeypatch.delenv("NEEDS", raising=False)
        else:
            monkeypatch.setenv("NEEDS", needs)
        paths = [tmp_path / f"result-{n}.json" for n in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_text(json.dumps(data))
        return run("report", *paths, "--issues", *options)

    return tell


def repo(there: GitHub) -> Repo:
    """The repository, as a client knows it."""
    found = issues.repo_of(there.environ())
    assert found is not None
    return found


def outage(*failing: str, passing: tuple[str, ...] = (), is_whole: bool = True, body: str = "why") -> Outage:
    """An outage of publishing."""
    return Outage("publish tinies@acme", "Publishing tinies@acme fails", body, failing, passing, is_whole)


MARK = "<!-- hubpush: publish tinies@acme -->"


def test_an_outage_has_one_issue_from_its_first_run_to_its_last(tell: Callable[..., Result], there: GitHub) -> None:
    """Opened when something fails, silent while it stays so, told again when it changes, closed when it passes."""
    assert tell(main_job(release("tiny-a"))).code == 0
    assert there.issues == []
    assert tell(main_job(release("tiny-a"), failed("tiny-b"))).code == 0
    (issue,) = there.issues
    assert issue["body"].startswith(f"{MARK}\n")
    assert issue["title"] == "Publishing tinies@acme fails"
    assert DIGESTS in issue["body"]  # both digests
    assert "hubpush pin tiny-b" in issue["body"]
    assert f"https://github.com/{REPO}/actions/runs/77" in issue["body"]

    before = len(there.asked("PATCH"))
    assert "says so already" in tell(main_job(release("tiny-a"), failed("tiny-b"))).err
    assert len(there.asked("PATCH")) == before
    assert tell(main_job(release("tiny-a"), failed("tiny-b", "another reason"))).code == 0
    assert "another reason" in issue["body"]
    assert there.comments == {}  # the body says it; nobody is told twice that it still fails

    assert tell(main_job(failed("tiny-a"), failed("tiny-b"))).code == 0
    assert [re.sub(r"\(.*\)", "()", text) for text in there.comments[1]] == [
        "[Of this run](): now failing, too: `acme/tiny-a`."
    ]
    assert tell(main_job(failed("tiny-a"), release("tiny-b"))).code == 0
    assert there.comments[1][-1].endswith("1 that failed before passes again.")
    assert tell(main_job(release("tiny-a"), release("tiny-b"))).code == 0
    assert there.comments[1][-1].endswith("it passes again.")
    assert (issue["state"], issue["state_reason"]) == ("closed", "completed")
    assert len(there.comments[1]) == 3

    # A closed issue stays closed.
    assert tell(main_job(failed("tiny-a"))).code == 0
    assert [one["state"] for one in there.issues] == ["closed", "open"]


def test_publishing_and_the_re_proof_are_two_outages(tell: Callable[..., Result], there: GitHub) -> None:
    """Each has its issue, with the libraries and the first difference in the one of the re-proof; each ends alone."""
    differs = version("tiny-a", "different", moved=["tokenizers 0.22.0 -> 0.23.1"])
    assert tell(main_job(failed("tiny-b")), re_proof(differs, version("tiny-b"))).code == 0
    assert len(there.opened()) == 2
    proof = there.issues[1]
    assert proof["body"].startswith("<!-- hubpush: re-proof tinies@acme -->\n")
    for text in (
        "`acme/tiny-a v1.0.0`",
        "`transformers 5.23.0`",
        "token ids: recorded aa, found bb",
        "tokenizers 0.22.0 -> 0.23.1",
    ):
        assert text in proof["body"]
    assert "acme/tiny-b" not in proof["body"]
    assert tell(re_proof(version("tiny-a"), version("tiny-b"))).code == 0
    assert [issue["number"] for issue in there.opened()] == [1]
    jobs = needs(plan="success", build="skipped", push="skipped", reproof="skipped")
    assert tell(needs=jobs, options=("--family", "tinies.toml", "--org", "acme")).code == 0
    assert there.opened() == []


def test_a_job_that_died_opens_an_issue(tell: Callable[..., Result], there: GitHub) -> None:
    """A job that ended without a result is an outage of its family, with what is known: who left no result."""
    jobs = needs({"changed": matrix("tiny-a")}, plan="success", build="cancelled", push="skipped")
    assert tell(needs=jobs, options=("--family", "tinies", "--org", "acme")).code == 0
    (issue,) = there.issues
    assert issue["body"].startswith(MARK)
    assert "`tiny-a`" in issue["body"]
    assert "ran out of disk" in issue["body"]


def test_a_run_that_knows_nothing_changes_nothing(tell: Callable[..., Result], there: GitHub) -> None:
    """Without results of jobs or files, and where releases had to wait, an open issue stays as it is."""
    there.open(f"{MARK}\n<!-- hubpush failing: {issues._digest('acme/tiny-b')} -->\n\nwhy")
    assert tell(options=("--family", "tinies", "--org", "acme")).code == 0
    assert tell(main_job(release("tiny-a"), failed("tiny-b") | {"status": "deferred"})).code == 0
    assert tell(main_job(release("tiny-a")), options=("--partial",)).code == 0
    assert len(there.opened()) == 1
    assert there.asked("PATCH") == []
    assert tell(main_job(release("tiny-b")), options=("--partial",)).code == 0
    assert there.opened() == []


def test_what_a_partial_run_does_not_look_at_is_remembered(there: GitHub) -> None:
    """A run of some releases neither forgets what failed of others nor closes their issue."""
    issues.keep(repo(there), [outage("acme/a")])
    issues.keep(repo(there), [outage("acme/b", is_whole=False)])
    issues.keep(repo(there), [outage(passing=("acme/b",), is_whole=False)])
    assert len(there.opened()) == 1
    issues.keep(repo(there), [outage(passing=("acme/a", "acme/b"), is_whole=False)])
    assert there.opened() == []


@pytest.mark.parametrize("given", [{"user": PERSON}, {"pull_request": {"url": "x"}}, {"user": {"login": "ghost"}}])
def test_nobody_elses_issue_is_touched(given: dict[str, Any], there: GitHub) -> None:
    """A person's issue with the marker in it, and a pull request, stay as they are."""
    there.open(f"{MARK}\nas I copied it", **given)
    there.open(f"said by a bot: {MARK}")
    there.open("<!-- hubpush: publish tinies@acme-2 -->")
    before = json.dumps(there.issues)
    issues.keep(repo(there), [outage()])
    assert json.dumps(there.issues) == before
    issues.keep(repo(there), [outage("acme/a")])
    assert json.dumps(there.issues[:3]) == before
    assert len(there.issues) == 4


def test_a_persons_token_looks_after_the_persons_issues(there: GitHub) -> None:
    """Where GitHub tells whose token it is, that account's issues are the own ones, and a bot's are not."""
    there.asks = PERSON
    there.open(MARK, user=BOT)
    issues.keep(repo(there), [outage("acme/a")])
    issues.keep(repo(there), [outage("acme/a", body="news")])
    assert [one["user"]["login"] for one in there.issues] == ["github-actions[bot]", "octocat"]
    assert "news" in there.issues[1]["body"]
    assert there.issues[0]["body"] == MARK


def test_two_runs_at_once_leave_one_issue(there: GitHub) -> None:
    """Both look before either opens: the older stays, the younger is closed as its duplicate."""
    both = threading.Barrier(2, timeout=20)
    met = iter(range(2))

    def before(method: str, path: str) -> None:
        if (method, path) == ("POST", f"/repos/{REPO}/issues") and next(met, None) is not None:
            both.wait()

    there.before = before
    with ThreadPoolExecutor(2) as pool:
        said = [
            one for found in pool.map(lambda _: issues.keep(repo(there), [outage("acme/a")]), range(2)) for one in found
        ]
    assert len(there.issues) == 2
    assert [one["number"] for one in there.opened()] == [1]
    assert there.issues[1]["state_reason"] == "duplicate"
    assert there.comments[2][-1].endswith("Duplicate of #1.")
    assert sum("opened issue #1" in one for one in said) == 1


def test_a_duplicate_that_was_left_is_closed(there: GitHub) -> None:
    """A run that ended between opening and looking again is cleaned up after by the next one."""
    for _ in range(3):
        there.open(f"{MARK}\n")
    issues.keep(repo(there), [outage("acme/a")])
    assert [one["number"] for one in there.opened()] == [1]


def test_an_issue_is_found_on_any_page(there: GitHub) -> None:
    """Links lead from page to page of the open issues, as long as they are GitHub's own."""
    number = there.open(f"{MARK}\n")
    for n in range(250):
        there.open(f"issue {n}", user=PERSON)
    issues.keep(repo(there), [outage("acme/a")])
    assert len(there.issues) == 251
    assert "why" in there.issues[number - 1]["body"]
    listed = [path for path in there.asked("GET") if "/issues?" in path]
    assert len(listed) == 3


def test_a_link_to_another_host_is_not_followed(there: GitHub) -> None:
    """The token goes to the API that the workflow names, whatever an answer says."""
    with github.serve() as other:
        evil = {"Link": f'<{other.url}/repos/{REPO}/issues?page=2>; rel="next"'}
        there.faults = [Fault(200, "GET", "issues", headers=evil, body=b"[]")]
        issues.keep(repo(there), [outage()])
        assert other.seen == []


def test_passing_trouble_is_waited_out(there: GitHub) -> None:
    """A few 5xx, a 429 and a closed connection delay the report, and change nothing of what it does."""
    there.faults = [
        Fault(502, "GET", "/issues", 1),
        Fault(503, "GET", "/issues", 1, {"Retry-After": "0"}),
        Fault(429, "POST", "/issues", 1, {"Retry-After": "0"}),
        Fault(403, "POST", "/issues", 1, {"Retry-After": "0"}),
        Fault(None, "GET", "/user", 1),
    ]
    issues.keep(repo(there), [outage("acme/a")])
    assert len(there.issues) == 1
    assert there.asked("POST") == [f"/repos/{REPO}/issues"] * 3


@pytest.mark.parametrize("status", [502, None])
def test_a_lost_answer_leaves_one_issue(status: int | None, there: GitHub) -> None:
    """An issue that was opened although the answer was lost is found again, and the second one is its duplicate."""
    there.faults = [Fault(status, "POST", "/issues$", 1, is_done=True)]
    issues.keep(repo(there), [outage("acme/a")])
    assert [one["number"] for one in there.opened()] == [1]


def test_a_long_wait_is_not_waited(there: GitHub) -> None:
    """A server that asks for more than a minute is an error at once that says for how long."""
    for headers in (
        {"Retry-After": "3600"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 3600)},
    ):
        there.faults = [Fault(403, "GET", "/issues", headers=headers)]
        there.seen.clear()
        with pytest.raises(GitHubError, match=r"wait for 3,[56]\d\d s"):
            issues.keep(repo(there), [outage("acme/a")])
        assert len(there.asked("GET")) == 2


def test_trouble_that_stays_ends_the_report(there: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries are few, their time is bounded, and an answer has an end."""
    there.faults = [Fault(500, "GET", "/issues")]
    with pytest.raises(GitHubError, match="500") as caught:
        issues.keep(repo(there), [outage("acme/a")])
    assert "later" in caught.value.hint
    assert len([path for path in there.asked("GET") if "issues" in path]) == 4
    there.faults = [Fault(200, "GET", "/issues", body=b"[" + b" " * 5000 + b"]")]
    monkeypatch.setattr(issues, "_ANSWER", 4000)
    with pytest.raises(GitHubError, match="no end"):
        issues.keep(repo(there), [outage("acme/a")])


def test_no_pause_is_longer_than_the_time_that_is_left(there: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that would be sent again after the end of the report's time is not waited for."""
    there.faults = [Fault(500, "GET", "/user")]
    monkeypatch.setattr(issues, "PAUSE", 8.0)
    monkeypatch.setattr(issues, "_WHOLE", 4)
    with pytest.raises(GitHubError, match="500"):
        issues.keep(repo(there), [outage("acme/a")])
    assert there.seen == [("GET", "/user")]


@pytest.mark.parametrize(
    ("fault", "message", "hint"),
    [
        (Fault(403, "POST", "/issues"), "refuses (403)", "`issues: write`"),
        (Fault(404, "GET", "/issues"), "refuses (404)", "`issues: write`"),
        (Fault(410, "GET", "/issues"), "switched off (410)", "without --issues"),
        (Fault(401, "GET", "/user"), "refuses (401)", "github.token"),
        (Fault(301, "GET", "/issues"), "another address (301)", "renamed"),
        (Fault(422, "POST", "/issues"), "refuses (422)", "does not accept"),
        (Fault(200, "GET", "/issues", body=b"<html>"), "not GitHub's", "GITHUB_API_URL"),
        (Fault(200, "GET", "/issues", body=b"{}"), "not GitHub's", "GITHUB_API_URL"),
        (Fault(201, "POST", "/issues", body=b'{"number": "1"}'), "not GitHub's", "GITHUB_API_URL"),
        (Fault(403, "POST", "/issues", body=f'{{"message": "who is {TOKEN}?"}}'.encode()), "[redacted]", "write"),
    ],
)
def test_a_refusal_says_what_to_do(
    fault: Fault, message: str, hint: str, tell: Callable[..., Result], there: GitHub, tmp_path: Path
) -> None:
    """What GitHub refuses is an error with a next step; the summary is written all the same; the token is nowhere."""
    there.faults = [fault]
    done = tell(main_job(failed("tiny-b")))
    assert done.code == 1
    assert message in done.err
    assert hint in done.err
    assert TOKEN not in done.out + done.err
    text = (tmp_path / "summary.md").read_text()
    assert "acme/tiny-b" in text
    assert TOKEN not in text


def test_github_away_is_an_error_after_the_summary(
    tell: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server that is not there is told in the summary, and then is the error of the issues."""
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    done = tell(main_job(failed("tiny-b")))
    assert done.code == 1
    assert "cannot be reached" in done.err
    assert "acme/tiny-b" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_TOKEN", f"{TOKEN}\n"),
        ("GITHUB_TOKEN", "a b"),
        ("GITHUB_TOKEN", ""),
        ("GITHUB_REPOSITORY", "a/../b"),
        ("GITHUB_REPOSITORY", "a"),
        ("GITHUB_API_URL", "http://example.org"),
        ("GITHUB_API_URL", "https://me@example.org"),
    ],
)
def test_an_environment_that_cannot_be_meant_is_refused(
    name: str, value: str, tell: Callable[..., Result], there: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is sent, and without the token in the message."""
    monkeypatch.setenv(name, value)
    done = tell(main_job(failed("tiny-b")))
    assert done.code == 2
    assert TOKEN not in done.err
    assert there.seen == []


def test_a_repo_shows_its_token_nowhere(there: GitHub) -> None:
    """Neither is it in the text of the object that holds it."""
    assert TOKEN not in f"{repo(there)!r} {repo(there)}"
    assert issues.repo_of({}) is None
    with pytest.raises(UsageError):
        issues.repo_of(there.environ() | {"GITHUB_TOKEN": "x\r\ny"})


def test_an_issue_has_the_size_that_github_takes(tell: Callable[..., Result], there: GitHub) -> None:
    """Of thousands of failures the body tells as many as fit, ends its last block, and remembers all."""
    many = [failed(f"tiny-{n:04}", f"reason {n}\n" + "`" * (n % 7) + "x" * 90) for n in range(2_500)]
    assert tell(main_job(*many)).code == 0
    (issue,) = there.issues
    assert len(issue["body"]) <= 65_536
    assert "step summary" in issue["body"]
    fences = re.findall(r"^(`{3,})(?:text)?$", issue["body"], re.MULTILINE)
    assert len(fences) % 2 == 0
    assert tell(main_job(*many)).code == 0
    assert there.comments == {}
    assert tell(main_job(*many[:-600], release("tiny-2499"))).code == 0
    assert len(there.comments[1]) == 1
    assert len(there.comments[1][0]) < 2_000


@pytest.mark.parametrize("longest", [200, 1_000, 65_536])
def test_shortened_markdown_ends_its_blocks(longest: int) -> None:
    """At every length the text fits, and a block of code that was cut is ended."""
    text = "".join(report.block(f"{'`' * n}\nline\n" * 20) for n in range(30)) * 20
    short = issues.shorten(text, longest)
    assert len(short) <= longest
    open_fence = ""
    for line in short.split("\n"):
        if (run := re.match("`{3,}", line)) and (not open_fence or line == open_fence):
            open_fence = "" if open_fence else run[0]
    assert not open_fence


# The schedule --------------------------------------------------------------------------------------------------------


def test_the_last_success_is_told(tell: Callable[..., Result], there: GitHub, tmp_path: Path) -> None:
    """The last run of this workflow that succeeded stands in the summary, and a failed one since does not count."""
    page = f"https://github.com/{REPO}/actions/runs/"
    there.runs = [
        {"conclusion": "failure", "run_started_at": "2026-11-25T04:37:00Z", "html_url": f"{page}9"},
        {"conclusion": "success", "run_started_at": "2026-11-18T04:37:00Z", "html_url": f"{page}8"},
    ]
    assert tell(main_job(release("tiny-a"))).code == 0
    text = (tmp_path / "summary.md").read_text()
    assert f"began [2026-11-18 04:37 UTC]({page}8)" in text


def test_a_schedule_that_will_end_is_warned_of(
    tell: Callable[..., Result], there: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Months without a push are a warning in the summary and at the run."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    there.about = {"pushed_at": "2024-01-01T00:00:00Z", "private": False}
    done = tell(main_job(release("tiny-a")))
    assert "::warning title=Schedule::The last push to this repository was" in done.err
    assert "may have stopped this schedule" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize(
    "fault",
    [Fault(403, "GET", "actions"), Fault(200, "GET", "actions", body=b"[]"), Fault(404, "GET", f"{REPO}$"),
     Fault(200, "GET", "actions", body=b'{"workflow_runs": [7]}'),
     Fault(200, "GET", "actions", body=b'{"workflow_runs": [{"run_started_at": "x", "html_url": 1}]}'),
     Fault(200, "GET", f"{REPO}$", body=b'{"pushed_at": 7}')],
)  # fmt: skip
def test_a_schedule_that_is_not_known_is_no_failure(
    fault: Fault, tell: Callable[..., Result], there: GitHub, tmp_path: Path
) -> None:
    """What GitHub does not tell of the schedule is a line at most, and all else is done."""
    there.faults = [fault]
    done = tell(main_job(failed("tiny-b")))
    assert done.code == 0, done.err
    assert "### Schedule" in (tmp_path / "summary.md").read_text()
    assert len(there.opened()) == 1


def test_errors_of_github_are_hubpushs(there: GitHub) -> None:
    """Every failure is one that the command line knows to show."""
    assert issubclass(GitHubError, HubpushError)
    there.faults = [Fault(None)]
    with pytest.raises(GitHubError, match="cannot be reached"):
        issues.keep(repo(there), [outage("acme/a")])
