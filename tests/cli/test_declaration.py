"""Commands and options as their modules declare them."""

from __future__ import annotations

from inspect import Parameter

import pytest

from circle_migrate.cli import app, command
from circle_migrate.cli.options import flag
from tests.deployments import invoke


def test_a_command_that_the_table_does_not_list_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app._COMMANDS, "inspect", ("status",))
    assert invoke(["heads"]).status == 0
    assert "Did you mean 'heads'" in invoke(["head"]).stderr


def test_a_common_flag_overrides_the_setting_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    option = flag("--protected", "Protect every database.")
    parameter = Parameter("protected", Parameter.KEYWORD_ONLY, default=option, annotation=bool)
    monkeypatch.setattr(command, "COMMON", {**command.COMMON, "protected": parameter})
    answer = invoke(["config", "show", "--protected"])
    assert ["protected", "true", "flag", "--protected"] in [
        line.split() for line in answer.stdout.splitlines()
    ]
