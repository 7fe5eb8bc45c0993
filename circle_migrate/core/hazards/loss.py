"""Data that a step deletes, alters or takes along."""

from __future__ import annotations

from circle_migrate.core.hazards.record import Example, Hazard, HazardClass
from circle_migrate.core.hazards.tables import BOTH, ORDERS, REFERRING, USERS

_VIEW = USERS + "CREATE VIEW named_users AS SELECT id, name FROM users;\n"

LOSS = (
    Hazard(
        "CM010",
        "Column is dropped with its values",
        HazardClass.DATA_LOSS,
        "A column that holds values other than null is dropped, on the way up or down.",
        "The values are gone with the commit; a downgrade brings the column back empty. Releases that still "
        "name the column fail (42703).",
        "Let a release stop using the column first; keep it under another name for one release, and drop it "
        "in a later revision, once a backup has it or its values are elsewhere.",
        bad=Example(USERS, 'op.drop_column("users", "name")'),
        good=Example(
            USERS,
            """
            op.execute("COMMENT ON COLUMN users.name IS 'unused since release 4; drop with release 5'")
            """,
        ),
    ),
    Hazard(
        "CM013",
        "Table or schema is dropped with its rows",
        HazardClass.DATA_LOSS,
        "A table that has rows, or a schema with such a table, is dropped, on the way up or down.",
        "The rows are gone with the commit; a downgrade brings the table back empty. Releases that still "
        "name it fail (42P01). Tables on the other side of its foreign keys are locked too.",
        "Move the table out of the way, into a schema that nothing searches, and drop it in a later release, "
        "once nobody has missed it.",
        bad=Example(ORDERS, 'op.drop_table("orders")'),
        good=Example(
            ORDERS,
            """
            op.execute("CREATE SCHEMA IF NOT EXISTS attic")
            op.execute("ALTER TABLE orders SET SCHEMA attic")
            op.execute("CREATE VIEW orders AS SELECT * FROM attic.orders")
            """,
            downgrade="""
            op.execute("DROP VIEW orders")
            op.execute("ALTER TABLE attic.orders SET SCHEMA public")
            """,
        ),
    ),
    Hazard(
        "CM014",
        "Sequence, type or materialized view is dropped",
        HazardClass.DATA_LOSS,
        "A sequence that has been used, an enum or one of its values, or a filled materialized view goes.",
        "The sequence's position, the meaning of stored values or the computed rows are lost; a downgrade "
        "starts over. Releases that name them fail.",
        "Keep what a running release may name. An enum value cannot be removed; forbid its use with a CHECK, "
        "NOT VALID where old rows have it.",
        bad=Example(
            "CREATE SEQUENCE invoice_numbers; SELECT nextval('invoice_numbers') FROM generate_series(1, 9);",
            'op.execute("DROP SEQUENCE invoice_numbers")',
        ),
        good=Example(
            "CREATE SEQUENCE invoice_numbers; SELECT nextval('invoice_numbers') FROM generate_series(1, 9);",
            """
            op.execute("COMMENT ON SEQUENCE invoice_numbers IS 'unused since release 4'")
            """,
        ),
    ),
    Hazard(
        "CM006",
        "Table is emptied by TRUNCATE",
        HazardClass.DATA_LOSS,
        "TRUNCATE on a table that existed before; with CASCADE also on every table that refers to it.",
        "All rows are gone with the commit, and no trigger of DELETE has seen them. It takes ACCESS "
        "EXCLUSIVE: every read and every write of the table waits until the commit.",
        "Delete the rows that are meant, in batches and by a condition, in a revision that declares "
        "`transactional = False`; or leave it to a maintenance script that is run by hand.",
        bad=Example(BOTH, 'op.execute("TRUNCATE orders")'),
        good=Example(BOTH, 'op.execute("DELETE FROM orders WHERE id = 7")'),
    ),
    Hazard(
        "CM015",
        "Rows are deleted",
        HazardClass.DATA_LOSS,
        "A DELETE reaches more of a table that existed before than single rows by their key, on the way up "
        "or down. It is a danger where it reaches a large part.",
        "The rows are gone with the commit, and those that refer to them with ON DELETE CASCADE. Until then "
        "whoever writes one of them waits.",
        "Mark the rows instead, and delete them in batches in a later release; keep a copy where there is no "
        "other.",
        bad=Example(ORDERS, 'op.execute("DELETE FROM orders WHERE total > 0")'),
        good=Example(
            ORDERS,
            'op.add_column("orders", sa.Column("archived_at", sa.DateTime(timezone=True)))',
        ),
    ),
    Hazard(
        "CM016",
        "Stored values change with the type of their column",
        HazardClass.DATA_LOSS,
        "The new type holds less than the old one and PostgreSQL rounds or cuts without an error: fewer "
        "decimals, less precise times, a varchar cut by an explicit cast, timestamp to timestamptz while "
        "TimeZone is not the one the values were meant in.",
        "The old values are gone with the commit and a downgrade does not bring them back. The table is "
        "rewritten under ACCESS EXCLUSIVE: every read and every write waits.",
        "Add a column of the new type and convert into it explicitly (round(), AT TIME ZONE); keep the old "
        "one until the result has been looked at.",
        bad=Example(ORDERS, 'op.alter_column("orders", "total", type_=sa.Numeric(10, 2))'),
        good=Example(ORDERS, 'op.add_column("orders", sa.Column("total_rounded", sa.Numeric(10, 2)))'),
    ),
    Hazard(
        "CM011",
        "CASCADE takes other objects along",
        HazardClass.DATA_LOSS,
        "A statement with CASCADE drops objects it does not name: views, materialized views, indexes, "
        "constraints, columns.",
        "Whoever uses them fails from the commit on, and a downgrade does not know of them. All tables they "
        "belong to are locked: their reads and writes wait.",
        "Without CASCADE, drop each dependent by its own statement, so that the file says what goes and the "
        "downgrade can bring it back.",
        bad=Example(_VIEW, 'op.execute("ALTER TABLE users DROP COLUMN name CASCADE")'),
        good=Example(
            _VIEW + "UPDATE users SET name = NULL;",
            """
            op.execute("CREATE OR REPLACE VIEW named_users AS SELECT id, NULL::text AS name FROM users")
            op.drop_column("users", "name")
            """,
        ),
    ),
    Hazard(
        "CM012",
        "Empty object is dropped",
        HazardClass.APP_BREAK,
        "A table without rows, or a column without values, is dropped.",
        "Nothing stored is lost, but a release that still names it fails (42P01, 42703), and so does a row "
        "that arrives between the look and the drop.",
        "Make sure that no running release names it; drop it in the release after the one that stopped.",
        bad=Example("CREATE TABLE parked (id bigint PRIMARY KEY);", 'op.drop_table("parked")'),
        good=Example(
            "CREATE TABLE parked (id bigint PRIMARY KEY);",
            """
            op.execute("COMMENT ON TABLE parked IS 'unused since release 4; drop with release 5'")
            """,
        ),
    ),
    Hazard(
        "CM037",
        "Constraint is dropped",
        HazardClass.CORRECTNESS,
        "A CHECK, UNIQUE, PRIMARY KEY, EXCLUDE, foreign key or unique index goes, or NOT NULL is taken off, "
        "and nothing that is left says the same.",
        "Rows that it kept out can come in from the commit on, and bringing it back fails on them. A foreign "
        "key takes ACCESS EXCLUSIVE on both tables: their reads and writes wait.",
        "Put what replaces it in place first, and drop the old one in a later revision.",
        bad=Example(REFERRING, 'op.drop_constraint("fk_orders_user_id", "orders")'),
        good=Example(
            REFERRING,
            """
            op.create_foreign_key(
                "fk_orders_user_id_2", "orders", "users", ["user_id"], ["id"],
                ondelete="CASCADE", postgresql_not_valid=True,
            )
            """,
            then=Example(
                "",
                'op.execute("ALTER TABLE orders VALIDATE CONSTRAINT fk_orders_user_id_2")',
                transactional=False,
            ),
        ),
    ),
)
