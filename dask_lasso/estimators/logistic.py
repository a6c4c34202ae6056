"""`AsyncLogisticRegression`: two classes, by the odds of the second; more, by the softmax."""

from __future__ import annotations

from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import accuracy_score
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .._warn import warn
from ..engines.record import Observer
from ..engines.schedules import Engine
from ..places.input import Given, fetched, is_dask, memory_features, memory_offset, per_row
from ..problem.losses import Logistic
from ..solvers import admm, newton
from ..solvers.fit import Fit, Problem
from ..solvers.width import check_width
from .base import LinearBase
from .callbacks import with_callbacks
from .elastic_net import CONSTRAINTS
from .predict import accuracy, predict_dask, predict_rows

if TYPE_CHECKING:
    from distributed import Client


class AsyncLogisticRegression(ClassifierMixin, LinearBase):
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

    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in CONSTRAINTS.items()
            if name not in ("loss", "huber_delta", "tweedie_power", "local_solver")
        },
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    classes_: np.ndarray

    def __init__(
        self,
        alpha: float = 1e-4,
        *,
        l1_ratio: float = 1.0,
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
        rho: float | str = "auto",
        over_relaxation: float = 1.6,
        n_blocks: int | str = "auto",
        max_staleness: int | None = None,
        polish: bool = True,
        warm_start: bool = False,
        client: Client | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.alpha = alpha
        self.l1_ratio = l1_ratio
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
        self.rho = rho
        self.over_relaxation = over_relaxation
        self.n_blocks = n_blocks
        self.max_staleness = max_staleness
        self.polish = polish
        self.warm_start = warm_start
        self.client = client
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, offset: Any = None) -> Self:
        """Fit the model in a handful of passes over the rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, dask Array, dask DataFrame} of shape \
                (n_samples, n_features)
        y : {array-like, dask Array, dask Series} of shape (n_samples,)
            Labels of any kind. Which they are is read first, of y alone.
        sample_weight : float or array-like of shape (n_samples,), default=None
        offset : array-like of shape (n_samples,), default=None
            What is added to the log-odds of each row, of two classes.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            For parameters or data that cannot be used; what the estimator had from an
            earlier fit is kept.
        TimeoutError
            If there was nothing to estimate from after `max_time`.
        RuntimeError
            If the cluster went away, or cancelled what the fit needs.
        """
        with self._all_or_nothing():
            self._validate_params()
            if y is None:
                raise ValueError(
                    "requires y to be passed, but the target y is None: call"
                    f" {type(self).__name__}.fit(X, y)."
                )
            start = self._start()
            y = _one_column(y)
            labels, counts = self._labels(y)
            _check_classes(labels, offset, self.polish)
            self.classes_ = labels
            weights = self._weights(y, per_row(sample_weight), counts)
            given = Given(X, _encoded(y, labels), weights, offset)
            self._fit(given, partial(self._solve, start))
        return self

    def _start(self):
        """Coefficients to start from."""
        return self.coef_.T if self.warm_start and hasattr(self, "coef_") else None

    def _labels(self, y):
        """The labels in y, sorted, and how often each is there."""
        if not is_dask(y):
            check_classification_targets(y)
            return np.unique(y, return_counts=True)
        found = fetched(self.client, Given(None, _counted(y))).y
        pairs = [pair for pair in found if len(pair[0])]
        if not pairs:
            raise ValueError("y: Found array with 0 sample(s) while a minimum of 1 is required.")
        labels, where = np.unique(np.concatenate([pair[0] for pair in pairs]), return_inverse=True)
        counts = np.bincount(where, weights=np.concatenate([pair[1] for pair in pairs]))
        check_classification_targets(labels)
        return labels, counts

    def _weights(self, y, sample_weight, counts):
        """Weights of the rows, times those of their classes."""
        if self.class_weight is None:
            return sample_weight
        if is_dask(y) and self.class_weight == "balanced":
            if sample_weight is not None:
                raise ValueError(
                    "class_weight='balanced' beside sample_weight needs the weight of each class,"
                    " which is not computed of dask collections: pass class_weight as a dict."
                )
            by_class = counts.sum() / (len(counts) * counts)
        else:
            of = y if not is_dask(y) else self.classes_
            by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=of)
        weights = _encoded(y, self.classes_, tuple(by_class))
        return weights if sample_weight is None else weights * sample_weight

    def _solve(self, start, place, observe: Observer) -> Fit:
        """Newton, or consensus ADMM on raw rows."""
        problem = Problem(self._penalty(), self.fit_intercept, Logistic())
        if start is not None and len(start) != place.n_features:
            raise ValueError(
                f"warm_start=True, but the previous fit had {len(start)} features and X has"
                f" {place.n_features}: use a new estimator or warm_start=False."
            )
        if start is not None and len(start.T) not in (1, len(self.classes_)):
            start = None  # of other classes
        settings = self._settings(
            place.dtype,
            max_staleness=self.max_staleness,
            rho=self.rho,
            over_relaxation=self.over_relaxation,
            coef_init=start,
        )
        n_classes = len(self.classes_)
        check_width(place, 1 if n_classes == 2 else n_classes)
        if n_classes > 2:
            return newton.fit_classes(place, problem, settings, observe, n_classes)
        if self.polish:
            return newton.fit(place, problem, settings, observe)
        return admm.fit(place, problem, settings, observe, by_rows=True)

    def _attributes_of(self, estimate, dtype, y_ndim):
        n_classes = len(self.classes_)
        found = super()._attributes_of(estimate, dtype, 1 if n_classes == 2 else 2)
        if n_classes > 2:  # the error of each intercept adds to one gap
            gap = float(estimate.gap[0])
            found["dual_gap_"] = gap + float((found["dual_gap_"] - gap).sum())
            found["intercept_"] = np.broadcast_to(found["intercept_"], n_classes).copy()
        found["coef_"] = np.atleast_2d(found["coef_"])
        found["intercept_"] = np.atleast_1d(np.asarray(found["intercept_"], dtype=dtype))
        return found

    def decision_function(self, X: Any, offset: Any = None) -> Any:
        """Log-odds of the second class, of more than two linear predictors of each.

        Parameters
        ----------
        X : {array-like, sparse matrix, dask Array, dask DataFrame} of shape \
                (n_samples, n_features)
        offset : array-like of shape (n_samples,), default=None
            As in `AsyncLassoRegressor.predict`.

        Returns
        -------
        ndarray, dask Array or dask Series of shape (n_samples,), or (n_samples, n_classes)
            Lazy for a dask collection.
        """
        check_is_fitted(self)
        return self._predict(X, offset, _log_odds, self.classes_ if len(self.coef_) > 1 else None)

    def predict(self, X: Any, offset: Any = None) -> Any:
        """Predict the class of rows: arguments and kinds of results as of `decision_function`."""
        return self._predict(X, offset, partial(_label, classes=self._fitted_classes()))

    def predict_proba(self, X: Any, offset: Any = None) -> Any:
        """Probabilities (n_samples, n_classes) of the classes; a DataFrame of a dask frame."""
        return self._predict(X, offset, _probabilities, self._fitted_classes())

    def predict_log_proba(self, X: Any, offset: Any = None) -> Any:
        """Logarithms of `predict_proba`."""
        return self._predict(X, offset, _log_probabilities, self._fitted_classes())

    def _fitted_classes(self):
        check_is_fitted(self)
        return self.classes_

    def _predict(self, X, offset, of_odds, columns=None):
        check_is_fitted(self)
        coef, intercept = self.coef_, self.intercept_
        if len(coef) == 1:
            coef, intercept = coef[0], intercept[0]
        elif offset is not None:
            raise ValueError("offset is added to the log-odds of two classes: pass none.")
        compute = partial(_of_rows, of_odds, coef=coef, intercept=intercept)
        if is_dask(X):
            is_label = isinstance(of_odds, partial)
            dtype = self.classes_.dtype if is_label else None
            return predict_dask(self, X, offset, compute, dtype, columns)
        X = memory_features(
            self, X, reset=False, accept_sparse=["csr", "csc"], ensure_min_samples=0
        )
        return compute(X, None if offset is None else memory_offset(X, offset))

    def score(self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> float:
        """Share of the rows whose class is predicted; dask collections are read once."""
        check_is_fitted(self)
        if not is_dask(X):
            _, y, sample_weight, offset, _ = fetched(
                self.client, Given(X, y, sample_weight, offset)
            )
            return accuracy_score(y, self.predict(X, offset), sample_weight=sample_weight)
        y = _encoded(_one_column(y), self.classes_)
        return accuracy(self, Given(X, y, sample_weight, offset))


def _of_rows(of_odds, X, offset, coef, intercept):
    return of_odds(predict_rows(X, offset, coef, intercept))


def _log_odds(eta):
    return eta


def _label(eta, classes):
    return classes[(eta > 0).astype(np.intp) if eta.ndim == 1 else eta.argmax(axis=1)]


def _probabilities(eta):
    return np.exp(_log_probabilities(eta))


def _log_probabilities(eta):
    if eta.ndim == 2:
        return log_softmax(eta, axis=1)
    return -np.logaddexp(0, np.column_stack([eta, -eta]))


# -- labels --------------------------------------------------------------------------------


def _one_column(y):
    """y in one dimension, an array or a dask collection."""
    if is_dask(y) and getattr(y, "ndim", 1) == 2:
        raise ValueError(
            f"y should be a 1d array, got an array of shape {y.shape} instead: pass one column."
        )
    if is_dask(y):
        return y
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        warn(
            "A column-vector y was passed when a 1d array was expected: the column is taken.",
            DataConversionWarning,
        )
        return y[:, 0]
    if y.ndim != 1:
        raise ValueError(
            f"y should be a 1d array, got an array of shape {y.shape} instead: pass one column."
        )
    return y


def _check_classes(labels, offset, polish):
    of = f"of two classes, and y has {len(labels)}"
    if len(labels) == 1:
        raise ValueError(
            f"y has only one class, {labels[0]!r}: pass rows of two classes (this needs samples of"
            " at least 2 classes in the data, but the data contains only one class)."
        )
    if len(labels) > 2 and offset is not None:
        raise ValueError(f"offset is added to the log-odds {of}: pass none.")
    if len(labels) > 2 and not polish:
        raise ValueError(f"polish=False is {of}: use polish=True.")


def _counted(y):
    """A dask collection of the labels of each chunk, and how often each is there."""
    if hasattr(y, "npartitions") and hasattr(y, "map_partitions"):
        return y.map_partitions(_counts_of_partition, meta=(None, object))
    return y.map_blocks(
        _counts_of_chunk,
        dtype=object,
        chunks=((1,) * y.numblocks[0],),
        meta=np.empty(0, dtype=object),
    )


def _counts_of_chunk(chunk):
    found = np.empty(1, dtype=object)
    found[0] = np.unique(np.asarray(chunk), return_counts=True)
    return found


def _counts_of_partition(series):
    import pandas as pd

    return pd.Series([np.unique(series.to_numpy(), return_counts=True)], dtype=object)


def _encoded(y, classes, values=None):
    """The values of the classes, or their codes, in place of the labels; lazy where these are."""
    values = tuple(map(float, range(len(classes)))) if values is None else values
    encode = partial(_encode, classes=classes, values=values)
    if not is_dask(y):
        return encode(np.asarray(y))
    if hasattr(y, "map_partitions"):
        return y.map_partitions(_encode_partition, encode, meta=(y.name, np.float64))
    return y.map_blocks(encode, dtype=np.float64, meta=np.empty(0))


def _encode(labels, classes, values):
    found = np.full(len(labels), float(len(classes)))  # of a label that the fit has not seen
    for label, value in zip(classes, values, strict=True):
        found[labels == label] = value
    return found


def _encode_partition(series, encode):
    return type(series)(encode(series.to_numpy()), index=series.index, name=series.name)
