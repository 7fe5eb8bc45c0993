"""Initial user credentials model

Safe: only creates. `user_id` is a serial here as it is in the field, where it became one by accident; a later
revision makes it the plain number it should be: `users.id` of the main database, which must exist first.
"""

import sqlalchemy as sa
from alembic import op

revision = "1e978f7e8aa5"
down_revision = None
branch_labels = None
depends_on = None
requires = ("main@dca7825748db",)


def upgrade() -> None:
    op.create_table(
        "user_credentials",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("salt", sa.String(255), nullable=False),
        sa.Column("totp_secret", sa.String(255)),
        sa.Column("backup_codes", sa.String(1000)),
        sa.Column("google_oauth_token", sa.LargeBinary()),
        sa.Column("refresh_token_hash", sa.String(255)),
        sa.Column("failed_login_attempts", sa.Integer(), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True)),
        sa.Column(
            "password_changed_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("last_password_attempt", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("user_id", name=op.f("user_credentials_pkey")),
    )
    op.create_index(op.f("ix_user_credentials_user_id"), "user_credentials", ["user_id"])


def downgrade() -> None:
    op.drop_table("user_credentials")
