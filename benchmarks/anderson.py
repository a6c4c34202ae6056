"""Sweeps of synchronous ADMM on the photographs, with and without Anderson acceleration.

    python benchmarks/anderson.py

537,632 rows x 72 columns, badly conditioned as real data is; alpha at 0.1 and 0.01 of
alpha_max, relative gap 1e-6, 8 and 20 blocks. Counts, not seconds: the same on any machine.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
from sklearn.datasets import load_sample_images

from dask_lasso import AsyncLassoRegressor
from dask_lasso.solvers.anderson import Anderson

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from quickstart import neighbourhoods

GREEN = 1


def photographs(radius=3):
    """Causal neighbours of every pixel of both photographs, and its green."""
    parts = [neighbourhoods(image, radius) for image in load_sample_images().images]
    rows = np.concatenate([part.reshape(-1, *part.shape[2:]) for part in parts]) / 255.0
    return rows[:, :, :-1].reshape(len(rows), -1), rows[:, GREEN, -1].copy()


def main():
    X, y = photographs()
    alpha_max = np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max() / len(y)
    print(f"{X.shape[0]:,} x {X.shape[1]}")
    print("alpha / alpha_max | blocks | plain | accelerated | ratio")
    warnings.simplefilter("ignore")  # a plain run may end by max_iter, and is shown as such
    for share in (0.1, 0.01):
        for n_blocks in (8, 20):
            model = AsyncLassoRegressor(
                share * alpha_max, engine="sync", polish=False, n_blocks=n_blocks, max_iter=3000
            )
            fast = model.fit(X, y).n_iter_
            with mock.patch.object(Anderson, "next", lambda self, point, image: image):
                plain = model.fit(X, y).n_iter_
            print(f"{share} | {n_blocks} | {plain} | {fast} | {fast / plain:.2f}", flush=True)


if __name__ == "__main__":
    main()
