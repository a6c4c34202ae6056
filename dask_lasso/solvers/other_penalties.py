"""Penalties other than the l1 norm, from moments: no rows, and no further pass.

A norm: Douglas-Rachford splitting of the quadratic, whose factor is made once for a set of
columns, and of the penalty's prox, accelerated by Anderson's method (Fu, Zhang & Boyd 2020),
until the duality gap does not shrink any more. MCP and SCAD: local linear approximation (Zou &
Li 2008), lassos with the slope of the penalty as weights, from the lasso itself.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ..problem.certificate import certify, objective
from ..problem.concave import Concave
from ..problem.gram import Path, Solution, solve, solve_path
from ..problem.linear import unit_scale
from ..problem.moments import Moments
from ..problem.penalties import L1, Plugged
from .anderson import Anderson

# Iterations between looks at the gap; looks without progress after which there will be none, near
# the minimum (as close as that, over the null loss) and far from it.
_EVERY, _MOST_IDLE, _NEAR, _MOST_IDLE_FAR = 10, 10, 1e-10, 200
# The gap that is exact, over the null loss.
_EXACT = 1e-15
# The change of coefficients, relative to the largest, by which approximations have settled.
_SETTLED = 1e-12


def solve_norm(
    problem: Moments, penalty: Plugged, max_iter: int, coef_init: np.ndarray | None = None
) -> np.ndarray:
    """Coefficients (k, m), of all targets together.

    On the columns that are not zero alone, if the penalty can say what it is `of` some columns;
    those that a proximal step would move from zero join them, until there are none.

    Parameters
    ----------
    problem : Moments
    penalty : Plugged
        That has a dual norm.
    max_iter : int
        At most ten times as many iterations for each set of columns; each is about a sweep of
        coordinate descent.
    coef_init : ndarray of shape (k, m), optional
    """
    about_zero, n = problem.about_zero(), problem.weight
    scale = 1 / unit_scale(penalty.units(about_zero.norms / np.sqrt(n)) ** 2)
    coef = np.zeros_like(about_zero.xy) if coef_init is None else coef_init
    if not penalty.has_parts:
        return _split(problem, penalty, scale, max_iter, coef)
    columns = np.empty(0, dtype=np.intp)
    while True:
        pull = (about_zero.xy - about_zero.gram @ coef) / (n * scale[:, np.newaxis])
        moved = penalty.prox(coef * scale[:, np.newaxis] + pull, 1.0, scale)
        is_new = np.logical_or(moved.any(axis=1), coef.any(axis=1))
        is_new[columns] = False
        if not is_new.any():
            return coef
        columns = np.union1d(columns, np.flatnonzero(is_new))
        start, coef = coef[columns], np.zeros_like(coef)
        of_columns = problem.of(columns), penalty.of(columns)
        coef[columns] = _split(*of_columns, scale[columns], max_iter, start)


def _split(problem, penalty, scale, max_iter, start):
    """Coefficients, by splitting, of all columns of a problem."""
    about_zero, n = problem.about_zero(), problem.weight
    scale = scale[:, np.newaxis]
    gram, with_y = about_zero.gram / (scale * scale.T), about_zero.xy / scale
    factor = cho_factor(gram + n * np.eye(len(gram)), lower=True, check_finite=False)
    start = start * scale
    # Where the fixed point would be, if these were the coefficients.
    s = start + (with_y - gram @ start) / n
    anderson, best, least, n_idle = Anderson(), start / scale, np.inf, 0
    for iteration in range(10 * max_iter):
        z = penalty.prox(s, 1.0, scale[:, 0])
        if iteration % _EVERY == 0:
            coef = z / scale
            gap = float(certify(problem, coef, penalty)[1].sum())
            n_idle = 0 if gap < 0.5 * least else n_idle + 1
            if gap < least:
                best, least = coef, gap
            size = problem.null_loss.sum()
            most = _MOST_IDLE if least <= _NEAR * size else _MOST_IDLE_FAR
            if gap <= _EXACT * size or n_idle >= most:
                break
        x = cho_solve(factor, with_y + n * (2 * z - s), check_finite=False)
        s = anderson.next(s.ravel(), (s + x - z).ravel()).reshape(s.shape)
    return best


def solve_concave(
    problem: Moments, penalty: Concave, max_iter: int, starts: np.ndarray
) -> np.ndarray:
    """Coefficients (k, m) that are stationary, each objective at most that of its start (k, m)."""
    coef, problem = np.array(starts), problem.with_ridge(penalty.l2)
    for target in range(coef.shape[1]):
        one, at = problem.target(target), coef[:, [target]]
        for _ in range(max_iter):
            above = penalty.above(at[:, 0])
            new = solve(one, above, max_iter=max_iter, coef_init=at).coef
            is_settled = np.abs(new - at).max() <= _SETTLED * np.abs(new).max()
            at = new
            if is_settled:
                break
        coef[:, [target]] = at
    return coef


def solve_other(
    problem: Moments,
    penalty: Plugged | Concave,
    *,
    max_iter: int,
    coef_init: np.ndarray | None = None,
    dtype: type | np.dtype = np.float64,
) -> Solution:
    """Coefficients as values of a dtype; of a concave penalty the gap is its violation."""
    if isinstance(penalty, Plugged):
        coef = solve_norm(problem, penalty, max_iter, coef_init)
        coef = coef.astype(dtype).astype(np.float64)
        value, gap = certify(problem, coef, penalty)
        return Solution(coef, gap, value)
    start = solve(problem, L1(penalty.alpha, penalty.l1_ratio), max_iter=max_iter).coef
    if coef_init is not None:
        better = objective(problem, coef_init, penalty) < objective(problem, start, penalty)
        start = np.where(better, coef_init, start)
    coef = solve_concave(problem, penalty, max_iter, start).astype(dtype).astype(np.float64)
    return Solution(coef, penalty.violation(problem, coef), objective(problem, coef, penalty))


def solve_other_path(
    problem: Moments, penalty: Plugged | Concave, alphas: np.ndarray, *, max_iter: int
) -> Path:
    """The same at every alpha, from the largest down.

    Of a norm each from the one before. Of a concave penalty from the lasso's path: one from
    another would be of an objective that has several minima, and what is found at an alpha
    would depend on the grid.
    """
    coefs = np.zeros((problem.xy.shape[1], len(problem.gram), len(alphas)))
    gaps = np.zeros((len(coefs), len(alphas)))
    if isinstance(penalty, Concave):
        coefs = solve_path(problem, L1(1.0, penalty.l1_ratio), alphas, max_iter=max_iter).coefs
    before = None
    for column, alpha in enumerate(alphas):
        at = penalty.at(alpha)
        if isinstance(at, Plugged):
            before = solve_norm(problem, at, max_iter, before)
            gaps[:, column] = certify(problem, before, at)[1]
            coefs[..., column] = before.T
        elif isinstance(at, Concave):
            coef = solve_concave(problem, at, max_iter, coefs[..., column].T)
            gaps[:, column] = at.violation(problem, coef)
            coefs[..., column] = coef.T
        else:  # no penalty
            coef, gaps[:, column], _ = solve(problem, at, max_iter=max_iter)
            coefs[..., column] = coef.T
    return Path(coefs, gaps)
