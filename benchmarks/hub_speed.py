"""The embedded Hub beside `cp` and `hashlib`, through the real client, each in its own process, in one run.

    python -m benchmarks.hub_speed [--megabytes 440] [--runs 5] [--folder DIR]

A line shows the median of the runs and its ratio to the medians of `cp FILE COPY` and of `hashlib.sha256` over the same
file. What a client must do at least is to hash the file and to send it; what a server must, to hash and to write it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_SMALL = 200
_CLIENT = """
import sys, time
from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download
url, what, path, count = sys.argv[1:]
api = HfApi(endpoint=url, token="hf_any")
if what == "commit":
    added = [CommitOperationAdd("model.safetensors", path)]
    start = time.perf_counter()
    api.create_commit(f"bench/m{count}", added, commit_message="m")
elif what == "download":
    start = time.perf_counter()
    snapshot_download(f"bench/m{count}", endpoint=url, cache_dir=path, token="hf_any")
else:
    start = time.perf_counter()
    for number in range(int(path)):
        api.create_commit(f"bench/m{count}", [CommitOperationAdd(f"{number % 50}", b"%d" % number)], commit_message="m")
print(time.perf_counter() - start)
"""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=440)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work: its file system is what is measured")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        measure(Path(folder), int(asked.megabytes * 1e6), asked.runs)


def measure(folder: Path, size: int, runs: int) -> None:
    """Print the table for a file of random bytes, as float weights are to a compressor."""
    files = [folder / f"model-{run}.bin" for run in range(runs)]
    for file in files:  # a new one each: a file that the Hub knows is not sent again
        with file.open("wb") as handle:
            for start in range(0, size, 1 << 24):
                handle.write(os.urandom(min(1 << 24, size - start)))
    kind = subprocess.run(["df", "--output=fstype", str(folder)], capture_output=True, text=True, check=False).stdout
    print(f"{size / 1e6:.0f} MB, {runs} runs, {os.cpu_count()} cores, file system {kind.split()[-1] if kind else '?'}")
    copies = [_timed(lambda file=file: _copy(file, folder / "copy")) for file in files]
    hashes = [_timed(lambda file=file: _hash(file)) for file in files]
    cp, sha = statistics.median(copies), statistics.median(hashes)
    print(f"{'cp':34}{cp:8.2f} s\n{'hashlib.sha256':34}{sha:8.2f} s")

    def line(name: str, seconds: list[float]) -> None:
        middle = statistics.median(seconds)
        ratios = f"{middle / cp:6.2f} × cp {middle / sha:6.2f} × sha256"
        print(f"{name:34}{middle:8.2f} s {ratios} {size / middle / 1e6:6.0f} MB/s")

    for mode, variables in (("LFS", {"HF_HUB_DISABLE_XET": "1"}), ("xet", {})):
        server, url = _serve(folder / f"hub-{mode}")
        _repos(url, runs + 1)
        own = {**variables, "HF_HOME": str(folder / f"home-{mode}"), "HF_XET_CACHE": str(folder / f"cache-{mode}")}
        first = _peak(server)
        line(f"create_commit, {mode}", [_client(url, own, "commit", file, n) for n, file in enumerate(files)])
        loads = [_client(url, own, "download", folder / f"got-{mode}-{n}", n) for n in range(runs)]
        line(f"snapshot_download, {mode}", loads)
        got = next((folder / f"got-{mode}-0").rglob("model.safetensors"))
        if got.stat().st_size != size or _hash(got) != _hash(files[0]):
            raise SystemExit("what came back is not what was sent")
        print(
            f"{f'memory of the server, {mode}':34}{_peak(server) / 1e6:8.0f} MB at most ({first / 1e6:.0f} MB before)"
        )
        if mode == "LFS":
            seconds = [_client(url, own, "small", Path(str(_SMALL)), runs) for _ in range(runs)]
            print(f"{'small commits':34}{_SMALL / statistics.median(seconds):8.0f} each second (preupload and commit)")
        server.kill()
        server.wait()
        shutil.rmtree(folder / f"hub-{mode}")
        for number in range(runs):
            shutil.rmtree(folder / f"got-{mode}-{number}")


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _copy(file: Path, copy: Path) -> None:
    subprocess.run(["cp", "--reflink=never", str(file), str(copy)], check=True)


def _hash(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _serve(directory: Path) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "hubpush.cli", "hub", "serve", str(directory), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline() if server.stdout else ""
    if "HF_ENDPOINT=" not in line:
        raise SystemExit("the embedded Hub did not start")
    return server, line.partition("HF_ENDPOINT=")[2].partition(";")[0]


def _repos(url: str, count: int) -> None:
    from huggingface_hub import HfApi

    for number in range(count):
        HfApi(endpoint=url, token="hf_any").create_repo(f"bench/m{number}")  # noqa: S106


def _client(url: str, variables: dict[str, str], what: str, path: Path, number: int) -> float:
    command = [sys.executable, "-c", _CLIENT, url, what, str(path), str(number)]
    environment = {**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", **variables}
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def _peak(server: subprocess.Popen[str]) -> int:
    """Bytes of the largest resident set so far (Linux)."""
    try:
        status = Path(f"/proc/{server.pid}/status").read_text()
    except OSError:
        return 0
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main()
