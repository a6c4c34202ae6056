"""Penalties that differ between columns, reduced to a problem in which they are alike."""

from __future__ import annotations

import numpy as np

from .linear import LeastSquares
from .moments import Moments
from .penalties import L1

# What projecting a column leaves of its square, relatively, by rounding alone.
_ROUNDING = 1e-13


class Reduction:
    """A problem whose columns are penalised by weights, as one in which they are alike.

    A penalised column is divided by its weight. An unpenalised one is projected out of all
    others and of the targets: at the optimum its coefficient is the least-squares one for
    the coefficients of the others (Frisch & Waugh 1933). Unless it is bounded: then it stays.

    Attributes
    ----------
    problem : Moments
        Of the columns that stay.
    box : Box or None
    share : float or ndarray of shape (k,)
        What the l1 and ridge terms are multiplied with: zero for columns without a penalty.
    """

    def __init__(self, problem: Moments, penalty: L1) -> None:
        self._weights, self.box = penalty.weights, penalty.box
        self.share: float | np.ndarray = 1.0
        if penalty.weights is None:
            self.problem = problem
            return
        k, m = problem.xy.shape
        self._shape, weights = (k, m), penalty.weights
        is_free = weights == 0
        if penalty.box is not None:
            is_free = is_free & ~penalty.box.bounded
        self._free, self._rest = np.flatnonzero(is_free), np.flatnonzero(~is_free)
        weights = weights[self._rest]
        if not weights.all():
            self.share = (weights > 0).astype(np.float64)
        weights = np.where(weights > 0, weights, 1.0)
        self._scale = weights[:, np.newaxis]
        if penalty.box is not None:
            self.box = penalty.box.of(self._rest).scaled(weights)
        self._of_rest, self._of_targets = np.zeros((0, len(self._rest))), np.zeros((0, m))
        if len(self._free):
            problem = self._project(problem)
        self.problem = problem._replace(
            gram=problem.gram / (self._scale * self._scale.T),
            xy=problem.xy / self._scale,
            x_mean=None if problem.x_mean is None else problem.x_mean / self._scale[:, 0],
            x_taken=None,
        )

    def _project(self, problem: Moments) -> Moments:
        """The columns and the targets less their regressions on the unpenalised columns.

        It is a change of variables whatever the regressions are, so rounding in them does
        no harm: what it leaves in the unpenalised directions is small, and the certificate
        looks at the problem as it was.
        """
        free, rest = self._free, self._rest
        gram, cross = problem.gram[np.ix_(free, free)], problem.gram[np.ix_(free, rest)]
        means: tuple = (None, None, None)
        if problem.x_mean is not None:
            means = problem.x_mean[free], problem.x_mean[rest], problem.y_mean
        squares = LeastSquares(gram, means[0], problem.weight)
        of_rest = self._of_rest = squares.solve(cross, means[1])
        of_targets = self._of_targets = squares.solve(problem.xy[free], means[2])
        inside = problem.gram[np.ix_(rest, rest)]
        on_rest = of_rest.T @ cross
        reduced = inside - on_rest - on_rest.T + of_rest.T @ gram @ of_rest
        reduced = (reduced + reduced.T) / 2
        # A combination of unpenalised columns: rounding is not variation.
        none = np.diagonal(reduced) <= _ROUNDING * np.diagonal(inside)
        reduced[none] = reduced[:, none] = 0.0
        left = problem.xy[free] - gram @ of_targets
        xy = problem.xy[rest] - cross.T @ of_targets - of_rest.T @ left
        xy[none] = 0.0
        yy = problem.yy - (of_targets * (problem.xy[free] + left)).sum(axis=0)
        x_mean = y_mean = None
        if problem.x_mean is not None:
            x_mean = means[1] - of_rest.T @ means[0]
            x_mean[np.abs(x_mean) <= _ROUNDING * np.abs(of_rest.T) @ np.abs(means[0])] = 0.0
            y_mean = means[2] - of_targets.T @ means[0]
        return Moments(reduced, xy, np.maximum(yy, 0.0), problem.weight, x_mean, y_mean)

    def reduce(self, coef: np.ndarray) -> np.ndarray:
        """Coefficients of the reduced problem."""
        if self._weights is None:
            return coef
        return coef[self._rest] * self._scale

    def expand(self, reduced: np.ndarray, target: int | slice = slice(None)) -> np.ndarray:
        """Coefficients of all columns, the unpenalised ones at their best.

        The columns of `reduced` are the targets, or estimates for the one `target`.
        """
        if self._weights is None:
            return reduced
        coef = np.zeros((self._shape[0], reduced.shape[1]))
        coef[self._rest] = reduced / self._scale
        if len(self._free):
            targets = self._of_targets[:, target].reshape(len(self._free), -1)
            coef[self._free] = targets - self._of_rest @ coef[self._rest]
        return coef
