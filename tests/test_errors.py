"""Bad input: one clear error, no task left, and the estimator as it was."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pytest
from conftest import assert_nothing_left
from datasets import load
from distributed import Client
from scipy import sparse
from sklearn.model_selection import GridSearchCV

from dask_lasso import AsyncLassoCV, AsyncLassoRegressor, AsyncLogisticRegression, lasso_path
from dask_lasso.solvers import width

X, y, _, ALPHA = load("diabetes")
ENGINES = ["sync", "async", "batched"]


def put(array, value, *where):
    array = np.array(array)
    array[where] = value
    return array


def weights(value=1.0, row=None):
    result = np.ones(len(y))
    result[slice(None) if row is None else row] = value
    return result


# name -> (X, y, sample_weight, pattern in memory, pattern on dask)
DATA = {
    "NaN in X": (put(X, np.nan, 123, 4), y, None, r"X.*NaN.*column 4.*row 123\b"),
    "infinity in X": (put(X, np.inf, 0, 0), y, None, r"X.*infinity.*column 0.*row 0\b"),
    "NaN in y": (X, put(y, np.nan, 441), None, r"y.*NaN.*row 441\b"),
    "infinity in y": (X, put(y, -np.inf, 200), None, r"y.*infinity.*row 200\b"),
    "NaN in weights": (X, y, weights(np.nan, 150), r"sample_weight.*NaN"),
    "negative weight": (X, y, weights(-1.0, 150), r"sample_weight.*negative"),
    "no weight": (X, y, weights(0.0), r"(?i)sample.weight.*zero"),
    "weights in two columns": (X, y, np.ones((442, 2)), r"[Ss]ample.weight.*1D"),
    "y shorter": (X, y[:-1], None, r"inconsistent numbers of samples.*44[12]"),
    "weights longer": (X, y, np.ones(443), r"(?i)sample.weight.*44[23]"),
    "X of one dimension": (X[:, 0], y, None, r"Expected 2D array, got 1D array"),
    "X of three dimensions": (X[:, :, None], y, None, r"(dim 3|3D array)"),
    "y of three dimensions": (X, y[:, None, None], None, r"y.*(dim 3|1d or 2d)"),
    "y too large": (X, 1e200 * y, None, r"y contains values too large"),
    "X too large": (1e200 * X, y, None, r"X contains values too large"),
    "complex X": (X + 0j, y, None, r"^X has .*[Cc]omplex"),
    "complex y": (X, y + 0j, None, r"^y has .*[Cc]omplex"),
    "text in X": (X.astype("U"), np.array(y), None, None),
    "no rows": (X[:0], y[:0], None, r"0 sample\(s\)"),
    "no columns": (X[:, :0], y, None, r"0 feature\(s\)"),
    "too many columns": (np.zeros((3, 4001)), y[:3], None, r"4001"),
}
# Text that reads as numbers is numbers in memory, as in scikit-learn.
TEXT = DATA.pop("text in X")
WIDE = DATA.pop("too many columns")


def to_dask(array):
    if array is None:
        return None
    return da.from_array(array, chunks=(max(1, min(100, len(array))), *array.shape[1:]))


@pytest.fixture
def fitted(client):
    """An estimator with an earlier fit, which has to survive every failure."""
    return AsyncLassoRegressor(ALPHA).fit(X, y)


def assert_fails(model, *data, error=ValueError, match):
    before = dict(vars(model))
    with pytest.raises(error, match=match) as caught:
        model.fit(*data)
    after = vars(model)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert after[name] is value, name
    return caught.value


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("place", ["numpy", "dask", "cluster"])
def test_bad_data(name, place, fitted, client):
    *data, match = DATA[name]
    if place != "numpy":
        data = [to_dask(part) for part in data]
    fitted.set_params(client=client if place == "cluster" else None)
    assert_fails(fitted, *data, match=match)
    assert_nothing_left(client)
    assert_fails(AsyncLassoRegressor(client=fitted.client), *data, match=match)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("polish", [True, False])
def test_bad_value_in_any_engine(engine, polish, fitted, client):
    *data, match = DATA["NaN in X"]
    fitted.set_params(engine=engine, polish=polish, client=client)
    assert_fails(fitted, *data, match=match)
    assert_fails(fitted, *map(to_dask, data), match=match)


def test_bad_value_names_the_chunk_where_rows_are_not_counted(fitted, client):
    bad = to_dask(put(X, np.nan, 250, 3))
    bad = bad.map_blocks(np.asarray, chunks=((np.nan,) * 5, (10,)))
    fitted.set_params(client=client)
    assert_fails(fitted, bad, to_dask(y), match=r"X.*NaN.*column 3.*chunk 2\b")


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_array])
def test_bad_value_in_sparse_rows(kind, fitted):
    thin = np.where(np.abs(X) > 0.05, X, 0.0)
    thin[17, 2] = np.nan
    assert_fails(fitted, kind(thin), y, match=r"X.*NaN.*column 2.*row 17\b")


def test_lengths_of_chunks_of_unknown_size(fitted, client):
    def unknown(array, rows):
        chunked = da.from_array(array, chunks=(rows, *array.shape[1:]))
        sizes = ((np.nan,) * chunked.numblocks[0], *chunked.chunks[1:])
        return chunked.map_blocks(np.asarray, chunks=sizes)

    fitted.set_params(client=client)
    assert_fails(fitted, unknown(X, 100), unknown(y, 50), match=r"X has 5 chunks and y 9")
    shifted = unknown(y, (100, 100, 100, 99, 43))
    assert_fails(
        fitted, unknown(X, 100), shifted, match=r"y has (99|43) rows where X has (100|42), in chunk"
    )
    assert_fails(fitted, unknown(X, 100), y[:-1], match=r"inconsistent.*X has 442, y has 441")
    pytest.importorskip("dask.dataframe")
    of_others = da.from_array(y, chunks=((100, 100, 100, 90, 52),))
    other_chunks = r"y has (90|52) rows where X has (100|42), .* call X.compute_chunk_sizes"
    assert_fails(fitted, unknown(X, 100), of_others, match=other_chunks)
    frame = unknown(X, 100).to_dask_dataframe(columns=[f"x{i}" for i in range(10)])
    assert_fails(fitted, frame, of_others, match=r".*pass X.to_dask_array\(lengths=True\)")
    fitted.fit(frame.to_dask_array(lengths=True), of_others)  # which is the cure


def test_no_row_in_any_chunk(fitted, client):
    fitted.set_params(client=client)
    nothing = da.from_array(X, chunks=(100, 10))
    nothing = nothing[nothing[:, 0] > 1e9]
    target = da.from_array(y, chunks=100)
    target = target[target > 1e9]
    assert_fails(fitted, nothing, target, match=r"0 sample\(s\)")


def test_text(fitted):
    text = np.array([["a", "b"]] * 4, dtype=object)
    target = np.arange(4.0)
    assert_fails(fitted, text, target, match="could not convert string to float")
    assert_fails(
        fitted, da.from_array(text, chunks=2), target, match=r"X has dtype object.*Convert"
    )
    assert_fails(fitted, da.from_array(text.astype("U"), chunks=2), target, match=r"X has dtype")
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    frame = dd.from_pandas(pd.DataFrame({"good": target, "bad": list("abcd")}), npartitions=2)
    message = str(assert_fails(fitted, frame, frame["good"], match=r"X has columns.*'bad'"))
    assert "'good'" not in message


@pytest.mark.parametrize("data", [(X, None), (to_dask(X), None)])
def test_no_target(data, fitted):
    assert_fails(fitted, *data, match="requires y to be passed, but the target y is None")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", -1.0),
        ("alpha", np.nan),
        ("alpha", np.inf),
        ("alpha", "big"),
        ("alpha", None),
        ("engine", "fast"),
        ("engine", object()),
        ("tol", -1e-3),
        ("tol", np.nan),
        ("max_iter", 0),
        ("max_iter", 1.5),
        ("max_time", 0),
        ("max_time", np.nan),
        ("rho", 0.0),
        ("rho", "small"),
        ("over_relaxation", 2.0),
        ("over_relaxation", 0.0),
        ("n_blocks", 0),
        ("n_blocks", "many"),
        ("max_staleness", 0),
        ("polish", "no"),
        ("fit_intercept", None),
        ("positive", 2),
        ("random_state", "seed"),
    ],
)
@pytest.mark.parametrize("dask", [False, True])
def test_bad_parameter(name, value, dask, fitted):
    data = (to_dask(X), to_dask(y)) if dask else (X, y)
    assert_fails(fitted.set_params(**{name: value}), *data, match=f"'{name}' parameter|{name}")


@pytest.mark.parametrize("rows", [X[:, :-1], to_dask(X[:, :-1]), sparse.csr_array(X[:, :-1])])
def test_wrong_number_of_features_in_predict(rows, fitted):
    with pytest.raises(ValueError, match=r"9 features, but AsyncLassoRegressor.* 10 features"):
        fitted.predict(rows)
    with pytest.raises(ValueError, match=r"9 features, but AsyncLassoRegressor.* 10 features"):
        fitted.score(rows, y if not isinstance(rows, da.Array) else to_dask(y))


def test_predict_before_fit():
    from sklearn.exceptions import NotFittedError

    for rows, target in ((X, y), (to_dask(X), to_dask(y))):
        with pytest.raises(NotFittedError):
            AsyncLassoRegressor().predict(rows)
        with pytest.raises(NotFittedError):
            AsyncLassoRegressor().score(rows, target)


def test_closed_client(fitted, cluster):
    closed = Client(cluster, set_as_default=False)
    closed.close()
    fitted.set_params(client=closed)
    assert_fails(fitted, to_dask(X), to_dask(y), match="client is closed: pass a running")
    fitted.fit(X, y)  # rows in memory need no Client


@pytest.mark.parametrize("client_", ["tcp://127.0.0.1:8786", 3])
def test_something_else_as_a_client(client_, fitted):
    fitted.set_params(client=client_)
    data = to_dask(X), to_dask(y)
    assert_fails(fitted, *data, error=TypeError, match=r"client must be a distributed\.Client")


class Unreadable(Exception):
    """The user's own exception."""


def unreadable(chunk, block_info=None):
    if block_info[0]["chunk-location"][0] == 2:
        raise Unreadable("the disk is full of bees")
    return chunk


@pytest.mark.parametrize("place", ["dask", "cluster"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("polish", [True, False])
def test_failing_chunk(engine, polish, place, fitted, client):
    bad = to_dask(X).map_blocks(unreadable, dtype=float, meta=np.empty((0, 0)))
    where = client if place == "cluster" else None
    fitted.set_params(engine=engine, polish=polish, client=where)
    assert_fails(fitted, bad, to_dask(y), error=Unreadable, match="full of bees")
    with client.as_current(), pytest.raises(Unreadable, match="full of bees"):
        fitted.score(bad, to_dask(y))


class Careless:
    """An engine with a defect."""

    def run(self, run):
        run.absorb(next(iter(run.completed())))
        raise LookupError("a defect of the engine")


@pytest.mark.parametrize("place", ["numpy", "dask", "cluster"])
def test_failing_engine(place, fitted, client):
    fitted.set_params(engine=Careless(), client=client if place == "cluster" else None)
    data = (X, y) if place == "numpy" else (to_dask(X), to_dask(y))
    assert_fails(fitted, *data, error=LookupError, match="a defect of the engine")


def test_warm_start_with_other_columns(fitted):
    fitted.set_params(warm_start=True)
    assert_fails(fitted, X[:, :5], y, match=r"warm_start=True.*10 features and X has 5")


WARNED = {
    "no penalty": lambda X, y: AsyncLassoRegressor(0.0).fit(X, y),
    "too few iterations": lambda X, y: AsyncLassoRegressor(
        ALPHA, polish=False, tol=1e-9, max_iter=1
    ).fit(X, y),
    "in a search": lambda X, y: GridSearchCV(
        AsyncLassoRegressor(polish=False, tol=1e-9, max_iter=1), {"alpha": [ALPHA]}, cv=2
    ).fit(X, y),
    "a column for y": lambda X, y: AsyncLassoCV(alphas=3).fit(X, y[:, np.newaxis]),
    "rows read again": lambda X, y: AsyncLassoCV(alphas=3, cv=2).fit(
        da.from_array(WIDE, chunks=(40, -1)).map_blocks(np.copy), da.from_array(y[:80], chunks=40)
    ),
}
WIDE = np.random.default_rng(0).normal(size=(80, 2500))


@pytest.mark.parametrize("name", WARNED)
def test_warnings_name_the_users_line(name):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        WARNED[name](X, np.asarray(y))
    assert {warning.filename for warning in found} == {__file__}


def path_of(X, y, **settings):
    return lasso_path(X, y, alphas=[0.1], **settings)


def columns_of_chunks(X, y, **settings):
    X = da.from_array(X, chunks=(100, 3))
    return AsyncLassoRegressor(ALPHA, **settings).fit(X, to_dask(y))


def batches(X, y, **settings):
    model = AsyncLassoRegressor(ALPHA, **settings)
    for rows in np.array_split(np.arange(len(y)), 3):
        model.partial_fit(X[rows], y[rows])
    return model


def of_loss(loss):
    return lambda X, y, **settings: AsyncLassoRegressor(ALPHA, loss=loss, **settings).fit(X, y)


# Name -> what is fitted, without an intercept or with one.
FITS = {
    "rows": of_loss("squared"),
    "chunks": lambda X, y, **settings: of_loss("squared")(to_dask(X), to_dask(y), **settings),
    "column chunks": columns_of_chunks,
    "sparse": lambda X, y, **settings: of_loss("squared")(sparse.csr_array(X), y, **settings),
    "batches": batches,
    "ADMM": lambda *data, **of: AsyncLassoRegressor(ALPHA, polish=False, **of).fit(*data),
    "path": path_of,
    "folds": lambda *data, **of: AsyncLassoCV(alphas=[0.1, 0.01], cv=3, **of).fit(*data),
    "huber": of_loss("huber"),
    "poisson": lambda X, y, **of: of_loss("poisson")(X, np.abs(y), **of),
    "classes": lambda X, y, **of: AsyncLogisticRegression(0.01, **of).fit(X, np.digitize(y, [100])),
}


@pytest.mark.parametrize("are_many", [False, True], ids=["few", "many"])
@pytest.mark.parametrize("name", FITS)
def test_a_mean_that_is_too_large_for_its_square(name, are_many, monkeypatch):
    """What is about the means may be small: without an intercept they count as well."""
    if are_many:
        monkeypatch.setattr(width, "MAX_GRAM", 9)
    too_large = r"^Input X contains values too large for their squares to be summed(:.*column 3|,)"
    for column in (1e159 * (1 + 1e-10 * X[:, 3]), np.full(len(y), 1e159)):
        data = put(X, column, slice(None), 3)
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            with pytest.raises(ValueError, match=too_large):
                FITS[name](data, y, fit_intercept=False)
    FITS[name](put(X, 100.0, slice(None), 3), y, fit_intercept=False)  # which is the cure


@pytest.mark.parametrize("are_many", [False, True], ids=["few", "many"])
@pytest.mark.parametrize("name", ["rows", "chunks", "sparse", "batches", "ADMM", "path", "folds"])
def test_a_mean_of_y_that_is_too_large_for_its_square(name, are_many, monkeypatch):
    if are_many:
        monkeypatch.setattr(width, "MAX_GRAM", 9)
    match = r"^Input y contains values too large for their squares to be summed: pass y in larger"
    with pytest.raises(ValueError, match=match):
        FITS[name](X, np.full(len(y), 1e159), fit_intercept=False)


@pytest.mark.parametrize("are_many", [False, True], ids=["few", "many"])
@pytest.mark.parametrize("name", ["rows", "chunks", "column chunks", "batches", "path", "folds"])
def test_an_intercept_takes_a_mean_of_any_size(name, are_many, monkeypatch):
    if are_many:
        monkeypatch.setattr(width, "MAX_GRAM", 9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FITS[name](put(X, 1e159, slice(None), 3), y, fit_intercept=True)


@pytest.mark.parametrize("are_many", [False, True], ids=["few", "many"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_chunks_whose_means_are_too_far_apart(fit_intercept, are_many, monkeypatch):
    if are_many:
        monkeypatch.setattr(width, "MAX_GRAM", 9)
    data = put(X, np.where(np.arange(len(y)) < 100, 1e159, -1e159), slice(None), 3)
    with pytest.raises(ValueError, match=r"X contains values too large.*column 3"):
        FITS["chunks"](data, y, fit_intercept=fit_intercept)


@pytest.mark.parametrize("which", ["X", "y"])
@pytest.mark.filterwarnings("error")
def test_statistics_of_a_mean_of_any_size_are_not_damaged(which):
    data = (put(X, 1e159, slice(None), 3), y) if which == "X" else (X, np.full(len(y), 1e159))
    model = AsyncLassoRegressor(ALPHA).partial_fit(*data)
    again = AsyncLassoRegressor(ALPHA).fit_statistics(model.statistics_)
    np.testing.assert_array_equal(again.coef_, model.coef_)
    model.forget(*(of[:50] for of in data))
    without = AsyncLassoRegressor(ALPHA, fit_intercept=False)
    with pytest.raises(ValueError, match=f"^Input {which} contains values too large"):
        without.fit_statistics(model.statistics_)
