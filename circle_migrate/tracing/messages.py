"""PostgreSQL's messages at DEBUG1 about work that grows with a table.

They are written with `errmsg_internal` and so the same in every language, see tablecmds.c and index.c in
https://github.com/postgres/postgres/tree/REL_18_STABLE/src/backend. Relations are named without schemas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from circle_migrate.core.traces import Task

_TASKS = (
    (re.compile(r'rewriting table "(?P<table>.+)"'), Task.REWRITE),
    (re.compile(r'verifying table "(?P<table>.+)"'), Task.SCAN),
    (re.compile(r'building index ".+" on table "(?P<table>.+)" (?:serially|with request)'), Task.INDEX_BUILD),
    (re.compile(r'validating foreign key constraint "(?P<constraint>.+)"'), Task.FK_VALIDATION),
)
_PROOF = re.compile(
    r"existing constraints on .+ are sufficient to prove|partition constraint .+ is implied by existing"
)


@dataclass(frozen=True, slots=True)
class Said:
    """One piece of work the server named: by its table, or by the foreign key that it checks."""

    task: Task
    words: str
    table: str | None = None
    constraint: str | None = None


def said(message: str) -> Said | None:
    """The work a message tells of, None for any other message."""
    for pattern, task in _TASKS:
        match = pattern.match(message)
        if match is not None:
            return Said(task, message, **match.groupdict())
    return None


def is_proof(message: str) -> bool:
    """Whether it says that rows need not be read, as a constraint proves what is to be checked."""
    return _PROOF.search(message) is not None
