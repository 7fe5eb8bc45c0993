"""`adopt`: write the settings for Alembic environments, from their files alone."""
