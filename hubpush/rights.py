"""Whose token it is and what it may: asked before anything is fetched or built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hubpush.client import errors
from hubpush.errors import HubRefusedError
from hubpush.remote import Remote

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def check_rights(api: HfApi, repo_id: str, remote: Remote, *, embedded: bool, create_pr: bool = False) -> None:
    """Check that a push would be allowed, before anything is fetched or built.

    Args:
        api: The client.
        repo_id: The repo.
        remote: What stands there.
        embedded: Whether the Hub is an embedded one.
        create_pr: Whether a pull request is enough, which whoever can read may open.

    Raises:
        HubRefusedError: It would not, or there is no token.
        HubUnavailableError: The Hub does not answer.
    """
    owner = repo_id.partition("/")[0]
    with errors(repo_id):
        if remote.exists:
            api.auth_check(repo_id, write=not create_pr)
        else:
            # One call for a family: the Hub limits this one strictly.
            require_may_create(api.whoami(cache=True), owner, repo_id, embedded=embedded)


def require_may_create(me: Mapping[str, Any], owner: str, repo_id: str, *, embedded: bool = False) -> str:
    """Check that a token can make a repo, by what the Hub says of it.

    Args:
        me: The answer of `whoami`.
        owner: User or organisation that is to own the repo.
        repo_id: What the message calls it.
        embedded: Whether the Hub is an embedded one, where anybody may own what is not there yet.

    Returns:
        Whose token it is and what it may, in words.

    Raises:
        HubRefusedError: It cannot.
    """
    token = me.get("auth", {}).get("accessToken", {})
    name = str(me.get("name"))
    role, owners = token.get("role", "unknown"), {name, *(str(one.get("name")) for one in me.get("orgs", []))}
    words = f"the token of {name} (role {role})"
    in_org = next((str(one.get("roleInOrg")) for one in me.get("orgs", []) if one.get("name") == owner), None)
    if owner not in owners and not embedded:
        raise HubRefusedError(
            f"{words}: {name} is no member of {owner}, so {repo_id} cannot be created",
            hint=f"use a token of a member with write rights; this one has: {', '.join(sorted(owners))}",
        )
    if in_org == "read":
        raise HubRefusedError(
            f"{words}: {name} only reads in {owner}, so {repo_id} cannot be created",
            hint=f"ask {owner} for the role contributor or write, or to create the repo",
        )
    if role == "read":
        raise HubRefusedError(
            f"{words} only reads, so {repo_id} cannot be created",
            hint="make one with the role write, or a fine-grained one, and `hf auth login`",
        )
    if role == "fineGrained":
        scoped = token.get("fineGrained", {}).get("scoped", [])
        rights = {
            right
            for one in scoped
            if one.get("entity", {}).get("name") == owner
            for right in one.get("permissions", [])
        }
        words += f" may on {owner}: {', '.join(sorted(rights)) or 'nothing'}"
        if "repo.write" not in rights:
            raise HubRefusedError(
                f"{words}, so {repo_id} cannot be created",
                hint=f"give it `repo.write` on {owner} in the Hub's settings, or create the repo once by hand",
            )
    return words


def author(api: HfApi, repo_id: str) -> str:
    """In whose name a pull request is opened: only that person's own are ever updated.

    Raises:
        HubRefusedError: There is no token of a person.
        HubUnavailableError: The Hub does not answer.
    """
    with errors(repo_id):
        return str(api.whoami(cache=True).get("name"))
