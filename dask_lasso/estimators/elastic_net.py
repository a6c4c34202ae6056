"""`AsyncElasticNetRegressor`: the elastic net, from rows or from statistics, of a given alpha."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin
from sklearn.utils.validation import check_is_fitted

from .._warn import warn
from ..places.place import usable
from ..problem.concave import Concave
from ..rows.statistics import Statistics, merge_statistics
from ..rows.undoing import decayed, without
from ..solvers import exact
from ..solvers.fit import AnyPenalty
from ..solvers.width import check_width
from .arrays import check_moments, check_number, feature_names, from_arrays, statistics_of
from .at_alpha import AtAlpha
from .progress import opened
from .regressor import LassoBase


@dataclass(eq=False, repr=False)
class AsyncElasticNetRegressor(MultiOutputMixin, AtAlpha, LassoBase):
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
        ``||penalty_weights * w||``, as if the columns were divided by it. 0 is no penalty;
        None is 1 for all.

    penalty : "l1" or object, default="l1"
        What ``alpha * l1_ratio`` multiplies in place of ``||w||_1``, as in `AsyncLassoRegressor`;
        beside the ridge term, with an `l1_ratio` above 0.

    engine, fit_intercept, positive, bounds, loss, huber_delta, tweedie_power, local_solver, tol, \
            max_iter, max_time, rho, over_relaxation, \
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

    _: KW_ONLY
    local_solver: str = "auto"

    def _validate_params(self) -> None:
        super()._validate_params()
        if self.alpha == 0:
            warn(
                "With alpha=0, there is no penalty: this is least squares, for which"
                " LinearRegression is the better estimator (a model with no regularization).",
                UserWarning,
            )

    def _penalty(self) -> AnyPenalty:
        penalty = super()._penalty()
        by_rows = self.loss != "squared" or self.local_solver == "lbfgs"
        if isinstance(penalty, Concave) and (by_rows or not self.polish):
            raise ValueError(
                "MCP and SCAD are solved from statistics: they need loss='squared', polish=True"
                " and local_solver='auto' or 'gram'."
            )
        return penalty

    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, offset: Any = None, decay: float = 1.0
    ) -> Self:
        """Fit all rows seen so far and these: the statistics merge, which is exact.

        After any number of calls the coefficients are those of one fit on all the rows.
        Rows of an earlier `fit` count as seen. The finish is the exact one, whatever
        `polish` and `engine` are.

        Parameters
        ----------
        X, y, sample_weight, offset : as for `fit`
        decay : float, default=1.0
            In (0, 1]: what the weights of the rows seen before are multiplied with, which is
            exact too. After d calls with the same decay a row counts decay**d.

        Returns
        -------
        self : object
        """
        with self._all_or_nothing():
            self._validate_params()
            self._check_squared("partial_fit")
            check_number("decay", decay, min_val=0, max_val=1, include_boundaries="right")
            new, old, y_ndim, dtype = self._read_beside("partial_fit", X, y, sample_weight, offset)
            parts = [new] if old is None else [decayed(old, decay), new]
            self._fit_merged(merge_statistics(parts), y_ndim, dtype)
        return self

    def forget(self, X: Any, y: Any, sample_weight: Any = None, *, offset: Any = None) -> Self:
        """Fit the rows seen so far without these, which were among them.

        Their statistics are subtracted. That they were among those seen is checked as far as
        statistics can tell.

        Parameters
        ----------
        X, y, sample_weight, offset : as for `fit`
            As they were given before, weights included.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            Where digits would be lost: a column nearly all of whose variation is in these
            rows; or where no rows would be left.
        """
        with self._all_or_nothing():
            self._validate_params()
            self._check_squared("forget")
            check_is_fitted(self)
            rows, old, y_ndim, dtype = self._read_beside("forget", X, y, sample_weight, offset)
            left = without(old, rows)
            check_moments(left)
            self._fit_merged(left, y_ndim, dtype)
        return self

    def _read_beside(self, method, X, y, sample_weight, offset):
        """Statistics of rows, those of the rows seen before or None, dimensions of y, dtype."""
        seen = vars(self).get("statistics_")
        if seen is None and hasattr(self, "coef_"):
            raise ValueError(
                f"{method} cannot continue a fit that kept no statistics (more features"
                " than a Gram matrix should have, another loss, or read from a pickle, which"
                " lacks them: `save` writes them): use a new estimator."
            )
        given = self._given(X, y, sample_weight, offset)
        with opened(self, given, what=method, reset=seen is None) as (place, _):
            check_width(place)
            new = usable(place.merged_statistics(), place)
        if seen is None:
            return new, None, place.y_ndim, place.dtype
        old, y_ndim = from_arrays(seen)
        if old.n_targets != new.n_targets:
            raise ValueError(
                f"y has {new.n_targets} targets, and the rows seen before had"
                f" {old.n_targets}: use a new estimator."
            )
        return new, old, y_ndim, place.dtype

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
            names = [feature_names(s, k) for s in statistics if "feature_names" in s]
            if len(set(names)) > 1:
                raise ValueError(
                    "The statistics are of features with different names, or in another order."
                )
            for part in parts:
                check_moments(part)
            self.__dict__.pop("feature_names_in_", None)
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
        return self.fit_statistics(
            statistics_of(self), *(statistics_of(other, argument="others") for other in others)
        )

    def _check_squared(self, method: str) -> None:
        if self.loss != "squared":
            raise ValueError(
                f"{method} needs loss='squared', the only loss with sufficient statistics."
            )
        if self.penalty != "l1" and not hasattr(self.penalty, "dual_norm"):
            raise ValueError(
                f"{method} needs a penalty that is known as a norm, by its dual_norm: use fit."
            )

    def _fit_merged(self, statistics: Statistics, y_ndim: int, dtype: type | np.dtype) -> None:
        if statistics.weight == 0:
            raise ValueError(
                "Found array with 0 sample(s), or only of weight zero, while a minimum of 1 is"
                " required: pass some rows."
            )
        settings = self._settings(dtype, coef_init=self._coef_init(statistics.n_targets))
        found = exact.fit_statistics(statistics, self._problem(), settings)
        self._take(found, dtype, y_ndim)
        self._warn_unless_converged(found)
