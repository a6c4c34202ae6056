"""Raw rows of chunks, which stay where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .chunk import Chunk, Defect, to_host
from .statistics import Statistics, dense_tiles, every, statistics_of_chunk
from .tiles import aligned

# Rows of a block that its curvature is taken from, at least, and for each column.
_SAMPLE, _SAMPLE_PER_COLUMN = 5000, 4


class Rows(NamedTuple):
    """The raw rows of one chunk, where they are worked on."""

    X: np.ndarray | sparse.csr_array  # (n, k), or (n, k + 1) with a column of ones
    y: np.ndarray  # (n, m)
    weight: np.ndarray | None  # (n, 1)
    offset: np.ndarray | None = None  # (n, 1)
    defect: Defect | None = None  # then there is nothing else

    def part(self, rows: slice, X: Any) -> Rows:
        """Some of the rows, with an X for them."""
        weight, offset = (None if of is None else of[rows] for of in (self.weight, self.offset))
        return Rows(X, self.y[rows], weight, offset)

    def tiles(self, height: int) -> Iterator[Rows]:
        """At most so many rows at a time, of float64, until the next; sparse ones all at once."""
        if sparse.issparse(self.X):
            yield self
            return
        for tile, X in dense_tiles(self.X, height):  # a mixed product would copy all of X
            yield self.part(tile, X.astype(np.float64, copy=False))

    @property
    def times(self) -> Any:
        """The weights (n, 1), or one."""
        return 1.0 if self.weight is None else self.weight

    def predictor(self, beta: np.ndarray) -> np.ndarray:
        """Linear predictors (n, m); a row of `beta` beyond the columns of X is an intercept."""
        k = self.X.shape[1]
        eta = self.X @ beta[:k]
        if len(beta) > k:
            eta += beta[k]
        if self.offset is not None:
            eta += self.offset
        return eta

    @property
    def aligned(self) -> Rows:
        """The same, where values lie at multiples of their size: see `tiles.aligned`."""
        return self._replace(X=_aligned(self.X), y=_aligned(self.y))

    def sample(self, k: int) -> Rows:
        """Rows from all over these, with the weight of all; of the first k columns."""
        n = self.X.shape[0]
        step = max(1, n // max(_SAMPLE, _SAMPLE_PER_COLUMN * k))
        some = every(step, None if self.weight is None else self.weight[:, 0])
        found = self.part(some, self.X[some, :k])
        if found.weight is None:
            return found._replace(weight=np.full((len(found.y), 1), n / len(found.y)))
        return found._replace(weight=found.weight * (self.weight.sum() / (found.weight.sum() or 1)))


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


def _aligned(values):
    if sparse.issparse(values) or values.flags.aligned:
        return values
    buffer = np.empty(values.size, values.dtype)
    return aligned(values, slice(None), slice(0, values.shape[1]), buffer)


def moments_of(rows: Rows) -> Statistics:
    """The `Statistics` of raw rows."""
    weight = None if rows.weight is None else rows.weight[:, 0]
    return statistics_of_chunk(Chunk(rows.X, rows.y, weight, len(rows.y)))
