"""Add payments and instalments of registrations

Safe: only creates.
"""

import sqlalchemy as sa
from alembic import op

revision = "b4fcf60d8659"
down_revision = "47773a45acc2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "registration_payments",
        sa.Column("registration_id", sa.BigInteger(), nullable=False),
        sa.Column("instalment", sa.Integer(), nullable=False),
        sa.Column("amount_cents", sa.Integer(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("paid_at", sa.DateTime(timezone=True)),
        sa.Column("stripe_payment_intent_id", sa.String(255)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("registration_id", "instalment", name=op.f("pk_registration_payments")),
        sa.ForeignKeyConstraint(
            ["registration_id"],
            ["event_registrations.id"],
            name=op.f("fk_registration_payments_registration_id"),
        ),
        sa.UniqueConstraint(
            "stripe_payment_intent_id", name=op.f("uq_registration_payments_stripe_payment_intent_id")
        ),
        sa.CheckConstraint("instalment > 0", name=op.f("ck_registration_payments_instalment")),
        sa.CheckConstraint("amount_cents > 0", name=op.f("ck_registration_payments_amount")),
    )


def downgrade() -> None:
    op.drop_table("registration_payments")
