"""Validate the link from memberships to transfer requests

Last of the three steps: rows from before the constraint are checked, too.

Safe: VALIDATE reads the table under SHARE UPDATE EXCLUSIVE, which blocks neither reads nor writes. It comes
in a transaction after the one that added the constraint, or the scan would run under that one's ACCESS
EXCLUSIVE lock.

There is no way back from valid to NOT VALID but to drop the constraint and add it again.
"""

from alembic import op

revision = "414931093e5e"
down_revision = "8e3c00791810"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE circle_memberships VALIDATE CONSTRAINT fk_circle_memberships_transfer_request_id")


def downgrade() -> None:
    op.drop_constraint(
        op.f("fk_circle_memberships_transfer_request_id"), "circle_memberships", type_="foreignkey"
    )
    op.create_foreign_key(
        op.f("fk_circle_memberships_transfer_request_id"),
        "circle_memberships",
        "transfer_requests",
        ["transfer_request_id"],
        ["id"],
        postgresql_not_valid=True,
    )
