"""Results of `recover` and `log`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from circle_migrate.core.errors import ExitCode
from circle_migrate.core.result import Result
from circle_migrate.migrate.journal_entry import JournalRun


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
    """The result of `recover`: finished transactions and lost runs."""

    settled: tuple[RecoveredTransaction, ...]
    lost: Mapping[str, tuple[str, ...]]
    current: Mapping[str, tuple[str, ...]]
    dry_run: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """In doubt if a dry run has found a prepared transaction."""
        return ExitCode.IN_DOUBT if self.dry_run and self.settled else ExitCode.DONE

    def to_dict(self) -> dict[str, Any]:
        """Return the transactions and the runs by database."""
        return {
            "dry_run": self.dry_run,
            "transactions": [
                {
                    "database": transaction.database,
                    "run": transaction.run,
                    "segment": transaction.segment,
                    "decided_by": transaction.decider,
                    "outcome": "committed" if transaction.committed else "rolled back",
                }
                for transaction in self.settled
            ],
            "lost_runs": {name: list(runs) for name, runs in self.lost.items()},
            "databases": {name: {"current": list(heads)} for name, heads in self.current.items()},
        }


@dataclass(frozen=True, slots=True)
class LogResult(Result):
    """The result of `log`: runs, newest first; `slowest` shows their steps by duration."""

    runs: tuple[JournalRun, ...]
    slowest: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return one object per run and database."""
        return {"runs": [_run_dict(run) for run in self.runs]}


def _run_dict(run: JournalRun) -> dict[str, Any]:
    return {
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
        "steps": [
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
        ],
    }


@dataclass(frozen=True, slots=True)
class SourceResult(Result):
    """The result of `log --source`: the source text of an applied revision."""

    database: str
    revision: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return the database, the revision and the text."""
        return {"database": self.database, "revision": self.revision, "source": self.text}
