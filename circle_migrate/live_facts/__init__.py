"""What a live database says before a plan runs there: sizes, rows that are in the way, and who holds locks.

Everything reads in READ ONLY transactions with a statement_timeout and a short lock_timeout. An answer that
cannot be had is unknown, and never taken for a good one. `probes` is pure: it derives the questions from
the trace of a plan.
"""

from circle_migrate.live_facts.asking import ask
from circle_migrate.live_facts.blocking import CONFLICTS, blockers
from circle_migrate.live_facts.conditions import dependent_views, invalid_indexes, published, uses
from circle_migrate.live_facts.probing import probes
from circle_migrate.live_facts.question import LIMIT
from circle_migrate.live_facts.sizing import sizes

__all__ = [
    "CONFLICTS",
    "LIMIT",
    "ask",
    "blockers",
    "dependent_views",
    "invalid_indexes",
    "probes",
    "published",
    "sizes",
    "uses",
]
