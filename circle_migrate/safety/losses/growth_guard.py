"""Count the losses again under the deployer locks, and stop a run that would take more than was accepted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from circle_migrate.core.errors import Refused
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.safety.losses.describe import number
from circle_migrate.safety.losses.report import Count, Effect, Loss, Precision

if TYPE_CHECKING:
    from circle_migrate.migrate.run import MigrationRun
    from circle_migrate.revision_graph.plan import Plan
    from circle_migrate.safety.losses.find import LossCollector
    from circle_migrate.safety.losses.report import LossReport

ESTIMATES_DIFFER = 1.1
"""Two estimates of one table differ: one that is up to this many times the other is no increase."""


class LossIncrease(NamedTuple):
    """A loss that is more than it was; `before` is None where nothing of it was destroyed then."""

    before: Loss | None
    now: Loss


def increased_losses(accepted: Iterable[Loss], now: Iterable[Loss]) -> Iterator[LossIncrease]:
    """Yield the losses of now that were not accepted, or not as many of.

    What could not be counted was accepted whatever it is. What could be counted then, and cannot be now, may
    be more.
    """
    known = {loss.key: loss for loss in accepted if loss.destroys_data}
    for loss in now:
        before = known.get(loss.key)
        if loss.destroys_data and (before is None or _more(_amount(before), _amount(loss))):
            yield LossIncrease(before, loss)


def _amount(loss: Loss) -> Count | None:
    """Return how much data goes: of a dropped column its values, of anything else rows."""
    return loss.non_null if (loss.effect, loss.kind) == (Effect.DROPPED, "column") else loss.rows


def _more(before: Count | None, now: Count | None) -> bool:
    if before is None or before.precision is Precision.AT_LEAST:
        return False
    if now is None:
        return True
    estimated = Precision.ESTIMATED in (before.precision, now.precision)
    return now.value > before.value * (ESTIMATES_DIFFER if estimated else 1)


class GrowthHooks(Hooks):
    """Stops a run that would take more than was accepted."""

    def __init__(self, collector: LossCollector, accepted: LossReport) -> None:
        self._collector = collector
        self._accepted = accepted

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:  # noqa: ARG002 - as declared
        """Count again. Raises `Refused` where a loss has increased, and what connecting raises."""
        from circle_migrate.safety.losses.count import recount

        now = await recount(run.deployment, self._collector)
        more = tuple(increased_losses(self._accepted.losses, now))
        if not more:
            return
        raise Refused(
            f"more would be lost than what was accepted: {', '.join(increase.now.name for increase in more)}",
            database=more[0].now.database,
            detail="; ".join(map(_describe, more)),
            state="nothing was changed",
            hint="stop what writes there, and run the command again to see what it would take now",
        )


def _describe(increase: LossIncrease) -> str:
    before = _figure(increase.before) if increase.before else "nothing"
    return f"{increase.now.name}: {before} then, {_figure(increase.now)} now"


def _figure(loss: Loss) -> str:
    count = _amount(loss)
    unknown = f" ({loss.unknown})" if count is None and loss.unknown else ""
    noun = "value" if (loss.effect, loss.kind) == (Effect.DROPPED, "column") else "row"
    plural = "" if count is not None and count.exact and count.value == 1 else "s"
    return f"{number(count)} {noun}{plural}{unknown}"
