"""The adaptive lasso and the relaxed lasso, from the statistics of one pass."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_regression
from sklearn.linear_model import LinearRegression

from dask_lasso import (
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    lasso_path,
)

X, y = make_regression(300, 10, n_informative=4, noise=30, random_state=0)
X = X * np.logspace(-2, 2, 10) + 2
LEAST = 1 / np.abs(LinearRegression().fit(X, y).coef_)
ALPHAS = np.geomspace(60, 0.6, 8)
TEST = np.arange(100)  # of the first of three folds
TRAIN = np.arange(100, 300)


def test_the_adaptive_lasso_is_one_call():
    for settings in ({}, dict(standardize=True), dict(bounds=(-np.inf, 0.5))):
        model = AsyncLassoRegressor(5.0, penalty_weights="adaptive", **settings).fit(X, y)
        if "bounds" in settings:
            first = AsyncLassoRegressor(5.0, penalty_weights=np.zeros(10), **settings).fit(X, y)
            least = 1 / np.maximum(np.abs(first.coef_), 1e-9)
        else:
            least = LEAST
        expected = AsyncLassoRegressor(5.0, penalty_weights=least, **settings).fit(X, y)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6, atol=1e-9)
        assert model.n_passes_ == 1
    net = AsyncElasticNetRegressor(5.0, l1_ratio=0.9, penalty_weights="adaptive").fit(X, y)
    by_hand = AsyncElasticNetRegressor(5.0, l1_ratio=0.9, penalty_weights=LEAST).fit(X, y)
    assert net.degrees_of_freedom_ == pytest.approx(by_hand.degrees_of_freedom_)
    _, coefs, _ = lasso_path(X, y, alphas=ALPHAS, penalty_weights="adaptive", fit_intercept=True)
    _, expected, _ = lasso_path(X, y, alphas=ALPHAS, penalty_weights=LEAST, fit_intercept=True)
    np.testing.assert_allclose(coefs, expected, rtol=1e-6, atol=1e-9)


def test_columns_that_least_squares_cannot_tell_apart():
    twice = np.column_stack([X, X[:, 0], np.ones(300)])
    model = AsyncLassoRegressor(5.0, penalty_weights="adaptive").fit(twice, y)
    assert np.isfinite(model.coef_).all()
    assert model.dual_gap_ <= 1e-6 * y.var()
    assert not AsyncLassoRegressor(penalty_weights="adaptive").fit(X, np.ones(300)).coef_.any()


def test_each_training_set_has_weights_of_its_own():
    model = AsyncLassoCV(alphas=ALPHAS, cv=3, penalty_weights="adaptive").fit(X, y)
    of_fold = 1 / np.abs(LinearRegression().fit(X[TRAIN], y[TRAIN]).coef_)
    for alpha, error in zip(model.alphas_, model.mse_path_[:, 0], strict=True):
        fold = AsyncLassoRegressor(alpha, penalty_weights=of_fold).fit(X[TRAIN], y[TRAIN])
        assert error == pytest.approx(((y[TEST] - fold.predict(X[TEST])) ** 2).mean())
    final = AsyncLassoRegressor(model.alpha_, penalty_weights=LEAST).fit(X, y)
    np.testing.assert_allclose(model.coef_, final.coef_, rtol=1e-6, atol=1e-9)


def blend(alpha, share, rows=slice(None), **settings):
    lasso = AsyncLassoRegressor(alpha, **settings).fit(X[rows], y[rows])
    support = np.flatnonzero(lasso.coef_)
    if len(support):
        positive = settings.get("positive", False)
        free = LinearRegression(positive=positive).fit(X[rows][:, support], y[rows])
        coef = share * lasso.coef_
        coef[support] += (1 - share) * free.coef_
        intercept = share * lasso.intercept_ + (1 - share) * free.intercept_
        return coef, intercept
    return lasso.coef_, lasso.intercept_


@pytest.mark.parametrize("settings", [{}, dict(positive=True)], ids=["", "positive"])
@pytest.mark.parametrize("relaxed", [True, [0, 0.5]])
def test_the_relaxed_lasso_is_chosen_too(relaxed, settings):
    model = AsyncLassoCV(alphas=ALPHAS, cv=3, relaxed=relaxed, **settings).fit(X, y)
    shares = np.linspace(1, 0, 5) if relaxed is True else [0.5, 0]
    assert model.mse_path_.shape == (len(shares), len(ALPHAS), 3)
    assert model.n_passes_ == 1
    for share, of_share in zip(shares, model.mse_path_, strict=True):
        for alpha, error in zip(model.alphas_, of_share[:, 0], strict=True):
            coef, intercept = blend(alpha, share, TRAIN, **settings)
            assert error == pytest.approx(((y[TEST] - X[TEST] @ coef - intercept) ** 2).mean())
    best = np.unravel_index(model.mse_path_.mean(axis=-1).argmin(), (len(shares), len(ALPHAS)))
    assert (model.relaxed_, model.alpha_) == (shares[best[0]], model.alphas_[best[1]])
    coef, intercept = blend(model.alpha_, model.relaxed_, **settings)
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-6, atol=1e-9)
    assert model.intercept_ == pytest.approx(intercept)


def test_not_relaxed_is_as_before():
    plain = AsyncLassoCV(alphas=ALPHAS, cv=3).fit(X, y)
    model = AsyncLassoCV(alphas=ALPHAS, cv=3, relaxed=[1.0]).fit(X, y)
    np.testing.assert_array_equal(model.mse_path_, plain.mse_path_)
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    assert not hasattr(plain, "relaxed_")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (AsyncLassoCV(relaxed=True, criterion="bic"), 'relaxed needs criterion="cv"'),
        (AsyncLassoCV(relaxed=[2.0]), r"relaxed\[0\]"),
        (AsyncLassoRegressor(penalty_weights="lasso"), "'penalty_weights' parameter"),
        (AsyncLassoRegressor(penalty_weights="adaptive", polish=False), "made of statistics"),
        (AsyncLassoRegressor(penalty_weights="adaptive", loss="huber"), "made of statistics"),
    ],
)
def test_what_cannot_be(model, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)


def test_what_has_more_than_one_target():
    with pytest.raises(ValueError, match="y has 2 targets, and penalty_weights='adaptive'"):
        AsyncLassoRegressor(penalty_weights="adaptive").fit(X, np.column_stack([y, y]))
    with pytest.raises(ValueError, match="made of statistics"):
        AsyncLogisticRegression(penalty_weights="adaptive").fit(X, y > 0)
