"""Tables on a terminal truncate no cell at any width."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from rich.console import Console

from circle_migrate.cli.render.report import write_finding
from circle_migrate.cli.render.widgets import hint_lines, table
from circle_migrate.core.findings import Finding, Severity

URL = "postgresql://migrator:***@db1.internal.example:5432/mens_circle_main?sslmode=verify-full"
STATUS = (
    ("database", "server", "name", "role", "current", "head", "pending", "state"),
    [
        (
            "main",
            "PostgreSQL 18.4",
            "circle_main",
            "migrator",
            "b4fcf60d8659",
            "b4fcf60d8659",
            "none",
            "writable",
        ),
        ("credentials", "?", "?", "?", "?", "c62c519f3e07", "?", "missing-privilege"),
    ],
)
SETTINGS = (
    ("setting", "value", "from"),
    [
        ("databases.accounts.url", URL, "environment ACCOUNTS_DATABASE_URL"),
        (
            "databases.accounts.process-revision-directives",
            "accounts.migrations:number_revisions",
            "pyproject.toml [tool.circle-migrate.databases.accounts]",
        ),
        (
            "safety-ignore",
            "a text of several words that is longer than a line of 80 columns, at its end",
            "default",
        ),
    ],
)


def drawn(head: tuple[str, ...], rows: list[tuple[str, ...]], width: int) -> str:
    """Return the table on a terminal of the given width."""
    file = StringIO()
    table(Console(file=file, force_terminal=True, width=width, color_system=None), head, rows)
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_revisions_and_names_stay_whole(width: int) -> None:
    head, rows = STATUS
    shown = drawn(head, rows, width)
    for cell in {cell for row in rows for cell in row}:
        assert cell in shown
    assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_a_word_is_broken_only_where_it_is_wider_than_the_terminal(width: int) -> None:
    head, rows = SETTINGS
    shown = drawn(head, rows, width)
    words = {word for row in rows for cell in row for word in cell.split()}
    assert {word for word in words if word not in shown.split()} <= ({URL} if width <= 80 else set())
    assert URL in re.sub(r"\s", "", shown)
    assert max(map(len, shown.splitlines())) <= width


def test_a_value_wraps_beside_its_name() -> None:
    lines = drawn(*SETTINGS, 80).splitlines()
    (place,) = (number for number, line in enumerate(lines) if "a text of several" in line)
    assert lines[place + 1].startswith(" " * lines[place].index("a text"))


def test_a_wide_terminal_has_a_table() -> None:
    assert len([line for line in drawn(*STATUS, 160).splitlines() if line.strip()]) == 4


STEPS = (
    ("duration", "database", "", "revision", "message", "started (UTC)"),
    [
        (
            "1,512.1 ms",
            "main",
            "up",
            "a_long_revision_identifier_of_32",
            "Add payments and instalments of registrations",
            "2030-12-31 18:00:00",
        )
    ],
)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_only_texts_wrap(width: int) -> None:
    head, rows = STEPS
    shown = drawn(head, rows, width)
    assert [cell for cell in rows[0] if cell not in shown and len(cell) < 40] == []
    assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize(
    ("hint", "lines"),
    [
        ("use TLS", ["use TLS"]),
        ("type `circle-migrate recover`", ["type", "  circle-migrate recover"]),
        ("circle-migrate heads", ["  circle-migrate heads"]),
        (
            "to undo it: circle-migrate downgrade a, b; or: circle-migrate stamp a --purge",
            ["to undo it:", "  circle-migrate downgrade a", "b; or:", "  circle-migrate stamp a --purge"],
        ),
        (
            "`circle-migrate recover`, then the same command again",
            ["  circle-migrate recover", "then the same command again"],
        ),
        ("restore it with circle-migrate 0.1.0", ["restore it with circle-migrate 0.1.0"]),
        ("one\nrun circle-migrate dev start", ["one", "run", "  circle-migrate dev start"]),
    ],
)
def test_commands_in_hints_have_lines_of_their_own(hint: str, lines: list[str]) -> None:
    assert hint_lines(hint) == lines


def test_the_place_of_a_finding_is_not_broken() -> None:
    file = StringIO()
    place = "migrations/accounts/versions/c2a0b3d4e5f6_add_the_column_that_has_the_preferred_language.py"
    finding = Finding("pending", Severity.ERROR, "accounts: c2a0b3d4e5f6 is pending", file=place, line=9)
    write_finding(finding, Console(file=file, force_terminal=True, width=80, color_system=None))
    assert f"    at     {place}:9\n" in file.getvalue()
