"""X, y and weights are one collection: rows that belong together stay so, and are read once."""

from __future__ import annotations

import warnings
from itertools import pairwise

import dask
import dask.array as da
import distributed
import numpy as np
import pytest
from sklearn.linear_model import Lasso
from sklearn.model_selection import KFold

from dask_lasso import (
    AsyncLassoCV,
    AsyncLassoRegressor,
    lasso_path,
)
from dask_lasso.rows import marks as _marks
from dask_lasso.rows.chunk import read
from dask_lasso.solvers import width as _wide

pd = pytest.importorskip("pandas")
dd = pytest.importorskip("dask.dataframe")

ALPHA = 0.05
N, K = 2000, 6
NAMES = [f"x{i}" for i in range(K)]


def table(n=N):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(n, K)), columns=NAMES)
    frame["y"] = frame.x0 - 2 * frame.x1 + 0.1 * rng.normal(size=n)
    frame["w"] = rng.uniform(0.5, 2, size=n)
    frame["g"] = rng.integers(0, 50, size=n)
    return frame


TABLE = table()


def lazy():
    return dd.from_pandas(TABLE, npartitions=10, sort=False)


def parquet(tmp_path):
    path = str(tmp_path / "data")
    lazy().to_parquet(path, write_index=False)
    return dd.read_parquet(path)


def merged(tmp_path):
    return lazy().merge(dd.from_pandas(pd.DataFrame({"g": range(50)}), npartitions=2), on="g")


# What people do to a frame before they select X and y from it.
FRAMES = {
    "lazy": lambda tmp_path: lazy(),
    "parquet": parquet,
    "shuffle": lambda tmp_path: lazy().shuffle("g"),
    "merge": merged,
    "sort_values": lambda tmp_path: lazy().sort_values("g"),
    "set_index": lambda tmp_path: lazy().set_index("g"),
    "filter": lambda tmp_path: lazy()[lazy().g >= 0],
    "filtered empty": lambda tmp_path: dd.concat([lazy(), lazy()[lazy().g < 0]]),
    "dropna": lambda tmp_path: lazy().dropna(),
    "persist": lambda tmp_path: lazy().persist(),
    "parquet persisted": lambda tmp_path: parquet(tmp_path).persist(),
}


def fit(kind, X, y, w=None):
    """Coefficients by a route, from frames or from memory; or what `score` says."""
    if kind in ("cv", "shuffled folds"):
        cv = 3 if kind == "cv" else KFold(5, shuffle=True, random_state=0)
        return AsyncLassoCV(alphas=[ALPHA], cv=cv).fit(X, y, w).coef_
    if kind == "path":
        settings = dict(alphas=[ALPHA], fit_intercept=True)
        return lasso_path(X, y, sample_weight=w, **settings)[1][:, 0]
    model = AsyncLassoRegressor(ALPHA)
    if kind == "score":
        return model.fit(TABLE[NAMES].to_numpy(), TABLE.y).score(X, y, w)
    if kind == "partial_fit":
        return model.partial_fit(X, y, w).coef_
    if kind == "huber":
        model.set_params(loss="huber", huber_delta=1e6, tol=1e-12, polish=False)
    return model.fit(X, y, w).coef_


ROUTES = ["fit", "huber", "cv", "path", "partial_fit"]


@pytest.mark.parametrize(
    ("name", "where"), [*((name, "client") for name in FRAMES), ("shuffle", "no client")]
)
def test_X_and_y_of_one_frame(name, where, tmp_path, client):
    expected = Lasso(ALPHA, tol=1e-12).fit(TABLE[NAMES], TABLE.y, TABLE.w)
    frame = FRAMES[name](tmp_path)
    chosen = client if where == "client" and name != "persist" else None
    model = AsyncLassoRegressor(ALPHA, client=chosen).fit(frame[NAMES], frame.y, frame.w)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-10)
    assert model.n_samples_seen_ == N
    score = model.score(frame[NAMES], frame.y, frame.w)
    assert score == pytest.approx(expected.score(TABLE[NAMES], TABLE.y, TABLE.w), rel=1e-8)


@pytest.mark.parametrize("route", ROUTES)
def test_every_route(route, tmp_path, thread_workers):
    frame = FRAMES["parquet" if route == "fit" else "shuffle"](tmp_path)
    with thread_workers.as_current():
        found = fit(route, frame[NAMES], frame.y, frame.w)
    expected = Lasso(ALPHA, tol=1e-12).fit(TABLE[NAMES], TABLE.y, TABLE.w).coef_
    np.testing.assert_allclose(found, expected, rtol=1e-5 if route == "huber" else 1e-8, atol=1e-6)


class Log:
    """Collections whose chunks are written down when they are read."""

    def __init__(self, path):
        self.path = path

    def read(self, chunk, rows):
        with open(self.path, "a") as file:
            file.write(f"{chunk}\n")
        return rows

    def taken(self):
        """How often each chunk was read since this was asked last."""
        counts = np.bincount(np.loadtxt(self.path, dtype=int, ndmin=1), minlength=10)
        self.path.unlink()
        return counts.tolist()

    def frame(self):
        rows = N // 10

        def part(chunk):
            return self.read(chunk, TABLE.iloc[chunk * rows : (chunk + 1) * rows])

        return dd.from_map(part, range(10), meta=TABLE.iloc[:0])

    def array(self, k):
        """Ten chunks of 40 rows, of k features and at the end y and w."""

        def block(block_id=None):
            rng = np.random.default_rng(block_id[0])
            Z = rng.normal(size=(40, k + 2))
            Z[:, k] = Z[:, 0] - 2 * Z[:, 1] + 0.1 * rng.normal(size=40)
            Z[:, k + 1] = rng.uniform(0.5, 2, size=40)
            return self.read(block_id[0], Z)

        chunks = ((40,) * 10, (k + 2,))
        return da.map_blocks(block, chunks=chunks, dtype=float, meta=np.empty((0, 0)))


@pytest.mark.parametrize(
    ("route", "weighted"),
    [
        *(once := [("fit", False), ("huber", True), ("path", False), ("partial_fit", True)]),
        *(pytest.param(route, not weighted, marks=pytest.mark.slow) for route, weighted in once),
    ],
)
def test_a_partition_is_read_once(route, weighted, tmp_path, thread_workers):
    log = Log(tmp_path / "log")
    frame = log.frame()
    w = frame.w if weighted else None
    with thread_workers.as_current():
        fit(route, frame[NAMES], frame.y, w)
        assert log.taken() == [1] * 10
        model = AsyncLassoRegressor(ALPHA).fit(TABLE[NAMES], TABLE.y)
        model.score(frame[NAMES], frame.y, w)
    assert log.taken() == [1] * 10


def test_cross_validation_reads_partitions_with_a_boundary_of_folds_again(tmp_path):
    log = Log(tmp_path / "log")
    frame = log.frame()
    fit("cv", frame[NAMES], frame.y, frame.w)  # rows 667 and 1334 begin a fold
    assert log.taken() == [1, 1, 1, 2, 1, 1, 2, 1, 1, 1]


@pytest.mark.parametrize("cv", [3, KFold(4, shuffle=True, random_state=0)])
def test_cross_validation_of_known_sizes_reads_a_chunk_once(cv, tmp_path):
    log = Log(tmp_path / "log")
    Z = log.array(5)
    AsyncLassoCV(alphas=[ALPHA], cv=cv).fit(Z[:, :5], Z[:, 5], Z[:, 6])
    assert log.taken() == [1] * 10


@pytest.mark.parametrize(
    ("kind", "weighted"),
    [
        ("regressor", True),
        ("cv", True),
        *(
            pytest.param(*cell, marks=pytest.mark.slow)
            for cell in [("regressor", False), ("cv", False), ("admm", False), ("admm", True)]
        ),
    ],
)
def test_a_pass_with_many_columns_is_one_read(
    kind, weighted, tmp_path, monkeypatch, thread_workers
):
    monkeypatch.setattr(_wide, "MAX_GRAM", 20)
    monkeypatch.setattr(_wide, "MAX_MOMENTS", 20)
    log = Log(tmp_path / "log")
    Z = log.array(30)
    model = {
        "regressor": AsyncLassoRegressor(ALPHA),
        "admm": AsyncLassoRegressor(ALPHA, polish=False),
        "cv": AsyncLassoCV(alphas=[ALPHA], cv=3),
    }[kind].set_params(client=thread_workers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # X is not in memory
        model.fit(Z[:, :30], Z[:, 30], Z[:, 31] if weighted else None)
    assert model.n_passes_ > 1
    assert log.taken() == [model.n_passes_] * 10


MIXES = {
    "y in memory": (lambda X: X, lambda y: TABLE.y),
    "y as NumPy": (lambda X: X, lambda y: TABLE.y.to_numpy()),
    "y as an array in chunks of partitions": (lambda X: X, lambda y: y.values),
    "y as an array in other chunks": (lambda X: X, lambda y: da.from_array(TABLE.y, chunks=333)),
    "X in memory": (lambda X: TABLE[NAMES], lambda y: y),
    "X as an array": (lambda X: X.values, lambda y: y),
    "X as an array in other chunks": (
        lambda X: da.from_array(TABLE[NAMES].to_numpy(), chunks=(150, 6)),
        lambda y: y,
    ),
    "y of other divisions": (lambda X: X, lambda y: dd.from_pandas(TABLE.y, npartitions=3)),
}


@pytest.mark.parametrize("name", MIXES)
def test_a_frame_beside_something_else(name, thread_workers):
    of_X, of_y = MIXES[name]
    frame = dd.from_pandas(TABLE, npartitions=10)
    expected = Lasso(ALPHA, tol=1e-12).fit(TABLE[NAMES], TABLE.y, TABLE.w)
    for weights in (frame.w, TABLE.w.to_numpy()):
        model = AsyncLassoRegressor(ALPHA, client=thread_workers)
        model.fit(of_X(frame[NAMES]), of_y(frame.y), weights)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-10)


@pytest.mark.skipif(
    dask.__version__ < "2025.2", reason="dask 2025.1 fuses the two by each one's share of columns"
)
def test_two_parquet_data_sets(tmp_path):
    targets = dd.from_pandas(TABLE[["y", "w", "g", "x3", "x4"]], npartitions=10)
    targets.to_parquet(tmp_path / "targets", write_index=False)
    y = dd.read_parquet(tmp_path / "targets")["y"]
    model = AsyncLassoRegressor(ALPHA).fit(parquet(tmp_path)[NAMES], y)
    expected = Lasso(ALPHA, tol=1e-12).fit(TABLE[NAMES], TABLE.y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("route", [*ROUTES, "score"])
def test_indexes_are_compared(route):
    X = dd.from_pandas(TABLE[NAMES], npartitions=4)
    shuffled = TABLE.y.sample(frac=1, random_state=0)
    y = dd.from_pandas(shuffled, npartitions=4, sort=False)
    with pytest.raises(ValueError, match=r"y has another index than X.*\(y.values\).*chunk \d"):
        fit(route, X, y)
    # What the message says.
    expected = Lasso(ALPHA, tol=1e-12).fit(TABLE[NAMES], shuffled)
    if route == "fit":
        found = fit(route, X, y.values)
        np.testing.assert_allclose(found, expected.coef_, rtol=1e-8, atol=1e-10)


def test_partitions_of_unequal_length():
    X, y = lazy()[NAMES], lazy().y
    y = y.map_partitions(lambda part: part.iloc[: 150 + len(part) % 50], meta=y._meta)
    with pytest.raises(ValueError, match=r"y has 150 rows where X has 200.*chunk \d"):
        AsyncLassoRegressor().fit(X, y)


def test_what_the_message_on_other_chunks_says(tmp_path):
    frame = parquet(tmp_path)
    expected = Lasso(ALPHA, tol=1e-12).fit(TABLE[NAMES], TABLE.y)
    with pytest.raises(ValueError, match=r"X has \d chunks and y \d.*persist.*lengths=True"):
        AsyncLassoRegressor(ALPHA).fit(frame[NAMES].values, frame.y.values)
    kept = frame.persist()
    for X, y in (
        (frame[NAMES].values.compute_chunk_sizes(), frame.y.values.compute_chunk_sizes()),
        (kept[NAMES].to_dask_array(lengths=True), kept.y.to_dask_array(lengths=True)),
    ):
        model = AsyncLassoRegressor(ALPHA).fit(X, y)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-10)


def declared(array, sizes):
    """Chunks of so many rows, of which dask is told that they have 100."""
    edges = np.r_[0, np.cumsum(sizes)]
    parts = [array[start:stop] for start, stop in pairwise(edges)]
    shape = (100, *array.shape[1:])
    return da.concatenate([da.from_delayed(dask.delayed(part), shape, float) for part in parts])


@pytest.mark.parametrize("route", [*ROUTES, "shuffled folds", "many columns", "score"])
@pytest.mark.parametrize(
    "sizes", [(100, 200), pytest.param((100, 97), marks=pytest.mark.slow)], ids=str
)
def test_other_sizes_than_declared(sizes, route, monkeypatch):
    n = sum(sizes)
    X, y = TABLE[NAMES].to_numpy()[:n], TABLE.y.to_numpy()[:n]
    wrong = declared(X, sizes), declared(y, sizes)
    if route == "many columns":
        monkeypatch.setattr(_wide, "MAX_GRAM", 3)
    message = rf"X has {sizes[1]} rows where 100 were declared.*compute_chunk_sizes.*chunk 1"
    with pytest.raises(ValueError, match=message):
        fit(route, *wrong)
    if route == "fit":
        model = AsyncLassoRegressor(ALPHA).fit(*(a.compute_chunk_sizes() for a in wrong))
        expected = Lasso(ALPHA, tol=1e-12).fit(X, y)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-10)


def test_lazy_y_beside_X_in_memory(client, monkeypatch):
    monkeypatch.setattr(_wide, "MAX_GRAM", 20)
    rng = da.random.default_rng(0)
    X = client.persist(rng.normal(size=(600, 50), chunks=(100, 50)))
    y = rng.normal(size=600, chunks=100)
    client.compute(X.sum()).result()  # in memory from here
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none that X is read again: it is read where it is
        lazily = AsyncLassoRegressor(0.01, client=client).fit(X, y)
    assert lazily.n_passes_ > 1
    expected = Lasso(0.01, tol=1e-12).fit(*client.gather(client.compute([X, y])))
    np.testing.assert_allclose(lazily.coef_, expected.coef_, rtol=1e-8, atol=1e-10)


def test_columns_of_parquet_that_dask_persists_wrongly(tmp_path):
    parquet(tmp_path)
    columns = ["x0", "x1", "y"]
    expected = Lasso(ALPHA, tol=1e-12).fit(TABLE[["x0", "x1"]], TABLE.y)
    with distributed.Client(n_workers=1, processes=False, dashboard_address=":0"):
        frame = dd.read_parquet(tmp_path / "data", columns=columns).persist()
        if len(frame.dask) < frame.npartitions:
            with pytest.raises(ValueError, match="fewer partitions than dask"):
                AsyncLassoRegressor(ALPHA).fit(frame[["x0", "x1"]], frame.y)
        with dask.config.set({"optimization.tune.active": False}):
            frame = dd.read_parquet(tmp_path / "data", columns=columns).persist()
        model = AsyncLassoRegressor(ALPHA).fit(frame[["x0", "x1"]], frame.y)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-10)
        frame = parquet(tmp_path).persist()[columns]
        model.fit(frame[["x0", "x1"]], frame.y)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-10)


def changing(k, chunks=4):
    """Rows that are others each time they are computed; the last column is y."""

    def rows():
        Z = np.random.default_rng().normal(size=(100, k))
        return np.c_[Z, Z[:, 0] - Z[:, 1]]

    parts = [dask.delayed(rows, pure=False)() for _ in range(chunks)]
    return da.concatenate([da.from_delayed(part, (100, k + 1), float) for part in parts])


@pytest.mark.parametrize("kind", ["regressor", "admm", "cv", "path"])
def test_rows_that_change_from_pass_to_pass(kind, client, monkeypatch):
    monkeypatch.setattr(_wide, "MAX_GRAM", 20)
    monkeypatch.setattr(_wide, "MAX_MOMENTS", 20)

    def route(Z):
        X, y = Z[:, :30], Z[:, 30]
        if kind == "path":
            return lasso_path(X, y, alphas=[ALPHA], fit_intercept=True, client=client)[1][:, 0]
        if kind == "cv":
            return AsyncLassoCV(alphas=[ALPHA], cv=3, client=client).fit(X, y).coef_
        return AsyncLassoRegressor(ALPHA, polish=kind != "admm", client=client).fit(X, y).coef_

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # X is not in memory
        with pytest.raises(ValueError, match=r"rows change from one pass.*dask.persist\(X, y\)"):
            route(changing(30))
        # What the message says: and then they do not change.
        kept = client.persist(changing(30))
        found = route(kept)
    Z = client.compute(kept).result()
    expected = Lasso(ALPHA, tol=1e-12).fit(Z[:, :30], Z[:, 30]).coef_
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3 if kind == "admm" else 1e-7)


@pytest.mark.parametrize("what", ["X", "y"])
@pytest.mark.parametrize("loss", ["squared", "poisson"])
def test_rows_in_column_chunks_that_change(loss, what, client, monkeypatch):
    monkeypatch.setattr(_wide, "MAX_GRAM", 20)
    monkeypatch.setattr(_wide, "MAX_MOMENTS", 20)
    others, kept = changing(30), client.persist(changing(30))
    X = (others if what == "X" else kept)[:, :30].rechunk({1: 10})
    y = abs(others if what == "y" else kept)[:, 30]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # X is not in memory
        with pytest.raises(ValueError, match="rows change from one pass"):
            AsyncLassoRegressor(ALPHA, loss=loss, client=client).fit(X, y)


def test_a_change_of_y_alone_and_of_places():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 6)), rng.normal(size=50)
    order = rng.permutation(50)
    marks = _marks.marks_of(read(X, y), True)
    assert not marks.differ(_marks.marks_of(read(X, y), True), True)
    shuffled = _marks.marks_of(read(X[order], y[order]), True)
    assert not marks.differ(shuffled, False)
    assert marks.differ(shuffled, True)
    assert marks.differ(_marks.marks_of(read(X, y + 0.01), True), False)
    assert marks.differ(_marks.marks_of(read(X[:-1], y[:-1]), True), False)
    # The last bits may be others.
    assert not marks.differ(_marks.marks_of(read(X * (1 + 1e-9), y), True), False)


def test_rows_in_memory_beside_unknown_sizes_take_one_more_read(tmp_path):
    log = Log(tmp_path / "log")
    frame = log.frame()
    AsyncLassoRegressor(ALPHA).fit(frame[NAMES], TABLE.y)
    assert log.taken() == [2] * 10


def test_splits_of_a_frame():
    expected = Lasso(ALPHA, tol=1e-12)
    for part in lazy().random_split([0.7, 0.3], random_state=0):
        here = part.compute()
        expected.fit(here[NAMES], here.y)
        model = AsyncLassoRegressor(ALPHA).fit(part[NAMES], part.y)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-10)
        assert model.n_samples_seen_ == len(here)


def test_a_frame_of_a_persisted_array(client, monkeypatch):
    X = da.from_array(TABLE[[*NAMES, "y"]].to_numpy(), chunks=(300, K + 1))
    expected = AsyncLassoRegressor(ALPHA).fit(TABLE[NAMES].to_numpy(), TABLE["y"].to_numpy())
    with client.as_current():
        rows = X.persist()
        frame = rows.to_dask_dataframe(columns=[*NAMES, "y"])
        frame["twice"] = 2 * frame.y
        model = AsyncLassoRegressor(ALPHA).fit(frame[NAMES], frame.y)
        np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-12)
        cv = AsyncLassoCV(cv=3, alphas=5).fit(frame[NAMES], frame.y)
        assert cv.n_samples_seen_ == N
        monkeypatch.setattr(_wide, "MAX_GRAM", 3)
        wide = AsyncLassoRegressor(ALPHA).fit(frame[NAMES], frame.y)
        np.testing.assert_allclose(wide.coef_, expected.coef_, atol=1e-10)
        del rows, frame, X
