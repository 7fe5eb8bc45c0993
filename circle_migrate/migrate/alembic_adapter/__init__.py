"""The only package that runs Alembic: one step, a stamp, or SQL rendered offline."""
