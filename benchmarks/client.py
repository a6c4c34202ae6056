"""What a result costs the client as the number of blocks grows, and where that time goes.

    python benchmarks/client.py

Consensus ADMM from statistics of 100 columns with the "async" engine: one estimate a
result. First with tasks that are answered at once, off the clock, which leaves the client's
own work; then 10,000 blocks of 20 columns on a LocalCluster in another process, with a
profile of the client: the fit's thread by cProfile, the thread of distributed's messages by
its CPU time.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from concurrent.futures import Future

import numpy as np
from distributed import wait
from harness import local_cluster

from dask_lasso.engines.run import Run
from dask_lasso.engines.schedules import AsyncEngine
from dask_lasso.places.cluster import OnCluster
from dask_lasso.places.memory import _call, _Stream
from dask_lasso.rows.statistics import statistics_of_rows as from_rows
from dask_lasso.solvers.admm import Consensus
from dask_lasso.solvers.blocks import Gram
from dask_lasso.solvers.proximal import factorize

SIZES = (10, 100, 1_000, 10_000)
COLUMNS = 100
_factors = {}


def statistics(columns=COLUMNS):
    X = np.random.default_rng(0).normal(size=(500, columns))
    return from_rows(X, X[:, 0])


def factorize_once(statistics, metric):
    """All blocks are alike here, and 10,000 factors of them would fill the memory."""
    if metric.epoch not in _factors:
        _factors[metric.epoch] = factorize(statistics, metric)
    return _factors[metric.epoch]


class AtOnce:
    """A place where tasks take no time; what they do take is in `seconds`."""

    n_threads = 4
    deadline = float("inf")

    def __init__(self):
        self.seconds = 0.0

    def submit(self, task, *args):
        began = time.perf_counter()
        future = Future()
        future.set_result(_call(factorize_once if task is factorize else task, args))
        self.seconds += time.perf_counter() - began
        return future

    def release(self, future): ...

    def offer(self, calls):
        return {}

    def as_completed(self, futures):
        return _Stream(futures)


def consensus_run(place, load, sweeps):
    run = Run(
        place,
        load=load,
        max_iter=sweeps,
        max_staleness=None,
        random_state=None,
        on_update=lambda row: False,
    )
    shared = dict(alpha=0.1, l1_ratio=1.0, weights=None, positive=False, fit_intercept=True)
    run.start(
        Consensus(
            local=Gram(**shared),
            tol=-1.0,  # blocks that are all alike have a gap of exactly zero
            n_blocks=run.n_blocks,
            rho="auto",
            over_relaxation=1.6,
            coef_init=None,
            **shared,
        )
    )
    return run


def microseconds(n_blocks, updates=20_000, repeat=3):
    """Of the client, per report and per update."""
    part = statistics()

    def load(place):
        futures = [Future() for _ in range(n_blocks)]
        for future in futures:
            future.set_result(part)
        return futures, futures

    def seconds(sweeps):
        place = AtOnce()
        run = consensus_run(place, load, sweeps)
        began = time.perf_counter()
        AsyncEngine().run(run)
        return time.perf_counter() - began - place.seconds

    sweeps = max(1, updates // n_blocks)
    first, more = (np.median([seconds(s) for _ in range(repeat)]) for s in (1, 1 + sweeps))
    update = (more - first) / (sweeps * n_blocks)
    return 1e6 * (first / n_blocks - update), 1e6 * update


def profile(n_blocks):
    """Seconds of the client in one sweep of a run on a cluster, by what it does."""
    with local_cluster(2) as client:
        (data,) = client.scatter([statistics(columns=20)])  # 10,000 of them come home
        place = OnCluster.__new__(OnCluster)  # without arrays: blocks are made on the workers
        place._client, place._futures, place._home, place._offers = client, set(), {}, {}
        place._slow, place.n_threads = set(), 2

        def load(place):
            reports = client.map(lambda i, part: part, range(n_blocks), part=data, pure=False)
            wait(reports)
            place._futures.update(reports)
            return reports, reports

        run = consensus_run(place, load, sweeps=1)
        profiler = cProfile.Profile()
        process, began = time.process_time(), time.perf_counter()
        thread = time.thread_time()
        profiler.runcall(AsyncEngine().run, run)
        seconds = time.perf_counter() - began
        thread, process = time.thread_time() - thread, time.process_time() - process
        place.__exit__()
    times = {}
    for (path, _, name), (_, _, _, cumulative, _) in pstats.Stats(profiler).stats.items():
        key = path.rsplit("/", 1)[-1], name
        times[key] = times.get(key, 0.0) + cumulative
    model = sum(
        times.get(("_admm.py", name), 0.0)
        for name in ("update", "absorb_update", "absorb_report", "task", "question")
    ) - times.get(("_admm.py", "submit"), 0.0)
    sending = times["_cluster.py", "submit"] + times.get(("_cluster.py", "release"), 0.0)
    looking = times.get(("_engines.py", "_offer_laggards"), 0.0)  # asks the scheduler, and waits
    waiting = max(0.0, times.get(("threading.py", "wait"), 0.0) - looking)
    taking = max(0.0, times["_cluster.py", "next"] - waiting)
    rows = {
        "model (ADMM, certificates)": model,
        "distributed: submit, release": sending,
        "distributed: as_completed": taking,
        "looking for laggards": looking,
        "engine loop": max(0.0, seconds - model - sending - taking - looking - waiting),
        "waiting for results": waiting,
        "distributed: messages, in their own thread": process - thread,
    }
    print(f"\n{n_blocks:,} blocks, {run.n_updates:,} updates in {seconds:.0f} s (profiled)")
    for name, value in rows.items():
        print(f"{name} | {value:.1f} s | {value / seconds:.0%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profiled", type=int, default=SIZES[-1], help="blocks")
    args = parser.parse_args()
    print("blocks | us a report | us an update | over 10 blocks")
    updates = []
    for n_blocks in SIZES:
        report, update = microseconds(n_blocks)
        updates.append(update)
        ratio = update / updates[0]
        print(f"{n_blocks:,} | {report:.0f} | {update:.0f} | {ratio:.2f}", flush=True)
    profile(args.profiled)


if __name__ == "__main__":
    main()
