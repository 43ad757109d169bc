"""A repository to begin with: a family file, a section for its cards, and the workflow that publishes them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from hubpush import __version__
from hubpush.catalog import is_repo_name
from hubpush.errors import UsageError

FILES = {
    "family.toml": "family.toml",
    "templates/sections/limits.md.jinja": "limits.md.jinja",
    ".github/workflows/republish.yml": "republish.yml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
}
"""What is written, by its path, and the file of this package that it is made from."""


def write(directory: Path, org: str) -> list[Path]:
    """Write a starter repository. What is there already stays, so nothing is written if any of its files is there.

    Args:
        directory: The repository; it is created.
        org: Owner of the repos on the Hub.

    Returns:
        The files.

    Raises:
        UsageError: The owner is none, or something is in the way.
    """
    if not is_repo_name(org):
        raise UsageError(f"--org {org!r} is no owner on the Hub", hint="give the name alone: --org my-org")
    texts = resources.files("hubpush") / "starter_files"
    made = {
        directory / place: (texts / name)
        .read_text(encoding="utf-8")
        .replace("@ORG@", org)
        .replace("@VERSION@", __version__)
        for place, name in FILES.items()
    }
    if there := [path for path in made if path.exists() or path.is_symlink()]:
        raise UsageError(
            f"{', '.join(map(str, there))} {'is' if len(there) == 1 else 'are'} there already: nothing was written",
            hint="give another directory, or move them away",
        )
    try:
        for path, text in made.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be written: {error.strerror}", hint="give another directory"
        ) from None
    return list(made)
