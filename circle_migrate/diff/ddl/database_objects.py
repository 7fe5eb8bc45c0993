"""What stands alone: schemas, extensions, publications, settings, and the rarer kinds."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.diff.ddl.identifiers import listed
from circle_migrate.diff.ddl.kind import (
    ENABLED,
    Commands,
    ObjectChange,
    ObjectKind,
    alter,
    clause,
    from_template,
)
from circle_migrate.diff.ddl.privilege import Grantable, change, default, parse, sql_role
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import literal, split_identity


def _create_extension(step: ObjectChange) -> Commands:
    version = literal(step.after.get("version") or "")
    yield f"CREATE EXTENSION {step.key.identity} WITH SCHEMA {step.after.get('schema')} VERSION {version}"


def _update_extension(step: ObjectChange) -> Commands:
    yield f"{alter(step)} UPDATE TO {literal(step.after.get('version') or '')}"


def _create_event_trigger(step: ObjectChange) -> Commands:
    fields = step.after
    tags = ", ".join(literal(tag) for tag in listed(fields.get("tags")))
    when = f" WHEN TAG IN ({tags})" if tags else ""
    head = f"CREATE EVENT TRIGGER {step.key.identity} ON {fields.get('event')}{when}"
    yield f"{head} EXECUTE FUNCTION {fields.get('function')}"


def _enable_event_trigger(step: ObjectChange) -> Commands:
    yield f"{alter(step)} {ENABLED[step.after.get('enabled') or 'origin']}"


def _published(fields: Fields) -> str:
    tables = [f"TABLE {table}" for table in listed(fields.get("tables"))]
    return ", ".join(tables + [f"TABLES IN SCHEMA {schema}" for schema in listed(fields.get("schemas"))])


def _parameters(fields: Fields) -> str:
    clauses = [f"publish = {literal(fields.get('operations') or '')}"]
    clauses.append(f"publish_via_partition_root = {'true' if fields.get('via_root') else 'false'}")
    if fields.get("generated_columns"):
        clauses.append(f"publish_generated_columns = {fields['generated_columns']}")
    return ", ".join(clauses)


def _create_publication(step: ObjectChange) -> Commands:
    what = "ALL TABLES" if step.after.get("all_tables") else _published(step.after)
    target = f" FOR {what}" if what else ""
    yield f"CREATE PUBLICATION {step.key.identity}{target} WITH ({_parameters(step.after)})"


def _change_parameters(step: ObjectChange) -> Commands:
    clauses = _parameters(step.after)
    if step.before.get("generated_columns") and not step.after.get("generated_columns"):
        clauses += ", publish_generated_columns = none"
    yield f"{alter(step)} SET ({clauses})"


def _change_published(step: ObjectChange) -> Commands:
    published = _published(step.after)
    if published:
        yield f"{alter(step)} SET {published}"
    elif _published(step.before):
        yield f"{alter(step)} DROP {_published(step.before)}"


def _setting(key: ObjectKey) -> tuple[str, str]:
    """Where a setting holds, and its name."""
    role, name = split_identity(key.identity)[0], ".".join(split_identity(key.identity)[1:])
    return ("" if role == "database" else role), name


_LISTS = {"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"}


def _set(step: ObjectChange) -> Commands:
    _, name = _setting(step.key)
    value = step.after.get("value") or ""
    yield _for_database(step.key, f"SET {name} = {value if name in _LISTS and value else literal(value)}")


def _reset(step: ObjectChange) -> Commands:
    yield _for_database(step.key, f"RESET {_setting(step.key)[1]}")


def _for_database(key: ObjectKey, change: str) -> str:
    """In a block, because the database has another name wherever the script runs."""
    role, _ = _setting(key)
    head = f"ALTER ROLE {sql_role(role)} IN DATABASE %I " if role else "ALTER DATABASE %I "
    command = literal(head + change.replace("%", "%%"))
    return f"DO $do$BEGIN EXECUTE format({command}, current_database()); END$do$"


def _new_default_privileges(step: ObjectChange) -> Commands:
    return _privileges(step.key, None, step.after.get("acl"), step.major)


def _default_privileges(step: ObjectChange) -> Commands:
    return _privileges(step.key, *step.change("acl"), step.major)


_GRANTED = {
    "tables": "TABLE",
    "sequences": "SEQUENCE",
    "functions": "FUNCTION",
    "types": "TYPE",
    "schemas": "SCHEMA",
    "large objects": "LARGE OBJECT",
}


def _privileges(key: ObjectKey, before: str | None, after: str | None, major: int) -> Iterator[str]:
    """From and to what there is without: for all schemas the built-in privileges, for one of them none."""
    role, *schema, noun = split_identity(key.identity)
    place = f" IN SCHEMA {schema[0]}" if schema else ""
    head = f"ALTER DEFAULT PRIVILEGES FOR ROLE {sql_role(role)}{place}"
    had, has = (
        default(_GRANTED[noun], role, major) if acl is None and not schema else parse(acl)
        for acl in (before, after)
    )
    return (f"{head} {command}" for command in change(Grantable(noun.upper(), ""), had, has))


SCHEMA = ObjectKind(
    "SCHEMA",
    create=from_template("CREATE SCHEMA {0}"),
    covers=frozenset(),
    grant="SCHEMA",
    drop_hazards=("CM013",),
)
EXTENSION = ObjectKind(
    "EXTENSION",
    create=_create_extension,
    covers=frozenset({"version", "schema"}),
    alters={"version": _update_extension, "schema": clause("schema", "SET SCHEMA {}", "")},
    drop_hazards=("CM035",),
    owned=False,
)
EVENT_TRIGGER = ObjectKind(
    "EVENT TRIGGER",
    create=_create_event_trigger,
    covers=frozenset({"event", "tags", "function"}),
    alters={"enabled": _enable_event_trigger},
    born={"enabled": "origin"},
)
PUBLICATION = ObjectKind(
    "PUBLICATION",
    create=_create_publication,
    drop_hazards=("CM035",),
    covers=frozenset({"all_tables", "operations", "via_root", "generated_columns", "tables", "schemas"}),
    alters={
        **dict.fromkeys(("operations", "via_root", "generated_columns"), _change_parameters),
        **dict.fromkeys(("tables", "schemas"), _change_published),
    },
)
SETTING = ObjectKind(
    "SETTING", create=_set, drop=_reset, covers=frozenset({"value"}), alters={"value": _set}, owned=False
)
DEFAULT_PRIVILEGES = ObjectKind(
    "DEFAULT PRIVILEGES",
    create=_new_default_privileges,
    drop=_default_privileges,
    covers=frozenset({"acl"}),
    alters={"acl": _default_privileges},
    follows=frozenset({"role"}),
    owned=False,
)
