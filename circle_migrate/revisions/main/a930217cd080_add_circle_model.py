"""Add Circle model with capacity constraints

Safe: only creates. Despite its name the old revision put no constraint on the capacity into the database; a
later revision does.
"""

import sqlalchemy as sa
from alembic import op

revision = "a930217cd080"
down_revision = "b37f99db0c0e"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "circles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("facilitator_id", sa.Integer(), nullable=False),
        sa.Column("capacity_min", sa.Integer(), nullable=False),
        sa.Column("capacity_max", sa.Integer(), nullable=False),
        sa.Column("location_name", sa.String(200)),
        sa.Column("location_address", sa.String(500)),
        sa.Column("meeting_schedule", sa.JSON()),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("circles_pkey")),
        sa.ForeignKeyConstraint(["facilitator_id"], ["users.id"], name=op.f("circles_facilitator_id_fkey")),
    )
    op.create_index(op.f("ix_circles_facilitator_id"), "circles", ["facilitator_id"])
    op.create_index(op.f("ix_circles_id"), "circles", ["id"])
    op.create_index(op.f("ix_circles_name"), "circles", ["name"])


def downgrade() -> None:
    op.drop_table("circles")
