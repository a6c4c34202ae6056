"""The engines on clusters that this machine is not: a discrete-event simulation.

    python benchmarks/simulate.py calibrate    # costs of a task, measured on a LocalCluster
    python benchmarks/simulate.py validate     # predicted against measured, 1 to 8 workers
    python benchmarks/simulate.py study        # tables, and plots in docs/images/

The package's own engines run on the cluster of `simulated_cluster`. Where the study needs to
know how many sweeps a fit takes, the tasks are computed as well: it is the real ADMM, with
the staleness that the simulated schedule gives it.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import dask.array as da
import matplotlib
import numpy as np
from distributed import wait
from harness import OUTPUT, cpu_seconds, local_cluster, timed
from internals import place_on, run_engine
from simulated_cluster import Cluster, Simulated, TimedRun, simulated_fit

from dask_lasso import AsyncLassoRegressor

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CALIBRATION = OUTPUT / "calibration.json"
IMAGES = Path(__file__).parents[1] / "docs" / "images"
ENGINES = {"sync": "tab:blue", "async": "tab:orange", "batched": "tab:green"}
MARKS = {"sync": "o", "async": "o", "batched": "x"}  # where two lines are one, both show


# -- fits whose tasks sleep ----------------------------------------------------------------


def loss(beta, X, y):
    return 0.5 * ((y - X @ beta) ** 2).sum()


class Gradient:
    """Of `loss`; it sleeps, or is counted where the sleep is simulated."""

    calls = 0

    def __init__(self, seconds, simulated=False):
        self.seconds, self.simulated = seconds, simulated

    def __call__(self, beta, X, y):
        if self.simulated:
            Gradient.calls += 1
        else:
            time.sleep(self.seconds)
        return X.T @ (X @ beta - y)

    def simulated_seconds(self, future, here):
        calls, Gradient.calls = Gradient.calls, 0
        return here + calls * self.seconds


def problem(n, k):
    """Rows of different scale, so that a fit takes some sweeps."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, k)) * np.repeat(rng.uniform(0.3, 3, 10), n // 10)[:, np.newaxis]
    return X, X[:, ::3].sum(axis=1) + rng.normal(size=n)


def chunked(X, y, n_chunks):
    rows = len(y) // n_chunks
    return da.from_array(X, chunks=(rows, -1)), da.from_array(y, chunks=rows)


def sleepy(engine, gradient, sweeps, n_blocks):
    return AsyncLassoRegressor(
        0.05, engine=engine, loss=(loss, gradient), tol=0, max_iter=sweeps, n_blocks=n_blocks
    )


# -- calibration -----------------------------------------------------------------------------


def nothing(data):
    """The task that costs its overhead only."""


def calibrate():
    """Measure what a task costs and write it to `CALIBRATION`."""
    n, k, tasks = 200, 10, 2_000
    with local_cluster(2) as client:
        X, y = client.persist(chunked(*problem(n, k), 2))
        wait([X, y])
        with place_on(client, X, y) as place:
            data = place.load_statistics()
            stream = place.as_completed([])

            def round_trip(fetch):
                began = time.perf_counter()
                future = place.submit(nothing, data[0])
                if fetch:
                    stream.add(future)
                    stream.next(float("inf"), one=True)
                else:
                    wait(future)
                seconds = time.perf_counter() - began
                place.release(future)
                time.sleep(0.02)  # so that no link is within its interval
                return seconds

            known, home = (np.median([round_trip(f) for _ in range(100)]) for f in (False, True))
            before, idle = cpu_seconds(client), time.perf_counter()
            time.sleep(2)
            at_rest = (cpu_seconds(client) - before) / (time.perf_counter() - idle)
            before, began, submitting = cpu_seconds(client), time.perf_counter(), 0.0
            for i in range(tasks):  # as an asynchronous engine: eight in flight, one at a time
                sending = time.thread_time()
                stream.add(place.submit(nothing, data[i % len(data)]))
                submitting += time.thread_time() - sending
                if i >= 8:
                    ((future, _),) = stream.next(float("inf"), one=True)
                    place.release(future)
            seconds = time.perf_counter() - began
            used = (cpu_seconds(client) - before - at_rest * seconds) / tasks
        submit = submitting / tasks
        costs = {
            "submit": submit,
            "result": used[0] - submit,
            "update": client_update(),
            "scheduler": used[1],
            "worker": used[2],
            "hop": max(0.0, (known - submit - used[1] - used[2]) / 4),
            "fetch": home - known,
        }
        model = sleepy("sync", Gradient(0.0), 1, 2)
        real = np.median([timed(model.fit, X, y)[0] for _ in range(6)])
    gradient = Gradient(0.0, simulated=True)
    model = sleepy("sync", gradient, 1, 2)
    place = simulated_fit(model, *problem(n, k), Cluster(2, **costs), gradient.simulated_seconds)
    costs["start"] = max(0.0, real - place.now)
    CALIBRATION.parent.mkdir(exist_ok=True)
    CALIBRATION.write_text(json.dumps(costs, indent=1))
    for name, value in costs.items():
        print(f"{name:10} {1e3 * value:7.3f} ms")
    print(f"{tasks / seconds:.0f} tasks a second on this machine's cores")


def client_update(k=100, n_blocks=50):
    """Seconds of the client for taking one result into the estimate, beside the messages."""
    X, y = problem(n_blocks * 200, k)
    model = AsyncLassoRegressor(
        0.01, engine="async", polish=False, n_blocks=n_blocks, tol=0, max_iter=20
    )
    began, computing = time.perf_counter(), []
    simulated_fit(model, X, y, Cluster(2), lambda _, here: computing.append(here) or 0.0)
    return (time.perf_counter() - began - sum(computing)) / (20 * n_blocks)


def calibrated(workers, **settings):
    """A `Cluster` with the costs that were measured."""
    return Cluster(workers, **{**json.loads(CALIBRATION.read_text()), **settings})


def validate(n_blocks=16, sweeps=6, seconds=0.05, repeat=2):
    """Real fits of delayed updates against the same fits in virtual time."""
    n, k = 3200, 10
    X, y = problem(n, k)
    print("engine | workers | measured, s | predicted, s | error")
    errors = {engine: [] for engine in ENGINES}
    for workers in (1, 2, 4, 8):
        with local_cluster(workers) as client:
            rows = client.persist(chunked(X, y, n_blocks))
            wait(rows)
            real = {engine: [] for engine in ENGINES}
            for _ in range(repeat):
                for engine in ENGINES:
                    model = sleepy(engine, Gradient(seconds), sweeps, n_blocks)
                    real[engine].append(timed(model.fit, *rows)[0])
        for engine in ENGINES:
            gradient = Gradient(seconds, simulated=True)
            model = sleepy(engine, gradient, sweeps, n_blocks)
            place = simulated_fit(model, X, y, calibrated(workers), gradient.simulated_seconds)
            measured = np.median(real[engine])
            errors[engine].append(place.now / measured - 1)
            print(
                f"{engine} | {workers} | {measured:.2f} | {place.now:.2f}"
                f" | {errors[engine][-1]:+.1%}",
                flush=True,
            )
    for engine, values in errors.items():
        print(f"{engine}: error of predicted time {np.abs(values).max():.1%} at most")


# -- the study -------------------------------------------------------------------------------


def read(): ...


def report(data):
    return SimpleNamespace(defect=None)


class Sweeps:
    """The model of a fit of which only the time is of interest: ends after so many updates."""

    wants_updates, converged, samples_seen = True, False, 1
    updates_per_report = 2

    def __init__(self, updates):
        self.updates, self.reported, self.first = updates, set(), None

    def has_block(self, block):
        return block in self.reported

    def absorb_report(self, block, report):
        self.reported.add(block)

    def absorb_update(self, block, sent, value): ...

    def question(self): ...

    def task(self, block, data):
        return None, nothing, (data,)

    def update(self, n_updates):
        self.converged = n_updates >= self.updates


def sweep(engine, cluster, n_blocks, update, reading=0.0, sweeps=4):
    """Seconds of the first pass and of each later sweep, and shares of time at work."""
    seconds = {read: reading, report: 0.0, nothing: update}

    def load(place):
        rows = [place.submit(read) for _ in range(n_blocks)]
        return rows, [place.submit(report, block) for block in rows]

    ends = []
    for n in (1, sweeps):
        place = Simulated(cluster=cluster, seconds=lambda future, here: seconds[future.task])
        clock = SimpleNamespace(perf_counter=lambda place=place: place.now)
        run_engine(engine, place, load, Sweeps(n * n_blocks), TimedRun, clock)
        ends.append(place.now)
    later = (ends[1] - ends[0]) / (sweeps - 1)
    place.busy["scheduler"] -= max(0.0, place._free - place.now)  # still to be done at the end
    per_second = {name: busy / place.now for name, busy in place.busy.items()}
    per_second["workers"] /= cluster.workers
    return SimpleNamespace(first=ends[0], later=later, busy=per_second, place=place)


def fit(engine, cluster, n_blocks, work, max_staleness=None):
    """A real ADMM fit to 1e-6 in virtual time; `work`: seconds of worker time in a sweep.

    Chunks differ in scale, as real ones do. The statistics stand for the rows: a proximal
    step is exact, and takes the time that one by L-BFGS on the rows would.
    """
    rng = np.random.default_rng(1)
    n, k = 6400, 20
    X = rng.normal(size=(n, k)) @ rng.normal(size=(k, k))
    X *= np.repeat(rng.uniform(0.3, 3, 64), n // 64)[:, np.newaxis]
    y = X[:, ::3].sum(axis=1) + rng.normal(size=n)
    alpha = 0.1 * np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max() / n
    seconds = {"gram_update": work / n_blocks, "_statistics_of": work / n_blocks}
    model = AsyncLassoRegressor(
        alpha, engine=engine, polish=False, n_blocks=n_blocks, max_staleness=max_staleness
    )
    simulated_fit(model, X, y, cluster, lambda f, _: seconds.get(f.task.__name__, 0.0))
    return model


def study(parts):
    """Print the tables of docs/scaling.md and draw its plots."""
    for part in parts:
        PARTS[part]()


def saturation():
    print("\n1. Share of the time that workers work | update, s | workers | sync async batched")
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True, layout="constrained")
    sizes = [1, 4, 16, 64, 256, 1024]
    for axis, update in zip(axes, (0.05, 0.5, 5.0), strict=True):
        shares = {
            engine: [
                sweep(engine, calibrated(w, spread=0.3), 4 * w, update).busy["workers"]
                for w in sizes
            ]
            for engine in ENGINES
        }
        for i, w in enumerate(sizes):
            print(f"{update} | {w} | " + " ".join(f"{shares[e][i]:.0%}" for e in ENGINES))
        for engine, colour in ENGINES.items():
            axis.plot(sizes, shares[engine], "-" + MARKS[engine], color=colour, label=engine)
        axis.set(xscale="log", xlabel="workers", title=f"an update takes {update} s")
    axes[0].set_ylabel("share of the time that workers work")
    axes[0].legend()
    figure.savefig(IMAGES / "simulated_saturation.png", dpi=120)


def blocks_per_worker():
    print("\n2. Seconds (sweeps) to 1e-6, 16 workers, 10 s of work a worker and sweep")
    print("spread | blocks a worker | sync | async | batched")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    per_worker = [1, 2, 4, 8, 16]
    for axis, spread in zip(axes, (0.0, 0.7), strict=True):
        found = {}
        for engine, colour in ENGINES.items():
            found[engine] = [
                fit(engine, calibrated(16, spread=spread), 16 * b, work=160.0) for b in per_worker
            ]
            seconds = [model.history_["time"][-1] for model in found[engine]]
            axis.plot(per_worker, seconds, "-" + MARKS[engine], color=colour, label=engine)
        for i, b in enumerate(per_worker):
            row = (
                f"{found[e][i].history_['time'][-1]:.0f} ({found[e][i].n_iter_})" for e in ENGINES
            )
            print(f"{spread} | {b} | " + " | ".join(row))
        axis.set(xscale="log", xlabel="blocks a worker", title=f"spread of log durations {spread}")
    axes[0].set_ylabel("seconds to a gap of 1e-6")
    axes[0].legend()
    figure.savefig(IMAGES / "simulated_blocks.png", dpi=120)


def staleness():
    print("\n3. Seconds (sweeps, largest staleness) to 1e-6, 16 workers, 64 blocks, 1 s an update")
    print("max_staleness | alike | one worker 10 x slower | the same, blocks pinned")
    for bound in (None, 256, 128, 64, 32, 16):
        row = []
        for settings in (
            {},
            {"slow": {0: 10.0}},
            {"slow": {0: 10.0}, "offer": False, "steal": False},
        ):
            model = fit("async", calibrated(16, **settings), 64, 64.0, max_staleness=bound)
            row.append(
                f"{model.history_['time'][-1]:.0f} ({model.n_iter_}, {model.staleness_.max()})"
            )
        print(f"{bound} | " + " | ".join(row))


def stragglers():
    print("\n4. One of the workers slower, times the undisturbed time of a sweep; update 0.5 s")
    print("workers | slower | blocks | sync async batched")
    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for workers in (4, 16, 64):
        for moves in (False, True):
            lines = {engine: [] for engine in ENGINES}
            factors = (2.0, 5.0, 10.0, 20.0)
            for factor in factors:
                for engine in ENGINES:
                    cluster = calibrated(workers, steal=moves, offer=moves)
                    slow = replace(cluster, slow={0: factor})
                    calm = sweep(engine, cluster, 4 * workers, 0.5, sweeps=20)
                    rough = sweep(engine, slow, 4 * workers, 0.5, sweeps=20)
                    lines[engine].append(rough.later / calm.later)
                values = " ".join(f"{lines[e][-1]:.2f}" for e in ENGINES)
                print(f"{workers} | {factor:.0f} | {'may move' if moves else 'pinned'} | {values}")
            for engine, colour in ENGINES.items():
                if workers == 16:
                    label = f"{engine}, {'blocks may move' if moves else 'blocks pinned'}"
                    style = ("-" if moves else ":") + MARKS[engine]
                    axis.plot(factors, lines[engine], style, color=colour, label=label)
    axis.set(xlabel="one of 16 workers slower by", ylabel="time / undisturbed", yscale="log")
    axis.legend(fontsize="small")
    figure.savefig(IMAGES / "simulated_stragglers.png", dpi=120)


def failures():
    print("\n5. Failures: time / undisturbed, 500 workers, update 5 s, reading a block 20 s")
    print("failures a worker-hour | sync async batched")
    cluster = calibrated(500, reload=20.0)
    calm = {engine: sweep(engine, cluster, 2000, 5.0, sweeps=6) for engine in ENGINES}
    for rate in (0.01, 0.1, 1.0):
        rough = replace(cluster, failures=rate)
        row = [sweep(e, rough, 2000, 5.0, sweeps=6).later / calm[e].later for e in ENGINES]
        print(f"{rate} | " + " ".join(f"{ratio:.2f}" for ratio in row))


def largest():
    print("\n6. Workers, chunks | engine | read, 2 sweeps, s | client, scheduler, workers busy")
    for workers, blocks in ((100, 1_000), (1_000, 10_000), (10_000, 100_000)):
        for engine in ENGINES:
            cluster = calibrated(workers, spread=0.3)
            found = sweep(engine, cluster, blocks, 5.0, reading=5.0, sweeps=2)
            busy = ", ".join(f"{share:.0%}" for share in found.busy.values())
            print(f"{workers:,}, {blocks:,} | {engine} | ", end="")
            print(f"{found.first + found.later:.0f} | {busy}", flush=True)


PARTS = {
    part.__name__: part
    for part in (saturation, blocks_per_worker, staleness, stragglers, failures, largest)
}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["calibrate", "validate", "study"])
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    args = parser.parse_args()
    if args.what == "study":
        study(args.parts)
    else:
        {"calibrate": calibrate, "validate": validate}[args.what]()
