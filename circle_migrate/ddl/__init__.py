"""Sketches: the DDL that makes one catalogue out of another, from two snapshots alone."""

from circle_migrate.ddl.scripts import render_sql
from circle_migrate.ddl.sketching import reverse, sketch
from circle_migrate.ddl.statements import Sketch, Statement

__all__ = ["Sketch", "Statement", "render_sql", "reverse", "sketch"]
