"""Add password reset fields

Safe: a constant default is catalogue only, no row is rewritten.
"""

import sqlalchemy as sa
from alembic import op

revision = "c4b0e5c7784e"
down_revision = "a1b2c3d4e5f6"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("user_credentials", sa.Column("password_reset_token", sa.String(255)))
    op.add_column("user_credentials", sa.Column("password_reset_expires_at", sa.DateTime(timezone=True)))
    op.add_column(
        "user_credentials",
        sa.Column("password_reset_attempts", sa.Integer(), server_default="0", nullable=False),
    )


def downgrade() -> None:
    op.drop_column("user_credentials", "password_reset_attempts")
    op.drop_column("user_credentials", "password_reset_expires_at")
    op.drop_column("user_credentials", "password_reset_token")
