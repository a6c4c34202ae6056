"""Passes over rows whose columns are in chunks too, as genotypes come: no row is put together.

What a pass finds of every column, it finds chunk by chunk. What takes several columns, such as
the linear predictor of a row, is of a few (`needs`), which are put together without the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from .cells import Partition
from .chunk import Chunk, Defect
from .columns import ColumnMoments, column_moments, merge_columns
from .needs import Beside, Targets, Vectors
from .passes import correlate


class Placed(NamedTuple):
    """In place of a `Partition`, or of none: each chunk is told its first row, too."""

    partition: Partition | None

    def between(self, start: int, stop: int) -> tuple[int, Any]:
        return start, self.partition and self.partition.between(start, stop)


# What was found of rows; and of what they have for every column, one after the other, that of
# each chunk with its first row. It is None where rows are of no use, and nothing is to be added.
OfRows = tuple[Any, list[list[tuple[int, Beside]] | None]]


def placed_rows(
    chunks: Iterable[tuple[Chunk, tuple[int, Any]]], of_rows: Callable, args: tuple
) -> OfRows:
    """`Needs.rows` of chunks that are told their first rows."""
    starts: list[int] = []

    def told():
        for chunk, (start, labels) in chunks:
            starts.append(start)
            yield chunk if labels is None else (chunk, labels)

    found, beside = of_rows(told(), *args)
    return found, [
        None if any(part is None for part in parts) else list(zip(starts, parts, strict=True))
        for parts in zip(*beside, strict=True)
    ]


def merge_placed(parts: Iterable[OfRows], merge: Callable) -> OfRows:
    """What `placed_rows` finds of the union of disjoint rows, of which `merge` is a task's."""
    found, beside = zip(*parts, strict=True)
    together = zip(*beside, strict=True)
    return merge(found), [None if None in of else list(chain(*of)) for of in together]


class Corner(NamedTuple):
    """Where a chunk of rows and columns begins, and which chunk of rows it is of."""

    row: int
    column: int
    chunk: int


class _OfColumns(NamedTuple):
    """What was found of some columns."""

    products: np.ndarray | None
    moments: list[ColumnMoments]

    def merged(self, other: _OfColumns) -> _OfColumns:
        """Of these columns, and further rows."""
        pairs = zip(self.moments, other.moments, strict=True)
        moments = [merge_columns(pair) for pair in pairs]
        if self.products is None or other.products is None:
            return _OfColumns(None, moments)
        return _OfColumns(self.products + other.products, moments)


class _Found(NamedTuple):
    """What was found of the columns of chunks, by the first of them."""

    of_columns: dict[int, _OfColumns]
    defect: Defect | None = None


class Every:
    """What every column is looked at with, by itself.

    Parameters
    ----------
    beside : list
        As of `OfRows`.

    Attributes
    ----------
    args : tuple
        Of `every_column`: `Vectors` as one array, and `Targets`.
    """

    def __init__(self, beside: Sequence[list[tuple[int, Any]] | None]) -> None:
        self._kinds = [None if parts is None else type(parts[0][1]) for parts in beside]
        joined = [None if parts is None else _joined(parts) for parts in beside]
        vectors = [of.values for of in joined if isinstance(of, Vectors)]
        self._edges = np.cumsum([values.shape[1] for values in vectors])[:-1]
        targets = [of for of in joined if isinstance(of, Targets)]
        self.args = np.hstack(vectors) if vectors else None, targets

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be looked at."""
        return not any(self._kinds)

    def results(self, found: _Found) -> list:
        """Products with all columns, and moments of them, in the order of `beside`."""
        parts = [found.of_columns[column] for column in sorted(found.of_columns)]
        n_targets = len(self.args[1])
        if found.defect is not None:
            moments = iter([_defective(found.defect)] * n_targets)
            return [next(moments) if kind is Targets else None for kind in self._kinds]
        moments = iter(
            [_side_by_side([part.moments[i] for part in parts]) for i in range(n_targets)]
        )
        products: Any = iter(())
        if self.args[0] is not None:
            of_all = np.concatenate([part.products for part in parts])
            products = iter(np.split(of_all, self._edges, axis=1))
        by_kind = {Vectors: products, Targets: moments}
        return [None if kind is None else next(by_kind[kind]) for kind in self._kinds]


def _joined(parts):
    """Of all rows, from that of chunks."""
    parts = [part for _, part in sorted(parts, key=lambda of_chunk: of_chunk[0])]
    kind = type(parts[0])
    columns = zip(*parts, strict=True)
    return kind(*(None if v[0] is None else np.concatenate(v) for v in columns))


def every_column(
    parts: Iterable[tuple[Chunk, Corner]], vectors: np.ndarray | None, targets: list[Targets]
) -> _Found:
    """Products and moments of chunks of columns; a defect is where it is among all rows."""
    found: dict[int, _OfColumns] = {}
    for chunk, corner in parts:
        rows, moments, products = slice(corner.row, corner.row + chunk.n_rows), [], None
        for values, weights in targets:
            of_rows = chunk
            if values is not None:
                weight = None if weights is None else weights[rows]
                of_rows = chunk._replace(y=values[rows], sample_weight=weight)
            part = column_moments([of_rows], corner.column)
            if part.defect is not None:
                defect = part.defect._replace(row=corner.row + part.defect.row, chunk=corner.chunk)
                return _Found({}, defect)
            moments.append(part)
        if vectors is not None:
            X, _, _ = chunk.arrays()
            products = np.zeros((X.shape[1], vectors.shape[1]), order="F")
            correlate(X, vectors[rows], products)
        of_columns = _OfColumns(products, moments)
        before = found.get(corner.column)
        found[corner.column] = of_columns if before is None else before.merged(of_columns)
    return _Found(found)


def merge_every(parts: Iterable[_Found]) -> _Found:
    """What `every_column` finds of the union of chunks."""
    parts = list(parts)
    defects = [part.defect for part in parts if part.defect is not None]
    if defects:
        return _Found({}, min(defects, key=lambda defect: defect.row))
    found: dict[int, _OfColumns] = {}
    for part in parts:
        for column, of in part.of_columns.items():
            found[column] = found[column].merged(of) if column in found else of
    return _Found(found)


def _defective(defect) -> ColumnMoments:
    none = np.empty(0)
    return ColumnMoments(0, 1, 0.0, none, none, none, none, none, defect=defect)


def _side_by_side(parts) -> ColumnMoments:
    """Moments of all columns, from those of some."""
    of_each = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("x_mean", "xx", "xy")
    }
    return parts[0]._replace(**of_each, n_values=sum(part.n_values for part in parts))
