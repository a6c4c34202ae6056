"""Paths by a support whose inverse is updated: exact, or given up where it cannot be."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import KFold

from dask_lasso import AsyncLassoCV, lasso_path
from dask_lasso.problem import support as _support
from dask_lasso.problem.support import Support
from dask_lasso.rows import passes as _passes
from dask_lasso.rows.cells import consecutive_folds, partition_of
from dask_lasso.rows.chunk import Chunk
from dask_lasso.rows.held import Held, HeldSet, Part
from dask_lasso.rows.passes import cells_of_columns
from dask_lasso.solvers import sets as _sets
from dask_lasso.solvers import width as _width
from dask_lasso.solvers import working_set_path as _path

N, K = 60, 150
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, K)) * np.geomspace(1e-4, 1e4, K)
Y = X @ (RNG.normal(size=K) / np.geomspace(1e-4, 1e4, K) * (np.arange(K) % 15 == 0))
Y = Y + 0.3 * RNG.normal(size=N)
STANDARD = X / np.geomspace(1e-4, 1e4, K)
WEIGHTS = RNG.integers(0, 3, N).astype(float)


class Columns:
    def __init__(self, X, y):
        self.X, self.y = X, y
        self.xy, self.squares, self.yy = y @ X, (X**2).sum(axis=0), y @ y
        self.near = np.arange(X.shape[1])

    def residual(self, coef):
        return self.y - self.X @ coef

    def correlations(self, residual, of):
        return residual @ self.X[:, of]

    def products(self, left, right):
        return self.X[:, left].T @ self.X[:, right]


def assert_optimal(columns, coef, threshold, ridge=0.0, positive=False):
    """The conditions of optimality, each column in its own units."""
    unit = np.sqrt(columns.squares * columns.yy)
    pull = columns.residual(coef) @ columns.X - ridge * coef
    active = coef != 0
    assert (np.abs(pull - threshold * np.sign(coef))[active] <= 1e-9 * unit[active]).all()
    idle = pull[~active] if positive else np.abs(pull[~active])
    assert (idle <= threshold + 1e-9 * unit[~active]).all()
    assert not positive or (coef >= 0).all()


@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("order", ["falling", "rising", "at random"])
def test_every_alpha_is_optimal(ridge, positive, order):
    columns, support = Columns(STANDARD, Y), Support()
    alphas = np.geomspace(1, 1e-3, 40) * np.abs(columns.xy).max()
    alphas = {"falling": alphas, "rising": alphas[::-1]}.get(order, RNG.permutation(alphas))
    for alpha in alphas:
        coef = support.solve(columns, alpha, ridge * alpha, positive)
        if coef is None:  # as many columns as rows, where one has to go before another joins
            assert alpha < 0.02 * alphas.max()
            continue
        assert_optimal(columns, coef, alpha, ridge * alpha, positive)


def test_a_ridge_term_that_changes_seldom_needs_another_inverse(monkeypatch):
    columns, support, renewed = Columns(STANDARD, Y), Support(), []
    renew = Support._renew
    monkeypatch.setattr(Support, "_renew", lambda self: renewed.append(1) or renew(self))
    alphas = np.geomspace(1, 1e-3, 40) * np.abs(columns.xy).max()
    for alpha in alphas:
        assert_optimal(columns, support.solve(columns, alpha, alpha), alpha, alpha)
    assert len(renewed) <= len(alphas) / 3


def test_columns_are_added():
    few, all_of_them, support = Columns(X[:, :50], Y), Columns(X, Y), Support()
    alpha = 0.1 * np.abs(all_of_them.xy).max()
    assert_optimal(few, support.solve(few, alpha), alpha)
    assert_optimal(all_of_them, support.solve(all_of_them, alpha), alpha)


def test_columns_that_are_there_twice():
    columns, support = Columns(np.repeat(X[:5], 2, axis=1), Y[:5]), Support()
    alpha = 1e-14 * np.abs(columns.xy).max()
    assert_optimal(columns, support.solve(columns, alpha), alpha)


def test_no_solution_is_said(monkeypatch):
    columns, support = Columns(STANDARD, Y), Support()
    alpha = 0.1 * np.abs(columns.xy).max()
    with monkeypatch.context() as few:
        few.setattr(_support, "_MOST_ROUNDS", 1)  # in which columns join
        assert support.solve(columns, alpha) is None
    assert_optimal(columns, support.solve(columns, alpha), alpha)  # and it goes on


def test_a_long_way_down():
    """From zero to nearly as many correlated columns as rows, and back, in one call each."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(80, 240))
    for j in range(1, 240):
        A[:, j] = 0.9 * A[:, j - 1] + np.sqrt(0.19) * A[:, j]
    columns, support = Columns(A, A[:, ::16].sum(axis=1) + rng.normal(size=80)), Support()
    largest = np.abs(columns.xy).max()
    for share in (1e-3, 0.5, 3e-4):
        coef = support.solve(columns, share * largest)
        assert_optimal(columns, coef, share * largest)
    assert np.count_nonzero(coef) > 70


def path(*data, held, monkeypatch, **settings):
    monkeypatch.setattr(_width, "MAX_GRAM", 20)
    monkeypatch.setattr(_sets, "_MOST_VALUES", 1000 if held else 0)
    return lasso_path(*data, alphas=25, eps=1e-2, sample_weight=WEIGHTS, **settings)


KINDS = {
    "dense": X,
    "sparse": sparse.csr_array(np.where(RNG.uniform(size=X.shape) < 0.3, X, 0.0)),
    "float32": X.astype(np.float32),
    "int8": RNG.integers(-3, 4, X.shape, dtype=np.int8),
    "duplicates": np.column_stack([X[:, :100], X[:, :50] * -3]),
    "constant": np.where(np.arange(K) % 3, X, 7.0),
}


ALL = {"fit_intercept": True, "positive": True, "penalty_weights": np.geomspace(1, 9, K)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("settings", "place"),
    [
        pytest.param({}, "memory", id="plain-memory"),
        pytest.param(ALL, "memory", id="all-memory"),
        pytest.param(ALL, "threads", id="all-threads"),
        pytest.param({}, "threads", id="plain-threads", marks=pytest.mark.slow),
    ],
)
def test_rows_that_are_held_give_what_their_moments_do(
    kind, settings, place, monkeypatch, thread_workers
):
    rows, y = KINDS[kind], Y
    if place == "threads":
        blocks = da.from_array(rows, chunks=(25, K), asarray=False)
        rows, y = thread_workers.persist([blocks, da.from_array(Y, chunks=25)])
        settings = {**settings, "client": thread_workers}
    alphas, coefs, gaps = path(rows, y, held=True, monkeypatch=monkeypatch, **settings)
    same, expected, _ = path(rows, y, held=False, monkeypatch=monkeypatch, **settings)
    np.testing.assert_allclose(alphas, same)
    assert (gaps <= 1e-9 * np.average(Y**2, weights=WEIGHTS)).all()
    dense = KINDS[kind]
    dense = (dense.toarray() if sparse.issparse(dense) else dense).astype(float)
    # Coefficients of duplicates are not unique; what they predict is.
    predicted, wanted = dense @ coefs, dense @ expected
    np.testing.assert_allclose(predicted, wanted, rtol=0, atol=1e-7 * np.abs(wanted).max())


@pytest.mark.parametrize("held", [True, False], ids=["held", "moments"])
@pytest.mark.parametrize("cv", [None, 4], ids=["path", "folds"])
def test_columns_that_were_not_foreseen_join(held, cv, monkeypatch):
    """However few are near: what pulls elsewhere is found by a pass, in every training set."""
    monkeypatch.setattr(_width, "MAX_GRAM", 20)
    monkeypatch.setattr(_sets, "_MOST_VALUES", 1000 if held else 0)
    expected = of_path_or_folds(cv)
    monkeypatch.setattr(_path, "n_joining", lambda k: 3)
    monkeypatch.setattr(_path, "FEWEST", 2)
    np.testing.assert_allclose(of_path_or_folds(cv), expected, rtol=0, atol=1e-9)


def test_columns_that_a_training_set_has_in_no_row(monkeypatch):
    """Nothing but rounding is left of them there, on whatever way to the answer."""
    rows = STANDARD.copy()
    rows[10:, ::3] = 0.1
    rows[:10, 1::3] = 0.1
    alphas = np.geomspace(1, 1e-3, 15) * np.abs(Y @ STANDARD).max() / N
    model = AsyncLassoCV(alphas=alphas, cv=6, max_iter=100_000)
    expected = model.fit(rows, Y).mse_path_
    monkeypatch.setattr(_width, "MAX_GRAM", 20)
    for n_rounds in (40, 0):  # without any the support gives up
        monkeypatch.setattr(_support, "_MOST_ROUNDS", n_rounds)
        for X in (rows, sparse.csr_array(rows)):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = clone(model).fit(X, Y).mse_path_
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_folds_of_positive_coefficients_whose_support_gives_up(monkeypatch):
    settings = dict(positive=True, alphas=10, eps=0.05, cv=3)
    expected = AsyncLassoCV(**settings).fit(STANDARD, Y).mse_path_
    monkeypatch.setattr(_width, "MAX_GRAM", 20)
    monkeypatch.setattr(_support, "_MOST_ROUNDS", 0)
    monkeypatch.setattr(_path, "n_joining", lambda k: 10)
    monkeypatch.setattr(_path, "FEWEST", 2)
    found = AsyncLassoCV(**settings).fit(STANDARD, Y).mse_path_
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_when_all_columns_are_held_a_few_alphas_are_one_pass(monkeypatch):
    monkeypatch.setattr(_width, "MAX_GRAM", 20)
    monkeypatch.setattr(_path, "n_joining", lambda k: K)
    grid = np.geomspace(1, 0.05, 30) * np.abs(Y @ STANDARD).max() / N
    model = AsyncLassoCV(alphas=grid, cv=3).fit(STANDARD, Y)
    assert model.n_passes_ == 2 + len(grid) / 3


@pytest.mark.parametrize("held", [True, False], ids=["held", "moments"])
def test_a_target_far_from_zero_loses_no_digits_of_the_gap(held, monkeypatch):
    monkeypatch.setattr(_width, "MAX_GRAM", 20)
    monkeypatch.setattr(_sets, "_MOST_VALUES", 1000 if held else 0)
    settings = dict(alphas=10, eps=0.05, cv=3, tol=1e-12)
    near = AsyncLassoCV(**settings).fit(STANDARD, Y)
    far = AsyncLassoCV(**settings).fit(STANDARD, Y + 2.0**27 * Y.std())  # a ConvergenceWarning
    np.testing.assert_allclose(far.mse_path_, near.mse_path_, rtol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 1e-200])
def test_a_first_row_that_hardly_counts_is_no_origin(weight):
    """Of what is held: a target's mean is that of the other rows, to all its digits."""
    held, weights = Held(), np.where(np.arange(N) == 0, weight, 1.0)
    y = np.where(np.arange(N) == 0, 1e15, Y)
    part = Part(0, STANDARD[:, :3], y, weights)
    held.take([part], np.arange(3), (np.zeros(3), np.zeros(1)), np.ones(3))
    rows = HeldSet(held, np.ones(N), fit_intercept=True)
    rows.grow(np.arange(3))
    np.testing.assert_allclose(rows.level(np.zeros((3, 1))), Y[1:].mean(), rtol=1e-12)


def of_path_or_folds(cv):
    alphas = np.geomspace(1, 0.01, 20) * np.abs(Y @ STANDARD).max() / N
    if cv is None:
        return lasso_path(STANDARD, Y, alphas=alphas)[1]
    folds = KFold(cv, shuffle=True, random_state=0)
    return AsyncLassoCV(alphas=alphas, cv=folds).fit(STANDARD, Y).mse_path_


def test_products_of_columns_are_summed_once(monkeypatch):
    """Where moments are taken cell by cell, and the chosen columns come and go."""
    monkeypatch.setattr(_width, "MAX_GRAM", 20)
    monkeypatch.setattr(_sets, "_MOST_VALUES", 0)
    monkeypatch.setattr(_path, "n_joining", lambda k: 10)
    monkeypatch.setattr(_path, "FEWEST", 2)
    read = []

    def noted(chunks, columns, n_new, y_mean):
        read.append(np.split(columns, [len(columns) - n_new]))
        return cells_of_columns(chunks, columns, n_new, y_mean)

    monkeypatch.setattr(_sets, "cells_of_columns", noted)
    of_path_or_folds(4)
    there = set()
    assert len(read) > 2
    for old, new in read:
        assert there >= set(old)
        assert not there & set(new) - set(old)
        there = {*old, *new}


@pytest.mark.parametrize("kind", ["dense", "sparse", "csc", "float32", "far"])
@pytest.mark.parametrize("cells", ["runs", "codes"])
@pytest.mark.parametrize("slabs", [False, True], ids=["at once", "in slabs"])
def test_statistics_of_cells_grow(kind, cells, slabs, monkeypatch):
    """Columns after others: what all of them have at once."""
    rows = {
        **KINDS,
        "csc": sparse.csc_array(KINDS["sparse"]),
        "far": STANDARD + np.where(np.arange(K) % 2, 1e6, 0.0),
    }[kind]
    if slabs:
        monkeypatch.setattr(_passes, "BUFFER_ITEMS", 100)
    folds = consecutive_folds(N, 3)
    if cells == "codes":
        splits = KFold(3, shuffle=True, random_state=0).split(X)
        folds = partition_of(N, splits)
    labels = folds.between(0, N)
    chunks = [(Chunk(rows, Y[:, np.newaxis], WEIGHTS, N), labels)]
    columns = RNG.permutation(K)[:40]
    wanted = cells_of_columns(chunks, columns, 40, Y.mean())
    found = cells_of_columns(chunks, columns[:25], 25, Y.mean())
    found = found.with_columns(cells_of_columns(chunks, columns, 15, Y.mean()))
    assert found.cells.keys() == wanted.cells.keys()
    assert len(found.cells) == 3
    for cell, of_all in wanted.cells.items():
        grown, squares = found.cells[cell], np.diagonal(of_all.sxx)
        sizes = np.sqrt(np.where(squares > 0, squares, 1.0))
        close = dict(rtol=0, atol=1e-9 if kind == "far" else 1e-13)
        np.testing.assert_allclose(
            grown.sxx / sizes / sizes[:, None], of_all.sxx / sizes / sizes[:, None], **close
        )
        np.testing.assert_allclose(grown.sxy[:, 0] / sizes, of_all.sxy[:, 0] / sizes, **close)
        np.testing.assert_allclose(grown.x_mean, of_all.x_mean)
        assert grown.weight == pytest.approx(of_all.weight)
        some = found.of_columns(np.array([30, 2])).cells[cell]
        np.testing.assert_array_equal(some.sxx, grown.sxx[[30, 2]][:, [30, 2]])
