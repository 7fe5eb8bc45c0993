"""What a run of the executor writes into the journals besides its steps: that it began, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from circle_migrate.core.plan import Plan
from circle_migrate.errors import CircleError
from circle_migrate.guards import no_journal
from circle_migrate.journal import Journal
from circle_migrate.run import Run, describe

_MARKING = 2.0
"""Seconds to take the mark of a schema in: 0.6 for 5,000 tables."""


async def announce(run: Run, plan: Plan, notes: Mapping[str, object]) -> None:
    """Begin the run in every journal, and tell what is to come. Raises the errors of `no_journal`."""
    planned = {
        name: [describe(each) for each in plan.actions if each.database == name] for name in plan.databases
    }
    await _close_lost(run)
    for name, journal in run.journals.items():
        driver = run.sessions[name].driver
        try:
            await journal.ensure(driver)
            await journal.announce(driver, run.id, run.command, run.mode, planned, notes)
        except Exception as error:
            raise no_journal(run.states[name], error) from error
    run.announce(planned)


async def _close_lost(run: Run) -> None:
    """Runs that never ended are lost: we hold the deployer lock of every database, so none is alive."""
    for name, state in run.states.items():
        if state.journal_of is None or state.standby or state.read_only:
            continue
        journal = Journal(run.deployment.databases[name], state.schema)
        try:
            await journal.close_lost(run.sessions[name].driver)
        except Exception as error:
            raise no_journal(state, error) from error


async def conclude(run: Run, outcome: str, error: CircleError | None = None) -> None:
    """Write how the run ended; a server that cannot be told learns it from the next run."""
    text = " ".join(filter(None, [error.message, error.detail])) if error else None
    for name, journal in run.journals.items():
        driver = run.sessions[name].driver
        mark = await _mark(run, name) if error is None else None
        try:
            async with asyncio.timeout(2):
                if not driver.is_closed():
                    await journal.conclude(driver, run.id, outcome, text, mark)
                    continue
                another = await run.deployment.databases[name].connect()
                try:
                    await journal.conclude(another, run.id, outcome, text)
                finally:
                    another.terminate()
        except Exception:  # noqa: BLE001, S112 - see above
            continue


async def _mark(run: Run, name: str) -> str | None:
    """What `status` will know the schema by; None where it cannot be had soon.

    A run that has moved nothing answers for no schema: the mark of the one before it stays.
    """
    from circle_migrate.introspect import mark

    try:
        async with asyncio.timeout(_MARKING):
            if run.at[name] == run.states[name].current:
                return await run.journals[name].last_mark(run.sessions[name].driver)
            return await mark(run.sessions[name].driver, run.states[name], run.at[name])
    except Exception:  # noqa: BLE001 - the run has ended well, with or without it
        return None
