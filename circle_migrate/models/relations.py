"""What holds between the two databases: `circle-migrate consistency` compares it, as no foreign key can.

`RELATIONS` is what the setting `relations` names; a new link between the databases is one more line here.
"""

from __future__ import annotations

from circle_migrate.config.relation import Relation

RELATIONS = (
    # Both directions are errors. Credentials without their user let nobody in, and let in the next user who
    # gets the number. And every user has credentials, also who signs in with Google: that account's id is a
    # column of theirs. There is no state of being invited that would do without.
    Relation("user-credentials", left="main.users.id", right="credentials.user_credentials.user_id"),
)
"""Every relation between the two databases."""
