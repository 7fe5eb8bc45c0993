"""A temporary server in a Docker container, for any major version.

Testcontainers starts it together with Ryuk, a container that removes the server ten seconds after its
connection to this process ends, even after a kill.
"""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import warnings
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Unreachable
from circle_migrate.core.redaction import redact
from circle_migrate.postgres.embedded.cluster import NOT_DURABLE

if TYPE_CHECKING:
    from testcontainers.community.postgres import PostgresContainer

NEWEST = 18
"""The default major version."""

_PING_SECONDS = 3
_NO_ENGINE = "containers: no Docker engine answers; run `docker info` for details"
_SOCKET = Path("/var/run/docker.sock")
_PROPERTIES = ".testcontainers.properties"
"""The file in the home folder that can name another engine."""


def image(major: int) -> str:
    """Return the official image of a major version (https://hub.docker.com/_/postgres)."""
    return f"postgres:{major}"


def pull_image(major: int) -> str | None:
    """Pull the image if needed; return the reason if no container can be started, else None. Blocks."""
    if not _may_have_engine():  # the import of Docker's client takes as long as a scratch server
        return f"{_NO_ENGINE}: there is no program `docker`, no DOCKER_HOST, and no {_SOCKET}"
    try:
        import docker
        from testcontainers.core.docker_client import DockerClient
    except ImportError:
        return "containers: the extra is not installed; run pip install 'circle-migrate[container]'"
    with warnings.catch_warnings():
        # Docker's client leaves a socket open if no engine answers.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            with closing(DockerClient(timeout=_PING_SECONDS).client) as engine:
                engine.ping()
        except (docker.errors.DockerException, OSError) as error:
            return f"{_NO_ENGINE}: {_message(error)}"
        finally:
            gc.collect()
    try:
        with closing(DockerClient().client) as engine:
            try:
                engine.images.get(image(major))
            except docker.errors.ImageNotFound:
                engine.images.pull(image(major))
    except (docker.errors.DockerException, OSError) as error:
        return (
            f"containers: the image {image(major)} cannot be pulled; "
            f"run `docker pull {image(major)}` for details: {_message(error)}"
        )
    return None


def _may_have_engine() -> bool:
    """Return whether anything names a Docker engine: its program, a variable, a socket or a file."""
    is_named = "DOCKER_HOST" in os.environ or _SOCKET.exists() or shutil.which("docker") is not None
    return is_named or Path(os.environ.get("HOME", "/"), _PROPERTIES).exists()


@dataclass(frozen=True, slots=True)
class Container:
    """A running server in a container."""

    running: PostgresContainer

    @property
    def url(self) -> str:
        """The URL of the maintenance database, with a generated password."""
        return self.running.get_connection_url()

    @classmethod
    def start(cls, major: int) -> Container:
        """Start a server, whose image is already pulled. Blocks. Raises `Unreachable` if that fails."""
        from docker.errors import DockerException
        from testcontainers.community.postgres import PostgresContainer

        options = [part for name, value in NOT_DURABLE.items() for part in ("-c", f"{name}={value}")]
        # The port is open on all interfaces of the engine's machine.
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
                f"the server in a container of {image(major)} does not start",
                detail=_message(error).replace(password, "***"),
                state="nothing was changed",
                hint=f"see its output: docker run --rm -e POSTGRES_PASSWORD=x {image(major)}\n"
                "or use another server for scratch databases: --scratch-url URL",
            ) from error
        return cls(container)

    def remove(self) -> None:
        """Stop and delete the container. Blocks."""
        self.running.stop()


def _message(error: BaseException) -> str:
    return " ".join(redact(str(error)).split()) or type(error).__name__
