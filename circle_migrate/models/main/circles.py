"""Circles and their members."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    String,
    Text,
    event,
)
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.schema import AddConstraint, conv

from circle_migrate.models.base import CreatedAt, UpdatedAt, one_of
from circle_migrate.models.main.base import MainBase, metadata

CAPACITY = CheckConstraint(
    "capacity_min >= 2 AND capacity_max <= 10 AND capacity_min <= capacity_max",
    name="capacity",
    postgresql_not_valid=True,
)


class Circle(MainBase):
    """A group of 2 to 10 members, led by one facilitator, that meets regularly.

    `capacity_min` and `capacity_max` are numbers of members. Their CHECK is NOT VALID: circles older than
    the rule may violate it until their next change.
    """

    __tablename__ = "circles"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="circles_pkey"),
        Index("ix_circles_facilitator_id", "facilitator_id"),
        Index("ix_circles_name", "name"),
        CAPACITY,
    )

    id: Mapped[int] = mapped_column()
    name: Mapped[str] = mapped_column(String(100))
    description: Mapped[str | None] = mapped_column(Text)
    facilitator_id: Mapped[int] = mapped_column(ForeignKey("users.id", name="circles_facilitator_id_fkey"))
    capacity_min: Mapped[int]
    capacity_max: Mapped[int]
    location_name: Mapped[str | None] = mapped_column(String(200))
    location_address: Mapped[str | None] = mapped_column(String(500))
    meeting_schedule: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(20))
    is_active: Mapped[bool]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]


# In CREATE TABLE, PostgreSQL ignores NOT VALID, and the model would differ from a migrated database. Added by
# ALTER TABLE, the constraint is NOT VALID.
event.listen(metadata.tables["circles"], "after_create", AddConstraint(CAPACITY))


class CircleMembership(MainBase):
    """The membership of a user in a circle, and its payment.

    `transfer_request_id` is the approved request that created the membership (null: joined directly); a
    request creates one membership.
    """

    __tablename__ = "circle_memberships"
    __table_args__ = (
        PrimaryKeyConstraint("circle_id", "user_id", name="circle_memberships_pkey"),
        CheckConstraint(
            "stripe_subscription_id IS NULL OR length(stripe_subscription_id) <= 255",
            name=conv("stripe_subscription_id_length"),
        ),
        one_of(
            "payment_status",
            ("pending", "current", "overdue", "paused"),
            name=conv("valid_payment_status"),
        ),
        Index("ix_circle_memberships_stripe_subscription_id", "stripe_subscription_id"),
        Index("ix_circle_memberships_user_id", "user_id"),
        Index("uq_circle_memberships_transfer_request_id", "transfer_request_id", unique=True),
    )

    circle_id: Mapped[int] = mapped_column(ForeignKey("circles.id", name="circle_memberships_circle_id_fkey"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", name="circle_memberships_user_id_fkey"))
    is_active: Mapped[bool]
    payment_status: Mapped[str] = mapped_column(String(20))
    stripe_subscription_id: Mapped[str | None] = mapped_column(String(255))
    next_payment_due: Mapped[datetime | None]
    joined_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
    transfer_request_id: Mapped[int | None] = mapped_column(ForeignKey("transfer_requests.id"))
