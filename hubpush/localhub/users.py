"""Who calls the embedded Hub, and what that user may do.

Without a users file any bearer token is the one user `local`, who may do everything: only this computer reaches the
server. With one, rights can be rehearsed. Tokens are compared by digest; none is kept, stored or logged.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hubpush.errors import UsageError
from hubpush.localhub.store import NAME, USER, HubError

_KEYLESS_SECONDS = 3600


@dataclass(frozen=True)
class User:
    """A caller: `orgs` is the role in each organisation (None: all there are), `only` the one repo of a keyless token.

    `quota` is how many bytes of LFS files the repositories of one of its namespaces may hold.
    """

    name: str
    fullname: str = ""
    role: str = "write"
    orgs: Mapping[str, str] | None = None
    quota: int | None = None
    only: str = ""

    def sees(self, repo_id: str) -> bool:
        """Whether a private repository of that id is visible."""
        return self._may(repo_id, {"read", "contributor", "write", "admin"})

    def writes(self, repo_id: str) -> bool:
        """Whether it may change that repository, or make it."""
        return self.role == "write" and self._may(repo_id, {"write", "admin"})

    def _may(self, repo_id: str, roles: set[str]) -> bool:
        if self.only:
            return repo_id.lower() == self.only.lower()
        namespace = repo_id.partition("/")[0].lower()
        if self.orgs is None or namespace == self.name.lower():
            return True
        return any(name.lower() == namespace and role in roles for name, role in self.orgs.items())


@dataclass(frozen=True)
class Users:
    """All users by the SHA-256 of their token; `known` is None when any token is the user `local`.

    New repositories of the namespaces `private_by_default` are private; `fullnames` are those of organisations.
    `secret` signs, and is the directory's own, so that an upload outlives the server; `session` is new at every start.
    """

    known: Mapping[str, User] | None = None
    private_by_default: Sequence[str] = ()
    fullnames: Mapping[str, str] = field(default_factory=dict)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    session: str = field(default_factory=lambda: secrets.token_hex(16))

    def of(self, authorization: str) -> User | None:
        """The caller that an `Authorization` header names; None without one.

        Raises:
            HubError: 401, the token is not known.
        """
        if not (token := _token(authorization)):
            return None
        if token.startswith("hf_keyless_"):
            return self._keyless(token)
        if self.known is None:
            return User(USER)
        if user := self.known.get(_digest(token)):
            return user
        raise HubError(401, "Invalid credentials in Authorization header")

    def keyless(self, repo_id: str) -> tuple[str, int]:
        """A token that may change this one repository, and for how many seconds."""
        claim = base64.urlsafe_b64encode(json.dumps([repo_id, int(time.time()) + _KEYLESS_SECONDS]).encode()).decode()
        return f"hf_keyless_{claim}.{self.sign(f'keyless:{claim}')}", _KEYLESS_SECONDS

    def _keyless(self, token: str) -> User:
        claim, _, signature = token.removeprefix("hf_keyless_").rpartition(".")
        if hmac.compare_digest(self.sign(f"keyless:{claim}").encode(), signature.encode()):
            repo_id, end = json.loads(base64.urlsafe_b64decode(claim))
            if time.time() < end:
                return User(repo_id.partition("/")[0], only=repo_id)
        raise HubError(401, "Invalid credentials in Authorization header: the keyless token is over or not this Hub's")

    def sign(self, text: str) -> str:
        """A signature of this Hub's, for addresses and tokens that carry a permission in themselves."""
        return hmac.new(self.secret, text.encode(), hashlib.sha256).hexdigest()


class _User(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = Field(pattern=f"^(?:{NAME.pattern})$")
    token: str = Field(min_length=1, pattern=r"^\S+$")
    fullname: str = ""
    role: Literal["read", "write"] = "write"
    orgs: dict[str, Literal["read", "contributor", "write", "admin"]] = {}
    quota: int | None = Field(None, ge=0)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    users: list[_User] = Field(min_length=1)
    private_by_default: list[str] = []
    fullnames: dict[str, str] = {}


def read(path: Path) -> Users:
    """Read a users file.

    Raises:
        UsageError: it cannot be read, or holds mistakes; all of them are named.
    """
    hint = 'a user is [[users]] with name = "alice", token = "any-word" and, if wanted, role, orgs, quota'
    try:
        found = _File.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise UsageError(f"the users file {path} cannot be read: {error.strerror}", hint="check the path") from None
    except ValidationError as error:
        # Not pydantic's own text: it repeats the input, and that may be a token.
        places = (f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" for mistake in error.errors())
        raise UsageError(f"the users file {path} is wrong: {'; '.join(places)}", hint=hint) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the users file {path} is not TOML: {error}", hint=hint) from None
    users = {_digest(u.token): User(u.name, u.fullname, u.role, u.orgs, u.quota) for u in found.users}
    if len(users) < len(found.users):
        raise UsageError(f"the users file {path} gives two users one token", hint="give each its own")
    return Users(users, found.private_by_default, found.fullnames)


def _token(authorization: str) -> str:
    if found := re.fullmatch(r"(?i)bearer +(\S+)", authorization):
        return found[1]
    if found := re.fullmatch(r"(?i)basic +(\S+)", authorization):  # git: any name, and the token as password
        try:
            return base64.b64decode(found[1], validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
