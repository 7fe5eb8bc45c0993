"""Count the losses again under the deployer locks, and stop a run that would lose more than was accepted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from circle_migrate.core.errors import Refused
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.safety.losses.describe import quantity
from circle_migrate.safety.losses.report import Count, Effect, Loss, Precision

if TYPE_CHECKING:
    from circle_migrate.revision_graph.plan import Plan
    from circle_migrate.safety.losses.find import LossCollector
    from circle_migrate.safety.losses.report import LossReport

ESTIMATES_DIFFER = 1.1
"""Factor up to which an estimate that is higher than before is no increase, as two estimates differ."""


class LossIncrease(NamedTuple):
    """A loss that has increased; `before` is None where it destroyed nothing before."""

    before: Loss | None
    now: Loss


def increased_losses(accepted: Iterable[Loss], now: Iterable[Loss]) -> Iterator[LossIncrease]:
    """Yield the losses that were not accepted, or were accepted with a lower count.

    An unknown count was accepted as any number. A count that was known and is unknown now may be higher.
    """
    known = {loss.key: loss for loss in accepted if loss.destroys_data}
    for loss in now:
        before = known.get(loss.key)
        if loss.destroys_data and (before is None or _may_exceed(_amount(loss), _amount(before))):
            yield LossIncrease(before, loss)


def _amount(loss: Loss) -> Count | None:
    """Return the number of lost values of a dropped column, of rows for any other loss."""
    return loss.non_null if _is_dropped_column(loss) else loss.rows


def _is_dropped_column(loss: Loss) -> bool:
    return (loss.effect, loss.kind) == (Effect.DROPPED, "column")


def _may_exceed(now: Count | None, before: Count | None) -> bool:
    if before is None or before.precision is Precision.AT_LEAST:
        return False
    if now is None:
        return True
    estimated = Precision.ESTIMATED in (before.precision, now.precision)
    return now.value > before.value * (ESTIMATES_DIFFER if estimated else 1)


class GrowthHooks(Hooks):
    """Hooks that stop a run which would lose more than was accepted."""

    def __init__(self, collector: LossCollector, accepted: LossReport) -> None:
        self._collector = collector
        self._accepted = accepted

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:  # noqa: ARG002 - as declared
        """Count again. Raises `Refused` where a loss has increased, and what connecting raises."""
        from circle_migrate.safety.losses.count import recount

        now = await recount(run.deployment, self._collector)
        increases = tuple(increased_losses(self._accepted.losses, now))
        if increases:
            names = ", ".join(increase.now.name for increase in increases)
            raise Refused(
                f"more data would be lost than was accepted: {names}",
                database=increases[0].now.database,
                detail="; ".join(map(_describe, increases)),
                state="nothing was changed",
                hint="stop the application that writes there, then run the command again to see the losses",
            )


def _describe(increase: LossIncrease) -> str:
    before = _describe_amount(increase.before) if increase.before else "nothing"
    return f"{increase.now.name}: {before} accepted, {_describe_amount(increase.now)} now"


def _describe_amount(loss: Loss) -> str:
    count = _amount(loss)
    unknown = f" ({loss.unknown})" if count is None and loss.unknown else ""
    return f"{quantity(count, 'value' if _is_dropped_column(loss) else 'row')}{unknown}"
