"""A server without TLS that takes a password over the network is warned of, once."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from circle_migrate.postgres import missing_tls
from circle_migrate.postgres.embedded.cluster import Cluster
from tests.deployments import invoke
from tests.servers import any_major, run, start_binaries

PASSWORD = "Hunter2"
_METHODS = {"plain": "password", "hashed": "scram-sha-256"}


def _network_address() -> str:
    """The address of this machine on a network; skips where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("no network")
        address = str(probe.getsockname()[0])
    if address.startswith("127."):
        pytest.skip("no network")
    return address


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Cluster, str, int]]:
    address = _network_address()
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    lines = [f"host all {role} all {method}" for role, method in _METHODS.items()]
    hba = "\n".join(["local all all trust", *lines, ""])
    settings = {"listen_addresses": "*", "port": str(port)}
    with start_binaries(any_major(), settings, hba=hba) as (cluster, _):
        url = f"postgresql://postgres@/postgres?host={cluster.data.with_name('socket')}&port={port}"
        run(_roles(url))
        yield cluster, address, port


async def _roles(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for role in _METHODS:
            await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    finally:
        await connection.close()


@pytest.fixture
def ask(
    servers: tuple[Cluster, str, int], workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    _, address, own_port = servers
    monkeypatch.setattr(missing_tls, "_warned", set())

    def call(
        role: str, host: str = address, query: str = "", password: str = PASSWORD, port: int = own_port
    ) -> str:
        url = f"postgresql://{role}:{password}@{host}:{port}/postgres{query}"
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("CREDS_DATABASE_URL", url)
        return invoke(["current", "-d", "main", "--quiet"]).everything

    return call


@pytest.mark.parametrize("role", _METHODS)
@pytest.mark.parametrize("query", ["", "?sslmode=allow", "?sslmode=prefer"])
def test_without_tls(ask: Callable[..., str], role: str, query: str) -> None:
    told = ask(role, query=query)
    assert told.count("warning: main: the connection to") == 1, told
    assert "sslmode=require" in told
    assert PASSWORD not in told


def test_required_tls(ask: Callable[..., str]) -> None:
    told = ask("plain", query="?sslmode=require")
    assert "no TLS connection to" in told
    assert "sslmode=disable" in told
    assert "start PostgreSQL" not in told
    assert "use TLS: add sslmode=require" in ask("unlisted", query="?sslmode=disable")


def test_refused_password(ask: Callable[..., str]) -> None:
    told = ask("plain", password="wrong")
    assert "has no TLS" in told
    assert "does not accept this role or password" in told


@pytest.mark.parametrize(
    ("host", "query"), [("127.0.0.1", ""), ("localhost", ""), ("[::1]", ""), (None, "?sslmode=disable")]
)
def test_local_or_on_purpose(ask: Callable[..., str], host: str | None, query: str) -> None:
    told = ask("plain", **({"host": host} if host else {}), query=query)
    assert "TLS" not in told, told


def test_server_with_tls(
    servers: tuple[Cluster, str, int],
    ask: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    made = ["openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=x"]
    subprocess.run([*made, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with _tls_in_front_of(servers[1], servers[2], context) as port:
        assert "TLS" not in ask("plain", port=port)
        assert "TLS" not in ask("plain", port=port, password="wrong")
    assert "has no TLS" in ask("plain")


@contextmanager
def _listening(address: str, serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve each client in a thread, and yield the port."""
    with socket.create_server((address, 0)) as listening:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=[listening.accept()[0]], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]


@contextmanager
def _tls_in_front_of(address: str, port: int, context: ssl.SSLContext) -> Iterator[int]:
    """A proxy that takes TLS, as the binaries of the embedded server are built without it."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), source, target:
            while data := source.recv(65536):
                target.sendall(data)

    def serve(client: socket.socket) -> None:
        with suppress(OSError), client:
            client.recv(8)
            client.sendall(b"S")
            wrapped = context.wrap_socket(client, server_side=True)
            server = socket.create_connection((address, port))
            threading.Thread(target=pump, args=[server, wrapped], daemon=True).start()
            pump(wrapped, server)

    with _listening(address, serve) as listening:
        yield listening


@contextmanager
def _collector(address: str) -> Iterator[int]:
    """A server that has no TLS, asks for the password in clear text, and closes the connection."""

    def serve(client: socket.socket) -> None:
        with client:
            client.recv(8)
            client.sendall(b"N")
            if client.recv(1024):
                client.sendall(b"R\0\0\0\x08\0\0\0\x03")
                client.recv(1024)

    with _listening(address, serve) as port:
        yield port


def test_server_that_only_collects_passwords(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing_tls, "_warned", set())
    with _collector(_network_address()) as port:
        monkeypatch.setenv("DATABASE_URL", f"postgresql://a:{PASSWORD}@{_network_address()}:{port}/d")
        told = invoke(["current", "-d", "main"]).stderr
    assert told.count("has no TLS") == 1, told


@pytest.mark.parametrize("query", ["sslmode=require", "sslmode=require&sslnegotiation=direct"])
def test_server_that_closes_the_connection(monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    """It is there, so that the hint does not say to start it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def close_each() -> None:
            with suppress(OSError):
                while True:
                    listening.accept()[0].close()

        threading.Thread(target=close_each, daemon=True).start()
        url = f"postgresql://a@127.0.0.1:{listening.getsockname()[1]}/d?{query}"
        monkeypatch.setenv("DATABASE_URL", url)
        answer = invoke(["plan", "-d", "main"])
    assert answer.status == 9, answer
    assert "closes the connection before it answers" in answer.stderr
    assert "start PostgreSQL" not in answer.stderr
