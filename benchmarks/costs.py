"""Where the time of a fit goes: profiles, and the constants of the cost model."""

from __future__ import annotations

import cProfile
import pstats
from collections import Counter
from pathlib import Path

import dask.array as da
import numpy as np
from distributed import get_task_stream, wait
from harness import Table, cpu_seconds, local_cluster, median_time, persisted, size, timed, workers
from internals import from_rows, merge, place_on
from threadpoolctl import threadpool_limits

import dask_lasso
from dask_lasso import AsyncLassoRegressor

PACKAGE = str(Path(dask_lasso.__file__).parent)


def data(n, k, chunk):
    X = da.random.default_rng(0).standard_normal((n, k), chunks=(chunk, k))
    return persisted(X, X[:, 0] + da.random.default_rng(1).standard_normal(n, chunks=chunk))


def case_where_time_goes():
    """The client by the room of the code it is in, every process by CPU, workers by task.

    The cluster runs in another process than the client, so that each has CPU time of its own.
    For few large chunks, for many small ones, and for one sweep of ADMM over many blocks.
    """
    admm = dict(engine="async", polish=False, tol=0, max_iter=1, n_blocks=size(10_000))
    for title, (n, k, rows), params in (
        ("1,000,000 x 100, 20 chunks", (size(1_000_000), 100, size(50_000)), {}),
        ("200,000 x 1,000, 20 chunks", (size(200_000), 1_000, size(10_000)), {}),
        ("10,000 chunks of 100 x 20", (size(1_000_000), 20, 100), {}),
        ("10,000 blocks of 100 x 20, a sweep of ADMM", (size(1_000_000), 20, 100), admm),
    ):
        with local_cluster(2) as client:
            X, y = data(n, k, rows)
            model = AsyncLassoRegressor(0.1, **params)
            seconds, found = profile(client, model, X, y, size(5 if n // rows < 1000 else 3))
            yield Table(f"{title}: {seconds:.3f} s, profiled", ["where", "ms", "share"], found)
            del X, y
    yield chunk(size(50_000), 100)


def profile(client, model, X, y, repeat):
    """Seconds of the median fit of several, and a row for each part of it."""
    runs = []
    for _ in range(repeat + 1):
        profiler = cProfile.Profile()
        with get_task_stream(client) as stream:
            before = cpu_seconds(client)
            seconds, _ = timed(lambda run=profiler.runcall: run(model.fit, X, y))
            cpu = cpu_seconds(client) - before
        tasks = Counter()
        for record in stream.data:
            for part in record["startstops"]:
                name = str(record["key"]).split("'")[-2 if "('" in str(record["key"]) else 0]
                kind = name.rsplit("-", 1)[0] if part["action"] == "compute" else part["action"]
                tasks[kind] += part["stop"] - part["start"]
        runs.append((seconds, rooms(profiler), cpu, tasks))
    runs = sorted(runs[1:], key=lambda run: run[0])  # the first one is a warm-up
    seconds, client_seconds, cpu, tasks = runs[len(runs) // 2]
    rows = [(f"client: {room}", spent, seconds) for room, spent in client_seconds.most_common()]
    processes = zip(("client", "scheduler", "workers"), cpu, strict=True)
    rows += [(f"CPU of the {name}", spent, None) for name, spent in processes]
    rows += [(f"workers: {kind}", spent, 2 * seconds) for kind, spent in tasks.most_common(6)]
    rows.append(("workers: idle", 2 * seconds - sum(tasks.values()), 2 * seconds))
    return seconds, [
        [name, f"{1e3 * spent:.0f}", "" if whole is None else f"{spent / whole:.0%}"]
        for name, spent, whole in rows
    ]


def rooms(profiler):
    """Own time of the fit's thread by room of the package, or by the library that is called."""
    times = Counter()
    for function, (_, _, own, _, callers) in pstats.Stats(profiler).stats.items():
        if "acquire" in function[2]:
            times["waiting"] += own
        elif function[0] == "~":  # built in: counts where it is called
            for caller, (_, _, share, _) in callers.items():
                times[room(caller[0])] += share
        else:
            times[room(function[0])] += own
    return times


def room(path):
    if path.startswith(PACKAGE):
        return path[len(PACKAGE) + 1 :].split("/")[0]
    if "/distributed/" in path or "/dask/" in path:
        return "dask and distributed"
    return "other libraries"


def chunk(n, k):
    """A chunk's statistics against their products alone, one thread."""
    X, y = np.random.default_rng(0).standard_normal((n, k)), np.ones(n)
    gram, tile = np.zeros((k, k)), 2**17 // k

    def products():
        for start in range(0, n, tile):
            rows = X[start : start + tile]
            np.add(gram, rows.T @ rows, out=gram)

    contenders = {
        "statistics": lambda: from_rows(X, y),
        "their products alone": products,
        "statistics of columns far from zero, which are shifted first": lambda: from_rows(X + 3, y),
    }
    with threadpool_limits(1, user_api="blas"):
        rows = [[name, f"{1e3 * median_time(run, 9):.1f}"] for name, run in contenders.items()]
    return Table(f"a chunk of {n:,} x {k}, one thread", ["", "ms"], rows)


def case_cost_model():
    """The constants of the cost model, from fits of chunks that are too small to matter."""
    yield statistics_rate()
    with workers() as client:
        yield per_report(client)
        yield per_chunk(client)


def statistics_rate():
    rows = []
    with threadpool_limits(1, user_api="blas"):
        for n, k in ((200_000, 20), (50_000, 100), (5_000, 1_000)):
            n = size(n)
            X, y = np.random.default_rng(0).standard_normal((n, k)), np.ones(n)
            seconds = median_time(lambda X=X, y=y: from_rows(X, y))
            rate = n * k * k / seconds / 1e9
            rows.append([f"{n:,} x {k}", f"{1e9 * seconds / n:.0f}", f"{rate:.1f}"])
    columns = ["rows x k", "ns per row, one thread", "k^2 per row, 10^9 per second"]
    return Table("statistics of a chunk", columns, rows)


def statistics_of_size(k, i):
    rng = np.random.default_rng(i)
    return from_rows(rng.standard_normal((2 * k, k)), rng.standard_normal(2 * k))


def per_report(client):
    """A block's statistics on their way home, and merging them."""
    rows = []
    for k in (10, 100, 1_000):
        futures = [client.submit(statistics_of_size, k, i, pure=False) for i in range(8)]
        wait(futures)
        gather = median_time(lambda f=futures: [client.gather(future) for future in f]) / 8
        part = statistics_of_size(k, 0)
        merging = median_time(lambda part=part: merge([part, part]))
        nbytes = sum(value.nbytes for value in part if isinstance(value, np.ndarray))
        rows.append([k, f"{nbytes:,}", f"{1e3 * gather:.1f}", f"{1e3 * merging:.2f}"])
    columns = ["k", "bytes of a report", "to the client, ms", "a merge, ms"]
    return Table("a report", columns, rows)


def per_chunk(client):
    """Seconds of a fit against the number of chunks, and of sending the graph alone."""
    rows = []
    for n_chunks in (100, 1_000, 4_000):
        n_chunks = size(n_chunks, 10)
        X, y = data(n_chunks * 100, 20, 100)
        fit = median_time(lambda X=X, y=y: AsyncLassoRegressor(0.1).fit(X, y))

        def send(X=X, y=y):
            with place_on(client, X, y) as place:
                blocks = place.load_statistics()
                wait(blocks)
                return len(blocks), client.run_on_scheduler(n_tasks)

        def submit(X=X, y=y):
            with place_on(client, X, y) as place:
                place.load_statistics()

        blocks, tasks = send()
        tasks -= 2 * n_chunks  # the rows themselves
        rows.append([n_chunks, tasks, blocks, f"{fit:.2f}", f"{median_time(submit):.2f}"])
    columns = ["chunks of 100 x 20", "tasks of the fit", "blocks", "seconds", "to send the graph"]
    return Table("chunks", columns, rows)


def n_tasks(dask_scheduler):
    return len(dask_scheduler.tasks)
