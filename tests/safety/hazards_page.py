"""The text of docs/hazards.md, from the records of the hazards."""

from __future__ import annotations

from collections.abc import Iterable

from circle_migrate.safety.hazards.hazard import HAZARDS, SQLSTATES, Hazard, HazardClass, render_hazard

_CLASSES = {
    HazardClass.DATA_LOSS: "stored values are deleted or altered",
    HazardClass.INDEX_BUILD: "an index is built while writes, or reads too, wait",
    HazardClass.TABLE_REWRITE: "a table is rewritten while all reads and writes of it wait",
    HazardClass.BLOCKING_SCAN: "a table is scanned while other sessions wait",
    HazardClass.APP_BREAK: "statements of the running release fail",
    HazardClass.WILL_FAIL: "the step itself fails",
    HazardClass.LOCK: "other sessions wait for a lock longer than necessary",
    HazardClass.CORRECTNESS: "no session waits, but the result is wrong, now or later",
    HazardClass.STYLE: "conventions",
}

_HEAD = """\
# Hazards

The hazards that `circle-migrate safety-check` finds; a finding has the id of its hazard. This page is
generated from `circle_migrate/safety/hazards/data`. Tests run both examples of each hazard on PostgreSQL;
each revision runs in its own transaction, unless a comment says otherwise.
"""


def render_page() -> str:
    """Return the text of docs/hazards.md."""
    parts = [
        _HEAD,
        "## Classes\n\n`--allow CLASS` lets a run continue despite hazards of that class.\n",
        _table(("Class", "What happens"), ((f"`{kind}`", text) for kind, text in _CLASSES.items())),
        "## All hazards\n",
        _table(("Id", "Title", "Class"), map(_row, HAZARDS.values())),
        *(f"## {hazard.id}: {hazard.title}\n\n{render_hazard(hazard)}" for hazard in HAZARDS.values()),
        "## SQLSTATEs\n\nWhat to do if a step fails on a scratch database (CM021).\n",
        _table(
            ("SQLSTATE", "Name", "When", "What to do"),
            (
                (f"`{sql_state.code}`", sql_state.name, sql_state.meaning, sql_state.remedy)
                for sql_state in SQLSTATES.values()
            ),
        ),
    ]
    return "\n".join(parts)


def _row(hazard: Hazard) -> tuple[str, ...]:
    anchor = "".join(
        letter for letter in f"{hazard.id} {hazard.title}".lower() if letter.isalnum() or letter == " "
    )
    return f"[{hazard.id}](#{anchor.replace(' ', '-')})", hazard.title, f"`{hazard.kind}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, tuple("---" for _ in head), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
