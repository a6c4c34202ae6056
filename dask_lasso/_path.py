"""Regularization paths: the solution at every alpha of a grid, from the same moments."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from . import _cells
from ._estimator import AsyncLassoRegressor
from ._incremental import from_arrays
from ._input import open_rows
from ._wide import MAX_GRAM
from .problem.gram import solve_path
from .problem.grid import alpha_grid


def lasso_path(
    X,
    y,
    *,
    eps: float = 1e-3,
    alphas=100,
    fit_intercept: bool = False,
    positive: bool = False,
    penalty_weights=None,
    sample_weight=None,
    max_iter: int = 1000,
    client=None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients of the lasso at every alpha of a grid, in one pass over the rows.

    With more columns than rows, or than 10,000, it is a few passes for every few alphas.

    `sklearn.linear_model.lasso_path` for data larger than one machine's memory. As there,
    the columns are not centred unless `fit_intercept` asks for it.

    Parameters
    ----------
    X : array-like, sparse matrix, dask Array or DataFrame of shape (n_samples, n_features)
    y : array-like or dask collection of shape (n_samples,) or (n_samples, n_targets)
        Each target is a lasso of its own; they share the grid.
    eps : float, default=1e-3
        ``alpha_min / alpha_max`` of the grid.
    alphas : int or array-like, default=100
        Number of alphas on the grid, or the alphas themselves.
    fit_intercept : bool, default=False
    positive : bool, default=False
    penalty_weights : array-like of shape (n_features,), default=None
    sample_weight : array-like of shape (n_samples,), default=None
    max_iter : int, default=1000
        The most sweeps of coordinate descent over the coefficients.
    client : distributed.Client, default=None
        As in `AsyncLassoRegressor`, like all of the above.

    Returns
    -------
    alphas : ndarray of shape (n_alphas,)
        From the largest down.
    coefs : ndarray of shape (n_features, n_alphas) or (n_targets, n_features, n_alphas)
    dual_gaps : ndarray of shape (n_alphas,) or (n_targets, n_alphas)

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_lasso import lasso_path
    >>> X = da.random.default_rng(0).normal(size=(1000, 5), chunks=(100, 5))
    >>> alphas, coefs, dual_gaps = lasso_path(X, 3 * X[:, 0], alphas=50)
    >>> coefs.shape
    (5, 50)
    """
    model = AsyncLassoRegressor(
        alpha=1.0,  # of no consequence: the statistics are what is wanted
        fit_intercept=fit_intercept,
        positive=positive,
        penalty_weights=penalty_weights,
        max_iter=max_iter,
        client=client,
    )
    if not isinstance(alphas, Integral):
        alphas = np.sort(np.asarray(alphas, dtype=np.float64))[::-1]
        if alphas.ndim != 1 or not (alphas >= 0).all():
            raise ValueError("alphas must be a number of alphas or a list of values >= 0.")
    if np.ndim(X) == 2 and X.shape[1] > MAX_GRAM:
        found = _wide_path_of(model, X, y, sample_weight, alphas, eps)
        if found is not None:
            return found
    return path_of(model.fit(X, y, sample_weight), alphas, eps)


def _wide_path_of(model, X, y, sample_weight, alphas, eps):
    """The path through working sets; None where the Gram of all columns does it."""
    from ._wide_path import WidePath, is_wide_path

    model._validate_params()
    with open_rows(
        model, X, y, sample_weight, client=model.client, n_blocks=model.n_blocks
    ) as place:
        penalty = model._penalty()
        if not is_wide_path(place) or penalty.has_free or not np.all(np.asarray(alphas) > 0):
            return None
        if place.n_targets > 1:
            raise ValueError(
                f"y has {place.n_targets} targets and X {place.n_features} columns: take a path of"
                " so many columns for each target by itself."
            )
        path = WidePath(
            place,
            _cells.one_cell(),
            penalty,
            fit_intercept=model.fit_intercept,
            max_iter=model.max_iter,
        )
        if isinstance(alphas, Integral):
            alphas = path.grid(penalty, eps, alphas)
        found = path.run(alphas, penalty)
        coefs, gaps = found.coefs.toarray(), found.gaps[0]
        if place.y_ndim == 2:
            coefs, gaps = coefs[np.newaxis], gaps[np.newaxis]
    return alphas, coefs, gaps


def path_of(model, alphas, eps):
    """Alphas, coefficients and gaps of the path of a fitted estimator's statistics."""
    statistics, y_ndim = from_arrays(model.statistics_)
    problem, penalty = statistics.moments(model.fit_intercept), model._penalty()
    if isinstance(alphas, Integral):
        alphas = alpha_grid(problem, penalty, eps=eps, n_alphas=alphas)
    coefs, gaps = solve_path(problem, penalty, alphas, max_iter=model.max_iter)
    return (alphas, coefs[0], gaps[0]) if y_ndim == 1 else (alphas, coefs, gaps)
