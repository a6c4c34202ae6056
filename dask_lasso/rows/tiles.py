"""Tiles: as many rows at once as fit where they are worked on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .chunk import namespace

# Values of a tile that stays in a core's second-level cache: 1 MiB of float64.
CACHE_ITEMS = 2**17
# Values of the largest buffer: 64 MiB.
BUFFER_ITEMS = 2**23
# Values of a tile on another device: enough to keep it busy, a small part of its memory.
DEVICE_ITEMS = 2**26


def aligned(X: Any, rows: slice, columns: slice, buffer: np.ndarray | None) -> np.ndarray:
    """Part of a dense chunk, in `buffer` where its values do not lie at multiples of their size.

    So they may where a chunk came with a message. NumPy and BLAS copy it then as a whole,
    value by value; as bytes a part is copied at the speed of memory. Buffers are used again,
    for new ones come in new pages, which cost more than what is done with them.
    """
    part = X[rows, columns]
    if X.flags.aligned:
        return part
    tile = buffer[: part.size].reshape(part.shape)
    if not X.flags.c_contiguous:
        np.copyto(tile, part)
    else:
        size = X.itemsize
        values = X.view(np.uint8)[rows, columns.start * size : columns.stop * size]
        np.copyto(tile.view(np.uint8), values)
    return tile


def on_device(X: Any) -> Iterator[tuple[slice, Any]]:
    """Slices of the rows of an X of another library, and these rows there, in float64."""
    xp = namespace(X)
    n, height = X.shape[0], max(1, DEVICE_ITEMS // X.shape[1])
    for start in range(0, n, height):
        rows = slice(start, min(start + height, n))
        yield rows, xp.asarray(X[rows, :], dtype=xp.float64)
