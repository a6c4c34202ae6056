"""Columns far from zero, and no intercept that would take their means away.

About zero, the moments of a column at 1e6 +/- 1 are those of its mean: what tells the
columns apart is in the last four digits, and coordinate descent creeps. Here the mean of
the residual is an unknown t of its own,

    minimise  1/2 w.S w - w.q + n t^2 / 2 + n alpha |w|_1    subject to  t = y_mean - x_mean.w,

with S and q the centred moments. For a given t the stationarity in w is that of a lasso of
S and ``q + n t x_mean``; t is then the root of a function of one variable that falls and is
linear as long as the signs of w stay. So Newton's method ends after a few lassos.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg

# Means this many standard deviations from zero are set apart.
_FAR = 1e3
_MAX_STEPS = 50


class Offset(NamedTuple):
    """Centred moments and means of rows whose moments about zero say too little.

    Attributes
    ----------
    sxx, sxy, syy : as of `Statistics`
    x_mean : ndarray of shape (k,)
    y_mean : ndarray of shape (m,)
    weight : float
    """

    sxx: np.ndarray
    sxy: np.ndarray
    syy: np.ndarray
    x_mean: np.ndarray
    y_mean: np.ndarray
    weight: float

    def squared_residuals(self, coef):
        """``||y - X w||^2`` about zero, one per target."""
        mean = self.y_mean - self.x_mean @ coef
        return self._centred(coef)[0] + self.weight * mean**2

    def _centred(self, coef):
        """``||r||^2``, ``r.y`` and ``X.r`` of the centred residual r."""
        correlation = self.sxy - self.sxx @ coef
        along_y = self.syy - (coef * self.sxy).sum(axis=0)
        squares = along_y - (coef * correlation).sum(axis=0)
        return np.maximum(squares, 0.0), along_y, correlation

    def duality_gap(self, coef, l1, positive):
        """The gap at `coef`, one per target.

        The mean of the dual point is free. The mean of the residual is only as good as
        the rounding of the coefficients, which far columns magnify; the mean that fits
        the stationarity of the active columns is better. The smaller gap holds.
        """
        n = self.weight
        squares, along_y, correlation = self._centred(coef)
        own = self.y_mean - self.x_mean @ coef
        active = coef != 0
        far = np.where(active, self.x_mean[:, np.newaxis], 0.0)
        lacking = n * l1 * np.sign(coef) - correlation
        norm = n * (far**2).sum(axis=0)
        fitting = (far * lacking).sum(axis=0) / np.where(norm > 0, norm, 1.0)
        fitting = np.where(norm > 0, fitting, own)
        primal = squares / (2 * n) + own**2 / 2 + l1 * np.abs(coef).sum(axis=0)
        dual = -np.inf
        for mean in (own, fitting):
            outside = correlation / n + mean * self.x_mean[:, np.newaxis]
            largest = outside.max(axis=0) if positive else np.abs(outside).max(axis=0)
            scale = np.where(largest > l1, l1 / np.where(largest > l1, largest, 1.0), 1.0)
            value = scale * (along_y / n + mean * self.y_mean)
            dual = np.maximum(dual, value - 0.5 * scale**2 * (squares / n + mean**2))
        return np.maximum(primal - dual, 0.0)

    def solve(self, target, threshold, positive, max_iter, coef, lasso):
        """Coefficients of one target; None where the centred moments do not determine them.

        Parameters
        ----------
        lasso : callable
            `_solve.solve_target`.
        """
        spread = np.sqrt(np.diagonal(self.sxx))
        if (spread[self.x_mean != 0] == 0).any():
            return None
        spread = np.where(spread > 0, spread, 1.0)
        scaled = np.column_stack([self.x_mean, self.sxy[:, target]]) / spread[:, np.newaxis]
        gram = self.sxx / np.outer(spread, spread)
        inverse = linalg.lstsq(gram, scaled, cond=1e-12)[0]
        if np.abs(gram @ inverse - scaled).max() > 1e-8 * np.abs(scaled).max():
            return None
        (xx, xy), (_, yy) = inverse.T @ scaled
        # What remains of y beside the columns; without it the gap would have no meaning.
        beside = max(self.syy[target] - yy, 0.0)

        n, mean, signs = self.weight, 0.0, None
        low, high = -np.inf, np.inf
        for _ in range(_MAX_STEPS):
            shift = n * mean
            square = beside + yy + 2 * shift * xy + shift**2 * xx
            linear = self.sxy[:, target] + shift * self.x_mean
            coef = lasso(self.sxx, linear, square, threshold, 0.0, positive, max_iter, coef)
            if signs is not None and np.array_equal(np.sign(coef), signs):
                return coef
            signs = np.sign(coef)
            excess = self.y_mean[target] - self.x_mean @ coef - mean
            low, high = (mean, high) if excess > 0 else (low, mean)
            active = np.flatnonzero(coef)
            far = self.x_mean[active]
            slope = 1.0
            if len(active):
                slope += n * far @ linalg.lstsq(self.sxx[np.ix_(active, active)], far)[0]
            mean += excess / slope
            if not low <= mean <= high:
                mean = (low + high) / 2
        return coef


def offset(statistics) -> Offset | None:
    """The `Offset` of statistics where some column is far from zero, else None."""
    spread = np.diagonal(statistics.sxx)
    if not (statistics.weight * statistics.x_mean**2 > _FAR**2 * spread).any():
        return None
    s = statistics
    return Offset(s.sxx, s.sxy, s.syy, s.x_mean, s.y_mean, s.weight)
