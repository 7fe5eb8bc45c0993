"""Add registrations for events, with waitlist and sponsor

The UNIQUE on the waitlist position is deferrable: checked at the end of each statement rather than row by
row, it lets one UPDATE move everybody up. (As an ON CONFLICT target it cannot serve, therefore.)

Safe: only creates.
"""

import sqlalchemy as sa
from alembic import op

revision = "47773a45acc2"
down_revision = "c4198e875dd0"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "event_registrations",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(20), server_default="registered", nullable=False),
        sa.Column("waitlist_position", sa.Integer()),
        sa.Column("payment_plan", sa.String(20), server_default="none", nullable=False),
        sa.Column("sponsor_id", sa.Integer()),
        sa.Column("registered_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("cancelled_at", sa.DateTime(timezone=True)),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_registrations")),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_event_registrations_event_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_event_registrations_user_id")),
        sa.ForeignKeyConstraint(["sponsor_id"], ["users.id"], name=op.f("fk_event_registrations_sponsor_id")),
        sa.UniqueConstraint("event_id", "user_id", name=op.f("uq_event_registrations_event_id_user_id")),
        sa.UniqueConstraint(
            "event_id",
            "waitlist_position",
            name=op.f("uq_event_registrations_event_id_waitlist_position"),
            deferrable=True,
            initially="IMMEDIATE",
        ),
        sa.CheckConstraint(
            "status IN ('registered', 'waitlisted', 'cancelled', 'attended', 'absent')",
            name=op.f("ck_event_registrations_status"),
        ),
        sa.CheckConstraint(
            "payment_plan IN ('none', 'full', 'instalments', 'sponsored')",
            name=op.f("ck_event_registrations_payment_plan"),
        ),
        sa.CheckConstraint(
            "(status = 'waitlisted') = (waitlist_position IS NOT NULL)",
            name=op.f("ck_event_registrations_waitlist"),
        ),
        sa.CheckConstraint("waitlist_position > 0", name=op.f("ck_event_registrations_waitlist_position")),
        sa.CheckConstraint(
            "(status = 'cancelled') = (cancelled_at IS NOT NULL)",
            name=op.f("ck_event_registrations_cancellation"),
        ),
        sa.CheckConstraint(
            "cancelled_at >= registered_at", name=op.f("ck_event_registrations_cancelled_after_registered")
        ),
        sa.CheckConstraint(
            "(payment_plan = 'sponsored') = (sponsor_id IS NOT NULL)",
            name=op.f("ck_event_registrations_sponsorship"),
        ),
        sa.CheckConstraint("sponsor_id <> user_id", name=op.f("ck_event_registrations_sponsor_is_another")),
    )
    op.create_index(op.f("ix_event_registrations_user_id"), "event_registrations", ["user_id"])
    op.create_index(op.f("ix_event_registrations_sponsor_id"), "event_registrations", ["sponsor_id"])


def downgrade() -> None:
    op.drop_table("event_registrations")
