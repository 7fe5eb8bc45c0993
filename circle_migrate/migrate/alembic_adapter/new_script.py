"""New revision files as `alembic revision` writes them: by alembic.ini and script.py.mako."""

from collections.abc import Mapping, Sequence
from configparser import Error as ConfigError
from pathlib import Path
from typing import Any

from alembic.autogenerate import render_python_code
from alembic.config import Config
from alembic.operations import Operations
from alembic.operations.ops import UpgradeOps
from alembic.script import ScriptDirectory
from alembic.util import CommandError, asbool, format_as_comma
from mako.exceptions import RichTraceback
from mako.template import Template
from sqlalchemy.engine import Connection

from circle_migrate.config.object_reference import import_modules
from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.core.errors import SettingsError, UsageError, text_of
from circle_migrate.migrate.alembic_adapter.config import naming_options, read_config
from circle_migrate.migrate.alembic_adapter.context import Context
from circle_migrate.migrate.alembic_adapter.post_write_hooks import read_hooks
from circle_migrate.revision_graph.directory import revision_folders


class NewScript:
    """The place, the text and the hooks of one new revision file.

    `is_template_theirs` is whether the environment has a template. Raises `SettingsError` for options of
    alembic.ini that cannot be used.
    """

    def __init__(self, settings: DatabaseSettings, **arguments: Any) -> None:
        self._settings = settings
        place = settings.revisions
        import_modules(settings)
        self.config = read_config(settings, **arguments)
        config = self.config if place.section else Config()
        self.is_template_theirs = place.environment is not None
        self._locations = revision_folders(place.folders, recursive=False)
        option = config.get_alembic_option
        try:
            self.directory = ScriptDirectory(
                place.environment or place.folders[0],
                option("file_template", "%(rev)s_%(slug)s"),
                int(option("truncate_slug_length", "40")),
                self._locations,
                output_encoding=option("output_encoding", "utf-8"),
                timezone=option("timezone"),
            )
            self.runs_environment = asbool(option("revision_environment", "false"))
            file = place.ini or place.toml
            hooks = config.get_hooks_list() if place.section else []
            self._hooks = tuple(read_hooks(hooks, file.parent if file else self._locations[0]))
            self.create_date = self.directory._generate_create_date()
            "".encode(self.directory.output_encoding)
        except (CommandError, ConfigError, LookupError, ValueError) as error:
            raise self._option_error(error) from error

    def _option_error(self, error: Exception) -> SettingsError:
        place = self._settings.revisions
        return SettingsError(
            f"the options of new revisions in {place.ini or place.toml} cannot be used",
            database=self._settings.name,
            detail=text_of(error),
            state="nothing was written",
            hint="correct them: plain alembic revision reads the same options",
        )

    @property
    def empty_content(self) -> dict[str, str]:
        """The variables of an empty revision: with `revision_environment`, Alembic renders its operations."""
        if not self.runs_environment:
            return {}
        nothing = render_python_code(UpgradeOps([]))
        return {"upgrades": nothing, "downgrades": nothing, "imports": ""}

    def folder(self, parents: Sequence[Path], version_path: Path | None) -> Path:
        """Return the folder of the new file: the given one, the only one, or that of the first parent.

        Raises `UsageError` if none of these is a folder of the revisions.
        """
        listed = ", ".join(map(str, self._locations))
        if version_path is not None:
            resolved = {location.resolve(): location for location in self._locations}
            if version_path.resolve() not in resolved:
                raise UsageError(
                    f"{version_path} is no folder of the revisions of {self._settings.name}",
                    database=self._settings.name,
                    hint=f"name one of {listed}",
                )
            return resolved[version_path.resolve()]
        if len(self._locations) == 1:
            return self._locations[0]
        for parent in parents[:1]:
            for location in self._locations:
                if parent.is_relative_to(location):
                    return location
        raise UsageError(
            f"{self._settings.name} has several folders of revisions",
            database=self._settings.name,
            hint=f"add --version-path with one of {listed}",
        )

    def path(self, folder: Path, revision: str, message: str) -> Path:
        """Return the path by `file_template`. Raises `SettingsError` for one that cannot be used."""
        try:
            path = self.directory._rev_path(folder, revision, message, self.create_date)
        except (KeyError, TypeError, ValueError) as error:
            raise self._option_error(ValueError(f"file_template: {type(error).__name__} {error}")) from error
        if path.parent != folder and not self._settings.revisions.recursive:
            text = f"file_template leads to {path.parent}, which needs recursive_version_locations = true"
            raise self._option_error(ValueError(text))
        return path

    def render(
        self,
        revision: str,
        message: str,
        *,
        down: Sequence[str],
        labels: Sequence[str],
        depends_on: Sequence[str],
        content: Mapping[str, Any],
    ) -> bytes:
        """Return the file by the environment's template with Alembic's variables, and with `content`.

        Raises `SettingsError` if the template fails.
        """
        file = Path(self.directory.dir, "script.py.mako")
        try:
            text: str = Template(filename=str(file)).render_unicode(  # noqa: S702 - Python source, not HTML
                up_revision=revision,
                down_revision=_scalar(tuple(down)),
                branch_labels=tuple(labels) or None,
                depends_on=_scalar(list(depends_on)),
                create_date=self.create_date,
                comma=format_as_comma,
                message=message,
                config=self.config,
                **content,
            )
            return text.encode(self.directory.output_encoding)
        except Exception as error:
            line = RichTraceback(error, error.__traceback__).lineno
            undefined = text_of(error) == "Undefined"
            raise SettingsError(
                f"the template of new revisions of {self._settings.name} fails",
                database=self._settings.name,
                location=f"{file}:{line}",
                detail="a variable has no value: no env.py is run, which may set it"
                if undefined
                else f"{type(error).__name__}: {text_of(error)}",
                state="nothing was written",
                hint="correct the template: it has Alembic's variables, without those of env.py",
            ) from error

    def run_hooks(self, path: Path) -> tuple[str, ...]:
        """Run the post-write hooks on a file, in their order, and return what failed."""
        results = ((hook.name, hook.run(path)) for hook in self._hooks)
        return tuple(
            f"the post-write hook {name} {failure} (the file is kept)"
            for name, failure in results
            if failure is not None
        )


def _scalar(keys: Sequence[str]) -> str | Sequence[str] | None:
    """Return the form in which Alembic hands ids to a template: several as they are."""
    return keys if len(keys) > 1 else next(iter(keys), None)


def run_source(connection: Connection, source: str, function: str, settings: DatabaseSettings) -> None:
    """Call a function of the revision and commit. Raises the function's errors."""
    context = Context(connection.dialect, connection, naming_options(settings))
    namespace: dict[str, Any] = {}
    exec(compile(source, "the new revision", "exec"), namespace)  # noqa: S102 - this package wrote it
    namespace["op"] = Operations(context)
    with context.begin_transaction():
        namespace[function]()
