"""What travels to which workers: rows persisted elsewhere, annotations, large constants."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from contextlib import nullcontext

import dask.array as da
import dask.dataframe as dd
import joblib
import numpy as np
import pandas as pd
import pytest
from conftest import assert_nothing_left
from datasets import load
from distributed import Client, LocalCluster
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dask_lasso import AsyncLassoCV, AsyncLassoRegressor, _chunk, _input, _rows, lasso_path
from dask_lasso._chunk import read

X, y, _, ALPHA = load("diabetes")
EXPECTED = AsyncLassoRegressor(ALPHA).fit(X, y)


@pytest.fixture(scope="module")
def thread_workers():
    """A Client whose two workers are threads of this process."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


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


@pytest.mark.parametrize("rows", [442, 150])
@pytest.mark.parametrize("loss", ["squared", "huber"])
@pytest.mark.parametrize("weights", [None, np.linspace(0.5, 2, len(X))])
def test_long_column_chunks_are_joined_in_pieces(rows, loss, weights, thread_workers, monkeypatch):
    monkeypatch.setattr(_input, "_JOINED_BYTES", 4096)  # 51 rows
    joined = []
    monkeypatch.setattr(_chunk, "read", lambda *args: joined.append(args[0].nbytes) or read(*args))
    monkeypatch.setattr(_rows, "read", _chunk.read)
    READ.clear()
    target = da.from_array(y, chunks=rows)
    if weights is not None:
        weights = da.from_array(weights, chunks=100)
    options = dict(loss=loss, tol=1e-9)
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
    assert _input._one_column_chunk(X_by_columns).chunks == ((150, 150, 142), (10,))
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
