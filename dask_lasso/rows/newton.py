"""A pass of Newton's method: a loss at some coefficients, as weighted statistics.

Near an estimate a smooth loss is a quadratic, that of least squares with a weight and a
response for each row: its curvature there, and how far the minimum of its own parabola is
from it. So what is kept of a chunk are statistics (Friedman, Hastie & Tibshirani 2010,
section 3), and beside them what the certificate of the estimate needs.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ..problem.losses import Certified
from .chunk import Chunk, Defect
from .columns import column_moments
from .losses import RowLoss
from .merging import merge_counts
from .raw import Rows, raw_rows
from .statistics import (
    Statistics,
    TileSums,
    every,
    merge_statistics,
    near_means,
    statistics_of_chunk,
    tile_rows,
    value_defect,
)

# Curvature of a row, relative to the mean one, below which its parabola says nothing.
_LEAST = 1e-6


class Points(NamedTuple):
    """Coefficients (d, m), the intercept below.

    Attributes
    ----------
    minimum : ndarray
        Of a quadratic that had the slope of the loss at `before` and its curvature at `curved`.
    before, curved : ndarray or None
    beta : ndarray
        Where the loss is taken: the minimum, rounded to the dtype of coefficients.
    """

    minimum: np.ndarray
    before: np.ndarray | None = None
    curved: np.ndarray | None = None
    beta: np.ndarray | None = None

    def of_target(self, target: int) -> Points:
        """The same of one target."""
        return Points(*(None if of is None else of[:, [target]] for of in self))


class Sums(NamedTuple):
    """Sums over rows of a vector theta with a value for each: itself, and times the columns."""

    theta: np.ndarray  # (m,)
    x_theta: np.ndarray  # (k, m)

    def __add__(self, other):
        return Sums(self.theta + other.theta, self.x_theta + other.x_theta)


class NewtonPass(NamedTuple):
    """What a pass finds at some `Points`.

    Attributes
    ----------
    weight : float
        Sum of the sample weights.
    y, loss : ndarray of shape (m,)
        Weighted sums of the targets, of the loss. An infinite loss is all that is known of
        rows where a loss is not defined.
    statistics : tuple of Statistics
        Of each target: weighted by curvature, of the working response less the linear
        predictor. There are none in a light pass.
    slope : Sums
        Of minus the loss' derivative; in a light pass.
    squares : ndarray of shape (m,)
        Sums of the squares of that.
    dual : Sums
        Of a dual point: the residual of the quadratic at its minimum.
    conjugate, at_zero : ndarray of shape (m,)
        Sums of the loss' conjugate at minus the dual point; at zero, in the first pass.
    """

    n_rows: int
    n_chunks: int
    defect: Defect | None = None
    weight: float = 0.0
    y: np.ndarray | None = None
    loss: np.ndarray | None = None
    statistics: tuple[Statistics, ...] = ()
    slope: Sums | None = None
    squares: np.ndarray | None = None
    dual: Sums | None = None
    conjugate: np.ndarray | None = None
    at_zero: np.ndarray | None = None


def newton_pass(
    chunks: Iterable[Chunk], loss: Certified, points: Points, light: bool = False
) -> NewtonPass:
    """The loss of some chunks, and its quadratic: the curvature too, unless it is `light`."""
    return merge_newton(_of_chunk(chunk, loss, points, light) for chunk in chunks)


def merge_newton(parts: Iterable[NewtonPass]) -> NewtonPass:
    """What a pass over the union of disjoint rows finds."""
    parts = list(parts)
    counts = merge_counts(parts)
    found = [part for part in parts if part.loss is not None]
    if counts["defect"] is not None or not found:
        return NewtonPass(**counts)
    loss = np.sum([part.loss for part in found], axis=0)
    if not np.isfinite(loss).all():
        return NewtonPass(**counts, weight=sum(part.weight for part in found), loss=loss)
    sums = ("weight", "y", "loss", "slope", "squares", "dual", "conjugate", "at_zero")
    return NewtonPass(
        **counts,
        **{name: _sum([getattr(part, name) for part in found]) for name in sums},
        statistics=tuple(
            merge_statistics(of_target)
            for of_target in zip(*(part.statistics for part in found), strict=True)
        ),
    )


def _sum(values):
    return None if values[0] is None else reduce(operator.add, values)


def _of_chunk(chunk, loss, points, light):
    defect = chunk.defect or outside(chunk, loss)
    if defect is not None:
        return NewtonPass(chunk.n_rows, 1, defect)
    n = chunk.n_rows
    if n == 0:
        return NewtonPass(0, 1)
    rows = raw_rows(chunk)
    if rows.weight is not None and not (rows.weight >= 0).all():
        return NewtonPass(n, 1, value_defect(rows.X, rows.y, chunk.sample_weight))
    found = []
    for target in range(rows.y.shape[1]):
        of_target = rows._replace(y=rows.y[:, [target]])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            sums = _of_rows(of_target, loss, points.of_target(target), light)
        if sums.is_defined and sums.is_summable:
            found.append(sums)
            continue
        if not is_finite(rows):
            return NewtonPass(n, 1, value_defect(rows.X, rows.y, chunk.sample_weight))
        # Products with the curvature of an estimate that is far out may be too large, and those of
        # the columns themselves not.
        defect = column_moments([chunk]).defect if sums.is_defined else None
        if defect is not None:
            return NewtonPass(n, 1, defect)
        # An estimate too far out for the loss: no objective, and no step from here.
        return NewtonPass(n, 1, weight=sums.weight, loss=np.full(rows.y.shape[1], np.inf))
    return NewtonPass(
        n,
        1,
        weight=found[0].weight,
        y=np.array([sums.y for sums in found]),
        loss=np.array([sums.loss for sums in found]),
        statistics=() if light else tuple(sums.statistics for sums in found),
        slope=_stacked([sums.slope for sums in found]) if light else None,
        squares=np.array([sums.squares for sums in found]),
        **_dual_of(found, points),
    )


def _dual_of(found, points):
    """Of the sums of each target, what a pass at `points` knows of the dual."""
    conjugate = np.array([sums.conjugate for sums in found])
    if points.before is None:
        return {"at_zero": conjugate}
    return {"conjugate": conjugate, "dual": _stacked([sums.dual for sums in found])}


def _stacked(sums):
    theta, x_theta = zip(*sums, strict=True)
    return Sums(np.concatenate(theta), np.hstack(x_theta))


class _RowSums:
    """Sums over the rows of a chunk, for one target."""

    def __init__(self, k):
        self.weight = self.y = self.loss = self.conjugate = self.squares = 0.0
        self.slope = self.dual = Sums(np.zeros(1), np.zeros((k, 1)))
        self.statistics: Any = None

    @property
    def is_defined(self):
        """Whether the loss and its derivatives are finite in every row."""
        defined = np.isfinite(self.loss) and np.isfinite(self.slope.theta).all()
        return defined and (self.statistics is None or np.isfinite(self.statistics.weight))

    @property
    def is_summable(self):
        """Whether the sums are, of what is defined."""
        if self.statistics is None:
            return np.isfinite(self.slope.x_theta).all()
        return all(np.isfinite(of).all() for of in (self.statistics.sxx, self.statistics.sxy))


def _of_rows(rows, loss, points, light, x_shift=None):
    """The sums of a target: a tile of the rows is read once, for all products with it."""
    n, k = rows.X.shape
    found, is_sparse = _RowSums(k), sparse.issparse(rows.X)
    if not (light or is_sparse):
        x_shift = near_means(rows.X, _weights(rows)) if x_shift is None else x_shift
        tiles, squares = TileSums(x_shift, 1, tile_rows(k)), np.zeros(1)
    for tile in _tiles(rows):
        X, y, weight = tile.X, tile.y, tile.times
        eta = tile.predictor(points.beta)
        found.weight += float(len(y)) if tile.weight is None else float(weight.sum())
        found.y += (weight * y).sum()
        found.loss += (weight * loss.value(eta, y)).sum()
        theta = -loss.derivative(eta, y)
        found.squares += (weight * theta**2).sum()
        theta *= weight
        if points.before is None:
            found.conjugate += (weight * loss.conjugate(np.zeros_like(eta), y)).sum()
        else:
            dual = _dual_point(loss, tile, eta, points)
            conjugate = loss.conjugate(-dual, y)
            if tile.offset is not None:  # of a function of eta less the offset
                conjugate += dual * tile.offset
            found.conjugate += (weight * conjugate).sum()
            found.dual += _sums_of(X, weight * dual)
        if light:
            found.slope += _sums_of(X, theta)
            continue
        curvature, response = _working(loss, eta, y, weight, theta)
        found.slope += Sums(theta.sum(axis=0), 0.0)
        if is_sparse:
            found.statistics = statistics_of_chunk(Chunk(X, response, curvature, n))
        else:
            tiles.add(X, theta.T, curvature)
            squares += (theta * response).sum(axis=0)
    if light or is_sparse:
        return found
    found.statistics = tiles.statistics(n, n, squares)
    if found.statistics.is_far_from(x_shift) and np.isfinite(found.statistics.x_mean).all():
        return _of_rows(rows, loss, points, light, found.statistics.x_mean)
    return found


def _weights(rows):
    return None if rows.weight is None else rows.weight[:, 0]


def _working(loss, eta, y, weight, theta):
    """The curvature (n,) of rows, and their response (n, 1): both of one target, and weighted."""
    curvature = (weight * _curvature(loss, eta, y))[:, 0]
    response = np.zeros_like(theta)
    np.divide(theta, curvature[:, np.newaxis], out=response, where=theta != 0)
    return curvature, response


def working_rows(chunk: Chunk, loss: Certified, beta: np.ndarray) -> list[Chunk]:
    """Of each target the rows whose `Statistics` those of a pass at `beta` are."""
    rows, found = raw_rows(chunk), []
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for target in range(rows.y.shape[1]):
            eta, y = rows.predictor(beta[:, [target]]), rows.y[:, [target]]
            theta = -rows.times * loss.derivative(eta, y)
            curvature, response = _working(loss, eta, y, rows.times, theta)
            found.append(Chunk(rows.X, response, curvature, chunk.n_rows))
    return found


def slopes(rows: Rows, loss: Certified, beta: np.ndarray) -> np.ndarray:
    """Minus the loss' derivative (n, m) in some rows, not weighted."""
    return -loss.derivative(rows.predictor(beta), rows.y)


def duals(rows: Rows, loss: Certified, points: Points) -> np.ndarray:
    """The dual point (n, m) of a pass, times the weights of the rows."""
    found = np.empty(rows.y.shape)
    for target in range(rows.y.shape[1]):
        of_target, start = points.of_target(target), 0
        for tile in _tiles(rows._replace(y=rows.y[:, [target]])):
            stop = start + len(tile.y)
            eta = tile.predictor(of_target.beta)
            found[start:stop, [target]] = _dual_point(loss, tile, eta, of_target)
            start = stop
    return rows.times * found


def _tiles(rows):
    return rows.tiles(tile_rows(rows.X.shape[1]))


def _curvature(loss, eta, y):
    """The curvature of the loss; no less than says something."""
    curvature = loss.curvature(eta, y)
    least = _LEAST * curvature.mean(axis=0)
    return np.maximum(curvature, np.where(least > 0, least, _LEAST))


def _dual_point(loss, rows, eta, points):
    """The residual of the quadratic at its minimum."""
    before = rows.predictor(points.before)
    is_same = np.array_equal(points.curved, points.before)
    at = before if is_same else rows.predictor(points.curved)
    if not np.array_equal(points.beta, points.minimum):
        eta = rows.predictor(points.minimum)
    theta = -loss.derivative(before, rows.y) - _curvature(loss, at, rows.y) * (eta - before)
    return -loss.feasible(-theta, rows.y) if hasattr(loss, "feasible") else theta


def _sums_of(X, theta):
    return Sums(theta.sum(axis=0), X.T @ theta)


def is_finite(rows: Rows) -> bool:
    """Whether all values of some rows are."""
    values = rows.X.data if sparse.issparse(rows.X) else rows.X
    weight = 0.0 if rows.weight is None else rows.weight
    return all(np.isfinite(of).all() for of in (values, rows.y, weight))


def outside(chunk: Chunk, loss: Any) -> Defect | None:
    """The first target that the loss is not defined for."""
    if chunk.n_rows == 0 or not hasattr(loss, "outside"):
        return None
    bad = loss.outside(chunk.y).any(axis=1)
    return Defect("y", loss.problem, int(np.argmax(bad)), 0) if bad.any() else None


def losses_between(
    chunks: Iterable[Chunk],
    loss: RowLoss,
    beta: np.ndarray,
    other: np.ndarray,
    shares: np.ndarray,
) -> np.ndarray:
    """The loss (s, m) at points that are these shares of the way from `beta` to `other`."""
    found = np.zeros((len(shares), beta.shape[1]))
    for chunk in chunks:
        rows = raw_rows(chunk)
        with np.errstate(over="ignore", invalid="ignore"):
            found += loss.values_between(beta, other, shares, rows)
    return found


def sample_of(chunks: Iterable[Chunk], share: float, enough: int) -> Chunk | None:
    """A share of the rows of some chunks, from all over them, as one; None where there are none.

    No fewer than `enough`, or all.
    """
    parts = [chunk for chunk in chunks if chunk.defect is None and chunk.n_rows]
    if not parts:
        return None
    n = sum(part.n_rows for part in parts)
    step = max(1, min(int(1 / share), n // enough))
    some = [every(step, part.sample_weight) for part in parts]
    rows = [raw_rows(part) for part in parts]
    found = [of_part.X[of] for of_part, of in zip(rows, some, strict=True)]
    is_sparse = sparse.issparse(found[0])
    X = sparse.csr_array(sparse.vstack(found)) if is_sparse else np.vstack(found)
    y = np.vstack([of_part.y[of] for of_part, of in zip(rows, some, strict=True)])
    beside: list[np.ndarray | None] = [
        None
        if values[0] is None
        else np.concatenate([of_part[of] for of_part, of in zip(values, some, strict=True)])
        for values in zip(*((part.sample_weight, part.offset) for part in parts), strict=True)
    ]
    return Chunk(X, y, beside[0], len(y), offset=beside[1])
