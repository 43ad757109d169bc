"""A family of two tiny releases on a disk, the command that publishes it, and ways to spoil it."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from hubpush import localhub

FAMILY = """
format = 1
name = "tinies"
title = "Tinies"
summary = "Small models for tests."

[defaults]
license = "apache-2.0"
language = ["en"]
cased = false

[[releases]]
name = "tiny-a"
title = "Tiny A"
source = "tiny-a.zip"

[[releases]]
name = "tiny-b"
title = "Tiny B"
source = "tiny-b.zip"
"""


@dataclass
class Result:
    """What a command came to."""

    code: int
    out: str
    err: str


@dataclass
class Workshop:
    """A family of two tiny releases on a disk, and a place to publish it to."""

    root: Path
    run: Callable[..., Result]

    @property
    def family(self) -> Path:
        return self.root / "tinies.toml"

    @property
    def hub(self) -> Path:
        return self.root / "hub"

    def main_job(self, *arguments: str) -> Result:
        """`convert-and-upload` of the family."""
        return self.run("convert-and-upload", "--family", self.family, "--org", "acme", *self.places(), *arguments)

    def single(self, source: Path | str, *arguments: str) -> Result:
        """`convert-and-upload` of one checkpoint."""
        given = ("--source", source, "--repo-id", "me/mine", "--license", "mit")
        return self.run("convert-and-upload", *given, *self.places(), *arguments)

    def places(self) -> tuple[object, ...]:
        return ("--hub", self.hub, "--work", self.root / "work")

    def published(self) -> list[str]:
        """Repos of the Hub with a release in them."""
        if not self.hub.exists():
            return []
        with localhub.serve(self.hub) as url:
            api = HfApi(endpoint=url, token="embedded")
            return sorted(
                m.id for m in api.list_models() if any(f == "hubpush.json" for f in api.list_repo_files(m.id))
            )


def heads(hub: Path) -> dict[str, str]:
    """The newest commit and the tags of every repo."""
    with localhub.serve(hub) as url:
        api = HfApi(endpoint=url, token="embedded")
        return {
            m.id: f"{api.list_repo_commits(m.id)[0].commit_id} {[t.name for t in api.list_repo_refs(m.id).tags]}"
            for m in api.list_models()
        }


def imports(arguments: list[object]) -> set[str]:
    """Names of the modules that a command loads."""
    script = (
        "import sys\nfrom hubpush import cli\nsys.argv = ['hubpush', *sys.argv[1:]]\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8", newline="\n")


def truncate(folder: Path) -> None:
    """Cut the end of a data file off."""
    data = next(folder.glob("*.data-*"))
    data.write_bytes(data.read_bytes()[:-100])


def flip(folder: Path) -> None:
    """Flip a bit in the data file."""
    data = next(folder.glob("*.data-*"))
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(bytes(content))


def drop_line(folder: Path) -> None:
    """Leave a line out of the vocabulary."""
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    (folder / "vocab.txt").write_text("\n".join([*lines[:200], *lines[201:]]), encoding="utf-8", newline="\n")
