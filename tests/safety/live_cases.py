"""Plans with probes of live rows: the schema, rows that the plan fails on or loses, and rows that fit."""

from __future__ import annotations

import re
from dataclasses import dataclass

from circle_migrate.safety.live_database.record import ProbeKind

Counts = list[tuple[str, str, str, int | None]]
"""The kind of a probe, its live relation, its subject, and the count."""


@dataclass(frozen=True)
class Case:
    """Statements of a plan on a schema; the plan fails on the `broken` live rows or loses them.

    A case has a schema of its own, which is `public` in `counts`. `since` is the first major version that has
    the statements, or can answer.
    """

    id: str
    setup: str
    plan: tuple[str, ...]
    broken: str
    clean: str
    counts: Counts
    since: int = 0

    @property
    def schema(self) -> str:
        """The schema of unqualified names."""
        return "in_" + self.id.replace("-", "_")

    @property
    def schemas(self) -> frozenset[str]:
        """That schema, and those that the statements create."""
        created = re.findall(r'CREATE SCHEMA ("[^"]*"|\w+)', ";".join((self.setup, *self.plan)))
        return frozenset({self.schema, *created})

    @property
    def expected(self) -> Counts:
        """The counts in the case's own schema."""
        return [
            (kind, self._own(relation), self._own(subject), count)
            for kind, relation, subject, count in self.counts
        ]

    def _own(self, name: str) -> str:
        return re.sub(r"^public\b", self.schema, name)


def case(
    id: str,  # noqa: A002
    setup: str,
    plan: str | tuple[str, ...],
    broken: str,
    clean: str,
    *counts: tuple[str, str, str, int | None],
    since: int = 0,
) -> Case:
    """Return a case, whose plan may be one statement."""
    plan = (plan,) if isinstance(plan, str) else plan
    return Case(id, setup, plan, broken, clean, list(counts), since)


# ruff: noqa: E501
T = "CREATE TABLE t (id int PRIMARY KEY, a int, b text)"
NULLS, DUPLICATES, ORPHANS = str(ProbeKind.NULLS), str(ProbeKind.DUPLICATES), str(ProbeKind.ORPHANS)
VIOLATIONS, UNCASTABLE, TOO_LONG = (
    str(ProbeKind.VIOLATIONS),
    str(ProbeKind.UNCASTABLE),
    str(ProbeKind.TOO_LONG),
)
REFUSED = str(ProbeKind.REFUSED)
CUT, VALUES, ROWS, BEHIND = (
    str(ProbeKind.CUT),
    str(ProbeKind.VALUES),
    str(ProbeKind.ROWS),
    str(ProbeKind.BEHIND),
)
_LABEL = r"""E'it''s a\\b\n"c"'"""
P = "CREATE TABLE p (x int, y text, PRIMARY KEY (x, y)); CREATE TABLE c (a int, b text)"

CASES = [
    case(
        "not-null",
        T,
        "ALTER TABLE t ALTER a SET NOT NULL",
        "INSERT INTO t (id) VALUES (1), (2); INSERT INTO t VALUES (3, 3)",
        "INSERT INTO t VALUES (1, 1)",
        (NULLS, "public.t", "public.t.a", 2),
    ),
    case(
        "not-null-quoted",
        'CREATE SCHEMA "S.1"; CREATE TABLE "S.1"."T ""x" ("A b" int)',
        'ALTER TABLE "S.1"."T ""x" ALTER "A b" SET NOT NULL',
        'INSERT INTO "S.1"."T ""x" VALUES (NULL)',
        'INSERT INTO "S.1"."T ""x" VALUES (1)',
        (NULLS, '"S.1"."T ""x"', '"S.1"."T ""x"."A b"', 1),
    ),
    case(
        "required-column",
        T,
        "ALTER TABLE t ADD z int NOT NULL",
        "INSERT INTO t VALUES (1), (2)",
        "",
        (NULLS, "public.t", "public.t.z", 2),
    ),
    case(
        "required-column-with-default",
        T,
        "ALTER TABLE t ADD z int NOT NULL DEFAULT 1",
        "INSERT INTO t VALUES (1)",
        "",
    ),
    case(
        "primary-key",
        "CREATE TABLE t (a int, b int)",
        "ALTER TABLE t ADD PRIMARY KEY (a, b)",
        "INSERT INTO t VALUES (1, 1), (1, 1), (2, NULL)",
        "INSERT INTO t VALUES (1, 1), (1, 2)",
        (NULLS, "public.t", "public.t.a", 0),
        (NULLS, "public.t", "public.t.b", 1),
        (DUPLICATES, "public.t", "public.t.t_pkey", 1),
    ),
    case(
        "unique",
        T,
        "ALTER TABLE t ADD CONSTRAINT u UNIQUE (a, b)",
        "INSERT INTO t VALUES (1, 1, 'x'), (2, 1, 'x'), (3, 1, NULL), (4, 1, NULL)",
        "INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'x'), (3, 1, NULL), (4, 1, NULL)",
        (DUPLICATES, "public.t", "public.t.u", 1),
    ),
    case(
        "unique-index",
        T,
        "CREATE UNIQUE INDEX i ON t (lower(b) DESC, a) INCLUDE (id) WHERE a > 1 OR b = ','",
        "INSERT INTO t VALUES (1, 2, 'X'), (2, 2, 'x')",
        "INSERT INTO t VALUES (1, 0, 'X'), (2, 0, 'x')",
        (DUPLICATES, "public.t", "public.i", 1),
    ),
    case(
        "unique-index-nulls",
        T,
        "CREATE UNIQUE INDEX i ON t (a) NULLS NOT DISTINCT",
        "INSERT INTO t VALUES (1), (2)",
        "INSERT INTO t VALUES (1, NULL), (2, 2)",
        (DUPLICATES, "public.t", "public.i", 1),
        since=15,
    ),
    case(
        "unique-index-collation",
        T,
        'CREATE UNIQUE INDEX i ON t (b COLLATE "C")',
        "INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'x')",
        "INSERT INTO t VALUES (1, 1, 'X'), (2, 2, 'x')",
        (DUPLICATES, "public.t", "public.i", 1),
    ),
    case(
        "unique-index-pattern",
        T,
        "CREATE UNIQUE INDEX i ON t (b text_pattern_ops)",
        "INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'x')",
        "INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y')",
        (DUPLICATES, "public.t", "public.i", 1),
    ),
    case("plain-index", T, "CREATE INDEX i ON t (b)", "INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'x')", ""),
    case(
        "exclusion-equal",
        T,
        "ALTER TABLE t ADD CONSTRAINT e EXCLUDE USING btree (a WITH =) WHERE (id > 1)",
        "INSERT INTO t VALUES (2, 1), (3, 1)",
        "INSERT INTO t VALUES (1, 1), (2, 1), (3, NULL), (4, NULL)",
        (DUPLICATES, "public.t", "public.t.e", 2),
    ),
    case(
        "exclusion-overlap",
        "CREATE TABLE t (r int4range)",
        "ALTER TABLE t ADD CONSTRAINT e EXCLUDE USING gist (r WITH &&)",
        "INSERT INTO t VALUES ('[1,2]'), ('[2,3]'), ('[5,6]')",
        "INSERT INTO t VALUES ('[1,2)'), ('[2,3)')",
        (DUPLICATES, "public.t", "public.t.e", 2),
    ),
    case(
        "index-becomes-key",
        "CREATE TABLE t (a int NOT NULL); CREATE UNIQUE INDEX i ON t (a)",
        "ALTER TABLE t ADD CONSTRAINT k PRIMARY KEY USING INDEX i",
        "INSERT INTO t VALUES (1)",
        "",
    ),
    case(
        "rename-constraint",
        T + "; ALTER TABLE t ADD CONSTRAINT u UNIQUE (a), ADD CHECK (a > 0)",
        (
            "ALTER TABLE t RENAME CONSTRAINT u TO v",
            "ALTER TABLE t RENAME CONSTRAINT t_a_check TO w",
            "ALTER TABLE t RENAME COLUMN a TO z",
            "ALTER TABLE t RENAME TO s",
            "ALTER INDEX t_pkey RENAME TO k",
        ),
        "INSERT INTO t VALUES (1, 1)",
        "",
    ),
    case(
        "foreign-key",
        P,
        "ALTER TABLE c ADD CONSTRAINT f FOREIGN KEY (a, b) REFERENCES p",
        "INSERT INTO p VALUES (1, 'x'); INSERT INTO c VALUES (1, 'x'), (1, 'y'), (2, NULL)",
        "INSERT INTO p VALUES (1, 'x'); INSERT INTO c VALUES (1, 'x'), (2, NULL)",
        (ORPHANS, "public.c", "public.c.f", 1),
    ),
    case(
        "foreign-key-match-full",
        P,
        "ALTER TABLE c ADD CONSTRAINT f FOREIGN KEY (a, b) REFERENCES p MATCH FULL",
        "INSERT INTO p VALUES (1, 'x'); INSERT INTO c VALUES (1, 'x'), (1, 'y'), (2, NULL), (NULL, NULL)",
        "INSERT INTO p VALUES (1, 'x'); INSERT INTO c VALUES (1, 'x'), (NULL, NULL)",
        (ORPHANS, "public.c", "public.c.f", 2),
    ),
    case(
        "foreign-key-not-valid",
        P,
        "ALTER TABLE c ADD CONSTRAINT f FOREIGN KEY (a, b) REFERENCES p NOT VALID",
        "INSERT INTO c VALUES (1, 'x')",
        "INSERT INTO p VALUES (1, 'x'); INSERT INTO c VALUES (1, 'x')",
        (REFUSED, "public.c", "public.c.f", 1),
    ),
    case(
        "foreign-key-validated",
        P + "; ALTER TABLE c ADD CONSTRAINT f FOREIGN KEY (a, b) REFERENCES p NOT VALID",
        "ALTER TABLE c VALIDATE CONSTRAINT f",
        "INSERT INTO p VALUES (1, 'x'); ALTER TABLE c DISABLE TRIGGER ALL; INSERT INTO c VALUES (1, 'y')",
        "",
        (ORPHANS, "public.c", "public.c.f", 1),
    ),
    case(
        "foreign-key-to-new-table",
        "CREATE TABLE c (a int)",
        (
            "CREATE TABLE n (id int PRIMARY KEY)",
            "ALTER TABLE c ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES n",
        ),
        "INSERT INTO c VALUES (1)",
        "",
        (ORPHANS, "public.c", "public.c.f", None),
    ),
    case(
        "check",
        T,
        "ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0 AND b <> ')')",
        "INSERT INTO t VALUES (1, 0, NULL), (2, 1, ')'), (3, 1, 'x'), (4, NULL, NULL)",
        "INSERT INTO t VALUES (3, 1, 'x'), (4, NULL, NULL)",
        (VIOLATIONS, "public.t", "public.t.k", 2),
    ),
    case(
        "check-validated",
        T + "; ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0) NOT VALID",
        "ALTER TABLE t VALIDATE CONSTRAINT k",
        "ALTER TABLE t DROP CONSTRAINT k; INSERT INTO t VALUES (1, 0)",
        "INSERT INTO t VALUES (1, 1)",
        (VIOLATIONS, "public.t", "public.t.k", 1),
    ),
    case(
        "check-on-new-column",
        T,
        ("ALTER TABLE t ADD z int", "ALTER TABLE t ADD CHECK (z > a)"),
        "INSERT INTO t VALUES (1)",
        "",
    ),
    case(
        "domain",
        "CREATE DOMAIN d AS int; CREATE TABLE t (a d, b d)",
        "ALTER DOMAIN d ADD CONSTRAINT k CHECK (VALUE > 0)",
        "INSERT INTO t VALUES (1, 0), (2, NULL)",
        "INSERT INTO t VALUES (1, 1)",
        (VIOLATIONS, "public.t", "public.d.k", 0),
        (VIOLATIONS, "public.t", "public.d.k", 1),
    ),
    case(
        "domain-not-null",
        "CREATE DOMAIN d AS int; CREATE TABLE t (a d)",
        "ALTER DOMAIN d SET NOT NULL",
        "INSERT INTO t VALUES (NULL)",
        "INSERT INTO t VALUES (1)",
        (NULLS, "public.t", "public.d", 1),
    ),
    case(
        "widened",
        "CREATE TABLE t (a varchar(9), b int, c numeric(8,2), d varchar(9), e timestamp)",
        (
            "ALTER TABLE t ALTER a TYPE varchar(10), ALTER b TYPE bigint, ALTER c TYPE numeric(9,3)",
            "ALTER TABLE t ALTER d TYPE text",
            "ALTER TABLE t ALTER e TYPE timestamptz",
        ),
        "INSERT INTO t VALUES ('123456789', 1, 1.25, '1', now())",
        "",
    ),
    case(
        "narrower-text",
        "CREATE TABLE t (a varchar(9), b text)",
        "ALTER TABLE t ALTER a TYPE varchar(3), ALTER b TYPE char(2)",
        "INSERT INTO t VALUES ('1234', 'abc'), ('123  ', 'ab ')",
        "INSERT INTO t VALUES ('123 ', 'ab')",
        (TOO_LONG, "public.t", "public.t.a", 1),
        (TOO_LONG, "public.t", "public.t.b", 1),
    ),
    case(
        "narrower-text-by-cast",
        "CREATE TABLE t (a text)",
        "ALTER TABLE t ALTER COLUMN a TYPE varchar(3) USING a::varchar(3)",
        "INSERT INTO t VALUES ('1234')",
        "INSERT INTO t VALUES ('123 ')",
        (CUT, "public.t", "public.t.a", 1),
    ),
    case(
        "narrower-number",
        "CREATE TABLE t (a bigint, b numeric(9,3))",
        ("ALTER TABLE t ALTER a TYPE int", "ALTER TABLE t ALTER b TYPE numeric(8,1)"),
        "INSERT INTO t VALUES (3000000000, 1.25)",
        "INSERT INTO t VALUES (1, 1.5)",
        (UNCASTABLE, "public.t", "public.t.a", 1),
        (CUT, "public.t", "public.t.a", None),
        (UNCASTABLE, "public.t", "public.t.b", 0),
        (CUT, "public.t", "public.t.b", 1),
    ),
    case(
        "less-precise-time",
        "CREATE TABLE t (a timestamp)",
        "ALTER TABLE t ALTER a TYPE date",
        "INSERT INTO t VALUES ('2026-01-01 10:00')",
        "INSERT INTO t VALUES ('2026-01-01 00:00')",
        (UNCASTABLE, "public.t", "public.t.a", 0),
        (CUT, "public.t", "public.t.a", 1),
    ),
    case(
        "text-to-number",
        'CREATE TABLE t ("A" text)',
        'ALTER TABLE t ALTER "A" TYPE int USING ("A")::integer',
        "INSERT INTO t VALUES ('1'), ('x'), (''), (NULL)",
        "INSERT INTO t VALUES (' 1')",
        (UNCASTABLE, "public.t", 'public.t."A"', 2),
        since=16,
    ),
    case(
        "cast-call",
        "CREATE TABLE t (a text)",
        "ALTER TABLE t ALTER COLUMN a SET DATA TYPE date USING CAST(a AS date)",
        "INSERT INTO t VALUES ('soon')",
        "INSERT INTO t VALUES ('2026-01-01')",
        (UNCASTABLE, "public.t", "public.t.a", 1),
        since=16,
    ),
    case(
        "json",
        "CREATE TABLE t (a json)",
        "ALTER TABLE t ALTER a TYPE jsonb USING a::jsonb",
        """INSERT INTO t VALUES ('"\\u0000"')""",
        "INSERT INTO t VALUES ('1')",
        (UNCASTABLE, "public.t", "public.t.a", 1),
    ),
    case(
        "own-conversion",
        "CREATE TABLE t (a text)",
        "ALTER TABLE t ALTER a TYPE int USING length(a)",
        "INSERT INTO t VALUES ('x')",
        "",
        (UNCASTABLE, "public.t", "public.t.a", None),
    ),
    case(
        "fewer-labels",
        f"CREATE TYPE e AS ENUM ('a', 'b', {_LABEL}); CREATE TABLE t (a e)",
        (
            "ALTER TYPE e RENAME TO old",
            f"CREATE TYPE e AS ENUM ('a', {_LABEL})",
            "ALTER TABLE t ALTER a TYPE e USING a::text::e",
            "DROP TYPE old",
        ),
        f"INSERT INTO t VALUES ({_LABEL}), ('b')",
        f"INSERT INTO t VALUES ({_LABEL})",
        (UNCASTABLE, "public.t", "public.t.a", 1),
    ),
    case(
        "drop-column",
        T,
        "ALTER TABLE t DROP COLUMN a",
        "INSERT INTO t VALUES (1, 1), (2, NULL)",
        "INSERT INTO t VALUES (1)",
        (VALUES, "public.t", "public.t.a", 1),
    ),
    case(
        "drop-new-column",
        T,
        ("ALTER TABLE t ADD z int", "ALTER TABLE t DROP COLUMN z"),
        "INSERT INTO t VALUES (1)",
        "",
    ),
    case(
        "drop-table",
        T,
        "DROP TABLE t",
        "INSERT INTO t VALUES (1), (2)",
        "",
        (ROWS, "public.t", "public.t", 2),
    ),
    case(
        "drop-schema",
        'CREATE SCHEMA "S"; CREATE TABLE "S".t (a int); CREATE MATERIALIZED VIEW "S".m AS SELECT 1 AS one',
        'DROP SCHEMA "S" CASCADE',
        'INSERT INTO "S".t VALUES (1)',
        'DROP MATERIALIZED VIEW "S".m; CREATE TABLE "S".m ()',
        (ROWS, '"S".m', '"S".m', 1),
        (ROWS, '"S".t', '"S".t', 1),
    ),
    case(
        "drop-partitioned",
        "CREATE TABLE t (a int) PARTITION BY LIST (a); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)",
        "DROP TABLE t",
        "INSERT INTO t VALUES (1)",
        "",
        (ROWS, "public.t", "public.t", 1),
    ),
    case(
        "renamed",
        T,
        (
            "ALTER TABLE t RENAME TO s",
            "ALTER TABLE s RENAME COLUMN a TO z",
            "CREATE SCHEMA n",
            "ALTER TABLE s SET SCHEMA n",
            "ALTER TABLE n.s ALTER z SET NOT NULL",
            "ALTER TABLE n.s ADD CONSTRAINT k CHECK (z > 0)",
            "DROP TABLE n.s",
        ),
        "INSERT INTO t VALUES (1, NULL), (2, 0)",
        "",
        (NULLS, "public.t", "n.s.z", 1),
        (VIOLATIONS, "public.t", "n.s.k", 1),
        (ROWS, "public.t", "n.s", 2),
    ),
    case(
        "swapped",
        T,
        (
            "ALTER TABLE t ADD z bigint",
            "ALTER TABLE t RENAME a TO old",
            "ALTER TABLE t RENAME z TO a",
            "ALTER TABLE t ALTER a SET NOT NULL",
            "ALTER TABLE t ADD CONSTRAINT k CHECK (old < 0)",
        ),
        "INSERT INTO t VALUES (1, 1)",
        "",
        (VIOLATIONS, "public.t", "public.t.k", 1),
    ),
    case(
        "dropped-or-renamed",
        T,
        "DO $$ BEGIN EXECUTE 'ALTER TABLE t REN' || 'AME TO s'; END $$",
        "INSERT INTO t VALUES (1)",
        "",
        (ROWS, "public.t", "public.t", None),
    ),
    case(
        "restarted",
        "CREATE TABLE t (id serial)",
        "ALTER SEQUENCE t_id_seq RESTART WITH 5",
        "INSERT INTO t VALUES (4), (5), (6)",
        "INSERT INTO t VALUES (4)",
        (BEHIND, "public.t", "public.t_id_seq", 2),
    ),
    case(
        "restarted-identity",
        'CREATE TABLE "T" ("Id" int GENERATED ALWAYS AS IDENTITY)',
        'ALTER TABLE "T" ALTER COLUMN "Id" RESTART',
        'INSERT INTO "T" OVERRIDING SYSTEM VALUE VALUES (7)',
        "",
        (BEHIND, 'public."T"', 'public."T_Id_seq"', 1),
    ),
    case(
        "set",
        "CREATE TABLE t (id serial)",
        "SELECT setval('t_id_seq', 5)",
        "INSERT INTO t VALUES (5), (6)",
        "INSERT INTO t VALUES (5)",
        (BEHIND, "public.t", "public.t_id_seq", 1),
    ),
    case(
        "became-identity",
        T,
        "ALTER TABLE t ALTER id ADD GENERATED BY DEFAULT AS IDENTITY (START WITH 9)",
        "INSERT INTO t VALUES (9)",
        "INSERT INTO t VALUES (8)",
        (BEHIND, "public.t", "public.t.id", 1),
    ),
    case(
        "became-serial",
        T,
        ("CREATE SEQUENCE s START 3", "ALTER TABLE t ALTER id SET DEFAULT nextval('s')"),
        "INSERT INTO t VALUES (3)",
        "INSERT INTO t VALUES (2)",
        (BEHIND, "public.t", "public.t.id", 1),
    ),
    case(
        "became-serial-and-set",
        T,
        (
            "CREATE SEQUENCE s",
            "ALTER TABLE t ALTER id SET DEFAULT nextval('s')",
            "SELECT setval('s', max(id)) FROM t",
        ),
        "INSERT INTO t VALUES (3)",
        "",
        (BEHIND, "public.t", "public.t.id", None),
    ),
    case(
        "fixed-earlier",
        T,
        ("UPDATE t SET a = 0 WHERE a IS NULL", "ALTER TABLE t ALTER a SET NOT NULL"),
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (1, 1)",
        (NULLS, "public.t", "public.t.a", None),
    ),
    case(
        "partitions",
        "CREATE TABLE t (a int, b text) PARTITION BY LIST (a); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)",
        (
            "ALTER TABLE t ALTER b SET NOT NULL",
            "CREATE UNIQUE INDEX i ON t (a, b)",
            "ALTER TABLE t DROP COLUMN b",
        ),
        "INSERT INTO t VALUES (1, NULL), (1, 'x'), (1, 'x')",
        "",
        (NULLS, "public.t", "public.t.b", 1),
        (DUPLICATES, "public.t", "public.i", 1),
        (VALUES, "public.t", "public.t.b", 2),
    ),
    case(
        "not-null-later",
        T,
        ("ALTER TABLE t ADD CONSTRAINT n NOT NULL a NOT VALID", "ALTER TABLE t VALIDATE CONSTRAINT n"),
        "INSERT INTO t (id) VALUES (1)",
        "INSERT INTO t VALUES (1, 1)",
        (REFUSED, "public.t", "public.t.a_not_null", 1),
        (NULLS, "public.t", "public.t.a_not_null", 1),
        since=18,
    ),
    case(
        "not-null-later-dropped",
        T,
        ("ALTER TABLE t ADD CONSTRAINT n NOT NULL a NOT VALID", "ALTER TABLE t DROP CONSTRAINT n"),
        "INSERT INTO t (id) VALUES (1)",
        "INSERT INTO t VALUES (1, 1)",
        (REFUSED, "public.t", "public.t.a_not_null", 1),
        since=18,
    ),
    case(
        "period",
        "CREATE TABLE t (id int4range, at daterange)",
        "ALTER TABLE t ADD CONSTRAINT k UNIQUE (id, at WITHOUT OVERLAPS)",
        "INSERT INTO t VALUES ('[1,2)', '[2026-01-01,2026-01-02)')",
        "",
        (DUPLICATES, "public.t", "public.t.k", None),
        since=18,
    ),
    case(
        "several-actions",
        "CREATE TABLE t (a text, b bigint, c text)",
        "ALTER TABLE t ALTER a TYPE varchar(2) USING substr(a, 1, 2), ALTER COLUMN b TYPE int, ALTER c SET NOT NULL",
        "INSERT INTO t VALUES ('abc', 3000000000, NULL)",
        "INSERT INTO t VALUES ('abc', 1, '')",
        (UNCASTABLE, "public.t", "public.t.a", None),
        (UNCASTABLE, "public.t", "public.t.b", 1),
        (CUT, "public.t", "public.t.b", None),
        (NULLS, "public.t", "public.t.c", 1),
    ),
    case(
        "hidden-conversion",
        "CREATE TABLE t (a text)",
        "DO $$ BEGIN EXECUTE 'ALTER TABLE t ALTER a TYPE int USING 1'; END $$",
        "INSERT INTO t VALUES ('x')",
        "",
        (UNCASTABLE, "public.t", "public.t.a", None),
    ),
    case(
        "new-type",
        "CREATE TABLE t (a text)",
        ("CREATE DOMAIN d AS text", "ALTER TABLE t ALTER a TYPE d"),
        "INSERT INTO t VALUES ('x')",
        "",
        (UNCASTABLE, "public.t", "public.t.a", None),
        since=16,
    ),
    case(
        "check-dropped-and-added",
        T + "; ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0)",
        "ALTER TABLE t DROP CONSTRAINT k, ADD CONSTRAINT k CHECK (a > 5)",
        "INSERT INTO t VALUES (1, 5)",
        "INSERT INTO t VALUES (1, 6)",
        (VIOLATIONS, "public.t", "public.t.k", 1),
    ),
    case(
        "retyped-with-check",
        "CREATE TABLE t (a varchar(5) CHECK (a IN ('x', 'y')))",
        "ALTER TABLE t ALTER a TYPE text",
        "INSERT INTO t VALUES ('x')",
        "",
    ),
    case(
        "column-named-as-a-type",
        "CREATE TABLE t (day date, text text)",
        (
            "ALTER TABLE t RENAME day TO date",
            "ALTER TABLE t ADD CONSTRAINT k CHECK (date > '2026-01-01'::date AND text <> 'date')",
        ),
        "INSERT INTO t VALUES ('2025-01-01', '')",
        "INSERT INTO t VALUES ('2026-02-01', '')",
        (VIOLATIONS, "public.t", "public.t.k", 1),
    ),
    case(
        "recreated",
        T,
        (
            "DROP TABLE t",
            "CREATE TABLE t (id int, a int NOT NULL)",
            "ALTER TABLE t ADD PRIMARY KEY (id)",
            "DROP TABLE t",
        ),
        "INSERT INTO t (id) VALUES (1)",
        "",
        (ROWS, "public.t", "public.t", 1),
    ),
    case(
        "inherited",
        "CREATE TABLE t (a int); CREATE TABLE s () INHERITS (t)",
        ("ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0)", "ALTER TABLE t ALTER a SET NOT NULL"),
        "INSERT INTO s VALUES (0), (NULL)",
        "INSERT INTO s VALUES (1)",
        (VIOLATIONS, "public.t", "public.t.k", 1),
        (NULLS, "public.t", "public.t.a", 1),
    ),
    case(
        "attached",
        "CREATE TABLE t (a int UNIQUE) PARTITION BY LIST (a); CREATE TABLE s (a int)",
        "ALTER TABLE t ATTACH PARTITION s FOR VALUES IN (1, 2)",
        "INSERT INTO s VALUES (1), (1)",
        "INSERT INTO s VALUES (1), (2)",
        (DUPLICATES, "public.s", "public.s.s_a_key", 1),
    ),
    case(
        "detached",
        "CREATE TABLE t (a int UNIQUE) PARTITION BY LIST (a); CREATE TABLE s PARTITION OF t FOR VALUES IN (1)",
        ("ALTER TABLE t DETACH PARTITION s", "DROP TABLE s"),
        "INSERT INTO s VALUES (1)",
        "",
        (ROWS, "public.s", "public.s", 1),
    ),
    case(
        "view-and-generated",
        "CREATE TABLE t (a int, g int GENERATED ALWAYS AS (a + 1) STORED); CREATE VIEW v AS SELECT a FROM t",
        ("DROP VIEW v", "ALTER TABLE t DROP COLUMN g"),
        "INSERT INTO t VALUES (1)",
        "",
    ),
    case(
        "moved-sequence",
        "CREATE TABLE t (id serial)",
        ("ALTER SEQUENCE t_id_seq RENAME TO s", "ALTER TABLE t RENAME id TO key"),
        "INSERT INTO t VALUES (7)",
        "",
    ),
    case(
        "changed-sequence",
        "CREATE TABLE t (id serial)",
        "ALTER SEQUENCE t_id_seq INCREMENT 2",
        "INSERT INTO t VALUES (DEFAULT), (2)",
        "INSERT INTO t VALUES (DEFAULT), (DEFAULT)",
        (BEHIND, "public.t", "public.t_id_seq", 1),
    ),
    case(
        "fed-by-an-old-sequence",
        "CREATE TABLE t (id int); CREATE SEQUENCE s",
        "ALTER TABLE t ALTER id SET DEFAULT nextval('s')",
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (nextval('s'))",
        (BEHIND, "public.t", "public.t.id", 1),
    ),
    case(
        "column-named-as-a-collation",
        "CREATE TABLE t (name text)",
        ('ALTER TABLE t RENAME name TO "C"', 'CREATE UNIQUE INDEX i ON t ("C" COLLATE "C")'),
        "INSERT INTO t VALUES ('x'), ('x')",
        "INSERT INTO t VALUES ('x'), ('y')",
        (DUPLICATES, "public.t", "public.i", 1),
    ),
]
