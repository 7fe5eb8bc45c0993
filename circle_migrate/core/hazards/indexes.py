"""Indexes, and the constraints that are made of one: how they are built, dropped and left INVALID."""

from __future__ import annotations

from circle_migrate.core.hazards.record import Example, Hazard, HazardClass
from circle_migrate.core.hazards.tables import EVENTS, USERS

_BOOKINGS = """
CREATE TABLE bookings (id bigint PRIMARY KEY, during tsrange NOT NULL);
INSERT INTO bookings
SELECT n, tsrange(day, day + interval '1 day')
FROM generate_series(1, 200) AS n, LATERAL (SELECT timestamp '2024-01-01' + n * interval '1 day') AS d (day);
"""
_TWICE = USERS + "UPDATE users SET email = 'same@example.org' WHERE id <= 2;\n"
_INVALID = USERS + (
    "CREATE INDEX ix_users_email ON users (email);\n"
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_users_email'::regclass;\n"
)

INDEXES = (
    Hazard(
        "CM008",
        "Index is built while writes wait",
        HazardClass.INDEX_BUILD,
        "CREATE INDEX without CONCURRENTLY on a table that existed before, or index=True on a new column.",
        "The table is held under SHARE while every row is sorted: inserts, updates and deletes wait until "
        "the index is built; after another ALTER TABLE in the same transaction, reads wait too.",
        "Build it CONCURRENTLY in a revision of its own that declares `transactional = False`. "
        "ensure_index_concurrently also replaces what a build that was cut off has left.",
        bad=Example(USERS, 'op.create_index("ix_users_age", "users", ["age"])'),
        good=Example(
            USERS,
            'ensure_index_concurrently(op, "ix_users_age", "users", ["age"])',
            transactional=False,
            downgrade='drop_index_concurrently(op, "ix_users_age", "users")',
        ),
    ),
    Hazard(
        "CM062",
        "Unique or primary key builds its index while nobody can use the table",
        HazardClass.INDEX_BUILD,
        "A UNIQUE or PRIMARY KEY constraint is added without an index that is there already, or unique=True "
        "on a new column.",
        "The index is built under ACCESS EXCLUSIVE: every read and every write of the table waits. NOT VALID "
        "does not exist for these constraints.",
        "Build a unique index CONCURRENTLY in a revision of its own, then make it the constraint with USING "
        "INDEX, which looks at no row. The columns of a primary key must be NOT NULL before, or the table "
        "is scanned.",
        bad=Example(USERS, 'op.create_unique_constraint("uq_users_email", "users", ["email"])'),
        good=Example(
            USERS,
            'ensure_index_concurrently(op, "uq_users_email", "users", ["email"], unique=True)',
            transactional=False,
            then=Example(
                "",
                """
                op.execute(
                    "ALTER TABLE users ADD CONSTRAINT uq_users_email UNIQUE USING INDEX uq_users_email"
                )
                """,
            ),
        ),
    ),
    Hazard(
        "CM063",
        "Exclusion constraint is built while nobody can use the table",
        HazardClass.INDEX_BUILD,
        "An EXCLUDE constraint is added to a table that existed before.",
        "Its index is built under ACCESS EXCLUSIVE, and slower than a B-tree: every read and every write of "
        "the table waits. PostgreSQL has no way to build it beside running traffic.",
        "Give a new table the constraint while it is empty and move the rows over in batches, or allow this "
        "one for a maintenance window.",
        bad=Example(
            _BOOKINGS,
            """
            op.create_exclude_constraint("ex_bookings_during", "bookings", (sa.column("during"), "&&"))
            """,
        ),
        good=Example(
            _BOOKINGS,
            """
            op.create_table(
                "bookings_new",
                sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
                sa.Column("during", postgresql.TSRANGE(), nullable=False),
                postgresql.ExcludeConstraint(("during", "&&"), name="ex_bookings_new_during"),
            )
            """,
        ),
    ),
    Hazard(
        "CM068",
        "Index is built on all partitions at once",
        HazardClass.INDEX_BUILD,
        "CREATE INDEX on a partitioned table that has partitions. CONCURRENTLY is refused there (0A000).",
        "The parent and all its partitions are held under SHARE until the last index is built: inserts, "
        "updates and deletes wait in all of them.",
        "Make the index ON ONLY the parent, where it stays INVALID, build one CONCURRENTLY on each "
        "partition, and attach them; with the last one the parent's index becomes valid.",
        bad=Example(EVENTS, 'op.create_index("ix_events_at", "events", ["at"])'),
        good=Example(
            EVENTS,
            'op.execute("CREATE INDEX ix_events_at ON ONLY events (at)")',
            then=Example(
                "",
                'ensure_index_concurrently(op, "ix_events_2024_at", "events_2024", ["at"])',
                transactional=False,
                then=Example("", 'op.execute("ALTER INDEX ix_events_at ATTACH PARTITION ix_events_2024_at")'),
            ),
        ),
    ),
    Hazard(
        "CM058",
        "Index is rebuilt while writes wait",
        HazardClass.INDEX_BUILD,
        "REINDEX without CONCURRENTLY.",
        "The table is held under SHARE and the index under ACCESS EXCLUSIVE: writes wait until it is done, "
        "and so do reads that would use the index.",
        "REINDEX ... CONCURRENTLY, in a revision that declares `transactional = False`.",
        bad=Example(USERS, 'op.execute("REINDEX TABLE users")'),
        good=Example(
            USERS,
            """
            with op.get_context().autocommit_block():
                op.execute("REINDEX TABLE CONCURRENTLY users")
            """,
            transactional=False,
        ),
    ),
    Hazard(
        "CM065",
        "Index is dropped under an exclusive lock on its table",
        HazardClass.LOCK,
        "DROP INDEX without CONCURRENTLY.",
        "It takes ACCESS EXCLUSIVE on the table: behind one long query, every later read and write of the "
        "table waits. To build the index again takes as long as it took at first.",
        "Drop it CONCURRENTLY in a revision of its own, after pg_stat_user_indexes.idx_scan has shown that "
        "no query uses it.",
        bad=Example(
            USERS + "CREATE INDEX ix_users_age ON users (age);",
            'op.drop_index("ix_users_age", table_name="users")',
        ),
        good=Example(
            USERS + "CREATE INDEX ix_users_age ON users (age);",
            'drop_index_concurrently(op, "ix_users_age", "users")',
            transactional=False,
        ),
    ),
    Hazard(
        "CM022",
        "INVALID index stays, or is taken for the index itself",
        HazardClass.CORRECTNESS,
        "An index of that name is INVALID since an earlier build failed, and the statement says IF NOT "
        "EXISTS, which looks at the name alone.",
        "The revision succeeds without an index: queries go on scanning, writes go on paying for it, and a "
        "UNIQUE one does not hold for the rows there are.",
        "Drop the INVALID index and build it again: ensure_index_concurrently looks at pg_index.indisvalid "
        "and does both.",
        bad=Example(_INVALID, 'op.execute("CREATE INDEX IF NOT EXISTS ix_users_email ON users (email)")'),
        good=Example(
            _INVALID,
            'ensure_index_concurrently(op, "ix_users_email", "users", ["email"])',
            transactional=False,
        ),
    ),
    Hazard(
        "CM023",
        "Duplicate values keep a unique index from being built",
        HazardClass.WILL_FAIL,
        "The rows hold values more than once that a new unique index or key forbids.",
        "The statement fails (23505) after having read the table; built CONCURRENTLY, it leaves an INVALID "
        "index that costs every write.",
        "Settle the duplicates in a revision before this one, in the way the application means them.",
        bad=Example(
            _TWICE,
            'ensure_index_concurrently(op, "ux_users_email", "users", ["email"], unique=True)',
            transactional=False,
            fails="23505",
        ),
        good=Example(
            _TWICE,
            """
            op.execute(
                "UPDATE users SET email = id || '.' || email WHERE id IN"
                " (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY email ORDER BY id) AS n"
                "  FROM users) AS numbered WHERE n > 1)"
            )
            """,
            then=Example(
                "",
                'ensure_index_concurrently(op, "ux_users_email", "users", ["email"], unique=True)',
                transactional=False,
            ),
        ),
    ),
)
