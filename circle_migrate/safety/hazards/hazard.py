"""A hazard: its texts, revisions that show it and revisions that avoid it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from textwrap import indent

# In the order of the template of new revisions.
_IMPORTS = (
    (r"\bsa\.", "import sqlalchemy as sa"),
    (r"\bop\b", "from alembic import op"),
    (r"\bpostgresql\.", "from sqlalchemy.dialects import postgresql"),
)
_HELPERS = ("drop_index_concurrently", "ensure_index_concurrently")


class HazardClass(StrEnum):
    """The kind of harm. Operators allow hazards by class, so there are few."""

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
class ExampleRevision:
    """One revision of an example.

    `upgrade` and `downgrade` are function bodies. `requires_previous` makes it require the revision before
    it, which belongs to the other database; `second_database` puts it into the deployment's second database.

    `setup` is SQL that prepares its database, in addition to the setup of the hazard. `meanwhile`, of the
    first revision, is SQL that another session has run in a transaction that is still open. `fails`, of the
    last revision, is the SQLSTATE or the name of the error that it fails with.
    """

    upgrade: str
    downgrade: str = ""
    transactional: bool = True
    requires_previous: bool = False
    second_database: bool = False
    setup: str = ""
    meanwhile: str = ""
    fails: str = ""

    @property
    def source(self) -> str:
        """The text of the revision's file below its docstring, without the revision identifiers."""
        functions = [_function("upgrade", self.upgrade)]
        if self.downgrade:
            functions.append(_function("downgrade", self.downgrade))
        body = "\n\n\n".join(functions)
        declared = "" if self.transactional else "transactional = False"
        return "\n\n".join(filter(None, ["\n".join(_imports(body)), declared])) + f"\n\n\n{body}\n"


def render_revisions(revisions: Sequence[ExampleRevision]) -> str:
    """Return the files of revisions as one text; a comment numbers them where they are several."""
    if len(revisions) == 1:
        return revisions[0].source.strip() + "\n"
    texts = []
    for number, revision in enumerate(revisions, 1):
        database = " (second database)" if revision.second_database else ""
        texts.append(f"# revision {number} of {len(revisions)}{database}\n{revision.source.strip()}\n")
    return "\n\n".join(texts)


def _imports(body: str) -> Iterator[str]:
    yield from (line for pattern, line in _IMPORTS if re.search(pattern, body))
    helpers = ", ".join(name for name in _HELPERS if f"{name}(" in body)
    if helpers:
        yield f"from circle_migrate.indexes import {helpers}"


def _function(name: str, body: str) -> str:
    return f"def {name}() -> None:\n{indent(body.strip(), '    ')}"


@dataclass(frozen=True, slots=True)
class Hazard:
    """A hazard of migrations.

    `condition` says when it occurs, `effect` who waits or what is lost, `remedy` what to do instead.
    `bad` are revisions that show it, `good` revisions that avoid it, in the order in which they run: in one
    transaction with `one_transaction`, else in one each. `setup` is SQL that prepares the first database.
    """

    id: str
    title: str
    kind: HazardClass
    condition: str
    effect: str
    remedy: str
    bad: tuple[ExampleRevision, ...]
    good: tuple[ExampleRevision, ...]
    setup: str = ""
    one_transaction: bool = False

    @property
    def fix(self) -> str:
        """The revisions of the good example, ready to paste."""
        return render_revisions(self.good)
