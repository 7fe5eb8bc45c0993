"""The declarative base of the main database."""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase

from circle_migrate.models.base import TYPES, new_metadata

metadata = new_metadata()


class MainBase(DeclarativeBase):
    """Base of every table in the main database."""

    metadata = metadata
    type_annotation_map = TYPES
