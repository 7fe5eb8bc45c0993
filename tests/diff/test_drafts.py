"""What a drafted revision does beside changing the schema: rows, names and repeated runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.core.errors import ExitCode
from tests.diff.drafts import HEAD, Deploy, Shop, statements, write


@pytest.mark.parametrize(
    "other",
    [
        "VIEW thing AS SELECT 1 AS id",
        pytest.param("TYPE thing AS (id integer)", marks=pytest.mark.thorough),
    ],
)
def test_a_draft_that_fails_is_no_success(shop: Shop, deploy: Deploy, other: str) -> None:
    statements(shop, f"CREATE {other}")
    shop.model(HEAD + 'Table("thing", metadata, key())')
    written = write(deploy("main", live=False))
    assert (written.exit_code, written.failed) == (ExitCode.FAILED, ("main",))
    assert written.notes[1].startswith("main: upgrade() of the new revision failed in a scratch database: ")
    assert "already exists (SQLSTATE 42" in written.notes[1]
    assert written.notes[2:] == (
        "main: downgrade() of the new revision was not tried, because upgrade() fails",
        "main: the new revision is not finished: edit its file, or delete it",
    )
    text = Path(written.revisions[0].path).read_text(encoding="utf-8")
    assert "upgrade() -> None:\n    # DRAFT: this function failed in a scratch database: " in text
    assert "downgrade() -> None:\n    # DRAFT: this function was not tried, because upgrade() fails\n" in text
