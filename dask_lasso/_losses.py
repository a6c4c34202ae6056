"""Losses of one chunk of rows, as a value and a gradient: what a black-box solver needs.

`Residual` is the squared loss and Huber's, `Pair` a user's two functions. Only the
first has a known conjugate, so only it can be certified by a duality gap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from scipy import sparse


class Rows(NamedTuple):
    """The raw rows of one chunk, where they are worked on."""

    X: np.ndarray | sparse.csr_array  # (n, k), or (n, k + 1) with a column of ones for `Pair`
    y: np.ndarray  # (n, m)
    weight: np.ndarray | None  # (n, 1)


@dataclass(frozen=True)
class Residual:
    """Huber's loss ``r^2 / 2`` up to `delta` and linear beyond; infinite is the squared loss.

    With ``c = clip(r, -delta, delta)`` the loss is ``c (r - c / 2)``, its derivative c, and
    its conjugate ``c^2 / 2`` where ``|c| <= delta`` (Huber 1964; Beck 2017, section 4.4).
    """

    delta: float

    has_conjugate: ClassVar = True

    def theta(self, residual):
        """Derivative of the loss of a residual."""
        return np.clip(residual, -self.delta, self.delta)

    def total(self, residual, theta, weight):
        """The loss (m,), summed over rows."""
        values = theta * (residual - 0.5 * theta)
        return values.sum(axis=0) if weight is None else (weight * values).sum(axis=0)

    def residual(self, beta, rows):
        """``y - X beta`` (n, m); a row of `beta` beyond the columns of X is an intercept."""
        k = rows.X.shape[1]
        # In the dtype of X: a mixed product would copy X.
        predicted = np.asarray(rows.X @ beta[:k].astype(rows.X.dtype), dtype=np.float64)
        if len(beta) > k:
            predicted += beta[k]
        return np.subtract(rows.y, predicted, out=predicted)

    def value_and_gradient(self, beta, rows):
        """The loss, summed over rows and targets, and its gradient, shaped as `beta` (d, m)."""
        residual = self.residual(beta, rows)
        theta = self.theta(residual)
        value = self.total(residual, theta, rows.weight).sum()
        if rows.weight is not None:
            theta = rows.weight * theta
        return value, -correlation(rows, theta, len(beta))


@dataclass(frozen=True)
class Pair:
    """A user's ``f(beta, X, y) -> float`` and ``fprime(beta, X, y) -> array``, over one chunk."""

    f: Callable
    fprime: Callable

    has_conjugate: ClassVar = False

    def value_and_gradient(self, beta, rows):
        """The loss, summed over rows, and its gradient of shape (d, 1)."""
        beta, y = beta[:, 0], rows.y[:, 0]
        value = float(self.f(beta, rows.X, y))
        gradient = np.asarray(self.fprime(beta, rows.X, y), dtype=np.float64)
        if gradient.shape != beta.shape:
            raise ValueError(
                f"loss: fprime returned an array of shape {gradient.shape} for a beta of shape"
                f" {beta.shape}; they must be the same."
            )
        return value, gradient[:, np.newaxis]


def correlation(rows, values, n_coordinates):
    """``X^T values`` (d, m), with the sum of `values` below it for an intercept."""
    k = rows.X.shape[1]
    product = np.asarray(rows.X.T @ values.astype(rows.X.dtype), dtype=np.float64)
    if n_coordinates == k:
        return product
    return np.vstack([product, values.sum(axis=0)])
