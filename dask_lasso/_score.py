"""R^2 of predictions on dask collections, in one pass over the rows.

Not `dask_ml.metrics.r2_score`: with chunks of unknown size it fails (dask-ml 2025.1.0).
"""

from __future__ import annotations

import numpy as np

from ._reuse import reusing


def r2_score(estimator, X, y, sample_weight) -> float:
    """Coefficient of determination, averaged over the targets.

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
    from ._estimator import _predict_rows

    return y.reshape(len(y), -1) - _predict_rows(X, coef, intercept)
