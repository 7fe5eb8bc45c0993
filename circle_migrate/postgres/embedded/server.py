"""The PostgreSQL behind `--embedded` and `circle-migrate dev`: a folder, and a server on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from circle_migrate.core.errors import SettingsError, Unreachable
from circle_migrate.postgres.embedded import binaries
from circle_migrate.postgres.embedded.binaries import SHARED
from circle_migrate.postgres.embedded.cluster import PORT, Cluster, Postmaster
from circle_migrate.postgres.embedded.directory import MOVE_HINT, ServerFolder, drop_link, filesystem_errors
from circle_migrate.postgres.embedded.os_user import OsUser

_USER = "postgres"


@dataclass(frozen=True)
class ServerStatus:
    """What is known of an embedded server; the fields after `log` are None unless it is running.

    `data` is where the files are; `major` and `account` (the operating system user the server runs as) are
    None before the first start.
    """

    requested: Path
    data: Path
    major: int | None
    account: str | None
    log: Path
    pid: int | None = None
    socket_dir: Path | None = None
    port: int | None = None
    since: datetime | None = None

    @property
    def running(self) -> bool:
        """Whether the server takes connections."""
        return self.pid is not None

    @property
    def moved(self) -> bool:
        """Whether the files lie under /var/lib, since the server's user cannot reach what was asked for."""
        return self.data.parent == SHARED

    def url(self, database: str) -> str:
        """The URL of one of its databases, which need not exist.

        Raises:
            Unreachable: the server is not running.
        """
        if self.socket_dir is None:
            message = f"the embedded server in {self.data} is not running"
            raise Unreachable(message, hint="circle-migrate dev start")
        name, host = quote(database, safe=""), quote(str(self.socket_dir))
        return f"postgresql://{_USER}@/{name}?host={host}&port={self.port}"


@dataclass(frozen=True)
class EmbeddedServer:
    """A server of the wheel's PostgreSQL on a folder; it stays up until `stop`, also after this process.

    `major` matters for a new folder only (default: the newest); an existing one is never used with another.
    All methods block. They raise SettingsError for a folder that cannot be used or a missing wheel,
    Unreachable when PostgreSQL does not start or stop, LockNotObtained when another process works on the
    folder for too long.
    """

    data: Path
    major: int | None = None

    def start(self) -> ServerStatus:
        """Start the server unless it runs already; make its data directory first where there is none."""
        known = binaries.embedded()
        with filesystem_errors(self.data):
            folder = self._folder()
            self._choose(folder, known)  # refuses before anything is made
            account = folder.os_user()
            folder = folder.resolve_location(account)
            with folder.locked():
                cluster = _cluster(folder, self._choose(folder, known), account)
                if not folder.pgdata.exists():
                    cluster.create()
                postmaster = Postmaster.on(folder.pgdata)
                if postmaster is None:
                    cluster.configure(_settings(folder.socket_folder(account)))
                if postmaster is None or not postmaster.ready:
                    cluster.start()
                return self._status(folder)

    def stop(self) -> bool:
        """Stop the server and keep its data; whether there was one to stop."""
        with filesystem_errors(self.data):
            folder = self._folder()
            if not folder.is_ours:
                return False
            with folder.locked():
                return self._stop(folder)

    def status(self) -> ServerStatus:
        """What there is now; changes nothing and waits for nobody."""
        with filesystem_errors(self.data):
            return self._status(self._folder())

    def reset(self) -> bool:
        """Stop the server and delete all that this package made in the folder; whether there was anything."""
        with filesystem_errors(self.data):
            folder = self._folder()
            found = folder.is_ours
            if found:
                with folder.locked():
                    self._stop(folder)
                    folder.delete(_present_account(folder))
            drop_link(self.data)
            return found

    def psql_command(self, database: str, *arguments: str) -> list[str]:
        """The argument list of the wheel's psql on one of the databases, to be run or exec'ed.

        Raises:
            Unreachable: the server is not running.
        """
        status = self.status()
        url = status.url(database)
        psql = self._choose(self._folder(), binaries.embedded()).program("psql")
        return [str(psql), f"--dbname={url}", *arguments]

    def _folder(self) -> ServerFolder:
        folder = ServerFolder.at(self.data)
        folder.check()
        return folder

    def _status(self, folder: ServerFolder) -> ServerStatus:
        postmaster = Postmaster.on(folder.pgdata)
        status = ServerStatus(
            requested=self.data.absolute(),
            data=folder.path,
            major=folder.major,
            account=_present_account(folder).name if folder.pgdata.exists() else None,
            log=folder.log,
        )
        if postmaster is None or not postmaster.ready:
            return status
        return replace(
            status,
            pid=postmaster.pid,
            socket_dir=postmaster.socket_dir,
            port=postmaster.port,
            since=postmaster.since,
        )

    def _stop(self, folder: ServerFolder) -> bool:
        if Postmaster.on(folder.pgdata) is None:
            return False
        chosen = self._choose(folder, binaries.embedded())
        _cluster(folder, chosen, _present_account(folder)).stop()
        return True

    def _choose(self, folder: ServerFolder, known: dict[int, binaries.Binaries]) -> binaries.Binaries:
        present = folder.major
        if present is not None and self.major not in {None, present}:
            message = f"{folder.path} holds data of PostgreSQL {present}, not {self.major}"
            raise SettingsError(message, hint=f"circle-migrate dev reset deletes it; or {MOVE_HINT}")
        major = present or self.major or max(known)
        if major not in known:
            raise SettingsError(
                f"the embedded PostgreSQL cannot be of version {major}",
                detail=f"installed: {', '.join(map(str, sorted(known)))}",
                hint=f"circle-migrate dev reset deletes the data; or {MOVE_HINT}" if present else None,
            )
        return known[major]


def _cluster(folder: ServerFolder, chosen: binaries.Binaries, account: OsUser) -> Cluster:
    return Cluster(folder.pgdata, folder.log, chosen.reachable_for(account), account)


def _present_account(folder: ServerFolder) -> OsUser:
    """Who the server runs as, without making a user as `ServerFolder.account` may."""
    return OsUser.owner_of(folder.pgdata) if folder.pgdata.exists() else OsUser.current()


def _settings(socket_dir: Path) -> dict[str, str]:
    """The configuration of every embedded server; fsync stays on, since what people keep in it is theirs."""
    return {
        "listen_addresses": "",
        "unix_socket_directories": str(socket_dir),
        "unix_socket_permissions": "0700",
        "port": str(PORT),
        "max_connections": "100",
        "max_prepared_transactions": "16",  # --atomic needs one for each run in flight
        "shared_buffers": "32MB",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %d %a ",
    }
