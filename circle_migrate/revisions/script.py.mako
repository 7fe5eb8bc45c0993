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

revision = ${python_code(revision)}
down_revision = ${python_code(down_revision)}
branch_labels = ${python_code(branch_labels)}
depends_on = ${python_code(depends_on)}


def upgrade() -> None:
${upgrade}


def downgrade() -> None:
${downgrade}
