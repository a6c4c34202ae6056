"""`AsyncLassoCV` and `AsyncElasticNetCV`, which choose their penalty."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

from numpy.typing import ArrayLike

from .selection import SelectionBase


@dataclass(eq=False, repr=False)
class AsyncLassoCV(SelectionBase):
    """Lasso whose alpha is chosen by cross-validation, in one pass over the rows.

    `sklearn.linear_model.LassoCV` for data larger than one machine's memory: the same
    grid, the same errors, the same choice. The rows are read once, whatever the number of
    folds and alphas; with more columns than rows, or than 10,000, two or three times for
    every few alphas, all folds together (`n_passes_`).

    Parameters
    ----------
    eps : float, default=1e-3
        ``alpha_min / alpha_max`` of the grid.

    alphas : int or array-like, default=100
        Number of alphas on the grid, or the alphas themselves.

    cv : int, splitter or iterable of (train, test), default=None
        None is 5; an integer is as many consecutive folds of rows. A splitter is one of
        scikit-learn or `dask_ml.model_selection`; pairs may be indices or masks. With
        chunks of unknown size only consecutive folds will do, and the up to ``cv - 1``
        chunks that turn out to hold the boundary of two folds are read twice.

    scoring : str or callable, default=None
        What chooses alpha in place of the mean squared error (or deviance): a name of
        scikit-learn's, or a callable ``scorer(estimator, X, y)`` that is larger the better, of
        whose X only `predict` of the estimator makes sense. "r2" and those of the squared error
        (for another loss, of its deviance) are from the same pass. All others take one more:
        means over rows, as "accuracy" and "neg_mean_absolute_error", chunk by chunk; for the
        rest, as "roc_auc" and callables, the predictions of all held-out rows at all points
        have to fit in 2 GiB here. With `sample_weight` scores are weighted.

    rule : {"min", "1se"}, default="min"
        The alpha of the least mean error, or the largest alpha whose mean error is within
        one standard error of it (Breiman, Friedman, Olshen & Stone 1984, section 3.4.3).

    criterion : {"cv", "aic", "bic"}, default="cv"
        What chooses alpha. "aic" and "bic" are those of
        `sklearn.linear_model.LassoLarsIC`, on the grid; `cv` and `rule` do not count.

    relaxed : bool or array-like, default=False
        Also choose how far to go from the lasso to least squares on its support (Meinshausen
        2007; as glmnet's ``relax``): the share of the lasso in the mean of both, of (1, 0.75,
        0.5, 0.25, 0) for True. From the same pass; up to 10,000 columns.

    penalty : "l1" or object, default="l1"
        As in `AsyncLassoRegressor`, of the squared loss: one of `dask_lasso.penalties`, or an
        object with ``dual_norm``; not `relaxed`, and not by "aic" or "bic". Several targets that it
        penalises together have one alpha.

    one_alpha : bool, default=False
        Of several targets: one alpha for all, of the least mean error over them. Else each
        has its own, from a grid of its own.

    loss : {"squared", "huber", "poisson", "gamma", "tweedie"} or object, default="squared"
        As in `AsyncLassoRegressor`, where objects need a `conjugate`. But for the squared loss
        alpha is chosen by the mean deviance (`deviance_path_`; of "huber" twice the mean loss),
        and ten alphas of all folds take about eight passes, of "huber" or with more than 10,000
        columns about five for each; of one target, and not `relaxed`. "aic" and "bic" are of
        "poisson" alone of these, and of ``l1_ratio=1``.

    huber_delta, tweedie_power : float, default=1.35 and 1.5
        As in `AsyncLassoRegressor`.

    max_time : float, default=None
        Seconds after which alpha is chosen by the rows read so far. Splits of which no
        training or no test row has been read do not count, and are NaN in `mse_path_`; if
        that is all of them, it is an error. So it is with chunks of unknown size of which not
        all have been read, and with a `scoring` that takes a pass. With more columns than rows,
        or than 10,000, alpha is chosen among those that are done.

    engine, fit_intercept, positive, bounds, penalty_weights, standardize, tol, max_iter, \
            n_blocks, client, random_state, verbose
        As in `AsyncLassoRegressor`. Whatever the engine, alpha is chosen once, when all
        rows are in.

    Attributes
    ----------
    alpha_ : float, or ndarray of shape (n_targets,)
        The chosen alpha. Of several targets this and the attributes below have one more axis,
        the first.

    alphas_ : ndarray of shape (n_alphas,)

    coef_path_ : ndarray of shape (n_features, n_alphas)
        Coefficients on all rows at each alpha, made from `statistics_` when asked for. The
        first axis is that of the targets for penalties that join them, too.

    relaxed_ : float
        The chosen share of the lasso, where `relaxed` asks for it; `dual_gap_` is that of the
        lasso then, and `coef_` the mean.

    mse_path_ : ndarray of shape (n_alphas, n_folds)
        Mean squared error on each test set; for each share of `relaxed`, from the largest, if
        there are several.

    score_path_ : ndarray of shape (n_alphas, n_folds)
        With `scoring`, the scores in place of these.

    stability_ : ndarray of shape (n_features,)
        Share of the training sets whose lasso at `alpha_` has a coefficient for the column.

    criterion_ : ndarray of shape (n_alphas,)
        With "aic" or "bic", its values.

    noise_variance_ : float
        With "aic" or "bic", the residual variance of least squares.

    coef_, intercept_, sparse_coef_, dual_gap_, certificate_, n_iter_, n_passes_, \
            n_samples_seen_, history_, statistics_, train_score_, degrees_of_freedom_, \
            n_features_in_, feature_names_in_
        Of the fit on all rows at `alpha_`, as in `AsyncLassoRegressor`.

    Notes
    -----
    What `AsyncLassoRegressor` has and this has not:

    - `polish`, `rho`, `over_relaxation` and `max_staleness` are of ADMM, and `warm_start` is
      of a start: here every fit is the exact one from statistics, and each point of a path
      starts from the one before.
    - `local_solver`, and losses without a conjugate: they have no certificate.
    - `partial_fit`, `fit_statistics` and `merge`: new rows move the bounds of the folds, and
      `statistics_` are of all rows, not of folds. With the alpha chosen, go on with
      ``AsyncLassoRegressor(model.alpha_).fit_statistics(model.statistics_)``, whose
      coefficients are the same, and which takes new rows with `partial_fit`.

    See Also
    --------
    sklearn.linear_model.LassoCV : The same choice on data in memory.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_lasso import AsyncLassoCV
    >>> X = da.random.default_rng(0).normal(size=(1000, 5), chunks=(100, 5))
    >>> y = 3 * X[:, 0] - 2 * X[:, 1]
    >>> model = AsyncLassoCV(cv=5).fit(X, y)
    >>> model.mse_path_.shape
    (100, 5)
    """

    _: KW_ONLY
    l1_ratio: float = field(default=1.0, init=False)
    relaxed: bool | ArrayLike = False
    one_alpha: bool = False


@dataclass(eq=False, repr=False)
class AsyncElasticNetCV(SelectionBase):
    """Elastic net whose alpha and l1_ratio are chosen by cross-validation, in one pass.

    `sklearn.linear_model.ElasticNetCV` for data larger than one machine's memory.

    Parameters
    ----------
    l1_ratio : float or list of float, default=0.5
        Share of the l1 term in the penalty; of a list, the best is chosen.

    penalty : "l1" or object, default="l1"
        As in `AsyncLassoCV`, in place of the l1 term, with every `l1_ratio` above 0.

    eps, alphas, cv, scoring, rule, criterion, loss, huber_delta, tweedie_power, engine, \
            fit_intercept, positive, bounds, penalty_weights, standardize, tol, max_iter, \
            max_time, n_blocks, \
            client, random_state, verbose
        As in `AsyncLassoCV`. With `rule="1se"`, the l1_ratio is that of the least error.

    Attributes
    ----------
    alpha_, l1_ratio_ : float
        The chosen penalty.

    alphas_ : ndarray of shape (n_alphas,) or (n_l1_ratio, n_alphas)

    mse_path_ : ndarray of shape (n_alphas, n_folds) or (n_l1_ratio, n_alphas, n_folds)
        Mean squared error on each test set.

    criterion_ : ndarray of shape (n_alphas,) or (n_l1_ratio, n_alphas)
        With "aic" or "bic", its values.

    coef_path_, noise_variance_, stability_, coef_, intercept_, sparse_coef_, dual_gap_, \
            certificate_, n_iter_, n_passes_, n_samples_seen_, history_, statistics_, \
            train_score_, degrees_of_freedom_, n_features_in_, feature_names_in_
        As in `AsyncLassoCV`, and so is what there is not; to go on with new rows, use
        `AsyncElasticNetRegressor`.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_lasso import AsyncElasticNetCV
    >>> X = da.random.default_rng(0).normal(size=(1000, 5), chunks=(100, 5))
    >>> model = AsyncElasticNetCV(l1_ratio=[0.5, 1.0], cv=5).fit(X, 3 * X[:, 0])
    >>> model.mse_path_.shape
    (2, 100, 5)
    """
