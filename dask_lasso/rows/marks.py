"""Marks by which it is noticed that rows are not the same in every pass over them.

A collection whose tasks return something else each time they run (random numbers, a query
of a table that grows) has no coefficients that a further pass could come nearer to.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from .chunk import Chunk, namespace

# Columns of X that are looked at where X is computed anew.
_FEW = 4
# Sums that are this near, relative to those of absolute values, are of the same rows: they
# are summed in another order, and may be computed on another processor.
_SAME = 1e-6


class Marks(NamedTuple):
    """Sums over rows.

    Attributes
    ----------
    sums, placed : ndarray
        Of the rows; of the rows times numbers that say where they are in their chunks.
    sizes : ndarray
        What the sums would be if all values were positive.

    X comes last, and is not looked at everywhere: of two, what both have is taken.
    """

    sums: np.ndarray
    placed: np.ndarray
    sizes: np.ndarray

    def __add__(self, other):
        n = min(len(self.sums), len(other.sums))
        return Marks(*(a[:n] + b[:n] for a, b in zip(self, other, strict=True)))

    def differ(self, others: Marks, placed: bool) -> bool:
        """Whether other rows must have been read; with `placed`, or in other places."""
        n = min(len(self.sums), len(others.sums))
        pairs = [(self.sums, others.sums), (self.placed, others.placed)]
        limit = _SAME * self.sizes[:n]
        return any((~(np.abs(a[:n] - b[:n]) <= limit)).any() for a, b in pairs[: 1 + placed])


def marks_of(chunk: Chunk, with_features: bool) -> Marks:
    """Marks of the y, the weights and the offset of a chunk, and of a few columns of its X."""
    columns = [np.ones(chunk.n_rows), *chunk.y.T]
    columns += [values for values in (chunk.sample_weight, chunk.offset) if values is not None]
    if with_features and namespace(chunk.X) is None:
        k = chunk.X.shape[1]
        few = np.linspace(0, k - 1, min(k, _FEW)).astype(int)
        X = chunk.X[:, few]
        columns += list((X.toarray() if sparse.issparse(X) else X).T)
    values = np.array(columns, dtype=np.float64)
    place = np.linspace(1, 2, chunk.n_rows)
    # Twice as large, at most, are the sums of absolute values by place.
    return Marks(values.sum(axis=1), values @ place, np.abs(values).sum(axis=1))
