"""Where each value came from, and what was wrong, noted while the sources are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from circle_migrate.core.errors import SettingsError

DEFAULT_SECRETS = Path("/run/secrets")


class Origin(NamedTuple):
    """A place where a value stands.

    `shown` names it in a list, `said` is the subject of a sentence, `folder` is what relative paths
    there are relative to, `file` holds the value where the place only names it. `is_shared` ones are under
    version control.
    """

    label: str
    subject: str
    folder: Path
    is_flag: bool = False
    is_shared: bool = False
    file: Path | None = None


class Provenance:
    """The winning value and origin of every setting that was given, by field name, and all problems.

    `misspelt` and `unknown` are sentences about variables that look like ours and set nothing.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, Origin] = {}
        self.problems: list[SettingsError] = []
        self.misspelt: list[str] = []
        self.unknown: list[str] = []

    def add(self, name: str, value: object, origin: Origin) -> None:
        """Note a value; sources are read from the strongest to the weakest, so the first one stays."""
        if name not in self.origins:
            self.values[name] = value
            self.origins[name] = origin

    def problem(self, message: str, *, hint: str, detail: str | None = None) -> None:
        """Note a problem, to be raised with all others."""
        self.problems.append(SettingsError(message, hint=hint, detail=detail))

    def raise_problems(self) -> None:
        """Raise the one problem, or one SettingsError that lists them all."""
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            lines = [
                f"{problem.message}{f' ({problem.detail})' if problem.detail else ''}"
                for problem in self.problems
            ]
            hints = dict.fromkeys(problem.hint for problem in self.problems if problem.hint)
            raise SettingsError(
                "\n  - ".join([f"{len(lines)} settings are wrong:", *lines]), hint="\n".join(hints)
            )


def read_text(path: Path, said: str) -> str:
    """The file's text. Raises SettingsError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(
            f"{said} cannot be read", detail=error.strerror, hint=f"check that {path} exists and is readable"
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{said} is not UTF-8", hint=f"save {path} as UTF-8") from None
