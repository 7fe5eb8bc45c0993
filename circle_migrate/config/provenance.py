"""What the sources of settings say: the origin of each value, and the problems in them."""

from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from circle_migrate.config.databases import PLATFORM, KnownDatabase
from circle_migrate.core.errors import SettingsError

if TYPE_CHECKING:
    from circle_migrate.config.object_resolver import ObjectResolver


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


DEFAULT = Origin("default", "the default", Path())


class Provenance:
    """The origin of every value by its key, such as `databases.main.url`, and all problems.

    Sources are read in order of precedence, so the first origin of a value stays. `variables` are the
    environment variables of every setting by its key. `alembic` is the table [tool.alembic]. `environments`
    are the names of the tables [tool.circle-migrate.env.NAME]. `hazard_ids` returns the ids that
    `safety_ignore` may name, None for any. `embedded` is whether the embedded server replaces the URLs.
    `warnings` and `notes` are messages on variables that set nothing.
    """

    def __init__(self, environ: Mapping[str, str], hazard_ids: Callable[[], Collection[str] | None]) -> None:
        self.environ, self.hazard_ids = environ, hazard_ids
        self.databases: tuple[KnownDatabase, ...] = PLATFORM
        self.project_root = Path()
        self.variables: Mapping[str, tuple[str, ...]] = {}
        self.alembic: Mapping[str, Any] = {}
        self.environments: tuple[str, ...] = ()
        self.embedded = False
        self.origins: dict[str, Origin] = {}
        self.problems: list[SettingsError] = []
        self.warnings: list[str] = []
        self.notes: list[str] = []

    @cached_property
    def packages(self) -> "ObjectResolver":
        """What finds the packages that settings name."""
        from circle_migrate.config.object_resolver import ObjectResolver

        return ObjectResolver(self.project_root)

    def origin(self, key: str) -> Origin:
        """Return the origin of a value; databases inherit `protected`."""
        inherited = "protected" if key.endswith(".protected") else key
        return self.origins.get(key) or self.origins.get(inherited, DEFAULT)

    def problem(self, message: str, *, hint: str, detail: str | None = None) -> None:
        """Record a problem, to be raised with all others."""
        self.problems.append(SettingsError(message, hint=hint, detail=detail))

    def raise_problems(self) -> None:
        """Raise the single problem, or a SettingsError that lists all problems."""
        problems = list({problem.message: problem for problem in self.problems}.values())
        if len(problems) == 1:
            raise problems[0]
        if problems:
            lines = [f"{item.message}{f' ({item.detail})' if item.detail else ''}" for item in problems]
            hints = dict.fromkeys(problem.hint for problem in problems if problem.hint)
            raise SettingsError(
                "\n  - ".join([f"{len(lines)} settings are wrong:", *lines]), hint="\n".join(hints)
            )


READING: ContextVar[Provenance] = ContextVar("READING")
"""The provenance of the values that are being validated."""


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
