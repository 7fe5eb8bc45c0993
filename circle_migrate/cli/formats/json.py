"""JSON: one object with the envelope of every result and error, as `commands/json_schema` describes it."""

from circle_migrate.core import envelope
from circle_migrate.core.errors import MigrateError
from circle_migrate.core.result import Result


def write(result: Result) -> str:
    """Return the envelope with the keys of the result."""
    return envelope.dump(envelope.of_result(result))


def write_failure(command: str, error: MigrateError) -> str:
    """Return the envelope of a command without a result."""
    return envelope.dump(envelope.of_failure(command, error))
