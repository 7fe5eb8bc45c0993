"""Generate schemas with any number of usual tables."""

from __future__ import annotations

TABLES_PER_STATEMENT = 50
"""Tables created in one transaction, in which every object holds a lock until its end."""

_TABLE = """
CREATE TABLE {name} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parent_id bigint REFERENCES {parent} (id) ON DELETE CASCADE,
    email varchar(120) NOT NULL,
    display_name text,
    state varchar(20) NOT NULL DEFAULT 'new',
    balance numeric(12, 2) NOT NULL DEFAULT 0,
    payload jsonb,
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE INDEX ON {name} (email, created_at DESC);
CREATE INDEX ON {name} (parent_id) WHERE deleted_at IS NULL;
"""


def batches(count: int) -> list[str]:
    """Return the statements that create tables, those of one transaction together.

    The tables have ten columns, a primary key, a foreign key and two indexes, one of them partial.
    """
    statements = [
        _TABLE.format(name=f"item_{number:05}", parent=f"item_{max(number - 1, 0):05}")
        for number in range(count)
    ]
    starts = range(0, count, TABLES_PER_STATEMENT)
    return ["".join(statements[start : start + TABLES_PER_STATEMENT]) for start in starts]
