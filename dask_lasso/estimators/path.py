"""Regularization paths: the solution at every alpha of a grid, from the same moments."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import validate_params

from .._warn import warn
from ..places.waiting import TimeIsUp
from ..problem.losses import Loss, is_squared
from ..solvers.path import Grid, path, path_of
from .arrays import check_number, from_arrays, statistics_of
from .lasso import AsyncLassoRegressor
from .parameters import CONSTRAINTS
from .progress import opened

if TYPE_CHECKING:
    from distributed import Client


@validate_params(CONSTRAINTS, prefer_skip_nested_validation=True)
def lasso_path(
    X: Any,
    y: Any,
    *,
    eps: float = 1e-3,
    alphas: int | ArrayLike = 100,
    fit_intercept: bool = False,
    positive: bool = False,
    bounds: tuple | None = None,
    penalty_weights: ArrayLike | None = None,
    standardize: bool = False,
    loss: str | Loss = "squared",
    huber_delta: float = 1.35,
    tweedie_power: float = 1.5,
    sample_weight: Any = None,
    offset: Any = None,
    tol: float = 1e-6,
    max_iter: int = 1000,
    max_time: float | None = None,
    client: Client | None = None,
    verbose: int = 0,
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
    bounds : tuple (lower, upper), default=None
    penalty_weights : array-like of shape (n_features,), default=None
    standardize : bool, default=False
    loss : {"squared", "huber", "poisson", "gamma", "tweedie"} or object, default="squared"
        As in `AsyncLassoRegressor`, where objects need a `conjugate`. But for the squared loss
        it takes some ten passes for every ten alphas, of "huber" or with more than 10,000 columns
        about five for each, and one target.
    huber_delta, tweedie_power : float, default=1.35 and 1.5
        As in `AsyncLassoRegressor`.
    sample_weight, offset : array-like of shape (n_samples,), default=None
    tol : float, default=1e-6
        How far above the minimum an objective may be, relative to ``||y - mean(y)||^2 / n`` or the
        null deviance. Of what takes several passes no further digits are asked for; from one
        pass they are all there.
    max_iter : int, default=1000
        The most sweeps of coordinate descent over the coefficients.
    max_time : float, default=None
        Seconds, after which the path ends with the alphas that are done, from the largest down.
    client : distributed.Client, default=None
    verbose : int, default=0
        As in `AsyncLassoRegressor`, like all of the above.

    Returns
    -------
    alphas : ndarray of shape (n_alphas,)
        From the largest down; those that `max_time` allowed.
    coefs : ndarray of shape (n_features, n_alphas) or (n_targets, n_features, n_alphas)
    dual_gaps : ndarray of shape (n_alphas,) or (n_targets, n_alphas)

    Warns
    -----
    ConvergenceWarning
        If a duality gap is above `tol`, or `max_time` ended the path.

    Raises
    ------
    TimeoutError
        If there was no alpha after `max_time`.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_lasso import lasso_path
    >>> X = da.random.default_rng(0).normal(size=(1000, 5), chunks=(100, 5))
    >>> alphas, coefs, dual_gaps = lasso_path(X, 3 * X[:, 0], alphas=50)
    >>> coefs.shape
    (5, 50)
    """
    grid = Grid(check_alphas(alphas), eps)
    model = AsyncLassoRegressor(
        fit_intercept=fit_intercept,
        positive=positive,
        bounds=bounds,
        penalty_weights=penalty_weights,
        standardize=standardize,
        loss=loss,
        huber_delta=huber_delta,
        tweedie_power=tweedie_power,
        tol=tol,
        max_iter=max_iter,
        max_time=max_time,
        client=client,
        verbose=verbose,
    )
    given = model._given(X, y, sample_weight, offset)
    given = given._replace(is_counted=not is_squared(model._loss()))
    try:
        with opened(model, given, what="lasso_path", max_time=max_time) as (place, _):
            found = path(place, model._problem(), grid, model._settings(place.dtype))
            y_ndim = place.y_ndim
    except TimeIsUp as error:
        raise TimeIsUp(
            f"lasso_path was stopped by max_time={max_time} before there was any alpha: {error}."
            " Increase max_time."
        ) from None
    if found.n_missing:
        warn(
            f"lasso_path was stopped by max_time={max_time} after {len(found.alphas)} of"
            f" {len(found.alphas) + found.n_missing} alphas. Increase max_time.",
            ConvergenceWarning,
        )
    return _arrays(found, model, y_ndim)


def check_alphas(alphas: int | ArrayLike) -> int | np.ndarray:
    """The argument `alphas`: how many there are to be, or the values from the largest down."""
    if isinstance(alphas, Integral) and not isinstance(alphas, bool):
        return alphas
    bounds = dict(min_val=0.0, max_val=np.inf, include_boundaries="left")
    return np.sort(check_values("alphas", alphas, **bounds))[::-1]


def check_values(name: str, values: Any, **bounds: Any) -> np.ndarray:
    """The list of numbers `values` of the argument `name`, each of them within bounds."""
    is_list = hasattr(values, "__len__") and getattr(values, "ndim", 1) > 0
    if isinstance(values, str) or not is_list or len(values) == 0:
        raise ValueError(f"{name} is {values!r}: pass a list of at least one number.")
    for index, value in enumerate(values):
        check_number(f"{name}[{index}]", value, **bounds)
    return np.array(values, dtype=np.float64)


def path_of_fitted(
    model: Any, alphas: int | ArrayLike, eps: float, target: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Alphas, coefficients and gaps of the path of a fitted estimator's statistics."""
    statistics, y_ndim = from_arrays(statistics_of(model))
    grid = Grid(check_alphas(alphas), eps)
    l1_ratio = getattr(model, "l1_ratio_", model.l1_ratio)
    if target is not None:
        l1_ratio = np.broadcast_to(l1_ratio, statistics.n_targets)[target]
        statistics, y_ndim = statistics.target(target), 1
    # Without a penalty, as of alpha=0, there would be no grid.
    penalty = model._penalty_at(1.0, l1_ratio)
    problem = model._problem()._replace(penalty=penalty)
    found = path_of(statistics, problem, grid, model.max_iter)
    return _arrays(found, model, y_ndim)


def _arrays(found, model, y_ndim):
    alphas, coefs, gaps, null_loss, _ = found
    _warn_of_gaps(gaps, model, null_loss[:, np.newaxis])
    return (alphas, coefs[0], gaps[0]) if y_ndim == 1 else (alphas, coefs, gaps)


def _warn_of_gaps(gaps, model, null_loss):
    above = np.count_nonzero(gaps > model.tol * null_loss)
    if above:
        warn(
            f"Objective did not converge for {above} of the coefficients of the path, within"
            f" max_iter={model.max_iter}: their duality gaps are above {model.tol} of the loss"
            " without coefficients. Increase max_iter, or scale the features.",
            ConvergenceWarning,
        )
