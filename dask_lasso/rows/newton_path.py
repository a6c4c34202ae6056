"""A pass of Newton's method for many problems at once: training sets and alphas.

All of them share the curvature of one reference, cell by cell; each has a slope of its own.
So what costs is a product of a tile of rows with all coefficients, and one back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ..problem.losses import Certified
from ..problem.softmax import Softmax
from .cells import CellStatistics, cells_of_chunk, codes_of, merge_cells
from .chunk import Chunk
from .needs import Needs, needs
from .newton_columns import of_columns
from .raw import Rows, raw_rows
from .statistics import Statistics, merge_statistics, statistics_of_chunk

# Values of a linear predictor that are worked on at once: they stay in a core's second cache.
_TILE_ITEMS = 2**15

Labelled = Iterable[tuple[Chunk, list[np.ndarray]]]


class Sets(NamedTuple):
    """Sets of rows: how often the rows of each cell are in each, as (labelling, ndarray)."""

    train: list[tuple[int, np.ndarray]]
    test: list[tuple[int, np.ndarray]]


class PathPoints(NamedTuple):
    """Coefficients (d, p) of p problems, the intercept below, and what they came from.

    Attributes
    ----------
    beta : ndarray of shape (d, p)
        To be certified: the minimum of a quadratic that has the slope of the loss at `before`
        and `factor` times the curvature at `curved`.
    of_set : ndarray of int, of shape (p,)
        The set of each.
    curved : ndarray of shape (d, 1)
    least : float
        No curvature is smaller.
    before, factor : ndarray of shape (d, p), (p,)
        None where only the slope is asked for.
    """

    beta: np.ndarray
    of_set: np.ndarray
    curved: np.ndarray
    least: float
    before: np.ndarray | None = None
    factor: np.ndarray | None = None


class PathSums(NamedTuple):
    """Sums over the rows of each problem's training set; `error`, over those of its test set.

    Attributes
    ----------
    theta, x_theta : ndarray of shape (p,), (k, p)
        Of minus the loss' derivative at `beta`.
    loss, error : ndarray of shape (p,)
        The loss at `beta`.
    squares : ndarray of shape (p,)
        Of the derivative there.
    dual, x_dual, conjugate : ndarray of shape (p,), (k, p), (p,)
        Of the dual point, the residual of the quadratic, and of the conjugate at minus that.
    """

    theta: Any = 0.0
    x_theta: Any = 0.0
    loss: Any = 0.0
    error: Any = 0.0
    squares: Any = 0.0
    dual: Any = 0.0
    x_dual: Any = 0.0
    conjugate: Any = 0.0


def path_pass(chunks: Labelled, loss: Certified, points: PathPoints, sets: Sets) -> PathSums:
    """The slopes of the loss at many points; its values and the dual, too, where certified."""
    found = PathSums()
    for chunk, labels in chunks:
        rows = raw_rows(chunk)
        codes = [codes_of(cells, chunk.n_rows) for cells in labels]
        # Of fewer sparse rows than columns, adding up would be most of the work.
        k = rows.X.shape[1]
        least = k if sparse.issparse(rows.X) else k // 8
        step = max(least, _TILE_ITEMS // points.beta.shape[1], 1)
        for start in range(0, chunk.n_rows, step):
            tile = slice(start, min(start + step, chunk.n_rows))
            of_tile = [cells[tile] for cells in codes]
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                part = _of_tile(_tile(rows, tile), loss, points, sets, of_tile)
            found = PathSums(*(a + b for a, b in zip(found, part, strict=True)))
    return found


def _tile(rows, tile):
    X = rows.X[tile]
    if not sparse.issparse(X) and not (X.dtype == np.float64 and X.flags.aligned):
        X = X.astype(np.float64)
    return rows.part(tile, X)


def _of_tile(rows, loss, points, sets, codes):
    y = rows.y
    eta = rows.predictor(points.beta)
    train = _counts(sets.train, codes, rows.weight)[:, points.of_set]
    theta = -loss.derivative(eta, y)
    weighted = theta * train
    slope = weighted.sum(axis=0), rows.X.T @ weighted
    if points.before is None:
        return PathSums(*slope)
    value = loss.value(eta, y)
    test = _counts(sets.test, codes, rows.weight)[:, points.of_set]
    before = rows.predictor(points.before)
    curvature = curvature_at(rows, loss, points.curved, points.least) * points.factor
    dual = -loss.derivative(before, y) - curvature * (eta - before)
    if hasattr(loss, "feasible"):
        dual = -loss.feasible(-dual, y)
    conjugate = loss.conjugate(-dual, y)
    if rows.offset is not None:  # of a function of eta less the offset
        conjugate += dual * rows.offset
    conjugate = np.where(train > 0, train * conjugate, 0.0).sum(axis=0)
    dual *= train
    values = (train * value, test * value, weighted * theta, dual)
    sums = [of_rows.sum(axis=0) for of_rows in values]
    return PathSums(*slope, *sums, rows.X.T @ dual, conjugate)


def curvature_at(rows: Rows, loss: Certified, curved: np.ndarray, least: float) -> np.ndarray:
    """The curvature (n, 1) of the loss at a reference, no less than says something."""
    return np.maximum(loss.curvature(rows.predictor(curved), rows.y), least)


def _counts(sets, codes, weight):
    """The weight of each row in each set, of shape (n, n_sets)."""
    counts = np.column_stack([times[codes[labelling]] for labelling, times in sets])
    return counts if weight is None else counts * weight


def curvatures(
    chunks: Labelled, loss: Certified, curved: np.ndarray, least: float
) -> CellStatistics:
    """Statistics weighted by the curvature at a reference, cell by cell; of targets of zero."""
    parts = []
    for chunk, labels in chunks:
        rows = raw_rows(chunk)
        if chunk.n_rows:
            X = rows.X if sparse.issparse(rows.X) else rows.X.astype(np.float64, copy=False)
            weights = curvature_at(rows._replace(X=X), loss, curved, least)
            weights = (weights if rows.weight is None else weights * rows.weight)[:, 0]
            chunk = chunk._replace(X=X, y=np.zeros_like(rows.y), sample_weight=weights)
        parts.append(cells_of_chunk(chunk, labels))
    return merge_cells(parts)


def own_curvatures(
    chunks: Labelled, loss: Certified, points: PathPoints, sets: Sets
) -> list[Statistics]:
    """Statistics of the training set of each point, weighted by the curvature there."""
    found: list[list[Statistics]] = []
    for chunk, labels in chunks:
        if chunk.n_rows == 0:
            continue
        rows = raw_rows(chunk)
        if not sparse.issparse(rows.X):
            rows = rows._replace(X=rows.X.astype(np.float64, copy=False))
        codes = [codes_of(cells, chunk.n_rows) for cells in labels]
        weights = curvature_at(rows, loss, points.curved, points.least)
        weights *= _counts(sets.train, codes, rows.weight)[:, points.of_set]
        y = np.zeros_like(rows.y)
        found.append(
            [
                statistics_of_chunk(Chunk(rows.X, y, np.ascontiguousarray(of_rows), len(y)))
                for of_rows in weights.T
            ]
        )
    return merge_each(found)


def merge_each(parts: Iterable[list[Statistics]]) -> list[Statistics]:
    """Statistics of the union of disjoint rows, of each point."""
    return [merge_statistics(of_point) for of_point in zip(*filter(None, parts), strict=True)]


class SetSums(NamedTuple):
    """Sums (n_sets,) over the training and over the test rows of each set.

    Attributes
    ----------
    weight, test_weight : ndarray
    y : ndarray
        Of the targets of training rows; of several classes, (n_classes, n_sets) of each one's.
    at_zero, test_at_zero : ndarray
        Of the loss' conjugate at zero.
    """

    weight: Any = 0.0
    test_weight: Any = 0.0
    y: Any = 0.0
    at_zero: Any = 0.0
    test_at_zero: Any = 0.0


_NO_COLUMNS = np.empty(0, dtype=np.intp)


@needs(lambda *args: Needs(_NO_COLUMNS, lambda at: args))
def set_sums(chunks: Labelled, loss: Certified | Softmax, sets: Sets) -> SetSums:
    """How large the sets are, and the loss that no estimate is better than."""
    found = SetSums()
    for chunk, labels in chunks:
        if chunk.n_rows == 0:
            continue
        rows = raw_rows(of_columns(chunk, _NO_COLUMNS))
        codes = [codes_of(cells, chunk.n_rows) for cells in labels]
        train, test = (_counts(which, codes, rows.weight) for which in sets)
        if isinstance(loss, Softmax):
            y = (rows.y == np.arange(loss.n_classes)).T.astype(np.float64) @ train
            at_zero = np.zeros_like(rows.y)
        else:
            y = rows.y.T @ train
            at_zero = loss.conjugate(np.zeros_like(rows.y), rows.y)
        sums = train, test, train * at_zero, test * at_zero
        weight, test_weight, *of_zero = (values.sum(axis=0) for values in sums)
        part = weight, test_weight, y, *of_zero
        found = SetSums(*(a + b for a, b in zip(found, part, strict=True)))
    return found
