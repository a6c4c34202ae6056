"""How early in the pass over the data each engine has an estimate that is good on all rows.

    python benchmarks/anytime.py

100 chunks that take 50 ms each to load, on a LocalCluster. For every estimate of a fit its
objective on all rows is computed afterwards; printed is the first that is within 1 % of the
optimum: after which share of the rows, and of the time that reading all of them took.
"""

from __future__ import annotations

import argparse
import time
import warnings
from unittest import mock

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from sklearn.linear_model import Lasso

from dask_lasso import AsyncLassoRegressor
from dask_lasso.engines import run as _engines
from dask_lasso.estimators import base as _estimator
from dask_lasso.problem.moments import intercept as best_intercept

N_CHUNKS, ROWS, COLUMNS, ALPHA = 100, 500, 50, 0.1
KINDS = {
    "statistics": {},
    "statistics, ADMM alone": {"polish": False},
    "raw rows, L-BFGS": {"local_solver": "lbfgs"},
}


class Watched(_engines.Run):
    """A run that keeps every estimate."""

    def _record(self, row):
        model = self._model
        intercept = getattr(model, "intercept", None)
        if intercept is None:
            intercept = best_intercept(model.statistics, model.coef, True)
        stop = super()._record(row)
        estimates.append((row["time"], row["samples_seen"], model.coef[:, 0], intercept[0]))
        return stop


estimates = []


def slowly(block):
    time.sleep(0.05)
    return block


def objective(X, y, coef, intercept):
    residual = y - X @ coef - intercept
    return residual @ residual / (2 * len(y)) + ALPHA * np.abs(coef).sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_CHUNKS * ROWS, COLUMNS))
    y = X[:, :10] @ np.linspace(-1, 1, 10) + 0.5 * rng.normal(size=len(X))
    reference = Lasso(ALPHA, tol=1e-12).fit(X, y)
    best = objective(X, y, reference.coef_, reference.intercept_)
    with (
        LocalCluster(
            n_workers=args.workers, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster),
        mock.patch.object(_estimator, "Run", Watched),
    ):
        slow = da.from_array(X, chunks=(ROWS, -1)).map_blocks(slowly, dtype=float)
        target = da.from_array(y, chunks=ROWS)
        print("local problem | engine | first within 1 %: rows seen | share of the pass, time")
        for kind, params in KINDS.items():
            for engine in ("async", "batched", "sync"):
                rows, times = [], []
                for _ in range(args.repeat):
                    estimates.clear()
                    AsyncLassoRegressor(ALPHA, engine=engine, **params).fit(slow, target)
                    read = next(t for t, seen, *_ in estimates if seen == len(y))
                    first = next(e for e in estimates if objective(X, y, *e[2:]) <= 1.01 * best)
                    rows.append(first[1] / len(y))
                    times.append(first[0] / read)
                print(
                    f"{kind} | {engine} | {np.median(rows):.0%} | {np.median(times):.0%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
