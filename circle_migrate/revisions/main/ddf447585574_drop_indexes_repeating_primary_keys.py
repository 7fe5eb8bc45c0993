"""Drop the indexes that repeat primary keys

`ix_users_id` and six like it index the very column their table's primary key indexes already: no query can
use them to advantage, and every INSERT has to write them.

Safe: DROP INDEX CONCURRENTLY waits for the transactions that use a table without blocking others. It cannot
run in a transaction; a run that was cut off is simply run again, because what is gone is passed over.
"""

from alembic import op

from circle_migrate.indexes import drop_index_concurrently, ensure_index_concurrently

revision = "ddf447585574"
down_revision = "dfd5dbbf569e"
branch_labels = None
depends_on = None
transactional = False

TABLES = ("users", "roles", "permissions", "user_roles", "role_audit_logs", "circles", "meetings")


def upgrade() -> None:
    for table in TABLES:
        drop_index_concurrently(op, f"ix_{table}_id", table)


def downgrade() -> None:
    for table in reversed(TABLES):
        ensure_index_concurrently(op, f"ix_{table}_id", table, ["id"])
