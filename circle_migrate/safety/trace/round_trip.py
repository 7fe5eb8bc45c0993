"""Check that the downgrades of a traced upgrade restore the catalogs from before it."""

from collections.abc import Mapping
from itertools import takewhile
from typing import TYPE_CHECKING, cast

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.util import await_only

from circle_migrate.core.errors import Interrupted, MigrateError, Unreachable
from circle_migrate.core.events import ignore_event
from circle_migrate.core.redaction import redact
from circle_migrate.diff.equivalence import checks_for, equal_by_text
from circle_migrate.diff.scope import split_equivalent
from circle_migrate.migrate.alembic_adapter.runner import Runner
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.migrate.session import CLUSTER_WIDE
from circle_migrate.postgres.catalog.queries import NESTED_LOOPS
from circle_migrate.postgres.catalog.reader import CatalogReader
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op, Snapshot, changes_between
from circle_migrate.postgres.deployment import Current
from circle_migrate.postgres.scratch.databases import Scratch
from circle_migrate.postgres.sql_text import DEALLOCATES, split_statements
from circle_migrate.revision_graph.plan import Action, Direction, Plan, Step, TransactionMode, plan_downgrade
from circle_migrate.revision_graph.revision import Revision

if TYPE_CHECKING:
    from circle_migrate.postgres.simple_protocol import Adapter

_SHOWN = 3
"""The number of differences that a message names; the others are counted."""

_PROBLEMS = {Op.ADDED: "remains", Op.REMOVED: "is missing", Op.CHANGED: "differs"}
_NOT_RESTORED = frozenset({"position"})
"""Fields that a column which is created again cannot get back."""


async def check_round_trips(
    databases: Scratch, plan: Plan, catalogs: Mapping[str, Snapshot], command: str, turn: Hooks
) -> dict[str, str]:
    """Describe by revision how downgrades are missing, fail, or leave another catalog.

    The plan has run on the scratch databases; `catalogs` are from before each of its revisions, which are
    downgraded from the last to the first irreversible one. `turn` is as `run_at_once` gives it. Raises
    `Interrupted` and `Unreachable`.
    """
    steps = [step for step in plan.actions if isinstance(step, Step)]
    revisions = [step.revision for step in steps]
    if any(step.direction is Direction.DOWN for step in steps):
        return {}
    backwards = reversed(revisions)
    undone = list(takewhile(lambda item: item.has_downgrade and item.irreversible is None, backwards))
    missing = {
        revision.qualified: "it has no downgrade() and does not declare that it is irreversible"
        for revision in revisions
        if not revision.has_downgrade and revision.irreversible is None
    }
    return missing | (
        await _undo(databases, tuple(plan.current), undone, catalogs, command, turn) if undone else {}
    )


async def _undo(
    databases: Scratch,
    names: tuple[str, ...],
    revisions: list[Revision],
    catalogs: Mapping[str, Snapshot],
    command: str,
    turn: Hooks,
) -> dict[str, str]:
    from circle_migrate.migrate.executor import RunOptions, execute

    hooks = _RoundTripHooks(catalogs)
    combined_graph = databases.deployment.combined_graph

    def planner(current: Current) -> Plan:
        left = {
            name: {revision.id for revision in revisions if revision.database == name}
            & combined_graph.graphs[name].ancestors(heads)
            for name, heads in current.items()
        }
        # Databases without a scratch copy have no revision.
        current = {name: current.get(name, ()) for name in combined_graph.graphs}
        return plan_downgrade(combined_graph, current, left, TransactionMode.PER_REVISION, cascade=True)

    options = RunOptions(command, allow_edited=True, hooks=Hooks(turn, hooks))
    try:
        await databases.run_adding_missing_roles(
            lambda: execute(databases.deployment, names, planner, ignore_event, options)
        )
    except (Interrupted, Unreachable):
        raise
    except MigrateError as error:
        if not isinstance(hooks.running, Step):
            raise
        if isinstance(error.__cause__, _ClusterWideError):
            return hooks.issues
        message = ": ".join(filter(None, (error.message, error.detail)))
        reason = " ".join(redact(f"its downgrade fails: {message}").split())
        hooks.issues[hooks.running.revision.qualified] = reason
    return hooks.issues


class _ClusterWideError(Exception):
    """A downgrade would change the whole cluster, so it is not run."""


class _RoundTripHooks(Hooks):
    """Compares catalogs after each downgrade and before the upgrade; a difference is reported once."""

    def __init__(self, catalogs: Mapping[str, Snapshot]) -> None:
        self.issues: dict[str, str] = {}
        self.running: Action | None = None
        self._catalogs = catalogs
        self._readers: dict[str, CatalogReader] = {}
        self._reported: set[tuple[str, ObjectKey]] = set()
        self._listening: set[str] = set()
        self._runners: Mapping[str, Runner] = {}
        self._has_deallocated = False

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Prepare to read the catalogs, with the settings for that after each step."""
        self._runners = run.runners
        for runner in run.runners.values():
            runner.after_step_sql = NESTED_LOOPS
        for name in plan.databases:
            settings = run.deployment.databases[name].settings
            self._readers[name] = CatalogReader(run.sessions[name].driver, settings)

    def before_step(self, connection: Connection, action: Action) -> None:
        """Refuse cluster-wide statements of the step, and watch for those that deallocate."""
        self.running, self._has_deallocated = action, False
        cast("Adapter", connection.connection.dbapi_connection).is_reached = False
        if action.database not in self._listening:
            self._listening.add(action.database)
            event.listen(connection, "before_cursor_execute", self._before_statement)

    def after_step(self, connection: Connection, action: Action) -> None:
        """Compare the catalog."""
        self.running = None
        if not isinstance(action, Step) or action.revision.qualified not in self._catalogs:
            return
        adapter = cast("Adapter", connection.connection.dbapi_connection)
        is_pinned = adapter.is_in_transaction and not self._runners[action.database].has_deferrable
        is_prepared = not (adapter.is_reached or self._has_deallocated)
        now = await_only(self._readers[action.database].snapshot(is_pinned=is_pinned and is_prepared))
        before = self._catalogs[action.revision.qualified]
        differences = changes_between(before, now)
        changes = [
            change
            for change in split_equivalent(differences, equal_by_text(checks_for(differences, before)))[0]
            if (action.database, change.key) not in self._reported
            and (change.op is not Op.CHANGED or change.fields.keys() - _NOT_RESTORED)
        ]
        self._reported.update((action.database, change.key) for change in changes)
        if changes:
            self.issues[action.revision.qualified] = _describe(changes)

    def _before_statement(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if CLUSTER_WIDE.search(statement):
            raise _ClusterWideError
        self._has_deallocated |= any(map(DEALLOCATES.match, split_statements(statement)))


def _describe(changes: list[Change]) -> str:
    """Describe changes; parts of a created or dropped object are left out."""
    whole = {change.key for change in changes if change.op is not Op.CHANGED}
    reported = [change for change in changes if change.owner not in whole]
    texts = []
    for change in reported[:_SHOWN]:
        names = sorted(change.fields.keys() - _NOT_RESTORED) if change.op is Op.CHANGED else ()
        fields = f" ({', '.join(name.replace('_', ' ') for name in names)})" if names else ""
        texts.append(f"{change.key} {_PROBLEMS[change.op]}{fields}")
    more = len(reported) - _SHOWN
    return "after upgrade and downgrade, " + "; ".join([*texts, *([f"and {more} more"] if more > 0 else [])])
