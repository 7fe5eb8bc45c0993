"""The search_path of our connections.

Our own queries run with `pg_catalog` only: a role that may create objects in a schema of the configured path
could otherwise give them functions and operators with better fitting argument types. Only statements of
revisions, and what fires their triggers, see the configured path. A setting on the server stores it.
"""

SETTING = "circle_migrate.search_path"
"""The setting that has the configured path, as the server prints it."""

PINNED = "SET search_path = pg_catalog"
"""The statement before our own queries."""

CONFIGURED = f"""SELECT pg_catalog.set_config('search_path', COALESCE(
    pg_catalog.current_setting('{SETTING}', true), pg_catalog.current_setting('search_path')), false)"""
"""The statement before those of revisions; a rollback undoes it. Other connections keep their path."""

PINNED_LOCALLY = PINNED.replace("SET", "SET LOCAL")
"""`PINNED` until the transaction ends."""

CONFIGURED_LOCALLY = CONFIGURED.replace("false", "true")
"""`CONFIGURED` until the transaction ends."""

_SCHEMA = "circle_migrate.schema"

FIRST_SCHEMA = f"nullif(current_setting('{_SCHEMA}', true), '')"
"""The first schema of the configured path that exists and the role may use, as `pin` found it; or NULL."""

_REMEMBER = f"""SELECT
    pg_catalog.set_config('{SETTING}', pg_catalog.current_setting('search_path'), false),
    pg_catalog.set_config('{_SCHEMA}', COALESCE(pg_catalog.current_schema()::text, ''), false)"""


def pin(configured: str) -> str:
    """Return the statements that remember the configured path and pin ours, in one message."""
    return f"SET search_path = {configured};{_REMEMBER};{PINNED}"


TRUSTED_OWNERS = """
WITH RECURSIVE own (oid) AS (
    SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user
    UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN own ON m.member = own.oid
)
TABLE own UNION SELECT oid FROM pg_catalog.pg_roles WHERE rolsuper
UNION SELECT datdba FROM pg_catalog.pg_database WHERE datname = current_database()
"""
"""The role, those of which it is a member (pg_has_role names all to superusers), superusers, the owner."""
