"""What breaks the release that is running while the step is applied, or works on wrongly."""

from __future__ import annotations

from circle_migrate.core.hazards.record import Example, Hazard, HazardClass
from circle_migrate.core.hazards.tables import BOTH, USERS

_TICKETS = (
    "CREATE TABLE tickets (id serial PRIMARY KEY, title text);\n"
    "INSERT INTO tickets (title) SELECT 'ticket ' || n FROM generate_series(1, 200) AS n;\n"
)
_PUBLISHED = _TICKETS + "CREATE PUBLICATION everything FOR TABLE tickets;\n"
_TRIGGERED = USERS + (
    "CREATE FUNCTION keep_email() RETURNS trigger LANGUAGE plpgsql AS\n"
    "$$ BEGIN NEW.email = lower(NEW.email); RETURN NEW; END $$;\n"
    "CREATE TRIGGER keep_email BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION keep_email();\n"
)
_COMPUTED = USERS + (
    "CREATE FUNCTION label(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';\n"
    "CREATE INDEX ix_users_label ON users (label(name));\n"
)
_ROLE_VIEW = USERS + "GRANT SELECT ON users TO PUBLIC;\n"

APPLICATION = (
    Hazard(
        "CM030",
        "Name is changed under a running release",
        HazardClass.APP_BREAK,
        "A table, view, column, function, schema or enum value that existed before gets another name, and "
        "nothing answers to the old one when the transaction ends.",
        "From the commit on every statement of the running release that uses the old name fails (42P01, "
        "42703), until the next release is everywhere; after a rollback of the release likewise.",
        "Rename a table together with a view under its old name in one transaction: reads and writes go on "
        "through it. Give a column a successor, keep both in step, and drop the old one a release later.",
        bad=Example(USERS, 'op.rename_table("users", "people")'),
        good=Example(
            USERS,
            """
            op.rename_table("users", "people")
            op.execute("CREATE VIEW users AS SELECT * FROM people")
            """,
            downgrade="""
            op.execute("DROP VIEW users")
            op.rename_table("people", "users")
            """,
        ),
    ),
    Hazard(
        "CM035",
        "Name that a running release may use is removed",
        HazardClass.APP_BREAK,
        "A view, function, trigger, extension, table or column that existed before is dropped.",
        "From the commit on every statement of the running release that names it fails (42P01, 42703, "
        "42883).",
        "Drop it in the release after the one that stopped using it; until then let the old name lead to "
        "what took its place.",
        bad=Example(
            USERS + "CREATE VIEW named_users AS SELECT id, name FROM users;",
            'op.execute("DROP VIEW named_users")',
        ),
        good=Example(
            USERS + "CREATE VIEW named_users AS SELECT id, name FROM users;",
            """
            op.execute(
                "CREATE OR REPLACE VIEW named_users AS SELECT id, coalesce(name, '') AS name FROM users"
            )
            """,
        ),
    ),
    Hazard(
        "CM036",
        "Column can no longer be left out of inserts",
        HazardClass.APP_BREAK,
        "The default of a NOT NULL column is dropped, or NOT NULL is set on a column without one.",
        "Inserts of the running release that leave the column out fail from the commit on (23502).",
        "Keep the default until every running release names the column in its inserts.",
        bad=Example(USERS, 'op.alter_column("users", "created_at", server_default=None)'),
        good=Example(USERS, 'op.alter_column("users", "created_at", server_default=sa.func.now())'),
    ),
    Hazard(
        "CM038",
        "Privileges are taken away or given to everybody",
        HazardClass.APP_BREAK,
        "REVOKE, a change of owner, or GRANT ... TO PUBLIC on an object that existed before.",
        "A role of the running release fails with 42501 from the commit on; or every role of the cluster can "
        "read what was granted.",
        "Grant to a named role, and revoke in the release after the one that stopped needing it.",
        bad=Example(_ROLE_VIEW, 'op.execute("REVOKE SELECT ON users FROM PUBLIC")'),
        good=Example(_ROLE_VIEW, 'op.execute("GRANT SELECT ON users TO CURRENT_USER")'),
    ),
    Hazard(
        "CM031",
        "Column of type json",
        HazardClass.APP_BREAK,
        "A column of type json is added to a table that existed before.",
        "json has no equality: SELECT DISTINCT, GROUP BY and UNION over the table's columns fail from the "
        "commit on (42883).",
        "Use jsonb, which has, and which can be indexed.",
        bad=Example(USERS, 'op.add_column("users", sa.Column("settings", sa.JSON()))'),
        good=Example(USERS, 'op.add_column("users", sa.Column("settings", postgresql.JSONB()))'),
    ),
    Hazard(
        "CM032",
        "Sequence is behind the values that there are",
        HazardClass.APP_BREAK,
        "A sequence is restarted, set, or made for a filled column, and its next value is not above the "
        "largest one in the column.",
        "Inserts fail from the commit on (23505), one for each value that is taken.",
        "Set it from the rows, in the statement that changes it.",
        bad=Example(_TICKETS, 'op.execute("ALTER SEQUENCE tickets_id_seq RESTART WITH 1")'),
        good=Example(
            _TICKETS,
            """
            op.execute(
                "SELECT setval('tickets_id_seq', (SELECT coalesce(max(id), 0) + 1 FROM tickets), false)"
            )
            """,
        ),
    ),
    Hazard(
        "CM033",
        "Published table loses its replica identity",
        HazardClass.APP_BREAK,
        "The primary key, or the index that is the replica identity, of a published table is dropped; or a "
        "table without any is published.",
        "UPDATE and DELETE on the table fail from the commit on (55000), as nobody could tell subscribers "
        "which row is meant.",
        "Set REPLICA IDENTITY USING INDEX on another unique index over NOT NULL columns first, in the same "
        "transaction; FULL where there is none.",
        bad=Example(_PUBLISHED, 'op.drop_constraint("tickets_pkey", "tickets", type_="primary")'),
        good=Example(
            _PUBLISHED + "CREATE UNIQUE INDEX ux_tickets_id ON tickets (id);",
            """
            op.execute("ALTER TABLE tickets REPLICA IDENTITY USING INDEX ux_tickets_id")
            op.drop_constraint("tickets_pkey", "tickets", type_="primary")
            """,
        ),
    ),
    Hazard(
        "CM034",
        "Triggers, rules, policies or row security are switched",
        HazardClass.CORRECTNESS,
        "DISABLE TRIGGER, session_replication_role, a change of a rule or policy, or ENABLE or DISABLE ROW "
        "LEVEL SECURITY on a table that existed before.",
        "Without its triggers a table takes rows that break foreign keys and audit; without a policy, row "
        "security hides every row from all but the owner; without row security everybody sees them all.",
        "Leave triggers on and let the statement pay for them. Create the policies in the transaction that "
        "enables row security, and look at the table as the application's role.",
        bad=Example(_TRIGGERED, 'op.execute("ALTER TABLE users DISABLE TRIGGER ALL")'),
        good=Example(
            _TRIGGERED,
            """
            op.execute(
                "CREATE OR REPLACE FUNCTION keep_email() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN NEW.email = lower(trim(NEW.email)); RETURN NEW; END $$"
            )
            """,
        ),
    ),
    Hazard(
        "CM039",
        "Function is replaced that stored values were computed by",
        HazardClass.CORRECTNESS,
        "The body of a function changes that an index, a constraint or a generated column calls, on a table "
        "that existed before.",
        "PostgreSQL computes nothing anew: queries through the index miss rows, a unique index lets in what "
        "is there already, and old rows keep what the function yielded before.",
        "Make a function of another name, build an index on it CONCURRENTLY, and drop the old one; or, where "
        "a while of wrong answers does no harm, REINDEX INDEX CONCURRENTLY in the next revision.",
        bad=Example(
            _COMPUTED,
            """
            op.execute(
                "CREATE OR REPLACE FUNCTION label(text) RETURNS text LANGUAGE sql IMMUTABLE"
                " AS 'SELECT lower(trim($1))'"
            )
            """,
        ),
        good=Example(
            _COMPUTED,
            """
            op.execute(
                "CREATE FUNCTION trimmed_label(text) RETURNS text LANGUAGE sql IMMUTABLE"
                " AS 'SELECT lower(trim($1))'"
            )
            """,
            then=Example(
                "",
                """
                with op.get_context().autocommit_block():
                    op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_users_trimmed")
                    op.execute("CREATE INDEX CONCURRENTLY ix_users_trimmed ON users (trimmed_label(name))")
                    op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_users_label")
                """,
                transactional=False,
            ),
        ),
    ),
    Hazard(
        "CM052",
        "Foreign key without an index on its columns",
        HazardClass.CORRECTNESS,
        "A foreign key is added, and no index of its table begins with its columns.",
        "Every DELETE of a referenced row, and every UPDATE of its key, reads the whole referring table and "
        "holds its lock meanwhile: others that want the row wait.",
        "Build the index first, CONCURRENTLY, in a revision of its own.",
        bad=Example(
            BOTH,
            """
            op.create_foreign_key(
                "fk_orders_user_id", "orders", "users", ["user_id"], ["id"], postgresql_not_valid=True
            )
            """,
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
            ),
        ),
    ),
    Hazard(
        "CM053",
        "Types of a foreign key differ",
        HazardClass.CORRECTNESS,
        "The columns of a foreign key are of another type than those they refer to: integer to bigint.",
        "Inserts fail (22003) on the day the referenced key outgrows the smaller type, and until then joins "
        "convert every value.",
        "Give the column the type of the key it refers to from the beginning.",
        bad=Example(
            USERS,
            """
            op.create_table(
                "notes",
                sa.Column("id", sa.BigInteger(), primary_key=True),
                sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id"), index=True),
            )
            """,
        ),
        good=Example(
            USERS,
            """
            op.create_table(
                "notes",
                sa.Column("id", sa.BigInteger(), primary_key=True),
                sa.Column("user_id", sa.BigInteger(), sa.ForeignKey("users.id"), index=True),
            )
            """,
        ),
    ),
    Hazard(
        "CM047",
        "Name is longer than PostgreSQL keeps",
        HazardClass.CORRECTNESS,
        "A statement names an object with more than 63 bytes.",
        "PostgreSQL cuts the name off with no more than a notice: two long names become the same one, and "
        "later revisions and the models look for a name that is not there.",
        "Choose a name of at most 63 bytes.",
        bad=Example(
            USERS,
            """
            op.execute(
                "ALTER TABLE users ADD COLUMN"
                " wants_to_be_told_by_email_whenever_a_circle_of_theirs_has_got_a_new_member boolean"
            )
            """,
        ),
        good=Example(USERS, 'op.execute("ALTER TABLE users ADD COLUMN prefers_email boolean")'),
    ),
    Hazard(
        "CM090",
        "Type that the manual advises against",
        HazardClass.STYLE,
        "A new column is of type char(n), timestamp without time zone, or serial.",
        "Nobody waits. char(n) pads and compares without the blanks, a timestamp without time zone means "
        "something else in every session, a serial's sequence has privileges of its own.",
        "text or varchar(n), timestamp with time zone, GENERATED BY DEFAULT AS IDENTITY.",
        bad=Example(USERS, 'op.add_column("users", sa.Column("seen_at", sa.DateTime()))'),
        good=Example(USERS, 'op.add_column("users", sa.Column("seen_at", sa.DateTime(timezone=True)))'),
    ),
)
