"""What becomes of each option of Alembic: the one place that says what is taken over, and how."""

from __future__ import annotations

from typing import NamedTuple


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

CONFIGURE = {
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
}
"""The options of `context.configure` that get a point."""

WITHOUT_POINT = {"connection", "url", "dialect_name", "dialect_opts", "literal_binds", "output_buffer"}
WITHOUT_POINT |= {"as_sql", "starting_rev", "tag", "target_metadata", "transaction_per_migration"}
"""Its other options: those of the connection, and two that have points of another kind."""

_LOCATION = Option(holds="read from the file")
NEW_FILE = Option(holds="`revision` follows it")

INI = {
    "version_locations": _LOCATION,
    "recursive_version_locations": _LOCATION,
    "sourceless": Option(by_hand="a compiled revision without its source is refused"),
    "file_template": NEW_FILE,
    "timezone": NEW_FILE,
    "truncate_slug_length": NEW_FILE,
    "output_encoding": NEW_FILE,
    "revision_environment": Option(holds="process-revision-directives is called for every new revision"),
}
"""The options of an ini file or of [tool.alembic] that get a point if they are set."""
