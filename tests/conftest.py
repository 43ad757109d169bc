"""What every test runs in: no network but loopback, no home directory, a made-up token that must show up nowhere."""

import atexit
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

CANARY = "hf_canaryCanaryCanaryCanaryCanary12"

# huggingface_hub and transformers read these when they are imported, so they are set before any test module is.
for _name in (
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_ENDPOINT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
):
    os.environ.pop(_name, None)
# The home directory is an empty folder, and so is every cache that would lie in it.
_home = tempfile.mkdtemp(prefix="hubpush-tests-home-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ |= {
    "HOME": _home,
    "USERPROFILE": _home,
    "XDG_CACHE_HOME": f"{_home}/cache",
    "HF_HOME": f"{_home}/hf",
    "HF_TOKEN": CANARY,
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "NO_COLOR": "1",
}


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """A connection to anything but this machine fails the test that asks for it."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else None
        if self.family in (socket.AF_INET, socket.AF_INET6) and host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test connects to {address!r}")
        connect(self, address)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny lively release with all heads, written by TensorFlow's Saver: a directory. Read only."""
    from tests import checkpoints

    folder = tmp_path_factory.mktemp("release") / "tiny"
    checkpoints.write_release(folder)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test states the law it checks."""
    silent = [item.nodeid for item in items if isinstance(item, pytest.Function) and not item.function.__doc__]
    if silent:
        raise pytest.UsageError(f"tests without a docstring that states their law: {', '.join(silent)}")
