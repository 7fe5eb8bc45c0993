"""Downgrades that remove data, as cases."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """`setup` is the revision below, `up` and `down` the one that is undone; all are statements.

    `rows` is what is put in before, `kinds` are those of the entries that come of it, sorted.
    """

    name: str
    setup: str
    up: str
    rows: str
    down: str
    kinds: str

    def __str__(self) -> str:
        return self.name


T = "CREATE TABLE t (id integer PRIMARY KEY, a text, b integer)"
ROWS = "INSERT INTO t (id, a, b) SELECT n, nullif('v' || n, 'v3'), n FROM generate_series(1, 9) n"

CASES = [
    Case(
        "columns-with-quotes",
        'CREATE SCHEMA "S.1";'
        'CREATE TABLE "S.1"."T ""x" ("Id."  text, "a:b" integer, PRIMARY KEY ("a:b", "Id."))',
        """ALTER TABLE "S.1"."T ""x" ADD "o'n%e" bytea, ADD "lost" json""",
        """INSERT INTO "S.1"."T ""x" VALUES ('a', 1, '\\x00ff', '{"a": 1}'), ('a', 2, NULL, NULL)""",
        """ALTER TABLE "S.1"."T ""x" DROP "o'n%e", DROP "lost" """,
        "columns",
    ),
    Case(
        "enum-values",
        "CREATE TYPE e AS ENUM ('x', 'y'); CREATE TABLE t (id integer PRIMARY KEY, e e)",
        "ALTER TYPE e RENAME TO old; CREATE TYPE e AS ENUM ('x', 'y', 'z');"
        "ALTER TABLE t ALTER e TYPE e USING e::text::e; DROP TYPE old",
        "INSERT INTO t VALUES (1, 'x'), (2, 'z'), (3, NULL), (4, 'z')",
        "UPDATE t SET e = 'y' WHERE e = 'z'; ALTER TYPE e RENAME TO old; CREATE TYPE e AS ENUM ('x', 'y');"
        "ALTER TABLE t ALTER e TYPE e USING e::text::e; DROP TYPE old",
        "rows",
    ),
    Case(
        "narrowed-types",
        "CREATE TABLE t (id bigint PRIMARY KEY, a varchar(3), n numeric(9, 1))",
        "ALTER TABLE t ALTER a TYPE text, ALTER n TYPE numeric(9, 4)",
        "INSERT INTO t VALUES (1, 'abcdef', 1.2345), (2, 'abc', 1), (3, NULL, NULL)",
        "ALTER TABLE t ALTER a TYPE varchar(3) USING left(a, 3), ALTER n TYPE numeric(9, 1)",
        "columns",
    ),
    Case(
        "rows-deleted",
        T,
        "ALTER TABLE t ADD c text",
        ROWS,
        "DELETE FROM t WHERE b > 4; ALTER TABLE t DROP c",
        "rows",
    ),
    Case(
        "rows-changed",
        T,
        "CREATE INDEX i ON t (b)",
        ROWS,
        "DROP INDEX i; UPDATE t SET a = '', b = 0 WHERE id < 6",
        "rows",
    ),
    Case("rows-truncated", T, "CREATE INDEX i ON t (b)", ROWS, "DROP INDEX i; TRUNCATE t", "rows"),
    Case(
        "rows-replaced",
        T,
        "ALTER TABLE t ADD c text",
        ROWS,
        "TRUNCATE t; INSERT INTO t (id, a) VALUES (1, 'another'); ALTER TABLE t DROP c, ALTER b TYPE bigint;"
        "ALTER TABLE t ALTER b TYPE integer",
        "rows",
    ),
    Case(
        "rows-deleted-by-cascade",
        f"{T}; CREATE TABLE u (id integer PRIMARY KEY, t integer REFERENCES t ON DELETE CASCADE)",
        "CREATE INDEX i ON t (b)",
        f"{ROWS}; INSERT INTO u SELECT 10 * n, n FROM generate_series(1, 9) n",
        "DROP INDEX i; DELETE FROM t WHERE id = 5",
        "rows rows",
    ),
    Case(
        "tables-that-refer-to-each-other",
        "SELECT",
        "CREATE TYPE e AS ENUM ('x'); CREATE DOMAIN d AS text CHECK (value <> '');"
        "CREATE TABLE z (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, up bigint REFERENCES z,"
        " e e[], d d,"
        " twice bigint GENERATED ALWAYS AS (id * 2) STORED, other integer);"
        "CREATE TABLE a (b integer PRIMARY KEY); CREATE TABLE loose (v text);"
        "CREATE TABLE b (id serial PRIMARY KEY, z bigint NOT NULL REFERENCES z);"
        "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b;"
        "ALTER TABLE z ADD FOREIGN KEY (other) REFERENCES b DEFERRABLE",
        "INSERT INTO z (up, e, d) VALUES (3, '{x,NULL}', E'\\t'), (NULL, NULL, NULL), (2, '{}', '\"');"
        "INSERT INTO b (z) VALUES (3), (1); UPDATE z SET other = 2 WHERE id = 1; INSERT INTO a VALUES (2);"
        "INSERT INTO loose VALUES ('same'), ('same'), (NULL)",
        "DROP TABLE loose; DROP TABLE a; ALTER TABLE z DROP other; DROP TABLE b; DROP TABLE z;"
        "DROP DOMAIN d; DROP TYPE e",
        "sequence sequence table table table table",
    ),
    Case(
        "partitions",
        "CREATE TABLE p (id integer, a text, PRIMARY KEY (id)) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (5); CREATE TABLE p2 PARTITION OF p DEFAULT",
        "ALTER TABLE p ADD c text; CREATE TABLE q (id integer PRIMARY KEY) PARTITION BY LIST (id);"
        "CREATE TABLE q1 PARTITION OF q FOR VALUES IN (1); CREATE TABLE q2 PARTITION OF q DEFAULT",
        "INSERT INTO p SELECT n, 'a', 'c' || n FROM generate_series(1, 9) n;"
        "INSERT INTO q SELECT generate_series(1, 3)",
        "ALTER TABLE p DROP c; DROP TABLE q",
        "columns columns table",
    ),
    Case(
        "column-made-anew",
        T,
        "ALTER TABLE t DROP b; ALTER TABLE t ADD b text DEFAULT 'filled'",
        "INSERT INTO t (id, b) VALUES (1, 'one'), (2, NULL), (3, '3')",
        "ALTER TABLE t DROP b; ALTER TABLE t ADD b integer NOT NULL DEFAULT 3",
        "columns",
    ),
    Case(
        "table-made-anew",
        T,
        "ALTER TABLE t ADD c text",
        f"{ROWS}; UPDATE t SET c = id WHERE id < 3",
        "CREATE TABLE n AS SELECT id, a, b FROM t WHERE id < 8; DROP TABLE t; ALTER TABLE n RENAME TO t;"
        "ALTER TABLE t ADD PRIMARY KEY (id)",
        "table",
    ),
    Case(
        "identity-that-is-no-key",
        "CREATE TABLE t (id text PRIMARY KEY)",
        "ALTER TABLE t ADD number integer GENERATED ALWAYS AS IDENTITY",
        "INSERT INTO t VALUES ('b'), ('a'); DELETE FROM t WHERE id = 'b'; INSERT INTO t VALUES ('c')",
        "ALTER TABLE t DROP number",
        "columns sequence",
    ),
    Case(
        "schema-by-cascade",
        T,
        "CREATE SCHEMA s; CREATE TABLE s.t (id integer PRIMARY KEY, a text);CREATE SEQUENCE s.q INCREMENT -2",
        f"{ROWS}; INSERT INTO s.t SELECT id, a FROM t; SELECT nextval('s.q'), nextval('s.q')",
        "DROP SCHEMA s CASCADE",
        "sequence table",
    ),
    Case(
        "nothing-but-names",
        T,
        "ALTER TABLE t RENAME a TO c; ALTER TABLE t RENAME TO u;"
        "ALTER TABLE u ALTER b TYPE bigint, ADD d text",
        "INSERT INTO u (id, c, b) VALUES (1, 'c', 2)",
        "ALTER TABLE u ALTER b TYPE integer, DROP d; ALTER TABLE u RENAME TO t; ALTER TABLE t RENAME c TO a",
        "",
    ),
]
