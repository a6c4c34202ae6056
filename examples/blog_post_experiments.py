"""
The experiments of "Asynchronous Optimization Algorithms with Dask" (2017), again
=================================================================================

The three engines on the post's problem (normal features, chunks alike), on photographs or on
text (real chunks, all different), with L-BFGS local updates on raw chunks; perhaps with a worker
that is slower than the others. For each engine the task stream as an HTML page and as a PNG; for
all three one figure of the residuals, the objective and the staleness against time.

python examples/blog_post_experiments.py --rows 200000 --workers 2
python examples/blog_post_experiments.py --data photographs --rows 60000 --workers 4 --slower 10
python examples/blog_post_experiments.py --data text
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import threading
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import dask
import dask.array as da
import matplotlib
import numpy as np
from distributed import Client, LocalCluster, get_task_stream
from sklearn.datasets import load_sample_images
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import HashingVectorizer
from text_features import functions, source_files

from dask_lasso import AsyncLassoRegressor

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ENGINES = {"sync": "tab:blue", "async": "tab:orange", "batched": "tab:green"}
COLUMNS = 128  # of text
COLOURS = {
    "rows-update": "tab:blue",
    "update-and-answer": "tab:purple",
    "sums": "tab:red",
    "summarise": "tab:green",
}


def blog_post(rows):
    """The post's problem: 100 normal features, a sparse truth, noise."""
    X = da.random.default_rng(0).normal(size=(rows, 100), chunks=(max(1, rows // 20), 100))
    noise = da.random.default_rng(1).normal(size=rows, chunks=X.chunks[0])
    return X, X[:, :10] @ np.arange(1.0, 11.0) + noise


def photographs(rows, radius=3):
    """Each pixel's green from the pixels above and to the left of it."""
    tables = []
    for photo, image in enumerate(load_sample_images().images):
        height, width, _ = image.shape
        shape = (height - radius) * (width - 2 * radius), 6 * radius * (radius + 1) + 1
        tables.append(da.from_delayed(dask.delayed(pixels)(photo, radius), shape, dtype=float))
    table = da.concatenate(tables)[:rows]
    table = table.rechunk((max(1, len(table) // 20), -1))
    return table[:, :-1], table[:, -1]


def pixels(photo, radius):
    """A row per pixel: its neighbours' colours, and its green; made where dask puts it."""
    image = load_sample_images().images[photo] / 255.0
    height, width, _ = image.shape
    columns = [
        image[radius + i : height + i, radius + j : width - radius + j, colour].ravel()
        for i in range(-radius, 1)
        for j in range(-radius, radius + 1)
        if i < 0 or j < 0
        for colour in range(3)
    ]
    return np.column_stack([*columns, image[radius:, radius : width - radius, 1].ravel()])


def text(rows):
    """How long a function is, by the words of its docstring; in the order of packages and files."""
    pairs = dict(pair for path in source_files() for pair in functions(path))
    texts = list(pairs)[:rows]
    step = max(1, len(texts) // 20)
    parts = [texts[start : start + step] for start in range(0, len(texts), step)]
    X = [da.from_delayed(words(part), (len(part), COLUMNS), dtype=float) for part in parts]
    y = np.log([float(pairs[text]) for text in texts])
    return da.concatenate(X), da.from_array(y, chunks=step)


@dask.delayed
def words(texts):
    """Words of texts, hashed into a few columns."""
    return HashingVectorizer(n_features=COLUMNS, alternate_sign=False).transform(texts).toarray()


@contextmanager
def slower(pid, factor, period=0.02):
    """The process does nothing for a share of the time, as if it were slower by a factor."""
    done = threading.Event()

    def stop_and_go():
        while not done.is_set():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(period * (1 - 1 / factor))
            os.kill(pid, signal.SIGCONT)
            time.sleep(period / factor)

    thread = threading.Thread(target=stop_and_go)
    if factor > 1:
        thread.start()
    try:
        yield
    finally:
        done.set()
        if factor > 1:
            thread.join()


def draw_stream(records, title, path):
    """The task stream: one row per worker, one bar per task, a gap where it waited."""
    workers = sorted({record["worker"] for record in records})
    start = min(record["startstops"][0]["start"] for record in records)
    figure, axes = plt.subplots(figsize=(11, 0.8 + 0.5 * len(workers)), layout="constrained")
    for record in records:
        name = "-".join(str(record["key"]).split("-")[1:-1])
        for part in record["startstops"]:
            colour = "black" if part["action"] == "transfer" else COLOURS.get(name, "0.7")
            axes.broken_barh(
                [(part["start"] - start, part["stop"] - part["start"])],
                (workers.index(record["worker"]) - 0.4, 0.8),
                color=colour,
                linewidth=0,
            )
    axes.set(title=title, xlabel="seconds", yticks=range(len(workers)))
    axes.set_yticklabels([f"worker {i}" for i in range(len(workers))])
    for name, colour in COLOURS.items():
        axes.barh(0, 0, color=colour, label=name)
    axes.legend(loc="upper right", fontsize="small")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_convergence(histories, path):
    """Residuals, distance of the objective to its best, and staleness, against time."""
    n = max(history["samples_seen"].max() for history in histories.values())
    # An objective of part of the rows is that of another problem.
    objectives = {
        engine: np.where(history["samples_seen"] == n, history["objective"], np.nan)
        for engine, history in histories.items()
    }
    best = min(np.nanmin(values) for values in objectives.values())
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), sharex=True, layout="constrained")
    panels = dict(
        zip(["primal_residual", "dual_residual", "objective", "staleness"], axes.flat, strict=False)
    )
    for engine, history in histories.items():
        for name, axis in panels.items():
            values = history[name]
            if name == "objective":
                values = np.maximum(objectives[engine] / best - 1, 1e-9)
            elif name == "staleness":
                values = np.nan_to_num(values)  # nothing in flight: nothing is stale
            else:
                values = np.where(values > 0, values, np.nan)  # 0: there was no estimate before
            axis.plot(history["time"], values, ".-", color=ENGINES[engine], label=engine)
    for name, axis in panels.items():
        axis.set_title("objective / best - 1" if name == "objective" else name.replace("_", " "))
        axis.set_yscale("linear" if name == "staleness" else "log")
        axis.set_xlabel("seconds")
    axes[0, 0].legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


DATA = {"post": blog_post, "photographs": photographs, "text": text}


def main():
    """Run the three engines and write what there is to see."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=list(DATA), default="post")
    parser.add_argument("--rows", type=int, default=200_000, help="at most")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--alpha", type=float, default=0.1, help="as a share of alpha_max")
    parser.add_argument("--tol", type=float, default=1e-6, help="relative duality gap")
    parser.add_argument("--slower", type=float, default=1.0, help="one worker, so many times")
    parser.add_argument("--seconds", type=float, help="at most, for each engine")
    parser.add_argument("--output", type=Path, default=Path("blog_post_experiments"))
    args = parser.parse_args()
    args.output.mkdir(exist_ok=True)
    warnings.simplefilter("ignore", ConvergenceWarning)  # of a fit that is stopped: it is printed
    with (
        LocalCluster(n_workers=args.workers, threads_per_worker=1) as cluster,
        Client(cluster) as client,
    ):
        X, y = client.persist(DATA[args.data](args.rows))
        centred = y - y.mean()
        alpha = args.alpha * float(abs(X.T @ centred - X.mean(axis=0) * centred.sum()).max())
        alpha /= len(y)
        gc.freeze()  # a collection of all that was imported, 0.4 s, would fall into some fit
        histories = {}
        slow = next(iter(client.run(os.getpid).values()))
        for engine in ENGINES:
            name = args.output / f"{args.data}-{engine}"
            with (
                slower(slow, args.slower),
                get_task_stream(client, plot="save", filename=f"{name}.html") as stream,
            ):
                began = time.perf_counter()
                model = AsyncLassoRegressor(
                    alpha,
                    engine=engine,
                    local_solver="lbfgs",
                    tol=args.tol,
                    max_time=args.seconds,
                ).fit(X, y)
                seconds = time.perf_counter() - began
            histories[engine] = model.history_
            draw_stream(stream.data, f"{engine}: {seconds:.1f} s", f"{name}.png")
            busy = sum(
                part["stop"] - part["start"]
                for record in stream.data
                for part in record["startstops"]
                if part["action"] == "compute"
            )
            stopped = ", stopped" if args.seconds and seconds >= args.seconds else ""
            print(
                f"{engine:8} {seconds:6.2f} s{stopped},"
                f" {model.n_iter_:3d} sweeps,"
                f" {model.history_['n_evaluations'][-1] / len(model.staleness_):.0f} evaluations,"
                f" first estimate after {model.history_['time'][0]:.2f} s,"
                f" workers busy {busy / seconds / args.workers:.0%},"
                f" staleness at most {model.staleness_.max()}, gap {model.dual_gap_:.1e}"
            )
        draw_convergence(histories, args.output / f"{args.data}-convergence.png")
    print(f"Task streams (HTML, PNG) and convergence are in {args.output}/.")


if __name__ == "__main__":
    main()
