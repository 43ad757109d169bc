"""Who may do what at the embedded Hub."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import huggingface_hub.constants
import pytest
from huggingface_hub import CommitOperationAdd as Add
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from hubpush.errors import UsageError
from hubpush.localhub import serve, users

pytestmark = pytest.mark.usefixtures("lfs_client")

FILE = """
private_by_default = ["vault"]
fullnames = { acme = "Acme Corporation" }

[[users]]
name = "alice"
token = "hf_alice_canary"
fullname = "Alice A."
orgs = { acme = "admin", vault = "write", labs = "read" }

[[users]]
name = "bob"
token = "hf_bob"
quota = 3000

[[users]]
name = "carol"
token = "hf_carol"
role = "read"
orgs = { acme = "write" }
"""
RIGHTS = [
    # repository, its owner's token, who asks, sees it when private, may write
    ("alice/m", "hf_alice_canary", "hf_bob", False, False),
    ("acme/m", "hf_alice_canary", "hf_carol", True, False),  # a read token
    ("acme/m", "hf_alice_canary", "hf_alice_canary", True, True),
    ("bob/m", "hf_bob", "hf_alice_canary", False, False),
]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A Hub with the users of the file."""
    (tmp_path / "users.toml").write_text(FILE)
    with serve(tmp_path / "hub", users=users.read(tmp_path / "users.toml")) as endpoint:
        yield endpoint


def as_(url: str, token: str) -> HfApi:
    """The client of one user."""
    return HfApi(endpoint=url, token=token)


def refused(status: int, call: object, *args: object, **options: object) -> None:
    """Assert that the client's call is answered with this status."""
    with pytest.raises(HfHubHTTPError) as error:
        call(*args, **options)  # type: ignore[operator]
    assert error.value.response.status_code == status, str(error.value)


@pytest.mark.parametrize(("repo_id", "owner", "asks", "sees", "writes"), RIGHTS)
def test_rights_follow_the_file(url: str, repo_id: str, owner: str, asks: str, sees: bool, writes: bool) -> None:
    """A private repository is there for members of its namespace alone, and only who may write changes it."""
    as_(url, owner).create_repo(repo_id, private=True)
    keep = httpx2.put(
        f"{url}/api/models/{repo_id}/settings", json={}, headers={"Authorization": f"Bearer {owner}"}
    ).json()
    assert keep == {"private": True}  # what is not named stays
    api = as_(url, asks)
    if not sees:
        refused(404, api.model_info, repo_id)
        refused(404, api.create_tag, repo_id, tag="v1")
    assert api.repo_exists(repo_id) == sees
    assert (repo_id in [m.id for m in api.list_models()]) == sees
    as_(url, owner).update_repo_settings(repo_id, visibility="public")
    assert api.model_info(repo_id).id == repo_id
    attempts = [
        (api.create_tag, {"repo_id": repo_id, "tag": "v1"}),
        (api.create_commit, {"repo_id": repo_id, "operations": [Add("a", b"a")], "commit_message": "m"}),
        (api.create_branch, {"repo_id": repo_id, "branch": "b"}),
        (api.update_repo_settings, {"repo_id": repo_id, "visibility": "private"}),
        (api.auth_check, {"repo_id": repo_id, "write": True}),
        (api.move_repo, {"from_id": repo_id, "to_id": f"{repo_id}2"}),
        (api.delete_repo, {"repo_id": f"{repo_id}2" if writes else repo_id}),
    ]
    for call, options in attempts:
        if writes:
            call(**options)  # type: ignore[operator]
        else:
            refused(403, call, **options)


def test_a_repo_is_made_in_namespaces_of_ones_own(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Creating elsewhere is 403, which `exist_ok` overlooks where the repository exists; some are private at first."""
    alice, bob = as_(url, "hf_alice_canary"), as_(url, "hf_bob")
    for foreign in ("bob/x", "labs/x", "nobody/x"):
        refused(403, alice.create_repo, foreign)
    assert alice.create_repo("x").repo_id == "alice/x"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)  # the client asks this one whether it exists
    bob.create_repo("alice/x", exist_ok=True)
    alice.create_repo("vault/x")
    assert alice.model_info("vault/x").private
    alice.create_repo("vault/y", private=False)
    assert not alice.model_info("vault/y").private
    refused(403, alice.move_repo, "alice/x", "bob/x")


def test_an_unknown_token_is_nobody(url: str) -> None:
    """A token that is not in the file is 401 everywhere, reading without one works, and writing then is 401."""
    as_(url, "hf_alice_canary").create_repo("alice/x")
    refused(401, as_(url, "hf_unknown").whoami)
    refused(401, as_(url, "hf_unknown").model_info, "alice/x")
    anonymous = HfApi(endpoint=url, token=False)
    assert anonymous.model_info("alice/x").id == "alice/x"
    refused(401, anonymous.create_tag, "alice/x", tag="v1")


def test_whoami_tells_role_and_organisations(url: str) -> None:
    """`whoami` names the user, the token's role and each organisation with the role in it."""
    found = as_(url, "hf_alice_canary").whoami()
    assert (found["name"], found["fullname"], found["auth"]["accessToken"]["role"]) == ("alice", "Alice A.", "write")
    orgs = {org["name"]: (org["fullname"], org["roleInOrg"]) for org in found["orgs"]}
    assert orgs == {"acme": ("Acme Corporation", "admin"), "vault": ("vault", "write"), "labs": ("labs", "read")}
    assert as_(url, "hf_carol").whoami()["auth"]["accessToken"]["role"] == "read"


def test_commits_carry_the_name_of_who_made_them(url: str) -> None:
    """Author of a commit is the user of the token."""
    api = as_(url, "hf_alice_canary")
    api.create_repo("acme/x")
    api.create_commit("acme/x", [Add("a", b"a")], commit_message="m")
    assert [commit.authors for commit in api.list_repo_commits("acme/x")] == [["alice"], ["alice"]]


def test_a_quota_is_kept(url: str) -> None:
    """LFS files beyond a namespace's quota are 403 before they are sent; what fits, and text, is taken."""
    api = as_(url, "hf_bob")
    for name in ("one", "two"):
        api.create_repo(f"bob/{name}")
    api.create_commit("bob/one", [Add("a.bin", b"a" * 2000)], commit_message="fits")
    with pytest.raises((HfHubHTTPError, ValueError), match="Storage limit"):
        api.create_commit("bob/two", [Add("b.bin", b"b" * 2000)], commit_message="too much")
    api.create_commit("bob/two", [Add("b.bin", b"b" * 900), Add("b.txt", b"t" * 5000)], commit_message="fits")
    assert api.list_repo_commits("bob/two")[0].title == "fits"


def test_a_keyless_token_may_change_its_repo_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of an OIDC exchange commits and tags in one existing repository, for an hour, and nothing else."""
    owner = as_(url, "hf_alice_canary")
    for repo_id in ("acme/x", "acme/y"):
        owner.create_repo(repo_id, private=True)

    def exchange(**changed: str) -> httpx2.Response:
        body = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "subject_token": "aaa.bbb.ccc",
            "resource": "acme/x",
        }
        return httpx2.post(f"{url}/oauth/token", json=body | changed)

    for wrong in ({"resource": "acme/z"}, {"subject_token": "none"}, {"grant_type": "password"}, {"resource": ""}):
        answer = exchange(**wrong)
        assert (answer.status_code, "error_description" in answer.json()) == (400, True)
    found = exchange().json()
    assert (found["expires_in"], found["token_type"]) == (3600, "bearer")
    api = as_(url, found["access_token"])
    api.create_tag("acme/x", tag="v1", revision=api.create_commit("acme/x", [Add("a", b"a")], commit_message="m").oid)
    refused(404, api.create_tag, "acme/y", tag="v1")
    owner.update_repo_settings("acme/y", visibility="public")
    refused(403, api.create_tag, "acme/y", tag="v1")
    refused(401, api.create_repo, "acme/z")
    refused(401, as_(url, found["access_token"][:-1] + "x").model_info, "acme/x")
    hour = time.time() + 3601
    with monkeypatch.context() as patch:
        patch.setattr(users.time, "time", lambda: hour)
        refused(401, api.model_info, "acme/x")


def test_the_client_itself_exchanges_an_identity(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `HF_OIDC_RESOURCE` and an identity in the environment, huggingface_hub publishes without any token."""
    as_(url, "hf_alice_canary").create_repo("acme/x")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    monkeypatch.setenv("HF_OIDC_RESOURCE", "acme/x")
    monkeypatch.setenv("HF_OIDC_ID_TOKEN", "aaa.bbb.ccc")
    api = HfApi(endpoint=url)
    assert api.create_commit("acme/x", [Add("a", b"a")], commit_message="keyless").oid == api.model_info("acme/x").sha


def test_a_moved_repo_answers_under_its_old_name(url: str) -> None:
    """Reads and writes at an old id are led to the new one, until something else takes the id; and back again."""
    api = as_(url, "hf_alice_canary")
    api.create_repo("acme/old", private=True)
    commit = api.create_commit("acme/old", [Add("a", b"a")], commit_message="m").oid
    api.create_repo("acme/other")
    refused(409, api.move_repo, "acme/old", "acme/other")
    api.move_repo("acme/old", "alice/new")
    assert api.model_info("ACME/old").id == "alice/new"
    assert api.hf_hub_download("acme/old", "a", dry_run=True).commit_hash == commit
    api.create_tag("acme/old", tag="v1")
    assert api.list_repo_refs("alice/new").tags[0].name == "v1"
    refused(404, as_(url, "hf_bob").model_info, "acme/old")
    assert httpx2.head(f"{url}/acme/old/resolve/main/a").status_code == 404
    api.move_repo("alice/new", "acme/old")
    assert api.model_info("alice/new").id == "acme/old"
    api.create_repo("alice/new")
    assert api.model_info("alice/new").id == "alice/new"
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("alice/never")


def test_every_mistake_of_a_users_file_is_named_and_no_token(tmp_path: Path) -> None:
    """Mistakes are listed with their places; what was written for a token is not repeated."""
    wrong = '[[users]]\nname = "../x"\ntoken = 47114711\n[[users]]\nname = "b"\ntoken = "hf_x"\nrole = "boss"\nage = 1'
    (tmp_path / "u.toml").write_text(wrong)
    with pytest.raises(UsageError) as error:
        users.read(tmp_path / "u.toml")
    for place in ("users.0.name", "users.0.token", "users.1.role", "users.1.age"):
        assert place in str(error.value)
    assert "47114711" not in str(error.value)
    for text in ("users = 1", "[[", "", '[[users]]\nname="a"\ntoken="t"\n[[users]]\nname="b"\ntoken="t"'):
        (tmp_path / "u.toml").write_text(text)
        with pytest.raises(UsageError):
            users.read(tmp_path / "u.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        users.read(tmp_path / "absent.toml")


def test_no_token_is_kept(url: str, tmp_path: Path) -> None:
    """The tokens of the file are in nothing that the Hub holds in memory or on disk."""
    as_(url, "hf_alice_canary").create_repo("alice/x")
    read = users.read(tmp_path / "users.toml")
    assert "hf_alice_canary" not in repr(read) + json.dumps(list(read.known or ()))
    assert all(b"hf_alice_canary" not in p.read_bytes() for p in (tmp_path / "hub").rglob("*") if p.is_file())


def test_a_namespace_is_one_whatever_its_case(url: str) -> None:
    """A repository made as `VAULT/x` is in `vault`, and private as new ones there are."""
    alice = as_(url, "hf_alice_canary")
    assert alice.create_repo("VAULT/x").repo_id.lower() == "vault/x"
    assert alice.model_info("vault/x").id == "vault/x"
    assert alice.model_info("vault/x").private


def test_digests_open_nothing(url: str) -> None:
    """Whoever knows digest and size of a private LFS file gets it through no other repository."""
    alice = as_(url, "hf_alice_canary")
    alice.create_repo("alice/secret", private=True)
    alice.create_repo("alice/open")
    alice.create_commit("alice/secret", [Add("s.bin", b"secret" * 100)], commit_message="m")
    lfs = alice.get_paths_info("alice/secret", ["s.bin"])[0].lfs
    asked = {"operation": "download", "objects": [{"oid": lfs.sha256, "size": lfs.size}]}
    for repo_id, token, given in (("alice/open", "", False), ("alice/secret", "hf_alice_canary", True)):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = httpx2.post(f"{url}/{repo_id}.git/info/lfs/objects/batch", json=asked, headers=headers).json()
        assert ("actions" in answer["objects"][0]) == given
    assert httpx2.post(f"{url}/alice/secret.git/info/lfs/objects/batch", json=asked).status_code == 404


def test_a_read_token_sends_nothing(url: str) -> None:
    """A token of the role `read` gets no place to upload to, not for a pull request either."""
    as_(url, "hf_alice_canary").create_repo("alice/open")
    headers = {"Authorization": "Bearer hf_carol"}
    for address in ("xet-write-token/main?create_pr=1", "xet-write-token/None"):
        assert httpx2.get(f"{url}/api/models/alice/open/{address}", headers=headers).status_code == 403
    asked = {"operation": "upload", "objects": [{"oid": "0" * 64, "size": 1}]}
    batch = f"{url}/alice/open.git/info/lfs/objects/batch"
    assert httpx2.post(batch, json=asked, headers=headers).status_code == 403


def test_a_quota_counts_what_is_there_once(url: str) -> None:
    """A file that the namespace has already costs nothing; one whose size is not told is counted all the same."""
    bob = as_(url, "hf_bob")
    bob.create_repo("bob/one")
    bob.create_commit("bob/one", [Add("a.bin", b"a" * 2500)], commit_message="fits")
    bob.create_commit("bob/one", [Add("again.bin", b"a" * 2500)], commit_message="again")
    alice = as_(url, "hf_alice_canary")
    alice.create_repo("alice/x")
    alice.create_commit("alice/x", [Add("b.bin", b"b" * 2500)], commit_message="m")
    digest = alice.get_paths_info("alice/x", ["b.bin"])[0].lfs.sha256
    lines = [{"key": "header", "value": {"summary": "m"}},
             {"key": "lfsFile", "value": {"path": "b.bin", "algo": "sha256", "oid": digest}}]  # fmt: skip
    answer = httpx2.post(
        f"{url}/api/models/BOB/one/commit/main",
        content="\n".join(map(json.dumps, lines)),
        headers={"Authorization": "Bearer hf_bob"},
    )
    assert (answer.status_code, "2500 of 3000" in answer.json()["error"]) == (403, True)


def test_what_a_private_repo_is_called_is_not_told(url: str) -> None:
    """Neither `create` nor a keyless token tells who may not see them which private repositories there are."""
    as_(url, "hf_alice_canary").create_repo("alice/SECRET", private=True)
    answer = httpx2.post(
        f"{url}/api/repos/create",
        json={"name": "secret", "organization": "alice"},
        headers={"Authorization": "Bearer hf_bob"},
    )
    assert (answer.status_code, "SECRET" in answer.text) == (403, False)
