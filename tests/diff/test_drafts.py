"""What a drafted revision does beside changing the schema: rows, names and repeated runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from circle_migrate.commands.downgrade import LossConfirmation, downgrade
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.core.errors import ExitCode, MigrateError
from circle_migrate.safety.losses.find import find
from circle_migrate.safety.losses.report import LossReport
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
    assert written.notes[1].startswith("main: upgrade() of the new revision failed in a scratch database: ")
    assert "already exists (SQLSTATE 42" in written.notes[1]
    assert written.notes[2:] == (
        "main: downgrade() of the new revision was not tried, because upgrade() fails",
        "main: the new revision is not finished: edit its file, or delete it",
    )
    text = Path(written.revisions[0].path).read_text(encoding="utf-8")
    assert "upgrade() -> None:\n    # DRAFT: this function failed in a scratch database: " in text
    assert "downgrade() -> None:\n    # DRAFT: this function was not tried, because upgrade() fails\n" in text


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


@pytest.mark.thorough
def test_labels_come_first_and_a_draft_that_failed_in_its_middle_runs_again(
    shop: Shop, deploy: Deploy, empty_databases: Databases
) -> None:
    shop.model(HEAD + LABELS.format(**FIRST))
    only_one(write(deploy("main"), "first"))
    run(upgrade(deploy("main")))
    before = look(deploy("main"))
    run(execute(empty_databases, "main", "INSERT INTO parcel (note) VALUES (NULL)"))
    shop.model(HEAD + LABELS.format(**SECOND))
    _, text = only_one(write(deploy("main"), "second"))
    up = text.partition("def upgrade")[2]
    assert up.rindex("ADD VALUE") < up.index('"town"')
    with pytest.raises(MigrateError, match="a part of it was committed"):
        run(upgrade(deploy("main")))
    run(execute(empty_databases, "main", "UPDATE parcel SET note = 'x'"))
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
        'Column("id", BigInteger, Sequence("two"), primary_key=True)',
        "two",
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
    agreeing = LossConfirmation(partial(find, deploy("main")), lambda _: None)
    losses = run(downgrade(deploy("main"), ["main@-1"], confirm=agreeing, dry_run=True))
    assert isinstance(losses, LossReport)
    assert [loss.name for loss in losses.destroyed] == (["main.two"] if case == "another name" else [])
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
