"""Index memberships by transfer request, uniquely

One request makes one membership, and the foreign key needs an index from this side. The column is new and
empty, so the unique build cannot fail.

Safe: CREATE INDEX CONCURRENTLY lets the application read and write while it builds. It cannot run in a
transaction, which also puts the steps before and after it into transactions of their own.
"""

from alembic import op

from circle_migrate.indexes import drop_index_concurrently, ensure_index_concurrently

revision = "8e3c00791810"
down_revision = "12ef2947e5b9"
branch_labels = None
depends_on = None
transactional = False


def upgrade() -> None:
    ensure_index_concurrently(
        op,
        "uq_circle_memberships_transfer_request_id",
        "circle_memberships",
        ["transfer_request_id"],
        unique=True,
    )


def downgrade() -> None:
    drop_index_concurrently(op, "uq_circle_memberships_transfer_request_id", "circle_memberships")
