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
from ..places.input import Given, dask_features, dask_offset
from ..places.place import usable, usable_pass
from ..places.reuse import reusing
from ..problem.losses import Mean
from ..rows.chunk import Declared, Unreadable, read_features, read_offset, to_host
from ..rows.newton import Points, merge_newton, newton_pass
from ..rows.statistics import statistics_made_of
from ..solvers.width import is_wide
from .progress import opened


def predict_rows(
    X: Any,
    offset: np.ndarray | None,
    coef: np.ndarray,
    intercept: float | np.ndarray,
    inverse_link: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Predictions for rows in memory; `coef` is (k,) or (m, k)."""
    eta = safe_sparse_dot(X, coef.T, dense_output=True) + intercept
    if offset is not None:
        eta = eta + (offset if eta.ndim == 1 else offset[:, np.newaxis])
    return eta if inverse_link is None else inverse_link(eta)


def predict_dask(
    estimator: Any,
    X: Any,
    offset: Any,
    compute: Callable[[Any, np.ndarray | None], np.ndarray],
    dtype: np.dtype | None = None,
    columns: Sequence | None = None,
    name: str | None = None,
) -> Any:
    """Predictions for a dask collection, computed when they are asked for.

    Parameters
    ----------
    offset : array-like or None
        Of each row.
    compute : callable
        Of rows in memory, and their offsets or None.
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
        return _predict_frame(X, _beside_frame(X, offset), predict, dtype, columns, name)
    return _predict_array(part.values, offset, predict, dtype, columns)


def _beside_frame(X, offset):
    """An offset as a Series in the partitions of X, if there is one."""
    if offset is None:
        return []
    part = dask_offset(offset)
    if not part.is_dask:
        raise ValueError(
            "offset is in memory, and X is a dask DataFrame, of which nobody knows where it"
            " belongs: pass a column of X."
        )
    values = part.values if part.is_frame else part.values.to_dask_dataframe()
    if values.npartitions != X.npartitions:
        raise ValueError(
            f"offset has {values.npartitions} partitions, and X {X.npartitions}: pass a column of"
            " X."
        )
    return [values]


def _beside_array(X, offset):
    """An offset in the chunks of X, if there is one."""
    import dask.array as da

    if offset is None:
        return []
    part, sizes = dask_offset(offset), X.chunks[0]
    values = part.values
    if part.is_frame:
        values = values.to_dask_array()
    is_known = not np.isnan(sum(sizes))
    if not part.is_dask and not is_known:
        raise ValueError(
            "offset is in memory, and X has chunks of unknown size: call X.compute_chunk_sizes()"
            " first, or pass a dask array in the same chunks."
        )
    if is_known and not part.is_frame and part.shape[0] == part.shape[0]:
        if part.shape[0] != sum(sizes):
            raise ValueError(
                "Found input variables with inconsistent numbers of samples:"
                f" X has {sum(sizes)}, offset has {part.shape[0]}."
            )
        values = values.rechunk((sizes,)) if part.is_dask else da.from_array(values, (sizes,))
    if values.numblocks[0] != len(sizes):
        raise ValueError(
            f"offset has {values.numblocks[0]} chunks, and X {len(sizes)}, of unknown size: they"
            " cannot be matched. Select both from one collection."
        )
    return [values]


def _predict_array(X, offset, predict, dtype, columns):
    import dask.array as da

    out = "i" if columns is None else "it"
    numbers = da.arange(X.numblocks[0], chunks=1)
    offsets = _beside_array(X, offset)
    return da.blockwise(
        _predict_block,
        out,
        X,
        "ij",
        numbers,
        "i",
        *(argument for values in offsets for argument in (values, "i")),
        predict=predict,
        declared=Declared(X.shape[1]),
        token="lasso-predict",
        new_axes={} if columns is None else {"t": len(columns)},
        dtype=dtype,
        meta=np.empty((0,) * len(out), dtype=dtype),
        align_arrays=False,
    )


def _predict_block(X, number, *offset, predict, declared):
    (X,) = X
    return predict(X, number[0], declared, *offset)


def _predict_frame(X, offsets, predict, dtype, columns, name):
    import pandas as pd

    index = X._meta.index[:0]
    if columns is None:
        meta = pd.Series(np.empty(0, dtype), index=index, name=name)
    else:
        values = np.empty((0, len(columns)), dtype)
        meta = pd.DataFrame(values, index=index, columns=columns)
    declared = Declared(X.shape[1], features=tuple(X.columns))
    return X.map_partitions(
        _predict_partition,
        *offsets,
        predict=predict,
        declared=declared,
        template=meta,
        meta=meta,
        align_dataframes=False,
    )


def _predict_partition(X, *offset, predict, declared, template, partition_info=None):
    number = None if partition_info is None else partition_info["number"]
    values = predict(X, number, declared, *offset)
    if values.ndim == 1:
        return type(template)(values, index=X.index, name=template.name)
    return type(template)(values, index=X.index, columns=template.columns)


def _predict_chunk(X, number, declared, offset=None, *, compute, dtype):
    try:
        X = _host_floats(read_features(X, declared))
        if offset is not None:
            offset = read_offset(offset, X.shape[0])
    except Unreadable as error:
        argument, problem, row = error.args
        where = f"in chunk {number}" if row is None else f"row {row} of chunk {number}"
        raise ValueError(f"Input {argument} {problem}, {where}.") from error
    return compute(X, offset).astype(dtype, copy=False)


def _host_floats(X):
    X = to_host(X)
    if sparse.issparse(X) or X.dtype in (np.float32, np.float64):
        return X
    return X.astype(np.float64)


def r2_score(estimator: Any, given: Given) -> float:
    """Coefficient of determination on dask collections, averaged over the targets.

    Not `dask_ml.metrics.r2_score`: with chunks of unknown size it fails (dask-ml 2025.1.0).
    The statistics of (residual, y) hold both sums of squares: a chunk's residuals take
    the place of its features.
    """

    coef, intercept = np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)
    with opened(estimator, given, what="score", reset=False) as (place, _):
        _check_targets(place, coef)
        if reusing() and given.offset is None and not is_wide(place):
            merged = usable(place.merged_statistics(), place)
            of_residual = merged.squared_residuals(coef.T, intercept)
        else:
            residuals = partial(_residuals, coef=coef, intercept=intercept)
            task = partial(statistics_made_of, residuals)
            merged = usable(place.merged_statistics(task), place)
            of_residual = np.diagonal(merged.sxx) + merged.weight * merged.x_mean**2
    if merged.n_rows < 2:
        warn("R^2 is not defined with less than two rows: it is NaN.", UndefinedMetricWarning)
        return float("nan")
    return float(r2_of(of_residual, merged.syy).mean())


def r2_of(squares: np.ndarray, variation: np.ndarray) -> np.ndarray:
    """R^2 of squared residuals; of a target that does not vary as scikit-learn has it."""
    flat = variation == 0
    score = 1 - squares / np.where(flat, 1.0, variation)
    return np.where(flat, np.where(squares == 0, 1.0, 0.0), score)


def d2_score(estimator: Any, given: Given, loss: Mean) -> float:
    """Share of the null deviance that is explained, averaged over the targets; in one pass."""
    coef, intercept = np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)
    beta = np.vstack([coef.T, np.broadcast_to(intercept, len(coef))]).astype(np.float64)
    with opened(estimator, given, what="score", reset=False) as (place, _):
        _check_targets(place, coef)
        args = loss, Points(beta, beta=beta), True
        found = usable_pass(place, newton_pass, merge_newton, *args)
    mean = found.y / found.weight
    null = loss.value(loss.constant(mean), mean) * found.weight + found.at_zero
    return float(np.mean(1 - (found.loss + found.at_zero) / null))


def accuracy(estimator: Any, given: Given) -> float:
    """Weighted share of the rows whose class, a code, is predicted; in one pass."""
    coef, intercept = estimator.coef_, estimator.intercept_
    with opened(estimator, given, what="score", reset=False) as (place, _):
        task = partial(statistics_made_of, partial(_hits, coef=coef, intercept=intercept))
        return float(usable(place.merged_statistics(task), place).y_mean[0])


def _hits(chunk, coef, intercept):
    """Whether predictions hit, as y."""
    X, y, sample_weight = chunk.arrays()
    eta = predict_rows(_host_floats(X), chunk.offset, coef, intercept)
    codes = eta > 0 if eta.shape[1] == 1 else eta.argmax(axis=1, keepdims=True)
    return eta, np.where(np.isnan(y), y, codes == y), sample_weight


def _check_targets(place, coef):
    if place.n_targets != len(coef):
        raise ValueError(
            f"y has {place.n_targets} targets, and the model was fitted to {len(coef)}."
        )


def _residuals(chunk, coef, intercept):
    """A chunk's residuals as features, and y."""
    X, y, sample_weight = chunk.arrays()
    return y - predict_rows(_host_floats(X), chunk.offset, coef, intercept), y, sample_weight
