"""revision --autogenerate: changes of the models become a revision, including those Alembic misses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from circle_migrate.commands.downgrade import downgrade
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.diff.autogenerate.revision_file import RevisionFilesResult
from tests.deployments import agree, execute
from tests.diff.drafts import HEAD, Deploy, Shop, left, look, only_one, same, statements, write
from tests.servers import Databases, run

# Arguments of a table, before and after; {t} is its name.
UNSEEN = {
    "check expression": (
        'Column("n", Integer), CheckConstraint("n > 0", name="{t}_check")',
        'Column("n", Integer), CheckConstraint("n > 1 AND n < 9", name="{t}_check")',
    ),
    "check dropped": (
        'Column("n", Integer), CheckConstraint("n > 0", name="{t}_check")',
        'Column("n", Integer)',
    ),
    "check not valid": (
        'Column("n", Integer), CheckConstraint("n > 0", name="{t}_check")',
        'Column("n", Integer), CheckConstraint("n > 0", name="{t}_check", postgresql_not_valid=True)',
    ),
    "index predicate": (
        'Column("n", Integer), Index("{t}_i", "n", postgresql_where=text("n > 0"))',
        'Column("n", Integer), Index("{t}_i", "n", postgresql_where=text("n > 5"))',
    ),
    "index operator class": (
        'Column("s", Text), Index("{t}_i", "s")',
        'Column("s", Text), Index("{t}_i", "s", postgresql_ops={{"s": "text_pattern_ops"}})',
    ),
    "index include": (
        'Column("n", Integer), Column("m", Integer), Index("{t}_i", "n")',
        'Column("n", Integer), Column("m", Integer), Index("{t}_i", "n", postgresql_include=["m"])',
    ),
    "index method": (
        'Column("n", Integer), Index("{t}_i", "n")',
        'Column("n", Integer), Index("{t}_i", "n", postgresql_using="hash")',
    ),
    "collation": ('Column("s", Text)', 'Column("s", Text(collation="C"))'),
    "identity increment": (
        'Column("n", Integer, Identity(always=True))',
        'Column("n", Integer, Identity(always=True, increment=10))',
    ),
    "numeric unbounded": ('Column("n", Numeric(10, 2))', 'Column("n", Numeric)'),
    "length removed": ('Column("s", String(50))', 'Column("s", String)'),
    "timestamp precision": (
        'Column("at", DateTime(timezone=True))',
        'Column("at", TIMESTAMP(timezone=True, precision=3))',
    ),
    "enum label added": (
        'Column("s", ENUM("a", "b", name="{t}_e", metadata=metadata))',
        'Column("s", ENUM("a", "b", "c", name="{t}_e", metadata=metadata))',
    ),
    "enum label renamed": (
        'Column("s", ENUM("a", "b", name="{t}_e", metadata=metadata), server_default="a")',
        'Column("s", ENUM("a", "z", name="{t}_e", metadata=metadata), server_default="a")',
    ),
    "domain check": (
        'Column("n", DOMAIN("{t}_d", Integer, check="VALUE > 0", constraint_name="c", metadata=metadata))',
        'Column("n", DOMAIN("{t}_d", Integer, check="VALUE > 9", constraint_name="c", metadata=metadata))',
    ),
    "sequence options": (
        'Column("n", Integer, Sequence("{t}_s", metadata=metadata))',
        'Column("n", Integer, Sequence("{t}_s", metadata=metadata, increment=5, cycle=True, maxvalue=999))',
    ),
    "primary key": (
        'Column("n", Integer, nullable=False)',
        'Column("n", Integer, primary_key=True)',
    ),
    "comment": ('Column("n", Integer)', 'Column("n", Integer, comment="It\'s: 100%"), comment="a table"'),
    "comment of a constraint": (
        'Column("n", Integer), UniqueConstraint("n", name="{t}_u")',
        'Column("n", Integer), UniqueConstraint("n", name="{t}_u", comment="why")',
    ),
    "foreign key match": (
        'Column("n", Integer, ForeignKey("{t}.id"))',
        'Column("n", Integer, ForeignKey("{t}.id", match="FULL"))',
    ),
    "foreign key deferrable": (
        'Column("n", Integer, ForeignKey("{t}.id", name="{t}_f"))',
        'Column("n", Integer, ForeignKey("{t}.id", name="{t}_f", deferrable=True, initially="DEFERRED"))',
    ),
    "foreign key renamed": (
        'Column("n", Integer, ForeignKey("{t}.id", name="{t}_f"))',
        'Column("n", Integer, ForeignKey("{t}.id", name="{t}_g"))',
    ),
    "exclusion": (
        'Column("r", INT4RANGE), ExcludeConstraint(("r", "&&"), name="{t}_x")',
        'Column("r", INT4RANGE), ExcludeConstraint(("r", "&&"), name="{t}_x", where=text("id > 5"))',
    ),
    "nulls not distinct": (
        'Column("n", Integer), UniqueConstraint("n", name="{t}_u")',
        'Column("n", Integer), UniqueConstraint("n", name="{t}_u", postgresql_nulls_not_distinct=True)',
    ),
    "order of a unique constraint": (
        'Column("n", Integer), Column("m", Integer), UniqueConstraint("n", "m", name="{t}_u")',
        'Column("n", Integer), Column("m", Integer), UniqueConstraint("m", "n", name="{t}_u")',
    ),
    "computed": (
        'Column("n", Integer), Column("d", Integer, Computed("n * 2", persisted=True))',
        'Column("n", Integer), Column("d", Integer, Computed("n * 3", persisted=True))',
    ),
    "reserved words": (
        'Column("user", Integer), Column("No 1", Integer), CheckConstraint(\'"user" > 0\', name="A Check")',
        'Column("user", Integer), Column("No 1", Integer), CheckConstraint(\'"user" > 1\', name="A Check")',
    ),
    "storage parameters": (
        'Column("n", Integer)',
        'Column("n", Integer), postgresql_with={{"fillfactor": 70}}',
    ),
}
"""Changes that Alembic does not detect."""

SEEN = {
    "column added": ('Column("a", Integer)', 'Column("a", Integer), Column("b", Text, server_default="x:y")'),
    "column dropped": ('Column("a", Integer), Column("b", Text)', 'Column("a", Integer)'),
    "type": ('Column("a", Integer)', 'Column("a", Numeric(9, 2))'),
    "length": ('Column("a", String(40))', 'Column("a", String(60), nullable=False)'),
    "index added": ('Column("a", Integer)', 'Column("a", Integer, index=True)'),
    "unique": ('Column("a", Integer)', 'Column("a", Integer, unique=True)'),
    "default": ('Column("a", Integer, server_default="1")', 'Column("a", Integer, server_default="2")'),
    "on delete": (
        'Column("a", Integer, ForeignKey("{t}.id"))',
        'Column("a", Integer, ForeignKey("{t}.id", ondelete="CASCADE"))',
    ),
}
"""Changes that Alembic has operations for."""

FATAL = {
    "identity instead of a default": (
        'Column("n", Integer, server_default="1", nullable=False)',
        'Column("n", Integer, Identity())',
    ),
    "default instead of an identity": (
        'Column("n", Integer, Identity())',
        'Column("n", Integer, server_default="1", nullable=False)',
    ),
    "default of json": (
        'Column("j", JSON, server_default=text("\'{{}}\'"))',
        'Column("j", JSON, server_default=text("\'[]\'"))',
    ),
    "default and type": (
        'Column("s", Text, server_default="abc")',
        'Column("s", Integer, server_default="0")',
    ),
    "enum added": (
        'Column("n", Integer)',
        'Column("n", Integer), Column("s", ENUM("a", "b", name="{t}_e", metadata=metadata))',
    ),
}
"""Changes for which its comparison or operations fail."""

OF_ALEMBIC = (
    r'op\.add_column\(\s*"t_column_added", ',
    r"# HAZARD: CM010 Column is dropped with its values\n    op\.drop_column\(\s*\"t_column_dropped\"",
    r'op\.alter_column\(\s*"t_length",\s*"a",\s*existing_type=',
    r'op\.create_index\(\s*op\.f\("ix_t_index_added_a"\)',
    r'op\.create_unique_constraint\(op\.f\("t_unique_a_key"\), "t_unique", \["a"\]\)',
    r'op\.create_foreign_key\(\s*op\.f\("t_on_delete_a_fkey"\),[^)]*ondelete="CASCADE"',
)
"""Code of its operations."""


def models(side: int) -> str:
    """Return a module with a table per case, before (0) or after (1) the change."""
    lines = []
    for case, sides in {**UNSEEN, **SEEN, **FATAL}.items():
        name = "t_" + case.replace(" ", "_")
        lines.append(f'Table("{name}", metadata, key(), {sides[side].format(t=name)})\n')
    return HEAD + "".join(lines)


@pytest.mark.thorough
def test_one_revision_leads_to_the_models_and_back(shop: Shop, deploy: Deploy) -> None:
    """All cases in one revision: those that Alembic supports and those at which it fails."""
    empty = look(deploy("main"))
    shop.model(models(0))
    only_one(write(deploy("main"), "tables"))
    run(upgrade(deploy("main")))
    assert left(deploy("main")) == []
    before = look(deploy("main"))

    shop.model(models(1))
    _, text = only_one(write(deploy("main")))
    for words in OF_ALEMBIC:
        assert re.search(words, text), words
    assert "NOT EXPRESSED" not in text
    assert 'schema="public"' not in text
    run(upgrade(deploy("main")))
    assert left(deploy("main")) == []
    assert write(deploy("main"), "again").revisions == ()
    for target, wanted in (("main@-1", before), ("main@base", empty)):
        run(downgrade(deploy("main"), [target], confirm=agree))
        assert same(wanted, look(deploy("main"))) == []


WORKING = (
    "CREATE SEQUENCE counter",
    "CREATE TABLE calls (n integer)",
    """CREATE FUNCTION side() RETURNS text LANGUAGE plpgsql
        AS $$BEGIN INSERT INTO calls VALUES (1); RETURN 'side'; END$$""",
    """CREATE TABLE orders (id serial PRIMARY KEY,
        code text DEFAULT 'N' || nextval('counter'), note text DEFAULT side())""",
)
WORKING_MODELS = """
Table("calls", metadata, Column("n", Integer))
Sequence("counter", metadata=metadata)
Table("orders", metadata, key(),
    Column("code", Text, server_default=text("'M' || nextval('counter')")),
    Column("note", Text, server_default=text("upper(side())")))
"""
WORK_DONE = "SELECT (SELECT count(*) FROM calls), last_value, is_called FROM counter"


@pytest.mark.thorough
def test_no_default_is_computed_on_the_live_database(
    shop: Shop, deploy: Deploy, empty_databases: Databases
) -> None:
    statements(shop, *WORKING)
    run(upgrade(deploy("main")))

    async def done() -> list[object]:
        async with empty_databases.connect("main") as connection:
            return list(await connection.fetchrow(WORK_DONE))

    before = run(done())
    shop.model(HEAD + WORKING_MODELS)
    _, text = only_one(write(deploy("main")))
    assert text.count("upper(side())") == 1
    assert run(done()) == before
    run(upgrade(deploy("main")))
    assert left(deploy("main")) == []
    assert run(done()) == before


BESIDE = (
    "CREATE TABLE people (id serial PRIMARY KEY, name text) WITH (autovacuum_enabled = off)",
    "CREATE TABLE logs (id integer, at date) PARTITION BY RANGE (at)",
    "CREATE TABLE logs_2026 PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    "CREATE INDEX people_case ON people ((CASE WHEN name IS NULL THEN 0 ELSE 1 END))",
    "CREATE VIEW named AS SELECT name FROM people WHERE name IN ('a', 'b')",
    "GRANT SELECT ON people TO PUBLIC",
)
BESIDE_MODELS = """
Table("people", metadata, key(), Column("name", Text), Column("age", Integer),
    Index("people_case", text("(CASE WHEN name IS NULL THEN 0 ELSE 1 END)")))
Table("logs", metadata, Column("id", Integer), Column("at", Date), Column("line", Text),
    postgresql_partition_by="RANGE (at)")
"""


def test_what_models_say_nothing_about_is_left_alone(
    shop: Shop, deploy: Deploy, empty_databases: Databases
) -> None:
    """Partitions, views, grants and storage of the revisions stay; drift of the live database is a note."""
    statements(shop, *BESIDE)
    run(upgrade(deploy("main")))
    run(execute(empty_databases, "main", "DROP INDEX people_case"))
    shop.model(HEAD + BESIDE_MODELS)
    written = write(deploy("main"))
    text = Path(written.revisions[0].path).read_text(encoding="utf-8")
    up = text.partition("def upgrade")[2].partition("def downgrade")[0]
    assert re.findall(r"op\.(\w+)\(\s*\"(\w+)\"", up) == [("add_column", "logs"), ("add_column", "people")]
    assert up.count("op.") == 2
    (note,) = written.notes
    assert "in 1 object," in note
    assert "circle-migrate diff --database main" in note


@pytest.mark.thorough
def test_files_are_enough_and_both_databases_are_written(shop: Shop, deploy: Deploy) -> None:
    shop.model(HEAD + 'Table("people", metadata, key())\n')
    shop.model(HEAD + 'Table("keys", metadata, key(), schema="vault")\n', "secrets")
    written = write(deploy(live=False))
    assert [revision.database for revision in written.revisions] == ["main", "credentials"]
    assert [note.partition(":")[0] for note in written.notes] == ["main", "credentials"]
    assert "DATABASE_URL is not set" in written.notes[0]
    assert write(deploy(live=False), "again").revisions == ()
    run(upgrade(deploy()))
    assert write(deploy(), "at head") == RevisionFilesResult("revision", (), ("main", "credentials"))
    shop.model(HEAD + 'Table("keys", metadata, key(), Column("n", Integer), schema="vault")\n', "secrets")
    revision, text = only_one(write(deploy()))
    assert (revision.database, text.count('schema="vault"')) == ("credentials", 2)


def test_what_cannot_be_expressed_is_said(shop: Shop, deploy: Deploy) -> None:
    """The file has a comment and the result a note; the other changes are written."""
    made = "CREATE OPERATOR CLASS {0} FOR TYPE integer USING btree AS OPERATOR 1 <, FUNCTION 1 btint4cmp"
    shop.model(
        HEAD + 'Table("people", metadata, key())\n'
        f'event.listen(metadata, "after_create", DDL("{made.format("ints")}(integer, integer)"))\n'
    )
    written = write(deploy("main", live=False))
    text = Path(written.revisions[0].path).read_text(encoding="utf-8")
    lacking = "operator class public.ints USING btree is extra in models"
    assert f"def upgrade() -> None:\n    # NOT EXPRESSED: {lacking}\n" in text
    assert f"main: upgrade() of the new revision: NOT EXPRESSED: {lacking}" in written.notes
    assert re.search(
        r'op\.create_table\(\s*"people",\s*sa.Column\("id", sa.Integer\(\), nullable=False\)', text
    )
    run(upgrade(deploy("main")))
    assert len(left(deploy("main"))) == len(written.notes) - 1
