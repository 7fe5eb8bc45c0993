"""Meetings of circles, and attendance."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, PrimaryKeyConstraint, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from circle_migrate.models.base import CreatedAt, UpdatedAt
from circle_migrate.models.main.base import MainBase


class Meeting(MainBase):
    """A meeting of a circle: planned for `scheduled_date`, held from `started_at` to `ended_at`."""

    __tablename__ = "meetings"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="meetings_pkey"),
        Index("ix_meetings_circle_id", "circle_id"),
        Index("ix_meetings_facilitator_id", "facilitator_id"),
        Index("ix_meetings_scheduled_date", "scheduled_date"),
    )

    id: Mapped[int] = mapped_column()
    circle_id: Mapped[int] = mapped_column(ForeignKey("circles.id", name="meetings_circle_id_fkey"))
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str | None] = mapped_column(Text)
    scheduled_date: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    facilitator_id: Mapped[int] = mapped_column(ForeignKey("users.id", name="meetings_facilitator_id_fkey"))
    location_name: Mapped[str | None] = mapped_column(String(200))
    location_address: Mapped[str | None] = mapped_column(String(500))
    meeting_notes: Mapped[str | None] = mapped_column(Text)
    agenda: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(20))
    is_active: Mapped[bool]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]


class MeetingAttendance(MainBase):
    """The attendance of a member at a meeting."""

    __tablename__ = "meeting_attendance"
    __table_args__ = (
        PrimaryKeyConstraint("meeting_id", "user_id", name="meeting_attendance_pkey"),
        Index("ix_meeting_attendance_meeting_id", "meeting_id"),
        Index("ix_meeting_attendance_user_id", "user_id"),
    )

    meeting_id: Mapped[int] = mapped_column(
        ForeignKey("meetings.id", name="meeting_attendance_meeting_id_fkey")
    )
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", name="meeting_attendance_user_id_fkey"))
    attendance_status: Mapped[str] = mapped_column(String(20))
    check_in_time: Mapped[datetime | None]
    check_out_time: Mapped[datetime | None]
    notes: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
