"""The coordinates that the blocks of consensus ADMM agree on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg

# Added to the correlations of the columns, so that combinations of columns that are constant
# have a length. Rounding in a correlation is far less, and what the loss can tell apart more.
_FLOOR = 1e-10


class Metric(NamedTuple):
    """Coordinates that the blocks agree on: of columns that are standardised, and turned.

    The length of coefficients w in them, ``v = root (w * scale)``, is the root of ``w.H w``: with
    H the mean curvature of the loss, all directions are equally curved. Without `root` they are
    standardised columns alone, and H is diagonal.

    An intercept is one more coordinate, about the point (x_shift, y_shift), so that it
    hardly depends on the others. A column that does not vary has an infinite scale: its
    coordinate stays at zero. `epoch` counts changes of the metric.
    """

    epoch: int
    x_shift: np.ndarray  # (k,)
    y_shift: np.ndarray  # (m,)
    scale: np.ndarray  # (k,)
    fit_intercept: bool
    root: np.ndarray | None = None  # (k, k), upper triangular

    def turned(self, gram: np.ndarray) -> Metric:
        """The same with H = `gram` (k, k), but for the units of its columns, which are `scale`."""
        varies = np.isfinite(self.scale) & (np.diagonal(gram) > 0)
        unit = np.sqrt(np.where(varies, np.diagonal(gram), np.inf))
        correlations = gram / np.outer(unit, unit)
        np.fill_diagonal(correlations, 1.0 + _FLOOR)
        root, info = linalg.lapack.dpotrf(correlations, lower=False, clean=True)
        # Combinations that rounding has made imaginary: such columns stay apart.
        return self if info else self._replace(root=root)

    @property
    def gram(self) -> np.ndarray | None:
        """The H (k, k) of the columns; None where it is diagonal."""
        return None if self.root is None else self._turned.T @ self._turned

    @property
    def _turned(self):
        return self.root * self._finite_scale

    @property
    def _finite_scale(self):
        return np.where(np.isfinite(self.scale), self.scale, 0.0)

    def distance(self, other: Metric) -> float:
        """How much more, or less, a single direction is curved than in the other metric.

        With r the eigenvalues of one H relative to the other, ``k (mean(r) mean(1 / r) - 1)``: zero
        where H is the same but for a factor, and about ``max(r) - 1`` where one direction differs.
        """
        varies, others = np.isfinite(self.scale), np.isfinite(other.scale)
        if (self.root is None) != (other.root is None) or (varies != others).any():
            return np.inf  # what does not vary in one of them stays at zero there
        if self.root is None or other.root is None:
            ratio = (self.scale[varies] / other.scale[varies]) ** 2
            sums = ratio.sum(), (1 / ratio).sum()
        else:
            ratios = other.of_columns(self._turned.T), self.of_columns(other._turned.T)
            sums = tuple(np.vdot(ratio, ratio) for ratio in ratios)
        k = max(1, int(varies.sum()))
        return float(sums[0] * sums[1] / k - k)

    def of_coef(self, coef: np.ndarray) -> np.ndarray:
        """The coordinates of coefficients (k, m)."""
        v = coef * self._finite_scale[:, np.newaxis]
        return v if self.root is None else self.root @ v

    def of_beta(self, beta: np.ndarray) -> np.ndarray:
        """The coordinates (d, m) of coefficients, and below them of the intercept."""
        coef = beta[: len(self.scale)]
        v = self.of_coef(coef)
        if not self.fit_intercept:
            return v
        return np.vstack([v, beta[-1] - self.y_shift + self.x_shift @ coef])

    def to_coef(self, v: np.ndarray) -> np.ndarray:
        """The coefficients of coordinates (k, m)."""
        coef = v if self.root is None else linalg.lapack.dtrtrs(self.root, v)[0]
        return coef / self.scale[:, np.newaxis]

    def to_beta(self, v: np.ndarray, coef: np.ndarray | None = None) -> np.ndarray:
        """Coefficients, and below them the intercept if there is one, of coordinates (d, m).

        `coef` are the coefficients, where they are known.
        """
        k = len(self.scale)
        if coef is None:
            coef = self.to_coef(v[:k])
        if not self.fit_intercept:
            return coef
        return np.vstack([coef, v[k] + self.y_shift - self.x_shift @ coef])

    def pull_back(self, gradient: np.ndarray) -> np.ndarray:
        """The gradient (d, m) in v of a function that has this `gradient` in beta."""
        if not self.fit_intercept:
            return self.of_columns(gradient)
        k = len(self.scale)
        centred = gradient[:k] - self.x_shift[:, np.newaxis] * gradient[k]
        return np.vstack([self.of_columns(centred), gradient[k]])

    def of_columns(self, products: np.ndarray) -> np.ndarray:
        """Products (k, p) of the columns, centred, as products of those of v."""
        products = products / self.scale[:, np.newaxis]
        if self.root is None:
            return products
        return linalg.lapack.dtrtrs(self.root, products, trans=1)[0]

    def push(self, gradient: np.ndarray) -> np.ndarray:
        """The gradient (d, m) in beta of a function that has this one in v."""
        k = len(self.scale)
        of_columns = self.to_columns(gradient[:k])
        if not self.fit_intercept:
            return of_columns
        of_columns = of_columns + self.x_shift[:, np.newaxis] * gradient[k]
        return np.vstack([of_columns, gradient[k]])

    def to_columns(self, products: np.ndarray) -> np.ndarray:
        """Products (k, p) of the coordinates v as those of the columns."""
        if self.root is not None:
            products = self.root.T @ products
        return products * self._finite_scale[:, np.newaxis]
