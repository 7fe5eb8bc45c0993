"""Add Google OAuth fields

Safe: nullable columns are catalogue only. A UNIQUE constraint builds its index under ACCESS EXCLUSIVE; here
the index is built CONCURRENTLY first and then becomes the constraint, which takes a moment. The columns are
committed before the build begins, so a run that was cut off finds them there.
"""

import sqlalchemy as sa
from alembic import op

from circle_migrate.indexes import ensure_index_concurrently

revision = "a1b2c3d4e5f6"
down_revision = "d9aa8768cf02"
branch_labels = None
depends_on = None
transactional = False


def upgrade() -> None:
    op.add_column("user_credentials", sa.Column("google_user_id", sa.String(255)), if_not_exists=True)
    op.add_column("user_credentials", sa.Column("google_access_token", sa.LargeBinary()), if_not_exists=True)
    op.add_column("user_credentials", sa.Column("google_refresh_token", sa.LargeBinary()), if_not_exists=True)
    ensure_index_concurrently(
        op, "uq_user_credentials_google_user_id", "user_credentials", ["google_user_id"], unique=True
    )
    op.execute(
        "ALTER TABLE user_credentials ADD CONSTRAINT uq_user_credentials_google_user_id"
        " UNIQUE USING INDEX uq_user_credentials_google_user_id"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("uq_user_credentials_google_user_id"), "user_credentials", type_="unique")
    op.drop_column("user_credentials", "google_refresh_token")
    op.drop_column("user_credentials", "google_access_token")
    op.drop_column("user_credentials", "google_user_id")
