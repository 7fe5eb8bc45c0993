"""Add events

Safe: only creates. The foreign keys take brief SHARE ROW EXCLUSIVE locks on `users` and `circles`; the new
table is empty, so there is nothing to check under them.
"""

import sqlalchemy as sa
from alembic import op

revision = "c4198e875dd0"
down_revision = "4d44f6b6663c"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("event_type", sa.String(20), nullable=False),
        sa.Column("status", sa.String(20), server_default="draft", nullable=False),
        sa.Column("organizer_id", sa.Integer(), nullable=False),
        sa.Column("circle_id", sa.Integer()),
        sa.Column("location_name", sa.String(200)),
        sa.Column("location_address", sa.String(500)),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("registration_opens_at", sa.DateTime(timezone=True)),
        sa.Column("registration_closes_at", sa.DateTime(timezone=True)),
        sa.Column("capacity", sa.Integer()),
        sa.Column("price_cents", sa.Integer(), server_default="0", nullable=False),
        sa.Column("currency", sa.CHAR(3), server_default="USD", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.ForeignKeyConstraint(["organizer_id"], ["users.id"], name=op.f("fk_events_organizer_id")),
        sa.ForeignKeyConstraint(["circle_id"], ["circles.id"], name=op.f("fk_events_circle_id")),
        sa.CheckConstraint(
            "event_type IN ('workshop', 'retreat', 'movie_night', 'social', 'training')",
            name=op.f("ck_events_event_type"),
        ),
        sa.CheckConstraint(
            "status IN ('draft', 'published', 'cancelled', 'completed')", name=op.f("ck_events_status")
        ),
        sa.CheckConstraint("capacity > 0", name=op.f("ck_events_capacity")),
        sa.CheckConstraint("price_cents >= 0", name=op.f("ck_events_price")),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_events_ends_after_start")),
        sa.CheckConstraint(
            "registration_opens_at < registration_closes_at AND registration_closes_at <= ends_at",
            name=op.f("ck_events_registration_period"),
        ),
    )
    op.create_index(op.f("ix_events_organizer_id"), "events", ["organizer_id"])
    op.create_index(op.f("ix_events_circle_id"), "events", ["circle_id"])
    op.create_index(op.f("ix_events_starts_at"), "events", ["starts_at"])


def downgrade() -> None:
    op.drop_table("events")
