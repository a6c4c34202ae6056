"""Columns far from zero, and no intercept that would take their means away.

About zero, coordinate descent creeps on such columns. Here the mean of the residual is an
unknown t of its own,

    minimise  1/2 w.S w - w.q + n t^2 / 2 + n alpha |w|_1    subject to  t = y_mean - x_mean.w,

with S and q the centred moments. For a given t the stationarity in w is that of a lasso of
S and ``q + n t x_mean``; t is then the root of a function of one variable that falls and is
linear as long as the signs of w stay. So Newton's method ends after a few lassos. A constant
column has no part in S: it bounds t, and where t is at its bound it takes up what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import linalg

from .linear import unit_scale
from .moments import Lasso

_MAX_STEPS = 50


def solve_far(lasso: Lasso, max_iter: int, coef: np.ndarray, solve: Callable) -> np.ndarray | None:
    """Coefficients of one target; None where the centred moments do not determine them.

    Parameters
    ----------
    lasso : Lasso
        Whose `apart` has the moments to use.
    solve : callable
        ``solve(lasso, max_iter, coef)`` of a lasso without means.
    """
    apart, n = lasso.apart, lasso.apart.weight
    x_mean, y_mean = apart.x_mean, apart.y_mean[0]
    xy = apart.xy[:, 0]
    means = _Means(apart.gram / n, xy / n, float(apart.yy[0]) / n, x_mean, lasso.ridge / n)
    if not means.determine:
        return None
    constant = (np.diagonal(apart.gram) == 0) & (x_mean != 0) & (lasso.ridge == 0)
    box = lasso.box
    if box is not None:
        ends = np.concatenate([box.lower[constant], box.upper[constant]])
        if (np.isfinite(ends) & (ends != 0)).any():
            return None  # such a column takes up what is left no further than to its bound
    bounds, takers = _bounds(
        constant, x_mean, np.broadcast_to(lasso.threshold / n, coef.shape), box
    )
    within: list[float] = list(bounds)
    states: list[Any] = [None, None]
    mean, signs = min(max(0.0, within[0]), within[1]), None
    for _ in range(_MAX_STEPS):
        inner = lasso._replace(
            gram=np.ascontiguousarray(apart.gram),
            xy=np.where(constant, 0.0, xy + n * mean * x_mean),
            yy=n * means.squares(mean),
            apart=None,
        )
        coef = solve(inner, max_iter, coef)
        excess = y_mean - x_mean @ coef - mean
        at_bound = (excess >= 0, excess <= 0)
        for side, is_there in ((1, at_bound[0]), (0, at_bound[1])):
            if mean == bounds[side] and is_there:
                coef[takers[side]] = excess / x_mean[takers[side]]
                return coef
        if signs is not None and np.array_equal(lasso.state(coef), signs):
            return _settled(lasso, means, coef, mean)
        signs = lasso.state(coef)
        side = int(excess <= 0)
        within[side], states[side] = mean, signs
        active = np.flatnonzero(np.abs(signs) == 1)
        mean += excess / (1.0 + means.slope(active))
        for side, beyond in enumerate((mean < within[0], mean > within[1])):
            # No root of these signs, if it is not within the ends, or at one where others are:
            # they have to show again.
            is_known = mean == within[side] and states[side] is not None
            if beyond or (is_known and not np.array_equal(signs, states[side])):
                mean = within[side] if states[side] is None else sum(within) / 2
                signs = None
                break
    return None


def _settled(lasso, means, coef, mean):
    """Coefficients of steps in the mean that are less than a unit in its last place."""
    apart, active, rest = lasso.apart, np.flatnonzero(np.abs(lasso.state(coef)) == 1), 0.0
    inverse, slope = means.inverse(active), means.slope(active)
    settled = coef.copy()
    for _ in range(2):
        excess = apart.y_mean[0] - apart.x_mean @ settled - mean - rest
        step = excess / (1.0 + slope)
        settled[active] += step * inverse
        rest += step
    return settled if np.array_equal(lasso.state(settled), lasso.state(coef)) else coef


def _bounds(constant, x_mean, threshold, box):
    """Bounds that constant columns set to the mean of the residual, and the columns that do."""
    low, high, takers = -np.inf, np.inf, [None, None]
    for column in np.flatnonzero(constant):
        reach = threshold[column] / abs(x_mean[column])
        ends = [-reach, reach]
        if box is not None:
            # On the side of a coefficient that cannot be there is none.
            sides = box.lower[column] < 0, box.upper[column] > 0
            sides = sides if x_mean[column] > 0 else sides[::-1]
            ends = [
                end if is_open else sign * np.inf
                for end, is_open, sign in zip(ends, sides, (-1, 1), strict=True)
            ]
        if ends[0] > low:
            low, takers[0] = ends[0], column
        if ends[1] < high:
            high, takers[1] = ends[1], column
    return (low, high), takers


class _Means:
    """How ``||y||^2 / n`` and the solution depend on the mean t of the residual.

    Of moments in means: the inverse of sums over rows of next to no weight may be too large.
    """

    def __init__(self, gram, xy, yy, x_mean, ridge):
        self._gram = gram + np.diag(np.broadcast_to(ridge, len(gram))) if np.any(ridge) else gram
        self._x_mean = x_mean
        varies = np.diagonal(self._gram) > 0
        self._scale = np.where(varies, unit_scale(np.diagonal(self._gram)), 0.0)
        scaled = self._scale[:, np.newaxis] * np.column_stack([x_mean, xy])
        unit = self._gram * np.outer(self._scale, self._scale)
        inverse = _least_squares(unit, scaled, cond=1e-12)
        self.determine = bool(
            np.abs(unit @ inverse - scaled).max() <= 1e-8 * np.abs(scaled).max(initial=0.0)
        )
        (self._xx, self._xy), (_, of_y) = inverse.T @ scaled
        # What remains of y beside the columns; without it the gap would have no meaning.
        self._yy = max(yy - of_y, 0.0) + of_y

    def squares(self, shift) -> float:
        return float(self._yy + 2 * shift * self._xy + shift**2 * self._xx)

    def slope(self, active) -> float:
        """Of ``x_mean.w`` over t, as long as these columns are the active ones."""
        return float(self._x_mean[active] @ self.inverse(active))

    def inverse(self, active):
        """How these coefficients grow with t."""
        if len(active) == 0:
            return np.zeros(0)
        scale = self._scale[active]
        unit = self._gram[np.ix_(active, active)] * np.outer(scale, scale)
        return scale * _least_squares(unit, scale * self._x_mean[active])


def _least_squares(matrix, rhs, cond=None):
    # By QR: the SVD that is SciPy's default may not converge, near the identity for one.
    return linalg.lstsq(matrix, rhs, cond=cond, lapack_driver="gelsy")[0]
