"""Run generated DDL on a scratch copy, so that the server decides on its order and tells what it leaves."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial

import asyncpg

from circle_migrate.core.errors import MigrateError
from circle_migrate.core.redaction import redact
from circle_migrate.diff.compare import CompareOptions
from circle_migrate.diff.ddl.dependencies import ROUTINES
from circle_migrate.diff.ddl.script import MigrationScript, generate
from circle_migrate.diff.ddl.statement import HIDDEN, Statement
from circle_migrate.diff.describe import summary
from circle_migrate.diff.equivalence import compare_in_scratch
from circle_migrate.diff.result import Comparison, Trial
from circle_migrate.postgres.catalog.read import OWNER
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.scratch.databases import Scratch
from circle_migrate.postgres.scratch.pool import ScratchServers
from circle_migrate.postgres.server_errors import server_message


async def run_trial(servers: ScratchServers, comparison: Comparison, *, undo: bool) -> Trial:
    """Run the DDL of a comparison, or the DDL that undoes it, on a scratch copy of the side it changes."""
    script, major = generate(comparison, undo=undo), comparison.before.major
    if not script.statements:
        return Trial()
    for key, fields in sorted({**script.plan.before.objects, **script.plan.after.objects}.items()):
        if key.kind in ROUTINES and fields.get("owner", OWNER) != OWNER:
            return Trial(untried=f"it could run what another role has written: {key}")
    try:
        async with servers.databases([comparison.database], major=major) as scratch:
            if scratch.majors[comparison.database] == major:
                return await _run(script, scratch)
            return Trial(untried=f"there is no scratch server of PostgreSQL {major}; use --scratch-url URL")
    except MigrateError as error:
        return Trial(untried=redact("; ".join(filter(None, (error.message, error.detail, error.hint)))))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        return Trial(untried=server_message(error))


async def _run(script: MigrationScript, scratch: Scratch) -> Trial:
    database = scratch.deployment.databases[script.comparison.database]
    start, goal = (
        replace(script.comparison.before, objects=catalog.objects)
        for catalog in (script.plan.before, script.plan.after)
    )

    async def difference(wanted: Snapshot) -> Comparison:
        """Return the difference between the copy and a snapshot, without secrets and INVALID indexes."""
        options, current = CompareOptions(partitions=True), await read_live_catalog(database)
        comparison = await compare_in_scratch(current, wanted, options, lambda: nullcontext(database))
        common = current.objects.keys() & wanted.objects.keys()
        secret = {key for key in common if HIDDEN in (wanted.value(key, "options") or "")}
        differences = (item for item in comparison.differences if item.change.key not in secret)
        others = (item for item in differences if item.change.fields != {"valid": (None, "no")})
        return replace(comparison, differences=tuple(others))

    async def execute(sql: str) -> None:
        await scratch.run_adding_missing_roles(partial(connection.execute, sql))

    connection = await database.connect()
    try:
        await connection.execute("SET row_security = on")  # as psql, which reads views under policies
        creation = generate(await difference(start)).statements
        _, refused = await _in_order(creation, execute)
        texts = [str(item.change.key) for item in (await difference(start)).differences]
        texts += [f"{creation[index].sql}: {message}" for index, message in refused.items()]
        if texts:
            return Trial(untried=f"no scratch copy can be made of {'; '.join(texts)}")
        order, refused = await _in_order(script.statements, execute)
    finally:
        connection.terminate()
    result = await difference(goal)
    known = [*script.incomplete, *(str(script.statements[index].key) for index in refused)]
    missing = refused.items() if result.differences else ()  # else the command on a parent did it
    gaps = [f"{script.statements[index].sql}: {message}" for index, message in missing]
    others = (item for item in result.differences if not any(str(item.change.key) in text for text in known))
    gaps += [summary(item, result) for item in others]
    return Trial(tuple(order), tuple(gaps))


async def _in_order(
    statements: Sequence[Statement], execute: Callable[[str], Awaitable[None]]
) -> tuple[list[int], dict[int, str]]:
    """Run the statements; those that fail are tried again after each that succeeds.

    Return the indexes of those that succeeded, in their order, and the server's words about the others.
    """
    script = ";\n".join(statement.sql for statement in statements)
    if script and all(statement.transactional for statement in statements):
        with suppress(asyncpg.PostgresError):
            await execute(script)
            return [*range(len(statements))], {}
    order: list[int] = []
    refused: dict[int, str] = {}
    for new in range(len(statements)):
        waiting = [new]
        while waiting:
            count = len(order)
            for index in waiting:
                try:
                    await execute(statements[index].sql)
                except asyncpg.PostgresError as error:
                    refused[index] = server_message(error)
                else:
                    order.append(index)
                    refused.pop(index, None)
            waiting = list(refused) if len(order) > count else []
    return order, refused
