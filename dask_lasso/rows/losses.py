"""Losses of one chunk of rows, as a value and a gradient: what a black-box solver needs.

`Residual` is the squared loss and Huber's, `Pair` a user's two functions. Only the
first has a known conjugate, so only it can be certified by a duality gap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import sparse

from .tiles import CACHE_ITEMS, aligned


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

    def residual_and_correlation(self, beta, rows):
        """``y - X beta`` (n, m), and ``X^T theta`` (d, m) with theta weighted.

        A row of `beta` beyond the columns of X is an intercept; its correlation is the sum.
        One pass: X is read in tiles that stay in the cache for the second product.
        """
        n, k = rows.X.shape
        coef = beta[:k]
        residual, correlation = np.empty(rows.y.shape), np.zeros(beta.shape)
        is_sparse = sparse.issparse(rows.X)
        step = max(1, n if is_sparse else min(n, CACHE_ITEMS // k))
        if not is_sparse:
            buffer = None if rows.X.flags.aligned else np.empty(step * k, rows.X.dtype)
        for start in range(0, n, step):
            tile = slice(start, min(start + step, n))
            X = rows.X
            if not is_sparse:
                # Float32 in tiles: a mixed product would copy all of X.
                X = aligned(X, tile, slice(0, k), buffer).astype(np.float64, copy=False)
            part = rows.y[tile] - X @ coef
            if len(beta) > k:
                part -= beta[k]
            residual[tile] = part
            theta = self.theta(part)
            if rows.weight is not None:
                theta = rows.weight[tile] * theta
            correlation[:k] += X.T @ theta
            if len(beta) > k:
                correlation[k] += theta.sum(axis=0)
        return residual, correlation

    def value_and_gradient(self, beta, rows):
        """The loss, summed over rows and targets, and its gradient, shaped as `beta` (d, m)."""
        residual, correlation = self.residual_and_correlation(beta, rows)
        value = self.total(residual, self.theta(residual), rows.weight).sum()
        return value, -correlation


@dataclass(frozen=True)
class Pair:
    """A user's ``f(beta, X, y) -> float`` and ``fprime(beta, X, y) -> array``, over one chunk."""

    f: Callable
    fprime: Callable

    has_conjugate: ClassVar = False

    def value_and_gradient(self, beta, rows):
        """The loss, summed over rows, and its gradient of shape (d, 1)."""
        value = self.value(beta, rows)
        gradient = np.asarray(self.fprime(beta[:, 0], rows.X, rows.y[:, 0]))
        if gradient.shape != beta[:, 0].shape or gradient.dtype.kind not in "buif":
            raise ValueError(
                f"loss: fprime returned an array of shape {gradient.shape} and dtype"
                f" {gradient.dtype} for a beta of shape {beta[:, 0].shape}; it must return real"
                " numbers of the same shape."
            )
        return value, gradient.astype(np.float64)[:, np.newaxis]

    def value(self, beta, rows):
        """The loss, summed over rows."""
        value = np.asarray(self.f(beta[:, 0], rows.X, rows.y[:, 0]))
        if value.size != 1 or value.dtype.kind not in "buif":
            raise ValueError(
                f"loss: f returned an array of shape {value.shape} and dtype {value.dtype}; it"
                " must return one number, the sum over the rows of X."
            )
        return float(value.item())
