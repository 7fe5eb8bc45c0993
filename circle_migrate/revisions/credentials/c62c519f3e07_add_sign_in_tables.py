"""Add sessions, verification codes and password resets

Codes and tokens of `auth_router` are stored as hashes, which do not fit the columns for plain ones in
`user_credentials`.

Safe: only creates. The foreign keys take brief SHARE ROW EXCLUSIVE locks on `user_credentials`; the new
tables are empty, so there is nothing to check under them, and their indexes are built at once.
"""

import sqlalchemy as sa
from alembic import op

revision = "c62c519f3e07"
down_revision = "f82fda613c40"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "refresh_tokens",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("family_id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refresh_tokens")),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["user_credentials.user_id"],
            name=op.f("fk_refresh_tokens_user_id"),
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("token_hash", name=op.f("uq_refresh_tokens_token_hash")),
        sa.CheckConstraint("octet_length(token_hash) = 32", name=op.f("ck_refresh_tokens_token_hash")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_refresh_tokens_expires_after_created")),
    )
    op.create_index(op.f("ix_refresh_tokens_user_id"), "refresh_tokens", ["user_id"])
    op.create_index(op.f("ix_refresh_tokens_family_id"), "refresh_tokens", ["family_id"])
    op.create_index(
        op.f("uq_refresh_tokens_live"),
        "refresh_tokens",
        ["family_id"],
        unique=True,
        postgresql_where=sa.text("used_at IS NULL AND revoked_at IS NULL"),
    )
    op.create_table(
        "verification_codes",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(10), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True)),
        sa.Column("sent", sa.Integer(), server_default="1", nullable=False),
        sa.Column("sent_since", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "channel", name=op.f("pk_verification_codes")),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["user_credentials.user_id"],
            name=op.f("fk_verification_codes_user_id"),
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("channel IN ('email', 'phone')", name=op.f("ck_verification_codes_channel")),
        sa.CheckConstraint("octet_length(code_hash) = 32", name=op.f("ck_verification_codes_code_hash")),
        sa.CheckConstraint(
            "expires_at > created_at", name=op.f("ck_verification_codes_expires_after_created")
        ),
        sa.CheckConstraint("attempts BETWEEN 0 AND 5", name=op.f("ck_verification_codes_attempts")),
    )
    op.create_table(
        "password_resets",
        sa.Column("user_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_password_resets")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_password_resets_token_hash")),
        sa.CheckConstraint("octet_length(token_hash) = 32", name=op.f("ck_password_resets_token_hash")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_password_resets_expires_after_created")),
    )


def downgrade() -> None:
    op.drop_table("password_resets")
    op.drop_table("verification_codes")
    op.drop_table("refresh_tokens")
