"""The deployer lock after a step that may have released it."""

from __future__ import annotations

from circle_migrate.core.errors import LockNotObtained
from circle_migrate.migrate.failure import describe_current_revisions
from circle_migrate.migrate.run import MigrationRun, describe
from circle_migrate.postgres.deployer_lock import CHECK_HELD, RELEASED, acquire, find_lock_holder
from circle_migrate.revision_graph.plan import Action, Step


async def keep_lock(run: MigrationRun, action: Action, answer: str = "") -> None:
    """Take the deployer lock again if the action has released it; `answer` is that to `CHECK_HELD`, if known.

    Raises `LockNotObtained` if another session holds it.
    """
    name, driver = action.database, run.sessions[action.database].driver
    if (answer or await driver.execute(CHECK_HELD)) != RELEASED:
        return
    text = f"{name}: {describe(action)} has released the deployer lock"
    if not await acquire(driver):
        raise LockNotObtained(
            f"{text}, and another session holds it now: {await find_lock_holder(driver) or 'unknown'}",
            database=name,
            location=action.revision.location if isinstance(action, Step) else None,
            state=await describe_current_revisions(run),
            hint="remove what releases it, such as pg_advisory_unlock_all or DISCARD ALL, from the revision; "
            "when the other session has ended, run the same command again",
        )
    run.warn(f"{text}, which is held again; another deployer may have run meanwhile")
