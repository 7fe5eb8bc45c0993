"""The data of a revision file that is known without running it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

MAX_ID_LENGTH = 32
"""Characters of `alembic_version.version_num` as Alembic makes it, a VARCHAR(32)."""


ModuleLoader = Callable[[Path], Any]


class Revision(NamedTuple):
    """The data of a revision file that is known without running it.

    `requires` names revisions of other databases as `database@id`. `checksum` is the SHA-256 of the file
    with normalized line ends. `non_transactional_reason` says why the revision cannot run in a transaction,
    `commit_after_reason` why the transaction must be committed after it; None where it can or need not.
    `uses_helpers` is true where it imports modules of the project. `replaces` names the revisions whose work
    a squashed revision does at once, in their order.
    """

    database: str
    id: str
    message: str = ""
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
    replaces: tuple[str, ...] = ()

    @property
    def qualified(self) -> str:
        """The name of the revision among all databases, for example `main@dca7825748db`."""
        return f"{self.database}@{self.id}"

    @property
    def location(self) -> str:
        """The file and line for messages."""
        return f"{self.path}:{self.line}"

    def read_source(self) -> str:
        """Read the file and return its text with normalized line ends."""
        return normalized_text(Path(self.path).read_bytes())

    def to_dict(self) -> dict[str, Any]:
        """Return the revision as the JSON output shows it."""
        return {
            "database": self.database,
            "revision": self.id,
            "message": self.message,
            "down_revision": list(self.down_revisions),
            "depends_on": list(self.depends_on),
            "requires": list(self.requires),
            "branch_labels": list(self.labels),
            "replaces": list(self.replaces),
            "transactional": self.non_transactional_reason is None,
            "irreversible": self.irreversible,
            "file": self.path,
            "line": self.line,
        }


def normalized_text(source: bytes) -> str:
    """Return the text of a file with normalized line ends."""
    return source.replace(b"\r\n", b"\n").decode("utf-8", "replace")


def files_digest(files: Iterable[tuple[str, str]]) -> str:
    """Return a digest of the ids and checksums of revision files, in any order, as `Journal.digest` does."""
    import hashlib

    lines = "".join(f"{key} {checksum}\n" for key, checksum in sorted(files))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()
