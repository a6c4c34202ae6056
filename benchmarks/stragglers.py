"""One of four workers is ten times slower: what each engine makes of it, in one run.

The local problem is L-BFGS on persisted raw chunks with an update of about 50 ms: a user's
loss that sleeps, so that four workers do not share this machine's cores. On the slow
worker every evaluation takes ten times as long. Undisturbed is the same fit on the same
cluster with no worker slowed; each fit is as many sweeps.

Distributed's own work stealing is off. Chunks that keep L-BFGS busy for 50 ms have about
100 MB, which it would not move for such short tasks; those here are small because their
updates sleep, and would be moved. ``--stealing`` leaves it on.

python benchmarks/stragglers.py --repeat 3
"""

from __future__ import annotations

import argparse
import time
import warnings

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, get_worker

from dask_lasso import AsyncLassoRegressor


def f(beta, X, y):
    """Squared loss; an update evaluates it about three times."""
    return 0.5 * ((y - X @ beta) ** 2).sum()


def fprime_on(slow, seconds, factor):
    """Gradient that takes `seconds`, and `factor` times that on the worker `slow`."""

    def fprime(beta, X, y):
        time.sleep(seconds * (factor if get_worker().address == slow else 1))
        return X.T @ (X @ beta - y)

    return fprime


def main():
    """Print, for each engine, the undisturbed time, the disturbed one and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--engines", default="sync,async,batched")
    parser.add_argument("--chunks", type=int, default=16)
    parser.add_argument("--stealing", action="store_true")
    parser.add_argument("--sweeps", type=int, default=30)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    dask.config.set({"distributed.scheduler.work-stealing": args.stealing})
    n, k, rows = args.chunks * 500, 30, 500
    with (
        LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        # Chunks of different scale, so that it takes some sweeps.
        rng = np.random.default_rng(0)
        X = (
            rng.normal(size=(n, k))
            * np.repeat(rng.uniform(0.3, 3, args.chunks), rows)[:, np.newaxis]
        )
        y = X[:, ::3].sum(axis=1) + rng.normal(size=n)
        X, y = client.persist([da.from_array(X, chunks=(rows, -1)), da.from_array(y, chunks=rows)])
        slow = sorted(client.scheduler_info()["workers"])[0]
        print(f"{args.chunks} chunks on 4 workers, an update about 50 ms, one worker 10 x slower")
        print("engine   undisturbed, s (sweeps)   disturbed, s (sweeps)   ratio  last objectives")
        for engine in args.engines.split(","):
            times, sweeps, objectives = {1: [], 10: []}, {}, {}
            for _ in range(args.repeat):
                for factor in times:
                    fprime = fprime_on(slow, 0.016, factor)
                    model = AsyncLassoRegressor(
                        0.05, engine=engine, loss=(f, fprime), tol=1e-6, max_iter=args.sweeps
                    )
                    began = time.perf_counter()
                    model.fit(X, y)
                    times[factor].append(time.perf_counter() - began)
                    sweeps[factor] = model.n_iter_
                    objectives[factor] = model.history_["objective"][-1]
            calm, rough = np.median(times[1]), np.median(times[10])
            print(
                f"{engine:8} {calm:12.1f} ({sweeps[1]:4d}) {rough:19.1f} ({sweeps[10]:4d})"
                f" {rough / calm:13.2f}  {objectives[1]:.6g} {objectives[10]:.6g}",
                flush=True,
            )


if __name__ == "__main__":
    main()
