"""A folder with one file for each setting, as Docker and Kubernetes mount it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from pydantic_settings import SecretsSettingsSource
from pydantic_settings.exceptions import SettingsError

from circle_migrate.config.fields import PREFIX, URLS
from circle_migrate.config.provenance import Origin, Provenance
from circle_migrate.config.schema import DeclaredSettings


def read(folder: Path, record: Provenance) -> None:
    """Put on record what the folder's files say; unreadable ones are problems."""
    source = SecretsSettingsSource(DeclaredSettings, folder)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            values: dict[str, Any] = {key: value for key, value in source().items() if value}
    except (SettingsError, OSError, UnicodeDecodeError):
        record.problem(
            f"the secrets in {folder} cannot be read",
            hint=f"check that this user may read the files in {folder}",
        )
        return
    for warning in caught:
        record.problem(str(warning.message), hint=f"check the files in {folder}")
    for key, value in values.items():
        name = key if key.lower() in URLS else f"{PREFIX}{key}"
        path = source.find_case_path(folder, name, case_sensitive=False)
        record.add(key.lower(), value, Origin(f"secrets {path}", f"the secret file {path}", folder))
