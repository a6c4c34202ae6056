"""`equivalent_rows`: fits in memory of a few rows that stand for all."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from sklearn.datasets import make_regression
from sklearn.linear_model import (
    BayesianRidge,
    LassoCV,
    MultiTaskLasso,
    OrthogonalMatchingPursuit,
    Ridge,
)
from sklearn.model_selection import PredefinedSplit
from sklearn.utils.fixes import parse_version

from dask_lasso import AsyncLassoRegressor, equivalent_rows

X, y = make_regression(300, 8, n_informative=4, noise=10, random_state=0)
X = X * np.logspace(-3, 3, 8) + 5
Y = np.column_stack([y, 2 - y, X[:, 3]])
WEIGHTS = np.random.default_rng(0).uniform(0, 2, 300)
OLD = parse_version(sklearn.__version__) < parse_version("1.9")


@pytest.mark.parametrize("kind", ["plain", "copies", "constant", "few rows", "constant y"])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weights"])
def test_the_squared_error_is_the_same_for_all_coefficients(kind, weights):
    A, b = X.copy(), Y.copy()
    if kind == "copies":
        A[:, 5] = A[:, 1]
    elif kind == "constant":
        A[:, 2] = 7
    elif kind == "few rows":
        A, b, weights = A[:4], b[:4], weights if weights is None else weights[:4]
    elif kind == "constant y":
        b[:] = 3
    model = AsyncLassoRegressor(1.0).fit(A, b, weights)
    rows = equivalent_rows(model)
    assert len(rows.X) <= 10
    total = len(A) if weights is None else weights.sum()
    assert rows.sample_weight.sum() == pytest.approx(total)
    rng = np.random.default_rng(1)
    for _ in range(5):
        w, intercept = rng.normal(size=(8, 3)) / X.std(axis=0)[:, np.newaxis], rng.normal(size=3)
        expected = np.average((b - A @ w - intercept) ** 2, axis=0, weights=weights)
        found = ((rows.y - rows.X @ w - intercept) ** 2).mean(axis=0)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_estimators_in_memory():
    rows = equivalent_rows(AsyncLassoRegressor(1.0).fit(X, Y))
    for model in (MultiTaskLasso(5.0, tol=1e-12, max_iter=10**5), OrthogonalMatchingPursuit()):
        expected = model.fit(X, Y).coef_.copy()
        np.testing.assert_allclose(model.fit(rows.X, rows.y).coef_, expected, rtol=1e-7, atol=1e-9)
    one = equivalent_rows(AsyncLassoRegressor(1.0).fit(X, y))
    for model in (Ridge(3.0), BayesianRidge(tol=1e-10)):
        expected = model.fit(X, y)
        coef, intercept = expected.coef_.copy(), expected.intercept_
        model.fit(one.X, one.y, one.sample_weight)
        if isinstance(model, BayesianRidge) and parse_version(sklearn.__version__) < parse_version(
            "1.9"
        ):
            continue  # it counts rows, and not weights
        np.testing.assert_allclose(model.coef_, coef, rtol=1e-7)
        np.testing.assert_allclose(model.intercept_, intercept, rtol=1e-7)


def test_folds_are_scored_exactly():
    folds = np.repeat([0, 1, 2], 100)
    fits = [AsyncLassoRegressor(1.0).fit(X[folds == f], y[folds == f]) for f in range(3)]
    rows = equivalent_rows(*(fit.statistics_ for fit in fits))
    settings = dict(alphas=np.geomspace(30, 0.3, 10), tol=1e-12, max_iter=10**5)
    expected = LassoCV(cv=PredefinedSplit(folds), **settings).fit(X, y)
    model = LassoCV(cv=PredefinedSplit(rows.groups), **settings)
    model.fit(rows.X, rows.y, rows.sample_weight)
    np.testing.assert_allclose(model.mse_path_, expected.mse_path_, rtol=1e-8)
    assert model.alpha_ == expected.alpha_
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "needs a fitted estimator"),
        ([AsyncLassoRegressor(1.0).fit(X, y), AsyncLassoRegressor(1.0).fit(X, Y)], "different"),
        ([AsyncLassoRegressor(1.0, loss="huber").fit(X, y)], "no statistics_"),
    ],
)
def test_what_has_none(sources, message):
    with pytest.raises(ValueError, match=message):
        equivalent_rows(*sources)
