"""Kinds apart from tables, types and routines: schemas, extensions, foreign data, text search, settings."""

from collections.abc import Iterator

from circle_migrate.diff.ddl.attributes import grant_commands, parse_acl, parse_or_default, sql_role
from circle_migrate.diff.ddl.kind import Commands, ObjectChange, ObjectKind, alter, change_options, clause
from circle_migrate.diff.ddl.statement import ENABLED, HIDDEN, optional_clauses, split_field, with_options
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import literal, quote, setting_value, split_identity


def _create_extension(change: ObjectChange) -> Commands:
    version = literal(change.after.get("version") or "")
    yield f"CREATE EXTENSION {change.key.identity} WITH SCHEMA {change.after.get('schema')} VERSION {version}"


def _create_event_trigger(change: ObjectChange) -> Commands:
    fields = change.after
    tags = ", ".join(map(literal, split_field(fields.get("tags"))))
    when = f" WHEN TAG IN ({tags})" if tags else ""
    head = f"CREATE EVENT TRIGGER {change.key.identity} ON {fields.get('event')}{when}"
    yield f"{head} EXECUTE FUNCTION {fields.get('function')}"


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


def _set(change: ObjectChange) -> Commands:
    """Write a DO block, because the script runs in databases of other names."""
    role = split_identity(change.key.identity)[0]
    name = change.key.identity[len(role) + 1 :]
    setting = ".".join(part if part.isidentifier() else quote(part) for part in name.split("."))
    value = setting_value(name, change.after.get("value") or "")
    action = f"SET {setting} = {value}" if change.after else f"RESET {setting}"
    head = "DATABASE %I" if role == "database" else f"ROLE {sql_role(role)} IN DATABASE %I"
    command = literal(f"ALTER {head} {action.replace('%', '%%')}")
    block = f"BEGIN EXECUTE format({command}, current_database()); END"
    yield f"DO {literal(block)}" if "$do$" in block else f"DO $do${block}$do$"


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
    alters={
        "enabled": lambda change: [f"{alter(change)} {ENABLED[change.after.get('enabled') or 'origin']}"]
    },
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


def _create_server(change: ObjectChange) -> Commands:
    fields = change.after
    clauses = [f"CREATE SERVER {change.key.identity}"]
    clauses += optional_clauses(fields, {"type": "TYPE {1}", "version": "VERSION {1}"})
    clauses += [f"FOREIGN DATA WRAPPER {fields.get('wrapper')}", *with_options(fields, foreign=True)]
    yield " ".join(clauses)


def _create_wrapper(change: ObjectChange) -> Commands:
    definition = " ".join(split_field(change.after.get("definition")))
    head = f"CREATE FOREIGN DATA WRAPPER {change.key.identity} {definition}"
    yield " ".join([head, *with_options(change.after, foreign=True)])


def _change_wrapper(change: ObjectChange) -> Commands:
    before, after = (
        dict(line.split(" ", 1) for line in split_field(text)) for text in change.values("definition")
    )
    clauses = [f"{option} {function}" for option, function in after.items() if before.get(option) != function]
    clauses += [f"NO {option}" for option in before if option not in after]
    yield f"{alter(change)} {' '.join(clauses)}"


def _create_collation(change: ObjectChange) -> Commands:
    fields = change.after
    locale, slash, ctype = (fields.get("locale") or "").partition(" / ")
    both = f"LC_COLLATE = {literal(locale)}, LC_CTYPE = {literal(ctype)}"
    clauses = [f"PROVIDER = {fields.get('provider')}", both if slash else f"LOCALE = {literal(locale)}"]
    if fields.get("deterministic") == "no":
        clauses.append("DETERMINISTIC = false")
    clauses += optional_clauses(fields, {"rules": "RULES = {1}"})
    yield f"CREATE COLLATION {change.key.identity} ({', '.join(clauses)})"


def _create_operator(change: ObjectChange) -> Commands:
    name, _, arguments = change.key.identity.rpartition("(")
    types = zip(("LEFTARG", "RIGHTARG"), arguments.rstrip(")").split(", "), strict=True)
    clauses = [f"{argument} = {type_}" for argument, type_ in types if type_ != "NONE"]
    for line in split_field(change.after.get("definition")):
        option, equals, value = line.partition(" = ")
        function = value.partition("(")[0]
        if option.endswith("ATOR"):  # COMMUTATOR, NEGATOR
            function = f"OPERATOR({function})"
        clauses.append(f"{option} = {function}" if equals else option)
    yield f"CREATE OPERATOR {name} ({', '.join(clauses)})"


def _hidden_options(change: ObjectChange) -> str | None:
    before, after = change.existing.value(change.key, "options"), change.after.get("options")
    hidden = {line for line in split_field(after) if HIDDEN in line}
    return "secret options" if hidden - {*split_field(before)} else None


def _create_conversion(change: ObjectChange) -> Commands:
    definition = change.after.get("definition") or ""
    default = "DEFAULT " if definition.startswith("DEFAULT ") else ""
    yield f"CREATE {default}CONVERSION {change.key.identity} {definition.removeprefix(default)}"


def _create_language(change: ObjectChange) -> Commands:
    definition = split_field(change.after.get("definition"))
    trusted = "TRUSTED " if "TRUSTED" in definition else ""
    clauses = " ".join(line for line in definition if line != "TRUSTED")
    yield f"CREATE {trusted}LANGUAGE {change.key.identity} {clauses}"


def _create_configuration(change: ObjectChange) -> Commands:
    parser, *mappings = split_field(change.after.get("definition"))
    name = f"TEXT SEARCH CONFIGURATION {change.key.identity}"
    yield f"CREATE {name} (PARSER = {parser.removeprefix('PARSER ')})"
    for mapping in mappings:
        token, _, dictionaries = mapping.partition(": ")
        yield f"ALTER {name} ADD MAPPING FOR {token} WITH {dictionaries}"


def drop_only(noun: str) -> ObjectKind:
    """Return a kind whose objects can be dropped, but not created from a snapshot."""
    return ObjectKind(noun, create=lambda _change: [], covers=frozenset(), can_create=False)


def _mapping_name(key: ObjectKey, _fields: Fields) -> str:
    server, role = split_identity(key.identity)
    return f"FOR {sql_role(role)} SERVER {server}"


USER_MAPPING = ObjectKind(
    "USER MAPPING",
    create=lambda change: [f"CREATE USER MAPPING {_mapping_name(change.key, change.after)}"],
    covers={"options"},
    alters={"options": lambda _change: []},
    name=_mapping_name,
    unsupported=_hidden_options,
)
FOREIGN_DATA_WRAPPER = ObjectKind(
    "FOREIGN DATA WRAPPER",
    create=_create_wrapper,
    covers={"definition", "options"},
    alters={"definition": _change_wrapper, "options": change_options},
    grant="FOREIGN DATA WRAPPER",
)
FOREIGN_SERVER = ObjectKind(
    "SERVER",
    create=_create_server,
    covers={"wrapper", "type", "version", "options"},
    alters={"options": change_options, "version": clause("version", "VERSION {1}", "VERSION NULL")},
    grant="FOREIGN SERVER",
    unsupported=_hidden_options,
)
COLLATION = ObjectKind(
    "COLLATION",
    create=_create_collation,
    covers={"provider", "locale", "deterministic", "rules"},
    follows={"version"},
    unsupported=lambda change: (
        "version" if change.differs("version") and change.before.get("version") else None
    ),
)
CAST = ObjectKind("CAST", create="({0}) {1}", name=lambda key, _fields: f"({key.identity})")
OPERATOR = ObjectKind("OPERATOR", create=_create_operator)
CONVERSION = ObjectKind("CONVERSION", create=_create_conversion)
LANGUAGE = ObjectKind("LANGUAGE", create=_create_language, grant="LANGUAGE")
TRANSFORM = ObjectKind("TRANSFORM", create="{0} ({1})")
CONFIGURATION = ObjectKind("TEXT SEARCH CONFIGURATION", create=_create_configuration)
