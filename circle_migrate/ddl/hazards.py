"""What a statement destroys or blocks: read from its first words.

The locks are those of https://www.postgresql.org/docs/current/sql-altertable.html and its neighbours.
"""

from __future__ import annotations

import re

_TABLE = r"^ALTER (?:FOREIGN )?TABLE .*? "
_HAZARDS: tuple[tuple[str, str], ...] = (
    (r"^DROP (?:FOREIGN )?TABLE ", "destroys the table with its rows"),
    (_TABLE + r"DROP COLUMN ", "destroys the column's values"),
    (r"^DROP MATERIALIZED VIEW ", "destroys what the view has computed; takes ACCESS EXCLUSIVE"),
    (r"^CREATE MATERIALIZED VIEW .*WITH DATA$", "runs the view's query"),
    (r"^REFRESH ", "runs the view's query while nobody can read the view"),
    (r"^DROP SEQUENCE ", "destroys the sequence's position"),
    (r"^ALTER SEQUENCE .* RESTART$", "destroys the sequence's position"),
    (r"^DROP SCHEMA ", "destroys the schema"),
    (r"^DROP EXTENSION ", "destroys the extension's objects"),
    (r"^DROP PUBLICATION ", "subscribers stop receiving changes"),
    (r"^DROP TYPE .*__old", "fails where something else than a column still has the type"),
    (
        _TABLE + r"ALTER COLUMN .*? TYPE .* USING ",
        "rewrites the table under ACCESS EXCLUSIVE; fails on values that do not read as the new type",
    ),
    (
        _TABLE + r"ALTER COLUMN .*? TYPE ",
        "rewrites the table under ACCESS EXCLUSIVE unless stored alike; fails on values that do not fit",
    ),
    (_TABLE + r"ALTER COLUMN .*? SET EXPRESSION ", "rewrites the table under ACCESS EXCLUSIVE"),
    (
        _TABLE + r"ALTER COLUMN .*? SET NOT NULL$",
        "scans the table under ACCESS EXCLUSIVE; fails where the column is null",
    ),
    (
        _TABLE + r"ALTER COLUMN .*? DROP (?:IDENTITY|EXPRESSION)$",
        "the column keeps its values, and new rows get none",
    ),
    (
        _TABLE + r"ADD COLUMN .* (?:STORED|AS IDENTITY.*|nextval\(.*)$",
        "rewrites the table under ACCESS EXCLUSIVE",
    ),
    (
        _TABLE + r"ADD COLUMN (?!.* (?:DEFAULT|GENERATED) ).* NOT NULL$",
        "fails where the table has rows, as the column has no default",
    ),
    (
        _TABLE + r"ADD COLUMN .* DEFAULT .*\(.*\)",
        "rewrites the table under ACCESS EXCLUSIVE where the default is volatile",
    ),
    (
        _TABLE + r"ADD CONSTRAINT .* FOREIGN KEY (?!.* NOT (?:VALID|ENFORCED)$)",
        "scans the table under SHARE ROW EXCLUSIVE on both tables; fails on rows without a counterpart",
    ),
    (
        _TABLE + r"ADD CONSTRAINT .*? CHECK (?!.* NOT (?:VALID|ENFORCED)$)",
        "scans the table under ACCESS EXCLUSIVE; fails on rows that break it",
    ),
    (
        _TABLE + r"ADD CONSTRAINT .*? (?:PRIMARY KEY|UNIQUE|EXCLUDE) ",
        "builds an index under ACCESS EXCLUSIVE; fails on rows that break it",
    ),
    (_TABLE + r"VALIDATE CONSTRAINT ", "scans the table; fails on rows that break it"),
    (_TABLE + r"ATTACH PARTITION ", "scans the partition under ACCESS EXCLUSIVE"),
    (
        _TABLE + r"SET (?:LOGGED|UNLOGGED|ACCESS METHOD|TABLESPACE) ?",
        "rewrites the table under ACCESS EXCLUSIVE",
    ),
    (
        r"^ALTER DOMAIN .* (?:ADD CONSTRAINT |SET NOT NULL$)(?!.* NOT VALID$)",
        "scans every table that has the domain",
    ),
    (r"^ALTER TYPE .* (?:DROP|ALTER) ATTRIBUTE ", "changes or destroys values of the type"),
    (
        r"^CREATE (?:UNIQUE )?INDEX ",
        "blocks writes while it builds; CONCURRENTLY does not, outside a transaction",
    ),
    (r"^DROP INDEX ", "takes ACCESS EXCLUSIVE; queries lose the index"),
    (r"^REINDEX ", "blocks writes while it builds"),
    (r"^ALTER (?:INDEX|MATERIALIZED VIEW) .* SET TABLESPACE ", "copies it under ACCESS EXCLUSIVE"),
    (_TABLE + r"DISABLE ROW LEVEL SECURITY$", "every role with privileges sees every row"),
    (r"^DROP POLICY ", "rows the policy showed or hid are judged by what is left"),
)
_COMPILED = tuple((re.compile(pattern, re.DOTALL), sentence) for pattern, sentence in _HAZARDS)


def hazard(sql: str) -> str | None:
    """The hazard of a statement in a sentence, None where there is none worth a word."""
    return next((sentence for pattern, sentence in _COMPILED if pattern.match(sql)), None)
