"""The proximal steps of blocks, which run where the blocks are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, optimize

from ..problem.metric import Metric
from ..rows.losses import ChunkLoss, RowLoss
from ..rows.raw import Rows
from ..rows.statistics import Statistics

# By how much an update reduces the gradient of its subproblem. It starts from the block's
# last solution, so the error left shrinks with the steps of z, which is what inexact
# ADMM needs (Eckstein & Yao 2018, relative-error criteria); more precision buys no sweep.
_REDUCTION = 0.2

# Evaluations of the loss in one update, however hard it is.
_EVALUATIONS = 60

# Relative change of a loss below which it is taken from the gradients.
_NOISE = 1e-7


class Moved(NamedTuple):
    """Where an update has brought a block, and what the next one need not compute again."""

    x: np.ndarray  # (d, m)
    value: float | None = None  # of the block's loss there, None where it is not known
    gradient: np.ndarray | None = None  # (d, m), in the coordinates of x
    n_evaluations: int = 0  # of the loss and its gradient, over all rows of the block


class Factor(NamedTuple):
    """One block's quadratic, diagonalised, so that a new rho costs nothing."""

    basis: np.ndarray  # (d, d)
    curvature: np.ndarray  # (d,)
    linear: np.ndarray  # (d, m), in that basis


def factorize(statistics: Statistics, metric: Metric) -> Factor:
    """Diagonalise a block's ``1/2 v.H v - g.v`` in the coordinates of `metric`."""
    weight = statistics.weight
    x = statistics.x_mean - metric.x_shift
    y = statistics.y_mean - metric.y_shift
    hessian = statistics.sxx + weight * np.outer(x, x)
    hessian = metric.of_columns(metric.of_columns(hessian).T)
    linear = metric.of_columns(statistics.sxy + weight * np.outer(x, y))
    if metric.fit_intercept:
        border = weight * metric.of_columns(x[:, np.newaxis])
        hessian = np.block([[hessian, border], [border.T, np.array([[weight]])]])
        linear = np.vstack([linear, weight * y])
    curvature, basis = linalg.eigh(hessian, check_finite=False)
    return Factor(basis, np.maximum(curvature, 0.0), basis.T @ linear)


def gram_update(factor: Factor, point: np.ndarray, rho: float) -> Moved:
    """``argmin_v f_i(v) + rho/2 ||v - point||^2`` for a quadratic f_i."""
    rotated = factor.linear + rho * (factor.basis.T @ point)
    return Moved(factor.basis @ (rotated / (factor.curvature + rho)[:, np.newaxis]))


def local_update(
    evaluate: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: Moved,
    centre: np.ndarray,
    rho: float,
    curvature: float,
) -> Moved:
    """``argmin_x f(x) + rho/2 ||x - centre||^2`` by L-BFGS, from a first guess.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(x) -> (value, gradient)`` of f, a smooth convex function.
    start : Moved
        The first guess, and f there if it is known.
    centre : ndarray of shape (d, m)
    curvature : float
        About the second derivative of f along a coordinate. With it the first step of
        L-BFGS, along the gradient, is about as long as it should be.

    Returns
    -------
    Moved
        Not the minimiser but a point where the gradient is `_REDUCTION` of that at the start.
    """
    x, value, gradient, _ = start
    n_evaluations = 0
    if gradient is None:
        value, gradient = evaluate(x)
        n_evaluations = 1
    away = x - centre
    first, slope = value + 0.5 * rho * np.vdot(away, away), gradient + rho * away
    with np.errstate(over="ignore"):
        norm = np.linalg.norm(slope)
    last = Moved(x, value, gradient)
    if norm == 0 or not np.isfinite(norm):
        return last._replace(n_evaluations=n_evaluations)
    # SciPy's first trial step has at most length one. In the variable y with
    # x = x0 + unit y the gradient at y = 0 has length one and the curvature is near one.
    unit = norm / (curvature + rho)

    def scaled(y):
        nonlocal last, n_evaluations
        if not y.any():
            return 0.0, slope.ravel() / norm
        step = unit * y.reshape(x.shape)
        last = Moved(x + step, *evaluate(x + step))
        n_evaluations += 1
        away = last.x - centre
        value, gradient = last.value + 0.5 * rho * np.vdot(away, away), last.gradient + rho * away
        value -= first
        if abs(value) < _NOISE * abs(first):
            # The difference has lost its digits, the gradients have not: the trapezoidal
            # rule is exact for a quadratic (Hager & Zhang 2005, the approximate Wolfe
            # conditions, for the same reason).
            value = 0.5 * np.vdot(gradient + slope, step)
        return value / (unit * norm), gradient.ravel() / norm

    found = optimize.minimize(
        scaled,
        np.zeros(x.size),
        jac=True,
        method="L-BFGS-B",
        options={"gtol": _REDUCTION / np.sqrt(x.size), "ftol": 0.0, "maxfun": _EVALUATIONS},
    )
    reached = x + unit * found.x.reshape(x.shape)
    if not np.array_equal(reached, last.x):
        last = Moved(reached)  # the line search has gone back
    return last._replace(n_evaluations=n_evaluations)


def bent(before: tuple[float, float], start: Moved, moved: Moved) -> tuple[float, float]:
    """What losses differ by from quadratics along updates, and change by; with one update more.

    Of a quadratic the trapezoidal rule is exact.
    """
    if start.gradient is None or moved.gradient is None:
        return before
    if not np.isfinite(start.value + start.gradient.sum()):
        return before  # of a start that is far out
    way, change = moved.x - start.x, moved.gradient - start.gradient
    rise = 0.5 * np.vdot(moved.gradient + start.gradient, way)
    off, along = before
    return off + abs(moved.value - start.value - rise), along + float(np.vdot(change, way))


def rows_update(
    chunks: list[Rows],
    loss: RowLoss | ChunkLoss,
    metric: Metric,
    start: Moved,
    centre: np.ndarray,
    rho: float,
    curvature: float,
) -> Moved:
    """`local_update` on the raw chunks of a block, in the coordinates of `metric`."""
    chunks = [loss.prepared(rows) for rows in chunks]

    def evaluate(v):
        beta = metric.to_beta(v)
        parts = [loss.value_and_gradient(beta, rows) for rows in chunks]
        with np.errstate(invalid="ignore"):  # of a step that is too long
            gradient = metric.pull_back(sum(g for _, g in parts))
        return sum(value for value, _ in parts), gradient

    return local_update(evaluate, start, centre, rho, curvature)


def update_and_answer(
    data: Any, update: Callable, n_args: int, answer: Callable, *args: Any
) -> tuple[Moved, Any]:
    """What two tasks of a block return, the first of which has `n_args` of the arguments."""
    return update(data, *args[:n_args]), answer(data, *args[n_args:])
