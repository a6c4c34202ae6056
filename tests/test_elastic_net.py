"""The elastic net, penalties that differ between features, and degrees of freedom."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from sklearn.datasets import make_regression
from sklearn.linear_model import ElasticNet, LinearRegression, Ridge
from sklearn.utils.estimator_checks import check_estimator

from dask_lasso import AsyncElasticNetRegressor, AsyncLassoCV, AsyncLassoRegressor

X, y = make_regression(503, 12, n_informative=5, noise=20, random_state=0)
X += 3
RNG = np.random.default_rng(0)
WEIGHTS = RNG.uniform(0, 2, 503)
PENALTIES = RNG.uniform(0.5, 2, 12)
PENALTIES[[1, 4]] = 0


def assert_optimal(model, X, y, l1, l2=0.0, penalties=None):
    """The conditions of the optimum, from the rows."""
    penalties = np.ones(X.shape[1]) if penalties is None else penalties
    residual = y - model.predict(X)
    assert abs(residual.mean()) < 1e-8
    gradient = X.T @ residual / len(X) - l2 * penalties**2 * model.coef_
    active = model.coef_ != 0
    bound = l1 * penalties
    np.testing.assert_allclose(
        gradient[active], (bound * np.sign(model.coef_))[active], atol=1e-8 * np.abs(y).max()
    )
    assert (np.abs(gradient[~active]) <= bound[~active] * (1 + 1e-9) + 1e-9).all()


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("l1_ratio", [0.05, 0.5, 0.9, 1])
def test_equals_scikit_learn(l1_ratio, positive, fit_intercept, client):
    settings = dict(l1_ratio=l1_ratio, positive=positive, fit_intercept=fit_intercept)
    expected = ElasticNet(0.7, tol=1e-14, max_iter=10**6, **settings).fit(X, y, WEIGHTS)
    model = AsyncElasticNetRegressor(0.7, **settings).fit(X, y, WEIGHTS)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=1e-8)
    assert model.dual_gap_ < 1e-8
    model.set_params(client=client).fit(*dask_data())
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-9)


def dask_data():
    return tuple(da.from_array(a, chunks=(100, *a.shape[1:])) for a in (X, y, WEIGHTS))


@pytest.mark.parametrize("positive", [False, True])
def test_without_l1_it_is_ridge_regression(positive):
    model = AsyncElasticNetRegressor(0.7, l1_ratio=0, positive=positive).fit(X, y)
    expected = Ridge(0.7 * len(X), positive=positive, tol=1e-12).fit(X, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-5, atol=1e-6)
    assert model.dual_gap_ < 1e-6


@pytest.mark.parametrize("engine", ["sync", "async", "batched"])
@pytest.mark.parametrize("penalties", [None, PENALTIES], ids=["alike", "weighted"])
def test_admm_agrees(penalties, engine):
    settings = dict(l1_ratio=0.6, engine=engine, penalty_weights=penalties, n_blocks=4)
    exact = AsyncElasticNetRegressor(0.7, **settings).fit(X, y)
    admm = AsyncElasticNetRegressor(0.7, polish=False, tol=1e-12, **settings).fit(X, y)
    np.testing.assert_allclose(admm.coef_, exact.coef_, rtol=1e-4, atol=1e-4)
    assert admm.dual_gap_ <= 1e-12 * y.var()


def test_the_lasso_is_the_case_without_ridge():
    lasso = AsyncLassoRegressor(0.7).fit(X, y)
    net = AsyncElasticNetRegressor(0.7, l1_ratio=1).fit(X, y)
    np.testing.assert_array_equal(lasso.coef_, net.coef_)


def test_weighted_penalties_are_rescaled_columns():
    penalties = np.where(PENALTIES == 0, 0.3, PENALTIES)
    for net in (AsyncLassoRegressor(0.7), AsyncElasticNetRegressor(0.7, l1_ratio=0.4)):
        plain = net.fit(X / penalties, y).coef_ / penalties
        weighted = net.set_params(penalty_weights=penalties).fit(X, y).coef_
        np.testing.assert_allclose(weighted, plain, rtol=1e-9, atol=1e-10)


def test_unpenalised_features():
    lasso = AsyncLassoRegressor(3.0, penalty_weights=PENALTIES).fit(X, y)
    assert_optimal(lasso, X, y, 3.0, penalties=PENALTIES)
    assert lasso.coef_[[1, 4]].all()
    assert 0 < np.count_nonzero(lasso.coef_) < 12
    net = AsyncElasticNetRegressor(3.0, penalty_weights=PENALTIES, l1_ratio=0.5).fit(X, y)
    assert_optimal(net, X, y, 1.5, 1.5, PENALTIES)


def test_nothing_penalised_is_least_squares():
    model = AsyncLassoRegressor(3.0, penalty_weights=np.zeros(12)).fit(X, y)
    expected = LinearRegression().fit(X, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9)


def test_unpenalised_features_that_repeat_each_other():
    twice = np.column_stack([X, X[:, 0]])
    penalties = np.r_[0.0, np.ones(11), 0.0]
    model = AsyncLassoRegressor(3.0, penalty_weights=penalties).fit(twice, y)
    assert_optimal(model, twice, y, 3.0, penalties=penalties)


def test_adaptive_lasso_is_chosen_by_cross_validation(client):
    first = np.abs(LinearRegression().fit(X, y).coef_)
    adaptive = AsyncLassoCV(penalty_weights=1 / first, client=client).fit(*dask_data()[:2])
    expected = AsyncLassoCV().fit(X * first, y)
    np.testing.assert_allclose(adaptive.mse_path_, expected.mse_path_, rtol=1e-8)
    np.testing.assert_allclose(adaptive.coef_, expected.coef_ * first, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"penalty_weights": [1.0]}, "shape"),
        ({"penalty_weights": -np.ones(12)}, "negative"),
        ({"l1_ratio": 1.5}, "l1_ratio"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        AsyncElasticNetRegressor(**params).fit(X, y)


@pytest.mark.parametrize("polish", [True, False])
def test_check_estimator(polish):
    results = check_estimator(AsyncElasticNetRegressor(polish=polish), on_skip=None)
    undone = {r["check_name"] for r in results if r["status"] != "passed"}
    assert undone <= {"check_array_api_input"}


def test_training_score():
    for model in (AsyncLassoRegressor(2.0), AsyncLassoCV(), AsyncLassoRegressor(2.0, polish=False)):
        model.fit(X, y, WEIGHTS)
        assert model.train_score_ == pytest.approx(model.score(X, y, WEIGHTS), rel=1e-10)
    Y = np.column_stack([y, X[:, 0]])
    model = AsyncLassoRegressor(0.5).fit(X, Y)
    assert model.train_score_ == pytest.approx(model.score(X, Y), rel=1e-10)


def test_degrees_of_freedom():
    lasso = AsyncLassoRegressor(2.0).fit(X, y)
    assert lasso.degrees_of_freedom_ == np.count_nonzero(lasso.coef_)
    # Of the elastic net: the trace of the matrix that makes fitted values from y.
    net = AsyncElasticNetRegressor(2.0, l1_ratio=0.5).fit(X, y)
    active = X[:, net.coef_ != 0] - X[:, net.coef_ != 0].mean(axis=0)
    ridge = len(X) * 1.0 * np.eye(active.shape[1])
    hat = active @ np.linalg.solve(active.T @ active + ridge, active.T)
    assert net.degrees_of_freedom_ == pytest.approx(np.trace(hat))
    both = AsyncLassoRegressor(2.0).fit(X, np.column_stack([y, 0.1 * y]))
    np.testing.assert_array_equal(both.degrees_of_freedom_, (both.coef_ != 0).sum(axis=1))
