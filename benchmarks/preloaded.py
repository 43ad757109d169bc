"""What each publisher in a process of its own begins with: the server that forks them imports this once.

A first plan compiles the card's templates and loads what draws its chart; without it every publisher would do so again,
which is most of what a tiny publish costs.
"""

import encodings.idna  # noqa: F401 - for the address of the first request
import tempfile
from pathlib import Path

import hubpush.rights  # noqa: F401
from benchmarks.crash import Wanted
from hubpush.planning import plan
from hubpush.remote import Remote

with tempfile.TemporaryDirectory() as _folder:
    plan(Remote(exists=False), Wanted().candidate(Path(_folder)), None, "2026-11-22")
