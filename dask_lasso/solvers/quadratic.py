"""What a pass of Newton's method amounts to: a quadratic and its minimum, and a lower bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from ..problem.certificate import COMBINED, ORTHOGONAL
from ..problem.gram import solve
from ..problem.linear import LeastSquares
from ..problem.losses import Mean
from ..problem.softmax import Softmax
from ..rows.classes import classes_pass
from ..rows.newton import NewtonPass, newton_pass
from ..rows.statistics import Statistics
from .fit import Problem

# Of an objective, what is rounding.
ROUNDING = 1e-14
_TINY = np.finfo(float).tiny
# Share of the null loss from which on a step's gap is a sign of too few squares of the response,
# and how many more there are then.
_POOR, _MORE_SQUARES = 1e-4, (1e2, 1e4, 1e8)


def pass_of(loss: object) -> Callable:
    """The pass over rows that a loss takes."""
    return classes_pass if isinstance(loss, Softmax) else newton_pass


def coefficients(beta: np.ndarray, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (k, m) and intercepts (m,), of all classes."""
    if isinstance(problem.loss, Softmax):
        return problem.loss.coefficients(beta)
    k = len(beta) - problem.fit_intercept
    return beta[:k], beta[k] if problem.fit_intercept else np.zeros(beta.shape[1])


def rounding_of(found: NewtonPass, beta: np.ndarray, value: float, problem: Problem) -> float:
    """How far off an objective can be by rounding, of a large intercept too."""
    if found.squares is None or not problem.fit_intercept:
        return ROUNDING * abs(value)
    of_intercept = np.abs(beta[-1]) * np.sqrt(found.squares / found.weight)
    return ROUNDING * (abs(value) + of_intercept.sum())


def objective_of(found: NewtonPass, beta: np.ndarray, problem: Problem) -> np.ndarray:
    """The objective (m,) that a pass has found."""
    return found.loss / found.weight + problem.penalty.value(
        beta[: len(beta) - problem.fit_intercept]
    )


def lower_bound(
    found: NewtonPass,
    beta: np.ndarray,
    problem: Problem,
    at_zero: np.ndarray,
    null_loss: np.ndarray,
    columns: tuple[np.ndarray | float, np.ndarray],
    of_rows: Statistics,
    place_of: np.ndarray | None = None,
) -> np.ndarray:
    """The dual (m,) at the dual point of a pass, at least; -inf where it is not feasible.

    The means and the norms (k,) are those of the columns, with some weights of the rows. The
    statistics tell whether unpenalised columns hardly differ, of which all have a place in them:
    the same as here, or that of (k,).

    The minimum of the quadratic leaves a residual that sums to zero, is orthogonal to the
    columns that are not penalised, and within the penalty's bounds beside the others. All
    three are looked at, in sums over the rows: what exceeds a bound is scaled away, along
    which the conjugate lies below its chord, and what is not zero up to rounding is none.
    """
    penalty, n, point = problem.l1_penalty, found.weight, found.dual
    k, m = point.x_theta.shape
    # Of theta, and so of eta: its unit is what makes a loss of a theta.
    size = np.sqrt(found.squares)
    least = np.finfo(float).eps * (np.abs(found.loss) + np.abs(at_zero))
    loss = np.maximum(found.loss + at_zero, least)  # the sums are known to that
    with np.errstate(invalid="ignore"):  # of an estimate at which there is no loss: no bound
        unit = loss / np.maximum(np.sqrt(n) * size, _TINY)
    # What is left of a sum is small beside the residual; or, where that is next to nothing (classes
    # that are nearly separated), so small that what it is worth is, beside the null loss.
    small = ORTHOGONAL * size * np.maximum(1.0, n * null_loss / np.maximum(loss, _TINY))
    x_mean, norms = columns
    worth, is_off = np.zeros(m), np.zeros(m, dtype=bool)
    free = np.zeros(k, dtype=bool)
    if penalty.alpha == 0:
        free[:] = True
    elif penalty.has_free:
        free = penalty.weights == 0
    x_theta = point.x_theta
    if problem.fit_intercept:
        # Rounding leaves a sum, which columns far from zero magnify.
        x_theta = x_theta - np.outer(x_mean, point.theta)
        # The intercept is of columns about their means, as x_theta is.
        intercept = beta[k] + (x_mean @ beta[:k] if np.ndim(x_mean) else 0.0)
        worth += np.abs(point.theta) * (unit + 2 * np.abs(intercept))
        is_off |= np.abs(point.theta) > np.sqrt(n) * small
    if free.any():
        pulls = penalty.pulls(x_theta, beta[:k]).of(free)
        box, inside = penalty.box, np.repeat(free[:, np.newaxis], m, axis=1)
        if box is not None:
            inside &= box.is_inside(beta[:k])
        nearest = _nearest(x_theta, size, inside, problem, of_rows, place_of, n)
        left, norms = pulls.open, norms[free, np.newaxis]
        worth += pulls.cost(1.0, 0.0)
        # A column of zeros, or of one value beside an intercept, has no correlation.
        units = np.sqrt(n) * unit / np.where(norms > 0, norms, np.inf)
        worth += (left * (2 * np.abs(beta[:k][free]) + units)).sum(axis=0)
        is_off |= (left > small * norms).any(axis=0) | np.isinf(nearest)
        worth += nearest
    scale, conjugate = np.ones(m), np.zeros(m)
    bound, of_bound = x_theta[~free], penalty.of(~free)
    if len(bound) and penalty.has_ridge:
        conjugate = of_bound.conjugate(bound, n)
    elif len(bound):
        pulls = of_bound.pulls(bound, beta[:k][~free])
        scale = np.minimum(of_bound.largest_scale(pulls, n), 1.0)
        conjugate = conjugate + of_bound.bounds_cost(pulls, n, scale)
    with np.errstate(invalid="ignore"):
        beside = np.where(scale < 1, (1 - scale) * at_zero, 0.0)
        value = -(np.where(scale > 0, scale * found.conjugate, 0.0) + beside + conjugate + worth)
    return np.where(is_off | np.isnan(value), -np.inf, value / n)


def _nearest(x_theta, size, inside, problem, of_rows, place_of, n):
    """Squares (m,), over the curvature, from theta to what is orthogonal to unpenalised columns.

    Of those (k, m) that are inside their bounds. Infinite where it cannot be told: see
    `LeastSquares.least`.
    """
    moments = of_rows.moments(problem.fit_intercept, has_y=False)
    # Of rows that weigh as they do in sums of theta, and not by their curvature.
    curvature = of_rows.weight
    if isinstance(problem.loss, Softmax):
        curvature = problem.loss.curvature(np.diagonal(of_rows.sxx), n)
    norms = of_rows.norms * np.sqrt(n / np.where(curvature > 0, curvature, n))
    found = np.zeros(len(size))
    for target in range(len(size)):
        columns = np.flatnonzero(inside[:, target])
        places = columns if place_of is None else place_of[columns]
        of_free = moments.of(places)
        squares = LeastSquares(of_free.gram, of_free.x_mean, of_free.weight)
        rounding = COMBINED * norms[places] * size[target]
        found[target] = squares.least(x_theta[columns, target], rounding)
    return found


def null_loss(found: NewtonPass, problem: Problem) -> np.ndarray:
    """Twice what the mean loss of the best constant is above that of y: the null deviance."""
    mean, loss = found.y / found.weight, cast(Mean, problem.loss)
    if isinstance(problem.loss, Softmax):
        return problem.loss.null_loss(mean)
    eta = np.zeros_like(mean)
    if problem.fit_intercept and loss.is_endless(mean).any():
        raise ValueError(
            f"The best intercept is infinite, for {loss.endless}: pass rows that differ, or"
            " fit_intercept=False."
        )
    if problem.fit_intercept:
        eta = loss.constant(mean)  # exact, for the loss is linear in y
    return 2 * np.maximum(loss.value(eta, mean) + found.at_zero / found.weight, 0.0)


def step(
    statistics: Sequence[Statistics],
    beta: np.ndarray,
    weight: float,
    problem: Problem,
    max_iter: int,
) -> np.ndarray:
    """The minimum (d, m) of the quadratic that statistics at `beta` are."""
    k = len(beta) - problem.fit_intercept
    after = np.array(beta)
    for target, of_rows in enumerate(statistics):
        coef = beta[:k, [target]]
        about = of_rows.moments(problem.fit_intercept, has_y=False)
        shifted = about.gram @ coef
        yy = about.yy + ((2 * about.xy + shifted) * coef).sum(axis=0)
        # By rounding it may be less than nothing.
        yy = np.maximum(yy, np.finfo(float).eps * np.abs(shifted * coef).sum(axis=0))
        moments = about._replace(xy=about.xy + shifted, yy=yy)
        if about.x_mean is not None:
            moments = moments._replace(y_mean=about.y_mean + about.x_mean @ coef)
        # In means over the curvature, and not over the rows.
        penalty = problem.l1_penalty.at(problem.l1_penalty.alpha * weight / of_rows.weight)
        found = solve(moments, penalty, max_iter=max_iter, coef_init=coef)
        for more in _MORE_SQUARES:
            if not (found.gap > _POOR * moments.null_loss).any():
                break
            # Those that are guessed of a slope alone (`newton_path`) may be fewer than it explains.
            larger = moments._replace(yy=more * moments.yy)
            found = solve(larger, penalty, max_iter=max_iter, coef_init=coef)
        new = found.coef
        after[:k, [target]] = new
        if problem.fit_intercept:
            after[k, target] += (of_rows.y_mean - of_rows.x_mean @ (new - coef))[0]
    if isinstance(problem.loss, Softmax):
        return problem.loss.centred(after, problem.l1_penalty)
    return after


def renewed(statistics: Statistics, found: NewtonPass, target: int) -> Statistics:
    """Statistics with the curvature of an earlier pass, and the slope of a light one."""
    theta, x_theta = found.slope.theta[[target]], found.slope.x_theta[:, [target]]
    sxy = x_theta - np.outer(statistics.x_mean, theta)
    return statistics._replace(sxy=sxy, y_mean=theta / statistics.weight)


def times(factor: float, of_rows: Statistics) -> Statistics:
    """Statistics of as many times the rows, but for their targets."""
    return of_rows._replace(
        weight=factor * of_rows.weight, sxx=factor * of_rows.sxx, syy=factor * of_rows.syy
    )
