"""The everyday commands on the package's own trees: what they do, and what they leave alone."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import circle_migrate
from circle_migrate.commands.downgrade import downgrade
from circle_migrate.commands.history import branches, current, heads, history, show
from circle_migrate.commands.stamp import stamp
from circle_migrate.commands.upgrade import initialise, upgrade
from circle_migrate.config.load import load
from circle_migrate.core.errors import (
    ExitCode,
    LockNotObtained,
    MigrateError,
    MissingDatabase,
    NotConfirmed,
    Refused,
    UsageError,
)
from circle_migrate.migrate.identity import verify_identity
from circle_migrate.migrate.result import MigrationResult
from circle_migrate.postgres.create_database import create_missing
from circle_migrate.postgres.deployer_lock import KEY
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Plan, Stamp
from tests import alembic_driver, old_script
from tests.deployments import (
    agree,
    catalogues,
    contents,
    decline,
    deployment,
    environment,
    execute,
    versions,
)
from tests.servers import NAMES, Databases, run

MAIN = alembic_driver.revisions("main")
CREDENTIALS = alembic_driver.revisions("credentials")
# The old script's databases were migrated together or one behind the other.
STATES = list(zip_longest(*old_script.REVISIONS.values()))
HEADS = {"main": [MAIN[-1]], "credentials": [CREDENTIALS[-1]]}


async def up(
    databases: Databases, *targets: str, only: str | None = None, dry_run: bool = False
) -> MigrationResult:
    return await upgrade(deployment(databases, only), targets or ("head",), dry_run=dry_run)


async def down(
    databases: Databases,
    *targets: str,
    only: str | None = None,
    cascade: bool = False,
    dry_run: bool = False,
    confirm: Callable[[Plan], None] = agree,
) -> MigrationResult:
    target = deployment(databases, only)
    return await downgrade(target, targets, confirm=confirm, cascade=cascade, dry_run=dry_run)


async def claim(
    databases: Databases,
    *targets: str,
    only: str | None = None,
    purge: bool = False,
    dry_run: bool = False,
    confirm: Callable[[Plan], None] = agree,
) -> MigrationResult:
    return await stamp(deployment(databases, only), targets, confirm=confirm, purge=purge, dry_run=dry_run)


Command = Callable[..., Coroutine[Any, Any, MigrationResult]]

# One way through both trees, each line from where the one before has left the databases: the command, its
# targets and options, and what each database is at afterwards (nothing: base).
WALK: list[tuple[Command, Sequence[str], dict[str, Any], str, str]] = [
    (up, ["main@+1"], {}, "dca7825748db", ""),
    (up, ["+1"], {}, "b37f99db0c0e", "1e978f7e8aa5"),
    (up, ["c4b0"], {}, "b37f99db0c0e", "c4b0e5c7784e"),
    (up, ["a930217cd080"], {}, "a930217cd080", "c4b0e5c7784e"),
    (up, ["a930217cd080+1"], {}, "843c768c33cd", "c4b0e5c7784e"),
    (up, ["main@f4e7", "credentials@+1"], {}, "f4e7d8b9c123", "84ae47170774"),
    (up, ["main@f4e7d8b9c123+1"], {}, "8b567d67961a", "84ae47170774"),
    (down, ["-1"], {}, "f4e7d8b9c123", "c4b0e5c7784e"),
    (down, ["main@-2", "d9aa"], {}, "a930217cd080", "d9aa8768cf02"),
    (down, ["843c768c33cd-2"], {}, "b37f99db0c0e", "d9aa8768cf02"),
    (up, ["head"], {"only": "credentials"}, "b37f99db0c0e", "f82fda613c40"),
    (down, ["-3"], {"only": "credentials"}, "b37f99db0c0e", "c4b0e5c7784e"),
    (up, ["head-1"], {"only": "main"}, "47773a45acc2", "c4b0e5c7784e"),
    (up, ["heads"], {}, MAIN[-1], CREDENTIALS[-1]),
    (down, ["head-2"], {"only": "main"}, "c4198e875dd0", CREDENTIALS[-1]),
    (down, ["base+1"], {"only": "main"}, "dca7825748db", CREDENTIALS[-1]),
    (down, ["main@base"], {"cascade": True}, "", ""),
    (up, ["credentials@+1"], {}, "dca7825748db", "1e978f7e8aa5"),
    (up, ["head"], {}, MAIN[-1], CREDENTIALS[-1]),
    (down, ["base"], {}, "", ""),
    (claim, ["head"], {}, MAIN[-1], CREDENTIALS[-1]),
    (claim, ["-1"], {}, MAIN[-2], CREDENTIALS[-2]),
    (claim, ["main@+1", "c4b0"], {}, MAIN[-1], "c4b0e5c7784e"),
    (claim, ["dca7"], {}, "dca7825748db", "c4b0e5c7784e"),
    (claim, ["base"], {"only": "credentials"}, "dca7825748db", ""),
    (claim, ["base"], {}, "", ""),
]


def test_targets_lead_where_alembic_says_they_lead(empty_databases: Databases) -> None:
    async def scenario() -> None:
        for command, targets, options, main, credentials in WALK:
            said = f"{command.__name__} {' '.join(targets)} {options}"
            expected = {"main": [main] if main else [], "credentials": [credentials] if credentials else []}
            moved = await command(empty_databases, *targets, **options)
            assert moved.plan, said
            for name, after in moved.plan.after.items():
                assert list(after) == expected[name], said
            rows = await versions(empty_databases)
            assert {name: found or [] for name, found in rows.items()} == expected, said

    run(scenario())


async def ours(databases: Databases) -> dict[str, tuple[str, ...]]:
    answer = await current(deployment(databases))
    assert answer.exit_code is ExitCode.DONE
    return {each.database: tuple(revision.id for revision in each.current) for each in answer.standings}


NOT_A_TARGET = [
    (up, ["b37f99db0c0f"], "b37f99db0c0e (Add role-based access control tables"),
    (up, ["main@c4b0e5c7784e"], "main has no revision"),
    (up, ["transfer"], "Link memberships to the transfer requests"),
    (up, ["8"], "8b567d67961a"),
    (up, ["base"], "downgrade base"),
    (up, ["-1"], "downgrade -1"),
    (up, ["+99"], "99 steps"),
    (up, ["head", "main@head"], "two targets"),
    (up, ["nothing@head"], "nothing"),
    (up, ["main@"], "not a target"),
    (up, [""], "not a target"),
    (up, ["dca7825748db:head"], "dca7825748db:head"),
    (down, ["+1"], "upgrade +1"),
    (down, ["-9"], "9 steps"),
    (down, ["head"], "not applied"),
    (down, ["dca7825748dc"], "dca7825748db"),
    (claim, ["nonsense"], "no database has a revision 'nonsense'"),
]


def test_what_is_no_target_is_refused_with_what_may_be_meant(
    empty_databases: Databases, subtests: pytest.Subtests
) -> None:
    run(up(empty_databases, "main@b37f", "credentials@1e97"))
    before = run(contents(empty_databases))
    for command, targets, words in NOT_A_TARGET:
        with subtests.test(command=command.__name__, targets=targets):
            with pytest.raises(UsageError) as caught:
                run(command(empty_databases, *targets))
            assert words in f"{caught.value.message} {caught.value.hint}"
    assert run(contents(empty_databases)) == before


def test_database_outside_the_trees_is_refused(empty_databases: Databases) -> None:
    with pytest.raises(UsageError, match="orders") as caught:
        deployment(empty_databases, "orders")
    assert "main, credentials" in str(caught.value.hint)


@pytest.mark.parametrize("missing", [("main", "credentials"), ("credentials",), ("main",), ()])
def test_init_makes_what_is_missing_and_migrates_all(
    empty_databases: Databases, missing: Sequence[str]
) -> None:
    async def scenario() -> None:
        for name in missing:
            await drop_database(empty_databases, name)
        target = deployment(empty_databases)
        result = await initialise(target, await create_missing(target))
        assert (result.command, result.created) == ("init", tuple(missing))
        assert await versions(empty_databases) == HEADS

    run(scenario())


def test_init_of_one_database_leaves_the_other_missing(empty_databases: Databases) -> None:
    async def scenario() -> None:
        for name in NAMES:
            await drop_database(empty_databases, name)
        target = deployment(empty_databases, "main")
        result = await initialise(target, await create_missing(target))
        assert result.created == ("main",)
        survey = await deployment(empty_databases).states_or_errors()
        assert isinstance(survey["credentials"], MissingDatabase)

    run(scenario())


async def drop_database(databases: Databases, name: str) -> None:
    connection = await asyncpg.connect(databases.server.admin_url)
    try:
        await connection.execute(f'DROP DATABASE "{databases.names[name]}"')
    finally:
        await connection.close()


def test_upgrade_builds_what_alembic_builds(
    create_databases: Callable[..., Databases], migrated_databases: Databases
) -> None:
    plain = create_databases()

    async def scenario() -> None:
        for name in NAMES:
            await alembic_driver.upgrade(plain.urls[name], name)
        assert await contents(migrated_databases) == await contents(plain)

    run(scenario())


def test_upgrade_says_what_ran_and_what_there_is_now(empty_databases: Databases) -> None:
    async def scenario() -> None:
        result = await up(empty_databases)
        assert [step.revision.id for step in result.plan.steps("main")] == MAIN
        assert [step.revision.id for step in result.plan.steps("credentials")] == CREDENTIALS
        assert len(result.seconds) == len(MAIN) + len(CREDENTIALS)
        found = await catalogues(empty_databases)
        for name in NAMES:
            assert list(result.tables[name]) == [row[0] for row in found[name]["tables"]]

    run(scenario())


def test_requirement_runs_in_the_database_nobody_named(empty_databases: Databases) -> None:
    async def scenario() -> None:
        result = await up(empty_databases, only="credentials")
        assert [revision.qualified for revision in result.plan.added_dependencies] == ["main@dca7825748db"]
        assert await versions(empty_databases) == {**HEADS, "main": ["dca7825748db"]}

    run(scenario())


def test_downgrade_does_not_strand_the_other_database(migrated_databases: Databases) -> None:
    async def scenario() -> None:
        before = await contents(migrated_databases)
        with pytest.raises(Refused, match="credentials@1e978f7e8aa5") as caught:
            await down(migrated_databases, "main@base")
        assert "--cascade" in str(caught.value.hint)
        assert await contents(migrated_databases) == before

    run(scenario())


@pytest.mark.parametrize("states", STATES, ids=str)
def test_database_of_the_old_script_is_recognised_and_taken_to_head(
    create_databases: Callable[..., Databases],
    migrated_databases: Databases,
    states: tuple[str | None, ...],
) -> None:
    field = create_databases()
    at = {name: state for name, state in zip(NAMES, states, strict=True) if state}

    async def scenario() -> None:
        for name, state in at.items():
            async with field.connect(name) as connection:
                await old_script.build(connection, name, state)
        answer = {each.database: each for each in (await current(deployment(field))).standings}
        for name, known in (("main", MAIN), ("credentials", CREDENTIALS)):
            ids = [revision.id for revision in answer[name].current]
            assert ids == ([at[name]] if name in at else [])
            assert answer[name].error is None
            assert answer[name].pending == len(known) - (known.index(at[name]) + 1 if name in at else 0)
        await up(field)
        assert await contents(field) == await contents(migrated_databases)

    run(scenario())


async def marked_history(databases: Databases) -> None:
    target = deployment(databases)
    history(target, None, verify_identity(target, await target.states()))


LOOKING: list[Callable[[Databases], Coroutine[Any, Any, Any]]] = [
    lambda databases: up(databases, dry_run=True),
    lambda databases: down(databases, "-1", dry_run=True, confirm=decline),
    lambda databases: down(databases, "base", dry_run=True, cascade=True, confirm=decline),
    lambda databases: claim(databases, "head", dry_run=True, confirm=decline),
    lambda databases: current(deployment(databases)),
    marked_history,
]


def test_looking_changes_nothing(empty_databases: Databases) -> None:
    """Not even a version table is made, where there is none yet and where there is one."""

    async def scenario() -> None:
        for start in ([], ["main@b37f", "credentials@1e97"]):
            if start:
                await up(empty_databases, *start)
            before = await contents(empty_databases)
            for look in LOOKING:
                with suppress(UsageError):
                    await look(empty_databases)
            assert await contents(empty_databases) == before

    run(scenario())


def test_dry_run_plans_what_the_run_then_does(empty_databases: Databases) -> None:
    async def scenario() -> None:
        for command, targets in ((up, ["main@dca7", "credentials@d9aa"]), (up, ["head"]), (down, ["base"])):
            planned = await command(empty_databases, *targets, dry_run=True)
            done = await command(empty_databases, *targets)
            assert planned.plan == done.plan
            assert planned.plan

    run(scenario())


def test_nothing_to_do_needs_no_lock_and_something_does(migrated_databases: Databases) -> None:
    async def scenario() -> None:
        async with migrated_databases.connect("main") as other:
            await other.execute(f"SELECT pg_advisory_lock({KEY})")
            assert not (await up(migrated_databases)).plan
            assert not (await claim(migrated_databases, "head", confirm=decline)).plan
            settings = load({"lock_wait": 0}, environ=environment(migrated_databases))
            with pytest.raises(LockNotObtained, match=f"pid {other.get_server_pid()}"):
                await downgrade(Deployment(settings), ["-1"], confirm=agree)
        assert await versions(migrated_databases) == HEADS

    run(scenario())


@pytest.mark.parametrize("command", [down, claim])
def test_unconfirmed_is_not_done(migrated_databases: Databases, command: Command) -> None:
    async def scenario() -> None:
        before = await contents(migrated_databases)
        with pytest.raises(NotConfirmed):
            await command(migrated_databases, "-1", confirm=decline)
        assert await contents(migrated_databases) == before

    run(scenario())


def test_what_was_confirmed_is_what_is_done(migrated_databases: Databases) -> None:
    """Somebody moves the databases while the question is on the screen."""

    async def scenario() -> None:
        def meanwhile(_plan: Plan) -> None:
            with ThreadPoolExecutor() as pool:
                pool.submit(run, down(migrated_databases, "main@-1")).result()

        with pytest.raises(Refused, match="have changed since the plan was made"):
            await down(migrated_databases, "main@-1", confirm=meanwhile)
        assert (await versions(migrated_databases))["main"] == [MAIN[-2]]

    run(scenario())


def test_stamp_says_what_it_claims_and_runs_nothing(empty_databases: Databases) -> None:
    claims: list[Plan] = []

    async def scenario() -> None:
        await up(empty_databases, "main@b37f", "credentials@1e97")
        before = await catalogues(empty_databases)
        await claim(empty_databases, "main@a930", "credentials@base", confirm=claims.append)
        assert await catalogues(empty_databases) == before
        assert await versions(empty_databases) == {"main": ["a930217cd080"], "credentials": []}

    run(scenario())
    main, credentials = claims[0].actions
    assert isinstance(main, Stamp)
    assert isinstance(credentials, Stamp)
    assert [revision.id for revision in main.claimed] == ["a930217cd080"]
    assert [revision.id for revision in credentials.disowned] == ["1e978f7e8aa5"]
    assert (main.disowned, credentials.claimed) == ((), ())


@pytest.mark.parametrize("rows", [["gone"], ["dca7825748db", "b37f99db0c0e"], ["1e978f7e8aa5"]], ids=str)
def test_stamp_mends_a_version_table_only_when_told_to(empty_databases: Databases, rows: list[str]) -> None:
    """Unknown, contradicting and swapped versions stop a plain stamp; `--purge` is there to mend them."""

    async def scenario() -> None:
        await up(empty_databases, "main@b37f")
        values = ", ".join(f"('{row}')" for row in rows)
        await execute(
            empty_databases,
            "main",
            "TRUNCATE alembic_version",
            f"INSERT INTO alembic_version VALUES {values}",
        )
        with pytest.raises(MigrateError):
            await claim(empty_databases, "main@b37f", only="main")
        assert (await versions(empty_databases))["main"] == sorted(rows)
        await claim(empty_databases, "main@b37f", only="main", purge=True)
        assert (await versions(empty_databases))["main"] == ["b37f99db0c0e"]

    run(scenario())


def test_trees_are_listed_without_any_database(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Deployment(load(environ={}))
    listed = {name: [each.revision.id for each in rows] for name, rows in history(files).listed.items()}
    assert listed == {"main": MAIN[::-1], "credentials": CREDENTIALS[::-1]}
    assert {name: [each.revision.id for each in rows] for name, rows in heads(files).listed.items()} == HEADS
    assert not any(branches(files).listed.values())
    (shown,) = show(files, ["f4e7"]).listed["main"]
    assert shown.revision.message == "Add meeting and attendance tracking tables"
    assert Path(shown.revision.path).is_file()


# Both ends belong to a span, as in `alembic history -r`.
SPANS: list[tuple[str, dict[str, list[str]]]] = [
    ("dca7825748db:a930217cd080", {"main": MAIN[2::-1]}),
    (":b37f", {"main": MAIN[1::-1]}),
    (f"{MAIN[-3]}:", {"main": MAIN[:-4:-1]}),
    ("c4b0e5c7784e:head", {"credentials": CREDENTIALS[:-5:-1]}),
    ("head-1:head", {"main": MAIN[:-3:-1], "credentials": CREDENTIALS[:-3:-1]}),
    ("base:base+1", {"main": MAIN[:1], "credentials": CREDENTIALS[:1]}),
    ("main@base:main@base+1", {"main": MAIN[:1]}),
]


@pytest.mark.parametrize(("span", "expected"), SPANS)
def test_history_of_a_span(span: str, expected: dict[str, list[str]]) -> None:
    found = history(Deployment(load(environ={})), span).listed
    assert {name: [each.revision.id for each in rows] for name, rows in found.items() if rows} == expected


@pytest.mark.parametrize("span", ["dca7", "dca7:c4b0", "nonsense:head", "head:base"])
def test_what_is_no_span_is_refused(span: str) -> None:
    with pytest.raises(UsageError):
        history(Deployment(load(environ={})), span)


ENV_PY = """
import asyncio, os
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

def run(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

async def main():
    engine = create_async_engine(os.environ["ALEMBIC_URL"], poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()

asyncio.run(main())
"""


class Alembic:
    """The `alembic` command with an env.py of its own, as any project without this package has it."""

    def __init__(self, folder: Path, database: str, url: str) -> None:
        self.folder = folder / f"alembic-{database}"
        self.folder.mkdir()
        (self.folder / "env.py").write_text(ENV_PY, encoding="utf-8")
        (self.folder / "alembic.ini").write_text(
            f"[alembic]\nscript_location = %(here)s\npath_separator = os\n"
            f"version_locations = {alembic_driver.FOLDER / database}\n",
            encoding="utf-8",
        )
        self.url = url.replace("postgresql://", "postgresql+asyncpg://")

    async def __call__(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "alembic", *arguments),
            cwd=self.folder,
            env={
                **os.environ,
                "ALEMBIC_URL": self.url,
                "PYTHONPATH": str(Path(circle_migrate.__file__).parents[1]),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate()
        assert process.returncode == 0, stderr.decode()
        return stdout.decode().strip()


def test_alembic_and_the_package_take_turns(migrated_databases: Databases, tmp_path: Path) -> None:
    async def scenario() -> None:
        commands = [Alembic(tmp_path, name, migrated_databases.urls[name]) for name in NAMES]

        async def alembic(*arguments: str) -> list[str]:
            return list(await asyncio.gather(*(command(*arguments) for command in commands)))

        await down(migrated_databases, "-2")
        assert await alembic("current") == [MAIN[-3], CREDENTIALS[-3]]
        await alembic("upgrade", "+1")
        assert await ours(migrated_databases) == {"main": (MAIN[-2],), "credentials": (CREDENTIALS[-2],)}
        await up(migrated_databases)
        assert await alembic("current") == [f"{MAIN[-1]} (head)", f"{CREDENTIALS[-1]} (head)"]

    run(scenario())
