"""Schemas, extensions, event triggers, publications, settings, default privileges."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.diff.ddl.attributes import grant_commands, parse_acl, parse_or_default, sql_role
from circle_migrate.diff.ddl.clauses import ENABLED, split_field
from circle_migrate.diff.ddl.kind import Commands, ObjectChange, ObjectKind, alter, clause
from circle_migrate.postgres.catalog.snapshot import Fields
from circle_migrate.postgres.identifier import literal, split_identity


def _create_extension(change: ObjectChange) -> Commands:
    version = literal(change.after.get("version") or "")
    yield f"CREATE EXTENSION {change.key.identity} WITH SCHEMA {change.after.get('schema')} VERSION {version}"


def _create_event_trigger(change: ObjectChange) -> Commands:
    fields = change.after
    tags = ", ".join(map(literal, split_field(fields.get("tags"))))
    when = f" WHEN TAG IN ({tags})" if tags else ""
    head = f"CREATE EVENT TRIGGER {change.key.identity} ON {fields.get('event')}{when}"
    yield f"{head} EXECUTE FUNCTION {fields.get('function')}"


def _enable_event_trigger(change: ObjectChange) -> Commands:
    yield f"{alter(change)} {ENABLED[change.after.get('enabled') or 'origin']}"


def _published_objects(fields: Fields) -> str:
    tables = [f"TABLE {table}" for table in split_field(fields.get("tables"))]
    return ", ".join(tables + [f"TABLES IN SCHEMA {schema}" for schema in split_field(fields.get("schemas"))])


def _publication_parameters(fields: Fields) -> str:
    parameters = [f"publish = {literal(fields.get('operations') or '')}"]
    parameters.append(f"publish_via_partition_root = {'true' if fields.get('via_root') else 'false'}")
    if fields.get("generated_columns"):
        parameters.append(f"publish_generated_columns = {fields['generated_columns']}")
    return ", ".join(parameters)


def _create_publication(change: ObjectChange) -> Commands:
    objects = "ALL TABLES" if change.after.get("all_tables") else _published_objects(change.after)
    target = f" FOR {objects}" if objects else ""
    yield f"CREATE PUBLICATION {change.key.identity}{target} WITH ({_publication_parameters(change.after)})"


def _change_publication_parameters(change: ObjectChange) -> Commands:
    parameters = _publication_parameters(change.after)
    if change.before.get("generated_columns") and not change.after.get("generated_columns"):
        parameters += ", publish_generated_columns = none"
    yield f"{alter(change)} SET ({parameters})"


def _change_published_objects(change: ObjectChange) -> Commands:
    before, after = _published_objects(change.before), _published_objects(change.after)
    if before or after:
        yield f"{alter(change)} {f'SET {after}' if after else f'DROP {before}'}"


_LIST_PARAMETERS = {"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"}


def _set(change: ObjectChange) -> Commands:
    """Write a DO block, because the script runs in databases of other names."""
    role, *parts = split_identity(change.key.identity)
    name, value = ".".join(parts), change.after.get("value") or ""
    sql_value = value if name in _LIST_PARAMETERS and value else literal(value)
    action = f"SET {name} = {sql_value}" if change.after else f"RESET {name}"
    head = "DATABASE %I" if role == "database" else f"ROLE {sql_role(role)} IN DATABASE %I"
    command = literal(f"ALTER {head} {action.replace('%', '%%')}")
    yield f"DO $do$BEGIN EXECUTE format({command}, current_database()); END$do$"


def _alter_default_privileges(change: ObjectChange) -> Iterator[str]:
    """Without an entry, all schemas have the built-in privileges and one schema has no additional ones."""
    role, *schema, noun = split_identity(change.key.identity)
    in_schema = f" IN SCHEMA {schema[0]}" if schema else ""
    head = f"ALTER DEFAULT PRIVILEGES FOR ROLE {sql_role(role)}{in_schema}"
    kind = noun.removesuffix("s").upper()
    before, after = (
        parse_acl(acl) if schema else parse_or_default(acl, kind, role, change.major)
        for acl in change.values("acl")
    )
    return (f"{head} {command}" for command in grant_commands(noun.upper(), before, after))


SCHEMA = ObjectKind("SCHEMA", create="{0}", covers=frozenset(), grant="SCHEMA", drop_hazards=("CM013",))
EXTENSION = ObjectKind(
    "EXTENSION",
    create=_create_extension,
    covers={"version", "schema"},
    alters={
        "version": clause("version", "UPDATE TO {1}", "UPDATE TO ''"),
        "schema": clause("schema", "SET SCHEMA {}", ""),
    },
    drop_hazards=("CM035",),
)
EVENT_TRIGGER = ObjectKind(
    "EVENT TRIGGER",
    create=_create_event_trigger,
    covers={"event", "tags", "function"},
    alters={"enabled": _enable_event_trigger},
    defaults={"enabled": "origin"},
)
PUBLICATION = ObjectKind(
    "PUBLICATION",
    create=_create_publication,
    drop_hazards=("CM035",),
    covers={"all_tables", "operations", "via_root", "generated_columns", "tables", "schemas"},
    alters={
        **dict.fromkeys(("operations", "via_root", "generated_columns"), _change_publication_parameters),
        **dict.fromkeys(("tables", "schemas"), _change_published_objects),
    },
)
SETTING = ObjectKind("SETTING", create=_set, drop=_set, covers={"value"}, alters={"value": _set})
DEFAULT_PRIVILEGES = ObjectKind(
    "DEFAULT PRIVILEGES",
    create=lambda _change: [],
    drop=_alter_default_privileges,
    covers=frozenset(),
    alters={"acl": _alter_default_privileges},
    follows={"role"},
)
