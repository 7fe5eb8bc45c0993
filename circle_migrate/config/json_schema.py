"""The JSON Schema of [tool.circle-migrate]."""

from typing import Any

from circle_migrate.config.settings import DatabaseSettings, Settings


def settings_schema() -> dict[str, Any]:
    """Return the schema; values that do not stand in pyproject.toml are left out."""
    schema = Settings.model_json_schema()
    database = schema["$defs"]["DatabaseSettings"]
    for field in DatabaseSettings.model_fields.values():
        if field.exclude:
            del database["properties"][field.alias]
    del database["required"]
    for model in (schema, database):
        model["description"] = model["description"].partition("\n\n")[0]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "circle-migrate"}
