"""Relations between the two databases, which `circle-migrate consistency` checks instead of foreign keys.

The setting `relations` refers to `RELATIONS`; add new relations to it.
"""

from __future__ import annotations

from circle_migrate.config.relation import Relation

RELATIONS = (
    # Both directions are errors. Credentials without a user would belong to the next user with that number.
    # Every user has credentials, including users who sign in with Google, whose account id is a column of
    # them.
    Relation("user-credentials", left="main.users.id", right="credentials.user_credentials.user_id"),
)
"""Every relation between the two databases."""
