"""Protected databases: what is refused, what lifts it, and that the marker is nobody else's business."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from circle_migrate.commands.downgrade import LossConfirmation, downgrade
from circle_migrate.commands.kept import drop, list_kept
from circle_migrate.commands.protect import protect, unprotect
from circle_migrate.commands.stamp import stamp
from circle_migrate.commands.status import status
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.core.errors import Refused, UsageError
from circle_migrate.migrate.journal import Journal
from circle_migrate.migrate.result import MigrationResult
from circle_migrate.postgres.catalog.fingerprint import fingerprint
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.journal_tables import ProtectionMarker
from circle_migrate.revision_graph.plan import Plan
from circle_migrate.safety.losses.find import LossCollector
from circle_migrate.safety.losses.report import LossReport
from tests.cli.terminal import Terminal
from tests.deployments import (
    PROTECTION,
    RUNS,
    STEPS,
    agree,
    contents,
    deployment,
    environment,
    execute,
    invoke,
    versions,
)
from tests.servers import Databases, run

WHY = "live data"

_EVENT = """
WITH organizer AS (
    INSERT INTO users (email, first_name, last_name, is_active, is_verified, email_verified, phone_verified)
    VALUES ('a@example.org', 'A', 'B', true, true, true, false) RETURNING id
)
INSERT INTO events (title, event_type, organizer_id, starts_at, ends_at, price_cents, currency)
SELECT 'event', 'retreat', id, now(), now() + interval '1 day', 1, 'EUR' FROM organizer
"""


async def marked(databases: Databases, only: str | None = "main") -> Deployment:
    """The deployment, after the marker was written."""
    await protect(deployment(databases, only), WHY)
    return deployment(databases)


async def marker(databases: Databases, name: str) -> ProtectionMarker | None:
    return (await deployment(databases).databases[name].state()).marker


async def last_notes(databases: Databases, name: str) -> Mapping[str, Any]:
    """The command and notes of the newest run in a journal."""
    database = deployment(databases).databases[name]
    async with databases.connect(name) as connection:
        (entry,) = await Journal(database, await database.state()).read(connection, 1)
    return {"command": entry.command, **entry.notes}


def never(_: object) -> None:
    pytest.fail("it was asked about before it was refused")


def meanwhile(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run it to its end while another one waits for an answer."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(run, coroutine).result()


def lifted(_name: str, _marker: ProtectionMarker) -> None:
    """A confirmation that is always given."""


@pytest.fixture
def protected_databases(migrated_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Databases:
    """A pair at head, main protected; commands in this process find it."""
    run(marked(migrated_databases))
    for name, value in environment(migrated_databases).items():
        monkeypatch.setenv(name, value)
    return migrated_databases


def test_commands_that_move_back_are_refused_whatever_else_is_agreed_to(
    protected_databases: Databases,
) -> None:
    before = run(contents(protected_databases)), run(last_notes(protected_databases, "main"))
    for line in (
        "downgrade --yes -- -1",
        "downgrade --yes --accept-loss main.registration_payments base",
        "downgrade --yes --keep main@-1",
        "stamp --yes base",
        "stamp --yes --purge main@-1",
    ):
        answer = invoke(line.split())
        assert answer.status == 5, line
        for words in (WHY, "nothing was changed", "--override-protection main"):
            assert words in answer.stderr, (line, words)
        assert (answer.stdout, answer.stderr.startswith("error: main is protected")) == ("", True), line
    assert (run(contents(protected_databases)), run(last_notes(protected_databases, "main"))) == before


def test_a_setting_protects_as_well_and_needs_no_marker(
    protected_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_CREDENTIALS_PROTECTED", "true")
    answer = invoke(["stamp", "--yes", "--override-protection", "main", "base"])
    assert answer.status == 5
    place = "environment CIRCLE_MIGRATE_CREDENTIALS_PROTECTED"
    assert f"credentials is protected by a setting ({place})" in answer.stderr
    assert invoke(["unprotect", "-d", "credentials", "--override-protection", "credentials"]).status == 5
    both = ["--override-protection", "main", "--override-protection", "credentials"]
    assert invoke(["stamp", "--yes", *both, "base"]).status == 0
    assert run(versions(protected_databases)) == {"main": [], "credentials": []}


def test_a_dry_run_shows_what_would_be_and_says_that_it_is_protected(protected_databases: Databases) -> None:
    answer = invoke(["stamp", "--dry-run", "--format", "json", "main@-1"])
    (note,) = json.loads(answer.stdout)["notes"]
    assert answer.status == 0
    assert "main is protected" in note
    assert "--override-protection main" in note

    there = deployment(protected_databases)

    async def find(plan: Plan) -> LossCollector:
        before = {name: Snapshot(name, "live", 180000, {}) for name in plan.databases}
        return LossCollector(plan, before=before, notes=["found"])

    weighing = LossConfirmation(find, never)
    report = run(downgrade(there, ["-1"], confirm=weighing, dry_run=True))
    assert isinstance(report, LossReport)
    assert [WHY in note for note in report.notes] == [True, False]


def test_the_named_database_is_moved_and_the_journal_says_so(protected_databases: Databases) -> None:
    async def scenario() -> None:
        moved = await downgrade(
            deployment(protected_databases), ["main@-1"], confirm=agree, overridden=["main"]
        )
        assert isinstance(moved, MigrationResult)
        noted = (await last_notes(protected_databases, "main"))["protection_overridden"]
        assert noted["main"]["marker"]["reason"] == WHY
        assert await marker(protected_databases, "main"), "overriding it once does not lift it"
        await upgrade(deployment(protected_databases))
        assert "protection_overridden" not in await last_notes(protected_databases, "main")

    run(scenario())


def test_what_is_not_protected_needs_no_name(protected_databases: Databases) -> None:
    moved = run(downgrade(deployment(protected_databases), ["credentials@-1"], confirm=agree))
    assert isinstance(moved, MigrationResult)
    assert moved.plan.databases == ("credentials",)


def test_a_name_that_overrides_nothing_is_a_slip(protected_databases: Databases) -> None:
    before = run(versions(protected_databases))
    for only, name, error, words in (
        (None, "credentials", Refused, "credentials is not protected"),
        ("credentials", "main", Refused, "main is not part of this command"),
        (None, "mian", UsageError, "there is no database 'mian'"),
    ):
        for action in (downgrade, stamp):
            with pytest.raises(error, match=words):
                run(action(deployment(protected_databases, only), ["base"], confirm=never, overridden=[name]))
        assert run(versions(protected_databases)) == before, name


@pytest.mark.parametrize("action", [downgrade, stamp])
def test_a_marker_set_between_the_question_and_the_run_still_counts(
    migrated_databases: Databases, action: Callable[..., Coroutine[Any, Any, object]]
) -> None:
    before = run(versions(migrated_databases))

    def confirm(_plan: Plan) -> None:
        meanwhile(marked(migrated_databases))

    with pytest.raises(Refused, match=f"main is protected .*{WHY}"):
        run(action(deployment(migrated_databases), ["-1"], confirm=confirm))
    assert run(versions(migrated_databases)) == before
    assert run(last_notes(migrated_databases, "main"))["command"] == "protect"


def test_what_a_protected_database_has_kept_is_not_dropped(migrated_databases: Databases) -> None:
    async def scenario() -> None:
        await execute(migrated_databases, "main", _EVENT)
        await downgrade(deployment(migrated_databases, "main"), ["c4198e875dd0-1"], confirm=agree, keep=True)
        protected = deployment(migrated_databases)
        (kept,) = {entry.run for entry in (await list_kept(protected)).entries}
        with pytest.raises(Refused, match=WHY):
            await drop(protected, [kept], confirm=lambda _: meanwhile(marked(migrated_databases)))
        with pytest.raises(Refused, match=WHY):
            await drop(protected, [kept], confirm=never)
        assert (await list_kept(protected)).entries
        await drop(protected, [kept], confirm=lambda _: None, overridden=["main"])
        assert not (await list_kept(protected)).entries

    run(scenario())


def test_protecting_again_without_a_reason_leaves_the_marker_as_it_is(migrated_databases: Databases) -> None:
    async def scenario() -> None:
        await marked(migrated_databases)
        first = await marker(migrated_databases, "main")
        again = await protect(deployment(migrated_databases, "main"))
        assert (again.run, await marker(migrated_databases, "main")) == (None, first)
        await protect(deployment(migrated_databases), "audit")
        now = await marker(migrated_databases, "main")
        assert now is not None
        assert (now.reason, now.since) != (WHY, first and first.since)
        assert await marker(migrated_databases, "credentials")

    run(scenario())


def test_lifting_it_takes_the_name(protected_databases: Databases) -> None:
    for line in ("unprotect -d main", "unprotect -d main --override-protection credentials", "unprotect"):
        answer = invoke(line.split())
        assert answer.status == (5 if line == "unprotect -d main" else 2), line
    assert run(marker(protected_databases, "main"))
    answer = invoke(["unprotect", "-d", "main", "--override-protection", "main", "--format", "json"])
    assert json.loads(answer.stdout)["databases"] == {"main": None}
    noted = run(last_notes(protected_databases, "main"))
    assert (noted["command"], noted["lifted"]["main"]["reason"]) == ("unprotect", WHY)
    assert invoke(["stamp", "--yes", "main@-1"]).status == 0


@pytest.mark.thorough
def test_on_a_terminal_the_name_is_typed(protected_databases: Databases) -> None:
    for typed, ends, left in ((b"yes\n", 5, True), (b"main\n", 0, False)):
        terminal = Terminal("unprotect", "-d", "main", env=environment(protected_databases))
        os.write(terminal._reading, typed)
        assert terminal.end() == ends, terminal.written
        assert "Type 'main' to remove its protection" in terminal.written
        assert bool(run(marker(protected_databases, "main"))) is left


def test_a_marker_that_has_changed_since_it_was_shown_stays(protected_databases: Databases) -> None:
    def confirm(_name: str, _marker: ProtectionMarker) -> None:
        meanwhile(protect(deployment(protected_databases, "main"), "audit"))

    with pytest.raises(Refused, match="has changed since it was shown"):
        run(unprotect(deployment(protected_databases, "main"), confirm))
    left = run(marker(protected_databases, "main"))
    assert left is not None
    assert left.reason == "audit"


def test_a_database_without_journal_and_version_table_can_be_protected(empty_databases: Databases) -> None:
    async def scenario() -> None:
        await marked(empty_databases, None)
        await upgrade(deployment(empty_databases), ["+1"])
        with pytest.raises(Refused, match=WHY):
            await downgrade(deployment(empty_databases), ["base"], confirm=never)

    run(scenario())


def test_a_role_that_may_not_read_the_marker_is_refused_all_the_same(
    protected_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"unread_{protected_databases.names['main']}"
    others = f"alembic_version, {RUNS}, {STEPS}"
    grants = f"REVOKE SELECT ON {PROTECTION} FROM PUBLIC; GRANT SELECT ON {others} TO {role}"
    run(execute(protected_databases, "main", f"CREATE ROLE {role} LOGIN", grants))
    monkeypatch.setenv("DATABASE_URL", protected_databases.urls["main"].replace("postgres@", f"{role}@", 1))
    try:
        answer = invoke(["stamp", "--yes", "-d", "main", "base"])
        assert answer.status == 5
        assert "main is protected by a marker that this role may not read" in answer.stderr
        shown = json.loads(invoke(["status", "-d", "main", "--format", "json"]).stdout)["databases"]["main"]
        assert set(shown["protection"]["marker"].values()) == {None}
    finally:
        run(execute(protected_databases, "main", f"DROP OWNED BY {role}", f"DROP ROLE {role}"))


def test_the_marker_is_out_of_sight(migrated_databases: Databases) -> None:
    """No catalog that is compared has it, and what was changed by hand before is still noticed."""

    async def seen() -> tuple[object, ...]:
        database = deployment(migrated_databases).databases["main"]
        async with database.reading() as connection:
            mark = await fingerprint(connection, "alembic_version")
        return (await read_live_catalog(database)).objects, mark, await database.tables()

    async def warnings() -> list[str]:
        return [finding.rule for finding in (await status(deployment(migrated_databases))).findings]

    async def scenario() -> None:
        await downgrade(deployment(migrated_databases), ["main@-1"], confirm=agree)
        await upgrade(deployment(migrated_databases))
        before = await seen()
        await marked(migrated_databases)
        assert await seen() == before
        await execute(migrated_databases, "main", "CREATE TABLE by_hand ()")
        await protect(deployment(migrated_databases), "audit")
        assert await warnings() == ["schema-changed"]
        await unprotect(deployment(migrated_databases), lifted)
        assert await warnings() == ["schema-changed"]

    run(scenario())


def test_status_shows_it(protected_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_PROTECTED", "1")
    shown = json.loads(invoke(["status", "--format", "json"]).stdout)["databases"]
    setting = "environment CIRCLE_MIGRATE_PROTECTED"
    assert shown["main"]["protection"]["marker"]["reason"] == WHY
    assert shown["main"]["protection"]["setting"] == setting
    assert shown["credentials"]["protection"] == {"marker": None, "setting": setting}
    assert "main: protected by" in invoke(["status"]).stdout
