"""One backend beside whose statements a trace looks: what was there, what each statement has done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from circle_migrate.postgres.catalog.read import read_catalog
from circle_migrate.postgres.catalog.snapshot import Change, Op, Snapshot, changes_between
from circle_migrate.safety.trace import statement_text
from circle_migrate.safety.trace.record import Lock, ServerError, TracedStatement
from circle_migrate.safety.trace.work import (
    Evidence,
    HeldLocks,
    Relation,
    held_locks,
    is_proof,
    parse_message,
    relations,
    work,
)

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.config.settings import DatabaseSettings

_FOREIGN_KEYS = """
SELECT conname::text AS name, conrelid::bigint AS oid FROM pg_catalog.pg_constraint
WHERE contype = 'f' AND conname = ANY ($1::text[])
"""
_MOVED = {"position"}
"""What changes of the columns behind one that is dropped, which is nothing that was done to them."""

_NAMED = """
SELECT coalesce(indrelid, found)::bigint
FROM (SELECT to_regclass($1)::oid) named (found) LEFT JOIN pg_catalog.pg_index ON indexrelid = found
"""


# Those of extensions are part of what they are installed for, and not of the plan.
_BODIES = """
SELECT p.proname::text AS name, coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) AS body
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.proname = ANY ($1::text[]) AND l.lanname NOT IN ('internal', 'c')
  AND p.pronamespace <> 'pg_catalog'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'
                  AND d.classid = 'pg_catalog.pg_proc'::regclass)
"""


@dataclass(slots=True)
class PendingStatement:
    """A statement that is running: what its transaction had before, and the one made for it alone."""

    traced: TracedStatement
    before: HeldLocks
    own: Any = None


@dataclass(slots=True)
class TracedConnection:
    """The connection's database as it was before the plan began (`known`), and as it is now."""

    driver: asyncpg.Connection
    settings: DatabaseSettings
    known: dict[int, Relation] = field(default_factory=dict)
    present: dict[int, Relation] = field(default_factory=dict)
    catalogue: Snapshot | None = None
    _files: dict[int, int | None] = field(default_factory=dict)
    _messages: list[str] = field(default_factory=list)

    async def begin(self, known: Mapping[int, Relation] | None = None) -> None:
        """Start to listen. `known` are the relations from before the plan, if it had begun on another one."""
        self.driver.add_log_listener(self._note)
        await self.driver.execute("SET client_min_messages = debug1")
        await self.refresh()
        self.known = dict(self.present if known is None else known)

    async def refresh(self) -> None:
        """Look at everything anew, as after a rollback."""
        await self.look_at_files()
        self.catalogue = await self._capture()

    async def look_at_files(self) -> None:
        """Look at relations anew, as after a rollback where the catalogue is known."""
        await self._look_at_relations()
        self._files = {oid: relation.file for oid, relation in self.present.items()}

    async def before(self, traced: TracedStatement, *, autocommit: bool) -> PendingStatement:
        """A statement is about to be sent.

        One that commits by itself where it need not is given a transaction, whose locks can be looked at.
        """
        own = None
        if autocommit and statement_text.fits_a_transaction(traced.sql):
            own = self.driver.transaction()
            await own.start()
        before = await held_locks(self.driver)
        self._messages.clear()
        return PendingStatement(traced, before, own)

    async def after(self, begun: PendingStatement) -> TracedStatement:
        """It has run: what it did."""
        alone = not self.driver.is_in_transaction()
        after = await held_locks(self.driver)
        messages = tuple(self._messages)
        changes: tuple[Change, ...] = ()
        if alone or after.catalogued != begun.before.catalogued:
            changes = await self._changes()
        replaced = self._replaced(
            {oid: relation.file for oid, relation in self.present.items()} if alone else after.files
        )
        evidence = await self._evidence(begun, after, messages, replaced)
        traced = replace(
            begun.traced,
            transactional=not alone and begun.own is None,
            before=begun.before.strongest(self._names),
            locks=after.strongest(self._names),
            work=work(evidence),
            validated_constraints=tuple(filter(is_proof, messages)),
            changes=changes,
            created_relations=self._born,
        )
        if begun.own is not None:
            await begun.own.commit()
        return replace(traced, locks=self._locks_by_kind(traced, evidence.named)) if alone else traced

    async def failed(self, begun: PendingStatement, error: ServerError) -> TracedStatement:
        """It has failed. What its transaction held before is all that is known of its locks."""
        in_transaction = self.driver.is_in_transaction()
        messages = tuple(self._messages)
        if begun.own is not None and not self.driver.is_closed():
            await begun.own.rollback()
        held_before = begun.before.strongest(self._names)
        named = tuple(filter(None, map(parse_message, messages)))
        return replace(
            begun.traced,
            transactional=in_transaction and begun.own is None,
            before=held_before,
            locks=held_before,
            work=work(
                Evidence(begun.traced.sql, named, self.known, self.present, begun.before, begun.before)
            ),
            validated_constraints=tuple(filter(is_proof, messages)),
            created_relations=self._born,
            error=error,
        )

    async def _changes(self) -> tuple[Change, ...]:
        """How the catalogue differs from when this was last asked."""
        await self._look_at_relations()
        catalogue, self.catalogue = self.catalogue, await self._capture()
        changes = changes_between(catalogue, self.catalogue) if catalogue is not None else ()
        return tuple(
            change for change in changes if change.op is not Op.CHANGED or change.fields.keys() - _MOVED
        )

    def _replaced(self, files: Mapping[int, int | None]) -> frozenset[int]:
        """The tables that have another file than before, which from now on is theirs."""
        found = {
            oid
            for oid, file in files.items()
            if oid in self._files and self._files[oid] != file and self._has_rows(oid)
        }
        self._files.update(files)
        return frozenset(found)

    def _has_rows(self, oid: int) -> bool:
        return oid in self.present and self.present[oid].has_rows

    async def _evidence(
        self, begun: PendingStatement, after: HeldLocks, messages: tuple[str, ...], replaced: frozenset[int]
    ) -> Evidence:
        keys = [
            server_notice.constraint
            for server_notice in map(parse_message, messages)
            if server_notice and server_notice.constraint
        ]
        owners: dict[str, tuple[int, ...]] = {}
        for row in await self.driver.fetch(_FOREIGN_KEYS, keys) if keys else ():
            owners[row["name"]] = (*owners.get(row["name"], ()), row["oid"])
        sql = begun.traced.sql
        writing, kind = statement_text.writing(sql), statement_text.committing(sql)
        target = await self._oid(writing.target) if writing and writing.target else None
        named = [await self._oid(name) for name in kind.named] if kind else []
        bodies = await self._bodies(sql) if writing and writing.hidden else ""
        looped = statement_text.written(sql, bodies) if writing and writing.hidden else {}
        tables = {await self._oid(name): task for name, task in looped.items()}
        return Evidence(
            sql,
            tuple(filter(None, map(parse_message, messages))),
            self.known,
            self.present,
            begun.before,
            after,
            replaced=replaced,
            foreign_keys=owners,
            target=target,
            named=frozenset(filter(None, named)),
            bodies=bodies,
            looped={oid: task for oid, task in tables.items() if oid is not None},
        )

    async def _bodies(self, sql: str) -> str:
        """The text of the functions that a statement calls, and of those that they call."""
        known: dict[str, str] = {}
        names = statement_text.called(sql)
        while names:
            rows = await self.driver.fetch(_BODIES, sorted(names))
            known |= {row["name"]: row["body"] for row in rows}
            names = frozenset().union(*(statement_text.called(row["body"]) for row in rows)) - known.keys()
        return "\n".join(known.values())

    async def _oid(self, name: str) -> int | None:
        """The relation that a statement calls by this name, of an index its table."""
        found: int | None = await self.driver.fetchval(_NAMED, name)
        return found

    def _locks_by_kind(self, traced: TracedStatement, named: frozenset[int]) -> dict[str, Lock]:
        """The locks of a statement that has committed them away, by what kind it is of."""
        kind = statement_text.committing(traced.sql)
        if kind is None:
            return {}
        touched = {self.known[oid].name for oid in named if oid in self.known}
        touched |= {work.relation for work in traced.work}
        touched |= {change.owner.identity for change in traced.changes if change.owner is not None}
        return dict.fromkeys(sorted(touched & set(self._names.values())), kind.mode)

    @property
    def _names(self) -> dict[int, str]:
        return {oid: relation.name for oid, relation in self.known.items()}

    @property
    def _born(self) -> frozenset[str]:
        return frozenset(relation.name for oid, relation in self.present.items() if oid not in self.known)

    def _note(self, _connection: object, message: Any) -> None:
        self._messages.append(str(message.message))

    async def _look_at_relations(self) -> None:
        self.present = await relations(self.driver, self.settings.version_table)

    async def _capture(self) -> Snapshot:
        return await read_catalog(
            self.driver,
            self.settings.name,
            "scratch",
            version_table=self.settings.version_table,
            version_table_schema=self.settings.version_table_schema,
        )
