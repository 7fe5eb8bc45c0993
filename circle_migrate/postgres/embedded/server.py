"""The embedded PostgreSQL server of `--embedded` and `circle-migrate dev`."""

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from circle_migrate.config.settings import Settings
from circle_migrate.config.url.parse import parse
from circle_migrate.core.errors import SettingsError, Unreachable
from circle_migrate.postgres.embedded import binaries
from circle_migrate.postgres.embedded.binaries import SHARED
from circle_migrate.postgres.embedded.cluster import Cluster, Postmaster
from circle_migrate.postgres.embedded.directory import MOVE_HINT, ServerFolder, drop_link, filesystem_errors
from circle_migrate.postgres.embedded.os_user import OsUser

_USER = "postgres"
# fsync stays on to protect the user's data.
_SETTINGS = {
    "max_connections": "100",
    "max_prepared_transactions": "16",  # --atomic needs one per concurrent run
    "log_line_prefix": "%m [%p] %d %a ",
}


@dataclass(frozen=True)
class ServerStatus:
    """Status of an embedded server; the fields after `log` are None unless it is running.

    `data` is the actual folder; `major` and `account` (a user of the system) are None before the first start.
    """

    requested: Path
    data: Path
    major: int | None
    account: str | None
    log: Path
    pid: int | None = None
    socket_dir: Path | None = None
    port: int | None = None

    @property
    def running(self) -> bool:
        """Whether the server takes connections."""
        return self.pid is not None

    @property
    def is_substitute(self) -> bool:
        """Whether the data is below /var/lib, because the server's user cannot reach the requested folder."""
        return self.data.parent == SHARED

    def url(self, database: str) -> str:
        """Return the URL of a database, which need not exist. Raises Unreachable if the server is stopped."""
        if self.socket_dir is None:
            message = f"the embedded server in {self.data} is not running"
            raise Unreachable(message, hint="run circle-migrate dev start")
        name, host = quote(database, safe=""), quote(str(self.socket_dir))
        return f"postgresql://{_USER}@/{name}?host={host}&port={self.port}"


@dataclass(frozen=True)
class EmbeddedServer:
    """A server of the wheel's PostgreSQL with its folder; it runs until `stop`, also after this process.

    `major` is the version of a new folder (default: the newest); the version of an existing one must be
    equal. All methods block. They raise SettingsError for an unusable folder or a missing wheel, Unreachable
    if PostgreSQL does not start or stop, LockNotObtained if another process uses the folder for too long.
    """

    data: Path
    major: int | None = None

    def start(self) -> ServerStatus:
        """Start the server unless it is running, and create its data directory if needed."""
        known = binaries.find_embedded()
        with filesystem_errors(self.data):
            folder = self._folder()
            self._choose(folder, known)  # raises errors before anything is created
            account = folder.os_user()
            folder = folder.resolve_location(account)
            with folder.locked():
                cluster = _cluster(folder, self._choose(folder, known), account)
                if not folder.pgdata.exists():
                    cluster.create()
                postmaster = Postmaster.on(folder.pgdata)
                if postmaster is None:
                    cluster.configure(folder.socket_folder(account), _SETTINGS)
                if postmaster is None or not postmaster.ready:
                    cluster.start()
                return self._status(folder)

    def stop(self) -> bool:
        """Stop the server and keep its data; return whether it was running."""
        with filesystem_errors(self.data):
            folder = self._folder()
            if not folder.is_ours:
                return False
            with folder.locked():
                return self._stop(folder)

    def status(self) -> ServerStatus:
        """Return the status; changes nothing and does not wait for the lock."""
        with filesystem_errors(self.data):
            return self._status(self._folder())

    def reset(self) -> bool:
        """Stop the server and delete what circle-migrate created; return whether there was anything."""
        with filesystem_errors(self.data):
            folder = self._folder()
            exists = folder.is_ours
            if exists:
                with folder.locked():
                    self._stop(folder)
                    folder.delete(_data_owner(folder))
            drop_link(self.data)
            return exists

    def psql_command(self, database: str, *arguments: str) -> list[str]:
        """Return the arguments for running the wheel's psql. Raises Unreachable if the server is stopped."""
        url = self.status().url(database)
        psql = self._choose(self._folder(), binaries.find_embedded()).program("psql")
        return [str(psql), f"--dbname={url}", *arguments]

    def _folder(self) -> ServerFolder:
        folder = ServerFolder.at(self.data)
        folder.check()
        return folder

    def _status(self, folder: ServerFolder) -> ServerStatus:
        postmaster = Postmaster.on(folder.pgdata)
        account = _data_owner(folder).name if folder.pgdata.exists() else None
        status = ServerStatus(self.data.absolute(), folder.path, folder.major, account, folder.log)
        if postmaster is None or not postmaster.ready:
            return status
        pid, port = postmaster.pid, postmaster.port
        return replace(status, pid=pid, socket_dir=postmaster.socket_dir, port=port)

    def _stop(self, folder: ServerFolder) -> bool:
        if Postmaster.on(folder.pgdata) is None:
            return False
        chosen = self._choose(folder, binaries.find_embedded())
        _cluster(folder, chosen, _data_owner(folder)).stop()
        return True

    def _choose(self, folder: ServerFolder, known: dict[int, binaries.Binaries]) -> binaries.Binaries:
        present = folder.major
        if present is not None and self.major not in {None, present}:
            message = f"{folder.path} has data of PostgreSQL {present}, not {self.major}"
            raise SettingsError(message, hint=f"to delete it: circle-migrate dev reset; or {MOVE_HINT}")
        major = present or self.major or max(known)
        if major not in known:
            raise SettingsError(
                f"PostgreSQL {major} is not installed as embedded server",
                detail=f"installed versions: {', '.join(map(str, sorted(known)))}",
                hint=f"to delete the data: circle-migrate dev reset; or {MOVE_HINT}" if present else None,
            )
        return known[major]


def _cluster(folder: ServerFolder, chosen: binaries.Binaries, account: OsUser) -> Cluster:
    return Cluster(folder.pgdata, folder.log, chosen.reachable_for(account), account)


def _data_owner(folder: ServerFolder) -> OsUser:
    """Return the owner of the data; unlike `ServerFolder.os_user`, create no user."""
    return OsUser.owner_of(folder.pgdata) if folder.pgdata.exists() else OsUser.current()


def database_name(name: str) -> str:
    """Return the name of a database on the embedded server."""
    return f"circle_{name}"


def with_embedded_urls(settings: Settings, status: ServerStatus) -> Settings:
    """Return the settings with the URLs of the running embedded server."""
    databases = {}
    for name, database in settings.databases.items():
        url = parse(status.url(database_name(name)), source="the embedded server")
        databases[name] = database.model_copy(update={"url": url})
    return settings.model_copy(update={"databases": databases})


def urls(settings: Settings, status: ServerStatus) -> dict[str, str]:
    """Return the URLs by environment variable; empty if the server is not running."""
    databases = settings.databases if status.running else {}
    return {database.url_env: status.url(database_name(name)) for name, database in databases.items()}
