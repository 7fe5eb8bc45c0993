"""Give the flags of users their documented defaults

`is_active` starts true, the three `*verified` flags start false; the old script left them NOT NULL without a
default, so that every INSERT had to name them.

Safe: a default is catalogue only. No row is read or written, and the ACCESS EXCLUSIVE lock is momentary.
"""

import sqlalchemy as sa
from alembic import op

revision = "8b567d67961a"
down_revision = "f4e7d8b9c123"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("users", "is_active", server_default=sa.true())
    op.alter_column("users", "is_verified", server_default=sa.false())
    op.alter_column("users", "email_verified", server_default=sa.false())
    op.alter_column("users", "phone_verified", server_default=sa.false())


def downgrade() -> None:
    op.alter_column("users", "phone_verified", server_default=None)
    op.alter_column("users", "email_verified", server_default=None)
    op.alter_column("users", "is_verified", server_default=None)
    op.alter_column("users", "is_active", server_default=None)
