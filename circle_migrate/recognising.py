"""Whether the databases are the right ones, also where they are at revisions nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from circle_migrate.errors import Refused, UnknownRevision, WrongDatabase

if TYPE_CHECKING:
    from circle_migrate.database import State
    from circle_migrate.deployment import Deployment


def refuse_swapped(deployment: Deployment, states: Mapping[str, State]) -> None:
    """Raise `WrongDatabase` where a version or a journal says that a database is another one.

    Unknown revisions are no reason: a backup is how one gets away from them.
    """
    for name, state in states.items():
        try:
            deployment.recognise({name: state})
        except WrongDatabase:
            raise
        except (Refused, UnknownRevision):
            continue
