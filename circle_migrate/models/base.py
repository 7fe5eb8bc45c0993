"""What both schemas share: the naming convention and the column types that recur.

Tables of the first nine revisions keep the names PostgreSQL and Alembic once chose for them; their models
spell those names out. Everything newer leaves the name to `CONVENTION`.
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
"""Names of constraints and indexes, by kind; the longest they produce here fits PostgreSQL's 63 bytes."""

TYPES = {datetime: DateTime(timezone=True)}
"""Every moment is a `timestamptz`: an instant, shown in the reader's time zone."""

Identifier = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
"""The surrogate key of new tables. The first tables have `integer` keys with a sequence."""

CreatedAt = Annotated[datetime, mapped_column(server_default=func.now())]
"""When the row was written, by the server's clock."""

UpdatedAt = Annotated[datetime, mapped_column(server_default=func.now(), onupdate=func.now())]
"""When the row last changed; kept by the application on UPDATE."""


def new_metadata() -> MetaData:
    """An empty schema under the convention."""
    return MetaData(naming_convention=CONVENTION)


def one_of(column: str, values: Collection[str], *, name: str) -> CheckConstraint:
    """The CHECK that `column` holds one of `values`: new words need a revision, but no type to alter."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name)
