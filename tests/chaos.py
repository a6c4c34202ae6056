"""Fits during which a worker is killed at a random moment: what must hold after each.

python tests/chaos.py --fits 100
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import threading
import time

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from sklearn.linear_model import Lasso

from dask_lasso import AsyncLassoRegressor

ROWS, COLUMNS, CHUNKS, ALPHA = 2000, 20, 16, 0.05
KINDS = [
    {"polish": True},
    {"polish": False, "tol": 1e-12},
    {"local_solver": "lbfgs", "tol": 1e-12},
]
ENGINES = ["sync", "async", "batched"]


def rows_of(chunk, pause=0.0, shape=(ROWS, COLUMNS)):
    """X and y of one chunk in one table, after a pause."""
    time.sleep(pause)
    rng = np.random.default_rng(chunk)
    X = rng.normal(size=shape)
    return np.column_stack([X, X @ np.linspace(-1, 1, shape[1]) + rng.normal(size=len(X))])


def table(pause=0.02, shape=(ROWS, COLUMNS)):
    """Chunks that can be made again, as those of a file can be read again."""
    ids = da.arange(CHUNKS, chunks=1)[:, None]
    rows = ids.map_blocks(
        lambda block: rows_of(int(block[0, 0]), pause, shape),
        chunks=((shape[0],) * CHUNKS, (shape[1] + 1,)),
        dtype=float,
        meta=np.empty((0, 0)),
    )
    return rows[:, :-1], rows[:, -1]


def expected():
    """scikit-learn's coefficients on all rows."""
    rows = np.concatenate([rows_of(chunk) for chunk in range(CHUNKS)])
    return Lasso(ALPHA, tol=1e-13).fit(rows[:, :-1], rows[:, -1]).coef_


def managed_bytes(client):
    """Bytes of task results that the scheduler knows of."""
    return client.run_on_scheduler(
        lambda dask_scheduler: sum(max(0, task.nbytes) for task in dask_scheduler.tasks.values())
    )


def pids(client):
    """Process ids of the workers that answer, by address."""
    return client.run(os.getpid, on_error="ignore")


def scale(cluster, n_workers):
    """Ask for `n_workers`, in the cluster's own thread, which goes through its lists meanwhile."""
    cluster.loop.add_callback(cluster.scale, n_workers)


def complete(client, n_workers, patience=120.0):
    """Wait until all workers are there again and their nannies know it.

    A nanny whose worker dies while it is being started gives up; then it is replaced.
    """
    cluster = client.cluster
    deadline = time.monotonic() + patience
    while True:
        nannies = dict(cluster.workers)
        states = {name: nanny.status.name for name, nanny in nannies.items()}
        started = [n for n in nannies.values() if n.process and n.process.status.name == "running"]
        ready = len(client.scheduler_info(n_workers=-1)["workers"]) == n_workers
        if ready and len(started) == len(nannies) == n_workers:
            return
        for name, state in states.items():
            if state in ("closed", "failed", "closing") and name in cluster.worker_spec:
                del cluster.worker_spec[name]
        scale(cluster, n_workers)
        assert time.monotonic() < deadline, f"workers did not come back; nannies: {states}"
        time.sleep(0.1)


def fit_while_killing(client, model, rows, after):
    """Fit `model`; `after` seconds into it a worker dies."""
    alive = {address: pid for address, pid in pids(client).items() if pid}
    victim = random.choice(list(alive.values()))

    def kill():
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            logging.getLogger(__name__).info("worker %s had gone by itself", victim)

    timer = threading.Timer(after, kill)
    timer.start()
    try:
        model.fit(*rows)
    finally:
        timer.join()


def chaos(client, n_workers, fits, wanted, seed=0):
    """`fits` such fits; returns how far each was off, and raises if anything is left."""
    random.seed(seed)
    errors = []
    before = managed_bytes(client)
    for i in range(fits):
        complete(client, n_workers)
        kind, engine = KINDS[i % len(KINDS)], ENGINES[i // len(KINDS) % len(ENGINES)]
        model = AsyncLassoRegressor(ALPHA, engine=engine, client=client, **kind)
        fit_while_killing(client, model, table(), after=random.uniform(0.0, 0.6))
        errors.append(np.abs(model.coef_ - wanted).max() / np.abs(wanted).max())
        assert errors[-1] <= 1e-5, f"fit {i} ({engine}, {kind}) was off by {errors[-1]:.1e}"
        deadline = time.monotonic() + 10
        while client.futures or managed_bytes(client) != before:
            assert time.monotonic() < deadline, f"fit {i} left {list(client.futures)}"
            time.sleep(0.05)
    return errors


def main():
    """Run the suite and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", type=int, default=100)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    began = time.perf_counter()
    with (
        LocalCluster(
            n_workers=args.workers,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        errors = chaos(client, args.workers, args.fits, expected(), args.seed)
        print(
            f"{len(errors)} fits, a worker killed in each, {time.perf_counter() - began:.0f} s:"
            f" all right (worst relative error {max(errors):.1e}), no future left,"
            f" {managed_bytes(client)} bytes managed."
        )


if __name__ == "__main__":
    main()
