"""Whether more would be lost than what was accepted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from circle_migrate.core.losses import Count, Effect, Loss, Precision

ESTIMATES_DIFFER = 1.1
"""An estimate is never twice the same: one that is up to this many times another one is no growth."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A loss that has become more than `before`, which is None where it destroyed nothing then."""

    before: Loss | None
    now: Loss


def grown(accepted: Iterable[Loss], now: Iterable[Loss]) -> Iterator[Growth]:
    """What of the losses of now was not accepted, or not as many of.

    What nobody could count was accepted whatever it is. What could be counted then, and cannot be now, may
    be more.
    """
    known = {each.key: each for each in accepted if each.destroys_data}
    for loss in now:
        before = known.get(loss.key)
        if loss.destroys_data and (before is None or _more(amount(before), amount(loss))):
            yield Growth(before, loss)


def amount(loss: Loss) -> Count | None:
    """How much data goes with it: of a column that goes, its values, and rows of anything else."""
    return loss.non_null if (loss.effect, loss.kind) == (Effect.DROPPED, "column") else loss.rows


def _more(before: Count | None, now: Count | None) -> bool:
    if before is None or before.precision is Precision.AT_LEAST:
        return False
    if now is None:
        return True
    estimated = Precision.ESTIMATED in (before.precision, now.precision)
    return now.value > before.value * (ESTIMATES_DIFFER if estimated else 1)
