"""Suppressions: every way to write one, what it covers, and what is said of one that hides nothing."""

from __future__ import annotations

import ast
import textwrap
from datetime import date
from pathlib import Path

import pytest

from circle_migrate.config.assumed_size import parse_assumption
from circle_migrate.config.ignore_rule import parse_hazard_rule
from circle_migrate.config.load import load
from circle_migrate.core.errors import ExitCode, SettingsError, TreeError, UsageError
from circle_migrate.core.findings import Severity
from circle_migrate.revision_graph.plan import Direction
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.safety.evidence_collector import assumed_limits
from circle_migrate.safety.hazards.hazard import HAZARDS
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.evidence import Limits
from circle_migrate.safety.suppressions import (
    FileAnnotations,
    SuppressionResult,
    apply_suppressions,
    read_annotations,
)

TODAY = date(2026, 6, 1)
DATABASES = ("main", "credentials")

# Each has one statement, where `DROP` stands: may a finding about it pass? A comment is `# IGNORE`.
COVERED = {
    "beside": "DROP  # IGNORE",
    "above": "# IGNORE\nDROP",
    "above, behind others": "# IGNORE\n# another remark\n\nDROP",
    "on a later line of the call": "op.execute(\n    'DROP'\n)  # IGNORE",
    "within the call": "op.execute(\n    # IGNORE\n    'DROP'\n)",
    "above the call": "# IGNORE\nop.execute(\n    'DROP'\n)",
    "in a loop": "for each in names:\n    # IGNORE\n    DROP(each)",
    "on the line of a with": "with DROP('t') as batch:  # IGNORE\n    batch.x()",
    "above a with": "# IGNORE\nwith DROP('t') as batch:\n    batch.x()",
}
NOT_COVERED = {
    "below": "DROP\n# IGNORE",
    "above another statement": "# IGNORE\nop.other()\nDROP",
    "beside another statement": "op.other()  # IGNORE\nDROP",
    "above a loop": "# IGNORE\nfor each in names:\n    DROP(each)",
    "in a text": "op.execute('# IGNORE')\nDROP",
    "inside of the block": "with DROP('t') as batch:\n    # IGNORE\n    batch.x()",
}
IGNORE = "circle: ignore[CM013] reason=nobody has used it since 4"


def revision(folder: Path, body: str, *, head: str = "", function: str = "upgrade") -> Revision:
    text = f"{head}\n\ndef {function}():\n{textwrap.indent(body, '    ')}\n"
    ast.parse(text)
    path = folder / "r1.py"
    path.write_text(text, encoding="utf-8")
    return Revision("main", "r1", path=str(path))


def finding(made: Revision, hazard: str = "CM013") -> HazardFinding:
    """A finding at the first line of the statement with DROP in it, as a trace has it."""
    text = Path(made.path).read_text(encoding="utf-8")
    node = next(
        item
        for item in ast.walk(ast.parse(text))
        if isinstance(item, ast.stmt)
        and not isinstance(item, ast.FunctionDef | ast.For)
        and "DROP" in (ast.get_source_segment(text, item) or "")
    )
    return HazardFinding(
        hazard,
        Severity.ERROR,
        "m",
        ExitCode.REFUSED,
        "main",
        "r1",
        file=made.path,
        line=node.lineno,
        subject="public.parked",
    )


def judge(made: Revision, *, hazard: str = "CM013", direction: Direction = Direction.UP) -> SuppressionResult:
    return apply_suppressions(
        [finding(made, hazard)], read_annotations([made]), (), (), direction=direction, today=TODAY
    )


def standing(result: SuppressionResult) -> list[tuple[str, Severity]]:
    return [(finding.rule, finding.severity) for finding in result.findings]


@pytest.mark.parametrize("body", COVERED.values(), ids=COVERED)
def test_a_comment_covers_its_statement(tmp_path: Path, body: str) -> None:
    result = judge(revision(tmp_path, body.replace("IGNORE", IGNORE)))
    assert result.findings == ()
    assert [(suppressed.source, suppressed.reason) for suppressed in result.suppressed] == [
        ("comment", "nobody has used it since 4")
    ]


@pytest.mark.parametrize("body", NOT_COVERED.values(), ids=NOT_COVERED)
def test_a_comment_covers_no_other_statement(tmp_path: Path, body: str) -> None:
    result = judge(revision(tmp_path, body.replace("IGNORE", IGNORE)))
    assert ("CM013", Severity.ERROR) in standing(result)
    assert result.suppressed == ()


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("ignore[CM013, CM010] reason=why", []),
        ("ignore[cm013]   until=2026-06-01 reason=why", []),
        ("ignore[CM010] reason=why", [("CM013", Severity.ERROR), ("CM081", Severity.NOTE)]),
        ("ignore[CM013]", [("CM013", Severity.ERROR), ("CM080", Severity.WARNING)]),
        ("ignore[CM013] reason=", [("CM013", Severity.ERROR), ("CM080", Severity.WARNING)]),
        ("ignore[CM013] until=2030-01-01", [("CM013", Severity.ERROR), ("CM080", Severity.WARNING)]),
        ("ignore[XX999] reason=why", [("CM013", Severity.ERROR), ("CM081", Severity.WARNING)]),
        ("ignore reason=why", [("CM013", Severity.ERROR), ("CM081", Severity.WARNING)]),
        (
            "ignore[CM013] reason=why until=2026-05-31",
            [("CM013", Severity.ERROR), ("CM082", Severity.WARNING)],
        ),
        ("ignore[CM013] reason=why until=soon", [("CM013", Severity.ERROR), ("CM082", Severity.WARNING)]),
    ],
)
def test_what_a_comment_says(tmp_path: Path, comment: str, expected: list[tuple[str, Severity]]) -> None:
    assert standing(judge(revision(tmp_path, f"# circle: {comment}\nDROP"))) == expected


@pytest.mark.parametrize("hazard", ["CM080", "CM081", "CM082"])
def test_what_is_wrong_with_suppressions_is_not_suppressed(tmp_path: Path, hazard: str) -> None:
    made = revision(tmp_path, f"# circle: ignore[{hazard}] reason=why\nDROP")
    assert (hazard, Severity.ERROR) in standing(judge(made, hazard=hazard))


@pytest.mark.parametrize(
    ("direction", "words"),
    [
        (Direction.UP, "suppresses nothing in upgrade(); if it is meant for downgrade() only"),
        (Direction.DOWN, "suppresses nothing in downgrade(); if it is meant for upgrade() only"),
    ],
)
def test_what_a_module_ignores_in_vain_is_called_unused(
    tmp_path: Path, direction: Direction, words: str
) -> None:
    made = revision(tmp_path, "DROP", head='safety = {"ignore": {"CM013": "why", "CM010": "why"}}')
    (unused,) = judge(made, direction=direction).findings
    assert (unused.rule, unused.severity, unused.line) == ("CM081", Severity.NOTE, 1)
    assert words in unused.message


def test_what_has_expired_in_the_settings_is_said_though_it_hid_nothing(tmp_path: Path) -> None:
    line = parse_hazard_rule("CM010 until 2026-05-31 # why", ["main"], HAZARDS)
    result = apply_suppressions(
        [], read_annotations([revision(tmp_path, "DROP")]), [line], (), direction=None, today=TODAY
    )
    (expired,) = result.findings
    assert (expired.rule, expired.revision, expired.file) == ("CM082", None, None)
    assert "CM010 in safety-ignore: it expired after 2026-05-31" in expired.message


def test_a_comment_of_the_other_direction_is_not_called_unused(tmp_path: Path) -> None:
    made = revision(tmp_path, f"# {IGNORE}\nop.other()\nDROP", function="downgrade")
    assert standing(judge(made)) == [("CM013", Severity.ERROR)]
    assert ("CM081", Severity.NOTE) in standing(judge(made, direction=Direction.DOWN))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ('safety = {"ignore": {"CM013": "why"}}', []),
        ('safety: dict = {"ignore": {"CM013": "why until=2026-06-01"}}', []),
        (
            'safety = {"ignore": {"CM010": "why"}}',
            [("CM013", Severity.ERROR), ("CM081", Severity.NOTE)],
        ),
        ('safety = {"ignore": {"CM013": " "}}', [("CM013", Severity.ERROR), ("CM080", Severity.WARNING)]),
        (
            'safety = {"ignore": {"CM013": "why until=2026-05-31"}}',
            [("CM013", Severity.ERROR), ("CM082", Severity.WARNING)],
        ),
    ],
)
def test_what_a_module_says(tmp_path: Path, head: str, expected: list[tuple[str, Severity]]) -> None:
    assert standing(judge(revision(tmp_path, "DROP", head=head))) == expected


@pytest.mark.parametrize(
    "head",
    [
        "safety = print('was run')",
        "safety = ['CM013']",
        'safety = {"ignored": {}}',
        'safety = {"ignore": {"CM013": None}}',
        'safety = {"ignore": {"XX999": "why"}}',
        'safety = {"assume": {"users": "tiny"}}',
    ],
)
def test_a_module_that_says_it_wrongly_is_refused(
    tmp_path: Path, head: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TreeError, match="`safety` of revision r1 is invalid") as caught:
        read_annotations([revision(tmp_path, "pass", head=head)])
    assert (caught.value.location or "").endswith("r1.py:1")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("CM013 # why", True),
        ("CM010, CM013 # why", True),
        ("CM013 public.park* # why", True),
        ("CM013 main@public.parked until 2026-06-01 # why", True),
        ("CM013 r1 # why", True),
        ("CM013 credentials@public.parked # why", False),
        ("CM013 public.users # why", False),
        ("CM010 # why", False),
        ("CM013 until 2026-05-31 # why", False),
    ],
)
def test_a_line_of_the_settings(tmp_path: Path, text: str, passes: bool) -> None:
    line = parse_hazard_rule(text, DATABASES, HAZARDS)
    made = revision(tmp_path, "DROP")
    result = apply_suppressions(
        [finding(made)], FileAnnotations(), [line], (), direction=Direction.UP, today=TODAY
    )
    assert (result.findings == ()) is passes
    assert [suppressed.reason for suppressed in result.suppressed] == ["why"] * passes


@pytest.mark.parametrize(
    "text",
    ["CM013", "CM013 #", "XX999 # why", "CM013 elsewhere@public.t # why", "CM013 until soon # why", ""],
)
def test_a_line_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_hazard_rule(text, DATABASES, HAZARDS)


def test_what_somebody_says_of_a_tables_size() -> None:
    said = [parse_assumption(text, DATABASES) for text in ("main@users = small", "public.* = large")]
    result = assumed_limits(said, {"main": ["public.users", "public.orders"], "credentials": ["side.users"]})
    assert result.keys() == {"main@public.users", "main@public.orders"}
    assert result["main@public.orders"] == Limits(0, 0)
    assert result["main@public.users"].rows > 10**12


@pytest.mark.parametrize("text", ["users", "users = tiny", "= small", "elsewhere@users = small"])
def test_what_says_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_assumption(text, DATABASES)


def test_settings_may_name_known_hazards_only(tmp_path: Path) -> None:
    environ = {"CIRCLE_MIGRATE_SAFETY_IGNORE": "XX999 # why"}
    with pytest.raises(SettingsError, match="names XX999, which is no hazard"):
        load(environ=environ, cwd=tmp_path, hazard_ids=lambda: HAZARDS)
    (rule,) = load(environ=environ, cwd=tmp_path).safety_ignore
    assert rule.hazards == ("XX999",)
