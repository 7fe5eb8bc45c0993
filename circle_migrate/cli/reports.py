"""The files of `--report FORMAT=FILE`, which get the result of a command besides stdout."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from circle_migrate.cli.options import Format
from circle_migrate.cli.write import format_failure, format_result
from circle_migrate.core.errors import MigrateError, UsageError

if TYPE_CHECKING:
    from circle_migrate.core.result import Result


class _Report(NamedTuple):
    format: Format
    path: Path


class ReportFiles:
    """The files that get the result of a command; `formats` are those that the command can write."""

    def __init__(self, texts: Sequence[str] = (), formats: Collection[Format] = ()) -> None:
        self._texts, self._choices = texts, formats
        self._reports: list[_Report] = []

    def check(self) -> None:
        """Raise `UsageError` for a text that is no FORMAT=FILE, and for a file that cannot be written."""
        reports = [self._parse(text) for text in self._texts]
        paths = [report.path.resolve() for report in reports]
        for path in paths:
            if paths.count(path) > 1:
                raise UsageError(
                    f"--report names the file {path} twice", hint="give each report a file of its own"
                )
        self._reports = reports

    def _parse(self, text: str) -> _Report:
        name, _, file = text.partition("=")
        if name not in self._choices or not file.strip():
            raise UsageError(
                f"--report {text} is not FORMAT=FILE",
                hint=f"write for example --report json=report.json; formats: {', '.join(self._choices)}",
            )
        ensure_writable(Path(file), "--report")
        return _Report(Format(name), Path(file))

    @property
    def formats(self) -> set[str]:
        """The formats of the files."""
        return {text.partition("=")[0] for text in self._texts}

    def write(self, result: Result) -> None:
        """Write the result into the files.

        Raises `UsageError` for the first file that cannot be written, after the others are written.
        """
        self._write(lambda kind: format_result(kind, result))

    def write_failure(self, command: str, error: MigrateError) -> None:
        """Write the error of a command into the files. Raises as `write`."""
        self._write(lambda kind: format_failure(kind, command, error))

    def _write(self, text: Callable[[Format], str]) -> None:
        from circle_migrate.core.atomic_write import write_text

        problems = []
        for kind, path in self._reports:
            try:
                write_text(path, text(kind), hint="give another file with --report", make_folders=True)
            except UsageError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]


def ensure_writable(path: Path, option: str) -> None:
    """Raise `UsageError` if the file cannot be written, before the command does anything."""
    nearest = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    problem = None
    if path.is_dir():
        problem = "it is a folder"
    elif nearest != path.absolute() and not nearest.is_dir():
        problem = f"{nearest} is not a folder"
    elif not os.access(nearest, os.W_OK):
        problem = "no permission to write"
    if problem:
        raise UsageError(f"{option}: {path} cannot be written", detail=problem, hint="give another file")
