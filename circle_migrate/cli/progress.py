"""A run's events as progress on stderr: one line each, on a terminal in colour."""

from __future__ import annotations

import sys

from circle_migrate.core.events import Event, Kind, Notify, ignore
from circle_migrate.redaction import redact


def notifier(*, quiet: bool) -> Notify:
    """What to call with each event."""
    if quiet:
        return ignore
    from circle_migrate.cli.output import console

    screen = console(sys.stderr)

    def notify(event: Event) -> None:
        text = _line(event)
        if text is not None:
            screen.print(redact(text), markup=False, style=_STYLES.get(event.kind, ""))

    return notify


_STYLES = {Kind.WAITING: "yellow", Kind.RETRY: "yellow"}


def _line(event: Event) -> str | None:
    place = f"[{event.number}/{event.total}] " if event.total else ""
    match event.kind:
        case Kind.STARTED if sys.stderr.isatty():
            return f"{place}{event.database}  {event.text} …"
        case Kind.DONE:
            return f"{place}{event.database}  {event.text}  {event.seconds:.2f} s"
        case Kind.WAITING | Kind.RETRY:
            return f"{event.database}  {event.kind} {event.text}"
    return None
