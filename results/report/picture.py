"""A small grey image as a PNG that a page can hold. It is drawn here, from numbers: no bytes of a record become a
picture."""

from __future__ import annotations

import base64
import struct
import zlib

from results.report.safe import sequence

MOST = 32
"""Rows and columns of the largest image that is drawn."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def data_uri(rows: object) -> str:
    """Rows of grey levels, 0 (black) to 255, as `data:image/png;base64,…`; empty where `rows` are anything else."""
    levels = [sequence(row) for row in sequence(rows)]
    width = len(levels[0]) if levels else 0
    if not (0 < len(levels) <= MOST and 0 < width <= MOST and all(len(row) == width for row in levels)):
        return ""
    if not all(type(level) is int and 0 <= level <= 255 for row in levels for level in row):
        return ""
    header = struct.pack(">IIBBBBB", width, len(levels), 8, 0, 0, 0, 0)  # 8 bits of grey
    lines = b"".join(b"\0" + bytes(row) for row in levels)
    image = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines, 9)) + _chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(_SIGNATURE + image).decode()}"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
