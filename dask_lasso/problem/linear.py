"""Linear systems of moments, in units in which every column has length one.

Columns come in the user's units, nanoseconds beside shares. Ranks and pivots mean something
only after every column has been divided by its norm.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

_EPS = np.finfo(np.float64).eps
# Share of a column, squared, that the others must leave for a Cholesky factor to be trusted.
_PIVOT = 1e-10
# Share of the means, in units of the columns, beyond the columns' span: there is no mean left.
_BEYOND = 1e-8


class LeastSquares:
    """Least squares, or ridge regression, on columns of which moments are known.

    Of columns that are combinations of others it takes the solution of least norm, in units
    of the columns' norms.

    Parameters
    ----------
    gram : ndarray of shape (k, k)
        Centred moments.
    x_mean : ndarray of shape (k,) or None
        None with an intercept.
    weight : float
    ridge : ndarray of shape (k,), optional
        What is added to the diagonal of `gram`.
    """

    def __init__(
        self,
        gram: np.ndarray,
        x_mean: np.ndarray | None,
        weight: float,
        ridge: np.ndarray | None = None,
    ) -> None:
        if ridge is not None:
            gram = gram + np.diag(ridge)
        self._gram, self._x_mean, self._weight = gram, x_mean, weight
        self._inverse = self._basis = self._beyond = None
        self._scale = unit_scale(np.diagonal(gram), x_mean)
        if len(gram) == 0:
            return
        scaled = gram * np.outer(self._scale, self._scale)
        self._factor, info = linalg.lapack.dpotrf(scaled, lower=True, clean=False)
        if not info and np.diagonal(self._factor).min() ** 2 > _PIVOT:
            return
        values, vectors = linalg.eigh(scaled, check_finite=False)
        kept = values > 4 * max(10, len(values)) * _EPS * values[-1]
        self._factor, self._basis, self._inverse = None, vectors[:, kept], 1 / values[kept]
        self._beyond = vectors[:, ~kept]

    def solve(self, xy: np.ndarray, y_mean: np.ndarray | None = None) -> np.ndarray:
        """Coefficients (k, p) for p targets of moments `xy` (k, p) and means `y_mean` (p,)."""
        if len(xy) == 0:
            return np.zeros(xy.shape)
        coef = self._solve(xy, y_mean)
        # What rounding has left is a system of its own.
        left = xy - self._gram @ coef
        mean = None if self._x_mean is None else y_mean - self._x_mean @ coef
        return coef + self._solve(left, mean)

    def least(self, xy: np.ndarray, rounding: np.ndarray) -> float:
        """Squares of the shortest rows that have such moments (k,) about zero with the columns.

        Where the Gram matrix has no digits left for how a combination of columns varies, it is
        taken for zero, and so is the product of anything with it. A product that is more than
        the `rounding` (k,) of the moments says otherwise: that combination varies, by no one
        knows how little, and the squares are infinite.
        """
        if len(xy) == 0:
            return 0.0
        scaled, mean = self._scale * xy, 0.0
        if self._x_mean is not None:
            means = self._scale * self._x_mean
            constant = self._constant(means)
            if constant is not None:
                mean = (constant @ scaled) / (self._weight * (constant @ means))
            else:
                of_means = self._invert(means[:, np.newaxis])[:, 0]
                mean = (of_means @ scaled) / (1 + self._weight * (of_means @ means))
            scaled = scaled - self._weight * mean * means
        if self._beyond is not None:
            most = np.sqrt((self._beyond**2).T @ (self._scale * rounding) ** 2)
            if (np.abs(self._beyond.T @ scaled) > most).any():
                return np.inf
        of_scaled = self._invert(scaled[:, np.newaxis])[:, 0]
        return float(self._weight * mean**2 + of_scaled @ scaled)

    def inverse(self) -> np.ndarray:
        """The inverse (k, k) of the moments about zero, of columns that are `is_unique`."""
        # Of rows that have these moments; their sums would lose the digits of far columns.
        if self._factor is not None:
            rows = np.tril(self._factor).T
        else:
            rows = self._basis.T / np.sqrt(self._inverse)[:, np.newaxis]
        if self._x_mean is not None:
            rows = np.vstack([np.sqrt(self._weight) * self._scale * self._x_mean, rows])
        norms = np.sqrt((rows**2).sum(axis=0))
        root, order = linalg.qr(rows / norms, mode="r", pivoting=True, check_finite=False)
        found = np.empty(self._gram.shape)
        found[order] = linalg.solve_triangular(root[: len(found)], np.eye(len(found)))
        found *= (self._scale / norms)[:, np.newaxis]
        return found @ found.T

    @property
    def is_unique(self) -> bool:
        """Whether no column is a combination of others."""
        if self._basis is None or self._beyond.shape[1] == 0:
            return True
        if self._x_mean is None or self._beyond.shape[1] > 1:
            return False
        return self._constant(self._scale * self._x_mean) is not None

    @property
    def directions(self) -> tuple[np.ndarray, np.ndarray]:
        """A matrix (k, k) of combinations of the columns that hardly depend, and its inverse."""
        if self._basis is None:
            return np.diag(self._scale), np.diag(1 / self._scale)
        vectors = np.hstack([self._basis, self._beyond])
        scale = self._scale[:, np.newaxis]
        return scale * vectors, (vectors / scale).T

    @property
    def is_regular(self) -> bool:
        """Whether no column is nearly a combination of others."""
        return self._basis is None

    def _constant(self, means):
        """A combination of the columns that is constant, and not zero; None if there is none."""
        if self._basis is None:
            return None
        beyond = means - self._basis @ (self._basis.T @ means)
        return beyond if np.linalg.norm(beyond) > _BEYOND * np.linalg.norm(means) else None

    def _solve(self, xy, y_mean):
        scale = self._scale[:, np.newaxis]
        coef = self._invert(scale * xy)
        if self._x_mean is None:
            return scale * coef
        means = self._scale * self._x_mean
        off = y_mean - means @ coef
        constant = self._constant(means)
        if constant is not None:  # it takes all of the mean
            return scale * (coef + np.outer(constant, off) / (constant @ means))
        # With t the mean of the residual, S w = q + n t x_mean and t = y_mean - x_mean.w.
        of_means = self._invert(means[:, np.newaxis])[:, 0]
        mean = off / (1 + self._weight * (means @ of_means))
        return scale * (coef + self._weight * np.outer(of_means, mean))

    def _invert(self, xy):
        if self._factor is not None:
            return linalg.lapack.dpotrs(self._factor, xy, lower=True)[0]
        return self._basis @ (self._inverse[:, np.newaxis] * (self._basis.T @ xy))


def unit_scale(squares: np.ndarray, x_mean: np.ndarray | None = None) -> np.ndarray:
    """What to multiply columns of these squared norms with; constant ones by their means."""
    scale = np.sqrt(squares)
    if x_mean is not None:
        scale = np.where(scale > 0, scale, np.abs(x_mean))
    return 1 / np.where(scale > 0, scale, 1.0)


def solve_positive_definite(
    gram: np.ndarray, rhs: np.ndarray, ridge: float | np.ndarray
) -> np.ndarray | None:
    """Solve ``(gram + ridge I) w = rhs``; None where the matrix is singular in effect.

    Writes to `gram`.
    """
    if len(rhs) == 0:
        return rhs
    diagonal = np.einsum("ii->i", gram)
    diagonal += ridge
    if not (diagonal > 0).all():
        return None
    scale = np.sqrt(diagonal)
    gram /= scale
    gram /= scale[:, np.newaxis]
    rhs = rhs / scale
    # LAPACK itself: a path solves hundreds of these, and wrappers would take half the time.
    # Transposed, which a symmetric matrix may be, for LAPACK takes columns one after the other.
    factor, info = linalg.lapack.dpotrf(gram.T, lower=True, clean=False)
    # Squared, a pivot is the share of a column that the columns before it leave unexplained.
    if info or np.diagonal(factor).min() ** 2 < 1e-12:
        return None
    values, _ = linalg.lapack.dpotrs(factor, rhs, lower=True)
    correction, _ = linalg.lapack.dpotrs(factor, rhs - gram @ values, lower=True)
    return (values + correction) / scale
