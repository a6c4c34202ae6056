"""Choosing alpha: all folds and alphas in one pass, against the ways of today."""

from __future__ import annotations

from contextlib import nullcontext

import dask
import dask.array as da
import dask_ml.model_selection
import numpy as np
import sklearn.model_selection
from harness import Case, Contender, Table, persisted, size, timed, workers
from internals import bare_pass
from sklearn.linear_model import Lasso, LassoCV

from dask_lasso import AsyncLassoCV, AsyncLassoRegressor, reuse_statistics

FOLDS, ALPHAS = 5, 100


def data(n, k=100, noise=3.0):
    """Persisted in 20 chunks."""
    rng = da.random.default_rng(0)
    X = rng.normal(size=(n, k), chunks=(n // 20, k))
    return persisted(X, X[:, :10].sum(axis=1) + rng.normal(scale=noise, size=n, chunks=n // 20))


def case_model_selection():
    """5 folds x 100 alphas on persisted 1,000,000 x 100: a bare pass, ours, scikit-learn's."""
    with workers():
        X, y = data(size(1_000_000))
        local = dask.compute(X, y)
        few = local[0][:20_000], local[1][:20_000]
        yield Case(
            "5 folds x 100 alphas, persisted, 1,000,000 x 100",
            [
                Contender("bare pass", bare_pass(X, y)),
                Contender("AsyncLassoRegressor", lambda: AsyncLassoRegressor(0.05).fit(X, y)),
                Contender("AsyncLassoCV", lambda: AsyncLassoCV(cv=FOLDS).fit(X, y)),
                Contender("LassoCV, in memory", lambda: LassoCV(cv=FOLDS).fit(*local), rounds=1),
                Contender(
                    "dask_ml GridSearchCV, scaled up",
                    lambda: (grid_search(X, y), None),
                    rounds=1,
                    own_clock=True,
                ),
            ],
            bare="bare pass",
            targets=["no more than a few bare passes", "GridSearchCV: from 2 folds x 2 alphas"],
        )
        ours = AsyncLassoCV(cv=FOLDS).fit(*few)
        peer = LassoCV(cv=FOLDS, tol=1e-13, max_iter=100_000).fit(*few)
    error = np.abs(ours.mse_path_ / peer.mse_path_ - 1).max()
    same = bool(np.isclose(ours.alpha_, peer.alpha_, rtol=1e-9))
    yield Table(
        "20,000 rows, against LassoCV at tol=1e-13",
        ["mse_path_ is off by", "same alpha_"],
        [[f"{error:.1e}", same]],
    )


def grid_search(X, y, n_alphas=2, folds=2):
    """Seconds of dask-ml's search on a small grid, scaled to the whole one.

    Scaled by the number of fits and by their rows; the last fit, on all rows, is left out.
    """
    alphas = {"alpha": list(np.geomspace(1.0, 1e-3, n_alphas))}
    search = dask_ml.model_selection.GridSearchCV(Lasso(), alphas, cv=folds, refit=False)
    share = (FOLDS - 1) / FOLDS / ((folds - 1) / folds)
    return timed(search.fit, X, y)[0] * share * (FOLDS * ALPHAS) / (folds * n_alphas)


def case_search():
    """Grid searches with and without `reuse_statistics`, 5 folds x 10 alphas."""
    alphas = np.geomspace(1e-3, 1.0, 10)
    with workers():
        X, y = data(size(200_000), noise=1.0)

        def search(module, reuse, **options):
            grid = module.GridSearchCV(
                AsyncLassoRegressor(), {"alpha": alphas}, cv=5, refit=False, **options
            )
            with reuse_statistics() if reuse else nullcontext():
                grid.fit(X, y)

        def warm(*args, **options):
            """What was idle while the others ran is warm again."""

            def run():
                search(*args, **options)
                return timed(lambda: search(*args, **options))

            return run

        peers = {
            "scikit-learn's GridSearchCV": (sklearn.model_selection, {}),
            "dask-ml's GridSearchCV": (dask_ml.model_selection, {"iid": False}),
        }
        yield Case(
            "grid search, persisted, 200,000 x 100",
            [
                Contender("AsyncLassoCV", lambda: AsyncLassoCV(alphas=alphas, cv=5).fit(X, y)),
                *(
                    Contender(
                        name + ", reuse_statistics" * reuse,
                        warm(module, reuse, **options),
                        own_clock=True,
                    )
                    for name, (module, options) in peers.items()
                    for reuse in (True, False)
                ),
            ],
            bare="AsyncLassoCV",
        )


def case_partial_fit():
    """1,000 calls of `partial_fit` on 1,000 x 100 rows, and how far they are from one fit."""
    rng = np.random.default_rng(0)
    n_calls, rows = size(1_000), 1_000
    X = rng.standard_normal((n_calls * rows, 100))
    y = X[:, :10].sum(axis=1) + 3 * rng.standard_normal(len(X))
    model = AsyncLassoRegressor(0.05)
    batches = [slice(start, start + rows) for start in range(0, len(X), rows)]
    seconds = [timed(model.partial_fit, X[rows], y[rows])[0] for rows in batches]
    expected = AsyncLassoRegressor(0.05).fit(X, y).coef_
    off = np.abs(model.coef_ - expected).max() / np.abs(expected).max()
    yield Table(
        "partial_fit, 1,000 calls of 1,000 x 100 rows",
        ["ms a call", "coefficients are off by"],
        [[f"{1e3 * np.median(seconds):.2f}", f"{off:.1e}"]],
    )
