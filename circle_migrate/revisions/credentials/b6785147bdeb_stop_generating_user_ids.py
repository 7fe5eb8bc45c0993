"""Stop generating user ids

`user_id` says whose credentials these are: it equals `users.id` in the main database. A number made up here
would belong to somebody else, or to nobody; without the default such an INSERT is refused.

Safe: catalogue only, under a momentary ACCESS EXCLUSIVE lock.

Going back, the sequence starts behind the highest number in use.
"""

import sqlalchemy as sa
from alembic import op

revision = "b6785147bdeb"
down_revision = "84ae47170774"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("user_credentials", "user_id", server_default=None)
    op.execute("DROP SEQUENCE IF EXISTS user_credentials_user_id_seq")


def downgrade() -> None:
    op.execute("CREATE SEQUENCE user_credentials_user_id_seq AS integer OWNED BY user_credentials.user_id")
    op.alter_column(
        "user_credentials",
        "user_id",
        server_default=sa.text("nextval('user_credentials_user_id_seq'::regclass)"),
    )
    op.execute(
        "SELECT setval('user_credentials_user_id_seq', max(user_id)) FROM user_credentials"
        " HAVING max(user_id) > 0"
    )
