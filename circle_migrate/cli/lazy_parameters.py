"""Commands that convert only the values that need it.

Typer converts every value of a command, also a default, through a pydantic adapter. Importing pydantic takes
about as long as a query on both databases, and most values are strings, choices or defaults that need no
conversion. Typer has no option for this, so its private classes are used here; the test of what a command
imports fails when a later version of Typer works differently.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from typer import BadParameter
from typer._coercion import RuntimeParam, build_runtime_param
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from circle_migrate.cli.help import Help

if TYPE_CHECKING:
    from typer._click import Context, Parameter


class _LazyParameters(Help):
    """A command or group whose parameters are `LazyParam`s."""

    def get_params(self, ctx: Context) -> list[Parameter]:
        """Return the parameters, with `--help`."""
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if isinstance(parameter, TyperArgument | TyperOption):
                kind = parameter.type_descriptor
                parameter._runtime_param = LazyParam(kind.parameter_info, kind.annotation)
                if isinstance(parameter, TyperArgument) or parameter.is_flag:
                    parameter.display_type_rich = _no_type  # type: ignore[method-assign]
        return parameters


def _no_type(ctx: Context) -> None:
    """Replace the name of a Python type that Typer shows beside a flag or an argument."""


class Command(_LazyParameters, TyperCommand):
    """The class of every command."""


class CommandGroup(_LazyParameters, TyperGroup):
    """The class of every group of commands."""


class LazyParam(RuntimeParam):
    """A converter that passes on strings, choices and converted values, and leaves the rest to Typer."""

    def _coerce_value(self, value: Any, param: Any, ctx: Context) -> Any:
        kind = self.annotation
        if kind == list[str]:
            return list(value)
        if isinstance(kind, type) and isinstance(value, kind):
            return value
        if isinstance(kind, type) and issubclass(kind, Enum):
            choices = [str(member.value) for member in kind]
            if value not in choices:
                raise BadParameter(f"{value!r} is none of {', '.join(choices)}", ctx=ctx, param=param)
            return kind(value)
        return build_runtime_param(param.type_descriptor)._coerce_value(value, param=param, ctx=ctx)
