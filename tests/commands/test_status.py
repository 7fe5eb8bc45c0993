"""status, check and wait: every state has its finding and its exit code, and looking never writes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from circle_migrate.cli.options import Format
from circle_migrate.cli.write import success
from circle_migrate.commands.check import check
from circle_migrate.commands.stamp import stamp
from circle_migrate.commands.status import status
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.commands.wait import wait
from circle_migrate.config.load import load
from circle_migrate.core.errors import ExitCode, TreeError
from circle_migrate.core.findings import Outcome, Report, Severity
from circle_migrate.postgres.deployment import Deployment
from tests.deployments import agree, contents, deployment, environment, execute
from tests.projects import Project
from tests.servers import Databases, run


def rules(report: Report, severity: Severity = Severity.ERROR) -> set[tuple[str | None, str]]:
    return {(finding.database, finding.rule) for finding in report.findings if finding.severity is severity}


def nowhere(on: Deployment, name: str, port: int = 1) -> Deployment:
    """The deployment with one database on a server that does not exist, or does not answer."""
    from circle_migrate.config.url.parse import parse

    gone = parse(f"postgresql://nobody@127.0.0.1:{port}/gone?connect_timeout=20", source="the test")
    databases = {
        known: database.model_copy(update={"url": gone}) if known == name else database
        for known, database in on.settings.databases.items()
    }
    return Deployment(on.settings.model_copy(update={"databases": databases}))


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
    assert seen.databases[0].pending[0].down_revisions == ("f4e7d8b9c123",)
    assert "main@dca7825748db" in seen.databases[1].requires
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
                (
                    "INSERT INTO circle_migrate.runs (run, database, command, mode, planned, os_user, host, "
                    "tool_version) VALUES ('0b9f1c1e-0000-4000-8000-000000000000', 'credentials', 'upgrade', "
                    """'atomic', '{"main": [], "credentials": []}', 'deploy', 'ci', '1')"""
                ),
            ),
            (
                "credentials",
                f"BEGIN; CREATE TABLE t (); PREPARE TRANSACTION '{GID}'",
            ),
        ],
        {("credentials", "in-doubt")},
        ExitCode.IN_DOUBT,
    ),
    (
        "edited",
        [("main", "UPDATE circle_migrate.steps SET checksum = 'other' WHERE revision = 'dca7825748db'")],
        {("main", "edited-revision")},
        ExitCode.REFUSED,
    ),
    (
        "swapped journal",
        [("main", "UPDATE circle_migrate.runs SET database = 'credentials'")],
        {("main", "wrong-database")},
        ExitCode.REFUSED,
    ),
]


@pytest.mark.parametrize(
    ("statements", "expected", "code"), [s[1:] for s in STATES], ids=[s[0] for s in STATES]
)
def test_each_state_has_its_finding_and_its_exit_code(
    migrated_databases: Databases,
    statements: list[tuple[str, str]],
    expected: set[tuple[str | None, str]],
    code: ExitCode,
) -> None:
    for name, statement in statements:
        run(execute(migrated_databases, name, statement))
    on = deployment(migrated_databases)
    asked: list[Callable[[], Coroutine[Any, Any, Report]]] = [lambda: status(on), lambda: check(on)]
    # Heads are reached: a transaction in doubt and an edited file are the business of status and check.
    if not {("credentials", "in-doubt"), ("main", "edited-revision")} & expected:
        asked.append(lambda: wait(on, 0))
    for ask in asked:
        seen = run(ask())
        assert expected <= rules(seen)
        assert seen.exit_code is code


APPLIED_BY_A_NEWER_RELEASE = """
    UPDATE alembic_version SET version_num = 'feedfacecafe';
    UPDATE circle_migrate.runs SET tool_version = '7.8.9', os_user = 'deploy', host = 'ci';
    UPDATE circle_migrate.steps SET revision = 'feedfacecafe' WHERE revision = '{replaced}'
"""


@pytest.mark.parametrize(("replaced", "ahead"), [("dca7825748db", True), ("b4fcf60d8659", False)])
def test_the_release_that_knows_a_revision_is_named(
    migrated_databases: Databases, replaced: str, ahead: bool
) -> None:
    on = deployment(migrated_databases)
    run(execute(migrated_databases, "main", APPLIED_BY_A_NEWER_RELEASE.format(replaced=replaced)))
    for report in (run(status(on)), run(check(on)), run(wait(on, 0))):
        (error,) = (finding for finding in report.findings if finding.severity is Severity.ERROR)
        assert (error.database, error.revision, error.rule) == ("main", "feedfacecafe", "unknown-revision")
        assert ("main is ahead of this package" in error.message) is ahead
        assert "circle-migrate 7.8.9 applied it at" in error.message
        assert error.message.endswith("by deploy@ci")
        assert "log --source feedfacecafe" in error.remedy_text


def test_where_no_journal_knows_a_revision_none_is_promised_to(migrated_databases: Databases) -> None:
    run(execute(migrated_databases, "main", "UPDATE alembic_version SET version_num = 'feedfacecafe'"))
    (finding,) = run(status(deployment(migrated_databases))).findings
    assert "log --source" not in finding.remedy_text
    assert "main@REVISION --purge" in finding.remedy_text


def test_nothing_is_said_to_be_pending_after_an_unknown_revision(migrated_databases: Databases) -> None:
    run(execute(migrated_databases, "main", "UPDATE alembic_version SET version_num = 'feedfacecafe'"))
    on = deployment(migrated_databases)
    seen = run(status(on))
    assert seen.databases[0].unknown == ("feedfacecafe",)
    assert seen.databases[0].pending == ()
    skipped = {skipped.name for skipped in run(check(on)).checks if skipped.outcome is Outcome.SKIPPED}
    assert skipped == {"requirements", "pending"}


@pytest.mark.parametrize("only", [None, "credentials"])
def test_an_unmet_requirement_is_named(migrated_databases: Databases, only: str | None) -> None:
    emptied = ("DELETE FROM alembic_version", "DELETE FROM circle_migrate.steps")
    run(execute(migrated_databases, "main", *emptied))
    seen = run(status(deployment(migrated_databases, only)))
    requirements = [
        (finding.revision, finding.subject)
        for finding in seen.findings
        if finding.rule == "unmet-requirement"
    ]
    assert requirements == ([("1e978f7e8aa5", "main@dca7825748db")] if only is None else [])
    assert seen.exit_code is ExitCode.DONE


@pytest.mark.parametrize(
    ("statement", "standing"),
    [
        ("DELETE FROM alembic_version", "pending"),
        ("SELECT", "applied"),
        ("UPDATE alembic_version SET version_num = 'feedfacecafe'", "not known"),
    ],
)
def test_what_pending_revisions_require_is_shown_with_whether_it_is_there(
    migrated_databases: Databases, capsys: pytest.CaptureFixture[str], statement: str, standing: str
) -> None:
    run(execute(migrated_databases, "credentials", "DELETE FROM alembic_version"))
    run(execute(migrated_databases, "main", statement))
    success(run(status(deployment(migrated_databases))), Format.TABLE)
    assert f"credentials model (requires main@dca7825748db: {standing})" in capsys.readouterr().out


def test_several_heads_are_a_warning(empty_databases: Databases, project_folder: Path) -> None:
    project = Project(project_folder)
    project.write_settings()
    for key in ("a1", "a2"):
        project.revision("main", key, None, "pass", "pass")
    seen = run(status(deployment(empty_databases)))
    assert rules(seen, Severity.WARNING) == {("main", "several-heads")}
    assert seen.exit_code is ExitCode.DONE


def test_an_edited_revision_is_named_with_what_can_be_done(migrated_databases: Databases) -> None:
    edited = "UPDATE circle_migrate.steps SET checksum = 'other' WHERE revision = 'dca7825748db'"
    run(execute(migrated_databases, "main", edited))
    (finding,) = run(status(deployment(migrated_databases))).findings
    assert finding.revision == "dca7825748db"
    assert "circle-migrate upgrade --allow-edited" in finding.remedy_text
    assert "nothing was changed" not in (finding.detail or "")


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
    (invalid,) = (finding for finding in seen.findings if finding.rule == "invalid-index")
    assert f"REINDEX INDEX CONCURRENTLY {str(invalid.subject).partition(' ')[0]};" in invalid.remedy_text
    assert seen.exit_code is ExitCode.DONE


def test_an_unreachable_database_is_a_state_and_the_other_is_still_shown(
    migrated_databases: Databases,
) -> None:
    seen = run(status(nowhere(deployment(migrated_databases), "credentials")))
    assert rules(seen) == {("credentials", "unreachable")}
    assert seen.exit_code is ExitCode.UNREACHABLE
    assert seen.databases[0].server_version
    assert seen.databases[1].error is not None


def test_heads_are_shown_where_no_database_can_be_reached(migrated_databases: Databases) -> None:
    healthy = deployment(migrated_databases)
    assert run(status(healthy)).exit_code is ExitCode.DONE
    gone = nowhere(nowhere(deployment(migrated_databases), "main"), "credentials")
    seen = run(asyncio.wait_for(status(gone), 15))
    assert seen.exit_code is ExitCode.UNREACHABLE
    assert [state.heads for state in seen.databases] == [graph.heads for graph in healthy.graphs.values()]


def test_a_broken_tree_is_said_without_waiting_for_a_server_that_does_not_answer(
    empty_databases: Databases, project_folder: Path
) -> None:
    project = Project(project_folder)
    project.write_settings()
    (project.versions("credentials") / "broken.py").write_text("def upgrade(:\n")

    async def both() -> None:
        async with asyncio.timeout(15):
            await status(nowhere(deployment(empty_databases), "main", silent.getsockname()[1]))

    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TreeError, match="not valid Python"):
        run(both())


def test_the_holder_of_the_deployer_lock_is_named(migrated_databases: Databases) -> None:
    async def held() -> str | None:
        from circle_migrate.postgres.deployer_lock import KEY

        async with migrated_databases.connect("main") as other:
            await other.execute("SET application_name = 'night shift'")
            await other.fetchval("SELECT pg_try_advisory_lock($1)", KEY)
            return (await status(deployment(migrated_databases))).databases[0].lock_holder

    assert "night shift" in (run(held()) or "")


def test_check_asks_for_pending_unless_told_not_to(empty_databases: Databases) -> None:
    on = deployment(empty_databases)
    assert run(check(on)).exit_code is ExitCode.PENDING
    seen = run(check(on, pending=False))
    assert seen.exit_code is ExitCode.DONE
    assert "pending" not in {check.name for check in seen.checks}


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


def test_a_database_that_is_ahead_is_compatible_where_its_journal_has_our_heads(
    migrated_databases: Databases,
) -> None:
    on = deployment(migrated_databases)
    run(execute(migrated_databases, "main", "UPDATE alembic_version SET version_num = 'feedfacecafe'"))
    assert run(wait(on, 0, compatible=False)).exit_code is ExitCode.AHEAD
    assert run(wait(on, 0, compatible=True)).exit_code is ExitCode.DONE


def test_ahead_without_our_heads_is_not_compatible(empty_databases: Databases) -> None:
    on = deployment(empty_databases)
    run(stamp(on, ["head"], confirm=agree))
    run(execute(empty_databases, "main", "UPDATE alembic_version SET version_num = 'feedfacecafe'"))
    assert run(wait(on, 0, compatible=True)).exit_code is ExitCode.AHEAD


def test_ahead_where_the_unknown_revision_followed_our_head(migrated_databases: Databases) -> None:
    """As after the first run on a database that plain Alembic had brought to our head."""
    follows = """
        UPDATE alembic_version SET version_num = 'feedfacecafe';
        DELETE FROM circle_migrate.steps WHERE revision <> 'b4fcf60d8659';
        UPDATE circle_migrate.steps SET revision = 'feedfacecafe',
            source = replace(source, '47773a45acc2', '{}')
    """
    on = deployment(migrated_databases)
    run(execute(migrated_databases, "main", follows.format("b4fcf60d8659")))
    assert run(wait(on, 0, compatible=True)).exit_code is ExitCode.DONE
    run(execute(migrated_databases, "main", "UPDATE circle_migrate.steps SET source = '1 +'"))
    assert run(wait(on, 0, compatible=True)).exit_code is ExitCode.AHEAD


@pytest.mark.parametrize("ask", ["status", "check", "wait"])
def test_looking_leaves_an_empty_database_empty(empty_databases: Databases, ask: str) -> None:
    before = run(contents(empty_databases))
    on = deployment(empty_databases)
    if ask == "status":
        run(status(on))
    elif ask == "check":
        run(check(on))
    else:
        run(wait(on, 0))
    assert run(contents(empty_databases)) == before


def test_a_role_with_connect_and_select_can_look(migrated_databases: Databases) -> None:
    role = "looker_" + next(iter(migrated_databases.urls.values())).rpartition("/")[2].partition("?")[0][-8:]
    role = "".join(character for character in role if character.isalnum() or character == "_")
    run(execute(migrated_databases, "main", f"CREATE ROLE {role} LOGIN"))
    try:
        for name in ("main", "credentials"):
            tables = "alembic_version, circle_migrate.runs, circle_migrate.steps"
            run(execute(migrated_databases, name, f"GRANT SELECT ON {tables} TO {role}"))
        urls = {
            key: url.replace("postgres@", f"{role}@", 1)
            for key, url in environment(migrated_databases).items()
        }
        seen = run(status(Deployment(load(environ=urls)), strict=True))
        assert seen.findings == ()
        assert {state.role for state in seen.databases} == {role}
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
    seen = run(check(deployment(empty_databases), databases=False, models=True))
    assert seen.exit_code is ExitCode.DONE
    assert "models" in {check.name for check in seen.checks}


def _noticed(on: Deployment) -> list[str]:
    report = run(status(on))
    return [finding.database or "" for finding in report.findings if finding.rule == "schema-changed"]


def test_a_schema_changed_by_hand_is_noticed_and_a_run_settles_it(migrated_databases: Databases) -> None:
    """Neither data nor maintenance count; of databases that are copies nothing is known."""
    on = deployment(migrated_databases)
    run(execute(migrated_databases, "main", "CREATE TABLE by_hand (id integer)"))
    assert _noticed(on) == []
    run(stamp(on, ["main@-1"], confirm=agree))
    assert _noticed(on) == []
    for harmless in (
        "INSERT INTO by_hand VALUES (1)",
        "TRUNCATE by_hand",
        "VACUUM FULL by_hand",
        "ANALYZE",
        "REINDEX TABLE users",
        "CREATE TEMPORARY TABLE passing (id integer)",
        # Which docs/diff.md asks for.
        "GRANT SELECT ON alembic_version, circle_migrate.runs TO PUBLIC",
    ):
        run(execute(migrated_databases, "main", harmless))
    assert _noticed(on) == []
    run(execute(migrated_databases, "main", "ALTER TABLE by_hand ALTER id SET STATISTICS 7"))
    assert _noticed(on) == ["main"]
    run(execute(migrated_databases, "main", "ALTER TABLE by_hand ALTER id SET STATISTICS -1"))
    assert _noticed(on) == []


def test_a_mark_says_nothing_of_other_revisions_or_another_database(migrated_databases: Databases) -> None:
    on = deployment(migrated_databases)
    run(stamp(on, ["main@-1"], confirm=agree))
    (stamped,) = run(on.states(["main"]))["main"].current
    run(execute(migrated_databases, "main", "CREATE TABLE by_hand (id integer)"))
    assert _noticed(on) == ["main"]
    run(execute(migrated_databases, "main", "UPDATE alembic_version SET version_num = 'dca7825748db'"))
    assert _noticed(on) == []
    run(execute(migrated_databases, "main", f"UPDATE alembic_version SET version_num = '{stamped}'"))
    assert _noticed(on) == ["main"]
    mark = "regexp_replace(fingerprint, '/[0-9]+', '/1')"
    run(execute(migrated_databases, "main", f"UPDATE circle_migrate.runs SET fingerprint = {mark}"))
    assert _noticed(on) == []
