"""The duality gap: as small as promised, as large as measured, and a warning where it is not."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from datasets import load
from distributed import Event
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso

from dask_lasso import AsyncLassoRegressor
from dask_lasso.problem.box import Box
from dask_lasso.problem.certificate import certify
from dask_lasso.problem.moments import Moments
from dask_lasso.problem.penalties import L1

# Arithmetic, which the versions of the dependencies hardly touch.
pytestmark = pytest.mark.slow

ENGINES = ["sync", "async", "batched"]


def gap_of_rows(model, X, y, weights=None):
    """Duality gap at a model's coefficients from the rows, in extended precision."""
    X, y, coef = (np.asarray(a, dtype=np.longdouble) for a in (X, y, model.coef_))
    s = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.longdouble)
    n = s.sum()
    if model.fit_intercept:
        X, y = X - s @ X / n, y - s @ y / n
    root = np.sqrt(s)
    X, y = X * root[:, None], y * root
    residual = y - X @ coef
    correlation = X.T @ residual
    largest = correlation.max() if model.positive else np.abs(correlation).max()
    theta = residual * min(1, n * model.alpha / max(largest, 1e-300))
    primal = residual @ residual / (2 * n) + model.alpha * np.abs(coef).sum()
    dual = (y @ y - (y - theta) @ (y - theta)) / (2 * n)
    return float(primal - dual)


def null_loss(y, weights=None):
    return np.average((y - np.average(y, weights=weights)) ** 2, weights=weights)


@pytest.mark.parametrize("tol", [1e-4, 1e-6, 1e-9])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("polish", [True, False])
@pytest.mark.parametrize("name", ["diabetes", "tall", "wide"])
def test_gap_is_within_tol_and_is_that_of_the_rows(name, polish, engine, tol):
    X, y, weights, alpha = load(name)
    model = AsyncLassoRegressor(alpha, tol=tol, engine=engine, polish=polish, n_blocks=4)
    model.fit(X, y, weights)
    null = null_loss(y, weights)
    assert 0 <= model.dual_gap_ <= tol * null
    assert gap_of_rows(model, X, y, weights) == pytest.approx(
        model.dual_gap_, rel=1e-6, abs=1e-13 * null
    )


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_a_large_gap_is_measured_too(fit_intercept, positive, client):
    X, y, _, alpha = load("diabetes")
    model = AsyncLassoRegressor(
        alpha,
        polish=False,
        engine="sync",
        max_iter=2,
        n_blocks=4,
        fit_intercept=fit_intercept,
        positive=positive,
        client=client,
    )
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        model.fit(da.from_array(X, chunks=50), da.from_array(y, chunks=50))
    assert model.dual_gap_ > 1e-6 * null_loss(y)
    assert gap_of_rows(model, X, y) == pytest.approx(model.dual_gap_, rel=1e-8)


def test_one_gap_per_target():
    X, y, _, alpha = load("tall")
    Y = np.column_stack([y, y[::-1], -2 * y])
    model = AsyncLassoRegressor(alpha).fit(X, Y)
    assert model.dual_gap_.shape == (3,)
    assert (model.dual_gap_ <= 1e-6 * Y.var(axis=0)).all()


def test_zero_is_certified_above_alpha_max():
    X, y, _, _ = load("diabetes")
    alpha_max = np.abs(X.T @ (y - y.mean())).max() / len(y)
    model = AsyncLassoRegressor(alpha_max * (1 + 1e-9)).fit(X, y)
    assert not model.coef_.any()
    assert model.dual_gap_ <= 1e-9 * null_loss(y)
    assert AsyncLassoRegressor(alpha_max * (1 - 1e-6)).fit(X, y).coef_.any()


@pytest.mark.parametrize("polish", [True, False])
def test_stopped_by_max_iter(polish):
    X, y, _, _ = load("wide")
    model = AsyncLassoRegressor(0.01, max_iter=1, tol=1e-9, polish=polish, n_blocks=4)
    with pytest.warns(ConvergenceWarning, match=r"stopped by max_iter=1\b"):
        model.fit(X, y)
    assert model.dual_gap_ > 1e-9 * null_loss(y)
    assert np.isfinite(model.coef_).all()


def wait_for(chunk, event):
    """A chunk that does not come before somebody sets `event`."""
    Event(event).wait(60)
    return chunk


@pytest.mark.parametrize("engine", ["async", "batched"])
def test_stopped_by_max_time(engine, client):
    # The number of rows tells which chunks have been seen.
    X, y, _, alpha = load("tall")
    X, y = X[:1500], y[:1500]
    chunks = (100, 200, 400, 800)
    slow = da.from_array(X, chunks=(chunks, -1)).to_delayed().ravel().tolist()
    event = Event(f"max-time-{engine}", client=client)
    import dask

    slow[3] = dask.delayed(wait_for)(slow[3], event.name)
    slow = da.concatenate(
        [
            da.from_delayed(chunk, shape=(rows, X.shape[1]), dtype=X.dtype)
            for chunk, rows in zip(slow, chunks, strict=True)
        ]
    )
    model = AsyncLassoRegressor(alpha, engine=engine, max_time=1.0, client=client)
    try:
        with pytest.warns(ConvergenceWarning, match=r"stopped by max_time=1\.0 after \d+ rows"):
            model.fit(slow, da.from_array(y, chunks=chunks))
    finally:
        event.set()
    assert model.n_samples_seen_ in range(100, 701, 100)
    seen = np.zeros(len(y), dtype=bool)
    for number, start in enumerate((0, 100, 300)):
        if model.n_samples_seen_ // 100 >> number & 1:
            seen[start : start + chunks[number]] = True
    expected = Lasso(alpha, tol=1e-12, max_iter=100_000).fit(X[seen], y[seen]).coef_
    np.testing.assert_allclose(model.coef_, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("settings", [{}, {"polish": False}, {"local_solver": "lbfgs"}], ids=str)
def test_the_gap_is_that_of_float32_coefficients_and_intercept(settings):
    X, y, _, alpha = load("tall")
    X, y = X.astype(np.float32), y + 1e7
    model = AsyncLassoRegressor(alpha, n_blocks=4, tol=1e-5, **settings).fit(X, y)
    assert model.coef_.dtype == model.intercept_.dtype == np.float32
    best = AsyncLassoRegressor(alpha).fit(X.astype(np.float64), y)

    def objective(model):
        coef = model.coef_.astype(np.longdouble)
        residual = y - X.astype(np.longdouble) @ coef - np.longdouble(model.intercept_)
        return residual @ residual / (2 * len(y)) + alpha * np.abs(coef).sum()

    excess = float(objective(model) - objective(best))
    assert 0 < excess <= model.dual_gap_ + 1e-14 * (y - y.mean()).var()


@pytest.mark.parametrize("settings", [{}, {"polish": False}, {"local_solver": "lbfgs"}], ids=str)
def test_a_warning_tells_of_an_intercept_that_is_rounded(settings):
    X, y, _, alpha = load("tall")
    X, y = X.astype(np.float32), y - y.mean() + 1e9 + 20
    model = AsyncLassoRegressor(alpha, n_blocks=1, tol=1e-4, **settings)
    with pytest.warns(ConvergenceWarning, match="float32 has too few digits for the intercept"):
        model.fit(X, y)
    assert model.dual_gap_ > 1e-4 * y.var()
    # The cures that it names.
    for of_x, of_y in ((X.astype(np.float64), y), (X, y - 1e9)):
        model.fit(of_x, of_y)
        assert model.dual_gap_ <= 1e-4 * y.var()


def test_a_column_without_correlation_beside_an_infinite_bound():
    # The first two are the same, and their products with y are not.
    gram = np.diag([1.0, 1.0, 1.0, 1.0])
    gram[0, 1] = gram[1, 0] = 1.0
    moments = Moments(gram, np.array([[0.5], [0.6], [0.0], [0.1]]), np.ones(1), 1.0)
    box = Box(np.full(4, -np.inf), np.array([np.inf, np.inf, np.inf, 0.2]))
    penalty = L1(0.3, weights=np.array([0.0, 0.0, 0.0, 1.0]), box=box)
    for bounded in (penalty, L1(0.3, weights=penalty.weights)):
        value, gap = certify(moments, np.zeros((4, 1)), bounded)
        assert gap == value


@pytest.mark.parametrize("upper", [None, np.inf, 2.0])
@pytest.mark.filterwarnings("error")
def test_a_dual_point_that_is_far_out_is_no_bound(upper):
    box = None if upper is None else Box(np.full(2, -np.inf), np.array([np.inf, upper]))
    penalty = L1(0.1, 0.5, box=box)
    near, far = (penalty.conjugate(np.array([[of], [2.0]]), 10.0) for of in (3.0, 1e200))
    first, second = 2.5**2 / (2 * 0.5), 1.5**2 / (2 * 0.5) if upper != 2.0 else 2 * 1.5 - 0.5 * 2
    np.testing.assert_allclose(near, first + second)
    assert far == np.inf


@pytest.mark.parametrize("settings", [{}, {"bounds": (-0.5, 0.5)}], ids=["", "bounds"])
@pytest.mark.filterwarnings("error")
def test_far_columns_of_rows_that_weigh_next_to_nothing(settings):
    """What inverts sums over rows is not what may be too large."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3)) + np.array([1e6, 0.0, 0.0])
    y = X @ [0.3, 1.0, -0.2] + rng.normal(size=50)
    found = []
    for weight in (1.0, 2.0**-998, 2.0**900):
        model = AsyncLassoRegressor(0.1, fit_intercept=False, **settings)
        found.append(model.fit(X, y, sample_weight=np.full(50, weight)))
    for other in found[1:]:
        np.testing.assert_allclose(other.coef_, found[0].coef_, rtol=1e-9)
        assert 0 <= other.dual_gap_ <= 1e-6 * (y @ y) / 50
