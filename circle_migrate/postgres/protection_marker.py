"""What keeps a database from being moved back: a marker in it, a setting, or both."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

_NO_REASON = "no reason was given"


class ProtectionMarker(NamedTuple):
    """What the database itself says: since when, by whom, why. All None where the role may not read that."""

    since: datetime | None = None
    role: str | None = None
    os_user: str | None = None
    host: str | None = None
    reason: str | None = None

    @classmethod
    def from_row(cls, text: str) -> ProtectionMarker:
        """From the marker's row, written as JSON by the server."""
        import json

        row: Mapping[str, str] = json.loads(text)
        return cls(
            since=datetime.fromisoformat(row["protected_at"]),
            role=row["db_role"],
            os_user=row["os_user"],
            host=row["host"],
            reason=row["reason"],
        )

    @property
    def description(self) -> str:
        """For people: who, when, why."""
        if self.since is None:
            return "by a marker that this role may not read"
        return f"by {self.by} (role {self.role}) since {self.since:%F %T %Z}: {self.reason or _NO_REASON}"

    @property
    def by(self) -> str | None:
        """Who put it there, as the journal writes it; None where the role may not read that."""
        return f"{self.os_user}@{self.host}" if self.since else None

    def to_dict(self) -> dict[str, str | None]:
        """The marker as the JSON output shows it."""
        return {
            "since": self.since.isoformat() if self.since else None,
            "by": self.by,
            "role": self.role,
            "reason": self.reason,
        }


class Protection(NamedTuple):
    """Why a database is protected: by a marker in it, by a setting, whose place is named, or by both."""

    marker: ProtectionMarker | None = None
    setting: str | None = None

    @property
    def description(self) -> str:
        """For people: by whom or what."""
        setting = f"by a setting ({self.setting})" if self.setting else ""
        return "; ".join(filter(None, [self.marker.description if self.marker else "", setting]))

    def to_dict(self) -> dict[str, Any]:
        """The protection as the JSON output shows it."""
        return {"marker": self.marker.to_dict() if self.marker else None, "setting": self.setting}
