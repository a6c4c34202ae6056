"""Predictions, lazy ones of dask collections, and their R^2 in one pass over the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils.extmath import safe_sparse_dot

from .._warn import warn
from ..places.input import dask_features, open_rows
from ..places.place import usable
from ..places.reuse import reusing
from ..problem.losses import Mean
from ..rows.chunk import Chunk, Declared, Unreadable, read_features, to_host
from ..rows.newton import Points, merge_newton, newton_pass
from ..rows.statistics import statistics_of_chunk, value_defect
from ..solvers.width import is_wide


def predict_rows(
    X: Any,
    coef: np.ndarray,
    intercept: float | np.ndarray,
    inverse_link: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Predictions for rows in memory; `coef` is (k,) or (m, k)."""
    eta = safe_sparse_dot(X, coef.T, dense_output=True) + intercept
    return eta if inverse_link is None else inverse_link(eta)


def predict_dask(
    estimator: Any,
    X: Any,
    compute: Callable[[Any], np.ndarray],
    dtype: np.dtype | None = None,
    columns: Sequence | None = None,
    name: str | None = None,
) -> Any:
    """Predictions for a dask collection, computed when they are asked for.

    Parameters
    ----------
    compute : callable
        Of rows in memory.
    dtype : dtype, optional
        Of what it returns; float32 where X and the coefficients are, else float64.
    columns : sequence or None
        Names of its columns, for frames; None where it has one dimension.
    name : str or None
        Of the Series then.

    Returns
    -------
    dask Array, or, for a dask DataFrame, Series (DataFrame where there are columns)
        With the index and the partitions of X.
    """
    part = dask_features(estimator, X, reset=False)
    if dtype is None:
        single = part.dtype == np.float32 and estimator.coef_.dtype == np.float32
        dtype = np.dtype(np.float32 if single else np.float64)
    predict = partial(_predict_chunk, compute=compute, dtype=dtype)
    if part.is_frame:
        return _predict_frame(X, predict, dtype, columns, name)
    return _predict_array(part.values, predict, dtype, columns)


def _predict_array(X, predict, dtype, columns):
    import dask.array as da

    out = "i" if columns is None else "it"
    numbers = da.arange(X.numblocks[0], chunks=1)
    return da.blockwise(
        _predict_block,
        out,
        X,
        "ij",
        numbers,
        "i",
        predict=predict,
        declared=Declared(X.shape[1]),
        new_axes={} if columns is None else {"t": len(columns)},
        dtype=dtype,
        meta=np.empty((0,) * len(out), dtype=dtype),
        align_arrays=False,
    )


def _predict_block(X, number, predict, declared):
    (X,) = X
    return predict(X, number[0], declared)


def _predict_frame(X, predict, dtype, columns, name):
    import pandas as pd

    index = X._meta.index[:0]
    if columns is None:
        meta = pd.Series(np.empty(0, dtype), index=index, name=name)
    else:
        values = np.empty((0, len(columns)), dtype)
        meta = pd.DataFrame(values, index=index, columns=columns)
    declared = Declared(X.shape[1], features=tuple(X.columns))
    return X.map_partitions(
        _predict_partition, predict=predict, declared=declared, template=meta, meta=meta
    )


def _predict_partition(X, predict, declared, template, partition_info=None):
    number = None if partition_info is None else partition_info["number"]
    values = predict(X, number, declared)
    if values.ndim == 1:
        return type(template)(values, index=X.index, name=template.name)
    return type(template)(values, index=X.index, columns=template.columns)


def _predict_chunk(X, number, declared, *, compute, dtype):
    try:
        X = _host_floats(read_features(X, declared))
    except Unreadable as error:
        argument, problem, row = error.args
        where = f"in chunk {number}" if row is None else f"row {row} of chunk {number}"
        raise ValueError(f"Input {argument} {problem}, {where}.") from error
    return compute(X).astype(dtype, copy=False)


def _host_floats(X):
    X = to_host(X)
    if sparse.issparse(X) or X.dtype in (np.float32, np.float64):
        return X
    return X.astype(np.float64)


def r2_score(estimator: Any, X: Any, y: Any, sample_weight: Any) -> float:
    """Coefficient of determination on dask collections, averaged over the targets.

    Not `dask_ml.metrics.r2_score`: with chunks of unknown size it fails (dask-ml 2025.1.0).
    The statistics of (residual, y) hold both sums of squares: a chunk's residuals take
    the place of its features.
    """

    coef, intercept = np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)
    with open_rows(estimator, X, y, sample_weight, client=estimator.client, reset=False) as place:
        _check_targets(place, coef)
        if reusing() and not is_wide(place):
            merged = usable(place.merged_statistics(), place)
            of_residual = merged.squared_residuals(coef.T, intercept)
        else:
            task = partial(_of_residuals, coef=coef, intercept=intercept)
            merged = usable(place.merged_statistics(task), place)
            of_residual = np.diagonal(merged.sxx) + merged.weight * merged.x_mean**2
    if merged.n_rows < 2:
        warn("R^2 is not defined with less than two rows: it is NaN.", UndefinedMetricWarning)
        return float("nan")
    flat = merged.syy == 0
    scores = 1 - of_residual / np.where(flat, 1.0, merged.syy)
    # scikit-learn's convention for a target that does not vary.
    scores[flat] = np.where(of_residual[flat] == 0, 1.0, 0.0)
    return float(scores.mean())


def d2_score(estimator: Any, X: Any, y: Any, sample_weight: Any, loss: Mean) -> float:
    """Share of the null deviance that is explained, averaged over the targets; in one pass."""
    coef, intercept = np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)
    beta = np.vstack([coef.T, np.broadcast_to(intercept, len(coef))]).astype(np.float64)
    with open_rows(estimator, X, y, sample_weight, client=estimator.client, reset=False) as place:
        _check_targets(place, coef)
        args = loss, Points(beta, beta=beta), True
        found = place.reduce(newton_pass, merge_newton, *args)
        if found.defect is not None:
            found = place.reduce(newton_pass, merge_newton, *args, in_order=True)
        usable(found, place)
    mean = found.y / found.weight
    null = loss.value(loss.constant(mean), mean) * found.weight + found.at_zero
    return float(np.mean(1 - (found.loss + found.at_zero) / null))


def accuracy(estimator: Any, X: Any, y: Any, sample_weight: Any) -> float:
    """Weighted share of the rows whose class, 0 or 1, is predicted; in one pass."""
    coef, intercept = estimator.coef_, estimator.intercept_
    with open_rows(estimator, X, y, sample_weight, client=estimator.client, reset=False) as place:
        task = partial(_of_hits, coef=coef, intercept=intercept)
        return float(usable(place.merged_statistics(task), place).y_mean[0])


def _of_hits(chunk, coef, intercept):
    """Statistics of whether predictions hit."""
    if chunk.defect is not None:
        return statistics_of_chunk(chunk)
    X, y, sample_weight = chunk.arrays()
    eta = predict_rows(_host_floats(X), coef, intercept)
    hits = ((eta > 0) == y) * 1.0
    found = statistics_of_chunk(Chunk(eta, hits, sample_weight, chunk.n_rows))
    if found.defect is not None:  # what is wrong is in the rows
        return found._replace(defect=value_defect(to_host(X), y, sample_weight))
    return found


def _check_targets(place, coef):
    if place.n_targets != len(coef):
        raise ValueError(
            f"y has {place.n_targets} targets, and the model was fitted to {len(coef)}."
        )


def _of_residuals(chunk, coef, intercept):
    """Statistics of a chunk's residuals as features, and of y."""
    if chunk.defect is not None:
        return statistics_of_chunk(chunk)
    X, y, sample_weight = chunk.arrays()
    residual = y - predict_rows(_host_floats(X), coef, intercept)
    found = statistics_of_chunk(Chunk(residual, y, sample_weight, chunk.n_rows))
    if found.defect is not None:  # what is wrong is in the rows, not in the residuals
        defect = value_defect(to_host(X), y, sample_weight)
        return found._replace(defect=defect)
    return found
