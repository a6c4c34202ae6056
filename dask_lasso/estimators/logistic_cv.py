"""`AsyncLogisticRegressionCV`, which chooses its penalty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..engines.schedules import Engine
from ..places.input import Given, fetched, is_dask
from .callbacks import with_callbacks
from .classifier import LogisticBase
from .logistic import AsyncLogisticRegression
from .selection import Selecting

if TYPE_CHECKING:
    from distributed import Client


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

    _parameter_constraints: dict = {
        **Selecting._parameter_constraints,
        "class_weight": AsyncLogisticRegression._parameter_constraints["class_weight"],
    }

    l1_ratio_: float

    def __init__(
        self,
        *,
        l1_ratio: float | Sequence[float] = 1.0,
        eps: float = 1e-3,
        alphas: int | ArrayLike = 100,
        cv: Any = None,
        scoring: str | Callable | None = None,
        rule: str = "min",
        criterion: str = "cv",
        class_weight: dict | str | None = None,
        engine: str | Engine = "batched",
        fit_intercept: bool = True,
        positive: bool = False,
        bounds: tuple | None = None,
        penalty_weights: ArrayLike | None = None,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int = 1000,
        max_time: float | None = None,
        n_blocks: int | str = "auto",
        client: Client | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.l1_ratio = l1_ratio
        self.eps = eps
        self.alphas = alphas
        self.cv = cv
        self.scoring = scoring
        self.rule = rule
        self.criterion = criterion
        self.class_weight = class_weight
        self.engine = engine
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.bounds = bounds
        self.penalty_weights = penalty_weights
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.max_time = max_time
        self.n_blocks = n_blocks
        self.client = client
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        offset: Any = None,
        groups: Any = None,
    ) -> Self:
        """Choose the penalty and fit the model.

        Parameters
        ----------
        X, y, sample_weight, offset : as for `AsyncLogisticRegression`
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
        """
        with self._all_or_nothing():
            self._validate_params()
            given = self._given(X, y, sample_weight, offset)._replace(is_counted=True)
            codes = given.y
            if is_dask(codes) and self.criterion == "cv":
                codes = fetched(self.client, Given(None, codes.astype(np.uint8))).y
            self._fit(given, partial(self._choose, given._replace(y=np.asarray(codes)), groups))
        return self
