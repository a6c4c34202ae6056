"""
Which alpha? All folds, all alphas, one pass over the rows; then more rows, another day
=======================================================================================

Chooses alpha for a dask collection, draws the path and the cross-validation curve, then
goes on with rows that arrive later, and joins two fits without moving their rows.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from distributed import Client

from dask_lasso import AsyncElasticNetCV, AsyncLassoCV, AsyncLassoRegressor, CVDisplay, PathDisplay


def data(n_rows, seed):
    rng = da.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 40), chunks=(20_000, 40))
    return X, 2 * X[:, 0] - X[:, 1] + 0.5 * X[:, 2] + rng.normal(size=n_rows, chunks=20_000)


def main():
    with Client(processes=False, dashboard_address=None):
        X, y = data(200_000, seed=0)

        least = AsyncLassoCV(cv=5).fit(X, y)
        sparser = AsyncLassoCV(cv=5, rule="1se").fit(X, y)
        print(f"least error:        alpha {least.alpha_:.4f}, {np.sum(least.coef_ != 0)} features")
        print(f"one standard error: alpha {sparser.alpha_:.4f}, {np.sum(sparser.coef_ != 0)}")
        bic = AsyncLassoCV(criterion="bic").fit(X, y)
        print(f"BIC:                alpha {bic.alpha_:.4f}, {np.sum(bic.coef_ != 0)}")
        net = AsyncElasticNetCV(l1_ratio=[0.5, 0.9, 1.0]).fit(X, y)
        print(f"elastic net:        alpha {net.alpha_:.4f}, l1_ratio {net.l1_ratio_}")

        # Rows of another day: the statistics of both are all that a joint fit needs.
        monday = AsyncLassoRegressor(sparser.alpha_).fit(X, y)
        tuesday = AsyncLassoRegressor(sparser.alpha_).fit(*data(100_000, seed=1))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tuesday.npz"
            np.savez(path, **tuesday.statistics_)
            both = AsyncLassoRegressor(sparser.alpha_)
            both.fit_statistics(monday.statistics_, np.load(path))
        print(f"both days: {both.n_samples_seen_} rows, R^2 {both.train_score_:.4f}")

    CVDisplay.from_estimator(least)
    PathDisplay.from_estimator(least)
    plt.show()


if __name__ == "__main__":
    main()
