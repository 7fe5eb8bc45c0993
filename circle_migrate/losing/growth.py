"""The losses once more, under the deployer locks, right before a run takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.core.growing import Growth, amount, grown
from circle_migrate.core.losses import Effect
from circle_migrate.errors import Refused
from circle_migrate.losing.wording import number
from circle_migrate.run import Hooks, Run

if TYPE_CHECKING:
    from circle_migrate.core.losses import Loss, LossReport
    from circle_migrate.core.plan import Plan
    from circle_migrate.losing.found import Found


class GrowthHooks(Hooks):
    """Stops a run that would take more than was accepted; what was `found` is counted again for that."""

    def __init__(self, found: Found, accepted: LossReport) -> None:
        self._found = found
        self._accepted = accepted

    async def prepared(self, run: Run, plan: Plan) -> None:  # noqa: ARG002 - as declared
        """Count again. Raises `Refused` where a loss has grown, and what connecting raises."""
        more = tuple(grown(self._accepted.losses, await self._found.amounts()))
        if not more:
            return
        raise Refused(
            f"more would be lost than what was accepted: {', '.join(each.now.name for each in more)}",
            database=more[0].now.database,
            detail="; ".join(map(_words, more)),
            state="nothing was changed",
            hint="stop what writes there, and run the command again to see what it would take now",
        )


def _words(each: Growth) -> str:
    before = _amount(each.before) if each.before else "nothing"
    return f"{each.now.name}: {before} then, {_amount(each.now)} now"


def _amount(loss: Loss) -> str:
    count = amount(loss)
    unknown = f" ({loss.unknown})" if count is None and loss.unknown else ""
    word = "value" if (loss.effect, loss.kind) == (Effect.DROPPED, "column") else "row"
    plural = "" if count is not None and count.exact and count.value == 1 else "s"
    return f"{number(count)} {word}{plural}{unknown}"
