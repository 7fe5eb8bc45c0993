"""status, check and wait: every state has its finding and its exit code, and looking never writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from circle_migrate.check import Questions, check
from circle_migrate.core.findings import Report, Severity
from circle_migrate.deployment import Deployment
from circle_migrate.errors import ExitCode
from circle_migrate.settings import load
from circle_migrate.stamp import stamp
from circle_migrate.status import status
from circle_migrate.upgrade import upgrade
from circle_migrate.wait import wait
from tests.deployments import agree, contents, deployment, environment, execute
from tests.servers import Databases, run


def rules(report: Report, severity: Severity = Severity.ERROR) -> set[tuple[str | None, str]]:
    return {(each.database, each.rule) for each in report.findings if each.severity is severity}


def nowhere(on: Deployment, name: str) -> Deployment:
    """The deployment with one database on a server that does not exist."""
    from circle_migrate.urls import parse

    gone = parse("postgresql://nobody@127.0.0.1:1/gone?connect_timeout=2", source="the test")
    databases = tuple(
        replace(each, url=gone) if each.name == name else each for each in on.settings.databases
    )
    return Deployment(replace(on.settings, databases=databases))


def test_a_deployment_at_head_has_nothing_to_report(migrated_databases: Databases) -> None:
    seen = run(status(deployment(migrated_databases), strict=True))
    assert seen.findings == ()
    assert seen.exit_code is ExitCode.DONE
    main = seen.databases[0]
    assert main.access == "writable"
    assert main.current == main.heads
    assert main.pending == ()


def test_pending_revisions_are_listed_and_decide_only_where_asked(empty_databases: Databases) -> None:
    on = deployment(empty_databases)
    run(upgrade(on, ["main@f4e7d8b9c123"]))
    seen = run(status(on))
    assert seen.exit_code is ExitCode.DONE
    assert rules(seen, Severity.NOTE) == {("main", "pending"), ("credentials", "pending")}
    assert seen.databases[0].pending[0].down == ("f4e7d8b9c123",)
    assert "main@dca7825748db" in seen.databases[1].needs
    assert run(status(on, strict=True)).exit_code is ExitCode.PENDING


GID = "circle_migrate:0b9f1c1e-0000-4000-8000-000000000000:1:main:credentials"

STATES: list[tuple[str, list[tuple[str, str]], set[tuple[str | None, str]], ExitCode]] = [
    (
        "unknown revision",
        [("main", "UPDATE alembic_version SET version_num = 'feedfacecafe'")],
        {("main", "unknown-revision")},
        ExitCode.AHEAD,
    ),
    (
        "a revision of the other tree",
        [("main", "UPDATE alembic_version SET version_num = '1e978f7e8aa5'")],
        {("main", "wrong-database")},
        ExitCode.REFUSED,
    ),
    (
        "in doubt",
        [
            (
                "credentials",
                f"BEGIN; CREATE TABLE t (); PREPARE TRANSACTION '{GID}'",
            )
        ],
        {("credentials", "in-doubt")},
        ExitCode.IN_DOUBT,
    ),
    (
        "edited",
        [("main", "UPDATE circle_migrate_steps SET checksum = 'other' WHERE revision = 'dca7825748db'")],
        {("main", "edited-revision")},
        ExitCode.REFUSED,
    ),
    (
        "swapped journal",
        [("main", "UPDATE circle_migrate_runs SET database = 'credentials'")],
        {("main", "wrong-database")},
        ExitCode.REFUSED,
    ),
]


@pytest.mark.parametrize(
    ("statements", "expected", "code"), [s[1:] for s in STATES], ids=[s[0] for s in STATES]
)
@pytest.mark.parametrize("ask", ["status", "check", "wait"])
def test_each_state_has_its_finding_and_its_exit_code(
    migrated_databases: Databases,
    statements: list[tuple[str, str]],
    expected: set[tuple[str | None, str]],
    code: ExitCode,
    ask: str,
) -> None:
    for name, statement in statements:
        run(execute(migrated_databases, name, statement))
    on = deployment(migrated_databases)
    asked: dict[str, Callable[[], Awaitable[Report]]] = {
        "status": lambda: status(on),
        "check": lambda: check(on, Questions()),
        "wait": lambda: wait(on, 0),
    }
    try:
        seen = run(asked[ask]())
    finally:
        if "in-doubt" in {rule for _, rule in expected}:
            run(
                execute(
                    migrated_databases,
                    "credentials",
                    f"ROLLBACK PREPARED '{GID}'",
                )
            )
    if ask == "wait" and code not in (ExitCode.AHEAD, ExitCode.REFUSED):
        return  # heads are reached; a transaction in doubt is the business of status and check
    if ask == "wait" and ("main", "edited-revision") in expected:
        return
    assert expected <= rules(seen)
    assert seen.exit_code is code


def test_an_invalid_index_is_a_warning(migrated_databases: Databases) -> None:
    run(
        execute(
            migrated_databases,
            "main",
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_users_email'::regclass",
        )
    )
    seen = run(status(deployment(migrated_databases)))
    assert ("main", "invalid-index") in rules(seen, Severity.WARNING)
    assert seen.exit_code is ExitCode.DONE


def test_an_unreachable_database_is_a_state_and_the_other_is_still_shown(
    migrated_databases: Databases,
) -> None:
    seen = run(status(nowhere(deployment(migrated_databases), "credentials")))
    assert rules(seen) == {("credentials", "unreachable")}
    assert seen.exit_code is ExitCode.UNREACHABLE
    assert seen.databases[0].server
    assert seen.databases[1].error is not None


def test_the_holder_of_the_deployer_lock_is_named(migrated_databases: Databases) -> None:
    async def held() -> str | None:
        from circle_migrate.locks import KEY

        async with migrated_databases.connect("main") as other:
            await other.execute("SET application_name = 'night shift'")
            await other.fetchval("SELECT pg_try_advisory_lock($1)", KEY)
            return (await status(deployment(migrated_databases))).databases[0].holder

    assert "night shift" in (run(held()) or "")


def test_check_asks_for_pending_unless_told_not_to(empty_databases: Databases) -> None:
    on = deployment(empty_databases)
    assert run(check(on, Questions())).exit_code is ExitCode.PENDING
    seen = run(check(on, Questions(pending=False)))
    assert seen.exit_code is ExitCode.DONE
    assert "pending" not in {each.name for each in seen.checks}


def test_wait_ends_when_another_process_has_migrated(empty_databases: Databases) -> None:
    async def waiting() -> Report:
        on = deployment(empty_databases)
        waiter = asyncio.create_task(wait(deployment(empty_databases), 60))
        await asyncio.sleep(0.3)
        assert not waiter.done()
        await upgrade(on)
        return await waiter

    assert run(waiting()).exit_code is ExitCode.DONE


def test_wait_gives_up_and_says_what_is_missing(empty_databases: Databases) -> None:
    seen = run(wait(deployment(empty_databases), 0.3))
    assert seen.exit_code is ExitCode.PENDING
    assert rules(seen) == {("main", "pending"), ("credentials", "pending")}


@pytest.mark.parametrize(("compatible", "code"), [(False, ExitCode.AHEAD), (True, ExitCode.DONE)])
def test_a_database_that_is_ahead_is_compatible_where_its_journal_has_our_heads(
    empty_databases: Databases, compatible: bool, code: ExitCode
) -> None:
    on = deployment(empty_databases)
    run(upgrade(on))
    run(execute(empty_databases, "main", "UPDATE alembic_version SET version_num = 'feedfacecafe'"))
    assert run(wait(on, 0, compatible=compatible)).exit_code is code


def test_ahead_without_our_heads_is_not_compatible(empty_databases: Databases) -> None:
    on = deployment(empty_databases)
    run(stamp(on, ["head"], confirm=agree))
    run(execute(empty_databases, "main", "UPDATE alembic_version SET version_num = 'feedfacecafe'"))
    assert run(wait(on, 0, compatible=True)).exit_code is ExitCode.AHEAD


@pytest.mark.parametrize("ask", ["status", "check", "wait"])
def test_looking_leaves_an_empty_database_empty(empty_databases: Databases, ask: str) -> None:
    before = run(contents(empty_databases))
    on = deployment(empty_databases)
    if ask == "status":
        run(status(on))
    elif ask == "check":
        run(check(on, Questions()))
    else:
        run(wait(on, 0))
    assert run(contents(empty_databases)) == before


def test_a_role_with_connect_and_select_can_look(migrated_databases: Databases) -> None:
    role = "looker_" + next(iter(migrated_databases.urls.values())).rpartition("/")[2].partition("?")[0][-8:]
    role = "".join(each for each in role if each.isalnum() or each == "_")
    run(execute(migrated_databases, "main", f"CREATE ROLE {role} LOGIN"))
    try:
        for name in ("main", "credentials"):
            tables = "alembic_version, circle_migrate_runs, circle_migrate_steps"
            run(execute(migrated_databases, name, f"GRANT SELECT ON {tables} TO {role}"))
        urls = {
            key: url.replace("postgres@", f"{role}@", 1)
            for key, url in environment(migrated_databases).items()
        }
        seen = run(status(Deployment(load(environ=urls)), strict=True))
        assert seen.findings == ()
        assert {each.role for each in seen.databases} == {role}
    finally:
        for name in ("main", "credentials"):
            run(execute(migrated_databases, name, f"DROP OWNED BY {role}"))
        run(execute(migrated_databases, "main", f"DROP ROLE {role}"))


def test_read_only_by_default_is_no_hindrance_to_looking(migrated_databases: Databases) -> None:
    run(
        execute(
            migrated_databases,
            "main",
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', "
            "current_database()); END $$",
        )
    )
    seen = run(status(deployment(migrated_databases)))
    assert seen.exit_code is ExitCode.DONE
    assert seen.databases[0].access == "read-only"


def test_models_and_revisions_agree(empty_databases: Databases, workdir: Path) -> None:
    seen = run(check(deployment(empty_databases), Questions(databases=False, models=True)))
    assert seen.exit_code is ExitCode.DONE
    assert "models" in {each.name for each in seen.checks}
