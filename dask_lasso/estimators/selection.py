"""What the estimators that choose their penalty share: how rows are split, what a fit is."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.model_selection import KFold as SklearnKFold
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from .._warn import warn
from ..engines.record import Estimate, Observer
from ..places.input import Given, fetched, is_dask
from ..places.place import Place
from ..problem.losses import Logistic, Poisson, is_squared
from ..problem.penalties import L1
from ..problem.softmax import Softmax
from ..rows.cells import Partition, consecutive_folds, one_cell, partition_of
from ..solvers import exact, selection
from ..solvers.fit import Fit, Problem
from ..solvers.path import Grid
from ..solvers.selection import Choice
from ..solvers.selection_by_passes import fit_by_passes
from ..solvers.width import check_width, is_wide_path
from .arrays import statistics_of
from .base import LinearBase
from .callbacks import with_callbacks
from .parameters import CONSTRAINTS, OfGrid
from .path import check_alphas, check_values, path_of_fitted
from .regressor import LassoBase
from .scoring import Scoring


class Selecting(LinearBase, OfGrid):
    """What the estimators that choose their penalty share."""

    alpha_: float
    alphas_: np.ndarray
    mse_path_: np.ndarray
    deviance_path_: np.ndarray
    score_path_: np.ndarray
    criterion_: np.ndarray
    noise_variance_: float
    stability_: np.ndarray
    l1_ratio_: float
    relaxed_: float

    _parameter_constraints: dict = {
        **CONSTRAINTS,
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), "array-like"],
    }

    def _validate_params(self) -> None:
        super()._validate_params()
        check_alphas(self.alphas)
        if not isinstance(self.l1_ratio, Real):
            check_values("l1_ratio", self.l1_ratio, min_val=0.0, max_val=1.0)

    @with_callbacks
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, offset: Any = None, groups: Any = None
    ) -> Self:
        """Choose the penalty and fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix, dask Array, dask DataFrame} of shape \
                (n_samples, n_features)
        y : {array-like, dask Array, dask Series} of shape (n_samples,)
            For a classifier labels of any kind, which are read first.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Non-negative weights, for the fits and for the error on each test set. Folds
            count the same, whatever the weights in them, as in scikit-learn.
        offset : array-like of shape (n_samples,), default=None
            As in `AsyncLassoRegressor`.
        groups : array-like of shape (n_samples,), default=None
            Given to the splitter. With an integer `cv`, the folds are those of
            `sklearn.model_selection.GroupKFold`.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            For parameters or data that cannot be used, as a class that is missing in a
            training set; what the estimator had from an earlier fit is kept.
        TimeoutError
            If there was nothing to choose from after `max_time`.
        RuntimeError
            If the cluster went away, or cancelled what the fit needs.

        Warns
        -----
        ConvergenceWarning
            If the duality gap is above `tol`, or `max_iter` or `max_time` ended the fit.
        """
        with self._all_or_nothing(), self._time_in_our_words():
            self._validate_params()
            given = self._given(X, y, sample_weight, offset)
            is_counted = not is_squared(self._loss()) or self.scoring is not None
            rows = given = given._replace(is_counted=is_counted)
            if is_classifier(self) and self.criterion == "cv" and is_dask(given.y):
                codes = Given(None, given.y.astype(np.uint8), deadline=given.deadline)
                codes = fetched(self.client, codes).y
                rows = given._replace(y=codes)  # by which splitters stratify
            self._fit(given, partial(self._choose, rows, groups))
        return self

    def get_metadata_routing(self) -> Any:
        """As of any estimator; and `fit` asks for groups where its splitter does."""
        request = super().get_metadata_routing()
        of_splitter = getattr(self.cv, "get_metadata_routing", None)
        asks = of_splitter is not None and of_splitter().split.requests.get("groups")
        if asks and request.fit.requests["groups"] is None:
            request.fit.add_request(param="groups", alias=asks)
        return request

    def _choose(self, rows: Given, groups: Any, place: Place, observe: Observer) -> Fit:
        """Choose a solver by the loss and the width of the rows, and let it run."""
        partition, loss = self._split(rows, groups, place), self._loss()
        problem = Problem(self._penalty_at(1.0, 1.0), self.fit_intercept, loss)
        if not isinstance(problem.penalty, L1):
            self._check_penalty(problem)
        settings = self._settings(place.dtype)
        grid = Grid(check_alphas(self.alphas), self.eps)
        l1_ratios = np.atleast_1d(self.l1_ratio)
        choice = Choice(grid, l1_ratios, self.rule, self.criterion, self._shares(), self.one_alpha)
        of_cv = {"one_alpha": self.one_alpha, "scoring": self.scoring is not None}
        for name, is_given in of_cv.items():
            if is_given and self.criterion != "cv":
                raise ValueError(f'{name} needs criterion="cv", got {self.criterion!r}.')
        is_wide = (
            is_wide_path(place)
            and self.criterion == "cv"
            and problem.penalty.is_sparse
            and self.relaxed is False
            and np.all(l1_ratios > 0)
            and np.all(grid.alphas > 0)
        )
        by_passes = bool(is_wide) or not is_squared(loss)
        if self.scoring is not None:
            n_joined = place.n_targets if problem.penalty.joins_targets else 1
            if isinstance(loss, Softmax):
                n_joined = loss.n_classes
            choice = choice._replace(score=Scoring(self, self.scoring, n_joined, by_passes))
        if not by_passes:
            check_width(place)
            return selection.fit(place, problem, settings, observe, choice, partition)
        if place.n_targets > 1:
            raise ValueError(
                f"y has {place.n_targets} targets and X {place.n_features} columns: fit one"
                f" {type(self).__name__} per target."
            )
        if not is_squared(loss):
            if self.relaxed is not False:
                raise ValueError("relaxed is of loss='squared' alone: use relaxed=False.")
            if self.criterion != "cv":
                self._check_criterion(loss, l1_ratios)
            choice = choice._replace(errors="deviance_path_")
        return fit_by_passes(place, problem, settings, observe, choice, partition)

    def _check_penalty(self, problem):
        """Raise where a choice cannot be of a penalty that is not the l1 norm."""
        for name, is_so, allowed in (
            ("loss", is_squared(problem.loss), "squared"),
            ("relaxed", self.relaxed is False, False),
            ("criterion", self.criterion == "cv", "cv"),
        ):
            if not is_so:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is of penalty='l1' alone: use"
                    f" {name}={allowed!r}."
                )
        if not exact.knows(problem.penalty):
            raise ValueError(
                f"penalty has no dual_norm, without which {type(self).__name__} cannot solve from"
                " statistics: search over alpha of AsyncLassoRegressor, with GridSearchCV."
            )

    def _check_criterion(self, loss, l1_ratios):
        """Raise where AIC and BIC are not known."""
        if not isinstance(loss, Logistic | Softmax | Poisson):
            raise ValueError(
                f"criterion={self.criterion!r} needs the dispersion of y, which is known for the"
                ' squared loss, for loss="poisson" and for two classes: use criterion="cv".'
            )
        if np.any(l1_ratios < 1):
            raise ValueError(
                f"criterion={self.criterion!r} needs degrees of freedom, which with a ridge term"
                ' are known for the squared loss alone: use l1_ratio=1, or criterion="cv".'
            )

    def _shares(self) -> np.ndarray:
        """Shares of the lasso in a relaxed fit, from the argument `relaxed`."""
        if self.relaxed is False:
            return np.ones(1)
        if self.criterion != "cv":
            raise ValueError(f'relaxed needs criterion="cv", got {self.criterion!r}.')
        if self.relaxed is True:
            return np.linspace(1, 0, 5)
        bounds = dict(min_val=0.0, max_val=1.0, include_boundaries="both")
        return np.sort(check_values("relaxed", self.relaxed, **bounds))[::-1]

    def _split(self, rows: Given, groups: Any, place: Place) -> Partition:
        """The `Partition` that the splits amount to."""
        if place.y_ndim == 2 and place.n_targets == 1:
            warn(
                "A column-vector y was passed when a 1d array was expected: the column is taken.",
                DataConversionWarning,
            )
        if self.criterion != "cv":
            return one_cell()
        cv, n_rows = self.cv, place.n_rows
        if n_rows == 0:
            raise ValueError("X: Found array with 0 sample(s) while a minimum of 1 is required.")
        if isinstance(cv, SklearnKFold) and not cv.shuffle and type(cv) is SklearnKFold:
            return _consecutive_folds(n_rows, cv.n_splits)
        if cv is None or isinstance(cv, Integral):
            n_splits = 5 if cv is None else cv
            if groups is None and not is_classifier(self):
                return _consecutive_folds(n_rows, n_splits)
            cv = StratifiedKFold(n_splits) if groups is None else GroupKFold(n_splits)
        if np.isnan(n_rows):
            raise ValueError(
                f"cv={cv} needs the number of rows, and X has chunks of unknown size: call"
                " X.compute_chunk_sizes() before fit (of a data frame, pass"
                " X.to_dask_array(lengths=True)), or use consecutive folds (cv=5)."
            )
        return partition_of(int(n_rows), _pairs(cv, rows, groups, int(n_rows)))

    def _warn_unless_converged(self, found: Fit) -> None:
        super()._warn_unless_converged(found)
        if found.n_unconverged:
            warn(
                f"Objective did not converge for {found.n_unconverged} of the coefficients that"
                f" alpha_ was chosen by, within max_iter={self.max_iter}: their duality gaps are"
                " above tol. Increase max_iter or tol, or scale the features.",
                ConvergenceWarning,
            )

    def _attributes_of(
        self, estimate: Estimate, dtype: type | np.dtype, y_ndim: int
    ) -> dict[str, Any]:
        attributes = super()._attributes_of(estimate, dtype, y_ndim)
        if y_ndim == 2 and estimate.coef.shape[1] == 1:
            attributes["intercept_"] = np.ravel(attributes["intercept_"])[0]
        chosen = dict(estimate.choice)
        if "stability_" in chosen:
            chosen["stability_"] = np.reshape(chosen["stability_"], attributes["coef_"].shape)
        n_ratios = chosen["alphas_"].shape[-2]
        if n_ratios == 1 or not isinstance(self.alphas, Integral):
            chosen["alphas_"] = chosen["alphas_"][..., 0, :]
        for name in {"mse_path_", "deviance_path_", "score_path_", "criterion_"} & set(chosen):
            chosen[name] = np.squeeze(chosen[name])
        if "l1_ratio" not in self._get_param_names():
            del chosen["l1_ratio_"]
        if self.relaxed is False:
            chosen.pop("relaxed_", None)
        return {**attributes, **chosen}


class SelectionBase(Selecting, LassoBase):
    """What the two regressors that choose their penalty share."""

    _parameter_constraints: dict = {
        **Selecting._parameter_constraints,
        "loss": [
            StrOptions({"squared", "huber", "poisson", "gamma", "tweedie"}),
            HasMethods(["conjugate"]),
        ],
    }

    @property
    def coef_path_(self) -> np.ndarray:
        """Coefficients (n_features, n_alphas) on all rows at `alphas_`, made when asked for.

        From `statistics_`: no row is read again. Several targets are the first axis; of several
        l1_ratios it is the chosen one.
        """
        statistics_of(self, AttributeError)
        is_each = np.ndim(self.alpha_) > 0
        coefs = []
        for target, alphas in enumerate(self.alphas_ if is_each else [self.alphas_]):
            if alphas.ndim > 1:  # of each l1_ratio
                chosen = np.ravel(self.l1_ratio_)[target]
                alphas = alphas[np.flatnonzero(np.equal(self.l1_ratio, chosen))[0]]
            coefs.append(path_of_fitted(self, alphas, self.eps, target if is_each else None)[1])
        return np.array(coefs) if is_each else coefs[0]


def _consecutive_folds(n_rows, n_splits):
    if n_splits < 2 or n_splits > n_rows:
        raise ValueError(
            f"Cannot have number of splits n_splits={n_splits} greater than the number of"
            f" samples: n_samples={n_rows}, or less than 2: use another cv."
        )
    return consecutive_folds(n_rows, n_splits)


def _pairs(cv, given, groups, n_rows):
    """The splitter's index pairs, in memory."""
    rows, X, y = given.X, given.X, given.y
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
