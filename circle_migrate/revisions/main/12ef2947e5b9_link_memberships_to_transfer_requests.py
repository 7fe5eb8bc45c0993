"""Link memberships to the transfer requests they came from

First of three steps to a foreign key on a live table: the column with the constraint, its index, and the
check of what was there before.

Safe: a nullable column without a default is catalogue only, and NOT VALID reads no row. The foreign key is a
statement of its own because the check that comes with `REFERENCES` would read the whole table.
"""

import sqlalchemy as sa
from alembic import op

revision = "12ef2947e5b9"
down_revision = "903fbdb2f73e"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("circle_memberships", sa.Column("transfer_request_id", sa.BigInteger()))
    op.create_foreign_key(
        op.f("fk_circle_memberships_transfer_request_id"),
        "circle_memberships",
        "transfer_requests",
        ["transfer_request_id"],
        ["id"],
        postgresql_not_valid=True,
    )


def downgrade() -> None:
    op.drop_column("circle_memberships", "transfer_request_id")
