"""`AsyncElasticNetRegressor`: the elastic net, and how a fit of given alpha is solved."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.base import MultiOutputMixin
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from .._warn import warn
from ..engines.record import Observer
from ..engines.schedules import ENGINES
from ..solvers import admm, exact, working_set
from ..solvers.fit import Fit, Problem
from ..solvers.width import check_width, is_wide
from .base import LassoBase
from .from_statistics import StatisticsMixin

CONSTRAINTS = {
    "alpha": [Interval(Real, 0, None, closed="left")],
    "engine": [StrOptions(set(ENGINES)), HasMethods("run")],
    "fit_intercept": ["boolean"],
    "positive": ["boolean"],
    "penalty_weights": ["array-like", None],
    "tol": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "max_time": [Interval(Real, 0, None, closed="neither"), None],
    "rho": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
    "over_relaxation": [Interval(Real, 0, 2, closed="neither")],
    "n_blocks": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
    "max_staleness": [Interval(Integral, 1, None, closed="left"), None],
    "polish": ["boolean"],
    "warm_start": ["boolean"],
    "client": "no_validation",  # checked where it is used; importing it costs
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


class AsyncElasticNetRegressor(StatisticsMixin, MultiOutputMixin, LassoBase):
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
        **CONSTRAINTS,
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
    }

    penalty = "l1"
    loss = "squared"

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

    def _validate_params(self):
        super()._validate_params()
        if self.alpha == 0:
            warn(
                "With alpha=0, there is no penalty: this is least squares, for which"
                " LinearRegression is the better estimator (a model with no regularization).",
                UserWarning,
            )

    def _solve(self, place, observe: Observer, *, has_weights: bool) -> Fit:
        """Choose a solver by the problem and the width of the rows, and let it run."""
        problem = self._problem()
        settings = self._settings(
            place.dtype,
            max_staleness=self.max_staleness,
            rho=self.rho,
            over_relaxation=self.over_relaxation,
            coef_init=self._coef_init(place.n_targets),
        )
        if self._needs_rows(problem, place.n_targets, has_weights):
            return admm.fit(place, problem, settings, observe, by_rows=True)
        if problem.penalty.is_sparse and is_wide(place):
            by_admm = not self.polish
            return working_set.fit(place, problem, settings, observe, by_admm=by_admm)
        check_width(place)
        if self.polish and self.penalty == "l1":
            return exact.fit(place, problem, settings, observe)
        return admm.fit(place, problem, settings, observe)

    def _needs_rows(self, problem: Problem, n_targets: int, has_weights: bool) -> bool:
        """Whether blocks need their raw rows, and not statistics alone."""
        return False

    def _coef_init(self, n_targets) -> np.ndarray | None:
        if not (self.warm_start and hasattr(self, "coef_")):
            return None
        before, now = np.atleast_2d(self.coef_).shape, (n_targets, self.n_features_in_)
        for of, was, is_now in zip(("y", "X"), before, now, strict=True):
            if was != is_now:
                what = "targets" if of == "y" else "features"
                raise ValueError(
                    f"warm_start=True, but the previous fit had {was} {what} and {of} has"
                    f" {is_now}: use a new estimator or warm_start=False."
                )
        return np.atleast_2d(self.coef_).T.astype(np.float64)
