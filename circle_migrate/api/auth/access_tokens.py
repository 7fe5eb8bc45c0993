"""Access tokens: JSON Web Tokens with one algorithm, which are checked without a query."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple
from uuid import UUID, uuid4

import jwt
from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from circle_migrate.core import redaction

_ALGORITHM = "HS256"
_TYPE = "at+jwt"
"""The type of access tokens by RFC 9068, so that no other token of the same keys is taken for one."""

_MIN_KEY = 32
"""Bytes of a key: those of the digest (RFC 7518)."""

_MAX_TOKEN = 4096
_MAX_ID = 2**31 - 1
_KID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CLAIMS = ("iss", "aud", "sub", "sid", "iat", "exp", "jti")
_BEARER = HTTPBearer(bearerFormat="JWT", auto_error=False)


class InvalidToken(Exception):
    """A token that is not accepted."""


class AccessClaims(NamedTuple):
    """What an access token says: whose it is, and of which session."""

    user_id: int
    session: UUID


class AccessTokens:
    """Issues and reads access tokens.

    `keys` are secrets of at least 32 bytes by their `kid`. The first one signs, all of them are accepted: to
    replace a key, put a new one before it, and remove the old one when its tokens have expired. Tokens are
    valid for `seconds`; the clocks of two machines may differ by `leeway` seconds. Raises `ValueError` for
    arguments that are not safe.
    """

    def __init__(
        self,
        keys: Mapping[str, str | bytes],
        *,
        issuer: str,
        audience: str,
        seconds: int = 900,
        leeway: int = 10,
    ) -> None:
        self._keys = {kid: key.encode() if isinstance(key, str) else bytes(key) for kid, key in keys.items()}
        if not self._keys or not all(map(_KID.fullmatch, self._keys)):
            raise ValueError("name each key with 1 to 64 of the characters A-Z a-z 0-9 . _ -")
        if any(len(key) < _MIN_KEY for key in self._keys.values()):
            raise ValueError(f"a key has at least {_MIN_KEY} bytes: openssl rand -hex 32")
        if not issuer or not audience or seconds <= 0 or leeway < 0:
            raise ValueError("issuer, audience and seconds are required")
        for key in self._keys.values():
            redaction.register(key.decode(errors="replace"))
        self._issuer, self._audience = issuer, audience
        self.seconds, self._leeway = seconds, leeway

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The keys, the signing one first."""
        return tuple(self._keys.values())

    def issue(self, user_id: int, session: UUID) -> str:
        """Return a new token."""
        kid, key = next(iter(self._keys.items()))
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "sid": str(session),
            "iat": now,
            "exp": now + self.seconds,
            "jti": uuid4().hex,
        }
        return jwt.encode(claims, key, _ALGORITHM, {"kid": kid, "typ": _TYPE})

    def read(self, token: str) -> AccessClaims:
        """Return what a token says. Raises `InvalidToken`."""
        try:
            if len(token) > _MAX_TOKEN:
                raise InvalidToken
            header: dict[str, Any] = jwt.get_unverified_header(token)
            kid = header.get("kid")
            # Nothing else of a header is read: not `crit`, not a key, not where a key would be.
            if not isinstance(kid, str) or header != {"alg": _ALGORITHM, "kid": kid, "typ": _TYPE}:
                raise InvalidToken
            claims = jwt.decode(
                token,
                self._keys[kid],
                [_ALGORITHM],
                {"require": list(_CLAIMS), "strict_aud": True},
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway,
            )
            user_id = int(claims["sub"])
            if not 0 < user_id <= _MAX_ID:
                raise InvalidToken
            return AccessClaims(user_id, UUID(claims["sid"]))
        except (jwt.PyJWTError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidToken from error

    async def require(
        self, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
    ) -> AccessClaims:
        """Return what the token of a request says, for `Depends`. Raises an `HTTPException`, 401."""
        try:
            if bearer is None:
                raise InvalidToken
            return self.read(bearer.credentials)
        except InvalidToken:
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"' if bearer else "Bearer"}
            raise HTTPException(401, "a valid access token is needed", headers) from None
