"""Losses of a mean, logistic and Poisson: against the bare pass over the same rows, and peers."""

from __future__ import annotations

from functools import partial

import numpy as np
from fits import bare_numpy
from harness import Case, Contender, Elsewhere, persisted, size, workers
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
    contenders = [
        Contender("bare tiled Gram, 2 threads", bare_numpy(X, y)),
        Contender("dask_lasso", ours(loss, alpha, X, y), note=passes),
        Contender("glum", other.run, own_clock=True, rounds=2),
        *peers(X, y, alpha),
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
    """Logistic regression in memory, against glum and scikit-learn."""

    def peers(X, y, alpha):
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
        return [Contender(name, run, once=True, limit=180) for name, run in models.items()]

    yield from in_memory("logistic", "Logistic, NumPy 1,000,000 x 100", peers)


def case_poisson():
    """Poisson regression in memory, against glum."""
    yield from in_memory("poisson", "Poisson, NumPy 1,000,000 x 100", lambda X, y, alpha: [])


def case_logistic_dask():
    """Logistic regression of persisted chunks on two worker processes, against the bare pass."""
    import dask.array as da
    import dask_ml.linear_model as dask_ml

    with workers():
        X, y = rows("logistic", size(1_000_000))
        alpha = strength(X, y)
        chunk = len(y) // 20
        dX, dy = persisted(da.from_array(X, chunks=(chunk, -1)), da.from_array(y, chunks=chunk))
        gap = excess("logistic", alpha, X, y)
        contenders = [
            Contender("bare pass", bare_pass(dX, dy)),
            Contender("dask_lasso", ours("logistic", alpha, dX, dy), note=passes),
        ]
        for solver in ("admm", "proximal_grad"):
            peer = dask_ml.LogisticRegression(
                penalty="l1", C=1 / (len(y) * alpha), solver=solver, max_iter=1000, tol=1e-6
            )
            fit = partial(peer.fit, dX, dy)
            contenders.append(Contender(f"dask-ml {solver}", fit, rounds=1))
        yield Case(
            "Logistic, persisted 1,000,000 x 100, 20 chunks",
            contenders,
            bare="bare pass",
            gap=gap,
            targets=["<= 5 x the bare pass; >= 50 x faster than dask-ml"],
        )


def case_logistic_cv():
    """Five folds and fifty alphas, logistic, against two of scikit-learn's saga."""
    import dask.array as da

    with workers():
        X, y = rows("logistic", size(300_000), k=50)
        chunk = len(y) // 20
        dX, dy = persisted(da.from_array(X, chunks=(chunk, -1)), da.from_array(y, chunks=chunk))
        # Two of the fifty, of large alphas, for a lower bound of what all of them take.
        Cs = 1 / (len(y) * strength(X, y) / SHARE * np.array([0.5, 0.25]))
        saga = LogisticRegressionCV(
            Cs=Cs, l1_ratios=(1.0,), solver="saga", cv=5, use_legacy_attributes=False
        )
        yield Case(
            "Logistic, 5 folds x 50 alphas, persisted 300,000 x 50, 20 chunks",
            [
                Contender("bare pass", bare_pass(dX, dy)),
                Contender("dask_lasso", lambda: AsyncLogisticRegressionCV(alphas=50).fit(dX, dy)),
                Contender("saga, 2 alphas", lambda: saga.fit(X, y), once=True, limit=120),
            ],
            bare="bare pass",
            targets=[">= 10 x faster than LogisticRegressionCV (saga)"],
            rounds=2,
        )
