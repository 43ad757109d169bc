"""xet through the embedded Hub: the unmodified client with default settings, and bodies that no client sends."""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import lz4.frame
import numpy as np
import pytest
from huggingface_hub import HfApi

from hubpush.localhub import cas, serve
from hubpush.localhub.store import Change, HubError, Store
from hubpush.localhub.users import Users
from tests.test_localhub import send

REPO = "acme/tiny"
# The client runs in a process of its own: hf_xet reads where its cache is from the environment, once.
CLIENT = """
import json, pathlib, sys
from huggingface_hub import CommitOperationAdd as Add, HfApi, file_download, hf_hub_download, snapshot_download
url, folder = sys.argv[1], pathlib.Path(sys.argv[2])
api = HfApi(endpoint=url, token="hf_any")
api.create_repo("acme/tiny", exist_ok=True)
def no(*args, **kwargs):
    raise AssertionError("not through xet")
"""
UPLOAD = """
api.create_commit("acme/tiny", [Add(p.name, str(p)) for p in folder.iterdir()], commit_message="m")
"""
DOWNLOAD = """
file_download.http_get = no
for path in folder.iterdir():
    got = hf_hub_download("acme/tiny", path.name, endpoint=url, cache_dir=sys.argv[3], force_download=True)
    assert pathlib.Path(got).read_bytes() == path.read_bytes(), path.name
"""


def client(url: str, tmp_path: Path, program: str, *, cache: str = "xet") -> str:
    """What a client with default settings prints; it remembers what it sent in `cache`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    home = {"HF_HOME": str(tmp_path / "hf"), "HF_XET_CACHE": str(tmp_path / cache)}
    command = [sys.executable, "-c", CLIENT + program, url, str(tmp_path / "files"), str(tmp_path / "downloads")]
    environment = {**kept, **home, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the embedded Hub keeps its state."""
    return tmp_path / "hub"


@pytest.fixture
def url(directory: Path) -> Iterator[str]:
    """A running embedded Hub with one repository."""
    with serve(directory) as endpoint:
        HfApi(endpoint=endpoint, token="hf_any").create_repo(REPO)
        yield endpoint


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """Files of all kinds, written to a folder: every compression, shared content, one byte, several xorbs."""
    some, numbers = random.Random(0), np.random.default_rng(0)  # noqa: S311
    found = {
        "random.bin": some.randbytes(3_000_001),
        "zeros.bin": bytes(11_000_000),
        "text.bin": b"".join(b"line %d of a text\n" % line for line in range(100_000)),
        "weights.bin": (numbers.standard_normal(1_000_001) * 0.02).astype("<f4").tobytes() + b"odd",
        "one.bin": b"x",
        "large.safetensors": some.randbytes(70_000_000),
    }
    found["shared.bin"] = found["random.bin"] + found["text.bin"]
    (tmp_path / "files").mkdir()
    for name, content in found.items():
        (tmp_path / "files" / name).write_bytes(content)
    return found


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def assert_kept(directory: Path, files: dict[str, bytes]) -> None:
    """Every file is in the store with the right bytes, and came through xet."""
    store = Store(directory)
    for name, content in files.items():
        assert sha256(store.lfs_path(sha256(content)).read_bytes()) == sha256(content), name
        assert cas.xet_hash(store, sha256(content)), name


@pytest.mark.parametrize(
    "upload",
    [
        UPLOAD,
        'api.upload_folder(repo_id="acme/tiny", folder_path=folder)',
        'for p in folder.iterdir(): api.upload_file(path_or_fileobj=str(p), path_in_repo=p.name, repo_id="acme/tiny")',
    ],
)
def test_what_the_client_sends_by_default_comes_back(
    upload: str, url: str, directory: Path, tmp_path: Path, files: dict[str, bytes]
) -> None:
    """All kinds of files, sent in all ways with default settings, are stored with their bytes and come back by xet."""
    client(url, tmp_path, upload + DOWNLOAD)
    assert_kept(directory, files)
    hashes = {item.path: item.xet_hash for item in HfApi(endpoint=url).list_repo_tree(REPO) if item.path in files}
    assert hashes == {name: cas.xet_hash(Store(directory), sha256(content)) for name, content in files.items()}
    assert list((directory / "tmp").iterdir()) == []


def test_an_upload_can_be_read_without_xet(url: str, tmp_path: Path, directory: Path, files: dict[str, bytes]) -> None:
    """A file that came through xet has the same bytes over plain HTTP, and xet's headers lead to a token."""
    client(url, tmp_path, UPLOAD)
    status, headers, body = send(f"{url}/{REPO}/resolve/main/weights.bin")
    assert (status, body) == (200, files["weights.bin"])
    assert headers["x-xet-hash"] == cas.xet_hash(Store(directory), sha256(files["weights.bin"]))
    route = headers["link"].partition("<")[2].partition(">")[0]
    status, headers, body = send(route, token=None)
    told = json.loads(body)
    assert (headers["x-xet-cas-url"], headers["x-xet-access-token"]) == (told["casUrl"], told["accessToken"])
    assert int(headers["x-xet-token-expiration"]) == told["exp"] > time.time() + 3000


def test_another_hub_on_the_same_url_gets_everything(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Hubs one after the other on one URL, new and restarted, lose nothing through what the client remembers."""
    for name in set(files) - {"random.bin", "weights.bin"}:
        (tmp_path / "files" / name).unlink()
        del files[name]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("first", "second", "first"):
        with serve(tmp_path / name, port=port) as url:
            # The second time the client has to send nothing but a shard.
            client(url, tmp_path, UPLOAD + UPLOAD.replace("p.name", "'again-' + p.name") + DOWNLOAD)
        assert_kept(tmp_path / name, files)


# What is sent by hand


def backwards(digest: str) -> bytes:
    """A hash as xet writes it: four numbers, each from its last byte on."""
    return b"".join(bytes.fromhex(digest[at : at + 16])[::-1] for at in range(0, 64, 16))


def chunk(content: bytes, scheme: int = 0, **wrong: int) -> bytes:
    """A chunk of a xorb; `packed`, `size` and `version` say something else than the truth."""
    grouped = b"".join(content[first::4] for first in range(4)) if scheme == 2 else content
    data = lz4.frame.compress(grouped) if scheme else content
    packed, size = wrong.get("packed", len(data)), wrong.get("size", len(content))
    head = bytes([wrong.get("version", 0)]) + packed.to_bytes(3, "little")
    return head + bytes([scheme]) + size.to_bytes(3, "little") + data


def shard(
    *segments: tuple[str, int, int, int], digest: str = "", xet: str = "a" * 64, verification: bool = True
) -> bytes:
    """A shard of one file: xorb, bytes, first chunk and the one after the last of each segment."""
    flags = verification << 31 | bool(digest) << 30
    rows = b"".join(backwards(xorb) + struct.pack("<4I", 0, *numbers) for xorb, *numbers in segments)
    end = backwards(digest) + bytes(16) if digest else b""
    head = backwards(xet) + struct.pack("<II8x", flags, len(segments))
    return b"HFRepoMetaData".ljust(48, b"\0") + head + rows + bytes(len(rows)) * verification + end + b"\xff" * 48


class Cas:
    """The store by hand, with a token for reading or writing."""

    def __init__(self, url: str, right: str = "write") -> None:
        told = json.loads(send(f"{url}/api/models/{REPO}/xet-{right}-token/main")[2])
        self.url, self.token = told["casUrl"], told["accessToken"]

    def send(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """One request."""
        return send(f"{self.url}/{path}", "POST" if body is not None else "GET", body, token=self.token, **headers)

    def xorb(self, body: bytes, name: str = "1" * 64) -> int:
        """The status of an upload."""
        return self.send(f"v1/xorbs/default/{name}", body)[0]

    def shard(self, body: bytes) -> int:
        """The status of an upload."""
        return self.send("v1/shards", body)[0]


XORB, OTHER = "1" * 64, "2" * 64
WEIGHTS = np.random.default_rng(1).standard_normal(9_000).astype("<f4").tobytes() + b"odd"
PARTS = (b"plain" * 999, b"text" * 20_000, WEIGHTS)


@pytest.fixture
def by_hand(url: str) -> Cas:
    """A xorb of one chunk of each compression is uploaded."""
    made = Cas(url)
    assert made.xorb(b"".join(chunk(part, scheme) for scheme, part in enumerate(PARTS)) + b"XETBLOBfooter") == 200
    return made


def segment(first: int, beyond: int, xorb: str = XORB) -> tuple[str, int, int, int]:
    """Chunks of the uploaded xorb."""
    return (xorb, sum(map(len, PARTS[first:beyond])), first, beyond)


def kept(directory: Path) -> set[str]:
    """All files of the store but the repositories and the xorbs."""
    found = (path for name in ("lfs", "tmp", "xet/files") for path in (directory / name).rglob("*"))
    return {path.relative_to(directory).as_posix() for path in found if path.is_file()}


def test_a_file_is_put_together_from_its_chunks(by_hand: Cas, directory: Path) -> None:
    """Chunks of every compression make the file that a shard names, whether it tells the SHA-256 or not."""
    for number, (announced, verification) in enumerate(product((True, False), repeat=2)):
        content = (PARTS[1] + PARTS[2] + PARTS[0]) + PARTS[0] * number
        digest, segments = sha256(content), [segment(1, 3), *[segment(0, 1)] * (number + 1)]
        told, xet = digest if announced else "", str(number) * 64
        for _ in range(2):
            assert by_hand.shard(shard(*segments, digest=told, xet=xet, verification=verification)) == 200
        assert Store(directory).lfs_path(digest).read_bytes() == content
        assert cas.xet_hash(Store(directory), digest) == xet


def test_a_wrong_shard_is_refused(by_hand: Cas, directory: Path) -> None:
    """A wrong SHA-256, unknown xorbs, chunks that are not there, and lengths that lie: 400, and nothing is kept."""
    good, count = shard(segment(0, 3)), struct.pack("<II", 1 << 31, 1)
    for body in (
        shard(segment(0, 3), digest="0" * 64),
        shard(segment(0, 3, OTHER)),
        shard((*segment(0, 3)[:3], 4)),
        shard((XORB, 0, 1, 1)),
        shard((XORB, len(PARTS[0]), 1, 0)),
        shard((XORB, len(PARTS[0]) - 1, 0, 1)),
        shard((XORB, 2**32 - 1, 0, 2**32 - 1)),
        good[:-48],
        good[:120],
        good.replace(count, struct.pack("<II", 1 << 31, 2**32 - 1)),
        good.replace(count, struct.pack("<II", 3 << 30, 2)),
        b"HFRepoMetaData",
        b"x" * 500,
        b"",
    ):
        assert by_hand.shard(body) == 400, body
    assert kept(directory) == set()
    assert by_hand.shard(good) == 200


BOMB = lz4.frame.compress(bytes(50 << 20))


def test_a_wrong_xorb_is_refused(by_hand: Cas, directory: Path) -> None:
    """Lengths that lie, what is not LZ4, bombs, and more than a xorb can hold: 400, and nothing is kept."""
    for body in (
        chunk(b"abc", version=1),
        chunk(b"abc", packed=4),
        chunk(b"abc", size=4),
        chunk(b"abc", size=2),
        chunk(b"", size=0),
        chunk(b"abc")[:7],
        chunk(b"abc")[:-1],
        chunk(b"abc") + b"\0",
        chunk(b"abc" * 99, 1, size=300),
        chunk(b"abc" * 99, 2, size=300),
        chunk(b"abc", 1)[:-9] + b"not LZ4!!",
        chunk(b"abc", 3),
        chunk(bytes(128 << 10)) + chunk(bytes((128 << 10) + 1)),
        b"\0" + len(BOMB).to_bytes(3, "little") + b"\1" + b"\xff\xff\xff" + BOMB,
        chunk(b"a") * 8193,
        chunk(bytes(128 << 10), 1) * 513,
        b"XETBLOB",
        b"",
    ):
        assert by_hand.xorb(body, OTHER) == 400, body[:99]
    assert kept(directory) == set()
    assert [path.name for path in (directory / "xet/uploads").glob("*/*")] == [XORB]
    assert by_hand.xorb(chunk(b"a") * 8192, OTHER) == by_hand.xorb(chunk(bytes(128 << 10), 1) * 512, "3" * 64) == 200


def test_a_chunk_never_grows_beyond_what_it_says() -> None:
    """A frame that holds more than the chunk's length is not unpacked to its end."""
    assert len(cas._unpacked(1, memoryview(BOMB), 1000)) == 1000
    header = lz4.frame.compress(b"abc")[:6] + struct.pack("<Q", 1 << 60)
    assert cas._unpacked(1, memoryview(header + bytes(60)), 1000) == b""


def test_any_change_to_a_body_is_read_or_refused(tmp_path: Path) -> None:
    """A xorb or a shard with any bytes changed, cut or doubled is taken or refused, and nothing else happens."""
    some, store = random.Random(4711), Store(tmp_path / "hub")  # noqa: S311
    folder = tmp_path / "xorbs"
    folder.mkdir()
    xorb = b"".join(chunk(part, scheme) for scheme, part in enumerate(PARTS))
    out = bytearray()
    ends = cas._decode(xorb, out.extend)
    (folder / XORB).write_bytes(out + struct.pack("<4I", *ends, 3))
    refused = 0
    for round_ in range(3000):
        body = bytearray(xorb if round_ % 3 == 0 else shard(segment(0, 3), segment(1, 2), digest="5" * 64))
        for _ in range(some.randint(1, 3)):
            at = some.randrange(len(body) if round_ % 2 else min(len(body), 160))
            body[at : at + some.choice((0, 1, 4))] = some.randbytes(some.choice((0, 1, 4)))
        try:
            if round_ % 3 == 0:
                cas._decode(bytes(body), bytearray().extend)
            else:
                for file in list(cas._files(bytes(body))):
                    cas._register(store, folder, file)
        except HubError as error:
            assert error.status in (400, 507), body
            refused += 1
    assert refused > 2000


def test_a_file_larger_than_the_disk_is_refused_at_once(by_hand: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard that names chunks so often that the file could not be kept is answered with 507."""
    monkeypatch.setattr(cas.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    assert by_hand.shard(shard(*[segment(0, 3)] * 10)) == 507


def test_the_first_file_to_claim_a_xet_hash_keeps_it(by_hand: Cas, directory: Path) -> None:
    """A file that comes with the xet hash of another is stored, but is not what this hash means."""
    digests = [sha256(PARTS[0]), sha256(PARTS[1])]
    for number, digest in enumerate(digests):
        assert by_hand.shard(shard(segment(number, number + 1), digest=digest)) == 200
    assert [cas.xet_hash(Store(directory), digest) for digest in digests] == ["a" * 64, ""]
    Store(directory).commit(REPO, "main", "m", [Change("lfsFile", "m.bin", sha256=digests[0])], "")
    _, _, body = by_hand.send(f"v1/reconstructions/{'a' * 64}")
    assert json.loads(body)["terms"][0]["hash"] == digests[0]
    assert Store(directory).lfs_path(digests[1]).read_bytes() == PARTS[1]


def read(store: Cas, xet: str, start: int, last: int) -> bytes:
    """A range of a file, read as hf_xet reads it."""
    status, _, body = store.send(f"v1/reconstructions/{xet}", Range=f"bytes={start}-{last}")
    assert status == 200
    told, content = json.loads(body), b""
    for term in told["terms"]:
        (fetch,) = [f for f in told["fetch_info"][term["hash"]] if f["range"] == term["range"]]
        wanted = f"bytes={fetch['url_range']['start']}-{fetch['url_range']['end']}"
        status, headers, body = send(fetch["url"], token=None, Range=wanted)
        assert (status, headers["content-range"].startswith(wanted.replace("=", " "))) == (206, True)
        plain = bytearray()
        ends = cas._decode(body, plain.extend)
        assert len(plain) == term["unpacked_length"]
        assert len(ends) == term["range"]["end"] - term["range"]["start"]
        content += plain
    return content[told["offset_into_first_range"] :][: last - start + 1]


def test_any_range_is_read(url: str, directory: Path, tmp_path: Path) -> None:
    """Any range of a file of several parts gives its bytes, and one beyond its end is answered with 416."""
    content = random.Random(3).randbytes(20_000_003)  # noqa: S311
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a.bin").write_bytes(content)
    client(url, tmp_path, UPLOAD)
    store, xet, size = Cas(url, "read"), cas.xet_hash(Store(directory), sha256(content)), len(content)
    eight = 8 << 20
    ranges = [
        (0, 0),
        (0, size - 1),
        (size - 1, size - 1),
        (eight - 1, eight),
        (eight, eight),
        (7, 2 * eight),
        (5, 10**12),
    ]
    for start, last in ranges:
        assert read(store, xet, start, last) == content[start : last + 1], (start, last)
    assert store.send(f"v1/reconstructions/{xet}", Range=f"bytes={size}-{size + 9}")[0] == 416
    fetch = json.loads(store.send(f"v1/reconstructions/{xet}")[2])["fetch_info"][sha256(content)][0]["url"]
    whole = store.send(f"v1/reconstructions/{xet}")
    assert sum(term["unpacked_length"] for term in json.loads(whole[2])["terms"]) == size
    frame = (128 << 10) + 8
    framed = send(fetch, token=None, Range=f"bytes=0-{3 * frame - 1}")[2]
    assert send(fetch, token=None, Range=f"bytes=11-{2 * frame + 5}")[2] == framed[11 : 2 * frame + 6]
    assert send(fetch, token=None, Range=f"bytes={2 * size}-{2 * size + 1}")[0] == 416
    assert send(fetch, token=None)[0] == 400  # more than one part


def test_every_route_takes_a_token_of_this_server(
    by_hand: Cas, url: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a token, with a forged, expired or another server's one nothing is answered; a reader cannot write."""
    body = shard(segment(0, 3), digest=sha256(b"".join(PARTS)))
    assert by_hand.shard(body) == 200
    routes = [
        ("v1/shards", body), (f"v1/xorbs/default/{OTHER}", chunk(b"x")), (f"v1/reconstructions/{'a' * 64}", None),
        ("v1/chunks/default/" + "0" * 64, None), ("v2/shards", body), ("v1/xorb-grants/default/" + XORB, b""),
    ]  # fmt: skip
    good = by_hand.token
    # What no branch, tag or request of the token's repository has, its readers do not get.
    assert by_hand.send(f"v1/reconstructions/{'a' * 64}")[0] == 404
    Store(directory).commit(REPO, "main", "m", [Change("lfsFile", "m.bin", sha256=sha256(b"".join(PARTS)))], "")
    assert [by_hand.send(*route)[0] for route in routes] == [200, 200, 200, 404, 404, 404]
    with serve(directory.with_name("other")) as other:
        HfApi(endpoint=other, token="hf_any").create_repo(REPO)
        foreign = Cas(other).token
    claim, _, signature = good.rpartition(".")
    fetch = json.loads(by_hand.send(f"v1/reconstructions/{'a' * 64}")[2])["fetch_info"]
    address = next(iter(fetch.values()))[0]["url"]
    *_, digest, end, capability = address.split("/")
    for token in (
        foreign, "hf_any", "", ".", f"{claim}.", f"{claim}x.{signature}", f"{claim}.{signature[:-1]}", "\xe9.\xe9",
        f"{digest}:{end}.{capability}",
    ):  # fmt: skip
        by_hand.token = token
        assert {by_hand.send(*route)[0] for route in routes} == {401}, token
    by_hand.token = Cas(url, "read").token
    assert [by_hand.send(*route)[0] for route in routes] == [403, 403, 200, 404, 403, 403]
    for wrong in (
        address.replace(digest, "0" * 64), address.replace(end, str(int(end) + 1)), address[:-1], f"{address}/",
        address.replace(capability, good),
    ):  # fmt: skip
        assert send(wrong, token=None)[0] in (401, 403), wrong
    assert send(address, token=None)[0] == 206
    monkeypatch.setattr(cas.time, "time", lambda now=time.time: now() + 3601)
    by_hand.token = good
    assert {by_hand.send(*route)[0] for route in routes} == {401}
    assert send(address, token=None)[0] == 403
    assert send(f"{url}/api/models/acme/absent/xet-read-token/main")[0] == 404


def test_xorbs_go_with_their_place(by_hand: Cas, url: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place is told to clients for a day, keeps its xorbs for another one, and then is not good any more."""
    now = time.time()
    (folder,) = (directory / "xet/uploads").iterdir()
    for days, status in ((0, 200), (1, 200), (2, 404)):
        monkeypatch.setattr(cas.time, "time", lambda days=days: now + days * 86_400)
        cas.clean(Store(directory))
        assert folder.exists() == (status == 200)
        later = Cas(url)
        assert (later.url == by_hand.url) == (days == 0)
        by_hand.token = later.token
        assert by_hand.shard(shard(segment(0, 1))) == status
    for place in ("", "..", "../tmp", "a" * 32):
        by_hand.url = f"{url}/cas/{place.replace('/', '%2F')}"
        assert by_hand.shard(shard(segment(0, 1))) == 404


def test_an_upload_goes_on_after_a_kill(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent before the server was killed is there, at the old address; new uploads get a new one."""
    monkeypatch.setattr(cas, "forget", lambda *_: None)  # which a killed server does not call
    with serve(directory) as url:
        HfApi(endpoint=url, token="hf_any").create_repo(REPO)
        before = Cas(url)
        assert before.xorb(chunk(PARTS[0])) == 200
    with serve(directory) as url:
        assert Cas(url).url.rpartition("/")[2] != before.url.rpartition("/")[2]
        before.url = f"{url}/cas/{before.url.rpartition('/')[2]}"
        assert before.shard(shard(segment(0, 1))) == 200


def test_a_server_that_ends_forgets_its_xorbs(tmp_path: Path) -> None:
    """At its end a server removes its own xorbs, and those of no other one."""
    store, ours, others = Store(tmp_path), Users(), Users()
    for users in (ours, others):
        (tmp_path / "xet/uploads" / cas._place(users, 1, "local")).mkdir(parents=True)
    cas.forget(store, ours)
    assert [path.name for path in (tmp_path / "xet/uploads").iterdir()] == [cas._place(others, 1, "local")]
    cas.clean(store)
    assert (tmp_path / "xet/uploads" / cas._place(others, 1, "local")).is_dir()
