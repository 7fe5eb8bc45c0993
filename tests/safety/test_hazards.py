"""The hazards' records: complete, unambiguous, and the source of what is said about them elsewhere.

`UPDATE_SNAPSHOTS=1 pytest tests/safety/test_hazards.py` writes docs/hazards.md anew.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import asyncpg
import pytest

from circle_migrate.core.errors import ExitCode
from circle_migrate.core.findings import Severity, known_rules
from circle_migrate.safety.hazards.hazard import (
    HAZARDS,
    SQLSTATES,
    ExampleRevision,
    Hazard,
    HazardClass,
    SqlState,
    parse_hazard,
    render_hazard,
    render_revisions,
)
from circle_migrate.safety.result import HazardFinding
from tests.safety.hazard_examples import CASES, Case
from tests.safety.hazards_page import render_page

PAGE = Path(__file__).parents[2] / "docs" / "hazards.md"
_PACKAGE = PAGE.parents[1] / "circle_migrate"
_DATA = _PACKAGE / "safety" / "hazards" / "data"
_RECORD = tomllib.loads((_DATA / "CM002.toml").read_text(encoding="utf-8"))
_TABLES = tomllib.loads((_DATA / "tables.toml").read_text(encoding="utf-8"))

each_hazard = pytest.mark.parametrize("hazard", HAZARDS.values(), ids=lambda hazard: hazard.id)
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def test_every_data_file_is_read() -> None:
    assert {path.name for path in _DATA.iterdir()} == {
        *(f"{key}.toml" for key in HAZARDS),
        "sqlstates.toml",
        "tables.toml",
    }


def test_importing_hazards_reads_no_file() -> None:
    program = "import sys, circle_migrate.safety.hazards.hazard\nassert 'tomllib' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=_PACKAGE.parent)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"remedies": "x"}, TypeError),
        ({"class": "locks"}, ValueError),
        ({"tables": ["nobody"]}, KeyError),
        ({"bad": [{"upgrade": "pass", "transactions": False}]}, TypeError),
        ({"good": [{"transactional": False}]}, TypeError),
    ],
)
def test_record_with_a_mistake_is_refused(change: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        parse_hazard("CM002", _RECORD | change, _TABLES)
    assert raised.value.__notes__ == ["in CM002.toml"]


@pytest.mark.parametrize("key", ["title", "class", "condition", "effect", "remedy", "bad", "good"])
def test_record_without_a_key_is_refused(key: str) -> None:
    with pytest.raises((TypeError, KeyError), match=key):
        parse_hazard("CM002", {name: value for name, value in _RECORD.items() if name != key}, _TABLES)


def test_titles_differ() -> None:
    titles = [hazard.title for hazard in HAZARDS.values()]
    assert len(set(titles)) == len(titles)


def test_every_class_has_a_hazard() -> None:
    assert {hazard.kind for hazard in HAZARDS.values()} == set(HazardClass)


def test_no_hazard_is_listed_that_nothing_finds() -> None:
    modules = "".join(path.read_text(encoding="utf-8") for path in _PACKAGE.rglob("*.py"))
    assert HAZARDS.keys() <= set(re.findall(r"CM\d{3}", modules))


@each_hazard
def test_texts_are_written_out(hazard: Hazard) -> None:
    assert re.fullmatch(r"CM\d{3}", hazard.id)
    assert hazard.title[0].isupper()
    assert not hazard.title.endswith(".")
    for text in (hazard.condition, hazard.effect):
        assert text.endswith(".")
    assert len(hazard.remedy) > 20
    assert "  " not in hazard.condition + hazard.effect + hazard.remedy
    assert set(re.findall(r"CM\d{3}", hazard.condition + hazard.effect + hazard.remedy)) <= HAZARDS.keys()


@each_hazard
def test_finding_of_a_hazard_is_about_it(hazard: Hazard) -> None:
    about = HazardFinding(hazard.id, Severity.ERROR, "m", ExitCode.REFUSED).rule_text
    assert about == (hazard.id, hazard.title, hazard.effect, hazard.remedy)


def test_hazards_and_rules_share_no_id() -> None:
    assert not known_rules().keys() & HAZARDS.keys()
    with pytest.raises(ValueError, match="CM999"):
        HazardFinding("CM999", Severity.ERROR, "m", ExitCode.REFUSED)


@each_case
def test_code_of_an_example_can_be_pasted(case: Case) -> None:
    for revision in case.revisions:
        assert (type(revision.transactional), type(revision.second_database)) == (bool, bool)
        tree = ast.parse(revision.source)
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        imported = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert functions == {"upgrade", "downgrade"} if revision.downgrade else {"upgrade"}
        assert imported <= used
        assert used & {"op", "sa", "postgresql", "ensure_index_concurrently"} <= imported
        assert ("transactional = False" in revision.source) is not revision.transactional
        assert max(map(len, revision.source.splitlines())) <= 110
    assert ast.parse(render_revisions(case.revisions))


@each_case
def test_good_examples_succeed_and_bad_ones_may_fail(case: Case) -> None:
    assert case.name == "bad" or not case.fails
    if case.hazard.kind is HazardClass.WILL_FAIL and case.name == "bad":
        assert case.fails
    assert not any(revision.fails for revision in case.revisions[:-1])
    assert not any(revision.meanwhile for revision in case.revisions[1:])


def test_several_revisions_are_numbered_in_the_order_in_which_they_run() -> None:
    first = ExampleRevision('op.execute("SELECT 1")', transactional=False)
    last = ExampleRevision("pass", second_database=True)
    assert render_revisions([first, last]) == (
        "# revision 1 of 2\n"
        "from alembic import op\n\ntransactional = False\n\n\n"
        'def upgrade() -> None:\n    op.execute("SELECT 1")\n'
        "\n\n"
        "# revision 2 of 2 (second database)\n"
        "def upgrade() -> None:\n    pass\n"
    )


@pytest.mark.parametrize("state", SQLSTATES.values(), ids=lambda state: state.code)
def test_sqlstates_are_postgresqls(state: SqlState) -> None:
    known = asyncpg.exceptions.PostgresError.get_message_class_for_sqlstate(state.code)
    assert known.sqlstate == state.code
    name = known.__name__.removeprefix("Postgres").removesuffix("Error")
    assert name.lower() == state.name.replace("_", "").removesuffix("error")
    assert state.meaning.endswith(".")
    assert state.remedy.endswith(".")
    assert set(re.findall(r"CM\d{3}", state.meaning + state.remedy)) <= HAZARDS.keys()


def test_page_is_up_to_date() -> None:
    if os.environ.get("UPDATE_SNAPSHOTS"):
        PAGE.write_text(render_page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == render_page()


def test_page_links_to_its_own_headings() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.removeprefix("## ").lower()).replace(" ", "-")
        for line in render_page().splitlines()
        if line.startswith("## ")
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", render_page())) <= headings


def test_explanation_tells_what_the_code_does_not_show() -> None:
    blocked = HAZARDS["CM050"]
    assert "another session has run `SELECT count(*) FROM users`" in render_hazard(blocked)
    assert "fails with `55P03`" in render_hazard(blocked)
    assert "Bad (all in one transaction):" in render_hazard(HAZARDS["CM041"])
    assert "Good:" in render_hazard(HAZARDS["CM041"])


def test_findings_load_no_hazards() -> None:
    program = (
        "import sys, circle_migrate.core.findings\nassert 'circle_migrate.core.hazards' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=PAGE.parents[1])
