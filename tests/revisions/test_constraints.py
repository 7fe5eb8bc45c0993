"""What the database itself refuses, and what it lets pass: the platform's rules at the head of main."""

from __future__ import annotations

from collections.abc import Iterator

import asyncpg
import pytest

from tests import alembic_driver
from tests.servers import Databases, Server, run

PEOPLE = """
    INSERT INTO users (email, first_name, last_name)
    SELECT 'u' || n || '@example.org', 'User', n::text FROM generate_series(1, 5) AS n;
    INSERT INTO circles (name, facilitator_id, capacity_min, capacity_max, status, is_active)
    VALUES ('One', 1, 2, 10, 'active', true), ('Two', 1, 2, 10, 'active', true);
    INSERT INTO transfer_requests (requester_id, source_circle_id, target_circle_id) VALUES (2, 1, 2);
    INSERT INTO events (title, event_type, organizer_id, starts_at, ends_at, capacity)
    VALUES ('Open air', 'movie_night', 1, '2030-01-01 18:00Z', '2030-01-01 20:00Z', 1);
    INSERT INTO event_registrations (event_id, user_id, status, waitlist_position)
    VALUES (1, 1, 'registered', NULL), (1, 2, 'waitlisted', 1), (1, 3, 'waitlisted', 2)
"""

CIRCLE = "INSERT INTO circles (name, facilitator_id, capacity_min, capacity_max, status, is_active) VALUES "
TRANSFER = "INSERT INTO transfer_requests (requester_id, source_circle_id, target_circle_id, status) VALUES "
REVIEW = "UPDATE transfer_requests SET status = 'approved', reviewed_by_id = 1, reviewed_at = now()"
EVENT = "INSERT INTO events (title, event_type, organizer_id, starts_at, ends_at) VALUES "
REGISTRATION = "INSERT INTO event_registrations (event_id, user_id) VALUES "
PAYMENT = "INSERT INTO registration_payments (registration_id, instalment, amount_cents, due_on) VALUES "
MEMBERSHIP = (
    "INSERT INTO circle_memberships (circle_id, user_id, is_active, payment_status, transfer_request_id)"
    " VALUES "
)

LEAVE_WAITLIST = (
    "UPDATE event_registrations SET status = 'registered', waitlist_position = NULL WHERE user_id = 2"
)
MOVE_UP = (
    "UPDATE event_registrations SET waitlist_position = waitlist_position - 1 WHERE status = 'waitlisted'"
)

REFUSED = [
    (CIRCLE + "('x', 1, 1, 10, 'active', true)", "ck_circles_capacity"),
    (CIRCLE + "('x', 1, 2, 11, 'active', true)", "ck_circles_capacity"),
    (CIRCLE + "('x', 1, 9, 3, 'active', true)", "ck_circles_capacity"),
    (TRANSFER + "(2, 1, 2, 'pending')", "uq_transfer_requests_pending"),
    (TRANSFER + "(3, 1, 1, 'pending')", "ck_transfer_requests_different_circles"),
    (TRANSFER + "(3, 1, 2, 'lost')", "ck_transfer_requests_status"),
    (TRANSFER + "(3, 1, 2, 'approved')", "ck_transfer_requests_review"),
    (TRANSFER + "(9, 1, 2, 'pending')", "fk_transfer_requests_requester_id"),
    ("UPDATE transfer_requests SET reviewed_by_id = 1", "ck_transfer_requests_review"),
    ("UPDATE transfer_requests SET reviewed_by_id = 1, reviewed_at = now()", "ck_transfer_requests_review"),
    (REVIEW + " - interval '1 day'", "ck_transfer_requests_reviewed_after_created"),
    (
        MEMBERSHIP + "(1, 1, true, 'current', 1), (2, 1, true, 'current', 1)",
        "uq_circle_memberships_transfer_request_id",
    ),
    (MEMBERSHIP + "(1, 1, true, 'current', 9)", "fk_circle_memberships_transfer_request_id"),
    (EVENT + "('x', 'workshop', 1, '2030-01-02', '2030-01-02')", "ck_events_ends_after_start"),
    (EVENT + "('x', 'war', 1, '2030-01-02', '2030-01-03')", "ck_events_event_type"),
    ("UPDATE events SET status = 'open'", "ck_events_status"),
    ("UPDATE events SET capacity = 0", "ck_events_capacity"),
    ("UPDATE events SET price_cents = -1", "ck_events_price"),
    ("UPDATE events SET registration_closes_at = '2030-01-02'", "ck_events_registration_period"),
    (
        "UPDATE events SET registration_opens_at = '2029-12-02', registration_closes_at = '2029-12-01'",
        "ck_events_registration_period",
    ),
    (REGISTRATION + "(1, 1)", "uq_event_registrations_event_id_user_id"),
    (
        "UPDATE event_registrations SET waitlist_position = 1 WHERE user_id = 3",
        "uq_event_registrations_event_id_waitlist_position",
    ),
    ("UPDATE event_registrations SET waitlist_position = NULL", "ck_event_registrations_waitlist"),
    ("UPDATE event_registrations SET status = 'registered'", "ck_event_registrations_waitlist"),
    (
        MOVE_UP,
        "ck_event_registrations_waitlist_position",
    ),
    ("UPDATE event_registrations SET status = 'gone' WHERE user_id = 1", "ck_event_registrations_status"),
    ("UPDATE event_registrations SET cancelled_at = now()", "ck_event_registrations_cancellation"),
    (
        "UPDATE event_registrations SET status = 'cancelled', cancelled_at = 'epoch' WHERE user_id = 1",
        "ck_event_registrations_cancelled_after_registered",
    ),
    ("UPDATE event_registrations SET payment_plan = 'loan'", "ck_event_registrations_payment_plan"),
    ("UPDATE event_registrations SET payment_plan = 'sponsored'", "ck_event_registrations_sponsorship"),
    ("UPDATE event_registrations SET sponsor_id = 4", "ck_event_registrations_sponsorship"),
    (
        "UPDATE event_registrations SET payment_plan = 'sponsored', sponsor_id = user_id",
        "ck_event_registrations_sponsor_is_another",
    ),
    (PAYMENT + "(1, 0, 100, '2030-01-01')", "ck_registration_payments_instalment"),
    (PAYMENT + "(1, 1, 0, '2030-01-01')", "ck_registration_payments_amount"),
    (PAYMENT + "(1, 1, 5, '2030-01-01'), (1, 1, 5, '2030-02-01')", "pk_registration_payments"),
]

ALLOWED = [
    CIRCLE + "('pair', 1, 2, 2, 'active', true), ('full', 1, 10, 10, 'active', true)",
    TRANSFER + "(2, 2, 1, 'pending'), (3, 1, 2, 'pending'), (2, 1, 2, 'cancelled'), (2, 1, 2, 'cancelled')",
    REVIEW + "; " + TRANSFER + "(2, 1, 2, 'pending')",
    REVIEW + "; " + MEMBERSHIP + "(2, 2, true, 'current', 1), (1, 2, false, 'paused', NULL)",
    LEAVE_WAITLIST + "; " + MOVE_UP,
    "UPDATE event_registrations SET waitlist_position = 3 - waitlist_position WHERE status = 'waitlisted'",
    "UPDATE event_registrations SET status = 'cancelled', cancelled_at = now(), waitlist_position = NULL",
    "UPDATE event_registrations SET payment_plan = 'sponsored', sponsor_id = 5",
    PAYMENT + "(1, 1, 500, '2030-01-01'), (1, 2, 500, '2030-02-01')",
]


@pytest.fixture(scope="module")
def head(module_databases: Databases) -> Databases:
    """Main at its head, with a few rows; each test rolls back what it does."""

    async def prepare() -> None:
        await alembic_driver.upgrade(module_databases.urls["main"], "main")
        async with module_databases.connect("main") as connection:
            await connection.execute(PEOPLE)

    run(prepare())
    return module_databases


@pytest.fixture(scope="module")
def module_databases(server: Server) -> Iterator[Databases]:
    databases = Databases(server)
    run(databases.create())
    yield databases
    run(databases.drop())


async def attempt(databases: Databases, script: str) -> None:
    async with databases.connect("main") as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(script)
        finally:
            await transaction.rollback()


@pytest.mark.parametrize(("script", "constraint"), REFUSED)
def test_refused(head: Databases, script: str, constraint: str) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        run(attempt(head, script))
    assert refused.value.constraint_name == constraint


@pytest.mark.parametrize("script", ALLOWED)
def test_allowed(head: Databases, script: str) -> None:
    run(attempt(head, script))


def test_user_needs_no_flags_and_has_the_documented_ones(head: Databases) -> None:
    async def flags() -> tuple[bool, ...]:
        async with head.connect("main") as connection:
            row = await connection.fetchrow(
                "SELECT is_active, is_verified, email_verified, phone_verified FROM users LIMIT 1"
            )
        return tuple(row)

    assert run(flags()) == (True, False, False, False)


def test_credentials_need_a_user_id_and_no_counters(empty_databases: Databases) -> None:
    async def scenario() -> tuple[int, ...]:
        await alembic_driver.upgrade(empty_databases.urls["credentials"], "credentials")
        async with empty_databases.connect("credentials") as connection:
            insert = "INSERT INTO user_credentials ({}password_hash, salt) VALUES ({}'hash', 'salt')"
            with pytest.raises(asyncpg.NotNullViolationError, match="user_id"):
                await connection.execute(insert.format("", ""))
            await connection.execute(insert.format("user_id, ", "7, "))
            return tuple(
                await connection.fetchrow(
                    "SELECT user_id, failed_login_attempts, phone_verification_attempts FROM user_credentials"
                )
            )

    assert run(scenario()) == (7, 0, 0)
