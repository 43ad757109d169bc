"""What a folder can be compared with, as `--parity` names it: `graph,tokenizer,tfhub=PATH|URL,repo=REPO_ID,keras`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from hubpush.catalog import REFERENCES, Divergence, Release, is_allowed_url
from hubpush.errors import CatalogError, UsageError

PACKAGES = {
    "graph": ("tensorflow", "torch", "transformers"),
    "tokenizer": ("transformers",),
    "tfhub": ("tensorflow", "torch", "transformers"),
    "repo": ("torch", "transformers"),
    "keras": ("tensorflow", "torch", "transformers", "keras_hub"),
}
"""What each needs to be installed; see `hubpush.catalog.REFERENCES` for what each is."""


@dataclass(frozen=True)
class Asked:
    """One reference that is asked for.

    Attributes:
        name: One of `REFERENCES`.
        where: What a person wrote behind `=`: a path, a URL, a repo; None where nothing is needed, or the family says.
        folder: Where it is on this machine, once it is there.
        sha256: Digest of the archive that it came in, where it came in one.
    """

    name: str
    where: str | None = None
    folder: Path | None = None
    sha256: str | None = None

    @property
    def source(self) -> str | None:
        """What may be written of it: a URL without its query, a repo, a path's last part."""
        if self.where is None or (self.name == "repo" and not self.is_path):
            return self.where
        return self.where.partition("?")[0] if "://" in self.where else PurePosixPath(Path(self.where).name).name

    @property
    def label(self) -> str:
        """How reports and family files call it: `keras`, `tfhub=https://…`."""
        return self.name if self.source is None else f"{self.name}={self.source}"

    @property
    def is_path(self) -> bool:
        """Whether it lies on this machine."""
        where = self.where or ""
        return where.startswith((".", "/", "~")) or (self.name == "tfhub" and "://" not in where)

    def of(self, release: Release) -> Asked:
        """This reference for a release: what is not said on the command line, its family file says.

        Raises:
            CatalogError: It does not.
        """
        known = {"tfhub": ("tfhub", release.tfhub), "repo": ("official_repo", release.official_repo)}
        if self.where is not None or self.name not in known:
            return self
        key, where = known[self.name]
        if where is None:
            raise CatalogError(
                f"{release.name}: nothing says which {self.name} to compare with",
                hint=f"name it, --parity …,{self.name}=…, or `{key}` in the family file",
            )
        return replace(self, where=where)

    def declared(self, divergences: Sequence[Divergence]) -> tuple[Divergence, ...]:
        """Those of a release's known divergences that are about this reference."""
        return tuple(one for one in divergences if one.reference in (self.name, self.label))


DEFAULT = (Asked("graph"), Asked("tokenizer"))
"""What every published model is compared with."""


def parse(text: str) -> tuple[Asked, ...]:
    """The references that a person asks for, in the order of `REFERENCES`.

    Args:
        text: As on the command line; a comma within a path or URL is one of it.

    Raises:
        UsageError: One is none, is given twice, or lacks what it is to be compared with.
    """
    found: dict[str, Asked] = {}
    for part in re.split(rf",(?=\s*(?:{'|'.join(REFERENCES)})\s*(?:[,=]|$))", text):
        name, has_where, where = (piece.strip() for piece in part.partition("="))
        if name not in REFERENCES:
            raise UsageError(f"--parity {name!r} is no reference", hint=f"there are: {', '.join(REFERENCES)}")
        if name in found:
            raise UsageError(f"--parity names {name} twice", hint="give each once")
        takes = name in ("tfhub", "repo")
        if bool(has_where) and not (takes and where):
            raise UsageError(
                f"--parity {part.strip()!r} is not understood",
                hint="tfhub=PATH|URL and repo=REPO_ID name what to compare with; the others stand alone",
            )
        if name == "tfhub" and "://" in where and not is_allowed_url(where):
            raise UsageError(f"--parity: {where} is not https", hint="plain http is taken from this machine alone")
        found[name] = Asked(name, where or None)
    return tuple(found[name] for name in REFERENCES if name in found)
