"""Load the settings, and report every contradiction between them."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from circle_migrate.config.fields import DATABASE_FIELDS, PLATFORM, SHARED, TABLE_FIELDS, KnownDatabase
from circle_migrate.config.object_reference import ObjectResolver
from circle_migrate.config.provenance import DEFAULT_SECRETS, Origin, Provenance, read_text
from circle_migrate.config.pyproject import foreign_error
from circle_migrate.config.settings import DatabaseSettings, Locations, Settings, Value
from circle_migrate.config.url.address import Address
from circle_migrate.config.url.parse import has_password, parse
from circle_migrate.core.errors import SettingsError, UsageError
from circle_migrate.core.redaction import redact

_EMBEDDED_DATA = Path(".circle-migrate") / "postgres"
# Settings that are copied unchanged.
_SAFETY = ("safety", "safety_rows", "safety_bytes")
_SHARED = ("lock_wait", "lock_timeout", "atomic", "transaction", "scratch_on_target", *_SAFETY)
_LINES = ("diff_ignore", "safety_ignore", "safety_tables", "x_arguments", "imports")
_PER_DATABASE = (*TABLE_FIELDS, "search_path", "profile", "driver")


def load(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    hazard_ids: Callable[[], Collection[str] | None] = lambda: None,
) -> Settings:
    """Read all settings; `flags` are by field name (`database_url`, `lock_wait`), None if not set.

    `hazard_ids` returns the ids that `safety_ignore` may name, None for any. Raises one SettingsError that
    lists every problem without secrets; a missing URL is raised by `DatabaseSettings.address` instead.
    """
    from circle_migrate.config.sources import collect

    try:
        folder = (cwd or Path.cwd()).resolve()
    except FileNotFoundError as error:
        raise SettingsError(
            "the current folder was deleted", state="nothing was changed", hint="change to another folder: cd"
        ) from error
    return SettingsLoader(collect(flags or {}, environ, folder), environ).settings(hazard_ids)


class SettingsLoader:
    """Converts raw settings to `Settings`."""

    def __init__(self, provenance: Provenance, environ: Mapping[str, str]) -> None:
        self.values, self.provenance, self.environ = provenance.values, provenance, environ
        self.packages = ObjectResolver(provenance.project_root)
        self.known = provenance.fields.databases
        self.names = tuple(known.name for known in self.known)

    def settings(self, hazard_ids: Callable[[], Collection[str] | None]) -> Settings:
        """Return the settings. Raises SettingsError with all problems."""
        values = self.values
        embedded, embedded_source = self._embedded()
        databases = tuple(self._database(known, embedded=embedded) for known in self.known)
        scratch_url = self._address("scratch_url")
        known_hazards = hazard_ids() if values["safety_ignore"] else None
        diff_ignore = self._parse_lines("diff_ignore", "ignore_rule.parse_difference_rule")
        safety_ignore = self._parse_lines("safety_ignore", "ignore_rule.parse_hazard_rule", known_hazards)
        assumptions = self._parse_lines("safety_tables", "assumed_size.parse_assumption")
        relations = self._relations()
        for module in values["imports"]:
            self._check(self.packages.check_module, module, self.provenance.origins["imports"])
        self.provenance.raise_problems()
        data = self._path("embedded_data") or self.provenance.project_root / _EMBEDDED_DATA
        programs = self._path("pg_bin")
        notes = [f"{folder} was added to sys.path" for folder in self.packages.added]
        notes += self.provenance.notes
        notes += [f"{item.url_variable}: {note}" for item in databases if item.url for note in item.url.notes]
        listed = {name: values[name] for name in SHARED if name != "embedded"} | {
            "embedded_data": data,
            "lock_wait": f"{values['lock_wait']:g} s",
            "lock_timeout": f"{values['lock_timeout']:g} s",
            "scratch_url": scratch_url.display() if scratch_url else None,
            **{name: "; ".join(values[name]) or None for name in _LINES},
            "relations": relations,
            "pg_bin": programs,
            "secrets_dir": self._path("secrets_dir") or DEFAULT_SECRETS,
        }
        return Settings(
            databases=databases,
            embedded=embedded,
            embedded_data=data,
            scratch_url=scratch_url,
            diff_ignore=diff_ignore,
            safety_ignore=safety_ignore,
            safety_tables=assumptions,
            pg_bin=programs,
            relations=relations,
            project_root=self.provenance.project_root,
            **{name: values[name] for name in _SHARED},
            values=(
                *self._list_urls(databases, embedded=embedded),
                Value("embedded", _format(embedded), embedded_source),
                *(self._value(name, value) for name, value in listed.items()),
                *self._list_database_settings(databases),
            ),
            notes=tuple(notes),
            warnings=tuple(self.provenance.warnings),
        )

    def _embedded(self) -> tuple[bool, str]:
        """Return whether to use the embedded server, and the source of that decision.

        Both the embedded server and a URL are a contradiction, unless exactly one of them is a flag: a
        deployment must not silently reach another database than the one it names.
        """
        origin = self.provenance.origins.get("embedded")
        if origin is None or not self.values["embedded"]:
            return False, self._source("embedded")
        origins = (self.provenance.origins.get(known.url_field) for known in self.known)
        urls = [url for url in origins if url is not None]
        url_flags = [url for url in urls if url.is_flag]
        if url_flags and not origin.is_flag:
            return False, url_flags[0].label
        conflicting = url_flags if origin.is_flag else urls
        if conflicting:
            self.provenance.problem(
                f"{origin.subject} and {conflicting[0].subject} contradict each other",
                hint="keep one of them: the embedded server, or the URLs",
            )
        return True, origin.label

    def _database(self, known: KnownDatabase, *, embedded: bool) -> DatabaseSettings:
        own = f"{known.prefix}protected"
        protected = own if own in self.provenance.origins else "protected"
        locations = self._revisions(known)
        return DatabaseSettings(
            name=known.name,
            url=None if embedded else self._address(known.url_field, known.name),
            revisions=locations.folders,
            recursive_revisions=locations.recursive,
            alembic_ini=locations.ini,
            models=self._attribute(f"{known.prefix}models"),
            protected=self.values[protected],
            protected_by=self._source(protected),
            names_from_models=f"{known.prefix}models" in self.provenance.origins,
            x_arguments=self.values["x_arguments"],
            imports=self.values["imports"],
            url_variable=known.url_variable,
            **{field: self.values[known.prefix + field] for field in _PER_DATABASE},
        )

    def _address(self, field: str, database: str | None = None) -> Address | None:
        origin = self.provenance.origins.get(field)
        text = self.values[field]
        if origin is None or not text:
            return None
        try:
            if origin.file:
                text = read_text(origin.file, origin.subject)
            if origin.is_shared and has_password(text):
                raise SettingsError(
                    f"{origin.subject} has a password, which does not belong in a file under version control",
                    hint="set CIRCLE_MIGRATE_SCRATCH_URL in the environment or in .env",
                )
            return parse(text, source=origin.subject, environ=self.environ)
        except SettingsError as error:
            error.database = database
            self.provenance.problems.append(error)
            return None

    def _parse_lines(self, name: str, parser: str, *arguments: object) -> tuple[Any, ...]:
        """Parse the lines of a setting by a function `module.name`; invalid lines become problems."""
        module, _, function = parser.partition(".")
        parsed = []
        for line in self.values[name]:
            # Most projects have no such line, and the import takes a millisecond.
            parse = getattr(import_module(f"circle_migrate.config.{module}"), function)
            try:
                parsed.append(parse(line, self.names, *arguments))
            except UsageError as error:
                subject = self.provenance.origins[name].subject
                self.provenance.problem(f"{subject}: {error.message}", hint=error.hint or "")
        return tuple(parsed)

    def _revisions(self, known: KnownDatabase) -> Locations:
        name = f"{known.prefix}revisions"
        root, table = self.provenance.project_root, self.provenance.alembic
        origin = self.provenance.origins.get(name)
        if origin is None and known.revisions:  # relative to this file: faster than to search for it
            return Locations((Path(__file__).parents[1] / known.revisions.partition(":")[2],))
        from circle_migrate.config.alembic_ini import INI_FILE, locate, locate_section

        file = root / "alembic.ini"
        if origin is None and not file.exists() and "script_location" not in table:
            self.provenance.problem(
                f"{root / 'pyproject.toml'} [tool.circle-migrate.databases.{known.name}] has no `revisions`,"
                f" and there is no {file}",
                hint='write revisions = "FOLDER"',
            )
            return Locations(())
        resolve = self.packages.folder
        folder, subject = (origin.folder, origin.subject) if origin else (root, "")
        value = (self.values[name] or ()) if origin else "alembic.ini"
        places = []
        for text in map(str.strip, value.splitlines() if isinstance(value, str) else value):
            try:
                match = INI_FILE.fullmatch(text)
                named = root if match else resolve(text, folder, subject)
                if match:
                    sections = (match["section"],) if match["section"] else (known.name, "alembic")
                    place = locate_section(folder / match["file"], sections, table, resolve)
                else:
                    place = locate(named, root, table, resolve)
                ini = None if match and origin else place.ini  # one that no setting names
                if ini and (error := foreign_error(ini, ini, self.environ, named.stat().st_uid)):
                    raise error
                places.append(place)
            except SettingsError as problem:
                problem.database = known.name
                self.provenance.problems.append(problem)
        folders = dict.fromkeys(folder for place in places for folder in place.folders)
        ini = places[0].ini if places else None
        return Locations(tuple(folders), any(place.recursive for place in places), ini)

    def _relations(self) -> str | None:
        """Return the reference to the relations; the default applies only to the package's own revisions."""
        origins = self.provenance.origins
        own = {known.revisions for known in self.known if f"{known.prefix}revisions" not in origins}
        if "relations" not in origins and not own >= {known.revisions for known in PLATFORM}:
            return None
        return self._attribute("relations")

    def _attribute(self, name: str) -> str | None:
        """Return a setting that refers to an attribute of a module, after a check."""
        origin = self.provenance.origins.get(name)
        text: str | None = self.values[name]
        if origin and text:
            self._check(self.packages.check_attribute, text, origin)
        return text

    def _check(self, check: Callable[[str, str], None], text: str, origin: Origin) -> None:
        try:
            check(text, origin.subject)
        except SettingsError as error:
            self.provenance.problems.append(error)

    def _path(self, name: str) -> Path | None:
        path: Path | None = self.values[name]
        return path and self.provenance.origins[name].folder / path.expanduser()

    def _source(self, name: str) -> str:
        origin = self.provenance.origins.get(name)
        return origin.label if origin else "default"

    def _value(self, name: str, value: object) -> Value:
        return Value(name.replace("_", "-"), _format(value), self._source(name))

    def _list_urls(self, databases: tuple[DatabaseSettings, ...], *, embedded: bool) -> Iterator[Value]:
        for known, database in zip(self.known, databases, strict=True):
            unused = "not used: embedded" if embedded and known.url_field in self.provenance.origins else None
            yield self._value(known.url_field, database.url.display() if database.url else unused)

    def _list_database_settings(self, databases: tuple[DatabaseSettings, ...]) -> Iterator[Value]:
        for known, database in zip(self.known, databases, strict=True):
            for name in DATABASE_FIELDS:
                source = self._source(known.prefix + name)
                key = f"databases.{database.name}.{name.replace('_', '-')}"
                value = getattr(database, name)
                shown = "; ".join(map(str, value)) if isinstance(value, tuple) else value
                yield Value(key, _format(shown), database.protected_by if name == "protected" else source)


def _format(value: object) -> str:
    if value is None:
        return "not set"
    return redact(str(value).lower() if isinstance(value, bool) else str(value))
