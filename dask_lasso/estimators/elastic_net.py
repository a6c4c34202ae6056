"""`AsyncElasticNetRegressor`: the regressor of `_estimator` with a ridge term."""

from __future__ import annotations

from numbers import Real

from sklearn.utils._param_validation import Interval

from .regressor import AsyncLassoRegressor


class AsyncElasticNetRegressor(AsyncLassoRegressor):
    """Elastic net for data larger than one machine's memory.

    Minimises over the coefficients w and the intercept b::

        1 / (2 * sum_i s_i) * sum_i s_i (y_i - x_i w - b)^2
            + alpha * l1_ratio * ||w||_1 + alpha * (1 - l1_ratio) / 2 * ||w||^2

    which is `sklearn.linear_model.ElasticNet` with the same `alpha` and `l1_ratio`. With
    ``l1_ratio=1`` it is `AsyncLassoRegressor`.

    Parameters
    ----------
    alpha : float, default=1.0
        Weight of the penalty.

    l1_ratio : float, default=0.5
        Share of the l1 term in the penalty; 0 is ridge regression.

    penalty_weights : array-like of shape (n_features,), default=None
        What the penalty multiplies each coefficient with, in both terms:
        ``||penalty_weights * w||``, as if the columns were divided by it. 0 is no penalty,
        and not for `positive`; None is 1 for all.

    engine, fit_intercept, positive, tol, max_iter, max_time, rho, over_relaxation, \
            n_blocks, max_staleness, polish, warm_start, client, random_state, verbose
        As in `AsyncLassoRegressor`.

    Attributes
    ----------
    coef_, intercept_, sparse_coef_, dual_gap_, n_iter_, n_samples_seen_, history_, \
            statistics_, n_features_in_, feature_names_in_
        As in `AsyncLassoRegressor`.

    See Also
    --------
    sklearn.linear_model.ElasticNet : The same problem on data in memory.

    References
    ----------
    Zou & Hastie (2005), "Regularization and variable selection via the elastic net".

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_lasso import AsyncElasticNetRegressor
    >>> X = da.random.default_rng(0).normal(size=(1000, 5), chunks=(100, 5))
    >>> model = AsyncElasticNetRegressor(alpha=0.1, l1_ratio=0.9).fit(X, 3 * X[:, 0])
    >>> [bool(c) for c in model.coef_]
    [True, False, False, False, False]
    """

    _parameter_constraints: dict = {
        **AsyncLassoRegressor._parameter_constraints,
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
    }
    for _name in ("loss", "huber_delta", "local_solver"):
        del _parameter_constraints[_name]
    del _name

    loss = "squared"
    huber_delta = 1.35
    local_solver = "auto"

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        l1_ratio: float = 0.5,
        engine="batched",
        fit_intercept: bool = True,
        positive: bool = False,
        penalty_weights=None,
        tol: float = 1e-6,
        max_iter: int = 1000,
        max_time: float | None = None,
        rho: float | str = "auto",
        over_relaxation: float = 1.6,
        n_blocks: int | str = "auto",
        max_staleness: int | None = None,
        polish: bool = True,
        warm_start: bool = False,
        client=None,
        random_state=None,
        verbose: int = 0,
    ):
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.engine = engine
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.penalty_weights = penalty_weights
        self.tol = tol
        self.max_iter = max_iter
        self.max_time = max_time
        self.rho = rho
        self.over_relaxation = over_relaxation
        self.n_blocks = n_blocks
        self.max_staleness = max_staleness
        self.polish = polish
        self.warm_start = warm_start
        self.client = client
        self.random_state = random_state
        self.verbose = verbose
