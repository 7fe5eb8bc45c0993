"""squawk's own binary on statements as Alembic writes them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from circle_migrate.core.hazards import HAZARDS
from circle_migrate.core.squawk_rules import SQUAWK_RULES, SquawkFinding, Use
from circle_migrate.core.traces import Traced
from circle_migrate.judging import squawk
from circle_migrate.judging.squawk import lint

_VERSION = 180004


def batch(*statements: str, transactional: bool = True) -> list[Traced]:
    return [Traced("one", 1, "r1", sql, transactional=transactional) for sql in statements]


def rules(*findings: SquawkFinding) -> list[tuple[int, str]]:
    return [(each.statement, each.rule) for each in findings]


def program(path: Path, body: str) -> None:
    """A program in the place of squawk."""
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


# Statement, and the rule and hazard that are expected; nothing where the text is fine or squawk is wrong.
CASES = [
    ("ALTER TABLE users ADD COLUMN nick VARCHAR(50)", None),
    ("ALTER TABLE users ADD COLUMN seen TIMESTAMP", None),
    (
        "ALTER TABLE users ADD COLUMN uid UUID DEFAULT gen_random_uuid()",
        ("adding-field-with-default", "CM001"),
    ),
    ("ALTER TABLE users ADD COLUMN score INTEGER NOT NULL", ("adding-required-field", "CM028")),
    ("ALTER TABLE users ALTER COLUMN name SET NOT NULL", ("adding-not-nullable-field", "CM007")),
    ("ALTER TABLE users ALTER COLUMN age TYPE BIGINT", ("changing-column-type", "CM061")),
    ("ALTER TABLE users ALTER COLUMN age DROP NOT NULL", None),
    ("ALTER TABLE users ALTER COLUMN age DROP DEFAULT", None),
    ("ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0)", ("constraint-missing-not-valid", "CM007")),
    ("ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0) NOT VALID", None),
    (
        "ALTER TABLE b ADD CONSTRAINT c EXCLUDE USING gist (d WITH &&)",
        ("constraint-missing-not-valid", "CM063"),
    ),
    ("ALTER TABLE users ADD CONSTRAINT c UNIQUE (email)", ("disallowed-unique-constraint", "CM062")),
    ("ALTER TABLE users ADD CONSTRAINT c PRIMARY KEY (id)", ("adding-serial-primary-key-field", "CM062")),
    ("CREATE INDEX i ON users (name)", ("require-concurrent-index-creation", "CM008")),
    (
        "CREATE INDEX CONCURRENTLY i ON users (name)",
        ("ban-concurrent-index-creation-in-transaction", "CM021"),
    ),
    ("DROP INDEX i", ("require-concurrent-index-deletion", "CM065")),
    ("ALTER TABLE events DETACH PARTITION e", ("require-concurrent-partition-detach", "CM059")),
    ("REINDEX TABLE users", ("require-concurrent-reindex", "CM058")),
    ("ALTER TABLE users RENAME TO people", ("renaming-table", "CM030")),
    ("ALTER TABLE users RENAME name TO full_name", ("renaming-column", "CM030")),
    ("ALTER TYPE mood RENAME VALUE 'ok' TO 'okay'", ("renaming-object", "CM030")),
    ("ALTER INDEX i RENAME TO j", None),
    ("ALTER TABLE users RENAME CONSTRAINT c TO d", None),
    ("ALTER TYPE mood ADD VALUE 'great'", None),
    ("ALTER TABLE users DROP COLUMN bio", ("ban-drop-column", "CM010")),
    ("DROP TABLE orders", ("ban-drop-table", "CM013")),
    ("DROP TYPE mood", ("ban-drop-type", "CM014")),
    ("DROP VIEW v", ("ban-drop-view", "CM035")),
    ("ALTER TABLE users DROP CONSTRAINT c", ("ban-drop-constraint", "CM037")),
    ("TRUNCATE users CASCADE", ("ban-truncate-cascade", "CM006")),
    ("ALTER TABLE users DISABLE TRIGGER ALL", ("ban-disable-trigger", "CM034")),
    ("ALTER TABLE users ENABLE ROW LEVEL SECURITY", ("ban-alter-row-level-security", "CM034")),
    ("ALTER SEQUENCE s RESTART WITH 1", ("ban-alter-sequence-values", "CM032")),
    ("ALTER TABLE users REPLICA IDENTITY NOTHING", ("ban-replica-identity", "CM033")),
    ("COMMENT ON COLUMN users.bio IS 'free; text'", None),
]


@pytest.fixture(scope="module")
def found() -> dict[int, list[SquawkFinding]]:
    """The findings in each case, every one a transaction of its own."""
    answer: dict[int, list[SquawkFinding]] = {number: [] for number in range(len(CASES))}
    for each in lint([batch(sql) for sql, _ in CASES], _VERSION, pytest.fail):
        answer[each.statement].append(each)
    return answer


@pytest.mark.parametrize(("number", "sql", "expected"), [(n, *case) for n, case in enumerate(CASES)])
def test_rule_speaks_of_its_hazard(
    number: int, sql: str, expected: tuple[str, str] | None, found: dict[int, list[SquawkFinding]]
) -> None:
    assert [(each.rule, each.hazard) for each in found[number]] == ([expected] if expected else [])
    for each in found[number]:
        assert each.only_static is (SQUAWK_RULES[each.rule].use is Use.ONLY_STATIC)
        assert each.url == f"https://squawkhq.com/docs/{each.rule}"


def test_foreign_key_is_one_hazard_however_often_it_is_said() -> None:
    sql = "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY(user_id) REFERENCES users (id)"
    assert {each.hazard for each in lint([batch(sql)], _VERSION)} == {"CM009"}


def test_every_rule_speaks_of_a_hazard_there_is_and_those_used_otherwise_say_why() -> None:
    for rule in SQUAWK_RULES.values():
        assert rule.hazard is None or rule.hazard in HAZARDS
        assert rule.why or rule.use in (Use.ALWAYS, Use.OPTED_IN)


def test_findings_are_placed_over_statements_and_batches() -> None:
    several = [
        batch(
            "COMMENT ON TABLE a IS 'ü\r\n;\r\r'",
            "ALTER TABLE a\n  ADD COLUMN ü int,\n  DROP COLUMN b -- gone;",
        ),
        batch("DROP TABLE b;", "DROP TABLE c"),
    ]
    found = lint(several, _VERSION)
    assert [(each.statement, each.line, each.rule) for each in found] == [
        (1, 3, "ban-drop-column"),
        (2, 1, "ban-drop-table"),
        (3, 1, "ban-drop-table"),
    ]


def test_a_transaction_is_read_as_a_whole() -> None:
    made, indexed = "CREATE TABLE fresh (id bigint)", "CREATE INDEX i ON fresh (id)"
    assert lint([batch(made, indexed)], _VERSION) == ()
    assert rules(*lint([batch(made), batch(indexed)], _VERSION)) == [(1, "require-concurrent-index-creation")]


def test_outside_a_transaction_is_not_in_one() -> None:
    concurrently = "CREATE INDEX CONCURRENTLY i ON users (name)"
    assert lint([batch(concurrently, transactional=False)], _VERSION) == ()


def test_what_it_cannot_read_hides_nothing() -> None:
    statements = ("DROP TABLE a", "SELECT 1 FROM;;", "ALTER TABLE b frobnicate c", "DROP TABLE d")
    found = lint([batch(*statements)], _VERSION)
    assert rules(*found) == [
        (0, "ban-drop-table"),
        (1, "syntax-error"),
        (2, "syntax-error"),
        (3, "ban-drop-table"),
    ]
    assert found[1].only_static


def test_version_of_the_server_counts() -> None:
    sql = "ALTER TABLE users ADD COLUMN score bigint DEFAULT 0"
    assert rules(*lint([batch(sql)], 100023)) == [(0, "adding-field-with-default")]
    assert lint([batch(sql)], _VERSION) == ()


def test_configuration_of_the_project_is_not_read(workdir: Path) -> None:
    (workdir / ".squawk.toml").write_text('excluded_rules = ["ban-drop-table"]\n', encoding="utf-8")
    assert rules(*lint([batch("DROP TABLE a")], _VERSION)) == [(0, "ban-drop-table")]


def test_nothing_to_lint_needs_no_answer() -> None:
    assert lint([], _VERSION, pytest.fail) == ()
    assert lint([[]], _VERSION, pytest.fail) == ()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "not installed"),
        ("echo 'panicked at hunter2' >&2; exit 101", "status 101"),
        ("exec sleep 60", "took longer"),
    ],
    ids=["absent", "broken", "slow"],
)
def test_no_answer_is_a_note(
    body: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if body is not None:
        program(tmp_path / "squawk", body)
    monkeypatch.setattr(squawk.sysconfig, "get_path", lambda _name: str(tmp_path))
    monkeypatch.setenv("PATH", os.pathsep.join(("/usr/bin", "/bin")))
    monkeypatch.setattr(squawk, "MOST_SECONDS", 0.3)
    notes: list[str] = []
    assert lint([batch("DROP TABLE a")], _VERSION, notes.append) == ()
    assert len(notes) == 1
    assert said in notes[0]
    assert "hunter2" not in notes[0]
