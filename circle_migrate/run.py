"""One run of the executor: what it is about, what it has open, and what it has done so far."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from circle_migrate.core.events import Event, Kind, Notify
from circle_migrate.core.plan import Action, Plan, Stamp
from circle_migrate.database import State
from circle_migrate.deployment import Deployment
from circle_migrate.errors import CircleError

if TYPE_CHECKING:
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
    """The state of one run; `blockers` has what each database was last seen waiting for."""

    deployment: Deployment
    command: str
    notify: Notify
    checkpoint: Checkpoint
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    sessions: dict[str, Session] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    runners: dict[str, Runner] = field(default_factory=dict)
    journals: dict[str, Journal] = field(default_factory=dict)
    at: dict[str, tuple[str, ...]] = field(default_factory=dict)
    blockers: dict[str, str] = field(default_factory=dict)
    applied: list[Applied] = field(default_factory=list)
    plan: Plan | None = None
    lost: CircleError | None = None
    task: asyncio.Task[object] | None = None
    number: int = 0

    @property
    def mode(self) -> Mode:
        """How segments over several databases are committed."""
        return Mode.ATOMIC if self.deployment.settings.atomic else Mode.SERIAL

    @property
    def total(self) -> int:
        """How many actions the plan has."""
        return len(self.plan.actions) if self.plan else 0

    def tell(self, kind: Kind, database: str, text: str, seconds: float = 0.0) -> None:
        """Tell whoever shows progress."""
        self.notify(Event(kind, database, text, self.number, self.total, seconds))

    def waits(self, database: str, text: str) -> None:
        """Remember and tell for whom a database waits."""
        self.blockers[database] = text
        self.tell(Kind.WAITING, database, text)

    def give_up(self, error: CircleError) -> None:
        """End the run because a server has gone."""
        self.lost = self.lost or error
        if self.task is not None:
            self.task.cancel()


def describe(action: Action) -> str:
    """The action in a few words, for progress and messages."""
    if isinstance(action, Stamp):
        return f"stamp {', '.join(action.heads) or 'base'}"
    verb = {"up": "upgrade", "down": "downgrade"}[action.direction]
    return f"{verb} {action.revision.id} {action.revision.message}".rstrip()
