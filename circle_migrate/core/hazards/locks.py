"""Locks: kept too long, taken unseen, on several tables at once, or waited for."""

from __future__ import annotations

from circle_migrate.core.hazards.record import Example, Hazard, HazardClass
from circle_migrate.core.hazards.tables import BOTH, EVENTS, REFERRING, USERS

_TOTAL_CHECK = "ALTER TABLE orders ADD CONSTRAINT ck_orders_total CHECK (total >= 0) NOT VALID"
_TOTAL_VALID = "ALTER TABLE orders VALIDATE CONSTRAINT ck_orders_total"

LOCKS = (
    Hazard(
        "CM002",
        "Lock of an earlier statement is held during long work",
        HazardClass.LOCK,
        "A statement that takes as long as a table is large runs in a transaction that already holds SHARE "
        "or a stronger lock on a table that existed before, from an earlier statement or revision.",
        "Locks are kept to the end of the transaction: whoever reads (ACCESS EXCLUSIVE) or writes the locked "
        "table waits for work that by itself would have let them pass.",
        "Put the long statement into a revision of its own that declares `transactional = False`, or run "
        "with `--transaction per-revision`.",
        bad=Example(
            BOTH,
            """
            op.execute("ALTER TABLE orders ADD CONSTRAINT ck_orders_total CHECK (total >= 0) NOT VALID")
            op.execute("ALTER TABLE orders VALIDATE CONSTRAINT ck_orders_total")
            """,
        ),
        good=Example(
            BOTH,
            """
            op.execute("ALTER TABLE orders ADD CONSTRAINT ck_orders_total CHECK (total >= 0) NOT VALID")
            """,
            then=Example(
                "",
                'op.execute("ALTER TABLE orders VALIDATE CONSTRAINT ck_orders_total")',
                transactional=False,
            ),
        ),
    ),
    Hazard(
        "CM064",
        "Rows are changed in the transaction that altered a table",
        HazardClass.LOCK,
        "UPDATE, DELETE or INSERT ... SELECT follows DDL on a table that existed before, in one transaction.",
        "The ACCESS EXCLUSIVE lock of the DDL is held until the last row is written: every read and every "
        "write of the altered table waits.",
        "Alter the table in one revision and fill it in another, in batches that are committed one by one.",
        bad=Example(
            USERS,
            """
            op.add_column("users", sa.Column("score", sa.Integer()))
            op.execute("UPDATE users SET score = 0")
            """,
        ),
        good=Example(
            USERS,
            """
            op.add_column("users", sa.Column("score", sa.Integer()))
            op.alter_column("users", "score", server_default="0")
            """,
            then=Example(
                "",
                """
                with op.get_context().autocommit_block():
                    batch = sa.text(
                        "UPDATE users SET score = 0 WHERE id IN"
                        " (SELECT id FROM users WHERE score IS NULL LIMIT 1000)"
                    )
                    while op.get_bind().execute(batch).rowcount:
                        pass
                """,
                transactional=False,
            ),
        ),
    ),
    Hazard(
        "CM003",
        "Table that the statement does not name is locked",
        HazardClass.LOCK,
        "A statement takes SHARE ROW EXCLUSIVE or more on a table it does not name: the other side of a "
        "foreign key, a partition, what CASCADE reaches, or what a function or DO block touches.",
        "Reads or writes of that table wait too, behind whatever it is waiting for; two such statements in "
        "another order than the application's are a deadlock.",
        "Lock the tables first and by name, in the order in which the application uses them, and keep the "
        "transaction to this one statement. Write DDL into the revision, not into functions and DO blocks.",
        bad=Example(REFERRING, 'op.drop_constraint("fk_orders_user_id", "orders")'),
        good=Example(
            REFERRING,
            """
            op.execute("LOCK TABLE users, orders IN ACCESS EXCLUSIVE MODE")
            op.drop_constraint("fk_orders_user_id", "orders")
            """,
        ),
    ),
    Hazard(
        "CM004",
        "Several tables are exclusively locked in one transaction",
        HazardClass.LOCK,
        "A transaction takes ACCESS EXCLUSIVE on more than one table that existed before.",
        "While the second lock is waited for, nobody reads or writes the first table; an application that "
        "locks them in another order runs into a deadlock (40P01).",
        "One table per transaction: a revision each, the second with `transactional = False`.",
        bad=Example(
            BOTH,
            """
            op.add_column("users", sa.Column("note", sa.Text()))
            op.add_column("orders", sa.Column("note", sa.Text()))
            """,
        ),
        good=Example(
            BOTH,
            'op.add_column("users", sa.Column("note", sa.Text()))',
            then=Example("", 'op.add_column("orders", sa.Column("note", sa.Text()))', transactional=False),
        ),
    ),
    Hazard(
        "CM005",
        "Every row of a table is changed in one transaction",
        HazardClass.LOCK,
        "An UPDATE or INSERT ... SELECT reaches a large part of a table that existed before.",
        "Every row it has changed stays locked until the commit: others that write one of them wait. The "
        "table grows by all of them, replicas fall behind, and VACUUM cannot clear up meanwhile.",
        "Work in batches by key, each committed before the next, in a revision that declares "
        "`transactional = False`; such a revision can be run again.",
        bad=Example(
            USERS,
            """
            op.execute("UPDATE users SET name = '-'")
            """,
        ),
        good=Example(
            USERS,
            """
            with op.get_context().autocommit_block():
                batch = sa.text(
                    "UPDATE users SET name = '-' WHERE id IN"
                    " (SELECT id FROM users WHERE name IS DISTINCT FROM '-' LIMIT 1000)"
                )
                while op.get_bind().execute(batch).rowcount:
                    pass
            """,
            transactional=False,
        ),
    ),
    Hazard(
        "CM059",
        "Partition is detached while the whole table waits",
        HazardClass.LOCK,
        "DETACH PARTITION without CONCURRENTLY.",
        "It takes ACCESS EXCLUSIVE on the partitioned table: behind one long query, every later read and "
        "write of any partition waits.",
        "DETACH PARTITION ... CONCURRENTLY, in a revision that declares `transactional = False`; where it "
        "was cut off, DETACH PARTITION ... FINALIZE.",
        bad=Example(EVENTS, 'op.execute("ALTER TABLE events DETACH PARTITION events_2024")'),
        good=Example(
            EVENTS,
            """
            with op.get_context().autocommit_block():
                op.execute("ALTER TABLE events DETACH PARTITION events_2024 CONCURRENTLY")
            """,
            transactional=False,
        ),
    ),
    Hazard(
        "CM050",
        "Somebody holds a lock now that the step has to wait for",
        HazardClass.LOCK,
        "A transaction that is open for long, a prepared one, or a VACUUM against wraparound holds a lock on "
        "a relation that the plan locks, and the two exclude each other.",
        "The step waits, and behind it everybody who comes later and wants the table; after the lock timeout "
        "it is rolled back and tried again.",
        "Let the holder finish, or end it: pg_terminate_backend(PID), ROLLBACK PREPARED 'NAME'. A VACUUM "
        "against wraparound comes back, so let it finish.",
        bad=Example(
            USERS,
            """
            op.execute("SET LOCAL lock_timeout = '50ms'")
            op.add_column("users", sa.Column("note", sa.Text()))
            """,
            meanwhile="SELECT count(*) FROM users",
            fails="55P03",
        ),
        good=Example(USERS, 'op.add_column("users", sa.Column("note", sa.Text()))'),
    ),
    Hazard(
        "CM051",
        "Lock timeout is switched off",
        HazardClass.LOCK,
        "A statement sets lock_timeout to 0, or far above what the run was given, before a lock is taken.",
        "The step waits without end for a lock, and everybody who comes later and wants the table waits "
        "behind it.",
        "Leave the setting alone: a run has a lock timeout and tries again; `--lock-timeout` sets it for a "
        "run, and a concurrent index build has none already.",
        bad=Example(
            USERS,
            """
            op.execute("SET LOCAL lock_timeout = 0")
            op.add_column("users", sa.Column("note", sa.Text()))
            """,
        ),
        good=Example(USERS, 'op.add_column("users", sa.Column("note", sa.Text()))'),
    ),
)
