"""The journal of successful and failed runs, and the commands that never write it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from circle_migrate.core.errors import MigrateError, MigrationFailed
from circle_migrate.core.events import Event, EventKind
from circle_migrate.migrate.journal import Journal
from circle_migrate.revision_graph.plan import Direction
from tests.deployments import RUNS, STEPS, Answer, environment, execute, invoke, versions
from tests.faults.processes import started
from tests.faults.shop import BASE, HEAD, HEADS, Shop
from tests.faults.states import everything, outcomes, position, rows, steps
from tests.servers import NAMES, Databases, run

NO_JOURNAL = [(None,)]


@pytest.fixture
def command(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Run the command on the test's databases."""
    for variable, url in environment(databases).items():
        monkeypatch.setenv(variable, url)
    return lambda *arguments: invoke(arguments)


@pytest.mark.parametrize("direction", [Direction.UP, Direction.DOWN])
def test_step_is_recorded_in_its_own_transaction(
    own_shop: Shop, databases: Databases, direction: Direction
) -> None:
    marked = "CREATE TABLE IF NOT EXISTS witness AS SELECT pg_current_xact_id()::text AS transaction"
    own_shop.add("main", "m1", None, [marked], ["DROP TABLE witness", marked])
    own_shop.add("credentials", "c1", None, [marked], ["DROP TABLE witness", marked])
    run(own_shop.upgrade(databases))
    if direction is Direction.DOWN:
        run(own_shop.downgrade(databases))
    for name in NAMES:
        written = run(rows(databases, name, f"SELECT xmin::text FROM {STEPS} ORDER BY id DESC LIMIT 1"))
        assert written == run(rows(databases, name, "SELECT transaction FROM witness"))


def test_step_row_is_complete(shop: Shop, databases: Databases) -> None:
    run(shop.upgrade(databases))
    fractions = f"SELECT bool_and(duration_ms > 0 AND duration_ms <> floor(duration_ms)) FROM {STEPS}"
    assert run(rows(databases, "main", fractions)) == [(True,)]
    asked = "command, mode, outcome, error, db_role = current_user, ended_at >= started_at"
    assert run(rows(databases, "main", f"SELECT {asked} FROM {RUNS}")) == [
        ("upgrade", "serial", "done", None, True, True)
    ]
    assert len({row for name in NAMES for row in run(rows(databases, name, f"SELECT run FROM {RUNS}"))}) == 1
    asked = "elsewhere::text, source, encode(sha256(source::bytea), 'hex') = checksum"
    first, _ = run(rows(databases, "credentials", f"SELECT {asked} FROM {STEPS} ORDER BY id"))
    source = (shop.versions("credentials") / "c1.py").read_text(encoding="utf-8")
    assert (json.loads(first[0]), first[1], first[2]) == ({"main": ["m2"]}, source, True)


def test_failed_run_is_recorded_without_steps(own_shop: Shop, databases: Databases) -> None:
    own_shop.write_standard_trees()
    run(own_shop.upgrade(databases))
    run(
        execute(
            databases, "credentials", "INSERT INTO secrets SELECT 1, 'tell-nobody' FROM generate_series(1, 2)"
        )
    )
    own_shop.add("credentials", "c3", "c2", ["CREATE UNIQUE INDEX ix ON secrets (hash)"], [])
    own_shop.add("main", "m3", "m2", ["ALTER TABLE people ADD more text"], [])
    with pytest.raises(MigrationFailed) as caught:
        run(own_shop.upgrade(databases))
    assert "tell-nobody" not in str(caught.value.to_dict())
    assert caught.value.state == "main is at m2, credentials is at c2"
    for name in NAMES:
        (error,) = run(rows(databases, name, f"SELECT error FROM {RUNS} WHERE outcome = 'failed'"))[0]
        assert "upgrade c3 Revision c3 failed" in error
        assert "23505" in error
        assert "tell-nobody" not in error
    assert run(steps(databases)) == {name: [("up", key) for key in keys] for name, keys in HEADS.items()}


def test_log_writes_errors_as_a_run_does(
    own_shop: Shop, databases: Databases, command: Callable[..., Answer]
) -> None:
    own_shop.add("main", "m1", None, ["SELECT 1 / 0"], [])
    assert command("upgrade", "-d", "main").status == 10
    own_shop.add("main", "m1", None, [], [])
    assert command("stamp", "main@m1", "--yes").status == 0
    run(execute(databases, "main", f"UPDATE {STEPS} SET duration_ms = 0"))
    lines = command("log", "-d", "main").stdout.splitlines()
    assert [line.split(", as ")[0] for line in (lines[1], lines[3])] == [
        "  main: done, 1 of 1 step, -",
        "  main: failed, 0 of 1 step, -",
    ]
    assert lines[4] == "    main: upgrade m1 Revision m1 failed"
    assert lines[5] == "    server division by zero (SQLSTATE 22012); in: SELECT 1 / 0"
    assert command("log", "--slowest").stdout.splitlines()[1].startswith("- ")


def test_process_that_a_revision_ends_is_reported_by_the_next_run(
    own_shop: Shop, databases: Databases, command: Callable[..., Answer]
) -> None:
    own_shop.revision("main", "m1", None, "import os; os._exit(0)", "pass")
    with started(databases, own_shop.folder, "upgrade", "-d", "main") as process:
        assert process.end().status == 0
    assert "never ended" in command("status").stdout
    own_shop.add("main", "m1", None, [], [])
    answer = command("upgrade", "-d", "main")
    ((key,),) = run(rows(databases, "main", f"SELECT run::text FROM {RUNS} WHERE outcome = 'lost'"))
    assert f"main: run {key[:8]} never ended" in answer.stderr


def test_hint_of_an_unknown_revision_promises_no_source(
    own_shop: Shop, databases: Databases, command: Callable[..., Answer]
) -> None:
    own_shop.add("main", "m1", None, [], [])
    assert command("upgrade", "-d", "main").status == 0
    run(execute(databases, "main", "UPDATE alembic_version SET version_num = 'm9'"))
    answer = command("upgrade")
    assert answer.status == 7
    assert "if a run here has applied it:\n           circle-migrate log --source m9\n" in answer.stderr


PASSWORD = "p4ss%2Fw0rd"
TELL_TALE = """
url = os.environ['CREDS_DATABASE_URL']
raise RuntimeError(url + ' ' + unquote(url) + ' is all I know')
"""


def test_failed_run_is_recorded_without_password(own_shop: Shop, databases: Databases) -> None:
    own_shop.add("main", "m1", None, [], [])
    own_shop.revision(
        "credentials",
        "c1",
        None,
        TELL_TALE,
        "pass",
        imports="import os\nfrom urllib.parse import unquote",
    )
    secret = _WithPassword(databases.server, dict(databases.names))
    with started(secret, own_shop.folder, "upgrade", "--debug") as process:
        answer = process.end()
    (error,) = run(rows(databases, "main", f"SELECT error FROM {RUNS}"))[0]
    assert answer.status == 10, answer
    for text in (error, answer.everything):
        assert "is all I know" in text
        assert PASSWORD not in text
        assert PASSWORD.replace("%2F", "/") not in text


class _WithPassword(Databases):
    """Databases whose URLs have a password that the server does not require."""

    @property
    def urls(self) -> dict[str, str]:
        return {name: url.replace("postgres@", f"postgres:{PASSWORD}@") for name, url in super().urls.items()}


def test_edited_revision_is_refused_with_a_diff_unless_allowed(
    own_shop: Shop, databases: Databases, command: Callable[..., Answer]
) -> None:
    own_shop.write_standard_trees()
    assert command("upgrade", "main@m1").status == 0
    file = own_shop.versions("main") / "m1.py"
    applied = file.read_text(encoding="utf-8")
    file.write_bytes(applied.replace("\n", "\r\n").encode())
    assert command("upgrade", "credentials@c1").status == 0
    file.write_text(applied.replace("id integer", "id bigint"), encoding="utf-8")

    refused = command("upgrade")
    assert refused.status == 5
    assert "m1 was edited after it was applied" in refused.stderr
    assert "-    op.execute('CREATE TABLE people (id integer)')" in refused.stderr
    assert "+    op.execute('CREATE TABLE people (id bigint)')" in refused.stderr
    assert run(steps(databases)) == {"main": [("up", "m1")], "credentials": [("up", "c1")]}

    for beginning in "m1", "m":
        shown = command("log", "--source", beginning)
        assert (shown.status, applied.strip() in shown.stdout) == (0, True)
    assert "several revisions begin with '': m1, c1" in command("log", "--source", "").stderr
    assert command("upgrade", "--allow-edited").status == 0
    assert run(position(databases)) == HEAD


@pytest.mark.thorough
def test_revision_undone_and_edited_may_be_applied_again(
    own_shop: Shop, databases: Databases, command: Callable[..., Answer]
) -> None:
    own_shop.write_standard_trees()
    assert command("upgrade").status == 0
    assert command("downgrade", "main@m1", "--yes").status == 0
    own_shop.add("main", "m2", "m1", ["ALTER TABLE people ADD name varchar(9)"], [])
    assert command("upgrade").status == 0
    assert run(steps(databases))["main"] == [("up", "m1"), ("up", "m2"), ("down", "m2"), ("up", "m2")]


def as_plain_alembic_left_them(databases: Databases) -> None:
    """Both databases at their first revision, without a journal."""
    for name, table, key in (("main", "people", "m1"), ("credentials", "secrets", "c1")):
        run(
            execute(
                databases,
                name,
                f"CREATE TABLE {table} (id integer)",
                "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
                f"INSERT INTO alembic_version VALUES ('{key}')",
            )
        )


READING = [
    ("current",),
    ("history", "-i"),
    ("history",),
    ("heads",),
    ("log",),
    ("log", "--slowest"),
    ("plan",),
    ("plan", "--format", "json"),
    ("upgrade", "--dry-run"),
    ("upgrade", "--sql"),
    ("downgrade", "base", "--dry-run"),
    ("recover", "--dry-run"),
]


@pytest.mark.parametrize("first", ["empty", pytest.param("plain alembic", marks=pytest.mark.thorough)])
def test_reading_commands_create_no_journal(
    shop: Shop, databases: Databases, command: Callable[..., Answer], first: str, subtests: pytest.Subtests
) -> None:
    if first != "empty":
        as_plain_alembic_left_them(databases)
    before = (run(everything(databases)), run(versions(databases)))
    for arguments in READING:
        with subtests.test(arguments=arguments):
            answer = command(*arguments)
            assert answer.status in (0, 3), answer
            assert (run(everything(databases)), run(versions(databases))) == before


@pytest.mark.thorough
def test_database_without_a_journal_gets_one_with_its_first_step(
    shop: Shop, databases: Databases, command: Callable[..., Answer]
) -> None:
    as_plain_alembic_left_them(databases)
    assert command("upgrade").status == 0
    assert run(position(databases)) == HEAD
    assert run(steps(databases)) == {"main": [("up", "m2")], "credentials": [("up", "c2")]}
    assert run(outcomes(databases)) == {"main": ["done"], "credentials": ["done"]}
    assert command("downgrade", "base", "--yes").status == 0


def test_empty_plan_creates_no_journal(
    own_shop: Shop, databases: Databases, command: Callable[..., Answer]
) -> None:
    own_shop.add("main", "m1", None, [], [])
    own_shop.add("credentials", "c1", None, [], [])
    as_plain_alembic_left_them(databases)
    assert command("upgrade").status == 0
    assert run(rows(databases, "main", f"SELECT to_regclass('{RUNS}')")) == NO_JOURNAL


MODELS = """
from sqlalchemy import Column, Integer, MetaData, Table, Text

main, credentials = MetaData(), MetaData()
Table("people", main, Column("id", Integer), Column("name", Text))
Table("secrets", credentials, Column("id", Integer), Column("hash", Text))
"""


def test_comparison_ignores_the_journal(
    own_shop: Shop,
    databases: Databases,
    command: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", databases.server.admin_url)
    own_shop.write_standard_trees()
    own_shop.write("shop/models.py", MODELS)
    settings = own_shop.folder / "pyproject.toml"
    text = settings.read_text(encoding="utf-8")
    for name in NAMES:
        line = f'revisions = "migrations/{name}"'
        text = text.replace(line, f'{line}\nmodels = "shop.models:{name}"')
    settings.write_text(text, encoding="utf-8")
    assert command("upgrade").status == 0
    files = set(own_shop.folder.rglob("*.py"))
    for name in NAMES:
        assert command("revision", "--autogenerate", "-m", "changes", "--database", name).status == 0
    assert not [
        path for path in _new(own_shop, files) if "circle_migrate_" in path.read_text(encoding="utf-8")
    ]


def _new(shop: Shop, files: set[Path]) -> set[Path]:
    return set(shop.folder.rglob("*.py")) - files


@pytest.mark.parametrize("outcome", ["interrupted", "failed"])
def test_run_that_ends_while_it_is_recorded(
    shop: Shop, databases: Databases, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    original = Journal.start_run

    async def start_run(self: Journal, connection: asyncpg.Connection, *values: Any) -> None:
        if self.database.name == "credentials":
            if outcome == "failed":
                raise asyncpg.LockNotAvailableError("canceling statement due to lock timeout")
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        await original(self, connection, *values)

    monkeypatch.setattr(Journal, "start_run", start_run)
    with pytest.raises((asyncio.CancelledError, KeyboardInterrupt, MigrateError, asyncpg.PostgresError)):
        run(shop.upgrade(databases))
    assert run(outcomes(databases))["main"] == [outcome]
    assert run(position(databases)) == BASE


def test_signal_while_the_steps_are_announced(shop: Shop, databases: Databases) -> None:
    def notify(event: Event) -> None:
        if event.kind is EventKind.PLANNED and event.database == "credentials":
            raise KeyboardInterrupt  # as from a signal while Python is busy

    with pytest.raises(KeyboardInterrupt):
        run(shop.upgrade(databases, notify=notify))
    assert run(outcomes(databases)) == {"main": ["interrupted"], "credentials": ["interrupted"]}
    run(shop.upgrade(databases))
    assert run(position(databases)) == HEAD
