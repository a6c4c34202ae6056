"""Grids of alphas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .box import Pulls
from .concave import Concave
from .gram import solve
from .moments import Moments
from .penalties import L1, Plugged
from .unpenalised import Reduction

# Cosine between a column and a target below which it is rounding.
_ROUNDING = 1e-14


def alpha_grid(
    problem: Moments, penalty: L1 | Plugged | Concave, *, eps: float, n_alphas: int
) -> np.ndarray:
    """Geometric grid down from the smallest alpha at which every coefficient is zero."""
    if isinstance(penalty, Plugged):
        return _grid_of_norm(problem, penalty, eps=eps, n_alphas=n_alphas)
    if isinstance(penalty, Concave):  # about zero it is the l1 norm
        penalty = L1(1.0, penalty.l1_ratio)
    check_l1_ratio(penalty)
    reduction = Reduction(problem, penalty)
    problem, penalised = reduction.problem, replace(penalty, weights=None, box=reduction.box)
    coef = np.zeros(problem.xy.shape)
    is_free = np.broadcast_to(reduction.share, len(coef)) == 0
    if is_free.any():  # at their best within their bounds
        free = np.flatnonzero(is_free)
        coef[free] = solve(problem.of(free), penalised.of(free).at(0.0)).coef
    correlation = problem.residual(coef).correlation
    sizes = np.outer(problem.norms, np.sqrt(problem.squares))
    correlation = penalised.at_zero(correlation)
    largest = largest_correlation(correlation[~is_free], sizes[~is_free])
    return grid_from(largest / problem.weight, penalty, eps=eps, n_alphas=n_alphas)


def _grid_of_norm(problem, penalty, **grid):
    correlation = problem.residual(np.zeros(problem.xy.shape)).correlation
    sizes = np.outer(problem.norms, np.sqrt(problem.squares))
    pulls = Pulls(np.where(np.abs(correlation) > _ROUNDING * sizes, correlation, 0.0))
    largest = 0.0
    if pulls.open.any():
        largest = penalty.l1 / float(penalty.largest_scale(pulls, problem.weight)[0])
    return grid_from(largest, penalty, **grid)


def check_l1_ratio(penalty: L1) -> None:
    """Raise where no alpha makes all coefficients zero."""
    if penalty.l1_ratio == 0:
        raise ValueError(
            "Automatic alpha grid generation is not supported for l1_ratio=0: with no l1 term"
            " no alpha makes all coefficients zero. Pass a grid of your own as alphas."
        )


def largest_correlation(correlation: np.ndarray, sizes: np.ndarray) -> float:
    """The largest inner product of a column and a target; zero where it is rounding.

    Parameters
    ----------
    correlation, sizes : ndarray of shape (k, m)
        Inner products, as `L1.at_zero` has them, and the products of the norms.
    """
    real = correlation > _ROUNDING * sizes
    return float(correlation.max(initial=0.0, where=real))


def grid_from(largest: float, penalty: L1 | Plugged, *, eps: float, n_alphas: int) -> np.ndarray:
    """The grid down from where the l1 term is as large as the `largest` correlation over n."""
    if largest == 0:  # every alpha is large enough
        return np.full(n_alphas, np.finfo(np.float64).resolution)
    alpha_max = largest / penalty.l1_ratio
    return np.geomspace(alpha_max, alpha_max * eps, num=n_alphas)
