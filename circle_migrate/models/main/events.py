"""Events beside the meetings of circles, with registrations, waitlists and payments."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import CHAR, CheckConstraint, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from circle_migrate.models.base import CreatedAt, Identifier, UpdatedAt, one_of
from circle_migrate.models.main.base import MainBase

EVENT_TYPES = ("workshop", "retreat", "movie_night", "social", "training")
EVENT_STATUSES = ("draft", "published", "cancelled", "completed")
REGISTRATION_STATUSES = ("registered", "waitlisted", "cancelled", "attended", "absent")
PAYMENT_PLANS = ("none", "full", "instalments", "sponsored")


class Event(MainBase):
    """An event with registration, open to the whole community or, with `circle_id`, to one circle.

    `capacity` is the number of places (null: no limit); later registrations are put on the waitlist.
    `price_cents` is the price of a place in hundredths of `currency` (ISO 4217); 0 is free of charge.
    """

    __tablename__ = "events"
    __table_args__ = (
        one_of("event_type", EVENT_TYPES, name="event_type"),
        one_of("status", EVENT_STATUSES, name="status"),
        CheckConstraint("capacity > 0", name="capacity"),
        CheckConstraint("price_cents >= 0", name="price"),
        CheckConstraint("ends_at > starts_at", name="ends_after_start"),
        CheckConstraint(
            "registration_opens_at < registration_closes_at AND registration_closes_at <= ends_at",
            name="registration_period",
        ),
    )

    id: Mapped[Identifier]
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str | None] = mapped_column(Text)
    event_type: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20), server_default="draft")
    organizer_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    circle_id: Mapped[int | None] = mapped_column(ForeignKey("circles.id"), index=True)
    location_name: Mapped[str | None] = mapped_column(String(200))
    location_address: Mapped[str | None] = mapped_column(String(500))
    starts_at: Mapped[datetime] = mapped_column(index=True)
    ends_at: Mapped[datetime]
    registration_opens_at: Mapped[datetime | None]
    registration_closes_at: Mapped[datetime | None]
    capacity: Mapped[int | None]
    price_cents: Mapped[int] = mapped_column(server_default="0")
    currency: Mapped[str] = mapped_column(CHAR(3), server_default="USD")
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]


class EventRegistration(MainBase):
    """The registration of a user for an event; a cancelled one is reused, not inserted again.

    `waitlist_position` counts from 1 and is null unless waitlisted. Its UNIQUE is deferrable, so that one
    UPDATE can move all positions. `sponsor_id` is the user who pays under the plan `sponsored`.
    """

    __tablename__ = "event_registrations"
    __table_args__ = (
        UniqueConstraint("event_id", "user_id"),
        UniqueConstraint("event_id", "waitlist_position", deferrable=True, initially="IMMEDIATE"),
        one_of("status", REGISTRATION_STATUSES, name="status"),
        one_of("payment_plan", PAYMENT_PLANS, name="payment_plan"),
        CheckConstraint("(status = 'waitlisted') = (waitlist_position IS NOT NULL)", name="waitlist"),
        CheckConstraint("waitlist_position > 0", name="waitlist_position"),
        CheckConstraint("(status = 'cancelled') = (cancelled_at IS NOT NULL)", name="cancellation"),
        CheckConstraint("cancelled_at >= registered_at", name="cancelled_after_registered"),
        CheckConstraint("(payment_plan = 'sponsored') = (sponsor_id IS NOT NULL)", name="sponsorship"),
        CheckConstraint("sponsor_id <> user_id", name="sponsor_is_another"),
    )

    id: Mapped[Identifier]
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    status: Mapped[str] = mapped_column(String(20), server_default="registered")
    waitlist_position: Mapped[int | None]
    payment_plan: Mapped[str] = mapped_column(String(20), server_default="none")
    sponsor_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    registered_at: Mapped[CreatedAt]
    cancelled_at: Mapped[datetime | None]
    updated_at: Mapped[UpdatedAt]


class RegistrationPayment(MainBase):
    """A payment due for a registration: the only one of plan `full`, or one of several instalments.

    `instalment` counts from 1; `amount_cents` is in hundredths of the event's currency. A registration with
    payments can be cancelled, but not deleted.
    """

    __tablename__ = "registration_payments"
    __table_args__ = (
        CheckConstraint("instalment > 0", name="instalment"),
        CheckConstraint("amount_cents > 0", name="amount"),
    )

    registration_id: Mapped[int] = mapped_column(ForeignKey("event_registrations.id"), primary_key=True)
    instalment: Mapped[int] = mapped_column(primary_key=True)
    amount_cents: Mapped[int]
    due_on: Mapped[date]
    paid_at: Mapped[datetime | None]
    stripe_payment_intent_id: Mapped[str | None] = mapped_column(String(255), unique=True)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
