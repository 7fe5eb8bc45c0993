"""Load the settings, and report every contradiction between them."""

import logging
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from circle_migrate.config.provenance import DEFAULT, READING, Provenance
from circle_migrate.config.settings import Settings
from circle_migrate.config.sources import open_sources
from circle_migrate.core.errors import SettingsError


def load(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    hazard_ids: Callable[[], Collection[str] | None] = lambda: None,
) -> Settings:
    """Read all settings; `flags` are by field name (`database_url`, `lock_wait`) or key, None if not set.

    `hazard_ids` returns the ids that `safety_ignore` may name, None for any. Raises one SettingsError that
    lists every problem without secrets; a missing URL is raised by `DatabaseSettings.address` instead.
    """
    try:
        folder = (cwd or Path.cwd()).resolve()
    except FileNotFoundError as error:
        raise SettingsError(
            "the current folder was deleted", state="nothing was changed", hint="change to another folder: cd"
        ) from error
    # With PYDANTIC_SETTINGS_DEBUG set, pydantic-settings would log every value, including passwords.
    logging.getLogger("pydantic_settings").setLevel(logging.WARNING)
    provenance = Provenance(environ, hazard_ids)
    arguments: dict[str, Any] = {"_build_sources": (open_sources(flags or {}, folder, provenance), {})}
    token = READING.set(provenance)
    try:
        settings = Settings(**arguments)
    except ValidationError as error:
        _record_problems(error, provenance)
    finally:
        READING.reset(token)
    provenance.raise_problems()
    return settings


def _record_problems(error: ValidationError, provenance: Provenance) -> None:
    """Record pydantic's errors without the values."""
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        parts = problem["loc"][:3] if problem["loc"][0] == "databases" else problem["loc"][:1]
        key = ".".join(map(str, parts))
        origin = provenance.origin(key)
        message = problem["msg"].removeprefix("Value error, ").replace("Input should", "should")
        if problem["type"] == "bool_parsing":
            message = "should be true or false"
        provenance.problem(
            f"{key if origin is DEFAULT else origin.subject}: {message}",
            hint=f"correct or remove it ({origin.label})",
        )
