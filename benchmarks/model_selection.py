"""Choosing alpha on Dask: one pass against the ways of today.

    python benchmarks/model_selection.py

5 folds x 100 alphas on persisted 1,000,000 x 100 float64 in 20 chunks, on two worker
processes. Times are medians of interleaved runs, the last two peers excepted.
"""

from __future__ import annotations

import argparse
import json
import logging
import time

import dask
import dask.array as da
import numpy as np
from dask_ml.model_selection import GridSearchCV
from distributed import Client, LocalCluster, wait
from harness import OUTPUT, machine
from sklearn.linear_model import Lasso, LassoCV

from dask_lasso import AsyncLassoCV, AsyncLassoRegressor
from dask_lasso.rows.statistics import merge_statistics as merge
from dask_lasso.rows.statistics import statistics_of_rows as from_rows

FOLDS, ALPHAS = 5, 100


def data(n_rows, n_features, chunk):
    rng = da.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_features), chunks=(chunk, n_features))
    noise = rng.normal(scale=3, size=n_rows, chunks=chunk)
    X, y = dask.persist(X, X[:, :10].sum(axis=1) + noise)
    wait([X, y])
    return X, y


def bare_pass(X, y):
    """The statistics of all rows and nothing else, by plain delayed and compute."""
    chunks = zip(X.to_delayed().ravel(), y.to_delayed(), strict=True)
    return dask.delayed(merge)([dask.delayed(from_rows)(*rows) for rows in chunks]).compute()


def timed(function):
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result


def interleaved(contenders, repeats):
    times = {name: [] for name in contenders}
    for run in contenders.values():  # once to warm up
        run()
    for _ in range(repeats):
        for name, run in contenders.items():
            times[name].append(timed(run)[0])
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


def partial_fits(n_calls=1000, rows=1000, n_features=100):
    """Median seconds of a call, and how far the coefficients are from those of one fit."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_calls * rows, n_features))
    y = X[:, :10].sum(axis=1) + 3 * rng.standard_normal(len(X))
    model = AsyncLassoRegressor(0.05)
    seconds = []
    for start in range(0, len(X), rows):
        batch = X[start : start + rows], y[start : start + rows]
        seconds.append(timed(lambda batch=batch: model.partial_fit(*batch))[0])
    expected = AsyncLassoRegressor(0.05).fit(X, y).coef_
    off = np.abs(model.coef_ - expected).max() / np.abs(expected).max()
    return float(np.median(seconds)), float(off)


def grid_search(X, y, n_alphas=2, folds=2):
    """Seconds of dask-ml's search on a small grid, and scaled to the whole one.

    Scaled by the number of fits and by their rows; the last fit, on all rows, is left out.
    """
    alphas = {"alpha": list(np.geomspace(1.0, 1e-3, n_alphas))}
    search = GridSearchCV(Lasso(), alphas, cv=folds, refit=False)
    seconds, _ = timed(lambda: search.fit(X, y))
    share = (FOLDS - 1) / FOLDS / ((folds - 1) / folds)
    return seconds, seconds * share * (FOLDS * ALPHAS) / (folds * n_alphas)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
    )
    with cluster, Client(cluster):
        X, y = data(options.rows, 100, options.rows // 20)
        times = interleaved(
            {
                "bare pass": lambda: bare_pass(X, y),
                "AsyncLassoRegressor": lambda: AsyncLassoRegressor(0.05).fit(X, y),
                "AsyncLassoCV": lambda: AsyncLassoCV(cv=FOLDS).fit(X, y),
            },
            options.repeats,
        )
        few = X[:20_000], y[:20_000]
        model = AsyncLassoCV(cv=FOLDS).fit(*few)
        small, scaled = grid_search(X, y)
        local, few = dask.compute((X, y), few)
    times["LassoCV, in memory"], _ = timed(lambda: LassoCV(cv=FOLDS).fit(*local))
    peer = LassoCV(cv=FOLDS, tol=1e-13, max_iter=100_000).fit(*few)
    times["dask_ml GridSearchCV, scaled"] = scaled
    call, off = partial_fits()

    ours = times["AsyncLassoCV"]
    print(f"{options.rows:,} x 100, {FOLDS} folds x {ALPHAS} alphas; {machine()}")
    for name, seconds in times.items():
        print(f"{name:30s} {seconds:10.3f} s {seconds / times['bare pass']:10.2f} x bare pass")
    print(f"LassoCV / ours: {times['LassoCV, in memory'] / ours:.1f}")
    print(f"GridSearchCV / ours: {scaled / ours:.0f} (2 folds x 2 alphas took {small:.2f} s)")
    error = np.abs(model.mse_path_ / peer.mse_path_ - 1).max()
    same = bool(np.isclose(model.alpha_, peer.alpha_, rtol=1e-9))
    print(f"20,000 rows, LassoCV at tol=1e-13: mse_path_ off by {error:.1e}, same alpha_: {same}")
    print(f"partial_fit of 1,000 x 100 rows: {1e3 * call:.2f} ms; 1,000 calls off by {off:.1e}")
    OUTPUT.mkdir(exist_ok=True)
    figures = {**times, "partial_fit": call, "partial_fit_off": off, "mse_path_off": float(error)}
    (OUTPUT / "model_selection.json").write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
