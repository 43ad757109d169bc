"""Fixtures for all tests: loopback alone, a tiny release, a family and the command that carries it."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hubpush import catalog, cli, manifest, publish
from tests import CANARY, checkpoints
from tests.workshop import FAMILY, Result, Workshop


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


@pytest.fixture
def lfs_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """huggingface_hub in this process uploads by LFS, and knows no saved token."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny lively release with all heads, written by TensorFlow's Saver: a directory. Read only."""
    folder = tmp_path_factory.mktemp("release") / "tiny"
    checkpoints.write_release(folder)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The `hubpush` command, in this process."""
    monkeypatch.setattr(publish, "_PAUSE", 0.0)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["hubpush", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capfd.readouterr()
        assert CANARY not in out + err
        assert "Traceback" not in err
        return Result(int(caught.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two zips: all heads, and a bare encoder."""
    root = tmp_path_factory.mktemp("archives")
    for name, heads, seed in (("tiny-a", checkpoints.HEADS, 0), ("tiny-b", ("pooler",), 1)):
        checkpoints.write_release(root / name, heads=heads, seed=seed)
        checkpoints.zip_release(root / name, root / f"{name}.zip")
        shutil.rmtree(root / name)
    (root / "tinies.toml").write_text(FAMILY)
    lock = catalog.Lock(
        sources={
            f"{name}.zip": catalog.Pin(
                sha256=manifest.describe(root / f"{name}.zip").sha256, size=(root / f"{name}.zip").stat().st_size
            )
            for name in ("tiny-a", "tiny-b")
        }
    )
    catalog.write_lock(root / "tinies.lock.json", lock)
    return root


@pytest.fixture
def shop(tmp_path: Path, archives: Path, run: Callable[..., Result]) -> Workshop:
    """A writable copy of the family, unpublished."""
    shutil.copytree(archives, tmp_path / "shop")
    return Workshop(tmp_path / "shop", run)


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory, archives: Path) -> Path:
    """The family, published once: copied by the tests that begin there."""
    root = tmp_path_factory.mktemp("done") / "shop"
    shutil.copytree(archives, root)
    subprocess.run(
        [
            *(sys.executable, "-m", "hubpush.cli", "convert-and-upload", "--family", str(root / "tinies.toml")),
            *("--org", "acme", "--hub", str(root / "hub"), "--work", str(root / "work"), "--jobs", "2", "-q"),
        ],
        check=True,
    )
    return root


@pytest.fixture
def after(tmp_path: Path, done: Path, run: Callable[..., Result]) -> Workshop:
    """A writable copy of the family, published."""
    shutil.copytree(done, tmp_path / "shop")
    return Workshop(tmp_path / "shop", run)


@pytest.fixture
def checkpoint(release: Path, tmp_path: Path) -> Path:
    """A writable copy of the tiny release."""
    return Path(shutil.copytree(release, tmp_path / "checkpoint"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test states the law it checks."""
    silent = [item.nodeid for item in items if isinstance(item, pytest.Function) and not item.function.__doc__]
    if silent:
        raise pytest.UsageError(f"tests without a docstring that states their law: {', '.join(silent)}")
