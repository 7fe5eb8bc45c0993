"""Which findings stand once it is settled what people have decided to live with."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from circle_migrate.core.findings import Severity
from circle_migrate.core.hazards import HAZARDS
from circle_migrate.core.plan import Direction
from circle_migrate.core.safety import Judged, Suppressed
from circle_migrate.core.suppressing import EXPIRED, UNUSED, Fault, Place, Source, Suppression
from circle_migrate.errors import ExitCode
from circle_migrate.judging.ignores import Declared

_FUNCTIONS = {Direction.UP: "upgrade", Direction.DOWN: "downgrade"}


@dataclass(frozen=True, slots=True)
class Settled:
    """The findings that stand, with those about suppressions, and those that were let pass."""

    findings: tuple[Judged, ...]
    suppressed: tuple[Suppressed, ...]


def settle(
    found: Sequence[Judged],
    declared: Declared,
    settings: Sequence[Suppression],
    known: Collection[str],
    *,
    judged_in: Direction | None,
    untraced: Collection[str] = (),
    today: date | None = None,
) -> Settled:
    """Let pass what a suppression covers or a baseline knows.

    A comment in the function that was judged, `judged_in`, and that covers nothing is a finding, unless its
    revision is `untraced`; None where nothing was traced.
    """
    today = today or datetime.now(UTC).date()
    suppressions = (*declared.suppressions, *settings)
    standing: list[Judged] = []
    hidden: list[Suppressed] = []
    used: set[Suppression] = set()
    for each in found:
        covering = [one for one in suppressions if one.covers(_place(each))]
        used.update(covering)
        holding = next((one for one in covering if not one.has_ended(today)), None)
        if holding is not None:
            hidden.append(Suppressed(each, holding.source, holding.reason, holding.until))
        elif each.fingerprint in known:
            hidden.append(in_baseline(each))
        else:
            standing.append(each)
    ended = [one for one in declared.suppressions if one.has_ended(today)]
    unused = [one for one in _unused(declared, used, judged_in, untraced) if one not in ended]
    faults = (
        *(_fault(each) for each in declared.faults),
        *(_fault(_of(one, EXPIRED, f"it has held until {one.until}")) for one in ended),
        *(_fault(_of(one, UNUSED, "it hides nothing"), Severity.NOTE) for one in unused),
    )
    return Settled((*standing, *faults), tuple(hidden))


def in_baseline(finding: Judged) -> Suppressed:
    """A finding that a baseline knows."""
    return Suppressed(finding, Source.BASELINE, "it is in the baseline")


def _place(finding: Judged) -> Place:
    names = tuple(filter(None, (finding.relation, finding.subject)))
    return Place(
        finding.rule, finding.database or "", finding.revision or "", finding.file, finding.line, names
    )


def _unused(
    declared: Declared, used: Collection[Suppression], judged_in: Direction | None, untraced: Collection[str]
) -> Iterator[Suppression]:
    """Comments that cover nothing; those outside of both functions may be about the other one."""
    if judged_in is None:
        return
    for one in declared.suppressions:
        if one.function == _FUNCTIONS[judged_in] and one.revision not in untraced and one not in used:
            yield one


def _of(one: Suppression, hazard: str, message: str) -> Fault:
    ids = ", ".join(one.hazards)
    return Fault(hazard, f"{ids}: {message}", one.revision or "", one.file or "", one.line or 1)


def _fault(fault: Fault, severity: Severity = Severity.WARNING) -> Judged:
    database, _, revision = fault.revision.partition("@")
    return Judged(
        fault.hazard,
        severity,
        f"{HAZARDS[fault.hazard].title}: {fault.message}",
        ExitCode.REFUSED,
        database=database,
        revision=revision,
        file=fault.file,
        line=fault.line,
        subject=f"line {fault.line}",
        confidence="static",
    )
