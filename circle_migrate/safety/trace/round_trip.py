"""The way back: whether the downgrades of an upgrade that was traced lead to the catalogues there were."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import takewhile
from typing import TYPE_CHECKING

from sqlalchemy import event
from sqlalchemy.util import await_only

from circle_migrate.core.errors import Interrupted, MigrateError, Unreachable
from circle_migrate.core.events import discard
from circle_migrate.core.redaction import redact
from circle_migrate.diff.equivalence import checks_for, equal_by_text
from circle_migrate.diff.scope import split_equivalent
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.postgres.catalog.read import read_catalog
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op, Snapshot, changes_between
from circle_migrate.revision_graph.plan import Action, Direction, Plan, Step, TransactionMode, plan_downgrade
from circle_migrate.safety.trace.record import RevisionIssue

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.engine import Connection

    from circle_migrate.config.settings import DatabaseSettings
    from circle_migrate.postgres.deployment import Current
    from circle_migrate.postgres.scratch.databases import Scratch
    from circle_migrate.revision_graph.revision import Revision

_OF_THE_CLUSTER = re.compile(
    r"\b(?:CREATE|ALTER|DROP)\s+(?:ROLE|USER|GROUP|TABLESPACE|DATABASE|SUBSCRIPTION)\b"
    r"|\bALTER\s+SYSTEM\b|\b(?:DROP|REASSIGN)\s+OWNED\b|\bdblink",
    re.IGNORECASE,
)
"""What is not of one database: a scratch database may lie beside others, which use it."""

_SHOWN = 3
"""Differences that are named; the others are counted."""

_SIGNS = {Op.ADDED: "stays", Op.REMOVED: "is not back", Op.CHANGED: "is another one"}
_COUNTED = frozenset({"position"})
"""What a column that is made anew cannot have again."""


async def check_round_trips(
    made: Scratch, plan: Plan, catalogues: Mapping[str, Snapshot], command: str
) -> tuple[RevisionIssue, ...]:
    """The revisions of an upgrade whose downgrade is missing, fails, or leads elsewhere.

    The scratch databases are those the plan has run on; `catalogues` are from before each of its revisions.
    Those are undone from the last one on, as far as they do not declare that they cannot be. Raises
    `Interrupted` and `Unreachable`.
    """
    revisions = [step.revision for step in plan.actions if isinstance(step, Step)]
    if any(step.direction is Direction.DOWN for step in plan.actions if isinstance(step, Step)):
        return ()
    undone = list(takewhile(_can_be_undone, reversed(revisions)))
    missing = (
        RevisionIssue(revision.database, revision.id, "it has no downgrade(), and does not say why")
        for revision in revisions
        if not revision.has_downgrade and revision.irreversible is None
    )
    return (*missing, *(await _undo(made, undone, catalogues, command) if undone else ()))


async def _undo(
    made: Scratch, revisions: list[Revision], catalogues: Mapping[str, Snapshot], command: str
) -> list[RevisionIssue]:
    from circle_migrate.migrate.executor import RunOptions, execute

    hooks = _Returning(catalogues)
    forest = made.deployment.forest
    names = made.deployment.reachable_databases(Direction.DOWN)

    def planner(current: Current) -> Plan:
        left = {
            name: {revision.id for revision in revisions if revision.database == name}
            & forest.graphs[name].ancestors(heads)
            for name, heads in current.items()
        }
        return plan_downgrade(forest, current, left, TransactionMode.PER_REVISION, cascade=True)

    options = RunOptions(command, allow_edited=True, hooks=hooks)
    try:
        await made.run_adding_missing_roles(
            lambda: execute(made.deployment, names, planner, discard, options)
        )
    except (Interrupted, Unreachable):
        raise
    except MigrateError as error:
        if not isinstance(hooks.running, Step):
            raise
        if isinstance(error.__cause__, _BeyondError):
            return hooks.found
        revision = hooks.running.revision
        words = ": ".join(filter(None, (error.message, error.detail)))
        why = redact(" ".join(f"its downgrade fails: {words}".split()))
        hooks.found.append(RevisionIssue(revision.database, revision.id, why))
    return hooks.found


def _can_be_undone(revision: Revision) -> bool:
    return revision.has_downgrade and revision.irreversible is None


class _BeyondError(Exception):
    """A downgrade would do something to the whole cluster: how it ends is not found out."""


class _Returning(Hooks):
    """Compares what each downgrade leaves with the catalogue from before the upgrade.

    What a later revision has left is not said of the ones before it.
    """

    def __init__(self, catalogues: Mapping[str, Snapshot]) -> None:
        self.found: list[RevisionIssue] = []
        self.running: Action | None = None
        self._catalogues = catalogues
        self._connections: dict[str, tuple[asyncpg.Connection, DatabaseSettings]] = {}
        self._told: set[tuple[str, ObjectKey]] = set()
        self._watched: set[str] = set()

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Remember where to look."""
        for name in plan.databases:
            settings = run.deployment.databases[name].settings
            self._connections[name] = run.sessions[name].driver, settings

    def before_step(self, connection: Connection, action: Action) -> None:
        """A step begins."""
        self.running = action
        if action.database not in self._watched:
            self._watched.add(action.database)
            event.listen(connection, "before_cursor_execute", _refuse_beyond)

    def after_step(self, connection: Connection, action: Action) -> None:  # noqa: ARG002 - as declared
        """A step has run: compare."""
        self.running = None
        if not isinstance(action, Step) or action.revision.qualified not in self._catalogues:
            return
        driver, settings = self._connections[action.database]
        now = await_only(
            read_catalog(
                driver,
                settings.name,
                "scratch",
                version_table=settings.version_table,
                version_table_schema=settings.version_table_schema,
            )
        )
        before = self._catalogues[action.revision.qualified]
        differing = changes_between(before, now)
        changes = [
            change
            for change in split_equivalent(differing, equal_by_text(checks_for(differing, before)))[0]
            if (action.database, change.key) not in self._told
            and (change.op is not Op.CHANGED or change.fields.keys() - _COUNTED)
        ]
        self._told.update((action.database, change.key) for change in changes)
        if changes:
            self.found.append(RevisionIssue(action.database, action.revision.id, _in_words(changes)))


def _refuse_beyond(_connection: object, _cursor: object, statement: str, *_: object) -> None:
    if _OF_THE_CLUSTER.search(statement):
        raise _BeyondError


def _in_words(changes: list[Change]) -> str:
    whole = {change.key for change in changes if change.op is not Op.CHANGED}
    told = [change for change in changes if change.owner not in whole]  # parts go with what they belong to
    named = [f"{change.key} {_SIGNS[change.op]}{_what(change)}" for change in told[:_SHOWN]]
    more = len(told) - _SHOWN
    return "up and down again, " + "; ".join([*named, *([f"and {more} more"] if more > 0 else [])])


def _what(change: Change) -> str:
    names = sorted(change.fields.keys() - _COUNTED) if change.op is Op.CHANGED else ()
    return f" ({', '.join(name.replace('_', ' ') for name in names)})" if names else ""
