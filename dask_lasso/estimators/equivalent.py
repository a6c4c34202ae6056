"""`equivalent_rows`: a few rows that stand for all rows of a fit, for any squared loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

from ..problem.linear import unit_scale
from ..rows.statistics import Statistics
from .arrays import from_arrays, statistics_of

_EPS = np.finfo(np.float64).eps


class EquivalentRows(NamedTuple):
    """What `equivalent_rows` returns.

    Attributes
    ----------
    X : ndarray of shape (n, n_features)
    y : ndarray of shape (n,) or (n, n_targets)
    sample_weight : ndarray of shape (n,)
        The rows that each row stands for; equal within a source.
    groups : ndarray of int of shape (n,)
        The source of each row, counted from zero.
    """

    X: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray
    groups: np.ndarray


def equivalent_rows(*sources: Any) -> EquivalentRows:
    """At most n_features + 2 rows that have the same squared loss as all rows of a fit.

    For all coefficients w and intercepts b the mean of ``(y - X w - b)^2`` over these rows is
    that over the rows of the fit, and with `sample_weight` the sum is too. So every estimator in
    memory that sees rows by their squared errors alone fits a cluster's data: the lassos and
    the orthogonal matching pursuit of scikit-learn as they are, `Ridge` and `BayesianRidge`,
    which count rows, with ``sample_weight``. What looks at single rows (robust losses, folds of
    rows, bootstraps) does not.

    Parameters
    ----------
    *sources : fitted estimators, or mappings of ndarray
        Fits that have `statistics_`, or the statistics. Of several, the rows of each are rows
        of their own; where a source is a fold, ``PredefinedSplit(groups)`` scores exactly,
        given `sample_weight`.

    Returns
    -------
    EquivalentRows
        ``X, y, sample_weight, groups``.

    Notes
    -----
    The rows are a Cholesky factor of the centred moments, turned so that its columns sum to zero
    (Helmert's matrix), plus the means. Columns whose mean is many standard deviations from
    zero lose that many digits, as rows in float64 do.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_lasso import AsyncLassoRegressor, equivalent_rows
    >>> from sklearn.linear_model import OrthogonalMatchingPursuit
    >>> X = da.random.default_rng(0).normal(size=(100_000, 5), chunks=(10_000, 5))
    >>> model = AsyncLassoRegressor(0.1).fit(X, 3 * X[:, 0] - 2 * X[:, 1])
    >>> rows = equivalent_rows(model)
    >>> rows.X.shape
    (7, 5)
    >>> OrthogonalMatchingPursuit(n_nonzero_coefs=2).fit(rows.X, rows.y).coef_.round(6) + 0.0
    array([ 3., -2.,  0.,  0.,  0.])
    """
    if not sources:
        raise ValueError("equivalent_rows needs a fitted estimator, or its statistics_.")
    X, y, weights, shapes, y_ndim = [], [], [], set(), 1
    for source in sources:
        is_fit = not isinstance(source, Mapping)
        arrays = statistics_of(source, argument="sources") if is_fit else source
        statistics, y_ndim = from_arrays(arrays)
        if statistics.weight == 0:
            raise ValueError("The statistics are of no rows, or of weight zero.")
        shapes.add((statistics.n_features, statistics.n_targets))
        if len(shapes) > 1:
            raise ValueError(
                f"The sources are of different numbers of features and targets: {sorted(shapes)}."
            )
        of_x, of_y = _rows_of(statistics)
        X.append(of_x)
        y.append(of_y)
        weights.append(np.full(len(of_x), statistics.weight / len(of_x)))
    groups = np.repeat(np.arange(len(X)), [len(part) for part in X])
    targets = np.vstack(y)
    y_all = targets[:, 0] if y_ndim == 1 else targets
    return EquivalentRows(np.vstack(X), y_all, np.concatenate(weights), groups)


def _rows_of(statistics: Statistics) -> tuple[np.ndarray, np.ndarray]:
    """X and y of the rows that stand for statistics."""
    moments = statistics.moments(fit_intercept=True)
    scale = unit_scale(np.diagonal(moments.gram))
    unit, with_y = moments.gram * np.outer(scale, scale), moments.xy * scale[:, np.newaxis]
    factor, info = linalg.lapack.dpotrf(unit, lower=False, clean=True)
    if not info and np.diagonal(factor).min() ** 2 > 1e-10:
        of_y = linalg.solve_triangular(factor, with_y, trans="T")
    else:  # columns that are combinations of others need no rows
        values, vectors = linalg.eigh(unit)
        kept = values > len(values) * _EPS * max(values[-1], 0.0)
        roots, vectors = np.sqrt(values[kept]), vectors[:, kept]
        factor, of_y = roots[:, np.newaxis] * vectors.T, (vectors.T @ with_y) / roots[:, np.newaxis]
    rest = np.sqrt(np.maximum(moments.yy - (of_y**2).sum(axis=0), 0.0))
    of_x = np.vstack([factor / scale, np.zeros((1, len(scale)))])
    of_y = np.vstack([of_y, rest])
    n = len(of_x) + 1
    turn = linalg.helmert(n).T * np.sqrt(n / statistics.weight)
    return turn @ of_x + statistics.x_mean, turn @ of_y + statistics.y_mean
