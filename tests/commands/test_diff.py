"""diff, snapshot and check --drift: all sides and exit statuses, no finding without a difference."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from circle_migrate.commands.check import check
from circle_migrate.commands.diff import DRIFT, GRANT_FIELDS, MISSING, diff
from circle_migrate.commands.snapshot import take_snapshots
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.config.load import load
from circle_migrate.config.url.parse import parse
from circle_migrate.core.errors import ExitCode, MigrateError, UsageError
from circle_migrate.core.findings import Severity
from circle_migrate.diff.compare import CompareOptions, compare
from circle_migrate.diff.equivalence import checks_for, equal_by_server, equal_by_text
from circle_migrate.diff.expected.expected import expected
from circle_migrate.diff.result import Comparison, DiffResult
from circle_migrate.diff.scope import ChangeSet, EquivalenceAnswers
from circle_migrate.postgres.catalog.read import read_catalog
from circle_migrate.postgres.catalog.snapshot import ObjectKey, Snapshot
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.embedded.binaries import find
from circle_migrate.postgres.scratch.pool import ScratchServers
from tests.commands import model_variants
from tests.deployments import VARIABLES, environment, execute, invoke
from tests.diff import drift
from tests.projects import Project
from tests.servers import NAMES, Databases, run


def on(databases: Databases, only: str | None = None) -> Deployment:
    """Return the package's revisions on these databases, with scratch databases on the same server."""
    settings = load(environ=environment(databases))
    place = parse(databases.server.admin_url, source="the test")
    return Deployment(settings.model_copy(update={"scratch_url": place}), only)


def reported(result: DiffResult) -> set[tuple[str | None, str, str | None, str]]:
    return {
        (finding.database, finding.rule, finding.subject, str(finding.severity))
        for finding in result.findings
    }


@pytest.mark.thorough
def test_nothing_differs_at_any_revision(empty_databases: Databases) -> None:
    """Upgrades one by one and at once give the same catalog, which the models match."""
    deployed = on(empty_databases)
    assert reported(run(diff(deployed))) == set()
    run(step_by_step(deployed, empty_databases))
    result = run(diff(deployed))
    assert (reported(result), [comparison.pending for comparison in result.comparisons]) == (set(), [0, 0])
    for sides in (MISSING, ("models", "live"), ("live", "models")):
        assert reported(run(diff(deployed, sides))) == set()


async def step_by_step(deployed: Deployment, databases: Databases) -> None:
    """Upgrade both to their heads, and compare with the expected catalog after every revision."""
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(ScratchServers(deployed))
        connections = {
            name: await stack.enter_async_context(drift.capturing(url))
            for name, url in databases.urls.items()
        }
        states = await deployed.states()
        while unfinished := [
            name for name in NAMES if states[name].current != deployed.graphs[name].effective_heads
        ]:
            await upgrade(deployed, [f"{name}@+1" for name in unfinished])
            states = await deployed.states()
            for name in unfinished:
                live = await drift.take(connections[name])
                at = states[name].current
                made = await expected(deployed, name, at, live.major, servers=servers)
                assert (at, made.snapshot.digest) == (at, live.digest)


def test_pending_revisions_are_counted_and_no_drift(empty_databases: Databases) -> None:
    deployed = on(empty_databases)
    run(upgrade(deployed, ["main@f4e7d8b9c123"]))
    result = run(diff(deployed))
    assert result.exit_code is ExitCode.DONE
    graphs = deployed.graphs
    done = len(graphs["main"].ancestors(["f4e7d8b9c123"]))
    assert [comparison.pending for comparison in result.comparisons] == [
        len(graphs["main"].revisions) - done,
        len(graphs["credentials"].revisions),
    ]
    ahead = run(diff(deployed, ("live", "revisions")))
    assert ahead.exit_code is ExitCode.DRIFT
    assert {finding.rule for finding in ahead.findings} == {"drift"}


DRIFTS: list[tuple[str, str, str, str, str]] = [
    ("index", "main", "DROP INDEX ix_users_email", "index public.ix_users_email", "error"),
    ("extra table", "main", "CREATE TABLE spare (id int PRIMARY KEY)", "table public.spare", "error"),
    ("grant on main", "main", "GRANT SELECT ON users TO public", "table public.users", "note"),
    (
        "grant on credentials",
        "credentials",
        "GRANT SELECT ON user_credentials TO public",
        "table public.user_credentials",
        "error",
    ),
    (
        "row level security",
        "credentials",
        "ALTER TABLE user_credentials ENABLE ROW LEVEL SECURITY",
        "table public.user_credentials",
        "error",
    ),
    ("comment", "main", "COMMENT ON TABLE users IS 'people'", "table public.users", "note"),
]


def test_each_drift_is_found_once_and_weighed_by_the_profile(migrated_databases: Databases) -> None:
    for _, name, statement, _, _ in DRIFTS:
        run(execute(migrated_databases, name, statement))
    result = run(diff(on(migrated_databases)))
    assert result.exit_code is ExitCode.DRIFT
    weights = {"note": 0, "error": 1}
    expected: dict[tuple[str, str], str] = {}
    for _, name, _, subject, severity in DRIFTS:
        expected[name, subject] = max(
            expected.get((name, subject), "note"), severity, key=weights.__getitem__
        )
    assert {
        (finding.database, finding.subject): str(finding.severity) for finding in result.findings
    } == expected
    only = run(diff(on(migrated_databases, "credentials")))
    assert {finding.database for finding in only.findings} == {"credentials"}


def test_settings_and_options_decide_what_fails(migrated_databases: Databases) -> None:
    run(execute(migrated_databases, "main", "GRANT SELECT ON users TO public"))
    deployed = on(migrated_databases, "main")
    assert run(diff(deployed)).exit_code is ExitCode.DONE
    assert (
        run(diff(deployed, options=CompareOptions(always_error=frozenset(GRANT_FIELDS)))).exit_code
        is ExitCode.DRIFT
    )
    strict = {
        name: database.model_copy(update={"profile": "strict"})
        for name, database in deployed.settings.databases.items()
    }
    asked = Deployment(deployed.settings.model_copy(update={"databases": strict}), "main")
    assert run(diff(asked)).exit_code is ExitCode.DRIFT


def test_what_prevents_one_comparison_does_not_hide_the_other(migrated_databases: Databases) -> None:
    run(execute(migrated_databases, "main", "DROP INDEX ix_users_email"))
    deployed = on(migrated_databases)
    gone = parse("postgresql://nobody@127.0.0.1:1/gone?connect_timeout=2", source="the test")
    databases = {
        name: database.model_copy(update={"url": gone}) if name == "credentials" else database
        for name, database in deployed.settings.databases.items()
    }
    result = run(diff(Deployment(deployed.settings.model_copy(update={"databases": databases}))))
    assert result.exit_code is ExitCode.UNREACHABLE
    assert reported(result) == {
        ("main", "drift", "index public.ix_users_email", "error"),
        ("credentials", "unreachable", None, "error"),
    }
    assert [comparison.database for comparison in result.comparisons] == ["main"]


@pytest.mark.parametrize(
    ("version", "rule", "code"),
    [
        ("feedfacecafe", "unknown-revision", ExitCode.AHEAD),
        ("1e978f7e8aa5", "wrong-database", ExitCode.REFUSED),
    ],
)
def test_a_database_at_no_known_revision_is_never_without_drift(
    migrated_databases: Databases, version: str, rule: str, code: ExitCode
) -> None:
    run(execute(migrated_databases, "main", f"UPDATE alembic_version SET version_num = '{version}'"))
    result = run(diff(on(migrated_databases)))
    assert {(finding.database, finding.rule) for finding in result.findings} == {("main", rule)}
    assert result.exit_code is code
    assert all(finding.is_inconclusive for finding in result.findings)


def test_connect_is_enough_where_the_revision_is_named(migrated_databases: Databases) -> None:
    token = migrated_databases.names["main"][-12:]
    role = f"looker_{token}"
    run(execute(migrated_databases, "main", f"CREATE ROLE {role} LOGIN"))
    try:
        deployed = on(migrated_databases)
        urls = {
            VARIABLES[name]: url.replace("postgres@", f"{role}@", 1)
            for name, url in migrated_databases.urls.items()
        }
        settings = load(environ=urls).model_copy(update={"scratch_url": deployed.settings.scratch_url})
        result = run(diff(Deployment(settings), ("revisions", "live")))
        assert reported(result) == set()
        assert len(result.comparisons) == len(NAMES)
        unread = run(diff(Deployment(settings)))
        assert {finding.rule for finding in unread.findings} == {"missing-privilege"}
        assert unread.exit_code is ExitCode.UNREACHABLE
        assert "GRANT SELECT" in unread.findings[0].remedy_text
        # A schema without USAGE is an error, not an empty schema.
        for name in NAMES:
            run(execute(migrated_databases, name, "GRANT SELECT ON alembic_version TO public"))
            run(execute(migrated_databases, name, "REVOKE USAGE ON SCHEMA public FROM public"))
        barred = run(diff(Deployment(settings)))
        assert {finding.rule for finding in barred.findings} == {"missing-privilege"}
        assert barred.comparisons == ()
    finally:
        run(execute(migrated_databases, "main", f"DROP ROLE {role}"))


def test_rules_hide_what_they_cover_and_are_counted(migrated_databases: Databases) -> None:
    run(execute(migrated_databases, "main", "CREATE TABLE tmp_a ()", "CREATE TABLE tmp_b ()"))
    deployed = on(migrated_databases)
    hidden = ("table public.tmp_*", "view *", "table public.tmp_a until 2020-01-01")
    result = run(diff(deployed, ignore_texts=hidden))
    assert result.exit_code is ExitCode.DONE
    assert [dict(comparison.ignored) for comparison in result.comparisons] == [{"table public.tmp_*": 2}, {}]
    assert reported(result) == {
        (None, "unused-ignore-rule", "view *", "note"),
        (None, "expired-ignore-rule", "table public.tmp_a until 2020-01-01", "warning"),
    }
    expired = ("table public.tmp_* until 2020-01-01",)
    assert run(diff(deployed, ignore_texts=expired)).exit_code is ExitCode.DRIFT


def test_a_snapshot_is_a_side(migrated_databases: Databases, workdir: Path) -> None:
    deployed = on(migrated_databases)
    taken = run(take_snapshots(deployed, output="before"))
    assert taken.files == {name: f"before/{name}.json.gz" for name in NAMES}
    assert (Path("before/main.json.gz").stat().st_mode & 0o777) == 0o600
    run(execute(migrated_databases, "main", "ALTER TABLE users ADD COLUMN spare int"))
    result = run(diff(deployed, ("before", "live")))
    assert reported(result) == {("main", "differs", "column public.users.spare", "error")}
    one = run(diff(deployed, ("before/main.json.gz", "live")))
    assert [comparison.database for comparison in one.comparisons] == ["main"]
    again = run(diff(deployed, ("before/{database}.json.gz", "revisions")))
    assert reported(again) == set()
    Path("before/credentials.json.gz").write_bytes(Path("before/main.json.gz").read_bytes())
    mixed = run(diff(deployed, ("before", "live")))
    assert ("credentials", "usage", None, "error") in reported(mixed)
    assert mixed.exit_code is ExitCode.USAGE
    with pytest.raises(UsageError, match="no selected database"):
        run(diff(on(migrated_databases, "credentials"), ("before/main.json.gz", "live")))


@pytest.mark.parametrize(
    ("state", "origin"),
    [("live", "live"), ("models", "models"), ("head", "revisions@"), ("base", "revisions@base")],
)
def test_a_snapshot_is_of_what_was_asked_for(
    migrated_databases: Databases, state: str, origin: str, workdir: Path
) -> None:
    taken = run(take_snapshots(on(migrated_databases, "main"), state, "{database}.json"))
    assert taken.files == {"main": "main.json"}
    assert json.loads(Path("main.json").read_text())["snapshot"]["origin"].startswith(origin)


def test_one_file_for_two_databases_is_refused(migrated_databases: Databases, workdir: Path) -> None:
    with pytest.raises(UsageError, match="one file"):
        run(take_snapshots(on(migrated_databases), output="both.json"))
    assert list(workdir.iterdir()) == []


def test_check_asks_for_drift_and_says_what_prevents_it_once(migrated_databases: Databases) -> None:
    deployed = on(migrated_databases)
    clean = run(check(deployed, drift=True, models=True))
    assert clean.findings == ()
    assert {"drift", "models"} <= {check.name for check in clean.checks}
    run(execute(migrated_databases, "main", "DROP INDEX ix_users_email"))
    run(execute(migrated_databases, "credentials", "UPDATE alembic_version SET version_num = 'feedfacecafe'"))
    report = run(check(deployed, drift=True))
    rules = [
        (finding.database, finding.rule) for finding in report.findings if finding.severity is Severity.ERROR
    ]
    assert sorted(rules, key=str) == [("credentials", "unknown-revision"), ("main", "drift")]


def test_the_command_ends_with_what_it_found(
    migrated_databases: Databases, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, url in environment(migrated_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", migrated_databases.server.admin_url)
    assert invoke(["diff"]).status == 0
    run(execute(migrated_databases, "main", "DROP INDEX ix_users_email"))
    answer = invoke(["diff", "--drift", "--format", "json"])
    shown = json.loads(answer.stdout)
    assert (answer.status, shown["exit_code"]) == (4, 4)
    [difference] = shown["comparisons"][0]["differences"]
    assert (difference["op"], difference["identity"]) == ("missing", "public.ix_users_email")
    assert invoke(["diff", "--ignore", "index public.ix_users_email"]).status == 0
    assert invoke(["diff", "--missing"]).status == 0
    assert invoke(["diff", "--missing", "--drift"]).status == 2
    assert invoke(["diff", "modles"]).status == 2
    assert json.loads(invoke(["snapshot", "-d", "main"]).stdout)["kind"] == "circle-migrate snapshot"
    assert set(json.loads(invoke(["snapshot"]).stdout)) == set(NAMES)


async def captured(databases: Databases, name: str) -> Snapshot:
    async with databases.connect(name) as connection:
        return await read_catalog(
            connection, name, name, version_table="alembic_version", version_table_schema=None
        )


async def asked(databases: Databases, name: str, before: Snapshot, after: Snapshot) -> Comparison:
    """Compare; the equivalence checks run on one of the databases."""

    async def answer(change_set: ChangeSet) -> EquivalenceAnswers:
        checks = checks_for(change_set.changes, before)
        async with databases.connect(name) as connection:
            answers = await equal_by_server(connection, checks)
        assert equal_by_text(checks).items() <= answers.items()
        return answers

    return await compare(before, after, CompareOptions("strict"), answer)


async def unasked(before: Snapshot, after: Snapshot) -> Comparison:
    """Compare without a server for the equivalence checks."""

    async def answer(change_set: ChangeSet) -> EquivalenceAnswers:
        return equal_by_text(checks_for(change_set.changes, before))

    return await compare(before, after, CompareOptions("strict"), answer)


TRICKY = """
CREATE DOMAIN shade AS varchar(9) CHECK (VALUE IN ('light', 'dark'));
CREATE TABLE paint (id int, name varchar(9), old varchar(9) DEFAULT lower('X'), CHECK (name IN ('a', 'b')));
CREATE INDEX paint_i ON paint (id) WHERE name IN ('a', 'b');
ALTER TABLE paint ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON paint USING (name IN ('a', 'b')) WITH CHECK (name IN ('a', 'c'));
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER watch BEFORE UPDATE ON paint FOR EACH ROW
    WHEN (NEW.name IN ('a', 'b')) EXECUTE FUNCTION nothing();
CREATE VIEW painted AS SELECT id FROM paint WHERE name IN ('a', 'b');
CREATE MATERIALIZED VIEW faded AS SELECT id FROM paint WHERE name IN ('a', 'b');
CREATE RULE quiet AS ON DELETE TO paint WHERE old.name IN ('a', 'b') DO INSTEAD NOTHING;
ALTER TABLE paint ADD COLUMN known boolean GENERATED ALWAYS AS (name IN ('a', 'b')) STORED;
ALTER TABLE paint ADD COLUMN usual boolean DEFAULT ('a'::varchar IN ('a', 'b'));
"""
REPRINTED = {
    "column public.paint.known",
    "column public.paint.usual",
    "constraint public.paint.paint_name_check",
    "domain constraint public.shade.shade_check",
    "index public.paint_i",
    "materialized view public.faded",
    "policy public.paint.mine",
    "rule public.paint.quiet",
    "trigger public.paint.watch",
    "view public.painted",
}


def test_a_restored_dump_is_equivalent_and_what_changed_is_not(
    create_databases: Callable[..., Databases],
) -> None:
    """`IN` over varchar is printed differently after a restore, and so are models in other forms."""
    origin, restored = create_databases(), create_databases()
    run(execute(origin, "main", TRICKY))
    run(create_model_variants(origin))
    run(execute(restored, "main", dumped(origin), "REFRESH MATERIALIZED VIEW public.faded"))

    async def compare_all() -> tuple[Comparison, Comparison, Comparison]:
        before, after = await captured(origin, "main"), await captured(restored, "main")
        first = await asked(origin, "main", before, after)
        await execute(restored, "main", *CHANGES)
        changed = await asked(restored, "main", before, await captured(restored, "main"))
        return first, await unasked(before, after), changed

    same, alone, changed = run(compare_all())
    for comparison in (same, alone):
        assert [str(difference.change.key) for difference in comparison.differences] == []
        assert {str(change.key) for change in comparison.equivalent} >= REPRINTED
    assert {str(difference.change.key) for difference in changed.differences} == {
        "constraint public.paint.paint_name_check",
        "index public.paint_i",
        "policy public.paint.mine",
        "view public.painted",
    }


CHANGES = (
    "ALTER TABLE paint DROP CONSTRAINT paint_name_check",
    "ALTER TABLE paint ADD CONSTRAINT paint_name_check CHECK (name IN ('a', 'c'))",
    "DROP INDEX paint_i",
    "CREATE INDEX paint_i ON paint (id) WHERE name IN ('a', 'c')",
    "ALTER POLICY mine ON paint USING (name IN ('a', 'c'))",
    "CREATE OR REPLACE VIEW painted AS SELECT id FROM paint WHERE name IN ('a', 'c')",
)


async def create_model_variants(databases: Databases) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    async def connect() -> Any:
        import asyncpg

        return await asyncpg.connect(databases.urls["main"])

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(model_variants.metadata.create_all)
    finally:
        await engine.dispose()


def dumped(databases: Databases) -> str:
    """Return the schema from pg_dump without psql commands."""

    async def major() -> int:
        async with databases.connect("main") as connection:
            return int(connection.get_server_version().major)

    try:
        program = find(run(major()), program="pg_dump").folder / "pg_dump"
    except MigrateError as error:
        pytest.skip(error.message)
    text = subprocess.run(
        [program, "--schema-only", "--dbname", databases.urls["main"]],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ,
    ).stdout
    return "\n".join(line for line in text.splitlines() if not line.startswith("\\"))


def test_a_question_leaves_nothing_behind(empty_databases: Databases) -> None:
    run(execute(empty_databases, "main", TRICKY))

    async def scenario() -> tuple[str, str]:
        before = await captured(empty_databases, "main")
        key = ObjectKey("view", "public.painted")
        other = {**before.objects, key: {**before.objects[key], "definition": " SELECT nonsense;"}}
        await asked(empty_databases, "main", before, replace(before, objects=other))
        return before.digest, (await captured(empty_databases, "main")).digest

    before, after = run(scenario())
    assert before == after


@pytest.fixture
def shop(project_folder: Path) -> Project:
    """Return a project whose only table has a check that is printed differently after a restore."""
    project = Project(project_folder)
    project.write_settings()
    create = "CREATE TABLE paint (name varchar(9) CHECK (name = ANY (ARRAY['a', 'b']::bpchar[]::char(3)[])))"
    project.revision("main", "m1", None, f'op.execute("{create}")', "pass")
    project.revision("credentials", "c1", None, "pass", "pass")
    return project


@pytest.mark.usefixtures("shop")
def test_equivalent_texts_are_asked_about_where_there_is_a_server_for_it(empty_databases: Databases) -> None:
    deployed = on(empty_databases, "main")
    run(upgrade(deployed))
    run(
        execute(
            empty_databases,
            "main",
            "ALTER TABLE paint DROP CONSTRAINT paint_name_check",
            "ALTER TABLE paint ADD CONSTRAINT paint_name_check "
            "CHECK (name::bpchar = ANY (ARRAY['a'::char(3), 'b'::char(3)]))",
        )
    )
    [comparison] = run(diff(deployed, DRIFT)).comparisons
    assert comparison.differences == ()
    assert [str(change.key) for change in comparison.equivalent] == [
        "constraint public.paint.paint_name_check"
    ]
    run(take_snapshots(deployed, "head", "main.json"))
    nowhere = parse("postgresql://nobody@127.0.0.1:1/gone?connect_timeout=2", source="the test")
    alone = Deployment(deployed.settings.model_copy(update={"scratch_url": nowhere}), "main")
    [untried] = run(diff(alone, ("main.json", "live"))).comparisons
    assert len(untried.differences) == 1
    assert "the meaning of 1 text printed differently, counted as different" in untried.not_compared[0]
