"""Commands that convert only the values that need it.

Typer converts every value of the command that was called, given or not, through a pydantic adapter made for
it. Importing pydantic takes about as long as asking both databases, and most values are texts that stay
texts, choices, or defaults. Typer has no option for this, which is why its inner classes appear here; the
test of what a command imports fails where a later version goes about it in another way.
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


class _Plain(Help):
    """A command or group that takes plain values as they are."""

    def get_params(self, ctx: Context) -> list[Parameter]:
        """The parameters, `--help` among them."""
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if isinstance(parameter, TyperArgument | TyperOption):
                kind = parameter.type_descriptor
                parameter._runtime_param = LazyParam(kind.parameter_info, kind.annotation)
                if isinstance(parameter, TyperArgument) or parameter.is_flag:
                    parameter.display_type_rich = _no_type  # type: ignore[method-assign]
        return parameters


def _no_type(ctx: Context) -> None:
    """What help pages show beside a flag's or an argument's name, where Typer has names of Python's types."""


class Command(_Plain, TyperCommand):
    """What commands are made of."""


class Group(_Plain, TyperGroup):
    """What groups of commands are made of."""


class LazyParam(RuntimeParam):
    """Takes what has its type already, and choices, as they are; leaves everything else to Typer."""

    def _coerce_value(self, value: Any, param: Any, ctx: Context) -> Any:
        kind = self.annotation
        if kind == list[str]:
            return list(value)
        if isinstance(kind, type) and isinstance(value, kind):
            return value
        if isinstance(kind, type) and issubclass(kind, Enum):
            choices = [str(each.value) for each in kind]
            if value not in choices:
                raise BadParameter(f"{value!r} is none of {', '.join(choices)}", ctx=ctx, param=param)
            return kind(value)
        return build_runtime_param(param.type_descriptor)._coerce_value(value, param=param, ctx=ctx)
