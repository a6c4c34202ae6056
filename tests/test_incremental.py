"""Fits that go on, and fits that are joined: the statistics merge, which is exact."""

from __future__ import annotations

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from dask_ml.wrappers import Incremental, ParallelPostFit
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_regression
from sklearn.exceptions import NotFittedError

from dask_lasso import AsyncElasticNetRegressor, AsyncLassoCV, AsyncLassoRegressor

X, y = make_regression(1000, 15, n_informative=6, noise=10, random_state=0)
X += 5
WEIGHTS = np.random.default_rng(0).uniform(0, 2, len(X))
ALPHA = 0.5


def assert_same_fit(model, expected):
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=1e-8)
    assert model.n_samples_seen_ == expected.n_samples_seen_


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize(
    "model",
    [
        AsyncLassoRegressor(ALPHA),
        AsyncLassoRegressor(ALPHA, positive=True, fit_intercept=False),
        AsyncElasticNetRegressor(ALPHA, l1_ratio=0.3),
    ],
    ids=["lasso", "positive", "elastic_net"],
)
def test_batches_are_one_fit(model, weights):
    model, expected = clone(model), clone(model).fit(X, y, weights)
    for start in range(0, len(X), 90):
        rows = slice(start, start + 90)
        model.partial_fit(X[rows], y[rows], None if weights is None else weights[rows])
    assert_same_fit(model, expected)


def test_a_thousand_calls():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(20_000, 8)) + 100
    targets = rows @ np.r_[1.0, -2.0, np.zeros(6)] + rng.normal(size=20_000)
    model = AsyncLassoRegressor(0.1)
    for batch, target in zip(np.split(rows, 1000), np.split(targets, 1000), strict=True):
        model.partial_fit(batch, target)
    assert_same_fit(model, AsyncLassoRegressor(0.1).fit(rows, targets))


def test_any_input_continues_any_fit(client):
    parts = np.split(np.arange(len(X)), 4)
    model = AsyncLassoRegressor(ALPHA, client=client).fit(X[parts[0]], y[parts[0]])
    model.partial_fit(da.from_array(X[parts[1]], chunks=(60, 5)), da.from_array(y[parts[1]]))
    model.partial_fit(sparse.csr_array(X[parts[2]]), y[parts[2]])
    model.partial_fit(X[parts[3]], y[parts[3]])
    assert_same_fit(model, AsyncLassoRegressor(ALPHA).fit(X, y))


def test_fit_starts_anew():
    model = AsyncLassoRegressor(ALPHA).partial_fit(X[:500], y[:500])
    assert_same_fit(model.fit(X[500:], y[500:]), AsyncLassoRegressor(ALPHA).fit(X[500:], y[500:]))


def test_several_targets():
    Y = np.column_stack([y, -2 * y + X[:, 0]])
    model = AsyncLassoRegressor(ALPHA)
    for rows in np.split(np.arange(len(X)), 5):
        model.partial_fit(X[rows], Y[rows])
    assert_same_fit(model, AsyncLassoRegressor(ALPHA).fit(X, Y))


def test_one_row_at_a_time():
    model = AsyncLassoRegressor(ALPHA)
    for row in range(40):
        model.partial_fit(X[[row], :3], y[[row]])
    assert_same_fit(model, AsyncLassoRegressor(ALPHA).fit(X[:40, :3], y[:40]))


def test_incremental_of_dask_ml():
    dX, dy = da.from_array(X, chunks=(130, 15)), da.from_array(y, chunks=130)
    wrapped = Incremental(AsyncLassoRegressor(ALPHA)).fit(dX, dy)
    assert_same_fit(wrapped.estimator_, AsyncLassoRegressor(ALPHA).fit(X, y))


def test_bad_batch_leaves_the_fit_as_it_was(client):
    model = AsyncLassoRegressor(ALPHA, client=client).partial_fit(X, y)
    before = dict(vars(model))
    bad = X.copy()
    bad[700, 2] = np.nan
    with pytest.raises(ValueError, match="NaN in column 2, row 700"):
        model.partial_fit(bad, y)
    with pytest.raises(ValueError, match="NaN in column 2, row 700"):
        model.partial_fit(da.from_array(bad, chunks=(150, 15)), da.from_array(y, chunks=150))
    with pytest.raises(ValueError, match="15 features"):
        model.partial_fit(X[:, :4], y)
    with pytest.raises(ValueError, match="2 targets"):
        model.partial_fit(X, np.column_stack([y, y]))
    assert vars(model) == before


def test_predictions_send_the_coefficients_alone():
    rows = np.random.default_rng(0).normal(size=(400, 300))
    model = AsyncLassoRegressor(0.1).fit(rows, rows[:, 0])
    lazy = da.random.default_rng(0).normal(size=(400, 300), chunks=(20, -1))
    predicted = model.predict(lazy)
    assert model.statistics_["sxx"].nbytes > 700_000
    assert len(cloudpickle.dumps(predicted)) < 50_000
    with dask.config.set(scheduler="threads"):
        np.testing.assert_array_equal(ParallelPostFit(model).predict(lazy), predicted)


def test_other_losses_cannot_be_continued():
    with pytest.raises(ValueError, match="squared"):
        AsyncLassoRegressor(loss="huber").partial_fit(X, y)


def test_merge_of_fits(client):
    parts = np.split(np.arange(len(X)), [300, 550])
    models = [
        AsyncLassoRegressor(ALPHA).fit(X[parts[0]], y[parts[0]]),
        AsyncLassoRegressor(7.0, client=client).fit(
            da.from_array(X[parts[1]], chunks=100), da.from_array(y[parts[1]], chunks=100)
        ),
        AsyncLassoCV().fit(X[parts[2]], y[parts[2]]),
    ]
    merged = models[0].merge(*models[1:])
    assert merged is models[0]
    assert_same_fit(merged, AsyncLassoRegressor(ALPHA).fit(X, y))


def test_statistics_on_disk_are_plain_arrays(tmp_path):
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(15)])
    for day, rows in enumerate(np.split(np.arange(len(X)), 2)):
        model = AsyncLassoRegressor().fit(frame.iloc[rows], y[rows])
        np.savez(tmp_path / f"{day}.npz", **model.statistics_)
    days = [np.load(tmp_path / f"{day}.npz", allow_pickle=False) for day in range(2)]
    model = AsyncLassoRegressor(ALPHA).fit_statistics(*days)
    assert_same_fit(model, AsyncLassoRegressor(ALPHA).fit(frame, y))
    assert list(model.feature_names_in_) == list(frame.columns)
    np.testing.assert_allclose(model.predict(frame.iloc[:3]), model.predict(X[:3]))


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_statistics_give_any_other_fit_without_the_rows():
    known = AsyncLassoRegressor(ALPHA).fit(X, y, WEIGHTS).statistics_
    for alpha in (0.01, 1.0, 30.0):
        model = AsyncElasticNetRegressor(alpha, l1_ratio=0.8).fit_statistics(known)
        assert_same_fit(model, AsyncElasticNetRegressor(alpha, l1_ratio=0.8).fit(X, y, WEIGHTS))


def test_statistics_that_do_not_fit_together():
    one = AsyncLassoRegressor().fit(X, y).statistics_
    narrow = AsyncLassoRegressor().fit(X[:, :4], y).statistics_
    names = AsyncLassoRegressor().fit(pd.DataFrame(X).add_prefix("a"), y).statistics_
    others = AsyncLassoRegressor().fit(pd.DataFrame(X).add_prefix("b"), y).statistics_
    model = AsyncLassoRegressor()
    for statistics, message in [
        ((), "at least one"),
        ((one, narrow), "different numbers"),
        ((names, others), "different names"),
        (({"sxx": one["sxx"]},), "lack n_rows"),
        ((dict(one, sxx=one["sxx"][:3]),), "damaged"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit_statistics(*statistics)
    assert not hasattr(model, "coef_")
    with pytest.raises(NotFittedError):
        AsyncLassoRegressor().fit(X, y).merge(model)


def test_rows_seen_before_count_less():
    model = AsyncLassoRegressor(ALPHA).partial_fit(X[:400], y[:400], WEIGHTS[:400])
    model.partial_fit(X[400:700], y[400:700], WEIGHTS[400:700], decay=0.5)
    model.partial_fit(X[700:], y[700:], WEIGHTS[700:], decay=0.1)
    weights = WEIGHTS * np.repeat([0.05, 0.1, 1.0], [400, 300, 300])
    assert_same_fit(model, AsyncLassoRegressor(ALPHA).fit(X, y, weights))


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("settings", [{}, dict(fit_intercept=False, standardize=True)])
def test_rows_are_forgotten(weights, settings):
    def some(rows):
        return X[rows], y[rows], None if weights is None else weights[rows]

    model = AsyncLassoRegressor(ALPHA, **settings).fit(X, y, weights)
    rows = some(slice(100, 400))
    model.forget(*(None if a is None else da.from_array(a, chunks=len(a)) for a in rows))
    rest = np.r_[:100, 400:1000]
    assert_same_fit(model, AsyncLassoRegressor(ALPHA, **settings).fit(*some(rest)))
    model.partial_fit(*some(slice(100, 400)))
    assert_same_fit(model, AsyncLassoRegressor(ALPHA, **settings).fit(X, y, weights))


@pytest.mark.parametrize(
    ("forgotten", "message"),
    [
        (slice(None), "no weight would be left"),
        (slice(1, None), "too few digits would be left of column"),
        (lambda: (1000 * X[:10], y[:10]), "too few digits would be left of column 0 of X"),
    ],
)
def test_what_cannot_be_forgotten(forgotten, message):
    model = AsyncLassoRegressor(ALPHA).fit(X, y)
    before = model.coef_.copy()
    rows = forgotten() if callable(forgotten) else (X[forgotten], y[forgotten])
    with pytest.raises(ValueError, match=message):
        model.forget(*rows)
    np.testing.assert_array_equal(model.coef_, before)
    with pytest.raises(NotFittedError):
        AsyncLassoRegressor(ALPHA).forget(X, y)
    for decay in (0, 1.5):
        with pytest.raises(ValueError, match="decay"):
            model.partial_fit(X, y, decay=decay)
