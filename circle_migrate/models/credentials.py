"""The credentials database: authentication data of users, separate from all other data.

A test compares `metadata` with the schema of the head revision.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import LargeBinary, PrimaryKeyConstraint, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from circle_migrate.models.base import TYPES, CreatedAt, UpdatedAt, new_metadata

metadata = new_metadata()


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
