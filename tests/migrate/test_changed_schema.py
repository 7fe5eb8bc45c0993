"""Schemas that were changed by hand: a run warns of the change and does not forget it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.deployments import environment, execute, invoke, project_folder
from tests.faults.shop import Shop
from tests.servers import Databases, run

__all__ = ["project_folder"]

_LOOK_CLOSER = "circle-migrate diff --drift --database main"


@pytest.fixture
def shop(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A project whose first revision of main is applied; three are pending."""
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE t (id int, n int)"], ["DROP TABLE t"])
    for number in (2, 3, 4):
        table = f"t{number}"
        shop.add(
            "main", f"m{number}", f"m{number - 1}", [f"CREATE TABLE {table} ()"], [f"DROP TABLE {table}"]
        )
    shop.add("credentials", "c1", None, ["CREATE TABLE s (id int)"], ["DROP TABLE s"])
    assert invoke(["upgrade", "main@m1"]).stderr.count("changed by hand") == 0
    return shop


def checked() -> tuple[int, list[str]]:
    """Return the exit status of `check` and its warnings of main."""
    answer = invoke(["check", "--no-pending", "--format", "json"])
    result = json.loads(answer.stdout)["findings"]
    return answer.status, [finding["rule"] for finding in result if finding["database"] == "main"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "back"),
    [
        ("ALTER TABLE t ADD COLUMN by_hand text", "ALTER TABLE t DROP COLUMN by_hand"),
        ("CREATE VIEW by_hand AS SELECT n FROM t", "DROP VIEW by_hand"),
        ("ALTER TABLE t ALTER n SET NOT NULL", "ALTER TABLE t ALTER n DROP NOT NULL"),
    ],
)
def test_change_by_hand_is_seen_before_each_run_until_it_is_gone(
    shop: Shop, empty_databases: Databases, change: str, back: str
) -> None:
    run(execute(empty_databases, "main", change))
    for line in ("upgrade main@m2", "upgrade main@m3", "downgrade main@m2 --yes --no-backup"):
        answer = invoke([*line.split(), "--format", "json"])
        assert answer.status == 0, answer
        assert _LOOK_CLOSER in " ".join(answer.stderr.split()), line
        (note,) = json.loads(answer.stdout)["notes"]
        assert _LOOK_CLOSER in note
        assert checked() == (0, ["schema-changed"]), line
    run(execute(empty_databases, "main", back))
    assert checked() == (0, [])
    answer = invoke(["upgrade", "main@m3"])
    assert (answer.status, "changed by hand" in answer.everything) == (0, False), answer
    assert checked() == (0, [])


def test_failed_run_does_not_forget_a_change_by_hand(shop: Shop, empty_databases: Databases) -> None:
    run(execute(empty_databases, "main", "ALTER TABLE t ADD COLUMN by_hand text", "CREATE TABLE t3 ()"))
    answer = invoke(["upgrade"])
    assert answer.status == 10
    assert _LOOK_CLOSER in " ".join(answer.stderr.split())
    assert checked() == (0, ["schema-changed"])
