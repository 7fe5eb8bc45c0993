"""A recorder that goes along with a run of the executor."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.exc import CompileError, IdentifierError
from sqlalchemy.util import await_only

from circle_migrate.core.catalog import Snapshot
from circle_migrate.core.plan import Action, Plan, Segment, Step
from circle_migrate.core.traces import Traced
from circle_migrate.run import Hooks, Run
from circle_migrate.tracing.backend import Backend
from circle_migrate.tracing.origins import nowhere, origin
from circle_migrate.tracing.recorder import Recorder, why
from circle_migrate.tracing.relations import Relation

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from circle_migrate.errors import CircleError


@dataclass(slots=True)
class TracingHooks(Hooks):
    """Records the statements of a plan, which may take several runs: each one begins where the last failed.

    `finished` segments are committed; `done` are the actions that have run in full, `running` the one that
    has not, or has failed. `catalogues` are from before each revision.
    """

    finished: int = 0
    done: list[Action] = field(default_factory=list)
    catalogues: dict[str, Snapshot] = field(default_factory=dict)
    running: Action | None = None
    _recorder: Recorder = field(default_factory=Recorder)
    _backends: dict[str, Backend] = field(default_factory=dict)
    _known: dict[str, dict[int, Relation]] = field(default_factory=dict)
    _listening: set[str] = field(default_factory=set)
    _rolled_back: set[str] = field(default_factory=set)
    _offset: int = 0
    _marks: tuple[int, int] = (0, 0)

    @property
    def statements(self) -> tuple[Traced, ...]:
        """What was recorded so far."""
        return tuple(self._recorder.statements)

    async def prepared(self, run: Run, plan: Plan) -> None:
        """Look at every database before anything of the plan has run."""
        self._offset = self.finished
        self._listening.clear()
        for name in plan.databases:
            backend = Backend(run.sessions[name].driver, run.deployment.databases[name].settings)
            await backend.begin(self._known.get(name))
            self._known[name] = backend.known
            self._backends[name] = backend

    def trying(self, number: int, segment: Segment) -> None:
        """Forget what an earlier try has recorded: it was rolled back."""
        finished = self._offset + number - 1
        if finished == self.finished and self._recorder.segment == finished + 1:
            statements, actions = self._marks
            del self._recorder.statements[statements:]
            del self.done[actions:]
            self._rolled_back.update(segment.databases)
        self.finished = finished
        self.running = None
        self._recorder.origin = nowhere
        self._recorder.segment = finished + 1
        self._marks = (len(self._recorder.statements), len(self.done))

    def before(self, connection: Connection, action: Action) -> None:
        """A step begins."""
        self.running = action
        if not isinstance(action, Step):
            return
        backend = self._backends[action.database]
        if action.database not in self._listening:
            self._recorder.listen(connection, backend)
            self._listening.add(action.database)
        if action.database in self._rolled_back:
            await_only(backend.refresh())
            self._rolled_back.remove(action.database)
        if backend.catalogue is not None:
            self.catalogues[action.revision.qualified] = backend.catalogue
        self._recorder.revision = action.revision.id
        self._recorder.origin = partial(origin, action)

    def after(self, connection: Connection, action: Action) -> None:  # noqa: ARG002 - as declared
        """A step has run."""
        self._recorder.origin = nowhere
        self.done.append(action)
        self.running = None

    def failure(self, error: CircleError) -> tuple[Traced, ...] | None:
        """What to add to the statements where a failing one ended the run; None where it was none.

        A statement that SQLAlchemy could not even compile is none it has told of.
        """
        cause = error.__cause__
        if isinstance(cause, CompileError | IdentifierError) and isinstance(self.running, Step):
            revision = self.running.revision
            file, _, line = (error.location or revision.location).rpartition(":")
            made = Traced(revision.database, self._recorder.segment, revision.id, "", file, int(line))
            return (replace(made, error=why(cause)),)
        last = self._recorder.statements[-1] if self._recorder.statements else None
        if last is None or cause is None or last.error != why(getattr(cause, "orig", None) or cause):
            return None
        return ()
