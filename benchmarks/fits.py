"""One fit: against the bare pass over the same rows, and against peers."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
from harness import Case, Contender, Elsewhere, persisted, relative_gap, size, workers
from internals import bare_pass
from sklearn.datasets import load_diabetes, make_regression
from sklearn.linear_model import Lasso
from threadpoolctl import threadpool_limits

from dask_lasso import AsyncLassoRegressor

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
    """A function that fits our estimator."""
    return lambda: AsyncLassoRegressor(ALPHA, **params).fit(X, y)


def gap_on(X, y):
    return lambda coef, intercept: relative_gap(X, y, ALPHA, coef)


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


def case_numpy():
    """In memory, against the peers in memory."""
    import celer
    import skglm

    X, y = homogeneous(size(1_000_000), 100)

    def peer(model):
        return lambda: model.fit(X, y)

    adelie = Elsewhere(
        "adelie",
        ["adelie", "numpy<2"],
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
        Contender("adelie (2 threads, column-major)", adelie.run, own_clock=True),
        Contender("oneDAL, default tol", onedal.run, own_clock=True),
    ]
    yield Case(
        "NumPy 1,000,000 x 100",
        contenders,
        bare="bare tiled Gram, 2 threads",
        gap=gap_on(X, y),
        targets=["fit <= 1.2 x the bare pass; <= 1/4 of scikit-learn's faster variant; first"],
    )
    adelie.close()
    onedal.close()


def case_float32():
    """Float32 against float64, same rows."""
    X, y = homogeneous(size(1_000_000), 100)
    X32, y32 = X.astype(np.float32), y.astype(np.float32)
    yield Case(
        "Float32, NumPy 1,000,000 x 100",
        [
            Contender("dask_lasso, float64", ours(X, y)),
            Contender("dask_lasso, float32", ours(X32, y32)),
        ],
        bare="dask_lasso, float64",
        gap=gap_on(X, y),
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
    X, y = homogeneous(size(1_000_000), 100)
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
    yield Case(
        "dask-glm, 1,000,000 x 100, 20 chunks",
        contenders,
        bare="dask_lasso",
        gap=gap_on(X, y),
        targets=["dask_lasso >= 10 x faster than dask-glm with tuned rho"],
    )


def case_persisted():
    """Persisted chunks on two worker processes."""
    yield from _dask_case("dask, persisted, 1,000,000 x 100, 20 chunks", 1_000_000, 100, 20, 1.15)


def case_persisted_wide():
    """More columns: the finish costs more against the pass."""
    yield from _dask_case("dask, persisted, 200,000 x 1,000, 20 chunks", 200_000, 1000, 20, 1.35)


def case_lazy():
    """Chunks produced when they are read."""
    title = "dask, lazy, 5,000,000 x 100, 100 chunks"
    yield from _dask_case(title, 5_000_000, 100, 100, 1.05, persist=False)


def _dask_case(title, n, k, n_chunks, target, persist=True):
    with workers():
        X, y = lazy(size(n), k, size(n) // n_chunks)
        if persist:
            X, y = persisted(X, y)
        contenders = [Contender("bare pass", bare_pass(X, y))]
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
            return relative_gap(*rows, ALPHA, coef)

        targets = [f"fit <= {target} x the bare pass"]
        yield Case(title, contenders, bare="bare pass", gap=gap, targets=targets)


def case_many_chunks():
    """10,000 chunks of 100 x 20 against as many trivial tasks."""
    n_chunks = size(10_000)
    with workers():
        X, y = homogeneous(100 * n_chunks, 20)
        X, y = persisted(da.from_array(X, chunks=(100, 20)), da.from_array(y, chunks=100))

        def trivial():
            dask.compute(*[dask.delayed(len)((i,)) for i in range(n_chunks)])

        yield Case(
            "10,000 chunks of 100 x 20",
            [Contender("10,000 trivial tasks", trivial), Contender("dask_lasso", ours(X, y))],
            bare="10,000 trivial tasks",
            targets=["fit <= 1.3 x the trivial tasks"],
        )


def case_two_fits():
    """Two fits at the same time on one Client against one after the other."""
    with workers():
        X, y = persisted(*lazy(size(1_000_000), 100, size(50_000)))
        (other,) = persisted(y + 1)
        fits = [ours(X, y), ours(X, other)]

        def together():
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda run: run(), fits))

        def in_turn():
            for run in fits:
                run()

        yield Case(
            "two fits on one Client",
            [Contender("one after the other", in_turn), Contender("together", together)],
            bare="one after the other",
            targets=["no slower together than in turn"],
        )


def case_small():
    """The fixed costs: diabetes, and importing the package."""
    X, y = load_diabetes(return_X_y=True)

    def peer():
        return Lasso(ALPHA, tol=1e-6).fit(X, y)

    def fifty(run):
        def runs():
            for _ in range(50):
                result = run()
            return result

        return runs

    yield Case(
        "diabetes 442 x 10, fifty fits",
        [Contender("scikit-learn Lasso", fifty(peer)), Contender("dask_lasso", fifty(ours(X, y)))],
        bare="scikit-learn Lasso",
        gap=gap_on(X, y),
        targets=["one fit <= 2 ms: fifty <= 0.1 s"],
    )


def case_import():
    """`import dask_lasso` against the imports that it cannot do without."""

    def python(code):
        return lambda: subprocess.run([sys.executable, "-c", code], check=True) and None

    yield Case(
        "import",
        [
            Contender("dask.array, sklearn", python("import dask.array, sklearn.linear_model")),
            Contender("dask_lasso", python("import dask_lasso")),
        ],
        bare="dask.array, sklearn",
        targets=["import dask_lasso <= 1.15 x"],
    )


def case_huber():
    """Huber's loss: the objective reached, relative to the one of skglm's to 1e-10."""
    from skglm import GeneralizedLinearEstimator
    from skglm.datafits import Huber
    from skglm.penalties import L1
    from skglm.solvers import AndersonCD

    delta = 1.35
    X, y = make_regression(size(20_000, 2_000), 50, n_informative=10, noise=1.0, random_state=0)
    y = 3 * y / y.std() + np.random.default_rng(0).standard_t(1.5, len(y))  # outliers

    def objective(alpha, coef, intercept):
        residual = np.abs(y - X @ np.ravel(coef) - intercept)
        loss = np.where(residual <= delta, residual**2 / 2, delta * (residual - delta / 2))
        return loss.mean() + alpha * np.abs(coef).sum()

    for alpha in (0.1, 0.01):
        solver = AndersonCD(tol=1e-10, max_iter=500, fit_intercept=True)
        peer = GeneralizedLinearEstimator(Huber(delta), L1(alpha), solver).fit(X, y)
        best = objective(alpha, peer.coef_, peer.intercept_)
        models = {
            engine: AsyncLassoRegressor(
                alpha, engine=engine, loss="huber", huber_delta=delta, n_blocks=8
            )
            for engine in ("sync", "async", "batched")
        }
        yield Case(
            f"Huber's loss, 20,000 x 50, alpha={alpha}",
            [
                Contender("skglm", lambda peer=peer: peer.fit(X, y)),
                *(
                    Contender(f"dask_lasso, {engine}", lambda model=model: model.fit(X, y))
                    for engine, model in models.items()
                ),
            ],
            bare="skglm",
            gap=lambda *fit, alpha=alpha, best=best: objective(alpha, *fit) / best - 1,
            targets=["the gap is the objective over skglm's, less 1"],
        )
