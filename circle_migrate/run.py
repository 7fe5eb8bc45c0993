"""One run of the executor: what it is about, what it has open, and what it has done so far."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from circle_migrate.core.events import Event, Kind, Notify
from circle_migrate.core.plan import Action, Stamp
from circle_migrate.database import State
from circle_migrate.deployment import Deployment
from circle_migrate.errors import CircleError

if TYPE_CHECKING:
    from circle_migrate.hooks import Hooks
    from circle_migrate.journal import Journal
    from circle_migrate.sessions import Session
    from circle_migrate.tree import Runner

Checkpoint = Callable[[str], None]
"""Called with the name of each point of the commit protocol; tests end the process there."""


class Mode(StrEnum):
    """How a segment over several databases is committed."""

    SERIAL = "serial"
    ATOMIC = "atomic"


@dataclass(frozen=True, slots=True)
class Applied:
    """One action that was run and committed, and how long it took in seconds."""

    action: Action
    seconds: float


@dataclass(slots=True)
class Run:
    """The state of one run; `blockers` has what each database was last seen waiting for.

    A `rehearsal` keeps no journal and commits nothing.
    """

    deployment: Deployment
    command: str
    notify: Notify
    checkpoint: Checkpoint
    hooks: Hooks
    rehearsal: bool = False
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    sessions: dict[str, Session] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    runners: dict[str, Runner] = field(default_factory=dict)
    journals: dict[str, Journal] = field(default_factory=dict)
    at: dict[str, tuple[str, ...]] = field(default_factory=dict)
    blockers: dict[str, str] = field(default_factory=dict)
    applied: list[Applied] = field(default_factory=list)
    lost: CircleError | None = None
    task: asyncio.Task[object] | None = None
    number: int = 0
    total: int = 0

    @property
    def mode(self) -> Mode:
        """How segments over several databases are committed."""
        return Mode.ATOMIC if self.deployment.settings.atomic else Mode.SERIAL

    def tell(self, kind: Kind, database: str, text: str, seconds: float = 0.0) -> None:
        """Tell whoever shows progress."""
        self.notify(Event(kind, database, text, self.number, self.total, seconds))

    def announce(self, planned: Mapping[str, Sequence[str]]) -> None:
        """Tell what is to come on each database."""
        for name, steps in planned.items():
            self.notify(Event(Kind.PLANNED, name, self.mode, total=self.total, steps=tuple(steps)))

    def observe(self, kind: Kind, database: str, text: str) -> None:
        """Tell what a server was seen doing; remember for whom it waited."""
        if kind is Kind.WAITING:
            self.blockers[database] = f"{kind} {text}"
        self.tell(kind, database, text)

    def explain(self, kind: type[BaseException] | None, _error: object, _trace: object) -> None:
        """On the way out of a run that was cancelled because a server has gone: say so instead."""
        if kind is asyncio.CancelledError and self.lost is not None:
            raise self.lost

    def give_up(self, error: CircleError) -> None:
        """End the run because a server has gone."""
        self.lost = self.lost or error
        if self.task is not None:
            self.task.cancel()


def describe(action: Action) -> str:
    """The action in a few words, for progress and messages."""
    if isinstance(action, Stamp):
        moves = action.claimed or action.disowned or action.purge
        return f"{'stamp' if moves else 'stay at'} {', '.join(action.heads) or 'base'}"
    verb = {"up": "upgrade", "down": "downgrade"}[action.direction]
    return f"{verb} {action.revision.id} {action.revision.message}".rstrip()
