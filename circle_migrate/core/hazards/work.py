"""Work whose duration grows with a table, done while others wait for it."""

from __future__ import annotations

from circle_migrate.core.hazards.record import Example, Hazard, HazardClass
from circle_migrate.core.hazards.tables import BOTH, EVENTS, USERS

_NAME_CHECK = "ALTER TABLE users ADD CONSTRAINT ck_users_name CHECK (name IS NOT NULL) NOT VALID"

WORK = (
    Hazard(
        "CM001",
        "Table is rewritten for a new column",
        HazardClass.TABLE_REWRITE,
        "A column is added whose value differs from row to row: a volatile default such as "
        "gen_random_uuid(), an identity or serial, a stored generated column, or a domain with a constraint.",
        "The whole table and all its indexes are written anew under ACCESS EXCLUSIVE: every read and every "
        "write of the table waits until it is done.",
        "Add the column without a default, then set the default for new rows, then fill the old rows in "
        "batches outside of the first transaction. A constant or stable default (42, now()) rewrites "
        "nothing.",
        bad=Example(
            USERS,
            """
            op.add_column("users", sa.Column("token", sa.UUID(), server_default=sa.text("gen_random_uuid()")))
            """,
        ),
        good=Example(
            USERS,
            """
            op.add_column("users", sa.Column("token", sa.UUID()))
            op.alter_column("users", "token", server_default=sa.text("gen_random_uuid()"))
            """,
            then=Example(
                "",
                """
                with op.get_context().autocommit_block():
                    batch = sa.text(
                        "UPDATE users SET token = gen_random_uuid() WHERE id IN"
                        " (SELECT id FROM users WHERE token IS NULL LIMIT 1000)"
                    )
                    while op.get_bind().execute(batch).rowcount:
                        pass
                """,
                transactional=False,
            ),
        ),
    ),
    Hazard(
        "CM061",
        "Table or an index is written anew for a column's new type",
        HazardClass.TABLE_REWRITE,
        "A column gets a type that is stored differently (integer to bigint, text to integer, a shorter "
        "varchar, another numeric scale, timestamp to timestamptz while TimeZone is not UTC), or one of the "
        "indexes or CHECKs over it has to be built or verified anew.",
        "The table with its indexes, or the column's indexes alone, are written anew under ACCESS EXCLUSIVE: "
        "every read and every write of the table waits until it is done.",
        "Add a column of the new type, keep it in step with a trigger, copy the old values in batches, and "
        "swap the names once the application reads the new one. Widening a varchar, or varchar to text, "
        "rewrites nothing but indexes on expressions of the column: drop such an index, widen, and build it "
        "again CONCURRENTLY, each in a revision of its own.",
        bad=Example(USERS, 'op.alter_column("users", "age", type_=sa.BigInteger())'),
        good=Example(
            USERS,
            """
            op.add_column("users", sa.Column("age_big", sa.BigInteger()))
            op.execute(
                "CREATE FUNCTION users_age_big() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN NEW.age_big = NEW.age; RETURN NEW; END $$"
            )
            op.execute(
                "CREATE TRIGGER users_age_big BEFORE INSERT OR UPDATE ON users"
                " FOR EACH ROW EXECUTE FUNCTION users_age_big()"
            )
            """,
            then=Example(
                "",
                """
                with op.get_context().autocommit_block():
                    batch = sa.text(
                        "UPDATE users SET age_big = age WHERE id IN"
                        " (SELECT id FROM users WHERE age_big IS DISTINCT FROM age LIMIT 1000)"
                    )
                    while op.get_bind().execute(batch).rowcount:
                        pass
                """,
                transactional=False,
            ),
        ),
    ),
    Hazard(
        "CM069",
        "Table is rewritten as a whole",
        HazardClass.TABLE_REWRITE,
        "VACUUM FULL, CLUSTER, SET LOGGED, SET UNLOGGED, SET TABLESPACE or SET ACCESS METHOD on a table "
        "that existed before.",
        "The table is copied under ACCESS EXCLUSIVE: every read and every write of it waits. An UNLOGGED "
        "table is emptied by a crash and is not on replicas.",
        "Leave this to maintenance outside of revisions. Plain VACUUM makes room for new rows and blocks "
        "nobody; pg_repack shrinks a table beside running traffic.",
        bad=Example(USERS, 'op.execute("CLUSTER users USING users_pkey")'),
        good=Example(
            USERS,
            """
            with op.get_context().autocommit_block():
                op.execute("VACUUM users")
            """,
            transactional=False,
        ),
    ),
    Hazard(
        "CM007",
        "Table is scanned while nobody can use it",
        HazardClass.BLOCKING_SCAN,
        "SET NOT NULL, a new CHECK, or a primary key over nullable columns is verified against the rows "
        "there are, and no valid constraint proves it already.",
        "Every row is read under ACCESS EXCLUSIVE: every read and every write of the table waits until the "
        "last one has been looked at.",
        "Add a CHECK as NOT VALID, validate it in a later transaction (which lets reads and writes pass), "
        "and set NOT NULL in a third: PostgreSQL takes the valid CHECK as proof. Run each revision in a "
        "transaction of its own: `transactional = False`, or `--transaction per-revision`.",
        bad=Example(USERS, 'op.alter_column("users", "name", nullable=False)'),
        good=Example(
            USERS,
            """
            op.execute("ALTER TABLE users ADD CONSTRAINT ck_users_name CHECK (name IS NOT NULL) NOT VALID")
            """,
            then=Example(
                "",
                'op.execute("ALTER TABLE users VALIDATE CONSTRAINT ck_users_name")',
                transactional=False,
                then=Example(
                    "",
                    """
                    op.alter_column("users", "name", nullable=False)
                    op.drop_constraint("ck_users_name", "users", type_="check")
                    """,
                ),
            ),
        ),
    ),
    Hazard(
        "CM009",
        "Foreign key is validated while writes wait",
        HazardClass.BLOCKING_SCAN,
        "A foreign key is added, and the rows there are have to be looked up in the referenced table.",
        "Both tables are held under SHARE ROW EXCLUSIVE while every row is looked up: inserts, updates and "
        "deletes in either of them wait.",
        "Add the key as NOT VALID, which looks at no row, and validate it in a later transaction, which lets "
        "writes pass. A new nullable column can have its key at once: inline_references=True.",
        bad=Example(
            BOTH, 'op.create_foreign_key("fk_orders_user_id", "orders", "users", ["user_id"], ["id"])'
        ),
        good=Example(
            BOTH,
            'ensure_index_concurrently(op, "ix_orders_user_id", "orders", ["user_id"])',
            transactional=False,
            then=Example(
                "",
                """
                op.create_foreign_key(
                    "fk_orders_user_id", "orders", "users", ["user_id"], ["id"], postgresql_not_valid=True
                )
                """,
                then=Example(
                    "",
                    'op.execute("ALTER TABLE orders VALIDATE CONSTRAINT fk_orders_user_id")',
                    transactional=False,
                ),
            ),
        ),
    ),
    Hazard(
        "CM067",
        "Table is scanned to become a partition",
        HazardClass.BLOCKING_SCAN,
        "A table is attached as a partition, and none of its valid CHECKs proves that its rows belong there; "
        "or the default partition has to be searched for rows that now belong to the new one.",
        "The attached table is read to its end under ACCESS EXCLUSIVE: its reads and writes wait, and so do "
        "those of the default partition while that is searched.",
        "Give the table a CHECK with the partition's bounds beforehand, NOT VALID and validated in a "
        "transaction of its own; attaching it then reads nothing.",
        bad=Example(
            EVENTS
            + "CREATE TABLE events_2025 (LIKE events);\n"
            + "INSERT INTO events_2025 SELECT n, date '2025-01-01' + n FROM generate_series(1, 200) AS n;",
            """
            op.execute(
                "ALTER TABLE events ATTACH PARTITION events_2025"
                " FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')"
            )
            """,
        ),
        good=Example(
            EVENTS
            + "CREATE TABLE events_2025 (LIKE events);\n"
            + "INSERT INTO events_2025 SELECT n, date '2025-01-01' + n FROM generate_series(1, 200) AS n;",
            """
            op.execute(
                "ALTER TABLE events_2025 ADD CONSTRAINT ck_events_2025"
                " CHECK (at >= '2025-01-01' AND at < '2026-01-01') NOT VALID"
            )
            """,
            then=Example(
                "",
                'op.execute("ALTER TABLE events_2025 VALIDATE CONSTRAINT ck_events_2025")',
                transactional=False,
                then=Example(
                    "",
                    """
                    op.execute(
                        "ALTER TABLE events ATTACH PARTITION events_2025"
                        " FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')"
                    )
                    """,
                ),
            ),
        ),
    ),
    Hazard(
        "CM066",
        "Materialized view cannot be read while it is refreshed",
        HazardClass.LOCK,
        "A materialized view is refreshed without CONCURRENTLY.",
        "Its query runs to the end under ACCESS EXCLUSIVE on the view: everybody who reads the view waits.",
        "Refresh it with CONCURRENTLY, which needs a unique index over plain columns and a view that has "
        "been filled before; readers go on with the old rows meanwhile.",
        bad=Example(
            USERS + "CREATE MATERIALIZED VIEW ages AS SELECT age, count(*) AS users FROM users GROUP BY age;",
            'op.execute("REFRESH MATERIALIZED VIEW ages")',
        ),
        good=Example(
            USERS
            + "CREATE MATERIALIZED VIEW ages AS SELECT age, count(*) AS users FROM users GROUP BY age;\n"
            + "CREATE UNIQUE INDEX ux_ages ON ages (age);",
            'op.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY ages")',
        ),
    ),
)
