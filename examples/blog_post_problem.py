"""
The problem of "Asynchronous Optimization Algorithms with Dask" (2017), at any size
===================================================================================

The post fitted a lasso to 50,000,000 x 100 random numbers in chunks of 50,000 rows, 40 GB,
on a cluster that held them in memory. Here they are produced when they are read and
dropped when they have been: one pass, on whatever this machine is.

    python examples/blog_post_problem.py                    # 5,000,000 rows
    python examples/blog_post_problem.py --rows 50_000_000  # the post's

Prints the time of the fit, of the bare pass over the same chunks (their products alone), the
certificate and the memory of all processes above what they had before.
"""

from __future__ import annotations

import argparse
import threading
import time

import dask
import dask.array as da
import numpy as np
import psutil
from distributed import Client

from dask_lasso import AsyncLassoRegressor


def problem(rows, columns, chunk):
    """Random features, a tenth of them in the target, as in the post."""
    X = da.random.default_rng(0).standard_normal((rows, columns), chunks=(chunk, columns))
    coefficients = np.zeros(columns)
    coefficients[: max(1, columns // 10)] = 1.0
    noise = da.random.default_rng(1).standard_normal(rows, chunks=chunk)
    return X, X @ coefficients + noise


def bare_pass(X, y):
    """The products of every chunk with itself and with y by plain `delayed`, summed here."""
    X, y = dask.optimize(X, y)  # together, or each would produce the chunks of X
    chunks = zip(
        X.to_delayed(optimize_graph=False).ravel(),
        y.to_delayed(optimize_graph=False).ravel(),
        strict=True,
    )
    return sum(dask.compute(*[dask.delayed(products)(rows, target) for rows, target in chunks]))


def products(rows, target):
    """What the lasso has to know of these rows: (k, k + 1)."""
    return np.column_stack([rows.T @ rows, rows.T @ target])


class Memory:
    """Most memory that this process and its children have held since `start`."""

    def __enter__(self):
        self._idle = self._now()
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        while not self._stop.wait(0.1):
            self.peak = max(self.peak, self._now() - self._idle)

    @staticmethod
    def _now():
        this = psutil.Process()
        return sum(process.memory_info().rss for process in [this, *this.children(True)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--chunk", type=int, default=50_000, help="rows of a chunk")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--engine", default="batched")
    parser.add_argument("--no-bare", action="store_true", help="leave out the bare pass")
    args = parser.parse_args()

    with Client(n_workers=args.workers, threads_per_worker=1, dashboard_address=None):
        X, y = problem(args.rows, args.columns, args.chunk)
        print(f"{X.shape[0]:,} x {X.shape[1]}, {X.nbytes / 1e9:.1f} GB, {X.numblocks[0]} chunks")
        AsyncLassoRegressor(args.alpha).fit(*problem(args.chunk * 2, args.columns, args.chunk))

        model = AsyncLassoRegressor(args.alpha, engine=args.engine)
        with Memory() as memory:
            began = time.perf_counter()
            model.fit(X, y)
            seconds = time.perf_counter() - began
        print(f"fit        {seconds:8.2f} s, {memory.peak / 1e9:.2f} GB above idle")
        print(f"dual gap   {model.dual_gap_:.1e}, {np.count_nonzero(model.coef_)} coefficients")
        history = model.history_
        print(
            f"anytime    first estimate at {history['time'][0]:.2f} s from"
            f" {history['samples_seen'][0]:,} rows: objective {history['objective'][0]:.5f},"
            f" at the end {history['objective'][-1]:.5f}"
        )
        if not args.no_bare:
            began = time.perf_counter()
            bare_pass(X, y)
            bare = time.perf_counter() - began
            print(f"bare pass  {bare:8.2f} s: the fit took {seconds / bare:.3f} x that")


if __name__ == "__main__":
    main()
