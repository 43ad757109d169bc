"""Eight clients commit to one repository of an embedded Hub at once, and the server is killed under them.

Every commit is answered for: it is in the history exactly once if it was acknowledged, not at all if it was refused
with 412, and at most once if the connection broke before an answer. `git fsck` is clean, every LFS file is whole.

    python -m benchmarks.hub_writers [--seconds 60] [--clients 8] [--kills 10] [--seed N]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

REPO = "acme/contended"
_QUIET = {
    "HF_HUB_VERBOSITY": "critical",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def main() -> int:
    """Run it, print what was counted, and return 1 if a law was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--client", nargs=3, metavar=("URL", "NUMBER", "LOG"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.client:
        url, number, log = asked.client
        _client(url, int(number), Path(log), asked.seconds, asked.clients, random.Random(asked.seed))  # noqa: S311
        return 0
    with tempfile.TemporaryDirectory() as folder:
        broken = prove(Path(folder), asked.seconds, asked.clients, asked.kills, asked.seed)
    for law in broken:
        print(f"BROKEN: {law}")
    return 1 if broken else 0


def prove(folder: Path, seconds: float, clients: int, kills: int, seed: int) -> list[str]:
    """Let the clients write for so long, killing the server so often, and return the laws that were broken."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    chance, url = random.Random(seed), f"http://127.0.0.1:{port}"  # noqa: S311
    server = _serve(folder / "hub", port)
    from huggingface_hub import HfApi

    HfApi(endpoint=url, token="hf_any").create_repo(REPO)  # noqa: S106
    start, logs = time.monotonic(), [folder / f"client-{number}.log" for number in range(clients)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.hub_writers", "--client", url, str(number), log,
             "--seconds", str(seconds), "--clients", str(clients), "--seed", str(seed + number)],
            env={**os.environ, **_QUIET, "HF_HOME": str(folder / "home")},
        )
        for number, log in enumerate(logs)
    ]  # fmt: skip
    # They may need seconds to start; a kill before the first commit would show nothing.
    while not any(log.exists() and log.stat().st_size for log in logs):
        time.sleep(0.05)
    for moment in sorted(chance.uniform(0.05, 0.95) * seconds for _ in range(kills)):
        time.sleep(max(0.0, start + moment - time.monotonic()))
        server.kill()
        server.wait()
        server = _serve(folder / "hub", port)
    codes = [writer.wait() for writer in writers]
    server.send_signal(signal.SIGINT)
    server.wait()
    return _check(folder, logs, codes, kills, seed, time.monotonic() - start)


def _serve(directory: Path, port: int) -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, "-m", "hubpush.cli", "hub", "serve", str(directory), "--port", str(port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    if server.stdout is None or "http" not in server.stdout.readline():
        raise SystemExit("the embedded Hub did not start")
    return server


def _client(url: str, number: int, log: Path, seconds: float, clients: int, chance: random.Random) -> None:
    from httpx2 import HTTPError
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api, end, count = HfApi(endpoint=url, token="hf_any"), time.monotonic() + seconds, 0  # noqa: S106
    with log.open("w", buffering=1) as out:
        while time.monotonic() < end:
            count += 1
            title = f"client {number} commit {count} of {clients}"
            lfs = chance.randbytes(chance.randrange(1, 200_000))
            try:
                parent = api.model_info(REPO).sha if chance.random() < 0.5 else None
                added = [
                    CommitOperationAdd(f"{number}/{count}.txt", title.encode()),
                    CommitOperationAdd(f"{number}/{count % 20}.bin", lfs),
                ]
                oid = api.create_commit(REPO, added, commit_message=title, parent_commit=parent).oid
                found = {"is": "acknowledged", "oid": oid, "sha256": hashlib.sha256(lfs).hexdigest()}
            except HfHubHTTPError as error:
                found = {"is": str(error.response.status_code), "text": str(error)[:300]}
            except (HTTPError, OSError, RuntimeError) as error:
                refused = getattr(error.__cause__, "response", None)  # an upload's own error is wrapped
                found = {"is": str(refused.status_code) if refused else "no answer", "text": repr(error)[:200]}
                time.sleep(0.05)
            out.write(json.dumps({"title": title, **found}) + "\n")


def _check(folder: Path, logs: list[Path], codes: list[int], kills: int, seed: int, seconds: float) -> list[str]:
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    repo = folder / "hub/models" / f"{REPO}.git"
    history = [line.split(" ", 1) for line in _git(repo, "log", "--format=%H %s", "main").splitlines()]
    times, by_title = Counter(title for _, title in history), {title: oid for oid, title in history}
    answers, broken = Counter(line["is"] for line in lines), []
    taken = sum(times[line["title"]] for line in lines if line["is"] == "no answer")
    if any(codes):
        broken.append(f"a client ended with {codes}")
    known = {line["title"] for line in lines} | {"initial commit"}
    for line in lines:
        found = times[line["title"]]
        if line["is"] == "acknowledged":
            if found != 1 or by_title[line["title"]] != line["oid"]:
                broken.append(f"acknowledged, and {found} times in the history: {line['title']}")
            lfs = folder / "hub/lfs" / line["sha256"][:2] / line["sha256"][2:4] / line["sha256"]
            if not lfs.exists() or hashlib.sha256(lfs.read_bytes()).hexdigest() != line["sha256"]:
                broken.append(f"the LFS file is lost or damaged: {line['title']}")
        elif found > (line["is"] == "no answer"):
            broken.append(f"answered {line['is']}, and {found} times in the history: {line['title']}")
        if line["is"] not in ("acknowledged", "412", "no answer"):
            broken.append(f"answered {line['is']}: {line['text']}")
    broken += [f"nobody sent it: {title}" for title in times if title not in known]
    fsck = _git(repo, "fsck", "--full", "--strict", "--no-dangling")
    if fsck:
        broken.append(f"git fsck: {fsck}")
    print(
        f"{len(logs)} clients, {seconds:.0f} s, server killed {kills} times (seed {seed}): "
        f"{answers['acknowledged']} acknowledged, {answers['412']} refused with 412, "
        f"{answers['no answer']} without an answer of which {taken} were taken; "
        f"{len(history)} commits in the history; git fsck {'says something' if fsck else 'is clean'}; "
        f"{len(broken)} laws broken"
    )
    return broken[:20]


def _git(repo: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(repo), *arguments], capture_output=True, text=True)
    return done.stdout + (done.stderr if done.returncode else "")


if __name__ == "__main__":
    sys.exit(main())
