"""Passes over rows whose columns are in chunks too, as genotypes come: no row is put together.

What a pass finds of every column, it finds chunk by chunk. What takes several columns, the
products of the chosen ones and the residuals, is of a few, which are put together without the
others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from .cells import Partition
from .chunk import Chunk, Defect
from .columns import ColumnMoments, column_moments, merge_columns
from .held import read_columns
from .passes import (
    Residuals,
    cells_of_columns,
    correlate,
    merge_sums,
    path_residuals,
    products,
    residuals,
    rows_of_path,
    rows_of_residuals,
)

# Passes that look at the columns alone which are their first argument.
OF_SOME = frozenset([products, cells_of_columns, read_columns])
# Those that correlate a residual of some columns with all; and what they do before.
OF_RESIDUALS: dict[Callable, Callable] = {
    residuals: rows_of_residuals,
    path_residuals: rows_of_path,
}


class Corner(NamedTuple):
    """Where a chunk of rows and columns begins, and which chunk of rows it is of."""

    row: int
    column: int
    chunk: int


class _Found(NamedTuple):
    """What was found of the columns of chunks, by the first of them."""

    of_columns: dict[int, Any]
    defect: Defect | None = None


def moments_of_parts(parts: Iterable[tuple[Chunk, Corner]]) -> _Found:
    """`column_moments` of chunks of columns; a defect is where it is among all rows."""
    found = []
    for chunk, corner in parts:
        part = column_moments([chunk], corner.column)
        defect = part.defect
        if defect is not None:
            defect = defect._replace(row=corner.row + defect.row, chunk=corner.chunk)
            return _Found({}, defect)
        found.append(_Found({corner.column: part}))
    return merge_moments(found)


def merge_moments(parts: Iterable[_Found]) -> _Found:
    """Moments of the union of chunks."""
    parts = list(parts)
    defects = [part.defect for part in parts if part.defect is not None]
    if defects:
        return _Found({}, min(defects, key=lambda defect: defect.row))
    return _merged(parts, lambda a, b: merge_columns([a, b]))


def correlations_of_parts(parts: Iterable[tuple[Chunk, Corner]], vectors: np.ndarray) -> _Found:
    """``X^T vectors``, of chunks of columns, where vectors (n, p) are of all rows."""
    found: dict[int, np.ndarray] = {}
    for chunk, corner in parts:
        X, y, _ = chunk.arrays()
        if corner.column not in found:
            found[corner.column] = np.zeros((X.shape[1], vectors.shape[1]), order="F")
        correlate(X, vectors[corner.row : corner.row + len(y)], found[corner.column])
    return _Found(found)


def merge_correlations(parts: Iterable[_Found]) -> _Found:
    """Products with the union of chunks."""
    return _merged(parts, np.add)


def _merged(parts, merge_two):
    found: dict[int, Any] = {}
    for part in parts:
        for column, value in part.of_columns.items():
            found[column] = merge_two(found[column], value) if column in found else value
    return _Found(found)


def by_column(found: _Found) -> list:
    """What was found, from the first column to the last."""
    return [found.of_columns[column] for column in sorted(found.of_columns)]


def joined_moments(found: _Found) -> ColumnMoments:
    """Moments of all columns."""
    if found.defect is not None:
        none = np.empty(0)
        return ColumnMoments(0, 1, 0.0, none, none, none, none, none, defect=found.defect)
    parts = by_column(found)
    of_each = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("x_mean", "xx", "xy")
    }
    return parts[0]._replace(**of_each, n_values=sum(part.n_values for part in parts))


class Placed(NamedTuple):
    """In place of a `Partition`, or of none: each chunk is told its first row, too."""

    partition: Partition | None

    def between(self, start: int, stop: int) -> tuple[int, Any]:
        return start, self.partition and self.partition.between(start, stop)


def residuals_of_rows(
    chunks: Iterable[tuple[Chunk, tuple[int, Any]]], of_rows: Callable, *args: Any
) -> tuple[Residuals | None, dict[int, np.ndarray]]:
    """Sums over rows, and by the first row of each chunk what is to be correlated with columns."""
    parts, vectors = [], {}
    for chunk, (start, labels) in chunks:
        if chunk.n_rows or chunk.defect is not None:
            part, vectors[start] = of_rows(chunk, labels, *args)
            parts.append(part)
    return (merge_sums(parts) if parts else None), vectors


def merge_residuals(parts: Iterable[tuple]) -> tuple[Residuals | None, dict[int, np.ndarray]]:
    """What `residuals_of_rows` finds of the union of disjoint rows."""
    sums, vectors = [], {}
    for of_part, of_rows in parts:
        sums += [] if of_part is None else [of_part]
        vectors.update(of_rows)
    return (merge_sums(sums) if sums else None), vectors
