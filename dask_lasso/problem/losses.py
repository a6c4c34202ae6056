"""Losses of a row: functions of its target y and its linear predictor eta."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Loss(Protocol):
    """A smooth convex loss of a row, for ``AsyncLassoRegressor(loss=...)``.

    All methods work elementwise on float64 arrays `eta`, the linear predictor ``x.w + b``, and
    `y`, both of shape (n_rows, n_targets), and return an array of that shape. They run on the
    workers, so the object has to be picklable, and may not change.

    With one method more, ``conjugate(slope, y)``, fits have a duality gap: the convex
    conjugate ``sup_eta slope * eta - value(eta, y)``, infinite where there is none. Without it
    the residuals of ADMM are the certificate.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.special import expit, xlogy
    >>> from dask_lasso import AsyncLassoRegressor, Loss
    >>> class Logistic:
    ...     '''log(1 + exp(eta)) - y eta, for y of zeros and ones.'''
    ...
    ...     def value(self, eta, y):
    ...         return np.logaddexp(0, eta) - y * eta
    ...
    ...     def derivative(self, eta, y):
    ...         return expit(eta) - y
    ...
    ...     def curvature(self, eta, y):
    ...         return expit(eta) * expit(-eta)
    ...
    ...     def conjugate(self, slope, y):
    ...         p = slope + y
    ...         inside = (p >= 0) & (p <= 1)
    ...         p = np.clip(p, 0, 1)
    ...         return np.where(inside, xlogy(p, p) + xlogy(1 - p, 1 - p), np.inf)
    >>> isinstance(Logistic(), Loss)
    True
    >>> X = np.arange(-5.0, 5.0)[:, np.newaxis]
    >>> y = (X[:, 0] + np.tile([1.5, -1.5], 5) > 0).astype(float)
    >>> model = AsyncLassoRegressor(0.01, loss=Logistic()).fit(X, y)
    >>> model.certificate_, bool(model.dual_gap_ < 1e-6)
    ('duality gap', True)
    """

    def value(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray: ...  # the loss
    def derivative(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray: ...  # in eta
    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray: ...  # second, in eta


class Certified(Loss, Protocol):
    """A `Loss` that knows its conjugate, and so has a dual."""

    def conjugate(self, slope: np.ndarray, y: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Residual:
    """Huber's loss ``r^2 / 2`` of ``r = y - eta`` up to `delta`, and linear beyond.

    An infinite `delta` is the squared loss. With ``c = clip(r, -delta, delta)`` the loss is
    ``c (r - c / 2)`` (Huber 1964; Beck 2017, section 4.4).
    """

    delta: float = np.inf

    def value(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        residual = y - eta
        clipped = np.clip(residual, -self.delta, self.delta)
        return clipped * (residual - 0.5 * clipped)

    def derivative(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.clip(eta - y, -self.delta, self.delta)

    def curvature(self, eta: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (np.abs(y - eta) < self.delta).astype(np.float64)

    def conjugate(self, slope: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(np.abs(slope) <= self.delta, slope * (y + 0.5 * slope), np.inf)


SQUARED = Residual()


@dataclass(frozen=True)
class Pair:
    """A user's ``f(beta, X, y) -> float`` and ``fprime(beta, X, y) -> array``, of one chunk.

    No loss of a row: nothing is known of it but what the two functions return.
    """

    f: Callable
    fprime: Callable
