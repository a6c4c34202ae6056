"""More columns than a Gram matrix should have, against celer, skglm and scikit-learn in memory.

Peers have the rows in memory, ours are in the memory of two worker processes.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from functools import partial
from itertools import product

import dask.array as da
import numpy as np
from distributed import wait
from harness import Case, Contender, Elsewhere, relative_gap, size, workers
from internals import other_route_of_paths, widest_gram
from scipy import sparse
from scipy.special import expit, xlogy
from sklearn.linear_model import Lasso

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    lasso_path,
)


def dense(kind, n=2000, k=50_000, seed=0):
    """Normal columns, independent or AR(0.9), a hundred of them in the target."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, k))
    if kind == "AR(0.9)":
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


def tenth_of_alpha_max(X, y):
    r = y - y.mean()
    return 0.1 * np.abs(X.T @ r - np.asarray(X.mean(axis=0)).ravel() * r.sum()).max() / len(y)


@contextmanager
def on_workers(X, y, n_chunks):
    """A Client, and chunks in the memory of its two workers, by turns."""
    chunk = len(y) // n_chunks
    with workers() as client:
        starts = range(0, len(y), chunk)
        parts = client.scatter([X[i : i + chunk] for i in starts])
        blocks = [
            da.from_delayed(part, (min(chunk, len(y) - i), X.shape[1]), meta=X[:0])
            for i, part in zip(starts, parts, strict=True)
        ]
        arrays = client.persist([da.concatenate(blocks), da.from_array(y, chunks=chunk)])
        wait(arrays)
        yield client, *arrays


def resident(field="VmRSS"):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def reset_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def compare(title, X, y, n_chunks, with_sklearn=False):
    import celer
    import skglm

    alpha = tenth_of_alpha_max(X, y)
    there = sparse.csc_matrix(X) if sparse.issparse(X) else np.asfortranarray(X)

    def peer(model):
        return lambda: model.fit(there, y)

    with on_workers(X, y, n_chunks) as (client, dX, dy):
        share = (X.data.nbytes + X.indices.nbytes if sparse.issparse(X) else X.nbytes) / 2
        before = client.run(resident)
        client.run(reset_peak)

        def note(model):
            peaks = client.run(resident, "VmHWM")
            rise = max(peak - before[worker] for worker, peak in peaks.items())
            return (
                f"{model.n_passes_} passes, {np.count_nonzero(model.coef_)} coefficients,"
                f" a worker's memory at most {1 + rise / share:.2f} x its share of the data"
            )

        ours = AsyncLassoRegressor(alpha, client=client)
        contenders = [
            Contender("dask_lasso", lambda: ours.fit(dX, dy), note=note),
            Contender("celer", peer(celer.Lasso(alpha, tol=1e-6))),
            Contender("skglm", peer(skglm.Lasso(alpha, tol=1e-6 * alpha))),
        ]
        if with_sklearn:
            contenders.append(Contender("scikit-learn", peer(Lasso(alpha, tol=1e-6)), rounds=1))
        yield Case(
            f"{title}, alpha = 0.1 alpha_max",
            contenders,
            bare="dask_lasso",
            gap=lambda coef, intercept: relative_gap(X, y, alpha, coef),
        )


def case_wide_dense():
    """2,000 x 50,000 in 8 chunks, independent columns and correlated ones."""
    for kind in ("independent", "AR(0.9)"):
        yield from compare(f"2,000 x 50,000 dense, {kind}", *dense(kind, k=size(50_000, 2500)), 8)


def case_wide_sparse():
    """100,000 x 1,000,000, 100 values a row, in 20 chunks."""
    rows = sparse_rows(size(100_000), size(1_000_000))
    yield from compare("100,000 x 1,000,000 sparse", *rows, 20, with_sklearn=True)


def case_wide_border():
    """In memory: the route that is taken, working sets, against the Gram of all columns."""
    for n, k in ((100_000, 4000), (10_000, 10_000)):
        n, k = size(n), size(k, 2500)
        X, y = dense("independent", n, k)
        model = AsyncLassoRegressor(tenth_of_alpha_max(X, y))

        def gram(model=model, X=X, y=y):
            with widest_gram(X.shape[1]):
                return model.fit(X, y)

        yield Case(
            f"the border, {n:,} x {k:,}",
            [
                Contender("working sets", lambda model=model, X=X, y=y: model.fit(X, y)),
                Contender("Gram of all columns", gram, rounds=1),
            ],
            bare="working sets",
        )


# adelie takes columns that are centred, in its own order.
_ADELIE = """
import adelie as ad
def fit(X, y, alphas):
    state = ad.grpnet(X=X, glm=ad.glm.gaussian(y=y), lmda_path=np.array(alphas, dtype=X.dtype),
                      tol={tol}, early_exit=False, n_threads=2, progress_bar=False,
                      intercept={intercept})
    return state.betas.toarray().T, 0.0
"""


def adelie(X, y, alphas, tol=1e-13, intercept=False):
    """A path by adelie, in its own environment."""
    code = _ADELIE.format(tol=tol, intercept=intercept)
    return Elsewhere("adelie", ["adelie", "numpy<2"], code).load(X, y, alphas.tolist())


def worst_gap(X, y, alphas, step=7):
    """The largest relative gap of a path, at some alphas and the last; None is no intercept."""
    centred = y - y.mean()

    def worst(coefs, intercept):
        ends = list(zip(alphas, coefs.T, strict=True))
        ends, with_intercept = [*ends[::step], ends[-1]], intercept is not None
        return max(relative_gap(X, centred, *at, fit_intercept=with_intercept) for at in ends)

    return worst


def path_of(alphas, *rows, **settings):
    return lasso_path(*rows, alphas=alphas, fit_intercept=True, **settings)[1], 0.0


def case_wide_path():
    """50 and 100 alphas down to alpha_max / 100, in memory and on workers; 5 folds of 50."""
    import celer

    kinds = ("independent", "AR(0.9)")
    for n_alphas, kind in product((50, 100), kinds):
        X, y = dense(kind, k=size(50_000, 2500))
        alphas = np.geomspace(10, 0.1, size(n_alphas, 10)) * tenth_of_alpha_max(X, y)
        there, centred = np.asfortranarray(X - X.mean(axis=0)), y - y.mean()
        peer = adelie(there, centred, alphas)

        def by_celer(there=there, centred=centred, alphas=alphas):
            found = celer.celer_path(there, centred, pb="lasso", alphas=alphas, tol=1e-6)
            return found[1], 0.0

        with on_workers(X, y, 8) as (client, dX, dy):
            folds = AsyncLassoCV(alphas=alphas, cv=5, client=client)
            contenders = [
                Contender("adelie (2 threads, column-major)", peer.run, own_clock=True),
                Contender("dask_lasso", partial(path_of, alphas, X, y)),
                Contender("dask_lasso, two workers", partial(path_of, alphas, dX, dy)),
                Contender("celer", by_celer, rounds=1),
            ]
            if n_alphas == 50:
                of_folds = partial(folds.fit, dX, dy)
                note = passes_of(folds)
                name = "AsyncLassoCV, 5 folds, two workers"
                contenders.append(Contender(name, lambda fit=of_folds: fit() and None, note=note))
            yield Case(
                f"paths of {len(alphas)} alphas, 2,000 x 50,000, {kind}",
                contenders,
                bare="adelie (2 threads, column-major)",
                gap=worst_gap(X, y, alphas),
                targets=[
                    "<= 0.8 x adelie in memory, <= 1.0 x on workers; <= 0.3 x celer;"
                    " 5 folds <= 3 x the path on workers"
                ],
                rounds=2 if n_alphas == 50 else 1,
            )
        peer.close()


def passes_of(model):
    return lambda _: f"{model.n_passes_} passes"


def case_wide_kinds():
    """Elastic net, `positive` and weights of rows and columns against the plain path."""
    X, y = dense("independent", k=size(50_000, 2500))
    alphas = np.geomspace(10, 0.3, size(30, 10)) * tenth_of_alpha_max(X, y)
    rng = np.random.default_rng(1)
    weight, columns = rng.uniform(0.5, 2, len(y)), rng.uniform(0.5, 2, X.shape[1])
    kinds = {
        "the lasso": {},
        "elastic net, l1_ratio=0.5": {"l1_ratio": 0.5},
        "positive": {"positive": True},
        "weights of columns": {"penalty_weights": columns},
        "weights of rows": {},
    }

    def contender(name, settings, X, y, weight):
        model = (AsyncElasticNetCV if "l1_ratio" in settings else AsyncLassoCV)(
            alphas=alphas, cv=2, **settings
        )
        weight = weight if name == "weights of rows" else None
        fit = partial(model.fit, X, y, weight)
        return Contender(name, lambda: fit() and None, note=passes_of(model))

    title = f"paths of {len(alphas)} alphas and 2 folds, 2,000 x 50,000, independent"
    with on_workers(X, y, 8) as (_, dX, dy):
        there = dX, dy, da.from_array(weight, chunks=dy.chunks)
        for where, rows in {"in memory": (X, y, weight), "two workers": there}.items():
            yield Case(
                f"{title}, {where}",
                [contender(*kind, *rows) for kind in kinds.items()],
                bare="the lasso",
                rounds=1,
            )


def case_border_path():
    """10,000 x 5,000 in memory: the route that a path takes, and the other one."""
    X, y = dense("independent", size(10_000), size(5000, 2500))
    alphas = np.geomspace(10, 0.1, size(50, 10)) * tenth_of_alpha_max(X, y)

    def other():
        with other_route_of_paths():
            return path_of(alphas, X, y)

    yield Case(
        f"path of {len(alphas)} alphas, {len(y):,} x {X.shape[1]:,}",
        [
            Contender("the route that is taken", partial(path_of, alphas, X, y)),
            Contender("the other one", other),
        ],
        bare="the other one",
        gap=worst_gap(X, y, alphas),
        targets=["<= 1.2 x the other one"],
        rounds=1,
    )


def dosages(n=3000, k=200_000, seed=0):
    """0, 1 or 2, int8, and a target of a hundred columns."""
    rng = np.random.default_rng(seed)
    X = rng.binomial(2, rng.uniform(0.05, 0.5, k), (n, k)).astype(np.int8)
    w = np.zeros(k)
    w[rng.choice(k, 100, replace=False)] = rng.choice([-1.0, 1.0], 100)
    y = X @ w
    return X, y + 0.3 * y.std() * rng.standard_normal(n)


def in_column_chunks(X, client, folder):
    """As it comes from a zarr in this folder, in the workers' memory."""
    chunks = len(X), size(10_000, 500)
    da.from_array(X, chunks=chunks).to_zarr(folder, compute=False).compute(scheduler="threads")
    dX = client.persist(da.from_zarr(folder))
    wait(dX)
    return dX


def peak_of_workers(client, share):
    """A function that says how much memory a worker has needed since, beside its share."""
    before = client.run(resident)
    client.run(reset_peak)

    def note(_):
        peaks = client.run(resident, "VmHWM")
        rise = max(peak - before[worker] for worker, peak in peaks.items())
        return f"a worker's memory at most {1 + rise / share:.2f} x its share of the data"

    return note


def case_dosage_path():
    """50 alphas of 3,000 x 200,000 int8 in a zarr of column chunks, beside adelie's float32."""
    X, y = dosages(size(3000, 300), size(200_000, 2500))
    alphas = np.geomspace(1, 0.05, size(50, 10)) * (10 * tenth_of_alpha_max(X, y))
    narrow = np.asfortranarray(X, dtype=np.float32)
    narrow -= narrow.mean(axis=0)
    peer = adelie(narrow, (y - y.mean()).astype(np.float32), alphas, tol=1e-12)
    del narrow
    with tempfile.TemporaryDirectory() as folder, workers() as client:
        dX = in_column_chunks(X, client, folder)
        dy = da.from_array(y, chunks=len(y))
        note = peak_of_workers(client, X.nbytes / 2)
        yield Case(
            f"path of {len(alphas)} alphas, {len(y):,} x {X.shape[1]:,} int8, column chunks",
            [
                Contender("adelie, float32 (2 threads)", peer.run, own_clock=True),
                Contender("dask_lasso, two workers", partial(path_of, alphas, dX, dy), note=note),
                Contender("dask_lasso", partial(path_of, alphas, X, y)),
            ],
            bare="adelie, float32 (2 threads)",
            gap=worst_gap(X, y, alphas, step=20),
            targets=["a worker's memory < 2 x its share"],
            rounds=1,
        )
    peer.close()


def case_dosage_logistic():
    """Cases and controls of 3,000 x 100,000 int8 in column chunks, on two workers."""
    X, y = dosages(size(3000, 300), size(100_000, 2500))
    y = (y > np.median(y)).astype(np.float64)
    alpha = tenth_of_alpha_max(X, y)
    with tempfile.TemporaryDirectory() as folder, workers() as client:
        dX = in_column_chunks(X, client, folder)
        peak = peak_of_workers(client, X.nbytes / 2)
        ours = AsyncLogisticRegression(alpha)
        of_workers = AsyncLogisticRegression(alpha, client=client)

        def note(model):
            return f"{model.n_passes_} passes, {np.count_nonzero(model.coef_)} coefficients"

        yield Case(
            f"logistic, {len(y):,} x {X.shape[1]:,} int8, column chunks, alpha = 0.1 alpha_max",
            [
                Contender(
                    "dask_lasso, two workers",
                    lambda: of_workers.fit(dX, y),
                    note=lambda model: f"{note(model)}, {peak(model)}",
                ),
                Contender("dask_lasso", lambda: ours.fit(X, y), note=note),
            ],
            bare="dask_lasso",
            gap=lambda coef, intercept: logistic_gap(X, y, alpha, coef, intercept),
            rounds=1,
        )


def case_sparse_path():
    """30 alphas down to alpha_max / 20 of 100,000 x 1,000,000, in memory; celer and skglm."""
    import celer
    import skglm

    X, y = sparse_rows(size(100_000), size(1_000_000))
    alphas = np.geomspace(10, 0.5, size(30, 5)) * tenth_of_alpha_max(X, y)
    there = sparse.csc_matrix(X)

    def by_celer():
        found = celer.celer_path(there, y - y.mean(), pb="lasso", alphas=alphas, tol=1e-6)
        return found[1], None

    def by_skglm():
        model = skglm.Lasso(alphas[0], tol=1e-6 * alphas[-1], warm_start=True)
        coefs = [model.set_params(alpha=alpha).fit(there, y).coef_.copy() for alpha in alphas]
        return np.transpose(coefs), 0.0

    yield Case(
        f"path of {len(alphas)} alphas, 100,000 x 1,000,000 sparse",
        [
            Contender("dask_lasso", partial(path_of, alphas, X, y)),
            Contender("celer, without an intercept", by_celer, rounds=1),
            Contender("skglm", by_skglm, rounds=1),
        ],
        bare="dask_lasso",
        gap=worst_gap(X, y, alphas, step=10),
        targets=["faster than celer and skglm"],
        rounds=2,
    )


def text_rows(n=100_000, k=1_000_000, per_row=100, seed=0):
    """Rows like those of text: some columns in nearly all rows, most in next to none; classes."""
    rng = np.random.default_rng(seed)
    indices = np.sort((k ** rng.random((n, per_row))).astype(np.int32) - 1, axis=1)
    indptr = np.arange(0, n * per_row + 1, per_row, dtype=np.int32)
    X = sparse.csr_array((rng.uniform(size=n * per_row), indices.ravel(), indptr), shape=(n, k))
    X.sum_duplicates()
    X.data = np.log1p(X.data)
    X.data /= np.repeat(np.sqrt(X.power(2).sum(axis=1)), np.diff(X.indptr))
    w = np.zeros(k)
    used = (k ** rng.random(400)).astype(np.intp) - 1
    w[used] = 8 * rng.standard_normal(len(used))
    eta = X @ w
    return X, (rng.random(n) < expit(eta - eta.mean())).astype(np.float64)


def logistic_gap(X, y, alpha, coef, intercept=None):
    """Relative duality gap of a logistic lasso from the raw rows; None is no intercept."""
    n, coef = len(y), np.ravel(coef)
    eta = X @ coef + (0.0 if intercept is None else intercept)
    theta = y - expit(eta)
    if intercept is not None:
        theta -= theta.mean()
    scale = min(1.0, n * alpha / np.abs(X.T @ theta).max())
    p = np.clip(y - scale * theta, 0.0, 1.0)
    primal = (np.logaddexp(0, eta) - y * eta).mean() + alpha * np.abs(coef).sum()
    dual = -(xlogy(p, p) + xlogy(1 - p, 1 - p)).mean()
    return (primal - dual) / (2 * np.log(2))


def case_sparse_logistic():
    """Logistic, sparse 100,000 x 1,000,000, in memory and on two workers, without an intercept."""
    import celer
    import skglm

    X, y = text_rows(size(100_000), size(1_000_000))
    there = sparse.csc_matrix(X)
    with on_workers(X, y, 20) as (client, dX, dy):
        for share in (0.1, 0.02):
            alpha = share * np.abs(X.T @ (y - 0.5)).max() / len(y)
            ours = AsyncLogisticRegression(alpha, fit_intercept=False)
            of_workers = AsyncLogisticRegression(alpha, fit_intercept=False, client=client)
            by_celer = celer.LogisticRegression(1 / (alpha * len(y)), tol=1e-6)
            by_skglm = skglm.SparseLogisticRegression(alpha, tol=1e-3 * alpha, fit_intercept=False)

            def note(model):
                return f"{model.n_passes_} passes, {np.count_nonzero(model.coef_)} coefficients"

            yield Case(
                f"logistic, sparse 100,000 x 1,000,000, alpha = {share} alpha_max",
                [
                    Contender("dask_lasso", lambda m=ours: m.fit(X, y), note=note),
                    Contender(
                        "dask_lasso, two workers", lambda m=of_workers: m.fit(dX, dy), note=note
                    ),
                    Contender("celer", lambda m=by_celer: m.fit(there, 2 * y - 1)),
                    Contender("skglm", lambda m=by_skglm: m.fit(there, y)),
                ],
                bare="dask_lasso",
                gap=lambda coef, _, alpha=alpha: logistic_gap(X, y, alpha, coef),
                targets=["not slower than celer and skglm; <= 10 passes"],
            )
