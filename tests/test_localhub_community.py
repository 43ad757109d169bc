"""Discussions and pull requests of the embedded Hub, through the unmodified client."""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd as Add
from huggingface_hub import CommitOperationDelete as Delete
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

from hubpush.localhub import serve
from hubpush.localhub.store import Store
from hubpush.localhub.users import read as read_users

pytestmark = pytest.mark.usefixtures("lfs_client")

REPO = "acme/tiny"
USERS = """
[[users]]
name = "alice"
token = "hf_alice"
orgs = { acme = "write" }
[[users]]
name = "bob"
token = "hf_bob"
[[users]]
name = "reader"
token = "hf_reader"
role = "read"
orgs = { acme = "write" }
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the embedded Hub keeps its state."""
    return tmp_path / "hub"


@pytest.fixture
def url(directory: Path, tmp_path: Path) -> Iterator[str]:
    """A running embedded Hub that knows its users."""
    (tmp_path / "users.toml").write_text(USERS)
    with serve(directory, users=read_users(tmp_path / "users.toml")) as endpoint:
        yield endpoint


@pytest.fixture
def api(url: str) -> HfApi:
    """Alice, who may write to the one repository."""
    api = HfApi(endpoint=url, token="hf_alice")
    api.create_repo(REPO)
    return api


@pytest.fixture
def bob(url: str, api: HfApi) -> HfApi:
    """Bob, who may only see it."""
    return HfApi(endpoint=url, token="hf_bob")


def post(url: str, path: str, body: bytes) -> tuple[int, dict[str, object]]:
    """One plain POST of alice below the repository: the status and the JSON that came back."""
    request = urllib.request.Request(f"{url}/api/models/{REPO}/{path}", body, method="POST")
    request.add_header("Authorization", "Bearer hf_alice")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def refused(status: int) -> pytest.RaisesExc[HfHubHTTPError]:
    """The call is answered with that status."""
    return pytest.raises(HfHubHTTPError, check=lambda error: error.response.status_code == status)


def proposed(api: HfApi, files: dict[str, bytes], **options: str) -> int:
    """A pull request with one commit of these files."""
    operations = [Add(path, content) for path, content in files.items()]
    made = api.create_commit(REPO, operations, commit_message="Propose", create_pr=True, **options)
    assert made.pr_num is not None
    return made.pr_num


def git(directory: Path, *arguments: str, stdin: str | None = None, at: Path | None = None) -> str:
    """What git prints in the bare repository."""
    folder = at or directory / "models" / f"{REPO}.git"
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True, input=stdin
    ).stdout


def test_discussions_and_requests_share_their_numbers(api: HfApi, url: str) -> None:
    """Both kinds are numbered together from 1, a request starts as a draft with its reference at main."""
    talk = api.create_discussion(REPO, "  A \n question ", description=" What? ")
    request = api.create_pull_request(REPO, "A change")
    assert (talk.num, talk.title, talk.status, talk.author, talk.is_pull_request) == (
        1, "A question", "open", "alice", False,
    )  # fmt: skip
    assert (request.num, request.status, request.is_pull_request, request.git_reference) == (
        2, "draft", True, "refs/pr/2",
    )  # fmt: skip
    assert (request.target_branch, request.conflicting_files, request.merge_commit_oid, request.diff) == (
        "refs/heads/main", [], None, "",
    )  # fmt: skip
    assert (talk.target_branch, talk.diff, [event.content for event in talk.events]) == (None, None, ["What?"])
    assert talk.url == f"{url}/{REPO}/discussions/1"
    assert api.model_info(REPO, revision="refs/pr/2").sha == api.model_info(REPO).sha
    assert api.get_discussion_details(REPO, 2) == request
    assert api.get_discussion_details("ACME/Tiny", 1).repo_id == REPO


def test_a_list_is_filtered_and_comes_in_pages(api: HfApi, bob: HfApi) -> None:
    """Newest first, in pages of 20; `open` has drafts among them and `closed` merged ones, as on the Hub."""
    for number in range(21):
        api.create_discussion(REPO, f"Talk {number}")
    bob.create_pull_request(REPO, "A draft")
    merged = proposed(api, {"a.txt": b"a\n"})
    api.merge_pull_request(REPO, merged)
    api.change_discussion_status(REPO, 1, "closed")

    def numbers(**wanted: str) -> list[int]:
        return [one.num for one in islice(api.get_repo_discussions(REPO, **wanted), 99)]

    assert numbers() == list(range(23, 0, -1)) == numbers(discussion_status="all", discussion_type="all")
    assert numbers(discussion_status="open") == list(range(22, 1, -1))
    assert numbers(discussion_status="closed") == [23, 1]
    assert numbers(discussion_type="pull_request") == [23, 22]
    assert numbers(discussion_type="discussion", discussion_status="closed") == [1]
    assert (numbers(author="Bob"), numbers(author="unknown")) == ([22], [])
    assert next(api.get_repo_discussions(REPO)) == api.get_repo_discussions(REPO).__next__()
    assert {one.repo_type for one in api.get_repo_discussions(REPO)} == {"model"}


def test_every_event_is_told_in_the_answer_and_in_the_details(api: HfApi) -> None:
    """What comment, rename, close and edit return is the event that the details hold, to the last field."""
    api.create_discussion(REPO, "A question")
    events = [
        api.comment_discussion(REPO, 1, "**Yes** <script>alert(1)</script> [card](README.md)"),
        api.rename_discussion(REPO, 1, "An answer"),
        api.change_discussion_status(REPO, 1, "closed"),
        api.change_discussion_status(REPO, 1, "open"),
    ]
    comment, title, closed, opened = events
    found = api.get_discussion_details(REPO, 1)
    assert (found.events[1:], found.title, found.status) == (events, "An answer", "open")
    assert (title.old_title, title.new_title) == ("A question", "An answer")
    assert (closed.new_status, opened.new_status) == ("closed", "open")
    assert "<strong>Yes</strong>" in comment.rendered
    assert f'href="/{REPO}/resolve/main/README.md"' in comment.rendered
    assert "script" not in comment.rendered.replace("&lt;script", "")
    edited = api.edit_discussion_comment(REPO, 1, comment.id.upper(), "No")
    assert edited == api.get_discussion_details(REPO, 1).events[1]
    assert (edited.id, edited.content, edited.edited, edited.number_of_edits, edited.last_edited_by) == (
        comment.id, "No", True, 1, "alice",
    )  # fmt: skip
    assert edited.edit_history[0]["raw"].startswith("**Yes**")
    api.change_discussion_status(REPO, 1, "closed", comment="Done")
    assert [event.type for event in api.get_discussion_details(REPO, 1).events[-2:]] == ["comment", "status-change"]


def test_what_a_hidden_comment_said_is_gone(api: HfApi, directory: Path) -> None:
    """Hiding a comment removes its text and its history from the answers and from the disk, for good."""
    api.create_discussion(REPO, "A question")
    comment = api.comment_discussion(REPO, 1, "my secret 4711")
    api.edit_discussion_comment(REPO, 1, comment.id, "my other secret 4712")
    with pytest.warns(UserWarning, match="irreversible"):
        hidden = api.hide_discussion_comment(REPO, 1, comment.id)
    assert hidden == api.get_discussion_details(REPO, 1).events[1]
    assert (hidden.hidden, hidden.edit_history) == (True, [])
    assert not [path for path in directory.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]
    with refused(409):
        api.edit_discussion_comment(REPO, 1, comment.id, "back")


def test_a_request_is_committed_to_shown_and_merged(api: HfApi, directory: Path, tmp_path: Path) -> None:
    """A draft takes commits on its reference, shows them with a diff that git applies, and is merged once opened."""
    api.create_commit(REPO, [Add("old.txt", b"old\n"), Add("both.txt", b"1\n2\n3")], commit_message="Before")
    before = api.model_info(REPO).sha
    request = api.create_pull_request(REPO, "A change")
    commit = api.create_commit(
        REPO, [Add("new.txt", b"new\n"), Add("both.txt", b"1\nzwei\n3"), Delete("old.txt"), Add("w.bin", b"\0" * 99)],
        commit_message="Change\n\nall", revision="refs/pr/1",
    )  # fmt: skip
    found = api.get_discussion_details(REPO, 1)
    assert [event.type for event in found.events] == ["comment", "commit"]
    assert (found.events[1].oid, found.events[1].summary, found.events[1].author) == (commit.oid, "Change", "alice")
    assert "Binary files /dev/null and b/w.bin differ" in (found.diff or "")
    assert "sha256" not in (found.diff or "")
    copy = tmp_path / "copy"
    git(directory, "worktree", "add", str(copy), before or "")
    text, _, _ = (found.diff or "").partition("diff --git a/w.bin")
    git(directory, "apply", "-", stdin=text, at=copy)
    assert {path.name: path.read_bytes() for path in copy.glob("*.txt")} == {
        "new.txt": b"new\n", "both.txt": b"1\nzwei\n3",
    }  # fmt: skip
    with refused(409) as draft:
        api.merge_pull_request(REPO, 1)
    assert "draft" in str(draft.value)
    api.change_discussion_status(REPO, 1, "open")
    api.create_commit(REPO, [Add("main.txt", b"main\n")], commit_message="Meanwhile")
    main = api.model_info(REPO).sha
    api.merge_pull_request(REPO, 1, comment="Thanks")
    merged = api.get_discussion_details(REPO, 1)
    assert (merged.status, merged.merge_commit_oid) == ("merged", api.model_info(REPO).sha)
    assert [event.type for event in merged.events] == ["comment", "commit", "status-change", "comment", "status-change"]
    assert (merged.diff, merged.events[4].new_status) == (found.diff, "merged")
    assert git(directory, "log", "-1", "--format=%P%n%s%n%an", "main").splitlines() == [
        f"{main} {commit.oid}", "A change (#1)", "alice",
    ]  # fmt: skip
    assert set(api.list_repo_files(REPO)) == {".gitattributes", "new.txt", "both.txt", "w.bin", "main.txt"}
    assert request.title == merged.title
    for again in (lambda: api.merge_pull_request(REPO, 1), lambda: api.change_discussion_status(REPO, 1, "open")):
        with refused(409):
            again()
    git(directory, "worktree", "remove", "--force", str(copy))
    assert git(directory, "fsck", "--strict") == ""


def test_only_an_open_request_with_commits_is_merged(api: HfApi) -> None:
    """A discussion, an empty request and a closed one stay as they are, and the reason is said."""
    api.create_discussion(REPO, "A question")
    api.create_pull_request(REPO, "Empty")
    api.change_discussion_status(REPO, 2, "open")
    proposed(api, {"a.txt": b"a\n"})
    api.change_discussion_status(REPO, 3, "closed")
    for number, reason in ((1, "discussion"), (2, "no commits"), (3, "closed")):
        with refused(409) as caught:
            api.merge_pull_request(REPO, number)
        assert reason in str(caught.value)
    assert api.get_discussion_details(REPO, 2).status == "open"
    api.change_discussion_status(REPO, 3, "open")
    api.merge_pull_request(REPO, 3)


def test_conflicts_are_named_and_keep_a_request_open(api: HfApi) -> None:
    """Files that changed on both sides are named in the details, and the merge is refused with 409."""
    number = proposed(api, {"a.txt": b"theirs\n", "b.txt": b"theirs\n"})
    api.create_commit(REPO, [Add("a.txt", b"ours\n")], commit_message="Ours")
    assert api.get_discussion_details(REPO, number).conflicting_files == ["a.txt"]
    with refused(409):
        api.merge_pull_request(REPO, number)
    found = api.get_discussion_details(REPO, number)
    assert (found.status, found.merge_commit_oid, len(found.events)) == ("open", None, 2)


def test_create_pr_opens_a_request_with_its_commit(api: HfApi, bob: HfApi, tmp_path: Path) -> None:
    """Whoever sees a repository proposes a commit, which stands on an open request and not on main."""
    made = bob.create_commit(
        REPO, [Add("a.txt", b"a\n")], commit_message="x" * 300, commit_description="Why", create_pr=True
    )
    found = bob.get_discussion_details(REPO, 1)
    assert (made.pr_num, made.pr_revision, found.status, found.author) == (1, "refs/pr/1", "open", "bob")
    assert (found.title, found.events[0].content, found.events[1].oid) == ("x" * 200, "Why", made.oid)
    assert "a.txt" not in api.list_repo_files(REPO)
    path = hf_hub_download(REPO, "a.txt", revision="refs/pr/1", endpoint=api.endpoint, cache_dir=tmp_path, token=False)
    assert Path(path).read_bytes() == b"a\n"
    assert [ref.ref for ref in api.list_repo_refs(REPO, include_pull_requests=True).pull_requests] == ["refs/pr/1"]
    bob.create_commit(REPO, [Add("b.txt", b"b\n")], commit_message="More", revision="refs/pr/1")
    api.create_pull_request(REPO, "Of alice")
    for revision in ("main", "refs/pr/2"):
        with refused(403):
            bob.create_commit(REPO, [Add("b.txt", b"b\n")], commit_message="Not his", revision=revision)
    api.create_commit(REPO, [Add("c.txt", b"c\n")], commit_message="Hers too", revision="refs/pr/1")
    assert [event.author for event in api.get_discussion_details(REPO, 1).events] == ["bob", "bob", "bob", "alice"]
    api.create_branch(REPO, branch="dev")
    assert (
        api.get_discussion_details(REPO, proposed(bob, {"c": b"c"}, revision="dev")).target_branch == "refs/heads/dev"
    )
    for revision in ("missing", made.oid, "refs/pr/1", "a..b", "main/x"):
        with pytest.raises(RevisionNotFoundError):
            proposed(bob, {"c": b"c"}, revision=revision)
    assert len(list(api.get_repo_discussions(REPO))) == 3


def test_rights(api: HfApi, bob: HfApi, url: str) -> None:
    """All who see it comment; authors change their own, writers everything; nobody else, and no read token, does."""
    api.create_discussion(REPO, "Of alice")
    bob.create_discussion(REPO, "Of bob")
    own, foreign = bob.comment_discussion(REPO, 1, "mine"), api.comment_discussion(REPO, 1, "hers")
    bob.edit_discussion_comment(REPO, 1, own.id, "mine!")
    bob.rename_discussion(REPO, 2, "Still of bob")
    bob.change_discussion_status(REPO, 2, "closed")
    number = proposed(bob, {"a.txt": b"a\n"})
    reader, nobody = HfApi(endpoint=url, token="hf_reader"), HfApi(endpoint=url, token=False)
    assert len(list(nobody.get_repo_discussions(REPO))) == 3
    for who, number_, status in ((bob, 1, 403), (reader, 1, 403), (nobody, 1, 401)):
        for change in (
            lambda who=who, n=number_: who.rename_discussion(REPO, n, "Taken over"),
            lambda who=who, n=number_: who.change_discussion_status(REPO, n, "closed"),
            lambda who=who, n=number_: who.edit_discussion_comment(REPO, n, foreign.id, "hacked"),
            lambda who=who: who.merge_pull_request(REPO, number),
        ):
            with refused(status):
                change()
    for who, status in ((reader, 403), (nobody, 401)):
        with refused(status):
            who.comment_discussion(REPO, 1, "no")
        with refused(status):
            who.create_discussion(REPO, "Not me")
    api.edit_discussion_comment(REPO, 1, own.id, "moderated")
    api.change_discussion_status(REPO, 2, "open")
    api.merge_pull_request(REPO, number)
    api.update_repo_settings(REPO, visibility="private")
    for change in (lambda: bob.create_discussion(REPO, "Not seen"), lambda: bob.get_discussion_details(REPO, 1)):
        with refused(404):
            change()
    found = api.get_discussion_details(REPO, 1)
    assert (found.title, found.status, len(found.events)) == ("Of alice", "open", 3)
    assert (found.events[1].content, found.events[1].last_edited_by, found.events[1].author) == (
        "moderated", "alice", "bob",
    )  # fmt: skip


def test_a_keyless_token_is_for_its_repository_alone(api: HfApi, url: str) -> None:
    """With a keyless token of one repository nothing is opened or changed in another, even a public one."""
    api.create_repo("acme/other")
    api.create_discussion("acme/other", "Of alice")
    body = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": "a.b.c", "resource": REPO,
    }  # fmt: skip
    request = urllib.request.Request(f"{url}/oauth/token", json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:
        keyless = HfApi(endpoint=url, token=json.load(answer)["access_token"])
    keyless.create_discussion(REPO, "Of the workflow")
    with refused(403):
        keyless.create_discussion("acme/other", "Of the workflow")
    with refused(403):
        keyless.comment_discussion("acme/other", 1, "hello")


def test_comments_at_once_are_all_kept(api: HfApi, bob: HfApi) -> None:
    """Of comments sent at the same time none is lost, and discussions opened at once have different numbers."""
    api.create_discussion(REPO, "A question")
    with ThreadPoolExecutor(8) as pool:
        events = list(pool.map(lambda n: (api, bob)[n % 2].comment_discussion(REPO, 1, f"{n}"), range(24)))
        numbers = list(pool.map(lambda n: api.create_pull_request(REPO, f"Request {n}").num, range(12)))
    found = api.get_discussion_details(REPO, 1)
    assert sorted(event.id for event in found.events[1:]) == sorted(event.id for event in events)
    assert sorted(numbers) == list(range(2, 14))
    assert len(api.list_repo_refs(REPO, include_pull_requests=True).pull_requests or []) == 12


def test_of_racing_merges_one_wins(api: HfApi, directory: Path) -> None:
    """A request that is merged twice at once gets one merge commit; two requests at once get one each."""
    first, second = proposed(api, {"a.txt": b"a\n"}), proposed(api, {"b.txt": b"b\n"})
    start = threading.Barrier(6)

    def merge(number: int) -> int:
        start.wait()
        try:
            api.merge_pull_request(REPO, number)
        except HfHubHTTPError as error:
            return error.response.status_code
        return 200

    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(merge, [first, second] * 3))
    assert sorted(codes[::2]) == sorted(codes[1::2]) == [200, 409, 409]
    assert len(git(directory, "rev-list", "--merges", "main").split()) == 2
    assert {"a.txt", "b.txt"} < set(api.list_repo_files(REPO))
    merged = [api.get_discussion_details(REPO, number) for number in (first, second)]
    assert [[event.type for event in one.events].count("status-change") for one in merged] == [1, 1]


def test_a_kill_between_two_steps_is_made_good(api: HfApi, directory: Path) -> None:
    """A reference without its discussion does not stop the next; a merge that was not noted is noted, not redone."""
    store = Store(directory)
    api.create_commit(REPO, [Add("x.txt", b"x\n")], commit_message="x")
    git(directory, "update-ref", "refs/pr/1", "main~1")  # a kill before the document
    number = proposed(api, {"a.txt": b"a\n"})
    assert number == 1
    assert [event.summary for event in api.get_discussion_details(REPO, 1).events[1:]] == ["Propose"]
    merged = store.merge_request(REPO, 1, "A merge", "alice")  # and one before the status
    api.create_commit(REPO, [Add("y.txt", b"y\n")], commit_message="y")
    api.merge_pull_request(REPO, 1)
    found = api.get_discussion_details(REPO, 1)
    assert (found.status, found.merge_commit_oid) == ("merged", merged)
    assert len(git(directory, "rev-list", "--merges", "main").split()) == 1
    assert [event.type for event in found.events] == ["comment", "commit", "status-change"]
    git(directory, "update-ref", "-d", "refs/pr/1")  # someone tidies up by hand
    assert [event.type for event in api.get_discussion_details(REPO, 1).events] == ["comment", "status-change"]


def test_a_request_that_cannot_be_filled_is_none(api: HfApi, directory: Path) -> None:
    """When the commit of a new request is refused, neither a discussion nor a reference is left, nor a number used."""
    for operation in (Delete("missing.txt"), Add("..\\b.txt", b"b\n")):
        with refused(404 if isinstance(operation, Delete) else 422):
            api.create_commit(REPO, [operation], commit_message="No", create_pr=True)
    with refused(412):
        api.create_commit(REPO, [Add("a", b"a")], commit_message="No", create_pr=True, parent_commit="0" * 40)
    assert api.list_repo_refs(REPO, include_pull_requests=True).pull_requests == []
    assert list(api.get_repo_discussions(REPO)) == []
    assert api.create_discussion(REPO, "A question").num == 1
    assert git(directory, "for-each-ref", "--format=%(refname)").split() == ["refs/heads/main"]


def test_large_changes_are_named_in_a_diff_and_not_compared(api: HfApi) -> None:
    """A diff compares no more than it can in a moment: what is larger has its name, whatever its lines are."""
    lines = [b"%d\n" % n for n in range(20_000)]
    api.create_commit(REPO, [Add("a.txt", b"".join(lines)), Add("s.txt", b"s\n")], commit_message="Before")
    twice = b"".join(line + b"z" + line for line in lines)  # takes a minute to compare
    number = proposed(api, {"a.txt": twice, "b.txt": b"b\n" * 2_000_000, "s.txt": b"t\n"})
    diff = api.get_discussion_details(REPO, number).diff or ""
    assert "Binary files a/a.txt and b/a.txt differ" in diff
    assert "-s\n+t\n" in diff
    assert "Binary files /dev/null and b/b.txt differ" in diff
    assert len(diff) < 1000


def test_a_discussion_goes_where_its_repository_goes(api: HfApi) -> None:
    """Discussions are found under a repository's new name; a new repository of the old name starts with number 1."""
    api.create_discussion(REPO, "A question")
    api.move_repo(REPO, "acme/small")
    found = api.get_discussion_details("acme/small", 1)
    assert (found.title, found.repo_id) == ("A question", "acme/small")
    assert api.get_discussion_details(REPO, 1) == found
    api.delete_repo("acme/small")
    api.create_repo("acme/small")
    assert list(api.get_repo_discussions("acme/small")) == []
    assert api.create_discussion("acme/small", "Another").num == 1


def test_whatever_is_sent_is_answered_and_nothing_is_kept_of_it(api: HfApi, url: str) -> None:
    """Hostile bodies and addresses get a 4xx or 501 with one line of reason, and change nothing."""
    api.create_discussion(REPO, "A question")
    number = proposed(api, {"a.txt": b"a\n"})
    before = [api.get_discussion_details(REPO, n) for n in (1, number)]
    comment = before[0].events[0].id
    bodies = [
        b"", b"{", b"[]", b"null", b"1", b"{}", b"\xff", b"[" * 100_000,
        b'{"title":1,"comment":2,"status":3,"content":[]}',
        b'{"title":"ab","comment":" ","status":"merged","content":"","pullRequest":1}',
        b'{"title":"\\ud800abc","comment":"\\ud800","status":"draft","content":"\\udfff"}',
        json.dumps({"title": "x" * 201, "comment": "x" * 65_537, "status": "x", "content": "x" * 65_537}).encode(),
    ]  # fmt: skip
    for body in bodies:
        for action in ("title", "comment", "status", f"comment/{comment}/edit", "merge"):
            status, answer = post(url, f"discussions/1/{action}", body)
            assert 400 <= status < 500, (action, body[:60], status, answer)
            assert isinstance(answer["error"], str)
    for extra in ({"title": "x" * 201}, {"pullRequest": "yes"}, {"description": {}}, {"description": "€" * 30_000}):
        status, answer = post(url, "discussions", json.dumps({"title": "fine", **extra}).encode())
        assert status == 400, (extra, answer)
    for path, expected in {
        "discussions/0/comment": 404, "discussions/9/comment": 404, "discussions/x/comment": 404,
        "discussions/-1/comment": 404, "discussions/1e1/comment": 404, "discussions/%C2%B9/comment": 404,
        "discussions/99999999999999999999/comment": 404, "discussions//comment": 404,
        f"discussions/1/comment/{'0' * 24}/edit": 404, "discussions/1/comment/x/hide": 404,
        "discussions/1/pin": 501, "discussions/1/comment/x/react": 501, "discussions/1": 501,
    }.items():  # fmt: skip
        status, answer = post(url, path, b'{"comment":"x","content":"x"}')
        assert status == expected, (path, status, answer)
    for path in ("?p=x", "?p=-1", "?status=odd", "?type=odd", "/9", "/0", "/x", "/1/2", "/%00", "/1/../2"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{url}/api/models/{REPO}/discussions{path}", timeout=20)
        assert caught.value.code in (400, 404, 501), path
    with urllib.request.urlopen(f"{url}/api/models/{REPO}/discussions?p=999999999", timeout=20) as answer:
        assert json.load(answer)["discussions"] == []
    assert [api.get_discussion_details(REPO, n) for n in (1, number)] == before
    assert len(list(api.get_repo_discussions(REPO))) == 2


def test_a_file_and_a_folder_of_one_name_are_a_conflict(api: HfApi) -> None:
    """Main has `x`, the request `x/y`: it is shown as a conflict and not merged, whichever of the two came first."""
    for number, (ours, theirs) in enumerate((("x", "x/y"), ("a/b", "a")), start=1):
        api.create_commit(REPO, [Add(theirs, b"theirs")], commit_message="theirs", create_pr=True)
        api.create_commit(REPO, [Add(ours, b"ours")], commit_message="ours")
        assert api.get_discussion_details(REPO, number).conflicting_files
        with pytest.raises(HfHubHTTPError) as error:
            api.merge_pull_request(REPO, number)
        assert error.value.response.status_code == 409
        assert ours in api.list_repo_files(REPO)


def test_a_request_against_a_branch_is_merged_there(api: HfApi) -> None:
    """A pull request that starts from another branch goes into that one, and main stays."""
    main = api.model_info(REPO).sha
    api.create_branch(REPO, branch="dev")
    api.create_commit(REPO, [Add("d", b"d")], commit_message="d", create_pr=True, revision="dev")
    api.merge_pull_request(REPO, 1)
    assert "d" in api.list_repo_files(REPO, revision="dev")
    assert api.model_info(REPO).sha == main


def test_the_addresses_that_clients_print_have_pages(api: HfApi) -> None:
    """A discussion, a request with its changes and a collection can be read in a browser, and run nothing."""
    evil = "<script>alert(1)</script> <img src=x onerror=alert(2)>"
    api.create_discussion(REPO, evil[:30], description=evil)
    api.create_commit(REPO, [Add("new.txt", evil.encode())], commit_message=evil, create_pr=True)
    slug = api.create_collection(evil[:40], namespace="acme", description=evil).slug
    api.add_collection_item(slug, REPO, "model", note=evil)
    for address, there in (
        (f"{REPO}/discussions/1", "discussion #1"),
        (f"{REPO}/discussions/2", "pull request #2"),
        (f"{REPO}/discussions/2?diff=1", "+&lt;script&gt;"),
        (f"collections/{slug}", f'href="/{REPO}"'),
    ):
        with urllib.request.urlopen(f"{api.endpoint}/{address}", timeout=20) as answer:
            page = answer.read().decode()
        assert there in page, address
        assert "<script" not in page, address
        assert "<img src=x onerror" not in page, address
