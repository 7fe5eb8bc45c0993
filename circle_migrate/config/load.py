"""`load`: from what was gathered to `Settings`, with every contradiction refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from circle_migrate.config.databases import DATABASES, KnownDatabase
from circle_migrate.config.fields import DATABASE_FIELDS
from circle_migrate.config.object_reference import ObjectResolver
from circle_migrate.config.provenance import DEFAULT_SECRETS, read_text
from circle_migrate.config.settings import DatabaseSettings, Settings, Value
from circle_migrate.config.url.address import Address
from circle_migrate.config.url.parse import has_password, parse
from circle_migrate.core.errors import SettingsError, UsageError
from circle_migrate.core.redaction import redact

if TYPE_CHECKING:
    from circle_migrate.config.assumed_size import SizeAssumption
    from circle_migrate.config.collect import RawSettings
    from circle_migrate.config.ignore_rule import IgnoreRule

_EMBEDDED_DATA = Path(".circle-migrate") / "postgres"
_NOT_SET = "not set"
_NAMES = tuple(known.name for known in DATABASES)

T = TypeVar("T")


def load(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    hazard_ids: Callable[[], Collection[str] | None] = lambda: None,
) -> Settings:
    """Read all settings; `flags` by field name (`database_url`, `lock_wait`), None for one not given.

    `hazard_ids` returns the ids that `safety_ignore` may name, None for any.

    Raises one SettingsError that lists every problem and no secret. A missing URL is none: it is
    raised by `DatabaseSettings.address`.
    """
    from circle_migrate.config.collect import collect

    gathered = collect(flags or {}, environ, (cwd or Path.cwd()).resolve())
    return SettingsLoader(gathered, environ, hazard_ids).settings()


class SettingsLoader:
    def __init__(
        self,
        gathered: RawSettings,
        environ: Mapping[str, str],
        hazard_ids: Callable[[], Collection[str] | None],
    ) -> None:
        self.gathered, self.environ, self.hazard_ids = gathered, environ, hazard_ids

    def settings(self) -> Settings:
        values = self.gathered.values
        packages = ObjectResolver(self.gathered.project_root)
        embedded, embedded_source = self._embedded()
        databases = tuple(self._database(known, packages, embedded=embedded) for known in DATABASES)
        scratch_url = self._scratch_url()
        diff_ignore, safety_ignore = self._ignore_rules()
        assumptions = self._assumptions()
        relations = self._relations(packages)
        self.gathered.provenance.raise_problems()
        data = self._path("embedded_data") or self.gathered.project_root / _EMBEDDED_DATA
        programs = self._path("pg_bin")
        shown = (
            *self._shown_urls(databases, embedded=embedded),
            Value("embedded", _shown(embedded), embedded_source),
            self._value("embedded_data", data),
            self._value("lock_wait", f"{values['lock_wait']:g} s"),
            self._value("lock_timeout", f"{values['lock_timeout']:g} s"),
            *(self._value(name, values[name]) for name in ("atomic", "transaction", "protected")),
            self._value("scratch_url", scratch_url.display() if scratch_url else None),
            self._value("scratch_on_target", values["scratch_on_target"]),
            self._value("diff_ignore", "; ".join(rule.text for rule in diff_ignore) or None),
            self._value("safety", values["safety"]),
            *(
                self._value(name, "; ".join(values[name]) or None)
                for name in ("safety_ignore", "safety_tables")
            ),
            *(self._value(name, values[name]) for name in ("safety_rows", "safety_bytes")),
            self._value("relations", relations),
            self._value("pg_bin", programs),
            self._value("secrets_dir", self._path("secrets_dir") or DEFAULT_SECRETS),
            *self._shown_tables(databases),
        )
        return Settings(
            databases=databases,
            embedded=embedded,
            embedded_data=data,
            lock_wait=values["lock_wait"],
            lock_timeout=values["lock_timeout"],
            atomic=values["atomic"],
            transaction=values["transaction"],
            scratch_url=scratch_url,
            scratch_on_target=values["scratch_on_target"],
            diff_ignore=diff_ignore,
            safety=values["safety"],
            safety_ignore=safety_ignore,
            safety_tables=assumptions,
            safety_rows=values["safety_rows"],
            safety_bytes=values["safety_bytes"],
            pg_bin=programs,
            relations=relations,
            project_root=self.gathered.project_root,
            values=shown,
            notes=(
                *(f"{folder} was added to sys.path" for folder in packages.added),
                *self.gathered.provenance.unknown,
            ),
            warnings=tuple(self.gathered.provenance.misspelt),
        )

    def _embedded(self) -> tuple[bool, str]:
        """Whether to use the embedded server, and what decided it; both it and a URL are a contradiction.

        Between two different places only a flag decides: a deployment must never quietly reach
        another database than the one it names.
        """
        record = self.gathered.provenance
        origin = record.origins.get("embedded")
        if origin is None or not self.gathered.values["embedded"]:
            return False, origin.label if origin else "default"
        urls = [record.origins[known.url_field] for known in DATABASES if known.url_field in record.origins]
        flagged = [url for url in urls if url.is_flag]
        if flagged and not origin.is_flag:
            return False, flagged[0].label
        rivals = flagged if origin.is_flag else urls
        if rivals:
            record.problem(
                f"{origin.subject} and {rivals[0].subject} contradict each other",
                hint="keep one of them: the embedded server, or the URLs",
            )
        return True, origin.label

    def _database(
        self, known: KnownDatabase, packages: ObjectResolver, *, embedded: bool
    ) -> DatabaseSettings:
        values = self.gathered.values
        return DatabaseSettings(
            name=known.name,
            url=None if embedded else self._address(known),
            revisions=self._revisions(known, packages),
            models=self._attribute(f"{known.name}_models", packages),
            version_table=values[f"{known.name}_version_table"],
            version_table_schema=values[f"{known.name}_version_table_schema"],
            search_path=values[f"{known.name}_search_path"],
            profile=values[f"{known.name}_profile"],
            protected=values[self._protecting(known.name)],
            protected_by=self._source(self._protecting(known.name)),
            url_variable=known.url_variable,
        )

    def _protecting(self, database: str) -> str:
        """The setting that says whether a database is protected: its own, or else the one for all."""
        own = f"{database}_protected"
        return own if own in self.gathered.provenance.origins else "protected"

    def _address(self, known: KnownDatabase) -> Address | None:
        origin = self.gathered.provenance.origins.get(known.url_field)
        text = self.gathered.values[known.url_field]
        if origin is None or not text:
            return None
        try:
            if origin.file:
                text = read_text(origin.file, origin.subject)
            return parse(text, source=origin.subject, environ=self.environ)
        except SettingsError as error:
            error.database = known.name
            self.gathered.provenance.problems.append(error)
            return None

    def _scratch_url(self) -> Address | None:
        origin = self.gathered.provenance.origins.get("scratch_url")
        text = self.gathered.values["scratch_url"]
        if origin is None or not text:
            return None
        try:
            if origin.is_shared and has_password(text):
                raise SettingsError(
                    f"{origin.subject} has a password, which does not belong into a file under version control",
                    hint="set CIRCLE_MIGRATE_SCRATCH_URL in the environment or in .env",
                )
            return parse(text, source=origin.subject, environ=self.environ)
        except SettingsError as error:
            self.gathered.provenance.problems.append(error)
            return None

    def _ignore_rules(self) -> tuple[tuple[IgnoreRule, ...], tuple[IgnoreRule, ...]]:
        """The rules about differences and those about hazards."""
        if not self.gathered.values["diff_ignore"] and not self.gathered.values["safety_ignore"]:
            return (), ()
        from circle_migrate.config.ignore_rule import parse_difference_rule, parse_hazard_rule

        known = self.hazard_ids() if self.gathered.values["safety_ignore"] else None
        return (
            self._parsed("diff_ignore", lambda text: parse_difference_rule(text, _NAMES)),
            self._parsed("safety_ignore", lambda text: parse_hazard_rule(text, _NAMES, known)),
        )

    def _assumptions(self) -> tuple[SizeAssumption, ...]:
        if not self.gathered.values["safety_tables"]:
            return ()
        from circle_migrate.config.assumed_size import parse_assumption

        return self._parsed("safety_tables", lambda text: parse_assumption(text, _NAMES))

    def _parsed(self, name: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        """The lines of a setting that `parse` understands; the others are put on record."""
        record = self.gathered.provenance
        found = []
        for text in self.gathered.values[name]:
            try:
                found.append(parse(text))
            except UsageError as error:
                record.problem(f"{record.origins[name].subject}: {error.message}", hint=error.hint or "")
        return tuple(found)

    def _revisions(self, known: KnownDatabase, packages: ObjectResolver) -> Path:
        name = f"{known.name}_revisions"
        origin = self.gathered.provenance.origins.get(name)
        if origin is None:
            # Not looked up: the package's own folder is where this file is.
            return Path(__file__).parents[1] / known.revisions.partition(":")[2]
        try:
            return packages.folder(self.gathered.values[name], origin.folder, origin.subject)
        except SettingsError as error:
            self.gathered.provenance.problems.append(error)
            return origin.folder

    def _relations(self, packages: ObjectResolver) -> str | None:
        """The relations; the package's own hold for its own revisions only."""
        origins = self.gathered.provenance.origins
        if "relations" not in origins and any(f"{known.name}_revisions" in origins for known in DATABASES):
            return None
        return self._attribute("relations", packages)

    def _attribute(self, name: str, packages: ObjectResolver) -> str:
        """A setting that names something in a module."""
        origin = self.gathered.provenance.origins.get(name)
        text: str = self.gathered.values[name]
        if origin:
            try:
                packages.check_attribute(text, origin.subject)
            except SettingsError as error:
                self.gathered.provenance.problems.append(error)
        return text

    def _path(self, name: str) -> Path | None:
        path: Path | None = self.gathered.values[name]
        return path and self.gathered.provenance.origins[name].folder / path.expanduser()

    def _source(self, name: str) -> str:
        origin = self.gathered.provenance.origins.get(name)
        return origin.label if origin else "default"

    def _value(self, name: str, value: object) -> Value:
        return Value(name.replace("_", "-"), _shown(value), self._source(name))

    def _shown_urls(self, databases: tuple[DatabaseSettings, ...], *, embedded: bool) -> Iterator[Value]:
        for known, database in zip(DATABASES, databases, strict=True):
            unused = (
                "not used: embedded"
                if embedded and known.url_field in self.gathered.provenance.origins
                else None
            )
            yield self._value(known.url_field, database.url.display() if database.url else unused)

    def _shown_tables(self, databases: tuple[DatabaseSettings, ...]) -> Iterator[Value]:
        for database in databases:
            for name in DATABASE_FIELDS:
                source = (
                    database.protected_by if name == "protected" else self._source(f"{database.name}_{name}")
                )
                key = f"databases.{database.name}.{name.replace('_', '-')}"
                yield Value(key, _shown(getattr(database, name)), source)


def _shown(value: object) -> str:
    if value is None:
        return _NOT_SET
    return redact(str(value).lower() if isinstance(value, bool) else str(value))
