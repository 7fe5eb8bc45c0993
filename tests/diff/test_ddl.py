"""A migration script leaves no difference: for all cases of drift, in both directions.

Cases that stay within a schema share one database, each in a schema of its own, so that one sketch has to
put the statements of all of them in an order that works.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.dialects import postgresql

from circle_migrate.core.findings import Severity
from circle_migrate.diff.ddl.render import render
from circle_migrate.diff.ddl.script import MigrationScript, generate
from circle_migrate.diff.equivalence import checks_for, equal_by_server
from circle_migrate.diff.result import Aspect, Comparison, Difference
from circle_migrate.diff.scope import split_equivalent
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Snapshot, changes_between
from circle_migrate.safety.hazards.hazard import HAZARDS
from tests.alembic_driver import on_connection
from tests.diff.drift import CASES, Case, apply, beyond_schemas, capturing, load, take, undone
from tests.servers import NAMES, Databases, Server, run

pytestmark = pytest.mark.thorough

_MORE = Path(__file__).with_name("ddl_cases.jsonl").read_text(encoding="utf-8").splitlines()
_ALL = [*CASES, *(Case(**json.loads(line)) for line in _MORE)]

# Differences without a statement, or with too little information in a snapshot, in both directions.
INCOMPLETE = {
    "col_drop": "a column comes back as the last one",
    "col_order": "a column comes back as the last one",
    "col_rename": "a column comes back as the last one, as renames are not guessed",
    "ddl_generated_mid": "a column comes back as the last one",
    "ddl_seq_keep": "a column comes back as the last one",
    "constraint_local": "whether an inherited constraint is declared too",
    "fk_triggers_disabled": "the triggers behind a foreign key have no names to write",
    "grant_by_other": "the owner cannot grant in the name of others, nor revoke",
    "index_invalid": "nobody makes an index INVALID on purpose",
    "inherit_order": "a parent comes last, and its columns too",
    "inherit_column_local": "whether an inherited column is declared too",
    "partition_index_attached": "which index of a partition belongs to the index is not in a snapshot",
    "operator_class": "its members are those of its family",
    "operator_class_changed": "its members are those of its family",
    "operator_family_member": "its members",
    "server_secret": "the value is a secret",
    "subscription_added": "the connection string is a secret",
    "subscription_options": "not written",
    "subscription_origin": "not written",
    "user_mapping": "its options are secrets",
}


def compared(
    before: Snapshot, after: Snapshot, *, only: Callable[[ObjectKey], bool] = lambda _: True
) -> Comparison:
    """Return the comparison of two snapshots with all differences as errors."""
    changes = (change for change in changes_between(before, after) if only(change.key))
    told = (Difference(change, Aspect.DEFINITION, Severity.ERROR) for change in changes)
    return Comparison(before, after, tuple(told))


@dataclass
class Sides:
    """Snapshots with all cases, and the URL of a database at the first side."""

    cases: list[Case]
    before: Snapshot
    after: Snapshot
    url: str


async def led_to(connection: asyncpg.Connection, made: MigrationScript) -> Snapshot:
    """Return the catalog after the statements of a script."""
    for statement in made.statements:
        try:
            await connection.execute(statement.sql)
        except asyncpg.PostgresError as error:
            pytest.fail(f"{error}\n{statement.sql}")
    return await take(connection)


def left(got: Snapshot, wanted: Snapshot) -> set[str]:
    """Return the cases whose schemas still differ."""
    return {change.key.identity.partition(".")[0] for change in changes_between(got, wanted)}


async def unlike(connection: asyncpg.Connection, got: Snapshot, wanted: Snapshot) -> list[Change]:
    """Return the remaining differences without equivalent texts, as IN over varchar."""
    changes = changes_between(got, wanted)
    return split_equivalent(changes, await equal_by_server(connection, checks_for(changes, got)))[0]


def admitted(made: Iterable[str], cases: Iterable[Case]) -> set[str]:
    """Return the cases with an incomplete difference."""
    return {case.id for case in cases if any(f" {case.id}." in text for text in made)}


def local(major: int) -> list[Case]:
    return [case for case in _ALL if not case.database and case.min_pg <= major]


@pytest.fixture(scope="module")
def sides(server: Server) -> Any:
    databases = Databases(server)
    run(databases.create())

    async def prepare() -> Sides:
        async with databases.connect("main") as connection:
            cases = local(connection.get_server_version().major)
            await load(connection, cases)
            before = await take(connection)
            async with undone(connection):
                for case in cases:
                    await apply(connection, case)
                return Sides(cases, before, await take(connection), databases.urls["main"])

    try:
        yield run(prepare())
    finally:
        run(databases.drop())


def test_local_cases_there_and_back(sides: Sides) -> None:
    async def there_and_back() -> None:
        there = generate(compared(sides.before, sides.after))
        back = generate(compared(sides.after, sides.before))
        async with capturing(sides.url) as connection:
            async with undone(connection):
                reached = left(await led_to(connection, there), sides.after)
            async with undone(connection):
                for case in sides.cases:
                    await apply(connection, case)
                returned = left(await led_to(connection, back), sides.before)
        assert reached <= admitted(there.incomplete, sides.cases)
        assert returned <= admitted(back.incomplete, sides.cases)
        lacking = admitted([*there.incomplete, *back.incomplete], sides.cases)
        assert lacking == INCOMPLETE.keys() & {case.id for case in sides.cases}

    run(there_and_back())


def test_cases_beyond_schemas_there_and_back(empty_databases: Databases) -> None:
    async def check() -> dict[str, Any]:
        wrong = {}
        async with capturing(empty_databases.urls["main"]) as connection:
            for case in await beyond_schemas(connection, _ALL):
                async with undone(connection):
                    problem = await one(connection, case)
                if problem:
                    wrong[case.id] = problem
        return wrong

    async def one(connection: asyncpg.Connection, case: Case) -> Any:
        await connection.execute(case.before or "SELECT 1")
        before = await take(connection)
        async with undone(connection):
            await connection.execute(case.after)
            after = await take(connection)
            back = generate(compared(after, before))
            returned = changes_between(await led_to(connection, back), before)
        async with undone(connection):
            there = generate(compared(before, after))
            reached = changes_between(await led_to(connection, there), after)
        unsaid = (reached and not there.incomplete) or (returned and not back.incomplete)
        lacking = bool(there.incomplete or back.incomplete)
        return unsaid or (lacking != (case.id in INCOMPLETE) and (there.incomplete, back.incomplete))

    assert run(check()) == {}


@pytest.mark.parametrize("name", NAMES)
def test_whole_schema_from_nothing_and_back(
    name: str, empty_databases: Databases, migrated_databases: Databases
) -> None:
    async def there_and_back() -> None:
        async with migrated_databases.connect(name) as connection:
            full = await take(connection)
        async with empty_databases.connect(name) as connection:
            empty = await take(connection)
            there = generate(compared(empty, full))
            reached = await led_to(connection, there)
            assert (there.incomplete, await unlike(connection, reached, full)) == ((), [])
            back = generate(there.comparison, undo=True)
            assert (back.incomplete, changes_between(await led_to(connection, back), empty)) == ((), ())

    run(there_and_back())


def test_local_cases_as_a_revision_of_alembic(sides: Sides) -> None:
    told = compared(
        sides.before, sides.after, only=lambda key: key.identity.partition(".")[0] not in INCOMPLETE
    )
    code = render(generate(told), HAZARDS)
    assert "NOT EXPRESSED" not in code

    def migrate(connection: sqlalchemy.Connection, name: str) -> None:
        operations = Operations(MigrationContext.configure(connection))
        module: dict[str, Any] = {"op": operations, "sa": sqlalchemy, "postgresql": postgresql}
        exec(compile(code, "revision", "exec"), module)
        module[name]()
        connection.commit()

    async def there_and_back() -> tuple[Snapshot, Snapshot]:
        snapshots = []
        for name in ("upgrade", "downgrade"):
            await on_connection(sides.url, lambda connection, name=name: migrate(connection, name))
            connection = await asyncpg.connect(sides.url)
            snapshots.append(await take(connection))
            await connection.close()
        return snapshots[0], snapshots[1]

    reached, returned = run(there_and_back())
    assert left(reached, sides.after) <= INCOMPLETE.keys()
    assert left(returned, sides.before) == set()
    upgrade = code.partition("def downgrade")[0]
    assert "op.create_foreign_key(" in upgrade
    assert "op.add_column(" in upgrade
