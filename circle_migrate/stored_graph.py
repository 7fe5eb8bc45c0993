"""A graph as the index of its tree keeps it: what most questions are about in a summary, the rest apart.

A command that finds both databases at the heads of their trees decodes the summaries alone, however many
revisions there are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from circle_migrate.core.links import Links
from circle_migrate.core.revisions import Graph, Revision

Row = str | bytes
"""A revision as JSON, without its database and its folder."""

_FIELDS = [name for name in Revision._fields if name not in {"database", "path"}]


def summary(graph: Graph) -> str:
    """What a graph says of itself, and the revisions whose details are asked for most."""
    near = dict.fromkeys((*graph.heads, *graph.real_heads, *graph.requires))
    known = {
        "size": len(graph),
        "heads": graph.heads,
        "real_heads": graph.real_heads,
        "labels": graph.labels,
        "requires": graph.requires,
        "no_way_back": graph.no_way_back,
        "digest": graph.digest,
        "near": {key: _told(graph[key]) for key in near},
    }
    return json.dumps(known)


def links(graph: Graph) -> str:
    """How its revisions hang together."""
    known = {"ids": list(graph.revisions), "order": list(graph.order)}
    return json.dumps(known | {"parents": graph.parents, "down": graph.down})


def row(revision: Revision) -> str:
    """One revision. Raises `TypeError` where a file gave a name a value that is no text."""
    return json.dumps(_told(revision))


def _told(revision: Revision) -> dict[str, Any]:
    values = {name: getattr(revision, name) for name in _FIELDS}
    told = {name: value for name, value in values.items() if value != Revision._field_defaults.get(name)}
    return {"file": Path(revision.path).name, **told}


def decode(database: str, folder: Path, told: Row | Mapping[str, Any]) -> Revision:
    """The revision of a row, or of what was told of it in a summary."""
    values = dict(json.loads(told) if isinstance(told, Row) else told)
    path = str(folder / values.pop("file"))
    exact: dict[str, Any] = {
        key: tuple(each) if isinstance(each, list) else each for key, each in values.items()
    }
    return Revision(database, path=path, **exact)


class StoredGraph(Graph):
    """A graph that was built, and so found sound, before it was stored.

    `links` and `rows` give the texts that `links` and `row` made, and are called where anybody asks.
    """

    def __init__(
        self,
        database: str,
        folder: Path,
        summary: Row,
        links: Callable[[], Row],
        rows: Callable[[], Sequence[Row]],
    ) -> None:
        known = json.loads(summary)
        self.database = database
        self.heads, self.real_heads = tuple(known["heads"]), tuple(known["real_heads"])
        self.labels, self.requires = known["labels"], known["requires"]
        self.no_way_back, self.digest = tuple(known["no_way_back"]), known["digest"]
        self._stored_links = links

        def by_id() -> dict[str, Row]:
            return dict(zip(self._links["ids"], rows(), strict=True))

        self.revisions = _Revisions(
            known["size"], known["near"], by_id, lambda told: decode(database, folder, told)
        )

    @cached_property
    def _links(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._stored_links())
        return found

    @cached_property
    def parents(self) -> Links:
        """What each revision follows or depends on."""
        found: Links = self._links["parents"]
        return found

    @cached_property
    def down(self) -> Links:
        """What each revision follows by `down_revision`."""
        found: Links = self._links["down"]
        return found

    @cached_property
    def order(self) -> Mapping[str, int]:
        """The place of each revision."""
        return {key: index for index, key in enumerate(self._links["order"])}


class _Revisions(Mapping[str, Revision]):
    """Revisions by id, each decoded when it is first asked for, the near ones without reading the others."""

    def __init__(
        self,
        size: int,
        near: Mapping[str, Mapping[str, Any]],
        rows: Callable[[], Mapping[str, Row]],
        decode: Callable[[Row | Mapping[str, Any]], Revision],
    ) -> None:
        self._size, self._near = size, near
        self._load, self._decode = rows, decode
        self._decoded: dict[str, Revision] = {}

    @cached_property
    def _rows(self) -> Mapping[str, Row]:
        return self._load()

    def __getitem__(self, key: str) -> Revision:
        found = self._decoded.get(key)
        if found is None:
            found = self._decoded[key] = self._decode(self._near.get(key) or self._rows[key])
        return found

    def __contains__(self, key: object) -> bool:
        return key in self._near or key in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return self._size
