"""Shell completion of revisions: from the files alone, and never an error."""

from __future__ import annotations


def revisions(incomplete: str) -> list[tuple[str, str]]:
    """The revisions and words a target can begin with, with their messages."""
    try:
        from circle_migrate.config.load import load
        from circle_migrate.postgres.deployment import Deployment

        graphs = Deployment(load()).graphs
    except Exception:  # noqa: BLE001 - a shell that completes is no place for messages
        return []
    words = [("head", "the newest revision"), ("base", "before the first revision")]
    for name, graph in graphs.items():
        for revision in reversed(graph.sorted(graph.revisions)):
            words.append((revision, f"{name}: {graph[revision].message}"))
            words.append((f"{name}@{revision}", graph[revision].message))
    return [word for word in words if word[0].startswith(incomplete)]
