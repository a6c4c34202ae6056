"""Losses of a mean, logistic and Poisson: against the bare pass over the same rows, and peers."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
from fits import bare_numpy
from harness import Case, Contender, Elsewhere, persisted, size, timed, workers
from internals import bare_pass
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

from dask_lasso import AsyncLassoRegressor, AsyncLogisticRegression, AsyncLogisticRegressionCV

# Share of the smallest alpha at which there is no coefficient.
SHARE = 0.02


def rows(loss, n, k=100, seed=0):
    """Normal features, ten of them in the mean of y."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, k))
    eta = X[:, :10] @ np.linspace(-0.4, 0.5, 10)
    if loss == "logistic":
        return X, (rng.random(n) < expit(eta)).astype(np.float64)
    return X, rng.poisson(np.exp(eta)).astype(np.float64)


def strength(X, y):
    return SHARE * float(np.abs(X.T @ (y - y.mean())).max()) / len(y)


def ours(loss, alpha, X, y):
    """A function that fits our estimator."""
    if loss == "logistic":
        return lambda: AsyncLogisticRegression(alpha).fit(X, y)
    return lambda: AsyncLassoRegressor(alpha, loss=loss).fit(X, y)


def excess(loss, alpha, X, y):
    """The objective over the best one that is known, less 1; the best is ours, to its gap."""

    def objective(coef, intercept):
        eta = X @ np.ravel(coef) + np.ravel(intercept)[0]
        mean = np.logaddexp(0, eta) if loss == "logistic" else np.exp(eta)
        return (mean - y * eta).mean() + alpha * np.abs(coef).sum()

    best = ours(loss, alpha, X, y)()
    least = objective(best.coef_, best.intercept_)
    return lambda coef, intercept: (objective(coef, intercept) - least) / abs(least)


def of_no_intercept(model):
    """The coefficients; the rows are balanced, and the best intercept is nearly zero."""
    return np.ravel(model.coef_), np.zeros(1)


def passes(model):
    return f"{model.n_passes_} passes, gap {model.dual_gap_:.0e}"


def glum(family, X, y, alpha):
    code = (
        "from glum import GeneralizedLinearRegressor\n"
        "def fit(X, y, alpha):\n"
        f"    model = GeneralizedLinearRegressor(family={family!r}, alpha=alpha, l1_ratio=1,"
        " gradient_tol=1e-7)\n"
        "    model.fit(X, y)\n"
        "    return model.coef_, model.intercept_"
    )
    return Elsewhere("glum", ["glum"], code).load(X, y, alpha)


def in_memory(loss, title, peers):
    X, y = rows(loss, size(1_000_000))
    alpha = strength(X, y)
    other = glum("binomial" if loss == "logistic" else "poisson", X, y, alpha)
    fit = ours(loss, alpha, X, y)
    fit()
    contenders = [
        Contender("bare tiled Gram, 2 threads", bare_numpy(X, y)),
        Contender("dask_lasso", fit, note=passes),
        Contender("glum", other.run, own_clock=True, rounds=2),
        *peers(X, y, alpha, timed(fit)[0]),
    ]
    yield Case(
        title,
        contenders,
        bare="bare tiled Gram, 2 threads",
        gap=excess(loss, alpha, X, y),
        targets=["<= 5 full passes, <= 5 x the bare pass; >= 2.5 x faster than glum"],
    )
    other.close()


def case_logistic():
    """Logistic regression in memory, against glum; peers that are stopped at 25 times ours."""

    def peers(X, y, alpha, seconds):
        import celer
        from skglm import SparseLogisticRegression

        C = 1 / (len(y) * alpha)
        params = dict(C=C, l1_ratio=1.0, max_iter=1000)
        saga = LogisticRegression(solver="saga", tol=1e-5, **params)
        liblinear = LogisticRegression(solver="liblinear", tol=1e-4, intercept_scaling=10, **params)
        models = {
            "scikit-learn saga": lambda: saga.fit(X, y),
            "scikit-learn liblinear": lambda: liblinear.fit(X, y),
            "skglm": lambda: SparseLogisticRegression(alpha, tol=1e-4 * alpha).fit(X, y),
            "celer (no intercept)": lambda: of_no_intercept(
                celer.LogisticRegression(C, tol=1e-6, fit_intercept=False).fit(X, y)
            ),
        }
        limit = 25 * seconds
        return [Contender(name, run, once=True, limit=limit) for name, run in models.items()]

    yield from in_memory("logistic", "Logistic, NumPy 1,000,000 x 100", peers)


def case_poisson():
    """Poisson regression in memory, against glum."""
    yield from in_memory("poisson", "Poisson, NumPy 1,000,000 x 100", lambda *of: [])


def on_workers(n, k, n_chunks):
    """Rows, and the same persisted in chunks."""
    import dask.array as da

    X, y = rows("logistic", n, k)
    chunk = n // n_chunks
    there = persisted(da.from_array(X, chunks=(chunk, -1)), da.from_array(y, chunks=chunk))
    return X, y, *there


def dask_ml_fit(solver, n, alpha, limit):
    """Seconds, and the coefficients, of dask-ml on two workers of its own; None after `limit`."""
    import dask_ml.linear_model

    def stop(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)

    with workers():
        _, y, dX, dy = on_workers(n, 100, 20)
        model = dask_ml.linear_model.LogisticRegression(
            penalty="l1", C=1 / (len(y) * alpha), solver=solver, max_iter=1000, tol=1e-6
        )
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            seconds, _ = timed(model.fit, dX, dy)
        except TimeoutError:
            return None
        signal.setitimer(signal.ITIMER_REAL, 0)
    return seconds, (model.coef_, np.ravel(model.intercept_))


def in_its_own_process(function, *args):
    """What a function of this module returns in a fresh interpreter."""
    code = (
        "import pickle, sys; sys.path.insert(0, sys.argv[1]); import means;"
        "found = getattr(means, sys.argv[2])(*pickle.loads(bytes.fromhex(sys.argv[3])));"
        "sys.stdout.buffer.write(pickle.dumps(found))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), function.__name__]
    found = subprocess.run(
        [*command, pickle.dumps(args).hex()], stdout=subprocess.PIPE, check=True
    ).stdout
    return pickle.loads(found)


def case_logistic_dask():
    """Logistic regression on two worker processes; dask-ml is stopped at 50 times ours."""
    n = size(1_000_000)
    with workers():
        X, y, dX, dy = on_workers(n, 100, 20)
        alpha = strength(X, y)
        fit = ours("logistic", alpha, dX, dy)
        fit()
        limit = 50 * timed(fit)[0]
        peers = [
            Contender(
                f"dask-ml {solver}",
                partial(in_its_own_process, dask_ml_fit, solver, n, alpha, limit),
                once=True,
                limit=limit,
                setup=90,
                own_clock=True,
            )
            for solver in ("admm", "proximal_grad")
        ]
        yield Case(
            "Logistic, persisted 1,000,000 x 100, 20 chunks",
            [
                Contender("bare pass", bare_pass(dX, dy)),
                Contender("dask_lasso", fit, note=passes),
                *peers,
            ],
            bare="bare pass",
            gap=excess("logistic", alpha, X, y),
            targets=["<= 5 x the bare pass; >= 50 x faster than dask-ml"],
        )


def case_logistic_lazy():
    """Logistic regression of chunks that are produced when they are read."""
    import dask.array as da

    n, chunk = size(5_000_000), size(50_000)
    with workers():
        X = da.random.default_rng(0).standard_normal((n, 100), chunks=(chunk, 100))
        eta = X[:, :10] @ np.linspace(-0.4, 0.5, 10)
        y = (eta + da.random.default_rng(1).logistic(size=n, chunks=chunk) > 0).astype(float)
        alpha = SHARE * float(abs(X.T @ (y - 0.5)).max().compute()) / n
        yield Case(
            "Logistic, lazy 5,000,000 x 100, 100 chunks",
            [
                Contender("bare pass", bare_pass(X, y)),
                Contender("dask_lasso", ours("logistic", alpha, X, y), note=passes),
            ],
            bare="bare pass",
            targets=["<= 5.5 x the bare pass"],
            rounds=1,
        )


def case_logistic_cv():
    """Five folds and fifty alphas, logistic; a twenty-fifth of them with scikit-learn's saga."""
    with workers():
        X, y, dX, dy = on_workers(size(300_000), 50, 20)

        # Two of the fifty, of large alphas, for a lower bound of what all of them take.
        Cs = 1 / (len(y) * strength(X, y) / SHARE * np.array([0.5, 0.25]))
        saga = LogisticRegressionCV(
            Cs=Cs, l1_ratios=(1.0,), solver="saga", cv=5, use_legacy_attributes=False
        )
        glums = Elsewhere(
            "glum",
            ["glum"],
            "from glum import GeneralizedLinearRegressorCV\n"
            "def fit(X, y, alpha):\n"
            "    model = GeneralizedLinearRegressorCV(family='binomial', l1_ratio=1, n_alphas=50,"
            " min_alpha_ratio=1e-3, cv=5)\n"
            "    model.fit(X, y)\n"
            "    return model.coef_, model.intercept_",
        )
        yield Case(
            "Logistic, 5 folds x 50 alphas, persisted 300,000 x 50, 20 chunks",
            [
                Contender("bare pass", bare_pass(dX, dy)),
                Contender(
                    "dask_lasso",
                    lambda: AsyncLogisticRegressionCV(alphas=50).fit(dX, dy),
                    note=passes,
                ),
                Contender("saga, 2 alphas", partial(saga.fit, X, y), once=True, limit=120),
                Contender(
                    "glum",
                    lambda: glums.load(X, y, None).run(),
                    own_clock=True,
                    once=True,
                    limit=120,
                    setup=20,
                ),
            ],
            bare="bare pass",
            targets=[">= 10 x faster than LogisticRegressionCV (saga), faster than glum's"],
            rounds=1,
        )
