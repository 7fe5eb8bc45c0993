"""What a drafted revision does beside changing the schema: rows, names and repeated runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.commands.downgrade import downgrade
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.core.errors import ExitCode, MigrateError
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
