"""`AsyncLogisticRegression`: two classes, by the odds of the second; more, by the softmax."""

from __future__ import annotations

from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import Interval, StrOptions

from ..engines.record import Observer
from ..engines.schedules import Engine
from ..solvers import admm, newton
from ..solvers.fit import Fit
from .callbacks import with_callbacks
from .classifier import LogisticBase
from .elastic_net import CONSTRAINTS

if TYPE_CHECKING:
    from distributed import Client


class AsyncLogisticRegression(LogisticBase):
    """Logistic regression with an l1 penalty, of data larger than one machine's memory.

    Minimises over the coefficients w and the intercept b, with y_i 1 for the second class
    and 0 for the first::

        1 / (sum_i s_i) * sum_i s_i (log(1 + exp(x_i w + b)) - y_i (x_i w + b))
            + alpha * l1_ratio * ||w||_1 + alpha * (1 - l1_ratio) / 2 * ||w||^2

    which is `sklearn.linear_model.LogisticRegression` with the same `l1_ratio` and
    ``C = 1 / (n * alpha)``. Of K > 2 classes w is of shape (n_features, K), b of (K,), and the
    loss of a row of class y is ``log(sum_c exp(x_i w_c + b_c)) - (x_i w_y + b_y)``. By Newton's
    method on weighted statistics: a handful of passes over the rows (`n_passes_`), the last of
    which measures the duality gap.

    Parameters
    ----------
    alpha : float, default=1e-4
        Weight of the penalty; 0 is none.

    l1_ratio : float, default=1.0
        Share of the l1 term in the penalty.

    class_weight : dict or "balanced", default=None
        What the weights of the rows of each class are multiplied by; as in scikit-learn.

    engine, fit_intercept, positive, bounds, penalty_weights, standardize, tol, \
            max_iter, max_time, rho, over_relaxation, n_blocks, max_staleness, polish, \
            warm_start, client, random_state, verbose
        As in `AsyncLassoRegressor`. With ``polish=False`` consensus ADMM on the raw rows, by
        the engine; of two classes.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of any kind, sorted.

    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Of several classes, a multiple of a column that costs nothing is in none of them: at least
        one class has a coefficient of zero, if there is no ridge term.

    intercept_ : ndarray of shape (1,) or (n_classes,)
        Of several classes they sum to zero.

    dual_gap_ : float
        In units of the log-likelihood of a row.

    certificate_, n_iter_, n_passes_, n_samples_seen_, history_, staleness_, n_features_in_, \
            feature_names_in_
        As in `AsyncLassoRegressor`.

    See Also
    --------
    sklearn.linear_model.LogisticRegression : The same problem on data in memory.

    References
    ----------
    Friedman, Hastie & Tibshirani (2010), "Regularization paths for generalized linear models
    via coordinate descent". Lee, Sun & Saunders (2014), "Proximal Newton-type methods for
    minimizing composite functions".

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_lasso import AsyncLogisticRegression
    >>> X = da.random.default_rng(0).normal(size=(1000, 5), chunks=(100, 5))
    >>> model = AsyncLogisticRegression(alpha=0.01).fit(X, X[:, 0] - X[:, 1] > 0.5)
    >>> model.classes_, [bool(c) for c in model.coef_[0]]
    (array([False,  True]), [True, True, False, False, False])
    """

    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in CONSTRAINTS.items()
            if name not in ("loss", "huber_delta", "tweedie_power", "local_solver")
        },
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        alpha: float = 1e-4,
        *,
        l1_ratio: float = 1.0,
        class_weight: dict | str | None = None,
        engine: str | Engine = "batched",
        fit_intercept: bool = True,
        positive: bool = False,
        bounds: tuple | None = None,
        penalty_weights: ArrayLike | None = None,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 1000,
        max_time: float | None = None,
        rho: float | str = "auto",
        over_relaxation: float = 1.6,
        n_blocks: int | str = "auto",
        max_staleness: int | None = None,
        polish: bool = True,
        warm_start: bool = False,
        client: Client | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.class_weight = class_weight
        self.engine = engine
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.bounds = bounds
        self.penalty_weights = penalty_weights
        self.standardize = standardize
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

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, offset: Any = None) -> Self:
        """Fit the model in a handful of passes over the rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, dask Array, dask DataFrame} of shape \
                (n_samples, n_features)
        y : {array-like, dask Array, dask Series} of shape (n_samples,)
            Labels of any kind. Which they are is read first, of y alone.
        sample_weight : float or array-like of shape (n_samples,), default=None
        offset : array-like of shape (n_samples,), default=None
            What is added to the log-odds of each row, of two classes.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            For parameters or data that cannot be used; what the estimator had from an
            earlier fit is kept.
        TimeoutError
            If there was nothing to estimate from after `max_time`.
        RuntimeError
            If the cluster went away, or cancelled what the fit needs.
        """
        with self._all_or_nothing():
            self._validate_params()
            start = self._start()
            given = self._given(X, y, sample_weight, offset)
            self._fit(given, partial(self._solve, start))
        return self

    def _start(self):
        """Coefficients to start from."""
        return self.coef_.T if self.warm_start and hasattr(self, "coef_") else None

    def _solve(self, start, place, observe: Observer) -> Fit:
        """Newton, or consensus ADMM on raw rows."""
        problem = self._problem()
        if start is not None and len(start) != place.n_features:
            raise ValueError(
                f"warm_start=True, but the previous fit had {len(start)} features and X has"
                f" {place.n_features}: use a new estimator or warm_start=False."
            )
        if start is not None and len(start.T) not in (1, len(self.classes_)):
            start = None  # of other classes
        settings = self._settings(
            place.dtype,
            max_staleness=self.max_staleness,
            rho=self.rho,
            over_relaxation=self.over_relaxation,
            coef_init=start,
        )
        if self.polish:
            return newton.fit(place, problem, settings, observe)
        return admm.fit(place, problem, settings, observe, by_rows=True)
