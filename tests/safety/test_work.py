"""What the text of a statement says about its work."""

from __future__ import annotations

import pytest

from circle_migrate.safety.trace.work import assigns


@pytest.mark.parametrize(
    ("sql", "is_set"),
    [
        ("UPDATE t SET a = 1, b = 2 WHERE id = 3", True),
        ("UPDATE t SET (a, b) = (1, 2)", True),
        ("UPDATE t SET a = (SELECT max(x) FROM y WHERE z = 1), b = 2", True),
        ("UPDATE t SET a = extract(year FROM c), b = 2", True),
        ("UPDATE t SET a = '(', b = 2 FROM y", True),
        ("UPDATE t SET a = 1 FROM y WHERE t.b = y.b", False),
        ("UPDATE t SET a = (SELECT b FROM y) WHERE b = 2", False),
    ],
)
def test_column_that_an_update_sets(sql: str, is_set: bool) -> None:
    assert assigns(sql, "b") == is_set
