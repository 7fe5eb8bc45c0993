"""The JSON Schema of [tool.circle-migrate]."""

from typing import Any

from circle_migrate.config.settings import DatabaseSettings, Settings


def settings_schema() -> dict[str, Any]:
    """Return the schema; values that do not stand in pyproject.toml are left out."""
    schema = Settings.model_json_schema()
    database = schema["$defs"]["DatabaseSettings"]
    for fields, part in ((DatabaseSettings.model_fields, database), (Settings.model_fields, schema)):
        for field in fields.values():
            if field.exclude:
                del part["properties"][field.alias]
    del database["required"]
    schema["$defs"]["Environment"] = {
        "description": "What is different in one environment (--env NAME).",
        **{key: schema[key] for key in ("type", "additionalProperties")},
        "properties": {**schema["properties"]},
    }
    schema["properties"]["env"] = {
        "additionalProperties": {"$ref": "#/$defs/Environment"},
        "description": "The environments by name; each overrides the other settings.",
        "type": "object",
    }
    for model in (schema, database):
        model["description"] = model["description"].partition("\n\n")[0]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "circle-migrate"}
