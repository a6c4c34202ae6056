"""Sufficient statistics: rows to moments, moments of disjoint rows merged."""

import tracemalloc
import warnings
from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
from datasets import LIBRARIES, from_rows
from scipy import sparse
from sklearn.model_selection import KFold

from dask_lasso import AsyncLassoCV
from dask_lasso.places.graphs import blocks_of
from dask_lasso.places.input import part_of
from dask_lasso.places.joined import Joined as Rows
from dask_lasso.rows import sparse_rows as _sparse_rows
from dask_lasso.rows import tiles as _tiles
from dask_lasso.rows.chunk import read
from dask_lasso.rows.columns import add_product, column_moments
from dask_lasso.rows.sparse_rows import gram_of_sparse, stored_often
from dask_lasso.rows.statistics import merge_statistics as merge
from dask_lasso.rows.statistics import statistics_of_chunk


def reference(X, y, weights=None):
    """Centred moments in extended precision, in two passes."""
    X, y = X.astype(np.longdouble), y.astype(np.longdouble).reshape(len(X), -1)
    s = np.ones(len(X)) if weights is None else weights
    s = s.astype(np.longdouble)[:, None]
    x_mean, y_mean = (s * X).sum(0) / s.sum(), (s * y).sum(0) / s.sum()
    X, y = X - x_mean, y - y_mean
    return x_mean, y_mean, X.T @ (s * X), X.T @ (s * y), (s * y * y).sum(0)


def assert_moments(statistics, expected, rtol):
    x_mean, y_mean, sxx, sxy, syy = (np.asarray(value, dtype=float) for value in expected)
    # Relative to the columns' own spread: a mean or an off-diagonal moment may be near zero.
    x_size, y_size = np.sqrt(np.diagonal(sxx)), np.sqrt(syy)
    root = np.sqrt(statistics.weight)
    assert (root * np.abs(statistics.x_mean - x_mean) < rtol * x_size + 1e-15 * root).all()
    assert (root * np.abs(statistics.y_mean - y_mean) < rtol * y_size + 1e-15 * root).all()
    assert (np.abs(statistics.sxx - sxx) <= rtol * np.outer(x_size, x_size)).all()
    assert (np.abs(statistics.sxy - sxy) <= rtol * np.outer(x_size, y_size)).all()
    np.testing.assert_allclose(statistics.syy, syy, rtol=rtol)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6000, 7)) @ rng.normal(size=(7, 7))
    return X, X[:, :2] @ np.ones((2, 3)) + rng.normal(size=(6000, 3)), rng.random(6000)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("order", ["C", "F"])
def test_moments_are_accurate_whatever_the_offset(rows, weighted, offset, order):
    X, y, weights = rows
    X = np.asarray(X + offset, order=order)
    weights = weights if weighted else None
    assert_moments(from_rows(X, y, weights), reference(X, y, weights), rtol=1e-9)


def test_sorted_rows_and_a_jump_lose_nothing():
    X = np.sort(np.random.default_rng(0).normal(size=(20_000, 1)), axis=0) + 1e7
    X = np.hstack([X, np.repeat([[0.0], [1e6]], 10_000, axis=0)])
    y = X[:, 0] - 1e7
    assert_moments(from_rows(X, y), reference(X, y), rtol=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
def test_merged_parts_are_the_whole(rows, weighted):
    X, y, weights = rows
    X = X + 1e6
    cuts = [0, 1, 1, 17, 4000, 4001, 6000]
    parts = [
        from_rows(X[a:b], y[a:b], weights[a:b] if weighted else None) for a, b in pairwise(cuts)
    ]
    merged = merge(parts)
    assert merged.n_rows == 6000
    assert merged.n_chunks == len(parts)
    expected = reference(X, y, weights if weighted else None)
    assert_moments(merged, expected, rtol=1e-9)
    pairs = merge([merge(parts[:2]), merge([merge(parts[2:5]), parts[5]])])
    np.testing.assert_allclose(pairs.sxx, merged.sxx, rtol=0, atol=1e-11 * merged.sxx.max())


def test_a_constant_column_is_exactly_constant():
    X = np.full((10_000, 2), 0.1)
    X[:, 1] = np.arange(10_000)
    y = np.ones(10_000)
    merged = merge([from_rows(X[:3333], y[:3333]), from_rows(X[3333:], y[3333:])])
    assert (merged.sxx[0] == 0).all()
    assert (merged.syy == 0).all()
    assert merged.x_mean[0] == 0.1


def test_zero_weight_is_no_row(rows):
    X, y, weights = rows
    weights = np.where(np.arange(6000) % 3 == 0, 0.0, weights)
    kept = weights > 0
    assert_moments(from_rows(X, y, weights), reference(X[kept], y[kept], weights[kept]), 1e-10)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, sparse.csc_array])
@pytest.mark.parametrize("few", [False, True])
def test_rows_of_weight_zero_may_hold_anything(rows, container, few):
    """Also those among which a point near the means is looked for."""
    X, y, weights = rows
    kept = np.arange(6000) % 1501 == 7 if few else np.arange(6000) % 3 > 0
    X, y = X + 1e6, y + 1e6
    X[~kept], y[~kept] = -1e14, 1e15
    weights = np.where(kept, weights, 0.0)
    expected = reference(X[kept], y[kept], weights[kept])
    chunk = read(container(X), y, weights)
    assert_moments(statistics_of_chunk(chunk), expected, 1e-8)
    x_mean, y_mean, xx, xy, yy = (np.asarray(value, dtype=float) for value in expected)
    sizes = np.sqrt(np.outer(np.diagonal(xx), yy))
    by_kind = [read(container(X[which]), y[which], weights[which]) for which in (~kept, kept)]
    for chunks in ([chunk], by_kind):
        found = column_moments(chunks)
        np.testing.assert_allclose(found.x_mean, x_mean, rtol=1e-14)
        np.testing.assert_allclose(found.y_mean, y_mean, rtol=1e-14)
        np.testing.assert_allclose(found.xx, np.diagonal(xx), rtol=1e-8)
        np.testing.assert_allclose(found.yy, yy, rtol=1e-8)
        np.testing.assert_allclose(found.xy / sizes, xy / sizes, rtol=0, atol=1e-8)


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_rows_are_not_different(rows, container, weighted):
    X, y, weights = rows
    X = np.where(np.abs(X) > 2, X, 0.0)
    weights = weights if weighted else None
    assert_moments(from_rows(container(X), y, weights), reference(X, y, weights), rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, bool])
def test_other_types(rows, dtype):
    X, y, _ = rows
    X = (np.abs(X) * 10 if dtype is not bool else X > 0).astype(dtype)
    assert_moments(from_rows(X, y), reference(X, y), rtol=3e-6 if dtype == np.float32 else 1e-10)


def test_rows_without_rows(rows):
    X, y, _ = rows
    empty = from_rows(X[:0], y[:0])
    assert empty.n_rows == 0
    assert empty.weight == 0
    assert_moments(merge([empty, from_rows(X, y), empty]), reference(X, y), rtol=1e-10)


def test_a_defect_is_reported_with_its_row(rows):
    X, y, _ = rows
    bad = X.copy()
    bad[4321, 5] = np.inf
    parts = [from_rows(X[:1000], y[:1000]), from_rows(bad[1000:], y[1000:])]
    defect = merge([merge(parts[:1]), merge(parts[1:])]).defect
    assert defect.argument == "X"
    assert defect.problem == "contains infinity in column 5"
    assert (defect.row, defect.chunk) == (4321, 1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_chunk_is_never_copied(dtype):
    X = np.ones((200_000, 50), dtype=dtype)
    X[:, 0] = np.arange(200_000)
    y = np.ones(200_000)
    from_rows(X, y)
    tracemalloc.start()
    from_rows(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 10


def test_one_task_per_chunk_and_few_merges():
    X = da.ones((100_000, 5), chunks=(100, 5)) * 2
    y = da.zeros(100_000, chunks=100)
    of_blocks = np.split(np.arange(1000), 8)
    rows = Rows([part_of("X", X), part_of("y", y)], None)
    blocks = blocks_of(rows.each("statistics", statistics_of_chunk), of_blocks, merge)
    tasks = dict(blocks[0].dask)
    assert len(blocks) == 8
    # The chunks are made in the task that takes their statistics.
    assert sum(str(key[0]).startswith("lasso-statistics") for key in tasks) == 1000
    assert len(tasks) <= 1000 * 1.05


@LIBRARIES
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("far", [0, 1000])
def test_chunks_of_other_libraries(library, dtype, weighted, far, rows, monkeypatch):
    X, y, weights = rows
    X = (10 * X + far).astype(dtype)
    X[:, 1] = 3
    weights = weights if weighted else None
    library(X[:1])
    monkeypatch.setattr(_tiles, "DEVICE_ITEMS", 10_000)  # several tiles
    expected = from_rows(X, y, weights)
    statistics = from_rows(library(X), library(y), None if weights is None else library(weights))
    assert all(type(a) is type(b) for a, b in zip(statistics, expected, strict=True))
    size = np.sqrt(np.diagonal(expected.sxx))
    rtol = 1e-4 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(statistics.x_mean, expected.x_mean, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(statistics.sxx, expected.sxx, atol=rtol * np.outer(size, size).max())
    np.testing.assert_allclose(statistics.syy, expected.syy, rtol=rtol)
    assert statistics.sxx[1, 1] == 0


@LIBRARIES
def test_fit_on_chunks_of_other_libraries(library):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 6)), rng.normal(size=300)
    library(X[:1])
    dX, dy = da.from_array(X, chunks=(90, 6)), da.from_array(y, chunks=90)
    there = dX.map_blocks(library, dtype=float, meta=np.empty((0, 0)))
    for cv in (5, KFold(3, shuffle=True, random_state=0)):
        expected = AsyncLassoCV(cv=cv).fit(X, y)
        model = AsyncLassoCV(cv=cv).fit(there, dy)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(model.predict(there).compute(), model.predict(X))
    assert model.score(there, dy) == pytest.approx(model.score(X, y))
    bad = X.copy()
    bad[100, 2] = np.nan
    there = da.from_array(bad, chunks=(90, 6)).map_blocks(
        library, dtype=float, meta=np.empty((0, 0))
    )
    with pytest.raises(ValueError, match="NaN in column 2, row 100"):
        AsyncLassoCV().fit(there, dy)


@pytest.mark.parametrize("is_private", [True, False], ids=["SciPy's own", "in public"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_array])
def test_products_of_sparse_rows_are_added_where_the_sum_is(
    container, dtype, is_private, monkeypatch
):
    if not is_private:
        monkeypatch.setattr(_sparse_rows, "csc_matvec", None)
        monkeypatch.setattr(_sparse_rows, "csr_matvec", None)
    rng = np.random.default_rng(0)
    dense = (rng.normal(size=(40, 30)) * (rng.random((40, 30)) < 0.3)).astype(dtype)
    r = rng.normal(size=(40, 3))
    for values in (r[:, 0], r[:, [1]], r[:, ::2]):
        into = rng.normal(size=(30, *values.shape[1:]))
        for order in "CF":
            found = into.copy(order=order)
            add_product(container(dense), values, found)
            np.testing.assert_allclose(found, into + dense.T.astype(float) @ values, rtol=1e-12)


@pytest.mark.parametrize("n_often", [0, 5, 12])
@pytest.mark.parametrize("weighted", [False, True])
def test_gram_of_sparse_columns_of_all_kinds(n_often, weighted):
    rng = np.random.default_rng(0)
    n, k = 2000, 12
    share = np.where(np.arange(k) < n_often, 0.5, 0.02)
    dense = rng.normal(size=(n, k)) * (rng.random((n, k)) < share)
    weights = rng.uniform(size=n) * (rng.random(n) < 0.9) if weighted else None
    X = sparse.csr_array(dense)
    found = gram_of_sparse(X, weights, stored_often(X), np.zeros(X.shape[1]))
    expected = dense.T @ (dense if weights is None else weights[:, np.newaxis] * dense)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * expected.max())


def test_negative_weights_of_sparse_rows_are_a_defect_without_a_warning():
    X = sparse.csr_array(np.eye(40, 3) + 1)
    weights = np.ones(40)
    weights[7] = -1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        defect = statistics_of_chunk(read(X, np.arange(40.0), weights)).defect
    assert (defect.argument, defect.row) == ("sample_weight", 7)
