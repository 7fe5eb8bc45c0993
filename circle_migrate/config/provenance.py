"""Values of settings with their sources, and the problems in them."""

from pathlib import Path
from typing import Any, NamedTuple

from circle_migrate.config.fields import Fields
from circle_migrate.core.errors import SettingsError

DEFAULT_SECRETS = Path("/run/secrets")


class Origin(NamedTuple):
    """The source of a value.

    `label` names it in a list, `subject` in a sentence. Relative paths are relative to `folder`. `file` has
    the value if the source only names that file. `is_shared` means that the source is under version control.
    """

    label: str
    subject: str
    folder: Path
    is_flag: bool = False
    is_shared: bool = False
    file: Path | None = None


class Provenance:
    """The effective value of every setting and its origin, by field name, and all problems.

    Defaults have no origin. `alembic` is the table [tool.alembic]. `warnings` and `notes` are messages on
    variables that set nothing; commands show the warnings.
    """

    def __init__(self) -> None:
        self.fields = Fields()
        self.project_root = Path()
        self.values: dict[str, Any] = {}
        self.alembic: dict[str, Any] = {}
        self.origins: dict[str, Origin] = {}
        self.problems: list[SettingsError] = []
        self.warnings: list[str] = []
        self.notes: list[str] = []

    def add(self, name: str, value: object, origin: Origin) -> None:
        """Record a value; sources are read in order of precedence, so the first one stays."""
        if name not in self.origins:
            self.values[name] = value
            self.origins[name] = origin

    def problem(self, message: str, *, hint: str, detail: str | None = None) -> None:
        """Record a problem, to be raised with all others."""
        self.problems.append(SettingsError(message, hint=hint, detail=detail))

    def raise_problems(self) -> None:
        """Raise the single problem, or a SettingsError that lists all problems."""
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            lines = [f"{item.message}{f' ({item.detail})' if item.detail else ''}" for item in self.problems]
            hints = dict.fromkeys(problem.hint for problem in self.problems if problem.hint)
            raise SettingsError(
                "\n  - ".join([f"{len(lines)} settings are wrong:", *lines]), hint="\n".join(hints)
            )


def read_text(path: Path, subject: str) -> str:
    """Return the file's text; `subject` names it in messages. Raises SettingsError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(
            f"{subject} cannot be read",
            detail=error.strerror,
            hint=f"check that {path} exists and is readable",
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{subject} is not UTF-8", hint=f"save {path} as UTF-8") from None
