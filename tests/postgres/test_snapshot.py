"""Snapshots as values."""

from __future__ import annotations

from circle_migrate.postgres.catalog.snapshot import ObjectKey, Snapshot


def test_printing_a_snapshot_leaves_out_what_it_holds() -> None:
    """asyncio prints results when it sets signal handlers; there are megabytes, and secrets in functions."""
    objects = {ObjectKey("function", "public.f()"): {"definition": "secret"}}
    assert "secret" not in repr(Snapshot("main", "live", 180000, objects))
