"""A throw-away server in a container, for any major version, where a Docker engine answers.

Testcontainers starts it, and beside it Ryuk: a container that is connected to this process and removes the
server ten seconds after that connection is gone, so after a kill as well.
"""

from __future__ import annotations

import gc
import secrets
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Unreachable
from circle_migrate.core.redaction import redact

if TYPE_CHECKING:
    from testcontainers.community.postgres import PostgresContainer

NEWEST = 18
"""The major version where nobody wants a certain one."""

_ANSWER_SECONDS = 3
# Nobody misses it after a crash.
_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}


def image(major: int) -> str:
    """The official image of a major version; https://hub.docker.com/_/postgres says what is in it."""
    return f"postgres:{major}"


def obtain(major: int) -> str | None:
    """Pull the image unless the engine has it; answers why no container of it can be started. Blocks."""
    try:
        import docker
        from testcontainers.core.docker_client import DockerClient
    except ImportError:
        return "containers: the extra is not installed; pip install 'circle-migrate[container]'"
    with _quiet():
        try:
            with closing(DockerClient(timeout=_ANSWER_SECONDS).client) as engine:
                engine.ping()
        except (docker.errors.DockerException, OSError) as error:
            return f"containers: no Docker engine answers; `docker info` says why: {_words(error)}"
    try:
        with closing(DockerClient().client) as engine:
            try:
                engine.images.get(image(major))
            except docker.errors.ImageNotFound:
                engine.images.pull(image(major))
    except (docker.errors.DockerException, OSError) as error:
        return (
            f"containers: the image {image(major)} cannot be had; "
            f"`docker pull {image(major)}` says why: {_words(error)}"
        )
    return None


@dataclass(frozen=True, slots=True)
class Container:
    """A running server in a container."""

    running: PostgresContainer

    @property
    def url(self) -> str:
        """The URL of its maintenance database, with a password that nobody else knows."""
        return self.running.get_connection_url()

    @classmethod
    def start(cls, major: int) -> Container:
        """Start a server of an image that `obtain` has got. Blocks.

        Raises `Unreachable` where it does not start.
        """
        from docker.errors import DockerException
        from testcontainers.community.postgres import PostgresContainer

        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        # Its port is open on all interfaces of the engine's machine.
        password = secrets.token_urlsafe(24)
        try:
            container = PostgresContainer(
                image(major), username="postgres", password=password, dbname="postgres", driver=None
            ).with_command(["postgres", *options])
            with ExitStack() as stack:
                stack.callback(container.stop)
                container.start()
                stack.pop_all()
        except (DockerException, OSError, RuntimeError) as error:
            raise Unreachable(
                f"no server starts in a container of {image(major)}",
                detail=_words(error).replace(password, "***"),
                state="nothing was changed",
                hint=f"to see it fail: docker run --rm -e POSTGRES_PASSWORD=x {image(major)}\n"
                "or name another server for scratch databases: --scratch-url URL",
            ) from error
        return cls(container)

    def remove(self) -> None:
        """Stop the server and delete all of it. Blocks."""
        self.running.stop()


@contextmanager
def _quiet() -> Iterator[None]:
    """Docker's client leaves its socket to the garbage collector where nobody answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            yield
        finally:
            gc.collect()


def _words(error: BaseException) -> str:
    return " ".join(redact(str(error)).split()) or type(error).__name__
