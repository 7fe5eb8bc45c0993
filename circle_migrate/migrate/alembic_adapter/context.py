"""Alembic's migration context, operations and global proxies, and what was sent, for one step."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import alembic.context
import alembic.op
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import String
from sqlalchemy.dialects import registry

from circle_migrate.core.errors import Refused
from circle_migrate.migrate.alembic_adapter.autocommit import autocommit
from circle_migrate.postgres.identifier import quote, unquote_and_fold
from circle_migrate.postgres.simple_protocol import Adapter, Watch
from circle_migrate.postgres.sql_text import DEALLOCATES, split_statements
from circle_migrate.revision_graph.modules import exits_as_errors, load_for_run
from circle_migrate.revision_graph.revision import MAX_ID_LENGTH, Revision

if TYPE_CHECKING:
    from types import ModuleType

    from alembic.runtime.environment import EnvironmentContext

T = TypeVar("T")

_ENDS_TRANSACTION = re.compile(
    r"\s*(?:commit|end|abort|begin|start\s+transaction|prepare\s+transaction"
    r"|rollback(?!\s+(?:work\s+|transaction\s+)?to))\b",
    re.IGNORECASE,
)
_SETS_ROLE = re.compile(
    r"\s*(?:re)?set\s+(?:(?:local|session)\s+)?(?:role|(?:session\s+)?authorization)\b"
    r"(?:\s*=|\s+to\b)?\s*(?P<role>.*)",
    re.IGNORECASE,
)
_SETS_READ_ONLY = re.compile(r"\bread\s+only\b|transaction_read_only", re.IGNORECASE)
_SETS_TIMEOUT = re.compile(r"\bstatement_timeout\b", re.IGNORECASE)
_ENDS_SESSION = re.compile(
    r"\b(?:idle_in_transaction_session_timeout|idle_session_timeout|transaction_timeout)\b", re.IGNORECASE
)
_UNDOES = re.compile(r"\s*(?:rollback|abort)\b", re.IGNORECASE)
_COMMITS_INSIDE = re.compile(r"\s*call\b|\bcommit\b", re.IGNORECASE)


class Transcript(Watch):
    """The statements of a step.

    `committed` are those that a rollback does not undo, `unknown` those that may be committed, as the
    connection was lost or the run was cancelled while they ran, `ended` those whose transaction the driver's
    connection has committed or rolled back; `failing` is the text that failed, after `seconds`. `refusal` is
    the error for a statement that ends the transaction, None where the step may end it; `refused` is it after
    such a statement, and no other statement is sent, also if the step catches the error.
    """

    ENDED = "the step ended its transaction on the driver's connection"

    def __init__(
        self, adapter: Adapter, refusal: Callable[[], Refused] | None, note: Callable[[], None]
    ) -> None:
        self.committed: list[str] = []
        self.unknown: list[str] = []
        self.ended: list[str] = []
        self.failing = ""
        self.seconds = 0.0
        self._sent_at = 0.0
        self._pending: list[str] = []
        self._adapter = adapter
        self._refusal = refusal
        self._note: Callable[[], None] | None = note
        self.refused: Refused | None = None
        self._has_begun = False

    def reached(self) -> None:
        """Note that the step can end a transaction that it may not end."""
        note, self._note = self._note, None
        if note is not None and self._refusal is not None:
            note()

    def before(self, sql: str) -> None:
        """Raise the refusal where the text, or one before it, ends the transaction."""
        if self.has_ended():
            raise RuntimeError(self.ENDED)
        if self._refusal is not None and any(map(_ENDS_TRANSACTION.match, split_statements(sql))):
            self.refused = self.refused or self._refusal()
        if self.refused is not None:
            raise self.refused
        self._sent_at = time.monotonic()

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
        self.seconds = time.monotonic() - self._sent_at
        commits = _COMMITS_INSIDE.search(sql) is not None
        if self._adapter.driver.is_closed() or not isinstance(error, Exception):
            if commits or (self._adapter.autocommit and not self._has_begun):
                self.unknown = [*self._pending, sql]
        elif commits and not self._adapter.is_in_transaction:
            self.committed += [*self._pending, f"a part of {sql}"]
            self._pending.clear()

    def has_ended(self) -> bool:
        """Return whether a transaction that the step may not end was ended on the driver's connection."""
        is_lost = self._adapter.has_lost_transaction and not self._adapter.driver.is_closed()
        if is_lost and not self._adapter.is_in_transaction:
            (self.ended if self._refusal else self.committed).extend(self._pending)
            self._pending.clear()
        return is_lost and self._refusal is not None

    @property
    def may_defer(self) -> bool:
        """Whether the step may have created a deferrable constraint, as far as it was watched."""
        return self._note is None or any("deferr" in text.lower() for text in self._pending)

    @property
    def may_deallocate(self) -> bool:
        """Whether the step may have deallocated prepared statements, as far as it was watched."""
        return self._note is None or any(map(DEALLOCATES.match, self._pending))

    @property
    def _statements(self) -> list[str]:
        return [*self.committed, *self._pending, *split_statements(self.failing)[:-1]]

    @property
    def role(self) -> str | None:
        """The role that the last statement of its kind has set."""
        names = [match["role"].strip() for text in self._statements if (match := _SETS_ROLE.match(text))]
        name = names[-1] if names else ""
        return None if name.lower() in ("", "none", "default") else unquote_and_fold(name.replace("'", '"'))

    @property
    def sets_timeout(self) -> bool:
        """Whether the step has set a limit for its statements."""
        return any(map(_SETS_TIMEOUT.search, self._statements))

    @property
    def ends_session(self) -> str | None:
        """The last statement that sets a limit after which the server ends the session."""
        return next(filter(_ENDS_SESSION.search, reversed(self._statements)), None)

    @property
    def read_only(self) -> str | None:
        """The statement that has made the transaction read-only."""
        return next(filter(_SETS_READ_ONLY.search, self._statements), None)

    def end(self, *, undone: bool = False) -> None:
        """Act after the transaction has ended."""
        if not undone:
            self.committed += self._pending
        self._pending.clear()


proxies_lock = threading.Lock()
"""The lock of Alembic's global proxies, held by code that does not await; threads have loops of their own."""

_PROXIES = (
    (vars(alembic.op), "_proxy"),
    *((vars(alembic.context), name) for name in ("_proxy", "config", "script")),
)
"""The names by which Alembic's modules reach what `_install_proxy` has installed."""

_ABSENT = object()
_NO_PROXIES = [_ABSENT] * len(_PROXIES)


@dataclass(frozen=True, slots=True)
class InTurns(Generic[T]):
    """A step that others may overtake while it awaits its server; each has the proxies in its turns."""

    step: Coroutine[Any, Any, T]

    def __await__(self) -> Generator[Any, Any, T]:
        """Return the step's result."""
        iterator = self.step.__await__()
        resume: Callable[[], Any] = partial(next, iterator)
        own: Sequence[object] = _NO_PROXIES
        while True:
            with proxies_lock:
                _exchange_proxies(own)
                try:
                    awaited = resume()
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                finally:
                    own = _exchange_proxies(_NO_PROXIES)
            try:
                resume = partial(iterator.send, (yield awaited))
            except BaseException as error:  # noqa: BLE001 - the step handles it
                resume = partial(iterator.throw, error)


def _exchange_proxies(new: Sequence[object]) -> Sequence[object]:
    """Let Alembic's modules have exactly the new values, and return the old ones."""
    old = []
    for (module, name), value in zip(_PROXIES, new, strict=True):
        old.append(module.pop(name, _ABSENT))
        if value is not _ABSENT:
            module[name] = value
    return old


@dataclass(frozen=True, slots=True)
class VersionTable:
    """The table with the current revisions of a database, which is made for ids of `id_length`."""

    name: str = "alembic_version"
    schema: str | None = None
    id_length: int = MAX_ID_LENGTH

    @property
    def sql_name(self) -> str:
        """The quoted name."""
        return f"{quote(self.schema)}.{quote(self.name)}" if self.schema else quote(self.name)

    @property
    def options(self) -> dict[str, Any]:
        """The options of Alembic's migration context."""
        return {
            "version_table": self.name,
            "version_table_schema": self.schema,
            "version_id_length": self.id_length,
        }


class OutsideTransaction(Refused, code="not-transactional"):
    """A step ends its transaction and does not declare `transactional = False`."""


class Context(MigrationContext):
    """A context that refuses to end a transaction that the executor owns (`owned_by_us`)."""

    owned_by_us = False
    in_autocommit = False
    known_heads: tuple[str, ...] = ()
    revision: Revision | None = None
    module: ModuleType | None = None
    transcript: Transcript | None = None

    def __init__(self, dialect: Any, connection: Any, opts: dict[str, Any]) -> None:
        super().__init__(dialect, connection, opts)
        self._version.c.version_num.type = String(opts.get("version_id_length", MAX_ID_LENGTH))

    @classmethod
    def offline(cls, options: dict[str, Any]) -> Self:
        """Return a context with the driver's dialect: plain postgresql doubles % (sqlalchemy/alembic#562)."""
        return cls(registry.load("postgresql.asyncpg")(), None, options)

    def get_current_heads(self) -> tuple[str, ...]:
        """Return the known heads. With none, read the table, which Alembic creates where it is missing."""
        return self.known_heads or super().get_current_heads()

    def refusal(self, action: str) -> OutsideTransaction:
        """Return the error for a revision that ends its transaction and does not declare it."""
        revision = self.revision
        return OutsideTransaction(
            f"revision {revision.id if revision else '?'} {action} "
            "and does not declare `transactional = False`",
            database=revision.database if revision else None,
            location=revision.location if revision else None,
            state="nothing of its segment was applied",
            hint="write `transactional = False` below `revision`; the revision then has a segment of its own",
        )

    @contextmanager
    def autocommit_block(self) -> Iterator[None]:
        """Leave the transaction. Raises `OutsideTransaction` in a segment."""
        if self.owned_by_us:
            raise self.refusal("uses autocommit_block")
        if self.in_autocommit:
            yield
            return
        self.in_autocommit = True
        try:
            with autocommit(self):
                yield
        finally:
            self.in_autocommit = False


@contextmanager
def bind_revision(context: Context, revision: Revision, environment: EnvironmentContext) -> Iterator[None]:
    """Bind `op` and Alembic's proxies to the context in the block, which `exits_as_errors`."""
    operations = Operations(context)
    environment._migration_context = context
    environment.context_opts["as_sql"] = context.as_sql
    context.environment_context = environment
    context.script = environment.script
    operations._install_proxy()
    environment._install_proxy()
    try:
        loaded = load_for_run(revision)
        context.module = loaded.module
        for name, function in loaded.operations.items():
            setattr(loaded.module, name, getattr(operations, function) if function else operations)
        with exits_as_errors():
            yield
    finally:
        environment._remove_proxy()
        operations._remove_proxy()
