"""Where the time of a fit goes, from profiles: the client by function, every process by CPU.

    python benchmarks/where_time_goes.py

The cluster runs in another process than the client, so that each has CPU time of its own.
For few large chunks and for many small ones: the client's thread by cProfile, the CPU seconds
of client, scheduler and workers, and what the workers did by kind of task.
"""

from __future__ import annotations

import argparse
import cProfile
import logging
import pstats
import time
import warnings
from collections import Counter

import dask
import dask.array as da
import numpy as np
from distributed import get_task_stream, wait
from harness import cpu_seconds, local_cluster
from threadpoolctl import threadpool_limits

from dask_lasso import AsyncLassoRegressor
from dask_lasso.rows.statistics import statistics_of_rows as from_rows

CASES = {
    "persisted, 1,000,000 x 100, 20 chunks": (1_000_000, 100, 50_000),
    "persisted, 200,000 x 1,000, 20 chunks": (200_000, 1_000, 10_000),
    "10,000 chunks of 100 x 20": (1_000_000, 20, 100),
}
# Functions whose cumulative time is told, in the order of a fit.
PARTS = {
    "input checked, dask arrays aligned": [("_input.py", "dask_rows")],
    "graph built": [("_cluster.py", "statistics_graph")],
    "graph sent (dask's compute)": [("client.py", "compute")],
    "waiting for reports": [("threading.py", "wait")],
    "reports received": [("_cluster.py", "next")],
    "merging and estimates": [("_exact.py", "update")],
}


def data(n, k, chunk):
    X = da.random.default_rng(0).standard_normal((n, k), chunks=(chunk, k))
    y = X[:, 0] + da.random.default_rng(1).standard_normal(n, chunks=chunk)
    X, y = dask.persist(X, y)
    wait([X, y])
    return X, y


def profile(client, X, y, repeat):
    """The median fit of several: seconds, parts, CPU seconds, seconds of tasks by kind."""
    runs = []
    for _ in range(repeat + 1):
        profiler = cProfile.Profile()
        with get_task_stream(client) as stream:
            before, began = cpu_seconds(client), time.perf_counter()
            profiler.runcall(AsyncLassoRegressor(0.1).fit, X, y)
            seconds = time.perf_counter() - began
            cpu = cpu_seconds(client) - before
        tasks = Counter()
        for record in stream.data:
            for part in record["startstops"]:
                name = str(record["key"]).split("'")[-2 if "('" in str(record["key"]) else 0]
                kind = name.rsplit("-", 1)[0] if part["action"] == "compute" else part["action"]
                tasks[kind] += part["stop"] - part["start"]
        runs.append((seconds, parts(profiler), cpu, tasks))
    runs = sorted(runs[1:], key=lambda run: run[0])  # the first one is a warm-up
    return runs[len(runs) // 2]


def parts(profiler):
    times = Counter()
    for (path, _, name), (_, _, _, cumulative, _) in pstats.Stats(profiler).stats.items():
        times[path.rsplit("/", 1)[-1], name] += cumulative
    found = {label: sum(times[key] for key in keys) for label, keys in PARTS.items()}
    found["reports received"] -= found["waiting for reports"]  # the first is within the second
    return found


def report(title, seconds, parts, cpu, tasks, workers=2):
    print(f"\n{title}: {seconds:.3f} s")
    for label, part in parts.items():
        print(f"  client: {label} | {1e3 * part:.0f} ms | {part / seconds:.0%}")
    for name, value in zip(("client", "scheduler", "workers"), cpu, strict=True):
        print(f"  CPU of the {name} | {1e3 * value:.0f} ms")
    for kind, value in tasks.most_common(6):
        share = value / (workers * seconds)
        print(f"  workers: {kind} | {1e3 * value:.0f} ms | {share:.0%} of {workers} threads")
    print(f"  workers: idle | {1 - sum(tasks.values()) / (workers * seconds):.0%}", flush=True)


def chunk(n=50_000, k=100, repeat=9):
    """A chunk's statistics against their products alone, one thread."""
    X, y = np.random.default_rng(0).standard_normal((n, k)), np.ones(n)
    gram, tile = np.zeros((k, k)), 2**17 // k

    def products():
        for start in range(0, n, tile):
            rows = X[start : start + tile]
            np.add(gram, rows.T @ rows, out=gram)

    def median(function):
        times = []
        for _ in range(repeat):
            began = time.perf_counter()
            function()
            times.append(time.perf_counter() - began)
        return np.median(times)

    with threadpool_limits(1, user_api="blas"):
        alone, shifted = median(products), median(lambda: from_rows(X + 3.0, y))
        whole = median(lambda: from_rows(X, y))
    print(
        f"A chunk of {n:,} x {k}: {1e3 * whole:.1f} ms, of which the products {alone / whole:.0%}"
    )
    print(f"  with columns far from zero, which are shifted first: {1e3 * shifted:.1f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    chunk()
    for title, (n, k, rows) in CASES.items():
        with local_cluster(2) as client:
            X, y = data(n, k, rows)
            repeat = args.repeat if n // rows < 1000 else min(3, args.repeat)
            report(title, *profile(client, X, y, repeat))
            del X, y


if __name__ == "__main__":
    main()
