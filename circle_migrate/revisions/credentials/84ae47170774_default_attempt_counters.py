"""Start the attempt counters at 0

`failed_login_attempts` and `phone_verification_attempts` were NOT NULL without a default.

Safe: a default is catalogue only. No row is read or written, and the ACCESS EXCLUSIVE lock is momentary.
"""

from alembic import op

revision = "84ae47170774"
down_revision = "c4b0e5c7784e"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("user_credentials", "failed_login_attempts", server_default="0")
    op.alter_column("user_credentials", "phone_verification_attempts", server_default="0")


def downgrade() -> None:
    op.alter_column("user_credentials", "phone_verification_attempts", server_default=None)
    op.alter_column("user_credentials", "failed_login_attempts", server_default=None)
