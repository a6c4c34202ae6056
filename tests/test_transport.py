"""What travels to which workers: rows persisted elsewhere, annotations, large constants."""

from __future__ import annotations

import copy
import pickle
import threading
import tracemalloc
import warnings
from contextlib import nullcontext
from itertools import product

import dask
import dask.array as da
import dask.dataframe as dd
import distributed
import joblib
import numpy as np
import pandas as pd
import pytest
from conftest import assert_nothing_left, left_on
from datasets import load
from distributed import Client
from sklearn.base import clone
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dask_lasso import (
    AsyncLassoCV,
    AsyncLassoRegressor,
    lasso_path,
    reuse_statistics,
)
from dask_lasso.places import joined as _rows
from dask_lasso.places import reading as _reading
from dask_lasso.places import sending as _sending
from dask_lasso.rows import chunk as _chunk
from dask_lasso.rows.chunk import read
from dask_lasso.solvers import width as _wide

X, y, _, ALPHA = load("diabetes")
EXPECTED = AsyncLassoRegressor(ALPHA).fit(X, y)


def chunks(rows=50):
    return da.from_array(X, chunks=(rows, 4)), da.from_array(y, chunks=rows)


def assert_same(coef, expected=EXPECTED.coef_):
    np.testing.assert_allclose(coef, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def as_array(client):
    return client.persist(chunks()[0])


def as_frame(client):
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    return client.persist(dd.from_pandas(frame, npartitions=4))


def as_frame_computed_on(client):
    return as_frame(client) * 1.0


def as_scattered(client):
    parts = [client.scatter(X[start : start + 100]) for start in range(0, len(X), 100)]
    sizes = [len(X[start : start + 100]) for start in range(0, len(X), 100)]
    arrays = [
        da.from_delayed(part, (size, X.shape[1]), float)
        for part, size in zip(parts, sizes, strict=True)
    ]
    return da.concatenate(arrays)


PERSISTED = [as_array, as_frame, as_frame_computed_on, as_scattered]


@pytest.mark.parametrize("persisted", PERSISTED)
@pytest.mark.parametrize("has_active", [True, False])
def test_persisted_rows_are_fitted_on_their_client(persisted, has_active, client, thread_workers):
    rows = persisted(client)
    if persisted in (as_frame, as_frame_computed_on):
        target = dd.from_pandas(pd.Series(y), npartitions=4)
    else:
        target = da.from_array(y, chunks=rows.chunks[0])
    with thread_workers.as_current() if has_active else nullcontext():
        model = AsyncLassoRegressor(ALPHA).fit(rows, target)
        assert_same(model.coef_)
        assert model.score(rows, target) == pytest.approx(EXPECTED.score(X, y), rel=1e-9)
    del rows, target


@pytest.mark.slow
def test_every_door_finds_the_client_of_persisted_rows(client, thread_workers):
    rows, target = client.persist(chunks())
    with thread_workers.as_current():
        huber = AsyncLassoRegressor(ALPHA, loss="huber").fit(rows, target)
        cv = AsyncLassoCV(alphas=5, cv=3).fit(rows, target)
        part = AsyncLassoRegressor(ALPHA).partial_fit(rows, target)
        path = lasso_path(rows, target, alphas=3)
        predicted = EXPECTED.predict(rows).compute(scheduler=client.get)
    assert huber.dual_gap_ <= 1e-6 * np.var(y)
    assert cv.alpha_ == pytest.approx(AsyncLassoCV(alphas=5, cv=3).fit(X, y).alpha_)
    assert_same(part.coef_)
    np.testing.assert_allclose(path[1], lasso_path(X, y, alphas=3)[1], atol=1e-7)
    np.testing.assert_allclose(predicted, EXPECTED.predict(X))
    del rows, target


@pytest.mark.parametrize("persisted", PERSISTED)
def test_another_client_than_that_of_the_rows_is_refused(persisted, client, thread_workers):
    rows = persisted(client)
    target = rows[:, 0] if not hasattr(rows, "columns") else rows["x0"]
    model = AsyncLassoRegressor(ALPHA, client=thread_workers)
    with pytest.raises(ValueError, match=r"persisted on .*pass the Client"):
        model.fit(rows, target)
    with pytest.raises(ValueError, match=r"persisted on .*pass the Client"):
        copy.copy(EXPECTED).set_params(client=thread_workers).score(rows, target)
    assert not hasattr(model, "coef_")
    model.set_params(client=client).fit(rows, target)  # the cure
    del rows, target
    assert_nothing_left(thread_workers)


def test_rows_on_two_clusters_are_refused(client, thread_workers):
    rows, target = client.persist(chunks()[0]), thread_workers.persist(chunks()[1])
    for given in (None, client):
        with pytest.raises(ValueError, match="on different clusters"):
            AsyncLassoRegressor(ALPHA, client=given).fit(rows, target)
    del rows, target
    assert_nothing_left(thread_workers)


def test_two_clients_of_one_cluster_are_one_place(client):
    rows, target = client.persist(chunks())
    with Client(client.scheduler.address, set_as_default=False) as other:
        assert_same(AsyncLassoRegressor(ALPHA, client=other).fit(rows, target).coef_)
    del rows, target


def fit(rows, target):
    return AsyncLassoRegressor(ALPHA).fit(rows, target).coef_


def test_persisted_rows_in_a_process_without_their_client(client):
    rows, target = client.persist(chunks())
    sent = pickle.loads(pickle.dumps((rows, target)))  # what joblib's processes get
    with pytest.raises(ValueError, match="on a Client of another process"):
        fit(*sent)
    with Client(client.scheduler.address):  # the cures
        assert_same(fit(*sent))
    for backend in ("threading", "dask"):
        with client.as_current(), joblib.parallel_config(backend, n_jobs=2):
            (coef,) = joblib.Parallel()([joblib.delayed(fit)(rows, target)])
        assert_same(coef)
    del rows, target, sent


def test_copies_share_the_client_and_pickles_lack_it(client):
    model = AsyncLassoRegressor(ALPHA, client=client).fit(*chunks())
    for copied in (
        copy.copy(model),
        copy.deepcopy(model),
        copy.deepcopy(make_pipeline(StandardScaler(), model))[-1],
        copy.deepcopy({"model": model, "client": client}["model"]),
    ):
        assert copied is not model
        assert copied.client is client
        assert_same(copied.coef_)
        assert_same(copied.fit(*chunks(30)).coef_)
    deep = copy.deepcopy(model)
    assert deep.coef_ is not model.coef_
    assert pickle.loads(pickle.dumps(model)).client is None
    twice = copy.deepcopy([model, model])
    assert twice[0] is twice[1]


READ = []


def noted(chunk, block_info=None):
    READ.append(block_info[0]["chunk-location"])
    return chunk


def in_column_chunks(rows, columns=1):
    array = da.from_array(X, chunks=(rows, columns))
    return array.map_blocks(noted, dtype=float, meta=X[:0, :0])


@pytest.mark.parametrize(
    ("rows", "loss", "weights"),
    [
        (442, "squared", None),
        (150, "squared", np.linspace(0.5, 2, len(X))),
        pytest.param(442, "huber", np.linspace(0.5, 2, len(X)), marks=pytest.mark.slow),
    ],
)
def test_long_column_chunks_are_joined_in_pieces(rows, loss, weights, thread_workers, monkeypatch):
    monkeypatch.setattr(_rows, "_JOINED_BYTES", 4096)  # 51 rows
    joined = []
    monkeypatch.setattr(_chunk, "read", lambda *args: joined.append(args[0].nbytes) or read(*args))
    monkeypatch.setattr(_rows, "read", _chunk.read)
    READ.clear()
    target = da.from_array(y, chunks=rows)
    if weights is not None:
        weights = da.from_array(weights, chunks=100)
    options = dict(loss=loss, tol=1e-9, polish=loss == "squared")
    model = AsyncLassoRegressor(ALPHA, client=thread_workers, **options)
    model.fit(in_column_chunks(rows), target, weights)
    expected = AsyncLassoRegressor(ALPHA, **options)
    expected.fit(X, y, None if weights is None else weights.compute())
    within = (1e-8 if loss == "squared" else 1e-4) * np.abs(expected.coef_).max()
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0, atol=within)
    assert max(joined) <= 4096
    assert len(READ) == len(set(READ)) == -(-len(X) // rows) * X.shape[1]
    assert_nothing_left(thread_workers)


def test_ordinary_column_chunks_keep_their_rows(thread_workers):
    X_by_columns = da.from_array(X, chunks=(150, 4))
    assert _rows.one_column_chunk(X_by_columns).chunks == ((150, 150, 142), (10,))
    unknown = X_by_columns[X_by_columns[:, 0] > -np.inf]
    model = AsyncLassoRegressor(ALPHA, client=thread_workers).fit(unknown, da.from_array(y, 150))
    assert_same(model.coef_)


@pytest.mark.parametrize("kind", ["array", "frame", "unknown sizes"])
def test_an_X_in_memory_stays_where_it_is(kind, thread_workers):
    target = da.from_array(y, chunks=100)
    weights = da.from_array(np.linspace(0.5, 2, len(y)), chunks=70)
    if kind == "frame":
        target = dd.from_pandas(pd.Series(y), npartitions=4)
    elif kind == "unknown sizes":
        target, weights = target[target > -np.inf], weights[weights > 0]
    kept = weights.compute()
    options = dict(client=thread_workers)
    for data, expected in (((X, target), (X, y)), ((X, target, weights), (X, y, kept))):
        by_hand = AsyncLassoRegressor(ALPHA).fit(*expected)
        model = AsyncLassoRegressor(ALPHA, **options).fit(*data)
        assert_same(model.coef_, by_hand.coef_)
        assert model.score(*data) == pytest.approx(by_hand.score(*expected), rel=1e-12)
    huber = AsyncLassoRegressor(ALPHA, loss="huber", **options).fit(X, target)
    assert_same(huber.coef_, AsyncLassoRegressor(ALPHA, loss="huber").fit(X, y).coef_)
    cv = AsyncLassoCV(alphas=5, cv=3, **options).fit(X, target)
    assert cv.alpha_ == AsyncLassoCV(alphas=5, cv=3).fit(X, y).alpha_
    assert_same(AsyncLassoRegressor(ALPHA, **options).partial_fit(X, target).coef_)
    assert_nothing_left(thread_workers)


def test_a_memory_map_is_not_copied(tmp_path, thread_workers):
    n, k = 50_000, 40
    rows = np.memmap(tmp_path / "rows", "float64", "w+", shape=(n, k))
    rows[:, 0] = np.arange(n)
    target = np.arange(n, dtype=float)
    model = AsyncLassoRegressor(0.1, client=thread_workers)
    for lazy in (target, da.from_array(target, chunks=5000)):
        model.fit(rows[:100], lazy[:100])  # imports and pools are not the fit's
        tracemalloc.start()
        model.fit(rows, lazy)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 0.5 * rows.nbytes
        assert model.coef_[0] == pytest.approx(1, abs=1e-6)


@pytest.fixture(scope="module")
def disk():
    """A Client of two workers in this process, one of which has a disk."""
    options = dict(nthreads=1, dashboard_address=None)
    workers = {
        "disk": {"cls": distributed.Worker, "options": {**options, "resources": {"disk": 1}}},
        "other": {"cls": distributed.Worker, "options": options},
    }
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard_address": None}}
    with (
        distributed.SpecCluster(workers=workers, scheduler=scheduler) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2)
        yield client


READERS = []


def read_here(chunk):
    READERS.append(distributed.get_worker().name)
    return chunk


def read_by_delayed(array, chunks):
    parts = [dask.delayed(read_here)(array[start : start + 100]) for start in range(0, 442, 100)]
    shapes = [(len(array[start : start + 100]), *array.shape[1:]) for start in range(0, 442, 100)]
    return da.concatenate(
        [da.from_delayed(p, shape, float) for p, shape in zip(parts, shapes, strict=True)]
    )


def read_by_blocks(array, chunks):
    return da.from_array(array, chunks=chunks).map_blocks(read_here, dtype=float, meta=array[:0])


def read_lazily_changed(array, chunks):
    return read_by_blocks(array, chunks)[::-1][::-1] * 2 / 2


def of_unknown_sizes(array, chunks):
    rows = read_by_blocks(array, chunks)
    return rows[(rows if rows.ndim == 1 else rows[:, 0]) > -np.inf]


PLAIN = AsyncLassoRegressor(ALPHA)
ROUTES = {
    "statistics": (PLAIN, "fit"),
    "raw rows": (AsyncLassoRegressor(ALPHA, loss="huber", max_iter=3), "fit"),
    "cells": (AsyncLassoCV(alphas=5, cv=KFold(3, shuffle=True, random_state=0)), "fit"),
    "consecutive cells": (AsyncLassoCV(alphas=5, cv=3), "fit"),
    "partial_fit": (PLAIN, "partial_fit"),
    "score": (EXPECTED, "score"),
    "many columns": (PLAIN, "fit"),
    "columns of many": (AsyncLassoRegressor(ALPHA, polish=False, max_iter=3), "fit"),
    "many columns, cells": (AsyncLassoCV(alphas=5, cv=3), "fit"),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("route", ROUTES)
def test_annotations_of_rows_hold_on_every_route(route, disk, monkeypatch):
    check_annotations(route, read_by_blocks, dict(resources={"disk": 1}), disk, monkeypatch)


@pytest.mark.parametrize("made_by", [read_by_delayed, read_lazily_changed, of_unknown_sizes])
@pytest.mark.parametrize("route", ["statistics", "many columns"])
def test_annotations_of_rows_hold_however_they_are_made(route, made_by, disk, monkeypatch):
    check_annotations(route, made_by, dict(resources={"disk": 1}), disk, monkeypatch)


@pytest.mark.parametrize(
    "annotations",
    [dict(workers=["disk"]), dict(workers="disk"), dict(workers=lambda key: ["disk"])],
    ids=["list", "name", "callable"],
)
def test_annotations_of_workers_hold(annotations, disk, monkeypatch):
    check_annotations("statistics", read_by_blocks, annotations, disk, monkeypatch)
    check_annotations("consecutive cells", of_unknown_sizes, annotations, disk, monkeypatch)
    check_annotations("many columns", read_by_blocks, annotations, disk, monkeypatch)


def check_annotations(route, made_by, annotations, disk, monkeypatch):
    if "many" in route:
        lower_the_border(monkeypatch)
    estimator, method = ROUTES[route]
    weights = np.linspace(0.5, 2, len(X))
    with dask.annotate(**annotations):
        lazy = [made_by(array, 100) for array in (X, y, weights)]
    READERS.clear()
    found = getattr(copy.deepcopy(estimator).set_params(client=disk), method)(*lazy)
    assert set(READERS) == {"disk"}
    assert_nothing_left(disk)
    expected = getattr(copy.deepcopy(estimator), method)(X, y, weights)
    if method == "score":
        assert found == pytest.approx(expected, rel=1e-9)
    elif estimator.get_params().get("max_iter") != 3:
        within = 1e-7 * np.abs(expected.coef_).max()
        np.testing.assert_allclose(found.coef_, expected.coef_, rtol=0, atol=within)


def lower_the_border(monkeypatch):
    monkeypatch.setattr(_wide, "MAX_GRAM", 5)
    monkeypatch.setattr(_wide, "MAX_MOMENTS", 5)


@pytest.mark.parametrize("route", ["statistics", "consecutive cells", "many columns"])
def test_annotations_around_a_fit_hold(route, disk, monkeypatch):
    if "many" in route:
        lower_the_border(monkeypatch)
    rows, target = read_by_blocks(X, 50), read_by_blocks(y, 50)
    persisted = disk.persist(rows)
    for data in ((rows, target), (persisted, target)):
        with disk.as_current():
            distributed.wait(persisted)
        READERS.clear()
        with dask.annotate(workers=["disk"]):
            clone(ROUTES[route][0]).set_params(client=disk).fit(*data)
        assert set(READERS) == {"disk"}
    del persisted, data


class Failing:
    """A chunk that fails as often as is said before it comes."""

    def __init__(self, times):
        self.left = times

    def __call__(self, chunk, block_info=None):
        if block_info[0]["chunk-location"][0] == 2 and self.left > 0:
            self.left -= 1
            raise OSError("try again")
        return chunk


FAILING = Failing(0)


def try_again(chunk, block_info=None):
    return FAILING(chunk, block_info)


def test_retries_hold(disk):
    with dask.annotate(retries=6):
        rows = da.from_array(X, chunks=(50, 10)).map_blocks(try_again, dtype=float, meta=X[:0])
    FAILING.left = 6
    assert_same(AsyncLassoRegressor(ALPHA, client=disk).fit(rows, da.from_array(y, 50)).coef_)
    rows = da.from_array(X, chunks=(50, 10)).map_blocks(try_again, dtype=float, meta=X[:0])
    FAILING.left = 5
    with dask.annotate(retries=5):
        AsyncLassoRegressor(ALPHA, client=disk).fit(rows, da.from_array(y, 50))
    FAILING.left = 4
    with pytest.raises(OSError, match="try again"):
        AsyncLassoRegressor(ALPHA, client=disk).fit(rows, da.from_array(y, 50))
    FAILING.left = 0


class Messages:
    """An engine that notes how many tasks of what was in memory the scheduler knows."""

    def __init__(self, client):
        self.client = client

    def run(self, run):
        self.sent = [key for key in left_on(self.client) if "lasso-sent" in key]
        for result in run.completed():
            run.absorb(result)
            run.update()


@pytest.mark.parametrize("rows", [500_000, 1_000_000])
def test_a_long_target_in_memory_is_sent_once_and_in_parts(rows, client):
    n = 1_000_000
    lazy = da.random.default_rng(0).normal(size=(n, 2), chunks=(rows, 2))
    target, weights = np.arange(n) / n, np.linspace(1, 2, n)
    engine = Messages(client)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Sending large graph")
        model = AsyncLassoRegressor(1e-5, client=client, engine=engine)
        model.fit(lazy, target, weights)
        score = model.score(lazy, target, weights)
    assert len(engine.sent) > 0
    assert_nothing_left(client)
    in_memory = lazy.compute(scheduler="threads")
    expected = AsyncLassoRegressor(1e-5).fit(in_memory, target, weights)
    assert_same(model.coef_, expected.coef_)
    assert score == pytest.approx(expected.score(in_memory, target, weights), rel=1e-9)


def test_what_was_sent_is_kept_while_statistics_are(client, monkeypatch):
    monkeypatch.setattr(_sending, "_ALONG", 0)
    mapped = []
    submit = client.map
    monkeypatch.setattr(client, "map", lambda *a, **k: mapped.append(k["key"]) or submit(*a, **k))
    rows = chunks()[0]
    with reuse_statistics(client):
        for alpha in (ALPHA, 2 * ALPHA):
            AsyncLassoRegressor(alpha, client=client).fit(rows, y)
    assert len(mapped) == 1
    assert_nothing_left(client)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        AsyncLassoRegressor(ALPHA, client=client).fit(rows, y, np.ones(3))
    assert len(mapped) == 1


@pytest.mark.parametrize("route", ["statistics", "consecutive cells", "many columns"])
def test_what_was_sent_in_pieces_is_joined_again(route, disk, monkeypatch):
    sent, submit = [], disk.map
    monkeypatch.setattr(disk, "map", lambda *a, **k: sent.extend(k["key"]) or submit(*a, **k))
    monkeypatch.setattr(_sending, "_ALONG", 0)
    monkeypatch.setattr(_sending, "_MESSAGE", 300)
    estimator = clone(ROUTES[route][0])
    if "many" in route:
        lower_the_border(monkeypatch)
    expected = clone(estimator).fit(X, y)
    found = estimator.set_params(client=disk).fit(chunks()[0], y)
    within = 1e-7 * np.abs(expected.coef_).max()
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=0, atol=within)
    assert len(sent) == len(set(sent)) == 2 * 9  # however many passes there are
    two = AsyncLassoRegressor(ALPHA, client=disk).fit(chunks()[0], np.column_stack([y, -y]))
    assert_same(two.coef_, np.array([EXPECTED.coef_, -EXPECTED.coef_]))
    assert_nothing_left(disk)


def stumble(chunk, block_info=None):
    if block_info[0]["chunk-location"][0] == 1:
        raise ZeroDivisionError(threading.current_thread().name)
    return chunk


def test_a_chunk_function_can_be_debugged(disk):
    """As README says: an error has its function's traceback, a block runs where it is asked for."""
    rows = da.from_array(X, chunks=(100, 10)).map_blocks(stumble, dtype=float, meta=X[:0])
    with pytest.raises(ZeroDivisionError) as caught:
        AsyncLassoRegressor(ALPHA, client=disk).fit(rows, da.from_array(y, 100))
    assert "stumble" in [entry.name for entry in caught.traceback]
    with pytest.raises(ZeroDivisionError, match=threading.current_thread().name):
        rows.blocks[1].compute(scheduler="synchronous")
    assert_nothing_left(disk)


class _Count(distributed.diagnostics.plugin.SchedulerPlugin):
    def __init__(self):
        self.tasks = []

    def transition(self, key, start, finish, *args, **kwargs):
        if finish == "memory" and distributed.utils.key_split(key).startswith("lasso-"):
            self.tasks.append(key)


def alternately(rows, client):
    """Chunks in memory, each on another worker than its neighbours."""
    sizes, parts = [len(part) for part in rows], [None] * len(rows)
    for first, worker in enumerate(sorted(client.nthreads())):
        parts[first::2] = client.scatter(rows[first::2], workers=[worker], hash=False)
    return da.concatenate(
        [
            da.from_delayed(part, (size, *rows[0].shape[1:]), float)
            for part, size in zip(parts, sizes, strict=True)
        ]
    )


SMALL = [np.array_split(X, 200), np.array_split(y, 200)]  # chunks


def tasks_of(estimator, rows, client):
    """How many tasks of ours a fit has."""
    plugin = _Count()
    client.cluster.scheduler.add_plugin(plugin, name="count")
    model = clone(estimator).set_params(client=client).fit(*rows)
    client.cluster.scheduler.remove_plugin("count")
    np.testing.assert_allclose(model.coef_, EXPECTED.coef_, rtol=1e-6)
    return len(plugin.tasks)


@pytest.mark.parametrize(
    "estimator",
    [
        AsyncLassoRegressor(ALPHA),
        pytest.param(AsyncLassoCV(alphas=[ALPHA]), marks=pytest.mark.slow),
    ],
)
def test_small_chunks_in_memory_are_few_tasks(estimator, thread_workers, monkeypatch):
    rows = [alternately(part, thread_workers) for part in SMALL]
    # Of 32 blocks, each on two workers, and as many merges.
    assert tasks_of(estimator, rows, thread_workers) <= 32 * 3
    monkeypatch.setattr(_reading, "_RUN_BYTES", SMALL[0][0].nbytes)
    assert tasks_of(estimator, rows, thread_workers) >= 200


@pytest.mark.slow
def test_a_task_takes_no_more_than_a_worker_can_hold(thread_workers, monkeypatch):
    monkeypatch.setattr(_wide, "MAX_GRAM", 3)
    estimator = AsyncLassoRegressor(ALPHA, tol=1e-10)
    rows = [alternately(part, thread_workers) for part in SMALL]
    assert tasks_of(estimator, rows, thread_workers) < 100
    monkeypatch.setattr(_reading, "_SHARE", 0.0)
    assert tasks_of(estimator, rows, thread_workers) >= 200


CALLS = {
    "fit": lambda client, *rows: AsyncLassoRegressor(client=client).fit(*rows),
    "score": lambda client, *rows: AsyncLassoRegressor(client=client).fit(X, y).score(*rows),
    "path": lambda client, *rows: lasso_path(*rows, alphas=[ALPHA], client=client),
}
DEFECTS = [("fit", 77), ("score", 0)]  # in a plain run


@pytest.mark.parametrize(
    ("call", "bad"),
    [
        pytest.param(call, bad, marks=[pytest.mark.slow] * ((call, bad) not in DEFECTS))
        for call, bad in product(CALLS, [0, 77, 441])
    ],
)
def test_a_defect_is_placed_where_chunks_are_taken_by_worker(call, bad, thread_workers):
    rows = X.copy()
    rows[bad, 3] = np.nan
    parts = np.array_split(rows, 200)
    chunk = np.searchsorted(np.cumsum([len(part) for part in parts]), bad, side="right")
    rows, target = alternately(parts, thread_workers), alternately(SMALL[1], thread_workers)
    with pytest.raises(ValueError, match=rf"NaN in column 3, row {bad} \(chunk {chunk}\)"):
        CALLS[call](thread_workers, rows, target)
