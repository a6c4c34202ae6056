"""`AsyncLassoRegressor`: the elastic net without a ridge term; other losses and penalties."""

from __future__ import annotations

from dataclasses import dataclass, field

from .elastic_net import AsyncElasticNetRegressor


@dataclass(eq=False, repr=False)
class AsyncLassoRegressor(AsyncElasticNetRegressor):
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
        Constrain the coefficients to be non-negative: `bounds` of (0, inf).

    bounds : tuple (lower, upper), default=None
        Bounds of the coefficients, ``lower <= 0 <= upper``: numbers, or arrays of shape
        (n_features,); infinite where there is none. In the user's units, whatever the
        `penalty_weights`, and for columns that are not penalised too.

    penalty_weights : array-like of shape (n_features,) or "adaptive", default=None
        What the penalty multiplies each coefficient with: ``alpha * ||penalty_weights *
        w||_1``. 0 is no penalty; None is 1 for all. "adaptive" is the adaptive lasso (Zou
        2006): ``1 / abs(w0)``, w0 least squares of the same statistics, of least norm.

    standardize : bool, default=False
        Penalise the columns in units of their standard deviations (over n, with sample
        weights; of all rows, in folds too), as glmnet and Spark do by default: `penalty_weights`
        are multiplied by these. Coefficients and `bounds` are in the user's units. From the same
        pass; other losses and ``polish=False`` take one more.

    penalty : "l1" or object, default="l1"
        What alpha multiplies in place of ``||w||_1``: one of `dask_lasso.penalties` (groups,
        one support for several targets, SLOPE; MCP and SCAD), or an object with methods
        ``value(w)`` and ``prox(w, step)``; see `dask_lasso.Penalty`. `positive`, `bounds`,
        `penalty_weights` and `standardize` are of "l1" alone, and so is `polish` with other
        losses.

    loss : {"squared", "huber", "poisson", "gamma", "tweedie"}, object or tuple (f, fprime), \
            default="squared"
        What is summed over the rows in place of ``1/2 (y_i - x_i w - b)^2``. "huber" is
        ``r^2 / 2`` for residuals r up to `huber_delta` and linear beyond. "poisson", "gamma"
        and "tweedie" are half the deviance of a mean ``exp(x_i w + b)``, which is what
        `predict` returns then, and `score` is D^2. An object with
        the methods of `dask_lasso.Loss` is any other smooth convex loss of a row; with its
        conjugate it has a duality gap. A pair of functions
        ``f(beta, X, y) -> float`` and ``fprime(beta, X, y) -> ndarray`` is a
        loss summed over the rows of a chunk; beta and y are 1-d, and
        with an intercept X has a column of ones at the end and beta one more element.

    huber_delta : float, default=1.35
        Where Huber's loss turns linear, in the units of y.

    tweedie_power : float, default=1.5
        Power of the variance function of "tweedie": 1 is "poisson", 2 is "gamma".

    local_solver : {"auto", "gram", "lbfgs"}, default="auto"
        How a block is worked on: "gram" from its sufficient statistics, for the squared
        loss; "lbfgs" from its raw rows, which stay on the workers for the fit, with
        SciPy's L-BFGS; "auto" is "gram" where the loss allows it. With "lbfgs" a block is
        a chunk unless `n_blocks` is given, `polish` has no effect, and the fit ends by
        the certificate.

    tol : float, default=1e-6
        A fit has converged when ``dual_gap_ <= tol * ||y - mean(y)||^2 / n`` (about zero
        instead of the mean without an intercept).

    max_iter : int, default=1000
        With `polish`, the most sweeps of coordinate descent over the coefficients; without,
        the most sweeps over the blocks.

    max_time : float, default=None
        Seconds after which a fit ends with what it has: with `polish` the exact lasso of
        the rows seen so far; with more columns than a Gram matrix should have, and with other
        losses, the last estimate that was certified on all rows. If there is nothing yet, it
        is an error.

    rho : float or "auto", default="auto"
        Penalty parameter of ADMM, in units of the curvature of the loss. "auto" is
        ``1 / n_blocks`` for blocks that are alike, and more where they are not. Used with
        ``polish=False``.

    over_relaxation : float, default=1.6
        Over-relaxation of ADMM, in (0, 2). Used with ``polish=False``.

    n_blocks : int or "auto", default="auto"
        Blocks that chunks are merged into; "auto" is a handful per thread.

    max_staleness : int, default=None
        At most this many updates of other blocks are taken in while a block is at work;
        the others wait if need be. The synchronous engine has no staleness. Used where
        blocks send updates.

    polish : bool, default=True
        Finish with the exact solution from the merged statistics. False is pure consensus
        ADMM, ended by the duality gap.

    warm_start : bool, default=False
        Start from the coefficients of the previous fit.

    client : distributed.Client, default=None
        Where dask input is fitted. None is the Client on which it was persisted, or else the
        active one, or else one in this process that lives as long as the fit. In-memory input
        is always fitted in this process.

    random_state : int, RandomState instance or None, default=None
        Given to the engine. The built-in engines draw nothing at random.

    verbose : int, default=0
        1 prints a line when rows have been opened, one for each certificate, and meanwhile how
        much has been read; 2 shows a bar with rows, objective and gap in a terminal or a
        notebook, if rich is installed. So does `score`.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Float32 for float32 data, else float64.

    intercept_ : float or ndarray of shape (n_targets,)

    sparse_coef_ : sparse of shape (1, n_features) or (n_targets, n_features)

    dual_gap_ : float or ndarray of shape (n_targets,)
        Duality gap at `coef_`, measured: the objective is at most this far above its
        minimum. NaN where ``certificate_ == "residuals"``.

    certificate_ : {"duality gap", "residuals", "stationarity"}
        What ended the fit. The losses "squared" and "huber", and those that know their
        conjugate, have a duality gap. For pairs of functions, for penalties without a
        ``dual_norm``, and on raw rows without a penalty (``alpha=0``), it is the primal and
        the dual residual of ADMM, of which the last are in `history_`: both at most `tol`
        relative to the size of the iterates. For MCP and SCAD, which are not convex, it is
        `stationarity_`: how far a slope is off what is stationary, at most `tol` of the
        norms of its column and y.

    staleness_ : ndarray of shape (n_blocks,)
        Per block, the most updates by which the estimate was ahead of the one that the
        block was working from; 0 with the synchronous engine.

    n_iter_ : int
        Sweeps: block updates over blocks, at least 1.

    n_passes_ : int
        Passes over the rows: 1, or more with more features than a Gram matrix should have; 2
        where columns without a penalty are combinations of others but for less than 1e-5.
        With the losses of a mean a handful, of which the last ones take no Gram matrix; the
        first estimate, from a share of the rows, does not count.

    n_samples_seen_ : int
        Rows that the coefficients are from.

    history_ : dict of ndarray
        Columns of equal length, a row per estimate: ``time`` in seconds since fit began,
        ``n_updates``, ``n_evaluations`` (of a loss and its gradient on the raw rows of a block,
        by updates), ``samples_seen``, ``objective`` (on the rows seen, summed over
        targets), ``primal_residual``, ``dual_residual``, ``rho``, ``staleness`` (updates
        taken in since the oldest task in flight was sent); NaN where there is none.

    statistics_ : dict of ndarray
        Sufficient statistics of the rows: `n_rows`, `n_weighted` (those of a weight above
        zero), `weight`, the means `x_mean` and `y_mean`, and the centred moments `sxx`, `sxy`
        and `syy`; for `fit_statistics` and ``numpy.savez(path, **model.statistics_)``. Not
        with more features than a Gram matrix should have, nor with other losses.

    train_score_ : float
        R^2 on the rows of the fit, from `statistics_`.

    degrees_of_freedom_ : float or ndarray of shape (n_targets,)
        The number of non-zero coefficients; less with a ridge term.

    n_features_in_ : int

    feature_names_in_ : ndarray of shape (n_features,)
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
    >>> model.coef_.round(1) + 0.0
    array([ 2.9, -1.9,  0. ,  0. ,  0. ])
    """

    l1_ratio: float = field(default=1.0, init=False)
