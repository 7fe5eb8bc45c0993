"""Protection of a database against downgrades: by a marker in it, by a setting, or both."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

_NO_REASON = "no reason was given"


class ProtectionMarker(NamedTuple):
    """The marker in a protected database; all fields are None if the role may not read it."""

    since: datetime | None = None
    role: str | None = None
    os_user: str | None = None
    host: str | None = None
    reason: str | None = None

    @classmethod
    def from_row(cls, text: str) -> ProtectionMarker:
        """Parse the marker's row, which the server prints as JSON."""
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
        """The marker as a text for people."""
        if self.since is None:
            return "by a marker that this role may not read"
        return f"by {self.by} (role {self.role}) since {self.since:%F %T %Z}: {self.reason or _NO_REASON}"

    @property
    def by(self) -> str | None:
        """USER@HOST that set the marker, as in the journal; None if the role may not read it."""
        return f"{self.os_user}@{self.host}" if self.since else None

    def to_dict(self) -> dict[str, str | None]:
        """Return the marker as in the JSON output."""
        return {
            "since": self.since.isoformat() if self.since else None,
            "by": self.by,
            "role": self.role,
            "reason": self.reason,
        }


class Protection(NamedTuple):
    """The protection of a database: a marker in it, the source of a setting, or both."""

    marker: ProtectionMarker | None = None
    setting: str | None = None

    @property
    def description(self) -> str:
        """The protection as a text for people."""
        setting = f"by a setting ({self.setting})" if self.setting else ""
        return "; ".join(filter(None, [self.marker.description if self.marker else "", setting]))

    def to_dict(self) -> dict[str, Any]:
        """Return the protection as in the JSON output."""
        return {"marker": self.marker.to_dict() if self.marker else None, "setting": self.setting}
