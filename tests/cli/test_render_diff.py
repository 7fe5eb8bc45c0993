"""A diff on a terminal of any width, in a pipe, as a patch, as findings and as JSON.

The values are created here; no server is queried.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from circle_migrate.cli.formats.sanitize import replace_controls, visible
from circle_migrate.cli.render.widgets import hint_lines
from circle_migrate.cli.write import DIFFERENCES, console, format_failure, format_result, render
from circle_migrate.commands.json_schema.command_schema import _definitions
from circle_migrate.core import redaction
from circle_migrate.core.errors import ExitCode, Unreachable, UsageError
from circle_migrate.core.findings import Check, Finding, Report, Severity
from circle_migrate.diff.describe import describe_field, detail, plural, relative_name, summary
from circle_migrate.diff.result import NEVER_COMPARED, Aspect, Comparison, Difference, DiffResult
from circle_migrate.postgres.catalog.snapshot import (
    Change,
    Fields,
    ObjectKey,
    Op,
    Ownership,
    Snapshot,
    changes_between,
)

USERS = "table public.users"
EMAIL = ObjectKey("column", "public.users.email")
BODY = "CREATE FUNCTION public.f(integer)\n AS $$\nBEGIN\n  PERFORM 1;\n  RETURN 1;\nEND $$\n"

Objects = dict[ObjectKey, Fields]


def snapshot(origin: str, objects: Objects, **known: Any) -> Snapshot:
    return Snapshot("main", origin, known.pop("version", 180004), objects, **known)


def comparison(before: Objects, after: Objects, **known: Any) -> Comparison:
    """Compare both sides. A difference is an error of the definition unless `aspects` has another value."""
    old = snapshot("revisions@a1", before, revisions=("a1",))
    new = snapshot("live", after, revisions=("a1",), unmodelled=known.pop("unmodelled", {}))
    renamed = known.pop("renamed", {})
    aspects = known.pop("aspects", {})
    changes = [
        Difference(
            change,
            *aspects.get(change.key, (Aspect.DEFINITION, Severity.ERROR)),
            renamed=renamed.get(change.key),
        )
        for change in changes_between(old, new)
    ]
    return Comparison(old, new, tuple(changes), **known)


def of_one(
    key: ObjectKey, before: Mapping[str, str | None] | None, after: Mapping[str, str | None] | None
) -> Comparison:
    """Compare two versions of one object."""
    return comparison(
        {} if before is None else {key: before},
        {} if after is None else {key: after},
    )


def diff(*comparisons: Comparison, checks: tuple[Check, ...] = ()) -> DiffResult:
    return DiffResult("diff", checks, root="/project", comparisons=comparisons)


def table(shown: DiffResult) -> str:
    text = io.StringIO()
    render(shown, console(text))
    return text.getvalue()


def drawn(shown: DiffResult, width: int = 80, **options: Any) -> str:
    text = io.StringIO()
    screen = Console(
        file=text, force_terminal=True, width=width, highlight=False, emoji=False, _environ={}, **options
    )
    render(shown, screen)
    return text.getvalue()


def unstyled(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def body(shown: Comparison) -> list[str]:
    """Return the lines between the head and the summary."""
    lines = table(diff(shown)).splitlines()
    return [line for line in lines[3:-1] if line]


BEFORE: Objects = {
    ObjectKey("table", "public.users"): {"rls": "enabled", "acl": "app: INSERT"},
    EMAIL: {"of": USERS, "type": "character varying(50)", "not_null": "yes"},
    ObjectKey("index", "public.ix_users_email"): {
        "of": USERS,
        "definition": "CREATE INDEX ix_users_email ON public.users USING btree (email)",
    },
    ObjectKey("table", "public.people"): {"owner": "<owner>"},
    ObjectKey("column", "public.people.id"): {"of": "table public.people", "type": "bigint"},
    ObjectKey("function", "public.f(integer)"): {"definition": BODY},
    ObjectKey("enum", "public.mood"): {"labels": "sad\nok"},
    ObjectKey("materialized view", "public.totals"): {"definition": " SELECT 1;"},
    ObjectKey("index", "public.ix_totals"): {"of": "materialized view public.totals", "valid": "yes"},
}
AFTER: Objects = {
    ObjectKey("table", "public.users"): {"rls": "off", "acl": "app: INSERT\npublic: SELECT"},
    EMAIL: {"of": USERS, "type": "character varying(80)", "not_null": None},
    ObjectKey("column", "public.users.nick"): {
        "of": USERS,
        "type": "text",
        "default": "'x'::text",
        "position": "9",
    },
    ObjectKey("function", "public.f(integer)"): {
        "definition": BODY.replace("RETURN 1", "RETURN 2"),
        "security_definer": "yes",
    },
    ObjectKey("enum", "public.mood"): {"labels": "sad\nangry\nok"},
    ObjectKey("materialized view", "public.totals"): {"definition": " SELECT 1;"},
    ObjectKey("index", "public.ix_totals"): {"of": "materialized view public.totals", "valid": "no"},
}


def everything() -> Comparison:
    """Return a comparison with objects of tables, other objects, and notes."""
    compared = comparison(
        BEFORE,
        AFTER,
        aspects={
            ObjectKey("table", "public.users"): (Aspect.SECURITY, Severity.ERROR),
            ObjectKey("index", "public.ix_totals"): (Aspect.STATE, Severity.NOTE),
            ObjectKey("function", "public.f(integer)"): (Aspect.SECURITY, Severity.WARNING),
        },
        renamed={ObjectKey("table", "public.people"): ObjectKey("table", "public.persons")},
        equivalent=(Change(Op.CHANGED, ObjectKey("view", "public.v"), {"definition": ("a", "b")}),),
        ignored={"index public.tmp_*": 2, "column order": 1},
        compared={"table": 9, "column": 61, "index": 1, "policy": 2},
        not_compared=("views: PostgreSQL 15 and 18 print them differently",),
        unmodelled={"operator": 2},
        pending=1,
    )
    # A difference that follows from another one is not repeated.
    kept = tuple(
        difference
        for difference in compared.differences
        if difference.change.key.identity != "public.people.id"
    )
    return Comparison(
        **{name: getattr(compared, name) for name in compared.__slots__} | {"differences": kept}
    )


PLAIN = """\
main: revisions@a1 -> live
  revisions@a1: PostgreSQL 18.4
  live: at a1, PostgreSQL 18.4

materialized view public.totals
  ~ note     index ix_totals: valid -> invalid (state)

table public.people
  - error    table is missing in live, perhaps renamed to public.persons (definition)
      with 1 column

table public.users
  ~ error    table (security)
      privileges:
         app: INSERT
        +public: SELECT
      row level security switched off
  ~ error    column email (definition)
      not null -> nullable
      type character varying(50) -> character varying(80)
  + error    column nick is extra in live (definition)
      type text, default 'x'::text
  - error    index ix_users_email is missing in live (definition)
      CREATE INDEX ix_users_email ON public.users USING btree (email)

enums
  ~ error    public.mood (definition)
      labels:
         sad
        +angry
         ok

functions
  ~ warning  public.f(integer) (security)
      definition:
         BEGIN
           PERFORM 1;
        -  RETURN 1;
        +  RETURN 2;
         END $$
         
      security invoker -> security definer

  equivalent: printed differently with the same meaning: 1 view
  ignored: 2 by index public.tmp_*
  ignored: 1 by column order
  pending: 1 revision not applied yet, which is no difference
main: 8 differences (6 errors, 1 warning, 1 note); compared: 9 tables, 61 columns, 1 index, 2 policies; \
not compared: views: PostgreSQL 15 and 18 print them differently; 2 operators (of unknown kind); \
owner, privileges, comment, connection limit and locale of the database itself
"""  # noqa: W293 - the line of a context that is empty


def test_a_pipe_gets_lines() -> None:
    assert table(diff(everything())) == PLAIN


@pytest.mark.parametrize("width", [1, 10, 20, 40, 80, 200, 1000])
def test_a_terminal_of_any_width_gets_the_same_words(width: int) -> None:
    text = unstyled(drawn(diff(everything()), width))
    assert "".join(text.split()) == "".join(PLAIN.split())
    if width >= 40:
        assert max(map(len, text.splitlines())) <= width


def test_a_terminal_gets_both_sides_in_colour() -> None:
    text = drawn(diff(everything()))
    assert "\x1b[31mcharacter varying(50)\x1b[0m -> \x1b[32mcharacter varying(80)\x1b[0m" in text
    assert "\x1b[31m-  RETURN 1;\x1b[0m" in text
    assert "\x1b[32m+  RETURN 2;\x1b[0m" in text
    assert "\x1b[31mrevisions@a1\x1b[0m -> \x1b[32mlive\x1b[0m" in text
    for severity, colour in {"error": 31, "warning": 33, "note": 36}.items():
        assert re.search(rf"\x1b\[{colour}m[-+~] {severity} +\x1b", text), severity


def test_without_colour_the_words_say_it_all() -> None:
    text = drawn(diff(everything()), 1000, color_system=None)
    assert [line.rstrip() for line in text.splitlines()] == [line.rstrip() for line in PLAIN.splitlines()]


def test_no_difference_is_said() -> None:
    same = comparison(BEFORE, BEFORE, compared={"table": 2})
    assert (
        table(diff(same)).splitlines()[-1]
        == f"main: no differences; compared: 2 tables; not compared: {NEVER_COMPARED}"
    )


def test_a_database_that_could_not_be_compared_is_said_last() -> None:
    unreachable = Finding(
        "unreachable", Severity.ERROR, "no answer", ExitCode.UNREACHABLE, database="credentials"
    )
    remark = Finding("usage", Severity.NOTE, "the ignore rule hides nothing", ExitCode.DONE, database="third")
    checks = (Check("a", "A", (unreachable, remark)), Check("b", "B", skipped="why"))
    shown = diff(comparison({}, {}), checks=checks)
    lines = table(shown).splitlines()
    assert "  error: no answer" in lines
    assert any(line.endswith("the ignore rule hides nothing") for line in lines)
    assert "B: skipped, why" in lines
    assert lines[-2:] == [
        f"main: no differences; compared: nothing; not compared: {NEVER_COMPARED}",
        "credentials: not compared",
    ]


def test_findings_that_are_the_differences_are_not_repeated() -> None:
    compared = of_one(EMAIL, {"type": "text"}, {"type": "bytea"})
    [difference] = compared.differences
    finding = Finding(
        "models-differ",
        Severity.ERROR,
        f"main: {summary(difference, compared)}",
        ExitCode.DRIFT,
        database="main",
        subject=str(EMAIL),
    )
    shown = diff(compared, checks=(Check("main", "Main", (finding, replace(finding, detail="other"))),))
    *lines, last = table(diff(compared)).splitlines()
    labels = ["hint", *[""] * 9]
    hints = [
        f"  {label:<6} {text}" for label, text in zip(labels, hint_lines(finding.remedy_text), strict=False)
    ]
    assert table(shown).splitlines() == [*lines, *hints, last]
    assert "main: column public.users.email: type text -> bytea" in format_result("github", shown)


@pytest.mark.parametrize("output_format", ["junit", "sarif", "github", "gitlab"])
def test_a_finding_names_the_object_and_is_placed_at_the_tree(output_format: str) -> None:
    difference, compared = _judged(
        ObjectKey("function", "public.f(integer)"), {"definition": (BODY, BODY * 2)}
    )
    finding = Finding(
        "models-differ",
        Severity.ERROR,
        f"main: {summary(difference, compared)}",
        ExitCode.DRIFT,
        database="main",
        subject=str(difference.change.key),
        detail=detail(difference, compared),
    )
    shown = DiffResult(
        "diff",
        (Check("main", "main is as its revisions say", (finding,)),),
        folders={"main": "/project/migrations/main"},
        root="/project",
        comparisons=(compared,),
    )
    text = format_result(output_format, shown)
    assert "main: function public.f(integer): different definition" in text
    assert "+++ live: definition" in text
    assert output_format in {"junit", "github"} or '"migrations/main"' in text
    assert shown.exit_code is ExitCode.DRIFT


def test_sides_of_one_name_are_told_apart() -> None:
    before, after = snapshot("a.json", {EMAIL: {"type": "text"}}), snapshot("a.json", {}, version=160014)
    [change] = changes_between(before, after)
    shown = Comparison(before, after, (Difference(change, Aspect.DEFINITION, Severity.ERROR),))
    assert table(diff(shown)).startswith(
        "main: a.json (from) -> a.json (to)\n"
        "  a.json (from): PostgreSQL 18.4\n  a.json (to): PostgreSQL 16.14\n"
    )
    assert "is missing in a.json (to)" in table(diff(shown))


NASTY = {
    "markup": (
        "[bold red]x[/] [link=http://h]y[/link] :smile:",
        "[bold red]x[/] [link=http://h]y[/link] :smile:",
    ),
    "escape": ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
    "lines": ("a\rb\nc\x85d\u2028e", r"a\rb\nc\x85d\u2028e"),
    "direction": ("a\u202eb\u2066c\u200bd", r"a\u202eb\u2066c\u200bd"),
    "no-break space": ("a\xa0b", r"a\xa0b"),
    "surrogate": ("a\udcffb", r"a\udcffb"),
    "letters": ("größe 名前", "größe 名前"),
}


@pytest.mark.parametrize(("name", "shown"), NASTY.values(), ids=NASTY)
def test_names_are_shown_as_they_are_and_move_no_cursor(name: str, shown: str) -> None:
    key = ObjectKey("index", f'public."{name}"')
    compared = of_one(key, {"definition": f"one {name}"}, {"definition": f"two {name}"})
    for text in (
        table(diff(compared)),
        unstyled(drawn(diff(compared), 500)),
        format_result("patch", diff(compared)),
    ):
        assert shown in text
        assert text.replace("\n", "").replace("\t", "").isprintable()
        text.encode()


@pytest.mark.parametrize(("name", "shown"), NASTY.values(), ids=NASTY)
def test_every_place_of_a_text_is_harmless(name: str, shown: str) -> None:
    """Every text of a comparison comes from a server, a file or a user."""
    key, owner = ObjectKey("column", f"{name}.c"), ObjectKey("table", name)
    before = snapshot(f"{name}.json", {owner: {}, key: {"of": str(owner), name: name, "b": f"{name}\n1"}})
    after = snapshot("live", {owner: {"x": name}, key: {"of": str(owner), "b": f"{name}\n2"}})
    compared = Comparison(
        before,
        after,
        tuple(
            Difference(change, Aspect.DEFINITION, Severity.NOTE, ObjectKey("table", name))
            for change in changes_between(before, after)
        ),
        ignored={name: 1},
        not_compared=(name,),
    )
    for text in (
        table(diff(compared)),
        unstyled(drawn(diff(compared))),
        format_result("patch", diff(compared)),
    ):
        assert text.replace("\n", "").replace("\t", "").isprintable()
    json.loads(format_result("json", diff(compared)))


def test_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", set())
    redaction.register("hunter2")
    compared = of_one(
        ObjectKey("view", "public.v"), {"definition": "hunter2\n1"}, {"definition": "hunter2\n2"}
    )
    for text in (
        table(diff(compared)),
        drawn(diff(compared)),
        format_result("patch", diff(compared)),
        format_result("json", diff(compared)),
    ):
        assert redaction.MASK in text
        assert "hunter2" not in text


@pytest.mark.parametrize(
    ("field", "sides", "words"),
    [
        ("type", ("character varying(50)", "text"), "type character varying(50) -> text"),
        ("default", (None, "now()"), "default none -> now()"),
        ("default", ("''::text", None), "default ''::text -> none"),
        ("not_null", (None, "yes"), "nullable -> not null"),
        ("not_null", ("yes", "no"), "not null -> nullable"),
        ("rls", ("enabled", "off"), "row level security switched off"),
        ("rls", (None, "enabled"), "row level security switched on"),
        ("rls_forced", ("yes", None), "row level security for the owner switched off"),
        ("security_definer", (None, "yes"), "security invoker -> security definer"),
        ("enabled", ("origin", "disabled"), "enabled origin -> disabled"),
        ("replica_identity", (None, "full"), "replica identity default -> full"),
        ("replica_identity", (None, "yes"), "replica identity no -> yes"),
        ("clustered", ("yes", None), "clustered yes -> no"),
        ("persistence", (None, "unlogged"), "persistence logged -> unlogged"),
        ("valid", (None, "no"), "valid -> invalid"),
        ("validated", ("no", None), "not validated -> validated"),
        ("populated", (None, "no"), "populated -> not populated"),
        ("acl", ("app: SELECT", None), "privileges app: SELECT -> none"),
        ("acl", ("app: SELECT", ""), "privileges app: SELECT -> nobody"),
        ("sequence_acl", (None, "app: USAGE"), "privileges of its sequence none -> app: USAGE"),
        ("definition", ("a\nb", "a\nc"), "different definition"),
        ("definition", ("a" * 60, "b" * 60), "different definition"),
    ],
)
def test_fields_are_described(field: str, sides: tuple[str | None, str | None], words: str) -> None:
    assert str(describe_field(field, sides)) == words
    assert summary(*_judged(EMAIL, {field: sides})) == f"column public.users.email: {words}"


def _judged(
    key: ObjectKey, fields: Mapping[str, tuple[str | None, str | None]]
) -> tuple[Difference, Comparison]:
    compared = of_one(
        key,
        {name: before for name, (before, _) in fields.items()},
        {name: after for name, (_, after) in fields.items()},
    )
    return compared.differences[0], compared


def test_a_finding_has_the_long_texts_in_its_detail() -> None:
    text = detail(*_judged(EMAIL, {"definition": ("a\nb", "a\nc"), "type": ("x", "y")}))
    assert text == "--- revisions@a1: definition\n+++ live: definition\n a\n-b\n+c"
    assert detail(*_judged(EMAIL, {"type": ("x", "y")})) is None


@pytest.mark.parametrize(
    ("identity", "root", "name"),
    [
        ("public.users.email", "public.users", "column email"),
        ('"a.b"."c.d".e', '"a.b"."c.d"', "column e"),
        ('"a.b".i', '"a.b"."c.d"', "column i"),
        ("public.users_x.email", "public.users", "column users_x.email"),
        ("other.i", "public.users", "column other.i"),
        ("anything", "alone", "column anything"),
    ],
)
def test_names_leave_out_what_the_heading_says(identity: str, root: str, name: str) -> None:
    assert relative_name(ObjectKey("column", identity), ObjectKey("table", root)) == name


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("table", "tables"),
        ("index", "indexes"),
        ("policy", "policies"),
        ("text search dictionary", "text search dictionaries"),
        ("operator class", "operator classes"),
        ("statistics", "statistics"),
        ("default privileges", "default privileges"),
        ("key", "keys"),
    ],
)
def test_plurals(word: str, words: str) -> None:
    assert plural(word) == words


def test_owners_that_own_each_other_end_somewhere() -> None:
    a, b = ObjectKey("table", "a"), ObjectKey("table", "b")
    shown = comparison({a: {"of": "table b"}, b: {"of": "table a"}}, {})
    ownership = Ownership(shown.before, shown.after)
    assert list(ownership.owned_objects(a)) == [b]
    assert "2 differences" in table(diff(shown))
    assert format_result("patch", diff(shown)).count("--- ") == 2


def test_default_privileges_are_shown_with_those_who_get_them() -> None:
    fields = {"role": "<owner>", "acl": "eve: SELECT"}
    compared = of_one(ObjectKey("default privileges", "<owner>.tables"), None, fields)
    assert body(compared)[-1] == "      privileges eve: SELECT, role <owner>"


def test_lists_of_what_is_extra_are_one_line() -> None:
    shown = table(diff(of_one(ObjectKey("enum", "public.e"), None, {"labels": "new\nopen"})))
    assert "labels new, open\n" in shown
    shown = table(
        diff(of_one(ObjectKey("composite type", "public.c"), None, {"attributes": "a numeric(9, 2)\nb text"}))
    )
    assert "attributes a numeric(9, 2); b text\n" in shown


def test_partitions_are_counted_with_their_table() -> None:
    tables: Objects = {
        ObjectKey("table", "public.p"): {"partition_key": "LIST (a)"},
        ObjectKey("table", "public.p1"): {"partition_of": "public.p", "partition_key": "HASH (a)"},
        ObjectKey("table", "public.p2"): {"partition_of": "public.p1"},
    }
    assert "with 2 partitions" in table(diff(comparison({}, tables)))


def test_long_definitions_of_what_is_missing_are_cut() -> None:
    compared = of_one(
        ObjectKey("function", "public.f()"), {"definition": "\n".join(map(str, range(40)))}, None
    )
    assert body(compared)[-2:] == ["      11", "      and 28 more lines"]
    assert "-  39" in format_result("patch", diff(compared))


def test_a_patch_names_both_texts_of_every_difference() -> None:
    shown = everything()
    text = format_result("patch", diff(shown))
    heads = re.findall(r"^--- (.*)\t\n\+\+\+ (.*)\t$", text, re.MULTILINE)
    expected = {
        (
            "/dev/null" if difference.change.op is Op.ADDED else f"revisions@a1/main/{difference.change.key}",
            "/dev/null" if difference.change.op is Op.REMOVED else f"live/main/{difference.change.key}",
        )
        for difference in shown.differences
    }
    assert len(heads) == len(expected) == len(shown.differences)
    assert set(heads) == expected
    for difference in shown.differences:
        for sides in difference.change.fields.values():
            for sign, side in zip("-+", sides, strict=True):
                opposite = sides[sign == "-"] or ""
                for line in (side or "").split("\n"):
                    if line not in opposite:
                        assert re.search(rf"^[{sign}].*{re.escape(line)}$", text, re.MULTILINE), line


def test_a_patch_has_what_belongs_to_a_missing_table() -> None:
    assert "-column public.people.id\n-  of: table public.people\n-  type: bigint\n" in format_result(
        "patch", diff(everything())
    )


def test_a_patch_leaves_out_what_is_ignored() -> None:
    compared = of_one(EMAIL, {"type": "a", "comment": "x"}, {"type": "b", "comment": "y"})
    change = Change(Op.CHANGED, EMAIL, {"type": ("a", "b")})
    shown = Comparison(
        compared.before, compared.after, (Difference(change, Aspect.DEFINITION, Severity.NOTE),)
    )
    assert format_result("patch", diff(shown)).splitlines()[2:] == [
        "@@ -1,2 +1,2 @@",
        " comment: x",
        "-type: a",
        "+type: b",
    ]


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs patch(1)")
def test_a_patch_can_be_applied(tmp_path: Path) -> None:
    before = {EMAIL: {"of": USERS, "definition": BODY, "type": "text"}}
    after = {EMAIL: {"of": USERS, "definition": BODY.replace("PERFORM 1", "NULL"), "type": "bytea"}}
    text = tmp_path / "main" / str(EMAIL)
    text.parent.mkdir()
    whole = [line[1:] for line in format_result("patch", diff(comparison(before, {}))).splitlines()[3:]]
    text.write_text("\n".join(whole) + "\n", encoding="utf-8")
    patch = format_result("patch", diff(comparison(before, after)))
    subprocess.run(["patch", "-p1"], cwd=tmp_path, input=patch, text=True, check=True, capture_output=True)
    changed = [line[1:] for line in format_result("patch", diff(comparison({}, after))).splitlines()[3:]]
    assert text.read_text(encoding="utf-8").splitlines() == changed


@pytest.mark.parametrize("output_format", DIFFERENCES)
def test_formats_for_differences_say_what_was_not_compared(output_format: str) -> None:
    finding = Finding(
        "unreachable", Severity.ERROR, "no\n;DROP", ExitCode.UNREACHABLE, database="credentials"
    )
    compared = Comparison(snapshot("a", {}), snapshot("b", {}), (), not_compared=("views\r;DROP",))
    remark = replace(finding, severity=Severity.NOTE, message="hides nothing", database=None)
    lines = format_result(
        output_format, diff(compared, checks=(Check("c", "C", (finding, remark)),))
    ).splitlines()
    assert not any("hides nothing" in line for line in lines)
    mark = "-- " if output_format == "sql" else "# "
    assert lines[:2] == [
        rf"{mark}not compared: no\n;DROP",
        rf"{mark}main: not compared: views\r;DROP",
    ]


@pytest.mark.parametrize("output_format", DIFFERENCES)
def test_formats_for_differences_refuse_other_results(output_format: str) -> None:
    with pytest.raises(UsageError, match=f"result of `check` cannot be written as {output_format}"):
        format_result(output_format, Report("check", ()))


@pytest.mark.parametrize("output_format", DIFFERENCES)
def test_a_diff_that_could_not_begin_is_a_comment(output_format: str) -> None:
    [line] = format_failure(output_format, "diff", Unreachable("no answer")).splitlines()
    assert re.fullmatch(r"(--|#) not compared: no answer", line)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\n\tb", "a\r\n\tb"),
        ("a\rb", "a\ufffdb"),
        ("\x1b[31m\u202e", "\ufffd[31m\ufffd"),
        ("'\n ::error::a ##[x]' a::int\n::text::int", "'\n \ufffd:error::a \ufffd#[x]' a::int\n::text::int"),
        ("\x9b\u061c\u2028", "\ufffd" * 3),
    ],
)
def test_statements_keep_their_ends_of_lines_and_no_controls(text: str, shown: str) -> None:
    remark = "" if text == shown else "-- not exact: U+FFFD stands for control characters and "
    remark += "the beginning of CI commands\n" if remark else ""
    assert replace_controls(text, "-- ") == remark + shown


def test_sql_is_exact_and_has_no_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", set())
    redaction.register("users")
    text = "CREATE INDEX i ON public.users USING btree (a) WHERE b = '\x1b password=x'"
    compared = of_one(ObjectKey("index", "public.i"), None, {"definition": text})
    assert text.replace("\x1b", "\ufffd") in format_result("sql", diff(compared))


def test_visible_is_the_same_for_what_can_be_seen() -> None:
    assert visible("größe\t[x]") == "größe\t[x]"


def test_json_is_as_described() -> None:
    shown = json.loads(format_result("json", diff(everything())))
    described = {"$ref": "#/$defs/diff", "$defs": _definitions("diff")}
    jsonschema.Draft202012Validator(described).validate(shown)
    [document] = shown["comparisons"]
    assert [document["from"]["origin"], document["to"]["origin"]] == ["revisions@a1", "live"]
    assert document["differences"][0]["owner"] == USERS


def test_a_snapshot_is_as_described() -> None:
    described = {"$ref": "#/$defs/snapshot", "$defs": _definitions("snapshot")}
    validator = jsonschema.Draft202012Validator(described)
    for side in (everything().before, snapshot("models", {EMAIL: {"type": None}})):
        stored = json.loads(json.dumps(side.to_dict()))
        validator.validate(stored)
        for key in stored:
            assert not validator.is_valid({name: field for name, field in stored.items() if name != key}), key


def test_what_either_side_does_not_describe_is_counted() -> None:
    before = snapshot("a.json", {}, unmodelled={"security label": 3, "base type": 1})
    after = snapshot("live", {}, unmodelled={"security label": 2})
    assert Comparison(before, after, ()).to_dict()["unmodelled"] == {"base type": 1, "security label": 3}
