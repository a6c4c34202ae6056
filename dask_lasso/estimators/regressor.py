"""What the regressors share: fits, predictions, scores and intervals."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from sklearn import metrics
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from ..places.input import Given, beside, is_dask, memory_features, memory_offset
from ..problem.degrees import degrees_of_freedom
from ..problem.first import adapted
from ..problem.losses import Loss, Mean, Pair, Residual, loss_of
from ..problem.penalties import L1
from ..rows.statistics import Statistics
from .arrays import from_arrays, statistics_of
from .base import LinearBase
from .inference import inference
from .parameters import OfLoss
from .predict import d2_score, predict_dask, predict_rows, r2_of, r2_score

if TYPE_CHECKING:
    import pandas as pd


class LassoBase(RegressorMixin, LinearBase, OfLoss):
    """What the regressors share."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.loss in ("poisson", "gamma", "tweedie")
        return tags

    def _loss(self) -> Loss | Pair:
        return loss_of(self.loss, self.huber_delta, self.tweedie_power)

    def _given(self, X: Any, y: Any, sample_weight: Any, offset: Any) -> Given:
        return Given(X, y, sample_weight, offset, isinstance(self._loss(), Residual))

    def predict(self, X: Any, offset: Any = None) -> Any:
        """Predict the targets of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, dask Array, dask DataFrame} of shape \
                (n_samples, n_features)
        offset : array-like of shape (n_samples,), default=None
            As in `fit`; none is zero. Beside a dask array in chunks like it or in memory, and
            beside a dask DataFrame a Series with its partitions.

        Returns
        -------
        ndarray, dask Array or dask Series of shape (n_samples,) or (n_samples, n_targets)
            Lazy for a dask collection, and NaN there for rows with NaN. Of a dask DataFrame
            a Series (for several targets a DataFrame) with its index and partitions, named
            after y, so that ``frame["predicted"] = model.predict(frame[names])`` works.
        """
        check_is_fitted(self)
        if is_dask(X):
            compute = partial(
                predict_rows,
                coef=self.coef_,
                intercept=self.intercept_,
                inverse_link=self._inverse_link(),
            )
            names = getattr(self, "_target_names_", None)
            if self.coef_.ndim == 1:
                return predict_dask(self, X, offset, compute, name=names and names[0])
            return predict_dask(self, X, offset, compute, columns=names or range(len(self.coef_)))
        # A partition of a frame may be empty.
        X = memory_features(
            self, X, reset=False, accept_sparse=["csr", "csc"], ensure_min_samples=0
        )
        offset = None if offset is None else memory_offset(X, offset)
        return predict_rows(X, offset, self.coef_, self.intercept_, self._inverse_link())

    def _inverse_link(self):
        """What makes means of linear predictors; None where they are the same."""
        return getattr(self._loss(), "inverse_link", None)

    def score(self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> float:
        """Coefficient of determination R^2 of the predictions; D^2 of a loss that is a deviance.

        Both are relative to the mean of y, as in scikit-learn, whatever the offset.

        Parameters
        ----------
        X, y, sample_weight, offset : as for `fit`
            Dask collections are read once.

        Returns
        -------
        float
            Averaged uniformly over the targets.
        """
        check_is_fitted(self)
        given, loss = Given(X, y, sample_weight, offset), self._loss()
        if hasattr(loss, "constant"):
            return d2_score(self, given, cast(Mean, loss))
        if is_dask(X):
            return r2_score(self, given)
        y, sample_weight = beside(given, client=self.client)
        return metrics.r2_score(y, self.predict(X, offset), sample_weight=sample_weight)

    def inference(
        self,
        level: float = 0.95,
        *,
        X: Any = None,
        y: Any = None,
        sample_weight: Any = None,
        offset: Any = None,
    ) -> pd.DataFrame:
        """Debiased coefficients with standard errors, intervals and p-values, by name.

        Of the lasso, which shrinks, no error is known; of the debiased lasso it is (Zhang &
        Zhang 2014; van de Geer, Buhlmann, Ritov & Dezeure 2014). With five rows for each column,
        or more, it is least squares; with fewer, each column is set apart from the others by
        a lasso of its own, and the truth has to be sparse. All from `statistics_`.

        Parameters
        ----------
        level : float, default=0.95
            Of the intervals; each holds for its coefficient by itself.
        X, y, sample_weight, offset : as for `fit`, default=None
            The rows of the fit, for errors that hold where the variance of the noise differs
            from row to row (White 1980; HC1): one pass over them. None is noise of one
            variance, over the row's weight.

        Returns
        -------
        pandas DataFrame of shape (n_features, 6)
            `coefficient` (of the lasso), `estimate` (debiased), `std_error`, `lower`,
            `upper`, `p_value` (of Student's t, that the coefficient is zero). NaN for columns
            that do not vary or repeat another. After a cross-validation also `stability`, the
            share of its training sets in which the lasso has the column.

        Raises
        ------
        ValueError
            If the fit has no `statistics_`, several targets, or too few rows.
        """
        check_is_fitted(self)
        given = {"y": y, "sample_weight": sample_weight, "offset": offset}
        alone = [name for name, values in given.items() if values is not None and X is None]
        if alone:
            raise ValueError(f"{alone[0]} is of rows, which are not there: pass X too.")
        rows = None if X is None else self._given(X, y, sample_weight, offset)
        return inference(self, level, rows)

    @property
    def train_score_(self) -> float:
        """R^2 on the rows of the fit, averaged over the targets."""
        statistics, coef = self._training()
        residual = statistics.squared_residuals(coef, np.atleast_1d(self.intercept_))
        return float(r2_of(residual, statistics.syy).mean())

    @property
    def degrees_of_freedom_(self) -> float | np.ndarray:
        """Degrees of freedom, per target; without the intercept's."""
        statistics, coef = self._training()
        problem, penalty = statistics.moments(self.fit_intercept), self._penalty()
        if not isinstance(penalty, L1):
            raise AttributeError("degrees_of_freedom_ are known of penalty='l1' alone.")
        penalty = penalty.in_units(statistics.x_variation, statistics.weight)
        # Each target may have a penalty of its own.
        chosen = np.broadcast_arrays(penalty.alpha, penalty.l1_ratio, coef[0])[:2]
        df = []
        for target, (alpha, l1_ratio) in enumerate(zip(*chosen, strict=True)):
            of_one = replace(penalty, alpha=float(alpha), l1_ratio=float(l1_ratio))
            of_one = adapted(problem.target(target), of_one)
            df.append(degrees_of_freedom(problem, coef[:, target], of_one))
        return df[0] if self.coef_.ndim == 1 else np.array(df)

    def _training(self) -> tuple[Statistics, np.ndarray]:
        # As an attribute that is not there, where it cannot be told.
        statistics, _ = from_arrays(statistics_of(self, AttributeError))
        return statistics, np.atleast_2d(self.coef_).T.astype(np.float64)
