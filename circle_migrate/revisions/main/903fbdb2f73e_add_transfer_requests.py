"""Add transfer requests between circles

The platform has had the model for a while, but never this revision.

Safe: only creates. The foreign keys take brief SHARE ROW EXCLUSIVE locks on `users` and `circles`; the new
table is empty, so there is nothing to check under them, and its indexes are built at once.
"""

import sqlalchemy as sa
from alembic import op

revision = "903fbdb2f73e"
down_revision = "ddf447585574"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "transfer_requests",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("requester_id", sa.Integer(), nullable=False),
        sa.Column("source_circle_id", sa.Integer(), nullable=False),
        sa.Column("target_circle_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("status", sa.String(20), server_default="pending", nullable=False),
        sa.Column("reviewed_by_id", sa.Integer()),
        sa.Column("reviewed_at", sa.DateTime(timezone=True)),
        sa.Column("review_notes", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfer_requests")),
        sa.ForeignKeyConstraint(
            ["requester_id"], ["users.id"], name=op.f("fk_transfer_requests_requester_id")
        ),
        sa.ForeignKeyConstraint(
            ["source_circle_id"], ["circles.id"], name=op.f("fk_transfer_requests_source_circle_id")
        ),
        sa.ForeignKeyConstraint(
            ["target_circle_id"], ["circles.id"], name=op.f("fk_transfer_requests_target_circle_id")
        ),
        sa.ForeignKeyConstraint(
            ["reviewed_by_id"], ["users.id"], name=op.f("fk_transfer_requests_reviewed_by_id")
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'approved', 'denied', 'cancelled')",
            name=op.f("ck_transfer_requests_status"),
        ),
        sa.CheckConstraint(
            "source_circle_id <> target_circle_id", name=op.f("ck_transfer_requests_different_circles")
        ),
        sa.CheckConstraint(
            "(status IN ('approved', 'denied')) = (reviewed_at IS NOT NULL)"
            " AND (reviewed_at IS NULL) = (reviewed_by_id IS NULL)",
            name=op.f("ck_transfer_requests_review"),
        ),
        sa.CheckConstraint(
            "reviewed_at >= created_at", name=op.f("ck_transfer_requests_reviewed_after_created")
        ),
    )
    op.create_index(op.f("ix_transfer_requests_requester_id"), "transfer_requests", ["requester_id"])
    op.create_index(op.f("ix_transfer_requests_source_circle_id"), "transfer_requests", ["source_circle_id"])
    op.create_index(op.f("ix_transfer_requests_target_circle_id"), "transfer_requests", ["target_circle_id"])
    op.create_index(op.f("ix_transfer_requests_reviewed_by_id"), "transfer_requests", ["reviewed_by_id"])
    op.create_index(
        op.f("uq_transfer_requests_pending"),
        "transfer_requests",
        ["requester_id", "source_circle_id"],
        unique=True,
        postgresql_where=sa.text("status = 'pending'"),
    )


def downgrade() -> None:
    op.drop_table("transfer_requests")
