"""Databases of any encoding take any revision; the journal escapes characters that the encoding lacks."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from tests.deployments import environment, invoke, project_folder
from tests.faults.shop import Shop
from tests.servers import Databases, run

__all__ = ["project_folder"]


@pytest.mark.thorough
@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "SQL_ASCII", "EUC_JP", "KOI8R"])
def test_revision_that_the_encoding_lacks_characters_for(
    project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    run(_recreate(empty_databases, encoding))
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    shop = Shop(project_folder)
    comment = "# Füge → 漢字 😀 hinzu, \\\\u0041"
    path = shop.add("main", "m1", None, ["CREATE TABLE t (id int)"], ["DROP TABLE t"], comment)
    text = path.read_text(encoding="utf-8").replace("Revision m1", "Füge € → 😀 hinzu", 1)
    path.write_text(text, encoding="utf-8")
    shop.add("main", "m2", "m1", ["SELECT 1 / 0"], [], "# →")
    assert invoke(["upgrade", "main@m1"]).status == 0
    assert invoke(["upgrade", "--safety", "off"]).status == 10
    source = invoke(["log", "--source", "m1"])
    assert source.status == 0
    assert "CREATE TABLE t" in source.stdout
    assert ("漢字" in source.stdout) is (encoding == "SQL_ASCII")
    assert ("Füge" in source.stdout) is (encoding in {"SQL_ASCII", "LATIN1"})
    assert invoke(["log"]).status == invoke(["status"]).status == 0
    path.write_text(text.replace("CREATE TABLE t ", "CREATE TABLE t  "), encoding="utf-8")
    assert "CREATE TABLE t  " in invoke(["check", "--no-pending"]).everything
    path.write_text(text, encoding="utf-8")
    assert invoke(["downgrade", "main@base", "--yes", "--no-backup"]).status == 0


async def _recreate(databases: Databases, encoding: str) -> None:
    connection = await asyncpg.connect(databases.server.admin_url)
    provider = " LOCALE_PROVIDER libc" if connection.get_server_version() >= (15,) else ""
    how = f"TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'{provider}"
    try:
        for name in databases.names.values():
            await connection.execute(f'DROP DATABASE "{name}"')
            await connection.execute(f'CREATE DATABASE "{name}" {how}')
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("statement", "more"),
    [
        pytest.param("SET client_encoding = 'LATIN1'", "", marks=pytest.mark.thorough),
        ("SELECT set_config('client_encoding', 'LATIN1', true)", ""),
        ("SET client_encoding = 'LATIN1'", "transactional = False"),
        pytest.param(
            "SELECT set_config('client_encoding', 'LATIN1', true)",
            "transactional = False",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_step_that_sets_the_encoding_of_the_client(
    project_folder: Path, empty_databases: Databases, statement: str, more: str
) -> None:
    """A dump of another encoding, which begins with SET client_encoding, stores its characters."""
    shop = Shop(project_folder)
    body = f"""
op.execute("CREATE TABLE t (v text); {statement}")
op.execute("INSERT INTO t VALUES ('é')")
op.execute("{statement}; INSERT INTO t VALUES ('é')")
op.bulk_insert(sa.table("t", sa.column("v", sa.Text)), [{{"v": "é"}}])
assert op.get_bind().scalar(sa.text("SELECT min(v) FROM t WHERE v = 'é'")) == "é"
"""
    shop.revision("main", "m1", None, body, "pass", more=more)
    run(shop.upgrade(empty_databases))

    async def stored() -> list[str]:
        async with empty_databases.connect("main") as connection:
            return [row[0] for row in await connection.fetch("SELECT v FROM t")]

    assert run(stored()) == ["é"] * 3
