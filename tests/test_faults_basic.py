"""A worker process that dies in the middle of a fit changes nothing but the time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from conftest import assert_nothing_left
from distributed import Client, LocalCluster
from sklearn.linear_model import Lasso

from dask_lasso import AsyncLassoRegressor

ROWS, COLUMNS, CHUNKS, ALPHA = 200, 10, 12, 0.05


@pytest.fixture(scope="module")
def mortal():
    """A Client of three worker processes that may be killed; a nanny starts them anew."""
    with (
        LocalCluster(
            n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(3)
        yield client
        assert_nothing_left(client)


def rows_of(chunk):
    rng = np.random.default_rng(chunk)
    X = rng.normal(size=(ROWS, COLUMNS))
    return X, X @ np.linspace(-1, 1, COLUMNS) + rng.normal(size=ROWS)


def make_chunk(ids, flag=None):
    """Rows and target of one chunk; the first to make chunk 5 dies of it."""
    chunk = int(ids[0, 0])
    if flag is not None and chunk == 5 and not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    X, y = rows_of(chunk)
    return np.column_stack([X, y])


def data(flag=None):
    ids = da.arange(CHUNKS, chunks=1)[:, None]
    table = ids.map_blocks(
        make_chunk,
        flag,
        chunks=((ROWS,) * CHUNKS, (COLUMNS + 1,)),
        dtype=float,
        meta=np.empty((0, 0)),
    )
    return table[:, :-1], table[:, -1]


@pytest.fixture(scope="module")
def expected():
    X, y = (np.concatenate(part) for part in zip(*map(rows_of, range(CHUNKS)), strict=True))
    return Lasso(ALPHA, tol=1e-12).fit(X, y).coef_


@pytest.mark.parametrize(
    ("engine", "polish"),
    [
        ("async", False),
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in ("sync", "batched")),
    ],
)
def test_worker_killed_while_it_reads(engine, polish, mortal, expected, tmp_path):
    flag = tmp_path / "killed"
    model = AsyncLassoRegressor(ALPHA, engine=engine, polish=polish, tol=1e-8, client=mortal)
    model.fit(*data(str(flag)))
    assert flag.exists()
    np.testing.assert_allclose(model.coef_, expected, atol=1e-6 * np.abs(expected).max())


class Killer:
    """One result, a new estimate, a new task; and a worker killed after ten updates."""

    def __init__(self, pid):
        self.pid = pid
        self.killed = False

    def run(self, run):
        for result in run.completed():
            run.absorb(result)
            if run.update():
                return
            if run.n_updates >= 10 and not self.killed:
                os.kill(self.pid, signal.SIGKILL)
                self.killed = True
            run.submit(run.idle()[: run.free_slots])


@pytest.mark.slow
def test_worker_killed_between_updates(mortal, expected):
    mortal.wait_for_workers(2, timeout=60)
    victim = next(iter(mortal.run(os.getpid).values()))
    killer = Killer(victim)
    model = AsyncLassoRegressor(ALPHA, engine=killer, polish=False, tol=1e-8, n_blocks=6)
    model.set_params(client=mortal).fit(*data())
    assert killer.killed
    np.testing.assert_allclose(model.coef_, expected, atol=1e-6 * np.abs(expected).max())
