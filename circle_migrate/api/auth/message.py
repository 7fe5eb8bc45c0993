"""What the application sends to people: the one place where codes and reset tokens leave the process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from circle_migrate.api.snapshot import LOG

_SECONDS = 30.0


class MessageKind(StrEnum):
    """Why a message is sent."""

    VERIFY_EMAIL = "verify-email"
    VERIFY_PHONE = "verify-phone"
    RESET_PASSWORD = "reset-password"  # noqa: S105 - no password
    ALREADY_REGISTERED = "already-registered"


@dataclass(frozen=True, slots=True)
class Message:
    """A message to an e-mail address or a phone number.

    `secret` is a code of six digits (`VERIFY_...`) or a token for a new password, valid for `minutes`.
    """

    kind: MessageKind
    to: str
    secret: str = field(repr=False)
    minutes: int


Send = Callable[[Message], Awaitable[object]]
"""Sends a message; it has 30 seconds. An error is logged by its type, as its text may have the message."""


async def deliver(send: Send, message: Message) -> None:
    """Send a message, and log a failure."""
    try:
        async with asyncio.timeout(_SECONDS):
            await send(message)
    except Exception as error:  # noqa: BLE001 - whatever the application raises
        LOG.error(f"a message {message.kind} could not be sent: {type(error).__name__}")
