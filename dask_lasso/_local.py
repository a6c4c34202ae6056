"""The local problems of consensus ADMM: what a block computes, and how it is certified.

`Gram` knows a block by its statistics, `BlackBox` by its raw rows, which stay where they
are, and a loss that can only be evaluated. `Consensus` and the engines use either through
the same few methods:

- ``load(place)``: per block, a future of the data that updates work on and a future of
  the report that comes to the client;
- ``absorb(block, report)``: take a report in; then ``statistics``, ``samples_seen``,
  ``curvature``, ``null_loss`` and ``standardise()`` are those of all reported rows;
- ``task(...)``: the proximal step of one block;
- ``question(...)``: what to ask every block about an estimate, None if nothing, as where
  ``answers_are_free``;
  ``certificate(...)``: the certificate from the answers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg, optimize, sparse

from . import _statistics
from ._chunk import Defect, to_host
from ._losses import Rows
from .problem.certificate import ORTHOGONAL, duality_gap, objective
from .problem.linear import LeastSquares
from .problem.moments import intercept, is_rounding
from .problem.penalties import L1

# By how much an update reduces the gradient of its subproblem. It starts from the block's
# last solution, so the error left shrinks with the steps of z, which is what inexact
# ADMM needs (Eckstein & Yao 2018, relative-error criteria); more precision buys no sweep.
_REDUCTION = 0.05
# Evaluations of the loss in one update, however hard it is.
_EVALUATIONS = 60
# Relative change of a loss below which it is taken from the gradients.
_NOISE = 1e-7


class Metric(NamedTuple):
    """Coordinates that the blocks agree on: standardised columns ``v = w * scale``.

    An intercept is one more coordinate, about the point (x_shift, y_shift), so that it
    hardly depends on the others. A column that does not vary has an infinite scale: its
    coordinate stays at zero. `epoch` counts changes of the metric.
    """

    epoch: int
    x_shift: np.ndarray  # (k,)
    y_shift: np.ndarray  # (m,)
    scale: np.ndarray  # (k,)
    fit_intercept: bool

    def of_coef(self, coef):
        """The coordinates of coefficients (k, m)."""
        return coef * np.where(np.isfinite(self.scale), self.scale, 0.0)[:, np.newaxis]

    def to_beta(self, v):
        """Coefficients, and below them the intercept if there is one, of coordinates (d, m)."""
        k = len(self.scale)
        w = v[:k] / self.scale[:, np.newaxis]
        if not self.fit_intercept:
            return w
        return np.vstack([w, v[k] + self.y_shift - self.x_shift @ w])

    def pull_back(self, gradient):
        """The gradient (d, m) in v of a function that has this `gradient` in beta."""
        k = len(self.scale)
        scale = self.scale[:, np.newaxis]
        if not self.fit_intercept:
            return gradient / scale
        centred = gradient[:k] - self.x_shift[:, np.newaxis] * gradient[k]
        return np.vstack([centred / scale, gradient[k]])


class Certificate(NamedTuple):
    """What is known of an estimate; all per target (m,), `gap` is None without a dual."""

    coef: np.ndarray  # (k, m)
    intercept: np.ndarray
    objective: np.ndarray
    gap: np.ndarray | None


def _scale(squares, weight):
    """Root mean squares of columns, of which sums of squares are known."""
    return np.sqrt(np.where(squares > 0, squares / (weight or 1.0), np.inf))


# -- statistics --------------------------------------------------------------------------


class Factor(NamedTuple):
    """One block's quadratic, diagonalised, so that a new rho costs nothing."""

    basis: np.ndarray  # (d, d)
    curvature: np.ndarray  # (d,)
    linear: np.ndarray  # (d, m), in that basis


def factorize(statistics: _statistics.Statistics, metric: Metric) -> Factor:
    """Diagonalise a block's ``1/2 v.H v - g.v`` in the coordinates of `metric`."""
    weight = statistics.weight
    x = statistics.x_mean - metric.x_shift
    y = statistics.y_mean - metric.y_shift
    hessian = (statistics.sxx + weight * np.outer(x, x)) / np.outer(metric.scale, metric.scale)
    linear = (statistics.sxy + weight * np.outer(x, y)) / metric.scale[:, np.newaxis]
    if metric.fit_intercept:
        border = weight * x / metric.scale
        hessian = np.block([[hessian, border[:, np.newaxis]], [border, np.array([[weight]])]])
        linear = np.vstack([linear, weight * y])
    curvature, basis = linalg.eigh(hessian, check_finite=False)
    return Factor(basis, np.maximum(curvature, 0.0), basis.T @ linear)


def gram_update(factor: Factor, point, rho: float):
    """``argmin_v f_i(v) + rho/2 ||v - point||^2`` for a quadratic f_i."""
    rotated = factor.linear + rho * (factor.basis.T @ point)
    return factor.basis @ (rotated / (factor.curvature + rho)[:, np.newaxis])


class Gram:
    """Squared loss from the blocks' statistics: every step is exact and costs O(k^2)."""

    answers_are_free = True

    def __init__(self, penalty: L1, fit_intercept: bool):
        self._penalty = penalty
        self._fit_intercept = fit_intercept
        self._factors = {}  # block -> (epoch, future)
        self.statistics = None

    def load(self, place):
        """Statistics are both the data and the report; a handful of blocks per thread."""
        reports = place.load_statistics(few_blocks=True)
        return reports, reports

    def absorb(self, block, statistics):
        merged = [] if self.statistics is None else [self.statistics]
        self.statistics = _statistics.merge([*merged, statistics])

    @property
    def samples_seen(self) -> int:
        return 0 if self.statistics is None else self.statistics.n_rows

    @property
    def curvature(self) -> float:
        """The loss' mean second derivative along a standardised column, over all rows."""
        return self.statistics.weight

    @property
    def null_loss(self):
        """``||y||^2 / n``, about the mean with an intercept."""
        return self._moments().null_loss

    def standardise(self):
        """Means of the columns, means of the targets, root mean squares of the columns."""
        scale = _scale(self._moments().norms ** 2, self.statistics.weight)
        return self.statistics.x_mean, self.statistics.y_mean, scale

    def task(self, block, data, metric, x, z, u, rho, place):
        """`gram_update`, after a `factorize` where the metric is new."""
        epoch, factor = self._factors.get(block, (None, None))
        if epoch != metric.epoch:
            if factor is not None:
                place.release(factor)
            factor = place.submit(factorize, data, metric)
            self._factors[block] = (metric.epoch, factor)
        return gram_update, (factor, z - u, rho)

    def question(self, beta):
        """Nothing to ask: the merged statistics know."""
        return

    def certificate(self, beta, answers) -> Certificate:
        problem, coef = self._moments(), beta[: self.statistics.n_features]
        return Certificate(
            coef,
            intercept(self.statistics, coef, self._fit_intercept),
            objective(problem, coef, self._penalty),
            duality_gap(problem, coef, self._penalty),
        )

    def _moments(self):
        return self.statistics.moments(self._fit_intercept)


# -- raw rows ----------------------------------------------------------------------------


class Summary(NamedTuple):
    """The first pass over a block's rows: counts, centres and scales, and what is wrong."""

    n_rows: int
    n_chunks: int
    weight: float
    x_mean: np.ndarray  # (k,)
    x_square: np.ndarray  # (k,), sums of squares about the mean
    y_mean: np.ndarray  # (m,)
    null: np.ndarray  # (m,), twice the loss of a constant
    curvature: float  # mean second derivative of the loss along a standardised column
    defect: Defect | None = None
    free: Free | None = None

    @property
    def x_variation(self):
        """`x_square`, and zero where it is what rounding makes of a constant column."""
        return np.where(is_rounding(self.x_square, self.x_mean, self.weight), 0.0, self.x_square)


class Free(NamedTuple):
    """Columns that are not penalised, and what they have in common with all; centred sums."""

    x: np.ndarray  # (f, k)
    y: np.ndarray  # (f, m)
    largest: np.ndarray  # (f,), largest absolute values


class Sums(NamedTuple):
    """A block's part of a certificate at some beta; sums over its rows, per target.

    With theta the derivative of the loss at the residuals, any shift and scaling of the
    dual point theta is a formula in these, so one look at the rows is enough.
    """

    loss: np.ndarray  # (m,)
    curved: float  # weight of the rows where the loss has curvature, mean over targets
    theta: np.ndarray | None = None  # (m,)
    theta_y: np.ndarray | None = None  # (m,)
    theta_theta: np.ndarray | None = None  # (m,)
    x_theta: np.ndarray | None = None  # (k, m)


def raw_rows(chunk, *, ones=False) -> Rows:
    """One chunk as `Rows` of NumPy, without a copy where it is a float array already."""
    if chunk.defect is not None:
        nothing = np.empty((chunk.n_rows, 0))
        return Rows(nothing, nothing, None, chunk.defect)
    X, y, weight = chunk.arrays()
    X = X.tocsr() if sparse.issparse(X) else to_host(X)
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    if ones:
        column = np.ones((X.shape[0], 1), dtype=X.dtype)
        stack = sparse.hstack if sparse.issparse(X) else np.hstack
        X = stack([X, column])
        X = sparse.csr_array(X) if sparse.issparse(X) else X
    y = y.astype(np.float64, copy=False)
    return Rows(X, y, None if weight is None else weight[:, np.newaxis])


def summarise(
    chunks: list[Rows], loss, fit_intercept: bool, ones: bool, free: np.ndarray
) -> Summary:
    """The `Summary` of a block of chunks; `free` are the columns that are not penalised."""
    parts = [_summarise_chunk(rows, loss, fit_intercept, ones, free) for rows in chunks]
    return merge_summaries(parts, free)


def _summarise_chunk(rows, loss, fit_intercept, ones, free):
    n, width = rows.X.shape
    k = width - ones
    flat_weight = None if rows.weight is None else rows.weight[:, 0]
    m = rows.y.shape[1]
    defect = rows.defect
    zeros = np.zeros(k)
    if defect is None and n:
        with np.errstate(invalid="ignore", over="ignore"):
            weight = float(n) if flat_weight is None else float(flat_weight.sum())
            x_mean, x_square = _column_moments(rows.X[:, :k], flat_weight)
            shares = np.full(n, 1.0 / n) if flat_weight is None else flat_weight / (weight or 1.0)
            y_mean = shares @ rows.y
            finite = np.isfinite(x_square).all() and np.isfinite(y_mean).all()
            if not (finite and (shares >= 0).all()):
                defect = _statistics.value_defect(rows.X, rows.y, flat_weight)
    if defect is not None or n == 0:
        nothing = np.zeros(m)
        return Summary(n, 1, 0.0, zeros, zeros, nothing, nothing, 0.0, defect)
    null, curvature = np.full(m, np.nan), weight
    if loss.has_conjugate:
        deviation = rows.y - y_mean if fit_intercept else rows.y
        null = 2 * loss.total(deviation, loss.theta(deviation), rows.weight)
        curvature = weight * float((np.abs(deviation) < loss.delta).mean())
    else:
        curvature = _curvature(rows, loss, x_mean, x_square, fit_intercept)
    found = Summary(n, 1, weight, x_mean, x_square, y_mean, null, curvature)
    if len(free) == 0:
        return found
    return found._replace(free=_free_moments(rows, found, free))


def _free_moments(rows, summary, free):
    """Centred products of the unpenalised columns with all, in row tiles."""
    X, k = rows.X, len(summary.x_mean)
    x, y = np.zeros((len(free), k)), np.zeros((len(free), rows.y.shape[1]))
    largest = np.zeros(len(free))
    step = max(1, 2**17 // k)
    for start in range(0, X.shape[0], step):
        tile = slice(start, start + step)
        values = X[tile][:, free]
        values = values.toarray() if sparse.issparse(values) else values.astype(np.float64)
        largest = np.maximum(largest, np.abs(values).max(axis=0))
        values = values - summary.x_mean[free]
        weighted = values if rows.weight is None else rows.weight[tile] * values
        x += (X[tile, :k].T @ weighted).T - np.outer(weighted.sum(axis=0), summary.x_mean)
        y += weighted.T @ (rows.y[tile] - summary.y_mean)
    return Free(x, y, largest)


def _column_moments(X, weight):
    """Weighted means of the columns and sums of squares about them, in row tiles."""
    n = X.shape[0]
    weight = np.ones(n) if weight is None else weight
    total = weight.sum() or 1.0
    if sparse.issparse(X):
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        k, column, values = X.shape[1], X.indices, X.data.astype(np.float64)
        weight = np.repeat(weight, np.diff(X.indptr))
        mean = np.bincount(column, weight * values, k) / total
        square = np.bincount(column, weight * (values - mean[column]) ** 2, k)
        beside = np.maximum(total - np.bincount(column, weight, k), 0.0)  # of the zeros
        beside[np.bincount(column, minlength=k) == n] = 0.0
        return mean, square + beside * mean**2
    shift = X[:: max(1, n // 256)].mean(axis=0, dtype=np.float64)
    first, second = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    step = max(1, 2**17 // max(1, X.shape[1]))
    for start in range(0, n, step):
        tile = X[start : start + step] - shift
        w = weight[start : start + step]
        first += w @ tile
        second += np.einsum("i,ij,ij->j", w, tile, tile)
    return shift + first / total, np.maximum(second - first**2 / total, 0.0)


def _curvature(rows, loss, x_mean, x_square, fit_intercept):
    """Mean second derivative of a user's loss, by a difference of gradients.

    Along a random vector of signs, ``d.H d / k`` is on average the mean of H's diagonal
    (Hutchinson 1990).
    """
    k, n = len(x_mean), rows.X.shape[0]
    scale = np.sqrt(x_square / n)
    scale[scale == 0] = 1.0
    metric = Metric(0, x_mean if fit_intercept else np.zeros(k), np.zeros(1), scale, fit_intercept)
    v = np.zeros((k + fit_intercept, 1))
    d = np.random.default_rng(0).choice([-1.0, 1.0], size=v.shape)
    step = 1e-4 / np.sqrt(len(d))

    def gradient(v):
        beta = metric.to_beta(v)
        value, gradient = loss.value_and_gradient(beta, rows)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            bad = int((~np.isfinite(gradient)).sum())
            raise ValueError(
                f"loss: where the fit starts, at a beta near zero, f is {value} and fprime has"
                f" {bad} values that are not finite: define the loss there."
            )
        return metric.pull_back(gradient)

    change = np.vdot(d, gradient(v + step * d) - gradient(v)) / step
    return max(float(change) / len(d), 0.0)


def merge_summaries(parts: list[Summary], free=()) -> Summary:
    """The `Summary` of the union of disjoint rows (Chan, Golub & LeVeque 1983)."""
    if len(parts) == 1:
        return parts[0]
    n_rows, n_chunks = sum(p.n_rows for p in parts), sum(p.n_chunks for p in parts)
    rows_before = chunks_before = 0
    for part in parts:
        if part.defect is not None:
            defect = part.defect._replace(
                row=part.defect.row + rows_before, chunk=part.defect.chunk + chunks_before
            )
            return part._replace(n_rows=n_rows, n_chunks=n_chunks, defect=defect)
        rows_before += part.n_rows
        chunks_before += part.n_chunks
    weights = np.array([part.weight for part in parts])
    shares = weights / (weights.sum() or 1.0)
    x_means, y_means = np.array([p.x_mean for p in parts]), np.array([p.y_mean for p in parts])
    x_mean, y_mean = shares @ x_means, shares @ y_means
    return Summary(
        n_rows,
        n_chunks,
        float(weights.sum()),
        x_mean,
        sum(part.x_square for part in parts) + weights @ (x_means - x_mean) ** 2,
        y_mean,
        sum(part.null for part in parts),
        sum(part.curvature for part in parts),
        free=_merge_free(parts, weights, x_means - x_mean, y_means - y_mean, free),
    )


def _merge_free(parts, weights, x_off, y_off, free):
    found = [part.free for part in parts if part.free is not None]
    if not found:
        return None
    apart = weights[:, np.newaxis] * x_off[:, free]
    return Free(
        sum(part.x for part in found) + apart.T @ x_off,
        sum(part.y for part in found) + apart.T @ y_off,
        np.max([part.largest for part in found], axis=0),
    )


def local_update(evaluate, x, z, u, rho: float, curvature: float):
    """``argmin_x f(x) + rho/2 ||x - z + u||^2`` by L-BFGS, from a first guess `x`.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(x) -> (value, gradient)`` of f, a smooth convex function.
    x, z, u : ndarray of shape (d, m)
    curvature : float
        About the second derivative of f along a coordinate. With it the first step of
        L-BFGS, along the gradient, is about as long as it should be.

    Returns
    -------
    ndarray of shape (d, m)
        Not the minimiser but a point where the gradient is `_REDUCTION` of that at `x`.
    """
    centre = z - u

    def augmented(x):
        value, gradient = evaluate(x)
        away = x - centre
        return value + 0.5 * rho * np.vdot(away, away), gradient + rho * away

    first = augmented(x)
    norm = np.linalg.norm(first[1])
    if norm == 0 or not np.isfinite(norm):
        return x
    # SciPy's first trial step has at most length one. In the variable y with
    # x = x0 + unit y the gradient at y = 0 has length one and the curvature is near one.
    unit = norm / (curvature + rho)

    def scaled(y):
        if not y.any():
            return 0.0, first[1].ravel() / norm
        step = unit * y.reshape(x.shape)
        value, gradient = augmented(x + step)
        value -= first[0]
        if abs(value) < _NOISE * abs(first[0]):
            # The difference has lost its digits, the gradients have not: the trapezoidal
            # rule is exact for a quadratic (Hager & Zhang 2005, the approximate Wolfe
            # conditions, for the same reason).
            value = 0.5 * np.vdot(gradient + first[1], step)
        return value / (unit * norm), gradient.ravel() / norm

    found = optimize.minimize(
        scaled,
        np.zeros(x.size),
        jac=True,
        method="L-BFGS-B",
        options={"gtol": _REDUCTION / np.sqrt(x.size), "ftol": 0.0, "maxfun": _EVALUATIONS},
    )
    return x + unit * found.x.reshape(x.shape)


def black_box_update(chunks: list[Rows], loss, metric: Metric, x, z, u, rho, curvature):
    """`local_update` on the raw chunks of a block, in the coordinates of `metric`."""

    def evaluate(v):
        beta = metric.to_beta(v)
        parts = [loss.value_and_gradient(beta, rows) for rows in chunks]
        return sum(value for value, _ in parts), metric.pull_back(sum(g for _, g in parts))

    return local_update(evaluate, x, z, u, rho, curvature)


def sums(chunks: list[Rows], loss, beta) -> Sums:
    """A block's part of the certificate at `beta`."""
    return add_sums([_sums_of_chunk(rows, loss, beta) for rows in chunks])


def add_sums(parts: list[Sums]) -> Sums:
    """The `Sums` of the union of disjoint rows."""
    columns = zip(*parts, strict=True)
    return Sums(*(None if column[0] is None else sum(column) for column in columns))


def _sums_of_chunk(rows, loss, beta):
    if not loss.has_conjugate:
        value = loss.value(beta, rows)
        if np.isnan(value):
            raise ValueError(
                "loss: f returned NaN for an estimate of beta: it must be defined for every beta."
            )
        return Sums(np.array([value]), 0.0)
    residual, correlation = loss.residual_and_correlation(beta, rows)
    theta = loss.theta(residual)
    weight = 1.0 if rows.weight is None else rows.weight
    weighted = weight * theta
    return Sums(
        loss=loss.total(residual, theta, rows.weight),
        curved=float((weight * (np.abs(residual) < loss.delta)).sum() / residual.shape[1]),
        theta=weighted.sum(axis=0),
        theta_y=np.einsum("it,it->t", weighted, rows.y),
        theta_theta=np.einsum("it,it->t", weighted, theta),
        x_theta=correlation[: rows.X.shape[1]],
    )


class BlackBox:
    """Any smooth convex loss, on raw rows that stay where they are, by L-BFGS."""

    answers_are_free = False

    def __init__(self, loss, penalty: L1, fit_intercept: bool):
        self._loss = loss
        self._penalty = penalty
        self._fit_intercept = fit_intercept
        # A user's functions see the intercept as a column of ones.
        self._ones = fit_intercept and not loss.has_conjugate
        self._free = np.empty(0, dtype=np.intp)
        if loss.has_conjugate and penalty.has_free:
            self._free = np.flatnonzero(penalty.weights == 0)
        self.statistics = None
        self._weights = {}
        self._curved = 0.0  # share of the rows where the loss has curvature, at the last z

    def load(self, place):
        """Raw rows stay on the workers; their summaries are the reports."""
        args = self._loss, self._fit_intercept, self._ones, self._free
        return place.load_rows(self._ones, summarise, *args)

    def absorb(self, block, summary):
        merged = [] if self.statistics is None else [self.statistics]
        self.statistics = merge_summaries([*merged, summary], self._free)
        self._weights[block] = summary.weight

    @property
    def samples_seen(self) -> int:
        return 0 if self.statistics is None else self.statistics.n_rows

    @property
    def curvature(self) -> float:
        """The loss' mean second derivative along a standardised column, over all rows.

        Of a constant's residuals few may be where Huber's loss has curvature, of the
        estimate's many: the last certificate knows better than the first pass.
        """
        curvature = max(self.statistics.curvature, self._curved * self.statistics.weight)
        return curvature or self.statistics.weight

    @property
    def null_loss(self):
        """Twice the mean loss of a constant: what ``||y||^2 / n`` is for the squared loss."""
        return self.statistics.null / self.statistics.weight

    def standardise(self):
        """Means of the columns, where the intercept starts, spread of the columns."""
        summary = self.statistics
        square = summary.x_variation
        if not self._fit_intercept:
            square = square + summary.weight * summary.x_mean**2
        y = summary.y_mean if self._loss.has_conjugate else np.zeros_like(summary.y_mean)
        return summary.x_mean, y, _scale(square, summary.weight)

    def task(self, block, data, metric, x, z, u, rho, place):
        """`black_box_update` from the block's last solution."""
        curvature = self.curvature * self._weights[block] / self.statistics.weight
        return black_box_update, (data, self._loss, metric, x, z, u, rho, curvature)

    def question(self, beta):
        """`sums` at `beta`."""
        self._asked = self.statistics  # of the blocks that will answer
        return sums, (self._loss, beta)

    def certificate(self, beta, answers) -> Certificate:
        """The duality gap of the rows that have answered, where the loss has a conjugate.

        The dual point is theta, the derivative of the loss at the residuals, moved to sum
        to zero if there is an intercept, and scaled into ``|X^T theta| <= n alpha`` (times the
        penalty's weights) and ``|theta| <= delta``.
        """
        total = add_sums(answers)
        asked = self._asked
        weight, k = asked.weight, len(asked.x_mean)
        self._curved = total.curved / weight
        coef = beta[:k]
        intercept = beta[k] if self._fit_intercept else np.zeros(coef.shape[1])
        penalty = self._penalty.value(coef)
        loss = total.loss
        # Scaling makes no dual point feasible where the penalty allows no correlation.
        if not self._loss.has_conjugate or self._penalty.alpha == 0:
            return Certificate(coef, intercept, loss / weight + penalty, None)
        shift = total.theta / weight if self._fit_intercept else np.zeros_like(intercept)
        theta_y = total.theta_y - shift * weight * asked.y_mean
        theta_theta = total.theta_theta - weight * shift**2
        correlations = total.x_theta - weight * np.outer(asked.x_mean, shift)
        if self._fit_intercept:
            correlations[asked.x_variation == 0] = 0.0
        delta = self._loss.delta
        if np.isinf(delta):
            # The shift of the residuals is the best intercept's too.
            intercept, loss = intercept + shift, 0.5 * theta_theta
        # How far the dual point moves, at most, before it is scaled.
        moved = np.abs(shift)
        objective = loss / weight + penalty
        if len(self._free):
            step = self._orthogonal(correlations)
            moved = moved + np.abs(step).T @ asked.free.largest * (1 + self._fit_intercept)
            theta_y = theta_y - (step * self._free_y()).sum(axis=0)
            theta_theta = theta_theta - (step * correlations[self._free]).sum(axis=0)
            correlations = correlations - self._free_x().T @ step
            norms = np.sqrt(np.diagonal(self._free_x()[:, self._free]))
            left = np.abs(correlations[self._free])
            lost = (left > ORTHOGONAL * np.outer(norms, np.sqrt(total.theta_theta))).any(axis=0)
            theta_y = np.where(lost, 0.0, theta_y)  # of the dual point zero
        tiny = np.finfo(float).tiny
        weights = self._penalty.column_weights(k)
        sizes = np.where(weights == 0, np.inf, weights)[:, np.newaxis]
        correlations = correlations / sizes
        largest = (correlations if self._penalty.positive else np.abs(correlations)).max(axis=0)
        best = theta_y / np.maximum(theta_theta, tiny)
        in_box = np.inf if np.isinf(delta) else delta / (delta + moved)
        with np.errstate(over="ignore"):  # infinite, where nothing is correlated
            feasible = np.minimum(self._penalty.alpha * weight / np.maximum(largest, tiny), in_box)
        scale = np.clip(best, 0.0, feasible)
        dual = (scale * theta_y - 0.5 * scale**2 * theta_theta) / weight
        return Certificate(coef, intercept, objective, objective - np.clip(dual, 0.0, objective))

    def _orthogonal(self, correlations):
        """Coefficients (f, m) of the unpenalised columns that the dual point is moved by."""
        gram = self._free_x()[:, self._free]
        return LeastSquares(gram, None, self._asked.weight).solve(correlations[self._free])

    def _free_x(self):
        """Products of the unpenalised columns with all, about zero without an intercept."""
        asked = self._asked
        if self._fit_intercept:
            return asked.free.x
        return asked.free.x + asked.weight * np.outer(asked.x_mean[self._free], asked.x_mean)

    def _free_y(self):
        asked = self._asked
        if self._fit_intercept:
            return asked.free.y
        return asked.free.y + asked.weight * np.outer(asked.x_mean[self._free], asked.y_mean)
