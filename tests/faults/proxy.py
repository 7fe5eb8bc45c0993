"""A TCP proxy in front of PostgreSQL that loses one statement, or the server's answer to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from enum import Enum


class Cut(Enum):
    """The fate of the statement at which the connection is cut."""

    BEFORE_IT_ARRIVES = "before it arrives"
    BEFORE_ITS_ANSWER = "before its answer"
    IT_ARRIVES_LATE = "it arrives late"
    BLACK_HOLE = "nothing passes any more, and nobody is told"


_LATE_SECONDS = 1.0


@dataclass
class Proxy:
    """Forwards everything until it is armed; then cuts the connection that sends `statement`, once.

    `over` is set when the server has had, and answered, whatever of the statement it is to get.
    """

    target: int
    port: int = 0
    cuts: list[str] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    hole: asyncio.Event = field(default_factory=asyncio.Event)
    end: asyncio.Event = field(default_factory=asyncio.Event)
    _statement: bytes | None = None
    _cut: Cut = Cut.BEFORE_IT_ARRIVES

    def arm(self, statement: str, cut: Cut) -> None:
        """Cut the next connection whose client sends a statement that starts with this text."""
        self._statement, self._cut = statement.encode(), cut

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client; leave no stream open, whatever ends it."""
        with closing(writer), suppress(ConnectionError):
            if self.hole.is_set():
                await self.end.wait()
                return
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
            back = asyncio.create_task(_pump(server_reader, writer))
            try:
                with closing(server_writer):
                    await self._forward(reader, writer, back, server_reader, server_writer)
            finally:
                back.cancel()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.Task[None],
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        while data := await reader.read(65536):
            if self._meant(data) and self._cut is Cut.BLACK_HOLE:
                self.hole.set()
            if self.hole.is_set():
                await self.end.wait()
                return
            if self._meant(data):
                await self._lose(data, back, writer, server_reader, server_writer)
                return
            server_writer.write(data)
            await server_writer.drain()

    def _meant(self, data: bytes) -> bool:
        """Return whether this is the statement as a Query message: `Q`, four bytes of length, the text."""
        wanted = self._statement
        return wanted is not None and data[:1] == b"Q" and data[5:].startswith(wanted)

    async def _lose(
        self,
        data: bytes,
        back: asyncio.Task[None],
        client: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        self._statement = None
        self.cuts.append(data[5:].rstrip(b"\0").decode())
        back.cancel()
        await asyncio.gather(back, return_exceptions=True)
        if self._cut is Cut.IT_ARRIVES_LATE:
            client.transport.abort()
            await asyncio.sleep(_LATE_SECONDS)
        if self._cut is not Cut.BEFORE_IT_ARRIVES:
            server.write(data)
            await server_reader.read(1)
        client.transport.abort()
        server.close()
        self.over.set()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
    except ConnectionError:
        writer.close()


@asynccontextmanager
async def proxied(target: int) -> AsyncIterator[Proxy]:
    """Run a proxy to the server on a local port; leave no connection open."""
    proxy = Proxy(target)
    tasks: list[asyncio.Task[None]] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task that is cancelled before its first step closes nothing.
        if proxy.end.is_set():
            writer.transport.abort()
        else:
            tasks.append(asyncio.create_task(proxy.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.end.set()
        await asyncio.sleep(0.01)  # a server that closes leaks the connections that it is accepting
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
