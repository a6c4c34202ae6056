"""What classifiers share: labels of any kind in, and out again."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .._warn import warn
from ..places.input import (
    Given,
    check_is_rows,
    deadline_of,
    fetched,
    is_dask,
    memory_features,
    memory_offset,
    no_target,
    per_row,
    weights_beside,
)
from ..problem.box import real_array
from ..problem.losses import Logistic
from ..problem.softmax import Softmax
from .base import LinearBase
from .predict import accuracy, predict_dask, predict_rows

_NO_COLUMNS = np.empty(0)


class LogisticBase(ClassifierMixin, LinearBase):
    """What the classifiers share."""

    classes_: np.ndarray

    penalty = "l1"
    local_solver = "auto"
    polish = True

    def _given(self, X: Any, y: Any, sample_weight: Any, offset: Any) -> Given:
        """The rows, with codes for the labels, which are found here."""
        if y is None:
            raise ValueError(no_target())
        y, deadline = _one_column(y), deadline_of(self.max_time)
        labels, counts = self._labels(y, deadline)
        _check_classes(labels, offset, self.polish)
        self.classes_ = labels
        weights = self._weights(y, per_row(sample_weight), counts)
        return Given(X, _encoded(y, labels), weights, offset, deadline=deadline)

    def _loss(self) -> Any:
        n_classes = len(self.classes_)
        return Logistic() if n_classes == 2 else Softmax(n_classes, self.fit_intercept, _NO_COLUMNS)

    def _labels(self, y, deadline):
        """The labels in y, sorted, and how often each is there."""
        if is_dask(y):
            of_chunks = list(fetched(self.client, Given(None, _counted(y), deadline=deadline)).y)
        else:
            of_chunks = [_counts(y)]
        for chunk, found in enumerate(of_chunks):
            if found.missing is not None:
                raise _missing_label(f"in chunk {chunk}" if is_dask(y) else f"row {found.missing}")
        of_chunks = [found for found in of_chunks if len(found.labels)]
        if not of_chunks:
            raise ValueError("y: Found array with 0 sample(s) while a minimum of 1 is required.")
        labels, where = _distinct(np.concatenate([found.labels for found in of_chunks]))
        counts = np.bincount(where, weights=np.concatenate([found.counts for found in of_chunks]))
        # It warns of a y that has few rows for each label, so it is not shown each label once.
        check_classification_targets(np.resize(labels, int(min(counts.sum(), 5 * len(labels)))))
        return labels, counts

    def _weights(self, y, sample_weight, counts):
        """Weights of the rows, times those of their classes."""
        if self.class_weight is None:
            return sample_weight
        if isinstance(self.class_weight, dict):
            _check_class_weight(list(self.class_weight.values()))
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
        if y is None:
            raise ValueError(no_target())
        check_is_rows("y", y)
        if not is_dask(X):
            given = fetched(self.client, Given(X, y, sample_weight, offset).checked())
            y, sample_weight, offset = given[1:4]
            weights = weights_beside(X, sample_weight)
            missing = _counts(np.ravel(y)).missing
            if missing is not None:
                raise _missing_label(f"row {missing}")
            return accuracy_score(y, self.predict(X, offset), sample_weight=weights)
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


def _check_class_weight(values):
    weights = real_array("class_weight", values)
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("class_weight has negative or non-finite values: use weights >= 0.")


# -- labels --------------------------------------------------------------------------------


def _one_column(y):
    """y in one dimension, an array or a dask collection."""
    check_is_rows("y", y)
    if not is_dask(y):
        y = np.asarray(y)
        if y.ndim == 2 and y.shape[1] == 1:
            warn(
                "A column-vector y was passed when a 1d array was expected: the column is taken.",
                DataConversionWarning,
            )
            return y[:, 0]
    if getattr(y, "ndim", 1) != 1:
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
        return y.map_partitions(_counts_of_partition, meta=(None, object), token="lasso-labels")
    return y.map_blocks(
        _counts_of_chunk,
        token="lasso-labels",
        dtype=object,
        chunks=((1,) * y.numblocks[0],),
        meta=np.empty(0, dtype=object),
    )


class _Counts(NamedTuple):
    """Labels, how often each is there, and the first row that has none."""

    labels: np.ndarray
    counts: np.ndarray
    missing: int | None


def _counts(labels):
    missing = _missing(labels)
    first = int(missing.argmax()) if missing.any() else None
    labels = labels[~missing]
    if labels.dtype != object:
        return _Counts(*np.unique(labels, return_counts=True), first)
    # Whether they have an order is told where the user sees it, not on a worker.
    counter = Counter(labels.tolist())
    found = np.empty(len(counter), dtype=object)
    found[:] = list(counter)
    return _Counts(found, np.array(list(counter.values()), dtype=float), first)


def _counts_of_chunk(chunk):
    found = np.empty(1, dtype=object)
    found[0] = _counts(np.asarray(chunk))
    return found


def _counts_of_partition(series):
    import pandas as pd

    return pd.Series([_counts(series.to_numpy())], dtype=object)


def _missing(labels):
    """Which labels are None, NaN, NaT or pandas' NA."""
    if labels.dtype != object:
        return labels != labels
    return np.fromiter(map(_is_missing, labels), bool, len(labels))


def _is_missing(label):
    # NA is not equal, and not unequal, to anything.
    return label is None or type(label).__name__ == "NAType" or label != label


def _missing_label(where):
    return ValueError(
        f"Input y contains NaN, {where}: drop the rows without a label, or give them one."
    )


def _distinct(labels):
    """The different labels, sorted, and where each is among them."""
    try:
        return np.unique(labels, return_inverse=True)
    except TypeError as error:
        types = ", ".join(sorted({type(label).__name__ for label in labels}))
        raise TypeError(
            f"y has labels of several types ({types}), which have no order: make them one, as with"
            " y.astype(str)."
        ) from error


def _encoded(y, classes, values=None):
    """The values of the classes, or their codes, in place of the labels; lazy where these are."""
    values = tuple(map(float, range(len(classes)))) if values is None else values
    encode = partial(_encode, classes=classes, values=values)
    if not is_dask(y):
        return encode(np.asarray(y))
    if hasattr(y, "map_partitions"):
        return y.map_partitions(
            _encode_partition, encode, meta=(y.name, np.float64), token="lasso-encode"
        )
    return y.map_blocks(encode, dtype=np.float64, meta=np.empty(0), token="lasso-encode")


def _encode(labels, classes, values):
    if labels.dtype == object:
        of_label = dict(zip(classes, values, strict=True))
        found = np.fromiter((of_label.get(label, np.nan) for label in labels), float, len(labels))
    else:
        found = np.full(len(labels), np.nan)
        for label, value in zip(classes, values, strict=True):
            found[labels == label] = value
    other = np.flatnonzero(np.isnan(found))
    found[other[~_missing(labels[other])]] = len(classes)  # labels that the fit has not seen
    return found


def _encode_partition(series, encode):
    return type(series)(encode(series.to_numpy()), index=series.index, name=series.name)
