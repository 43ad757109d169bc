"""Laws of `hubpush init`: a repository that works as it is written, and that takes nobody's files away."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hubpush import __version__, catalog, starter
from hubpush.errors import UsageError
from tests.actions import PYTHON
from tests.workshop import Result


@pytest.fixture
def made(tmp_path: Path, run: Callable[..., Result]) -> Path:
    """A starter repository."""
    assert run("init", tmp_path / "models", "--org", "my-org").code == 0
    return tmp_path / "models"


def test_the_starter_is_a_family_that_the_catalog_accepts(made: Path, run: Callable[..., Result]) -> None:
    """`hubpush catalog` takes the family file as it is written; its source is a URL, and its templates are there."""
    result = run("catalog", made / "family.toml", "--json")
    assert result.code == 0, result.err
    assert [row["source"].partition("://")[0] for row in json.loads(result.out)] == ["https"]
    family, _ = catalog.load(made / "family.toml")
    assert family.templates is not None
    assert (made / family.templates / "sections").is_dir()


def test_nothing_is_left_to_fill_in(made: Path) -> None:
    """The owner and the version stand where they belong, and no placeholder is left."""
    texts = {path: (made / path).read_text(encoding="utf-8") for path in starter.FILES}
    assert not [path for path, text in texts.items() if "@ORG@" in text or "@VERSION@" in text]
    assert sorted(texts) == sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
    assert f"republish.yml@v{__version__} " in texts[".github/workflows/republish.yml"]
    assert f"hubpush: hubpush=={__version__}" in texts[".github/workflows/republish.yml"]
    assert "my-org" in texts["README.md"]


def test_the_next_steps_are_commands_that_exist(tmp_path: Path, run: Callable[..., Result]) -> None:
    """Files go to stdout, the next steps to stderr, with the paths and the owner that were given."""
    result = run("init", tmp_path / "a b", "--org", "my-org")
    assert result.out.splitlines() == [str(tmp_path / "a b" / path) for path in starter.FILES]
    assert f"hubpush catalog '{tmp_path / 'a b' / 'family.toml'}'" in result.err
    assert "--org my-org --dry-run" in result.err


@pytest.mark.parametrize("path", starter.FILES)
def test_nothing_is_overwritten(tmp_path: Path, path: str) -> None:
    """Where one of its files is there, as a file, a folder or a broken link, it stays and nothing else is written."""
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).symlink_to("nowhere")
    with pytest.raises(UsageError, match="nothing was written"):
        starter.write(tmp_path, "my-org")
    assert [one for one in tmp_path.rglob("*") if not one.is_dir()] == [tmp_path / path]


def test_other_files_of_a_repository_stay(tmp_path: Path) -> None:
    """A directory with other files in it gets the starter beside them."""
    (tmp_path / "LICENSE").write_text("mine")
    assert len(starter.write(tmp_path, "my-org")) == len(starter.FILES)
    assert (tmp_path / "LICENSE").read_text() == "mine"


@pytest.mark.parametrize(
    ("directory", "org", "says"),
    [("x", "a/b", "no owner"), ("x", "", "no owner"), ("file/x", "me", "cannot be written")],
)
def test_mistakes_are_named(tmp_path: Path, directory: str, org: str, says: str) -> None:
    """An owner that is none, and a place that cannot be written to, are refused in words."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=says):
        starter.write(tmp_path / directory, org)


def test_the_starter_passes_the_linters(made: Path) -> None:
    """Zizmor as its strictest persona and actionlint have nothing to say of the workflow that is written."""
    workflow = made / ".github/workflows/republish.yml"
    for command in (["zizmor", "--offline", "--persona", "auditor", "--no-config"], ["actionlint"]):
        path = PYTHON.parent / command[0]
        done = subprocess.run([str(path), *command[1:], str(workflow)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
