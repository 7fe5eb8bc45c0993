"""${message}

Why this change is needed, and why it is safe on a live table.
"""

% if uses_sqlalchemy:
import sqlalchemy as sa
% endif
from alembic import op
% for line in imports:
${line}
% endfor

revision = ${quoted(revision)}
down_revision = ${quoted(down_revision)}
branch_labels = ${quoted(branch_labels)}
depends_on = ${quoted(depends_on)}


def upgrade() -> None:
${upgrade}


def downgrade() -> None:
${downgrade}
