"""`AsyncLassoRegressor`: parameters in, fitted attributes out."""

from __future__ import annotations

import copy
import warnings
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from . import _solve
from ._admm import Consensus
from ._callbacks import Callbacks, CallbackSupport, with_callbacks
from ._engines import ENGINES, Run
from ._exact import Exact
from ._input import features, is_dask, open_rows
from ._score import r2_score


class AsyncLassoRegressor(CallbackSupport, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Lasso for data larger than one machine's memory.

    Minimises over the coefficients w and the intercept b::

        1 / (2 * sum_i s_i) * sum_i s_i (y_i - x_i w - b)^2  +  alpha * ||w||_1

    which is `sklearn.linear_model.Lasso` with the same `alpha`; s_i are sample weights, 1
    by default. The data is read once, chunk by chunk. What is kept of a chunk are its
    sufficient statistics; the coefficients do not depend on the engine, the chunks, the
    cluster or the order in which results arrive.

    Parameters
    ----------
    alpha : float, default=1.0
        Weight of the l1 penalty, as in `sklearn.linear_model.Lasso`. 0 is ordinary least
        squares.

    engine : {"batched", "async", "sync"} or object, default="batched"
        When the running estimate is renewed: with all results that have arrived, with
        each single one, or with one of every block. An object with a method
        ``run(run)`` is used as it is; see `dask_lasso.Engine`.

    fit_intercept : bool, default=True

    positive : bool, default=False
        Constrain the coefficients to be non-negative.

    tol : float, default=1e-6
        A fit has converged when ``dual_gap_ <= tol * ||y - mean(y)||^2 / n`` (about zero
        instead of the mean without an intercept).

    max_iter : int, default=1000
        With `polish`, the most sweeps of coordinate descent over the coefficients; without,
        the most sweeps over the blocks.

    max_time : float, default=None
        Seconds after which a fit ends with what it has: with `polish` the exact lasso of
        the rows seen so far. At least one block is always waited for.

    rho : float or "auto", default="auto"
        Penalty parameter of ADMM, in units of the mean column variance. "auto" starts at
        ``1 / n_blocks`` and balances the residuals in the first sweeps. Used with
        ``polish=False``.

    over_relaxation : float, default=1.6
        Over-relaxation of ADMM, in (0, 2). Used with ``polish=False``.

    n_blocks : int or "auto", default="auto"
        Blocks that chunks are merged into; "auto" is a handful per thread.

    max_staleness : int, default=None
        At most this many updates pass between two of the same block; the others wait if
        need be. Used with ``polish=False``.

    polish : bool, default=True
        Finish with the exact solution from the merged statistics. False is pure consensus
        ADMM, ended by the duality gap.

    warm_start : bool, default=False
        Start from the coefficients of the previous fit.

    client : distributed.Client, default=None
        Where dask input is fitted. None is the active Client, or else one in this process
        that lives as long as the fit. In-memory input is always fitted in this process.

    random_state : int, RandomState instance or None, default=None
        Given to the engine. The built-in engines draw nothing at random.

    verbose : int, default=0
        1 prints a line for each certificate.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Float32 for float32 data, else float64.

    intercept_ : float or ndarray of shape (n_targets,)

    sparse_coef_ : sparse of shape (1, n_features) or (n_targets, n_features)

    dual_gap_ : float or ndarray of shape (n_targets,)
        Duality gap at `coef_`, measured: the objective is at most this far above its
        minimum.

    n_iter_ : int
        Sweeps: block updates over blocks, at least 1.

    n_samples_seen_ : int
        Rows that the coefficients are from.

    history_ : dict of ndarray
        Columns of equal length, a row per estimate: ``time`` in seconds since fit began,
        ``n_updates``, ``samples_seen``, ``objective`` (on the rows seen, summed over
        targets), ``primal_residual``, ``dual_residual``, ``rho``; NaN where there is none.

    n_features_in_ : int

    feature_names_in_ : ndarray of shape (n_features_in_,)
        When all columns of X have string names.

    See Also
    --------
    sklearn.linear_model.Lasso : The same problem on data in memory.

    References
    ----------
    Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance":
    merging of statistics. Boyd, Parikh, Chu, Peleato & Eckstein (2011), "Distributed
    optimization and statistical learning via ADMM", sections 3.4 and 7.1. Peng, Xu, Yan &
    Yin (2016), "ARock", and Wu, Liu, Magnusson & Johansson (2023), "Delay-agnostic
    asynchronous coordinate update algorithm": the asynchronous engines.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_lasso import AsyncLassoRegressor
    >>> X = da.random.default_rng(0).normal(size=(1000, 5), chunks=(100, 5))
    >>> y = 3 * X[:, 0] - 2 * X[:, 1]
    >>> model = AsyncLassoRegressor(alpha=0.1).fit(X, y)
    >>> model.coef_.round(1)
    array([ 2.9, -1.9,  0. , -0. , -0. ])
    """

    _parameter_constraints: dict = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "engine": [StrOptions(set(ENGINES)), HasMethods("run")],
        "fit_intercept": ["boolean"],
        "positive": ["boolean"],
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

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        engine="batched",
        fit_intercept: bool = True,
        positive: bool = False,
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
        self.engine = engine
        self.fit_intercept = fit_intercept
        self.positive = positive
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
    def fit(self, X, y, sample_weight=None) -> AsyncLassoRegressor:
        """Fit the model in one pass over the rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, dask Array, dask DataFrame} of shape \
                (n_samples, n_features)
            Any chunking; chunks may be NumPy or SciPy sparse, and of unknown size.
        y : {array-like, dask Array, dask Series, dask DataFrame} of shape (n_samples,) or \
                (n_samples, n_targets)
            Each target is a lasso of its own.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Non-negative weights; only their ratios matter. A float is no weights.

        Returns
        -------
        self : AsyncLassoRegressor

        Raises
        ------
        ValueError
            For parameters or data that cannot be used; what the estimator had from an
            earlier fit is kept.

        Warns
        -----
        ConvergenceWarning
            If the duality gap is above `tol`, or `max_iter` or `max_time` ended the fit.
        """
        fitted = {name: value for name, value in vars(self).items() if _is_fitted_name(name)}
        try:
            self._validate_params()
            if self.alpha == 0:
                warnings.warn(
                    "With alpha=0, there is no penalty: this is least squares, for which"
                    " LinearRegression is the better estimator (a model with no regularization).",
                    UserWarning,
                    stacklevel=3,
                )
            self._fit(X, y, sample_weight)
        except BaseException:
            for name in list(vars(self)):
                if _is_fitted_name(name):
                    delattr(self, name)
            vars(self).update(fitted)
            raise
        return self

    def _fit(self, X, y, sample_weight):
        previous = getattr(self, "coef_", None) if self.warm_start else None
        callbacks = Callbacks(self, X, y, sample_weight)
        with open_rows(
            self, X, y, sample_weight, client=self.client, n_blocks=self.n_blocks
        ) as place:

            def attributes():
                return self._attributes(model, place)

            def on_update(row):
                if self.verbose:
                    _print_certificate(row, model)
                return callbacks.on_update(attributes)

            run = Run(
                place,
                max_iter=self.max_iter,
                max_time=self.max_time,
                max_staleness=self.max_staleness,
                random_state=check_random_state(self.random_state),
                on_update=on_update,
            )
            model = self._make_model(run.n_blocks, previous)
            run.start(model)
            engine = ENGINES[self.engine]() if isinstance(self.engine, str) else self.engine
            engine.run(run)
            run.finish()
        vars(self).update(attributes())
        self.n_iter_ = max(1, run.n_updates // run.n_blocks)
        self.n_samples_seen_ = model.samples_seen
        self.history_ = run.history
        self._warn_unless_converged(model, run)
        callbacks.on_end(attributes)

    def _make_model(self, n_blocks, coef_previous):
        coef_init = None
        if coef_previous is not None:
            coef_init = np.atleast_2d(coef_previous).T.astype(np.float64)
            if len(coef_init) != self.n_features_in_:
                raise ValueError(
                    f"warm_start=True, but the previous fit had {len(coef_init)} features and X"
                    f" has {self.n_features_in_}: use a new estimator or warm_start=False."
                )
        shared = dict(
            alpha=self.alpha,
            positive=self.positive,
            fit_intercept=self.fit_intercept,
            tol=self.tol,
            n_blocks=n_blocks,
            coef_init=coef_init,
        )
        if self.polish:
            return Exact(max_iter=self.max_iter, **shared)
        return Consensus(rho=self.rho, over_relaxation=self.over_relaxation, **shared)

    def _attributes(self, model, place):
        """The fitted attributes that the model's current estimate amounts to."""
        coef = model.coef
        intercept = _solve.intercept(model.statistics, coef, self.fit_intercept)
        gap = model.gap
        if coef.shape[1] == 1:
            coef, gap = coef[:, 0], gap[0]
        if not self.fit_intercept:
            intercept = 0.0
        elif place.y_ndim == 1:
            intercept = intercept[0]
        return {
            "coef_": coef.T.astype(place.dtype),
            "intercept_": intercept,
            "dual_gap_": gap,
        }

    def _warn_unless_converged(self, model, run):
        allowed = self.tol * model.null_loss
        worst = np.max(np.asarray(model.gap) - allowed)
        if run.stopped_by == "max_time":
            left = run.n_blocks - model.n_reported
            warnings.warn(
                f"fit was stopped by max_time={self.max_time} after {model.samples_seen} rows,"
                f" with {left} of {run.n_blocks} blocks not read. Increase max_time for the lasso"
                " of all rows.",
                ConvergenceWarning,
                stacklevel=6,
            )
        elif worst > 0 and run.stopped_by != "callback":
            target = int(np.argmax(np.asarray(model.gap) - allowed))
            warnings.warn(
                "Objective did not converge: fit was stopped by"
                f" max_iter={self.max_iter}. Duality gap: {np.max(model.gap):.3e}, tolerance:"
                f" {np.atleast_1d(allowed)[target]:.3e}. Increase max_iter or tol, or scale the"
                " features.",
                ConvergenceWarning,
                stacklevel=6,
            )

    def predict(self, X):
        """Predict the targets of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, dask Array, dask DataFrame} of shape \
                (n_samples, n_features)

        Returns
        -------
        ndarray or dask Array of shape (n_samples,) or (n_samples, n_targets)
            Lazy for a dask collection.
        """
        check_is_fitted(self)
        if is_dask(X):
            return _predict_dask(features(self, X, reset=False), self.coef_, self.intercept_)
        X = validate_data(
            self, X, reset=False, accept_sparse=["csr", "csc"], dtype=[np.float64, np.float32]
        )
        return _predict_rows(X, self.coef_, self.intercept_)

    def score(self, X, y, sample_weight=None) -> float:
        """Coefficient of determination R^2 of the predictions.

        Parameters
        ----------
        X, y, sample_weight : as for `fit`
            Dask collections are read once.

        Returns
        -------
        float
            Averaged uniformly over the targets.
        """
        if not is_dask(X, y, sample_weight):
            return super().score(X, y, sample_weight)
        check_is_fitted(self)
        return r2_score(self, X, y, sample_weight)

    @property
    def sparse_coef_(self):
        """Sparse representation of `coef_`."""
        return sparse.csr_array(np.atleast_2d(self.coef_))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __sklearn_clone__(self):
        # A Client can be neither copied nor pickled: a clone shares it, a pickle lacks it.
        bare = copy.copy(self)
        new = super(AsyncLassoRegressor, bare).__sklearn_clone__()
        new.client = self.client
        return new

    def __getstate__(self):
        return {**super().__getstate__(), "client": None}


def _is_fitted_name(name):
    return name.endswith("_") and not name.startswith("_")


def _print_certificate(row, model):
    parts = [
        f"{row['time']:8.2f} s",
        f"{row['samples_seen']} rows",
        f"{row['n_updates']} updates",
        f"objective {row['objective']:.6g}",
        f"dual gap {np.max(model.gap):.2e}",
    ]
    print("AsyncLasso: " + ", ".join(parts))


def _predict_rows(X, coef, intercept):
    return safe_sparse_dot(X, coef.T, dense_output=True) + intercept


def _predict_dask(X, coef, intercept):
    import dask.array as da

    out = "i" if coef.ndim == 1 else "it"
    return da.blockwise(
        _predict_chunk,
        out,
        X,
        "ij",
        coef=coef,
        intercept=intercept,
        new_axes={} if coef.ndim == 1 else {"t": len(coef)},
        dtype=np.result_type(coef.dtype, np.float32),
        meta=np.empty((0,) * coef.ndim, dtype=coef.dtype),
    )


def _predict_chunk(X, coef, intercept):
    (X,) = X
    return _predict_rows(X, coef, intercept)
