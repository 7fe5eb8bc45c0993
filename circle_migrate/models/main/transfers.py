"""Transfers between circles."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from circle_migrate.models.base import CreatedAt, Identifier, UpdatedAt, one_of
from circle_migrate.models.main.base import MainBase

TRANSFER_STATUSES = ("pending", "approved", "denied", "cancelled")


class TransferRequest(MainBase):
    """The request of a member to change from one circle to another.

    It is pending until a reviewer approves or denies it, or the member cancels it; only reviewed requests
    have a reviewer and a time of review. A member has at most one pending request per circle.
    """

    __tablename__ = "transfer_requests"
    __table_args__ = (
        one_of("status", TRANSFER_STATUSES, name="status"),
        CheckConstraint("source_circle_id <> target_circle_id", name="different_circles"),
        CheckConstraint(
            "(status IN ('approved', 'denied')) = (reviewed_at IS NOT NULL)"
            " AND (reviewed_at IS NULL) = (reviewed_by_id IS NULL)",
            name="review",
        ),
        CheckConstraint("reviewed_at >= created_at", name="reviewed_after_created"),
        Index(
            "uq_transfer_requests_pending",
            "requester_id",
            "source_circle_id",
            unique=True,
            postgresql_where=text("status = 'pending'"),
        ),
    )

    id: Mapped[Identifier]
    requester_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    source_circle_id: Mapped[int] = mapped_column(ForeignKey("circles.id"), index=True)
    target_circle_id: Mapped[int] = mapped_column(ForeignKey("circles.id"), index=True)
    reason: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(20), server_default="pending")
    reviewed_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    reviewed_at: Mapped[datetime | None]
    review_notes: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
