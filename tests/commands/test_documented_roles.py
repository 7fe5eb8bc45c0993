"""The roles of docs/operations.md, made by its statements, are enough for what its table says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployments import environment, execute, invoke, project_folder
from tests.faults.shop import Shop
from tests.servers import NAMES, Databases, run

__all__ = ["project_folder"]

_PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
_LETTERS = {"main": "m1", "credentials": "c1"}


def _statements(text: str, names: dict[str, str]) -> list[str]:
    """The statements of the page's SQL blocks in the section about roles, with other names."""
    section = text[text.index("\n## Roles\n") :]
    blocks = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    sql = re.sub("--.*", "", "".join(blocks))
    for written, name in names.items():
        sql = re.sub(rf"\b{written}\b", name, sql)
    return [statement for statement in sql.split(";") if statement.strip()]


@pytest.fixture
def shop(project_folder: Path) -> Shop:
    shop = Shop(project_folder)
    for name, key in _LETTERS.items():
        table = f"CREATE TABLE t_{key} AS SELECT 1 AS id"
        shop.add(name, key, None, [table, f"CREATE SEQUENCE s_{key}"], [f"DROP TABLE t_{key}"])
    return shop


@pytest.fixture
def documented(empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[str]]]:
    """The URLs of the migrators are set; yields the statements for after the first upgrade."""
    later: dict[str, list[str]] = {}
    roles: list[tuple[str, str]] = []
    for name, url in environment(empty_databases).items():
        database = "main" if name == "DATABASE_URL" else "credentials"
        stem = empty_databases.names[database]
        names = {f"circle_main_{word}": f"{stem}_{word}" for word in ("owner", "migrator", "watcher")}
        first, last = [], []
        for statement in _statements(_PAGE.read_text(encoding="utf-8"), names | {"mens_circle_main": stem}):
            (last if "GRANT SELECT" in statement else first).append(statement)
        migrator = names["circle_main_migrator"]
        run(execute(empty_databases, database, *first, f"ALTER ROLE {migrator} PASSWORD 'x'"))
        later[database] = last
        roles += [(database, role) for role in names.values()]
        monkeypatch.setenv(name, re.sub("//[^@/]*@", f"//{migrator}:x@", url))
    yield later
    for database, role in roles:
        run(execute(empty_databases, database, f'DROP OWNED BY "{role}" CASCADE'))
    for database, role in roles:
        run(execute(empty_databases, database, f'DROP ROLE "{role}"'))


@pytest.mark.thorough
def test_migrator(
    shop: Shop, empty_databases: Databases, documented: dict[str, list[str]], tmp_path: Path
) -> None:
    saved = str(tmp_path / "saved")
    for line in (["upgrade"], ["status"], ["check"], ["recover"], ["backup", saved]):
        answer = invoke(line)
        assert answer.status == 0, (line, answer)
        if line == ["upgrade"]:
            for name in NAMES:
                run(execute(empty_databases, name, *documented[name]))
    assert "complete and verified" in answer.stdout
    accept = ["--accept-loss", "main.t_m1", "--accept-loss", "credentials.t_c1"]
    answer = invoke(["downgrade", "main@base", "credentials@base", "--yes", "--backup", saved, *accept])
    assert answer.status == 0, answer


KINDS = "TABLES", "SEQUENCES"
LACKING = {
    "REVOKE SELECT ON SEQUENCE s_m1 FROM {}": 'GRANT SELECT ON SEQUENCE "s_m1" TO "{}";',
    "ALTER TABLE t_m1 ENABLE ROW LEVEL SECURITY": 'ALTER ROLE "{}" BYPASSRLS;',
    "CREATE SCHEMA z CREATE TABLE z.t ()": 'GRANT USAGE ON SCHEMA z TO "{}";',
}


@pytest.mark.thorough
@pytest.mark.parametrize("statement", LACKING)
def test_hint_of_a_backup_names_what_the_role_lacks(
    shop: Shop, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, statement: str
) -> None:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    assert invoke(["upgrade"]).status == 0
    reader = f"{empty_databases.names['main']}_reader"
    grants = [f"GRANT SELECT ON ALL {kind} IN SCHEMA public, circle_migrate TO {reader}" for kind in KINDS]
    usage = f"GRANT USAGE ON SCHEMA circle_migrate TO {reader}"
    run(execute(empty_databases, "main", f"CREATE ROLE {reader} LOGIN", usage, *grants))
    try:
        run(execute(empty_databases, "main", statement.format(reader)))
        url = re.sub("//[^@/]*@", f"//{reader}@", environment(empty_databases)["DATABASE_URL"])
        monkeypatch.setenv("DATABASE_URL", url)
        answer = invoke(["backup", "-d", "main", str(tmp_path / "saved")])
        text = answer.stderr.replace("SEQUENCE s_m1", 'SEQUENCE "s_m1"')  # of an older pg_dump
        assert (answer.status, LACKING[statement].format(reader) in text) == (10, True), answer
    finally:
        run(execute(empty_databases, "main", f"DROP OWNED BY {reader}", f"DROP ROLE {reader}"))


@pytest.mark.parametrize(
    ("option", "remedy"), [("LOGIN CONNECTION LIMIT 0", "CONNECTION LIMIT 5"), ("NOLOGIN", "LOGIN")]
)
def test_hint_names_what_keeps_a_role_out(
    empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, option: str, remedy: str
) -> None:
    role = f"{empty_databases.names['main']}_out"
    run(execute(empty_databases, "main", f"CREATE ROLE {role} {option}"))
    try:
        url = re.sub("//[^@/]*@", f"//{role}@", environment(empty_databases)["DATABASE_URL"])
        monkeypatch.setenv("DATABASE_URL", url)
        answer = invoke(["upgrade", "-d", "main"])
        assert f'ALTER ROLE "{role}" {remedy};' in answer.stderr, answer
    finally:
        run(execute(empty_databases, "main", f"DROP ROLE {role}"))
