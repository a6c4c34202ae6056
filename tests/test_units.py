"""Columns in any units and any distance from zero: the same fit, and a gap that is true.

References and objectives are of the raw rows, in extended precision.
"""

from __future__ import annotations

import warnings
from itertools import product

import dask.array as da
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.optimize import nnls
from sklearn.linear_model import Lasso, LinearRegression, Ridge

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
    lasso_path,
)

# Arithmetic, which the versions of the dependencies hardly touch.
pytestmark = pytest.mark.slow

ALPHA = 0.1


def rows(column=None, n=1000, seed=0):
    """Three columns and a target; the first column as given."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    y = 5 + X[:, 1] + 0.3 * X[:, 2] + rng.normal(size=n)
    if column is not None:
        X[:, 0] = column(rng, n)
    return X, y


FAR = {
    "ones": lambda rng, n: np.ones(n),
    "constant": lambda rng, n: np.full(n, 3.7),
    "year": lambda rng, n: 2020.0 + rng.integers(-1, 2, n),
    "thousand": lambda rng, n: 1000 + rng.normal(size=n),
    "million": lambda rng, n: 1e6 + rng.normal(size=n),
}


def objective(X, y, coef, alpha, weights):
    X, y, coef = (np.asarray(a, dtype=np.longdouble) for a in (X, y, coef))
    r = y - X @ coef
    return float(r @ r / (2 * len(y)) + alpha * (weights * np.abs(coef)).sum())


def project(columns, rest):
    """`rest` less its projection on `columns`, in extended precision."""
    rest = np.asarray(rest, dtype=np.longdouble)
    for _ in range(2):
        rest = rest - columns @ least_squares(columns, rest)
    return rest.astype(np.float64)


def least_squares(X, y, pull=0.0):
    """``argmin ||y - X w||^2 / 2 + pull.w`` by Gram-Schmidt in extended precision."""
    Q = np.array(X, dtype=np.longdouble)
    R = np.eye(X.shape[1], dtype=np.longdouble)
    for _ in range(2):
        again = np.zeros_like(R)
        for j in range(X.shape[1]):
            for i in range(j):
                again[i, j] = Q[:, i] @ Q[:, j]
                Q[:, j] -= Q[:, i] * again[i, j]
            again[j, j] = np.sqrt(Q[:, j] @ Q[:, j])
            Q[:, j] /= again[j, j]
        R = again @ R
    pull = np.broadcast_to(np.asarray(pull, dtype=np.longdouble), X.shape[1:])
    lifted = np.zeros(X.shape[1], dtype=np.longdouble)
    for i in range(X.shape[1]):
        lifted[i] = (pull[i] - R[:i, i] @ lifted[:i]) / R[i, i]
    right = Q.T @ np.asarray(y, dtype=np.longdouble)
    right = right - (lifted if right.ndim == 1 else lifted[:, np.newaxis])
    w = np.zeros(right.shape, dtype=np.longdouble)
    for i in reversed(range(X.shape[1])):
        w[i] = (right[i] - R[i, i + 1 :] @ w[i + 1 :]) / R[i, i]
    return w


def best_objective(X, y, alpha, weights):
    """The least objective of three columns: of all patterns of signs, in extended precision."""
    weights = np.asarray(weights, dtype=float)
    found = []
    for signs in product(*[[-1, 0, 1] if weight else [2] for weight in weights]):
        active = np.flatnonzero(signs)
        pull = len(y) * alpha * (weights * np.where(weights > 0, signs, 0))[active]
        coef = np.zeros(X.shape[1], dtype=np.longdouble)
        coef[active] = least_squares(X[:, active], y, pull)
        found.append(objective(X, y, coef, alpha, weights))
    return min(found)


def by_fit(X, y, weights, **settings):
    model = AsyncLassoRegressor(ALPHA, penalty_weights=weights, fit_intercept=False, **settings)
    model.fit(X, y)
    return model.coef_, model.dual_gap_


def by_admm(X, y, weights):
    return by_fit(X, y, weights, polish=False, tol=1e-9, n_blocks=3)


def by_partial_fit(X, y, weights):
    model = AsyncLassoRegressor(ALPHA, penalty_weights=weights, fit_intercept=False)
    for start in range(0, len(y), 400):
        model.partial_fit(X[start : start + 400], y[start : start + 400])
    return model.coef_, model.dual_gap_


def by_cross_validation(X, y, weights):
    model = AsyncLassoCV(alphas=[ALPHA], cv=3, penalty_weights=weights, fit_intercept=False)
    model.fit(X, y)
    return model.coef_, model.dual_gap_


def by_path(X, y, weights):
    _, coefs, gaps = lasso_path(X, y, alphas=[1.0, ALPHA], penalty_weights=weights)
    return coefs[:, 1], gaps[1]


@pytest.mark.parametrize("weights", [(2, 1, 1), (0.5, 1, 1), (0, 1, 1)], ids=str)
@pytest.mark.parametrize("column", FAR)
@pytest.mark.parametrize("door", [by_fit, by_admm, by_partial_fit, by_cross_validation, by_path])
def test_penalty_weights_of_far_columns_without_intercept(door, column, weights):
    X, y = rows(FAR[column])
    coef, gap = door(X, y, weights)
    null = y @ y / len(y)
    best = best_objective(X, y, ALPHA, weights)
    excess = objective(X, y, coef, ALPHA, np.array(weights)) - best
    if door is by_admm:
        assert excess <= max(1e-9 * null, float(gap)) + 1e-12 * null
    else:
        assert excess <= 1e-11 * null
    assert excess <= gap + 1e-13 * null


@pytest.mark.parametrize("column", FAR)
def test_far_columns_without_intercept_and_with_a_ridge_term(column):
    X, y = rows(FAR[column])
    model = AsyncElasticNetRegressor(ALPHA, l1_ratio=0.5, fit_intercept=False).fit(X, y)
    root = np.sqrt(len(y) * ALPHA * 0.5)
    # The ridge term is k more rows.
    longer = np.vstack([X, root * np.eye(3)]) * np.sqrt(1003 / 1000)
    target = np.r_[y, np.zeros(3)] * np.sqrt(1003 / 1000)
    best = best_objective(longer, target, ALPHA * 0.5, np.ones(3))
    found = objective(longer, target, model.coef_, ALPHA * 0.5, np.ones(3))
    assert found - best <= 1e-11 * (y @ y / len(y))
    assert found - best <= model.dual_gap_ + 1e-13 * (y @ y / len(y))


@pytest.mark.parametrize("seed", [55, 83, 136, 193])
def test_bounds_of_far_columns_without_intercept(seed):
    """Between the kinks of the mean of the residual, whose sizes differ much."""
    rng = np.random.default_rng(seed)
    far = 10.0 ** rng.uniform(3, 7, 4)
    X = far * (1 + 1e-5 * rng.normal(size=(60, 4)))
    y = rng.normal(size=60) + 1.9
    upper = 0.01 * rng.choice([0.1, 1, 10, np.inf], 4)
    bounds = np.where(rng.random(4) < 0.5, 0, -0.1), upper
    settings = dict(fit_intercept=False, bounds=bounds, penalty_weights=far / 1e5)
    model = AsyncElasticNetRegressor(0.01, **settings).fit(X, y)
    assert 0 <= model.dual_gap_ <= 1e-12 * (y @ y) / 60
    assert model.coef_.any()


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1.0, 1e6, 1e7, 1e8, 1e12])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_unpenalised_columns_in_any_units(fit_intercept, unit):
    X, y = rows()
    weights = np.array([0, 0, 1.0])
    settings = dict(penalty_weights=weights, fit_intercept=fit_intercept)
    expected = AsyncLassoRegressor(ALPHA, **settings).fit(X, y).coef_
    scale = np.array([unit, 1, 1])
    model = AsyncLassoRegressor(ALPHA, **settings).fit(X * scale, y)
    assert_allclose(model.coef_ * scale, expected, rtol=1e-10, atol=1e-12)
    _, coefs, _ = lasso_path(X * scale, y, alphas=[ALPHA], **settings)
    assert_allclose(coefs[:, 0] * scale, expected, rtol=1e-10, atol=1e-12)


def test_a_quadratic_trend_in_nanoseconds():
    X, y = rows()
    t = np.linspace(0, 3.6e12, len(y))  # an hour
    y = y + 3 * t / t[-1] + 5 * (t / t[-1]) ** 2
    trend = np.column_stack([t, t**2])
    unit = trend / trend[-1]
    weights = [0, 0, 1, 1, 1]
    expected = AsyncLassoRegressor(ALPHA, penalty_weights=weights).fit(np.c_[unit, X], y)
    model = AsyncLassoRegressor(ALPHA, penalty_weights=weights).fit(np.c_[trend, X], y)
    assert_allclose(model.coef_ * np.r_[trend[-1], 1, 1, 1], expected.coef_, rtol=1e-8, atol=1e-10)
    beside = np.column_stack([np.ones(len(y)), unit])
    reference = Lasso(ALPHA, fit_intercept=False, tol=1e-13).fit(
        project(beside, X), project(beside, y)
    )
    assert_allclose(model.coef_[2:], reference.coef_, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("unit", [1e-12, 1e-8, 1.0, 1e8, 1e12])
def test_least_squares_and_ridge_in_any_units(unit):
    X, y = rows()
    scale = np.array([unit, 1, 1])
    with pytest.warns(UserWarning, match="alpha=0"):
        model = AsyncLassoRegressor(0).fit(X * scale, y)
    assert_allclose(model.coef_ * scale, LinearRegression().fit(X, y).coef_, rtol=1e-10)
    assert model.dual_gap_ <= 1e-12 * y.var()
    # The ridge term is in the user's units: the reference is the k-row system in them.
    ridge = AsyncElasticNetRegressor(1e-3, l1_ratio=0).fit(X * scale, y)
    if unit == 1:
        assert_allclose(ridge.coef_, Ridge(1e-3 * len(y)).fit(X, y).coef_, rtol=1e-10)
    centred, target = X - X.mean(axis=0), y - y.mean()
    system = centred.T @ centred + np.diag(1e-3 * len(y) / scale**2)
    assert_allclose(
        ridge.coef_ * scale, np.linalg.solve(system, centred.T @ target), rtol=1e-9, atol=1e-11
    )
    assert ridge.dual_gap_ <= 1e-9 * y.var()


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
def test_noise_variance_in_any_units(unit):
    X, y = rows()
    model = AsyncLassoCV(criterion="bic").fit(X * [unit, 1, 1], y)
    residual = y - LinearRegression().fit(X, y).predict(X)
    assert model.noise_variance_ == pytest.approx(residual @ residual / (len(y) - 4), rel=1e-9)


def test_information_criteria_count_rows_of_positive_weight():
    X, y = rows(n=200)
    weights = np.random.default_rng(1).integers(0, 2, len(y)).astype(float)
    kept = weights > 0
    weighted = AsyncLassoCV(criterion="bic", alphas=20).fit(X, y, weights)
    expected = AsyncLassoCV(criterion="bic", alphas=20).fit(X[kept], y[kept])
    assert weighted.noise_variance_ == pytest.approx(expected.noise_variance_, rel=1e-9)
    assert_allclose(weighted.criterion_, expected.criterion_, rtol=1e-9)
    assert_allclose(weighted.coef_, expected.coef_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
@pytest.mark.parametrize(
    "make", [np.asarray, lambda a: da.from_array(a, chunks=(100, 3)[: a.ndim])]
)
def test_exact_targets_have_no_noise(make, scale):
    X, _ = rows()
    with pytest.raises(ValueError, match="needs noise"):
        AsyncLassoCV(criterion="bic").fit(make(X), make(3 * scale * X[:, 0]))


@pytest.mark.parametrize("column", ["ones", "year"])
def test_paths_of_several_targets_without_intercept(column):
    X, y = rows(FAR[column])
    Y = np.column_stack([y, X[:, 2] - 0.5 * y])
    alphas = [1.0, 0.3, ALPHA]
    _, coefs, gaps = lasso_path(X, Y, alphas=alphas)
    for target, (coef, gap) in enumerate(zip(coefs, gaps, strict=True)):
        _, alone, _ = lasso_path(X, Y[:, target], alphas=alphas)
        assert_allclose(coef, alone, rtol=1e-9, atol=1e-12)
        assert (gap <= 1e-12 * (Y[:, target] ** 2).mean()).all()
        for alpha, one in zip(alphas, coef.T, strict=True):
            best = best_objective(X, Y[:, target], alpha, np.ones(3))
            found = objective(X, Y[:, target], one, alpha, np.ones(3))
            assert found - best <= 1e-11 * (Y[:, target] ** 2).mean()


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("spread", [1.0, 1e-3])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_never_above_the_null_model(spread, l1_ratio):
    rng = np.random.default_rng(0)
    X = 1e4 + spread * rng.normal(size=(20, 60))
    y = rng.normal(size=20)
    for alpha in (1e-6, 1e-3, 1.0):
        model = AsyncElasticNetRegressor(alpha, l1_ratio=l1_ratio, fit_intercept=False).fit(X, y)
        value = objective(X, y, model.coef_, alpha * l1_ratio, 1.0)
        value += 0.5 * alpha * (1 - l1_ratio) * (model.coef_**2).sum()
        assert value <= objective(X, y, np.zeros(60), alpha, 1.0) * (1 + 1e-12)
        assert model.dual_gap_ <= value * (1 + 1e-9)


def _cv_coefficients(model_type, **settings):
    def fit(X, y, alpha):
        model = model_type(alphas=[alpha, 0.3 * alpha], cv=3, **settings).fit(X, y)
        return model.coef_, model.alpha_ / alpha, model.degrees_of_freedom_

    return fit


def _fit_coefficients(**settings):
    def fit(X, y, alpha):
        model = AsyncLassoRegressor(alpha, **settings).fit(X, y)
        return model.coef_, model.dual_gap_ <= 1e-6 * y.var(), model.degrees_of_freedom_

    return fit


def _path_coefficients(X, y, alpha):
    alphas, coefs, _ = lasso_path(X, y, alphas=10, fit_intercept=True)
    return coefs, alphas / alpha


DOORS = {
    "fit": _fit_coefficients(),
    "positive": _fit_coefficients(positive=True),
    "admm": _fit_coefficients(polish=False, tol=1e-13, n_blocks=2),
    "least squares": lambda X, y, alpha: [AsyncLassoRegressor(0).fit(X, y).coef_],
    "cv": _cv_coefficients(AsyncLassoCV),
    "bic": _cv_coefficients(AsyncLassoCV, criterion="bic"),
    "net cv": _cv_coefficients(AsyncElasticNetCV, l1_ratio=[1.0]),
    "path": _path_coefficients,
}


@pytest.mark.parametrize("b", [1e-12, 1e12])
@pytest.mark.parametrize("a", [1e-12, 1e12])
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.filterwarnings("ignore:With alpha=0:UserWarning")
def test_units_of_rows_and_targets(door, a, b):
    X, y = rows(n=300)
    fit = DOORS[door]
    expected, found = fit(X, y, ALPHA), fit(a * X, b * y, a * b * ALPHA)
    assert_allclose(found[0] * (a / b), expected[0], rtol=1e-6 if door == "admm" else 1e-9)
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.filterwarnings("ignore:With alpha=0:UserWarning")
def test_non_negative_least_squares_is_certified(fit_intercept, scale):
    X, y = rows()
    y = y - 5 - 2 * X[:, 2]
    model = AsyncLassoRegressor(0, positive=True, fit_intercept=fit_intercept)
    with warnings.catch_warnings():
        warnings.simplefilter("error", category=RuntimeWarning)
        model.fit(scale * X, scale * y)
    means = X.mean(axis=0), y.mean()
    expected = nnls(X - means[0], y - means[1])[0] if fit_intercept else nnls(X, y)[0]
    assert (expected == 0).any()
    assert_allclose(model.coef_, expected, rtol=1e-9, atol=1e-12)
    assert model.dual_gap_ <= 1e-12 * scale**2 * (y @ y) / len(y)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_constant_moment_among_many_columns(fit_intercept):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 2100))
    y = 3 * X[:, 0] + rng.normal(size=100)
    plain = X.copy()
    plain[:, 7] = 0.0
    X[:, 7] = 1.7e18  # in nanoseconds, on all rows
    settings = dict(fit_intercept=fit_intercept)
    for fit in (
        lambda X: AsyncLassoRegressor(0.3, **settings).fit(X, y).coef_,
        lambda X: AsyncLassoCV(alphas=[1.0, 0.3], cv=3, **settings).fit(X, y).coef_,
        lambda X: lasso_path(X, y, alphas=[1.0, 0.3], **settings)[1][:, 1],
    ):
        found, expected = fit(X), fit(plain)
        if fit_intercept:
            assert found[7] == 0
            assert_allclose(found, expected, rtol=0, atol=1e-8)
        else:  # the constant is as good as an intercept there
            r = y - X @ found
            assert abs(r.mean()) < 1e-8


@pytest.mark.parametrize("k", [3, 2100])
@pytest.mark.parametrize("column", ["year", "thousand"])
def test_narrow_dtypes_are_summed_in_float64(column, k):
    X, y = rows(FAR[column], n=300)
    X = np.column_stack([X, np.random.default_rng(1).normal(size=(len(y), k - 3))])
    y = y + X[:, 0]
    X = X.astype(np.float32)
    expected = AsyncLassoRegressor(ALPHA).fit(X.astype(np.float64), y)
    for narrow in (X, sparse.csr_array(X)):
        model = AsyncLassoRegressor(ALPHA).fit(narrow, y)
        assert model.coef_.dtype == np.float32
        assert_allclose(model.coef_, expected.coef_, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("chunks", [None, 100])
def test_a_constant_sparse_column_is_constant(chunks):
    X, y = rows(FAR["constant"])
    made = sparse.csr_array(X)
    if chunks:
        made = da.from_array(X, chunks=(chunks, 3)).map_blocks(sparse.csr_array)
        y = da.from_array(y, chunks=chunks)
    model = AsyncLassoRegressor(ALPHA, fit_intercept=False).fit(made, y)
    y = np.asarray(y)
    excess = objective(X, y, model.coef_, ALPHA, 1.0) - best_objective(X, y, ALPHA, np.ones(3))
    assert excess <= 1e-12 * (y @ y) / len(y)
