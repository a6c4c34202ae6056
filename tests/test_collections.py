"""Every collection that rows come in, through every door: the answer of plain NumPy."""

from __future__ import annotations

import decimal
import warnings

import dask
import dask.array as da
import dask.bag
import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Lasso

from dask_lasso import (
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    lasso_path,
    reuse_statistics,
)
from dask_lasso.rows import chunk as _chunk
from dask_lasso.solvers import width as _wide

pd = pytest.importorskip("pandas")
dd = pytest.importorskip("dask.dataframe")

N, K, ALPHA = 120, 6, 0.05
NAMES = [f"column {i}" for i in range(K)]
SIZES = (50, 30, 0, 40)


def _rows():
    # Small integers, so that every dtype holds them; mostly zero, one column far from it.
    rng = np.random.default_rng(0)
    X = np.where(rng.random((N, K)) < 0.4, rng.integers(1, 100, (N, K)), 0).astype(np.float64)
    X[:, 5] += 20
    y = np.round(X @ [3.0, -2.0, 0.0, 0.0, 1.0, 0.5] / 50 + rng.normal(size=N), 2)
    return X, y, rng.integers(1, 4, N).astype(np.float64)


X, y, W = _rows()


def odd(array):
    """The same values where no value lies at a multiple of its size."""
    raw = np.empty(array.nbytes + 1, dtype=np.uint8)
    moved = raw[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unsorted(array):
    """CSR with the columns of each row backwards, and the first entry in two parts."""
    made = sparse.csr_array(array)
    data, indices = made.data.copy(), made.indices.copy()
    for start, stop in zip(made.indptr[:-1], made.indptr[1:], strict=True):
        data[start:stop] = data[start:stop][::-1]
        indices[start:stop] = indices[start:stop][::-1]
    if len(data):
        data, indices = np.r_[data[0] / 2, data[0] / 2, data[1:]], np.r_[indices[0], indices]
    indptr = made.indptr + np.r_[0, np.full(len(made.indptr) - 1, len(data) > 0)]
    return sparse.csr_array((data, indices, indptr), shape=array.shape)


def long_indices(array):
    made = sparse.csr_array(array)
    made.indptr, made.indices = made.indptr.astype(np.int64), made.indices.astype(np.int64)
    return made


def pydata(name):
    def convert(array):
        return getattr(pytest.importorskip("sparse"), name).from_numpy(np.asarray(array))

    return convert


def xarray(array):
    return pytest.importorskip("xarray").DataArray(array)


def frame(array):
    if array.ndim == 1:
        return pd.Series(array)
    return pd.DataFrame(array, columns=NAMES)


def arrow_decimal(array):
    pa = pytest.importorskip("pyarrow")
    return frame(array.round(2)).astype(pd.ArrowDtype(pa.decimal128(30, 2)))


def python_decimal(array):
    return frame(array).map(lambda value: decimal.Decimal(str(value)))


def polars(array):
    pl = pytest.importorskip("polars")
    return pl.Series(array) if array.ndim == 1 else pl.DataFrame(array, schema=NAMES)


def arrow(array):
    pa = pytest.importorskip("pyarrow")
    return pa.array(array) if array.ndim == 1 else pa.Table.from_pandas(frame(array))


def some_sparse(array):
    made = frame(array)
    return made.astype({name: pd.SparseDtype(float, 0.0) for name in NAMES[:4]})


def only_X(convert):
    return lambda array: convert(array) if array.ndim == 2 else array


# name -> what makes it of an array of float64. Used in memory and as the blocks of a dask array.
ARRAYS = {
    "big-endian": lambda a: a.astype(">f8"),
    "unaligned": odd,
    "unaligned big-endian": lambda a: odd(a.astype(">f8")),
    "Fortran": np.asfortranarray,
    "negative strides": lambda a: a[::-1].copy()[::-1],
    "every other column": only_X(lambda a: np.repeat(a, 2, axis=1)[:, ::2]),
    "read-only": read_only,
    "longdouble": lambda a: a.astype(np.longdouble),
    "object": lambda a: a.astype(object),
    "masked, nothing under the mask": np.ma.masked_array,
    "float16": only_X(lambda a: a.astype(np.float16)),
    "int8": only_X(lambda a: a.astype(np.int8)),
    "uint8": only_X(lambda a: a.astype(np.uint8)),
    "big-endian int": only_X(lambda a: a.astype(">i4")),
    "csr unsorted, with duplicates": only_X(unsorted),
    "csr, indices of 64 bits": only_X(long_indices),
    "csr int8": only_X(lambda a: sparse.csr_array(a.astype(np.int8))),
    "csc int8": only_X(lambda a: sparse.csc_matrix(a.astype(np.int8))),
    "csr longdouble": only_X(lambda a: sparse.csr_array(a.astype(np.longdouble))),
    **{
        kind: only_X(getattr(sparse, kind))
        for kind in (
            *("bsr_array", "coo_array", "csc_array", "csr_array", "dia_array", "dok_array"),
            *("lil_array", "coo_matrix", "csc_matrix", "csr_matrix"),
        )
    },
    "COO": pydata("COO"),
    "COO int8": only_X(lambda a: pydata("COO")(a.astype(np.int8))),
    "GCXS": pydata("GCXS"),
    "DOK": pydata("DOK"),
}
# The same, also as the partitions of a dask DataFrame where that can be.
FRAMES = {
    "pandas": frame,
    "nullable": lambda a: frame(a).astype("Float64"),
    "nullable integers": only_X(lambda a: frame(a).astype("Int64")),
    "Arrow-backed": lambda a: frame(a).astype("float64[pyarrow]"),
    "Arrow-backed integers": lambda a: (
        frame(a).astype("int64[pyarrow]") if a.ndim == 2 else frame(a)
    ),
    "Arrow's decimals": arrow_decimal,
    "sparse columns": only_X(lambda a: frame(a).astype(pd.SparseDtype(float, 0.0))),
    "sparse integers": only_X(lambda a: frame(a).astype(pd.SparseDtype(int, 0))),
    "some sparse columns": only_X(some_sparse),
}
TABLES = {"decimals": python_decimal, "polars": polars, "Arrow": arrow, "xarray": xarray}


def as_blocks(convert):
    """A dask array that has such blocks, one of them empty."""

    def make(array):
        chunks = (SIZES, *array.shape[1:])
        meta = np.empty((0,) * array.ndim)
        return da.from_array(array, chunks=chunks).map_blocks(convert, dtype=float, meta=meta)

    return make


def as_partitions(convert):
    def make(array):
        made = convert(array)
        if not hasattr(made, "iloc"):
            return da.from_array(array, chunks=40)
        whole = dd.from_pandas(made, npartitions=3, sort=False)
        # The index goes on over the partitions, and one of them is empty.
        return dd.concat([whole.partitions[0], whole.partitions[1:].loc[:-1], whole.partitions[1:]])

    return make


def chunked_xarray(array):
    return xarray(array).chunk({"dim_0": 40})


COLLECTIONS = {**ARRAYS, **FRAMES, **TABLES}
INPUTS = {
    **{f"{name}, in memory": make for name, make in COLLECTIONS.items()},
    **{f"{name}, blocks": as_blocks(make) for name, make in COLLECTIONS.items()},
    **{f"{name}, dask frame": as_partitions(make) for name, make in FRAMES.items()},
    "xarray of dask": chunked_xarray,
}


def tall(*rows):
    return AsyncLassoRegressor(ALPHA).fit(*rows)


def many_columns(*rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_wide, "MAX_GRAM", 3)
        model = AsyncLassoRegressor(ALPHA, tol=1e-14).fit(*rows)
    assert not hasattr(model, "statistics_")
    return model


def raw_rows(*rows):
    return AsyncLassoRegressor(ALPHA, loss="huber", tol=1e-12, n_blocks=1).fit(*rows)


def cross_validation(*rows):
    return AsyncLassoCV(alphas=4, cv=3).fit(*rows)


def of_many_columns(*rows):
    """Cross-validation of many columns, where the sizes of the chunks are known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_wide, "MAX_MOMENTS", 3)
        return AsyncLassoCV(alphas=[1.0, 0.1], cv=3, tol=1e-12).fit(*rows)


def in_batches(*rows):
    return AsyncLassoRegressor(ALPHA).partial_fit(*rows).partial_fit(*rows)


# All read a chunk with one and the same function, so that two of the others tell what there is.
FIRST = [tall]
OTHERS = [many_columns, raw_rows, cross_validation, of_many_columns, in_batches]
_expected = {}


def expected(route):
    if route not in _expected:
        _expected[route] = route(X, y, W)
    return _expected[route]


def of_unknown_size(rows):
    return dask.is_dask_collection(rows) and np.isnan(getattr(rows, "shape", [np.nan])[0])


@pytest.mark.filterwarnings("ignore:X has .* columns, so fit reads:UserWarning")
@pytest.mark.parametrize(
    ("name", "routes"),
    [
        *(pytest.param(name, FIRST, id=f"{name}-first") for name in INPUTS),
        *(
            pytest.param(name, OTHERS[i % 3 :: 3], id=f"{name}-others", marks=pytest.mark.slow)
            for i, name in enumerate(INPUTS)
        ),
    ],
)
def test_every_collection_on_every_route(name, routes, client):
    rows = [INPUTS[name](array) for array in (X, y, W)]
    with client.as_current():
        for route in routes:
            if route is of_many_columns and not isinstance(rows[0], da.Array | np.ndarray):
                continue  # folds need the number of rows: of the same readers, those are enough
            model = route(*rows)
            wanted = expected(route)
            scale = np.abs(wanted.coef_).max()
            error = np.abs(model.coef_ - wanted.coef_).max() / scale
            # Raw rows are fitted until the gap is small; the others end with a linear system.
            assert error <= (1e-6 if route is raw_rows else 1e-8), route.__name__
            assert model.coef_.dtype == np.float64
            assert model.n_samples_seen_ == wanted.n_samples_seen_
        model = expected(tall)
        if routes is not FIRST:
            assert model.score(*rows[:2]) == pytest.approx(model.score(X, y), rel=1e-8)
            with reuse_statistics():
                assert model.score(*rows) == pytest.approx(model.score(X, y, W), rel=1e-8)
            return
        predicted = model.predict(rows[0])
        if dask.is_dask_collection(predicted):
            predicted = predicted.compute()
        np.testing.assert_allclose(predicted, model.predict(X), rtol=1e-8)
        assert predicted.dtype == np.float64
        assert model.score(*rows) == pytest.approx(model.score(X, y, W), rel=1e-8)


def test_the_plain_answer_is_that_of_scikit_learn():
    lasso = Lasso(ALPHA, tol=1e-12, max_iter=100_000).fit(X, y, W)
    np.testing.assert_allclose(expected(tall).coef_, lasso.coef_, atol=1e-7)


# -- what cannot be read -------------------------------------------------------------------


def hidden(array, row=70):
    mask = np.zeros(array.shape, dtype=bool)
    mask[(row,) if array.ndim == 1 else (row, 2)] = True
    return np.ma.masked_array(array, mask)


def masked(which):
    def make(lazily):
        rows = [X, y, W]
        rows[which] = hidden(rows[which])
        if not lazily:
            return rows
        return [da.from_array(a, chunks=(SIZES, *a.shape[1:]), asarray=False) for a in rows]

    return make


def of_widths(which, widths):
    """Chunks of 40 rows that have other columns than they are declared to have."""

    def make(lazily):
        rows = [da.from_array(array, chunks=(40, *array.shape[1:])) for array in (X, y, W)]
        array = rows[which]
        wide = [
            da.from_delayed(dask.delayed(np.ones)((40, width)), array.blocks[i].shape, float)
            for i, width in enumerate(widths)
        ]
        rows[which] = da.concatenate(wide)
        return rows

    return make


def of_names(names, target_names=("y", "z")):
    """Frames whose second partition has such columns."""

    def make(lazily):
        parts = [pd.DataFrame(X[i : i + 40], columns=NAMES) for i in (0, 40, 80)]
        parts[1] = parts[1].set_axis(names[: parts[1].shape[1]], axis=1)
        return [frame_of(parts), da.from_array(y, chunks=40), da.from_array(W, chunks=40)]

    return make


def frame_of(parts):
    """A dask DataFrame of pandas' as they are, said to be as the first."""
    return dd.from_map(lambda i: parts[i], range(len(parts)), meta=parts[0], enforce_metadata=False)


# name -> what makes X, y and the weights; what the error says in memory and on dask
UNREADABLE = {
    "masked X": (masked(0), r"X contains masked values in column 2 \(1 row\).*row [27]0\b"),
    "masked y": (masked(1), r"y contains masked values \(1 row\).*row 70\b"),
    "masked weights": (masked(2), r"sample_weight contains masked values \(1 row\).*row 70\b"),
    "a wide chunk": (of_widths(0, [6, 6, 7]), r"X has 7 columns where 6 were declared.*chunk 2\b"),
    "wide chunks": (of_widths(0, [7, 7, 7]), r"X has 7 columns where 6 were declared.*chunk \d\b"),
    "a narrow chunk": (of_widths(0, [6, 1, 6]), r"X has 1 column where 6 were declared.*chunk 1\b"),
    "a chunk of targets": (of_widths(1, [1, 2, 1]), r"y has 2 columns where 1 was.*chunk 1\b"),
    "chunks of targets": (of_widths(1, [2, 2, 2]), r"y has 2 columns where 1 was.*chunk \d\b"),
    "a chunk of weights": (of_widths(2, [1, 1, 2]), r"sample_weight has 2 columns.*chunk 2\b"),
    "other names": (
        of_names([*NAMES[:5], "else"]),
        r"X has columns that were not declared: 'else' and not 'column 5'.*chunk 1\b",
    ),
}


@pytest.mark.filterwarnings("ignore:X has .* columns, so fit reads:UserWarning")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[pytest.mark.slow] * (name in ("wide chunks", "chunks of targets"))
        )
        for name in UNREADABLE
    ],
)
def test_what_cannot_be_read_is_one_error_on_every_route(name, client):
    make, match = UNREADABLE[name]
    model = expected(tall)
    for lazily in (False, True) if name.startswith("masked") else (True,):
        rows = make(lazily)
        with client.as_current():
            for route in (*FIRST, *OTHERS, model.score):
                if route is of_many_columns and name == "other names":
                    continue  # needs the number of rows
                with pytest.raises(ValueError, match=match):
                    route(*rows)
            with reuse_statistics(), pytest.raises(ValueError, match=match):
                model.score(*rows)
            if "X has" in match or name == "masked X":
                with pytest.raises(ValueError, match=match):
                    np.asarray(model.predict(rows[0]))


@pytest.mark.parametrize("kind", ["array", "frame"])
def test_columns_are_taken_by_name(kind, client):
    parts = [pd.DataFrame(X[i : i + 40], columns=NAMES) for i in (0, 40, 80)]
    parts[1] = parts[1][NAMES[::-1]]
    targets = [pd.DataFrame({"a": y[i : i + 40], "b": -y[i : i + 40]}) for i in (0, 40, 80)]
    targets[2] = targets[2][["b", "a"]]
    mixed, both = frame_of(parts), frame_of(targets)
    if kind == "array":
        both = da.from_array(np.c_[y, -y], chunks=(40, 2))
    with client.as_current():
        for route in (tall, many_columns, in_batches):
            model = route(mixed, both)
            wanted = route(X, np.c_[y, -y])
            scale = np.abs(wanted.coef_).max()
            np.testing.assert_allclose(model.coef_, wanted.coef_, rtol=0, atol=1e-8 * scale)
        assert model.score(mixed, both) == pytest.approx(wanted.score(X, np.c_[y, -y]))
        predicted = model.predict(mixed).compute()
        np.testing.assert_allclose(predicted, wanted.predict(X), rtol=1e-8)
        assert list(predicted.columns) == (["a", "b"] if kind == "frame" else [0, 1])


NO_ROWS = {
    "LazyFrame": lambda: (pytest.importorskip("polars").LazyFrame({"a": [1.0]}), r"X\.collect\(\)"),
    "Delayed": lambda: (dask.delayed(np.ones)((3, 2)), r"from_delayed\(X, shape, dtype\)"),
    "Bag": lambda: (
        pytest.importorskip("dask.bag").from_sequence([{"a": 1}]),
        r"X\.to_dataframe\(\)",
    ),
    "Dataset": lambda: (
        pytest.importorskip("xarray").Dataset({"a": ("x", [1.0])}),
        r"X\.to_dataarray\(\)",
    ),
}


@pytest.mark.parametrize("name", NO_ROWS)
def test_what_is_not_rows_yet(name):
    values, match = NO_ROWS[name]()
    for call in (
        lambda: AsyncLassoRegressor().fit(values, [1.0]),
        lambda: AsyncLassoCV().fit(values, [1.0]),
        lambda: expected(tall).predict(values),
        lambda: expected(tall).score(values, y),
        lambda: lasso_path(values, [1.0]),
    ):
        with pytest.raises(TypeError, match=match):
            call()
    for call in (AsyncLassoRegressor().fit, expected(tall).score):
        with pytest.raises(TypeError, match=match.replace("X", "y")):
            call(X, values)
        with pytest.raises(TypeError, match=match.replace("X", "sample_weight")):
            call(X, y, values)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("first", ["dense", "sparse"])
def test_dense_and_sparse_blocks_together(axis, first, client):
    if (axis, first) == (1, "dense") and dask.__version__ < "2025.2":
        pytest.skip("dask 2025.1 joins a sparse block to dense columns as if it were dense")

    def make(block, block_id):
        is_first = block_id[axis] < (2 if axis == 0 else 1)
        return block if is_first == (first == "dense") else sparse.csr_array(block)

    meta = np.empty((0, 0)) if first == "dense" else sparse.csr_array((0, 0))
    mixed = da.from_array(X, chunks=(40, (2, K - 2) if axis else K))
    mixed = mixed.map_blocks(make, dtype=float, meta=meta)
    rows = mixed, da.from_array(y, chunks=40), da.from_array(W, chunks=40)
    with client.as_current():
        for route in (tall, many_columns, in_batches):
            scale = np.abs(expected(route).coef_).max()
            error = np.abs(route(*rows).coef_ - expected(route).coef_).max()
            assert error <= 1e-8 * scale, route.__name__
        np.testing.assert_allclose(expected(tall).predict(mixed), expected(tall).predict(X))


def test_what_is_numbers_already_is_not_copied(tmp_path):
    mapped = np.memmap(tmp_path / "rows", dtype=np.float64, mode="w+", shape=X.shape)
    mapped[...] = X
    for values in (X, X[::-1], odd(X), mapped, np.ma.masked_array(X), X.astype(np.int8)):
        assert np.shares_memory(_chunk.numbers("X", values), values)
    whole = frame(X)
    assert np.shares_memory(_chunk.numbers("X", whole), whole.iloc[:, 0].to_numpy())
    for values in (sparse.csr_array(X), sparse.csc_matrix(X)):
        assert np.shares_memory(_chunk.numbers("X", values).data, values.data)
    backwards = unsorted(X)
    indices = backwards.indices.copy()
    AsyncLassoRegressor(ALPHA).fit(backwards, y)
    np.testing.assert_array_equal(backwards.indices, indices)  # the user's is as it was


LAZY = {
    "rows": (300, (100, -1)),
    "columns": (2100, (100, 700)),
    "frame": (5, (100, -1)),
}


@pytest.mark.parametrize("has_client", [False, True])
@pytest.mark.parametrize("name", LAZY)
def test_what_was_persisted_is_not_told_to_be(name, has_client, thread_workers):
    """The advice is followed as it stands, with a Client or without."""
    k, chunks = LAZY[name]
    rows = np.random.default_rng(0).normal(size=(300, k))
    X = da.from_array(rows, chunks=chunks).map_blocks(lambda block: block + 0, dtype=float)
    y = da.from_array(np.where(rows[:, 0] > 0, "a", "b"), chunks=100)
    if name == "frame":
        X = X.to_dask_dataframe(columns=list("abcde"))
    model = AsyncLogisticRegression(0.1, client=thread_workers if has_client else None)
    told = r"X = X.persist\(\)"
    with pytest.warns(UserWarning, match=told):
        model.fit(X, y)
    X = thread_workers.persist(X) if has_client else X.persist(scheduler="threads")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", f".*{told}")
        model.fit(X, y)
