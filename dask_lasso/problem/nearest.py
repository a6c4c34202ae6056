"""The estimate of consensus ADMM: the coefficients that the penalty makes of a mean."""

from __future__ import annotations

import numpy as np

from .gram import minimum
from .metric import Metric
from .moments import Moments
from .penalties import L1, Plugged


class Nearest:
    """``argmin_w share * penalty(w) + ||v(w) - point||^2 / 2``, with v(w) as in a `Metric`.

    In a diagonal metric that is a proximal step of the penalty, for each column by itself. In
    another it is a lasso of k rows, of which the last solution is a first guess.
    """

    def __init__(self, metric: Metric, penalty: L1 | Plugged) -> None:
        self._metric, self._penalty = metric, penalty
        self._gram = metric.gram

    def __call__(self, point: np.ndarray, share: float, coef: np.ndarray) -> np.ndarray:
        """Coefficients (k, m) for a `point` (k, m) of the coordinates; `coef` is near."""
        penalty, metric = self._penalty, self._metric
        if self._gram is None or not isinstance(penalty, L1):
            return penalty.prox(point, share, metric.scale) / metric.scale[:, np.newaxis]
        squares = np.einsum("ij,ij->j", point, point)
        moments = Moments(self._gram, metric.to_columns(point), squares, 1.0)
        return minimum(moments, penalty.at(penalty.alpha * share), coef)
