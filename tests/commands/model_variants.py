"""Models of one table each, in forms that a comparison may take for a difference."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

metadata = sa.MetaData()

_SEQUENCE = sa.Sequence("numbers", metadata=metadata)
_COLOURS = ("red", "green")


def _table(name: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True), *parts)


def _default(name: str, kind: sa.types.TypeEngine[object], text: str) -> None:
    _table(name, sa.Column("value", kind, server_default=sa.text(text)))


def _index(name: str, *texts: str, **options: object) -> None:
    table = _table(
        name,
        sa.Column("a", sa.String(20)),
        sa.Column("n", sa.Integer),
        sa.Column("j", pg.JSONB),
        sa.Column("d", sa.Date),
    )
    sa.Index(f"{name}_i", *map(sa.text, texts), _table=table, **options)


def _check(name: str, text: str) -> None:
    _table(name, sa.Column("a", sa.String(20)), sa.Column("n", sa.Integer), sa.CheckConstraint(text))


_default("random_default", sa.Float(24), "RANDOM()")
_default("uuid_default", sa.Uuid(), "GEN_RANDOM_UUID()")
_default("nextval_default", sa.Text(), "'N' || nextval('numbers')")
_default("null_default", sa.Text(), "NULL")
_default("json_default", sa.JSON(), """'{"a": [1, 2]}'""")
_default("jsonb_default", pg.JSONB(), "'{}'::jsonb")
_default("array_default", pg.ARRAY(sa.Text()), "ARRAY['a', 'b']::text[]")
_default("interval_default", pg.INTERVAL(), "INTERVAL '1 day'")
_default("time_default", sa.DateTime(timezone=True), "(CURRENT_TIMESTAMP AT TIME ZONE 'utc')")
_default("char_default", sa.CHAR(3), "'ab'")
_default("number_default", sa.Numeric(10, 2), "-1")
_default("case_default", sa.Integer(), "CASE WHEN true THEN 1 ELSE 2 END")
_index("case_index", "(CASE WHEN n > 1 THEN 'x' ELSE a END)")
_index("concat_index", "(a || '-' || a)")
_index("between_index", "n", postgresql_where=sa.text("n BETWEEN 1 AND 5"))
_index("in_index", "n", postgresql_where=sa.text("a IN ('red', 'green')"))
_index("arrow_index", "((j -> 'a' ->> 'b'))", "(((j ->> 'n')::integer)) DESC NULLS LAST")
_index("lower_index", "lower(a) text_pattern_ops", postgresql_include=["n"])
_check("unnamed_check", "n > 0")
_check("in_check", "a IN ('red', 'green')")
_check("not_in_check", "a NOT IN ('red', 'green') OR n BETWEEN 1 AND 3")
_check("like_check", "a LIKE 'x%' AND a IS DISTINCT FROM 'xx'")
_table("enum_column", sa.Column("colour", sa.Enum(*_COLOURS, name="colour", schema="public")))
_table(
    "checked_enum",
    sa.Column("colour", sa.Enum(*_COLOURS, name="c", native_enum=False, create_constraint=True)),
)
_table(
    "computed", sa.Column("a", sa.String(9)), sa.Column("b", sa.Text, sa.Computed("a || 'x'", persisted=True))
)
_table("identity", sa.Column("n", sa.BigInteger, sa.Identity(always=True, start=5, increment=5)))
sa.Table("parent", metadata, sa.Column("id", sa.BigInteger, primary_key=True), schema="public")
_table("child", sa.Column("parent", sa.ForeignKey("public.parent.id", ondelete="CASCADE", deferrable=True)))
_table("unnamed_unique", sa.Column("a", sa.Text), sa.Column("b", sa.Text), sa.UniqueConstraint("a", "b"))
_table(
    "excluded",
    sa.Column("r", pg.INT4RANGE),
    pg.ExcludeConstraint(("r", "&&"), where=sa.text("NOT isempty(r)")),
)
