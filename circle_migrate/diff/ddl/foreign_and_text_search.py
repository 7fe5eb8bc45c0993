"""The kinds that few databases have: foreign data, collations, operators, text search, languages."""

from __future__ import annotations

from collections.abc import Callable

from circle_migrate.diff.ddl.column import foreign_options, option_changes
from circle_migrate.diff.ddl.identifiers import listed, valued
from circle_migrate.diff.ddl.kind import Commands, ObjectChange, ObjectKind, from_template, plain_name
from circle_migrate.diff.ddl.privilege import sql_role
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import literal, split_identity


def _create_server(step: ObjectChange) -> Commands:
    fields = step.after
    type_ = f" TYPE {literal(fields['type'] or '')}" if fields.get("type") else ""
    version = f" VERSION {literal(fields['version'] or '')}" if fields.get("version") else ""
    yield (
        f"CREATE SERVER {step.key.identity}{type_}{version} FOREIGN DATA WRAPPER {fields.get('wrapper')}"
        f"{_options(fields)}"
    )


def _options(fields: Fields) -> str:
    named = valued(fields.get("options"))
    return f" {foreign_options(named)}" if named else ""


def _create_wrapper(step: ObjectChange) -> Commands:
    definition = " ".join(listed(step.after.get("definition")))
    yield f"CREATE FOREIGN DATA WRAPPER {step.key.identity} {definition}{_options(step.after)}"


def _change_wrapper(step: ObjectChange) -> Commands:
    before, after = (dict(line.split(" ", 1) for line in listed(text)) for text in step.change("definition"))
    changes = [f"{word} {function}" for word, function in after.items() if before.get(word) != function]
    changes += [f"NO {word}" for word in before if word not in after]
    yield f"ALTER FOREIGN DATA WRAPPER {step.key.identity} {' '.join(changes)}"


def _create_collation(step: ObjectChange) -> Commands:
    fields = step.after
    locale, slash, ctype = (fields.get("locale") or "").partition(" / ")
    clauses = [f"PROVIDER = {fields.get('provider')}"]
    one, other = literal(locale), literal(ctype)
    clauses.append(f"LC_COLLATE = {one}, LC_CTYPE = {other}" if slash else f"LOCALE = {one}")
    if fields.get("deterministic") == "no":
        clauses.append("DETERMINISTIC = false")
    if fields.get("rules"):
        clauses.append(f"RULES = {literal(fields['rules'] or '')}")
    yield f"CREATE COLLATION {step.key.identity} ({', '.join(clauses)})"


def _unsupported_version(step: ObjectChange) -> str | None:
    return "its version" if step.differs("version") and step.before.get("version") else None


def _create_operator(step: ObjectChange) -> Commands:
    name, _, arguments = step.key.identity.rpartition("(")
    left, right = arguments.rstrip(")").split(", ")
    clauses = [
        f"{side} = {type_}" for side, type_ in (("LEFTARG", left), ("RIGHTARG", right)) if type_ != "NONE"
    ]
    for line in listed(step.after.get("definition")):
        word, equals, value = line.partition(" = ")
        called = value.partition("(")[0]
        clauses.append(
            f"{word} = {f'OPERATOR({called})' if word.endswith('ATOR') else called}" if equals else word
        )
    yield f"CREATE OPERATOR {name} ({', '.join(clauses)})"


def _create_access_method(step: ObjectChange) -> Commands:
    yield f"CREATE ACCESS METHOD {step.key.identity} {' '.join(listed(step.after.get('definition')))}"


def _hidden_options(step: ObjectChange) -> str | None:
    hidden = step.differs("options") and "=<hidden>" in (step.after.get("options") or "")
    return "its secrets" if hidden else None


def _create_conversion(step: ObjectChange) -> Commands:
    definition = step.after.get("definition") or ""
    default = "DEFAULT " if definition.startswith("DEFAULT ") else ""
    yield f"CREATE {default}CONVERSION {step.key.identity} {definition.removeprefix(default)}"


def _create_language(step: ObjectChange) -> Commands:
    definition = listed(step.after.get("definition"))
    trusted = "TRUSTED " if "TRUSTED" in definition else ""
    rest = " ".join(line for line in definition if line != "TRUSTED")
    yield f"CREATE {trusted}LANGUAGE {step.key.identity} {rest}"


def _create_transform(step: ObjectChange) -> Commands:
    definition = (step.after.get("definition") or "").replace(" SQL ", " SQL WITH FUNCTION ")
    yield f"CREATE TRANSFORM {step.key.identity} ({definition})"


def _create_configuration(step: ObjectChange) -> Commands:
    parser, *mappings = listed(step.after.get("definition"))
    name = f"TEXT SEARCH CONFIGURATION {step.key.identity}"
    yield f"CREATE {name} (PARSER = {parser.removeprefix('PARSER ')})"
    for mapping in mappings:
        token, _, dictionaries = mapping.partition(": ")
        yield f"ALTER {name} ADD MAPPING FOR {token} WITH {dictionaries}"


def _cast_name(key: ObjectKey, _fields: Fields) -> str:
    return f"({key.identity})"


def unknown(
    noun: str, name: Callable[[ObjectKey, Fields], str] = plain_name, *, owned: bool = True
) -> ObjectKind:
    """A kind that can be dropped and not be made."""
    return ObjectKind(
        noun, create=lambda _step: [], covers=frozenset(), name=name, owned=owned, makeable=False
    )


def mapping_name(key: ObjectKey, _fields: Fields) -> str:
    """FOR a role, SERVER its server."""
    server, role = split_identity(key.identity)
    return f"FOR {sql_role(role)} SERVER {server}"


def _change_options(step: ObjectChange) -> Commands:
    noun = {"foreign server": "SERVER"}.get(step.key.kind, step.key.kind.upper())
    return option_changes(f"ALTER {noun} {step.key.identity}", *step.change("options"), foreign=True)


def _change_version(step: ObjectChange) -> Commands:
    version = step.after.get("version")
    yield f"ALTER SERVER {step.key.identity} VERSION {'NULL' if version is None else literal(version)}"


FOREIGN_DATA_WRAPPER = ObjectKind(
    "FOREIGN DATA WRAPPER",
    create=_create_wrapper,
    covers=frozenset({"definition", "options"}),
    alters={"definition": _change_wrapper, "options": _change_options},
    grant="FOREIGN DATA WRAPPER",
)
FOREIGN_SERVER = ObjectKind(
    "SERVER",
    create=_create_server,
    covers=frozenset({"wrapper", "type", "version", "options"}),
    alters={"options": _change_options, "version": _change_version},
    grant="FOREIGN SERVER",
    unsupported=_hidden_options,
)
COLLATION = ObjectKind(
    "COLLATION",
    create=_create_collation,
    covers=frozenset({"provider", "locale", "deterministic", "rules"}),
    follows=frozenset({"version"}),
    unsupported=_unsupported_version,
)
CAST = ObjectKind("CAST", create=from_template("CREATE CAST ({0}) {1}"), name=_cast_name, owned=False)
OPERATOR = ObjectKind("OPERATOR", create=_create_operator)
CONVERSION = ObjectKind("CONVERSION", create=_create_conversion)
LANGUAGE = ObjectKind("LANGUAGE", create=_create_language, grant="LANGUAGE")
TRANSFORM = ObjectKind("TRANSFORM", create=_create_transform, owned=False)
CONFIGURATION = ObjectKind("TEXT SEARCH CONFIGURATION", create=_create_configuration)
DICTIONARY = ObjectKind(
    "TEXT SEARCH DICTIONARY", create=from_template("CREATE TEXT SEARCH DICTIONARY {0} ({1})")
)
PARSER = ObjectKind(
    "TEXT SEARCH PARSER", create=from_template("CREATE TEXT SEARCH PARSER {0} ({1})"), owned=False
)
TEMPLATE = ObjectKind(
    "TEXT SEARCH TEMPLATE", create=from_template("CREATE TEXT SEARCH TEMPLATE {0} ({1})"), owned=False
)
ACCESS_METHOD = ObjectKind("ACCESS METHOD", create=_create_access_method, owned=False)
