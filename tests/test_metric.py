"""Consensus ADMM in the metric of pooled curvature: few sweeps, however correlated the columns."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ENGINES
from datasets import from_rows, photographs
from scipy.special import expit
from sklearn.preprocessing import PolynomialFeatures

from dask_lasso import AsyncLassoRegressor, AsyncLogisticRegression
from dask_lasso.problem.losses import Pair
from dask_lasso.problem.metric import Metric
from dask_lasso.rows.chunk import read
from dask_lasso.rows.losses import ChunkLoss
from dask_lasso.rows.raw import raw_rows
from dask_lasso.solvers.likeness import Likeness


def cubes(n=4000):
    """All products of three of six columns, far from zero: their condition is beyond 1e12."""
    rng = np.random.default_rng(0)
    near = np.cumsum(rng.normal(size=n)) / 50  # neighbours are alike, and blocks are not
    columns = np.exp(0.3 * rng.normal(size=(n, 6)) + 0.2 * near[:, np.newaxis])
    X = PolynomialFeatures(3, include_bias=False).fit_transform(
        columns * np.r_[1, 30, 5, 1, 1e3, 36]
    )
    return X, np.minimum(columns[:, 0] * (1 + 0.3 * rng.normal(size=n)), 3) + 0.1 * near


def alpha_max(X, y):
    return np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max() / len(y)


def objective(model, X, y):
    residual = y - model.predict(X)
    return residual @ residual / (2 * len(y)) + model.alpha * np.abs(model.coef_).sum()


@pytest.mark.parametrize("local_solver", ["gram", "lbfgs"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("data", "share", "n_blocks", "most"),
    [
        ("photographs", 0.1, 8, 30),
        ("photographs", 0.001, 20, 30),
        pytest.param("photographs", 0.01, 32, 30, marks=pytest.mark.slow),
        ("cubes", 0.01, 8, 60),
        pytest.param("cubes", 0.001, 20, 60, marks=pytest.mark.slow),
    ],
)
def test_sweeps_are_few_however_correlated_the_columns(
    data, share, n_blocks, most, engine, local_solver
):
    X, y = photographs(step=25) if data == "photographs" else cubes()
    model = AsyncLassoRegressor(
        share * alpha_max(X, y),
        engine=engine,
        local_solver=local_solver,
        polish=False,
        n_blocks=n_blocks,
    ).fit(X, y)
    assert model.n_iter_ <= most
    exact = AsyncLassoRegressor(model.alpha).fit(X, y)
    assert model.dual_gap_ <= 1e-6 * y.var()
    excess = objective(model, X, y) - objective(exact, X, y)
    assert excess <= model.dual_gap_ + 1e-12 * y.var()
    history = model.history_
    if local_solver == "gram":
        assert not history["n_evaluations"].any()
    else:
        assert (np.diff(history["n_evaluations"]) >= 0).all()
        assert 1 <= history["n_evaluations"][-1] / history["n_updates"][-1] <= 6


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"fit_intercept": False},
        {"positive": True},
        {"penalty_weights": np.r_[0.0, 2.0, np.ones(70)]},
        {"local_solver": "lbfgs"},
    ],
    ids=lambda params: next(iter(params), "plain"),
)
def test_the_estimate_is_that_of_the_exact_solver(engine, params):
    X, y = photographs(step=101)
    y = np.column_stack([y, X[:, 3] + 0.1 * y**2])
    weights = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    alpha = 0.01 * alpha_max(X, y[:, 0])
    exact = AsyncLassoRegressor(alpha, **{**params, "local_solver": "auto"})
    exact.fit(X, y, sample_weight=weights)
    model = AsyncLassoRegressor(alpha, engine=engine, polish=False, n_blocks=6, tol=1e-12, **params)
    model.fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(model.predict(X), exact.predict(X), atol=2e-6 * y.std())
    atol = 1e-4 * np.abs(exact.coef_).max()
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=atol)
    assert model.n_iter_ <= 100


def log_loss(beta, X, y):
    eta = X @ beta
    return (np.logaddexp(0, eta) - y * eta).sum()


def log_loss_gradient(beta, X, y):
    return X.T @ (expit(X @ beta) - y)


class LogLoss:
    def value(self, eta, y):
        return np.logaddexp(0, eta) - y * eta

    def derivative(self, eta, y):
        return expit(eta) - y

    def curvature(self, eta, y):
        return expit(eta) * expit(-eta)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loss", [(log_loss, log_loss_gradient), LogLoss()], ids=["pair", "object"])
def test_sweeps_are_few_where_the_curvature_changes(loss, engine):
    X, y = photographs(step=50)
    y = (y > np.median(y)).astype(float)
    alpha = 0.01 * alpha_max(X, y)
    model = AsyncLassoRegressor(alpha, engine=engine, loss=loss, polish=False, n_blocks=10)
    model.fit(X, y)
    assert model.n_iter_ <= 100  # a few hundred in the metric of rows that count alike
    exact = AsyncLogisticRegression(alpha).fit(X, y)
    eta = X @ exact.coef_.ravel() + exact.intercept_
    np.testing.assert_allclose(X @ model.coef_ + model.intercept_, eta, atol=1e-3 * eta.std())


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_curvature_of_a_pair_is_that_of_the_loss(fit_intercept):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)) * [1, 1e3, 1e-3] + [0, 1e4, 1e-2]
    y = (rng.normal(size=400) < 0).astype(float)
    beta = np.array([[0.5], [1e-3], [200.0], [-11.0]])[: 3 + fit_intercept]
    rows = raw_rows(read(X, y), ones=fit_intercept)
    found = ChunkLoss(Pair(log_loss, log_loss_gradient), fit_intercept).curved(beta, rows)
    eta = rows.X @ beta
    curvature = LogLoss().curvature(eta, None)
    mean = (curvature * X).sum(axis=0) / curvature.sum() if fit_intercept else np.zeros(3)
    gram = (X - mean).T @ (curvature * (X - mean))
    unit = np.sqrt(np.diagonal(gram))
    np.testing.assert_allclose(
        found.sxx / np.outer(unit, unit), gram / np.outer(unit, unit), atol=1e-2
    )
    np.testing.assert_allclose(found.x_mean, mean, rtol=1e-2, atol=1e-9)
    if fit_intercept:
        assert found.weight == pytest.approx(curvature.sum(), rel=1e-2)


def random_metric(fit_intercept, turned):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 5)) @ rng.normal(size=(5, 5)) + 3
    X[:, 2] = 1.0
    scale = np.where(np.ptp(X, axis=0) > 0, X.std(axis=0), np.inf)
    shifts = (X.mean(axis=0), np.array([1.0, 2.0])) if fit_intercept else (np.zeros(5), np.zeros(2))
    metric = Metric(0, *shifts, scale, fit_intercept)
    return metric.turned(np.cov(X.T, bias=True)) if turned else metric


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_coordinates_and_gradients_go_both_ways(fit_intercept, turned):
    metric = random_metric(fit_intercept, turned)
    rng = np.random.default_rng(1)
    v, gradient = rng.normal(size=(2, 5 + fit_intercept, 2))
    v[2] = gradient[2] = 0.0  # a column that does not vary
    np.testing.assert_allclose(metric.of_beta(metric.to_beta(v)), v, atol=1e-12)
    np.testing.assert_allclose(metric.pull_back(metric.push(gradient)), gradient, atol=1e-12)
    step = metric.to_beta(v) - metric.to_beta(np.zeros_like(v))
    assert np.vdot(metric.push(gradient), step) == pytest.approx(np.vdot(gradient, v))
    if turned:
        coef = metric.to_coef(v[:5])
        assert np.vdot(coef, metric.gram @ coef) == pytest.approx(np.vdot(v[:5], v[:5]))


def test_one_direction_tells_metrics_apart():
    metric = random_metric(True, turned=True)
    assert metric.distance(metric) == pytest.approx(0, abs=1e-9)
    other = metric.turned(7 * metric.gram)
    assert metric.distance(other._replace(scale=metric.scale * 3)) == pytest.approx(0, abs=1e-6)
    direction = np.eye(5)[3]
    other = metric.turned(metric.gram + 50 * metric.scale[3] ** 2 * np.outer(direction, direction))
    assert metric.distance(other) > 1
    assert metric.distance(metric._replace(root=None)) == np.inf


@pytest.mark.parametrize(("n_alone", "expected"), [(0, 1.0), (1, np.sqrt(8))])
def test_the_spread_of_blocks(n_alone, expected):
    """One where they are alike, the root of their number where one has all of the curvature."""
    rng = np.random.default_rng(0)
    X = np.tile(rng.normal(size=(40, 3)), (8, 1))
    if n_alone:
        X[40:, 1] = 0.0
    likeness = Likeness()
    for block in range(8):
        rows = slice(40 * block, 40 * block + 40)
        likeness.add(block, from_rows(X[rows], X[rows, 0]))
    metric = Metric(0, X.mean(axis=0), np.zeros(1), X.std(axis=0), True)
    found = likeness.spread(metric.turned(np.cov(X.T, bias=True)))
    assert found == pytest.approx(expected, rel=0.1)


def test_functions_of_the_user_get_aligned_chunks():
    """NumPy copies what lies at odd addresses in each product, value by value."""

    def f(beta, X, y):
        assert X.flags.aligned
        assert y.flags.aligned
        return 0.5 * ((y - X @ beta) ** 2).sum()

    def fprime(beta, X, y):
        assert X.flags.aligned
        assert y.flags.aligned
        return X.T @ (X @ beta - y)

    X, y = photographs(step=501)
    odd = np.empty(X.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(X.shape)
    odd[:] = X
    assert not raw_rows(read(odd, y)).X.flags.aligned
    alpha = 0.1 * alpha_max(X, y)
    model = AsyncLassoRegressor(alpha, loss=(f, fprime), fit_intercept=False, n_blocks=2)
    model.fit(odd, y)
    expected = AsyncLassoRegressor(alpha, fit_intercept=False).fit(X, y).predict(X)
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-3 * y.std())


def test_a_column_that_begins_to_vary_has_coordinates():
    """The first block of a row says nothing of any column, which the following ones do."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8, 2))
    y = X[:, 0] + 1
    model = AsyncLassoRegressor(0.01, engine="async", local_solver="lbfgs", n_blocks=8, tol=1e-10)
    expected = AsyncLassoRegressor(0.01).fit(X, y)
    np.testing.assert_allclose(model.fit(X, y).coef_, expected.coef_, atol=1e-4)
