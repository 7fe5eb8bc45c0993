"""Add phone verification fields

The old script added `phone_verification_attempts` NOT NULL without a default, which fails as soon as there is
a row. Here existing rows get 0 by a default that is taken away again: the result is the very column of the
field. The lasting default comes with 84ae47170774.

Safe: a constant default is catalogue only, no row is rewritten.
"""

import sqlalchemy as sa
from alembic import op

revision = "d9aa8768cf02"
down_revision = "1e978f7e8aa5"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("user_credentials", sa.Column("phone_verification_code", sa.String(10)))
    op.add_column("user_credentials", sa.Column("phone_verification_expires_at", sa.DateTime(timezone=True)))
    op.add_column(
        "user_credentials",
        sa.Column("phone_verification_attempts", sa.Integer(), server_default="0", nullable=False),
    )
    op.alter_column("user_credentials", "phone_verification_attempts", server_default=None)


def downgrade() -> None:
    op.drop_column("user_credentials", "phone_verification_attempts")
    op.drop_column("user_credentials", "phone_verification_expires_at")
    op.drop_column("user_credentials", "phone_verification_code")
