"""Smaller PNG files: https://www.w3.org/TR/png-3/."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

_COLORS = 256


def with_palette(png: bytes) -> bytes:
    """Return a picture of 8 bits RGB with 256 of its colors; others become the nearest of them.

    These are the most frequent colors, and of colors that are much alike the most frequent one.
    """
    chunks = list(_chunks(png))
    header = next(content for kind, content in chunks if kind == b"IHDR")
    width, height, depth, color, *more = struct.unpack(">IIBBBBB", header)
    assert (depth, color, *more) == (8, 2, 0, 0, 0)
    data = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    rows = [list(zip(row[0::3], row[1::3], row[2::3], strict=True)) for row in _rows(data, 3 * width)]
    counts = Counter(pixel for row in rows for pixel in row)
    frequent = [pixel for pixel, _ in counts.most_common()]
    alike = {tuple(part // 16 for part in pixel): pixel for pixel in reversed(frequent)}
    palette = list(dict.fromkeys([*frequent[:32], *reversed(alike.values())]))[:_COLORS]
    index = {
        pixel: min(
            range(len(palette)),
            key=lambda number: sum((a - b) ** 2 for a, b in zip(palette[number], pixel, strict=True)),
        )
        for pixel in counts
    }
    lines = b"".join(b"\0" + bytes(map(index.__getitem__, row)) for row in rows)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, content)
        for kind, content in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            (b"PLTE", bytes(part for pixel in palette for part in pixel)),
            (b"IDAT", zlib.compress(lines, 9)),
            (b"IEND", b""),
        )
    )


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 8
    while position < len(png):
        (size,) = struct.unpack_from(">I", png, position)
        yield png[position + 4 : position + 8], png[position + 8 : position + 8 + size]
        position += 12 + size


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _rows(data: bytes, size: int) -> Iterator[bytearray]:
    """Yield the rows without their filters; a filter knows the three bytes of the pixel before."""
    above = bytearray(size)
    for start in range(0, len(data), size + 1):
        kind, row = data[start], bytearray(data[start + 1 : start + 1 + size])
        for place in range(size):
            left, corner = (row[place - 3], above[place - 3]) if place >= 3 else (0, 0)
            row[place] = (row[place] + _predicted(kind, left, above[place], corner)) & 255
        yield row
        above = row


def _predicted(kind: int, left: int, above: int, corner: int) -> int:
    if kind < 4:
        return (0, left, above, (left + above) // 2)[kind]
    estimate = left + above - corner
    return min((left, above, corner), key=lambda value: abs(estimate - value))
