"""Which findings stand once it is settled what people have decided to live with."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from circle_migrate.core.findings import Severity
from circle_migrate.core.hazards import HAZARDS
from circle_migrate.core.plan import Direction
from circle_migrate.core.safety import HazardFinding, Suppressed
from circle_migrate.core.suppressing import EXPIRED, UNUSED, Fault, Place, Source, Suppression
from circle_migrate.errors import ExitCode
from circle_migrate.judging.ignores import Declared

_FUNCTIONS = {Direction.UP: "upgrade", Direction.DOWN: "downgrade"}


@dataclass(frozen=True, slots=True)
class Settled:
    """The findings that stand, with those about suppressions, and those that were let pass."""

    findings: tuple[HazardFinding, ...]
    suppressed: tuple[Suppressed, ...]


def settle(
    found: Sequence[HazardFinding],
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
    standing: list[HazardFinding] = []
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
    ended = [one for one in suppressions if one.has_ended(today)]
    unused = [one for one in _unused(declared, used, judged_in, untraced) if one not in ended]
    faults = (
        *(_fault(each) for each in declared.faults),
        *(_fault(_of(one, EXPIRED, f"it has held until {one.until}")) for one in ended),
        *(_fault(_of(one, UNUSED, _hides_nothing(one, judged_in)), Severity.NOTE) for one in unused),
    )
    return Settled((*standing, *faults), tuple(hidden))


def in_baseline(finding: HazardFinding) -> Suppressed:
    """A finding that a baseline knows."""
    return Suppressed(finding, Source.BASELINE, "it is in the baseline")


def _place(finding: HazardFinding) -> Place:
    names = tuple(filter(None, (finding.relation, finding.subject)))
    return Place(
        finding.rule, finding.database or "", finding.revision or "", finding.file, finding.line, names
    )


def _unused(
    declared: Declared, used: Collection[Suppression], judged_in: Direction | None, untraced: Collection[str]
) -> Iterator[Suppression]:
    """Those of files that cover nothing; comments outside of both functions may be about the other one."""
    if judged_in is None:
        return
    for one in declared.suppressions:
        asked = one.source is Source.REVISION or one.function == _FUNCTIONS[judged_in]
        if asked and one.revision not in untraced and one not in used:
            yield one


def _hides_nothing(one: Suppression, judged_in: Direction | None) -> str:
    if one.source is not Source.REVISION or judged_in is None:
        return "it hides nothing"
    other = next(name for direction, name in _FUNCTIONS.items() if direction is not judged_in)
    return f"it hides nothing of {_FUNCTIONS[judged_in]}(); for {other}() alone, write a comment there"


def _of(one: Suppression, hazard: str, message: str) -> Fault:
    ids = ", ".join(one.hazards)
    where = " of safety-ignore" if one.source is Source.SETTINGS else ""
    return Fault(hazard, f"{ids}{where}: {message}", one.revision, one.file, one.line)


def _fault(fault: Fault, severity: Severity = Severity.WARNING) -> HazardFinding:
    database, _, revision = (fault.revision or "").partition("@")
    return HazardFinding(
        fault.hazard,
        severity,
        f"{HAZARDS[fault.hazard].title}: {fault.message}",
        ExitCode.REFUSED,
        database=database or None,
        revision=revision or None,
        file=fault.file,
        line=fault.line,
        subject="safety-ignore" if fault.line is None else f"line {fault.line}",
    )
