"""Raw rows of chunks, which stay where they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from .chunk import Chunk, Defect, to_host


class Rows(NamedTuple):
    """The raw rows of one chunk, where they are worked on."""

    X: np.ndarray | sparse.csr_array  # (n, k), or (n, k + 1) with a column of ones
    y: np.ndarray  # (n, m)
    weight: np.ndarray | None  # (n, 1)
    offset: np.ndarray | None = None  # (n, 1)
    defect: Defect | None = None  # then there is nothing else

    def weight_of(self, tile: slice) -> np.ndarray | None:
        """The weights of some rows."""
        return None if self.weight is None else self.weight[tile]

    def offset_of(self, tile: slice) -> np.ndarray | None:
        """The offsets of some rows."""
        return None if self.offset is None else self.offset[tile]


def raw_rows(chunk: Chunk, *, ones: bool = False) -> Rows:
    """One chunk as `Rows` of NumPy, without a copy where it is a float array already."""
    if chunk.defect is not None:
        nothing = np.empty((chunk.n_rows, 0))
        return Rows(nothing, nothing, None, defect=chunk.defect)
    X, y, weight = chunk.arrays()
    X = X.tocsr() if sparse.issparse(X) else to_host(X)
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    if ones:
        column = np.ones((X.shape[0], 1), dtype=X.dtype)
        stack = sparse.hstack if sparse.issparse(X) else np.hstack
        X = stack([X, column])
        X = sparse.csr_array(X) if sparse.issparse(X) else X
    weight, offset = (None if a is None else a[:, np.newaxis] for a in (weight, chunk.offset))
    return Rows(X, y, weight, offset)
