"""Metrics, at `/metrics` and by the command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.deployments import execute, invoke
from tests.servers import Databases, run

Samples = dict[tuple[str, str], float]


def samples(text: str) -> Samples:
    """The value of each metric of a database, without the beginning of its name."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.keys() <= {"database", "version"}
            name = sample.name.removeprefix("circle_migrate_")
            found[name, sample.labels.get("database", "")] = sample.value
    return found


def test_databases_at_head(served: Databases) -> None:
    answer = invoke(["metrics"])
    assert answer.status == 0
    found = samples(answer.stdout)
    for name in ("main", "credentials"):
        own = {metric: value for (metric, database), value in found.items() if database == name}
        assert own.pop("read_duration_seconds") > 0
        assert own.pop("last_run_duration_seconds") > 0
        assert own.pop("last_run_timestamp_seconds") > 1e9
        assert own == {
            "up": 1,
            "at_head": 1,
            "pending_revisions": 0,
            "unknown_revisions": 0,
            "locked": 0,
            "last_run_success": 1,
            "in_doubt": 0,
            "schema_changed": 0,
            "invalid_indexes": 0,
        }
    assert (found["readable", ""], found["info", ""]) == (1, 1)


def test_databases_that_are_not_in_order(served: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    run(
        execute(
            served,
            "main",
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'users_pkey'::regclass",
            "UPDATE circle_migrate.runs SET outcome = 'failed', command = E'a\"b\\n}'",
            "DELETE FROM alembic_version",
        )
    )
    monkeypatch.setenv("CREDS_DATABASE_URL", "postgresql://u@127.0.0.1:9/d")
    found = samples(invoke(["metrics"]).stdout)
    assert found["up", "credentials"] == 0
    assert {name for name, database in found if database == "credentials"} == {"up"}
    assert (found["at_head", "main"], found["last_run_success", "main"]) == (0, 0)
    assert found["pending_revisions", "main"] > 9
    assert (found["in_doubt", "main"], found["invalid_indexes", "main"]) == (1, 1)


def test_a_schema_that_was_changed_by_hand(served: Databases) -> None:
    assert invoke(["stamp", "main@-1", "--yes"]).status == 0  # of copies nothing is known
    run(execute(served, "main", "CREATE TABLE by_hand (id int)"))
    found = samples(invoke(["metrics"]).stdout)
    assert (found["schema_changed", "main"], found["schema_changed", "credentials"]) == (1, 0)


def test_the_file_of_a_collector(served: Databases) -> None:
    target = Path("metrics.prom")
    assert invoke(["metrics", "-o", str(target)]).stdout == "metrics.prom\n"
    assert samples(target.read_text(encoding="utf-8"))["at_head", "main"] == 1
    assert [path.name for path in Path.cwd().iterdir()] == ["metrics.prom"]
    refused = invoke(["metrics", "-o", "nowhere/metrics.prom"])
    assert (refused.status, "cannot be written" in refused.stderr) == (2, True)


def test_revision_files_that_cannot_be_read(served: Databases, project_folder: Path) -> None:
    Path("versions").mkdir()
    Path("versions/broken.py").write_text("def upgrade(:\n", encoding="utf-8")
    table = '[tool.circle-migrate.databases.main]\nrevisions = "versions"\n'
    Path("pyproject.toml").write_text(table, encoding="utf-8")
    answer = invoke(["metrics", "-o", "metrics.prom"])
    found = samples(Path("metrics.prom").read_text(encoding="utf-8"))
    assert (answer.status, found["readable", ""]) == (5, 0)
    assert not [name for name, database in found if database]


def test_every_metric_has_a_description(served: Databases) -> None:
    text = invoke(["metrics"]).stdout
    names = set(re.findall(r"^(circle_migrate_\w+)[ {]", text, re.M))
    assert names == set(re.findall(r"^# HELP (circle_migrate_\w+) \w.*\.$", text, re.M))
    assert names == set(re.findall(r"^# TYPE (circle_migrate_\w+) gauge$", text, re.M))
