"""The black-box local problem: any smooth convex loss on raw chunks, certified."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pytest
from conftest import ENGINES
from scipy import optimize, sparse
from sklearn.datasets import load_diabetes, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso

from dask_lasso import AsyncLassoRegressor
from dask_lasso.problem.losses import Residual
from dask_lasso.rows.losses import RowLoss
from dask_lasso.rows.raw import Rows

# Arithmetic, which the versions of the dependencies hardly touch.
pytestmark = pytest.mark.slow

ALPHA = 1.0
DELTA = 1.35


@pytest.fixture(scope="module")
def data():
    X, y = make_regression(3000, 20, n_informative=8, noise=5.0, random_state=0)
    X *= np.logspace(-2, 2, 20)
    y += 5 * np.random.default_rng(0).standard_t(1.5, len(y))  # outliers
    return X + 3.0, y + 7.0


@pytest.fixture(params=["memory", "processes"])
def rows(request, data):
    """The data in memory, and in chunks of uneven size on a cluster."""
    X, y = data
    if request.param == "memory":
        return X, y, None
    chunks = (1000, 700, 800, 500)
    client = request.getfixturevalue("client")
    return da.from_array(X, chunks=(chunks, -1)), da.from_array(y, chunks=(chunks,)), client


def squared(beta, X, y):
    residual = y - X @ beta
    return 0.5 * residual @ residual


def squared_prime(beta, X, y):
    return -X.T @ (y - X @ beta)


def logistic(beta, X, y):
    return np.logaddexp(0, -y * (X @ beta)).sum()


def logistic_prime(beta, X, y):
    return X.T @ (-y / (1 + np.exp(y * (X @ beta))))


def huber_objective(w, b, X, y, alpha, weight=None):
    residual = np.abs(y - X @ w - b)
    loss = np.where(residual <= DELTA, residual**2 / 2, DELTA * (residual - DELTA / 2))
    return np.average(loss, weights=weight) + alpha * np.abs(w).sum()


def minimise(f, gradient, n_features, alpha, positive=False):
    """The minimum of ``f(w, b) + alpha ||w||_1``, by splitting w into its two parts."""

    def split(p):
        return p[:n_features] - p[n_features:-1], p[-1]

    def objective(p):
        value, (w, b) = f(*split(p)), gradient(*split(p))
        return value + alpha * p[:-1].sum(), np.r_[w + alpha, -w + alpha, b]

    upper = 0 if positive else None
    bounds = [(0, None)] * n_features + [(0, upper)] * n_features + [(None, None)]
    options = dict(maxiter=20_000, maxfun=50_000, ftol=1e-15, gtol=1e-9)
    start = np.zeros(2 * n_features + 1)
    return optimize.minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options
    ).fun


def huber_minimum(X, y, alpha, weight=None, positive=False):
    scale = X.std(axis=0).max()  # only a unit for the solver
    weight = np.ones(len(y)) if weight is None else weight
    weight = weight / weight.sum()

    def residual(w, b):
        return y - X @ w - b * scale

    def f(w, b):
        return huber_objective(w, b * scale, X, y, 0.0, weight)

    def gradient(w, b):
        theta = weight * np.clip(residual(w, b), -DELTA, DELTA)
        return -X.T @ theta, -theta.sum() * scale

    return minimise(f, gradient, X.shape[1], alpha, positive)


@pytest.mark.parametrize("engine", ENGINES)
def test_black_box_squared_loss_is_the_lasso(rows, data, engine):
    X, y, client = rows
    reference = Lasso(ALPHA, tol=1e-12, max_iter=10_000).fit(*data)
    model = AsyncLassoRegressor(
        ALPHA, engine=engine, local_solver="lbfgs", tol=1e-12, client=client, n_blocks=4
    ).fit(X, y)
    assert model.certificate_ == "duality gap"
    assert model.dual_gap_ <= 1e-12 * np.var(data[1])
    scale = data[0].std(axis=0)
    np.testing.assert_allclose(
        model.coef_ * scale, reference.coef_ * scale, atol=1e-5 * np.abs(data[1]).mean()
    )
    assert model.intercept_ == pytest.approx(reference.intercept_, rel=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("positive", [False, True])
def test_huber_reaches_an_independent_minimum(rows, data, engine, positive):
    X, y, client = rows
    model = AsyncLassoRegressor(
        0.1, engine=engine, loss="huber", positive=positive, client=client, n_blocks=4
    ).fit(X, y)
    minimum = huber_minimum(*data, 0.1, positive=positive)
    reached = huber_objective(model.coef_, model.intercept_, *data, 0.1)
    assert reached == pytest.approx(minimum, rel=1e-5)
    # The certificate bounds the distance to the minimum; both are of the same objective.
    assert reached - minimum <= model.dual_gap_ + 1e-9 * minimum
    assert model.history_["objective"][-1] == pytest.approx(reached, rel=1e-9)
    assert model.certificate_ == "duality gap"


def test_the_dual_of_huber_is_below_every_objective(data):
    """A gap that were too small would certify a wrong answer: stop far from the minimum."""
    minimum = huber_minimum(*data, 0.1)
    for tol in (1e-1, 1e-2, 1e-3):
        model = AsyncLassoRegressor(0.1, loss="huber", tol=tol, n_blocks=4).fit(*data)
        reached = huber_objective(model.coef_, model.intercept_, *data, 0.1)
        assert reached - minimum <= model.dual_gap_


def test_weights_are_repetitions(data):
    X, y = data
    weight = np.random.default_rng(1).integers(0, 4, len(y))
    model = AsyncLassoRegressor(0.1, loss="huber", tol=1e-9, n_blocks=3)
    weighted = model.fit(X, y, sample_weight=weight).coef_
    repeated = model.fit(np.repeat(X, weight, axis=0), np.repeat(y, weight)).coef_
    np.testing.assert_allclose(weighted, repeated, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_users_pair_of_functions(rows, data, engine):
    X, y, client = rows
    reference = Lasso(ALPHA, tol=1e-12, max_iter=10_000).fit(*data)
    model = AsyncLassoRegressor(
        ALPHA, engine=engine, loss=(squared, squared_prime), tol=1e-8, client=client, n_blocks=4
    ).fit(X, y)
    assert model.certificate_ == "residuals"
    assert np.isnan(model.dual_gap_)
    assert model.predict(data[0]) == pytest.approx(reference.predict(data[0]), abs=1e-3)
    w, b = model.coef_, model.intercept_
    objective = squared(np.r_[w, b], np.c_[data[0], np.ones(3000)], data[1]) / 3000
    assert model.history_["objective"][-1] == pytest.approx(objective + ALPHA * np.abs(w).sum())


def test_logistic_loss(data):
    X, y = data
    X, y = (X - X.mean(axis=0)) / X.std(axis=0), np.sign(y - np.median(y) + 1e-9)
    model = AsyncLassoRegressor(0.02, loss=(logistic, logistic_prime), n_blocks=4).fit(X, y)

    def f(w, b):
        return logistic(np.r_[w, b], np.c_[X, np.ones(len(y))], y) / len(y)

    def gradient(w, b):
        g = logistic_prime(np.r_[w, b], np.c_[X, np.ones(len(y))], y) / len(y)
        return g[:-1], g[-1]

    reached = f(model.coef_, model.intercept_) + 0.02 * np.abs(model.coef_).sum()
    assert reached == pytest.approx(minimise(f, gradient, X.shape[1], 0.02), rel=1e-6)


def test_statistics_solve_the_squared_loss_when_asked(data):
    reference = Lasso(ALPHA, tol=1e-12, max_iter=10_000).fit(*data).coef_
    for kwargs in ({}, {"local_solver": "gram"}, {"local_solver": "gram", "polish": False}):
        model = AsyncLassoRegressor(ALPHA, tol=1e-10, **kwargs).fit(*data)
        assert model.certificate_ == "duality gap"
        np.testing.assert_allclose(model.coef_, reference, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("kwargs", "weight", "message"),
    [
        ({"loss": "huber", "local_solver": "gram"}, None, "local_solver='gram' needs loss"),
        ({"loss": (squared,)}, None, "loss must be"),
        ({"loss": (squared, squared_prime)}, np.ones(3000), "sample_weight cannot be used"),
        ({"loss": "absolute"}, None, "'loss' parameter"),
        ({"huber_delta": 0}, None, "'huber_delta' parameter"),
        ({"local_solver": "newton"}, None, "'local_solver' parameter"),
        ({"loss": (squared, lambda *_: np.ones(3))}, None, "fprime returned an array of shape"),
    ],
)
def test_what_cannot_be_fitted_says_so(data, kwargs, weight, message):
    with pytest.raises(ValueError, match=message):
        AsyncLassoRegressor(ALPHA, **kwargs).fit(*data, sample_weight=weight)


def test_a_users_error_reaches_the_user(data, client):
    def broken(beta, X, y):
        raise ZeroDivisionError("mine")

    rows = da.from_array(data[0], chunks=(500, -1)), da.from_array(data[1], chunks=500)
    with pytest.raises(ZeroDivisionError, match="mine"):
        AsyncLassoRegressor(ALPHA, loss=(broken, squared_prime), client=client).fit(*rows)


def test_residuals_that_do_not_converge_warn(data):
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        AsyncLassoRegressor(
            ALPHA, loss=(squared, squared_prime), tol=1e-9, max_iter=2, n_blocks=4
        ).fit(*data)


@pytest.mark.parametrize("kwargs", [{"local_solver": "lbfgs"}, {"loss": (squared, squared_prime)}])
def test_penalty_weights_on_raw_rows(data, kwargs):
    weights = np.linspace(0.2, 2.0, 20)
    exact = AsyncLassoRegressor(ALPHA, penalty_weights=weights, tol=1e-12).fit(*data)
    model = AsyncLassoRegressor(ALPHA, penalty_weights=weights, tol=1e-9, n_blocks=4, **kwargs)
    model.fit(*data)
    assert model.predict(data[0]) == pytest.approx(exact.predict(data[0]), abs=2e-2)
    free = np.r_[0.0, weights[1:]]
    exact.set_params(penalty_weights=free).fit(*data)
    model.set_params(penalty_weights=free).fit(*data)
    assert model.certificate_ == ("duality gap" if "local_solver" in kwargs else "residuals")
    assert model.predict(data[0]) == pytest.approx(exact.predict(data[0]), abs=2e-2)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("settings", [{"local_solver": "lbfgs"}, {"loss": "huber"}], ids=str)
def test_unpenalised_columns_of_raw_rows_are_certified(settings, fit_intercept):
    """The gap of a short fit is at least what a long one gains on it."""
    X, y = make_regression(400, 20, n_informative=8, noise=5.0, random_state=1)
    scale = np.logspace(-4, 4, X.shape[1])
    weights = np.where(np.arange(X.shape[1]) % 5 == 0, 0.0, 1.0) / scale
    w = np.random.default_rng(0).uniform(0, 2, len(y))
    common = dict(penalty_weights=weights, n_blocks=3, fit_intercept=fit_intercept, **settings)
    X = (X + fit_intercept) / scale
    best = AsyncLassoRegressor(ALPHA, tol=1e-9, **common).fit(X, y, w)
    for max_iter in (1, 3, 10):
        short = AsyncLassoRegressor(ALPHA, tol=1e-14, max_iter=max_iter, **common)
        with pytest.warns(ConvergenceWarning):
            short.fit(X, y, w)
        assert short.certificate_ == "duality gap"
        excess = short.history_["objective"][-1] - best.history_["objective"][-1]
        assert -1e-9 * y.var() <= excess <= short.dual_gap_ + 1e-9 * y.var()


def test_huber_with_penalty_weights_is_certified(data):
    """A column divided by its weight is the same problem."""
    weights = np.linspace(0.2, 2.0, 20)
    weighted = AsyncLassoRegressor(
        0.1, loss="huber", penalty_weights=weights, tol=1e-8, n_blocks=4
    ).fit(*data)
    divided = AsyncLassoRegressor(0.1, loss="huber", tol=1e-8, n_blocks=4)
    divided.fit(data[0] / weights, data[1])
    assert weighted.certificate_ == "duality gap"
    objective = weighted.history_["objective"][-1]
    assert objective == pytest.approx(divided.history_["objective"][-1], rel=1e-7)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_gap_of_a_loss_that_may_be_negative(data, engine):
    """Poisson's is below zero where counts are large: zero is no bound of it."""
    X = data[0] - data[0].mean(axis=0)
    X /= 3 * X.std(axis=0)
    y = np.random.default_rng(0).poisson(np.exp(2 + X[:, 0])).astype(float)
    alpha = 0.001 * np.abs(X.T @ (y - y.mean())).max() / len(y)
    best = AsyncLassoRegressor(alpha, loss="poisson", tol=1e-10).fit(X, y)

    def objective(model):
        eta = X @ model.coef_ + model.intercept_
        return (np.exp(eta) - y * eta).mean() + alpha * np.abs(model.coef_).sum()

    assert objective(best) < 0
    for max_iter in (1, 2, 4, 100):
        model = AsyncLassoRegressor(
            alpha, loss="poisson", polish=False, engine=engine, n_blocks=4, max_iter=max_iter
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)
        assert objective(model) - objective(best) <= model.dual_gap_ + 1e-12
    assert model.n_iter_ < 100


@pytest.mark.parametrize("order", ["C", "F"])
def test_chunks_that_are_not_aligned(data, order):
    X, y = data
    # As it is in a message, of which the chunk is a part.
    odd = np.empty(X.nbytes + 1, dtype=np.uint8)[1:].view(X.dtype).reshape(X.shape, order=order)
    odd[:] = X
    assert not odd.flags.aligned
    settings = dict(loss="huber", polish=False, max_iter=20, tol=0, n_blocks=2)
    model, expected = (AsyncLassoRegressor(ALPHA, **settings) for _ in range(2))
    for fitted, rows in ((model, odd), (expected, X)):
        with pytest.warns(ConvergenceWarning):
            fitted.fit(rows, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6)


def test_a_sparse_chunk_without_rows():
    rows = Rows(sparse.csr_array((0, 3)), np.empty((0, 1)), None)
    value, gradient = RowLoss(Residual(DELTA), True).value_and_gradient(np.ones((4, 1)), rows)
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros((4, 1)))


@pytest.mark.parametrize("n_blocks", [1, 4])
@pytest.mark.parametrize("engine", ["sync", "batched"])
def test_admm_where_most_rows_are_in_the_tails_of_huber(engine, n_blocks):
    """Rows without a curvature do not make steps of any length."""
    X, y = load_diabetes(return_X_y=True)
    settings = dict(loss="huber", engine=engine, n_blocks=n_blocks)
    model = AsyncLassoRegressor(0.1, polish=False, max_iter=200, **settings).fit(X, y)
    expected = AsyncLassoRegressor(0.1, loss="huber").fit(X, y)
    assert model.history_["objective"][-1] == pytest.approx(
        expected.history_["objective"][-1], rel=1e-6
    )
