"""The settings of a database while its files are read, with a point for everything that they say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from circle_migrate.commands.adopt.environments import Environment, relative
from circle_migrate.commands.adopt.options import Option
from circle_migrate.commands.adopt.result import Point, State
from circle_migrate.commands.adopt.source_files import Modules, Reference


@dataclass
class Draft:
    """The settings and points of one environment.

    `existing` is the table of the database in pyproject.toml, None without one, `project` that of the whole
    project. `shared` are the settings of the project that the environment asks for, as `share` gets them.
    `variable` is that of the URL. `modules` are searched as env.py would, `importable` only where
    circle-migrate searches.
    """

    environment: Environment
    root: Path
    existing: Mapping[str, Any] | None
    project: Mapping[str, Any]
    modules: Modules
    importable: Modules
    variable: str
    settings: dict[str, Any] = field(default_factory=dict)
    shared: list[tuple[str, object, str, Path, int]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    def add(self, state: State, subject: str, text: str, file: Path | None, line: int = 0) -> None:
        """Add a point."""
        location = f"{relative(file, self.root)}{f':{line}' if line else ''}" if file else None
        self.points.append(Point(state, subject, text, location))

    def by_hand(self, subject: str, text: str, file: Path | None, line: int = 0) -> None:
        """Add a point that is left to people."""
        self.add(State.BY_HAND, subject, text, file, line)

    def holds(self, subject: str, text: str, file: Path | None, line: int = 0) -> None:
        """Add a point that needs nothing."""
        self.add(State.HOLDS, subject, text, file, line)

    def decide(self, subject: str, option: Option, file: Path, line: int = 0) -> None:
        """Add the point of an option without a setting."""
        state = State.HOLDS if option.holds else State.BY_HAND
        self.add(state, subject, option.holds or option.by_hand, file, line)

    def set(self, key: str, value: object, subject: str, file: Path, line: int) -> None:
        """Write a setting of the database, unless pyproject.toml has it."""
        if not self._exists(self.existing or {}, key, value, subject, file, line):
            self.settings[key] = value
            self.add(State.SET, subject, f"{key} = {toml(value)}", file, line)

    def share(self, key: str, value: object, subject: str, file: Path, line: int) -> None:
        """Ask for a setting of the whole project, unless pyproject.toml has it."""
        if not self._exists(self.project, key, value, subject, file, line):
            self.shared.append((key, value, subject, file, line))

    def _exists(
        self, table: Mapping[str, Any], key: str, value: object, subject: str, file: Path, line: int
    ) -> bool:
        """Return whether a table has a setting, with a point that says whether it has this value."""
        if key not in table:
            return False
        existing = table[key]
        is_contained = isinstance(value, list) and isinstance(existing, list) and set(value) <= set(existing)
        if value == existing or is_contained:
            self.holds(subject, f"{key} = {toml(value)} is set already", file, line)
        else:
            text = f"pyproject.toml says {key} = {toml(existing)}, not {toml(value)}"
            self.by_hand(subject, text, file, line)
        return True

    def set_object(self, key: str, reference: Reference, subject: str, file: Path, line: int) -> None:
        """Set a setting to an object of a module, if it can be imported from the project's folder."""
        if self.importable.is_importable(reference.module):
            self.set(key, str(reference), subject, file, line)
        else:
            self.by_hand(subject, f'set {key} = "{reference}"; {self.missing(reference.module)}', file, line)

    def missing(self, module: str) -> str:
        """Return the advice for a module that cannot be imported."""
        found, package = self.modules.find(module), module.partition(".")[0]
        folder = found and found.parents[len(module.split(".")) - (found.name != "__init__.py")]
        place = f", or adopt in {relative(folder, self.root)}" if folder else ""
        return f"the package {package} has to be installed{place}"


def toml(value: object) -> str:
    """Return a value as TOML writes it."""
    return json.dumps(value, ensure_ascii=False)
