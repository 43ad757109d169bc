"""Laws of the report: the summary of a run, its annotations, and what nobody may write into either."""

from __future__ import annotations

import datetime
import json
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hubpush import catalog, report, show
from hubpush.errors import CatalogError
from hubpush.issues import Schedule
from tests.workshop import FAMILY, Result

HUB = "https://huggingface.co"
COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
WORST = {"output": "pooler", "max_abs": 3.1e-15, "tolerance": 1e-13, "dtype": "float64"}
DIGESTS = "tiny-b.zip is not the pinned source:\n  pinned sha256 " + "0" * 64 + "\n  found sha256 " + "1" * 64


def release(name: str, status: str = "unchanged", **given: Any) -> dict[str, Any]:
    """A release as `convert-and-upload --json` prints it."""
    found = {
        "name": name, "repo_id": f"acme/{name}", "status": status, "version": "1.0.0", "before": "1.0.0",
        "bump": None, "commit": COMMIT, "tag": "v1.0.0", "url": f"{HUB}/acme/{name}/tree/v1.0.0",
        "parity": {"verdict": "pass", "worst": WORST, "known": []}, "seconds": {"fetch": 1.5, "push": 2.25},
        "error": None,
    }  # fmt: skip
    return found | given


def failed(name: str, message: str = DIGESTS, hint: str = "`hubpush pin tiny-b` accepts it") -> dict[str, Any]:
    """A release that failed."""
    error = {"code": 11, "message": message, "hint": hint}
    nothing = dict.fromkeys(("version", "before", "commit", "tag", "url", "parity"))
    return release(name, "failed", **nothing, error=error, seconds={})


def main_job(*releases: Any, **given: Any) -> dict[str, Any]:
    """What `convert-and-upload --json` prints."""
    return {"family": "tinies", "hub": None, "releases": [*releases], "collection": None, "preview": None, **given}


def version(name: str, verdict: str = "same", number: str = "1.0.0", **given: Any) -> dict[str, Any]:
    """A version as `verify --org … --json` prints it."""
    differs = [{"what": "token ids", "expected": "aa", "found": "bb", "same": verdict == "same"}]
    found = {
        "name": name, "repo_id": f"acme/{name}", "version": number, "commit": COMMIT, "recorded": "pass",
        "verdict": verdict, "findings": differs, "skipped": [], "error": None, "seconds": 1.2,
    }  # fmt: skip
    return found | given


def re_proof(*versions: Any, **given: Any) -> dict[str, Any]:
    """What `verify --org … --json` prints."""
    libraries = {"transformers": "5.23.0", "torch": "2.13.0"}
    return {"family": "tinies", "libraries": libraries, "versions": [*versions], **given}


def needs(outputs: dict[str, Any] | None = None, **results: str) -> str:
    """GitHub's `toJSON(needs)`; the outputs are those of the plan."""
    jobs = {name: {"result": result, "outputs": {}} for name, result in results.items()}
    jobs.setdefault("plan", {"result": "success"})["outputs"] = outputs or {}
    return json.dumps(jobs)


def matrix(*models: str) -> str:
    """The output of `hubpush matrix`."""
    return json.dumps({"include": [{"shard": "1 of 1", "models": " ".join(models), "repos": len(models), "bytes": 1}]})


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., report.Results]:
    """Write result files, and read them."""

    def read(*files: Any, needs: str | None = None) -> report.Results:
        paths = []
        for n, data in enumerate(files):
            paths.append(tmp_path / f"result-{n}.json")
            paths[-1].write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        return report.read(paths, needs, HUB)

    return read


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A step of GitHub Actions, of a job whose checkout is the temporary folder."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    yield


# The runner's side, by actions/runner, src/Runner.Common/ActionCommand.cs (TryParseV2, TryParse) ----------------------

COMMANDS = ("error", "warning", "notice", "debug", "add-mask", "set-output", "stop-commands", "group", "echo")


def commands(text: str) -> list[tuple[str, dict[str, str], str]]:
    """The commands that the runner finds in what a step printed: name, properties, data."""
    found = []
    for line in re.split(r"\r\n|\r|\n", text):
        start = line.lstrip()
        if start.startswith("::") and "::" in start[2:]:
            head, _, data = start[2:].partition("::")
            name, _, properties = head.partition(" ")
            if name in COMMANDS:
                pairs = (pair.split("=", 1) for pair in properties.strip().split(",") if "=" in pair)
                escapes = (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))
                found.append((name, {k: unescaped(v, *escapes) for k, v in pairs}, unescaped(data)))
                continue
        before = re.search(r"##\[([^\] ]*)[^\]]*\]", line)
        if before is not None and before[1] in COMMANDS:
            found.append((before[1], {}, line[before.end() :]))
    return found


def unescaped(text: str, *pairs: tuple[str, str]) -> str:
    """Text as the runner takes its escapes back."""
    for escape, character in pairs or (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(escape, character)
    return text


# The summary ---------------------------------------------------------------------------------------------------------


def test_a_summary_is_what_stands_here(read: Callable[..., report.Results]) -> None:
    """A row a repo with versions, parity, commit and seconds or reason; what failed; the collection; the re-proof."""
    page = {
        "status": "updated",
        "title": "Tinies",
        "url": f"{HUB}/collections/acme/tinies-1",
        "said": [],
        "error": None,
    }
    built = main_job(
        release("tiny-a", "planned", version="1.1.0", commit=None, url=None, seconds={"fetch": 1.5, "convert": 2.25}),
        failed("tiny-b"),
        release("tiny-c", parity={"verdict": "pass", "worst": None}),
        release("tiny-d", "published", before=None, version="1.0.0"),
    )
    pushed = main_job(release("tiny-a", "published", version="1.1.0", seconds={"push": 1.0}), collection=page)
    jobs = needs(plan="success", build="failure", push="success", reproof="failure")
    found = read(built, pushed, re_proof(version("tiny-a", "different"), version("tiny-c")), b"", needs=jobs)
    a, c, d = (f"[`89abcdef0123`]({HUB}/acme/tiny-{x}/commit/{COMMIT})" for x in "acd")
    pass_ = "`pass, pooler 3.1e-15 of 1.0e-13`"
    assert (
        report.markdown(found, ["No run of this workflow has succeeded yet."])
        == f"""\
## hubpush

### Publishing of `tinies`

**1 failed**, 2 published, 1 unchanged

| Repo | Version | Status | Parity | Commit | Seconds, or the reason |
| --- | --- | --- | --- | --- | --- |
| `acme/tiny-b` | – | failed | – | – | `tiny-b.zip is not the pinned source:` |
| `acme/tiny-a` | `1.0.0 → 1.1.0` | published | {pass_} | {a} | 4.8 |
| `acme/tiny-d` | `new → 1.0.0` | published | {pass_} | {d} | 3.8 |

<details><summary>1 unchanged</summary>

| Repo | Version | Status | Parity | Commit | Seconds, or the reason |
| --- | --- | --- | --- | --- | --- |
| `acme/tiny-c` | `1.0.0` | unchanged | `pass` | {c} | 3.8 |

</details>

#### What failed, or has to wait

`acme/tiny-b`

```text
tiny-b.zip is not the pinned source:
  pinned sha256 {"0" * 64}
  found sha256 {"1" * 64}
Hint: `hubpush pin tiny-b` accepts it
```

Collection [`Tinies`](https://huggingface.co/collections/acme/tinies-1): `updated`

### Re-proof of what is published

With `torch 2.13.0`, `transformers 5.23.0`

**1 different**, 1 same

| Repo | Version | Verdict | First difference, or the reason |
| --- | --- | --- | --- |
| `acme/tiny-a` | `1.0.0` | different | `token ids: recorded aa, found bb` |

`acme/tiny-a v1.0.0`

```text
token ids: recorded aa, found bb
```

### The jobs

- Job `build`: `failure`
- Job `reproof`: `failure`
- Result file `result-3.json` is empty: the command ended before it could say what became of its releases

### Schedule

- No run of this workflow has succeeded yet.

"""
    )


def test_an_old_result_without_the_version_before_shows_the_new_one_alone(read: Callable[..., report.Results]) -> None:
    """What a file does not tell is not made up: no `before`, no arrow."""
    one = release("tiny-a", "published", version="1.1.0")
    del one["before"]
    assert read(main_job(one)).releases[0].version == "1.1.0"


def test_the_order_of_the_files_says_nothing(read: Callable[..., report.Results]) -> None:
    """A release that one job built and another pushed is told once, whichever file is read first."""
    built = main_job(release("tiny-a", "planned", commit=None, url=None, seconds={"convert": 2}))
    pushed = main_job(release("tiny-a", "published", seconds={"push": 1}))
    one, other = read(built, pushed), read(pushed, built)
    assert one.releases == other.releases
    assert (one.releases[0].status, one.releases[0].seconds) == ("published", 3)


def test_links_lead_to_the_hub_that_is_asked_and_nowhere_else(read: Callable[..., report.Results]) -> None:
    """The address in a result file is one only if it is of the repo, on the Hub, with the digits of a commit."""
    assert read(main_job(release("tiny-a"))).releases[0].link == f"{HUB}/acme/tiny-a/commit/{COMMIT}"
    for changed in (
        {"url": "https://evil.example/acme/tiny-a/tree/v1"},
        {"url": "https://huggingface.co.evil.example/acme/tiny-a/tree/v1"},
        {"url": f"{HUB}/acme/other/tree/v1"},
        {"url": ["https://huggingface.co/acme/tiny-a/"]},
        {"commit": "main) [x](https://evil.example"},
        {"repo_id": "acme/../evil"},
    ):
        assert read(main_job(release("tiny-a", **changed))).releases[0].link is None
    page = {"status": "made", "title": "T", "url": f"{HUB}/collections/a) <b>"}
    assert read(main_job(release("tiny-a"), collection=page)).pages[0].link is None


HOSTILE = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from(
            ["|", "\\", "`", "``", "\n", "\r", "@octocat", "#1", "[a](https://evil.example)", "<b>", "</details>", " ",
             "https://evil.example", "www.evil.example", "![x](y)", "<!-- ", "-->", "*", "_", "~", "&#64;", "\u202e",
             "\ud800", "me@evil.example", "```", "~~~", "::error::", "##[error]", "\t", "- ", "# "]
        ),
        max_size=12,
    ).map("".join),
)  # fmt: skip


def _flat(token: Any) -> Iterator[Any]:
    yield token
    for child in token.children or ():
        yield from _flat(child)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(HOSTILE, min_size=9, max_size=9))
def test_no_text_of_a_result_file_gets_out_of_its_code(read: Callable[..., report.Results], texts: list[str]) -> None:
    """Whatever a file says, the tables keep their cells, and GitHub sees no link, HTML, mention or heading of it."""
    name, message, hint, verdict, output, title, what, library, family = texts
    parity = {"verdict": verdict, "worst": {"output": output, "max_abs": 1.0, "tolerance": 2.0}}
    one = release(name, "failed", parity=parity, version=what, error={"code": 1, "message": message, "hint": hint})
    page = {"status": title, "title": title, "url": title, "error": {"message": message, "hint": hint}}
    finding = {"what": what, "expected": message, "found": hint, "same": False}
    found = read(
        main_job(one, release(title, commit=what, url=message), collection=page, family=family),
        re_proof(
            version(name, "different", findings=[finding], number=title, moved=[message, 7]), libraries={library: what}
        ),
        needs=json.dumps({title: {"result": "failure"}, "reproof": {"result": message}}),
    )
    text = report.markdown(found)
    text.encode()
    tokens = [each for token in MarkdownIt("commonmark").enable("table").parse(text) for each in _flat(token)]
    kinds = [token.type for token in tokens]
    rows = 2 if len({one.repo_id for one in found.releases}) == 2 else 1
    assert kinds.count("tr_open") == len(re.findall(r"^\| --- ", text, re.MULTILINE)) + rows + 1
    assert kinds.count("td_open") == 6 * rows + 4
    assert not {"image", "html_inline", "em_open", "s_open"} & set(kinds)
    links = [token.attrs["href"] for token in tokens if token.type == "link_open"]
    assert all(re.fullmatch(rf"{HUB}/acme/[\w.-]+/commit/{COMMIT}", link) for link in links)
    ours = ("<details><summary>1 unchanged</summary>\n", "</details>\n", "</details>")
    assert all(token.content in ours for token in tokens if token.type == "html_block")
    assert kinds.count("heading_open") <= 5
    # Outside of code stand this module's own words alone.
    words = "".join(token.content for token in tokens if token.type == "text")
    assert not re.search(r"evil|octocat|#1\b|::error|##\[", words)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _spoiled(whole: Any, value: Any, at: int) -> Any:
    """The same JSON with another value at one place, by number."""
    place = -1

    def walk(one: Any) -> Any:
        nonlocal place
        place += 1
        if place == at:
            return value
        if isinstance(one, dict):
            return {key: walk(item) for key, item in one.items()}
        return [walk(item) for item in one] if isinstance(one, list) else one

    return walk(whole)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON, at=st.integers(0, 40), kind=st.sampled_from(["main", "proof", "needs"]))
def test_no_value_at_any_place_is_a_traceback(
    read: Callable[..., report.Results], value: Any, at: int, kind: str
) -> None:
    """Another type, a key less, a number of hundreds of digits: the report says what it can, and ends well."""
    page = {"status": "updated", "title": "T", "url": None, "error": {"message": "m", "hint": "h"}}
    main = main_job(failed("tiny-a"), release("tiny-b"), collection=page)
    proof = re_proof(version("tiny-a", "different"))
    jobs = json.loads(needs({"changed": matrix("tiny-a", "tiny-z")}, plan="success", build="failure"))
    if kind == "main":
        main = _spoiled(main, value, at)
    elif kind == "proof":
        proof = _spoiled(proof, value, at)
    else:
        jobs = _spoiled(jobs, value, at)
    found = read(main, proof, needs=json.dumps(jobs))
    assert report.markdown(found)
    report.notes(found, None, 10)
    for outage in report.outages(found, None, None, None):
        assert len(outage.key) < 200
        outage.body.encode()


def test_files_that_say_nothing_are_told(read: Callable[..., report.Results], tmp_path: Path) -> None:
    """Absent, empty, cut, too large, or something else: each is a line with the reason, and the others are read."""
    deep = b'{"releases":' + b"[" * 100_000
    found = read(b"", b" \n", b'{"releases": [', deep, b"[1]", b'{"a": 1}', b"\xff\xfe", main_job(release("tiny-a")))
    assert [one.name for one in found.files] == [f"result-{n}.json" for n in range(7)]
    assert "empty" in found.files[0].why
    assert "empty" in found.files[1].why
    assert all("is no JSON" in found.files[n].why for n in (2, 3, 6))
    assert [one.repo_id for one in found.releases] == ["acme/tiny-a"]
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(33 << 20)
        file.write(b" ")
    others = report.read([large, tmp_path / "nowhere.json", tmp_path], None, HUB).files
    assert "larger than" in others[0].why
    assert others[1].why == "is absent"
    assert "cannot be read" in others[2].why
    assert "`nowhere.json` is absent" in report.markdown(report.Results(files=others))


def test_a_thousand_repos_are_read_from_the_top(read: Callable[..., report.Results]) -> None:
    """Failures come first, the same reason is told once, and what did not change is folded away."""
    many = [release(f"tiny-{n:03}") for n in range(990)]
    away = [failed(f"z-{n}", "the Hub cannot be reached", "run again later") for n in range(10)]
    text = report.markdown(read(main_job(*many, *away)))
    assert text.index("z-9") < text.index("<details>") < text.index("tiny-000") < text.index("</details>")
    assert text.count("Hint: run again later") == 1
    assert "**10 failed**, 990 unchanged" in text
    assert "<summary>990 unchanged</summary>" in text


@pytest.mark.parametrize("longest", [2_000, 20_000, 100_000, report.SUMMARY])
def test_a_summary_fits_and_says_what_it_leaves_out(read: Callable[..., report.Results], longest: int) -> None:
    """No byte more than asked for; a cut is said, leaves whole rows, and closes what is open."""
    many = [release(f"tiny-{n:04}") for n in range(6_000)] + [failed(f"z-{n}", f"{n} " + "é|" * 300) for n in range(40)]
    text = report.markdown(read(main_job(*many)), longest=longest)
    assert len(text.encode()) <= longest
    assert "Cut here" in text
    assert text.count("<details>") == text.count("</details>")
    assert all(line.endswith("|") for line in text.splitlines() if line.startswith("|"))
    fences = re.findall(r"^(`{3,})(?:text)?$", text, re.MULTILINE)
    assert len(fences) % 2 == 0


def test_the_summary_is_added_to_what_the_step_wrote(
    tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other commands of the step keep what they wrote, and all together has the size that GitHub takes."""
    summary, result = tmp_path / "summary.md", tmp_path / "pushed.json"
    before = "x" * (report.SUMMARY - 10_000) + "\n"
    summary.write_text(before)
    result.write_text(json.dumps(main_job(*(failed(f"tiny-{n}", f"reason {n}") for n in range(300)))))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    done = run("report", result)
    assert (done.code, done.out, done.err) == (0, "", "")
    text = summary.read_text()
    assert text.startswith(before)
    assert "Cut here" in text
    assert len(text.encode()) <= report.SUMMARY


def test_without_a_workflow_the_summary_is_printed(
    tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a person's machine the Markdown goes to stdout, and what failed is no failure of the report."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    (tmp_path / "pushed.json").write_text(json.dumps(main_job(failed("tiny-b"))))
    done = run("report", tmp_path / "pushed.json", tmp_path / "nowhere.json")
    assert (done.code, done.err) == (0, "")
    assert "| `acme/tiny-b` |" in done.out
    assert "`nowhere.json` is absent" in done.out


# Jobs ----------------------------------------------------------------------------------------------------------------


def test_a_job_that_died_is_told(read: Callable[..., report.Results]) -> None:
    """A job that failed or was cancelled without a result is a failure with its name; one that is explained is not."""
    for result in ("failure", "cancelled"):
        found = read(main_job(release("tiny-a")), needs=needs(plan="success", build=result, reproof=result))
        assert "Job `build`" in report.markdown(found)
        publish, proof = report.outages(found, None, None, None)
        assert publish.failing == ("job build",)
        assert proof.failing == ("job reproof",)
        assert [note.title for note in report.notes(found, None, 10)] == ["Job build", "Job reproof"]
    found = read(main_job(failed("tiny-a")), needs=needs(plan="success", build="failure", reproof="skipped"))
    publish, proof = report.outages(found, None, None, None)
    assert publish.failing == ("acme/tiny-a",)
    assert not proof.failing
    assert not proof.is_whole


def test_a_release_without_a_trace_is_told(read: Callable[..., report.Results]) -> None:
    """What the plan handed out and no result names is lost where a job died, and only there."""
    plan = {"changed": matrix("tiny-a", "tiny-b"), "published": matrix("tiny-a", "tiny-c")}
    here = (main_job(release("tiny-a", "published")), re_proof(version("tiny-a")))
    well = read(*here, needs=needs(plan, build="success", push="success", reproof="success"))
    assert {one.name for one in (*well.releases, *well.versions)} == {"tiny-a"}
    found = read(*here, needs=needs(plan, build="failure", push="success", reproof="cancelled"))
    assert [(one.repo_id, one.status) for one in found.releases] == [
        ("acme/tiny-b", "failed"),
        ("acme/tiny-a", "published"),
    ]
    assert [(one.repo_id, one.verdict) for one in found.versions] == [
        ("acme/tiny-c", "failed"),
        ("acme/tiny-a", "same"),
    ]
    assert "left no result" in report.markdown(found)


def test_what_was_built_and_not_pushed_is_told(read: Callable[..., report.Results]) -> None:
    """A planned release is none of a failure by itself, and one where the job that pushes ended before it."""
    built = main_job(release("tiny-a", "planned"))
    assert read(built).releases[0].status == "planned"
    assert read(built, needs=needs(build="success", push="success")).releases[0].status == "planned"
    lost = read(built, needs=needs(build="success", push="cancelled")).releases[0]
    assert lost.status == "failed"
    assert "not pushed" in lost.message


def test_an_outage_ends_when_all_was_looked_at(read: Callable[..., report.Results]) -> None:
    """Nothing to do after a plan that succeeded is well; without results, or with some put off, nothing is known."""
    nothing = report.outages(read(needs=needs(plan="success", build="skipped", push="skipped")), None, None, None)
    assert (nothing[0].is_whole, nothing[0].failing) == (True, ())
    assert not nothing[1].is_whole
    assert not any(one.is_whole for one in report.outages(read(), None, None, None))
    later = failed("tiny-b", "the limit of the Hub is used up", "run again") | {"status": "deferred"}
    waits = report.outages(read(main_job(release("tiny-a"), later)), None, None, None)[0]
    assert (waits.is_whole, waits.failing) == (False, ())
    some = report.outages(read(main_job(release("tiny-a"))), None, None, None, is_partial=True)[0]
    assert (some.is_whole, some.passing) == (False, ("acme/tiny-a",))


def test_an_outage_is_that_of_a_family_and_an_owner(read: Callable[..., report.Results]) -> None:
    """The same family of the same owner has the same key, whether it is named by its file, its name or its results."""
    found = read(main_job(release("tiny-a")))
    keys = {
        report.outages(found, family, owner, None)[0].key
        for family, owner in ((None, None), ("tinies", "acme"), ("families/tinies.toml", "acme"))
    }
    assert keys == {"publish tinies@acme"}
    hostile = read(main_job(release("tiny-a"), family="a --> @octocat <b>"))
    assert "-->" not in report.outages(hostile, None, None, None)[0].key


# The schedule --------------------------------------------------------------------------------------------------------

NOW = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("days", "is_private", "warned"),
    [(1, False, None), (44, False, None), (46, False, "stops this schedule on 2026-12-11"), (46, True, None),
     (70, False, "may have stopped")],
)  # fmt: skip
def test_the_end_of_a_schedule_is_announced(days: int, is_private: bool, warned: str | None) -> None:
    """From 45 days without a push the report warns, with the day; private repositories keep their schedules."""
    pushed = NOW - datetime.timedelta(days=days)
    lines, warning = report.schedule_lines(
        Schedule(NOW, "https://github.com/o/r/actions/runs/1", pushed, is_private), "https://github.com", NOW
    )
    assert lines[0] == (
        "The last run that succeeded began [2026-11-27 12:00 UTC](https://github.com/o/r/actions/runs/1)."
    )
    assert (warning is None) is (warned is None)
    assert warned is None or (warned in str(warning) and warned in lines[1])


# Annotations ---------------------------------------------------------------------------------------------------------


ESCAPES = ["%", "%0A", "%0D", "%25", "%3A", "%2C", "25", "::", ":", ",", "=", "\n", "\r", "##[error]", " ", "a"]
SAID = st.text() | st.lists(st.sampled_from(ESCAPES), max_size=8).map("".join)


@given(message=SAID, title=SAID)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_an_annotation_says_what_was_said(
    message: str, title: str, actions: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The runner takes back from an annotation the text and title that were given, and finds one command in it."""
    capsys.readouterr()
    show.annotate("error", message, title=title)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    shown = "\n".join(show._printable(line) for line in message.split("\n"))
    titled = {"title": show._printable(title.strip())} if title.strip() else {}
    assert commands(printed) == [("error", titled, shown)]


def test_annotations_are_for_actions_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a person's terminal there are none; secrets are in none."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    show.annotate("error", "x")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    show.annotate("error", "with hf_abcdefghijklmnop", title="and hf_abcdefghijklmnop")
    assert "abcdefgh" not in capsys.readouterr().err


def test_as_many_annotations_as_github_shows(read: Callable[..., report.Results]) -> None:
    """Ten errors and ten warnings at most, the last of which counts the others."""
    many = [failed(f"tiny-{n:02}") for n in range(30)]
    waits = [failed(f"w-{n:02}") | {"status": "deferred"} for n in range(11)]
    notes = report.notes(read(main_job(*many, *waits)), "it ends", 10)
    assert [note.level for note in notes] == ["error"] * 10 + ["warning"] * 10
    assert notes[0].title == "acme/tiny-00"
    assert (notes[9].title, notes[19].title) == ("And 21 more", "And 3 more")
    assert len(report.notes(read(main_job(*many[:10])), None, 10)) == 10


def test_a_failed_release_is_annotated(
    tmp_path: Path, run: Callable[..., Result], actions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Actions the report prints one error for each failed release, titled with its repo."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "pushed.json").write_text(json.dumps(main_job(failed("tiny-b"), release("tiny-a"))))
    done = run("report", tmp_path / "pushed.json")
    assert commands(done.out + done.err) == [
        ("error", {"title": "acme/tiny-b"}, f"{DIGESTS}\nHint: `hubpush pin tiny-b` accepts it")
    ]


MISTAKES = {
    "syntax": ("title = = 1\n" + FAMILY, 1, "not TOML"),
    "the end": (FAMILY + '\nnote = """', FAMILY.count("\n") + 2, "not TOML"),
    "a wrong value": (FAMILY.replace('source = "tiny-b.zip"', 'source = "ftp://x"'), 20, "releases[1].source"),
    "a key too many": (FAMILY.replace('title = "Tiny A"', 'title = "Tiny A"\ntitel = "A"'), 15, "releases[0].titel"),
    "a key that is missing": (FAMILY.replace('title = "Tiny B"\n', ""), 17, "releases[1].title"),
    "in the defaults": (FAMILY.replace("cased = false", "cased = 7"), 10, "defaults.cased"),
    "of the family": (FAMILY.replace('name = "tinies"', 'name = "a b"'), 3, "name"),
    "a family key that is missing": (FAMILY.replace('summary = "Small models for tests."', ""), 1, "summary"),
    "a name twice": (FAMILY.replace('name = "tiny-b"', 'name = "Tiny-A"'), 18, "releases[1].name"),
    "behind a text with keys in it": (
        FAMILY.replace("cased = false", 'citations = ["""\n[[releases]]\nname = {x}\n"""]\ncased = 7'),
        14,
        "defaults.cased",
    ),
    "in a table of tables": (
        FAMILY + '\n[[releases.divergences]]\nreference = "keras"\nkind = "odd"\nwhy = "w"\n',
        24,
        "releases[1].divergences[0].kind",
    ),
    "in a dotted key": (FAMILY + "config.num_hidden_layers = -1\n", 21, "releases[1].config.num_hidden_layers"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_family_file_stands_at_its_line(
    name: str, tmp_path: Path, run: Callable[..., Result], actions: None
) -> None:
    """Any command that reads a family file annotates the line of the mistake, in a path of the repository."""
    text, line, key = MISTAKES[name]
    (tmp_path / "families").mkdir()
    file = tmp_path / "families" / "tinies.toml"
    file.write_text(text)
    done = run("catalog", file)
    assert done.code == 10
    assert "Error: " in done.err
    (found,) = commands(done.err)
    assert found[1]["file"] == "families/tinies.toml"
    assert found[1]["line"] == str(line)
    assert found[2].startswith(key)
    assert commands(done.out) == []


def test_every_mistake_has_its_own_line(tmp_path: Path) -> None:
    """Two mistakes are two annotations, in the order of their lines, and travel with the error between processes."""
    path = tmp_path / "f.toml"
    path.write_text(FAMILY.replace('title = "Tiny B"', "title = 1").replace('title = "Tiny A"', "title = 2"))
    with pytest.raises(CatalogError) as caught:
        catalog.load(path)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert [one.line for one in again.mistakes] == [14, 19]
    assert again.mistakes == caught.value.mistakes
    assert (again.message, again.hint) == (caught.value.message, caught.value.hint)


def test_a_mistake_in_a_lock_or_in_no_text_has_a_place(tmp_path: Path) -> None:
    """A lock that is no JSON names its line, bytes that are no UTF-8 theirs, and a file that is not there itself."""
    path, lock = tmp_path / "f.toml", tmp_path / "f.lock.json"
    path.write_text(FAMILY)
    lock.write_text('{\n  "format": 1,\n  oops\n}')
    with pytest.raises(CatalogError) as caught:
        catalog.load(path)
    assert [(one.file, one.line) for one in caught.value.mistakes] == [(lock, 3)]
    path.write_bytes(b"a = 1\nb = 2\nc = '\xff'\n")
    with pytest.raises(CatalogError) as caught:
        catalog.load(path)
    assert [(one.file, one.line) for one in caught.value.mistakes] == [(path, 3)]
    with pytest.raises(CatalogError) as caught:
        catalog.load(tmp_path / "nowhere.toml")
    assert [(one.file.name, one.line) for one in caught.value.mistakes] == [("nowhere.toml", None)]


def test_a_file_outside_of_the_repository_is_named_in_the_message(
    tmp_path: Path, run: Callable[..., Result], actions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub shows no line of a file that it does not have; more than ten mistakes are ten annotations."""
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "elsewhere"))
    rows = "".join(f'\n[[releases]]\nname = "t-{n}"\ntitle = {n}\nsource = "s.zip"\n' for n in range(15))
    (tmp_path / "f.toml").write_text(FAMILY + rows)
    found = commands(run("catalog", tmp_path / "f.toml").err)
    assert len(found) == 10
    assert found[0][1] == {"title": "Family file"}
    assert found[0][2].startswith(f"{tmp_path}/f.toml:24: releases[2].title")


# Nobody else gives commands ------------------------------------------------------------------------------------------

LINES = st.lists(
    st.sampled_from(
        ["::error::x", "::add-mask::a", "::stop-commands::t", "##[error]x", "##[", "add-mask]v", " ", "\t", "\u3000",
         "\x85", "\x1c", "\r", "\n", "\r\n", "::", ":", "error::y", "{", "[", '"', "a", "\u200b", "\ufeff"]
    ),
    max_size=14,
).map("".join)  # fmt: skip


@given(text=LINES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_what_is_printed_gives_no_command(text: str, actions: None, capsys: pytest.CaptureFixture[str]) -> None:
    """No text that passes through `say` or `put` is a command to the runner, on either stream."""
    capsys.readouterr()
    show.put(text)
    show.say(text)
    out, err = capsys.readouterr()
    assert commands(out) == commands(err) == []
    if "::" not in text and "##[" not in text:
        assert out == f"{text}\n"


@given(text=LINES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_on_a_terminal_nothing_is_changed(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without Actions what is put is what was given."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    capsys.readouterr()
    show.put(text)
    assert capsys.readouterr().out == f"{text}\n"


@given(text=LINES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_json_stays_the_same_value(text: str, actions: None, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON is printed byte for byte; where it holds the runner's older form of a command it is the same value."""
    line = json.dumps({"title": text, "releases": [text]})
    capsys.readouterr()
    show.put(line)
    out = capsys.readouterr().out
    assert json.loads(out) == json.loads(line)
    assert out == f"{line}\n" or "##[" in line
    assert commands(out) == []


def test_a_title_gives_no_command(tmp_path: Path, run: Callable[..., Result], actions: None) -> None:
    """A family file whose title is a command is listed, and the runner is told nothing."""
    text = FAMILY.replace('"Tiny A"', '"x\\n::add-mask::a"').replace('"Tiny B"', '"##[add-mask]b"')
    (tmp_path / "f.toml").write_text(text)
    for name in ("tiny-a", "tiny-b"):
        (tmp_path / f"{name}.zip").touch()
    for form in ((), ("--json",)):
        done = run("catalog", tmp_path / "f.toml", *form)
        assert done.code == 0
        assert commands(done.out) == commands(done.err) == []
        assert "add-mask" in done.out
