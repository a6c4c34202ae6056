"""The duality gap on raw rows, from sums over them: of the rows that have answered.

The dual point is theta, the negative derivative of the loss at the estimate, moved to sum to
zero if there is an intercept, and scaled until ``|X^T theta| <= n alpha`` (times the penalty's
weights).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..problem.certificate import COMBINED, ORTHOGONAL, together
from ..problem.dual import Quadratic, Sampled
from ..problem.linear import LeastSquares
from ..problem.penalties import L1
from ..rows.losses import Sums
from ..rows.summary import Summary
from .fit import Problem

_EPS = np.finfo(np.float64).eps


class Certificate(NamedTuple):
    """What is known of an estimate; all per target (m,), `gap` is None without a dual."""

    coef: np.ndarray  # (k, m)
    intercept: np.ndarray
    objective: np.ndarray
    gap: np.ndarray | None

    @property
    def excess(self) -> np.ndarray:
        """What is above the minimum, at most; without a dual whether it is anywhere near."""
        if self.gap is None:
            return np.where(np.isfinite(self.objective), 0.0, np.inf)
        return self.gap


def certify_rows(
    beta: np.ndarray, total: Sums, rows: Summary, problem: Problem, dual: Quadratic | Sampled | None
) -> Certificate:
    """The certificate of an estimate `beta` (d, m), of which `total` are the sums over `rows`."""
    k, weight, penalty = len(rows.x_mean), rows.weight, problem.convex_penalty
    coef = beta[:k]
    intercept = beta[k] if problem.fit_intercept else np.zeros(coef.shape[1])
    objective = total.loss / weight + penalty.value(coef)
    lower = None
    if isinstance(dual, Sampled):
        lower = sampled_bound(coef, total, weight, problem, dual)
    # Scaling makes no dual point feasible where the penalty allows no correlation.
    elif isinstance(dual, Quadratic) and _has_dual(penalty):
        moved = _Moved(coef, total, rows, problem)
        if np.isinf(dual.delta):
            # The shift of the residuals is the best intercept's too.
            intercept = intercept + moved.shift
            objective = 0.5 * moved.sums[1] / weight + penalty.value(coef)
        lower = moved.lower_bound(dual)
        if penalty.is_separable:  # residuals cost nothing less than nothing; other losses may
            lower = np.maximum(lower, 0.0)
    if lower is None:
        gap = None
    elif penalty.is_separable:
        gap = np.maximum(objective - lower, 0.0)
    else:
        gap = together(objective - lower, rows.null)
    return Certificate(coef, intercept, objective, gap)


def _has_dual(penalty):
    return penalty.has_dual and penalty.alpha > 0


def sampled_bound(
    coef: np.ndarray, total: Sums, weight: float, problem: Problem, dual: Sampled
) -> np.ndarray | None:
    """The dual (m,) of a loss that is known by its conjugate at a few shifts; None without one."""
    penalty = problem.convex_penalty
    if not _has_dual(penalty) or penalty.has_free:
        return None
    if not np.isfinite(total.loss).all():  # so far out that nothing is known
        return np.full(total.loss.shape, -np.inf)
    shift, correlations = np.zeros(total.theta.shape), total.x_theta
    if problem.fit_intercept:
        shift = total.theta / np.maximum(total.curvature, np.finfo(float).tiny)
        correlations = correlations - shift * total.x_curvature
    if isinstance(penalty, L1) and penalty.has_ridge:
        value = dual.value(total.dual, shift, np.ones(shift.shape))
        return (value - penalty.conjugate(correlations, weight)) / weight
    # A ridge term beside another penalty is rows more, of a y of zero.
    ridge = weight * penalty.l2 * coef
    pulls = penalty.pulls(correlations - ridge, coef)
    scale = np.minimum(penalty.largest_scale(pulls, weight), 1.0)
    value = dual.value(total.dual, shift, scale) - 0.5 * scale**2 * (ridge * coef).sum(axis=0)
    return (value - penalty.bounds_cost(pulls, weight, scale)) / weight


class _Moved:
    """The dual point of a residual loss as it is moved before it is scaled.

    With an intercept by its mean, and off the columns that are not penalised, to which it
    has to be orthogonal.

    Attributes
    ----------
    shift : ndarray of shape (m,)
    sums : ndarray of shape (2, m)
        ``theta.y`` and ``theta.theta``, less the mean.
    """

    def __init__(self, coef: np.ndarray, total: Sums, rows: Summary, problem: Problem):
        self._coef, self._rows, self._penalty = coef, rows, problem.convex_penalty
        self._fit_intercept = problem.fit_intercept
        weight, (with_y, squares) = rows.weight, total.dual
        self.shift = total.theta / weight if self._fit_intercept else np.zeros_like(total.theta)
        self.sums = np.array(
            [with_y - self.shift * weight * rows.y_mean, squares - weight * self.shift**2]
        )
        self._correlations = total.x_theta - weight * np.outer(rows.x_mean, self.shift)
        if self._fit_intercept:
            self._correlations[rows.x_variation == 0] = 0.0
        self._squares = squares

    def lower_bound(self, dual: Quadratic) -> np.ndarray:
        """The dual (m,) at the best feasible scale."""
        correlations, sums, moved = self._correlations, self.sums, np.abs(self.shift)
        if self._rows.free is not None:
            correlations, sums, moved = self._off_free_columns(moved)
        weight, penalty = self._rows.weight, self._penalty
        if not (isinstance(penalty, L1) and penalty.has_ridge):
            # A ridge term beside another penalty is rows more, of a y of zero.
            ridge = weight * penalty.l2 * self._coef
            sums = np.array([sums[0], sums[1] + (ridge * self._coef).sum(axis=0)])
            pulls = penalty.pulls(correlations - ridge, self._coef)
            scale = dual.scale(sums, moved, penalty.largest_scale(pulls, weight))
            return (dual.value(sums, scale) - penalty.bounds_cost(pulls, weight, scale)) / weight
        # The penalty's conjugate is finite then, but beside columns without a penalty.
        scale = dual.scale(sums, moved, np.ones(len(moved)))
        penalised = penalty.column_weights(len(correlations)) > 0
        beyond = penalty.of(penalised).conjugate(scale * correlations[penalised], weight)
        pulls = penalty.pulls(correlations, self._coef).of(~penalised)
        beyond = beyond + pulls.cost(scale, 0.0)
        return (dual.value(sums, scale) - beyond) / weight

    def _off_free_columns(self, moved):
        rows, correlations = self._rows, self._correlations
        penalty = self._penalty
        free, inside = np.flatnonzero(penalty.weights == 0), slice(None)
        if penalty.box is not None:
            # Beside a coefficient at its bound theta need not be orthogonal to the column.
            inside = penalty.box.is_inside(self._coef)[free].all(axis=1)
        # Products of the unpenalised columns, about zero without an intercept.
        of_x, of_y = rows.free.x, rows.free.y
        if not self._fit_intercept:
            mean = rows.weight * rows.x_mean[free]
            of_x, of_y = of_x + np.outer(mean, rows.x_mean), of_y + np.outer(mean, rows.y_mean)
        norms = np.sqrt(np.diagonal(of_x[:, free]))
        of_x, of_y, at = of_x[inside], of_y[inside], free[inside]
        least_squares = LeastSquares(of_x[:, at], None, rows.weight)
        step = least_squares.solve(correlations[at])
        moved = moved + np.abs(step).T @ rows.free.largest[inside] * (1 + self._fit_intercept)
        with_y, squares = self.sums
        with_y = with_y - (step * of_y).sum(axis=0)
        squares = squares - (step * correlations[at]).sum(axis=0)
        correlations = correlations - of_x.T @ step
        limit = ORTHOGONAL * np.outer(norms, np.sqrt(self._squares))
        left = penalty.pulls(correlations, self._coef).open[free]
        # Sums over columns far from zero hide how far theta is from orthogonal to them.
        hidden = _EPS * np.outer(np.abs(rows.x_mean[free]), np.sqrt(rows.weight * self._squares))
        with_y = with_y - (2 * np.abs(self._coef[free]) * (left + hidden)).sum(axis=0)
        # How far the nearest point is that is orthogonal, as far as products of columns tell.
        raw = np.sqrt(norms[inside] ** 2 + rows.weight * rows.x_mean[at] ** 2)
        rounding = COMBINED * np.outer(raw, np.sqrt(self._squares))
        nearest = [
            least_squares.least(*of_one)
            for of_one in zip(correlations[at].T, rounding.T, strict=True)
        ]
        lost = (left > limit).any(axis=0) | np.isinf(nearest)
        nearest = np.where(lost, 0.0, nearest)
        with_y, moved = with_y - 2 * nearest, moved + np.sqrt(nearest)
        with_y = np.where(lost, 0.0, with_y)  # of the dual point zero
        return correlations, np.array([with_y, squares]), moved
