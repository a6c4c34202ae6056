"""Fits against the bare pass over the data and against peers, in one run each.

python benchmarks/run.py              # every case, tables and plot in benchmarks/output
python benchmarks/run.py numpy        # one case, or several
python benchmarks/run.py --list
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
from distributed import Client, wait
from harness import Case, Contender, Elsewhere, markdown, relative_gap, run_case, save
from threadpoolctl import threadpool_limits

from dask_lasso import AsyncLassoRegressor
from dask_lasso.rows.statistics import merge_statistics as merge
from dask_lasso.rows.statistics import statistics_of_rows as from_rows

ALPHA = 0.1


def homogeneous(n, k, seed=0):
    """Normal features, ten of them in the target, unit noise."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, k))
    return X, X[:, :10].sum(axis=1) + rng.standard_normal(n)


def lazy(n, k, chunk):
    """The same, produced chunk by chunk when it is read."""
    X = da.random.default_rng(0).standard_normal((n, k), chunks=(chunk, k))
    noise = da.random.default_rng(1).standard_normal(n, chunks=chunk)
    return X, X[:, :10].sum(axis=1) + noise


def ours(X, y, **params):
    """A contender that fits our estimator."""

    def run():
        model = AsyncLassoRegressor(ALPHA, **params).fit(X, y)
        return model.coef_, model.intercept_

    return run


def bare_numpy(X, y, tile=1000):
    """The tiled Gram and X.T @ y in two threads, and nothing else."""
    k = X.shape[1]

    def part(start, stop):
        gram, xy = np.zeros((k, k)), np.zeros(k)
        for i in range(start, stop, tile):
            rows = X[i : min(i + tile, stop)]
            gram += rows.T @ rows
            xy += rows.T @ y[i : i + len(rows)]
        return gram, xy

    def run():
        edges = np.linspace(0, len(X), 9).astype(int)
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(2) as pool:
            list(pool.map(part, edges[:-1], edges[1:]))

    return run


def bare_dask(X, y):
    """The same statistics by plain `delayed` and `compute`, merged at home."""
    # Optimised together: by themselves, X and y would each produce the chunks of X.
    X, y = dask.optimize(X, y)

    def run():
        chunks = zip(
            X.to_delayed(optimize_graph=False).ravel(),
            y.to_delayed(optimize_graph=False).ravel(),
            strict=True,
        )
        merge(dask.compute(*[dask.delayed(from_rows)(a, b) for a, b in chunks]))

    return run


def case_numpy():
    """In memory, against the peers in memory."""
    import celer
    import skglm
    from sklearn.linear_model import Lasso

    X, y = homogeneous(1_000_000, 100)

    def peer(model):
        def run():
            model.fit(X, y)
            return model.coef_, model.intercept_

        return run

    adelie = Elsewhere(
        "adelie",
        ["adelie"],
        "import adelie as ad\n"
        "def fit(X, y, alpha):\n"
        "    state = ad.grpnet(X=X, glm=ad.glm.gaussian(y=y), lmda_path=[alpha], tol=1e-12,\n"
        "                      early_exit=False, n_threads=2, progress_bar=False)\n"
        "    return state.betas.toarray()[-1], state.intercepts[-1]",
    ).load(np.asfortranarray(X), y, ALPHA)
    onedal = Elsewhere(
        "onedal",
        ["scikit-learn-intelex"],
        "from daal4py.sklearn.linear_model import Lasso\n"
        "def fit(X, y, alpha):\n"
        "    model = Lasso(alpha).fit(X, y)\n"
        "    return model.coef_, model.intercept_",
    ).load(X, y, ALPHA)
    contenders = [
        Contender("bare tiled Gram, 2 threads", bare_numpy(X, y)),
        Contender("dask_lasso", ours(X, y)),
        Contender("dask_lasso, polish=False", ours(X, y, polish=False)),
        Contender("scikit-learn Lasso", peer(Lasso(ALPHA, tol=1e-6))),
        Contender("scikit-learn Lasso, precompute", peer(Lasso(ALPHA, precompute=True, tol=1e-6))),
        Contender("celer", peer(celer.Lasso(ALPHA, tol=1e-6))),
        Contender("skglm", peer(skglm.Lasso(ALPHA, tol=1e-6))),
        Contender("adelie (2 threads, column-major)", adelie.run, in_process=False),
        Contender("oneDAL, default tol", onedal.run, in_process=False),
    ]
    return Case(
        "NumPy 1,000,000 x 100",
        contenders,
        bare="bare tiled Gram, 2 threads",
        gap=lambda coef, intercept: relative_gap(X, y, ALPHA, coef, intercept),
        targets=["fit <= 1.2 x the bare pass; <= 1/4 of scikit-learn's faster variant; first"],
    )


def case_float32():
    """Float32 against float64, same rows."""
    X, y = homogeneous(1_000_000, 100)
    X32, y32 = X.astype(np.float32), y.astype(np.float32)
    return Case(
        "Float32, NumPy 1,000,000 x 100",
        [
            Contender("dask_lasso, float64", ours(X, y)),
            Contender("dask_lasso, float32", ours(X32, y32)),
        ],
        bare="dask_lasso, float64",
        gap=lambda coef, intercept: relative_gap(X, y, ALPHA, coef, intercept),
        targets=["faster than float64, same tolerance met"],
    )


def _glm(X, y, **params):
    from dask_glm.algorithms import admm, proximal_grad
    from dask_glm.families import Normal
    from dask_glm.regularizers import L1

    solver = {"admm": admm, "proximal_grad": proximal_grad}[params.pop("solver")]
    n = len(y)

    def run():
        # Its objective is the sum of squares without 1/2: lamduh = 2 n alpha.
        coef = solver(X, y, family=Normal, regularizer=L1(), lamduh=2 * n * ALPHA, **params)
        return np.asarray(coef), 0.0

    return run


def case_dask_glm():
    """dask-glm's solvers, on its own terms: threads of this process, time limits."""
    X, y = homogeneous(1_000_000, 100)
    dX, dy = da.from_array(X, chunks=(50_000, 100)), da.from_array(y, chunks=50_000)
    tuned = 2 * 50_000
    contenders = [
        Contender("dask-glm admm, default", _glm(dX, dy, solver="admm"), once=True),
        Contender(
            "dask-glm admm, rho tuned",
            _glm(dX, dy, solver="admm", rho=tuned, over_relax=1.6),
            once=True,
        ),
        Contender("dask-glm proximal_grad", _glm(dX, dy, solver="proximal_grad"), once=True),
        Contender("dask_lasso", ours(X, y)),
    ]
    return Case(
        "dask-glm, 1,000,000 x 100, 20 chunks",
        contenders,
        bare="dask_lasso",
        gap=lambda coef, intercept: relative_gap(X, y, ALPHA, coef, intercept),
        targets=["dask_lasso >= 10 x faster than dask-glm with tuned rho"],
    )


def case_persisted():
    """Persisted chunks on two worker processes."""
    return _dask_case("dask, persisted, 1,000,000 x 100, 20 chunks", 1_000_000, 100, 50_000, 1.15)


def case_persisted_wide():
    """More columns: the finish costs more against the pass."""
    return _dask_case("dask, persisted, 200,000 x 1,000, 20 chunks", 200_000, 1000, 10_000, 1.35)


def case_lazy():
    """Chunks produced when they are read."""
    return _dask_case(
        "dask, lazy, 5,000,000 x 100, 100 chunks", 5_000_000, 100, 50_000, 1.05, persist=False
    )


def _dask_case(title, n, k, chunk, target, persist=True):
    client = Client(n_workers=2, threads_per_worker=1, dashboard_address=None)
    X, y = lazy(n, k, chunk)
    if persist:
        X, y = dask.persist(X, y)
        wait([X, y])
    contenders = [Contender("bare pass", bare_dask(X, y))]
    contenders += [
        Contender(f"dask_lasso, {engine}", ours(X, y, engine=engine))
        for engine in ("batched", "async", "sync")
    ]
    if persist and k <= 100:
        contenders.append(Contender("dask_lasso, polish=False", ours(X, y, polish=False)))

    rows = []

    def gap(coef, intercept):
        if not rows:
            rows.extend(dask.compute(X, y))
        return relative_gap(*rows, ALPHA, coef, intercept)

    case = Case(
        title, contenders, bare="bare pass", gap=gap, targets=[f"fit <= {target} x the bare pass"]
    )
    case.close = client.close
    return case


def case_many_chunks():
    """10,000 chunks of 100 x 20 against as many trivial tasks."""
    client = Client(n_workers=2, threads_per_worker=1, dashboard_address=None)
    X, y = homogeneous(1_000_000, 20)
    X, y = da.from_array(X, chunks=(100, 20)), da.from_array(y, chunks=100)
    X, y = dask.persist(X, y)
    wait([X, y])

    def trivial():
        dask.compute(*[dask.delayed(len)((i,)) for i in range(10_000)])

    case = Case(
        "10,000 chunks of 100 x 20",
        [Contender("10,000 trivial tasks", trivial), Contender("dask_lasso", ours(X, y))],
        bare="10,000 trivial tasks",
        targets=["fit <= 1.3 x the trivial tasks"],
    )
    case.close = client.close
    return case


def case_two_fits():
    """Two fits at the same time on one Client against one after the other."""
    client = Client(n_workers=2, threads_per_worker=1, dashboard_address=None)
    X, y = lazy(1_000_000, 100, 50_000)
    X, y = dask.persist(X, y)
    wait([X, y])
    other = y + 1
    other = other.persist()
    wait(other)
    first, second = ours(X, y), ours(X, other)

    def together():
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda run: run(), [first, second]))

    def in_turn():
        first()
        second()

    case = Case(
        "two fits on one Client",
        [Contender("one after the other", in_turn), Contender("together", together)],
        bare="one after the other",
        targets=["no slower together than in turn"],
    )
    case.close = client.close
    return case


def case_small():
    """The fixed costs: diabetes, and importing the package."""
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Lasso

    X, y = load_diabetes(return_X_y=True)

    def peer():
        model = Lasso(ALPHA, tol=1e-6).fit(X, y)
        return model.coef_, model.intercept_

    def fifty(run):
        def runs():
            for _ in range(50):
                result = run()
            return result

        return runs

    return Case(
        "diabetes 442 x 10, fifty fits",
        [Contender("scikit-learn Lasso", fifty(peer)), Contender("dask_lasso", fifty(ours(X, y)))],
        bare="scikit-learn Lasso",
        gap=lambda coef, intercept: relative_gap(X, y, ALPHA, coef, intercept),
        targets=["one fit <= 2 ms: fifty <= 0.1 s"],
    )


def case_import():
    """`import dask_lasso` against the imports that it cannot do without."""

    def python(code):
        return lambda: subprocess.run([sys.executable, "-c", code], check=True) and None

    return Case(
        "import",
        [
            Contender("dask.array, sklearn", python("import dask.array, sklearn.linear_model")),
            Contender("dask_lasso", python("import dask_lasso")),
        ],
        bare="dask.array, sklearn",
        targets=["import dask_lasso <= 1.15 x"],
    )


CASES = {
    name.removeprefix("case_"): function
    for name, function in list(globals().items())
    if name.startswith("case_")
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", help="names of cases; all without any")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    args = parser.parse_args()
    if args.list:
        for name, function in CASES.items():
            print(f"{name:16} {function.__doc__}")
        return
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for name in args.cases or CASES:
        began = time.perf_counter()
        print(name, flush=True)
        case = CASES[name]()
        result = run_case(case, args.repeats)
        if hasattr(case, "close"):
            case.close()
        save([result])
        print(markdown(result))
        print(f"{name} took {time.perf_counter() - began:.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
