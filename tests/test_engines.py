"""The schedules: few sweeps, and a protocol that others can implement."""

from __future__ import annotations

from collections import Counter
from itertools import product

import dask.array as da
import numpy as np
import pytest
from datasets import load
from sklearn.linear_model import Lasso

from dask_lasso import AsyncLassoRegressor, Engine

ENGINES = ["sync", "async", "batched"]
CELLS = list(product(["tall", "wide"], ENGINES, ["numpy", "cluster"]))
MANY_MESSAGES = [("wide", engine, "cluster") for engine in ENGINES]


def assert_close(coef, expected, rtol):
    assert np.abs(coef - expected).max() <= rtol * np.abs(expected).max()


def exact(X, y, alpha, **params):
    return Lasso(alpha, tol=1e-12, max_iter=100_000, **params).fit(X, y).coef_


@pytest.mark.parametrize(
    ("name", "engine", "place"),
    [
        *(cell for cell in CELLS if cell not in MANY_MESSAGES),
        *(pytest.param(*cell, marks=pytest.mark.slow) for cell in MANY_MESSAGES),
    ],
)
def test_admm_alone_needs_few_sweeps(name, engine, place, client):
    X, y, _, _ = load(name)
    alpha = np.abs(X.T @ (y - y.mean())).max() / len(y) / 10
    expected = exact(X, y, alpha)
    model = AsyncLassoRegressor(
        alpha,
        engine=engine,
        polish=False,
        tol=1e-7,
        max_iter=99,  # more is a ConvergenceWarning, and that an error here
        n_blocks=8,
        client=client if place == "cluster" else None,
    )
    if place != "numpy":
        rows = len(y) // 8
        X, y = da.from_array(X, chunks=(rows, -1)), da.from_array(y, chunks=rows)
    model.fit(X, y)
    assert_close(model.coef_, expected, 1e-6)
    assert 1 <= model.n_iter_ < 100


class Quorum:
    """Renew the estimate whenever half of the blocks have reported."""

    def run(self, run):
        waiting = 0
        for result in run.completed():
            run.absorb(result)
            waiting += 1
            if 2 * waiting < run.n_blocks:
                continue
            waiting = 0
            if run.update():
                return
            run.submit(run.idle())


class Lottery:
    """Send blocks in an order drawn at random."""

    def run(self, run):
        for result in run.completed():
            run.absorb(result)
            if run.update():
                return
            run.submit(run.random_state.permutation(run.idle()).tolist())


@pytest.mark.parametrize("engine", [Quorum(), Lottery()])
@pytest.mark.parametrize("polish", [True, False])
@pytest.mark.parametrize("on_cluster", [False, True])
def test_engine_of_the_user(engine, polish, on_cluster, client):
    assert isinstance(engine, Engine)
    X, y, _, alpha = load("tall")
    expected = exact(X, y, alpha)
    model = AsyncLassoRegressor(
        alpha,
        engine=engine,
        polish=polish,
        tol=1e-7,
        n_blocks=6,
        client=client if on_cluster else None,
        random_state=0,
    )
    if on_cluster:
        X, y = da.from_array(X, chunks=(500, -1)), da.from_array(y, chunks=500)
    assert_close(model.fit(X, y).coef_, expected, 1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_verbose_prints_a_line_per_certificate(engine, capsys):
    X, y, _, alpha = load("diabetes")
    model = AsyncLassoRegressor(alpha, engine=engine, polish=False, n_blocks=4, verbose=1)
    model.fit(X, y)
    begin, *lines = capsys.readouterr().out.splitlines()
    assert "begins with 442 rows, 10 columns" in begin
    assert len(lines) == len(model.history_["time"]) > 1
    assert all("dual gap" in line for line in lines)
    AsyncLassoRegressor(alpha, engine=engine).fit(X, y)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("polish", [True, False])
def test_history_has_columns_of_one_length(engine, polish):
    X, y, _, alpha = load("diabetes")
    model = AsyncLassoRegressor(alpha, engine=engine, polish=polish, n_blocks=4).fit(X, y)
    history = model.history_
    assert set(history) >= {
        "time",
        "n_updates",
        "samples_seen",
        "objective",
        "primal_residual",
        "dual_residual",
        "rho",
    }
    assert {len(column) for column in history.values()} == {len(history["time"])}
    assert (np.diff(history["time"]) >= 0).all()
    assert (np.diff(history["samples_seen"]) >= 0).all()
    assert history["samples_seen"][-1] == model.n_samples_seen_ == len(y)
    residual = y - model.predict(X)
    objective = residual @ residual / (2 * len(y)) + alpha * np.abs(model.coef_).sum()
    assert history["objective"][-1] == pytest.approx(objective, rel=1e-10)
    assert np.isfinite(history["rho"]).all() == (not polish)


@pytest.mark.parametrize("engine", ENGINES)
def test_bounded_staleness_gives_the_same(engine, client):
    X, y, _, alpha = load("tall")
    model = AsyncLassoRegressor(
        alpha, engine=engine, polish=False, tol=1e-7, n_blocks=5, max_staleness=5, client=client
    )
    model.fit(da.from_array(X, chunks=(500, -1)), da.from_array(y, chunks=500))
    assert_close(model.coef_, exact(X, y, alpha), 1e-6)


def loss(beta, X, y):
    return 0.5 * ((y - X @ beta) ** 2).sum()


def gradient(beta, X, y):
    return X.T @ (X @ beta - y)


@pytest.mark.parametrize(
    ("settings", "items", "n_blocks"),
    [
        (dict(local_solver="lbfgs"), None, 4),  # two for each thread
        (dict(local_solver="lbfgs"), 200, 6),  # chunks of 100 values, two of them each
        (dict(loss=(loss, gradient)), None, 12),  # nobody knows what these cost
        (dict(local_solver="lbfgs", n_blocks=7), 200, 7),
    ],
    ids=str,
)
def test_small_raw_chunks_are_joined(settings, items, n_blocks, thread_workers, monkeypatch):
    if items is not None:
        monkeypatch.setattr("dask_lasso.places.cluster._BLOCK_ITEMS", items)
    X = np.random.default_rng(0).normal(size=(240, 5))
    y = X @ [1.0, -1.0, 0.5, 0.0, 0.0]
    chunks = da.from_array(X, chunks=(20, 5)), da.from_array(y, chunks=20)
    model = AsyncLassoRegressor(0.1, tol=1e-4, client=thread_workers, **settings).fit(*chunks)
    assert len(model.staleness_) == n_blocks
    np.testing.assert_allclose(model.coef_, Lasso(0.1, tol=1e-12).fit(X, y).coef_, atol=0.05)


class Counting:
    """The synchronous engine, and what kinds of results it has been handed."""

    def __init__(self):
        self.kinds = Counter()

    def run(self, run):
        waiting = 0
        for result in run.completed():
            run.absorb(result)
            self.kinds[result.kind] += 1
            waiting += 1
            if waiting == run.n_blocks:
                waiting = 0
                if run.update():
                    break
                run.submit(run.idle())


@pytest.mark.parametrize("place", ["memory", "threads"])
def test_answers_for_the_certificate_come_with_updates(place, request):
    X = np.random.default_rng(0).normal(size=(400, 5))
    y = X @ [1.0, -1.0, 0.5, 0.0, 0.0] + 1
    rows, engine = (X, y), Counting()
    settings = dict(engine=engine, local_solver="lbfgs", n_blocks=4, tol=1e-9)
    if place == "threads":
        rows = da.from_array(X, chunks=(100, 5)), da.from_array(y, chunks=100)
        settings["client"] = request.getfixturevalue("thread_workers")
    model = AsyncLassoRegressor(0.1, **settings).fit(*rows)
    assert model.certificate_ == "duality gap"
    assert model.dual_gap_ <= 1e-9 * y.var()
    np.testing.assert_allclose(model.coef_, Lasso(0.1, tol=1e-12).fit(X, y).coef_, atol=1e-4)
    # Several certificates, and no message for any of them.
    assert len(model.history_["objective"]) > 1
    assert engine.kinds == {"report": 4, "update": engine.kinds["update"]}
