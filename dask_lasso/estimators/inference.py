"""`inference`: intervals and p-values of a fit, as a table."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats
from sklearn.utils.extmath import safe_sparse_dot

from ..places.input import Given
from ..places.place import usable
from ..problem import inference as debiasing
from ..rows.chunk import to_host
from ..rows.statistics import Statistics, statistics_made_of
from .arrays import check_number, from_arrays, statistics_of
from .export import feature_names, frames
from .progress import opened

if TYPE_CHECKING:
    import pandas as pd


def inference(estimator: Any, level: float, rows: Given | None) -> pd.DataFrame:
    """The table; `rows` are those of the fit where errors are to be robust."""
    pandas = frames("inference()")
    check_number("level", level, min_val=0, max_val=1, include_boundaries="neither")
    statistics, _ = from_arrays(statistics_of(estimator))
    if statistics.n_targets > 1:
        raise ValueError(
            f"inference is of one target, and the fit has {statistics.n_targets}: fit each."
        )
    coef = np.ravel(estimator.coef_).astype(np.float64)
    found = {"coefficient": coef, "estimate": coef.copy(), "std_error": np.full(len(coef), np.nan)}
    varies = statistics.x_variation > 0
    if not estimator.fit_intercept:
        varies |= statistics.x_mean != 0
    columns = np.flatnonzero(varies)
    moments = statistics.moments(estimator.fit_intercept).of(columns)
    n_rows = statistics.n_weighted
    is_exact = debiasing.are_exact(moments, n_rows)
    moments_of_noise, columns_of_noise = moments, columns
    centre = statistics.x_mean * estimator.fit_intercept
    if not (is_exact or estimator.fit_intercept):
        # Far from zero columns are nearly copies of each other; about their means they are not.
        columns, centre = np.flatnonzero(statistics.x_variation > 0), statistics.x_mean
        moments = statistics.moments(fit_intercept=True).of(columns)
    directions = debiasing.directions(moments, n_rows)
    estimate = debiasing.debiased(moments, coef[columns], directions)
    # The residual is that of least squares, or else that of the lasso.
    of_noise = estimate if is_exact else coef[columns_of_noise]
    freedom = n_rows - np.count_nonzero(of_noise) - bool(estimator.fit_intercept)
    if freedom <= 0:
        raise ValueError(
            f"inference needs more rows ({n_rows}) than coefficients that are not zero"
            f" ({np.count_nonzero(of_noise)}) to estimate the noise: fit with a larger alpha."
        )
    if rows is None:
        squares = moments_of_noise.squared_residuals(of_noise[:, np.newaxis])[0]
        scatter, weight, mean = moments.gram, moments.weight, moments.x_mean
        noise = squares / freedom
    else:
        whole = coef.copy()
        whole[columns_of_noise] = of_noise
        by_row = _squares_by_row(estimator, rows, statistics, whole)
        scatter, weight, mean = by_row.sxx[np.ix_(columns, columns)], by_row.weight, by_row.x_mean
        noise, mean = n_rows / freedom, (mean - centre)[columns]
    error = np.sqrt(noise * debiasing.variances(directions, scatter, weight, mean))
    found["estimate"][columns], found["std_error"][columns] = estimate, error
    student = stats.t(freedom)
    margin = student.ppf((1 + level) / 2) * found["std_error"]
    found["lower"], found["upper"] = found["estimate"] - margin, found["estimate"] + margin
    with np.errstate(divide="ignore", invalid="ignore"):  # no noise at all
        found["p_value"] = 2 * student.sf(np.abs(found["estimate"]) / found["std_error"])
    if hasattr(estimator, "stability_"):
        found["stability"] = np.ravel(estimator.stability_)
    return pandas.DataFrame(found, pandas.Index(feature_names(estimator), name="feature"))


def _squares_by_row(estimator, rows, statistics: Statistics, coef) -> Statistics:
    """Of all rows, weighted by ``(s_i e_i)^2``, in one pass."""
    intercept = 0.0
    if estimator.fit_intercept:
        intercept = statistics.y_mean[0] - statistics.x_mean @ coef
    with opened(estimator, rows, what="inference", reset=False) as (place, _):
        task = partial(statistics_made_of, partial(_squared, coef=coef, intercept=intercept))
        found = usable(place.merged_statistics(task), place)
    if found.n_rows != statistics.n_rows:
        raise ValueError(
            f"X has {found.n_rows} rows, and the fit is of {statistics.n_rows}: pass the rows of"
            " the fit."
        )
    return found


def _squared(chunk, coef, intercept):
    """A chunk's rows, weighted by the squares of their residuals."""
    X, y, sample_weight = chunk.arrays()
    residual = y[:, 0] - safe_sparse_dot(to_host(X), coef) - intercept
    if sample_weight is not None:
        residual = residual * sample_weight
    return X, y, residual**2
