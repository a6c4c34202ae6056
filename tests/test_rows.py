"""X, y and weights are one collection: rows that belong together stay so, and are read once."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Lasso

from dask_lasso import AsyncLassoCV, AsyncLassoRegressor, lasso_path

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


def fit(kind, X, y, w=None, client=None):
    """Coefficients by a route, from frames or from memory."""
    if kind == "cv":
        return AsyncLassoCV(alphas=[ALPHA], cv=3, client=client).fit(X, y, w).coef_
    if kind == "path":
        settings = dict(alphas=[ALPHA], fit_intercept=True, client=client)
        return lasso_path(X, y, sample_weight=w, **settings)[1][:, 0]
    model = AsyncLassoRegressor(ALPHA, client=client)
    if kind == "partial_fit":
        return model.partial_fit(X, y, w).coef_
    if kind == "huber":
        model.set_params(loss="huber", huber_delta=1e6, tol=1e-12)
    return model.fit(X, y, w).coef_


ROUTES = ["fit", "huber", "cv", "path", "partial_fit"]


@pytest.mark.parametrize("where", ["no client", "client"])
@pytest.mark.parametrize("name", FRAMES)
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
@pytest.mark.parametrize("name", ["parquet", "shuffle"])
def test_every_route(route, name, tmp_path):
    frame = FRAMES[name](tmp_path)
    found = fit(route, frame[NAMES], frame.y, frame.w)
    expected = Lasso(ALPHA, tol=1e-12).fit(TABLE[NAMES], TABLE.y, TABLE.w).coef_
    np.testing.assert_allclose(found, expected, rtol=1e-5 if route == "huber" else 1e-8, atol=1e-6)
