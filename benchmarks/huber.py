"""Huber's loss with an l1 penalty: the objective reached, against skglm's on the same rows.

python benchmarks/huber.py
"""

from __future__ import annotations

import argparse

import numpy as np
from skglm import GeneralizedLinearEstimator
from skglm.datafits import Huber
from skglm.penalties import L1
from skglm.solvers import AndersonCD
from sklearn.datasets import make_regression

from dask_lasso import AsyncLassoRegressor

DELTA = 1.35


def objective(X, y, alpha, coef, intercept):
    residual = np.abs(y - X @ np.ravel(coef) - intercept)
    loss = np.where(residual <= DELTA, residual**2 / 2, DELTA * (residual - DELTA / 2))
    return loss.mean() + alpha * np.abs(coef).sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    args = parser.parse_args()
    X, y = make_regression(args.rows, 50, n_informative=10, noise=1.0, random_state=0)
    y = 3 * y / y.std() + np.random.default_rng(0).standard_t(1.5, len(y))  # outliers
    print("alpha | engine | ours | skglm's | relative difference")
    for alpha in (0.1, 0.01):
        peer = GeneralizedLinearEstimator(
            Huber(DELTA), L1(alpha), AndersonCD(tol=1e-10, max_iter=500, fit_intercept=True)
        ).fit(X, y)
        theirs = objective(X, y, alpha, peer.coef_, peer.intercept_)
        for engine in ("sync", "async", "batched"):
            model = AsyncLassoRegressor(
                alpha, engine=engine, loss="huber", huber_delta=DELTA, n_blocks=8
            ).fit(X, y)
            ours = objective(X, y, alpha, model.coef_, model.intercept_)
            print(f"{alpha} | {engine} | {ours:.9f} | {theirs:.9f} | {ours / theirs - 1:+.1e}")


if __name__ == "__main__":
    main()
