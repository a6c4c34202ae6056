"""`AsyncLogisticRegression`: two classes, by the odds of the second; more, by the softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np

from .at_alpha import AtAlpha
from .classifier import LogisticBase
from .selection import Selecting


@dataclass(eq=False, repr=False)
class AsyncLogisticRegression(AtAlpha, LogisticBase):
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

    alpha: float = 1e-4
    _: KW_ONLY
    l1_ratio: float = 1.0
    class_weight: dict | str | None = None

    def _coef_init(self, n_targets: int) -> np.ndarray | None:
        start = super()._coef_init(len(getattr(self, "coef_", ())))
        of_these = start is not None and start.shape[1] in (1, len(self.classes_))
        return start if of_these else None


@dataclass(eq=False, repr=False)
class AsyncLogisticRegressionCV(Selecting, LogisticBase):
    """Logistic regression whose alpha and l1_ratio are chosen by cross-validation.

    `sklearn.linear_model.LogisticRegressionCV` for data larger than one machine's memory, by
    the deviance of the test sets. All folds and ten alphas at a time share their passes over
    the rows, of which there are about eight (`n_passes_`); of more than two classes, or with more
    than 10,000 columns, all folds share about five for each alpha. Every point has a duality gap.

    Parameters
    ----------
    l1_ratio : float or list of float, default=1.0
        Share of the l1 term in the penalty; of a list, the best is chosen.

    eps, alphas, rule, engine, fit_intercept, positive, bounds, penalty_weights, standardize, \
            tol, max_iter, n_blocks, client, random_state, verbose
        As in `AsyncLassoCV`.

    scoring : str or callable, default=None
        What chooses alpha in place of the deviance, as "accuracy" or "roc_auc"; as in
        `AsyncLassoCV`. "neg_log_loss" takes no further pass.

    cv : int, splitter or iterable of (train, test), default=None
        None is 5; an integer is as many folds of `sklearn.model_selection.StratifiedKFold`.
        For them, and for a splitter, the labels of a dask collection come to this process,
        a byte for each row.

    criterion : {"cv", "aic", "bic"}, default="cv"
        What chooses alpha. "aic" and "bic" are of ``l1_ratio=1``, with as many degrees of
        freedom as there are coefficients that are not zero.

    class_weight : dict or "balanced", default=None
        As in `AsyncLogisticRegression`; of all rows, in each fold too.

    max_time : float, default=None
        Seconds after which alpha is chosen among those that are done, from the largest down.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)

    alpha_, l1_ratio_ : float
        The chosen penalty.

    alphas_ : ndarray of shape (n_alphas,) or (n_l1_ratio, n_alphas)

    deviance_path_ : ndarray of shape (n_alphas, n_folds) or (n_l1_ratio, n_alphas, n_folds)
        Mean deviance, twice the log-loss, on each test set.

    score_path_ : ndarray, of the same shape
        With `scoring`, the scores in place of these.

    criterion_ : ndarray of shape (n_alphas,)
        With "aic" or "bic", its values.

    stability_ : ndarray, of the shape of `coef_`
        As in `AsyncLassoCV`.

    coef_, intercept_, sparse_coef_, dual_gap_, certificate_, n_iter_, n_passes_, \
            n_samples_seen_, history_, n_features_in_, feature_names_in_
        Of the fit on all rows at `alpha_`, as in `AsyncLogisticRegression`.

    See Also
    --------
    sklearn.linear_model.LogisticRegressionCV : The same choice on data in memory.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_lasso import AsyncLogisticRegressionCV
    >>> X = da.random.default_rng(0).normal(size=(1000, 5), chunks=(100, 5)).persist()
    >>> y = (X[:, 0] + da.random.default_rng(1).normal(size=1000, chunks=100) > 0).persist()
    >>> model = AsyncLogisticRegressionCV(alphas=20).fit(X, y)
    >>> model.deviance_path_.shape
    (20, 5)
    """

    _: KW_ONLY
    l1_ratio: float | Sequence[float] = 1.0
    class_weight: dict | str | None = None
