"""Laws of the plan: no Hub is asked."""

from dataclasses import replace
from pathlib import Path

import pytest

from hubpush import manifest, planning, remote
from hubpush.errors import DriftError
from tests import records

REPO = "acme/tiny-0"
TODAY = "2026-11-22"


def test_versions_are_numbers(tmp_path: Path) -> None:
    """After v9 and v10 comes v11, whatever else is tagged; what is gone from the Hub already is not deleted again."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    tags = dict.fromkeys(
        ("v9.0.0", "v10.0.0", "v2.0", "latest", "v1.0.0-rc1", "2024.01.15", "v9999999999.0.0"), "0" * 40
    )
    step = planning.plan(remote.Remote(True, "0" * 40, tags, {}), candidate, None, TODAY)
    assert (step.version, step.bump) == ("11.0.0", "major")
    old = step.manifest.model_copy(update={"files": {**step.manifest.files, "gone.txt": manifest.describe_bytes(b"")}})
    stands = {path: remote.RemoteFile(1, f.git_oid or "", None) for path, f in step.manifest.files.items()}
    assert planning.plan(remote.Remote(True, "0", tags, stands, old), candidate, None, TODAY).deletes == ()
    stands["gone.txt"] = remote.RemoteFile(0, "0" * 40, None)
    assert planning.plan(remote.Remote(True, "0", tags, stands, old), candidate, None, TODAY).deletes == ("gone.txt",)


def test_recorded_results_are_taken_for_the_same_conversion_alone(tmp_path: Path) -> None:
    """What the Hub recorded replaces what was measured now only where inputs and files are the same."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    recorded = planning.plan(remote.Remote(False), candidate, None, TODAY).manifest
    later = replace(candidate, build=candidate.build.model_copy(update={"date": "2027-01-01"}))
    assert planning.adopted(later, None) is later
    assert planning.adopted(later, recorded).build.date == candidate.build.date
    other = replace(later, build=later.build.model_copy(update={"weights_inputs": "0" * 64}))
    assert planning.adopted(other, recorded) is other
    files = {**later.build.files, "config.json": manifest.describe_bytes(b"{}")}
    other = replace(later, build=later.build.model_copy(update={"files": files}))
    assert planning.adopted(other, recorded) is other


@pytest.mark.parametrize(
    "path", ["hubpush.json", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
)
def test_no_file_of_a_release_is_taken_over_from_somebody(path: str) -> None:
    """In a repo without a manifest each file that a release would write is somebody else's, and named."""
    there = remote.Remote(True, "0" * 40, {}, {path: remote.RemoteFile(1, "0" * 40, None)})
    with pytest.raises(DriftError, match=path):
        planning.require_untouched(there, REPO)
    planning.require_untouched(remote.Remote(True, "0" * 40, {}, {"notes.txt": there.files[path]}), REPO)  # type: ignore[index]


def _with_a_kept_title(tmp_path: Path) -> tuple[planning.Candidate, remote.Remote, str]:
    """A release on whose card somebody wrote another title, which was kept."""
    candidate = records.candidate(records.write_folder(tmp_path / "model"))
    first = planning.plan(remote.Remote(False), candidate, None, TODAY)
    readme = first.readme.replace("**Parity: PASS ✓**", "**Parity: PASS ✓ (says Ann)**")
    files = {"README.md": remote.RemoteFile(1, "0" * 40, None)}
    there = remote.Remote(True, "0" * 40, {"v1.0.0": "0" * 40}, files, first.manifest, drift=("README.md (title)",))
    second = planning.plan(there, candidate, readme, TODAY, adopt=True)
    assert (second.manifest.kept, "(says Ann)" in second.readme) == (("title",), True)
    return candidate, replace(there, manifest=second.manifest, drift=()), second.readme


def test_words_that_were_kept_do_not_outlive_the_verdict(tmp_path: Path) -> None:
    """A title that somebody wrote stays with other facts; once parity fails or a version is yanked it goes."""
    candidate, there, readme = _with_a_kept_title(tmp_path)
    release = candidate.release.model_copy(update={"note": "A note."})
    assert "(says Ann)" in planning.plan(there, replace(candidate, release=release), readme, TODAY).readme
    failed = candidate.build.model_copy(update={"parity": records.report(wrong=True)})
    told = planning.plan(there, replace(candidate, build=failed), readme, TODAY)
    assert "parity FAILED" in told.readme
    assert "(says Ann)" not in told.readme
    yanked = planning.plan(there, replace(candidate, yanked={"1.0.1": "wrong vocabulary"}), readme, TODAY)
    assert "these weights were yanked: wrong vocabulary" in yanked.readme
    assert "(says Ann)" not in yanked.readme
    assert yanked.manifest.kept == ()
