"""Machines misbehave: the same coefficients, or a clear error; never a hang, nothing left."""

from __future__ import annotations

import _thread
import threading
import time
import warnings
from pathlib import Path

import chaos
import dask
import numpy as np
import pytest
from conftest import assert_nothing_left
from distributed import Client, LocalCluster

from dask_lasso import AsyncLassoRegressor

pytestmark = pytest.mark.slow

ENGINES = ["sync", "async", "batched"]
KINDS = pytest.mark.parametrize("kind", chaos.KINDS, ids=["polish", "gram", "lbfgs"])


@pytest.fixture(scope="module")
def cluster():
    """Three worker processes that a nanny starts anew."""
    with LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster):
    with Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(3)
        yield client


@pytest.fixture(scope="module")
def expected():
    return chaos.expected()


def assert_right(model, expected):
    np.testing.assert_allclose(model.coef_, expected, atol=1e-5 * np.abs(expected).max())


def test_workers_killed_at_random(client, expected):
    errors = chaos.chaos(client, 3, 4, expected, seed=1)
    assert len(errors) == 4
    assert_nothing_left(client)


@pytest.mark.parametrize("persist", [True, False])
def test_worker_killed_in_a_fit_of_many_columns(client, persist):
    shape = 20, 2600
    rows = np.concatenate([chaos.rows_of(chunk, shape=shape) for chunk in range(chaos.CHUNKS)])
    expected = AsyncLassoRegressor(3.0).fit(rows[:, :-1], rows[:, -1])
    chaos.complete(client, 3)
    X, y = chaos.table(shape=shape)
    if persist:
        X, y = client.persist([X, y])
        client.gather(client.futures_of([X, y]))
    model = AsyncLassoRegressor(3.0, client=client)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X has 2600 columns", UserWarning)  # to persist
        chaos.fit_while_killing(client, model, (X, y), after=0.2)
    assert model.n_passes_ == expected.n_passes_ > 2
    np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-8)
    chaos.complete(client, 3)
    del X, y
    assert_nothing_left(client)


@KINDS
def test_all_workers_restarted(client, expected, kind):
    chaos.complete(client, 3)
    restart = threading.Timer(0.3, client.cluster.scheduler.loop.add_callback, [_restart, client])
    restart.start()
    model = AsyncLassoRegressor(chaos.ALPHA, client=client, **kind).fit(*chaos.table())
    restart.join()
    chaos.complete(client, 3)
    assert_right(model, expected)
    assert_nothing_left(client)


async def _restart(client):
    scheduler = client.cluster.scheduler
    await scheduler.restart_workers(list(scheduler.workers), on_error="return")


@pytest.mark.parametrize("engine", ENGINES)
@KINDS
def test_workers_join_and_leave(engine, kind, expected):
    with (
        # What is asked of a worker in the moment in which it leaves waits so long.
        dask.config.set({"distributed.comm.timeouts.connect": "3s"}),
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, processes=False
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        timers = [
            threading.Timer(after, chaos.scale, [cluster, n]) for after, n in ((0.1, 3), (0.3, 1))
        ]
        for timer in timers:
            timer.start()
        model = AsyncLassoRegressor(chaos.ALPHA, engine=engine, client=client, **kind)
        assert_right(model.fit(*chaos.table()), expected)
        for timer in timers:
            timer.join()
        assert_nothing_left(client)


def test_adaptive_cluster_that_starts_with_nobody(expected):
    with (
        LocalCluster(
            n_workers=0, threads_per_worker=1, dashboard_address=None, processes=False
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        cluster.adapt(minimum=0, maximum=2, interval="50ms")
        model = AsyncLassoRegressor(chaos.ALPHA, polish=False, tol=1e-12, client=client)
        assert_right(model.fit(*chaos.table()), expected)


def test_paused_worker(client, expected):
    chaos.complete(client, 3)
    address = next(iter(client.scheduler_info()["workers"]))
    client.run(_set_status, "paused", workers=[address])
    try:
        model = AsyncLassoRegressor(chaos.ALPHA, client=client, polish=False, tol=1e-12)
        assert_right(model.fit(*chaos.table()), expected)
    finally:
        client.run(_set_status, "running", workers=[address])
    assert_nothing_left(client)


def _set_status(status, dask_worker):
    from distributed.core import Status

    dask_worker.status = Status[status]


class FailsOnce:
    """A loss whose first evaluation on this machine fails."""

    def __init__(self, flag):
        self.flag = str(flag)

    def __call__(self, beta, X, y):
        if not Path(self.flag).exists():
            Path(self.flag).touch()
            raise OSError("the first time")
        return 0.5 * ((y - X @ beta) ** 2).sum()


def gradient(beta, X, y):
    return X.T @ (X @ beta - y)


def test_task_that_fails_once(client, expected, tmp_path):
    chaos.complete(client, 3)
    flag = tmp_path / "failed"
    loss = (FailsOnce(flag), gradient)
    model = AsyncLassoRegressor(chaos.ALPHA, loss=loss, tol=1e-7, client=client)
    assert_right(model.fit(*chaos.table()), expected)
    assert flag.exists()
    assert_nothing_left(client)


def test_chunk_that_fails_always_leaves_nothing(client):
    def broken(block):
        raise OSError("disk on fire")

    X, y = chaos.table()
    X = X.map_blocks(broken, dtype=float, meta=np.empty((0, 0)))
    for kind in chaos.KINDS:
        with pytest.raises(OSError, match="disk on fire"):
            AsyncLassoRegressor(chaos.ALPHA, client=client, **kind).fit(X, y)
    assert_nothing_left(client)


@KINDS
def test_scheduler_that_goes_away(kind):
    cluster = LocalCluster(n_workers=1, dashboard_address=None, processes=False)
    with Client(cluster, set_as_default=False, timeout=2) as client:
        timer = threading.Timer(0.2, cluster.close)
        timer.start()
        began = time.monotonic()
        with pytest.raises(RuntimeError, match="lost its scheduler"):
            AsyncLassoRegressor(chaos.ALPHA, client=client, **kind).fit(*chaos.table(pause=1.0))
        assert time.monotonic() - began < 60  # an error, not a hang
        timer.join()


@pytest.mark.parametrize("engine", ENGINES)
@KINDS
def test_interrupted_fit_leaves_all_as_it_was(client, engine, kind):
    chaos.complete(client, 3)
    X, y = np.random.default_rng(0).normal(size=(50, chaos.COLUMNS)), np.arange(50.0)
    model = AsyncLassoRegressor(chaos.ALPHA, engine=engine, client=client, **kind).fit(X, y)
    before = {name: value for name, value in vars(model).items() if name.endswith("_")}
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(*chaos.table(pause=0.2))
    after = {name: value for name, value in vars(model).items() if name.endswith("_")}
    assert before.keys() == after.keys()
    assert all(after[name] is before[name] for name in before)
    assert_nothing_left(client)
