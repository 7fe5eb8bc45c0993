"""Where in a revision file a statement comes from, found by walking up from the driver."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING

import sqlalchemy

from circle_migrate.core.plan import Direction
from circle_migrate.tree import module_of

if TYPE_CHECKING:
    from circle_migrate.core.plan import Step

_HERE = Path(__file__).parent
_PACKAGE = f"{_HERE.parent}{os.sep}"
_REVISIONS = f"{_HERE.parent / 'revisions'}{os.sep}"
_HELPERS = str(_HERE.parent / "indexes.py")
_PASSED_OVER = tuple(f"{folder}{os.sep}" for folder in (_HERE, Path(sqlalchemy.__file__).parent))


@dataclass(frozen=True, slots=True)
class Origin:
    """A line of a revision file; `looks_first` where it calls our helpers, which do nothing twice."""

    file: str
    line: int
    looks_first: bool = False


def nowhere() -> Origin | None:
    """The origin of whatever is sent while no step runs."""
    return None


def origin(step: Step) -> Origin | None:
    """The line of the step's file that leads to the statement being sent; None where it is not the step's.

    Through helpers it is the line that calls them. Not the step's are statements of Alembic's version table,
    which nothing in the revision calls, and those our own code sends beside it.
    """
    path = step.revision.path
    name = "upgrade" if step.direction is Direction.UP else "downgrade"
    function = getattr(getattr(module_of(step.revision), name), "__code__", None)
    frame = _sender(sys._getframe(1))
    if frame is not None and _is_ours(frame.f_code, path):
        return None
    looks_first = False
    while frame is not None:
        if frame.f_code.co_filename == path:
            return Origin(path, frame.f_lineno, looks_first)
        if frame.f_code is function:
            return Origin(path, step.revision.line, looks_first)
        looks_first = looks_first or frame.f_code.co_filename == _HELPERS
        frame = frame.f_back
    return None


def _sender(frame: FrameType | None) -> FrameType | None:
    """The frame that called SQLAlchemy."""
    while frame is not None and frame.f_code.co_filename.startswith(_PASSED_OVER):
        frame = frame.f_back
    return frame


def _is_ours(code: CodeType, path: str) -> bool:
    file = code.co_filename
    return file != path and file.startswith(_PACKAGE) and not file.startswith(_REVISIONS)
