"""Index memberships by user

The primary key begins with the circle, so "which circles is this member in?", which every transfer asks, read
the whole table.

Safe: CREATE INDEX CONCURRENTLY lets the application read and write while it builds.
"""

from alembic import op

from circle_migrate.indexes import drop_index_concurrently, ensure_index_concurrently

revision = "4d44f6b6663c"
down_revision = "414931093e5e"
branch_labels = None
depends_on = None
transactional = False


def upgrade() -> None:
    ensure_index_concurrently(op, "ix_circle_memberships_user_id", "circle_memberships", ["user_id"])


def downgrade() -> None:
    drop_index_concurrently(op, "ix_circle_memberships_user_id", "circle_memberships")
