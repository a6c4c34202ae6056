"""The exact finish: the lasso of merged statistics, and its certificate.

The merged moments are a k-row problem, whatever the number of rows they came from.
scikit-learn's coordinate descent brings it near the solution; the linear system of the
active set then gives the solution itself, to rounding, so that it does not depend on
where coordinate descent happened to stop.
"""

from __future__ import annotations

import threading
import warnings
from typing import NamedTuple

import numpy as np
from scipy import linalg
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import enet_path, lars_path_gram

from ._offset import Offset, offset
from ._statistics import Statistics
from ._weights import Reduction

# Relative gaps at which coordinate descent hands over to the active set. The first is
# enough nearly always; the last is what remains when the active set is degenerate.
_HANDOVER = (1e-4, 1e-7, 1e-10, 1e-13)
# Sweeps after which another way is tried before coordinate descent goes on, and how far
# that goes.
_PATIENCE = 100
_MOST_STEPS = 1000


class Moments(NamedTuple):
    """A lasso without rows: ``1/(2n) (yy - 2 q.w + w.G w) + penalty``, one per target.

    Attributes
    ----------
    gram : ndarray of shape (k, k)
    xy : ndarray of shape (k, m)
    yy : ndarray of shape (m,)
    weight : float
        The n of the objective.
    offset : Offset or None
        The same in two parts, where the digits of the first three do not suffice.
    """

    gram: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    weight: float
    offset: Offset | None = None


class Solution(NamedTuple):
    """Coefficients (k, m) and their duality gaps (m,)."""

    coef: np.ndarray
    gap: np.ndarray


def moments(statistics: Statistics, fit_intercept: bool) -> Moments:
    """Moments about the mean with an intercept, about zero without one."""
    sxx, sxy, syy = statistics.sxx, statistics.sxy, statistics.syy
    apart = None
    if not fit_intercept:
        apart = offset(statistics)
        weight, x, y = statistics.weight, statistics.x_mean, statistics.y_mean
        sxx = sxx + weight * np.outer(x, x)
        sxy = sxy + weight * np.outer(x, y)
        syy = syy + weight * y**2
    return Moments(sxx, sxy, syy, statistics.weight, apart)


def intercept(statistics: Statistics, coef, fit_intercept: bool) -> np.ndarray:
    """The best intercept (m,) for coefficients (k, m)."""
    if not fit_intercept:
        return np.zeros(coef.shape[1])
    return statistics.y_mean - statistics.x_mean @ coef


def objective(problem: Moments, coef, l1: float, l2: float = 0.0, weights=None) -> np.ndarray:
    """The objective (m,) at coefficients (k, m)."""
    squares = squared_residuals(problem, coef)
    if weights is not None:
        coef = coef * weights[:, np.newaxis]
    ridge = 0.5 * l2 * np.einsum("kt,kt->t", coef, coef)
    return squares / (2 * problem.weight) + l1 * np.abs(coef).sum(axis=0) + ridge


def squared_residuals(problem: Moments, coef) -> np.ndarray:
    """``||y - X w||^2``, one per target; with one target, one per column w of `coef`."""
    if problem.offset is not None:
        return problem.offset.squared_residuals(coef)
    cross = 2 * problem.xy - problem.gram @ coef
    return np.maximum(problem.yy - np.einsum("kt,kt->t", coef, cross), 0.0)


def duality_gap(
    problem: Moments, coef, l1: float, l2: float = 0.0, positive=False, weights=None
) -> np.ndarray:
    """How far the objective at `coef` can be above its minimum, one per target.

    The dual point is the residual scaled into the dual's box (Kim, Koh, Lustig, Boyd &
    Gorinevsky 2007, section III), computed from the moments in O(k^2). A ridge term
    counts as k further rows, ``sqrt(n l2) w``; or it goes into the penalty, whose conjugate
    is finite then, so that the residual need not be scaled: the smaller gap holds. Without
    an l1 term the first dual has no interior, and the gap is the distance to the
    least-squares optimum instead.
    """
    if weights is not None:
        reduction = Reduction(problem, weights)
        reduced = reduction.problem, reduction.reduce(coef)
        return duality_gap(*reduced, l1, l2, positive) + reduction.excess(coef)
    if problem.offset is not None and np.all(l1 > 0) and np.all(l2 == 0):
        return problem.offset.duality_gap(coef, l1, positive)
    weight = problem.weight
    gram_coef = problem.gram @ coef
    gradient = (problem.xy - gram_coef) / weight - l2 * coef
    if np.all(l1 == 0) and not positive:
        gram = problem.gram / weight + l2 * np.eye(len(problem.gram))
        step = linalg.lstsq(gram, gradient, lapack_driver="gelsy")[0]
        return np.maximum(0.5 * np.einsum("kt,kt->t", gradient, step), 0.0)
    largest = (gradient if positive else np.abs(gradient)).max(axis=0, initial=0.0)
    xy_coef = np.einsum("kt,kt->t", problem.xy, coef)
    residual_y = problem.yy - xy_coef
    residual = residual_y - xy_coef + np.einsum("kt,kt->t", coef, gram_coef)
    squares = np.maximum(residual, 0.0)
    residual = squares + weight * l2 * np.einsum("kt,kt->t", coef, coef)
    outside = largest > l1
    scale = np.where(outside, l1 / np.where(outside, largest, 1.0), 1.0)
    primal = residual / (2 * weight) + l1 * np.abs(coef).sum(axis=0)
    dual = (scale * residual_y - 0.5 * scale**2 * residual) / weight
    if np.all(l2 > 0):
        correlation = gradient + l2 * coef
        beyond = np.maximum((correlation if positive else np.abs(correlation)) - l1, 0.0)
        unscaled = (residual_y - 0.5 * squares) / weight - (beyond**2 / (2 * l2)).sum(axis=0)
        dual = np.maximum(dual, unscaled)
    return np.maximum(primal - dual, 0.0)


def solve(
    problem: Moments,
    l1: float,
    *,
    l2: float = 0.0,
    positive: bool = False,
    weights=None,
    max_iter: int = 1000,
    coef_init=None,
) -> Solution:
    """Minimise the objective for every target.

    Parameters
    ----------
    problem : Moments
    l1, l2 : float
        Weights of ``||w||_1`` and of ``||w||^2 / 2``.
    weights : ndarray of shape (k,), optional
        What the penalties multiply each coefficient with; 0 is no penalty.
    max_iter : int
        Sweeps of coordinate descent over the coefficients, in all, per target.
    coef_init : ndarray of shape (k, m), optional

    Returns
    -------
    Solution
        The certificate is measured, not assumed: it is up to the caller to compare it
        with a tolerance.
    """
    if weights is not None:
        reduction = Reduction(problem, weights)
        coef_init = None if coef_init is None else reduction.reduce(coef_init)
        options = dict(l2=l2, positive=positive, max_iter=max_iter, coef_init=coef_init)
        coef, gap = solve(reduction.problem, l1, **options)
        return Solution(reduction.expand(coef), gap)
    k, m = problem.xy.shape
    coef = np.zeros((k, m)) if coef_init is None else np.array(coef_init, dtype=np.float64)
    threshold, ridge = problem.weight * l1, problem.weight * l2
    for target in range(m):
        xy = np.ascontiguousarray(problem.xy[:, target])
        if l1 == 0 and not positive:
            gram = problem.gram + ridge * np.eye(k)
            coef[:, target] = linalg.lstsq(gram, xy)[0]
            continue
        if problem.offset is not None and l2 == 0:
            args = target, threshold, positive, max_iter, coef[:, target].copy(), solve_target
            found = problem.offset.solve(*args)
            if found is not None:
                coef[:, target] = found
                continue
        coef[:, target] = solve_target(
            np.ascontiguousarray(problem.gram),
            xy,
            problem.yy[target],
            threshold,
            ridge,
            positive,
            max_iter,
            np.ascontiguousarray(coef[:, target]),
        )
    return Solution(coef, duality_gap(problem, coef, l1, l2, positive))


def solve_target(gram, xy, yy, threshold, ridge, positive, max_iter, coef):
    if yy <= 0 or not xy.any():
        return np.zeros_like(coef)
    left = max_iter
    for attempt, tol in enumerate(_HANDOVER):
        penalty = threshold + ridge
        l1_ratio = threshold / penalty if penalty else 1.0
        sweeps = left if attempt else min(left, _PATIENCE)
        coefs, sweeps = coordinate_descent(
            gram, xy, yy, [penalty], l1_ratio, positive, tol, sweeps, coef
        )
        coef = coefs[:, 0].copy()
        left -= sweeps
        exact = active_set(gram, xy, threshold, ridge, positive, coef)
        if exact is None and left > 0 and attempt == 0:
            exact = _from_above(gram, xy, threshold, ridge, positive)
        if exact is not None:
            return exact
        if left <= 0:
            break
    return coef


def _from_above(gram, xy, threshold, ridge, positive):
    """The solution reached along the path from large alphas, if that is short; else None.

    Where nearly as many coefficients as there are rows are not zero, coordinate descent
    takes thousands of sweeps, and the path a few hundred steps (LARS: Efron, Hastie,
    Johnstone & Tibshirani 2004).
    """
    if ridge:
        gram = gram + ridge * np.eye(len(gram))
    # It warns of columns that are combinations of others, which it leaves out.
    _, _, coef = _without_convergence_warning(
        lars_path_gram,
        xy,
        gram,
        n_samples=1,
        alpha_min=threshold,
        method="lasso",
        positive=positive,
        max_iter=_MOST_STEPS,
        return_path=False,
    )
    return active_set(gram, xy, threshold, 0.0, positive, coef)


_warning_filters = threading.Lock()


def _without_convergence_warning(solver, *args, **kwargs):
    """Call a solver of scikit-learn; our own certificate tells what there is to warn of.

    Warning filters belong to the process, and grid searches fit in threads: hence the
    lock. scikit-learn sets them without it, though, for each task of its own. Where that
    has made the warning an error again, the call is made once more.
    """
    while True:
        try:
            with _warning_filters, warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                return solver(*args, **kwargs)
        except ConvergenceWarning:
            continue


def coordinate_descent(gram, xy, yy, penalties, l1_ratio, positive, tol, max_iter, coef):
    """scikit-learn's coordinate descent on a Gram matrix; no rows needed.

    Returns coefficients (k, n) for n falling penalties and the sweeps of the last one.

    With `precompute` the solver looks at X for its shape alone and at y for its norm
    alone, so one row of each stands for all of them.
    """
    k = len(coef)
    _, coefs, _, sweeps = _without_convergence_warning(
        enet_path,
        np.zeros((1, k), order="F"),
        np.sqrt([yy]),
        l1_ratio=l1_ratio,
        alphas=penalties,
        precompute=gram,
        Xy=xy,
        coef_init=coef,
        positive=positive,
        tol=tol,
        max_iter=max_iter,
        check_input=False,
        return_n_iter=True,
    )
    return coefs, max(1, sweeps[-1])


def active_set(gram, xy, threshold, ridge, positive, coef):
    """The solution on the support of `coef` if it is the optimum, else None.

    Solves the stationarity equations of the support for the signs at hand, drops
    coefficients whose sign turns, adds columns whose gradient exceeds the threshold,
    and accepts only what satisfies every optimality condition.
    """
    signs = np.sign(coef)
    slack = 1e-10 * threshold + 8 * np.finfo(float).eps * np.abs(xy).max()
    for _ in range(10):
        active = np.flatnonzero(signs)
        rhs = xy[active] - threshold * signs[active]
        # Symmetric: rows stand for columns, and lie together.
        rows = gram.take(active, axis=0)
        values = _solve_positive_definite(rows.take(active, axis=1), rhs, ridge)
        if values is None:
            return None
        turned = values * signs[active] <= 0
        if turned.any():
            signs[active[turned]] = 0
            continue
        gradient = xy - values @ rows
        excess = (gradient if positive else np.abs(gradient)) > threshold + slack
        excess[active] = False
        if not excess.any():
            exact = np.zeros_like(coef)
            exact[active] = values
            return exact
        signs[excess] = np.sign(gradient[excess])
    return None


def _solve_positive_definite(gram, rhs, ridge):
    """Solve ``(gram + ridge I) w = rhs``; None where the matrix is singular in effect.

    Writes to `gram`.
    """
    if len(rhs) == 0:
        return rhs
    diagonal = np.einsum("ii->i", gram)
    diagonal += ridge
    if not (diagonal > 0).all():
        return None
    scale = np.sqrt(diagonal)
    gram /= scale
    gram /= scale[:, np.newaxis]
    rhs = rhs / scale
    # LAPACK itself: a path solves hundreds of these, and wrappers would take half the time.
    # Transposed, which a symmetric matrix may be, for LAPACK takes columns one after the other.
    factor, info = linalg.lapack.dpotrf(gram.T, lower=True, clean=False)
    # Squared, a pivot is the share of a column that the columns before it leave unexplained.
    if info or np.diagonal(factor).min() ** 2 < 1e-12:
        return None
    values, _ = linalg.lapack.dpotrs(factor, rhs, lower=True)
    correction, _ = linalg.lapack.dpotrs(factor, rhs - gram @ values, lower=True)
    return (values + correction) / scale
