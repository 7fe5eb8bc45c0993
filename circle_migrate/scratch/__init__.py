"""Scratch databases: new, empty ones beside nobody's data, dropped after use, by the next run at the latest.

Where they are made, in this order (`roads`):

    given       the server of the setting `scratch-url`
    embedded    the project's embedded server where it runs, else a throw-away one of the wheel's PostgreSQL
    target      beside the live databases, only where the setting `scratch-on-target` allows it
    container   PostgreSQL in a container, where none of them has the version that is wanted

Never in a schema of a live database: revisions may name `public` or change data.
"""

from __future__ import annotations

from circle_migrate.scratch.made import Scratch
from circle_migrate.scratch.servers import ScratchServers, scratch

__all__ = ["Scratch", "ScratchServers", "scratch"]
