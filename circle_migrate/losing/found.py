"""What a plan takes, as it was found, and how much of that there is, asked as often as is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from circle_migrate.core.losses import Count, Effect, Failure, Loss, LossReport, Method, biggest_first
from circle_migrate.errors import SettingsError
from circle_migrate.losing.counting import counted
from circle_migrate.losing.listing import Names

if TYPE_CHECKING:
    from circle_migrate.core.catalog import Snapshot
    from circle_migrate.core.plan import Plan
    from circle_migrate.core.traces import Traced
    from circle_migrate.deployment import Deployment


@dataclass
class Found:
    """What a plan takes from the databases of a deployment, without how much there is of it.

    `before` has the catalogues in which it was found, `statements` what runs. Of a rehearsal, `skipped` says
    why revisions were left out, and `altered` how many values conversions made others.
    """

    deployment: Deployment
    plan: Plan
    losses: list[Loss] = field(default_factory=list)
    before: dict[str, Snapshot] = field(default_factory=dict)
    statements: list[Traced] = field(default_factory=list)
    methods: list[Method] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: Mapping[str, str] = field(default_factory=dict)
    altered: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @cached_property
    def names(self) -> Mapping[str, Names]:
        """How the objects of each database are called."""
        settings = {name: self.deployment.databases[name].settings for name in self.plan.databases}
        return {name: Names.of(name, each.search_path) for name, each in settings.items()}

    def add(self, losses: Iterable[Loss]) -> None:
        """Add those that are not there yet; what was seen first has more to say."""
        self.losses = _with(self.losses, losses)

    async def counted(self) -> LossReport:
        """The report, with what the live databases hold now. Raises what connecting raises."""
        losses, notes = await self._with_partners(await self.amounts())
        order = list(self.plan.databases)
        return LossReport(
            "downgrade",
            self.plan,
            self.deployment.commit_mode,
            tuple(sorted(losses, key=lambda each: (order.index(each.database), *biggest_first(each)))),
            tuple(self.methods),
            datetime.now(UTC),
            tuple(self.failures),
            self.skipped,
            tuple(dict.fromkeys([*self.notes, *notes])),
        )

    async def amounts(self) -> tuple[Loss, ...]:
        """The losses with how much of each there is now, and without what belongs to them elsewhere.

        Rows that the revisions' own statements change are those a rehearsal has counted, if there was one.
        Raises what connecting raises.
        """
        from circle_migrate.losing.foretelling import foretold, written

        databases = {name: self.deployment.databases[name] for name in self.plan.databases}
        losses = _with(self.losses, written(self.names, self.statements))
        altered = [
            self._as_rehearsed(each) for each in await foretold(databases, self.names, self.statements)
        ]
        losses = _without_parts(_with(_without_shadows(losses, altered), altered))
        found: list[Loss] = []
        for name, database in databases.items():
            mine = [each for each in losses if each.database == name]
            found += await counted(database, mine, self.before[name])
        return tuple(found)

    def _as_rehearsed(self, loss: Loss) -> Loss:
        """With the number of values, where only a rehearsal can tell and there was one."""
        number = self.altered.get((loss.database, loss.identity))
        if number is None or loss.effect is not Effect.NARROWED or loss.rows is not None:
            return loss
        return replace(loss, rows=Count(number), unknown="")

    async def _with_partners(self, losses: Sequence[Loss]) -> tuple[Sequence[Loss], Sequence[str]]:
        """The losses with the rows of the other databases that they leave alone, and why not."""
        from circle_migrate.losing.partners import with_partners
        from circle_migrate.matching.relations import declared

        if not losses:
            return (), ()
        try:
            relations = declared(self.deployment.settings)
        except SettingsError as error:
            return losses, (f"rows of the other database were not looked at: {error.message}",)
        return await with_partners(self.deployment, relations, losses), ()


def _with(losses: Sequence[Loss], more: Iterable[Loss]) -> list[Loss]:
    """The losses and those that are not there yet."""
    found = list(losses)
    known = {each.key for each in found}
    gone = {(each.database, each.identity) for each in found if each.effect is Effect.DROPPED}
    for loss in more:
        part = loss.effect is not Effect.DROPPED and (loss.database, loss.identity) in gone
        if not part and loss.key not in known:
            found.append(loss)
    return found


def _without_shadows(losses: Iterable[Loss], altered: Iterable[Loss]) -> list[Loss]:
    """Without the changes of columns of whose values more is known."""
    known = {(each.database, each.kind, each.identity) for each in altered}
    return [
        each
        for each in losses
        if each.effect is not Effect.CHANGED or (each.database, each.kind, each.identity) not in known
    ]


def _without_parts(losses: Sequence[Loss]) -> list[Loss]:
    """Without what happens to columns before their table goes as a whole."""
    tables = {
        (each.database, f"{each.identity}.")
        for each in losses
        if each.kind == "table" and each.effect is Effect.DROPPED
    }
    return [
        each
        for each in losses
        if each.kind != "column"
        or each.effect not in (Effect.NARROWED, Effect.CHANGED)
        or not any(name == each.database and each.identity.startswith(table) for name, table in tables)
    ]
