"""Tables of ours that somebody else controls are refused before anything is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from circle_migrate.postgres.search_path import PINNED_LOCALLY
from tests.deployments import RUNS, STEPS, deployment, environment, execute, invoke
from tests.faults.states import rows
from tests.servers import Databases, run

_TRAP = (
    "CREATE TABLE trapped (id int)",
    """CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.trapped VALUES (1); RETURN NEW; END $$""",
)


COMMANDS = ("status", "check --no-pending", "current", "plan", "upgrade", "upgrade --dry-run")
"""Commands that tell or do what an upgrade does."""


@pytest.fixture
def eve(empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A role with CREATE on the schema of main."""
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    role = f"eve_{empty_databases.names['main']}"
    run(execute(empty_databases, "main", f"CREATE ROLE {role}", f"GRANT CREATE ON SCHEMA public TO {role}"))
    yield role
    reassign = f"REASSIGN OWNED BY {role} TO CURRENT_USER"
    run(execute(empty_databases, "main", reassign, f"DROP OWNED BY {role}", f"DROP ROLE {role}"))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (
            ["CREATE TABLE alembic_version (version_num text)", "ALTER TABLE alembic_version OWNER TO {eve}"],
            "{eve}",
        ),
        (["ALTER TABLE circle_migrate.steps OWNER TO {eve}"], "{eve}"),
        (
            [*_TRAP, f"CREATE TRIGGER own AFTER INSERT ON {RUNS} FOR EACH ROW EXECUTE FUNCTION trap()"],
            "trigger own",
        ),
        ([*_TRAP, f"CREATE RULE r AS ON INSERT TO {RUNS} DO ALSO INSERT INTO trapped VALUES (1)"], "rule r"),
        (["ALTER SCHEMA circle_migrate OWNER TO {eve}"], "ALTER SCHEMA"),
        (["CREATE VIEW circle_migrate_protection AS SELECT 1 AS id"], "not an ordinary table"),
        (
            [
                "DROP SCHEMA circle_migrate CASCADE",
                "SET ROLE {eve}",
                "CREATE TABLE circle_migrate_runs (x int)",
            ],
            "circle_migrate_runs, whose owner is {eve}",
        ),
        (
            [
                "DROP SCHEMA circle_migrate CASCADE",
                "SET ROLE {eve}",
                "CREATE TABLE circle_migrate_runs (database jsonb, notes text, outcome int)",
                "CREATE TABLE circle_migrate_steps (database jsonb)",
            ],
            "circle_migrate_runs, whose owner is {eve}",
        ),
        (
            ["SET ROLE {eve}", "CREATE TABLE circle_migrate_protection AS SELECT 1"],
            "circle_migrate_protection, whose owner is {eve}",
        ),
        (
            [
                "CREATE SCHEMA circle_kept CREATE TABLE entries (id int)",
                "ALTER TABLE circle_kept.entries OWNER TO {eve}",
            ],
            "{eve}",
        ),
    ],
)
def test_what_another_role_controls_is_refused(
    eve: str, empty_databases: Databases, statements: list[str], words: str
) -> None:
    if "alembic_version" not in statements[0]:
        assert invoke(["upgrade", "main@+1"]).status == 0
    run(execute(empty_databases, "main", *(statement.replace("{eve}", eve) for statement in statements)))
    answer = invoke(["upgrade"])
    assert (answer.status, words.format(eve=eve) in answer.stderr) == (5, True), answer
    assert "nothing was changed" in answer.stderr
    for line in COMMANDS:
        answer = invoke(line.split())
        assert (answer.status, words.format(eve=eve) in " ".join(answer.everything.split())) == (5, True), (
            line,
            answer,
        )
    if statements[0] == _TRAP[0]:
        check = "DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM trapped); END $$"
        run(execute(empty_databases, "main", check))


PARTITIONED = [
    "ALTER TABLE alembic_version RENAME TO former",
    "CREATE TABLE alembic_version (version_num text) PARTITION BY LIST (version_num)",
    "CREATE TABLE rest PARTITION OF alembic_version DEFAULT",
    "INSERT INTO alembic_version TABLE former",
]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (PARTITIONED, '"public"."alembic_version", whose owner is .*, is not an ordinary table'),
        (
            [*_TRAP, "CREATE TRIGGER t AFTER DELETE ON alembic_version EXECUTE FUNCTION trap()"],
            '"public"."alembic_version", whose owner is .*, has the trigger t',
        ),
        (
            ["CREATE RULE r AS ON UPDATE TO alembic_version DO INSTEAD NOTHING"],
            '"public"."alembic_version", whose owner is .*, has the rule r',
        ),
        (
            [f"CREATE RULE r AS ON UPDATE TO {STEPS} DO INSTEAD NOTHING"],
            '"circle_migrate"."steps", whose owner is .*, has the rule r',
        ),
        (
            ["CREATE SCHEMA circle_kept", "CREATE VIEW circle_kept.entries AS SELECT 1"],
            '"circle_kept"."entries", whose owner is .*, is not an ordinary table',
        ),
    ],
)
def test_commands_have_the_same_words_where_nothing_is_pending(
    migrated_databases: Databases, monkeypatch: pytest.MonkeyPatch, statements: list[str], words: str
) -> None:
    for name, url in environment(migrated_databases).items():
        monkeypatch.setenv(name, url)
    run(execute(migrated_databases, "main", *statements))
    for line in (*COMMANDS, "downgrade main@-1 --yes", "stamp main@head --dry-run", "recover"):
        answer = invoke(line.split())
        text = " ".join(answer.everything.split())
        assert (answer.status, bool(re.search(f"main: {words}", text))) == (5, True), (line, answer)


_CODE = (
    "CREATE FUNCTION code(text) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true'",
    "CREATE FUNCTION same(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true'",
    "CREATE OPERATOR === (leftarg = text, rightarg = text, function = same)",
    "CREATE DOMAIN checked AS text CHECK (code(VALUE))",
    "CREATE TABLE alembic_version (version_num text PRIMARY KEY)",
)
_CALLS = {
    "ALTER TABLE alembic_version ADD extra bool DEFAULT code('')": "function public.code(text)",
    "ALTER TABLE alembic_version ADD CHECK (code(version_num))": "function public.code(text)",
    "ALTER TABLE alembic_version ADD CHECK (version_num === 'a')": "operator public.===(text,text)",
    "ALTER TABLE alembic_version ADD CHECK (version_num::checked <> '')": "type public.checked",
    "CREATE INDEX ON alembic_version (code(version_num))": "function public.code(text)",
    "CREATE POLICY p ON alembic_version WITH CHECK (code(version_num))": "function public.code(text)",
}
"""What is done to a table, and what it calls afterwards."""


def test_table_that_another_role_has_given_away_calls_nothing_of_it(
    eve: str, empty_databases: Databases
) -> None:
    main = deployment(empty_databases).databases["main"]
    give = ("RESET ROLE", "ALTER TABLE alembic_version OWNER TO CURRENT_USER")

    async def called() -> list[str | None]:
        found = []
        async with main.connected() as connection:
            for statement in _CALLS:
                await connection.execute("BEGIN; SET LOCAL search_path = public")
                for text in (f"SET LOCAL ROLE {eve}", *_CODE, statement, *give, PINNED_LOCALLY):
                    await connection.execute(text)
                table = (await main.read_state(connection)).unsafe_table
                found.append(table.called if table else None)
                await connection.execute("ROLLBACK")
        return found

    assert run(called()) == list(_CALLS.values())
    run(execute(empty_databases, "main", f"SET ROLE {eve}", *_CODE, next(iter(_CALLS)), *give))
    answer = invoke(["upgrade", "--into-existing"])
    assert (answer.status, "calls function public.code(text)" in answer.stderr) == (5, True), answer


@pytest.mark.parametrize("has_version_table", [True, False])
def test_role_that_writes_one_of_the_tables_is_told_of_the_others(
    eve: str, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, *, has_version_table: bool
) -> None:
    statements = [f"CREATE ROLE {eve}_owner", f"ALTER ROLE {eve} LOGIN"]
    if has_version_table:
        assert invoke(["upgrade", "main@+1"]).status == 0
        statements += [
            f"GRANT USAGE ON SCHEMA circle_migrate TO {eve}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA circle_migrate TO {eve}",
            f"GRANT ALL ON alembic_version TO {eve}",
            f"ALTER TABLE {RUNS} OWNER TO {eve}_owner",
        ]
    else:
        statements.append(f"CREATE SCHEMA circle_migrate AUTHORIZATION {eve}_owner")
    run(execute(empty_databases, "main", *statements))
    try:
        url = re.sub("//[^@/]*@", f"//{eve}@", environment(empty_databases)["DATABASE_URL"])
        monkeypatch.setenv("DATABASE_URL", url)
        for line in COMMANDS:
            answer = invoke(line.split())
            assert (answer.status, f"{eve}_owner" in answer.everything) == (5, True), (line, answer)
    finally:
        reassign = f"REASSIGN OWNED BY {eve}_owner TO CURRENT_USER"
        run(execute(empty_databases, "main", reassign, f"DROP ROLE {eve}_owner"))


def test_role_that_only_reads_has_no_finding(
    eve: str, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke(["upgrade", "main@+1"]).status == 0
    grants = "USAGE ON SCHEMA circle_migrate", "SELECT ON ALL TABLES IN SCHEMA circle_migrate, public"
    owner = f"{eve}_owner"
    statements = [f"CREATE ROLE {owner}", f"ALTER TABLE {RUNS} OWNER TO {owner}", f"ALTER ROLE {eve} LOGIN"]
    run(execute(empty_databases, "main", *statements, *(f"GRANT {grant} TO {eve}" for grant in grants)))
    try:
        assert invoke(["status"]).status == 5
        url = re.sub("//[^@/]*@", f"//{eve}@", environment(empty_databases)["DATABASE_URL"])
        monkeypatch.setenv("DATABASE_URL", url)
        assert invoke(["status"]).status == 0
        run(execute(empty_databases, "main", f"ALTER TABLE {RUNS} OWNER TO CURRENT_USER"))
        answer = invoke(["recover"])
        assert answer.status == 9, answer
        assert 'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "circle_migrate".runs TO' in answer.stderr
    finally:
        reassign = f"REASSIGN OWNED BY {owner} TO CURRENT_USER"
        run(execute(empty_databases, "main", reassign, f"DROP ROLE {owner}"))


def test_roles_that_the_migrator_trusts_may_own_the_tables(eve: str, empty_databases: Databases) -> None:
    assert invoke(["upgrade", "main@+1"]).status == 0
    owner = f"ALTER TABLE {RUNS} OWNER TO {eve}"
    run(execute(empty_databases, "main", owner, f"GRANT {eve} TO CURRENT_USER"))
    assert invoke(["upgrade", "main@+1"]).status == 0


MOVES = [f"ALTER TABLE circle_migrate.{name} SET SCHEMA {{}}" for name in ("steps", "runs")]


def test_journal_that_was_moved_by_hand(eve: str, empty_databases: Databases) -> None:
    trap = [*_TRAP, "CREATE TRIGGER own AFTER INSERT ON trapped EXECUTE FUNCTION trap()"]
    assert invoke(["upgrade", "main@+1"]).status == 0
    run(execute(empty_databases, "main", *trap, *(move.format("public") for move in MOVES)))
    assert invoke(["upgrade", "main@+1"]).status == 0
    (place,) = run(rows(empty_databases, "main", f"SELECT '{RUNS}'::regclass::text"))
    assert place == (RUNS,)

    schema = f"CREATE SCHEMA stray AUTHORIZATION {eve}"
    run(execute(empty_databases, "main", schema, *(move.format("stray") for move in MOVES)))
    answer = invoke(["upgrade", "main@+1"])
    assert answer.status == 5, answer
    assert 'ALTER TABLE "stray".runs SET SCHEMA "circle_migrate";' in answer.stderr
    assert "OWNER TO" not in answer.stderr


@pytest.mark.thorough
def test_recover_and_restore_refuse_them_too(eve: str, empty_databases: Databases, tmp_path: Path) -> None:
    assert invoke(["upgrade"]).status == 0
    assert invoke(["backup", str(tmp_path)]).status == 0
    run(execute(empty_databases, "main", f"ALTER TABLE {RUNS} OWNER TO {eve}"))
    accept = ["--accept-loss", "main", "--accept-loss", "credentials"]
    manifest = next(tmp_path.rglob("manifest.json"))
    for command in (["recover"], ["restore", str(manifest), "--replace", *accept]):
        answer = invoke(command)
        assert (answer.status, eve in answer.stderr) == (5, True), answer
        assert "nothing was changed" in answer.stderr


COLUMNS = (
    "number, run, revision, kind, schema_name, object_name, side_table, keys, columns, rows, created_at,"
    " state, position, restored, missing"
)
WITH_POLICIES = (
    f"TABLE {{0}} ({COLUMNS.replace(',', ' text,')} text); ALTER TABLE {{0}} ENABLE ROW LEVEL SECURITY;"
    " CREATE POLICY trap ON {0} USING (public.trap() = 1)"
)


@pytest.mark.parametrize(
    "entries", ["VIEW {} AS SELECT public.trap() AS number", "TABLE {} (number int)", WITH_POLICIES]
)
def test_kept_entries_of_another_role_are_not_read(
    eve: str, empty_databases: Databases, entries: str
) -> None:
    trap = "CREATE FUNCTION public.trap() RETURNS int LANGUAGE sql AS 'SELECT 1 / 0'"
    schema = f"CREATE SCHEMA circle_kept AUTHORIZATION {eve}"
    create = f"CREATE {entries.format('circle_kept.entries')}"
    run(execute(empty_databases, "main", schema, f"SET ROLE {eve}", trap, create))
    answer = invoke(["kept", "list"])
    assert (answer.status, "circle_kept.entries is of another" in answer.stderr) == (5, True), answer


@pytest.mark.thorough
def test_journal_without_its_steps(eve: str, empty_databases: Databases) -> None:
    assert invoke(["upgrade"]).status == 0
    run(execute(empty_databases, "main", f"DROP TABLE {STEPS}"))
    for command in (["status"], ["check"], ["log"], ["upgrade"], ["downgrade", "main@-1"]):
        answer = invoke(command)
        assert answer.status == 5, answer
        assert 'DROP TABLE "circle_migrate".runs' in answer.everything
    run(execute(empty_databases, "main", 'DROP TABLE "circle_migrate".runs'))
    assert invoke(["check"]).status == 0
    assert invoke(["downgrade", "main@-1", "--yes"]).status == 0


@pytest.mark.parametrize("names", [["runs"], ["runs", "steps"]])
def test_tables_of_another_application_in_the_schema_of_the_journal(
    eve: str, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    tables = [f"CREATE TABLE app.{name} (id int)" for name in names]
    run(execute(empty_databases, "main", "CREATE SCHEMA app", *tables))
    monkeypatch.setenv("CIRCLE_MIGRATE_MAIN_JOURNAL_SCHEMA", "app")
    assert invoke(["snapshot", "-d", "main", "-o", "main.json"]).status == 5
    answer = invoke(["upgrade"])
    assert answer.status == 5, answer
    assert "if the table is another application's, set journal-schema to" in answer.stderr
