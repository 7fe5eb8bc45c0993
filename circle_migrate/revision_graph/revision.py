"""One revision file, as far as it can be known without running it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

MAX_ID_LENGTH = 32
"""Characters that fit into `alembic_version.version_num`, a VARCHAR(32)."""


class Revision(NamedTuple):
    """One revision file, as far as it can be known without running it.

    `requires` names revisions of other databases as `database@id`. `checksum` is the SHA-256 of the file
    with line ends normalised. `why_alone` says why the revision cannot share a transaction with others,
    `closes_segment` why the transaction must be committed after it; both are None in the common case.
    `uses_helpers` says that it imports modules whose code its own file does not show.
    """

    database: str
    id: str
    message: str = ""
    doc: str = ""
    path: str = ""
    line: int = 1
    down_revisions: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    non_transactional_reason: str | None = None
    commit_after_reason: str | None = None
    irreversible: str | None = None
    has_downgrade: bool = True
    checksum: str = ""
    uses_helpers: bool = False

    @property
    def qualified(self) -> str:
        """The revision's name across both trees, for example `main@dca7825748db`."""
        return f"{self.database}@{self.id}"

    @property
    def location(self) -> str:
        """The file and line to show in messages."""
        return f"{self.path}:{self.line}"

    def to_dict(self) -> dict[str, Any]:
        """A revision as the JSON output shows it."""
        return {
            "database": self.database,
            "revision": self.id,
            "message": self.message,
            "down_revision": list(self.down_revisions),
            "depends_on": list(self.depends_on),
            "requires": list(self.requires),
            "branch_labels": list(self.labels),
            "transactional": self.non_transactional_reason is None,
            "irreversible": self.irreversible,
            "file": self.path,
            "line": self.line,
        }


def files_digest(files: Iterable[tuple[str, str]]) -> str:
    """One text for the ids and checksums of revision files, in any order; `Journal.digest` makes the same."""
    import hashlib

    lines = "".join(f"{key} {checksum}\n" for key, checksum in sorted(files))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()
