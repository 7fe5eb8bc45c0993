"""Every kind a snapshot has, in an order in which most things can be made."""

from __future__ import annotations

from circle_migrate.ddl import columns, others, parts, rare, routines, tables, types
from circle_migrate.ddl.kind import Kind

KINDS: dict[str, Kind] = {
    "schema": others.SCHEMA,
    "extension": others.EXTENSION,
    "language": rare.LANGUAGE,
    "access method": rare.ACCESS_METHOD,
    "collation": rare.COLLATION,
    "conversion": rare.CONVERSION,
    "enum": types.ENUM,
    "domain": types.DOMAIN,
    "composite type": types.COMPOSITE_TYPE,
    "range type": types.RANGE_TYPE,
    "domain constraint": parts.CONSTRAINT,
    "sequence": types.SEQUENCE,
    "function": routines.routine("FUNCTION"),
    "procedure": routines.routine("PROCEDURE"),
    "window function": routines.routine("FUNCTION"),
    "aggregate": routines.AGGREGATE,
    "cast": rare.CAST,
    "operator": rare.OPERATOR,
    "operator family": rare.unknown("OPERATOR FAMILY"),
    "operator class": rare.unknown("OPERATOR CLASS"),
    "transform": rare.TRANSFORM,
    "text search parser": rare.PARSER,
    "text search template": rare.TEMPLATE,
    "text search dictionary": rare.DICTIONARY,
    "text search configuration": rare.CONFIGURATION,
    "foreign data wrapper": rare.FOREIGN_DATA_WRAPPER,
    "foreign server": rare.FOREIGN_SERVER,
    "user mapping": rare.unknown("USER MAPPING", rare.mapping_name, owned=False),
    "table": tables.TABLE,
    "foreign table": tables.FOREIGN_TABLE,
    "column": columns.COLUMN,
    "constraint": parts.CONSTRAINT,
    "index": parts.INDEX,
    "statistics": parts.STATISTICS,
    "view": routines.VIEW,
    "materialized view": routines.MATERIALIZED_VIEW,
    "rule": parts.RULE,
    "trigger": parts.TRIGGER,
    "policy": parts.POLICY,
    "publication": others.PUBLICATION,
    "subscription": rare.unknown("SUBSCRIPTION"),
    "event trigger": others.EVENT_TRIGGER,
    "default privileges": others.DEFAULT_PRIVILEGES,
    "setting": others.SETTING,
}

RANKS = {kind: rank for rank, kind in enumerate(KINDS)}

RENAMED_FIRST = frozenset({"enum", "domain", "composite type", "range type"})
"""Types that columns have: the old one is there until no column has it any more."""
