"""A downgrade that destroys data: backed up first, stopped where it would take more than was accepted."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from circle_migrate.backup import pg_programs
from circle_migrate.commands.backup import BackupOptions
from circle_migrate.commands.downgrade import BackupPolicy, LossConfirmation, downgrade
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.config.load import load
from circle_migrate.core.errors import BackupFailed, MigrationFailed, Refused, SettingsError
from circle_migrate.migrate.result import MigrationResult
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Plan
from circle_migrate.safety.losses import count as counting
from circle_migrate.safety.losses.find import LossCollector, find_losses
from circle_migrate.safety.losses.report import LossReport, Method
from tests.cli.terminal import Terminal
from tests.deployments import contents, environment, execute, invoke
from tests.projects import Project
from tests.servers import Databases, Server, run

pytestmark = pytest.mark.thorough

_SETTINGS = """
[tool.circle-migrate.databases.main]
revisions = "migrations/main"

[tool.circle-migrate.databases.credentials]
revisions = "migrations/credentials"
"""

_ROWS = """
INSERT INTO users SELECT i, CASE WHEN i <= 5 THEN '+' || i END FROM generate_series(1, 9) i;
INSERT INTO notes VALUES ('a', 'b');
"""


def sql(*statements: str) -> str:
    return "\n".join(f"op.execute({statement!r})" for statement in statements)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("shop"))
    made.write_settings(_SETTINGS)
    tables = ("CREATE TABLE users (id bigint PRIMARY KEY)", "CREATE TABLE notes (a text)")
    made.revision("main", "m1", None, sql(*tables), sql("DROP TABLE users, notes"))
    notes = sql("ALTER TABLE notes ADD b text"), sql("ALTER TABLE notes DROP b")
    made.revision("main", "m2", "m1", *notes)
    phone = sql("ALTER TABLE users ADD phone text"), sql("ALTER TABLE users DROP phone")
    made.revision("main", "m3", "m2", *phone)
    secrets = sql("CREATE TABLE secrets (user_id bigint)"), sql("DROP TABLE secrets")
    made.revision("credentials", "c1", None, *secrets)
    return made


def over(folder: Path, databases: Databases, **flags: object) -> Deployment:
    flags.setdefault("scratch_url", databases.server.admin_url)
    return Deployment(load(flags, environ=environment(databases), cwd=folder))


@pytest.fixture(scope="module")
def filled(server: Server, shop: Project) -> Iterator[Databases]:
    """The shop with rows. Nobody changes it."""
    databases = Databases(server)
    run(databases.create())
    run(upgrade(over(shop.folder, databases)))
    run(execute(databases, "main", _ROWS))
    run(execute(databases, "credentials", "INSERT INTO secrets VALUES (1), (2)"))
    yield databases
    run(databases.drop())


@pytest.fixture
def live(create_databases: Any, filled: Databases) -> Databases:
    """The shop with rows, to be changed."""
    made: Databases = create_databases(filled)
    return made


@pytest.fixture
def at_hand(shop: Project, live: Databases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The command's surroundings; the folder it is in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text(
        _SETTINGS.replace('"migrations', f'"{shop.folder}/migrations'), encoding="utf-8"
    )
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", live.server.admin_url)
    for name, url in environment(live).items():
        monkeypatch.setenv(name, url)
    return tmp_path


async def phones(databases: Databases) -> int | None:
    """How many users have a phone; None where there is no such column."""
    async with databases.connect("main") as connection:
        if not await connection.fetchval("SELECT count(*) FROM pg_attribute WHERE attname = 'phone'"):
            return None
        count: int = await connection.fetchval("SELECT count(phone) FROM users")
        return count


def last_run() -> dict[str, Any]:
    log = json.loads(invoke(["log", "-d", "main", "--limit", "1", "--format", "json"]).stdout)
    noted: dict[str, Any] = log["runs"][0]
    return noted


LOSING = ["downgrade", "main@m2", "--accept-loss", "main.users.phone"]


def test_what_goes_is_in_a_backup_that_the_named_command_brings_back(at_hand: Path, live: Databases) -> None:
    done = invoke([*LOSING, "--format", "json"])
    assert done.status == 0, done.stderr
    assert f"a backup of main and credentials goes to {at_hand / 'backups'}" in done.stderr
    assert run(phones(live)) is None
    made = json.loads(done.stdout)["backup"]
    assert Path(made["manifest"]).is_file()
    assert last_run()["notes"]["backup"] == made
    again = [*shlex.split(made["restore"])[1:], "--accept-loss", "main", "--accept-loss", "credentials"]
    restored = invoke(again)
    assert restored.status == 0, restored.stderr
    assert run(phones(live)) == 5


def test_a_folder_that_is_named_gets_one_whatever_goes(at_hand: Path, live: Databases) -> None:
    run(execute(live, "main", "UPDATE users SET phone = NULL"))
    done = invoke(["downgrade", "main@m2", "--yes", "--backup", "elsewhere"])
    assert done.status == 0, done.stderr
    (folder,) = (at_hand / "elsewhere").iterdir()
    assert f"backup: {folder / 'manifest.json'}" in done.stdout
    assert f"to go back: circle-migrate restore {folder / 'manifest.json'} --replace\n" in done.stdout


@pytest.mark.parametrize(("typed", "status"), [("y", 5), ("main.users", 5), ("main.users.phone", 0)])
def test_on_a_terminal_exactly_the_words_shown_are_typed(
    at_hand: Path, live: Databases, typed: str, status: int
) -> None:
    terminal = Terminal("downgrade", "main@m2", "--no-backup", env=dict(os.environ))
    terminal.until(lambda written: "Type 'main.users.phone' to lose that for good" in written)
    terminal.type(typed)
    assert terminal.end() == status, terminal.written
    assert (run(phones(live)) is None) is (status == 0)


WITHOUT = {
    "declined": (["--no-backup"], "no backup is made", "--no-backup"),
    "kept": (["--keep"], "", None),
}


@pytest.mark.parametrize(("options", "said", "noted"), WITHOUT.values(), ids=WITHOUT)
def test_no_backup_is_made(
    at_hand: Path, live: Databases, options: list[str], said: str, noted: str | None
) -> None:
    done = invoke([*LOSING, *options])
    assert done.status == 0, done.stderr
    assert said in done.stderr
    assert last_run()["notes"].get("backup") == (noted and {"none": noted})
    assert not (at_hand / "backups").exists()


def test_nothing_lost_and_dry_runs_make_none(at_hand: Path, live: Databases) -> None:
    assert invoke(["downgrade", "main@m2", "--dry-run"]).status == 5
    run(execute(live, "main", "UPDATE users SET phone = NULL"))
    assert invoke(["downgrade", "main@m2", "--yes"]).status == 0
    assert not (at_hand / "backups").exists()


def test_without_pg_dump_only_a_backup_that_was_asked_for_is_missed(
    at_hand: Path, live: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run(contents(live))
    (at_hand / "bin").mkdir()
    refused = invoke([*LOSING, "--pg-bin", "bin"])
    assert (refused.status, "there is no pg_dump in" in refused.stderr) == (2, True)
    monkeypatch.setattr(pg_programs, "binaries", SimpleNamespace(find_installed=dict, find_embedded=dict))
    looked: list[Plan] = []

    async def look(plan: Plan) -> LossCollector:
        looked.append(plan)
        return await find_losses(over(at_hand, live), plan)

    how = LossConfirmation(look, accept)
    with pytest.raises(SettingsError, match="there is no pg_dump"):
        run(downgrade(over(at_hand, live), ["main@m2"], confirm=how, backup_policy=into(at_hand)))
    assert looked == [], "before anything is looked at"
    assert invoke([*LOSING, "--backup", "elsewhere"]).status == 2
    assert run(contents(live)) == before
    done = invoke(LOSING)
    assert done.status == 0
    assert "no backup is made: there is no pg_dump" in done.stderr
    assert "there is no pg_dump" in last_run()["notes"]["backup"]["none"]


def test_a_backup_that_fails_stops_the_downgrade(at_hand: Path, live: Databases) -> None:
    before = run(contents(live))
    (at_hand / "file").touch()
    refused = invoke([*LOSING, "--backup", "file"])
    assert refused.status == 2
    assert "the backup cannot be written to" in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert "--no-backup" in refused.stderr

    async def with_a_table_locked() -> None:
        async with live.connect("credentials") as holder:
            await holder.execute("BEGIN; LOCK TABLE secrets")
            with pytest.raises(BackupFailed) as caught:
                await lower(over(at_hand, live, lock_wait=0.2), "main@m2", backup_policy=into(at_hand))
            assert caught.value.state == "there is no backup; nothing was changed"

    run(with_a_table_locked())
    assert run(contents(live)) == before
    assert invoke([*LOSING, "--backup", "dir", "--no-backup"]).status == 2


def into(folder: Path) -> BackupPolicy:
    return BackupPolicy(BackupOptions(folder / "made"), always=True)


def accept(_report: LossReport) -> None:
    """Everything."""


async def lower(
    deployment: Deployment, target: str, then: Callable[[LossReport], None] = accept, **how: Any
) -> MigrationResult | LossReport:
    return await downgrade(
        deployment, [target], confirm=LossConfirmation(partial(find_losses, deployment), then), **how
    )


def meanwhile(databases: Databases, statement: str) -> Callable[[LossReport], None]:
    """Accept a report, while somebody else changes what it is about."""

    def change(_report: LossReport) -> None:
        other = threading.Thread(target=asyncio.run, args=(execute(databases, "main", statement),))
        other.start()
        other.join()

    return change


GROWING = {
    "a-value": (
        "UPDATE users SET phone = 'x' WHERE id = 6",
        "main.users.phone: 5 values accepted, 6 values now",
    ),
    "a-table": (
        "INSERT INTO users SELECT generate_series(10, 12)",
        "main.users: 9 rows accepted, 12 rows now",
    ),
}


@pytest.mark.parametrize(("statement", "words"), GROWING.values(), ids=GROWING)
def test_what_was_written_after_the_report_stops_it(
    shop: Project, live: Databases, statement: str, words: str
) -> None:
    before = run(contents(live))
    target = "main@m2" if "phone" in statement else "main@base"
    with pytest.raises(Refused, match="more data would be lost than was accepted") as caught:
        run(lower(over(shop.folder, live), target, meanwhile(live, statement)))
    assert words in str(caught.value.detail)
    assert caught.value.state == "nothing was changed"
    assert run(contents(live)) == before


def test_a_new_loss_stops_it_and_less_does_not(shop: Project, live: Databases) -> None:
    run(execute(live, "main", "UPDATE users SET phone = NULL"))
    with pytest.raises(Refused) as caught:
        run(
            lower(
                over(shop.folder, live),
                "main@m2",
                meanwhile(live, "UPDATE users SET phone = 'x' WHERE id = 1"),
            )
        )
    assert caught.value.detail == "main.users.phone: nothing accepted, 1 value now"
    run(lower(over(shop.folder, live), "main@m2", meanwhile(live, "UPDATE users SET phone = NULL")))
    assert run(phones(live)) is None


def test_databases_without_data_lose_none_unless_it_is_written_meanwhile(
    shop: Project, empty_databases: Databases
) -> None:
    deployment = over(shop.folder, empty_databases)
    run(upgrade(deployment))
    change = meanwhile(empty_databases, "INSERT INTO users (id) VALUES (1)")
    with pytest.raises(Refused, match="main had no data when the losses were sought, but has some now"):
        run(lower(deployment, "base", change))
    run(execute(empty_databases, "main", "TRUNCATE users"))
    reports: list[LossReport] = []
    moved = run(lower(deployment, "base", reports.append))
    assert isinstance(moved, MigrationResult)
    assert [(report.found_by, report.losses) for report in reports] == [((Method.NO_DATA,), ())]


def test_what_is_kept_is_no_loss_that_could_grow(shop: Project, live: Databases) -> None:
    change = meanwhile(live, "UPDATE users SET phone = 'x' WHERE id = 6")
    moved = run(lower(over(shop.folder, live), "main@m2", change, keep=True))
    assert isinstance(moved, MigrationResult)
    assert [rows.rows for rows in moved.kept] == [6]


def test_what_is_written_while_the_backup_is_made_stops_it(
    shop: Project, live: Databases, tmp_path: Path
) -> None:
    change = meanwhile(live, "UPDATE users SET phone = 'x' WHERE id = 6")

    def notify(event: Any) -> None:
        if event.text == "dump" and event.kind == "started" and event.database == "main":
            change(None)  # type: ignore[arg-type]

    with pytest.raises(Refused, match="more data would be lost") as caught:
        run(lower(over(shop.folder, live), "main@m2", backup_policy=into(tmp_path), notify=notify))
    assert "the backup from before the run is" in str(caught.value.state)
    assert run(phones(live)) == 6


def test_estimates_that_hardly_differ_are_no_growth(
    shop: Project, live: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(
        execute(
            live,
            "main",
            "INSERT INTO users SELECT i, i FROM generate_series(10, 1000) i",
            "ANALYZE users",
        )
    )
    monkeypatch.setattr(counting, "EXACT_ROWS", 100)
    more = "INSERT INTO users SELECT i, i FROM generate_series(1001, {}) i; ANALYZE users"
    with pytest.raises(Refused, match="more data would be lost"):
        run(lower(over(shop.folder, live), "main@m2", meanwhile(live, more.format(1200))))
    run(lower(over(shop.folder, live), "main@m2", meanwhile(live, more.replace("1001", "1201").format(1210))))


def test_what_could_not_be_put_back_is_refused_before_anything_runs(shop: Project, live: Databases) -> None:
    """Although it goes in the second transaction."""
    before = run(contents(live))
    deployment = over(shop.folder, live, transaction="per-revision")
    with pytest.raises(Refused, match=r"--keep cannot restore main\.notes\.b.*no primary key") as caught:
        run(lower(deployment, "main@m1", keep=True))
    assert caught.value.state == "nothing was changed"
    assert run(contents(live)) == before
    run(execute(live, "main", "UPDATE notes SET b = NULL"))
    run(lower(deployment, "main@m1", keep=True))


def test_a_downgrade_that_fails_says_where_its_backup_is(
    shop: Project, live: Databases, tmp_path: Path
) -> None:
    run(execute(live, "main", "CREATE VIEW dialled AS SELECT phone FROM users"))
    with pytest.raises(MigrationFailed) as caught:
        run(lower(over(shop.folder, live), "main@m2", backup_policy=into(tmp_path)))
    (folder,) = (tmp_path / "made").iterdir()
    assert str(folder) in str(caught.value.state)
