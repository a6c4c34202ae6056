"""Rows that weigh nothing, far from all others: where they are tells nothing of where to look.

Values that are missing may be zero with a weight of zero. The fit is that of the other rows,
whichever way it takes.
"""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold

from dask_lasso import (
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    lasso_path,
)
from dask_lasso.rows.chunk import Chunk
from dask_lasso.rows.columns import column_moments
from dask_lasso.rows.raw import raw_rows
from dask_lasso.rows.statistics import merge_statistics, statistics_of_chunk
from dask_lasso.solvers import width as _width

N, CHUNK = 4096, 1024
# Where X and y are; in float32 X's values have few digits.
FAR = {
    "y": (np.zeros(5), 1e8, np.float64),
    "X": (np.array([1e6, 0, 1e7, 1e8, 0]), 0.0, np.float64),
    "float32": (np.array([1e3, 0, 3e4, 1e5, 0]), 0.0, np.float32),
}
# Rows of no weight: of all that a sample would be of, of the first chunk, of another.
WEIGHTLESS = {
    "every 16th": slice(None, None, 16),
    "first chunk": slice(0, CHUNK),
    "second chunk": slice(CHUNK, 2 * CHUNK),
}


def rows(far, weightless, weight, as_sparse):
    """X, y and weights; and which rows weigh."""
    (x_mean, y_mean, dtype), rng = FAR[far], np.random.default_rng(0)
    X = (rng.normal(size=(N, 5)) + x_mean).astype(dtype)
    y = X[:, 0] - x_mean[0] + 0.1 * rng.normal(size=N) + y_mean
    weights, weigh = rng.uniform(0.5, 2.0, N), np.ones(N, dtype=bool)
    weigh[WEIGHTLESS[weightless]] = False
    weights[~weigh], X[~weigh], y[~weigh] = weight, 0.0, 0.0
    return (sparse.csr_array(X) if as_sparse else X), y, weights, weigh


def lasso(X, y, weights, **settings):
    return AsyncLassoRegressor(1e-3, tol=1e-10, **settings).fit(X, y, weights).coef_


def lasso_of_chunks(X, y, weights):
    X = da.from_array(X, chunks=(CHUNK, X.shape[1]))
    y, weights = (da.from_array(of, chunks=CHUNK) for of in (y, weights))
    return lasso(X, y, weights)


def cross_validated(X, y, weights):
    cv = KFold(3, shuffle=True, random_state=0)
    model = AsyncLassoCV(alphas=[0.1, 1e-3], cv=cv, tol=1e-10)
    return model.fit(X, y, sample_weight=weights).coef_


def path(X, y, weights):
    settings = {"alphas": [0.1, 1e-3], "fit_intercept": True, "tol": 1e-10}
    return lasso_path(X, y, sample_weight=weights, **settings)[1]


def classified(X, y, weights, n_classes):
    limits = np.quantile(y[weights > 1e-9], np.arange(1, n_classes) / n_classes)
    model = AsyncLogisticRegression(1e-3, tol=1e-9)
    return model.fit(X, np.digitize(y, limits), sample_weight=weights).coef_


ROUTES = {
    "one chunk": lambda *rows: lasso(*rows, n_blocks=1),
    "chunks": lasso_of_chunks,
    "standardize": lambda *rows: lasso(*rows, standardize=True),
    "raw rows": lambda *rows: lasso(*rows, local_solver="lbfgs", max_iter=100),
    "engine": lambda *rows: lasso(*rows, engine="sync", n_blocks=3, polish=False),
    "path": path,
    "cross-validation": cross_validated,
    "huber": lambda *rows: lasso(*rows, loss="huber", huber_delta=0.2),
    "two classes": lambda *rows: classified(*rows, 2),
    "three classes": lambda *rows: classified(*rows, 3),
}
RATHER_FAR = [("huber", "y"), ("three classes", "X")]
WIDE = ["one chunk", "chunks", "standardize", "two classes", "three classes"]
WAYS = [(name, False) for name in ROUTES] + [(name, True) for name in WIDE]
# One of few columns and one of many show it; the others, once more.
WAYS = [pytest.param(*way, marks=[] if way[0] == "one chunk" else pytest.mark.slow) for way in WAYS]


@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("far", list(FAR))
@pytest.mark.parametrize(("route", "is_wide"), WAYS)
def test_rows_that_weigh_nothing_do_not_matter(route, is_wide, far, as_sparse, monkeypatch):
    if is_wide:
        monkeypatch.setattr(_width, "MAX_GRAM", 3)
    for weightless in WEIGHTLESS:
        for weight in (0.0, 1e-300):
            X, y, weights, weigh = rows(far, weightless, weight, as_sparse)
            with warnings.catch_warnings():
                # Far from zero, coefficients of float32 have too few digits for this tolerance,
                # and rounding of an intercept that is far from zero is in gaps.
                hides = far == "float32" or (route, far) in RATHER_FAR
                warnings.simplefilter("ignore" if hides else "error")
                found = ROUTES[route](X, y, weights)
                expected = ROUTES[route](X[weigh], y[weigh], weights[weigh])
            # Classes are known to the root of the tolerance.
            atol = 1e-5 if "classes" not in route else 1e-4 * np.abs(expected).max()
            assert_allclose(found, expected, atol=atol, err_msg=f"{weightless} {weight}")


@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("weight", [0.0, 1e-300])
@pytest.mark.parametrize("weightless", list(WEIGHTLESS))
@pytest.mark.parametrize("far", list(FAR))
def test_moments_have_all_digits(far, weightless, weight, as_sparse):
    X, y, weights, weigh = rows(far, weightless, weight, as_sparse)
    y = y[:, np.newaxis]
    values = (X.toarray() if as_sparse else X).astype(np.float64)[weigh]
    about = [of - np.average(of, axis=0, weights=weights[weigh]) for of in (values, y[weigh])]
    about = [of - np.average(of, axis=0, weights=weights[weigh]) for of in about]
    x, z = about
    scaled = weights[weigh][:, np.newaxis] * x
    tolerance = {"rtol": 1e-6, "atol": 1e-6}

    def chunks(size):
        for start in range(0, N, size):
            some = slice(start, start + size)
            yield Chunk(X[some], y[some], weights[some], len(y[some]))

    for size in (N, CHUNK):
        found = merge_statistics([statistics_of_chunk(chunk) for chunk in chunks(size)])
        assert_allclose(found.sxx, scaled.T @ x, **tolerance)
        assert_allclose(found.sxy, scaled.T @ z, **tolerance)
        assert_allclose(found.syy, weights[weigh] @ z**2, **tolerance)
        of_columns = column_moments(chunks(size))
        assert_allclose(of_columns.xx, np.diagonal(scaled.T @ x), **tolerance)
        assert_allclose(of_columns.xy, scaled.T @ z, **tolerance)
        assert_allclose(of_columns.yy, weights[weigh] @ z**2, **tolerance)


@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "sparse"])
def test_few_rows_that_mislead_are_looked_past(as_sparse):
    # None that weighs little is in a sample of few; those that are in it are far from the rest.
    n, few = 2**17, slice(0, None, 2**9)
    rng = np.random.default_rng(0)
    X, y, weights = rng.normal(size=(n, 2)) + 1e8, rng.normal(size=(n, 1)) + 1e8, np.ones(n)
    X[few], y[few], weights[few] = 1.0, 0.0, 0.02
    weights[few][1:] = 1e-25
    rest = np.ones(n, dtype=bool)
    rest[few] = False
    given = sparse.csr_array(X) if as_sparse else X
    chunk = Chunk(given, y, np.where(rest, 1e-3, weights * 1e-25), n)
    for found in (statistics_of_chunk(chunk), column_moments([chunk])):
        xx = np.diagonal(found.sxx) if hasattr(found, "sxx") else found.xx
        yy = found.syy if hasattr(found, "syy") else found.yy
        assert_allclose(xx, 1e-3 * rest.sum() * X[rest].var(axis=0), rtol=1e-5)
        assert_allclose(yy, 1e-3 * rest.sum() * y[rest].var(axis=0), rtol=1e-5)


def test_constant_columns_are_constant_beside_rows_that_weigh_nothing():
    X, y, weights, weigh = rows("y", "every 16th", 0.0, as_sparse=False)
    X[:, 3] = np.where(weigh, 0.1, 7.0)
    for of_rows in (X, sparse.csr_array(X)):
        assert lasso(of_rows, y, weights)[3] == 0
        chunk = Chunk(of_rows, y[:, np.newaxis], weights, N)
        assert statistics_of_chunk(chunk).x_variation[3] == 0
        assert column_moments([chunk]).xx[3] == 0


def test_a_sample_of_raw_rows_weighs_as_all_do():
    X, y, weights, _ = rows("X", "every 16th", 0.0, as_sparse=False)
    many = [np.concatenate([of] * 20) for of in (X, y[:, np.newaxis], weights)]
    for weight in (None, many[2]):
        sample = raw_rows(Chunk(*many[:2], weight, 20 * N)).sample(5)
        total = 20 * N if weight is None else weight.sum()
        assert_allclose(sample.weight.sum(), total)
        assert len(sample.y) < 20 * N


@pytest.mark.parametrize("loss", ["poisson", "gamma", "tweedie"])
def test_steps_that_are_too_long_for_rows_of_little_weight_are_no_warning(loss):
    # Where these rows are, means of other rows' models overflow.
    for weight, far in [(1e-18, 1e4), (1e-12, 1e7)]:
        rng = np.random.default_rng(0)
        X = (rng.normal(size=(60, 6)) > 0).astype(float)
        y = rng.poisson(np.exp(X[:, 0] - 0.5)) + 0.01
        weights = np.r_[np.full(7, weight), np.ones(53)]
        X[:7] *= far
        settings = {"alphas": [0.1, 1e-2, 1e-3], "loss": loss}
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            warnings.simplefilter("ignore", ConvergenceWarning)
            lasso_path(X, y, sample_weight=weights, fit_intercept=True, **settings)
            AsyncLassoCV(cv=3, **settings).fit(X, y, sample_weight=weights)
