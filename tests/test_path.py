"""`lasso_path`: scikit-learn's function, on dask in one pass."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Lasso
from sklearn.linear_model import lasso_path as sklearn_lasso_path
from sklearn.utils.fixes import parse_version

from dask_lasso import AsyncLassoRegressor, lasso_path

X, y = load_diabetes(return_X_y=True)


def dask_data():
    return da.from_array(X, chunks=(97, 3)), da.from_array(y, chunks=97)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("alphas", [30, 7, [0.1, 2.0, 0.5]], ids=str)
def test_equals_scikit_learn(alphas, positive, client):
    options = dict(positive=positive, tol=1e-14, max_iter=10**6)
    # Before scikit-learn 1.9 the number of alphas has an argument of its own.
    old = parse_version(sklearn.__version__) < parse_version("1.9")
    options["n_alphas" if old and isinstance(alphas, int) else "alphas"] = alphas
    expected = sklearn_lasso_path(X, y, **options)
    for data, where in (((X, y), None), (dask_data(), client)):
        got = lasso_path(*data, alphas=alphas, positive=positive, client=where)
        for ours, theirs in zip(got, expected, strict=True):
            assert ours.shape == theirs.shape
        np.testing.assert_allclose(got[0], expected[0], rtol=1e-12)
        scale = np.abs(expected[1]).max()
        np.testing.assert_allclose(got[1], expected[1], rtol=1e-6, atol=1e-7 * scale)
        assert (got[2] <= 1e-9 * (y**2).mean()).all()


def test_with_an_intercept_it_is_the_lasso_at_every_alpha():
    alphas, coefs, _ = lasso_path(X, y, alphas=5, eps=1e-2, fit_intercept=True)
    for alpha, coef in zip(alphas, coefs.T, strict=True):
        expected = AsyncLassoRegressor(alpha).fit(X, y).coef_
        np.testing.assert_allclose(coef, expected, rtol=1e-9, atol=1e-9)


def test_weights_of_rows_and_of_penalties():
    rng = np.random.default_rng(0)
    rows, penalties = rng.uniform(0, 2, len(X)), rng.uniform(0.5, 2, X.shape[1])
    penalties[2] = 0
    settings = dict(fit_intercept=True, penalty_weights=penalties, sample_weight=rows)
    alphas, coefs, gaps = lasso_path(X, y, alphas=6, **settings)
    for alpha, coef in zip(alphas, coefs.T, strict=True):
        model = AsyncLassoRegressor(alpha, penalty_weights=penalties).fit(X, y, rows)
        np.testing.assert_allclose(coef, model.coef_, rtol=1e-8, atol=1e-8)
    # At the first alpha only what is not penalised is in the model.
    np.testing.assert_array_equal(np.flatnonzero(np.abs(coefs[:, 0]) > 1e-8), [2])
    assert (gaps < 1e-6).all()


def test_alpha_zero_is_least_squares():
    _, coefs, gaps = lasso_path(X, y, alphas=[1.0, 0.0])
    np.testing.assert_allclose(coefs[:, 1], np.linalg.lstsq(X, y)[0], rtol=1e-8)
    np.testing.assert_allclose(gaps, 0, atol=1e-8)


def test_each_target_is_a_lasso_of_its_own(client):
    Y = np.column_stack([y, np.sqrt(y)])
    alphas, coefs, gaps = lasso_path(X, Y, alphas=4, fit_intercept=True)
    assert coefs.shape == (2, 10, 4)
    assert gaps.shape == (2, 4)
    for target in range(2):
        expected = Lasso(alphas[2], tol=1e-12).fit(X, Y[:, target]).coef_
        np.testing.assert_allclose(coefs[target][:, 2], expected, rtol=1e-6, atol=1e-6)


def test_bad_alphas():
    with pytest.raises(ValueError, match="alphas"):
        lasso_path(X, y, alphas=[-1.0])
