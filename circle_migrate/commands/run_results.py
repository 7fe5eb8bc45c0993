"""Results about runs that are over, and what the journal holds of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from circle_migrate.core.errors import ExitCode
from circle_migrate.core.result import Result
from circle_migrate.migrate.journal_entry import JournalRun


@dataclass(frozen=True, slots=True)
class RecoveredTransaction:
    """A prepared transaction and what its deciding database says became of it."""

    database: str
    run: str
    segment: int
    decider: str
    committed: bool


@dataclass(frozen=True, slots=True)
class RecoverResult(Result):
    """What a crash had left and how it was settled: `recover`."""

    settled: tuple[RecoveredTransaction, ...]
    lost: Mapping[str, tuple[str, ...]]
    current: Mapping[str, tuple[str, ...]]
    dry_run: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """In doubt only where a dry run has found something and left it."""
        return ExitCode.IN_DOUBT if self.dry_run and self.settled else ExitCode.DONE

    def to_dict(self) -> dict[str, Any]:
        """Transactions and runs by database."""
        return {
            "dry_run": self.dry_run,
            "transactions": [
                {
                    "database": recovered_transaction.database,
                    "run": recovered_transaction.run,
                    "segment": recovered_transaction.segment,
                    "decided_by": recovered_transaction.decider,
                    "outcome": "committed" if recovered_transaction.committed else "rolled back",
                }
                for recovered_transaction in self.settled
            ],
            "lost_runs": {name: list(runs) for name, runs in self.lost.items()},
            "databases": {name: {"current": list(heads)} for name, heads in self.current.items()},
        }


@dataclass(frozen=True, slots=True)
class LogResult(Result):
    """Runs of the journals, newest first: `log`; `slowest` shows their steps by duration instead."""

    runs: tuple[JournalRun, ...]
    slowest: bool = False

    def to_dict(self) -> dict[str, Any]:
        """One object per run and database."""
        return {"runs": [_run_dict(run) for run in self.runs]}


def _run_dict(run: JournalRun) -> dict[str, Any]:
    shown = {
        "database": run.database,
        "run": run.run,
        "command": run.command,
        "mode": run.mode,
        "outcome": run.outcome,
        "error": run.error,
        "started_at": run.started_at.isoformat(),
        "ended_at": run.ended_at.isoformat() if run.ended_at else None,
        "db_role": run.db_role,
        "os_user": run.os_user,
        "host": run.host,
        "tool_version": run.tool_version,
        "planned": {name: list(steps) for name, steps in run.planned.items()},
        "notes": dict(run.notes),
    }
    steps = [
        {
            "segment": step.segment,
            "direction": step.direction,
            "revision": step.revision,
            "message": step.message,
            "started_at": step.started_at.isoformat(),
            "duration_ms": round(step.duration_ms, 3),
            "checksum": step.checksum,
            "elsewhere": {name: list(heads) for name, heads in step.elsewhere.items()},
        }
        for step in run.steps
    ]
    return {**shown, "steps": steps}


@dataclass(frozen=True, slots=True)
class SourceResult(Result):
    """The text of an applied revision: `log --source`."""

    database: str
    revision: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Whose it is, and the text."""
        return {"database": self.database, "revision": self.revision, "source": self.text}
