"""Plugins of pydantic: not for the settings, whose passwords they could record, and found only on demand."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_DISABLED = "PYDANTIC_DISABLE_PLUGINS"
_LOADER = "pydantic.plugin._loader"
"""Pydantic's module that finds plugins; its imports take a thirtieth of `status`."""


@contextmanager
def without_plugins() -> Iterator[None]:
    """Let pydantic build validators without plugins in the block; models of the project have them."""
    given = {name: value for name, value in os.environ.items() if name == _DISABLED}
    os.environ[_DISABLED] = "__all__"
    try:
        yield
    finally:
        del os.environ[_DISABLED]
        os.environ |= given


def load_plugins_on_demand() -> None:
    """Import pydantic's loader of plugins when a model may have some; Typer and the settings have none."""
    loader: Any = ModuleType(_LOADER)
    loader.get_plugins = _get_plugins
    sys.modules[_LOADER] = loader


def _get_plugins() -> Iterable[Any]:
    if os.environ.get(_DISABLED) in ("__all__", "1", "true"):
        return ()
    del sys.modules[_LOADER]
    from pydantic.plugin._loader import get_plugins

    return get_plugins()
