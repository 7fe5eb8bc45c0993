"""Rarely used kinds: foreign data, collations, operators, text search, languages."""

from __future__ import annotations

from dataclasses import replace

from circle_migrate.diff.ddl.attributes import sql_role
from circle_migrate.diff.ddl.clauses import optional_clauses, split_field, with_options
from circle_migrate.diff.ddl.kind import Commands, ObjectChange, ObjectKind, alter, change_options, clause
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import literal, split_identity


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
    clauses = [f"PROVIDER = {fields.get('provider')}"]
    clauses.append(
        f"LC_COLLATE = {literal(locale)}, LC_CTYPE = {literal(ctype)}"
        if slash
        else f"LOCALE = {literal(locale)}"
    )
    if fields.get("deterministic") == "no":
        clauses.append("DETERMINISTIC = false")
    clauses += optional_clauses(fields, {"rules": "RULES = {1}"})
    yield f"CREATE COLLATION {change.key.identity} ({', '.join(clauses)})"


def _unsupported_version(change: ObjectChange) -> str | None:
    return "version" if change.differs("version") and change.before.get("version") else None


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
    hidden = change.differs("options") and "=<hidden>" in (change.after.get("options") or "")
    return "secret options" if hidden else None


def _create_conversion(change: ObjectChange) -> Commands:
    definition = change.after.get("definition") or ""
    default = "DEFAULT " if definition.startswith("DEFAULT ") else ""
    yield f"CREATE {default}CONVERSION {change.key.identity} {definition.removeprefix(default)}"


def _create_language(change: ObjectChange) -> Commands:
    definition = split_field(change.after.get("definition"))
    trusted = "TRUSTED " if "TRUSTED" in definition else ""
    clauses = " ".join(line for line in definition if line != "TRUSTED")
    yield f"CREATE {trusted}LANGUAGE {change.key.identity} {clauses}"


def _create_transform(change: ObjectChange) -> Commands:
    definition = (change.after.get("definition") or "").replace(" SQL ", " SQL WITH FUNCTION ")
    yield f"CREATE TRANSFORM {change.key.identity} ({definition})"


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


USER_MAPPING = replace(drop_only("USER MAPPING"), name=_mapping_name)
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
    unsupported=_unsupported_version,
)
CAST = ObjectKind("CAST", create="({0}) {1}", name=lambda key, _fields: f"({key.identity})")
OPERATOR = ObjectKind("OPERATOR", create=_create_operator)
CONVERSION = ObjectKind("CONVERSION", create=_create_conversion)
LANGUAGE = ObjectKind("LANGUAGE", create=_create_language, grant="LANGUAGE")
TRANSFORM = ObjectKind("TRANSFORM", create=_create_transform)
CONFIGURATION = ObjectKind("TEXT SEARCH CONFIGURATION", create=_create_configuration)
