"""Choice of alpha (and l1_ratio) by cross-validation or by AIC and BIC, in one pass.

Each cell of rows reports its statistics once. A training set is a merge of cells, every
alpha a small solve, and a validation score a formula on the moments of the test set.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from numbers import Integral, Real

import numpy as np
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.model_selection import GroupKFold
from sklearn.model_selection import KFold as SklearnKFold
from sklearn.utils._param_validation import Interval, StrOptions

from . import _cells
from ._callbacks import with_callbacks
from ._engines import HISTORY
from ._estimator import AsyncLassoRegressor, LassoBase
from ._exact import Exact
from ._incremental import degrees_of_freedom
from ._input import is_dask
from ._path import GRID_CONSTRAINTS, check_alphas, check_values
from ._waiting import TimeIsUp
from ._warn import warn
from ._wide import is_wide_path
from ._wide_path import WidePath
from .problem.gram import solve, solve_path
from .problem.grid import alpha_grid
from .problem.moments import intercept
from .problem.penalties import L1

# Share of ``||y||^2``, per column, that rounding leaves where least squares fits y exactly.
_EXACT = 1e-14


class Selection(Exact):
    """The model of a fit that chooses its penalty: solved once, when all cells are in."""

    def __init__(self, *, partition, alphas, eps, l1_ratios, rule, criterion, **shared):
        super().__init__(**shared)
        self._partition = partition
        self._alphas, self._eps = alphas, eps
        self._l1_ratios = l1_ratios
        self._rule, self._criterion = rule, criterion
        self.selected = None
        self.n_unconverged = 0  # solutions on the paths whose gap is above `tol`

    def update(self, n_updates):
        """Nothing until the last cell is in: an alpha chosen early would be thrown away."""
        self.converged = self.n_reported == self._n_blocks
        return self.estimate() if self.converged else None

    def estimate(self):
        """Choose the penalty from the rows that have been reported, and solve for it."""
        cells = _cells.merge(self._waiting)
        self._waiting = [cells]
        self.statistics = _cells.union(cells, 0)
        if self.statistics is None or self.statistics.weight == 0:
            self.converged = False
            return None
        problem = self.statistics.moments(self._fit_intercept)

        def grid(penalty):
            return alpha_grid(problem, penalty, eps=self._eps, n_alphas=self._alphas)

        grids = self._grids(grid)
        if self._criterion == "cv":
            selected = self._by_cross_validation(cells, grids)
        else:
            selected = self._by_information(problem, grids)
        self.selected = selected
        self._penalty = self._of_ratio(selected["l1_ratio_"]).at(selected["alpha_"])
        return self._solve(problem)

    @property
    def samples_seen(self) -> int:
        return sum(part.n_rows for part in self._waiting)

    def _of_ratio(self, l1_ratio):
        return replace(self._penalty, l1_ratio=l1_ratio)

    def _grids(self, grid):
        """A row of alphas for each l1_ratio; ``grid(penalty)`` makes one."""
        if isinstance(self._alphas, Integral):
            return np.array([grid(self._of_ratio(l1_ratio)) for l1_ratio in self._l1_ratios])
        return np.tile(np.sort(self._alphas)[::-1], (len(self._l1_ratios), 1))

    def _solve_paths(self, problem, grids):
        allowed = self._tol * problem.null_loss[0]
        for grid, l1_ratio in zip(grids, self._l1_ratios, strict=True):
            penalty = self._of_ratio(l1_ratio)
            coefs, gaps = solve_path(problem, penalty, grid, max_iter=self._max_iter)
            self.n_unconverged += int((gaps[0] > allowed).sum())
            yield coefs[0]

    def _by_cross_validation(self, cells, grids):
        splits = self._partition.splits
        mse = np.full((*grids.shape, len(splits)), np.nan)
        for fold, split in enumerate(splits):
            train = _cells.union(cells, split.labelling, split.train)
            test = _cells.union(cells, split.labelling, split.test)
            empty = [
                which for which, rows in (("training", train), ("test", test)) if not _any(rows)
            ]
            if empty:
                why = (
                    f"The {empty[0]} set of split {fold} has no rows, or none with a positive"
                    f" weight, among the {cells.n_rows} rows read: use another cv, or a longer"
                    " max_time."
                )
                if self.n_reported == self._n_blocks:
                    raise ValueError(why)
                continue  # time is up; other splits may have what it takes
            problem = train.moments(self._fit_intercept)
            for ratio, coefs in enumerate(self._solve_paths(problem, grids)):
                intercepts = intercept(train, coefs, self._fit_intercept)
                mse[ratio, :, fold] = mean_squared_errors(test, coefs, intercepts)
        if np.isnan(mse[0, 0]).all():
            raise ValueError(why)
        return self._choose(grids, mse)

    def _choose(self, grids, mse):
        """The penalty of the least mean error; splits that are NaN do not count."""
        used = mse[..., ~np.isnan(mse[0, 0])]
        n_used = used.shape[-1]
        mean = used.mean(axis=-1)
        ratio, best = np.unravel_index(np.argmin(mean), mean.shape)
        if self._rule == "1se" and n_used > 1:
            error = used[ratio, best].std(ddof=1) / np.sqrt(n_used)
            best = int(np.argmax(mean[ratio] <= mean[ratio, best] + error))
        return {
            "alpha_": grids[ratio, best],
            "l1_ratio_": self._l1_ratios[ratio],
            "alphas_": grids,
            "mse_path_": mse,
        }

    def _by_information(self, problem, grids):
        """AIC or BIC as in `LassoLarsIC`: Zou, Hastie & Tibshirani (2007), eq. 2.16."""
        n = self.statistics.n_weighted
        noise = self._noise_variance(problem)
        factor = 2.0 if self._criterion == "aic" else np.log(n)
        values = np.empty(grids.shape)
        for ratio, coefs in enumerate(self._solve_paths(problem, grids)):
            penalty = self._of_ratio(self._l1_ratios[ratio])
            squares = problem.squared_residuals(coefs) * (n / problem.weight)
            df = [
                degrees_of_freedom(problem, coef, penalty.at(alpha))
                for coef, alpha in zip(coefs.T, grids[ratio], strict=True)
            ]
            values[ratio] = n * np.log(2 * np.pi * noise) + squares / noise + factor * np.array(df)
        ratio, best = np.unravel_index(np.argmin(values), values.shape)
        return {
            "alpha_": grids[ratio, best],
            "l1_ratio_": self._l1_ratios[ratio],
            "alphas_": grids,
            "criterion_": values,
            "noise_variance_": noise,
        }

    def _noise_variance(self, problem):
        """Residual variance of least squares, non-negative where `positive`."""
        left = self.statistics.n_weighted - len(problem.gram) - self._fit_intercept
        if left <= 0:
            raise ValueError(
                f"criterion={self._criterion!r} needs the variance of the noise, which"
                f" {self.statistics.n_weighted} rows of {len(problem.gram)} features cannot tell:"
                ' use criterion="cv".'
            )
        full = solve(problem, self._penalty.at(0.0), max_iter=self._max_iter)
        squares = problem.squared_residuals(full.coef)[0]
        noise = squares * (self.statistics.n_weighted / problem.weight) / left
        if squares <= _EXACT * len(problem.gram) * problem.yy[0]:
            raise ValueError(
                f"criterion={self._criterion!r} needs noise, and least squares fits y exactly:"
                ' use criterion="cv".'
            )
        return noise


class WideSelection(Selection):
    """The same of rows with many columns: every path through working sets."""

    # Every column is everywhere, so there is one block, and nothing is stale.
    n_blocks = 1
    staleness = np.zeros(1, dtype=np.int64)
    stopped_by = None
    n_updates = n_passes = 0

    def __init__(self, place, *, on_update, **selection):
        super().__init__(n_blocks=1, **selection)
        self._place, self._on_update = place, on_update

    def run(self):
        start = time.perf_counter()
        paths = WidePath(
            self._place,
            self._partition,
            self._penalty,
            fit_intercept=self._fit_intercept,
            max_iter=self._max_iter,
        )
        self.statistics, self.n_reported = paths.statistics, 1
        self.null_loss = paths.null_loss
        grids = self._grids(partial(paths.grid, eps=self._eps, n_alphas=self._alphas))
        found = []
        for grid, l1_ratio in zip(grids, self._l1_ratios, strict=True):
            try:
                found.append(paths.run(grid, self._of_ratio(l1_ratio)))
            except TimeIsUp:
                if not found:
                    raise
                self.stopped_by = "max_time"
                break
        self.n_passes, self.n_updates = paths.n_passes, paths.n_updates
        mse = np.full((*grids.shape, len(self._partition.splits)), np.inf)
        for errors, path in zip(mse, found, strict=False):
            errors[: len(path.errors)] = path.errors
            self.n_unconverged += int((path.gaps > self._tol * self.null_loss[0]).sum())
            if len(path.errors) < len(errors):
                self.stopped_by = "max_time"
        self.selected = self._choose(grids, mse)
        mse[np.isinf(mse)] = np.nan
        ratio = int(np.flatnonzero(self._l1_ratios == self.selected["l1_ratio_"])[0])
        best = int(np.flatnonzero(grids[ratio] == self.selected["alpha_"])[0])
        self.coef = found[ratio].coefs[:, [best]].toarray()
        self.gap = found[ratio].gaps[:1, best]
        self.converged = True
        row = {
            "time": time.perf_counter() - start,
            "n_updates": self.n_updates,
            "samples_seen": self.samples_seen,
            "objective": found[ratio].objectives[0, best],
        }
        self.history = {
            name: np.array([row.get(name, np.nan)], dtype) for name, dtype in HISTORY.items()
        }
        self._on_update(row)

    @property
    def samples_seen(self) -> int:
        return self.statistics.n_rows


def _any(rows):
    return rows is not None and rows.weight > 0


def mean_squared_errors(statistics, coefs, intercepts) -> np.ndarray:
    """Mean squared error on the rows of `statistics`, for each column of `coefs`."""
    about_mean = statistics.y_mean - statistics.x_mean @ coefs - intercepts
    return statistics.moments(True).squared_residuals(coefs) / statistics.weight + about_mean**2


class SelectionBase(LassoBase):
    """What the two estimators that choose their penalty share."""

    max_staleness = None  # cells report once; no block is updated

    _parameter_constraints: dict = {
        **GRID_CONSTRAINTS,
        "cv": ["cv_object"],
        "rule": [StrOptions({"min", "1se"})],
        "criterion": [StrOptions({"cv", "aic", "bic"})],
        **{
            name: AsyncLassoRegressor._parameter_constraints[name]
            for name in (
                "engine",
                "fit_intercept",
                "positive",
                "penalty_weights",
                "tol",
                "max_iter",
                "max_time",
                "n_blocks",
                "client",
                "random_state",
                "verbose",
            )
        },
    }

    @with_callbacks
    def fit(self, X, y, sample_weight=None, *, groups=None):
        """Choose the penalty and fit the model, in one pass over the rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, dask Array, dask DataFrame} of shape \
                (n_samples, n_features)
        y : {array-like, dask Array, dask Series} of shape (n_samples,)
        sample_weight : float or array-like of shape (n_samples,), default=None
            Non-negative weights, for the fits and for the error on each test set. Folds
            count the same, whatever the weights in them, as in scikit-learn.
        groups : array-like of shape (n_samples,), default=None
            Given to the splitter. With an integer `cv`, the folds are those of
            `sklearn.model_selection.GroupKFold`.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            For parameters or data that cannot be used; what the estimator had from an
            earlier fit is kept.
        TimeoutError
            If there was nothing to choose from after `max_time`.
        RuntimeError
            If the cluster went away, or cancelled what the fit needs.

        Warns
        -----
        ConvergenceWarning
            If the duality gap is above `tol`, or `max_iter` or `max_time` ended the fit.
        """
        with self._all_or_nothing():
            self._validate_params()
            self._fit(X, y, sample_weight, split=partial(self._split, X, y, groups))
        return self

    def _validate_params(self):
        super()._validate_params()
        check_alphas(self.alphas)
        if not isinstance(self.l1_ratio, Real):
            check_values("l1_ratio", self.l1_ratio, min_val=0.0, max_val=1.0)

    def _split(self, X, y, groups, place):
        """The `Partition` that the splits amount to."""
        if place.y_ndim == 2 and place.n_targets > 1:
            raise ValueError(
                f"y has {place.n_targets} targets, and each would need a penalty of its own:"
                f" fit one {type(self).__name__} per column."
            )
        if place.y_ndim == 2:
            warn(
                "A column-vector y was passed when a 1d array was expected: the column is taken.",
                DataConversionWarning,
            )
        if self.criterion != "cv":
            return _cells.one_cell()
        cv, n_rows = self.cv, place.n_rows
        if n_rows == 0:
            raise ValueError("X: Found array with 0 sample(s) while a minimum of 1 is required.")
        if isinstance(cv, SklearnKFold) and not cv.shuffle and type(cv) is SklearnKFold:
            cv = cv.n_splits
        if cv is None or isinstance(cv, Integral):
            n_splits = 5 if cv is None else cv
            if groups is None:
                return _consecutive_folds(n_rows, n_splits)
            cv = GroupKFold(n_splits)
        if np.isnan(n_rows):
            raise ValueError(
                f"cv={cv} needs the number of rows, and X has chunks of unknown size: call"
                " X.compute_chunk_sizes() before fit (of a data frame, pass"
                " X.to_dask_array(lengths=True)), or use consecutive folds (cv=5)."
            )
        return _cells.from_indices(int(n_rows), _pairs(cv, X, y, groups, int(n_rows)))

    def _warn_unless_converged(self, model, run):
        super()._warn_unless_converged(model, run)
        if model.n_unconverged:
            warn(
                f"Objective did not converge for {model.n_unconverged} of the coefficients that"
                f" alpha_ was chosen by, within max_iter={self.max_iter}: their duality gaps are"
                " above tol. Increase max_iter or tol, or scale the features.",
                ConvergenceWarning,
            )

    def _make_model(self, place, n_blocks, partition):
        return Selection(n_blocks=n_blocks, **self._settings(place, partition))

    def _settings(self, place, partition):
        return dict(
            dtype=place.dtype,
            partition=partition,
            alphas=self.alphas,
            eps=self.eps,
            l1_ratios=np.atleast_1d(self.l1_ratio),
            rule=self.rule,
            criterion=self.criterion,
            penalty=L1(1.0, 1.0, self._penalty_weights(), self.positive),
            fit_intercept=self.fit_intercept,
            tol=self.tol,
            max_iter=self.max_iter,
        )

    def _wide(self, place, local, on_update, partition):
        l1_ratios = np.atleast_1d(self.l1_ratio)
        given = () if isinstance(self.alphas, Integral) else self.alphas
        if (
            not is_wide_path(place)
            or self.criterion != "cv"
            or L1(1.0, weights=self._penalty_weights()).has_free
            or not np.all(l1_ratios > 0)
            or not np.all(np.asarray(given) > 0)
        ):
            return super()._wide(place, local, on_update, partition)
        settings = self._settings(place, partition)
        return WideSelection(place, on_update=on_update, **settings)

    def _attributes(self, model, place):
        attributes = super()._attributes(model, place)
        if place.y_ndim == 2:
            attributes["intercept_"] = np.ravel(attributes["intercept_"])[0]
        selected = dict(model.selected)
        n_ratios = len(selected["alphas_"])
        if n_ratios == 1 or not isinstance(self.alphas, Integral):
            selected["alphas_"] = selected["alphas_"][0]
        for name in {"mse_path_", "criterion_"} & set(selected):
            selected[name] = np.squeeze(selected[name])
        if "l1_ratio" not in self._get_param_names():
            del selected["l1_ratio_"]
        return {**attributes, **selected}


def _consecutive_folds(n_rows, n_splits):
    if n_splits < 2 or n_splits > n_rows:
        raise ValueError(
            f"Cannot have number of splits n_splits={n_splits} greater than the number of"
            f" samples: n_samples={n_rows}, or less than 2: use another cv."
        )
    return _cells.consecutive_folds(n_rows, n_splits)


def _pairs(cv, X, y, groups, n_rows):
    """The splitter's index pairs, in memory."""
    rows = X
    if type(cv).__module__.startswith("dask_ml."):
        # Its splitters look at the chunks of the rows alone.
        import dask.array as da

        rows = da.zeros((n_rows, 1), chunks=(getattr(X, "chunks", ((n_rows,),))[0], 1))
    elif is_dask(X):
        rows = np.broadcast_to(0.0, (n_rows, 1))  # how many there are is all that is asked
    if is_dask(groups):
        groups = groups.compute()
    if hasattr(cv, "split"):
        cv = cv.split(rows, None if is_dask(y) else y, groups)
    for pair in cv:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"cv yields {pair!r}: it must yield (train, test) pairs.")
        train, test = pair
        if is_dask(train, test):
            import dask

            train, test = dask.compute(train, test, scheduler="threads")
        yield train, test


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

    rule : {"min", "1se"}, default="min"
        The alpha of the least mean error, or the largest alpha whose mean error is within
        one standard error of it (Breiman, Friedman, Olshen & Stone 1984, section 3.4.3).

    criterion : {"cv", "aic", "bic"}, default="cv"
        What chooses alpha. "aic" and "bic" are those of
        `sklearn.linear_model.LassoLarsIC`, on the grid; `cv` and `rule` do not count.

    max_time : float, default=None
        Seconds after which alpha is chosen by the rows read so far. Splits of which no
        training or no test row has been read do not count, and are NaN in `mse_path_`; if
        that is all of them, it is an error. So it is with chunks of unknown size of which not
        all have been read. With more columns than rows, or than 10,000, alpha is chosen
        among those that are done.

    engine, fit_intercept, positive, penalty_weights, tol, max_iter, n_blocks, client, \
            random_state, verbose
        As in `AsyncLassoRegressor`. Whatever the engine, alpha is chosen once, when all
        rows are in.

    Attributes
    ----------
    alpha_ : float
        The chosen alpha.

    alphas_ : ndarray of shape (n_alphas,)

    mse_path_ : ndarray of shape (n_alphas, n_folds)
        Mean squared error on each test set.

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
    - `loss` and `local_solver`: a pass is enough for the squared loss alone.
    - `partial_fit`, `fit_statistics` and `merge`: new rows move the bounds of the folds, and
      `statistics_` are of all rows, not of folds. With the alpha chosen, go on with
      ``AsyncLassoRegressor(model.alpha_).fit_statistics(model.statistics_)``, whose
      coefficients are the same, and which takes new rows with `partial_fit`.
    - Several targets: each has an alpha of its own.

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

    l1_ratio = 1.0

    def __init__(
        self,
        *,
        eps: float = 1e-3,
        alphas=100,
        cv=None,
        rule: str = "min",
        criterion: str = "cv",
        engine="batched",
        fit_intercept: bool = True,
        positive: bool = False,
        penalty_weights=None,
        tol: float = 1e-6,
        max_iter: int = 1000,
        max_time: float | None = None,
        n_blocks: int | str = "auto",
        client=None,
        random_state=None,
        verbose: int = 0,
    ):
        self.eps = eps
        self.alphas = alphas
        self.cv = cv
        self.rule = rule
        self.criterion = criterion
        self.engine = engine
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.penalty_weights = penalty_weights
        self.tol = tol
        self.max_iter = max_iter
        self.max_time = max_time
        self.n_blocks = n_blocks
        self.client = client
        self.random_state = random_state
        self.verbose = verbose


class AsyncElasticNetCV(SelectionBase):
    """Elastic net whose alpha and l1_ratio are chosen by cross-validation, in one pass.

    `sklearn.linear_model.ElasticNetCV` for data larger than one machine's memory.

    Parameters
    ----------
    l1_ratio : float or list of float, default=0.5
        Share of the l1 term in the penalty; of a list, the best is chosen.

    eps, alphas, cv, rule, criterion, engine, fit_intercept, positive, penalty_weights, tol, \
            max_iter, max_time, n_blocks, client, random_state, verbose
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

    noise_variance_, coef_, intercept_, sparse_coef_, dual_gap_, certificate_, n_iter_, \
            n_passes_, n_samples_seen_, history_, statistics_, train_score_, \
            degrees_of_freedom_, n_features_in_, feature_names_in_
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

    _parameter_constraints: dict = {
        **SelectionBase._parameter_constraints,
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), "array-like"],
    }

    def __init__(
        self,
        *,
        l1_ratio=0.5,
        eps: float = 1e-3,
        alphas=100,
        cv=None,
        rule: str = "min",
        criterion: str = "cv",
        engine="batched",
        fit_intercept: bool = True,
        positive: bool = False,
        penalty_weights=None,
        tol: float = 1e-6,
        max_iter: int = 1000,
        max_time: float | None = None,
        n_blocks: int | str = "auto",
        client=None,
        random_state=None,
        verbose: int = 0,
    ):
        self.l1_ratio = l1_ratio
        self.eps = eps
        self.alphas = alphas
        self.cv = cv
        self.rule = rule
        self.criterion = criterion
        self.engine = engine
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.penalty_weights = penalty_weights
        self.tol = tol
        self.max_iter = max_iter
        self.max_time = max_time
        self.n_blocks = n_blocks
        self.client = client
        self.random_state = random_state
        self.verbose = verbose
