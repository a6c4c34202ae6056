"""Fits with many columns on a cluster against celer, skglm and scikit-learn in memory.

python benchmarks/wide.py dense                    # 2,000 x 50,000 in 8 chunks
python benchmarks/wide.py sparse                   # 100,000 x 1,000,000, 100 values a row
python benchmarks/wide.py border                   # working sets against the Gram of all
python benchmarks/wide.py path                     # 100 alphas, and 5 folds of 50 alphas
python benchmarks/wide.py dense --peers PYTHON     # an interpreter with celer and skglm

Everybody's gap is measured here, from the rows, by one function.
"""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import tempfile
import time
from pathlib import Path
from unittest import mock

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait
from scipy import sparse
from sklearn.linear_model import Lasso
from sklearn.linear_model import lasso_path as sklearn_path

from dask_lasso import AsyncLassoCV, AsyncLassoRegressor, lasso_path
from dask_lasso.solvers import working_set as _wide
from dask_lasso.solvers import working_set_path as _wide_path

REPEATS = 5
SLOW = 60.0  # seconds after which a peer is not run again


def dense(kind, n=2000, k=50_000, seed=0):
    """Normal columns, independent or AR(0.9), a hundred of them in the target."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, k))
    if kind == "ar":
        for j in range(1, k):
            X[:, j] = 0.9 * X[:, j - 1] + np.sqrt(1 - 0.9**2) * X[:, j]
    return X, target(X, rng)


def sparse_rows(n=100_000, k=1_000_000, per_row=100, seed=0):
    """Uniform column indices, uniform values, as CSR."""
    rng = np.random.default_rng(seed)
    indices = np.sort(rng.integers(0, k, (n, per_row), dtype=np.int32), axis=1)
    indptr = np.arange(0, n * per_row + 1, per_row, dtype=np.int32)
    X = sparse.csr_array((rng.uniform(size=n * per_row), indices.ravel(), indptr), shape=(n, k))
    X.sum_duplicates()
    return X, target(X, rng)


def target(X, rng, n_used=100):
    w = np.zeros(X.shape[1])
    w[rng.choice(X.shape[1], n_used, replace=False)] = rng.choice([-1.0, 1.0], n_used)
    y = X @ w
    return y + 0.3 * y.std() * rng.standard_normal(len(y))


def correlations(X, r):
    return X.T @ r - np.asarray(X.mean(axis=0)).ravel() * r.sum()


def gap(X, y, alpha, coef):
    """Relative duality gap from the rows, with an intercept."""
    n = len(y)
    y = y - y.mean()
    fit = X @ coef
    r = y - (fit - fit.mean())
    theta = r * min(1.0, n * alpha / np.abs(correlations(X, r)).max())
    primal = r @ r / (2 * n) + alpha * np.abs(coef).sum()
    return (primal - (theta @ y - theta @ theta / 2) / n) / (y @ y / n)


PEER = """
import pickle, sys, time, warnings
warnings.simplefilter("ignore")
with open(sys.argv[1], "rb") as file:
    X, y, alpha, name = pickle.load(file)
if name == "celer":
    from celer import Lasso
    model = Lasso(alpha, tol=1e-6)
else:
    from skglm import Lasso
    model = Lasso(alpha, tol=1e-6 * alpha)
model.fit(X[:, :200].copy(), y)  # compiles
times = []
for _ in range(int(sys.argv[3])):
    start = time.perf_counter()
    model.fit(X, y)
    times.append(time.perf_counter() - start)
    if sum(times) > float(sys.argv[4]):
        break
with open(sys.argv[2], "wb") as file:
    pickle.dump((times, model.coef_), file)
"""


def peer(python, name, X, y, alpha, repeats):
    """Times and coefficients of celer or skglm, in an environment of its own."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "given", Path(folder) / "found"
        given.write_bytes(pickle.dumps((X, y, alpha, name)))
        subprocess.run([python, "-c", PEER, given, found, str(repeats), str(SLOW)], check=True)
        return pickle.loads(found.read_bytes())


def ours(client, X, y, alpha, chunk, repeats):
    """Times, model and how much a worker's memory rose above its share of the data."""
    dX, dy = on_workers(client, X, y, chunk)
    before = client.run(resident)
    client.run(reset_peak)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        model = AsyncLassoRegressor(alpha, client=client).fit(dX, dy)
        times.append(time.perf_counter() - start)
    rise = max(peak - before[worker] for worker, peak in client.run(resident, "VmHWM").items())
    return times, model, rise


def on_workers(client, X, y, chunk):
    """Chunks in the workers' memory, by turns."""
    parts = client.scatter([X[i : i + chunk] for i in range(0, len(y), chunk)])
    shapes = [(min(chunk, len(y) - i), X.shape[1]) for i in range(0, len(y), chunk)]
    blocks = [
        da.from_delayed(part, shape, meta=X[:0]) for part, shape in zip(parts, shapes, strict=True)
    ]
    arrays = client.persist([da.concatenate(blocks), da.from_array(y, chunks=chunk)])
    wait(arrays)
    return arrays


def resident(field="VmRSS"):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def reset_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def compare(title, X, y, chunk, python, repeats, with_sklearn):
    alpha = 0.1 * np.abs(correlations(X, y - y.mean())).max() / len(y)
    print(f"{title}: {X.shape[0]:,} x {X.shape[1]:,}, alpha = 0.1 alpha_max")
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0
    ) as cluster:
        with Client(cluster) as client:
            times, model, rise = ours(client, X, y, alpha, chunk, repeats)
    base = np.median(times)
    print(
        f"  dask_lasso    {base:8.3f} s  gap {gap(X, y, alpha, model.coef_):.1e}"
        f"  {model.n_passes_} passes  {np.count_nonzero(model.coef_)} coefficients"
    )
    share = (X.data.nbytes + X.indices.nbytes if sparse.issparse(X) else X.nbytes) / 2
    print(
        f"  peak memory of a worker: {(share + rise) / share:.2f} x its share of the data",
        flush=True,
    )
    columns = sparse.csc_matrix(X) if sparse.issparse(X) else np.asfortranarray(X)
    for name in ("celer", "skglm") if python else ():
        times, coef = peer(python, name, columns, y, alpha, repeats)
        row(name, times, gap(X, y, alpha, coef), base)
    if with_sklearn:
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            coef = Lasso(alpha, tol=1e-6).fit(columns, y).coef_
            times.append(time.perf_counter() - start)
            if sum(times) > SLOW:
                break
        row("scikit-learn", times, gap(X, y, alpha, coef), base)


def row(name, times, gap, base):
    seconds = np.median(times)
    print(f"  {name:<12}  {seconds:8.3f} s  gap {gap:.1e}  {seconds / base:.2f} x ours", flush=True)


def border(repeats):
    """In memory, the route that is taken and the other one."""
    for n, k in ((100_000, 4000), (10_000, 10_000)):
        X, y = dense("independent", n, k)
        alpha = 0.1 * np.abs(correlations(X, y - y.mean())).max() / n
        chosen = "working sets" if k > _wide.MAX_GRAM else "Gram of all columns"
        taken, other = route(X, y, alpha, None, repeats), 0.0
        flipped = k if k > _wide.MAX_GRAM else 0
        other = route(X, y, alpha, flipped, 1)
        print(f"{n:,} x {k:,}: {chosen} {taken:.2f} s, the other {other:.2f} s")


def path():
    """Passes and seconds of a path and of a cross-validation; a path of scikit-learn's."""
    X, y = dense("independent")
    passes, run = [], _wide_path.WidePath.run

    def counted(self, *args):
        found = run(self, *args)
        passes.append(self.n_passes)
        return found

    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0
    ) as cluster:
        with Client(cluster) as client:
            dX, dy = on_workers(client, X, y, 250)
            start = time.perf_counter()
            with mock.patch.object(_wide_path.WidePath, "run", counted):
                alphas, coefs, _ = lasso_path(dX, dy, eps=0.01, fit_intercept=True, client=client)
            seconds = time.perf_counter() - start
            worst = max(
                gap(X, y, alpha, coef)
                for alpha, coef in zip(alphas[::20], coefs.T[::20], strict=True)
            )
            print(
                f"lasso_path, {len(alphas)} alphas to alpha_max / 100: {seconds:.1f} s,"
                f" {passes[0]} passes, largest gap {worst:.1e}",
                flush=True,
            )
            start = time.perf_counter()
            model = AsyncLassoCV(alphas=50, eps=0.1, cv=5, client=client).fit(dX, dy)
            seconds = time.perf_counter() - start
            print(
                f"AsyncLassoCV, 5 folds x 50 alphas to alpha_max / 10: {seconds:.1f} s,"
                f" {model.n_passes_} passes",
                flush=True,
            )
    columns, centred = np.asfortranarray(X - X.mean(axis=0)), y - y.mean()
    start, coef, done = time.perf_counter(), None, 0
    for alpha in alphas:
        if time.perf_counter() - start > SLOW:
            break
        _, coef, _ = sklearn_path(columns, centred, alphas=[alpha], coef_init=coef, tol=1e-6)
        coef, done = coef[:, 0], done + 1
    seconds = time.perf_counter() - start
    print(f"scikit-learn's lasso_path in memory: {done} alphas in {seconds:.1f} s")


def route(X, y, alpha, max_gram, repeats):
    kept = _wide.MAX_GRAM
    _wide.MAX_GRAM = kept if max_gram is None else max_gram
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        AsyncLassoRegressor(alpha).fit(X, y)
        times.append(time.perf_counter() - start)
    _wide.MAX_GRAM = kept
    return np.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=["dense", "sparse", "border", "path"])
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter with celer and skglm")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores")
    common = dict(python=options.peers, repeats=options.repeats)
    if options.case == "dense":
        for kind in ("independent", "ar"):
            compare(kind, *dense(kind), chunk=250, with_sklearn=False, **common)
    elif options.case == "sparse":
        compare("sparse", *sparse_rows(), chunk=5000, with_sklearn=True, **common)
    elif options.case == "border":
        border(options.repeats)
    else:
        path()


if __name__ == "__main__":
    main()
