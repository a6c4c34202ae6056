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
from typing import NamedTuple

import numpy as np
from scipy import sparse

from ..problem.losses import Certified
from .chunk import Chunk, Defect
from .losses import RowLoss
from .merging import merge_counts
from .raw import raw_rows
from .statistics import Statistics, merge_statistics, statistics_of_chunk, value_defect

# Values of X in the parts that a chunk is taken in: 8 MiB, that of two products with a part the
# second finds it in a core's third-level cache. Not fewer rows than some times the columns, or
# adding up would cost more than the products.
_PART_ITEMS, _PART_ROWS = 2**20, 8

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
        Weighted sums of the targets, of the loss.
    statistics : tuple of Statistics
        Of each target: weighted by curvature, of the working response less the linear
        predictor. There are none in a light pass.
    slope : Sums
        Of minus the loss' derivative; in a light pass.
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
    dual: Sums | None = None
    conjugate: np.ndarray | None = None
    at_zero: np.ndarray | None = None


def newton_pass(
    chunks: Iterable[Chunk], loss: Certified, points: Points, light: bool = False
) -> NewtonPass:
    """The loss of some chunks, and its quadratic: the curvature too, unless it is `light`."""
    parts = (_of_part(part, loss, points, light) for chunk in chunks for part in _parts(chunk))
    return merge_newton(parts)


def _parts(chunk):
    """A chunk in parts of some rows."""
    if chunk.defect is not None or sparse.issparse(chunk.X):
        yield chunk
        return
    k = chunk.X.shape[1]
    step = max(_PART_ITEMS // k, _PART_ROWS * k)
    for start in range(0, max(1, chunk.n_rows), step):
        rows = slice(start, start + step)
        yield chunk.rows(rows)


def merge_newton(parts: Iterable[NewtonPass]) -> NewtonPass:
    """What a pass over the union of disjoint rows finds."""
    parts = list(parts)
    counts = merge_counts(parts)
    found = [part for part in parts if part.loss is not None]
    if counts["defect"] is not None or not found:
        return NewtonPass(**counts)
    sums = ("weight", "y", "loss", "slope", "dual", "conjugate", "at_zero")
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


def _of_part(part, loss, points, light):
    defect = part.defect or _outside(part, loss)
    if defect is not None:
        return NewtonPass(part.n_rows, 1, defect)
    if part.n_rows == 0:
        return NewtonPass(0, 1)
    rows, n = raw_rows(part), part.n_rows
    X, y, weight = rows.X, rows.y, 1.0 if rows.weight is None else rows.weight
    if not sparse.issparse(X) and not (X.dtype == np.float64 and X.flags.aligned):
        X = X.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        eta = _predictor(X, rows, points.beta)
        value = (weight * loss.value(eta, y)).sum(axis=0)
        theta = -loss.derivative(eta, y)
        curvature = None if light else _curvature(loss, eta, y)
        is_defined = np.isfinite(theta).all() and (light or np.isfinite(curvature).all())
        if not is_defined or not (rows.weight is None or (rows.weight >= 0).all()):
            defect = _defect_of(rows, part.sample_weight)
            if defect is not None:
                return NewtonPass(n, 1, defect)
            # An estimate too far out for the loss: no objective, and no step from here.
            value, theta = np.full_like(value, np.inf), np.zeros_like(theta)
            curvature = np.ones_like(theta)
        found = NewtonPass(
            n,
            1,
            weight=float(n) if rows.weight is None else float(rows.weight.sum()),
            y=(weight * y).sum(axis=0),
            loss=value,
            slope=_sums_of(X, weight * theta) if light else None,
            **_dual_point(loss, X, rows, eta, points),
        )
    if light:
        return found
    statistics = []
    for target, column in enumerate((theta / curvature).T):
        of_rows = (weight * curvature)[:, target]
        statistics.append(statistics_of_chunk(Chunk(X, column[:, np.newaxis], of_rows, n)))
        if statistics[-1].defect is not None:
            return NewtonPass(n, 1, value_defect(rows.X, y, part.sample_weight))
    return found._replace(statistics=tuple(statistics))


def _predictor(X, rows, beta):
    k = X.shape[1]
    eta = X @ beta[:k]
    if rows.offset is not None:
        eta += rows.offset
    return eta + beta[k] if len(beta) > k else eta


def _curvature(loss, eta, y):
    """The curvature of the loss; no less than says something."""
    curvature = loss.curvature(eta, y)
    least = _LEAST * curvature.mean(axis=0)
    return np.maximum(curvature, np.where(least > 0, least, 1.0))


def _dual_point(loss, X, rows, eta, points):
    """Of a part, `dual` and `conjugate`; in the first pass what scaling them takes."""
    y, weight = rows.y, 1.0 if rows.weight is None else rows.weight
    if points.before is None:
        at_zero = weight * loss.conjugate(np.zeros_like(eta), y)
        return {"at_zero": at_zero.sum(axis=0)}
    before = _predictor(X, rows, points.before)
    is_same = np.array_equal(points.curved, points.before)
    at = before if is_same else _predictor(X, rows, points.curved)
    if not np.array_equal(points.beta, points.minimum):
        eta = _predictor(X, rows, points.minimum)
    theta = -loss.derivative(before, y) - _curvature(loss, at, y) * (eta - before)
    if hasattr(loss, "feasible"):
        theta = -loss.feasible(-theta, y)
    conjugate = weight * loss.conjugate(-theta, y)
    if rows.offset is not None:  # of a function of eta less the offset
        conjugate += weight * theta * rows.offset
    return {"dual": _sums_of(X, weight * theta), "conjugate": conjugate.sum(axis=0)}


def _sums_of(X, theta):
    return Sums(theta.sum(axis=0), X.T @ theta)


def _defect_of(rows, weights):
    """What is wrong with rows of which a loss made something that is not finite, if anything."""
    values = rows.X.data if sparse.issparse(rows.X) else rows.X
    is_finite = np.isfinite(values).all() and np.isfinite(rows.y).all()
    if is_finite and (weights is None or (np.isfinite(weights).all() and (weights >= 0).all())):
        return None
    return value_defect(rows.X, rows.y, weights)


def _outside(chunk, loss):
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
    some = slice(None, None, max(1, min(int(1 / share), n // enough)))
    rows = [raw_rows(part) for part in parts]
    found = [of_part.X[some] for of_part in rows]
    is_sparse = sparse.issparse(found[0])
    X = sparse.csr_array(sparse.vstack(found)) if is_sparse else np.vstack(found)
    y = np.vstack([of_part.y[some] for of_part in rows])
    beside: list[np.ndarray | None] = [
        None if values[0] is None else np.concatenate([of_part[some] for of_part in values])
        for values in zip(*((part.sample_weight, part.offset) for part in parts), strict=True)
    ]
    return Chunk(X, y, beside[0], len(y), offset=beside[1])
