"""Predictions, lazy ones of dask collections, and their R^2 in one pass over the rows."""

from __future__ import annotations

import numpy as np
from sklearn.utils.extmath import safe_sparse_dot

from ._reuse import reusing
from ._statistics import to_host


def predict_rows(X, coef, intercept):
    """Predictions for rows in memory; `coef` is (k,) or (m, k)."""
    return safe_sparse_dot(to_host(X), coef.T, dense_output=True) + intercept


def predict_dask(X, coef, intercept):
    """Predictions for a dask array, as one that is computed when it is asked for."""
    import dask.array as da

    out = "i" if coef.ndim == 1 else "it"
    return da.blockwise(
        _predict_chunk,
        out,
        X,
        "ij",
        coef=coef,
        intercept=intercept,
        new_axes={} if coef.ndim == 1 else {"t": len(coef)},
        dtype=np.result_type(coef.dtype, np.float32),
        meta=np.empty((0,) * coef.ndim, dtype=coef.dtype),
    )


def _predict_chunk(X, coef, intercept):
    (X,) = X
    return predict_rows(X, coef, intercept)


def r2_score(estimator, X, y, sample_weight) -> float:
    """Coefficient of determination on dask collections, averaged over the targets.

    Not `dask_ml.metrics.r2_score`: with chunks of unknown size it fails (dask-ml 2025.1.0).
    The statistics of (residual, y) hold both sums of squares: a chunk's residuals take
    the place of its features.
    """
    from ._cluster import OnCluster, client_for_fit
    from ._incremental import residual_squares
    from ._input import dask_rows
    from ._wide import MAX_GRAM

    X, y, sample_weight = dask_rows(estimator, X, y, sample_weight, reset=False)
    with client_for_fit(estimator.client) as client:
        if reusing() and X.shape[1] <= MAX_GRAM:
            with OnCluster(client, X, y, sample_weight) as place:
                merged = place.merged_statistics()
            coef = np.atleast_2d(estimator.coef_).T
            of_residual = residual_squares(merged, coef, estimator.intercept_)
        else:
            residual = _residuals(X, y, estimator.coef_, estimator.intercept_)
            with OnCluster(client, residual, y, sample_weight) as place:
                merged = place.merged_statistics()
            of_residual = np.diagonal(merged.sxx) + merged.weight * merged.x_mean**2
    if merged.n_rows < 2:
        return float("nan")
    flat = merged.syy == 0
    scores = 1 - of_residual / np.where(flat, 1.0, merged.syy)
    # scikit-learn's convention for a target that does not vary.
    scores[flat] = np.where(of_residual[flat] == 0, 1.0, 0.0)
    return float(scores.mean())


def _residuals(X, y, coef, intercept):
    import dask.array as da

    coef = np.atleast_2d(coef)
    return da.blockwise(
        _chunk_residuals,
        "ij",
        X,
        "ij",
        y,
        "ij"[: y.ndim],
        coef=coef,
        intercept=intercept,
        adjust_chunks={"j": len(coef)},
        dtype=np.float64,
        meta=np.empty((0, 0)),
        align_arrays=False,
    )


def _chunk_residuals(X, y, coef, intercept):
    y = to_host(y)
    return y.reshape(len(y), -1) - predict_rows(X, coef, intercept)
