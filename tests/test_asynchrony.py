"""What asynchrony promises: bounded staleness, estimates early, stragglers relieved."""

from __future__ import annotations

import importlib
import time
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from datasets import from_rows
from distributed import get_worker
from sklearn.linear_model import Lasso

from dask_lasso import AsyncLassoRegressor
from dask_lasso.engines.schedules import AsyncEngine, BatchedEngine
from dask_lasso.problem.penalties import L1
from dask_lasso.solvers.admm import Consensus
from dask_lasso.solvers.blocks import FromStatistics
from dask_lasso.solvers.fit import Problem, Settings

pytestmark = pytest.mark.slow

ALPHA = 0.05


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1200, 6))
    X[0, 0] = 9.0  # marks the first chunk
    return X, X @ np.linspace(-1, 1, 6) + 0.1 * rng.normal(size=1200)


@pytest.fixture(scope="module")
def expected(data):
    return Lasso(ALPHA, tol=1e-12).fit(*data).coef_


def chunked(data, n_chunks):
    rows = len(data[1]) // n_chunks
    return da.from_array(data[0], chunks=(rows, -1)), da.from_array(data[1], chunks=rows)


def loss(beta, X, y):
    return 0.5 * ((y - X @ beta) ** 2).sum()


def slow_gradient(beta, X, y):
    if X[0, 0] == 9.0:
        time.sleep(0.03)
    return X.T @ (X @ beta - y)


@pytest.mark.parametrize("engine", ["async", "batched"])
@pytest.mark.parametrize("max_staleness", [1, 2, 5])
def test_max_staleness_is_a_promise(data, expected, client, engine, max_staleness):
    """The first chunk takes much longer than the others, wherever it runs."""
    model = AsyncLassoRegressor(
        ALPHA, engine=engine, loss=(loss, slow_gradient), tol=1e-5, client=client
    ).set_params(max_staleness=max_staleness)
    model.fit(*chunked(data, 6))
    assert len(model.staleness_) == 6
    assert model.staleness_.max() <= max_staleness
    np.testing.assert_allclose(model.coef_, expected, atol=1e-3)


def test_nothing_is_stale_behind_a_barrier(data, client):
    model = AsyncLassoRegressor(ALPHA, engine="sync", polish=False, n_blocks=6, client=client)
    assert (model.fit(*chunked(data, 6)).staleness_ == 0).all()


def test_without_max_staleness_others_go_on(data, expected, client):
    model = AsyncLassoRegressor(
        ALPHA, engine="async", loss=(loss, slow_gradient), tol=1e-5, client=client
    ).fit(*chunked(data, 20))
    assert model.staleness_[0] > 2
    assert np.nanmax(model.history_["staleness"]) > 2
    np.testing.assert_allclose(model.coef_, expected, atol=1e-3)


class Watched:
    """An engine whose run can be looked at afterwards."""

    def __init__(self, engine):
        self.engine = engine

    def run(self, run):
        self.seen = run
        self.engine.run(run)


def gradient_on_a_slow_worker(slow):
    def gradient(beta, X, y):
        time.sleep(0.2 if get_worker().address == slow else 0.002)
        return X.T @ (X @ beta - y)

    return gradient


@pytest.mark.parametrize("engine", [AsyncEngine(), BatchedEngine()])
def test_blocks_of_a_slow_worker_move_to_another(data, expected, client, engine):
    slow = sorted(client.scheduler_info()["workers"])[0]
    X, y = client.persist(chunked(data, 8))
    watched = Watched(engine)
    model = AsyncLassoRegressor(
        ALPHA, engine=watched, loss=(loss, gradient_on_a_slow_worker(slow)), tol=1e-6
    ).set_params(client=client)
    model.fit(X, y)
    moved = watched.seen._place._home
    assert moved
    assert slow not in moved.values()
    np.testing.assert_allclose(model.coef_, expected, atol=1e-4)
    del X, y


class StopAt:
    """A callback that is content with the first estimate; scikit-learn asks it after each."""

    def __init__(self):
        self.estimates = 0

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, *args, **kwargs): ...

    def on_fit_task_end(self, *args, **kwargs):
        self.estimates += 1
        return True


@pytest.mark.parametrize("engine", ["async", "batched", "sync"])
def test_first_estimate_comes_early_and_may_be_good_enough(client, engine):
    """100 chunks that take long to load; only the synchronous engine waits for all."""
    n_chunks, rows, k = 100, 200, 10
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_chunks * rows, k))
    y = X @ np.linspace(-1, 1, k) + 0.1 * rng.normal(size=len(X))
    slow = da.from_array(X, chunks=(rows, -1)).map_blocks(
        lambda block: (time.sleep(0.02), block)[1], dtype=float, meta=np.empty((0, 0))
    )
    best = _objective(X, y, Lasso(ALPHA, tol=1e-12).fit(X, y))
    model = AsyncLassoRegressor(ALPHA, engine=engine, client=client)
    if not hasattr(model, "set_callbacks"):
        pytest.skip("this scikit-learn has no callbacks")
    model.set_callbacks(StopAt()).fit(slow, da.from_array(y, chunks=rows))
    seen = model.history_["samples_seen"][0]
    if engine == "sync":
        assert seen == len(y)
    else:
        assert seen <= 0.15 * len(y)
        assert model.n_samples_seen_ < len(y)  # it was stopped
    assert _objective(X, y, model) <= 1.01 * best


def _objective(X, y, model):
    residual = y - model.predict(X)
    return residual @ residual / (2 * len(y)) + ALPHA * np.abs(model.coef_).sum()


def test_an_update_does_not_touch_other_blocks():
    """The running mean is renewed from one block's move: O(k), whatever the number of blocks."""
    rng = np.random.default_rng(0)
    n_blocks, k = 50, 4

    class CountedSum(dict):
        reads = 0

        def __getitem__(self, key):
            CountedSum.reads += 1
            return super().__getitem__(key)

        def values(self):
            CountedSum.reads += len(self)
            return super().values()

    class Here:
        def submit(self, task, *args):
            return task(*args)

        def release(self, future): ...

    problem = Problem(L1(ALPHA), fit_intercept=True)
    settings = Settings(AsyncEngine(), tol=0.0, max_iter=1000)
    model = Consensus(FromStatistics(Here(), problem), problem, settings, n_blocks)
    for block in range(n_blocks):
        X = rng.normal(size=(30, k))
        model.absorb_report(block, from_rows(X, X[:, 0]))
    model.update(0)
    model._s = CountedSum(model._s)

    data = from_rows(X, X[:, 0])
    reads = []
    for update in range(1, n_blocks):  # within a sweep: no certificate
        before = CountedSum.reads
        sent, task, args = model.task(update, data)
        model.absorb_update(update, sent, task(*args))
        model.update(update)
        reads.append(CountedSum.reads - before)
    assert max(reads) <= 4
    np.testing.assert_allclose(model._sum, np.sum(list(dict.values(model._s)), axis=0), atol=1e-9)


@pytest.mark.parametrize("engine", ["sync", "async", "batched"])
def test_engines_in_virtual_time(engine, monkeypatch):
    """What docs/scaling.md is made with: the same coefficients, after as long as the tasks take."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    simulated = importlib.import_module("simulated_cluster")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 5))
    y = X[:, 0] + rng.normal(size=160)
    model = AsyncLassoRegressor(0.05, engine=engine, polish=False, n_blocks=8)
    cluster = simulated.Cluster(4, scheduler=1e-3, hop=1e-3)
    place = simulated.simulated_fit(model, X, y, cluster, lambda task, here: 1.0)
    np.testing.assert_allclose(model.coef_, AsyncLassoRegressor(0.05).fit(X, y).coef_, atol=1e-4)
    n_tasks = 8 * (1 + model.n_iter_)  # statistics, and updates
    assert n_tasks / 4 - 4 <= place.now <= 2 * n_tasks / 4
