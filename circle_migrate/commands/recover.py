"""`recover`: finish prepared transactions and close runs that a crash has interrupted.

A prepared transaction of a run in the journal is committed if the journal of its deciding database has the
segment, and rolled back if not. Runs that never ended are marked as lost. Other prepared transactions are not
touched; those that have our prefix are named.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg

from circle_migrate.core.errors import ExitCode, InDoubt, MigrateError
from circle_migrate.core.events import Notify, ignore_event
from circle_migrate.core.result import Result, json_fields
from circle_migrate.migrate.commit import Gid
from circle_migrate.migrate.guards import ensure_own_tables, ensure_writable
from circle_migrate.migrate.journal import Journal
from circle_migrate.migrate.session import ensure_dedicated_session
from circle_migrate.postgres.database import State
from circle_migrate.postgres.deployer_lock import deployer_lock
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.identifier import literal
from circle_migrate.postgres.server_errors import lost_connection_errors, server_message


@dataclass(frozen=True, slots=True)
class RecoveredTransaction:
    """A prepared transaction, and whether its deciding database has committed it."""

    database: str
    run: str
    segment: int
    decider: str
    committed: bool


@dataclass(frozen=True, slots=True)
class RecoverResult(Result):
    """The result of `recover`: finished transactions, lost runs, and others' transactions with our prefix."""

    transactions: tuple[RecoveredTransaction, ...]
    lost: Mapping[str, tuple[str, ...]]
    current: Mapping[str, tuple[str, ...]]
    not_ours: Mapping[str, tuple[str, ...]]
    dry_run: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """In doubt if a dry run has found a prepared transaction."""
        return ExitCode.IN_DOUBT if self.dry_run and self.transactions else ExitCode.DONE

    def to_dict(self) -> dict[str, Any]:
        """Return the transactions and the runs by database."""
        return {
            "dry_run": self.dry_run,
            "transactions": [
                {
                    **json_fields(transaction, "database run segment"),
                    "decided_by": transaction.decider,
                    "outcome": "committed" if transaction.committed else "rolled back",
                }
                for transaction in self.transactions
            ],
            **json_fields(self, "not_ours"),
            "lost_runs": {name: list(runs) for name, runs in self.lost.items()},
            "databases": {name: {"current": list(heads)} for name, heads in self.current.items()},
        }


async def recover(
    deployment: Deployment, *, dry_run: bool = False, notify: Notify = ignore_event
) -> RecoverResult:
    """Finish every prepared transaction of ours in the selected databases and close interrupted runs.

    Takes the deployer locks of these databases and of those that decide about a transaction, so that no run
    is alive. Raises `LockNotObtained`, `Refused` for a journal that another role controls, `NotWritable` for
    a standby, and `InDoubt` for a transaction that cannot be finished.
    """
    async with AsyncExitStack() as stack:
        connections: dict[str, asyncpg.Connection] = {}
        for name in await _needed_databases(deployment):
            database = deployment.databases[name]
            connection = await database.connect("circle-migrate recover")
            stack.callback(connection.terminate)
            stack.enter_context(lost_connection_errors(name, connection))
            await ensure_dedicated_session(database, connection)
            connections[name] = connection
        for name, connection in connections.items():
            wait = deployment.settings.lock_wait
            await stack.enter_async_context(deployer_lock(connection, name, wait, notify))
        states = {
            name: await deployment.databases[name].read_state(connection)
            for name, connection in connections.items()
        }
        for state in states.values():
            if not dry_run:
                ensure_writable(state)
        ensure_own_tables(states)
        transactions = [
            await _finish(deployment, connections, states, name, text, dry_run=dry_run)
            for name in deployment.selected
            for text in states[name].in_doubt
        ]
        lost: dict[str, tuple[str, ...]] = dict.fromkeys(deployment.selected, ())
        for name in deployment.selected:
            state = states[name]
            if state.journal_of:
                journal = Journal(deployment.databases[name], state)
                try:
                    lost[name] = await journal.lost_runs(connections[name], mark=not dry_run)
                except MigrateError as error:
                    if transactions:
                        error.state = "prepared transactions were finished; the runs without an end stay"
                    raise
        current = {
            name: (await deployment.databases[name].read_state(connections[name])).current
            for name in deployment.selected
        }
    not_ours = {name: states[name].not_ours for name in deployment.selected}
    return RecoverResult("recover", tuple(transactions), lost, current, not_ours, dry_run=dry_run)


async def _needed_databases(deployment: Deployment) -> tuple[str, ...]:
    """Return the selected databases, and those that decide about their prepared transactions."""
    names = set(deployment.selected)
    if len(names) < len(deployment.databases):
        for state in (await deployment.states()).values():
            gids = map(Gid.parse, state.in_doubt)
            names |= {gid.decider for gid in gids if gid is not None}
    return tuple(name for name in deployment.databases if name in names)


async def _finish(
    deployment: Deployment,
    connections: Mapping[str, asyncpg.Connection],
    states: Mapping[str, State],
    name: str,
    text: str,
    *,
    dry_run: bool,
) -> RecoveredTransaction:
    gid = Gid.parse(text)
    if gid is None or gid.decider not in connections or gid.database != name:
        raise InDoubt(
            f"{name}: the prepared transaction {text!r} does not name databases of this deployment",
            database=name,
            state="it was not changed",
            hint=f"find it in pg_prepared_xacts, then COMMIT PREPARED or ROLLBACK PREPARED {literal(text)};",
        )
    decider = connections[gid.decider]
    journal = Journal(deployment.databases[gid.decider], states[gid.decider])
    committed = None
    if states[gid.decider].journal_of is not None:
        committed = await journal.has_committed(decider, gid.run, gid.segment)
    if committed is None:
        raise InDoubt(
            f"{name}: {gid.decider} decides about the prepared transaction {text!r}, "
            "but its journal lacks the run",
            database=name,
            state="it was not changed",
            hint=f"compare the URL of {gid.decider} with `circle-migrate config show`: it may lead to "
            "another database; if it was restored to a time before the run, or no run prepared this, type, "
            f"in {name} and as its owner or a superuser: ROLLBACK PREPARED {literal(text)};",
        )
    if not dry_run:
        verb = "COMMIT PREPARED" if committed else "ROLLBACK PREPARED"
        try:
            await connections[name].execute(f"{verb} {literal(text)}")
        except Exception as error:
            raise InDoubt(
                f"{name}: {verb} failed",
                database=name,
                detail=server_message(error),
                state=f"the transaction {text} stays prepared and keeps its locks",
                hint="run this as the role that prepared the transaction, or as a superuser",
            ) from error
    return RecoveredTransaction(name, gid.run, gid.segment, gid.decider, committed)
