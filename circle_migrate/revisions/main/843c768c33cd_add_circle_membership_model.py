"""Add CircleMembership model with payment status tracking

Safe: only creates.
"""

import sqlalchemy as sa
from alembic import op

revision = "843c768c33cd"
down_revision = "a930217cd080"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "circle_memberships",
        sa.Column("circle_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("payment_status", sa.String(20), nullable=False),
        sa.Column("stripe_subscription_id", sa.String(255)),
        sa.Column("next_payment_due", sa.DateTime(timezone=True)),
        sa.Column("joined_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("circle_id", "user_id", name=op.f("circle_memberships_pkey")),
        sa.ForeignKeyConstraint(
            ["circle_id"], ["circles.id"], name=op.f("circle_memberships_circle_id_fkey")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("circle_memberships_user_id_fkey")),
        sa.CheckConstraint(
            "stripe_subscription_id IS NULL OR length(stripe_subscription_id) <= 255",
            name=op.f("stripe_subscription_id_length"),
        ),
        sa.CheckConstraint(
            "payment_status IN ('pending', 'current', 'overdue', 'paused')",
            name=op.f("valid_payment_status"),
        ),
    )
    op.create_index(
        op.f("ix_circle_memberships_stripe_subscription_id"),
        "circle_memberships",
        ["stripe_subscription_id"],
    )


def downgrade() -> None:
    op.drop_table("circle_memberships")
