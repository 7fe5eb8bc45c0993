"""What becomes of each option of Alembic: the one place that says what is taken over, and how.

An option whose setting this version does not have is left to people; `DatabaseSettings` decides.
"""

from __future__ import annotations

from typing import NamedTuple

from circle_migrate.config.settings import DatabaseSettings, Settings

DATABASE_SETTINGS = {str(item.alias) for item in DatabaseSettings.model_fields.values() if not item.exclude}
GLOBAL_SETTINGS = {str(item.alias) for item in Settings.model_fields.values()}


class Option(NamedTuple):
    """What becomes of an option.

    With a `setting` its value is written, unless it is `default`, for which the text `holds` is true. An
    option with neither setting nor `holds` is left to people, with the text `by_hand`.
    """

    setting: str = ""
    holds: str = ""
    by_hand: str = ""
    default: object = None


_RENDERED = "revision --autogenerate does not use it: edit the files that it writes"
_MODULE = "revision --autogenerate writes `sa.`, `op.` and the module of a custom type"

CONFIGURE: dict[str, Option | None] = {
    "target_metadata": None,
    "version_table": Option("version-table", default="alembic_version"),
    "version_table_schema": Option("version-table-schema"),
    "version_table_pk": Option(holds="an existing table stays as it is; a new one has a primary key"),
    "include_object": Option("include-object"),
    "include_name": Option("include-name"),
    "include_schemas": Option("include-schemas"),
    "compare_type": Option("compare-type", "types are compared", default=True),
    "compare_server_default": Option("compare-server-default", "defaults are compared", default=True),
    "process_revision_directives": Option("process-revision-directives"),
    "render_item": Option(by_hand=_RENDERED),
    "render_as_batch": Option(holds="on PostgreSQL a batch operation is a plain ALTER TABLE"),
    "alembic_module_prefix": Option(by_hand=_MODULE),
    "sqlalchemy_module_prefix": Option(by_hand=_MODULE),
    "user_module_prefix": Option(by_hand=_MODULE),
    "autogenerate_plugins": Option(by_hand=_RENDERED),
    "template_args": Option(by_hand="they are not passed to script.py.mako"),
    "upgrade_token": Option(by_hand="it is not passed to script.py.mako"),
    "downgrade_token": Option(by_hand="it is not passed to script.py.mako"),
    "transactional_ddl": Option(
        by_hand="write `transactional = False` in each revision that cannot run in a transaction"
    ),
    "on_version_apply": Option(by_hand="it is not called: `circle-migrate log` shows each step"),
    "transaction_per_migration": None,
} | dict.fromkeys(
    (
        "connection",
        "url",
        "dialect_name",
        "dialect_opts",
        "literal_binds",
        "output_buffer",
        "as_sql",
        "starting_rev",
        "tag",
    )
)
"""The options of `context.configure`; None are those without a point of this kind."""

_LOCATION = Option(holds="read from the file")
_NEW_FILE = Option(holds="`revision` follows it")

INI: dict[str, Option] = {
    "version_locations": _LOCATION,
    "recursive_version_locations": _LOCATION,
    "sourceless": Option(by_hand="a compiled revision without its source is refused"),
    "file_template": _NEW_FILE,
    "timezone": _NEW_FILE,
    "truncate_slug_length": _NEW_FILE,
    "output_encoding": _NEW_FILE,
    "revision_environment": Option(holds="process-revision-directives is called for every new revision"),
}
"""The options of an ini file or of [tool.alembic] that get a point if they are set."""

POST_WRITE_HOOKS = _NEW_FILE
TEMPLATE = Option(holds="`revision` writes new files by it")
"""A script.py.mako that is not Alembic's."""
