"""Warn of a server to which a password goes over the network without TLS, because sslmode allows it."""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import TYPE_CHECKING

from circle_migrate.config.url.tls import WEAK

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.config.url.address import Address, Endpoint

LOG = logging.getLogger("circle_migrate")
_TLS_REQUEST = struct.pack("!ii", 8, 80877103)
_ANSWER_SECONDS = 2.0
_warned: set[str] = set()


async def warn_of_missing_tls(
    database: str, address: Address, connection: asyncpg.Connection | None = None
) -> None:
    """Log a warning, once for each server; without a connection, ask the servers whether they have TLS."""
    if not address.password or address.parameters["sslmode"] not in WEAK:
        return
    if connection is not None:
        transport = connection._transport
        hosts = [] if transport.get_extra_info("ssl_object") else [transport.get_extra_info("peername")]
    else:
        hosts = [await _host_without_tls(endpoint) for endpoint in address.endpoints]
    for host in hosts:
        if host and not _is_local(host[0]) and host[0] not in _warned:
            _warned.add(host[0])
            LOG.warning(
                "%s: the connection to %s has no TLS, so anybody on the network between can read the password"
                " or what the server asks of it; add sslmode=require to the URL, or sslmode=disable if the"
                " network is private",
                database,
                host[0],
            )


async def _host_without_tls(endpoint: Endpoint) -> tuple[str, int] | None:
    """Return the IP address and port of a server that refuses TLS."""
    if endpoint.is_socket:
        return None
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(endpoint.host or "localhost", endpoint.port)
            try:
                writer.write(_TLS_REQUEST)
                refused = await reader.read(1) == b"N"
                return writer.get_extra_info("peername")[:2] if refused else None
            finally:
                writer.close()
    except OSError:  # TimeoutError is one
        return None


def _is_local(host: str) -> bool:
    """Return whether the host is this machine; a Unix socket has no IP address."""
    import ipaddress

    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return bool((getattr(address, "ipv4_mapped", None) or address).is_loopback)
