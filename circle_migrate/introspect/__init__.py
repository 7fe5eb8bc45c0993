"""What a database consists of, read from PostgreSQL's catalogues in a handful of statements.

Whatever is there is described by SQL alone, one query per file in `sql/`: a row is an object, its columns
are the fields of a snapshot. Nothing is written, no table is read but the version table, and CONNECT is
enough, also on a standby.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from circle_migrate.introspect.addressing import addresses
    from circle_migrate.introspect.capturing import capture
    from circle_migrate.introspect.fingerprints import changed, fingerprint, mark
    from circle_migrate.introspect.live import snapshot

__all__ = ["addresses", "capture", "changed", "fingerprint", "mark", "snapshot"]

_HOMES = {
    "addresses": "addressing",
    "capture": "capturing",
    "changed": "fingerprints",
    "fingerprint": "fingerprints",
    "mark": "fingerprints",
    "snapshot": "live",
}


def __getattr__(name: str) -> Any:
    """Each when it is asked for: `status` takes a fingerprint and has no time to import the others."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
