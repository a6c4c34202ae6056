"""Penalties that do not grow with large coefficients: MCP and SCAD, as weights of the l1 term."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np

from .moments import Moments
from .penalties import L1, Elastic
from .shown import Shown


class OfSizes(Protocol):
    """What MCP and SCAD know of the sizes of coefficients; elementwise."""

    def value(self, size: np.ndarray, alpha: float) -> np.ndarray: ...
    def weights(self, size: np.ndarray, alpha: float) -> np.ndarray: ...  # slope over alpha


class MCP(Shown):
    """The minimax concave penalty (Zhang 2010): ``alpha |w| - w^2 / (2 gamma)``, then constant.

    From ``|w| = gamma alpha`` on a coefficient is not shrunk. In the user's units: columns are
    meant to have deviations near one.

    Parameters
    ----------
    gamma : float, default=3.0
        Above 1; the larger, the nearer to the lasso.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_lasso import AsyncLassoRegressor
    >>> from dask_lasso.penalties import MCP
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> model = AsyncLassoRegressor(0.2, penalty=MCP()).fit(X, 3 * X[:, 0])
    >>> model.coef_.round(6) + 0.0, model.certificate_
    (array([3., 0., 0., 0.]), 'stationarity')
    """

    def __init__(self, gamma: float = 3.0) -> None:
        if not gamma > 1:
            raise ValueError(f"gamma must be above 1, got {gamma!r}.")
        self.gamma = gamma

    def value(self, size: np.ndarray, alpha: float) -> np.ndarray:
        """The penalty of each size."""
        inside = np.minimum(size, self.gamma * alpha)
        return alpha * inside - inside**2 / (2 * self.gamma)

    def weights(self, size: np.ndarray, alpha: float) -> np.ndarray:
        """Its slope at each size, over alpha."""
        return np.maximum(1 - size / (self.gamma * alpha), 0.0)


class SCAD(Shown):
    """The smoothly clipped absolute deviation (Fan & Li 2001).

    ``alpha |w|`` up to alpha, then its slope falls, and from ``|w| = gamma alpha`` on a coefficient
    is not shrunk.

    Parameters
    ----------
    gamma : float, default=3.7
        Above 2.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_lasso import AsyncLassoRegressor
    >>> from dask_lasso.penalties import SCAD
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> model = AsyncLassoRegressor(0.2, penalty=SCAD()).fit(X, 3 * X[:, 0])
    >>> model.coef_.round(6) + 0.0
    array([3., 0., 0., 0.])
    """

    def __init__(self, gamma: float = 3.7) -> None:
        if not gamma > 2:
            raise ValueError(f"gamma must be above 2, got {gamma!r}.")
        self.gamma = gamma

    def value(self, size: np.ndarray, alpha: float) -> np.ndarray:
        """The penalty of each size."""
        a, gamma = alpha, self.gamma
        size = np.minimum(size, gamma * a)
        falling = (2 * gamma * a * size - size**2 - a**2) / (2 * (gamma - 1))
        return np.where(size <= a, a * size, falling)

    def weights(self, size: np.ndarray, alpha: float) -> np.ndarray:
        """Its slope at each size, over alpha."""
        falling = (self.gamma - size / alpha) / (self.gamma - 1)
        return np.clip(falling, 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Concave(Elastic):
    """A concave function of the sizes of coefficients, in place of the l1 norm."""

    alpha: float
    of_sizes: OfSizes
    l1_ratio: float = 1.0

    is_separable: ClassVar = True
    joins_targets: ClassVar = False
    certificate: ClassVar = "stationarity"
    is_sparse: ClassVar = False
    has_free: ClassVar = False
    has_dual: ClassVar = False
    standardize: ClassVar = False

    def at(self, alpha: float) -> Concave | L1:
        """The same penalty, as strong as `alpha`."""
        return replace(self, alpha=alpha) if alpha else L1(0.0)

    def value(self, coef: np.ndarray) -> np.ndarray:
        """The penalty (m,) of coefficients (k, m)."""
        value = self.of_sizes.value(np.abs(coef), self.l1) + 0.5 * coef * (self.l2 * coef)
        return value.sum(axis=0)

    def above(self, coef: np.ndarray) -> L1:
        """What touches it at coefficients (k,), and is above it elsewhere; less the ridge term."""
        return L1(self.l1, 1.0, self.of_sizes.weights(np.abs(coef), self.l1))

    def violation(self, problem: Moments, coef: np.ndarray) -> np.ndarray:
        """By how much (m,) a slope is off what is stationary, over the norms of column and y."""
        weights = self.of_sizes.weights(np.abs(coef), self.l1)
        threshold = problem.weight * self.l1 * weights
        correlation = problem.with_ridge(self.l2).residual(coef).correlation
        off = np.where(
            coef != 0,
            np.abs(correlation - threshold * np.sign(coef)),
            np.maximum(np.abs(correlation) - threshold, 0.0),
        )
        size = np.outer(problem.norms, np.sqrt(problem.squares))
        return np.divide(off, size, out=np.zeros_like(off), where=size > 0).max(axis=0)
