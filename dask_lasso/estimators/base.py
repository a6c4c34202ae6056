"""What the estimators share: parameters in, fitted attributes out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted, check_random_state

from .._warn import warn
from ..engines.record import Estimate, Observer, history_of
from ..engines.schedules import ENGINES
from ..places.input import Given
from ..places.place import Place
from ..places.waiting import TimeIsUp
from ..problem.box import box_of
from ..problem.concave import Concave
from ..problem.losses import SQUARED, Loss, Pair
from ..problem.penalties import L1, Plugged, penalty_weights
from ..rows.statistics import Statistics
from ..solvers.fit import AnyPenalty, Fit, Problem, Settings
from .arrays import to_arrays
from .callbacks import Callbacks, CallbackSupport
from .convergence import why_not_converged
from .export import coefficients, save, to_sklearn
from .parameters import CONSTRAINTS, Shared
from .progress import opened

if TYPE_CHECKING:
    import pandas as pd


class LinearBase(CallbackSupport, Shared, BaseEstimator):
    """What all estimators share: a fit that leaves all or nothing behind."""

    coef_: np.ndarray
    intercept_: float | np.ndarray
    dual_gap_: float | np.ndarray
    certificate_: str
    n_iter_: int
    n_passes_: int
    n_samples_seen_: int
    n_features_in_: int
    feature_names_in_: np.ndarray
    history_: dict[str, np.ndarray]
    staleness_: np.ndarray
    statistics_: dict[str, np.ndarray]

    _parameter_constraints: dict = CONSTRAINTS

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Put the fitted attributes back as they were if the body fails."""
        fitted = {name: value for name, value in vars(self).items() if _is_fitted_name(name)}
        try:
            yield
        except BaseException:
            for name in list(vars(self)):
                if _is_fitted_name(name):
                    delattr(self, name)
            self.__dict__.update(fitted)
            raise

    def _fit(self, given: Given, solve: Callable[[Place, Observer], Fit]) -> None:
        """Open the rows, solve, take the attributes from the `Fit`."""
        callbacks = Callbacks(self, given)
        limits = dict(n_blocks=self.n_blocks, max_time=self.max_time)
        rows: list[dict] = []
        with opened(self, given, what=type(self).__name__, **limits) as (place, progress):

            def observe(row, estimate):
                rows.append(row)
                progress.tell(row, estimate)
                return callbacks.on_update(partial(self._so_far, estimate, place, rows))

            found = solve(place, observe)
        self._take(found, place.dtype, place.y_ndim)
        self._warn_unless_converged(found)
        callbacks.on_end(partial(self._attributes, found.estimate, place))

    @contextmanager
    def _time_in_our_words(self) -> Iterator[None]:
        try:
            yield
        except TimeIsUp as error:
            raise TimeIsUp(
                f"fit was stopped by max_time={self.max_time} before there was any estimate:"
                f" {error}. Increase max_time."
            ) from None

    def _loss(self) -> Loss | Pair:
        return SQUARED

    def _problem(self) -> Problem:
        return Problem(self._penalty(), self.fit_intercept, self._loss())

    def _penalty(self) -> AnyPenalty:
        """The penalty of the fit, or the one that it has chosen."""
        alpha: Any = getattr(self, "alpha_", getattr(self, "alpha", None))
        return self._penalty_at(alpha, getattr(self, "l1_ratio_", self.l1_ratio))

    def _penalty_at(self, alpha: Any, l1_ratio: Any) -> AnyPenalty:
        """The penalty of the parameters, with this alpha."""
        if isinstance(self.penalty, str):
            return self._l1(alpha, l1_ratio)
        if np.any(np.equal(self.l1_ratio, 0)):
            raise ValueError(
                "l1_ratio=0 is a ridge term alone, without the penalty: use penalty='l1', or an"
                " l1_ratio above 0."
            )
        for name, unused in (
            ("positive", False),
            ("bounds", None),
            ("penalty_weights", None),
            ("standardize", False),
        ):
            if getattr(self, name) is not unused:
                raise ValueError(f"{name} is of penalty='l1' alone: put it into the penalty.")
        if np.all(alpha == 0):
            return L1(0.0)
        plug = Plugged if hasattr(self.penalty, "prox") else Concave
        return plug(alpha, self.penalty, l1_ratio)

    def _l1(self, alpha: float, l1_ratio: float) -> L1:
        """The l1 penalty of the parameters, with this alpha."""
        k = self.n_features_in_
        weights = penalty_weights(self.penalty_weights, k)
        box = box_of(self.bounds, self.positive, k)
        adaptive = isinstance(self.penalty_weights, str)
        return L1(alpha, l1_ratio, weights, box, self.standardize, adaptive)

    def _settings(self, dtype: type | np.dtype, **beside: Any) -> Settings:
        return Settings(
            engine=ENGINES[self.engine]() if isinstance(self.engine, str) else self.engine,
            tol=self.tol,
            max_iter=self.max_iter,
            random_state=check_random_state(self.random_state),
            dtype=dtype,
            **beside,
        )

    def _validate_params(self) -> None:
        # As scikit-learn's, but for the look at the signature and at what is as it was: together a
        # fifth of a fit of 400 rows.
        every = {of.name: (getattr(self, of.name), of.default) for of in fields(self)}
        given = {name: value for name, (value, default) in every.items() if value is not default}
        validate_parameter_constraints(
            self._parameter_constraints, given, caller_name=type(self).__name__
        )
        for name in ("engine", "loss", "penalty"):
            if isinstance(given.get(name), type):
                called = given[name].__name__
                raise ValueError(
                    f"{name} is the class {called}: pass an instance of it, {called}(...)."
                )

    def _take(self, found: Fit, dtype: type | np.dtype, y_ndim: int) -> None:
        """Set the fitted attributes."""
        self.__dict__.pop("stationarity_", None)
        self.__dict__.update(self._attributes_of(found.estimate, dtype, y_ndim))
        self.n_iter_ = found.n_iter
        self.n_samples_seen_ = found.n_samples_seen
        for name in ("statistics_", "history_"):
            self.__dict__.pop(name, None)
        if isinstance(found.statistics, Statistics):
            names = getattr(self, "feature_names_in_", None)
            self.statistics_ = to_arrays(found.statistics, y_ndim, names)
        if found.history:
            self.history_ = found.history
            self.staleness_ = found.staleness
            self.n_passes_ = found.n_passes

    def _so_far(self, estimate: Estimate, place: Place, rows: list[dict]) -> dict[str, Any]:
        """The fitted attributes while the fit goes on."""
        return {**self._attributes(estimate, place), "history_": history_of(rows)}

    def _attributes(self, estimate: Estimate, place: Place) -> dict[str, Any]:
        return self._attributes_of(estimate, place.dtype, place.y_ndim)

    def _attributes_of(
        self, estimate: Estimate, dtype: type | np.dtype, y_ndim: int
    ) -> dict[str, Any]:
        """The fitted attributes that an estimate amounts to."""
        coef, intercept = estimate.coef, estimate.intercept
        # The best intercept leaves residuals of mean zero; a rounded one adds its error squared.
        rounded = intercept.astype(dtype)
        gap = estimate.gap
        if estimate.certificate != "stationarity":
            gap = gap + (rounded - intercept) ** 2 / 2
        if coef.shape[1] == 1:
            coef, gap = coef[:, 0], gap[0]
        one_or_all = rounded[0] if y_ndim == 1 else rounded
        found = {"stationarity_": gap} if estimate.certificate == "stationarity" else {}
        return {
            **found,
            "coef_": coef.T.astype(dtype),
            "intercept_": one_or_all if self.fit_intercept else 0.0,
            "dual_gap_": gap * np.nan if found else gap,
            "certificate_": estimate.certificate,
        }

    def _warn_unless_converged(self, found: Fit) -> None:
        gap = found.estimate.gap if hasattr(self, "stationarity_") else self.dual_gap_
        message = why_not_converged(found, gap, self.tol, self.max_iter, self.max_time)
        if message is not None:
            warn(message, ConvergenceWarning)

    @property
    def sparse_coef_(self) -> sparse.csr_array:
        """Sparse representation of `coef_`."""
        return sparse.csr_array(np.atleast_2d(self.coef_))

    def coefficients(self) -> pd.Series | pd.DataFrame:
        """Coefficients by name.

        Returns
        -------
        pandas Series of shape (n_features,), or DataFrame of shape (n_features, n_targets)
            Indexed by `feature_names_in_`, or x0, x1, ...

        Raises
        ------
        ImportError
            Without pandas.
        """
        check_is_fitted(self)
        return coefficients(self)

    def to_sklearn(self) -> BaseEstimator:
        """The fitted model as a plain estimator of `sklearn.linear_model`.

        It predicts the same without this package or Dask, in NumPy, and can be converted by
        what knows scikit-learn (ONNX, PMML).

        Returns
        -------
        Lasso, ElasticNet, LogisticRegression, or what fits the loss
            With `coef_`, `intercept_` and names. Lasso, ElasticNet and LogisticRegression
            have the parameters of the same problem too, where scikit-learn has it (none of
            `bounds`, `penalty_weights`, `standardize`), and for rows of weight one and no
            offset. PoissonRegressor, GammaRegressor and TweedieRegressor have the ridge term
            alone. Everything else is a LinearRegression.

        Raises
        ------
        ValueError
            For a loss with an `inverse_link` that scikit-learn has no model of.
        """
        check_is_fitted(self)
        return to_sklearn(self)

    def save(self, path: str | Path) -> None:
        """Write the fitted estimator to a file with `statistics_`; `joblib.load` reads it.

        A pickle is small: it lacks `statistics_`, unless they are what `partial_fit`,
        `fit_statistics` or `merge` left. It predicts as before.

        Parameters
        ----------
        path : str or Path
        """
        check_is_fitted(self)
        save(self, path)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # A Client can be neither copied nor pickled: copies share it, a pickle lacks it.

    def __copy__(self):
        new = type(self).__new__(type(self))
        vars(new).update(vars(self))
        return new

    def __deepcopy__(self, memo):
        memo[id(self.client)] = self.client
        new = memo[id(self)] = copy.copy(self)
        vars(new).update(copy.deepcopy(vars(self), memo))
        return new

    def __sklearn_clone__(self):
        bare = copy.copy(self)
        bare.client = None
        new = super(LinearBase, bare).__sklearn_clone__()
        new.client = self.client
        return new

    def __getstate__(self):
        state = {**super().__getstate__(), "client": None}
        # 8 k^2 bytes, for those who ask (`save`), or who go on with them (`partial_fit`).
        if "history_" in state:
            state.pop("statistics_", None)
        return state


def _is_fitted_name(name):
    return name.endswith("_") and not name.startswith("__")
