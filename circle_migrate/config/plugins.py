"""Keep plugins of pydantic off the settings: they could record passwords, and finding them takes time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_DISABLED = "PYDANTIC_DISABLE_PLUGINS"


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
