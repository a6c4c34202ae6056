"""The coordinates that the blocks of consensus ADMM agree on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Metric(NamedTuple):
    """Coordinates that the blocks agree on: standardised columns ``v = w * scale``.

    An intercept is one more coordinate, about the point (x_shift, y_shift), so that it
    hardly depends on the others. A column that does not vary has an infinite scale: its
    coordinate stays at zero. `epoch` counts changes of the metric.
    """

    epoch: int
    x_shift: np.ndarray  # (k,)
    y_shift: np.ndarray  # (m,)
    scale: np.ndarray  # (k,)
    fit_intercept: bool

    def of_coef(self, coef: np.ndarray) -> np.ndarray:
        """The coordinates of coefficients (k, m)."""
        return coef * np.where(np.isfinite(self.scale), self.scale, 0.0)[:, np.newaxis]

    def to_beta(self, v: np.ndarray) -> np.ndarray:
        """Coefficients, and below them the intercept if there is one, of coordinates (d, m)."""
        k = len(self.scale)
        w = v[:k] / self.scale[:, np.newaxis]
        if not self.fit_intercept:
            return w
        return np.vstack([w, v[k] + self.y_shift - self.x_shift @ w])

    def pull_back(self, gradient: np.ndarray) -> np.ndarray:
        """The gradient (d, m) in v of a function that has this `gradient` in beta."""
        k = len(self.scale)
        scale = self.scale[:, np.newaxis]
        if not self.fit_intercept:
            return gradient / scale
        centred = gradient[:k] - self.x_shift[:, np.newaxis] * gradient[k]
        return np.vstack([centred / scale, gradient[k]])
