"""Read a folder with one file per setting, as Docker and Kubernetes mount secrets."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from pydantic_settings import SecretsSettingsSource
from pydantic_settings.exceptions import SettingsError

from circle_migrate.config.fields import PREFIX, URL_VARIABLES
from circle_migrate.config.provenance import Origin, Provenance
from circle_migrate.config.schema import DeclaredSettings


def read(folder: Path, record: Provenance) -> None:
    """Record the values of the folder's files; unreadable files become problems."""
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
        name = key if key.lower() in URL_VARIABLES else f"{PREFIX}{key}"
        path = source.find_case_path(folder, name, case_sensitive=False)
        record.add(key.lower(), value, Origin(f"secrets {path}", f"the secret file {path}", folder))
