"""Naming convention and column types of both schemas.

Constraints and indexes of the first nine revisions have names that PostgreSQL and Alembic generated; their
models state them. Newer names follow `CONVENTION`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Annotated

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Identity, MetaData, func
from sqlalchemy.orm import mapped_column

CONVENTION = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}
"""Names of constraints and indexes by kind; all of them fit into PostgreSQL's 63 bytes."""

TYPES = {datetime: DateTime(timezone=True)}
"""A `datetime` is a `timestamptz`: an instant, shown in the time zone of the session."""

Identifier = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
"""The surrogate key of new tables. The first tables have `integer` keys with a sequence."""

CreatedAt = Annotated[datetime, mapped_column(server_default=func.now())]
"""The time of INSERT by the server's clock."""

UpdatedAt = Annotated[datetime, mapped_column(server_default=func.now(), onupdate=func.now())]
"""The time of the last change, which the application sets on UPDATE."""


def new_metadata() -> MetaData:
    """Return empty metadata with the naming convention."""
    return MetaData(naming_convention=CONVENTION)


def one_of(column: str, values: Collection[str], *, name: str) -> CheckConstraint:
    """Return the CHECK that `column` has one of `values`; unlike an enum type, it is easy to change."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name)
