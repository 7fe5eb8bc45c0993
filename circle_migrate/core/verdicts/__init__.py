"""What a plan means for the databases it is for: all evidence weighed into one verdict for each cause.

PostgreSQL's own account of what it did on a scratch database decides, with the sizes and rows of the live
database.
"""

from __future__ import annotations

from circle_migrate.core.verdicts.judging import judge
from circle_migrate.core.verdicts.record import (
    Confidence,
    Evidence,
    Level,
    Limits,
    Mode,
    Thresholds,
    Verdict,
)

__all__ = ["Confidence", "Evidence", "Level", "Limits", "Mode", "Thresholds", "Verdict", "judge"]
