"""What a hazard is: one record, with revisions that show it and revisions that avoid it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from textwrap import dedent, indent

# In the order of the template of new revisions.
_IMPORTS = (
    (r"\bsa\.", "import sqlalchemy as sa"),
    (r"\bop\b", "from alembic import op"),
    (r"\bpostgresql\.", "from sqlalchemy.dialects import postgresql"),
)
_HELPERS = ("drop_index_concurrently", "ensure_index_concurrently")


class HazardClass(StrEnum):
    """What kind of harm is done; operators allow hazards by class, so there are few."""

    DATA_LOSS = "data-loss"
    INDEX_BUILD = "index-build"
    TABLE_REWRITE = "table-rewrite"
    BLOCKING_SCAN = "blocking-scan"
    APP_BREAK = "app-break"
    WILL_FAIL = "will-fail"
    LOCK = "lock"
    CORRECTNESS = "correctness"
    STYLE = "style"


@dataclass(frozen=True, slots=True)
class Example:
    """One revision, or with `then` several, on a database that `setup` has prepared.

    `setup` is SQL; `upgrade` and `downgrade` are bodies of the functions of those names, written with any
    indentation. `downgrade` is empty where it plays no part. A revision that is
    not `transactional` says so in its file. `requires` makes it wait for the revision before it, which is
    then one of the other database. Several revisions run in a transaction each, or `together` in one.

    `second` puts a revision into the deployment's second database. `meanwhile` is SQL that another session
    has run in a transaction which is still open. `fails` is how the last revision ends on PostgreSQL: an
    SQLSTATE, or the code of the package's own error; empty where it succeeds.
    """

    setup: str
    upgrade: str
    transactional: bool = True
    downgrade: str = ""
    then: Example | None = None
    together: bool = False
    second: bool = False
    requires: bool = False
    meanwhile: str = ""
    fails: str = ""

    def __post_init__(self) -> None:
        for name in ("setup", "upgrade", "downgrade"):
            object.__setattr__(self, name, dedent(getattr(self, name)).strip())

    @property
    def revisions(self) -> Iterator[Example]:
        """It and those that follow it, in the order in which they run."""
        revision: Example | None = self
        while revision is not None:
            yield revision
            revision = revision.then

    @property
    def source(self) -> str:
        """What one revision's file says below its docstring, without the names of its neighbours."""
        declared = "transactional = False" if not self.transactional else ""
        functions = [_function("upgrade", self.upgrade)]
        if self.downgrade:
            functions.append(_function("downgrade", self.downgrade))
        body = "\n\n\n".join(functions)
        return "\n\n".join(filter(None, ["\n".join(_imports(body)), declared])) + f"\n\n\n{body}\n"

    @property
    def code(self) -> str:
        """The files of all its revisions, each below a comment that counts them where they are several."""
        several = list(self.revisions)
        if len(several) == 1:
            return self.source.strip() + "\n"
        texts = []
        for number, revision in enumerate(several, 1):
            where = " (second database)" if revision.second else ""
            texts.append(f"# revision {number} of {len(several)}{where}\n{revision.source.strip()}\n")
        return "\n\n".join(texts)


def _imports(body: str) -> Iterator[str]:
    yield from (line for pattern, line in _IMPORTS if re.search(pattern, body))
    helpers = ", ".join(name for name in _HELPERS if f"{name}(" in body)
    if helpers:
        yield f"from circle_migrate.indexes import {helpers}"


def _function(name: str, body: str) -> str:
    return f"def {name}() -> None:\n{indent(body, '    ')}"


@dataclass(frozen=True, slots=True)
class Hazard:
    """One known danger.

    `condition` says when it is one, `effect` who waits or what is lost, `remedy` what to do instead, in
    prose; the code that goes with it is `fix`.
    """

    id: str
    title: str
    kind: HazardClass
    condition: str
    effect: str
    remedy: str
    bad: Example
    good: Example

    @property
    def fix(self) -> str:
        """Code to paste: the revisions that reach the same end without the danger."""
        return self.good.code

    @property
    def examples(self) -> tuple[tuple[str, Example], tuple[str, Example]]:
        """Both examples by their name."""
        return ("bad", self.bad), ("good", self.good)
