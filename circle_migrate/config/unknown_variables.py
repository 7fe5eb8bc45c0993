"""Variables that look like ours and set nothing: most of them misspelt, some not meant for us.

Kubernetes makes such ones for every service: CIRCLE_MIGRATE_PORT for one that is called circle-migrate. So
none is an error, and only one that resembles a setting's is worth a line in every command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches

from circle_migrate.config.databases import DATABASES
from circle_migrate.config.fields import DEFAULTS, PREFIX, variables
from circle_migrate.config.provenance import Origin, Provenance

_ALIKE = 0.75
"""How alike two names are without the prefix, from 0 to 1, that one is taken for a slip of the other."""


def note(names: Iterable[str], record: Provenance, origin: Callable[[str], Origin]) -> None:
    """Put those of the names on record that begin with our prefix, and belong to no setting."""
    known = {variable for field in DEFAULTS for variable in variables(field)}
    usual = [
        *(variables(field)[0] for field in DEFAULTS),
        *(f"{known_database.url_variable}_FILE" for known_database in DATABASES),
    ]
    meant = {each.removeprefix(PREFIX): each for each in usual}
    for name in names:
        if name.upper() in known:
            continue
        said = f"{origin(name).subject} sets nothing"
        nearest = get_close_matches(name.upper().removeprefix(PREFIX), meant, n=1, cutoff=_ALIKE)
        if nearest:
            record.misspelt.append(f"{said}; did you mean {meant[nearest[0]]}?")
        else:
            record.unknown.append(f"{said}: there is no such setting")
