"""Rows put into cells, so that cross-validation needs one pass.

The training and the test set of every split are unions of cells, and statistics of cells
merge. Rows that no split tells apart are one cell: the folds of `KFold`, the
intersections of the sets of `ShuffleSplit`. Where splits have too many intersections,
they are shared out among several labellings, each of which puts every row in a cell.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .chunk import Chunk, Defect, to_host
from .merging import merge_counts
from .statistics import Statistics, merge_statistics, statistics_of_chunk

# A chunk's cells are sent as runs of rows while there are few of them, else one by one.
_MANY_RUNS = 64


class Labelling:
    """The cell of every row, in runs of rows (`edges`, `cells`) or one by one (`codes`)."""

    def __init__(
        self,
        n_cells: int,
        *,
        edges: np.ndarray | None = None,
        cells: np.ndarray | None = None,
        codes: np.ndarray | None = None,
    ) -> None:
        self.n_cells = n_cells
        self._edges, self._cells, self._codes = edges, cells, codes

    def between(self, start: int, stop: int) -> np.ndarray:
        """Cells of the rows ``start:stop``: runs of shape (r, 3), or codes of shape (n,).

        A run is (first row, last row + 1, cell), counted from `start`.
        """
        if start == stop:
            return np.empty((0, 3), dtype=np.intp)
        if self._codes is None:
            first, last = np.searchsorted(self._edges, [start, stop], side="right")
            edges = np.unique(np.r_[start, self._edges[first:last].clip(max=stop), stop])
            cells = self._cells[np.searchsorted(self._edges, edges[:-1], side="right") - 1]
        else:
            codes = self._codes[start:stop]
            edges = start + np.r_[0, np.flatnonzero(np.diff(codes)) + 1, len(codes)]
            if len(edges) > _MANY_RUNS:
                return codes
            cells = codes[edges[:-1] - start]
        edges = edges - start
        return np.column_stack([edges[:-1], edges[1:], cells])[edges[1:] > edges[:-1]]

    def sizes(self, n_rows: int) -> np.ndarray:
        """How many rows (n_cells,) of so many are in each cell."""
        if self._codes is not None:
            return np.bincount(self._codes, minlength=self.n_cells)
        sizes = np.diff(np.r_[self._edges, n_rows].clip(max=n_rows))
        return np.bincount(self._cells, sizes, self.n_cells)[: self.n_cells].astype(np.intp)


class Split(NamedTuple):
    """One training and one test set, as cells of a labelling and how often each counts."""

    labelling: int
    train: dict[int, int]
    test: dict[int, int]


# A set of rows: a labelling, and how often each of its cells counts.
CellSet = tuple[int, dict[int, int]]


class Partition(NamedTuple):
    """Labellings of the rows, and the splits in their terms."""

    labellings: list[Labelling]
    splits: list[Split]

    @property
    def n_cells(self) -> int:
        return sum(labelling.n_cells for labelling in self.labellings)

    def between(self, start: int, stop: int) -> list[np.ndarray]:
        """What the chunk of rows ``start:stop`` needs to know."""
        return [labelling.between(start, stop) for labelling in self.labellings]

    def sets(self) -> tuple[list[CellSet], list[CellSet]]:
        """Training and test sets: all rows and none, then those of each split."""
        everything = dict.fromkeys(range(self.labellings[0].n_cells), 1)
        train = [(0, everything), *((split.labelling, split.train) for split in self.splits)]
        test = [(0, {}), *((split.labelling, split.test) for split in self.splits)]
        return train, test

    def counts(self, which: CellSet) -> np.ndarray:
        """How often the rows of each cell of a labelling are in a set."""
        labelling, cells = which
        times = np.zeros(self.labellings[labelling].n_cells)
        times[list(cells)] = list(cells.values())
        return times

    def n_rows_of(self, counts: tuple[int, np.ndarray], n_rows: int) -> int:
        """How many rows, of all `n_rows`, a labelling and the counts of its cells amount to."""
        labelling, times = counts
        return int(times @ self.labellings[labelling].sizes(n_rows))

    def counts_of_rows(self, which: CellSet, n_rows: int) -> np.ndarray:
        """How often each row is in a set."""
        cells = self.labellings[which[0]].between(0, n_rows)
        return self.counts(which)[codes_of(cells, n_rows)]


def codes_of(cells: np.ndarray, n: int) -> np.ndarray:
    """The cell of each of n rows, from runs or codes."""
    if cells.ndim == 1:
        return cells
    codes = np.empty(n, dtype=np.intp)
    for start, stop, cell in cells.tolist():
        codes[start:stop] = cell
    return codes


def labels_between(labels: list[np.ndarray], start: int, stop: int) -> list[np.ndarray]:
    """What some rows of a chunk need to know, from what the chunk does."""
    return [
        cells[start:stop] if cells.ndim == 1 else _runs_between(cells, start, stop)
        for cells in labels
    ]


def _runs_between(runs, start, stop):
    edges = runs[:, :2].clip(start, stop) - start
    return np.column_stack([edges, runs[:, 2]])[edges[:, 1] > edges[:, 0]]


def consecutive_folds(n_rows: int, n_splits: int) -> Partition:
    """The folds of an unshuffled `KFold`: each fold is a cell and a run of rows.

    With `n_rows` NaN the splits are there, and where the folds are remains to be seen.
    """
    folds = range(n_splits)
    splits = [Split(0, {f: 1 for f in folds if f != fold}, {fold: 1}) for fold in folds]
    if np.isnan(n_rows):
        return Partition([], splits)
    sizes = np.full(n_splits, n_rows // n_splits)
    sizes[: n_rows % n_splits] += 1
    edges = np.r_[0, np.cumsum(sizes)]
    return Partition([Labelling(n_splits, edges=edges, cells=np.arange(n_splits + 1))], splits)


def one_cell() -> Partition:
    """All rows together, and no splits."""
    return Partition([Labelling(1, edges=np.zeros(1, dtype=int), cells=np.zeros(1, int))], [])


def partition_of(n_rows: int, pairs: Iterable[tuple[Any, Any]]) -> Partition:
    """The coarsest cells for (train, test) pairs of indices or masks; indices may repeat."""
    pairs = list(pairs)
    if not pairs:
        raise ValueError("cv yields no split: pass at least one (train, test) pair.")
    limit = 2 * len(pairs) + 1
    labellings, splits = [], []
    codes = np.zeros(n_rows, dtype=np.intp)
    members: list[list[dict[int, int]]] = []
    for train, test in pairs:
        counts = _count(train, n_rows), _count(test, n_rows)
        refined = _refine(codes, *counts)
        if len(refined[1]) > limit and members:
            labellings.append(_labelling(codes))
            splits += [Split(len(labellings) - 1, *sets) for sets in members]
            codes, members = np.zeros(n_rows, dtype=np.intp), []
            refined = _refine(codes, *counts)
        codes, (parents, *added) = refined[0], refined[1].T
        members = [[_inherit(cells, parents) for cells in sets] for sets in members]
        members.append([{c: int(n) for c, n in enumerate(column) if n} for column in added])
    labellings.append(_labelling(codes))
    splits += [Split(len(labellings) - 1, *sets) for sets in members]
    return Partition(labellings, splits)


def _count(index, n_rows):
    """How often each row is in an index array or mask."""
    index = np.asarray(index)
    if index.dtype == bool and index.shape != (n_rows,):
        raise ValueError(
            f"cv yields a mask of shape {index.shape}, but X has {n_rows} rows: make the masks for"
            " this X."
        )
    if index.dtype == bool:
        index = np.flatnonzero(index)
    elif index.shape == (0,):
        index = index.astype(np.intp)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise ValueError(
            f"cv yields an array of shape {index.shape} and dtype {index.dtype}: it must yield"
            " (train, test) pairs of row numbers or masks."
        )
    if len(index) and not (-n_rows <= index.min() and index.max() < n_rows):
        raise ValueError(
            f"cv yields row {index.max() if index.max() >= n_rows else index.min()}, but X has"
            f" {n_rows} rows: make the indices for this X."
        )
    return np.bincount(index % n_rows, minlength=n_rows)


def _refine(codes, train, test):
    """Split cells by the rows' counts; rows of the second are (old cell, train, test)."""
    base = (codes.max(initial=0) + 1, train.max(initial=0) + 1, test.max(initial=0) + 1)
    joint = np.ravel_multi_index((codes, train, test), base)
    present = np.flatnonzero(np.bincount(joint))
    number = np.zeros(present[-1] + 1, dtype=np.intp)
    number[present] = np.arange(len(present))
    return number[joint], np.column_stack(np.unravel_index(present, base))


def _inherit(cells, parents):
    """A set of cells in terms of the cells that they were split into."""
    return {c: cells[parent] for c, parent in enumerate(parents) if parent in cells}


def _labelling(codes):
    n_cells = int(codes.max(initial=0)) + 1
    return Labelling(n_cells, codes=codes.astype(np.min_scalar_type(n_cells)))


class CellStatistics(NamedTuple):
    """`Statistics` of some rows, cell by cell: what a block reports."""

    n_rows: int
    n_chunks: int
    cells: dict[tuple[int, int], Statistics]  # by labelling and cell
    defect: Defect | None = None

    def target(self, index: int) -> CellStatistics:
        """The statistics of one target."""
        return self._replace(cells={key: of.target(index) for key, of in self.cells.items()})

    def of_columns(self, columns: np.ndarray) -> CellStatistics:
        """The statistics of some columns."""
        cells = {
            key: of._replace(
                x_mean=of.x_mean[columns],
                sxx=of.sxx[np.ix_(columns, columns)],
                sxy=of.sxy[columns],
            )
            for key, of in self.cells.items()
        }
        return self._replace(cells=cells)

    def with_columns(self, more: CellStatistics) -> CellStatistics:
        """The statistics of further columns too; these are targets of `more`, below y."""
        cells = {key: _bordered(of, more.cells[key]) for key, of in self.cells.items()}
        return self._replace(cells=cells)


def _bordered(old, new):
    n_old, n_targets = old.n_features, old.n_targets
    sxx = np.empty((n_old + new.n_features,) * 2)
    sxx[:n_old, :n_old], sxx[n_old:, n_old:] = old.sxx, new.sxx
    sxx[n_old:, :n_old] = beside = new.sxy[:, n_targets:]
    sxx[:n_old, n_old:] = beside.T
    x_mean = np.concatenate([old.x_mean, new.x_mean])
    return old._replace(x_mean=x_mean, sxx=sxx, sxy=np.vstack([old.sxy, new.sxy[:, :n_targets]]))


def cells_of_chunk(chunk: Chunk, labels: list[np.ndarray]) -> CellStatistics:
    """Statistics of the rows of one chunk; `labels` are those of `Partition.between`."""
    if chunk.defect is not None:
        return CellStatistics(chunk.n_rows, 1, {}, chunk.defect)
    if sparse.issparse(chunk.X):
        chunk = chunk._replace(X=chunk.X.tocsr())
    elif any(rows.ndim == 1 for rows in labels):  # rows here and there, not runs of them
        chunk = chunk._replace(X=to_host(chunk.X))
    cells: dict[tuple[int, int], Statistics] = {}
    for labelling, rows in enumerate(labels):
        for cell, index in _rows_of_cells(rows):
            part = statistics_of_chunk(chunk.rows(index))
            if part.defect is not None:
                defect = statistics_of_chunk(chunk).defect
                return CellStatistics(chunk.n_rows, 1, {}, defect)
            key = labelling, cell
            cells[key] = merge_statistics([cells[key], part]) if key in cells else part
    return CellStatistics(chunk.n_rows, 1, cells)


def _rows_of_cells(rows):
    """Cells and the slices (for runs) or indices (for codes) of their rows."""
    if rows.ndim == 2:
        for start, stop, cell in rows.tolist():
            yield cell, slice(start, stop)
    else:
        order = np.argsort(rows, kind="stable")
        edges = np.r_[0, np.cumsum(np.bincount(rows))]
        for cell, (start, stop) in enumerate(pairwise(edges)):
            if start < stop:
                yield cell, order[start:stop]


def merge_cells(parts: Iterable[CellStatistics]) -> CellStatistics:
    """Statistics of the union of disjoint rows, cell by cell."""
    parts = list(parts)
    counts = merge_counts(parts)
    if counts["defect"] is not None:
        return CellStatistics(**counts, cells={})
    keys = dict.fromkeys(key for part in parts for key in part.cells)
    cells = {
        key: merge_statistics(part.cells[key] for part in parts if key in part.cells)
        for key in keys
    }
    return CellStatistics(**counts, cells=cells)


def collect_cells(
    parts: Iterable[Statistics | CellStatistics], cells: Iterable[int | None]
) -> CellStatistics:
    """`CellStatistics` from those of some chunks, and `Statistics` of others and their cells."""
    return merge_cells(
        part
        if isinstance(part, CellStatistics)
        else CellStatistics(part.n_rows, 1, {(0, cell): part} if part.n_rows else {}, part.defect)
        for part, cell in zip(parts, cells, strict=True)
    )


def union_of_cells(
    statistics: CellStatistics, labelling: int, counts: dict[int, int] | None = None
) -> Statistics | None:
    """Statistics of a set of cells, each counted so often; of all rows without `counts`."""
    if counts is None:
        parts = [part for key, part in statistics.cells.items() if key[0] == labelling]
    else:
        parts = [
            _repeated(statistics.cells[labelling, cell], count)
            for cell, count in counts.items()
            if (labelling, cell) in statistics.cells
        ]
    return merge_statistics(parts) if parts else None


def _repeated(part, count):
    if count == 1:
        return part
    return part._replace(
        n_rows=count * part.n_rows,
        n_weighted=count * part.n_weighted,
        weight=count * part.weight,
        sxx=count * part.sxx,
        sxy=count * part.sxy,
        syy=count * part.syy,
    )
