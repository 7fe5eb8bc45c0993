"""Commands and options as their modules declare them."""

from __future__ import annotations

import pytest

from circle_migrate.cli import app
from tests.deployments import invoke


def test_a_command_that_the_table_does_not_list_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app._COMMANDS, "inspect", ("status",))
    assert invoke(["heads"]).status == 0
    assert "Did you mean 'heads'" in invoke(["head"]).stderr
