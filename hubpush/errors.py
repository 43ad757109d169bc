"""One error per station of the path, each with its exit code and a hint that says what to do next."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path


class HubpushError(Exception):
    """A failure that hubpush understands: what is wrong, why, and what to do next.

    Args:
        message: What is wrong and why, in one line where possible.
        hint: The next step for the person who reads it.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword-only arguments do not survive the trip from a worker process otherwise.
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[HubpushError], message: str, hint: str) -> HubpushError:
    return kind(message, hint=hint)


class MissingExtraError(HubpushError):
    """A station needs a package that the core does not install."""


class UsageError(HubpushError):
    """The command line asks for something that cannot be meant."""

    exit_code = 2


@dataclass(frozen=True)
class Mistake:
    """One mistake in a file that a person wrote.

    Attributes:
        file: The file, as the person named it.
        line: Its line, from 1; None where none is at fault.
        message: What is wrong there.
    """

    file: Path
    line: int | None
    message: str


class CatalogError(HubpushError):
    """A family file or lock does not say what it must.

    Attributes:
        mistakes: Where, as far as it is known.
    """

    exit_code = 10

    def __init__(self, message: str, *, hint: str, mistakes: tuple[Mistake, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.mistakes = mistakes

    def __reduce__(self) -> tuple[object, ...]:
        return (functools.partial(CatalogError, hint=self.hint, mistakes=self.mistakes), (self.message,))


class SourceError(HubpushError):
    """A source cannot be fetched, is not the pinned one, or is an archive that must not be opened."""

    exit_code = 11


class CheckpointError(HubpushError):
    """A TensorFlow checkpoint is absent, damaged, or of a kind that is not read."""

    exit_code = 12


class ModelError(HubpushError):
    """Names, shapes or the config do not fit the architecture."""

    exit_code = 13


class TokenizerError(HubpushError):
    """A vocabulary does not give the ids it must."""

    exit_code = 14


class ParityError(HubpushError):
    """The converted model does not compute what the original computes."""

    exit_code = 15


class CardError(HubpushError):
    """A template or the card's metadata is wrong."""

    exit_code = 16


class HubRefusedError(HubpushError):
    """The Hub said no: permission, quota, or a card it does not accept."""

    exit_code = 17


class HubUnavailableError(HubpushError):
    """The Hub did not answer, or asks to come back later."""

    exit_code = 18


class DriftError(HubpushError):
    """What stands on the Hub is not what was expected there."""

    exit_code = 19


def holds_token(text: str) -> bool:
    """Whether a text holds what can only be a secret: a Hub token at its length, or a JSON web token."""
    return (
        re.search(r"\bhf_[A-Za-z0-9]{30,}\b|\bhf_jwt_\S{20}|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}", text) is not None
    )


def redact(text: str) -> str:
    """Text without what looks like a secret: Hub tokens, JSON web tokens, bearer headers, signed queries, passwords."""
    # The names of the client's own packages and functions are no tokens: hf_hub_download, hf_xet, hf_raise_for_status.
    text = re.sub(r"hf_(?!(?:hub|xet|transfer|raise)(?![A-Za-z0-9]))[A-Za-z0-9_]{3,}", "hf_[redacted]", text)
    text = re.sub(r"eyJ[\w-]+\.[\w-]+\.[\w-]*", "[redacted]", text)
    text = re.sub(r"(?i)(bearer\s+)\S+", r"\1[redacted]", text)
    text = re.sub(r"(://)[^/\s:@]*:[^/\s@]*@", r"\1[redacted]@", text)
    return re.sub(r"(?i)([?&](?:[\w-]*[_-])?(?:signature|token|sig)=)[^&\s]+", r"\1[redacted]", text)
