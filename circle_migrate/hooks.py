"""What a command adds to a run of the executor without another way to the databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from circle_migrate.core.plan import Action, Plan, Segment
    from circle_migrate.run import Run


class Hooks:
    """Called by the executor at the points below; each does nothing unless it is overridden.

    Whatever one of them raises ends the run as if the step had raised it.
    """

    async def prepared(self, run: Run, plan: Plan) -> None:
        """Under the deployer locks, when nothing refuses the plan and nothing of it has run.

        What it raises stops the run before anything was touched.
        """

    def trying(self, number: int, segment: Segment) -> None:
        """A segment, counted from 1, is about to run; again where it did not get its locks."""

    def before(self, connection: Connection, action: Action) -> None:
        """In the action's transaction, before it.

        For a step that cannot run in one it is outside of any, and must not leave one open.
        """

    def after(self, connection: Connection, action: Action) -> None:
        """In the action's transaction, after it and its version row; outside of any as above."""


class Together(Hooks):
    """Several as one, each called in this order; the first that raises is the last that is called."""

    def __init__(self, *hooks: Hooks) -> None:
        self._hooks = hooks

    async def prepared(self, run: Run, plan: Plan) -> None:
        """Call each."""
        for each in self._hooks:
            await each.prepared(run, plan)

    def trying(self, number: int, segment: Segment) -> None:
        """Call each."""
        for each in self._hooks:
            each.trying(number, segment)

    def before(self, connection: Connection, action: Action) -> None:
        """Call each."""
        for each in self._hooks:
            each.before(connection, action)

    def after(self, connection: Connection, action: Action) -> None:
        """Call each."""
        for each in self._hooks:
            each.after(connection, action)
