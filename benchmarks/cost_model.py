"""What a fit costs beyond reading the data, per chunk and per block, and where that ends.

    python benchmarks/cost_model.py

Fits chunks that are too small to matter and reads the costs off the slopes: seconds per
chunk (graph, scheduler, a worker's overhead), seconds per report at the client, tasks per
fit, bytes per chunk of the graph and per report. Then what these say of 1,000 workers and
100,000 chunks.
"""

from __future__ import annotations

import json
import logging
import pickle
import time

import dask
import dask.array as da
import numpy as np
from distributed import Client, wait
from harness import OUTPUT, machine

from dask_lasso import AsyncLassoRegressor
from dask_lasso.places.cluster import OnCluster
from dask_lasso.places.input import part_of
from dask_lasso.places.joined import Joined as Rows
from dask_lasso.places.waiting import Waiting
from dask_lasso.rows.statistics import merge_statistics as merge
from dask_lasso.rows.statistics import statistics_of_rows as from_rows

REPEATS = 3


def persisted(n_chunks, rows, k):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_chunks * rows, k))
    y = X[:, 0] + rng.standard_normal(len(X))
    arrays = da.from_array(X, chunks=(rows, k)), da.from_array(y, chunks=rows)
    arrays = dask.persist(*arrays)
    wait(arrays)
    return arrays


def median_time(function):
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def tasks_and_bytes(client, X, y):
    """Tasks of one fit and pickled bytes of its graph."""
    from dask_lasso.places import cluster as _cluster

    waiting = Waiting(client)
    place = OnCluster(waiting, Rows([part_of("X", X), part_of("y", y)], waiting))
    graph, keys = _cluster.statistics_graph(place._joined.chunks, place._edges)[:2]
    mine = [key for key in graph if str(key[0]).startswith("lasso-")]
    tasks = {key: graph[key] for key in mine}
    return len(mine), len(keys), len(pickle.dumps(tasks))


def per_chunk(client):
    """Seconds of a fit against the number of chunks, and of the graph's submission alone."""
    rows = []
    for n_chunks in (100, 1_000, 4_000):
        X, y = persisted(n_chunks, 100, 20)
        model = AsyncLassoRegressor(0.1)
        fit = median_time(lambda X=X, y=y, model=model: model.fit(X, y))
        submit = median_time(lambda X=X, y=y: _submit(client, X, y))
        tasks, blocks, size = tasks_and_bytes(client, X, y)
        rows.append(
            {
                "chunks": n_chunks,
                "fit": fit,
                "submit": submit,
                "tasks": tasks,
                "blocks": blocks,
                "graph_bytes_per_chunk": size / n_chunks,
            }
        )
        print(rows[-1], flush=True)
    return rows


def _submit(client, X, y):
    waiting = Waiting(client)
    with OnCluster(waiting, Rows([part_of("X", X), part_of("y", y)], waiting)) as place:
        place.load_statistics()


def per_report(client):
    """Seconds and bytes of a block's statistics on their way home, and of merging them."""
    rows = []
    for k in (10, 100, 1_000):
        part = from_rows(np.random.default_rng(0).standard_normal((2 * k, k)), np.ones(2 * k))
        futures = [client.submit(_statistics_of_size, k, i, pure=False) for i in range(8)]
        wait(futures)
        gather = median_time(lambda f=futures: [client.gather(future) for future in f]) / 8
        merging = median_time(lambda part=part: merge([part, part]))
        size = sum(value.nbytes for value in part if isinstance(value, np.ndarray))
        rows.append({"k": k, "bytes": size, "gather": gather, "merge": merging})
        print(rows[-1], flush=True)
    return rows


def _statistics_of_size(k, i):
    rng = np.random.default_rng(i)
    return from_rows(rng.standard_normal((2 * k, k)), rng.standard_normal(2 * k))


def statistics_rate():
    """Seconds per row and squared feature, one thread."""
    from threadpoolctl import threadpool_limits

    rows = []
    with threadpool_limits(1, user_api="blas"):
        for n, k in ((200_000, 20), (50_000, 100), (5_000, 1_000)):
            X, y = np.random.default_rng(0).standard_normal((n, k)), np.ones(n)
            seconds = median_time(lambda X=X, y=y: from_rows(X, y))
            rows.append({"rows": n, "k": k, "seconds_per_row": seconds / n})
            rows[-1]["gflops"] = n * k * k / seconds / 1e9
            print(rows[-1], flush=True)
    return rows


def main():
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    report = {"machine": machine(), "statistics": statistics_rate()}
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        report["reports"] = per_report(client)
        report["chunks"] = chunks = per_chunk(client)
    first, last = chunks[0], chunks[-1]
    n = last["chunks"] - first["chunks"]
    report["seconds_per_chunk"] = (last["fit"] - first["fit"]) / n
    report["submit_seconds_per_chunk"] = (last["submit"] - first["submit"]) / n
    print({key: report[key] for key in ("seconds_per_chunk", "submit_seconds_per_chunk")})
    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / "cost_model.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
