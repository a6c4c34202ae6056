"""Regularization paths: the solution at every alpha of a grid, from the same moments."""

from __future__ import annotations

from numbers import Integral
from typing import NamedTuple

import numpy as np

from . import _cells, _solve
from ._estimator import AsyncLassoRegressor
from ._incremental import from_arrays
from ._input import open_rows
from ._weights import Reduction
from ._wide import MAX_GRAM


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
        weights = model._penalty_weights()
        unpenalised = weights is not None and (weights == 0).any()
        if not is_wide_path(place) or unpenalised or not np.all(np.asarray(alphas) > 0):
            return None
        if place.n_targets > 1:
            raise ValueError(
                f"y has {place.n_targets} targets and X {place.n_features} columns: take a path of"
                " so many columns for each target by itself."
            )
        path = WidePath(
            place,
            _cells.one_cell(),
            positive=model.positive,
            fit_intercept=model.fit_intercept,
            weights=weights,
            max_iter=model.max_iter,
        )
        if isinstance(alphas, Integral):
            shared = dict(l1_ratio=1.0, positive=model.positive)
            alphas = alpha_grid(path.problem, eps=eps, n_alphas=alphas, **shared)
        found = path.run(alphas, 1.0)
        coefs, gaps = found.coefs.toarray(), found.gaps[0]
        if place.y_ndim == 2:
            coefs, gaps = coefs[np.newaxis], gaps[np.newaxis]
    return alphas, coefs, gaps


def path_of(model, alphas, eps):
    """Alphas, coefficients and gaps of the path of a fitted estimator's statistics."""
    statistics, y_ndim = from_arrays(model.statistics_)
    problem = _solve.moments(statistics, model.fit_intercept)
    shared = dict(
        l1_ratio=getattr(model, "l1_ratio_", model.l1_ratio),
        positive=model.positive,
        weights=model._penalty_weights(),
    )
    if isinstance(alphas, Integral):
        alphas = alpha_grid(problem, eps=eps, n_alphas=alphas, **shared)
    coefs, gaps = solve_path(problem, alphas, max_iter=model.max_iter, **shared)
    return (alphas, coefs[0], gaps[0]) if y_ndim == 1 else (alphas, coefs, gaps)


class Path(NamedTuple):
    """Coefficients (m, k, n_alphas) and duality gaps (m, n_alphas) along a grid of alphas."""

    coefs: np.ndarray
    gaps: np.ndarray


def alpha_grid(
    problem: _solve.Moments, *, l1_ratio, positive, weights=None, eps, n_alphas
) -> np.ndarray:
    """Geometric grid down from the smallest alpha at which every coefficient is zero."""
    if l1_ratio == 0:
        raise ValueError(
            "Automatic alpha grid generation is not supported for l1_ratio=0: with no l1 term"
            " no alpha makes all coefficients zero. Pass a grid of your own as alphas."
        )
    if weights is not None:
        problem = Reduction(problem, weights).problem
    largest = problem.xy.max(initial=0) if positive else np.abs(problem.xy).max(initial=0)
    alpha_max = largest / (problem.weight * l1_ratio)
    smallest = np.finfo(np.float64).resolution
    if alpha_max <= smallest:
        return np.full(n_alphas, smallest)
    return np.geomspace(alpha_max, alpha_max * eps, num=n_alphas)


def solve_path(
    problem: _solve.Moments,
    alphas,
    *,
    l1_ratio,
    positive,
    weights=None,
    max_iter,
    coef_init=None,
) -> Path:
    """Solve for every alpha, from the largest down.

    One call of coordinate descent brings the whole grid near, and the active set makes
    each of its points exact, as in `_solve.solve`.

    Parameters
    ----------
    coef_init : ndarray of shape (k, n_alphas), optional
        For one target, solutions that are near.
    """
    if weights is not None:
        reduction = Reduction(problem, weights)
        path = solve_path(
            reduction.problem,
            alphas,
            l1_ratio=l1_ratio,
            positive=positive,
            max_iter=max_iter,
            coef_init=None if coef_init is None else reduction.reduce(coef_init),
        )
        return path._replace(
            coefs=np.stack(
                [reduction.expand(coefs, target) for target, coefs in enumerate(path.coefs)]
            )
        )
    alphas = np.asarray(alphas, dtype=np.float64)
    k, m = problem.xy.shape
    coefs = np.zeros((m, k, len(alphas)))
    gaps = np.zeros((m, len(alphas)))
    for target in range(m):
        one = problem._replace(xy=problem.xy[:, [target]], yy=problem.yy[[target]])
        coefs[target] = _solve_grid(one, alphas, l1_ratio, positive, max_iter, coef_init)
        gaps[target] = _gaps(one, coefs[target], alphas, l1_ratio, positive)
    return Path(coefs, gaps)


def _solve_grid(problem, alphas, l1_ratio, positive, max_iter, coef_init):
    coefs = np.zeros((len(problem.gram), len(alphas)))
    inside = np.flatnonzero(alphas * l1_ratio > 0)
    inside = inside[np.argsort(-alphas[inside], kind="stable")]
    xy, yy = np.ascontiguousarray(problem.xy[:, 0]), problem.yy[0]
    if len(inside) and yy > 0 and xy.any():
        gram = np.ascontiguousarray(problem.gram)
        penalties = problem.weight * alphas[inside]
        options = l1_ratio, positive, 1e-4, max_iter
        if coef_init is None:
            starts, _ = _solve.coordinate_descent(
                gram, xy, yy, penalties, *options, np.zeros(len(xy))
            )
        else:
            starts = np.empty((len(xy), len(inside)))
            for i, column in enumerate(inside):
                near = np.ascontiguousarray(coef_init[:, column])
                found, _ = _solve.coordinate_descent(gram, xy, yy, penalties[[i]], *options, near)
                starts[:, i] = found[:, 0]
        for column, penalty, start in zip(inside, penalties, starts.T, strict=True):
            l1, l2 = penalty * l1_ratio, penalty * (1 - l1_ratio)
            exact = _solve.active_set(gram, xy, l1, l2, positive, start)
            if exact is None:
                exact = _solve.solve_target(gram, xy, yy, l1, l2, positive, max_iter, start)
            coefs[:, column] = exact
    for column in np.flatnonzero(alphas * l1_ratio == 0):
        l2 = alphas[column] * (1 - l1_ratio)
        solution = _solve.solve(problem, 0.0, l2=l2, positive=positive, max_iter=max_iter)
        coefs[:, column] = solution.coef[:, 0]
    return coefs


def _gaps(problem, coefs, alphas, l1_ratio, positive):
    """Duality gaps of a grid: to `duality_gap` its points are so many targets."""
    n = len(alphas)
    grid = problem._replace(xy=np.repeat(problem.xy, n, axis=1), yy=np.repeat(problem.yy, n))
    gaps = _solve.duality_gap(grid, coefs, alphas * l1_ratio, alphas * (1 - l1_ratio), positive)
    for column in np.flatnonzero(alphas * l1_ratio == 0):
        l2 = alphas[column] * (1 - l1_ratio)
        at = coefs[:, [column]]
        gaps[column] = _solve.duality_gap(problem, at, 0.0, l2, positive)[0]
    return gaps
