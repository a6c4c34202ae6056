"""Fits from statistics: one batch of rows after the other, or several fits' rows together."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._input import open_rows
from ._statistics import Statistics, merge
from ._wide import check_width
from .problem.linear import unit_scale

_FIELDS = ("n_rows", "weight", "x_mean", "y_mean", "sxx", "sxy", "syy")


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
    missing = [name for name in _FIELDS if name not in arrays]
    if missing:
        raise ValueError(
            f"The statistics lack {', '.join(missing)}: pass the `statistics_` of a fitted"
            " estimator, or what numpy.load made of them."
        )
    values = {name: np.asarray(arrays[name], dtype=np.float64) for name in _FIELDS}
    k, y_ndim = len(values["x_mean"]), values["sxy"].ndim
    for name in ("y_mean", "syy"):
        values[name] = values[name].reshape(-1)
    m = len(values["syy"])
    values["sxy"] = values["sxy"].reshape(k, m)
    if values["sxx"].shape != (k, k) or not all(np.isfinite(v).all() for v in values.values()):
        raise ValueError(
            f"The statistics are damaged: sxx has shape {values['sxx'].shape} for {k} features,"
            " or values are not finite."
        )
    values.update(n_rows=int(values["n_rows"]), weight=float(values["weight"]))
    return Statistics(n_chunks=1, n_weighted=values["n_rows"], **values), y_ndim


class StatisticsMixin:
    """Fits of a regressor that need no rows, or only the new ones."""

    def partial_fit(self, X, y, sample_weight=None):
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
            if self.loss != "squared":
                raise ValueError(
                    "partial_fit needs loss='squared', the only loss with sufficient statistics."
                )
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
                new = place.merged_statistics()
                if new.defect is not None:
                    where = place.locate(0, new.defect)
                    raise ValueError(f"Input {new.defect.argument} {new.defect.problem}, {where}.")
            parts, y_ndim = [new], place.y_ndim
            if seen is not None:
                old, y_ndim = from_arrays(seen)
                if old.n_targets != new.n_targets:
                    raise ValueError(
                        f"y has {new.n_targets} targets, and the rows seen before had"
                        f" {old.n_targets}: use a new estimator."
                    )
                parts = [old, new]
            self._fit_merged(merge(parts), y_ndim, place.dtype)
        return self

    def fit_statistics(self, *statistics: Mapping[str, np.ndarray]):
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
            parts, y_ndims = zip(*(from_arrays(arrays) for arrays in statistics), strict=True)
            shapes = {(part.n_features, part.n_targets) for part in parts}
            if len(shapes) > 1:
                raise ValueError(
                    "The statistics are of different numbers of features and targets:"
                    f" {sorted(shapes)}."
                )
            names = [tuple(s["feature_names"]) for s in statistics if "feature_names" in s]
            if len(set(names)) > 1:
                raise ValueError(
                    "The statistics are of features with different names, or in another order."
                )
            vars(self).pop("feature_names_in_", None)
            self._target_names_ = None  # statistics know them not
            if names:
                self.feature_names_in_ = np.array(names[0], dtype=object)
            self.n_features_in_ = parts[0].n_features
            self._fit_merged(merge(parts), y_ndims[0], np.float64)
        return self

    def merge(self, *others):
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
        for estimator in (self, *others):
            check_is_fitted(estimator, "statistics_")
        return self.fit_statistics(*(e.statistics_ for e in (self, *others)))

    def _fit_merged(self, statistics, y_ndim, dtype):
        if statistics.weight == 0:
            raise ValueError(
                "Found array with 0 sample(s), or only of weight zero, while a minimum of 1 is"
                " required: pass some rows."
            )
        place = SimpleNamespace(dtype=dtype, y_ndim=y_ndim)
        model = self._make_model(place, 1, None)
        model.absorb_report(0, statistics)
        model.update(0)
        vars(self).pop("history_", None)
        self._set_fitted(model, place, n_iter=1)
        self._warn_unless_converged(model, SimpleNamespace(stopped_by=None))


class TrainingSummary:
    """What the statistics of a fit tell of it without another look at the rows."""

    @property
    def train_score_(self) -> float:
        """R^2 on the rows of the fit, averaged over the targets."""
        statistics, coef = self._training()
        residual = residual_squares(statistics, coef, np.atleast_1d(self.intercept_))
        flat = statistics.syy == 0
        scores = 1 - residual / np.where(flat, 1.0, statistics.syy)
        scores[flat] = np.where(residual[flat] == 0, 1.0, 0.0)
        return float(scores.mean())

    @property
    def degrees_of_freedom_(self):
        """Degrees of freedom, per target; without the intercept's."""
        statistics, coef = self._training()
        problem, penalty = statistics.moments(self.fit_intercept), self._penalty()
        df = [degrees_of_freedom(problem, column, penalty) for column in coef.T]
        return df[0] if self.coef_.ndim == 1 else np.array(df)

    def _training(self):
        check_is_fitted(self, "statistics_")
        statistics, _ = from_arrays(self.statistics_)
        return statistics, np.atleast_2d(self.coef_).T.astype(np.float64)


def residual_squares(statistics, coef, intercept):
    """Weighted sums of squared residuals, one per target."""
    off = statistics.y_mean - statistics.x_mean @ coef - intercept
    return statistics.moments(True).squared_residuals(coef) + statistics.weight * off**2


def degrees_of_freedom(problem, coef, penalty) -> float:
    """Degrees of freedom of one fit: the trace of its smoother on the active columns.

    The number of non-zero coefficients for the lasso (Zou, Hastie & Tibshirani 2007,
    theorem 1), less with a ridge term.
    """
    active = np.flatnonzero(coef)
    if penalty.l2 == 0 or len(active) == 0:
        return float(len(active))
    gram = problem.about_zero().gram[np.ix_(active, active)]
    ridge = penalty.l2 * problem.weight * penalty.column_weights(len(coef))[active] ** 2
    scale = unit_scale(np.diagonal(gram))
    gram, ridge = gram * np.outer(scale, scale), ridge * scale**2
    return float(np.trace(np.linalg.lstsq(gram + np.diag(ridge), gram)[0]))
