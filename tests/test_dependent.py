"""Columns that are combinations of others but for little: no gap below the excess, and a cure.

What tells them apart is less than rounding in their moments, and not in the rows.
"""

from __future__ import annotations

import itertools
import warnings

import dask.array as da
import judge
import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from dask_lasso import (
    AsyncElasticNetRegressor,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    lasso_path,
)
from dask_lasso.problem import far as _far
from dask_lasso.solvers import width as _width

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not judge.EXTENDED, reason="the judge needs extended precision"),
    pytest.mark.filterwarnings("ignore:With alpha=0:UserWarning"),
]
# Relative to a column: how much another differs from it; "float32" is rounding to that.
LITTLE = [1e-5, 1e-6, "float32", 1e-8, 1e-9]
KINDS = ["copy", "negated", "sum"]


def rows(kind, little, n=200, mean=0.0):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, 3)) + mean
    twin = {"copy": X[:, 0], "negated": -X[:, 0], "sum": X.sum(axis=1)}[kind]
    if little == "float32":
        X = np.column_stack([X, 1.7 * twin]).astype(np.float32).astype(np.float64)
    else:
        X = np.column_stack([X, twin + little * rng.normal(size=n)])
    return X, X[:, 0] - X[:, 1] + rng.normal(size=n) + 2


def fit(settings, X, y):
    """A model, and whether it warns that it has not converged."""
    make = AsyncElasticNetRegressor if "l1_ratio" in settings else AsyncLassoRegressor
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = make(**settings).fit(X, y)
    return model, [w for w in caught if issubclass(w.category, ConvergenceWarning)]


def verdict_of(settings, X, y, coef):
    alpha, ratio = np.longdouble(settings["alpha"]), settings.get("l1_ratio", 1.0)
    others = {"penalty_weights", "positive", "fit_intercept"} & set(settings)
    problem = judge.Lasso(
        X, y, alpha * ratio, alpha * (1 - ratio), **{name: settings[name] for name in others}
    )
    return judge.judge(problem, coef)


SETTINGS = [
    {"alpha": 0.0},
    {"alpha": 0.0, "positive": True},
    {"alpha": 0.0, "l1_ratio": 0.5},
    {"alpha": 0.1, "penalty_weights": np.array([0.0, 1, 1, 0])},
    {"alpha": 0.1, "penalty_weights": np.array([0.0, 0, 0, 1])},
    {"alpha": 0.01, "penalty_weights": np.array([0.0, 1, 1, 0]), "l1_ratio": 0.3},
    {"alpha": 1e-9},
    {"alpha": 1e-9, "positive": True},
    {"alpha": 1e-9, "l1_ratio": 0.0},
]


def name_of(settings):
    return " ".join(f"{name}={np.ravel(value)}" for name, value in settings.items())


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", SETTINGS, ids=name_of)
def test_no_gap_is_below_the_excess(settings, kind, fit_intercept):
    settings = {**settings, "fit_intercept": fit_intercept}
    for little in LITTLE:
        X, y = rows(kind, little)
        model, warned = fit(settings, X, y)
        from_statistics = type(model)(**settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from_statistics.fit_statistics(model.statistics_)
        for found in (model, from_statistics):
            verdict = verdict_of(settings, X, y, found.coef_)
            gap = found.dual_gap_ / verdict.null
            assert verdict.excess <= gap + verdict.floor + verdict.rounding + 1e-14, little
        assert bool(warned) == (model.dual_gap_ > model.tol * verdict.null)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_no_gap_of_columns_far_from_zero_is_below_the_excess(l1_ratio, kind):
    # Without an intercept their means are apart, and hide nothing of what they vary by.
    u, alpha = np.array([0.0, 1, 1, 0]), np.longdouble(0.01)
    settings = {"alpha": 0.01, "l1_ratio": l1_ratio, "penalty_weights": u, "fit_intercept": False}
    twin = {"copy": [1, 0, 0], "negated": [-1, 0, 0], "sum": [1, 1, 1]}[kind]
    for mean, little in itertools.product([50.0, 1000.0], [1e-7, 1e-8, 3e-9]):
        X, y = rows(kind, little, mean=mean)
        y = y + 5 * (X[:, 3] - X[:, :3] @ twin) / little
        model, warned = fit(settings, X, y)
        problem = judge.Lasso(
            X, y, alpha * l1_ratio, alpha * (1 - l1_ratio), None, u, fit_intercept=False
        )
        verdict = judge.judge(problem, model.coef_)
        gap = model.dual_gap_ / verdict.null
        assert verdict.excess <= gap + verdict.floor + verdict.rounding + 1e-14, (mean, little)
        assert bool(warned) == (model.dual_gap_ > model.tol * verdict.null)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_no_gap_of_sparse_rows_is_below_the_excess(l1_ratio, fit_intercept):
    # About zero, squares of these columns would be known to 1e-12 only.
    settings = {"alpha": 1e-6, "l1_ratio": l1_ratio, "penalty_weights": np.array([0.0, 1, 1, 0])}
    settings["fit_intercept"] = fit_intercept
    for kind, little, mean in itertools.product(KINDS, [1e-4, 1e-5, 1e-6], [20.0, 90.0]):
        X, y = rows(kind, little, mean=mean)
        for weight in (None, np.arange(200) % 3):
            model = AsyncElasticNetRegressor(**settings)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(sparse.csr_array(X), y, weight)
            alpha = np.longdouble(1e-6)
            parts = alpha * l1_ratio, alpha * (1 - l1_ratio), weight, settings["penalty_weights"]
            problem = judge.Lasso(X, y, *parts, fit_intercept=fit_intercept)
            verdict = judge.judge(problem, model.coef_)
            gap = model.dual_gap_ / verdict.null
            assert verdict.excess <= gap + verdict.floor + verdict.rounding + 1e-14, (kind, little)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings", [s for s in SETTINGS if s["alpha"] != 1e-9 and "positive" not in s], ids=name_of
)
def test_a_second_pass_finds_the_optimum(settings, kind, fit_intercept):
    settings = {**settings, "fit_intercept": fit_intercept}
    for little in ("float32", 1e-8, 1e-9):
        X, y = rows(kind, little)
        model, warned = fit(settings, X, y)
        assert not warned
        assert model.n_passes_ in (1, 2)
        verdict = verdict_of(settings, X, y, model.coef_)
        assert verdict.excess <= 1e-9 + verdict.floor, little
        residual = y - model.predict(X)
        assert not fit_intercept or abs(residual.mean()) <= 1e-6 * y.std()
    # With alpha=0 there is no way to the optimum but the second pass.
    assert settings["alpha"] or model.n_passes_ == 2


@pytest.mark.parametrize("place", ["chunks", "sparse", "float32", "targets", "weights", "far"])
def test_a_second_pass_of_any_rows(place, client):
    X, y = rows("copy", 1e-8 if place != "float32" else "float32", mean=50.0 * (place == "far"))
    weight, given = None, X
    if place == "chunks":
        given, y = da.from_array(X, chunks=(70, 4)), da.from_array(y, chunks=70)
    elif place == "sparse":
        given = sparse.csr_array(X)
    elif place == "float32":
        given = X.astype(np.float32)
    elif place == "targets":
        y = np.column_stack([y, X[:, 1], y[::-1]])
    elif place == "weights":
        weight = np.arange(200) % 3
    model = AsyncLassoRegressor(0.0, tol=1e-9)
    # Coefficients of 1e7 are not values of float32 to so many digits; then there is a warning.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(given, y, weight)
    assert model.n_passes_ == 2
    y, s = np.asarray(y).reshape(200, -1), np.ones(200) if weight is None else weight
    for target, coef in enumerate(np.atleast_2d(model.coef_)):
        problem = judge.Lasso(X, y[:, target], 0.0, weight=s)
        verdict = judge.judge(problem, coef)
        gap = np.ravel(model.dual_gap_)[target] / verdict.null
        assert verdict.excess <= gap + verdict.floor + verdict.rounding + 1e-14
        assert verdict.excess <= (1e-9 if place != "float32" else 1e-2)
    assert place == "float32" or not any(w.category is ConvergenceWarning for w in caught)


def exact():
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(500, 3)), rng.normal(size=500)
    one_hot = np.eye(7)[rng.integers(0, 7, 500)]
    kelvin = 280 + 5 * Z[:, :1]
    days = 20000 + np.sort(rng.uniform(0, 300, (500, 1)), axis=0)
    return {
        "one-hot": (one_hot, y),
        "one-hot and others": (np.hstack([one_hot, Z]), y),
        "thirds": (np.hstack([Z, Z / 3]), y),
        "sum": (np.hstack([Z, Z.sum(axis=1, keepdims=True)]), y),
        "temperatures": (np.hstack([kelvin, kelvin - 273.15, kelvin * 1.8 - 459.67]), y),
        "times": (np.hstack([days, days * 86400e9, days / 365.25]), y),
        "more columns than rows": (rng.normal(size=(40, 60)), y[:40]),
    }


@pytest.mark.parametrize("name", list(exact()))
def test_what_depends_but_for_rounding_of_the_rows_needs_no_second_pass(name):
    X, y = exact()[name]
    for of_rows in (X, da.from_array(X, chunks=(60, X.shape[1]))):
        model, warned = fit({"alpha": 0.0, "tol": 1e-9}, of_rows, y)
        assert not warned
        assert model.n_passes_ == 1
        assert model.dual_gap_ <= 1e-11 * y.var()


def test_where_there_are_no_rows_the_warning_names_the_columns():
    X, y = rows("copy", 1e-8)
    statistics = fit({"alpha": 0.0}, X, y)[0].statistics_
    model = AsyncLassoRegressor(0.0)
    with pytest.warns(ConvergenceWarning, match="nearly combinations of others.*Leave some of"):
        model.fit_statistics(statistics)
    # The cures that it names.
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        AsyncLassoRegressor(1e-3).fit_statistics(statistics)
        AsyncLassoRegressor(0.0).fit(X[:, 1:], y)


def test_a_path_to_zero_is_certified():
    X, y = rows("copy", "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alphas, coefs, gaps = lasso_path(X, y, alphas=[0.1, 1e-3, 0.0], fit_intercept=True)
    for alpha, coef, gap in zip(alphas, coefs.T, gaps, strict=True):
        verdict = judge.judge(judge.Lasso(X, y, np.longdouble(alpha)), coef)
        assert verdict.excess <= gap / verdict.null + verdict.floor + 1e-14


BY_ROWS = [{"local_solver": "lbfgs"}, {"loss": "huber"}, {"loss": "huber", "polish": False}]


@pytest.mark.parametrize("by_rows", BY_ROWS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_no_gap_of_raw_rows_is_below_the_excess(fit_intercept, kind, by_rows):
    # Huber's loss of residuals that are all within it is the squared one.
    settings = {"alpha": 0.1, "fit_intercept": fit_intercept}
    for little in LITTLE:
        X, y = rows(kind, little)
        for weights in ([0.0, 1, 1, 0], [0.0, 0, 0, 1]):
            settings["penalty_weights"] = np.array(weights)
            others = {"huber_delta": 1e6, "tol": 1e-8, "max_iter": 300}
            model, _ = fit({**settings, **others, **by_rows}, X, y)
            verdict = verdict_of(settings, X, y, model.coef_)
            gap = model.dual_gap_ / verdict.null
            assert verdict.excess <= gap + verdict.floor + verdict.rounding + 1e-14, little


@pytest.mark.parametrize("by_rows", BY_ROWS, ids=str)
def test_of_raw_rows_what_depends_but_for_rounding_is_certified(by_rows):
    X, y = exact()["one-hot and others"]
    y = y + X[:, 1] + X[:, -1]
    settings = {"alpha": 0.1, "penalty_weights": np.r_[np.zeros(7), np.ones(3)], "tol": 1e-8}
    model, warned = fit({**settings, **by_rows}, X, y)
    assert not warned
    assert model.dual_gap_ <= 1e-8 * y.var()


def test_orthogonal_columns_far_from_zero_determine_a_solution():
    """The SVD of a matrix so near the identity may not converge."""
    rng, k = np.random.default_rng(45), 250
    off = rng.normal(size=(k, k)) * 10.0 ** rng.uniform(-16, -11)
    off += off.T
    np.fill_diagonal(off, 0.0)
    x_mean = rng.normal(size=k)
    means = _far._Means(np.eye(k) + off, x_mean, 2 * x_mean @ x_mean, 1e4 * x_mean, 0.0)
    assert means.determine
    np.testing.assert_allclose(means.inverse(np.arange(k)), 1e4 * x_mean, rtol=1e-9)


def classes_of(X, n_classes):
    rng = np.random.default_rng(4)
    eta = np.column_stack([X[:, 0] - X[:, 1], X[:, 1] - X[:, 0], X[:, 2]])[:, :n_classes]
    return (eta + rng.gumbel(size=eta.shape)).argmax(axis=1)


def mean_loss_of_classes(model, X, y):
    coef, intercept = (np.asarray(of, np.longdouble) for of in (model.coef_, model.intercept_))
    eta = X.astype(np.longdouble) @ coef.T + intercept
    if eta.shape[1] == 1:
        eta = np.hstack([0 * eta, eta])
    eta -= eta.max(axis=1, keepdims=True)
    return (np.log(np.exp(eta).sum(axis=1)) - eta[np.arange(len(y)), y]).mean(), coef


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("is_wide", [False, True], ids=["few columns", "many columns"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_no_gap_of_classes_is_below_the_excess(fit_intercept, is_wide, n_classes, monkeypatch):
    if is_wide:
        monkeypatch.setattr(_width, "MAX_GRAM", 3)
    u = np.array([0.0, 1, 1, 0])
    settings = {"penalty_weights": u, "fit_intercept": fit_intercept, "tol": 1e-9}
    for kind in ("copy", "negated"):
        for little in [*LITTLE, 1e-12]:
            X, _ = rows(kind, little)
            y = classes_of(X, n_classes)
            # Columns without a penalty may be exchanged for what they span.
            apart = X.copy()
            apart[:, 3] -= X[:, 0] * (X[:, 0] @ X[:, 3] / (X[:, 0] @ X[:, 0]))
            apart[:, 3] /= apart[:, 3].std()
            objectives, gaps = [], []
            for of in (X, apart):
                model = AsyncLogisticRegression(0.03, **settings)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    model.fit(of, y)
                loss, coef = mean_loss_of_classes(model, of, y)
                objectives.append(loss + np.longdouble(0.03) * (u * np.abs(coef)).sum())
                gaps.append(np.ravel(model.dual_gap_)[0])
            assert objectives[0] - objectives[1] <= gaps[0] + 1e-13, little
            assert gaps[1] <= 1e-8


@pytest.mark.parametrize("ratio", [1e7, 1e9, 1e10, 1e11, 1e12])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_a_free_column_that_hardly_varies_beside_its_mean_is_certified(l1_ratio, ratio):
    """Without an intercept; of two that are as near to each other the warning names the cure."""
    rng = np.random.default_rng(0)
    settings = {"penalty_weights": np.array([0.0, 1, 1]), "l1_ratio": l1_ratio, "tol": 1e-9}
    for _ in range(20):
        X, spread = rng.normal(size=(60, 4)), 50 * rng.normal(size=(60, 2)) / ratio
        y = 3 + X[:, 3] + rng.normal(size=60)
        X[:, :2] = 50 + spread
        model = AsyncElasticNetRegressor(0.1, fit_intercept=False, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.fit(X[:, 1:], y)  # which is the cure
        if ratio > 1e10:
            model.set_params(penalty_weights=np.array([0.0, 0, 1, 1]))
            with pytest.warns(ConvergenceWarning, match="nearly combinations of others.*Leave som"):
                model.fit(X, y)
