"""The credentials database: authentication data of users, separate from all other data.

A test compares `metadata` with the schema of the head revision.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from circle_migrate.models.base import TYPES, CreatedAt, Identifier, UpdatedAt, new_metadata, one_of

metadata = new_metadata()

CHANNELS = ("email", "phone")
"""Where a verification code is sent."""

CODE_TRIES = 5
"""Tries to enter a verification code."""

Owner = Annotated[
    int, mapped_column(ForeignKey("user_credentials.user_id", ondelete="CASCADE"), autoincrement=False)
]
"""The user to whom a row belongs; it goes with the credentials."""


class CredentialsBase(DeclarativeBase):
    """Base of every table in the credentials database."""

    metadata = metadata
    type_annotation_map = TYPES


class UserCredential(CredentialsBase):
    """Authentication data of one user.

    `user_id` equals `users.id` in the main database. A foreign key is impossible, so the number is never
    generated here, and neither server refuses a row without its partner.

    Tokens are stored as hashes or encrypted. `*_attempts` count failures since the last success; before
    `locked_until`, the user cannot sign in.
    """

    __tablename__ = "user_credentials"
    __table_args__ = (
        PrimaryKeyConstraint("user_id", name="user_credentials_pkey"),
        UniqueConstraint("google_user_id", name="uq_user_credentials_google_user_id"),
    )

    user_id: Mapped[int] = mapped_column(autoincrement=False)
    password_hash: Mapped[str] = mapped_column(String(255))
    salt: Mapped[str] = mapped_column(String(255))
    totp_secret: Mapped[str | None] = mapped_column(String(255))
    backup_codes: Mapped[str | None] = mapped_column(String(1000))
    google_oauth_token: Mapped[bytes | None] = mapped_column(LargeBinary)
    refresh_token_hash: Mapped[str | None] = mapped_column(String(255))
    failed_login_attempts: Mapped[int] = mapped_column(server_default="0")
    locked_until: Mapped[datetime | None]
    password_changed_at: Mapped[CreatedAt]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
    last_password_attempt: Mapped[datetime | None]
    phone_verification_code: Mapped[str | None] = mapped_column(String(10))
    phone_verification_expires_at: Mapped[datetime | None]
    phone_verification_attempts: Mapped[int] = mapped_column(server_default="0")
    google_user_id: Mapped[str | None] = mapped_column(String(255))
    google_access_token: Mapped[bytes | None] = mapped_column(LargeBinary)
    google_refresh_token: Mapped[bytes | None] = mapped_column(LargeBinary)
    password_reset_token: Mapped[str | None] = mapped_column(String(255))
    password_reset_expires_at: Mapped[datetime | None]
    password_reset_attempts: Mapped[int] = mapped_column(server_default="0")


def _hash(column: str) -> tuple[CheckConstraint, CheckConstraint]:
    """Return the CHECKs of a table whose rows have a SHA-256 and expire."""
    return (
        CheckConstraint(f"octet_length({column}) = 32", name=column),
        CheckConstraint("expires_at > created_at", name="expires_after_created"),
    )


class RefreshToken(CredentialsBase):
    """A refresh token of a session; all tokens of the session have one `family_id`.

    A token is used once, for the next one of its family, and at most one of a family is live.
    """

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        *_hash("token_hash"),
        UniqueConstraint("token_hash"),
        Index(
            "uq_refresh_tokens_live",
            "family_id",
            unique=True,
            postgresql_where=text("used_at IS NULL AND revoked_at IS NULL"),
        ),
    )

    id: Mapped[Identifier]
    user_id: Mapped[Owner] = mapped_column(index=True)
    family_id: Mapped[UUID] = mapped_column(index=True)
    token_hash: Mapped[bytes]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class VerificationCode(CredentialsBase):
    """The latest code that was sent to a user's e-mail address or phone.

    `attempts` counts the tries to enter it. `sent` counts the codes since `sent_since`.
    """

    __tablename__ = "verification_codes"
    __table_args__ = (
        *_hash("code_hash"),
        one_of("channel", CHANNELS, name="channel"),
        CheckConstraint(f"attempts BETWEEN 0 AND {CODE_TRIES}", name="attempts"),
    )

    user_id: Mapped[Owner] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(String(10), primary_key=True)
    code_hash: Mapped[bytes]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(server_default="0")
    used_at: Mapped[datetime | None]
    sent: Mapped[int] = mapped_column(server_default="1")
    sent_since: Mapped[CreatedAt]


class PasswordReset(CredentialsBase):
    """The latest token for a new password of a user, who may have no credentials."""

    __tablename__ = "password_resets"
    __table_args__ = (*_hash("token_hash"), UniqueConstraint("token_hash"))

    user_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    token_hash: Mapped[bytes]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
