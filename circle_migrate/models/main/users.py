"""Users."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, PrimaryKeyConstraint, String, Text, false, true
from sqlalchemy.orm import Mapped, mapped_column

from circle_migrate.models.base import CreatedAt, UpdatedAt
from circle_migrate.models.main.base import MainBase


class User(MainBase):
    """A person with an account, in any role.

    It has no secrets: password, tokens and codes are in the row with the same number in the credentials
    database (`UserCredential.user_id`). `email` identifies the person, and is unique.
    """

    __tablename__ = "users"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="users_pkey"),
        Index("ix_users_email", "email", unique=True),
    )

    id: Mapped[int] = mapped_column()
    email: Mapped[str] = mapped_column(String(255))
    first_name: Mapped[str] = mapped_column(String(100))
    last_name: Mapped[str] = mapped_column(String(100))
    phone: Mapped[str | None] = mapped_column(String(20))
    bio: Mapped[str | None] = mapped_column(Text)
    profile_image_url: Mapped[str | None] = mapped_column(String(500))
    is_active: Mapped[bool] = mapped_column(server_default=true())
    is_verified: Mapped[bool] = mapped_column(server_default=false())
    email_verified: Mapped[bool] = mapped_column(server_default=false())
    phone_verified: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
    last_login_at: Mapped[datetime | None]
