"""One checkpoint to a model folder, and the record of how it came about.

`read` tells what a checkpoint is, `convert` writes the folder, `prove` compares the two, `record` says it in numbers
and digests. Nothing here knows of a Hub: this is what `hubpush convert` needs, and it imports no more than that.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from hubpush import __version__, manifest, parity, source
from hubpush.architectures import Activation, Architecture
from hubpush.catalog import Release
from hubpush.manifest import Build

if TYPE_CHECKING:
    from hubpush.checkpoint import Checkpoint
    from hubpush.mapping import Account
    from hubpush.model import Converted
    from hubpush.tokenizer import Vocabulary

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Reading:
    """What a checkpoint is, and what is to be published of it.

    Attributes:
        architecture: The table it is read by.
        account: What becomes of each variable.
        original: The config that came with the checkpoint.
        config: The config to publish.
        vocabulary: The vocabulary.
        cased: Whether the tokenizer keeps case.
        activation: The GELU form.
        asked: What nothing but being asked for decided: `task`, `part`.
        assumed: What nobody said and was taken for granted.
    """

    architecture: Architecture
    account: Account
    original: Mapping[str, Any]
    config: Mapping[str, Any]
    vocabulary: Vocabulary
    cased: bool
    activation: Activation
    asked: tuple[Literal["task", "part"], ...]
    assumed: tuple[str, ...]

    def as_original(self, files: source.Files) -> parity.Original:
        """What a folder that was made from this checkpoint is compared with."""
        return parity.Original(
            prefix=files.prefix,
            vocab=files.require()[1],
            account=self.account,
            config=self.original,
            published=self.config,
            architecture=self.architecture,
            activation=self.activation,
            cased=self.cased,
        )


@dataclass(frozen=True)
class Conversion:
    """A model folder, and how it came about.

    Attributes:
        reading: What the checkpoint was read as.
        written: The weights that were written, with all digests that were computed on the way.
    """

    reading: Reading
    written: Converted


def read(checkpoint: Checkpoint, files: source.Files, release: Release) -> Reading:
    """Read what a checkpoint is; its config and vocabulary are checked, its weights are not looked at.

    Raises:
        SourceError: Config or vocabulary are not there.
        CheckpointError: The checkpoint is of a kind that is not read.
        ModelError: Names, shapes or config do not fit the architecture.
        TokenizerError: The vocabulary would give other ids.
    """
    from hubpush import mapping, model, tokenizer

    architecture = mapping.recognize(checkpoint, release.architecture, release.part)
    is_one_of_parts = len(mapping.recognized(checkpoint, release.architecture)) > 1
    config_file, vocab_file = files.require(f"{architecture.model_type}_config.json")
    original = model.read_config(config_file, architecture, release.config)
    vocabulary = tokenizer.read_vocab(vocab_file, original["vocab_size"], release.vocab_lines)
    cased = tokenizer.casing(vocabulary, release.cased)
    activation = release.activation or architecture.activation
    account = mapping.account(
        checkpoint, original, architecture, task=release.task, labels=release.labels, averaged=release.averaged
    )
    account.require()
    config = model.published_config(original, architecture, account, activation, release.labels)
    assumed = {
        f"the activation is {activation}: {account.activation_source or architecture.activation_source}": (
            release.activation is None
        ),
        f"the model is {'cased' if cased else 'uncased'}, as its vocabulary plainly is": release.cased is None,
        "the labels have no names but LABEL_0, LABEL_1, …": account.labels is not None and not release.labels,
        "the labels exclude each other, as run_classifier.py's do: pipelines give the softmax of the scores": (
            account.labels is not None
        ),
        "the raw weights are meant, not their exponential moving averages": account.is_raw,
    }
    heads = (
        f"the number of attention heads is {original['num_attention_heads']}, as the config that was given apart says"
    )
    assumed[f"{heads}: no shape confirms it"] = "config" in files.apart and account.layout is None
    if account.layout is not None:
        assumed |= {sentence: group in account.heads | {""} for group, sentence in account.layout.assumes.items()}
    asked = {"task": not account.is_told, "part": is_one_of_parts}
    return Reading(
        architecture,
        account,
        original,
        config,
        vocabulary,
        cased,
        activation,
        tuple(name for name in ("task", "part") if asked[name]),
        tuple(sentence for sentence, is_assumed in assumed.items() if is_assumed),
    )


def convert(
    files: source.Files, folder: Path, release: Release, *, allow_nonfinite: bool = False, alone: bool = True
) -> Conversion:
    """Write the model and the tokenizer of one checkpoint to an empty folder.

    The small files are read and checked first: a wrong vocabulary is found before the weights are written.

    Args:
        files: The files of the source.
        folder: The folder.
        release: What is known of the release.
        allow_nonfinite: Write NaN and infinity as they are.
        alone: Whether there are processors that nothing else keeps busy.

    Raises:
        SourceError: Config or vocabulary are not there.
        CheckpointError: The checkpoint is damaged, or of a kind that is not read.
        ModelError: Names, shapes or config do not fit the architecture.
        TokenizerError: The vocabulary would give other ids.
    """
    from hubpush import model, tokenizer
    from hubpush.checkpoint import Checkpoint

    with Checkpoint(files.prefix) as checkpoint:
        found = read(checkpoint, files, release)
        written = model.convert(
            checkpoint, found.account, found.config, folder, allow_nonfinite=allow_nonfinite, alone=alone
        )
    length = found.original["max_position_embeddings"]
    tokenizer.write(found.vocabulary, folder, cased=found.cased, model_max_length=length)
    return Conversion(found, written)


def prove(
    folder: Path,
    files: source.Files,
    reading: Reading,
    release: Release,
    references: Sequence[parity.Asked],
    progress: Callable[[float], None],
) -> parity.ParityReport:
    """Compare a folder with the checkpoint that it is said to be made from."""
    return parity.measure(folder, reading.as_original(files), references, release.divergences, progress=progress)


def record(
    release: Release,
    files: source.Files,
    folder: Path,
    reading: Reading,
    report: parity.ParityReport | None,
    *,
    name: str | None = None,
    written: Converted | None = None,
    nonfinite: bool = False,
) -> Build:
    """What is known of a conversion: what went in, what came out, what was measured.

    Args:
        release: What was asked for.
        files: The files of the source.
        folder: The converted files.
        reading: What the checkpoint was read as.
        report: What was measured on the folder, or None.
        name: What the source is called; None for its own name.
        written: What was written just now, with its digests; without it all files are read for theirs.
        nonfinite: Whether NaN and infinite weights were allowed.

    Raises:
        ModelError: Code that the card shows does not run on the folder.
        SourceError: A file of the source cannot be read.
    """
    read_already = source.digests(files.weights(), written.sources if written is not None else None)
    archive = source.identity(files, read_already)
    digests = {file: manifest.File(sha256=sha256, size=size) for file, (sha256, size) in read_already.items()}
    texts = {role: manifest.describe(path) for role, path in files.texts().items()}
    for role, path in files.texts().items():
        digests[path.name if path.name not in digests else f"{path.name} ({role})"] = texts[role]
    account = reading.account
    dropped: dict[str, list[str]] = {}
    for fate in account.dropped():
        dropped.setdefault(fate.reason, []).append(fate.variable.name)
    model = manifest.Model(
        architecture=reading.architecture.name,
        layout=None if account.layout is None else account.layout.name,
        model_class=account.model_class.name,
        heads=tuple(sorted(account.heads)),
        parameters=sum(math.prod(fate.variable.shape) for fate in account.mapped()),
        cased=reading.cased,
        activation=reading.activation,
        config=reading.config,
        variables=len(account.fates),
        tokens=len(reading.vocabulary.tokens),
        averaged=release.averaged,
        asked=reading.asked,
        dropped={reason: tuple(names) for reason, names in dropped.items()},
        assumed=reading.assumed,
    )
    used = {role: file.sha256 for role, file in texts.items()}
    shown: tuple[manifest.Snippet, ...] = ()
    if report is not None:  # where nothing is compared, what runs models need not be installed
        from hubpush import usage

        shown = usage.run(folder, usage.snippets(model, release.language))
    return Build(
        weights_inputs=manifest.weights_inputs(release, archive.sha256, model, used),
        source=manifest.Source(
            name=archive.name if name is None else name,
            sha256=archive.sha256,
            size=archive.size,
            etag=archive.etag,
            kind="files" if files.archive is None else "archive",
            files=digests,
            texts=used,
            apart=files.apart,
        ),
        model=model,
        files={
            path.name: manifest.describe(path, written.sha256 if written and path.name == WEIGHTS else None)
            for path in sorted(folder.iterdir())
            if path.is_file() and path.name not in (manifest.README, manifest.NAME) and not path.name.startswith(".")
        },
        parity=cast("manifest.Parity", report.to_json()) if report else None,
        samples=cast("manifest.Samples", report.samples) if report and report.samples else None,
        usage=shown,
        forced=bool(report and report.verdict == "fail"),
        nonfinite=nonfinite,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        hubpush=__version__,
    )
