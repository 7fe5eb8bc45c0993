"""What a new revision has to do for the models of one database, worked out in scratch databases.

Alembic's operations come first, and what they leave different is added from the sketch of the difference.
Both are run, and so is the way back: a proposal says of itself what it leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from circle_migrate.diff.autogenerate.revision_file import RevisionFile, text
from circle_migrate.diff.compare import CompareOptions, Profile, aspect_of, compare
from circle_migrate.diff.ddl.render_alembic import body
from circle_migrate.diff.ddl.script import MigrationScript, generate, reverse
from circle_migrate.diff.ddl.statement import HazardTexts, Statement, hazard_comment, unsupported_comment
from circle_migrate.diff.describe import summary
from circle_migrate.diff.equivalence import checks_for, equal_in_scratch
from circle_migrate.diff.result import Aspect, Comparison, Difference
from circle_migrate.diff.scope import ChangeSet, EquivalenceAnswers, without_fields
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.server_errors import server_message

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from circle_migrate.diff.autogenerate.alembic_suggestions import Suggestion

Place = Callable[[], AbstractAsyncContextManager[Database]]
"""Makes a scratch database at the revisions in question."""

_BACK = CompareOptions(Profile.STRICT)
"""How it is judged whether a downgrade leads back: by everything."""


@dataclass(frozen=True, slots=True)
class ModelDiff:
    """From where a new revision leads to where; `options` say what of the models counts."""

    head: Snapshot
    models: Snapshot
    metadata: MetaData
    options: CompareOptions
    hazards: HazardTexts


@dataclass(frozen=True, slots=True)
class Proposal:
    """The bodies of a revision, indented, and in words what each of them leaves different.

    `runs` is False where the upgrade failed when it was tried.
    """

    upgrade: str
    downgrade: str
    upgrade_gaps: tuple[str, ...] = ()
    downgrade_gaps: tuple[str, ...] = ()
    runs: bool = True

    def body(self, code: str, left: tuple[str, ...]) -> str:
        """One of the bodies with comments on what it leaves."""
        comments = [f"    # {unsupported_comment(words)}" for words in left]
        return "\n".join([*comments, code or "    pass"])

    def of(self, draft: RevisionFile) -> RevisionFile:
        """The draft with these bodies."""
        return replace(
            draft,
            upgrade=self.body(self.upgrade, self.upgrade_gaps),
            downgrade=self.body(self.downgrade, self.downgrade_gaps),
        )


async def compared(before: Snapshot, after: Snapshot, options: CompareOptions, place: Place) -> Comparison:
    """Compare two snapshots; ask in a scratch database whether texts that differ mean the same."""

    async def answer(change_set: ChangeSet) -> EquivalenceAnswers:
        checks = checks_for(change_set.changes, before)
        return await equal_in_scratch(place(), checks) if checks else {}

    return await compare(before, after, options, answer)


async def propose(goal: ModelDiff, place: Place) -> Proposal | None:
    """The revision that leads from the revisions to the models; None where they agree.

    `place` makes databases at the head. Raises what making them and reading them raises; what goes wrong
    with the proposed statements is said in the proposal.
    """
    comparison = await to_models(goal, goal.head, place)
    if not comparison.differences:
        return None
    proposal, of_alembic = await _attempt(goal, place, comparison, with_alembic=True)
    if proposal.upgrade_gaps and of_alembic:
        without, _ = await _attempt(goal, place, comparison, with_alembic=False)
        proposal = min(
            proposal, without, key=lambda proposal: (not proposal.runs, len(proposal.upgrade_gaps))
        )
    if proposal.downgrade_gaps:
        async with place() as database:
            proposal = await _replace_downgrade(ScratchTrial(database, goal), proposal)
    return proposal


async def _attempt(
    goal: ModelDiff, place: Place, comparison: Comparison, *, with_alembic: bool
) -> tuple[Proposal, bool]:
    """A proposal, and whether anything of it is Alembic's."""
    async with place() as database:
        bench = ScratchTrial(database, goal)
        suggestions = await bench.suggestions(comparison) if with_alembic else ()
        return await _tried(bench, comparison, suggestions)


async def to_models(goal: ModelDiff, before: Snapshot, place: Place) -> Comparison:
    """What is different in the models, of all that they say something about.

    How things are stored is often settled in revisions alone: where models say nothing, nothing is undone.
    """
    comparison = await compared(before, goal.models, goal.options, place)
    return replace(comparison, differences=tuple(_said(comparison.differences)))


def _said(differences: tuple[Difference, ...]) -> Iterator[Difference]:
    for difference in differences:
        change = difference.change
        silent = {
            name
            for name, (_, after) in change.fields.items()
            if after is None and aspect_of(change.key.kind, name) is Aspect.STORAGE
        }
        less = without_fields(change, silent) if change.fields.keys() - silent else None
        if less is not None:
            yield replace(difference, change=less)


async def _tried(
    bench: ScratchTrial, comparison: Comparison, suggestions: tuple[Suggestion, ...]
) -> tuple[Proposal, bool]:
    """What of the suggestions can be run, with what is lacking then; run there and back."""
    runnable = await _runnable(bench, suggestions)
    upgrade = _marked(_joined(*(suggestion.upgrade for suggestion in runnable)), bench.goal.hazards)
    downgrade = _joined(*(suggestion.downgrade for suggestion in reversed(runnable)))
    if runnable:
        comparison = await bench.to_models(await bench.look())
    if comparison.differences:
        more = await bench.code(generate(comparison), marked=True)
        upgrade = _joined(upgrade, more)
        downgrade = _joined(await bench.code(reverse(comparison)), downgrade)
        fault = await bench.run(more)
        if fault is not None:
            lacking = (f"all of it: it fails with {fault}",)
            return Proposal(upgrade, downgrade, lacking, runs=False), bool(runnable)
    left = _words(await bench.to_models(await bench.look()))
    return Proposal(upgrade, downgrade, left, await bench.left_behind(downgrade)), bool(runnable)


async def _runnable(bench: ScratchTrial, suggestions: tuple[Suggestion, ...]) -> list[Suggestion]:
    """The suggestions that PostgreSQL accepts, which then have been run."""
    if await bench.run(_joined(*(suggestion.upgrade for suggestion in suggestions))) is None:
        return list(suggestions)
    return [suggestion for suggestion in suggestions if await bench.run(suggestion.upgrade) is None]


async def _replace_downgrade(bench: ScratchTrial, proposal: Proposal) -> Proposal:
    """The proposal with a downgrade that is worked out from what its upgrade has made."""
    if await bench.run(proposal.upgrade) is not None:
        return proposal
    comparison = await bench.to_head(await bench.look())
    downgrade = await bench.code(generate(comparison))
    return replace(proposal, downgrade=downgrade, downgrade_gaps=await bench.left_behind(downgrade))


class ScratchTrial:
    """A scratch database at the head, on which code is tried."""

    def __init__(self, database: Database, goal: ModelDiff) -> None:
        self._database = database
        self.goal = goal

    def _here(self) -> AbstractAsyncContextManager[Database]:
        return nullcontext(self._database)

    async def look(self) -> Snapshot:
        """What there is now."""
        return await read_live_catalog(self._database)

    async def to_models(self, before: Snapshot) -> Comparison:
        """What is still to do."""
        return await to_models(self.goal, before, self._here)

    async def to_head(self, before: Snapshot) -> Comparison:
        """What is still to undo."""
        return await compared(before, self.goal.head, _BACK, self._here)

    async def run(self, code: str) -> str | None:
        """Run the body of a function as the revision would. Returns why that fails, and then undoes it."""
        from circle_migrate.migrate.alembic_adapter.run_source import run_source

        if not code:
            return None
        source = text(RevisionFile(self._database, "trial", (), upgrade=code))
        async with self._database.working("circle-migrate autogenerate", {}) as connection:
            try:
                await connection.run_sync(run_source, source, "upgrade")
            except Exception as error:  # noqa: BLE001 - code that nobody has read yet can raise anything
                return server_message(error)
        return None

    async def left_behind(self, downgrade: str) -> tuple[str, ...]:
        """Run a downgrade; what is not as it was at the head after it."""
        fault = await self.run(downgrade)
        if fault is not None:
            return (f"all of it: it fails with {fault}",)
        return _words(await self.to_head(await self.look()))

    async def suggestions(self, comparison: Comparison) -> tuple[Suggestion, ...]:
        """What Alembic would do."""
        from circle_migrate.diff.autogenerate.alembic_suggestions import suggest
        from circle_migrate.migrate.alembic_adapter.context import VersionTable

        settings = self._database.settings
        table = VersionTable(settings.version_table, settings.version_table_schema)
        changes = [difference.change for difference in comparison.differences]
        async with self._database.working("circle-migrate autogenerate", {}) as connection:
            return await connection.run_sync(suggest, self.goal.metadata, table, changes)

    async def code(self, made: MigrationScript, *, marked: bool = False) -> str:
        """A sketch as a body, empty without statements; `marked` where something is destroyed.

        What it leaves different is not taken from the sketch: that is seen by running it.
        """
        if not made.statements:
            return ""
        connection = await self._database.connect()
        try:
            schema = await connection.fetchval("SELECT current_schema()")
        finally:
            connection.terminate()
        statements = (
            replace(statement, hazards=_shown(statement, self.goal.hazards) if marked else ())
            for statement in made.statements
        )
        return body(replace(made, statements=tuple(statements), incomplete=()), self.goal.hazards, schema)


def _words(comparison: Comparison) -> tuple[str, ...]:
    return tuple(summary(difference, comparison) for difference in comparison.differences)


def _shown(statement: Statement, hazards: HazardTexts) -> tuple[str, ...]:
    """The hazards that belong into the file; the others are for `check`, which sees the tables too."""
    return tuple(
        hazard
        for hazard in statement.hazards
        if hazards[hazard].kind in ("data-loss", "app-break") or not statement.transactional
    )


_DESTROYING = {"op.drop_table(": "CM013", "op.drop_column(": "CM010"}


def _marked(code: str, texts: HazardTexts) -> str:
    """Alembic's operations with a comment above each that destroys something."""
    lines = []
    for line in code.splitlines():
        hazards = (hazard for call, hazard in _DESTROYING.items() if line.strip().startswith(call))
        lines += [f"    # {hazard_comment(hazard, texts)}" for hazard in hazards]
        lines.append(line)
    return "\n".join(lines)


def _joined(*codes: str) -> str:
    return "\n".join(filter(None, codes))
