"""Bounds of coefficients: every problem, every route, and the conditions of the optimum."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from routes import BORDER, MANY_COLUMNS, dense_rows
from scipy.optimize import lsq_linear, minimize
from scipy.special import log_softmax
from sklearn.linear_model import LinearRegression

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    lasso_path,
)
from dask_lasso.solvers import width

BOUNDS = -0.4, 0.8


def violation(X, r, coef, l1, bounds, weights=1.0):
    """By how much ``X^T r / n``, or a column's pull less its penalty, is above the optimum's.

    In units of the columns' norms and of r's.
    """
    lower, upper = (np.broadcast_to(side, coef.shape) for side in bounds)
    assert (coef >= lower).all()
    assert (coef <= upper).all()
    gradient, threshold = X.T @ r / len(r), l1 * np.broadcast_to(weights, coef.shape)
    up = np.where(coef < upper, gradient - threshold * np.where(coef >= 0, 1, -1), 0.0)
    down = np.where(coef > lower, -gradient - threshold * np.where(coef <= 0, 1, -1), 0.0)
    size = np.linalg.norm(X, axis=0) * np.linalg.norm(r) / len(r)
    return (np.maximum(up, down) / np.where(size > 0, size, 1.0)).max()


def random_problem(seed):
    """Rows, degenerate ones among them; bounds, penalty weights, alpha over the largest."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.choice([8, 20, 60, 200])), int(rng.choice([1, 3, 10, 30]))
    X = rng.normal(size=(n, k))
    kind = ["plain", "copies", "few ranks", "correlated", "units", "constant"][seed % 6]
    if kind == "copies":
        X[:, -1] = -X[:, 0]
        X[:, k // 2] = X[:, 0]
    elif kind == "few ranks":
        X = X[:, : max(1, k // 3)] @ rng.normal(size=(max(1, k // 3), k))
    elif kind == "correlated":
        for j in range(1, k):
            X[:, j] = 0.99 * X[:, j - 1] + 0.14 * X[:, j]
    elif kind == "units":
        X *= 10.0 ** rng.uniform(-6, 6, k)
    elif kind == "constant":
        X[:, 0] = 3.0
    unit = np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
    w = rng.normal(size=k) * (rng.uniform(size=k) < 0.6) / unit
    y = X @ w + rng.choice([0.1, 1, 3]) * rng.normal(size=n) + 2
    lower = rng.choice([0, -np.inf, -0.3, -0.01, -1e3], size=k) / unit
    upper = rng.choice([0, np.inf, 0.3, 0.01, 1e3], size=k) / unit
    weights = unit * (rng.choice([0, 1, 0.5, 2], size=k) if seed % 2 else 1.0)
    return X, y, (lower, upper), weights, rng.choice([0, 1e-6, 1e-2, 0.1, 0.5])


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_two_hundred_random_problems(fit_intercept):
    for seed in range(200):
        X, y, bounds, weights, share = random_problem(seed)
        rows, target = (X - X.mean(axis=0), y - y.mean()) if fit_intercept else (X, y)
        unit = np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
        alpha = share * np.abs(rows.T @ target / len(y) / unit).max()
        model = AsyncLassoRegressor(
            alpha, bounds=bounds, penalty_weights=weights, fit_intercept=fit_intercept, tol=1e-9
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "With alpha=0")
            model.fit(X, y)
        r = target - rows @ model.coef_
        assert violation(rows, r, model.coef_, alpha, bounds, weights) < 1e-6, seed
        assert model.dual_gap_ <= 1e-9 * (target @ target) / len(y), seed
        if share <= 1e-6:
            lower, upper = bounds
            moves = lower < upper
            limits = lower[moves] * unit[moves], upper[moves] * unit[moves]
            best = lsq_linear((rows / unit)[:, moves], target, limits, "bvls", tol=1e-14)
            assert r @ r / 2 <= best.cost + 1e-6 * (target @ target), seed


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_columns_that_depend_on_others_cost_no_digits(fit_intercept):
    # No penalty, or next to none: coefficients are open, and large ones would hide the gap.
    for seed, share in itertools.product((146, 224, 1148, 1250, 1682), (0, 1e-7, 1e-10)):
        X, y, bounds, _, _ = random_problem(seed)
        y = y - y.mean() if fit_intercept else y
        unit = X.std(axis=0)
        alpha = share * np.abs((X - fit_intercept * X.mean(axis=0)).T @ y / len(y) / unit).max()
        settings = dict(penalty_weights=unit, fit_intercept=fit_intercept, tol=1e-11)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "With alpha=0")
            model = AsyncLassoRegressor(alpha, bounds=bounds, **settings).fit(X, y)
        assert model.dual_gap_ <= 1e-11 * (y @ y) / len(y), (seed, share)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["Nehalem", "Sandybridge"])
def test_the_rounding_of_other_kernels(kernel):
    # Of OpenBLAS on x86; others do as they do.
    tests = "test_two_hundred_random_problems or cost_no_digits"
    command = [sys.executable, "-m", "pytest", "-q", "-x", __file__, "-k", tests]
    environment = dict(os.environ, OPENBLAS_CORETYPE=kernel)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_random_problems_by_another_solver():
    cp = pytest.importorskip("cvxpy")
    for seed in range(0, 200, 4):
        X, y, (lower, upper), weights, share = random_problem(seed)
        rows, target, unit = X - X.mean(axis=0), y - y.mean(), weights
        alpha = max(share, 1e-3) * np.abs(rows.T @ target / len(y) / unit).max()
        v = cp.Variable(X.shape[1])
        limits = [v[j] >= lower[j] * unit[j] for j in np.flatnonzero(np.isfinite(lower))]
        limits += [v[j] <= upper[j] * unit[j] for j in np.flatnonzero(np.isfinite(upper))]
        loss = cp.sum_squares(target - rows / unit @ v) / (2 * len(y))
        problem = cp.Problem(cp.Minimize(loss + alpha * cp.norm1(v)), limits)
        expected = problem.solve(cp.CLARABEL, tol_gap_rel=1e-10, tol_gap_abs=1e-12)
        model = AsyncLassoRegressor(alpha, bounds=(lower, upper), penalty_weights=weights)
        coef = model.fit(X, y).coef_
        r = target - rows @ coef
        found = r @ r / (2 * len(y)) + alpha * np.abs(unit * coef).sum()
        assert abs(found - expected) <= 1e-6 * (target @ target) / len(y), seed


@pytest.mark.parametrize("polish", [True, False])
@pytest.mark.parametrize("loss", ["logistic", "poisson", "huber"])
def test_other_losses(loss, polish):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 8))
    eta = X @ [1.5, -1.5, 1, 0, 0, 0.2, -0.2, 0]
    bounds = (np.array([-1, -0.5, 0, -1, -1, -1, 0, -1.0]), 0.6)
    weights = np.array([1, 1, 1, 0, 1, 1, 0, 0.0])  # some bounded, and not penalised
    settings = dict(bounds=bounds, penalty_weights=weights, polish=polish, tol=1e-8)
    if loss == "logistic":
        y = (eta + rng.logistic(size=400) > 0).astype(float)
        model = AsyncLogisticRegression(0.02, **settings).fit(X, y)
        coef, r = model.coef_[0], y - model.predict_proba(X)[:, 1]
    elif loss == "poisson":
        y = rng.poisson(np.exp(0.6 * eta)).astype(float)
        model = AsyncLassoRegressor(0.02, loss=loss, **settings).fit(X, y)
        coef, r = model.coef_, y - model.predict(X)
    else:
        y = eta + rng.standard_t(2, size=400)
        model = AsyncLassoRegressor(0.02, loss=loss, n_blocks=3, **settings).fit(X, y)
        coef, r = model.coef_, np.clip(y - model.predict(X), -1.35, 1.35)
    assert violation(X, r, coef, 0.02, bounds, weights) < 1e-3
    # By ADMM these losses have a dual only where all columns are penalised.
    if polish or loss == "huber":
        assert model.certificate_ == "duality gap"
        assert model.dual_gap_ < 1e-7
    assert (coef == 0.6).any()
    assert (coef == -0.5).any()


def test_a_ridge_term():
    X, y, _ = dense_rows(20)
    for polish in (True, False):
        net = AsyncElasticNetRegressor(0.5, l1_ratio=0.5, bounds=BOUNDS, polish=polish, tol=1e-10)
        net.fit(X, y)
        r = y - net.predict(X)
        # A ridge term is rows more.
        rows = np.vstack([X, np.sqrt(len(y) * 0.25) * np.eye(20)])
        r = np.r_[r, -np.sqrt(len(y) * 0.25) * net.coef_] * len(rows) / len(y)
        assert violation(rows, r, net.coef_, 0.25, BOUNDS) < (1e-9 if polish else 1e-4)
        assert net.dual_gap_ <= 1e-10 * y.var()


def test_positive_is_a_bound():
    X, y, _ = dense_rows(20)
    positive = AsyncLassoRegressor(0.1, positive=True).fit(X, y)
    np.testing.assert_array_equal(
        AsyncLassoRegressor(0.1, bounds=(0, np.inf)).fit(X, y).coef_, positive.coef_
    )
    np.testing.assert_allclose(
        AsyncLassoRegressor(0.1, bounds=(-np.inf, 0)).fit(-X, y).coef_, -positive.coef_, atol=1e-9
    )
    both = AsyncLassoRegressor(0.1, positive=True, bounds=BOUNDS).fit(X, y)
    assert both.coef_.min() == 0
    assert both.coef_.max() == BOUNDS[1]


def test_positive_and_not_penalised():
    X, y, _ = dense_rows(20)
    model = AsyncLassoRegressor(1.0, positive=True, penalty_weights=np.zeros(20)).fit(X, y)
    expected = LinearRegression(positive=True).fit(X, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n_columns", [20, MANY_COLUMNS])
def test_paths_and_choices(n_columns, monkeypatch):
    monkeypatch.setattr(width, "MAX_GRAM", BORDER)
    X, y, _ = dense_rows(n_columns)
    alphas, coefs, gaps = lasso_path(X, y, bounds=BOUNDS, alphas=5, eps=1e-2, fit_intercept=True)
    assert not coefs[:, 0].any()
    for alpha, coef, gap in zip(alphas, coefs.T, gaps, strict=True):
        exact = AsyncLassoRegressor(alpha, bounds=BOUNDS).fit(X, y)
        np.testing.assert_allclose(coef, exact.coef_, atol=1e-8)
        assert gap <= 1e-9 * y.var()
    model = AsyncLassoCV(bounds=BOUNDS, alphas=alphas, cv=3).fit(X, y)
    train, test = np.arange(50, 150), np.arange(50)
    of_fold = AsyncLassoRegressor(alphas[2], bounds=BOUNDS).fit(X[train], y[train])
    error = ((y[test] - of_fold.predict(X[test])) ** 2).mean()
    np.testing.assert_allclose(model.mse_path_[2, 0], error, rtol=1e-7)
    assert np.clip(model.coef_, *BOUNDS) == pytest.approx(model.coef_, abs=0)
    net = AsyncElasticNetCV(bounds=BOUNDS, alphas=3, l1_ratio=0.7, cv=3).fit(X, y)
    assert net.dual_gap_ <= 1e-6 * y.var()


def test_a_grid_beside_bounded_columns_that_are_not_penalised():
    X, y, _ = dense_rows(20)
    weights = np.r_[0.0, 0.0, np.ones(18)]
    alphas, coefs, _ = lasso_path(
        X, y, bounds=BOUNDS, alphas=3, penalty_weights=weights, fit_intercept=True
    )
    assert not coefs[2:, 0].any()
    assert (
        AsyncLassoRegressor(0.999 * alphas[0], bounds=BOUNDS, penalty_weights=weights)
        .fit(X, y)
        .coef_[2:]
        .any()
    )


def test_float32_is_within_bounds_too():
    X, y, _ = dense_rows(20)
    model = AsyncLassoRegressor(0.05, bounds=(-0.1, 0.1)).fit(
        X.astype(np.float32), y.astype(np.float32)
    )
    assert model.coef_.dtype == np.float32
    assert np.abs(model.coef_.astype(np.float64)).max() <= 0.1
    assert model.dual_gap_ <= 1e-6 * y.var()


def test_a_warm_start_from_outside():
    X, y, _ = dense_rows(20)
    for settings in ({}, dict(polish=False), dict(loss="poisson")):
        model = AsyncLassoRegressor(0.1, warm_start=True, **settings).fit(X, np.abs(y))
        model.set_params(bounds=(-0.01, 0.01)).fit(X, np.abs(y))
        assert np.abs(model.coef_).max() == 0.01


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ((0.1, 1), r"bounds are 0.1 and 1 for feature 0: zero must be within"),
        ((-1, np.r_[np.ones(19), -0.5]), r"bounds are -1 and -0.5 for feature 19"),
        ((np.ones(3), 1), r"lower has shape \(3,\), and X has 20 features"),
        ((0, np.nan), "upper has NaN"),
        ((0, "a"), "upper must be real numbers"),
        ((0, 1, 2), "bounds must be a pair"),
        (3, "'bounds' parameter"),
    ],
)
def test_bad_bounds(bounds, message):
    X, y, _ = dense_rows(20)
    with pytest.raises(ValueError, match=message):
        AsyncLassoRegressor(bounds=bounds).fit(X, y)


def bounded_minimum(smooth, bounds, thresholds, n_free):
    """``smooth(w, b) + thresholds . |w|`` at its minimum, by L-BFGS-B in positive parts of w."""
    (lower, upper), k = bounds, len(thresholds)

    def of_parts(v):
        value, slope, of_free = smooth(v[:k] - v[k : 2 * k], v[2 * k :])
        value += thresholds @ (v[:k] + v[k : 2 * k])
        return value, np.concatenate([slope + thresholds, thresholds - slope, of_free])

    sides = [(0, u) for u in upper] + [(0, -u) for u in lower] + [(None, None)] * n_free
    v, options = np.zeros(len(sides)), dict(maxiter=1000, maxfun=2000, ftol=1e-16, gtol=1e-12)
    for _ in range(3):
        found = minimize(of_parts, v, jac=True, method="L-BFGS-B", bounds=sides, options=options)
        v = found.x
    return found.fun


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("loss", ["several classes", "huber"])
def test_random_problems_of_other_losses_by_another_solver(loss, seed):
    rng = np.random.default_rng(seed)
    n, k, n_classes = rng.integers(30, 200), rng.integers(1, 8), rng.integers(3, 6)
    X, unit = rng.normal(size=(n, k)) + seed % 3, 10.0 ** rng.uniform(-2, 2, k)
    share, has_intercept = rng.uniform(0.1, 2, n), seed % 4 > 0
    weights = rng.choice([0, 1, 2], k)
    lower, upper = rng.choice([0, 0.3, 1, np.inf], (2, k))
    settings = dict(
        bounds=(-lower / unit, upper / unit),
        penalty_weights=weights * unit,
        fit_intercept=has_intercept,
        tol=1e-10,
    )
    eta, alpha = X @ rng.normal(size=(k, n_classes)), 10 ** rng.uniform(-4, -1)
    of_rows = (share / share.sum())[:, np.newaxis]
    if loss == "huber":
        y = eta[:, 0] + rng.standard_t(1.5, size=n)
        size, n_columns = y.var(), 1
        model = AsyncLassoRegressor(alpha, loss="huber", **settings).fit(X * unit, y, share)

        def of_predictor(eta):
            r = y[:, np.newaxis] - eta
            near = np.clip(r, -1.35, 1.35)
            return near * (r - near / 2), -near

    else:
        codes = (eta + rng.gumbel(size=eta.shape)).argmax(axis=1)
        codes[:n_classes] = np.arange(n_classes)
        size, n_columns = 1.0, n_classes
        model = AsyncLogisticRegression(alpha, **settings).fit(X * unit, codes, share)

        def of_predictor(eta):
            values = log_softmax(eta, axis=1)
            each = np.eye(n_classes)[codes]
            return -(each * values).sum(axis=1, keepdims=True), np.exp(values) - each

    def smooth(w, b):
        value, slope = of_predictor(X @ w.reshape(n_columns, k).T + (b if has_intercept else 0.0))
        slope = of_rows * slope
        of_free = slope.sum(axis=0) if has_intercept else np.zeros(0)
        return (of_rows * value).sum(), (slope.T @ X).ravel(), of_free

    bounds = tuple(np.tile(side, n_columns) for side in (-lower, upper))
    thresholds = alpha * np.tile(weights, n_columns)
    least = bounded_minimum(smooth, bounds, thresholds, n_columns * has_intercept)
    for side in (-1, 1):
        assert (side * model.coef_ <= side * settings["bounds"][side > 0]).all()
    coef = np.ravel(model.coef_ * unit)
    objective = smooth(coef, np.atleast_1d(model.intercept_))[0] + thresholds @ np.abs(coef)
    assert objective - least <= 1e-8 * size
    assert objective - least - 1e-12 * size <= model.dual_gap_ <= 1e-8 * size
