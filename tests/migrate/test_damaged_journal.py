"""Rows of the journal that were changed by hand are refused with the table, the run and a statement."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deployments import RUNS, STEPS, environment, execute, invoke, project_folder
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.servers import Databases, run

__all__ = ["project_folder"]

NOTE = '{"revision": "m2", "direction": "up", "after": 1, "stays": ["a"]}'
NOTES = [
    "5",
    "null",
    "{}",
    "[5]",
    NOTE.replace('"up"', '"sideways"'),
    NOTE.replace('"m2"', '["m2"]'),
    NOTE.replace("1", '"x"'),
    NOTE.replace('["a"]', "5"),
    NOTE.replace('["a"]', "[5]"),
]
VALUES = {
    RUNS: [
        *(("planned", value) for value in ("NULL", "'null'", "'[]'", """'{"main": 5}'""")),
        *(("notes", value) for value in ("NULL", "'5'", "'[]'", """'{"safety": 5}'""")),
        *(("started_at", value) for value in ("NULL", "'infinity'", "'0044-03-15 BC'")),
        *((column, "NULL") for column in ("database", "command", "mode", "db_role", "tool_version")),
        *(("outcome", value) for value in ("NULL", "'other'")),
    ],
    STEPS: [
        *(("elsewhere", value) for value in ("NULL", "'5'", """'{"credentials": 5}'""")),
        *(("duration_ms", value) for value in ("NULL", "'NaN'", "'infinity'", "1e300")),
        *((column, "NULL") for column in ("segment", "revision", "message", "started_at")),
        *(("direction", value) for value in ("NULL", "'other'")),
    ],
}


@pytest.fixture
def key(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a run that has failed after the first of two steps."""
    for name, url in (environment(empty_databases) | {"CIRCLE_MIGRATE_SAFETY": "off"}).items():
        monkeypatch.setenv(name, url)
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE t ()"], ["DROP TABLE t"])
    shop.add("main", "m2", "m1", ["CREATE TABLE u ()", "SELECT 1 / 0"], [], more="transactional = False")
    shop.add("credentials", "c1", None, [], [])
    assert invoke(["upgrade"]).status == 8
    (row,) = run(rows(empty_databases, "main", f"SELECT run::text FROM {RUNS}"))
    return str(row[0])


def refused(lines: list[str], key: str, text: str) -> str:
    """Run the commands, which refuse the run; return the statements of the hint."""
    for line in lines:
        answer = invoke(line.split())
        words = " ".join(answer.everything.split())
        assert answer.status == 5, (text, line, answer)
        assert f"run {key}" in words, (text, line, answer)
        assert "circle_migrate" in words, (text, line, answer)
    return words.partition(": UPDATE ")[2] or words.partition("journal: ")[2]


def test_note_of_an_unfinished_step(empty_databases: Databases, key: str) -> None:
    for value in NOTES:
        note = f"UPDATE {RUNS} SET notes = jsonb_build_object('unfinished', '{value}'::jsonb)"
        run(execute(empty_databases, "main", note))
        refused(["log", "upgrade"] if value in NOTES[::4] else ["log"], key, value)
    statement = refused(["status", "check", "wait --timeout 0", "plan"], key, "all")
    run(execute(empty_databases, "main", "UPDATE " + statement.partition(";")[0]))
    assert invoke(["status"]).status == 0


@pytest.mark.thorough
@pytest.mark.parametrize("table", VALUES)
def test_values(empty_databases: Databases, key: str, table: str) -> None:
    nullable = f"""DO $$ DECLARE column_name name; BEGIN
    CREATE TABLE saved AS TABLE {table};
    FOR column_name IN SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass
        AND attnum > 0 AND attname NOT IN ('id', 'run') LOOP
        EXECUTE format('ALTER TABLE {table} ALTER %I DROP NOT NULL', column_name);
    END LOOP;
    ALTER TABLE {RUNS} DROP CONSTRAINT runs_outcome_check;
    ALTER TABLE {STEPS} DROP CONSTRAINT steps_direction_check;
    END $$"""
    run(execute(empty_databases, "main", nullable))
    for column, value in VALUES[table]:
        restore = f"UPDATE {table} SET {column} = (SELECT {column} FROM saved)"
        run(execute(empty_databases, "main", f"UPDATE {table} SET {column} = {value}"))
        statement = refused(["log"], key, f"{column} = {value}")
        run(execute(empty_databases, "main", restore))
    for line in ("log", "status", "downgrade --to-time 2020-01-01 --dry-run"):
        assert invoke(line.split()).status in {0, 8}, line
    run(execute(empty_databases, "main", statement))
    assert "no run" in invoke(["log", "-d", "main"]).stdout


CHANGES = [
    (
        f"INSERT INTO {RUNS} SELECT NULL, database, command, mode, planned, 'started' FROM {RUNS}",
        "run is None",
    ),
    (f"UPDATE {RUNS} SET run = NULL", "run is None"),
    (f"UPDATE {RUNS} SET database = NULL", "database is None"),
    (f"UPDATE {STEPS} SET run = NULL", "run is None"),
    (f"UPDATE {STEPS} SET id = NULL", "id is None"),
    (f"UPDATE {STEPS} SET duration_ms = NULL", "duration_ms is None"),
    ("UPDATE circle_migrate.protection SET protected_at = NULL", "protected_at is None"),
    ("UPDATE circle_migrate.protection SET protected_at = 'infinity'", "protected_at is 'infinity'"),
    (f"ALTER TABLE {RUNS} DROP COLUMN mode", "has no column mode of the type text"),
    (f"ALTER TABLE {RUNS} ALTER planned TYPE text", "has no column planned of the type jsonb"),
    (f"ALTER TABLE {STEPS} DROP COLUMN source", "has no column source of the type text"),
    (f"ALTER TABLE {STEPS} RENAME segment TO part", "has no column segment of the type int4"),
    ("ALTER TABLE circle_migrate.protection DROP COLUMN host", "has no column host of the type text"),
]
COMMANDS = (
    "log",
    "status",
    "check",
    "plan",
    "current",
    "upgrade",
    "recover",
    "downgrade main@base --dry-run",
)


@pytest.mark.thorough
def test_tables_without_their_constraints(empty_databases: Databases, key: str) -> None:
    assert invoke(["protect", "-d", "main"]).status == 0
    tables = (RUNS, STEPS, "circle_migrate.protection")
    run(
        execute(
            empty_databases, "main", *(f"CREATE TABLE {t.partition('.')[2]} AS TABLE {t}" for t in tables)
        )
    )
    copy = [f"DROP TABLE {t} CASCADE; CREATE TABLE {t} AS TABLE {t.partition('.')[2]}" for t in tables]
    for number, (change, words) in enumerate(CHANGES):
        run(execute(empty_databases, "main", *copy, change))
        (table,) = (name for name in tables if name in change.partition("SELECT")[0])
        for line in ("log", COMMANDS[number % len(COMMANDS)]):
            answer = invoke(line.split())
            text = " ".join(answer.everything.replace('"', "").split())
            assert (answer.status, words in text, table in text) == (5, True, True), (change, line, answer)
    run(execute(empty_databases, "main", *copy))
    assert key[:8] in invoke(["log"]).stdout
