"""All kinds in a snapshot, in an order in which most objects can be created."""

from __future__ import annotations

from circle_migrate.diff.ddl import (
    column,
    database_objects,
    foreign_and_text_search,
    table,
    table_objects,
    type_and_sequence,
    view_and_routine,
)
from circle_migrate.diff.ddl.kind import ObjectKind

KINDS: dict[str, ObjectKind] = {
    "schema": database_objects.SCHEMA,
    "extension": database_objects.EXTENSION,
    "language": foreign_and_text_search.LANGUAGE,
    "access method": foreign_and_text_search.ACCESS_METHOD,
    "collation": foreign_and_text_search.COLLATION,
    "conversion": foreign_and_text_search.CONVERSION,
    "enum": type_and_sequence.ENUM,
    "domain": type_and_sequence.DOMAIN,
    "composite type": type_and_sequence.COMPOSITE_TYPE,
    "range type": type_and_sequence.RANGE_TYPE,
    "domain constraint": table_objects.CONSTRAINT,
    "sequence": type_and_sequence.SEQUENCE,
    "function": view_and_routine.routine("FUNCTION"),
    "procedure": view_and_routine.routine("PROCEDURE"),
    "window function": view_and_routine.routine("FUNCTION"),
    "aggregate": view_and_routine.AGGREGATE,
    "cast": foreign_and_text_search.CAST,
    "operator": foreign_and_text_search.OPERATOR,
    "operator family": foreign_and_text_search.drop_only("OPERATOR FAMILY"),
    "operator class": foreign_and_text_search.drop_only("OPERATOR CLASS"),
    "transform": foreign_and_text_search.TRANSFORM,
    "text search parser": foreign_and_text_search.PARSER,
    "text search template": foreign_and_text_search.TEMPLATE,
    "text search dictionary": foreign_and_text_search.DICTIONARY,
    "text search configuration": foreign_and_text_search.CONFIGURATION,
    "foreign data wrapper": foreign_and_text_search.FOREIGN_DATA_WRAPPER,
    "foreign server": foreign_and_text_search.FOREIGN_SERVER,
    "user mapping": foreign_and_text_search.USER_MAPPING,
    "table": table.TABLE,
    "foreign table": table.FOREIGN_TABLE,
    "column": column.COLUMN,
    "constraint": table_objects.CONSTRAINT,
    "index": table_objects.INDEX,
    "statistics": table_objects.STATISTICS,
    "view": view_and_routine.VIEW,
    "materialized view": view_and_routine.MATERIALIZED_VIEW,
    "rule": table_objects.RULE,
    "trigger": table_objects.TRIGGER,
    "policy": table_objects.POLICY,
    "publication": database_objects.PUBLICATION,
    "subscription": foreign_and_text_search.drop_only("SUBSCRIPTION"),
    "event trigger": database_objects.EVENT_TRIGGER,
    "default privileges": database_objects.DEFAULT_PRIVILEGES,
    "setting": database_objects.SETTING,
}

RANKS = {kind: rank for rank, kind in enumerate(KINDS)}

RENAMED_FIRST = frozenset({"enum", "domain", "composite type", "range type"})
"""Types of columns: a replaced type is renamed, and dropped after no column uses it."""
