"""What every benchmark case shares: interleaved timing, the gap, the machine, the tables."""

from __future__ import annotations

import json
import logging
import os
import pickle
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

import dask
import numpy as np
from distributed import Client, LocalCluster, wait

HERE = Path(__file__).parent
OUTPUT = HERE / "output"
SHRINK = 1  # what sizes are divided by: more than 1 only looks whether a case runs


def size(n: int, least: int = 1) -> int:
    """How many rows, chunks or sweeps a case has."""
    return max(least, n // SHRINK)


@dataclass
class Contender:
    """One row of a table: a function that fits and returns a model, (coef, intercept) or None."""

    name: str
    run: callable
    once: bool = False  # slow: run one time, with a time limit, in a process of its own
    limit: float = 60.0  # seconds, for a slow one
    setup: float = 5.0  # seconds that its process may take beside
    rounds: int | None = None  # timed in so many rounds only, without a warm-up
    own_clock: bool = False  # `run` returns its own seconds and the result
    note: callable = None  # result -> what else there is to say


@dataclass
class Case:
    """Contenders that are timed in turn, and what their times are divided by."""

    title: str
    contenders: list[Contender]
    bare: str  # the contender that is the bare pass
    gap: callable = None  # (coef, intercept) -> relative duality gap
    targets: list[str] = field(default_factory=list)  # what the case is there to show
    rounds: int | None = None  # instead of what the command line says


@dataclass
class Table:
    """Figures that are no times of contenders; a case yields it when they are there."""

    title: str
    columns: list[str]
    rows: list[list]


def relative_gap(X, y, alpha, coef, fit_intercept=True, rows_at_once=50_000):
    """Relative duality gap of a lasso from the raw rows, dense or sparse, in one function for all.

    The primal value at (coef, the best intercept for it), the dual value at the centred
    residual scaled into the dual's box; over ``||y - mean(y)||^2 / n``, as `tol` is.
    """
    n = len(y)
    coef = np.asarray(coef, dtype=np.float64).ravel()
    parts = [slice(i, i + rows_at_once) for i in range(0, n, rows_at_once)]
    x_mean, y_mean = np.zeros(len(coef)), 0.0
    if fit_intercept:
        x_mean = sum(np.asarray(X[part].sum(axis=0)).ravel() for part in parts) / n
        y_mean = y.mean(dtype=np.float64)
    rr = ry = yy = 0.0
    correlation = np.zeros(len(coef))
    for part in parts:
        target = y[part] - y_mean
        residual = target - (X[part] @ coef - x_mean @ coef)
        correlation += X[part].T @ residual - x_mean * residual.sum()
        rr, ry, yy = rr + residual @ residual, ry + residual @ target, yy + target @ target
    scale = min(1.0, alpha * n / max(np.abs(correlation).max(), 1e-300))
    primal = rr / 2 + alpha * n * np.abs(coef).sum()
    dual = scale * ry - scale**2 * rr / 2
    return (primal - dual) / yy


def run_case(case: Case, repeats: int = 5) -> dict:
    """Time the contenders in turn, `repeats` times; medians, ratios and gaps."""
    repeats = case.rounds or repeats
    seconds = {contender.name: [] for contender in case.contenders}
    results, notes = {}, {}
    for contender in (c for c in case.contenders if c.once):
        print(f"  {contender.name} (once, at most {contender.limit:.0f} s)", flush=True)
        value = _run_with_limit(contender)
        if value is None or (contender.own_clock and value[1] is None):
            notes[contender.name] = f"stopped after {contender.limit:.0f} s"
            seconds[contender.name].append(contender.limit)
        else:
            elapsed, results[contender.name] = value[1] if contender.own_clock else value
            seconds[contender.name].append(elapsed)
    for repeat in range(repeats + 1):  # the first is a warm-up
        for contender in (c for c in case.contenders if not c.once):
            if contender.rounds is not None and not 0 < repeat <= contender.rounds:
                continue
            elapsed, result = timed(contender.run)
            if contender.own_clock:
                elapsed, result = result
            if result is not None:
                results[contender.name] = result
            if repeat:
                seconds[contender.name].append(elapsed)
        print(f"  round {repeat} of {repeats}", flush=True)
    bare = np.median(seconds[case.bare])
    rows = []
    for contender in case.contenders:
        name, values, result = contender.name, seconds[contender.name], results.get(contender.name)
        gap = None
        if result is not None and case.gap is not None:
            gap = float(case.gap(*_coefficients(result)))
        note = notes.get(name, f"median of {len(values)}" if len(values) > 1 else "once")
        if contender.note is not None and name not in notes:
            note += f"; {contender.note(result)}"
        rows.append(
            {
                "contender": name,
                "seconds": float(np.median(values)),
                "min": float(np.min(values)),
                "max": float(np.max(values)),
                "ratio": float(np.median(values) / bare),
                "relative_gap": gap,
                "note": note,
                "is_stopped": name in notes,
            }
        )
    return {"title": case.title, "bare": case.bare, "targets": case.targets, "rows": rows}


def _coefficients(result):
    return result if isinstance(result, tuple) else (result.coef_, result.intercept_)


def timed(function, *args):
    """Seconds of a call, and what it returned."""
    began = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - began, result


def median_time(function, repeats=3) -> float:
    """Median seconds of a few calls."""
    return float(np.median([timed(function)[0] for _ in range(repeats)]))


def _run_with_limit(contender: Contender):
    """Seconds and result of a run in a forked process, or None after its time limit."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        try:
            payload = pickle.dumps(timed(contender.run))
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(payload)
        finally:
            os._exit(0)
    os.close(writer)
    deadline = time.perf_counter() + contender.limit + contender.setup
    while time.perf_counter() < deadline:
        done, _ = os.waitpid(child, os.WNOHANG)
        if done:
            with os.fdopen(reader, "rb") as pipe:
                payload = pipe.read()
            return pickle.loads(payload) if payload else None
        time.sleep(0.05)
    os.killpg(child, 9)  # with the processes that it has started
    os.waitpid(child, 0)
    os.close(reader)
    return None


class Elsewhere:
    """A peer in an environment of its own: a Python process that fits on saved arrays.

    Parameters
    ----------
    packages : list of str
        Installed into ``benchmarks/.environments/<name>`` on first use.
    code : str
        Defines ``fit(X, y, alpha) -> (coef, intercept)``.
    """

    def __init__(self, name, packages, code):
        environment = HERE / ".environments" / name
        python = environment / "bin" / "python"
        if not python.exists():
            print(f"  making an environment for {name}", flush=True)
            subprocess.run([sys.executable, "-m", "venv", environment], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        self._folder = tempfile.TemporaryDirectory()
        self._python, self._code = python, code

    def load(self, X, y, alpha):
        """Start the process and give it the data; not timed."""
        folder = Path(self._folder.name)
        np.save(folder / "X.npy", X)
        np.save(folder / "y.npy", y)
        program = "\n".join(
            [
                "import sys, time, numpy as np",
                self._code,
                f"X, y = np.load({str(folder / 'X.npy')!r}), np.load({str(folder / 'y.npy')!r})",
                "for line in sys.stdin:",
                "    began = time.perf_counter()",
                f"    coef, intercept = fit(X, y, {alpha!r})",
                "    elapsed = time.perf_counter() - began",
                f"    np.savez({str(folder / 'out.npz')!r}, coef=coef, intercept=intercept)",
                "    print('SECONDS', elapsed, flush=True)",
            ]
        )
        self._process = subprocess.Popen(
            [self._python, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def run(self):
        """Fit once; the seconds that the other process measured, and its result."""
        self._process.stdin.write("fit\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("SECONDS"):
                out = np.load(Path(self._folder.name) / "out.npz")
                return float(line.split()[1]), (out["coef"], float(out["intercept"]))
        raise RuntimeError("the peer's process ended")

    def close(self):
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


@contextmanager
def workers(n_workers=2, **options):
    """A Client of worker processes of one thread, with the scheduler in this process."""
    options = dict(threads_per_worker=1, dashboard_address=None, memory_limit=0, **options)
    with Client(n_workers=n_workers, **options) as client:
        yield client


def persisted(*collections):
    """The collections, in the workers' memory."""
    collections = dask.persist(*collections)
    wait(collections)
    return collections


@contextmanager
def local_cluster(n_workers):
    """A Client of a LocalCluster in another process, so that each has its own CPU time."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_cluster, args=(n_workers, theirs))
    process.start()
    try:
        with Client(ours.recv()) as client:
            client.wait_for_workers(n_workers)
            yield client
    finally:
        ours.send("stop")
        process.join()


def _serve_cluster(n_workers, pipe):
    options = dict(threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL)
    with LocalCluster(n_workers=n_workers, **options) as cluster:
        pipe.send(cluster.scheduler_address)
        pipe.recv()


def cpu_seconds(client):
    """CPU time so far of the client, the scheduler, and the workers together."""
    workers = sum(client.run(time.process_time).values())
    return np.array([time.process_time(), client.run_on_scheduler(time.process_time), workers])


def machine() -> dict:
    """What the figures were measured on."""
    names = "numpy scipy scikit-learn dask distributed dask-ml dask-glm celer skglm"
    packages = {}
    for name in names.split():
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = lines[0].split(":")[1].strip() if lines else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "packages": packages,
    }


def markdown(result: dict) -> str:
    """One case as a Markdown table."""
    lines = [f"### {result['title']}", ""]
    lines += [f"- {target}" for target in result.get("targets", ())] + [""]
    if "columns" in result:
        lines += [" | ".join(map(str, row)).join(("| ", " |")) for row in _cells(result)]
        return "\n".join(lines) + "\n"
    lines += [
        f"| | seconds (min - max) | x {result['bare']} | relative gap | |",
        "|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        gap = "" if row["relative_gap"] is None else f"{row['relative_gap']:.1e}"
        time_text = f"{row['seconds']:.3f} ({row['min']:.3f} - {row['max']:.3f})"
        more = ""
        if row.get("is_stopped"):
            more, time_text = "more than ", f"{row['seconds']:.0f}"
        lines.append(
            f"| {row['contender']} | {more}{time_text} | {more}{row['ratio']:.2f} | {gap} |"
            f" {row['note']} |"
        )
    return "\n".join(lines) + "\n"


def _cells(table):
    return [table["columns"], ["---"] * len(table["columns"]), *table["rows"]]


def save(result: dict) -> None:
    """Add a case to results.json, results.md and the plot of the ratios."""
    OUTPUT.mkdir(exist_ok=True)
    path = OUTPUT / "results.json"
    report = {"machine": machine(), "cases": {}}
    if path.exists():
        report["cases"] = json.loads(path.read_text())["cases"]
    report["cases"][result["title"]] = result
    path.write_text(json.dumps(report, indent=1))
    described = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    tables = "\n".join(markdown(result) for result in report["cases"].values())
    (OUTPUT / "results.md").write_text(f"Measured on: {described}\n\n{tables}")
    timed_cases = {name: case for name, case in report["cases"].items() if "bare" in case}
    if timed_cases:
        _plot(timed_cases)


def _plot(cases):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n = len(cases)
    heights = [1.2 + 0.32 * len(case["rows"]) for case in cases.values()]
    figure, axes = plt.subplots(
        n, 1, figsize=(8, sum(heights)), squeeze=False, height_ratios=heights
    )
    for axis, case in zip(axes[:, 0], cases.values(), strict=True):
        rows = [row for row in case["rows"] if not row.get("is_stopped")][::-1]
        names = [row["contender"] for row in rows]
        colors = ["C0" if name.startswith("dask_lasso") else "0.7" for name in names]
        axis.barh(names, [row["ratio"] for row in rows], color=colors)
        axis.axvline(1, color="k", lw=0.8)
        if max(row["ratio"] for row in rows) > 20:
            axis.set_xscale("log")
            axis.set_xlim(left=0.1)
        axis.set_xlabel(f"time / time of '{case['bare']}'")
        axis.set_title(case["title"], fontsize=10, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(OUTPUT / "results.png", dpi=110)
    plt.close(figure)
