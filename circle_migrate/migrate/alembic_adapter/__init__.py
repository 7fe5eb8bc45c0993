"""The only package that runs Alembic: it runs steps, stamps, and renders SQL offline."""
