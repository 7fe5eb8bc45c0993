"""What may be meant by a name that no revision and no branch has."""

from collections.abc import Mapping

from circle_migrate.revision_graph.revision import Revision


def suggestion(
    revisions: Mapping[str, Revision], labels: Mapping[str, str], name: str, exclude: str | None = None
) -> str | None:
    """Return a hint with up to three similar ids, labels, or revisions whose message has the name."""
    import difflib

    name = labels.get(name, name)
    names = [key for key in (*revisions, *labels) if key != exclude]
    similar = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    similar = similar or [r.id for r in revisions.values() if name.lower() in r.message.lower()][:3]
    suggestions = (f"{key} ({revisions[key].message})" if key in revisions else key for key in similar)
    return f"did you mean {', '.join(suggestions)}?" if similar else None
