"""SQLAlchemy types for PostgreSQL types, as Python code."""

from __future__ import annotations

import re

_PLAIN = {
    "smallint": "sa.SmallInteger()",
    "integer": "sa.Integer()",
    "bigint": "sa.BigInteger()",
    "numeric": "sa.Numeric()",
    "real": "sa.REAL()",
    "double precision": "sa.Double()",
    "boolean": "sa.Boolean()",
    "text": "sa.Text()",
    "character varying": "sa.String()",
    "bytea": "sa.LargeBinary()",
    "date": "sa.Date()",
    "time without time zone": "sa.Time()",
    "timestamp without time zone": "sa.DateTime()",
    "timestamp with time zone": "sa.DateTime(timezone=True)",
    "uuid": "sa.Uuid()",
    "interval": "postgresql.INTERVAL()",
    "json": "postgresql.JSON()",
    "jsonb": "postgresql.JSONB()",
    "inet": "postgresql.INET()",
    "cidr": "postgresql.CIDR()",
    "macaddr": "postgresql.MACADDR()",
    "tsvector": "postgresql.TSVECTOR()",
    "tsquery": "postgresql.TSQUERY()",
    "int4range": "postgresql.INT4RANGE()",
    "int8range": "postgresql.INT8RANGE()",
    "numrange": "postgresql.NUMRANGE()",
    "daterange": "postgresql.DATERANGE()",
    "tsrange": "postgresql.TSRANGE()",
    "tstzrange": "postgresql.TSTZRANGE()",
}
_WITH_ARGUMENTS = (
    (r"character varying\((\d+)\)", r"sa.String(length=\1)"),
    (r"character\((\d+)\)", r"sa.CHAR(length=\1)"),
    (r"numeric\((\d+),(-?\d+)\)", r"sa.Numeric(precision=\1, scale=\2)"),
    (r"timestamp\((\d)\) with time zone", r"postgresql.TIMESTAMP(timezone=True, precision=\1)"),
    (r"timestamp\((\d)\) without time zone", r"postgresql.TIMESTAMP(precision=\1)"),
)


def type_code(type_: str) -> str | None:
    """Return the code for a type as format_type() prints it, None if SQLAlchemy has no type for it."""
    if type_.endswith("[]"):
        element = type_code(type_.removesuffix("[]"))
        return f"postgresql.ARRAY({element})" if element else None
    for pattern, code in _WITH_ARGUMENTS:
        match = re.fullmatch(pattern, type_)
        if match:
            return match.expand(code)
    return _PLAIN.get(type_)
