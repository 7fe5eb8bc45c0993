"""Codes of six digits, which prove that an e-mail address or a phone belongs to a user."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Literal

import asyncpg

Channel = Literal["email", "phone"]
CHANNELS: tuple[Channel, ...] = ("email", "phone")

MINUTES = 10
"""Minutes for which a code is valid."""

_TRIES = 5
_PAUSE_SECONDS = 60
_PER_DAY = 10
"""Codes for a channel of a user in a day: with five tries each, a guess succeeds once in 20,000 days."""

# A new code replaces the one before. No row is returned where too many have been sent.
_REPLACE = f"""
INSERT INTO verification_codes AS old (user_id, channel, code_hash, expires_at)
VALUES ($1, $2::text, $3, now() + interval '{MINUTES} minutes')
ON CONFLICT (user_id, channel) DO UPDATE SET
    code_hash = excluded.code_hash, created_at = now(), expires_at = excluded.expires_at,
    attempts = 0, used_at = NULL,
    sent = CASE WHEN old.sent_since < now() - interval '1 day' THEN 1 ELSE old.sent + 1 END,
    sent_since = CASE WHEN old.sent_since < now() - interval '1 day' THEN now() ELSE old.sent_since END
WHERE old.created_at <= now() - interval '{_PAUSE_SECONDS} seconds'
  AND (old.sent < {_PER_DAY} OR old.sent_since < now() - interval '1 day')
RETURNING true
"""

# One statement counts the try and compares, so that tries at once are counted, too.
_TRY = f"""
UPDATE verification_codes
SET attempts = attempts + 1, used_at = CASE WHEN code_hash = ANY ($3::bytea[]) THEN now() END
WHERE user_id = $1 AND channel::text = $2::text
  AND used_at IS NULL AND attempts < {_TRIES} AND expires_at > now()
RETURNING used_at IS NOT NULL
"""


def new_code() -> str:
    """Return a random code."""
    return f"{secrets.randbelow(1_000_000):06}"


def code_hash(key: bytes, user_id: int, channel: Channel, target: str, code: str) -> bytes:
    """Return what is stored of a code: it is of use only with the key, for this user and this address."""
    text = f"verification code\0{user_id}\0{channel}\0{target}\0{code}"
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


async def replace(
    connection: asyncpg.Connection, key: bytes, user_id: int, channel: Channel, target: str
) -> str | None:
    """Return a new code, the only live one; None where too many were sent in the last minute or day."""
    code = new_code()
    hashed = code_hash(key, user_id, channel, target, code)
    return code if await connection.fetchval(_REPLACE, user_id, channel, hashed) else None


async def use(
    connection: asyncpg.Connection,
    keys: Sequence[bytes],
    user_id: int,
    channel: Channel,
    target: str,
    code: str,
) -> bool:
    """Count a try; return whether the code is right, live and was not used before."""
    hashes = [code_hash(key, user_id, channel, target, code) for key in keys]
    return await connection.fetchval(_TRY, user_id, channel, hashes) is True
