"""The statements that a step has sent, and those of them that a rollback does not undo."""

from __future__ import annotations

import re
from collections.abc import Callable

from circle_migrate.postgres.simple_protocol import Adapter, Watch
from circle_migrate.postgres.statements import split_statements

_ENDS_TRANSACTION = re.compile(
    r"\s*(?:commit|end|abort|begin|start\s+transaction|prepare\s+transaction"
    r"|rollback(?!\s+(?:work\s+|transaction\s+)?to))\b",
    re.IGNORECASE,
)
_UNDOES = re.compile(r"\s*(?:rollback|abort)\b", re.IGNORECASE)
_COMMITS_INSIDE = re.compile(r"\s*call\b|\bcommit\b", re.IGNORECASE)


class Transcript(Watch):
    """The statements of a step.

    `committed` are those that a rollback does not undo, `unknown` those that may be committed, as the
    connection was lost or the run was cancelled while they ran; `failing` is the text that failed. `refusal`
    is the error for a statement that ends the transaction, None where the step may end it.
    """

    def __init__(self, adapter: Adapter, refusal: Callable[[], Exception] | None) -> None:
        self.committed: list[str] = []
        self.unknown: list[str] = []
        self.failing = ""
        self._pending: list[str] = []
        self._adapter = adapter
        self._refusal = refusal
        self._has_begun = False

    def before(self, sql: str) -> None:
        """Raise the refusal where the text ends the transaction."""
        if self._refusal is not None and any(map(_ENDS_TRANSACTION.match, split_statements(sql))):
            raise self._refusal()

    def done(self, sql: str) -> None:
        """Add the statements of the text to those that are committed if the transaction has ended."""
        for statement in split_statements(sql):
            self._pending.append(statement)
            if _ENDS_TRANSACTION.match(statement):  # another one may begin in the same text
                self.end(undone=_UNDOES.match(statement) is not None)
        self._has_begun = self._adapter.is_in_transaction
        if not self._has_begun:
            self.end()

    def failed(self, sql: str, error: BaseException) -> None:
        """Note what a text may have committed before it failed."""
        self.failing = sql
        commits = _COMMITS_INSIDE.search(sql) is not None
        if self._adapter.driver.is_closed() or not isinstance(error, Exception):
            if commits or (self._adapter.autocommit and not self._has_begun):
                self.unknown = [*self._pending, sql]
        elif commits and not self._adapter.is_in_transaction:
            self.committed += [*self._pending, f"a part of {sql}"]
            self._pending.clear()

    def end(self, *, undone: bool = False) -> None:
        """Act after the transaction has ended."""
        if not undone:
            self.committed += self._pending
        self._pending.clear()
