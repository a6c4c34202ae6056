"""`lasso_path`: scikit-learn's function, on dask in one pass."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Lasso
from sklearn.linear_model import lasso_path as sklearn_lasso_path
from sklearn.utils.fixes import parse_version

from dask_lasso import AsyncLassoRegressor, lasso_path, reuse_statistics
from dask_lasso.solvers import width as _wide

X, y = load_diabetes(return_X_y=True)


def dask_data():
    return da.from_array(X, chunks=(97, 3)), da.from_array(y, chunks=97)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("alphas", [30, 7, [0.1, 2.0, 0.5]], ids=str)
def test_equals_scikit_learn(alphas, positive, client):
    options = dict(positive=positive, tol=1e-14, max_iter=10**6)
    # Before scikit-learn 1.9 the number of alphas has an argument of its own.
    old = parse_version(sklearn.__version__) < parse_version("1.9")
    options["n_alphas" if old and isinstance(alphas, int) else "alphas"] = alphas
    expected = sklearn_lasso_path(X, y, **options)
    for data, where in (((X, y), None), (dask_data(), client)):
        got = lasso_path(*data, alphas=alphas, positive=positive, client=where)
        for ours, theirs in zip(got, expected, strict=True):
            assert ours.shape == theirs.shape
        np.testing.assert_allclose(got[0], expected[0], rtol=1e-12)
        scale = np.abs(expected[1]).max()
        np.testing.assert_allclose(got[1], expected[1], rtol=1e-6, atol=1e-7 * scale)
        assert (got[2] <= 1e-9 * (y**2).mean()).all()


def test_with_an_intercept_it_is_the_lasso_at_every_alpha():
    alphas, coefs, _ = lasso_path(X, y, alphas=5, eps=1e-2, fit_intercept=True)
    for alpha, coef in zip(alphas, coefs.T, strict=True):
        expected = AsyncLassoRegressor(alpha).fit(X, y).coef_
        np.testing.assert_allclose(coef, expected, rtol=1e-9, atol=1e-9)


def test_weights_of_rows_and_of_penalties():
    rng = np.random.default_rng(0)
    rows, penalties = rng.uniform(0, 2, len(X)), rng.uniform(0.5, 2, X.shape[1])
    penalties[2] = 0
    settings = dict(fit_intercept=True, penalty_weights=penalties, sample_weight=rows)
    alphas, coefs, gaps = lasso_path(X, y, alphas=6, **settings)
    for alpha, coef in zip(alphas, coefs.T, strict=True):
        model = AsyncLassoRegressor(alpha, penalty_weights=penalties).fit(X, y, rows)
        np.testing.assert_allclose(coef, model.coef_, rtol=1e-8, atol=1e-8)
    # At the first alpha only what is not penalised is in the model.
    np.testing.assert_array_equal(np.flatnonzero(np.abs(coefs[:, 0]) > 1e-8), [2])
    assert (gaps < 1e-6).all()


def test_alpha_zero_is_least_squares():
    _, coefs, gaps = lasso_path(X, y, alphas=[1.0, 0.0])
    np.testing.assert_allclose(coefs[:, 1], np.linalg.lstsq(X, y)[0], rtol=1e-8)
    np.testing.assert_allclose(gaps, 0, atol=1e-8)


def test_each_target_is_a_lasso_of_its_own(client):
    Y = np.column_stack([y, np.sqrt(y)])
    alphas, coefs, gaps = lasso_path(X, Y, alphas=4, fit_intercept=True)
    assert coefs.shape == (2, 10, 4)
    assert gaps.shape == (2, 4)
    for target in range(2):
        expected = Lasso(alphas[2], tol=1e-12).fit(X, Y[:, target]).coef_
        np.testing.assert_allclose(coefs[target][:, 2], expected, rtol=1e-6, atol=1e-6)


def test_bad_alphas():
    with pytest.raises(ValueError, match="alphas"):
        lasso_path(X, y, alphas=[-1.0])


def unknown_sizes(array):
    sizes = ((np.nan,) * array.numblocks[0], *array.chunks[1:])
    return array.map_blocks(np.asarray, chunks=sizes, dtype=array.dtype)


@pytest.mark.parametrize("how", ["numpy", "dask", "unknown sizes"])
@pytest.mark.parametrize("grid", ["number", "values", "with a zero"])
@pytest.mark.parametrize("n", [60, 24])
def test_every_way_to_a_path_of_many_columns(n, grid, how, client, monkeypatch):
    """More columns than MAX_GRAM, n >= k or n < k: what one way cannot do another does."""
    monkeypatch.setattr(_wide, "MAX_GRAM", 20)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, 30)) * rng.uniform(0.5, 2, 30)
    target = rows[:, :3].sum(axis=1) + 0.1 * rng.normal(size=n)
    top = np.abs(rows.T @ target).max() / n
    alphas = {"number": 4, "values": top * np.array([0.9, 0.3, 0.1])}.get(grid, [top / 3, 0.0])
    data = rows, target
    if how != "numpy":
        data = da.from_array(rows, chunks=(13, -1)), da.from_array(target, chunks=13)
    if how == "unknown sizes":
        data = [unknown_sizes(part) for part in data]
    found, coefs, gaps = lasso_path(*data, alphas=alphas, client=client)
    assert (np.diff(found) < 0).all()
    for alpha, coef in zip(found, coefs.T, strict=True):
        if alpha > 0:
            model = Lasso(alpha, fit_intercept=False, tol=1e-14, max_iter=10**6)
            np.testing.assert_allclose(coef, model.fit(rows, target).coef_, rtol=0, atol=1e-8)
        else:
            best = np.linalg.lstsq(rows, target)[1].sum()
            assert ((target - rows @ coef) ** 2).sum() == pytest.approx(best, abs=1e-9 * n)
    assert (gaps <= 1e-9 * (target**2).mean()).all()


def test_many_columns_and_no_way():
    rows = np.zeros((3, _wide.MAX_MOMENTS + 1))
    with pytest.raises(ValueError, match=r"X has 10001 columns.*alpha > 0"):
        lasso_path(rows, np.arange(3.0), alphas=[1.0, 0.0])
    rows = unknown_sizes(da.from_array(rows, chunks=(2, -1)))
    with pytest.raises(ValueError, match=r"unknown size: call X\.compute_chunk_sizes\(\)"):
        lasso_path(rows, unknown_sizes(da.arange(3.0, chunks=2)), alphas=3)


@pytest.mark.parametrize("border", [2000, 5])
def test_rows_are_read_once(border, tmp_path, monkeypatch):
    monkeypatch.setattr(_wide, "MAX_GRAM", border)

    def load(chunk, block_info=None):
        if block_info is not None and chunk.size:
            with open(tmp_path / "reads", "a") as log:
                print(block_info[0]["chunk-location"][0], file=log)
        return chunk

    rows = da.from_array(X, chunks=(100, -1)).map_blocks(load, dtype=X.dtype, meta=X[:0])
    lasso_path(rows, da.from_array(y, chunks=100), alphas=5)
    assert sorted((tmp_path / "reads").read_text().split()) == list("01234")


def test_pure_admm_of_many_columns_where_statistics_are_kept(monkeypatch):
    monkeypatch.setattr(_wide, "MAX_GRAM", 200)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(220, 210))
    target = 10 * rows[:, 0] + rng.normal(size=220)
    settings = dict(polish=False, tol=1e-9)
    expected = AsyncLassoRegressor(5.0, **settings).fit(rows, target).coef_
    with reuse_statistics():
        model = AsyncLassoRegressor(5.0, **settings).fit(rows, target)
    # Both are within a gap of 1e-9 of a null loss of 100, so within 4e-4 of the solution.
    np.testing.assert_allclose(model.coef_, expected, rtol=0, atol=1e-3)
