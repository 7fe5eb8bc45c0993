"""The search_path of our connections.

Our own queries run with `pg_catalog` only: a role that may create objects in a schema of the configured path
could otherwise give them functions and operators with better fitting argument types. Only statements of
revisions, and what fires their triggers, see the configured path. The server keeps it in a setting of ours.
"""

from __future__ import annotations

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

_REMEMBER = f"SELECT pg_catalog.set_config('{SETTING}', pg_catalog.current_setting('search_path'), false)"

_PATH = f"coalesce(current_setting('{SETTING}', true), current_setting('search_path'))"

SCHEMAS = f"""(
    SELECT CASE WHEN part[1] = '$user' THEN current_user::text
           ELSE coalesce(replace(part[1], '""', '"'), part[2]) END AS name, nth
    FROM regexp_matches({_PATH}, '"((?:[^"]|"")+)"|([^", ]+)', 'g')
         WITH ORDINALITY listed (part, nth)
)"""  # noqa: S608 - a constant
"""The schemas of the configured path, as a subquery with the columns `name` and `nth`."""

FIRST_SCHEMA = f"""(
    SELECT n.nspname FROM {SCHEMAS} path JOIN pg_catalog.pg_namespace n ON n.nspname = path.name
    WHERE has_schema_privilege(n.oid, 'USAGE') ORDER BY path.nth LIMIT 1
)"""  # noqa: S608 - a constant
"""The first schema of the configured path that the role may use, as `current_schema()` returns it."""


def pin(configured: str) -> str:
    """Return the statements that remember the configured path and pin ours, in one message."""
    return f"SET search_path = {configured};{_REMEMBER};{PINNED}"
