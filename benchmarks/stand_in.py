"""Make stand-ins for the 24 BERT miniatures: archives of the same shapes and form, with random weights.

    python -m benchmarks.stand_in OUT [--only GLOB ...] [--tiny] [--bundle]

OUT gets one zip for each miniature, under the name that it has in the family's URL and laid out like it:
bert_config.json, vocab.txt and a checkpoint by TensorFlow's own Saver, with the pooler and both heads. The values are
lively random numbers. Nobody trained them, and every title and note says so. Beside the zips stand a family file
and its lock, so that a whole family can be carried and measured at its true sizes, without the network:

    hubpush convert-and-upload --family OUT/stand-in.toml --org demo --hub ./hub

OUT, or a server of it, is also a mirror of this family (`--source`). Do not give it to `bert-miniatures`: the releases
there that have a `data_sha256` refuse these archives, and on the cards of the others they would pass for Google's.

`--tiny` makes all 24 an eighth as wide, in seconds. `--bundle` adds all_bert_models.zip, a zip of the zips as there is
one in the bucket. A run that was interrupted goes on where it stopped: an archive that is what its lock entry says is
kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import time
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from hubpush import catalog
from hubpush.catalog import Family, Lock, Pin, Release
from hubpush.errors import HubpushError, UsageError
from tests import checkpoints

FAMILY = "stand-in.toml"
LOCK = "stand-in.lock.json"
BUNDLE = "all_bert_models.zip"

_SHARED: Mapping[str, Any] = {
    "architecture": "bert",
    "license": "apache-2.0",
    "language": ["en"],
    "cased": False,
    "activation": "gelu_pytorch_tanh",
    "activation_source": "no training can tell; it is the form that google-research/bert computes since commit bee6030"
    " (2019-02-07), and so the one of the models whose shapes these are",
    "tags": ["random-weights"],
    "note": "It is a stand-in: its weights are random numbers that nobody trained, and it is no release of Google's.",
    "intended_use": "To measure and to rehearse how BERT models are converted and published.",
    "limitations": "What it computes means nothing.",
}
_OWN = ("name", "title", "source", "config")


def stand_ins(*, tiny: bool = False) -> Family:
    """The whole family: a stand-in for each release of `bert-miniatures`, with the sizes that are written there.

    Args:
        tiny: An eighth of the hidden and intermediate sizes, with the vocabulary and the positions of the tests.
    """
    releases = []
    for miniature in catalog.load(catalog.locate("bert-miniatures"))[0].releases:
        sizes = dict(miniature.config)
        shape = f"L={sizes['num_hidden_layers']}, H={sizes['hidden_size']}"
        own = {
            "name": "stand-in-L-{num_hidden_layers}_H-{hidden_size}_A-{num_attention_heads}".format_map(sizes),
            "title": f"Tiny stand-in for {shape}, random weights" if tiny else f"Stand-in ({shape}, random weights)",
            "source": PurePosixPath(miniature.source).name,
        }
        if tiny:
            sizes |= {key: sizes[key] // 8 for key in ("hidden_size", "intermediate_size")}
            sizes |= {key: checkpoints.TINY[key] for key in ("vocab_size", "max_position_embeddings")}
        releases.append(Release.model_validate({**_SHARED, **own, "config": sizes}))
    return Family(
        format=1,
        name="stand-in",
        title="Stand-ins for the BERT miniatures, with random weights",
        summary="Random weights in the shapes of the 24 BERT miniatures, made to measure and rehearse hubpush: nobody"
        " trained them, and they are no release of Google's.",
        releases=tuple(releases),
    )


def make(out: Path, *, only: Iterable[str] = (), tiny: bool = False, bundle: bool = False) -> Family:
    """Write archives, their family file and its lock; what earlier runs left in the directory stays in the family.

    Args:
        out: The directory; it is created.
        only: Globs over the names of releases; without one all 24 are made.
        tiny: See `stand_ins`.
        bundle: Also write the zip of all zips that are there then.

    Returns:
        The family as it was written, with the releases whose archives are there.

    Raises:
        HubpushError: A glob matches nothing, or the directory holds stand-ins of other sizes.
    """
    whole = stand_ins(tiny=tiny)
    chosen = catalog.select(whole, only)
    out.mkdir(parents=True, exist_ok=True)
    pins = _pins_of_earlier_runs(out, whole)
    for release in chosen:
        started, target, pin = time.monotonic(), out / release.source, pins.get(release.source)
        if pin is not None and target.is_file() and _pin(target) == pin:
            _say(f"{release.name}: kept, {pin.size:,} bytes")
            continue
        pins[release.source] = pin = _write_archive(target, release)
        _write_family(out, whole, pins)
        _say(f"{release.name}: made, {pin.size:,} bytes, {time.monotonic() - started:.1f} s")
    family = _write_family(out, whole, pins)
    if bundle:
        sources = [release.source for release in family.releases]
        target = out / BUNDLE
        kept = _holds(target, {source: pins[source] for source in sources})
        if not kept:
            _write_bundle(target, [out / source for source in sources])
        _say(f"{BUNDLE}: {'kept' if kept else 'made'}, {len(sources)} archives, {target.stat().st_size:,} bytes")
    return family


def _pins_of_earlier_runs(out: Path, whole: Family) -> dict[str, Pin]:
    """What the lock says of the archives that are there; the family file beside it must be of the same sizes."""
    path = out / FAMILY
    if not path.exists():
        return {}
    family, lock = catalog.load(path)
    wanted = {release.name: release for release in whole.releases}
    for release in family.releases:
        if release.name not in wanted or wanted[release.name].config != release.config:
            raise UsageError(
                f"{path} has other sizes for {release.name}",
                hint="--tiny makes another family than a run without it: give each a directory of its own",
            )
    sources = [release.source for release in whole.releases]
    return {s: lock.sources[s] for s in sources if s in lock.sources and (out / s).is_file()}


def _write_archive(target: Path, release: Release) -> Pin:
    """Make one release; the archive gets its name when it is whole."""
    folder = target.with_name("stand-in.part")
    shutil.rmtree(folder, ignore_errors=True)  # a run that was killed leaves it behind
    seed = zlib.crc32(release.name.encode())
    checkpoints.write_release(folder, config={**checkpoints.TINY, **release.config}, seed=seed)
    part = _part(target)
    checkpoints.zip_release(folder, part)
    shutil.rmtree(folder)
    pin = _pin(part)
    part.replace(target)
    return pin


def _write_family(out: Path, whole: Family, pins: Mapping[str, Pin]) -> Family:
    """Write the lock and the family file of the releases that have a pin; files that say so already are left alone."""
    family = whole.model_copy(update={"releases": tuple(r for r in whole.releases if r.source in pins)})
    lock, path = out / LOCK, out / FAMILY
    catalog.write_lock(_part(lock), Lock(sources=pins))
    _part(path).write_text(_toml(family), encoding="utf-8", newline="\n")
    for target in (lock, path):
        part = _part(target)
        if target.exists() and target.read_bytes() == part.read_bytes():
            part.unlink()
        else:
            part.replace(target)
    return family


def _toml(family: Family) -> str:
    """A family file that loads as this family."""
    head = family.model_dump(mode="json", exclude={"releases"})
    tables = [family.releases[0].model_dump(mode="json", include=set(_SHARED))]
    tables += [release.model_dump(mode="json", include=set(_OWN)) for release in family.releases]
    names = ["[defaults]", *["[[releases]]"] * len(family.releases)]
    lines = ["# Made by benchmarks/stand_in.py: random weights that nobody trained.", "", *_pairs(head)]
    for name, table in zip(names, tables, strict=True):
        lines += ["", name, *_pairs(table)]
    return "\n".join(lines) + "\n"


def _pairs(table: Mapping[str, Any]) -> list[str]:
    # TOML writes texts, numbers, booleans and lists of them as JSON does, and a table of numbers with = for the colon.
    return [
        f"{key} = {{ {', '.join(_pairs(value))} }}" if isinstance(value, dict) else f"{key} = {json.dumps(value)}"
        for key, value in table.items()
        if value is not None
    ]


def _write_bundle(target: Path, archives: Sequence[Path]) -> None:
    """Put archives into one, as they are."""
    part = _part(target)
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as bundle:
        for path in archives:
            member = zipfile.ZipInfo(path.name, (2020, 3, 11, 0, 0, 0))
            member.create_system = 3  # Unix, on every platform
            member.external_attr = 0o100644 << 16
            with bundle.open(member, "w") as inside, path.open("rb") as stream:
                shutil.copyfileobj(stream, inside, 1 << 20)
    part.replace(target)


def _holds(bundle: Path, pins: Mapping[str, Pin]) -> bool:
    """Whether a bundle has exactly these archives, in this order."""
    if not bundle.is_file():
        return False
    try:
        with zipfile.ZipFile(bundle) as opened:
            if opened.namelist() != list(pins):
                return False
            for name, pin in pins.items():
                with opened.open(name) as stream:
                    if _digest(stream) != pin.sha256:
                        return False
    except zipfile.BadZipFile:
        return False
    return True


def _pin(path: Path) -> Pin:
    with path.open("rb") as stream:
        return Pin(size=path.stat().st_size, sha256=_digest(stream))


def _digest(stream: Any) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stand_in", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="directory for the archives, the family file and its lock"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="GLOB", help="names of releases, such as '*L-2_*'")
    parser.add_argument("--tiny", action="store_true", help="an eighth as wide, for fast tests")
    parser.add_argument("--bundle", action="store_true", help=f"also write {BUNDLE}, a zip of the zips")
    given = parser.parse_args(arguments)
    try:
        make(given.out, only=given.only, tiny=given.tiny, bundle=given.bundle)
    except HubpushError as error:
        _say(f"{error.message}\n{error.hint}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
