"""What to do about a statement that failed on a scratch database, by its SQLSTATE.

The names are those of https://www.postgresql.org/docs/current/errcodes-appendix.html.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SqlState:
    """One SQLSTATE that revisions meet: its name, when they meet it, and the way out."""

    code: str
    name: str
    meaning: str
    remedy: str


_ALL = (
    SqlState(
        "25001",
        "active_sql_transaction",
        "The statement cannot run in a transaction: CONCURRENTLY, VACUUM, ALTER SYSTEM.",
        "Put it into a revision of its own that declares `transactional = False`, inside "
        "op.get_context().autocommit_block().",
    ),
    SqlState(
        "55P04",
        "unsafe_new_enum_value_usage",
        "An enum value is used in the transaction that added it.",
        "Add the value in one revision and use it in the next; the run commits between them.",
    ),
    SqlState(
        "0A000",
        "feature_not_supported",
        "A view uses the column whose type changes, an index is built CONCURRENTLY on a partitioned table, "
        "or this version of the server cannot do it.",
        "Drop and create the view in the same revision; build the index on each partition (CM068).",
    ),
    SqlState(
        "2BP01",
        "dependent_objects_still_exist",
        "Other objects depend on what is dropped; the server's detail lists them.",
        "Drop each of them by its own statement first, rather than with CASCADE.",
    ),
    SqlState(
        "42P16",
        "invalid_table_definition",
        "Columns of a view were dropped or renamed by CREATE OR REPLACE, a table has two primary keys, or an "
        "UNLOGGED table is referred to by a logged one.",
        "Drop and create the view; drop the old primary key in the same statement.",
    ),
    SqlState(
        "42704",
        "undefined_object",
        "A type, constraint, index, role or extension is not there, or not under this name.",
        "Look up the name the database has with `circle-migrate diff`; constraints without a name got one "
        "from PostgreSQL: TABLE_COLUMN_key.",
    ),
    SqlState(
        "42P01",
        "undefined_table",
        "A table or view is not there, or not in the search path.",
        "Correct the name or give its schema; a table of the other database cannot be reached from here.",
    ),
    SqlState(
        "42703",
        "undefined_column",
        "A column is not there: an earlier revision has dropped or renamed it, or never made it.",
        "Correct the name, or let this revision follow the one that makes the column.",
    ),
    SqlState(
        "42883",
        "undefined_function",
        "No function or operator takes these types; json, for one, has no equality.",
        "Cast the arguments, use jsonb, or create the extension that has the function first.",
    ),
    SqlState(
        "42P07",
        "duplicate_table",
        "A table, view, sequence or index of that name is there already.",
        "Another revision makes it, or it was made by hand: `circle-migrate diff` tells. Take it out of one "
        "of them.",
    ),
    SqlState(
        "42701",
        "duplicate_column",
        "The column is there already.",
        "Another revision adds it, or part of this one was committed before it failed (CM040).",
    ),
    SqlState(
        "42710",
        "duplicate_object",
        "A type, constraint, trigger, policy or role of that name is there already.",
        "An enum survives the table that was dropped: create it with checkfirst=True, or drop it in the "
        "downgrade.",
    ),
    SqlState(
        "42804",
        "datatype_mismatch",
        "The default or the values do not turn into the new type by themselves.",
        "Say how: postgresql_using=... for the values; drop the default before and set it again after.",
    ),
    SqlState(
        "42846",
        "cannot_coerce",
        "There is no cast between the two types.",
        'Convert over text: postgresql_using="column::text::new_type".',
    ),
    SqlState(
        "42830",
        "invalid_foreign_key",
        "The referenced columns are neither a primary key nor UNIQUE.",
        "Give them a unique constraint in a revision before this one (CM062).",
    ),
    SqlState(
        "42601",
        "syntax_error",
        "The text is not SQL of this version, or several statements were given to one op.execute.",
        "One op.execute for each statement (CM042).",
    ),
    SqlState(
        "42501",
        "insufficient_privilege",
        "The role may not do this: it owns neither the object nor the schema, or is no superuser.",
        "Grant what is missing, or run as the owner; extensions usually need a superuser once.",
    ),
    SqlState(
        "55000",
        "object_not_in_prerequisite_state",
        "A materialized view was never filled, a published table has no replica identity, or an index is "
        "not ready to be attached.",
        "Bring the object into that state in a revision before this one.",
    ),
    SqlState(
        "55006",
        "object_in_use",
        "Rows of the table have been changed in this transaction, and triggers are still to run.",
        "Change the rows in a revision before this one, or SET CONSTRAINTS ALL IMMEDIATE in between.",
    ),
    SqlState(
        "40P01",
        "deadlock_detected",
        "This transaction and another one wait for each other.",
        "One table per transaction, locked in the order in which the application locks them (CM004).",
    ),
    SqlState(
        "55P03",
        "lock_not_available",
        "The lock was not obtained within the lock timeout.",
        "See who holds it (CM050); a run tries again by itself.",
    ),
    SqlState(
        "57014",
        "query_canceled",
        "The statement ran longer than statement_timeout allows.",
        "Work in batches (CM005), or set statement_timeout for this revision.",
    ),
    SqlState(
        "58P01",
        "undefined_file",
        "The server has no files for the extension or library.",
        "Install the extension's package on the server, and on the scratch server too.",
    ),
)

SQLSTATES: dict[str, SqlState] = {each.code: each for each in _ALL}
"""Every SQLSTATE with a remedy of its own, by its code."""
