"""A loss summed over the raw rows of a chunk, and its gradient: what blocks evaluate.

`RowLoss` takes a loss of a row, in tiles of rows that stay in a core's cache for the second
product; `ChunkLoss` takes a user's two functions of a whole chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..problem.dual import Quadratic, Sampled, dual_of
from ..problem.losses import Loss, Pair, Residual
from ..problem.metric import Metric
from .raw import Rows, moments_of
from .statistics import Statistics, merge_statistics
from .tiles import CACHE_ITEMS

# Newton steps to the best constant.
_STEPS = 30
# Of the mean curvature: what a row has at least, for the metric of ADMM.
_LEAST_CURVATURE = 0.3
# Of a user's functions: evaluations of a chunk that its curvature may cost, and the step, in
# standard deviations of a column, that its gradients differ by.
_DIFFERENCES, _STEP = 4, 1e-3


class Sums(NamedTuple):
    """A block's part of a certificate at some beta; sums over its rows, per target.

    With theta the negative derivative of the loss, any shift and scaling of the dual point
    theta is a formula in these, so one look at the rows is enough.
    """

    loss: np.ndarray  # (m,)
    curvatures: float  # of rows, mean over targets
    theta: np.ndarray | None = None  # (m,)
    x_theta: np.ndarray | None = None  # (k, m)
    curvature: np.ndarray | None = None  # (m,), where theta is shifted along it
    x_curvature: np.ndarray | None = None  # (k, m)
    dual: np.ndarray | None = None  # (q, m), of `problem.dual`
    curved: Statistics | None = None  # of a sample of rows, weighted by curvature


class Start(NamedTuple):
    """What is known of a loss before the first update.

    Attributes
    ----------
    eta : ndarray of shape (m,)
        Where the intercept starts.
    null : ndarray of shape (m,)
        Twice the loss of a constant, NaN where it is not known.
    curvature : float
        Sum of second derivatives along a standardised column.
    """

    eta: np.ndarray
    null: np.ndarray
    curvature: float


@dataclass(frozen=True)
class RowLoss:
    """The loss of every row, summed."""

    loss: Loss
    fit_intercept: bool
    has_ones: ClassVar = False  # a column of ones in X

    @cached_property
    def dual(self) -> Quadratic | Sampled | None:
        """The dual; None for a loss whose conjugate is not known."""
        return dual_of(self.loss)

    def value_and_gradient(self, beta: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]:
        """The loss, summed over rows and targets, and its gradient, shaped as `beta` (d, m)."""
        value, gradient = 0.0, np.zeros(beta.shape)
        for tile in _tiles(rows):
            X, y, weight, eta = tile.X, tile.y, tile.times, tile.predictor(beta)
            with np.errstate(over="ignore", invalid="ignore"):  # of a step that is too long
                value += (weight * self.loss.value(eta, y)).sum()
                _add_products(X, weight * self.loss.derivative(eta, y), gradient)
        return value, gradient

    def sums(self, beta: np.ndarray, rows: Rows) -> Sums:
        """A chunk's part of the certificate at `beta`."""
        k, m = rows.X.shape[1], beta.shape[1]
        loss, curvatures = np.zeros(m), 0.0
        dual: Any = 0
        theta = np.zeros((k + 1, m))
        is_along = self.fit_intercept and not isinstance(self.dual, Quadratic | None)
        along = np.zeros((k + 1, m)) if is_along else None
        for tile in _tiles(rows):
            X, y, weight, eta = tile.X, tile.y, tile.times, tile.predictor(beta)
            with np.errstate(over="ignore", invalid="ignore"):  # infinite, of one too far out
                loss += (weight * self.loss.value(eta, y)).sum(axis=0)
                of_rows, curvature = -self.loss.derivative(eta, y), self.loss.curvature(eta, y)
                curvatures += float((weight * curvature).sum() / m)
                _add_products(X, weight * of_rows, theta)
                if is_along:
                    _add_products(X, weight * curvature, along)
            if self.dual is not None:
                args = of_rows, curvature, tile.weight, tile.offset
                dual = dual + self.dual.sums(eta, y, *args)
        if np.isnan(loss).any():
            raise ValueError(_undefined("value returned NaN"))
        if self.dual is None:
            return Sums(loss, curvatures)
        dual = dual if np.ndim(dual) else np.zeros((1, m))
        beside = (along[k], along[:k]) if is_along else (None, None)
        return Sums(loss, curvatures, theta[k], theta[:k], *beside, dual)

    def prepared(self, rows: Rows) -> Rows:
        """Rows for many evaluations: as they are, for tiles are copied where need be."""
        return rows

    def curved(self, beta: np.ndarray, rows: Rows) -> Statistics:
        """Of a sample of rows, weighted by the curvature of the loss at `beta`."""
        rows = rows.sample(rows.X.shape[1])
        eta = np.concatenate([tile.predictor(beta) for tile in _tiles(rows)])
        curvature = self.loss.curvature(eta, rows.y).mean(axis=1, keepdims=True)
        # Huber's loss has none on most rows of large residuals: the few that have one would not
        # tell how far to go along the directions of the others.
        curvature = np.maximum(curvature, _LEAST_CURVATURE * curvature.mean())
        return moments_of(rows._replace(weight=rows.weight * curvature))

    def values_between(
        self, beta: np.ndarray, other: np.ndarray, shares: np.ndarray, rows: Rows
    ) -> np.ndarray:
        """The loss (s, m) at points that are these shares of the way from `beta` to `other`."""
        found = np.zeros((len(shares), beta.shape[1]))
        ends = np.hstack([beta, other - beta])
        m = beta.shape[1]
        for tile in _tiles(rows):
            eta = tile._replace(offset=None).predictor(ends)
            start, way = eta[:, :m], eta[:, m:]
            if tile.offset is not None:
                start += tile.offset
            for values, share in zip(found, shares, strict=True):
                at = self.loss.value(start + share * way, tile.y)
                values += (tile.times * at).sum(axis=0)
        return found

    def start(
        self, rows: Rows, y_mean: np.ndarray, of_columns: tuple[np.ndarray, np.ndarray]
    ) -> Start:
        """The loss of the best constant, or of zero without an intercept."""
        weight = rows.times
        eta = self._constant(rows.y, weight, y_mean)
        at = np.broadcast_to(eta, rows.y.shape)
        null = weight * self.loss.value(at, rows.y)
        if self.dual is not None and not isinstance(self.dual, Quadratic):
            # Above what no estimate is better than: half the deviance.
            null = null + weight * self.dual.loss.conjugate(np.zeros_like(at), rows.y)
        null = 2 * null.sum(axis=0)
        curvature = self.loss.curvature(at, rows.y)
        if not (np.isfinite(null).all() and np.isfinite(curvature).all()):
            raise ValueError(_undefined("value or curvature is not finite at a constant eta"))
        total = float(weight.sum()) if rows.weight is not None else float(len(rows.y))
        if self.fit_intercept and rows.offset is not None:
            eta = eta - (weight * rows.offset).sum() / (total or 1.0)
        return Start(eta, null, total * float(curvature.mean()))

    def _constant(self, y, weight, y_mean):
        if not self.fit_intercept:
            return np.zeros_like(y_mean)
        if isinstance(self.loss, Residual):
            return y_mean
        if hasattr(self.loss, "constant"):
            # As if there were one row more, of half the range, where all are at an end of it.
            n = len(y)
            inside = (n * y_mean + 0.5) / (n + 1)
            return self.loss.constant(np.where(self.loss.is_endless(y_mean), inside, y_mean))
        eta = np.zeros_like(y_mean)
        for _ in range(_STEPS):
            at = np.broadcast_to(eta, y.shape)
            slope = (weight * self.loss.derivative(at, y)).sum(axis=0)
            curvature = (weight * self.loss.curvature(at, y)).sum(axis=0)
            steps = np.divide(slope, curvature, out=np.zeros_like(slope), where=curvature > 0)
            # Where all targets are at an end of their range the best constant is far out.
            eta = eta - np.clip(steps, -1.0, 1.0)
        return eta


@dataclass(frozen=True)
class ChunkLoss:
    """A user's ``f(beta, X, y) -> float`` and ``fprime(beta, X, y) -> array``, over one chunk."""

    pair: Pair
    fit_intercept: bool
    dual: ClassVar = None

    @property
    def has_ones(self) -> bool:
        """Users' functions see the intercept as a column of ones."""
        return self.fit_intercept

    def prepared(self, rows: Rows) -> Rows:
        """Rows for many evaluations: BLAS would copy what is not aligned in each of them."""
        return rows.aligned

    def value_and_gradient(self, beta: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]:
        """The loss, summed over the rows, and its gradient of shape (d, 1)."""
        value = self._value(beta, rows)
        gradient = np.asarray(self.pair.fprime(beta[:, 0], rows.X, rows.y[:, 0]))
        if gradient.shape != beta[:, 0].shape or gradient.dtype.kind not in "buif":
            raise ValueError(
                f"loss: fprime returned an array of shape {gradient.shape} and dtype"
                f" {gradient.dtype} for a beta of shape {beta[:, 0].shape}; it must return real"
                " numbers of the same shape."
            )
        return value, gradient.astype(np.float64)[:, np.newaxis]

    def sums(self, beta: np.ndarray, rows: Rows) -> Sums:
        """The loss alone."""
        value = self._value(beta, rows)
        if np.isnan(value):
            raise ValueError(_undefined("f returned NaN for an estimate of beta"))
        return Sums(np.array([value]), 0.0)

    def curved(self, beta: np.ndarray, rows: Rows) -> Statistics:
        """Of a sample of rows, weighted by the curvature of the loss at `beta`.

        By differences of gradients, of so few rows that it costs some evaluations of all.
        """
        d, n = len(beta), rows.X.shape[0]
        k = d - self.fit_intercept
        some = rows._replace(X=rows.X[:: max(1, d // _DIFFERENCES)])
        some = some._replace(y=rows.y[:: max(1, d // _DIFFERENCES)])
        sample = moments_of(some._replace(X=some.X[:, :k]))
        squares = np.diagonal(sample.sxx) / sample.n_rows
        x_shift = sample.x_mean
        if not self.fit_intercept:
            squares, x_shift = squares + x_shift**2, np.zeros(k)
        scale = np.where(squares > 0, np.sqrt(squares), 1.0)
        metric = Metric(0, x_shift, np.zeros(1), scale, self.fit_intercept)

        def slope(v):
            at = beta + metric.to_beta(v)
            return metric.pull_back(self.value_and_gradient(at, some)[1])[:, 0]

        steps = _STEP * np.eye(d)[:, :, np.newaxis]
        centre = slope(np.zeros((d, 1)))
        hessian = np.array([slope(step) - centre for step in steps]) * (n / len(some.y) / _STEP)
        hessian = (hessian + hessian.T) / 2
        of_columns, off, weight = hessian[:k, :k], np.zeros(k), float(np.trace(hessian)) / d
        if self.fit_intercept and hessian[k, k] > 0:
            weight = float(hessian[k, k])
            off = hessian[:k, k] / weight
            of_columns = of_columns - weight * np.outer(off, off)
        none = np.zeros(1)
        return Statistics(
            n_rows=n,
            n_chunks=1,
            weight=max(weight, 0.0),
            x_mean=x_shift + off * scale,
            y_mean=none,
            sxx=of_columns * np.outer(scale, scale),
            sxy=np.zeros((k, 1)),
            syy=none,
            n_weighted=n,
        )

    def _value(self, beta, rows):
        value = np.asarray(self.pair.f(beta[:, 0], rows.X, rows.y[:, 0]))
        if value.size != 1 or value.dtype.kind not in "buif":
            raise ValueError(
                f"loss: f returned an array of shape {value.shape} and dtype {value.dtype}; it"
                " must return one number, the sum over the rows of X."
            )
        return float(value.item())

    def start(
        self, rows: Rows, y_mean: np.ndarray, of_columns: tuple[np.ndarray, np.ndarray]
    ) -> Start:
        """The curvature near zero, by a difference of gradients.

        Along a random vector of signs, ``d.H d / k`` is on average the mean of H's diagonal
        (Hutchinson 1990).
        """
        x_mean, x_square = of_columns
        k, n = len(x_mean), rows.X.shape[0]
        scale = np.sqrt(x_square / n)
        scale[scale == 0] = 1.0
        x_shift = x_mean if self.fit_intercept else np.zeros(k)
        metric = Metric(0, x_shift, np.zeros(1), scale, self.fit_intercept)
        v = np.zeros((k + self.fit_intercept, 1))
        d = np.random.default_rng(0).choice([-1.0, 1.0], size=v.shape)
        step = 1e-4 / np.sqrt(len(d))
        change = np.vdot(d, self._slope(metric, v + step * d, rows) - self._slope(metric, v, rows))
        curvature = max(float(change) / step / len(d), 0.0)
        return Start(np.zeros_like(y_mean), np.full_like(y_mean, np.nan), curvature)

    def _slope(self, metric, v, rows):
        value, gradient = self.value_and_gradient(metric.to_beta(v), rows)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            bad = int((~np.isfinite(gradient)).sum())
            raise ValueError(
                f"loss: where the fit starts, at a beta near zero, f is {value} and fprime has"
                f" {bad} values that are not finite: define the loss there."
            )
        return metric.pull_back(gradient)


def _undefined(what):
    return f"loss: {what}: it must be defined for every beta."


def _tiles(rows):
    return rows.tiles(max(1, CACHE_ITEMS // rows.X.shape[1]))


def _add_products(X, values, into):
    """Add ``X^T values`` to `into`, and below it their sum if there is a row for it."""
    k = X.shape[1]
    into[:k] += X.T @ values
    if len(into) > k:
        into[k] += values.sum(axis=0)


def sums(
    chunks: list[Rows], loss: RowLoss | ChunkLoss, beta: np.ndarray, with_curved: bool
) -> Sums:
    """A block's part of the certificate at `beta`; perhaps with the curvature there."""
    chunks = [loss.prepared(rows) for rows in chunks]
    found = add_sums([loss.sums(beta, rows) for rows in chunks])
    parts = [loss.curved(beta, rows) for rows in chunks if with_curved and rows.X.shape[0]]
    if not parts:
        return found
    curved = merge_statistics(parts)
    return found._replace(curved=curved, curvatures=found.curvatures or curved.weight)


def add_sums(parts: list[Sums]) -> Sums:
    """The `Sums` of the union of disjoint rows."""
    *columns, curved = zip(*parts, strict=True)
    with np.errstate(invalid="ignore"):  # infinite ones, of an estimate too far out
        totals: Any = [None if column[0] is None else sum(column) for column in columns]
    found = [part for part in curved if part is not None]
    return Sums(*totals)._replace(curved=merge_statistics(found) if found else None)
