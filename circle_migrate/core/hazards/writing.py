"""How a revision is written: transactions, text that is not what runs, the way back."""

from __future__ import annotations

from circle_migrate.core.hazards.record import Example, Hazard, HazardClass
from circle_migrate.core.hazards.tables import USERS

_HIDDEN = "op.execute(\"DO $$ BEGIN EXECUTE 'ALTER TABLE users ALTER COLUMN age TYPE bigint'; END $$\")"

_PARKED = "CREATE TABLE parked (id bigint PRIMARY KEY);"

WRITING = (
    Hazard(
        "CM040",
        "Part of a revision is committed before the rest",
        HazardClass.CORRECTNESS,
        "A revision that runs outside a transaction has another statement before or after the one that needs "
        "this, and that statement cannot be run twice.",
        "What comes first is committed at once. When the rest fails, the version still says that nothing was "
        "applied, and the next run fails on what is there already (42701, 42P07).",
        "One concern per revision; where several must stay together, statements that can be run again "
        "(if_not_exists=True, ensure_index_concurrently).",
        bad=Example(
            USERS,
            """
            with op.get_context().autocommit_block():
                op.add_column("users", sa.Column("note", sa.Text()))
                op.create_index("ix_users_note", "users", ["note"], postgresql_concurrently=True)
            """,
            transactional=False,
        ),
        good=Example(
            USERS,
            'op.add_column("users", sa.Column("note", sa.Text()))',
            then=Example(
                "",
                'ensure_index_concurrently(op, "ix_users_note", "users", ["note"])',
                transactional=False,
            ),
        ),
    ),
    Hazard(
        "CM041",
        "Revisions that need transactions of their own share one",
        HazardClass.LOCK,
        "Pending revisions that were written one after another to keep locks short (NOT VALID, then "
        "VALIDATE) run in one transaction, as they do by default.",
        "The lock of the first is held through the work of the second: whoever reads or writes the table "
        "waits as if they were one revision.",
        "Write `transactional = False` into the revision that does the long work, which gives it a segment "
        "of its own in every run; or run with `--transaction per-revision`.",
        bad=Example(
            USERS,
            'op.execute("ALTER TABLE users ADD CONSTRAINT ck_users_age CHECK (age >= 0) NOT VALID")',
            then=Example("", 'op.execute("ALTER TABLE users VALIDATE CONSTRAINT ck_users_age")'),
            together=True,
        ),
        good=Example(
            USERS,
            'op.execute("ALTER TABLE users ADD CONSTRAINT ck_users_age CHECK (age >= 0) NOT VALID")',
            then=Example(
                "", 'op.execute("ALTER TABLE users VALIDATE CONSTRAINT ck_users_age")', transactional=False
            ),
            together=True,
        ),
    ),
    Hazard(
        "CM042",
        "Several statements in one op.execute",
        HazardClass.WILL_FAIL,
        "The text given to op.execute has more than one statement. A semicolon at its end does no harm.",
        "The driver prepares what it is given, and PostgreSQL prepares one statement: the step fails "
        "(42601), though the SQL that Alembic renders offline looks right.",
        "One op.execute for each statement.",
        bad=Example(
            USERS,
            """
            op.execute("UPDATE users SET age = 20 WHERE id = 1; UPDATE users SET age = 21 WHERE id = 2")
            """,
            fails="42601",
        ),
        good=Example(
            USERS,
            """
            op.execute("UPDATE users SET age = 20 WHERE id = 1")
            op.execute("UPDATE users SET age = 21 WHERE id = 2")
            """,
        ),
    ),
    Hazard(
        "CM043",
        "Text with a colon is taken for a parameter",
        HazardClass.WILL_FAIL,
        "The text given to op.execute has a colon followed by a name or a number, as JSON has.",
        "It is taken for a parameter that nobody gives: the step fails, and rendered offline the SQL has "
        "NULL in its place.",
        "Put a backslash before the colon, or give the value as a parameter: "
        "op.execute(sa.text(...).bindparams(...)).",
        bad=Example(
            USERS,
            """
            op.execute('UPDATE users SET name = $${"a":1}$$ WHERE id = 1')
            """,
            fails="StatementError",
        ),
        good=Example(
            USERS,
            """
            op.execute(
                sa.text("UPDATE users SET name = :name WHERE id = 1").bindparams(name='{"a":1}')
            )
            """,
        ),
    ),
    Hazard(
        "CM044",
        "Rendered SQL is not what runs",
        HazardClass.CORRECTNESS,
        "The statements rendered offline differ from those that ran: the revision asks is_offline_mode(), "
        "reads the database, or builds SQL that cannot be written as text.",
        "Whoever reviews or runs the rendered SQL sees and gets something else than `upgrade` does.",
        "Write the revision so that both are the same; where it has to read the database, let it fail "
        "offline rather than do less.",
        bad=Example(
            USERS,
            """
            if not op.get_context().as_sql:
                op.add_column("users", sa.Column("note", sa.Text()))
            """,
        ),
        good=Example(USERS, 'op.add_column("users", sa.Column("note", sa.Text()))'),
    ),
    Hazard(
        "CM045",
        "Downgrade is missing, fails, or does not lead back",
        HazardClass.CORRECTNESS,
        "A revision has no downgrade() and does not say why; or up and down again leaves another catalogue "
        "than there was.",
        "A release cannot be taken back, or is taken back to a database that no release was written for.",
        "Undo in downgrade(), in the reverse order, all that upgrade() did; what cannot be undone says so: "
        'irreversible = "why".',
        bad=Example(
            USERS,
            'op.drop_column("users", "created_at")',
            downgrade='op.add_column("users", sa.Column("created_at", sa.DateTime()))',
        ),
        good=Example(
            USERS,
            'op.add_column("users", sa.Column("note", sa.Text()))',
            downgrade='op.drop_column("users", "note")',
        ),
    ),
    Hazard(
        "CM060",
        "Statement that only running it can judge",
        HazardClass.CORRECTNESS,
        "A DO block, a call of a function or procedure, or SQL that could not be read; and no scratch "
        "database has run it.",
        "It may take any lock and do any work; nothing is known of who would wait.",
        "Give the command a scratch database (the `embedded` extra, or `--scratch-url`), which runs it and "
        "sees; or write the statements into the revision.",
        bad=Example(USERS, _HIDDEN),
        good=Example(USERS, 'op.add_column("users", sa.Column("age_big", sa.BigInteger()))'),
    ),
    Hazard(
        "CM080",
        "Ignore comment without a reason",
        HazardClass.STYLE,
        "A comment `# circle: ignore[ID]` has no `reason=`.",
        "It hides nothing, and the finding it was meant for stands: nobody could tell later why it was let "
        "pass.",
        "Say why: # circle: ignore[ID] reason=...",
        bad=Example(
            _PARKED,
            """
            # circle: ignore[CM012]
            op.drop_table("parked")
            """,
        ),
        good=Example(
            _PARKED,
            """
            # circle: ignore[CM012] reason=no release has named it since 4
            op.drop_table("parked")
            """,
        ),
    ),
    Hazard(
        "CM081",
        "Ignore comment hides nothing",
        HazardClass.STYLE,
        "A comment `# circle: ignore[ID]` stands where no finding of that id is, or names no hazard.",
        "It may be misspelt, or what it was written for has gone; some day it hides something else.",
        "Correct it, or take it out.",
        bad=Example(
            USERS,
            """
            # circle: ignore[CM008] reason=small table
            op.add_column("users", sa.Column("note", sa.Text()))
            """,
        ),
        good=Example(USERS, 'op.add_column("users", sa.Column("note", sa.Text()))'),
    ),
    Hazard(
        "CM082",
        "Ignore comment has expired",
        HazardClass.STYLE,
        "The day after `until=` in a comment `# circle: ignore[ID]` has come.",
        "It hides nothing any more, and the finding it was written for stands.",
        "Settle what it was written for and take it out, or give it another day.",
        bad=Example(
            _PARKED,
            """
            # circle: ignore[CM012] reason=no release has named it since 4 until=2024-12-31
            op.drop_table("parked")
            """,
        ),
        good=Example(
            _PARKED,
            """
            # circle: ignore[CM012] reason=no release has named it since 4
            op.drop_table("parked")
            """,
        ),
    ),
)
