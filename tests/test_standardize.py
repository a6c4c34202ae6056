"""Penalties in units of the columns' standard deviations, and how other programs write them."""

from __future__ import annotations

import numpy as np
import pytest
from routes import BORDER, MANY_COLUMNS, dense_rows
from scipy import sparse
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression
from sklearn.preprocessing import StandardScaler

from dask_lasso import (
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    lasso_path,
)
from dask_lasso.solvers import width


def deviations(X, weights=None):
    return StandardScaler().fit(X, sample_weight=weights).scale_


def test_equals_a_pipeline_of_scikit_learn():
    X, y, _ = dense_rows(20)
    units = deviations(X)
    lasso = Lasso(0.3, tol=1e-12).fit((X - X.mean(axis=0)) / units, y)
    model = AsyncLassoRegressor(0.3, standardize=True).fit(sparse.csr_array(X), y)
    np.testing.assert_allclose(model.coef_, lasso.coef_ / units, rtol=1e-8, atol=1e-10)
    assert model.degrees_of_freedom_ == np.count_nonzero(lasso.coef_)
    net = ElasticNet(0.3, l1_ratio=0.4, tol=1e-12).fit((X - X.mean(axis=0)) / units, y)
    model = AsyncElasticNetRegressor(0.3, l1_ratio=0.4, standardize=True).fit(X, y)
    np.testing.assert_allclose(model.coef_, net.coef_ / units, rtol=1e-8, atol=1e-10)
    # Beside weights of the user, and bounds in the user's units; a constant column stays out.
    X = np.column_stack([X, np.ones(len(X))])
    both = AsyncLassoRegressor(
        0.3, standardize=True, penalty_weights=np.full(21, 2.0), bounds=(-0.1, 0.1)
    ).fit(X, y)
    units = np.r_[units, 1.0]
    same = AsyncLassoRegressor(0.6, penalty_weights=units, bounds=(-0.1, 0.1)).fit(X, y)
    np.testing.assert_allclose(both.coef_, same.coef_, atol=1e-12)


@pytest.mark.parametrize("polish", [True, False])
def test_losses(polish):
    X, y, weights = dense_rows(20)
    labels = y > y.mean()
    settings = dict(polish=polish, tol=1e-10)
    model = AsyncLogisticRegression(0.02, standardize=True, **settings).fit(X, labels, weights)
    by_hand = AsyncLogisticRegression(0.02, penalty_weights=deviations(X, weights), **settings).fit(
        X, labels, weights
    )
    np.testing.assert_allclose(model.coef_, by_hand.coef_, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n_columns", [20, MANY_COLUMNS])
def test_paths_and_choices(n_columns, monkeypatch):
    monkeypatch.setattr(width, "MAX_GRAM", BORDER)
    X, y, _ = dense_rows(n_columns)
    units = deviations(X)
    alphas, coefs, _ = lasso_path(X, y, standardize=True, alphas=5, eps=0.05, fit_intercept=True)
    expected = lasso_path(X / units, y, alphas=5, eps=0.05, fit_intercept=True)
    np.testing.assert_allclose(alphas, expected[0], rtol=1e-9)
    np.testing.assert_allclose(coefs, expected[1] / units[:, np.newaxis], rtol=1e-6, atol=1e-8)
    # In all folds the units of all rows: the scaler comes before the split.
    model = AsyncLassoCV(standardize=True, alphas=alphas, cv=3).fit(X, y)
    expected = AsyncLassoCV(alphas=alphas, cv=3).fit(X / units, y)
    np.testing.assert_allclose(model.mse_path_, expected.mse_path_, rtol=1e-7)
    np.testing.assert_allclose(model.coef_, expected.coef_ / units, rtol=1e-6, atol=1e-8)


def test_partial_fits():
    X, y, _ = dense_rows(20)
    whole = AsyncLassoRegressor(0.3, standardize=True).fit(X, y)
    parts = AsyncLassoRegressor(0.3, standardize=True)
    parts.partial_fit(X[:70], y[:70]).partial_fit(X[70:], y[70:])
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-9, atol=1e-12)


# docs/translations.md: each program's objective, minimised by what is fitted here.


def minimum_of(objective, coef, intercept, scale):
    """Whether no step along a coordinate lowers an objective, by more than rounding."""
    at = objective(coef, intercept)
    for j in range(len(coef)):
        for step in (-1e-4, 1e-4):
            moved = coef.copy()
            moved[j] += step * scale[j]
            assert objective(moved, intercept) >= at - 1e-12 * abs(at)


def test_glmnet_writes_the_elastic_net_so():
    """glmnet (Friedman, Hastie & Tibshirani 2010): y in units of its deviation, too."""
    X, y, _ = dense_rows(20)
    units, spread, lam, mixture = deviations(X), y.std(), 0.4, 0.6

    def objective(w, b):
        r, v = (y - X @ w - b) / spread, w * units / spread
        penalty = mixture * np.abs(v).sum() + (1 - mixture) / 2 * (v @ v)
        return r @ r / (2 * len(y)) + lam / spread * penalty

    l1, l2 = lam * mixture, lam * (1 - mixture) / spread
    model = AsyncElasticNetRegressor(l1 + l2, l1_ratio=l1 / (l1 + l2), standardize=True)
    model.fit(X, y)
    minimum_of(objective, model.coef_, model.intercept_, 1 / units)


def test_spark_writes_the_elastic_net_so():
    """org.apache.spark.ml.regression.LinearRegression: deviations over n - 1, y's as well."""
    X, y, _ = dense_rows(20)
    n, reg, mixture = len(y), 0.4, 0.6
    units, spread = X.std(axis=0, ddof=1), y.std(ddof=1)

    def objective(w, b):
        r, v = (y - X @ w - b) / spread, w * units / spread
        penalty = mixture * np.abs(v).sum() + (1 - mixture) / 2 * (v @ v)
        return r @ r / (2 * n) + reg / spread * penalty

    ratio = np.sqrt(n / (n - 1))
    l1, l2 = reg * mixture * ratio, reg * (1 - mixture) * ratio**2 / spread
    model = AsyncElasticNetRegressor(l1 + l2, l1_ratio=l1 / (l1 + l2), standardize=True)
    model.fit(X, y)
    minimum_of(objective, model.coef_, model.intercept_, 1 / units)


def test_h2o_writes_the_elastic_net_so():
    """H2O GLM, gaussian: columns over their deviations over n - 1, y in its own units."""
    X, y, _ = dense_rows(20)
    n, lam, mixture = len(y), 0.4, 0.6
    units = X.std(axis=0, ddof=1)

    def objective(w, b):
        r, v = y - X @ w - b, w * units
        return r @ r / (2 * n) + lam * (mixture * np.abs(v).sum() + (1 - mixture) / 2 * (v @ v))

    ratio = np.sqrt(n / (n - 1))
    l1, l2 = lam * mixture * ratio, lam * (1 - mixture) * ratio**2
    model = AsyncElasticNetRegressor(l1 + l2, l1_ratio=l1 / (l1 + l2), standardize=True)
    model.fit(X, y)
    minimum_of(objective, model.coef_, model.intercept_, 1 / units)


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("standardize", [True, False])
def test_glmnet_spark_and_h2o_write_classes_so(standardize, ddof):
    """glmnet divides by n, Spark and H2O by n - 1; and all can leave the columns as they are."""
    X, y, _ = dense_rows(20)
    X = X / 3
    n, labels, lam, mixture = len(y), y > y.mean(), 0.02, 0.6
    units = X.std(axis=0, ddof=ddof) if standardize else np.ones(X.shape[1])

    def objective(w, b):
        eta, v = X @ w + b, w * units
        penalty = mixture * np.abs(v).sum() + (1 - mixture) / 2 * (v @ v)
        return np.mean(np.logaddexp(0, eta) - labels * eta) + lam * penalty

    ratio = np.sqrt(n / (n - 1)) if standardize and ddof else 1.0
    l1, l2 = lam * mixture * ratio, lam * (1 - mixture) * ratio**2
    model = AsyncLogisticRegression(l1 + l2, l1_ratio=l1 / (l1 + l2), standardize=standardize)
    model.set_params(tol=1e-14).fit(X, labels)
    minimum_of(objective, model.coef_[0], model.intercept_[0], 1 / units)


@pytest.mark.parametrize("family", ["Normal", "Logistic", "Poisson"])
def test_dask_glm_writes_it_so(family):
    """Its own objective; dask-ml's C is 1 / lamduh, and its intercept is penalised."""
    families = pytest.importorskip("dask_glm.families", reason="the judge of this test")
    regularizers = pytest.importorskip("dask_glm.regularizers")
    X, y, _ = dense_rows(20)
    X, n, lamduh = X / 3, len(y), 3.0
    y = {"Normal": y, "Logistic": (y > y.mean()) * 1.0, "Poisson": np.round(np.abs(y))}[family]

    def objective(w, _):
        loss = getattr(families, family).pointwise_loss(w, X, y)
        return loss + lamduh * regularizers.L1().f(w)

    alpha = lamduh / (2 * n) if family == "Normal" else lamduh / n
    settings = dict(alpha=alpha, fit_intercept=False, tol=1e-14)
    if family == "Logistic":
        model = AsyncLogisticRegression(**settings).fit(X, y)
    else:
        loss = "squared" if family == "Normal" else "poisson"
        model = AsyncElasticNetRegressor(l1_ratio=1, loss=loss, **settings).fit(X, y)
    minimum_of(objective, np.ravel(model.coef_), 0.0, np.ones(X.shape[1]))


def test_scikit_learn_writes_logistic_regression_so():
    X, y, _ = dense_rows(20)
    labels, alpha = y > y.mean(), 0.02
    settings = dict(solver="saga", C=1 / (len(y) * alpha), tol=1e-10, max_iter=10**5)
    try:
        expected = LogisticRegression(l1_ratio=1, **settings).fit(X / 3, labels)
        assert (expected.coef_ == 0).any()
    except (AssertionError, ValueError):  # before scikit-learn 1.8
        expected = LogisticRegression(penalty="l1", **settings).fit(X / 3, labels)
    model = AsyncLogisticRegression(alpha).fit(X / 3, labels)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-4, atol=1e-5)
