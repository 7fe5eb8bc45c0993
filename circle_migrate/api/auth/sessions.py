"""Sessions: families of refresh tokens, stored as hashes, each token exchanged once for the next one.

What ends sessions locks the user's row of `user_credentials` first, and what continues one locks it in SHARE
mode: otherwise a token that is exchanged at that moment would leave a live one behind.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg

from circle_migrate.api.auth.access_tokens import InvalidToken

_REMOVE_EXPIRED = "DELETE FROM refresh_tokens WHERE user_id = $1 AND expires_at < now()"

_BEGIN = """
INSERT INTO refresh_tokens (user_id, family_id, token_hash, expires_at)
VALUES ($1, $2, $3, now() + make_interval(secs => $4))
"""

_OWNER = """
SELECT u.user_id FROM refresh_tokens t JOIN user_credentials u ON u.user_id = t.user_id
WHERE t.token_hash = $1 FOR {lock} OF u
"""

# All parts see the token as it was before the statement, but the UPDATE waits for, and then sees, another
# exchange of the same token: a token that `seen` has as live and `exchanged` has not was exchanged at once.
_EXCHANGE = """
WITH seen AS (
    SELECT used_at IS NOT NULL AND revoked_at IS NULL AS was_used FROM refresh_tokens WHERE token_hash = $1
), exchanged AS (
    UPDATE refresh_tokens SET used_at = now()
    WHERE token_hash = $1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > now()
    RETURNING user_id, family_id, expires_at
), next AS (
    INSERT INTO refresh_tokens (user_id, family_id, token_hash, expires_at)
    SELECT user_id, family_id, $2, expires_at FROM exchanged
    RETURNING user_id, family_id
)
SELECT seen.was_used, next.user_id, next.family_id FROM seen LEFT JOIN next ON true
"""

_REVOKE_FAMILY = """
UPDATE refresh_tokens SET revoked_at = now()
WHERE family_id = (SELECT family_id FROM refresh_tokens WHERE token_hash = $1) AND revoked_at IS NULL
"""
_REVOKE_ALL = "UPDATE refresh_tokens SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL"


class Session(NamedTuple):
    """A session and its live refresh token."""

    user_id: int
    family: UUID
    token: str


class ReusedToken(InvalidToken):
    """A token that was exchanged before: it was stolen, or its exchange did not reach the client."""


def new_token() -> str:
    """Return a random token of 256 bits."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """Return what is stored of a token; it is random, so that no salt is needed."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


async def begin(connection: asyncpg.Connection, user_id: int, seconds: float) -> Session:
    """Begin a session that ends after so many seconds at the latest."""
    session = Session(user_id, uuid4(), new_token())
    await connection.execute(_REMOVE_EXPIRED, user_id)
    await connection.execute(_BEGIN, user_id, session.family, token_hash(session.token), seconds)
    return session


async def exchange(connection: asyncpg.Connection, token: str) -> Session:
    """Exchange a refresh token, in a transaction. Raises `InvalidToken`, `ReusedToken` after another one."""
    key, successor = token_hash(token), new_token()
    await connection.fetchval(_OWNER.format(lock="SHARE"), key)
    row = await connection.fetchrow(_EXCHANGE, key, token_hash(successor))
    if row is None or row["user_id"] is None:
        raise ReusedToken if row is not None and row["was_used"] else InvalidToken
    return Session(row["user_id"], row["family_id"], successor)


async def revoke(connection: asyncpg.Connection, token: str) -> None:
    """End the session of a token, in a transaction; an unknown token has none."""
    key = token_hash(token)
    await connection.fetchval(_OWNER.format(lock="UPDATE"), key)
    await connection.execute(_REVOKE_FAMILY, key)


async def revoke_all(connection: asyncpg.Connection, user_id: int) -> None:
    """End all sessions of a user whose credentials this transaction has locked."""
    await connection.execute(_REVOKE_ALL, user_id)
