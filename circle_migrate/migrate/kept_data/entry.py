"""What was kept of a downgrade: values, and the lists of them that commands return."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from circle_migrate.core.result import Result


class KeptKind(StrEnum):
    """What an entry holds: rows of a table that goes, of one that stays, or where a sequence was."""

    TABLE = "table"
    ROWS = "rows"
    COLUMNS = "columns"
    SEQUENCE = "sequence"


class KeptState(StrEnum):
    """What has become of it. What was RESTORED still has its side table where rows found no partner."""

    KEPT = "kept"
    RESTORED = "restored"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class KeptEntry:
    """One entry: what one step of one run would have destroyed of one table or sequence.

    `number` counts the entries of a database. `table` is where it belongs, as schema and name; `side` is its
    table in the schema of what is kept, empty for a sequence and once that table is gone. `keys` and
    `columns` are those of the side table. `position` is where a sequence was. `restored` and `missing` count
    the rows that were put back and those whose row was no longer there.
    """

    database: str
    number: int
    run: str
    revision: str
    what: KeptKind
    table: tuple[str, str]
    side: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    rows: int
    created_at: datetime
    state: KeptState = KeptState.KEPT
    position: int | None = None
    restored: int | None = None
    missing: int | None = None

    @property
    def id(self) -> str:
        """What it is called on the command line."""
        return f"{self.database}/{self.number}"

    @property
    def name(self) -> str:
        """What it belongs to, for people."""
        return ".".join(self.table)

    def to_dict(self) -> dict[str, Any]:
        """The entry as the JSON output shows it."""
        return {
            "id": self.id,
            "database": self.database,
            "run": self.run,
            "revision": self.revision,
            "kind": str(self.what),
            "object": self.name,
            "side_table": self.side or None,
            "keys": list(self.keys),
            "columns": list(self.columns),
            "rows": self.rows,
            "created_at": self.created_at.isoformat(),
            "state": str(self.state),
            "restored": self.restored,
            "missing": self.missing,
        }


@dataclass(frozen=True, slots=True)
class KeptRowCount:
    """How many rows a run has kept of a table or put back into it; `missing` ones had no row to go to."""

    database: str
    revision: str
    table: str
    rows: int
    missing: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The count as the JSON output shows it."""
        return {
            "database": self.database,
            "revision": self.revision,
            "object": self.table,
            "rows": self.rows,
            "missing": self.missing,
        }


@dataclass(frozen=True, slots=True)
class KeptEntries(Result):
    """`kept list`, and what `kept restore` and `kept drop` did; `run` is their run in the journals."""

    entries: tuple[KeptEntry, ...]
    run: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The entries, oldest first in each database."""
        return {"run": self.run, "entries": [entry.to_dict() for entry in self.entries]}
