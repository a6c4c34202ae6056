"""Other penalties than the plain l1 norm: against its fit, on the same persisted rows."""

from __future__ import annotations

import dask.array as da
import numpy as np
from fits import ALPHA, lazy
from harness import Case, Contender, persisted, size, workers
from scipy.optimize import lsq_linear
from sklearn.linear_model import MultiTaskLasso

from dask_lasso import AsyncLassoRegressor, equivalent_rows
from dask_lasso.penalties import MCP, SCAD, SLOPE, GroupLasso, MultiTask, SparseGroupLasso

K = 100
GROUPS = np.arange(K) // 5
PENALTIES = {
    "bounds": dict(bounds=(-0.5, 0.5)),
    "bounds, one in five not penalised": dict(
        bounds=(-0.5, 0.5), penalty_weights=(np.arange(K) % 5 > 0).astype(float)
    ),
    "positive": dict(positive=True),
    "standardize": dict(standardize=True),
    "group": dict(penalty=GroupLasso(GROUPS, np.ones(K // 5))),  # weighted as the peers have it
    "sparse group": dict(penalty=SparseGroupLasso(GROUPS)),
    "MultiTask, one target": dict(penalty=MultiTask()),
    "SLOPE": dict(penalty=SLOPE(np.linspace(2, 0.5, K))),
    "MCP": dict(penalty=MCP()),
    "SCAD": dict(penalty=SCAD()),
}


def _certificate(model):
    known = {"duality gap": "dual_gap_", "stationarity": "stationarity_"}[model.certificate_]
    return f"{model.certificate_} {np.sum(getattr(model, known)):.0e}"


def case_penalties():
    """Bounds, groups, SLOPE, MCP, SCAD: 1,000,000 x 100 persisted, over the plain lasso's fit."""
    import celer
    import skglm

    n = size(1_000_000)
    with workers():
        X, y = persisted(*lazy(n, K, n // 20))

        def ours(**settings):
            return lambda: AsyncLassoRegressor(ALPHA, **settings).fit(X, y)

        here, target = np.asfortranarray(X.compute()), y.compute()
        peers = {
            "skglm GroupLasso": skglm.GroupLasso(5, ALPHA),
            "celer GroupLasso": celer.GroupLasso(5, ALPHA),
            "skglm MCPRegression": skglm.MCPRegression(ALPHA),
        }
        contenders = [Contender("dask_lasso, l1", ours())]
        contenders += [
            Contender(f"dask_lasso, {name}", ours(**settings), note=_certificate)
            for name, settings in PENALTIES.items()
        ]
        contenders += [
            Contender(f"{name}, in memory", lambda peer=peer: peer.fit(here, target), rounds=2)
            for name, peer in peers.items()
        ]
        yield Case(
            "Penalties, persisted 1,000,000 x 100, 20 chunks",
            contenders,
            bare="dask_lasso, l1",
            targets=["each <= 1.25 x the plain lasso's fit"],
        )


def case_multi_task():
    """One support for five targets, 500,000 x 100 persisted, beside peers in memory."""
    import skglm

    n = size(500_000)
    with workers():
        X, y = lazy(n, K, n // 10)
        noise = da.random.default_rng(2).standard_normal((n, 5), chunks=(n // 10, 5))
        X, Y = persisted(X, y[:, np.newaxis] * np.arange(1, 6) + noise)
        here, targets = np.asfortranarray(X.compute()), np.asfortranarray(Y.compute())
        peers = {  # celer's (0.7) calls what scikit-learn has no more
            "scikit-learn": MultiTaskLasso(ALPHA),
            "skglm": skglm.MultiTaskLasso(ALPHA),
        }

        def run(**settings):
            return lambda: AsyncLassoRegressor(ALPHA, **settings).fit(X, Y)

        def excess(model):
            found = objective(model)
            return f"objective {found / least - 1:+.0e} of ours"

        def objective(model):
            residual = targets - here @ model.coef_.T - model.intercept_
            return (residual**2).sum() / (2 * n) + ALPHA * MultiTask().value(model.coef_.T)

        least = objective(run(penalty=MultiTask())())
        contenders = [
            Contender("dask_lasso, l1", run()),
            Contender("dask_lasso, MultiTask", run(penalty=MultiTask()), note=_certificate),
        ]
        contenders += [
            Contender(
                f"{name}, in memory",
                lambda peer=peer: peer.fit(here, targets),
                rounds=2,
                note=excess,
            )
            for name, peer in peers.items()
        ]
        yield Case(
            "MultiTaskLasso, persisted 500,000 x 100, 5 targets",
            contenders,
            bare="dask_lasso, l1",
            targets=["<= 1.25 x the plain lasso's fit, peers in the same table"],
        )


def case_equivalent_rows():
    """Rows that stand for 50,000,000: made, and fitted by estimators in memory."""
    X, y = lazy(size(50_000_000), K, size(100_000))
    with workers():
        model = AsyncLassoRegressor(ALPHA).fit(X, y)
    rows = equivalent_rows(model)
    off = AsyncLassoRegressor(ALPHA).fit(rows.X, rows.y).coef_ - model.coef_
    off = f"off by {np.abs(off).max():.0e}"
    centred = rows.X - rows.X.mean(axis=0), rows.y - rows.y.mean()
    yield Case(
        "equivalent_rows of 50,000,000 x 100",
        [
            Contender("the rows", lambda: (equivalent_rows(model), None)[1]),
            Contender(
                "the lasso of them",
                lambda: AsyncLassoRegressor(ALPHA).fit(rows.X, rows.y),
                note=lambda _: off,
            ),
            Contender(
                "MultiTaskLasso of them",
                lambda: MultiTaskLasso(ALPHA).fit(rows.X, rows.y[:, np.newaxis]),
            ),
            Contender(
                "lsq_linear of them",
                lambda: (lsq_linear(*centred, (0, 1)).x, 0.0),
            ),
        ],
        bare="the rows",
        targets=["the same coefficients as the direct fit to 1e-8"],
    )
