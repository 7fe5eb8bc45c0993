"""The routes of sign-in, for an application to include."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, BackgroundTasks, Depends, HTTPException, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from circle_migrate.api.auth.access_tokens import AccessClaims, AccessTokens
from circle_migrate.api.auth.accounts import Accounts, Later, NewUser
from circle_migrate.api.auth.codes import Channel
from circle_migrate.api.auth.connections import Connections, within_limit
from circle_migrate.api.auth.message import Send, deliver
from circle_migrate.api.auth.passwords import MAX_BYTES, MIN_CHARACTERS, Passwords
from circle_migrate.api.auth.sessions import Session
from circle_migrate.api.problem import PROBLEMS, ProblemRoute, described_json, json_response
from circle_migrate.api.service import load_deployment
from circle_migrate.core.envelope import UNPRINTED, dump

MAX_BODY = 16 << 10
"""Bytes of a request."""
_BODY_SECONDS = 10.0
"""Seconds in which all of it must have come."""

_DAY = 86_400
_ACCEPTED = {"status": "accepted"}
_DESCRIBED: dict[int | str, dict[str, Any]] = {202: described_json("Accepted.", {"const": _ACCEPTED})}


def _short_enough(password: SecretStr) -> SecretStr:
    value = password.get_secret_value()
    if len(value.encode()) > MAX_BYTES:
        raise ValueError(f"a password has at most {MAX_BYTES} bytes in UTF-8")
    if "\0" in value:
        raise ValueError("a password has no NUL")
    return password


Password = Annotated[SecretStr, Field(max_length=MAX_BYTES), AfterValidator(_short_enough)]
NewPassword = Annotated[Password, Field(min_length=MIN_CHARACTERS)]
_CONTROL = r"\x00-\x1f" + UNPRINTED.removesuffix(r"\ud800-\udfff")  # no text has surrogates
# Neither what makes a list, a name or a comment of a header of mail, nor what nobody sees.
_TEXT = rf'[^\s@()<>\[\],;:\\"\xad\u200b-\u200d\u2060\ufeff{_CONTROL}]+'
Email = Annotated[str, StringConstraints(max_length=254, pattern=f"^{_TEXT}@{_TEXT}$")]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=f"^[^{_CONTROL}]+$"),
]
Phone = Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{6,14}$")]
Token = Annotated[SecretStr, Field(max_length=1000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Registration(_Body):
    """A new account; `phone` is in the form +491701234567."""

    email: Email
    password: NewPassword
    first_name: Name
    last_name: Name
    phone: Phone | None = None


class SignIn(_Body):
    """An address and a password."""

    email: Email
    password: Password


class RefreshToken(_Body):
    """A refresh token."""

    refresh_token: Token


class CodeRequest(_Body):
    """Where a code is sent."""

    channel: Channel


class Code(_Body):
    """A code that was sent."""

    channel: Channel
    code: Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$")]


class Address(_Body):
    """The address of an account."""

    email: Email


class PasswordReset(_Body):
    """A token that was sent, and the new password."""

    token: Token
    password: NewPassword


class Tokens(BaseModel):
    """The tokens of a session; `expires_in` are the seconds for which the access token is valid."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105
    expires_in: int
    refresh_token: str


class AuthRoute(ProblemRoute):
    """A route that takes small requests only, which come without delay, and answers within a limit."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, within_limit(endpoint), **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            size, end = 0, asyncio.get_running_loop().time() + _BODY_SECONDS

            async def receive() -> Any:
                nonlocal size
                try:
                    async with asyncio.timeout_at(end):
                        message = await request.receive()
                except TimeoutError:
                    raise HTTPException(408, "the request came too slowly", {"Connection": "close"}) from None
                size += len(message.get("body", b""))
                if size > MAX_BODY:
                    raise HTTPException(413, f"a request has at most {MAX_BODY} bytes")
                return message

            return await handle(Request(request.scope, receive))

        return answer


def auth_router(
    tokens: AccessTokens,
    send: Send,
    *,
    session_days: float = 30,
    bcrypt_rounds: int = 12,
    password_threads: int = 2,
    connections: int = 5,
) -> APIRouter:
    """Return the routes of sign-in for an application to include.

    The databases are `main` and `credentials` by the settings of the command line, without its flags, each
    with at most so many connections. `tokens` also protects routes of the application, by
    `Depends(tokens.require)`. `send` sends codes and reset tokens. A session ends after `session_days`.
    """
    pools = Connections(load_deployment, connections)
    passwords = Passwords(bcrypt_rounds, password_threads)
    accounts = Accounts(pools, passwords, tokens, session_days * _DAY)

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        yield
        await accounts.close()
        await pools.close()
        passwords.close()

    router = APIRouter(route_class=AuthRoute, tags=["sign-in"], lifespan=lifespan, responses=PROBLEMS)

    def started(session: Session) -> Response:
        answer = Tokens(
            access_token=tokens.issue(session.user_id, session.family),
            expires_in=tokens.seconds,
            refresh_token=session.token,
        )
        return json_response(answer.model_dump_json())  # `dump` redacts tokens

    def accepted(later: Later | None, background: BackgroundTasks) -> Response:
        """Answer before a message is made and sent: the time that takes says whether there is an account."""
        if later is not None:
            background.add_task(send_later, later)
        return json_response(dump(_ACCEPTED), 202)

    async def send_later(later: Later) -> None:
        with suppress(HTTPException):  # the log has it
            message = await within_limit(later)()
            if message is not None:
                await deliver(send, message)

    user = Depends(tokens.require)

    @router.post("/register", status_code=202, responses=_DESCRIBED)
    async def register(body: Registration, background: BackgroundTasks) -> Response:
        """Create an account. The answer does not say whether the address has one; a message to it does."""
        new = NewUser(body.email, body.first_name, body.last_name, body.phone)
        return accepted(await accounts.register(new, body.password.get_secret_value()), background)

    @router.post("/token", responses={200: {"model": Tokens}})
    async def sign_in(body: SignIn) -> Response:
        """Begin a session."""
        return started(await accounts.sign_in(body.email, body.password.get_secret_value()))

    @router.post("/token/refresh", responses={200: {"model": Tokens}})
    async def refresh(body: RefreshToken) -> Response:
        """Exchange a refresh token, which is of use once: a second exchange ends the session."""
        return started(await accounts.refresh(body.refresh_token.get_secret_value()))

    @router.post("/token/revoke", status_code=204)
    async def sign_out(body: RefreshToken) -> Response:
        """End the session of a refresh token."""
        await accounts.sign_out(body.refresh_token.get_secret_value())
        return Response(status_code=204)

    @router.post("/codes", status_code=202, responses=_DESCRIBED)
    async def new_code(
        body: CodeRequest, background: BackgroundTasks, claims: AccessClaims = user
    ) -> Response:
        """Send a new code to the address or the phone of the user; it replaces the one before."""
        background.add_task(deliver, send, await accounts.new_code(claims, body.channel))
        return accepted(None, background)

    @router.post("/codes/verify", status_code=204)
    async def use_code(body: Code, claims: AccessClaims = user) -> Response:
        """Verify the address or the phone of the user. A code allows five tries."""
        await accounts.use_code(claims, body.channel, body.code)
        return Response(status_code=204)

    @router.post("/password/forgot", status_code=202, responses=_DESCRIBED)
    async def forgot(body: Address, background: BackgroundTasks) -> Response:
        """Send a token for a new password. The answer does not say whether the address has an account."""
        found = await accounts.find(body.email)
        return accepted(None if found is None else partial(accounts.reset_message, found), background)

    @router.post("/password/reset", status_code=204)
    async def reset(body: PasswordReset) -> Response:
        """Set a new password, and end all sessions."""
        await accounts.reset_password(body.token.get_secret_value(), body.password.get_secret_value())
        return Response(status_code=204)

    return router
