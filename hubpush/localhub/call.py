"""One request to the embedded Hub, read: who calls, which address, and a body that must be what it should be."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urlencode

from starlette.requests import Request

from hubpush.localhub import store
from hubpush.localhub.store import HubError, Store
from hubpush.localhub.users import User, Users

T = TypeVar("T")
Json = dict[str, object]


@dataclass(frozen=True)
class Call:
    """One request: its decoded path segments, the endpoint it was made to, and the caller (None: no token)."""

    store: Store
    users: Users
    request: Request
    method: str
    parts: tuple[str, ...]
    base: str
    user: User | None
    body: bytes | bytearray = b""

    def json(self) -> Json:
        """The body, which must be a JSON object."""
        return parse(self.body)

    def query(self, name: str, default: str = "") -> str:
        """A query parameter."""
        return self.request.query_params.get(name, default)

    def flag(self, name: str) -> bool:
        """A query parameter that is true."""
        return self.query(name).lower() in ("true", "1")

    def number(self, name: str, default: int) -> int:
        """A query parameter that is a number."""
        if not re.fullmatch(r"[0-9]{1,9}", text := self.query(name, str(default))):
            raise HubError(400, f"{name!r} must be a number")
        return int(text)

    def next(self, name: str, value: object) -> dict[str, str]:
        """The header that leads to the next page: this address with one parameter changed."""
        query = [(k, v) for k, v in self.request.query_params.multi_items() if k != name] + [(name, str(value))]
        path = "/".join(quote(part, safe="") for part in self.parts)
        return {"Link": f'<{self.base}/{path}?{urlencode(query)}>; rel="next"'}

    def sees(self, repo_id: str) -> bool:
        """Whether the caller may see a repository: a private one takes a user with rights in its namespace."""
        return not self.store.settings(repo_id)["private"] or (self.user is not None and self.user.sees(repo_id))

    def visible(self) -> list[str]:
        """All repositories that the caller may see, sorted; without those that are damaged."""
        found = []
        for repo_id in self.store.repos():
            with suppress(HubError):
                if self.sees(repo_id):
                    found.append(repo_id)
        return found

    def repo(self, repo_id: str) -> str:
        """The known id of a repository that the caller may see.

        Raises:
            HubError: 404; or 307 to the same address under the repository's new name.
        """
        known = self.store.find(repo_id)
        if known is not None and self.sees(known):
            return known
        moved = None if known is not None else self.store.moved(repo_id)
        if moved is None or not self.sees(moved):
            raise store.repo_not_found(repo_id)
        raw, old = self.request.scope["raw_path"].decode("ascii"), quote(repo_id, safe="/")
        new = raw.replace(f"/{old}", f"/{moved}", 1)
        if new == raw:  # the id stands in the body, or is written in another way
            raise store.repo_not_found(repo_id)
        location = f"{self.base}{new}" + (f"?{self.request.url.query}" if self.request.url.query else "")
        error = HubError(307, f"{repo_id} is now {moved}")
        error.headers["Location"] = location
        raise error

    def caller(self) -> User:
        """The user, or 401. Any token will do where there is no users file."""
        if self.user is None:
            which = "any will do" if self.users.known is None else "one of the users file"
            raise HubError(401, f"Invalid username or password: this needs a token, {which} (set HF_TOKEN)")
        return self.user

    def require_write_role(self) -> User:
        """A user whose token may write at all, or 401 or 403."""
        user = self.caller()
        if user.role != "write":
            raise HubError(403, f'You must use a write token: this one of {user.name!r} has the role "{user.role}"')
        return user

    def require_write(self, repo_id: str) -> None:
        """Let only users through who may change this repository: 401 without a token, 403 without the right."""
        user = self.require_write_role()
        if user.writes(repo_id):
            return
        able = " (a pull request can be made)" if "commit" in self.parts or "preupload" in self.parts else ""
        raise HubError(403, f"Forbidden: {user.name!r} has no right to write to {repo_id}{able}")


def parse(body: bytes | bytearray) -> Json:
    """The JSON object in these bytes, or 400."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise HubError(400, "The body must be a JSON object")
    return found


def field(body: Json, name: str, kind: type[T], default: T | None = None) -> T:
    """A value of that kind, or the default when it is left out or null; anything else is 400."""
    value = body.get(name)
    if value is None and default is not None:
        return default
    # JSON's true is an int in Python, and its strings may hold halves of characters that UTF-8 cannot write.
    halved = isinstance(value, str) and re.search("[\ud800-\udfff]", value)
    if not isinstance(value, kind) or halved or (isinstance(value, int) and (value < 0 or type(value) is not kind)):
        raise HubError(400, f"{name!r} must be there, as {kind.__name__}")
    return value


def objects(body: Json, name: str) -> list[Json]:
    """A list of JSON objects, or 400."""
    found = field(body, name, list)
    if not all(isinstance(item, dict) for item in found):
        raise HubError(400, f"{name!r} must hold objects")
    return found


def digest(body: Json) -> str:
    """The SHA-256 under `oid`, or 400."""
    sha256 = field(body, "oid", str)
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise HubError(400, "'oid' must be a SHA-256 in hex")
    return sha256
