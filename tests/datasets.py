"""The data that exactness is shown on: real, synthetic, wide, badly scaled; and who holds it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_sample_images, make_regression

from dask_lasso.rows.chunk import read
from dask_lasso.rows.statistics import statistics_of_chunk


def from_rows(X, y, sample_weight=None):
    """`Statistics` of rows in any collection."""
    return statistics_of_chunk(read(X, y, sample_weight))


@cache
def photographs(step=1):
    """Every `step`-th pixel of scikit-learn's two photographs and its causal neighbours.

    The green of each pixel from the three colours of the 24 pixels above and to the left
    of it within a radius of 3: 537,632 rows by 72 columns.
    """
    X, y = [], []
    for image in load_sample_images().images:
        image = image / 255
        height, width, _ = image.shape
        before = [(i, j) for i in range(4) for j in range(7) if i < 3 or j < 3]
        windows = [image[i : i + height - 3, j : j + width - 6] for i, j in before]
        X.append(np.concatenate(windows, axis=2).reshape(-1, 3 * len(before))[::step])
        y.append(image[3:, 3:-3, 1].reshape(-1)[::step])
    return np.concatenate(X), np.concatenate(y)


def _badly_scaled():
    X, y = make_regression(600, 20, n_informative=8, noise=5.0, random_state=1)
    return X * np.logspace(-6, 6, 20), y


def _far_from_zero():
    X, y = make_regression(600, 20, n_informative=8, noise=5.0, random_state=1)
    return X + 1e6, y


# name -> (data, an alpha that leaves some coefficients and zeroes others)
CASES = {
    "diabetes": (lambda: load_diabetes(return_X_y=True), 0.1),
    "photographs": (lambda: photographs(step=101), 1e-3),
    "tall": (
        lambda: make_regression(5000, 50, n_informative=10, noise=5.0, random_state=0),
        1.0,
    ),
    "wide": (
        lambda: make_regression(200, 400, n_informative=20, noise=5.0, random_state=0),
        1.0,
    ),
    "scaled": (_badly_scaled, 0.1),
    "offset": (_far_from_zero, 1.0),
}


@cache
def load(name):
    """X, y, sample weights (some of them zero) and alpha of a case."""
    make, alpha = CASES[name]
    X, y = make()
    weights = np.random.RandomState(3).uniform(0, 2, len(y))
    weights[::10] = 0
    for array in (X, y, weights):
        array.flags.writeable = False
    return X, y, weights, alpha


def strict(array):
    return pytest.importorskip("array_api_strict").asarray(array)


def cupy(array):
    return pytest.importorskip("cupy").asarray(array)


def torch(array):
    return pytest.importorskip("torch").asarray(array)


# Makers of arrays that are not NumPy's; a test of a library that is not there is skipped.
LIBRARIES = pytest.mark.parametrize("library", [strict, cupy, torch])
