"""The duality gap: how far an objective is above its minimum, at most.

It is measured on the moments as they came from the rows: not on those of the columns that a
solver divided by weights, or projected, or took about another point.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .box import Pulls
from .linear import LeastSquares
from .moments import Moments, Residual
from .penalties import L1, Plugged

# Cosine between a column that is not penalised and the residual, up to which it is rounding.
ORTHOGONAL = 1e-9
_EPS = np.finfo(np.float64).eps
# Cosine between a column and the residual that sums of float64 cannot tell from zero.
_ROUNDING = 16 * _EPS
# The same of a combination of columns that is zero but for rounding: the most seen of one-hot
# columns and of sums of others is 12.
COMBINED = 32 * _EPS


def objective(problem: Moments, coef: np.ndarray, penalty: Any) -> np.ndarray:
    """The objective (m,) at coefficients (k, m)."""
    return problem.squared_residuals(coef) / (2 * problem.weight) + penalty.value(coef)


def duality_gap(problem: Moments, coef: np.ndarray, penalty: L1 | Plugged) -> np.ndarray:
    """How far the objective at `coef` (k, m) can be above its minimum, one per target."""
    return certify(problem, coef, penalty)[1]


def certify(
    problem: Moments, coef: np.ndarray, penalty: L1 | Plugged
) -> tuple[np.ndarray, np.ndarray]:
    """The objective at `coef` (k, m) and its duality gap, one each per target.

    The dual point is the residual, scaled into the dual's box (Kim, Koh, Lustig, Boyd &
    Gorinevsky 2007, section III). Columns without a penalty, to which it has to be
    orthogonal, are fitted first: what that gains is the rest of the gap. With one
    target in `problem` every column of `coef` may be for a penalty of its own.
    """
    residual = problem.residual(coef)
    value = residual.squares / (2 * problem.weight) + penalty.value(coef)
    if isinstance(penalty, Plugged):
        return value, _gap_of_norm(problem, coef, residual, value, penalty)
    free = _unpenalised(penalty, coef)
    if free is None:
        dual = dual_value(problem, coef, residual, penalty)
    else:
        dual = np.empty_like(value)
        for target, columns in enumerate(free.T):
            one = problem if len(problem.yy) == 1 else problem.target(target)
            alpha = np.broadcast_to(penalty.alpha, value.shape)[target]
            args = one, coef[:, [target]], penalty.at(alpha), columns
            dual[target] = _dual_beside_free(*args)[0]
    gap = np.maximum(value - np.maximum(dual, 0.0), 0.0)
    # What rounding may hide counts on top: of the objective it hides as much.
    return value, gap + problem.rounding(coef, residual) / problem.weight


def _gap_of_norm(problem, coef, residual, value, penalty):
    """The gap (m,) of a norm: the residual, scaled into the ball of the dual norm."""
    n, ridge = problem.weight, problem.weight * penalty.l2 * coef
    scale = np.minimum(penalty.largest_scale(Pulls(residual.correlation - ridge), n), 1.0)
    dual = _value(residual.squares + (ridge * coef).sum(axis=0), residual.with_y, scale) / n
    gap = together(value - dual, problem.null_loss)
    return gap + problem.rounding(coef, residual) / n


def together(gap: np.ndarray, null_loss: np.ndarray) -> np.ndarray:
    """The gap of targets that are penalised together, in shares (m,) as of their null losses."""
    total, of_all = max(float(gap.sum()), 0.0), float(null_loss.sum())
    return total * null_loss / of_all if of_all > 0 else np.full(len(gap), total / len(gap))


def _unpenalised(penalty, coef):
    """Columns without a penalty (k, m); None if there are none."""
    is_on = np.asarray(penalty.alpha) > 0
    if is_on.all() and not penalty.has_free:
        return None
    k, m = coef.shape
    return ~(np.broadcast_to(is_on, m) & (penalty.column_weights(k) > 0)[:, np.newaxis])


def _dual_beside_free(problem, coef, penalty, free):
    """`dual_value` where the columns `free` have to be orthogonal to the residual."""
    inside = free if penalty.box is None else free & penalty.box.is_inside(coef)[:, 0]
    columns = np.flatnonzero(inside)
    squares = _least_squares(problem, columns)
    before, mean = problem.residual(coef), None
    centred = before.correlation[columns]
    if problem.x_mean is not None:
        mean = before.mean
        centred = centred - problem.weight * np.outer(problem.x_mean[columns], mean)
    at = coef.copy()
    at[columns] += squares.solve(centred, mean)
    after = problem.residual(at)
    if problem.has_far_columns:
        # Of coefficients that are large, and nearly cancel in the means, that has left rounding.
        # Seen from zero, the means are nearly all of such columns.
        about_zero = LeastSquares(problem.of(columns).about_zero().gram, None, problem.weight)
        at[columns] += about_zero.solve(after.correlation[columns])
        after = problem.residual(at)
    pulls = penalty.pulls(after.correlation, coef)
    violation = np.where(inside, np.abs(after.correlation[:, 0]), pulls.open[:, 0])
    norms = problem.norms
    size = np.sqrt(problem.squares[0])
    if (violation > ORTHOGONAL * norms * size)[free].any():
        return np.zeros(1)  # of the dual point zero
    # Each column contributes about ||y|| at most: that is what the violations are worth, ...
    worth = (violation * size / np.where(norms > 0, norms, 1.0))[free].sum()
    # ... but along combinations of columns that nearly cancel. Moments that have digits of
    # these tell how far the nearest point is that is orthogonal.
    violated = inside | (free & (violation > 0))
    if (violated != inside).any():
        columns = np.flatnonzero(violated)
        squares = _least_squares(problem, columns)
    # Means, which are apart, hardly count in combinations that nearly cancel.
    centred_norms = np.sqrt(np.diagonal(problem.gram))
    spread = centred_norms @ np.abs(at[:, 0])
    rounding = COMBINED * np.maximum(norms * size, centred_norms * spread)
    rounding += 2 * _EPS * problem.sizes * size
    nearest = squares.least(after.correlation[columns, 0], rounding[columns])
    if np.isinf(nearest):
        worth = _worth_within(penalty.box, after.correlation[:, 0], violated)
    else:
        worth += nearest
    worth += pulls.of(free & ~inside).cost(1.0, 0.0)
    return dual_value(problem, at, after, penalty, beside=free) - worth / problem.weight


def _least_squares(problem, columns):
    of_columns = problem.of(columns)
    return LeastSquares(of_columns.gram, of_columns.x_mean, problem.weight)


def _worth_within(box, correlation, violated):
    """What violations are worth to coefficients of which only bounds are known."""
    if box is None:
        return np.inf
    violated = violated & (correlation != 0)  # else an infinite bound makes it undefined
    reach = np.where(correlation > 0, box.upper, -box.lower)[violated]
    return (np.abs(correlation[violated]) * reach).sum()


def dual_value(
    problem: Moments,
    coef: np.ndarray,
    residual: Residual,
    penalty: L1,
    beside: np.ndarray | None = None,
) -> np.ndarray:
    """The largest value (m,) of the dual at points that a residual offers.

    A ridge term counts as k further rows, ``sqrt(n l2) w``; or it goes into the penalty,
    whose conjugate is finite then, so that the residual need not be scaled. Without an
    intercept the dual point's mean is free. That of the residual is only as good as the
    rounding of the coefficients, which far columns magnify; for them the mean that fits the
    stationarity of the active columns is tried as well.

    Parameters
    ----------
    beside : ndarray of bool of shape (k,), optional
        Columns that are orthogonal to the residual, and do not constrain its scale.
    """
    weight, counted = problem.weight, np.ones(len(coef), bool) if beside is None else ~beside
    weights = 1.0 if penalty.weights is None else penalty.weights[:, np.newaxis]
    threshold, ridge = weight * penalty.l1 * weights, weight * penalty.l2 * weights**2
    if beside is not None:
        threshold = np.broadcast_to(threshold, coef.shape)
    best = np.full(coef.shape[1], -np.inf)
    moving = np.where(penalty.is_moving(coef), coef, 0.0)
    for point in _points(problem, moving, residual, threshold, beside):
        squares, with_y, correlation = point
        scaled = _scaled(problem, coef, point, threshold, ridge, penalty, beside)
        best = np.maximum(best, scaled / weight)
        if penalty.has_ridge and np.all(np.asarray(penalty.l2) > 0):
            conjugate = penalty.of(counted).conjugate(correlation[counted], weight)
            best = np.maximum(best, (with_y - 0.5 * squares - conjugate) / weight)
    return best


def _points(problem, coef, residual, threshold, beside):
    """Squares, products with y and correlations of the residual, with one mean or another."""
    squares, with_y, correlation, mean = residual
    yield squares, with_y, correlation
    if beside is not None or not problem.has_far_columns:
        return
    n, x_mean = problem.weight, problem.x_mean[:, np.newaxis]
    far = np.where(coef != 0, x_mean, 0.0)
    centred = correlation - n * x_mean * mean
    norm = n * (far**2).sum(axis=0)
    fitting = (far * (threshold * np.sign(coef) - centred)).sum(axis=0)
    fitting = np.where(norm > 0, fitting / np.where(norm > 0, norm, 1.0), mean)
    yield (
        squares + n * (fitting**2 - mean**2),
        with_y + n * (fitting - mean) * problem.y_mean,
        centred + n * x_mean * fitting,
    )


def _scaled(problem, coef, point, threshold, ridge, penalty, beside):
    """The dual's value at the residual, scaled until every correlation is within its box."""
    squares, with_y, correlation = point
    if penalty.has_ridge:
        correlation = correlation - ridge * coef
        squares = squares + (coef * (ridge * coef)).sum(axis=0)
    pulls, norms = penalty.pulls(correlation, coef), problem.norms
    if beside is not None:
        pulls, threshold, norms = pulls.of(~beside), threshold[~beside], norms[~beside]
    return scale_residual(squares, with_y, pulls, threshold, norms, problem.squares)[1]


def scale_residual(
    squares: np.ndarray,
    with_y: np.ndarray,
    pulls: Pulls,
    threshold: float | np.ndarray,
    norms: np.ndarray,
    yy: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Scale a residual r until its correlations are within their box.

    Where a box is as small as rounding, no scale does that. What is beyond it by rounding
    may stay there, and is taken off: each such column is worth as much as the coefficient at
    the optimum, about ``||y||`` over the column's norm.

    Parameters
    ----------
    squares, with_y : ndarray of shape (m,)
        ``r.r`` and ``r.y``
    pulls : Pulls
        Of the correlations (k, m) of the columns with r.
    threshold : float or ndarray that broadcasts to (k, m)
    norms : ndarray of shape (k,)
    yy : ndarray of shape (m,)
        ``||y||^2``

    Returns
    -------
    scale, value : ndarray of shape (m,)
        The scale of a point in the box, and the largest value, times n, of the dual.
    """
    correlation = pulls.open
    scale = _feasible_scale(correlation, threshold)
    value = _value(squares, with_y, scale) - pulls.cost(scale, threshold)
    if (scale < 1).any():
        beyond = (correlation > threshold).sum(axis=0)
        almost = _feasible_scale(correlation, threshold + _ROUNDING * np.outer(norms, np.sqrt(yy)))
        relaxed = _value(squares, with_y, almost) - pulls.cost(almost, threshold)
        relaxed -= _ROUNDING * beyond * yy
        value = np.maximum(value, relaxed)
    return scale, value


def _feasible_scale(correlation, threshold):
    """The largest scale, at most one, that brings correlations (k, m) within a threshold."""
    outside = correlation > threshold
    share = np.divide(threshold, correlation, out=np.ones(correlation.shape), where=outside)
    return share.min(axis=0, initial=1.0)


def _value(squares, with_y, scale):
    """The dual's value, times n, at the residual times `scale`."""
    return scale * with_y - 0.5 * scale**2 * squares
