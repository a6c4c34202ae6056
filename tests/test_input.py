"""One path for every input: any collection, any chunks, read where it lies."""

from __future__ import annotations

import pickle
import tracemalloc

import dask
import dask.array as da
import numpy as np
import pytest
from datasets import load
from scipy import sparse

from dask_lasso import AsyncLassoRegressor
from dask_lasso.rows import statistics as _statistics

pd = pytest.importorskip("pandas")
dd = pytest.importorskip("dask.dataframe")

ALPHA = 0.1
N = 442
X, y, WEIGHTS, _ = load("diabetes")
NAMES = [f"column {i}" for i in range(10)]


@pytest.fixture(scope="module")
def expected():
    return AsyncLassoRegressor(ALPHA).fit(X, y, WEIGHTS)


def assert_same(model, expected, rtol=1e-8):
    scale = np.abs(expected.coef_).max()
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0, atol=rtol * scale)
    scale = max(scale, abs(expected.intercept_))
    assert model.intercept_ == pytest.approx(expected.intercept_, abs=rtol * scale)
    assert model.n_samples_seen_ == expected.n_samples_seen_
    assert model.n_features_in_ == expected.n_features_in_


def dask_of(array, chunks):
    return da.from_array(array, chunks=chunks)


def unknown(array, chunks):
    """The same rows in chunks whose sizes dask does not know."""
    chunked = dask_of(array, chunks)
    return chunked.map_blocks(
        np.asarray, chunks=((np.nan,) * chunked.numblocks[0], *chunked.chunks[1:])
    )


def with_empty(array, sizes=(0, 200, 0, 0, 242, 0)):
    return dask_of(array, (sizes, *array.shape[1:]))


INPUTS = {
    "rows": lambda a: dask_of(a, (100, *a.shape[1:])),
    "one chunk": lambda a: dask_of(a, a.shape),
    "columns": lambda a: dask_of(a, (N, 3) if a.ndim == 2 else N),
    "rows and columns": lambda a: dask_of(a, (100, 4) if a.ndim == 2 else 100),
    "uneven": lambda a: dask_of(a, ((1, 300, 2, 139), *a.shape[1:])),
    "many chunks": lambda a: dask_of(a, (10, *a.shape[1:])),
    "y chunked otherwise": lambda a: dask_of(a, (100, 10) if a.ndim == 2 else 77),
    "unknown sizes": lambda a: unknown(a, (100, *a.shape[1:])),
    "empty chunks": with_empty,
    "y in memory": lambda a: dask_of(a, (100, 10)) if a.ndim == 2 else a,
    "X in memory": lambda a: a if a.ndim == 2 else dask_of(a, 100),
    "lists": lambda a: a.tolist(),
    "Fortran order": np.asfortranarray,
    "every other row of a copy": lambda a: np.repeat(a, 2, axis=0)[::2],
    "pandas": lambda a: pd.DataFrame(a, columns=NAMES) if a.ndim == 2 else pd.Series(a),
}


@pytest.mark.parametrize("name", INPUTS)
def test_input(name, expected, client):
    arrays = [INPUTS[name](a) for a in (X, y, WEIGHTS)]
    for where in (None, client):
        assert_same(AsyncLassoRegressor(ALPHA, client=where).fit(*arrays), expected)


def as_sparse(chunk, kind):
    return kind(chunk)


SPARSE = [sparse.csr_array, sparse.csc_array, sparse.csr_matrix, sparse.csc_matrix]


@pytest.fixture(scope="module")
def thinned():
    """X with most entries zero, and the fit on it."""
    thin = np.where(np.abs(X) > 0.05, X, 0.0)
    return thin, AsyncLassoRegressor(ALPHA).fit(thin, y, WEIGHTS)


@pytest.mark.parametrize("kind", [*SPARSE, sparse.coo_array, sparse.lil_array])
def test_sparse_in_memory(kind, thinned):
    thin, expected = thinned
    model = AsyncLassoRegressor(ALPHA).fit(kind(thin), y, WEIGHTS)
    assert_same(model, expected)
    np.testing.assert_allclose(model.predict(kind(thin)), expected.predict(thin))


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_blocks(kind, thinned, client):
    thin, expected = thinned
    blocks = dask_of(thin, (100, 10)).map_blocks(
        as_sparse, kind, dtype=float, meta=kind((0, 0), dtype=float)
    )
    for where in (None, client):
        model = AsyncLassoRegressor(ALPHA, client=where)
        model.fit(blocks, dask_of(y, 100), dask_of(WEIGHTS, 50))
        assert_same(model, expected)
    with client.as_current():
        np.testing.assert_allclose(model.predict(blocks).compute(), expected.predict(thin))


def test_sparse_columns_far_from_zero():
    # Stored as sparse, but dense in fact; a column of ones is the usual constant one.
    far = np.column_stack([X + 1e6, np.ones(N)])
    expected = AsyncLassoRegressor(ALPHA).fit(X, y, WEIGHTS)
    for weights in (WEIGHTS, None):
        expected.fit(X, y, weights)
        model = AsyncLassoRegressor(ALPHA).fit(sparse.csr_array(far), y, weights)
        np.testing.assert_allclose(model.coef_[:-1], expected.coef_, rtol=1e-6, atol=1e-6)
        assert model.coef_[-1] == 0


def test_sparse_blocks_in_columns(thinned):
    thin, expected = thinned
    blocks = dask_of(thin, (100, 4)).map_blocks(
        as_sparse, sparse.csr_array, dtype=float, meta=sparse.csr_array((0, 0), dtype=float)
    )
    assert_same(AsyncLassoRegressor(ALPHA).fit(blocks, y, WEIGHTS), expected)


@pytest.mark.parametrize("shape", [(100_000, 20), (100, 20_000)])
@pytest.mark.parametrize("dtype", [np.int8, bool])
def test_narrow_rows_are_never_widened_whole(shape, dtype):
    rows = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    model = AsyncLassoRegressor(0.1)
    model.fit(rows[:, :10], rows[:, 0])
    tracemalloc.start()
    model.fit(rows, rows[:, 0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * rows.nbytes


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint16, bool, np.float32, np.float16])
@pytest.mark.parametrize("kind", ["numpy", "dask"])
def test_dtypes(dtype, kind):
    rng = np.random.default_rng(0)
    exact = rng.integers(0, 2 if dtype is bool else 100, size=(300, 6))
    target = (exact @ [3, -2, 1, 0, 0, 1]).astype(float)
    expected = AsyncLassoRegressor(0.01).fit(exact.astype(float), target)
    cast = exact.astype(dtype)
    if kind == "dask":
        cast, target = da.from_array(cast, chunks=(70, 4)), da.from_array(target, chunks=70)
    model = AsyncLassoRegressor(0.01).fit(cast, target)
    assert model.coef_.dtype == (np.float32 if dtype is np.float32 else np.float64)
    single = dtype is np.float32
    assert_same(model, expected, rtol=5e-5 if single else 1e-8)
    target_dtype = AsyncLassoRegressor(0.01).fit(cast, target.astype(np.int64))
    assert_same(target_dtype, expected, rtol=5e-5 if single else 1e-8)


@pytest.mark.parametrize("partitions", [1, 4])
def test_dask_dataframe(partitions, expected, client):
    frame = dd.from_pandas(pd.DataFrame(X, columns=NAMES), npartitions=partitions)
    target = dd.from_pandas(pd.Series(y, name="target"), npartitions=partitions)
    weights = dd.from_pandas(pd.Series(WEIGHTS, name="weight"), npartitions=partitions)
    for where in (None, client):
        model = AsyncLassoRegressor(ALPHA, client=where).fit(frame, target, weights)
        assert_same(model, expected)
        assert model.feature_names_in_.tolist() == NAMES
        with client.as_current():
            predicted = model.predict(frame)
            assert dask.is_dask_collection(predicted)
            np.testing.assert_allclose(predicted.compute(), expected.predict(X))
            assert model.score(frame, target) == pytest.approx(expected.score(X, y))


def test_dask_dataframe_of_mixed_numbers():
    frame = pd.DataFrame(
        {
            "float": X[:, 0],
            "single": X[:, 2].astype(np.float32),
            "integer": np.arange(N) % 7,
            "boolean": np.arange(N) % 2 == 0,
            "nullable": pd.array(np.arange(N) % 5, dtype="Int64"),
            "nullable boolean": pd.array(np.arange(N) % 3 == 0, dtype="boolean"),
        }
    )
    expected = AsyncLassoRegressor(ALPHA).fit(frame.astype(float), y)
    model = AsyncLassoRegressor(ALPHA).fit(
        dd.from_pandas(frame, npartitions=3), dd.from_pandas(pd.Series(y), npartitions=3)
    )
    assert_same(model, expected)
    assert model.feature_names_in_.tolist() == frame.columns.tolist()


def test_target_as_a_frame(expected):
    frame = dd.from_pandas(pd.DataFrame(X, columns=NAMES), npartitions=3)
    targets = pd.DataFrame({"a": y, "b": -y})
    model = AsyncLassoRegressor(ALPHA).fit(
        frame, dd.from_pandas(targets, npartitions=3), dask_of(WEIGHTS, frame_sizes(frame))
    )
    np.testing.assert_allclose(model.coef_, [expected.coef_, -expected.coef_], atol=1e-6)
    assert model.predict(frame).compute().shape == (N, 2)


def frame_sizes(frame):
    return (tuple(frame.map_partitions(len).compute()),)


def test_feature_names_are_checked_on_dask():
    frame = dd.from_pandas(pd.DataFrame(X, columns=NAMES), npartitions=2)
    model = AsyncLassoRegressor(ALPHA).fit(frame, dd.from_pandas(pd.Series(y), npartitions=2))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={NAMES[0]: "another"}))


@pytest.mark.parametrize("shape", [(N,), (N, 1), (N, 3)])
def test_target_shapes(shape):
    n_targets = 1 if len(shape) == 1 else shape[1]
    targets = np.multiply.outer(y, [1.0, 2.0, -1.0])[:, :n_targets].reshape(shape)
    expected = AsyncLassoRegressor(ALPHA).fit(X, targets)
    model = AsyncLassoRegressor(ALPHA)
    model.fit(dask_of(X, (100, 10)), da.from_array(targets, chunks=(60, *shape[1:])))
    assert model.coef_.shape == expected.coef_.shape
    assert np.shape(model.intercept_) == np.shape(expected.intercept_)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8)
    predicted = model.predict(dask_of(X, (50, 4)))
    expected_shape = expected.predict(X).shape
    assert predicted.shape == expected_shape == predicted.compute().shape
    np.testing.assert_allclose(predicted, expected.predict(X))


def test_predict_and_score_of_a_dask_array(expected, client):
    lazy = expected.predict(dask_of(X, (100, 4)))
    assert isinstance(lazy, da.Array)
    assert lazy.chunks == ((100, 100, 100, 100, 42),)
    np.testing.assert_allclose(lazy.compute(scheduler="sync"), expected.predict(X))
    assert isinstance(expected.predict(X), np.ndarray)
    for weights in (None, WEIGHTS):
        with client.as_current():
            score = expected.score(
                dask_of(X, (100, 4)),
                dask_of(y, 60),
                None if weights is None else dask_of(weights, 50),
            )
        assert score == pytest.approx(expected.score(X, y, weights))
    assert np.isnan(lazy.shape).sum() == 0
    rest = unknown(X, (100, 10))
    np.testing.assert_allclose(expected.predict(rest).compute(), expected.predict(X))
    assert expected.score(rest, unknown(y, 100)) == pytest.approx(expected.score(X, y))


def test_rows_are_read_in_the_chunks_that_they_come_in(monkeypatch):
    read = []
    from_dense = _statistics._of_dense

    def spy(X, y, sample_weight):
        read.append((X.shape, len(y)))
        return from_dense(X, y, sample_weight)

    monkeypatch.setattr(_statistics, "_of_dense", spy)
    sizes = (1, 300, 0, 2, 139)
    AsyncLassoRegressor(ALPHA).fit(dask_of(X, (sizes, 3)), dask_of(y, 77))
    assert sorted(read) == sorted(((size, 10), size) for size in sizes)


class Pinned:
    """Rows that cannot leave the process that made them."""

    def __init__(self, rows):
        self.rows = rows
        self.shape, self.dtype, self.ndim = rows.shape, rows.dtype, rows.ndim

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.rows, dtype=dtype)

    def __len__(self):
        return len(self.rows)

    def __reduce_ex__(self, protocol):
        raise AssertionError("rows are being sent to another process")


def make_rows(ids, columns):
    rows = np.random.default_rng(int(ids.ravel()[0])).normal(size=(100, columns))
    return Pinned(rows if columns > 1 else rows[:, 0])


@pytest.mark.parametrize("polish", [True, False])
def test_no_row_leaves_its_worker(polish, client):
    with pytest.raises(AssertionError, match="another process"):
        pickle.dumps(make_rows(np.zeros(1), 4))
    ids = da.arange(20, chunks=1)
    X = ids[:, None].map_blocks(
        make_rows, 4, chunks=((100,) * 20, (4,)), dtype=float, meta=np.empty((0, 0))
    )
    y = ids.map_blocks(make_rows, 1, chunks=((100,) * 20,), dtype=float, meta=np.empty(0))
    model = AsyncLassoRegressor(0.01, client=client, polish=polish).fit(X, y)
    assert model.n_samples_seen_ == 2000
    assert model.coef_.any()
