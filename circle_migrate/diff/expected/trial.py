"""Run generated DDL on a scratch copy, so that the server decides on its order and tells what it leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

import asyncpg

from circle_migrate.core.errors import MigrateError
from circle_migrate.core.redaction import redact
from circle_migrate.diff.compare import CompareOptions, compare
from circle_migrate.diff.ddl.script import MigrationScript, generate
from circle_migrate.diff.ddl.statement import HIDDEN, Statement
from circle_migrate.diff.describe import summary
from circle_migrate.diff.equivalence import checks_for, equal_by_server
from circle_migrate.diff.result import Comparison, Difference, Trial
from circle_migrate.diff.scope import ChangeSet, EquivalenceAnswers
from circle_migrate.postgres.catalog.read import read_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.scratch.databases import Scratch
from circle_migrate.postgres.scratch.pool import ScratchServers
from circle_migrate.postgres.server_errors import server_message

_EVERYTHING = CompareOptions(partitions=True)

Execute = Callable[[str], Awaitable[object]]


async def run_trial(servers: ScratchServers, comparison: Comparison, *, undo: bool) -> Trial:
    """Run the DDL of a comparison, or the DDL that undoes it, on a scratch copy of the side it changes."""
    script = generate(comparison, undo=undo)
    if not script.statements:
        return Trial()
    major = comparison.before.major
    try:
        async with servers.databases([comparison.database], major=major) as scratch:
            if scratch.majors[comparison.database] != major:
                return Trial(untried=f"there is no server of PostgreSQL {major} for scratch databases")
            return await _run(script, scratch)
    except MigrateError as error:
        return Trial(untried=redact("; ".join(filter(None, (error.message, error.detail, error.hint)))))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        return Trial(untried=server_message(error))


async def _run(script: MigrationScript, scratch: Scratch) -> Trial:
    before, database = script.comparison.before, scratch.deployment.databases[script.comparison.database]
    start, goal = (
        replace(before, objects=catalog.objects) for catalog in (script.plan.before, script.plan.after)
    )
    connection = await database.connect()
    try:

        async def execute(sql: str) -> None:
            await scratch.run_adding_missing_roles(partial(connection.execute, sql))

        difference = partial(_difference, connection, database)
        creation = generate(await difference(start)).statements
        _, refused = await _in_order(creation, execute)
        left = [item for item in (await difference(start)).differences if not _is_secret(item, start)]
        if refused or left:
            texts = [str(item.change.key) for item in left]
            texts += [f"{creation[index].sql}: {message}" for index, message in refused.items()]
            return Trial(untried=f"no scratch copy can be made of {'; '.join(texts)}")
        order, refused = await _in_order(script.statements, execute)
        reached = await difference(goal)
    finally:
        connection.terminate()
    gaps = [f"{script.statements[index].sql}: {message}" for index, message in refused.items()]
    known = {*(str(script.statements[index].key) for index in refused)}
    for item in reached.differences:
        key = str(item.change.key)
        if not (key in known or any(key in text for text in script.incomplete) or _is_secret(item, goal)):
            gaps.append(summary(item, reached))
    return Trial(tuple(order), tuple(gaps))


def _is_secret(difference: Difference, snapshot: Snapshot) -> bool:
    """Return whether an object has a secret, which a scratch copy lacks."""
    return HIDDEN in (snapshot.objects.get(difference.change.key, {}).get("options") or "")


async def _difference(connection: asyncpg.Connection, database: Database, goal: Snapshot) -> Comparison:
    """Compare the current catalog with another one, without texts of the same meaning."""
    settings = database.settings
    current = await read_catalog(
        connection,
        database.name,
        "the result",
        version_table=settings.version_table,
        version_table_schema=settings.version_table_schema,
    )

    async def answer(change_set: ChangeSet) -> EquivalenceAnswers:
        return await equal_by_server(connection, checks_for(change_set.changes, current))

    return await compare(current, goal, _EVERYTHING, answer)


async def _in_order(statements: Sequence[Statement], execute: Execute) -> tuple[list[int], dict[int, str]]:
    """Run the statements; one that fails is tried again after each that succeeds.

    Return the indexes of those that succeeded, in their order, and the server's words about the others.
    """
    script = ";\n".join(statement.sql for statement in statements)
    if script and all(statement.transactional for statement in statements):
        try:
            await execute(script)
        except asyncpg.PostgresError:
            pass  # one by one
        else:
            return [*range(len(statements))], {}
    order: list[int] = []
    refused: dict[int, str] = {}

    async def succeeds(index: int) -> bool:
        try:
            await execute(statements[index].sql)
        except asyncpg.PostgresError as error:
            refused[index] = server_message(error)
            return False
        order.append(index)
        refused.pop(index, None)
        return True

    for index in range(len(statements)):
        progress = await succeeds(index)
        while progress:
            progress = any([await succeeds(waiting) for waiting in list(refused)])
    return order, refused
