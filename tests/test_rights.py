"""Laws of what a token may, asked before anything is built."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hubpush import localhub, remote, rights
from hubpush.errors import HubRefusedError

REPO = "acme/tiny-0"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[HfApi]:
    with localhub.serve(tmp_path / "hub") as url:
        yield HfApi(endpoint=url, token="embedded")


def test_rights_are_asked_for(api: HfApi, tmp_path: Path) -> None:
    """Writing to a repo that is there is asked about; one to be created needs an owner that the token can write for."""
    asked: list[tuple[str, object]] = []

    class Asking(HfApi):
        def auth_check(self, repo_id: str, **given: Any) -> None:
            asked.append((repo_id, given.get("write")))
            refusal = httpx2.Response(403, request=httpx2.Request("GET", "https://hub.example/api"))
            raise HfHubHTTPError("403 no", response=refusal)

    asking = Asking(endpoint=api.endpoint, token="embedded")
    with pytest.raises(HubRefusedError, match="refuses"):
        rights.check_rights(asking, REPO, remote.Remote(True), embedded=False)
    assert asked == [(REPO, True)]
    rights.check_rights(api, "local/new", remote.Remote(False), embedded=False)
    with pytest.raises(HubRefusedError, match="no member of acme"):
        rights.check_rights(api, "acme/new", remote.Remote(False), embedded=False)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ({"role": "write"}, "only reads in acme"),
        ({"role": "read"}, "only reads"),
        ({"role": "fineGrained", "fineGrained": {"scoped": []}}, "may on acme: nothing"),
        (
            {
                "role": "fineGrained",
                "fineGrained": {
                    "scoped": [{"entity": {"type": "org", "name": "other"}, "permissions": ["repo.write"]}]
                },
            },
            "may on acme: nothing",
        ),
    ],
)
def test_a_token_that_cannot_create_is_told_before_anything_is_built(token: dict[str, Any], words: str) -> None:
    """By its role and scopes, as the Hub's `whoami` lists them (recorded shapes)."""
    in_org = {"name": "acme", **({"roleInOrg": "read"} if words == "only reads in acme" else {})}
    me = {"name": "me", "orgs": [in_org], "auth": {"accessToken": token}}
    with pytest.raises(HubRefusedError, match=words):
        rights.require_may_create(me, "acme", "acme/x")
    scopes = {"scoped": [{"entity": {"type": "org", "name": "acme"}, "permissions": ["repo.write"]}]}
    me["orgs"] = [{"name": "acme", "roleInOrg": "contributor"}]
    good = {**me, "auth": {"accessToken": {"role": "fineGrained", "fineGrained": scopes}}}
    assert "repo.write" in rights.require_may_create(good, "acme", "acme/x")
    assert rights.require_may_create({**me, "auth": {"accessToken": {"role": "write"}}}, "acme", "acme/x")
