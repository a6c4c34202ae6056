"""`statistics_`, the `Statistics` of a fit as plain arrays, and what is checked of them."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from ..rows.statistics import Statistics

_FIELDS = ("n_rows", "weight", "x_mean", "y_mean", "sxx", "sxy", "syy")
# Rounding in moments, relative to their diagonal: float32 rows are summed in float32. What
# of y they seem to explain may be off by more, its square over that.
_ROUNDING = 1e-5
_Y_ROUNDING = 1e-3


def check_number(name: str, value: Any, **bounds: Any) -> None:
    """scikit-learn's `check_scalar` of a real number, for which NaN is within all bounds."""
    check_scalar(value, name, Real, **bounds)
    if np.isnan(value):
        raise ValueError(f"{name} is NaN: pass a number.")


def check_fitted(argument: str, estimator: Any) -> None:
    """scikit-learn's `check_is_fitted`, which prints what is no estimator, and not its name."""
    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        is_class = isinstance(estimator, type)
        kind = f"the class {estimator.__name__}" if is_class else f"a {type(estimator).__name__}"
        raise TypeError(f"{argument}: {kind} is not an estimator, pass one that is fitted.")
    check_is_fitted(estimator)


def to_arrays(
    statistics: Statistics, y_ndim: int, names: ArrayLike | None = None
) -> dict[str, np.ndarray]:
    """`Statistics` as plain arrays, which `numpy.savez` saves without pickling."""
    arrays = {name: np.asarray(getattr(statistics, name)) for name in (*_FIELDS, "n_weighted")}
    if y_ndim == 1:
        for name in ("y_mean", "sxy", "syy"):
            arrays[name] = arrays[name][..., 0]
    if names is not None:
        arrays["feature_names"] = np.asarray(names, dtype=str)
    return arrays


def from_arrays(arrays: Mapping[str, np.ndarray]) -> tuple[Statistics, int]:
    """`Statistics` and the dimensions of y from what `to_arrays` made, checked."""
    if not isinstance(arrays, Mapping):
        raise TypeError(
            f"statistics must be mappings, got {type(arrays).__name__}: pass the `statistics_` of"
            " a fitted estimator, or what numpy.load made of a file of them."
        )
    missing = [name for name in _FIELDS if name not in arrays]
    if missing:
        raise ValueError(
            f"The statistics lack {', '.join(missing)}: pass the `statistics_` of a fitted"
            " estimator, or what numpy.load made of them."
        )
    values = {name: _real_array(name, arrays[name]) for name in _FIELDS}
    k, y_shape = len(np.atleast_1d(values["x_mean"])), values["syy"].shape
    shapes = {
        **dict(n_rows=(), weight=(), x_mean=(k,), y_mean=y_shape, sxx=(k, k)),
        **dict(sxy=(k, *y_shape), syy=y_shape if len(y_shape) < 2 else ("n_targets",)),
    }
    if k == 0:
        raise _damaged("x_mean has no features")
    for name, shape in shapes.items():
        if values[name].shape != shape:
            raise _damaged(f"{name} has shape {values[name].shape} where {shape} was expected")
    n_rows, weight = float(values["n_rows"]), float(values["weight"])
    if n_rows < 0 or n_rows != int(n_rows):
        raise _damaged(f"n_rows is {n_rows:g}, and must be a number of rows")
    if weight < 0 or (n_rows == 0 and weight > 0):
        raise _damaged(f"weight is {weight:g}, a sum of weights >= 0 of {n_rows:g} rows")
    for name, squares in (("sxx", np.diagonal(values["sxx"])), ("syy", values["syy"])):
        if (squares < 0).any():
            raise _damaged(f"{name} has sums of squares below zero")
    # Files of earlier versions have all rows alone.
    n_weighted = float(_real_array("n_weighted", arrays.get("n_weighted", n_rows)))
    if not (0 <= n_weighted <= n_rows and n_weighted == int(n_weighted)):
        raise _damaged(f"n_weighted is {n_weighted:g}, of {n_rows:g} rows those that weigh")
    for name in ("y_mean", "syy"):
        values[name] = values[name].reshape(-1)
    values.update(n_rows=int(n_rows), weight=weight, sxy=values["sxy"].reshape(k, -1))
    feature_names(arrays, k)
    return Statistics(n_chunks=1, n_weighted=int(n_weighted), **values), 1 + len(y_shape)


def _real_array(name, value):
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of different lengths
        raise _damaged(f"{name} is no array") from error
    if array.dtype.kind not in "buif":
        raise _damaged(f"{name} has dtype {array.dtype}, and must be real numbers")
    array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise _damaged(f"{name} has values that are not finite")
    return array


def feature_names(arrays: Mapping[str, np.ndarray], k: int) -> tuple | None:
    """Names of the features, where the statistics know them."""
    if "feature_names" not in arrays:
        return None
    names = np.asarray(arrays["feature_names"])
    if names.shape != (k,) or not all(isinstance(name, str) for name in names):
        raise _damaged(
            f"feature_names has shape {names.shape} and dtype {names.dtype} where the names of"
            f" {k} features were expected"
        )
    return tuple(map(str, names))


def _damaged(problem):
    return ValueError(
        f"The statistics are damaged: {problem}. Pass the `statistics_` of a fitted estimator"
        " as they are."
    )


def check_moments(statistics: Statistics) -> None:
    """Raise unless `sxx`, `sxy` and `syy` can be those of some rows, but for rounding."""
    sxx, sxy = statistics.sxx, statistics.sxy
    diagonal = np.diagonal(sxx)
    # What rounding may add to a column's sum of squares: of float32 rows, or of a mean.
    # As a root, for the square of a mean may be too large.
    root = 10 * np.sqrt(np.finfo(np.float64).eps * statistics.weight)
    noise = np.hypot(np.sqrt(_ROUNDING * diagonal), root * statistics.x_mean)
    noise[(diagonal == 0) & (noise == 0)] = 1.0
    scale = 1 / np.hypot(np.sqrt(diagonal), noise)
    correlation = sxx * scale[:, np.newaxis] * scale
    if np.abs(correlation - correlation.T).max() > _ROUNDING:
        raise _damaged("sxx is not symmetric")
    correlation[np.diag_indices_from(correlation)] += (noise * scale) ** 2
    try:
        factor = linalg.cholesky(correlation, lower=True, check_finite=False)
    except linalg.LinAlgError:
        raise _damaged("sxx is not positive semi-definite") from None
    explained = linalg.solve_triangular(
        factor, sxy * scale[:, np.newaxis], lower=True, check_finite=False
    )
    with np.errstate(over="ignore"):
        y_noise = (root * statistics.y_mean) ** 2
    if ((explained**2).sum(axis=0) > statistics.syy * (1 + _Y_ROUNDING) + y_noise).any():
        raise _damaged("sxy is larger than sxx and syy allow")


def statistics_of(
    estimator: Any, error: type[Exception] = ValueError, argument: str = "estimator"
) -> Mapping[str, np.ndarray]:
    """`statistics_` of a fitted estimator, the value of an argument."""
    check_fitted(argument, estimator)
    if not hasattr(estimator, "statistics_"):
        raise error(
            f"This {type(estimator).__name__} has no statistics_, as with many columns"
            " (working sets), another loss than the squared one, or read from a pickle (`save`"
            " writes them): fit an estimator of this package with loss='squared' and up to 2,000"
            " columns."
        )
    return estimator.statistics_
