"""PgBouncer in front of the server: refused where it shares sessions between clients."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from circle_migrate.core.errors import SettingsError
from circle_migrate.postgres.embedded.os_user import OsUser
from tests.deployments import environment, invoke
from tests.faults.shop import BASE, HEAD, Shop
from tests.faults.states import outcomes, position
from tests.servers import NAMES, Databases, Server, any_major, run, start_binaries

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")

_ADDRESS = "127.0.0.1"
_CONFIGURATION = """
[databases]
* = host={socket} port={server_port} user=postgres
[pgbouncer]
listen_addr = {address}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
{more}
"""


@pytest.fixture(scope="module")
def direct() -> Iterator[Databases]:
    """Databases on a server that PgBouncer can reach."""
    with start_binaries(any_major()) as (cluster, url):
        databases = Databases(Server("behind a pooler", url, cluster.stop))
        run(databases.create())
        yield databases


@contextmanager
def pooled(direct: Databases, folder: Path, mode: str, more: str = "") -> Iterator[Databases]:
    """The same databases behind PgBouncer."""
    with socket.socket() as free:
        free.bind((_ADDRESS, 0))
        port = free.getsockname()[1]
    socket_folder = direct.server.admin_url.partition("host=")[2].partition("&")[0].replace("%2F", "/")
    text = _CONFIGURATION.format(
        socket=socket_folder, server_port=5432, address=_ADDRESS, port=port, mode=mode, more=more
    )
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(text, encoding="utf-8")
    assert PGBOUNCER is not None
    account = OsUser.unprivileged() if os.geteuid() == 0 else OsUser.current()
    who = ["--user", account.name] if os.geteuid() == 0 else []
    with subprocess.Popen(
        [PGBOUNCER, *who, str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as pooler:
        try:
            _wait_for(port, pooler)
            url = f"postgresql://postgres@{_ADDRESS}:{port}/postgres"
            yield Databases(Server("pooler", url, lambda: None), dict(direct.names))
        finally:
            pooler.kill()


def _wait_for(port: int, pooler: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection((_ADDRESS, port)).close()
        except ConnectionRefusedError:
            if pooler.poll() is not None or time.monotonic() > deadline:
                pytest.fail(pooler.stderr.read() if pooler.stderr else "pgbouncer did not start")
            time.sleep(0.05)
        else:
            return


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize(
    "more", ["", "ignore_startup_parameters = extra_float_digits, lock_timeout, search_path"], ids=["", "lax"]
)
def test_refused_where_the_session_is_shared(
    shop: Shop, direct: Databases, tmp_path: Path, mode: str, more: str
) -> None:
    with pooled(direct, tmp_path, mode, more) as databases, pytest.raises(SettingsError) as caught:
        run(shop.upgrade(databases))
    assert int(caught.value.status) == 2
    assert f"pooler in {mode} mode" in caught.value.message
    assert "direct URL" in (caught.value.hint or "")
    assert run(position(direct)) == BASE


def test_statement_mode_is_named_when_reading_too(shop: Shop, direct: Databases, tmp_path: Path) -> None:
    with (
        pooled(direct, tmp_path, "statement") as databases,
        pytest.raises(SettingsError, match="pooler in statement mode"),
    ):
        run(shop.deployment(databases).states(NAMES))


@pytest.mark.parametrize("atomic", [False, True], ids=["serial", "atomic"])
def test_session_mode_works(shop: Shop, direct: Databases, tmp_path: Path, atomic: bool) -> None:
    with pooled(direct, tmp_path, "session") as databases:
        run(shop.upgrade(databases, atomic=atomic))
        assert run(position(direct)) == HEAD
        run(shop.downgrade(databases, atomic=atomic))
    assert run(position(direct)) == BASE
    assert all(set(ended) == {"done"} for ended in run(outcomes(direct)).values())


@pytest.mark.parametrize("command", ["recover", "recover --dry-run", "backup"])
def test_other_commands_that_need_a_session_of_their_own(
    shop: Shop, direct: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    run(shop.upgrade(direct))
    monkeypatch.chdir(shop.folder)
    words = [*command.split(), *([str(tmp_path / "saved")] if command == "backup" else [])]
    for mode, status in (("transaction", 2), ("session", 0)):
        with pooled(direct, tmp_path, mode) as databases:
            for name, url in environment(databases).items():
                monkeypatch.setenv(name, url)
            answer = invoke(words)
        assert answer.status == status, answer
        assert ("pooler in transaction mode" in answer.stderr) is (status == 2)
        assert ("direct URL" in answer.stderr) is (status == 2)
