"""Fits from statistics: one batch of rows after the other, or several fits' rows together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from scipy import linalg
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ..places.input import open_rows
from ..places.place import usable
from ..problem.degrees import degrees_of_freedom
from ..problem.penalties import L1
from ..rows.statistics import Statistics, merge_statistics
from ..solvers import exact
from ..solvers.width import check_width

_FIELDS = ("n_rows", "weight", "x_mean", "y_mean", "sxx", "sxy", "syy")
# Rounding in moments, relative to their diagonal: float32 rows are summed in float32. What
# of y they seem to explain may be off by more, its square over that.
_ROUNDING = 1e-5
_Y_ROUNDING = 1e-3


def to_arrays(statistics: Statistics, y_ndim: int, names=None) -> dict[str, np.ndarray]:
    """`Statistics` as plain arrays, which `numpy.savez` saves without pickling."""
    arrays = {name: np.asarray(getattr(statistics, name)) for name in _FIELDS}
    if y_ndim == 1:
        for name in ("y_mean", "sxy", "syy"):
            arrays[name] = arrays[name][..., 0]
    if names is not None:
        arrays["feature_names"] = np.asarray(names, dtype=str)
    return arrays


def from_arrays(arrays: Mapping[str, np.ndarray]) -> tuple[Statistics, int]:
    """`Statistics` and the dimensions of y from what `to_arrays` made, checked."""
    if not isinstance(arrays, Mapping):
        raise TypeError(
            f"statistics must be mappings, got {type(arrays).__name__}: pass the `statistics_` of"
            " a fitted estimator, or what numpy.load made of a file of them."
        )
    missing = [name for name in _FIELDS if name not in arrays]
    if missing:
        raise ValueError(
            f"The statistics lack {', '.join(missing)}: pass the `statistics_` of a fitted"
            " estimator, or what numpy.load made of them."
        )
    values = {name: _real_array(name, arrays[name]) for name in _FIELDS}
    k, y_shape = len(np.atleast_1d(values["x_mean"])), values["syy"].shape
    shapes = {
        **dict(n_rows=(), weight=(), x_mean=(k,), y_mean=y_shape, sxx=(k, k)),
        **dict(sxy=(k, *y_shape), syy=y_shape if len(y_shape) < 2 else ("n_targets",)),
    }
    if k == 0:
        raise _damaged("x_mean has no features")
    for name, shape in shapes.items():
        if values[name].shape != shape:
            raise _damaged(f"{name} has shape {values[name].shape} where {shape} was expected")
    n_rows, weight = float(values["n_rows"]), float(values["weight"])
    if n_rows < 0 or n_rows != int(n_rows):
        raise _damaged(f"n_rows is {n_rows:g}, and must be a number of rows")
    if weight < 0 or (n_rows == 0 and weight > 0):
        raise _damaged(f"weight is {weight:g}, a sum of weights >= 0 of {n_rows:g} rows")
    for name, squares in (("sxx", np.diagonal(values["sxx"])), ("syy", values["syy"])):
        if (squares < 0).any():
            raise _damaged(f"{name} has sums of squares below zero")
    for name in ("y_mean", "syy"):
        values[name] = values[name].reshape(-1)
    values.update(n_rows=int(n_rows), weight=weight, sxy=values["sxy"].reshape(k, -1))
    _feature_names(arrays, k)
    return Statistics(n_chunks=1, n_weighted=values["n_rows"], **values), 1 + len(y_shape)


def _real_array(name, value):
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of different lengths
        raise _damaged(f"{name} is no array") from error
    if array.dtype.kind not in "buif":
        raise _damaged(f"{name} has dtype {array.dtype}, and must be real numbers")
    array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise _damaged(f"{name} has values that are not finite")
    return array


def _feature_names(arrays, k) -> tuple | None:
    """Names of the features, where the statistics know them."""
    if "feature_names" not in arrays:
        return None
    names = np.asarray(arrays["feature_names"])
    if names.shape != (k,) or not all(isinstance(name, str) for name in names):
        raise _damaged(
            f"feature_names has shape {names.shape} and dtype {names.dtype} where the names of"
            f" {k} features were expected"
        )
    return tuple(map(str, names))


def _damaged(problem):
    return ValueError(
        f"The statistics are damaged: {problem}. Pass the `statistics_` of a fitted estimator"
        " as they are."
    )


def _check_moments(statistics):
    """Raise unless `sxx`, `sxy` and `syy` can be those of some rows, but for rounding."""
    sxx, sxy = statistics.sxx, statistics.sxy
    diagonal = np.diagonal(sxx)
    # What rounding may add to a column's sum of squares: of float32 rows, or of a mean.
    about_zero = statistics.weight * statistics.x_mean**2
    noise = _ROUNDING * diagonal + 100 * np.finfo(np.float64).eps * about_zero
    noise[diagonal + noise == 0] = 1.0
    scale = 1 / np.sqrt(diagonal + noise)
    correlation = sxx * scale[:, np.newaxis] * scale
    if np.abs(correlation - correlation.T).max() > _ROUNDING:
        raise _damaged("sxx is not symmetric")
    correlation[np.diag_indices_from(correlation)] += noise * scale**2
    try:
        factor = linalg.cholesky(correlation, lower=True, check_finite=False)
    except linalg.LinAlgError:
        raise _damaged("sxx is not positive semi-definite") from None
    explained = linalg.solve_triangular(
        factor, sxy * scale[:, np.newaxis], lower=True, check_finite=False
    )
    y_noise = 100 * np.finfo(np.float64).eps * statistics.weight * statistics.y_mean**2
    if ((explained**2).sum(axis=0) > statistics.syy * (1 + _Y_ROUNDING) + y_noise).any():
        raise _damaged("sxy is larger than sxx and syy allow")


def statistics_of(estimator, error=ValueError):
    """`statistics_` of a fitted estimator."""
    check_is_fitted(estimator)
    if not hasattr(estimator, "statistics_"):
        raise error(
            f"This {type(estimator).__name__} has no statistics_, as with many columns"
            " (working sets), another loss than the squared one, or after `del`: fit an"
            " estimator of this package with loss='squared' and up to 2,000 columns."
        )
    return estimator.statistics_


class StatisticsMixin:
    """Fits of a regressor that need no rows, or only the new ones."""

    def partial_fit(self, X, y, sample_weight=None) -> Self:
        """Fit all rows seen so far and these: the statistics merge, which is exact.

        After any number of calls the coefficients are those of one fit on all the rows.
        Rows of an earlier `fit` count as seen. The finish is the exact one, whatever
        `polish` and `engine` are.

        Parameters
        ----------
        X, y, sample_weight : as for `fit`

        Returns
        -------
        self : object
        """
        with self._all_or_nothing():
            self._validate_params()
            self._check_squared("partial_fit")
            seen = vars(self).get("statistics_")
            if seen is None and hasattr(self, "coef_"):
                raise ValueError(
                    "partial_fit cannot continue a fit that kept no statistics (more features"
                    " than a Gram matrix should have, or another loss): use a new estimator."
                )
            with open_rows(
                self, X, y, sample_weight, client=self.client, reset=seen is None
            ) as place:
                check_width(place)
                new = usable(place.merged_statistics(), place)
            parts, y_ndim = [new], place.y_ndim
            if seen is not None:
                old, y_ndim = from_arrays(seen)
                if old.n_targets != new.n_targets:
                    raise ValueError(
                        f"y has {new.n_targets} targets, and the rows seen before had"
                        f" {old.n_targets}: use a new estimator."
                    )
                parts = [old, new]
            self._fit_merged(merge_statistics(parts), y_ndim, place.dtype)
        return self

    def fit_statistics(self, *statistics: Mapping[str, np.ndarray]) -> Self:
        """Fit the rows that statistics are of, without the rows.

        Parameters
        ----------
        *statistics : mappings of ndarray
            `statistics_` of fitted estimators, or what `numpy.load` read of a file that
            ``numpy.savez(path, **model.statistics_)`` wrote. Of disjoint rows, and of the
            same features in the same order.

        Returns
        -------
        self : object
        """
        if not statistics:
            raise ValueError("fit_statistics needs the statistics of at least one fit.")
        with self._all_or_nothing():
            self._validate_params()
            self._check_squared("fit_statistics")
            parts, y_ndims = zip(*(from_arrays(arrays) for arrays in statistics), strict=True)
            shapes = {(part.n_features, part.n_targets) for part in parts}
            if len(shapes) > 1:
                raise ValueError(
                    "The statistics are of different numbers of features and targets:"
                    f" {sorted(shapes)}."
                )
            k = parts[0].n_features
            names = [_feature_names(s, k) for s in statistics if "feature_names" in s]
            if len(set(names)) > 1:
                raise ValueError(
                    "The statistics are of features with different names, or in another order."
                )
            for part in parts:
                _check_moments(part)
            vars(self).pop("feature_names_in_", None)
            self._target_names_ = None  # statistics know them not
            if names:
                self.feature_names_in_ = np.array(names[0], dtype=object)
            self.n_features_in_ = k
            self._fit_merged(merge_statistics(parts), y_ndims[0], np.float64)
        return self

    def merge(self, *others: BaseEstimator) -> Self:
        """Fit the rows of this and of other fitted estimators, without moving them.

        Parameters
        ----------
        *others : fitted estimators
            Fits of disjoint rows, on whatever cluster or day. Only their `statistics_`
            are used; the parameters are those of this estimator.

        Returns
        -------
        self : object
        """
        return self.fit_statistics(*map(statistics_of, (self, *others)))

    def _check_squared(self, method):
        if self.loss != "squared":
            raise ValueError(
                f"{method} needs loss='squared', the only loss with sufficient statistics."
            )
        if self.penalty != "l1":
            raise ValueError(f"{method} needs penalty='l1', whose solution is exact: use fit.")

    def _fit_merged(self, statistics, y_ndim, dtype):
        if statistics.weight == 0:
            raise ValueError(
                "Found array with 0 sample(s), or only of weight zero, while a minimum of 1 is"
                " required: pass some rows."
            )
        settings = self._settings(dtype, coef_init=self._coef_init(statistics.n_targets))
        found = exact.fit_statistics(statistics, self._problem(), settings)
        self._take(found, dtype, y_ndim)
        self._warn_unless_converged(found)


class TrainingSummary:
    """What the statistics of a fit tell of it without another look at the rows."""

    @property
    def train_score_(self) -> float:
        """R^2 on the rows of the fit, averaged over the targets."""
        statistics, coef = self._training()
        residual = statistics.squared_residuals(coef, np.atleast_1d(self.intercept_))
        flat = statistics.syy == 0
        scores = 1 - residual / np.where(flat, 1.0, statistics.syy)
        scores[flat] = np.where(residual[flat] == 0, 1.0, 0.0)
        return float(scores.mean())

    @property
    def degrees_of_freedom_(self):
        """Degrees of freedom, per target; without the intercept's."""
        statistics, coef = self._training()
        problem, penalty = statistics.moments(self.fit_intercept), self._penalty()
        if not isinstance(penalty, L1):
            raise AttributeError("degrees_of_freedom_ are known of penalty='l1' alone.")
        df = [degrees_of_freedom(problem, column, penalty) for column in coef.T]
        return df[0] if self.coef_.ndim == 1 else np.array(df)

    def _training(self):
        # As an attribute that is not there, where it cannot be told.
        statistics, _ = from_arrays(statistics_of(self, AttributeError))
        return statistics, np.atleast_2d(self.coef_).T.astype(np.float64)
