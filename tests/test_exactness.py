"""One answer: scikit-learn's, whatever the engine, the chunks and the place."""

from __future__ import annotations

import itertools
from functools import cache

import dask.array as da
import numpy as np
import pytest
from conftest import ENGINES
from datasets import CASES, load, photographs
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso

from dask_lasso import AsyncLassoRegressor

# Arithmetic, which the versions of the dependencies hardly touch.
pytestmark = pytest.mark.slow

PLACES = ["numpy", "dask", "cluster"]


@cache
def reference(name, intercept, weighted, positive):
    X, y, weights, alpha = load(name)
    lasso = Lasso(alpha, tol=1e-12, max_iter=300_000, fit_intercept=intercept, positive=positive)
    return lasso.fit(X, y, weights if weighted else None)


def chunked(*arrays, rows):
    return [
        None if array is None else da.from_array(array, chunks=(rows, *array.shape[1:]))
        for array in arrays
    ]


def fit(place, client, X, y, weights=None, **params):
    """Fit in memory, on dask arrays without a Client, or on worker processes."""
    model = AsyncLassoRegressor(**params, client=client if place == "cluster" else None)
    if place != "numpy":
        X, y, weights = chunked(X, y, weights, rows=len(y) // 5 + 1)
    return model.fit(X, y, weights)


def assert_close(coef, expected, rtol):
    assert np.abs(coef - expected).max() <= rtol * np.abs(expected).max()


def hard(name, intercept):
    """Where scikit-learn does not converge; see `test_offset_without_intercept`."""
    return name == "offset" and not intercept


CELLS = [
    cell
    for cell in itertools.product(CASES, [True, False], [False, True], [False, True])
    if not hard(cell[0], cell[1])
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("name", "intercept", "weighted", "positive"), CELLS)
def test_equals_scikit_learn(name, intercept, weighted, positive, place, engine, client):
    X, y, weights, alpha = load(name)
    model = fit(
        place,
        client,
        X,
        y,
        weights if weighted else None,
        alpha=alpha,
        engine=engine,
        fit_intercept=intercept,
        positive=positive,
    )
    expected = reference(name, intercept, weighted, positive)
    assert expected.coef_.any()
    assert_close(model.coef_, expected.coef_, 1e-6)
    # What a column contributes, so that no column hides behind one with larger units.
    spread = X.std(axis=0)
    assert_close(model.coef_ * spread, expected.coef_ * spread, 1e-6)
    fitted_mean = X.mean(axis=0) @ model.coef_ + model.intercept_
    assert fitted_mean == pytest.approx(
        X.mean(axis=0) @ expected.coef_ + expected.intercept_, abs=1e-6 * y.std()
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("positive", [False, True])
def test_offset_without_intercept(positive, weighted, place, engine, client):
    """Columns at 1e6 +/- 1 that no intercept centres: scikit-learn does not converge there.

    After 300,000 sweeps its own gap is a third of the null loss, so there are no
    coefficients to compare with. The objective and the gap are, measured from the rows in
    extended precision.
    """
    X, y, weights, alpha = load("offset")
    s = weights if weighted else np.ones(len(y))
    model = fit(
        place,
        client,
        X,
        y,
        weights if weighted else None,
        alpha=alpha,
        engine=engine,
        fit_intercept=False,
        positive=positive,
    )
    objective, gap = objective_and_gap(X, y, s, model.coef_, alpha, positive)
    null = float(s @ y**2 / s.sum())
    assert gap <= 1e-9 * null
    assert model.dual_gap_ <= 1e-9 * null
    if place == "numpy" and engine == "batched":
        lasso = Lasso(alpha, fit_intercept=False, positive=positive, tol=1e-12)
        with pytest.warns(ConvergenceWarning):
            theirs = lasso.fit(X, y, s).coef_
        assert objective < objective_and_gap(X, y, s, theirs, alpha, positive)[0]


def objective_and_gap(X, y, weights, coef, alpha, positive):
    X, y, s, coef = (np.asarray(a, dtype=np.longdouble) for a in (X, y, weights, coef))
    n = s.sum()
    residual = y - X @ coef
    primal = s @ residual**2 / (2 * n) + alpha * np.abs(coef).sum()
    # Any theta with |X.theta| <= n alpha bounds the optimum from below. Rounding a
    # coefficient to a float64 moves the mean of the residual by much more than the optimum
    # allows for, so the mean of theta is taken from the active columns instead.
    mean = s @ X / n
    theta = residual - s @ residual / n
    active = coef != 0
    lacking = alpha * np.sign(coef[active]) - (X - mean)[:, active].T @ (s * theta) / n
    theta = theta + mean[active] @ lacking / (mean[active] @ mean[active])
    correlation = X.T @ (s * theta) / n
    largest = correlation.max() if positive else np.abs(correlation).max()
    theta = theta * min(1, alpha / largest)
    dual = s @ (theta * y - theta**2 / 2) / n
    return float(primal), float(primal - dual)


@cache
def all_pixels_reference():
    # With precompute scikit-learn iterates on the Gram matrix: seconds, not minutes.
    lasso = Lasso(1e-3, tol=1e-12, max_iter=300_000, precompute=True)
    return lasso.fit(*photographs()).coef_


@pytest.mark.parametrize("place", ["numpy", "dask"])
def test_all_pixels_of_the_photographs(place):
    X, y = photographs()
    assert X.shape == (537_632, 72)
    model = fit(place, None, X, y, alpha=1e-3)
    assert_close(model.coef_, all_pixels_reference(), 1e-6)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_engines_chunks_and_places_agree(name, engine, client):
    X, y, weights, alpha = load(name)
    expected = fit("numpy", None, X, y, weights, alpha=alpha, engine="sync").coef_
    n, k = X.shape
    uneven = (n // 2, 1, n // 3, n - n // 2 - 1 - n // 3)
    for where, chunks in [
        (client, (n // 7, k)),
        (client, (n // 3, k // 2)),
        (client, (uneven, k // 3)),
        (None, (n, k)),
        (None, (uneven, k)),
    ]:
        model = AsyncLassoRegressor(alpha, engine=engine, client=where)
        arrays = (
            da.from_array(X, chunks=chunks),
            da.from_array(y, chunks=n // 4),
            da.from_array(weights, chunks=n // 2),
        )
        assert_close(model.fit(*arrays).coef_, expected, 1e-8)
    assert_close(model.fit(*arrays).coef_, expected, 1e-8)
    for n_blocks in [1, 3, 50]:
        model = AsyncLassoRegressor(alpha, engine=engine, n_blocks=n_blocks)
        assert_close(model.fit(X, y, weights).coef_, expected, 1e-8)
