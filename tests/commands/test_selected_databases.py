"""The databases that commands work on: those that are configured, and those that `--database` selects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from circle_migrate.postgres.scratch import pool
from tests.cli.test_contract import COMMANDS
from tests.deployments import Answer, environment, execute, invoke, project_folder, versions
from tests.faults.shop import Shop
from tests.servers import Databases, run

__all__ = ["project_folder"]

_VARIABLES = {"main": "DATABASE_URL", "credentials": "CREDS_DATABASE_URL"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "other", "url"), [("main", "credentials", ""), ("credentials", "main", None)]
)
def test_project_with_one_database(
    project_folder: Path,
    empty_databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    other: str,
    url: str | None,
) -> None:
    shop = Shop(project_folder)
    shop.write_settings(f'[tool.circle-migrate.databases.{name}]\nrevisions = "migrations/{name}"\n')
    shop.add(name, "r1", None, ["CREATE TABLE t (id int)"], ["DROP TABLE t"])
    monkeypatch.setenv(_VARIABLES[name], empty_databases.urls[name])
    if url is not None:
        monkeypatch.setenv(_VARIABLES[other], url)
    words = "upgrade --dry-run; upgrade --atomic; status; check; wait --timeout 5; consistency; log; history"
    words += "; graph; backup saved; config show; snapshot --output schema.json; diff schema.json live"
    words += "; downgrade base --yes"
    for line in words.split("; "):
        answer = invoke(line.split())
        assert answer.status == 0, (line, answer)
        assert f"{other} " not in answer.stdout, (line, answer)
    assert run(versions(empty_databases)) == {name: [], other: None}
    for line in (f"upgrade -d {other}", f"restore saved --replace --accept-loss {other}"):
        answer = invoke(line.split())
        assert answer.status == 2, (line, answer)
        assert f"no database '{other}'" in answer.stderr, (line, answer)
        assert f"databases: {name}" in answer.stderr, (line, answer)


@pytest.fixture
def shop(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A project with a revision for each database."""
    for variable, url in environment(empty_databases).items():
        monkeypatch.setenv(variable, url)
    shop = Shop(project_folder)
    for name, key in (("main", "m1"), ("credentials", "c1")):
        shop.add(name, key, None, [f"CREATE TABLE {key} (id int PRIMARY KEY)"], [f"DROP TABLE {key}"])
    return shop


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        pytest.param(["credentials", "main"], ["m1", "c1"], marks=pytest.mark.thorough),
        (["main", "credentials", "main"], ["m1", "c1"]),
        (["credentials", "credentials"], ["c1"]),
    ],
)
def test_database_option_is_repeatable(
    shop: Shop, empty_databases: Databases, names: list[str], keys: list[str]
) -> None:
    options = [word for name in names for word in ("-d", name)]
    answer = invoke(["upgrade", "--format", "json", *options])
    assert [step["revision"] for step in json.loads(answer.stdout)["applied"]] == keys, answer
    at = {"main": ["m1"] if "m1" in keys else None, "credentials": ["c1"]}
    assert run(versions(empty_databases)) == at
    assert invoke(["heads", *options]).stdout.count("(head)") == len(keys)


def test_one_of_several_names_is_unknown(shop: Shop, empty_databases: Databases) -> None:
    answer = invoke(["upgrade", "-d", "main", "-d", "mian"])
    assert answer.status == 2
    assert "there is no database 'mian'" in answer.stderr
    assert run(versions(empty_databases)) == {"main": None, "credentials": None}
    for line in ("unprotect", "dev psql", "revision -m text"):
        answer = invoke([*line.split(), "-d", "main", "-d", "credentials"])
        assert answer.status == 2, (line, answer)


# Lines that run in this order with one database at its first revision, and their exit status; `[n]` is the
# name of the database, `[k]` the beginning of its revisions' ids.
QUICK_LINES = [
    ("plan", 0),
    ("plan --down base", {"main": 2, "credentials": 0}),
    ("upgrade --safety off", 0),
    ("downgrade --sql [k]1", 0),
    ("recover", 0),
]
LINES = [
    ("branches", 0),
    ("heads", 0),
    ("history", 0),
    ("history -i", 0),
    ("show head", 0),
    ("graph --current", 0),
    ("config show", 0),
    ("current", 0),
    ("status", 0),
    ("wait --timeout 0", 3),
    ("check", 3),
    ("check --no-pending", 0),
    ("plan", 0),
    ("plan --down base -o plan.json", {"main": 2, "credentials": 0}),
    ("plan -o plan.json", 0),
    ("upgrade --dry-run", 0),
    ("upgrade --sql", 0),
    ("upgrade --sql base:head", 0),
    ("upgrade --plan plan.json --safety off", 0),
    ("upgrade --atomic --safety off", 0),
    ("init", 0),
    ("log", 0),
    ("log --source [k]2", 0),
    ("plan --down [k]1", 0),
    ("downgrade --sql [k]1", 0),
    ("downgrade --sql base", {"main": 2, "credentials": 0}),
    ("stamp [k]1 --yes", 0),
    ("stamp head --dry-run", 0),
    ("stamp head --yes", 0),
    ("recover --dry-run", 0),
    ("recover", 0),
    ("protect", 0),
    ("unprotect --override-protection [n]", 0),
    ("stats", 0),
    ("accept-drift --yes -d [n]", 5),
    ("snapshot -o live.json", 0),
    ("diff live.json live", 0),
    ("kept list", 0),
    ("revision -m text --rev-id [k]3", 0),
    ("upgrade --safety off", 0),
    ("merge", 0),
]
SCRATCH_LINES = [
    ("downgrade --to-time 2000-01-01 --dry-run", {"main": 2, "credentials": 5}),
    ("safety-check", 0),
    ("safety-check --down base", {"main": 2, "credentials": 5}),
    ("safety-check --profile ci [n]@base:head", 0),
    ("check --safety --drift", 3),
    ("diff", 0),
    ("diff revisions@[k]1 revisions@head", 4),
    ("snapshot head", 0),
    ("graph entities --from live", 0),
    ("upgrade --safety require", 0),
    ("downgrade [k]1 --dry-run", 5),
    ("downgrade [k]1 --yes --keep --no-backup", 0),
    ("upgrade --no-restore-kept", 0),
    ("kept restore [n]/1", 0),
    ("downgrade [k]1 --yes --keep --no-backup", 0),
    ("kept drop [n]/2 --yes", 0),
    ("upgrade", 0),
    ("backup create saved", 0),
    ("restore [saved] --replace --accept-loss [n]", 0),
]
LINES_BY_TIME = [
    pytest.param(QUICK_LINES, id="quick"),
    pytest.param(LINES, id="plain", marks=pytest.mark.thorough),
    pytest.param(SCRATCH_LINES, id="scratch", marks=pytest.mark.thorough),
]
# They read files or scratch databases only, start servers of their own, or compare the databases.
OTHERS = {"config schema", "schema", "help", "consistency", "adopt"}
OTHERS |= {"backup list", "backup verify", "backup prune", "squash", "rebase"}
OTHERS |= {"dev psql", "dev reset", "dev snapshots", "dev start", "dev status", "dev stop"}
NEEDED = {"main": ("credentials", "requires"), "credentials": ("main", "requires main@m1")}


def at_first_revisions(shop: Shop, databases: Databases) -> None:
    """Add revisions, of which the first of credentials requires that of main, and apply the first of each."""
    for name, key in (("main", "m"), ("credentials", "c")):
        up, undo = f"ALTER TABLE {key}1 ADD n int DEFAULT 7", f"ALTER TABLE {key}1 DROP COLUMN n"
        shop.add(name, f"{key}2", f"{key}1", [up], [undo])
    file = shop.versions("credentials") / "c1.py"
    file.write_text(file.read_text(encoding="utf-8") + '\nrequires = ("main@m1",)\n', encoding="utf-8")
    assert invoke(["upgrade", "main@m1", "credentials@c1", "--safety", "off"]).status == 0
    for name, table in (("main", "m1"), ("credentials", "c1")):
        run(execute(databases, name, f"INSERT INTO {table} VALUES (1)"))


def call(line: str, name: str, *options: str) -> Answer:
    """Run a line of the table with options."""
    words = line.replace("[n]", name).replace("[k]", name[:1]).split()
    if "[saved]" in words:
        (manifest,) = Path("saved").glob("*/manifest.json")
        words[words.index("[saved]")] = str(manifest)
    place = 2 if words[0] in ("kept", "config") else 1
    return invoke([*words[:place], *options, *words[place:]])


def test_the_table_has_every_command() -> None:
    lines = [line for line, _ in (*LINES, *SCRATCH_LINES)]
    commands = {name for name in COMMANDS if any(f"{line} ".startswith(f"{name} ") for line in lines)}
    assert commands | OTHERS == set(COMMANDS)


@pytest.mark.parametrize("name", [pytest.param("main", marks=pytest.mark.thorough), "credentials"])
@pytest.mark.parametrize("lines", LINES_BY_TIME)
def test_one_database_asks_for_no_url_of_the_other(
    shop: Shop,
    empty_databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
    subtests: pytest.Subtests,
    name: str,
    lines: list[tuple[str, int | dict[str, int]]],
) -> None:
    at_first_revisions(shop, empty_databases)
    for variable in _VARIABLES.values():
        monkeypatch.delenv(variable)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    url = f"--url={name}={empty_databases.urls[name]}"
    other, reason = NEEDED[name]
    for line, expected in lines:
        with subtests.test(line=line):
            options = [url] if line == "config show" else [url, "-d", name]
            answer = call(line, name, *options)
            assert answer.status == (expected[name] if isinstance(expected, dict) else expected), answer
            asks = f"no URL is set for the database {other}" in answer.stderr
            assert asks == (answer.status == 2), answer
            assert not asks or reason in answer.stderr


@pytest.mark.thorough
def test_a_step_that_needs_the_other_database_asks_for_its_url(
    shop: Shop, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_first_revisions(shop, empty_databases)
    undo = "downgrade credentials@base --no-backup --accept-loss credentials.c1"
    assert invoke(undo.split()).status == 0
    monkeypatch.delenv("DATABASE_URL")
    for line in ("plan", "upgrade", "upgrade --dry-run", "upgrade --sql", "safety-check"):
        answer = call(line, "credentials", "-d", "credentials")
        assert answer.status == 2
        assert "no URL is set for the database main\n" in answer.stderr
        assert "the upgrade requires main@m1, in a database that --database excludes" in answer.stderr
    assert run(versions(empty_databases))["credentials"] == []


def test_scratch_databases_beside_one_database(
    shop: Shop, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scratch database of main, which a revision of credentials requires, is on the same server."""
    at_first_revisions(shop, empty_databases)
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setattr(pool, "_embedded", lambda _deployment: [])
    answer = call("snapshot head --scratch-on-target", "credentials", "-d", "credentials")
    assert (answer.status, "c1" in answer.stdout) == (0, True), answer


def orders(value: Any) -> Iterator[list[str]]:
    """Yield the names in every object of JSON that is by the names of both databases."""
    if isinstance(value, dict):
        if value.keys() == _VARIABLES.keys():
            yield list(value)
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from orders(item)


@pytest.mark.parametrize("lines", LINES_BY_TIME)
def test_repeated_option_selects_in_the_order_of_commit(
    shop: Shop, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, lines: list[tuple[str, object]]
) -> None:
    at_first_revisions(shop, empty_databases)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    found: dict[str, list[list[str]]] = {}
    for line, _ in lines:
        if any(word in line for word in ("[", "config", "stamp", "merge", "revision", "show", "live")):
            continue
        answer = call(line, "", "-d", "credentials", "-d", "main", "--format", "json")
        assert answer.status in (0, 3, 4, 5), answer
        found[line] = list(orders(json.loads(answer.stdout)))
    assert {
        line: names for line, names in found.items() if names.count(["main", "credentials"]) < len(names)
    } == {}
    assert sum(map(bool, found.values())) >= len(found) / 3


@pytest.mark.thorough
def test_the_log_has_the_latest_runs_whole(shop: Shop) -> None:
    assert shop
    for line in ("upgrade -d main", "upgrade -d credentials", "downgrade base --yes --no-backup"):
        assert invoke(line.split()).status == 0, line
    entries = {n: invoke(["log", "-n", n]).stdout for n in ("1", "2")}
    assert [text.count(" UTC  ") for text in entries.values()] == [1, 2]
    assert "main: done" in entries["1"]
    assert "credentials: done" in entries["1"]


def test_a_saved_plan_is_of_its_databases(shop: Shop) -> None:
    assert shop
    assert "saved in p.json" in invoke(["plan", "base", "-d", "main", "-o", "p.json", "--down"]).stdout
    assert invoke(["plan", "-d", "main", "-o", "p.json"]).status == 0
    refused = invoke(["upgrade", "--plan", "p.json"])
    assert (refused.status, 'saved ["main"], now ["main", "credentials"]' in refused.stderr) == (5, True)
    assert "circle-migrate plan head -o p.json" in refused.stderr
    assert invoke(["upgrade", "--plan", "p.json", "-d", "main"]).status == 0
