"""The state of the databases over HTTP: routes for an application, and `serve`. They change nothing."""

from circle_migrate.api.router import migration_router

__all__ = ["migration_router"]
