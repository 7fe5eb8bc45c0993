"""What a drafted revision does beside changing the schema: rows, names and repeated runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory

from circle_migrate.commands.downgrade import LossConfirmation, downgrade
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.config.object_reference import load_models
from circle_migrate.core.errors import ExitCode, MigrateError, SettingsError
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.safety.losses.find import find_losses
from circle_migrate.safety.losses.report import LossReport
from tests.alembic_driver import run_tree
from tests.deployments import agree, execute
from tests.diff.drafts import HEAD, Deploy, Shop, left, look, only_one, same, statements, write
from tests.servers import Databases, run


@pytest.mark.parametrize(
    "other",
    [
        "VIEW thing AS SELECT 1 AS id",
        pytest.param("TYPE thing AS (id integer)", marks=pytest.mark.thorough),
    ],
)
def test_a_draft_that_fails_is_no_success(shop: Shop, deploy: Deploy, other: str) -> None:
    statements(shop, f"CREATE {other}")
    shop.model(HEAD + 'Table("thing", metadata, key())')
    written = write(deploy("main", live=False))
    assert (written.exit_code, written.failed) == (ExitCode.FAILED, ("main",))
    assert written.notes[1].startswith("main: upgrade() of the new revision: FAILED in a scratch database: ")
    assert "already exists (SQLSTATE 42" in written.notes[1]
    assert written.notes[2:] == (
        "main: downgrade() of the new revision: NOT TRIED: upgrade() fails",
        "main: the new revision is not finished: edit its file, or delete it",
    )
    text = Path(written.revisions[0].path).read_text(encoding="utf-8")
    assert "upgrade() -> None:\n    # FAILED in a scratch database: " in text
    assert "downgrade() -> None:\n    # NOT TRIED: upgrade() fails\n" in text


LABELS = """
kinds = ENUM({kinds}, name="kind", metadata=metadata)
Table("a", metadata, key(), {a})
Table("parcel", metadata, key(), Column("kind", kinds, server_default={default!r}, nullable=True),
    Column("note", Text, nullable={nullable}), {more})
"""
FIRST = {"kinds": '"a", "c"', "a": "", "default": "a", "more": "", "nullable": True}
SECOND = {
    "kinds": '"a", "o\'clock", "b", "c"',
    "a": 'Column("town", Text)',
    "default": "o'clock",
    "more": """Column("kinds", ARRAY(kinds), server_default="{b}"),
        Index("of_b", "note", postgresql_where=text("kind = 'b'"))""",
    "nullable": False,
}


FAILING = {
    "null values": (SECOND, "INSERT INTO parcel (note) VALUES (NULL)"),
    "duplicate values": (
        SECOND | {"nullable": True, "more": f'UniqueConstraint("note"), {SECOND["more"]}'},
        "INSERT INTO parcel (note) VALUES ('x'), ('x')",
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("case", FAILING)
def test_labels_come_first_and_a_draft_that_failed_in_its_middle_runs_again(
    shop: Shop, deploy: Deploy, empty_databases: Databases, case: str
) -> None:
    second, rows = FAILING[case]
    shop.model(HEAD + LABELS.format(**FIRST))
    only_one(write(deploy("main"), "first"))
    run(upgrade(deploy("main")))
    before = look(deploy("main"))
    run(execute(empty_databases, "main", rows))
    shop.model(HEAD + LABELS.format(**second))
    _, text = only_one(write(deploy("main"), "second"))
    up = text.partition("def upgrade")[2]
    assert up.rindex("ADD VALUE") < up.index('"town"')
    with pytest.raises(MigrateError, match="a part of it was committed"):
        run(upgrade(deploy("main")))
    run(execute(empty_databases, "main", "UPDATE parcel SET note = id"))
    run(upgrade(deploy("main")))
    assert left(deploy("main")) == []
    run(execute(empty_databases, "main", "INSERT INTO parcel (note) VALUES ('y')"))
    run(execute(empty_databases, "main", "UPDATE parcel SET kind = 'c'"))
    run(downgrade(deploy("main"), ["main@-1"], confirm=agree))
    assert same(before, look(deploy("main"))) == []


SERIAL = 'Column("id", Integer, primary_key=True)'
NUMBERS = {
    "serial to identity": (
        SERIAL,
        'Column("id", BigInteger, Identity(start=2), primary_key=True)',
        "t_id_seq",
    ),
    "identity to serial": ('Column("id", Integer, Identity(), primary_key=True)', SERIAL, "t_id_seq"),
    "downwards to a named one": (
        'Column("id", Integer, Identity(increment=-1), primary_key=True)',
        """Column("id", Integer, Sequence("It's", increment=-1, metadata=metadata),
            server_default=text("nextval('\\"It''s\\"')"), primary_key=True)""",
        "\"It''s\"",
    ),
    "another name": (
        'Column("id", BigInteger, Sequence("one"), primary_key=True)',
        'Column("id", BigInteger, Sequence("another"), primary_key=True)',
        "another",
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_continue_in_both_directions(
    shop: Shop, deploy: Deploy, empty_databases: Databases, case: str
) -> None:
    *sides, new = NUMBERS[case]
    old, step = ("one" if case == "another name" else "t_id_seq"), (-1 if "downwards" in case else 1)

    def take(sequence: str) -> int:
        async def query() -> int:
            async with empty_databases.connect("main") as connection:
                return int(await connection.fetchval(f"SELECT nextval('{sequence}')"))

        return run(query())

    for side in sides:
        shop.model(f'{HEAD}Table("t", metadata, {side})')
        only_one(write(deploy("main")))
        run(upgrade(deploy("main")))
        if side is sides[0]:
            before = look(deploy("main"))
            assert [take(old) for _ in range(5)][-1] == 5 * step
    assert take(new) == 6 * step
    agreeing = LossConfirmation(partial(find_losses, deploy("main")), lambda _: None)
    losses = run(downgrade(deploy("main"), ["main@-1"], confirm=agreeing, dry_run=True))
    assert isinstance(losses, LossReport)
    assert [loss.name for loss in losses.destroyed] == (["main.another"] if case == "another name" else [])
    run(downgrade(deploy("main"), ["main@-1"], confirm=agree))
    assert take(old) == 7 * step
    assert same(before, look(deploy("main"))) == []


@pytest.mark.thorough
def test_a_first_sequence_continues_the_values(
    shop: Shop, deploy: Deploy, empty_databases: Databases
) -> None:
    statements(shop, "CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (2), (7)")
    run(upgrade(deploy("main")))
    shop.model(HEAD + 'Table("t", metadata, Column("id", Integer, Identity(always=True), primary_key=True))')
    only_one(write(deploy("main")))
    run(upgrade(deploy("main")))
    run(execute(empty_databases, "main", "INSERT INTO t DEFAULT VALUES"))
    assert left(deploy("main")) == []
    run(execute(empty_databases, "main", "DO $$ BEGIN ASSERT (SELECT max(id) FROM t) = 8; END $$"))


PARTITIONED = """
log = Table("log", metadata, Column("at", Date), Column("n", {type_}){more},
    postgresql_partition_by="RANGE (at)")
for month in {months}:
    bound = f"FROM ('2026-0{{month}}-01') TO ('2026-0{{month}}-09')"
    sql = f"CREATE TABLE log_{{month}} PARTITION OF log FOR VALUES {{bound}}"
    event.listen(log, "after_create", DDL(sql))
"""


@pytest.mark.thorough
def test_partitions_of_models_are_drafted_and_follow_their_table(shop: Shop, deploy: Deploy) -> None:
    looks = []
    for values in (
        {"type_": "Integer", "more": "", "months": (1,)},
        {"type_": "Integer", "more": "", "months": (1, 2)},
        {"type_": "BigInteger", "more": ', Column("w", Text, index=True)', "months": (1, 2, 3)},
    ):
        shop.model(HEAD + PARTITIONED.format(**values))
        only_one(write(deploy("main")))
        run(upgrade(deploy("main")))
        assert left(deploy("main")) == []
        looks.append(look(deploy("main")))
    for before in looks[-2::-1]:
        run(downgrade(deploy("main"), ["main@-1"], confirm=agree))
        assert same(before, look(deploy("main"))) == []


IDENTITY = ', Column("id", BigInteger, Identity())'
NUMBERED = {
    "a new column": "",
    "a column with a type and a default": ', Column("id", Integer, server_default="7")',
    "a sequence": """, Column("id", Integer, Sequence("one", metadata=metadata), nullable=False,
        server_default=text("nextval('one')"))""",
}


@pytest.mark.thorough
@pytest.mark.parametrize("case", NUMBERED)
def test_partitions_keep_their_rows_when_a_column_gets_an_identity(
    shop: Shop, deploy: Deploy, empty_databases: Databases, case: str
) -> None:
    """PostgreSQL adds a column with an identity to partitions since version 17."""
    looks = []
    for more in (NUMBERED[case], IDENTITY):
        shop.model(HEAD + PARTITIONED.format(type_="Integer", more=more, months=(1, 2)))
        written = write(deploy("main", live=False))
        text = Path(written.revisions[0].path).read_text(encoding="utf-8")
        if written.failed:
            assert "FAILED in a scratch database: cannot recursively add identity column" in text
            assert look(deploy("main")).major < 17
            return
        run(upgrade(deploy("main")))
        assert left(deploy("main")) == []
        looks.append(look(deploy("main")))
        run(execute(empty_databases, "main", "INSERT INTO log (at) VALUES ('2026-02-02'), ('2026-01-02')"))
    run(downgrade(deploy("main"), ["main@-1"], confirm=agree))
    assert same(looks[0], look(deploy("main"))) == []
    run(execute(empty_databases, "main", "INSERT INTO log (at) VALUES ('2026-01-02')"))
    rows = "ASSERT (SELECT count(*) FROM log) = 5"
    run(execute(empty_databases, "main", f"DO $$ BEGIN {rows}; END $$"))
    if case == "a sequence":
        numbers = "ASSERT (SELECT array_agg(id ORDER BY id) FROM log) = ARRAY[1, 2, 3, 4, 5]"
        run(execute(empty_databases, "main", f"DO $$ BEGIN {numbers}; END $$"))


CONVENTION = """
metadata.naming_convention = {
    **{kind: kind + "_%(table_name)s_%(constraint_name)s" for kind in ("uq", "fk", "ix", "ck")},
    "pk": "key_of_%(table_name)s",
}
"""
NAMED = (
    """
Table("a", metadata, key(), Column("n", Integer), Column("m", Integer))
Table("b", metadata, Column("a", Integer), Column("r", INT4RANGE))
""",
    """
Table("a", metadata, key(), Column("n", Integer), Column("m", Integer), Index("i", "m"),
    UniqueConstraint("n", name="u"), CheckConstraint("n > 0", name="c"),
    Index("j", "n", postgresql_include=["m"]))
Table("b", metadata, Column("a", Integer), Column("r", INT4RANGE), ExcludeConstraint(("r", "&&"), name="x"),
    ForeignKeyConstraint(["a"], ["a.id"], name="f", match="FULL"))
""",
    """
Table("a", metadata, key(), Column("n", Integer), Column("m", Integer),
    Index("i", "m", postgresql_where=text("n > 4")), UniqueConstraint("n", "m", name="u"),
    CheckConstraint("n > 1", name="c"), Index("j", "n"))
Table("b", metadata, Column("a", Integer, primary_key=True, autoincrement=False), Column("r", INT4RANGE),
    ForeignKeyConstraint(["a"], ["a.id"], name="f", deferrable=True))
""",
)


@pytest.mark.thorough
def test_plain_alembic_gives_the_same_names(shop: Shop, deploy: Deploy, empty_databases: Databases) -> None:
    """The convention changes every name that is not final."""
    looks = []
    for side in NAMED:
        shop.model(HEAD + CONVENTION + side)
        only_one(write(deploy("main")))
        run(upgrade(deploy("main")))
        assert left(deploy("main")) == []
        looks.append(look(deploy("main")))
    run(downgrade(deploy("main"), ["main@base"], confirm=agree))
    (metadata,) = load_models(deploy("main").databases["main"].settings)
    folder = str(shop.versions("main"))

    def plainly(steps: Callable[[ScriptDirectory, Any], Any]) -> Snapshot:
        tree = ScriptDirectory(folder, version_locations=[folder])
        run(run_tree(empty_databases.urls["main"], tree, steps, metadata))
        return look(deploy("main"))

    for before in looks:
        assert same(before, plainly(lambda tree, current: tree._upgrade_revs("+1", current))) == []
    for before in looks[-2::-1]:
        assert same(before, plainly(lambda tree, current: tree._downgrade_revs("-1", current))) == []


def test_an_extension_that_the_scratch_server_lacks_is_named(shop: Shop, deploy: Deploy) -> None:
    shop.model(HEAD + 'event.listen(metadata, "before_create", DDL("CREATE EXTENSION gadget"))\n')
    with pytest.raises(SettingsError, match="scratch database") as caught:
        write(deploy("main", live=False))
    assert 'the scratch server does not have the extension "gadget"' in (caught.value.hint or "")
    assert "--scratch-url URL" in (caught.value.hint or "")
