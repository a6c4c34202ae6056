"""Where a fit runs, and that nothing of it stays there."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import nullcontext
from inspect import isfunction, signature
from itertools import product

import dask.array as da
import distributed
import joblib
import numpy as np
import pytest
from conftest import assert_nothing_left, left_on
from datasets import load
from distributed import Client
from sklearn.model_selection import GridSearchCV, cross_val_score

from dask_lasso import AsyncLassoRegressor
from dask_lasso.places.cluster import OnCluster
from dask_lasso.places.memory import InMemory
from dask_lasso.places.place import Place

ENGINES = ["sync", "async", "batched"]
X, y, _, ALPHA = load("diabetes")


@pytest.fixture(scope="module")
def expected():
    return AsyncLassoRegressor(ALPHA).fit(X, y).coef_


def chunks(rows=50):
    return da.from_array(X, chunks=(rows, 4)), da.from_array(y, chunks=rows)


def assert_same(coef, expected):
    np.testing.assert_allclose(coef, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


class Elsewhere:
    """An engine that notes which schedulers know tasks of the fit."""

    def __init__(self, *clients):
        self.clients = clients
        self.tasks = None

    def run(self, run):
        self.tasks = [len(left_on(client)) for client in self.clients]
        for result in run.completed():
            run.absorb(result)
            run.update()


@pytest.mark.parametrize(
    ("engine", "polish"),
    [
        *product(ENGINES, [True]),
        ("async", False),
        *(pytest.param(name, False, marks=pytest.mark.slow) for name in ("sync", "batched")),
    ],
)
def test_on_the_client_given(engine, polish, client, thread_workers, expected):
    for given in (client, thread_workers):
        model = AsyncLassoRegressor(
            ALPHA, client=given, engine=engine, polish=polish, tol=1e-7, n_blocks=3
        )
        model.fit(*chunks())
        np.testing.assert_allclose(model.coef_, expected, atol=1e-5 * np.abs(expected).max())
        assert_nothing_left(given)


def test_the_client_given_comes_before_the_active_one(client, thread_workers, expected):
    with thread_workers.as_current():
        spy = Elsewhere(client, thread_workers)
        model = AsyncLassoRegressor(ALPHA, client=client, engine=spy).fit(*chunks())
    assert spy.tasks[0] > 0
    assert spy.tasks[1] == 0
    assert_same(model.coef_, expected)


def test_on_the_active_client(client, thread_workers, expected):
    for active, other in [(client, thread_workers), (thread_workers, client)]:
        with active.as_current():
            spy = Elsewhere(active, other)
            model = AsyncLassoRegressor(ALPHA, engine=spy).fit(*chunks())
            score = model.score(*chunks())
        assert spy.tasks[0] > 0
        assert spy.tasks[1] == 0
        assert_same(model.coef_, expected)
        assert score == pytest.approx(model.score(X, y))
        assert_nothing_left(active)


def clusters():
    """Open clusters of this process."""
    from distributed.deploy.spec import SpecCluster

    return {c for c in SpecCluster._instances if c.status.name != "closed"}


def test_without_a_client_one_comes_and_goes(expected):
    with pytest.raises(ValueError, match="No clients found"):
        Client.current()
    before, clients = clusters(), set(map(id, distributed.Client._instances))
    seen = []

    class Looking:
        def run(self, run):
            seen.extend(clusters() - before)
            for result in run.completed():
                run.absorb(result)
                run.update()

    model = AsyncLassoRegressor(ALPHA, engine=Looking()).fit(*chunks())
    assert_same(model.coef_, expected)
    assert len(seen) == 1
    assert seen[0].status.name == "closed"
    assert clusters() == before
    for client in distributed.Client._instances:
        assert id(client) in clients or client.status == "closed"
    with pytest.raises(ValueError, match="No clients found"):
        Client.current()


def test_no_cluster_for_rows_in_memory(client, expected):
    before = clusters()
    with client.as_current():
        spy = Elsewhere(client)
        model = AsyncLassoRegressor(ALPHA, engine=spy).fit(X, y)
    assert spy.tasks == [0]
    assert clusters() == before
    assert_same(model.coef_, expected)


def fit_on_dask(alpha):
    return AsyncLassoRegressor(alpha).fit(*chunks()).coef_


def fit_in_memory(alpha):
    return AsyncLassoRegressor(alpha).fit(X, y).coef_


@pytest.mark.parametrize("fit", [fit_on_dask, fit_in_memory])
def test_inside_a_task(fit, client, thread_workers, expected):
    for outer in (client, thread_workers):
        # Twice as many tasks as threads: none may hold its thread while it waits.
        futures = [outer.submit(fit, ALPHA, pure=False) for _ in range(4)]
        for coef in outer.gather(futures):
            assert_same(coef, expected)
        del futures
        assert_nothing_left(outer)


GIVEN = []


def fit_on_the_client_given(alpha):
    return AsyncLassoRegressor(alpha, client=GIVEN[0]).fit(*chunks()).coef_


def test_inside_a_task_on_the_client_given(thread_workers, expected):
    GIVEN[:] = [thread_workers]
    futures = [thread_workers.submit(fit_on_the_client_given, ALPHA, pure=False) for _ in range(4)]
    for coef in thread_workers.gather(futures):
        assert_same(coef, expected)
    del futures
    assert_nothing_left(thread_workers)


@pytest.mark.parametrize("backend", ["dask", "loky", "threading"])
def test_grid_search_under_joblib(backend, client):
    grid = {"alpha": [0.01, 0.1, 1.0], "engine": ENGINES}
    expected = GridSearchCV(AsyncLassoRegressor(), grid, cv=3).fit(X, y)
    context = client.as_current() if backend == "dask" else nullcontext()
    with context, joblib.parallel_config(backend, n_jobs=2):
        search = GridSearchCV(AsyncLassoRegressor(), grid, cv=3, n_jobs=2).fit(X, y)
        scores = cross_val_score(AsyncLassoRegressor(ALPHA), X, y, cv=3, n_jobs=2)
    assert search.best_params_["alpha"] == expected.best_params_["alpha"]
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )
    assert len(scores) == 3


def test_threads_of_the_user(client, expected):
    """Fits at the same time on one Client and in memory do not mix."""
    results, errors = {}, []

    def fit(number):
        try:
            data = chunks(30 + number) if number % 2 else (X, y)
            model = AsyncLassoRegressor(ALPHA, client=client, engine=ENGINES[number % 3])
            results[number] = model.fit(*data).coef_
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=fit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(results) == 6
    for coef in results.values():
        assert_same(coef, expected)


class Interrupted:
    """The user presses Ctrl-C after the first result."""

    def run(self, run):
        run.absorb(next(iter(run.completed())))
        run.update()
        raise KeyboardInterrupt


class InterruptedLater:
    """The user presses Ctrl-C while ADMM runs."""

    def run(self, run):
        for result in run.completed():
            run.absorb(result)
            run.update()
            if run.n_updates == 5:
                raise KeyboardInterrupt
            run.submit(run.idle())


@pytest.mark.parametrize("engine", [Interrupted(), InterruptedLater()])
def test_nothing_left_after_an_interrupt(engine, client, thread_workers):
    for where in (client, thread_workers):
        model = AsyncLassoRegressor(ALPHA, client=where).fit(*chunks())
        before = dict(vars(model))
        model.set_params(engine=engine, polish=engine.__class__ is Interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(*chunks(20))
        assert_nothing_left(where)
        for name, value in before.items():
            if name.endswith("_"):
                assert getattr(model, name) is value
    cluster_count = len(clusters())
    with pytest.raises(KeyboardInterrupt):
        AsyncLassoRegressor(ALPHA, engine=Interrupted()).fit(*chunks(20))
    assert len(clusters()) == cluster_count


def press_control_c(chunk, pid, event, block_info=None):
    """A chunk that the user tires of waiting for."""
    if block_info[0]["chunk-location"] == (3, 0):
        os.kill(pid, signal.SIGINT)
        distributed.Event(event).wait(60)
    return chunk


@pytest.mark.parametrize("engine", ENGINES)
def test_control_c_while_a_chunk_is_read(engine, client):
    event = distributed.Event(f"control-c-{engine}", client=client)
    rows, target = chunks()
    slow = rows.map_blocks(press_control_c, os.getpid(), event.name, dtype=float, meta=X[:0])
    model = AsyncLassoRegressor(ALPHA, client=client, engine=engine)
    with pytest.raises(KeyboardInterrupt):
        model.fit(slow, target)
    assert not hasattr(model, "coef_")
    event.set()  # a task that runs cannot be stopped, but nobody waits for it
    assert_nothing_left(client)


def test_data_of_the_user_stays(client, expected):
    """Persisted chunks and futures of the user outlive a fit on them."""
    X_kept, y_kept = client.persist(chunks())
    distributed.wait([X_kept, y_kept])
    held = set(client.futures)
    for _ in range(2):
        model = AsyncLassoRegressor(ALPHA, client=client).fit(X_kept, y_kept)
        assert_same(model.coef_, expected)
        assert_nothing_left(client, besides=held)
    with pytest.raises(KeyboardInterrupt):
        AsyncLassoRegressor(ALPHA, client=client, engine=Interrupted()).fit(X_kept, y_kept)
    assert_nothing_left(client, besides=held)
    assert held == set(client.futures)
    np.testing.assert_array_equal(client.compute(X_kept, sync=True), X)
    del X_kept, y_kept


def test_places_are_alike():
    methods = [name for name, value in vars(Place).items() if isfunction(value)]
    assert {"reduce", "submit", "prefer", "merged_statistics"} <= set(methods)
    for name in methods:
        if not name.startswith("_"):
            of_protocol = signature(getattr(Place, name)).parameters.values()
            expected = [(p.name, p.kind, p.default) for p in of_protocol]
            for place in (InMemory, OnCluster):
                found = signature(getattr(place, name)).parameters.values()
                assert [(p.name, p.kind, p.default) for p in found] == expected, name


def test_raw_rows_of_which_there_is_none(thread_workers):
    model = AsyncLassoRegressor(polish=False, local_solver="lbfgs", client=thread_workers)
    with pytest.raises(ValueError, match="0 sample"):
        model.fit(da.empty((0, 3), chunks=(1, 3)), da.empty(0, chunks=1))
