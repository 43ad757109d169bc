"""Any order of publishing, faults and other people's doings: the laws hold after each step, and it comes to rest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.utils import _http
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from benchmarks import laws
from benchmarks.crash import BUGS, Wanted, somebody_commits, strike
from benchmarks.storm import Season, somebody_writes, spoil_card
from hubpush import client, publish
from hubpush.errors import DriftError, HubpushError
from hubpush.localhub import serve
from hubpush.localhub.faults import Plan
from hubpush.localhub.store import Store

FAULTS = ("drop", "drop after", "500", "504 after", "429", "truncate")
WRITES = ("*/repos/create", "*/commit/main", "*/tag/*")
LOST = ("drop after", "504 after")
pytestmark = pytest.mark.usefixtures("lfs_client")


@dataclass
class Hub:
    """An embedded Hub that fails as its plan says; how many stories were told there, and how many faults struck."""

    url: str
    place: Path
    plan: Plan
    stories: int = 0
    struck: int = 0


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub and a client in this process that does not sleep."""
    monkeypatch.setattr(publish, "PAUSE", 0.0)
    monkeypatch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
    monkeypatch.setattr(_http.time, "sleep", lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.01)))
    huggingface_hub.close_session()
    client.bound(client.Bounds(connect=1, silence=1, wait=2))
    plan = Plan()
    with serve(tmp_path / "hub", plan=plan) as url:
        yield Hub(url, tmp_path, plan)
    huggingface_hub.close_session()


class Publishing(RuleBasedStateMachine):
    """One repository: what is wanted, what others did to it, and what therefore has to stand there.

    `season` knows the version that has to come; `moment` numbers the steps, so that each writes something new.
    """

    reads = 4

    def __init__(self, hub: Hub) -> None:
        super().__init__()
        self.hub, self.plan, self.moment = hub.place / "hub", hub.plan, 0
        self.story, number, hub.stories = hub, hub.stories, hub.stories + 1
        self.season, self.work = Season(Wanted(repo_id=f"acme/tiny-{number}")), hub.place / f"work-{number}"
        self.api = huggingface_hub.HfApi(endpoint=hub.url, token="hf_any")
        self.drift = False
        self.plan.clear()

    def _now(self) -> str:
        self.moment += 1
        return str(self.moment)

    def _change(self, part: str, **facts: bytes | str) -> None:
        self.season.wanted = replace(self.season.wanted, **facts)  # type: ignore[arg-type]
        if self.season.changed not in ("first", "major"):
            self.season.changed = part

    def _exists(self) -> bool:
        return (self.hub / "models" / f"{self.season.wanted.repo_id}.git").exists()

    def _publish(self, *, overwrite: bool = False, day: int = 1) -> publish.Published:
        wanted = self.season.wanted
        return publish.publish(
            self.api, wanted.candidate(self.work / "model"), self.work / "cache", f"2026-11-{day:02}",
            overwrite=overwrite, embedded=True,
        )  # fmt: skip

    def _arrived(self) -> None:
        """What is wanted stands there now."""
        self.season.version, self.season.changed, self.drift = self.season.next_version(), "", False
        repo = laws.read(self.hub, self.season.wanted.repo_id)
        assert repo is not None
        self.season.tags = dict(repo.tags)
        self._check(self.season.version)

    def _check(self, version: str | None) -> None:
        season = self.season
        found = laws.violations(
            self.hub,
            season.wanted.repo_id,
            version=version,
            files=season.wanted.files() if version else None,
            says=season.wanted.note if version else "",
            kept=season.kept,
            tags=season.tags,
            overwrites=season.overwrites,
        )
        assert found == []

    # What the publisher does

    @rule(day=st.integers(1, 30))
    def publish_what_is_wanted(self, day: int) -> None:
        before = laws.read(self.hub, self.season.wanted.repo_id)
        if not self.drift:
            done = self._publish(day=day)
            assert done.status == ("published" if self.season.changed else "unchanged")
            self._arrived()
            return
        with pytest.raises(DriftError):
            self._publish(day=day)
        after = laws.read(self.hub, self.season.wanted.repo_id)
        assert before is not None
        assert after is not None
        assert before.trees == after.trees

    @precondition(lambda self: self.drift)
    @rule(day=st.integers(1, 30))
    def put_back(self, day: int) -> None:
        self.season.changed = self.season.changed or "patch"
        self.season.overwrites.append(self.season.next_version())
        assert self._publish(overwrite=True, day=day).status == "published"
        self._arrived()

    @rule(kind=st.sampled_from(FAULTS), number=st.integers(1, 22))
    def publish_under_a_fault(self, kind: str, number: int) -> None:
        self._publish_under(kind, request=number)

    @rule(kind=st.sampled_from(LOST), path=st.sampled_from(WRITES))
    def publish_without_an_answer(self, kind: str, path: str) -> None:
        self._publish_under(kind, method="POST", path=path)

    def _publish_under(self, kind: str, **where: int | str) -> None:
        self.plan.clear()
        self.plan.add(strike(kind, self.work, **where))
        try:
            self._publish()
        except HubpushError:
            # Whether it was done before the fault is seen in the repository, and nowhere else.
            repo = laws.read(self.hub, self.season.wanted.repo_id)
            releases = repo.releases() if repo is not None else []
            if not self.drift and releases and releases[-1].version == self.season.next_version():
                self.season.version, self.season.changed = releases[-1].version, ""
        else:
            self._arrived()
        self.story.struck += any(seen.fault is not None for seen in self.plan.seen)
        self.plan.clear()

    # What is wanted

    @rule()
    def convert_other_weights(self) -> None:
        self._change("major", weights=f"weights {self._now()}".encode())

    @rule()
    def change_a_fact(self) -> None:
        self._change("patch", note=f"Note {self._now()}.")

    @rule()
    def move_the_pin(self) -> None:
        self._change("patch", source=f"source {self._now()}")

    # What others do

    @precondition(lambda self: self._exists())
    @rule(beside=st.booleans())
    def somebody_commits(self, beside: bool) -> None:
        repo_id, now = self.season.wanted.repo_id, self._now()
        if beside and self.season.version:
            self.season.kept.append(somebody_writes(self.hub, repo_id, f"Mine {now}."))
        else:
            self.season.kept.append(somebody_commits(self.hub, repo_id, {f"others/{now}.txt": now.encode()}))

    @precondition(lambda self: self.season.version)
    @rule(card=st.booleans())
    def somebody_spoils(self, card: bool) -> None:
        repo_id, now = self.season.wanted.repo_id, self._now()
        spoilt = spoil_card(self.hub, repo_id, now) if card else {"vocab.txt": now.encode()}
        self.season.kept.append(somebody_commits(self.hub, repo_id, spoilt))
        self.drift = True

    @precondition(lambda self: f"v{self.season.version}" in self.season.tags)
    @rule()
    def somebody_deletes_the_tag(self) -> None:
        Store(self.hub).delete_ref(self.season.wanted.repo_id, "tags", f"v{self.season.version}")
        del self.season.tags[f"v{self.season.version}"]

    # What holds

    @invariant()
    def no_law_is_broken(self) -> None:
        self._check(None)

    def teardown(self) -> None:
        if self.drift:
            self.season.changed = self.season.changed or "patch"
            self.season.overwrites.append(self.season.next_version())
        self.plan.clear()
        self._publish(overwrite=self.drift)
        self._arrived()
        before = laws.read(self.hub, self.season.wanted.repo_id)
        self.plan.clear()
        assert self._publish().status == "unchanged"
        assert laws.read(self.hub, self.season.wanted.repo_id) == before
        # Behind commits of others the tree of the tag is read, too.
        behind = before is not None and before.tags[f"v{self.season.version}"] != list(before.trees)[-1]
        assert sum(seen.number is not None for seen in self.plan.seen) <= self.reads + behind


RUN = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=10,
    stateful_step_count=12,
    phases=(Phase.generate,),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def test_in_any_order_the_laws_hold_and_publishing_comes_to_rest(hub: Hub) -> None:
    """Ten stories of twelve steps break no law and end with a run that makes no commit and at most four requests."""
    run_state_machine_as_test(lambda: Publishing(hub), settings=RUN)  # type: ignore[arg-type]
    assert hub.struck >= 5


class Mistaken(Publishing):
    """The same, where it does not matter how much is read."""

    reads = 99


@pytest.mark.parametrize(
    ("bug", "law"),
    [
        ("resends", "I6: the last release"),
        ("moves tags", "I3: the tag"),
        ("hashes the card", "assert 'published' == 'unchanged'"),
    ],
)
@pytest.mark.long
def test_a_mistake_of_the_publisher_is_seen(hub: Hub, bug: str, law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of three deliberate mistakes ends in a broken law within a few stories."""
    BUGS[bug](monkeypatch.setattr)
    with pytest.raises(AssertionError, match=law):
        run_state_machine_as_test(lambda: Mistaken(hub), settings=RUN)  # type: ignore[arg-type]
