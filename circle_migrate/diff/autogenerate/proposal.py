"""Determine the content of a new revision for the models of one database, in scratch databases.

Alembic's operations come first; the DDL writer adds what they leave. Upgrade and downgrade are executed, so
that the differences that they leave are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from circle_migrate.diff.autogenerate.revision_file import RevisionFile, text
from circle_migrate.diff.compare import CompareOptions, aspect_of
from circle_migrate.diff.ddl.render import body
from circle_migrate.diff.ddl.script import MigrationScript, generate
from circle_migrate.diff.ddl.statement import HazardTexts, Statement, hazard_comment, unsupported_comment
from circle_migrate.diff.describe import summary
from circle_migrate.diff.equivalence import OpenScratch, compare_in_scratch
from circle_migrate.diff.result import Aspect, Comparison
from circle_migrate.diff.scope import without_fields
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.search_path import FIRST_SCHEMA
from circle_migrate.postgres.server_errors import server_message

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from circle_migrate.diff.autogenerate.alembic_suggestions import Suggestion

_ROUND_TRIP = CompareOptions("strict", partitions=True)
"""Options for the comparison after a downgrade."""


@dataclass(frozen=True, slots=True)
class ModelDiff:
    """The catalogs of the head and of the models; `open_scratch` opens a scratch database at the head."""

    head: Snapshot
    models: Snapshot
    metadata: tuple[MetaData, ...]
    options: CompareOptions
    hazards: HazardTexts
    open_scratch: OpenScratch


@dataclass(frozen=True, slots=True)
class Function:
    """The indented body of a function, and remarks on its failure or on the differences that it leaves."""

    code: str
    remarks: tuple[str, ...] = ()
    fails: bool = False

    def text(self) -> str:
        """Return the code below its remarks."""
        return "\n".join([*(f"    # {remark}" for remark in self.remarks), self.code or "    pass"])


@dataclass(frozen=True, slots=True)
class Proposal:
    """The two functions of a revision."""

    upgrade: Function
    downgrade: Function

    @property
    def fails(self) -> bool:
        """Whether a function failed."""
        return self.upgrade.fails or self.downgrade.fails

    def notes(self) -> Iterator[str]:
        """Yield the remarks as notes."""
        for name, function in (("upgrade", self.upgrade), ("downgrade", self.downgrade)):
            yield from (f"{name}() of the new revision: {remark}" for remark in function.remarks)
        if self.fails:
            yield "the new revision is not finished: edit its file, or delete it"


async def propose(goal: ModelDiff) -> Proposal | None:
    """Return the revision that changes the head into the models; None if they do not differ.

    Raises the errors of scratch databases; an error of the proposed statements is a remark.
    """
    comparison = await _compare_with_models(goal, goal.head, goal.open_scratch)
    if not comparison.differences:
        return None
    proposal, uses_alembic = await _attempt(goal, comparison, with_alembic=True)
    if uses_alembic and proposal.upgrade.remarks:
        without, _ = await _attempt(goal, comparison, with_alembic=False)
        proposal = min(proposal, without, key=lambda it: (it.upgrade.fails, len(it.upgrade.remarks)))
    if proposal.downgrade.remarks:
        async with goal.open_scratch() as database:
            trial = ScratchTrial(database, goal)
            if await trial.run(proposal.upgrade.code) is None:  # the catalog tells what to undo
                downgrade = await trial.code(generate(await trial.compare_with_head()))
                return replace(proposal, downgrade=await trial.tried_downgrade(downgrade))
    return proposal


async def _compare_with_models(goal: ModelDiff, before: Snapshot, open_scratch: OpenScratch) -> Comparison:
    """Compare with the models, without storage properties that models do not set: revisions may set them."""
    comparison = await compare_in_scratch(before, goal.models, goal.options, open_scratch)
    differences = []
    for difference in comparison.differences:
        change = difference.change
        unset = {
            name
            for name, (_, after) in change.fields.items()
            if after is None and aspect_of(change.key.kind, name) is Aspect.STORAGE
        }
        # A missing object without fields has nothing to compare.
        remaining = without_fields(change, unset) if change.fields else None
        if remaining is not None:
            differences.append(replace(difference, change=remaining))
    return replace(comparison, differences=tuple(differences))


async def _attempt(goal: ModelDiff, comparison: Comparison, *, with_alembic: bool) -> tuple[Proposal, bool]:
    """Return a proposal that was executed, and whether it contains operations of Alembic."""
    async with goal.open_scratch() as database:
        trial = ScratchTrial(database, goal)
        runnable = await trial.suggestions(comparison) if with_alembic else ()
        if await trial.run(_join(*(suggestion.upgrade for suggestion in runnable))) is not None:
            runnable = tuple([item for item in runnable if await trial.run(item.upgrade) is None])
        upgrade = _with_hazards(_join(*(suggestion.upgrade for suggestion in runnable)), goal.hazards)
        downgrade = _join(*(suggestion.downgrade for suggestion in reversed(runnable)))
        if runnable:
            comparison = await trial.compare_with_models()
        if comparison.differences:
            script = generate(comparison)
            # Enum labels are committed before everything else.
            parts = ([item for item in script.statements if item.transactional is it] for it in (False, True))
            scripts = (replace(script, statements=tuple(part)) for part in parts)
            first, remainder = [await trial.code(part, with_hazards=True) for part in scripts]
            upgrade = _join(first, upgrade, remainder)
            downgrade = _join(await trial.code(generate(comparison, undo=True)), downgrade)
            error = await trial.run(_join(first, remainder))
            if error is not None:
                return _failed(upgrade, downgrade, error), bool(runnable)
        return await trial.tried(upgrade, downgrade), bool(runnable)


def _failed(upgrade: str, downgrade: str, error: str) -> Proposal:
    untried = Function(downgrade, ("NOT TRIED: upgrade() fails",), fails=True)
    return Proposal(Function(upgrade, (error,), fails=True), untried)


async def try_drafts(goal: ModelDiff, drafts: Sequence[RevisionFile]) -> Proposal:
    """Execute drafts, one after the other, and return them as one proposal with what they leave."""
    upgrade = _join(*(draft.upgrade for draft in drafts))
    downgrade = _join(*(draft.downgrade for draft in reversed(drafts)))
    async with goal.open_scratch() as database:
        imports = tuple(line for draft in drafts for line in draft.imports)
        trial = ScratchTrial(database, goal, imports)
        error = await trial.run(upgrade)
        return await trial.tried(upgrade, downgrade) if error is None else _failed(upgrade, downgrade, error)


@dataclass(frozen=True, slots=True)
class ScratchTrial:
    """A scratch database at the head, in which code is executed with `_imports` besides those it needs."""

    _database: Database
    _goal: ModelDiff
    _imports: tuple[str, ...] = ()

    def _open(self) -> AbstractAsyncContextManager[Database]:
        return nullcontext(self._database)

    async def compare_with_models(self) -> Comparison:
        """Compare the current catalog with the models."""
        return await _compare_with_models(self._goal, await read_live_catalog(self._database), self._open)

    async def compare_with_head(self) -> Comparison:
        """Compare the current catalog with the head."""
        current = await read_live_catalog(self._database)
        return await compare_in_scratch(current, self._goal.head, _ROUND_TRIP, self._open)

    async def run(self, code: str) -> str | None:
        """Execute a function body as a revision would. Return a remark if it failed and was rolled back."""
        from circle_migrate.migrate.alembic_adapter.new_script import run_source

        if not code:
            return None
        source = text(RevisionFile(self._database, "trial", (), upgrade=code, imports=self._imports))
        async with self._database.working("circle-migrate autogenerate", {}) as connection:
            try:
                await connection.run_sync(run_source, source, "upgrade", self._database.settings)
            except Exception as error:  # noqa: BLE001 - generated code can raise anything
                return f"FAILED in a scratch database: {' '.join(server_message(error).split())}"
        return None

    async def tried(self, upgrade: str, downgrade: str) -> Proposal:
        """Return both functions, of which the first was executed, with the differences that they leave."""
        done = Function(upgrade, _summaries(await self.compare_with_models()))
        return Proposal(done, await self.tried_downgrade(downgrade))

    async def tried_downgrade(self, downgrade: str) -> Function:
        """Execute a downgrade, and return it with the remaining differences from the head."""
        error = await self.run(downgrade)
        if error is not None:
            return Function(downgrade, (error,), fails=True)
        return Function(downgrade, _summaries(await self.compare_with_head()))

    async def suggestions(self, comparison: Comparison) -> tuple[Suggestion, ...]:
        """Return Alembic's operations for the differences."""
        from circle_migrate.diff.autogenerate.alembic_suggestions import suggest
        from circle_migrate.migrate.alembic_adapter.context import VersionTable

        settings = self._database.settings
        table = VersionTable(settings.version_table, settings.version_table_schema)
        changes = [difference.change for difference in comparison.differences]
        async with self._database.working("circle-migrate autogenerate", {}) as connection:
            return await connection.run_sync(suggest, self._goal.metadata, table, changes)

    async def code(self, script: MigrationScript, *, with_hazards: bool = False) -> str:
        """Return a script as a function body, empty without statements.

        Its incomplete differences are left out, because executing the code finds them.
        """
        if not script.statements:
            return ""
        async with self._database.reading() as connection:
            schema = await connection.fetchval(f"SELECT {FIRST_SCHEMA}")
        statements = tuple(
            replace(statement, hazards=_file_hazards(statement, self._goal.hazards) if with_hazards else ())
            for statement in script.statements
        )
        return body(replace(script, statements=statements, incomplete=()), self._goal.hazards, schema)


def _summaries(comparison: Comparison) -> tuple[str, ...]:
    return tuple(unsupported_comment(summary(item, comparison)) for item in comparison.differences)


def _file_hazards(statement: Statement, hazards: HazardTexts) -> tuple[str, ...]:
    """Return the hazards for the file; `check` reports the others, which depend on the tables."""
    return tuple(
        hazard
        for hazard in statement.hazards
        if hazards[hazard].kind in ("data-loss", "app-break") or not statement.transactional
    )


_DESTRUCTIVE = {"op.drop_table(": "CM013", "op.drop_column(": "CM010"}


def _with_hazards(code: str, texts: HazardTexts) -> str:
    """Return Alembic's operations with a comment above each destructive one."""
    lines = []
    for line in code.splitlines():
        hazards = (hazard for call, hazard in _DESTRUCTIVE.items() if line.strip().startswith(call))
        lines += [f"    # {hazard_comment(hazard, texts)}" for hazard in hazards]
        lines.append(line)
    return "\n".join(lines)


def _join(*codes: str) -> str:
    return "\n".join(filter(None, codes))
