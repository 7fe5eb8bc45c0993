"""Shell completion of revisions, from the files alone; an error completes nothing."""

from __future__ import annotations


def revisions(incomplete: str) -> list[tuple[str, str]]:
    """Return the targets that begin with the text, with their messages."""
    try:
        from circle_migrate.config.load import load
        from circle_migrate.postgres.deployment import Deployment

        graphs = Deployment(load()).graphs
    except Exception:  # noqa: BLE001 - a completing shell cannot show an error
        return []
    targets = [("head", "the newest revision"), ("base", "before the first revision")]
    for name, graph in graphs.items():
        for revision in reversed(graph.sorted(graph.revisions)):
            message = graph[revision].message
            targets += [(revision, f"{name}: {message}"), (f"{name}@{revision}", message)]
    return [target for target in targets if target[0].startswith(incomplete)]
