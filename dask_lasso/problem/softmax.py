"""Several classes through the softmax: one target, and a column for each class and feature.

The coefficients of all classes are one vector, class by class, each with its intercept below
if there is one. So the classes share a quadratic, and all that is known of one target holds.
Columns are taken about a point near their means, or intercepts would cost digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import entr

from .box import Box
from .penalties import L1


@dataclass(frozen=True, eq=False)
class Softmax:
    """``log(sum_c exp(eta_c)) - eta_y`` of a row of class y.

    Parameters
    ----------
    n_classes : int
    fit_intercept : bool
    shift : ndarray of shape (k,)
        The point that the columns are taken about; zero without an intercept.
    """

    n_classes: int
    fit_intercept: bool
    shift: np.ndarray

    endless = "a class has no rows of positive weight"

    def is_endless(self, shares: np.ndarray) -> Any:
        """Whether intercepts have no best value, for shares (K, m) of the classes."""
        return np.any(shares <= 0, axis=0)

    @property
    def n_columns(self) -> int:
        """Columns of each class, with that of the intercept."""
        return len(self.shift) + self.fit_intercept

    def by_class(self, beta: np.ndarray) -> np.ndarray:
        """The vector (p, 1) of all coefficients as an array (d, K)."""
        return beta.reshape(self.n_classes, self.n_columns).T

    def as_vector(self, by_class: np.ndarray) -> np.ndarray:
        """Inverse of `by_class`."""
        return by_class.T.reshape(-1, 1)

    def coefficients(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (k, K), and intercepts (K,), which sum to zero."""
        k, by_class = len(self.shift), self.by_class(beta)
        if not self.fit_intercept:
            return by_class, np.zeros(self.n_classes)
        intercept = by_class[k] - self.shift @ by_class[:k]
        return by_class[:k], intercept - intercept.mean()

    def start(self, shares: np.ndarray, coef: np.ndarray | None) -> np.ndarray:
        """The vector of these coefficients, and of the intercepts of the classes' shares."""
        by_class = np.zeros((self.n_columns, self.n_classes))
        k = len(self.shift)
        if coef is not None:
            by_class[:k] = coef
        if self.fit_intercept:
            by_class[k] = np.log(shares) - np.log(shares).mean()
        return self.as_vector(by_class)

    def null_loss(self, shares: np.ndarray) -> np.ndarray:
        """Twice the mean loss of the best constants."""
        entropy = entr(shares).sum() if self.fit_intercept else np.log(self.n_classes)
        return np.array([2 * entropy])

    def curvature(self, diagonal: np.ndarray, weight: float) -> np.ndarray:
        """Curvature of each column's class, summed over rows of a weight.

        Of the diagonal of a Gram matrix, of some columns of each class: what an intercept's
        column has; without one the most there can be.
        """
        if not self.fit_intercept:
            return np.full(len(diagonal), weight / 4)
        by_class = diagonal.reshape(self.n_classes, -1)
        return np.repeat(by_class[:, -1], by_class.shape[1])

    def penalty(self, penalty: L1) -> L1:
        """The same penalty of the vector: intercepts have none, and no bounds."""
        k = len(self.shift)

        def tiled(values, of_intercept):
            one = np.append(values, of_intercept) if self.fit_intercept else values
            return np.tile(one, self.n_classes)

        box = penalty.box
        if box is not None:
            box = Box(tiled(box.lower, -np.inf), tiled(box.upper, np.inf))
        weights = tiled(penalty.column_weights(k), 0.0)
        return L1(penalty.alpha, penalty.l1_ratio, weights, box)

    def centred(self, beta: np.ndarray, penalty: L1) -> np.ndarray:
        """Coefficients of the same probabilities, that cost least.

        All classes' coefficients of a column can move together. The l1 norm is least where their
        median is zero; of an even number the lower one, so that there is one answer.
        """
        if penalty.box is not None:
            return beta
        by_class = np.array(self.by_class(beta))
        k, middle = len(self.shift), (self.n_classes - 1) // 2
        free = np.zeros(self.n_columns, dtype=bool)
        free[k:] = True
        if penalty.alpha == 0 or penalty.l1_ratio == 0:
            free[:] = True
        free[:k] |= penalty.column_weights(len(beta))[:k] == 0
        by_class[free] -= by_class[free].mean(axis=1, keepdims=True)
        if not penalty.has_ridge:
            median = np.partition(by_class[~free], middle, axis=1)[:, [middle]]
            by_class[~free] -= median
        return self.as_vector(by_class)
