"""Test findings from the text of a statement, which neither the catalog nor a lock shows."""

from __future__ import annotations

import pytest

from circle_migrate.safety.live_database.record import Answer, ObjectUsage, Probe, ProbeKind, Size
from circle_migrate.safety.rules.engine import run_rules
from circle_migrate.safety.rules.evidence import Evidence, format_size
from circle_migrate.safety.trace.record import Trace, TracedStatement

_LONG = "a" * 64
_LONGEST = "a" * 63


def findings(sql: str, *answers: Answer, traced: bool = True) -> list[tuple[str, str]]:
    """Return the hazard and the subject of each finding about a statement."""
    trace = Trace((TracedStatement("main", 1, "r1", sql),), (), 18)
    evidence = Evidence(trace, answers=answers, traced=traced)
    return [(finding.rule, finding.subject) for finding in run_rules(evidence)]


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        (f"ALTER TABLE t ADD COLUMN {_LONG} int", [_LONG]),
        (f'ALTER TABLE t ADD COLUMN "{_LONG}" int', [_LONG]),
        (f'ALTER TABLE t RENAME a TO "{"ä" * 32}"', ["ä" * 32]),
        (f"ALTER TABLE {_LONG}.{_LONG}b DROP COLUMN {_LONGEST}", [_LONG, f"{_LONG}b"]),
        (f"COMMENT ON TABLE {_LONGEST} IS '{_LONG}' -- {_LONG}", []),
        (f"SELECT {'1' * 64}", []),
    ],
)
def test_name_that_postgresql_truncates(sql: str, names: list[str]) -> None:
    assert [subject for hazard, subject in findings(sql) if hazard == "CM047"] == names


@pytest.mark.parametrize(
    ("sql", "subjects"),
    [
        ("ALTER SEQUENCE app.s RESTART WITH 1", ["app.s"]),
        ("ALTER SEQUENCE IF EXISTS s\nrestart", ["s"]),
        ("ALTER TABLE ONLY t ALTER COLUMN id RESTART", ["t"]),
        ("ALTER SEQUENCE s AS bigint", []),
        ("TRUNCATE t RESTART IDENTITY", []),
        ("COMMENT ON TABLE t IS 'ALTER SEQUENCE s RESTART'", []),
    ],
)
def test_restarted_sequence_without_a_probe(sql: str, subjects: list[str]) -> None:
    assert [subject for hazard, subject in findings(sql) if hazard == "CM032"] == subjects


def test_probe_decides_about_a_restarted_sequence() -> None:
    probe = Probe(ProbeKind.BEHIND, "app.t", "app.s", "SELECT 0", "main")
    assert findings("ALTER SEQUENCE app.s RESTART WITH 1", Answer(probe, 0)) == []


@pytest.mark.parametrize(
    ("sql", "is_opaque"),
    [("DO $$BEGIN END$$", True), ("SELECT fill(1)", True), ("SELECT 1", False), ("DROP TABLE t", False)],
)
def test_opaque_statement_is_found_without_a_trace(sql: str, is_opaque: bool) -> None:
    assert (("CM060", "statement") in findings(sql, traced=False)) is is_opaque
    assert findings(sql) == []


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("DROP USER app, other", [("CM035", "app"), ("CM035", "other")]),
        ('DROP ROLE IF EXISTS App, gone, "a,b"', [("CM035", '"a,b"'), ("CM035", "App")]),
        ("DO $$ BEGIN DROP ROLE app; END $$", [("CM035", "app")]),
        ('ALTER GROUP "App" RENAME TO b', [("CM030", '"App"')]),
        ("ALTER ROLE app WITH NOLOGIN CONNECTION LIMIT 3", [("CM038", "app")]),
        ("REVOKE readers FROM app", [("CM038", "app")]),
        ("CREATE ROLE app; DROP ROLE app", []),
        ("DROP USER MAPPING FOR app SERVER s", []),
        ("ALTER ROLE app WITH LOGIN; ALTER ROLE app SET work_mem = 'NOLOGIN'", []),
        ("COMMENT ON TABLE t IS 'DROP ROLE app'", []),
    ],
)
def test_role_that_the_release_loses(sql: str, found: list[tuple[str, str]]) -> None:
    trace = Trace((TracedStatement("main", 1, "r1", sql),), (), 18)
    usage = ObjectUsage(inherited_roles={"app": frozenset(), '"a,b"': frozenset()})
    evidence = Evidence(trace, usage={"main": usage})
    assert [(finding.rule, finding.subject) for finding in run_rules(evidence)] == found


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "of unknown size"),
        (Size("t", 5, 1 << 19), "about 5 rows"),
        (Size("t", None, 1 << 19, 1 << 20), "an unknown number of rows, 1.5 MB"),
        (Size("t", 20_000_000, 3 << 30, 1 << 30, "assumed"), "about 20,000,000 rows, 4.0 GB (assumed)"),
    ],
)
def test_size_has_the_largest_unit_that_fits(size: Size | None, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer(Probe(ProbeKind.VALUES, "t", "t.a"), 1), "1 value that would be dropped"),
        (Answer(Probe(ProbeKind.VIOLATIONS, "t", "t.a"), 1), "1 row that violates the condition"),
        (Answer(Probe(ProbeKind.TOO_LONG, "t", "t.a"), 1), "1 value that is too long"),
        (
            Answer(Probe(ProbeKind.ROWS, "t", "t"), 1000, more=True),
            "more than 1,000 rows that would be dropped",
        ),
    ],
)
def test_counts_of_rows_and_values(answer: Answer, text: str) -> None:
    assert answer.text == text
