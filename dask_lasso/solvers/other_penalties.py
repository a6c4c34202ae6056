"""Penalties other than the l1 norm, from moments: no rows, and no further pass.

A norm: Douglas-Rachford splitting of the quadratic, whose factor is made once, and of the
penalty's prox, accelerated by Anderson's method (Fu, Zhang & Boyd 2020), until the duality gap
does not shrink any more. MCP and SCAD: local linear approximation (Zou & Li 2008), lassos
with the slope of the penalty as weights, from the lasso itself.
"""

from __future__ import annotations

import numpy as np

from ..problem.certificate import certify, objective
from ..problem.concave import Concave
from ..problem.gram import Solution, solve
from ..problem.linear import unit_scale
from ..problem.moments import Moments
from ..problem.penalties import L1, Plugged
from .anderson import Anderson

# Iterations between looks at the gap; looks without progress after which there will be none.
_EVERY, _MOST_IDLE = 10, 10
# The gap that is exact, over the null loss.
_EXACT = 1e-15
# The change of coefficients, relative to the largest, by which approximations have settled.
_SETTLED = 1e-12


def solve_norm(
    problem: Moments, penalty: Plugged, max_iter: int, coef_init: np.ndarray | None = None
) -> np.ndarray:
    """Coefficients (k, m), of all targets together.

    Parameters
    ----------
    problem : Moments
    penalty : Plugged
        That has a dual norm.
    max_iter : int
        At most ten times as many iterations, each of which is about a sweep of coordinate
        descent.
    coef_init : ndarray of shape (k, m), optional
    """
    about_zero, n = problem.about_zero(), problem.weight
    scale = 1 / unit_scale(penalty.units(about_zero.norms / np.sqrt(n)) ** 2)
    gram = about_zero.gram / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(gram)
    inverse = 1 / (np.maximum(values, 0.0) + n)[:, np.newaxis]
    with_y = about_zero.xy / scale[:, np.newaxis]
    start = np.zeros_like(with_y) if coef_init is None else coef_init * scale[:, np.newaxis]
    # Where the fixed point would be, if these were the coefficients.
    s = start + (with_y - gram @ start) / n
    anderson, best, least, n_idle = Anderson(), start / scale[:, np.newaxis], np.inf, 0
    for iteration in range(10 * max_iter):
        z = penalty.prox(s, 1.0, scale)
        if iteration % _EVERY == 0:
            coef = z / scale[:, np.newaxis]
            gap = float(certify(problem, coef, penalty)[1].sum())
            n_idle = 0 if gap < 0.5 * least else n_idle + 1
            if gap < least:
                best, least = coef, gap
            if gap <= _EXACT * problem.null_loss.sum() or n_idle >= _MOST_IDLE:
                break
        x = vectors @ (inverse * (vectors.T @ (with_y + n * (2 * z - s))))
        s = anderson.next(s.ravel(), (s + x - z).ravel()).reshape(s.shape)
    return best


def solve_concave(
    problem: Moments, penalty: Concave, max_iter: int, coef_init: np.ndarray | None = None
) -> np.ndarray:
    """Coefficients (k, m) that are stationary, each objective at most that of the lasso."""
    coef = solve(problem, L1(penalty.alpha), max_iter=max_iter).coef
    if coef_init is not None:
        better = objective(problem, coef_init, penalty) < objective(problem, coef, penalty)
        coef = np.where(better, coef_init, coef)
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
    coef = solve_concave(problem, penalty, max_iter, coef_init).astype(dtype).astype(np.float64)
    return Solution(coef, penalty.violation(problem, coef), objective(problem, coef, penalty))
