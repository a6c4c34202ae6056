"""Norms as penalties: groups of columns, one support for several targets, sorted sizes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from sklearn.isotonic import isotonic_regression

from .shown import Shown

_TINY = np.finfo(float).tiny


def _shrunk(rows, norms, threshold):
    """Rows (k, m) shorter by a threshold, those of norms (k,) below it zero."""
    norms = np.maximum(norms, np.maximum(threshold, _TINY))
    return (1 - threshold / norms)[:, np.newaxis] * rows


class SparseGroupLasso(Shown):
    """The group lasso and the lasso together (Simon, Friedman, Hastie & Tibshirani 2013).

    ``share * ||w||_1 + (1 - share) * sum_g weights_g ||w_g||``. Where y has several targets,
    a group has the coefficients of all of them.

    Parameters
    ----------
    groups : array-like of shape (n_features,)
        A label for each column, of any kind; columns of one group need not be neighbours.
    share : float, default=0.5
        In [0, 1]: 1 is the lasso, 0 is the group lasso.
    weights : mapping, or array-like of shape (n_groups,), default=None
        The weight of each group, by label or in the order of the sorted labels; None is the
        root of its number of columns.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_lasso import AsyncLassoRegressor
    >>> from dask_lasso.penalties import SparseGroupLasso
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> penalty = SparseGroupLasso(["a", "a", "b", "b"])
    >>> model = AsyncLassoRegressor(0.2, penalty=penalty).fit(X, 3 * X[:, 0])
    >>> [bool(c) for c in model.coef_], model.certificate_
    ([True, False, False, False], 'duality gap')
    """

    def __init__(
        self, groups: ArrayLike, share: float = 0.5, weights: Mapping | ArrayLike | None = None
    ) -> None:
        self.groups, self.share, self.weights = groups, share, weights
        labels = np.asarray(groups)
        if labels.ndim != 1 or len(labels) == 0:
            raise ValueError(f"groups must be a label for each column, got {groups!r}.")
        if not 0 <= share <= 1:
            raise ValueError(f"share must be within 0 and 1, got {share!r}.")
        names, self._group = np.unique(labels, return_inverse=True)
        self._sizes = np.bincount(self._group)
        if weights is None:
            self._weights = np.sqrt(self._sizes)
            return
        if isinstance(weights, Mapping):
            missing = [name for name in names.tolist() if name not in weights]
            if missing:
                raise ValueError(f"weights has none of the groups {missing}.")
            weights = [weights[name] for name in names.tolist()]
        self._weights = np.asarray(weights, dtype=np.float64)
        is_positive = np.isfinite(self._weights).all() and (self._weights > 0).all()
        if self._weights.shape != names.shape or not is_positive:
            raise ValueError(
                f"weights must be a positive number for each of the {len(names)} groups, got"
                f" {weights!r}."
            )

    def of(self, columns: np.ndarray) -> SparseGroupLasso:
        """The penalty of some columns, while the others are zero."""
        group = self._group[columns]
        return SparseGroupLasso(group, self.share, self._weights[np.unique(group)])

    def _rows(self, w):
        """Coefficients as an array (k, m)."""
        if len(w) != len(self._group):
            raise ValueError(
                f"groups has {len(self._group)} labels, and X has {len(w)} features: pass one"
                " label per feature."
            )
        return w.reshape(len(w), -1)

    def _norms(self, rows):
        """The norm of each group."""
        return np.sqrt(np.bincount(self._group, (rows**2).sum(axis=1)))

    def value(self, w: np.ndarray) -> float:
        """The penalty of coefficients (k,) or (k, m)."""
        groups = self._weights @ self._norms(self._rows(w))
        return float(self.share * np.abs(w).sum() + (1 - self.share) * groups)

    def prox(self, w: np.ndarray, step: float | np.ndarray) -> np.ndarray:
        """``argmin step value + ||. - w||^2/2``; a step (k,) is the same within a group."""
        rows = self._rows(w)
        step = np.broadcast_to(step, len(rows))
        rows = np.sign(rows) * np.maximum(np.abs(rows) - self.share * step[:, np.newaxis], 0.0)
        threshold = (1 - self.share) * step * self._weights[self._group]
        return _shrunk(rows, self._norms(rows)[self._group], threshold).reshape(w.shape)

    def dual_norm(self, correlation: np.ndarray) -> float:
        """The least t for which every group's correlation is within t times the penalty.

        Beside an l1 term it is a root in each group (Ndiaye, Fercoq, Gramfort & Salmon 2016,
        "Gap safe screening rules for sparse-group lasso", section 4); taken from above.
        """
        rows = self._rows(correlation)
        if self.share == 0:
            return float((self._norms(rows) / self._weights).max())
        if self.share == 1:
            return float(np.abs(rows).max())
        size = np.abs(rows)
        low, high = 0.0, float(size.max()) / self.share
        # Bisection of the largest root: of all groups at once, to the last digit.
        for _ in range(80):
            t = (low + high) / 2
            left = self._norms(np.maximum(size - self.share * t, 0.0))
            if (left <= (1 - self.share) * t * self._weights).all():
                high = t
            else:
                low = t
        return high

    def units(self, norms: np.ndarray) -> np.ndarray:
        """Root mean square (k,) of the norms of each group: what its columns share."""
        squares = self._norms(self._rows(norms)) ** 2 / self._sizes
        return np.sqrt(squares)[self._group]


class GroupLasso(SparseGroupLasso):
    """``sum_g weights_g ||w_g||``: columns of a group come in together (Yuan & Lin 2006).

    Where y has several targets, a group has the coefficients of all of them.

    Parameters
    ----------
    groups, weights
        As of `SparseGroupLasso`.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_lasso import AsyncLassoRegressor
    >>> from dask_lasso.penalties import GroupLasso
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> model = AsyncLassoRegressor(0.5, penalty=GroupLasso([0, 0, 1, 1])).fit(X, 3 * X[:, 0])
    >>> [bool(c) for c in model.coef_]
    [True, True, False, False]
    """

    def __init__(self, groups: ArrayLike, weights: Mapping | ArrayLike | None = None) -> None:
        super().__init__(groups, 0.0, weights)


class MultiTask(Shown):
    """``sum_j ||w_j||`` over the targets: as `sklearn.linear_model.MultiTaskLasso`, one support.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_lasso import AsyncLassoRegressor
    >>> from dask_lasso.penalties import MultiTask
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> model = AsyncLassoRegressor(0.5, penalty=MultiTask()).fit(X, X[:, :2] + X[:, [0]])
    >>> (model.coef_ != 0).astype(int)
    array([[1, 1, 0, 0],
           [1, 1, 0, 0]])
    """

    def of(self, columns: np.ndarray) -> MultiTask:
        """The penalty of some columns, while the others are zero."""
        return self

    def value(self, w: np.ndarray) -> float:
        """The penalty of coefficients (k,) or (k, m)."""
        return float(np.linalg.norm(w.reshape(len(w), -1), axis=1).sum())

    def prox(self, w: np.ndarray, step: float | np.ndarray) -> np.ndarray:
        """``argmin step value + ||. - w||^2/2``; a step may be (k,)."""
        rows = w.reshape(len(w), -1)
        return _shrunk(rows, np.linalg.norm(rows, axis=1), step).reshape(w.shape)

    def dual_norm(self, correlation: np.ndarray) -> float:
        """The largest norm of a column's correlations."""
        return float(np.linalg.norm(correlation.reshape(len(correlation), -1), axis=1).max())

    def units(self, norms: np.ndarray) -> np.ndarray:
        """The norms of the columns (k,), each by itself."""
        return norms


class SLOPE(Shown):
    """``sum_j weights_j |w|_(j)``, sizes from the largest down: sorted l1 (Bogdan et al. 2015).

    Of several targets each by itself.

    Parameters
    ----------
    weights : array-like of shape (n_features,)
        Falling, not negative, the first above zero. All equal is the lasso; for the
        Benjamini-Hochberg sequence ``norm.ppf(1 - q * np.arange(1, k + 1) / (2 * k))``.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_lasso import AsyncLassoRegressor
    >>> from dask_lasso.penalties import SLOPE
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> penalty = SLOPE([2.0, 1.5, 1.0, 0.5])
    >>> model = AsyncLassoRegressor(0.2, penalty=penalty).fit(X, 3 * X[:, 0])
    >>> [bool(c) for c in model.coef_]
    [True, False, False, False]
    """

    def __init__(self, weights: ArrayLike) -> None:
        self.weights = weights
        self._weights = np.asarray(weights, dtype=np.float64)
        falls = self._weights.ndim == 1 and (np.diff(self._weights) <= 0).all()
        if not (falls and np.isfinite(self._weights).all() and self._weights[:1].sum() > 0):
            raise ValueError(
                f"weights must be numbers that fall, from above zero, got {weights!r}."
            )
        if self._weights[-1] < 0:
            raise ValueError(f"weights must not be negative, got {weights!r}.")

    def of(self, columns: np.ndarray) -> SLOPE:
        """The penalty of some columns, while the others are zero."""
        return SLOPE(self._weights[: len(columns)])

    def _rows(self, w):
        if len(w) != len(self._weights):
            raise ValueError(
                f"SLOPE has {len(self._weights)} weights, and X has {len(w)} features: pass one"
                " weight per feature."
            )
        return w.reshape(len(w), -1)

    def value(self, w: np.ndarray) -> float:
        """The penalty of coefficients (k,) or (k, m)."""
        sizes = -np.sort(-np.abs(self._rows(w)), axis=0)
        return float((self._weights @ sizes).sum())

    def prox(self, w: np.ndarray, step: float) -> np.ndarray:
        """``argmin step value + ||. - w||^2/2``: isotonic regression of the sorted sizes."""
        found = np.zeros_like(w, dtype=np.float64)
        columns = self._rows(found)
        for into, column in zip(columns.T, self._rows(w).T, strict=True):
            order = np.argsort(-np.abs(column), kind="stable")
            sizes = np.abs(column)[order] - step * self._weights
            into[order] = np.maximum(isotonic_regression(sizes, increasing=False), 0.0)
            into *= np.sign(column)
        return found

    def dual_norm(self, correlation: np.ndarray) -> float:
        """The largest ratio of sums of sizes to sums of weights, from the largest down."""
        sizes = -np.sort(-np.abs(self._rows(correlation)), axis=0)
        sums = np.cumsum(self._weights)[:, np.newaxis]
        return float((np.cumsum(sizes, axis=0) / sums).max())
