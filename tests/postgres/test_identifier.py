"""Identifiers: quoting, splitting, folding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circle_migrate.postgres.identifier import (
    base_name,
    literal,
    quote_if_needed,
    split_identity,
    split_lines,
    unquote,
    unquote_and_fold,
)


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        ("public.t", ("public", "t")),
        ('"a.b"."x(y)"."Z z"', ('"a.b"', '"x(y)"', '"Z z"')),
        ('app."q""uote"', ("app", '"q""uote"')),
        ('app."f g"(integer, app."T")', ("app", '"f g"')),
        ("<owner>.app.tables", ("<owner>", "app", "tables")),
    ],
)
def test_identities_are_taken_apart(identity: str, expected: tuple[str, ...]) -> None:
    assert split_identity(identity) == expected
    assert base_name(identity) == expected[-1]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_names_survive_quoting(name: str) -> None:
    assert unquote(quote_if_needed(name)) == name
    assert split_identity(f"app.{quote_if_needed(name)}") == ("app", quote_if_needed(name))


@pytest.mark.parametrize(
    ("value", "expected"), [("it's", "'it''s'"), ("a\\b", "E'a\\\\b'"), ("", "''"), ("'\\", "E'''\\\\'")]
)
def test_literals(value: str, expected: str) -> None:
    assert literal(value) == expected


@pytest.mark.parametrize(
    ("identity", "name"), [("public.+(integer, integer)", "+"), ("(integer AS text)", "(integer AS text)")]
)
def test_base_names_of_what_is_no_relation(identity: str, name: str) -> None:
    assert base_name(identity) == name


def test_only_unquoted_identifiers_are_folded() -> None:
    assert [unquote_and_fold(identifier) for identifier in ("Orders", '"Or""ders"')] == ["orders", 'Or"ders']


def test_quoted_identifiers_may_hold_line_breaks() -> None:
    assert split_lines('app.a\n"b\nc".d') == ["app.a", '"b\nc".d']
    assert split_lines(None) == []
