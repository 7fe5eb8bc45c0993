"""Accounts over both databases: registration, sign-in, sessions, codes and new passwords."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NamedTuple

from fastapi import HTTPException

from circle_migrate.api.auth import codes, sessions
from circle_migrate.api.auth.access_tokens import AccessClaims, AccessTokens, InvalidToken
from circle_migrate.api.auth.codes import Channel
from circle_migrate.api.auth.connections import (
    CREDENTIALS,
    MAIN,
    UNAVAILABLE,
    Connections,
    is_lost,
    log_failure,
)
from circle_migrate.api.auth.message import Message, MessageKind
from circle_migrate.api.auth.passwords import Passwords
from circle_migrate.api.auth.sessions import Session
from circle_migrate.core.errors import MigrateError

_BEARER = {"WWW-Authenticate": "Bearer"}
RESET_MINUTES = 30
_RESET_PAUSE_SECONDS = 60
_TRIES = 5
_LOCK_MINUTES = 15
_WRITE_SECONDS = 1.0
"""Seconds for each of two tries to write the credentials of a new user, and for taking the user back."""

# Operands of one type: an operator that another role defines for varchar and text would fit better.
_FIND = """
SELECT id, email::text, is_active FROM users WHERE email::text = ANY ($1::text[])
ORDER BY is_active DESC, email::text = $2::text DESC LIMIT 1
"""
_CONTACT = (
    "SELECT email::text, phone::text, email_verified, phone_verified FROM users WHERE id = $1 AND is_active"
)
_IS_ACTIVE = "SELECT is_active FROM users WHERE id = $1"
_SIGNED_IN = "UPDATE users SET last_login_at = now() WHERE id = $1"
_VERIFIED: Mapping[Channel, str] = {
    channel: f"UPDATE users SET {channel}_verified = true, updated_at = now() "
    f"WHERE id = $1 AND {channel}::text = $2::text"
    for channel in codes.CHANNELS
}
# No row for an address that has a user, whose row is only locked: its commit takes as long as an insertion.
_ADD_USER = """
INSERT INTO users AS old (email, first_name, last_name, phone) VALUES ($1, $2, $3, $4)
ON CONFLICT (email) DO UPDATE SET updated_at = old.updated_at WHERE false
RETURNING id
"""
_LOCK_CREDENTIALS = "SELECT FROM user_credentials WHERE user_id = $1 FOR UPDATE"
_REMOVE_USER = "DELETE FROM users WHERE id = $1"

# Returns a row if this hash is stored, also by a try before; credentials of anybody else are left alone.
_ADD_CREDENTIALS = """
INSERT INTO user_credentials AS old (user_id, password_hash, salt) VALUES ($1, $2, '')
ON CONFLICT (user_id) DO UPDATE SET updated_at = old.updated_at
WHERE old.password_hash::text = excluded.password_hash::text
RETURNING user_id
"""

_FAILURES = "CASE WHEN locked_until <= now() THEN 1 ELSE failed_login_attempts + 1 END"
# A try is counted before the password is compared, so that tries at once cannot exceed the limit.
_TRY = f"""
UPDATE user_credentials
SET failed_login_attempts = {_FAILURES},
    locked_until = CASE WHEN {_FAILURES} >= {_TRIES} THEN now() + interval '{_LOCK_MINUTES} minutes' END,
    last_password_attempt = now()
WHERE user_id = $1 AND (locked_until IS NULL OR locked_until <= now())
RETURNING password_hash::text
"""
# No row where the password has changed since it was compared.
_SUCCESS = """
UPDATE user_credentials
SET failed_login_attempts = 0, locked_until = NULL, password_hash = coalesce($3, password_hash)
WHERE user_id = $1 AND password_hash::text = $2::text
RETURNING user_id
"""

_REPLACE_RESET = f"""
INSERT INTO password_resets AS old (user_id, token_hash, expires_at)
VALUES ($1, $2, now() + interval '{RESET_MINUTES} minutes')
ON CONFLICT (user_id) DO UPDATE SET
    token_hash = excluded.token_hash, created_at = now(), expires_at = excluded.expires_at, used_at = NULL
WHERE old.created_at <= now() - interval '{_RESET_PAUSE_SECONDS} seconds'
RETURNING true
"""
_LIVE_RESET = "token_hash = $1 AND used_at IS NULL AND expires_at > now()"
_FIND_RESET = f"SELECT user_id FROM password_resets WHERE {_LIVE_RESET}"
_USE_RESET = f"UPDATE password_resets SET used_at = now() WHERE {_LIVE_RESET} RETURNING user_id"
_STORE = """
INSERT INTO user_credentials (user_id, password_hash, salt) VALUES ($1, $2, '')
ON CONFLICT (user_id) DO UPDATE SET
    password_hash = excluded.password_hash, salt = '', failed_login_attempts = 0, locked_until = NULL,
    password_changed_at = now(), updated_at = now()
"""


class NewUser(NamedTuple):
    """What a person enters to register."""

    email: str
    first_name: str
    last_name: str
    phone: str | None


class User(NamedTuple):
    """A user and the address as it is stored: one that was entered may belong to somebody else, as
    `str.lower` maps other letters, such as the Kelvin sign, to those of ASCII.
    """

    id: int
    email: str
    is_active: bool


Later = Callable[[], Awaitable[Message | None]]
"""Makes a message after the response, whose time says nothing then."""


class Accounts:
    """The accounts. Errors of the databases are those of `connections`; others are `HTTPException`."""

    def __init__(
        self, connections: Connections, passwords: Passwords, tokens: AccessTokens, session_seconds: float
    ) -> None:
        self._connections, self._passwords, self._tokens = connections, passwords, tokens
        self._session_seconds = session_seconds
        self._adding: set[asyncio.Future[None]] = set()

    async def close(self) -> None:
        """Wait until registrations that were begun are whole, or taken back."""
        await asyncio.gather(*self._adding, return_exceptions=True)

    async def register(self, new: NewUser, password: str) -> Later | None:
        """Add a user, then the credentials. Returns a message to the address, also if it has an account.

        An address that has one takes the same statements in both databases, and as many commits that write.
        """
        hashed = await self._passwords.hash(password)
        async with self._connections.connected(CREDENTIALS):
            pass  # what cannot be connected to shows before anything is written
        user = await self._find(new.email)
        email = new.email.lower() if user is None else user.email
        async with self._connections.connected(MAIN) as connection:
            arguments = (email, new.first_name, new.last_name, new.phone)
            user_id = await connection.fetchval(_ADD_USER, *arguments)
        if user_id is None:
            user = user or await self._find(email)  # registered at the same moment
            if user is None:
                return None
            async with self._connections.connected(CREDENTIALS) as connection:
                await connection.execute(_LOCK_CREDENTIALS, user.id)
            is_active = user.is_active
            return partial(self.reset_message, user, MessageKind.ALREADY_REGISTERED) if is_active else None
        adding = asyncio.ensure_future(self._add_credentials(user_id, hashed))
        self._adding.add(adding)  # it goes on where the request is given up
        adding.add_done_callback(self._adding.discard)
        await asyncio.shield(adding)
        return partial(self._code_message, user_id, "email", email)

    async def _add_credentials(self, user_id: int, hashed: str) -> None:
        """Add the credentials of a new user; where they surely do not exist, take the user back."""
        may_exist = False
        for is_last in (False, True):
            sent = False
            try:
                async with (
                    asyncio.timeout(_WRITE_SECONDS),
                    self._connections.connected(CREDENTIALS) as connection,
                ):
                    sent = True
                    if await connection.fetchval(_ADD_CREDENTIALS, user_id, hashed) is None:
                        raise MigrateError(
                            f"user_credentials has a row for {user_id}, who is new: "
                            "run circle-migrate consistency"
                        )
                return
            except UNAVAILABLE as error:
                may_exist |= sent and not isinstance(error, MigrateError) and is_lost(error)
                if may_exist and not is_last:
                    continue
                if may_exist:
                    log_failure(f"user {user_id} may have no credentials: circle-migrate consistency", error)
                else:
                    await self._remove_user(user_id)
                raise

    async def _remove_user(self, user_id: int) -> None:
        try:
            async with asyncio.timeout(_WRITE_SECONDS), self._connections.connected(MAIN) as connection:
                await connection.execute(_REMOVE_USER, user_id)
        except UNAVAILABLE as error:
            log_failure(f"user {user_id} has no credentials: circle-migrate consistency", error)

    async def find(self, email: str) -> User | None:
        """Return the active user with an address, as it is written or in lower case."""
        user = await self._find(email)
        return user if user is not None and user.is_active else None

    async def _find(self, email: str) -> User | None:
        async with self._connections.connected(MAIN) as connection:
            row = await connection.fetchrow(_FIND, [email, email.lower()], email)
        return None if row is None else User(*row)

    async def sign_in(self, email: str, password: str) -> Session:
        """Begin a session. Answers and work are the same for users who do not exist or are locked."""
        user = await self.find(email)
        user_id = 0 if user is None else user.id
        async with self._passwords.slot() as slot:  # before the try counts, as the wait may take too long
            async with self._connections.connected(CREDENTIALS) as connection:
                stored = await connection.fetchval(_TRY, user_id)
            verified = await self._passwords.verify(slot, password, stored)
        if verified.is_right:
            async with self._connections.transaction(CREDENTIALS) as connection:
                if await connection.fetchval(_SUCCESS, user_id, stored, verified.new_hash) is not None:
                    session = await sessions.begin(connection, user_id, self._session_seconds)
                    async with self._connections.connected(MAIN) as main:
                        await main.execute(_SIGNED_IN, user_id)
                    return session
        raise HTTPException(
            401, "the address or the password is wrong, or the account is locked for a while", _BEARER
        )

    async def refresh(self, token: str) -> Session:
        """Continue a session with a new refresh token. A token that was used before ends the session."""
        try:
            async with self._connections.transaction(CREDENTIALS) as connection:
                session = await sessions.exchange(connection, token)
                # Before the commit: without an answer of main, the client's token stays good.
                async with self._connections.connected(MAIN) as main:
                    if not await main.fetchval(_IS_ACTIVE, session.user_id):
                        raise InvalidToken
        except sessions.ReusedToken:
            await self.sign_out(token)
        except InvalidToken:
            pass
        else:
            return session
        raise HTTPException(401, "the refresh token is not valid; sign in again", _BEARER)

    async def sign_out(self, token: str) -> None:
        """End the session of a refresh token, if it has one."""
        async with self._connections.transaction(CREDENTIALS) as connection:
            await sessions.revoke(connection, token)

    async def new_code(self, claims: AccessClaims, channel: Channel) -> Message:
        """Return the message with a new code for the address or the phone of a user."""
        target, is_verified = await self._contact(claims.user_id, channel)
        if is_verified:
            raise HTTPException(409, f"the {channel} is verified already")
        message = await self._code_message(claims.user_id, channel, target)
        if message is None:
            raise HTTPException(429, "too many codes were sent; try again later", {"Retry-After": "60"})
        return message

    async def use_code(self, claims: AccessClaims, channel: Channel, code: str) -> None:
        """Note that the address or the phone is verified."""
        target, _ = await self._contact(claims.user_id, channel)
        async with self._connections.connected(CREDENTIALS) as connection:
            is_right = await codes.use(
                connection, self._tokens.secrets, claims.user_id, channel, target, code
            )
        if not is_right:
            raise HTTPException(400, "the code is wrong, expired or used up; ask for a new one")
        async with self._connections.connected(MAIN) as connection:
            await connection.execute(_VERIFIED[channel], claims.user_id, target)

    async def _contact(self, user_id: int, channel: Channel) -> tuple[str, bool]:
        async with self._connections.connected(MAIN) as connection:
            row = await connection.fetchrow(_CONTACT, user_id)
        if row is None:
            raise HTTPException(401, "a valid access token is needed", _BEARER)
        if row[channel] is None:
            raise HTTPException(409, f"the account has no {channel}")
        return row[channel], row[f"{channel}_verified"]

    async def _code_message(self, user_id: int, channel: Channel, target: str) -> Message | None:
        async with self._connections.connected(CREDENTIALS) as connection:
            code = await codes.replace(connection, self._tokens.secrets[0], user_id, channel, target)
        kind = MessageKind.VERIFY_EMAIL if channel == "email" else MessageKind.VERIFY_PHONE
        return None if code is None else Message(kind, target, code, codes.MINUTES)

    async def reset_message(
        self, user: User, kind: MessageKind = MessageKind.RESET_PASSWORD
    ) -> Message | None:
        """Return the message with a token for a new password; None within a minute of the one before."""
        token = sessions.new_token()
        async with self._connections.connected(CREDENTIALS) as connection:
            is_new = await connection.fetchval(_REPLACE_RESET, user.id, sessions.token_hash(token))
        return Message(kind, user.email, token, RESET_MINUTES) if is_new else None

    async def reset_password(self, token: str, password: str) -> None:
        """Set a new password, also for a user without credentials, and end all sessions."""
        hashed_token = sessions.token_hash(token)
        refused = HTTPException(400, "the token is wrong, expired or used; ask for a new one")
        async with self._connections.connected(CREDENTIALS) as connection:
            if await connection.fetchval(_FIND_RESET, hashed_token) is None:
                raise refused
        hashed = await self._passwords.hash(password)
        async with self._connections.transaction(CREDENTIALS) as connection:
            user_id = await connection.fetchval(_USE_RESET, hashed_token)
            if user_id is None:
                raise refused
            async with self._connections.connected(MAIN) as main:
                if not await main.fetchval(_IS_ACTIVE, user_id):
                    raise refused
            await connection.execute(_STORE, user_id, hashed)
            await sessions.revoke_all(connection, user_id)
