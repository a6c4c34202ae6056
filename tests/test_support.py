"""Paths by a support whose inverse is updated: exact, or given up where it cannot be."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import sparse

from dask_lasso import lasso_path
from dask_lasso.problem import support as _support
from dask_lasso.problem.support import Support
from dask_lasso.solvers import sets as _sets
from dask_lasso.solvers import width as _width

N, K = 60, 150
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, K)) * np.geomspace(1e-4, 1e4, K)
Y = X @ (RNG.normal(size=K) / np.geomspace(1e-4, 1e4, K) * (np.arange(K) % 15 == 0))
Y = Y + 0.3 * RNG.normal(size=N)
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
    columns, support = Columns(X / np.geomspace(1e-4, 1e4, K), Y), Support()
    alphas = np.geomspace(1, 1e-3, 40) * np.abs(columns.xy).max()
    alphas = {"falling": alphas, "rising": alphas[::-1]}.get(order, RNG.permutation(alphas))
    for alpha in alphas:
        coef = support.solve(columns, alpha, ridge * alpha, positive)
        if coef is None:  # as many columns as rows, where one has to go before another joins
            assert alpha < 0.02 * alphas.max()
            continue
        assert_optimal(columns, coef, alpha, ridge * alpha, positive)


def test_a_ridge_term_that_changes_seldom_needs_another_inverse(monkeypatch):
    columns, support, renewed = Columns(X / np.geomspace(1e-4, 1e4, K), Y), Support(), []
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
    columns, support = Columns(X / np.geomspace(1e-4, 1e4, K), Y), Support()
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
