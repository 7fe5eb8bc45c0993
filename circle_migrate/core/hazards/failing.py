"""Steps that fail: on the rows there are, or wherever they run."""

from __future__ import annotations

from circle_migrate.core.hazards.record import Example, Hazard, HazardClass
from circle_migrate.core.hazards.tables import BOTH, USERS

_NAMELESS = USERS + "UPDATE users SET name = NULL WHERE id <= 3;\n"
_ORPHANS = BOTH + "INSERT INTO orders VALUES (1001, 4711, 1), (1002, 4712, 2);\n"
_NEGATIVE = BOTH + "UPDATE orders SET total = -1 WHERE id <= 3;\n"
_LEGACY = (
    "CREATE TABLE readings (id bigint PRIMARY KEY, value text);\n"
    "INSERT INTO readings SELECT n, n::text FROM generate_series(1, 200) AS n;\n"
    "UPDATE readings SET value = 'n/a' WHERE id <= 3;\n"
)

FAILING = (
    Hazard(
        "CM020",
        "Null values keep the step from succeeding",
        HazardClass.WILL_FAIL,
        "A column becomes NOT NULL, or part of a primary key, and there are rows where it is null.",
        "The statement fails (23502), after having read the table under ACCESS EXCLUSIVE while every read "
        "and every write waited; the transaction is rolled back.",
        "Give the rows a value in a revision before this one, in batches, and keep new nulls out with a "
        "CHECK that is NOT VALID at first.",
        bad=Example(_NAMELESS, 'op.alter_column("users", "name", nullable=False)', fails="23502"),
        good=Example(
            _NAMELESS,
            """
            op.execute("ALTER TABLE users ADD CONSTRAINT ck_users_name CHECK (name IS NOT NULL) NOT VALID")
            """,
            then=Example(
                "",
                """
                with op.get_context().autocommit_block():
                    op.execute("UPDATE users SET name = '' WHERE name IS NULL")
                    op.execute("ALTER TABLE users VALIDATE CONSTRAINT ck_users_name")
                """,
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
        "CM028",
        "New column is required and has no default",
        HazardClass.WILL_FAIL,
        "A NOT NULL column without a default is added to a table that has rows.",
        "The statement fails (23502) wherever there is a row, though it succeeds on an empty staging copy. "
        "Where the table is empty, releases that do not know the column cannot insert.",
        "Give it a constant default, which is written nowhere but in the catalogue; or add it nullable, fill "
        "it, and set NOT NULL later.",
        bad=Example(
            USERS, 'op.add_column("users", sa.Column("zone", sa.Integer(), nullable=False))', fails="23502"
        ),
        good=Example(
            USERS,
            """
            op.add_column("users", sa.Column("zone", sa.Integer(), nullable=False, server_default="0"))
            """,
        ),
    ),
    Hazard(
        "CM024",
        "Rows without their partner keep a foreign key from holding",
        HazardClass.WILL_FAIL,
        "A foreign key is added or validated, and there are rows whose key the other table does not have.",
        "The statement fails (23503), after having looked up rows while writes of both tables waited.",
        "Delete or mend the orphans in a revision before this one; with the key NOT VALID no new ones come.",
        bad=Example(
            _ORPHANS,
            'op.create_foreign_key("fk_orders_user_id", "orders", "users", ["user_id"], ["id"])',
            fails="23503",
        ),
        good=Example(
            _ORPHANS,
            """
            op.create_foreign_key(
                "fk_orders_user_id", "orders", "users", ["user_id"], ["id"], postgresql_not_valid=True
            )
            """,
            then=Example(
                "",
                """
                with op.get_context().autocommit_block():
                    op.execute(
                        "DELETE FROM orders WHERE id IN (1001, 1002)"
                        " AND NOT EXISTS (SELECT FROM users WHERE users.id = orders.user_id)"
                    )
                    op.execute("ALTER TABLE orders VALIDATE CONSTRAINT fk_orders_user_id")
                """,
                transactional=False,
            ),
        ),
    ),
    Hazard(
        "CM025",
        "Rows break the new condition",
        HazardClass.WILL_FAIL,
        "A CHECK, an EXCLUDE constraint, a domain's constraint or a partition's bounds are put over rows "
        "that do not satisfy them.",
        "The statement fails (23514, 23P01), after having read the table under a lock that others waited "
        "for.",
        "Mend the rows in a revision before this one; with the CHECK NOT VALID no new ones come, and it can "
        "be validated afterwards.",
        bad=Example(
            _NEGATIVE, 'op.create_check_constraint("ck_orders_total", "orders", "total >= 0")', fails="23514"
        ),
        good=Example(
            _NEGATIVE,
            """
            op.create_check_constraint(
                "ck_orders_total", "orders", "total >= 0", postgresql_not_valid=True
            )
            """,
            then=Example(
                "",
                """
                with op.get_context().autocommit_block():
                    op.execute("UPDATE orders SET total = 0 WHERE total < 0")
                    op.execute("ALTER TABLE orders VALIDATE CONSTRAINT ck_orders_total")
                """,
                transactional=False,
            ),
        ),
    ),
    Hazard(
        "CM026",
        "Values cannot be converted to the new type",
        HazardClass.WILL_FAIL,
        "A column gets another type, and there are values that do not read as one of it (22P02, 22007), or "
        "are out of its range (22003).",
        "The statement fails on the first such value, somewhere in a rewrite under ACCESS EXCLUSIVE for "
        "which every read and every write waited.",
        "Add a column of the new type and fill it from the values that can be converted; settle the others, "
        "then swap the names.",
        bad=Example(
            _LEGACY,
            """
            op.alter_column(
                "readings", "value", type_=sa.Integer(), postgresql_using="value::integer"
            )
            """,
            fails="22P02",
        ),
        good=Example(
            _LEGACY,
            'op.add_column("readings", sa.Column("number", sa.Integer()))',
            then=Example(
                "",
                """
                with op.get_context().autocommit_block():
                    batch = sa.text(
                        "UPDATE readings SET number = value::integer WHERE id IN (SELECT id FROM readings"
                        " WHERE number IS NULL AND value ~ '^[0-9]{1,9}$' LIMIT 1000)"
                    )
                    while op.get_bind().execute(batch).rowcount:
                        pass
                """,
                transactional=False,
            ),
        ),
    ),
    Hazard(
        "CM027",
        "Values are too long for the new type",
        HazardClass.WILL_FAIL,
        "A varchar, char or bit column becomes shorter than the longest value in it.",
        "The statement fails (22001), somewhere in a rewrite under ACCESS EXCLUSIVE for which every read and "
        "every write waited.",
        "Bound new values with a CHECK on their length that is NOT VALID at first, shorten the old ones, and "
        "validate it; the column's own type can stay.",
        bad=Example(USERS, 'op.alter_column("users", "email", type_=sa.String(10))', fails="22001"),
        good=Example(
            USERS,
            """
            op.create_check_constraint(
                "ck_users_email", "users", "length(email) <= 60", postgresql_not_valid=True
            )
            """,
            then=Example(
                "", 'op.execute("ALTER TABLE users VALIDATE CONSTRAINT ck_users_email")', transactional=False
            ),
        ),
    ),
    Hazard(
        "CM021",
        "Step fails wherever it runs",
        HazardClass.WILL_FAIL,
        "The statement failed on a scratch database that stood at the same revision as the target.",
        "The run stops at this step; its transaction is rolled back, after others may have waited for the "
        "locks it had taken by then.",
        "What to do depends on what the server said: see the SQLSTATE in the finding and the list of them "
        "below the hazards' page.",
        bad=Example(
            USERS + "CREATE TYPE mood AS ENUM ('low', 'high');\nALTER TABLE users ADD COLUMN mood mood;\n",
            """
            op.execute("ALTER TYPE mood ADD VALUE 'even'")
            op.execute("UPDATE users SET mood = 'even' WHERE id = 1")
            """,
            fails="55P04",
        ),
        good=Example(
            USERS + "CREATE TYPE mood AS ENUM ('low', 'high');\nALTER TABLE users ADD COLUMN mood mood;\n",
            """
            op.execute("ALTER TYPE mood ADD VALUE IF NOT EXISTS 'even'")
            """,
            then=Example(
                "",
                """
                op.execute("UPDATE users SET mood = 'even' WHERE id = 1")
                """,
            ),
        ),
    ),
)
