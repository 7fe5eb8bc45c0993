"""Check the capacity of circles

A circle holds 2 to 10 members. The database refuses anything else from now on, in new circles and wherever
an old one is changed.

Safe: NOT VALID reads no row, and the ACCESS EXCLUSIVE lock is momentary. The constraint stays NOT VALID on
purpose: nothing stopped the application from storing other capacities, and what such a circle should hold is
for people to decide. VALIDATE would fail on the first of them, so it has to wait for a revision of its own,
once this finds nothing:

    SELECT id, name, capacity_min, capacity_max FROM circles
    WHERE NOT (capacity_min >= 2 AND capacity_max <= 10 AND capacity_min <= capacity_max);
"""

from alembic import op

revision = "dfd5dbbf569e"
down_revision = "8b567d67961a"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_check_constraint(
        op.f("ck_circles_capacity"),
        "circles",
        "capacity_min >= 2 AND capacity_max <= 10 AND capacity_min <= capacity_max",
        postgresql_not_valid=True,
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_circles_capacity"), "circles", type_="check")
