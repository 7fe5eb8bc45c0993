"""All kinds in a snapshot, in an order in which most objects can be created."""

from circle_migrate.diff.ddl import column, database_objects, table, table_objects, type_and_routine
from circle_migrate.diff.ddl.kind import ObjectKind

KINDS: dict[str, ObjectKind] = {
    "schema": database_objects.SCHEMA,
    "extension": database_objects.EXTENSION,
    "language": database_objects.LANGUAGE,
    "access method": ObjectKind("ACCESS METHOD", create="{0} {2}"),
    "collation": database_objects.COLLATION,
    "conversion": database_objects.CONVERSION,
    "enum": type_and_routine.ENUM,
    "domain": type_and_routine.DOMAIN,
    "composite type": type_and_routine.COMPOSITE_TYPE,
    "range type": type_and_routine.RANGE_TYPE,
    "domain constraint": table_objects.CONSTRAINT,
    "sequence": type_and_routine.SEQUENCE,
    "function": type_and_routine.routine("FUNCTION"),
    "procedure": type_and_routine.routine("PROCEDURE"),
    "window function": type_and_routine.routine("FUNCTION"),
    "aggregate": type_and_routine.AGGREGATE,
    "cast": database_objects.CAST,
    "operator": database_objects.OPERATOR,
    "operator family": database_objects.drop_only("OPERATOR FAMILY"),
    "operator class": database_objects.drop_only("OPERATOR CLASS"),
    "transform": database_objects.TRANSFORM,
    "text search parser": ObjectKind("TEXT SEARCH PARSER", create="{0} ({1})"),
    "text search template": ObjectKind("TEXT SEARCH TEMPLATE", create="{0} ({1})"),
    "text search dictionary": ObjectKind("TEXT SEARCH DICTIONARY", create="{0} ({1})"),
    "text search configuration": database_objects.CONFIGURATION,
    "foreign data wrapper": database_objects.FOREIGN_DATA_WRAPPER,
    "foreign server": database_objects.FOREIGN_SERVER,
    "user mapping": database_objects.USER_MAPPING,
    "table": table.TABLE,
    "foreign table": table.FOREIGN_TABLE,
    "column": column.COLUMN,
    "constraint": table_objects.CONSTRAINT,
    "index": table_objects.INDEX,
    "statistics": table_objects.STATISTICS,
    "view": table.VIEW,
    "materialized view": table.MATERIALIZED_VIEW,
    "rule": table_objects.RULE,
    "trigger": table_objects.TRIGGER,
    "policy": table_objects.POLICY,
    "publication": database_objects.PUBLICATION,
    "subscription": database_objects.drop_only("SUBSCRIPTION"),
    "event trigger": database_objects.EVENT_TRIGGER,
    "default privileges": database_objects.DEFAULT_PRIVILEGES,
    "setting": database_objects.SETTING,
}

RANKS = {kind: rank for rank, kind in enumerate(KINDS)}

RENAMED_FIRST = frozenset({"enum", "domain", "composite type", "range type"})
"""Types of columns: a replaced type is renamed, and dropped after no column uses it."""
