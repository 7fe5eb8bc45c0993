"""Drop the index that repeats the primary key

`ix_user_credentials_user_id` indexes the very column the primary key indexes already.

Safe: DROP INDEX CONCURRENTLY waits for the transactions that use the table without blocking others.
"""

from alembic import op

from circle_migrate.indexes import drop_index_concurrently, ensure_index_concurrently

revision = "f82fda613c40"
down_revision = "b6785147bdeb"
branch_labels = None
depends_on = None
transactional = False


def upgrade() -> None:
    drop_index_concurrently(op, "ix_user_credentials_user_id", "user_credentials")


def downgrade() -> None:
    ensure_index_concurrently(op, "ix_user_credentials_user_id", "user_credentials", ["user_id"])
