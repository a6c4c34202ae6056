"""The path: solutions along a grid of alphas, from one pass or through working sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..places.place import Place, usable
from ..places.waiting import TimeIsUp
from ..problem.first import adapted
from ..problem.grid import alpha_grid
from ..problem.losses import Residual, is_squared
from ..problem.softmax import Softmax
from ..rows.cells import Partition, one_cell
from ..rows.statistics import Statistics
from .exact import solve_any_path
from .fit import Problem, Settings
from .newton import has_newton
from .newton_path import NewtonPath
from .path_by_fits import PathByFits
from .width import check_width, is_wide_path, may_have
from .working_set_path import Paths, WidePath, joined


class Path(NamedTuple):
    """Alphas from the largest down, coefficients (m, k, n), gaps (m, n), null losses (m,).

    What is not stationary, for gaps, is relative to one. So many alphas more were asked for.
    """

    alphas: np.ndarray
    coefs: np.ndarray
    gaps: np.ndarray
    null_loss: np.ndarray
    n_missing: int = 0


class Grid(NamedTuple):
    """How many alphas, down to which share of the largest; or the alphas themselves."""

    alphas: int | np.ndarray
    eps: float

    def of(self, make: Callable[..., np.ndarray]) -> np.ndarray:
        """The alphas; ``make(eps=, n_alphas=)`` where only their number is given."""
        if isinstance(self.alphas, np.ndarray):
            return self.alphas
        return make(eps=self.eps, n_alphas=self.alphas)


def by_passes(
    place: Place, partition: Partition, problem: Problem, settings: Settings
) -> WidePath | NewtonPath | PathByFits:
    """What solves paths that take more than one pass."""
    if is_squared(problem.loss):
        return WidePath(place, partition, problem, settings)
    if not has_newton(problem.loss) and not isinstance(problem.loss, Softmax):
        raise ValueError(
            "A path, and a choice of alpha, is for the squared loss, or for one with a conjugate"
            " (loss='huber', 'poisson', 'gamma', 'tweedie', or an object with that method)."
        )
    n_grams = partition.n_cells + len(partition.splits) + 1
    if isinstance(problem.loss, Softmax | Residual) or not may_have(n_grams, place.n_features):
        return PathByFits(place, partition, problem, settings)
    return NewtonPath(place, partition, problem, settings)


def path(place: Place, problem: Problem, grid: Grid, settings: Settings) -> Path:
    """The path of the rows of a place."""
    penalty = problem.l1_penalty
    is_wide = is_wide_path(place) and penalty.is_sparse and np.all(grid.alphas > 0)
    if is_squared(problem.loss) and not is_wide:
        check_width(place)
        merged = usable(place.merged_statistics(), place)
        return path_of(merged, problem, grid, settings.max_iter)
    if place.n_targets > 1:
        raise ValueError(
            f"y has {place.n_targets} targets and X {place.n_features} columns: take the path of"
            " each target by itself, with so many columns or with this loss."
        )
    paths = by_passes(place, one_cell(), problem, settings)
    penalty = paths.penalty
    alphas = grid.of(lambda **grid: paths.grid(penalty, **grid))
    parts: list[Paths] = []
    try:
        parts.extend(paths.run(alphas, penalty))
    except TimeIsUp:
        if not parts:
            raise
    found = joined(parts)
    coefs, gaps = found.coefs.toarray()[np.newaxis], found.gaps[:1]
    n_done = gaps.shape[1]
    return Path(alphas[:n_done], coefs, gaps, paths.null_loss, len(alphas) - n_done)


def path_of(statistics: Statistics, problem: Problem, grid: Grid, max_iter: int) -> Path:
    """The path of the rows that statistics are of."""
    moments = statistics.moments(problem.fit_intercept)
    penalty = problem.in_units(statistics.x_variation, moments.weight).penalty
    penalty = adapted(moments, penalty)
    alphas = grid.of(lambda **grid: alpha_grid(moments, penalty, **grid))
    coefs, gaps = solve_any_path(moments, penalty, alphas, max_iter=max_iter)
    relative_to = moments.null_loss if penalty.has_dual else np.ones_like(moments.null_loss)
    return Path(alphas, coefs, gaps, relative_to)
