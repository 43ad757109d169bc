"""Laws of the errors: what they carry, where they end, and what they never say."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubpush import client, errors, remote
from hubpush.errors import HubpushError, redact
from tests import CANARY

# The table that a user reads; a station that changes its code breaks somebody's script.
CODES = {
    "HubpushError": 1,
    "MissingExtraError": 1,
    "UsageError": 2,
    "CatalogError": 10,
    "SourceError": 11,
    "CheckpointError": 12,
    "ModelError": 13,
    "TokenizerError": 14,
    "ParityError": 15,
    "CardError": 16,
    "HubRefusedError": 17,
    "HubUnavailableError": 18,
    "DriftError": 19,
}


def every_kind(kind: type[HubpushError] = HubpushError) -> list[type[HubpushError]]:
    """An error and all that are derived from it, wherever they are defined."""
    return [kind, *(below for child in kind.__subclasses__() for below in every_kind(child))]


def test_exit_codes_are_those_of_the_documented_table() -> None:
    """Every error of errors.py has the exit code that the command line promises, and none is without a row."""
    here = {kind.__name__: kind.exit_code for kind in every_kind() if kind.__module__ == errors.__name__}
    assert here == CODES


def test_an_error_of_one_module_alone_counts_as_its_stations() -> None:
    """What a module derives for itself keeps the exit code of its station's error."""
    own = [kind for kind in every_kind() if kind.__module__ in (client.__name__, remote.__name__)]
    assert own
    assert all(kind.exit_code in CODES.values() for kind in own)


def test_no_two_stations_share_an_exit_code() -> None:
    """The exit code alone says which station failed."""
    stations = [kind.exit_code for kind in every_kind() if kind.__module__ == errors.__name__ and kind.exit_code >= 10]
    assert sorted(stations) == sorted(set(stations)) == list(range(10, 20))


@pytest.mark.parametrize("kind", every_kind(), ids=lambda kind: kind.__name__)
def test_an_error_comes_back_whole_from_a_worker_process(kind: type[HubpushError]) -> None:
    """Class, message, hint and exit code of every error survive pickling by every protocol."""
    error = kind("what is wrong: «ü»\n  and why", hint="what to do")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes
        assert type(again) is kind
        assert (again.message, again.hint, str(again)) == (error.message, error.hint, error.message)
        assert again.exit_code == kind.exit_code


def test_an_error_without_a_hint_cannot_be_made() -> None:
    """The next step is a required argument of every error."""
    for kind in every_kind():
        with pytest.raises(TypeError, match="hint"):
            kind("what is wrong")  # type: ignore[call-arg]


SECRETS = [
    (CANARY, CANARY),
    ("token hf_abcDEF0123456789abcDEF0123456789ab!", "abcDEF0123456789"),
    ("hf_canary_4711", "canary_4711"),
    ("https://hf_abcdefghijklmnop@huggingface.co/a/b", "abcdefghijklmnop"),
    ("hf_hubabcdefghijklmnop", "hubabcdefghijklmnop"),
    ("x eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl-_x y", "eyJzdWIiOiJtZSJ9"),
    ("x eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl-_x y", "c2lnbmF0dXJl"),
    ("authorization: Bearer s3cr3t.value", "s3cr3t"),
    ("AUTHORIZATION: BEARER\ts3cr3t", "s3cr3t"),
    ("https://h/a.zip?X-Amz-Signature=s3cr3t&x=1", "s3cr3t"),
    ("https://h/a.zip?x=1&X-Amz-Security-Token=s3cr3t", "s3cr3t"),
    ("https://storage.googleapis.com/a.zip?X-Goog-Signature=s3cr3t", "s3cr3t"),
    ("https://h/a.zip?sig=s3cr3t%3D", "s3cr3t"),
    ("https://h/a.zip?access_token=s3cr3t", "s3cr3t"),
    ("https://h/a.zip?Signature=s3cr3t", "s3cr3t"),
    ("https://h/a.zip?token=s3cr3t and https://h/b.zip?token=s3cr3t", "s3cr3t"),
    ("https://me:s3cr3t@mirror.example/a.zip", "s3cr3t"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_secret_is_taken_out(text: str, secret: str) -> None:
    """Nothing of a token, signed query or password is left, and the reader sees that something was there."""
    assert secret in text
    assert secret not in redact(text)
    assert "[redacted]" in redact(text)


@pytest.mark.parametrize("text", sorted({text for text, _ in SECRETS}))
def test_what_stands_around_a_secret_stays(text: str) -> None:
    """Redacting is idempotent, and the same secret in the middle of a sentence takes nothing of the sentence."""
    assert redact(redact(text)) == redact(text)
    assert redact(f"it says {text} (403)").startswith("it says ")
    assert redact(f"it says {text} (403)").endswith(" (403)")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "google/bert_uncased_L-2_H-128_A-2 is not the pinned source:\n  pinned sha256 " + "0af1" * 16,
        "hf_hub_download() got an unexpected keyword; install hf_xet or hf_transfer",
        "HF_TOKEN is not set; `hf auth login` saves one",
        "https://storage.googleapis.com/bert_models/2020_02_20/uncased_L-2_H-128_A-2.zip?generation=1&alt=media",
        "http://127.0.0.1:8080/api/models/acme/tiny",
        "https://example.org/a:b/me@example.org",
        "bert/encoder/layer_0/attention/self/query/kernel: [128, 128] float32, 3.14e-07 ≤ 1e-05",
        "v1.2.3 eyJ is how a JSON web token begins",
        "tokens and signatures of the tokenizer = 5",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """Digests, URLs, variable names and the client's own function names are no secrets."""
    assert redact(text) == text


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=34, max_size=34), st.text())
def test_a_token_of_the_hub_is_found_in_any_text(letters: str, text: str) -> None:
    """A token as the Hub makes them is taken out wherever it stands."""
    token = f"hf_{letters}"
    assert token not in redact(f"{text}{token}")
    assert token not in redact(f"{token}.{text}")


def test_the_command_line_redacts_what_it_reports() -> None:
    """A secret in a message never reaches the terminal: the one error handler takes it out."""
    code = (
        "import sys; from hubpush import cli, catalog; from hubpush.errors import CatalogError\n"
        "def fail(*_): raise CatalogError('bad hf_abcdefghijklmnop1', hint='see https://h/?token=s3cr3t')\n"
        "catalog.locate = fail\n"
        "sys.argv = ['hubpush', 'catalog', 'x']; cli.main()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 10, run.stderr
    assert "Error: bad hf_[redacted]" in run.stderr
    assert "Hint: see https://h/?token=[redacted]" in run.stderr
    assert "Traceback" not in run.stderr
