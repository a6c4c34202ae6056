"""Predictions that go back into the frame, and scores that say what is wrong, on dask."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.feature_selection import SelectFromModel
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.multioutput import MultiOutputRegressor

from dask_lasso import AsyncLassoCV, AsyncLassoRegressor, reuse_statistics

pd = pytest.importorskip("pandas")
dd = pytest.importorskip("dask.dataframe")

N, NAMES, ALPHA = 200, ["a", "b", "c"], 0.01


def table():
    rng = np.random.default_rng(0)
    made = pd.DataFrame(rng.normal(size=(N, 3)), columns=NAMES)
    made["y"] = made.a - 2 * made.b + 0.3 * rng.normal(size=N)
    made["z"] = made.c + 0.3 * rng.normal(size=N)
    return made


TABLE = table()
MODEL = AsyncLassoRegressor(ALPHA).fit(TABLE[NAMES], TABLE.y)
TWO = AsyncLassoRegressor(ALPHA).fit(TABLE[NAMES], TABLE[["y", "z"]])


def lazy(frame=TABLE):
    return dd.from_pandas(frame, npartitions=4, sort=False)


def parquet(index, filesystem):
    def make(tmp_path):
        lazy().to_parquet(str(tmp_path / "data"), write_index=index)
        return dd.read_parquet(str(tmp_path / "data"), filesystem=filesystem)

    return make


FRAMES = {
    "lazy": lambda tmp_path: lazy(),
    "divisions": lambda tmp_path: dd.from_pandas(TABLE, npartitions=4),
    "filtered": lambda tmp_path: lazy()[lazy().a > 0.5],
    "empty partitions": lambda tmp_path: lazy(TABLE.sort_values("a")).query("a > 1.2"),
    "text index": lambda tmp_path: lazy(TABLE.set_index(pd.Index([f"row {i}" for i in range(N)]))),
    "duplicates in the index": lambda tmp_path: lazy(TABLE.set_index(pd.Index([7] * N))),
    "persisted": lambda tmp_path: lazy().persist(scheduler="threads"),
    **{
        f"Parquet, index {index}, {filesystem}": parquet(index, filesystem)
        for index in (True, False)
        for filesystem in ("fsspec", "arrow")
    },
}


@pytest.mark.parametrize("name", FRAMES)
def test_predictions_go_back_into_the_frame(name, tmp_path):
    frame = FRAMES[name](tmp_path)
    predicted = MODEL.predict(frame[NAMES])
    assert isinstance(predicted, dd.Series)
    assert predicted.npartitions == frame[NAMES].npartitions
    assert predicted.divisions == frame[NAMES].divisions
    frame["predicted"] = predicted
    frame[["p", "q"]] = TWO.predict(frame[NAMES])
    found = frame.compute(scheduler="sync")
    assert len(found)
    np.testing.assert_allclose(found["predicted"], MODEL.predict(found[NAMES]), rtol=1e-12)
    np.testing.assert_allclose(found[["p", "q"]], TWO.predict(found[NAMES]), rtol=1e-12)
    alone = predicted.compute(scheduler="sync")
    pd.testing.assert_index_equal(alone.index, found.index)
    assert alone.dtype == predicted.dtype == np.float64


def test_predictions_are_named_after_the_target():
    assert MODEL.predict(lazy()[NAMES]).name == "y"
    two = TWO.predict(lazy()[NAMES])
    assert list(two.columns) == list(two.compute(scheduler="sync").columns) == ["y", "z"]
    # Also of a dask frame's target, one that has no name, and statistics alone.
    assert (
        AsyncLassoCV(alphas=3, cv=2).fit(lazy()[NAMES], lazy().y).predict(lazy()[NAMES]).name == "y"
    )
    assert (
        AsyncLassoRegressor().fit(TABLE[NAMES], TABLE.y.to_numpy()).predict(lazy()[NAMES]).name
        is None
    )
    again = AsyncLassoRegressor().fit(TABLE[NAMES], TABLE.y).fit_statistics(TWO.statistics_)
    assert list(again.predict(lazy()[NAMES]).columns) == [0, 1]


def test_predict_of_partitions_one_of_them_empty():
    frame = FRAMES["empty partitions"](None)
    assert 0 in frame.map_partitions(len).compute(scheduler="sync").tolist()
    found = frame[NAMES].map_partitions(MODEL.predict, meta=np.empty(0)).compute(scheduler="sync")
    np.testing.assert_allclose(found, MODEL.predict(frame[NAMES].compute(scheduler="sync")))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int64])
@pytest.mark.parametrize("fitted", [np.float32, np.float64])
def test_predictions_have_the_declared_dtype(dtype, fitted):
    rows = np.arange(12).reshape(4, 3).astype(dtype)
    model = AsyncLassoRegressor(ALPHA).fit(TABLE[NAMES].to_numpy().astype(fitted), TABLE.y)
    expected = model.predict(rows)
    lazily = model.predict(da.from_array(rows, chunks=(2, 3)))
    assert lazily.dtype == lazily.compute(scheduler="sync").dtype == expected.dtype
    np.testing.assert_allclose(lazily, expected, rtol=1e-6 if dtype == np.float32 else 1e-12)
    series = model.predict(lazy(pd.DataFrame(rows, columns=NAMES)))
    assert series.dtype == series.compute(scheduler="sync").dtype == expected.dtype


# -- score --------------------------------------------------------------------------------

X, y = TABLE[NAMES].to_numpy(), TABLE.y.to_numpy()


def put(array, value, *where):
    array = np.array(array, dtype=float)
    array[where] = value
    return array


ONES = np.ones(N)
BAD = {
    "NaN in X": ((put(X, np.nan, 177, 2), y), r"X contains NaN in column 2.*row 177\b"),
    "infinity in X": ((put(X, np.inf, 177, 2), y), r"X contains infinity in column 2.*row 177\b"),
    "too large": ((put(X, 1e200, 177), y), r"X contains values too large.*row 177\b"),
    "NaN in y": ((X, put(y, np.nan, 177)), r"y contains NaN.*row 177\b"),
    "infinity in y": ((X, put(y, np.inf, 177)), r"y contains infinity.*row 177\b"),
    "NaN weight": ((X, y, put(ONES, np.nan, 177)), r"sample_weight contains NaN.*row 177\b"),
    "negative": ((X, y, put(ONES, -1, 177)), r"sample_weight contains negative.*row 177\b"),
    "no weight": ((X, y, 0 * ONES), r"sample_weight is zero for every row"),
    "targets": ((X, np.c_[y, y]), r"y has 2 targets, and the model was fitted to 1"),
    "no rows": ((X[:0], y[:0]), r"Found array with 0 sample\(s\)"),
}


def chunked(array, rows):
    return da.from_array(array, chunks=(max(1, min(rows, len(array))), *array.shape[1:]))


@pytest.fixture(scope="module")
def models():
    huber = AsyncLassoRegressor(ALPHA, loss="huber").fit(X, y)
    return [AsyncLassoRegressor(ALPHA).fit(X, y), huber, AsyncLassoCV(alphas=3, cv=2).fit(X, y)]


@pytest.mark.parametrize("rows", [pytest.param(10, marks=pytest.mark.slow), 50])
@pytest.mark.parametrize("name", BAD)
def test_scores_of_bad_rows(name, rows, models, client):
    data, match = BAD[name]
    with client.as_current():
        for model in models:
            with pytest.raises(ValueError, match=match):
                model.score(*(chunked(array, rows) for array in data))
        with reuse_statistics(), pytest.raises(ValueError, match=match):
            models[0].score(*(chunked(array, rows) for array in data))


def test_scores_of_other_lengths(models, client):
    some, many = np.arange(N) % 50 == 0, np.arange(N) % 5 == 0
    with client.as_current(), pytest.raises(ValueError, match=r"y has 10 rows where X has 1\b"):
        models[0].score(chunked(X, 50)[chunked(some, 50)], chunked(y, 50)[chunked(many, 50)])
    with client.as_current(), pytest.raises(ValueError, match=r"the model was fitted to 2"):
        TWO.score(chunked(X, 50), chunked(y, 50))


@pytest.mark.parametrize("reuse", [False, True])
def test_scores_equal_those_in_memory(reuse, models, client):
    kept = np.arange(N) >= 60  # the first chunk is left empty
    weights = np.where(np.arange(N) % 3 == 0, 0.0, 2.0)
    both = np.c_[y, TABLE.z]
    with client.as_current():
        for model in models:
            if reuse:
                with reuse_statistics():
                    found = model.score(
                        *(chunked(a, 50)[chunked(kept, 50)] for a in (X, y, weights))
                    )
            else:
                found = model.score(*(chunked(a, 50)[chunked(kept, 50)] for a in (X, y, weights)))
            expected = model.score(X[kept], y[kept], weights[kept])
            assert found == pytest.approx(expected, rel=1e-10)
        assert TWO.score(chunked(X, 50), chunked(both, 50)) == pytest.approx(
            TWO.score(TABLE[NAMES], both), rel=1e-10
        )
        constant = chunked(0 * y + 3, 50)
        assert models[0].score(chunked(X, 50), constant) == models[0].score(X, 0 * y + 3) == 0.0
        with pytest.warns(UndefinedMetricWarning):
            assert np.isnan(models[0].score(chunked(X[:1], 1), chunked(y[:1], 1)))


# -- scikit-learn's tools on frames: README's table ------------------------------------------


@pytest.mark.slow
def test_what_scikit_learn_does_with_frames(client):
    frame = lazy()
    with client.as_current():
        X_array = frame[NAMES].to_dask_array(lengths=True)
        y_array = frame["y"].to_dask_array(lengths=True)
        search = GridSearchCV(AsyncLassoRegressor(), {"alpha": [ALPHA, 1.0]}, cv=3)
        expected = search.fit(TABLE[NAMES].to_numpy(), TABLE.y).cv_results_["mean_test_score"]
        found = search.fit(X_array, y_array).cv_results_["mean_test_score"]
        np.testing.assert_allclose(found, expected, rtol=1e-8)
        assert cross_val_score(AsyncLassoRegressor(ALPHA), X_array, y_array).shape == (5,)
        assert train_test_split(X_array, y_array)[0].shape == (150, 3)
        importance = permutation_importance(MODEL, TABLE[NAMES], TABLE.y, random_state=0)
        there = permutation_importance(
            AsyncLassoRegressor(ALPHA).fit(X_array, y_array), X_array, y_array, random_state=0
        )
        np.testing.assert_allclose(there.importances_mean, importance.importances_mean, atol=0.1)

        target = TransformedTargetRegressor(MODEL, func=np.sinh, inverse_func=np.arcsinh)
        target.fit(frame[NAMES], frame["y"])
        by_hand = np.arcsinh(target.regressor_.predict(frame[NAMES]))
        np.testing.assert_allclose(by_hand.compute(), target.predict(TABLE[NAMES]), rtol=1e-8)

        several = AsyncLassoRegressor(ALPHA).fit(frame[NAMES], frame[["y", "z"]])
        each = MultiOutputRegressor(AsyncLassoRegressor(ALPHA)).fit(frame[NAMES], frame[["y", "z"]])
        np.testing.assert_allclose(
            several.predict(frame[NAMES]).compute(), each.predict(TABLE[NAMES]), rtol=1e-8
        )
        selector = SelectFromModel(AsyncLassoRegressor(0.5)).fit(frame[NAMES], frame["y"])
        assert frame[list(selector.get_feature_names_out())].columns.tolist() == ["a", "b"]
