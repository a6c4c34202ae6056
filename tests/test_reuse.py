"""`reuse_statistics`: rows that several fits share are read once, and nothing is kept after it."""

from __future__ import annotations

from contextlib import nullcontext

import dask.array as da
import dask_ml.model_selection as dask_ml
import numpy as np
import pytest
from conftest import assert_nothing_left, logged, reads
from sklearn.datasets import make_regression
from sklearn.linear_model import Lasso
from sklearn.model_selection import GridSearchCV

from dask_lasso import AsyncElasticNetCV, AsyncLassoCV, AsyncLassoRegressor, reuse_statistics
from dask_lasso.places import reuse as _reuse
from dask_lasso.rows import statistics as _statistics

N = 503
X, y = make_regression(N, 12, n_informative=5, noise=20, random_state=0)
X += 3


def dask_data():
    return da.from_array(X, chunks=(100, 12)), da.from_array(y, chunks=100)


@pytest.mark.parametrize("reuse", [True, False])
def test_grid_search_reuses_statistics(reuse, client, tmp_path):
    dX, dy = dask_data()
    dX = logged(tmp_path, dX)
    grid = {"alpha": [0.1, 10.0], "engine": ["sync", "async"]}
    search = GridSearchCV(AsyncLassoRegressor(client=client), grid, cv=2)
    with reuse_statistics() if reuse else nullcontext():
        search.fit(dX, dy)
    expected = GridSearchCV(Lasso(tol=1e-12), {"alpha": grid["alpha"]}, cv=2).fit(X, y)
    assert search.best_params_["alpha"] == expected.best_params_["alpha"]
    got = search.cv_results_["mean_test_score"].reshape(2, 2)
    np.testing.assert_allclose(got[:, 0], expected.cv_results_["mean_test_score"], rtol=1e-7)
    np.testing.assert_allclose(got[:, 0], got[:, 1], rtol=1e-9)
    if reuse:  # once in every split's training set, once in a test set or two, once at last
        assert max(reads(tmp_path).values()) <= 5
    else:  # in a training set and in a test set of each candidate
        assert min(reads(tmp_path).values()) >= 9


@pytest.mark.parametrize("kind", ["numpy", "dask"])
@pytest.mark.parametrize("reuse", [True, False])
def test_grid_search_of_dask_ml(reuse, kind, client):
    data = dask_data() if kind == "dask" else (X, y)
    alphas = {"alpha": [0.1, 1.0, 10.0], "tol": [1e-6, 1e-8]}
    client.run(watch)
    try:
        with client.as_current(), reuse_statistics() if reuse else nullcontext():
            search = dask_ml.GridSearchCV(AsyncLassoRegressor(), alphas, cv=3, iid=False)
            search.fit(*data)
        computed = client.run(unwatch).values()
    finally:
        client.run(unwatch)
    expected = GridSearchCV(Lasso(tol=1e-12), {"alpha": alphas["alpha"]}, cv=3).fit(X, y)
    got = search.cv_results_["mean_test_score"].reshape(3, 2)
    for scores in got.T:
        np.testing.assert_allclose(scores, expected.cv_results_["mean_test_score"], rtol=1e-7)
    if reuse:  # of each fold in each of two processes, and of all rows at last
        assert sum(computed) <= 2 * 3 + 1
    else:
        assert sum(computed) == 3 * 6 + 1


def watch():
    """Count how often statistics of rows are computed in this process."""

    def counting(*args):
        counting.calls += 1
        return counting.original(*args)

    counting.calls, counting.original = 0, _statistics._of_dense
    _statistics._of_dense = counting


def unwatch():
    assert not _reuse._held
    counting = _statistics._of_dense
    _statistics._of_dense = getattr(counting, "original", counting)
    return getattr(counting, "calls", 0)


def test_reuse_of_rows_in_memory():
    expected = [AsyncLassoRegressor(alpha).fit(X, y) for alpha in (1.0, 5.0)]
    rows, target, weights = X.copy(), y.copy(), np.ones(N)

    def calls(*arrays, **params):
        watch()
        try:
            model = AsyncLassoRegressor(**params).fit(*arrays)
            np.testing.assert_allclose(model.coef_, expected[model.alpha == 5].coef_, rtol=1e-9)
        finally:
            count = _statistics._of_dense.calls
            _statistics._of_dense = _statistics._of_dense.original
        return count

    with reuse_statistics():
        (held,) = _reuse._held.values()
        assert calls(rows, target) == 1
        assert calls(rows, target, alpha=5.0, engine="sync") == 0
        assert calls(rows, target, weights) == 1
        assert calls(rows, target, weights) == 0
        assert calls(rows, target, n_blocks=3) == 3
        assert calls(rows.copy(), target) == 1  # equal, but who knows that without reading it
        assert calls(rows.tolist(), target) == 1
        assert len(held.in_memory) == 3
        del weights
        assert len(held.in_memory) == 2
        del rows
        assert not held.in_memory
    assert calls(X, y) == calls(X, y) == 1


def test_statistics_larger_than_their_rows_are_not_kept():
    with reuse_statistics():
        (held,) = _reuse._held.values()
        AsyncLassoRegressor().fit(X[:10], y[:10])
        assert not held.in_memory


def test_reuse_in_cross_validation(client, tmp_path):
    dX, dy = dask_data()
    dX = logged(tmp_path, dX)
    with reuse_statistics():
        AsyncLassoCV(client=client).fit(dX, dy)
        AsyncElasticNetCV(l1_ratio=[0.5, 0.9], client=client).fit(dX, dy)
        assert set(reads(tmp_path).values()) == {1}
        AsyncLassoCV(cv=3, client=client).fit(dX, dy)
        assert set(reads(tmp_path).values()) == {2}
    assert_nothing_left(client)


def test_reuse_ends_with_its_context(client, tmp_path):
    dX, dy = dask_data()
    dX = logged(tmp_path, dX)
    with reuse_statistics():
        for alpha in (1.0, 2.0):
            AsyncLassoRegressor(alpha, client=client).fit(dX, dy)
        assert set(reads(tmp_path).values()) == {1}
        assert len(client.futures) > 0
    assert_nothing_left(client)
    AsyncLassoRegressor(client=client).fit(dX, dy)
    assert set(reads(tmp_path).values()) == {2}


def test_reuse_without_a_client_of_ones_own():
    dX, dy = dask_data()
    with reuse_statistics():
        models = [AsyncLassoRegressor(alpha).fit(dX, dy) for alpha in (1.0, 1.0)]
    np.testing.assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-10)
