"""Statistics of rows whose columns have been replaced by combinations of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .chunk import Chunk
from .raw import raw_rows
from .statistics import Statistics, merge_statistics, statistics_of_chunk, tile_rows


class Mixing(NamedTuple):
    """What X becomes: ``(X - centre) @ into``, of the same shape."""

    centre: np.ndarray  # (k,)
    into: np.ndarray  # (k, k)


def mixed_statistics(mixing: Mixing, chunk: Chunk) -> Statistics:
    """The `Statistics` of a chunk whose columns are mixed, a tile of its rows at a time."""
    if chunk.defect is not None or chunk.n_rows == 0:
        return statistics_of_chunk(chunk)
    rows = raw_rows(chunk.less_offset())
    n, k = rows.X.shape
    found: list[Statistics] = []
    for start in range(0, n, tile_rows(k)):
        part = slice(start, start + tile_rows(k))
        tile = rows.part(part, rows.X[part])
        X: Any = tile.X
        if sparse.issparse(X):
            X = X.toarray()
        X = (X.astype(np.float64, copy=False) - mixing.centre) @ mixing.into
        weight = None if tile.weight is None else tile.weight[:, 0]
        found.append(statistics_of_chunk(Chunk(X, tile.y, weight, len(X))))
        found = [merge_statistics(found)]
    return found[0]
