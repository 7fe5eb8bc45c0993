"""Add meeting and attendance tracking tables

Safe: only creates.
"""

import sqlalchemy as sa
from alembic import op

revision = "f4e7d8b9c123"
down_revision = "843c768c33cd"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "meetings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("circle_id", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("scheduled_date", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("facilitator_id", sa.Integer(), nullable=False),
        sa.Column("location_name", sa.String(200)),
        sa.Column("location_address", sa.String(500)),
        sa.Column("meeting_notes", sa.Text()),
        sa.Column("agenda", sa.JSON()),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("meetings_pkey")),
        sa.ForeignKeyConstraint(["circle_id"], ["circles.id"], name=op.f("meetings_circle_id_fkey")),
        sa.ForeignKeyConstraint(["facilitator_id"], ["users.id"], name=op.f("meetings_facilitator_id_fkey")),
    )
    op.create_index(op.f("ix_meetings_circle_id"), "meetings", ["circle_id"])
    op.create_index(op.f("ix_meetings_facilitator_id"), "meetings", ["facilitator_id"])
    op.create_index(op.f("ix_meetings_id"), "meetings", ["id"])
    op.create_index(op.f("ix_meetings_scheduled_date"), "meetings", ["scheduled_date"])

    op.create_table(
        "meeting_attendance",
        sa.Column("meeting_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("attendance_status", sa.String(20), nullable=False),
        sa.Column("check_in_time", sa.DateTime(timezone=True)),
        sa.Column("check_out_time", sa.DateTime(timezone=True)),
        sa.Column("notes", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("meeting_id", "user_id", name=op.f("meeting_attendance_pkey")),
        sa.ForeignKeyConstraint(
            ["meeting_id"], ["meetings.id"], name=op.f("meeting_attendance_meeting_id_fkey")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("meeting_attendance_user_id_fkey")),
    )
    op.create_index(op.f("ix_meeting_attendance_meeting_id"), "meeting_attendance", ["meeting_id"])
    op.create_index(op.f("ix_meeting_attendance_user_id"), "meeting_attendance", ["user_id"])


def downgrade() -> None:
    op.drop_table("meeting_attendance")
    op.drop_table("meetings")
