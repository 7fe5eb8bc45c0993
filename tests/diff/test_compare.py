"""Comparison: aspect and severity of differences, implied differences, renames, and notes."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import pytest

from circle_migrate.config.ignore_rule import parse_difference_rule
from circle_migrate.core.errors import UsageError
from circle_migrate.core.findings import Severity
from circle_migrate.diff.compare import CompareOptions, compare
from circle_migrate.diff.equivalence import cast_elements
from circle_migrate.diff.result import Aspect, Comparison
from circle_migrate.diff.scope import ChangeSet, EquivalenceAnswers, Models
from circle_migrate.diff.side import ComparisonSide, Source, parse_side, parse_sides
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey, Snapshot

Objects = dict[str, Fields]

TABLE: Objects = {
    "table public.t": {"persistence": "permanent"},
    "column public.t.id": {"of": "table public.t", "type": "integer", "not_null": "yes", "position": "1"},
    "column public.t.name": {"of": "table public.t", "type": "text", "position": "2"},
    "constraint public.t.t_pkey": {
        "of": "table public.t",
        "type": "primary key",
        "definition": "PRIMARY KEY (id)",
        "validated": "yes",
    },
    "index public.t_pkey": {
        "of": "table public.t",
        "definition": "CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id)",
        "constraint": "t_pkey",
        "valid": "yes",
    },
    "index public.t_name": {
        "of": "table public.t",
        "definition": "CREATE INDEX t_name ON public.t USING btree (name)",
        "valid": "yes",
    },
}

KINDS = ("constraint", "column", "index", "table", "sequence", "view", "materialized view", "function")
MORE_KINDS = ("policy", "trigger", "default privileges", "setting", "extension", "schema", "statistics")


def key(text: str) -> ObjectKey:
    """Return the key of a text; the kinds of these tests are known."""
    kind = next(
        kind for kind in sorted((*KINDS, *MORE_KINDS), key=len, reverse=True) if text.startswith(kind)
    )
    return ObjectKey(kind, text.removeprefix(kind).strip())


def snapshot(objects: Objects, origin: str = "live", version: int = 180004) -> Snapshot:
    return Snapshot("shop", origin, version, {key(text): fields for text, fields in objects.items()})


def judged(
    before: Objects,
    after: Objects,
    options: CompareOptions | None = None,
    answers: EquivalenceAnswers | None = None,
    version: int = 180004,
) -> Comparison:
    one, other = snapshot(before, "revisions@current"), snapshot(after, version=version)

    async def answer(_changes: ChangeSet) -> EquivalenceAnswers:
        return answers or {}

    return asyncio.run(compare(one, other, options or CompareOptions(), answer))


def shown(comparison: Comparison) -> list[str]:
    return [f"{difference.change.op} {difference.change.key}" for difference in comparison.differences]


def with_fields(objects: Objects, text: str, **fields: str | None) -> Objects:
    return {**objects, text: {**objects.get(text, {}), **fields}}


def without(objects: Objects, *texts: str) -> Objects:
    return {text: fields for text, fields in objects.items() if text not in texts}


FUNCTION: Objects = {
    "function public.f()": {
        "definition": "CREATE FUNCTION public.f()\n LANGUAGE sql\nAS $$SELECT 1$$",
        "security_definer": "no",
    }
}

# Change; aspect; severity under the default and the strict profile.
WEIGHTS: list[tuple[str, Objects, Objects, Aspect, str, str]] = [
    (
        "type",
        TABLE,
        with_fields(TABLE, "column public.t.name", type="varchar"),
        Aspect.DEFINITION,
        "error",
        "error",
    ),
    ("extra table", {}, TABLE, Aspect.DEFINITION, "error", "error"),
    ("missing index", TABLE, without(TABLE, "index public.t_name"), Aspect.DEFINITION, "error", "error"),
    ("owner", TABLE, with_fields(TABLE, "table public.t", owner="eve"), Aspect.SECURITY, "note", "error"),
    ("grant", TABLE, with_fields(TABLE, "table public.t", acl="eve=r/o"), Aspect.SECURITY, "note", "error"),
    ("rls", TABLE, with_fields(TABLE, "table public.t", rls="enabled"), Aspect.SECURITY, "note", "error"),
    ("policy", {}, {"policy public.t.p": {"using": "true"}}, Aspect.SECURITY, "note", "error"),
    (
        "default privileges",
        {},
        {"default privileges o tables": {"acl": "x"}},
        Aspect.SECURITY,
        "note",
        "error",
    ),
    ("trigger", {"trigger public.t.g": {"definition": "x"}}, {}, Aspect.DEFINITION, "note", "error"),
    (
        "disabled trigger",
        {"trigger public.t.g": {"enabled": "origin"}},
        {"trigger public.t.g": {"enabled": "disabled"}},
        Aspect.STATE,
        "note",
        "error",
    ),
    (
        "triggers of a foreign key",
        TABLE,
        with_fields(TABLE, "constraint public.t.t_pkey", triggers="disabled"),
        Aspect.STATE,
        "note",
        "error",
    ),
    (
        "security definer",
        FUNCTION,
        with_fields(
            FUNCTION,
            "function public.f()",
            definition="CREATE FUNCTION public.f()\n LANGUAGE sql\n SECURITY DEFINER\nAS $$SELECT 1$$",
            security_definer="yes",
        ),
        Aspect.SECURITY,
        "note",
        "error",
    ),
    (
        "security definer and body",
        FUNCTION,
        with_fields(FUNCTION, "function public.f()", definition="other", security_definer="yes"),
        Aspect.DEFINITION,
        "error",
        "error",
    ),
    ("setting", {}, {"setting shop.search_path": {"value": "x"}}, Aspect.STATE, "note", "error"),
    (
        "fillfactor",
        TABLE,
        with_fields(TABLE, "table public.t", options="fillfactor=70"),
        Aspect.STORAGE,
        "note",
        "note",
    ),
    (
        "view option",
        {"view public.v": {"options": None}},
        {"view public.v": {"options": "security_invoker=true"}},
        Aspect.DEFINITION,
        "error",
        "error",
    ),
    ("statistics", {}, {"statistics public.s": {"definition": "x"}}, Aspect.STORAGE, "note", "note"),
    ("comment", TABLE, with_fields(TABLE, "table public.t", comment="x"), Aspect.COMMENT, "note", "note"),
    (
        "extension's version",
        {"extension citext": {"version": "1.5"}},
        {"extension citext": {"version": "1.6"}},
        Aspect.STATE,
        "note",
        "note",
    ),
    (
        "invalid index",
        TABLE,
        with_fields(TABLE, "index public.t_name", valid="no"),
        Aspect.STATE,
        "error",
        "error",
    ),
    (
        "comment and type",
        TABLE,
        with_fields(TABLE, "column public.t.name", comment="x", type="varchar"),
        Aspect.DEFINITION,
        "error",
        "error",
    ),
]


@pytest.mark.parametrize(
    ("before", "after", "aspect", "default", "strict"),
    [case[1:] for case in WEIGHTS],
    ids=[case[0] for case in WEIGHTS],
)
def test_each_difference_has_its_aspect_and_its_weight(
    before: Objects, after: Objects, aspect: Aspect, default: str, strict: str
) -> None:
    for profile, severity in (("default", default), ("strict", strict)):
        for one, other in ((before, after), (after, before)):
            [difference] = judged(one, other, CompareOptions(profile)).differences
            assert (difference.aspect, str(difference.severity)) == (aspect, severity)


@pytest.mark.parametrize("field", ["acl", "owner"])
def test_what_was_asked_for_fails_under_any_profile(field: str) -> None:
    after = with_fields(TABLE, "table public.t", **{field: "x"})
    [difference] = judged(TABLE, after, CompareOptions(always_error=frozenset({field}))).differences
    assert difference.severity is Severity.ERROR


def test_the_order_of_columns_counts_only_where_asked_for() -> None:
    moved = with_fields(TABLE, "column public.t.name", position="3")
    assert shown(judged(TABLE, moved)) == []
    [difference] = judged(TABLE, moved, CompareOptions(column_order=True)).differences
    assert (difference.aspect, difference.severity) == (Aspect.ORDER, Severity.ERROR)


def test_another_order_of_columns_is_said_and_a_gap_is_none() -> None:
    turned = with_fields(TABLE, "column public.t.id", position="2")
    turned = with_fields(turned, "column public.t.name", position="1")
    comparison = judged(TABLE, turned)
    assert shown(comparison) == []
    assert comparison.not_compared == ("the order of columns of 1 table: use --column-order to compare it",)
    moved_up = with_fields(without(TABLE, "column public.t.id"), "column public.t.name", position="1")
    assert judged(TABLE, moved_up).not_compared == ()


SERIAL: Objects = with_fields(TABLE, "sequence public.t_id_seq", owned_by="public.t.id", type="integer")
VIEW: Objects = {
    "materialized view public.m": {"definition": "SELECT 1"},
    "index public.m_i": {
        "of": "materialized view public.m",
        "definition": "CREATE INDEX m_i ON public.m (x)",
    },
}
PARTITIONED: Objects = {
    "table public.p": {"partition_key": "RANGE (at)"},
    "column public.p.at": {"of": "table public.p", "type": "date"},
    "table public.p1": {"partition_of": "public.p", "partition_bound": "FOR VALUES IN (1)"},
    "column public.p1.at": {"of": "table public.p1", "type": "date", "inherited": "yes"},
}
SECOND = ('table public."p\n2"', "table public.p21")
NESTED: Objects = {
    **PARTITIONED,
    SECOND[0]: {"partition_of": "public.p", "partition_bound": "DEFAULT", "partition_key": "HASH (at)"},
    SECOND[1]: {"partition_of": 'public."p\n2"', "partition_bound": "FOR VALUES WITH (modulus 1)"},
}
TRIGGERS: Objects = {
    f"trigger public.{table}.t": {
        "of": f"table public.{table}",
        "definition": f"CREATE TRIGGER t AFTER INSERT ON public.{table}",
        "inherited": inherited,
    }
    for table, inherited in (("p", None), ("p1", "yes"))
}
UNIQUE: Objects = {
    **TABLE,
    "constraint public.t.u": {"of": "table public.t", "type": "unique", "definition": "UNIQUE (name)"},
    "index public.u": {"of": "table public.t", "definition": "CREATE UNIQUE INDEX u", "constraint": "u"},
}

FOLLOWING: list[tuple[str, Objects, Objects, list[str]]] = [
    ("what belongs to a table", {}, SERIAL, ["extra table public.t"]),
    (
        "the sequence of a serial column",
        SERIAL,
        without(SERIAL, "column public.t.id", "sequence public.t_id_seq"),
        ["missing column public.t.id"],
    ),
    ("an index of a materialized view", VIEW, {}, ["missing materialized view public.m"]),
    ("the index of a constraint", TABLE, UNIQUE, ["extra constraint public.t.u"]),
    (
        "not the state of a constraint's index",
        UNIQUE,
        with_fields(UNIQUE, "index public.u", valid="no"),
        ["changed index public.u"],
    ),
    (
        "an inherited column of a partition",
        PARTITIONED,
        with_fields(
            with_fields(PARTITIONED, "column public.p.at", type="time"), "column public.p1.at", type="time"
        ),
        ["changed column public.p.at"],
    ),
    (
        "not a partition's own change",
        PARTITIONED,
        with_fields(PARTITIONED, "column public.p1.at", default="now()"),
        ["changed column public.p1.at"],
    ),
    ("the partitions of a table", {}, NESTED, ["extra table public.p"]),
    ("the partitions of a further partition", PARTITIONED, NESTED, []),
    (
        "the partitions of a missing partition",
        NESTED,
        without(NESTED, *SECOND),
        ['missing table public."p\n2"'],
    ),
    (
        "the trigger of a partition, which names its table",
        PARTITIONED,
        {**PARTITIONED, **TRIGGERS},
        ["extra trigger public.p.t"],
    ),
    (
        "not its other triggers",
        PARTITIONED,
        {
            **PARTITIONED,
            **without(TRIGGERS, "trigger public.p.t"),
            "trigger public.p.u": {"of": "table public.p"},
        },
        ["extra trigger public.p.u", "extra trigger public.p1.t"],
    ),
]


@pytest.mark.parametrize(
    ("before", "after", "expected"), [case[1:] for case in FOLLOWING], ids=[case[0] for case in FOLLOWING]
)
def test_what_follows_from_another_difference_is_not_repeated(
    before: Objects, after: Objects, expected: list[str]
) -> None:
    assert shown(judged(before, after)) == expected


def test_extra_partitions_are_counted_and_shown_where_asked_for() -> None:
    partition = {"partition_of": "public.p", "partition_bound": "FOR VALUES IN (2)"}
    more: Objects = {
        **PARTITIONED,
        "table public.p2": partition,
        "column public.p2.at": {"of": "table public.p2", "inherited": "yes"},
    }
    hidden = judged(PARTITIONED, more)
    assert shown(hidden) == []
    assert hidden.ignored == {"extra partitions of public.p": 1}
    assert shown(judged(PARTITIONED, more, CompareOptions(partitions=True))) == ["extra table public.p2"]
    assert shown(judged(more, PARTITIONED)) == ["missing table public.p2"]


def unnamed(name: str, generated: str | None = "yes", check: str = "CHECK (id > 0)") -> Objects:
    fields = {"of": "table public.t", "type": "check", "definition": check, "generated_name": generated}
    return {**TABLE, f"constraint public.t.{name}": fields}


@pytest.mark.parametrize(
    ("after", "differs"),
    [
        (unnamed("t_check1"), False),
        (unnamed("positive", None), True),
        (unnamed("t_check1", check="CHECK (id > 1)"), True),
    ],
    ids=["another number", "a name somebody gave", "another check"],
)
def test_generated_names_are_no_difference(after: Objects, differs: bool) -> None:
    assert bool(judged(unnamed("t_check"), after).differences) is differs


RENAMES: list[tuple[str, Objects, Objects, dict[str, str]]] = [
    (
        "column",
        TABLE,
        {**without(TABLE, "column public.t.name"), "column public.t.title": TABLE["column public.t.name"]},
        {"public.t.name": "public.t.title", "public.t.title": "public.t.name"},
    ),
    (
        "index",
        TABLE,
        {
            **without(TABLE, "index public.t_name"),
            "index public.i": {
                "of": "table public.t",
                "definition": "CREATE INDEX i ON public.t USING btree (name)",
                "valid": "yes",
            },
        },
        {"public.t_name": "public.i", "public.i": "public.t_name"},
    ),
    (
        "table",
        TABLE,
        {
            name.replace("public.t", "public.other"): {
                field: text and text.replace("public.t", "public.other").replace(" t_", " other_")
                for field, text in fields.items()
            }
            for name, fields in TABLE.items()
        },
        {"public.t": "public.other", "public.other": "public.t"},
    ),
    ("two candidates", {**VIEW, "view public.a": {"definition": "x"}, "view public.b": {"definition": "x"}},
     {**VIEW, "view public.c": {"definition": "x"}}, {}),
    ("another type", TABLE, {**without(TABLE, "column public.t.name"),
     "column public.t.title": {"of": "table public.t", "type": "integer"}}, {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "expected"), [case[1:] for case in RENAMES], ids=[case[0] for case in RENAMES]
)
def test_a_rename_is_hinted_at_where_there_is_one_candidate(
    before: Objects, after: Objects, expected: dict[str, str]
) -> None:
    renamed = {
        difference.change.key.identity: difference.renamed.identity
        for difference in judged(before, after).differences
        if difference.renamed is not None
    }
    assert renamed == expected


def test_partitions_follow_the_table_that_models_lack() -> None:
    comparison = judged(TABLE, {**TABLE, **NESTED}, CompareOptions(models=Models.BEFORE))
    assert shown(comparison) == ["extra table public.p"]
    assert comparison.not_compared == ()


def test_what_models_cannot_express_is_named_and_no_difference() -> None:
    revisions: Objects = {
        **TABLE,
        **VIEW,
        "function public.f()": {"definition": "x"},
        "function public.g()": {"definition": "x"},
        "table public.p1": {"partition_of": "public.t"},
        "column public.p1.id": {"of": "table public.p1", "type": "integer"},
    }
    revisions = with_fields(revisions, "table public.t", rls="enabled", owner="eve")
    comparison = judged(TABLE, revisions, CompareOptions(models=Models.BEFORE))
    assert shown(comparison) == []
    assert comparison.not_compared == (
        "2 functions, 1 materialized view: models cannot express them",
        "1 table: they are partitions, which models do not list",
        "owner of 1 table, row level security of 1 table: models cannot express them",
    )
    assert (
        judged(revisions, TABLE, CompareOptions(models=Models.AFTER)).not_compared == comparison.not_compared
    )


def test_what_only_the_models_have_is_a_difference_of_any_kind() -> None:
    assert shown(judged(VIEW, {}, CompareOptions(models=Models.BEFORE))) == [
        "missing materialized view public.m"
    ]


def test_comments_fail_where_models_say_them() -> None:
    after = with_fields(TABLE, "table public.t", comment="x")
    [difference] = judged(TABLE, after, CompareOptions(models=Models.BEFORE)).differences
    assert difference.severity is Severity.ERROR


def test_texts_that_mean_the_same_are_equivalent() -> None:
    before = with_fields(
        TABLE, "constraint public.t.c", of="table public.t", definition="one", validated="yes"
    )
    after = with_fields(before, "constraint public.t.c", definition="two")
    same = {(ObjectKey("constraint", "public.t.c"), "definition"): True}
    comparison = judged(before, after, answers=same)
    assert shown(comparison) == []
    assert [str(change.key) for change in comparison.equivalent] == ["constraint public.t.c"]
    other = with_fields(after, "constraint public.t.c", validated="no")
    [difference] = judged(before, other, answers=same).differences
    assert set(difference.change.fields) == {"validated"}


def test_a_policy_is_the_same_where_its_expressions_are() -> None:
    before: Objects = {"policy public.t.p": {"using": "a", "definition": "CREATE POLICY … a"}}
    after: Objects = {"policy public.t.p": {"using": "b", "definition": "CREATE POLICY … b"}}
    asked = (ObjectKey("policy", "public.t.p"), "using")
    assert shown(judged(before, after, answers={asked: True})) == []
    assert shown(judged(before, after, answers={asked: False})) == ["changed policy public.t.p"]


def test_views_of_two_major_versions_are_compared_only_by_asking() -> None:
    before: Objects = {"view public.v": {"definition": "SELECT t.a"}}
    after: Objects = {"view public.v": {"definition": "SELECT a"}}
    unasked = judged(before, after, version=150018)
    assert shown(unasked) == []
    assert unasked.not_compared == ("the text of 1 view: the servers print it differently",)
    asked = (ObjectKey("view", "public.v"), "definition")
    assert shown(judged(before, after, answers={asked: False}, version=150018)) == ["changed view public.v"]
    assert shown(judged(before, after)) == ["changed view public.v"]


NOT_NULL: Fields = {"of": "table public.t", "type": "not null", "definition": "NOT NULL id NOT VALID"}


@pytest.mark.parametrize(
    ("options", "version", "differs"),
    [
        (CompareOptions(), 180000, True),
        (CompareOptions(), 150000, False),
        (CompareOptions(models=Models.BEFORE), 180000, False),
    ],
    ids=["same major", "another major", "models"],
)
def test_not_null_constraints_count_where_both_sides_can_have_them(
    options: CompareOptions, version: int, differs: bool
) -> None:
    after = {**TABLE, "constraint public.t.n": NOT_NULL}
    changed = with_fields(after, "constraint public.t.n", comment="x", definition="NOT NULL id NO INHERIT")
    assert bool(judged(TABLE, after, options, version=version).differences) is differs
    assert bool(judged(after, changed, options, version=version).differences) is differs


OWNERS = "<owner>: SELECT, TRIGGER"


@pytest.mark.parametrize(
    ("before", "after", "version", "differs"),
    [
        (f"{OWNERS}, MAINTAIN", OWNERS, 160000, False),
        (
            f"a: SELECT\n{OWNERS}, MAINTAIN*\nb: SELECT by c",
            f"a: SELECT\n{OWNERS}\nb: SELECT by c",
            150000,
            False,
        ),
        (f"{OWNERS}, MAINTAIN", f"{OWNERS}\na: SELECT", 160000, True),
        (f"{OWNERS}, MAINTAIN", OWNERS, 170000, True),
    ],
    ids=["before 17", "of several", "another grant too", "both have it"],
)
def test_a_privilege_that_older_servers_do_not_have_is_no_difference(
    before: str, after: str, version: int, differs: bool
) -> None:
    sides = [with_fields(TABLE, "table public.t", acl=acl) for acl in (before, after)]
    comparison = judged(sides[0], sides[1], CompareOptions("strict"), version=version)
    assert bool(comparison.differences) is differs


IGNORES: list[tuple[str, str, list[str], int]] = [
    ("exact", "index public.t_name", ["changed column public.t.name", "extra table public.tmp_1"], 1),
    ("pattern", "table public.tmp_*", ["changed column public.t.name", "missing index public.t_name"], 1),
    ("any kind", "* public.t*", [], 3),
    ("a field", "comment of column *", ["changed column public.t.name"], 1),
    ("a field of an extra object", "persistence of table *", ["all"], 0),
    ("another database", "ledger@* *", ["all"], 0),
    ("this database", "shop@* *", [], 3),
    ("until tomorrow", "* * until 2026-11-24 # why", [], 3),
    ("until today", "* * until 2026-11-23", [], 3),
    ("expired", "* * until 2026-11-22", ["all"], 0),
    ("another kind", "view *", ["all"], 0),
]


@pytest.mark.parametrize(
    ("rule", "expected", "count"), [case[1:] for case in IGNORES], ids=[case[0] for case in IGNORES]
)
def test_a_rule_hides_what_it_covers_and_is_counted(rule: str, expected: list[str], count: int) -> None:
    after: Objects = {
        **without(TABLE, "index public.t_name"),
        "table public.tmp_1": {"persistence": "permanent"},
    }
    after = with_fields(after, "column public.t.name", comment="x", type="varchar")
    everything = ["changed column public.t.name", "missing index public.t_name", "extra table public.tmp_1"]
    rules = CompareOptions(
        ignore=(parse_difference_rule(rule, ("shop", "ledger")),), today=date(2026, 11, 23)
    )
    comparison = judged(TABLE, after, rules)
    expected = everything if expected == ["all"] else expected
    if rule == "comment of column *":
        expected = everything
    assert shown(comparison) == expected
    assert comparison.ignored == ({rule: count} if count else {})


@pytest.mark.parametrize("text", ["", "index", "nowhere@index *", "index * until soon", "# why"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_difference_rule(text, ("shop",))


def test_brackets_of_an_argument_are_no_pattern() -> None:
    rule = parse_difference_rule("function public.f(integer[], text[])", ("shop",))
    assert rule.matches("shop", "function public.f(integer[], text[])")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), (("revisions", "current"), ("live", None))),
        (("models",), (("models", None), ("live", None))),
        (("models", "revisions"), (("models", None), ("revisions", None))),
        (("revisions@abc", "revisions"), (("revisions", "abc"), ("revisions", None))),
        (("revisions@shop@-1", "live"), (("revisions", "shop@-1"), ("live", None))),
        (("old.json.gz", "live"), (("file", None), ("live", None))),
        (("snapshots/", "live"), (("file", None), ("live", None))),
    ],
)
def test_sides_are_what_was_typed(texts: tuple[str, ...], expected: Any) -> None:
    assert tuple((str(side.source), side.target) for side in parse_sides(texts)) == expected


@pytest.mark.parametrize(
    "texts", [("modles",), ("live",), ("revisions@",), ("models@x",), ("models", "models")]
)
def test_what_is_no_side_is_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        parse_sides(texts)


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("live", True),
        ("revisions@current", True),
        ("revisions@-1", True),
        ("revisions@a@+1", True),
        ("revisions@a1b2", False),
        ("models", False),
    ],
)
def test_a_side_says_whether_it_needs_the_database(text: str, asks: bool) -> None:
    assert parse_side(text).needs_live_database is asks


def test_a_file_may_be_named_for_each_database(tmp_path: Any) -> None:
    assert str(ComparisonSide(Source.FILE, "a/{database}.json").file("shop")) == "a/shop.json"
    assert ComparisonSide(Source.FILE, str(tmp_path)).file("shop") == tmp_path / "shop.json"
    (tmp_path / "shop.json.gz").touch()
    assert ComparisonSide(Source.FILE, str(tmp_path)).file("shop") == tmp_path / "shop.json.gz"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (
            "(ARRAY['a'::character varying, (lower(b, 'x'))::character varying])::text[]",
            "ARRAY[('a'::character varying)::text, ((lower(b, 'x'))::character varying)::text]",
        ),
        ("((ARRAY[a])::character varying(3)[])::text[]", "ARRAY[((a)::character varying(3))::text]"),
        ('(ARRAY[a])::public."a, b"[]', 'ARRAY[(a)::public."a, b"]'),
        ("(ARRAY[a])::timestamp(3) with time zone[]", "ARRAY[(a)::timestamp(3) with time zone]"),
        ("'(ARRAY[a, b])::text[]' || \"(ARRAY[a])::text[]\"", None),
        ("(ARRAY['it''s ])::x[]', ''])::text[]", "ARRAY[('it''s ])::x[]')::text, ('')::text]"),
        ("f(ARRAY[a, b])::text[]", None),
        ("(ARRAY[a, b])::text", None),
        ("CASE WHEN c THEN (ARRAY[a])::text ELSE ARRAY[]::text[] END", None),
    ],
)
def test_casts_of_arrays_are_read_as_casts_of_their_elements(text: str, read: str | None) -> None:
    assert cast_elements(f"x = ANY ({text})") == f"x = ANY ({read or text})"
